"""The slow, obvious twin of the decode kernel: slices and struct, one step after the other, no shared code with it.

It answers for the links and headers that the kernel reads itself; ``"peel"`` is its word for what goes the slow way.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

TAGS = {0x8100, 0x88A8, 0x9100, 0x9200, 0x9300}
TUNNEL_PORTS = {1701, 2152, 3386, 3544, 4754, 4789, 4790, 5072, 5247, 6081, 6635, 8472, 37008}
TUNNEL_PROTOCOLS = {4, 41, 47, 97, 137, 143}
TUNNEL_ETHERTYPES = {
    *(0x22EB, 0x22F3, 0x4305, 0x6558, 0x880B, 0x8847, 0x8848, 0x8864, 0x8870, 0x88BE, 0x88E5, 0x88E7),
    *(0x8903, 0x8909, 0x8926, 0x892F, 0x894F, 0x2452, 0x893F),
}


class Done(Exception):  # noqa: N818
    """The frame's outcome, when it is not a segment."""


@dataclass
class Segment:
    vlans: list[int]
    version: int
    src: bytes = b""
    dst: bytes = b""
    src_port: int = 0
    dst_port: int = 0
    seq: int = 0
    ack: int = 0
    flags: int = 0
    payload_len: int = 0
    window: int = 0
    ident: int = 0
    ttl: int = 0
    shown: int = 0
    mss: int = 0
    shift: int = 0
    tsval: int = 0
    tsecr: int = 0
    sack: list[int] = field(default_factory=list)
    options: set[str] = field(default_factory=set)
    checksum: str = "unknown"


def decode(frame: bytes, link: int, original: int | None = None) -> Segment | str:
    """Return the segment in a frame, or the name of its outcome."""
    wire = max(len(frame), original or 0)
    try:
        kind, rest, vlans = _link(frame, link)
        wire -= len(frame) - len(rest)
        if kind == 0x0800:
            return _ipv6(rest, wire, vlans) if rest[:1] and rest[0] >> 4 == 6 else _ipv4(rest, wire, vlans)
        if kind == 0x86DD:
            return _ipv6(rest, wire, vlans)
    except Done as done:
        return str(done)
    if kind < 1536 and len(rest) >= 2 and rest[:2] not in {b"\xaa\xaa", b"\6\6", b"\xfe\xfe"}:
        return "not_tcp"
    return "peel" if kind < 1536 or kind in TUNNEL_ETHERTYPES else _unread(rest)


def _unread(data: bytes) -> str:
    """What nobody reads is counted by name where an IP packet with TCP begins soon in it."""
    for at in range(min(64, len(data) - 40) + 1):
        packet = data[at:]
        if packet[0] == 0x45 and packet[9] == 6:
            if sum(struct.unpack("!10H", packet[:20])) in {0xFFFF, *(0xFFFF + 0xFFFF * n for n in range(1, 10))}:
                return "peel"
            total = int.from_bytes(packet[2:4], "big")
            if packet[10:12] == b"\0\0" and 40 <= total <= len(packet) <= total + 46:
                return "peel"
        if packet[0] >> 4 == 6 and packet[6] == 6 and 20 <= int.from_bytes(packet[4:6], "big") == len(packet) - 40:
            return "peel"
    return "not_tcp"


def _take(data: bytes, count: int, outcome: str) -> tuple[bytes, bytes]:
    if len(data) < count:
        raise Done(outcome)
    return data[:count], data[count:]


def _link(frame: bytes, link: int) -> tuple[int, bytes, list[int]]:
    if link == 1:
        head, rest = _take(frame, 14, "short_link")
        kind = int.from_bytes(head[12:14], "big")
    elif link == 113:
        head, rest = _take(frame, 16, "short_link")
        hardware, kind = int.from_bytes(head[2:4], "big"), int.from_bytes(head[14:16], "big")
        if hardware in {778, 801, 802, 803, 824}:
            raise Done("peel")
    elif link == 276:
        head, rest = _take(frame, 20, "short_link")
        kind, hardware = int.from_bytes(head[:2], "big"), int.from_bytes(head[8:10], "big")
        if hardware in {778, 801, 802, 803, 824}:
            raise Done("peel")
    elif link in {12, 14, 101, 228, 229}:
        _take(frame, 1, "short_link")
        kind, rest = (0x86DD if frame[0] >> 4 == 6 else 0x0800), frame
    elif link in {0, 108}:
        head, rest = _take(frame, 4, "short_link")
        numbers = [int.from_bytes(head, "big"), int.from_bytes(head, "little")]
        small = [n for n in numbers if n < 65536]
        if not small:
            raise Done("peel")
        kind = {2: 0x0800, 24: 0x86DD, 28: 0x86DD, 30: 0x86DD, 10: 0x86DD, 23: 0x86DD}.get(small[0], small[0])
        if kind < 1536:
            raise Done("not_tcp")
    else:
        raise Done("peel")
    vlans = []
    while kind in TAGS:
        head, rest = _take(rest, 4, "short_link")
        name, kind = int.from_bytes(head[:2], "big") & 4095, int.from_bytes(head[2:], "big")
        if name:
            if len(vlans) == 4:
                raise Done("peel")
            vlans.append(name)
    return kind, rest, vlans


def _ipv4(data: bytes, wire: int, vlans: list[int]) -> Segment | str:
    _take(data, 20, "short_ip")
    head = (data[0] & 15) * 4
    total = int.from_bytes(data[2:4], "big") or wire
    if data[0] >> 4 != 4 or head < 20 or total < head:
        return "bad_ip_header"
    part = int.from_bytes(data[6:8], "big")
    protocol = data[9]
    if part & 0x3FFF:
        if protocol not in {6, 17} | TUNNEL_PROTOCOLS:
            return "not_tcp"
        if len(data) >= total > head:
            return "peel"
        if part & 0x1FFF:
            return "fragment"
        if protocol != 6:
            return "peel"
    elif protocol == 17:
        return _maybe_tunnel(data[head:])
    elif protocol in TUNNEL_PROTOCOLS:
        return "peel"
    elif protocol == 50:
        return "encrypted"
    elif protocol == 1:
        quoted = data[head + 8 :]
        quotes = len(quoted) >= 28 and data[head] in {3, 4, 11, 12} and quoted[0] >> 4 == 4 and quoted[9] == 6
        return "peel" if quotes else "not_tcp"
    elif protocol != 6 and (protocol != 51 or len(data) < head + 12):
        return _unread(data[head:])
    elif protocol == 51:
        protocol = data[head]
        head += (data[head + 1] + 2) * 4
        if head > total:
            return "bad_ip_header"
        if protocol == 17 or protocol in TUNNEL_PROTOCOLS:
            return "peel"
    if protocol != 6:
        return "not_tcp"
    _take(data, head, "short_ip")
    segment = Segment(vlans, 4, data[12:16], data[16:20], ident=int.from_bytes(data[4:6], "big"), ttl=data[8])
    routed, room = head > 20, wire - head
    return _tcp(segment, data[head:total], total - head, room, routed=routed, part=bool(part & 0x3FFF))


def _maybe_tunnel(data: bytes) -> str:
    if len(data) < 8:
        return "not_tcp"
    ports = set(struct.unpack("!HH", data[:4]))
    if TUNNEL_PORTS & ports:
        return "peel"
    inside, length = data[8:], int.from_bytes(data[4:6], "big")
    if len(inside) < 40:
        return "not_tcp"
    teredo = b"\x20\1\0\0" in {inside[8:12], inside[24:28]}
    if teredo and inside[0] >> 4 == 6 and length == 48 + int.from_bytes(inside[4:6], "big"):
        return "peel"
    return "encrypted" if 4500 in ports and inside[:4] != bytes(4) else _unread(inside)


def _ipv6(data: bytes, wire: int, vlans: list[int]) -> Segment | str:
    _take(data, 40, "short_ip")
    if data[0] >> 4 != 6:
        return "bad_ip_header"
    total = int.from_bytes(data[4:6], "big") + 40
    if total == 40:
        total = wire
    data = data[:total]
    segment = Segment(vlans, 6, data[8:24], data[24:40], ident=-1, ttl=data[7])
    follows, at, routed = data[6], 40, False
    while follows != 6:
        least = {51: 12}.get(follows, 8)
        if follows not in {0, 43, 44, 51, 60, 135, 139, 140}:
            if follows == 17:
                return _maybe_tunnel(data[at:])
            if follows == 58:
                quoted = data[at + 8 :]
                quotes = len(quoted) >= 48 and data[at] in {1, 2, 3, 4} and quoted[0] >> 4 == 6 and quoted[6] == 6
                return "peel" if quotes else "not_tcp"
            return "peel" if follows in TUNNEL_PROTOCOLS else "encrypted" if follows == 50 else _unread(data[at:])
        if at + least > total:
            return "bad_ip_extension"
        if at + least > len(data):
            return "short_ip"
        part = int.from_bytes(data[at + 2 : at + 4], "big") & 0xFFF9
        if follows == 44 and part:
            if len(data) >= total > at + 8:
                return "peel"
            return "fragment"
        if follows == 43 and data[at + 3]:
            routed = True
        size = {44: 8, 51: (data[at + 1] + 2) * 4}.get(follows, (data[at + 1] + 1) * 8)
        follows = data[at]
        at += size
        if at > total:
            return "bad_ip_extension"
    return _tcp(segment, data[at:], total - at, wire - at, routed=routed, part=False)


def _tcp(segment: Segment, data: bytes, length: int, room: int, *, routed: bool, part: bool) -> Segment | str:
    if len(data) < min(length, 20):
        return "short_tcp"
    if length < 20:
        return "bad_tcp_header"
    offset = (data[12] >> 4) * 4
    if not 20 <= offset <= length:
        return "bad_tcp_header"
    segment.src_port, segment.dst_port, segment.seq, segment.ack = struct.unpack("!HHII", data[:12])
    segment.flags = int.from_bytes(data[12:14], "big") & 511
    segment.window = int.from_bytes(data[14:16], "big")
    segment.payload_len = length - offset
    segment.shown = -1 if part or min(length, room) < offset else min(length, room) - offset
    _options(segment, data[20:offset])
    if len(data) < offset:
        segment.options.add("short")
        segment.options.discard("damaged")
    if len(data) >= length:
        segment.checksum = _checksum(segment, data[:length], routed=routed)
    return segment


def _options(segment: Segment, data: bytes) -> None:
    names = {2: ("mss", 4), 3: ("scale", 3), 4: ("sack_permitted", 2), 8: ("timestamps", 10)}
    nops = 0
    while data and data[0] != 0:
        if data[0] == 1:
            nops += 1
            if nops == 4:
                segment.options.add("nop_run")
            data = data[1:]
            continue
        nops = 0
        if len(data) < 2 or not 2 <= data[1] <= len(data):
            segment.options.add("damaged")
            return
        kind, size = data[0], data[1]
        value, data = data[2:size], data[size:]
        if kind in names:
            if size != names[kind][1]:
                segment.options.add("damaged")
                return
            if kind == 3 and not segment.options & {"sack_permitted", "timestamps"}:
                segment.options.add("scale_early")
            segment.options.add(names[kind][0])
            if kind == 2:
                segment.mss = int.from_bytes(value, "big")
            elif kind == 3:
                segment.shift = value[0]
            elif kind == 8:
                segment.tsval, segment.tsecr = struct.unpack("!II", value)
        elif kind == 5:
            if not value or len(value) % 8:
                segment.options.add("damaged")
                return
            if "sack" in segment.options:
                segment.options.add("damaged")
            else:
                segment.options.add("sack")
                segment.sack = list(struct.unpack(f"!{len(value) // 4}I", value))[:8]
        elif kind == 34 or (kind == 254 and value[:2] == b"\xf9\x89"):
            segment.options.add("fast_open")
            if len(value) > (0 if kind == 34 else 2):
                segment.options.add("fast_open_cookie")
        elif kind in {30, 19, 29}:
            segment.options.add({30: "multipath", 19: "md5", 29: "ao"}[kind])


def _checksum(segment: Segment, data: bytes, *, routed: bool) -> str:
    def folded(content: bytes) -> int:
        content += b"\0" * (len(content) % 2)
        total = sum(struct.unpack(f"!{len(content) // 2}H", content))
        while total > 0xFFFF:
            total = (total & 0xFFFF) + (total >> 16)
        return total

    pseudo = segment.src + segment.dst + struct.pack("!II", len(data), 6)
    if folded(pseudo + data) == 0xFFFF:
        return "good"
    without_length = segment.src + segment.dst + struct.pack("!II", 0, 6)
    if int.from_bytes(data[16:18], "big") in {0, folded(pseudo), folded(without_length)}:
        return "offloaded"
    return "unknown" if routed else "bad"
