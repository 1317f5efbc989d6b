"""What recordings of two Linux kernels showed that no rule had told, or told otherwise, each with its look-alikes."""

from __future__ import annotations

import pytest

from tcptrace_fsm.capture.scripted import parse
from tcptrace_fsm.causes.floods import CAUSES
from tcptrace_fsm.kernels import layout as at
from tcptrace_fsm.tcp.profiles import AUTO
from tests.courses import FAR
from tests.strategies import run
from tests.test_causes import diagnoses
from tests.test_fingerprint import LINUX
from tests.test_foreign_captures import causes, severities
from tests.test_minisockets import HALF_CLOSED

pytestmark = pytest.mark.plain

SYNS = """
    0.000 > S  0:0(0)               id 101 <mss 1460>
    0.010 < S. 0:0(0)       ack 1   id 0   <mss 1460>
"""
COUNTED = """
    0.130 < .  1:1(0)       ack 101 id 501
    0.140 > P. 101:201(100) ack 1   id 104
    0.150 < .  1:1(0)       ack 201 id 502
    0.160 > P. 201:301(100) ack 1   id 105
    0.170 < .  1:1(0)       ack 301 id 503
"""
SIX = """
    0.000 > S  0:0(0)               id -1 <mss 1440>
    0.010 < S. 0:0(0)       ack 1   id -1 <mss 1440>
"""
ONE_AFTER_ANOTHER = """
    {0:.3f} < .  1:1(0)       ack 101 id -1
    {1:.3f} < P. 1:101(100)   ack 101 id -1
    {2:.3f} > .  101:101(0)   ack 101 id -1
"""
ENDED = """
    0.000 > S  0:0(0)               id 101 <ts 100/0>
    0.010 < S. 0:0(0)       ack 1   id 501 <ts 900/100>
    0.020 > .  1:1(0)       ack 1   id 102 <ts 120/900>
    0.100 < F. 1:1(0)       ack 1   id 502 <ts 1000/120>
    0.110 > .  1:1(0)       ack 2   id 103 <ts 210/1000>
    0.200 > F. 1:1(0)       ack 2   id 104 <ts 300/1000>
    0.210 < .  2:2(0)       ack 2   id 503 <ts 1110/300>
"""
HOLES = "".join(f"0.15{i} > . {101 + 1000 * i}:{1101 + 1000 * i}(1000) ack 1 id {109 + i}\n" for i in range(6))
REORDERED = (
    """
    0.000 > S  0:0(0)                id 101
    0.010 < S. 0:0(0)        ack 1
    0.020 > .  1:1(0)        ack 1   id 102
    0.030 > P. 1:101(100)    ack 1   id 103
    0.040 < .  1:1(0)        ack 101
    0.100 > .  6101:7101(1000) ack 1 id 106
    0.101 < .  1:1(0)        ack 101 <sack 6101 7101>
    0.102 > .  7101:8101(1000) ack 1 id 107
    0.103 < .  1:1(0)        ack 101 <sack 6101 8101>
    0.104 > .  8101:9101(1000) ack 1 id 108
    0.105 < .  1:1(0)        ack 101 <sack 6101 9101>
"""
    + HOLES
    + "0.157 < . 1:1(0) ack 9101\n"
)
LATE = "".join(f"0.16{i} > . {101 + 1000 * i}:{1101 + 1000 * i}(1000) ack 1 id {104 + i}\n" for i in range(2))
QUEUE = """
    0.000 > S  0:0(0)       id 101
    0.010 < S. 0:0(0)       ack 1
    0.020 > .  1:1(0)       ack 1 id 102
    1.010 < S. 0:0(0)       ack 1
    1.020 > .  1:1(0)       ack 1 id 103
"""
TIMED = """
    0.000 > S  0:0(0)             <ts 5000/0>
    0.010 < S. 0:0(0)     ack 1   <ts 900/5000>
    0.020 > .  1:1(0)     ack 1   <ts 5010/900>
    0.030 > P. 1:101(100) ack 1   <ts 5020/900>
    0.040 < .  1:1(0)     ack 101 <ts 930/5020>
"""

ROWS = {
    # --- the ACK that completes a handshake did not pass here ---
    "its_number_is_skipped": (
        SYNS + "0.120 > P. 1:101(100) ack 1 id 103" + COUNTED,
        {"third_ack_lost": "low"},
    ),
    "it_came_with_the_data": (
        SYNS
        + "0.120 > P. 1:101(100) ack 1 id 102"
        + COUNTED.replace("id 105", "id 104").replace("id 104", "id 103", 1),
        {},
    ),
    "its_host_draws_numbers": (
        SYNS
        + "0.120 > P. 1:101(100) ack 1 id 103\n0.130 < . 1:1(0) ack 101 id 501\n0.140 > F. 101:101(0) ack 1 id 9000",
        {},
    ),
    "no_ack_is_held_back_for_so_long": (
        SIX + "0.700 > P. 1:101(100) ack 1 id -1" + ONE_AFTER_ANOTHER.format(0.701, 0.702, 0.712),
        {"third_ack_lost": "low"},
    ),
    "it_was_held_back": (
        SIX + "0.450 > P. 1:101(100) ack 1 id -1" + ONE_AFTER_ANOTHER.format(0.451, 0.452, 0.462),
        {},
    ),
    "the_way_is_as_long": (
        SIX + "0.700 > P. 1:101(100) ack 1 id -1" + ONE_AFTER_ANOTHER.format(0.701, 0.702, 1.352),
        {},
    ),
    # --- a way here that reorders ---
    "overtaken_not_lost": (REORDERED + LATE + "end 1", {"lost_before_v": "low"}),
    "lost_and_sent_again": (REORDERED + "end 1", {"lost_before_v": "medium"}),
    # --- a full accept queue ---
    "two_acks_were_ignored": (
        QUEUE
        + "3.010 < S. 0:0(0) ack 1\n3.020 > . 1:1(0) ack 1\n4.000 > P. 1:101(100) ack 1\n4.010 < . 1:1(0) ack 101",
        {"accept_queue_overflow_suspected": "low", "synack_retransmission": "low"},
    ),
    # --- a copy of the SYN meets TIME_WAIT ---
    "a_late_copy_of_the_syn_is_answered": (
        ENDED + "0.900 > S 0:0(0) id 101 <ts 100/0>\n0.910 < . 2:2(0) ack 2 id 504 <ts 1810/300>\n0.920 > R 2:2(0)",
        {"syn_answered_by_ack": "low", "time_wait_assassination": "low"},
    ),
    "the_capture_repeats_the_syn": (
        ENDED + "0.900 > S 0:0(0) id 101 <ts 100/0>\n0.910 < S. 0:0(0) ack 1 id 501 <ts 900/100>",
        {},
    ),
    "a_new_syn_is_no_copy": (
        ENDED + "isn 900000 7\n0.900 > S 0:0(0) id 9 <ts 900/0>\nisn 1000 5000\n"
        "0.895 < . 2:2(0) ack 2 id 504 <ts 1810/300>\n0.920 > R 2:2(0)",
        {},
    ),
    # --- a FIN_WAIT_2 that was never kept ---
    "no_timer_runs_out_so_soon": (
        SYNS + "0.020 > F. 1:1(0) ack 1\n0.030 < . 1:1(0) ack 2\n0.300 < F. 1:1(0) ack 2\n0.301 > R 2:2(0)",
        {"rst_after_fin_wait_2_timeout": "low"},
    ),
    # --- timestamps from before the connection ---
    "older_than_the_syn": (
        TIMED + "1.000 > P. 101:201(100) ack 1 <ts 50/930>\n2.000 > P. 101:301(200) ack 1 <ts 7000/930>\n"
        "2.010 < . 1:1(0) ack 301 <ts 2900/7000>",
        {"paws_reject_expected": "medium"},
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_it_is_told(name):
    """Of the kinds that the rows are about, just these are told."""
    text, wanted = ROWS[name]
    about = {kind for _, kinds in ROWS.values() for kind in kinds} | {"defer_accept_suspected"}
    assert {kind: weight for kind, weight in severities(text).items() if kind in about} == wanted


@pytest.mark.parametrize("taken, wanted", [(False, {"bad_checksum": "low"}), (True, {})])
def test_a_wrong_sum_among_those_left_to_the_card(taken, wanted):
    """It was damaged, unless its receiver takes it: then sums say nothing here."""
    later = "0.040 < . 1:1(0) ack 101" if taken else "0.300 > P. 1:301(300) ack 1\n0.310 < . 1:1(0) ack 301"
    words = parse(SYNS + "0.020 > . 1:1(0) ack 1\n0.030 > P. 1:101(100) ack 1 bad\n" + later).segments
    for s in range(0, len(words), at.SEGMENT_SIZE):
        if words[s + at.S_CHECKSUM] == at.CHECKSUM_GOOD:
            words[s + at.S_CHECKSUM] = at.CHECKSUM_OFFLOADED
    told = {f.kind: f.severity for f in run(words, rules=True).findings if f.kind == "bad_checksum"}
    assert told == wanted


def test_a_filter_on_flags_shows_no_flood():
    """Where another client closes and has sent no ACK, those of whoever seems to go no further are left out too."""
    flood = next(cause.example for cause in CAUSES if cause.name == "syn_flood")
    assert "syn_flood" in causes(flood)
    closed = """
        addr 10.9.0.1 10.0.0.2
        0.000 > S  0:0(0)
        0.010 < S. 0:0(0)     ack 1
        0.100 > F. 101:101(0) ack 201
        0.110 < F. 201:201(0) ack 102
    """
    assert "syn_flood" not in causes(closed + flood)


@pytest.mark.parametrize("same, count", [(True, 1), (False, 2)])
def test_a_connection_seen_on_both_sides_of_a_box_counts_once(same, count):
    """It has the same sequence numbers at the same moment."""
    opened = """
        isn {0} {1}
        addr 10.0.0.{2} 10.0.0.9
        {3:.4f} > S  0:0(0)
        {3:.4f}1 < S. 0:0(0)     ack 1
        {3:.4f}2 > .  1:1(0)     ack 1
        {3:.4f}3 > P. 1:101(100) ack 1
        {4:.4f} < .  1:1(0)     ack 101
        {5:.4f} < P. 1:101(100) ack 101
        {5:.4f}1 > .  101:101(0) ack 101
    """
    other = (1000, 2000) if same else (5000, 6000)
    text = opened.format(1000, 2000, 1, 0.0, 0.1, 9.0) + opened.format(*other, 2, 0.001, 0.101, 9.001) + "end 12"
    slow = [d for d in diagnoses(text) if d.cause == "server_slow"]
    assert [d.count for d in slow] == [count]


@pytest.mark.parametrize(
    "told, segment",
    [
        ("window of 10.0.0.1:40000 but 500 bytes off its edge", "1.0 < R 501:501(0)\n1.001 > . 101:101(0) ack 1"),
        ("window of 10.0.0.1:40000, at least 4,999,000 bytes beyond its edge", "1.0 < R 5000001:5000001(0)"),
    ],
)
def test_how_far_off_a_reset_is_counts_from_where_its_receiver_stood_then(told, segment):
    """And not from where it stands at the end; not each ACK is kept, so that may be known by bounds only."""
    opened = SYNS + "0.020 > . 1:1(0) ack 1\n0.030 > P. 1:101(100) ack 1\n0.040 < . 1:1(0) ack 101\n"
    later = "\n2.0 < P. 1:1001(1000) ack 101\n2.1 > P. 101:201(100) ack 1001\n2.2 < . 1001:1001(0) ack 201"
    found = run(parse(opened + segment + later), rules=True).findings
    assert any(told in f.message for f in found), [f.message for f in found]


def test_how_far_an_ack_lies_below_the_syn_is_not_known():
    """It may be the ACK of another connection."""
    text = """
        isn 3000000000 7
        0.000 > S  0:0(0)
        0.010 < S. 0:0(0)  ack -1000000
        0.020 > R  -1000000:-1000000(0)
        1.000 > S  0:0(0)
        1.010 < S. 0:0(0)  ack 1
    """
    (message,) = [f.message for f in run(parse(text), rules=True).findings if f.kind == "synack_bad_ack"]
    assert " acknowledges less than the SYN of " in message


def test_where_no_time_wait_was_kept_the_last_ack_was_lost_too():
    """The FIN comes again, and meets nobody."""
    opened = FAR.format(client=LINUX.format(ecr=0), server=LINUX.format(ecr=100))
    done = run(opened + HALF_CLOSED.format(106) + "1.740 > R 102:102(0) id 0\nend 3", profile=AUTO, rules=True)
    assert done.connections[0].of("client")[-1].source == "FIN_WAIT_2"
    assert {"last_ack_lost", "rst_after_time_wait_loss"} <= {f.kind for f in done.findings}
