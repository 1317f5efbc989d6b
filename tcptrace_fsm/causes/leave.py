"""Who leaves, and what it left behind: whether anybody waited for what a reset took."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.causes.gave_up import LATE, MOMENT, answered_too_late
from tcptrace_fsm.causes.talk import WORDS, alternates, is_free, median_response, server_began
from tcptrace_fsm.findings.evidence import prompt
from tcptrace_fsm.findings.rule import SECOND
from tcptrace_fsm.kernels.layout import (
    C_REQUESTS,
    C_RESPONSE_MIN,
    C_RESPONSES,
    C_WAIT_ROUND,
    C_WAIT_SPOKE,
    CLIENT,
    E_ACK,
    E_ACK_TIME,
    E_FIN,
    E_NEXT,
    E_UNIQUE,
)

if TYPE_CHECKING:
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.findings.rule import End, Segment

__all__ = ["farewell", "had_waited", "had_waited_in_vain", "has_all", "news", "nobody_waits", "parting", "stops"]

LAST_WORD = 64  # bytes: a close_notify is 31 in TLS 1.2, 24 in TLS 1.3, 53 and more with CBC ciphers


def farewell(case: Case, end: End) -> bool:
    """Whether a reset took nothing that anybody waited for.

    A client's, of a server's last word: the server had closed too; or it had answered all, and sends a few bytes on
    its own account when it meets the client's FIN, as TLS does with its close_notify. A server's, when it had answered
    all and the client had closed.
    """
    peer = end.peer
    if end.side != CLIENT:
        # All was answered, and the client had closed: a server that resets instead of closing takes nothing from it.
        answered = case[C_RESPONSES] >= case[C_REQUESTS] > 0
        return (0 < peer[E_FIN] <= end[E_ACK] and answered) or took_leave(case, peer)
    fin = next((s for s in end.segments if s.fin), None)
    if fin is None:
        return 0 < peer[E_FIN] <= end[E_ACK]
    late = [s for s in peer.segments if s.length and s.frame > fin.frame]
    return (
        0 < len(late) <= 2
        and sum(s.length for s in late) <= LAST_WORD
        and late[0].time - fin.time <= prompt(peer)
        and case[C_RESPONSES] >= case[C_REQUESTS]
    )


def took_leave(case: Case, client: End) -> bool:
    """Whether a client that had its answers closed right behind a few last words: it expected nothing for them."""
    fin = next((s for s in client.segments if s.fin), None)
    if fin is None or not 0 <= case[C_REQUESTS] - case[C_RESPONSES] <= 1 or not case[C_RESPONSES]:
        return False
    return case[C_WAIT_SPOKE] > case[C_WAIT_SPOKE + 1] and behind_last_words(case, fin, client[E_FIN])


def behind_last_words(case: Case, s: Segment, upto: int) -> bool:
    """Whether the client's segment ``s`` goes out right behind a few words of its, which end before number ``upto``."""
    return 0 <= s.time - case[C_WAIT_SPOKE] <= MOMENT // 2 and 0 < upto - case[C_WAIT_ROUND] <= LAST_WORD


def stops(case: Case, end: End) -> bool:
    """Whether a client ends a connection of its own accord while the answer is still coming: it has seen enough."""
    asked, answered = case[C_WAIT_SPOKE], case[C_WAIT_SPOKE + 1]
    return end.side == CLIENT and not case.midstream and 0 < asked < min(answered, end[E_ACK_TIME])


def parting(case: Case, end: End, rst: Segment | None) -> bool:
    """Whether a client resets right behind a few last words, having had its answers: TLS's close_notify, a QUIT."""
    if end.side != CLIENT or rst is None or not 0 < case[C_RESPONSES] >= case[C_REQUESTS] - 1:
        return False
    return behind_last_words(case, rst, end[E_NEXT])


def has_all(case: Case, rst: Segment | None) -> bool:
    """Whether a client that resets had the answers to all that it asked: its RST acknowledges all that was sent."""
    if rst is None or not case[C_REQUESTS] or case[C_RESPONSES] < case[C_REQUESTS]:
        return False
    return max(rst.ack, case.client[E_ACK]) >= case.server[E_NEXT] - (case.server[E_FIN] >= 0)


def nobody_waits(case: Case, end: End, fin: Segment, late: list[Segment]) -> bool:
    """Whether what met a closed client is nothing that it waited for.

    It closed at once behind its last words, or with the answer to them begun; and what came then is too little for
    an answer, or no more of that one, but something of the server's own: TLS session tickets, an event, a farewell.
    """
    sent, acked = case[C_WAIT_SPOKE], end[E_ACK_TIME]
    if end.side != CLIENT or case.midstream or sent <= 0:
        return False
    few = sum(s.length for s in late) <= LATE
    if 0 <= fin.time - sent <= MOMENT // 2:
        # One who is greeted, says a few words in all and leaves at once wanted to see the greeting, as a monitor does.
        return few or (server_began(case) and end[E_UNIQUE] <= LAST_WORD)
    return sent < acked and (few or late[0].time - acked >= max(4 * MOMENT, 4 * prompt(end.peer)))


def had_waited(case: Case, end: End) -> bool:
    """Whether a client had waited since its last words when it closed: it knows that what may yet come is not read.

    As who leaves a page that is slow; or a poll, whose answers come when there are some. One that closes soon behind
    its request loses the answer. Of one that said its last words before the capture began, nothing tells what it wants.
    """
    fin = next((s for s in end.segments if s.fin), None)
    answers = case[C_RESPONSES]  # the one that came too late among them
    usual = median_response(case) if answers > 2 else case[C_RESPONSE_MIN] if answers > 1 else 0
    news = usual >= SECOND // 4
    patience = MOMENT if news else SECOND
    return end.side == CLIENT and fin is not None and case[C_WAIT_SPOKE] <= fin.time - patience


def had_waited_in_vain(case: Case) -> bool:
    """Whether what the client did not read is an answer that came when its patience was over: a slow server's fault."""
    found = answered_too_late(case)
    return found is not None and found.severity is None


def news(case: Case, lost: int) -> bool:
    """Whether what was lost is little, of two ends that each speak when they like: nobody waits for an answer to it."""
    if is_free(case):
        return 0 < lost <= LATE
    asks = case[C_RESPONSES] >= 2 and alternates(case, SECOND) and median_response(case) <= SECOND // 4
    return 0 < lost <= WORDS and not asks
