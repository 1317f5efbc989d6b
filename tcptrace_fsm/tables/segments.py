"""The segments table: what each segment did, and in what state it left both ends.

A segment's states are known only when its connection is over, so the table is made in two steps. While the capture is
read, what is final already goes to a temporary Arrow file, a record batch at a time. When all connections are over, the
batches are read back in order, and each gets its last columns: relative numbers, scaled windows and states. In memory
stay only a few words per connection and per transition.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa

from tcptrace_fsm.capture.codes import FILE_SHIFT, FRAME_MASK
from tcptrace_fsm.core.words import FATES, SIDES, STATES
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.tables import schema
from tcptrace_fsm.tables.arrow import ARROW_TYPES, coded, numbers, words
from tcptrace_fsm.tables.columns import assemble
from tcptrace_fsm.tables.labels import BROKEN, LABELS
from tcptrace_fsm.tcp.flags import flags_text
from tcptrace_fsm.tcp.machine import Event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from tcptrace_fsm.capture.timeline import Origins

    Words = NDArray[np.int64]

__all__ = ["SegmentTable"]

_FLAGS = tuple(flags_text(flags) for flags in range(512))
_LABELS = ("", *dict.fromkeys(label for _, label in LABELS), BROKEN)
_BROKEN = len(_LABELS) - 1
_HALF, _WHOLE = 1 << 31, 1 << 32
UNDETERMINED = -1
GROUP = 131072  # segments to a row group


class SegmentTable:
    """Collects labelled segments and finished connections; gives the rows of the table at the end.

    Parameters
    ----------
    spool : path or None
        Temporary file; None keeps everything in memory.
    origins : Origins or None
        Of several captures: which frame of which stands at each position.

    """

    def __init__(self, spool: Path | None = None, origins: Origins | None = None) -> None:
        self._spool = spool
        self._origins = origins
        self._file: Any = None
        self._sink: Any = None
        self._batches: list[Any] = []
        self._waiting: list[Words] = []
        self._waiting_count = 0
        self._two_points = False
        self._transitions: list[Words] = []
        self._connections: list[Words] = []

    def add(self, batch: Any) -> None:
        """Take the segments of a batch, after the engine has labelled them."""
        if not batch.count:
            return
        size = k.SEGMENT_SIZE
        records = np.frombuffer(batch.segments, dtype=np.int64, count=batch.count * size).reshape(-1, size)
        others = records[:, k.S_FLAGS] & (k.TCP_QUOTED | k.TCP_CLOCK) != 0
        if others.any():
            records = records[~others]
        self._two_points = self._two_points or bool(records[:, k.S_FATE].any())
        self._waiting.append(records.copy())  # the capture uses its array again
        self._waiting_count += len(records)
        if self._waiting_count >= GROUP:
            self._write()

    def learn(self, finished: Any) -> None:
        """Take from finished connections what their segments need."""
        if finished.count:
            size = k.CONNECTION_SIZE
            records = np.frombuffer(finished.connections, dtype=np.int64, count=finished.count * size)
            self._connections.append(records.reshape(-1, size)[:, _CONNECTION_WORDS])
        if finished.transition_count:
            size = k.TRANSITION_SIZE
            records = np.frombuffer(finished.transitions, dtype=np.int64, count=finished.transition_count * size)
            self._transitions.append(records.reshape(-1, size)[:, _TRANSITION_WORDS])

    def resolved(
        self,
        *,
        origins: Origins | None = None,
        ids: Words | None = None,
        streams: Words | None = None,
        positions: bool = False,
    ) -> Iterator[Any]:
        """Give the table's rows in order of frames, a row group at a time.

        Parameters
        ----------
        origins : Origins or None
            In place of those that were given.
        ids, streams : int64[n] or None
            The final conn_id and tcp_stream of each, where they were numbered otherwise up to now.
        positions : bool
            Append a column ``position`` by which the rows are ordered.

        """
        self._write()
        resolver = _Resolver(
            self._connections, self._transitions, origins or self._origins, (ids, streams), positions, self._two_points
        )
        self._connections, self._transitions = [], []
        for part in self._read():
            yield resolver.complete(part)
        if not self._batches and self._file is None:
            yield resolver.complete(_part(np.empty((0, k.SEGMENT_SIZE), dtype=np.int64)))

    def close(self) -> None:
        """Let go of the temporary file, which is the caller's to delete."""
        if self._file is not None and not self._sink.closed:
            with self._sink:
                self._file.close()

    def _write(self) -> None:
        if not self._waiting:
            return
        part = _part(np.concatenate(self._waiting))
        self._waiting, self._waiting_count = [], 0
        if self._spool is None:
            self._batches.append(part)
            return
        if self._file is None:
            options = pa.ipc.IpcWriteOptions(compression="lz4", emit_dictionary_deltas=True)
            self._sink = pa.OSFile(cast("Any", os.fsencode(self._spool)), "wb")  # a path may be no text
            self._file = pa.ipc.new_stream(self._sink, part.schema, options=options)
        self._file.write_batch(part)

    def _read(self) -> Iterator[Any]:
        if self._file is None:
            yield from self._batches
            return
        self.close()
        with (
            pa.OSFile(cast("Any", os.fsencode(cast("Path", self._spool))), "rb") as source,
            pa.ipc.open_stream(source) as batches,
        ):
            yield from batches


_CONNECTION_WORDS = np.array(
    [k.C_ID, k.C_CLIENT_STATE, k.C_SERVER_STATE]
    + [
        k.C_ENDPOINTS + side * k.ENDPOINT_SIZE + word
        for word in (k.E_BASE, k.E_BASE_KNOWN, k.E_SHIFT, k.E_STAGE)
        for side in (k.CLIENT, k.SERVER)
    ]
)
_TRANSITION_WORDS = np.array([k.T_CONNECTION, k.T_SIDE, k.T_TIME, k.T_FRAME, k.T_FROM, k.T_TO, k.T_EARLIEST, k.T_EVENT])
_RECEIVED = np.array([int(event) for event in Event if event.name.startswith("RCV_")])


def _part(records: Words) -> Any:
    """Make the columns that need nothing but the segment itself."""
    flags, options = records[:, k.S_FLAGS], records[:, k.S_OPTIONS]
    no_ack = (flags & k.TCP_ACK) == 0
    labels = _label_codes(records[:, k.S_MARKS])
    labels[flags & k.TCP_BROKEN != 0] = _BROKEN
    no_stamps = (options & k.OPT_TIMESTAMPS) == 0
    return pa.RecordBatch.from_pydict(
        {
            "frame": numbers(records[:, k.S_FRAME]),
            "time": numbers(records[:, k.S_TIME]),
            "conn_id": numbers(records[:, k.S_CONNECTION]),
            "side": numbers(records[:, k.S_SIDE].astype(np.int8)),
            "seq": numbers(records[:, k.S_SEQ]),
            "ack": numbers(records[:, k.S_ACK], no_ack),
            "flags": numbers((flags & 511).astype(np.int16)),
            "payload_len": numbers(np.maximum(records[:, k.S_SHOWN], 0)),
            "tsval": numbers(records[:, k.S_TSVAL], no_stamps),
            "tsecr": numbers(records[:, k.S_TSECR], no_stamps),
            "sack": _sack(records),
            "tcp_stream": numbers(records[:, k.S_STREAM] >> k.STREAM_SHIFT),
            "tcp_completeness": numbers((records[:, k.S_STREAM] & (1 << k.STREAM_SHIFT) - 1).astype(np.int8)),
            "label": numbers(labels),
            "window_raw": numbers(records[:, k.S_WINDOW]),
            **_between(records),
        }
    )


def _between(records: Words) -> dict[str, Any]:
    """Make the columns about two capture points: null where there is one."""
    fate = records[:, k.S_FATE]
    there = (fate == k.FATE_ARRIVED) | (fate == k.FATE_PARTLY) | (fate == k.FATE_FOREIGN) | (fate == k.FATE_COPY)
    arrival, frame = records[:, k.S_ARRIVAL], records[:, k.S_ARRIVAL_FRAME]
    there &= frame >= 0
    both = there & (frame != records[:, k.S_FRAME])
    return {
        "fate": numbers(fate.astype(np.int8), fate == 0),
        "arrival": numbers(arrival, ~there),
        "arrival_frame": numbers(frame, ~there),
        "owd": numbers(arrival - records[:, k.S_TIME], ~both),
    }


def _valid(column: Any) -> NDArray[np.bool_]:
    """Tell where a column has a value."""
    bitmap = column.buffers()[0]
    if bitmap is None:
        return np.ones(len(column), dtype=bool)
    bits = np.unpackbits(np.frombuffer(bitmap, dtype=np.uint8), bitorder="little")
    return bits[column.offset : column.offset + len(column)].astype(bool)


def _label_codes(marks: Words) -> NDArray[np.int8]:
    codes = np.zeros(len(marks), dtype=np.int8)
    seen = int(np.bitwise_or.reduce(marks)) if len(marks) else 0
    for mark, label in reversed(LABELS):
        if seen >> mark & 1:
            codes[(marks >> mark & 1).astype(bool)] = _LABELS.index(label)
    return codes


def _sack(records: Words) -> Any:
    blocks = np.clip(records[:, k.S_SACKS], 0, 4)
    offsets = np.zeros(len(records) + 1, dtype=np.int32)
    np.cumsum(2 * blocks, out=offsets[1:])
    having = records[blocks > 0]
    edges = having[:, k.S_SACK : k.S_SACK + 8]
    values = edges[np.arange(8) < 2 * blocks[blocks > 0][:, None]]
    none = numbers(offsets, np.append(blocks == 0, False))
    return pa.ListArray.from_arrays(cast("Any", none), numbers(values))


class _Resolver:
    """Completes batches of segments, which come in order of frames, from what is known of their connections."""

    def __init__(
        self,
        connections: list[Words],
        transitions: list[Words],
        origins: Origins | None = None,
        renumbered: tuple[Words | None, Words | None] = (None, None),
        positions: bool = False,
        two_points: bool = False,
    ) -> None:
        self._origins = origins
        self._ids, self._streams = renumbered
        self._positions = positions
        records = np.concatenate(connections) if connections else np.empty((0, len(_CONNECTION_WORDS)), dtype=np.int64)
        # An endpoint's place is 2 * conn_id + side. Two more stand for the segments of no connection (conn_id -1).
        ends = 2 * (int(records[:, 0].max()) + 1 if len(records) else 0) + 2
        self._state = np.full(ends, UNDETERMINED, dtype=np.int8)
        self._base = np.zeros(ends, dtype=np.int64)
        self._based = np.zeros(ends, dtype=bool)
        self._shift = np.full(ends, UNDETERMINED, dtype=np.int8)
        for side in (k.CLIENT, k.SERVER):
            at = 2 * records[:, 0] + side
            self._state[at] = records[:, 1 + side]
            self._base[at] = records[:, 3 + side]
            self._based[at] = records[:, 5 + side] != k.BASE_NONE
            self._shift[at] = _scale(records, side)
        self._seq_before = np.zeros(ends, dtype=np.int64)
        self._ack_before = np.zeros(ends, dtype=np.int64)
        rows = np.concatenate(transitions) if transitions else np.empty((0, len(_TRANSITION_WORDS)), dtype=np.int64)
        end = 2 * rows[:, 0] + rows[:, 1]
        if len(rows):  # before its first transition, an endpoint is in the state that this one leaves
            first = np.unique(end, return_index=True)
            self._state[first[0]] = rows[first[1], 4]
        self._at = _Moments(rows, end) if two_points else None
        frames, timers = rows[:, 3] >= 0, rows[:, 3] < 0
        by_frame = np.argsort(rows[frames, 3], kind="stable")
        self._by_frame = _Changes(np.flatnonzero(frames)[by_frame], end, rows[:, 3], rows[:, 5])
        self._by_time = _Timed(np.flatnonzero(timers), end, rows[:, 2], rows[:, 5], ends)

    def complete(self, part: Any) -> Any:
        """Return the finished rows of the next batch."""
        column = {name: part.column(name) for name in part.schema.names}
        frame, time = words(column["frame"]), words(column["time"])
        side = words(column["side"])
        conn_id, stream = words(column["conn_id"]), words(column["tcp_stream"])
        if self._streams is not None and len(self._streams):
            stream = np.where(stream < 0, stream, self._streams[np.maximum(stream, 0)])
        sender = 2 * np.where(conn_id < 0, len(self._state) // 2 - 1, conn_id) + side
        receiver = sender ^ 1
        flags = words(column["flags"])
        if self._at is not None:
            arrival = column["arrival"]
            sender_state = self._at.states(sender, time, self._state)
            receiver_state = self._at.states(receiver, np.where(_valid(arrival), words(arrival), time), self._state)
        else:
            changes = self._due(frame, time, conn_id)
            sender_state, receiver_state = self._after(sender, frame, changes), self._after(receiver, frame, changes)
            self._state[changes.end] = changes.state  # of several for one end the last one stays
        no_ack = (flags & k.TCP_ACK) == 0
        ack = words(column["ack"])
        rel_seq = self._relative(words(column["seq"]), sender, sender, self._seq_before, self._based[sender])
        has_ack = self._based[receiver] & ~no_ack
        rel_ack = self._relative(ack, sender, receiver, self._ack_before, has_ack)
        shift = np.where((flags & k.TCP_SYN) != 0, 0, self._shift[sender])
        raw = words(column["window_raw"])
        made = {
            "time": column["time"].view(ARROW_TYPES["timestamp"]),
            "conn_id": numbers(conn_id, conn_id < 0),
            "side": coded(side, SIDES, words(column["label"]) == _BROKEN),
            "tcp_stream": numbers(stream, stream < 0),
            "tcp_completeness": numbers(words(column["tcp_completeness"]).astype(np.int64), stream < 0),
            "flags": coded(flags.astype(np.int32), _FLAGS),
            "label": coded(words(column["label"]), _LABELS),
            "rel_seq": numbers(rel_seq, ~self._based[sender]),
            "rel_ack": numbers(rel_ack, ~has_ack),
            "window": numbers(raw << np.maximum(shift, 0).astype(np.int64), shift < 0),
            "fate": coded(words(column["fate"]), FATES, ~_valid(column["fate"])),
            "arrival": column["arrival"].view(ARROW_TYPES["timestamp"]),
            "owd": column["owd"].view(ARROW_TYPES["duration"]),
            "sender_state": coded(sender_state, STATES, sender_state < 0),
            "receiver_state": coded(receiver_state, STATES, receiver_state < 0),
        }
        if self._origins is not None:
            codes = self._origins.codes(column["frame"].to_numpy())
            made["frame"] = numbers(codes & FRAME_MASK)
            made["file"] = coded((codes >> FILE_SHIFT).astype(np.int32), self._origins.names)
            there = _valid(column["arrival_frame"])
            codes = self._origins.codes(np.where(there, words(column["arrival_frame"]), -1))
            made["arrival_frame"] = numbers(codes & FRAME_MASK, ~there)
            made["arrival_file"] = coded(
                np.maximum(codes >> FILE_SHIFT, 0).astype(np.int32), self._origins.names, ~there
            )
        files = self._origins is not None
        columns = schema.declared("segments", files=files)
        if self._ids is not None and len(self._ids):
            made["conn_id"] = numbers(self._ids[np.maximum(conn_id, 0)], conn_id < 0)
        table = assemble("segments", [made.get(c.name, column.get(c.name)) for c in columns], files=files)
        return table.append_column("position", column["frame"]) if self._positions else table

    def _due(self, frame: Words, time: Words, conn_id: Words) -> _Due:
        """Return the changes up to the batch's last frame, each with the frame from which it holds.

        Those that time alone brings hold from the first segment of their own connection that is as late: the clock of
        the others, or where a batch ends, makes no difference.
        """
        if not len(frame):
            return _Due(*(np.empty(0, dtype=np.int64),) * 2, np.empty(0, dtype=np.int8))
        shown = self._by_frame.until(int(frame[-1]))
        timed, since = self._by_time.reached(frame, time, conn_id)
        row = np.concatenate([shown.row, timed])
        end = np.concatenate([shown.end, self._by_time.end_of(timed)])
        state = np.concatenate([shown.state, self._by_time.state_of(timed)])
        since = np.concatenate([shown.at, since])
        order = np.lexsort((row, since, end))
        return _Due(end[order], since[order], state[order])

    def _after(self, end: Words, frame: Words, changes: _Due) -> NDArray[np.int8]:
        """Return the states of these endpoints after these frames."""
        state = self._state[end]
        if len(changes.end) and len(frame):
            first = int(frame[0])
            span = int(max(frame[-1], changes.since.max())) - first + 2

            def key(ends: Words, frames: Words) -> Words:
                return ends * span + np.maximum(frames - first, 0)

            at = np.searchsorted(key(changes.end, changes.since), key(end, frame), side="right") - 1
            hit = (at >= 0) & (changes.end[at] == end)
            state[hit] = changes.state[at[hit]]
        return state

    def _relative(self, number: Words, end: Words, whose: Words, before: Words, wanted: NDArray[np.bool_]) -> Words:
        """Widen sequence numbers to 64 bits, relative to a base: each lies within 2**31 of the one before it."""
        result = np.zeros(len(number), dtype=np.int64)
        at = np.flatnonzero(wanted)
        if not len(at):
            return result
        at = at[np.argsort(end[at], kind="stable")]
        ends = end[at]
        low = (number[at] - self._base[whose[at]]) % _WHOLE
        begins = np.flatnonzero(np.append(True, ends[1:] != ends[:-1]))
        previous = np.empty_like(low)
        previous[1:] = low[:-1]
        previous[begins] = before[ends[begins]]
        step = (low - previous + _HALF) % _WHOLE - _HALF
        total = np.cumsum(step)
        lengths = np.diff(np.append(begins, len(at)))
        start = before[ends[begins]] - (total[begins] - step[begins])
        wide = total + np.repeat(start, lengths)
        before[ends] = wide  # of several for one end the last one stays
        result[at] = wide
        return result


def _scale(records: Words, side: int) -> Words:
    """Return the shift of a side's windows: the option counts only where both SYNs carried it (RFC 7323 2.2)."""
    own, peer = records[:, 7 + side], records[:, 7 + 1 - side]
    own_syn, peer_syn = ((records[:, 9 + s] & (k.ES_SYN | k.ES_SYN_ACK)) != 0 for s in (side, 1 - side))
    unscaled = own_syn & (own < 0) | peer_syn & (peer < 0)
    return np.where(unscaled, 0, np.where(own_syn & peer_syn, own, UNDETERMINED))


class _Moments:
    """States by time, for two capture points: their segments come in no order of frames, but on one clock.

    What an endpoint received has changed its state when it had come to the point near it.
    """

    def __init__(self, rows: Words, end: Words) -> None:
        received = np.isin(rows[:, 7], _RECEIVED) & (rows[:, 6] >= 0) & (rows[:, 3] >= 0)
        time = np.where(received, np.minimum(rows[:, 2], np.maximum(rows[:, 6], 0)), rows[:, 2])
        order = np.argsort(end, kind="stable")  # an endpoint's changes come in their order
        self._times = np.unique(time)
        self._end, self._state = end[order], rows[order, 5].astype(np.int8)
        self._key = np.maximum.accumulate(self._keys(end[order], time[order]))

    def _keys(self, end: Words, time: Words) -> Words:
        return end * (len(self._times) + 1) + np.searchsorted(self._times, time, side="right")

    def states(self, end: Words, time: Words, before: NDArray[np.int8]) -> NDArray[np.int8]:
        """Return the states of these endpoints at these times; ``before`` are those they begin in."""
        state = before[end]
        if len(self._key):
            at = np.searchsorted(self._key, self._keys(end, time), side="right") - 1
            hit = (at >= 0) & (self._end[at] == end)
            state[hit] = self._state[at[hit]]
        return state


class _Due:
    """Changes of state in force by some frame: endpoint, frame from which it holds, state."""

    def __init__(self, end: Words, since: Words, state: NDArray[np.int8]) -> None:
        self.end, self.since, self.state = end, since, state


class _Changes:
    """Changes of state in the order in which they come due; handed out once each."""

    def __init__(self, rows: Words, end: Words, at: Words, state: Words) -> None:
        self.row, self.end, self.at, self.state = rows, end[rows], at[rows], state[rows].astype(np.int8)
        self._next = 0

    def until(self, last: int) -> _Changes:
        """Hand out the changes at or before ``last`` that were not handed out yet."""
        begin, self._next = self._next, int(np.searchsorted(self.at, last, side="right"))
        part = object.__new__(_Changes)
        part.row, part.end = self.row[begin : self._next], self.end[begin : self._next]
        part.at, part.state = self.at[begin : self._next], self.state[begin : self._next]
        return part


class _Timed:
    """Changes of state that no frame shows, each handed out once, when a segment of its connection is as late."""

    def __init__(self, rows: Words, end: Words, at: Words, state: Words, ends: int) -> None:
        self._end, self._at, self._state = end, at, state.astype(np.int8)
        by = np.lexsort((rows, at[rows], end[rows] >> 1))
        self._rows = rows[by]  # those of each connection together, by time
        whose = end[self._rows] >> 1
        self._next = np.searchsorted(whose, np.arange(ends // 2))
        self._stop = np.searchsorted(whose, np.arange(ends // 2), side="right")
        self._clock = np.zeros(ends // 2, dtype=np.int64)

    def end_of(self, rows: Words) -> Words:
        """Whose changes these are."""
        return self._end[rows]

    def state_of(self, rows: Words) -> NDArray[np.int8]:
        """The states that they lead to."""
        return self._state[rows]

    def reached(self, frame: Words, time: Words, conn_id: Words) -> tuple[Words, Words]:
        """Hand out what the segments of a batch have reached: changes, and the frame from which each holds."""
        having = np.flatnonzero((conn_id >= 0) & (self._next[conn_id] < self._stop[conn_id]))
        if not len(having):
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        having = having[np.argsort(conn_id[having], kind="stable")]
        whose = conn_id[having]
        present = whose[np.append(True, whose[1:] != whose[:-1])]
        begin, count = self._next[present], (self._stop - self._next)[present]
        waiting = self._rows[np.repeat(begin - np.append(0, np.cumsum(count)[:-1]), count) + np.arange(count.sum())]
        # Each connection's clock, as it has run up to each of its segments: ranks grow from connection to connection.
        clock = np.maximum(time[having], self._clock[whose])
        ranks = np.unique(np.concatenate([clock, self._at[waiting]]))
        rank = np.maximum.accumulate(whose * len(ranks) + np.searchsorted(ranks, clock))
        self._clock[whose] = ranks[rank % len(ranks)]  # of several the last one stays
        owner = self._end[waiting] >> 1
        place = np.searchsorted(rank, owner * len(ranks) + np.searchsorted(ranks, self._at[waiting]))
        there = place < len(rank)
        there[there] = whose[place[there]] == owner[there]
        self._next[present] += np.bincount(np.searchsorted(present, owner[there]), minlength=len(present))
        return waiting[there], frame[having[place[there]]]
