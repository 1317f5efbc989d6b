"""Columns that join with other tools' output: Wireshark's tcp.stream and tcp.completeness, Zeek's history letters."""

from __future__ import annotations

import pytest

from tcptrace_fsm.engine import Engine
from tcptrace_fsm.kernels.layout import (
    C_COMPLETENESS,
    C_HISTORY,
    C_HISTORY_LENGTH,
    C_ID,
    C_STREAM,
    CONNECTION_SIZE,
    HISTORY_PER_WORD,
)
from tcptrace_fsm.profiles import profile
from tcptrace_fsm.schema import HISTORY_LETTERS
from tcptrace_fsm.script import parse

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


def joined(text: str) -> list[tuple[int, int, str]]:
    """Stream, completeness and history of each connection, in order of conn_id."""
    engine = Engine(profile("linux"))
    engine.feed(parse(text))
    engine.finish()
    found = []
    while (done := engine.take()) is not None:
        for c in range(0, done.count * CONNECTION_SIZE, CONNECTION_SIZE):
            words = done.connections
            codes = [
                words[c + C_HISTORY + i // HISTORY_PER_WORD] >> 6 * (i % HISTORY_PER_WORD) & 63
                for i in range(words[c + C_HISTORY_LENGTH])
            ]
            letters = "".join(HISTORY_LETTERS[code - 1] for code in codes)
            found.append((words[c + C_ID], words[c + C_STREAM], words[c + C_COMPLETENESS], letters))
    return [rest for _, *rest in sorted(found)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # the bits of tcp.completeness: 1 SYN, 2 SYN+ACK, 4 ACK, 8 data, 16 FIN, 32 RST
        (OPEN + CLOSE, [[0, 1 + 2 + 4 + 16, "ShAFf"]]),
        ("0 > S 0:0(0)", [[0, 1, "S"]]),
        ("0 > S 0:0(0)\n0.1 < R. 0:0(0) ack 1", [[0, 1 + 4 + 32, "Sr"]]),
        (OPEN + "0.1 > P. 1:9(8) ack 1\n0.2 < P. 1:9(8) ack 9", [[0, 1 + 2 + 4 + 8, "ShADd"]]),
    ],
)
def test_completeness_and_history(text, expected):
    """What a connection has shown, in the two other tools' own words."""
    assert joined(text) == expected


def test_another_isn_is_another_stream_in_both():
    """A reused four-tuple."""
    assert [s for s, *_ in joined(OPEN + CLOSE + "isn 900000 900000\n9 > S 0:0(0)\n9.1 < S. 0:0(0) ack 1")] == [0, 1]


def test_the_same_isn_after_a_refusal_is_one_stream_there_and_two_attempts_here():
    """Wireshark calls the second SYN a retransmission."""
    text = "0 > S 0:0(0)\n0.1 < R. 0:0(0) ack 1\n1 > S 0:0(0)\n1.1 < R. 0:0(0) ack 1"
    assert [s for s, *_ in joined(text)] == [0, 0]


def test_history_tells_of_a_turned_direction_and_of_repeated_data():
    """A handshake met at its SYN+ACK begins with ^; T and t are data sent again."""
    text = "0 < S. 0:0(0) ack 1\n0.1 > . 1:1(0) ack 1\n0.2 > P. 1:9(8) ack 1\n0.6 > P. 1:9(8) ack 1"
    assert joined(text)[0][2] == "^hADT"
