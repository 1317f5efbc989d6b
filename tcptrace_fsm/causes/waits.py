"""Causes of waiting for a client in the midst of what it says, and for Nagle's algorithm against a delayed ACK.

They rest on the accounting of time (docs/waits.md): how long a connection stood still, for whom, and for what.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.causes.cause import Cause, Verdict
from tcptrace_fsm.causes.examples import ASKED, OPENED
from tcptrace_fsm.causes.talk import has_turns, median_response, server_began
from tcptrace_fsm.core.words import SIDES
from tcptrace_fsm.findings.rule import mask
from tcptrace_fsm.kernels.layout import (
    C_DELAYED_ACKS,
    C_FIRST_TIME,
    C_HELD_FRAME,
    C_LAST_TIME,
    C_MARKS,
    C_PAUSE,
    C_PAUSE_FRAME,
    C_PAUSES,
    C_REQUESTS,
    C_RESPONSE_MAX,
    C_RESPONSES,
    C_STALLS,
    C_TIMES,
    C_WAIT_WAY,
    CLIENT,
    E_UNIQUE,
    MARK_ACK_UNSEEN,
    MILLISECOND,
    SERVER,
    WAIT_DELAYED_ACK,
)
from tcptrace_fsm.text.durations import SECOND, span

if TYPE_CHECKING:
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World

__all__ = ["CAUSES"]


def client_slow(case: Case, world: World) -> Verdict | None:  # noqa: ARG001
    """The client paused within what it had to say, and was answered when it had said all."""
    pause = case[C_PAUSE]
    if (
        case[C_WAIT_WAY + SERVER] < 0
        or pause < 2 * SECOND
        or case[C_PAUSES] > 2
        or not has_turns(case)
        or not case[C_RESPONSES]
        or case[C_MARKS] & mask(MARK_ACK_UNSEEN)  # what is missing may have been an answer
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
        # Nor did anybody wait for the rest whose peer had something to say of its own accord.
        # Whose parts come at several distances may speak when it likes.
        severity="medium"
        # After minutes nobody sits and waits. Who was greeted says its name, and what it wants when it likes.
        if 5 * SECOND <= pause <= 120 * SECOND
        and case[C_REQUESTS] == case[C_PAUSES] == 1
        and not (case[C_STALLS] or case.midstream or server_began(case))
        else "low",
    )


# --- Nagle ------------------------------------------------------------------------------------------------------------
def nagle_delayed_ack(case: Case, world: World) -> Verdict | None:  # noqa: ARG001
    """Short segments were held back until a delayed ACK of the one before."""
    side = CLIENT if case[C_TIMES + 2 * WAIT_DELAYED_ACK + SERVER] else SERVER
    held = case[C_TIMES + 2 * WAIT_DELAYED_ACK + 1 - side]
    n = case[C_DELAYED_ACKS] & 0xFFFFFFFF
    if 2 * (case[C_DELAYED_ACKS] >> 32) > n:
        return None  # it often sends a short segment though one before it is not acknowledged: nothing holds it back
    if n < 2 and held < 150_000_000:
        return None
    if 2 * n < case[C_PAUSES if side == CLIENT else C_STALLS]:
        return None  # it goes on when it likes; now and then that is when an ACK comes
    if case.view.ends[side][E_UNIQUE] <= 4 * (case[C_REQUESTS] + n):
        return None  # keys that a person strikes: each is a message of its own, which nobody wrote in pieces
    lasted = case[C_LAST_TIME] - case[C_FIRST_TIME]
    sender, receiver = SIDES[side], SIDES[1 - side]
    exchanges = max(case[C_REQUESTS], case[C_RESPONSES])
    few = 8 * n < exchanges or ((n < 8 or held < SECOND // 2) and 10 * held < lasted)
    # Far from the sender, words that come at a steady pace look like words that an ACK lets go.
    paced = n > 2 * exchanges and case[C_WAIT_WAY + side] > 4 * MILLISECOND
    if not has_turns(case) or case[C_MARKS] & mask(MARK_ACK_UNSEEN) or not case.view.ends[1 - side][E_UNIQUE]:
        # Each speaks when it likes: now and then that is when an ACK comes. Or what it said meanwhile is missing here.
        # Or the peer only listens, as to a log: nobody waits for an answer.
        paced = few = True
    return Verdict(
        40 if few or paced else 72,
        "possible" if few or paced else "likely",  # a few may have been said just then
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
        severity="medium" if held >= SECOND // 2 and not few and not paced else "low",
        where=sender,
        amount=held,
    )


CAUSES = (
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
