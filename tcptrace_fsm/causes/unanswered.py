"""Causes of SYNs that nobody answers: a filter, a host that is not there, a translation without ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.causes.attempts import (
    at_server,
    broken_syns,
    features,
    harm,
    kept_waiting,
    neighbours,
    one_way_capture,
    syns_of,
    told_by_icmp,
    unreachable,
    waited_long,
)
from tcptrace_fsm.causes.case import host_text
from tcptrace_fsm.causes.cause import Cause, Verdict
from tcptrace_fsm.causes.stall import stalls
from tcptrace_fsm.findings.rule import SECOND, span
from tcptrace_fsm.kernels.layout import (
    C_ID,
    C_INCARNATION,
    C_LAST_TIME,
    C_OPENING,
    CLIENT,
    CLOSING_NONE,
    E_LAST_TIME,
    OPENING_UNANSWERED,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tcptrace_fsm.causes.attempts import Neighbours
    from tcptrace_fsm.causes.briefs import Brief
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World
    from tcptrace_fsm.findings.icmp import IcmpError

__all__ = ["CAUSES", "concerns_unanswered", "silence"]

TRANSLATED = 240 * SECOND  # a translation may keep the port of a closed connection (RFC 5382 REQ-5: 4 min)
MANY = 32  # connections in that time: even small shares of ports (64 for each host, in some clouds) run out
FEW = 2  # single SYNs that nobody repeated: frames may be missing
EXPLAINED = frozenset({"syn_no_response", "syn_retry_exhausted", "syn_isn_changed", "syn_backoff_abnormal"})


def concerns_unanswered(case: Case) -> bool:
    """SYNs, and never an answer, though one was due."""
    return case[C_OPENING] == OPENING_UNANSWERED and waited_long(case)


def silence(case: Case) -> str:
    """How often it asked, and how long it waited for nothing."""
    syns = syns_of(case)
    often = "1 SYN" if len(syns) == 1 else f"{len(syns)} SYNs within {span(syns[-1].time - syns[0].time)}"
    return f"{often} of {case.client.name} had no answer in {span(case.end - syns[0].time)} ({case.frames(*syns)})"


def stopped(case: Case, world: World) -> bool:
    """Whether connections to other ports of the host stand still too, and nothing of it is seen since the SYN."""
    began = syns_of(case)[0].time

    def make() -> tuple[int, bool]:
        mine = world.cases_to(case.server_host)
        sound = world.to_host(case.server_host).answered
        ids, times = sound.column(C_ID), sound.column(C_LAST_TIME)
        latest = [time for number, time in zip(ids, times, strict=True) if number not in world.cases_by_id]
        latest += [c.server[E_LAST_TIME] for c in mine]
        return max(latest, default=0), any(not s.alive and s.end.side == CLIENT for c in mine for s in stalls(c))

    since, dead = world.once(("stopped", case.server_host), make)
    return dead and since < began


def alive(case: Case, world: World) -> str | None:
    """What shows, in words, that the server's host is up."""
    beside = neighbours(case, world)
    if stopped(case, world):
        return None
    if beside.host:
        how = "accepted" if beside.host.opened else "answered"
        return f"the host is up: its port {beside.host.server_port} {how} connection {beside.host.conn_id}"
    if beside.other:
        return f"the service is up: it accepted connection {beside.other.conn_id} of {host_text(beside.other.client)}"
    return None


# --- filtered ---------------------------------------------------------------------------------------------------------


def syn_filtered(case: Case, world: World) -> Verdict | None:
    """Silence from a port, while the host is up or nothing says that it is not."""
    beside = neighbours(case, world)
    if one_way_capture(case, world) or unreachable(case) or told_by_icmp(case, world):
        return None
    if beside.opened:
        return barred(case, world) or some_dropped(case, world)
    if stopped(case, world):
        return None  # nothing of the host comes any more, whatever its port
    counts = world.counts(case.service)
    up = alive(case, world)
    evidence = [
        silence(case),
        f"none of {len(beside.failed)} connections from {host_text(case.client_host)} to it opened",
    ]
    against = ["an RST would say that nothing listens: none came", "no ICMP error quotes the SYN"]
    alternatives = ["host_unreachable"]
    if up:
        evidence.append(up)
        alternatives = []
    elif beside.elsewhere:
        evidence.append(
            f"{host_text(case.client_host)} can open connections elsewhere: {len(beside.elsewhere)} of them here"
        )
    if at_server(case, world):
        evidence.append("the SYN was seen at the server's host: its own filter drops it")
    wrong = broken_syns(case, world)
    if wrong:
        against.append("their checksums are wrong: whoever gets them drops them")
    again = len(syns_of(case)) > 1
    repeated = again or len(beside.failed) > FEW
    return Verdict(
        60 if up else 35,
        "likely" if up and repeated and not wrong else "possible",
        tuple(evidence),
        f"SYNs to {case.service_text} are dropped without a word: {counts.unanswered} of {counts.total} connections "
        "had no answer at all",
        tuple(against),
        tuple(alternatives),
        # A SYN that nobody repeats was given up at once, or the capture lacks what came of it.
        "low" if wrong or not again else harm(case, world, counts.unanswered),
        "server" if at_server(case, world) else None,
    )


def held(twins: Iterable[Brief], began: int) -> list[Brief]:
    """Connections that hold a port of their own when others begin to fail, or many that have just let go of theirs."""
    now = [b for b in twins if b.last_time > began or b.closing == CLOSING_NONE]
    lately = [b for b in twins if b.last_time > began - TRANSLATED]
    return now or (lately if len(lately) >= MANY else [])


def barred(case: Case, world: World) -> Verdict | None:
    """A client whose connections all ended well is heard no more, from some moment on: its address was barred."""
    beside, syns = neighbours(case, world), syns_of(case)
    began = beside.failed[0].first_time
    if beside.opened[-1].first_time >= began or held(beside.opened, began) or stopped(case, world):
        return None
    if case[C_INCARNATION] > 0 or (len(beside.failed) < 2 and len(syns) < 4):
        return None  # a SYN or two that were lost
    since = world.to_service(case.service).split(began)[1]
    others = [b for b in since if b.client != case.client_host]
    served = [b for b in others if b.opened and b.client_syns == 1]
    if len(served) < len(others):
        return None  # whoever asks, not this client alone
    here = at_server(case, world)
    host = host_text(case.client_host)
    evidence = [
        silence(case),
        (
            f"{len(beside.opened)} connections from {host} to {case.service_text} had opened before, the last "
            f"{span(began - beside.opened[-1].first_time)} earlier, and none of them was left; none of "
            f"{len(beside.failed)} opened since"
        ),
    ]
    if here:
        evidence.append("the SYN was seen at the server's host: its own filter drops it")
    if served:
        evidence.append(f"{len(served)} connections of others were accepted meanwhile, like {served[0].conn_id}")
    return Verdict(
        62 if len(served) > 1 else 46,
        "likely" if len(served) > 1 and here else "possible",
        tuple(evidence),
        f"SYNs from {host} to {case.service_text} are dropped without a word since "
        f"{span(began - world.first)} after the capture's begin: {len(beside.failed)} connections had no answer, as if "
        "its address had been barred",
        ("an RST would say that nothing listens: none came", "no ICMP error quotes the SYN"),
        () if len(served) > 1 and here else ("accept_queue_full",) if here else ("host_unreachable",),
        harm(case, world, len(beside.failed)),
        "server" if here else None,
    )


def some_dropped(case: Case, world: World) -> Verdict | None:
    """Some connections of a client get no answer however often they ask, while others open at once."""
    found = fails_beside_success(case, world)
    if found is None or at_server(case, world):
        return None
    beside, twins = found
    began = beside.failed[0].first_time
    later = [b for b in twins if b.first_time >= began and b.client_syns == 1]
    if len(beside.failed) < 3 or len(syns_of(case)) < 3 or len(later) < 3:
        return None
    return Verdict(
        42,
        "possible",
        (
            silence(case),
            (
                f"{len(beside.failed)} of {len(beside.failed) + len(twins)} connections of the client went so, and "
                f"{len(later)} opened with their first SYN meanwhile, like {later[0].conn_id}"
            ),
            "the SYNs that fail carry nothing that those which were answered lack",
        ),
        f"SYNs of {len(beside.failed)} of {len(beside.failed) + len(twins)} connections to {case.service_text} are "
        "dropped without a word, as often as they are repeated, while others open: one of several machines behind that "
        "address is dead, or a box on the way takes no more of them",
        ("no RST, no ICMP error",),
        ("nat_ports_exhausted", "accept_queue_full"),
        harm(case, world, len(beside.failed)),
    )


# --- not there --------------------------------------------------------------------------------------------------------


def host_unreachable(case: Case, world: World) -> Verdict | None:
    """ICMP says so, or nothing of the host is heard on any port."""
    error = unreachable(case)
    beside = neighbours(case, world)
    gone = stopped(case, world)
    if error and (beside.opened or beside.other) and not gone:
        return one_of_several(case, world, error)
    if (beside.opened or beside.other or beside.host) and not gone:
        return None  # something of it answers
    counts = world.counts(case.service)
    severity = harm(case, world, counts.unanswered)
    if error:
        loop = "packets to it run in circles" if error.expired else "it does not answer there, or no route leads to it"
        return Verdict(
            90,
            "likely",
            (
                silence(case),
                f'{error.sender} says "{error.name}" ({case.frames(error.frame)}; it quotes the SYN)',
                f"nothing of {host_text(case.server_host)} answered in this capture",
            ),
            f'{host_text(case.server_host)} cannot be reached: {error.sender} reports "{error.name}" for '
            f"{counts.unanswered} of {counts.total} connections: {loop}",
            severity=severity,
        )
    told = told_by_icmp(case, world)
    if one_way_capture(case, world) or (told and (told.prohibited or told.hard)):
        return None
    ports = world.to_host(case.server_host).ports
    evidence = [silence(case)]
    if gone:
        evidence.append("connections that were open with it stand still, and nothing of it is heard since")
    elif len(ports) > 1:
        evidence.append(f"none of its {len(ports)} ports that were asked gave any answer")
    if beside.elsewhere:
        evidence.append(f"{host_text(case.client_host)} can open connections to others: {len(beside.elsewhere)} here")
    return Verdict(
        40 if len(ports) > 1 else 30,
        "possible",
        tuple(evidence),
        f"nothing was heard of {host_text(case.server_host)}: {counts.unanswered} of {counts.total} connections to "
        f"{case.service_text} had no answer",
        ("no ICMP error says so",),
        ("syn_filtered",),
        severity,
    )


def one_of_several(case: Case, world: World, error: IcmpError) -> Verdict:
    """ICMP says that the host cannot be reached, which others reach under the same address."""
    counts = world.counts(case.service)
    return Verdict(
        80,
        "likely",
        (
            silence(case),
            f'{error.sender} says "{error.name}" ({case.frames(error.frame)}; it quotes the SYN)',
            f"{counts.opened} of {counts.total} connections to {case.service_text} opened",
        ),
        f'{error.sender} reports "{error.name}" for {counts.unanswered} of {counts.total} connections to '
        f"{case.service_text}, while others open: one of several machines behind that address, or one of several ways "
        "to it, is down",
        ("a filter or a full translation would not say so",),
        severity=harm(case, world, counts.unanswered),
    )


# --- no ports left ----------------------------------------------------------------------------------------------------


def fails_beside_success(case: Case, world: World) -> tuple[Neighbours, list[Brief]] | None:
    """Attempts that fail although the same client has opened the same service, with SYNs that are alike."""
    beside = neighbours(case, world)
    if not beside.opened or case[C_INCARNATION] > 0 or len(syns_of(case)) < 2:
        return None
    wants = features(syns_of(case)[0].flags, syns_of(case)[0].options)
    twins = [b for b in beside.opened if features(b.syn_flags, b.client_options) >= wants]
    return (beside, twins) if twins else None


def nat_ports_exhausted(case: Case, world: World) -> Verdict | None:
    """No new connection opens to a service to which others of this client are open."""
    found = fails_beside_success(case, world)
    if found is None or at_server(case, world):
        return None
    beside, twins = found
    began = beside.failed[0].first_time
    earlier = [b for b in twins if b.first_time < began]
    later = [b for b in twins if b.first_time >= began]
    working = [b for b in earlier if b.last_time > began]
    elsewhere = [b for b in beside.elsewhere if b.first_time >= began]
    if (len(syns_of(case)) < 3 and len(beside.failed) < 2) or not held(earlier, began) or unreachable(case):
        return None  # a SYN that was lost; or nothing takes ports; or somebody says why
    if any(not s.alive for c in world.cases_of(case.service) if c.client_host == case.client_host for s in stalls(c)):
        return None  # nor do those answer that were open before
    if kept_waiting(case, world):
        return None  # nor are they served
    evidence = [
        silence(case),
        (
            f"{len(earlier)} connections from {host_text(case.client_host)} to {case.service_text} had opened before, "
            f"{len(later)} opened since, {len(beside.failed)} did not"
        ),
        "the SYNs that fail carry nothing that those which were answered lack",
    ]
    if working:
        evidence.append(f"connections that were open go on: {working[0].conn_id} was heard since")
    if elsewhere:
        evidence.append(
            f"since then {len(elsewhere)} connections to other services opened, like {elsewhere[0].conn_id}"
        )
    return Verdict(
        55 if elsewhere else 45,
        "possible",
        tuple(evidence),
        f"new connections from {host_text(case.client_host)} to {case.service_text} fail while those open before stay: "
        f"{len(beside.failed)} had no answer, {len(twins)} did; a translation or load balancer on the way seems to "
        "have no ports left for this destination",
        ("the host is up and something listens: it accepted the others", "no RST, no ICMP error"),
        ("accept_queue_full", "syn_filtered"),
        harm(case, world, len(beside.failed)),
    )


CAUSES = (
    Cause(
        name="syn_filtered",
        family="opening",
        where="path",
        severity="medium",
        summary="A firewall, a security group or an access list drops the SYN and says nothing.",
        predicts=("SYNs on schedule, and no segment of the server at all", "other ports of the host may answer"),
        forbids=("a connection from this client to this port that opens at that time", "an RST, an ICMP error"),
        look_alikes={
            "host_unreachable": "no port of the host answers, or an ICMP error says so",
            "nat_ports_exhausted": "others of the same client are open, or open meanwhile",
            "accept_queue_full": "it takes others at that time only now and then",
            "syn_rejected_by_option": "SYNs without that option are answered",
            "syn_rejected_by_timestamp": "others behind the same address are answered",
            "nat_not_undone": "the answer comes, under another address",
            "port_in_time_wait": "only a four-tuple that was used before fails",
            "scan": "one host tries many ports",
            "syn_flood": "very many at once, which nobody follows up",
        },
        explains=EXPLAINED,
        next_step="capture on {server_host} at the same time: tcpdump -ni any 'tcp port {server_port}'; if the SYN "
        "arrives there, nft list ruleset; if not, look at the filters between",
        concerns=concerns_unanswered,
        weigh=syn_filtered,
        example="""
            0.000 > S  0:0(0)
            1.000 > S  0:0(0)
            3.000 > S  0:0(0)
            port 40001 443
            4.000 > S  0:0(0)
            4.010 < S. 0:0(0)  ack 1
            4.020 > .  1:1(0)  ack 1
            end 8
        """,
        look_alike="""
            0.000 > S  0:0(0)
            0.010 > icmp 3/1 0
            1.000 > S  0:0(0)
            3.000 > S  0:0(0)
            end 8
        """,
    ),
    Cause(
        name="host_unreachable",
        family="opening",
        where="path",
        severity="medium",
        summary="The host is down, or no route leads to it (or back).",
        predicts=("no segment from any port of the host", "an ICMP error: host or network unreachable, time exceeded"),
        forbids=("any segment from the host",),
        look_alikes={
            "syn_filtered": "other ports of the host answer",
            "rejected_by_icmp": "the ICMP error says that it is forbidden",
            "nat_not_undone": "the answer comes, under another address",
            "scan": "one host tries many",
            "syn_flood": "very many at once, which nobody follows up",
        },
        explains=EXPLAINED,
        next_step="ip route get {server_host}; ping {server_host}; traceroute -T -p {server_port} {server_host}",
        concerns=concerns_unanswered,
        weigh=host_unreachable,
        example="""
            0.000 > S  0:0(0)
            0.010 > icmp 3/1 0
            1.000 > S  0:0(0)
            1.010 > icmp 3/1 0
            3.000 > S  0:0(0)
            end 8
        """,
        look_alike="""
            0.000 > S  0:0(0)
            1.000 > S  0:0(0)
            3.000 > S  0:0(0)
            port 40001 443
            4.000 > S  0:0(0)
            4.010 < R. 0:0(0)  ack 1
            end 8
        """,
    ),
    Cause(
        name="nat_ports_exhausted",
        family="opening",
        where="path",
        severity="medium",
        summary="A translation on the way has no source ports (or no table entries) left for this destination: new "
        "SYNs vanish, open connections go on.",
        predicts=(
            "connections from the same client to the same service that opened before, and still work",
            "connections to other destinations that open meanwhile",
        ),
        forbids=("SYNs that are seen at the server",),
        look_alikes={
            "accept_queue_full": "the SYNs are seen at the server's host",
            "syn_filtered": "none ever opened, or none is left that could hold a port",
            "syn_rejected_by_option": "the SYNs that fail carry what the others lack",
            "syn_rejected_by_timestamp": "the SYNs that fail have lower timestamps",
            "port_in_time_wait": "the four-tuples that fail were used before",
            "first_syn_dropped": "the repeated SYN is answered",
        },
        explains=EXPLAINED,
        next_step="count the translation's entries and failures: conntrack -S, conntrack -L | grep -c {server_host}; "
        "in a cloud, the gateway's metrics of failed port allocations; reuse connections, add addresses",
        concerns=concerns_unanswered,
        weigh=nat_ports_exhausted,
        example="""
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)     ack 1
            0.020 > .  1:1(0)     ack 1
            port 40001 80
            0.100 > S  0:0(0)
            1.100 > S  0:0(0)
            3.100 > S  0:0(0)
            addr 10.0.0.1 10.0.0.3
            port 40009 80
            3.500 > S  0:0(0)
            3.510 < S. 0:0(0)     ack 1
            3.520 > .  1:1(0)     ack 1
            addr 10.0.0.1 10.0.0.2
            port 40000 80
            4.000 > P. 1:101(100) ack 1
            4.010 < .  1:1(0)     ack 101
            end 9
        """,
        look_alike="""
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)  ack 1
            0.020 > .  1:1(0)  ack 1
            port 40001 80
            1.000 > S  0:0(0)  <mss 1460,mptcp>
            2.000 > S  0:0(0)  <mss 1460,mptcp>
            4.000 > S  0:0(0)  <mss 1460,mptcp>
            end 9
        """,
    ),
)
