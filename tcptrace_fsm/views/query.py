"""Connections by what a person has at hand: an address from a log line, a pair, a cause, a kind of finding, a state."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.core.words import SIDES, STATES
from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.text.addresses import Endpoint, endpoint
from tcptrace_fsm.text.names import check_name

if TYPE_CHECKING:
    import pandas as pd

    from tcptrace_fsm.views.protocol import TraceTables

__all__ = ["Question", "matching", "question"]

_BETWEEN = re.compile(r"<?->|[\s,;]+")


class Question(NamedTuple):
    """What connections are asked for: all of it must hold.

    Attributes
    ----------
    ends : tuple of Endpoint
        One of a connection's two ends, or both, in either order.
    names : tuple of str
        Causes, kinds of finding, states.

    """

    ends: tuple[Endpoint, ...]
    names: tuple[str, ...]


def question(text: str) -> Question:
    """Read a question: words with spaces, commas or arrows between them.

    >>> question("10.0.0.1 -> 10.0.0.2:8080").ends
    (Endpoint(ip='10.0.0.1', port=None), Endpoint(ip='10.0.0.2', port=8080))
    >>> question(":443, close_wait")
    Question(ends=(Endpoint(ip=None, port=443),), names=('CLOSE_WAIT',))

    Raises
    ------
    UsageError
        When a word is none of these; with the names that are most like it.

    """
    from tcptrace_fsm.causes import CAUSES
    from tcptrace_fsm.findings import CATALOGUE

    ends: list[Endpoint] = []
    names: list[str] = []
    known = dict.fromkeys([*STATES, *CAUSES, *CATALOGUE])
    for word in filter(None, _BETWEEN.split(text)):
        if ":" in word or word[0].isdigit():
            ends.append(endpoint(word, "a query"))
        else:
            names.append(check_name("address, cause, kind of finding or state", word, known))
    if not ends and not names:
        raise UsageError('a query names an address with or without :PORT, a pair "A -> B", a cause, a kind, a state')
    if len(ends) > len(SIDES):
        raise UsageError(f"a connection has two ends, not {len(ends)}")
    return Question(tuple(ends), tuple(names))


def matching(trace: TraceTables, asked: Question) -> pd.DataFrame:
    """Give the rows of connections that a question asks for."""
    frame = trace.connections
    keep = frame["conn_id"] >= 0
    if asked.ends:
        one, other = asked.ends[0], asked.ends[-1]
        forth = _is(frame, "client", one) & _is(frame, "server", other)
        back = _is(frame, "client", other) & _is(frame, "server", one)
        keep &= (forth | back) if len(asked.ends) > 1 else (_is(frame, "client", one) | _is(frame, "server", one))
    for name in asked.names:
        if name in STATES:
            keep &= (frame["client_state"] == name) | (frame["server_state"] == name)
            continue
        found = trace.anomalies
        ids = set(found.loc[found["kind"] == name, "conn_id"].dropna())
        diagnoses = trace.diagnoses
        ids.update(*diagnoses.loc[diagnoses["cause"] == name, "connections"])
        keep &= frame["conn_id"].isin(ids)
    return frame[keep]


def _is(frame: pd.DataFrame, side: str, end: Endpoint) -> pd.Series[bool]:
    same = frame["conn_id"] >= 0
    if end.ip is not None:
        same &= frame[f"{side}_ip"] == end.ip
    if end.port is not None:
        same &= frame[f"{side}_port"] == end.port
    return same
