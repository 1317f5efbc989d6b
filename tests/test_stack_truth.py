"""What other stacks' own states showed to be hard, each class with its look-alikes: what an end went through."""

from __future__ import annotations

import pytest

from tcptrace_fsm.tcp.profiles import AUTO
from tests.courses import FAR, NEAR, SHORT, Row, goes_through
from tests.strategies import run
from tests.test_fingerprint import FREEBSD, LINUX, LWIP, OLD_BSD

CLOSED_BY_CLIENT = """
    1.000 > F. 101:101(0)   ack 201 id 105
    1.020 < F. 201:201(0)   ack 102 id 503
    1.040 > .  102:102(0)   ack 202 id 106
"""
HALF_CLOSED = """
    1.000 > F. 101:101(0)   ack 201 id 105
    1.020 < .  201:201(0)   ack 102 id 503
"""


ROWS = [
    # --- an RST that overtakes the ACK sent before it: the ACK meets no connection, and is answered by RST ---
    Row(
        "an_rst_overtook_the_ack_of_a_fin",
        """
        1.000 > F. 101:101(0)   ack 201
        1.020 < .  201:201(0)   ack 102
        1.020 < R. 201:201(0)   ack 102
        1.041 > R. 102:102(0)   ack 201
        end 3
        """,
        "client",
        "FIN_WAIT_1 CLOSED",
    ),
    Row(
        "a_bare_rst_answers_the_ack_that_was_overtaken",
        """
        1.000 > F. 101:101(0)   ack 201
        1.020 < .  201:201(0)   ack 102
        1.020 < R. 201:201(0)   ack 102
        1.041 > R  102:102(0)
        end 3
        """,
        "client",
        "FIN_WAIT_1 CLOSED",
        client=FREEBSD,
    ),
    Row(
        "an_rst_behind_the_ack_draws_nothing",
        """
        1.000 > F. 101:101(0)   ack 201
        1.020 < .  201:201(0)   ack 102
        1.020 < R. 201:201(0)   ack 102
        end 3
        """,
        "client",
        "FIN_WAIT_1 FIN_WAIT_2 CLOSED",
    ),
    Row(
        "what_was_answered_came_behind_the_rst",
        """
        1.000 > F. 101:101(0)   ack 201
        1.020 < .  201:201(0)   ack 102
        1.021 < R. 201:201(0)   ack 102
        1.022 < P. 201:301(100) ack 102
        1.042 > R. 102:102(0)   ack 301
        end 3
        """,
        "client",
        "FIN_WAIT_1 FIN_WAIT_2 CLOSED",
    ),
    # --- an RST that leaves before an ACK can have come is no answer to it ---
    Row(
        "aborted_before_the_ack_came",
        """
        1.000 < FP. 201:301(100) ack 101
        1.010 > F. 101:101(0)   ack 201
        1.012 < .  302:302(0)   ack 102
        1.020 > R. 102:102(0)   ack 302
        end 3
        """,
        "client",
        "FIN_WAIT_1 CLOSED",
    ),
    Row(
        "aborted_when_the_ack_had_come",
        """
        1.000 > F. 101:101(0)   ack 201
        1.020 < .  201:201(0)   ack 102
        1.060 < P. 201:301(100) ack 102
        1.082 > R. 102:102(0)   ack 301
        end 3
        """,
        "client",
        "FIN_WAIT_1 FIN_WAIT_2 CLOSED",
    ),
    # --- at the host itself: a FIN that came in is not taken yet when that leaves which does not acknowledge it ---
    Row(
        "a_fin_leaves_while_another_comes_in",
        """
        1.0000 > F. 101:101(0)   ack 201
        1.0001 < F. 201:201(0)   ack 101
        1.0002 < F. 201:201(0)   ack 102
        1.0400 > .  102:102(0)   ack 202
        end 3
        """,
        "server",
        "FIN_WAIT_1 CLOSING TIME_WAIT",
        NEAR,
        server=OLD_BSD,
    ),
    Row(
        "a_fin_leaves_that_acknowledges_the_other",
        """
        1.0000 > F. 101:101(0)   ack 201
        1.0001 < F. 201:201(0)   ack 102
        1.0401 > .  102:102(0)   ack 202
        end 3
        """,
        "server",
        "CLOSE_WAIT LAST_ACK CLOSED",
        NEAR,
    ),
    # --- who sends its FIN once more has not heard of an ACK of it ---
    Row(
        "a_fin_that_is_sent_again_was_not_acknowledged",
        """
        1.000 > F. 101:101(0)   ack 201
        1.020 < F. 201:201(0)   ack 101
        1.021 < F. 201:201(0)   ack 102
        1.041 > F. 101:101(0)   ack 202
        1.042 > .  102:102(0)   ack 202
        1.061 < .  202:202(0)   ack 102
        end 3
        """,
        "client",
        "FIN_WAIT_1 CLOSING TIME_WAIT",
        client=OLD_BSD,
        server=OLD_BSD,
    ),
    Row(
        "a_fin_that_was_acknowledged_is_not_sent_again",
        """
        1.000 > F. 101:101(0)   ack 201
        1.020 < F. 201:201(0)   ack 101
        1.240 < F. 201:201(0)   ack 102
        1.260 > .  102:102(0)   ack 202 id 106
        end 3
        """,
        "client",
        "FIN_WAIT_1 TIME_WAIT",
        client=FREEBSD,
        server=OLD_BSD,
    ),
    # --- ACK numbers never go back: a FIN that acknowledges less was sent before, however late it passes ---
    Row(
        "a_fin_that_was_held_up_went_before",
        """
        1.000 > F. 101:101(0)   ack 201
        1.020 < F. 201:201(0)   ack 102
        1.040 > .  102:102(0)   ack 202
        1.200 < F. 201:201(0)   ack 101
        1.220 > .  102:102(0)   ack 202
        end 3
        """,
        "server",
        "FIN_WAIT_1 CLOSING TIME_WAIT",
        client=OLD_BSD,
        server=OLD_BSD,
    ),
    Row(
        "a_fin_that_comes_again_went_after",
        """
        1.000 > F. 101:101(0)   ack 201
        1.020 < F. 201:201(0)   ack 102
        1.200 < F. 201:201(0)   ack 102
        1.220 > .  102:102(0)   ack 202
        end 3
        """,
        "server",
        "CLOSE_WAIT LAST_ACK CLOSED",
        client=OLD_BSD,
        server=OLD_BSD,
    ),
    Row(
        "a_fin_that_was_held_up_speaks_against_no_other",
        """
        1.000 > F. 101:101(0)   ack 201
        1.300 < F. 201:201(0)   ack 101
        1.320 > F. 101:101(0)   ack 202
        1.325 < F. 201:201(0)   ack 102
        1.345 > .  102:102(0)   ack 202
        1.345 < .  202:202(0)   ack 102
        end 3
        """,
        "server",
        "FIN_WAIT_1 CLOSING TIME_WAIT",
        client=OLD_BSD,
        server=OLD_BSD,
    ),
    # --- who has closed aborts on data before it gets to the FIN that comes with them (RFC 1122 4.2.2.13) ---
    Row(
        "data_with_a_fin_for_nobody",
        """
        1.000 > F. 101:101(0)    ack 201
        1.010 < FP. 201:301(100) ack 101
        1.030 > R. 102:102(0)    ack 302
        end 3
        """,
        "client",
        "FIN_WAIT_1 CLOSED",
    ),
    Row(
        "data_with_a_fin_that_is_acknowledged",
        """
        1.000 > F. 101:101(0)    ack 201
        1.010 < FP. 201:301(100) ack 101
        1.030 > .  102:102(0)    ack 302
        1.050 > R. 102:102(0)    ack 302
        end 3
        """,
        "client",
        "FIN_WAIT_1 CLOSING CLOSED",
    ),
    # --- what passes behind an RST and has a lower number was sent before it: that RST is its sender's own ---
    Row(
        "an_ack_from_before_the_rst",
        """
        1.000 > R. 101:101(0)   ack 201 id 106
        1.500 > .  101:101(0)   ack 101 id 105
        end 3
        """,
        "client",
        "CLOSED",
    ),
    Row(
        "an_ack_from_after_the_rst",
        """
        1.000 > R. 101:101(0)   ack 201 id 106
        1.500 > .  101:101(0)   ack 201 id 107
        end 3
        """,
        "client",
        "",
    ),
    # --- packets numbered one by one: none is missing behind its own FIN, so the first copy of the other never came ---
    Row(
        "no_answer_to_the_first_copy",
        """
        1.0000 < F. 201:201(0)   ack 101 id 503
        1.0003 > F. 101:101(0)   ack 201 id 105
        1.0003 < .  202:202(0)   ack 102 id 504
        2.5000 < F. 201:201(0)   ack 102 id 505
        2.5005 > .  102:102(0)   ack 202 id 106
        end 4
        """,
        "client",
        "FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT",
        SHORT,
    ),
    Row(
        "the_answer_to_the_first_copy_was_lost",
        """
        1.0000 < F. 201:201(0)   ack 101 id 503
        1.0003 > F. 101:101(0)   ack 201 id 105
        1.0003 < .  202:202(0)   ack 102 id 504
        2.5000 < F. 201:201(0)   ack 102 id 505
        2.5005 > .  102:102(0)   ack 202 id 107
        end 4
        """,
        "client",
        "FIN_WAIT_1 CLOSING TIME_WAIT",
        SHORT,
    ),
    Row(
        "a_copy_has_the_number_of_the_first",
        """
        1.0000 < F. 201:201(0)   ack 101 id 503
        1.0003 > F. 101:101(0)   ack 201 id 105
        1.0003 < .  202:202(0)   ack 102 id 504
        1.0006 > F. 101:101(0)   ack 201 id 105
        2.5000 < F. 201:201(0)   ack 102 id 505
        2.5005 > .  102:102(0)   ack 202 id 107
        end 4
        """,
        "client",
        "FIN_WAIT_1 CLOSING TIME_WAIT",
        SHORT,
    ),
    # --- a FIN behind a hole is taken when the hole is filled (RFC 9293 3.10.7.4) ---
    Row(
        "a_fin_behind_a_hole",
        """
        1.000 > F. 101:101(0)   ack 201
        1.020 < .  301:301(0)   ack 102
        1.020 < F. 301:301(0)   ack 102
        1.040 > .  102:102(0)   ack 201
        2.000 < P. 201:301(100) ack 102
        2.020 > .  102:102(0)   ack 302
        end 3
        """,
        "client",
        "FIN_WAIT_1 FIN_WAIT_2@1.03 TIME_WAIT@2.01",
    ),
    Row(
        "a_fin_behind_nothing",
        """
        1.000 > F. 101:101(0)   ack 201
        1.020 < P. 201:301(100) ack 102
        1.020 < F. 301:301(0)   ack 102
        1.040 > .  102:102(0)   ack 302
        2.000 < P. 201:301(100) ack 102
        2.020 > .  102:102(0)   ack 302
        end 3
        """,
        "client",
        "FIN_WAIT_1 FIN_WAIT_2@1.03 TIME_WAIT@1.03",
    ),
    # --- an old BSD obeys any RST inside its window (RFC 5961 is later) ---
    Row(
        "an_old_bsd_obeys_an_rst_anywhere_in_its_window",
        CLOSED_BY_CLIENT + "3.000 < R 602:602(0)\nend 4",
        "client",
        "FIN_WAIT_1 TIME_WAIT CLOSED",
        client=OLD_BSD,
    ),
    Row(
        "others_only_one_at_its_edge",
        CLOSED_BY_CLIENT + "3.000 < R 602:602(0)\nend 4",
        "client",
        "FIN_WAIT_1 TIME_WAIT",
        client=LINUX,
    ),
    # --- an RST whose number is far from those of its sender's packets was sent by somebody else ---
    Row(
        "an_rst_with_a_number_from_elsewhere",
        HALF_CLOSED + "1.060 > R 102:102(0) id 4660\nend 3",
        "client",
        "FIN_WAIT_1 FIN_WAIT_2",
    ),
    Row(
        "an_rst_with_the_next_number",
        HALF_CLOSED + "1.060 > R 102:102(0) id 106\nend 3",
        "client",
        "FIN_WAIT_1 FIN_WAIT_2 CLOSED",
    ),
    Row(
        "an_rst_without_a_number",
        HALF_CLOSED + "1.060 > R 102:102(0) id 0\nend 3",
        "client",
        "FIN_WAIT_1 FIN_WAIT_2 CLOSED",
    ),
    Row(
        "numbers_at_random_tell_nothing",
        HALF_CLOSED.replace("id 105", "id 9105") + "1.060 > R 102:102(0) id 4660\nend 3",
        "client",
        "FIN_WAIT_1 FIN_WAIT_2 CLOSED",
    ),
]


@pytest.mark.parametrize("row", [pytest.param(r, id=r.name) for r in ROWS])
def test_an_end_goes_through(row):
    goes_through(row)


@pytest.mark.parametrize("server, at, state", [(LWIP, 71, "TIME_WAIT"), (LWIP, 125, "CLOSED"), (LINUX, 21, "CLOSED")])
def test_lwip_refuses_a_syn_in_time_wait_and_stays(server, at, state):
    """Of others an RST shows that they are gone; and of it, once its TIME_WAIT is over."""
    close = """
        1.000 < F. 201:201(0)   ack 101
        1.020 > F. 101:101(0)   ack 202
        1.040 < .  202:202(0)   ack 102
    """
    opening = FAR.format(client=LWIP, server=server.format(ecr=100))
    again = f"{at}.000 > S 7000:7000(0) {LWIP}\n{at}.020 < R. 0:0(0) ack 7001\nend {at + 1}"
    first = run(opening + close + again, profile=AUTO).connections[0]
    assert first.path("server").split()[-1] == state


@pytest.mark.parametrize(
    "between, path",
    [
        ("1.000 > S 0:0(0)\n1.020 < . 1:1(0) ack 1", "SYN_RECEIVED CLOSED"),  # it answers the SYN (RFC 9293 3.10.7.4)
        ("1.000 > . 1:1(0) ack 1\n1.020 < . 1:1(0) ack 1", "SYN_RECEIVED ESTABLISHED CLOSED"),
        (
            "1.000 > S 0:0(0)\n1.020 < P. 1:101(100) ack 1",
            "SYN_RECEIVED ESTABLISHED CLOSED",
        ),  # data it sends later only
    ],
)
def test_who_answers_a_syn_by_an_ack_is_not_established(between, path):
    text = f"0.000 > S 0:0(0)\n0.020 < S. 0:0(0) ack 1\n{between}\n2.000 > R 1:1(0)\nend 3"
    assert run(text).connections[0].path("server") == "LISTEN " + path


@pytest.mark.parametrize(
    "behind, path",
    [
        ("0.041 > . 1:1(0) ack 1", "SYN_SENT ESTABLISHED CLOSED"),  # it had acknowledged the SYN+ACK, and aborted then
        ("", "SYN_SENT CLOSED"),  # it answers a SYN+ACK that it no longer wanted
    ],
)
def test_an_abort_that_overtakes_the_ack_that_opens(behind, path):
    text = f"0.000 > S 0:0(0)\n0.020 < S. 0:0(0) ack 1\n0.040 > R. 1:1(0) ack 1\n{behind}\nend 3"
    assert run(text).connections[0].path("client") == "CLOSED " + path


@pytest.mark.parametrize("end, state", [("3.45", "SYN_SENT"), ("3.46", "CLOSED"), ("3.53", "CLOSED")])
def test_when_a_syn_that_came_twice_is_given_up(end, state):
    """Its timer runs out once more, two gaps later; a quarter of that and 200 ms are what timers are off by."""
    text = f"0.000 > S 0:0(0)\n1.000 > S 0:0(0)\nend {end}"
    assert run(text).connections[0].path("client").split()[-1] == state


@pytest.mark.parametrize("rst, path", [("R 1:1(0)", "LISTEN SYN_RECEIVED CLOSED"), ("R 2:2(0)", "")])
def test_an_rst_answers_a_syn_ack_that_did_not_pass(rst, path):
    """RFC 9293 3.5.2, group 1: its number is what the SYN+ACK acknowledged."""
    assert run(f"0.000 > S 0:0(0)\n0.040 > {rst}\nend 3").connections[0].path("server") == path
