"""What a kernel detects of the connections of a block: kept as numbers, and put into words when somebody asks.

Of a flood, a summary shows one sentence of each kind; only for a table, or for whoever goes through all, each is made.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from functools import partial
from typing import TYPE_CHECKING

from tcptrace_fsm.core.columns import Alike, Columns, evidence_of, groups_in, parted
from tcptrace_fsm.core.grouping import Field, Order, counting, extent_of, in_order, picked, sums_before, words_in_common
from tcptrace_fsm.core.room import copied, zeros
from tcptrace_fsm.core.tally import Counted
from tcptrace_fsm.core.words import LOUD, SIDES
from tcptrace_fsm.findings.lacking import leap
from tcptrace_fsm.findings.wording import SENT, Detected, Unnamed
from tcptrace_fsm.kernels.layout import (
    D_ASKED,
    D_CLIENT_HI,
    D_CLIENT_LO,
    D_DOUBT,
    D_FRAME,
    D_FRAMES,
    D_GRADE,
    D_ID,
    D_KIND,
    D_NET,
    D_PORTS,
    D_SERVER_HI,
    D_SERVER_LO,
    D_TAKEN_FRAME,
    D_TIME,
    DETECTED_SIZE,
    DOUBT_CLOCKS,
    DOUBT_TIME,
    SAID_SIZE,
    SD_LOST,
)
from tcptrace_fsm.kernels.sentences import find_together, write_said

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Mapping

    from tcptrace_fsm.core.finished import Block, Finding
    from tcptrace_fsm.findings.rule import Rule
    from tcptrace_fsm.kernels import Words

__all__ = ["Detections"]

MOST_TAKEN = 10_000  # that are put into words at once; of a flood nobody asks what came of each

_DETECTED: Callable[[Iterable[int]], Detected] = partial(tuple.__new__, Detected)  # as Detected._make, without Python


class Detections:
    """Findings that a kernel has detected in a block, in order, with others that stand between them.

    Parameters
    ----------
    rules : dict of int to Rule
        By what the kernel calls their kinds.
    records : array('q')
        ``DETECTED_SIZE`` words of each.
    begins : sequence of int
        Where the frames of evidence of each begin.
    frames : array('q')
        All of them.
    starts : array('q')
        Where the record of each one's connection begins.
    lost : list of (str or None), or None
        What the capturing machine says that it lost, as far as it bears on each; None where it says nothing at all.
    between : dict of int to list of Finding, or None
        Others, by how many of these precede them.
    """

    def __init__(
        self,
        rules: Mapping[int, Rule],
        records: array[int],
        begins: array[int],
        frames: array[int],
        starts: array[int],
        lost: list[str | None] | None = None,
    ) -> None:
        self._rules = rules
        self.records = records
        self._begins = begins
        self._frames = frames
        self.starts = starts
        self._lost = lost
        self.between: dict[int, list[Finding]] = {}
        self._count = len(starts)

    @classmethod
    def of(
        cls, rules: Mapping[int, Rule], block: Block, records: array[int], frames: Words, asked: array[int]
    ) -> Detections:
        """Take what the kernel has written: the records, and the frames of evidence, one finding's after another's.

        ``asked`` holds where the records begin of the connections that were asked about.
        """
        counts, whose = records[D_FRAMES::DETECTED_SIZE], records[D_ASKED::DETECTED_SIZE]
        begins = sums_before(counts)
        used = begins[-1] + counts[-1] if counts else 0
        if Order(whose, 1, 1).distinct < len(whose):  # of one connection in the order of the rules
            places = {number: place for place, number in enumerate(rules)}
            sorted_by = zeros(2 * len(whose))
            sorted_by[::2], sorted_by[1::2] = whose, array("q", map(places.__getitem__, records[D_KIND::DETECTED_SIZE]))
            order = Order(sorted_by, 2, 2).numbers
            records, begins = in_order(order, records, DETECTED_SIZE), in_order(order, begins)
            whose = records[D_ASKED::DETECTED_SIZE]
        starts = in_order(whose, asked)
        lost = None if block.lost is None else [block.lost_by(c) for c in starts]
        made = cls(rules, records, begins, copied(frames, used), starts, lost)
        made._look_at_clocks(block)
        return made

    def _look_at_clocks(self, block: Block) -> None:
        """See where both ends' clocks tell that the times are wrong, as long as the segments are there."""
        log, records = block.log, self.records
        for (kind, grade, doubt), members in self._graded():
            if log is None or not doubt & DOUBT_CLOCKS or self._rules[kind].graded(grade, doubt, None)[0] not in LOUD:
                continue
            for i in members:
                if leap(block.words, self.starts[i], log) > 0:
                    records[i * DETECTED_SIZE + D_DOUBT] |= DOUBT_TIME

    def _graded(self) -> list[tuple[tuple[int, ...], array[int]]]:
        """Kind, grade and doubt, and the numbers of those of which they are so."""
        return words_in_common(self.records, counting(self._count, DETECTED_SIZE), GRADED)

    def some(self, numbers: list[int]) -> Detections:
        """Those with these numbers, in order."""
        wanted = array("q", numbers)
        return Detections(
            self._rules,
            in_order(wanted, self.records, DETECTED_SIZE),
            in_order(wanted, self._begins),
            self._frames,
            in_order(wanted, self.starts),
            None if self._lost is None else [self._lost[i] for i in numbers],
        )

    def __len__(self) -> int:
        return self._count + sum(map(len, self.between.values()))

    def __iter__(self) -> Iterator[Finding]:
        for i in range(self._count):
            yield from self.between.get(i, ())
            yield self.finding(i)
        yield from self.between.get(self._count, ())

    def detected(self, i: int) -> Detected:
        """One of them, in numbers."""
        return _DETECTED(self.records[i * DETECTED_SIZE : (i + 1) * DETECTED_SIZE])

    def finding(self, i: int) -> Finding:
        """One of them as a row of the anomalies table."""
        one, begin = self.detected(i), self._begins[i]
        lost = None if self._lost is None else self._lost[i]
        return self._rules[one.kind].worded(one, self._frames[begin : begin + one.frames], lost)

    def taken_out(self, kinds: Container[str]) -> list[Finding]:
        """Take those of some kinds out of them, and give these in words."""
        whose = {number for number, rule in self._rules.items() if rule.kind in kinds}
        gone: set[int] = set()
        for (kind, *_), members in self._graded() if whose else ():
            if kind in whose:
                gone.update(members)
        if not 0 < len(gone) <= MOST_TAKEN:
            return []
        taken = [self.finding(i) for i in sorted(gone)]
        kept = [i for i in range(self._count) if i not in gone]
        rest = self.some(kept)
        rest.between = {}
        for place, some in sorted(self.between.items()):
            rest.between.setdefault(bisect_left(kept, place), []).extend(some)
        self.__dict__.update(rest.__dict__)
        return taken

    def message(self, i: int) -> str:
        """What one of them says."""
        one = self.detected(i)
        return self._rules[one.kind].word(one)

    def columns(self) -> list[Columns]:
        """What they say, without the others, column by column."""
        if not self._count:
            return []
        said, lost = self._said()
        groups, firsts = groups_in(said, SAID_SIZE)
        alike, pieces = [], []
        for i in firsts:
            one = self.detected(i)
            rule = self._rules[one.kind]
            severity, artefact = rule.graded(one.grade, one.doubt, lost[said[i * SAID_SIZE + SD_LOST]])
            alike.append(Alike(SIDES[one.side], rule.kind, rule.category, severity, SENT, rule.rfc, artefact))
            pieces.append(parted(rule.word(Unnamed(*one))))
        names = picked(self.records, counting(self._count, DETECTED_SIZE), NAMES)
        evidence = evidence_of(self._begins, self.column(D_FRAMES), self._frames)
        times, frames = self.column(D_TIME), self.column(D_FRAME)
        return [Columns(self.conn_ids, times, frames, groups, alike, pieces, names, *evidence)]

    def _said(self) -> tuple[array[int], list[str | None]]:
        """What the words of each depend on beside names, ``SAID_SIZE`` words; and the texts about what was lost."""
        said = zeros(SAID_SIZE * self._count)
        write_said(self._count, self.records, said)
        if self._lost is None:
            return said, [None]
        places = {text: place for place, text in enumerate(dict.fromkeys(self._lost))}
        said[SD_LOST::SAID_SIZE] = array("q", map(places.__getitem__, self._lost))
        return said, list(places)

    def column(self, word: int) -> array[int]:
        """One word of each record."""
        return self.records[word::DETECTED_SIZE]

    @property
    def conn_ids(self) -> array[int]:
        """The number of each one's connection."""
        return self.column(D_ID)

    @property
    def kinds(self) -> array[int]:
        """What the kernel calls the kind of each."""
        return self.column(D_KIND)

    def counts(self) -> dict[int, int]:
        """How many there are of each kind, without the others."""
        places = counting(self._count, DETECTED_SIZE)
        return {kind: len(members) for (kind,), members in words_in_common(self.records, places, KIND)}

    def kinds_together(self) -> set[int]:
        """The kinds, as bits, that some connection has several of."""
        together = zeros(self._count)
        n = find_together(self._count, self.records, together) if self._count else 0
        return set(together[:n])

    def kinds_in(self, mask: int) -> frozenset[str]:
        """The kinds in words, of one or of several."""
        return frozenset(rule.kind for number, rule in self._rules.items() if mask & number)

    @property
    def others(self) -> Iterator[Finding]:
        """Those that stand between."""
        for some in self.between.values():
            yield from some

    def counted(self) -> Iterator[Counted]:
        """Count them, without the others: what is graded alike together."""
        places = counting(self._count, DETECTED_SIZE)
        for (kind, grade, doubt), members in self._graded():
            rule = self._rules[kind]
            for lost, some in self._by_losses(members).items():
                chosen = in_order(some, places)
                ids = picked(self.records, chosen, NUMBER)
                place, _ = extent_of(ids)
                least, first = ids[place], some[place]
                if ids.count(least) > 1:  # of both sides
                    both = [i for i, number in zip(some, ids, strict=True) if number == least]
                    first = min(both, key=lambda i: (self.records[i * DETECTED_SIZE + D_TIME], self.message(i)))
                time = self.records[first * DETECTED_SIZE + D_TIME]
                severity, _ = rule.graded(grade, doubt, lost)
                yield Counted(rule.kind, severity, least, time, ids, least, partial(self.message, first))

    def _by_losses(self, members: array[int]) -> dict[str | None, array[int]]:
        """Some of them, by what was lost."""
        if self._lost is None:
            return {None: members}
        apart: dict[str | None, array[int]] = {}
        for i in members:
            apart.setdefault(self._lost[i], array("q")).append(i)
        return apart


NAMES = (
    *(Field(D_NET, 0, 1), Field(D_CLIENT_HI), Field(D_CLIENT_LO), Field(D_PORTS, 16, 65535)),
    *(Field(D_SERVER_HI), Field(D_SERVER_LO), Field(D_PORTS, 0, 65535), Field(D_TAKEN_FRAME)),
)
"""What is filled in, in the order of SE_SIX and what follows."""
KIND = (Field(D_KIND),)
GRADED = (Field(D_KIND), Field(D_GRADE), Field(D_DOUBT))
NUMBER = (Field(D_ID),)
