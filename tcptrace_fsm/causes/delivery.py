"""Causes of data that never arrives, or is not taken: sizes, numbers, checksums, and paths that carry nothing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tcptrace_fsm.causes.attempts import broken_syns, sums_elsewhere, syns_of
from tcptrace_fsm.causes.case import host_text
from tcptrace_fsm.causes.cause import INCOMPLETE, Cause, Verdict
from tcptrace_fsm.causes.stall import PATIENCE, REPEATED, acked_beyond, damaged, stalls
from tcptrace_fsm.findings.evidence import HANDSHAKE, older
from tcptrace_fsm.findings.needs import doubtful
from tcptrace_fsm.findings.rule import mask, span
from tcptrace_fsm.kernels.layout import (
    BASE_SYN,
    C_MARKS,
    C_OPENING,
    C_TAKEN_FRAME,
    C_TAKEN_OVER,
    E_ACK,
    E_BASE_KNOWN,
    E_DUPLICATE_ACKS,
    E_LAST_TIME,
    E_NEXT,
    E_OUTSIDE_FRAME,
    E_RETRANSMITTED,
    E_SACKS_OUTSIDE,
    MARK_ACK_UNSEEN,
    MARK_BAD_CHECKSUM,
    MARK_OUT_OF_WINDOW,
    MARK_PAWS,
    OPENING_INCOMPLETE,
    OPENING_UNANSWERED,
    SUMS_GOOD,
)

if TYPE_CHECKING:
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World

__all__ = ["CAUSES", "two_beginnings"]


def rejected(case: Case, world: World) -> Verdict | None:  # noqa: ARG001
    """Segments arrive again and again, and are not taken; what a capture lacks may be the ACK of them."""
    found = refused(case)
    if found is None:
        return too_old(case) or far_off(case)
    if found.confidence == "proved" or not doubtful(case.view):
        return found
    return found._replace(weight=30, confidence="possible", severity="low", against=(*found.against, INCOMPLETE))


def refused(case: Case) -> Verdict | None:
    """Each repetition arrives, for it is answered at once by an old ACK, and is not taken."""
    for stall in stalls(case):
        if not stall.answered or not stall.alive or stall.sacked or damaged(stall) or stall.peer[E_SACKS_OUTSIDE]:
            continue
        old = [s for s in stall.copies if s.has(MARK_PAWS)]
        evidence = [
            (
                f"{stall.end.name} sent byte {stall.head:,} and what follows {len(stall.copies)} times in "
                f"{span(stall.lasted)} ({case.frames(*stall.copies)})"
            ),
            (
                f"{stall.peer.name} sent {stall.peer[E_DUPLICATE_ACKS]} ACKs of byte {stall.head:,} and no more: "
                "the segments arrived and were not taken"
            ),
        ]
        why = "refused by its TCP"
        if old:
            seen = [s.tsval for s in stall.end.segments if s.frame < old[0].frame and s.tsval >= 0]
            before = next((t for t in seen if not any(older(t, x) for x in seen)), -1)
            evidence.append(
                f"their timestamps begin at {old[0].tsval:,}, older than the {before:,} that had been seen before: "
                "dropped as old duplicates (PAWS, RFC 7323 5.3)"
            )
            why = "dropped as old duplicates, since their timestamps jumped"
        return Verdict(
            92 if old else 70,
            "proved" if old else "likely",
            tuple(evidence),
            f"{stall.peer.name} gets every copy of {stall.size:,} bytes from {stall.end.name} and takes none "
            f"({len(stall.copies)} in {span(stall.lasted)}): {why}",
            against=("lost segments would draw no ACK",),
            alternatives=() if old else ("numbers_rewritten", "path_loss"),
            at=stall.copies[0],
        )
    return None


def too_old(case: Case) -> Verdict | None:
    """Segments come again and again with timestamps older than before: their receiver drops them (RFC 7323 5.3).

    It answers each by an ACK that has not moved. What its own segments are answered with it drops as well, so that it
    repeats them too.
    """
    for end in case.view.ends:
        peer = end.peer
        old = [s for s in end.segments if s.length and s.has(MARK_PAWS) and s.seq >= max(peer[E_ACK], 1)]
        copies = [s for s in old if s.seq == old[0].seq]
        heard = [s.tsval for s in end.segments if s.frame < old[0].frame and s.tsval >= 0] if old else []
        if len(copies) < 3 or not heard:
            continue
        lasted = copies[-1].time - copies[0].time
        # One that has gone answers nothing; one that takes them acknowledges them.
        if lasted < PATIENCE or peer[E_LAST_TIME] <= copies[-1].time - lasted // 2:
            continue
        newest = next(t for t in heard if not any(older(t, x) for x in heard))
        return Verdict(
            90,
            "likely",
            (
                (
                    f"{end.name} sent byte {copies[0].seq:,} and what follows {len(copies)} times in {span(lasted)} "
                    f"({case.frames(*copies)}), with timestamps from {old[0].tsval:,} on, older than the {newest:,} "
                    "that had been seen before"
                ),
                (
                    f"{peer.name} goes on to send, and its ACK stays at byte {max(peer[E_ACK], 1):,}: old duplicates, "
                    "to its TCP (PAWS, RFC 7323 5.3)"
                ),
            ),
            f"{peer.name} takes nothing from {end.name} any more ({len(copies)} copies in {span(lasted)}): dropped as "
            "old duplicates, since their timestamps jumped",
            against=("a path that loses segments changes no timestamps",),
            alternatives=("path_dead",),
            at=copies[0],
        )
    return None


def far_off(case: Case) -> Verdict | None:
    """Segments come again and again with numbers outside of all that their receiver takes."""
    for end in case.view.ends:
        peer = end.peer
        far = [s for s in end.segments if s.length and s.has(MARK_OUT_OF_WINDOW)]
        copies = [s for s in end.segments if far and s.length and s.seq == far[0].seq]
        if len(copies) < 3 or peer[E_DUPLICATE_ACKS] < len(copies) - 2 or peer[E_ACK] > far[0].seq:
            continue
        if case.view.lost or case[C_MARKS] & mask(MARK_ACK_UNSEEN):
            continue  # the capture lacks segments: the ACKs that took them may be among those
        beyond = far[0].seq - max(peer[E_ACK], 1)
        lasted = copies[-1].time - copies[0].time
        return Verdict(
            82,
            "likely",
            (
                (
                    f"{end.name} sent {far[0].length:,} bytes {len(copies)} times in {span(lasted)}, numbered "
                    f"{beyond:,} beyond what {peer.name} had acknowledged ({case.frames(*copies)})"
                ),
                (
                    f"{peer.name} sent {peer[E_DUPLICATE_ACKS]} ACKs of byte {max(peer[E_ACK], 1):,} and no more: the "
                    "segments arrived and were not taken"
                ),
            ),
            f"{peer.name} gets every copy of {far[0].length:,} bytes from {end.name} and takes none ({len(copies)} in "
            f"{span(lasted)}): their numbers lie {beyond:,} beyond what it expects",
            against=("lost segments would draw no ACK", "a hole in the capture is never wider than the window"),
            alternatives=("numbers_rewritten",),
            at=far[0],
        )
    return None


def broken_answers(case: Case) -> Verdict | None:
    """SYN+ACKs with wrong checksums, while the client goes on asking."""
    answers = [s for s in case.server.segments if s.syn_ack]
    bad = [s for s in answers if s.has(MARK_BAD_CHECKSUM)]
    again = [s for s in case.client.segments if s.syn and bad and s.frame > bad[0].frame]
    if len(bad) < 2 or len(bad) < len(answers) or not again:
        return None
    return Verdict(
        90,
        "likely",
        (
            f"{len(bad)} SYN+ACKs of {case.server.name} have wrong checksums ({case.frames(*bad)})",
            (
                f"{case.client.name} repeated its SYN {len(again)} times all the same ({case.frames(*again)}): a "
                "receiver drops what is damaged without a word"
            ),
        ),
        f"the SYN+ACKs of {case.server.name} are damaged before they arrive: {len(bad)} with wrong checksums, and the "
        "connection does not open",
        against=("a SYN+ACK that is lost on the way would not be in a capture at its receiver",),
        at=bad[0],
    )


def syns_without_answer(case: Case, world: World) -> Verdict | None:
    """SYNs with wrong checksums that nobody answers, of a host whose other segments are right."""
    syns = syns_of(case)
    if len(syns) < 2 or not broken_syns(case, world) or not sums_elsewhere(case, world) & SUMS_GOOD:
        return None
    return Verdict(
        85,
        "likely",
        (
            f"{len(syns)} SYNs of {case.client.name} have wrong checksums ({case.frames(*syns)})",
            (
                f"what {host_text(case.client_host)} sends on other connections is right: no network card computes "
                "checksums behind this point"
            ),
        ),
        f"the SYNs of {case.client.name} are damaged before they arrive: {len(syns)} with wrong checksums, and "
        f"{case.server.name} answers none",
        at=syns[0],
    )


def broken(case: Case, world: World) -> Verdict | None:
    """What arrives is damaged: wrong checksums, never acknowledged."""
    if case[C_OPENING] == OPENING_UNANSWERED:
        return syns_without_answer(case, world)
    if case[C_OPENING] == OPENING_INCOMPLETE:
        return broken_answers(case) if case.has("bad_checksum") else None
    for stall in stalls(case):
        bad = damaged(stall)
        if len(bad) < 2 or 2 * len(bad) < len(stall.copies) or stall.answered:
            continue
        return Verdict(
            90,
            "likely",
            (
                (
                    f"{len(bad)} of {len(stall.copies)} copies of {stall.size:,} bytes of {stall.end.name} have wrong "
                    f"checksums ({case.frames(*bad)})"
                ),
                (
                    f"{stall.peer.name} acknowledged none of them in {span(stall.lasted)}: a receiver drops what is "
                    "damaged without a word"
                ),
            ),
            f"segments of {stall.end.name} are damaged before they arrive: {len(bad)} with wrong checksums in "
            f"{span(stall.lasted)}, none acknowledged",
            against=("segments lost on the way would not be in a capture at their receiver",),
            alternatives=(),
            at=bad[0],
        )
    return mended(case)


def mended(case: Case) -> Verdict | None:
    """Segments arrived with wrong checksums, and were sent again."""
    if not case.has("bad_checksum"):
        return None
    for end in case.view.ends:
        segments = [s for s in end.segments if s.length and not s.rst]
        bad = [s for s in segments if s.has(MARK_BAD_CHECKSUM)]
        again = [s for s in bad if end.peer[E_ACK] >= s.end]
        times = Counter(s.seq for s in segments)
        if len(again) < 2 or 2 * len(again) < len(bad) or len(bad) == len(segments):
            continue
        if not any(times[s.seq] > 1 for s in bad):
            continue  # not one repetition: a checksum that the sender's card fills in later
        return Verdict(
            75,
            "likely",
            (
                f"{len(bad)} segments of {end.name} have wrong checksums ({case.frames(*bad)})",
                (
                    f"{end.peer.name} drops such segments without a word; {len(again)} of them got through when they "
                    "were sent again"
                ),
            ),
            f"segments of {end.name} are damaged before they arrive: {len(bad)} with wrong checksums, {len(again)} of "
            "them sent again",
            against=("segments lost on the way would not be in a capture at their receiver",),
            alternatives=(),
            at=bad[0],
        )
    return None


def rewritten(case: Case, world: World) -> Verdict | None:  # noqa: ARG001
    """SACK blocks that lie outside of all that was sent."""
    for end in case.view.ends:
        outside = end[E_SACKS_OUTSIDE]
        if not outside or not case.both_directions or end.peer[E_BASE_KNOWN] != BASE_SYN or end.peer[E_NEXT] <= 1:
            continue  # where its numbers begin was not seen, or it has said nothing
        again, frame = end.peer[E_RETRANSMITTED], end[E_OUTSIDE_FRAME]
        if case[C_TAKEN_OVER] >= 0 and case[C_TAKEN_FRAME] < frame:
            continue  # of the SYN of a new connection, which is told to have come twice (RFC 2883)
        seen = f"for bytes that {end.peer.name} cannot have sent (first in {case.frames(frame)})"
        return Verdict(
            90,
            "likely",
            (
                f"{outside} ACKs of {end.name} carry SACK blocks {seen}",
                f"{end.peer.name} sent {again} segments again: it cannot use these blocks and waits for its timer",
            ),
            f"a box on the path shifts the sequence numbers between {end.peer.name} and {end.name} and forgets the "
            f"SACK blocks: {outside} ACKs name bytes that were never sent",
            against=("a receiver acknowledges only what it has got",),
            severity="medium" if again else "low",
        )
    return two_beginnings(case) or other_lengths(case)


def other_lengths(case: Case) -> Verdict | None:
    """A box has made a message longer on its way, and does not count back in the ACKs."""
    for end, found in ((end, acked_beyond(end)) for end in case.view.ends):
        if found is None:
            continue
        return Verdict(
            86,
            "possible",
            (
                f"{end.name} acknowledged {found.excess} bytes that nobody had sent ({case.frames(found.ack)})",
                (
                    f"{end.peer.name} repeated {len(found.again)} segments below, and sent none beyond "
                    f"({case.frames(*found.again)}): it takes no such ACK, nor what comes with it (RFC 9293 3.10.7.4)"
                ),
            ),
            f"a box on the path makes messages of {end.peer.name} {found.excess} bytes longer and does not correct the "
            "numbers that follow: neither end can use what the other sends",
            against=("a receiver acknowledges only what it has got",),
            alternatives=("path_dead", "capture_incomplete"),
            at=found.ack,
        )
    return None


def two_beginnings(case: Case) -> Verdict | None:
    """With two capture points: the server's numbers begin elsewhere at one of them than at the other."""
    if not case.two_points or not case.has("synack_isn_changed"):
        return None
    answers = [s for s in case.server.segments if s.syn_ack and s.ack == 1]
    other = next((s for s in answers if s.seq != answers[0].seq), None)
    if other is None or case.at_one_point(answers[0], other):
        return None  # the same point shows both: the server has begun anew
    again = max(end[E_RETRANSMITTED] for end in case.view.ends)
    return Verdict(
        93,
        "likely",
        (
            (
                f"the SYN+ACK of {case.server.name} has another sequence number at one capture point than at the "
                f"other, {abs(other.seq - answers[0].seq):,} apart ({case.frames(answers[0], other)})"
            ),
            f"its segments cannot be found again by their numbers on the other side; {again} were sent again",
        ),
        f"a box between the capture points shifts the sequence numbers of {case.server.name} by "
        f"{abs(other.seq - answers[0].seq):,}",
        against=("one end counts from one number only",),
        alternatives=("nat_not_undone",),
        severity="medium" if again else "low",
        at=answers[0],
    )


CAUSES = (
    Cause(
        name="segments_rejected",
        family="data",
        where="path",
        severity="high",
        summary="Segments arrive and the receiver's TCP does not take them: old timestamps (PAWS), numbers that it "
        "does not expect, a checksum or signature that it refuses.",
        predicts=("every repetition is answered at once by an ACK that has not moved",),
        forbids=("silence", "an ACK that moves on", "SACK blocks for what lies behind"),
        look_alikes={
            "path_loss": "a lost segment draws no ACK",
            "path_dead": "nothing comes back",
            "mtu_black_hole": "large segments draw no ACK at all",
            "damaged_in_path": "a damaged segment draws no ACK",
            "peer_vanished": "nothing comes back",
        },
        explains=REPEATED
        | frozenset(
            {
                "paws_reject_expected",
                "retransmission_timeout_abort",
                "spurious_retransmission",
            }
        ),
        next_step="on the receiver: nstat -az TcpExtPAWSEstab TcpExtTCPACKSkippedPAWS; look for a box between that "
        "rewrites timestamps, or for two hosts behind one address; capture on both sides of it",
        weigh=rejected,
        group="pair",
        example="""
            0.000 > S  0:0(0)         <ts 100/0>
            0.010 < S. 0:0(0)         ack 1    <ts 500/100>
            0.020 > .  1:1(0)         ack 1    <ts 110/500>
            0.030 > P. 1:101(100)     ack 1    <ts 120/500>
            0.040 < .  1:1(0)         ack 101  <ts 540/120>
            3.000 > P. 101:201(100)   ack 1    <ts 3000000100/540>
            3.010 < .  1:1(0)         ack 101  <ts 3500/120>
            3.300 > P. 101:201(100)   ack 1    <ts 3000000400/540>
            3.310 < .  1:1(0)         ack 101  <ts 3800/120>
            3.900 > P. 101:201(100)   ack 1    <ts 3000001000/540>
            3.910 < .  1:1(0)         ack 101  <ts 4400/120>
            5.100 > P. 101:201(100)   ack 1    <ts 3000002200/540>
            5.110 < .  1:1(0)         ack 101  <ts 5600/120>
        """,
        look_alike=HANDSHAKE
        + """
            0.040 < .  1:1(0)         ack 101
            3.000 > P. 101:201(100)   ack 1
            3.300 > P. 101:201(100)   ack 1
            3.900 > P. 101:201(100)   ack 1
            5.100 > P. 101:201(100)   ack 1
            9.100 > P. 101:201(100)   ack 1
            end 20
        """,
    ),
    Cause(
        name="damaged_in_path",
        family="data",
        where="path",
        severity="high",
        summary="Something on the path changes bytes without mending the checksum: the segments arrive and the "
        "receiver drops them without a word.",
        predicts=("the same segment arrives again and again with a wrong checksum, and is never acknowledged",),
        forbids=("an ACK for a damaged segment", "right checksums in all copies"),
        look_alikes={
            "mtu_black_hole": "large segments do not arrive at all",
            "path_loss": "what arrives is right",
            "path_dead": "nothing arrives",
            "peer_vanished": "nothing comes back from the peer, damaged or not",
            "handshake_lost_in_path": "the SYN+ACKs that pass are right",
            "syn_filtered": "the SYNs are right",
            "host_unreachable": "the SYNs are right",
        },
        explains=REPEATED
        | frozenset(
            {
                "bad_checksum",
                "syn_no_response",
                "syn_retry_exhausted",
                "stuck_close_wait",
                "stuck_fin_wait_2",
            }
        ),
        next_step="capture on the other side of the box next to this point (modem, VPN gateway, NIC with offload); "
        "ethtool -K DEV rx off tx off on a gateway that forwards; replace the link",
        weigh=broken,
        group="pair",
        example=HANDSHAKE
        + """
            0.035 < .  1:1(0)         ack 101
            0.040 < .  1:1461(1460)   ack 101  bad
            0.300 < .  1:1461(1460)   ack 101  bad
            0.900 < .  1:1461(1460)   ack 101  bad
            2.100 < .  1:1461(1460)   ack 101  bad
            4.500 < .  1:1461(1460)   ack 101  bad
            12.00 > F. 101:101(0)     ack 1
            12.01 < .  1461:1461(0)   ack 102
        """,
        look_alike=HANDSHAKE
        + """
            0.035 < .  1:1(0)         ack 101
            0.040 < .  1:1461(1460)   ack 101  bad
            0.300 < .  1:1461(1460)   ack 101
            0.310 > .  101:101(0)     ack 1461
        """,
    ),
    Cause(
        name="numbers_rewritten",
        family="data",
        where="path",
        severity="medium",
        summary="A firewall or load balancer shifts the sequence numbers of a direction and does not shift them back "
        "in the SACK blocks: the sender cannot use them, and each loss costs a timeout. Or it "
        "changes what is said, and with that its length, and not the numbers behind.",
        predicts=("SACK blocks, or ACKs, lie outside of all that was sent, by the same amount each time",),
        forbids=("SACK blocks that fit",),
        look_alikes={
            "segments_rejected": "the SACK blocks fit, or there are none",
            "path_loss": "SACK blocks fit",
            "mtu_black_hole": "SACK blocks fit",
            "capture_incomplete": "the missing numbers are missing at one capture point only",
        },
        explains=REPEATED | {"synack_isn_changed"},
        next_step="switch off the randomising of sequence numbers in the firewall, or its rewriting of SACK; compare "
        "with a capture on its other side",
        weigh=rewritten,
        group="pair",
        example=HANDSHAKE
        + """
            0.035 < .  1:1(0)         ack 101
            0.040 < .  1:1461(1460)   ack 101
            0.041 < .  1461:2921(1460) ack 101
            0.051 > .  101:101(0)     ack 1    <sack 1200001461:1200002921>
            0.300 < .  1:1461(1460)   ack 101
            0.310 > .  101:101(0)     ack 2921
        """,
        look_alike=HANDSHAKE
        + """
            0.035 < .  1:1(0)         ack 101
            0.040 < .  1:1461(1460)   ack 101
            0.041 < .  1461:2921(1460) ack 101
            0.051 > .  101:101(0)     ack 1    <sack 1461:2921>
            0.300 < .  1:1461(1460)   ack 101
            0.310 > .  101:101(0)     ack 2921
        """,
    ),
)
