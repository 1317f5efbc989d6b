"""Answers that come when the client has given up: the server is slow; what only looks like it is not."""

from __future__ import annotations

import pytest

from tests.test_causes_leaving import loud

OPENED = """
    0.000 > S  0:0(0)
    0.001 < S. 0:0(0)    ack 1
    0.002 > .  1:1(0)    ack 1
    0.003 > P. 1:301(300) ack 1
"""
ASKED = OPENED + "0.004 < . 1:1(0) ack 301\n"
BEFORE = """
    0.000 > S  0:0(0)
    0.001 < S. 0:0(0)    ack 1
    0.002 > .  1:1(0)    ack 1
""" + "".join(
    f"0.{n}03 > P. {300 * n - 299}:{300 * n + 1}(300) ack {500 * n - 499}\n"
    f"0.{n}13 < P. {500 * n - 499}:{500 * n + 1}(500) ack {300 * n + 1}\n"
    for n in (1, 2, 3)
)

SLOW = {
    "a client that closes after 30 s, and is answered 15 s later": ASKED
    + "30.003 > F. 301:301(0) ack 1\n30.004 < . 1:1(0) ack 302\n"
    + "45.0 < P. 1:1001(1000) ack 302\n45.001 > R 302:302(0)\n",
    "the same, by RST": ASKED + "10.003 > R. 301:301(0) ack 1\n12.0 < P. 1:301(300) ack 301\n12.001 > R 301:301(0)\n",
    "a time-out that began with the connection": ASKED
    + "5.000 > F. 301:301(0) ack 1\n5.001 < . 1:1(0) ack 302\n7.7 < FP. 1:1001(1000) ack 302\n7.701 > R 302:302(0)\n",
    "the fourth request, where the others were answered at once": BEFORE
    + "0.503 > P. 901:1201(300) ack 1501\n0.504 < . 1501:1501(0) ack 1201\n"
    + "20.503 > F. 1201:1201(0) ack 1501\n20.504 < . 1501:1501(0) ack 1202\n"
    + "23.0 < P. 1501:2001(500) ack 1202\n23.001 > R 1202:1202(0)\n",
}
OTHERS = {
    "an answer that crosses the close": ASKED
    + "30.003 > F. 301:301(0) ack 1\n30.0035 < P. 1:1001(1000) ack 301\n30.004 > R 302:302(0)\n",
    "a poll that somebody leaves, and an event behind it": ASKED
    + "17.457 > F. 301:301(0) ack 1\n17.458 < . 1:1(0) ack 302\n45.0 < P. 1:301(300) ack 302\n45.001 > R 302:302(0)\n",
    "a page that somebody leaves a moment before a second is over, and what comes then": ASKED
    + "12.996 > F. 301:301(0) ack 1\n12.997 < . 1:1(0) ack 302\n"
    + "27.0 < P. 1:1401(1400) ack 302\n27.001 > R 302:302(0)\n",
    "an answer before, and a farewell behind the close": ASKED
    + "0.1 < P. 1:1001(1000) ack 301\n0.101 > . 301:301(0) ack 1001\n"
    + "30.101 > F. 301:301(0) ack 1001\n30.102 < . 1001:1001(0) ack 302\n"
    + "31.0 < FP. 1001:1032(31) ack 302\n31.001 > R 302:302(0)\n",
    "a request that is not acknowledged": OPENED
    + "0.203 > P. 1:301(300) ack 1\n0.603 > P. 1:301(300) ack 1\n1.403 > P. 1:301(300) ack 1\n"
    + "3.003 > F. 301:301(0) ack 1\n9.0 < P. 1:1001(1000) ack 302\n9.001 > R 302:302(0)\n",
    "what takes as long each time": ASKED
    + "".join(
        f"{8 * n:.3f} < P. {500 * n - 499}:{500 * n + 1}(500) ack {300 * n + 1}\n"
        f"{8 * n + 0.002:.3f} > P. {300 * n + 1}:{300 * n + 301}(300) ack {500 * n + 1}\n"
        f"{8 * n + 0.003:.3f} < . {500 * n + 1}:{500 * n + 1}(0) ack {300 * n + 301}\n"
        for n in (1, 2, 3)
    )
    + "29.002 > F. 1201:1201(0) ack 1501\n29.003 < . 1501:1501(0) ack 1202\n"
    + "32.0 < P. 1501:2001(500) ack 1202\n32.001 > R 1202:1202(0)\n",
}


@pytest.mark.parametrize("what", SLOW)
def test_who_gave_up_was_not_answered_in_time(what):
    """Nothing else is said above low: that data met a closed socket follows from it."""
    assert [cause for cause, _ in loud(SLOW[what])] == ["server_slow"]


@pytest.mark.parametrize("what", OTHERS)
def test_what_looks_like_it(what):
    assert not [message for cause, message in loud(OTHERS[what]) if cause == "server_slow" and "gave up" in message]


def test_a_capture_whose_stamps_are_all_zero():
    """There is a first moment, at least; nothing else says since when somebody has waited."""
    still = "".join(
        f"0.000 {line.split(None, 1)[1]}\n" for line in SLOW["the same, by RST"].split("\n") if line.strip()
    )
    assert loud(still) == []
