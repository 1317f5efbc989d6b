"""Conversations, and the rows that other tools' output is joined with."""

from __future__ import annotations

from tcptrace_fsm.capture.scripted import parse
from tcptrace_fsm.core.engine import Engine
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.tables.columns import SOURCES, Rows, build, plain

OPEN = """
    0.00 > S  0:0(0)
    0.01 < S. 0:0(0) ack 1
    0.02 > .  1:1(0) ack 1
"""


CLOSE = """
    1.00 > F. 1:1(0) ack 1
    1.01 < F. 1:1(0) ack 2
    1.02 > .  2:2(0) ack 2
"""


DATA = "0.1 > P. 1:9(8) ack 1\n0.2 < P. 1:9(8) ack 9\n"


def rows_of(batches, engine=None):
    """The rows of the connections table, in order of conn_id."""
    engine = engine or Engine(Settings())
    for batch in batches:
        engine.feed(batch)
    engine.finish()
    rows = Rows(SOURCES["connections"])
    while (done := engine.take()) is not None:
        rows.add(done.connections, done.count)
    return plain(build("connections", rows.take()), "connections").to_pylist()


def joined(text: str, engine=None) -> list[dict]:
    return rows_of([parse(text)], engine)
