"""What the graphs of a connection show, as numbers: the report page and the notebook's figures draw the same.

One :class:`Direction` for each way that data went: what its sender sent, and how the peer acknowledged it. That is what
tcptrace's time-sequence graph shows: data segments as bars from first to last byte, below them the ACKs as a staircase,
above them the edge of the window, and what was sent again or selectively acknowledged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from tcptrace_fsm.views.conversation import Segment

    Words = NDArray[np.int64]
    Floats = NDArray[np.float64]

__all__ = ["KINDS", "Data", "Direction", "Points", "Ranges", "directions", "merged", "sampled"]

KINDS = ("new", "retransmission", "out_of_order", "probe")
"""What a data segment is: its code in :class:`Data` is the place here."""

_KIND_OF_LABEL = {
    "retransmission": 1,
    "fast_retransmission": 1,
    "spurious_retransmission": 1,
    "tail_loss_probe": 1,
    "fin_retransmission": 1,
    "syn_retransmission": 1,
    "syn_ack_retransmission": 1,
    "network_duplicate": 1,
    "capture_duplicate": 1,
    "out_of_order": 2,
    "keepalive": 3,
    "zero_window_probe": 3,
}
BINS = 240  # of the throughput; what a page is wide enough to tell apart
LEAST_BIN = 1_000_000  # ns


class Data(NamedTuple):
    """Segments with payload, SYN or FIN, in order; ``begin`` and ``end`` relative, in bytes; times in ns.

    Where several segments are drawn as one, ``time`` is that of the first, ``last`` that of the last.
    """

    time: Words
    last: Words
    begin: Words
    end: Words
    kind: NDArray[np.int8]


class Points(NamedTuple):
    """Values over time, ns."""

    time: Words
    value: Words


class Ranges(NamedTuple):
    """Ranges of sequence numbers over time, ns."""

    time: Words
    begin: Words
    end: Words


@dataclass
class Direction:
    """One way of a connection.

    Attributes
    ----------
    side : str
        Who sent the data.
    data : Data
    ack : Points
        The peer's ACKs, as relative sequence numbers of the data: those that differ from the one before.
    edge : Points
        Up to where the peer's window lets it send: ACK plus window, where that changes.
    duplicate_acks, zero_windows, resets : Points
        Where the peer acknowledged the same again, where it shut its window, where the sender reset.
    sack : Ranges
        What the peer acknowledged selectively.
    rtt : Points
        From a segment to the first ACK that covers it, ns, at the time of that ACK. Of what one ACK covers the newest
        segment counts; nothing that was sent more than once counts (Karn's rule).
    throughput : Points
        Payload bytes in each bin of time, what was sent again included; ``time`` is where the bin begins.
    bin : int
        Its width, ns.

    """

    side: str
    data: Data
    ack: Points
    edge: Points
    duplicate_acks: Points
    zero_windows: Points
    resets: Points
    sack: Ranges
    rtt: Points
    throughput: Points
    bin: int

    @property
    def empty(self) -> bool:
        """Whether it carried no byte of payload."""
        return not len(self.throughput.time)


class _Columns(NamedTuple):
    """The segments of a connection as plain arrays; numbers are relative, -1 where there is none."""

    time: Words
    client: NDArray[np.bool_]
    seq: Words
    ack: Words
    length: Words
    window: Words
    syn: NDArray[np.bool_]
    fin: NDArray[np.bool_]
    rst: NDArray[np.bool_]
    kind: NDArray[np.int8]
    label: NDArray[np.str_]
    client_left_out: Words
    server_left_out: Words
    sack: NDArray[np.object_]

    def only(self, chosen: NDArray[np.bool_]) -> _Columns:
        """Keep the chosen segments."""
        kept: list[Any] = [values[chosen] for values in self]
        return _Columns(*kept)


def directions(segments: Sequence[Segment]) -> tuple[Direction, Direction]:
    """Work out both directions of a connection: the client's data, the server's data.

    Parameters
    ----------
    segments : sequence of Segment
        Of a :class:`~tcptrace_fsm.views.conversation.Conversation`, in capture order.

    """

    def words(values: Iterable[int | None]) -> Words:
        return np.array([-1 if value is None else value for value in values], dtype=np.int64)

    def flagged(flag: str) -> NDArray[np.bool_]:
        return np.array([flag in s.flags for s in segments], dtype=bool)

    sack = np.empty(len(segments), dtype=object)
    sack[:] = [s.sack for s in segments]
    columns = _Columns(
        time=words(s.time for s in segments),
        client=np.array([s.side == "client" for s in segments], dtype=bool),
        seq=words(s.rel_seq for s in segments),
        ack=words(s.rel_ack for s in segments),
        length=words(s.payload_len for s in segments),
        window=words(s.window for s in segments),
        syn=flagged("SYN"),
        fin=flagged("FIN"),
        rst=flagged("RST"),
        kind=np.array([_KIND_OF_LABEL.get(s.label, 0) for s in segments], dtype=np.int8),
        label=np.array([s.label for s in segments], dtype=str),
        client_left_out=words(s.left_out.client_bytes for s in segments),
        server_left_out=words(s.left_out.server_bytes for s in segments),
        sack=sack,
    )
    return _direction(columns, "client"), _direction(columns, "server")


def _direction(all_of: _Columns, side: str) -> Direction:
    own = all_of.client if side == "client" else ~all_of.client
    sent, back = all_of.only(own), all_of.only(~own)
    length = sent.length + sent.syn + sent.fin
    filled = (length > 0) & (sent.seq >= 0) & ~sent.rst
    time, begin = sent.time[filled], sent.seq[filled]
    data = Data(time, time, begin, begin + length[filled], sent.kind[filled])
    acks = (back.ack >= 0) & ~back.rst
    windows = acks & (back.window >= 0) & ~back.syn  # the window of a SYN is not scaled, and nobody sends by it
    top = int(data.end.max()) if len(data.end) else 0
    resets = sent.rst & (sent.seq >= 0)
    bins, width = _throughput(all_of, own, all_of.client_left_out if side == "client" else all_of.server_left_out)
    return Direction(
        side=side,
        data=data,
        ack=_changes(back.time[acks], back.ack[acks]),
        edge=_changes(back.time[windows], (back.ack + back.window)[windows]),
        duplicate_acks=_labelled(back, acks, "duplicate_ack"),
        zero_windows=_labelled(back, acks, "zero_window", "zero_window_probe_ack"),
        # An RST that answers what it does not know bears any number: it is drawn where the data are.
        resets=Points(sent.time[resets], np.clip(sent.seq[resets], 0, top)),
        sack=_sack(back, acks),
        rtt=_round_trips(data, back.time[acks], back.ack[acks]),
        throughput=bins,
        bin=width,
    )


def _labelled(columns: _Columns, among: NDArray[np.bool_], *labels: str) -> Points:
    chosen = among & np.isin(columns.label, labels)
    return Points(columns.time[chosen], columns.ack[chosen])


def _changes(time: Words, value: Words) -> Points:
    """Keep where a value differs from the one before, and the last, up to which it holds."""
    if not len(time):
        return Points(time, value)
    kept = np.append(True, value[1:] != value[:-1])
    kept[-1] = True
    return Points(time[kept], value[kept])


def _sack(back: _Columns, acks: NDArray[np.bool_]) -> Ranges:
    rows = [
        (time, left, right)
        for time, blocks in zip(back.time[acks].tolist(), back.sack[acks], strict=True)
        for left, right in blocks
    ]
    table = np.array(rows, dtype=np.int64).reshape(-1, 3)
    return Ranges(table[:, 0], table[:, 1], table[:, 2])


def _round_trips(data: Data, ack_time: Words, ack: Words) -> Points:
    """Time from each segment to the first ACK that covers it."""
    if not len(data.time) or not len(ack):
        return Points(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    again = data.kind != 0
    # How many repetitions touch a segment: those that begin before its end, less those that end before its begin.
    touching = np.searchsorted(np.sort(data.begin[again]), data.end, side="left")
    touching -= np.searchsorted(np.sort(data.end[again]), data.begin, side="right")
    once = touching == 0
    reached = np.maximum.accumulate(ack)
    answer = np.searchsorted(reached, data.end, side="left")
    answered = once & (answer < len(ack))
    answer, sent = answer[answered], data.time[answered]
    rtt = ack_time[answer] - sent
    # Of several that one ACK covers the newest counts: the others waited for a delayed ACK.
    newest = np.append(answer[1:] != answer[:-1], True) if len(answer) else np.empty(0, dtype=bool)
    chosen = newest & (rtt >= 0)
    return Points(ack_time[answer[chosen]], rtt[chosen])


def _throughput(all_of: _Columns, own: NDArray[np.bool_], left_out: Words) -> tuple[Points, int]:
    """Payload in equal bins, from the connection's first segment to its last.

    What was sampled away counts at the time of the next segment that was kept.
    """
    payload = np.where(own, all_of.length, 0) + left_out
    if not payload.any():
        nothing = np.empty(0, dtype=np.int64)
        return Points(nothing, nothing), 0
    first, last = int(all_of.time.min()), int(all_of.time.max())
    width = max(LEAST_BIN, -(-(last - first + 1) // BINS))
    number = (last - first) // width + 1
    sums = np.bincount((all_of.time - first) // width, weights=payload, minlength=number)
    return Points(first + width * np.arange(number, dtype=np.int64), sums.astype(np.int64)), width


# --- fewer points -----------------------------------------------------------------------------------------------------
def merged(data: Data, most: int) -> Data:
    """Draw plain segments that follow one another as one, so that about ``most`` remain; what is notable stays."""
    n = len(data.time)
    if n <= most:
        return data
    together = -(-n // most)
    alone = data.kind != 0
    begins = np.ones(n, dtype=bool)
    begins[1:] = alone[1:] | alone[:-1] | (data.begin[1:] != data.end[:-1])
    place = np.arange(n)
    start = np.maximum.accumulate(np.where(begins, place, 0))
    first = np.flatnonzero(begins | ((place - start) % together == 0))
    final = np.append(first[1:], n) - 1
    return Data(data.time[first], data.last[final], data.begin[first], data.end[final], data.kind[first])


def sampled(columns: Any, most: int) -> Any:
    """Keep about ``most`` rows of points or ranges, evenly, the last among them."""
    n = len(columns[0])
    if n <= most:
        return columns
    kept = np.unique(np.linspace(0, n - 1, most).astype(np.int64))
    return type(columns)(*(values[kept] for values in columns))
