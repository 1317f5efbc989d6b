"""Names that somebody has misspelt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["check_name", "nearest"]

FEW = 12


def nearest(name: str, names: Collection[str]) -> list[str]:
    """Give the names that are most like a misspelt one, the likeliest first; none where nothing is like it.

    >>> nearest("time_wait", ["TIME_WAIT", "CLOSE_WAIT", "CLOSED"])[0]
    'TIME_WAIT'
    >>> nearest("close_wait", ["stuck_close_wait", "rto_retransmission"])
    ['stuck_close_wait']
    """
    from difflib import get_close_matches

    plain = {other.lower().replace("-", "_"): other for other in names}
    wanted = name.lower().replace("-", "_")
    inside = [other for other in plain if wanted and wanted in other]
    close = get_close_matches(wanted, plain, n=3, cutoff=0.55)
    return [plain[other] for other in dict.fromkeys([*close, *inside])][:3]


def check_name(what: str, name: str, names: Collection[str]) -> str:
    """Return a name as it is spelt in a list, whatever its case.

    Raises
    ------
    UsageError
        When it is not there, with those that are most like it.

    """
    for other in names:
        if other.lower() == name.lower().replace("-", "_"):
            return other
    near = nearest(name, names)
    if near:
        raise UsageError(f"no {what} {name!r}; did you mean {', '.join(near)}?")
    listed = sorted(names)
    more = f" and {len(listed) - FEW} more" if len(listed) > FEW else ""
    raise UsageError(f"no {what} {name!r}; there are {', '.join(listed[:FEW])}{more}")
