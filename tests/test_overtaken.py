"""Segments that overtake each other, answers that got lost, FINs behind holes: what an end went through then."""

from __future__ import annotations

import pytest

from tcptrace_fsm.tcp.profiles import AUTO
from tests.courses import FAR, Row, goes_through
from tests.strategies import run
from tests.test_fingerprint import FREEBSD, GVISOR, LINUX, LWIP, NOBODY, OLD_BSD

ROWS = [
    # --- who is reset says no more: what passes behind the RST was sent before that came ---
    Row(
        "a_fin_met_the_peers_rst",
        "1.000 > R. 101:101(0) ack 201\n1.0205 < F. 201:201(0) ack 101\n1.021 > R. 101:101(0) ack 202\nend 3",
        "server",
        "FIN_WAIT_1 CLOSED",
    ),
    Row(
        "a_fin_that_comes_later_shows_that_the_rst_did_not_come",
        "1.000 > R. 101:101(0) ack 201\n1.500 < F. 201:201(0) ack 101\nend 3",
        "server",
        "FIN_WAIT_1",
    ),
    # --- no FIN follows an RST: it was overtaken ---
    Row(
        "a_fin_overtaken_by_its_own_rst",
        "1.0000 < R. 202:202(0) ack 101 id 504\n1.0005 < F. 201:201(0) ack 101 id 503\nend 3",
        "server",
        "FIN_WAIT_1 CLOSED",
    ),
    Row(
        "by_far_but_its_number_tells",
        "1.0000 < R. 202:202(0) ack 101 id 504\n1.0090 < F. 201:201(0) ack 101 id 503\nend 3",
        "server",
        "FIN_WAIT_1 CLOSED",
    ),
    Row(
        "an_rst_of_somebody_else_before_the_fin",
        "1.0000 < R. 201:201(0) ack 101 id 9504\n1.0090 < F. 201:201(0) ack 101 id 503\nend 3",
        "server",
        "FIN_WAIT_1",
    ),
    Row(
        "an_abort_whose_overtaken_ack_comes_late",
        """
        1.0000 < F. 201:201(0) ack 101 id 503
        1.0200 > R. 101:101(0) ack 202 id 106
        1.0240 > .  101:101(0) ack 202 id 105
        end 3
        """,
        "client",
        "CLOSE_WAIT CLOSED",
    ),
    Row(
        "an_overtaken_ack_where_another_is_there_twice",
        """
        0.1404 > .  101:101(0) ack 201 id 104
        1.0000 < F. 201:201(0) ack 101 id 503
        1.0150 > R. 101:101(0) ack 202 id 106
        1.0155 > .  101:101(0) ack 202 id 105
        end 3
        """,
        "client",
        "CLOSE_WAIT CLOSED",
    ),
    Row(
        "whose_ack_was_sent_after_the_rst",
        """
        1.0000 < F. 201:201(0) ack 101 id 503
        1.0200 > R. 101:101(0) ack 202 id 106
        1.0240 > .  101:101(0) ack 202 id 107
        end 3
        """,
        "client",
        "CLOSE_WAIT",
    ),
    # --- a FIN behind a hole: it is taken when that is filled, its ACK counts at once ---
    Row(
        "a_second_ack_answers_a_fin_behind_a_hole",
        """
        1.000 < P. 201:301(100) ack 101 id 503
        1.001 < P. 301:401(100) ack 101 id 504
        1.002 < F. 401:401(0)   ack 101 id 505
        1.010 > F. 101:101(0)   ack 201 id 105
        1.022 > .  102:102(0)   ack 201 id 106
        1.030 < .  402:402(0)   ack 102 id 506
        2.000 < P. 201:301(100) ack 102 id 507
        2.020 > .  102:102(0)   ack 402 id 107
        end 3
        """,
        "client",
        "FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT@2.01",
    ),
    Row(
        "a_second_ack_behind_its_own_fin_answers_a_fin_behind_a_hole",
        """
        0.900 > P. 101:201(100) ack 201 id 105
        1.000 > F. 201:201(0)   ack 201 id 106
        1.016 < F. 201:201(0)   ack 101 id 503
        1.020 < .  202:202(0)   ack 101 id 504
        1.036 > .  202:202(0)   ack 202 id 107
        end 3
        """,
        "server",
        "FIN_WAIT_1 FIN_WAIT_2",
    ),
    Row(
        "a_fin_with_nothing_missing_before_it",
        """
        1.000 < P. 201:301(100) ack 101 id 503
        1.001 < F. 301:301(0)   ack 101 id 504
        1.010 > F. 101:101(0)   ack 201 id 105
        1.022 > .  102:102(0)   ack 302 id 106
        1.030 < .  302:302(0)   ack 102 id 505
        end 3
        """,
        "client",
        "FIN_WAIT_1 CLOSING@1.011 TIME_WAIT",
    ),
    Row(
        "a_fin_behind_a_hole_acknowledges",
        """
        0.900 > P. 101:201(100) ack 201 id 105
        1.000 < F. 201:201(0)   ack 101 id 503
        1.020 > F. 201:201(0)   ack 202 id 106
        1.040 < .  202:202(0)   ack 101 id 504
        1.300 > P. 101:201(100) ack 202 id 107
        1.320 < .  202:202(0)   ack 201 id 505
        1.500 > F. 201:201(0)   ack 202 id 108
        1.520 < .  202:202(0)   ack 202 id 506
        end 3
        """,
        "server",
        "FIN_WAIT_1 FIN_WAIT_2@1.03 TIME_WAIT@1.51",
        client=OLD_BSD,
        server=OLD_BSD,
    ),
    # --- gVisor echoes the timestamp that it had before; only its TIME_WAIT the one of the FIN that comes again ---
    Row(
        "gvisor_had_the_first_fin",
        """
        1.000 > F. 101:101(0)   ack 201 id 105 <ts 300/200>
        1.004 < F. 201:201(0)   ack 101 id 503 <ts 400/200>
        1.020 > .  102:102(0)   ack 202 id 106 <ts 320/200>
        1.210 > F. 101:101(0)   ack 202 id 107 <ts 510/400>
        1.230 < .  202:202(0)   ack 102 id 505 <ts 620/510>
        end 3
        """,
        "server",
        "FIN_WAIT_1 CLOSING@1.01 TIME_WAIT",
        client=GVISOR,
        server=GVISOR,
    ),
    Row(
        "gvisor_missed_the_first_fin",
        """
        1.000 > F. 101:101(0)   ack 201 id 105 <ts 300/200>
        1.004 < F. 201:201(0)   ack 101 id 503 <ts 400/200>
        1.020 > .  102:102(0)   ack 202 id 106 <ts 320/200>
        1.210 > F. 101:101(0)   ack 202 id 107 <ts 510/400>
        1.230 < .  202:202(0)   ack 102 id 505 <ts 620/200>
        end 3
        """,
        "server",
        "FIN_WAIT_1 TIME_WAIT@1.22",
        client=GVISOR,
        server=GVISOR,
    ),
    Row(
        "gvisor_missed_a_fin_that_went_with_its_ack",
        """
        1.000 < F. 201:201(0)   ack 101 id 503 <ts 400/200>
        1.020 > .  101:101(0)   ack 202 id 105 <ts 320/200>
        1.020 > F. 101:101(0)   ack 202 id 106 <ts 320/400>
        1.220 > F. 101:101(0)   ack 202 id 107 <ts 520/400>
        1.240 < .  202:202(0)   ack 102 id 505 <ts 640/320>
        end 3
        """,
        "server",
        "FIN_WAIT_1 FIN_WAIT_2@1.03 TIME_WAIT@1.23",
        client=GVISOR,
        server=GVISOR,
    ),
    Row(
        "gvisor_had_the_ack_of_its_fin_before_the_fin",
        """
        1.000 > F. 101:101(0)   ack 201 id 105 <ts 300/200>
        1.020 < .  201:201(0)   ack 102 id 503 <ts 420/300>
        1.060 < F. 201:201(0)   ack 102 id 504 <ts 460/300>
        1.080 > .  102:102(0)   ack 202 id 106 <ts 380/420>
        end 3
        """,
        "client",
        "FIN_WAIT_1 FIN_WAIT_2@1.03 TIME_WAIT@1.07",
        client=GVISOR,
        server=GVISOR,
    ),
    Row(
        "gvisor_missed_the_ack_of_its_fin",
        """
        1.000 > F. 101:101(0)   ack 201 id 105 <ts 300/200>
        1.020 < .  201:201(0)   ack 102 id 503 <ts 420/300>
        1.060 < F. 201:201(0)   ack 102 id 504 <ts 460/300>
        1.080 > .  102:102(0)   ack 202 id 106 <ts 380/200>
        end 3
        """,
        "client",
        "FIN_WAIT_1 TIME_WAIT@1.07",
        client=GVISOR,
        server=GVISOR,
    ),
    # --- what acknowledges the FIN comes behind what passed before that ---
    Row(
        "a_quick_answer_to_a_fin_and_its_copy",
        """
        1.0000 > F. 101:101(0)   ack 201 id 105
        1.0200 < .  201:201(0)   ack 102 id 503
        1.0202 < F. 201:201(0)   ack 102 id 504
        1.0210 < F. 201:201(0)   ack 102 id 505
        1.0392 > .  102:102(0)   ack 202 id 106
        end 3
        """,
        "client",
        "FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT",
        client=OLD_BSD,
        server=OLD_BSD,
    ),
    # --- a reset with the numbers of what was sent before the FIN came: nobody is there any more ---
    Row(
        "a_fin_met_who_had_aborted_behind_its_own",
        """
        1.000 > P. 101:201(100) ack 201 id 105
        1.004 > F. 201:201(0)   ack 201 id 106
        1.008 < F. 201:201(0)   ack 101 id 503
        1.024 < R. 201:201(0)   ack 202 id 505
        end 3
        """,
        "server",
        "FIN_WAIT_1 CLOSED",
    ),
    # --- data that come after CLOSE end the connection; the RST that says so may be lost ---
    Row(
        "data_after_close_whose_rst_is_lost",
        """
        0.990 < P. 201:301(100) ack 101 id 503
        1.000 > F. 101:101(0)   ack 201 id 105
        1.020 < .  301:301(0)   ack 102 id 504
        1.045 > R  102:102(0)   id 0
        end 3
        """,
        "client",
        "FIN_WAIT_1 CLOSED",
        client=LINUX.replace(", ts 100/{ecr}", ""),
        server=LINUX.replace(", ts 100/{ecr}", ""),
    ),
    Row(
        "data_after_close_that_were_lost_themselves",
        """
        0.990 < P. 201:301(100) ack 101 id 503
        1.000 > F. 101:101(0)   ack 201 id 105
        1.020 < .  301:301(0)   ack 102 id 504
        1.500 < P. 201:301(100) ack 102 id 505
        1.520 > R  102:102(0)   id 0
        end 3
        """,
        "client",
        "FIN_WAIT_1 FIN_WAIT_2 CLOSED",
        client=LINUX.replace(", ts 100/{ecr}", ""),
        server=LINUX.replace(", ts 100/{ecr}", ""),
    ),
    Row(
        "data_after_close_with_the_ack_of_the_fin",
        """
        1.000 > F. 101:101(0)   ack 201 id 105
        1.020 < P. 201:301(100) ack 102 id 503
        1.040 > R. 102:102(0)   ack 301 id 107
        end 3
        """,
        "client",
        "FIN_WAIT_1 CLOSED",
    ),
    Row(
        "where_linux_is_in_fin_wait_2_for_a_moment",
        """
        1.000 > F. 101:101(0)   ack 201 id 105
        1.020 < P. 201:301(100) ack 102 id 503
        1.040 > R  102:102(0)   id 0
        end 3
        """,
        "client",
        "FIN_WAIT_1 FIN_WAIT_2 CLOSED",
        client=LINUX.replace(", ts 100/{ecr}", ""),
        server=LINUX.replace(", ts 100/{ecr}", ""),
    ),
    Row(
        "an_old_copy_that_meets_nobody_long_after",
        """
        1.000 > F. 101:101(0)   ack 201 id 105
        1.020 < .  201:201(0)   ack 102 id 503
        1.300 < R. 201:201(0)   ack 102 id 504
        2.000 < .  1:1(0)       ack 101 id 502
        2.020 > R. 101:101(0)   ack 1
        end 3
        """,
        "client",
        "FIN_WAIT_1 FIN_WAIT_2 CLOSED",
    ),
    # --- TIME_WAIT sends no RST: who answers what came just behind the FIN by one is gone ---
    Row(
        "an_overtaken_ack_meets_who_is_gone",
        """
        1.000 > F. 101:101(0)   ack 201 id 105
        1.020 < F. 201:201(0)   ack 102 id 504
        1.030 < .  201:201(0)   ack 102 id 503
        1.040 > .  102:102(0)   ack 202 id 106
        1.050 > R  102:102(0)   id 0
        end 3
        """,
        "client",
        "FIN_WAIT_1 TIME_WAIT CLOSED",
        client=LINUX.replace(", ts 100/{ecr}", ""),
        server=LINUX.replace(", ts 100/{ecr}", ""),
    ),
    Row(
        "an_rst_that_answers_nothing",
        """
        1.000 > F. 101:101(0)   ack 201 id 105
        1.020 < F. 201:201(0)   ack 102 id 504
        1.040 > .  102:102(0)   ack 202 id 106
        1.300 > R  102:102(0)   id 0
        end 3
        """,
        "client",
        "FIN_WAIT_1 TIME_WAIT",
        client=LINUX.replace(", ts 100/{ecr}", ""),
        server=LINUX.replace(", ts 100/{ecr}", ""),
    ),
]


@pytest.mark.parametrize("row", [pytest.param(r, id=r.name) for r in ROWS])
def test_an_end_goes_through(row):
    goes_through(row)


@pytest.mark.parametrize(
    "reply, path",
    [
        ("0.081 < R 1:1(0)", "SYN_RECEIVED CLOSED"),  # the ACK met nobody: the abort had overtaken it
        ("", "SYN_RECEIVED ESTABLISHED CLOSED"),
        ("0.400 < R 1:1(0)", "SYN_RECEIVED ESTABLISHED CLOSED"),  # no answer to that ACK
    ],
)
def test_an_abort_behind_the_ack_that_opens(reply, path):
    text = f"0.000 > S 0:0(0)\n0.020 < S. 0:0(0) ack 1\n0.060 > . 1:1(0) ack 1\n0.060 > R. 1:1(0) ack 1\n{reply}\nend 3"
    assert run(text).connections[0].path("server") == "LISTEN " + path


@pytest.mark.parametrize(
    "client, at, rst, path",
    [
        (OLD_BSD, 0.06, "R. 1:1(0) ack 1", "SYN_SENT ESTABLISHED CLOSED"),
        (LINUX, 0.06, "R. 1:1(0) ack 1", "SYN_SENT ESTABLISHED CLOSED"),
        (LINUX, 0.06, "R 1:1(0)", "SYN_SENT CLOSED"),  # it no longer wanted the SYN+ACK (RFC 9293 3.5.2, group 1)
        (LWIP, 0.06, "R. 1:1(0) ack 1", "SYN_SENT CLOSED"),  # lwIP says the same so
        (NOBODY, 0.06, "R. 1:1(0) ack 1", "SYN_SENT CLOSED"),
        (LWIP, 0.9, "R. 1:1(0) ack 1 id 9", "SYN_SENT ESTABLISHED CLOSED"),  # but at once
        (LWIP, 0.9, "R. 1:1(0) ack 1 id 2", "SYN_SENT CLOSED"),  # it has sent nothing between its SYN and this
        (LWIP, 0.9, "R  1:1(0)", "SYN_SENT CLOSED"),
        (LWIP, 0.5, "R. 1:1(0) ack 1 id 9", "SYN_SENT CLOSED"),  # as far away as over a satellite
        (LWIP, 0.5, "R. 101:101(0) ack 1 id 9", "SYN_SENT ESTABLISHED CLOSED"),  # it had sent data
        (LWIP, 0.06, "R. 1:1(0) ack 1 id 2", "SYN_SENT CLOSED"),
    ],
)
def test_an_rst_that_acknowledges_a_syn_ack(client, at, rst, path):
    text = f"0.000 > S 0:0(0) {client.format(ecr=0)} id 1\n0.020 < S. 0:0(0) ack 1\n{at} > {rst}\nend 3"
    assert run(text, profile=AUTO).connections[0].path("client") == "CLOSED " + path


@pytest.mark.parametrize(
    "client, rst, state",
    [
        (LWIP, "R. 1:1(0) ack 7001", "TIME_WAIT"),
        (LINUX, "R. 1:1(0) ack 7001", "CLOSED"),
        (LINUX, "R 1:1(0)", "CLOSED"),
        (LINUX, ". 102:102(0) ack 202", "TIME_WAIT"),
    ],
)
def test_a_syn_ack_meets_time_wait(client, rst, state):
    """A copy of the SYN has made a listener answer. lwIP answers by RST, and stays; of others that shows an end."""
    opening = FAR.format(client=client.format(ecr=0), server=LWIP)
    text = f"""
        1.000 > F. 101:101(0)   ack 201 id 105
        1.020 < F. 201:201(0)   ack 102 id 503
        1.040 > .  102:102(0)   ack 202 id 106
        2.460 < S. 7000:7000(0) ack 1   id 504
        2.480 > {rst} id 107
        end 3
    """
    assert run(opening + text, profile=AUTO).connections[0].path("client").split()[-1] == state


@pytest.mark.parametrize(
    "answer, path",
    [
        ("2.220 < S. 7000:7000(0) ack 1 id 504", "SYN_RECEIVED"),  # a copy of the SYN met a listener
        ("2.220 < S. 0:0(0)       ack 1 id 501", ""),  # the capture holds a stretch of time twice
    ],
)
def test_a_late_copy_of_a_syn_opens_a_connection_where_it_is_answered_anew(answer, path):
    opening = FAR.format(client=LWIP, server=LWIP)
    text = f"""
        1.000 > F. 101:101(0)   ack 201 id 105
        1.020 < F. 201:201(0)   ack 102 id 503
        1.040 > .  102:102(0)   ack 202 id 106
        2.200 > S  0:0(0)               {LWIP} id 101
        {answer}
        5.220 {answer[6:]}
        end 9
    """
    first, *more, _ = run(opening + text, profile=AUTO).connections
    assert first.path("client").split()[-1] == "TIME_WAIT"
    assert first.path("server").split()[-1] == "CLOSED"
    assert [c.path("server").split()[-1] for c in more] == path.split()
    assert [c.path("client").split()[-1] for c in more] == (["SYN_SENT"] if more else [])


@pytest.mark.parametrize(
    "answer, path",
    [
        ("2.220 < S. 7000:7000(0) ack 1 id 504", "LISTEN SYN_RECEIVED"),  # no connection that is there can send it
        ("2.220 < S. 0:0(0)       ack 1 id 501", ""),
        ("1.030 < S. 7000:7000(0) ack 1 id 504", ""),  # its client has not answered the server's FIN yet
    ],
)
def test_a_syn_ack_with_a_new_number_tells_of_a_copy_of_the_syn_that_did_not_pass(answer, path):
    text = f"""
        1.000 > F. 101:101(0)   ack 201 id 105
        1.020 < F. 201:201(0)   ack 102 id 503
        {answer}
        1.040 > .  102:102(0)   ack 202 id 106
        end 9
    """
    lines = sorted(text.strip().splitlines()[:-1], key=lambda line: float(line.split()[0]))
    _, *more, _ = run(FAR.format(client=LWIP, server=LWIP) + "\n".join(lines) + "\nend 9", profile=AUTO).connections
    assert [c.path("server") for c in more] == ([path] if path else [])


@pytest.mark.parametrize(
    "beyond, path",
    [
        ("R. 601:601(0)   ack 202 id 107", "FIN_WAIT_1 CLOSED"),  # which draws the bare ACK, and the data the RST
        ("P. 601:701(100) ack 202 id 107", "FIN_WAIT_1 FIN_WAIT_2 CLOSED"),  # taken for its ACK, then the data came
    ],
)
def test_what_lies_beyond_data_after_close_has_overtaken_them(beyond, path):
    text = f"""
        1.000 < F. 201:201(0)   ack 101 id 503
        1.001 > P. 101:601(500) ack 202 id 106
        1.001 > {beyond}
        1.021 < .  202:202(0)   ack 101 id 504
        1.021 < R. 202:202(0)   ack 601 id 505
        end 9
    """
    opening = FAR.format(client=LWIP, server=LWIP)
    assert run(opening + text, profile=AUTO).connections[0].path("server").endswith("ESTABLISHED " + path)


TWO_ANSWERS = """
    1.000 > F. 101:101(0)   ack 201 id 105
    {} < .  201:201(0)   ack 102 id 503
    1.020 < F. 201:201(0)   ack 102 id 504
    1.040 > .  102:102(0)   ack 202 id 106
    1.042 > .  102:102(0)   ack 202 id {}
    end 3
"""


@pytest.mark.parametrize(
    "acked, number, client, path",
    [
        ("1.020", 107, FREEBSD, "FIN_WAIT_1 TIME_WAIT"),
        ("1.020", 106, FREEBSD, "FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT"),  # a copy of the one answer
        ("1.005", 107, FREEBSD, "FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT"),  # too early to be overtaken
        ("1.020", 107, GVISOR, "FIN_WAIT_1 TIME_WAIT"),
        ("1.020", 107, LWIP, "FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT"),  # answers no ACK in TIME_WAIT
    ],
)
def test_an_ack_behind_the_fin_is_answered_by_time_wait(acked, number, client, path):
    goes_through(Row("", TWO_ANSWERS.format(acked, number), "client", path, client=client, server=client))
