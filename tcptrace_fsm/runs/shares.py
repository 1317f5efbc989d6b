"""Shares of a timeline: some of its connections, followed apart from the others, and put together again.

Connections do not know of one another, so any process can follow any of them, with the very same engine, rules and
tables. Three things tie them together, and each is settled once all shares have seen all segments:

* Numbers. A conn_id and a ``tcp.stream`` count what began before, wherever it was followed. A share numbers its own
  from 0 and keeps the place in the timeline at which it gave each number (:class:`Keys`); ordered by these places, all
  shares' numbers are what a single pass would have given (:func:`numbers`).
* The clock. Whether a segment is late, and when a connection has been over for long enough, depends on the times of all
  segments. Each segment therefore comes with the clock of the whole timeline.
* Surveys. They are made of the finally numbered connections of each share, and what they remember is put together.
"""

from __future__ import annotations

import pickle
from array import array
from dataclasses import dataclass, replace
from functools import partial
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from tcptrace_fsm.capture.timeline import segments_of
from tcptrace_fsm.core.engine import Engine
from tcptrace_fsm.core.finished import Block, Findings, Finished
from tcptrace_fsm.core.judges import Judge, have_finished
from tcptrace_fsm.core.tally import Tally
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.runs.judges import judges
from tcptrace_fsm.tables.anomalies import findings_table, placed
from tcptrace_fsm.tables.columns import SOURCES, Rows, build
from tcptrace_fsm.tables.segments import SegmentTable
from tcptrace_fsm.tables.waits import WAIT_FRAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tcptrace_fsm.capture.losses import Lost
    from tcptrace_fsm.capture.timeline import Origins
    from tcptrace_fsm.core.settings import Settings
    from tcptrace_fsm.tcp.profiles import Profile

    Words = NDArray[np.int64]

__all__ = ["Facts", "Keys", "Share", "Yield", "facts", "numbers", "together"]


@dataclass
class Facts:
    """What a summary says of a capture, apart from the capture."""

    name: str
    format: str
    compression: str
    link_types: list[int]
    frames: int
    bytes_read: int
    size: int | None
    first_time: int | None
    last_time: int | None
    truncated: str | None
    dropped: int | None
    times_held: int
    stray_stamps: int
    outcomes: list[int]
    unsupported_links: dict[int, int]
    broken_headers: int
    icmp_errors: int
    skipped: dict[str, int]


def facts(capture: Any) -> Facts:
    """Take down what a summary says of a capture."""
    found = Facts(**{name: getattr(capture, name) for name in Facts.__dataclass_fields__})
    return replace(found, outcomes=list(found.outcomes), unsupported_links=dict(found.unsupported_links))


class Keys(NamedTuple):
    """Places in the timeline, in order: where numbers were given.

    Attributes
    ----------
    clocks, codes : int64[n]
        What orders the segments of a timeline: see :mod:`tcptrace_fsm.capture.timeline`. Where positions are those of
        the whole
        timeline, they alone.
    late : int
        The last so many got their numbers after all segments.

    """

    clocks: Words
    codes: Words
    late: int = 0


def numbers(keys: Sequence[Keys]) -> list[Words]:
    """Give for each share what its numbers 0, 1, 2 ... are in the whole."""
    sizes = [len(one.codes) for one in keys]
    late = np.concatenate([np.arange(n) >= n - one.late for n, one in zip(sizes, keys, strict=True)])
    by = np.lexsort((np.concatenate([one.codes for one in keys]), np.concatenate([one.clocks for one in keys]), late))
    number = np.empty(len(by), dtype=np.int64)
    number[by] = np.arange(len(by))
    return np.split(number, np.cumsum(sizes)[:-1])


class _Spool:
    """Keeps objects for later, packed: in memory, or in a file."""

    def __init__(self, file: IO[bytes] | None = None) -> None:
        self._file = file
        self._pieces: list[tuple[bytes | int, int, int]] = []

    def add(self, content: Any) -> None:
        data = pickle.dumps(content, protocol=5)
        packed = pa.compress(data, codec="lz4", asbytes=True)
        self._pieces.append((packed if self._file is None else self._file.tell(), len(packed), len(data)))
        if self._file is not None:
            self._file.write(packed)

    def __iter__(self) -> Iterator[Any]:
        for piece, packed, size in self._pieces:
            if self._file is not None and isinstance(piece, int):
                self._file.seek(piece)
                content: Any = self._file.read(packed)
            else:
                content = piece
            yield pickle.loads(pa.decompress(content, size, codec="lz4", asbytes=True))  # noqa: S301 - our own


class _BeforeNumbers(Judge):
    """Has a judge look at single connections only: it gathers later, when they have their final numbers."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge

    def judge(self, block: Block) -> None:
        self._judge.judge(block)


class Share:
    """Follows some of the connections of a timeline.

    Parameters
    ----------
    settings : Settings
    spool : binary file or None
        For what is over until it gets its numbers; None keeps it in memory.
    segment_spool : Path or None
        For segments, where they are wanted one by one.
    lost : Lost or None
        What the capturing machine lost.

    """

    def __init__(
        self,
        settings: Settings,
        *,
        spool: IO[bytes] | None = None,
        segment_spool: Path | None = None,
        lost: Lost | None = None,
    ) -> None:
        self.profile = settings.profile
        early = [_BeforeNumbers(judge) for judge in judges(settings.profile)]
        self._engine = Engine(settings, judges=early)
        self._engine.lost = self.lost = lost
        self.hurried = self.times_held = self.leapt = 0
        self._over = _Spool(spool)
        self._named: list[tuple[Words, Words]] = []
        self._streams: list[tuple[Words, Words]] = []
        self._pending: list[tuple[Words, Words, Words]] = []
        self._last: list[tuple[Words, Words]] = []
        self.segments = SegmentTable(segment_spool) if settings.segments else None
        self.connections = 0

    def take(self, batch: Any, order: tuple[Words, Words] | None = None) -> None:
        """Take segments in the order of the timeline, with its clock in place of their marks.

        Parameters
        ----------
        batch : SegmentBatch
            Their frame numbers are positions, of the whole timeline or of this share.
        order : tuple of int64[n] or None
            The clock and code of each; None where positions are those of the whole timeline.

        """
        if not batch.count:
            return
        self._engine.feed(batch)
        records = segments_of(batch)
        clocks, codes = (np.zeros(batch.count, dtype=np.int64), records[:, k.S_FRAME]) if order is None else order
        marks = records[:, k.S_MARKS]
        for bit, kept in ((k.SEGMENT_NAMES, self._named), (k.SEGMENT_BEGINS_STREAM, self._streams)):
            at = np.flatnonzero(marks >> bit & 1)
            if len(at):
                kept.append((clocks[at], codes[at]))
        at = np.flatnonzero((records[:, k.S_CONNECTION] < 0) & (records[:, k.S_FLAGS] != k.TCP_CLOCK))
        if len(at):
            self._pending.append((records[at, k.S_FRAME], clocks[at], codes[at]))
        if self.segments is not None:
            self.segments.add(batch)
        self._keep()

    def bear_in_mind(self, lost: Lost | None) -> None:
        """Take notice of what the capturing machine lost, as it is known by now."""
        self._engine.lost = self.lost = lost

    def finish(self, now: int) -> None:
        """Judge whatever is still open as of ``now``, the latest time of the timeline, ns."""
        engine = self._engine
        self.hurried, self.times_held, self.leapt = engine.hurried, engine.times_held, engine.leapt
        self._engine.finish(now)
        self._keep(ending=True)
        del self._engine

    def _keep(self, *, ending: bool = False) -> None:
        while (done := self._engine.take()) is not None:
            if self.segments is not None:
                self.segments.learn(done)
            if ending and done.count:
                records = np.frombuffer(done.connections, dtype=np.int64).reshape(-1, k.CONNECTION_SIZE)
                self._last.append((records[:, k.C_ID], records[:, k.C_FIRST_FRAME]))
            self.connections += done.count
            self._over.add(done)

    @property
    def keys(self) -> tuple[Keys, Keys]:
        """Where the numbers of its connections were given, and those of its streams."""
        clocks, codes = _joined(self._named)
        late = self.connections - len(codes)
        if late:  # the SYNs that never were decided, in the order in which they came
            ids, first = (np.concatenate(words) for words in zip(*self._last, strict=True))
            positions, pending_clocks, pending_codes = (np.concatenate(w) for w in zip(*self._pending, strict=True))
            first = first[np.argsort(ids)][len(ids) - late :]
            at = np.searchsorted(positions, first)
            clocks, codes = np.append(clocks, pending_clocks[at]), np.append(codes, pending_codes[at])
        return Keys(clocks, codes, late), Keys(*_joined(self._streams))

    def numbered(self, ids: Words, streams: Words, coded: Origins | None = None) -> Iterator[Finished]:
        """Give what is over with its final numbers.

        Parameters
        ----------
        ids, streams : int64[n]
            As `numbers` gives them for its `keys`.
        coded : Origins or None
            Where positions are the share's own: codes, which mean the same everywhere, take their places.

        """
        cut = self._forgotten(ids)
        for done in self._over:
            words = np.frombuffer(done.connections, dtype=np.int64).copy()
            records = words.reshape(-1, k.CONNECTION_SIZE)
            if cut:
                for c, local in enumerate(records[:, k.C_ID].tolist()):
                    by, link = cut.get(local, (0, True))
                    records[c, k.C_INCARNATION] -= by
                    if not link:
                        records[c, k.C_PREVIOUS_ID] = -1
                        records[c, k.C_FLAGS] &= ~k.CF_LONG_AFTER
            records[:, k.C_ID] = ids[records[:, k.C_ID]]
            _renumber(records, k.C_PREVIOUS_ID, ids)
            _renumber(records, k.C_STREAM, streams)
            _renumber(records, k.C_STREAM_NOW, streams)
            changes = np.frombuffer(done.transitions, dtype=np.int64).copy()
            rows = changes[: done.transition_count * k.TRANSITION_SIZE].reshape(-1, k.TRANSITION_SIZE)
            rows[:, k.T_CONNECTION] = ids[rows[:, k.T_CONNECTION]]
            waits = np.frombuffer(done.waits, dtype=np.int64).copy()
            pauses = waits.reshape(-1, k.WAIT_SIZE)
            pauses[:, k.WT_CONNECTION] = ids[pauses[:, k.WT_CONNECTION]]
            findings = [f if f.conn_id is None else f._replace(conn_id=int(ids[f.conn_id])) for f in done.findings]
            by_position = None
            if coded is not None:
                by_position = Finished(
                    array("q", words.tobytes()),
                    done.count,
                    array("q", changes.tobytes()),
                    done.transition_count,
                    Findings(findings),
                )
                for table, place in zip((records, rows, pauses), _PLACES, strict=True):
                    table[:, place] = coded.codes(table[:, place])
                findings = [placed(finding, coded) for finding in findings]
            connections = array("q", words.tobytes())
            transitions = array("q", changes.tobytes())
            over = Finished(connections, done.count, transitions, done.transition_count, Findings(findings))
            over.waits, over.wait_count = array("q", waits.tobytes()), done.wait_count
            over.logs, over.deaf = done.logs, done.deaf
            if coded is not None:
                over.by_position = by_position
                over.codes = partial(_codes, coded)
            yield over

    def _forgotten(self, ids: Words) -> dict[int, tuple[int, bool]]:
        """Find the uses of four-tuples whose predecessors a single pass would have forgotten by then, and their heirs.

        For each: by how much its incarnation is counted too high, and whether its own link remains.
        """
        if not len(ids) or int(ids.max()) <= k.PAST_MOST:
            return {}
        uses = []
        for done in self._over:
            records = np.frombuffer(done.connections, dtype=np.int64).reshape(-1, k.CONNECTION_SIZE)
            again = records[records[:, k.C_PREVIOUS_ID] >= 0]
            uses.append(again[:, [k.C_ID, k.C_PREVIOUS_ID, k.C_INCARNATION, k.C_FLAGS]])
        found: dict[int, tuple[int, bool]] = {}
        for local, previous, incarnation, flags in sorted(np.concatenate(uses).tolist()):
            if flags & k.CF_LONG_AFTER and ids[local] - ids[previous] > k.PAST_MOST:
                found[local] = incarnation, False
            elif previous in found:
                found[local] = found[previous][0], True
        return found


def _codes(coded: Origins, positions: list[int]) -> list[int]:
    """The codes of some positions."""
    found: list[int] = coded.codes(np.array(positions, dtype=np.int64)).tolist()
    return found


_PLACES = [k.C_FIRST_FRAME, k.C_LAST_FRAME, *WAIT_FRAMES], [k.T_FRAME, k.T_CONFIRMED_BY], [k.WT_BEFORE, k.WT_AFTER]


def _joined(pairs: list[tuple[Words, Words]]) -> tuple[Words, Words]:
    if not pairs:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    clocks, codes = zip(*pairs, strict=True)
    return np.concatenate(clocks), np.concatenate(codes)


def _renumber(records: Words, word: int, to: Words) -> None:
    numbered = records[:, word] >= 0
    records[numbered, word] = to[records[numbered, word]]


class Yield(NamedTuple):
    """What a share has to say once its connections have their numbers."""

    tally: Tally
    gathered: list[Any]
    hurried: int
    times_held: int
    leapt: int


class Parts:
    """Makes Arrow tables of what is over, and hands them to whoever writes them.

    Parameters
    ----------
    tables : sequence of str
    write : callable
        Takes a table's name and some rows of it.
    origins : Origins or None
        Of several captures.

    """

    def __init__(self, tables: Sequence[str], write: Callable[[str, Any], None], origins: Origins | None) -> None:
        self._write = write
        self._origins = origins
        self._rows = {name: Rows(SOURCES[name]) for name in tables if name in SOURCES}
        self._findings: list[Any] | None = [] if "anomalies" in tables else None

    def take(self, finished: Finished) -> None:
        """Take connections that are over."""
        if "connections" in self._rows:
            self._rows["connections"].add(finished.connections, finished.count)
        if "transitions" in self._rows:
            self._rows["transitions"].add(finished.transitions, finished.transition_count)
        if "waits" in self._rows:
            self._rows["waits"].add(finished.waits, finished.wait_count)
        if self._findings is not None:
            self._findings += finished.findings
        self.flush(least=None)

    def flush(self, *, least: int | None = 1) -> None:
        """Write the tables that have at least so many rows; None for full row groups."""
        for name, rows in self._rows.items():
            if rows.count >= (least or SOURCES[name].group):
                self._write(name, build(name, rows.take(), self._origins))
        if self._findings is not None and len(self._findings) >= (least or 1 << 14):
            self._write("anomalies", findings_table(self._findings, self._origins))
            self._findings = []


def harvest(
    share: Share,
    ids: Words,
    streams: Words,
    *,
    take: Sequence[Callable[[Finished], None]] = (),
    coded: Origins | None = None,
) -> Yield:
    """Number what a share has, hand it to each of ``take``, count it, and have it gathered.

    Parameters
    ----------
    share : Share
    ids, streams : int64[n]
        As `numbers` gives them.
    take : sequence of callable
        Take connections that are over.
    coded : Origins or None
        As for :meth:`Share.numbered`.

    """
    tally, gatherers = Tally(), judges(share.profile)
    for finished in share.numbered(ids, streams, coded):
        block = Block(finished, lost=share.lost)
        for judge in gatherers:
            judge.gather(block)  # and keep back what only the whole can tell
        for one in take:
            one(finished)
        tally.take(finished)
    return Yield(tally, [judge.gathered for judge in gatherers], share.hurried, share.times_held, share.leapt)


def together(
    profile: Profile, shares: Sequence[Yield], now: int, origins: Origins | None = None
) -> tuple[Tally, Finished]:
    """Put together what the shares have counted and gathered: the tally of all, and what all of them show."""
    tally, everyone, last = Tally(), judges(profile), Finished()
    for share in shares:
        tally.merge(share.tally)
        for judge, gathered in zip(everyone, share.gathered, strict=True):
            judge.merge(gathered)
    for judge in everyone:
        judge.origins = origins
    have_finished(everyone, now, last)
    tally.take(last)
    return tally, last
