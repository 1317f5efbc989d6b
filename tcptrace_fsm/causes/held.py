"""Findings that rest on nothing more having come: kept back until the whole capture says whether that is so.

A connection may go on under another name, and a capture may have been deaf for a while. Neither shows in a connection
that stops; others show it, and those may be anywhere in the capture.
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from operator import sub
from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.core.grouping import Field, picked
from tcptrace_fsm.findings import RULES
from tcptrace_fsm.findings.deaf import Deaf, deaf_intervals, may_have_gone_on, silences
from tcptrace_fsm.findings.needs import ACROSS, TO_THE_END
from tcptrace_fsm.kernels.layout import C_FIRST_TIME, C_ID, C_LAST_TIME, C_OPENING, C_OVER_TIME, OPENING_MIDSTREAM
from tcptrace_fsm.text.durations import SECOND

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World
    from tcptrace_fsm.core.finished import Block, Finding

__all__ = ["CROSSED", "ENDED", "Held"]

ENDED = frozenset(rule.kind for rule in RULES.values() if TO_THE_END in rule.needs)
"""Kinds of finding that rest on nothing more having come."""
CROSSED = frozenset(rule.kind for rule in RULES.values() if ACROSS in rule.needs)
"""Kinds of finding that rest on nothing having come before."""
MOST = 10_000  # findings of one kind that are kept back; of more nobody asks further
UNHEARD = 60 * SECOND  # a silence of everybody, in which connections may have begun
SOON = 30 * SECOND  # ... and what shows it comes within this
LASTED = (Field(C_ID), Field(C_FIRST_TIME), Field(C_LAST_TIME), Field(C_OVER_TIME))


class Kept(NamedTuple):
    """A finding that is kept back; when its connection began and was last heard, and as of when it is judged, ns."""

    finding: Finding
    first: int
    last: int
    over: int


class Held:
    """The findings of one pass that are kept back, and when it was deaf. Picklable; two can be put together."""

    def __init__(self) -> None:
        self.findings: list[Kept] = []
        self.shown: list[Deaf] = []
        self.deaf: list[Deaf] = []
        self.many: Counter[str] = Counter()

    def listen(self, block: Block) -> None:
        """Note which connections went on without the capture, while their logs are there."""
        assert block.log is not None
        for c in may_have_gone_on(block):
            some = silences(block.words, c, block.log)
            if some:
                block.done.deaf[c] = some

    def take(self, block: Block) -> None:
        """Take what is to be kept back out of what was found in a block of connections that are over."""
        for some in block.done.deaf.values():
            self.shown += some
        block.done.deaf.clear()
        taken = block.done.findings.taken_out({kind for kind in ENDED | CROSSED if not self.full(kind)})
        if taken:
            each = iter(picked(block.words, block.starts, LASTED))
            lasted = {number: moments for number, *moments in zip(each, each, each, each, strict=True)}
            self._add([Kept(f, *lasted[f.conn_id]) for f in taken if f.conn_id is not None])

    def merge(self, other: Held) -> None:
        """Take what another has kept back."""
        self.shown += other.shown
        self._add(other.findings)

    def _add(self, findings: Iterable[Kept]) -> None:
        some = list(findings)
        self.findings += some
        self.many.update(k.finding.kind for k in some)

    def full(self, kind: str) -> bool:
        """Whether there are too many findings of a kind to keep more of them back."""
        return self.many[kind] > MOST

    def doubt(self, world: World) -> None:
        """Have cases not be silent where they go on under another name, or where the capture was deaf."""
        if self.shown or pauses(world):
            heard = moments(world)
            self.deaf = deaf_intervals([*self.shown, *begun_unheard(world, heard)], heard)
        for case in world.cases:
            if case.conn_id in world.continued:
                case.ends_at(case.last_time, ENDED)
            for one in self.deaf:
                if spoils(one, case.last_time, case.end):
                    case.ends_at(one.since, ENDED)
                elif case.first_time <= one.since and one.until <= case.last_time:
                    case.has_no_times(CROSSED)

    def given_back(self, world: World) -> list[Finding]:
        """Those that hold, given the whole capture: of a kind of which there are too many all."""
        gone = world.continued.keys() if self.findings else frozenset()
        return [k.finding for k in self.findings if self.full(k.finding.kind) or self._holds(k, gone)]

    def _holds(self, k: Kept, gone: Container[int | None]) -> bool:
        """Whether nothing in the whole capture speaks against a finding; connections in ``gone`` go on elsewhere."""
        kind = k.finding.kind
        if kind in ENDED and (k.finding.conn_id in gone or any(spoils(d, k.last, k.over) for d in self.deaf)):
            return False
        return not (kind in CROSSED and any(follows(k, d) for d in self.deaf))


def pauses(world: World) -> bool:
    """Whether no connection began for so long that nobody may have been heard: :func:`begun_unheard` asks for that."""
    began = world.everyone.column(C_FIRST_TIME)
    return max(map(sub, began[1:], began), default=0) >= UNHEARD


def moments(world: World) -> list[int]:
    """When the capture is known to have listened, ns, in order: when connections were first or last heard, or cases."""
    heard = {*world.everyone.column(C_FIRST_TIME), *world.everyone.column(C_LAST_TIME)}
    heard.update(time for case in world.cases for s in case.segments for time in (s.time, s.last_time))
    return sorted(heard)


def begun_unheard(world: World, heard: list[int]) -> list[Deaf]:
    """Long silences of everybody behind which several connections go on that nobody saw begin."""
    found = []
    long = [(a, b) for a, b in pairwise(heard) if b - a >= UNHEARD]
    if not long:
        return []
    everyone = world.everyone
    rows = list(zip(*map(everyone.column, (C_FIRST_TIME, C_LAST_TIME, C_OPENING, C_ID)), strict=True))
    for since, until in long:
        begun = [
            first
            for first, _, opening, _ in rows
            if opening == OPENING_MIDSTREAM and until <= first <= until + min(SOON, (until - since) // 4)
        ]
        across = [number for first, last, _, number in rows if first <= since and until <= last]
        if len(begun) > 1 and all(was_silent(world.cases_by_id.get(number), since, until) for number in across):
            found.append(Deaf(since, until, len(begun)))
    return found


def was_silent(case: Case | None, since: int, until: int) -> bool:
    """Whether a connection that was there before and after an interval is known to have said nothing in it."""
    return case is not None and not any(s.time < until and s.last_time > since for s in case.segments)


def spoils(deaf: Deaf, last: int, over: int) -> bool:
    """Whether the silence after the last that was heard of a connection is mostly that of a capture that was deaf."""
    return last <= deaf.since < over and 2 * (min(deaf.until, over) - deaf.since) >= over - last


def follows(kept: Kept, deaf: Deaf) -> bool:
    """Whether a finding is about what came not long after the capture had been deaf, in a connection from before."""
    return kept.first <= deaf.since and deaf.until <= kept.finding.time <= deaf.until + deaf.lasted
