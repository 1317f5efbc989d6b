"""Rules about resets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.anomalies.rule import SECOND, Hit, Key, Rule, View, span
from tcptrace_fsm.kernels.layout import CLOSING_ABORTED
from tcptrace_fsm.machine import Event, State

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RULES"]

OPEN = (State.ESTABLISHED, State.CLOSE_WAIT)


def after_time_wait_loss(c: View) -> Iterator[Hit]:
    """A reply RST from an endpoint that should still be in TIME_WAIT."""
    for end in c.ends:
        gone = end.left(State.TIME_WAIT)
        if gone is None or gone.event is not Event.GONE:
            continue
        entered = end.entered(State.TIME_WAIT)
        fins = [s for s in end.peer.segments if s.fin]
        lived = gone.time - entered.time if entered else 0
        yield Hit(
            end.side,
            gone,
            f"{end.name} answered a repeated FIN with RST {span(lived)} after its last ACK: its TIME_WAIT was gone "
            f"instead of lasting {c.profile.time_wait.least:.0f} s (too many TIME_WAITs, a restart, or a load balancer)",
            fins,
        )


def after_fin_wait_2(c: View) -> Iterator[Hit]:
    """A reply RST from an endpoint that was in FIN_WAIT_2."""
    for end in c.ends:
        gone = end.left(State.FIN_WAIT_2)
        if gone is None or gone.target is not State.CLOSED or gone.event not in (Event.GONE, Event.TIMEOUT_FIN_WAIT_2):
            continue
        entered = end.entered(State.FIN_WAIT_2)
        rst = next((s for s in end.segments if s.rst), None)
        if entered is None or rst is None:
            continue
        cause = c.before(rst, side=end.peer.side)
        what = "close" if cause and cause.fin else "send more data"
        waited = rst.time - entered.time
        yield Hit(
            end.side,
            rst,
            f"{end.peer.name} took {span(waited)} to {what} after {end.name} had closed; by then {end.name} had forgotten "
            "the connection and answered with RST",
            (cause,) if cause else (),
            None if waited >= SECOND else "low",
            gone.basis,
        )


def half_open(c: View) -> Iterator[Hit]:
    """A reply RST from an endpoint that should be open, to a segment of the connection."""
    for end in c.ends:
        gone = next((x for x in end.changes if x.source in OPEN and x.event is Event.GONE), None)
        if gone is None:
            continue
        rst = next((s for s in end.segments if s.reply_rst), None)
        cause = c.before(rst, side=end.peer.side) if rst else None
        if rst is None or cause is None:
            continue
        last = [s for s in end.segments if not s.rst and s.frame < rst.frame]
        silent = f", {span(rst.time - last[-1].last_time)} after it was last heard" if last else ""
        yield Hit(
            end.side,
            rst,
            f"{end.name} no longer knew the connection and answered {end.peer.name} with RST{silent}: it crashed, was "
            "restarted, or something between them lost its state",
            (cause,),
        )


def when_aborted(key: Key) -> bool:
    """A reset ended it."""
    return key.closing == CLOSING_ABORTED


HANDSHAKE = """
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)     ack 1
            0.020 > .  1:1(0)     ack 1
            0.030 > P. 1:101(100) ack 1
            0.040 < .  1:1(0)     ack 101
"""

RULES = (
    Rule(
        kind="rst_after_time_wait_loss",
        category="reset",
        severity="high",
        rfc="RFC 9293 3.6.1",
        summary="The last ACK was lost, and the TIME_WAIT that should answer the repeated FIN is gone: it meets an RST.",
        evidence="An endpoint on the active way acknowledges the peer's FIN, the FIN comes again, and RST answers before 2MSL.",
        innocent="A TIME_WAIT shorter than the profile's; say --time-wait or --profile.",
        when=when_aborted,
        detect=after_time_wait_loss,
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < F. 1:1(0)     ack 102
            1.020 > .  102:102(0) ack 2
            1.230 < F. 1:1(0)     ack 102
            1.231 > R  102:102(0)
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < F. 1:1(0)     ack 102
            1.020 > .  102:102(0) ack 2
            1.230 < F. 1:1(0)     ack 102
            1.231 > .  102:102(0) ack 2
        """,
    ),
    Rule(
        kind="rst_after_fin_wait_2_timeout",
        category="reset",
        severity="medium",
        rfc="RFC 9293 3.10.8",
        summary="One side closed; the other came with its FIN or data too late: FIN_WAIT_2 had been given up.",
        evidence="An endpoint in FIN_WAIT_2 answers the peer's FIN or data with an RST that has no ACK.",
        innocent="An application that close()s while data are still coming: the RST then tells it loses them.",
        when=when_aborted,
        detect=after_fin_wait_2,
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
            70.00 < F. 1:1(0)     ack 102
            70.01 > R  102:102(0)
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
            70.00 < F. 1:1(0)     ack 102
            70.01 > .  102:102(0) ack 2
        """,
    ),
    Rule(
        kind="half_open_discovered",
        category="reset",
        severity="medium",
        rfc="RFC 9293 3.5.1",
        summary="One end had lost the connection without a word; the other found out when it spoke again.",
        evidence="A segment of an open connection is answered by an RST without ACK.",
        innocent="A NAT or load balancer that dropped an idle connection and answers for the host.",
        when=when_aborted,
        detect=half_open,
        example=HANDSHAKE
        + """
            300.00 > P. 101:201(100) ack 1
            300.01 < R  1:1(0)
        """,
        counterexample=HANDSHAKE
        + """
            300.00 > P. 101:201(100) ack 1
            300.01 < R. 1:1(0)       ack 201
        """,
    ),
)
