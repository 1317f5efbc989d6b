"""Why data came again: what is said of a repetition has to fit all that the capture shows of it."""

from __future__ import annotations

import pytest

from tcptrace_fsm.capture.scripted import parse
from tests.test_causes import diagnoses
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


def test_what_met_a_shut_window_was_not_lost_though_it_is_repeated_when_the_window_opens():
    """The receiver had taken nothing of it, and says that it has room: no timer can have run out since."""
    full = "0.100 < . 1:1(0) ack 101 win 0\n"
    data = OPENED + "0.070 > P. 101:1101(1000) ack 1\n" + full
    again = "{0}00 < . 1:1(0) ack 101 win 3000\n{0}10 > P. 101:1101(1000) ack 1\n{0}60 < . 1:1(0) ack 1101\nend 5\n"
    found = findings(data + again.format("0.4"))
    assert "had shut its window" in found["rto_retransmission"][1]
    assert "lost_after_v" not in found
    late = again.replace("{0}10 >", "0.950 >").replace("{0}60 <", "0.990 <").format("0.4")
    assert "were lost and nothing else showed it" in findings(data + late)["rto_retransmission"][1]


SPOKE = """
    0.000 > S  0:0(0)               <mss 1000, ts 100/0>
    0.010 < S. 0:0(0)       ack 1   <mss 1000, ts 900/100>
    0.011 > .  1:1(0)       ack 1   <ts 101/900>
    0.020 > P. 1:101(100)   ack 1   <ts 102/900>
    0.030 < .  1:1(0)       ack 101 <ts 910/102>
    0.040 < P. 1:1001(1000) ack 101 <ts 911/102>
"""


def test_what_its_senders_rst_overtook_is_not_dropped_for_its_timestamp():
    """Nobody keeps the timestamp of an RST (RFC 7323 4.3): a receiver that has closed answers what comes by RST."""
    old = "0.060 < P. 1001:1501(500) ack 101 <ts 920/103>\n"
    reset = "0.050 < R. 1501:1501(0) ack 101 <ts 930/103>\n"
    assert "paws_reject_expected" not in findings(SPOKE + reset + old + "0.061 > R 101:101(0)\n")
    other = reset.replace("R.", ".").replace("1501:1501", "1001:1001")
    assert "paws_reject_expected" in findings(SPOKE + other + old)


@pytest.mark.parametrize(("flags", "severity"), [("R.", "medium"), ("R", "low")])
def test_an_rst_without_ack_may_answer_a_segment_that_the_capture_lacks(flags, severity):
    """It carries the number that such a segment acknowledges: an application that aborts sends RST with ACK."""
    ack = " ack 101 <ts 990/102>" if flags == "R." else ""
    reset = f"0.070 < {flags} 1001:1001(0){ack}\n"
    seen = findings(
        SPOKE.replace("1:1001(1000)", "1:1201(1200)") + "0.050 > . 101:101(0) ack 1001 <ts 103/911>\n" + reset
    )
    assert seen["abort_rst"][0] == severity


def test_who_resets_data_behind_its_own_fin_knew_the_connection():
    """The FIN comes late, and the numbers of an ACK before the RST show that it had been sent."""
    closed = "0.050 > . 102:102(0) ack 1001 <ts 104/911>\n"
    reset = "0.060 < P. 1001:1501(500) ack 101 <ts 912/102>\n0.061 > R 101:101(0)\n"
    late = "0.070 > F. 101:101(0) ack 1001 <ts 103/911>\n"
    assert "nat_not_undone" not in {d.cause for d in diagnoses(SPOKE + closed + reset + late)}


def test_what_a_tail_loss_probe_has_shown_to_be_lost_waits_for_no_timer():
    """Its answer tells of the last bytes: what is missing before them is repeated at once (RFC 8985 7.4)."""
    flight = "0.070 > P. 101:201(100) ack 1\n0.080 > P. 201:301(100) ack 1\n0.140 < . 1:1(0) ack 101\n"
    probe = "0.360 > P. 201:301(100) ack 1\n0.410 < . 1:1(0) ack 101 <sack 201:301>\n"
    again = "{0} > P. 101:201(100) ack 1\n{0}9 < . 1:1(0) ack 301\nend 3\n"
    assert "rto_retransmission" not in findings(OPENED + flight + probe + again.format("0.411"))
    assert "fast_retransmission" in findings(OPENED + flight + probe + again.format("0.411"))
    assert "rto_retransmission" in findings(OPENED + flight + probe + again.format("0.811"))


def test_a_receiver_that_is_heard_no_more_may_have_given_room():
    """Its sender goes on, so it has heard it: the ACKs are missing from the capture, and with them the window."""
    narrow = OPENED.replace("ack 1   <mss", "ack 1 win 500 <mss") + "0.110 < . 1:1(0) ack 101 win 500\n"
    beyond = "0.200 > P. 101:1101(1000) ack 1\n"
    on = "0.300 > P. 1101:1201(100) ack 1\n"
    heard = "0.400 < . 1:1(0) ack 101 win 500\nend 3\n"
    assert findings(narrow + beyond + on + heard)["window_overrun"][0] == "medium"
    assert findings(narrow + beyond + on + "end 3\n")["window_overrun"][0] == "low"
