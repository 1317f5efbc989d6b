"""Conversations of a run, or of its tables.

A :class:`Collector` is a sink of a :class:`~tcptrace_fsm.runs.run.Run` whose settings ask for segments. It keeps the
segments of chosen connections only (or of all), of a long transfer a fair sample, and gives a :class:`Conversation` for
each::

    collector = Collector({0, 41})              # or Collector() for every connection; limit=200 for short ones
    run = Run(sources("capture.pcap"), Settings(segments=True))
    run.go([collector])
    for conversation in collector.conversations(run.name, run.span):
        print(conversation.client, conversation.server)

``conn_id`` numbers are the same in every pass over the same captures.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from tcptrace_fsm.core.words import SIDES
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.tables.arrow import numbers
from tcptrace_fsm.tables.columns import SOURCES, Rows, build, plain
from tcptrace_fsm.tables.connections import WAITING_FOR
from tcptrace_fsm.tables.labels import LABELS
from tcptrace_fsm.tables.segments import SegmentTable
from tcptrace_fsm.views.conversation import NONE_LEFT_OUT, Change, Conversation, LeftOut, Segment, Wait
from tcptrace_fsm.views.fates import judge
from tcptrace_fsm.views.undecided import Undecided

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    Words = NDArray[np.int64]

__all__ = ["LIMIT", "Collector", "as_integers", "from_tables"]

LIMIT = 4000
"""Segments kept of one connection, by default; of a longer one a sample stays, and what is left out is counted."""
ROOM = 65536
"""Segments kept of all connections before any of them is looked at for being too long."""
GROUP = 50000
"""Segments that are made tuples at once."""
BEGINNING = 100
"""Segments at a connection's beginning that no sampling touches."""


@dataclass(frozen=True)
class _Batch:
    """What the segment table takes: records in a row."""

    segments: Words
    count: int


@dataclass(frozen=True)
class _Part:
    """Some of the finished connections."""

    connections: Words
    count: int
    transitions: Words
    transition_count: int


_LEFT_OUT = slice(k.SEGMENT_SIZE, k.SEGMENT_SIZE + len(LeftOut._fields))
_EMPTY = np.empty((0, _LEFT_OUT.stop), dtype=np.int64)
_NOTABLE = sum(1 << mark for mark, name in LABELS if name not in {"duplicate_ack", "window_update"})


class Collector:
    """A sink that keeps chosen connections whole, and makes conversations of them.

    Parameters
    ----------
    wanted : collection of int or None
        Which ``conn_id``; None for all.
    limit : int
        Segments kept of each at most, roughly. Of a longer connection its beginning stays, what has a flag or a label
        that tells something as long as there is room, and of the rest an even sample; each segment kept says how many
        went before it.

    """

    def __init__(self, wanted: Collection[int] | None = None, *, limit: int = LIMIT) -> None:
        self._wanted = None if wanted is None else np.array(sorted(wanted), dtype=np.int64)
        self._limit = max(limit, 2 * BEGINNING)
        self._kept: list[Words] = []
        self._kept_count = 0
        self._room = max(ROOM, 4 * limit)
        self._undecided = Undecided()
        self._rows = Rows(SOURCES["connections"])
        self._changes = Rows(SOURCES["transitions"])
        self._table = SegmentTable()
        self.findings: list[Any] = []
        self._waits: dict[int, list[Wait]] = {}

    def _chosen(self, ids: Words) -> NDArray[np.bool_]:
        return ids >= 0 if self._wanted is None else np.isin(ids, self._wanted)

    def take_segments(self, batch: Any) -> None:
        """Take the labelled segments of a batch."""
        if not batch.count:
            return
        size = k.SEGMENT_SIZE
        records = np.frombuffer(batch.segments, dtype=np.int64, count=batch.count * size).reshape(-1, size)
        ids = records[:, k.S_CONNECTION]
        chosen = self._chosen(ids)
        if chosen.any():
            self._kept.append(_widened(records[chosen]))
            self._kept_count += len(self._kept[-1])
            if self._kept_count > self._room:
                self._thin()
        self._undecided.take_segments(records)

    def take(self, finished: Any) -> None:
        """Take what is over: keep the chosen connections' rows, transitions and findings."""
        records = np.frombuffer(finished.connections, dtype=np.int64, count=finished.count * k.CONNECTION_SIZE)
        records = records.reshape(-1, k.CONNECTION_SIZE)
        chosen = records[self._chosen(records[:, k.C_ID])]
        size = k.TRANSITION_SIZE
        changes = np.frombuffer(finished.transitions, dtype=np.int64, count=finished.transition_count * size)
        changes = changes.reshape(-1, size)
        changes = changes[self._chosen(changes[:, k.T_CONNECTION])]
        if len(chosen):
            part = _Part(np.ascontiguousarray(chosen), len(chosen), np.ascontiguousarray(changes), len(changes))
            self._table.learn(part)
            self._rows.add(array("q", part.connections.tobytes()), part.count)
            self._changes.add(array("q", part.transitions.tobytes()), part.transition_count)
        self._undecided.take(records)
        self._take_waits(finished)
        wanted = None if self._wanted is None else set(self._wanted.tolist())
        self.findings += [f for f in finished.findings if wanted is None or f.conn_id in wanted]

    def _take_waits(self, finished: Any) -> None:
        """Keep the waits of the chosen connections, as many as a picture has use for."""
        waits = np.frombuffer(finished.waits, dtype=np.int64, count=finished.wait_count * k.WAIT_SIZE)
        waits = waits.reshape(-1, k.WAIT_SIZE)
        words = [k.WT_CONNECTION, k.WT_START, k.WT_END, k.WT_FOR, k.WT_SIDE]
        for conn_id, start, end, kind, side in waits[self._chosen(waits[:, k.WT_CONNECTION])][:, words].tolist():
            kept = self._waits.setdefault(conn_id, [])
            if len(kept) < self._limit:
                kept.append(Wait(start, end, WAITING_FOR[kind], SIDES[side]))

    def _thin(self) -> None:
        """Drop every other plain segment of the connections that have more than their share."""
        records = np.concatenate(self._kept) if self._kept else _EMPTY
        records = records[np.argsort(records[:, k.S_CONNECTION], kind="stable")]
        _, begins, counts = np.unique(records[:, k.S_CONNECTION], return_index=True, return_counts=True)
        stays = np.ones(len(records), dtype=np.bool_)
        for begin, n in zip(begins.tolist(), counts.tolist(), strict=True):
            if n > self._limit:
                stays[begin : begin + n] = _sample(records[begin : begin + n], self._limit // 2)
        kept = _count_dropped(records, stays)
        self._kept = [kept]
        self._kept_count = len(kept)
        self._room = max(self._room, 2 * self._kept_count)

    def _settled(self) -> Words:
        """Give all records in order of frames, the undecided ones with the connection that they prove to belong to."""
        self._thin()
        records = self._kept[0]
        found = self._undecided.adopted()
        if len(found):
            found = found[self._chosen(found[:, k.S_CONNECTION])]
            records = np.concatenate([records, _widened(found)])
        return records[np.argsort(records[:, k.S_FRAME], kind="stable")]

    def conversations(self, capture: str, span: tuple[int | None, int | None]) -> Iterator[Conversation]:
        """Give the chosen connections that there are, by ``conn_id``. To be called once, when the run is over.

        Parameters
        ----------
        capture : str
            What the capture is called.
        span : tuple of int or None
            First and last capture time, ns.

        """
        records = self._settled()
        self._kept = []
        self._table.add(_Batch(np.ascontiguousarray(records[:, : k.SEGMENT_SIZE]), len(records)))
        parts = [plain(part, "segments") for part in self._table.resolved()]
        order = np.argsort(records[:, k.S_CONNECTION], kind="stable")
        segments = pa.concat_tables(parts).take(numbers(order))
        ids = records[order, k.S_CONNECTION]
        left_out = records[order, _LEFT_OUT]
        change_words, row_words = self._changes.take(), self._rows.take()
        changed, ids_of_rows = change_words[k.T_CONNECTION], row_words[k.C_ID]
        changes = build("transitions", change_words)
        rows = as_integers(build("connections", row_words))
        by_connection: dict[int, list[Any]] = {}
        for finding in self.findings:
            by_connection.setdefault(finding.place, []).append(finding)
        for group in _groups(ids_of_rows, ids):
            (begin, end), (first, last) = np.searchsorted(ids, group), np.searchsorted(changed, group)
            sent = _sent(segments.slice(begin, end - begin), left_out[begin:end].tolist())
            moved = _moved(changes.slice(first, last - first))
            at, to = np.searchsorted(ids_of_rows, group)
            for row in rows.slice(at, to - at).to_pylist():
                conn_id = row["conn_id"]
                a, b = np.searchsorted(ids[begin:end], [conn_id, conn_id + 1])
                c, d = np.searchsorted(changed[first:last], [conn_id, conn_id + 1])
                found, waited = by_connection.get(conn_id, ()), self._waits.get(conn_id, ())
                yield _conversation(row, sent[a:b], moved[c:d], found, (capture, *span), waits=waited)


def _groups(conn_ids: Words, ids: Words) -> Iterator[tuple[int, int]]:
    """Split the connections into runs of ids, each with a bounded number of segments where that can be."""
    ends = np.searchsorted(ids, conn_ids, side="right")
    begin = done = 0
    for i, end in enumerate(ends.tolist()):
        if end - done > GROUP or i == len(ends) - 1:
            yield int(conn_ids[begin]), int(conn_ids[i]) + 1
            begin, done = i + 1, end


def _widened(records: Words) -> Words:
    """Give the records more words, for what is sampled away before them."""
    wide = np.zeros((len(records), _LEFT_OUT.stop), dtype=np.int64)
    wide[:, : k.SEGMENT_SIZE] = records
    return wide


def _sample(records: Words, wanted: int) -> NDArray[np.bool_]:
    """Choose about ``wanted`` of one connection's records."""
    stays = np.ones(len(records), dtype=np.bool_)
    telling = (records[:, k.S_FLAGS] & (k.TCP_SYN | k.TCP_FIN | k.TCP_RST) != 0) | (
        records[:, k.S_MARKS] & _NOTABLE != 0
    )
    for dispensable in (~telling, np.ones(len(records), dtype=np.bool_)):
        while np.count_nonzero(stays) > wanted:
            at = np.flatnonzero(stays & dispensable)
            at = at[at >= BEGINNING]
            if len(at) < 2:
                break
            stays[at[1::2]] = False
    stays[-1] = True  # which counts those before it
    return stays


def _count_dropped(records: Words, stays: NDArray[np.bool_]) -> Words:
    """Drop the records that do not stay; each that stays counts those dropped right before it."""
    kept = records[stays]
    if stays.all() or not len(kept):
        return kept
    side, size = records[:, k.S_SIDE], records[:, k.S_LEN]
    own = [(side == s) & ((size > 0) == data) for data in (True, False) for s in (k.CLIENT, k.SERVER)]
    own += [np.where(side == s, size, 0) for s in (k.CLIENT, k.SERVER)]
    gone = np.cumsum(np.where(stays[:, None], 0, records[:, _LEFT_OUT] + np.stack(own, axis=1)), axis=0)
    kept[:, _LEFT_OUT] += np.diff(gone[np.flatnonzero(stays)], prepend=0, axis=0)
    return kept


# --- from tables to tuples --------------------------------------------------------------------------------------------
def as_integers(table: Any) -> Any:
    """Make a table's times and durations integers (ns), and its dictionaries plain."""
    columns = []
    for column in table.columns:
        if pa.types.is_timestamp(column.type) or pa.types.is_duration(column.type):
            column = column.cast(pa.int64())  # noqa: PLW2901
        elif pa.types.is_dictionary(column.type):
            column = column.cast(pa.string())  # noqa: PLW2901
        columns.append(column)
    return pa.Table.from_arrays(columns, names=table.schema.names)


def from_tables(
    row: dict[str, Any],
    segments: Any,
    changes: Any,
    findings: Iterable[Any],
    capture: tuple[str, int | None, int | None],
    *,
    waits: Iterable[Wait] = (),
) -> Conversation:
    """Make a conversation of one connection's rows.

    Parameters
    ----------
    row : dict
        Of the connections table, times as integers.
    segments, changes : pyarrow.Table
        Its rows of the segments and transitions tables.
    findings : iterable of Finding
    capture : tuple
        Name, first and last time.
    waits : iterable of Wait

    """
    return _conversation(row, _sent(segments), _moved(changes), findings, capture, waits=waits)


def _conversation(
    row: dict[str, Any],
    segments: Sequence[Segment],
    changes: Sequence[Change],
    findings: Iterable[Any],
    capture: tuple[str, int | None, int | None],
    *,
    waits: Iterable[Wait] = (),
) -> Conversation:
    name, first, last = capture
    began = row["first_time"] if first is None else first
    ended = row["last_time"] if last is None else last
    found = tuple(sorted(findings, key=lambda f: (f.time, f.frame or 0)))
    ordered = tuple(sorted(changes, key=lambda c: c.time))
    judged = judge(segments, ordered)
    sent = tuple(s._replace(fate=judged[i]) if i in judged else s for i, s in enumerate(segments))
    return Conversation(row["conn_id"], name, began, ended, row, sent, ordered, found, tuple(sorted(waits)))


_CHANGE = tuple({"earliest": "time_earliest", "latest": "time_latest"}.get(name, name) for name in Change._fields)
_SEGMENT = Segment._fields[: Segment._fields.index("fate")]


def _columns(table: Any, names: Iterable[str]) -> Iterator[tuple[Any, ...]]:
    whole = as_integers(table)
    return zip(*(whole.column(name).to_pylist() for name in names), strict=True)


def _moved(changes: Any) -> list[Change]:
    return [Change(*values) for values in _columns(changes, _CHANGE)]


def _sent(segments: Any, left_out: Sequence[Sequence[int]] = ()) -> list[Segment]:
    """Make segments of the table's rows; SACK blocks become relative like the ACK."""
    half, whole = 1 << 31, 1 << 32
    made = []
    for i, (ack, *values) in enumerate(_columns(segments, ("ack", *_SEGMENT))):
        s = Segment(*values)
        blocks: tuple[tuple[int, int], ...] = ()
        if s.sack and s.rel_ack is not None:
            wide = [s.rel_ack + (edge - ack + half) % whole - half for edge in cast("Any", s.sack)]
            blocks = tuple(zip(wide[::2], wide[1::2], strict=True))
        before = LeftOut(*left_out[i]) if left_out and any(left_out[i]) else NONE_LEFT_OUT
        made.append(s._replace(sack=blocks, left_out=before))
    return made
