"""From cases to diagnoses: who may suffer is kept while the capture is read, and weighed once it is over.

Of connections that are alike (same service, same findings, same way of opening and closing) some are kept whole and the
others are counted, so that a flood costs no more than its counting. Which are kept depends on when they began and not
on the order in which they were judged: several processes that share the work keep the same ones.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

from tcptrace_fsm.causes.briefs import CLIENT_SEGMENTS, SERVER_SEGMENTS, Brief
from tcptrace_fsm.causes.case import Case, host_text, log_of, path_of, view_of
from tcptrace_fsm.causes.cause import CONFIDENCES, Cause, Diagnosis, Sufferer, Verdict, distinct, once_each, surest
from tcptrace_fsm.causes.excluded import contradicted
from tcptrace_fsm.causes.held import Held
from tcptrace_fsm.causes.likes import BEGAN, LISTED, Alike, Earliest
from tcptrace_fsm.causes.same import copies
from tcptrace_fsm.causes.world import Ledger, World
from tcptrace_fsm.core.finished import Block, end_of
from tcptrace_fsm.core.grouping import (
    Field,
    Marks,
    Places,
    in_order,
    lowest_of,
    multiplied,
    picked,
    sums_before,
    words_in_common,
)
from tcptrace_fsm.core.judges import Judge
from tcptrace_fsm.core.words import SEVERITIES
from tcptrace_fsm.findings.keys import alike as by_key
from tcptrace_fsm.findings.survey import name
from tcptrace_fsm.kernels.layout import (
    C_CLOSING,
    C_FIRST_FRAME,
    C_ID,
    C_NET,
    C_OPENING,
    C_PORTS,
    C_SERVER_HI,
    C_SERVER_LO,
    C_TRANSITIONS,
    CLIENT,
    CLOSING_NONE,
    CLOSING_NORMAL,
    CONNECTION_SIZE,
    E_STAGE,
    ES_DATA,
    OPENING_MIDSTREAM,
    SERVER,
    TRANSITION_SIZE,
)
from tcptrace_fsm.text.counts import agreed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tcptrace_fsm.capture.losses import Lost
    from tcptrace_fsm.core.finished import Finding, Finished
    from tcptrace_fsm.findings.survey import Name
    from tcptrace_fsm.tcp.profiles import Profile

__all__ = ["Diagnoser", "diagnose"]

MOST_LIKES = 20_000  # groups of connections that are alike
MOST_QUIET = 2000  # of these, of strays: open before and after, a few segments, and no rule has anything to say
FEW = 3  # segments of a stray: nothing can be seen to ail it

Key = tuple[Any, ...]
"""Six numbers, and the kinds of findings: service, opening, closing."""
LIKE = (
    *(Field(C_NET, 0, 1), Field(C_SERVER_HI), Field(C_SERVER_LO), Field(C_PORTS, 0, 65535)),
    *(Field(C_OPENING), Field(C_CLOSING)),
)
SPOKE = (*(Field(end_of(0, side) + E_STAGE, 0, ES_DATA) for side in (CLIENT, SERVER)), Field(C_CLOSING))
NUMBER = (Field(C_ID),)
NOTHING: frozenset[str] = frozenset()
QUIET = (OPENING_MIDSTREAM, CLOSING_NONE, NOTHING)


class Diagnoser(Judge):
    """Keeps what causes may need of the connections of one pass, and diagnoses them at its end.

    Parameters
    ----------
    causes : iterable of Cause
    profile : Profile
    """

    def __init__(self, causes: Iterable[Cause], profile: Profile) -> None:
        self.causes = tuple(causes)
        self.profile = profile
        self.ledger = Ledger()
        self.likes: dict[Key, Alike] = {}
        self._first: dict[Key, Earliest] = {}
        self._strays = [0, 0]  # how many groups of them there are, by `judge` and by `gather`
        self.held = Held()
        self.left_out = 0  # how many connections are in no group, since there are too many groups

    def judge(self, block: Block) -> None:
        """Keep the logs of those that a diagnosis may need."""
        assert block.log is not None
        alike, since = _alike(block), _began(block)
        for key in alike:
            earliest = self._first.get(key)
            if earliest is None:
                if not self._has_room(key, len(self._first), 0, alike.starts(key), block.words):
                    continue
                earliest = self._first[key] = Earliest()
            for c in earliest.take(block.words, alike.rows(key), since):
                block.done.logs[c] = log_of(block.words, c, block.log)
        self.held.listen(block)

    def _has_room(self, key: Key, many: int, whose: int, starts: Iterable[int], words: array[int]) -> bool:
        """Whether there is room for another group; of strays somebody may make one of each packet."""
        if key[4:] == QUIET and all(words[c + CLIENT_SEGMENTS] + words[c + SERVER_SEGMENTS] <= FEW for c in starts):
            self._strays[whose] += 1
            return many < MOST_LIKES and self._strays[whose] <= MOST_QUIET
        return many < MOST_LIKES

    def gather(self, block: Block) -> None:
        """Count connections, and keep those whole whose logs were kept."""
        self.lost = block.lost or self.lost
        self.ledger.take(block)
        words, logs = block.words, block.done.logs
        seen = block if block.done.by_position is None else Block(block.done.by_position, lost=block.lost)
        findings = seen.done.findings
        groups, since = _alike(block), _began(block)
        for key in groups:
            alike = self.likes.get(key)
            if alike is None:
                if not self._has_room(key, len(self.likes), 1, groups.starts(key), words):
                    self.left_out += len(groups[key])
                    continue
                alike = self.likes[key] = Alike()
            rows = groups.rows(key)
            alike.number(words, rows, since)
            for c, t in [(c, rows.changes[i]) for i, c in enumerate(rows.starts) if c in logs] if logs else ():
                view = view_of(seen, c, t, logs[c], self.profile)
                path = path_of(block.done.paths, c // CONNECTION_SIZE)
                case = Case(view, findings.about(words[c + C_ID]), path)
                if block.done.codes is not None:
                    case.learn_codes(block.done.codes)
                alike.keep(case)
        logs.clear()
        self.held.take(block)

    @property
    def gathered(self) -> tuple[Ledger, dict[Key, Alike], Lost | None, int, Held]:
        """All that was kept, and how many connections were not."""
        return self.ledger, self.likes, self.lost, self.left_out, self.held

    def merge(self, gathered: tuple[Ledger, dict[Key, Alike], Lost | None, int, Held]) -> None:
        """Add what another has kept of other connections."""
        ledger, likes, lost, left_out, held = gathered
        self.held.merge(held)
        self.left_out += left_out
        self.ledger.merge(ledger)
        self.lost = self.lost or lost
        for key, alike in likes.items():
            self.likes.setdefault(key, Alike()).merge(alike)

    @property
    def copies(self) -> dict[int, int]:
        """Which connections the capture shows once more."""
        return copies(self.ledger.briefs())

    def finish(self, now: int, last: Finished) -> None:
        """Add the diagnoses, worst first."""
        last.undiagnosed += self.left_out
        cases = sorted((case for alike in self.likes.values() for case in alike.cases), key=lambda c: c.order)
        for case in cases:
            case.origins = self.origins
        lost = None if self.lost is None else self.lost.whole
        stands_for: dict[int, list[int]] = {}
        many: dict[int, int] = {}
        world = World(
            self.ledger,
            cases,
            last.findings,
            now,
            self.profile,
            lost=lost,
            alike=lambda c: many[id(c)],
            twice=last.copies,
        )
        for alike in self.likes.values():
            alike.share_out(world.copies, stands_for, many)
        self.held.doubt(world)
        last.diagnoses += diagnose(self.causes, world, lambda c: stands_for[id(c)])
        last.findings += self.held.given_back(world)


class _Groups(dict[Key, "list[int] | array[int]"]):
    """Which of some connections are alike, by number; where they are is made out when somebody asks."""

    def __init__(self, places: Places) -> None:
        super().__init__()
        self._places = places
        self._rows: dict[Key, Places] = {}

    def starts(self, key: Key) -> Iterator[int]:
        """Where the records begin of those with that key."""
        return map(self._places.starts.__getitem__, self[key])

    def rows(self, key: Key) -> Places:
        """Those with that key."""
        if key not in self._rows:
            self._rows[key] = self._places.some(array("q", self[key]))
        return self._rows[key]


def _alike(block: Block) -> _Groups:
    """The connections that may suffer from something, by what they are like."""

    def make(block: Block) -> _Groups:
        words, findings = block.words, block.done.findings
        places = Places()
        for some in (*by_key(block).values(), _one_way(block)):
            places.extend(some)
        made, marks, others = _Groups(places), Marks(block.count), _kinds_by_connection(findings.made)
        kinds_of: dict[int, frozenset[str]] = {0: NOTHING}
        for part in findings.lazy:
            marks.add(part.starts, part.kinds)
        noted = marks.of(places.starts)
        told = [others.get(number) for number in picked(words, places.starts, NUMBER)] if others else []
        for (*like, mask), members in words_in_common(words, places.starts, LIKE, noted):
            those: list[int] | array[int] = members
            if told:
                for i in members:
                    if kinds := told[i]:
                        made.setdefault((*like, kinds), []).append(i)
                those = [i for i in members if not told[i]]
            if those:
                if mask not in kinds_of:
                    kinds_of[mask] = NOTHING.union(*(part.kinds_in(mask) for part in findings.lazy))
                key = (*like, kinds_of[mask])
                made[key] = [*made[key], *those] if key in made else those
        return made

    return block.once("alike", make)


def _began(block: Block) -> int:
    """When the first of the connections began, ns."""
    return block.once("began", lambda some: lowest_of(picked(some.words, some.starts, BEGAN)) if some.count else 0)


def _kinds_by_connection(findings: Iterable[Finding]) -> dict[int, frozenset[str]]:
    """The kinds of findings about each connection."""
    kinds: dict[int, set[str]] = {}
    for finding in findings:
        if finding.conn_id is not None:
            kinds.setdefault(finding.conn_id, set()).add(finding.kind)
    sets: dict[frozenset[str], frozenset[str]] = {}  # few are different
    frozen = {number: frozenset(some) for number, some in kinds.items()}
    return {number: sets.setdefault(some, some) for number, some in frozen.items()}


def _one_way(block: Block) -> Places:
    """Connections that look healthy, and in which only the client said anything."""
    noted = Marks(block.count)
    for places in by_key(block).values():
        noted.add(places.starts, array("q", [1]) * len(places))
    found = words_in_common(block.words, block.starts, SPOKE, noted.of(block.starts))
    quiet = next((members for what, members in found if what == (ES_DATA, 0, CLOSING_NORMAL, 0)), None)
    if quiet is None:
        return Places()
    begins = sums_before(block.column(C_TRANSITIONS))
    return Places(multiplied(quiet, CONNECTION_SIZE), multiplied(in_order(quiet, begins), TRANSITION_SIZE))


class _Group(NamedTuple):
    """Connections that suffer from one cause together."""

    cause: Cause
    key: Name
    sufferers: list[Sufferer]
    alternatives: list[str]


def diagnose(causes: Iterable[Cause], world: World, numbers: Callable[[Case], list[int]]) -> list[Diagnosis]:
    """Weigh the causes for every case, put together what suffers together, and rank.

    Parameters
    ----------
    causes : iterable of Cause
    world : World
    numbers : callable
        Case -> the numbers of the connections that it stands for.
    """
    groups: dict[tuple[str, Name], _Group] = {}
    by_name = {cause.name: cause for cause in causes}
    for case in world.cases:
        if case.conn_id in world.answered:
            continue
        for cause, verdict, rivals in _answers(by_name, case, world):
            key = _key(verdict.group or cause.group, world.original(case))
            group = groups.get((cause.name, key))
            if group is None:
                group = groups[cause.name, key] = _Group(cause, key, [], [])
            group.sufferers.append(Sufferer(case, verdict))
            group.alternatives.extend(rivals)
    found = [_diagnosis(group, world, numbers) for group in groups.values()]
    found.sort(key=_rank)
    return [d._replace(diagnosis_id=i) for i, d in enumerate(found)]


def _answers(by_name: dict[str, Cause], case: Case, world: World) -> list[tuple[Cause, Verdict, list[str]]]:
    """What ails a connection: of causes that look alike only the one that fits best, with its rivals."""
    verdicts = [
        (cause, v)
        for cause in by_name.values()
        if (v := cause.verdict(case, world)) is not None and not contradicted(cause, v, case)
    ]
    verdicts.sort(key=lambda cv: (-cv[1].weight, -CONFIDENCES.index(cv[1].confidence)))
    answers: list[tuple[Cause, Verdict, list[str]]] = []
    for cause, verdict in verdicts:
        rival = next((a for a in answers if rivals(a[0], cause)), None)
        if rival is None:
            answers.append((cause, verdict, []))
        elif 2 * verdict.weight >= rival[1].weight:
            rival[2].append(cause.name)
    return answers


def rivals(one: Cause, other: Cause) -> bool:
    """Whether two causes look alike, so that only one of them is the answer for a connection."""
    return other.name in one.look_alikes or one.name in other.look_alikes


def _key(group: str, whose: Case | Brief) -> Name:
    """What those that suffer together have in common; of a copy under another name it is that of the original."""
    if group == "service":
        return whose.service
    client, server = (
        (whose.client, whose.server) if isinstance(whose, Brief) else (whose.client_host, whose.server_host)
    )
    return {"pair": (*client, *server), "client": client, "server": server}.get(group, ())


def _diagnosis(group: _Group, world: World, numbers: Callable[[Case], list[int]]) -> Diagnosis:
    """Put what a cause says of several connections into one row."""
    cause, sufferers = group.cause, once_each(group.sufferers, world.copies)
    best = surest(sufferers)
    verdict = best.verdict
    # Of a connection that the capture shows twice only one counts, and that may not be the one that suffers.
    count = sum(world.alike(s.case) for s in sufferers) or 1
    ids = sorted({n for s in sufferers for n in numbers(s.case)})[:LISTED] or [best.case.conn_id]
    signs = [_first_sign(s) for s in sufferers]
    time, frame = min(signs)
    services = {s.case.service for s in sufferers}
    hosts = {_host(cause, verdict, s.case) for s in sufferers}
    names = _names(best.case)
    others = [n for s in sufferers for n in s.verdict.alternatives] if verdict.confidence != "proved" else []
    alternatives = distinct(n for n in (*verdict.alternatives, *others, *group.alternatives) if n != cause.name)
    kinds = {kind for s in sufferers for kind in s.case.kinds & cause.explains}
    kinds |= world.kinds & cause.explains  # what surveys say of many connections together
    return Diagnosis(
        0,
        cause.name,
        verdict.confidence,
        verdict.severity or cause.severity,
        verdict.where or cause.where,
        name(services.pop()) if len(services) == 1 else None,
        host_text(hosts.pop()) if len(hosts) == 1 else None,
        tuple(ids),
        count,
        max(count, _in_all(verdict.group or cause.group, best.case, world)),
        time,
        frame if frame >= 0 else None,
        agreed(cause.word(sufferers, world)),
        tuple(map(agreed, verdict.evidence)),
        tuple(map(agreed, verdict.against)),
        () if verdict.confidence == "proved" else alternatives,
        tuple(sorted(kinds)),
        cause.next_step.format(**names),
    )


def _first_sign(sufferer: Sufferer) -> tuple[int, int]:
    """When, and with which frame, it began to show."""
    case, at = sufferer.case, sufferer.verdict.at
    if at is None:
        return case.first_time, case.everywhere(case[C_FIRST_FRAME])
    return at.time, -1 if at.frame is None else case.everywhere(case.view.shown(at.frame))


def _host(cause: Cause, verdict: Verdict, case: Case) -> Name:
    return case.client_host if (verdict.where or cause.where) == "client" else case.server_host


def _in_all(group: str, case: Case, world: World) -> int:
    """Out of how many connections that went the same way."""
    if group == "service":
        return world.counts(case.service).total
    if group == "pair":
        return world.once_each(world.between(case.client_host, case.server_host))
    if group == "client":
        return world.once_each(world.from_host(case.client_host))
    if group == "server":
        return world.once_each(world.to_host(case.server_host))
    return world.total


def _names(case: Case) -> dict[str, Any]:
    """What a next step may name."""
    return {
        "client": case.client.name,
        "server": case.server.name,
        "service": case.service_text,
        "client_host": host_text(case.client_host),
        "server_host": host_text(case.server_host),
        "server_port": case.service[3],
        "client_port": case[C_PORTS] >> 16,
    }


def _rank(diagnosis: Diagnosis) -> tuple[int, int, int, int, str]:
    """Worst first: by severity, how sure it is, how many suffer, when it began."""
    return (
        -SEVERITIES.index(diagnosis.severity),
        -CONFIDENCES.index(diagnosis.confidence),
        -diagnosis.count,
        diagnosis.time,
        diagnosis.cause,
    )
