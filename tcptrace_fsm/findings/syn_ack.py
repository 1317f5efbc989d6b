"""Rules about the answer to a SYN: SYN+ACKs that do not fit, or that come again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.handshake import first_plain, first_syn, is_plain, syn_acks, when_again
from tcptrace_fsm.findings.needs import BEGINNING, BOTH_DIRECTIONS
from tcptrace_fsm.findings.rule import SECOND, Hit, Key, Rule, View, mask, span
from tcptrace_fsm.findings.third_segment import when_failed, when_misfit
from tcptrace_fsm.findings.wording import Detected, Wording
from tcptrace_fsm.kernels.layout import (
    BOTH_ELSEWHERE,
    C_PATH,
    C_TAKEN_OVER,
    CHECKSUM_BAD,
    CLIENT,
    DETECT_UNSOLICITED,
    E_CHECKSUMS,
    GRADE_AGAIN,
    GRADE_RESET,
    MARK_BASE_CHANGED,
    MARK_SYN_ACK_AGAIN,
    SERVER,
    SUMS_GOOD,
)
from tcptrace_fsm.text.counts import off_by

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcptrace_fsm.findings.rule import Segment


__all__ = ["RULES"]


def of_this(c: View) -> list[Segment]:
    """The server's SYN+ACKs, less those that come when both have closed.

    These answer the SYN of the next connection on the ports, which the capture lacks. Damaged ones are none of it.
    """
    fins = [next((s.frame for s in end.segments if s.fin), None) for end in c.ends]
    # Where the clocks of two capture points differ, what one of them saw first may come last.
    closed = max(f for f in fins if f is not None) if None not in fins and not c[C_PATH] else None
    whole = c.server[E_CHECKSUMS] & SUMS_GOOD  # else all of its checksums are wrong, and say nothing
    return [
        s
        for s in syn_acks(c.server)
        if (closed is None or s.frame < closed) and not (whole and s.checksum == CHECKSUM_BAD)
    ]


def bad_ack(c: View) -> Iterator[Hit]:
    """A SYN+ACK that acknowledges what the SYN was not."""
    syn = first_syn(c)
    if syn is None:
        return
    bad = [s for s in of_this(c) if s.frame > syn.frame and not 1 <= s.ack <= 1 + syn.length]
    if bad:
        rst = next((s for s in c.client.segments if s.rst and s.frame > bad[0].frame), None)
        then = f"; {c.client.name} answered with RST" if rst else ""
        yield Hit(
            SERVER,
            bad[0],
            f"the SYN+ACK of {c.server.name} acknowledges {off_by(bad[0].ack - 1, least=not bad[0].ack)} the SYN of "
            f"{c.client.name} asks for{then}: it answers an older SYN, or somebody else sent it",
            (syn, *bad[1:], *((rst,) if rst else ())),
        )


def repeated(c: View) -> Iterator[Hit]:
    """The SYN+ACK again."""
    answers = syn_acks(c.server)
    again = [s for s in answers[1:] if s.has(MARK_SYN_ACK_AGAIN)]  # in a simultaneous open the SYN came first
    if not again:
        return
    first = answers[0]
    ack = first_plain(c.client)
    seen = ack is not None and ack.frame < again[-1].frame
    why = "although the ACK of it had passed here" if seen else "and no ACK of it had been seen"
    yield Hit(
        SERVER,
        again[0],
        f"{c.server.name} repeated its SYN+ACK to {c.client.name} "
        f"{'once' if len(again) == 1 else f'{len(again)} times'}, "
        f"the last time {span(again[-1].time - first.time)} after the first, {why}",
        (first, *again[1:]),
    )


def isn_changed(c: View) -> Iterator[Hit]:
    """SYN+ACKs of one SYN with different ISNs."""
    answers = of_this(c)
    if not answers or answers[0].seq:
        return  # the first belongs to something that was not captured
    other = [s for s in answers if s.seq and s.has(MARK_BASE_CHANGED) and s.ack == answers[0].ack]
    if other:
        waited = other[0].time - answers[0].time
        asked = sum(s.syn and s.frame < other[0].frame for s in c.client.segments)
        each = asked >= len({s.seq for s in answers})  # who keeps no state of a SYN answers each copy anew
        yield Hit(
            SERVER,
            other[0],
            f"{c.server.name} answered {f'{asked} equal SYNs' if each else 'one SYN'} of {c.client.name} with "
            f"{len({s.seq for s in answers})} different ISNs, the second {span(waited)} after the first: several hosts "
            f"or a SYN proxy behind one address{', or SYN cookies' if each else ', or a forged answer'}",
            (answers[0], *other[1:]),
            "medium" if each or waited >= SECOND // 5 else None,  # by another host, or with the next cookie
        )


def ack_changed(c: View) -> Iterator[Hit]:
    """SYN+ACKs of one SYN with different ACKs."""
    answers = [s for s in of_this(c) if not s.seq]
    if any(s.length for s in c.client.segments if s.syn):
        return  # data in the SYN may be acknowledged or not
    other = [s for s in answers if s.ack != answers[0].ack]
    if other:
        yield Hit(
            SERVER,
            other[0],
            f"{c.server.name} repeated its SYN+ACK to {c.client.name} with another ACK, "
            f"{off_by(other[0].ack - answers[0].ack, least=not other[0].ack)} the first one's, "
            f"{span(other[0].time - answers[0].time)} after it: one of the two does not belong to this SYN",
            (answers[0], *other[1:]),
        )


def flood(c: View) -> Iterator[Hit]:
    """Many different SYN+ACKs, and none that the client had gone on with: those behind are of connections to come."""
    plain = next((s.frame for s in c.client.segments if is_plain(s)), None)
    answers = [s for s in syn_acks(c.server) if plain is None or s.frame < plain]
    different = {(s.seq, s.ack) for s in answers}
    if len(different) > 5:
        yield Hit(
            SERVER,
            answers[0],
            f"{c.client.name} was sent {len(different)} different SYN+ACKs from {c.server.name} within "
            f"{span(answers[-1].time - answers[0].time)}: somebody guesses, or many hosts answer for one",
            answers[1:],
        )


def unsolicited(c: View) -> Iterator[Hit]:
    """A SYN+ACK to an endpoint that sent no SYN."""
    answers = syn_acks(c.server)
    if not answers or c.segments[0] is not answers[0] or any(s.syn for s in c.segments):
        return
    if any(is_plain(s) for s in c.segments) or 0 <= c[C_TAKEN_OVER] - answers[0].time < SECOND:
        return
    rst = next((s for s in c.client.segments if s.rst), None)
    if rst is None and c.end - answers[-1].time < SECOND:
        return
    names, after = (c.client.name, c.server.name), rst.time - answers[0].time if rst else None
    message = not_asked_for(*names, len(answers), after)
    grade = (GRADE_RESET if rst else 0) | (GRADE_AGAIN if len(answers) > 1 else 0)
    yield Hit(SERVER, answers[0], message, (*answers[1:], *((rst,) if rst else ())), grade_unsolicited(grade))


def grade_unsolicited(grade: int) -> str | None:
    """How bad that is, by what ``GRADE_`` bits say.

    Who only looks whether a port is open resets the answer too, and its SYN may be missing here.
    """
    return None if grade & GRADE_RESET and grade & GRADE_AGAIN else "low"


def not_asked_for(client: str, server: str, often: int, after: int | None) -> str:
    """In words: so many SYN+ACKs, and an RST ``after`` ns, or none."""
    then = "did not react" if after is None else f"answered with RST after {span(after)}"
    return (
        f"{server} sent {often} SYN+ACK to {client}, which had sent no SYN and {then}: backscatter of an attack with "
        "forged addresses, a stray answer, or a SYN that took another way"
    )


def word_unsolicited(found: Detected) -> str:
    """The same of what a kernel has detected."""
    return not_asked_for(*found.names(), found.count, found.span if found.more else None)


def wrong_direction(c: View) -> Iterator[Hit]:
    """The endpoint that sent the SYN sends a SYN+ACK too."""
    own = syn_acks(c.client)
    syn = first_syn(c)
    if own and syn and not any(s.syn for s in c.server.segments):
        yield Hit(
            CLIENT,
            own[0],
            f"{c.client.name} sent a SYN+ACK to {c.server.name} {span(own[0].time - syn.time)} after its own SYN, and "
            "no SYN had "
            "come from there: a forged or misdirected segment",
            (syn, *own[1:]),
            # Whoever goes on with the number that it acknowledges has sent a SYN, which the capture lacks.
            "low" if any(0 <= s.seq - own[0].ack < BOTH_ELSEWHERE and not s.rst for s in c.server.segments) else None,
        )


def when_changed(key: Key) -> bool:
    """A SYN+ACK with other numbers."""
    return bool(key.marks & mask(MARK_BASE_CHANGED))


def when_many(key: Key) -> bool:
    """Several SYN+ACKs."""
    return when_changed(key) or when_again(key)


def when_wrong_way(key: Key) -> bool:
    """A SYN and a SYN+ACK from one endpoint."""
    return when_again(key) or when_failed(key)


RULES = (
    Rule(
        kind="synack_bad_ack",
        category="open",
        severity="high",
        rfc="RFC 9293 3.10.7.3",
        summary="A SYN+ACK does not acknowledge the SYN.",
        evidence="A SYN+ACK after the SYN whose ACK is neither ISN+1 nor within the SYN's data.",
        innocent="The answer to an old duplicate of a SYN; the client then resets it, as RFC 9293 figure 9 shows.",
        when=when_misfit,
        needs=(BOTH_DIRECTIONS, BEGINNING),
        fragile=True,
        detect=bad_ack,
        aliases={"Zeek": "bad_SYN_ack", "Suricata": "3whs_synack_with_wrong_ack"},
        example="""
            0.00 > S  0:0(0)
            0.01 < S. 0:0(0) ack 5000
            0.02 > R  5000:5000(0)
        """,
        counterexample="""
            0.00 > S  0:100(100) <tfo>
            0.01 < S. 0:0(0)     ack 101
            0.02 > .  101:101(0) ack 1
        """,
    ),
    Rule(
        kind="synack_retransmission",
        category="open",
        severity="low",
        rfc="RFC 9293 3.8.1",
        summary="The server had to send its SYN+ACK more than once.",
        evidence="The same SYN+ACK again.",
        innocent="The same frame captured twice; a server that waits for data (TCP_DEFER_ACCEPT).",
        when=when_again,
        needs=(BOTH_DIRECTIONS, BEGINNING),
        detect=repeated,
        aliases={"Wireshark": "tcp.analysis.retransmission", "Suricata": "est_synack_resend"},
        example="""
            0.00 > S  0:0(0)
            0.01 < S. 0:0(0) ack 1
            1.01 < S. 0:0(0) ack 1
            1.02 > .  1:1(0) ack 1
        """,
        counterexample="""
            0.0000 > S  0:0(0)
            0.0100 < S. 0:0(0) ack 1 id 7
            0.0101 < S. 0:0(0) ack 1 id 7   # captured twice
            0.0200 > .  1:1(0) ack 1
        """,
    ),
    Rule(
        kind="synack_isn_changed",
        category="open",
        severity="high",
        rfc="RFC 9293 3.4.1",
        summary="One SYN was answered by SYN+ACKs with different ISNs.",
        evidence="A second SYN+ACK with the same ACK and another sequence number; medium where it comes 200 ms or "
        "more later.",
        innocent="SYN cookies over a change of the time slot; anycast or a load balancer that sends a SYN to two "
        "hosts.",
        when=when_changed,
        needs=(BEGINNING,),
        detect=isn_changed,
        aliases={"Suricata": "3whs_synack_resend_with_diff_seq", "Zeek": "SYN_seq_jump"},
        example="""
            0.00 > S  0:0(0)
            0.01 < S. 0:0(0) ack 1
            isn 1000 9999
            0.02 < S. 0:0(0) ack 1
            isn 1000 5000
            0.03 > .  1:1(0) ack 1
        """,
        counterexample="""
            0.00 > S  0:0(0)
            0.01 < S. 0:0(0) ack 1
            1.01 < S. 0:0(0) ack 1
            1.03 > .  1:1(0) ack 1
        """,
    ),
    Rule(
        kind="synack_ack_changed",
        category="open",
        severity="high",
        rfc="RFC 9293 3.10.7.3",
        summary="A repeated SYN+ACK acknowledges something else than the first.",
        evidence="The same sequence number and another ACK, and no data in the SYN.",
        innocent="Two SYNs with different ISNs, one of which was not captured.",
        when=when_again,
        needs=(BEGINNING,),
        detect=ack_changed,
        aliases={"Suricata": "3whs_synack_resend_with_different_ack"},
        example="""
            0.00 > S  0:0(0)
            0.01 < S. 0:0(0) ack 1
            0.02 < S. 0:0(0) ack 301
            0.03 > .  1:1(0) ack 1
        """,
        counterexample="""
            0.00 > S  0:0(0)
            0.01 < S. 0:0(0) ack 1
            1.02 < S. 0:0(0) ack 1
            1.03 > .  1:1(0) ack 1
        """,
    ),
    Rule(
        kind="synack_flood",
        category="open",
        severity="medium",
        rfc="RFC 9293 3.10.7.3",
        summary="A client was sent many different SYN+ACKs.",
        evidence="More than five SYN+ACKs that differ in sequence number or ACK.",
        innocent="An anycast address or a load balancer that sends a SYN to all its hosts.",
        when=when_many,
        needs=(BOTH_DIRECTIONS,),
        detect=flood,
        aliases={"Suricata": "3whs_synack_flood"},
        example="""
            0.00 > S  0:0(0)
            0.01 < S. 0:0(0)   ack 1
            0.02 < S. 0:0(0)   ack 2
            0.03 < S. 0:0(0)   ack 3
            0.04 < S. 0:0(0)   ack 4
            0.05 < S. 0:0(0)   ack 5
            0.06 < S. 0:0(0)   ack 6
        """,
        counterexample=(
            """
            0.00 > S  0:0(0)
            0.01 < S. 0:0(0)   ack 1
            1.02 < S. 0:0(0)   ack 1
            3.03 < S. 0:0(0)   ack 1
            7.04 < S. 0:0(0)   ack 1
            15.0 < S. 0:0(0)   ack 1
            31.0 < S. 0:0(0)   ack 1
        """,
            "\n".join(f"isn 1000 {1000 * i}\n{2 * i}.0 < S. 0:0(0) ack 1" for i in range(1, 9)),  # the answers alone
        ),
    ),
    Rule(
        kind="unsolicited_synack",
        category="open",
        severity="medium",
        rfc="RFC 9293 3.5.1",
        summary="A SYN+ACK came to an endpoint that had sent no SYN.",
        evidence="A SYN+ACK without a SYN, answered by RST or by nothing, and nothing else from the server.",
        innocent="A capture that began between SYN and SYN+ACK, of one direction only, or that misses the SYN.",
        when=when_failed,
        detect=unsolicited,
        wording=Wording(DETECT_UNSOLICITED, word_unsolicited, grade_unsolicited),
        aliases={"Zeek": "unsolicited_SYN_response, connection_originator_SYN_ack"},
        example="""
            0.00 < S. 0:0(0) ack 1
            0.01 > R  1:1(0)
        """,
        counterexample="""
            0.00 < S. 0:0(0) ack 1
            0.01 > .  1:1(0) ack 1
            0.02 > P. 1:101(100) ack 1
        """,
    ),
    Rule(
        kind="synack_in_wrong_direction",
        category="open",
        severity="medium",
        rfc="RFC 9293 3.5",
        summary="The endpoint that opened sends a SYN+ACK although nobody opened to it.",
        evidence="SYN and SYN+ACK from one endpoint, and no SYN from the other.",
        innocent="A simultaneous open whose other SYN was not captured.",
        when=when_wrong_way,
        needs=(BOTH_DIRECTIONS,),
        detect=wrong_direction,
        aliases={"Suricata": "3whs_synack_in_wrong_direction", "conntrack": "invalid", "Zeek": "repeated_SYN_with_ack"},
        example="""
            0.00 > S  0:0(0)
            0.01 > S. 0:0(0) ack 1
            0.02 < S. 0:0(0) ack 1
            0.03 > .  1:1(0) ack 1
        """,
        counterexample="""
            0.000 > S  0:0(0)
            0.001 < S  0:0(0)
            0.030 > S. 0:0(0) ack 1
            0.031 < S. 0:0(0) ack 1
            0.060 > .  1:1(0) ack 1
            0.061 < .  1:1(0) ack 1
        """,
    ),
)
