"""An answer that comes when nobody waits for it any more: the client's patience was over before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.causes.cause import Verdict
from tcptrace_fsm.causes.talk import has_turns, median_response
from tcptrace_fsm.findings.evidence import overtaken, prompt
from tcptrace_fsm.kernels.layout import (
    C_CROSSED,
    C_HANDSHAKE_ACK_TIME,
    C_PAUSES,
    C_RESPONSE_MAX,
    C_RESPONSES,
    C_SLOWEST_FRAME,
    C_WAIT_SPOKE,
    C_WAIT_WAY,
    MARK_BAD_CHECKSUM,
    MARK_GAP,
    MARK_RETRANSMISSION,
    SERVER,
)
from tcptrace_fsm.text.durations import SECOND, span

if TYPE_CHECKING:
    from tcptrace_fsm.causes.case import Case

__all__ = ["LATE", "MOMENT", "answered_too_late", "is_patience"]

LATE = 700  # bytes: a full segment is more of an answer, session tickets or an event are less
SOONER = SECOND // 500  # what the way to the capture point may take off it
MOMENT = SECOND // 20  # what comes later than this after a FIN was not on its way already


def is_patience(case: Case, end: int) -> bool:
    """Whether a client closed when a time was over that somebody has set: whole seconds, since it asked or began.

    More than twenty are set by fives. Who has lost interest, and leaves a poll or a page, does so at any time.
    """
    began = [case.first_time, *(time for time in (case[C_WAIT_SPOKE], case[C_HANDSHAKE_ACK_TIME]) if time > 0)]
    return any(is_time_out(end - time) for time in began)


def is_time_out(lasted: int) -> bool:
    """Whether a time is one that somebody sets: timers go off late, not early."""
    return (lasted + SOONER) % ((5 if lasted > 21 * SECOND else 1) * SECOND) <= SOONER + SECOND // 100


def answered_too_late(case: Case) -> Verdict | None:
    """The client closed after it had waited in vain; the answer came later, and met a socket that was closed."""
    client, server = case.client, case.server
    end = next((s for s in client.segments if s.fin or s.rst), None)
    if end is None or not has_turns(case) or case[C_PAUSES] or case[C_CROSSED] > 1:
        return None
    if case.midstream and case[C_RESPONSES] < 2:
        return None  # nothing shows that this server ever answers
    late = [s for s in server.segments if s.length and s.frame > end.frame and not overtaken(s, server)]
    if (
        not late
        or not late[0].frame <= case.place(case[C_SLOWEST_FRAME]) <= case.place(late[0].last_frame)
        or case[C_WAIT_WAY + SERVER] < 0
    ):
        return None  # it is no answer; or nothing tells when the request had arrived
    if late[0].has(MARK_GAP) or any(
        s.has(MARK_RETRANSMISSION) and s.time >= case[C_WAIT_SPOKE] for s in (*client.segments, *late[:1])
    ):
        return None  # something was lost meanwhile: the request, or an earlier answer
    behind = late[0].time - end.time
    waited = case[C_RESPONSE_MAX] - behind
    if waited < 2 * SECOND or behind < max(MOMENT, prompt(server)):
        return None  # what crosses the close had been sent before
    if end.length or any(s.length and s.has(MARK_BAD_CHECKSUM) for s in client.segments):
        return None  # it had only just asked; or what it asked arrived damaged
    if case[C_RESPONSES] >= 3 and 4 * median_response(case) > waited:
        return None  # it takes as long as a rule
    patient = is_patience(case, end.time)
    if not patient and sum(s.length for s in late) <= LATE:
        return None  # it may have left a poll, and this is an event
    gave_up = f"{client.name} gave up {span(waited)} after it had asked ({case.frames(end)})"
    return Verdict(
        80,
        "likely" if patient else "possible",
        (
            (
                f"the server acknowledged the request and sent nothing for {span(waited)}, until the client closed "
                f"({case.frames(end)})"
            ),
            f"its answer came {span(behind)} after that ({case.frames(late[0])})",
        ),
        f"{case.service_text} took {span(waited + behind)} for an answer: {gave_up}, and the answer is lost",
        against=("nothing of it was repeated, held back or refused meanwhile",),
        alternatives=("closed_with_unread_data",),
        severity=None if patient else "low",
        at=late[0],
        amount=waited + behind,
    )
