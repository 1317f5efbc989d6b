"""What was answered, and what was not: whether a segment found its connection, each case with its look-alikes."""

from __future__ import annotations

import pytest

from tcptrace_fsm.tcp.profiles import AUTO
from tests.courses import NEAR, Row, goes_through
from tests.strategies import run
from tests.test_fingerprint import GVISOR, LINUX, LWIP, OLD_BSD

AT_THE_CLIENT = """
    0.0000 > S  0:0(0)               {client} id 101
    0.0400 < S. 0:0(0)       ack 1   {server} id 501
    0.0401 > .  1:1(0)       ack 1            id 102
    0.1000 > P. 1:101(100)   ack 1            id 103
    0.1400 < P. 1:201(200)   ack 101          id 502
    0.1401 > .  101:101(0)   ack 201          id 104
"""
FIRST_ACK_LOST = """
    0.000 > S  0:0(0)               {client} id 101
    0.020 < S. 0:0(0)       ack 1   {server} id 501
    0.100 > P. 1:101(100)   ack 1            id 103
    0.120 < P. 1:201(200)   ack 101          id 502
"""

ROWS = [
    # --- the RST has overtaken the ACK, which draws one: however much delays vary ---
    Row(
        "an_ack_behind_the_rst_is_answered_late",
        """
        1.000 < F. 201:201(0)   ack 101 id 503
        1.000 > .  101:101(0)   ack 202 id 105
        1.000 > R. 101:101(0)   ack 202 id 106
        1.060 < R. 202:202(0)   ack 101 id 504
        end 3
        """,
        "server",
        "FIN_WAIT_1 CLOSED",
        opening=AT_THE_CLIENT,
    ),
    Row(
        "an_rst_long_after_is_of_its_own",
        """
        1.000 < F. 201:201(0)   ack 101 id 503
        1.000 > .  101:101(0)   ack 202 id 105
        1.000 > R. 101:101(0)   ack 202 id 106
        1.400 < R. 202:202(0)   ack 101 id 504
        end 3
        """,
        "server",
        "FIN_WAIT_1 FIN_WAIT_2 CLOSED",
        opening=AT_THE_CLIENT,
    ),
    # --- it passes behind the RST here, and draws none: it found the connection, so came first again ---
    Row(
        "an_ack_overtaken_here_only",
        """
        1.000 > F. 101:101(0)   ack 201 id 105
        1.020 < R. 201:201(0)   ack 102 id 504
        1.024 < .  201:201(0)   ack 102 id 503
        end 3
        """,
        "client",
        "FIN_WAIT_1 FIN_WAIT_2 CLOSED",
    ),
    Row(
        "an_ack_overtaken_that_met_nobody",
        """
        1.000 > F. 101:101(0)   ack 201 id 105
        1.020 < R. 201:201(0)   ack 102 id 504
        1.024 < .  201:201(0)   ack 102 id 503
        1.045 > R. 102:102(0)   ack 201 id 106
        end 3
        """,
        "client",
        "FIN_WAIT_1 CLOSED",
    ),
    Row(
        "an_ack_overtaken_where_the_capture_ends_before_an_answer",
        """
        1.000 > F. 101:101(0)   ack 201 id 105
        1.020 < R. 201:201(0)   ack 102 id 504
        1.024 < .  201:201(0)   ack 102 id 503
        end 1.1
        """,
        "client",
        "FIN_WAIT_1 CLOSED",
    ),
    # --- after CLOSE data end the connection: each further segment draws an RST of its own ---
    Row(
        "as_many_rsts_as_segments_the_ack_among_them",
        """
        1.000 > F. 101:101(0)   ack 201 id 105
        1.001 < FP. 201:301(100) ack 101 id 503
        1.005 < .  302:302(0)   ack 102 id 504
        1.030 > R. 102:102(0)   ack 302 id 106
        1.040 > R. 102:102(0)   ack 302 id 107
        end 3
        """,
        "client",
        "FIN_WAIT_1 CLOSED",
    ),
    Row(
        "one_rst_for_the_data_alone",
        """
        1.000 > F. 101:101(0)   ack 201 id 105
        1.001 < FP. 201:301(100) ack 101 id 503
        1.005 < .  302:302(0)   ack 102 id 504
        1.040 > R. 102:102(0)   ack 302 id 107
        end 3
        """,
        "client",
        "FIN_WAIT_1 FIN_WAIT_2 CLOSED",
    ),
    Row(
        "data_that_fill_a_hole_after_close",
        """
        0.900 < P. 301:401(100) ack 101 id 504
        0.920 > .  101:101(0)   ack 201 id 105
        1.000 > F. 101:101(0)   ack 201 id 106
        1.200 < P. 201:301(100) ack 102 id 505
        1.220 > R. 102:102(0)   ack 401 id 107
        end 3
        """,
        "client",
        "FIN_WAIT_1 CLOSED",
    ),
    Row(
        "an_rst_to_other_data",
        """
        1.000 > F. 101:101(0)   ack 201 id 106
        1.015 < .  201:201(0)   ack 102 id 504
        1.200 < P. 201:301(100) ack 102 id 505
        1.201 < P. 301:401(100) ack 102 id 506
        1.220 > R. 102:102(0)   ack 401 id 107
        end 3
        """,
        "client",
        "FIN_WAIT_1 FIN_WAIT_2 CLOSED",
    ),
    Row(
        "the_fin_behind_the_data_draws_an_rst_too",
        """
        1.000 > F. 101:101(0)   ack 201 id 105
        1.020 < P. 201:301(100) ack 102 id 503
        1.020 < F. 301:301(0)   ack 102 id 504
        1.040 > R. 102:102(0)   ack 301 id 106
        1.040 > R. 102:102(0)   ack 302 id 107
        end 3
        """,
        "client",
        "FIN_WAIT_1 CLOSED",
    ),
    Row(
        "an_ack_right_before_the_rst_answers_data_behind_a_hole",
        """
        1.0000 > F. 101:101(0)   ack 201 id 105
        1.0200 < P. 201:301(100) ack 102 id 503
        1.0200 < P. 301:401(100) ack 102 id 504
        1.0200 < P. 401:501(100) ack 102 id 505
        1.0400 > R. 102:102(0)   ack 301 id 107
        1.0401 > .  102:102(0)   ack 201 id 106
        1.0410 > R. 102:102(0)   ack 401 id 108
        end 3
        """,
        "client",
        "FIN_WAIT_1 FIN_WAIT_2 CLOSED",
    ),
    Row(
        "the_same_rst_twice_answers_data_from_before_the_fin",
        """
        0.990 < P. 201:301(100) ack 101 id 503
        1.000 > F. 101:101(0)   ack 201 id 105
        1.005 < .  301:301(0)   ack 102 id 504
        1.030 > R. 102:102(0)   ack 301 id 106
        1.040 > R. 102:102(0)   ack 301 id 107
        end 3
        """,
        "client",
        "FIN_WAIT_1 CLOSED",
    ),
    # --- a FIN with a lower number than the one that has passed was sent before, and held up ---
    Row(
        "a_repeated_fin_overtakes_the_first",
        """
        1.000 > F. 101:101(0)   ack 201 id 106
        1.020 < .  201:201(0)   ack 102 id 503
        1.070 < F. 201:201(0)   ack 102 id 504
        1.090 > .  102:102(0)   ack 202 id 107
        1.095 > F. 101:101(0)   ack 201 id 105
        end 3
        """,
        "client",
        "FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT",
    ),
    # --- at the host itself: what it still says was sent before it took the RST ---
    Row(
        "an_rst_stamped_before_what_was_on_its_way_out",
        """
        1.0000 > F. 101:101(0)   ack 201 id 105
        1.0000 > R. 102:102(0)   ack 201 id 106
        1.0001 < .  201:201(0)   ack 102 id 503
        1.0001 < F. 201:201(0)   ack 102 id 504
        end 3
        """,
        "server",
        "CLOSE_WAIT LAST_ACK CLOSED",
        opening=NEAR,
    ),
    # --- the FIN or its answer: where no number tells, and it did not close at the same moment, the FIN was lost ---
    Row(
        "a_fin_behind_the_ack_comes_again",
        """
        1.000 > F. 101:101(0)   ack 201 id 105
        1.020 < .  201:201(0)   ack 102 id 603
        1.020 < F. 201:201(0)   ack 102 id 604
        3.520 < F. 201:201(0)   ack 102 id 700
        3.540 > .  102:102(0)   ack 202 id 150
        end 4
        """,
        "client",
        "FIN_WAIT_1 FIN_WAIT_2@1.03 TIME_WAIT@3.53",
    ),
    # --- FINs that nobody answers: whose segments get lost? Its numbers tell of its answers before ---
    Row(
        "its_answers_are_lost",
        """
        1.000 > F. 101:101(0)   ack 201 id 105
        1.020 < .  201:201(0)   ack 102 id 503
        1.100 < F. 201:201(0)   ack 102 id 504
        3.700 < F. 201:201(0)   ack 102 id 505
        9.700 < F. 201:201(0)   ack 102 id 506
        end 20
        """,
        "client",
        "FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT",
        opening=FIRST_ACK_LOST,
    ),
    Row(
        "nothing_was_lost_before",
        """
        1.000 > F. 101:101(0)   ack 201 id 105
        1.020 < .  201:201(0)   ack 102 id 503
        1.100 < F. 201:201(0)   ack 102 id 504
        3.700 < F. 201:201(0)   ack 102 id 505
        9.700 < F. 201:201(0)   ack 102 id 506
        end 20
        """,
        "client",
        "FIN_WAIT_1 FIN_WAIT_2",
    ),
    # --- gVisor too, where no ACK of the FIN tells what it had before ---
    Row(
        "gvisor_never_answers_the_fin",
        """
        1.000 > F. 101:101(0)   ack 201 id 105 <ts 300/200>
        1.020 < .  201:201(0)   ack 102 id 503 <ts 420/300>
        1.100 < F. 201:201(0)   ack 102 id 504 <ts 500/300>
        end 1.2
        """,
        "client",
        "FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT@1.11",
        client=GVISOR,
        server=GVISOR,
    ),
    # --- an RST comes at once, where other answers are delayed: it tells how far away its sender is ---
    Row(
        "an_rst_measures_the_way",
        """
        1.000 > F. 101:101(0)   ack 1   id 105
        1.003 < .  1:1(0)       ack 102 id 503
        1.049 < P. 1:101(100)   ack 102 id 504
        1.052 > R. 102:102(0)   ack 101 id 106
        end 3
        """,
        "client",
        "FIN_WAIT_1 FIN_WAIT_2 CLOSED",
        opening="""
            0.000 > S  0:0(0)               {client} id 101
            0.003 < S. 0:0(0)       ack 1   {server} id 501
            0.200 > P. 1:101(100)   ack 1            id 103
            0.203 < .  1:1(0)       ack 101          id 502
        """,
    ),
]


@pytest.mark.parametrize("row", [pytest.param(r, id=r.name) for r in ROWS])
def test_an_end_goes_through(row):
    goes_through(row)


@pytest.mark.parametrize("server", [OLD_BSD, LINUX, LWIP])
def test_a_fin_is_taken_before_an_rst_that_has_overtaken_its_ack(server):
    """Where the SYN+ACK was acknowledged by it alone, it opens the connection first."""
    text = f"""
        0.000 > S  0:0(0)       {LWIP} id 1
        3.020 < S. 0:0(0) ack 1 {server.format(ecr=100)} id 502
        3.040 > .  1:1(0) ack 1 id 2
        3.040 > F. 1:1(0) ack 1 id 3
        3.060 < R. 1:1(0) ack 2 id 504
        3.061 < .  1:1(0) ack 2 id 503
        end 9
    """
    assert (
        run(text, profile=AUTO).connections[0].path("server").startswith("LISTEN SYN_RECEIVED ESTABLISHED CLOSE_WAIT")
    )


@pytest.mark.parametrize(
    "again, path",
    [
        ("0.999 > S 0:0(0) {client}", "LISTEN SYN_RECEIVED CLOSED"),  # it answers the SYN, sooner than usual
        ("0.700 > S 0:0(0) {client}", "LISTEN SYN_RECEIVED ESTABLISHED CLOSED"),  # not so late
    ],
)
def test_who_answers_a_syn_sooner_than_usual_is_not_established(again, path):
    client = GVISOR.format(ecr=0)
    text = f"""
        0.000 > S  0:0(0)       {client}
        0.012 < S. 0:0(0) ack 1 {GVISOR.format(ecr=100)}
        {again.format(client=client)}
        1.008 < .  1:1(0) ack 1 <ts 200/100>
        1.011 > R  1:1(0)
        end 3
    """
    assert run(text, profile=AUTO).connections[0].path("server") == path


@pytest.mark.parametrize("number, path", [(2, "SYN_SENT CLOSED"), (3, "SYN_SENT ESTABLISHED CLOSED")])
def test_a_syn_ack_refused_where_the_capture_ends(number, path):
    """What follows the SYN in number went out without an ACK before. Else it is presumed that the SYN+ACK came."""
    text = f"""
        0.000 > S  0:0(0)       {LWIP} id 1
        0.000 < S. 0:0(0) ack 1 {LWIP} id 501
        0.104 > R. 1:1(0) ack 1 id {number}
    """
    assert run(text, profile=AUTO).connections[0].path("client") == "CLOSED " + path
