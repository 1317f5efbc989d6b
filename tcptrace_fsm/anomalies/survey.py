"""Findings across connections: what a survey is, what it sees, how surveys are run.

A rule looks at one connection with its whole log. A survey looks at all of them, at very little of each, and speaks
once, at the end of the pass: one finding with the counts and a few examples instead of a thousand findings. It is
shown connections in two ways, and pays for what it asks for only. ``see`` gets single records, those that are neither
healthy throughout nor ruled out by ``when``, which is asked once for all connections that are alike. ``block`` gets
whole arrays of records, to be read by columns (:class:`Block`).
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tcptrace_fsm.anomalies.rule import SIDES, Finding, Key
from tcptrace_fsm.kernels.layout import (
    C_CLIENT_HI,
    C_CLIENT_LO,
    C_ENDPOINTS,
    C_FIRST_FRAME,
    C_FIRST_TIME,
    C_ID,
    C_LAST_TIME,
    C_NET,
    C_PORTS,
    C_SERVER_HI,
    C_SERVER_LO,
    CLIENT,
    CONNECTION_SIZE,
    ENDPOINT_SIZE,
    SERVER,
)

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterable, Iterator

    from tcptrace_fsm.engine import Finished
    from tcptrace_fsm.kernels import Words
    from tcptrace_fsm.profiles import Profile

    See = Callable[[array[int], int], None]

__all__ = [
    "Block",
    "Collector",
    "Found",
    "Group",
    "Groups",
    "Survey",
    "Surveyor",
    "end_of",
    "host_of",
    "name",
    "socket_of",
]

T = TypeVar("T")
EXAMPLES = 8  # frames given with a finding
MOST_GROUPS = 65536  # hosts or listeners told apart; what comes after them is not told
MOST_MEMBERS = 4096  # distinct things counted within a group
Name = tuple[int, ...]  # numbers that tell a group, or a member of one, from others: an address, with or without port


def end_of(c: int, side: int) -> int:
    """Where the record of an endpoint begins."""
    return c + C_ENDPOINTS + side * ENDPOINT_SIZE


def host_of(words: array[int], c: int, side: int) -> Name:
    """The address of an endpoint: IP version bit, upper and lower word."""
    if side == CLIENT:
        return words[c + C_NET] & 1, words[c + C_CLIENT_HI], words[c + C_CLIENT_LO]
    return words[c + C_NET] & 1, words[c + C_SERVER_HI], words[c + C_SERVER_LO]


def socket_of(words: array[int], c: int, side: int) -> Name:
    """The address and port of an endpoint."""
    ports = words[c + C_PORTS]
    return (*host_of(words, c, side), ports >> 16 if side == CLIENT else ports & 65535)


def name(of: Name) -> str:
    """An address, or an address with its port, in words."""
    v6, hi, lo = of[:3]
    if v6:
        text = socket.inet_ntop(socket.AF_INET6, struct.pack(">qq", hi, lo))
        return f"[{text}]:{of[3]}" if len(of) > 3 else text
    text = socket.inet_ntoa(struct.pack(">I", lo))
    return f"{text}:{of[3]}" if len(of) > 3 else text


class Block:
    """Some connections that are over, as surveys see them; what several surveys ask for is made once.

    Attributes
    ----------
    words : array('q')
        Their records.
    count : int
    log : int64 array or None
        The pool that holds their logs.
    """

    def __init__(self, words: array[int], count: int, log: Words | None) -> None:
        self.words = words
        self.count = count
        self.log = log
        self._made: dict[str, Any] = {}

    def column(self, word: int) -> array[int]:
        """One word of every record."""
        return self.words[word::CONNECTION_SIZE]

    def both(self, word: int) -> Iterator[tuple[int, int]]:
        """One word of both endpoints, for every record: client's, server's."""
        return zip(self.column(end_of(0, CLIENT) + word), self.column(end_of(0, SERVER) + word), strict=True)

    def once(self, what: str, make: Callable[[Block], T]) -> T:
        """Something that is made of the block for whoever asks first, and kept for the others."""
        if what not in self._made:
            self._made[what] = make(self)
        kept: T = self._made[what]
        return kept


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


class Group:
    """Connections that belong together: how many, when, the first of them, and some frames.

    Attributes
    ----------
    count : int
    members : set
        Distinct things that a survey counts in it; no more are taken than a finding needs.
    more : dict of str to int
        Counts that a survey keeps with it.
    """

    __slots__ = ("conn_id", "count", "first", "frame", "frames", "last", "members", "more")

    def __init__(self) -> None:
        self.conn_id = -1
        self.count = 0
        self.first = self.last = 0
        self.frame = 0
        self.frames: list[int] = []
        self.members: set[Name] = set()
        self.more: dict[str, int] = {}

    def add(self, words: array[int], c: int, member: Name | None = None) -> None:
        """Count the connection whose record begins at ``c``."""
        time = words[c + C_FIRST_TIME]
        frame = words[c + C_FIRST_FRAME]
        if not self.count or frame < self.frame:
            self.conn_id, self.frame, self.first = words[c + C_ID], frame, time
        self.count += 1
        self.last = max(self.last, words[c + C_LAST_TIME])
        if len(self.frames) < EXAMPLES:
            self.frames.append(frame)
        if member is not None and len(self.members) < MOST_MEMBERS:
            self.members.add(member)

    def tally(self, what: str, by: int = 1) -> None:
        """Count something else."""
        self.more[what] = self.more.get(what, 0) + by

    def peak(self, what: str) -> int:
        """The most that was counted under any name that begins like this."""
        return max((n for key, n in self.more.items() if key.startswith(what)), default=0)

    @property
    def counted(self) -> str:
        """How many different members, in words."""
        return f"{len(self.members):,}" + (" or more" if len(self.members) == MOST_MEMBERS else "")

    @property
    def lasted(self) -> int:
        """From the first segment to the last, ns."""
        return self.last - self.first


class Groups(dict[Name, Group]):
    """Groups by what their connections have in common."""

    def __init__(self) -> None:
        super().__init__()
        self._others = Group()

    def of(self, key: Name) -> Group:
        """The group of that key; one that nobody reads where there are too many."""
        group = self.get(key)
        if group is None:
            if len(self) >= MOST_GROUPS:
                return self._others
            group = self[key] = Group()
        return group


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


@dataclass(frozen=True)
class Survey:
    """One kind of anomaly that several connections show together.

    Attributes
    ----------
    kind, category, severity, rfc, summary, evidence, innocent, aliases
        As of a :class:`tcptrace_fsm.anomalies.rule.Rule`.
    make : callable
        Profile -> Collector.
    when : callable or None
        Key -> bool: which connections ``see`` is to be called with; None for none.
    every : bool
        Whether ``block`` is to be called.
    example, counterexample : str
        Conversations in the notation of :mod:`tcptrace_fsm.script`: the first gives exactly one finding of this kind,
        the second looks alike and gives none.
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
    counterexample: str
    when: Callable[[Key], bool] | None = None
    every: bool = False
    aliases: dict[str, str] = field(default_factory=dict)

    def finding(self, found: Found) -> Finding:
        """What was found as a row of the anomalies table."""
        group = found.group
        return Finding(
            group.conn_id,
            None if found.side is None else SIDES[found.side],
            group.first,
            group.frame,
            self.kind,
            self.category,
            found.severity or self.severity,
            "inferred",
            found.message,
            tuple(sorted(set(group.frames) | {group.frame})),
            self.rfc,
            None,
        )


class Surveyor:
    """Runs the surveys of one pass.

    Parameters
    ----------
    surveys : iterable of Survey
    profile : Profile
    """

    def __init__(self, surveys: Iterable[Survey], profile: Profile) -> None:
        self.running = [(survey, survey.make(profile)) for survey in surveys]
        self.every = [collector.block for survey, collector in self.running if survey.every]
        self.chosen: dict[Key, list[See]] = {}
        self.total = 0

    def choose(self, key: Key) -> list[See]:
        """Who wants to see connections with this key; remembered."""
        chosen: list[See] = [collector.see for survey, collector in self.running if survey.when and survey.when(key)]
        self.chosen[key] = chosen
        return chosen

    def connections(self, done: Finished, log: Words | None = None) -> None:
        """Show connections that are over, while ``log`` still holds their logs."""
        words, count = done.connections, done.count
        self.total += count
        block = Block(words, count, log)
        for take in self.every:
            take(block)
        for c, _, key in done.notable:
            wanted = self.chosen.get(key)
            for see in self.choose(key) if wanted is None else wanted:
                see(words, c)

    def finish(self, now: int) -> list[Finding]:
        """The findings, once everything has been shown; in order of time."""
        findings = []
        for survey, collector in self.running:
            collector.total = self.total
            findings += [survey.finding(found) for found in collector.finish(now)]
        return sorted(findings, key=lambda f: (f.time, f.kind))
