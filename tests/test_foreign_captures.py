"""What captures of strangers showed that no rule had reckoned with: odd stacks, closed sockets, damaged segments."""

from __future__ import annotations

import pytest

from tcptrace_fsm.capture.scripted import Script, parse
from tcptrace_fsm.kernels.layout import C_TIMES, WAIT_RETRANSMISSION
from tests.strategies import run
from tests.test_causes import diagnoses
from tests.test_surveys import findings as surveyed

pytestmark = pytest.mark.plain

OPEN = """
    0.000 > S  0:0(0)               id 101 <mss 1460>
    0.010 < S. 0:0(0)       ack 1   id 501 <mss 1460>
    0.011 > .  1:1(0)       ack 1   id 102
    0.012 > P. 1:101(100)   ack 1   id 103
    0.030 < .  1:1(0)       ack 101 id 502
"""


def severities(text: str) -> dict[str, str]:
    """The findings about single connections: kinds and how they weigh."""
    return {f.kind: f.severity for f in run(parse(text), rules=True).findings}


TRAIN = """
    0.400 > .  101:1101(1000)  ack 1 id 104
    0.4001 > . 1101:2101(1000) ack 1 id 105
    0.4002 > . 2101:3101(1000) ack 1 id 106
"""


def test_a_train_that_comes_again_behind_itself_with_its_numbers_was_sent_once():
    """No timer ran out between a packet and its copy."""
    again = TRAIN.replace("0.400", "0.4004").replace("0.40041", "0.4005").replace("0.40042", "0.4006")
    text = OPEN + TRAIN + again + "0.420 < . 1:1(0) ack 3101 id 503"
    (connection,) = run(parse(text)).connections
    assert connection.end("client", "E_RETRANSMITTED") == 0
    assert "rto_retransmission" not in severities(text)


def test_a_burst_of_repetitions_in_another_order_is_no_train_of_copies():
    """Each has a number of its own, and what is farthest ahead is not among them."""
    text = (
        OPEN
        + TRAIN
        + """
        1.400 > .  1101:2101(1000) ack 1 id 203
        1.4001 > . 101:1101(1000)  ack 1 id 202
        1.420 < .  1:1(0)          ack 3101 id 503
        """
    )
    (connection,) = run(parse(text)).connections
    assert connection.end("client", "E_RETRANSMITTED") == 2


CLOSED = """
    0.100 > F. 101:101(0)   ack 1   id 104
    0.110 < .  1:1(0)       ack 102 id 503
    0.150 < .  1:1(0)       ack 102 id 504
    0.200 < P. 1:501(500)   ack 102 id 505
"""


def test_a_closed_socket_that_answers_data_by_a_reset_of_other_numbers_is_gone():
    """Some systems number what no socket sends apart from what sockets send."""
    text = OPEN + CLOSED + "0.201 > R 102:102(0) id 9000\nend 60"
    found = severities(text)
    assert "rst_on_late_data" in found
    assert not {"stuck_fin_wait_2", "stuck_close_wait", "reply_rst"} & found.keys()


def test_a_reset_of_other_numbers_that_answers_nothing_new_is_not_the_hosts():
    """It would otherwise end a connection that it cannot see."""
    text = OPEN + CLOSED.splitlines()[1] + "\n" + CLOSED.splitlines()[2] + "\n5.0 > R 102:102(0) id 9000\nend 60"
    assert "rst_on_late_data" not in severities(text)


QUIET = {
    "a FIN behind a FIN, from a system that counts it": (
        "fin_seq_changed",
        OPEN
        + """
        0.100 < F. 1:1(0)   ack 101
        0.110 > .  101:101(0) ack 2
        0.120 > F. 101:101(0) ack 2
        0.121 < .  2:2(0)   ack 102
        0.122 < F. 2:2(0)   ack 102
        0.123 > R  102:102(0)
        """,
    ),
    "a reset for what was under way at the close": (
        "rst_out_of_window",
        OPEN
        + """
        0.100 > P. 101:201(100) ack 1
        0.110 < P. 1:6(5)       ack 201
        0.111 > .  201:201(0)   ack 6
        0.112 > P. 201:301(100) ack 6
        0.122 < P. 6:11(5)      ack 301
        0.123 > P. 301:401(100) ack 11
        0.133 < F. 11:68(57)    ack 301
        0.134 > P. 401:501(100) ack 69
        0.135 < R  6:6(0)
        0.400 > P. 301:401(100) ack 69
        1.000 > P. 301:401(100) ack 69
        """,
    ),
    "two answers to a SYN that came twice": (
        "synack_isn_changed high",
        """
        0.00 > S  0:0(0)
        1.00 > S  0:0(0)
        1.03 < S. 0:0(0) ack 1
        isn 1000 9999
        1.04 < S. 0:0(0) ack 1
        isn 1000 5000
        1.05 > .  1:1(0) ack 1
        """,
    ),
    "a damaged SYN+ACK": (
        "synack_bad_ack",
        """
        0.00 > S  0:0(0)
        0.01 < S. 0:0(0)       ack 5000 bad
        0.02 > .  1:1(0)       ack 1
        0.03 > P. 1:101(100)   ack 1
        0.04 < P. 1:301(300)   ack 101
        0.05 > .  101:101(0)   ack 301
        """,
    ),
    "a connection without news for hours": ("vanished", OPEN + "end 9000"),
    "late words of one who had the FIN late": (
        "rst_on_late_data",
        OPEN
        + """
        0.100 > P. 101:111(10)  ack 1
        0.400 > P. 101:111(10)  ack 1
        0.500 > F. 111:111(0)   ack 1
        1.000 > F. 101:111(10)  ack 1
        3.000 > F. 101:111(10)  ack 1
        3.020 < .  1:1(0)       ack 112
        3.024 < F. 1:101(100)   ack 112
        3.025 > R  112:112(0)
        """,
    ),
}


@pytest.mark.parametrize("name", QUIET)
def test_it_is_not_said_aloud(name):
    """As it is at home in other people's captures."""
    kind, text = QUIET[name]
    kind, *most = kind.split()
    assert severities(text).get(kind, "low") not in (most or ["medium", "high"])


LARGE = """
    0.000 > S  0:0(0)               <mss 1460>
    0.010 < S. 0:0(0)         ack 1 <mss 1460>
    0.011 > .  1:1(0)         ack 1
    0.012 > P. 1:6(5)         ack 1
    0.020 < P. 1:6(5)         ack 6
    0.021 > .  6:1446(1440)   ack 6
    0.022 > P. 1446:1463(17)  ack 6
    0.030 < .  6:6(0)         ack 1463
    0.031 > .  1463:2903(1440) ack 6
    0.3   > .  1463:2903(1440) ack 6
    0.9   > .  1463:2903(1440) ack 6
    2.1   > .  1463:2903(1440) ack 6
    4.5   > .  1463:2903(1440) ack 6
    9.3   > .  1463:2903(1440) ack 6
    port 40001 80
    5.000 > S  0:0(0)               <mss 1460>
    5.010 < S. 0:0(0)         ack 1 <mss 1460>
    5.011 > .  1:1(0)         ack 1
    end 12
"""


def causes(text: str) -> set[str]:
    """The causes that are named."""
    return {d.cause for d in diagnoses(text)}


def test_where_a_segment_of_that_size_was_acknowledged_the_path_takes_it():
    """It stands among those of which only the first is kept."""
    assert "mtu_black_hole" not in causes(LARGE)
    small = LARGE.replace("6:1446(1440)", "6:206(200)").replace("1446:1463(17)", "206:223(17)")
    small = small.replace("1463:2903", "223:1663").replace("ack 1463", "ack 223")
    assert "mtu_black_hole" in causes(small)


LATE = """
    0.000 > S  0:0(0)
    0.010 < S. 0:0(0)         ack 1
    0.011 > .  1:1(0)         ack 1
    0.012 > P. 1:101(100)     ack 1
    0.030 < .  1:1(0)         ack 101
    {again}
    5.012 > F. 101:101(0)     ack 1
    5.022 < .  1:1(0)         ack 102
    {late}
"""
ANSWERED = "9.022 < P. 1:901(900) ack 102\n9.023 > R 102:102(0)"


def test_an_answer_that_was_lost_before_was_not_late():
    """Nor is one to a request that had to be sent again."""
    assert "server_slow" in causes(LATE.format(again="", late=ANSWERED))
    behind = "9.022 < F. 901:1801(900) ack 102\n9.023 > R 102:102(0)"
    assert "server_slow" not in causes(LATE.format(again="", late=behind))
    again = "1.0 > P. 1:101(100) ack 1\n3.0 > P. 1:101(100) ack 1"
    assert "server_slow" not in causes(LATE.replace("0.030 <", "4.0 <").format(again=again, late=ANSWERED))


def test_the_pauses_of_one_subflow_are_no_losses():
    """What an application had begun to say goes on over another meanwhile."""
    pauses = [(0.1, 0), (0.9, 1), (1.7, 2), (2.5, 3)]
    burst = """
    {0:.3f} < .  {1}:{2}(1460)   ack 101 id {5}
    {0:.3f}5 < .  {2}:{3}(1460)  ack 101 id {6}
    {4:.3f} > .  101:101(0)   ack {3}
    """
    text = OPEN + "".join(
        burst.format(at, 1 + 2920 * n, 1461 + 2920 * n, 2921 + 2920 * n, at + 0.01, 510 + 2 * n, 511 + 2 * n)
        for at, n in pauses
    )
    assert "path_loss" in causes(text)
    assert "path_loss" not in causes(text.replace("<mss 1460>", "<mss 1460,mptcp>"))


STALLED = """
    0.000 > S  0:0(0)
    0.010 < S. 0:0(0)        ack 1
    1.030 < S. 0:0(0)        ack 1
    3.050 < S. 0:0(0)        ack 1
    end 20
"""
FILTERED = """
    port 40001 80
    4.000 > S  0:0(0)
    4.010 < S. 0:0(0)        ack 1
    4.500 > F. 301:301(0)    ack 1
    4.510 < F. 1:1(0)        ack 302
"""


def test_where_a_filter_leaves_acks_out_none_was_lost():
    """Other connections open and close without any."""
    assert "handshake_lost_in_path" in causes(STALLED)
    assert "handshake_lost_in_path" not in causes(FILTERED + STALLED.replace("0.000", "port 40000 80\n0.000"))


ECHOES = """
    0.000 > S  0:0(0)           <mss 1460,ts 1000/0>
    0.010 < S. 0:0(0)     ack 1 <mss 1460,ts 7000/1000>
    0.020 > .  1:1(0)     ack 1 <ts 1020/7000>
    0.030 > P. 1:18(17)   ack 1 <ts 1030/7000>
    0.040 < P. 1:18(17)   ack 18 <ts 7040/1030>
    0.050 > .  18:18(0)   ack 18 <ts 1050/7040>
    1.000 > P. 18:35(17)  ack 18 <ts 2000/7040>
    2.000 > P. 35:52(17)  ack 18 <ts 3000/{0}>
    3.000 > P. 52:69(17)  ack 18 <ts 4000/{1}>
    3.010 < P. 18:35(17)  ack 69 <ts 10010/4000>
"""


@pytest.mark.parametrize("echoes, waited_for", [((7040, 7040), 2.0), ((8010, 9010), 0.0)])
def test_who_echoes_the_timestamp_of_an_ack_had_it(echoes, waited_for):
    """That the capture does not hold it is the capture's affair."""
    (connection,) = run(parse(ECHOES.format(*echoes))).connections
    spent = connection.words[C_TIMES + 2 * WAIT_RETRANSMISSION]
    assert spent / 1e9 == pytest.approx(waited_for, abs=0.1)


def test_in_a_capture_appended_to_itself_nobody_waits_for_as_long_as_that_lasts():
    """An hour later the same packets come again."""
    lines = parse(OPEN + CLOSED.splitlines()[1] + "\n" + CLOSED.splitlines()[2] + "\nend 9.0").lines
    later = [line._replace(time=line.time + 3600 * 10**9) for line in lines]
    found = [f for f in run(Script(lines + later), rules=True).findings if f.kind == "stuck_fin_wait_2"]
    assert not [f.message for f in found if " 36" in f.message]


WORDS = """
    0.000 > S  0:0(0)           <mss 1460>
    0.010 < S. 0:0(0)     ack 1 <mss 1460>
    0.011 > .  1:1(0)     ack 1
    0.100 > P. 1:18(17)   ack 1
    0.110 < P. 1:18(17)   ack 18
    0.111 > .  18:18(0)   ack 18
    0.900 < P. 18:35(17)  ack 18
    0.901 > .  18:18(0)   ack 35
    1.500 > P. 18:{0}     ack 35
    1.501 < .  35:35(0)   ack {1}
    1.502 < R. 35:35(0)   ack {1}
"""


@pytest.mark.parametrize("said, weighs", [(17, {"low"}), (500, {"medium"})])
def test_a_few_words_that_were_acknowledged_may_have_been_read(said, weighs):
    """A request that was not answered is another matter."""
    text = WORDS.format(f"{18 + said}({said})", 18 + said)
    assert {d.severity for d in diagnoses(text)} == weighs


def test_a_syn_that_leads_up_to_a_connection_begun_inside_was_stamped_late():
    """It is its own beginning, not a new use of the ports."""
    inside = """
        isn {0} 900000
        0.000 > P. 301:401(100) ack 601
        0.010 < P. 601:701(100) ack 401
        0.011 > .  401:401(0)   ack 701
        isn 200000 900000
        1.400 > S  0:0(0)
        1.410 < S. 0:0(0)       ack 1
        1.420 > .  1:1(0)       ack 1
    """
    assert "active_connection_reuse" not in severities(inside.format(200000))
    assert "active_connection_reuse" in severities(inside.format(90200000))


def test_where_somebody_goes_on_after_a_reset_something_listens():
    """Whoever sent the RST."""
    refused = """
        0.000 > S  0:0(0)
        0.010 < R. 0:0(0)    ack 1
    """
    assert "nothing_listens" in causes(refused)
    assert "nothing_listens" not in causes(refused + "0.012 < F. 1:1(0) ack 1\n0.013 < S. 26000:26000(0) ack 1\n")


SHUT = """
    0.000 > S  0:0(0)
    0.0002 < . 1:1(0)              ack 1     win 33280
    0.0003 > . 1:1(0)              ack 1
    0.0010 < S. 0:0(0)             ack 1     win 65160
    0.0020 < . 1:1(0)              ack 1001  win 0
    0.0022 > P. 1:1001(1000)       ack 1
"""


def test_a_receiver_of_whom_nothing_is_heard_is_not_slow():
    """Its window was shut, and nobody answers any more who could open it."""
    probes = "".join(f"{0.25 * 2**n} > . 1000:1000(0) ack 1\n" for n in range(10))
    assert "receiver_slow" not in causes(SHUT + probes)


def rounds(*, reported: bool) -> str:
    """Four segments at a time, of which the first is sent again; every other one of these is reported as needless."""
    text = ""
    for n in range(12):
        at, a = 0.1 + n / 10, 1 + 4000 * n
        text += "".join(f"{at + i / 1000:.3f} > . {a + 1000 * i}:{a + 1000 * i + 1000}(1000) ack 1\n" for i in range(4))
        text += "".join(
            f"{at + i / 1000:.3f} < . 1:1(0) ack {a} <sack {a + 1000}:{a + 1000 * (i - 2)}>\n" for i in (4, 5, 6)
        )
        text += f"{at + 0.007:.3f} > . {a}:{a + 1000}(1000) ack 1\n{at + 0.008:.3f} < . 1:1(0) ack {a + 4000}\n"
        if reported and n % 2:
            text += f"{at + 0.009:.3f} < . 1:1(0) ack {a + 4000} <sack {a}:{a + 1000}>\n"
    return text


@pytest.mark.parametrize("reported, weighs", [(True, "low"), (False, "medium")])
def test_what_came_twice_had_been_overtaken(reported, weighs):
    """Where so many are reported, others are not lost by the way either."""
    start = OPEN.replace("1:101(100)", "1:1(0)").replace("ack 101", "ack 1")
    assert severities(start + rounds(reported=reported))["lost_after_v"] == weighs


TALKED = """
    0.000 > S  0:0(0)               <mss 1460>
    0.040 < S. 0:0(0)       ack 1   <mss 1460>
    0.041 > .  1:1(0)       ack 1
    0.042 > P. 1:101(100)   ack 1
    0.082 < P. 1:301(300)   ack 101
    0.083 > .  101:101(0)   ack 301
"""
CROSSING = {
    "near the client, the server's was lost before": """
        1.000 > F. 101:101(0)   ack 301
        1.040 < .  302:302(0)   ack 102
        1.220 < F. 301:301(0)   ack 102
        1.221 > .  102:102(0)   ack 302
    """,
    "near the client, its own was lost behind": """
        1.000 > F. 101:101(0)   ack 301
        1.020 < F. 301:301(0)   ack 101
        1.021 > .  102:102(0)   ack 302
        1.230 > F. 101:101(0)   ack 302
        1.270 < .  302:302(0)   ack 102
    """,
    "near the server, the client's was lost before": """
        1.000 < F. 301:301(0)   ack 101
        1.010 > .  102:102(0)   ack 302
        1.230 > F. 101:101(0)   ack 302
        1.231 < .  302:302(0)   ack 102
    """,
    "each was lost once": """
        1.000 < F. 301:301(0)   ack 101
        1.210 < F. 301:301(0)   ack 101
        1.230 > F. 101:101(0)   ack 301
        1.231 < .  302:302(0)   ack 102
        1.250 > .  102:102(0)   ack 302
    """,
}


@pytest.mark.parametrize("name", CROSSING)
def test_fins_cross_though_one_was_lost(name):
    """Then one of the two passes through CLOSING only."""
    assert "simultaneous_close" in severities(TALKED + CROSSING[name])


def test_who_closes_second_does_not_close_at_the_same_time():
    """However often its FIN has to be sent."""
    second = """
        1.000 > F. 101:101(0)   ack 301
        1.040 < .  301:301(0)   ack 102
        1.500 < F. 301:301(0)   ack 102
        1.710 < F. 301:301(0)   ack 102
        1.711 > .  102:102(0)   ack 302
    """
    assert "simultaneous_close" not in severities(TALKED + second)


@pytest.mark.parametrize("ack", [0, 2, 5000, 100001])
@pytest.mark.parametrize("again", ["", "1.000 > S  0:0(0)\n"])
def test_a_reset_with_a_wrong_ack_before_the_answer_to_a_syn_is_not_the_servers(ack, again):
    """Who refuses a SYN acknowledges it, and does not accept it a moment later."""
    text = f"0.000 > S 0:0(0)\n0.010 < R. 0:0(0) ack {ack}\n{again}1.020 < S. 0:0(0) ack 1\n1.021 > . 1:1(0) ack 1"
    assert severities(text)["rst_injection_suspected"] == "medium"
    if again:  # whoever refused the first may accept the second
        assert "rst_injection_suspected" not in severities(text.replace(f"ack {ack}", "ack 1"))


def test_a_capture_that_ends_between_two_fins_misses_a_close():
    """One side was to follow."""
    half = TALKED + "1.000 > F. 101:101(0) ack 301\n1.040 < . 301:301(0) ack 102\n"
    assert "capture_truncated_end" in [f.kind for f in surveyed(half)]
    whole = half + "1.5 < F. 301:301(0) ack 102\n1.501 > . 102:102(0) ack 302"
    assert "capture_truncated_end" not in [f.kind for f in surveyed(whole)]
