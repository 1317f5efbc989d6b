"""Two capture points: a naive twin of the comparison, and clocks that differ."""

from __future__ import annotations

import random
from array import array
from collections import Counter

import numpy as np
import pytest

from tcptrace_fsm.capture.containers import open_capture
from tcptrace_fsm.kernels import layout as at
from tcptrace_fsm.runs import vantage
from tcptrace_fsm.runs.vantage import merging
from tcptrace_fsm.runs.vantage.clocks import set_clocks
from tcptrace_fsm.tcp.profiles import profile as find_profile
from tests import builders, two_points
from tests.kernels import Watched
from tests.strategies import pure_kernels
from tests.two_points import BEGIN, MILLISECOND, SECOND, Clock, Network
from tests.vantage import analysed, fates

LINUX = find_profile("linux")


# --- the naive twin ---------------------------------------------------------------------------------------------------


def twin(points):
    """The fates by content and IP identification alone, quadratic: what numbered packets allow."""
    left = [list(taken) for taken in points]
    told = {}
    for point in (0, 1):
        for time, content, n in points[point]:
            other = [taken for taken in left[1 - point] if taken[1] == content and taken[0] >= time]
            sender = 0 if bytes(map(int, two_points.HOSTS[0].split("."))) == content[26:30] else 1
            if sender != point:
                continue
            told[n] = "arrived" if other else "lost"
            if other:
                left[1 - point].remove(min(other))
    return told


@pytest.mark.parametrize("seed", range(10))
def test_the_kernel_agrees_with_a_naive_matcher(tmp_path, seed):
    packets = two_points.converse(Network(seed=seed, loss=0.15), 3)
    points = two_points.captures(packets, Clock())
    trace, numbers = analysed(tmp_path, points)
    assert fates(trace, numbers) == twin(points)


def merged(files, known, **options):
    captures = [open_capture(file) for file in files]
    out = array("q")
    for batch in vantage.merge(captures, known, **options):
        out += batch.segments[: batch.count * at.SEGMENT_SIZE]
    return out


@pytest.fixture
def pair_of_files(tmp_path):
    packets = two_points.converse(Network(seed=8, loss=0.15, copies=0.05), 4)
    points = two_points.captures(packets, Clock(SECOND, 20e-6), dropped=({5, 40}, {9, 60}))
    return [two_points.write(tmp_path / f"{name}.pcap", taken) for name, taken in zip("ab", points, strict=True)]


@pytest.mark.parametrize("room", [1, 7, 2048])
def test_the_merged_stream_does_not_depend_on_how_it_is_handed_out(pair_of_files, room):
    known = vantage.compare(*pair_of_files, LINUX)
    assert merged(pair_of_files, known, room=room, seed=room) == merged(pair_of_files, known, seed=99)


@pytest.mark.parametrize("ring", [2, 16, 128])
def test_with_little_room_to_wait_nothing_vanishes(pair_of_files, ring):
    known = vantage.compare(*pair_of_files, LINUX)
    out = merged(pair_of_files, known, ring=ring)
    size = at.SEGMENT_SIZE
    frames = Counter()
    for s in range(0, len(out), size):
        frames.update(
            {out[s + at.S_FRAME], *([out[s + at.S_ARRIVAL_FRAME]] if out[s + at.S_ARRIVAL_FRAME] > 0 else [])}
        )
    everything = sum(capture_frames(file) for file in pair_of_files)
    assert set(frames) == set(range(1, everything + 1))


def capture_frames(file):
    capture = open_capture(file)
    for _ in capture.segments():
        pass
    return capture.frames


def test_the_uncompiled_kernel_keeps_within_its_arrays_and_finds_the_same(pair_of_files, monkeypatch):
    known = vantage.compare(*pair_of_files, LINUX)
    expected = merged(pair_of_files, known, ring=64, seed=5)
    plain = pure_kernels()["pair"]

    def watched(function):
        return lambda *given: function(*(Watched(a) if isinstance(a, array) else a for a in given))

    for name in ("pair", "know_hosts", "tidy_ways"):
        monkeypatch.setattr(merging, name, watched(getattr(plain, name)))
    assert merged(pair_of_files, known, ring=64, seed=5) == expected


@pytest.mark.slow
def test_ways_that_nothing_waits_on_are_forgotten(tmp_path):
    frames = []
    for i in range(40000):
        source = f"10.{1 + i // 60000}.{i // 250 % 240}.{i % 250 + 1}"
        segment = builders.tcp(src_port=1024 + i % 60000, seq=i, flags="S", ack=0)
        content = builders.ethernet(builders.ipv4(segment, src=source, ident=i % 65000 + 1))
        frames.append((BEGIN + i * MILLISECOND, content, i))
    files = [
        two_points.write(tmp_path / "a.pcap", frames),
        two_points.write(tmp_path / "b.pcap", [(time + 5 * MILLISECOND, c, n) for time, c, n in frames if n % 10]),
    ]
    out = merged(files, vantage.compare(*files, LINUX, 256))
    told = Counter(out[at.S_FATE :: at.SEGMENT_SIZE])
    assert told[at.FATE_ARRIVED] == 36000
    assert told[at.FATE_ARRIVED] + told[at.FATE_LOST] + told[at.FATE_UNKNOWN] == 40000


# --- clocks -----------------------------------------------------------------------------------------------------------


def stamps(seconds, clock, *, delay=(20, 30), jitter=3, seed=1, count=2000):
    """Time and frame of the second capture, difference of the stamps, and direction, of some segments; ms and ns."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        there = rng.random() < 0.5
        sent = BEGIN + rng.randrange(seconds * SECOND)
        took = (delay[0] if there else delay[1]) * MILLISECOND + int(rng.expovariate(1 / jitter) * MILLISECOND)
        first, second = (sent, clock(sent + took)) if there else (sent + took, clock(sent))
        rows.append((second, second - first, there))
    rows.sort()
    time, difference, there = (np.array(column) for column in zip(*rows, strict=True))
    return time, np.arange(1, count + 1), difference, there.astype(bool)


@pytest.mark.parametrize("drift", [0.0, 3e-6, 80e-6, -200e-6])
@pytest.mark.parametrize("offset", [0, 40 * SECOND, -3600 * SECOND])
def test_offset_and_drift_come_out(offset, drift):
    clock = Clock(offset, drift)
    found = set_clocks(*stamps(300, clock))
    assert len(found.lines) == 1
    assert found.both_ways
    assert abs(found.least - 25 * MILLISECOND) < MILLISECOND
    for moment in (0, 150, 300):
        time = clock(BEGIN + moment * SECOND)
        told = int(found.offsets(np.array([1]), np.array([time]))[0])
        # The delays there and back differ by 10 ms, of which half goes into the offset.
        assert abs(told - (time - BEGIN - moment * SECOND) + 5 * MILLISECOND) < MILLISECOND
    assert abs(found.drift - drift) < 3e-6


def test_jitter_is_not_taken_for_drift():
    assert set_clocks(*stamps(2, Clock(SECOND), jitter=8)).drift == 0.0


def test_a_clock_that_is_set_meanwhile_gives_two_lines():
    def set_later(time):
        return time + (7 * SECOND if time > BEGIN + 40 * SECOND else 2 * SECOND)

    time, frame, difference, there = stamps(100, set_later)
    found = set_clocks(time, frame, difference, there)
    assert len(found.lines) == 2
    told = found.offsets(frame, time)
    assert (np.abs(told - np.where(told > 4 * SECOND, 7, 2) * SECOND) < 10 * MILLISECOND).all()
    assert abs(int((told > 4 * SECOND).sum()) - 1200) < 60


def test_a_few_segments_taken_for_others_do_not_move_the_clock():
    time, frame, difference, there = stamps(100, Clock(SECOND))
    difference[[100, 700, 1500]] += [-3 * SECOND, 2 * SECOND, -SECOND]
    found = set_clocks(time, frame, difference, there)
    assert len(found.lines) == 1
    assert abs(found.offset - SECOND) < 10 * MILLISECOND


def test_one_direction_gives_delays_above_the_shortest():
    time, frame, difference, there = stamps(100, Clock(SECOND))
    found = set_clocks(time[there], frame[there], difference[there], there[there])
    assert not found.both_ways
    assert found.least == 0
    assert found.offset == difference[there].min()
