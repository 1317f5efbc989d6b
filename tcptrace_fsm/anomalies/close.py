"""Rules about how connections close."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.anomalies.rule import SECOND, Hit, Key, Rule, Segment, View, mask, span
from tcptrace_fsm.kernels.layout import CLOSING_HALF_CLOSED, CLOSING_SIMULTANEOUS, CLOSING_TIMED_OUT, MARK_ACKS_FIN, MARK_FIN_AGAIN
from tcptrace_fsm.machine import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcptrace_fsm.anomalies.rule import Change, End

__all__ = ["RULES"]

STUCK = 60 * SECOND  # a half-close without any data for so long is nobody's intention
SLOW = 3 * SECOND


def idle_half_close(c: View) -> Iterator[tuple[End, Change, int, Segment | None]]:
    """Endpoints in FIN_WAIT_2 whose peer has nothing to say: end, how it got there, for how long, the peer's last data."""
    for end in c.ends:
        change = end.entered(State.FIN_WAIT_2)
        if change is None or end.peer.entered(State.LAST_ACK) or end.peer.entered(State.CLOSING) or end.peer.entered(State.TIME_WAIT):
            continue
        data = [s for s in end.peer.segments if s.length and s.last_time > change.time]
        since = max([change.time, *(s.last_time for s in data)])
        left = end.left(State.FIN_WAIT_2)
        until = left.time if left and left.target is State.CLOSED else c.end
        yield end, change, until - since, data[-1] if data else None


def graded(waited: int) -> str:
    """How bad such a wait is: seconds are somebody's way of working, a minute is a leak."""
    return "high" if waited >= STUCK else "medium" if waited >= SLOW else "low"


def stuck_fin_wait_2(c: View) -> Iterator[Hit]:
    """The side that waits."""
    for end, change, waited, _ in idle_half_close(c):
        gone = "" if end.state is State.FIN_WAIT_2 else " and then gave up"
        yield Hit(
            end.side,
            change,
            f"{end.name} closed and has waited {span(waited)} in FIN_WAIT_2 for {end.peer.name} to close too{gone}",
            [s for s in end.segments if s.fin],
            graded(waited),
        )


def stuck_close_wait(c: View) -> Iterator[Hit]:
    """The side that is waited for."""
    for end, _, waited, _ in idle_half_close(c):
        change = end.peer.entered(State.CLOSE_WAIT)
        if change is None:
            continue
        yield Hit(
            end.peer.side,
            change,
            f"{end.peer.name} acknowledged {end.name}'s FIN {span(waited)} ago and has not closed: its application holds "
            "the socket in CLOSE_WAIT",
            [s for s in end.segments if s.fin],
            graded(waited),
        )


def last_ack_lost(c: View) -> Iterator[Hit]:
    """A FIN is repeated although the ACK of it had passed here, or although its receiver shows that it had it."""
    for end in c.ends:  # the one whose last ACK is lost
        if not end.entered(State.TIME_WAIT):
            continue
        fins = [s for s in end.peer.segments if s.fin]
        ack = next((s for s in end.segments if s.has(MARK_ACKS_FIN)), None)
        again = [s for s in fins if s.has(MARK_FIN_AGAIN) and (ack is None or s.time > ack.time)]
        if ack is None or not again:
            continue
        yield Hit(
            end.side,
            again[0],
            f"the last ACK of {end.name} was lost: {end.peer.name} repeated its FIN {span(again[0].time - ack.time)} after "
            "that ACK had passed here",
            (ack, *again[1:]),
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


def when_half_closed(key: Key) -> bool:
    """One side only has closed, or it took long."""
    half = (State.FIN_WAIT_2, State.CLOSE_WAIT)
    return key.closing in (CLOSING_HALF_CLOSED, CLOSING_TIMED_OUT) or key.client_state in half or key.server_state in half


def when_fin_again(key: Key) -> bool:
    """A FIN was repeated."""
    return bool(key.marks & mask(MARK_FIN_AGAIN))


def when_simultaneous(key: Key) -> bool:
    """Both were CLOSING."""
    return key.closing == CLOSING_SIMULTANEOUS


HANDSHAKE = """
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)     ack 1
            0.020 > .  1:1(0)     ack 1
            0.030 > P. 1:101(100) ack 1
            0.040 < .  1:1(0)     ack 101
"""

RULES = (
    Rule(
        kind="stuck_fin_wait_2",
        category="close",
        severity="high",
        rfc="RFC 9293 3.6",
        summary="One side has closed, its FIN is acknowledged, and the other side never closes: it hangs in FIN_WAIT_2.",
        evidence="The ACK of its FIN, then neither FIN nor RST nor data from the peer; high from 60 s on, medium from 3 s.",
        innocent="A half-close on purpose, in which data usually flow; a capture that ends too early.",
        when=when_half_closed,
        detect=stuck_fin_wait_2,
        aliases={"Zeek": "S2 or S3", "netstat": "FIN_WAIT2"},
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
            end 313
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
            1.200 < F. 1:1(0)     ack 102
            1.210 > .  102:102(0) ack 2
            end 313
        """,
    ),
    Rule(
        kind="stuck_close_wait",
        category="close",
        severity="high",
        rfc="RFC 9293 3.6",
        summary="The application never closes a connection that the other side has closed: it leaks sockets in CLOSE_WAIT.",
        evidence="Its system acknowledged the peer's FIN, and it sends neither data nor FIN nor RST afterwards.",
        innocent="A long answer still being computed; a capture that ends too early.",
        when=when_half_closed,
        detect=stuck_close_wait,
        aliases={"Zeek": "S2 or S3", "netstat": "CLOSE_WAIT"},
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
            end 313
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
            1.500 < R. 1:1(0)     ack 102
            end 313
        """,
    ),
    Rule(
        kind="last_ack_lost",
        category="close",
        severity="low",
        rfc="RFC 9293 3.6",
        summary="The ACK of the last FIN got lost; TIME_WAIT is there to send it again.",
        evidence="A FIN sent again after the ACK of it had passed the capture point.",
        innocent="The capture point lies before the loss; the FIN and its ACK may also just have crossed.",
        when=when_fin_again,
        detect=last_ack_lost,
        aliases={"Wireshark": "tcp.analysis.retransmission of a FIN"},
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < F. 1:1(0)     ack 102
            1.020 > .  102:102(0) ack 2
            1.230 < F. 1:1(0)     ack 102
            1.240 > .  102:102(0) ack 2
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < F. 1:1(0)     ack 102
            1.230 < F. 1:1(0)     ack 102
            1.240 > .  102:102(0) ack 2
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
)
