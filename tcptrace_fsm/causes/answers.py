"""Causes of waiting for a server: one that is slow to answer, to greet or to go on, or that never answers.

They rest on the accounting of time (docs/waits.md): how long a connection stood still, for whom, and for what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.causes.attempts import at_server
from tcptrace_fsm.causes.cause import Cause, Sufferer, Verdict, surest
from tcptrace_fsm.causes.examples import ASKED, CLOSED, OPENED
from tcptrace_fsm.causes.gave_up import answered_too_late, is_patience
from tcptrace_fsm.causes.greeting import MINUTE, is_greeted, late_greeting, network_share
from tcptrace_fsm.causes.half_close import left_open
from tcptrace_fsm.causes.lossy import sent_again
from tcptrace_fsm.causes.talk import (
    ANSWER,
    HABIT,
    WORDS,
    alternates,
    answered_elsewhere,
    client_asks,
    has_turns,
    is_long_poll,
    last_burst,
    median_response,
    proof,
    server_began,
    way_and_back,
)
from tcptrace_fsm.core.words import SIDES
from tcptrace_fsm.findings.needs import lacks_answer
from tcptrace_fsm.findings.rule import mask
from tcptrace_fsm.kernels.layout import (
    C_ASK_EVERY,
    C_CROSSED,
    C_LEAST_REQUEST,
    C_LONGEST_AFTER,
    C_LONGEST_BEFORE,
    C_LONGEST_FOR,
    C_LONGEST_WAIT,
    C_MARKS,
    C_PAUSE,
    C_PAUSES,
    C_REQUESTS,
    C_RESPONSE_MAX,
    C_RESPONSE_MIN,
    C_RESPONSES,
    C_SLOWEST_FRAME,
    C_STALL,
    C_STALL_AT,
    C_STALLS,
    C_TIMES,
    C_UNHURRIED,
    C_WAIT_BITS,
    C_WAIT_ROUND,
    C_WAIT_SEEN,
    C_WAIT_SPOKE,
    C_WAIT_WAY,
    CLIENT,
    E_ACK,
    E_FIN,
    E_LAST_TIME,
    E_NEXT,
    E_UNIQUE,
    MARK_ACK_UNSEEN,
    MARK_BAD_CHECKSUM,
    MARK_GAP,
    MILLISECOND,
    SERVER,
    WAIT_APPLICATION,
    WB_SERVER_LAST,
    WB_SERVER_SPOKE,
    WB_SPOKEN,
)
from tcptrace_fsm.text.durations import SECOND, span

if TYPE_CHECKING:
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World
    from tcptrace_fsm.findings.rule import End, Segment

__all__ = ["CAUSES"]

JOB = 16_384  # bytes: more is what a printer or a store is sent, and may want no answer
MUCH = 50_000  # bytes: more than one message of an application that speaks when it likes


def usual(median: int) -> str:
    """The usual time of an answer, in words."""
    return span(median) if median >= MILLISECOND else "less than 1 ms"


def half_took(median: int) -> str:
    """What half of the answers took, in words."""
    return f"half of the answers took {usual(median)}" + (" or more" if median >= MILLISECOND else "")


# --- slow answers -----------------------------------------------------------------------------------------------------
def one_sided_talk(case: Case) -> bool:
    """Whether what the server sends may be no answer: words are left without one, or the server speaks unasked."""
    worst = case[C_RESPONSE_MAX]
    if case[C_PAUSES] and 2 * case[C_PAUSE] >= worst:
        return True  # the client said something, waited in vain for longer, and went on
    often = case[C_STALLS] >= 2 or (case[C_STALLS] and (case[C_PAUSES] >= 2 or case[C_LEAST_REQUEST] <= WORDS))
    if often and 2 * case[C_STALL] >= worst:
        return True  # it is silent for as long, and then speaks, when nothing was asked; once it may say goodbye
    if case[C_RESPONSES] >= 4 and in_its_own_time(case):
        return True
    if at_leisure(case):
        return True
    return case.midstream and server_began(case) and not client_asks(case, worst)


def at_leisure(case: Case) -> bool:
    """Whether two ends may each speak when they like, in words that are too few for requests.

    Heartbeats and acknowledgments of an application's protocol come at any distance from what the other end says. What
    works on requests takes about its time, or is quick as a rule and slow now and then; and it is asked again soon.
    """
    n, turns, median = case[C_RESPONSES], case[C_REQUESTS], median_response(case)
    if n < 4 or case[C_LEAST_REQUEST] > WORDS or median < SECOND // 2:
        return False
    if 10 * case[C_RESPONSE_MIN] <= median:
        return True  # slow as a rule, and yet at once for once
    few = case.server[E_UNIQUE] // n <= WORDS and case.client[E_UNIQUE] // turns <= 4 * WORDS  # but for a first one
    every = (case[C_WAIT_SPOKE] - case.first_time) // max(turns - 1, 1)
    return few and median >= SECOND and every - median >= SECOND


def in_its_own_time(case: Case) -> bool:
    """Whether the client speaks when it likes, not when it has heard the server, which is silent for long as a rule."""
    worst, median, turns = case[C_RESPONSE_MAX], median_response(case), case[C_REQUESTS] - 1
    if 3 * (case[C_UNHURRIED] & 0xFFFFFFFF) >= 2 * turns:
        return 4 * median >= worst
    # Its interval stays the same, whatever the answers take.
    by_the_clock = case[C_UNHURRIED] >> 32
    return (
        median >= SECOND and 3 * by_the_clock >= 2 * turns and 16 * (worst - case[C_RESPONSE_MIN]) > case[C_ASK_EVERY]
    )


def server_slow(case: Case, world: World) -> Verdict | None:
    """The server has the request, and says nothing for long."""
    worst, n = case[C_RESPONSE_MAX], case[C_RESPONSES]
    late = answered_too_late(case)
    if late is not None:
        return late
    other = late_greeting(case) or stalled_answer(case)
    if other is not None and other.amount > worst:
        return other
    # Without a pure ACK or a SYN+ACK from it, nothing tells that the request had arrived.
    if worst < SECOND or not n or not has_turns(case) or case[C_WAIT_WAY + SERVER] < 0:
        return None
    if worst < 3 * SECOND and all(s.time % SECOND == 0 for s in case.segments):
        return None  # stamps of whole seconds: one of them may be a step of the clock, and nothing more
    if any((s.fin or s.rst) and case.is_before(s, case[C_SLOWEST_FRAME]) for s in case.sent(CLIENT)):
        return None  # it no longer waited
    if any(s.length and s.has(MARK_BAD_CHECKSUM) for s in case.sent(CLIENT)):
        return None  # it had not got what arrived damaged
    if answer_missing(case):
        return None  # an earlier answer may be what the capture lacks
    if worst < way_and_back(case):
        return None  # the way is longer than that, and may have been twice as long for once
    median = median_response(case)
    frame = case.frames(case[C_SLOWEST_FRAME])
    evidence = [
        f"the slowest of {n} answers came {span(worst)} after its request had arrived ({frame})",
        f"{half_took(median)}, and the way there and back takes {network_share(case)}",
    ]
    waited = None if one_sided_talk(case) else proof(case, world)
    if waited is None and not is_long_poll(case, world):
        return Verdict(
            20,
            "possible",
            tuple(evidence),
            f"{case.service_text} was silent for up to {span(worst)}, if it was its turn: nothing shows that anybody "
            "waited for it",
            alternatives=("client_slow",),
            severity="low",
        )
    if is_long_poll(case, world):
        held = median if 4 * median >= worst else worst
        return Verdict(
            20,
            "possible",
            tuple(evidence),
            f"{case.service_text} answers after {span(held)}: a long poll waits so by design",
            against=("it is a time that somebody has set, and others took as long",),
            alternatives=("request_unanswered",),
            severity="info",
        )
    evidence.append(waited or "")
    # Far from the server an answer that was lost, and sent again and again, looks the same.
    lossy = not (median >= SECOND and n > 2) and not at_server(case, world) and loses_much(case, world)
    return Verdict(
        30 if lossy else 65,
        "possible" if lossy else "likely",
        tuple(evidence),
        f"{case.service_text} took up to {span(worst)} for an answer (median {usual(median)} of {n}); "
        f"the network's share is {network_share(case)}",
        against=("nothing of it was repeated, held back or refused meanwhile",) if not lossy else (),
        alternatives=("path_loss",) if lossy else (),
        amount=worst,
    )


def bytes_missing(end: End) -> int:
    """How many bytes of an endpoint the capture lacks, as far as its numbers and its peer's ACKs tell."""
    sent = max(end[E_NEXT], end.peer[E_ACK])
    return sent - 1 - (end[E_FIN] >= 0) - end[E_UNIQUE]


def answer_missing(case: Case) -> bool:
    """Whether the capture lacks what the server said just before its slowest answer, or much of what it said at all.

    Or what it was asked then: it acknowledges, since the words that seem to be its request, bytes that are not here.
    """
    if 10 * bytes_missing(case.server) > case.server[E_UNIQUE]:
        return True
    place = case.place(case[C_SLOWEST_FRAME])
    answer = next((s for s in case.sent(SERVER) if s.frame == place), None)
    if answer is None:
        return repeated_alone(case)
    begins = answer.time - case[C_RESPONSE_MAX]
    said = (s for s in case.sent(SERVER) if s.frame <= place)
    return (
        answer.has(MARK_GAP) or any(s.has(MARK_ACK_UNSEEN) and s.time >= begins for s in said) or repeated_alone(case)
    )


def repeated_alone(case: Case) -> bool:
    """Whether the first segment of the slowest answer stood alone for a round trip, and the next left out what follows.

    So does who waits for a timer and repeats: what it had said at first, of which nothing came here, was lost.
    """
    place, way = case.place(case[C_SLOWEST_FRAME]), way_and_back(case)
    asked = [s for s in case.sent(CLIENT) if s.length and s.frame < place]
    then = next((s for s in case.sent(SERVER) if s.length and s.frame > place), None)
    if not asked or then is None or not then.has(MARK_GAP):
        return False
    answered = asked[-1].last_time + case[C_WAIT_WAY + SERVER] + case[C_RESPONSE_MAX]
    return then.time - answered >= 3 * way // 4 > MILLISECOND


def loses_much(case: Case, world: World) -> bool:
    """Whether so much is sent again between these hosts that one answer may have been lost several times."""
    return any(20 * again >= sent > 0 for again, sent in (sent_again(case, side, world) for side in (CLIENT, SERVER)))


def stalled_answer(case: Case) -> Verdict | None:
    """The server pauses once, in the midst of one long answer: nothing but its own data were awaited."""
    waited, before = case[C_STALL], case[C_STALL_AT]
    alone = case[C_STALLS] == 1 and case[C_REQUESTS] <= 3 and not case[C_PAUSES]  # who paces it pauses often
    if not alone or waited < 2 * SECOND or not has_turns(case) or bytes_missing(case.client):
        return None  # or a request in its midst is not in the capture
    rest = case.server[E_UNIQUE] - before
    ended = closes_at_once(case, waited)
    if min(before, rest) < MUCH and not (rest >= ANSWER and ended):
        return None
    if case[C_LONGEST_FOR] != 2 * WAIT_APPLICATION + SERVER or case[C_LONGEST_WAIT] < waited:
        return None
    if case[C_TIMES + 2 * WAIT_APPLICATION + SERVER] > 2 * waited:
        return None  # it pauses often, only not for so long
    return Verdict(
        45,
        "possible",
        (
            (
                f"{case.service_text} had sent {before:,} bytes, all acknowledged, and said nothing more "
                f"for {span(waited)} ({case.frames(case[C_LONGEST_BEFORE], case[C_LONGEST_AFTER])})"
            ),
            f"the way there and back takes {network_share(case)}",
        ),
        f"{case.service_text} paused for {span(waited)} in the midst of what it had to say",
        against=("there was room in its client's window, and nothing was sent again",),
        alternatives=("path_loss",),
        # Who sends news, and much of it now and then, keeps nobody waiting.
        severity=None if ended or closes_behind(case) else "low",
        amount=waited,
    )


def closes_behind(case: Case) -> bool:
    """Whether the server closed right behind its last words: before and after its pause it gave one answer."""
    fin = next((s for s in case.sent(SERVER) if s.fin), None)
    return fin is not None and 0 <= fin.time - case[C_WAIT_SPOKE + SERVER] <= SECOND // 10


def closes_at_once(case: Case, waited: int) -> bool:
    """Whether the client closed as soon as it had the server's last words: it had waited for them.

    What the server said before its pause need not be a part of the answer: new session tickets of TLS (RFC 8446 4.6.1).
    """
    closed = next((s for s in case.segments if s.fin or s.rst), None)
    if closed is None or closed.side != CLIENT or server_began(case) or 4 * case[C_RESPONSE_MAX] > waited:
        return False
    way = max(case[C_WAIT_WAY], 0) + max(case[C_WAIT_WAY + SERVER], 0)
    return 0 <= closed.time - case[C_WAIT_SPOKE + SERVER] <= SECOND // 4 + way


def slow_often(sufferers: list[Sufferer], world: World) -> str:  # noqa: ARG001
    """The slowest answer of those that are told as surely as any, and how many answers there were."""
    worst = surest(sufferers)
    if (
        worst.verdict.amount > worst.case[C_RESPONSE_MAX]
        or len(sufferers) == 1
        or worst.verdict.confidence == "possible"
    ):
        return worst.verdict.message
    answers = sum(s.case[C_RESPONSES] for s in sufferers)
    return (
        f"{worst.case.service_text} took up to {span(worst.case[C_RESPONSE_MAX])} for an answer (of {answers} in "
        f"{len(sufferers)} connections; the slowest in connection {worst.case.conn_id}); the network's share is "
        f"{network_share(worst.case)}"
    )


def request_unanswered(case: Case, world: World) -> Verdict | None:
    """The last request was acknowledged, and no answer came."""
    bits = case[C_WAIT_BITS]
    if not bits & WB_SPOKEN or bits & WB_SERVER_LAST or not has_turns(case):
        return None
    open_still = left_open(case, world)
    if open_still is not None:
        return open_still
    if case[C_MARKS] & mask(MARK_ACK_UNSEEN) or lacks_answer(case.view) or case.client[E_UNIQUE] <= case.midstream:
        return None  # what is missing here, or stands behind its ACK, may be the answer; or nothing was asked
    if case[C_LONGEST_FOR] != 2 * WAIT_APPLICATION + SERVER or case.server[E_ACK] < case[C_WAIT_SEEN] - 1:
        return None
    if case.client[E_FIN] < 0 and case.server[E_ACK] < case[C_WAIT_SEEN]:
        return None
    asked = case[C_WAIT_SPOKE]
    last = next((s for s in case.segments if (s.fin or s.rst) and s.time >= asked), None)
    waited = (last.time if last else case.end) - asked
    answered = case[C_RESPONSE_MAX]
    if last is None and case.last_time - case.server[E_LAST_TIME] > SECOND:
        return None  # the server does not answer at all any more
    # Somebody who gave up shows that an answer was expected. While the capture lasts it may yet come.
    if last is None and (waited < 10 * SECOND or waited < 2 * answered):
        return None
    if last is None and bits & WB_SERVER_SPOKE and not is_like_the_others(case, waited):
        return None
    if waited < 2 * SECOND or waited < 2 * median_response(case):
        return None
    if last is None and case.midstream and not case[C_RESPONSES]:
        return None  # nothing shows that this server ever answers
    who = "the capture ended" if last is None else f"the {SIDES[last.side]} closed"
    shown = expected(case, world, waited, last)
    return Verdict(
        70 if shown else 25,
        "likely" if shown and last is not None else "possible",
        (
            (
                f"the server acknowledged the last request and sent nothing for {span(waited)}, until {who} "
                f"({case.frames(case[C_LONGEST_BEFORE], last)})"
            ),
            f"{case[C_RESPONSES]} of {case[C_REQUESTS]} requests were answered",
            *((shown,) if shown else ()),
        ),
        f"{case.service_text} acknowledged a request and had not answered it {span(waited)} later, when {who}"
        if shown
        else f"{case.service_text} said nothing to the last words of its client for {span(waited)}, until {who}: "
        "they may have wanted no answer",
        alternatives=("server_slow",),
        severity=None if shown else "low",
        at=last,
    )


def expected(case: Case, world: World, waited: int, last: Segment | None) -> str | None:
    """What shows that the last words of a client were a request that wanted an answer, in words; None for nothing."""
    n = case[C_RESPONSES]
    asked = last_burst(case) if n else case.client[E_UNIQUE]
    gave_up = last is not None and last.side == CLIENT
    patient = last is not None and gave_up and is_patience(case, last.time)
    unasked = SECOND if case[C_STALLS] < 2 else SECOND // 4
    if case[C_PAUSES] or case[C_STALL] >= unasked or not alternates(case, waited):
        return None  # what it says is not always answered, or what the server says not always an answer
    told = not n and case[C_WAIT_BITS] & WB_SERVER_SPOKE  # what the client said may be all that was wanted of it
    news = told and not is_greeted(case)
    rst = last is not None and last.rst and last.side == SERVER
    if rst and not n and asked > WORDS and not told and not case.midstream:
        return f"the server's side gave up after {span(waited)}, and did not close in order ({case.frames(last)})"
    if asked > JOB:
        return None
    answers, connections = answered_elsewhere(case, world, waited // 2)
    # While the capture lasts it may yet be answered: a poll is, in a minute.
    over = (last is not None and last.side == SERVER) or patient or (last is None and waited >= MINUTE)
    others = case.client[E_UNIQUE] - asked
    about = asked > WORDS and others <= 2 * asked * n <= 8 * others if n else asked > WORDS
    if over and about and answers >= 3 and connections >= 3:
        return f"in {connections} other connections the same service answered {answers} requests"
    if not n and case.midstream:
        return None  # what it said before is not known
    if not n:
        few = asked <= WORDS and waited > 5 * MINUTE  # longer than any protocol tells its clients to wait for words
        alone = gave_up and waited >= 10 * SECOND and not answers and not told and asked > WORDS
        if (patient and not few and not news) or alone:
            return f"the client said nothing else, waited for {span(waited)} and gave up ({case.frames(last)})"
        return None
    asks = client_asks(case, 0 if last is None else waited)
    if n >= 3 and 4 * case[C_RESPONSE_MAX] <= waited and asked > WORDS and like_before(case, asked) and asks:
        return f"all {n} requests before, as long as this, were answered within {span(case[C_RESPONSE_MAX])}"
    if patient and asked > 2 * WORDS and 4 * case[C_RESPONSE_MAX] <= waited and asks:
        return f"the client waited for {span(waited)} and gave up ({case.frames(last)})"
    return None


def like_before(case: Case, asked: int) -> bool:
    """Whether the last words are as long as requests before them, that were answered.

    A talk of any kind may begin with a few turns; a habit are many, or some that are alike.
    """
    n, least = case[C_RESPONSES], case[C_LEAST_REQUEST]
    others = case.client[E_UNIQUE] - asked
    if n >= HABIT:
        return 3 * least <= 4 * asked and others <= 2 * asked * n <= 32 * others
    return 3 * asked <= 4 * least and 4 * others <= 5 * asked * n


def is_like_the_others(case: Case, waited: int) -> bool:
    """Whether the last request is one like those before, which were all answered at once."""
    asked = case[C_WAIT_SEEN] - case[C_WAIT_ROUND]
    return (
        case[C_RESPONSES] >= 3
        and not case[C_PAUSES]
        and not case[C_CROSSED]
        and waited >= 20 * case[C_RESPONSE_MAX]
        and asked >= max(WORDS, 3 * case[C_LEAST_REQUEST] // 4)
    )


CAUSES = (
    Cause(
        name="server_slow",
        family="data",
        where="server",
        severity="medium",
        summary="The server had the whole request, nothing on the way held anything back, and its application took "
        "long to answer: it computes, or waits for something behind it.",
        predicts=(
            "the request is acknowledged within a round trip",
            "nothing comes from the server, and then the answer at once",
        ),
        forbids=("a repetition or a shut window in the pause", "an answer that begins within a round trip"),
        look_alikes={
            "request_unanswered": "no answer came at all",
            "nagle_delayed_ack": "the pause is 40 or 200 ms, and an ACK ends it",
            "client_slow": "the pause is before the request is complete",
            "path_loss": "what ends the pause is a repetition",
        },
        explains=frozenset(),
        next_step="look at the application behind {service}: its log at that time, and what it waits for",
        weigh=server_slow,
        word=slow_often,
        example=OPENED + ASKED + "            8.300 < P. 1:501(500) ack 101 win 512\n" + CLOSED,
        look_alike=OPENED + ASKED + "            0.150 < P. 1:501(500) ack 101 win 512\n" + CLOSED,
    ),
    Cause(
        name="request_unanswered",
        family="data",
        where="server",
        severity="medium",
        summary="The server's TCP acknowledged a request, and its application never answered it: it hangs, or was "
        "never given the request.",
        predicts=("the request is acknowledged", "the server sends nothing more until one end closes"),
        forbids=("an answer", "a request that is repeated until the end: then it did not arrive"),
        look_alikes={
            "server_slow": "the answer comes in the end",
            "half_close_unsupported": "the client closes its direction with the request, and the server closes at once",
            "close_wait_leak": "the server has answered all that it was asked",
            "path_dead": "the request is not acknowledged",
        },
        explains=frozenset(),
        next_step="look for this request in the log of {service}: did the application take it, and where does it hang?",
        weigh=request_unanswered,
        fragile=True,
        example=OPENED
        + ASKED
        + """
            30.10 > F. 101:101(0) ack 1   win 512
            30.12 < F. 1:1(0)     ack 102 win 512
            30.13 > .  102:102(0) ack 2   win 512
        """,
        look_alike=OPENED
        + """
            0.100 > P. 1:101(100) ack 1   win 512
            0.120 < .  1:1(0)     ack 101 win 512
            5.100 > P. 101:201(100) ack 1 win 512
            5.120 < .  1:1(0)     ack 201 win 512
            9.100 > F. 201:201(0) ack 1   win 512
            9.120 < F. 1:1(0)     ack 202 win 512
            9.130 > .  202:202(0) ack 2   win 512
        """,
    ),
)
