"""What each segment of a conversation is called; see docs/labels.md."""

from __future__ import annotations

import pytest

from tcptrace_fsm.capture.scripted import parse
from tcptrace_fsm.core.engine import Engine
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.kernels.layout import (
    C_ENDPOINTS,
    E_HOLES,
    E_UNIQUE,
    ENDPOINT_SIZE,
    MARK_CAPTURE_DUPLICATE,
    MARK_RST_INEXACT,
    MARK_RST_OUTSIDE,
    MARK_WINDOW_SHRUNK,
    S_MARKS,
    SEGMENT_SIZE,
)
from tcptrace_fsm.tables.labels import LABELS

HANDSHAKE = """
    0.000 > S  0:0(0)
    0.010 < S. 0:0(0)     ack 1
    0.020 > .  1:1(0)     ack 1
    0.030 > P. 1:101(100) ack 1
    0.040 < .  1:1(0)     ack 101
"""


def marks(text: str) -> list[int]:
    """The marks of each segment."""
    engine = Engine(Settings())
    batch = parse(text)
    records = batch.segments

    class Once:
        segments = records
        count = batch.count

    engine.feed(Once())
    return [records[i * SEGMENT_SIZE + S_MARKS] for i in range(batch.count)]


def labels(text: str) -> list[str]:
    """The label of each segment after the handshake."""
    return [next((name for mark, name in LABELS if m >> mark & 1), "") for m in marks(text)][5:]


def client(text: str) -> list[int]:
    """The client's record when the conversation is over."""
    engine = Engine(Settings())
    engine.feed(parse(text))
    engine.finish()
    done = engine.take()
    assert done is not None
    return list(done.connections[C_ENDPOINTS : C_ENDPOINTS + ENDPOINT_SIZE])


CASES = {
    "after a timeout": (
        """
        1.000 > P. 101:201(100) ack 1
        1.230 > P. 101:201(100) ack 1
        """,
        ["", "retransmission"],
    ),
    "after three duplicate ACKs": (
        """
        1.000 > .  101:1101(1000)  ack 1
        1.001 > .  1101:2101(1000) ack 1
        1.002 > .  2101:3101(1000) ack 1
        1.010 < .  1:1(0) ack 101
        1.011 < .  1:1(0) ack 101
        1.012 < .  1:1(0) ack 101
        1.013 > .  101:1101(1000)  ack 1
        """,
        ["", "", "", "duplicate_ack", "duplicate_ack", "duplicate_ack", "fast_retransmission"],
    ),
    "a tail-loss probe": (
        """
        1.000 > P. 101:201(100) ack 1
        1.030 > P. 101:201(100) ack 1
        """,
        ["", "tail_loss_probe"],
    ),
    "already acknowledged": (
        """
        1.000 > P. 101:201(100) ack 1
        1.010 < .  1:1(0)       ack 201
        1.230 > P. 101:201(100) ack 1
        """,
        ["", "", "spurious_retransmission"],
    ),
    "overtaken": (
        """
        1.000 > .  1101:2101(1000) ack 1 id 302
        1.001 > .  101:1101(1000)  ack 1 id 301
        """,
        ["previous_segment_unseen", "out_of_order"],
    ),
    "lost before the capture point": (
        """
        1.000 > .  1101:2101(1000) ack 1
        1.210 > .  101:1101(1000)  ack 1
        """,
        ["previous_segment_unseen", "retransmission"],
    ),
    "a keepalive": (
        """
        60.00 > .  100:100(0) ack 1
        60.01 < .  1:1(0)     ack 101
        """,
        ["keepalive", "keepalive_ack"],
    ),
    "a shut window": (
        """
        1.000 > P. 101:201(100) ack 1
        1.010 < .  1:1(0)       ack 201 win 0
        1.210 > .  200:200(0)   ack 1
        1.220 < .  1:1(0)       ack 201 win 0
        3.000 < .  1:1(0)       ack 201 win 5000
        """,
        ["", "zero_window", "zero_window_probe", "zero_window_probe_ack", "window_update"],
    ),
    "a window that is used up": (
        """
        1.000 > . 101:65635(65534)   ack 1
        1.010 > . 65635:65636(1)     ack 1
        """,
        ["", "window_full"],
    ),
    "an ACK of what was not seen": ("1.000 < . 1:1(0) ack 201", ["ack_of_unseen_segment"]),
    "a FIN again": (
        """
        1.000 > F. 101:101(0) ack 1
        1.230 > F. 101:101(0) ack 1
        """,
        ["", "fin_retransmission"],
    ),
    "an ACK again without data under way": ("1.000 < . 1:1(0) ack 101", [""]),
    "a frame captured twice": (
        """
        1.0000 > P. 101:201(100) ack 1 id 900
        1.0001 > P. 101:201(100) ack 1 id 900
        """,
        ["", "capture_duplicate"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_label(case):
    """Each kind of segment, and what only looks like it."""
    text, expected = CASES[case]
    assert labels(HANDSHAKE + text) == expected


def test_the_same_packet_delivered_twice():
    """The same IP identification and numbers, milliseconds apart: the network's copy, not the sender's."""
    text = """
        1.000 > P. 101:201(100) ack 1 id 900
        1.005 > P. 101:201(100) ack 1 id 900
    """
    assert labels(HANDSHAKE + text) == ["", "network_duplicate"]


def test_duplicate_acks_whose_window_grows():
    """A receiver that tunes its buffer opens its window in each ACK; SACK still tells of the hole (RFC 6675 2)."""
    text = """
        1.000 > .  101:1101(1000)  ack 1
        1.001 > .  1101:2101(1000) ack 1
        1.002 > .  2101:3101(1000) ack 1
        1.003 > .  3101:4101(1000) ack 1
        1.010 < .  1:1(0) ack 101 win 65600 <sack 1101:2101>
        1.011 < .  1:1(0) ack 101 win 65700 <sack 1101:3101>
        1.012 < .  1:1(0) ack 101 win 65800 <sack 1101:4101>
        1.013 > .  101:1101(1000)  ack 1
    """
    assert labels(HANDSHAKE + text)[4:] == [*["duplicate_ack"] * 3, "fast_retransmission"]


def test_second_hole_of_a_recovery():
    """Fast recovery goes on at a partial ACK: what is sent then was asked for by SACK, not by a timer."""
    text = """
        1.000 > .  101:1101(1000)  ack 1
        1.001 > .  1101:2101(1000) ack 1
        1.002 > .  2101:3101(1000) ack 1
        1.003 > .  3101:4101(1000) ack 1
        1.010 < .  1:1(0) ack 101  <sack 3101:4101>
        1.011 > .  101:1101(1000)  ack 1
        1.020 < .  1:1(0) ack 1101 <sack 3101:4101>
        1.021 > .  1101:2101(1000) ack 1
        1.030 < .  1:1(0) ack 4101
    """
    assert labels(HANDSHAKE + text)[7] == "fast_retransmission"


def test_retransmission_on_a_fast_path():
    """The sender numbers its packets: what fills the hole was sent after what left it, so it is a retransmission."""
    text = """
        1.0000 > .  101:1101(1000)  ack 1 id 101
        1.0001 > .  2101:3101(1000) ack 1 id 103
        1.0002 > .  3101:4101(1000) ack 1 id 104
        1.0003 < .  1:1(0) ack 1101 <sack 2101:4101>
        1.0004 > .  1101:2101(1000) ack 1 id 105
    """
    assert labels(HANDSHAKE + text) == ["", "previous_segment_unseen", "", "", "retransmission"]


def test_overtaken_by_its_numbering():
    """... and what fills it with an earlier number was overtaken."""
    text = """
        1.0000 > .  101:1101(1000)  ack 1 id 101
        1.0001 > .  2101:3101(1000) ack 1 id 103
        1.0004 > .  1101:2101(1000) ack 1 id 102
    """
    assert labels(HANDSHAKE + text) == ["", "previous_segment_unseen", "out_of_order"]


def test_capture_duplicates_of_a_server_that_numbers_its_syn_ack_0():
    """Linux sends SYN+ACK with identification 0, and begins anywhere with the next packet."""
    text = """
        0.0000 > S  0:0(0)              id 50
        0.0100 < S. 0:0(0)        ack 1 id 0
        0.0200 > .  1:1(0)        ack 1 id 51
        0.0300 < P. 1:101(100)    ack 1 id 61469
        0.0301 < P. 1:101(100)    ack 1 id 61469
    """
    assert marks(text)[-1] >> MARK_CAPTURE_DUPLICATE & 1


def test_the_window_of_an_old_duplicate_counts_for_nothing():
    """A copy from the past announces a wide window; the next segment does not shrink it."""
    text = """
        0.000 > S  0:0(0)           win 20000 <ts 100/0>
        0.010 < S. 0:0(0)     ack 1           <ts 900/100>
        0.020 > .  1:1(0)     ack 1 win 20000 <ts 110/900>
        0.030 > P. 1:101(100) ack 1 win 20000 <ts 120/900>
        0.040 < .  1:1(0)     ack 101         <ts 930/120>
        0.500 > P. 1:101(100) ack 1 win 60000 <ts 50/900>
        0.600 > P. 101:201(100) ack 1 win 20000 <ts 600/930>
    """
    assert not marks(text)[-1] >> MARK_WINDOW_SHRUNK & 1


def test_an_overtaken_ack_is_no_duplicate():
    """A pure ACK that begins below what its sender has sent is older than that."""
    text = """
        1.0000 < .  1:1001(1000)    ack 101
        1.0001 < .  1001:2001(1000) ack 101
        1.0010 > F. 101:101(0)      ack 1001
        1.0011 > .  101:101(0)      ack 1001
    """
    assert labels(HANDSHAKE + text)[3] == ""


def test_many_holes():
    """Every other segment is lost and sent again: in the end nothing is missing."""
    lost = [(101 + 2000 * i, 1101 + 2000 * i) for i in range(6)]
    lines = [f"1.{i:03} > . {a + 1000}:{b + 1000}(1000) ack 1" for i, (a, b) in enumerate(lost)]
    lines += [f"2.{i}00 > . {a}:{b}(1000) ack 1" for i, (a, b) in enumerate(lost)]
    end = client(HANDSHAKE + "\n".join(lines))
    assert end[E_UNIQUE] == 100 + 12 * 1000
    assert end[E_HOLES] == 0


@pytest.mark.parametrize("flags,again", [("S ", "syn_retransmission"), ("S.", "syn_ack_retransmission")])
def test_syns_again(flags, again):
    """The marks beyond bit 31 are as good as the others."""
    text = """
        0.000 > S  0:0(0)
        0.010 < S. 0:0(0) ack 1
        1.010 < S. 0:0(0) ack 1
    """
    if again == "syn_retransmission":
        text = "0.000 > S 0:0(0)\n1.000 > S 0:0(0)\n"
    mark = next(m for m, name in LABELS if name == again)
    assert marks(text)[-1] >> mark & 1


@pytest.mark.parametrize("seq,mark", [(300, MARK_RST_INEXACT), (900000, MARK_RST_OUTSIDE)])
def test_where_an_rst_lies(seq, mark):
    """Within the window but not at its edge, and outside."""
    assert marks(HANDSHAKE + f"1.000 > R {seq}:{seq}(0)")[-1] >> mark & 1
