"""Counts of what is over, kept while a capture is read: what a summary says without holding a table."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from functools import partial
from heapq import nsmallest
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from tcptrace_fsm.core.grouping import Field, counting, words_in_common
from tcptrace_fsm.core.services import Services
from tcptrace_fsm.core.words import CLOSINGS, OPENINGS, SEVERITIES, SIDES, STATES
from tcptrace_fsm.kernels import layout as k

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tcptrace_fsm.core.finished import Finding, Finished

__all__ = ["SHOWN_IDS", "WAYS", "Counted", "Finds", "Tally"]

WAYS = ("client_to_server", "server_to_client")
BETWEEN: dict[str, int] = {
    "seen_at_both": k.W_DELAYS,
    "lost_between": k.W_LOST,
    "lost_before": k.W_BEFORE,
    "lost_after": k.W_AFTER,
    "uncaptured": k.W_MISSED,
    "foreign": k.W_FOREIGN,
    "reordered": k.W_REORDERED,
}
"""What two capture points tell of each way, and the words of the path record that count it."""

WAYS_OVER = (Field(k.C_OPENING), Field(k.C_CLOSING), Field(k.C_CLIENT_STATE), Field(k.C_SERVER_STATE))
WORST_FIRST = SEVERITIES[::-1]
RANK = {severity: rank for rank, severity in enumerate(SEVERITIES)}
SHOWN_IDS = 5  # connections that are named with a kind of finding


class Counted(NamedTuple):
    """Some findings of one kind.

    Attributes
    ----------
    kind, severity : str
        The severity, the place, the time and the message are those of the worst.
    place, time : int
    places : sequence of int
        Of all of them.
    least : int
        The lowest of these.
    message : callable
        () -> the message.
    """

    kind: str
    severity: str
    place: int
    time: int
    places: Sequence[int]
    least: int
    message: Callable[[], str]


def counted(findings: Iterable[Finding]) -> Iterator[Counted]:
    """Count findings by kind."""
    by_kind: dict[str, list[Finding]] = {}
    for finding in findings:
        by_kind.setdefault(finding.kind, []).append(finding)
    for kind, some in by_kind.items():
        worst = min(some, key=lambda f: (-RANK.get(f.severity, 0), f.place, f.time, f.message))
        message = partial(getattr, worst, "message")
        places = [f.place for f in some]
        yield Counted(kind, worst.severity, worst.place, worst.time, places, min(places), message)


class Finds:
    """What is remembered of the findings of one kind; it does not depend on the order in which they come."""

    def __init__(self) -> None:
        self.count = 0
        self._worst: tuple[int, int, int, str] = (0, 0, 0, "")  # severity, conn_id, time, message
        self._lowest: list[int] = []

    @property
    def severity(self) -> str:
        """That of the worst."""
        return SEVERITIES[-self._worst[0]]

    @property
    def message(self) -> str:
        """That of the first of the worst."""
        return self._worst[3]

    @property
    def conn_ids(self) -> list[int]:
        """The connection of that one, then the lowest of the others, one more than are shown."""
        worst = self._worst[1]
        return [i for i in (worst, *(i for i in self._lowest if i != worst)) if i >= 0][: SHOWN_IDS + 1]

    def add(self, some: Counted) -> None:
        """Count some findings; they are put into words where they may be the worst."""
        key = (-RANK.get(some.severity, 0), some.place, some.time)
        worst = self._worst if self.count and key > self._worst[:3] else (*key, some.message())
        full = len(self._lowest) > SHOWN_IDS and some.least > self._lowest[-1]
        self._take(len(some.places), worst, () if full else nsmallest(SHOWN_IDS + 1, set(some.places)))

    def merge(self, other: Finds) -> None:
        """Take what another has counted."""
        self._take(other.count, other._worst, other._lowest)

    def _take(self, n: int, worst: tuple[int, int, int, str], conn_ids: Iterable[int]) -> None:
        self._worst = min(self._worst, worst) if self.count else worst
        self.count += n
        for conn_id in conn_ids:
            if conn_id not in self._lowest:
                insort(self._lowest, conn_id)
                del self._lowest[SHOWN_IDS + 1 :]


class Tally:
    """Counts what is over, connection by connection."""

    def __init__(self) -> None:
        self.connections = 0
        self.transitions = 0
        self.undiagnosed = 0
        self.findings: dict[str, Finds] = {}
        self.diagnoses: list[Any] = []
        self.services = Services()
        self._ways: Counter[tuple[int, ...]] = Counter()
        self._between: Counter[tuple[str, str]] = Counter()

    def take(self, finished: Finished) -> None:
        """Take the connections that are over."""
        block = finished.connections
        starts = counting(finished.count, k.CONNECTION_SIZE)
        for way, members in words_in_common(block, starts, WAYS_OVER):
            self._ways[way] += len(members)
        if finished.paths is not None:
            self._take_paths(finished.paths)
        self.services.take(block, finished.count)
        self.connections += finished.count
        self.transitions += finished.transition_count
        self.diagnoses += finished.diagnoses
        self.undiagnosed += finished.undiagnosed
        some = chain(counted(finished.findings.made), *(part.counted() for part in finished.findings.lazy))
        for counts in some:
            self.findings.setdefault(counts.kind, Finds()).add(counts)

    def merge(self, other: Tally) -> None:
        """Take what another has counted of other connections."""
        self._ways.update(other._ways)
        self.connections += other.connections
        self.transitions += other.transitions
        self.diagnoses += other.diagnoses
        self.undiagnosed += other.undiagnosed
        self.services.merge(other.services)
        for name, finds in other.findings.items():
            self.findings.setdefault(name, Finds()).merge(finds)

    def _take_paths(self, paths: Any) -> None:
        self._between["connections", "both"] += sum(n >= 0 for n in paths[k.W_LOST :: k.PATH_SIZE])
        for side, way in enumerate(WAYS):
            for name, word in BETWEEN.items():
                counts = paths[side * k.WAY_SIZE + word :: k.PATH_SIZE]
                self._between[name, way] += sum(n for n in counts if n > 0)

    def between(self) -> dict[str, Any]:
        """Count what became of segments between two capture points, by their way."""
        counts = {name: {way: self._between[name, way] for way in WAYS} for name in BETWEEN}
        return {"connections_at_both": self._between["connections", "both"], **counts}

    def _by(self, place: int, words: tuple[str, ...]) -> dict[str, int]:
        counts = [0] * len(words)
        for way, n in self._ways.items():
            counts[way[place]] += n
        return dict(zip(words, counts, strict=True))

    def openings(self) -> dict[str, int]:
        """Count connections by how they opened."""
        return self._by(0, OPENINGS)

    def closings(self) -> dict[str, int]:
        """Count connections by how they closed."""
        return self._by(1, CLOSINGS)

    def not_open(self) -> dict[str, int]:
        """Count connections without a close that are not open either: never opened, or over before the capture."""
        over = {STATES.index(state) for state in ("CLOSED", "UNKNOWN", "LISTEN")}
        failed = {OPENINGS.index(opening) for opening in ("refused", "unanswered", "incomplete")}
        counts = {"never_opened": 0, "over_before": 0}
        for (opening, closing, client, server), n in self._ways.items():
            if CLOSINGS[closing] != "none":
                continue
            if opening in failed:
                counts["never_opened"] += n
            elif client in over and server in over:
                counts["over_before"] += n
        return counts

    def states(self) -> dict[str, dict[str, int]]:
        """Endpoints by state when the capture ends, for each side."""
        return {side: self._by(2 + i, STATES) for i, side in enumerate(SIDES)}

    def worst_first(self) -> list[tuple[str, Finds]]:
        """Kinds of finding, the most severe and then the most frequent first."""
        return sorted(
            self.findings.items(), key=lambda kind: (WORST_FIRST.index(kind[1].severity), -kind[1].count, kind[0])
        )

    def reaches(self, severity: str) -> bool:
        """Whether some finding or diagnosis is at least this severe."""
        least = SEVERITIES.index(severity)
        found = [*(kind.severity for kind in self.findings.values()), *(d.severity for d in self.diagnoses)]
        return any(SEVERITIES.index(one) >= least for one in found)
