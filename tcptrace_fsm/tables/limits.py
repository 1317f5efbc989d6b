"""What limits what an endpoint sends: its application, the peer's window, loss, or the path.

From the sums of time (docs/waits.md says how each is made), for each direction by itself. It is null where no
more was sent than a first flight holds (RFC 6928), where one direction is not in the capture, and where no one thing
took half of the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tcptrace_fsm.kernels import layout as k

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Words = NDArray[np.int64]

__all__ = ["LIMIT_WORDS", "limited_by"]

_FIRST_FLIGHT = 10  # segments (RFC 6928)
_SEGMENT = 1220  # bytes of one, at least: what IPv6 carries everywhere
_LOSSY = 200  # one segment in 200 repeated


def _word(side: int, word: int) -> int:
    return k.C_ENDPOINTS + side * k.ENDPOINT_SIZE + word


LIMIT_WORDS: tuple[int, ...] = (
    *(k.C_WAIT_WAY, k.C_WAIT_WAY + 1),
    *range(k.C_TIMES, k.C_TIMES + 2 * k.WAITS),
    *(
        _word(side, word)
        for side in (k.CLIENT, k.SERVER)
        for word in (k.E_SEGMENTS, k.E_UNIQUE, k.E_LONGEST, k.E_BYTES, k.E_RETRANSMITTED_BYTES)
    ),
)
"""Words of a connection's record that these columns read."""


def limited_by(rows: dict[int, Words], side: int) -> Words:
    """Number in ``LIMITED_BY`` of what limits a side's sending; 0 where it is not known."""
    peer = 1 - side

    def time(kind: int, whose: int) -> NDArray[np.float64]:
        return rows[k.C_TIMES + 2 * kind + whose].astype(np.float64)

    # Who writes in small pieces waits for the ACK of each by its own choice (Nagle): the application's.
    application = time(k.WAIT_APPLICATION, side) + time(k.WAIT_DELAYED_ACK, peer)
    window, loss = time(k.WAIT_WINDOW, peer), time(k.WAIT_RETRANSMISSION, side)
    path = time(k.WAIT_TRANSFER, side)
    small = _lossy(rows, side, path)
    loss, path = np.where(small, loss + path, loss), np.where(small, 0, path)
    times = np.stack([application, window, loss, path])
    largest = times.argmax(axis=0)
    total = times.sum(axis=0)
    unique, longest = rows[_word(side, k.E_UNIQUE)], rows[_word(side, k.E_LONGEST)]
    named = (unique > _FIRST_FLIGHT * np.maximum(longest, _SEGMENT)) & (rows[_word(peer, k.E_SEGMENTS)] > 0)
    named &= (total > 0) & (2 * times.max(axis=0) >= total)
    result: Words = np.where(named, largest + 1, 0).astype(np.int64)
    return result


def _lossy(rows: dict[int, Words], side: int, path: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where loss keeps the congestion window small: no more was on its way than so much loss lets through.

    Mathis, Semke, Mahdavi and Ott, "The macroscopic behavior of the TCP congestion avoidance algorithm", CCR 27 (1997):
    1.22 / sqrt(p) segments to a round trip. Where more than twice that was on its way, loss was not what held it back:
    a path that is full loses now and then, too.
    """
    ways = [rows[k.C_WAIT_WAY + i].astype(np.float64) for i in (0, 1)]
    trip = ways[0] + ways[1]
    sent = np.maximum(rows[_word(side, k.E_BYTES)], 1)
    lost = rows[_word(side, k.E_RETRANSMITTED_BYTES)] / sent
    longest = np.maximum(rows[_word(side, k.E_LONGEST)], 1)
    flight = sent / longest * trip / np.maximum(path, 1)
    often = (lost * _LOSSY >= 1) & (ways[0] >= 0) & (ways[1] >= 0) & (trip > 0)
    few: NDArray[np.bool_] = often & (flight <= 2 * 1.22 / np.sqrt(np.maximum(lost, 1e-9)))
    return few
