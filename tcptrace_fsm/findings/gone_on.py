"""Whether an endpoint went on after an RST in its name, which it then cannot have sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.evidence import genuine, hops, overtaken
from tcptrace_fsm.findings.rule import SECOND
from tcptrace_fsm.kernels.layout import (
    BASE_SYN,
    E_BASE_KNOWN,
    E_OUT_OF_ORDER,
    MARK_ACK_OLD,
    MARK_AFTER_RST,
    MARK_OUT_OF_ORDER,
    MARK_PAWS,
    MARK_SENT_BEFORE,
    MILLISECOND,
    TCP_ACK,
)

if TYPE_CHECKING:
    from tcptrace_fsm.findings.rule import End, Segment

__all__ = ["OVERTAKEN", "before_answer", "goes_on", "overtaking"]

OVERTAKEN = 3 * MILLISECOND  # what follows an RST so soon was overtaken by it
LATE = SECOND // 5  # ... and where segments overtake one another, what follows within this


def overtaking(end: End) -> bool:
    """Whether segments of the connection overtake one another."""
    marks = (MARK_PAWS, MARK_ACK_OLD, MARK_OUT_OF_ORDER, MARK_SENT_BEFORE)
    return end[E_OUT_OF_ORDER] + end.peer[E_OUT_OF_ORDER] > 0 or any(s.has(*marks) for s in end.view.segments)


def goes_on(end: End, rst: Segment) -> Segment | None:
    """What ``end`` says after an RST that it cannot have meant."""
    earlier = [s for s in genuine(end.segments) if s.frame <= rst.frame]
    acked = max((s.ack for s in earlier), default=-1)
    late = LATE if overtaking(end) else OVERTAKEN
    closed = any(s.fin for s in earlier)
    for s in genuine(end.segments):
        if s.frame <= rst.frame or s.rst or s.syn or not s.has(MARK_AFTER_RST):
            continue
        beyond = s.length and s.end > rst.seq and not rst.reply_rst  # who resets so has sent nothing there
        if s.last_time - rst.time < late and not beyond:
            continue
        if overtaken(s, end):
            continue  # it was sent before the RST
        if not s.length and not s.fin and not s.syn_ack and s.ack <= acked and s.last_time - rst.time < LATE:
            continue
        if closed and not s.length:
            continue  # it is closing: it resets what comes late, and what it acknowledged may come after
        if any(x.rst and x.frame > s.frame and hops(x.ttl) == hops(s.ttl) for x in end.segments):
            continue  # it goes on resetting: it is its own, and what lies between was overtaken
        if s.syn_ack:
            asked = [x for x in end.peer.segments if x.syn and x.frame < s.frame]
            if not asked or asked[-1].frame > rst.frame:
                continue  # it answers another try
        return s
    return None


def before_answer(end: End) -> tuple[Segment, Segment] | None:
    """An RST that acknowledges what its receiver had not sent, and the SYN+ACK by which ``end`` answers that after it.

    A system that refuses a SYN acknowledges that (RFC 9293 3.5.2, group 1), and does not accept it then.
    """
    syn = next((s for s in genuine(end.peer.segments) if s.syn), None)
    answer = next((s for s in genuine(end.segments) if syn and s.syn_ack and s.ack == syn.end), None)
    if syn is None or answer is None or end.peer[E_BASE_KNOWN] < BASE_SYN:
        return None
    resets = [s for s in genuine(end.segments) if s.rst and s.flags & TCP_ACK and syn.frame < s.frame < answer.frame]
    rst = next((s for s in resets if not 1 <= s.ack <= syn.end), None)
    return (rst, answer) if rst else None
