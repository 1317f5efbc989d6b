"""Causes of connections that do not open: the other side, or somebody between, says no."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.causes.cause import Cause, Sufferer, Verdict
from tcptrace_fsm.findings.rule import span
from tcptrace_fsm.kernels.layout import C_OPENING, CLIENT, OPENING_REFUSED, SERVER

if TYPE_CHECKING:
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World

__all__ = ["CAUSES"]


def concerns_refused(case: Case) -> bool:
    """An RST answered its SYN."""
    return case[C_OPENING] == OPENING_REFUSED


def nothing_listens(case: Case, world: World) -> Verdict | None:
    """The host answers the SYN with RST, and accepts nobody on that port."""
    syn = next((s for s in case.sent(CLIENT) if s.syn), None)
    rst = next((s for s in case.sent(SERVER) if s.rst), None)
    if syn is None or rst is None:
        return None
    counts = world.counts(case.service)
    if counts.opened:
        return None  # somebody listens there, at least at times
    evidence = [
        f"{case.service_text} answered the SYN with RST after {span(rst.time - syn.time)} ({case.frames(syn, rst)})",
        f"{counts.refused} of {counts.total} connections to {case.service_text} were refused, none opened",
    ]
    elsewhere = [b for b in world.to_host(case.server_host) if b.opened and b.server_port != case.service[3]]
    if elsewhere:
        other = elsewhere[0]
        evidence.append(f"the host is up: its port {other.server_port} accepted connection {other.conn_id}")
    return Verdict(
        60,
        "likely",
        tuple(evidence),
        f"nothing listens on {case.service_text}: it answers SYNs with RST",
        alternatives=("rejected_by_icmp",) if not elsewhere else (),
        at=rst,
    )


def refused_often(sufferers: list[Sufferer], world: World) -> str:
    """How many were refused, by whom."""
    case = sufferers[0].case
    counts = world.counts(case.service)
    return (
        f"nothing listens on {case.service_text}: it answered {counts.refused} of {counts.total} connections with RST"
        if counts.total > 1
        else sufferers[0].verdict.message
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
        forbids=("a connection to the same port that opens", "silence"),
        look_alikes={
            "reset_injected": "the RST's TTL differs from the host's other segments, or a SYN+ACK comes as well",
            "accept_queue_full": "other connections to the port are accepted at the same time",
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
            1.000 > S  0:0(0)
            1.010 < S. 0:0(0)     ack 1
            1.020 > .  1:1(0)     ack 1
        """,
    ),
)
