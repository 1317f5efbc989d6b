"""Causes of waiting: an application that is slow or silent, Nagle's algorithm against a delayed ACK.

They rest on the accounting of time (docs/waits.md): how long a connection stood still, for whom, and for what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.causes.cause import Cause, Sufferer, Verdict
from tcptrace_fsm.causes.examples import ASKED, CLOSED, OPENED
from tcptrace_fsm.kernels.layout import (
    C_CROSSED,
    C_DELAYED_ACKS,
    C_FIRST_TIME,
    C_HELD_FRAME,
    C_LAST_TIME,
    C_LONGEST_AFTER,
    C_LONGEST_BEFORE,
    C_LONGEST_FOR,
    C_LONGEST_WAIT,
    C_PAUSE,
    C_PAUSE_FRAME,
    C_PAUSES,
    C_REQUESTS,
    C_RESPONSE_MARKER,
    C_RESPONSE_MAX,
    C_RESPONSE_MIN,
    C_RESPONSES,
    C_SLOWEST_FRAME,
    C_TIMES,
    C_WAIT_BITS,
    C_WAIT_SEEN,
    C_WAIT_SPOKE,
    C_WAIT_WAY,
    CLIENT,
    E_ACK,
    E_FIN,
    E_LAST_TIME,
    E_UNIQUE,
    MARK_BAD_CHECKSUM,
    MILLISECOND,
    SERVER,
    WAIT_APPLICATION,
    WAIT_DELAYED_ACK,
    WB_SERVER_LAST,
    WB_SERVER_SPOKE,
    WB_SPOKEN,
)
from tcptrace_fsm.text.durations import span

if TYPE_CHECKING:
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World

__all__ = ["CAUSES"]

SECOND = 1_000_000_000
SIDES = ("client", "server")


def has_turns(case: Case) -> bool:
    """Whether both directions were seen, and the ends took turns."""
    return case.both_directions and 3 * case[C_CROSSED] <= case[C_REQUESTS]


def median_response(case: Case) -> int:
    """Median time of its answers, ns."""
    n = case[C_RESPONSES]
    heights = [case[C_RESPONSE_MARKER + i] for i in range(5)]
    if n >= 5:
        return heights[2]
    few = sorted(heights[:n])
    return (few[(n - 1) // 2] + few[n // 2]) // 2


def way_and_back(case: Case) -> int:
    """The way to the server and back, ns, as far as it is known."""
    return sum(w for w in (case[C_WAIT_WAY], case[C_WAIT_WAY + 1]) if w > 0)


def network_share(case: Case) -> str:
    """The way to the server and back, in words."""
    way = way_and_back(case)
    return span(way) if way else "not known"


def usual(median: int) -> str:
    """The usual time of an answer, in words."""
    return span(median) if median >= MILLISECOND else "less than 1 ms"


def half_took(median: int) -> str:
    """What half of the answers took, in words."""
    return f"half of the answers took {usual(median)}" + (" or more" if median >= MILLISECOND else "")


# --- slow answers -----------------------------------------------------------------------------------------------------
def is_long_poll(case: Case, world: World) -> bool:
    """Whether its answers come after a fixed time by design: all alike, and long by the clock or quick elsewhere."""
    worst, least = case[C_RESPONSE_MAX], case[C_RESPONSE_MIN]
    if case[C_RESPONSES] < 2 or worst - least > max(worst // 40, SECOND // 20):
        return False
    off = least % (5 * SECOND)  # a clock is late at times, and never early
    by_the_clock = least >= 19 * SECOND and min(off, 5 * SECOND - off) <= SECOND // 10
    quick = any(
        other is not case and other[C_RESPONSES] >= 5 and other[C_RESPONSE_MAX] < SECOND
        for other in world.cases_of(case.service)
    )
    return by_the_clock or quick


def one_sided_talk(case: Case) -> bool:
    """Whether what the server sends may be no answer: the client's words are left without one, or the server begins."""
    if case[C_PAUSES] and 2 * case[C_PAUSE] >= case[C_RESPONSE_MAX]:
        return True  # the client said something, waited in vain for longer, and went on
    first = next((s for s in case.segments if s.length), None)
    return case.midstream and first is not None and first.side == SERVER


def server_slow(case: Case, world: World) -> Verdict | None:
    """The server has the request, and says nothing for long."""
    worst, n = case[C_RESPONSE_MAX], case[C_RESPONSES]
    greeting = late_greeting(case)
    if greeting is not None and greeting.amount > worst:
        return greeting
    # Without a pure ACK or a SYN+ACK from it, nothing tells that the request had arrived.
    if worst < SECOND or not n or not has_turns(case) or case[C_WAIT_WAY + SERVER] < 0:
        return None
    if any((s.fin or s.rst) and case.is_before(s, case[C_SLOWEST_FRAME]) for s in case.sent(CLIENT)):
        return None  # it no longer waited
    if any(s.length and s.has(MARK_BAD_CHECKSUM) for s in case.sent(CLIENT)):
        return None  # it had not got what arrived damaged
    if worst < way_and_back(case):
        return None  # the way is longer than that, and may have been twice as long for once
    median = median_response(case)
    frame = case.frames(case[C_SLOWEST_FRAME])
    evidence = [
        f"the slowest of {n} answers came {span(worst)} after its request had arrived ({frame})",
        f"{half_took(median)}, and the way there and back takes {network_share(case)}",
    ]
    if one_sided_talk(case):
        return Verdict(
            20,
            "possible",
            tuple(evidence),
            f"{case.service_text} was silent for up to {span(worst)}, if it was its turn: not all that is said here is "
            "a request that wants an answer",
            alternatives=("client_slow",),
            severity="low",
        )
    if is_long_poll(case, world):
        return Verdict(
            20,
            "possible",
            tuple(evidence),
            f"{case.service_text} answers after {span(median)} each time: a long poll waits so by design",
            against=(f"all {n} answers took the same time, within {span(worst - case[C_RESPONSE_MIN])}",),
            alternatives=("request_unanswered",),
            severity="info",
        )
    return Verdict(
        65,
        "likely",
        tuple(evidence),
        f"{case.service_text} took up to {span(worst)} for an answer (median {usual(median)} of {n}); "
        f"the network's share is {network_share(case)}",
        against=("nothing of it was repeated, held back or refused meanwhile",),
        amount=worst,
    )


def late_greeting(case: Case) -> Verdict | None:
    """The server speaks first, and does so late."""
    waited = case[C_LONGEST_WAIT]
    if case[C_LONGEST_FOR] != 2 * WAIT_APPLICATION + SERVER or waited < 2 * SECOND or case.midstream:
        return None
    third = next((s for s in case.sent(CLIENT) if not s.syn), None)
    if third is None or case.is_before(third, case[C_LONGEST_BEFORE]) or not case.client[E_UNIQUE]:
        return None  # a server that only ever pushes may have had nothing to say
    if case[C_WAIT_WAY + SERVER] < 0 or not has_turns(case) or sum(s.syn_ack for s in case.sent(SERVER)) > 1:
        return None
    return Verdict(
        60,
        "likely",
        (
            (
                f"the connection was open, and {case.service_text}, which speaks first, said nothing for "
                f"{span(waited)} ({case.frames(third, case[C_LONGEST_AFTER])})"
            ),
            f"the way there and back takes {network_share(case)}",
        ),
        f"{case.service_text} greets its client only {span(waited)} after the handshake",
        against=("the SYN+ACK was not repeated, nor anything else: nothing was lost or put off by TCP",),
        amount=waited,
    )


def slow_often(sufferers: list[Sufferer], world: World) -> str:  # noqa: ARG001
    """The slowest answer of all connections, and how many answers there were."""
    worst = max(sufferers, key=lambda s: s.verdict.amount)
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


def request_unanswered(case: Case, world: World) -> Verdict | None:  # noqa: ARG001
    """The last request was acknowledged, and no answer came."""
    bits = case[C_WAIT_BITS]
    if not bits & WB_SPOKEN or bits & WB_SERVER_LAST or not has_turns(case):
        return None
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
    if last is None and (waited < 10 * SECOND or waited < 2 * answered or bits & WB_SERVER_SPOKE):
        return None
    if waited < 2 * SECOND or waited < 2 * median_of_answers(case):
        return None
    if last is None and case.midstream and not case[C_RESPONSES]:
        return None  # nothing shows that this server ever answers
    who = "the capture ended" if last is None else f"the {SIDES[last.side]} closed"
    return Verdict(
        70,
        "likely" if last is not None else "possible",
        (
            (
                f"the server acknowledged the last request and sent nothing for {span(waited)}, until {who} "
                f"({case.frames(case[C_LONGEST_BEFORE], last)})"
            ),
            f"{case[C_RESPONSES]} of {case[C_REQUESTS]} requests were answered",
        ),
        f"{case.service_text} acknowledged a request and had not answered it {span(waited)} later, when {who}",
        alternatives=("server_slow",),
        at=last,
    )


def median_of_answers(case: Case) -> int:
    """Median time of the answers that came, ns; 0 for none."""
    return median_response(case) if case[C_RESPONSES] else 0


def client_slow(case: Case, world: World) -> Verdict | None:  # noqa: ARG001
    """The client paused within what it had to say, and was answered when it had said all."""
    pause = case[C_PAUSE]
    if (
        case[C_WAIT_WAY + SERVER] < 0
        or pause < 2 * SECOND
        or case[C_PAUSES] > 2
        or not has_turns(case)
        or not case[C_RESPONSES]
    ):
        return None
    if case[C_RESPONSE_MAX] * 4 > pause or pause < 3 * median_response(case):
        return None
    return Verdict(
        40,
        "possible",
        (
            f"the client paused for {span(pause)} between two parts of a request ({case.frames(case[C_PAUSE_FRAME])})",
            f"what followed was answered within {span(case[C_RESPONSE_MAX])}: the server did not keep it waiting",
        ),
        f"{case.client.name} paused for {span(pause)} before it sent the rest of a request to {case.service_text}",
        alternatives=("request_unanswered",),
        # One that has asked in one piece before may have said something that wants no answer.
        severity="medium" if pause >= 5 * SECOND and case[C_REQUESTS] == 1 else "low",
    )


# --- Nagle ------------------------------------------------------------------------------------------------------------
def nagle_delayed_ack(case: Case, world: World) -> Verdict | None:  # noqa: ARG001
    """Short segments were held back until a delayed ACK of the one before."""
    side = CLIENT if case[C_TIMES + 2 * WAIT_DELAYED_ACK + SERVER] else SERVER
    held = case[C_TIMES + 2 * WAIT_DELAYED_ACK + 1 - side]
    n = case[C_DELAYED_ACKS]
    if n < 2 and held < 150_000_000:
        return None
    lasted = case[C_LAST_TIME] - case[C_FIRST_TIME]
    sender, receiver = SIDES[side], SIDES[1 - side]
    few = 8 * n < max(case[C_REQUESTS], case[C_RESPONSES]) or (n < 8 and 10 * held < lasted)
    return Verdict(
        72,
        "possible" if few else "likely",  # a few may have been said just then
        (
            (
                f"{n} times the {sender} sent a short segment the moment the {receiver}'s ACK of the one before came, "
                f"{span(held // n)} late each time (first: {case.frames(case[C_HELD_FRAME])})"
            ),
            f"{span(held)} of the connection's {span(lasted)} went so",
        ),
        f"{case.view.ends[side].name} writes in small pieces, and Nagle's algorithm holds back the second until a "
        f"delayed ACK: {span(held // n)} in each of {n} exchanges",
        against=("no segment was repeated for it, and the answers came soon after the last piece",),
        severity="medium" if held >= SECOND // 2 else "low",
        where=sender,
        amount=held,
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
            "half_close_unsupported": "the client closes its direction with the request",
            "path_dead": "the request is not acknowledged",
        },
        explains=frozenset(),
        next_step="look for this request in the log of {service}: did the application take it, and where does it hang?",
        weigh=request_unanswered,
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
    Cause(
        name="client_slow",
        family="data",
        where="client",
        severity="low",
        summary="The client sent a part of what it had to say, paused, and sent the rest: the server had to wait for "
        "it. A person who types does the same.",
        predicts=("a long pause between two segments of one request", "an answer soon after the last of them"),
        forbids=("a shut window or a repetition in the pause",),
        look_alikes={
            "server_slow": "the pause is between request and answer",
            "nagle_delayed_ack": "the pause is 40 or 200 ms, and an ACK ends it",
        },
        explains=frozenset(),
        next_step="look at what the client at {client} does between the two parts of its request",
        weigh=client_slow,
        group="client",
        example=OPENED
        + ASKED
        + """
            7.100 > P. 101:201(100) ack 1   win 512
            7.125 < P. 1:501(500)   ack 201 win 512
            7.126 > .  201:201(0)   ack 501 win 512
        """,
        look_alike=OPENED
        + ASKED
        + """
            0.125 < P. 1:501(500)   ack 101 win 512
            0.126 > .  101:101(0)   ack 501 win 512
            7.100 > P. 101:201(100) ack 501 win 512
            7.125 < P. 501:900(399) ack 201 win 512
        """,
    ),
    Cause(
        name="nagle_delayed_ack",
        family="data",
        where="client",
        severity="low",
        summary="An application writes a message in two or more small pieces. Nagle's algorithm (RFC 9293 3.7.4) holds "
        "back the second until the first is acknowledged, and the peer delays that ACK (RFC 9293 3.8.6.3) since it has "
        "no answer to send yet.",
        predicts=(
            "a short segment is sent at the very moment of an ACK",
            "that ACK came 40 ms (Linux) to 200 ms and more later than a round trip",
        ),
        forbids=("data from the peer between the two pieces", "a repetition"),
        look_alikes={
            "server_slow": "the pause is after the last piece of the request",
            "client_slow": "the pause is not ended by an ACK",
            "window_scale_broken": "each segment is as long as the window field, without its scale",
            "window_limited": "each flight fills the window",
        },
        explains=frozenset(),
        next_step="have the application write each message at once, or set TCP_NODELAY on its socket",
        weigh=nagle_delayed_ack,
        example=OPENED
        + """
            0.100 > P. 1:9(8)       ack 1   win 512
            0.160 < .  1:1(0)       ack 9   win 512
            0.160 > P. 9:109(100)   ack 1   win 512
            0.181 < P. 1:101(100)   ack 109 win 512
            0.200 > P. 109:117(8)   ack 101 win 512
            0.260 < .  101:101(0)   ack 117 win 512
            0.260 > P. 117:217(100) ack 101 win 512
            0.281 < P. 101:201(100) ack 217 win 512
        """,
        look_alike=OPENED
        + """
            0.100 > P. 1:9(8)       ack 1   win 512
            0.121 < .  1:1(0)       ack 9   win 512
            0.121 > P. 9:109(100)   ack 1   win 512
            0.142 < P. 1:101(100)   ack 109 win 512
            0.200 > P. 109:117(8)   ack 101 win 512
            0.221 < .  101:101(0)   ack 117 win 512
            0.221 > P. 117:217(100) ack 101 win 512
            0.242 < P. 101:201(100) ack 217 win 512
        """,
    ),
)
