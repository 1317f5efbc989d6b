"""FINs that the capture does not hold, and closes that went before it: what the other segments tell of them."""

from __future__ import annotations

import pytest

from tcptrace_fsm.tcp.profiles import AUTO
from tests.courses import FAR, Row, goes_through
from tests.strategies import run
from tests.test_fingerprint import GVISOR, LINUX


def states(text: str, side: str, profile: str = AUTO) -> str:
    """What the end went through once it was established."""
    path = [step.target for step in run(text, profile=profile).connections[0].of(side)]
    return " ".join(path[path.index("ESTABLISHED") + 1 :])


def begun(answer: str, *, fin: str = "id 505 <ts 350/100>", before: str = "id 106 <ts 120/300>", ttl: int = 64) -> str:
    """A capture that begins with data of the server, which then closes; the client answers somehow."""
    return f"""
        1.000 < P. 201:301(100) ack 102 id 504 <ts 300/100>
        1.001 > .  102:102(0)   ack 301 ttl {ttl} win 500 {before}
        1.500 < F. 301:301(0)   ack 102 {fin}
        {answer.replace(">", f"> . 102:102(0) ack 302 ttl {ttl}", 1)}
        end 3
    """


SECOND = "1.501 > win 500 id 107 <ts 620/350>"


@pytest.mark.parametrize(
    "text",
    [
        begun(SECOND.replace("1.501", "1.545")),  # delayed, as in ESTABLISHED
        begun(SECOND.replace("id 107", "id 108")),  # not the connection's own numbers
        begun(SECOND.replace("id 107", "id 0")),
        begun(SECOND, ttl=128),  # no Linux
        begun(SECOND.replace("620/350", "620/300")),  # gVisor's echo
        begun(SECOND.replace("win 500", "win 900")),  # its reader has just made room
        begun(SECOND, before="id 106 <ts 120/300>").replace("ack 301 ttl", "ack 251 ttl"),  # something was unanswered
        begun(SECOND).replace("end 3", "1.600 > F. 102:102(0) ack 302 id 108 <ts 720/350>\nend 3"),
    ],
)
def test_who_may_just_have_heard_of_the_close_has_not_closed_before(text):
    assert states(text, "client").startswith("CLOSE_WAIT")


def test_who_answers_a_fin_at_once_closed_before_the_capture_began():
    assert states(begun(SECOND), "client") == "FIN_WAIT_2 TIME_WAIT"
    assert states(begun(SECOND), "server") == "CLOSE_WAIT LAST_ACK CLOSED"
    for other in ("bsd", "lwip"):  # these answer each FIN at once
        assert states(begun(SECOND), "client", other) == "CLOSE_WAIT"


TIME_WAIT = """
    1.000 < F. 201:201(0) ack 102 id 505 <ts 400/100>
    1.001 > .  102:102(0) ack 202 id {number} ttl 64 <ts 620/{echo}>
    1.210 < F. 201:201(0) ack 102 id 506 <ts 610/100>
    1.211 > .  102:102(0) ack 202 id {number} ttl 64 <ts 830/{again}>
    end 3
"""


def test_a_time_wait_that_was_there_before_takes_no_timestamp():
    text = TIME_WAIT.format(number=0, echo=300, again=300)
    assert states(text, "client") == "FIN_WAIT_2 TIME_WAIT"
    assert states(text, "server") == "CLOSE_WAIT LAST_ACK CLOSED"
    for number, echo, again in ((0, 400, 610), (107, 300, 300)):  # a system that numbers nothing; a socket
        text = TIME_WAIT.format(number=number, echo=echo, again=again)
        assert states(text, "client") == "CLOSE_WAIT"


def linux(name: str, text: str, side: str, path: str, opening: str = FAR) -> Row:
    """What passes behind an opening between two Linux."""
    return Row(name, text, side, path, opening, LINUX, LINUX)


# Without the third ACK, and all other bare ones.
BARE = """
    0.000 > S  0:0(0)               {client} id 101
    0.020 < S. 0:0(0)       ack 1   {server} id 0
    0.100 > P. 1:101(100)   ack 1            id 103
    0.120 < P. 1:201(200)   ack 101          id 502
"""
BOTH_CLOSE = """
    0.150 < F. 201:201(0)   ack 101 id 503
    0.200 > F. 101:101(0)   ack 202 id {}
    end 0.300
"""
LAST = "1.000 {} 102:102(0) ack 202 id 106\nend 3"
ROWS = [
    # --- both FINs are missing: who sends the last ACK closed first ---
    linux("the_last_ack_is_the_clients", LAST.format("> ."), "client", "FIN_WAIT_2 TIME_WAIT"),
    linux("its_server_closed_second", LAST.format("> ."), "server", "CLOSE_WAIT CLOSED"),
    linux(
        "an_ack_that_does_not_count_a_fin_is_not_the_last",
        "1.000 > . 101:101(0) ack 202 id 106\nend 3",
        "client",
        "CLOSE_WAIT",
    ),
    # --- no bare ACK is in the capture: nor are the last one, and the one before the peer's FIN ---
    linux("the_last_ack_is_not_in_it_either", BOTH_CLOSE.format(105), "client", "CLOSE_WAIT LAST_ACK CLOSED", BARE),
    linux("nor_that_of_the_first_fin", BOTH_CLOSE.format(106), "server", "FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT", BARE),
    linux("none_of_the_first_fin_was_sent", BOTH_CLOSE.format(104), "server", "FIN_WAIT_1 TIME_WAIT", BARE),
    linux(
        "other_bare_acks_are_in_it",
        BOTH_CLOSE.format(105).replace("end", "0.210 < . 202:202(0) ack 101 id 504\nend"),
        "client",
        "CLOSE_WAIT LAST_ACK",
        BARE,
    ),
    linux(
        "no_number_says_that_there_was_one",
        BOTH_CLOSE.format(105),
        "client",
        "CLOSE_WAIT LAST_ACK",
        BARE.replace("id 103", "id 102"),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_what_an_end_went_through(row):
    goes_through(row)


GVISORS = """
    1.000 > F. 101:101(0)   ack 201 id 105 <ts 900/200>
    1.020 < .  201:201(0)   ack 102 id 503 <ts 1000/200>
    1.220 < F. 201:201(0)   ack 102 id 509 <ts {}/900>
    1.240 > .  102:102(0)   ack 202 id 106 <ts 1140/1000>
    end 3
"""


@pytest.mark.parametrize(
    "stamp, stack, path",
    [
        (1200, GVISOR, "CLOSE_WAIT LAST_ACK FIN_WAIT_1 FIN_WAIT_2"),
        (1201, GVISOR, "CLOSE_WAIT LAST_ACK FIN_WAIT_1 FIN_WAIT_2"),  # a tick of its clock lay in between
        (1203, GVISOR, "CLOSE_WAIT LAST_ACK CLOSED"),
        (1198, GVISOR, "CLOSE_WAIT LAST_ACK CLOSED"),
        (1200, LINUX, "CLOSE_WAIT LAST_ACK CLOSED"),  # does not start again
    ],
)
def test_a_fin_that_leaves_one_least_rto_after_the_ack_is_a_second_one(stamp, stack, path):
    goes_through(Row("", GVISORS.format(stamp), "server", path, client=stack, server=stack))


@pytest.mark.parametrize(
    "at, path", [("1.290", "FIN_WAIT_1 CLOSING FIN_WAIT_1 FIN_WAIT_2"), ("1.025", "FIN_WAIT_1 CLOSING TIME_WAIT")]
)
def test_a_fin_that_passes_behind_what_counts_it_is_a_second_one(at, path):
    text = f"""
        1.000 > F. 101:101(0)   ack 201 id 105 <ts 900/200>
        1.020 < .  202:202(0)   ack 102 id 504 <ts 1000/200>
        {at} < F. 201:201(0)   ack 102 id 509 <ts 1270/900>
        1.310 > .  102:102(0)   ack 202 id 106 <ts 1210/1000>
        end 3
    """
    goes_through(Row("", text, "server", path, client=GVISOR, server=GVISOR))


FINS_CROSS = """
    1.000 > F. 101:101(0)   ack 201 id 105
    1.015 < .  202:202(0)   ack 101 id 504
    1.020 < .  202:202(0)   ack 102 id 505
    end 3
"""


def test_who_counts_an_unseen_fin_before_it_takes_the_other_closed_at_the_same_time():
    goes_through(linux("", FINS_CROSS, "server", "CLOSING"))


@pytest.mark.parametrize(
    "text, path",
    [
        ("1.025 < . 1:1(0) ack 1", "SYN_RECEIVED"),
        ("1.025 < . 1:1(0) ack 1\n1.027 > P. 1:101(100) ack 1", "SYN_RECEIVED ESTABLISHED"),
    ],
)
def test_a_syn_that_comes_again_is_answered_by_a_listeners_ack_in_syn_received(text, path):
    syn = "win 29184 ttl 64 <mss 1460, ts 100/0, scale 5>"
    went = run(f"0 > S 0:0(0) {syn}\n1 > S 0:0(0) {syn}\n{text}\nend 1.5", profile=AUTO).connections[0]
    assert " ".join(s.target for s in went.of("server")) == path


@pytest.mark.parametrize(
    "number, stack, closed",
    [
        (1500, GVISOR, True),  # inside the window
        (201, GVISOR, True),
        (9_000_000, GVISOR, False),
        (1500, LINUX, False),  # draws a challenge ACK instead (RFC 5961 section 3.2)
    ],
)
def test_gvisor_obeys_an_rst_anywhere_inside_the_window(number, stack, closed):
    text = FAR.format(client=stack.format(ecr=0), server=stack.format(ecr=100)) + f"1 < R. {number}:{number}(0) ack 101"
    path = [step.target for step in run(text + "\nend 3", profile=AUTO).connections[0].of("client")]
    assert (path[-1] == "CLOSED") == closed


@pytest.mark.parametrize(
    "number, path",
    [
        (504, "CLOSE_WAIT LAST_ACK CLOSED"),  # one packet has not passed: a FIN that acknowledges
        (505, "FIN_WAIT_1 CLOSING TIME_WAIT"),  # its FIN, and the ACK of the client's
    ],
)
def test_a_fin_and_the_ack_of_its_peers_are_one_packet_or_two_by_number(number, path):
    text = f"""
        1.000 > F. 101:101(0)   ack 201 id 105 <ts 900/200>
        1.240 > F. 101:101(0)   ack 201 id 106 <ts 1140/200>
        1.260 < .  202:202(0)   ack 102 id {number} <ts 1240/1140, sack 101:102>
        1.264 < F. 201:201(0)   ack 102 id {number + 1} <ts 1246/1140>
        1.284 > .  102:102(0)   ack 202 id 107 <ts 1184/1246>
        end 3
    """
    goes_through(linux("", text, "server", path))


@pytest.mark.parametrize("ack, path", [(102, "FIN_WAIT_1 TIME_WAIT"), (101, "FIN_WAIT_1 CLOSING TIME_WAIT")])
def test_a_fin_acknowledges_whichever_copy_of_it_is_taken(ack, path):
    """The client repeats its FIN just before the server's second one reaches it, later than usual."""
    text = f"""
        1.000 > F. 101:101(0)   ack 201 id 105 <ts 900/200>
        1.020 < F. 201:201(0)   ack {ack} id 503 <ts 1000/900>
        1.240 < F. 201:201(0)   ack {ack} id 504 <ts 1220/900>
        1.300 > F. 101:101(0)   ack 201 id 106 <ts 1199/200>
        1.301 > .  102:102(0)   ack 202 id 107 <ts 1200/1220>
        1.320 < .  202:202(0)   ack 102 id 505 <ts 1300/1199>
        end 3
    """
    goes_through(linux("", text, "client", path))


@pytest.mark.parametrize(
    "echo, path", [(1000, "FIN_WAIT_1 CLOSING TIME_WAIT"), (1240, "FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT")]
)
def test_who_echoes_what_follows_a_fin_had_taken_it_before_it_came_again(echo, path):
    text = f"""
        1.000 > F. 101:101(0)   ack 201 id 105 <ts 900/200>
        1.100 < F. 201:201(0)   ack 101 id 503 <ts 1080/200>
        1.101 > .  102:102(0)   ack 202 id 106 <ts 1000/1080>
        1.241 > F. 101:101(0)   ack 202 id 107 <ts 1240/1080>
        1.261 < .  202:202(0)   ack 102 id 0   <ts 1260/{echo}>
        end 3
    """
    goes_through(linux("", text, "server", path))
