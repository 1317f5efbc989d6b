"""Findings that exclude each other never stand together, and all that is said is fit to read, whatever was captured."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tcptrace_fsm.capture.scripted import Script
from tcptrace_fsm.causes import CAUSES
from tcptrace_fsm.causes.excluded import EXCLUDED, contradicts
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.findings import CATALOGUE, RULES
from tcptrace_fsm.findings.precedence import EXCLUSIONS
from tcptrace_fsm.kernels.layout import S_TIME, SEGMENT_SIZE
from tcptrace_fsm.runs.run import new_engine
from tcptrace_fsm.tcp.notation import read
from tests.strategies import MILLISECOND, SECOND, conversations, cut
from tests.test_words import misread, texts


def judged(batch):
    """All that is over, with what every rule, survey and cause says of it."""
    engine = new_engine(Settings())
    engine.feed(batch)
    engine.finish()
    finished = []
    while (done := engine.take()) is not None:
        finished.append(done)
    return finished


def contradictions(finished):
    """Pairs of findings about one thing of which the registry says that only one can be true."""
    of: dict[int, list] = defaultdict(list)
    for f in (f for done in finished for f in done.findings if f.conn_id is not None):
        of[f.conn_id].append(f)
    things = {"frame": lambda f: f.frame, "side": lambda f: f.side, "connection": lambda f: f.conn_id}
    return [
        (strong.kind, weak.kind, strong.message, weak.message)
        for findings in of.values()
        for kind, others, about in EXCLUSIONS
        for strong in findings
        if strong.kind == kind
        for weak in findings
        if weak.kind in others and things[about](strong) is not None and things[about](weak) == things[about](strong)
    ]


def at_odds(finished):
    """Diagnoses above low beside findings of one of their connections that cannot be true as well."""
    findings = [f for done in finished for f in done.findings if f.conn_id is not None]
    return [
        (d.cause, f.kind, d.message, f.message)
        for d in (d for done in finished for d in done.diagnoses)
        if d.severity in {"medium", "high"}
        for f in findings
        if f.conn_id in d.connections and contradicts(d.cause, d.findings, d.frame, f)
    ]


def one_direction(lines, port):
    return [line for line in lines if line.source[1] == port]


# What captures do to a conversation.
DISTORTED = {
    "as it was": lambda lines: lines,
    "one direction": lambda lines: one_direction(lines, lines[0].source[1]),
    "the other direction": lambda lines: one_direction(lines, lines[0].target[1]) or lines,
    "one in two": lambda lines: lines[::2],
    "the others": lambda lines: lines[1::2] or lines,
    "begun inside": lambda lines: lines[len(lines) // 2 :],
    "cut": lambda lines: lines[: len(lines) // 2 + 1],
    "flags alone": lambda lines: [line for line in lines if line.flags & 7] or lines,
    "data alone": lambda lines: [line for line in lines if line.length] or lines,
    "neighbours exchanged": lambda lines: [line for i in range(0, len(lines), 2) for line in lines[i : i + 2][::-1]],
    "all of it twice": lambda lines: [line for line in lines for _ in range(2)],
}


# Each kind by three or so of them, each of them by dozens of kinds: all by all takes minutes.
PAIRS = [(kind, how) for n, kind in enumerate(RULES) for m, how in enumerate(DISTORTED) if (n + m) % 4 == 0]


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "how"), PAIRS)
def test_what_is_said_of_examples_does_not_contradict_itself(kind, how):
    """Nor of the counterexamples, whatever a capture does to them."""
    for text in (RULES[kind].example, *RULES[kind].counterexamples):
        script = Script(DISTORTED[how](read(text).lines))
        times = script.segments[S_TIME::SEGMENT_SIZE]
        finished = judged(script)
        assert contradictions(finished) == []
        assert at_odds(finished) == []
        assert [said for said in texts(finished) if misread(said[1], (max(times) - min(times)) / SECOND)] == []


STEPS = st.sampled_from((0, 1000, MILLISECOND, 10 * MILLISECOND, 200 * MILLISECOND, SECOND, 7 * SECOND, 90 * SECOND))


@pytest.mark.slow
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(conversations(steps=STEPS) | conversations(steps=STEPS, orderly=True))
def test_what_is_said_of_anything_does_not_contradict_itself(segments):
    """Two hosts that mostly count as TCP does, lose, repeat and begin anew."""
    times = segments[S_TIME::SEGMENT_SIZE]
    (batch,) = cut(segments, len(times))
    finished = judged(batch)
    assert contradictions(finished) == []
    assert at_odds(finished) == []
    assert [said for said in texts(finished) if misread(said[1], (max(times) - min(times)) / SECOND)] == []


CAUSE_PAIRS = [(name, how) for n, name in enumerate(CAUSES) for m, how in enumerate(DISTORTED) if (n + m) % 3 == 0]


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.parametrize(("name", "how"), CAUSE_PAIRS)
def test_what_is_said_of_examples_of_causes_does_not_contradict_itself(name, how):
    """Nor of what looks like them, whatever a capture does to them."""
    cause = CAUSES[name]
    for text in (cause.example, cause.look_alike):
        finished = judged(Script(DISTORTED[how](read(text).lines)))
        assert contradictions(finished) == []
        assert at_odds(finished) == []


def test_causes_and_findings_that_exclude_each_other_are_such():
    """Causes and kinds that there are."""
    assert set(EXCLUDED) <= set(CAUSES)
    for excluded in EXCLUDED.values():
        assert excluded.kinds <= set(CATALOGUE)
        assert excluded.about in {"connection", "frame"}


@pytest.mark.parametrize("severity", ["high", "low"])
def test_a_finding_above_low_leaves_no_room_for_a_cause(severity):
    """One that is low itself only says what it looks like."""
    cause = CAUSES["aborted_by_application"]
    done = judged(Script(read(cause.example).lines))
    (diagnosis,) = [d for part in done for d in part.diagnoses if d.cause == cause.name]
    finding = next(f for part in done for f in part.findings if f.conn_id in diagnosis.connections)
    other = finding._replace(kind="rst_injection_suspected", severity=severity, frame=diagnosis.frame)
    assert contradicts(cause.name, diagnosis.findings, diagnosis.frame, other) == (severity == "high")
    done[0].findings += [other]
    assert bool(at_odds(done)) == (severity == "high")


def test_a_contradiction_would_be_found():
    """The same pair that the registry dissolves, put together again."""
    text = RULES["fin_seq_changed"].example
    finished = judged(Script(read(text).lines))
    strong = next(f for done in finished for f in done.findings if f.kind == "fin_seq_changed")
    finished[0].findings += [strong._replace(kind="fin_retransmission")]
    assert [pair[:2] for pair in contradictions(finished)] == [("fin_seq_changed", "fin_retransmission")]
