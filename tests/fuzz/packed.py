"""Captures as frames that can be changed: taken apart, and packed again as pcap or pcapng, whole or damaged."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests import builders as make

if TYPE_CHECKING:
    import random


BIG, LITTLE = ">", "<"


MAGICS = {
    b"\xd4\xc3\xb2\xa1": (LITTLE, 0xA1B2C3D4),
    b"\xa1\xb2\xc3\xd4": (BIG, 0xA1B2C3D4),
    b"\x4d\x3c\xb2\xa1": (LITTLE, 0xA1B23C4D),
    b"\xa1\xb2\x3c\x4d": (BIG, 0xA1B23C4D),
}


SECOND = 10**9


@dataclass
class Frame:
    """A frame of a capture: time in ns."""

    time: int
    content: bytes
    original: int


@dataclass
class Opened:
    """A capture taken apart: frames of one link type."""

    link: int
    frames: list[Frame]


def opened(data: bytes) -> Opened | None:
    """The frames of a pcap, or those of the first interface of a pcapng; None for anything else."""
    if data[:4] in MAGICS and len(data) >= 24:
        order, magic = MAGICS[data[:4]]
        tick = 1 if magic == 0xA1B23C4D else 1000
        frames, at = [], 24
        while at + 16 <= len(data):
            seconds, part, captured, original = struct.unpack_from(order + "IIII", data, at)
            if captured > len(data) - at - 16:
                break
            frames.append(Frame(seconds * SECOND + part * tick, data[at + 16 : at + 16 + captured], original))
            at += 16 + captured
        return Opened(struct.unpack_from(order + "I", data, 20)[0] & 0xFFFF, frames)
    if data[:4] == b"\x0a\x0d\x0d\x0a" and data[8:12] == b"\x4d\x3c\x2b\x1a":
        return _opened_blocks(data)
    return None


def _opened_blocks(data: bytes) -> Opened | None:
    link, frames, at = None, [], 0
    while at + 12 <= len(data):
        kind, size = struct.unpack_from("<II", data, at)
        if size < 12 or at + size > len(data):
            break
        if kind == 1 and link is None:
            link = struct.unpack_from("<H", data, at + 8)[0]
        if kind == 6 and size >= 32:
            _, high, low, captured, original = struct.unpack_from("<IIIII", data, at + 8)
            frames.append(Frame(1000 * (high << 32 | low), data[at + 28 : at + 28 + captured], original))
        at += size
    return None if link is None else Opened(link, frames)


def packed_pcap(capture: Opened, chance: random.Random) -> bytes:
    """As pcap, of one byte order or the other, in microseconds or nanoseconds."""
    order = chance.choice((LITTLE, LITTLE, BIG))
    nano = chance.random() < 0.4
    out = bytearray(
        struct.pack(order + "IHHiIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, 262144, capture.link)
    )
    for frame in capture.frames:
        seconds, rest = divmod(frame.time, SECOND)
        part = rest if nano else rest // 1000
        if chance.random() < 0.005:
            part = chance.choice((10**6, 2**31, 2**32 - 1))  # more than a second holds
        head = (seconds & 0xFFFFFFFF, part, len(frame.content), frame.original & 0xFFFFFFFF)
        out += struct.pack(order + "IIII", *head) + frame.content
    return bytes(out)


def packed_pcapng(capture: Opened, chance: random.Random) -> bytes:
    """As pcapng: any byte order and resolution, several interfaces, all kinds of blocks, comments."""
    order = chance.choice((LITTLE, LITTLE, BIG))
    comment = make.option(1, chance.choice((b"a note", b"\x1b[31m<b>", b"\xff\xfe")), order) + make.option(
        0, b"", order
    )
    interfaces = []
    out = bytearray(make.section(order, comment if chance.random() < 0.2 else b""))
    for number in range(chance.choice((1, 1, 1, 2, 3))):
        resolution = chance.choice((6, 6, 9, 3, 0, 12, 0x80 | 20, 0x80 | 32, 0x80 | 63, 63, 255))
        offset = chance.choice((None, None, None, 0, -1, 3600, -(2**31), 2**40, -(2**63)))
        interfaces.append((resolution, offset or 0))
        name = b"eth%d" % number if chance.random() < 0.5 else b""
        snap = chance.choice((0, 0, 65535, 64))
        out += make.interface(capture.link, snaplen=snap, tsresol=resolution, tsoffset=offset, name=name, order=order)
    for frame in capture.frames:
        out += _odd_block(order, chance)
        number = chance.randrange(len(interfaces))
        stamp = _stamp(frame.time, *interfaces[number])
        kind = chance.random()
        if kind < 0.04:
            out += make.simple_packet(frame.content, original=frame.original & 0xFFFFFFFF, order=order)
        elif kind < 0.08:
            out += make.old_packet(stamp, frame.content, number=number, order=order)
        else:
            given = comment if chance.random() < 0.1 else b""
            if chance.random() < 0.01:
                number = 99  # which nothing describes
            out += make.packet(
                stamp, frame.content, number=number, original=frame.original & 0xFFFFFFFF, order=order, options=given
            )
    return bytes(out)


def _odd_block(order: str, chance: random.Random) -> bytes:
    """Now and then a block between the packets."""
    kind = chance.random()
    if kind > 0.08:
        return b""
    if kind < 0.02:
        return make.statistics(chance.choice((0, 0, 1, 7)), received=chance.choice((0, 100, 2**63)),
                               dropped=chance.choice((None, 0, 5, 2**63)), order=order)  # fmt: skip
    if kind < 0.04:
        record = struct.pack(order + "HH", 1, 12) + bytes([10, 0, 0, 1]) + b"host-a\0\0" + bytes(4)
        return make.block(4, record, order)
    if kind < 0.06:
        return make.block(chance.choice((5, 10, 0x0BAD, 0x80000001)), chance.randbytes(chance.randrange(40)), order)
    return make.interface(chance.choice((1, 101, 113, 147, 228)), tsresol=chance.choice((6, 9)), order=order)


def _stamp(time: int, resolution: int, offset: int) -> int:
    """A time in ns, in ticks of an interface."""
    per_second = 2 ** (resolution & 127) if resolution & 128 else 10 ** (resolution & 127)
    return (time - offset * SECOND) * per_second // SECOND & 2**64 - 1
