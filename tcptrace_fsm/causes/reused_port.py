"""The cause of a SYN that meets what is left of the connection which used its port before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.causes.attempts import RTO, neighbours, one_way_capture, syns_of
from tcptrace_fsm.causes.briefs import OPENED, SERVER_BYTES
from tcptrace_fsm.causes.cause import Cause, Sufferer, Verdict
from tcptrace_fsm.causes.picky import EXPLAINED, answered_syn
from tcptrace_fsm.findings.odd_opening import is_old_ack
from tcptrace_fsm.findings.rule import SECOND, span
from tcptrace_fsm.kernels.layout import (
    BASE_SYN,
    C_INCARNATION,
    C_OPENING,
    C_PORTS,
    C_TAKEN_OVER,
    CLIENT,
    CLOSING_ABORTED,
    CLOSING_NONE,
    E_BASE,
    SERVER,
    TCP_ACK,
    TCP_FIN,
    TCP_RST,
    TCP_SYN,
)

if TYPE_CHECKING:
    from tcptrace_fsm.causes.briefs import Brief
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World
    from tcptrace_fsm.findings.rule import Segment

__all__ = ["CAUSES"]

MOST_TIME_WAIT = 240 * SECOND  # 2 MSL of RFC 9293


def concerns_reused(case: Case) -> bool:
    """A four-tuple that was used before, or a SYN that was not answered by SYN+ACK."""
    return case[C_INCARNATION] > 0 or case.has("syn_answered_by_ack")


def use_before(case: Case, world: World) -> Brief | None:
    """The connection that used this four-tuple before and came to something."""
    host, port = case.client_host, case[C_PORTS] >> 16
    service, began = case.service, case.first_time

    def of_use() -> list[Brief]:
        used = world.from_socket(host, port)
        columns = used.column(C_OPENING), used.column(SERVER_BYTES)
        return list(used.those([how in OPENED or sent for how, sent in zip(*columns, strict=True)]))

    earlier = reversed(world.once(("of use", host, port), of_use))
    return next((b for b in earlier if b.first_time < began and b.service == service), None)


def is_bare_ack(s: Segment) -> bool:
    """An ACK and nothing else."""
    return s.flags & (TCP_SYN | TCP_FIN | TCP_RST | TCP_ACK) == TCP_ACK and not s.length


def old_ack(case: Case, before: Brief | None, world: World) -> tuple[Case, Segment] | None:
    """The ACK of the old connection that answers the SYN: in this connection's record, or still in the old one's."""
    syns = syns_of(case)
    first = next(iter(case.sent(SERVER)), None)
    if first and is_old_ack(first):
        return case, first
    old = world.cases_by_id.get(before.conn_id) if before else None
    if old and old[C_TAKEN_OVER] >= 0:
        since = max(old[C_TAKEN_OVER], syns[0].time if syns else 0)
        found = next((s for s in old.sent(SERVER) if s.time >= since and is_bare_ack(s)), None)
        if found:
            return old, found
    return None


def port_in_time_wait(case: Case, world: World) -> Verdict | None:
    """A SYN meets what is left of the connection that used its port before."""
    _vain, _meant, answer = answered_syn(case)
    syns = syns_of(case)
    if not syns or (answer and answer.time - syns[0].time < RTO):
        return None
    before = use_before(case, world)
    if before and before.closing == CLOSING_NONE:
        return None  # still open: the client forgot it
    if before and before.client_base_known == BASE_SYN and before.client_base == case.client[E_BASE]:
        return None  # the SYN of that connection once more, which came late
    ack = old_ack(case, before, world)
    passed = case.first_time - before.last_time if before else -1
    if ack is None and (one_way_capture(case, world) or syns[-1].time - syns[0].time < RTO):
        return None  # who has no answer asks again: the capture may lack what came
    if ack is None and (before is None or passed > MOST_TIME_WAIT or before.closing == CLOSING_ABORTED):
        return None
    evidence = []
    if ack:
        where, segment = ack
        rst = next((s for s in where.sent(CLIENT) if s.rst and s.frame > segment.frame), None)
        then = f", to which the client replied with RST ({where.frames(segment, rst)})" if rst else ""
        evidence.append(
            f"the SYN in {case.frames(syns[0])} was answered by an ACK of other numbers ({where.frames(segment)}){then}"
        )
    else:
        evidence.append(f"the SYN had no answer ({case.frames(*syns)})")
    if before:
        evidence.append(f"connection {before.conn_id} used the same four-tuple and ended {span(max(passed, 0))} before")
    mine = neighbours(case, world).opened
    fresh = [b for b in mine if before and b.client_port != before.client_port and b.first_time >= before.first_time]
    if fresh:
        evidence.append(f"{len(fresh)} connections from other ports of the same client were accepted")
    if answer:
        evidence.append(f"the SYN was accepted {span(answer.time - syns[0].time)} later ({case.frames(answer)})")
    return Verdict(
        85 if ack and before else 60 if ack else 52,
        "likely" if ack and before else "possible",
        tuple(evidence),
        f"{case.client.name} uses its port again while {case.service_text} still holds the connection of before in "
        f"TIME_WAIT: the SYN "
        + (f"was accepted only {span(answer.time - syns[0].time)} later" if answer else "did not open a connection"),
        ("other connections of the same client are accepted",) if fresh else (),
        () if ack and before else ("endpoint_restarted",) if ack else ("syn_filtered", "path_loss"),
        at=syns[0],
    )


def used_too_early(sufferers: list[Sufferer], world: World) -> str:
    """How many attempts met it."""
    del world
    best = max(sufferers, key=lambda s: s.verdict.weight)
    if len(sufferers) == 1:
        return best.verdict.message
    return f"{best.verdict.message} ({len(sufferers)} attempts)"


CAUSES = (
    Cause(
        name="port_in_time_wait",
        family="opening",
        where="client",
        severity="medium",
        summary="The client opens from a port whose last connection the server still holds in TIME_WAIT: it answers "
        "with an ACK of the old connection, or not at all. Some systems keep TIME_WAIT even when an RST comes "
        "(tcp_rfc1337).",
        predicts=(
            "the four-tuple was used shortly before",
            "an ACK with the old numbers answers the SYN, the client replies with RST",
            "other ports of the same client are accepted",
        ),
        forbids=("an old connection that was not closed",),
        look_alikes={
            "capture_incomplete": "the ACK has numbers of no connection at all",
            "endpoint_restarted": "the old connection was never closed",
            "syn_filtered": "the four-tuple is new",
            "host_unreachable": "the four-tuple is new",
            "first_syn_dropped": "the four-tuples are new",
            "path_loss": "the four-tuple is new",
            "handshake_lost_in_path": "a SYN+ACK comes",
            "accept_queue_full": "the four-tuples are new",
        },
        explains=EXPLAINED
        | {"syn_answered_by_ack", "time_wait_collision", "time_wait_syn_dropped", "seq_gap", "ack_unseen"},
        next_step="on {client_host}: more local ports (sysctl net.ipv4.ip_local_port_range), no bind() to fixed ones, "
        "close first at the client; on {server_host}: ss -tan state time-wait 'sport = :{server_port}', sysctl "
        "net.ipv4.tcp_rfc1337",
        concerns=concerns_reused,
        weigh=port_in_time_wait,
        word=used_too_early,
        example="""
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)     ack 1
            0.020 > .  1:1(0)     ack 1
            0.030 > P. 1:101(100) ack 1
            0.040 < F. 1:1(0)     ack 101
            0.050 > F. 101:101(0) ack 2
            0.060 < .  2:2(0)     ack 102
            isn 2000000 5000
            1.000 > S  0:0(0)
            isn 1000 5000
            1.010 < .  2:2(0)     ack 102
            1.020 > R  102:102(0)
            isn 2000000 5000
            2.000 > S  0:0(0)
            isn 1000 5000
            2.010 < .  2:2(0)     ack 102
            2.020 > R  102:102(0)
            end 9
        """,
        look_alike="""
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)     ack 1
            0.020 > .  1:1(0)     ack 1
            0.030 > P. 1:101(100) ack 1
            0.040 < F. 1:1(0)     ack 101
            0.050 > F. 101:101(0) ack 2
            0.060 < .  2:2(0)     ack 102
            isn 2000000 900000
            1.000 > S  0:0(0)
            1.010 < S. 0:0(0)     ack 1
            1.020 > .  1:1(0)     ack 1
            end 9
        """,
        fragile=True,
    ),
)
