"""Findings across connections: what a survey is, what it sees, how surveys are run.

A rule looks at one connection with its whole log. A survey looks at all of them, at very little of each, and speaks
once, at the end of the pass: one finding with the counts and a few examples instead of a thousand findings. It is
shown connections in two ways, and pays for what it asks for only. ``see`` gets single records, those that are neither
healthy throughout nor ruled out by ``when``, which is asked once for all connections that are alike. ``block`` gets
whole arrays of records, to be read by columns (:class:`tcptrace_fsm.core.finished.Block`).

What a survey says depends on which connections there are, not on the order in which it is shown them, and what it
remembers of some and of others can be put together (``merge``): so it is the same when several processes share the
work. Where not everything can be looked at, the choice falls on the lowest conn_ids or addresses.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tcptrace_fsm.core.finished import Finding
from tcptrace_fsm.core.judges import Judge
from tcptrace_fsm.findings.rule import SIDES, Key, notable
from tcptrace_fsm.kernels.layout import (
    C_CLIENT_HI,
    C_CLIENT_LO,
    C_FIRST_FRAME,
    C_FIRST_TIME,
    C_ID,
    C_LAST_TIME,
    C_NET,
    C_PORTS,
    C_SERVER_HI,
    C_SERVER_LO,
    CLIENT,
)
from tcptrace_fsm.text.addresses import address_text, socket_text

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterable
    from typing import Self

    from tcptrace_fsm.core.finished import Block, Finished
    from tcptrace_fsm.findings.needs import Need
    from tcptrace_fsm.tcp.profiles import Profile

    See = Callable[[array[int], int], None]

__all__ = [
    "Collector",
    "Found",
    "Group",
    "Groups",
    "Smallest",
    "Survey",
    "Surveyor",
    "host_of",
    "name",
    "socket_of",
]

T = TypeVar("T")
EXAMPLES = 8  # frames given with a finding
MOST_GROUPS = 65536  # hosts or listeners told apart
MOST_MEMBERS = 4096  # distinct things counted within a group
SAMPLE = 16384  # connections that are looked at one by one where most may be alike
Name = tuple[int, ...]  # numbers that tell a group, or a member of one, from others: an address, with or without port


def host_of(words: array[int], c: int, side: int) -> Name:
    """The address of an endpoint: IP version bit, upper and lower word."""
    if side == CLIENT:
        return words[c + C_NET] & 1, words[c + C_CLIENT_HI], words[c + C_CLIENT_LO]
    return words[c + C_NET] & 1, words[c + C_SERVER_HI], words[c + C_SERVER_LO]


def socket_of(words: array[int], c: int, side: int) -> Name:
    """The address and port of an endpoint."""
    ports = words[c + C_PORTS]
    return (*host_of(words, c, side), ports >> 16 if side == CLIENT else ports & 65535)


def name(place: Name) -> str:
    """An address, or an address with its port, in words."""
    six, high, low, *port = place
    return socket_text(high, low, port[0], six=bool(six)) if port else address_text(high, low, six=bool(six))


class Found(NamedTuple):
    """What a survey has to say at the end.

    Attributes
    ----------
    group : Group
        The connections concerned: gives conn_id, time and frames.
    side : int or None
        CLIENT or SERVER: the side, in those connections, that misbehaves or suffers.
    message : str
    severity : str or None
        Where it differs from the survey's.
    """

    group: Group
    side: int | None
    message: str
    severity: str | None = None


class Smallest(set[Name]):
    """A set that keeps no more than its ``most`` smallest members, whatever the order in which they come.

    >>> few = Smallest(2)
    >>> for number in (5, 3, 4, 1, 9):
    ...     few.take((number,))
    >>> sorted(few.trim())
    [(1,), (3,)]
    """

    def __init__(self, most: int = MOST_MEMBERS) -> None:
        super().__init__()
        self.most = most
        self.bound: Name | None = None

    def take(self, member: Name) -> None:
        """Add a member, if it is among the smallest."""
        if self.bound is None or member < self.bound:
            self.add(member)
            if len(self) >= 2 * self.most:
                self.trim()

    def trim(self) -> Self:
        """Let go of what is too much; it may be twice as much between two calls."""
        if len(self) > self.most:
            kept = sorted(self)[: self.most]
            self.clear()
            self.update(kept)
            self.bound = kept[-1]
        return self

    def merge(self, other: Smallest) -> None:
        """Take the members of another."""
        for member in other:
            self.take(member)

    def __reduce__(self) -> tuple[Any, ...]:
        return _smallest, (self.most, list(self))


def _smallest(most: int, members: list[Name]) -> Smallest:
    made = Smallest(most)
    made.update(members)
    return made.trim()


class Group:
    """Connections that belong together: how many, when, the first of them, and some frames.

    Attributes
    ----------
    conn_id, first, frame
        Of the first of them, the one with the lowest conn_id; and the time and frame with which it begins.
    member : tuple or None
        What it was counted with.
    count : int
    unseen : int
        How many of these were counted without their members.
    last : int
        Time of the latest segment of all, ns.
    examples : list of (int, int)
        conn_id and first frame of the first few.
    members : Smallest
        Distinct things that a survey counts in it; no more are kept than a finding needs.
    more, most : dict of str to int
        Counts, and greatest values, that a survey keeps with it.
    """

    __slots__ = (
        *("conn_id", "count", "examples", "first", "frame", "last", "member", "members", "more", "most", "unseen"),
    )

    def __init__(self) -> None:
        self.conn_id = -1
        self.count = 0
        self.unseen = 0
        self.first = self.last = 0
        self.frame = 0
        self.member: Name | None = None
        self.examples: list[tuple[int, int]] = []
        self.members = Smallest()
        self.more: dict[str, int] = {}
        self.most: dict[str, int] = {}

    def add(self, words: array[int], c: int, member: Name | None = None) -> None:
        """Count the connection whose record begins at ``c``."""
        self.count += 1
        self.note(words, c, member)
        conn_id = words[c + C_ID]
        if len(self.examples) < EXAMPLES or conn_id < self.examples[-1][0]:
            self._show(conn_id, words[c + C_FIRST_FRAME])
        if member is not None:
            self.members.take(member)

    def add_all(
        self, words: array[int], rows: list[int], others: list[int], member: Callable[[array[int], int], Name]
    ) -> None:
        """Count the connections whose records begin at ``rows``, and without their members those at ``others``."""
        members = {member(words, c) for c in rows}
        self.count += len(rows)
        for some in (rows, others):
            if some:
                first = min(some, key=lambda c: words[c + C_ID])
                self.note(words, first, member(words, first))
        for c in nsmallest(EXAMPLES, rows, key=lambda c: words[c + C_ID]):
            self._show(words[c + C_ID], words[c + C_FIRST_FRAME])
        self.last = max([self.last, *(words[c + C_LAST_TIME] for c in rows)])
        for one in members:
            self.members.take(one)
        self.leave(len(others))

    def leave(self, n: int) -> None:
        """Count some that nobody looks at."""
        self.count += n
        self.unseen += n

    def note(self, words: array[int], c: int, member: Name | None = None) -> None:
        """Look at a connection that is counted otherwise: it may be the first, or the last to speak."""
        if self.conn_id < 0 or words[c + C_ID] < self.conn_id:
            self.conn_id, self.frame = words[c + C_ID], words[c + C_FIRST_FRAME]
            self.first, self.member = words[c + C_FIRST_TIME], member
        self.last = max(self.last, words[c + C_LAST_TIME])

    def _show(self, conn_id: int, frame: int) -> None:
        insort(self.examples, (conn_id, frame))
        del self.examples[EXAMPLES:]

    def merge(self, other: Group) -> None:
        """Take what another has counted of other connections."""
        if other.conn_id >= 0 and (self.conn_id < 0 or other.conn_id < self.conn_id):
            self.conn_id, self.frame, self.first = other.conn_id, other.frame, other.first
            self.member = other.member
        self.count += other.count
        self.unseen += other.unseen
        self.last = max(self.last, other.last)
        for example in other.examples:
            self._show(*example)
        self.members.merge(other.members)
        for what, n in other.more.items():
            self.tally(what, n)
        for what, n in other.most.items():
            self.reach(what, n)

    def tally(self, what: str, by: int = 1) -> None:
        """Count something else."""
        self.more[what] = self.more.get(what, 0) + by

    def reach(self, what: str, value: int) -> None:
        """Keep the greatest value."""
        self.most[what] = max(value, self.most.get(what, value))

    def peak(self, what: str) -> int:
        """The most that was counted under any name that begins like this."""
        return max((n for key, n in self.more.items() if key.startswith(what)), default=0)

    @property
    def counted(self) -> str:
        """How many different members, in words."""
        more = len(self.members) == MOST_MEMBERS or self.unseen
        return f"{max(1, len(self.members)):,}" + (" or more" if more else "")

    @property
    def lasted(self) -> int:
        """From the first segment to the last, ns."""
        return self.last - self.first


class Groups(dict[Name, Group]):
    """Groups by what their connections have in common; where there are too many, those with the smallest keys."""

    def __init__(self) -> None:
        super().__init__()
        self.bound: Name | None = None
        self._others = Group()

    def of(self, key: Name) -> Group:
        """The group of that key; one that nobody reads where there are too many."""
        group = self.get(key)
        if group is None:
            if self.bound is not None and key >= self.bound:
                return self._others
            group = self[key] = Group()
            if len(self) >= 2 * MOST_GROUPS:
                self.trim()
        return group

    def trim(self) -> None:
        """Let go of the groups that are too many, and of members."""
        if len(self) > MOST_GROUPS:
            kept = sorted(self)[:MOST_GROUPS]
            for key in set(self).difference(kept):
                del self[key]
            self.bound = kept[-1]
        for group in self.values():
            group.members.trim()

    def merge(self, other: Groups) -> None:
        """Take what another has counted of other connections."""
        for key, group in other.items():
            self.of(key).merge(group)


class Collector:
    """What a survey remembers during one pass."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.groups = Groups()
        self.total = 0

    def see(self, words: array[int], c: int) -> None:
        """A connection that ``when`` chose; its record begins at word ``c``."""

    def block(self, block: Block) -> None:
        """Some more connections that are over."""

    def finish(self, now: int) -> Iterable[Found]:
        """Everything has been seen; ``now`` is the capture's latest moment, and ``total`` counts the connections."""
        raise NotImplementedError

    def merge(self, other: Self) -> None:
        """Take what another of this kind has seen of other connections."""
        self.groups.merge(other.groups)


@dataclass(frozen=True)
class Survey:
    """One kind of anomaly that several connections show together.

    Attributes
    ----------
    kind, category, severity, rfc, summary, evidence, innocent, aliases
        As of a :class:`tcptrace_fsm.findings.rule.Rule`.
    make : callable
        Profile -> Collector.
    when : callable or None
        Key -> bool: which connections ``see`` is to be called with; None for none.
    every : bool
        Whether ``block`` is to be called.
    measure : callable or None
        Block -> None: what needs the logs of connections, and leaves its result in a word of their records.
    example, counterexample, needs
        As of a :class:`tcptrace_fsm.findings.rule.Rule`; what a survey needs, it looks for itself.
    """

    kind: str
    category: str
    severity: str
    rfc: str
    summary: str
    evidence: str
    innocent: str
    make: Callable[[Profile], Collector]
    example: str
    counterexample: str | tuple[str, ...]
    needs: tuple[Need, ...] = ()
    when: Callable[[Key], bool] | None = None
    every: bool = False
    measure: Callable[[Block], None] | None = None
    aliases: dict[str, str] = field(default_factory=dict)

    @property
    def counterexamples(self) -> tuple[str, ...]:
        """All of its counterexamples."""
        return (self.counterexample,) if isinstance(self.counterexample, str) else self.counterexample

    def finding(self, found: Found) -> Finding:
        """What was found as a row of the anomalies table."""
        group = found.group
        return Finding(
            None if self.category == "capture" else group.conn_id,
            None if found.side is None else SIDES[found.side],
            group.first,
            group.frame,
            self.kind,
            self.category,
            found.severity or self.severity,
            "inferred",
            found.message,
            # In order of conn_id, for frames of several captures are in no order of their own.
            tuple(dict.fromkeys([group.frame, *(frame for _, frame in group.examples)])),
            self.rfc,
            None,
        )


class Surveyor(Judge):
    """Runs the surveys of one pass.

    Parameters
    ----------
    surveys : iterable of Survey
    profile : Profile
    """

    def __init__(self, surveys: Iterable[Survey], profile: Profile) -> None:
        self.running = [(survey, survey.make(profile)) for survey in surveys]
        self.every = [collector.block for survey, collector in self.running if survey.every]
        self.measures = [survey.measure for survey, _ in self.running if survey.measure]
        self.chosen: dict[Key, list[See]] = {}
        self.total = 0

    def choose(self, key: Key) -> list[See]:
        """Who wants to see connections with this key; remembered."""
        chosen: list[See] = [collector.see for survey, collector in self.running if survey.when and survey.when(key)]
        self.chosen[key] = chosen
        return chosen

    def judge(self, block: Block) -> None:
        """Complete the records of connections that are over by what their logs hold."""
        for measure in self.measures:
            measure(block)

    def gather(self, block: Block) -> None:
        """Show connections that are over to the surveys that want them."""
        words = block.words
        self.total += block.count
        for take in self.every:
            take(block)
        for c, _, key in notable(block):
            wanted = self.chosen.get(key)
            for see in self.choose(key) if wanted is None else wanted:
                see(words, c)

    @property
    def gathered(self) -> tuple[int, list[Collector]]:
        """All that is remembered, to be handed to another surveyor."""
        return self.total, [collector for _, collector in self.running]

    def merge(self, gathered: tuple[int, list[Collector]]) -> None:
        """Take what another surveyor remembers of other connections."""
        self.total += gathered[0]
        for (_, collector), other in zip(self.running, gathered[1], strict=True):
            collector.merge(other)

    def finish(self, now: int, last: Finished) -> None:
        """Add the findings, once everything has been shown; in order of time."""
        findings = []
        for survey, collector in self.running:
            collector.total = self.total
            collector.groups.trim()
            findings += [survey.finding(found) for found in collector.finish(now)]
        last.findings += sorted(findings, key=lambda f: (f.time, f.kind, f.place, f.message))
