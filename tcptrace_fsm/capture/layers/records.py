"""Headers that capturing systems put in front of a frame or packet: firewalls' logs, capture cards, routers."""

from __future__ import annotations

from tcptrace_fsm.capture.layers.ethernet import ethernet
from tcptrace_fsm.capture.layers.ip import ip
from tcptrace_fsm.capture.layers.registry import MAX_FIELDS, Layer, Packet, Sample, link, of_link
from tcptrace_fsm.capture.layers.serial import cisco_hdlc, frame_relay, ppp
from tcptrace_fsm.kernels.layout import OUTCOME_NOT_TCP

WLAN_DATA = "0801 0000 00*20 aaaa03 000000 0800 IP"


@link(109, "ENC", Sample("02000000 01000000 00000000 IP"))
def enc(packet: Packet) -> Layer | int:
    """Skip OpenBSD's header in front of what IPsec has decrypted."""
    packet.skip(12)
    return ip


@link(117, "PFLOG", Sample("3d 00*63 IP"))
def pflog(packet: Packet) -> Layer | int:
    """Skip the header of the packet filter's log."""
    packet.skip(packet.byte(0) + 3 & ~3)
    return ip


@link(
    239, "NFLOG", Sample("02000000 0800 0100 00000000 3100 0900 IP"), Sample("02000000 0008 0001 00000000 0031 0009 IP")
)
def nflog(packet: Packet) -> Layer | int:
    """Read https://www.tcpdump.org/linktypes/LINKTYPE_NFLOG.html; the byte order is the capturing machine's."""
    packet.skip(4)
    order = "little" if packet.number(0, 2, "little") <= packet.number(0) else "big"  # the first field is short
    for _ in range(MAX_FIELDS):
        size, kind = packet.number(0, 2, order), packet.number(2, 2, order)
        if size < 4:
            return OUTCOME_NOT_TCP
        if kind & 0x7FFF == 9:
            packet.skip(4)
            return ip
        packet.skip(size + 3 & ~3)
    return OUTCOME_NOT_TCP


@link(192, "PPI", Sample(f"00 00 0800 69000000 {WLAN_DATA}"))
def ppi(packet: Packet) -> Layer | int:
    """Skip CACE's header; it names the link type inside."""
    size, number = packet.number(2, 2, "little"), packet.number(4, 4, "little")
    packet.skip(max(size, 8))
    return of_link(number) if number != 192 else OUTCOME_NOT_TCP


@link(258, "PKTAP", Sample("6c000000 01000000 01000000 00*96 FRAME"))
def pktap(packet: Packet) -> Layer | int:
    """Skip Apple's header; it names the link type inside."""
    size, number = packet.number(0, 4, "little"), packet.number(8, 4, "little")
    packet.skip(max(size, 12))
    return of_link(number) if number != 258 else OUTCOME_NOT_TCP


@link(
    197,
    "ERF",
    Sample("00*8 02 00*7 0000 FRAME"),
    Sample("00*8 82 00*7 80 00*7 00*8 0000 FRAME"),
    Sample("00*8 01 00*7 0f000800 IP"),
)
def erf(packet: Packet) -> Layer | int:
    """Read an Endace record: extension headers while their first bit says so, then the frame of the type named."""
    kind = packet.byte(8)
    more = kind & 0x80
    packet.skip(16)
    while more:
        more = packet.byte(0) & 0x80
        packet.skip(8)
    kind &= 0x7F
    if kind in {2, 11, 16, 20}:  # Ethernet behind two bytes
        packet.skip(2)
        return ethernet
    if kind == 1:
        return cisco_hdlc if packet.byte(0) in {0x0F, 0x8F} else ppp
    return ip if kind in {22, 23} else OUTCOME_NOT_TCP


def _juniper(packet: Packet, inside: Layer) -> Layer | int:
    """Skip Juniper's header: magic, flags, extensions; a flag says that no link layer follows."""
    if packet.number(0, 3) != 0x4D4743:
        return OUTCOME_NOT_TCP
    flags = packet.byte(3)
    packet.skip(4)
    if flags & 0x80:
        packet.skip(2 + packet.number(0))
    if flags & 2:
        packet.skip(4)
        return ip
    return inside


@link(
    178,
    "Juniper Ethernet",
    Sample("4d4743 00 FRAME"),
    Sample("4d4743 80 0003 616263 FRAME"),
    Sample("4d4743 02 02000000 IP"),
)
def juniper_ethernet(packet: Packet) -> Layer | int:
    """Read Juniper's header, then Ethernet."""
    return _juniper(packet, ethernet)


@link(179, "Juniper PPP", Sample("4d4743 01 ff030021 IP"))
def juniper_ppp(packet: Packet) -> Layer | int:
    """Read Juniper's header, then PPP."""
    return _juniper(packet, ppp)


@link(180, "Juniper Frame Relay", Sample("4d4743 01 1841 03cc IP"))
def juniper_frame_relay(packet: Packet) -> Layer | int:
    """Read Juniper's header, then Frame Relay."""
    return _juniper(packet, frame_relay)


@link(181, "Juniper Cisco HDLC", Sample("4d4743 01 0f000800 IP"))
def juniper_cisco_hdlc(packet: Packet) -> Layer | int:
    """Read Juniper's header, then Cisco HDLC."""
    return _juniper(packet, cisco_hdlc)
