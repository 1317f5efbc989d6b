"""What a kernel detects is what the rules detect, of every example, sample and conversation."""

from __future__ import annotations

import pickle
from array import array
from dataclasses import replace
from itertools import chain
from operator import itemgetter
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tcptrace_fsm as tf
from tcptrace_fsm.capture.losses import Lost
from tcptrace_fsm.capture.scripted import parse
from tcptrace_fsm.core.engine import Engine
from tcptrace_fsm.core.finished import Findings
from tcptrace_fsm.core.judges import Judge
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.core.tally import Tally
from tcptrace_fsm.findings import CATALOGUE, RULES, runner
from tcptrace_fsm.findings import running as installed
from tcptrace_fsm.findings.keys import notable
from tcptrace_fsm.findings.rule import Rule, View
from tcptrace_fsm.findings.running import ASKED, detections, most_of
from tcptrace_fsm.kernels import layout as at
from tcptrace_fsm.tables.anomalies import findings_table
from tcptrace_fsm.tcp.profiles import profile
from tcptrace_fsm.text.durations import ABSURD, SECOND, UNKNOWN, span
from tests.kernels import Watched, uncompiled
from tests.strategies import anything, conversations, cut, record

SAMPLES = sorted((Path(__file__).parent.parent / "sample_pcaps").glob("*.pcap*"))
LINUX = profile("linux")
FREQUENT = {rule.wording.number: rule for rule in RULES.values() if rule.wording}
ALL = sum(FREQUENT)


def covered(key) -> dict:
    """The kinds of findings of which the kernel is asked where rules are chosen by this key."""
    return {number: rule for number, rule in FREQUENT.items() if rule.wording.covers(key)}


class Twice(Judge):
    """Asks both, of every connection, for everything."""

    def __init__(self):
        self.found = dict.fromkeys(FREQUENT, 0)

    def judge(self, block):
        words = block.words
        rows = [(c, t, covered(key)) for c, t, key in notable(block) if not words[c + at.C_PATH]]
        asked = array("q", chain.from_iterable((c, t, sum(kinds)) for c, t, kinds in rows))
        found = detections(FREQUENT, block, asked, len(rows) * most_of(ALL))
        assert len(asked) == ASKED * len(rows)
        by_kernel = {}
        for n, one in zip(found.column(at.D_ASKED), found, strict=True):
            by_kernel.setdefault(n, []).append(one)
        for n, (c, t, kinds) in enumerate(rows):
            view = View(
                words, c, block.log, block.done.transitions, t, words[c + at.C_OVER_TIME], LINUX, block.lost_by(c)
            )
            for kind, rule in kinds.items():
                mine = [one for one in by_kernel.get(n, ()) if one.kind == rule.kind]
                theirs = [one for one in rule.findings(view) if UNKNOWN not in one.message]
                assert mine == theirs
                self.found[kind] += len(mine)
            view.release()


def ask(*texts, lost: Lost | None = None) -> Twice:
    """Of some conversations, or records of segments; ``lost`` is what the capturing machine says that it lacks."""
    judge = Twice()
    for text in texts:
        engine = Engine(Settings(LINUX), judges=[judge])
        engine.lost = lost
        engine.feed(parse(text) if isinstance(text, str) else text)
        engine.finish()
        while engine.take() is not None:
            pass
    return judge


ODD = """
    0.0 > SF  0:0(0)
    0.1 < SFU 0:0(0)
    0.2 > SU  0:0(0)
    0.3 > SR  0:0(0)
    0.4 < F   1:1(0)
    0.5 > F   1:1(0)
    0.6 < SR  0:0(0)
    0.7 > R   1:1(0)
    0.8 > F   1:1(0)
"""
OPENED = """
    0.00 > S  0:0(0)
    0.01 < S. 0:0(0)     ack 1
    0.02 > .  1:1(0)     ack 1
    0.03 > P. 1:101(100) ack 1
    0.04 < .  1:1(0)     ack 101
"""
ASKED_ONLY, ANSWERED, CLOSED = "", "0.05 < P. 1:501(500) ack 101\n", "0.05 < F. 1:1(0) ack 101\n"
HALF_READ = "0.05 < P. 1:301(300) ack 101\n0.06 > . 101:101(0) ack 301\n0.07 < P. 301:501(200) ack 101\n"
SENT_AGAIN = "0.40 < P. 1:501(500) ack 101\n0.90 < P. 1:501(500) ack 101\n"
GOODBYE = "0.05 < FP. 1:31(30) ack 101\n"
MORE = "0.05 > P. 101:601(500) ack 1\n"
LACKING = """0.050 > P. 101:301(200) ack 1
    0.064 < .  1:1(0)       ack 301 id 240  # packets between were not seen
    0.066 > P. 301:601(300) ack 1
"""
BEFORE = (ASKED_ONLY, ANSWERED, CLOSED, HALF_READ, ANSWERED + SENT_AGAIN, GOODBYE, MORE, ANSWERED + MORE, LACKING)
RESETS = (
    *("> R. 101:101(0) ack 1", "> R. 101:101(0) ack 501", "> R. 101:101(0) ack 502", "> R 101:101(0)", "> R 1:1(0)"),
    *("< R. 1:1(0) ack 101", "< R. 501:501(0) ack 101", "< R. 1:1(0) ack 601", "< R 1:1(0)"),
    *("> R. 601:601(0) ack 2", "> R. 601:601(0) ack 1"),
)
ABORTS = [OPENED + before + f"{t} {rst}\n" for before in BEFORE for t in ("0.071", "1.50", "9.00") for rst in RESETS]
"""What was said last, when the reset came, and which."""
EXAMPLES = [ODD, *ABORTS, *chain.from_iterable((r.example, *r.counterexamples) for r in CATALOGUE.values())]


def test_what_is_no_length_of_time():
    """The kernel leaves out what the words would not tell."""
    assert at.LONGEST_SPAN == ABSURD
    plain = uncompiled("detected")
    spans = (-1, 0, 1, ABSURD * SECOND, ABSURD * SECOND + 1)
    assert [bool(plain.is_length(ns)) for ns in spans] == [span(ns) != UNKNOWN for ns in spans]


def test_all_examples():
    """And each kind is there."""
    assert all(n > 2 for n in ask(*EXAMPLES).found.values())


def test_all_examples_where_the_capturing_machine_lost_some():
    """Then what a capture that lacks segments can fake is low, whoever detects it."""
    assert all(n > 2 for n in ask(*EXAMPLES, lost=Lost((0,), ("it dropped frames",))).found.values())


def test_all_examples_uncompiled(monkeypatch):
    """With every index watched."""

    def watched(plain):
        return lambda *given: plain(*(Watched(a) if isinstance(a, array) else a for a in given))

    monkeypatch.setattr(installed, "detect", watched(uncompiled("detect").detect))
    monkeypatch.setattr(installed, "detect_odd", watched(uncompiled("odd").detect_odd))
    monkeypatch.setattr(installed, "detect_aborts", watched(uncompiled("aborts").detect_aborts))
    assert all(n > 2 for n in ask(*EXAMPLES).found.values())


def test_an_answer_may_stand_before_what_drew_it():
    """What a pending connection holds goes behind the log of the one that it proves to be part of."""
    sent = (  # side, seq, ack, flags
        (0, 0, 0, at.TCP_SYN),
        (1, 0, 1, at.TCP_SYN | at.TCP_ACK),
        (0, 1, 1, at.TCP_ACK),
        (0, 1, 0, at.TCP_SYN),
        (0, 2, 0, at.TCP_SYN | at.TCP_FIN),
        (1, 1, 0, at.TCP_SYN | at.TCP_ACK),
        (0, 0, 0, at.TCP_SYN),
    )
    ends = ((0x0A000001, 40000), (0x0A000002, 80))
    words = array("q")
    for frame, (side, seq, ack, flags) in enumerate(sent, 1):
        hosts, ports = zip(ends[side], ends[1 - side], strict=True)
        words += record(frame, 17 * 10**17, hosts, ports, seq, ack, flags)
    assert ask(*cut(words, 1 << 20)).found[at.DETECT_SYN_FIN] == 1


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


def many(n: int) -> str:
    """So many SYNs that nobody answers, and others that are refused; each third server says something else."""
    text = ""
    for i in range(n):
        text += (
            f"\nport {2000 + i} 80\n{i}.0 > S 0:0(0)\n"
            + ("", f"{i}.1 < R. 0:0(0) ack 1\n", f"{i}.1 < S. 0:0(0) ack 9\n")[i % 3]
        )
    return text + f"\nend {n + 9}"


def test_few_are_put_into_words(monkeypatch):
    """Until somebody goes through them; then they are what the rules say of each connection, in the same order."""
    worded = []
    word = Rule.word
    monkeypatch.setattr(Rule, "word", lambda rule, found: worded.append(found) or word(rule, found))
    engine = Engine(Settings(LINUX), judges=[runner(LINUX)])
    engine.feed(parse(many(60)))
    engine.finish()
    tally, finished = Tally(), []
    while (done := engine.take()) is not None:
        tally.take(done)
        finished.append(done)
    counts = {kind: finds.count for kind, finds in tally.findings.items()}
    assert counts["syn_no_response"] == counts["connection_refused"] == 20
    assert len(worded) <= len(counts) * len(finished)
    by_hand = Tally()
    for done in finished:
        findings = list(done.findings)
        assert [f.conn_id for f in findings] == sorted(f.conn_id for f in findings)
        assert Findings(findings) == done.findings == pickle.loads(pickle.dumps(done.findings))
        for number in {f.conn_id for f in findings}:
            assert done.findings.about(number) == [f for f in findings if f.conn_id == number]
        by_hand.take(replace(done, findings=Findings(findings)))
    shown = [[(k, f.count, f.severity, f.message, f.conn_ids) for k, f in t.worst_first()] for t in (tally, by_hand)]
    assert shown[0] == shown[1]
    assert len(worded) > 40


def test_a_connection_of_a_month_is_aborted_like_any_other():
    """All of its time is a length of time."""
    day = 86400
    text = "0.0 > S 0:0(0) win 1000\n0.1 < S. 0:0(0) ack 1 win 1000\n0.2 > . 1:1(0) ack 1\n"
    for n in range(1, 30):
        text += f"{n * day}.0 > P. {n}:{n + 1}(1) ack 1\n{n * day}.1 < . 1:1(0) ack {n + 1}\n"
    engine = Engine(Settings(LINUX), judges=[runner(LINUX)])
    engine.feed(parse(f"{text}{30 * day}.0 > R. 30:30(0) ack 1\nend {31 * day}"))
    engine.finish()
    done = engine.take()
    assert [f.kind for f in done.findings] == ["abort_rst"]
    assert f"with RST after {30 * day} s" in done.findings[0].message


def test_columns_are_what_findings_say():
    """With others between them, and several of one connection."""
    engine = Engine(Settings(LINUX), judges=[runner(LINUX)])
    engine.feed(parse(f"port 1500 80\n{ODD}\n{many(12)}"))
    engine.finish()
    findings = Findings()
    while (done := engine.take()) is not None:
        findings += done.findings
    each = list(findings)
    assert findings.lazy
    assert len(each) > 12
    place = itemgetter("conn_id", "time", "kind", "side", "message")
    table = findings_table(findings)
    assert table.equals(findings_table(each))
    assert table.column("message").to_pylist() == [f["message"] for f in sorted((f._asdict() for f in each), key=place)]
