"""Every cause proves itself: its example gives it first, its look-alike does not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tcptrace_fsm.capture.losses import Lost
from tcptrace_fsm.capture.scripted import parse
from tcptrace_fsm.causes import CAUSES, FAMILIES
from tcptrace_fsm.causes.cause import CONFIDENCES, GROUPS, INCOMPLETE, PLACES, Diagnosis
from tcptrace_fsm.causes.diagnoser import Diagnoser
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.findings import CATALOGUE
from tcptrace_fsm.findings.rule import SEVERITIES
from tcptrace_fsm.runs.run import new_engine

pytestmark = pytest.mark.plain


def diagnoses(text: str, *, taken_at: tuple[str, ...] = (), lost: str | None = None) -> list[Diagnosis]:
    """What the causes say about a conversation; ``lost`` is what the capturing machine says that it lacks."""
    engine = new_engine(Settings(taken_at=taken_at))
    engine.lost = None if lost is None else Lost((0,), (lost,))
    engine.feed(parse(text))
    engine.finish()
    found: list[Diagnosis] = []
    while (done := engine.take()) is not None:
        found += done.diagnoses
    return found


@pytest.mark.parametrize("name", CAUSES)
def test_its_example_gives_a_cause_first(name):
    """The first diagnosis of the example is this cause, with its place."""
    cause = CAUSES[name]
    found = diagnoses(cause.example)
    assert [d.cause for d in found][:1] == [name]
    assert found[0].where in PLACES


def test_what_a_capture_can_fake_is_low_and_possible_where_it_lacks_segments():
    """And says so; what is proved stays. Where nothing opened, nothing more was to be seen."""
    fragile = [name for name, cause in CAUSES.items() if cause.fragile]
    whole = {name: diagnoses(CAUSES[name].example)[0] for name in fragile}
    doubtful = {name: diagnoses(CAUSES[name].example, lost="it dropped frames")[0] for name in fragile}
    lowered = {name for name in fragile if INCOMPLETE in doubtful[name].evidence_against}
    for name in fragile:
        found = doubtful[name]
        expected = ("low", "possible") if name in lowered else (whole[name].severity, whole[name].confidence)
        assert (found.cause, found.severity, found.confidence) == (name, *expected)
    assert "half_close_unsupported" in lowered
    assert not [name for name in lowered if whole[name].confidence == "proved" or whole[name].severity == "low"]


@pytest.mark.parametrize("name", CAUSES)
def test_its_look_alike_does_not(name):
    """Of what only looks alike it is at most possible, and never the first answer."""
    found = diagnoses(CAUSES[name].look_alike)
    assert [d for d in found if d.cause == name and d.confidence != "possible"] == []
    assert [d.cause for d in found][:1] != [name]


@pytest.mark.parametrize("name", CAUSES)
def test_a_diagnosis_is_fit_to_print(name):
    """It has evidence with numbers, a next step, and says what else it may be unless it is proved."""
    found = diagnoses(CAUSES[name].example)
    assert found
    for d in found:
        assert d.confidence in CONFIDENCES
        assert d.severity in SEVERITIES
        assert (d.alternatives == ()) == (d.confidence == "proved") or d.confidence == "likely"
        assert d.cause not in d.alternatives
        assert d.evidence_for
        assert all(text and text[-1] != "." for text in (*d.evidence_for, *d.evidence_against, d.message))
        assert re.search(r"\d", d.message), d.message
        assert any(re.search(r"frames? \d", text) for text in d.evidence_for), d.evidence_for
        assert "{" not in d.next_step
        assert d.connections
        assert 1 <= d.count <= d.of
        assert set(d.findings) <= set(CATALOGUE)


@pytest.mark.parametrize("name", CAUSES)
def test_a_declaration_is_complete(name):
    """A cause says what it predicts, what it forbids, and what looks alike."""
    cause = CAUSES[name]
    assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
    assert cause.summary[-1] == "."
    assert cause.predicts
    assert cause.forbids
    assert cause.explains <= set(CATALOGUE), cause.explains - set(CATALOGUE)
    assert cause.where in PLACES
    assert cause.group in GROUPS
    assert cause.severity in SEVERITIES


def test_names_are_unique_across_families():
    """No two causes share a name: the registry would lose one silently."""
    names = [cause.name for family in FAMILIES for cause in family.CAUSES]
    assert len(names) == len(set(names)) == len(CAUSES)


def test_a_healthy_connection_gives_no_diagnosis():
    """Handshake, data both ways, normal close: silence."""
    assert not diagnoses("""
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


@pytest.mark.parametrize("path", sorted(Path("sample_pcaps").glob("*.pcap*")), ids=lambda p: p.stem)
def test_numbers_of_connections_exist(path):
    """Each diagnosis of a sample names connections that there are, and frames that there are."""
    import tcptrace_fsm as tf

    trace = tf.analyze(path)
    frames = sum(capture["frames"] for capture in trace.summary["captures"])
    for row in trace.diagnoses.to_dict("records"):
        assert set(row["connections"]) <= set(trace.connections["conn_id"])
        assert 1 <= row["frame"] <= frames


def test_a_diagnosis_explains_what_surveys_found_of_many_connections():
    """So the first screen does not repeat it below as a finding that nothing explains."""
    first = diagnoses(CATALOGUE["close_wait_leak"].example)[0]
    assert first.cause == "close_wait_leak"
    assert "close_wait_leak" in first.findings


REFUSED = """
    0.000 > S  0:0(0)
    0.010 < S. 0:0(0)         ack 1
    0.020 > .  1:1(0)         ack 1
    0.030 > P. 1:101(100)     ack 1
    0.040 < .  1:1(0)         ack 101
    0.050 > P. 101:201(100)   ack 1
    0.060 < .  1:1(0)         ack 201
""" + "".join(f"{t} > P. 201:301(100) ack 1\n{t + 0.01} < . 1:1(0) ack 201\n" for t in (3.0, 3.3, 3.9, 5.1, 7.5))


def test_where_segments_are_missing_an_ack_may_be_among_them():
    """Copies that look refused were perhaps taken, in a capture that lacks segments of one direction."""
    assert [(d.cause, d.severity, d.confidence) for d in diagnoses(REFUSED)] == [
        ("segments_rejected", "high", "likely")
    ]
    some = REFUSED.replace("0.050 > P. 101:201(100)   ack 1\n", "")
    for found in (diagnoses(some), diagnoses(REFUSED, lost="it dropped frames")):
        assert "segments_rejected" not in {d.cause for d in found}
        assert any("segments_rejected" in d.alternatives for d in found)


def test_what_shows_nothing_makes_no_group_without_end(monkeypatch):
    """Connections begun inside, each to another host: some are kept to compare others with; attempts, and those
    that say more, are all kept. The others are counted."""
    monkeypatch.setattr("tcptrace_fsm.causes.diagnoser.MOST_QUIET", 3)
    engine = new_engine(Settings())
    begun = "\n".join(f"addr 10.0.0.1 10.0.1.{n}\n{n}.0 > . 1:1(0) ack 1" for n in range(1, 9))
    talk = "{0}.1 > P. 1:9(8) ack 1\n{0}.2 < P. 1:9(8) ack 9\n{0}.3 > P. 9:17(8) ack 9\n{0}.4 < . 9:9(0) ack 17"
    talks = "\n".join(f"addr 10.0.0.1 10.0.3.{n}\n{talk.format(n + 20)}" for n in range(1, 9))
    tried = "\n".join(f"addr 10.0.0.1 10.0.2.{n}\n{n + 10}.0 > S 0:0(0)" for n in range(1, 9))
    engine.feed(parse(f"{begun}\n{tried}\n{talks}"))
    engine.finish()
    undiagnosed = 0
    while (done := engine.take()) is not None:
        undiagnosed += done.undiagnosed
    (diagnoser,) = (judge for judge in engine.judges if isinstance(judge, Diagnoser))
    assert len(diagnoser.likes) == 3 + 8 + 8
    assert undiagnosed == 5
