"""What Linux keeps an ending connection in, by its numbers of packets; and RSTs counted, one for each cause."""

from __future__ import annotations

import pytest

from tests.courses import FAR, Row, goes_through
from tests.strategies import run
from tests.test_fingerprint import FREEBSD, LINUX

OVERTAKEN = """
    1.000 > F. 101:101(0)   ack 201 id 105
    1.020 < F. 201:201(0)   ack 102 id 504   # has overtaken the ACK that was sent before
    1.030 < .  201:201(0)   ack 102 id 503
    {}
    end 3
"""
HALF_CLOSED = """
    1.000 > F. 101:101(0)   ack 201 id 105
    1.060 < .  201:201(0)   ack 102 id 503
    1.500 < F. 201:201(0)   ack 102 id 504
    1.520 > .  102:102(0)   ack 202 id {}
    1.720 < F. 201:201(0)   ack 102 id 505
"""
AFTER_CLOSE = """
    1.000 > F. 101:101(0)   ack 201 id 105
    1.015 < P. 201:301(100) ack 101 id 503
    1.020 < F. 301:301(0)   ack 102 id 504
    {}
    end 3
"""


def linux(name: str, text: str, path: str, side: str = "client", client: str = LINUX) -> Row:
    """What passes behind an opening between two Linux."""
    return Row(name, text, side, path, client=client, server=LINUX)


ROWS = [
    # --- the ACK of the peer's FIN comes from FIN_WAIT_2 where its number is 0 ---
    linux(
        "a_let_go_fin_wait_2_answers",
        OVERTAKEN.format("1.045 > . 102:102(0) ack 202 id 0"),
        "FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT",
    ),
    linux("a_socket_answers", OVERTAKEN.format("1.045 > . 102:102(0) ack 202 id 106"), "FIN_WAIT_1 TIME_WAIT"),
    linux(
        "a_socket_answers_first_and_time_wait_again",
        OVERTAKEN.format("1.045 > . 102:102(0) ack 202 id 0\n1.047 > . 102:102(0) ack 202 id 106"),
        "FIN_WAIT_1 TIME_WAIT",
    ),
    linux(
        "another_system_numbers_otherwise",
        OVERTAKEN.format("1.045 > . 102:102(0) ack 202 id 0"),
        "FIN_WAIT_1 TIME_WAIT",
        client=FREEBSD,
    ),
    linux(
        "a_copy_made_by_the_network_has_the_same_number",
        """
        1.000 > F. 101:101(0)   ack 201 id 105
        1.020 < F. 201:201(0)   ack 102 id 504
        1.022 < F. 201:201(0)   ack 102 id 504
        1.030 < .  201:201(0)   ack 102 id 503
        1.045 > .  102:102(0)   ack 202 id 0
        end 3
        """,
        "FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT",
    ),
    linux(
        "the_fin_came_late_to_fin_wait_2",
        """
        1.000 > F. 101:101(0)   ack 201 id 105
        1.019 < .  201:201(0)   ack 102 id 503
        1.020 < F. 201:201(0)   ack 102 id 504
        1.090 > .  102:102(0)   ack 202 id 0
        end 3
        """,
        "FIN_WAIT_1 FIN_WAIT_2@1.03 TIME_WAIT@1.08",
    ),
    # --- an ACK from behind the own FIN has overtaken it: which of the two closed first ---
    *(
        linux(
            name,
            f"""
            1.000 > F. 101:101(0)   ack 201 id 105
            1.020 < .  202:202(0)   ack 102 id 504
            1.028 < F. 201:201(0)   ack {ack} id {number}
            1.045 > .  102:102(0)   ack 202 id 106
            end 3
            """,
            path,
            "server",
        )
        for name, ack, number, path in (
            ("the_fin_was_sent_before_and_acknowledges", 102, 503, "CLOSE_WAIT LAST_ACK CLOSED"),
            ("the_fin_was_sent_before_and_does_not", 101, 503, "FIN_WAIT_1 CLOSING TIME_WAIT"),
            ("the_fin_was_sent_behind_once_more", 102, 505, "FIN_WAIT_1 CLOSING TIME_WAIT"),
        )
    ),
    # --- a FIN that passed once and is acknowledged came, however late, and the ACK in it with it ---
    linux(
        "a_late_fin_acknowledges_too",
        """
        1.000 > F. 101:101(0)   ack 201 id 105
        1.010 < F. 201:201(0)   ack 102 id 503
        1.055 > F. 101:101(0)   ack 201 id 106   # sent before that came
        1.056 > .  102:102(0)   ack 202 id 107
        end 3
        """,
        "FIN_WAIT_1 TIME_WAIT",
    ),
    linux(
        "the_copy_that_came_is_the_second",
        """
        1.000 > F. 101:101(0)   ack 201 id 105
        1.010 < F. 201:201(0)   ack 102 id 503
        1.255 > F. 101:101(0)   ack 201 id 106   # it has waited for the ACK
        1.275 < F. 201:201(0)   ack 102 id 504
        1.295 > .  102:102(0)   ack 202 id 107
        end 3
        """,
        "FIN_WAIT_1 TIME_WAIT@1.285",
    ),
    linux(
        "a_fin_behind_a_hole_is_taken_when_that_is_filled",
        """
        1.000 > F. 201:201(0)   ack 201 id 106
        1.100 < .  201:201(0)   ack 101 id 503
        1.300 > P. 101:201(100) ack 201 id 107
        1.320 < .  201:201(0)   ack 202 id 504
        end 3
        """,
        "CLOSE_WAIT@1.31",
        "server",
    ),
    # --- no TIME_WAIT is kept: a socket took the FIN, and is gone when that comes again ---
    linux(
        "no_time_wait_is_kept",
        HALF_CLOSED.format(106) + "1.740 > R 102:102(0) id 0\nend 3",
        "FIN_WAIT_1 FIN_WAIT_2 CLOSED@1.51",
    ),
    linux(
        "a_time_wait_is_lost",
        HALF_CLOSED.format(0) + "1.740 > R 102:102(0) id 0\nend 3",
        "FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT CLOSED",
    ),
    linux(
        "the_ack_of_the_fin_is_not_the_next_in_number",
        HALF_CLOSED.format(108) + "1.740 > R 102:102(0) id 0\nend 3",
        "FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT CLOSED",
    ),
    linux(
        "time_wait_answers_before_it_is_lost",
        HALF_CLOSED.format(106)
        + "1.740 > . 102:102(0) ack 202 id 0\n2.1 < F. 201:201(0) ack 102 id 506\n2.12 > R 102:102(0) id 0\nend 3",
        "FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT CLOSED",
    ),
    linux(
        "a_whole_time_wait",
        HALF_CLOSED.format(106) + "90.00 < F. 201:201(0) ack 102 id 506\n90.02 > R 102:102(0) id 0\nend 95",
        "FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT CLOSED",
    ),
    # --- data after CLOSE end the connection: each segment that comes then draws its RST ---
    linux(
        "data_and_the_fin_behind_them_met_nobody",
        AFTER_CLOSE.format("1.080 > R 101:101(0) id 0\n1.081 > R 102:102(0) id 0"),
        "FIN_WAIT_1 CLOSED",
    ),
    linux(
        "the_fin_was_taken_in_before",
        AFTER_CLOSE.format("1.080 > R 101:101(0) id 0"),
        "FIN_WAIT_1 FIN_WAIT_2 CLOSED",
    ),
    linux(
        "the_fin_ended_it_beyond_the_hole",
        AFTER_CLOSE.format("1.080 > R 102:102(0) id 0\n1.081 > R 101:101(0) id 0"),
        "FIN_WAIT_1 FIN_WAIT_2 CLOSED",
    ),
    # --- an RST answers what was held up, not the FIN that came before the peer's RST ---
    linux(
        "the_fin_was_there_before_the_reset",
        """
        1.000 > F. 101:101(0)   ack 201 id 106
        1.015 > R  101:101(0)           id 0
        1.016 > .  101:101(0)   ack 201 id 105
        1.035 < R  201:201(0)           id 0
        end 3
        """,
        "CLOSE_WAIT CLOSED",
        "server",
    ),
    linux(
        "the_fin_came_behind_the_reset",
        """
        1.000 > F. 101:101(0)   ack 201 id 105
        1.015 > R  101:101(0)           id 0
        1.025 < R  201:201(0)           id 0
        end 3
        """,
        "CLOSED",
        "server",
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_what_an_end_went_through(row):
    goes_through(row)


def test_a_time_wait_that_was_never_kept_is_missed_all_the_same():
    text = FAR.format(client=LINUX.format(ecr=0), server=LINUX.format(ecr=100))
    text += HALF_CLOSED.format(106) + "1.740 > R 102:102(0) id 0\nend 3"
    assert "rst_after_time_wait_loss" in {f.kind for f in run(text, rules=True).findings}
