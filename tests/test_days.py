"""Captures of several days, or of the same hours twice: nothing is judged by what no one looked at."""

from __future__ import annotations

import re

import pytest

import tcptrace_fsm as tf
from tcptrace_fsm.capture.scripted import parse
from tcptrace_fsm.core.words import SEVERITIES
from tests import builders as make
from tests.strategies import plain_engine, run, watched_engine

DAY = 86400

OPEN = """
    0.000 > S  0:0(0)       id 1
    0.010 < S. 0:0(0)       ack 1   id 1
    0.020 > .  1:1(0)       ack 1   id 2
    0.030 > P. 1:101(100)   ack 1   id 3
    0.040 < P. 1:201(200)   ack 101 id 2
    0.050 > .  101:101(0)   ack 201 id 4
"""
CLOSED = (
    OPEN
    + """
    1.000 > F. 101:101(0)   ack 201 id 5
    1.010 < F. 201:201(0)   ack 102 id 3
    1.020 > .  102:102(0)   ack 202 id 6
"""
)
UNFINISHED = {
    "half closed": OPEN + "1.000 > F. 101:101(0) ack 201\n1.010 < . 201:201(0) ack 102\n",
    "a request under way": OPEN + "1.000 > P. 101:301(200) ack 201\n1.010 < . 201:201(0) ack 301\n",
    "data not acknowledged": OPEN + "1.000 > P. 101:301(200) ack 201\n",
    "a window shut": OPEN + "1.000 < . 201:201(0) ack 101 win 0\n1.200 > . 100:100(0) ack 201\n",
    "a SYN": "0.000 > S 0:0(0)\n",
    "a SYN+ACK": "0.000 > S 0:0(0)\n0.010 < S. 0:0(0) ack 1\n",
    "idle": OPEN,
}


def later(text: str, seconds: float, port: int) -> str:
    """The conversation, so much later, from another port."""
    moved = re.sub(r"(?m)^\s*(\d+\.\d+)", lambda m: f"{float(m[1]) + seconds:.6f}", text)
    return f"port {port} 80\nisn 9000 70000\n{moved}"


def frames_of(text: str) -> list[tuple[int, bytes]]:
    """The conversation as frames, with their times in us."""
    found = []
    for line in parse(text).lines:
        flags = "".join(name for name, bit in zip("FSRPA", (1, 2, 4, 8, 16), strict=True) if line.flags & bit)
        segment = make.tcp(
            bytes(line.length),
            seq=line.seq,
            ack=line.ack,
            flags=flags,
            window=line.window,
            src_port=line.source[1],
            dst_port=line.target[1],
        )
        ends = [".".join(str(x >> s & 255) for s in (24, 16, 8, 0)) for x in (line.source[0], line.target[0])]
        found.append((line.time // 1000, make.ethernet(make.ipv4(segment, src=ends[0], dst=ends[1], ident=line.ip_id))))
    return found


def loud(trace) -> list[str]:
    """What is said above low."""
    said = [*trace.anomalies.itertuples(), *trace.diagnoses.itertuples()]
    return [x.message for x in said if SEVERITIES.index(x.severity) > SEVERITIES.index("low")]


@pytest.mark.parametrize("kind", ["installed", "plain", "watched"])
@pytest.mark.parametrize("what", UNFINISHED)
def test_a_day_without_a_segment_closes_the_books(what, kind):
    """What was unfinished is judged as of the last thing that was seen before, as at the end of a capture."""
    more = {} if kind == "installed" else {"engine": plain_engine() if kind == "plain" else watched_engine()}
    alone = run(UNFINISHED[what], rules=True)
    outcome = run(UNFINISHED[what] + later(CLOSED, 3 * DAY, 40001), rules=True, **more)
    first, second = outcome.connections
    assert first.states == alone.connections[0].states
    assert first["C_OVER_TIME"] == alone.connections[0]["C_OVER_TIME"]
    assert second.states == ("TIME_WAIT", "CLOSED")
    assert [(f.kind, f.message) for f in outcome.findings if f.conn_id == 0] == [
        (f.kind, f.message) for f in alone.findings if f.conn_id == 0
    ]


def test_less_than_a_day_does_not():
    outcome = run(UNFINISHED["half closed"] + later(CLOSED, DAY - 2, 40001), rules=True)
    assert any(f.kind == "stuck_close_wait" and f.severity == "high" for f in outcome.findings)


@pytest.mark.parametrize("what", UNFINISHED)
def test_what_goes_on_the_next_day_is_a_connection_of_its_own(what):
    """By the same four-tuple: neither waited for the other."""
    text = UNFINISHED[what] + later("1.5 > P. 301:401(100) ack 201\n1.51 < . 201:201(0) ack 401\n", 2 * DAY, 40000)
    outcome = run(text, rules=True)
    assert len(outcome.connections) == 2
    assert not [f.message for f in outcome.findings if re.search(r"\d d\b", f.message)]


@pytest.mark.slow
@pytest.mark.parametrize("what", UNFINISHED)
def test_two_processes_close_the_same_books(what, tmp_path):
    text = UNFINISHED[what] + "".join(later(CLOSED, n * DAY * 1.5, 40000 + n) for n in range(1, 4))
    (tmp_path / "a.pcap").write_bytes(make.pcap(frames_of(text)))
    one, two = (tf.analyze(tmp_path / "a.pcap", jobs=jobs) for jobs in (1, 2))
    assert one.connections.astype(str).equals(two.connections.astype(str))
    assert list(one.anomalies["message"]) == list(two.anomalies["message"])
    assert not [m for m in loud(one) if " d " in m]


@pytest.mark.parametrize("long", [0, 30, 200])
def test_a_capture_appended_to_itself_holds_each_connection_once(long, tmp_path):
    """Short or long: with the clock's set-back in the middle of a connection, too."""
    text = OPEN + "".join(later(CLOSED, n * 3 + 0.1, 40001 + n) for n in range(4))
    text += "port 40000 80\nisn 1000 5000\n" + f"{long + 20}.0 > F. 101:101(0) ack 201 id 7\n"
    text += f"{long + 20}.01 < F. 201:201(0) ack 102 id 8\n{long + 20}.02 > . 102:102(0) ack 202 id 8\n"
    frames = frames_of(text)
    (tmp_path / "twice.pcap").write_bytes(make.pcap(frames + frames))
    (tmp_path / "once.pcap").write_bytes(make.pcap(frames))
    once, twice = (tf.analyze(tmp_path / f"{name}.pcap") for name in ("once", "twice"))
    assert loud(once) == loud(twice) == []
    assert len(once.connections) == 5
    assert set(twice.connections["closing"]) == {"normal"}
    if long < 40:
        assert len(twice.connections) == 5


@pytest.mark.parametrize("split", range(1, 8))
def test_days_in_the_wrong_order_are_two_captures(split, tmp_path):
    """The second day stands before the first, and connections were open at midnight."""
    frames = frames_of(CLOSED + later(CLOSED, 0.5, 40001) + later(CLOSED, 0.7, 40002) + later(CLOSED, 0.9, 40003))
    frames.sort(key=lambda one: one[0])
    cut = 4 * split
    late = [(time + DAY * 1_000_000, frame) for time, frame in frames[cut:]]
    (tmp_path / "a.pcap").write_bytes(make.pcap(late + frames[:cut]))
    trace = tf.analyze(tmp_path / "a.pcap")
    assert loud(trace) == []
    assert len(trace.connections) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("days", [(), (0.9,), (1.5,), (1.5, 3, 9), (-2,)])
def test_the_first_screen_tells_of_days_without_a_segment(days, jobs, tmp_path):
    """Whoever reads how long the capture is knows then that it is not of one piece."""
    frames = frames_of(CLOSED)
    for n, day in enumerate(days):
        frames += [(t + int(day * DAY) * 1_000_000, f) for t, f in frames_of(later(CLOSED, 0, 40001 + n))]
    (tmp_path / "a.pcap").write_bytes(make.pcap([(t + 10 * DAY * 1_000_000, f) for t, f in frames]))
    shown = repr(tf.analyze(tmp_path / "a.pcap", jobs=jobs))
    assert ("its time leaps by a day or more" in shown) is any(abs(day) > 1 for day in days)
