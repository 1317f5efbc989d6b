"""Runs the rules: each looks at the connections that can concern it.

What is frequent is detected by a kernel for all connections of a block at once, and here only put into words; a view
of a connection, with all its segments, is made where another rule may have something to say.
"""

from __future__ import annotations

from array import array
from collections import Counter
from functools import partial
from itertools import chain, pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.core.grouping import Field, groups_of, in_order, picked
from tcptrace_fsm.core.judges import Judge
from tcptrace_fsm.core.words import MOST_FINDINGS
from tcptrace_fsm.findings.fin_again import COPIED
from tcptrace_fsm.findings.keys import Key, alike
from tcptrace_fsm.findings.opening import SYN_TIMER
from tcptrace_fsm.findings.precedence import reconciled
from tcptrace_fsm.findings.rule import Detected
from tcptrace_fsm.findings.view import View
from tcptrace_fsm.kernels.detect import detect
from tcptrace_fsm.kernels.layout import C_LOG_COUNT, C_OVER_TIME, C_PATH, DETECTED_SIZE
from tcptrace_fsm.text.durations import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tcptrace_fsm.core.finished import Block, Finding
    from tcptrace_fsm.core.grouping import Places
    from tcptrace_fsm.findings.rule import Rule
    from tcptrace_fsm.tcp.profiles import Profile

__all__ = ["Runner", "detected"]


class Choice(NamedTuple):
    """The rules that can concern connections with the same key."""

    rules: tuple[Rule, ...]
    bits: int
    """What the kernel is asked for of them."""
    view: bool
    """Whether another rule is among them."""


ASKED = 3  # words: where a connection's record and its transitions begin, and the DETECT_ bits
LOGGED = (Field(C_LOG_COUNT),)


def asked_of(places: Places, bits: int) -> array[int]:
    """What the kernel is asked of connections that are alike."""
    asked = array("q", [bits]) * (ASKED * len(places))
    asked[::ASKED], asked[1::ASKED] = places.starts, places.changes
    return asked


_DETECTED: Callable[[Iterable[int]], Detected] = partial(tuple.__new__, Detected)  # as Detected._make, without Python
Found = dict[int, list[tuple[Detected, "array[int]"]]]
"""What the kernel has detected, by which of the connections that were asked about; with the frames of evidence."""


def detections(block: Block, asked: array[int]) -> tuple[list[Detected], array[int]]:
    """What the kernel detects, in the order of ``asked``; and the frames of evidence, one finding's after another's.

    Parameters
    ----------
    block : Block
    asked : array('q')
        Of each connection where its record and where its transitions begin, and the ``DETECT_`` bits.
    """
    count = len(asked) // ASKED
    if not count:
        return [], array("q")
    assert block.log is not None
    words, none = block.words, array("q", [0])
    logged = sum(picked(words, asked[::ASKED], LOGGED))
    out, frames = none * (9 * count * DETECTED_SIZE), none * (7 * logged + 9 * count)
    changes = block.done.transitions or none
    n = detect(count, asked, COPIED, SYN_TIMER, words, block.log, changes, out, frames)
    each = iter(out[: n * DETECTED_SIZE])
    return list(map(_DETECTED, zip(*[each] * DETECTED_SIZE, strict=True))), frames


def detected(block: Block, asked: array[int]) -> Found:
    """The same by connection."""
    return by_connection(*detections(block, asked))


def by_connection(each: list[Detected], frames: array[int]) -> Found:
    """What was detected by which of the connections that were asked about."""
    found: Found = {}
    at = 0
    for one in each:
        found.setdefault(one.asked, []).append((one, frames[at : at + one.frames]))
        at += one.frames
    return found


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
        self.full: set[str] = set()
        """Kinds that were found so often that nobody looks for more."""

    def choose(self, key: Key) -> Choice:
        """Who is asked about connections with this key; remembered."""
        rules = tuple(rule for rule in self.rules if rule.kind not in self.full and rule.considers(key))
        bits = sum(rule.wording.number for rule in rules if rule.wording)
        choice = self.chosen[key] = Choice(rules, bits, any(rule.wording is None for rule in rules))
        return choice

    def judge(self, block: Block) -> None:
        """Add the findings about connections that are over."""
        words, found = block.words, block.done.findings
        asked, by_bits = array("q"), {}
        views: dict[int, tuple[int, Choice]] = {}
        todo: list[tuple[int, int, Choice, int]] = []
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
        asked = in_order(array("q", chain.from_iterable(groups_of(asked, ASKED, 1))), asked, ASKED)
        each, frames = detections(block, asked)
        if not todo and not views and self._may_all_be_worded(each):
            found += self._all_worded(block, asked, each, frames)
            return
        by_kernel = by_connection(each, frames)
        for n in by_kernel:
            c, t, bits = asked[n * ASKED : (n + 1) * ASKED]
            if c not in views:
                todo.append((c, t, by_bits[bits], n))
        if views:
            numbers = {c: n for n, c in enumerate(asked[::ASKED])}
            todo += [(c, t, choice, numbers[c]) for c, (t, choice) in views.items()]
        todo.sort(key=itemgetter(0))
        for c, t, choice, number in todo:
            rules = [r for r in choice.rules if r.kind not in self.full] if self.full else choice.rules
            mine = by_kernel.get(number, ()) if number >= 0 else None
            if mine is not None and len(mine) == 1 and len(rules) == len(choice.rules) and not choice.view:
                new = self._worded(block, c, *mine[0])
            else:
                new = self._findings(block, (c, t), rules, mine)
            found += new
            for finding in new:
                self.made[finding.kind] += 1
                if self.made[finding.kind] == MOST_FINDINGS:
                    self.full.add(finding.kind)
                    self.chosen.clear()  # it is asked no more

    def _may_all_be_worded(self, each: list[Detected]) -> bool:
        """Whether each detection is the only one of its connection, and no kind is found so often that it is left."""
        if self.full or any(one.asked >= other.asked for one, other in pairwise(each)):
            return False
        return all(self.made[rule.kind] + len(each) < MOST_FINDINGS for rule in self.frequent.values())

    def _all_worded(
        self, block: Block, asked: array[int], each: list[Detected], frames: array[int]
    ) -> Iterator[Finding]:
        """What is to be said of connections of which the kernel has detected one thing each."""
        at = 0
        for one in each:
            rule = self.frequent[one.kind]
            said = rule.worded(one, block, asked[ASKED * one.asked], frames[at : at + one.frames])
            at += one.frames
            if UNKNOWN not in said.message:
                self.made[rule.kind] += 1
                yield said

    def _worded(self, block: Block, c: int, one: Detected, frames: array[int]) -> list[Finding]:
        """All that is to be said of a connection, where it is one thing that the kernel has detected."""
        said = self.frequent[one.kind].worded(one, block, c, frames)
        return [] if UNKNOWN in said.message else [said]

    def _findings(
        self,
        block: Block,
        place: tuple[int, int],
        rules: tuple[Rule, ...] | list[Rule],
        mine: list[tuple[Detected, array[int]]] | tuple[()] | None,
    ) -> list[Finding]:
        """What the rules say of a connection; ``mine`` is what the kernel has detected, None where it was not asked."""
        words, c, log = block.words, place[0], block.log
        assert log is not None
        view = None
        said: list[Finding] = []
        for rule in rules:
            if rule.wording and mine is not None:
                number = rule.wording.number
                said += [rule.worded(one, block, c, frames) for one, frames in mine if one.kind == number]
                continue
            if view is None:
                changes, now = block.done.transitions, words[c + C_OVER_TIME]
                view = View(words, c, log, changes, place[1], now, self.profile, block.lost_by(c))
            said += rule.findings(view)
        if view is not None:
            view.release()
        # Frames out of order, or a clock that was set, make spans that cannot be: what rests on one is not told.
        return reconciled([f for f in said if UNKNOWN not in f.message])
