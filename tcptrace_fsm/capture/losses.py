"""What the capturing machine lost by its own count, read before anything else.

A pcapng file ends with its interface statistics (draft-ietf-opsawg-pcapng 4.6). They bear on every finding in the file,
so they are looked up at its end first; no finding then depends on whether it was made before they were met. What cannot
be looked up so (a stream, a compressed file, one that is cut off or of several sections) tells its losses when they are
met. Such a statement bears on connections that are not over by then: on those with a segment less than :data:`NEAR`
before the latest frame that stands before it, or later. That hangs on the capture alone, not on when a connection is
judged, which is another moment where several processes share the work.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from tcptrace_fsm.capture.pcapng import BLOCK_STATISTICS, PCAPNG_MAGIC, Order, Statistics, read_statistics

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["MOST_STATEMENTS", "Losses", "Lost", "Statement", "at_end", "doubt", "lost_by_count"]

MUCH = 1000
"""From one frame lost in that many on, what the capturing machine lost may explain anything."""
BLOCKS = 64
"""Statistics blocks looked at: one to an interface."""
LONGEST = 1 << 16
MOST_STATEMENTS = 256
"""What a capture says in its midst that is kept."""
NEAR = 5_000_000_000
"""ns; every connection is followed for longer than that after its last segment."""
EARLIEST = -1 << 63


class Losses(NamedTuple):
    """Frames of a capture: received by the machine and lost by it; ``received`` is -1 where it does not say."""

    received: int
    lost: int


def at_end(source: Any) -> Losses | None:
    """Read the statistics at the end of a pcapng file; None where there are none, or no end can be looked at."""
    if not isinstance(source, str | os.PathLike) or not os.path.isfile(source):  # noqa: PTH113 - a name, or a path
        return None
    try:
        with open(source, "rb") as file:  # noqa: PTH123 - as above
            if file.read(4) != PCAPNG_MAGIC:
                return None
            found: dict[int, Statistics] = {}
            end = file.seek(0, os.SEEK_END)
            for _ in range(BLOCKS):
                read = _block_before(file, end)
                if read is None:
                    break
                end, counts = read
                found.setdefault(counts.interface, counts)  # the last of an interface counts for all before it
    except OSError:  # the reason is reported when it is opened to be read
        return None
    lost = [one.lost for one in found.values() if one.lost >= 0]
    received = [one.received for one in found.values()]
    return Losses(-1 if -1 in received else sum(received), sum(lost)) if lost else None


class Statement(NamedTuple):
    """Met in a capture: so many frames were lost by then.

    Attributes
    ----------
    time : int
        ns, the latest of the frames before it; -1 where there is none.
    frames, lost : int
    """

    time: int
    frames: int
    lost: int


class Lost(NamedTuple):
    """What the capturing machines say that they lost, as far as that is known yet.

    Attributes
    ----------
    times : tuple of int
        ns, in order, from which on something else is known.
    words : tuple of (str or None)
        What is known from then on.
    """

    times: tuple[int, ...]
    words: tuple[str | None, ...]

    def by(self, time: int) -> str | None:
        """What bears on a connection with its last segment at ``time``, ns."""
        return self.words[bisect_right(self.times, time + NEAR) - 1]

    @property
    def whole(self) -> str | None:
        """What bears on the capture as a whole."""
        return self.words[-1]


def lost_by_count(captures: Sequence[tuple[Losses | None, Sequence[Statement]]]) -> Lost | None:
    """Put together what captures tell at their ends, and what was met in their midst; None where nothing is told.

    What is met counts where it is more than what the end says.
    """
    told = [end for end, _ in captures]
    times, words = [EARLIEST], [doubt(told)]
    met = [(one.time, place, n) for place, (_, statements) in enumerate(captures) for n, one in enumerate(statements)]
    for time, place, n in sorted(met):
        end, statements = captures[place]
        frames, lost = statements[n].frames, statements[n].lost
        told[place] = Losses(frames, lost) if lost and (end is None or lost > end.lost) else end
        if time > times[-1]:
            times.append(time)
            words.append(None)
        words[-1] = doubt(told)
    return Lost(tuple(times), tuple(words)) if any(words) else None


def _block_before(file: BinaryIO, end: int) -> tuple[int, Statistics] | None:
    """Read the statistics block that ends at ``end``: where it begins, and what it says."""
    if end < 24:
        return None
    file.seek(end - 4)
    last = file.read(4)
    orders: tuple[Order, ...] = ("little", "big")
    for order in orders:
        size = int.from_bytes(last, order)
        if not 24 <= size <= min(LONGEST, end):
            continue
        file.seek(end - size)
        block = file.read(size)
        if len(block) == size and block[:8] == BLOCK_STATISTICS.to_bytes(4, order) + last:
            counts = read_statistics(block[8:-4], order)
            return (end - size, counts) if counts else None
    return None


def doubt(losses: Iterable[Losses | None]) -> str | None:
    """Say what the rules are to bear in mind; None where too little was lost to explain anything."""
    known = [one for one in losses if one is not None]
    lost, received = sum(one.lost for one in known), sum(one.received for one in known)
    if not lost or (all(one.received >= 0 for one in known) and lost * MUCH < received):
        return None
    return f"the capturing machine lost {lost:,} frames, by its own count"
