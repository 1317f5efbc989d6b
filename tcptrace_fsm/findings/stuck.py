"""Rules about closes that do not go on: a FIN without an answer, or with no FIN of the other side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.evidence import BEGUN_IDLE, HANDSHAKE, genuine, times
from tcptrace_fsm.findings.needs import BOTH_DIRECTIONS, FIRST_FIN, TO_THE_END, WHOLE
from tcptrace_fsm.findings.rule import SECOND, Hit, Key, Rule, Segment, View, mask, span
from tcptrace_fsm.kernels.layout import (
    C_ACCEPTED,
    C_TAKEN_BY,
    CF_CLOSING,
    CLIENT,
    CLOSING_HALF_CLOSED,
    CLOSING_TIMED_OUT,
    E_ACK,
    E_FIN,
    E_NEXT,
    E_SEGMENTS,
    MARK_FIN_AGAIN,
    MARK_RETRANSMISSION,
    MILLISECOND,
)
from tcptrace_fsm.tcp.machine import Basis, Event, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tcptrace_fsm.findings.rule import Change, End

__all__ = ["RULES"]

STUCK = 60 * SECOND  # a half-close without any data for so long is nobody's intention
POOL = 120 * SECOND  # a client's pool closes what its server has closed when it looks at it next
SLOW = 5 * SECOND
LONG = 10 * SECOND
SHORT = SECOND
QUICKEST = 20 * MILLISECOND  # no timer runs out sooner: what comes at once is a copy, or goes along with an ACK
REPEATS = 3  # a FIN repeated so often without an answer is not about one lost segment


def graded(waited: int, side: int) -> str:
    """How bad it is that ``side`` has not closed: seconds are somebody's way of working, a minute is a leak."""
    if side == CLIENT and SHORT <= waited < POOL:
        return "low"
    return "high" if waited >= STUCK else "medium" if waited >= LONG else "low" if waited >= SHORT else "info"


def idle_half_close(c: View) -> Iterator[tuple[End, Change, int]]:
    """Endpoints in FIN_WAIT_2 whose peer has nothing to say: the end, how it got there, for how long."""
    over = (State.LAST_ACK, State.CLOSING, State.TIME_WAIT)
    for end in c.ends:
        change = end.entered(State.FIN_WAIT_2)
        if change is None or not end.peer[E_SEGMENTS] or any(end.peer.entered(state) for state in over):
            continue
        if c[C_ACCEPTED] >= 0 and c[C_TAKEN_BY] == end.side:
            continue  # nobody opens a four-tuple anew while it waits in FIN_WAIT_2: what ended that was not captured
        since = max([change.time, *(s.last_time for s in end.peer.segments if s.length)])
        left = end.left(State.FIN_WAIT_2)
        until = left.time if left and left.target is State.CLOSED else c.end
        yield end, change, max(0, until - since)


def stuck_fin_wait_2(c: View) -> Iterator[Hit]:
    """The side that waits."""
    for end, change, waited in idle_half_close(c):
        usual = end.profile.fin_wait_2.usual
        gone = "; by its timer it has given up by then"
        if end.state is State.FIN_WAIT_2:
            both = f": it still waits if it only shut down, and was gone {usual:.0f} s after the ACK if it closed"
            gone = both if end.basis in {Basis.TIMER, Basis.LEARNED} else ""
        yield Hit(
            end.side,
            change,
            f"{end.name} closed, and {end.peer.name}, which had its FIN, did not close in the {span(waited)} since"
            f"{gone}"
            if waited
            else f"{end.name} has closed, and {end.peer.name} not yet, as the capture ends",
            [s for s in end.segments if s.fin],
            graded(waited, end.peer.side),
        )


def stuck_close_wait(c: View) -> Iterator[Hit]:
    """The side that is waited for, unless its own data are still under way."""
    for end, _, waited in idle_half_close(c):
        change = end.peer.entered(State.CLOSE_WAIT)
        if change is None or end.peer[E_NEXT] > end[E_ACK]:
            continue
        yield Hit(
            end.peer.side,
            change,
            f"{end.peer.name} has not closed in the {span(waited)} since it had {end.name}'s FIN and sent its own last "
            "data: its application holds the socket in CLOSE_WAIT"
            if waited
            else f"{end.peer.name} has had {end.name}'s FIN, and not closed yet, as the capture ends",
            [s for s in end.segments if s.fin],
            graded(waited, end.peer.side),
        )


def unanswered_fin(end: End, state: State) -> tuple[Segment, list[Segment], bool] | None:
    """A FIN that was never acknowledged: the first, what was repeated after it, and whether its sender gave up."""
    left = end.left(state)
    gave_up = left is not None and left.event is Event.TIMEOUT_RETRANSMISSION
    if not gave_up and end.state is not state:
        return None
    fins = genuine(s for s in end.segments if s.fin)
    if not fins or end.peer[E_ACK] >= end[E_FIN]:
        return None
    again: list[Segment] = []
    for s in genuine(end.segments):
        last = again[-1] if again else fins[0]
        if (
            s.frame > fins[0].frame
            and s.has(MARK_FIN_AGAIN, MARK_RETRANSMISSION)
            and s.last_time - last.time >= QUICKEST
        ):
            again.append(s)
    return (fins[0], again, gave_up) if len(again) > 1 or (again and gave_up) else None


def stopped(end: End, fin: Segment, again: list[Segment]) -> bool:
    """Whether a FIN was due once more, by the doubling of its timer, long before the end: it was answered, not here."""
    last = again[-1].last_time
    if last - fin.time >= SECOND:
        return False  # it may have given up, which no host does so soon (RFC 9293 3.8.3: R2)
    return end.view.end - last > 4 * (last - (again[-2] if len(again) > 1 else fin).last_time) + SECOND


def stuck(c: View, state: State, worst: str, what: str) -> Iterator[Hit]:
    """Endpoints whose FIN is repeated in a state and never acknowledged."""
    for end in c.ends:
        found = unanswered_fin(end, state)
        if found is None:
            continue
        fin, again, gave_up = found
        tried = again[-1].last_time - fin.time if again else 0
        outcome = (
            f"was silent for the {span(c.end - again[-1].last_time)} after that"
            if again and stopped(end, fin, again)
            else "gave up"
            if gave_up
            else "was still trying when the capture ended"
        )
        severity = worst if len(again) >= REPEATS else "low"
        if not end.peer[E_SEGMENTS] or (again and stopped(end, fin, again)):
            severity = "low"
        yield Hit(
            end.side,
            fin,
            f"{end.name} repeated {'its FIN' if any(s.fin for s in again) else 'what comes before its FIN'} "
            f"{times(len(again))} in {span(tried)} without any answer from "
            f"{end.peer.name} and {outcome}: {what}",
            again,
            severity,
        )


def stuck_fin_wait_1(c: View) -> Iterator[Hit]:
    """The first FIN is never acknowledged."""
    return stuck(c, State.FIN_WAIT_1, "high", "it is stuck in FIN_WAIT_1, the peer or the way to it is gone")


def stuck_last_ack(c: View) -> Iterator[Hit]:
    """The second FIN is never acknowledged."""
    return stuck(c, State.LAST_ACK, "medium", "it is stuck in LAST_ACK, the peer no longer answers the last FIN")


def stuck_closing(c: View) -> Iterator[Hit]:
    """Both closed at once, and one of the FINs is never acknowledged."""
    return stuck(c, State.CLOSING, "medium", "it is stuck in CLOSING after both closed at the same time")


def when_half_closed(key: Key) -> bool:
    """One side only has closed, or it took long."""
    half = (State.FIN_WAIT_2, State.CLOSE_WAIT)
    return (
        key.closing in (CLOSING_HALF_CLOSED, CLOSING_TIMED_OUT) or key.client_state in half or key.server_state in half
    )


def when_unanswered(state: State) -> Callable[[Key], bool]:
    """Whether an endpoint ended in ``state``, or gave up somewhere, after repeating its FIN."""

    def when(key: Key) -> bool:
        """A FIN or what lies before it was repeated, and that was no use."""
        repeated = key.marks & mask(MARK_FIN_AGAIN, MARK_RETRANSMISSION) and key.flags & CF_CLOSING
        return bool(repeated) and (key.closing == CLOSING_TIMED_OUT or state in (key.client_state, key.server_state))

    return when


# Of what these hold nobody can tell whether an end has not closed, or closed unseen.
NOT_WHOLE = (
    BEGUN_IDLE,
    """
            0.000 > F. 1:1(0) ack 1     # the first of the two, or the last: nobody can tell
            0.010 < .  1:1(0) ack 2
            end 177
        """,
    HANDSHAKE
    + """
            1.000 > P. 101:201(100)   ack 901   # a filter lets only some segments through
            1.010 > F. 201:201(0)     ack 901
            1.020 < P. 901:1001(100)  ack 202
            end 313
        """,
)

RULES = (
    Rule(
        kind="stuck_fin_wait_2",
        category="close",
        severity="high",
        rfc="RFC 9293 3.6",
        summary="One side has closed, its FIN is acknowledged, and the other never closes: it hangs in FIN_WAIT_2.",
        evidence="The ACK of its FIN, then neither FIN nor RST nor data; high from 60 s on, medium from 5 s, low "
        "from 1 s.",
        innocent="A half-close on purpose, in which data usually flow; a capture that ends too early.",
        when=when_half_closed,
        needs=(BOTH_DIRECTIONS, FIRST_FIN, WHOLE, TO_THE_END),
        fragile=True,
        detect=stuck_fin_wait_2,
        aliases={"Zeek": "S2 or S3", "netstat": "FIN_WAIT2"},
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
            end 313
        """,
        counterexample=(
            HANDSHAKE
            + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
            1.200 < F. 1:1(0)     ack 102
            1.210 > .  102:102(0) ack 2
            end 313
        """,
            *NOT_WHOLE,
        ),
    ),
    Rule(
        kind="stuck_close_wait",
        category="close",
        severity="high",
        rfc="RFC 9293 3.6",
        summary="An application never closes what the other side has closed: it leaks sockets in CLOSE_WAIT.",
        evidence="Its system acknowledged the peer's FIN, and it sends neither data nor FIN nor RST afterwards.",
        innocent="A long answer still being computed; a capture that ends too early.",
        when=when_half_closed,
        needs=(BOTH_DIRECTIONS, FIRST_FIN, WHOLE, TO_THE_END),
        fragile=True,
        detect=stuck_close_wait,
        aliases={"Zeek": "S2 or S3", "netstat": "CLOSE_WAIT"},
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
            end 313
        """,
        counterexample=(
            HANDSHAKE
            + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
            1.500 < R. 1:1(0)     ack 102
            end 313
        """,
            *NOT_WHOLE,
        ),
    ),
    Rule(
        kind="stuck_fin_wait_1",
        category="close",
        severity="high",
        rfc="RFC 9293 3.8.3",
        summary="The FIN of the side that closes first is repeated and never acknowledged.",
        evidence="Two or more repetitions (three for full severity) and no ACK of the FIN from the peer.",
        innocent="A capture that misses the peer's direction, or ends while the loss is being repaired.",
        when=when_unanswered(State.FIN_WAIT_1),
        needs=(BOTH_DIRECTIONS, TO_THE_END),
        fragile=True,
        detect=stuck_fin_wait_1,
        aliases={"Wireshark": "tcp.analysis.retransmission of a FIN", "netstat": "FIN_WAIT1"},
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.200 > F. 101:101(0) ack 1
            1.600 > F. 101:101(0) ack 1
            2.400 > F. 101:101(0) ack 1
            4.000 > F. 101:101(0) ack 1
            end 60
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.200 > F. 101:101(0) ack 1
            1.600 > F. 101:101(0) ack 1
            2.400 > F. 101:101(0) ack 1
            2.410 < .  1:1(0)     ack 102
            end 60
        """,
    ),
    Rule(
        kind="stuck_last_ack",
        category="close",
        severity="medium",
        rfc="RFC 9293 3.6 case 2",
        summary="The FIN of the side that closes second is repeated and never acknowledged.",
        evidence="A FIN that acknowledges the other's, two or more repetitions, and no ACK of it.",
        innocent="A peer whose TIME_WAIT is gone and that drops what it no longer knows; a capture of one direction.",
        when=when_unanswered(State.LAST_ACK),
        needs=(BOTH_DIRECTIONS, TO_THE_END),
        fragile=True,
        detect=stuck_last_ack,
        aliases={"netstat": "LAST_ACK"},
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < F. 1:1(0)     ack 102
            1.210 < F. 1:1(0)     ack 102
            1.610 < F. 1:1(0)     ack 102
            2.410 < F. 1:1(0)     ack 102
            end 60
        """,
        counterexample=(
            HANDSHAKE
            + """
            1.000 > F. 101:101(0) ack 1
            1.010 < F. 1:1(0)     ack 102
            1.210 < F. 1:1(0)     ack 102
            1.610 < F. 1:1(0)     ack 102
            1.620 > .  102:102(0) ack 2
            end 60
        """,
            HANDSHAKE
            + """
            1.0000 > F. 101:101(0) ack 1
            1.0100 < F. 1:1(0)     ack 102
            1.0101 < F. 1:1(0)     ack 102     # on its way out of a router: no timer is so quick
            1.0103 < F. 1:1(0)     ack 102
            1.0104 < F. 1:1(0)     ack 102
            end 60
        """,
        ),
    ),
    Rule(
        kind="stuck_closing",
        category="close",
        severity="medium",
        rfc="RFC 9293 3.6 case 3",
        summary="Both sides closed at once, and the FIN of one is never acknowledged.",
        evidence="Two FINs neither of which acknowledges the other, one of them repeated two or more times in vain.",
        innocent="A capture that misses the peer's direction, or ends while the loss is being repaired.",
        when=when_unanswered(State.CLOSING),
        needs=(BOTH_DIRECTIONS, TO_THE_END),
        fragile=True,
        detect=stuck_closing,
        aliases={"netstat": "CLOSING"},
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.001 < F. 1:1(0)     ack 101
            1.010 > .  102:102(0) ack 2
            1.210 > F. 101:101(0) ack 2
            1.610 > F. 101:101(0) ack 2
            2.410 > F. 101:101(0) ack 2
            end 60
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.001 < F. 1:1(0)     ack 101
            1.010 > .  102:102(0) ack 2
            1.210 > F. 101:101(0) ack 2
            1.220 < .  2:2(0)     ack 102
            end 60
        """,
    ),
)
