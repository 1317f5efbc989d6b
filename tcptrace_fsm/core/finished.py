"""Connections that are over: as they are handed out, and as they are shown to those who judge them."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, compress
from operator import not_
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from tcptrace_fsm.core.grouping import Field, Records, counting, picked
from tcptrace_fsm.kernels.layout import C_ENDPOINTS, C_ID, C_LAST_TIME, CLIENT, CONNECTION_SIZE, ENDPOINT_SIZE, SERVER

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator
    from typing import Self

    from tcptrace_fsm.capture.losses import Lost
    from tcptrace_fsm.core.columns import Columns

__all__ = ["Block", "Finding", "Findings", "Finished", "Part", "end_of"]

T = TypeVar("T")


class Finding(NamedTuple):
    """One row of the anomalies table; times in ns, frames from 1; no conn_id where it is about the whole capture."""

    conn_id: int | None
    side: str | None
    time: int
    frame: int | None
    kind: str
    category: str
    severity: str
    basis: str
    message: str
    frames: tuple[int, ...]
    rfc: str
    possible_artefact: str | None

    @property
    def place(self) -> int:
        """Where it stands among others: what is about the whole capture comes first."""
        return -1 if self.conn_id is None else self.conn_id


class Part(Protocol):
    """Findings that are made when somebody asks for them."""

    starts: array[int]
    """Where the records begin of the connections that they are about, one of each at most."""
    between: dict[int, list[Finding]]
    """Findings that stand between them, made already, by the number of the one that follows."""

    @property
    def kinds(self) -> array[int]:
        """Their kinds, as bits."""

    @property
    def conn_ids(self) -> array[int]:
        """The numbers of their connections."""

    @property
    def others(self) -> Iterator[Finding]:
        """Findings that stand between them, made already."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Finding]: ...

    def finding(self, i: int, /) -> Finding:
        """One of them."""

    def taken_out(self, kinds: Container[str], /) -> list[Finding]:
        """Take those of some kinds out of them, and give these."""

    def kinds_in(self, mask: int, /) -> frozenset[str]:
        """Kinds in words, by their bits."""

    def columns(self) -> Iterable[Columns]:
        """What they say, without the others, column by column."""

    def counted(self) -> Iterator[Any]:
        """Count them, without the others: see :class:`tcptrace_fsm.core.tally.Counted`."""


class Findings(Sequence["Finding"]):
    """Findings, of which some are put into words only when somebody looks at them.

    Attributes
    ----------
    parts : list of (list of Finding or Part)
        One after the other.
    """

    def __init__(self, findings: Iterable[Finding] = ()) -> None:
        self.parts: list[list[Finding] | Part] = []
        self._about: dict[int, list[Finding | tuple[Part, int]]] | None = None
        self += findings

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __bool__(self) -> bool:
        return any(map(len, self.parts))

    def __iter__(self) -> Iterator[Finding]:
        return chain.from_iterable(self.parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Findings | list) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # more may be added

    def __getitem__(self, place: Any) -> Any:
        return list(self)[place]

    def __iadd__(self, findings: Iterable[Finding]) -> Self:
        self._about = None
        for part in findings.parts if isinstance(findings, Findings) else [list(findings)]:
            if not isinstance(part, list):
                self.parts.append(part)
            elif self.parts and isinstance(self.parts[-1], list):
                self.parts[-1] += part
            elif part:
                self.parts.append(list(part))
        return self

    def add(self, part: Part) -> None:
        """Add some that are made when somebody asks for them."""
        self._about = None
        self.parts.append(part)

    @property
    def made(self) -> Iterator[Finding]:
        """Those that are made already."""
        return chain.from_iterable(part if isinstance(part, list) else part.others for part in self.parts)

    def taken_out(self, kinds: Container[str]) -> list[Finding]:
        """Take those of some kinds out of them, and give these."""
        taken: list[Finding] = []
        for part in self.parts:
            if not isinstance(part, list):
                taken += part.taken_out(kinds)
            for some in [part] if isinstance(part, list) else part.between.values():
                those = [f.kind in kinds for f in some]
                if any(those):
                    taken += compress(some, those)
                    some[:] = compress(some, map(not_, those))
        if taken:
            self._about = None
        return taken

    @property
    def lazy(self) -> list[Part]:
        """Those that are not."""
        return [part for part in self.parts if not isinstance(part, list)]

    def about(self, conn_id: int) -> list[Finding]:
        """Those about a connection."""
        if self._about is None:
            self._about = {}
            for finding in self.made:
                if finding.conn_id is not None:
                    self._about.setdefault(finding.conn_id, []).append(finding)
            for part in self.lazy:
                for i, number in enumerate(part.conn_ids):
                    self._about.setdefault(number, []).append((part, i))
        return [f if isinstance(f, Finding) else f[0].finding(f[1]) for f in self._about.get(conn_id, ())]

    def __reduce__(self) -> tuple[Any, ...]:
        return Findings, (list(self),)


def _no_words() -> array[int]:
    return array("q")


@dataclass
class Finished:
    """Connections that are over.

    Attributes
    ----------
    connections : array('q')
        ``count`` records of ``CONNECTION_SIZE`` words.
    count : int
    transitions : array('q')
        ``transition_count`` records of ``TRANSITION_SIZE`` words, grouped by connection, the client's before the
        server's, each in order of time.
    transition_count : int
    findings : Findings
    paths : array('q') or None
        With two capture points, ``count`` records of ``PATH_SIZE`` words; of -1 for what was seen at one point only.
    logs : dict of int to Log
        What is kept of the logs of connections that a diagnosis may need, by where their records begin.
    deaf : dict of int to list of Deaf
        When connections went on without the capture, by where their records begin.
    diagnoses : list of Diagnosis
        What all connections together show; only with the last that is handed out.
    copies : dict of int to int
        Connections that are others once more, each with what it is a copy of; only with the last, for who speaks then.
    undiagnosed : int
        Connections of which nobody has asked what ails them, because there were too many services; as above.
    waits : array('q')
        ``wait_count`` records of ``WAIT_SIZE`` words, as they ended: of these connections and of others.
    wait_count : int
    by_position : Finished or None
        The same with the positions of frames in the timeline, where codes (capture and number) stand in their places
        here: of captures side by side, codes are in no order of time.
    codes : callable or None
        Positions -> codes, there.
    """

    connections: array[int] = field(default_factory=_no_words)
    count: int = 0
    transitions: array[int] = field(default_factory=_no_words)
    transition_count: int = 0
    findings: Findings = field(default_factory=Findings)
    paths: array[int] | None = None
    logs: dict[int, Any] = field(default_factory=dict)
    deaf: dict[int, Any] = field(default_factory=dict)
    diagnoses: list[Any] = field(default_factory=list)
    copies: dict[int, int] = field(default_factory=dict)
    undiagnosed: int = 0
    waits: array[int] = field(default_factory=_no_words)
    wait_count: int = 0
    by_position: Finished | None = None
    codes: Callable[[list[int]], list[int]] | None = None

    @property
    def holds_anything(self) -> bool:
        """Whether there is anything in it."""
        return bool(self.count or self.findings or self.diagnoses or self.wait_count or self.undiagnosed)


def end_of(c: int, side: int) -> int:
    """Where the record of an endpoint begins."""
    return c + C_ENDPOINTS + side * ENDPOINT_SIZE


class Block:
    """Connections that are over, as judges see them; what several judges ask for is made once.

    Attributes
    ----------
    done : Finished
        Where judges put what they find.
    log : memoryview or None
        The pool that holds the connections' logs; None once it does so no more.
    lost : Lost or None
        What the capturing machine says that it lost, as far as that is known yet.
    words : array('q')
        The connections' records.
    count : int
    kept : dict
        What judges keep from one block of a pass to the next.
    longest : int
        The greatest number of log records of one connection; set where they are still to be replayed.
    """

    def __init__(
        self,
        done: Finished,
        log: memoryview | None = None,
        lost: Lost | None = None,
        kept: dict[str, Any] | None = None,
    ) -> None:
        self.done = done
        self.log = log
        self.lost = lost
        self.words = done.connections
        self.count = done.count
        self.kept = {} if kept is None else kept
        self.longest = 0
        self._made: dict[str, Any] = {}
        self._columns: dict[int, array[int]] = {}

    @cached_property
    def first_id(self) -> int:
        """The lowest conn_id; beyond all of them where there is no connection."""
        return min(self.column(C_ID), default=1 << 62)

    @cached_property
    def starts(self) -> array[int]:
        """Where each record begins."""
        return counting(self.count, CONNECTION_SIZE)

    def column(self, word: int) -> array[int]:
        """One word of every record; not to be changed, for others may ask for it too."""
        found = self._columns.get(word)
        if found is None:
            found = self._columns[word] = picked(self.words, self.starts, (Field(word),))
        return found

    def lost_by(self, c: int) -> str | None:
        """What the capturing machine says that it lost, as far as it bears on the connection at ``c``."""
        return None if self.lost is None else self.lost.by(self.words[c + C_LAST_TIME])

    def both(self, word: int) -> Iterator[tuple[int, int]]:
        """One word of both endpoints, for every record: client's, server's."""
        return zip(self.column(end_of(0, CLIENT) + word), self.column(end_of(0, SERVER) + word), strict=True)

    def shared(self, word: int) -> bool:
        """Whether a word is known to be the same in every record."""
        return isinstance(self.words, Records) and self.words.share(Field(word))

    def lacks(self, word: int, value: int) -> bool:
        """Whether it is known without a look at each that the word has that value in none of the records."""
        return self.shared(word) and self.words[word] != value

    def is_all(self, word: int, value: int) -> bool:
        """Whether it is known without a look at each that the word has that value in all of them."""
        return self.shared(word) and self.words[word] == value

    def once(self, what: str, make: Callable[[Block], T]) -> T:
        """Something that is made of the block for whoever asks first, and kept for the others."""
        if what not in self._made:
            self._made[what] = make(self)
        kept: T = self._made[what]
        return kept
