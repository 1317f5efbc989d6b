"""Rules about keepalives, and about segments that their receiver drops."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from tcptrace_fsm.findings.evidence import HANDSHAKE, older
from tcptrace_fsm.findings.loss import bears, counted, times
from tcptrace_fsm.findings.needs import BOTH_DIRECTIONS, TO_THE_END
from tcptrace_fsm.findings.rule import SECOND, Hit, Rule, Segment, View, mask, median, span
from tcptrace_fsm.kernels.layout import (
    C_FLAGS,
    CF_LOG_FULL,
    E_ACK,
    E_CHECKSUMS,
    E_LAST_TIME,
    E_SEGMENTS,
    E_TSVAL,
    FACT_BOTH_DIRECTIONS,
    MARK_ACK_BEYOND,
    MARK_BAD_CHECKSUM,
    MARK_KEEPALIVE,
    MARK_KEEPALIVE_ACK,
    MARK_LOST_BEFORE,
    MARK_ODD_FLAGS,
    MARK_OUT_OF_ORDER,
    MARK_PAWS,
    MARK_RETRANSMISSION,
    OPT_TIMESTAMPS,
    SUMS_BELIEVED,
    SUMS_GOOD,
    TCP_ACK,
    TCP_RST,
    TCP_SYN,
)
from tcptrace_fsm.text.counts import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcptrace_fsm.findings.rule import End, Key

__all__ = ["RULES", "in_vain", "keepalives", "unanswered"]

DEAD = 2  # two keepalives without an answer, and an RST, are a death
DOUBTFUL = 3  # from three on, an end of the capture does not explain it
PATIENCE = 3  # intervals


def keepalives(end: End) -> list[Segment]:
    """What an endpoint sent to hear whether its peer is there."""
    return [s for s in end.segments if s.has(MARK_KEEPALIVE)]


def interval(asked: list[Segment]) -> int:
    """The usual time between keepalives, ns; 0 for a single one."""
    gaps = [b.time - a.time for a, b in pairwise(asked)]
    return int(median(gaps)) if gaps else 0


def asking(c: View) -> Iterator[Hit]:
    """Keepalives, one finding per sender."""
    for end in c.ends:
        asked = keepalives(end)
        if asked:
            often = f", every {span(interval(asked))}" if interval(asked) else ""
            yield Hit(
                end.side,
                asked[0],
                f"{end.name} sent keepalives to {end.peer.name} {times(len(asked), c)}{often}: the connection was idle",
                asked[1:],
            )


def answering(c: View) -> Iterator[Hit]:
    """Answers to keepalives, one finding per sender."""
    for end in c.ends:
        alive = [s for s in end.segments if s.has(MARK_KEEPALIVE_ACK)]
        if alive:
            yield Hit(
                end.side,
                alive[0],
                f"{end.name} answered keepalives of {end.peer.name} {times(len(alive), c)}: it still knows the "
                "connection",
                alive[1:],
            )


def unanswered(end: End) -> list[Segment]:
    """Keepalives after which nothing came from the peer any more."""
    asked = in_vain([s for s in keepalives(end) if s.time > end.peer[E_LAST_TIME] >= 0])
    # Who acknowledges more afterwards has heard from its peer meanwhile, though the capture has not.
    if any(s.frame > asked[0].frame and s.ack > asked[0].ack for s in end.segments[-8:] if asked):
        return []
    return asked


def in_vain(asked: list[Segment]) -> list[Segment]:
    """Those of some keepalives in a row that had no answer, for certain.

    One that echoes a newer timestamp than those before it shows that these were answered, though not here. And nobody
    asks several times a second.
    """
    if asked and asked[-1].options & OPT_TIMESTAMPS:
        asked = [s for s in asked if s.tsecr == asked[-1].tsecr]
    return asked if len(asked) < 2 or interval(asked) >= SECOND // 2 else []


def own_rst(end: End, after: Segment) -> Segment | None:
    """The RST with which an endpoint gave up after its last keepalive."""
    return next((s for s in end.segments if s.rst and not s.reply_rst and s.time >= after.time), None)


def died(c: View) -> Iterator[Hit]:
    """Keepalives without an answer, then an RST from their sender."""
    for end in c.ends:
        asked = unanswered(end)
        rst = own_rst(end, asked[-1]) if len(asked) >= DEAD else None
        if rst:
            silent = rst.time - end.peer[E_LAST_TIME]
            yield Hit(
                end.side,
                rst,
                f"{end.name} gave up after {count(len(asked), 'keepalive')}, one every {span(interval(asked))}, that "
                f"{end.peer.name} did "
                f"not answer; {end.peer.name} had been silent for {span(silent)}",
                asked,
            )


def ignored(c: View) -> Iterator[Hit]:
    """Keepalives without an answer, and no RST so far."""
    for end in c.ends:
        asked = unanswered(end)
        if len(asked) < DEAD or own_rst(end, asked[-1]):
            continue
        silent = c.end - end.peer[E_LAST_TIME]
        over = len(asked) >= DOUBTFUL or c.end - asked[-1].time >= PATIENCE * interval(asked)
        yield Hit(
            end.side,
            asked[0],
            f"{end.peer.name} has not answered the last {count(len(asked), 'keepalive')} of {end.name}, one every "
            f"{span(interval(asked))}, "
            f"and has been silent for {span(silent)}: it is gone, or the path to it is",
            asked[1:],
            None if over else "low",
        )


def taken(s: Segment, end: End) -> bool:
    """Whether the peer has acknowledged a segment that was not sent again: it has taken this one.

    Only what fills its gaps makes a receiver's own clock go on (RFC 7323 section 4.3): segments that others have
    overtaken on a way that reorders much may look older than they are to it.
    """
    again = (x for x in end.segments if x.frame > s.frame and x.length and x.seq < s.end and x.end > s.seq)
    return end.peer[E_ACK] >= s.end and next(again, None) is None


def was_overtaken(s: Segment, end: End) -> bool:
    """Whether newer timestamps had passed beyond a segment of ``end`` only: its receiver had not taken note of them.

    It keeps that of the segment with which it stands, not that of what lies behind a hole (RFC 7323 section 4.3).
    """
    newer = [x for x in end.segments if x.frame < s.frame and x.length and older(s.tsval, x.tsval)]
    heard = end.view.before(s, side=1 - end.side)
    stands = heard.ack if heard and newer and heard.frame > newer[-1].frame else s.seq
    return bool(newer) and all(x.seq > min(stands, s.seq) for x in newer)


def stale(c: View) -> Iterator[Hit]:
    """Data with a timestamp that went backwards, one finding per sender."""
    for end in c.ends:
        old = [
            s
            for s in end.segments
            if s.has(MARK_PAWS) and (s.length or s.fin) and not s.has(MARK_OUT_OF_ORDER, MARK_LOST_BEFORE)
        ]
        # Who has reset the connection answers whatever comes by RST: he has no timestamps any more. And what comes
        # behind its sender's own RST was overtaken by that, the timestamp of which nobody keeps (RFC 7323 4.3).
        reset = next((x.frame for x in c.segments if x.rst), None)
        if reset is not None:
            old = [s for s in old if s.frame < reset]
        if not old:
            continue
        old = [s for s in old if s.has(MARK_RETRANSMISSION) or not was_overtaken(s, end)]
        if not old:
            continue
        new = [s for s in old if not s.has(MARK_RETRANSMISSION)]
        if new and not c[C_FLAGS] & CF_LOG_FULL:
            new = [s for s in new if s.has(MARK_ACK_BEYOND) or not taken(s, end)]  # or older than the connection is
            old = [s for s in old if s in new or s.has(MARK_RETRANSMISSION)]
            if not old:
                continue
        first = (new or old)[0]
        before = (x for x in end.segments if x.frame < first.frame and older(first.tsval, x.tsval))
        seen = next(before, None)
        what = "new data" if new else "data that had been sent before: an old copy that came late"
        yield Hit(
            end.side,
            first,
            f"{end.name} sent {what}, with timestamp {first.tsval} although "
            f"{seen.tsval if seen else end[E_TSVAL]} had been seen "
            f"({times(len(old), c)}); "
            f"{end.peer.name} drops it as an old duplicate (PAWS)",
            [s for s in old if s is not first],
            None if new and not c[C_FLAGS] & CF_LOG_FULL else "low",
        )


def without_ack(c: View) -> Iterator[Hit]:
    """Segments of a connection without the ACK flag, one finding per sender."""
    for end in c.ends:
        bare = [s for s in end.segments if s.has(MARK_ODD_FLAGS) and not s.flags & (TCP_SYN | TCP_RST | TCP_ACK)]
        if bare and end[E_SEGMENTS] > len(bare) and end.peer[E_SEGMENTS]:
            yield Hit(
                end.side,
                bare[0],
                f"{end.name} sent {counted(len(bare), 'segment')} without the ACK flag within a connection: no TCP "
                "sends "
                f"such, so something else did, and {end.peer.name} drops it",
                bare[1:],
            )


def when_odd_inside(key: Key) -> bool:
    """Flags that no TCP sends, where both ends spoke."""
    return bool(key.marks & mask(MARK_ODD_FLAGS)) and key.shows(FACT_BOTH_DIRECTIONS)


def damaged(c: View) -> Iterator[Hit]:
    """Segments with a wrong checksum, one finding per sender."""
    for end in c.ends:
        bad = [s for s in end.segments if s.has(MARK_BAD_CHECKSUM)]
        if not bad or end[E_CHECKSUMS] & SUMS_BELIEVED:  # the peer has taken it: the capture shows it otherwise
            continue
        syns = [s for s in bad if s.flags & TCP_SYN]
        what = " (SYNs)" if len(syns) == len(bad) else f" ({counted(len(syns), 'SYN')} among them)" if syns else ""
        if len(bad) == end[E_SEGMENTS]:
            which = f"{counted(len(bad), 'segment')}{what} of {end.name}, all that it sent, have a wrong checksum"
        else:
            which = f"{len(bad)} of {end[E_SEGMENTS]} segments{what} of {end.name} have a wrong checksum"
            which += ", others a right one" if end[E_CHECKSUMS] & SUMS_GOOD else ", others are left to its network card"
        yield Hit(end.side, bad[0], f"{which}: they were damaged on the way and {end.peer.name} drops them", bad[1:])


ASKED = (
    HANDSHAKE
    + """
            60.00 > .  100:100(0) ack 1
            60.01 < .  1:1(0)     ack 101
            61.00 > .  100:100(0) ack 1
"""
)

UNHEARD = (
    ASKED
    + """
            62.00 > .  100:100(0) ack 1
            63.00 > .  100:100(0) ack 1
"""
)

STAMPED = """
            0.000 > S  0:0(0)             <ts 100/0>
            0.010 < S. 0:0(0)     ack 1   <ts 900/100>
            0.020 > .  1:1(0)     ack 1   <ts 110/900>
            0.030 > P. 1:101(100) ack 1   <ts 120/900>
            0.040 < .  1:1(0)     ack 101 <ts 930/120>
"""

RULES = (
    Rule(
        kind="keepalive",
        category="data",
        severity="info",
        rfc="RFC 9293 3.8.4",
        summary="An endpoint asks whether its peer is still there.",
        evidence="No byte or one, just below what was sent and acknowledged, while the peer's window is open.",
        innocent="Routine where the application asked for it (SO_KEEPALIVE).",
        when=bears(MARK_KEEPALIVE),
        detect=asking,
        aliases={"Wireshark": "tcp.analysis.keep_alive"},
        example=ASKED,
        counterexample=(
            HANDSHAKE
            + """
            0.500 < .  1:1(0)     ack 101 win 0
            60.00 > .  100:100(0) ack 1   # the window is shut: a probe of it
            60.01 < .  1:1(0)     ack 101 win 0
        """,
            HANDSHAKE
            + """
            1.000 > P. 101:102(1) ack 1
            1.150 < .  1:1(0)     ack 102
            1.151 > P. 101:102(1) ack 1   # a byte that an application wrote, sent again
            1.300 < .  1:1(0)     ack 102 <sack 101:102>
        """,
            HANDSHAKE
            + """
            1.000 > P. 101:102(1) ack 1
            1.250 > P. 101:102(1) ack 1   # not acknowledged yet
            1.300 < .  1:1(0)     ack 102
        """,
        ),
    ),
    Rule(
        kind="keepalive_ack",
        category="data",
        severity="info",
        rfc="RFC 9293 3.8.4",
        summary="An endpoint answered a keepalive.",
        evidence="The same ACK with the same open window again, after a keepalive.",
        innocent="Routine.",
        when=bears(MARK_KEEPALIVE_ACK),
        needs=(BOTH_DIRECTIONS,),
        detect=answering,
        aliases={"Wireshark": "tcp.analysis.keep_alive_ack"},
        example=ASKED,
        counterexample=HANDSHAKE
        + """
            60.00 > P. 101:201(100) ack 1
            60.01 < .  1:1(0)       ack 201
        """,
    ),
    Rule(
        kind="keepalive_unanswered",
        category="data",
        severity="medium",
        rfc="RFC 9293 3.8.4",
        summary="The peer does not answer keepalives.",
        evidence=(
            "Two or more keepalives with nothing from the peer since the first of them; low for two just before "
            "the capture ends."
        ),
        innocent="The answers take a way that the capture does not see.",
        when=bears(MARK_KEEPALIVE),
        needs=(BOTH_DIRECTIONS, TO_THE_END),
        fragile=True,
        detect=ignored,
        example=UNHEARD,
        counterexample=ASKED
        + """
            61.01 < .  1:1(0)     ack 101
            62.00 > .  100:100(0) ack 1
        """,
    ),
    Rule(
        kind="keepalive_death",
        category="data",
        severity="high",
        rfc="RFC 9293 3.8.4",
        summary="Keepalives went unanswered until their sender gave the connection up.",
        evidence=(
            "Two or more keepalives with nothing from the peer since the first of them, then an RST from their sender."
        ),
        innocent="The peer's host was switched off or moved; a firewall forgot an idle connection.",
        when=bears(MARK_KEEPALIVE),
        needs=(BOTH_DIRECTIONS, TO_THE_END),
        detect=died,
        example=UNHEARD + "            64.00 > R. 101:101(0) ack 1\n",
        counterexample=UNHEARD + "            63.01 < R  1:1(0)\n",
    ),
    Rule(
        kind="paws_reject_expected",
        category="data",
        severity="medium",
        rfc="RFC 7323 5",
        summary="A segment carries an older timestamp than one before it: its receiver drops it.",
        evidence=(
            "Data or FIN whose TSval is below the highest of its sender so far, and which was not just "
            "overtaken; low for old copies."
        ),
        innocent="A copy that the network held back; hosts behind one NAT address with clocks of their own.",
        when=bears(MARK_PAWS),
        needs=(BOTH_DIRECTIONS,),
        fragile=True,
        detect=stale,
        aliases={"Suricata": "pkt_invalid_timestamp", "Linux": "PAWSEstab"},
        example=STAMPED
        + """
            1.000 > P. 101:201(100) ack 1 <ts 50/930>
        """,
        counterexample=STAMPED
        + """
            1.000 > .  1101:2101(1000) ack 1 <ts 1100/930>
            1.001 > .  101:1101(1000)  ack 1 <ts 1099/930>   # only overtaken
            1.010 < .  1:1(0)          ack 2101 <ts 1900/1099>
        """,
    ),
    Rule(
        kind="segment_without_ack",
        category="data",
        severity="medium",
        rfc="RFC 9293 3.10.7.4",
        summary="A segment without the ACK flag within a connection.",
        evidence="Neither SYN nor RST nor ACK is set, and its sender is in a connection with its peer.",
        innocent="None known; a middlebox or a forger made it.",
        when=when_odd_inside,
        detect=without_ack,
        aliases={"conntrack": "invalid flags"},
        example=HANDSHAKE + "            1.000 > P 101:201(100)\n",
        counterexample=HANDSHAKE
        + """
            1.000 > P. 101:201(100) ack 1
            1.010 < R  1:1(0)
        """,
    ),
    Rule(
        kind="bad_checksum",
        category="data",
        severity="low",
        rfc="RFC 9293 3.1",
        summary="Segments with a wrong checksum reached the capture point.",
        evidence="A wrong TCP checksum from an endpoint that elsewhere in the connection computes right ones, or "
        "leaves them to its card, in a segment that its peer has not acknowledged; or in the SYNs of one that sends "
        "nothing else, gets no answer, and is a router or more away. Judged is what was captured whole and is no "
        "longer than the MSS.",
        innocent="Damage on a link; not the unfinished checksums of a host that leaves them to its network card.",
        when=bears(MARK_BAD_CHECKSUM),
        detect=damaged,
        aliases={"Wireshark": "tcp.checksum_bad", "Zeek": "bad_TCP_checksum"},
        example=HANDSHAKE
        + """
            1.000 > P. 101:201(100) ack 1 bad
            1.210 > P. 101:201(100) ack 1
            1.220 < .  1:1(0)       ack 201
        """,
        counterexample=(
            HANDSHAKE
            + """
            1.000 > P. 101:201(100) ack 1
            1.210 > P. 101:201(100) ack 1
            1.220 < .  1:1(0)       ack 201
            """,
            # Put together by the receiving host's card: the checksum is that of a piece.
            HANDSHAKE
            + """
            1.000 > P. 101:5001(4900) ack 1 bad
            1.010 < .  1:1(0)         ack 5001
            """,
            # Unanswered, and perhaps left to the capturing host's own card.
            """
            0.000 > S  0:0(0) bad
            1.000 > S  0:0(0) bad
            """,
        ),
    ),
)
