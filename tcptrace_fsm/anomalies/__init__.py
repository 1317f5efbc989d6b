"""The anomaly rules: a registry of declarations, one file per family.

To add a rule, write it in the file of its family, with an example that must fire it and a counterexample that must
not; everything else (``tcptrace-fsm rules``, docs/anomalies.md, the tests) follows from the registry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.anomalies import (
    abort,
    ack,
    close,
    data,
    fast_open,
    fin,
    handshake,
    loss,
    odd_opening,
    opening,
    reset,
    time_wait,
    window,
)
from tcptrace_fsm.anomalies.rule import Finding, Rule, Runner

if TYPE_CHECKING:
    from tcptrace_fsm.profiles import Profile

__all__ = ["FAMILIES", "RULES", "Finding", "Rule", "runner"]

FAMILIES = (opening, odd_opening, fast_open, handshake, loss, ack, window, data, close, fin, abort, reset, time_wait)

RULES: dict[str, Rule] = {rule.kind: rule for family in FAMILIES for rule in family.RULES}
"""Every rule by its kind."""


def runner(profile: Profile) -> Runner:
    """A runner of all rules, for one pass."""
    return Runner(tuple(RULES.values()), profile)
