"""Causes of handshakes that the server does not complete: a full queue, a listener that waits for data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.causes.attempts import (
    RTO,
    answer_of,
    at_server,
    harm,
    kept_waiting,
    late,
    neighbours,
    opened_late,
    syns_of,
)
from tcptrace_fsm.causes.briefs import CLIENT_BYTES, SERVER_BYTES
from tcptrace_fsm.causes.cause import Cause, Verdict
from tcptrace_fsm.causes.handshake import EXPLAINED, concerns_stalled, ending, repeated_synacks, stalled
from tcptrace_fsm.causes.unanswered import concerns_unanswered, silence
from tcptrace_fsm.findings.evidence import hops
from tcptrace_fsm.findings.handshake import is_plain
from tcptrace_fsm.findings.rule import SECOND, span
from tcptrace_fsm.kernels.layout import (
    C_CLOSING,
    C_OPENING,
    CLIENT,
    CLOSING_ABORTED,
    E_RSTS,
    E_SEGMENTS,
    E_SYNS,
    FATE_ARRIVED,
    FATE_LOST,
    FATE_PARTLY,
    MILLISECOND,
    OPENING_INCOMPLETE,
    OPENING_REFUSED,
    OPENING_UNANSWERED,
    SERVER,
)

if TYPE_CHECKING:
    from tcptrace_fsm.causes.briefs import Brief
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World

__all__ = ["CAUSES"]

PATIENCE = 5 * SECOND // 2  # the first repetition of a SYN+ACK comes after a second (RFC 6298 section 2)


# --- the listener waits for data --------------------------------------------------------------------------------------


def deferred_accept(case: Case, world: World) -> Verdict | None:
    """The bare ACK does not open it; a late SYN+ACK, or the first data, do."""
    s = stalled(case)
    if s is None or not s.sent or s.data or (s.reaction and s.reaction.rst):
        return None
    wait = s.again[0].time - s.first.time
    patient = wait >= PATIENCE
    if not patient and not (len(s.again) > 1 and s.reaction and s.reaction.ack > 1):
        return None  # as after any loss
    if s.reaction is None and len(s.again) > 1:
        return None
    greeted = s.reaction is not None and bool(s.reaction.length) and s.reaction.ack <= 1
    evidence = [
        f"the ACK of the SYN+ACK had passed and did not open it ({case.frames(s.sent[0])})",
        f"{repeated_synacks(case, s)}; a lost ACK would bring it back after 1 s"
        if patient
        else repeated_synacks(case, s),
        ending(case, s),
    ]
    if s.reaction and s.reaction.ack > 1:
        evidence.append("the first data opened it at once")
    like = [c for c in world.cases_of(case.service) if c is not case and (o := stalled(c)) and o.sent and not o.data]
    if like:
        evidence.append(f"{len(like)} other connections to {case.service_text} did the same")
    sure = patient or bool(like)
    return Verdict(
        85 if patient else 55,  # Linux sends no SYN+ACK while it waits, as it does while its queue is full
        "likely" if sure else "possible",
        tuple(evidence),
        f"{case.service_text} does not accept a connection before it has data (deferred accept): it ignored the "
        f"client's ACK and opened {span((s.reaction.time if s.reaction else case.end) - s.first.time)} after its first "
        "SYN+ACK",
        ("a full queue would repeat the SYN+ACK after 1 s",) if patient else (),
        () if patient else ("accept_queue_full", "handshake_lost_in_path"),
        "medium" if greeted or s.reaction is None else "low",
        at=s.again[0],
        amount=s.again[-1].time - s.first.time,
    )


# --- a full queue -----------------------------------------------------------------------------------------------------


def concerns_queue(case: Case) -> bool:
    """A SYN+ACK that came again, a handshake that was reset, SYNs that were ignored."""
    if case[C_OPENING] == OPENING_UNANSWERED:
        return concerns_unanswered(case)
    return concerns_stalled(case) or reset_early(case) or opened_late(case)


def reset_early(case: Case) -> bool:
    """The server reset it, and had sent nothing but its SYN+ACK."""
    server = case.server
    failed = case[C_OPENING] == OPENING_INCOMPLETE and case[C_CLOSING] == CLOSING_ABORTED
    return failed and 0 < server[E_RSTS] < server[E_SEGMENTS] == server[E_RSTS] + server[E_SYNS]


def accept_queue_full(case: Case, world: World) -> Verdict | None:
    """The server's host has what should open the connection, and the listener does not take it."""
    if case[C_OPENING] == OPENING_UNANSWERED:
        return syns_ignored(case, world)
    s = stalled(case)
    if s is None:
        return reset_after_handshake(case, world) if reset_early(case) else syns_taken_late(case, world)
    if not s.sent or (len(s.again) < 2 and s.ignored < 3):
        return None
    if any(x.fate == FATE_LOST for x in s.sent):
        return None
    arrived = case.two_points and all(x.fate in (FATE_ARRIVED, FATE_PARTLY) for x in s.sent)
    near = arrived or at_server(case, world)
    kinds = "segments, data among them," if s.data else "ACKs"
    evidence = [
        f"{s.ignored} {kinds} of {case.client.name} should have completed the handshake ({case.frames(*s.sent)})",
        repeated_synacks(case, s),
        ending(case, s),
    ]
    if near:
        evidence.append("they reached the server's host: the capture was taken there")
    others = [b for b in world.to_service(case.service).opened if b.conn_id != case.conn_id]
    if others:
        evidence.append(f"{len(others)} other connections to {case.service_text} opened")
    against = ("deferred accept would open with the first data",) if s.data else ()
    sure = near and s.data
    return Verdict(
        95 if arrived and s.data else 75 if sure else 50 + 8 * s.opened,
        "proved" if arrived and s.data else "likely" if sure else "possible",
        tuple(evidence),
        f"{case.service_text} ignored {s.ignored} segments that should have completed the handshake, and repeated its "
        f"SYN+ACK {len(s.again)} times: its accept queue is full, since the application does not accept() fast enough "
        "or the backlog is small",
        against,
        () if sure else ("handshake_lost_in_path",) if s.data else ("handshake_lost_in_path", "deferred_accept"),
        at=s.again[0],
    )


def asked_in_vain(case: Case, world: World) -> int:
    """How many connections to a service opened, if all of them asked and none got a byte back; else 0."""
    opened = world.to_service(case.service).opened
    return 0 if any(opened.column(SERVER_BYTES)) or not all(opened.column(CLIENT_BYTES)) else len(opened)


def syns_ignored(case: Case, world: World) -> Verdict | None:
    """SYNs have no answer, to a service that accepts others: at the server's host, or one that answers nothing."""
    beside = neighbours(case, world)
    opened = beside.opened[0] if beside.opened else beside.other
    here = at_server(case, world)
    mute = 0 if here else world.once(("mute", case.service), lambda: asked_in_vain(case, world))
    hang = 0 if here or mute > 1 else kept_waiting(case, world)
    if opened is None or not (here or mute > 1 or hang) or world.to_host(case.server_host).went_on_unanswered:
        return None  # much of what the server says is not here
    return Verdict(
        56,
        "possible",
        (
            silence(case),
            "the SYNs reached the server's host: the capture was taken there"
            if here
            else f"{mute} connections that opened before asked and got no byte back: its application takes none"
            if mute > 1
            else f"all {hang} connections that were open meanwhile had asked, and got no answer: its application hangs",
            (
                f"{case.service_text} accepted {world.counts(case.service).opened} other connections, like "
                f"{opened.conn_id}"
            ),
        ),
        f"{case.service_text} ignores SYNs while it accepts others: {world.counts(case.service).unanswered} had no "
        "answer; its accept queue is full",
        ("no RST and no ICMP error: something listens", "SYN cookies would answer where only the SYN queue is full"),
        ("syn_filtered", "syn_rejected_by_option"),
        harm(case, world, len(beside.failed) + len(taken_late(case, world))),
    )


def taken_late(case: Case, world: World) -> list[Brief]:
    """The connections to a service that opened with a repeated SYN only."""
    return world.once(("late", case.service), lambda: [b for b in world.to_service(case.service) if late(b)])


def syns_taken_late(case: Case, world: World) -> Verdict | None:
    """A SYN that reached the server's host had no answer, its repetition had."""
    syns, answer = syns_of(case), answer_of(case)
    if answer is None or len(syns) < 2 or answer.time - syns[0].time < RTO or not at_server(case, world):
        return None
    if 0 <= syns[0].tsval == answer.tsecr != syns[-1].tsval:
        return None  # its host had taken the first SYN: its answer to that was lost
    slow = taken_late(case, world)
    beside = world.to_service(case.service).opened
    if len(slow) < 3 or 5 * len(slow) >= 4 * len(beside):
        return None
    wait = answer.time - syns[0].time
    return Verdict(
        62,
        "possible",
        (
            f"the first SYN had no answer, one sent {span(wait)} later had ({case.frames(*syns, answer)})",
            "the SYNs reached the server's host: the capture was taken there",
            f"{len(slow)} of {len(beside)} connections to {case.service_text} went so, the others opened at once",
        ),
        f"{case.service_text} ignores SYNs while it accepts others: {len(slow)} connections opened with a repeated SYN "
        f"only, up to {span(wait)} late; its accept queue is full at times",
        ("the SYNs were not lost on the way: they had arrived",),
        ("first_syn_dropped", "syn_filtered"),
        at=syns[0],
        amount=wait,
    )


def reset_after_handshake(case: Case, world: World) -> Verdict | None:
    """The ACK that completes the handshake is answered by RST at once, while others are served."""
    answer = answer_of(case)
    ack = next((x for x in case.sent(CLIENT) if is_plain(x)), None)
    rst = next((x for x in case.sent(SERVER) if answer and ack and x.frame > ack.frame), None)
    if answer is None or ack is None or rst is None or not rst.reply_rst or rst.seq != 1:
        return None
    if not syns_of(case) or ack.seq != 1 or ack.time - answer.time > SECOND:
        return None  # it answers something later, and the capture lacks what was before that
    if any(x.rst and x.frame < rst.frame for x in case.sent(CLIENT)):
        return None  # the client had reset it
    syn = next(iter(syns_of(case)), None)
    way = answer.time - syn.time if syn else 0
    if rst.time - ack.time > 4 * way + 50 * MILLISECOND or hops(rst.ttl) != hops(answer.ttl):
        return None
    following = next((b for b in world.to_service(case.service) if b.first_time > rst.time), None)
    if following is not None and following.opening == OPENING_REFUSED:
        return None  # the listener was closed with what waited in its queue
    alike = [
        c for c in world.cases_of(case.service) if reset_early(c) and abs(c.first_time - case.first_time) < 60 * SECOND
    ]
    others = [b for b in world.to_service(case.service).opened if b.server_bytes]
    evidence = [
        (
            f"{case.service_text} offered the connection and reset it {span(rst.time - ack.time)} after the ACK, with "
            f"an RST that answers it ({case.frames(answer, ack, rst)})"
        ),
        f"it went so with {len(alike)} of {world.counts(case.service).total} connections",
    ]
    if others:
        evidence.append(f"{len(others)} others were served, like {others[0].conn_id}")
    return Verdict(
        65 if others else 45,
        "likely" if others else "possible",
        tuple(evidence),
        f"{case.service_text} offers connections and resets {len(alike)} of {world.counts(case.service).total} at "
        "once: its accept queue is full (tcp_abort_on_overflow, or a system that always resets)",
        ("the RST has come as far as the SYN+ACK: the host itself sent it",),
        ("nothing_listens",),
        at=rst,
    )


HANDSHAKE = """
            0.000 > S  0:0(0)      ttl 64
            0.010 < S. 0:0(0)      ack 1 ttl 60
            0.020 > .  1:1(0)      ack 1
"""

CAUSES = (
    Cause(
        name="accept_queue_full",
        family="opening",
        where="server",
        severity="medium",
        summary="The listener's queue of finished handshakes is full: the application does not accept() fast enough, "
        "or the backlog is small. The host ignores ACKs and SYNs, or resets.",
        predicts=(
            "ACKs and data reach the server, which repeats its SYN+ACK",
            "or an RST answers the ACK, while other connections are served",
        ),
        forbids=("ACKs that never arrive at the server", "an RST from another distance than the SYN+ACK"),
        look_alikes={
            "handshake_lost_in_path": "the ACKs do not arrive: only a capture at the server tells",
            "deferred_accept": "the first data open it at once; the SYN+ACK comes again late",
            "syn_filtered": "the service accepts nobody",
            "reset_injected": "the RST has come another way",
            "path_dead": "the SYN+ACKs come back: the path is alive",
            "path_loss": "only some segments are lost",
        },
        explains=EXPLAINED | {"abort_on_overflow", "syn_no_response", "syn_retry_exhausted", "syn_retransmission"},
        next_step="on {server_host}: ss -ltn 'sport = :{server_port}' (Recv-Q above Send-Q), nstat -az "
        "TcpExtListenOverflows TcpExtListenDrops; raise the backlog and net.core.somaxconn",
        concerns=concerns_queue,
        weigh=accept_queue_full,
        example="""
            0.000 > S  0:0(0)      ttl 60
            0.001 < S. 0:0(0)      ack 1 ttl 64
            0.020 > .  1:1(0)      ack 1 ttl 60
            0.021 > P. 1:101(100)  ack 1 ttl 60
            0.300 > P. 1:101(100)  ack 1 ttl 60
            1.010 < S. 0:0(0)      ack 1 ttl 64
            1.020 > .  101:101(0)  ack 1 ttl 60
            3.010 < S. 0:0(0)      ack 1 ttl 64
            3.020 > .  101:101(0)  ack 1 ttl 60
            7.010 < S. 0:0(0)      ack 1 ttl 64
            end 20
        """,
        look_alike="""
            0.000 > S  0:0(0)      ttl 60
            0.001 < S. 0:0(0)      ack 1 ttl 64
            1.010 < S. 0:0(0)      ack 1 ttl 64
            3.010 < S. 0:0(0)      ack 1 ttl 64
            7.010 < S. 0:0(0)      ack 1 ttl 64
            end 20
        """,
    ),
    Cause(
        name="deferred_accept",
        family="opening",
        where="server",
        severity="medium",
        summary="The listener uses deferred accept (TCP_DEFER_ACCEPT): a handshake without data does not count, and a "
        "client that waits for a greeting waits until the timer is over.",
        predicts=(
            "the ACK of the SYN+ACK is ignored",
            "the first SYN+ACK comes again much later than 1 s, or the first data open the connection at once",
        ),
        forbids=("data that are ignored",),
        look_alikes={
            "accept_queue_full": "data are ignored too",
            "handshake_lost_in_path": "the SYN+ACK comes again after 1 s, 3 s, 7 s; data have no effect",
            "path_loss": "the SYN+ACK comes again after 1 s",
            "server_slow": "the handshake is completed at once",
        },
        explains=EXPLAINED | {"defer_accept_suspected"},
        next_step="look for TCP_DEFER_ACCEPT in the server's settings (deferred accept, AcceptFilter, "
        '"deferred"); switch it off where the server speaks first',
        concerns=concerns_stalled,
        weigh=deferred_accept,
        example=HANDSHAKE
        + """
            15.20 < S. 0:0(0)     ack 1
            15.21 > .  1:1(0)     ack 1
            15.22 < P. 1:12(11)   ack 1
            15.23 > .  1:1(0)     ack 12
        """,
        look_alike=HANDSHAKE
        + """
            1.010 < S. 0:0(0)     ack 1
            1.020 > .  1:1(0)     ack 1
            1.030 < P. 1:12(11)   ack 1
            1.040 > .  1:1(0)     ack 12
        """,
    ),
)
