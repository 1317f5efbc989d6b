"""Conversations, and where their time went."""

from __future__ import annotations

from tcptrace_fsm.core.words import SIDES
from tcptrace_fsm.kernels import layout as at
from tcptrace_fsm.tables.connections import LONGEST_FOR, WAITING_FOR
from tests.strategies import SECOND, run

OPEN = """
    0.000 > S  0:0(0)          win 65535 <mss 1460>
    0.010 < S. 0:0(0)   ack 1  win 65535 <mss 1460>
    0.010 > .  1:1(0)   ack 1  win 65535
"""


class Told:
    """What was made of one connection."""

    def __init__(self, text: str, **how) -> None:
        subject = run(OPEN + text, **how)
        self.connection = subject.connections[0]
        words = self.connection.words
        self.times = {
            f"{side} {what}": words[at.C_TIMES + 2 * kind + number] / SECOND
            for kind, what in enumerate(WAITING_FOR)
            for number, side in enumerate(SIDES)
            if words[at.C_TIMES + 2 * kind + number]
        }
        assert sum(words[at.C_TIMES : at.C_TIMES + 2 * at.WAITS]) == self["C_LAST_TIME"] - self["C_FIRST_TIME"]

    def __getitem__(self, name: str) -> int:
        return self.connection[name]

    @property
    def longest(self) -> tuple[str, float]:
        return LONGEST_FOR[self["C_LONGEST_FOR"]], self["C_LONGEST_WAIT"] / SECOND


REQUEST = """
    0.100 > P. 1:101(100)    ack 1    win 65535
    0.110 < .  1:1(0)        ack 101  win 65535
"""
