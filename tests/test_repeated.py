"""Why data came again: what is said of a repetition has to fit all that the capture shows of it."""

from __future__ import annotations

import pytest

from tcptrace_fsm.capture.scripted import parse
from tests.test_exclusive import judged

pytestmark = pytest.mark.plain

OPENED = """
    0.000 > S  0:0(0)             <mss 1000, sackok>
    0.050 < S. 0:0(0)     ack 1   <mss 1000, sackok>
    0.051 > .  1:1(0)     ack 1
    0.060 > P. 1:101(100) ack 1
"""
AGAIN = "0.{0} > P. 1:101(100) ack 1 id {0}\n"


def findings(text):
    """By kind, the severity and what is said."""
    return {f.kind: (f.severity, f.message) for done in judged(parse(text)) for f in done.findings}


@pytest.mark.parametrize("first", ["", "0.800 < . 1:1(0) ack 101\n"])
def test_what_came_late_was_not_lost(first):
    """The receiver acknowledges the original, and reports its repetition: in the same ACK, or in the one behind."""
    found = findings(OPENED + AGAIN.format(400) + first + "0.801 < . 1:1(0) ack 101 <sack 1:101>\nend 3\n")
    assert found["rto_retransmission"][0] == "low"
    assert "only its ACK was late" in found["rto_retransmission"][1]
    assert "lost_after_v" not in found


def test_what_is_reported_once_more_may_be_another_copy():
    """An ACK of more than the repetition stands between: the report is about something else."""
    more = "0.500 > P. 101:201(100) ack 1\n0.800 < . 1:1(0) ack 201\n0.801 < . 1:1(0) ack 201 <sack 1:101>\n"
    assert findings(OPENED + AGAIN.format(400) + more + "end 3\n")["rto_retransmission"][0] != "low"


def test_data_that_meet_a_server_which_has_not_opened_are_not_said_to_be_lost():
    """It sends its SYN+ACK again: its queue may be full, and what reaches it is dropped there."""
    waits = "".join(AGAIN.format(n) for n in (300, 500, 900)) + "1.050 < S. 0:0(0) ack 1 <mss 1000, sackok>\n"
    found = findings(OPENED + waits + "1.800 > P. 1:101(100) ack 1\n1.850 < . 1:1(0) ack 101\nend 3\n")
    assert "had not opened the connection, and sent its SYN+ACK again (frame 8)" in found["rto_retransmission"][1]
    assert "lost_after_v" not in found
    found = findings(OPENED + waits.replace("1.050", "# ") + "1.800 > P. 1:101(100) ack 1\n1.850 < . 1:1(0) ack 101\n")
    assert "were lost and nothing else showed it" in found["rto_retransmission"][1]
    assert "lost_after_v" in found


def test_an_ack_that_stands_before_what_it_acknowledges_is_not_forged():
    """As of two capture points whose frames are put together: the FIN that it acknowledges comes behind it."""
    text = OPENED + "0.100 < F. 1:1(0) ack 101\n"
    early = text + "0.199 < . 2:2(0) ack 102\n0.200 > F. 101:101(0) ack 2\nend 3\n"
    beyond = text + "0.199 < . 2:2(0) ack 900102\n0.200 > F. 101:101(0) ack 2\n0.250 < . 2:2(0) ack 102\nend 3\n"
    assert "ack_of_unsent_data" not in findings(early)
    assert "ack_of_unsent_data" in findings(beyond)
