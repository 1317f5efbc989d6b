"""Runs the rules: each looks at the connections that can concern it.

What is frequent is detected by a kernel for all connections of a block at once, and here only put into words; a view
of a connection, with all its segments, is made where another rule may have something to say.
"""

from __future__ import annotations

from array import array
from collections import Counter
from functools import reduce
from itertools import chain
from operator import itemgetter, or_
from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.core.grouping import Field, Order, in_order, picked
from tcptrace_fsm.core.judges import Judge
from tcptrace_fsm.core.room import copied, grown, room
from tcptrace_fsm.core.words import MOST_FINDINGS
from tcptrace_fsm.findings.detected import Detections
from tcptrace_fsm.findings.fin_again import COPIED
from tcptrace_fsm.findings.keys import Key, alike
from tcptrace_fsm.findings.opening import SYN_TIMER
from tcptrace_fsm.findings.precedence import may_exclude, reconciled
from tcptrace_fsm.findings.view import View
from tcptrace_fsm.kernels.aborts import detect_aborts
from tcptrace_fsm.kernels.detect import detect
from tcptrace_fsm.kernels.layout import (
    C_LOG_COUNT,
    C_OVER_TIME,
    C_PATH,
    D_ASKED,
    DETECT_ABORTS,
    DETECT_FIN_BARE,
    DETECT_LAST_ACK_LOST,
    DETECT_SPURIOUS,
    DETECT_SYN_FIN,
    DETECT_SYN_RST,
    DETECT_SYN_URG,
    DETECTED_SIZE,
)
from tcptrace_fsm.kernels.odd import detect_odd
from tcptrace_fsm.kernels.records import Detection
from tcptrace_fsm.text.durations import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tcptrace_fsm.core.finished import Block, Finding
    from tcptrace_fsm.core.grouping import Places
    from tcptrace_fsm.findings.rule import Rule
    from tcptrace_fsm.tcp.profiles import Profile

__all__ = ["Runner", "detections", "most_of"]


class Choice(NamedTuple):
    """The rules that can concern connections with the same key."""

    rules: tuple[Rule, ...]
    bits: int
    """What the kernel is asked for of them."""
    view: bool
    """Whether another rule is among them."""


ASKED = 3  # words: where a connection's record and its transitions begin, and the DETECT_ bits
ODD = DETECT_SYN_FIN | DETECT_SYN_RST | DETECT_SYN_URG | DETECT_FIN_BARE
LOGGED = (Field(C_LOG_COUNT),)


def asked_of(places: Places, bits: int) -> array[int]:
    """What the kernel is asked of connections that are alike."""
    asked = array("q", [bits]) * (ASKED * len(places))
    asked[::ASKED], asked[1::ASKED] = places.starts, places.changes
    return asked


def most_of(bits: int) -> int:
    """How many findings the kernel may tell of a connection that it is asked that of: some kinds are of each side."""
    return bits.bit_count() + (bits & (DETECT_SPURIOUS | DETECT_LAST_ACK_LOST | ODD | DETECT_ABORTS)).bit_count()


def detections(rules: Mapping[int, Rule], block: Block, asked: array[int], most: int) -> Detections:
    """What the kernel detects, in the order of ``asked``.

    Parameters
    ----------
    rules : dict of int to Rule
    block : Block
    asked : array('q')
        Of each connection where its record and where its transitions begin, and the ``DETECT_`` bits.
    most : int
        How many findings there may be.
    """
    count, none = len(asked) // ASKED, array("q", [0])
    if not count:
        return Detections(rules, array("q"), array("q"), array("q"), array("q"))
    assert block.log is not None
    words, starts = block.words, asked[::ASKED]
    logged = sum(picked(words, starts, LOGGED))
    out = held(block, "detected", most * DETECTED_SIZE)
    frames = held(block, "frames of what is detected", 11 * logged + 13 * count)
    changes = block.done.transitions or none
    detection = Detection(asked=asked, block=words, log=block.log, changes=changes, out=out, frames=frames)
    detection.apart, detection.soon = COPIED, SYN_TIMER
    n = detect(count, detection)
    of_any = reduce(or_, set(asked[2::ASKED]))
    if of_any & ODD:
        n = detect_odd(count, detection)
    if of_any & DETECT_ABORTS:
        n = detect_aborts(count, detection)
    return Detections.of(rules, block, copied(out, n * DETECTED_SIZE), frames, starts)


def held(block: Block, what: str, n: int) -> memoryview:
    """Room for so many words that is used again for each block; what was in it is in it still."""
    before = block.kept.get(what)
    found = block.kept[what] = room(n) if before is None else grown(before, n)
    return found


class _Plan(NamedTuple):
    """Who is asked about the connections of a block.

    Attributes
    ----------
    asked : array('q')
        What the kernel is asked.
    most : int
        How many findings it may tell.
    by_bits : dict of int to Choice
        The rules about those that no other rule than those of which the kernel is asked can concern.
    views : dict of int to (int, Choice)
        The others among those that the kernel is asked about: where their records and their transitions begin.
    todo : list of (int, int, Choice, int)
        Those that it is not asked about.
    """

    asked: array[int]
    most: int
    by_bits: dict[int, Choice]
    views: dict[int, tuple[int, Choice]]
    todo: list[tuple[int, int, Choice, int]]


class Runner(Judge):
    """Applies the rules to the connections of one pass.

    Parameters
    ----------
    rules : tuple of Rule
    profile : Profile

    """

    def __init__(self, rules: tuple[Rule, ...], profile: Profile) -> None:
        self.rules = rules
        self.profile = profile
        self.frequent = {rule.wording.number: rule for rule in rules if rule.wording}
        self.chosen: dict[Key, Choice] = {}
        self.made: Counter[str] = Counter()
        self._exclusive: dict[int, bool] = {}
        self.full: set[str] = set()
        """Kinds that were found so often that nobody looks for more."""

    def choose(self, key: Key) -> Choice:
        """Who is asked about connections with this key; remembered."""
        rules = tuple(rule for rule in self.rules if rule.kind not in self.full and rule.considers(key))
        covered = [rule.wording.number for rule in rules if rule.wording and rule.wording.covers(key)]
        choice = self.chosen[key] = Choice(rules, sum(covered), len(covered) < len(rules))
        return choice

    def judge(self, block: Block) -> None:
        """Add the findings about connections that are over."""
        asked, most, by_bits, views, todo = self._plan(block)
        asked = in_order(Order(asked, ASKED, 1).numbers, asked, ASKED)
        found = detections(self.frequent, block, asked, most)
        if not todo and not views and self._may_all_be_kept(found):
            if len(found):
                block.done.findings.add(found)
            return
        by_kernel: dict[int, list[int]] = {}
        for i, n in enumerate(found.column(D_ASKED)):
            by_kernel.setdefault(n, []).append(i)
        for n in by_kernel:
            c, t, bits = asked[n * ASKED : (n + 1) * ASKED]
            if c not in views:
                todo.append((c, t, by_bits[bits], n))
        if views:
            numbers = {c: n for n, c in enumerate(asked[::ASKED])}
            todo += [(c, t, choice, numbers[c]) for c, (t, choice) in views.items()]
        todo.sort(key=itemgetter(0))
        self._go_through(block, todo, found, by_kernel)

    def _plan(self, block: Block) -> _Plan:
        """Who is asked about which connections, and how."""
        words = block.words
        plan = _Plan(array("q"), 0, {}, {}, [])
        asked, most, by_bits, views, todo = plan
        for key, places in alike(block).items():
            choice = self.chosen.get(key) or self.choose(key)
            if not choice.rules:
                continue
            if not choice.bits or block.done.paths is not None:  # two captures count frames apart
                todo += [(c, t, choice, -1) for c, t in places if not (choice.bits and not words[c + C_PATH])]
                if not choice.bits:
                    continue
                near = places.some(array("q", [i for i, c in enumerate(places.starts) if not words[c + C_PATH]]))
            else:
                near = places
            if choice.view:
                views.update((c, (t, choice)) for c, t in near)
            else:
                by_bits[choice.bits] = choice
            asked.extend(asked_of(near, choice.bits))
            most += len(near) * most_of(choice.bits)
        return plan._replace(most=most)

    def _may_all_be_kept(self, found: Detections) -> bool:
        """Whether no detection excludes another of its connection, and no kind is found so often that it is left.

        They are counted then.
        """
        if any(map(self._exclude, found.kinds_together())):
            return False
        counts = {self.frequent[number].kind: n for number, n in found.counts().items()}
        if any(self.made[kind] + n >= MOST_FINDINGS for kind, n in counts.items()):
            return False
        self.made.update(counts)
        return True

    def _exclude(self, kinds: int) -> bool:
        """Whether one of these kinds excludes another; remembered."""
        if kinds not in self._exclusive:
            self._exclusive[kinds] = may_exclude({r.kind for number, r in self.frequent.items() if kinds & number})
        return self._exclusive[kinds]

    def _go_through(
        self,
        block: Block,
        todo: list[tuple[int, int, Choice, int]],
        found: Detections,
        by_kernel: dict[int, list[int]],
    ) -> None:
        """Ask about one connection after the other; what the kernel alone has to say of one stays in numbers."""
        kept: list[int] = []
        between: dict[int, list[Finding]] = {}
        kinds = found.kinds
        for c, t, choice, number in todo:
            rules = [r for r in choice.rules if r.kind not in self.full] if self.full else choice.rules
            mine = by_kernel.get(number, []) if number >= 0 else None
            if (
                mine
                and len(rules) == len(choice.rules)
                and not choice.view
                and (len(mine) == 1 or not self._exclude(reduce(or_, [kinds[i] for i in mine])))
            ):
                kept += mine
                told = [self.frequent[kinds[i]].kind for i in mine]
            else:
                told_already = [found.finding(i) for i in mine or ()]
                new = self._findings(block, (c, t), rules, (0 if mine is None else choice.bits, told_already))
                if new:
                    between.setdefault(len(kept), []).extend(new)
                told = [finding.kind for finding in new]
            for kind in told:
                self.made[kind] += 1
                if self.made[kind] == MOST_FINDINGS:
                    self.full.add(kind)
                    self.chosen.clear()  # it is asked no more
        if kept:
            some = found.some(kept)
            some.between = between
            block.done.findings.add(some)
        else:
            block.done.findings += chain.from_iterable(between.values())

    def _findings(
        self,
        block: Block,
        place: tuple[int, int],
        rules: tuple[Rule, ...] | list[Rule],
        by_kernel: tuple[int, list[Finding]],
    ) -> list[Finding]:
        """What the rules say of a connection, given what the kernel was asked of it, as bits, and has detected."""
        bits, mine = by_kernel
        words, c, log = block.words, place[0], block.log
        assert log is not None
        view = None
        said: list[Finding] = []
        for rule in rules:
            if rule.wording and rule.wording.number & bits:
                said += [one for one in mine if one.kind == rule.kind]
                continue
            if view is None:
                changes, now = block.done.transitions, words[c + C_OVER_TIME]
                view = View(words, c, log, changes, place[1], now, self.profile, block.lost_by(c))
            said += rule.findings(view)
        if view is not None:
            view.release()
        # Frames out of order, or a clock that was set, make spans that cannot be: what rests on one is not told.
        return reconciled([f for f in said if UNKNOWN not in f.message])
