"""The anomaly rules: a registry of declarations, one file per family.

To add a rule, write it in the file of its family, with an example that must fire it and a counterexample that must
not; everything else (``tcptrace-fsm rules``, docs/anomalies.md, the tests) follows from the registry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.core.finished import Finding
from tcptrace_fsm.findings import (
    abort,
    accept_queue,
    ack,
    attack,
    backoff,
    capture_gaps,
    capture_order,
    capture_point,
    close,
    data,
    fast_open,
    fin_again,
    fin_invalid,
    flood,
    forgotten,
    handshake,
    hosts,
    loss,
    odd_opening,
    opening,
    reset,
    reset_checks,
    reuse,
    scan,
    stuck,
    syn_ack,
    syn_options,
    third_segment,
    time_wait,
    timer,
    unreachable,
    window,
)
from tcptrace_fsm.findings.rule import Rule
from tcptrace_fsm.findings.running import Runner
from tcptrace_fsm.findings.survey import Survey, Surveyor

if TYPE_CHECKING:
    from tcptrace_fsm.tcp.profiles import Profile

__all__ = ["CATALOGUE", "FAMILIES", "RULES", "SURVEYS", "Finding", "Rule", "Survey", "runner", "surveys"]

FAMILIES = (
    opening,
    odd_opening,
    unreachable,
    fast_open,
    syn_ack,
    handshake,
    third_segment,
    loss,
    backoff,
    ack,
    window,
    data,
    close,
    stuck,
    fin_again,
    fin_invalid,
    abort,
    forgotten,
    reset,
    reset_checks,
    time_wait,
    reuse,
    timer,
    hosts,
    accept_queue,
    syn_options,
    attack,
    scan,
    flood,
    capture_gaps,
    capture_order,
    capture_point,
)

RULES: dict[str, Rule] = {rule.kind: rule for family in FAMILIES for rule in family.RULES}
"""Every rule by its kind."""

SURVEYS: dict[str, Survey] = {survey.kind: survey for family in FAMILIES for survey in getattr(family, "SURVEYS", ())}
"""Every survey by its kind."""


CATALOGUE: dict[str, Rule | Survey] = {**RULES, **SURVEYS}
"""Every kind of finding there is: what the documentation, the ``rules`` command and the tests go through."""


def runner(profile: Profile) -> Runner:
    """A runner of all rules, for one pass."""
    return Runner(tuple(RULES.values()), profile)


def surveys(profile: Profile) -> Surveyor:
    """All surveys, for one pass."""
    return Surveyor(SURVEYS.values(), profile)
