"""Rules about resets: what answers a segment that nobody expects any more, and resets that stand alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.abort import late_data
from tcptrace_fsm.findings.evidence import HANDSHAKE, heard, state_at, times, when_aborted
from tcptrace_fsm.findings.rule import SECOND, Hit, Key, Rule, Segment, View, mask, span
from tcptrace_fsm.kernels.layout import (
    C_FIRST_TIME,
    CF_CLOSING,
    CF_MIDSTREAM,
    CLIENT,
    E_ACK_TIME,
    E_RSTS,
    MARK_FIN_AGAIN,
    MARK_RETRANSMISSION,
    OPENING_INCOMPLETE,
    TCP_RST,
    TCP_SYN,
)
from tcptrace_fsm.tcp.machine import Event, State

if TYPE_CHECKING:
    from collections.abc import Iterator


__all__ = ["RULES"]

OPEN = (State.ESTABLISHED, State.CLOSE_WAIT)
OPENING = (State.SYN_SENT, State.SYN_RECEIVED)
STORM = 10  # resets that answer nothing, one after another
TIMEOUT = SECOND * 190 // 1000  # what is repeated after that is repeated by a timer


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
            f"instead of lasting {end.profile.time_wait.least:.0f} s (too many TIME_WAITs, a restart, or a load "
            "balancer)",
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
        if late_data(end):
            continue  # not late, but unwanted: told by rst_on_late_data
        if entered is None or rst is None:
            continue
        cause = c.before(rst, side=end.peer.side)
        what = "close" if cause and cause.fin else "send more data"
        waited = rst.time - entered.time
        yield Hit(
            end.side,
            rst,
            f"{end.peer.name} took {span(waited)} to {what} after {end.name} had closed; by then {end.name} had "
            "forgotten the connection and answered with RST",
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
        alive = [s.last_time for s in last] + [t for t in (end[E_ACK_TIME],) if 0 < t < rst.time]
        silent = rst.time - max(alive, default=c[C_FIRST_TIME])
        yield Hit(
            end.side,
            rst,
            f"{end.name} no longer knew the connection and answered {end.peer.name} with RST, {span(silent)} after it "
            "was last heard: it crashed, was restarted, or something between them lost its state",
            (cause,),
            "low" if silent < SECOND // 10 else None,
        )


def reply_rst(c: View) -> Iterator[Hit]:
    """Any other RST that says: there is no such connection here."""
    for end in c.ends:
        rst = next((s for s in heard(end.segments) if s.rst), None)
        if rst is None or not rst.reply_rst or any(x.frame == rst.frame for x in end.changes):
            continue
        cause = c.before(rst, side=end.peer.side)
        killed = end.peer.left(State.TIME_WAIT)
        if cause is None or cause.rst or cause.flags & TCP_SYN or (killed and killed.event is Event.RCV_RST):
            continue
        if cause.ack >= 0 and rst.seq != cause.ack:
            continue
        state = state_at(end, rst.time)
        if state in OPENING or any(x.event is Event.RCV_RST for x in end.changes):
            continue  # or its peer had reset it: no news
        known = "which the capture has not seen open" if state is State.UNKNOWN else f"being in {state.name}"
        yield Hit(
            end.side,
            rst,
            f"{end.name}, {known}, answered {end.peer.name} with RST {span(rst.time - cause.time)} after its segment: "
            "for it there is no such connection",
            (cause,),
        )


def rst_in_handshake(c: View) -> Iterator[Hit]:
    """The client answers the SYN+ACK by RST."""
    syn = next((s for s in c.client.segments if s.syn), None)
    answer = next((s for s in c.server.segments if s.syn_ack), None)
    rst = next((s for s in heard(c.client.segments) if s.rst), None)
    if syn is None or answer is None or rst is None or not syn.frame < answer.frame < rst.frame:
        return
    if any(not s.flags & (TCP_SYN | TCP_RST) for s in c.client.segments if s.frame < rst.frame):
        return
    yield Hit(
        CLIENT,
        rst,
        f"{c.client.name} asked for a connection, and answered the SYN+ACK of {c.server.name} with RST after "
        f"{span(rst.time - answer.time)}: it had given up, or wanted to know only whether the port is open",
        (syn, answer),
    )


def rst_no_session(c: View) -> Iterator[Hit]:
    """An RST begins the conversation."""
    if c.segments and c.segments[0].rst:
        first = c.segments[0]
        end = c.ends[first.side]
        yield Hit(
            end.side,
            first,
            f"{end.name} sent {end.peer.name} an RST, and of what it answers nothing is in the capture "
            f"({times(end[E_RSTS])})",
        )


def rst_lost_suspected(c: View) -> Iterator[Hit]:
    """An endpoint that was reset goes on repeating, and is reset once more."""
    for end in c.ends:
        resets = [s for s in heard(end.segments) if s.rst]
        if len(resets) < 2:
            continue
        first, last = resets[0], resets[-1]
        again = [
            s
            for s in heard(end.peer.segments)
            if first.time + TIMEOUT <= s.time < last.time and s.has(MARK_RETRANSMISSION, MARK_FIN_AGAIN)
        ]
        if again:
            yield Hit(
                end.side,
                last,
                f"{end.peer.name} repeated data {span(again[0].time - first.time)} after the RST of {end.name}, as if "
                "it had never come, and was reset again: the first RST was lost or not accepted",
                (first, *again),
            )


def rst_storm(c: View) -> Iterator[Hit]:
    """Many RSTs in a row that answer nothing."""
    for end in c.ends:
        if end[E_RSTS] < STORM:
            continue
        resets = [s for s in heard(end.segments) if s.rst]
        row: list[Segment] = []
        for s in resets:
            row = [*row, s] if row and s.time - row[-1].time < SECOND else [s]
        if len(row) < STORM:
            continue
        provoked = sum(s.run for s in end.peer.segments if not s.rst and s.last_time >= row[0].time - SECOND)
        if len(row) - provoked >= STORM:
            yield Hit(
                end.side,
                row[0],
                f"{end.name} sent {len(row)} RSTs within {span(row[-1].time - row[0].time)}, and {end.peer.name} no "
                f"more than {provoked} segments that they could answer: something repeats them, or copies them on the "
                "way",
                row[1:],
            )


def rst_with_data(c: View) -> Iterator[Hit]:
    """An RST that carries payload."""
    for end in c.ends:
        loaded = [s for s in heard(end.segments) if s.rst and s.length]
        if loaded:
            yield Hit(
                end.side,
                loaded[0],
                f"{end.name} sent {loaded[0].length} bytes in an RST to {end.peer.name}: its reason, in words, perhaps",
                loaded[1:],
            )


def when_reset(key: Key) -> bool:
    """A reset took part, or met nobody."""
    return when_aborted(key) or (bool(key.flags & CF_MIDSTREAM) and bool(key.flags & CF_CLOSING))


def when_handshake_reset(key: Key) -> bool:
    """A reset before the connection was open."""
    return key.opening == OPENING_INCOMPLETE and when_aborted(key)


def when_repeated_after_reset(key: Key) -> bool:
    """A reset, and something repeated."""
    return bool(key.flags & CF_CLOSING) and bool(key.marks & mask(MARK_RETRANSMISSION, MARK_FIN_AGAIN))


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
    Rule(
        kind="reply_rst",
        category="reset",
        severity="medium",
        rfc="RFC 9293 3.5.2",
        summary="An endpoint answered that it knows no such connection.",
        evidence="An RST without ACK whose sequence number is the acknowledgment of the segment before it.",
        innocent="An answer to what was still under way when it closed; a firewall that answers for the host.",
        when=when_reset,
        detect=reply_rst,
        aliases={"Zeek": "RSTO or RSTR"},
        example="""
            0.000 > P. 1:101(100)   ack 1
            0.010 < R  1:1(0)
        """,
        counterexample="""
            0.000 > P. 1:101(100)   ack 1
            0.010 < R. 1:1(0)       ack 101
        """,
    ),
    Rule(
        kind="rst_in_handshake",
        category="reset",
        severity="low",
        rfc="RFC 9293 3.10.7.4",
        summary="A client answered the SYN+ACK by RST.",
        evidence="SYN, SYN+ACK, then an RST of the client before anything else from it.",
        innocent="A half-open port scan; a client that gave up, or crashed, meanwhile.",
        when=when_handshake_reset,
        detect=rst_in_handshake,
        aliases={"Zeek": "history ShR", "nmap": "SYN scan"},
        example="""
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0) ack 1
            0.020 > R  1:1(0)
        """,
        counterexample="""
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0) ack 1
            0.020 > .  1:1(0) ack 1
            0.030 > R. 1:1(0) ack 1
        """,
    ),
    Rule(
        kind="rst_no_session",
        category="reset",
        severity="info",
        rfc="RFC 9293 3.5.2",
        summary="An RST without anything that it could belong to.",
        evidence="The first segment of a four-tuple is an RST.",
        innocent="A capture that began late, or sees one direction; the answer to a SYN with a forged source.",
        when=when_reset,
        detect=rst_no_session,
        aliases={"Zeek": "spontaneous_RST", "Suricata": "rst_but_no_session"},
        example="""
            0.000 < R. 0:0(0) ack 1
        """,
        counterexample="""
            0.000 > S  0:0(0)
            0.001 < R. 0:0(0) ack 1
        """,
    ),
    Rule(
        kind="rst_lost_suspected",
        category="reset",
        severity="low",
        rfc="RFC 9293 3.5.2",
        summary="An RST did not reach its goal: the other side kept repeating, and had to be reset again.",
        evidence="An RST, a retransmission of the peer 190 ms or more later, and another RST.",
        innocent="A firewall that resets one direction only; an RST that its receiver did not accept.",
        when=when_repeated_after_reset,
        detect=rst_lost_suspected,
        example=HANDSHAKE
        + """
            1.000 > P. 101:201(100) ack 1
            1.010 < R. 1:1(0)       ack 201
            1.210 > P. 101:201(100) ack 1
            1.220 < R  1:1(0)
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > P. 101:201(100) ack 1
            1.001 > P. 201:301(100) ack 1   # under way when the RST was sent
            1.010 < R. 1:1(0)       ack 201
            1.011 < R  1:1(0)
        """,
    ),
    Rule(
        kind="rst_storm",
        category="reset",
        severity="medium",
        rfc="RFC 9293 3.5.2",
        summary="RSTs in a row that answer nothing.",
        evidence="Ten RSTs of one endpoint more than the peer's segments, with less than a second between each two.",
        innocent="A mirror port that copies frames; a censor or load balancer that resets with vigour.",
        when=when_aborted,
        detect=rst_storm,
        aliases={"Zeek": "RST_storm"},
        example=HANDSHAKE + "".join(f"            1.{n:02d}0 > R. 101:101(0) ack 1\n" for n in range(0, 75, 5)),
        counterexample=HANDSHAKE
        + "".join(
            f"            1.{n:02d}0 < P. {20 * n + 1}:{20 * n + 101}(100) ack 101\n            1.{n:02d}1 > R  "
            "101:101(0)\n"
            for n in range(0, 75, 5)
        ),
    ),
    Rule(
        kind="rst_with_data",
        category="reset",
        severity="low",
        rfc="RFC 9293 3.5.3",
        summary="An RST carried data, which its receiver may drop or log.",
        evidence="Payload in an RST.",
        innocent="Allowed (SHLD-2); some systems and firewalls put the reason into it.",
        when=when_reset,
        detect=rst_with_data,
        aliases={"Suricata": "rst_with_data"},
        example=HANDSHAKE
        + """
            1.000 < R. 1:11(10) ack 101
        """,
        counterexample=HANDSHAKE
        + """
            1.000 < R. 1:1(0) ack 101
        """,
    ),
)
