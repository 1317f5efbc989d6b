"""Captures that lack segments, or hold connections of one four-tuple in pieces: nothing is made of what is missing."""

from __future__ import annotations

import re

import pytest

from tcptrace_fsm.capture.scripted import Script, parse
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.core.words import SEVERITIES
from tcptrace_fsm.findings import RULES
from tcptrace_fsm.runs.run import new_engine
from tcptrace_fsm.tcp.notation import read
from tcptrace_fsm.tcp.profiles import AUTO
from tests.strategies import plain_engine, run, watched_engine
from tests.test_fingerprint import FREEBSD, LINUX

pytestmark = pytest.mark.plain

CLOSED = """
    isn 1000 5000
    0.000 > S  0:0(0)
    0.010 < S. 0:0(0)     ack 1
    0.020 > .  1:1(0)     ack 1
    0.030 > P. 1:101(100) ack 1
    0.040 < P. 1:201(200) ack 101
    0.050 > .  101:101(0) ack 201
    0.100 > F. 101:101(0) ack 201
    0.110 < F. 201:201(0) ack 102
    0.120 > .  102:102(0) ack 202
"""


def later(text: str, seconds: float, isn: tuple[int, int]) -> str:
    """The conversation so much later, by other numbers."""
    moved = re.sub(r"(?m)^\s*(\d+\.\d+)", lambda m: f"{float(m[1]) + seconds:.6f}", text)
    return moved.replace("isn 1000 5000", "isn {} {}".format(*isn))


def without(text: str, *lines: int) -> str:
    """The conversation without some of its segments."""
    head, *rest = [line for line in text.splitlines() if line.strip()]
    return "\n".join([head, *(line for i, line in enumerate(rest) if i not in lines)]) + "\n"


def surveyed(text: str) -> set[str]:
    """The kinds of finding, those about all connections together among them."""
    engine = new_engine(Settings())
    engine.feed(parse(text))
    engine.finish()
    found = set()
    while (done := engine.take()) is not None:
        found |= {f.kind for f in done.findings}
    return found


def loud(outcome) -> list[str]:
    return [f"{f.kind}: {f.message}" for f in outcome.findings if SEVERITIES.index(f.severity) >= 2]


@pytest.mark.parametrize("kind", ["installed", "plain", "watched"])
@pytest.mark.parametrize("missing", [(0,), (0, 1), (0, 1, 2), (0, 1, 2, 3)])
def test_a_connection_whose_opening_is_missing_is_one_of_its_own(missing, kind):
    """By its numbers: the one before it on the same ports has been closed by both."""
    more = {} if kind == "installed" else {"engine": plain_engine() if kind == "plain" else watched_engine()}
    text = CLOSED + without(later(CLOSED, 8, (300_000_000, 2_000_000_000)), *missing)
    outcome = run(text, rules=True, **more)
    first, second = outcome.connections
    assert (first["C_INCARNATION"], second["C_INCARNATION"]) == (0, 1)
    assert second["C_PREVIOUS_ID"] == first["C_ID"]
    assert first.states == second.states == ("TIME_WAIT", "CLOSED")
    assert loud(outcome) == []


def test_the_syn_may_come_behind_its_answer():
    """One direction is stamped later than the other."""
    lines = later(CLOSED, 8, (300_000_000, 2_000_000_000)).splitlines()
    text = CLOSED + "\n".join([lines[1], lines[3].replace("8.010", "7.990"), lines[2], *lines[4:]])
    outcome = run(text, rules=True)
    assert len(outcome.connections) == 2
    assert loud(outcome) == []


def test_what_lies_near_is_of_the_same_connection():
    """Late copies of a connection's own segments, and an RST of whatever number, open none."""
    text = CLOSED + "isn 1000 5000\n3.0 > P. 1:101(100) ack 1\n3.1 < R 900000000:900000000(0)\n"
    assert len(run(text).connections) == 1


@pytest.mark.parametrize("first", [(), (6,), (7,), (6, 7), (6, 7, 8), (1, 6, 7, 8), (3, 4, 5, 6, 7, 8), (0, 7)])
@pytest.mark.parametrize("second", [(0,), (0, 1), (0, 2, 3), (1,), (0, 1, 2, 4, 5)])
def test_two_connections_of_which_parts_are_missing_accuse_nobody(first, second):
    """One in so many packets of a capture, or a point that sees half of them."""
    text = without(CLOSED, *first) + without(later(CLOSED, 8, (300_000_000, 2_000_000_000)), *second)
    assert loud(run(text, rules=True)) == []


@pytest.mark.parametrize("stamp", [True, False])
def test_equal_stamps_do_not_put_an_answer_before_its_question(stamp):
    """The old connection's last segments bear the stamp of the new SYN, or the SYN comes in its turn."""
    text = CLOSED + later(CLOSED, 0 if stamp else 8, (300_000_000, 2_000_000_000))
    if stamp:
        text = re.sub(r"(?m)^\s*\d+\.\d+", "0.000", text)
    assert loud(run(text, rules=True)) == []


OPEN = """
    0.000 > S  0:0(0)
    0.010 < S. 0:0(0)     ack 1  win 1000
    0.020 > .  1:1(0)     ack 1
"""
BEYOND = "1.000 > P. 1:401(400) ack 1\n1.010 < . 1:1(0) ack 401 win 1000\n1.100 > P. 3001:3401(400) ack 1\n"


@pytest.mark.parametrize(
    ("rest", "speaks"),
    [
        ("", True),
        ("1.110 < . 1:1(0) ack 401 win 1000\n", True),
        ("1.110 < . 1:1(0) ack 3401 win 1000\n", False),
        ("1.200 < P. 1:101(100) ack 2001 win 1000\n", False),
    ],
)
def test_a_window_is_overrun_only_where_no_acks_are_missing(rest, speaks):
    """What was acknowledged in the end had room; and where ACKs of unseen data came, others may be missing, too."""
    assert any(m.startswith("out_of_window_segment") for m in loud(run(OPEN + BEYOND + rest, rules=True))) is speaks


def test_a_filter_on_data_shows_no_window():
    """Without the ACK that opens the connection nobody knows which of the others were left out."""
    text = "\n".join(line for line in (OPEN + BEYOND).splitlines() if " .  " not in line and " . " not in line)
    assert loud(run(text, rules=True)) == []


@pytest.mark.parametrize(("answer", "speaks"), [("2.000 < R. 1:1(0) ack 101", False), ("0.012 < R 1:1(0)", True)])
def test_data_before_a_handshake_need_a_server_that_denies_it(answer, speaks):
    """An ACK number that fits proves that the client had its SYN+ACK, unless the server says otherwise at once."""
    text = f"0.000 > S 0:0(0)\n0.010 > P. 1:101(100) ack 1\n{answer}\n"
    said = loud(run(text, rules=True))
    assert any(m.startswith("data_before_established") for m in said) is speaks


@pytest.mark.parametrize(("reset", "speaks"), [("R. 301:301(0) ack 1", True), ("R. 301:301(0) ack 901", False)])
def test_an_rst_that_acknowledges_what_is_not_here_shows_that_more_is_missing(reset, speaks):
    text = OPEN + f"1.000 > P. 1:301(300) ack 1\n1.010 > {reset}\n"
    assert any(m.startswith("abort_rst") for m in loud(run(text, rules=True))) is speaks


def test_who_opens_the_four_tuple_anew_has_not_waited_in_fin_wait_2():
    """The peer's FIN was not captured; the server takes the new SYN at once."""
    text = without(CLOSED, 7, 8) + "0.110 < . 201:201(0) ack 102\n" + later(CLOSED, 9, (300_000_000, 2_000_000_000))
    assert not [m for m in loud(run(text, rules=True)) if m.startswith("stuck")]
    assert any(m.startswith("stuck") for m in loud(run(without(CLOSED, 7, 8) + "0.11 < . 201:201(0) ack 102\nend 19\n",
                                                       rules=True)))  # fmt: skip


def test_the_same_packets_again_are_no_reuse_of_ports():
    """A capture that was sent again: no TCP takes an ISN twice."""
    each = [f"port {41000 + i} 80\n{CLOSED}" for i in range(30)]
    again = [f"port {41000 + i} 80\n{later(CLOSED, 9, (1000, 5000))}" for i in range(30)]
    other = [f"port {41000 + i} 80\n{later(CLOSED, 9, (90000, 700000))}" for i in range(30)]
    assert "port_exhaustion_suspected" not in surveyed("\n".join(each + again))
    assert "port_exhaustion_suspected" in surveyed("\n".join(each + other))


ASKED = """
    0.000 > S  0:0(0)
    0.010 < S. 0:0(0)     ack 1
    0.020 > .  1:1(0)     ack 1
    0.030 > P. 1:301(300) ack 1
    0.040 < .  1:1(0)     ack 301
    0.050 < P. 1:901(900) ack 301
    0.060 > .  301:301(0) ack 901
    1.000 > P. 301:601(300) ack 901
    1.010 < .  901:901(0) ack 601
"""


@pytest.mark.parametrize(
    ("answer", "slow"),
    [
        ("6.000 < P. 901:1801(900) ack 601\n6.010 > F. 601:601(0) ack 1801\n", True),
        ("6.000 < P. 1801:2701(900) ack 601\n6.010 > F. 601:601(0) ack 2701\n", False),
    ],
)
def test_nobody_is_slow_whose_answer_may_be_what_is_missing(answer, slow):
    """What follows a gap is not the first of the answer. The client wanted no more than that: it closes."""
    engine = new_engine(Settings())
    engine.feed(parse(ASKED + answer))
    engine.finish()
    causes = set()
    while (done := engine.take()) is not None:
        causes |= {d.cause for d in done.diagnoses if SEVERITIES.index(d.severity) >= 2}
    assert ("server_slow" in causes) is slow


def test_two_clocks_show_no_optimist():
    """ACKs that stand before their data are the other interface's, where the capture holds copies."""
    lines = read(RULES["optimistic_ack"].example).lines
    one = lines[1]._replace(ip_id=7)
    copied = [lines[0], one, one._replace(time=one.time + 100_000), *lines[2:]]
    said = ["optimistic_ack" in {f.kind for f in run(Script(each), rules=True).findings} for each in (lines, copied)]
    assert said == [True, False]


GAP = "2.000 > . 2001:2002(1) ack 1\n2.010 < . 1:1(0) ack 2002 win 0\n"


def test_a_window_shut_in_a_capture_that_misses_segments_is_low():
    """It may have been opened in one of those."""
    shut = "1.000 > P. 1:401(400) ack 1\n1.010 < . 1:1(0) ack 401 win 0\n"
    for more, speaks in (("end 9\n", True), (GAP + "end 9\n", False)):
        said = loud(run(OPEN + shut + more, rules=True))
        assert any(m.startswith("zero_window") for m in said) is speaks


@pytest.mark.parametrize("kept", [1, 4, 7])
def test_three_connections_of_one_direction_and_little_of_the_other_accuse_nobody(kept):
    """One way passes here, the other hardly ever."""
    numbers = ((1000, 5000), (300_000_000, 2_000_000_000), (3_000_000_000, 900_000_000))
    gone = [n for n in (1, 4, 7) if n != kept]
    text = "".join(without(later(CLOSED, 8 * n, isn), *(gone if n else (1, 4, 7))) for n, isn in enumerate(numbers))
    assert loud(run(text, rules=True)) == []


def test_one_direction_stamped_late_does_not_mix_two_connections():
    """Every ACK of the server stands before its data, and its SYN+ACK before the SYN."""
    lines = [line for line in (CLOSED + later(CLOSED, 8, (300_000_000, 2_000_000_000))).splitlines() if line.strip()]
    late = [re.sub(r"\d+\.\d+", lambda m: f"{float(m[0]) + 0.05:.3f}", line) if ">" in line else line for line in lines]
    halves = late[1:10], late[11:]
    ordered = [sorted(half, key=lambda line: float(line.split()[0])) for half in halves]
    outcome = run("\n".join([late[0], *ordered[0], late[10], *ordered[1]]), rules=True)
    assert [c["C_INCARNATION"] for c in outcome.connections] == [0, 1]
    assert loud(outcome) == []


ALONE = "isn 1000 0\n{0}\nend 3"


@pytest.mark.parametrize(
    "text, path",
    [
        # lwIP aborts what it has asked for: RCV.NXT is 0 still
        ("1.000 > R. 1:1(0) ack 0 id 5 ttl 255", "CLOSED SYN_SENT CLOSED"),
        ("1.000 > R. 1:1(0) ack 0 id 5 ttl 64", ""),  # others send none in SYN_SENT: a middlebox's answer to an ACK
        ("1.000 > R. 1:1(0) ack 9 id 5 ttl 255", ""),  # it had received something
        ("1.000 > R 1:1(0) id 5 ttl 255", ""),
        ("1.000 < R. 1:1(0) ack 1 id 5 ttl 255", ""),
        # and such an RST that has overtaken its SYN, as its number shows
        ("1.000 > R. 1:1(0) ack 0 id 5\n1.001 > S 0:0(0) id 4", "CLOSED SYN_SENT CLOSED"),
        ("1.000 > R. 1:1(0) ack 0 id 5\n1.001 > S 0:0(0) id 6", "CLOSED SYN_SENT"),  # it asked after that
        ("1.000 > R. 1:1(0) ack 0 id 5\n1.100 > S 0:0(0) id 4", "CLOSED SYN_SENT"),  # too late for that
        ("1.000 > R. 1:1(0) ack 1 id 5\n1.001 > S 0:0(0) id 4", "CLOSED SYN_SENT"),
    ],
)
def test_an_rst_of_nothing_aborts_what_was_asked_for(text, path):
    assert run(ALONE.format(text)).connections[0].path("client") == path


NUMBERED = """
    0.000 > S  0:0(0)             {0} id 101
    0.020 < S. 0:0(0)     ack 1   {1} id {{first}}
    0.040 > .  1:1(0)     ack 1   id 102
    0.100 > P. 1:101(100) ack 1   id 103
    0.120 < .  1:1(0)     ack 101 id 7001
    0.121 < P. 1:201(200) ack 101 id 7002
    0.141 > .  101:101(0) ack 201 id 104
    1.000 < {{rst}}
    end 3
"""


@pytest.mark.parametrize(
    "system, first, rst, path",
    [
        # Linux answers for nobody as it answers a SYN: by the number 0
        (LINUX, 0, "R  201:201(0) id 4660", "ESTABLISHED"),
        (LINUX, 0, "R  201:201(0) id 7003", "ESTABLISHED"),
        (LINUX, 0, "R  201:201(0) id 0", "ESTABLISHED CLOSED"),
        (LINUX, 0, "R. 201:201(0) ack 101 id 7003", "ESTABLISHED CLOSED"),  # a socket aborts
        (LINUX, 900, "R  201:201(0) id 4660", "ESTABLISHED CLOSED"),  # a Linux that numbers all, or something before it
        (FREEBSD, 0, "R  201:201(0) id 4660", "ESTABLISHED CLOSED"),
    ],
)
def test_a_linux_sends_no_bare_rst_with_a_number(system, first, rst, path):
    text = NUMBERED.format(system.format(ecr=0), system.format(ecr=100)).format(first=first, rst=rst)
    assert run(text, profile=AUTO).connections[0].path("server") == "LISTEN SYN_RECEIVED " + path


TWO_LOST = """
    0.0000 > S  0:0(0)              <mss 1460, sackok, ts 100/0, scale 7>
    0.0760 < S. 0:0(0)     ack 1    <mss 1460, sackok, ts 900/100, scale 7>
    0.0760 > .  1:1(0)     ack 1    <ts 176/900>
    0.1160 > P. 1:201(200) ack 1    <ts 216/900>
    0.1960 < P. 1:201(200) ack 201  <ts 1020/216>
    0.1960 > .  201:201(0) ack 201  <ts 296/1020>
    0.2970 > F. 201:201(0) ack 201  <ts 397/1020>
    0.5000 > F. 201:201(0) ack 201  <ts 600/1020>
    0.5780 < .  202:202(0) ack 202  <ts 1402/600, sack 201:202>
    {0:.4f} < F. 201:201(0) ack 202 <ts 1500/600>
    {0:.4f} > .  202:202(0) ack 202 <ts 830/1500>
    end 3
"""


@pytest.mark.parametrize(
    "again, path",
    [
        (0.633, "FIN_WAIT_1 CLOSING TIME_WAIT"),  # one time-out before, the peer's FIN was still on its way
        (0.728, "CLOSE_WAIT LAST_ACK CLOSED"),  # that had come by then
    ],
)
def test_when_a_fin_was_first_sent_whose_peer_had_sent_another(again, path):
    """Its ACK, by a duplicate SACK the second, counts a FIN that did not pass: the timer of that tells the order."""
    steps = [s.target for s in run(TWO_LOST.format(again)).connections[0].of("server")]
    assert " ".join(steps[steps.index("ESTABLISHED") + 1 :]) == path
