"""Captures whose machine dropped frames by the dozen: what they do not show of one connection may be true of it."""

from __future__ import annotations

import pytest

from tcptrace_fsm.capture.scripted import parse
from tcptrace_fsm.kernels.layout import C_RESPONSE_MAX, OPT_SHORT, S_OPTIONS, SEGMENT_SIZE
from tests.strategies import run
from tests.test_causes import diagnoses
from tests.test_causes_company import opened
from tests.test_lacking import severities

pytestmark = pytest.mark.plain

MET = """
    port 40001 80
    0.0600 < P. 201:301(100) ack 101 ttl 60
    0.0601 > R  101:101(0) ttl 64
"""


def holed(port, at):
    """A connection of which the capture lacks bytes that arrived."""
    return opened(port, at) + f"{at + 0.2} > P. 401:501(100) ack 201 ttl 64\n{at + 0.3} < . 201:201(0) ack 501 ttl 60\n"


@pytest.mark.parametrize(("lacking", "severity"), [(0, "medium"), (2, "medium"), (3, "low")])
def test_where_many_connections_lack_frames_nothing_rests_on_what_one_does_not_show(lacking, severity):
    """The client may have closed before the data came: of so many, its FIN may be missing as well."""
    text = opened(40001, 0) + MET + "".join(holed(40010 + n, 1 + n) for n in range(lacking))
    found = [d for d in diagnoses(text) if d.cause == "nat_not_undone"]
    assert [d.severity for d in found] == [severity]


def test_a_row_is_as_severe_as_what_it_shows():
    """Several connections in one row: severity, message and evidence are of the one that it leads with."""
    slow = """
        port {0} 80
        {1:.3f} > P. 101:201(100) ack 201 ttl 64
        {2:.3f} < P. 201:401(200) ack 201 ttl 60
        {3:.3f} > P. 201:301(100) ack 401 ttl 64
        {4:.3f} < P. 401:601(200) ack 301 ttl 60
        {5:.3f} > F. 301:301(0)   ack 601 ttl 64
        {6:.3f} < F. 601:601(0)   ack 302 ttl 60
        {7:.3f} > .  302:302(0)   ack 602 ttl 64
    """
    text = ""
    for n, wait in enumerate((1.2, 2.4)):
        times = [10 * n + t for t in (0.1, 0.1 + wait, 0.2 + wait, 0.21 + wait, 0.22 + wait, 0.23 + wait, 0.24 + wait)]
        text += opened(40001 + n, 10 * n) + slow.format(40001 + n, *times)
    found = next(d for d in diagnoses(text) if d.cause == "server_slow")
    assert "up to 2.39 s" in found.message
    assert "the slowest of 3 answers came 2.39 s" in found.evidence_for[0]


@pytest.mark.parametrize(("again", "took"), [("", 1460), ("0.24 > . 1:1461(1460) ack 1", 1250)])
def test_a_request_of_which_a_part_came_again_was_there_when_that_came(again, took):
    """The first half of it was lost behind the capture point: nobody can have begun to answer before."""
    text = f"""
        0.00 > S  0:0(0)
        0.01 < S. 0:0(0) ack 1
        0.02 > .  1:1(0) ack 1
        0.03 > .  1:1461(1460) ack 1
        0.03 > P. 1461:1561(100) ack 1
        {again}
        0.25 < .  1:1(0) ack 1561
        1.50 < P. 1:201(200) ack 1561
    """
    assert run(parse(text)).connections[0].words[C_RESPONSE_MAX] // 1_000_000 == took


def test_where_numbers_begin_is_known_of_the_syn_alone():
    """The first that is seen of the server has overtaken the rest: what lies below was sent all the same."""
    text = """
        0.000 > S  0:0(0)
        0.040 < P. 8001:8761(760)  ack 301
        0.041 > .  301:301(0)      ack 761  <sack 8001:8761>
        0.050 < .  761:2209(1448)  ack 301
        0.060 > .  301:301(0)      ack 3657 <sack 8001:8761>
        0.300 < .  2209:3657(1448) ack 301
        0.310 > .  301:301(0)      ack 3657 <sack 2209:3657, 8001:8761>
    """
    assert "numbers_rewritten" not in [d.cause for d in diagnoses(text)]


ABORTED = """
    0.000 > S  0:0(0)
    {}
    0.010 > .  1:1(0)         ack 1
    0.011 > P. 1:301(300)     ack 1
    0.012 < .  1:1449(1448)   ack 301
    0.012 < P. 1449:2001(552) ack 301
    0.013 > .  301:301(0)     ack 1449
    0.030 < R. 2001:2001(0)   ack 301
"""


@pytest.mark.parametrize(("answer", "severity"), [("0.005 < S. 0:0(0) ack 1", "medium"), ("", "low")])
def test_bytes_are_lost_with_an_abort_only_where_the_handshake_is_whole(answer, severity):
    """Who lacks the SYN+ACK may lack the last ACK as well."""
    assert severities(ABORTED.format(answer), "abort_rst") == [severity]


@pytest.mark.parametrize(("first", "found"), [("", []), ("0.000 > S 0:0(0)\n0.001 < S. 0:0(0) ack 1", ["medium"])])
def test_a_window_of_unknown_scale_has_no_edge_that_an_rst_could_miss(first, found):
    """What was sent before the RST is missing, and its receiver acknowledges it afterwards."""
    text = f"""
        {first}
        0.010 > P. 1:301(300)   ack 1   win 63
        0.020 < .  1:1(0)       ack 301 win 64
        0.030 < R. 801:801(0)   ack 301
        0.040 > .  301:301(0)   ack 801 win 63
        0.041 > F. 301:301(0)   ack 801 win 63
    """
    assert severities(text, "rst_out_of_window") == found


def test_an_rst_far_beyond_any_window_is_seen_whatever_the_scale():
    text = """
        0.010 > P. 1:301(300)   ack 1   win 63
        0.020 < .  1:1(0)       ack 301 win 64
        0.030 < R. 805306769:805306769(0) ack 301
        0.500 > P. 301:401(100) ack 1   win 63
        0.510 < P. 1:101(100)   ack 401 win 64
    """
    assert severities(text, "rst_out_of_window") == ["medium"]


def closing_first(port):
    """A client that asks and closes its direction at once, and a server that closes without a byte."""
    return f"""
        port {port} 7979
        {port % 10}.000 > S  0:0(0)
        {port % 10}.001 < S. 0:0(0)     ack 1
        {port % 10}.002 > .  1:1(0)     ack 1
        {port % 10}.003 > P. 1:101(100) ack 1
        {port % 10}.003 > F. 101:101(0) ack 1
        {port % 10}.010 < F. 1:1(0)     ack 102
        {port % 10}.011 > .  102:102(0) ack 2
    """


@pytest.mark.parametrize(("other", "said"), [("", True), ("addr 10.9.9.9 10.0.0.2\n", False)])
def test_a_connection_behind_a_translation_is_no_second_one(other, said):
    """Under another name, with the same numbers at the same moment; twice as many do not ask in vain."""
    again = closing_first(40001).replace(" 40001 ", " 50001 ") if other else "isn 7777 8888\n" + closing_first(40002)
    found = [d.cause for d in diagnoses(closing_first(40001) + other + again)]
    assert ("half_close_unsupported" in found) == said


REUSED = """
    isn 1000 5000
    0.000 > S  0:0(0)
    0.003 < S. 0:0(0)   ack 1
    0.004 > .  1:1(0)   ack 1
    0.005 > P. 1:101(100) ack 1
    0.006 < F. 1:1(0)   ack 101
    0.007 > F. 101:101(0) ack 2
    0.008 < .  2:2(0)   ack 102
"""


@pytest.mark.parametrize(("went_on", "found"), [("0.02 > . 1:1(0) ack 1", []), ("", ["medium"])])
def test_answers_behind_a_handshake_are_no_flood(went_on, found):
    """They are those of later connections on the same ports, whose SYNs are stamped late or missing."""
    text = f"0.00 > S 0:0(0)\n0.01 < S. 0:0(0) ack 1\n{went_on}\n"
    text += "".join(f"{n}.00 < S. 0:0(0) ack {1000 * n}\n" for n in range(1, 9))
    assert severities(text, "synack_flood") == found


@pytest.mark.parametrize(("number", "said"), [(0, False), (500, True)])
def test_the_syn_of_a_connection_that_comes_once_more_uses_no_port_again(number, said):
    """It was repeated, and overtaken by all the rest."""
    text = (
        REUSED
        + f"""
        isn {1000 + number} 70000
        0.100 > S  0:0(0)
        isn 1000 5000
        0.101 < .  2:2(0)  ack 102
        end 3
    """
    )
    assert ("port_in_time_wait" in [d.cause for d in diagnoses(text)]) == said


@pytest.mark.parametrize(("cut", "severity"), [(0, "medium"), (OPT_SHORT, "low")])
def test_where_options_are_cut_nothing_tells_a_loss_from_what_was_overtaken(cut, severity):
    """Fast retransmissions, and no D-SACK that says that they came twice: there may have been some."""
    text = "0.000 > S 0:0(0) <mss 1460,sackok>\n0.010 < S. 0:0(0) ack 1 <mss 1460,sackok>\n0.020 > . 1:1(0) ack 1\n"
    for n in range(4):
        at, seq = 1 + n, 1 + 5000 * n
        text += "".join(f"{at}.{k:03} > . {seq + 1000 * k}:{seq + 1000 * k + 1000}(1000) ack 1\n" for k in range(5))
        text += "".join(f"{at}.{100 + k} < . 1:1(0) ack {seq}\n" for k in range(4))
        text += f"{at}.110 > . {seq}:{seq + 1000}(1000) ack 1\n{at}.210 < . 1:1(0) ack {seq + 5000}\n"
    segments = parse(text).segments
    for s in range(0, len(segments), SEGMENT_SIZE):
        segments[s + S_OPTIONS] |= cut
    found = [f.severity for f in run(segments, rules=True).findings if f.kind == "lost_after_v"]
    assert found == [severity]


@pytest.mark.parametrize(("more", "severity"), [("", "low"), ("3.60 > P. 101:201(100) ack 1", "high")])
def test_nobody_gives_up_after_three_times(more, severity):
    """Where the fourth was due frames may be missing; where that passed, too, and nothing after it, its sender did."""
    text = f"""
        0.00 > S  0:0(0)
        0.01 < S. 0:0(0) ack 1
        0.02 > .  1:1(0) ack 1
        0.03 > P. 1:101(100)   ack 1
        0.04 < .  1:1(0)       ack 101
        0.20 > P. 101:201(100) ack 1
        0.41 > P. 101:201(100) ack 1
        0.84 > P. 101:201(100) ack 1
        1.70 > P. 101:201(100) ack 1
        {more}
        end 30
    """
    assert severities(text, "retransmission_timeout_abort") == [severity]
