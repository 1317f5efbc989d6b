"""Tunnels in one another: the kernel's way through them leads where the layers lead, and is called alike."""

from __future__ import annotations

import io
import struct
from array import array
from ipaddress import IPv6Address, ip_address
from random import Random

import pytest

from tcptrace_fsm.capture import peeling
from tcptrace_fsm.capture.containers import open_capture
from tcptrace_fsm.capture.layers import layers, links, paths
from tcptrace_fsm.capture.layers.links import encapsulation_name
from tcptrace_fsm.kernels.layout import (
    F_OUTCOME,
    FRAME_SIZE,
    MOST_LAYERS,
    OUTCOME_NOT_TCP,
    OUTCOME_PEEL,
    PT_STORE,
    S_NET,
    SEGMENT_SIZE,
    SLOT_COUNT,
)
from tests import builders as make
from tests.kernels import Watched, uncompiled_with

ENDS4 = ((10, 9, 9, 1), (10, 9, 9, 2), (200, 1, 1, 1))
ENDS6 = tuple(
    IPv6Address(text).packed
    for text in ("fe80::1", "2001:db8::", "2001:0:0:1::2", "1:2:3:4:5:6:7:8", "::ffff:10.0.0.1", "::5", "0:1::", "a::")
)
PORTS = {"vxlan": (4789, 8472), "gtp": (2152, 3386), "geneve": (6081,), "other": (5000, 53, 1701, 4790)}


def ip(rng: Random, protocol: int, inside: bytes, *, odd: bool) -> bytes:
    """An IP packet of either version around something, between a few hosts."""
    wrong = rng.choice((-30, -1, 3, 40)) if odd and rng.random() < 0.3 else 0
    if rng.random() < 0.3:
        ends = rng.sample(ENDS6, 2)
        protocol = 0 if odd and rng.random() < 0.2 else protocol
        return struct.pack(">IHBB", 6 << 28, max(len(inside) + wrong, 0), protocol, 64) + b"".join(ends) + inside
    part = rng.choice((0x4000, 0, 0x2000, 1)) if odd else 0x4000
    fields = (0x45, 0, max(20 + len(inside) + wrong, 0), 7, part, 64, protocol, 0)
    head = struct.pack(">BBHHHBBH", *fields) + b"".join(map(bytes, rng.sample(ENDS4, 2)))
    if rng.random() < 0.5:
        total = sum(struct.unpack(">10H", head))
        total = (total & 0xFFFF) + (total >> 16)
        head = head[:10] + struct.pack(">H", 0xFFFF - ((total & 0xFFFF) + (total >> 16))) + head[12:]
    return head + inside


def frame(rng: Random, kind: int, inside: bytes) -> bytes:
    """An Ethernet frame, now and then behind tags."""
    for _ in range(rng.choice((0, 0, 0, 1, 2, 5))):
        inside = struct.pack(">HH", rng.choice((0, 7, 4000, 0x2064)), kind) + inside
        kind = rng.choice((0x8100, 0x88A8))
    return bytes(12) + struct.pack(">H", kind) + inside


def version(packet: bytes) -> int:
    """The Ethertype of an IP packet."""
    return 0x86DD if packet[0] >> 4 == 6 else 0x0800


def gre(rng: Random, packet: bytes, *, odd: bool) -> bytes:
    """A packet behind a GRE header."""
    flags = rng.choice((0x2001, 0x0800, 0x4000)) if odd else rng.choice((0, 0x2000, 0xB000, 0x8000, 0x1000))
    words = (flags >> 15 & 1) + (flags >> 13 & 1) + (flags >> 12 & 1)
    kind, inside = version(packet), packet
    if rng.random() < 0.3:
        kind, inside = rng.choice((0x6558, 0x88BE)), frame(rng, version(packet), packet)
    fields = b"".join(rng.choice((1, 70000)).to_bytes(4, "big") for _ in range(words))
    return struct.pack(">HH", flags, kind) + fields + inside


def over_udp(rng: Random, packet: bytes, *, odd: bool) -> bytes:
    """A packet in a tunnel over UDP."""
    kind = rng.choice(("vxlan", "gtp", "geneve", "other") if odd else ("vxlan", "gtp", "geneve"))
    number = rng.choice((0, 9, 4096, 0xFFFFFF)) << 8
    if kind == "gtp":
        flags = rng.choice((0x30, 0x31, 0x32, 0x34, 0x37, *((0x10, 0x50) if odd else ())))
        more = bytes(3) + (b"\x85\x01\x10\x00\x00" if flags & 4 and rng.random() < 0.7 else b"\0") if flags & 7 else b""
        inside = (
            struct.pack(">BBHI", flags, 255, len(more) + len(packet) - odd * rng.randrange(3), number) + more + packet
        )
    elif kind == "geneve":
        size = rng.randrange(3)
        whole = rng.random() < 0.5
        what, inside = (0x6558, frame(rng, version(packet), packet)) if whole else (version(packet), packet)
        inside = struct.pack(">BBHI", size, 0, what, number) + bytes(4 * size) + inside
    else:
        inside = struct.pack(">BxxxI", 0 if odd else 8, number) + frame(rng, version(packet), packet)
    port = rng.choice(PORTS[kind])
    ports = rng.choice(((port, port), (50000, port), (port, 1500), (80, port)))
    size = rng.choice((0, 8 + len(inside), 8 + len(inside) - odd * rng.randrange(5), 3))
    return struct.pack(">4H", *ports, size, 0) + inside


def nested(rng: Random) -> bytes:
    """A segment in some tunnels, of few hosts; now and then something is odd about one of the headers."""
    packet = make.ipv4(make.tcp(b"x" * rng.randrange(3), seq=rng.randrange(1 << 32)))
    if rng.random() < 0.2:
        packet = ip(rng, 6, make.tcp(b"x"), odd=False)
    for _ in range(rng.choice((0, 1, 1, 2, 3, 9, 20))):
        odd = rng.random() < 0.1
        wrapped = rng.choice((4, 47, 47, 17, 17))
        if wrapped == 4:
            packet = ip(rng, 41 if packet[0] >> 4 == 6 or (odd and rng.random() < 0.1) else 4, packet, odd=odd)
        elif wrapped == 47:
            packet = ip(rng, 47, gre(rng, packet, odd=odd), odd=odd)
        else:
            packet = ip(rng, 17, over_udp(rng, packet, odd=odd), odd=odd)
    outside = rng.random()
    if outside < 0.2:
        labels = b"".join(struct.pack(">I", rng.randrange(1 << 20) << 12 | 64) for _ in range(rng.choice((0, 1, 40))))
        return frame(rng, 0x8847, labels + struct.pack(">I", 0x5140) + packet)
    if outside < 0.3:
        protocol = rng.choice((0x21, 0x57, 0xC021))
        return frame(rng, 0x8864, struct.pack(">HHHH", 0x1100, 77, len(packet) + 2, protocol) + packet)
    return frame(rng, version(packet), packet)


def broken_bytes(rng: Random, whole: bytes) -> bytes:
    """The frame with a byte changed, or cut, now and then."""
    if rng.random() < 0.15:
        at = rng.randrange(12, min(len(whole), 160))
        whole = whole[:at] + bytes([rng.randrange(256)]) + whole[at + 1 :]
    return whole[: rng.randrange(14, len(whole))] if rng.random() < 0.1 else whole


def read(frames: list[tuple[int, bytes, int]], link: int) -> tuple[list[list[int]], list[int], int]:
    """The segment records, the outcomes, and the number of broken headers."""
    capture = open_capture(io.BytesIO(make.pcap(frames, link=link)), broken=True)
    found = [list(batch.segments[: batch.count * SEGMENT_SIZE]) for batch in capture.segments()]
    return found, list(capture.outcomes), capture.broken_headers


def left_to_layers(kernel):
    """The kernel, less what it reads in tunnels."""

    def only_broken(data, frames, count, *rest):
        places = [f for f in range(F_OUTCOME, count * FRAME_SIZE, FRAME_SIZE) if frames[f] == OUTCOME_PEEL]
        for place in places:
            frames[place] = OUTCOME_NOT_TCP
        made = kernel(data, frames, count, *rest)
        for place in places:
            frames[place] = OUTCOME_PEEL
        return made

    return only_broken


def plain():
    """The kernel as plain Python, every index watched."""
    kernel = uncompiled_with("tunnels", "decode", "paths").decode_tunnels
    return lambda *given: kernel(
        *(Watched(a) if isinstance(a, array | bytes | bytearray | memoryview) else a for a in given)
    )


@pytest.mark.parametrize("kernel", ["installed", "uncompiled"])
@pytest.mark.parametrize("seed", range(8))
def test_the_way_through_is_the_layers_way(seed, kernel, monkeypatch):
    """Of plain tunnels and odd ones, whole frames and cut ones: the same segments, under the same names."""
    rng = Random(seed)
    whole = [nested(rng) for _ in range(400)]
    link = 1
    if seed % 4 == 3:
        whole, link = [some[14:] for some in whole if some[12:14] in {b"\x08\x00", b"\x86\xdd"}], 101
    cut = [broken_bytes(rng, some) for some in whole]
    frames = [(n, some, len(uncut)) for n, (some, uncut) in enumerate(zip(cut, whole, strict=True))]
    installed = peeling.decode_tunnels
    watched = plain()
    monkeypatch.setattr(peeling, "decode_tunnels", left_to_layers(installed))
    expected = read(frames, link)
    made = []
    through = watched if kernel == "uncompiled" else installed
    monkeypatch.setattr(peeling, "decode_tunnels", lambda *given: made.append(through(*given)) or made[-1])
    assert read(frames, link) == expected
    nets = [net for words in expected[0] for net in words[S_NET::SEGMENT_SIZE]]
    assert sum(net < 0 for net in nets) > 50
    assert sum(made) > 20


@pytest.mark.parametrize("address", [*ENDS6, *(bytes(Random(n).choices((0, 0, 0, 1, 0xFD), k=16)) for n in range(40))])
def test_addresses_are_written_as_they_are_anywhere(address, monkeypatch):
    """Of IPv6, with the longest run of zeros left out."""
    other = bytes.fromhex("ff020001000200030004000500060007")
    packet = make.ipv4(make.tcp(b""))
    outer = struct.pack(">IHBB", 6 << 28, 4 + len(packet), 47, 64) + address + other
    whole = bytes(12) + b"\x86\xdd" + outer + b"\0\0\x08\0" + packet
    monkeypatch.setattr(peeling.Peeler, "_peel", lambda _, batch, __: batch)
    found = read([(0, whole, len(whole))], 1)[0]
    if address[:10] == bytes(10):  # may be shown with an IPv4 address at its end: for the layers
        assert not found[0]
    else:
        assert encapsulation_name(found[0][S_NET] >> 1) == f"gre {ip_address(address)}-{ip_address(other)}"


def test_many_tunnels_are_told_apart_up_to_a_bound(monkeypatch):
    """As many as are counted, in order of their frames; more of them share a name; room is made as they come."""
    monkeypatch.setattr(links, "_paths", paths.Paths(700))
    packet = make.ipv4(make.tcp(b""))
    key = lambda n: b"\x20\0\x08\0" + n.to_bytes(4, "big") + packet  # noqa: E731
    whole = [make.ethernet(ip(Random(2), 47, key(n % 800), odd=False)) for n in range(1600)]
    found = read([(n, some, len(some)) for n, some in enumerate(whole)], 1)[0]
    codes = [net >> 1 for words in found for net in words[S_NET::SEGMENT_SIZE]]
    assert len(codes) == 1600
    assert codes[:800] == codes[800:]
    assert len(set(codes)) == 701
    names = [encapsulation_name(code) for code in codes[:800]]
    assert [name.split()[-1] for name in names[:700]] == [str(n) for n in range(700)]
    assert set(names[700:]) == {"tunnels beyond counting"}
    assert len(links.met_paths().words) > PT_STORE + paths.FIRST_ROOM


def test_the_layers_give_up_later_than_the_kernel():
    """What the kernel goes through, the layers would have."""
    assert 2 * MOST_LAYERS + 3 < layers().MAX_LAYERS


def test_slots_outnumber_paths():
    """Else a search would not end."""
    assert paths.MOST_PATHS <= SLOT_COUNT // 2
