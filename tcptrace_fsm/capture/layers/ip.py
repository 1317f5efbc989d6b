"""IP, what identifies a tunnel by its ends, and IP in IP."""

from __future__ import annotations

from socket import AF_INET, AF_INET6, inet_ntop

from tcptrace_fsm.capture.layers.links import KERNEL_LINKS
from tcptrace_fsm.capture.layers.registry import (
    IP_PROTOCOLS,
    UDP_PORTS,
    Layer,
    Packet,
    Sample,
    ethertype,
    ip_protocol,
    link,
    next_protocol,
    ppp_protocol,
    unread,
)
from tcptrace_fsm.kernels.layout import (
    OUTCOME_BAD_IP_EXTENSION,
    OUTCOME_BAD_IP_HEADER,
    OUTCOME_FRAGMENT,
    OUTCOME_NOT_TCP,
    OUTCOME_SHORT_IP,
    OUTCOME_TCP,
)

__all__ = ["ends_of", "ip", "looks_like_ip", "tunnel_name"]

HEADERS = frozenset({0, 43, 44, 51, 60, 135, 139, 140})
"""IPv6 extension headers that are read."""


@link(12, KERNEL_LINKS[12], Sample("IP"), Sample("IP6"))
@link(14, KERNEL_LINKS[14], Sample("IP"), Sample("IP6"))
@link(101, KERNEL_LINKS[101], Sample("IP"), Sample("IP6"))
@link(228, KERNEL_LINKS[228], Sample("IP"))
@link(229, KERNEL_LINKS[229], Sample("IP6"))
@ethertype(0x0800, samples=(Sample("IP"),))
@ethertype(0x86DD, samples=(Sample("IP6"),))
@ppp_protocol(0x21, samples=(Sample("IP"),))
@ppp_protocol(0x57, samples=(Sample("IP6"),))
@next_protocol(1, samples=(Sample("IP"),))
@next_protocol(2, samples=(Sample("IP6"),))
def ip(packet: Packet) -> Layer | int:
    """Read IPv4 or IPv6, as the version says."""
    if packet.end - packet.at < 1:
        return OUTCOME_SHORT_IP
    version = packet.data[packet.at] >> 4
    if version == 4:
        return ipv4(packet)
    return ipv6(packet) if version == 6 else OUTCOME_BAD_IP_HEADER


def ipv4(packet: Packet) -> Layer | int:
    """Read IPv4 (RFC 791), and put fragments together."""
    start = packet.at
    data = packet.data
    if packet.end - start < 20:
        return OUTCOME_SHORT_IP
    head = (data[start] & 15) * 4
    total = packet.number(2) or packet.wire - start
    if head < 20 or total < head:
        return OUTCOME_BAD_IP_HEADER
    if packet.end - start < head:
        return OUTCOME_SHORT_IP
    _bound(packet, start, total)
    packet.pair = _pair(AF_INET, data[start + 12 : start + 16], data[start + 16 : start + 20])
    protocol = data[start + 9]
    part = packet.number(6)
    if part & 0x3FFF and packet.end == packet.wire and total > head:
        key = (tuple(packet.path), bytes(data[start + 12 : start + 20]), packet.number(4), protocol)
        whole = packet.fragments.add(
            key,
            packet.time,
            (part & 0x1FFF) * 8,
            bytes(data[start + head : packet.end]),
            more=bool(part & 0x2000),
            header=bytes(data[start : start + head]),
        )
        if whole is None:
            return OUTCOME_FRAGMENT
        header = bytearray(whole[0])
        size = len(header) + len(whole[1])
        header[2:4] = (size if size < 65536 else 0).to_bytes(2, "big")
        header[6:8] = b"\0\0"
        packet.replace(header, whole[1])
    elif part & 0x1FFF:
        return OUTCOME_FRAGMENT
    else:
        packet.at = start + head
    return IP_PROTOCOLS.get(protocol) or unread(f"IP protocol {protocol}")


def ipv6(packet: Packet) -> Layer | int:
    """Read IPv6 (RFC 8200) with its extension headers, and put fragments together."""
    start = packet.at
    data = packet.data
    if packet.end - start < 40:
        return OUTCOME_SHORT_IP
    total = packet.number(4) + 40
    if total == 40:
        total = packet.wire - start
    _bound(packet, start, total)
    packet.pair = _pair(AF_INET6, data[start + 8 : start + 24], data[start + 24 : start + 40])
    follows = data[start + 6]
    pointer = start + 6  # where the byte stands that says what follows
    packet.at = start + 40
    while follows in HEADERS:
        if packet.end - packet.at < 8:
            return OUTCOME_SHORT_IP if packet.wire - packet.at >= 8 else OUTCOME_BAD_IP_EXTENSION
        if follows == 44 and packet.number(2) & 0xFFF9:
            header = _join6(packet, start, pointer)
            if header is None:
                return OUTCOME_FRAGMENT
            follows = header[pointer - start] if pointer - start < len(header) else 59
            start = pointer = 0
            continue
        size = 8
        if follows == 51:
            size = (packet.byte(1) + 2) * 4
        elif follows != 44:
            size = (packet.byte(1) + 1) * 8
        follows = packet.byte(0)
        pointer = packet.at
        packet.at += size
        if packet.at > packet.wire:
            return OUTCOME_BAD_IP_EXTENSION
    return IP_PROTOCOLS.get(follows) or unread(f"IP protocol {follows}")


def _join6(packet: Packet, start: int, pointer: int) -> bytearray | None:
    """Add the fragment at hand of the packet at ``start``; go on in the whole, and give its header, when it is."""
    if packet.end != packet.wire or packet.end - packet.at <= 8:
        return None
    data, part = packet.data, packet.number(2)
    header = bytearray(data[start : packet.at])
    header[pointer - start] = packet.byte(0)
    key = (tuple(packet.path), bytes(data[start + 8 : start + 40]), packet.number(4, 4), 6)
    content = bytes(data[packet.at + 8 : packet.end])
    whole = packet.fragments.add(key, packet.time, part & 0xFFF8, content, more=bool(part & 1), header=bytes(header))
    if whole is None:
        return None
    header = bytearray(whole[0])
    size = len(header) - 40 + len(whole[1])
    header[4:6] = (size if size < 65536 else 0).to_bytes(2, "big")
    packet.replace(header, whole[1])
    return header


def _bound(packet: Packet, start: int, total: int) -> None:
    """Note where an IP packet of ``total`` bytes ends, by its own header and by what is around it."""
    packet.wire = start + total
    packet.room = min(packet.room, packet.wire)
    packet.end = min(packet.end, packet.wire)
    packet.ip_at, packet.ip_end, packet.ip_wire = start, packet.end, packet.room


def _pair(family: int, one: bytes | bytearray, other: bytes | bytearray) -> str:
    """Name the two ends of a tunnel, in an order that does not depend on the direction."""
    low, high = sorted((bytes(one), bytes(other)))
    return f"{inet_ntop(family, low)}-{inet_ntop(family, high)}"


def tunnel_name(protocol: int, pair: str, key: int = -1) -> str:
    """What a plain tunnel between two ends is called: of IP protocol 4, or of 47 with a key or without."""
    return f"{'gre' if protocol == 47 else 'ipip'} {pair}" + (f" key {key}" if key >= 0 else "")


def ends_of(packet: Packet) -> bytes:
    """Give the source and destination of the innermost IP packet, as they stand in it."""
    start = packet.ip_at
    if packet.data[start] >> 4 == 4:
        return bytes(packet.data[start + 12 : start + 20])
    return bytes(packet.data[start + 8 : start + 40])


def looks_like_ip(packet: Packet) -> bool:
    """Whether an IP packet begins here, by more than its version: the sum of its header, or its length."""
    start, data = packet.at, packet.data
    version = packet.byte(0) >> 4
    if version == 4:
        head = (data[start] & 15) * 4
        if head < 20 or packet.end - start < head or not head <= packet.number(2) <= packet.wire - start:
            return False
        return int.from_bytes(data[start : start + head], "big") % 65535 == 0
    return version == 6 and packet.end - start >= 40 and packet.number(4) + 40 == packet.wire - start


def tcp(_packet: Packet) -> int:
    """Here is TCP."""
    return OUTCOME_TCP


def udp(packet: Packet) -> Layer | int:
    """Read UDP: the lower port tells what is in it, or else the upper one."""
    low, high = sorted((packet.number(0), packet.number(2)))
    size = packet.number(4)
    if size >= 8:  # 0 says nothing (RFC 2675 4)
        packet.bound(size)
    packet.skip(8)
    if low < 1024:  # the tunnel's port was only somebody's ephemeral port
        return _elsewhere(packet, low)
    return UDP_PORTS.get(low) or UDP_PORTS.get(high) or _elsewhere(packet, low)


def _elsewhere(packet: Packet, port: int) -> Layer | int:
    """Read what Teredo clients send each other: an IPv6 packet of their prefix, from any port to any port."""
    if packet.end - packet.at < 40 or packet.byte(0) >> 4 != 6 or packet.number(4) + 40 != packet.wire - packet.at:
        return unread(f"UDP port {port}")
    if 0x20010000 not in {packet.number(8, 4), packet.number(24, 4)}:  # RFC 4380 2.6
        return unread(f"UDP port {port}")
    packet.path.append("teredo")
    return ip


def icmp(packet: Packet) -> Layer | int:
    """Read the beginning of the datagram that an ICMP error quotes (RFC 792), where it is TCP."""
    packet.need(28)
    kind, code = packet.byte(0), packet.byte(1)
    if packet.error or kind not in {3, 4, 11, 12} or packet.byte(17) != 6:
        return OUTCOME_NOT_TCP
    mtu = packet.number(6) if (kind, code) == (3, 4) else 0  # 0: a router from before RFC 1191
    packet.error = (kind | code << 8, mtu or -1, *_sender(packet))
    packet.skip(8)
    return ip


def icmp6(packet: Packet) -> Layer | int:
    """Read the beginning of the packet that an ICMPv6 error quotes (RFC 4443 3), where it is TCP."""
    packet.need(48)
    kind, code = packet.byte(0), packet.byte(1)
    if packet.error or not 1 <= kind <= 4 or packet.byte(14) != 6:
        return OUTCOME_NOT_TCP
    packet.error = (kind | code << 8, packet.number(4, 4) if kind == 2 else -1, *_sender(packet))
    packet.skip(8)
    return ip


def _sender(packet: Packet) -> tuple[int, int]:
    """Give the source address of the innermost IP packet as two signed words."""
    start = packet.ip_at
    if packet.data[start] >> 4 == 4:
        return 0, int.from_bytes(packet.data[start + 12 : start + 16], "big")
    high, low = (int.from_bytes(packet.data[start + i : start + i + 8], "big", signed=True) for i in (8, 16))
    return high, low


IP_PROTOCOLS.update({1: icmp, 6: tcp, 17: udp, 58: icmp6})


@ip_protocol(4, samples=(Sample("IP", "ipip PAIR"),))
def ip_in_ip(packet: Packet) -> Layer | int:
    """Note the tunnel (RFC 2003)."""
    packet.path.append(tunnel_name(4, packet.pair))
    return ip


@ip_protocol(41, samples=(Sample("IP6", "6in4"),))
def ipv6_in_ip(packet: Packet) -> Layer | int:
    """Note the tunnel (RFC 4213, RFC 2473)."""
    packet.path.append("6in4" if "." in packet.pair else f"6in6 {packet.pair}")
    return ip


@ip_protocol(51, samples=(Sample("0404 0000 00000001 00000001 00*12 IP", "ipip PAIR"),))
def authentication(packet: Packet) -> Layer | int:
    """Skip an authentication header (RFC 4302), which leaves what it protects readable."""
    kind = packet.byte(0)
    packet.skip((packet.byte(1) + 2) * 4)
    return IP_PROTOCOLS.get(kind, OUTCOME_NOT_TCP)
