"""Causes of handshakes that stop after the SYN+ACK: a full queue, a listener that waits for data, lost ACKs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.causes.attempts import RTO, answer_of, at_server, syns_of
from tcptrace_fsm.causes.briefs import NEARLY
from tcptrace_fsm.causes.cause import Cause, Sufferer, Verdict
from tcptrace_fsm.findings.evidence import genuine, is_copy
from tcptrace_fsm.findings.handshake import Handshake, is_plain
from tcptrace_fsm.findings.rule import SECOND, Segment, span
from tcptrace_fsm.kernels.layout import (
    C_MARKS,
    C_OPENING,
    CLIENT,
    FATE_ARRIVED,
    FATE_LOST,
    MARK_SYN_ACK_AGAIN,
    MARK_SYN_AGAIN,
    OPENING_MIDSTREAM,
    OPENING_REFUSED,
    OPENING_UNANSWERED,
    SERVER,
    TCP_SYN,
)

if TYPE_CHECKING:
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World

__all__ = ["CAUSES"]

PATIENCE = 5 * SECOND // 2  # the first repetition of a SYN+ACK comes after a second (RFC 6298 section 2)
EXPLAINED = frozenset(
    {
        "synack_retransmission",
        "third_ack_lost",
        "accept_queue_overflow_suspected",
        "accept_queue_overflow",
        "half_open_timeout",
        "rto_retransmission",
        "rexmit_backoff_chain",
        "lost_after_v",
        "retransmission_timeout_abort",
    }
)


class Stalled(NamedTuple):
    """A handshake in which the SYN+ACK came again.

    Attributes
    ----------
    first : Segment
        The first SYN+ACK.
    again : list of Segment
        Its repetitions, before the server was seen to open.
    sent : list of Segment
        What the client had sent that should have completed the handshake, before the last repetition.
    reaction : Segment or None
        The first segment of the server that shows it open, or gone.
    """

    first: Segment
    again: list[Segment]
    sent: list[Segment]
    reaction: Segment | None

    @property
    def ignored(self) -> int:
        """How many segments of the client had no effect."""
        return sum(s.run for s in self.sent)

    @property
    def data(self) -> bool:
        """Whether there were data among them."""
        return any(s.length for s in self.sent)

    @property
    def opened(self) -> bool:
        """Whether the server opened after all."""
        return self.reaction is not None and not self.reaction.rst


def stalled(case: Case) -> Stalled | None:
    """How the handshake stalled; None where no SYN+ACK came again."""
    h = Handshake(case.segments)
    if not h.answers:
        return None
    first = h.answers[0]
    reaction = next((s for s in genuine(h.server) if s.frame > first.frame and not s.flags & TCP_SYN), None)
    until = reaction.frame if reaction else 1 << 63
    again = [s for s in h.answers[1:] if s.has(MARK_SYN_ACK_AGAIN) and s.frame < until and not at_once(case, s)]
    if h.ack and h.ack.frame < (again[-1].frame if again else 0):
        again = [s for s in again if s in h.again or s.frame < h.ack.frame]
    if not again:
        return None
    sent = [s for s in h.client if is_plain(s) and first.frame < s.frame < again[-1].frame]
    sent = [s for s in sent if not is_copy(s, case.client)]
    return Stalled(first, again, sent, reaction)


def at_once(case: Case, again: Segment) -> bool:
    """Whether a SYN+ACK follows another so soon that no timer, and no SYN between them, has sent it: it is a copy."""
    before = case.view.before(again, side=SERVER)
    asked = before and any(s.syn and before.frame < s.frame < again.frame for s in case.sent(CLIENT))
    return before is not None and before.syn_ack and not asked and again.time - before.time < NEARLY


def concerns_stalled(case: Case) -> bool:
    """A SYN+ACK that came again."""
    return bool(case[C_MARKS] >> MARK_SYN_ACK_AGAIN & 1) and case[C_OPENING] != OPENING_MIDSTREAM


def repeated_synacks(case: Case, s: Stalled) -> str:
    """How often the SYN+ACK came, in words."""
    n = len(s.again)
    return (
        f"{case.server.name} repeated its SYN+ACK {'once' if n == 1 else f'{n} times'}, the last time "
        f"{span(s.again[-1].time - s.first.time)} after the first ({case.frames(s.first, *s.again)})"
    )


def ending(case: Case, s: Stalled) -> str:
    """What became of it."""
    if s.reaction is None:
        return f"it has not opened in {span(case.end - s.first.time)}"
    if s.reaction.rst:
        return f"it reset the connection after {span(s.reaction.time - s.first.time)} ({case.frames(s.reaction)})"
    return f"it opened after {span(s.reaction.time - s.first.time)} ({case.frames(s.reaction)})"


# --- lost on the way --------------------------------------------------------------------------------------------------


def concerns_lost(case: Case) -> bool:
    """A SYN+ACK came again, or a SYN though it was answered."""
    if case[C_OPENING] in (OPENING_UNANSWERED, OPENING_REFUSED, OPENING_MIDSTREAM):
        return False
    return concerns_stalled(case) or bool(case[C_MARKS] >> MARK_SYN_AGAIN & 1)


def handshake_lost_in_path(case: Case, world: World) -> Verdict | None:
    """Half of the handshake does not get through."""
    syns = syns_of(case)
    answer = answer_of(case)
    if not syns or answer is None or syns[0].frame > answer.frame:
        return None
    s = stalled(case)
    if s and s.sent:
        return acks_lost(case, s, world)
    if any(x.rst and x.frame < (s.again[-1].frame if s else answer.frame) for x in case.sent(CLIENT)):
        return None
    repeated = [x for x in syns if x.frame > answer.frame]
    if len(repeated) >= 2:
        return answers_lost(case, syns, answer, repeated, sure=not world.lacks_frames)
    if repeated and answer_lost(case):
        return answers_lost_once(case, answer, repeated[0], world)
    return acks_never_came(case, s) if s and not repeated and not world.leaves_acks_out else None


def acks_lost(case: Case, s: Stalled, world: World) -> Verdict | None:
    """ACKs of the SYN+ACK passed here, and the server does not have them."""
    lost = [x for x in s.sent if x.fate == FATE_LOST]
    if len(s.again) < 2 and s.ignored < 3:
        return None
    if lost and len(lost) == len(s.sent) and not world.lacks_frames:
        return Verdict(
            97,
            "proved",
            (
                (
                    f"{len(lost)} segments of {case.client.name} left it and never came to the server "
                    f"({case.frames(*lost)})"
                ),
                repeated_synacks(case, s),
                ending(case, s),
            ),
            f"something between {case.client.name} and {case.server.name} drops the client's ACKs: {s.ignored} "
            f"segments that should have completed the handshake were lost, the SYN+ACK came {len(s.again)} times again",
            at=s.sent[0],
        )
    if any(x.fate == FATE_ARRIVED for x in s.sent) or at_server(case, world):
        return None
    kinds = "segments, data among them," if s.data else "ACKs"
    evidence = [
        f"{s.ignored} {kinds} of {case.client.name} passed here and had no effect ({case.frames(*s.sent)})",
        repeated_synacks(case, s),
        ending(case, s),
    ]
    return Verdict(
        52 if not s.opened else 44,
        "possible",
        tuple(evidence),
        f"the SYN got to {case.server.name} and its SYN+ACK came back, but none of {s.ignored} segments after it had "
        "an effect: a box on the way that saw only one direction drops them, or the listener's queue is full",
        ("the path is not broken: the SYN+ACK comes again and again",),
        ("accept_queue_full",) if s.data else ("accept_queue_full", "deferred_accept"),
        at=s.again[0],
    )


def answers_lost(case: Case, syns: list[Segment], answer: Segment, repeated: list[Segment], *, sure: bool) -> Verdict:
    """The client repeats its SYN although it was answered."""
    gone = [x for x in case.sent(SERVER) if x.syn_ack and x.fate == FATE_LOST]
    proved = (
        sure
        and bool(gone)
        and len(gone) == len([x for x in case.sent(SERVER) if x.syn_ack and x.frame < syns[-1].frame])
    )
    late = next((x for x in case.sent(CLIENT) if is_plain(x)), None)
    after = f"and opened {span(late.time - syns[0].time)} late" if late else "and never opened"
    return Verdict(
        97 if proved else 62,
        "proved" if proved else "likely",
        (
            f"SYN+ACKs had passed here, from {case.frames(answer)} on",
            f"the client repeated its SYN {len(repeated)} times after that ({case.frames(*repeated)}): it had none",
            *((f"{len(gone)} SYN+ACKs never came to the client's point",) if gone else ()),
        ),
        f"the SYN+ACKs of {case.server.name} do not reach {case.client.name}: it repeated its SYN {len(repeated)} "
        f"times although it was answered, {after}",
        at=answer,
    )


def answer_lost(case: Case) -> bool:
    """Whether the client repeated its SYN a second later, and is much nearer than that: it did not have the answer."""
    syns, answer = syns_of(case), answer_of(case)
    if answer is None or len(syns) < 2 or syns[1].time - syns[0].time < RTO:
        return False
    again = next((x for x in case.sent(SERVER) if x.syn_ack and x.frame > syns[1].frame), None)
    ack = next((x for x in case.sent(CLIENT) if is_plain(x) and again and x.frame > again.frame), None)
    return bool(again and ack and 2 * (ack.time - again.time) < syns[1].time - answer.time)


def answers_lost_once(case: Case, answer: Segment, again: Segment, world: World) -> Verdict | None:
    """The first SYN+ACK of one connection after the other has no effect."""
    mine = [c for c in world.cases_of(case.service) if c.client_host == case.client_host]
    alike = [c for c in mine if concerns_lost(c) and answer_lost(c)]
    opened = [b for b in world.between(case.client_host, case.server_host) if b.service == case.service and b.opened]
    if len(alike) < 3 or 3 * len(alike) < len(opened):
        return None  # as after any loss
    return Verdict(
        58,
        "possible",
        (
            (
                f"the SYN was answered here, and repeated {span(again.time - answer.time)} later all the same "
                f"({case.frames(answer, again)})"
            ),
            f"{len(alike)} of {len(opened)} connections of this client to the service went so: that is no chance",
        ),
        f"the first SYN+ACK of {case.server.name} does not reach {case.client.name}: {len(alike)} of {len(opened)} "
        "connections open a second late",
        ("the SYN was not lost: it was answered",),
        ("path_loss",),
        at=answer,
    )


def acks_never_came(case: Case, s: Stalled) -> Verdict | None:
    """The server repeats its SYN+ACK, the client neither acknowledges it nor repeats its SYN."""
    if len(s.again) < 2:
        return None
    later = next((x for x in case.sent(CLIENT) if is_plain(x)), None)
    if later and s.opened:
        return came_at_last(case, s, later)
    evidence = [
        repeated_synacks(case, s),
        f"{case.client.name} sent its SYN once: it has the SYN+ACK, and its ACKs do not get here",
    ]
    if later:
        evidence.append(
            f"{span(later.time - s.first.time)} after the SYN+ACK it sends as on an open connection "
            f"({case.frames(later)}): it believes that the handshake was completed"
        )
    return Verdict(
        75 if later else 55,
        "likely" if later else "possible",
        tuple(evidence),
        f"the ACKs with which {case.client.name} completes the handshake are lost on the way to {case.server.name}: "
        f"{1 + len(s.again)} SYN+ACKs in {span(s.again[-1].time - s.first.time)}, none acknowledged",
        ("had the SYN+ACK been lost, the client would have repeated its SYN",),
        () if later else ("syn_flood", "nat_not_undone"),
        at=s.again[0],
    )


def came_at_last(case: Case, s: Stalled, ack: Segment) -> Verdict:
    """The ACK of the handshake comes here at last, seconds behind the SYN+ACK: those before it were lost."""
    waited = ack.time - s.first.time
    return Verdict(
        40,
        "possible",
        (
            repeated_synacks(case, s),
            f"{case.client.name} sent its SYN once: it had the SYN+ACK, and acknowledged each of them",
            f"the first of its ACKs that came here came {span(waited)} after the SYN+ACK ({case.frames(ack)})",
        ),
        f"the connection opened {span(waited)} late: the ACKs with which {case.client.name} completes the handshake "
        f"did not get to {case.server.name} until then",
        ("had the SYN+ACK been lost, the client would have repeated its SYN",),
        ("path_loss",),
        severity="medium" if waited >= 2 * SECOND else "low",
        at=s.again[0],
    )


def lost_often(sufferers: list[Sufferer], world: World) -> str:
    """The best message, and how many."""
    del world
    best = max(sufferers, key=lambda s: s.verdict.weight)
    return best.verdict.message


CAUSES = (
    Cause(
        name="handshake_lost_in_path",
        family="opening",
        where="path",
        severity="medium",
        summary="One part of the handshake does not get through: a stateful box that saw only one direction drops the "
        "ACKs, or the SYN+ACKs take a way that drops them.",
        predicts=("SYN+ACKs again and again", "the client's ACKs, or the SYN+ACKs, are missing at the other end"),
        forbids=("the client's ACKs at the server",),
        look_alikes={
            "accept_queue_full": "the ACKs do arrive: only a capture at the server tells",
            "deferred_accept": "the first data open the connection",
            "syn_flood": "very many half-open connections",
            "scan": "one host tries many ports",
            "first_syn_dropped": "the SYN+ACK comes at once after the second SYN",
            "nat_not_undone": "the client answers the SYN+ACK with RST, or gets it under another name",
            "path_dead": "nothing comes back",
            "path_loss": "some segments get through",
            "peer_vanished": "the other side was heard before",
        },
        explains=EXPLAINED | {"syn_retransmission"},
        next_step="capture at {server_host} too: tcpdump -ni any 'tcp port {server_port} and host {client_host}'; look "
        "for asymmetric routes and stateful filters between (conntrack, 'invalid' drops)",
        concerns=concerns_lost,
        weigh=handshake_lost_in_path,
        word=lost_often,
        example="""
            0.000 > S  0:0(0)
            0.001 < S. 0:0(0)      ack 1
            1.010 < S. 0:0(0)      ack 1
            3.010 < S. 0:0(0)      ack 1
            7.010 < S. 0:0(0)      ack 1
            end 20
        """,
        look_alike="""
            0.000 > S  0:0(0)      ttl 60
            0.001 < S. 0:0(0)      ack 1 ttl 64
            0.020 > .  1:1(0)      ack 1 ttl 60
            0.021 > P. 1:101(100)  ack 1 ttl 60
            1.010 < S. 0:0(0)      ack 1 ttl 64
            1.020 > .  101:101(0)  ack 1 ttl 60
            3.010 < S. 0:0(0)      ack 1 ttl 64
            3.020 > .  101:101(0)  ack 1 ttl 60
            7.010 < S. 0:0(0)      ack 1 ttl 64
            end 20
        """,
    ),
)
