"""Causes of many openings that want no connection: scans and floods."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.causes.briefs import (
    CLIENT_BYTES,
    CLIENT_SEGMENTS,
    CLIENT_SYNS,
    SERVER_BYTES,
    SERVER_PORT,
)
from tcptrace_fsm.causes.case import host_text
from tcptrace_fsm.causes.cause import Cause, Sufferer, Verdict
from tcptrace_fsm.core.words import LOUD
from tcptrace_fsm.findings.keys import NEVER_OPENED
from tcptrace_fsm.findings.rule import SECOND, span
from tcptrace_fsm.kernels.grouping import most_within
from tcptrace_fsm.kernels.layout import (
    C_CLIENT_HI,
    C_CLIENT_LO,
    C_CLOSING,
    C_FIRST_TIME,
    C_LAST_TIME,
    C_OPENING,
    C_SERVER_HI,
    C_SERVER_LO,
    CLOSING_ABORTED,
    E_RSTS,
    E_SEGMENTS,
    E_UNIQUE,
    OPENING_HANDSHAKE,
    OPENING_INCOMPLETE,
    OPENING_REFUSED,
    OPENING_UNANSWERED,
)
from tcptrace_fsm.text.counts import count

if TYPE_CHECKING:
    from tcptrace_fsm.causes.briefs import Brief
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World
    from tcptrace_fsm.core.finished import Finding
    from tcptrace_fsm.findings.survey import Name

__all__ = ["CAUSES"]

TARGETS = 20  # different listeners that make a scan
WINDOW = 10 * SECOND
FLOOD = 100  # attempts within it that nobody follows up
CROWD = 20  # different clients

ODD_SCANS = ("fin_scan", "xmas_scan", "null_scan", "maimon_scan", "ack_scan")
HALF_OPEN = (OPENING_UNANSWERED, OPENING_INCOMPLETE)


class Sweep(NamedTuple):
    """What one host tried in vain."""

    tried: int
    targets: int
    hosts: int
    refused: int
    unanswered: int
    dropped: int
    began: int
    ended: int
    frames: list[int]


def fruitless(b: Brief) -> bool:
    """An attempt that came to nothing, or a connection that was dropped without a word."""
    if b.client_bytes or b.server_bytes or not b.client_syns:
        return False
    return in_vain(b.opening, b.closing)


def in_vain(opening: int, closing: int) -> bool:
    """Whether a connection that nothing was said on failed, or was dropped."""
    return opening in NEVER_OPENED or (opening == OPENING_HANDSHAKE and closing == CLOSING_ABORTED)


def sweeps(world: World) -> dict[Name, Sweep]:
    """The hosts that tried many listeners in vain."""
    if len({c.service for c in world.cases if came_to_nothing(c)}) < TARGETS:
        return {}
    everyone = world.everyone
    asked = everyone.those(everyone.column(CLIENT_SYNS))
    total = Counter(asked.names(C_CLIENT_HI, C_CLIENT_LO))
    columns = [asked.column(word) for word in (CLIENT_BYTES, SERVER_BYTES, C_OPENING, C_CLOSING)]
    vain = asked.those([not sent and not got and in_vain(*how) for sent, got, *how in zip(*columns, strict=True)])
    found = {}
    for client, tries in vain.by(C_CLIENT_HI, C_CLIENT_LO):
        if len(tries) < TARGETS:
            continue
        targets = set(tries.names(C_SERVER_HI, C_SERVER_LO, SERVER_PORT))
        if len(targets) < TARGETS or 2 * len(tries) < total[client]:
            continue
        how = tries.column(C_OPENING)
        refused, unanswered = how.count(OPENING_REFUSED), how.count(OPENING_UNANSWERED)
        found[client] = Sweep(
            len(tries),
            len(targets),
            len({target[:3] for target in targets}),
            refused,
            unanswered,
            len(tries) - refused - unanswered,
            tries[0].first_time,
            max(tries.column(C_LAST_TIME)),
            [b.first_frame for b in tries[:3]],
        )
    return found


def came_to_nothing(case: Case) -> bool:
    """An attempt that failed, a connection without data, or a segment or two out of nowhere."""
    if case.client[E_UNIQUE] or case.server[E_UNIQUE]:
        return False
    return case[C_OPENING] in (*NEVER_OPENED, OPENING_HANDSHAKE) or probed(case)


def probed(case: Case) -> bool:
    """Whether a segment of no connection was sent, and perhaps reset."""
    return case.midstream and case.client[E_SEGMENTS] <= 2 and case.server[E_SEGMENTS] == case.server[E_RSTS]


def by_odd_segments(case: Case, world: World) -> Verdict | None:
    """One host sends several listeners what no connection begins with; surveys have found it out.

    They are sure of it from a few on: a segment or two may have been damaged on the way.
    """
    host = host_text(case.client_host)

    def by_sender() -> dict[str, Finding]:
        return {f.message.split(" ", 1)[0]: f for f in reversed(world.found(*ODD_SCANS)) if f.severity in LOUD}

    finding = world.once("odd scans", by_sender).get(host)
    if finding is None:
        return None
    return Verdict(
        92,
        "likely",
        (f"{finding.message} ({case.frames(*finding.frames[:3])} ...)",),
        f"{host} sends segments that belong to no connection to several ports, {case.service_text} for one: what comes "
        "back tells it which are open",
    )


def scan(case: Case, world: World) -> Verdict | None:
    """One host tries many listeners and wants nothing of any."""
    if probed(case):
        return by_odd_segments(case, world)
    found = world.once("sweeps", lambda: sweeps(world)).get(case.client_host)
    me = world.by_id.get(case.conn_id)
    if found is None or me is None or not fruitless(me):
        return None
    ports = found.targets > found.hosts
    what = f"{found.targets} ports of {found.hosts} hosts" if ports else f"{found.hosts} hosts"
    return Verdict(
        92,
        "likely",
        (
            (
                f"{found.tried} attempts to reach {what} within {span(found.ended - found.began)} "
                f"({case.frames(*found.frames)} ...)"
            ),
            f"{found.refused} were refused, {found.unanswered} had no answer, {found.dropped} dropped without data",
        ),
        f"{host_text(case.client_host)} tries {what} and sends nothing to any: it looks for open ports",
    )


# --- floods -----------------------------------------------------------------------------------------------------------


class Flood(NamedTuple):
    """Attempts at one listener that nobody follows up."""

    tried: int
    peak: int
    clients: int
    answered: int
    frames: list[int]


def floods(world: World) -> dict[Name, Flood]:
    """The listeners that were sent too many SYNs at once."""
    everyone = world.everyone
    columns = [everyone.column(word) for word in (CLIENT_SYNS, CLIENT_SEGMENTS, C_OPENING)]
    alone = everyone.those([0 < syns == sent and how in HALF_OPEN for syns, sent, how in zip(*columns, strict=True)])
    found = {}
    for service, tries in alone.by(C_SERVER_HI, C_SERVER_LO, SERVER_PORT):
        if len(tries) < FLOOD:
            continue
        peak = most_within(len(tries), tries.column(C_FIRST_TIME), WINDOW)
        clients, answered = tries.distinct(C_CLIENT_HI, C_CLIENT_LO), len(tries.answered)
        if peak >= FLOOD and (clients >= CROWD or 2 * answered > len(tries)):
            found[service] = Flood(len(tries), peak, clients, answered, [b.first_frame for b in tries[:3]])
    return found


def concerns_half_open(case: Case) -> bool:
    """An attempt that was neither refused nor completed."""
    return case[C_OPENING] in HALF_OPEN


def syn_flood(case: Case, world: World) -> Verdict | None:
    """Very many SYNs to one listener that nobody follows up."""
    found = world.once("floods", lambda: floods(world)).get(case.service)
    me = world.by_id.get(case.conn_id)
    if found is None or (me and me.client_segments != me.client_syns) or world.leaves_acks_out:
        return None  # what would have followed the SYNs is not in such a capture
    counts = world.counts(case.service)
    evidence = [
        (
            f"{found.tried} SYNs from {count(found.clients, 'address', 'addresses')}, up to {found.peak} within "
            f"{span(WINDOW)}, none followed by an ACK ({case.frames(*found.frames)} ...)"
        ),
        f"{found.answered} of them were answered by SYN+ACK",
    ]
    if counts.opened:
        evidence.append(f"{counts.opened} of {counts.total} connections to {case.service_text} opened all the same")
    forged = found.clients >= CROWD
    return Verdict(
        94,
        "likely",
        tuple(evidence),
        f"{case.service_text} is flooded with SYNs: {found.tried} from "
        f"{count(found.clients, 'address', 'addresses')}{', probably forged' if forged else ''}, none completed",
        severity="medium" if counts.opened else "high",
    )


def flooded(sufferers: list[Sufferer], world: World) -> str:
    """How many SYNs."""
    del world
    return sufferers[0].verdict.message


def targets(count: int, text: str) -> str:
    """An example with ``count`` listeners on different ports."""
    return "\n".join(
        f"port {50000 + i} {1000 + i}\n{text.format(i / 100, i / 100 + 0.001, i / 100 + 0.002)}" for i in range(count)
    )


def clients(count: int, text: str) -> str:
    """An example with ``count`` client hosts."""
    return "\n".join(
        f"addr 10.1.0.{i + 1} 10.0.0.2\n{text.format(i / 100, i / 100 + 0.002, i / 100 + 0.005)}" for i in range(count)
    )


PROBE = "{0:.4f} > S 0:0(0)\n{1:.4f} < R. 0:0(0) ack 1"
HALF = "{0:.4f} > S 0:0(0)\n{1:.4f} < S. 0:0(0) ack 1"
WHOLE = HALF + "\n{2:.4f} > . 1:1(0) ack 1"

CAUSES = (
    Cause(
        name="scan",
        family="opening",
        where="client",
        severity="low",
        summary="A host tries many ports or many hosts, and sends nothing to those that answer: it looks for open "
        "ports.",
        predicts=(f"{TARGETS} or more different listeners tried by one host", "no data to those that accept"),
        forbids=("data",),
        look_alikes={
            "nothing_listens": "one port is tried",
            "syn_filtered": "one port is tried",
            "host_unreachable": "one host is tried",
            "rejected_by_icmp": "one port is tried",
            "handshake_lost_in_path": "one port is tried",
            "aborted_by_application": "data were exchanged",
            "syn_flood": "one listener is asked",
            "first_syn_dropped": "connections open and carry data",
        },
        explains=frozenset(
            {
                *("syn_scan", "connect_scan", "connection_refused", "syn_no_response", "syn_retry_exhausted"),
                *("rst_in_handshake", "half_open_timeout", "synack_retransmission", "linger_zero_close", "abort_rst"),
                *("fin_without_ack", "fin_no_session", "segment_without_ack", "reply_rst", "rst_no_session"),
                *ODD_SCANS,
            }
        ),
        next_step="ask who runs {client_host}: an inventory, a monitor, or an intruder; on it: ss -tanp",
        concerns=came_to_nothing,
        weigh=scan,
        group="client",
        example=targets(TARGETS, PROBE),
        look_alike=targets(5, PROBE),
    ),
    Cause(
        name="syn_flood",
        family="opening",
        where="client",
        severity="medium",
        summary="Very many SYNs to one listener that nobody follows up, mostly from forged addresses: each binds "
        "memory, and real clients may not get in.",
        predicts=(f"{FLOOD} or more SYNs within {span(WINDOW)} that are never followed by an ACK",),
        forbids=("clients that go on",),
        look_alikes={
            "handshake_lost_in_path": "few connections, from real clients that repeat",
            "syn_filtered": "few clients",
            "accept_queue_full": "the clients go on",
            "nat_ports_exhausted": "one client, and others of it work",
        },
        explains=frozenset(
            {
                *("syn_flood", "half_open_timeout", "synack_retransmission", "syn_no_response", "syn_retry_exhausted"),
                *("syncookie_suspected", "backscatter", "syn_isn_changed"),
            }
        ),
        next_step="on the server: sysctl net.ipv4.tcp_syncookies (1), nstat -az TcpExtSyncookiesSent "
        "TcpExtTCPReqQFullDoCookies; filter or limit at the edge",
        concerns=concerns_half_open,
        weigh=syn_flood,
        word=flooded,
        example=clients(FLOOD + 20, HALF) + "\nend 20",
        look_alike=clients(FLOOD + 20, WHOLE) + "\nend 20",
    ),
)
