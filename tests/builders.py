"""Frames and captures made byte by byte, for tests. Nothing here reads; nothing here uses the package."""

from __future__ import annotations

import struct
from ipaddress import ip_address


def ones_sum(data: bytes) -> int:
    """The Internet checksum's sum, folded, not complemented (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


# --- TCP and IP -----------------------------------------------------------------------------------------------------

FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32, "E": 64, "C": 128, "N": 256}


def tcp(
    payload=b"",
    *,
    src_port=40000,
    dst_port=80,
    seq=1000,
    ack=2000,
    flags="A",
    window=512,
    options=b"",
    urgent=0,
    checksum=0,
    offset=None,
):
    """A TCP segment; options are padded with end-of-list to a multiple of four."""
    options += b"\0" * (-len(options) % 4)
    bits = sum(FLAGS[f] for f in flags)
    words = 5 + len(options) // 4 if offset is None else offset
    head = struct.pack(
        "!HHIIBBHHH",
        src_port,
        dst_port,
        seq,
        ack,
        words << 4 | bits >> 8,
        bits & 255,
        window,
        checksum,
        urgent,
    )
    return head + options + payload


def with_checksum(segment: bytes, src: str, dst: str, *, offloaded=False) -> bytes:
    """The segment with the checksum that its pseudo-header asks for, or with what offloading leaves in its place."""
    pseudo = ip_address(src).packed + ip_address(dst).packed + struct.pack("!II", len(segment), 6)
    clear = segment[:16] + b"\0\0" + segment[18:]
    value = ones_sum(pseudo) if offloaded else 0xFFFF ^ ones_sum(pseudo + clear)
    return segment[:16] + struct.pack("!H", value) + segment[18:]


def ipv4(
    payload=b"",
    *,
    src="10.0.0.1",
    dst="10.0.0.2",
    protocol=6,
    ident=7,
    ttl=64,
    total=None,
    fragment=0,
    more=False,
    options=b"",
):
    head = 20 + len(options)
    total = head + len(payload) if total is None else total
    part = (0x2000 if more else 0) | fragment // 8
    fixed = struct.pack(
        "!BBHHHBBH4s4s",
        0x40 | head // 4,
        0,
        total,
        ident,
        part,
        ttl,
        protocol,
        0,
        ip_address(src).packed,
        ip_address(dst).packed,
    )
    return fixed + options + payload


def ipv6(payload=b"", *, src="2001:db8::1", dst="2001:db8::2", follows=6, hops=64, length=None):
    length = len(payload) if length is None else length
    return (
        struct.pack("!IHBB", 6 << 28, length, follows, hops) + ip_address(src).packed + ip_address(dst).packed + payload
    )


def ipv6_extension(follows: int, body: bytes = b"\1\4\0\0\0\0") -> bytes:
    """Hop-by-hop, routing, destination options...: next header, length, body padded to eights."""
    body += b"\0" * (-(len(body) + 2) % 8)
    return bytes([follows, (len(body) + 2) // 8 - 1]) + body


def udp(payload=b"", *, src_port=50000, dst_port=53):
    return struct.pack("!HHHH", src_port, dst_port, 8 + len(payload), 0) + payload


# --- links ----------------------------------------------------------------------------------------------------------


def ethernet(payload=b"", kind=0x0800, *tags, tag_kind=0x8100):
    """An Ethernet frame; ``tags`` are VLAN ids, outermost first."""
    out = bytes.fromhex("0200000000020200000000 01".replace(" ", ""))
    for tag in tags:
        out += struct.pack("!HH", tag_kind, tag)
    return out + struct.pack("!H", kind) + payload


def sll(payload=b"", kind=0x0800, hardware=1):
    return struct.pack("!HHH8sH", 0, hardware, 6, b"\2\0\0\0\0\1\0\0", kind) + payload


def sll2(payload=b"", kind=0x0800, hardware=1):
    return struct.pack("!HHIHBB8s", kind, 0, 3, hardware, 0, 6, b"\2\0\0\0\0\1\0\0") + payload


def null(payload=b"", family=2, order="<"):
    return struct.pack(order + "I", family) + payload


# --- containers -----------------------------------------------------------------------------------------------------


def pcap(frames, *, link=1, order="<", magic=0xA1B2C3D4, version=(2, 4), snaplen=262144):
    """A pcap file of ``(time in the magic's unit, bytes)`` or ``(time, bytes, original length)``."""
    nano = magic == 0xA1B23C4D
    unit = 10**9 if nano else 10**6
    out = bytearray(struct.pack(order + "IHHiIII", magic, *version, 0, 0, snaplen, link))
    for time, content, *original in frames:
        length = original[0] if original else len(content)
        out += struct.pack(order + "IIII", time // unit, time % unit, len(content), length)
        if magic == 0xA1B2CD34:
            out += struct.pack(order + "IHBB", 3, 0x0800, 4, 0)
        out += content
    return bytes(out)


def snoop(frames, *, link=4):
    """A snoop file of ``(time in microseconds, bytes)``; records are padded to multiples of four."""
    out = b"snoop\0\0\0" + struct.pack(">II", 2, link)
    for time, content in frames:
        pad = -len(content) % 4
        sizes = (len(content), len(content), 24 + len(content) + pad, 0)
        out += struct.pack(">IIIIII", *sizes, time // 10**6, time % 10**6) + content + bytes(pad)
    return out


def block(kind: int, body: bytes, order="<") -> bytes:
    body += b"\0" * (-len(body) % 4)
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def option(code: int, value: bytes, order="<") -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + b"\0" * (-len(value) % 4)


def section(order="<", options=b"") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1) + options, order)


def interface(link=1, *, snaplen=0, tsresol=None, tsoffset=None, name=b"", order="<") -> bytes:
    options = b""
    if name:
        options += option(2, name, order)
    if tsresol is not None:
        options += option(9, bytes([tsresol]), order)
    if tsoffset is not None:
        options += option(14, struct.pack(order + "q", tsoffset), order)
    if options:
        options += option(0, b"", order)
    return block(1, struct.pack(order + "HHI", link, 0, snaplen) + options, order)


def packet(stamp, content, *, number=0, original=None, order="<", options=b"") -> bytes:
    """An enhanced packet block."""
    original = len(content) if original is None else original
    head = struct.pack(order + "IIIII", number, stamp >> 32, stamp & 0xFFFFFFFF, len(content), original)
    return block(6, head + content + b"\0" * (-len(content) % 4) + options, order)


def old_packet(stamp, content, *, number=0, order="<") -> bytes:
    head = struct.pack(order + "HHIIII", number, 0, stamp >> 32, stamp & 0xFFFFFFFF, len(content), len(content))
    return block(2, head + content, order)


def simple_packet(content, *, original=None, order="<") -> bytes:
    return block(3, struct.pack(order + "I", len(content) if original is None else original) + content, order)


def statistics(number=0, *, received=None, dropped=None, os_dropped=None, order="<") -> bytes:
    options = b""
    for code, value in ((4, received), (5, dropped), (7, os_dropped)):
        if value is not None:
            options += option(code, struct.pack(order + "Q", value), order)
    return block(5, struct.pack(order + "III", number, 0, 0) + options, order)
