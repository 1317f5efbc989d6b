"""Tunnels in one another: the kernel's way through them leads where the layers lead, and is called alike."""

from __future__ import annotations

import io
import struct
from array import array
from random import Random

import pytest

from tcptrace_fsm.capture import peeling
from tcptrace_fsm.capture.containers import open_capture
from tcptrace_fsm.capture.layers import layers
from tcptrace_fsm.kernels.layout import S_NET, SEGMENT_SIZE
from tests import builders as make
from tests.kernels import Watched, uncompiled


def nested(rng: Random) -> bytes:
    """A segment in some tunnels, of few hosts; now and then something is odd about one of the headers."""
    packet = make.ipv4(make.tcp(b"x" * rng.randrange(3), seq=rng.randrange(1 << 32)))
    for _ in range(rng.choice((0, 1, 1, 2, 3, 12, 20))):
        odd = rng.random() < 0.1
        protocol, inside = 4, packet
        if rng.random() < 0.5:
            key = rng.randrange(2)
            flags = rng.choice((0x1000, 0x8000, 0x2001, 0x0800)) if odd else rng.choice((0, 0x2000))
            kind = rng.choice((0x0800, 0x0800, 0x6558, 0x86DD)) if odd else 0x0800
            protocol, inside = 47, struct.pack(">HH", flags, kind) + struct.pack(">I", key) * (flags >> 13 & 1) + packet
        total = 20 + len(inside) + (rng.choice((-30, -1, 3, 40)) if odd else 0)
        part = rng.choice((0x4000, 0, 0x2000, 1)) if odd else 0x4000
        ends = rng.sample(((10, 9, 9, 1), (10, 9, 9, 2), (200, 1, 1, 1)), 2)
        fields = (0x45, 0, max(total, 0), 7, part, 64, protocol, 0)
        packet = struct.pack(">BBHHHBBH", *fields) + bytes(ends[0]) + bytes(ends[1]) + inside
    return make.ethernet(packet)


def read(frames: list[tuple[int, bytes, int]]) -> tuple[list[list[int]], list[int]]:
    """The segment records, and the outcomes."""
    capture = open_capture(io.BytesIO(make.pcap(frames)), broken=True)
    found = [list(batch.segments[: batch.count * SEGMENT_SIZE]) for batch in capture.segments()]
    return found, list(capture.outcomes)


@pytest.mark.parametrize("kernel", ["installed", "uncompiled"])
@pytest.mark.parametrize("seed", range(8))
def test_the_way_through_is_the_layers_way(seed, kernel, monkeypatch):
    """Of plain tunnels and odd ones, whole frames and cut ones: the same segments, under the same names."""
    rng = Random(seed)
    whole = [nested(rng) for _ in range(300)]
    cut = [frame[: rng.randrange(14, len(frame))] if rng.random() < 0.1 else frame for frame in whole]
    frames = [(n, some, len(frame)) for n, (some, frame) in enumerate(zip(cut, whole, strict=True))]
    monkeypatch.setattr(peeling, "way_inside", lambda *_: 0)
    expected = read(frames)
    plain = uncompiled("tunnels").way_inside
    watched = lambda *given: plain(  # noqa: E731
        *(Watched(a) if isinstance(a, array | bytes | bytearray | memoryview) else a for a in given)
    )
    monkeypatch.undo()
    ways = []
    way_inside = watched if kernel == "uncompiled" else peeling.way_inside
    monkeypatch.setattr(peeling, "way_inside", lambda *given: ways.append(way_inside(*given)) or ways[-1])
    assert read(frames) == expected
    assert sum(n > 0 for n in ways) > 50
    assert any(net < 0 for words in expected[0] for net in words[S_NET::SEGMENT_SIZE])


def test_the_layers_give_up_later_than_the_kernel():
    """What the kernel goes through, the layers would have."""
    assert 2 * peeling.TUNNELS + 3 < layers().MAX_LAYERS
