"""Rules about timers: what a capture tells of them, and connections that they ended."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from tcptrace_fsm.findings.evidence import (
    CLOSED_BY_CLIENT,
    HANDSHAKE,
    answered_by,
    answered_with_reset,
    asked_in_vain,
    genuine,
    persisting,
    reset_of,
    times,
    when_aborted,
)
from tcptrace_fsm.findings.needs import BEGINNING, BOTH_DIRECTIONS, TO_THE_END
from tcptrace_fsm.findings.rule import SECOND, Hit, Key, Rule, View, mask, span
from tcptrace_fsm.kernels.layout import (
    CLOSING_ABORTED,
    FACT_GONE_IN_FIN_WAIT_2,
    FACT_TIME_WAIT,
    MARK_FIN_AGAIN,
    MARK_KEEPALIVE,
    MARK_SYN_AGAIN,
    MARK_TIMEOUT,
    MARK_ZERO_WINDOW_PROBE,
    MILLISECOND,
)
from tcptrace_fsm.tcp.machine import Event, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcptrace_fsm.findings.rule import End, Segment

__all__ = ["RULES"]

R2 = 100 * SECOND  # RFC 9293 3.8.3 (SHLD-11): the least that R2 should come to
USUAL_RTO = (SECOND, 3 * SECOND)  # RFC 6298 2.1 and 5.7
NEAR = 5  # a fifth more or less still counts as that
QUICKEST = SECOND // 10  # what comes sooner is no timer's work
TELLING = 5 * SECOND  # a lifetime bound below that says nothing


def rto_initial_unusual(c: View) -> Iterator[Hit]:
    """The gap before the first repetition of a SYN that nobody answered."""
    for end in c.ends:
        syns = [s for s in genuine(end.segments) if s.syn]
        if len(syns) < 2 or syns[0].seq != syns[1].seq:
            continue
        if any(syns[0].frame < s.frame < syns[1].frame for s in end.peer.segments):
            continue
        gap = syns[1].time - syns[0].time
        if gap >= QUICKEST and all(abs(gap - usual) > usual // NEAR for usual in USUAL_RTO):
            yield Hit(
                end.side,
                syns[1],
                f"{end.name} repeated its SYN to {end.peer.name} after {span(gap)}, where RFC 6298 has 1 s (3 s in old "
                "systems): its initial retransmission timer is set otherwise",
                (syns[0],),
            )


def fin_wait_2_lifetime(c: View) -> Iterator[Hit]:
    """How long an endpoint can have been in FIN_WAIT_2, by its signs of life and of death."""
    for end in c.ends:
        found = answered_with_reset(end)
        entered = end.entered(State.FIN_WAIT_2)
        if found is None or entered is None or found[0].source is not State.FIN_WAIT_2:
            continue
        rst = found[1]
        cause = answered_by(rst, end)
        if cause is None or rst.time - entered.time < SECOND or (cause.length and found[0].event is Event.GONE):
            continue  # data, unlike a FIN, are answered so at any time: that tells nothing of a timer
        alive = [s.last_time for s in end.segments if not s.rst and entered.time < s.last_time < rst.time]
        least = max([0, *(t - entered.time for t in alive)])
        yield Hit(
            end.side,
            rst,
            f"{end.name} kept FIN_WAIT_2 for between {span(least)} and {span(rst.time - entered.time)}: it had "
            f"closed, and knew of nothing when {end.peer.name} did",
            (entered, cause),
        )


def time_wait_lifetime(c: View) -> Iterator[Hit]:
    """How long an endpoint was in TIME_WAIT, by its signs of life and of death."""
    for end in c.ends:
        entered = end.entered(State.TIME_WAIT)
        if entered is None:
            continue
        found = answered_with_reset(end)
        rst = found[1] if found and found[0].event is Event.TIMEOUT_2MSL else None
        later = [s for s in genuine(end.segments) if not s.rst and s.last_time > entered.time]
        alive = later[-1].last_time - entered.time if later else 0
        if rst is None and alive < TELLING:
            continue
        most = f" and {span(rst.time - entered.time)}" if rst else ""
        shown: Segment = rst or later[-1]
        yield Hit(
            end.side,
            shown,
            f"the TIME_WAIT of {end.name} lasted {'between' if rst else 'at least'} {span(alive)}{most}, as its "
            f"answers to {end.peer.name} show; each segment that it answers starts the timer anew",
            (entered,),
        )


def keepalive_schedule(c: View) -> Iterator[Hit]:
    """Idle time and interval of an endpoint's keepalives."""
    for end in c.ends:
        probes = [s for s in genuine(end.segments) if s.has(MARK_KEEPALIVE)]
        if len(probes) < 2 or probes[1].time - probes[0].time < MILLISECOND:
            continue  # no timer is as quick: a clock that stands still
        gaps: dict[bool, list[int]] = {True: [], False: []}
        for a, b in pairwise(probes):
            answered = any(a.frame < s.frame < b.frame for s in end.peer.segments)
            gaps[answered].append(b.time - a.time)
        ended = []
        if gaps[True]:
            ended.append(f"after {span(min(gaps[True]))} of silence")
        if gaps[False]:
            ended.append(f"every {span(sorted(gaps[False])[len(gaps[False]) // 2])} while there is no answer")
        yield Hit(
            end.side,
            probes[1],
            f"{end.name} sends keepalives to {end.peer.name} {' and '.join(ended)} ({len(probes)} seen)",
            (probes[0], *probes[2:]),
        )


def given_up(end: End) -> Segment | None:
    """The RST with ACK by which ``end`` itself ended the connection, from whatever state."""
    change = next((x for x in end.changes if x.event is Event.SND_RST), None)
    return reset_of(end, change) if change else None


def user_timeout_abort(c: View) -> Iterator[Hit]:
    """Retransmissions without an answer, and an RST before R2."""
    for end in c.ends:
        rst = given_up(end)
        if rst is None:
            continue
        again = [s for s in asked_in_vain(end, rst) if s.has(MARK_TIMEOUT, MARK_FIN_AGAIN)]
        if len(again) < 2 or persisting(end, rst):
            continue
        tried = rst.time - again[0].time
        if tried < R2:
            yield Hit(
                end.side,
                rst,
                f"{end.name} gave up with RST {span(tried)} after the first of {len(again)} retransmissions that "
                f"{end.peer.name} did not answer; R2 should be 100 s or more: a user timeout, or the application, was "
                "quicker",
                again,
            )


def persist_timeout_abort(c: View) -> Iterator[Hit]:
    """Zero-window probes, and an RST while the window is still closed."""
    for end in c.ends:
        rst = given_up(end)
        if rst is None or not persisting(end, rst):
            continue
        probes = [s for s in genuine(end.segments) if s.has(MARK_ZERO_WINDOW_PROBE) and s.frame < rst.frame]
        yield Hit(
            end.side,
            rst,
            f"{end.name} gave up with RST {span(rst.time - probes[0].time)} after it had begun to probe the closed "
            f"window of {end.peer.name} ({times(len(probes))}): the receiving application had stopped reading",
            probes,
        )


def when_syn_again(key: Key) -> bool:
    """A SYN was repeated."""
    return bool(key.marks & mask(MARK_SYN_AGAIN))


def when_time_wait(key: Key) -> bool:
    """A TIME_WAIT, and a reset or a FIN that was repeated."""
    ended = key.closing == CLOSING_ABORTED or bool(key.marks & mask(MARK_FIN_AGAIN))
    return ended and key.shows(FACT_TIME_WAIT)


def when_fin_wait_2(key: Key) -> bool:
    """A reset, and the end of a FIN_WAIT_2."""
    return when_aborted(key) and key.shows(FACT_GONE_IN_FIN_WAIT_2)


def when_keepalive(key: Key) -> bool:
    """A keepalive."""
    return bool(key.marks & mask(MARK_KEEPALIVE))


def when_gave_up(key: Key) -> bool:
    """A reset after retransmissions."""
    return when_aborted(key) and bool(key.marks & mask(MARK_TIMEOUT, MARK_FIN_AGAIN))


def when_probed(key: Key) -> bool:
    """A reset after zero-window probes."""
    return when_aborted(key) and bool(key.marks & mask(MARK_ZERO_WINDOW_PROBE))


RULES = (
    Rule(
        kind="rto_initial_unusual",
        category="timer",
        severity="info",
        rfc="RFC 6298 2.1",
        summary="A system's initial retransmission timer is not the usual one.",
        evidence="The first repetition of an unanswered SYN neither 1 s nor 3 s after it, each give or take a fifth.",
        innocent="A SYN between the two that the capture misses; a retransmission that an odd answer set off.",
        when=when_syn_again,
        needs=(BEGINNING,),
        detect=rto_initial_unusual,
        example="""
            0.000 > S  0:0(0)
            0.500 > S  0:0(0)
            0.510 < S. 0:0(0) ack 1
            0.520 > .  1:1(0) ack 1
        """,
        counterexample="""
            0.000 > S  0:0(0)
            1.020 > S  0:0(0)
            1.030 < S. 0:0(0) ack 1
            1.040 > .  1:1(0) ack 1
        """,
    ),
    Rule(
        kind="fin_wait_2_lifetime",
        category="timer",
        severity="info",
        rfc="Linux tcp_fin_timeout",
        summary="How long a system keeps FIN_WAIT_2 for a socket that its application has let go.",
        evidence="Its last sign of life after its FIN was acknowledged, and the RST that shows it had forgotten.",
        innocent="A bound from above only, unless it answered something meanwhile.",
        when=when_fin_wait_2,
        needs=(BOTH_DIRECTIONS,),
        detect=fin_wait_2_lifetime,
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
            70.00 < F. 1:1(0)     ack 102
            70.01 > R  102:102(0)
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > F. 101:101(0)   ack 1
            1.010 < .  1:1(0)       ack 102
            5.000 < P. 1:1001(1000) ack 102
            5.001 > R  102:102(0)
        """,
    ),
    Rule(
        kind="time_wait_lifetime",
        category="timer",
        severity="info",
        rfc="RFC 9293 3.6.1 (MUST-13)",
        summary="How long a system keeps TIME_WAIT.",
        evidence="An answer from TIME_WAIT 5 s or more after it began, or an RST that shows it is over.",
        innocent="Bounds only; --learn-timers narrows the profile by them for this host.",
        when=when_time_wait,
        needs=(BOTH_DIRECTIONS,),
        detect=time_wait_lifetime,
        example=CLOSED_BY_CLIENT
        + """
            8.000 < F. 1:1(0)     ack 102
            8.010 > .  102:102(0) ack 2
        """,
        counterexample=CLOSED_BY_CLIENT
        + """
            1.220 < F. 1:1(0)     ack 102
            1.230 > .  102:102(0) ack 2
        """,
    ),
    Rule(
        kind="keepalive_schedule",
        category="timer",
        severity="info",
        rfc="RFC 9293 3.8.4",
        summary="How an endpoint times its keepalives.",
        evidence="Two or more keepalives of one endpoint: gaps after an answer, and gaps without one.",
        innocent="Data between two keepalives make the idle time look longer.",
        when=when_keepalive,
        needs=(BOTH_DIRECTIONS,),
        detect=keepalive_schedule,
        aliases={"Wireshark": "tcp.analysis.keep_alive", "Linux": "tcp_keepalive_time, tcp_keepalive_intvl"},
        example=HANDSHAKE
        + """
            75.00 > .  100:100(0) ack 1
            75.01 < .  1:1(0)     ack 101
            150.0 > .  100:100(0) ack 1
            150.1 < .  1:1(0)     ack 101
        """,
        counterexample=HANDSHAKE
        + """
            75.00 > .  100:100(0) ack 1
            75.01 < .  1:1(0)     ack 101
        """,
    ),
    Rule(
        kind="user_timeout_abort",
        category="timer",
        severity="medium",
        rfc="RFC 5482 2",
        summary="A connection was aborted for want of ACKs sooner than TCP itself gives up.",
        evidence="Two or more retransmissions without an answer, and an RST with ACK less than 100 s later.",
        innocent="An application that closes by its own timeout, with SO_LINGER 0 or with unread data.",
        when=when_gave_up,
        needs=(BOTH_DIRECTIONS, TO_THE_END),
        detect=user_timeout_abort,
        aliases={"Linux": "TCP_USER_TIMEOUT"},
        example=HANDSHAKE
        + """
            1.000 > P. 101:201(100) ack 1
            1.200 > P. 101:201(100) ack 1
            1.600 > P. 101:201(100) ack 1
            2.400 > P. 101:201(100) ack 1
            4.000 > P. 101:201(100) ack 1
            6.000 > R. 201:201(0)   ack 1
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > P. 101:201(100) ack 1
            1.200 > P. 101:201(100) ack 1
            1.600 > P. 101:201(100) ack 1
            1.610 < .  1:1(0)       ack 201
            6.000 > R. 201:201(0)   ack 1
        """,
    ),
    Rule(
        kind="persist_timeout_abort",
        category="timer",
        severity="medium",
        rfc="RFC 9293 3.8.6.1",
        summary="A sender gave up on a receiver whose window stayed closed.",
        evidence="Zero-window probes, the peer's window still 0, and an RST with ACK from the one that probes.",
        innocent="An application that closes by its own timeout.",
        when=when_probed,
        needs=(BOTH_DIRECTIONS, TO_THE_END),
        detect=persist_timeout_abort,
        aliases={"Linux": "TCPAbortOnTimeout"},
        example=HANDSHAKE
        + """
            1.000 > P. 101:201(100) ack 1
            1.010 < .  1:1(0)       ack 201 win 0
            1.300 > .  200:200(0)   ack 1
            1.310 < .  1:1(0)       ack 201 win 0
            9.000 > .  200:200(0)   ack 1
            9.010 < .  1:1(0)       ack 201 win 0
            30.00 > R. 201:201(0)   ack 1
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > P. 101:201(100) ack 1
            1.010 < .  1:1(0)       ack 201 win 0
            1.300 > .  200:200(0)   ack 1
            1.310 < .  1:1(0)       ack 201 win 0
            9.000 < .  1:1(0)       ack 201 win 60000
            9.010 > P. 201:301(100) ack 1
            9.020 > R. 301:301(0)   ack 1
        """,
    ),
)
