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

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from tcptrace_fsm.core.finished import Finding
from tcptrace_fsm.core.grouping import Field
from tcptrace_fsm.core.judges import Judge
from tcptrace_fsm.findings.groups import Group, Groups, Name
from tcptrace_fsm.findings.keys import Key, alike
from tcptrace_fsm.findings.lone import Surveyed, in_turn
from tcptrace_fsm.findings.rule import SIDES
from tcptrace_fsm.kernels.layout import (
    C_CLIENT_HI,
    C_CLIENT_LO,
    C_NET,
    C_PORTS,
    C_SERVER_HI,
    C_SERVER_LO,
    CLIENT,
    SERVER,
)
from tcptrace_fsm.text.addresses import address_text, socket_text
from tcptrace_fsm.text.counts import agreed

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterable, Mapping
    from typing import Self

    from tcptrace_fsm.core.finished import Block, Finished
    from tcptrace_fsm.findings.lone import Lone
    from tcptrace_fsm.findings.needs import Need
    from tcptrace_fsm.tcp.profiles import Profile


__all__ = [
    "HOST",
    "SOCKET",
    "Collector",
    "Found",
    "Group",
    "Name",
    "Survey",
    "Surveyor",
    "host_of",
    "name",
    "socket_of",
]

T = TypeVar("T")
SAMPLE = 16384  # connections that are looked at one by one where most may be alike


def host_of(words: array[int], c: int, side: int) -> Name:
    """The address of an endpoint: IP version bit, upper and lower word."""
    if side == CLIENT:
        return words[c + C_NET] & 1, words[c + C_CLIENT_HI], words[c + C_CLIENT_LO]
    return words[c + C_NET] & 1, words[c + C_SERVER_HI], words[c + C_SERVER_LO]


def socket_of(words: array[int], c: int, side: int) -> Name:
    """The address and port of an endpoint."""
    ports = words[c + C_PORTS]
    return (*host_of(words, c, side), ports >> 16 if side == CLIENT else ports & 65535)


HOST = (
    (Field(C_NET, 0, 1), Field(C_CLIENT_HI), Field(C_CLIENT_LO)),
    (Field(C_NET, 0, 1), Field(C_SERVER_HI), Field(C_SERVER_LO)),
)
"""Of each side, the parts of a record that make up :func:`host_of`."""
SOCKET = ((*HOST[CLIENT], Field(C_PORTS, 16, 65535)), (*HOST[SERVER], Field(C_PORTS, 0, 65535)))
"""Of each side, those that make up :func:`socket_of`."""


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


class Collector:
    """What a survey remembers during one pass."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.groups = Groups()
        self.total = 0
        self.copies: Mapping[int, int] = {}

    def see(self, words: array[int], c: int) -> None:
        """A connection that ``when`` chose; its record begins at word ``c``."""

    def see_all(self, words: array[int], rows: array[int]) -> None:
        """Several connections at once."""
        for c in rows:
            self.see(words, c)

    def block(self, block: Block) -> None:
        """Some more connections that are over."""

    def count(self) -> None:
        """Put into groups what was only kept so far."""

    def finish(self, now: int) -> Iterable[Found]:
        """Everything has been seen: ``total`` counts the connections, of which ``copies`` are others once more.

        ``now`` is the capture's latest moment.
        """
        raise NotImplementedError

    def lone(self, survey: Survey) -> Lone | None:
        """What there is to say besides of whoever did something once; ``survey`` is the one that this is of."""
        del survey
        return None

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
    shares : str
        Kind of a survey before it that sees the same connections: only that one sees them, and both read its groups.
    measure : callable or None
        Block -> None: what needs the logs of connections, and leaves its result in a word of their records.
    example, counterexample, needs, fragile
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
    fragile: bool = False
    when: Callable[[Key], bool] | None = None
    every: bool = False
    shares: str = ""
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
            agreed(found.message),
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
        by_kind = {survey.kind: collector for survey, collector in self.running}
        self.seeing = []
        for survey, collector in self.running:
            if survey.shares in by_kind:
                collector.groups = by_kind[survey.shares].groups
            else:
                self.seeing.append((survey, collector))
        self.chosen: dict[Key, list[Collector]] = {}
        self.total = 0

    def choose(self, key: Key) -> list[Collector]:
        """Who wants to see connections with this key; remembered."""
        chosen = [collector for survey, collector in self.seeing if survey.when and survey.when(key)]
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
        for key, places in alike(block).items():
            wanted = self.chosen.get(key)
            if wanted is None:
                wanted = self.choose(key)
            if wanted:
                for collector in wanted:
                    collector.see_all(words, places.starts)

    @property
    def gathered(self) -> tuple[int, list[Collector]]:
        """All that is remembered, to be handed to another surveyor."""
        return self.total, [collector for _, collector in self.seeing]

    def merge(self, gathered: tuple[int, list[Collector]]) -> None:
        """Take what another surveyor remembers of other connections."""
        self.total += gathered[0]
        for (_, collector), other in zip(self.seeing, gathered[1], strict=True):
            collector.merge(other)

    def finish(self, now: int, last: Finished) -> None:
        """Add the findings, once everything has been shown; in order of time."""
        findings, lone = [], []
        for _, collector in self.seeing:
            collector.count()
        for survey, collector in self.running:
            collector.total, collector.copies = self.total, last.copies
            collector.groups.trim()
            findings += [survey.finding(found) for found in collector.finish(now)]
            if some := collector.lone(survey):
                lone.append(some)
        if lone:
            last.findings.add(Surveyed(findings, lone))
        else:
            last.findings += sorted(findings, key=in_turn)
