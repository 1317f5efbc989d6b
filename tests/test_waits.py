"""Where the time went: every moment goes for one thing, to the right party, and the sums add up."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tcptrace_fsm.core.words import SIDES
from tcptrace_fsm.kernels import layout as at
from tcptrace_fsm.tables.connections import LONGEST_FOR, WAITING_FOR
from tests.strategies import SECOND, anything, conversations, plain_engine, run, watched_engine
from tests.test_causes import diagnoses
from tests.waiting import OPEN, REQUEST, Told

relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


"""The capture is at the client's; the server is 10 ms away."""


def spent(records: list) -> list[tuple[int, int]]:
    return [
        (sum(c.words[at.C_TIMES : at.C_TIMES + 2 * at.WAITS]), c["C_LAST_TIME"] - c["C_FIRST_TIME"]) for c in records
    ]


@relaxed
@given(st.one_of(anything(), conversations()))
def test_the_times_add_up_whatever_comes(segments):
    """In any order, with any stamps, late ones too: what is accounted for is the connection's duration, to the ns."""
    for total, duration in spent(run(segments).connections):
        assert total == duration


@relaxed
@given(conversations())
def test_no_time_is_negative_and_indices_are_in_bounds(segments):
    for connection in run(segments, engine=watched_engine()).connections:
        assert all(t >= 0 for t in connection.words[at.C_TIMES : at.C_TIMES + 2 * at.WAITS])
        assert connection["C_LONGEST_WAIT"] >= 0


@pytest.mark.slow
@relaxed
@given(conversations())
def test_the_uncompiled_twin_gives_the_same_words(segments):
    one, other = run(segments).connections, run(segments, engine=plain_engine()).connections
    assert [c.words[at.C_RESPONSE_MIN : at.C_ENDPOINTS] for c in one] == [
        c.words[at.C_RESPONSE_MIN : at.C_ENDPOINTS] for c in other
    ]


# --- applications -----------------------------------------------------------------------------------------------------


def test_an_answer_after_three_seconds_is_the_servers_less_the_way():
    told = Told(REQUEST + "3.110 < P. 1:501(500) ack 101 win 65535\n3.110 > . 101:101(0) ack 501 win 65535")
    assert told.times["server application"] == pytest.approx(3.0)
    assert told.times["client application"] == pytest.approx(0.09)
    assert told.longest == ("server application", pytest.approx(3.0))
    assert told["C_RESPONSE_MAX"] == 3 * SECOND
    assert told["C_REQUESTS"] == 1


def test_at_the_servers_end_the_way_is_not_taken_off_twice():
    """The same exchange as its server sees it: request to answer is all its own."""
    told = run("""
        0.000 > S  0:0(0)          win 65535 <mss 1460>
        0.000 < S. 0:0(0)   ack 1  win 65535 <mss 1460>
        0.010 > .  1:1(0)   ack 1  win 65535
        0.100 > P. 1:101(100) ack 1    win 65535
        0.100 < .  1:1(0)     ack 101  win 65535
        3.100 < P. 1:501(500) ack 101  win 65535
        3.110 > .  101:101(0) ack 501  win 65535
    """).connections[0]
    assert told["C_RESPONSE_MAX"] == 3 * SECOND


def test_a_request_in_two_halves_is_the_clients():
    told = Told(REQUEST + "2.110 > P. 101:201(100) ack 1 win 65535\n2.120 < P. 1:11(10) ack 201 win 65535")
    assert told.longest == ("client application", pytest.approx(2.01))
    assert told["C_REQUESTS"] == 1
    assert told["C_RESPONSE_MAX"] == 0


def test_keepalives_do_not_divide_a_wait():
    told = Told(
        REQUEST
        + """
        2.000 > .  100:100(0)    ack 1    win 65535
        2.010 < .  1:1(0)        ack 101  win 65535
        3.110 < P. 1:501(500)    ack 101  win 65535
        """
    )
    assert told.longest == ("server application", pytest.approx(3.0))


def test_what_is_never_answered_is_the_servers():
    told = Told(REQUEST + "5.000 > F. 101:101(0) ack 1 win 65535\n5.010 < F. 1:1(0) ack 102 win 65535")
    assert told.longest == ("server application", pytest.approx(4.89))
    assert told.times["server close"] == pytest.approx(0.01)


def test_what_is_still_unanswered_at_the_end_counts_until_then():
    told = Told(REQUEST + "end 9.110")
    assert told.longest == ("server application", pytest.approx(9.0))
    assert LONGEST_FOR[told["C_WAITING"]] == "server application"


def test_an_idle_connection_at_the_end_is_nobodys_wait():
    told = Told(REQUEST + "0.120 < P. 1:501(500) ack 101 win 65535\n0.120 > . 101:101(0) ack 501 win 65535\nend 900")
    assert told["C_LONGEST_WAIT"] < SECOND
    assert LONGEST_FOR[told["C_WAITING"]] == "client application"


def test_one_that_talks_on_and_on_expects_no_answer():
    told = Told(
        """
        1.000 > P. 1:101(100)    ack 1    win 65535
        1.010 < .  1:1(0)        ack 101  win 65535
        6.000 > P. 101:201(100)  ack 1    win 65535
        6.010 < .  1:1(0)        ack 201  win 65535
        11.00 > P. 201:301(100)  ack 1    win 65535
        11.01 < .  1:1(0)        ack 301  win 65535
        16.00 > F. 301:301(0)    ack 1    win 65535
        """
    )
    assert told.times["client application"] == pytest.approx(16 - 0.01, abs=0.02)
    assert "server application" not in told.times


def test_a_server_that_greets_late_is_waited_for():
    assert Told("4.010 < P. 1:31(30) ack 1 win 65535").longest == ("server application", pytest.approx(4.0))


def test_crossing_talk_makes_no_requests_to_count():
    told = Told(
        "".join(
            f"""
        {t}.00 > P. {1 + 10 * t}:{11 + 10 * t}(10) ack {1 + 10 * max(0, t - 2)} win 65535
        {t}.005 < P. {1 + 10 * t}:{11 + 10 * t}(10) ack {1 + 10 * t} win 65535
        """
            for t in range(1, 8)
        ).replace("11:21(10) ack 1", "1:21(20) ack 1")
    )
    assert 3 * told["C_CROSSED"] > told["C_REQUESTS"]


# --- Nagle against a delayed ACK --------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [0.040, 0.200])
def test_a_short_segment_held_back_until_a_delayed_ack(delay):
    told = Told(
        f"""
        1.000 > P. 1:9(8)        ack 1    win 65535
        {1.01 + delay:.3f} < .  1:1(0)   ack 9   win 65535
        {1.01 + delay:.3f} > P. 9:109(100)  ack 1  win 65535
        {1.021 + delay:.3f} < P. 1:101(100) ack 109 win 65535
        """
    )
    assert told.times["server delayed_ack"] == pytest.approx(delay)
    assert "server application" not in told.times or told.times["server application"] < 0.002
    assert told["C_RESPONSE_MAX"] < 5 * at.MILLISECOND


def test_an_ack_that_comes_with_the_round_trip_was_not_held_back():
    told = Told(
        """
        1.000 > P. 1:9(8)        ack 1    win 65535
        1.012 < .  1:1(0)        ack 9    win 65535
        1.012 > P. 9:109(100)    ack 1    win 65535
        """
    )
    assert "server delayed_ack" not in told.times


@pytest.mark.parametrize(("length", "held"), [(1000, True), (1460, False)])
def test_the_rest_of_a_write_may_be_held_back_behind_full_segments(length, held):
    """A full segment did not wait for an ACK; that the next one was short is what Nagle's algorithm goes by."""
    told = Told(
        f"""
        1.000 > .  1:1461(1460)        ack 1    win 65535
        1.050 < .  1:1(0)              ack 1461 win 65535
        1.050 > P. 1461:{1461 + length}({length})  ack 1    win 65535
        1.061 < P. 1:101(100)          ack {1461 + length} win 65535
        """
    )
    assert told.times.get("server delayed_ack", 0) == pytest.approx(0.04 if held else 0)


# --- loss -------------------------------------------------------------------------------------------------------------


def test_a_lost_request_is_the_retransmissions_and_the_rest_the_servers():
    told = Told(
        """
        0.100 > P. 1:101(100)    ack 1    win 65535
        0.400 > P. 1:101(100)    ack 1    win 65535
        0.410 < .  1:1(0)        ack 101  win 65535
        2.410 < P. 1:501(500)    ack 101  win 65535
        """
    )
    assert told.times["client retransmission"] == pytest.approx(0.3)
    assert told.longest == ("server application", pytest.approx(2.0))
    assert told["C_RESPONSE_MAX"] == 2 * SECOND


def test_a_needless_repetition_takes_nothing_from_the_servers_time():
    """A duplicate SACK tells that the first copy had arrived: only its ACK was lost."""
    told = Told(
        """
        0.100 > P. 1:101(100)    ack 1    win 65535
        0.400 > P. 1:101(100)    ack 1    win 65535
        0.410 < .  1:1(0)        ack 101  win 65535 <sack 1:101>
        2.110 < P. 1:501(500)    ack 101  win 65535
        """
    )
    assert "client retransmission" not in told.times
    assert told.longest == ("server application", pytest.approx(2.0))


def test_a_repeated_syn_is_the_handshakes():
    told = run("""
        0.0 > S 0:0(0) win 65535
        1.0 > S 0:0(0) win 65535
        1.1 < S. 0:0(0) ack 1 win 65535
        1.2 > . 1:1(0) ack 1 win 65535
    """).connections[0]
    assert LONGEST_FOR[told["C_LONGEST_FOR"]] == "server handshake"
    assert told["C_LONGEST_WAIT"] == 1_100_000_000


# --- the end ----------------------------------------------------------------------------------------------------------


def test_after_the_first_fin_it_is_the_close():
    told = Told(
        REQUEST
        + """
        0.120 < P. 1:501(500)    ack 101  win 65535
        0.120 > .  101:101(0)    ack 501  win 65535
        0.130 < F. 501:501(0)    ack 101  win 65535
        0.131 > .  101:101(0)    ack 502  win 65535
        30.13 > F. 101:101(0)    ack 502  win 65535
        """
    )
    assert told.times["client close"] == pytest.approx(30.0)
    assert told.longest == ("client close", pytest.approx(30.0))
    assert told["C_IDLE"] == 29_999_000_000


def test_a_half_closed_client_still_waits_for_its_answer():
    told = Told(
        REQUEST
        + """
        0.120 > F. 101:101(0)    ack 1    win 65535
        0.130 < .  1:1(0)        ack 102  win 65535
        7.120 < P. 1:501(500)    ack 102  win 65535
        """
    )
    assert told.longest == ("server application", pytest.approx(6.99, abs=0.03))


@pytest.mark.parametrize("last", ["360.2 < R. 501:501(0) ack 201 win 0", "365 > P. 101:201(100) ack 501 win 65535"])
def test_what_comes_of_the_last_thing_does_not_hide_the_silence_before_it(last):
    told = Told(
        REQUEST
        + """
        0.120 < P. 1:501(500)    ack 101  win 65535
        0.120 > .  101:101(0)    ack 501  win 65535
        360.12 > P. 101:201(100) ack 501  win 65535
        """
        + last
    )
    assert told["C_IDLE"] == 360 * SECOND


def test_waits_end_up_in_rows_of_their_own():
    rows = run(OPEN + REQUEST + "3.110 < P. 1:501(500) ack 101 win 65535").waits
    told = [(WAITING_FOR[r[at.WT_FOR]], SIDES[r[at.WT_SIDE]], r[at.WT_BEFORE], r[at.WT_AFTER]) for r in rows]
    assert told == [("application", "client", 3, 4), ("application", "server", 4, 6)]
    assert rows[1][at.WT_BASIS] == at.BASIS_ACKED


# --- causes -----------------------------------------------------------------------------------------------------------


def causes_of(text):
    return {d.cause: d for d in diagnoses(text)}


REFUSED = OPEN + "".join(
    f"""
    {0.1 + i:.3f} > P. {1 + 2000 * i}:{1001 + 2000 * i}(1000)     ack 1    win 65535
    {0.11 + i:.3f} < .  1:1(0)   ack {1001 + 2000 * i} win 1000
    {0.12 + i:.3f} > P. {1001 + 2000 * i}:{2001 + 2000 * i}(1000)  ack 1    win 65535
    {0.13 + i:.3f} < .  1:1(0)   ack {1001 + 2000 * i} win 0
    {0.33 + i:.3f} > .  {1001 + 2000 * i}:{2001 + 2000 * i}(1000)  ack 1    win 65535
    {0.34 + i:.3f} < .  1:1(0)   ack {1001 + 2000 * i} win 0
    {0.74 + i:.3f} > .  {1001 + 2000 * i}:{2001 + 2000 * i}(1000)  ack 1    win 65535
    {0.75 + i:.3f} < .  1:1(0)   ack {2001 + 2000 * i} win 1000
    """
    for i in range(4)
)


LOST = OPEN + "".join(
    f"""
    {0.1 + i:.3f} > P. {1 + 1000 * i}:{1001 + 1000 * i}(1000)  ack 1    win 65535
    {0.33 + i:.3f} > .  {1 + 1000 * i}:{1001 + 1000 * i}(1000)  ack 1    win 65535
    {0.74 + i:.3f} > .  {1 + 1000 * i}:{1001 + 1000 * i}(1000)  ack 1    win 65535
    {0.75 + i:.3f} < .  1:1(0)   ack {1001 + 1000 * i} win 65535
    """
    for i in range(4)
)


def test_what_a_shut_window_refuses_is_no_loss_of_the_path():
    assert "path_loss" not in causes_of(REFUSED)
    lossy = causes_of(LOST)["path_loss"]
    assert any("2.56 s in all" in text for text in lossy.evidence_for)


HALVES = """
    1.100 > P. 1:101(100)    ack 1    win 65535
    1.110 < .  1:1(0)        ack 101  win 65535
    9.100 > P. 101:201(100)  ack 1    win 65535
    9.112 < P. 1:501(500)    ack 201  win 65535
    9.113 > .  201:201(0)    ack 501  win 65535
"""


TURN = """
    0.100 > P. 1:101(100)    ack 1    win 65535
    0.112 < P. 1:501(500)    ack 101  win 65535
    0.113 > .  101:101(0)    ack 501  win 65535
    1.100 > P. 101:201(100)  ack 501  win 65535
    1.110 < .  501:501(0)    ack 201  win 65535
    9.100 > P. 201:301(100)  ack 501  win 65535
    9.112 < P. 501:1001(500) ack 301  win 65535
    9.113 > .  301:301(0)    ack 1001 win 65535
"""


def test_a_client_that_has_asked_in_one_piece_before_may_have_said_what_wants_no_answer():
    """Control protocols do: each message is whole, and not each is answered."""
    assert causes_of(OPEN + HALVES)["client_slow"].severity == "medium"
    assert causes_of(OPEN + TURN)["client_slow"].severity == "low"
