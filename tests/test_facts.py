"""Facts decide which rules look at a connection: where they keep a rule away, it would have found nothing."""

from __future__ import annotations

from array import array
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tcptrace_fsm as tf
from tcptrace_fsm.capture.scripted import parse
from tcptrace_fsm.core.engine import Engine
from tcptrace_fsm.core.judges import Judge
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.findings import CATALOGUE, RULES
from tcptrace_fsm.findings.keys import Keys, key_of, notable
from tcptrace_fsm.findings.rule import Segment, View, segments_of
from tcptrace_fsm.kernels import layout as at
from tcptrace_fsm.kernels.records import Classes
from tcptrace_fsm.tcp.profiles import profile
from tests.kernels import Watched, uncompiled
from tests.strategies import anything, conversations, cut

SAMPLES = sorted((Path(__file__).parent.parent / "sample_pcaps").glob("*.pcap*"))
LINUX = profile("linux")
plain = uncompiled("facts")


class Doubter(Judge):
    """Asks each rule that a fact keeps away from a connection what it would have found there."""

    def __init__(self):
        self.kept_away = self.seen = 0
        self.missed = []
        self.facts = set()

    def judge(self, block):
        for c, t, key in notable(block):
            self.seen += 1
            self.facts.add(key.facts)
            assert key == key_of(block.words, c, key.facts)
            view = View(block.words, c, block.log, block.done.transitions, t, block.words[c + at.C_OVER_TIME], LINUX)
            for rule in RULES.values():
                if rule.considers(key_of(block.words, c)) and not rule.considers(key):
                    self.kept_away += 1
                    self.missed += [f.kind for f in rule.findings(view)]
            view.release()


def doubt(*texts) -> Doubter:
    """What facts did to some conversations, or records of segments."""
    doubter = Doubter()
    for text in texts:
        engine = Engine(Settings(LINUX), judges=[doubter])
        engine.feed(parse(text) if isinstance(text, str) else text)
        engine.finish()
        while engine.take() is not None:
            pass
    return doubter


def test_no_example_loses_a_finding_by_a_fact():
    """Over all examples and what looks alike; and each fact is there at least once, and missing at least once."""
    doubter = doubt(*chain.from_iterable((r.example, *r.counterexamples) for r in CATALOGUE.values()))
    assert doubter.missed == []
    assert doubter.kept_away > 100
    for fact in range(at.FACTS):
        assert {facts >> fact & 1 for facts in doubter.facts} == {0, 1}


@pytest.mark.slow
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(st.one_of(conversations(), anything()), min_size=1, max_size=3))
def test_no_conversation_loses_a_finding_by_a_fact(talks):
    """Whatever was sent."""
    doubter = doubt(*(batch for talk in talks for batch in cut(talk, 1 << 20)))
    assert doubter.missed == []


def test_no_sample_loses_a_finding_by_a_fact(monkeypatch):
    """Real captures."""
    doubter = Doubter()
    monkeypatch.setattr("tcptrace_fsm.findings.runner", lambda *_: doubter)
    for path in SAMPLES:
        tf.analyze(path)
    assert doubter.seen > len(SAMPLES) / 2
    assert doubter.missed == []


def test_without_a_log_every_fact_holds():
    """What cannot be told keeps nobody away."""

    class Late(Judge):
        def gather(self, block):
            found.extend(key.facts for _, _, key in notable(block))

    found = []
    engine = Engine(Settings(LINUX), judges=[Late()])
    engine.feed(parse("0 > S 0:0(0)\n0.1 < R. 0:0(0) ack 1"))
    engine.finish()
    while engine.take() is not None:
        pass
    assert found == [at.ALL_FACTS]


class Twin(Judge):
    """Compares the installed kernel with its plain form, and with the record read word by word."""

    def __init__(self):
        self.seen = 0

    def judge(self, block):
        where = [(c, key) for c, _, key in notable(block)]
        if not where:
            return
        chosen = array("q", chain.from_iterable((c, t) for c, t, _ in notable(block)))
        changes = Watched(block.done.transitions)
        keys = Keys()
        classes = array("q", bytes(8 * len(where)))
        words, log = block.words, Watched(block.log)
        given = Classes(chosen=Watched(chosen), block=Watched(words), log=log, changes=changes, of=Watched(classes))
        given.known, given.slots, given.logged = Watched(keys.words), keys.slots, 1
        plain.classify(len(where), given)
        assert [keys.of(n, words, c) for n, (c, _) in zip(classes, where, strict=True)] == [key for _, key in where]
        for c, _ in where:
            self.seen += 1
            segments, r = [], words[c + at.C_LOG_HEAD]
            while r >= 0:
                info, packet = block.log[r + at.L_INFO], block.log[r + at.L_FATE]
                segments.append(
                    Segment(
                        side=info >> at.LOG_SIDE_SHIFT & 1,
                        time=block.log[r + at.L_TIME],
                        frame=block.log[r + at.L_FRAME],
                        flags=info & at.LOG_FLAGS_MASK,
                        seq=block.log[r + at.L_SEQ],
                        ack=block.log[r + at.L_ACK],
                        length=info >> at.LOG_LEN_SHIFT & at.LOG_LEN_MASK,
                        marks=block.log[r + at.L_MARKS],
                        window=block.log[r + at.L_WINDOW],
                        tsval=block.log[r + at.L_TSVAL],
                        tsecr=block.log[r + at.L_TSECR],
                        last_time=block.log[r + at.L_END_TIME],
                        last_frame=block.log[r + at.L_END_FRAME],
                        run=info >> at.LOG_RUN_SHIFT,
                        ttl=packet >> at.LOG_TTL_SHIFT & 255,
                        ip_id=(packet >> at.LOG_IP_ID_SHIFT & at.LOG_IP_ID_MASK) - 1,
                        options=packet >> at.LOG_OPTIONS_SHIFT,
                        fate=packet & at.LOG_FATE_MASK,
                        checksum=packet >> at.LOG_CHECKSUM_SHIFT & 3,
                        unsent=int(block.log[r + at.L_ARRIVAL_FRAME] == block.log[r + at.L_FRAME]),
                    )
                )
                r = block.log[r + at.L_NEXT]
            assert segments_of(words, c, block.log) == segments
            count = words[c + at.C_LOG_COUNT]
            out = Watched(array("q", bytes(8 * at.UNPACKED_SIZE * count)))
            assert plain.unpack(words[c + at.C_LOG_HEAD], count, log, out) == len(segments)
            assert list(out.content) == list(chain.from_iterable(segments))


def test_both_kernels_and_the_words_themselves_agree():
    """Over all examples: classes of connections, and segments as rules see them."""
    twin = Twin()
    for rule in CATALOGUE.values():
        engine = Engine(Settings(LINUX), judges=[twin])
        engine.feed(parse(rule.example))
        engine.finish()
        while engine.take() is not None:
            pass
    assert twin.seen > len(RULES)


def test_keys_without_room_are_made_one_by_one(monkeypatch):
    """More kinds of connections than there is room for change nothing but the time it takes."""
    texts = [r.example for r in list(RULES.values())[:40]]
    usual = doubt(*texts)
    monkeypatch.setattr(Keys, "slots", 2)
    text = "\n".join(f"port {41000 + n} 80\n{t}" for n, t in enumerate(texts))
    crowded = doubt(text)
    assert usual.missed == crowded.missed == []
