"""Where a capture could not have shown the contrary, rules that need it say nothing."""

from __future__ import annotations

import pytest

from tcptrace_fsm.capture.scripted import Script
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.findings import RULES
from tcptrace_fsm.findings.needs import BEGINNING, BOTH_DIRECTIONS, BOTH_SYNS, FIRST_FIN
from tcptrace_fsm.runs.run import new_engine
from tcptrace_fsm.tcp.flags import TCP_SYN
from tcptrace_fsm.tcp.notation import read

pytestmark = pytest.mark.plain


def kinds(lines):
    """The kinds of finding about these segments."""
    engine = new_engine(Settings())
    engine.feed(Script(lines))
    engine.finish()
    found = set()
    while (done := engine.take()) is not None:
        found |= {f.kind for f in done.findings}
    return found


def of_the_client(line):
    """Whether the client sent it: whose port is the higher in examples."""
    return line.source[1] > line.target[1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind, rule in RULES.items() if BOTH_DIRECTIONS in rule.needs])
def test_half_of_a_connection_is_not_judged(kind):
    """With the segments of one endpoint alone, whichever, no rule speaks that needs both."""
    lines = read(RULES[kind].example).lines
    assert kind in kinds(lines)
    assert kind not in kinds([line for line in lines if of_the_client(line)])
    assert kind not in kinds([line for line in lines if not of_the_client(line)])


@pytest.mark.parametrize(
    "kind", [kind for kind, rule in RULES.items() if {BEGINNING, BOTH_SYNS, FIRST_FIN} & set(rule.needs)]
)
def test_what_began_before_the_capture_is_not_judged(kind):
    """Without its SYNs and what came before the last two segments, a connection's beginning is claimed by nobody."""
    lines = [line for line in read(RULES[kind].example).lines if not line.flags & TCP_SYN]
    assert kind not in kinds(lines[-2:])
