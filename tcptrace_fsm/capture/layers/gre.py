"""GRE, and what only GRE carries."""

from __future__ import annotations

from tcptrace_fsm.capture.layers.ethernet import ethernet
from tcptrace_fsm.capture.layers.ip import ip, tunnel_name
from tcptrace_fsm.capture.layers.registry import (
    GRE_PROTOCOLS,
    MAX_FIELDS,
    Layer,
    Packet,
    Sample,
    by_ethertype,
    ethertype,
    gre_protocol,
    ip_protocol,
    udp_port,
)
from tcptrace_fsm.kernels.layout import OUTCOME_NOT_TCP


@ip_protocol(
    47,
    samples=(
        Sample("0000 0800 IP", "gre PAIR"),
        Sample("b000 0800 00*4 00000007 00*4 IP", "gre PAIR key 7"),
        Sample("4000 0800 00*4 08000004 0a000001 00000000 IP", "gre PAIR"),
        Sample("3081 880b 00*12 ff030021 IP", "gre PAIR"),
        Sample("2000 6558 00000500 FRAME", "gre PAIR key 1280"),
        Sample("0000 88be FRAME", "gre PAIR"),
        Sample("2001 6400 003b 0500 FRAME", "eoip PAIR id 5"),
        Sample("0000 8847 00020140 IP", "gre PAIR/mpls"),
    ),
)
@udp_port(4754, samples=(Sample("0000 0800 IP", "gre PAIR"),))
def gre(packet: Packet) -> Layer | int:
    """Read GRE (RFC 2784, RFC 2890, RFC 1701's routing), PPTP's version 1 (RFC 2637), MikroTik's EoIP."""
    flags, kind = packet.number(0), packet.number(2)
    packet.skip(4)
    if flags & 0xC000:
        packet.skip(4)  # checksum and offset, present when either flag is
    name = tunnel_name(47, packet.pair)
    if flags & 0x2000:
        key = packet.number(0, 4)
        if flags & 7 == 0:  # version 1 has a call number there, another one in each direction
            name = tunnel_name(47, packet.pair, key)
        elif kind == 0x6400:
            name = f"eoip {packet.pair} id {packet.number(2, 2, 'little')}"
        packet.skip(4)
    if flags & 0x1000:
        packet.skip(4)
    if flags & 7 == 1 and flags & 0x80:
        packet.skip(4)
    if flags & 0x4000:
        for _ in range(MAX_FIELDS):
            family, size = packet.number(0), packet.byte(3)
            packet.skip(4 + size)
            if family == 0 and size == 0:
                break
    packet.path.append(name)
    if kind == 0x88BE and not flags & 0x1000:  # ERSPAN I: nothing but the frame
        return ethernet
    return GRE_PROTOCOLS.get(kind) or by_ethertype(kind)


@gre_protocol(0x6400, samples=(Sample("FRAME", "gre PAIR"),))
def eoip(packet: Packet) -> Layer | int:
    """Read an Ethernet frame, or MikroTik's keepalive, which is nothing."""
    return ethernet if packet.wire > packet.at else OUTCOME_NOT_TCP


@gre_protocol(0x883E, samples=(Sample("00000000 IP", "gre PAIR"), Sample("IP", "gre PAIR")))
def wccp(packet: Packet) -> Layer | int:
    """Read WCCP: a redirect header unless IP begins at once."""
    if packet.byte(0) >> 4 != 4:
        packet.skip(4)
    return ip


@ethertype(
    0x88BE,
    0x22EB,
    samples=(
        Sample("1000 0005 00000000 FRAME", "erspan 5"),
        Sample("2000 0006 00*8 FRAME", "erspan 6"),
        Sample("2000 0006 00*7 01 00*8 FRAME", "erspan 6"),
    ),
)
def erspan(packet: Packet) -> Layer | int:
    """Read ERSPAN II and III as the version says."""
    version = packet.byte(0) >> 4
    session = packet.number(2) & 0x3FF
    if version == 1:
        packet.skip(8)
    elif version == 2:
        packet.skip(20 if packet.byte(11) & 1 else 12)
    else:
        return OUTCOME_NOT_TCP
    packet.path.append(f"erspan {session}")
    return ethernet
