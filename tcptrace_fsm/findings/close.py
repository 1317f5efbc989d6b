"""Rules about how connections close, and about those that never finish it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.evidence import BEGUN_IDLE, HANDSHAKE, heard, times
from tcptrace_fsm.findings.needs import BOTH_DIRECTIONS, FIRST_FIN, WHOLE
from tcptrace_fsm.findings.rule import SECOND, Hit, Key, Rule, Segment, View, mask, span
from tcptrace_fsm.kernels.layout import (
    C_FIRST_TIME,
    C_LAST_TIME,
    CF_CLOSING,
    CLOSING_HALF_CLOSED,
    CLOSING_NONE,
    CLOSING_SIMULTANEOUS,
    CLOSING_TIMED_OUT,
    E_ACK,
    E_FIN,
    E_NEXT,
    E_SEGMENTS,
    MARK_CLOSE_SLOW,
    MARK_FIN_AGAIN,
    MARK_HALF_CLOSE_DATA,
    MARK_RETRANSMISSION,
)
from tcptrace_fsm.tcp.machine import Basis, Event, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tcptrace_fsm.findings.rule import Change, End

__all__ = ["RULES"]

STUCK = 60 * SECOND  # a half-close without any data for so long is nobody's intention
SLOW = 5 * SECOND
SHORT = SECOND
UNREPEATED = 3 * SECOND  # a FIN that got no ACK is sent again before that
KEEPALIVE = 7200 * SECOND  # RFC 9293 3.8.4: the least idle time before a keepalive by default
REPEATS = 3  # a FIN repeated so often without an answer is not about one lost segment


def graded(waited: int) -> str:
    """How bad such a wait is: seconds are somebody's way of working, a minute is a leak."""
    return "high" if waited >= STUCK else "medium" if waited >= SLOW else "low" if waited >= SHORT else "info"


def idle_half_close(c: View) -> Iterator[tuple[End, Change, int]]:
    """Endpoints in FIN_WAIT_2 whose peer has nothing to say: the end, how it got there, for how long."""
    over = (State.LAST_ACK, State.CLOSING, State.TIME_WAIT)
    for end in c.ends:
        change = end.entered(State.FIN_WAIT_2)
        if change is None or not end.peer[E_SEGMENTS] or any(end.peer.entered(state) for state in over):
            continue
        since = max([change.time, *(s.last_time for s in end.peer.segments if s.length)])
        left = end.left(State.FIN_WAIT_2)
        until = left.time if left and left.target is State.CLOSED else c.end
        yield end, change, max(0, until - since)


def stuck_fin_wait_2(c: View) -> Iterator[Hit]:
    """The side that waits."""
    for end, change, waited in idle_half_close(c):
        gone = "" if end.state is State.FIN_WAIT_2 else "; by its timer it has given up by then"
        yield Hit(
            end.side,
            change,
            f"{end.name} closed, and {end.peer.name}, which had its FIN, did not close in the {span(waited)} since"
            f"{gone}"
            if waited
            else f"{end.name} has closed, and {end.peer.name} not yet, as the capture ends",
            [s for s in end.segments if s.fin],
            graded(waited),
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
            graded(waited),
        )


def unanswered_fin(end: End, state: State) -> tuple[Segment, list[Segment], bool] | None:
    """A FIN that was never acknowledged: the first, what was repeated after it, and whether its sender gave up."""
    left = end.left(state)
    gave_up = left is not None and left.event is Event.TIMEOUT_RETRANSMISSION
    if not gave_up and end.state is not state:
        return None
    fins = heard(s for s in end.segments if s.fin)
    if not fins or end.peer[E_ACK] >= end[E_FIN]:
        return None
    again = [s for s in heard(end.segments) if s.frame > fins[0].frame and s.has(MARK_FIN_AGAIN, MARK_RETRANSMISSION)]
    return (fins[0], again, gave_up) if len(again) > 1 or gave_up else None


def stuck(c: View, state: State, worst: str, what: str) -> Iterator[Hit]:
    """Endpoints whose FIN is repeated in a state and never acknowledged."""
    for end in c.ends:
        found = unanswered_fin(end, state)
        if found is None:
            continue
        fin, again, gave_up = found
        tried = again[-1].last_time - fin.time if again else 0
        outcome = "gave up" if gave_up else "was still trying when the capture ended"
        severity = worst if len(again) >= REPEATS else "low"
        if not end.peer[E_SEGMENTS]:
            severity = "low"
        yield Hit(
            end.side,
            fin,
            f"{end.name} repeated its FIN {times(len(again))} in {span(tried)} without any answer from "
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


def half_close(c: View) -> Iterator[Hit]:
    """New data from an endpoint that had acknowledged the other's FIN."""
    for end in c.ends:
        if end[E_FIN] < 0:
            continue
        fin = next((s for s in end.segments if s.fin), None)
        data = [
            s for s in heard(end.peer.segments) if s.length and s.ack >= end[E_FIN] and not s.has(MARK_RETRANSMISSION)
        ]
        if fin is None or not data:
            continue
        sent = end.peer[E_NEXT] - data[0].seq - (end.peer[E_FIN] >= 0)
        yield Hit(
            end.side,
            fin,
            f"{end.name} closed its direction only; {end.peer.name} went on to send {sent} bytes until "
            f"{span(data[-1].last_time - fin.time)} after that FIN",
            (data[0], data[-1]),
        )


def simultaneous_close(c: View) -> Iterator[Hit]:
    """Both FINs were under way at once."""
    closing = next((x for x in c.changes if x.target is State.CLOSING), None)
    if closing:
        fins = [s for s in c.segments if s.fin]
        yield Hit(
            None,
            closing,
            f"{c.client.name} and {c.server.name} closed at the same time: each sent its FIN before it had the other's",
            fins,
        )


def vanished(c: View) -> Iterator[Hit]:
    """Both ends are established and have been silent for longer than any keepalive waits."""
    silent = c.end - c[C_LAST_TIME]
    if silent < KEEPALIVE or c.one_sided or not c.segments:
        return
    for end in c.ends:
        if end.state is not State.ESTABLISHED:
            return
    yield Hit(
        None,
        c.segments[-1],
        f"nothing was heard of {c.client.name} and {c.server.name} for the last {span(silent)} of the capture, after "
        f"{span(c[C_LAST_TIME] - c[C_FIRST_TIME])} of life: neither closed, and no keepalive asks whether the other "
        "is alive",
    )


def close_wait_slow(c: View) -> Iterator[Hit]:
    """The second FIN came, but late."""
    for end in c.ends:
        entered = end.entered(State.CLOSE_WAIT)
        left = end.left(State.CLOSE_WAIT)
        if entered is None or left is None or left.event is not Event.SND_FIN:
            continue
        data = [s.last_time for s in end.segments if s.length and s.last_time < left.time]
        waited = left.time - max([entered.time, *data])
        if waited >= SLOW:
            yield Hit(
                end.side,
                left,
                f"{end.name} took {span(waited)} to close after {end.peer.name}'s FIN and its own last data: its "
                "application does not notice, or does not act on, the end of the stream",
                (entered,),
            )


def final_ack_missing(c: View) -> Iterator[Hit]:
    """The last FIN is neither acknowledged nor repeated."""
    for end in c.ends:
        left = end.left(State.LAST_ACK)
        fin = next((s for s in heard(end.segments) if s.fin), None)
        if left is None or left.event is not Event.RCV_ACK_OF_FIN or left.basis is not Basis.INFERRED or fin is None:
            continue
        if end.peer[E_SEGMENTS] and c.end - fin.time >= UNREPEATED:
            yield Hit(
                end.side,
                fin,
                f"the FIN of {end.name} was never acknowledged here, yet never repeated in the "
                f"{span(c.end - fin.time)} "
                f"that follow: the last ACK of {end.peer.name} passed elsewhere or was dropped from the capture",
                basis=Basis.INFERRED,
            )


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


def when_simultaneous(key: Key) -> bool:
    """Both were CLOSING."""
    return key.closing == CLOSING_SIMULTANEOUS


def when_fin(key: Key) -> bool:
    """A FIN, or at least an RST, was seen."""
    return bool(key.flags & CF_CLOSING) and key.closing != CLOSING_NONE


def when_half_close_data(key: Key) -> bool:
    """An endpoint sent new data after it had acknowledged the other's FIN."""
    return when_fin(key) and bool(key.marks & mask(MARK_HALF_CLOSE_DATA))


def when_closed_late(key: Key) -> bool:
    """The second FIN came long after the first was acknowledged, or nobody saw that it was."""
    return when_fin(key) and (not key.acknowledged or bool(key.marks & mask(MARK_CLOSE_SLOW)))


def when_unacknowledged(key: Key) -> bool:
    """A FIN got no ACK that was seen."""
    return when_fin(key) and not key.acknowledged


def when_open(key: Key) -> bool:
    """Nobody closed."""
    established = (State.ESTABLISHED, State.ESTABLISHED)
    return key.closing == CLOSING_NONE and (key.client_state, key.server_state) == established and not key.taken_over


RULES = (
    Rule(
        kind="half_close",
        category="close",
        severity="info",
        rfc="RFC 9293 3.6.1",
        summary="One side closed its direction and went on to receive data in the other.",
        evidence="New data that acknowledge the other side's FIN.",
        innocent="Legal and intended: shutdown() after a request, as rsh, rsync or nc -N do.",
        when=when_half_close_data,
        needs=(BOTH_DIRECTIONS,),
        detect=half_close,
        aliases={"Zeek": "S2 or S3 while it lasts"},
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0)    ack 1
            1.010 < .  1:1(0)        ack 102
            1.500 < P. 1:1001(1000)  ack 102
            1.510 > .  102:102(0)    ack 1001
            end 3
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > F. 101:101(0)   ack 1
            1.005 < P. 1:1001(1000) ack 101   # sent before the FIN arrived
            1.010 < .  1001:1001(0) ack 102
            1.015 > .  102:102(0)   ack 1001
            end 3
        """,
    ),
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
        needs=(BOTH_DIRECTIONS, FIRST_FIN, WHOLE),
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
        needs=(BOTH_DIRECTIONS, FIRST_FIN, WHOLE),
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
        needs=(BOTH_DIRECTIONS,),
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
        needs=(BOTH_DIRECTIONS,),
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
        counterexample=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < F. 1:1(0)     ack 102
            1.210 < F. 1:1(0)     ack 102
            1.610 < F. 1:1(0)     ack 102
            1.620 > .  102:102(0) ack 2
            end 60
        """,
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
        needs=(BOTH_DIRECTIONS,),
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
    Rule(
        kind="simultaneous_close",
        category="close",
        severity="info",
        rfc="RFC 9293 3.6 case 3",
        summary="Both ends closed at the same time; both pass through CLOSING, and one or both keep TIME_WAIT.",
        evidence="Each FIN was sent without acknowledging the other's.",
        innocent="Legal; frequent where both ends use the same timeout.",
        when=when_simultaneous,
        needs=(BOTH_DIRECTIONS,),
        detect=simultaneous_close,
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.001 < F. 1:1(0)     ack 101
            1.010 > .  102:102(0) ack 2
            1.011 < .  2:2(0)     ack 102
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.011 < F. 1:1(0)     ack 102
            1.020 > .  102:102(0) ack 2
        """,
    ),
    Rule(
        kind="vanished",
        category="close",
        severity="medium",
        rfc="RFC 9293 3.8.4",
        summary="An open connection fell silent for good: nobody closed it, and nobody asks whether it lives.",
        evidence="Two hours or more without a segment up to the end of the capture, and neither FIN nor RST before.",
        innocent="An idle session that is still there; a close that the capture misses.",
        when=when_open,
        needs=(BOTH_DIRECTIONS,),
        detect=vanished,
        aliases={"Zeek": "S1", "Wireshark": "tcp.completeness 15"},
        example=HANDSHAKE
        + """
            end 9000
        """,
        counterexample=HANDSHAKE
        + """
            7000.000 > .  100:100(0) ack 1
            7000.010 < .  1:1(0)     ack 101
            end 9000
        """,
    ),
    Rule(
        kind="close_wait_slow",
        category="close",
        severity="low",
        rfc="RFC 9293 3.6 case 2",
        summary="An application took long to close what the other side had closed.",
        evidence="More than 5 s from the peer's FIN, and from its own last data, to its own FIN.",
        innocent="A long answer that ends up empty; a pool that closes in batches.",
        when=when_closed_late,
        needs=(BOTH_DIRECTIONS,),
        detect=close_wait_slow,
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
            15.00 < .  0:0(0)     ack 102
            15.01 > .  102:102(0) ack 1
            20.00 < F. 1:1(0)     ack 102
            20.01 > .  102:102(0) ack 2
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > F. 101:101(0)    ack 1
            1.010 < .  1:1(0)        ack 102
            15.00 < .  0:0(0)        ack 102
            15.01 > .  102:102(0)    ack 1
            19.00 < P. 1:1001(1000)  ack 102
            19.01 > .  102:102(0)    ack 1001
            20.00 < F. 1001:1001(0)  ack 102
            20.01 > .  102:102(0)    ack 1002
        """,
    ),
    Rule(
        kind="final_ack_missing",
        category="close",
        severity="low",
        rfc="RFC 9293 3.6 case 2",
        summary="The last ACK of a close is not in the capture, although it must have arrived.",
        evidence="The second FIN is neither acknowledged nor repeated for 3 s.",
        innocent="A capture that drops frames or sees one of two ways; it is about the capture more than the hosts.",
        when=when_unacknowledged,
        needs=(BOTH_DIRECTIONS,),
        detect=final_ack_missing,
        example=HANDSHAKE
        + """
            0.500 > P. 101:201(100) ack 1
            0.710 > P. 101:201(100) ack 1
            0.720 < .  1:1(0)       ack 201
            1.000 > F. 201:201(0)   ack 1
            1.010 < F. 1:1(0)       ack 202
            end 20
        """,
        counterexample=HANDSHAKE
        + """
            0.500 > P. 101:201(100) ack 1
            0.710 > P. 101:201(100) ack 1
            0.720 < .  1:1(0)       ack 201
            1.000 > F. 201:201(0)   ack 1
            1.010 < F. 1:1(0)       ack 202
            end 2
        """,
    ),
)
