"""Times that no clock shows: held within what every sum fits, counted, and told."""

from __future__ import annotations

import io
import json

import pytest

import tcptrace_fsm as tf
from tcptrace_fsm.capture.containers import open_capture
from tcptrace_fsm.cli.app import run_command
from tcptrace_fsm.tcp.notation import BEGIN
from tests import builders as make
from tests import two_points
from tests.strategies import SECOND, plain_engine, run, watched_engine

FRAME = make.ethernet(make.ipv4(make.tcp(b"x", seq=5)))
YEAR = 365 * 86400
BOUND = 2**62
FARTHEST = 2**58


def read(stamp: int, *, tsresol: int = 9, tsoffset: int | None = None):
    """The capture of one frame with this stamp, and the time that it was given."""
    data = make.section() + make.interface(tsresol=tsresol, tsoffset=tsoffset) + make.packet(stamp, FRAME)
    capture = open_capture(io.BytesIO(data))
    (batch,) = capture.segments()
    return capture, batch.frame(1)[0]


@pytest.mark.parametrize(
    "stamp, more, time",
    [
        (0, {}, 0),
        (BOUND, {}, BOUND),
        (1, {"tsoffset": -1, "tsresol": 0}, 0),
        (2**32 - 1, {"tsresol": 0}, (2**32 - 1) * SECOND),
        (2**63 - 1, {"tsresol": 0x80 | 40}, ((2**23 - 1) * SECOND) + 999999999),
    ],
)
def test_times_up_to_the_bounds_are_taken_as_they_are(stamp, more, time):
    capture, given = read(stamp, **more)
    assert (given, capture.times_held) == (time, 0)


@pytest.mark.parametrize(
    "stamp, more, time",
    [
        (BOUND + 1, {}, BOUND),
        (2**64 - 1, {}, BOUND),
        (5, {"tsoffset": -6, "tsresol": 0}, 0),
        (0, {"tsoffset": -(2**63)}, 0),
        (0, {"tsoffset": 2**62}, 2**32 * SECOND),
        (2**63 - 1, {"tsresol": 0}, BOUND),
        (2**40, {"tsresol": 0}, BOUND),
        (2**62, {"tsresol": 0x80 | 1}, BOUND),
    ],
)
def test_times_outside_are_held_at_the_bound_and_counted(stamp, more, time):
    capture, given = read(stamp, **more)
    assert given == time
    assert capture.times_held == (1 if time in {0, BOUND} else 0)


def talk(seconds: int) -> str:
    """A connection whose data are stamped so much earlier than its handshake: too few to set the clock back."""
    return f"""
        {seconds}.000 > S  0:0(0)            win 1000
        {seconds}.010 < S. 0:0(0)   ack 1    win 1000
        {seconds}.020 > .  1:1(0)   ack 1    win 1000
        0.000 > P. 1:11(10) ack 1    win 1000
        0.010 < .  1:1(0)   ack 11   win 1000
    """


@pytest.mark.parametrize("kind", ["installed", "plain", "watched"])
@pytest.mark.parametrize("seconds, held", [(9 * YEAR, 0), (10 * YEAR, 2), (70 * YEAR, 2)])
def test_a_connection_spans_nine_years_at_most(kind, seconds, held):
    """Beyond that its clock stands still, and what was moved is counted; compiled and not alike."""
    more = {} if kind == "installed" else {"engine": plain_engine() if kind == "plain" else watched_engine()}
    (connection,) = (outcome := run(talk(seconds), rules=True, **more)).connections
    assert outcome.engine.times_held == held
    assert connection.states == ("ESTABLISHED", "ESTABLISHED")
    first = BEGIN + seconds * SECOND
    earliest = first - FARTHEST if held else BEGIN
    assert abs(connection["C_FIRST_TIME"] - earliest) < 1000 or connection["C_FIRST_TIME"] == first


def test_times_that_run_back_decades():
    """The other bound: what comes nine years before the first segment of its connection."""
    outcome = run(talk(0).replace("0.000 >", f"{20 * YEAR}.000 >", 1), rules=True)
    assert sum(c["C_FIRST_TIME"] >= BEGIN for c in outcome.connections) == len(outcome.connections)
    assert outcome.engine.times_held > 0


def late(years: int) -> bytes:
    """A capture with an open connection whose data are stamped years before."""
    parts = [("S", 1000, 0, b""), ("A", 1001, 0, b""), ("PA", 1001, -years * YEAR, b"early")]
    frames = []
    for flags, seq, seconds, content in parts:
        segment = make.tcp(content, seq=seq, flags=flags)
        frames.append(((1_700_000_000 + seconds) * 10**6, make.ethernet(make.ipv4(segment))))
    answer = make.tcp(seq=5000, ack=1001, flags="SA", src_port=80, dst_port=40000)
    frames.insert(1, (1_700_000_000 * 10**6, make.ethernet(make.ipv4(answer, src="10.0.0.2", dst="10.0.0.1"))))
    return make.pcap(frames)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("years, held", [(9, None), (20, 1)])
def test_the_summary_counts_them_and_one_line_says_so(years, held, jobs, tmp_path, capsys):
    """In one process and in two."""
    (tmp_path / "a.pcap").write_bytes(late(years))
    status = run_command(["analyze", str(tmp_path / "a.pcap"), "-o", str(tmp_path / "out"), "--jobs", jobs])
    assert status == 0
    assert json.loads((tmp_path / "out/summary.json").read_text()).get("times_held") == held
    said = capsys.readouterr().err
    assert said.count("\n") == (1 if held else 0)
    assert ("1 time before 1970" in said) == bool(held)


@pytest.mark.parametrize("first, second", [(0, 0), (0, 20_000_000), (20_000_000, 0), (0, 2**61)])
def test_two_capture_points_whose_clocks_begin_at_nothing(first, second, tmp_path):
    """Relative times: what one point saw first lies before the other's beginning. Nothing else comes of it."""
    packets = two_points.converse(two_points.Network(seed=5), connections=3)
    points = two_points.captures(packets, two_points.Clock())
    plain = analysed(tmp_path, "plain", points)
    begins = [min(time for time, *_ in taken) for taken in points]
    moved = [
        [(time - begin + by, *rest) for time, *rest in taken]
        for taken, begin, by in zip(points, begins, (first, second), strict=True)
    ]
    trace = analysed(tmp_path, "moved", moved)
    for column in ("opening", "closing", "client_state", "server_state", "client_segments", "server_segments"):
        assert list(trace.connections[column]) == list(plain.connections[column])
    assert list(trace.segments["fate"]) == list(plain.segments["fate"])
    assert list(trace.transitions["to_state"]) == list(plain.transitions["to_state"])


def analysed(folder, name, points):
    files = [two_points.write(folder / f"{name}-{n}.pcap", taken) for n, taken in enumerate(points)]
    return tf.analyze(files, merge_vantage=True, tables=["segments"])
