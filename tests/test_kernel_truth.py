"""What the kernel's own states showed to be hard, each class with its look-alike: what an end went through."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tests.strategies import run

OPEN = """
    0.000 > S  0:0(0)               {a} id 101
    0.020 < S. 0:0(0)       ack 1   {b} id 501
    0.040 > .  1:1(0)       ack 1   {a} id 102
    0.100 > P. 1:101(100)   ack 1   {a} id 103
    0.120 < P. 1:201(200)   ack 101 {b} id 502
    0.140 > .  101:101(0)   ack 201 {a} id 104
"""
PLAIN = OPEN.format(a="", b="")
STAMPED = OPEN.format(a="<ts 100/0>", b="<ts 500/100>")


class Row(NamedTuple):
    """A conversation, and what an end of it went through after it was established."""

    name: str
    text: str
    side: str
    path: str


ROWS = [
    # --- a segment that PAWS rejects gives nothing of what it carries: data, ACK or FIN (RFC 7323 section 5.3) ---
    Row(
        "data_of_a_rejected_segment",
        STAMPED
        + """
        1.000 > P. 101:201(100) ack 201 <ts 40/500>
        1.020 < .  201:201(0)   ack 101 <ts 600/100>
        1.100 > F. 201:201(0)   ack 201 <ts 210/600>
        1.120 < .  201:201(0)   ack 101 <ts 610/100>
        end 3
        """,
        "server",
        "ESTABLISHED",
    ),
    Row(
        "data_of_a_segment_that_is_taken",
        STAMPED
        + """
        1.000 > P. 101:201(100) ack 201 <ts 200/500>
        1.020 < .  201:201(0)   ack 201 <ts 600/200>
        1.100 > F. 201:201(0)   ack 201 <ts 210/600>
        1.120 < .  201:201(0)   ack 202 <ts 610/210>
        end 3
        """,
        "server",
        "ESTABLISHED CLOSE_WAIT",
    ),
    # --- an ACK of what was never sent is answered, and nothing of it is taken (RFC 9293 3.10.7.4, fifth check) ---
    Row(
        "fin_with_an_ack_of_what_was_never_sent",
        PLAIN
        + """
        1.000 > F. 101:101(0)   ack 9000
        1.001 < .  201:201(0)   ack 101
        end 3
        """,
        "server",
        "ESTABLISHED",
    ),
    Row(
        "fin_with_an_ack_of_what_was_sent",
        PLAIN
        + """
        1.000 > F. 101:101(0)   ack 201
        1.001 < .  201:201(0)   ack 102
        end 3
        """,
        "server",
        "ESTABLISHED CLOSE_WAIT",
    ),
    # --- a FIN that comes out with data which a shut window had held back was asked for before it opened ---
    Row(
        "fin_behind_a_shut_window",
        PLAIN
        + """
        1.000 < .  201:201(0)   ack 101 win 0
        7.000 < .  201:201(0)   ack 101 win 4000
        7.001 > F. 101:601(500) ack 201
        7.021 < .  201:201(0)   ack 602
        end 9
        """,
        "client",
        "ESTABLISHED FIN_WAIT_1 FIN_WAIT_2",
    ),
    # --- SYN_RECEIVED that ends by the answer to a repeated SYN+ACK: the ACK before had been lost ---
    Row(
        "syn_received_ends_by_rst",
        """
        0.000 > S  0:0(0)
        0.020 < S. 0:0(0)       ack 1
        0.040 > .  1:1(0)       ack 1
        0.500 > R. 1:1(0)       ack 1
        1.020 < S. 0:0(0)       ack 1
        1.040 > R  1:1(0)
        end 5
        """,
        "server",
        "SYN_RECEIVED CLOSED",
    ),
    Row(
        "established_ends_by_rst",
        """
        0.000 > S  0:0(0)
        0.020 < S. 0:0(0)       ack 1
        0.040 > .  1:1(0)       ack 1
        0.500 > R. 1:1(0)       ack 1
        end 5
        """,
        "server",
        "SYN_RECEIVED ESTABLISHED CLOSED",
    ),
    # --- one direction only ---
    Row(
        "only_the_client_is_heard_and_closes_first",
        """
        0.000 > S  0:0(0)
        0.040 > .  1:1(0)       ack 1
        0.100 > P. 1:101(100)   ack 1
        1.000 > F. 101:101(0)   ack 1
        1.040 > .  102:102(0)   ack 2
        end 3
        """,
        "client",
        "ESTABLISHED FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT",
    ),
    Row(
        "only_the_client_is_heard_and_closes_last",
        """
        0.000 > S  0:0(0)
        0.040 > .  1:1(0)       ack 1
        0.100 > P. 1:101(100)   ack 1
        1.000 > .  101:101(0)   ack 2
        1.500 > F. 101:101(0)   ack 2
        end 3
        """,
        "client",
        "ESTABLISHED CLOSE_WAIT LAST_ACK CLOSED",
    ),
    # --- a forwarder lets the last segments overtake one another: what each acknowledges tells their order ---
    Row(
        "the_fin_overtakes_the_ack_before_it",
        PLAIN
        + """
        1.000 > F. 101:101(0)   ack 201 id 105
        1.0400 < F. 201:201(0)  ack 102 id 504
        1.0402 < .  201:201(0)  ack 102 id 503
        1.060 > .  102:102(0)   ack 202 id 106
        end 3
        """,
        "server",
        "ESTABLISHED CLOSE_WAIT LAST_ACK CLOSED",
    ),
    Row(
        "the_fins_cross",
        PLAIN
        + """
        1.000 > F. 101:101(0)   ack 201 id 105
        1.001 < F. 201:201(0)   ack 101 id 503
        1.020 < .  202:202(0)   ack 102 id 504
        1.021 > .  102:102(0)   ack 202 id 106
        end 3
        """,
        "server",
        "ESTABLISHED FIN_WAIT_1 CLOSING TIME_WAIT",
    ),
    # --- what a file holds out of order is put in order by what it says ---
    Row(
        "the_last_ack_stands_before_the_fin",
        PLAIN
        + """
        1.000 > F. 101:101(0)   ack 201
        1.040 > .  102:102(0)   ack 202
        1.020 < F. 201:201(0)   ack 102
        end 3
        """,
        "client",
        "ESTABLISHED FIN_WAIT_1 TIME_WAIT",
    ),
    Row(
        "the_ack_of_the_fin_stands_before_it",
        PLAIN
        + """
        1.020 < .  201:201(0)   ack 102
        1.000 > F. 101:101(0)   ack 201
        1.500 < F. 201:201(0)   ack 102
        1.520 > .  102:102(0)   ack 202
        end 3
        """,
        "client",
        "ESTABLISHED FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT",
    ),
]


@pytest.mark.parametrize("row", [pytest.param(r, id=r.name) for r in ROWS])
def test_an_end_goes_through(row):
    taken_at = ("10.0.0.2",) if "never_sent" in row.name else ()
    one = run(row.text, taken_at=taken_at).connections[0]
    assert one.path(row.side).endswith(row.path)


def test_a_fin_behind_a_shut_window_was_asked_for_when_it_shut():
    """Before the window opened, and rather with the last write than during the stall."""
    (row,) = (r for r in ROWS if r.name == "fin_behind_a_shut_window")
    (change,) = (t for t in run(row.text).connections[0].of("client") if t.target == "FIN_WAIT_1")
    assert change.holds(1.0)
    assert change.holds(7.0)
