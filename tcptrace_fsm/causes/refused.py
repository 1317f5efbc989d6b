"""Causes of connections that do not open: the other side, or somebody between, says no; or the client met itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.causes.attempts import from_farther, harm, refusal_by_icmp, syns_of
from tcptrace_fsm.causes.briefs import SERVER_PORT
from tcptrace_fsm.causes.cause import Cause, Sufferer, Verdict
from tcptrace_fsm.findings.evidence import hops
from tcptrace_fsm.findings.rule import SECOND, span
from tcptrace_fsm.kernels.layout import (
    C_CLIENT_HI,
    C_CLIENT_LO,
    C_OPENING,
    C_PORTS,
    C_SERVER_HI,
    C_SERVER_LO,
    OPENING_FAST_OPEN,
    OPENING_HANDSHAKE,
    OPENING_INCOMPLETE,
    OPENING_REFUSED,
    OPENING_SIMULTANEOUS,
    OPENING_UNANSWERED,
    SERVER,
    TCP_ACK,
)

if TYPE_CHECKING:
    from tcptrace_fsm.causes.briefs import Brief, Briefs
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World
    from tcptrace_fsm.findings.rule import Segment

__all__ = ["CAUSES"]

APART = SECOND  # a listener that comes or goes does not do so within a round trip


# --- nothing listens --------------------------------------------------------------------------------------------------


def concerns_refused(case: Case) -> bool:
    """An RST answered its SYN."""
    return case[C_OPENING] == OPENING_REFUSED


def accepted_at(case: Case, world: World) -> tuple[Briefs, Briefs]:
    """Connections that the service accepted before and after this one was refused."""
    return world.to_service(case.service).opened.split(case.first_time)


def refused_between(case: Case, world: World, before: Brief, after: Brief) -> int:
    """How many connections were refused, and none accepted, between two that the service accepted."""
    later = world.to_service(case.service).split(before.first_time)[1]
    between = later.split(after.first_time - 1)[0]
    return between.column(C_OPENING).count(OPENING_REFUSED)


def comes_and_goes(case: Case, world: World, before: Briefs, after: Briefs) -> bool:
    """Whether the service accepted others so soon before or after that several hosts may share its address.

    Where it had accepted one and from then on refuses all, at least two, its listener is gone.
    """
    gone = before and not after and refused_since(case, world, before[-1]) > 1
    close = [b for b in (*before[-1:], *after[:1]) if abs(b.first_time - case.first_time) < APART]
    return bool(close and not gone) or bool(before and after and refused_between(case, world, before[-1], after[0]) < 3)


def refused_since(case: Case, world: World, before: Brief) -> int:
    """How many connections the service refused after one that it accepted."""
    return world.to_service(case.service).split(before.first_time)[1].column(C_OPENING).count(OPENING_REFUSED)


def nothing_listens(case: Case, world: World) -> Verdict | None:
    """The host answers the SYN with RST, and accepts nobody on that port at that time."""
    syn = next(iter(syns_of(case)), None)
    rst = next((s for s in case.sent(SERVER) if s.rst), None)
    if syn is None or rst is None:
        return None
    if any(s.frame > rst.frame and not s.rst for s in case.sent(SERVER)):
        return None  # somebody does answer there: the RST may be another's
    counts = world.counts(case.service)
    before, after = accepted_at(case, world)
    near = before[-1] if before else after[0] if after else None
    if comes_and_goes(case, world, before, after):
        return some_refuse(case, world, rst)  # it comes and goes, or several hosts share the address
    if from_farther(case, world, rst):
        return None  # the listener lives on, behind whoever refuses
    evidence = [
        f"{case.service_text} answered the SYN with RST after {span(rst.time - syn.time)} ({case.frames(syn, rst)})",
        (
            f"{counts.refused} of {counts.total} connections to {case.service_text} were refused, "
            f"{counts.opened or 'none'} opened"
        ),
    ]
    host = case.server_host
    other = world.to_host(host).opened.first_on_port(but=case.service[3])
    against = []
    if other:
        evidence.append(f"the host is up: its port {other.server_port} accepted connection {other.conn_id}")
        if hops(other.server_ttl) == hops(rst.ttl):
            evidence.append(f"the RST has come as far as the host's other segments (TTL {rst.ttl})")
        else:
            against.append(f"the RST's TTL is {rst.ttl}, that of the host's other segments {other.server_ttl}")
    message = f"nothing listens on {case.service_text}: it answers SYNs with RST"
    if near:
        when = span(abs(near.first_time - case.first_time))
        turn = f"after connection {near.conn_id} had been accepted" if before else f"before {near.conn_id} was accepted"
        evidence.append(f"refused {when} {turn}")
        if before and after:
            evidence.append(f"accepted again {span(after[0].first_time - case.first_time)} later: {after[0].conn_id}")
        message += f", {'no more' if before else 'not yet'} at that time"
    return Verdict(
        45 if near else 60,
        "possible" if near else "likely",
        tuple(evidence),
        message,
        tuple(against),
        alternatives=("accept_queue_full",) if near else ("reset_injected",) if against or not other else (),
        severity="low" if by_the_other_family(case, world, rst) else harm(case, world, counts.refused),
        at=rst,
    )


def by_the_other_family(case: Case, world: World, rst: Segment) -> bool:
    """Whether the client was accepted at once by the other family of addresses, as who tries both (RFC 8305)."""
    others = world.groups(SERVER_PORT)[(1 - case.service[0], case.service[3])].opened
    return any(0 <= b.first_time - rst.time <= SECOND for b in others)


def some_refuse(case: Case, world: World, rst: Segment) -> Verdict | None:
    """Again and again the service refuses one, and accepts the next."""
    counts = world.counts(case.service)
    if counts.refused < 3 or not counts.opened or 20 * counts.refused < counts.total:
        return None
    before, after = accepted_at(case, world)
    near = min((*before[-1:], *after[:1]), key=lambda b: abs(b.first_time - case.first_time))
    accepted = next((b.server_ttl for b in before if b.server_ttl >= 0), rst.ttl)
    evidence = [
        (
            f"{case.service_text} answered the SYN with RST ({case.frames(*syns_of(case), rst)}), and accepted "
            f"connection {near.conn_id} {span(abs(near.first_time - case.first_time))} "
            f"{'later' if near.first_time > case.first_time else 'before'}"
        ),
        f"{counts.refused} of {counts.total} connections to it were refused, {counts.opened} opened",
    ]
    if accepted != rst.ttl:
        evidence.append(f"the RST has TTL {rst.ttl}, accepted connections {accepted}: not the same machine")
    return Verdict(
        40,
        "possible",
        tuple(evidence),
        f"{case.service_text} refuses {counts.refused} of {counts.total} connections while it accepts others: one of "
        "several machines behind that address does not listen, or its queue is full and it says so",
        ("a host that is alone with its address either listens or does not",),
        ("accept_queue_full", "reset_injected"),
        harm(case, world, counts.refused),
        at=rst,
    )


def refused_often(sufferers: list[Sufferer], world: World) -> str:
    """How many were refused, by whom."""
    case = sufferers[0].case
    counts = world.counts(case.service)
    if counts.total < 2 or counts.opened:
        return sufferers[0].verdict.message
    return (
        f"nothing listens on {case.service_text}: it answered {counts.refused} of {counts.total} connections with RST"
    )


# --- ICMP says no -----------------------------------------------------------------------------------------------------


def concerns_failed(case: Case) -> bool:
    """No segment of the server came, or none that opened the connection."""
    return case[C_OPENING] in (OPENING_UNANSWERED, OPENING_INCOMPLETE) and bool(case.view.icmp)


def rejected_by_icmp(case: Case, world: World) -> Verdict | None:
    """An ICMP error that quotes the SYN forbids it."""
    error = refusal_by_icmp(case)
    syns = syns_of(case)
    if error is None or not syns:
        return None
    own = error.sender == case.server.name.rsplit(":", 1)[0].strip("[]")
    counts = world.counts(case.service)
    evidence = (
        (
            f'{"the host itself" if own else error.sender} answered the SYN with ICMP "{error.name}" after '
            f"{span(error.time - syns[0].time)} ({case.frames(syns[0], error.frame)}; it quotes this SYN)"
        ),
        f"{counts.opened or 'none'} of {counts.total} connections to {case.service_text} opened",
    )
    return Verdict(
        95,
        "proved" if error.outstanding and not counts.opened else "likely",
        evidence,
        f'{error.sender} rejects connections to {case.service_text} with ICMP "{error.name}": a firewall rule, or an '
        "access list",
        where="server" if own else "path",
        severity=harm(case, world, counts.unanswered),
        at=syns[0],
    )


# --- itself -----------------------------------------------------------------------------------------------------------


def concerns_itself(case: Case) -> bool:
    """Both ends are one."""
    same = case[C_CLIENT_HI] == case[C_SERVER_HI] and case[C_CLIENT_LO] == case[C_SERVER_LO]
    return same and case[C_PORTS] >> 16 == case[C_PORTS] & 65535


def self_connect(case: Case, world: World) -> Verdict | None:
    """The client's own SYN comes back to it, and opens a connection with itself."""
    syn = next((s for s in case.segments if s.syn), None)
    if syn is None or not any(s.flags & TCP_ACK and not s.rst for s in case.segments):
        return None  # a SYN alone is forged, to confuse a host
    opened = case[C_OPENING] in (OPENING_HANDSHAKE, OPENING_SIMULTANEOUS, OPENING_FAST_OPEN, OPENING_INCOMPLETE)
    refused = [b for b in world.to_service(case.service) if b.opening == OPENING_REFUSED]
    evidence = [f"both ends are {case.client.name} ({case.frames(syn)})"]
    if refused:
        evidence.append(f"{len(refused)} attempts to connect to {case.service_text} had been refused: nothing listens")
    return Verdict(
        95,
        "proved",
        tuple(evidence),
        f"{case.client.name} connected to itself: it retries a local port where nobody listens, was given that port as "
        "its own, and keeps the server from binding it",
        severity="medium" if opened else "low",
        at=syn,
    )


CAUSES = (
    Cause(
        name="nothing_listens",
        family="opening",
        where="server",
        severity="medium",
        summary="No process listens on the port: the host answers every SYN with RST. It was never started, has "
        "stopped, or listens on another address or port.",
        predicts=(
            "an RST answers each SYN within a round trip, with the host's usual TTL",
            "no connection to this port opens while this lasts",
        ),
        forbids=("a connection to the same port that opens at the same time", "silence"),
        look_alikes={
            "reset_injected": "the RST's TTL differs from the host's other segments, or a SYN+ACK comes as well",
            "accept_queue_full": "other connections to the port are accepted at the same time",
            "scan": "one host tries many ports",
            "self_connect": "the client is its own server",
        },
        explains=frozenset({"connection_refused", "syn_retry_exhausted"}),
        next_step="on {server_host}: ss -ltn 'sport = :{server_port}'",
        concerns=concerns_refused,
        weigh=nothing_listens,
        word=refused_often,
        example="""
            0.000 > S  0:0(0)
            0.010 < R. 0:0(0)     ack 1
        """,
        look_alike="""
            0.000 > S  0:0(0)
            0.010 < R. 0:0(0)     ack 1
            port 40001 80
            0.100 > S  0:0(0)
            0.110 < S. 0:0(0)     ack 1
            0.120 > .  1:1(0)     ack 1
        """,
    ),
    Cause(
        name="rejected_by_icmp",
        family="opening",
        where="path",
        severity="medium",
        summary="A router, a firewall or the host itself answers the SYN with an ICMP error: administratively "
        "prohibited, or port unreachable.",
        predicts=("an ICMP error that quotes the SYN, within a round trip", "no SYN+ACK"),
        forbids=("a connection to the same port from the same client that opens",),
        look_alikes={
            "syn_filtered": "no ICMP error comes back",
            "host_unreachable": "the ICMP error says that host or network cannot be reached",
            "nothing_listens": "an RST comes back, not ICMP",
        },
        explains=frozenset({"syn_no_response", "syn_retry_exhausted", "syn_isn_changed"}),
        next_step="look for the rule on the sender of the ICMP error: iptables -S | grep REJECT; nft list ruleset",
        concerns=concerns_failed,
        weigh=rejected_by_icmp,
        example="""
            0.000 > S  0:0(0)
            0.020 > icmp 3/13 0
            end 5
        """,
        look_alike="""
            0.000 > S  0:0(0)
            0.020 > icmp 3/1 0
            1.000 > S  0:0(0)
            1.020 > icmp 3/1 0
            end 9
        """,
    ),
    Cause(
        name="self_connect",
        family="opening",
        where="client",
        severity="medium",
        summary="A client that retries a port of its own host, where nobody listens, is given that very port as its "
        "local one: its SYN opens a connection with itself (simultaneous open), and the server cannot bind the port.",
        predicts=("address and port of both ends are the same, and the SYN is acknowledged",),
        forbids=("a process that listens on the port",),
        look_alikes={"nothing_listens": "the client's port differs: it is refused"},
        explains=frozenset({"self_connect", "syn_no_response", "simultaneous_open", "seq_gap", "ack_unseen"}),
        next_step="keep the service's port out of the ephemeral range: sysctl net.ipv4.ip_local_reserved_ports="
        "{server_port}",
        concerns=concerns_itself,
        weigh=self_connect,
        example="""
            addr 10.0.0.1 10.0.0.1
            port 9000 9000
            isn 1000 1000
            0.000 > S  0:0(0)
            0.000 > S. 0:0(0)  ack 1
            0.001 > .  1:1(0)  ack 1
        """,
        look_alike="""
            addr 10.0.0.1 10.0.0.1
            port 9001 9000
            0.000 > S  0:0(0)
            0.000 < R. 0:0(0)  ack 1
        """,
    ),
)
