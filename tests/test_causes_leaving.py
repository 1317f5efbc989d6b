"""Who leaves: a client that has seen enough, a few last words, jobs that want no answer. Nobody misses anything."""

from __future__ import annotations

import pytest

from tcptrace_fsm.findings.rule import SEVERITIES
from tests.strategies import run
from tests.test_causes import diagnoses

pytestmark = pytest.mark.plain

OPENED = """
    0.000 > S  0:0(0)
    0.010 < S. 0:0(0)     ack 1
    0.020 > .  1:1(0)     ack 1
"""
DOWNLOAD = (
    OPENED
    + "0.030 > P. 1:101(100) ack 1\n0.040 < . 1:1(0) ack 101\n"
    + "".join(
        f"{0.05 + n / 100:.3f} < . {1 + 1000 * n}:{1001 + 1000 * n}(1000) ack 101\n"
        f"{0.055 + n / 100:.3f} > . 101:101(0) ack {1001 + 1000 * n}\n"
        for n in range(20)
    )
)
BEGUN = "".join(
    f"{t} < . {20001 + 1000 * n}:{21001 + 1000 * n}(1000) ack 101\n" for n, t in enumerate((0.250, 0.251, 0.252))
)
POLLED = OPENED + "".join(
    f"{t} > P. {1 + 100 * n}:{101 + 100 * n}(100) ack {1 + 1200 * n}\n"
    f"{t + 0.02} < . {1 + 1200 * n}:{1 + 1200 * n}(0) ack {101 + 100 * n}\n"
    f"{t + took} < P. {1 + 1200 * n}:{1201 + 1200 * n}(1200) ack {101 + 100 * n}\n"
    f"{t + took + 0.001} > . {101 + 100 * n}:{101 + 100 * n}(0) ack {1201 + 1200 * n}\n"
    for n, (t, took) in enumerate(((0.1, 2.7), (3.0, 0.9), (5.0, 4.1)))
)
LEFT = {
    "a download that its client has stopped, by RST with data unread": DOWNLOAD
    + BEGUN
    + "0.2525 > R. 101:101(0) ack 20001\n",
    "a download that its client has stopped, by FIN, while the rest was on its way": DOWNLOAD
    + "0.2495 > F. 101:101(0) ack 20001\n"
    + BEGUN
    + "0.2525 > R 102:102(0)\n",
    "a client that says goodbye and resets at once: the goodbye is not acknowledged": OPENED
    + """
        0.030 > P. 1:101(100)   ack 1
        0.040 < P. 1:201(200)   ack 101
        0.050 > .  101:101(0)   ack 201
        0.200 > P. 101:125(24)  ack 201
        0.2001 > R. 125:125(0)  ack 201
    """,
    "the same with something that it had not read": OPENED
    + """
        0.030 > P. 1:101(100)   ack 1
        0.040 < P. 1:201(200)   ack 101
        0.041 < P. 201:456(255) ack 101
        0.050 > .  101:101(0)   ack 456
        0.200 > P. 101:125(24)  ack 456
        0.2001 > R. 125:125(0)  ack 456
    """,
    "a server that resets what a client said before it closed, expecting nothing": OPENED
    + """
        0.030 > P. 1:101(100)   ack 1
        0.040 < P. 1:201(200)   ack 101
        0.050 > P. 101:108(7)   ack 201
        0.0501 > F. 108:108(0)  ack 201
        0.060 < R. 201:201(0)   ack 101
    """,
    "a reader of news that leaves while some are on their way: its RST has ACK, it knows the connection": OPENED
    + """
        0.030 > P. 1:101(100)   ack 1
        0.040 < P. 1:201(200)   ack 101
        0.050 > .  101:101(0)   ack 201
        2.000 < P. 201:501(300) ack 101
        2.040 > .  101:101(0)   ack 501
        4.000 < P. 501:801(300) ack 101
        4.001 > R. 101:101(0)   ack 801
    """,
    "an alert that answers the FIN itself": OPENED
    + """
        0.030 > P. 1:101(100)    ack 1
        0.040 < P. 1:1001(1000)  ack 101
        0.041 < F. 1001:1001(0)  ack 101
        0.050 > P. 101:125(24)   ack 1002
        0.051 < R  1002:1002(0)
    """,
    "a client that leaves a poll after seven seconds, and what happens then": POLLED
    + """
        10.00 > P. 301:401(100)   ack 3601
        10.02 < .  3601:3601(0)   ack 401
        17.30 > F. 401:401(0)     ack 3601
        17.32 < .  3601:3601(0)   ack 402
        21.00 < P. 3601:5001(1400) ack 402
        21.001 > R 402:402(0)
    """,
    "the same soon after it has begun again, as its answers come when there are some": POLLED
    + """
        10.00 > P. 301:401(100)   ack 3601
        10.02 < .  3601:3601(0)   ack 401
        10.31 > F. 401:401(0)     ack 3601
        10.33 < .  3601:3601(0)   ack 402
        11.00 < P. 3601:5001(1400) ack 402
        11.001 > R 402:402(0)
    """,
    "a poll begun again and left soon, behind one answer that came late": OPENED
    + """
        0.100 > P. 1:101(100)     ack 1
        0.120 < .  1:1(0)         ack 101
        9.300 < P. 1:301(300)     ack 101
        9.310 > P. 101:201(100)   ack 301
        9.330 < .  301:301(0)     ack 201
        9.720 > F. 201:201(0)     ack 301
        9.740 < .  301:301(0)     ack 202
        19.90 < P. 301:901(600)   ack 202
        19.901 > R 202:202(0)
    """,
    "a client whose last words are before the capture": """
        0.010 > F. 401:401(0)     ack 3601
        0.030 < .  3601:3601(0)   ack 402
        4.000 < P. 3601:3951(350) ack 402
        4.001 > R  402:402(0)
    """,
    "a check that has its answer and resets": OPENED
    + """
        0.030 > P. 1:91(90)   ack 1
        0.040 < P. 1:141(140) ack 91
        0.041 > R. 91:91(0)   ack 141
    """,
    "a reader that stops reading for a second and then ends the connection": OPENED
    + """
        0.030 > P. 1:101(100)     ack 1        win 2000
        0.040 < .  1:1001(1000)   ack 101
        0.041 < .  1001:2001(1000) ack 101
        0.050 > .  101:101(0)     ack 2001     win 0
        0.300 < .  2000:2000(0)   ack 101
        0.301 > .  101:101(0)     ack 2001     win 0
        0.800 < .  2000:2000(0)   ack 101
        0.801 > .  101:101(0)     ack 2001     win 0
        1.900 > R. 101:101(0)     ack 2001
    """,
}


def loud(text):
    """What is said above low."""
    return [(d.cause, d.severity) for d in diagnoses(text) if SEVERITIES.index(d.severity) > SEVERITIES.index("low")]


@pytest.mark.parametrize("name", LEFT)
def test_nobody_misses_anything(name):
    """At most low, and not more than possible."""
    assert loud(LEFT[name]) == []
    assert {d.confidence for d in diagnoses(LEFT[name])} <= {"possible"}


MISSED = {
    "the answer to a request behind which its client closes": OPENED
    + """
        0.030 > P. 1:101(100)   ack 1
        0.200 > F. 101:101(0)   ack 1
        0.210 < .  1:1(0)       ack 102
        0.400 < P. 1:1001(1000) ack 102
        0.401 > R  102:102(0)
    """,
    "a request of some size, though its client closed behind it": LEFT[
        "a server that resets what a client said before it closed, expecting nothing"
    ]
    .replace("101:108(7)  ", "101:801(700)")
    .replace("108:108(0)", "801:801(0)"),
    "an answer that is sent with the reset, all of a large request having been acknowledged": OPENED
    + "".join(f"0.{30 + n} > . {1 + 1000 * n}:{1001 + 1000 * n}(1000) ack 1\n" for n in range(20))
    + """
        0.055 < .  1:1(0)       ack 20001
        0.062 < P. 1:351(350)   ack 20001
        0.0621 < R. 351:351(0)  ack 20001
    """,
    "a server that does not read on": """
        0.000 > S  0:0(0)
        0.010 < S. 0:0(0)     ack 1
        0.020 > .  1:1(0)     ack 1
        0.030 > .  1:1001(1000)    ack 1
        0.031 > .  1001:2001(1000) ack 1
        0.041 < .  1:1(0)     ack 1001
        0.042 > P. 2001:3001(1000) ack 1
        0.050 < P. 1:201(200) ack 1001
        0.051 < F. 201:201(0) ack 1001
        0.052 < R  202:202(0)
    """,
}


@pytest.mark.parametrize("name", MISSED)
def test_something_is_lost(name):
    """Medium at the least."""
    assert [cause for cause, _ in loud(MISSED[name])][:1] == ["closed_with_unread_data"]


def test_a_client_that_has_waited_or_read_is_told_low():
    """Findings too: of a client that leaves, or that resets when it has its answer; not where its words are lost."""

    def told(text):
        kinds = ("rst_on_late_data", "close_with_unread_data")
        return [f.severity for f in run(text, rules=True).findings if f.kind in kinds]

    assert [told(text) for name, text in LEFT.items() if "a poll after" in name or "check" in name] == [
        ["low"],
        ["low"],
    ]
    assert told(MISSED["the answer to a request behind which its client closes"]) == ["medium"]
    farewell = """
        0.030 > P. 1:101(100)    ack 1
        0.040 < P. 1:1001(1000)  ack 101
        0.050 > .  101:101(0)    ack 1001
        3.000 < P. 1001:1025(24) ack 101
        3.001 < F. 1025:1025(0)  ack 101
        3.010 > P. 101:{0}({1})  ack 1026
        3.0101 > R. {0}:{0}(0)   ack 1026
    """
    aborts = [
        [f.severity for f in run(OPENED + farewell.format(101 + n, n), rules=True).findings if f.kind == "abort_rst"]
        for n in (24, 300)
    ]
    assert aborts == [["low"], ["medium"]]
    unheard = LEFT["a check that has its answer and resets"].replace("0.040 < P. 1:141(140) ack 91", "")
    unheard = unheard.replace("0.041 > R.", "0.0405 < P. 1:141(140) ack 1\n0.041 > R.")
    assert told(unheard) == ["medium"]


def again(both):
    """A download of sixty segments, of which each fifth is sent again after a timeout; with its ACKs, or without."""
    lines = ["0.000 > S 0:0(0)", "0.001 < S. 0:0(0) ack 1", "0.040 > . 1:1(0) ack 1", "0.041 > P. 1:101(100) ack 1"]
    for n in range(60):
        time, begins = 0.05 + 0.4 * n, 1 + 1000 * n
        lines.append(f"{time:.4f} < P. {begins}:{begins + 1000}(1000) ack 101")
        if n % 5 == 4:
            lines.append(f"{time + 0.21:.4f} < P. {begins}:{begins + 1000}(1000) ack 101")
        lines.append(f"{time + (0.25 if n % 5 == 4 else 0.04):.4f} > . 101:101(0) ack {begins + 1000}")
    return "\n".join(line for line in lines if both or " < " in line)


def test_one_direction_does_not_tell_whether_it_was_lost():
    """What is sent again may have been late only: with the ACKs missing, nothing says so."""
    said = {both: [d.confidence for d in diagnoses(again(both)) if d.cause == "path_loss"] for both in (True, False)}
    assert said == {True: ["likely"], False: ["possible"]}


def jobs(size, after=0.04, closes=0.0311):
    """Clients that send so much, close behind it, and get a FIN without a byte."""
    return "".join(
        f"""
        port {40001 + n} 9100
        {n}.000 > S  0:0(0)
        {n}.010 < S. 0:0(0) ack 1
        {n}.020 > .  1:1(0) ack 1
        {n}.030 > .  1:{1 + size // 2}({size // 2}) ack 1
        {n}.031 > P. {1 + size // 2}:{1 + size}({size - size // 2}) ack 1
        {n + closes:.4f} > F. {1 + size}:{1 + size}(0) ack 1
        {n + after:.4f} < F. 1:1(0) ack {2 + size}
        {n + after + 0.01:.4f} > .  {2 + size}:{2 + size}(0) ack 2
        """
        for n in range(4)
    )


def test_a_job_is_no_request():
    """What is sent to a printer wants no answer; a request does."""
    assert loud(jobs(9000)) == []
    assert [cause for cause, _ in loud(jobs(300))] == ["half_close_unsupported"]


def test_who_closes_with_its_request_waits_for_the_answer():
    """A proxy that closes seconds later takes its FIN for the end of all, too; who closes late has gone away."""
    assert [cause for cause, _ in loud(jobs(300, after=3.0))] == ["half_close_unsupported"]
    assert loud(jobs(300, after=3.0, closes=0.9)) == []


ANSWERED = """
    port 40010 9100
    8.000 > S  0:0(0)
    8.010 < S. 0:0(0)       ack 1
    8.020 > .  1:1(0)       ack 1
    8.030 > P. 1:{end}({size}) ack 1
    8.040 < P. 1:201(200)   ack {end}
    8.050 > F. {end}:{end}(0) ack 201
    8.060 < F. 201:201(0)   ack {last}
    8.070 > .  {last}:{last}(0) ack 202
"""


def test_what_some_get_no_answer_to_may_want_none():
    """The same service answers what is asked in another size: what it does not answer may be pushed, not asked."""
    same, other = (ANSWERED.format(size=size, end=1 + size, last=2 + size) for size in (300, 350))
    assert loud(jobs(300) + other) == loud(jobs(9000) + other) == []
    assert [cause for cause, _ in loud(jobs(300) + same)] == ["half_close_unsupported"]


STOPS_READING = (
    OPENED
    + """
    0.030 > .  1:1461(1460)     ack 1
    0.031 > .  1461:2921(1460)  ack 1
    0.040 < .  1:1(0)           ack 2921     win 0
    0.300 > .  2920:2920(0)     ack 1
    0.301 < .  1:1(0)           ack 2921     win 0
    0.900 < R. 1:1(0)           ack 2921
"""
)


def test_a_reset_behind_a_shut_window_leaves_data_unread():
    """A server's; a client that stops reading has seen enough. What its window let in again may have been read."""
    (told,) = [d for d in diagnoses(STOPS_READING) if d.cause == "closed_with_unread_data"]
    assert (told.confidence, told.severity, told.where) == ("likely", "medium", "server")
    opened = STOPS_READING.replace(
        "0.301 < .  1:1(0)           ack 2921     win 0", "0.301 < . 1:1(0) ack 2921 win 9000"
    )
    assert "closed_with_unread_data" not in [d.cause for d in diagnoses(opened)]


def test_a_few_words_long_after_the_servers_fin_came_too_late():
    """The client had acknowledged it: the server has not left unread what it should have waited for."""
    text = (
        OPENED
        + """
        0.030 > P. 1:9(8)       ack 1
        0.040 < P. 1:801(800)   ack 9
        0.050 > .  9:9(0)       ack 801
        3.400 < F. 801:801(0)   ack 9
        3.440 > .  9:9(0)       ack 802
        6.000 > P. 9:17(8)      ack 802
        6.001 < R  802:802(0)
    """
    )
    assert [(d.cause, d.severity) for d in diagnoses(text)] == [("reused_after_close", "low")]
