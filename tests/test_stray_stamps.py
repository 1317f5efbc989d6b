"""A frame that alone is stamped a day or more away from those around it says nothing of what was open then."""

from __future__ import annotations

import io
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tcptrace_fsm as tf
from tcptrace_fsm.capture import containers
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


@pytest.mark.slow
@pytest.mark.parametrize("away", [1.5, 400, -300])
@pytest.mark.parametrize("which", [0, 1, 7, 20, -2])
def test_one_stamp_closes_no_books(which, away, tmp_path):
    """Nor splits its own connection; what is said is what would be said without it."""
    frames = frames_of(TALK)
    time, frame = frames[which]
    frames[which] = (time + int(away * 86400 * 10**6), frame)
    found, usual = analyzed(frames, tmp_path), analyzed(frames_of(TALK), tmp_path)
    if which == 0 and away < 0:
        return  # the first of two captures, perhaps
    assert found.summary["stray_stamps"] == 1
    assert "leaps_by_days" not in found.summary
    for name in ("client_state", "server_state", "closing", "client_segments", "server_segments"):
        assert list(found.connections[name]) == list(usual.connections[name])
    assert list(found.anomalies["kind"]) == list(usual.anomalies["kind"])
    assert list(found.diagnoses["cause"]) == list(usual.diagnoses["cause"])
    assert (found.connections["last_time"] - found.connections["first_time"]).max().total_seconds() < 10


@pytest.mark.slow
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


plain = pure_kernels()["walk"]
STEPS = st.sampled_from((0, 5, DAY // 2, DAY, DAY + 1, 2 * DAY, -5, -DAY, -DAY - 1, -3 * DAY))


def settled_by_hand(times: list[int]) -> list[int]:
    """What settling makes of them, all at once."""
    out: list[int] = []
    for i, time in enumerate(times):
        before, after, third = out[-1] if out else None, *[*times[i + 1 : i + 3], None, None][:2]
        found = time
        if after is not None and abs(time - after) > DAY:
            if before is None:
                found = after if time > after and third is not None and abs(after - third) <= DAY else time
            elif abs(time - before) > DAY >= abs(before - after):
                found = before
        out.append(found)
    return out


@given(st.lists(STEPS, max_size=12), st.integers(3, 6))
def test_stamps_are_settled_alike_however_many_at_a_time(steps, most):
    """Beside a list: the compiled kernel and the plain one; what is not settled yet comes again with what follows."""
    times = [10 * DAY]
    for step in steps:
        times.append(max(times[-1] + step, 0))
    for settle in (settle_stamps, plain.settle_stamps):
        ctl, out = array("q", bytes(8 * at.WALK_SIZE)), []
        while len(out) < len(times):
            part = times[len(out) : len(out) + most]
            frames = array("q", bytes(8 * at.FRAME_SIZE * len(part)))
            frames[at.F_TIME :: at.FRAME_SIZE] = array("q", part)
            done = settle(frames, len(part), int(len(out) + len(part) == len(times)), ctl)
            assert len(part) - (1 if out else 2) <= done <= len(part)
            out += frames[at.F_TIME :: at.FRAME_SIZE][:done]
            assert (ctl[at.WALK_EARLIEST], ctl[at.WALK_LATEST]) == (min(out, default=-1), max(out, default=-1))
        assert out == settled_by_hand(times)
        assert ctl[at.WALK_STRAY] == sum(a != b for a, b in zip(out, times, strict=True))


def pcapng(frames) -> bytes:
    """With a simple packet and an old one among the others, names behind the fifth, and no statistics."""
    blocks = [make.packet(*frame) for frame in frames]
    blocks[2] = make.old_packet(*frames[2])
    blocks[6] = make.simple_packet(frames[6][1])
    return make.section() + make.interface() + b"".join([*blocks[:5], make.block(0xBAD, bytes(8)), *blocks[5:]])


def read(data: bytes, size: int, batch: int):
    """Times of all segments, and what the capture says of itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(containers, "BATCH_FRAMES", batch)
        capture = containers.open_capture(io.BytesIO(data), chunk_size=size)
        times = [
            part.segments[i * at.SEGMENT_SIZE + at.S_TIME] for part in capture.segments() for i in range(part.count)
        ]
    return times, capture.frames, capture.stray_stamps, capture.first_time, capture.last_time, capture.truncated


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 200, 4096])
@pytest.mark.parametrize("batch", [1, 3, 4096])
@pytest.mark.parametrize("cut", [0, 30])
@pytest.mark.parametrize("which", [(0,), (3,), (4,), (-1,), (3, 5, 7), (3, 4), (0, 1)])
@pytest.mark.parametrize("form", [make.pcap, make.snoop, pcapng])
def test_however_a_capture_is_read(form, which, cut, batch, size):
    """In chunks and batches of any size, whole or cut short: the same times, frames and last words."""
    frames = frames_of(CLOSED)
    for n in which:
        frames[n] = (frames[n][0] + 3 * 86400 * 10**6, frames[n][1])
    data = form(frames)
    data = data[: len(data) - cut]
    assert read(data, size, batch) == read(data, 1 << 20, 4096)
