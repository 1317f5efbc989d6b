"""Ethernet and its kin: VLAN tags, LLC and SNAP, cooked and loopback frames, tags of switch chips."""

from __future__ import annotations

from tcptrace_fsm.capture.layers.ip import ip
from tcptrace_fsm.capture.layers.links import KERNEL_LINKS
from tcptrace_fsm.capture.layers.registry import (
    ETHERTYPES,
    HARDWARE,
    Layer,
    Packet,
    Sample,
    by_ethertype,
    ethertype,
    ip_protocol,
    link,
    next_protocol,
)
from tcptrace_fsm.kernels.layout import OUTCOME_NOT_TCP

__all__ = ["ethernet", "ethernet_kind", "llc", "nlpid"]

SNAP_IP = "aaaa03 000000 0800 IP"


@link(1, KERNEL_LINKS[1], Sample("FRAME"))
@ethertype(0x6558, samples=(Sample("FRAME"),))
@next_protocol(3, samples=(Sample("FRAME"),))
def ethernet(packet: Packet) -> Layer | int:
    """Read an Ethernet header."""
    kind = packet.number(12)
    packet.skip(14)
    return ethernet_kind(kind)


def ethernet_kind(kind: int) -> Layer | int:
    """The layer behind an Ethernet type, or behind a length."""
    return llc if kind <= 1500 else by_ethertype(kind)


@ethertype(0x8100, 0x88A8, 0x9100, 0x9200, 0x9300, samples=(Sample("0007 0800 IP", "vlan 7"), Sample("e000 0800 IP")))
def vlan(packet: Packet) -> Layer | int:
    """Read a VLAN tag (IEEE 802.1Q)."""
    name, kind = packet.number(0) & 0xFFF, packet.number(2)
    packet.skip(4)
    if name:  # 0 only gives a priority
        packet.path.append(f"vlan {name}")
    return ethernet_kind(kind)


@link(11, "ATM RFC 1483", Sample(SNAP_IP))
@link(100, "ATM RFC 1483", Sample(SNAP_IP), Sample("fefe03cc IP"), Sample("aaaa03 0080c2 0007 0000 FRAME"))
@ethertype(0x8870, samples=(Sample(SNAP_IP), Sample("060603 IP")))
def llc(packet: Packet) -> Layer | int:
    """Read 802.2 LLC, SNAP (RFC 1042) and RFC 2684's routed form of NLPID."""
    access = packet.number(0)
    if access == 0xAAAA:
        packet.need(8)
        organisation, kind = packet.number(3, 3), packet.number(6)
        packet.skip(8)
        if organisation == 0x0080C2 and kind in {1, 7}:  # bridged Ethernet, with and without its checksum
            packet.skip(2)  # padding (RFC 2684 5.2)
            return ethernet
        return by_ethertype(kind) if organisation in {0, 0x0000F8} else OUTCOME_NOT_TCP
    if access == 0x0606 and packet.byte(2) == 3:
        packet.skip(3)
        return ip
    if access == 0xFEFE and packet.byte(2) == 3:
        packet.skip(3)
        return nlpid
    return OUTCOME_NOT_TCP


def nlpid(packet: Packet) -> Layer | int:
    """Read a network layer protocol identifier (RFC 2427 3)."""
    kind = packet.byte(0)
    packet.skip(1)
    if kind in {0xCC, 0x8E}:
        return ip
    if kind == 0x80:
        return _snap
    return by_ethertype(0x880B) if kind == 0xCF else OUTCOME_NOT_TCP  # PPP


def _snap(packet: Packet) -> Layer | int:
    organisation, kind = packet.number(0, 3), packet.number(3)
    packet.skip(5)
    if organisation == 0x0080C2:
        return ethernet if kind in {1, 7} else OUTCOME_NOT_TCP
    return by_ethertype(kind) if organisation == 0 else OUTCOME_NOT_TCP


# --- Linux' own frames, loopback ------------------------------------------------------------------------------------


@link(113, KERNEL_LINKS[113], Sample("0000 0001 0006 00*8 0800 IP"), Sample(f"0000 0001 0006 00*8 0004 {SNAP_IP}"))
def cooked(packet: Packet) -> Layer | int:
    """Read a Linux cooked header, version 1."""
    kind, arphrd = packet.number(14), packet.number(2)
    packet.skip(16)
    return _cooked_inside(arphrd, kind)


@link(276, KERNEL_LINKS[276], Sample("0800 0000 00000003 0001 00 06 00*8 IP"))
def cooked2(packet: Packet) -> Layer | int:
    """Read a Linux cooked header, version 2."""
    kind, arphrd = packet.number(0), packet.number(8)
    packet.skip(20)
    return _cooked_inside(arphrd, kind)


def _cooked_inside(arphrd: int, kind: int) -> Layer | int:
    if arphrd in HARDWARE:
        return HARDWARE[arphrd]
    if kind == 4:  # 802.2 without an Ethernet header
        return llc
    return by_ethertype(kind)


def _netlink(_packet: Packet) -> int:
    """What stands in the place of a protocol is a netlink family."""
    return OUTCOME_NOT_TCP


HARDWARE[824] = _netlink


@link(0, KERNEL_LINKS[0], Sample("02000000 IP"), Sample("0000001e IP6"), Sample("ff03 0021 IP"))
@link(108, KERNEL_LINKS[108], Sample("00000002 IP"))
def null(packet: Packet) -> Layer | int:
    """Read the address family of a loopback frame, in either byte order; FreeBSD writes PPP like this too."""
    if packet.number(0) == 0xFF03:
        return by_ethertype(0x880B)
    family = packet.number(0, 4)
    if family >= 1 << 16:
        family = packet.number(0, 4, "little")
    packet.skip(4)
    if family >= 1536:
        return by_ethertype(family)
    return ip if family in {2, 10, 23, 24, 28, 30} else OUTCOME_NOT_TCP


# --- other local networks -------------------------------------------------------------------------------------------


@link(
    6,
    "Token Ring",
    Sample(f"1040 00*12 {SNAP_IP}"),
    Sample(f"1040 00*6 80 00*5 04000000 {SNAP_IP}"),
)
def token_ring(packet: Packet) -> Layer | int:
    """Skip a Token Ring header, with the route that may stand in it."""
    routed = packet.byte(8) & 0x80
    packet.skip(14)
    if routed:
        packet.skip(packet.byte(0) & 0x1F)
    return llc


@link(10, "FDDI", Sample(f"54 00*12 {SNAP_IP}"))
def fddi(packet: Packet) -> Layer | int:
    """Skip an FDDI header."""
    control = packet.byte(0)
    packet.skip(13)
    return llc if control & 0x70 == 0x50 else OUTCOME_NOT_TCP


@link(122, "IP over Fibre Channel", Sample(f"00*16 {SNAP_IP}"))
def ip_over_fc(packet: Packet) -> Layer | int:
    """Skip RFC 2625's network header."""
    packet.skip(16)
    return llc


@link(242, "IP over InfiniBand", Sample("0800 0000 IP"), Sample("00*20 0800 0000 IP"))
def ip_over_infiniband(packet: Packet) -> Layer | int:
    """Read RFC 4391's four bytes, behind a destination of 20 bytes or a header of 40 where one is there."""
    for _ in range(2):
        if packet.number(2) or packet.number(0) not in ETHERTYPES:
            packet.skip(20)
    kind = packet.number(0)
    packet.skip(4)
    return ethernet_kind(kind)


@link(259, "EPON", Sample("00*8 FRAME"))
def epon(packet: Packet) -> Layer | int:
    """Skip EPON's preamble."""
    packet.skip(8)
    return ethernet


@link(143, "DOCSIS", Sample("00 00 003b 0000 FRAME"), Sample("01 04 003f 00*6 FRAME"))
def docsis(packet: Packet) -> Layer | int:
    """Read DOCSIS packet data (frame type 0), with its extended header skipped."""
    control = packet.byte(0)
    if control & 0xC0:
        return OUTCOME_NOT_TCP
    packet.skip(6 + (packet.byte(1) if control & 1 else 0))
    return ethernet


# --- tags of switch chips, between the addresses and the Ethertype, or in front ---

ADDRESSES = "020000000002 020000000001"


def _switch_tag(packet: Packet, size: int) -> Layer | int:
    packet.skip(12 + size)
    kind = packet.number(0)
    packet.skip(2)
    return ethernet_kind(kind)


@link(281, "Ethernet with Broadcom tag", Sample(f"{ADDRESSES} 00000000 0800 IP"))
@link(283, "Ethernet with Marvell tag", Sample(f"{ADDRESSES} 00000000 0800 IP"))
def short_switch_tag(packet: Packet) -> Layer | int:
    """Skip a tag of four bytes."""
    return _switch_tag(packet, 4)


@link(284, "Ethernet with Marvell Ethertype tag", Sample(f"{ADDRESSES} dada 00*6 0800 IP"))
def long_switch_tag(packet: Packet) -> Layer | int:
    """Skip a tag of eight bytes."""
    return _switch_tag(packet, 8)


@link(240, "NetANALYZER", Sample("00000000 FRAME"))
@link(282, "Ethernet with Broadcom tag in front", Sample("00000000 FRAME"))
def four_bytes_in_front(packet: Packet) -> Layer | int:
    """Skip four bytes."""
    packet.skip(4)
    return ethernet


# --- Ethernet in IP -------------------------------------------------------------------------------------------------


@ip_protocol(97, samples=(Sample("3000 FRAME", "etherip PAIR"),))
def ether_ip(packet: Packet) -> Layer | int:
    """Read EtherIP (RFC 3378)."""
    packet.path.append(f"etherip {packet.pair}")
    packet.skip(2)
    return ethernet


@ip_protocol(143, samples=(Sample("FRAME", "ethernet PAIR"),))
def ethernet_in_ip(packet: Packet) -> Layer | int:
    """Read an Ethernet frame right behind an IP header (RFC 8986)."""
    packet.path.append(f"ethernet {packet.pair}")
    return ethernet
