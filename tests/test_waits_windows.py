"""Waits for windows, and what limits a transfer."""

from __future__ import annotations

import numpy as np
import pytest

from tcptrace_fsm.kernels import layout as at
from tcptrace_fsm.tables.connections import LIMITED_BY
from tcptrace_fsm.tables.limits import limited_by
from tests.strategies import run
from tests.waiting import OPEN, REQUEST, Told

# --- windows ----------------------------------------------------------------------------------------------------------


SHUT = """
    0.100 > P. 1:101(100)    ack 1    win 1000
    0.110 < .  1:1001(1000)  ack 101  win 65535
    0.110 > .  101:101(0)    ack 1001 win 0
"""


def test_a_shut_window_is_its_owners_probes_and_all():
    told = Told(
        SHUT
        + """
        0.500 < .  1000:1000(0)  ack 101  win 65535
        0.500 > .  101:101(0)    ack 1001 win 0
        1.300 < .  1000:1000(0)  ack 101  win 65535
        1.300 > .  101:101(0)    ack 1001 win 0
        2.110 > .  101:101(0)    ack 1001 win 5000
        2.120 < .  1001:2001(1000) ack 101 win 65535
        """
    )
    assert told.longest == ("client window", pytest.approx(2.0))


@pytest.mark.parametrize("late", [0.13, 1.6])
def test_what_a_shut_window_refused_waits_for_the_window_and_then_for_the_timer(late):
    """Its owner takes back what it had announced; when there is room again, the sender's timer is waited for.

    That is a consequence: the longest wait is the window's, however long the timer takes.
    """
    told = Told(
        f"""
        0.100 > P. 1:1001(1000)     ack 1    win 65535
        0.110 < .  1:1(0)           ack 1001 win 2000
        0.120 > P. 1001:3001(2000)  ack 1    win 65535
        0.130 < .  1:1(0)           ack 1001 win 0
        0.430 > .  1001:2001(1000)  ack 1    win 65535
        0.440 < .  1:1(0)           ack 1001 win 0
        0.900 < .  1:1(0)           ack 1001 win 5000
        {0.9 + late:.3f} > .  1001:2001(1000)  ack 1    win 65535
        {0.91 + late:.3f} < .  1:1(0)           ack 3001 win 5000
        """
    )
    assert told.times["server window"] == pytest.approx(0.77, abs=0.02)
    assert told.times["client retransmission"] == pytest.approx(late)
    assert told.longest == ("server window", pytest.approx(0.77, abs=0.02))


def test_an_update_too_small_for_a_segment_opens_no_window():
    told = Told(
        """
        0.100 > P. 1:1001(1000)     ack 1    win 65535
        0.110 < .  1:1(0)           ack 1001 win 2000
        0.120 > P. 1001:3001(2000)  ack 1    win 65535
        0.130 < .  1:1(0)           ack 1001 win 0
        0.900 < .  1:1(0)           ack 1001 win 500
        1.900 > .  1001:1501(500)   ack 1    win 65535
        1.910 < .  1:1(0)           ack 1501 win 5000
        """
    )
    assert told.times.get("client retransmission", 0) < 0.02
    assert told.times["server window"] == pytest.approx(1.77, abs=0.02)


def test_a_fin_that_is_lost_after_both_have_closed_is_nobodys_longest_wait():
    told = Told(
        REQUEST
        + """
        0.160 < P. 1:501(500)    ack 101  win 65535
        0.170 > F. 101:101(0)    ack 501  win 65535
        0.180 < F. 501:501(0)    ack 102  win 65535
        0.480 < F. 501:501(0)    ack 102  win 65535
        0.490 > .  102:102(0)    ack 502  win 65535
        """
    )
    assert told.longest == ("client application", pytest.approx(0.09, abs=0.011))
    assert told.times["client close"] == pytest.approx(0.31, abs=0.02)


# --- what limits a transfer -------------------------------------------------------------------------------------------


def limits_of(text, window=65535):
    """What is said of the client's and of the server's direction; the server's window is so wide from the start."""
    words = run(OPEN.replace("< S. 0:0(0)   ack 1  win 65535", f"< S. 0:0(0) ack 1 win {window}") + text)
    words = words.connections[0].words
    rows = {i: np.array([w]) for i, w in enumerate(words)}
    return tuple(LIMITED_BY[int(limited_by(rows, side)[0])] for side in (0, 1))


def upload(*, window=65535, pause=0.0, flights=10, lose=0):
    """Flights of four segments from the client, the server 20 ms away; each waits for the ACK of the one before."""
    lines, at, seq = [], 0.1, 1
    for flight in range(flights):
        first = seq
        for _ in range(4):
            lines.append(f"{at:.6f} > {'P' if pause else ''}. {seq}:{seq + 1400}(1400) ack 1 win 65535")
            at += 0.0001
            seq += 1400
        if lose and flight % lose == 0:
            lines.append(f"{at + 0.021:.6f} < . 1:1(0) ack {first} win {window}")
            at += 0.3
            lines.append(f"{at:.6f} > . {first}:{first + 1400}(1400) ack 1 win 65535")
        at += 0.02
        lines.append(f"{at:.6f} < . 1:1(0) ack {seq} win {window}")
        at += 0.0001 + pause
    return "\n".join(lines)


def test_what_limits_a_direction():
    assert limits_of(upload()) == ("path", "nothing")
    assert limits_of(upload(window=5600), 5600) == ("receiver_window", "nothing")
    assert limits_of(upload(pause=0.1)) == ("application", "nothing")
    assert limits_of(upload(lose=2)) == ("loss", "nothing")


def test_who_had_no_more_to_send_was_not_waiting_for_an_ack():
    """Writes of three segments and a bit every 80 ms; the ACK of the bit is held back until just before the next."""
    lines, seq = [], 1
    for i in range(40):
        at_time = 0.1 + 0.08 * i
        for length in (1460, 1460, 1460, 300):
            lines.append(f"{at_time:.4f} > {'P' if length < 1460 else ''}. {seq}:{seq + length}({length}) ack 1")
            seq += length
        lines.append(f"{at_time + 0.02:.4f} < . 1:1(0) ack {seq - 300}")
        lines.append(f"{at_time + 0.0799:.4f} < . 1:1(0) ack {seq}")
    assert limits_of("\n".join(lines)) == ("application", "nothing")


def test_nothing_is_said_of_what_a_first_flight_holds_or_of_one_direction_alone():
    assert limits_of(upload(flights=2)) == ("nothing", "nothing")
    alone = "\n".join(line for line in upload().splitlines() if ">" in line)
    assert limits_of(alone)[1] == "nothing"


def test_nothing_is_said_where_no_one_thing_took_half_of_the_time():
    words = run(OPEN + upload()).connections[0].words
    rows = {i: np.array([w]) for i, w in enumerate(words)}
    for kind, side in ((at.WAIT_APPLICATION, 0), (at.WAIT_WINDOW, 1), (at.WAIT_TRANSFER, 0)):
        rows[at.C_TIMES + 2 * kind + side] = np.array([1000])
    assert int(limited_by(rows, 0)[0]) == 0


def between(*, window, flight, rounds=12, jitter=0.0):
    """A transfer from the client as seen half-way: each ACK passes 10 ms before what it lets go, and 10 ms after it."""
    lines = [
        "0.000 > S  0:0(0)          win 65535 <mss 1460>",
        f"0.010 < S. 0:0(0)   ack 1  win {window} <mss 1460>",
        "0.020 > .  1:1(0)   ack 1  win 65535",
    ]
    seq, began = 1, 0.030
    for i in range(rounds):
        step = 0.020 / flight  # evenly, as ACKs let go one segment each
        for j in range(flight):
            when = began + i * (0.020 + jitter) + j * step
            if i:
                ack = seq - flight * 1000 + 1000
                lines.append(f"{when - 0.010:.6f} < . 1:1(0) ack {ack} win {window}")
            lines.append(f"{when:.6f} > . {seq}:{seq + 1000}(1000) ack 1 win 65535")
            seq += 1000

    def at_of(line):
        return float(line.split()[0])

    words = run("\n".join(sorted(lines, key=at_of))).connections[0].words
    rows = {i: np.array([w]) for i, w in enumerate(words)}
    assert sum(words[at.C_TIMES : at.C_TIMES + 2 * at.WAITS]) == words[at.C_LAST_TIME] - words[at.C_FIRST_TIME]
    return LIMITED_BY[int(limited_by(rows, 0)[0])]


def test_between_both_ends_a_full_window_is_told_by_what_goes_out_in_a_round_trip():
    assert between(window=20_000, flight=20) == "receiver_window"
    assert between(window=65_000, flight=20) == "path", "so much more would have fitted"
    assert between(window=20_000, flight=20, jitter=0.004) == "receiver_window"
