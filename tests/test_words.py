"""What findings and diagnoses say, over every example of every rule and cause: numbers, nouns, lengths of time."""

from __future__ import annotations

import re
from itertools import chain

import pytest

from tcptrace_fsm.capture.scripted import parse
from tcptrace_fsm.causes import CAUSES
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.findings import CATALOGUE
from tcptrace_fsm.runs.run import Run
from tcptrace_fsm.runs.sinks import Kept
from tcptrace_fsm.text.counts import agreed
from tests import builders as make
from tests.test_days import frames_of

EXAMPLES = {
    **{kind: rule.example for kind, rule in CATALOGUE.items()},
    **{name: cause.example for name, cause in CAUSES.items()},
}
UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1, "min": 60, "h": 3600, "d": 86400}
LENGTH = re.compile(r"(?<![\w.])(-?\d[\d,]*(?:\.\d+)?) (us|ms|s|min|h|d)\b")
# What one host or the capture can have had to do with time outside of it: timers, limits, rules of RFCs.
TIMERS = (
    *(
        "instead of lasting",
        "would",
        "timer",
        "limit",
        "RFC",
        "by default",
        "the ACK if it closed",
        "each of",
        "s each",
    ),
    *("should be", "are usual", "2MSL is", "TIME_WAIT being"),
)


def texts(finished) -> list[tuple[str, str]]:
    """Everything that is said, with the name of who says it."""
    said = [(f.kind, f.message) for done in finished for f in done.findings]
    for d in chain.from_iterable(done.diagnoses for done in finished):
        said += [(d.cause, text) for text in (d.message, *d.evidence_for, *d.evidence_against)]
    return said


def misread(text: str, lasted: float) -> bool:
    """Whether a text is not fit to read: odd numbers, wrong nouns, a time longer than the capture's seconds."""
    if re.search(r"less than 1 us|\b0 (us|ms|s)\b|\bNone\b|\bnan\b|  |an unknown time", text) or agreed(text) != text:
        return True
    if re.search(r"(?<![\w.,:/#-])\d{5,} (bytes|segments|times|connections|RSTs|SYNs)\b", text):
        return True
    lengths = [float(number.replace(",", "")) * UNITS[unit] for number, unit in LENGTH.findall(text)]
    timed = any(timer in text for timer in TIMERS)
    return any(seconds < 0 or (not timed and seconds > 1.01 * lasted + 0.01) for seconds in lengths)


def analysed(text: str, folder, *, change=lambda frames: frames):
    """What is over, and how long the capture is: without tables, which take longer than all else."""
    frames = change(frames_of(text))
    (folder / "a.pcap").write_bytes(make.pcap(frames))
    kept = Kept()
    Run([str(folder / "a.pcap")], Settings()).go([kept])
    return kept.finished, (max(t for t, _ in frames) - min(t for t, _ in frames)) / 1e6


def scripted(name: str) -> str:
    example = EXAMPLES[name]
    if " icmp " in example:
        pytest.skip("an ICMP error is no frame of the builder")
    if any(line.length > 60_000 or line.window > 65_535 for line in parse(example).lines):
        pytest.skip("longer than a packet")
    return example


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_what_is_said_of_an_example_is_fit_to_read(name, tmp_path):
    """No negative time, none longer than the capture, no "1 connections", no number of five digits in one piece."""
    finished, lasted = analysed(scripted(name), tmp_path)
    shown = texts(finished)
    assert shown
    assert [said for said in shown if misread(said[1], lasted)] == []


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_equal_stamps_measure_nothing(name, tmp_path):
    """A capture whose stamps are all alike: nobody has waited, not even for less than a microsecond."""
    finished, _ = analysed(
        scripted(name), tmp_path, change=lambda frames: [(frames[0][0], frame) for _, frame in frames]
    )
    assert sum(done.count for done in finished)
    for who, text in texts(finished):
        assert "less than 1 us" not in text, (who, text)
        assert not re.search(r"(?<![\w.])0 (us|ms|s)\b", text), (who, text)


def test_a_single_thing_has_a_singular_noun_and_verb():
    assert agreed("1 bytes were sent 1 times; 1 other connections have it, 21 bytes") == (
        "1 byte was sent 1 time; 1 other connection has it, 21 bytes"
    )
    assert agreed("1 of 1 connections were, and 10.0.0.1 segments") == "1 of 1 connections was, and 10.0.0.1 segments"
