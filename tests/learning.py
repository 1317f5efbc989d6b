"""Hosts whose timers are learned."""

from __future__ import annotations

from typing import NamedTuple

from tcptrace_fsm.capture.scripted import Script, parse
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.findings.evidence import CLOSED_BY_CLIENT, CLOSED_BY_SERVER, HANDSHAKE
from tcptrace_fsm.runs.timers import Lesson

SECOND = 1_000_000_000


CLIENT_HOST = (0, 0, 10 << 24 | 1)


SERVER_HOST = (0, 0, 10 << 24 | 2)


TIMESTAMPS = """
            0.000 > S  0:0(0)             <mss 1460,ts 100/0>
            0.010 < S. 0:0(0)     ack 1   <mss 1460,ts 900/100>
            0.020 > .  1:1(0)     ack 1   <ts 120/900>
            1.000 < F. 1:1(0)     ack 1   <ts 1890/120>
            1.010 > F. 1:1(0)     ack 2   <ts 1110/1890>
            1.020 < .  2:2(0)     ack 2   <ts 1910/1110>
"""


def at_once(*texts: str) -> Script:
    """Conversations between the same hosts at the same time, each from a port of its own."""
    lines = []
    for n, text in enumerate(texts):
        lines += parse(f"port {40000 + n} 80\nisn {1000 + 7 * n} {5000 + 11 * n}\n{text}").lines
    return Script(sorted(lines, key=lambda line: line.time))


def shown_by(conversation: Script) -> dict:
    lesson = Lesson(Settings())
    lesson.take(conversation)
    lesson.finish()
    return lesson.shown


class Case(NamedTuple):
    """A conversation, and between what its client's, or its server's, evidence must lie: seconds, None for none."""

    name: str
    text: str
    alive: tuple[float, float] | None = None
    gone: tuple[float, float] | None = None
    let_go: tuple[float, float] | None = None
    host: tuple[int, int, int] = CLIENT_HOST


HALF_CLOSED = (
    HANDSHAKE
    + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
"""
)


EVIDENCE = [
    Case(
        "a_repeated_fin_is_acknowledged_again",
        CLOSED_BY_CLIENT
        + """
            8.000 < F. 1:1(0)     ack 102
            8.010 > .  102:102(0) ack 2
        """,
        alive=(6.9, 6.98),
    ),
    Case(
        "ages_count_from_the_segment_that_restarted_it",
        CLOSED_BY_CLIENT
        + """
            8.000 < F. 1:1(0)     ack 102
            8.010 > .  102:102(0) ack 2
            28.00 < F. 1:1(0)     ack 102
            28.01 > .  102:102(0) ack 2
            40.00 < F. 1:1(0)     ack 102
            40.01 > .  102:102(0) ack 2
        """,
        alive=(19.9, 20.0),
    ),
    Case(
        "what_was_not_answered_may_have_restarted_it_all_the_same",
        CLOSED_BY_CLIENT
        + """
            20.00 < F. 1:1(0)     ack 102
            25.00 < F. 1:1(0)     ack 102
            25.01 > .  102:102(0) ack 2
        """,
        alive=(4.9, 5.0),
    ),
    Case(
        "a_repeated_fin_meets_no_connection",
        CLOSED_BY_CLIENT
        + """
            20.00 < F. 1:1(0)     ack 102
            20.01 > R  102:102(0)
        """,
        gone=(19, 19.01),
    ),
    Case(
        "gone_after_a_restart",
        CLOSED_BY_CLIENT
        + """
            8.000 < F. 1:1(0)     ack 102
            8.010 > .  102:102(0) ack 2
            20.00 < F. 1:1(0)     ack 102
            20.01 > R  102:102(0)
        """,
        alive=(6.9, 6.98),
        gone=(12, 12.02),
    ),
    Case(
        "the_servers_time_wait",
        CLOSED_BY_SERVER
        + """
            30.00 > F. 101:101(0) ack 2
            30.01 < R  2:2(0)
        """,
        gone=(29, 29.01),
        host=SERVER_HOST,
    ),
    Case(
        "a_syn_that_no_time_wait_gives_way_to_is_taken",
        CLOSED_BY_SERVER
        + """
            isn 500 70000
            45.00 > S  0:0(0)
            45.01 < S. 0:0(0)     ack 1
            45.02 > .  1:1(0)     ack 1
        """,
        gone=(44, 44.01),
        host=SERVER_HOST,
    ),
    Case(
        "a_syn_is_challenged",
        CLOSED_BY_SERVER
        + """
            isn 500 5000
            45.00 > S  0:0(0)
            isn 1000 5000
            45.01 < .  2:2(0) ack 102
            45.02 > R  102:102(0)
        """,
        alive=(43.9, 44),
        host=SERVER_HOST,
    ),
    Case(
        "a_syn_is_challenged_and_taken_once_the_time_wait_is_reset",
        CLOSED_BY_SERVER
        + """
            isn 500 5000
            45.00 > S  0:0(0)
            isn 1000 5000
            45.01 < .  2:2(0) ack 102
            45.02 > R  102:102(0)
            isn 500 70000
            46.00 > S  0:0(0)
            46.01 < S. 0:0(0)     ack 1
            46.02 > .  1:1(0)     ack 1
        """,
        alive=(43.9, 44),
        host=SERVER_HOST,
    ),
    Case(
        "nor_to_one_with_an_older_timestamp",
        TIMESTAMPS
        + """
            isn 500 70000
            45.00 > S  0:0(0)             <mss 1460,ts 60/0>
            45.01 < S. 0:0(0)     ack 1   <mss 1460,ts 5/60>
            45.02 > .  1:1(0)     ack 1   <ts 61/5>
        """,
        gone=(44, 44.01),
        host=SERVER_HOST,
    ),
    Case(
        "a_late_fin_meets_no_connection_in_fin_wait_2",
        HALF_CLOSED
        + """
            16.00 < F. 1:1(0)     ack 102
            16.01 > R  102:102(0)
        """,
        let_go=(14.99, 15.01),
    ),
    Case(
        "data_taken_in_fin_wait_2_show_that_it_was_held",
        HALF_CLOSED
        + """
            6.000 < P. 1:11(10)   ack 102
            6.010 > .  102:102(0) ack 11
            16.00 < F. 11:11(0)   ack 102
            16.01 > R  102:102(0)
        """,
        let_go=(10, 10.02),
    ),
    Case(
        "keepalives_answered_in_fin_wait_2_do_not",
        HALF_CLOSED
        + """
            6.000 < .  0:0(0)     ack 102
            6.010 > .  102:102(0) ack 1
            16.00 < F. 1:1(0)     ack 102
            16.01 > R  102:102(0)
        """,
        let_go=(14.99, 15.01),
    ),
]
