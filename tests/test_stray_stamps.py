"""A frame that alone is stamped a day or more away from those around it says nothing of what was open then."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tcptrace_fsm as tf
from tcptrace_fsm.kernels import layout as at
from tcptrace_fsm.kernels.walk import settle_stamps
from tests import builders as make
from tests.strategies import pure_kernels
from tests.test_days import CLOSED, OPEN, frames_of, later

pytestmark = pytest.mark.plain

DAY = 86400 * 10**9
OTHERS = "".join(later(CLOSED, 0.3 * n + 0.1, 40001 + n) for n in range(5))
GOES_ON = "".join(
    f"{2 + n}.0 > P. {101 + 100 * n}:{201 + 100 * n}(100) ack {201 + 100 * n} id {10 + n}\n"
    f"{2 + n}.1 < P. {201 + 100 * n}:{301 + 100 * n}(100) ack {201 + 100 * n} id {10 + n}\n"
    for n in range(5)
)
TALK = f"{OPEN}{OTHERS}port 40000 80\nisn 1000 5000\n{GOES_ON}"


def analyzed(frames, tmp_path, **options):
    (tmp_path / "a.pcap").write_bytes(make.pcap(frames))
    return tf.analyze(tmp_path / "a.pcap", **options)


@pytest.mark.parametrize("away", [1.5, 400, -300])
@pytest.mark.parametrize("which", [0, 1, 7, 20, -2])
def test_one_stamp_closes_no_books(which, away, tmp_path):
    """Nor splits its own connection; what is said is what would be said without it."""
    frames = frames_of(TALK)
    time, frame = frames[which]
    frames[which] = (time + int(away * 86400 * 10**6), frame)
    found, plain = analyzed(frames, tmp_path), analyzed(frames_of(TALK), tmp_path)
    if which == 0 and away < 0:
        return  # the first of two captures, perhaps
    assert found.summary["stray_stamps"] == 1
    assert "leaps_by_days" not in found.summary
    for name in ("client_state", "server_state", "closing", "client_segments", "server_segments"):
        assert list(found.connections[name]) == list(plain.connections[name])
    assert list(found.anomalies["kind"]) == list(plain.anomalies["kind"])
    assert list(found.diagnoses["cause"]) == list(plain.diagnoses["cause"])
    assert (found.connections["last_time"] - found.connections["first_time"]).max().total_seconds() < 10


def test_two_processes_know_of_it(tmp_path):
    frames = frames_of(TALK)
    frames[9] = (frames[9][0] + 2 * 86400 * 10**6, frames[9][1])
    one, two = (analyzed(frames, tmp_path, jobs=jobs) for jobs in (1, 2))
    assert one.summary["stray_stamps"] == two.summary["stray_stamps"] == 1
    assert one.connections.astype(str).equals(two.connections.astype(str))


def test_two_that_agree_are_a_leap(tmp_path):
    frames = frames_of(TALK)
    moved = frames[:20] + [(time + 3 * 86400 * 10**6, frame) for time, frame in frames[20:]]
    found = analyzed(moved, tmp_path)
    assert "stray_stamps" not in found.summary
    assert found.summary["leaps_by_days"]


def test_the_first_screen_tells_of_them(tmp_path):
    frames = frames_of(TALK)
    frames[9] = (frames[9][0] + 2 * 86400 * 10**6, frames[9][1])
    assert "1 frame stamped a day or more away from those around" in str(analyzed(frames, tmp_path))


STEPS = st.sampled_from((0, 5, DAY // 2, DAY, DAY + 1, 2 * DAY, -5, -DAY, -DAY - 1, -3 * DAY))


@given(st.lists(STEPS, max_size=12), st.integers(1, 5))
def test_stamps_are_settled_alike_plain_and_compiled(steps, most):
    """Beside a list: the compiled kernel and the plain one, so many frames at a time."""
    times = [10 * DAY]
    for step in steps:
        times.append(max(times[-1] + step, 0))
    settled = []
    for settle in (settle_stamps, pure_kernels()["walk"].settle_stamps):
        ctl, out = array("q", bytes(8 * at.WALK_SIZE)), []
        for begin in range(0, len(times), most):
            part = times[begin : begin + most]
            frames = array("q", bytes(8 * at.FRAME_SIZE * len(part)))
            frames[at.F_TIME :: at.FRAME_SIZE] = array("q", part)
            settle(frames, len(part), ctl)
            out += frames[at.F_TIME :: at.FRAME_SIZE]
        settled.append((out, list(ctl)))
        assert (ctl[at.WALK_EARLIEST], ctl[at.WALK_LATEST]) == (min(out), max(out))
        assert ctl[at.WALK_STRAY] == sum(a != b for a, b in zip(out, times, strict=True))
    assert settled[0] == settled[1]
    out, before = settled[0][0], None
    for i, time in enumerate(times):
        expected = time
        if (i + 1) % most and i + 1 < len(times):
            after = times[i + 1]
            if before is None:
                agree = most > 2 and len(times) > 2 and abs(after - times[2]) <= DAY
                expected = after if time - after > DAY and agree else time
            elif abs(time - before) > DAY < abs(time - after) and abs(before - after) <= DAY:
                expected = before
        assert out[i] == expected
        before = expected
