"""Tunnels over UDP: data centre overlays, mobile networks, transition to IPv6, L2TP."""

from __future__ import annotations

from tcptrace_fsm.capture.layers.ethernet import ethernet
from tcptrace_fsm.capture.layers.ip import ip
from tcptrace_fsm.capture.layers.registry import (
    IP_PROTOCOLS,
    NEXT_PROTOCOLS,
    Layer,
    Packet,
    Sample,
    by_ethertype,
    udp_port,
)
from tcptrace_fsm.capture.layers.serial import ppp
from tcptrace_fsm.kernels.layout import OUTCOME_NOT_TCP


@udp_port(4789, 8472, samples=(Sample("08000000 00002a00 FRAME", "vxlan 42 PAIR"),))
def vxlan(packet: Packet) -> Layer | int:
    """Read VXLAN (RFC 7348)."""
    if not packet.byte(0) & 0x08:
        return OUTCOME_NOT_TCP
    packet.path.append(f"vxlan {packet.number(4, 3)} {packet.pair}")
    packet.skip(8)
    return ethernet


@udp_port(
    4790, samples=(Sample("0c000001 00002a00 IP", "vxlan 42 PAIR"), Sample("0c000003 00002a00 FRAME", "vxlan 42 PAIR"))
)
def vxlan_gpe(packet: Packet) -> Layer | int:
    """Read VXLAN-GPE (draft-ietf-nvo3-vxlan-gpe)."""
    kind = packet.byte(3)
    packet.path.append(f"vxlan {packet.number(4, 3)} {packet.pair}")
    packet.skip(8)
    return NEXT_PROTOCOLS.get(kind, OUTCOME_NOT_TCP)


@udp_port(
    6081,
    samples=(
        Sample("0100 6558 00000700 00000000 FRAME", "geneve 7 PAIR"),
        Sample("0000 0800 00000700 IP", "geneve 7 PAIR"),
    ),
)
def geneve(packet: Packet) -> Layer | int:
    """Read Geneve (RFC 8926)."""
    if packet.byte(0) & 0xC0:
        return OUTCOME_NOT_TCP
    size, kind = (packet.byte(0) & 0x3F) * 4, packet.number(2)
    packet.path.append(f"geneve {packet.number(4, 3)} {packet.pair}")
    packet.skip(8 + size)
    return by_ethertype(kind)


@udp_port(
    2152,
    3386,
    samples=(
        Sample("30ff 002d 00000001 IP", "gtp PAIR"),
        Sample("34ff 0035 00000001 00000085 01001000 IP", "gtp PAIR"),
        Sample("32ff 0031 00000001 00010000 IP", "gtp PAIR"),
        Sample("1eff 00*18 IP", "gtp PAIR"),
    ),
)
def gtp(packet: Packet) -> Layer | int:
    """Read GTP-U (3GPP TS 29.281): G-PDUs only. The tunnel's number differs by direction, so the path has none."""
    flags = packet.byte(0)
    if flags >> 5 == 0:  # version 0 (TS 09.60)
        if packet.byte(1) != 255:
            return OUTCOME_NOT_TCP
        packet.path.append(f"gtp {packet.pair}")
        packet.skip(20)
        return _ip_or_ppp
    if flags >> 4 != 3 or packet.byte(1) != 255:
        return OUTCOME_NOT_TCP
    packet.path.append(f"gtp {packet.pair}")
    packet.bound(8 + packet.number(2))
    if flags & 7:
        kind = packet.byte(11) if flags & 4 else 0
        packet.skip(12)
        while kind:
            size = packet.byte(0) * 4
            if size == 0:
                return OUTCOME_NOT_TCP
            kind = packet.byte(size - 1)
            packet.skip(size)
    else:
        packet.skip(8)
    return _ip_or_ppp


def _ip_or_ppp(packet: Packet) -> Layer | int:
    version = packet.byte(0) >> 4
    if version in {4, 6}:
        return ip
    return ppp if packet.byte(0) == 0xFF else OUTCOME_NOT_TCP


@udp_port(3544, samples=(Sample("IP6", "teredo"), Sample("0001 0000 00*9 0000 00*6 IP6", "teredo")))
def teredo(packet: Packet) -> Layer | int:
    """Read Teredo (RFC 4380): an authentication and an origin part may stand first."""
    if packet.number(0) == 1:
        packet.skip(13 + packet.byte(2) + packet.byte(3))
    if packet.number(0) == 0:
        packet.skip(8)
    if packet.byte(0) >> 4 != 6:
        return OUTCOME_NOT_TCP
    packet.path.append("teredo")
    return ip


@udp_port(5072, samples=(Sample("44 52 01 29 00000000 00*36 IP6", "ayiya PAIR/6in4"),))
def ayiya(packet: Packet) -> Layer | int:
    """Read AYIYA (draft-massar-v6ops-ayiya)."""
    kind = packet.byte(3)
    packet.path.append(f"ayiya {packet.pair}")
    packet.skip(8 + (1 << (packet.byte(0) >> 4)) + (packet.byte(1) >> 4) * 4)
    return IP_PROTOCOLS.get(kind, OUTCOME_NOT_TCP)


@udp_port(
    1701,
    samples=(
        Sample("0002 0001 0002 ff03 0021 IP", "l2tp PAIR"),
        Sample("4a02 0040 0001 0002 0000 0000 0002 0000 0021 IP", "l2tp PAIR"),
    ),
)
def l2tp(packet: Packet) -> Layer | int:
    """Read L2TP data messages (RFC 2661 3.1)."""
    flags = packet.number(0)
    if flags & 0x8000 or flags & 15 != 2:
        return OUTCOME_NOT_TCP
    packet.path.append(f"l2tp {packet.pair}")
    packet.skip(2 + (2 if flags & 0x4000 else 0) + 4 + (4 if flags & 0x0800 else 0))
    if flags & 0x0200:
        packet.skip(2 + packet.number(0))
    return ppp
