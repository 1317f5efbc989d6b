"""Rules about FINs that are sent again, and about the ACK that was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.evidence import HANDSHAKE, genuine, outdated, times, when_closing
from tcptrace_fsm.findings.needs import BOTH_DIRECTIONS
from tcptrace_fsm.findings.rule import SECOND, Hit, Key, Rule, Segment, View, mask, span
from tcptrace_fsm.findings.wording import Detected, Wording
from tcptrace_fsm.kernels.layout import (
    DETECT_LAST_ACK_LOST,
    DL_FIN,
    DL_PASSED,
    E_FIN,
    E_FINS,
    E_RTT_MIN,
    FACT_CLOSE_AGAIN,
    MARK_DSACK,
    MARK_FIN_AGAIN,
    MARK_NETWORK_DUPLICATE,
    MARK_SPURIOUS,
)
from tcptrace_fsm.tcp.machine import Event, State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcptrace_fsm.findings.rule import End

__all__ = ["RULES"]

COPIED = SECOND // 1000
CROSSED = """
            0.000 > S  0:0(0)
            0.100 < S. 0:0(0)     ack 1
            0.101 > .  1:1(0)     ack 1
            0.180 > P. 1:101(100) ack 1
            0.280 < .  1:1(0)     ack 101
            0.510 > F. 101:101(0) ack 1
            0.600 < F. 1:1(0)     ack 101   # crosses the other FIN
            0.601 > .  102:102(0) ack 2
            0.690 < F. 1:1(0)     ack 102   # its answer to that: it left before the ACK was there
            0.691 > .  102:102(0) ack 2
"""
STORM = 10  # segments without data, one after another, that nobody asked for


def fins_of(end: End) -> list[Segment]:
    """Its FINs, without copies that the capture or the network made: no timer is as quick as those."""
    fins: list[Segment] = []
    latest = -COPIED
    for s in genuine(end.segments):
        if s.fin and not s.has(MARK_NETWORK_DUPLICATE):
            if s.time - latest >= COPIED or s.end != fins[0].end:
                fins.append(s)
            latest = s.time
    return fins


def lost_last_ack(end: End) -> tuple[Segment, Segment, bool] | None:
    """The last ACK of an endpoint that closed first, if it got lost: itself, the FIN that proves so, whether it passed.

    Either the ACK had passed before the FIN came again, or the ACK of the repeated FIN shows that an earlier one had
    been received: by the timestamp that it echoes (RFC 7323 section 4.3) or by a duplicate SACK (RFC 2883).
    """
    fins = fins_of(end.peer)
    never_kept = any(x.source is State.FIN_WAIT_2 and x.event is Event.GONE for x in end.changes)
    if not fins or not (never_kept or end.entered(State.TIME_WAIT)):
        return None
    acks = [s for s in genuine(end.segments) if not s.rst and s.ack >= end.peer[E_FIN]]
    if not acks:
        return None
    # What comes within a round trip of that ACK had left before the ACK could be there.
    since = acks[0].time + max(COPIED, end[E_RTT_MIN])
    later = [s for s in genuine(end.peer.segments) if s.time > since and not s.has(MARK_NETWORK_DUPLICATE)]
    again = next((s for s in later if s.fin or (s.length and s.has(MARK_SPURIOUS) and not outdated(s, fins[0]))), None)
    if again:
        return acks[0], again, True
    if len(fins) < 2:
        return None
    echoed = acks[0].tsecr in [f.tsval for f in fins[:-1] if f.tsval >= 0] and acks[0].tsecr != fins[-1].tsval
    return (acks[0], fins[-1], False) if echoed or acks[0].has(MARK_DSACK) else None


def last_ack_lost(c: View) -> Iterator[Hit]:
    """A FIN is repeated although its receiver had acknowledged it."""
    for end in c.ends:
        found = lost_last_ack(end)
        if found is None:
            continue
        ack, again, passed = found
        fins = fins_of(end.peer)
        late = again.time - (ack if passed else fins[0]).time
        message = repeated_in_time_wait(end.name, end.peer.name, late, passed=passed, fin=again.fin)
        yield Hit(end.side, again, message, (ack, *fins))


def repeated_in_time_wait(name: str, peer: str, late: int, *, passed: bool, fin: bool) -> str:
    """In words: the last ACK of one was lost, for its peer repeated ``late`` ns later what it had acknowledged."""
    how = (
        f"repeated {'its FIN' if fin else 'data'} {span(late)} after that ACK had passed here"
        if passed
        else f"repeated its FIN {span(late)} after the first, which had been received, as the next ACK shows"
    )
    return f"the last ACK of {name} was lost: {peer} {how}"


def word_last_ack(found: Detected) -> str:
    """The same of what a kernel has detected."""
    passed, fin = bool(found.more & DL_PASSED), bool(found.more & DL_FIN)
    return repeated_in_time_wait(*found.names(found.side), found.span, passed=passed, fin=fin)


def answers_fin(end: End, fin: Segment) -> bool:
    """Whether a repeated FIN is the first to acknowledge the peer's, which it crossed: that is what it is sent for."""
    peer_fin = end.peer[E_FIN]
    return fin.ack >= peer_fin > 0 and all(s.ack < peer_fin for s in genuine(end.segments) if s.frame < fin.frame)


def fin_retransmission(c: View) -> Iterator[Hit]:
    """A FIN that was sent again for want of an ACK, unless it was the last ACK that got lost."""
    for end in c.ends:
        fins = fins_of(end)
        again = [s for s in fins[1:] if s.has(MARK_FIN_AGAIN) and not answers_fin(end, s)]
        if not again or lost_last_ack(end.peer):
            continue
        lost = "its ACK was lost" if again[0].has(MARK_SPURIOUS) else "it or its ACK was lost"
        yield Hit(
            end.side,
            again[0],
            f"{end.name} repeated its FIN {times(len(again))}, {span(again[0].time - fins[0].time)} after the first: "
            f"{lost}",
            (fins[0], *again[1:]),
        )


def fin_storm(c: View) -> Iterator[Hit]:
    """Many FINs in a row, faster than any timer repeats them."""
    for end in c.ends:
        if end[E_FINS] < STORM:
            continue
        row: list[Segment] = []
        for s in genuine(end.segments):
            if s.fin:
                row = [*row, s] if row and s.time - row[-1].time < SECOND else [s]
            if len(row) == STORM:
                yield Hit(
                    end.side,
                    row[-1],
                    f"{end.name} sent {end[E_FINS]} FINs, {STORM} of them within {span(row[-1].time - row[0].time)}: "
                    "something repeats them, or copies them on the way",
                    row,
                )
                break


def when_fin_again(key: Key) -> bool:
    """A FIN was repeated."""
    return bool(key.marks & mask(MARK_FIN_AGAIN))


def when_close_again(key: Key) -> bool:
    """A FIN, or data that had been acknowledged, were repeated."""
    return key.shows(FACT_CLOSE_AGAIN) and when_closing(key) and bool(key.marks & mask(MARK_FIN_AGAIN, MARK_SPURIOUS))


RULES = (
    Rule(
        kind="fin_retransmission",
        category="close",
        severity="low",
        rfc="RFC 6298 5.4",
        summary="A FIN was sent again because no ACK of it came.",
        evidence="A FIN that ends at the same byte as one before; not a copy by the capture or the network.",
        innocent="One lost segment, repaired; an ACK that is delayed for longer than the retransmission timer.",
        when=when_fin_again,
        detect=fin_retransmission,
        aliases={"Wireshark": "tcp.analysis.retransmission of a FIN"},
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.210 > F. 101:101(0) ack 1
            1.220 < F. 1:1(0)     ack 102
            1.230 > .  102:102(0) ack 2
        """,
        counterexample=(
            HANDSHAKE
            + """
            1.000 > F. 101:101(0) ack 1
            1.0005 > F. 101:101(0) ack 1 id 104   # the very same frame again
            1.010 < F. 1:1(0)     ack 102
            1.020 > .  102:102(0) ack 2
        """,
            CROSSED,
        ),
    ),
    Rule(
        kind="last_ack_lost",
        category="close",
        severity="low",
        rfc="RFC 9293 3.10.7.4",
        summary="The ACK of the last FIN got lost; TIME_WAIT is there to send it again.",
        evidence="A FIN sent again after the ACK of it had passed, or although the next ACK proves it was received.",
        innocent="The FIN and its ACK may just have crossed on a slow way.",
        when=when_close_again,
        needs=(BOTH_DIRECTIONS,),
        detect=last_ack_lost,
        wording=Wording(DETECT_LAST_ACK_LOST, word_last_ack),
        aliases={"Wireshark": "tcp.analysis.retransmission of a FIN"},
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1   <ts 1000/2000>
            1.010 < F. 1:1(0)     ack 102 <ts 2010/1000>
            1.230 < F. 1:1(0)     ack 102 <ts 2230/1000>
            1.240 > .  102:102(0) ack 2   <ts 1240/2010>
        """,
        counterexample=(
            HANDSHAKE
            + """
            1.000 > F. 101:101(0) ack 1   <ts 1000/2000>
            1.010 < F. 1:1(0)     ack 102 <ts 2010/1000>
            1.230 < F. 1:1(0)     ack 102 <ts 2230/1000>
            1.240 > .  102:102(0) ack 2   <ts 1240/2230>
        """,
            HANDSHAKE
            + """
            0.050 < P. 1:101(100) ack 101 <ts 2000/900>
            0.051 > .  101:101(0) ack 101 <ts 950/2000>
            1.000 > F. 101:101(0) ack 101 <ts 1000/2000>
            1.010 < F. 101:101(0) ack 102 <ts 2010/1000>
            1.020 > .  102:102(0) ack 102 <ts 1020/2010>
            1.500 < P. 1:101(100) ack 102   # without a timestamp: not of this connection's sender
        """,
            CROSSED,
        ),
    ),
    Rule(
        kind="fin_storm",
        category="close",
        severity="medium",
        rfc="RFC 6298 5.5",
        summary="FINs in a row, far faster than a retransmission timer sends them.",
        evidence="Ten FINs of one endpoint with less than a second between each two.",
        innocent="A mirror port that copies frames, or a loop in the network.",
        when=when_fin_again,
        detect=fin_storm,
        aliases={"Zeek": "FIN_storm"},
        example=HANDSHAKE + "".join(f"            1.{n:02d}0 > F. 101:101(0) ack 1\n" for n in range(0, 60, 5)),
        counterexample=HANDSHAKE + "".join(f"            {2**n}.000 > F. 101:101(0) ack 1\n" for n in range(12)),
    ),
)
