"""What providers' and data centres' networks put between link and IP: labels, tags, service headers."""

from __future__ import annotations

from tcptrace_fsm.capture.layers.ethernet import ethernet, ethernet_kind
from tcptrace_fsm.capture.layers.ip import ip, looks_like_ip
from tcptrace_fsm.capture.layers.registry import (
    ETHERTYPES,
    MAX_LAYERS,
    NEXT_PROTOCOLS,
    Layer,
    Packet,
    Sample,
    ethertype,
    ip_protocol,
    next_protocol,
    ppp_protocol,
    udp_port,
)
from tcptrace_fsm.kernels.layout import OUTCOME_NOT_TCP

LABELS = "00010040 00020140"
WITHOUT_IP = frozenset({0x0806, 0x8035, 0x8809, 0x88CC, 0x8902, 0x88F7, 0x9000})
"""Ethertypes that never lead to IP: ARP, RARP, slow protocols, LLDP, CFM, PTP, loopback."""


@ethertype(
    0x8847,
    0x8848,
    samples=(
        Sample(f"{LABELS} IP", "mpls"),
        Sample(f"{LABELS} IP6", "mpls"),
        Sample(f"{LABELS} FRAME", "mpls"),
        Sample(f"{LABELS} 00000005 FRAME", "mpls"),
        Sample(f"{LABELS} 460000000002 640000000001 0800 IP", "mpls"),  # addresses that look like an IP version
        Sample(f"{LABELS} 640000000002 460000000001 8100 0007 86dd IP6", "mpls/vlan 7"),
        Sample(f"{LABELS} 00*40", "mpls", "MPLS pseudowire"),
    ),
)
@ppp_protocol(0x281, 0x283, samples=(Sample(f"{LABELS} IP", "mpls"),))
@next_protocol(5, samples=(Sample(f"{LABELS} IP", "mpls"),))
def mpls(packet: Packet) -> Layer | int:
    """Skip a label stack (RFC 3032); labels differ by direction, so the path does not name them."""
    packet.path.append("mpls")
    for _ in range(MAX_LAYERS):
        last = packet.byte(2) & 1
        packet.skip(4)
        if last:
            break
    version = packet.byte(0) >> 4
    if looks_like_ip(packet):
        return ip
    if version == 1:  # an associated channel (RFC 5586)
        return OUTCOME_NOT_TCP
    # A pseudowire with Ethernet inside, behind a control word that begins with 0 (RFC 4385) or not: what would be the
    # Ethertype tells.
    kinds = packet.number(12), packet.number(16)
    if kinds[0] in ETHERTYPES:
        return ethernet
    if version == 0 and kinds[1] in ETHERTYPES:
        packet.skip(4)
        return ethernet
    if version in {4, 6}:
        return ip
    return OUTCOME_NOT_TCP if WITHOUT_IP & set(kinds) else packet.undecoded("MPLS pseudowire")


@ip_protocol(137, samples=(Sample(f"{LABELS} IP", "udp PAIR/mpls"),))
@udp_port(6635, samples=(Sample(f"{LABELS} IP", "udp PAIR/mpls"),))
def mpls_in_ip(packet: Packet) -> Layer | int:
    """Note the tunnel (RFC 4023, RFC 7510)."""
    packet.path.append(f"udp {packet.pair}")
    return mpls


@ethertype(0x8903, samples=(Sample("0040 FRAME"),))
def fabric_path(packet: Packet) -> Layer | int:
    """Skip Cisco FabricPath's tag."""
    packet.skip(2)
    return ethernet


@ethertype(0x88E7, samples=(Sample("00000abc FRAME", "pbb 2748"),))
def backbone(packet: Packet) -> Layer | int:
    """Read a service tag (IEEE 802.1ah)."""
    packet.path.append(f"pbb {packet.number(1, 3)}")
    packet.skip(4)
    return ethernet


@ethertype(0x894F, samples=(Sample("0fc20202 00000100 IP6"), Sample("0fc20203 00000100 FRAME")))
@next_protocol(4, samples=(Sample("0fc20101 00000100 IP"),))
def nsh(packet: Packet) -> Layer | int:
    """Skip a service function chain's header (RFC 8300)."""
    size, kind = (packet.byte(1) & 0x3F) * 4, packet.byte(3)
    packet.skip(max(size, 8))
    return NEXT_PROTOCOLS.get(kind, OUTCOME_NOT_TCP)


@ethertype(0x8926, 0x892F, samples=(Sample("00000000 0800 IP"), Sample("80010002 8100 0007 0800 IP", "vlan 7")))
def tag_of_four_bytes(packet: Packet) -> Layer | int:
    """Skip Cisco's VN-tag, or that of HSR (IEC 62439-3): the Ethertype comes last."""
    kind = packet.number(4)
    packet.skip(6)
    return ethernet_kind(kind)


@ethertype(0x893F, samples=(Sample("000000010000 0800 IP"), Sample("e00020010000 8100 0007 0800 IP", "vlan 7")))
def bridge_port_extension(packet: Packet) -> Layer | int:
    """Skip an E-tag (IEEE 802.1BR); its channel differs by direction, so the path does not name it."""
    kind = packet.number(6)
    packet.skip(8)
    return ethernet_kind(kind)


@ethertype(0x4305, samples=(Sample("400f 3201 00*6 FRAME", "batman"), Sample("010f 3201 00*10 FRAME", "batman")))
def batman(packet: Packet) -> Layer | int:
    """Read batman-adv's unicast and broadcast packets (compatibility version 15)."""
    kind = packet.byte(0)
    if packet.byte(1) != 15 or kind not in _BATMAN:
        return OUTCOME_NOT_TCP
    packet.path.append("batman")
    packet.skip(_BATMAN[kind])
    return ethernet


_BATMAN = {0x01: 14, 0x40: 10, 0x42: 18}
"""Header size of the packet types that carry frames."""


@ethertype(0x8909, samples=(Sample("010100010000 0800 IP"),))
def cisco_metadata(packet: Packet) -> Layer | int:
    """Skip Cisco's metadata (SGT)."""
    kind = packet.number(6)
    packet.skip(8)
    return ethernet_kind(kind)


@ethertype(0x22F3, samples=(Sample("0000 0001 0002 FRAME"), Sample("0040 0001 0002 00000000 FRAME")))
def trill(packet: Packet) -> Layer | int:
    """Skip TRILL's header with its options (RFC 6325)."""
    packet.skip(6 + (packet.number(0) >> 6 & 0x1F) * 4)
    return ethernet


@ethertype(
    0x88E5,
    samples=(
        Sample("20 00 00000001 00*8 0800 IP"),
        Sample("00 00 00000001 0800 IP"),
        Sample("2c 00 00000001 00*40", "", "encrypted MACsec"),
    ),
)
def macsec(packet: Packet) -> Layer | int:
    """Read through 802.1AE where it only authenticates."""
    control = packet.byte(0)
    if control & 0x0C:
        return packet.undecoded("encrypted MACsec")
    packet.skip(14 if control & 0x20 else 6)
    kind = packet.number(0)
    packet.skip(2)
    return ethernet_kind(kind)
