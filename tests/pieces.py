"""What is said of a conversation, in short."""

from __future__ import annotations

from tcptrace_fsm.capture.scripted import Script, parse
from tests.strategies import run
from tests.test_causes import diagnoses


def kinds(given) -> list[str]:
    """The kinds of findings about single connections."""
    return [f.kind for f in run(given, rules=True).findings]


def loud(text: str) -> dict[str, str]:
    """Causes and their severity."""
    return {d.cause: d.severity for d in diagnoses(text)}


def appended(text: str, after: float) -> Script:
    """A capture, and itself again some seconds later."""
    lines = parse(text).lines
    return Script(lines + [line._replace(time=line.time + round(after * 1e9)) for line in lines])
