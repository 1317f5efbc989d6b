"""What a kernel detects is what the rules detect, of every example, sample and conversation."""

from __future__ import annotations

from array import array
from itertools import chain
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tcptrace_fsm as tf
from tcptrace_fsm.capture.scripted import parse
from tcptrace_fsm.core.engine import Engine
from tcptrace_fsm.core.judges import Judge
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.findings import CATALOGUE, RULES
from tcptrace_fsm.findings import running as installed
from tcptrace_fsm.findings.keys import notable
from tcptrace_fsm.findings.rule import View
from tcptrace_fsm.findings.running import detected
from tcptrace_fsm.kernels import layout as at
from tcptrace_fsm.tcp.profiles import profile
from tests.kernels import Watched, uncompiled
from tests.strategies import anything, conversations, cut

SAMPLES = sorted((Path(__file__).parent.parent / "sample_pcaps").glob("*.pcap*"))
LINUX = profile("linux")
FREQUENT = {rule.wording.number: rule for rule in RULES.values() if rule.wording}
ALL = sum(FREQUENT)


class Twice(Judge):
    """Asks both, of every connection, for everything."""

    def __init__(self):
        self.found = dict.fromkeys(FREQUENT, 0)

    def judge(self, block):
        words = block.words
        rows = [(c, t) for c, t, _ in notable(block) if not words[c + at.C_PATH]]
        by_kernel = detected(block, array("q", chain.from_iterable((c, t, ALL) for c, t in rows)))
        for n, (c, t) in enumerate(rows):
            view = View(
                words, c, block.log, block.done.transitions, t, words[c + at.C_OVER_TIME], LINUX, block.lost_by(c)
            )
            for kind, rule in FREQUENT.items():
                mine = [rule.worded(one, block, c, frames) for one, frames in by_kernel.get(n, ())
                        if one.kind == kind]  # fmt: skip
                assert mine == rule.findings(view)
                self.found[kind] += len(mine)
            view.release()


def ask(*texts) -> Twice:
    """Of some conversations, or records of segments."""
    judge = Twice()
    for text in texts:
        engine = Engine(Settings(LINUX), judges=[judge])
        engine.feed(parse(text) if isinstance(text, str) else text)
        engine.finish()
        while engine.take() is not None:
            pass
    return judge


EXAMPLES = list(chain.from_iterable((r.example, *r.counterexamples) for r in CATALOGUE.values()))


def test_all_examples():
    """And each kind is there."""
    assert all(n > 2 for n in ask(*EXAMPLES).found.values())


def test_all_examples_uncompiled(monkeypatch):
    """With every index watched."""
    plain = uncompiled("detect").detect
    watched = lambda *given: plain(*(Watched(a) if isinstance(a, array) else a for a in given))  # noqa: E731
    monkeypatch.setattr(installed, "detect", watched)
    assert all(n > 2 for n in ask(*EXAMPLES).found.values())


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(st.one_of(conversations(), anything()), min_size=1, max_size=3))
def test_whatever_was_sent(talks):
    """Also what makes no sense."""
    ask(*(batch for talk in talks for batch in cut(talk, 1 << 20)))


def test_all_samples(monkeypatch):
    """Whole captures."""
    judge = Twice()
    monkeypatch.setattr("tcptrace_fsm.runs.judges.judges", lambda _: [judge])
    for sample in SAMPLES:
        tf.analyze(sample)
    assert sum(judge.found.values())
