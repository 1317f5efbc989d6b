"""Every rule proves itself: its example fires it once, its counterexample does not."""

from __future__ import annotations

import gc
import re
import weakref
from pathlib import Path

import pytest

from tcptrace_fsm.capture.scripted import parse
from tcptrace_fsm.core.engine import Engine
from tcptrace_fsm.core.finished import Finding
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.core.words import CATEGORIES
from tcptrace_fsm.findings import CATALOGUE, RULES, runner
from tcptrace_fsm.findings.precedence import EXCLUSIONS, reconciled
from tcptrace_fsm.findings.rule import SEVERITIES, SIDES
from tcptrace_fsm.tcp.machine import Basis
from tcptrace_fsm.tcp.profiles import profile

pytestmark = pytest.mark.plain


def findings(text: str) -> list[Finding]:
    """What the rules say about a conversation."""
    linux = profile("linux")
    engine = Engine(Settings(linux), judges=[runner(linux)])
    engine.feed(parse(text))
    engine.finish()
    found: list[Finding] = []
    while (done := engine.take()) is not None:
        found += done.findings
    return found


@pytest.mark.parametrize("kind", RULES)
def test_example_fires_its_rule_once(kind):
    """The example gives exactly one finding of its kind."""
    mine = [f for f in findings(RULES[kind].example) if f.kind == kind]
    assert len(mine) == 1, [f"{f.kind}: {f.message}" for f in findings(RULES[kind].example)]


@pytest.mark.parametrize("kind, text", [(kind, text) for kind in RULES for text in RULES[kind].counterexamples])
def test_counterexample_does_not(kind, text):
    """What only looks alike gives none."""
    assert [f.message for f in findings(text) if f.kind == kind] == []


def test_what_excludes_others_exists_and_nothing_excludes_itself():
    """The order of precedence speaks of kinds that there are, and never goes round in a circle."""
    before = {kind: set() for kind in CATALOGUE}
    for kind, others, about in EXCLUSIONS:
        assert about in ("frame", "side", "connection")
        before[kind] |= others
    assert set().union(*before.values()) <= set(CATALOGUE)
    for kind in CATALOGUE:
        seen, todo = set(), list(before[kind])
        while todo:
            other = todo.pop()
            if other not in seen:
                seen.add(other)
                todo += before[other]
        assert kind not in seen


def test_of_what_excludes_each_other_the_stronger_stays():
    """Of two explanations of one RST the one with more proof is told; of two RSTs, both are."""

    def made(kind, frame, side="client"):
        return Finding(7, side, 0, frame, kind, "reset", "low", "sent", "", (frame,), "RFC 9293", None)

    late, abort, other = made("rst_on_late_data", 9), made("abort_rst", 9), made("abort_rst", 10)
    half, far = made("half_close", 5), made("half_close", 5, "server")
    assert reconciled([abort, late, other, half, far]) == [late, other, far]
    assert reconciled([abort, half]) == [abort, half]


@pytest.mark.parametrize("kind", RULES)
def test_findings_are_fit_to_print(kind):
    """Each finding has its frames, its side, and a message that names an endpoint and a number."""
    rule = RULES[kind]
    (found,) = (f for f in findings(rule.example) if f.kind == kind)
    assert found.severity in SEVERITIES
    assert found.category == rule.category
    assert rule.category in CATEGORIES
    assert found.side in (None, *SIDES)
    assert found.basis in {b.name.lower() for b in Basis}
    assert found.frames
    assert list(found.frames) == sorted(set(found.frames))
    assert found.frame is None or found.frame in found.frames
    assert re.search(r"\d+\.\d+\.\d+\.\d+:\d+", found.message), found.message
    assert found.message[-1] != "."


@pytest.mark.parametrize("kind", RULES)
def test_declaration_is_complete(kind):
    """A rule says what it means, what shows it, what else could, and where that stands."""
    rule = RULES[kind]
    assert re.fullmatch(r"[a-z][a-z0-9_]*", kind)
    for text in (rule.summary, rule.evidence, rule.innocent):
        assert text.endswith("."), text
    assert re.match(r"RFC \d+|Linux ", rule.rfc), rule.rfc
    assert rule.severity in SEVERITIES


def test_kinds_are_unique_across_families():
    """No two rules share a kind: the registry would lose one silently."""
    from tcptrace_fsm.findings import FAMILIES

    kinds = [rule.kind for family in FAMILIES for rule in family.RULES]
    assert len(kinds) == len(set(kinds)) == len(RULES)


def test_a_healthy_connection_gives_no_finding():
    """Handshake, data both ways, normal close: silence."""
    assert not findings("""
        0.000 > S  0:0(0)
        0.010 < S. 0:0(0)       ack 1
        0.020 > .  1:1(0)       ack 1
        0.030 > P. 1:101(100)   ack 1
        0.040 < P. 1:501(500)   ack 101
        0.050 > .  101:101(0)   ack 501
        0.060 > F. 101:101(0)   ack 501
        0.070 < F. 501:501(0)   ack 102
        0.080 > .  102:102(0)   ack 502
    """)


def test_a_kind_is_listed_so_often_and_no_more(monkeypatch):
    """After the limit nobody looks for more of a kind; other kinds go on."""
    monkeypatch.setattr("tcptrace_fsm.findings.running.MOST_FINDINGS", 3)
    text = "".join(f"\nport {2000 + n} 80\n{n}.0 > S 0:0(0)" for n in range(10))
    text += "".join(f"\nport {3000 + n} 80\n{n}.5 > S 0:0(0)\n{n}.6 < R. 0:0(0) ack 1" for n in range(2))
    kinds = [f.kind for f in findings(text)]
    assert (kinds.count("syn_no_response"), kinds.count("connection_refused")) == (3, 2)


def test_a_syn_at_the_end_of_the_capture_is_no_silent_server():
    """Nothing is said before a repetition is due; then, no wait of no length is told."""
    assert findings("0.0 > S 0:0(0)") == []
    assert findings("0.0 > S 0:0(0)\nend 0.9") == []
    (found,) = (f for f in findings("0.0 > S 0:0(0)\nend 1.5") if f.kind == "syn_no_response")
    assert "1 SYN, then 1.5 s of silence" in found.message
    (found,) = (f for f in findings("0.0 > S 0:0(0)\n1.0 > S 0:0(0)") if f.kind == "syn_no_response")
    assert "2 SYNs in 1 s, no answer in 1 s, up to where the capture ends" in found.message
    assert found.severity == "low"


def test_what_the_capturing_machine_lost_may_explain_a_finding(tmp_path):
    """Interface statistics of a pcapng file: with many frames lost nothing is called high, and the reason is told."""
    from tests import builders as make

    sample = Path(__file__).parents[1] / "sample_pcaps" / "lost_time_wait.pcap"
    from tcptrace_fsm.api import analyze
    from tcptrace_fsm.capture.containers import open_capture

    body = make.section() + make.interface(1)
    for batch in open_capture(str(sample)).segments():
        for number in range(1, batch.frame_count + 1):
            time, _original, _link, content = batch.frame(number)
            body += make.packet(time // 1000, content)
    for dropped, severity, wanted in (
        (0, "high", ""),
        (5, "medium", "the capturing machine lost 5 frames, by its own count"),
    ):
        path = tmp_path / "dropped.pcapng"
        path.write_bytes(body + make.statistics(received=13, dropped=dropped))
        found = analyze(str(path)).anomalies.set_index("kind").fillna("").loc["rst_after_time_wait_loss"]
        assert (found["severity"], found["possible_artefact"]) == (severity, wanted)


@pytest.mark.parametrize("kind", RULES)
def test_what_a_rule_saw_goes_with_those_who_asked_for_it(kind):
    """Nothing that was made for a rule holds on to the block of records, not even until garbage is looked for."""
    linux = profile("linux")
    engine = Engine(Settings(linux), judges=[runner(linux)])
    engine.feed(parse(RULES[kind].example))
    engine.finish()
    gc.disable()
    try:
        done = engine.take()
        block = weakref.ref(done.connections)
        del done
        assert block() is None
    finally:
        gc.enable()
