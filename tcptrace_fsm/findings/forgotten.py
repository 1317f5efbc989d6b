"""Rules about resets by which an endpoint answers for a connection that it does not know, or no longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.evidence import (
    CLOSED_BY_CLIENT,
    HANDSHAKE,
    answered_by,
    follows_own_syn,
    genuine,
    reply_time,
    reset_of,
    spoke,
    state_at,
    when_aborted,
    when_reset_after_fin,
)
from tcptrace_fsm.findings.late_data import late_data
from tcptrace_fsm.findings.needs import ACROSS, BOTH_DIRECTIONS
from tcptrace_fsm.findings.rule import SECOND, Hit, Key, Rule, Segment, View, span
from tcptrace_fsm.kernels.layout import (
    C_FIRST_TIME,
    CF_CLOSING,
    CF_MIDSTREAM,
    E_ACK_TIME,
    E_FIN,
    FACT_GONE,
    FACT_RESET_REPLY,
    FACT_RESET_SILENT,
    FACT_SYN_ACK,
    MARK_RST_DRAWN,
    TCP_ACK,
    TCP_SYN,
)
from tcptrace_fsm.tcp.machine import Basis, Event, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcptrace_fsm.findings.rule import End

__all__ = ["RULES"]

OPEN = (State.ESTABLISHED, State.CLOSE_WAIT)
OPENING = (State.SYN_SENT, State.SYN_RECEIVED)
QUICKEST = SECOND  # no FIN_WAIT_2 is given up sooner by a timer
SOON = 30 * SECOND
SILENT = SECOND  # who was heard a moment ago has not crashed since


def after_time_wait_loss(c: View) -> Iterator[Hit]:
    """A reset, in answer to a FIN that came again, from an endpoint that had acknowledged it: its TIME_WAIT is gone."""
    for end in c.ends:
        own = next((s for s in genuine(end.segments) if s.fin), None)
        rst = next((s for s in genuine(end.segments) if s.rst and own and s.frame > own.frame), None)
        cause = answered_by(rst, end) if rst else None
        if rst is None or cause is None or not cause.fin:
            continue
        first = next((s for s in genuine(end.peer.segments) if s.fin), cause)
        if first.frame == cause.frame or first.ack < end[E_FIN] or state_at(end.peer, rst.time) is State.TIME_WAIT:
            continue  # it came once only; or its sender had closed first, and this end last
        if any(s.rst and s.frame < rst.frame for s in end.peer.segments):
            continue  # stray ACKs had met a socket that was closed: its RST ends a TIME_WAIT (RFC 1337)
        last_ack = next((s for s in genuine(end.segments) if not s.rst and s.ack >= cause.end), None)
        if (last_ack.frame > cause.frame) if last_ack else not alive_at(end, first):
            continue
        lived = rst.time - (last_ack or first).time
        if lived >= end.profile.time_wait.least * SECOND:
            continue
        since = "its last ACK" if last_ack else "the first, which it must have taken"
        yield Hit(
            end.side,
            rst,
            f"{end.name} answered a repeated FIN with RST {span(lived)} after {since}: its TIME_WAIT was gone "
            f"instead of lasting {end.profile.time_wait.least:.0f} s (too many TIME_WAITs, a restart, or a load "
            "balancer)",
            [s for s in (first, last_ack, cause) if s],
            None if last_ack else "medium",
        )


def alive_at(end: End, fin: Segment) -> bool:
    """Whether no timer can have ended the FIN_WAIT_2 of ``end`` yet when its peer's FIN came."""
    entered = end.entered(State.FIN_WAIT_2)
    return entered is not None and fin.time - entered.time < QUICKEST


def after_fin_wait_2(c: View) -> Iterator[Hit]:
    """A reset, in answer to a first FIN without data, from an endpoint that had closed long before."""
    for end in c.ends:
        entered = end.entered(State.FIN_WAIT_2)
        own = next((s for s in genuine(end.segments) if s.fin), None)
        rst = next((s for s in genuine(end.segments) if s.rst and own and s.frame > own.frame), None)
        cause = answered_by(rst, end) if rst else None
        if entered is None or rst is None or cause is None or not cause.fin or late_data(end):
            continue
        if any(s.ack >= cause.end and not s.rst for s in end.segments) or cause.ack < end[E_FIN]:
            continue
        waited = rst.time - entered.time
        first = next((s for s in genuine(end.peer.segments) if s.fin), cause)
        if waited < SECOND or alive_at(end, first):
            fins = [s for s in genuine(end.peer.segments) if s.fin and s.frame < rst.frame]
            if len(fins) == 1 and not cause.length and not rst.flags & TCP_ACK:
                yield never_kept(end, rst, cause, waited)
            continue  # nothing runs out so soon
        yield Hit(
            end.side,
            rst,
            f"{end.peer.name} took {span(waited)} to close after {end.name} had closed; by then {end.name} had "
            "forgotten the connection and answered with RST",
            (cause,),
            basis=Basis.TIMER,
        )


def never_kept(end: End, rst: Segment, fin: Segment, waited: int) -> Hit:
    """The finding: an end that had closed knows nothing of it any more, sooner than any timer runs out."""
    return Hit(
        end.side,
        rst,
        f"{end.name} answered the FIN of {end.peer.name} with RST, {span(waited)} after its own had been acknowledged: "
        "it keeps no FIN_WAIT_2 for what its application has closed, or something between them lost its state",
        (fin,),
        "low",
    )


def last_heard(end: End, before: Segment) -> int:
    """When an endpoint last gave a sign of life before a segment, or the connection began here."""
    alive = [s.last_time for s in end.segments if not s.rst and s.frame < before.frame]
    return max([*alive, *(t for t in (end[E_ACK_TIME],) if 0 < t < before.time)], default=end.view[C_FIRST_TIME])


def discovered(end: End) -> tuple[Segment, int] | None:
    """The reset by which ``end`` answers a segment of an open connection, and for how long it had been silent."""
    change = next((x for x in end.changes if x.source in OPEN and x.event is Event.GONE), None)
    rst = reset_of(end, change) if change else None
    if rst is None and any(s.syn_ack for s in end.segments):
        # It had offered the connection and said no more; a living one would have taken what came, in whatever state.
        first = next((s for s in genuine(end.segments) if s.rst), None)
        if first and not spoke(end, first) and answered_by(first, end) and first.time - last_heard(end, first) > SILENT:
            rst = first
    elif rst is None or not (rst.has(MARK_RST_DRAWN) or not rst.reply_rst or follows_own_syn(rst, end)):
        return None
    if rst is None:
        return None
    if any(s.rst and s.frame < rst.frame for s in end.peer.segments):
        return None  # it was told to forget the connection
    return rst, rst.time - last_heard(end, rst)


def half_open(c: View) -> Iterator[Hit]:
    """A reset in answer to a segment, from an endpoint that should be open and has long been silent."""
    for end in c.ends:
        found = discovered(end)
        if found is None or found[1] < SILENT:
            continue
        rst, silent = found
        cause = c.before(rst, side=end.peer.side)
        why = (
            "it crashed, was restarted, had sent an RST that was lost, or something between them lost its state"
            if spoke(end, rst)
            else "it had offered the connection by SYN+ACK, and given up waiting for the ACK of that"
        )
        yield Hit(
            end.side,
            rst,
            f"{end.name} no longer knew the connection and answered {end.peer.name} with RST, {span(silent)} after it "
            f"was last heard: {why}",
            (cause,) if cause else (),
            # A system that knows no connection answers without ACK: an application may have aborted just then.
            "low" if rst.flags & TCP_ACK and silent < SOON else None,
        )


def reply_rst(c: View) -> Iterator[Hit]:
    """Any other RST that says: there is no such connection here."""
    for end in c.ends:
        found = discovered(end)
        rst = found[0] if found else next((s for s in genuine(end.segments) if s.rst), None)
        if rst is None or (not found and (not rst.reply_rst or any(x.frame == rst.frame for x in end.changes))):
            continue
        cause = c.before(rst, side=end.peer.side)
        if found is None and not answers(end, rst, cause):
            continue
        state = state_at(end, rst.time)
        being = "which the capture has not seen open" if state is State.UNKNOWN else f"being in {state.name}"
        after = "at once" if cause is None or found else f"{span(rst.time - cause.last_time)} after its segment"
        yield Hit(
            end.side,
            rst,
            f"{end.name}, {being}, answered {end.peer.name} with RST {after}: for it there is no such connection",
            (cause,) if cause else (),
            # Who answers what has ACK by an RST with ACK is a small stack, or an application that aborts just then.
            None if (found or rst.has(MARK_RST_DRAWN)) and not rst.flags & TCP_ACK else "low",
        )


def answers(end: End, rst: Segment, cause: Segment | None) -> bool:
    """Whether an RST that moved nothing answers the segment before it."""
    killed = end.peer.left(State.TIME_WAIT)
    if cause is None or cause.rst or cause.flags & TCP_SYN or (killed and killed.event is Event.RCV_RST):
        return False
    if (cause.ack >= 0 and rst.seq != cause.ack) or rst.time - cause.last_time > reply_time(end):
        return False
    # or its peer had reset it: no news
    return state_at(end, rst.time) not in OPENING and not any(x.event is Event.RCV_RST for x in end.changes)


def when_reset(key: Key) -> bool:
    """A reset took part, or met nobody."""
    return when_aborted(key) or (bool(key.flags & CF_MIDSTREAM) and bool(key.flags & CF_CLOSING))


def when_replied(key: Key) -> bool:
    """A reset answers what belongs to no connection, or shows that its sender is gone."""
    return when_reset(key) and (key.shows(FACT_RESET_REPLY) or may_be_gone(key))


def when_discovered(key: Key) -> bool:
    """A reset shows that its sender is gone."""
    return when_aborted(key) and may_be_gone(key)


def may_be_gone(key: Key) -> bool:
    """A reset shows it, or comes from somebody who had offered the connection and said no more."""
    return key.shows(FACT_GONE) or (key.shows(FACT_RESET_SILENT) and key.shows(FACT_SYN_ACK))


RULES = (
    Rule(
        kind="rst_after_time_wait_loss",
        category="reset",
        severity="high",
        rfc="RFC 9293 3.6.1",
        summary="The last ACK was lost, and the TIME_WAIT that should answer the repeated FIN is gone: it meets an "
        "RST.",
        evidence="An endpoint on the active way acknowledges the peer's FIN, the FIN comes again, and RST answers "
        "before 2MSL.",
        innocent="A TIME_WAIT shorter than the profile's; say --time-wait, --profile or --learn-timers.",
        when=when_reset_after_fin,
        needs=(BOTH_DIRECTIONS,),
        detect=after_time_wait_loss,
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < F. 1:1(0)     ack 102
            1.020 > .  102:102(0) ack 2
            1.230 < F. 1:1(0)     ack 102
            1.231 > R  102:102(0)
        """,
        counterexample=(
            HANDSHAKE
            + """
            1.000 > F. 101:101(0) ack 1
            1.010 < F. 1:1(0)     ack 102
            1.020 > .  102:102(0) ack 2
            1.230 < F. 1:1(0)     ack 102
            1.231 > .  102:102(0) ack 2
        """,
            HANDSHAKE
            + """
            1.000 < F. 1:1(0)       ack 101
            1.010 > .  101:101(0)   ack 2
            9.000 > P. 101:138(37)  ack 2   # it met nobody, nor did the FIN behind it
            9.001 > F. 138:138(0)   ack 2
            9.010 < R  2:2(0)
            9.011 < R  2:2(0)
        """,
            CLOSED_BY_CLIENT
            + """
            1.100 < S. 0:0(0)     ack 1     # a late copy of the SYN+ACK, no FIN
            1.101 > R  1:1(0)
        """,
            CLOSED_BY_CLIENT
            + """
            1.100 > .  102:102(0) ack 2     # a stray ACK meets a socket that is closed
            1.110 < R  2:2(0)               # and the answer ends TIME_WAIT
            1.230 < F. 1:1(0)     ack 102   # a FIN that was overtaken
            1.231 > R  102:102(0)
        """,
        ),
    ),
    Rule(
        kind="rst_after_fin_wait_2_timeout",
        category="reset",
        severity="medium",
        rfc="RFC 9293 3.10.8",
        summary="One side closed; the other came with its FIN too late: FIN_WAIT_2 had been given up.",
        evidence="An endpoint in FIN_WAIT_2 answers the peer's FIN with an RST that has no ACK; low where that FIN "
        "came sooner than any timer runs out.",
        innocent="An application that close()s while data are still coming: the RST then tells it loses them.",
        when=when_reset_after_fin,
        needs=(BOTH_DIRECTIONS,),
        detect=after_fin_wait_2,
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
            70.00 < F. 1:1(0)     ack 102
            70.01 > R  102:102(0)
        """,
        counterexample=(
            HANDSHAKE
            + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
            70.00 < F. 1:1(0)     ack 102
            70.01 > .  102:102(0) ack 2
        """,
            HANDSHAKE
            + """
            1.000 > F. 101:101(0)   ack 1
            1.010 < .  1:1(0)       ack 102
            2.500 < P. 1:87(86)     ack 102   # data are answered so at any time
            2.501 > R  102:102(0)
            2.502 < F. 87:87(0)     ack 102
            2.503 > R  102:102(0)
        """,
            HANDSHAKE
            + """
            1.000 > F. 101:101(0)   ack 1
            1.001 < F. 761:761(0)   ack 101   # what comes before it was lost
            1.002 > R  101:101(0)
        """,
            HANDSHAKE
            + """
            1.000 < F. 1:1(0)     ack 101
            1.010 > .  101:101(0) ack 2
            6.000 < R  2:2(0)                 # the other side had sent nothing
        """,
            HANDSHAKE
            + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
            1.020 < F. 1:1(0)     ack 102
            1.021 > R. 102:102(0) ack 2       # it knows the connection, and aborts
        """,
        ),
    ),
    Rule(
        kind="half_open_discovered",
        category="reset",
        severity="medium",
        rfc="RFC 9293 3.5.1",
        summary="One end had lost the connection without a word; the other found out when it spoke again.",
        evidence="A segment of an open connection is answered by an RST whose numbers mirror those of the segment.",
        innocent="A NAT or load balancer that dropped an idle connection and answers for the host.",
        when=when_discovered,
        needs=(BOTH_DIRECTIONS, ACROSS),
        fragile=True,
        detect=half_open,
        example=HANDSHAKE
        + """
            300.00 > P. 101:201(100) ack 1
            300.01 < R  1:1(0)
        """,
        counterexample=(
            HANDSHAKE
            + """
            300.00 > P. 101:201(100) ack 1
            300.01 < R. 1:1(0)       ack 201
        """,
            HANDSHAKE
            + """
            56.00 < R  1:1(0)   # an idle connection is ended: nobody had asked anything
        """,
            HANDSHAKE
            + """
            0.300 > P. 101:201(100) ack 1   # it had spoken a moment ago
            0.310 < R  1:1(0)
        """,
            HANDSHAKE
            + """
            2.000 > R  501:501(0)           # forged, and obeyed: told to forget the connection
            300.00 > P. 101:201(100) ack 1
            300.01 < R  1:1(0)
        """,
        ),
    ),
    Rule(
        kind="reply_rst",
        category="reset",
        severity="medium",
        rfc="RFC 9293 3.5.2",
        summary="An endpoint answered that it knows no such connection.",
        evidence="An RST whose SEQ is the ACK number of the segment before it; an ACK of its own covers that segment.",
        innocent="An answer to what was still under way when it closed; a firewall that answers for the host.",
        when=when_replied,
        needs=(BOTH_DIRECTIONS,),
        fragile=True,
        detect=reply_rst,
        aliases={"Zeek": "RSTO or RSTR"},
        example="""
            0.000 > P. 1:101(100)   ack 1
            0.010 < R  1:1(0)
        """,
        counterexample=(
            """
            0.000 > P. 1:101(100)   ack 1
            0.010 < R. 1:1(0)       ack 101
        """,
            HANDSHAKE
            + """
            56.00 < R  1:1(0)   # an idle connection is ended: nobody had asked anything
        """,
        ),
    ),
)
