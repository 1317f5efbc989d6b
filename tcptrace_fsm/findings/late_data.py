"""Data that came to an endpoint which had closed for both directions, and what it answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.evidence import answered_by, genuine, reply_time
from tcptrace_fsm.findings.rule import SECOND
from tcptrace_fsm.kernels.layout import E_ACK, E_ACK_TIME, E_FIN, E_NEXT, MARK_RETRANSMISSION, TCP_SYN

if TYPE_CHECKING:
    from tcptrace_fsm.findings.rule import End, Segment

__all__ = ["heard_late", "late_data"]


def row_before(end: End, rst: Segment) -> Segment | None:
    """The row of routine segments that a reset answers: it began with an ACK, and data may be behind that."""
    row = next((s for s in reversed(genuine(end.peer.segments)) if s.frame < rst.frame), None)
    if row is None or row.run == 1 or row.ack != rst.seq or not rst.reply_rst:
        return None
    return row if rst.time - row.last_time <= reply_time(end) else None


def late_data(end: End) -> tuple[Segment, Segment, Segment] | None:
    """What came after ``end`` had closed for both directions: the RST it answered with, what that answers, its FIN.

    Data that it had not received before, or a FIN beyond such data. A socket that is closed answers them by RST at
    once, in whatever state it is (RFC 9293 3.6.1).
    """
    fin = next((s for s in genuine(end.segments) if s.fin), None)
    rst = next((s for s in genuine(end.segments) if s.rst and fin and s.frame > fin.frame), None)
    if fin is None or rst is None:
        return None
    cause = answered_by(rst, end) or row_before(end, rst)
    if cause is None or cause.flags & TCP_SYN:
        return None
    received = max([s.ack for s in genuine(end.segments) if not s.rst and s.frame < rst.frame], default=-1)
    received = max(received, end[E_ACK] if end[E_ACK_TIME] < rst.time else -1)
    reached = cause.seq + cause.length
    if cause.run > 1 and not any(s.frame > cause.frame and s.length for s in end.peer.segments):
        reached = max(reached, end.peer[E_NEXT] - (end.peer[E_FIN] >= 0))  # of a row the first one's numbers are kept
    if reached > max(received, cause.seq):
        return rst, cause, fin
    return (rst, cause, fin) if cause.fin and cause.end - 1 > received >= 0 else None


def heard_late(end: End, fin: Segment) -> int | None:
    """When a FIN that had to be sent more than once was acknowledged at last, if that took a second or more.

    Until then its receiver did not know of the close; what it had to say it says then.
    """
    again = any(s.frame > fin.frame and (s.fin or s.has(MARK_RETRANSMISSION)) for s in genuine(end.segments))
    heard = next((s.time for s in genuine(end.peer.segments) if s.ack >= fin.end), None)
    return heard if again and heard is not None and heard - fin.time >= SECOND else None
