"""Waits that what does not pass the capture point explains: packets that are missing by number, windows taken back."""

from __future__ import annotations

import pytest

from tests.waiting import Told

EXCHANGES = "".join(
    f"""
    3.{n}00 > P. {1 + 10 * n}:{11 + 10 * n}(10) ack {1 + 10 * n} win 65535 id {10 + 2 * n}
    3.{n}10 < P. {1 + 10 * n}:{11 + 10 * n}(10) ack {11 + 10 * n} win 65535 id {50 + n}
    3.{n}11 > .  {11 + 10 * n}:{11 + 10 * n}(0) ack {11 + 10 * n} win 65535 id {11 + 2 * n}
"""
    for n in range(4)
)
"""Both ends number their packets one by one; the client's last packet is 17, the server's 53."""


@pytest.mark.parametrize(
    ("number", "at", "party"),
    [
        (19, 3.8, "client retransmission"),
        (18, 3.8, "client application"),
        (19, 8.8, "client application"),
        (700, 3.8, "client application"),
    ],
    ids=["a packet is missing", "none is", "a timer is not so slow", "another counter's"],
)
def test_the_second_half_of_a_request_comes_late(number, at, party):
    """The first copy of it was lost before it came here where its sender's numbers skip one, and a timer fits."""
    told = Told(
        EXCHANGES
        + f"""
        3.400 > P. 41:51(10) ack 41 win 65535 id 18
        3.410 < .  41:41(0)  ack 51 win 65535 id 54
        {at} > P. 51:61(10) ack 41 win 65535 id {number + 1}
        {at + 0.01} < P. 41:51(10) ack 61 win 65535 id 55
        """
    )
    assert told.times[party] >= at - 3.41
    assert ("client retransmission" in told.times) == (party == "client retransmission")


@pytest.mark.parametrize(("skipped", "party"), [(0, "application"), (1, "application"), (3, "retransmission")])
def test_an_answer_comes_three_seconds_late(skipped, party):
    """Three copies of it were lost before, as timers that double send them: the server had answered at once."""
    told = Told(
        EXCHANGES
        + f"""
        3.400 > P. 41:51(10) ack 41 win 65535 id 18
        3.410 < .  41:41(0)  ack 51 win 65535 id 54
        6.410 < P. 41:51(10) ack 51 win 65535 id {55 + skipped}
        6.411 > .  51:51(0)  ack 51 win 65535 id 19
        """
    )
    assert told.times[f"server {party}"] == pytest.approx(3.0, abs=0.02)
    assert (told["C_RESPONSE_MAX"] < 10**9) == (party == "retransmission")


def test_a_pure_ack_that_is_missing_is_no_data():
    """It had something to acknowledge: what is missing may be that."""
    talk = EXCHANGES.replace("    3.311 > .  41:41(0) ack 41 win 65535 id 17\n", "")
    told = Told(talk + "3.711 > P. 41:51(10) ack 41 win 65535 id 18\n3.721 < P. 41:51(10) ack 51 win 65535 id 54")
    assert "client retransmission" not in told.times


def test_a_window_that_was_taken_back_has_no_more_room_than_it_says():
    """A scale that nobody granted: from 65,535 bytes to 500, and a timer of the sender for each small segment."""
    text = "0.100 > P. 1:101(100) ack 1 win 65535\n0.110 < . 1:1(0) ack 101 win 500\n"
    for n in range(6):
        at, seq = 0.35 + 0.25 * n, 101 + 500 * n
        text += f"{at:.3f} > P. {seq}:{seq + 500}(500) ack 1 win 65535\n"
        text += f"{at + 0.01:.3f} < . 1:1(0) ack {seq + 500} win 500\n"
    told = Told(text)
    assert told.longest[0] == "server window"
    assert told.times["server window"] > 1.2
