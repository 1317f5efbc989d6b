"""Causes of data that never arrives, or is not taken: sizes, numbers, checksums, and paths that carry nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.causes.cause import Cause, Verdict
from tcptrace_fsm.causes.stall import PATIENCE, REPEATED, Stall, damaged, stalls
from tcptrace_fsm.findings.evidence import HANDSHAKE, older
from tcptrace_fsm.findings.rule import span
from tcptrace_fsm.kernels.layout import (
    E_ACK,
    E_DUPLICATE_ACKS,
    E_HOLE,
    E_HOLES,
    E_LAST_TIME,
    E_LONGEST,
    E_MSS,
    E_NEXT,
    E_OUTSIDE_FRAME,
    E_RETRANSMITTED,
    E_SACK_HIGH,
    E_SACKS_OUTSIDE,
    MARK_GAP,
    MARK_PAWS,
)

if TYPE_CHECKING:
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World
    from tcptrace_fsm.findings.rule import End

__all__ = ["CAUSES"]

LARGE = 512  # bytes; no path of today refuses segments of this size and less (RFC 879's 536, RFC 8200's 1280)


def quoted_mtu(case: Case, end: End) -> tuple[int, int] | None:
    """The smallest MTU that an ICMP error named for what ``end`` sent, with its frame."""
    errors = [e for e in case.view.icmp if e.side == end.side and e.mtu]
    return min(((e.mtu or 0, e.frame) for e in errors), default=None)


def too_big(case: Case, world: World) -> Verdict | None:  # noqa: ARG001
    """Large segments are repeated in vain while smaller ones and ACKs come through."""
    for stall in stalls(case):
        delivered = stall.head - 1
        small = stall.sacked or _talks_on(stall)
        if stall.size < LARGE or stall.answered or not small or damaged(stall) or stall.lasted < PATIENCE:
            continue
        if delivered >= 3 * stall.size:
            continue  # segments of that size did get through
        return _in_vain(case, stall)
    for end in case.view.ends:
        verdict = _never_came(case, end)
        if verdict is not None:
            return verdict
    return None


def _talks_on(stall: Stall) -> bool:
    """Whether the peer was heard after several repetitions: the path carries what is small."""
    return len(stall.copies) >= 4 and stall.peer[E_LAST_TIME] > stall.copies[2].time


def _in_vain(case: Case, stall: Stall) -> Verdict:
    """What the sender's side shows."""
    again = stall.copies
    evidence = [
        (
            f"{stall.end.name} sent {stall.size:,} bytes {len(again)} times in {span(stall.lasted)} without an ACK "
            f"({case.frames(*again)})"
        )
    ]
    if stall.sacked:
        evidence.append(
            f"bytes behind it, up to {stall.peer[E_SACK_HIGH] - 1:,}, were acknowledged by SACK: the smaller segment "
            "came through"
        )
    if stall.alive:
        evidence.append(f"{stall.peer.name} was heard meanwhile: the path carries small segments")
    quoted = quoted_mtu(case, stall.end)
    if quoted:
        evidence.append(f"an ICMP error named an MTU of {quoted[0]:,} bytes ({case.frames(quoted[1])})")
    return Verdict(
        85,
        "likely",
        tuple(evidence),
        f"segments of {stall.size:,} bytes from {stall.end.name} to {stall.peer.name} vanish, smaller ones arrive: "
        f"repeated {len(again)} times in {span(stall.lasted)}",
        against=("a path that is broken would carry no ACK or SACK either", "a full receiver would show a window of 0"),
        alternatives=("path_loss",),
        at=again[0],
        amount=stall.size,
    )


def _never_came(case: Case, end: End) -> Verdict | None:
    """What the receiver's side shows: a hole of full segments that never fills, with a small segment behind it."""
    peer = end.peer
    if not end[E_HOLES] or not case.both_directions or case.midstream:
        return None
    head = peer[E_ACK]
    holes = [(end[E_HOLE + 2 * i], end[E_HOLE + 2 * i + 1]) for i in range(end[E_HOLES])]
    hole = next(((a, b) for a, b in holes if a <= head < b), None)
    if hole is None:
        return None
    width = hole[1] - max(hole[0], head)
    behind = next((s for s in end.segments if s.seq >= hole[1] and s.length and s.has(MARK_GAP)), None)
    seen = end[E_LONGEST]
    waited = case.last_time - behind.time if behind else 0
    if behind is None or waited < PATIENCE or width < LARGE or not seen < 0.9 * min(width, end[E_MSS]):
        return None
    again = peer[E_DUPLICATE_ACKS]
    if not again:
        return None  # whether the receiver lacks them too is not shown
    return Verdict(
        80,
        "likely",
        (
            (
                f"{width:,} bytes from {end.name} never came, the {behind.length:,} bytes behind them did "
                f"({case.frames(behind)}); after {span(waited)} they are still missing"
            ),
            f"{peer.name} lacks them too: its ACK stays where they begin, in {again} duplicate ACKs",
            f"no segment of more than {seen:,} bytes came from {end.name}, with an MSS of {end[E_MSS]:,}",
        ),
        f"full-size segments from {end.name} do not arrive, small ones do: {width:,} bytes are missing for "
        f"{span(waited)}",
        against=("the capture did not lose them: the receiver acknowledges only what is before them",),
        alternatives=("path_loss",),
        at=behind,
        amount=width,
    )


def rejected(case: Case, world: World) -> Verdict | None:  # noqa: ARG001
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


def broken(case: Case, world: World) -> Verdict | None:  # noqa: ARG001
    """What arrives is damaged: wrong checksums, never acknowledged."""
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
    return None


def rewritten(case: Case, world: World) -> Verdict | None:  # noqa: ARG001
    """SACK blocks that lie outside of all that was sent."""
    for end in case.view.ends:
        outside = end[E_SACKS_OUTSIDE]
        if not outside or not case.both_directions or case.midstream or end.peer[E_NEXT] <= 1:
            continue
        again = end.peer[E_RETRANSMITTED]
        frame = end[E_OUTSIDE_FRAME]
        return Verdict(
            90,
            "likely",
            (
                (
                    f"{outside} ACKs of {end.name} carry SACK blocks for bytes that {end.peer.name} cannot have sent "
                    f"(first in {case.frames(frame)})"
                ),
                f"{end.peer.name} sent {again} segments again: it cannot use these blocks and waits for its timer",
            ),
            f"a box on the path shifts the sequence numbers between {end.peer.name} and {end.name} and forgets the "
            f"SACK blocks: {outside} ACKs name bytes that were never sent",
            against=("a receiver acknowledges only what it has got",),
            severity="medium" if again else "low",
        )
    return None


CAUSES = (
    Cause(
        name="mtu_black_hole",
        family="data",
        where="path",
        severity="high",
        summary="Segments above some size vanish and smaller ones come through: a link with a smaller MTU drops them, "
        "and the ICMP error that should tell the sender is filtered.",
        predicts=(
            (
                "a full-size segment is repeated in vain, while a smaller one behind it is acknowledged by SACK or the "
                "peer goes on to be heard"
            ),
            "at the receiver: a hole of full segments that never fills, and a small segment behind it",
        ),
        forbids=("a segment of that size that gets through", "a window of 0", "silence of the peer"),
        look_alikes={
            "path_loss": "loss hits small segments too, and repetitions get through in the end",
            "path_dead": "nothing at all comes back",
            "segments_rejected": "each copy is answered at once by an old ACK",
            "damaged_in_path": "the copies arrive, with wrong checksums",
            "peer_vanished": "nothing at all comes back",
            "numbers_rewritten": "SACK blocks lie outside of what was sent",
            "receiver_slow": "the window is 0",
        },
        explains=REPEATED
        | frozenset(
            {
                "lost_before_v",
                "retransmission_timeout_abort",
                "stuck_close_wait",
                "stuck_fin_wait_1",
                "stuck_fin_wait_2",
                "stuck_last_ack",
            }
        ),
        next_step="from the sender: ping -M do -s 1472 {client_host} (smaller until it answers); then clamp the MSS: "
        "iptables -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu, or "
        "sysctl net.ipv4.tcp_mtu_probing=1",
        weigh=too_big,
        group="pair",
        example=HANDSHAKE
        + """
            0.035 < .  1:1(0)         ack 101
            0.040 < .  1:1461(1460)   ack 101
            0.041 < P. 1461:1661(200) ack 101
            0.051 > .  101:101(0)     ack 1    <sack 1461:1661>
            0.300 < .  1:1461(1460)   ack 101
            0.900 < .  1:1461(1460)   ack 101
            2.100 < .  1:1461(1460)   ack 101
            4.500 < .  1:1461(1460)   ack 101
            9.300 < .  1:1461(1460)   ack 101
            12.00 > F. 101:101(0)     ack 1    <sack 1461:1661>
            12.01 < .  1661:1661(0)   ack 102
        """,
        look_alike=HANDSHAKE
        + """
            0.035 < .  1:1(0)         ack 101
            0.040 < .  1:1461(1460)   ack 101
            0.300 < .  1:1461(1460)   ack 101
            0.900 < .  1:1461(1460)   ack 101
            2.100 < .  1:1461(1460)   ack 101
            4.500 < .  1:1461(1460)   ack 101
            9.300 < .  1:1461(1460)   ack 101
            end 20
        """,
    ),
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
        },
        explains=REPEATED
        | frozenset(
            {
                "bad_checksum",
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
        "in the SACK blocks: the sender cannot use them, and each loss costs a timeout.",
        predicts=("SACK blocks lie far outside of all that was sent, by the same amount each time",),
        forbids=("SACK blocks that fit",),
        look_alikes={
            "segments_rejected": "the SACK blocks fit, or there are none",
            "path_loss": "SACK blocks fit",
            "mtu_black_hole": "SACK blocks fit",
        },
        explains=REPEATED,
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
