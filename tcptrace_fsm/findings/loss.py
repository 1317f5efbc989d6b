"""Rules about segments that were lost, overtaken or doubled, and about what their senders did about it."""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from tcptrace_fsm.findings.evidence import (
    HANDSHAKE,
    are_overtaken,
    came_twice,
    cuts_options,
    is_reported,
    met_shut_window,
    not_opened,
    not_passed_on,
)
from tcptrace_fsm.findings.lacking import shown_from
from tcptrace_fsm.findings.needs import BOTH_DIRECTIONS
from tcptrace_fsm.findings.rule import Hit, Rule, Segment, View, mask, span
from tcptrace_fsm.findings.wording import Detected, Wording
from tcptrace_fsm.kernels.layout import (
    C_FLAGS,
    C_MARKS,
    CF_LOG_FULL,
    CHECKSUM_BAD,
    DETECT_SPURIOUS,
    DOUBT_LOG_FULL,
    E_ACK,
    E_CHECKSUMS,
    E_DUPLICATE_ACKS,
    E_LAST_TIME,
    E_SACK_HIGH,
    E_SEGMENTS,
    MARK_ACK_UNSEEN,
    MARK_DSACK,
    MARK_FAST,
    MARK_LOST_BEFORE,
    MARK_OUT_OF_ORDER,
    MARK_SPURIOUS,
    MARK_TAIL_LOSS_PROBE,
    MARK_TIMEOUT,
    SUMS_GOOD,
    TCP_SYN,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tcptrace_fsm.findings.rule import End, Key

__all__ = ["RULES", "bears", "chains", "counted", "refused", "times", "unanswered", "waits"]

FEW = 3  # fewer losses than that are the network's daily life


def bears(*marks: int) -> Callable[[Key], bool]:
    """For rules that concern connections with any of these marks."""
    wanted = mask(*marks)
    return lambda key: bool(key.marks & wanted)


def counted(n: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "segment"), counted(2, "segment")
    ('1 segment', '2 segments')
    """
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def times(n: int, c: View) -> str:
    """How often, as a person would say it; "at least" where not all was kept."""
    if n == 1:
        return "once"
    return f"at least {n} times" if c[C_FLAGS] & CF_LOG_FULL else f"{n} times"


def repeats(end: End, *marks: int) -> list[Segment]:
    """What an endpoint sent with any of these marks, payload in it; SYNs are another matter, and what was in them."""
    in_syn = max((s.end for s in end.segments if s.flags & TCP_SYN and s.length), default=0)
    sent = [s for s in end.segments if s.length and not s.flags & TCP_SYN]
    first = next((s for s in sent if 0 <= s.seq < in_syn), None)
    return [s for s in sent if s.has(*marks) and s is not first]


def graded(n: int) -> str | None:
    """A loss or two are reported, but not at the rule's full severity."""
    return "low" if n < FEW else None


def refused(end: End, chain: list[Segment]) -> bool:
    """Whether the copies of the same bytes, up to the last, drew ACKs of what comes before: they arrived in vain.

    Pure ACKs are counted, not kept; so this is told where none of the peer's may have had another reason.
    """
    peer = end.peer
    answered = peer[E_DUPLICATE_ACKS] >= len(chain) and peer[E_LAST_TIME] >= chain[-1].time
    others = repeats(end, MARK_FAST, MARK_TIMEOUT, MARK_LOST_BEFORE)
    alone = peer[E_SACK_HIGH] <= chain[0].end and all(s.seq == chain[0].seq for s in others)
    return len(chain) > 1 and answered and alone and unanswered(end, chain)


def timeouts(c: View) -> Iterator[Hit]:
    """Retransmissions after the retransmission timer ran out, one finding per sender."""
    for end in c.ends:
        again = repeats(end, MARK_TIMEOUT)
        if not again:
            continue
        chain = max(chains(end), key=len)
        row = (
            f", {len(chain)} times in a row for the same byte over {span(chain[-1].time - chain[0].time)}"
            if len(chain) > 1
            else ""
        )
        why = f"segments to {end.peer.name} or their ACKs were lost and nothing else showed it"
        if all(refused(end, group) for group in chains(end)):
            why = f"{end.peer.name} answers each copy by an ACK of what comes before, so they arrive and are not taken"
        elif 2 * sum(met_shut_window(s, c) for s in again) > len(again):
            why = f"{end.peer.name} had shut its window, and drops what it has no room for"
        elif late := not_opened(end, again):
            why = f"{end.peer.name} had not opened the connection, and sent its SYN+ACK again (frame {late.frame})"
        elif told := not_passed_on(end, again):
            why = f"{told.sender} said that it had not passed them on ({told.name}, frame {told.frame})"
        needless = all(is_reported(end, s) for s in again) and len(again) <= came_twice(end)
        if needless:
            why = f"{end.peer.name} had it already, and says so (D-SACK): only its ACK was late"
        yield Hit(
            end.side,
            again[0],
            f"{end.name} repeated data {times(len(again), c)} because its retransmission timer ran out{row}: {why}",
            again[1:],
            "low" if needless else None,
        )


def fast(c: View) -> Iterator[Hit]:
    """Retransmissions that duplicate ACKs asked for, one finding per sender."""
    for end in c.ends:
        again = repeats(end, MARK_FAST)
        if again:
            yield Hit(
                end.side,
                again[0],
                f"{end.name} repeated data {times(len(again), c)} after duplicate ACKs from {end.peer.name} "
                f"({end.peer[E_DUPLICATE_ACKS]} of them, {end[E_SEGMENTS]} segments sent): segments were lost or "
                "overtaken on the way",
                again[1:],
            )


def tail_loss_probes(c: View) -> Iterator[Hit]:
    """The last segment again before any timeout, one finding per sender."""
    for end in c.ends:
        again = repeats(end, MARK_TAIL_LOSS_PROBE)
        if again:
            yield Hit(
                end.side,
                again[0],
                f"{end.name} sent its last segment again {times(len(again), c)} as a tail-loss probe: the ACK from "
                f"{end.peer.name} was later than two round trips",
                again[1:],
            )


def spurious(c: View) -> Iterator[Hit]:
    """Data sent again although they had arrived, one finding per sender."""
    for end in c.ends:
        again = repeats(end, MARK_SPURIOUS)
        if not again:
            continue
        dsacks = [s for s in end.peer.segments if s.has(MARK_DSACK) and s.time >= again[0].time]
        names, more = (end.name, end.peer.name), bool(c[C_FLAGS] & CF_LOG_FULL)
        message = repeated_for_nothing(names, len(again), len(dsacks), more=more)
        # In a capture out of order an ACK may stand before what it acknowledges.
        yield Hit(end.side, again[0], message, [*again[1:], *dsacks], graded(min(len(again), len(dsacks))))


def repeated_for_nothing(names: tuple[str, str], often: int, dsacks: int, *, more: bool) -> str:
    """In words: an endpoint sent data again ``often`` times or more, and its peer reported ``dsacks`` duplicates."""
    name, peer = names
    count = "once" if often == 1 else f"{'at least ' if more else ''}{often} times"
    proof = (
        f"{peer} reported duplicates (D-SACK)"
        if dsacks
        else "the ACK may have been lost between here and there, as nobody reported a duplicate"
    )
    return f"{name} repeated data {count} whose ACK from {peer} had already passed here: {proof}"


def word_spurious(found: Detected) -> str:
    """The same of what a kernel has detected."""
    more = bool(found.doubt & DOUBT_LOG_FULL)
    return repeated_for_nothing(found.names(found.side), found.count, found.more, more=more)


def out_of_order(c: View) -> Iterator[Hit]:
    """Segments overtaken by later ones, one finding per sender."""
    for end in c.ends:
        late = [s for s in end.segments if s.has(MARK_OUT_OF_ORDER)]
        if late:
            yield Hit(
                end.side,
                late[0],
                f"segments of {end.name} were overtaken by later ones {times(len(late), c)} in {end[E_SEGMENTS]} "
                "segments: the way "
                f"to this capture has several paths or queues",
                late[1:],
            )


def lost_before(c: View) -> Iterator[Hit]:
    """Holes that a retransmission filled, one finding per sender."""
    for end in c.ends:
        shown = shown_from(end)
        again = [s for s in repeats(end, MARK_LOST_BEFORE) if s.seq >= shown]
        if again:
            twice = came_twice(end)
            overtaken = are_overtaken(again, twice)
            yield Hit(
                end.side,
                again[0],
                f"segments of {end.name} were lost between it and the capture point {times(len(again), c)}: later "
                "ones passed here first, the missing ones came only when sent again"
                + (f", or were overtaken like {twice} more that came twice" if overtaken else ""),
                again[1:],
                # Where frames are missing here that arrived, those may have passed here too.
                "low" if overtaken or c[C_MARKS] & mask(MARK_ACK_UNSEEN) else graded(len(again)),
            )


def lost_after(c: View) -> Iterator[Hit]:
    """Segments that passed here and were needed again, one finding per sender."""
    for end in c.ends:
        taken = {s.frame for chain in chains(end) if refused(end, chain) or not_opened(end, chain) for s in chain}
        again = [
            s
            for s in repeats(end, MARK_FAST, MARK_TIMEOUT)
            if not s.has(MARK_SPURIOUS, MARK_LOST_BEFORE) and s.frame not in taken and not met_shut_window(s, c)
        ]
        if all(s.checksum == CHECKSUM_BAD for s in again) and end[E_CHECKSUMS] & SUMS_GOOD:
            continue  # damaged when they came here
        dsacks = sum(s.has(MARK_DSACK) for s in end.peer.segments)
        lost = len(again) - dsacks  # a duplicate that was reported had not been lost
        if lost <= 0 or c.one_sided:
            continue
        twice = came_twice(end)
        overtaken = are_overtaken(again, twice)
        yield Hit(
            end.side,
            again[0],
            f"segments of {end.name} had passed here and were needed again {times(lost, c)}: they, or the ACKs of "
            "them, were "
            f"lost between the capture point and {end.peer.name}"
            + (f", or overtaken there like {twice} more that came twice" if overtaken else ""),
            again[1:],
            "low" if overtaken or (cuts_options(c) and are_overtaken(again, len(again))) else graded(lost),
        )


def chains(end: End) -> list[list[Segment]]:
    """Timeout retransmissions of the same first byte in a row."""
    return [list(group) for _, group in groupby(repeats(end, MARK_TIMEOUT), key=lambda s: s.seq)]


def waits(chain: list[Segment]) -> list[int]:
    """The times between the members of a chain, ns."""
    return [b.time - a.time for a, b in pairwise(chain)]


def unanswered(end: End, chain: list[Segment]) -> bool:
    """Whether what the chain repeats was never acknowledged."""
    return end.peer[E_ACK] <= chain[0].seq


FAST = (
    HANDSHAKE
    + """
            0.100 > .  101:1101(1000)  ack 1
            0.101 > .  1101:2101(1000) ack 1
            0.102 > .  2101:3101(1000) ack 1
            0.103 > .  3101:4101(1000) ack 1
            0.110 < .  1:1(0)          ack 101
            0.111 < .  1:1(0)          ack 101
            0.112 < .  1:1(0)          ack 101
            0.113 > .  101:1101(1000)  ack 1
            0.130 < .  1:1(0)          ack 4101
"""
)

ONE_TIMEOUT = (
    HANDSHAKE
    + """
            1.000 > P. 101:201(100) ack 1
            1.230 > P. 101:201(100) ack 1
            1.240 < .  1:1(0)       ack 201
"""
)

REFUSED = (
    HANDSHAKE
    + """
            1.000 > P. 101:201(100) ack 1
            1.010 < .  1:1(0)       ack 101   # arrived, and not taken
            1.300 > P. 101:201(100) ack 1
            1.310 < .  1:1(0)       ack 101
            1.900 > P. 101:201(100) ack 1
            1.910 < .  1:1(0)       ack 101
            3.100 > P. 101:201(100) ack 1
            3.110 < .  1:1(0)       ack 101
"""
)

RULES = (
    Rule(
        kind="rto_retransmission",
        category="data",
        severity="medium",
        rfc="RFC 6298 5",
        summary="Data were sent again because the retransmission timer ran out.",
        evidence=(
            "The oldest unacknowledged bytes again, 200 ms or more after they or the last ACK, without duplicate ACKs."
        ),
        innocent="A receiver that delays its ACKs; ACKs lost on their way back.",
        when=bears(MARK_TIMEOUT),
        needs=(BOTH_DIRECTIONS,),
        detect=timeouts,
        aliases={"Wireshark": "tcp.analysis.retransmission", "tcptrace": "rexmt data pkts"},
        example=ONE_TIMEOUT,
        counterexample=(
            FAST,
            "".join(f"            {n}.0 > . 101:102(1) ack 1\n" for n in range(10)),
        ),
    ),
    Rule(
        kind="fast_retransmission",
        category="data",
        severity="low",
        rfc="RFC 5681 3.2",
        summary="Data were sent again because duplicate ACKs showed a hole.",
        evidence="The oldest unacknowledged bytes again, after duplicate ACKs for them.",
        innocent=(
            "Reordering deep enough to look like loss; duplicate ACKs that the capture missed make it look like "
            "a timeout."
        ),
        when=bears(MARK_FAST),
        needs=(BOTH_DIRECTIONS,),
        detect=fast,
        aliases={"Wireshark": "tcp.analysis.fast_retransmission", "tcptrace": "rexmt data pkts, triple dupacks"},
        example=FAST,
        counterexample=(
            ONE_TIMEOUT,
            HANDSHAKE
            + """
            0.100 > .  101:1101(1000)  ack 1
            0.101 > .  1101:2101(1000) ack 1
            0.102 > .  2101:3101(1000) ack 1
            0.103 > .  3101:4101(1000) ack 1
            0.110 < .  1:1(0)          ack 101
            0.111 < .  1:1(0)          ack 101
            0.112 < .  1:1(0)          ack 101
            0.700 > .  101:1101(1000)  ack 1   # a timer: those were long ago
            1.900 > .  101:1101(1000)  ack 1
            4.300 > .  101:1101(1000)  ack 1
            4.310 < .  1:1(0)          ack 4101
        """,
        ),
    ),
    Rule(
        kind="tlp_probe",
        category="data",
        severity="info",
        rfc="RFC 8985 7",
        summary="The last segment was sent again to provoke an ACK, before any timeout.",
        evidence="The end of what was sent again, sooner than a retransmission timeout and without duplicate ACKs.",
        innocent="Routine on paths whose round trip varies; a sender whose timeout is shorter than 200 ms.",
        when=bears(MARK_TAIL_LOSS_PROBE),
        needs=(BOTH_DIRECTIONS,),
        detect=tail_loss_probes,
        aliases={"Wireshark": "tcp.analysis.retransmission"},
        example=HANDSHAKE
        + """
            1.000 > P. 101:201(100) ack 1
            1.030 > P. 101:201(100) ack 1
            1.040 < .  1:1(0)       ack 201
        """,
        counterexample=(
            ONE_TIMEOUT,
            """
            0.000 > S  0:300(300)        # lost, and with it its data
            1.020 > S  0:0(0)
            1.070 < S. 0:0(0)     ack 1
            1.071 > P. 1:301(300) ack 1
            1.121 < .  1:1(0)     ack 301
        """,
        ),
    ),
    Rule(
        kind="spurious_retransmission",
        category="data",
        severity="medium",
        rfc="RFC 2883 4",
        summary="Data were sent again although they had arrived.",
        evidence="Bytes again whose ACK had passed the capture point; proved where the receiver reports the duplicate.",
        innocent="The ACK was lost behind the capture point: then the sender did right.",
        when=bears(MARK_SPURIOUS),
        needs=(BOTH_DIRECTIONS,),
        detect=spurious,
        wording=Wording(DETECT_SPURIOUS, word_spurious, graded),
        aliases={"Wireshark": "tcp.analysis.spurious_retransmission", "Suricata": "pkt_spurious_retransmission"},
        example=HANDSHAKE
        + """
            0.260 > P. 1:101(100) ack 1
            0.270 < .  1:1(0)     ack 101 <sack 1:101>
        """,
        counterexample=ONE_TIMEOUT,
    ),
    Rule(
        kind="out_of_order",
        category="data",
        severity="low",
        rfc="RFC 4737 3",
        summary="Segments were overtaken by later ones.",
        evidence=(
            "Bytes that were missing here come within a round trip, or with an older timestamp than those that "
            "passed before."
        ),
        innocent="A capture fed by several queues or interfaces reorders what the wire did not.",
        when=bears(MARK_OUT_OF_ORDER),
        detect=out_of_order,
        aliases={"Wireshark": "tcp.analysis.out_of_order", "tcptrace": "outoforder pkts", "argus": "out of order"},
        example=HANDSHAKE
        + """
            1.000 > .  1101:2101(1000) ack 1 id 302
            1.001 > .  101:1101(1000)  ack 1 id 301
            1.010 < .  1:1(0)          ack 2101
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > .  1101:2101(1000) ack 1
            1.210 > .  101:1101(1000)  ack 1
            1.220 < .  1:1(0)          ack 2101
        """,
    ),
    Rule(
        kind="lost_before_v",
        category="data",
        severity="medium",
        rfc="RFC 9293 3.8",
        summary="Segments were lost on the way from their sender to the capture point.",
        evidence="Bytes that were passed over come only later than a round trip after, with a newer timestamp.",
        innocent="Reordering by more than a round trip; a capture that missed the first copy.",
        when=bears(MARK_LOST_BEFORE),
        detect=lost_before,
        aliases={"Wireshark": "tcp.analysis.lost_segment, then out_of_order or retransmission"},
        example=HANDSHAKE
        + """
            1.000 > .  1101:2101(1000) ack 1
            1.210 > .  101:1101(1000)  ack 1
            1.220 < .  1:1(0)          ack 2101
        """,
        counterexample=(
            ONE_TIMEOUT,
            HANDSHAKE
            + """
            1.0000 > P. 101:201(100) ack 1   id 102
            1.1001 < .  1:1(0)       ack 302
            1.1002 > P. 201:301(100) ack 1   id 103   # acknowledged before they pass: sent before, too
            1.1003 > F. 301:301(0)   ack 1   id 104
        """,
        ),
    ),
    Rule(
        kind="lost_after_v",
        category="data",
        severity="medium",
        rfc="RFC 9293 3.8",
        summary="Segments that had passed the capture point did not arrive, or their ACKs did not come back to it.",
        evidence="Bytes seen here are sent again after a timeout or duplicate ACKs, and no ACK of them had passed.",
        innocent="A receiver that took them and delayed its ACK beyond the sender's timeout.",
        when=bears(MARK_FAST, MARK_TIMEOUT),
        needs=(BOTH_DIRECTIONS,),
        detect=lost_after,
        aliases={"Wireshark": "tcp.analysis.retransmission"},
        example=ONE_TIMEOUT,
        counterexample=(
            HANDSHAKE
            + """
            1.000 > .  1101:2101(1000) ack 1
            1.210 > .  101:1101(1000)  ack 1
            1.220 < .  1:1(0)          ack 2101
        """,
            REFUSED,
        ),
    ),
)
