"""What became of a connection's segments: which of them the analysis holds lost.

A capture shows what passed one point, not what arrived. For segments that move the receiver's state, the replay has
decided already, and its transitions tell: which copy of a SYN, SYN+ACK or FIN was taken, whether an ACK took its
receiver out of SYN_RECEIVED, FIN_WAIT_1, CLOSING or LAST_ACK. For data the receiver's ACKs and SACK blocks tell: what
was sent again before it was acknowledged had been lost, unless a duplicate SACK (RFC 2883) says that both copies came.
Of other ACKs nothing tells, and they count as arrived. Whether a segment was lost on its way or discarded on arrival (a
full accept queue, a filter) no capture in between can tell; both are called lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.core.words import SIDES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tcptrace_fsm.views.conversation import Change, Segment

__all__ = ["LOST", "UNKNOWN", "judge"]

LOST, UNKNOWN = "lost", "unknown"
_COPIES = frozenset({"capture_duplicate", "network_duplicate"})
_PROBES = frozenset({"keepalive", "keepalive_ack", "zero_window_probe", "zero_window_probe_ack"})
_AGAIN = frozenset(
    {"retransmission", "fast_retransmission", "tail_loss_probe", "fin_retransmission", "syn_retransmission"}
)
_FLYING = 512  # segments of one side whose ACK is awaited; of more the oldest are no longer looked at


def judge(segments: Sequence[Segment], changes: Sequence[Change]) -> dict[int, str]:
    """Say which segments are lost, and of which nobody knows.

    Parameters
    ----------
    segments : sequence of Segment
        Of one connection, in capture order.
    changes : sequence of Change
        Its transitions.

    Returns
    -------
    dict of int to str
        `LOST` or `UNKNOWN`, by place in ``segments``; the others arrived, proved or presumed.

    """
    fates: dict[int, str] = {}
    for side in SIDES:
        _judge_control(segments, [c for c in changes if c.side == side], side, fates)
    _judge_data(segments, fates)
    for side in SIDES:
        _judge_silence(segments, side, fates)
    return fates


def _other(side: str) -> str:
    return "server" if side == "client" else "client"


def _judge_control(segments: Sequence[Segment], mine: Sequence[Change], side: str, fates: dict[int, str]) -> None:
    """Judge what was sent to ``side`` and ought to have moved it."""
    taken = {c.event: c.frame for c in mine if c.frame is not None}
    fin_frame = min((frame for event, frame in taken.items() if event.startswith("rcv FIN")), default=None)
    ack_frame = min((frame for event, frame in taken.items() if "ACK of FIN" in event), default=None)
    fin_end = next((s.end for s in segments if s.side == side and "FIN" in s.flags), None)
    lived = max((i for i, s in enumerate(segments) if s.side == side and "RST" not in s.flags), default=-1)
    reset = max((i for i, s in enumerate(segments) if s.side == side and "RST" in s.flags), default=-1)
    syn_frames = {s.frame for s in segments if s.side != side and s.flags.startswith("SYN")}
    fin_frames = {s.frame for s in segments if s.side != side and "FIN" in s.flags}
    acknowledged = -1
    for i, s in enumerate(segments):
        if s.side == side:
            acknowledged = max(acknowledged, -1 if s.rel_ack is None else s.rel_ack)
        elif s.label in _COPIES:
            continue
        elif "RST" in s.flags:
            # One that is not exact may have been refused (RFC 5961), which is no loss.
            living = s.receiver_state not in {"CLOSED", "LISTEN", "UNKNOWN", None}
            if living and i < lived and s.rel_seq is not None and s.rel_seq == acknowledged:
                fates[i] = LOST
        elif s.flags.startswith("SYN"):
            took = taken.get("rcv SYN+ACK" if "ACK" in s.flags else "rcv SYN")
            if took is not None and s.frame < took and took in syn_frames:
                fates[i] = LOST
            elif took is None and reset < i and s.receiver_state in {"LISTEN", "SYN_SENT", "UNKNOWN", None}:
                fates[i] = UNKNOWN
        elif "FIN" in s.flags and fin_frame is not None and s.frame < fin_frame and fin_frame in fin_frames:
            fates[i] = LOST
        elif "FIN" in s.flags and fin_frame is None and s.receiver_state in {"ESTABLISHED", "FIN_WAIT_1", "FIN_WAIT_2"}:
            if reset < i:
                fates[i] = UNKNOWN
        elif s.rel_ack is None:
            continue
        elif s.receiver_state == "SYN_RECEIVED" and s.rel_ack >= 1 and s.sender_state != "SYN_SENT":
            if taken.get("rcv ACK of SYN", s.frame) > s.frame:
                fates[i] = LOST
        elif (
            fin_end is not None
            and s.rel_ack >= fin_end
            and s.receiver_state in {"FIN_WAIT_1", "CLOSING", "LAST_ACK"}
            and (ack_frame is None or s.frame < ack_frame)
        ):
            fates[i] = LOST


def _judge_data(segments: Sequence[Segment], fates: dict[int, str]) -> None:
    """Judge payload: what was sent again before it was acknowledged had been lost."""
    flying: dict[str, list[int]] = {"client": [], "server": []}
    lost: dict[str, list[int]] = {"client": [], "server": []}
    for i, s in enumerate(segments):
        if s.label in _COPIES:
            continue
        if s.rel_ack is not None:
            other = _other(s.side)
            came = [(0, s.rel_ack), *s.sack]
            flying[other] = [j for j in flying[other] if not _covers(came, segments[j])]
            if s.sack and (s.sack[0][1] <= s.rel_ack or _inside(s.sack[0], s.sack[1:])):
                # A duplicate SACK: the receiver had both copies.
                for j in [j for j in lost[other] if _covers(s.sack[:1], segments[j])][-1:]:
                    fates.pop(j, None)
                    lost[other].remove(j)
        if not s.payload_len or s.rel_seq is None or s.label in _PROBES:
            continue
        if s.label in _AGAIN:
            end = s.rel_seq + s.payload_len
            repeated = [j for j in flying[s.side] if _overlaps(segments[j], s.rel_seq, end)]
            for j in repeated:
                fates.setdefault(j, LOST)
            lost[s.side] = [*lost[s.side], *repeated][-_FLYING:]
            flying[s.side] = [j for j in flying[s.side] if j not in repeated]
        flying[s.side] = [*flying[s.side][-_FLYING:], i]


def _judge_silence(segments: Sequence[Segment], side: str, fates: dict[int, str]) -> None:
    """Judge what was sent to ``side`` after its last sign of life, where repetitions and probes had no answer."""
    last = max((i for i, s in enumerate(segments) if s.side == side), default=-1)
    after = [i for i in range(last + 1, len(segments)) if segments[i].label not in _COPIES]
    unanswered = [i for i in after if fates.get(i) or segments[i].label in {"keepalive", "zero_window_probe"}]
    if len(unanswered) > 1:
        for i in after[after.index(unanswered[0]) :]:
            fates.setdefault(i, UNKNOWN)


def _covers(ranges: Iterable[tuple[int, int]], segment: Segment) -> bool:
    """Whether one of the ranges covers the segment's payload."""
    begin = segment.rel_seq or 0
    return _inside((begin, begin + segment.payload_len), ranges)


def _inside(block: tuple[int, int], ranges: Iterable[tuple[int, int]]) -> bool:
    """Whether one of the ranges covers the block."""
    return any(a <= block[0] and block[1] <= b for a, b in ranges)


def _overlaps(segment: Segment, begin: int, end: int) -> bool:
    """Whether the segment's payload has bytes from ``begin`` up to ``end``."""
    first = segment.rel_seq or 0
    return first < end and begin < first + segment.payload_len
