"""Runs the rules: each looks at the connections that can concern it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tcptrace_fsm.core.judges import Judge
from tcptrace_fsm.core.words import MOST_FINDINGS
from tcptrace_fsm.findings.keys import Key, notable
from tcptrace_fsm.findings.precedence import reconciled
from tcptrace_fsm.findings.view import View
from tcptrace_fsm.kernels.layout import (
    C_OVER_TIME,
)

if TYPE_CHECKING:
    from tcptrace_fsm.core.finished import Block
    from tcptrace_fsm.findings.rule import Rule
    from tcptrace_fsm.tcp.profiles import Profile

__all__ = ["Runner"]


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
        self.chosen: dict[Key, tuple[Rule, ...]] = {}
        self.made: Counter[str] = Counter()

    def judge(self, block: Block) -> None:
        """Add the findings about connections that are over."""
        words, changes, log, found = block.words, block.done.transitions, block.log, block.done.findings
        assert log is not None
        for c, t, key in notable(block):
            rules = self.chosen.get(key)
            if rules is None:
                rules = self.chosen[key] = tuple(
                    rule for rule in self.rules if self.made[rule.kind] < MOST_FINDINGS and rule.when(key)
                )
            if rules:
                view = View(words, c, log, changes, t, words[c + C_OVER_TIME], self.profile, block.lost)
                new = reconciled([finding for rule in rules for finding in rule.findings(view)])
                found += new
                for finding in new:
                    self.made[finding.kind] += 1
                    if self.made[finding.kind] == MOST_FINDINGS:
                        self.chosen.clear()  # it is asked no more
                view.release()
