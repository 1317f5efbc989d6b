"""The causes: a registry of declarations, one file per family.

To add a cause, write it in the file of its family, with an example that must give it first and a look-alike that must
not; the table of diagnoses, ``tcptrace-fsm causes``, docs/causes.md and the tests follow from the registry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.causes import (
    accept,
    answers,
    captured,
    closing,
    delivery,
    ended,
    floods,
    half_close,
    handshake,
    idle,
    injected,
    lossy,
    picky,
    refused,
    reused_port,
    sizes,
    translated,
    unanswered,
    waits,
    windows,
)
from tcptrace_fsm.causes.diagnoser import Diagnoser

if TYPE_CHECKING:
    from tcptrace_fsm.causes.cause import Cause
    from tcptrace_fsm.tcp.profiles import Profile

__all__ = ["CAUSES", "FAMILIES", "new_diagnoser"]

FAMILIES = (
    *(refused, unanswered, picky, reused_port, accept, handshake, floods),
    *(sizes, delivery, lossy, answers, waits, windows),
    *(closing, ended, half_close, idle, injected, translated, captured),
)

CAUSES: dict[str, Cause] = {cause.name: cause for family in FAMILIES for cause in family.CAUSES}
"""Every cause by its name."""


def new_diagnoser(profile: Profile) -> Diagnoser:
    """All causes, for one pass."""
    return Diagnoser(CAUSES.values(), profile)
