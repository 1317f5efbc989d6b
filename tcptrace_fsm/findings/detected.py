"""What a kernel detects of the connections of a block: kept as numbers, and put into words when somebody asks.

Of a flood, a summary shows one sentence of each kind; only for a table, or for whoever goes through all, each is made.
"""

from __future__ import annotations

from array import array
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from tcptrace_fsm.core.grouping import Field, Order, counting, extent_of, in_order, picked, words_in_common
from tcptrace_fsm.core.tally import Counted
from tcptrace_fsm.core.words import SIDES
from tcptrace_fsm.findings.lacking import leap
from tcptrace_fsm.findings.wording import NO_CLIENT, NO_SERVER, SENT, Detected, Unnamed
from tcptrace_fsm.kernels.layout import (
    D_ASKED,
    D_CLIENT_HI,
    D_CLIENT_LO,
    D_COUNT,
    D_DOUBT,
    D_FRAME,
    D_FRAMES,
    D_GRADE,
    D_ID,
    D_KIND,
    D_MORE,
    D_NET,
    D_PORTS,
    D_SERVER_HI,
    D_SERVER_LO,
    D_SIDE,
    D_SPAN,
    D_TAKEN_FRAME,
    D_TIME,
    DETECTED_SIZE,
    DOUBT_CLOCKS,
    DOUBT_TIME,
)
from tcptrace_fsm.text.addresses import socket_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tcptrace_fsm.core.finished import Block, Finding
    from tcptrace_fsm.findings.rule import Rule

__all__ = ["Detections"]

LOUD = ("medium", "high")
MOST_TEXTS = 256  # that are kept to have names filled in: where there are more, few are alike


_DETECTED: Callable[[Iterable[int]], Detected] = partial(tuple.__new__, Detected)  # as Detected._make, without Python


def parted(text: str) -> tuple[str, ...]:
    """A text without names, in parts: around the client and the server, or, behind "", around server and client.

    One part where either is not named just once.
    """
    if text.count(NO_CLIENT) != 1 or text.count(NO_SERVER) != 1:
        return (text,)
    swapped = text.index(NO_CLIENT) > text.index(NO_SERVER)
    parts = tuple(text.replace(NO_SERVER, NO_CLIENT).split(NO_CLIENT))
    return ("", *parts) if swapped else parts


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
        cls, rules: Mapping[int, Rule], block: Block, records: array[int], frames: array[int], asked: array[int]
    ) -> Detections:
        """Take what the kernel has written: the records, and the frames of evidence, one finding's after another's.

        ``asked`` holds where the records begin of the connections that were asked about.
        """
        begins = array("q", accumulate(records[D_FRAMES::DETECTED_SIZE], initial=0))
        used, whose = begins.pop(), records[D_ASKED::DETECTED_SIZE]
        if len(set(whose)) < len(whose):  # of one connection in the order of the rules
            places = {number: place for place, number in enumerate(rules)}
            sorted_by = array("q", bytes(16 * len(whose)))
            sorted_by[::2], sorted_by[1::2] = whose, array("q", map(places.__getitem__, records[D_KIND::DETECTED_SIZE]))
            order = Order(sorted_by, 2, 2).numbers
            records, begins = in_order(order, records, DETECTED_SIZE), in_order(order, begins)
            whose = records[D_ASKED::DETECTED_SIZE]
        starts = in_order(whose, asked)
        lost = None if block.lost is None else [block.lost_by(c) for c in starts]
        made = cls(rules, records, begins, frames[:used], starts, lost)
        made._look_at_clocks(block)
        return made

    def _look_at_clocks(self, block: Block) -> None:
        """See where both ends' clocks tell that the times are wrong, as long as the segments are there."""
        records = self.records
        keys = list(zip(self.kinds, self.column(D_GRADE), self.column(D_DOUBT), strict=True))
        loud = {
            key for key in set(keys) if key[2] & DOUBT_CLOCKS and self._rules[key[0]].graded(*key[1:], None)[0] in LOUD
        }
        if not loud or block.log is None:
            return
        for i, key in enumerate(keys):
            if key in loud and leap(block.words, self.starts[i], block.log) > 0:
                records[i * DETECTED_SIZE + D_DOUBT] |= DOUBT_TIME

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

    def message(self, i: int) -> str:
        """What one of them says."""
        one = self.detected(i)
        return self._rules[one.kind].word(one)

    def columns(self) -> list[Sequence[Any]]:
        """What they say, without the others, column by column as in :class:`Finding`."""
        lost = self._lost or [None] * self._count
        keys = list(zip(self.kinds, self.column(D_GRADE), self.column(D_DOUBT), lost, strict=True))
        graded = {key: (self._rules[key[0]], *self._rules[key[0]].graded(*key[1:])) for key in set(keys)}
        alike = {
            key: (r.kind, r.category, severity, r.rfc, artefact) for key, (r, severity, artefact) in graded.items()
        }
        kind, category, severity, rfc, artefact = zip(*map(alike.__getitem__, keys), strict=True)
        return [
            self.conn_ids,
            [SIDES[side] for side in self.column(D_SIDE)],
            self.column(D_TIME),
            self.column(D_FRAME),
            kind,
            category,
            severity,
            [SENT] * self._count,
            self._messages(),
            self._evidence(),
            rfc,
            artefact,
        ]

    def _messages(self) -> list[str]:
        """What each says; the words of those that differ in names alone are put together once."""
        rules, made, messages = self._rules, dict[tuple[int, ...], tuple[str, ...]](), []
        alike = zip(*map(self.column, SAID), strict=True)
        for i, (said, client, server) in enumerate(zip(alike, *self._names(), strict=True)):
            parts = made.get(said)
            if parts is None:
                found = self.detected(i)
                if len(made) >= MOST_TEXTS:
                    messages.append(rules[found.kind].word(found))
                    continue
                parts = made[said] = parted(rules[found.kind].word(Unnamed(*found)))
            if len(parts) == 3:
                messages.append(f"{parts[0]}{client}{parts[1]}{server}{parts[2]}")
            elif len(parts) == 4:
                messages.append(f"{parts[1]}{server}{parts[2]}{client}{parts[3]}")
            else:
                messages.append(parts[0].replace(NO_CLIENT, client).replace(NO_SERVER, server))
        return messages

    def _names(self) -> tuple[list[str], list[str]]:
        """``address:port`` of each one's client and server."""
        net, ports = self.column(D_NET), self.column(D_PORTS)
        ends = ((D_CLIENT_HI, D_CLIENT_LO, 16), (D_SERVER_HI, D_SERVER_LO, 0))
        client, server = (
            [
                socket_text(high, low, both >> shift & 65535, six=bool(six & 1))
                for six, both, high, low in zip(net, ports, self.column(high_word), self.column(low_word), strict=True)
            ]
            for high_word, low_word, shift in ends
        )
        return client, server

    def _evidence(self) -> list[tuple[int, ...]]:
        """The frames of each."""
        counts, frames = self.column(D_FRAMES), self._frames
        if set(counts) == {1}:
            return list(zip(in_order(self._begins, frames), strict=True))
        each = zip(self._begins, counts, strict=True)
        return [tuple(sorted(set(frames[begin : begin + count]))) for begin, count in each]

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

    def kinds_together(self) -> set[int]:
        """The kinds, as bits, that some connection has several of."""
        whose = self.column(D_ASKED)
        if len(set(whose)) == len(whose):
            return set()
        together: dict[int, int] = {}
        for number, kind in zip(whose, self.kinds, strict=True):
            together[number] = together.get(number, 0) | kind
        return set(together.values())

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
        for (kind, grade, doubt), members in words_in_common(self.records, places, GRADED):
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
        parted: dict[str | None, array[int]] = {}
        for i in members:
            parted.setdefault(self._lost[i], array("q")).append(i)
        return parted


SAID = (D_KIND, D_SIDE, D_COUNT, D_MORE, D_SPAN, D_GRADE, D_DOUBT, D_TAKEN_FRAME)
"""What the words depend on beside names."""
GRADED = (Field(D_KIND), Field(D_GRADE), Field(D_DOUBT))
NUMBER = (Field(D_ID),)
