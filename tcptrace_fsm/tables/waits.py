"""What a connection's record tells of its time: columns that are no single word of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels import layout as k

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Words = NDArray[np.int64]

__all__ = ["WAIT_FRAMES", "WAIT_WORDS", "requests", "time_of", "without_turns"]

_SEGMENTS = [k.C_ENDPOINTS + side * k.ENDPOINT_SIZE + k.E_SEGMENTS for side in (k.CLIENT, k.SERVER)]
WAIT_WORDS: tuple[int, ...] = (
    *(k.C_REQUESTS, k.C_CROSSED, k.C_RESPONSES, k.C_RESPONSE_MAX),
    *range(k.C_RESPONSE_MARKER, k.C_RESPONSE_MARKER + 5),
    *range(k.C_TIMES, k.C_TIMES + 2 * k.WAITS),
    *_SEGMENTS,
)
"""Words of a connection's record that these columns read."""
WAIT_FRAMES = (k.C_LONGEST_BEFORE, k.C_LONGEST_AFTER, k.C_SLOWEST_FRAME, k.C_PAUSE_FRAME, k.C_HELD_FRAME)
"""Words of it that are frames, -1 for none."""


def without_turns(rows: dict[int, Words]) -> NDArray[np.bool_]:
    """Where turns are unknown: one direction is missing, or the client often spoke before it had all of the answer.

    A server that sends something of its own accord now and then (TLS tickets) makes up to a third of them cross.
    """
    missing = (rows[_SEGMENTS[0]] == 0) | (rows[_SEGMENTS[1]] == 0)
    untold: NDArray[np.bool_] = missing | (3 * rows[k.C_CROSSED] > rows[k.C_REQUESTS])
    return untold


def requests(rows: dict[int, Words]) -> tuple[Words, NDArray[np.bool_]]:
    """How often the client spoke in turn, and where nothing can be said of that."""
    return rows[k.C_REQUESTS], without_turns(rows)


def time_of(rows: dict[int, Words], kind: int) -> Words:
    """The time that went for one purpose, whoever's it was."""
    total: Words = rows[k.C_TIMES + 2 * kind] + rows[k.C_TIMES + 2 * kind + 1]
    return total
