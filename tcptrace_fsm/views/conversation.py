"""Single connections with every segment: what a picture of one needs.

A :class:`Collector` is a sink of a :class:`~tcptrace_fsm.runs.run.Run` whose settings ask for segments. It keeps the
segments of chosen connections only (or of all), of a long transfer a fair sample, and gives a :class:`Conversation` for
each::

    collector = Collector({0, 41})              # or Collector() for every connection; limit=200 for short ones
    run = Run(sources("capture.pcap"), Settings(segments=True))
    run.go([collector])
    for conversation in collector.conversations(run.name, run.span):
        conversation.client, conversation.server   # "10.0.0.1:49412", "10.0.0.2:8080"
        conversation.row["closing"]                # its row of the connections table; times and durations in ns
        conversation.segments                      # tuple of Segment: frame, time, side, flags, rel_seq, label, fate
        conversation.changes                       # tuple of Change: the transitions of both sides, by time
        conversation.stays("client")               # list of Stay: its states, each with begin, end and basis
        conversation.findings                      # tuple of Finding, each with its frames

``conn_id`` numbers are the same in every pass over the same captures. In Python there are
``trace.conversations(wanted)`` and ``trace.connection(n).conversation()``. Pictures of a conversation are made by
:func:`tcptrace_fsm.views.ladder.ladder_svg` and :func:`tcptrace_fsm.views.ladder.ladder_text`.

What became of each segment is judged in :mod:`tcptrace_fsm.views.fates`.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pyarrow as pa

from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.tables import schema
from tcptrace_fsm.tables.arrow import numbers
from tcptrace_fsm.tables.columns import SOURCES, Rows, build, plain
from tcptrace_fsm.tables.segments import SegmentTable
from tcptrace_fsm.views.fates import distance, judge

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    Words = NDArray[np.int64]

__all__ = [
    "LIMIT",
    "Change",
    "Collector",
    "Conversation",
    "LeftOut",
    "Segment",
    "Stay",
    "Undecided",
    "as_integers",
    "from_tables",
]

LIMIT = 4000
"""Segments kept of one connection, unless told otherwise; of a longer one a sample stays, and what went is counted."""
ROOM = 65536
"""Segments kept of all connections before any of them is looked at for being too long."""
UNDECIDED = 65536
"""Segments of no connection yet (SYNs inside others) that are kept until it is known whose they are."""
GROUP = 50000
"""Segments that are made tuples at once."""
BEGINNING = 100
"""Segments at a connection's beginning that no sampling touches."""


class LeftOut(NamedTuple):
    """Segments that a sample left out, by sender: with payload, without, and the payload's bytes."""

    client_data: int = 0
    server_data: int = 0
    client_empty: int = 0
    server_empty: int = 0
    client_bytes: int = 0
    server_bytes: int = 0

    @property
    def segments(self) -> int:
        """How many."""
        return self.client_data + self.server_data + self.client_empty + self.server_empty


NONE_LEFT_OUT = LeftOut()


class Segment(NamedTuple):
    """One segment, as the picture needs it.

    Attributes
    ----------
    frame : int
    time : int
        Capture time, ns since 1970 UTC.
    side : str
        The sender: ``client`` or ``server``.
    flags : str
        As in the segments table: ``SYN+ACK``.
    rel_seq, rel_ack : int or None
        Relative numbers; None where no base is known, or without ACK flag.
    payload_len : int
        Bytes.
    window : int or None
        Scaled, bytes; None where the scale is unknown.
    sack : tuple of (int, int)
        SACK blocks, relative like ``rel_ack``.
    tsval, tsecr : int or None
    label : str
        As in the segments table, or empty.
    sender_state, receiver_state : str or None
        After this segment.
    fate : str
        ``lost``: the analysis holds that it did not arrive, or was discarded on arrival. ``unknown``: nothing tells.
        Empty: it arrived, proved or presumed. See :mod:`tcptrace_fsm.views.fates`.
    left_out : LeftOut
        What was sampled away right before this one.

    """

    frame: int
    time: int
    side: str
    flags: str
    rel_seq: int | None
    rel_ack: int | None
    payload_len: int
    window: int | None
    sack: tuple[tuple[int, int], ...]
    tsval: int | None
    tsecr: int | None
    label: str
    sender_state: str | None
    receiver_state: str | None
    fate: str = ""
    left_out: LeftOut = NONE_LEFT_OUT

    @property
    def end(self) -> int | None:
        """Sequence number after it, SYN and FIN counted."""
        if self.rel_seq is None:
            return None
        return self.rel_seq + self.payload_len + ("SYN" in self.flags) + ("FIN" in self.flags)


class Change(NamedTuple):
    """One row of the transitions table; times in ns, None where the table has null."""

    side: str
    time: int
    earliest: int | None
    latest: int | None
    frame: int | None
    from_state: str
    to_state: str
    event: str
    basis: str
    confirmed_by: int | None


class Stay(NamedTuple):
    """An endpoint's stay in a state; ``change`` led to it, None for the one it began in. Times in ns."""

    state: str
    begin: int
    end: int
    basis: str
    change: Change | None


@dataclass(frozen=True)
class Conversation:
    """One connection, whole.

    Attributes
    ----------
    conn_id : int
    capture : str
        What the capture is called.
    began, ended : int
        First and last moment of the capture, ns: times on pictures count from the first.
    row : dict
        Its row of the connections table, by column; times and durations in ns, None for null.
    segments : tuple of Segment
        In capture order.
    changes : tuple of Change
        Of both sides, by time.
    findings : tuple of Finding
        By time; see :class:`tcptrace_fsm.findings.rule.Finding`.

    """

    conn_id: int
    capture: str
    began: int
    ended: int
    row: dict[str, Any]
    segments: tuple[Segment, ...]
    changes: tuple[Change, ...]
    findings: tuple[Any, ...]

    @property
    def client(self) -> str:
        """Address and port of the active opener."""
        return endpoint(self.row["client_ip"], self.row["client_port"])

    @property
    def server(self) -> str:
        """Address and port of the passive opener."""
        return endpoint(self.row["server_ip"], self.row["server_port"])

    @property
    def total(self) -> int:
        """Segments of the connection, those included that were sampled away."""
        return len(self.segments) + sum(s.left_out.segments for s in self.segments)

    def distance(self, side: str) -> int | None:
        """Half a round trip between capture point and that endpoint, ns; None where no answer of it was timed."""
        return distance(self.row, side)

    def stays(self, side: str) -> list[Stay]:
        """Give that endpoint's states in order, from the capture's first moment to its last (or its last timer)."""
        changes = [c for c in self.changes if c.side == side]
        if not changes:
            state, basis = self.row[f"{side}_state"], self.row[f"{side}_state_basis"]
            return [Stay(state, self.began, self.ended, basis, None)]
        stays = [Stay(changes[0].from_state, min(self.began, changes[0].time), changes[0].time, "inferred", None)]
        for change, after in zip(changes, [*changes[1:], None], strict=True):
            end = after.time if after else max(self.ended, change.time)
            stays.append(Stay(change.to_state, change.time, end, change.basis, change))
        return stays


def endpoint(address: str, port: int) -> str:
    """Write address and port as netstat and RFC 3986 do.

    >>> endpoint("10.0.0.1", 80), endpoint("2001:db8::1", 80)
    ('10.0.0.1:80', '[2001:db8::1]:80')
    """
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


# --- collecting -------------------------------------------------------------------------------------------------------
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
_NOTABLE = sum(1 << mark for mark, name in schema.LABELS if name not in {"duplicate_ack", "window_update"})
_TUPLE = [k.S_NET, k.S_SRC_HI, k.S_SRC_LO, k.S_DST_HI, k.S_DST_LO, k.S_PORTS]


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
        wanted = None if self._wanted is None else set(self._wanted.tolist())
        self.findings += [f for f in finished.findings if wanted is None or f.conn_id in wanted]

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
        changed, known = change_words[k.T_CONNECTION], row_words[k.C_ID]
        changes = build("transitions", change_words)
        rows = as_integers(build("connections", row_words))
        by_connection: dict[int, list[Any]] = {}
        for finding in self.findings:
            by_connection.setdefault(finding.conn_id, []).append(finding)
        for group in _groups(known, ids):
            (begin, end), (first, last) = np.searchsorted(ids, group), np.searchsorted(changed, group)
            sent = _sent(segments.slice(begin, end - begin), left_out[begin:end].tolist())
            moved = _moved(changes.slice(first, last - first))
            at, to = np.searchsorted(known, group)
            for row in rows.slice(at, to - at).to_pylist():
                conn_id = row["conn_id"]
                a, b = np.searchsorted(ids[begin:end], [conn_id, conn_id + 1])
                c, d = np.searchsorted(changed[first:last], [conn_id, conn_id + 1])
                yield _conversation(row, sent[a:b], moved[c:d], by_connection.get(conn_id, ()), (capture, *span))


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
    told = (records[:, k.S_FLAGS] & (k.TCP_SYN | k.TCP_FIN | k.TCP_RST) != 0) | (records[:, k.S_MARKS] & _NOTABLE != 0)
    for dispensable in (~told, np.ones(len(records), dtype=np.bool_)):
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


def _either_way(records: Words, one: int, other: int, ports: int) -> Words:
    """Give a number for each four-tuple that is the same in both directions; different ones may share it."""
    both = records[:, ports]
    return records[:, one] ^ records[:, other] ^ ((both >> 16 ^ both & 0xFFFF) << 32)


class Undecided:
    """SYNs inside live connections, of which only what follows tells whether they begin another.

    When they are tracked they belong to no connection yet (``conn_id`` -1); here they find the one that they belong to.
    """

    def __init__(self) -> None:
        self._records: list[Words] = []
        self._count = 0
        self._owners: dict[int, int] = {}  # frame of a connection's first segment to its conn_id
        self._around: list[Words] = []  # connections that one of them may have fallen into

    def take_segments(self, records: Words) -> None:
        """Take labelled segments, of which only the undecided are kept."""
        undecided = records[(records[:, k.S_CONNECTION] < 0) & (records[:, k.S_FLAGS] & k.TCP_BROKEN == 0)]
        if len(undecided) and self._count < UNDECIDED:
            self._records.append(undecided)
            self._count += len(undecided)

    def take(self, connections: Words) -> None:
        """Learn of connections that are over: which of them began with an undecided SYN, or were live when one came."""
        if self._count:
            records = np.concatenate(self._records)
            for c in connections[np.isin(connections[:, k.C_FIRST_FRAME], records[:, k.S_FRAME])]:
                self._owners[int(c[k.C_FIRST_FRAME])] = int(c[k.C_ID])
            ours = _either_way(connections, k.C_CLIENT_LO, k.C_SERVER_LO, k.C_PORTS)
            theirs = _either_way(records, k.S_SRC_LO, k.S_DST_LO, k.S_PORTS)
            self._around.append(connections[np.isin(ours, theirs)])

    def adopted(self) -> Words:
        """Give the undecided SYNs, numbered: those that began a connection, and those that fell into one."""
        taken = []
        begun: dict[tuple[int, ...], int] = {}  # attempt (four-tuple and ISN) to the connection that came of it
        known: dict[
            tuple[int, ...], list[tuple[int, Words]]
        ] = {}  # four-tuple to the sender's side, and the connection
        for c in np.concatenate(self._around) if self._around else ():
            client, server = (c[k.C_CLIENT_HI], c[k.C_CLIENT_LO]), (c[k.C_SERVER_HI], c[k.C_SERVER_LO])
            ports = int(c[k.C_PORTS])
            back = (ports & 0xFFFF) << 16 | ports >> 16
            for side, ends in (
                (k.CLIENT, (c[k.C_NET], *client, *server, ports)),
                (k.SERVER, (c[k.C_NET], *server, *client, back)),
            ):
                known.setdefault(tuple(map(int, ends)), []).append((side, c))
        for record in np.concatenate(self._records) if self._records else ():
            key = tuple(map(int, record[_TUPLE]))
            attempt, frame = (*key, int(record[k.S_SEQ])), int(record[k.S_FRAME])
            if frame in self._owners:
                begun[attempt] = self._owners[frame]
            copy = record.copy()
            if attempt in begun:
                copy[k.S_CONNECTION] = begun[attempt]
                taken.append(copy)
                continue
            open_then = [
                (int(c[k.C_FIRST_FRAME]), side, int(c[k.C_ID]))
                for side, c in known.get(key, ())
                if c[k.C_FIRST_FRAME] <= frame and (c[k.C_TAKEN_OVER] < 0 or frame < c[k.C_TAKEN_FRAME])
            ]
            if open_then:
                _, copy[k.S_SIDE], copy[k.S_CONNECTION] = max(open_then)
                taken.append(copy)
        return np.array(taken) if taken else np.empty((0, k.SEGMENT_SIZE), dtype=np.int64)


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

    """
    return _conversation(row, _sent(segments), _moved(changes), findings, capture)


def _conversation(
    row: dict[str, Any],
    segments: Sequence[Segment],
    changes: Sequence[Change],
    findings: Iterable[Any],
    capture: tuple[str, int | None, int | None],
) -> Conversation:
    name, first, last = capture
    began = row["first_time"] if first is None else first
    ended = row["last_time"] if last is None else last
    told = tuple(sorted(findings, key=lambda f: (f.time, f.frame or 0)))
    ordered = tuple(sorted(changes, key=lambda c: c.time))
    judged = judge(segments, ordered)
    sent = tuple(s._replace(fate=judged[i]) if i in judged else s for i, s in enumerate(segments))
    return Conversation(row["conn_id"], name, began, ended, row, sent, ordered, told)


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
