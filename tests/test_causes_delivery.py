"""What keeps data from arriving, or slows them: damaged on the way, a scale that was taken out of an answer."""

from __future__ import annotations

import pytest

from tests.test_causes import diagnoses
from tests.test_causes_leaving import loud

pytestmark = pytest.mark.plain

OPENED = """
    0.000 > S  0:0(0)         <mss 1460,scale 7>
    0.020 < S. 0:0(0)   ack 1 win 29200 <mss 1460{scale}>
    0.021 > .  1:1(0)   ack 1 win 500
"""


@pytest.mark.parametrize("before", [0, 200])
def test_data_that_never_once_arrived_whole(before):
    """Nothing that is damaged counts as sent; it is repeated all the same, and never acknowledged."""
    text = OPENED.format(scale=",scale 7")
    if before:
        text += f"0.03 > P. 1:{1 + before}({before}) ack 1 win 500\n0.05 < . 1:1(0) ack {1 + before} win 500\n"
    for n in range(4):
        text += f"0.06{n} > . {1 + before + 1448 * n}:{1449 + before + 1448 * n}(1448) ack 1 win 500 bad\n"
    for time in (0.3, 0.8, 1.7, 3.5, 7.1, 14.3):
        text += f"{time} > . {1 + before}:{1449 + before}(1448) ack 1 win 500 bad\n"
    text += "end 20\n"
    assert loud(text) == [("damaged_in_path", "high")]


@pytest.mark.parametrize(("window", "said"), [(228, "window_scale_broken"), (28000, None)])
def test_a_scale_that_was_taken_out_of_the_answer(window, said):
    """The first flight fits the window of the SYN+ACK; then each segment fills one that is a small part of it."""
    text = OPENED.format(scale="")
    text += "".join(f"0.022 > . {1 + 1448 * n}:{1449 + 1448 * n}(1448) ack 1 win 500\n" for n in range(10))
    text += "".join(f"0.042 < . 1:1(0) ack {1449 + 1448 * n} win {window}\n" for n in range(10))
    size = min(window, 1448)
    for n in range(120):
        begins = 14481 + size * n
        text += f"{0.043 + 0.02 * n:.3f} > P. {begins}:{begins + size}({size}) ack 1 win 500\n"
        text += f"{0.062 + 0.02 * n:.3f} < . 1:1(0) ack {begins + size} win {window}\n"
    assert [cause for cause, _ in loud(text)] == ([said] if said else [])


@pytest.mark.parametrize("end", ["", "end 40\n"])
def test_a_window_that_is_shut_when_the_capture_ends(end):
    """Whether it ends with the answer to a probe, or later."""
    text = OPENED.format(scale="") + "0.022 > P. 1:29201(29200) ack 1 win 500\n0.042 < . 1:1(0) ack 29201 win 0\n"
    for time in (0.3, 0.8, 1.7, 3.5, 7.1, 14.3, 28.7):
        text += f"{time} > . 29200:29200(0) ack 1 win 500\n{time + 0.02} < . 1:1(0) ack 29201 win 0\n"
    found = diagnoses(text + end)[0]
    assert found.cause == "receiver_slow"
    assert found.message.endswith("and still is when the capture ends")
    assert found.evidence_against == ()
