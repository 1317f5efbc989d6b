"""What rules about closing, resets and reuse ask of a connection, in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.rule import SECOND, mask
from tcptrace_fsm.kernels.layout import (
    C_TAKEN_BY,
    C_TAKEN_FRAME,
    C_TAKEN_OVER,
    CF_CLOSING,
    CLOSING_ABORTED,
    E_ACK,
    E_ACK_TIME,
    E_LAST_TIME,
    E_NEXT,
    E_RTT_MIN,
    E_WINDOW,
    FACT_RESET_AFTER_FIN,
    MARK_ACK_OLD,
    MARK_BAD_CHECKSUM,
    MARK_CAPTURE_DUPLICATE,
    MARK_DSACK,
    MARK_KEEPALIVE,
    MARK_OUT_OF_ORDER,
    MARK_PAWS,
    MARK_RETRANSMISSION,
    MARK_SPURIOUS,
    MARK_STRAY_SYN,
    MARK_TIMEOUT,
    MARK_ZERO_WINDOW_PROBE,
    MILLISECOND,
    OPT_SHORT,
    PROMPT,
    SERVER,
    TCP_FIN,
    TCP_RST,
    TCP_SYN,
)
from tcptrace_fsm.tcp.machine import Event, State
from tcptrace_fsm.text.counts import count

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tcptrace_fsm.findings.rule import Change, End, IcmpError, Key, Segment, View

__all__ = [
    "BEGUN_IDLE",
    "CLOSED_BY_CLIENT",
    "CLOSED_BY_SERVER",
    "FAR",
    "HANDSHAKE",
    "MET_OLD",
    "answered_by",
    "answered_with_reset",
    "are_overtaken",
    "asked_in_vain",
    "bytes_lost",
    "came_twice",
    "cuts_options",
    "follows_own_syn",
    "genuine",
    "hops",
    "is_copy",
    "is_reported",
    "met_shut_window",
    "not_opened",
    "not_passed_on",
    "off_edge",
    "older",
    "outdated",
    "overtaken",
    "persisting",
    "prompt",
    "reply_time",
    "reset_of",
    "spoke",
    "state_at",
    "takes_data",
    "times",
    "when_aborted",
    "when_closing",
    "when_reset_after_fin",
    "when_taken_over",
]

SHORTEST_TIMER = SECOND // 5  # what Linux and BSD wait at the least before they send again
FAR = 1000  # IP identifications that lie so far apart are of two series
PROBES = mask(MARK_KEEPALIVE, MARK_ZERO_WINDOW_PROBE, MARK_RETRANSMISSION)
NOBODYS = mask(MARK_CAPTURE_DUPLICATE, MARK_BAD_CHECKSUM, MARK_STRAY_SYN)

HANDSHAKE = """
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)     ack 1
            0.020 > .  1:1(0)     ack 1
            0.030 > P. 1:101(100) ack 1
            0.040 < .  1:1(0)     ack 101
"""

CLOSED_BY_CLIENT = (
    HANDSHAKE
    + """
            1.000 > F. 101:101(0) ack 1
            1.010 < F. 1:1(0)     ack 102
            1.020 > .  102:102(0) ack 2
"""
)

CLOSED_BY_SERVER = (
    HANDSHAKE
    + """
            1.000 < F. 1:1(0)     ack 101
            1.010 > F. 101:101(0) ack 2
            1.020 < .  2:2(0)     ack 102
"""
)

MET_OLD = (
    CLOSED_BY_SERVER
    + """
            isn 500 900000
            3.000 > S  0:0(0)
            isn 1000 5000
            3.010 < .  2:2(0)     ack 102
            3.020 > R  102:102(0)
            isn 200 900000
            4.000 > S  0:0(0)            # again with another number: the TIME_WAIT stands all the same
            isn 1000 5000
            4.010 < .  2:2(0)     ack 102
            4.020 > R  102:102(0)
            isn 100 900000
            6.000 > S  0:0(0)
            isn 1000 5000
            6.010 < .  2:2(0)     ack 102
            6.020 > R  102:102(0)
"""
)

BEGUN_IDLE = """
            0.000 < .  100:100(0) ack 1     # keepalives, the first that is seen of an idle connection
            0.001 > .  1:1(0)     ack 101
            75.00 < .  100:100(0) ack 1
            75.01 > .  1:1(0)     ack 101
            150.0 < .  100:100(0) ack 1
            150.1 > .  1:1(0)     ack 101
            end 400
"""


def genuine(segments: Iterable[Segment]) -> list[Segment]:
    """The segments that were sent as part of the connection: no copies that the capture made, no damaged ones."""
    return [s for s in segments if not s.marks & NOBODYS]


def is_copy(s: Segment, end: End) -> bool:
    """Whether a segment of ``end`` is a packet that was seen before: same numbers, same IP identification."""
    same = (s.ip_id, s.seq, s.ack, s.length, s.flags)
    before = (x for x in end.segments if x.frame < s.frame)
    return s.ip_id > 0 and any((x.ip_id, x.seq, x.ack, x.length, x.flags) == same for x in before)


def older(a: int, b: int) -> bool:
    """Whether timestamp ``a`` is older than ``b`` (RFC 7323 5.2): clocks wrap. An absent one (-1) is neither."""
    return a >= 0 <= b and 0 < (b - a) % (1 << 32) < 1 << 31


def hops(ttl: int) -> int:
    """How many routers a packet has passed, if it began with one of the usual TTLs."""
    return (64 if ttl <= 64 else 128 if ttl <= 128 else 255) - ttl


def overtaken(s: Segment, end: End) -> bool:
    """Whether a segment of ``end`` was sent before one that precedes it: its numbers, timestamp or IP id say so."""
    if s.has(MARK_PAWS, MARK_ACK_OLD, MARK_OUT_OF_ORDER):
        return True
    return any(
        older(s.tsval, x.tsval) or (s.ip_id > 0 and 0 < x.ip_id - s.ip_id < FAR and hops(x.ttl) == hops(s.ttl))
        for x in genuine(end.segments)
        if x.frame < s.frame
    )


def came_twice(end: End) -> int:
    """How many segments of an end came twice: its peer reports so (RFC 2883), or had acknowledged them before."""
    reported = sum(s.has(MARK_DSACK) for s in end.peer.segments)
    return max(reported, sum(s.has(MARK_SPURIOUS) and s.length > 0 for s in end.segments))


def cuts_options(view: View) -> bool:
    """Whether the capture ends inside headers: what receivers report of duplicates, and whose subflow it is, is cut."""
    return view.once("cuts options", lambda c: any(s.options & OPT_SHORT for s in c.segments))


def are_overtaken(again: list[Segment], twice: int) -> bool:
    """Whether what was sent again may have been overtaken only, where ``twice`` others came twice.

    A receiver reports several at once, and some reports are lost: of so many, others had been overtaken as well.
    """
    return 3 * twice >= len(again) and not any(s.has(MARK_TIMEOUT) for s in again)


def outdated(segment: Segment, by: Segment) -> bool:
    """Whether the timestamp of a segment is older than that of another, or missing beside it (RFC 7323 3.2)."""
    return by.tsval >= 0 and (segment.tsval < 0 or older(segment.tsval, by.tsval))


def times(n: int) -> str:
    """How often, in words."""
    return "once" if n == 1 else "twice" if n == 2 else f"{n} times"


def prompt(end: End) -> int:
    """Within how many ns after a segment has passed here ``end`` surely answers it, if it answers at once."""
    return int(4 * max(end.peer[E_RTT_MIN], 0) + PROMPT * MILLISECOND)


def reply_time(end: End) -> int:
    """Within how many ns after a segment has passed here a reset that answers it does too."""
    back = end.peer[E_RTT_MIN]
    return SECOND if back < 0 else SECOND // 4 + 4 * back


def spoke(end: End, before: Segment) -> bool:
    """Whether ``end`` had sent anything but SYNs before a segment: it had been there, past the handshake."""
    return any(not s.flags & (TCP_SYN | TCP_RST) and s.frame < before.frame for s in genuine(end.segments))


def takes_data(end: End, rst: Segment) -> bool:
    """Whether a server's RST acknowledges data beyond the handshake: its socket had them, though it never spoke.

    As that of a proxy which accepts and finds nobody behind it. Who knows no connection answers without ACK.
    """
    asked = any(s.length and s.end == rst.ack and s.frame < rst.frame for s in genuine(end.peer.segments))
    return end.side == SERVER and not rst.reply_rst and rst.seq == 1 and asked


def follows_own_syn(rst: Segment, end: End) -> bool:
    """Whether ``end`` had asked for a new connection, and now resets the old one, with which its peer answered.

    RFC 9293 section 3.5.1, figure 9: a host that lost a connection sends a SYN, its peer answers with an ACK of the
    connection that is still open there, and an RST with the number of that ACK clears it away.
    """
    view = end.view
    if view[C_TAKEN_OVER] < 0 or view[C_TAKEN_BY] != end.side or not rst.reply_rst:
        return False
    asked = rst.time - view[C_TAKEN_OVER]
    return rst.frame > view[C_TAKEN_FRAME] and asked <= reply_time(end) + reply_time(end.peer)


def answered_by(rst: Segment, end: End) -> Segment | None:
    """What a reset of ``end``, once a FIN was seen, answers: data, a FIN or a SYN+ACK of its peer; None for nothing.

    Such a reset bears the ACK number of what it answers (RFC 9293 3.5.2, group 1), and comes at once. Some systems have
    it acknowledge, too: then it mirrors both numbers. Of several segments in a row each draws a reset of its own, the
    first the first; what was acknowledged before draws none, unless it came once more.
    """
    before = [s for s in genuine(end.segments) if not s.rst and s.frame < rst.frame]
    acknowledged = max([s.ack for s in before], default=-1)
    within = reply_time(end)
    fitting = [
        s
        for s in genuine(end.peer.segments)
        if s.frame < rst.frame
        and not s.rst
        and (s.length or s.flags & (TCP_FIN | TCP_SYN) or s.marks & PROBES)
        and s.ack == rst.seq
        and rst.time - s.last_time <= within
        and (rst.reply_rst or rst.ack == s.end or s.run > 1)
    ]
    new = [s for s in fitting if s.end > acknowledged]
    return new[0] if new else fitting[-1] if fitting else None


def off_edge(end: End, rst: Segment) -> tuple[int, str]:
    """How far an RST of ``end`` lies from where its peer stood then, at least, and that in words.

    The log does not keep each ACK: where the peer stood lies between what it acknowledged before and after.
    """
    acks = [(s.frame, s.ack) for s in genuine(end.peer.segments) if not s.rst and s.ack >= 0]
    low = max((ack for frame, ack in acks if frame < rst.frame), default=0)
    high = next((ack for frame, ack in acks if frame > rst.frame), end.peer[E_ACK])
    off = rst.seq - high if rst.seq > high else min(rst.seq - low, 0)
    return off, f"{'' if low >= high else 'at least '}{count(abs(off), 'byte')}"


def state_at(end: End, time: int) -> State:
    """The state of an endpoint at a moment."""
    state = end.changes[0].source if end.changes else State.UNKNOWN
    for change in end.changes:
        if change.time >= time:
            break
        state = change.target
    return state


def reset_of(end: End, change: Change) -> Segment | None:
    """The RST of ``end`` itself that a change of its state rests on."""
    return next((s for s in end.segments if s.rst and s.frame == change.frame), None)


def answered_with_reset(end: End) -> tuple[Change, Segment] | None:
    """How ``end``, by an RST in answer, showed that it had forgotten the connection."""
    for change in end.changes:
        if change.event in (Event.GONE, Event.TIMEOUT_FIN_WAIT_2, Event.TIMEOUT_2MSL):
            rst = reset_of(end, change)
            if rst:
                return change, rst
    return None


def asked_in_vain(end: End, before: Segment) -> list[Segment]:
    """What ``end`` asked (probes, retransmissions) since its peer last sent anything, up to ``before``.

    Plain answers are not in the log; the row tells when the last of them came.
    """
    latest = (end.peer[E_LAST_TIME], end.peer[E_ACK_TIME])
    heard_at = max([t for t in latest if t <= before.time], default=-1)
    asked: list[Segment] = []
    for s in genuine(end.view.segments):
        if s.frame >= before.frame:
            break
        if s.side != end.side:
            asked = []
        elif s.marks & PROBES and s.time > heard_at:
            asked.append(s)
    return asked


def persisting(end: End, before: Segment) -> bool:
    """Whether ``end`` was probing a window that was still closed when it sent ``before``."""
    probed = any(s.has(MARK_ZERO_WINDOW_PROBE) and s.frame < before.frame for s in end.segments)
    return probed and end.peer[E_WINDOW] == 0


def bytes_lost(end: End) -> int:
    """How much of what ``end`` sent was never acknowledged."""
    return max(0, end[E_NEXT] - max(end.peer[E_ACK], 1))


def when_aborted(key: Key) -> bool:
    """A reset took part in its end."""
    return key.closing == CLOSING_ABORTED


def when_reset_after_fin(key: Key) -> bool:
    """A side that had closed sent a reset."""
    return when_aborted(key) and key.shows(FACT_RESET_AFTER_FIN)


def when_closing(key: Key) -> bool:
    """A FIN or an RST was seen."""
    return bool(key.flags & CF_CLOSING)


def when_taken_over(key: Key) -> bool:
    """A later incarnation followed."""
    return key.taken_over


def is_reported(end: End, again: Segment) -> bool:
    """Whether the next that the log has of the receiver of a repetition reports it as a duplicate (RFC 2883).

    Or the one behind, where the first was the ACK of the original, which came late.
    """
    after = [p for p in end.peer.segments if p.frame > again.frame][:2]
    if after and not after[0].has(MARK_DSACK) and not after[0].length and after[0].ack == again.end:
        del after[0]
    return bool(after) and after[0].has(MARK_DSACK) and after[0].ack >= again.end


def met_shut_window(s: Segment, c: View) -> bool:
    """Whether the receiver of a segment had no room when it was sent: what it drops then is not lost on the way.

    Or just before, so that no timer can have run out since it has room again.
    """
    latest = c.before(s, side=1 - s.side)
    if latest is None or latest.rst or latest.window == 0:
        return latest is not None and not latest.rst
    before = c.before(latest, side=1 - s.side)
    reopened = before is not None and before.window == 0 and before.ack == latest.ack == s.seq
    return reopened and s.time - latest.time < SHORTEST_TIMER


def not_opened(end: End, again: list[Segment]) -> Segment | None:
    """The last SYN+ACK that the receiver of repetitions sent behind most of them; None where it sent none.

    It had not opened the connection. What it was sent may have been lost behind this point, or met a full queue.
    """
    answers = [s for s in genuine(end.peer.segments) if s.syn_ack]
    behind = [s for s in again if answers and answers[-1].frame > s.frame]
    return answers[-1] if answers and 2 * len(behind) > len(again) else None


def not_passed_on(end: End, again: list[Segment]) -> IcmpError | None:
    """The ICMP error that says why an endpoint had to send one of these again: it came before, and quotes it."""
    errors = (e for e in end.view.icmp if e.side == end.side and e.seq is not None and (e.too_big or e.unreachable))
    return next((e for e in errors if any(s.seq <= (e.seq or 0) < s.end and e.time <= s.time for s in again)), None)
