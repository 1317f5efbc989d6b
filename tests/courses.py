"""Courses of events between two systems, and what an end went through: rows of a table for several files of tests."""

from __future__ import annotations

from typing import NamedTuple

from tcptrace_fsm.tcp.profiles import AUTO
from tests.strategies import run
from tests.test_fingerprint import LWIP

# Captured in the middle; at the server's host, with a way of 40 ms, and of half a millisecond.
FAR = """
    0.000 > S  0:0(0)               {client} id 101
    0.020 < S. 0:0(0)       ack 1   {server} id 501
    0.040 > .  1:1(0)       ack 1            id 102
    0.100 > P. 1:101(100)   ack 1            id 103
    0.120 < P. 1:201(200)   ack 101          id 502
    0.140 > .  101:101(0)   ack 201          id 104
"""
NEAR = """
    0.0000 > S  0:0(0)               {client} id 101
    0.0001 < S. 0:0(0)       ack 1   {server} id 501
    0.0400 > .  1:1(0)       ack 1            id 102
    0.1000 > P. 1:101(100)   ack 1            id 103
    0.1001 < P. 1:201(200)   ack 101          id 502
    0.1401 > .  101:101(0)   ack 201          id 104
"""
SHORT = """
    0.0000 > S  0:0(0)               {client} id 101
    0.0000 < S. 0:0(0)       ack 1   {server} id 501
    0.0006 > .  1:1(0)       ack 1            id 102
    0.1000 > P. 1:101(100)   ack 1            id 103
    0.1000 < P. 1:201(200)   ack 101          id 502
    0.1005 > .  101:101(0)   ack 201          id 104
"""


class Row(NamedTuple):
    """What comes behind an opening, between two systems, and what an end went through once it was established."""

    name: str
    text: str
    side: str
    path: str
    opening: str = FAR
    client: str = LWIP
    server: str = LWIP


def goes_through(row: Row) -> None:
    """The end's states are those of the row; where it names a moment, within 6 ms."""
    opening = row.opening.format(client=row.client.format(ecr=0), server=row.server.format(ecr=100))
    steps = run(opening + row.text, profile=AUTO).connections[0].of(row.side)
    steps = steps[1 + next(i for i, s in enumerate(steps) if s.target == "ESTABLISHED") :]
    wanted = row.path.split()
    assert [s.target for s in steps] == [w.split("@")[0] for w in wanted]
    for step, want in zip(steps, wanted, strict=True):
        moment = want.partition("@")[2]
        assert not moment or abs(step.seconds - float(moment)) < 0.006
