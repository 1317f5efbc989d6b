"""Rules about how connections close: one direction first, both at once, late, unseen, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.evidence import HANDSHAKE, genuine
from tcptrace_fsm.findings.needs import BOTH_DIRECTIONS, TO_THE_END
from tcptrace_fsm.findings.rule import SECOND, Hit, Key, Rule, View, mask, span
from tcptrace_fsm.findings.stuck import SLOW
from tcptrace_fsm.kernels.layout import (
    C_FIRST_TIME,
    C_LAST_TIME,
    CF_CLOSING,
    CLOSING_NONE,
    CLOSING_NORMAL,
    CLOSING_SIMULTANEOUS,
    E_FIN,
    E_NEXT,
    E_SEGMENTS,
    FACT_CLOSED_SECOND,
    FACT_LAST_ACK_INFERRED,
    MARK_CLOSE_SLOW,
    MARK_HALF_CLOSE_DATA,
    MARK_RETRANSMISSION,
)
from tcptrace_fsm.tcp.machine import Basis, Event, State
from tcptrace_fsm.text.counts import count

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RULES"]

UNREPEATED = 3 * SECOND  # a FIN that got no ACK is sent again before that
KEEPALIVE = 7200 * SECOND  # RFC 9293 3.8.4: the least idle time before a keepalive by default


def half_close(c: View) -> Iterator[Hit]:
    """New data from an endpoint that had acknowledged the other's FIN."""
    for end in c.ends:
        if end[E_FIN] < 0:
            continue
        fin = next((s for s in end.segments if s.fin), None)
        data = [
            s for s in genuine(end.peer.segments) if s.length and s.ack >= end[E_FIN] and not s.has(MARK_RETRANSMISSION)
        ]
        if fin is None or not data:
            continue
        sent = end.peer[E_NEXT] - data[0].seq - (end.peer[E_FIN] >= 0)
        yield Hit(
            end.side,
            fin,
            f"{end.name} closed its direction only; {end.peer.name} went on to send {count(sent, 'byte')} until "
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
        fin = next((s for s in genuine(end.segments) if s.fin), None)
        if left is None or left.event is not Event.RCV_ACK_OF_FIN or left.basis is not Basis.INFERRED or fin is None:
            continue
        if end.peer[E_SEGMENTS] and c.end - fin.time >= UNREPEATED:
            yield Hit(
                end.side,
                fin,
                f"the FIN of {end.name} was never acknowledged here, yet not repeated for {span(UNREPEATED)} or more: "
                f"the last ACK of {end.peer.name} passed elsewhere or was dropped from the capture",
                basis=Basis.INFERRED,
            )


def when_simultaneous(key: Key) -> bool:
    """Both were CLOSING; or one was, where the FIN of the other had been lost: nobody closed second."""
    if key.closing == CLOSING_NORMAL:
        return not key.shows(FACT_CLOSED_SECOND)
    return key.closing == CLOSING_SIMULTANEOUS


def when_fin(key: Key) -> bool:
    """A FIN, or at least an RST, was seen."""
    return bool(key.flags & CF_CLOSING) and key.closing != CLOSING_NONE


def when_half_close_data(key: Key) -> bool:
    """An endpoint sent new data after it had acknowledged the other's FIN."""
    return when_fin(key) and bool(key.marks & mask(MARK_HALF_CLOSE_DATA))


def when_closed_late(key: Key) -> bool:
    """The second FIN came long after the first was acknowledged, or nobody saw that it was."""
    late = not key.acknowledged or bool(key.marks & mask(MARK_CLOSE_SLOW))
    return when_fin(key) and late and key.shows(FACT_CLOSED_SECOND)


def when_unacknowledged(key: Key) -> bool:
    """A FIN got no ACK that was seen."""
    return when_fin(key) and not key.acknowledged and key.shows(FACT_LAST_ACK_INFERRED)


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
        severity="low",
        rfc="RFC 9293 3.8.4",
        summary="An open connection fell silent for good: nobody closed it, and nobody asks whether it lives.",
        evidence="Two hours or more without a segment up to the end of the capture, and neither FIN nor RST before.",
        innocent="An idle session that is still there; a close that the capture misses; a capture made of several, "
        "each with other connections.",
        when=when_open,
        needs=(BOTH_DIRECTIONS, TO_THE_END),
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
        needs=(BOTH_DIRECTIONS, TO_THE_END),
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
