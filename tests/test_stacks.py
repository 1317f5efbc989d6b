"""Whole conversations with systems that are not Linux: what is TCP, and what is only one system's habit.

The notation and the way of judging are those of ``test_replay``. Each case has a look-alike beside it.
"""

from __future__ import annotations

import pytest

from tcptrace_fsm.kernels.layout import MARK_FIN_AGAIN
from tcptrace_fsm.tcp.machine import Basis
from tests.replay_cases import OPEN, PLACES, captured
from tests.stack_cases import CASES
from tests.strategies import run
from tests.test_replay import judge, seen

PARAMETERS = [pytest.param(case, place, id=f"{case.name}-{place}") for case in CASES for place in case.places]


@pytest.mark.parametrize("case, place", PARAMETERS)
def test_states_moments_and_evidence(case, place):
    """Both ends go through the right states, on the right evidence, at moments that the brackets hold."""
    judge(case, place)


@pytest.mark.parametrize("name, lost", [("bears_fin_again", 0), ("again_by_its_timer", 1)])
@pytest.mark.parametrize("place", PLACES)
def test_a_fin_in_an_ack_is_no_repetition(name, lost, place):
    (case,) = (c for c in CASES if c.name.endswith(name))
    _, connection = seen(case, place)
    assert connection["C_MARKS"] >> MARK_FIN_AGAIN & 1 == lost


def test_a_bad_syn_ack_leaves_no_numbers_behind():
    (case,) = (c for c in CASES if c.name == "a_bad_syn_ack_and_then_the_right_one")
    outcome = run(captured(case.sent, PLACES["between"]), rules=True)
    assert outcome.connections[0].opening == "handshake"
    kinds = {f.kind for f in outcome.findings}
    assert "synack_bad_ack" in kinds
    assert not kinds & {"ack_unseen", "seq_gap", "capture_drop", "handshake_ack_invalid"}


@pytest.mark.parametrize("stamp, closed", [(50, False), (131, True)])
def test_what_is_older_than_the_syn_is_of_no_connection(stamp, closed):
    """PAWS rejects it, whatever it carries (RFC 7323 section 5.3)."""
    text = HANDSHAKE.format(options="<ts 100/0>", answer="<ts 150/100>").replace(
        "ack 1 <ts 150/100>", "ack 1 <ts 130/90>"
    )
    text += f"""
        1.000 > F. 101:101(0)   ack 101 <ts {stamp}/150>
        1.020 < .  101:101(0)   ack {102 if closed else 101} <ts 160/130>
        2.000 > P. 101:201(100) ack 101 <ts 140/160>
        2.010 < .  101:101(0)   ack 201 <ts 170/140>
    """
    assert ("CLOSE_WAIT" in run(text).connections[0].path("server")) == closed


HANDSHAKE = """
    0.000 > S  0:0(0) {options}
    0.010 < S. 0:0(0)     ack 1 {answer}
    0.020 > .  1:1(0)     ack 1 {answer}
    0.030 > P. 1:101(100) ack 1 {answer}
    0.040 < .  1:1(0)     ack 101 {answer}
    0.050 < P. 1:101(100) ack 101 {answer}
"""


@pytest.mark.parametrize(
    "rst, event",
    [
        ("0.060 > R. 101:101(0) ack 101", "GONE"),
        ("0.060 > R. 101:101(0) ack 101 <ts 160/150>", "SND_RST"),
        ("0.060 > R. 101:101(0) ack 1", "SND_RST"),
        ("0.060 > R. 101:101(0) ack 102", "SND_RST"),
    ],
)
def test_a_reset_of_a_connection_bears_its_timestamps(rst, event):
    """RFC 7323 section 3.2: once agreed on, they are in every segment of a connection; of none, nobody has them."""
    text = HANDSHAKE.format(options="<ts 100/0>", answer="<ts 150/100>") + rst
    assert run(text).connections[0].of("client")[-1].event == event


@pytest.mark.parametrize("until, basis", [(30, "PRESUMED"), (90, "TIMER")])
def test_fin_wait_2_beyond_its_timer_rests_on_the_timer(until, basis):
    """Nothing tells close() from shutdown(): after a minute it may be gone."""
    text = (
        HANDSHAKE.format(options="", answer="")
        + f"""
        1.000 > F. 101:101(0) ack 101
        1.020 < .  101:101(0) ack 102
        end {until}
    """
    )
    outcome = run(text, rules=True)
    assert outcome.connections[0].states[0] == "FIN_WAIT_2"
    assert Basis(outcome.connections[0]["C_CLIENT_BASIS"]).name == basis
    (stuck,) = (f for f in outcome.findings if f.kind == "stuck_fin_wait_2")
    assert ("if it only shut down" in stuck.message) == (basis == "TIMER")


@pytest.mark.parametrize(
    "rst, path",
    [
        ("0.058 < R. 1:1(0) ack 1", "SYN_RECEIVED ESTABLISHED CLOSED"),  # of the application that had accepted it
        ("0.038 < R. 1:1(0) ack 1", "SYN_RECEIVED CLOSED"),  # nothing has acknowledged its SYN
        ("0.058 < R  1:1(0)", "SYN_RECEIVED CLOSED"),  # it answers the ACK, which met nobody
    ],
)
def test_who_aborts_what_it_accepted_was_established(rst, path):
    """Sooner than the least round trip says that the ACK can have come: delays vary."""
    text = f"""
        0.000 > S  0:0(0)
        0.020 < S. 0:0(0) ack 1
        0.040 > .  1:1(0) ack 1
        {rst}
    """
    assert run("\n".join(sorted(text.strip().splitlines()))).connections[0].path("server").endswith(path)


@pytest.mark.parametrize("copy", ["2.020", None])
def test_a_fin_that_was_taken_opens_first(copy):
    """A late copy of the SYN+ACK does not say that the ACK was lost, nor the FIN's own ACK (RFC 9293 3.10.7.4)."""
    text = """
        0.000 > S  0:0(0)
        0.020 < S. 0:0(0) ack 1
        0.040 > .  1:1(0) ack 1
        0.041 > F. 1:1(0) ack 1
        0.060 < .  1:1(0) ack 2
        0.080 < F. 1:1(0) ack 2
        0.100 > .  2:2(0) ack 2
    """
    if copy:
        text += f"{copy} < S. 0:0(0) ack 1"
    assert run(text).connections[0].path("server").startswith("LISTEN SYN_RECEIVED ESTABLISHED CLOSE_WAIT LAST_ACK")


@pytest.mark.parametrize(
    "answer, more, path",
    [
        ("1.020 > . 102:102(0) ack 202", "", "ESTABLISHED CLOSING"),  # behind a FIN that was lost before the capture
        ("1.020 > . 102:102(0) ack 202", "1.300 > P. 101:102(1) ack 202", "CLOSE_WAIT"),  # it was a byte
        ("1.020 > . 103:103(0) ack 202", "", "CLOSE_WAIT"),  # more than a FIN is missing
        ("1.020 > . 101:101(0) ack 202", "1.300 > . 102:102(0) ack 202", "CLOSE_WAIT"),  # sent after it
        ("1.400 > . 102:102(0) ack 202", "", "CLOSE_WAIT"),  # the first answer may be missing as well
        ("1.020 > . 102:102(0) ack 202", "1.040 < . 202:202(0) ack 102", "CLOSING TIME_WAIT"),
    ],
)
def test_an_answer_from_behind_a_fin_that_is_missing(answer, more, path):
    text = f"{OPEN}\n1.000 < F. 201:201(0) ack 101\n{answer}\n{more}\nend 3"
    assert path in run(text).connections[0].path("client")


@pytest.mark.parametrize(
    "rst, at, connections",
    [
        ("> R. 1:1(0) ack 0", 0.003, 1),  # lwIP gives a SYN up so, and this RST has overtaken it
        ("> R  1:1(0)", 0.249, 1),
        ("> R  1:1(0)", 0.251, 2),  # nothing on a way takes so long
        ("> R  2:2(0)", 0.003, 2),  # of another connection
        ("> .  9:9(0) ack 1", 0.003, 2),  # an ACK of another connection
        ("> R  1:1(0)\n0.001 > R 1:1(0)", 0.003, 2),
    ],
)
def test_an_rst_that_overtakes_the_syn_it_gives_up(rst, at, connections):
    outcome = run(f"0.000 {rst}\n{at} > S 0:0(0)\n{at + 0.02:.3f} < S. 0:0(0) ack 1\n{at + 0.04:.3f} > R 1:1(0)")
    assert len(outcome.connections) == connections
    assert outcome.connections[-1].path("client").endswith("SYN_SENT CLOSED")


@pytest.mark.parametrize(
    "rst, end",
    [
        ("1.060 > R. 102:102(0) ack 201", "FIN_WAIT_2 CLOSED"),  # of an abort, whose ACK tells what it had
        ("end 1.3", "FIN_WAIT_2 TIME_WAIT"),
    ],
)
def test_an_abort_that_acknowledges_less_than_a_fin_has_not_taken_it(rst, end):
    """Data before the FIN were lost behind the capture: no RST comes out of TIME_WAIT."""
    text = f"""{OPEN}
        1.000 > F. 101:101(0)   ack 201
        1.020 < P. 201:301(100) ack 102
        1.021 < F. 301:301(0)   ack 102
        {rst}
    """
    assert run(text).connections[0].path("client").endswith(end)


def test_an_ack_with_the_number_behind_a_syn_is_of_its_connection_even_where_it_stands_before_it():
    """Numbers of another connection agree so once in four billion times; captures are out of order more often."""
    text = "0.000 > . {0}:{0}(0) ack 1\n0.003 > S 0:0(0)\n0.023 < S. 0:0(0) ack 1\n0.043 > R 1:1(0)"
    assert len(run(text.format(1)).connections) == 1
    assert len(run(text.format(9)).connections) == 2


def test_an_rst_answers_the_syn_ack_before_it_even_where_a_syn_has_come_twice():
    """A copy of the SYN, held up, opens a second connection of the same numbers, which the client refuses."""
    text = """
        0.000 > S  0:0(0)
        0.020 < S. 0:0(0)       ack 1
        0.040 > .  1:1(0)       ack 1
        0.500 < F. 1:1(0)       ack 1
        0.520 > R. 1:1(0)       ack 2
        2.500 > S  0:0(0)
        2.520 < S. 900:900(0)   ack 1
        2.540 > R  1:1(0)
    """
    assert run(text).connections[-1].path("server").endswith("SYN_RECEIVED CLOSED")
