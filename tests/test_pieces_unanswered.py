"""What one direction, or its last words, lets nobody say: requests without answers, dead paths, resets."""

from __future__ import annotations

import pytest

from tcptrace_fsm.capture.scripted import parse
from tests.pieces import appended, kinds, loud
from tests.strategies import run
from tests.test_surveys import findings as surveyed

pytestmark = pytest.mark.plain


@pytest.mark.parametrize(("answered", "severity"), [(0, "medium"), (60, "low")])
def test_one_client_that_had_answers_may_have_completed_what_the_capture_lacks(answered, severity):
    """As in a filter on flags."""
    text = "".join(
        f"port {40000 + n} 80\n{n / 100:.4f} > S 0:0(0)\n"
        + (f"{n / 100 + 0.001:.4f} < S. 0:0(0) ack 1\n" if n < answered else "")
        for n in range(120)
    )
    assert [f.severity for f in surveyed(text, "syn_flood")] == [severity]


GIVEN_UP = """
    0.000 > S  0:0(0)         ttl 64
    0.010 < S. 0:0(0)   ack 1 ttl 60
    0.020 > .  1:1(0)   ack 1 ttl 64
    0.030 > P. 1:101(100) ack 1 ttl 64
    0.230 > P. 1:101(100) ack 1 ttl 64
    0.630 > P. 1:101(100) ack 1 ttl 64
    1.430 > P. 1:101(100) ack 1 ttl 64
    3.030 > P. 1:101(100) ack 1 ttl 64
    6.230 > P. 1:101(100) ack 1 ttl 64
    {0}
    end 120
"""


@pytest.mark.parametrize(
    ("then", "severity"),
    [
        ("", "high"),
        ("20.000 > F. 101:101(0) ack 1", None),
        ("20.010 < S. 0:0(0) ack 1 ttl 60", "low"),
        ("20.010 < S. 0:0(0) ack 1 ttl 60\n20.011 > . 101:101(0) ack 1", "high"),
    ],
    ids=["silent", "closed", "deaf", "answered"],
)
def test_who_gave_up_had_nothing_more_to_say_and_answered_what_asked(then, severity):
    """A FIN shows a connection that is still there; a host that answers nothing is not all in the capture."""
    found = [
        f.severity
        for f in run(parse(GIVEN_UP.format(then)), rules=True).findings
        if f.kind == "retransmission_timeout_abort"
    ]
    assert found == ([severity] if severity else [])


@pytest.mark.parametrize(("again", "severity"), [((1.01, 3.01, 7.01), "medium"), ((0.016,), "low"), ((1.01,), "low")])
def test_a_syn_ack_was_never_acknowledged_where_it_is_repeated_as_a_timer_does(again, severity):
    """A filter on SYNs leaves out every ACK."""
    text = "0.000 > S 0:0(0)\n0.010 < S. 0:0(0) ack 1 id 5\n"
    text += "".join(f"{at} < S. 0:0(0) ack 1 id {9 + n}\n" for n, at in enumerate(again))
    found = [f for f in run(parse(text + "end 20"), rules=True).findings if f.kind == "half_open_timeout"]
    assert [f.severity for f in found] == [severity]


def test_a_capture_that_begins_with_a_syn_ack_and_was_appended_to_itself_is_one_story():
    """What it begins with comes again, with the identification that it had."""
    text = """
        0.000 < S. 0:0(0)       ack 1   id 500
        0.010 > .  1:1(0)       ack 1   id 103
        0.020 > P. 1:101(100)   ack 1   id 104
        0.030 < P. 1:301(300)   ack 101 id 501
        0.040 > .  101:101(0)   ack 301 id 105
        0.050 > F. 101:101(0)   ack 301 id 106
        0.060 < .  301:301(0)   ack 102 id 502
    """
    (connection,) = run(appended(text, 40)).connections
    assert [connection.end(side, "E_SEGMENTS") for side in ("client", "server")] == [4, 3]


def test_a_syn_stamped_late_is_known_by_its_timestamp_too():
    """The sender's RST bears no identification, and its clock had gone on since the SYN."""
    text = """
        0.000 > P. 121:241(120) ack 1   id 205 <ts 2000/7000>
        0.010 < P. 1:301(300)   ack 241 id 501 <ts 7010/2000>
        0.020 > R  241:241(0)           id 0
        0.500 > S  0:0(0)               id 201 <mss 1460, ts 1000/0>
        0.510 < S. 0:0(0)       ack 1   id 0   <mss 1460, ts 6900/1000>
    """
    assert len(run(parse(text)).connections) == 1


def test_one_acknowledgment_alone_makes_no_fin_an_old_one():
    """That one may be forged, and the FIN right."""
    text = """
        0.050 > .  101:101(0)   ack 2000001
        0.060 < P. 1:401(400)   ack 101
        0.070 > .  101:101(0)   ack 401
        0.080 > F. 101:101(0)   ack 401
    """
    assert "fin_ack_invalid" not in kinds(parse(text))


@pytest.mark.parametrize("ttl", [43, 57])
def test_nobody_cut_a_scanners_connection_but_its_own_system(ttl):
    """The diagnosis as well as the finding."""
    text = f"""
        0.0000 > S  0:0(0)       id 0 ttl 43
        0.0001 < S. 0:0(0)       ack 1 id 0 ttl 64
        0.1000 > R  1:1(0)       id 0 ttl {ttl}
        16.000 > .  1:110(109)   ack 1 id 0 ttl 43
        16.004 < R  1:1(0)       id 0 ttl 64
    """
    assert ("reset_injected" in loud(text)) == (ttl == 57)


@pytest.mark.parametrize("acks", [True, False])
def test_no_path_is_dead_where_a_filter_leaves_the_acks_out(acks):
    """Copies that were answered by nothing but ACKs look the same."""
    bare = "0.020 > . 1:1(0) ack 1\n" if acks else ""
    again = "".join(f"{at} > P. 101:201(100) ack 501\n" for at in (5.0, 5.21, 5.63, 6.47, 8.15, 11.51, 18.23))
    text = f"""
        0.000 > S  0:0(0)
        0.010 < S. 0:0(0)       ack 1
        {bare}
        0.030 > P. 1:101(100)   ack 1
        0.040 < P. 1:501(500)   ack 101
        {again}
        end 60
    """
    assert ("path_dead" in loud(text)) == acks


@pytest.mark.parametrize(("seq", "rejected"), [(1101, False), (3101, True)])
def test_data_are_old_where_newer_ones_were_taken_before_them(seq, rejected):
    """A receiver keeps the timestamp of what it stands at, not that of what lies behind a hole."""
    text = f"""
        0.000 > S  0:0(0)               <ts 1000/0>
        0.010 < S. 0:0(0)       ack 1   <ts 5000/1000>
        0.020 > .  1:1(0)       ack 1   <ts 1020/5000>
        0.030 > P. 1:101(100)   ack 1   <ts 1030/5000>
        0.040 < .  1:1(0)       ack 101 <ts 5040/1030>
        0.500 > .  2101:3101(1000) ack 1 <ts 1500/5040>
        0.900 > .  {seq}:{seq + 1000}(1000) ack 1 <ts 1400/5040>
        2.000 < .  1:1(0)       ack 101 <ts 7000/1030>
    """
    found = [f.severity for f in run(parse(text), rules=True).findings if f.kind == "paws_reject_expected"]
    assert ("medium" in found or "high" in found) == rejected


@pytest.mark.parametrize("whole", [True, False])
def test_what_came_damaged_was_not_lost_behind_the_capture_point(whole):
    """Its sender computes right checksums elsewhere."""
    again = "".join(f"{at} < P. 1:1381(1380) ack 1 bad\n" for at in (9, 19, 38, 76))
    begin = "0.000 > . 1:1(0) ack 1\n" + "0.010 < . 1:1(0) ack 1\n" * whole
    text = begin + again + "130 > F. 1:1(0) ack 1\n130.22 < . 1381:1381(0) ack 2\n"
    found = [f for f in run(parse(text), rules=True).findings if f.kind == "lost_after_v" and f.severity == "medium"]
    assert found == []


@pytest.mark.parametrize("reset", ["", "0.070 < R  301:301(0) ttl 60 id 0"])
def test_a_reset_of_the_server_shows_an_ack_that_the_capture_lacks(reset):
    """It has the number of what it answers: the client had acknowledged the data, and closed."""
    text = f"""
        0.000 > S  0:0(0)               ttl 64
        0.010 < S. 0:0(0)       ack 1   ttl 60
        0.020 > .  1:1(0)       ack 1   ttl 64
        0.030 > P. 1:101(100)   ack 1   ttl 64
        0.040 < P. 1:101(100)   ack 101 ttl 60
        0.041 > .  101:101(0)   ack 101 ttl 64
        0.050 < P. 101:201(100) ack 101 ttl 60
        0.051 < P. 201:301(100) ack 101 ttl 60
        0.052 > R  101:101(0)           ttl 64 id 0
        {reset}
        end 10
    """
    assert ("nat_not_undone" in loud(text)) == (not reset)
