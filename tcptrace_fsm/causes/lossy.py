"""Causes of losses: a path that loses some segments, a path that carries nothing any more, a peer that is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.causes.beyond import still_talk
from tcptrace_fsm.causes.briefs import CLIENT_BYTES, SERVER_BYTES
from tcptrace_fsm.causes.cause import Cause, Sufferer, Verdict
from tcptrace_fsm.causes.stall import PATIENCE, REPEATED, Stall, acked_beyond, damaged, stalls, unanswered
from tcptrace_fsm.findings.evidence import HANDSHAKE, cuts_options
from tcptrace_fsm.findings.lacking import shown_from
from tcptrace_fsm.findings.needs import holds_bare_acks, incomplete
from tcptrace_fsm.findings.rule import SECOND, mask, span
from tcptrace_fsm.kernels.layout import (
    C_FIRST_TIME,
    C_ID,
    C_LAST_TIME,
    C_LONGEST_AFTER,
    C_LONGEST_FOR,
    C_LONGEST_WAIT,
    C_MARKS,
    C_TIMES,
    E_ACK,
    E_FIN,
    E_NEXT,
    E_OPTIONS,
    E_RETRANSMITTED,
    E_RETRANSMITTED_BYTES,
    E_RTT_MIN,
    E_SEGMENTS,
    E_UNIQUE,
    MARK_ACK_UNSEEN,
    MARK_BAD_CHECKSUM,
    MARK_CAPTURE_DUPLICATE,
    MARK_DSACK,
    MARK_FAST,
    MARK_LOST_BEFORE,
    MARK_PAWS,
    MARK_TIMEOUT,
    MILLISECOND,
    OPT_MULTIPATH,
    TCP_ACK,
    TCP_RST,
    WAIT_RETRANSMISSION,
)

if TYPE_CHECKING:
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World
    from tcptrace_fsm.findings.rule import End, Segment

__all__ = ["CAUSES", "sent_again"]

SOON = 5 * SECOND  # the first repetitions come within this (RFC 6298 section 2, RFC 8985 7.2)
ORDINARY = 0.01  # of all segments: what an ordinary path loses at most
BAD = 3  # in 100 bytes: ordinary paths lose less
FELT = SECOND // 20  # of waiting in all: less is nothing to anybody, however much is sent again
BULK = 200_000  # bytes: so much at once fills the queue of a line
MANY = 20  # segments: fewer may be one bad moment
MINUTE = 60 * SECOND  # a timer that has backed off fires once in so long, or sooner


def last_rst(stall: Stall) -> Segment | None:
    """The first of the RSTs without ACK that are all that the peer has said since the first repetition."""
    peer, since = stall.peer, stall.copies[0].time
    said = [s for s in peer.segments if s.last_time > since]
    whole = sum(s.run for s in peer.segments) == peer[E_SEGMENTS]
    return said[0] if whole and said and all(s.flags & (TCP_RST | TCP_ACK) == TCP_RST for s in said) else None


def dead_path(case: Case, world: World) -> Verdict | None:
    """Everything that was sent is repeated, and nothing at all comes back any more."""
    if not holds_bare_acks(case.view):
        return None  # a filter leaves them out
    for stall in stalls(case):
        rst = last_rst(stall) if stall.alive else None
        if stall.alive and rst is None:
            continue
        silence = (rst.time if rst else case.end) - stall.copies[0].time
        if silence < PATIENCE or damaged(stall):
            continue
        others = still_talk(case, stall, world)
        what = f"{stall.size:,} bytes" if stall.size else "its FIN"
        told = next((e for e in case.view.icmp if e.side == stall.end.side and e.time >= stall.copies[0].time), None)
        told = told if told and (told.unreachable or told.expired) else None
        evidence = [
            (
                f"{stall.end.name} sent {what} {len(stall.copies)} times in {span(stall.lasted)} "
                f"({case.frames(*stall.copies)})"
            ),
            f"{stall.peer.name} has said nothing since before that, for {span(silence)}",
        ]
        if rst:
            evidence.append(f"the RST that then came is of a host that knows no such connection ({case.frames(rst)})")
        if told:
            evidence.append(f'{told.sender} says "{told.name}" of it ({case.frames(told.frame)})')
        if others:
            evidence.append(f"the hosts still talk: connection {others[0].conn_id} went on meanwhile")
        return Verdict(
            42 if rst else 50,
            "possible",
            tuple(evidence),
            f"nothing comes back from {stall.peer.name} any more: {what}, sent {len(stall.copies)} times in "
            f"{span(stall.lasted)}, had no answer"
            + (f' but ICMP "{told.name}" of {told.sender}' if told else " but an RST at last" if rst else ""),
            alternatives=(
                *(() if others else ("peer_vanished",)),
                *(("endpoint_restarted",) if rst else ()),
                "idle_timeout_in_path",
            ),
            # Who has closed misses nothing but the other FIN.
            severity="low" if not stall.size and stall.peer[E_FIN] >= 0 else "medium" if others else None,
            at=stall.copies[0],
        )
    return one_way_dead(case)


def one_way_dead(case: Case) -> Verdict | None:
    """One direction carries nothing any more: one end repeats in vain, the other what had been acknowledged."""
    for stall in stalls(case):
        again = unanswered(stall)
        if len(again) < 3 or stall.lasted < PATIENCE or stall.sacked or damaged(stall) or stall.answered:
            continue  # what is answered at once has arrived
        if acked_beyond(stall.end):
            continue  # both may arrive, and be taken for old
        what = f"{stall.size:,} bytes" if stall.size else "its FIN"
        return Verdict(
            88,
            "likely",
            (
                (
                    f"{stall.end.name} sent {what} {len(stall.copies)} times in {span(stall.lasted)} without an ACK "
                    f"({case.frames(*stall.copies)})"
                ),
                (
                    f"{stall.peer.name} goes on, and sent {len(again)} times again what {stall.end.name} had "
                    f"acknowledged ({case.frames(*again)}): the ACKs, small as they are, do not reach it either"
                ),
            ),
            f"nothing from {stall.end.name} reaches {stall.peer.name} any more, while the other direction is whole: "
            f"{what} sent {len(stall.copies)} times in {span(stall.lasted)}",
            against=("a path that only loses some would let one ACK through", "where size matters, ACKs get through"),
            alternatives=("segments_rejected",),
            at=stall.copies[0],
        )
    return None


def needless(end: End) -> int:
    """How many of its repetitions were needless: the first copy came late, or the receiver reported a duplicate.

    Or it was acknowledged sooner than the way to the receiver and back takes: that was for the first copy (RFC 3522).
    """
    reported = sum(s.has(MARK_PAWS) for s in end.segments) + sum(s.has(MARK_DSACK) for s in end.peer.segments)
    way, acks, soon = 3 * end[E_RTT_MIN] // 4, end.peer.segments, 0
    if way < MILLISECOND:
        return reported
    wanted, i = mask(MARK_TIMEOUT, MARK_FAST), 0
    for s in end.segments:
        if not s.marks & wanted:
            continue
        while i < len(acks) and acks[i].frame < s.frame:
            i += 1
        covering = next((a for a in acks[i:] if a.ack >= s.end or a.time >= s.time + way), None)
        soon += covering is not None and covering.ack >= s.end and covering.time < s.time + way
    return max(reported, soon)


def fills_the_line(case: Case, side: int, world: World) -> bool:
    """Whether another connection between its hosts was sent much by the same side meanwhile: what waits, queues."""
    bytes_of = SERVER_BYTES if side else CLIENT_BYTES
    others = world.between(case.client_host, case.server_host)
    columns = (others.column(word) for word in (C_ID, C_FIRST_TIME, C_LAST_TIME, bytes_of))
    return any(
        sent >= BULK and number != case.conn_id and began < case.last_time and ended > case.first_time
        for number, began, ended, sent in zip(*columns, strict=True)
    )


def lost_before(case: Case, world: World) -> Verdict | None:
    """Segments that never came here, and of which only the repetition is seen: it comes long after its neighbours."""
    if incomplete(case.view):
        return None  # what is missing here may have come to its receiver all the same
    if cuts_options(case.view) or all(end[E_OPTIONS] & OPT_MULTIPATH for end in case.view.ends):
        return None  # what an application had begun to say may go on over another subflow
    for end in case.view.ends:
        cost = case[C_TIMES + 2 * WAIT_RETRANSMISSION + end.side]
        if cost < SECOND or end[E_RETRANSMITTED] or end.peer[E_RETRANSMITTED] or not case.both_directions:
            continue
        if end.peer[E_ACK] < end[E_NEXT] // 2:
            continue  # a filter leaves the ACKs out, and perhaps more
        if case[C_LONGEST_FOR] != 2 * WAIT_RETRANSMISSION + end.side or case[C_LONGEST_AFTER] < 0:
            continue
        if case[C_LONGEST_WAIT] > SOON or case[C_MARKS] & mask(MARK_ACK_UNSEEN):
            continue  # no sender waits for so long before it repeats; or frames are missing for another reason
        if fills_the_line(case, end.side, world):
            continue
        worst = f"{span(case[C_LONGEST_WAIT])} at a time ({case.frames(case[C_LONGEST_AFTER])})"
        return Verdict(
            35,
            "possible",
            (
                (
                    f"the rest of what {end.name} had begun to send came late, {worst}, though all before it had been "
                    f"acknowledged for longer than a round trip: {span(cost)} in all"
                ),
                "it was more than one segment, and the last one of them full: its application had said the rest",
            ),
            f"the path between {end.name} and this capture point loses segments, of which only the repetitions come "
            f"here: {span(cost)} were waited for them",
            alternatives=("server_slow" if end.side else "client_slow",),
            severity="medium" if cost >= 2 * SECOND else "low",
            amount=cost,
        )
    return None


def stands_often(case: Case, world: World) -> bool:
    """Whether half of the connections between its hosts, and three or more, stood still for a lost segment like this.

    Each for half a second or longer, and for five seconds together; or for three where the path loses so much that it
    shows in all that is sent. Somebody notices that.
    """

    def make() -> bool:
        these = [c for c in world.cases if (c.client_host, c.server_host) == (case.client_host, case.server_host)]
        costs = [max(c[C_TIMES + 2 * WAIT_RETRANSMISSION + side] for side in (0, 1)) for c in these]
        everyone = len(world.between(case.client_host, case.server_host))
        bad = any(map(is_bad, zip(*(c.view.ends for c in these), strict=True)))
        long = [cost for cost in costs if cost >= (SECOND // 5 if bad else SECOND // 2)]
        return len(long) >= 3 and sum(long) >= (3 if bad else 5) * SECOND and 2 * len(long) >= everyone

    return world.once(("stands", case.client_host, case.server_host), make)


def is_bad(same: tuple[End, ...]) -> bool:
    """Whether so much of what one side sends in several connections is lost that it is no daily life."""
    again = sum(max(0, end[E_RETRANSMITTED] - needless(end)) for end in same)
    often = 100 * sum(end[E_RETRANSMITTED_BYTES] for end in same) >= BAD * sum(end[E_UNIQUE] for end in same)
    return often and again >= MANY and 2 * again >= sum(end[E_RETRANSMITTED] for end in same)


def lost(case: Case, world: World) -> Verdict | None:
    """Segments are lost and repaired: what that costs."""
    best: tuple[int, Verdict] | None = None
    for end in case.view.ends if case[C_MARKS] & mask(MARK_TIMEOUT, MARK_FAST, MARK_LOST_BEFORE) else ():
        again = [s for s in end.segments if s.has(MARK_TIMEOUT, MARK_FAST, MARK_LOST_BEFORE) and not s.rst]
        if (shown := shown_from(end)) > 0:
            again = [s for s in again if s.seq >= shown or not s.has(MARK_LOST_BEFORE)]
        sent = end[E_RETRANSMITTED]
        if case[C_MARKS] & mask(MARK_CAPTURE_DUPLICATE):  # copies are no repetitions, but after a timer's time
            again = [s for s in again if s.has(MARK_TIMEOUT)]
            sent = min(sent, len(again))
        stall = next((one for one in stalls(case) if one.end is end and not one.answered), None)
        if stall:  # what never gets through is not some of what is sent
            again = [s for s in again if s.seq < stall.head]
        shut = [s for s in again if _refused(s, end)]
        again = [s for s in again if s not in shut]
        spoilt = sum(s.has(MARK_BAD_CHECKSUM) and s.length > 0 for s in end.segments)
        if len(again) < 2 or not end[E_UNIQUE] or len(again) <= 3 * spoilt:
            continue  # a few, or those that had come damaged
        waits = _waits([s for s in end.segments if not stall or s.seq < stall.head], shut)
        cost, worst = sum(waits), max(waits, default=0)
        if not shut and not stall:  # all the time in which something lost was awaited, timeouts or not
            cost = max(cost, case[C_TIMES + 2 * WAIT_RETRANSMISSION + end.side])
        share = sent / max(end[E_SEGMENTS], 1)
        vain = needless(end)
        if cuts_options(case.view) and not any(s.has(MARK_TIMEOUT) for s in again):
            continue  # whether they had only been overtaken, their receiver tells in what is cut
        if vain >= len(again) or (cost < SECOND and (share < 0.03 or 3 * vain >= len(again))):
            continue  # a few, or segments that were late or overtaken and sent again for nothing
        # Of one direction alone nothing tells whether the first copies were late, or its peer would not take them.
        often = cost >= SECOND // 2 and stands_often(case, world)
        # Of few losses each of which was repaired within two round trips a long way makes no more than that.
        slow = cost - (2 * end[E_RTT_MIN] * len(again) if share < ORDINARY else 0)
        much = share >= 0.1 and end[E_SEGMENTS] >= 50 and cost >= FELT
        serious = case.both_directions and (often or much or slow >= 2 * SECOND)
        sure = len(again) >= 3 and case.both_directions
        timed = f", {len(waits)} of them only after a timeout" if waits else ""
        timed += f": {span(cost)} in all" if cost else ""
        verdict = Verdict(
            40,
            "likely" if sure else "possible",
            (
                f"{end.name} sent {len(again)} segments again ({case.frames(*again)}){timed}",
                f"{100 * share:.1f} % of its {end[E_SEGMENTS]:,} segments",
            ),
            f"the path between {end.name} and {end.peer.name} loses segments: {len(again)} sent again"
            + (f", the longest wait {span(worst)}" if worst else ""),
            alternatives=() if sure else ("capture_incomplete",),
            severity="medium" if serious else "low",
            at=again[0],
            amount=cost,
        )
        if best is None or cost > best[0]:
            best = cost, verdict
    return best[1] if best else lost_before(case, world)


def sent_again(case: Case, side: int, world: World) -> tuple[int, int]:
    """Of all that one side sends in the connections between two hosts: segments sent again, and segments."""

    def make() -> tuple[int, int]:
        ends = [
            c.view.ends[side]
            for c in world.cases
            if c.client_host == case.client_host and c.server_host == case.server_host
        ]
        return sum(end[E_RETRANSMITTED] for end in ends), sum(end[E_SEGMENTS] for end in ends)

    return world.once(("sent again", case.client_host, case.server_host, side), make)


def _refused(s: Segment, end: End) -> bool:
    """Whether the peer may have had no room for what a timer repeats: it shut its window before, on bytes up to there.

    What the copies before drew was no loss; the timer repeats what a shut window refuses (RFC 9293 3.8.6.1).
    """
    return not s.has(MARK_FAST) and any(
        p.window == 0 and not p.syn and not p.rst and p.ack <= s.seq and 0 <= s.time - p.time <= MINUTE
        for p in end.peer.segments
    )


def lost_by_all(sufferers: list[Sufferer], world: World) -> str:  # noqa: ARG001
    """What the losses of all connections between two hosts cost."""
    worst = max(sufferers, key=lambda s: s.verdict.amount)
    if len(sufferers) == 1:
        return worst.verdict.message
    cost = sum(s.verdict.amount for s in sufferers)
    return (
        f"the path between {worst.case.client.name} and {worst.case.service_text} loses segments, seen in "
        f"{len(sufferers)} connections between these hosts: {span(cost)} in all, most in connection "
        f"{worst.case.conn_id} with {span(worst.verdict.amount)}"
        if cost
        else worst.verdict.message
    )


def _waits(segments: list[Segment], shut: list[Segment]) -> list[int]:
    """How long each timeout was waited for, ns, but for those that a shut window had refused."""
    sent: dict[int, int] = {}
    waits = []
    for s in segments:
        if s.has(MARK_TIMEOUT) and s.seq in sent and s not in shut:
            waits.append(s.time - sent[s.seq])
        if s.length:
            sent[s.seq] = s.time
    return waits


CAUSES = (
    Cause(
        name="path_dead",
        family="data",
        where="path",
        severity="high",
        summary="In the middle of a connection the path stops carrying anything: what is sent is repeated, and nothing "
        "comes back.",
        predicts=(
            "repetitions with growing waits",
            "not one segment from the other side since; or the other side repeats what had been acknowledged",
        ),
        forbids=("an ACK or SACK for what is repeated, or an RST at once",),
        look_alikes={
            "peer_vanished": "the host is gone; another connection of it that lives on excludes that",
            "idle_timeout_in_path": "a long silence came before",
            "mtu_black_hole": "small segments and ACKs still come",
            "path_loss": "repetitions get through in the end",
            "segments_rejected": "each copy is answered at once by an old ACK",
            "closed_with_unread_data": "an RST comes",
            "endpoint_restarted": "an RST comes as soon as something reaches the host again",
        },
        explains=REPEATED
        | frozenset(
            {
                "retransmission_timeout_abort",
                "vanished",
            }
        ),
        next_step="capture at the other end at the same time; meanwhile: ping and traceroute -T -p {server_port} "
        "{server_host}, and ip route get {server_host}",
        weigh=dead_path,
        group="pair",
        example=HANDSHAKE
        + """
            0.040 < .  1:1(0)         ack 101
            0.100 > P. 101:201(100)   ack 1
            0.310 > P. 101:201(100)   ack 1
            0.730 > P. 101:201(100)   ack 1
            1.570 > P. 101:201(100)   ack 1
            3.250 > P. 101:201(100)   ack 1
            6.610 > P. 101:201(100)   ack 1
            end 15
        """,
        look_alike=HANDSHAKE
        + """
            0.040 < .  1:1(0)         ack 101
            0.100 > P. 101:201(100)   ack 1
            0.310 > P. 101:201(100)   ack 1
            0.730 > P. 101:201(100)   ack 1
            1.570 > P. 101:201(100)   ack 1
            1.580 < .  1:1(0)         ack 201
            end 15
        """,
    ),
    Cause(
        name="path_loss",
        family="data",
        where="path",
        severity="low",
        summary="The path loses segments, and they are sent again. A few per thousand are ordinary; where timeouts are "
        "waited for, a user notices.",
        predicts=("segments sent again after duplicate ACKs, SACK or a timeout, and acknowledged in the end",),
        forbids=("repetitions that never get through",),
        look_alikes={
            "mtu_black_hole": "only large segments vanish, for good",
            "path_dead": "nothing comes back any more",
            "peer_vanished": "nothing comes back any more",
            "segments_rejected": "every copy is answered at once by an old ACK",
            "capture_incomplete": "the receiver acknowledges what this capture lacks",
        },
        explains=REPEATED
        | frozenset(
            {
                "dsack_report",
                "lost_before_v",
                "spurious_retransmission",
            }
        ),
        next_step="find the hop: mtr -T -P {server_port} {server_host}; ethtool -S DEV | grep -i drop on both hosts; "
        "a second capture point tells on which side segments are lost (--merge-vantage)",
        weigh=lost,
        word=lost_by_all,
        group="pair",
        example=HANDSHAKE
        + """
            0.040 < .  1:1(0)         ack 101
            0.100 > P. 101:201(100)   ack 1
            0.310 > P. 101:201(100)   ack 1
            0.730 > P. 101:201(100)   ack 1
            1.570 > P. 101:201(100)   ack 1
            3.250 > P. 101:201(100)   ack 1
            3.260 < .  1:1(0)         ack 201
            end 15
        """,
        look_alike=HANDSHAKE
        + """
            0.040 < .  1:1(0)         ack 101
            0.100 > P. 101:201(100)   ack 1
            0.310 > P. 101:201(100)   ack 1
            0.320 < .  1:1(0)         ack 201
            end 15
        """,
    ),
)
