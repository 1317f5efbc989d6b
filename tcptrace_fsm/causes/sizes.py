"""The cause of large segments that vanish while small ones come through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.causes.briefs import end_word
from tcptrace_fsm.causes.cause import Cause, Verdict
from tcptrace_fsm.causes.stall import PATIENCE, REPEATED, Stall, damaged, stalls, unanswered
from tcptrace_fsm.findings.evidence import HANDSHAKE, hops, prompt
from tcptrace_fsm.findings.rule import SECOND, mask, span
from tcptrace_fsm.kernels.layout import (
    C_CLOSING,
    C_MARKS,
    CLOSING_NORMAL,
    E_ACK,
    E_DUPLICATE_ACKS,
    E_HOLE,
    E_HOLES,
    E_LAST_TIME,
    E_LONGEST,
    E_MSS,
    E_SACK_HIGH,
    E_TTL,
    E_WINDOW,
    E_ZERO_WINDOWS,
    MARK_BAD_CHECKSUM,
    MARK_GAP,
    MARK_RETRANSMISSION,
)

if TYPE_CHECKING:
    from tcptrace_fsm.causes.briefs import Briefs
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World
    from tcptrace_fsm.findings.rule import End

__all__ = ["CAUSES"]

IDLE = 30 * SECOND  # after such silence a box on the way may have forgotten the connection
MANY = 3  # full segments: so many at once, and none of them alone, nobody loses by chance
LARGE = 512  # bytes; no path of today refuses segments of this size and less (RFC 879's 536, RFC 8200's 1280)


TIMESTAMPS = 12  # bytes of every segment that the timestamps option takes
FULL = 1200  # bytes; the least that a first large segment carries on a path of today


def quoted_mtu(case: Case, end: End) -> tuple[int, int] | None:
    """The smallest MTU that an ICMP error named for what ``end`` sent, with its frame."""
    errors = [e for e in case.view.icmp if e.side == end.side and e.mtu]
    return min(((e.mtu or 0, e.frame) for e in errors), default=None)


def too_big(case: Case, world: World) -> Verdict | None:
    """Large segments are repeated in vain while smaller ones and ACKs come through."""
    for stall in stalls(case):
        delivered = stall.head - 1
        small = stall.sacked or _talks_on(stall)
        if stall.size < LARGE or stall.answered or damaged(stall) or stall.lasted < PATIENCE:
            continue
        if len(unanswered(stall)) > 2:
            continue  # ACKs, small as they are, do not get through either
        if hops(stall.peer[E_TTL]) == 0 < hops(stall.end[E_TTL]):
            continue  # captured where they arrive
        if delivered >= 3 * stall.size:
            continue  # segments of that size did get through
        if _drew_reset(stall):
            continue  # the last copy did arrive, at somebody who knew no such connection any more
        if small:
            return _in_vain(case, stall)
        verdict = _first_large_one(case, stall, world)
        if verdict is not None:
            return verdict
    again, gap = case[C_MARKS] & mask(MARK_RETRANSMISSION), case[C_MARKS] & mask(MARK_GAP)
    for end in case.view.ends:
        verdict = _never_came(case, end)
        if verdict is None and again:
            verdict = _sent_smaller(case, end)
        if verdict is None and gap:
            verdict = _came_smaller(case, end)
        if verdict is not None:
            return verdict
    return None


def _talks_on(stall: Stall) -> bool:
    """Whether the peer was heard after several repetitions: the path carries what is small."""
    return len(stall.copies) >= 4 and stall.peer[E_LAST_TIME] > stall.copies[2].time


def _drew_reset(stall: Stall) -> bool:
    """Whether the last copy was answered by RST."""
    last = stall.copies[-1]
    return any(s.rst and 0 <= s.time - last.last_time <= prompt(stall.peer) for s in stall.peer.segments)


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


def _first_large_one(case: Case, stall: Stall, world: World) -> Verdict | None:
    """What other connections show: the same way carries handshakes while the first large segments get no answer."""
    before = [s.length for s in stall.end.segments if s.length and s.end <= stall.head]
    began = stall.copies[0].time
    routine = stall.head - 1 - sum(before)  # bytes whose segments are not kept: a large one may be among them
    if (
        stall.size < FULL
        or stall.peer[E_LAST_TIME] > stall.copies[1].time
        or max([routine, *before]) > 0.9 * stall.size
        or began - stall.peer[E_LAST_TIME] > IDLE
    ):
        return None
    between = world.between(case.client_host, case.server_host)
    opened = [b for b in between.opened if b.first_time > began]
    if not opened or _as_long_elsewhere(world.to_service(case.service), stall):
        return None
    elsewhere = _as_long_elsewhere(between, stall)  # by another way, if that depends on the port
    many = world.once(
        ("large ones", case.client_host, case.server_host, stall.end.side),
        lambda: sum(
            _stands(c, stall)
            for c in world.cases
            if c.client_host == case.client_host and c.server_host == case.server_host
        ),
    )
    delivered = f", the largest of {max(before):,} bytes" if before else ""
    return Verdict(
        70 if many > 1 and not elsewhere else 55,
        "likely" if many > 1 and not elsewhere else "possible",
        (
            (
                f"{stall.end.name} sent {stall.size:,} bytes {len(stall.copies)} times in {span(stall.lasted)} "
                f"without an answer ({case.frames(*stall.copies)}); what it had sent before was smaller, and "
                f"acknowledged{delivered}"
            ),
            (
                f"the way is there: connection {opened[0].conn_id} between the same hosts opened "
                f"{span(opened[0].first_time - began)} later"
            ),
            f"{many} connections stand at their first large segment",
        ),
        f"segments of {stall.size:,} bytes from {stall.end.name} to {stall.peer.name} get no answer, while smaller "
        f"ones and new handshakes do: repeated {len(stall.copies)} times in {span(stall.lasted)}",
        against=("on a broken path no handshake would succeed",),
        alternatives=("path_loss", "path_dead"),
        at=stall.copies[0],
        amount=stall.size,
    )


def _as_long_elsewhere(others: Briefs, stall: Stall) -> bool:
    """Whether segments as long came the same way in a connection that brought all of them to a normal end."""
    lengths, closings = others.column(end_word(stall.end.side, E_LONGEST)), others.column(C_CLOSING)
    return any(n >= stall.size and how == CLOSING_NORMAL for n, how in zip(lengths, closings, strict=True))


def _stands(case: Case, stall: Stall) -> bool:
    """Whether a connection stands at a segment of such a size in the same direction."""
    return any(s.end.side == stall.end.side and not s.alive and s.size > 0.9 * stall.size for s in stalls(case))


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
    if width > max(peer[E_WINDOW], 65535):
        return None  # farther than the receiver's window reaches: other numbers, and no hole
    over = any(s.rst for s in case.segments)
    waited = (case.last_time if over else case.end) - behind.time if behind else 0
    if behind is None or waited < PATIENCE or width < LARGE:
        return None
    full = end[E_MSS] - (TIMESTAMPS if behind.tsval >= 0 else 0)
    # Of what is missing each segment was full, and no full one ever came.
    whole = seen < full and full > 0 and width % full == 0
    if not whole and not seen < 0.9 * min(width, end[E_MSS]):
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


def _sent_smaller(case: Case, end: End) -> Verdict | None:
    """Its sender repeats a full segment in vain, then sends less at a time, and that arrives at once (RFC 4821)."""
    peer = end.peer
    most = min(m for m in (end[E_MSS], peer[E_MSS], 1 << 16) if m > 0)
    again = [s for s in end.segments if s.has(MARK_RETRANSMISSION) and LARGE <= s.length <= most]
    whole = next((s for s in again if sum(o.seq == s.seq and o.length == s.length for o in again) > 1), None)
    if whole is None or peer[E_ZERO_WINDOWS] or any(s.has(MARK_BAD_CHECKSUM) for s in end.segments):
        return None
    copies = [s for s in again if s.seq == whole.seq and s.length == whole.length]
    after = [s for s in end.segments if s.length and s.frame > copies[-1].frame]
    less = next((s for s in after if s.seq == whole.seq), None)
    if less is None or less.length > 0.97 * whole.length or peer[E_ACK] < less.end:
        return None
    if any(s.length > less.length for s in after) or sum(s.seq == whole.seq for s in after) > 1:
        return None
    if len(copies) == 2 and sum(s.length for s in after if s.has(MARK_RETRANSMISSION)) < MANY * whole.length:
        return None  # no more than one large segment may have been lost, and cut in two for another reason
    lasted = less.time - whole.time
    if lasted < SECOND // 2:
        return None
    return Verdict(
        75,
        "likely",
        (
            (
                f"{end.name} sent {whole.length:,} bytes again {len(copies)} times in {span(lasted)} "
                f"({case.frames(*copies)}) without an ACK"
            ),
            (
                f"then it sent {less.length:,} bytes of them at a time ({case.frames(less)}), which were acknowledged, "
                "and nothing larger any more"
            ),
        ),
        f"segments of {whole.length:,} bytes from {end.name} to {peer.name} vanish, those of {less.length:,} arrive: "
        f"found out by trying, after {span(lasted)}",
        against=("ordinary loss asks for no size",),
        alternatives=("path_loss",),
        severity="medium",
        at=whole,
        amount=whole.length,
    )


def _came_smaller(case: Case, end: End) -> Verdict | None:
    """What the receiver's side shows of that: a hole as wide as some full segments, filled by smaller ones."""
    peer = end.peer
    most = min(m for m in (end[E_MSS], peer[E_MSS], 1 << 16) if m > 0)
    longest = end[E_LONGEST]
    behind = next((s for s in end.segments if s.has(MARK_GAP) and s.length), None)
    if behind is None or not LARGE <= longest <= 0.95 * (most - TIMESTAMPS) or behind.length >= longest:
        return None
    late = [s for s in end.segments if s.length and s.frame > behind.frame and s.end <= behind.seq]
    if not late or late[0].time - behind.time < SECOND // 2 or sum(s.length == longest for s in late) < 2:
        return None
    width = behind.seq - min(s.seq for s in late)
    full = most - (TIMESTAMPS if behind.tsval >= 0 else 0)
    if width % full or not width % longest:
        return None
    waited = late[0].time - behind.time
    return Verdict(
        70,
        "likely",
        (
            (
                f"{width:,} bytes, {width // full} full segments of {full:,}, did not come while the "
                f"{behind.length:,} bytes behind them did ({case.frames(behind)})"
            ),
            f"they came {span(waited)} later, in segments of at most {longest:,} bytes ({case.frames(*late)})",
        ),
        f"full segments from {end.name} to {peer.name} vanish, those of {longest:,} bytes arrive: it found out by "
        f"trying, after {span(waited)}",
        against=("ordinary loss asks for no size",),
        alternatives=("path_loss",),
        severity="medium",
        at=behind,
        amount=width,
    )


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
            "or the sender tries a smaller size in the end, and that arrives",
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
        next_step="on {client_host}: ping -M do -s 1472 {server_host}, and from there back (the sender's fails; "
        "smaller until it answers); then clamp the MSS: "
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
)
