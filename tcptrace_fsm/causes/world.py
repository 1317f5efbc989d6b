"""The rest of the capture, as evidence: every connection in short, counts for every service, and all cases.

"20 of 20", "the same port answers another client", "one four-tuple while its neighbours work": what a cause compares a
connection with. Counts are complete. The list of all connections in short is bounded; of more than ``MOST_BRIEFS``
those that began first are kept.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tcptrace_fsm.core.grouping import Field, Order, in_order, picked, words_in_common
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
    W_MISSED,
    WAY_SIZE,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.core.finished import Block, Finding
    from tcptrace_fsm.findings.survey import Name
    from tcptrace_fsm.tcp.profiles import Profile

__all__ = ["Brief", "Counts", "Ledger", "World"]

T = TypeVar("T")
MOST_BRIEFS = 100_000
CLIENT_PORT, SERVER_PORT = -1, -2  # no words of a record: halves of one
OPENED = (OPENING_HANDSHAKE, OPENING_SIMULTANEOUS, OPENING_FAST_OPEN)


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
CLIENT_SEGMENTS, SERVER_SEGMENTS = _end(CLIENT, E_SEGMENTS), _end(SERVER, E_SEGMENTS)
CLIENT_BYTES, SERVER_BYTES = _end(CLIENT, E_UNIQUE), _end(SERVER, E_UNIQUE)
CLIENT_SYNS = _end(CLIENT, E_SYNS)
_PLACES = {word: place for place, word in enumerate(_WORDS)}
_FIELDS = tuple(map(Field, _WORDS))
BRIEF_SIZE = len(_WORDS)
_VERSION = Field(_PLACES[C_NET], 0, 1)
_PORTS = {CLIENT_PORT: Field(_PLACES[C_PORTS], 16, 65535), SERVER_PORT: Field(_PLACES[C_PORTS], 0, 65535)}


def _kept(words: Iterable[int]) -> tuple[Field, ...]:
    """Where the ledger keeps words of a record."""
    return tuple([_PORTS[word] if word in _PORTS else Field(_PLACES[word]) for word in words])


_WAY = (Field(C_NET), Field(C_SERVER_HI), Field(C_SERVER_LO), Field(C_PORTS, 0, 65535), Field(C_OPENING))


class _Word:
    """One word of a connection's record, where the ledger keeps it."""

    def __init__(self, word: int) -> None:
        self.place = _PLACES[word]

    def __get__(self, brief: Brief, owner: type) -> int:
        return brief.words[brief.row * BRIEF_SIZE + self.place]


class Brief:
    """A connection in short: a record of the ledger, of which nothing is read before somebody asks for it.

    Attributes
    ----------
    words : array('q')
        The ledger's.
    row : int
        Which of its records.
    """

    __slots__ = ("row", "words")

    def __init__(self, words: array[int], row: int) -> None:
        self.words = words
        self.row = row

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Brief) and other.row == self.row

    def __hash__(self) -> int:
        return self.row

    conn_id = _Word(C_ID)
    first_time = _Word(C_FIRST_TIME)
    last_time = _Word(C_LAST_TIME)
    first_frame = _Word(C_FIRST_FRAME)
    flags = _Word(C_FLAGS)
    opening = _Word(C_OPENING)
    closing = _Word(C_CLOSING)
    syn_ack_time = _Word(C_SYN_ACK_TIME)
    """When its SYN was answered, ns; -1 if it was not."""
    syn_flags = _Word(_end(CLIENT, E_SYN_FLAGS))
    """Of the client's first SYN."""
    syn_tsval = _Word(_end(CLIENT, E_SYN_TSVAL))
    """Its TSval, -1 for none."""
    client_options = _Word(_end(CLIENT, E_OPTIONS))
    """``OPT_...`` of the client's SYN."""
    server_options = _Word(_end(SERVER, E_OPTIONS))
    client_ttl = _Word(_end(CLIENT, E_TTL))
    server_ttl = _Word(_end(SERVER, E_TTL))
    client_mss = _Word(_end(CLIENT, E_MSS))
    server_mss = _Word(_end(SERVER, E_MSS))
    client_segments = _Word(_end(CLIENT, E_SEGMENTS))
    server_segments = _Word(_end(SERVER, E_SEGMENTS))
    client_syns = _Word(_end(CLIENT, E_SYNS))
    client_bytes = _Word(_end(CLIENT, E_UNIQUE))
    server_bytes = _Word(_end(SERVER, E_UNIQUE))
    client_base = _Word(_end(CLIENT, E_BASE))
    """Sequence number on the wire that counts as the client's 0; ``client_base_known`` says how well it is known."""
    client_base_known = _Word(_end(CLIENT, E_BASE_KNOWN))
    server_base = _Word(_end(SERVER, E_BASE))
    server_base_known = _Word(_end(SERVER, E_BASE_KNOWN))
    _net, _ports = _Word(C_NET), _Word(C_PORTS)
    _client_hi, _client_lo = _Word(C_CLIENT_HI), _Word(C_CLIENT_LO)
    _server_hi, _server_lo = _Word(C_SERVER_HI), _Word(C_SERVER_LO)

    @property
    def client(self) -> Name:
        """The client's address."""
        return self._net & 1, self._client_hi, self._client_lo

    @property
    def client_port(self) -> int:
        """The client's port."""
        return self._ports >> 16

    @property
    def server(self) -> Name:
        """The server's address."""
        return self._net & 1, self._server_hi, self._server_lo

    @property
    def server_port(self) -> int:
        """The server's port."""
        return self._ports & 65535

    @property
    def service(self) -> Name:
        """The server's address and port."""
        return self._net & 1, self._server_hi, self._server_lo, self._ports & 65535

    @property
    def opened(self) -> bool:
        """Whether it was seen to open."""
        return self.opening in OPENED


class _ById(Mapping[int, Brief]):
    """Connections in short by number."""

    def __init__(self, words: array[int], rows: array[int]) -> None:
        self._words = words
        numbers = words[_PLACES[C_ID] :: BRIEF_SIZE]
        self._rows = {numbers[row]: row for row in rows}

    def __getitem__(self, number: int) -> Brief:
        return Brief(self._words, self._rows[number])

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


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
        self.ways: Counter[Name] = Counter()
        self.words = array("q")
        """``BRIEF_SIZE`` words of each connection that is kept in short: a record, by row."""

    def take(self, block: Block) -> None:
        """Count connections that are over."""
        if not block.count:
            return
        self.total += block.count
        for way, members in words_in_common(block.words, block.starts, _WAY):
            self.ways[way] += len(members)
        if len(self.words) < MOST_BRIEFS * BRIEF_SIZE:
            self.words.extend(picked(block.words, block.starts, _FIELDS))

    def merge(self, other: Ledger) -> None:
        """Take what another has counted of other connections."""
        self.total += other.total
        self.ways.update(other.ways)
        self.words.extend(other.words)

    def starts(self, rows: Iterable[int]) -> array[int]:
        """Where the records of these rows begin."""
        return array("q", [row * BRIEF_SIZE for row in rows])

    def picked(self, rows: Iterable[int], words: Iterable[int]) -> array[int]:
        """Words of the connections that are kept in short, row by row; of the ports only one's."""
        return picked(self.words, self.starts(rows), _kept(words))

    def order(self) -> array[int]:
        """The rows of the connections that are kept in short, in order of time."""
        rows = range(len(self.words) // BRIEF_SIZE)
        return Order(self.picked(rows, (C_FIRST_TIME, C_FIRST_FRAME)), 2, 2).numbers[:MOST_BRIEFS]

    def groups(self, rows: array[int], words: Iterable[int]) -> dict[Name, list[int]]:
        """Rows by what the IP version bit and other words are: each group, and the groups, as the rows stand."""
        found = words_in_common(self.words, self.starts(rows), (_VERSION, *_kept(words)))
        found.sort(key=lambda group: group[1][0])
        return {name: in_order(numbers, rows).tolist() for name, numbers in found}

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
        self.kinds = frozenset(finding.kind for finding in findings)
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
    def rows(self) -> array[int]:
        """All connections in short, in order of time, by where their words stand; of very many the first."""
        return self._ledger.order()

    def column(self, word: int) -> array[int]:
        """One word of all connections in short, by row: what looks at them all makes no object of each."""
        return self.once(("column", word), lambda: self._ledger.words[_PLACES[word] :: BRIEF_SIZE])

    def names(self, *words: int) -> list[Name]:
        """The IP version bit and other words of all connections in short, by row: who they are between."""
        kept = self._ledger.words
        parts = [picked(kept, self._starts, (field,)) for field in (_VERSION, *_kept(words))]
        return list(zip(*parts, strict=True))

    @cached_property
    def _starts(self) -> array[int]:
        return self._ledger.starts(range(len(self._ledger.words) // BRIEF_SIZE))

    @cached_property
    def first(self) -> int:
        """When the first connection began, ns."""
        return self.column(C_FIRST_TIME)[self.rows[0]] if self.rows else self.now

    @cached_property
    def _counts(self) -> dict[Name, Counts]:
        return self._ledger.counts()

    def counts(self, service: Name) -> Counts:
        """How connections to a service opened."""
        return self._counts.get(service, NO_COUNTS)

    def _rows_by(self, *words: int) -> dict[Name, list[int]]:
        """All connections in short by what they have in common."""
        return self._ledger.groups(self.rows, words)

    @cached_property
    def by_service(self) -> dict[Name, list[int]]:
        """The rows of the connections to each service."""
        return self._rows_by(C_SERVER_HI, C_SERVER_LO, SERVER_PORT)

    @cached_property
    def _by_client(self) -> dict[Name, list[int]]:
        return self._rows_by(C_CLIENT_HI, C_CLIENT_LO)

    @cached_property
    def _by_server(self) -> dict[Name, list[int]]:
        return self._rows_by(C_SERVER_HI, C_SERVER_LO)

    @cached_property
    def _by_pair(self) -> dict[Name, list[int]]:
        pairs = self._rows_by(C_CLIENT_HI, C_CLIENT_LO, C_SERVER_HI, C_SERVER_LO)
        return {(version, hi, lo, version, *server): rows for (version, hi, lo, *server), rows in pairs.items()}

    @cached_property
    def _by_socket(self) -> dict[Name, list[int]]:
        return self._rows_by(C_CLIENT_HI, C_CLIENT_LO, CLIENT_PORT)

    def brief(self, row: int) -> Brief:
        """The connection in short that stands in a row."""
        return Brief(self._ledger.words, row)

    def _briefs(self, groups: dict[Name, list[int]], name: Name) -> list[Brief]:
        """The connections in short of one group; made when they are asked for first."""
        words = self._ledger.words
        return self.once((id(groups), name), lambda: [Brief(words, row) for row in groups.get(name, ())])

    def from_socket(self, host: Name, port: int) -> list[Brief]:
        """Connections from one address and port: to several servers, or under several names of one."""
        return self._briefs(self._by_socket, (*host, port))

    @cached_property
    def by_id(self) -> Mapping[int, Brief]:
        """Connections in short by number."""
        return _ById(self._ledger.words, self.rows)

    def to_service(self, service: Name) -> list[Brief]:
        """Connections to a service."""
        return self._briefs(self.by_service, service)

    def to_host(self, host: Name) -> list[Brief]:
        """Connections to any port of a host."""
        return self._briefs(self._by_server, host)

    def from_host(self, host: Name) -> list[Brief]:
        """Connections from a host."""
        return self._briefs(self._by_client, host)

    def between(self, client: Name, server: Name) -> list[Brief]:
        """Connections from one host to another."""
        return self._briefs(self._by_pair, (*client, *server))

    @cached_property
    def lacks_frames(self) -> bool:
        """Whether one of two captures lacks frames that passed there: then what it does not show proves nothing."""
        paths = [case.path for case in self.cases if case.path is not None]
        if any(path[W_MISSED] or path[WAY_SIZE + W_MISSED] for path in paths):
            return True
        return any(s.unsent and not s.rst for case in self.cases if case.two_points for s in case.segments)

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
        return [] if self.kinds.isdisjoint(kinds) else [f for f in self.findings if f.kind in kinds]


def _grouped(things: Sequence[T], key: Callable[[T], Name]) -> dict[Name, list[T]]:
    groups: dict[Name, list[T]] = defaultdict(list)
    for thing, name in zip(things, map(key, things), strict=True):
        groups[name].append(thing)
    return dict(groups)
