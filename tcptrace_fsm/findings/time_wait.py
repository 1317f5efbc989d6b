"""Rules about TIME_WAIT and the next use of a four-tuple."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.evidence import (
    CLOSED_BY_CLIENT,
    CLOSED_BY_SERVER,
    MET_OLD,
    genuine,
    state_at,
    when_aborted,
)
from tcptrace_fsm.findings.needs import BOTH_DIRECTIONS
from tcptrace_fsm.findings.rule import SECOND, Hit, Key, Rule, View, span
from tcptrace_fsm.kernels.layout import (
    C_ACCEPTED,
    C_TAKEN_BY,
    C_TAKEN_FRAME,
    C_TAKEN_OVER,
    CLOSING_SIMULTANEOUS,
    FACT_TIME_WAIT,
    MARK_ACK_AGAIN,
    MARK_NETWORK_DUPLICATE,
)
from tcptrace_fsm.tcp.machine import Event, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcptrace_fsm.findings.rule import Change, End, Segment

__all__ = ["RULES"]

RETRY = SECOND * 9 // 10  # one retransmission of a SYN (RFC 6298 section 2: 1 s)
RETRIES = SECOND * 29 // 10  # two of them: not just one lost segment


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
            f"{end.name} had been in TIME_WAIT for {span(lived)} when {by} opened the same four-tuple again, with a "
            "SYN that was accepted",
            (entered,) if entered else (),
        )


def collision(c: View) -> Iterator[Hit]:
    """A SYN for a four-tuple in TIME_WAIT is answered by an ACK of the old connection."""
    if c[C_TAKEN_OVER] < 0:
        return
    end = c.ends[1 - c[C_TAKEN_BY]]
    entered = end.entered(State.TIME_WAIT)
    answer = next((s for s in after_syn(c, end) if not s.rst and not s.fin and not s.syn_ack), None)
    if entered and answer and entered.time <= c[C_TAKEN_OVER] and (entered.frame or 0) < c[C_TAKEN_FRAME]:
        yield Hit(
            end.side,
            answer,
            f"{end.name} is still in TIME_WAIT, {span(answer.time - entered.time)} after the old connection's end, "
            f"and answered {end.peer.name}'s new SYN with an ACK of the old one: the new connection has to wait for "
            "its SYN's retransmission",
            (entered,),
        )


def after_syn(c: View, end: End) -> list[Segment]:
    """What an endpoint said behind the SYN that took the four-tuple over, by stamp and by place."""
    return [s for s in end.segments if s.time >= c[C_TAKEN_OVER] and s.frame > c[C_TAKEN_FRAME]]


def killed_by_reset(end: End) -> tuple[Change, Change, Segment | None, Segment | None] | None:
    """A TIME_WAIT that an RST ended: entered, left, what its holder said to draw the RST, what had drawn that."""
    entered, killed = end.entered(State.TIME_WAIT), end.left(State.TIME_WAIT)
    if entered is None or killed is None or killed.event is not Event.RCV_RST:
        return None
    last_acks = [s for s in genuine(end.segments) if not s.rst and s.last_time <= killed.time][1:]
    repeated = next((s for s in reversed(last_acks) if s.has(MARK_ACK_AGAIN) and s.time > entered.time), None)
    drew = end.view.before(repeated, side=end.peer.side) if repeated else None
    return entered, killed, repeated, drew


def assassinated(c: View) -> Iterator[Hit]:
    """An old segment draws an ACK from TIME_WAIT, and that ACK the RST that ends it."""
    for end in c.ends:
        found = killed_by_reset(end)
        if found is None or found[2] is None:
            continue
        entered, killed, repeated, drew = found
        if (
            repeated
            and c[C_TAKEN_OVER] >= 0
            and (c[C_TAKEN_OVER] <= repeated.time or c[C_TAKEN_FRAME] < repeated.frame)
        ):
            continue  # it answered a new SYN, and what follows from that is another matter
        if drew and drew.syn and not drew.has(MARK_NETWORK_DUPLICATE):
            continue  # a new SYN, too
        copied = drew is None or not drew.length
        why = "old data"
        if drew is None:
            why = "an old copy that did not pass here"
        elif drew.last_time < entered.time:
            why = "an old copy, of what had passed here before or of what did not"
        elif copied:
            why = f"a late copy of the {'SYN' if drew.syn else 'close'}"
        yield Hit(
            end.side,
            killed,
            f"{end.name} answered {why}, and the RST that {end.peer.name} returned ended its TIME_WAIT after "
            f"{span(killed.time - entered.time)}: old segments can now reach a new connection on the same ports",
            [s for s in (repeated, drew) if s],
            "low" if copied and c[C_TAKEN_OVER] < 0 else None,
        )


def killed_unprovoked(c: View) -> Iterator[Hit]:
    """The peer, which is done, sends an RST after its FIN was acknowledged."""
    for end in c.ends:
        found = killed_by_reset(end)
        if found is None or found[2] is not None:
            continue
        entered, killed, _, _ = found
        yield Hit(
            end.side,
            killed,
            f"{end.peer.name} sent an RST after both had closed, which ended the TIME_WAIT of {end.name} after "
            f"{span(killed.time - entered.time)}: its way to be rid of the connection at once",
            (entered,),
        )


def syn_dropped(c: View) -> Iterator[Hit]:
    """A SYN meets a TIME_WAIT and gets no answer at all, until a later copy does."""
    holder = c.ends[1 - c[C_TAKEN_BY]]
    if c[C_TAKEN_OVER] < 0 or c[C_ACCEPTED] < 0 or state_at(holder, c[C_TAKEN_OVER]) is not State.TIME_WAIT:
        return
    waited = c[C_ACCEPTED] - c[C_TAKEN_OVER]
    entered = holder.entered(State.TIME_WAIT)
    answered = any(s.time >= c[C_TAKEN_OVER] for s in holder.segments)
    if entered and waited >= RETRY and not answered:
        yield Hit(
            holder.side,
            entered._replace(time=c[C_TAKEN_OVER], frame=c[C_TAKEN_FRAME]),
            f"{holder.name}, {span(c[C_TAKEN_OVER] - entered.time)} into TIME_WAIT, left the new SYN of "
            f"{holder.peer.name} without an answer for {span(waited)}: dropped there, or lost",
            (entered,),
            None if waited >= RETRIES else "low",
        )


def both_sides(c: View) -> Iterator[Hit]:
    """Two TIME_WAITs for one connection."""
    waits = [end.entered(State.TIME_WAIT) for end in c.ends]
    if waits[0] and waits[1]:
        later = max((w for w in waits if w), key=lambda w: w.time)
        lasting = dict.fromkeys(f"{end.profile.time_wait.usual:.0f} s" for end in c.ends)
        yield Hit(
            None,
            later,
            f"{c.client.name} and {c.server.name} both keep the four-tuple in TIME_WAIT, for "
            f"{' and '.join(lasting)}{' each' if len(lasting) == 1 else ''}, having closed at the same time",
            [w for w in waits if w],
        )


def when_ended_by_reset(key: Key) -> bool:
    """A reset, and somebody was in TIME_WAIT."""
    return when_aborted(key) and key.shows(FACT_TIME_WAIT)


def when_used_again(key: Key) -> bool:
    """A later incarnation, and somebody was in TIME_WAIT."""
    return key.taken_over and key.shows(FACT_TIME_WAIT)


def when_simultaneous(key: Key) -> bool:
    """Both were CLOSING."""
    return key.closing == CLOSING_SIMULTANEOUS


RULES = (
    Rule(
        kind="time_wait_reopen",
        category="time_wait",
        severity="info",
        rfc="RFC 9293 3.6.1 (MAY-2), RFC 6191",
        summary="A four-tuple in TIME_WAIT was used again at once, and the new SYN was accepted.",
        evidence="A SYN with a new ISN less than 2MSL after the close, answered by SYN+ACK.",
        innocent="Allowed where sequence numbers or timestamps rule out a mix-up; SO_REUSEADDR, tcp_tw_reuse.",
        when=when_used_again,
        needs=(BOTH_DIRECTIONS,),
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
        evidence="A SYN with a new ISN is answered by an ACK with the old connection's numbers, usually followed by "
        "RST.",
        innocent="None; the client's ports are reused too fast, or its sequence numbers go backwards (NAT).",
        when=when_used_again,
        needs=(BOTH_DIRECTIONS,),
        fragile=True,
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
        innocent="The peer's answer to an ACK that an old duplicate provoked; systems with RFC 1337's remedy ignore "
        "the RST.",
        when=when_ended_by_reset,
        needs=(BOTH_DIRECTIONS,),
        detect=assassinated,
        example="""
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)     ack 1
            0.020 > .  1:1(0)     ack 1
            0.030 < P. 1:101(100) ack 1
            0.040 > .  1:1(0)     ack 101
            1.000 > F. 1:1(0)     ack 101
            1.010 < F. 101:101(0) ack 2
            1.020 > .  2:2(0)     ack 102
            2.000 < P. 1:101(100) ack 1
            2.010 > .  2:2(0)     ack 102
            2.020 < R  102:102(0)
        """,
        counterexample=(
            CLOSED_BY_CLIENT
            + """
            2.000 < .  1:1(0)     ack 101
            2.010 > .  102:102(0) ack 2
        """,
            MET_OLD,
        ),
    ),
    Rule(
        kind="rst_in_time_wait_benign",
        category="reset",
        severity="info",
        rfc="RFC 9293 3.10.7.4",
        summary="An endpoint that was done sent an RST to the one that keeps TIME_WAIT.",
        evidence="An RST after both FINs were acknowledged that answers nothing.",
        innocent="The habit of some load balancers and servers, meant to free the client's port.",
        when=when_ended_by_reset,
        needs=(BOTH_DIRECTIONS,),
        detect=killed_unprovoked,
        example=CLOSED_BY_CLIENT
        + """
            1.100 < R. 2:2(0)     ack 102
        """,
        counterexample=CLOSED_BY_CLIENT
        + """
            2.000 < .  1:1(0)     ack 101
            2.010 > .  102:102(0) ack 2
            2.020 < R  2:2(0)
        """,
    ),
    Rule(
        kind="time_wait_syn_dropped",
        category="time_wait",
        severity="high",
        rfc="RFC 9293 3.6.1",
        summary="A SYN to a four-tuple in TIME_WAIT got no answer at all, so that the client had to try again.",
        evidence="No answer for two SYN retransmissions or more, and then acceptance; low where one was enough.",
        innocent="A SYN that was lost behind the capture point.",
        when=when_used_again,
        needs=(BOTH_DIRECTIONS,),
        detect=syn_dropped,
        aliases={"Linux": "PAWSPassive of tcp_tw_recycle"},
        example=CLOSED_BY_SERVER
        + """
            isn 200000 900000
            3.000 > S  0:0(0)
            4.000 > S  0:0(0)
            6.000 > S  0:0(0)
            6.010 < S. 0:0(0) ack 1
            6.020 > .  1:1(0) ack 1
        """,
        counterexample=CLOSED_BY_SERVER
        + """
            isn 200000 900000
            3.000 > S  0:0(0)
            3.010 < S. 0:0(0) ack 1
            3.020 > .  1:1(0) ack 1
        """,
    ),
    Rule(
        kind="time_wait_both_sides",
        category="time_wait",
        severity="info",
        rfc="RFC 9293 3.6 case 3",
        summary="Both ends keep TIME_WAIT, because they closed at the same time.",
        evidence="Each passed through CLOSING, and each FIN was acknowledged.",
        innocent="Legal.",
        when=when_simultaneous,
        needs=(BOTH_DIRECTIONS,),
        detect=both_sides,
        example="""
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)     ack 1
            0.020 > .  1:1(0)     ack 1
            1.000 > F. 1:1(0)     ack 1
            1.001 < F. 1:1(0)     ack 1
            1.010 > .  2:2(0)     ack 2
            1.011 < .  2:2(0)     ack 2
        """,
        counterexample="""
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)     ack 1
            0.020 > .  1:1(0)     ack 1
            1.000 > F. 1:1(0)     ack 1
            1.011 < F. 1:1(0)     ack 2
            1.020 > .  2:2(0)     ack 2
        """,
    ),
)
