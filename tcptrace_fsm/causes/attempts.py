"""What causes of failed openings ask: the SYNs of an attempt, their answer, and how others fared beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.causes.briefs import SERVER_PORT
from tcptrace_fsm.findings.evidence import hops, is_copy
from tcptrace_fsm.findings.keys import NEVER_OPENED
from tcptrace_fsm.findings.rule import SECOND
from tcptrace_fsm.kernels.layout import (
    C_MARKS,
    C_OPENING,
    C_SERVER_HI,
    C_SERVER_LO,
    C_VANTAGE,
    CHECKSUM_BAD,
    CLIENT,
    CLOSING_NORMAL,
    CLOSING_SIMULTANEOUS,
    E_TTL,
    MARK_CAPTURE_DUPLICATE,
    MARK_STRAY_SYN,
    MARK_SYN_AGAIN,
    OPENING_REFUSED,
    OPENING_UNANSWERED,
    OPT_AO,
    OPT_FAST_OPEN,
    OPT_MD5,
    OPT_MULTIPATH,
    OPT_SACK_PERMITTED,
    OPT_SCALE,
    OPT_TIMESTAMPS,
    SERVER,
    SUMS_BAD,
    SUMS_GOOD,
    SUMS_OFFLOADED,
    TCP_CWR,
    TCP_ECE,
    VANTAGE_NEAR_SERVER,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tcptrace_fsm.causes.briefs import Brief, Briefs
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World
    from tcptrace_fsm.findings.icmp import IcmpError
    from tcptrace_fsm.findings.rule import Segment
    from tcptrace_fsm.findings.survey import Name

__all__ = [
    "Neighbours",
    "answer_of",
    "at_client",
    "at_server",
    "carried",
    "features",
    "from_farther",
    "harm",
    "hops",
    "kept_waiting",
    "late",
    "neighbours",
    "one_way_capture",
    "opened_late",
    "refusal_by_icmp",
    "syns_of",
    "told_by_icmp",
    "unreachable",
    "waited_long",
]

RTO = 9 * SECOND // 10  # the shortest wait before a SYN is sent again (RFC 6298 section 2: 1 s)
LATEST = 100  # connections that began before: those that are looked at
FEW = 20  # connections that make a capture more than the record of one attempt

FEATURES = (
    ("ECN", 0),
    ("Fast Open", OPT_FAST_OPEN),
    ("Multipath TCP", OPT_MULTIPATH),
    ("an MD5 signature", OPT_MD5),
    ("an authentication option", OPT_AO),
    ("timestamps", OPT_TIMESTAMPS),
    ("window scale", OPT_SCALE),
    ("SACK permitted", OPT_SACK_PERMITTED),
)


def syns_of(case: Case) -> list[Segment]:
    """The client's SYNs, without copies: those that the capture marked, and the same packet again."""
    found = [s for s in case.sent(CLIENT) if s.syn and not s.has(MARK_CAPTURE_DUPLICATE, MARK_STRAY_SYN)]
    return [s for s in found if not is_copy(s, case.view.client)] if len(found) > 1 else found


def answer_of(case: Case) -> Segment | None:
    """The server's first SYN+ACK that acknowledges the SYN."""
    return next((s for s in case.sent(SERVER) if s.syn_ack and s.ack >= 1), None)


def at_client(case: Case) -> bool:
    """Whether the capture may have been taken at the client: its segments have passed no router."""
    return hops(case.client[E_TTL]) == 0


def at_server(case: Case, world: World) -> bool:
    """Whether the capture was taken at the server: its segments have passed no router, and the client's have.

    Where no router is between them at all, the round trips of those that opened tell.
    """
    ttl = case.server[E_TTL] if case.sent(SERVER) else -1
    if ttl < 0:
        ttl = next((b.server_ttl for b in world.to_host(case.server_host).answered), -1)
    near = ttl >= 0 and hops(ttl) == 0
    return near and (beside_server(case, world) if at_client(case) else True)


def beside_server(case: Case, world: World) -> bool:
    """Whether the round trips of most connections to the server's host say that the capture was taken there."""

    def make() -> bool:
        votes = world.to_host(case.server_host).opened.column(C_VANTAGE)
        return 2 * votes.count(VANTAGE_NEAR_SERVER) > len(votes)

    return world.once(("beside", case.server_host), make)


def features(flags: int, options: int, length: int = 0) -> frozenset[str]:
    """What a SYN carries that a box or a host may object to."""
    found = {name for name, bit in FEATURES if options & bit}
    if flags & TCP_ECE and flags & TCP_CWR:
        found.add("ECN")
    if length:
        found.add("data")
    return frozenset(found)


def carried(syns: Iterable[Segment]) -> frozenset[str]:
    """What all of these SYNs carry."""
    sets = [features(s.flags, s.options, s.length) for s in syns]
    return frozenset.intersection(*sets) if sets else frozenset()


def waited_long(case: Case) -> bool:
    """Whether an answer was due: the SYN had to be repeated, or seconds have passed."""
    syns = syns_of(case)
    if not syns:
        return False
    return case.end - syns[0].time >= 3 * SECOND or (len(syns) > 1 and syns[-1].time - syns[0].time >= RTO)


def opened_late(case: Case) -> bool:
    """It opened, after its SYN had to be repeated."""
    return bool(case[C_MARKS] >> MARK_SYN_AGAIN & 1) and case[C_OPENING] not in (OPENING_UNANSWERED, OPENING_REFUSED)


def late(b: Brief) -> bool:
    """Whether only a repetition of its SYN was answered."""
    return b.client_syns > 1 and b.syn_ack_time - b.first_time >= RTO


def one_way_capture(case: Case, world: World) -> bool:
    """Whether the capture holds one direction of what these hosts say: then silence tells nothing.

    That is so where a client goes on beyond its SYN, to a server of which nothing is seen.
    """
    around = (world.from_host(case.client_host), world.to_host(case.server_host))
    return not any(group.both_ways for group in around) and any(group.went_on_unanswered for group in around)


class Neighbours(NamedTuple):
    """How other connections fared beside those that fail.

    Attributes
    ----------
    failed, opened : Briefs
        From the same client to the same service.
    other : Brief or None
        The first of another client that this service accepted.
    elsewhere : Briefs
        From the same client, that other services accepted.
    host : Brief or None
        The first to another port of the server's host that was answered.
    """

    failed: Briefs
    opened: Briefs
    other: Brief | None
    elsewhere: Briefs
    host: Brief | None


def neighbours(case: Case, world: World) -> Neighbours:
    """How other connections fared; worked out once for a client and a service."""
    service, client = case.service, case.client_host

    def make() -> Neighbours:
        mine, fine = world.between(client, case.server_host), world.from_host(client).opened
        mine = mine.those([port == service[3] for port in mine.column(SERVER_PORT)])
        others = [place != service for place in fine.names(C_SERVER_HI, C_SERVER_LO, SERVER_PORT)]
        return Neighbours(
            mine.those([how == OPENING_UNANSWERED for how in mine.column(C_OPENING)]),
            mine.opened,
            world.to_service(service).opened.first_of_client(but=client),
            fine.those(others),
            world.to_host(case.server_host).answered.first_on_port(but=service[3]),
        )

    return world.once(("neighbours", client, service), make)


def kept_waiting(case: Case, world: World) -> int:
    """How many connections to a service hang meanwhile: all that are open ask, and have no answer before the last SYN.

    0 where one of them had one, or where only one is open.
    """
    syns = syns_of(case)
    if not syns:
        return 0
    begun = world.to_service(case.service).opened.split(syns[0].time)[0]
    there = [b for b in begun[-LATEST:] if b.last_time > syns[0].time]
    hang = [b for b in there if b.client_bytes and (not b.responses or b.first_time + b.response_max > syns[-1].time)]
    return len(hang) if len(hang) == len(there) > 1 else 0


def from_farther(case: Case, world: World, rst: Segment) -> Brief | None:
    """A connection that the service had accepted and that went on beyond this RST to an orderly end, from farther off.

    None where one was from no farther: what refuses is then no nearer than the host.
    """
    if case.two_points:
        return None
    begun = world.to_service(case.service).opened.split(case.first_time)[0]
    ttls = {b.server_ttl for b in begun[-LATEST:]}
    nearer = len(ttls) == 1 and hops(ttls.pop()) > hops(rst.ttl) >= 0
    orderly = (CLOSING_NORMAL, CLOSING_SIMULTANEOUS)
    alive = (b for b in begun[-LATEST:] if b.last_time > rst.time + SECOND and b.closing in orderly and b.server_bytes)
    return next(alive, None) if nearer else None


def harm(case: Case, world: World, failed: int) -> str:
    """The severity of attempts that failed: a stray one in a capture of much else harms nobody."""
    if case[C_OPENING] not in NEVER_OPENED:
        return "medium"
    if failed <= 2 and case[C_OPENING] == OPENING_UNANSWERED and len(syns_of(case)) == 1:
        return "low"  # each system repeats its SYN: this one was given up at once, or frames are missing
    if failed <= 2 and world.total >= FEW * failed:
        return "low"
    return "medium"


def sums_elsewhere(case: Case, world: World) -> int:
    """Which checksums the client's host sends on other connections: ``SUMS_...`` bits."""
    found = 0
    for brief in world.from_host(case.client_host):
        if brief.conn_id != case.conn_id:
            found |= brief.client_checksums & (SUMS_GOOD | SUMS_OFFLOADED | SUMS_BAD)
    return found


def broken_syns(case: Case, world: World) -> bool:
    """Whether all SYNs of a connection have wrong checksums, and no card behind the capture point puts them right.

    That one does is seen by what the same host sends on other connections.
    """
    syns = syns_of(case)
    if not syns or any(s.checksum != CHECKSUM_BAD for s in syns):
        return False
    return not sums_elsewhere(case, world) & (SUMS_OFFLOADED | SUMS_BAD)


def unreachable(case: Case) -> IcmpError | None:
    """The first ICMP error which says that the host or its network cannot be reached."""
    return next(
        (
            e
            for e in case.view.icmp
            if e.side == CLIENT and e.seq == 0 and ((e.unreachable and not e.prohibited and not e.hard) or e.expired)
        ),
        None,
    )


def refusal_by_icmp(case: Case) -> IcmpError | None:
    """The first ICMP error that refuses the SYN: prohibited, or port or protocol unreachable."""
    if answer_of(case):
        return None
    return next((e for e in case.view.icmp if e.side == CLIENT and e.seq == 0 and (e.prohibited or e.hard)), None)


def told_by_icmp(case: Case, world: World) -> IcmpError | None:
    """What tells a client why others of its connections to the service fail: routers limit how often they do.

    RFC 1812 4.3.2.8, RFC 4443 2.4 (f).
    """

    def make() -> dict[Name, IcmpError]:
        errors = ((c.client_host, unreachable(c) or refusal_by_icmp(c)) for c in world.cases_of(case.service))
        return {host: error for host, error in errors if error}

    return world.once(("told by ICMP", case.service), make).get(case.client_host)
