"""Changes of captures that keep their form: a frame, a number, an option, a tunnel, a time, a block, and bytes too.

What changes bytes at random is stopped by the first length that no longer fits. These changes take a capture apart as
far as needed, change something that a decoder, a tracker or a rule looks at, and put it together again.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests import builders as make

if TYPE_CHECKING:
    import random
from tests.fuzz.packed import SECOND, Frame, Opened, opened, packed_pcap, packed_pcapng

MOST_FRAMES = 48
NUMBERS = (0, 1, 2, 100, 1460, 2**16, 2**30, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 2, 2**32 - 1)
NEAR = (-70000, -1461, -1460, -2, -1, 1, 2, 100, 1459, 1460, 65536, 2**31 - 1, 2**31)
STEPS = (0, 1, 1000, 10**6, 10**7, 2 * 10**8, SECOND, 3 * SECOND, 61 * SECOND, 130 * SECOND, 7300 * SECOND, 10**17)
MOMENTS = (0, 1, SECOND, 2**31 * SECOND, (2**32 - 1) * SECOND + SECOND - 1, 4 * 10**18)
PORTS = (0, 1, 53, 80, 443, 4789, 6081, 2152, 3544, 33000, 65535)
ETHERNET, RAW, SLL, NULL = 1, 101, 113, 0


def mutated(data: bytes, chance: random.Random, other: bytes = b"") -> bytes:
    """The capture with a few changes; ``other`` is one to take frames from."""
    capture = opened(data)
    if capture is None or not capture.frames or chance.random() < 0.08:
        return scrambled(data, chance)
    frames = capture.frames
    if len(frames) > MOST_FRAMES:
        begin = chance.randrange(len(frames) - MOST_FRAMES + 1)
        frames = frames[begin : begin + MOST_FRAMES]
    frames = [Frame(f.time, f.content, f.original) for f in frames]
    more = opened(other)
    if more is not None and more.link == capture.link and chance.random() < 0.3:
        begin = chance.randrange(len(more.frames) or 1)
        taken = more.frames[begin : begin + 8]
        at = chance.randrange(len(frames) + 1)
        frames[at:at] = [Frame(frames[min(at, len(frames) - 1)].time, f.content, f.original) for f in taken]
    for _ in range(chance.choice((1, 1, 2, 3, 5, 8, 13))):
        if frames:
            chance.choice(CHANGES)(frames, capture, chance)
    packed = packed_pcapng if chance.random() < 0.3 else packed_pcap
    out = packed(Opened(capture.link, frames[: 2 * MOST_FRAMES]), chance)
    return scrambled(out, chance) if chance.random() < 0.08 else out


def scrambled(data: bytes, chance: random.Random) -> bytes:
    """Bytes changed, cut, moved, whatever they mean."""
    content = bytearray(data[:20000]) or bytearray(b"\0")
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(len(content) or 1)
        kind = chance.randrange(6)
        if kind == 0:
            del content[at:]
        elif kind == 1 and content:
            content[at % len(content)] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
        elif kind == 2:
            content[at:at] = content[at : at + chance.randrange(1, 200)]
        elif kind == 3:
            del content[at : at + chance.randrange(1, 60)]
        elif kind == 4:
            content[at : at + 4] = struct.pack(chance.choice("<>") + "I", chance.choice(NUMBERS))
        elif content:
            at %= min(len(content), 100)
            content[at] ^= 1 << chance.randrange(8)
    return bytes(content)


# --- frames, in time and in order -------------------------------------------------------------------------------------


def drop(frames, capture, chance) -> None:
    at = chance.randrange(len(frames))
    del frames[at : at + chance.choice((1, 1, 2, 5))]


def double(frames, capture, chance) -> None:
    at = chance.randrange(len(frames))
    one = frames[at]
    frames.insert(min(at + chance.choice((1, 1, 3, 9)), len(frames)), Frame(one.time, one.content, one.original))


def swap(frames, capture, chance) -> None:
    one, other = (chance.randrange(len(frames)) for _ in range(2))
    frames[one].content, frames[other].content = frames[other].content, frames[one].content
    frames[one].original, frames[other].original = frames[other].original, frames[one].original


def shift_times(frames, capture, chance) -> None:
    """All that follows comes later, or earlier."""
    by = chance.choice(STEPS) * chance.choice((1, 1, 1, -1))
    for frame in frames[chance.randrange(len(frames)) :]:
        frame.time = min(max(frame.time + by, 0), 4 * 10**18)


def one_time(frames, capture, chance) -> None:
    frame = chance.choice(frames)
    moved = min(max(frame.time + chance.choice(STEPS) * chance.choice((1, -1)), 0), 4 * 10**18)
    frame.time = chance.choice(MOMENTS) if chance.random() < 0.2 else moved


def all_times(frames, capture, chance) -> None:
    """Times that begin elsewhere: at 0, at the end of what a field holds."""
    by = chance.choice(MOMENTS) - chance.choice((frames[0].time, frames[-1].time))
    for frame in frames:
        frame.time = min(max(frame.time + by, 0), 4 * 10**18)


def cut_short(frames, capture, chance) -> None:
    """A snap length."""
    length = chance.choice((14, 34, 54, 58, 60, 66, 68, 74, 96, chance.randrange(120)))
    for frame in frames if chance.random() < 0.5 else [chance.choice(frames)]:
        frame.content = frame.content[:length]


def odd_original(frames, capture, chance) -> None:
    chance.choice(frames).original = chance.choice(NUMBERS)


# --- what is in a frame -----------------------------------------------------------------------------------------------


def where(frame: Frame, link: int) -> tuple[int, int] | None:
    """Where the IP packet and the TCP header of a frame begin, where they are easy to find."""
    content = frame.content
    at = {ETHERNET: 14, RAW: 0, SLL: 16, NULL: 4}.get(link)
    if at is None:
        return None
    if link == ETHERNET:
        while content[at - 2 : at] in (b"\x81\x00", b"\x88\xa8"):
            at += 4
    if len(content) < at + 40:
        return None
    if content[at] >> 4 == 4 and content[at + 9] == 6:
        tcp = at + 4 * (content[at] & 15)
    elif content[at] >> 4 == 6 and content[at + 6] == 6:
        tcp = at + 40
    else:
        return None
    return (at, tcp) if len(content) >= tcp + 20 else None


def put(frame: Frame, at: int, value: bytes) -> None:
    frame.content = frame.content[:at] + value + frame.content[at + len(value) :]


def in_tcp(change):
    """Apply a change to a frame that holds a TCP header."""

    def on_frames(frames, capture, chance) -> None:
        found = [(frame, places) for frame in frames if (places := where(frame, capture.link))]
        if found:
            frame, (ip, tcp) = chance.choice(found)
            change(frame, ip, tcp, chance)

    on_frames.__name__ = change.__name__
    return on_frames


@in_tcp
def flags(frame, ip, tcp, chance) -> None:
    bits = chance.choice((2, 18, 16, 24, 17, 1, 4, 20, 0, 3, 6, 25, 194, 210, 511, chance.randrange(512)))
    put(frame, tcp + 12, bytes([frame.content[tcp + 12] & 0xF0 | bits >> 8, bits & 255]))


@in_tcp
def numbers(frame, ip, tcp, chance) -> None:
    """A sequence or acknowledgment number, near what it was or far away."""
    at = tcp + chance.choice((4, 8))
    value = struct.unpack_from("!I", frame.content, at)[0] + chance.choice(NEAR)
    put(frame, at, struct.pack("!I", (chance.choice(NUMBERS) if chance.random() < 0.3 else value) % 2**32))


@in_tcp
def window(frame, ip, tcp, chance) -> None:
    put(frame, tcp + 14, struct.pack("!H", chance.choice((0, 0, 1, 100, 1460, 65535, chance.randrange(65536)))))


@in_tcp
def ports(frame, ip, tcp, chance) -> None:
    at = tcp + chance.choice((0, 2))
    put(frame, at, struct.pack("!H", chance.choice(PORTS)))


@in_tcp
def other_way(frame, ip, tcp, chance) -> None:
    """From the other end; now and then from and to the same."""
    content = frame.content
    sides = [content[tcp : tcp + 2], content[tcp + 2 : tcp + 4]]
    size = 4 if content[ip] >> 4 == 4 else 16
    at = ip + (12 if size == 4 else 8)
    hosts = [content[at : at + size], content[at + size : at + 2 * size]]
    if chance.random() < 0.15:
        sides[1], hosts[1] = sides[0], hosts[0]
    put(frame, tcp, sides[1] + sides[0])
    put(frame, at, hosts[1] + hosts[0])


@in_tcp
def checksum(frame, ip, tcp, chance) -> None:
    put(frame, tcp + 16, chance.randbytes(2))


@in_tcp
def urgent(frame, ip, tcp, chance) -> None:
    put(frame, tcp + 13, bytes([frame.content[tcp + 13] ^ 32]))
    put(frame, tcp + 18, struct.pack("!H", chance.choice((0, 1, 100, 65535))))


@in_tcp
def length(frame, ip, tcp, chance) -> None:
    """The packet's length says something else."""
    if frame.content[ip] >> 4 == 4:
        value = struct.unpack_from("!H", frame.content, ip + 2)[0] + chance.choice((-1, 1, -20, 100, 1460))
        put(frame, ip + 2, struct.pack("!H", chance.choice((value % 65536, 0, 20, 39, 40, 65535))))
    else:
        put(frame, ip + 4, struct.pack("!H", chance.choice((0, 1, 19, 20, 65535))))


@in_tcp
def payload(frame, ip, tcp, chance) -> None:
    """More data, or none."""
    begin = tcp + 4 * (frame.content[tcp + 12] >> 4)
    data = chance.choice((b"", b"\0", b"x", bytes(100), bytes(1460), b"GET / HTTP/1.1\r\n\r\n"))
    frame.content = frame.content[:begin] + data
    frame.original = len(frame.content)
    size = len(frame.content) - ip
    if frame.content[ip] >> 4 == 4:
        put(frame, ip + 2, struct.pack("!H", size))
    else:
        put(frame, ip + 4, struct.pack("!H", size - 40))


@in_tcp
def header_length(frame, ip, tcp, chance) -> None:
    put(frame, tcp + 12, bytes([frame.content[tcp + 12] & 15 | chance.randrange(16) << 4]))


@in_tcp
def options(frame, ip, tcp, chance) -> None:
    """Other options, a few of them broken."""
    begin = tcp + 4 * (frame.content[tcp + 12] >> 4)
    ack = frame.content[tcp + 8 : tcp + 12]
    edge = (struct.unpack("!I", ack)[0] + chance.choice((0, 1, 1460, -1460, 2**31))) % 2**32
    some = [
        b"\1", b"\0", b"\1\1\1\1", struct.pack("!BBH", 2, 4, chance.choice((0, 1, 536, 1460, 65535))),
        bytes([3, 3, chance.choice((0, 7, 14, 15, 255))]), b"\4\2",
        struct.pack("!BBII", 5, 10, edge, (edge + 100) % 2**32),
        struct.pack("!BBIIII", 5, 18, edge, (edge + 1) % 2**32, edge, (edge + 3000) % 2**32),
        struct.pack("!BBII", 8, 10, chance.choice(NUMBERS), chance.choice(NUMBERS)),
        b"\x13\x12" + bytes(16), b"\x1d\x10" + bytes(14), b"\x1e\x0c" + bytes(10), b"\x22\2", b"\x22\x0a" + bytes(8),
        b"\xfe\4\xf9\x89", b"\5\2", b"\2\0", b"\2\1", b"\x08\x28", bytes([chance.randrange(256), chance.randrange(42)]),
    ]  # fmt: skip
    text = b"".join(chance.choice(some) for _ in range(chance.choice((0, 1, 1, 2, 4))))[:40]
    text += b"\0" * (-len(text) % 4)
    head = frame.content[tcp : tcp + 20]
    head = head[:12] + bytes([head[12] & 15 | (5 + len(text) // 4) << 4]) + head[13:]
    rest = frame.content[begin:] if begin >= tcp + 20 else b""
    frame.content = frame.content[:tcp] + head + text + rest
    frame.original = len(frame.content)
    size = len(frame.content) - ip
    at, value = (ip + 2, size) if frame.content[ip] >> 4 == 4 else (ip + 4, size - 40)
    put(frame, at, struct.pack("!H", value & 65535))


@in_tcp
def ip_header(frame, ip, tcp, chance) -> None:
    """TTL, identification, ECN, protocol; in IPv6 the flow label, the next header."""
    if frame.content[ip] >> 4 == 4:
        at, value = chance.choice(
            ((8, 0), (8, 1), (8, 64), (8, 255), (5, 0), (5, 7), (1, 3), (9, 4), (9, 47), (9, 132))
        )
    else:
        at, value = chance.choice(((7, 1), (7, 255), (1, 0x30), (6, 0), (6, 44), (6, 59), (6, 60)))
    put(frame, ip + at, bytes([value]))


# --- fragments, tunnels, errors ---------------------------------------------------------------------------------------


def _packets(frames, capture, chance):
    found = [(n, places) for n, frame in enumerate(frames) if (places := where(frame, capture.link))]
    return chance.choice(found) if found else None


def fragment(frames, capture, chance) -> None:
    """An IPv4 packet in fragments: in order or not, overlapping, one missing."""
    found = _packets(frames, capture, chance)
    if found is None:
        return
    n, (ip, tcp) = found
    frame = frames[n]
    if frame.content[ip] >> 4 != 4:
        return
    body = frame.content[tcp:]
    step = chance.choice((8, 16, 24, 64))
    pieces = []
    for begin in range(0, min(len(body), 4 * step), step):
        last = begin + step >= min(len(body), 4 * step)
        offset = max(begin - chance.choice((0, 0, 0, 8)), 0)
        part = body[begin:] if last else body[begin : begin + step]
        head = bytearray(frame.content[ip:tcp])
        head[2:4] = struct.pack("!H", len(head) + len(part))
        head[6:8] = struct.pack("!H", (0 if last else 0x2000) | offset // 8)
        content = frame.content[:ip] + bytes(head) + part
        pieces.append(Frame(frame.time, content, len(content)))
    if chance.random() < 0.3:
        chance.shuffle(pieces)
    if chance.random() < 0.2:
        del pieces[chance.randrange(len(pieces))]
    frames[n : n + 1] = pieces


def tunnel(frames, capture, chance) -> None:
    """Frames inside something else: VLAN tags, MPLS, PPPoE, IP, GRE, VXLAN, GENEVE, GTP, extension headers."""
    if capture.link != ETHERNET:
        return
    way = chance.choice(TUNNELS)
    depth = chance.choice((1, 1, 1, 2, 6))
    for frame in frames if chance.random() < 0.5 else [chance.choice(frames)]:
        for _ in range(depth):
            if len(frame.content) > 14:
                frame.content = way(frame.content, chance)
        frame.original = len(frame.content)


def _kind(content: bytes) -> int:
    return int.from_bytes(content[12:14], "big")


TUNNELS = (
    lambda c, r: c[:12] + struct.pack("!HH", r.choice((0x8100, 0x88A8)), r.randrange(4096)) + c[12:],
    lambda c, r: c[:12] + b"\x88\x47" + struct.pack("!I", r.randrange(2**20) << 12 | 0x140) + c[14:],
    lambda c, r: c[:12] + b"\x88\x64\x11\0" + struct.pack("!HHH", 7, len(c) - 12, 0x21) + c[14:],
    lambda c, r: make.ethernet(make.ipv4(c[14:], src="192.0.2.1", dst="192.0.2.2", protocol=4)),
    lambda c, r: make.ethernet(make.ipv6(c[14:], follows=r.choice((4, 41))), 0x86DD),
    lambda c, r: make.ethernet(make.ipv6(make.ipv6_extension(r.choice((6, 4, 41))) + c[14:], follows=60), 0x86DD),
    lambda c, r: make.ethernet(
        make.ipv4(struct.pack("!HHI", 0x2000, _kind(c), r.randrange(2**32)) + c[14:], protocol=47)
    ),
    lambda c, r: make.ethernet(
        make.ipv4(make.udp(struct.pack("!II", 0x08000000, r.randrange(2**24) << 8) + c, dst_port=4789), protocol=17)
    ),
    lambda c, r: make.ethernet(
        make.ipv4(make.udp(struct.pack("!II", 0x00006558, r.randrange(9) << 8) + c, dst_port=6081), protocol=17)
    ),
    lambda c, r: make.ethernet(
        make.ipv4(make.udp(struct.pack("!BBHI", 0x30, 255, len(c) - 14, 5) + c[14:], dst_port=2152), protocol=17)
    ),
)


def icmp_error(frames, capture, chance) -> None:
    """An ICMP error that quotes a packet of the capture."""
    found = _packets(frames, capture, chance)
    if found is None or capture.link != ETHERNET:
        return
    n, (ip, _) = found
    frame = frames[n]
    size = chance.choice((28, 28, 60, 20, 24, 500))
    if frame.content[ip] >> 4 == 4:
        kind, code = chance.choice(
            ((3, 0), (3, 1), (3, 3), (3, 4), (3, 13), (11, 0), (4, 0), (chance.randrange(20), 0))
        )
        head = struct.pack("!BBHHH", kind, code, 0, 0, chance.choice((0, 68, 576, 1400, 65535)))
        content = make.ethernet(make.ipv4(head + frame.content[ip : ip + size], src="192.0.2.9", protocol=1))
    else:
        kind, code = chance.choice(((1, 0), (1, 4), (2, 0), (3, 0), (4, 1)))
        head = struct.pack("!BBHI", kind, code, 0, chance.choice((0, 1280, 1400, 2**31)))
        content = make.ethernet(make.ipv6(head + frame.content[ip : ip + 20 + size], follows=58), 0x86DD)
    frames.insert(min(n + 1, len(frames)), Frame(frame.time + chance.choice((0, 1000, 10**7)), content, len(content)))


def inject(frames, capture, chance) -> None:
    """A copy of a segment with other flags and numbers: a reset, a SYN with a new ISN, a FIN."""
    found = _packets(frames, capture, chance)
    if found is None:
        return
    n, (_, tcp) = found
    copy = Frame(frames[n].time + chance.choice(STEPS[:8]), frames[n].content[: tcp + 20], tcp + 20)
    seq, ack = struct.unpack_from("!II", copy.content, tcp + 4)
    bits = chance.choice((4, 20, 2, 18, 17, 16))
    seq = chance.choice((seq, seq + 1, seq - 1, ack, 0, chance.randrange(2**32)))
    put(copy, tcp + 4, struct.pack("!IIBB", seq % 2**32, ack if bits & 16 else 0, 0x50, bits))
    frames.insert(min(n + chance.choice((0, 1, 1, 4)), len(frames)), copy)


def many_syns(frames, capture, chance) -> None:
    """One SYN many times, each with a number or a port of its own."""
    found = _packets(frames, capture, chance)
    if found is None:
        return
    n, (_, tcp) = found
    content, time = frames[n].content[: tcp + 20], frames[n].time
    step = chance.choice((0, 1000, 10**7, SECOND, 70 * SECOND))
    same_port = chance.random() < 0.5
    for k in range(chance.choice((3, 6, 20))):
        copy = Frame(min(time + k * step, 4 * 10**18), content, len(content))
        put(copy, tcp + 4, struct.pack("!IIBB", chance.randrange(2**32), 0, 0x50, 2))
        if not same_port:
            put(copy, tcp, struct.pack("!H", 20000 + k))
        frames.insert(min(n + k, len(frames)), copy)


FRAMES = [drop, double, swap, shift_times, one_time, all_times, cut_short, odd_original]
HEADERS = [flags, numbers, numbers, window, ports, other_way, checksum, urgent, length, payload, header_length, options,
           options, ip_header]  # fmt: skip
PACKETS = [fragment, tunnel, icmp_error, inject, inject, many_syns]
CHANGES = [*FRAMES, *HEADERS, *HEADERS, *PACKETS]


# --- putting it together again ----------------------------------------------------------------------------------------
