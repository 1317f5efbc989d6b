"""What is said of windows: how long they were shut, also where their size is not known."""

from __future__ import annotations

import pytest

from tests.test_anomalies import findings
from tests.tracking import only

RUNNING = """
    0.000 > P. 1:101(100)     ack 1     win 500
    0.010 < .  1:1(0)         ack 101   win 900
    0.020 < P. 1:1001(1000)   ack 101   win 900
    0.030 > .  101:101(0)     ack 1001  win 0
    0.330 < .  1000:1000(0)   ack 101   win 900
    0.340 > .  101:101(0)     ack 1001  win 0
    0.940 < .  1000:1000(0)   ack 101   win 900
    0.950 > .  101:101(0)     ack 1001  win 0
    {}
"""
"""A connection older than the capture, whose client shuts its window."""


def said(text: str, kind: str) -> list[str]:
    """What findings of this kind say of a conversation, each behind its severity."""
    return [f"{f.severity}: {f.message}" for f in findings(text) if f.kind == kind]


@pytest.mark.parametrize(
    "more",
    [
        "3.030 > .  101:101(0) ack 1001 win 400\n 3.040 < P. 1001:2001(1000) ack 101 win 900",
        "3.030 > P. 101:201(100) ack 1001 win 400\n 3.040 < P. 1001:2001(1000) ack 201 win 900",
    ],
)
def test_a_window_of_unknown_size_that_opens_is_open(more):
    """The scale stands in the SYNs, which came before the capture: what is not 0 is open all the same."""
    text = RUNNING.format(more + "\n 30.0 > . 201:201(0) ack 2001 win 400\n end 60")
    (message,) = said(text, "zero_window")
    assert "once, for 3 s (3 segments" in message
    assert not said(text, "zero_window_stall")


def test_a_window_that_stays_shut_is_told_as_such():
    """Up to the end of the capture."""
    (message,) = said(RUNNING.format("end 60"), "zero_window")
    assert "had not opened it again 60 s later" in message
    (message,) = said(RUNNING.format("end 60"), "zero_window_stall")
    assert "for 60 s or longer" in message
    assert "has stopped reading" in message


def test_the_length_of_a_stall_ends_with_the_segment_that_opens_the_window():
    """Not with the last probe, long before."""
    text = RUNNING.format("26.53 > . 101:101(0) ack 1001 win 400\n 26.54 < P. 1001:2001(1000) ack 101 win 900")
    (message,) = said(text, "zero_window_stall")
    assert "for 26.5 s while" in message


def test_two_pauses_are_two():
    """The longest is told."""
    text = RUNNING.format("""1.030 > .  101:101(0)      ack 1001 win 400
        1.040 < P. 1001:2001(1000) ack 101  win 900
        1.050 > .  101:101(0)      ack 2001 win 0
        5.050 > .  101:101(0)      ack 2001 win 400""")
    (message,) = said(text, "zero_window")
    assert "2 times, the longest time for 4 s" in message


def test_what_a_host_writes_as_window_behind_the_peers_fin_is_no_window():
    """Nothing follows a FIN that a window could keep back."""
    text = """
        0.000 > S  0:0(0)
        0.010 < S. 0:0(0)       ack 1
        0.020 > .  1:1(0)       ack 1
        0.030 > P. 1:101(100)   ack 1
        0.040 < F. 1:1(0)       ack 101
        0.050 > .  101:101(0)   ack 2 win 0
        0.060 > F. 101:101(0)   ack 2 win 0
        0.070 < .  2:2(0)       ack 102
    """
    assert not [f.kind for f in findings(text) if "window" in f.kind]


def test_window_updates_of_unknown_size_are_no_duplicate_acks():
    """The field alone tells that the window grew; where it stays, the ACK is a duplicate."""
    text = """
        0.000 < P. 1:1001(1000)    ack 101  win 900
        0.010 > .  101:101(0)      ack 1    win 300
        0.020 > .  101:101(0)      ack 1    win {}
        0.030 > .  101:101(0)      ack 1    win {}
    """
    grown, same = (only(text.format(*w)).end("client", "E_DUPLICATE_ACKS") for w in ((400, 500), (300, 300)))
    assert (grown, same) == (0, 2)


def test_frames_stamped_early_leave_room_for_losses():
    """A capture out of order stamps every other frame early: what happens late in a long connection is still told."""
    lines = ["0 > S 0:0(0)", "0.010 < S. 0:0(0) ack 1", "0.020 > . 1:1(0) ack 1"]
    seq = 1
    for i in range(400):
        late = 1 + i / 100
        lines += [f"{late:.3f} < P. {seq}:{seq + 100}(100) ack 1", f"{late - 0.005:.3f} > . 1:1(0) ack {seq + 100}"]
        seq += 100
    lines += [f"6.0 < P. {seq}:{seq + 100}(100) ack 1", f"6.3 < P. {seq}:{seq + 100}(100) ack 1"]
    lines += [f"6.31 > . 1:1(0) ack {seq + 100}"]
    kinds = {f.kind for f in findings("\n".join(lines))}
    assert "rto_retransmission" in kinds


def test_a_window_that_crosses_the_rst_of_who_waits_is_shut_for_nobody():
    """The connection was over; how long the capture goes on says nothing of it."""
    text = """
        0.000 > S  0:0(0)
        0.010 < S. 0:0(0)    ack 1
        0.020 > .  1:1(0)    ack 1
        0.021 > P. 1:101(100) ack 1
        0.030 > R. 101:101(0) ack 1
        0.031 < .  1:1(0)    ack 101 win 0
        90.00 > .  101:101(0) ack 1
        end 130
    """
    told = [f.message for f in findings(text) if f.kind.startswith("zero_window")]
    assert not any(" s later" in message for message in told)
