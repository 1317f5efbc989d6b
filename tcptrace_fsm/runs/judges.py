"""The rules, surveys and causes that every run uses, in one list."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tcptrace_fsm.core.judges import Judge
    from tcptrace_fsm.tcp.profiles import Profile

__all__ = ["judges"]


def judges(profile: Profile) -> list[Judge]:
    """All judges, for one pass, in the order in which they look: each sees what those before it found."""
    from tcptrace_fsm.causes import new_diagnoser
    from tcptrace_fsm.findings import runner, surveys

    return [runner(profile), surveys(profile), new_diagnoser(profile)]
