"""Several captures are one timeline: rotated, side by side, in any order, and each frame keeps its number."""

from __future__ import annotations

import random
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tcptrace_fsm as tf
from tcptrace_fsm.capture.codes import FILE_SHIFT
from tcptrace_fsm.capture.timeline import SEAM, Member, Origins, Timeline, batch_of, order, seams, segments_of
from tcptrace_fsm.kernels import layout as k
from tests import builders as b
from tests.many_files import SAMPLES, TABLES, pcap_frames, plain, rotated, same, side_by_side, town

FRAMES = town(connections=30)


def analysed(paths):
    return tf.analyze([str(p) for p in paths], tables=TABLES)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "whole.pcap"
    path.write_bytes(b.pcap(FRAMES))
    return tf.analyze(str(path), tables=TABLES)


def check_same(parts, whole, numbered):
    """All tables but for the columns that name files and frames; and those name the very frames."""
    for name in TABLES:
        same(plain(getattr(parts, name)), plain(getattr(whole, name)))
    assert whole.summary["frames"] == parts.summary["frames"]
    assert whole.summary["worst"] == parts.summary["worst"]
    back = [
        numbered[file.rsplit("/", 1)[-1], frame]
        for file, frame in parts.segments[["file", "frame"]].itertuples(index=False)
    ]
    assert back == list(whole.segments["frame"])
    ends = parts.connections[["first_file", "first_frame"]].itertuples(index=False)
    assert [numbered[f.rsplit("/", 1)[-1], n] for f, n in ends] == list(whole.connections["first_frame"])
    found = parts.transitions.dropna(subset=["frame"])
    assert sorted(numbered[f.rsplit("/", 1)[-1], n] for f, n in zip(found.file, found.frame, strict=True)) == sorted(
        whole.transitions.frame.dropna()
    )
    told = parts.anomalies.sort_values(["conn_id", "kind", "message"])
    known = whole.anomalies.sort_values(["conn_id", "kind", "message"])
    assert [
        sorted(numbered[f.rsplit("/", 1)[-1], n] for f, n in zip(files, frames, strict=True))
        for files, frames in zip(told.files, told.frames, strict=True)
    ] == [sorted(frames) for frames in known.frames]


relaxed = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.mark.slow
@relaxed
@given(st.sets(st.integers(1, len(FRAMES) - 1), min_size=1, max_size=9))
def test_rotated_files_give_what_one_capture_gives(tmp_path_factory, whole, cuts):
    paths = rotated(tmp_path_factory.mktemp("ring"), FRAMES, cuts)
    numbered = {}
    edges = [0, *sorted(cuts), len(FRAMES)]
    for path, begin, end in zip(paths, edges, edges[1:], strict=False):
        numbered |= {(path.name, n + 1): begin + n + 1 for n in range(end - begin)}
    random.Random(1).shuffle(paths)
    check_same(analysed(paths), whole, numbered)


@pytest.mark.slow
@relaxed
@given(st.lists(st.integers(0, 4), min_size=len(FRAMES), max_size=len(FRAMES)), st.integers(1, 5))
def test_captures_side_by_side_give_what_one_capture_gives(tmp_path_factory, whole, whose, most):
    whose = [own % most for own in whose]
    whose[0] = 1 - whose[0] % 2
    if len(set(whose)) == 1:
        whose[-1] += 1
    paths = side_by_side(tmp_path_factory.mktemp("queues"), FRAMES, whose)
    numbered, count = {}, {}
    for n, own in enumerate(whose, 1):
        count[own] = count.get(own, 0) + 1
        numbered[f"queue{own}.pcap", count[own]] = n
    check_same(analysed(paths), whole, numbered)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.pcap")), ids=lambda path: path.stem)
def test_a_real_capture_in_three_files(path, tmp_path):
    header, frames = pcap_frames(path)
    third = max(1, len(frames) // 3)
    names = [tmp_path / name for name in ("b.pcap", "c.pcap", "a.pcap")]
    for n, name in enumerate(names):
        content = frames[n * third : (n + 1) * third if n < 2 else None]
        name.write_bytes(header + b"".join(content))
    whole, parts = tf.analyze(str(path), tables=TABLES), analysed(names)
    for table in TABLES:
        same(plain(getattr(parts, table)), plain(getattr(whole, table)))


def test_times_out_of_order_where_a_file_ends_change_nothing(tmp_path):
    """Frames of two queues stand in a capture a little out of order, and there it is cut."""
    frames = list(FRAMES)
    for i in range(0, len(frames) - 3, 3):
        frames[i], frames[i + 1] = frames[i + 1], frames[i]
    frames = [
        (time if i % 3 else max(time, frames[i + 1][0] + 60_000) if i + 1 < len(frames) else time, c)
        for i, (time, c) in enumerate(frames)
    ]
    path = tmp_path / "whole.pcap"
    path.write_bytes(b.pcap(frames))
    whole = tf.analyze(str(path), tables=TABLES)
    assert (whole.segments.time.diff().dt.total_seconds() < 0).any()
    middle = len(frames) // 2
    middle -= middle % 3 - 1  # just before a frame that is stamped earlier than the one before it
    parts = analysed(rotated(tmp_path, frames, [middle // 2 - (middle // 2) % 3 + 1, middle]))
    for table in TABLES:
        same(plain(getattr(parts, table)), plain(getattr(whole, table)))


def test_a_cut_off_file_in_the_middle_of_the_set_ends_where_it_is_cut(tmp_path):
    paths = rotated(tmp_path, FRAMES, [100, 200])
    paths[1].write_bytes(paths[1].read_bytes()[:-7])
    trace = analysed(paths)
    assert [c["frames"] for c in trace.summary["captures"]] == [100, 99, len(FRAMES) - 200]
    assert [bool(c["truncated"]) for c in trace.summary["captures"]] == [False, True, False]
    missing = FRAMES[:199] + FRAMES[200:]
    (tmp_path / "less.pcap").write_bytes(b.pcap(missing))
    less = tf.analyze(str(tmp_path / "less.pcap"), tables=TABLES)
    for table in TABLES:
        same(plain(getattr(trace, table)), plain(getattr(less, table)))


def test_one_capture_has_no_file_columns(whole):
    assert not {"file", "first_file"} & (set(whole.segments.columns) | set(whole.connections.columns))


def test_files_with_nothing_in_them_and_with_no_tcp(tmp_path, whole):
    (tmp_path / "empty.pcap").write_bytes(b.pcap([]))
    (tmp_path / "udp.pcap").write_bytes(b.pcap([(1, b.ethernet(b.ipv4(b.udp(), protocol=17)))]))
    paths = [tmp_path / "empty.pcap", *rotated(tmp_path, FRAMES, [50]), tmp_path / "udp.pcap"]
    trace = analysed(paths)
    same(plain(trace.connections), plain(whole.connections))
    assert len(trace.summary["captures"]) == 4


def members(*spans):
    return order(Member(place, *span) for place, span in enumerate(spans))


def test_which_captures_continue_which():
    second = 10 * SEAM
    assert seams(members((0, second), (second, 2 * second))) == [-(2**63) + 1] * 2
    assert seams(members((0, second), (second - SEAM, 2 * second)))[1] == second
    assert seams(members((0, second), (second - SEAM - 1, 2 * second)))[1] < 0
    assert seams(members((0, SEAM), (1, SEAM)))[1] < 0  # as long as both are
    assert max(seams(members((0, second), (second - 3, 2 * second), (second - 2, 2 * second)))) < 0
    # two series side by side, both rotated at the same moment: nothing continues anything
    assert max(seams(members((0, second), (1, second + 5), (second - 3, 2 * second), (second - 1, 2 * second)))) < 0


class Made:
    """A capture made of times: its batches, a few segments each."""

    def __init__(self, name, times, step):
        self.name, self._times, self._step = name, times, step

    def segments(self):
        for begin in range(0, len(self._times), self._step):
            part = self._times[begin : begin + self._step]
            words = np.zeros((len(part), k.SEGMENT_SIZE), dtype=np.int64)
            words[:, k.S_FRAME] = np.arange(begin + 1, begin + 1 + len(part))
            words[:, k.S_TIME] = part
            yield batch_of(words)
        yield batch_of(np.zeros((0, k.SEGMENT_SIZE), dtype=np.int64))


TICK = SEAM // 4
stretch = st.builds(
    lambda begin, steps: list(accumulate(steps, initial=begin)),
    st.integers(0, 30).map(lambda n: n * TICK),
    st.lists(st.sampled_from((0, TICK, TICK, 2 * TICK, 5 * TICK, -TICK, -3 * TICK)), max_size=12),
)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(st.lists(stretch, min_size=2, max_size=5), st.integers(1, 5))
def test_what_is_read_piece_by_piece_is_in_the_declared_order(captures, step):
    """The order of (clock, capture, frame), worked out from the whole captures, is the one in which they are read."""
    found, origins = [], Origins([])
    made = [Made(str(place), times, step) for place, times in enumerate(captures)]
    timeline = Timeline([one.name for one in made], lambda name, **_: made[int(name)], [], origins)
    for batch in timeline.batches():
        found += segments_of(batch)[:, k.S_FRAME].tolist()
    assert found == sorted(set(found))
    ordered = order(Member(place, times[0], max(times)) for place, times in enumerate(captures))
    declared = []
    for index, (member, floor) in enumerate(zip(ordered, seams(ordered), strict=True)):
        times = captures[member.place]
        clocks = np.maximum(np.maximum.accumulate(times), floor).tolist()
        declared += [(clock, index, frame) for frame, clock in enumerate(clocks, 1)]
    told = [(code >> FILE_SHIFT, code & (1 << FILE_SHIFT) - 1) for code in origins.codes(np.array(found)).tolist()]
    assert told == [place[1:] for place in sorted(declared)]
    assert origins.names == [str(member.place) for member in ordered]
