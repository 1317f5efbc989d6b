"""Marks: what is notable about a segment."""

from __future__ import annotations

import re

import pytest

from tests.strategies import MILLISECOND, plain_engine_where, run
from tests.tracking import CLOSE, OPEN, PENDING, STREAM, only


def test_capture_duplicates_count_once():
    """A mirror that gives every frame twice changes nothing that is told."""
    lines = [line for line in STREAM.splitlines() if line.strip()]
    once = only("\n".join(f"{line} id {n}" for n, line in enumerate(lines, 1)))
    twice = only("\n".join(f"{line} id {n}\n{line} id {n}" for n, line in enumerate(lines, 1)))
    assert "capture_duplicate" in twice.marks
    for side in ("client", "server"):
        for name in (
            "E_SEGMENTS",
            "E_BYTES",
            "E_UNIQUE",
            "E_RETRANSMITTED",
            "E_DUPLICATE_ACKS",
            "E_SYNS",
            "E_FINS",
            "E_RTT_MIN",
        ):
            assert twice.end(side, name) == once.end(side, name)
    assert [(c.side, c.target, c.time, c.basis) for c in twice.changes] == [
        (c.side, c.target, c.time, c.basis) for c in once.changes
    ]


def test_handshake_captured_in_the_wrong_order():
    """The SYN+ACK stamped before the SYN: the roles are right, and so are the states."""
    connection = only("0.000 < S. 0:0(0) ack 1\n0.000001 > S 0:0(0)\n0.02 > . 1:1(0) ack 1\n0.03 > P. 1:101(100) ack 1")
    assert connection["C_PORTS"] >> 16 == 40000
    assert connection.states == ("ESTABLISHED", "ESTABLISHED")
    assert connection.end("client", "E_BASE") == 1000


def test_overtaken_segment_is_no_retransmission():
    """A segment that fills a hole within 3 ms was overtaken, not lost."""
    connection = only(OPEN + "1.000 > P. 101:201(100) ack 1 id 901\n1.001 > P. 1:101(100) ack 1 id 900")
    assert connection.end("client", "E_OUT_OF_ORDER") == 1
    assert connection.end("client", "E_RETRANSMITTED") == 0
    assert connection.end("client", "E_UNIQUE") == 200


@pytest.mark.parametrize(
    "tail, mark",
    [
        ("1.0 > P. 1:101(100) ack 1\n1.3 > P. 1:101(100) ack 1", "timeout"),
        ("1.0 > P. 1:101(100) ack 1\n1.02 < . 1:1(0) ack 101\n1.3 > P. 1:101(100) ack 1", "spurious"),
        ("1.0 > P. 1:101(100) ack 1\n1.02 < . 1:1(0) ack 101\n9 > . 100:100(0) ack 1", "keepalive"),
        ("1.0 < . 1:1(0) ack 1 win 0", "zero_window"),
        ("1.0 > P. 1:65536(65535) ack 1", "window_full"),
        ("1.0 < . 1:1(0) ack 900", "ack_unseen"),
        ("1.0 > P. 500:600(100) ack 1", "gap"),
        ("1.0 > F. 1:1(0) ack 1\n1.3 > F. 1:1(0) ack 1", "fin_again"),
        ("1.0 > F. 1:1(0) ack 1\n1.1 > P. 2:102(100) ack 1", "beyond_fin"),
        ("1.0 > R. 1:1(0) ack 1\n1.1 > P. 1:101(100) ack 1", "after_rst"),
        ("1.0 > P. 1:2(1) ack 1\n1.02 < . 1:1(0) ack 2\n1.3 > P. 1:2(1) ack 1", "spurious"),
        ("1.0 > P. 1:2(1) ack 1\n1.3 > . 1:2(1) ack 1", "timeout"),
        ("9.0 > P. 1:101(100) ack 1\n9.02 < R 1:1(0)", "rst_drawn"),
        ("1.0 > R 400:400(0)", "rst_inexact"),
        ("1.0 > R 900000:900000(0)", "rst_outside"),
        ("1.0 > SF 0:0(0)", "odd_flags"),
    ],
)
def test_marks(tail, mark):
    """One notable segment, one mark."""
    assert mark in run(OPEN + tail).labels()[-1][2]


@pytest.mark.parametrize(
    "tail",
    [
        "9.0 < R 1:1(0)",  # nothing was asked for nine seconds
        "9.0 > P. 1:101(100) ack 1\n9.02 < R. 1:1(0) ack 101",  # an abort
        "9.0 > P. 1:101(100) ack 1\n9.02 < . 1:1(0) ack 101\n9.021 < R 1:1(0)",  # it was acknowledged
        "9.0 > P. 1:101(100) ack 1\n12.0 < R 1:1(0)",  # so late comes no answer
        "9.0 > P. 1:101(100) ack 1\n9.02 < R 700:700(0)",  # not its number
    ],
)
def test_resets_that_answer_nothing(tail):
    """A reset is a reply by its number, by its time, and by what it answers."""
    assert "rst_drawn" not in run(OPEN + tail).labels()[-1][2]


def test_timers_are_not_counted_from_frames_out_of_order():
    """A frame stamped before the one it follows is marked, and takes no round-trip time below zero."""
    connection = only(OPEN + "1.000 > P. 1:101(100) ack 1\n0.900 < . 1:1(0) ack 101")
    assert "time_back" in connection.marks
    assert connection.end("client", "E_RTT_MIN") == 20 * MILLISECOND


BEFORE = (
    "port 1 80\n"
    + OPEN
    + CLOSE
    + "port 2 80\n"
    + OPEN
    + "".join(f"{2 + n / 10} > P. {1 + 9 * n}:{10 + 9 * n}(9) ack 1\n" for n in range(10))
)


def earlier(text: str, seconds: float) -> str:
    """The same lines so much earlier."""
    return re.sub(r"(?m)^\s*([\d.]+)(?= [<>])", lambda line: f"{float(line[1]) - seconds:.3f}", text)


@pytest.mark.parametrize("set_back", [0, 50, 65, 600])
@pytest.mark.parametrize("step", [None, 1, 5])
def test_connections_stay_whole_when_the_clock_was_set_back(set_back, step):
    """What is open goes on; what begins then is no older than it is; what was over is judged as if long ago."""
    goes_on = "".join(f"{4 + n / 10} > P. {91 + 9 * n}:{100 + 9 * n}(9) ack 1\n" for n in range(8))
    later = "".join(f"port {10 + n} 80\n" + OPEN + CLOSE for n in range(5))
    back = set_back - 700
    text = earlier(BEFORE, -700) + earlier("port 2 80\n" + goes_on, back) + earlier(later, back - 5)
    outcome = run(text, step=step)
    assert [c.end("client", "E_SEGMENTS") for c in outcome.connections] == [4, 20, 4, 4, 4, 4, 4]
    late = run(text + earlier("port 1 80\n6 > . 2:2(0) ack 2", back), step=step)
    assert len(late.connections) == (8 if set_back > 60 else 7)


def test_a_few_old_frames_do_not_set_the_clock_back():
    """Seven segments of ten minutes ago are strays: what was over a moment ago still takes what comes late."""
    old = "port 3 80\n" + "".join(f"3.{n} > . 1:1(0) ack 1\n" for n in range(7))
    outcome = run(earlier(BEFORE, -700) + old + "port 1 80\n704 > . 2:2(0) ack 2")
    assert outcome.connections[0].end("client", "E_SEGMENTS") == 5


def test_connection_outlives_a_stray_syn_that_nobody_decides():
    """Silence never splits: after a stray SYN and minutes of silence, the old numbers mean the old connection."""
    tail = "isn 1000 5000\n301 > P. 1:101(100) ack 1\n301.02 < . 1:1(0) ack 101\n"
    for step in (1, None):
        outcome = run(PENDING + "end 300\n" + tail, step=step)
        assert [conn_id for conn_id, _, _ in outcome.labels()][-2:] == [0, 0]
        assert outcome.connections[0].end("client", "E_BYTES") == 100


def test_a_connection_is_no_second_use_of_a_four_tuple_with_the_same_hash():
    """Where all four-tuples share one hash, each still has its own past."""
    meeting = plain_engine_where(hash_of=lambda *_: 7)
    apart = "\n".join(
        f"port {41000 + n % 3} 80\n{600 * n} > S 0:0(0)\n{600 * n + 0.1} < R. 0:0(0) ack 1" for n in range(6)
    )
    outcome = run(apart, engine=meeting)
    uses = [(c["C_INCARNATION"], c["C_PREVIOUS_ID"]) for c in outcome.connections]
    assert uses == [(0, -1)] * 3 + [(1, 0), (1, 1), (1, 2)]
