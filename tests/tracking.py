"""Connections as the tracker leaves them."""

from __future__ import annotations

from tests.strategies import Connection, run

OPEN = """
    0.00 > S  0:0(0)
    0.02 < S. 0:0(0)       ack 1
    0.04 > .  1:1(0)       ack 1
"""


CLOSE = """
    1.00 > F. 1:1(0)       ack 1
    1.02 < F. 1:1(0)       ack 2
    1.04 > .  2:2(0)       ack 2
"""


def only(text: str, **how) -> Connection:
    """The one connection of a conversation."""
    (connection,) = run(text, **how).connections
    return connection


PENDING = OPEN + "isn 900000 700000\n5.00 > S 0:0(0)\n"


STREAM = """
    0.00 > S  0:0(0)
    0.02 < S. 0:0(0)        ack 1
    0.04 > .  1:1(0)        ack 1
    0.06 > P. 1:101(100)    ack 1
    0.08 < P. 1:101(100)    ack 101
    0.10 > P. 101:201(100)  ack 101
    0.12 > P. 201:301(100)  ack 101
    0.14 < .  101:101(0)    ack 301
    0.60 > P. 101:201(100)  ack 101
    1.00 > F. 301:301(0)    ack 101
    1.02 < F. 101:101(0)    ack 302
    1.04 > .  302:302(0)    ack 102
"""
