"""Rules about how connections open."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from tcptrace_fsm.findings.evidence import MET_OLD
from tcptrace_fsm.findings.needs import BEGINNING, BOTH_DIRECTIONS, TO_THE_END
from tcptrace_fsm.findings.rule import SECOND, Hit, Key, Rule, View, mask, span
from tcptrace_fsm.findings.wording import Detected, Wording
from tcptrace_fsm.kernels.layout import (
    C_FLAGS,
    C_INCARNATION,
    C_TAKEN_BY,
    C_TAKEN_FRAME,
    C_TAKEN_OVER,
    CF_MET_OLD,
    CF_SIMULTANEOUS_OPEN,
    CLIENT,
    DETECT_ISN_CHANGED,
    DETECT_NO_RESPONSE,
    DETECT_REFUSED,
    E_CHECKSUMS,
    E_RSTS,
    E_SEGMENTS,
    E_SYNS,
    GRADE_AGAIN,
    GRADE_BAD_SUMS,
    GRADE_LATE,
    GRADE_UNSURE,
    MARK_SYN_AGAIN,
    OPENING_REFUSED,
    OPENING_SIMULTANEOUS,
    OPENING_UNANSWERED,
    SUMS_BAD,
    SUMS_GOOD,
    SUMS_OFFLOADED,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tcptrace_fsm.findings.rule import Segment

__all__ = ["RULES"]

SYN_TIMER = SECOND  # RFC 6298 2.1: before this has passed, no TCP sends its SYN again
AT_ONCE = SYN_TIMER // 10  # what comes again within this is a copy


def own_syns(c: View) -> list[Segment]:
    """The client's SYNs of this attempt: those before anything else that it sent."""
    first = next((s.frame for s in c.client.segments if not s.syn), None)
    return [s for s in c.client.segments if s.syn and (first is None or s.frame < first)]


def scheduled(syns: list[Segment]) -> list[Segment]:
    """Those of some SYNs that a timer can have sent."""
    return [s for i, s in enumerate(syns) if not i or s.time - syns[i - 1].time >= AT_ONCE]


def gaps(segments: list[Segment]) -> list[int]:
    """The times between segments, ns."""
    return [b.time - a.time for a, b in pairwise(segments)]


def listed(times: Iterable[int]) -> str:
    """Some lengths of time in a row."""
    return ", ".join(span(t) for t in times)


def refused(c: View) -> Iterator[Hit]:
    """An RST answers the SYN."""
    syn = next((s for s in c.segments if s.syn), None)
    rst = next((s for s in c.segments if s.rst and s.side != CLIENT), None)
    if syn and rst:
        message = refusal(c.client.name, c.server.name, c.client[E_SYNS], rst.time - syn.time)
        yield Hit(CLIENT, rst, message, (syn,))


def refusal(client: str, server: str, tries: int, after: int) -> str:
    """In words: an RST, ``after`` ns after the first of so many SYNs."""
    again = f" after {tries} SYNs" if tries > 1 else ""
    return (
        f"{server} refused {client} with RST{again}, {span(after)} after the "
        "SYN: nothing listens on that port, or a firewall rejects"
    )


def word_refused(found: Detected) -> str:
    """The same of what a kernel has detected."""
    return refusal(*found.names(), found.count, found.span)


def no_response(c: View) -> Iterator[Hit]:
    """SYNs and nothing else."""
    syns = [s for s in c.segments if s.syn]
    if not syns or c[C_FLAGS] & CF_MET_OLD:
        return
    waited = c.end - syns[0].time
    if waited < SYN_TIMER:
        return  # not even a repetition is due: the answer may be on its way
    silence = c.end - syns[-1].time
    sums = c.client[E_CHECKSUMS] & (SUMS_GOOD | SUMS_OFFLOADED | SUMS_BAD)
    lasted = syns[-1].time - syns[0].time
    grade = GRADE_AGAIN if lasted >= AT_ONCE else 0
    grade |= GRADE_LATE if waited >= 3 * SECOND else 0
    grade |= GRADE_BAD_SUMS if sums == SUMS_BAD else 0
    names = (c.client.name, c.server.name)
    message = never_answered(names, len(syns), lasted, silence, wrong=bool(grade & GRADE_BAD_SUMS))
    yield Hit(CLIENT, syns[0], message, syns[1:], grade_unanswered(grade))


def grade_unanswered(grade: int) -> str | None:
    """How bad that is, by what ``GRADE_`` bits say.

    A SYN at the end of the capture may yet be answered; and one that nobody repeats, though each system does after a
    second, was given up at once, or the capture lacks what came of it. What comes at once is no repetition but a copy.
    """
    severity: str | None = "low" if grade & (GRADE_AGAIN | GRADE_LATE) else "info"
    if grade & GRADE_AGAIN and grade & GRADE_LATE:
        severity = None
    return severity or "low" if grade & GRADE_BAD_SUMS else severity


def never_answered(names: tuple[str, str], often: int, lasted: int, silence: int, *, wrong: bool) -> str:
    """In words: ``often`` SYNs within ``lasted`` ns, then nothing for ``silence`` ns; ``wrong`` are all checksums."""
    waited = lasted + silence
    tries = f"{often} SYNs in {span(lasted)}" if often > 1 else "1 SYN"
    then = f"then {span(silence)} of silence"
    if often > 1 and silence < SYN_TIMER:
        then = f"no answer in {span(waited)}, up to where the capture ends or the port is used anew"
    client, server = names
    why = "a firewall drops them, the host is down, or the answers take another way"
    if wrong:
        # No network card has them put right, or one does behind this point.
        why = "their checksums are wrong, and who gets them so drops them"
    return f"{server} never answered {client}: {tries}, {then}; {why}"


def word_unanswered(found: Detected) -> str:
    """The same of what a kernel has detected."""
    wrong = bool(found.grade & GRADE_BAD_SUMS)
    return never_answered(found.names(), found.count, found.span, found.more, wrong=wrong)


def syn_repeated(c: View) -> Iterator[Hit]:
    """A SYN again, in a connection whose server did say something."""
    syns = own_syns(c)
    again = [s for s in syns if s.has(MARK_SYN_AGAIN)]
    if not again:
        return
    answer = next((s for s in c.server.segments if s.syn_ack), None)
    passed = answer is not None and any(answer.frame < s.frame for s in again)
    why = (
        "its SYN+ACK had passed here and did not arrive"
        if passed
        else "the SYN or its answer was lost before this point"
    )
    often = "once" if len(again) == 1 else f"{len(again)} times"
    yield Hit(
        CLIENT,
        again[0],
        f"{c.client.name} repeated its SYN to {c.server.name} {often}, after {listed(gaps(syns))}: {why}, "
        f"and the connection opened {span(again[-1].time - syns[0].time)} late",
        (syns[0], *again[1:]),
    )


def retries_exhausted(c: View) -> Iterator[Hit]:
    """SYNs on schedule, then not the next one."""
    syns = scheduled(own_syns(c))
    if len(syns) < 3:
        return
    silence = c.end - syns[-1].time
    due = 2 * gaps(syns)[-1]
    if silence < due + max(due // 4, SYN_TIMER) or c[C_FLAGS] & CF_MET_OLD:
        return  # a quarter more is a timer's own latitude, and coarse ones tick once in half a second
    yield Hit(
        CLIENT,
        syns[-1],
        f"{c.client.name} gave up on {c.server.name} after {len(syns)} SYNs in {span(syns[-1].time - syns[0].time)}: "
        f"the next was due {span(silence - due)} before the end and did not come",
        syns[:-1],
        None if len(syns) >= 5 else "medium",
    )


def backoff(c: View) -> Iterator[Hit]:
    """Waits that become shorter."""
    syns = scheduled(own_syns(c))
    waits = gaps(syns)
    if any(after < 0.75 * before for before, after in pairwise(waits)):
        yield Hit(
            CLIENT,
            syns[-1],
            f"{c.client.name} repeated its SYN to {c.server.name} after {listed(waits)}: the waits should double, or "
            "at "
            "first stay alike; something on the path repeats SYNs of its own, or two senders share this port",
            syns[:-1],
        )


def isn_changed(c: View) -> Iterator[Hit]:
    """The same client, the same ports, no answer yet, another ISN."""
    syns = own_syns(c)
    if not syns or c[C_TAKEN_BY] != CLIENT or c[C_FLAGS] & CF_MET_OLD:
        return
    waited = c[C_TAKEN_OVER] - syns[-1].time
    # It gave up by its own RST, or answers what is not here; or it met a connection of before, which is not here.
    unsure = c.client[E_RSTS] or (c[C_INCARNATION] and not c.server[E_SEGMENTS])
    grade = (GRADE_UNSURE if unsure else 0) | (GRADE_LATE if waited >= 3 * SECOND else 0)
    message = changed(c.client.name, c.server.name, len(syns), waited, c[C_TAKEN_FRAME])
    yield Hit(CLIENT, syns[-1], message, syns[:-1], grade_changed(grade))


def grade_changed(grade: int) -> str | None:
    """How bad that is, by what ``GRADE_`` bits say."""
    return "low" if grade & (GRADE_UNSURE | GRADE_LATE) else None


def changed(client: str, server: str, often: int, waited: int, frame: int) -> str:
    """In words: ``waited`` ns after the last of so many SYNs one with another ISN, in that frame."""
    return (
        f"{client} sent {server} a SYN with another ISN "
        f"(frame {frame}) {span(waited)} after its "
        f"{'unanswered SYN' if often == 1 else f'{often} unanswered SYNs'}: a new attempt from the same port, or "
        "something on the path rewrites sequence numbers"
    )


def word_changed(found: Detected) -> str:
    """The same of what a kernel has detected."""
    return changed(*found.names(), found.count, found.span, found.taken_frame)


def simultaneous(c: View) -> Iterator[Hit]:
    """Both ends sent a SYN without ACK."""
    first = next((s for s in c.client.segments if s.syn), None)
    second = next((s for s in c.server.segments if s.syn), None)
    if first and second:
        yield Hit(
            None,
            second,
            f"{c.client.name} and {c.server.name} opened at the same time: their SYNs crossed "
            f"{span(second.time - first.time)} apart",
            (first,),
        )


def when_refused(key: Key) -> bool:
    """Refused."""
    return key.opening == OPENING_REFUSED


def when_unanswered(key: Key) -> bool:
    """No segment but SYNs from the client."""
    return key.opening == OPENING_UNANSWERED


def when_syn_again(key: Key) -> bool:
    """A SYN was repeated, and something came back."""
    return bool(key.marks & mask(MARK_SYN_AGAIN)) and key.opening != OPENING_UNANSWERED


def when_syns(key: Key) -> bool:
    """A SYN was repeated."""
    return bool(key.marks & mask(MARK_SYN_AGAIN))


def when_retried(key: Key) -> bool:
    """SYNs, and never an answer."""
    return key.opening == OPENING_UNANSWERED and bool(key.marks & mask(MARK_SYN_AGAIN))


def when_abandoned(key: Key) -> bool:
    """An unanswered attempt, and then another."""
    return key.opening == OPENING_UNANSWERED and key.taken_over


def when_simultaneous(key: Key) -> bool:
    """The server sent a SYN of its own."""
    return bool(key.flags & CF_SIMULTANEOUS_OPEN) and key.opening == OPENING_SIMULTANEOUS


RULES = (
    Rule(
        kind="connection_refused",
        category="open",
        severity="low",
        rfc="RFC 9293 3.5.2",
        summary="The server answered the SYN with RST: nobody listens there.",
        evidence="A SYN, then RST+ACK that acknowledges it, and no SYN+ACK.",
        innocent="A firewall that rejects instead of dropping; its TTL often differs from the host's.",
        when=when_refused,
        needs=(BOTH_DIRECTIONS, BEGINNING),
        detect=refused,
        wording=Wording(DETECT_REFUSED, word_refused),
        aliases={"Zeek": "REJ", "Wireshark": "completeness 37"},
        example="""
            0.000 > S  0:0(0)
            0.001 < R. 0:0(0) ack 1
        """,
        counterexample="""
            0.000 > S  0:0(0)
            0.001 < S. 0:0(0) ack 1
            0.002 > .  1:1(0) ack 1
            0.003 < R. 1:1(0) ack 1
        """,
    ),
    Rule(
        kind="syn_no_response",
        category="open",
        severity="medium",
        rfc="RFC 9293 3.8.3",
        summary="The SYN, and its repetitions, never got an answer.",
        evidence="Nothing but SYNs from the client, and nothing from the server, for the second or more after which a "
        "SYN is repeated; info below 3 s with one SYN, low with several.",
        innocent="A capture of one direction only; one that ends before the answer; an answer by another path.",
        when=when_unanswered,
        needs=(BEGINNING, TO_THE_END),
        detect=no_response,
        wording=Wording(DETECT_NO_RESPONSE, word_unanswered, grade_unanswered),
        aliases={"Zeek": "S0", "Wireshark": "completeness 1", "conntrack": "UNREPLIED"},
        example="""
            0.000 > S 0:0(0)
            1.000 > S 0:0(0)
            3.000 > S 0:0(0)
            end 7
        """,
        counterexample=(
            """
            0.000 > S  0:0(0)
            1.000 > S  0:0(0)
            1.001 < S. 0:0(0) ack 1
            1.002 > .  1:1(0) ack 1
            end 7
        """,
            MET_OLD,
        ),
    ),
    Rule(
        kind="simultaneous_open",
        category="open",
        severity="info",
        rfc="RFC 9293 3.5 (MUST-10)",
        summary="Both ends connected to each other at the same time; one connection came of it.",
        evidence="A SYN without ACK from either end, each sent before the other's could have arrived, and both "
        "established.",
        innocent="Rare and legal; peer-to-peer programs do it on purpose to pass NAT.",
        when=when_simultaneous,
        needs=(BOTH_DIRECTIONS, BEGINNING),
        detect=simultaneous,
        aliases={"Zeek": "simultaneous_open", "Suricata": "4whs", "conntrack": "SYN_SENT2"},
        example="""
            0.000 > S  0:0(0)
            0.001 < S  0:0(0)
            0.030 > S. 0:0(0) ack 1
            0.031 < S. 0:0(0) ack 1
            0.060 > .  1:1(0) ack 1
            0.061 < .  1:1(0) ack 1
        """,
        counterexample="""
            0.000 > S  0:0(0)
            0.030 < S. 0:0(0) ack 1
            0.060 > .  1:1(0) ack 1
            0.061 < .  1:1(0) ack 1
        """,
    ),
    Rule(
        kind="syn_retransmission",
        category="open",
        severity="low",
        rfc="RFC 9293 3.8.1, RFC 6298 5",
        summary="The SYN had to be sent more than once before the connection opened.",
        evidence="A SYN with the same ISN again, from a client that has sent nothing else; unanswered ones are "
        "syn_no_response.",
        innocent="The same frame captured twice; a listener with a full backlog, which drops SYNs on purpose.",
        when=when_syn_again,
        needs=(BOTH_DIRECTIONS, BEGINNING),
        detect=syn_repeated,
        aliases={
            "Wireshark": "tcp.analysis.retransmission",
            "tcptrace": "SYN/FIN pkts sent",
            "Zeek": "history S twice",
        },
        example="""
            0.000 > S  0:0(0)
            1.000 > S  0:0(0)
            1.001 < S. 0:0(0) ack 1
            1.002 > .  1:1(0) ack 1
        """,
        counterexample="""
            0.0000 > S  0:0(0) id 7
            0.0001 > S  0:0(0) id 7   # captured twice
            0.0010 < S. 0:0(0) ack 1
            0.0020 > .  1:1(0) ack 1
        """,
    ),
    Rule(
        kind="syn_retry_exhausted",
        category="open",
        severity="high",
        rfc="RFC 9293 3.8.3",
        summary="The client sent all the SYNs that it was willing to send, and gave up.",
        evidence="Three or more SYNs, no answer, and then a silence longer than the next wait on the same schedule; "
        "high from five SYNs on.",
        innocent="An application with a connection time-out of its own; a capture that ends, which the silence rules "
        "out.",
        when=when_retried,
        needs=(BEGINNING, TO_THE_END),
        detect=retries_exhausted,
        aliases={"Linux": "tcp_syn_retries, ETIMEDOUT"},
        example="""
            0.0 > S 0:0(0)
            1.0 > S 0:0(0)
            3.0 > S 0:0(0)
            7.0 > S 0:0(0)
            15.0 > S 0:0(0)
            end 40
        """,
        counterexample="""
            0.0 > S 0:0(0)
            1.0 > S 0:0(0)
            3.0 > S 0:0(0)
            7.0 > S 0:0(0)
            end 16      # the next would come at 15, give or take
        """,
    ),
    Rule(
        kind="syn_backoff_abnormal",
        category="open",
        severity="low",
        rfc="RFC 6298 5.5",
        summary="The SYN was repeated on a schedule that no TCP has.",
        evidence="Three or more SYNs of one ISN, and a wait less than three quarters of the one before it.",
        innocent="A middlebox or SYN proxy that repeats SYNs; longer waits than expected are left out: those SYNs may "
        "be lost.",
        when=when_syns,
        needs=(BEGINNING,),
        detect=backoff,
        example="""
            0.0 > S 0:0(0)
            3.0 > S 0:0(0)
            4.0 > S 0:0(0)
            end 5
        """,
        counterexample="""
            0.0 > S 0:0(0)
            1.0 > S 0:0(0)
            2.0 > S 0:0(0)   # Linux since 6.5: four times after 1 s, then doubled
            4.0 > S 0:0(0)
            end 5
        """,
    ),
    Rule(
        kind="syn_isn_changed",
        category="open",
        severity="medium",
        rfc="RFC 9293 3.4.1",
        summary="A second SYN from the same port had another ISN, although the first was not answered.",
        evidence="A SYN, no answer, then a SYN on the same four-tuple with another ISN; low where 3 s or more lie "
        "between.",
        innocent="An application that gave up and tried again from a bound port; a NAT that gives two clients one "
        "port.",
        when=when_abandoned,
        needs=(BEGINNING,),
        detect=isn_changed,
        wording=Wording(DETECT_ISN_CHANGED, word_changed, grade_changed),
        aliases={"Zeek": "SYN_seq_jump", "Suricata": "3whs_syn_flood", "Wireshark": "tcp.analysis.reused_ports"},
        example="""
            0.00 > S  0:0(0)
            isn 7777 5000
            1.00 > S  0:0(0)
            1.01 < S. 0:0(0) ack 1
            1.02 > .  1:1(0) ack 1
        """,
        counterexample=(
            """
            0.00 > S  0:0(0)
            1.00 > S  0:0(0)
            1.01 < S. 0:0(0) ack 1
            1.02 > .  1:1(0) ack 1
        """,
            MET_OLD,
        ),
    ),
)
