"""Captures of strangers that hold a part of what happened: begun inside, filtered, of one direction."""

from __future__ import annotations

import pytest

from tcptrace_fsm.capture.scripted import parse
from tests.strategies import run
from tests.test_causes import diagnoses
from tests.test_foreign_captures import OPEN, causes, severities
from tests.test_surveys import findings as surveyed

pytestmark = pytest.mark.plain

INSIDE = """
    1.000 > .  1:1001(1000)         ack 1   # old: it is repeated
    1.010 < .  1:1(0)               ack 5001
    1.011 > .  20001:21001(1000)    ack 1
    1.012 > .  21001:22001(1000)    ack 1
    1.021 < .  1:1(0)               ack 5001
    1.022 < .  1:1(0)               ack 5001
    1.030 > .  5001:6001(1000)      ack 1
    1.040 < .  1:1(0)               ack 9001
    1.041 > .  9001:10001(1000)     ack 1
    1.051 < .  1:1(0)               ack 12001
    1.052 > .  12001:13001(1000)    ack 1
    1.062 < .  1:1(0)               ack 15001
    1.063 > .  15001:16001(1000)    ack 1
    1.073 < .  1:1(0)               ack 22001
"""


def test_what_was_sent_before_the_capture_began_was_not_lost_before_it():
    """Its first copy may have passed there, when nobody looked."""
    assert "lost_before_v" not in severities(INSIDE)
    assert "path_loss" not in causes(INSIDE)
    begun = "0.9 > S 0:0(0)\n0.91 < S. 0:0(0) ack 1\n0.92 > . 1:1(0) ack 1\n" + INSIDE
    assert "lost_before_v" in severities(begun)


def test_of_one_direction_alone_nothing_tells_why_it_repeats():
    """Its peer may refuse what comes, as one whose accept queue is full."""
    again = "".join(f"{at} > P. 101:201(100) ack 1\n" for at in (1.0, 1.3, 1.9, 3.1, 5.5, 10.3))
    answered = "10.31 < . 1:1(0) ack 201\n"
    alone = "\n".join(line for line in OPEN.splitlines() if "<" not in line.split("id")[0]) + "\n" + again
    assert [d.severity for d in diagnoses(OPEN + again + answered) if d.cause == "path_loss"] == ["medium"]
    assert [d.severity for d in diagnoses(alone) if d.cause == "path_loss"] in ([], ["low"])


def test_where_a_filter_leaves_acks_out_no_path_is_broken():
    """What was repeated may have been answered each time."""
    again = "".join(f"{at} > P. 101:201(100) ack 1\n" for at in (1.0, 1.3, 1.9, 3.1, 5.5, 10.3))
    last = "20.0 < R. 1:1(0) ack 101\n"
    filtered = OPEN.replace("0.011 > .  1:1(0)       ack 1   id 102\n", "") + again + last
    assert severities(OPEN + again + last)["rexmit_backoff_chain"] == "high"
    assert severities(filtered)["rexmit_backoff_chain"] == "low"


def test_where_the_answer_to_a_syn_is_missing_another_answer_may_be():
    """The connection opened, so there was one."""
    asked = """
        0.000 > S  0:0(0)
        0.010 < S. 0:0(0)       ack 1
        0.011 > .  1:1(0)       ack 1
        5.000 > P. 1:501(500)   ack 1
        5.020 < .  1:1(0)       ack 501
        40.00 > F. 501:501(0)   ack 1
    """
    assert "request_unanswered" in causes(asked)
    assert "request_unanswered" not in causes(asked.replace("0.010 < S.", "#"))


def test_a_copy_behind_a_router_is_known_by_its_number_though_numbers_are_drawn_by_chance():
    """Some systems draw the identification of each packet at random: it goes back as often as on."""
    fins = "".join(
        f"{at:.2f} > F. 101:101(0) ack 1 id {n} ttl 64\n{at:.2f}2 > F. 101:101(0) ack 1 id {n} ttl 63\n"
        for at, n in ((1, 1131), (2.2, 52275), (4.6, 5449), (9.4, 16523), (19, 57997), (38.2, 12768))
    )
    first = OPEN.replace("> S  0:0(0)               id 101", "> S  0:0(0)               id 101 ttl 64")
    (connection,) = run(parse(first + fins)).connections
    assert connection.end("client", "E_FINS") == 6


def test_a_repetition_a_second_later_was_sent_again_though_it_kept_its_number():
    """Some systems build a packet once."""
    text = OPEN + "1.0 > P. 101:201(100) ack 1 id 104\n2.0 > P. 101:201(100) ack 1 id 104\n2.1 < . 1:1(0) ack 201"
    (connection,) = run(parse(text)).connections
    assert connection.end("client", "E_RETRANSMITTED") == 1


def test_what_a_receiver_drops_for_its_timestamp_may_stand_twice_in_the_capture():
    """Its timestamp is older than those before, and the same in both."""
    old = "".join(
        f"{at} > P. 101:201(100) ack 1 id {n} <ts {ts}/7000>\n"
        for at, n, ts in (
            *(("1.0000", 104, 400), ("1.0005", 104, 400), ("1.3000", 105, 700), ("1.3005", 105, 700)),
            *(("1.9000", 106, 1300), ("1.9005", 106, 1300)),
        )
    )
    stamped = """
        0.000 > S  0:0(0)               id 101 <mss 1460,ts 900000/0>
        0.010 < S. 0:0(0)       ack 1   id 501 <mss 1460,ts 7000/900000>
        0.011 > .  1:1(0)       ack 1   id 102 <ts 900011/7000>
        0.012 > P. 1:101(100)   ack 1   id 103 <ts 900012/7000>
        0.030 < .  1:1(0)       ack 101 id 502 <ts 7020/900012>
    """
    (connection,) = run(parse(stamped + old)).connections
    assert connection.end("client", "E_SEGMENTS") == 6


def test_of_a_connection_begun_inside_no_window_is_known():
    """A shut one is; when it opens, nobody knows how far."""
    inside = """
        0.000 > .  1:1(0)               ack 1
        0.046 > .  14481:15929(1448)    ack 1
        0.057 < .  1:1(0)               ack 14481 win 0
        0.060 > P. 30409:31857(1448)    ack 1
        0.832 > .  14481:15929(1448)    ack 1
        1.006 > .  41993:43441(1448)    ack 1
    """
    assert "out_of_window_segment" not in severities(inside)
    begun = "0.0 > S 0:0(0) <mss 1460>\n0.01 < S. 0:0(0) ack 1 <mss 1460>\n0.02 > . 1:1(0) ack 1\n"
    far = "1.000 > P. 900101:900201(100) ack 1\n1.010 < . 1:1(0) ack 101\n"
    assert "out_of_window_segment" in severities(begun + "0.1 > P. 1:101(100) ack 1\n0.11 < . 1:1(0) ack 101\n" + far)


def idle(*, answered: bool) -> str:
    """An ACK to each of twenty ports of one host; of nobody, or with resets."""
    text = ""
    for i in range(20):
        text += f"port 50000 {6000 + i}\n{i / 10:.2f} > . 0:0(0) ack 0\n"
        text += f"{i / 10 + 0.01:.2f} < R 0:0(0)\n" if answered else ""
    return text


@pytest.mark.parametrize("answered, weighs", [(True, ["medium"]), (False, ["low"])])
def test_acks_that_nobody_answers_may_be_of_connections_that_lie_idle(answered, weighs):
    """The capture may have one direction of them."""
    assert [f.severity for f in surveyed(idle(answered=answered), "ack_scan")] == weighs


LATE_ACK = (
    OPEN
    + """
    1.000 > P. 101:201(100) ack 1   id 104
    1.230 > P. 101:201(100) ack 1   id 105
    1.240 < .  1:1(0)       ack 201 id 503{}
"""
)


def test_a_timeout_that_only_a_late_ack_let_run_out_lost_nothing():
    """The receiver reports that it had the data."""
    assert severities(LATE_ACK.format(""))["rto_retransmission"] == "medium"
    assert severities(LATE_ACK.format(" <sack 101:201>"))["rto_retransmission"] == "low"
