"""Any frame: decoded as by the naive twin, compiled and not."""

from __future__ import annotations

import dpkt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tcptrace_fsm.kernels import decode as installed
from tcptrace_fsm.kernels import layout as at
from tests import builders as make
from tests import naive_decode
from tests.decoding import (
    KERNELS,
    LINKS,
    TCP,
    decoded,
    frames,
    plain,
    run,
    segments,
)
from tests.kernels import words


@pytest.fixture(params=KERNELS)
def kernel(request):
    return request.param


INSIDE = make.ipv6(make.tcp(b"x"))


UNREAD = (bytes([2, 6, 0, 0]) + INSIDE, 0, 0), (make.ethernet(b"????" + INSIDE, 0x1234), 1, 0)


@given(frames())
@example((make.ethernet(make.ipv4(make.tcp(b"x"))), 1, 0))
@example(UNREAD[0])
@example(UNREAD[1])
@example((make.ethernet(make.ipv4(bytes(4) + make.ipv4(make.tcp(b"x")), protocol=99)), 1, 0))
@example((make.ethernet(make.ipv4(make.udp(bytes(9) + INSIDE, dst_port=5555), protocol=17)), 1, 0))
@example((make.ethernet(make.ipv6(bytes(2) + INSIDE, follows=99), 0x86DD), 1, 0))
def test_kernel_equals_its_twin(case):
    """Frames as they come on a network, cut and damaged: both kernels and the twin say the same of each."""
    frame, link, original = case
    expected = naive_decode.decode(frame, link, original)
    assert decoded(plain, frame, link, original) == expected
    assert decoded(installed, frame, link, original) == expected


@pytest.mark.parametrize("case", UNREAD)
def test_what_nobody_reads_is_counted_by_name_where_tcp_is_in_it(case):
    frame, link, original = case
    assert naive_decode.decode(frame, link, original) == decoded(installed, frame, link, original) == "peel"
    assert decoded(installed, frame[:20] + bytes(40), link, original) == "not_tcp"


@given(st.binary(max_size=200), LINKS)
def test_any_bytes_have_an_outcome(frame, link):
    """No bytes raise, no byte outside the frame is read (plain Python watches), both kernels agree to the word."""
    assert run(plain, frame, link) == run(installed, frame, link)


@given(segments(), st.booleans())
def test_sound_frames_agree_with_dpkt(case, four):
    """A second opinion by somebody else's decoder, on frames that both understand."""
    segment, _ = case
    frame = make.ethernet(make.ipv4(segment) if four else make.ipv6(segment), 0x0800 if four else 0x86DD)
    theirs = dpkt.ethernet.Ethernet(frame).data
    ours = decoded(installed, frame, 1)
    assert (ours.src, ours.dst) == (theirs.src, theirs.dst)
    assert (ours.src_port, ours.dst_port) == (theirs.data.sport, theirs.data.dport)
    assert (ours.seq, ours.ack, ours.window) == (theirs.data.seq, theirs.data.ack, theirs.data.win)
    assert ours.flags & 0xFF == theirs.data.flags & 0xFF
    assert ours.payload_len == ours.shown == len(theirs.data.data)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_many_frames_keep_their_numbers_and_order(kernel, count):
    """Segments lie densely, in order, each with its frame's number and time, whatever lies between."""
    one, other = make.ethernet(make.ipv4(TCP)), make.ethernet(bytes(28), 0x0806)
    data = (one + other) * count
    frames, segments, outcomes = (
        words(at.FRAME_SIZE * 2 * count),
        words(at.SEGMENT_SIZE * 2 * count),
        words(at.OUTCOMES),
    )
    for i in range(2 * count):
        f = i * at.FRAME_SIZE
        frames[f + at.F_OFFSET] = (i // 2) * len(one + other) + (i % 2) * len(one)
        frames[f + at.F_CAPTURED] = frames[f + at.F_ORIGINAL] = len(other if i % 2 else one)
        frames[f + at.F_TIME] = 1000 + i
        frames[f + at.F_LINK] = 1
    assert kernel.decode(data, frames, 2 * count, 11, 0, segments, outcomes) == count
    for i in range(count):
        s = i * at.SEGMENT_SIZE
        assert (segments[s + at.S_FRAME], segments[s + at.S_TIME]) == (11 + 2 * i, 1000 + 2 * i)
        assert segments[s + at.S_OFFSET] == i * len(one + other) + 34
    assert (outcomes[at.OUTCOME_TCP], outcomes[at.OUTCOME_NOT_TCP]) == (count, count)
