"""The rest of the capture, as evidence: every connection in short, counts for every service, and all cases.

"20 of 20", "the same port answers another client", "one four-tuple while its neighbours work": what a cause compares a
connection with. Counts are complete. The list of all connections in short is bounded; of more than ``MOST_BRIEFS``
those that began first are kept.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tcptrace_fsm.causes.briefs import (
    BRIEF_SIZE,
    CLIENT_PORT,
    FIELDS,
    OPENED,
    SERVER_PORT,
    VERSION,
    Brief,
    Briefs,
    kept,
)
from tcptrace_fsm.causes.same import answered, continued, copies
from tcptrace_fsm.core.grouping import Field, Gathered, Order, counting, in_order, picked, words_in_common
from tcptrace_fsm.findings.lone import Surveyed
from tcptrace_fsm.findings.needs import holds_bare_acks
from tcptrace_fsm.kernels.layout import (
    C_CLIENT_HI,
    C_CLIENT_LO,
    C_FIRST_FRAME,
    C_FIRST_TIME,
    C_ID,
    C_NET,
    C_OPENING,
    C_PORTS,
    C_RESPONSE_MAX,
    C_RESPONSES,
    C_SERVER_HI,
    C_SERVER_LO,
    E_FIN,
    OPENING_INCOMPLETE,
    OPENING_MIDSTREAM,
    OPENING_REFUSED,
    OPENING_UNANSWERED,
    W_MISSED,
    WAY_SIZE,
)

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.core.finished import Block, Finding, Findings
    from tcptrace_fsm.findings.survey import Name
    from tcptrace_fsm.tcp.profiles import Profile

__all__ = ["HOLES", "Counts", "Ledger", "World"]

T = TypeVar("T")
MOST_BRIEFS = 100_000
HOLES = ("ack_unseen", "seq_gap")  # findings of a connection of which frames are missing
HOLED_LEAST, HOLED_SHARE = 3, 10  # so many connections, and one in so many: no chance, and no single detour
_WAY = (Field(C_NET, 0, 1), Field(C_SERVER_HI), Field(C_SERVER_LO), Field(C_PORTS, 0, 65535), Field(C_OPENING))


class _ById:
    """Connections in short by number: few of very many are asked for."""

    def __init__(self, everyone: Briefs) -> None:
        self._everyone = everyone
        self._order = Order(everyone.column(C_ID), 1, 1)

    def get(self, number: int) -> Brief | None:
        """The one with this number; None where it is not kept."""
        found = self._order.equal_to((number,))
        return self._everyone[found[0]] if found else None


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
        self._held = Gathered()

    @property
    def words(self) -> array[int]:
        """``BRIEF_SIZE`` words of each connection that is kept in short: a record, by row."""
        return self._held.words

    def take(self, block: Block) -> None:
        """Count connections that are over."""
        if not block.count:
            return
        self.total += block.count
        for way, members in words_in_common(block.words, block.starts, _WAY):
            self.ways[way] += len(members)
        if len(self._held) < MOST_BRIEFS * BRIEF_SIZE:
            self._held.add(picked(block.words, block.starts, FIELDS))

    def merge(self, other: Ledger) -> None:
        """Take what another has counted of other connections."""
        self.total += other.total
        self.ways.update(other.ways)
        self._held.add(other.words)

    def order(self) -> array[int]:
        """The rows of the connections that are kept in short, in order of time."""
        rows = counting(len(self.words) // BRIEF_SIZE)
        began = Briefs(self.words, rows).picked(kept((C_FIRST_TIME, C_FIRST_FRAME)))
        return Order(began, 2, 2).numbers[:MOST_BRIEFS]

    def briefs(self) -> Briefs:
        """All that are kept in short, in order of time."""
        return Briefs(self.words, self.order())

    def counts(self, but: Iterable[Brief]) -> dict[Name, Counts]:
        """How connections to each service opened; ``but`` are not counted."""
        sums: dict[Name, list[int]] = defaultdict(lambda: [0] * 7)
        for (six, hi, lo, port, opening), n in self.ways.items():
            sums[six, hi, lo, port][opening] += n
        for brief in but:
            sums[brief.service][brief.opening] -= 1
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


class _Groups:
    """Connections in short by what they have in common; a group is made when it is asked for first."""

    def __init__(self, everyone: Briefs, shared: Iterable[int]) -> None:
        fields = (VERSION, *kept(shared))
        self._order = Order(everyone.picked(fields), len(fields), len(fields))
        self._everyone = everyone
        self._made: dict[Name, Briefs] = {}

    def __getitem__(self, name: Name) -> Briefs:
        made = self._made.get(name)
        if made is None:
            rows = in_order(self._order.equal_to(name), self._everyone.rows)
            made = self._made[name] = Briefs(self._everyone.words, rows)
        return made


class World:
    """Everything that a cause may compare a connection with.

    Attributes
    ----------
    cases : list of Case
        Connections that may suffer from something, in order of time. Of many that are alike only some.
    findings : Findings
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
    twice : dict of int to int, or None
        Copies, where they are known already: see :attr:`copies`.
    """

    def __init__(
        self,
        ledger: Ledger,
        cases: list[Case],
        findings: Findings,
        now: int,
        profile: Profile,
        *,
        lost: str | None = None,
        alike: Callable[[Case], int] = lambda _: 1,
        twice: dict[int, int] | None = None,
    ) -> None:
        self._ledger = ledger
        self.cases = cases
        self.findings = findings
        lone = chain.from_iterable(part.lone for part in findings.lazy if isinstance(part, Surveyed))
        self.kinds = frozenset(f.kind for f in findings.made).union(some.survey.kind for some in lone)
        self.now = now
        self.profile = profile
        self.lost = lost
        self.alike = alike
        self._known = twice
        self._made: dict[object, Any] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` works out of the whole capture, worked out once and then remembered under ``key``."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]  # type: ignore[no-any-return]

    @property
    def total(self) -> int:
        """How many connections there are; one that the capture shows twice is one."""
        return self._ledger.total - len(self.copies)

    @cached_property
    def _all(self) -> Briefs:
        """All connections in short, in order of time; of very many the first."""
        return self._ledger.briefs()

    @cached_property
    def copies(self) -> dict[int, int]:
        """Which of them the capture shows once more: the number of each copy, and of what it is a copy."""
        return copies(self._all) if self._known is None else self._known

    def original(self, case: Case) -> Case | Brief:
        """What a case is a copy of, in short; itself, if of none."""
        first = self.copies.get(case.conn_id)
        return case if first is None else self.by_id.get(first) or case

    @cached_property
    def continued(self) -> dict[int, int]:
        """Which of them go on, or were answered, under another name, and as which."""
        return self.answered | continued(self._all, self.copies)

    @cached_property
    def answered(self) -> dict[int, int]:
        """Which of them were answered under another name alone, and as which."""
        return answered(self._all)

    @cached_property
    def everyone(self) -> Briefs:
        """The same without what is there once more by the same name, in another VLAN or tunnel."""
        twice, everyone = self._twice, self._all
        return everyone.those([number not in twice for number in everyone.column(C_ID)]) if twice else everyone

    @cached_property
    def _doubled(self) -> list[tuple[Brief, Brief]]:
        """Copies to the same service as their originals, each with that."""
        if not self.copies:
            return []
        everyone = self._all
        places = {number: i for i, number in enumerate(everyone.column(C_ID))}
        pairs = [(everyone[places[copy]], everyone[places[original]]) for copy, original in self.copies.items()]
        return [(a, b) for a, b in pairs if a.service == b.service]

    @cached_property
    def _twice(self) -> set[int]:
        """The numbers of copies whose original has the same name."""
        return {a.conn_id for a, b in self._doubled if (a.client, a.client_port) == (b.client, b.client_port)}

    def apart(self, some: Briefs) -> Briefs:
        """Some of them without copies, under whatever name."""
        if not self.copies:
            return some
        numbers = some.column(C_ID)
        shown = set(numbers)
        return some.those([self.copies.get(number) not in shown for number in numbers])

    def once_each(self, some: Briefs) -> int:
        """How many there are of some of them, each with its copies counted once."""
        return len({self.copies.get(number, number) for number in some.column(C_ID)}) if self.copies else len(some)

    @cached_property
    def first(self) -> int:
        """When the first connection began, ns."""
        return self.everyone[0].first_time if len(self.everyone) else self.now

    @cached_property
    def _counts(self) -> dict[Name, Counts]:
        return self._ledger.counts([a for a, _ in self._doubled])

    def counts(self, service: Name) -> Counts:
        """How connections to a service opened."""
        return self._counts.get(service, NO_COUNTS)

    def groups(self, *words: int) -> _Groups:
        """All connections in short by what they have in common: the IP version bit, and other words."""
        return self.once(("groups", words), lambda: _Groups(self.everyone, words))

    def from_socket(self, host: Name, port: int) -> Briefs:
        """Connections from one address and port: to several servers, or under several names of one."""
        return self.groups(C_CLIENT_HI, C_CLIENT_LO, CLIENT_PORT)[(*host, port)]

    @cached_property
    def by_id(self) -> _ById:
        """Connections in short by number."""
        return _ById(self._all)

    def to_service(self, service: Name) -> Briefs:
        """Connections to a service."""
        return self.groups(C_SERVER_HI, C_SERVER_LO, SERVER_PORT)[service]

    def response_times(self, service: Name) -> list[tuple[int, int]]:
        """Of each connection to a service: how many answers there were, and how long the slowest took, ns."""

        def make() -> list[tuple[int, int]]:
            some = self.to_service(service)
            return list(zip(some.column(C_RESPONSES), some.column(C_RESPONSE_MAX), strict=True))

        return self.once(("response times", service), make)

    def to_host(self, host: Name) -> Briefs:
        """Connections to any port of a host."""
        return self.groups(C_SERVER_HI, C_SERVER_LO)[host]

    def from_host(self, host: Name) -> Briefs:
        """Connections from a host."""
        return self.groups(C_CLIENT_HI, C_CLIENT_LO)[host]

    def between(self, client: Name, server: Name) -> Briefs:
        """Connections from one host to another."""
        return self.groups(C_CLIENT_HI, C_CLIENT_LO, C_SERVER_HI, C_SERVER_LO)[(*client, *server[1:])]

    @cached_property
    def lacks_frames(self) -> bool:
        """Whether one of two captures lacks frames that passed there: then what it does not show proves nothing."""
        paths = [case.path for case in self.cases if case.path is not None]
        if any(path[W_MISSED] or path[WAY_SIZE + W_MISSED] for path in paths):
            return True
        return any(s.unsent and not s.rst for case in self.cases if case.two_points for s in case.segments)

    @cached_property
    def drops_frames(self) -> bool:
        """Whether of many connections bytes are missing that arrived: then others lack frames that bear none, too."""
        holed = sum(self.alike(c) for c in self.cases if c.both_directions and not c.kinds.isdisjoint(HOLES))
        return holed >= HOLED_LEAST and HOLED_SHARE * holed >= self.total

    @cached_property
    def leaves_acks_out(self) -> bool:
        """Whether a client opened and closed and not one ACK without data is seen of it: a filter leaves these out."""
        return any(
            case.client[E_FIN] >= 0 and not case.midstream and not case.two_points and not holds_bare_acks(case.view)
            for case in self.cases
        )

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

    @cached_property
    def _cases_by_host(self) -> dict[Name, list[Case]]:
        return _grouped(self.cases, lambda c: c.server_host)

    def cases_to(self, host: Name) -> list[Case]:
        """Cases to any port of a host, in order of time."""
        return self._cases_by_host.get(host, [])

    def found(self, *kinds: str) -> list[Finding]:
        """What surveys found of these kinds, without hosts that did something once: see :meth:`lone`."""
        return [] if self.kinds.isdisjoint(kinds) else [f for f in self.findings.made if f.kind in kinds]


def _grouped(things: Sequence[T], key: Callable[[T], Name]) -> dict[Name, list[T]]:
    groups: dict[Name, list[T]] = defaultdict(list)
    for thing, name in zip(things, map(key, things), strict=True):
        groups[name].append(thing)
    return dict(groups)
