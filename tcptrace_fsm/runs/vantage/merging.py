"""The second reading: both captures side by side, each segment once."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import numpy as np

from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.kernels.pair import know_hosts, pair, tidy_ways
from tcptrace_fsm.kernels.records import Pairing
from tcptrace_fsm.runs.vantage.clocks import FOREVER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tcptrace_fsm.runs.vantage.comparison import Comparison

__all__ = ["Merged", "merge"]

RING = 1 << 18  # segments that may wait for their counterpart


class Merged:
    """A batch of the merged stream, as the engine takes it.

    Attributes
    ----------
    segments : int64 array
    count : int
    last_time : int

    """

    __slots__ = ("count", "last_time", "segments")

    def __init__(self, room: int) -> None:
        self.segments = array("q", bytes(8 * k.SEGMENT_SIZE * room))
        self.count = 0
        self.last_time = 0


class _Reader:
    """One of the two captures: its batches one by one, on the common clock, frames numbered on."""

    def __init__(self, capture: Any, points: Comparison, point: int) -> None:
        self._batches = capture.segments()
        self._points = points
        self._point = point
        self.segments = array("q", bytes(8))
        self.count = 0
        self.over = False

    def read(self) -> None:
        batch = next(self._batches, None)
        if batch is None:
            self.count, self.over = 0, True
            return
        self.segments, self.count = batch.segments, batch.count
        if not batch.count:
            return
        size = k.SEGMENT_SIZE
        rows = np.frombuffer(batch.segments, dtype=np.int64, count=batch.count * size).reshape(-1, size)
        if self._points.plain_nets:
            rows[:, k.S_NET] &= 1
        if self._point == 1:
            if self._points.translation is not None:
                self._points.translation.apply(rows)
            rows[:, k.S_TIME] -= self._points.clock.offsets(rows[:, k.S_FRAME], rows[:, k.S_TIME])
            rows[:, k.S_FRAME] += self._points.frames


def merge(
    captures: Sequence[Any], points: Comparison, *, ring: int = RING, room: int = 2048, seed: int | None = None
) -> Iterator[Merged]:
    """Read both captures side by side, and give each segment once, with its fate between the points.

    Parameters
    ----------
    captures : sequence of Capture
        Both, freshly opened.
    points : Comparison
        What `compare` found.
    ring : int
        How many segments may wait for their counterpart; a power of two. What does not fit is judged early.
    room : int
        Segments to a batch.
    seed : int or None
        Of the hashes; random if None.

    """
    import secrets

    readers = [_Reader(capture, points, point) for point, capture in enumerate(captures)]
    ctl = array("q", bytes(8 * k.V_SIZE))
    ctl[k.V_SEED] = (secrets.randbits(61) if seed is None else seed) | 1
    ctl[k.V_ROOM] = min(ring, 16384)
    ctl[k.V_MEMORY] = min(ring // 2, 2048)
    ctl[k.V_BUCKETS] = 2 * ctl[k.V_ROOM]
    ctl[k.V_WINDOW], ctl[k.V_LEAST] = points.window, points.clock.least
    ctl[k.V_NUMBERED] = int(points.numbered)
    ctl[k.V_NOW] = ctl[k.V_LAST] = -FOREVER
    ctl[k.V_OUT_ROOM] = room
    for point in (0, 1):
        ctl[k.V_BEGAN + point], ctl[k.V_ENDED + point] = points.began[point], points.ended[point]
        ctl[k.V_MISSES + point] = int(points.lacks[point])
    held = array("q", bytes(8 * k.HELD_SIZE * ctl[k.V_ROOM]))
    buckets = array("q", bytes(8 * ctl[k.V_BUCKETS]))
    ctl[k.V_WAYS] = 1 << max(15, (8 * points.host_count).bit_length())
    ways = array("q", bytes(8 * k.WAY_ENTRY * ctl[k.V_WAYS]))
    know_hosts(points.host_count, points.hosts, ways, ctl)
    batch = Merged(room)
    pairing = Pairing(buckets=buckets, ctl=ctl, out=batch.segments)
    one, other = readers
    while True:
        for reader, place, over in ((one, k.V_FIRST_NEXT, k.V_FIRST_OVER), (other, k.V_SECOND_NEXT, k.V_SECOND_OVER)):
            while not reader.over and ctl[place] >= reader.count:
                reader.read()
                ctl[place] = 0
            ctl[over] = int(reader.over)
        ctl[k.V_FLUSH] = int(one.over and other.over)
        if 2 * (ctl[k.V_WAYS_USED] + 4 * (one.count + other.count)) > ctl[k.V_WAYS]:
            ways = _more_ways(ways, held, ctl, 4 * (one.count + other.count))
        if ctl[k.V_TAIL] - ctl[k.V_HEAD] >= ctl[k.V_ROOM] // 2 and ctl[k.V_ROOM] < ring:
            held = _more_room(held, ctl)
        pairing.first, pairing.second, pairing.held, pairing.ways = one.segments, other.segments, held, ways
        batch.count = pair(one.count, other.count, pairing)
        batch.last_time = ctl[k.V_LAST]
        if batch.count:
            yield batch
        elif ctl[k.V_FLUSH] and ctl[k.V_HEAD] == ctl[k.V_TAIL]:
            return


def _more_ways(ways: array[int], held: array[int], ctl: array[int], needed: int) -> array[int]:
    """Leave out the ways that nothing waits on; take a larger table where that does not do."""
    old = ctl[k.V_WAYS]
    fresh = ways
    for size in (old, 2 * old, 4 * old, 8 * old):
        ctl[k.V_WAYS] = size
        fresh = array("q", bytes(8 * k.WAY_ENTRY * size))
        if 4 * needed > size:
            continue
        tidy_ways(old, ways, fresh, held, ctl)
        if 4 * (ctl[k.V_WAYS_USED] + needed) <= size * 2:
            break
    return fresh


def _more_room(held: array[int], ctl: array[int]) -> array[int]:
    """Double the ring."""
    old, size = ctl[k.V_ROOM], k.HELD_SIZE
    grown = array("q", bytes(8 * size * 2 * old))
    for number in range(ctl[k.V_KEPT], ctl[k.V_TAIL]):
        a, b = (number & (old - 1)) * size, (number & (2 * old - 1)) * size
        grown[b : b + size] = held[a : a + size]
    ctl[k.V_ROOM] = 2 * old
    return grown
