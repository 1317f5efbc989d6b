"""The rest of the capture, as evidence: every connection in short, counts for every service, and all cases.

"20 of 20", "the same port answers another client", "one four-tuple while its neighbours work": what a cause compares a
connection with. Counts are complete. The list of all connections in short is bounded; of more than ``MOST_BRIEFS``
those that began first are kept.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tcptrace_fsm.kernels.layout import (
    C_CLIENT_HI,
    C_CLIENT_LO,
    C_CLOSING,
    C_ENDPOINTS,
    C_FIRST_FRAME,
    C_FIRST_TIME,
    C_FLAGS,
    C_ID,
    C_LAST_TIME,
    C_NET,
    C_OPENING,
    C_PORTS,
    C_SERVER_HI,
    C_SERVER_LO,
    C_SYN_ACK_TIME,
    CLIENT,
    E_BASE,
    E_BASE_KNOWN,
    E_MSS,
    E_OPTIONS,
    E_SEGMENTS,
    E_SYN_FLAGS,
    E_SYN_TSVAL,
    E_SYNS,
    E_TTL,
    E_UNIQUE,
    ENDPOINT_SIZE,
    OPENING_FAST_OPEN,
    OPENING_HANDSHAKE,
    OPENING_INCOMPLETE,
    OPENING_MIDSTREAM,
    OPENING_REFUSED,
    OPENING_SIMULTANEOUS,
    OPENING_UNANSWERED,
    SERVER,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.core.finished import Block, Finding
    from tcptrace_fsm.findings.survey import Name
    from tcptrace_fsm.tcp.profiles import Profile

__all__ = ["Brief", "Counts", "Ledger", "World"]

T = TypeVar("T")
MOST_BRIEFS = 100_000
OPENED = (OPENING_HANDSHAKE, OPENING_SIMULTANEOUS, OPENING_FAST_OPEN)


class Brief(NamedTuple):
    """A connection in short."""

    conn_id: int
    first_time: int
    last_time: int
    first_frame: int
    client: Name
    client_port: int
    server: Name
    server_port: int
    flags: int
    opening: int
    closing: int
    syn_ack_time: int
    """When its SYN was answered, ns; -1 if it was not."""
    syn_flags: int
    """Of the client's first SYN."""
    syn_tsval: int
    """Its TSval, -1 for none."""
    client_options: int
    """``OPT_...`` of the client's SYN."""
    server_options: int
    client_ttl: int
    server_ttl: int
    client_mss: int
    server_mss: int
    client_segments: int
    server_segments: int
    client_syns: int
    client_bytes: int
    server_bytes: int
    client_base: int
    """Sequence number on the wire that counts as the client's 0; ``client_base_known`` says how well it is known."""
    client_base_known: int
    server_base: int
    server_base_known: int

    @property
    def service(self) -> Name:
        """The server's address and port."""
        return (*self.server, self.server_port)

    @property
    def opened(self) -> bool:
        """Whether it was seen to open."""
        return self.opening in OPENED


def _end(side: int, word: int) -> int:
    return C_ENDPOINTS + side * ENDPOINT_SIZE + word


_WORDS = (
    *(C_ID, C_FIRST_TIME, C_LAST_TIME, C_FIRST_FRAME, C_NET, C_CLIENT_HI, C_CLIENT_LO, C_SERVER_HI, C_SERVER_LO),
    *(C_PORTS, C_FLAGS, C_OPENING, C_CLOSING, C_SYN_ACK_TIME, _end(CLIENT, E_SYN_FLAGS), _end(CLIENT, E_SYN_TSVAL)),
    *(_end(CLIENT, E_OPTIONS), _end(SERVER, E_OPTIONS), _end(CLIENT, E_TTL), _end(SERVER, E_TTL)),
    *(_end(CLIENT, E_MSS), _end(SERVER, E_MSS), _end(CLIENT, E_SEGMENTS), _end(SERVER, E_SEGMENTS)),
    *(_end(CLIENT, E_SYNS), _end(CLIENT, E_UNIQUE), _end(SERVER, E_UNIQUE)),
    *(_end(CLIENT, E_BASE), _end(CLIENT, E_BASE_KNOWN), _end(SERVER, E_BASE), _end(SERVER, E_BASE_KNOWN)),
)


class Counts(NamedTuple):
    """How many connections went to a service, and how they opened."""

    total: int
    opened: int
    refused: int
    unanswered: int
    incomplete: int
    midstream: int


NO_COUNTS = Counts(0, 0, 0, 0, 0, 0)


class Ledger:
    """Counts all connections, and keeps the first of them in short. Picklable; two can be put together."""

    def __init__(self) -> None:
        self.total = 0
        self.ways: Counter[tuple[int, int, int, int, int]] = Counter()
        self.columns: list[array[int]] = [array("q") for _ in _WORDS]

    def take(self, block: Block) -> None:
        """Count connections that are over."""
        if not block.count:
            return
        self.total += block.count
        ports = map((65535).__and__, block.column(C_PORTS))
        names = (block.column(word) for word in (C_NET, C_SERVER_HI, C_SERVER_LO))
        self.ways.update(zip(*names, ports, block.column(C_OPENING), strict=True))
        if len(self.columns[0]) < MOST_BRIEFS:
            for column, word in zip(self.columns, _WORDS, strict=True):
                column.extend(block.column(word))

    def merge(self, other: Ledger) -> None:
        """Take what another has counted of other connections."""
        self.total += other.total
        self.ways.update(other.ways)
        for mine, theirs in zip(self.columns, other.columns, strict=True):
            mine.extend(theirs)

    def briefs(self) -> list[Brief]:
        """The connections in short, in order of time."""
        found = []
        for row in zip(*self.columns, strict=True):
            number, first, last, frame, net, client_hi, client_lo, server_hi, server_lo, ports = row[:10]
            v6 = net & 1
            client, server = (v6, client_hi, client_lo), (v6, server_hi, server_lo)
            ends = (client, ports >> 16, server, ports & 65535)
            found.append(Brief._make((number, first, last, frame, *ends, *row[10:])))
        found.sort(key=lambda b: (b.first_time, b.first_frame))
        return found[:MOST_BRIEFS]

    def counts(self) -> dict[Name, Counts]:
        """How connections to each service opened."""
        sums: dict[Name, list[int]] = defaultdict(lambda: [0] * 7)
        for (net, hi, lo, port, opening), n in self.ways.items():
            sums[net & 1, hi, lo, port][opening] += n
        return {
            service: Counts(
                sum(by),
                sum(by[o] for o in OPENED),
                by[OPENING_REFUSED],
                by[OPENING_UNANSWERED],
                by[OPENING_INCOMPLETE],
                by[OPENING_MIDSTREAM],
            )
            for service, by in sums.items()
        }


class World:
    """Everything that a cause may compare a connection with.

    Attributes
    ----------
    cases : list of Case
        Connections that may suffer from something, in order of time. Of many that are alike only some.
    findings : list of Finding
        About no single connection: what surveys found.
    now : int
        The capture's latest moment, ns.
    first : int
        Its first, ns.
    profile : Profile
    lost : str or None
        What the capturing machine says that it lost.
    alike : callable
        Case -> how many connections it stands for, itself included.
    """

    def __init__(
        self,
        ledger: Ledger,
        cases: list[Case],
        findings: list[Finding],
        now: int,
        profile: Profile,
        lost: str | None = None,
        alike: Callable[[Case], int] = lambda _: 1,
    ) -> None:
        self._ledger = ledger
        self.cases = cases
        self.findings = findings
        self.now = now
        self.profile = profile
        self.lost = lost
        self.alike = alike
        self._made: dict[object, Any] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` works out of the whole capture, worked out once and then remembered under ``key``."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]  # type: ignore[no-any-return]

    @property
    def total(self) -> int:
        """How many connections there are."""
        return self._ledger.total

    @cached_property
    def briefs(self) -> list[Brief]:
        """All connections in short, in order of time; of very many the first."""
        return self._ledger.briefs()

    @cached_property
    def first(self) -> int:
        """When the first connection began, ns."""
        return self.briefs[0].first_time if self.briefs else self.now

    @cached_property
    def _counts(self) -> dict[Name, Counts]:
        return self._ledger.counts()

    def counts(self, service: Name) -> Counts:
        """How connections to a service opened."""
        return self._counts.get(service, NO_COUNTS)

    @cached_property
    def _by_service(self) -> dict[Name, list[Brief]]:
        return _grouped(self.briefs, lambda b: b.service)

    @cached_property
    def _by_client(self) -> dict[Name, list[Brief]]:
        return _grouped(self.briefs, lambda b: b.client)

    @cached_property
    def _by_server(self) -> dict[Name, list[Brief]]:
        return _grouped(self.briefs, lambda b: b.server)

    @cached_property
    def _by_pair(self) -> dict[Name, list[Brief]]:
        return _grouped(self.briefs, lambda b: (*b.client, *b.server))

    @cached_property
    def _by_socket(self) -> dict[Name, list[Brief]]:
        return _grouped(self.briefs, lambda b: (*b.client, b.client_port))

    def from_socket(self, host: Name, port: int) -> list[Brief]:
        """Connections from one address and port: to several servers, or under several names of one."""
        return self._by_socket.get((*host, port), [])

    @cached_property
    def by_id(self) -> dict[int, Brief]:
        """Connections in short by number."""
        return {b.conn_id: b for b in self.briefs}

    def to_service(self, service: Name) -> list[Brief]:
        """Connections to a service."""
        return self._by_service.get(service, [])

    def to_host(self, host: Name) -> list[Brief]:
        """Connections to any port of a host."""
        return self._by_server.get(host, [])

    def from_host(self, host: Name) -> list[Brief]:
        """Connections from a host."""
        return self._by_client.get(host, [])

    def between(self, client: Name, server: Name) -> list[Brief]:
        """Connections from one host to another."""
        return self._by_pair.get((*client, *server), [])

    @cached_property
    def cases_by_id(self) -> dict[int, Case]:
        """Cases by the number of their connection."""
        return {c.conn_id: c for c in self.cases}

    @cached_property
    def _cases_by_service(self) -> dict[Name, list[Case]]:
        return _grouped(self.cases, lambda c: c.service)

    def cases_of(self, service: Name) -> list[Case]:
        """Cases of a service, in order of time."""
        return self._cases_by_service.get(service, [])

    def found(self, *kinds: str) -> list[Finding]:
        """What surveys found of these kinds."""
        return [f for f in self.findings if f.kind in kinds]


def _grouped(things: Iterable[T], key: Callable[[T], Name]) -> dict[Name, list[T]]:
    groups: dict[Name, list[T]] = defaultdict(list)
    for thing in things:
        groups[key(thing)].append(thing)
    return dict(groups)
