"""Several captures as one timeline: rotated files one after another, captures taken side by side merged by time.

The order of the timeline is that of (clock, capture, frame). A frame's *clock* is the latest capture time of a TCP
segment that its own capture has shown so far: within a capture nothing is ever reordered, however its times run, and
where a segment belongs can be told from its own capture alone, which is what lets several processes agree on it.
Captures are numbered by the time of their first segment, those that begin together by their place in the list.

Rotated files (``tcpdump -C``, ``-G``, rings) follow one another in time: each is opened when the one before it ends,
and its batches pass through as they are. Where a capture begins while another still runs, both are read side by side,
a batch of each at a time, in memory that does not grow with their length. A file that begins just before the one before
it ends continues that one all the same, for a capture's times may be a little out of order where it is cut
(:func:`continues`).

Inside, a segment is known by its *position* in the timeline, because that grows from segment to segment; capture and
frame number are put in its place where tables are made (:class:`Origins`).
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tcptrace_fsm.capture.codes import FILE_SHIFT
from tcptrace_fsm.errors import plain_name
from tcptrace_fsm.kernels import layout as k

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    Words = NDArray[np.int64]

__all__ = [
    "Batch",
    "Member",
    "Origins",
    "Reader",
    "Timeline",
    "batch_of",
    "continues",
    "merge_blocks",
    "order",
    "seams",
]

SEAM = 100_000_000  # ns
NEVER = (1 << 63) - 1


class Origins:
    """Where the segments of a timeline come from: from positions to captures and frame numbers.

    Stretches of positions that follow one another in one capture are kept as one, so that rotated files need one each,
    and captures side by side one for each change from one to another: 16 bytes.

    Attributes
    ----------
    names : list of str
        The captures, in the order of the timeline.

    """

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self._starts = array("q")
        self._codes = array("q")

    def stretch(self, position: int, code: int) -> None:
        """From ``position`` on, positions stand for the frames from ``code`` (capture << FILE_SHIFT | frame) on."""
        self._starts.append(position)
        self._codes.append(code)

    def stretches(self, positions: Words, codes: Words) -> None:
        """Take several at once."""
        self._starts.frombytes(positions.tobytes())
        self._codes.frombytes(codes.tobytes())

    def adopt(self, other: Origins) -> None:
        """Know what another knows."""
        self.names[:] = other.names
        self._starts, self._codes = other._starts, other._codes

    def codes(self, positions: Words) -> Words:
        """Give capture << FILE_SHIFT | frame for each position; negative ones stay as they are."""
        starts = np.frombuffer(self._starts, dtype=np.int64)
        found = np.frombuffer(self._codes, dtype=np.int64)
        if not len(starts):
            return positions
        at = np.maximum(np.searchsorted(starts, positions, side="right") - 1, 0)
        return np.where(positions < 0, positions, found[at] + positions - starts[at])

    def code(self, position: int) -> int:
        """Give the code of one position."""
        return int(self.codes(np.array([position], dtype=np.int64))[0])


class Member(NamedTuple):
    """One capture of a timeline: where it begins and ends, and what is known of it from those before it.

    Attributes
    ----------
    place : int
        In the list of captures as they were given.
    first, last : int
        ns; time of its first segment, latest time of a segment.

    """

    place: int
    first: int
    last: int


def order(members: Iterable[Member]) -> list[Member]:
    """Put captures in the order of the timeline."""
    return sorted(members, key=lambda member: (member.first, member.place))


def seams(ordered: Sequence[Member]) -> list[int]:
    """Give for each capture, in the order of the timeline, the time up to which its clock is set forward.

    That is the latest time of the capture which it continues, if it begins shortly before that one's end.
    """
    floors = []
    last, begun, alone = -NEVER, -NEVER, True
    following = [member.first for member in ordered[1:]] + [NEVER]
    for member, after in zip(ordered, following, strict=True):
        floor = -NEVER
        if member.first >= last:
            alone, begun = True, member.first
        elif alone and continues(begun, last, member.first, after):
            floor = last
        else:
            alone = False
        floors.append(floor)
        last = max(last, member.last)
    return floors


def continues(begun: int, last: int, first: int, after: int) -> bool:
    """Whether a capture that begins before the one before it has ended is its continuation.

    Parameters
    ----------
    begun, last : int
        ns; when that one began and ended; of several that continue one another, the first and the last of them.
    first : int
        When the capture at hand begins.
    after : int
        When the next begins. What is cut in two is not cut into three at the same moment.

    """
    overlap = last - first
    return overlap <= SEAM and 4 * overlap <= last - begun and after >= last


class Reader:
    """A capture's segments, a block at a time, each with its clock.

    Parameters
    ----------
    batches : iterator of Batch
    index : int
        The capture's place in the timeline.
    floor : int
        ns; its clock shows at least that.

    Attributes
    ----------
    records : int64[n, SEGMENT_SIZE]
        The segments of the block.
    clocks : int64[n]

    """

    def __init__(self, batches: Iterator[Any], index: int, floor: int = -NEVER) -> None:
        self._batches = batches
        self.index = index
        self.clock = floor
        self.records: Words = np.empty((0, k.SEGMENT_SIZE), dtype=np.int64)
        self.clocks: Words = np.empty(0, dtype=np.int64)
        self.batch: Any = None

    def advance(self, *, keep: bool = True) -> bool:
        """Go on to the next block; False at the capture's end.

        Parameters
        ----------
        keep : bool
            Copy the records; otherwise they are those of ``batch``, which the capture uses again for the next.

        """
        for batch in self._batches:
            self.batch = batch
            self.records = segments_of(batch)
            if keep:
                if not batch.count:
                    continue
                self.records = self.records.copy()
            self.clocks = clocks_of(self.records, self.clock)
            if batch.count:
                self.clock = int(self.clocks[-1])
            return True
        self.records, self.clocks = self.records[:0], self.clocks[:0]
        return False

    def take(self, n: int) -> tuple[Words, Words]:
        """Hand out the first ``n`` records of the block, and their clocks."""
        taken = self.records[:n], self.clocks[:n]
        self.records, self.clocks = self.records[n:], self.clocks[n:]
        return taken


def segments_of(batch: Any) -> Words:
    """Look at a batch's segments as rows."""
    words = np.frombuffer(batch.segments, dtype=np.int64, count=batch.count * k.SEGMENT_SIZE)
    return words.reshape(-1, k.SEGMENT_SIZE)


def clocks_of(records: Words, before: int) -> Words:
    """Give the latest time so far, for each record."""
    return np.maximum(np.maximum.accumulate(records[:, k.S_TIME]), before)


@dataclass
class Batch:
    """Segments as the engine takes them: ``count`` records."""

    segments: Any
    count: int


def batch_of(records: Words) -> Batch:
    """Make a batch of some rows; uncompiled kernels need Python's own numbers, for numpy's overflow."""
    return Batch(np.ascontiguousarray(records).reshape(-1).data, len(records))


def merge_blocks(parts: Sequence[tuple[Words, Words, int]]) -> tuple[Words, Words]:
    """Merge blocks of (records, clocks, index): records in the order of the timeline, and the index of each."""
    records = np.concatenate([part[0] for part in parts])
    clocks = np.concatenate([part[1] for part in parts])
    index = np.repeat([part[2] for part in parts], [len(part[0]) for part in parts])
    by = np.lexsort((index, clocks))  # stable: within a capture nothing is reordered
    return records[by], index[by]


class Timeline:
    """Several captures, to be read as one.

    Parameters
    ----------
    sources : sequence of path or binary file
        More than one.
    opener : callable
        Opens a source: :func:`tcptrace_fsm.capture.containers.open_capture`.
    captures : list
        Gets the captures as they are opened, in the order of the timeline.
    origins : Origins
        Gets their names, and where their segments stand.

    """

    def __init__(
        self, sources: Sequence[Any], opener: Callable[..., Any], captures: list[Any], origins: Origins
    ) -> None:
        self.captures = captures
        self.origins = origins
        self._opener = opener
        members = [Member(place, first_time(source, opener), NEVER) for place, source in enumerate(sources)]
        self._waiting = [(member.first, sources[member.place]) for member in order(members)]
        self._open: list[Reader] = []
        self._begun = -NEVER  # when the latest to be opened begins
        self._top = 0  # the last position given
        self._current = (-1, 0)  # capture of the last stretch, and by how much its positions exceed its frames

    def batches(self) -> Iterator[Any]:
        """Give the segments of all captures, numbered by their positions."""
        while self._waiting or self._open:
            if not self._open:
                self._begin()
                yield from self._one_after_another()
            else:
                yield from self._side_by_side()

    @property
    def _next_first(self) -> int:
        return self._waiting[0][0] if self._waiting else NEVER

    def _begin(self, floor: int = -NEVER) -> Reader:
        """Open the next capture."""
        self._begun, source = self._waiting.pop(0)
        capture = self._opener(source)
        reader = Reader(capture.segments(), len(self.captures), floor)
        self.captures.append(capture)
        self.origins.names.append(plain_name(capture.name))
        self._open.append(reader)
        return reader

    def _one_after_another(self) -> Iterator[Any]:
        """Read the only open capture, and what continues it, until another begins beside it."""
        (reader,) = self._open
        begun = self._begun
        while True:
            while reader.advance(keep=False):
                if reader.clock > self._next_first:
                    break
                yield self._alone(reader)
            else:
                self._open = []
                return
            # Another has begun. Does this one end soon?
            held = [(reader.records.copy(), reader.clocks)]
            until = self._next_first + SEAM
            while reader.clock <= until and reader.advance():
                held.append((reader.records, reader.clocks))
            after = self._waiting[1][0] if len(self._waiting) > 1 else NEVER
            if not continues(begun, reader.clock, self._next_first, after):
                reader.records, reader.clocks = (np.concatenate(parts) for parts in zip(*held, strict=True))
                self._begin().advance()
                return
            for records, _ in held:
                yield self._placed(records, np.full(len(records), reader.index))
            self._open = []
            reader = self._begin(reader.clock)

    def _alone(self, reader: Reader) -> Any:
        """Number the batch of the only open capture, where it lies."""
        batch = reader.batch
        if batch.count:
            index, ahead = self._current
            if index != reader.index:
                ahead = self._top + 1 - int(reader.records[0, k.S_FRAME])
                self._current = (reader.index, ahead)
                first = int(reader.records[0, k.S_FRAME])
                self.origins.stretch(first + ahead, reader.index << FILE_SHIFT | first)
            reader.records[:, k.S_FRAME] += ahead
            self._top = int(reader.records[-1, k.S_FRAME])
        return batch

    def _side_by_side(self) -> Iterator[Any]:
        """Merge what the open captures have, up to the first end of a block."""
        self._open = [reader for reader in self._open if len(reader.clocks) or reader.advance()]
        if not self._open:
            return
        low, index = min((int(reader.clocks[-1]), reader.index) for reader in self._open)
        if self._next_first < low:
            self._begin().advance()
            return
        parts = []
        for reader in self._open:
            side = "right" if reader.index <= index else "left"
            n = int(np.searchsorted(reader.clocks, low, side=side))  # type: ignore[call-overload]
            parts.append((*reader.take(n), reader.index))
        records, whose = merge_blocks(parts)
        yield self._placed(records, whose)

    def _placed(self, records: Words, whose: Words) -> Batch:
        """Number records by their positions; ``whose`` gives the capture of each."""
        merged = batch_of(records)
        if merged.count:
            codes = whose << FILE_SHIFT | records[:, k.S_FRAME]
            # Frames without a segment are counted where they do not interrupt a stretch.
            steps = np.ones(len(codes), dtype=np.int64)
            same = whose[1:] == whose[:-1]
            steps[1:][same] = np.diff(codes)[same]
            positions = self._top + np.cumsum(steps)
            begins = np.flatnonzero(np.append(True, ~same))
            self.origins.stretches(positions[begins], codes[begins])
            merged.segments[k.S_FRAME :: k.SEGMENT_SIZE] = positions
            self._top = int(positions[-1])
            self._current = (-1, 0)
        return merged


def first_time(source: Any, opener: Callable[..., Any]) -> int:
    """Give the time of a capture's first segment; that of a stream, which is read only once, is as early as can be."""
    import os

    if not isinstance(source, str | os.PathLike) or os.fspath(source) == "-":
        return -NEVER
    batches = opener(source, chunk_size=1 << 16).segments()
    try:
        for batch in batches:
            if batch.count:
                return int(batch.segments[k.S_TIME])
    finally:
        batches.close()
    return NEVER
