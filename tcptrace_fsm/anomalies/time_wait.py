"""Rules about TIME_WAIT and the next use of a four-tuple."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.anomalies.rule import Hit, Key, Rule, View, span
from tcptrace_fsm.kernels.layout import C_ACCEPTED, C_TAKEN_BY, C_TAKEN_FRAME, C_TAKEN_OVER, CLOSING_ABORTED
from tcptrace_fsm.machine import Event, State

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RULES"]


def reopened(c: View) -> Iterator[Hit]:
    """A new connection was opened while an end of the old one was in TIME_WAIT, and that worked."""
    for end in c.ends:
        reuse = end.left(State.TIME_WAIT)
        if reuse is None or reuse.event is not Event.REUSED or c[C_ACCEPTED] < 0:
            continue
        entered = end.entered(State.TIME_WAIT)
        lived = reuse.time - entered.time if entered else 0
        by = "it" if c[C_TAKEN_BY] == end.side else end.peer.name
        yield Hit(
            end.side,
            reuse._replace(frame=c[C_TAKEN_FRAME]),
            f"{end.name} had been in TIME_WAIT for {span(lived)} when {by} opened the same four-tuple again, with a SYN that was accepted",
            (entered,) if entered else (),
        )


def collision(c: View) -> Iterator[Hit]:
    """A SYN for a four-tuple in TIME_WAIT is answered by an ACK of the old connection."""
    if c[C_TAKEN_OVER] < 0:
        return
    end = c.ends[1 - c[C_TAKEN_BY]]
    entered = end.entered(State.TIME_WAIT)
    answer = next(
        (s for s in end.segments if s.time >= c[C_TAKEN_OVER] and not s.rst and not s.fin and not s.syn_ack), None
    )
    if entered and answer:
        yield Hit(
            end.side,
            answer,
            f"{end.name} is still in TIME_WAIT, {span(answer.time - entered.time)} after the old connection's end, and answered "
            f"{end.peer.name}'s new SYN with an ACK of the old one: the new connection has to wait for its SYN's retransmission",
            (entered,),
        )


def assassinated(c: View) -> Iterator[Hit]:
    """An RST ends TIME_WAIT."""
    for end in c.ends:
        killed = end.left(State.TIME_WAIT)
        if killed is None or killed.event is not Event.RCV_RST:
            continue
        entered = end.entered(State.TIME_WAIT)
        lived = killed.time - entered.time if entered else 0
        provoked = next((s for s in reversed(end.segments) if s.last_time <= killed.time and not s.rst), None)
        yield Hit(
            end.side,
            killed,
            f"an RST from {end.peer.name} ended the TIME_WAIT of {end.name} after {span(lived)}: old segments can now reach "
            "a new connection on the same ports",
            (provoked,) if provoked else (),
        )


def when_taken_over(key: Key) -> bool:
    """A later incarnation followed."""
    return key.taken_over


def when_aborted(key: Key) -> bool:
    """A reset took part in its end."""
    return key.closing == CLOSING_ABORTED


CLOSED_BY_CLIENT = """
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)     ack 1
            0.020 > .  1:1(0)     ack 1
            0.030 > P. 1:101(100) ack 1
            0.040 < .  1:1(0)     ack 101
            1.000 > F. 101:101(0) ack 1
            1.010 < F. 1:1(0)     ack 102
            1.020 > .  102:102(0) ack 2
"""

CLOSED_BY_SERVER = """
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)     ack 1
            0.020 > .  1:1(0)     ack 1
            0.030 > P. 1:101(100) ack 1
            0.040 < .  1:1(0)     ack 101
            1.000 < F. 1:1(0)     ack 101
            1.010 > F. 101:101(0) ack 2
            1.020 < .  2:2(0)     ack 102
"""

RULES = (
    Rule(
        kind="time_wait_reopen",
        category="time_wait",
        severity="info",
        rfc="RFC 9293 3.6.1 (MAY-2), RFC 6191",
        summary="A four-tuple in TIME_WAIT was used again at once, and the new SYN was accepted.",
        evidence="A SYN with a new ISN less than 2MSL after the close, answered by SYN+ACK.",
        innocent="Allowed where sequence numbers or timestamps rule out a mix-up; SO_REUSEADDR, tcp_tw_reuse.",
        when=when_taken_over,
        detect=reopened,
        aliases={"Wireshark": "tcp.analysis.reused_ports", "Zeek": "premature_connection_reuse", "argus": "PORT_REUSE"},
        example=CLOSED_BY_SERVER
        + """
            isn 200000 900000
            3.000 > S  0:0(0)
            3.010 < S. 0:0(0) ack 1
            3.020 > .  1:1(0) ack 1
        """,
        counterexample=CLOSED_BY_SERVER
        + """
            isn 200000 900000
            90.00 > S  0:0(0)
            90.01 < S. 0:0(0) ack 1
            90.02 > .  1:1(0) ack 1
        """,
    ),
    Rule(
        kind="time_wait_collision",
        category="time_wait",
        severity="high",
        rfc="RFC 9293 3.5.1, 3.10.7.4",
        summary="A new SYN met a TIME_WAIT that would not give way: the connection is delayed by a second or fails.",
        evidence="A SYN with a new ISN is answered by an ACK with the old connection's numbers, usually followed by RST.",
        innocent="None; the client's ports are reused too fast, or its sequence numbers go backwards (NAT).",
        when=when_taken_over,
        detect=collision,
        example=CLOSED_BY_SERVER
        + """
            isn 500 900000
            3.000 > S  0:0(0)
            isn 1000 5000
            3.010 < .  2:2(0)     ack 102
            3.020 > R  102:102(0)
            isn 500 900000
            4.000 > S  0:0(0)
            4.010 < S. 0:0(0) ack 1
            4.020 > .  1:1(0) ack 1
        """,
        counterexample=CLOSED_BY_SERVER
        + """
            isn 200000 900000
            3.000 > S  0:0(0)
            4.000 > S  0:0(0)
            4.010 < S. 0:0(0) ack 1
            4.020 > .  1:1(0) ack 1
        """,
    ),
    Rule(
        kind="time_wait_assassination",
        category="time_wait",
        severity="high",
        rfc="RFC 1337",
        summary="An RST ended TIME_WAIT early, and with it the protection against old segments.",
        evidence="An RST at the left edge of the window reaches an endpoint in TIME_WAIT.",
        innocent="The peer's answer to an ACK that an old duplicate provoked; systems with RFC 1337's remedy ignore the RST.",
        when=when_aborted,
        detect=assassinated,
        example=CLOSED_BY_CLIENT
        + """
            2.000 < .  1:1(0)     ack 101
            2.010 > .  102:102(0) ack 2
            2.020 < R  2:2(0)
        """,
        counterexample=CLOSED_BY_CLIENT
        + """
            2.000 < .  1:1(0)     ack 101
            2.010 > .  102:102(0) ack 2
        """,
    ),
)
