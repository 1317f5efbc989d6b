"""The cause of resets that neither end sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.causes.attempts import from_farther, harm, syns_of
from tcptrace_fsm.causes.cause import Cause, Verdict
from tcptrace_fsm.findings.evidence import FAR, HANDSHAKE, genuine, hops
from tcptrace_fsm.findings.gone_on import goes_on, overtaking
from tcptrace_fsm.findings.reset_checks import asked_by_hand
from tcptrace_fsm.findings.rule import SECOND, span
from tcptrace_fsm.kernels.layout import (
    C_OPENING,
    C_WAIT_SEEN,
    C_WAIT_SPOKE,
    CLIENT,
    E_BYTES,
    E_RSTS,
    FATE_ARRIVED,
    FATE_FOREIGN,
    MARK_GAP,
    MARK_OUT_OF_WINDOW,
    MARK_RETRANSMISSION,
    MARK_RST_DRAWN,
    MARK_RST_INEXACT,
    MARK_RST_OUTSIDE,
    MARK_SPURIOUS,
    MILLISECOND,
    OPENING_MIDSTREAM,
    OPENING_REFUSED,
    SERVER,
)
from tcptrace_fsm.tcp.machine import Event

if TYPE_CHECKING:
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World
    from tcptrace_fsm.findings.rule import End, Segment

__all__ = ["CAUSES", "concerns_reset", "drawn_by", "round_trip"]

AT_ONCE = 2 * MILLISECOND  # an application that asks and aborts takes longer to find out why


def concerns_reset(case: Case) -> bool:
    """There are RSTs."""
    return bool(case.client[E_RSTS] or case.server[E_RSTS])


def drawn_by(end: End, rst: Segment) -> Segment | None:
    """The segment of the other side that ``rst`` answers, where that was one which its receiver could not assign.

    Out of the window, a repetition of what was acknowledged, a SYN+ACK with wrong numbers: the end's own system replies
    to these, and the connection goes on.
    """
    before = end.view.before(rst, side=end.peer.side)
    if before is None or before.ack != rst.seq or not rst.reply_rst:
        return None
    if before.syn_ack:
        return before if before.ack != 1 else None
    if end.side == CLIENT and before.ack != 1 and not any(s.syn_ack for s in end.peer.segments if s.frame < rst.frame):
        return before  # it has asked for a connection, and hears of an old one
    if before.has(MARK_OUT_OF_WINDOW, MARK_SPURIOUS) or (before.has(MARK_GAP) and before.has(MARK_RETRANSMISSION)):
        return before
    return None


def round_trip(case: Case, end: End) -> int:
    """From here to ``end`` and back, by the handshake; -1 if that was not seen."""
    syns = syns_of(case)
    answer = next((s for s in case.sent(SERVER) if s.syn_ack), None)
    if not syns or answer is None:
        return -1
    if end.side == SERVER:
        asked = [s for s in syns if s.frame < answer.frame]
        return answer.time - asked[-1].time if asked else -1
    ack = next((s for s in case.sent(CLIENT) if s.frame > answer.frame and not s.rst and not s.syn), None)
    return ack.time - answer.time if ack else -1


class Forged(NamedTuple):
    """What speaks against an end's having sent its RSTs."""

    rsts: list[Segment]
    evidence: list[str]
    points: int
    far: bool
    """Only its TTL speaks."""


def forged(case: Case, end: End) -> Forged | None:
    """What speaks against an end's having sent the RSTs in its name."""
    rsts = [s for s in genuine(end.segments) if s.rst]
    if not rsts or drawn_by(end, rsts[0]):
        return None
    first = rsts[0]
    if asked_by_hand(end, first):
        return None  # its own system's
    if any(s.rst and s.frame < first.frame for s in genuine(end.peer.segments)):
        return None  # it answers what came after the other side's RST
    others = [s for s in genuine(end.segments) if not s.rst]
    evidence: list[str] = []
    points = 0
    after = goes_on(end, first)
    # Two capture points see different TTLs, of segments that passed both that of the first.
    alike = [s for s in others if s.unsent == first.unsent] if case.two_points else others
    far = bool(alike) and all(hops(s.ttl) != hops(first.ttl) for s in alike)
    if after and refuses(end, first) and after.ttl == first.ttl and after.time - first.time > SECOND:
        after = None  # a client that had not sent it would have acknowledged the SYN+ACK at once
    if after:
        points += 2
        evidence.append(
            f"{end.name} went on {span(after.last_time - first.time)} later as if it had sent none "
            f"({case.frames(after)})"
        )
    if far:
        points += 2
        evidence.append(f"TTL {first.ttl} in the RST, {alike[0].ttl} in the other segments of {end.name}")
        if first.ip_id > 0 and others[-1].ip_id > 0 and abs(first.ip_id - others[-1].ip_id) > FAR:
            evidence.append(f"IP identification {first.ip_id} beside {others[-1].ip_id}: of another series")
        own = [s for s in rsts if s.frame > first.frame and hops(s.ttl) == hops(alike[0].ttl)]
        if own and after is None:
            points += 1
            evidence.append(
                f"{end.name} itself, where its other segments come from, sent RST {span(own[0].time - first.time)} "
                f"later ({case.frames(*own)})"
            )
            rsts = [s for s in rsts if s not in own]
        if after is None and first.has(MARK_RST_INEXACT, MARK_RST_OUTSIDE) and not case.two_points:
            points += 1
            evidence.append(f"{end.name} had not come to its number {first.seq:,}, or was past it")
    way = round_trip(case, end)
    asked = end.view.before(first, side=end.peer.side)
    steady = not overtaking(end)
    at = asked.time if asked and first.ack == asked.end else said_until(case, end.peer, first.ack)
    if steady and 0 <= at <= first.time < at + way // 2 and way > 5 * MILLISECOND:
        points += 1  # the handshake may have been slower than the way is
        evidence.append(
            f"it acknowledges what {end.peer.name} had said {span(first.time - at)} before ({case.frames(first)}); to "
            f"{end.name} and back takes {span(way)}"
        )
    own_words = said_until(case, end, first.seq)
    if far and not first.reply_rst and 0 <= own_words <= first.time < own_words + AT_ONCE:
        points += 1
        evidence.append(
            f"{end.name} had only just spoken, {span(first.time - own_words)} before: nobody asks and aborts"
        )
    numbers = odd_numbers(end, rsts) if steady else []
    if numbers:
        points += 1
        evidence.append(
            f"{len(numbers)} RSTs at numbers that {end.name} had not reached: "
            + ", ".join(f"{s.seq:,}" for s in numbers[:4])
        )
    return Forged(rsts, evidence, points, far and points == 2) if points > 1 else None


def said_until(case: Case, end: End, number: int) -> int:
    """When ``end`` said its last words, ns, if they end before this number; -1 if they do not."""
    return case[C_WAIT_SPOKE + end.side] if case[C_WAIT_SEEN + end.side] == number > 1 else -1


def refuses(end: End, rst: Segment) -> bool:
    """Whether a client's RST answers a SYN+ACK with the numbers that its own system would take."""
    before = end.view.before(rst, side=end.peer.side)
    return end.side == CLIENT and before is not None and before.syn_ack and rst.seq == before.ack


def odd_numbers(end: End, rsts: list[Segment]) -> list[Segment]:
    """RSTs beside one another at different numbers, some of which their sender had not reached."""
    acks = {s.ack for s in genuine(end.peer.segments)}
    if len({s.seq for s in rsts}) < 2:
        return []
    return [s for s in rsts if s.has(MARK_RST_INEXACT, MARK_RST_OUTSIDE) and s.seq not in acks]


def reset_injected(case: Case, world: World) -> Verdict | None:
    """An RST came in the name of an end that did not send it."""
    lacking = case.two_points and world.lacks_frames
    for end in case.view.ends if not lacking else ():
        foreign = [s for s in end.segments if s.rst and s.fate == FATE_FOREIGN] or unsent_answers(case, end)
        if foreign:
            return Verdict(
                97,
                "proved",
                (
                    (
                        f"{len(foreign)} RSTs reached {end.peer.name} that never left {end.name} "
                        f"({case.frames(*foreign)}): both ends were captured"
                    ),
                    *((forged(case, end) or Forged([], [], 0, far=False)).evidence),
                ),
                f"{len(foreign)} RSTs in the name of {end.name} came from in between and cut its connection with "
                f"{end.peer.name}",
                at=foreign[0],
            )
    if (sibling := as_another(case, world)) is not None:
        return sibling
    for end in case.view.ends:
        found = forged(case, end)
        if found and not (found.far and not in_first_words(case, end, found.rsts[0])):
            return suspected(case, end, found)
        if found and in_full_swing(case, end, found.rsts[0]):
            return suspected(case, end, found)._replace(severity="medium")
    return refused_nearer(case, world)


def refused_nearer(case: Case, world: World) -> Verdict | None:
    """Somebody nearer than the server refuses, while connections that it had accepted go on."""
    rst = refusal(case)
    other = from_farther(case, world, rst) if rst else None
    counts = world.counts(case.service)
    if rst is None or other is None or counts.refused < 2:
        return None
    return Verdict(
        48,
        "possible",
        (
            (
                f"the RST that refuses the SYN has TTL {rst.ttl} ({case.frames(*syns_of(case), rst)}), all that "
                f"{case.service_text} says has {other.server_ttl}: it comes from nearer"
            ),
            (
                f"{counts.refused} of {counts.total} connections were refused so; those open before go on, like "
                f"{other.conn_id}"
            ),
        ),
        f"somebody nearer than {case.service_text} refuses {counts.refused} of {counts.total} connections in its name, "
        "while those that it had accepted go on: a limit on the number of connections in a firewall or balancer",
        ("a listener that is gone answers from the host's own distance",),
        ("nothing_listens", "accept_queue_full"),
        harm(case, world, counts.refused),
        at=rst,
    )


def refusal(case: Case) -> Segment | None:
    """The RST that refuses a connection."""
    return next((s for s in case.sent(SERVER) if s.rst), None) if case[C_OPENING] == OPENING_REFUSED else None


def as_another(case: Case, world: World) -> Verdict | None:
    """A SYN that is refused as others to this service are, of whose RSTs both captures show that nobody sent them."""

    def make() -> list[tuple[Case, Segment]]:
        answers = ((c, refusal(c)) for c in world.cases_of(case.service) if c.two_points)
        return [(c, rst) for c, rst in answers if rst and (rst.fate == FATE_FOREIGN or unsent_answers(c, c.server))]

    known = [] if world.lacks_frames else world.once(("foreign", case.service), make)
    rst = refusal(case)
    like = next((c for c, other in known if c is not case and rst and hops(other.ttl) == hops(rst.ttl)), None)
    if rst is None or like is None:
        return None
    return Verdict(
        92,
        "likely",
        (
            (
                f"an RST refused the SYN of {case.client.name} as it did in connection {like.conn_id}, where both "
                f"captures show that {case.server.name} had not sent it ({case.frames(rst)})"
            ),
        ),
        f"the RST that refuses {case.client.name} comes from in between, as in connection {like.conn_id}",
        at=rst,
    )


def unsent_answers(case: Case, end: End) -> list[Segment]:
    """RSTs that acknowledge a SYN whose arrival ``end``'s capture shows, and which that capture lacks.

    That capture may have begun with this SYN; but what answers it can only have left after it had come.
    """
    if not case.two_points or any(s.unsent and not s.rst for s in case.segments):
        return []
    syn = next((s for s in end.peer.segments if s.syn and s.fate == FATE_ARRIVED), None)
    return [s for s in end.segments if s.rst and s.unsent and syn and s.ack >= syn.end]


def in_first_words(case: Case, end: End, rst: Segment) -> bool:
    """Whether an RST that only its TTL speaks against cuts a connection which has just begun, in full swing."""
    before = end.view.before(rst, side=end.peer.side)
    if end[E_BYTES] or before is None or any(s.fin for s in case.segments if s.frame < rst.frame):
        return False
    return rst.time - before.time < 3 * SECOND and case[C_OPENING] != OPENING_MIDSTREAM


def in_full_swing(case: Case, end: End, rst: Segment) -> bool:
    """Whether an RST that only its TTL speaks against, which is from nearer, answers data to who had just spoken."""
    data = end.view.before(rst, side=end.peer.side)
    if data is None or not data.length or not rst.reply_rst or not rst.has(MARK_RST_DRAWN):
        return False
    if case.midstream or not case.both_directions or any(s.fin for s in case.segments if s.frame < rst.frame):
        return False
    own = [s for s in genuine(end.segments) if not s.rst and s.unsent == rst.unsent]
    nearer = all(hops(s.ttl) > hops(rst.ttl) for s in own)
    return nearer and 0 <= rst.time - case[C_WAIT_SPOKE + end.side] < 3 * SECOND


def suspected(case: Case, end: End, found: Forged) -> Verdict:
    """The verdict about RSTs at one capture point."""
    first = found.rsts[0]
    n = len(found.rsts)
    obeyed = any(x.event is Event.RCV_RST and x.side != end.side for x in case.view.changes) or bool(
        [s for s in genuine(end.peer.segments) if s.rst and s.frame > first.frame]
    )
    # the system of a client that speaks TCP by other means, or under another name, resets what it does not know
    unknown = refuses(end, first)
    sure = not found.far and not unknown
    evidence = (
        f"{'an RST' if n == 1 else f'{n} RSTs'} in the name of {end.name} ({case.frames(*found.rsts)})",
        *found.evidence,
    )
    cut = "cut" if obeyed else "tried to cut"
    return Verdict(
        88 if sure else 50,
        "likely" if sure else "possible",
        evidence,
        f"somebody on the way {cut} the connection of {end.peer.name} with {end.name}: {n} "
        f"{'RSTs' if n > 1 else 'RST'} in the name of {end.name} {'were' if n > 1 else 'was'} not its own",
        (f"{end.name} goes on: it had neither crashed nor been restarted",) if goes_on(end, first) else (),
        () if sure else ("nat_not_undone",) if unknown else ("aborted_by_application", "endpoint_restarted"),
        None if obeyed else "low",
        at=first,
    )


CAUSES = (
    Cause(
        name="reset_injected",
        family="others",
        where="path",
        severity="high",
        summary="Somebody who is neither of the ends sent an RST in the name of one: a firewall, a filter, a censor.",
        predicts=(
            "an RST with another TTL than its sender's other segments, or sooner than a round trip allows",
            "its supposed sender goes on",
            "with two capture points: an RST that arrived and was never sent",
        ),
        forbids=("the RST at its sender's own capture point",),
        look_alikes={
            "nothing_listens": "the RST has the host's TTL and no SYN+ACK follows",
            "endpoint_restarted": "the end does not go on",
            "aborted_by_application": "the end does not go on, and the TTL is its own",
            "closed_with_unread_data": "the end does not go on, and the TTL is its own",
            "idle_timeout_in_path": "the connection had been silent for long",
            "nat_not_undone": "the RST answers a segment that its receiver could not assign",
            "accept_queue_full": "the RST has come as far as the SYN+ACK",
            "reused_after_close": "the end had closed",
            "time_wait_gone": "the end had closed",
        },
        explains=frozenset(
            {
                *("rst_injection_suspected", "rst_seq_inexact", "rst_out_of_window", "rst_ignored", "rst_challenged"),
                *("rst_in_handshake", "connection_refused", "half_open_discovered", "abort_on_overflow", "abort_rst"),
                *("reply_rst", "rst_storm", "close_with_unread_data", "rst_bad_ack", "blind_rst_sweep"),
            }
        ),
        next_step="capture at {client_host} and {server_host} at once (analyze A.pcap B.pcap --merge-vantage); "
        "compare the RST's TTL with traceroute -T -p {server_port} {server_host} to find how far away it is made",
        concerns=concerns_reset,
        weigh=reset_injected,
        example=HANDSHAKE
        + """
            1.000 < R  1:1(0)     ttl 101
            1.001 < R  1461:1461(0) ttl 101
            1.100 < P. 1:501(500) ack 101
        """,
        look_alike=HANDSHAKE
        + """
            1.000 < R. 1:1(0)     ack 101
            1.100 > P. 101:201(100) ack 1
            1.110 < R  1:1(0)
        """,
    ),
)
