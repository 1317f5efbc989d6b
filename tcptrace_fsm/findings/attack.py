"""Rules about attacks on one connection: blind resets and SYNs, probes for challenge ACKs, early ACKs, evasion."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from tcptrace_fsm.findings.evidence import HANDSHAKE, older
from tcptrace_fsm.findings.needs import BOTH_DIRECTIONS, BOTH_SYNS
from tcptrace_fsm.findings.rule import SECOND, Hit, Key, Rule, Segment, View, mask, span
from tcptrace_fsm.kernels.layout import (
    C_MARKS,
    MARK_ACK_UNSEEN,
    MARK_BAD_CHECKSUM,
    MARK_CAPTURE_DUPLICATE,
    MARK_LOST_BEFORE,
    MARK_OUT_OF_ORDER,
    MARK_PAWS,
    MARK_RST_INEXACT,
    MARK_RST_OUTSIDE,
    MARK_STRAY_SYN,
    MILLISECOND,
    OPT_TIMESTAMPS,
)
from tcptrace_fsm.text.counts import count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["RULES"]


def steps(numbers: Sequence[int]) -> list[int]:
    """The distances between numbers in a row."""
    return [b - a for a, b in pairwise(numbers)]


def rst_sweep(c: View) -> Iterator[Hit]:
    """RSTs that try one sequence number after another."""
    for end in c.ends:
        guesses = [s for s in end.segments if s.rst and s.has(MARK_RST_OUTSIDE, MARK_RST_INEXACT)]
        distances = steps([s.seq for s in guesses])
        even = [d for d in distances if abs(d) >= 256 and abs(d - distances[0]) <= abs(distances[0]) // 8]
        if len(guesses) >= 3 and len(even) == len(distances):
            yield Hit(
                end.side,
                guesses[0],
                f"{count(len(guesses), 'RST')} in the name of {end.name} tried sequence numbers "
                f"{abs(distances[0]):,} apart "
                "within "
                f"{span(guesses[-1].time - guesses[0].time)}: somebody who cannot see the connection tries to reset it",
                guesses[1:],
            )


def syn_sweep(c: View) -> Iterator[Hit]:
    """SYNs with one ISN after another into a live connection."""
    for end in c.ends:
        strays = [s for s in end.segments if s.syn and s.has(MARK_STRAY_SYN)]
        if len(strays) >= 3:
            lasted = strays[-1].time - strays[0].time
            yield Hit(
                end.side,
                strays[0],
                f"{len(strays)} SYNs with different ISNs in the name of {end.name} fell into its connection with "
                f"{end.peer.name} within {span(lasted)}: somebody tries to reset or to take it over",
                strays[1:],
                None if lasted <= len(strays) * SECOND else "medium",
            )


def busiest_second(segments: list[Segment]) -> int:
    """The most of them within a second."""
    most = start = 0
    for i, s in enumerate(segments):
        while s.time - segments[start].time >= SECOND:
            start += 1
        most = max(most, i - start + 1)
    return most


def challenge_probe(c: View) -> Iterator[Hit]:
    """As many as it takes to use up the challenge ACKs of a second."""
    for end in c.ends:
        probes = [s for s in end.segments if s.has(MARK_RST_INEXACT, MARK_STRAY_SYN)]
        most = busiest_second(probes)
        if most >= 100:
            yield Hit(
                end.side,
                probes[0],
                f"{count(most, 'RST')} or SYNs within a second in the name of {end.name}, each of which makes "
                f"{end.peer.name} "
                "send a "
                "challenge ACK: somebody counts those to find out about the connection (CVE-2016-5696)",
                probes[1:100],
            )


def optimistic(c: View) -> Iterator[Hit]:
    """ACKs of data that pass only afterwards."""
    if not in_order(c):
        return
    for end in c.ends:
        early: list[tuple[Segment, Segment]] = []
        for ack in end.segments:
            if ack.has(MARK_ACK_UNSEEN):
                data = next(
                    (
                        s
                        for s in end.peer.segments
                        if s.frame > ack.frame and s.has(MARK_OUT_OF_ORDER, MARK_LOST_BEFORE) and s.seq < ack.ack
                    ),
                    None,
                )
                # It had had something that was sent as late: the data's direction is stamped late.
                stamped = data and data.options & ack.options & OPT_TIMESTAMPS
                echoed = data and stamped and not older(ack.tsecr, data.tsval)
                if data and not echoed and data.time - ack.time >= 2 * MILLISECOND:
                    early.append((ack, data))
        if len(early) >= 3 and not c[C_MARKS] >> MARK_CAPTURE_DUPLICATE & 1:  # copies may bear another clock's stamps
            ahead = max(data.time - ack.time for ack, data in early)
            yield Hit(
                end.side,
                early[0][0],
                f"{end.name} acknowledged data of {end.peer.name} before they had passed here, {len(early)} times and "
                "up to "
                f"{span(ahead)} ahead: it makes the sender go faster than the path allows",
                (*(ack for ack, _ in early[1:]), *(data for _, data in early)),
                # Only timestamps prove that it had not got them: without, one direction may be stamped late.
                None if all(ack.options & data.options & OPT_TIMESTAMPS for ack, data in early) else "low",
            )


def in_order(c: View) -> bool:
    """Whether the handshake stands in the order in which it was sent: else one direction is stamped late."""
    syn = next((s for s in c.client.segments if s.syn), None)
    answer = next((s for s in c.server.segments if s.syn_ack), None)
    third = next((s for s in c.client.segments if not s.syn), None)
    return bool(syn and answer and third and syn.frame < answer.frame < third.frame)


def desync(c: View) -> Iterator[Hit]:
    """A segment that cannot be accepted, and at once the real one in its place."""
    for end in c.ends:
        own = end.segments
        for fake in own:
            if not fake.has(MARK_BAD_CHECKSUM, MARK_PAWS) or not (fake.length or fake.fin):
                continue
            real = next(
                (
                    s
                    for s in own
                    if s.frame > fake.frame
                    and s.seq == fake.seq
                    and (s.length or s.fin)
                    and not s.has(MARK_BAD_CHECKSUM, MARK_PAWS)
                ),
                None,
            )
            if (
                real
                and 0 <= real.time - fake.time < 10 * MILLISECOND
                and (real.length, real.fin) != (fake.length, fake.fin)
            ):
                why = "a wrong checksum" if fake.has(MARK_BAD_CHECKSUM) else "an outdated timestamp"
                yield Hit(
                    end.side,
                    fake,
                    f"{end.name} sent {'a FIN' if fake.fin else count(fake.length, 'byte')} with {why} and "
                    f"{span(real.time - fake.time)} "
                    f"later other {'data' if real.length else 'numbers'} in the same place: {end.peer.name} drops the "
                    "first, a filter "
                    "that does not check takes it",
                    (real,),
                )
                break


def when_guessed(key: Key) -> bool:
    """An RST that is not exact."""
    return bool(key.marks & mask(MARK_RST_OUTSIDE, MARK_RST_INEXACT))


def when_stray(key: Key) -> bool:
    """A SYN that came to nothing."""
    return bool(key.marks & mask(MARK_STRAY_SYN))


def when_challenged(key: Key) -> bool:
    """Either."""
    return bool(key.marks & mask(MARK_RST_INEXACT, MARK_STRAY_SYN))


def when_early(key: Key) -> bool:
    """An ACK of what was not seen, and holes that were filled."""
    return bool(key.marks & mask(MARK_ACK_UNSEEN)) and bool(key.marks & mask(MARK_OUT_OF_ORDER, MARK_LOST_BEFORE))


def when_unacceptable(key: Key) -> bool:
    """A segment that its receiver has to drop."""
    return bool(key.marks & mask(MARK_BAD_CHECKSUM, MARK_PAWS))


RULES = (
    Rule(
        kind="blind_rst_sweep",
        category="scan",
        severity="high",
        rfc="RFC 5961 3.2",
        summary="RSTs with one sequence number after another are thrown at a connection.",
        evidence="Three or more RSTs that are not exact, at even distances of 256 or more.",
        innocent="A middlebox that sends several RSTs ahead of the sender, to hit a window that moves.",
        when=when_guessed,
        detect=rst_sweep,
        example=HANDSHAKE
        + """
            1.000 < R  100001:100001(0)
            1.001 < R  165001:165001(0)
            1.002 < R  230001:230001(0)
            1.003 < R  295001:295001(0)
            2.000 > P. 101:201(100) ack 1
            2.010 < .  1:1(0)       ack 201
        """,
        counterexample=HANDSHAKE
        + """
            1.000 < R  100001:100001(0)
            1.001 < R  100001:100001(0)
            1.002 < R  100001:100001(0)
            2.000 > P. 101:201(100) ack 1
            2.010 < .  1:1(0)       ack 201
        """,
    ),
    Rule(
        kind="blind_syn_sweep",
        category="scan",
        severity="high",
        rfc="RFC 5961 4.2",
        summary="SYNs with one ISN after another are thrown at a live connection.",
        evidence="Three or more SYNs with different ISNs in a connection that goes on; medium where they come more "
        "slowly than one a second.",
        innocent="A NAT that gives a live connection's port to other hosts.",
        when=when_stray,
        needs=(BOTH_DIRECTIONS,),
        fragile=True,
        detect=syn_sweep,
        example=HANDSHAKE
        + """
            isn 100000 5000
            1.000 > S  0:0(0)
            isn 200000 5000
            1.010 > S  0:0(0)
            isn 300000 5000
            1.020 > S  0:0(0)
            isn 1000 5000
            2.000 > P. 101:201(100) ack 1
            2.010 < .  1:1(0)       ack 201
        """,
        counterexample=HANDSHAKE
        + """
            isn 100000 5000
            1.000 > S  0:0(0)
            isn 1000 5000
            2.000 > P. 101:201(100) ack 1
            2.010 < .  1:1(0)       ack 201
        """,
    ),
    Rule(
        kind="challenge_ack_probe",
        category="scan",
        severity="high",
        rfc="RFC 5961 7",
        summary="Somebody draws challenge ACKs by the hundred, to learn from their number.",
        evidence="A hundred or more RSTs within the window but not exact, or SYNs, in one second of one connection.",
        innocent="None known; a broken host that repeats an RST without end.",
        when=when_challenged,
        needs=(BOTH_DIRECTIONS,),
        detect=challenge_probe,
        aliases={"CVE": "CVE-2016-5696"},
        example=HANDSHAKE
        + "\n".join(f"1.{i:03d} < R 1001:1001(0)" for i in range(100))
        + "\n2.000 > P. 101:201(100) ack 1\n2.010 < . 1:1(0) ack 201",
        counterexample=HANDSHAKE
        + "\n".join(f"{1 + i}.000 < R 1001:1001(0)" for i in range(100))
        + "\n200.0 > P. 101:201(100) ack 1\n200.1 < . 1:1(0) ack 201",
    ),
    Rule(
        kind="optimistic_ack",
        category="scan",
        severity="high",
        rfc="RFC 5681 3.1, 5",
        summary="A receiver acknowledges data that it cannot have yet, so that the sender goes faster.",
        evidence="Three or more ACKs of data that pass the capture point 2 ms or more later; low without timestamps.",
        innocent="A capture that delays one direction: two interfaces with clocks or queues of their own.",
        when=when_early,
        needs=(BOTH_DIRECTIONS, BOTH_SYNS),
        detect=optimistic,
        example=HANDSHAKE
        + """
            1.000 < .  1:1(0)         ack 1101
            1.010 > .  101:1101(1000)  ack 1
            1.100 < .  1:1(0)         ack 2101
            1.110 > .  1101:2101(1000) ack 1
            1.200 < .  1:1(0)         ack 3101
            1.210 > .  2101:3101(1000) ack 1
        """,
        counterexample=(
            HANDSHAKE
            + """
            1.000 > .  101:1101(1000)  ack 1
            1.010 < .  1:1(0)         ack 1101
            1.100 > .  1101:2101(1000) ack 1
            1.110 < .  1:1(0)         ack 2101
            1.200 > .  2101:3101(1000) ack 1
            1.210 < .  1:1(0)         ack 3101
        """,
            """
            0.000 < S. 0:0(0)         ack 1     # the client's direction is stamped 10 ms late
            0.005 > S  0:0(0)
            0.006 < .  1:1(0)         ack 1
            0.010 > .  1:1(0)         ack 1
            1.000 < .  1:1(0)         ack 1001
            1.010 > .  1:1001(1000)   ack 1
            1.100 < .  1:1(0)         ack 2001
            1.110 > .  1001:2001(1000) ack 1
            1.200 < .  1:1(0)         ack 3001
            1.210 > .  2001:3001(1000) ack 1
        """,
        ),
    ),
    Rule(
        kind="tcb_desync_evasion",
        category="scan",
        severity="high",
        rfc="RFC 9293 3.1, RFC 7323 5.3",
        summary="A segment that its receiver must drop stands in the place of the real one, to mislead a filter.",
        evidence="Data or a FIN with a bad checksum or an old timestamp, and within 10 ms something else with the "
        "same sequence number.",
        innocent="Corruption on the way, repaired by a segment of another length.",
        when=when_unacceptable,
        detect=desync,
        aliases={"Suricata": "est_pkt_before_last_ack and evasion events"},
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0)   ack 1 bad
            1.001 > P. 101:201(100) ack 1
            1.010 < .  1:1(0)       ack 201
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > P. 101:201(100) ack 1 bad
            1.300 > P. 101:201(100) ack 1
            1.310 < .  1:1(0)       ack 201
        """,
    ),
)
