"""Serial lines: PPP and what carries it, HDLC, Frame Relay, SLIP."""

from __future__ import annotations

from tcptrace_fsm.capture.layers.ethernet import ethernet, ethernet_kind, llc, nlpid
from tcptrace_fsm.capture.layers.ip import ip
from tcptrace_fsm.capture.layers.registry import PPP_PROTOCOLS, Layer, Packet, Sample, ethertype, link, ppp_protocol
from tcptrace_fsm.kernels.layout import OUTCOME_NOT_TCP, OUTCOME_SHORT_IP

__all__ = ["cisco_hdlc", "frame_relay", "ppp"]


@link(9, "PPP", Sample("ff030021 IP"), Sample("0021 IP"), Sample("21 IP"), Sample("ff03 0057 IP6"))
@link(50, "PPP HDLC", Sample("ff030021 IP"))
@ethertype(0x880B, samples=(Sample("0021 IP"),))
def ppp(packet: Packet) -> Layer | int:
    """Read PPP (RFC 1661), with or without its HDLC address, with a one- or two-byte protocol."""
    if packet.number(0) == 0xFF03:
        packet.skip(2)
    if packet.byte(0) & 1:
        kind = packet.byte(0)
        packet.skip(1)
    else:
        kind = packet.number(0)
        packet.skip(2)
    return PPP_PROTOCOLS.get(kind, OUTCOME_NOT_TCP)


@ppp_protocol(0x2F, samples=(Sample("VJ"),))
def vj_uncompressed(packet: Packet) -> Layer | int:
    """Read a packet that begins a compressed flow (RFC 1144 3.2.2): a slot stands in the place of the protocol."""
    start = packet.at
    if packet.end - start < 20:
        return OUTCOME_SHORT_IP
    size = packet.number(2)
    content = packet.data[start : packet.end]
    if packet.end != packet.wire or not 20 <= size <= len(content):
        return packet.undecoded("VJ-compressed PPP")
    packet.replace(b"", bytes(content[:9]) + b"\6" + bytes(content[10:size]))
    return ip


@ppp_protocol(0x2D, samples=(Sample("00 1234 00*8", "", "VJ-compressed PPP"),))
def vj_compressed(packet: Packet) -> int:
    """Say what is skipped: what the packets before have told is needed (RFC 1144)."""
    return packet.undecoded("VJ-compressed PPP")


@ppp_protocol(
    0x3D,
    samples=(
        Sample("c0000001 0021 IP"),
        Sample("c0000002 21 IP"),
        Sample("80000001 0021 IP", "", "PPP multilink fragment"),
    ),
)
def multilink(packet: Packet) -> Layer | int:
    """Read what one fragment holds whole (RFC 1990 3, long sequence numbers); say that the others are skipped."""
    if packet.byte(0) & 0xC0 != 0xC0:
        return packet.undecoded("PPP multilink fragment")
    packet.skip(4)
    return ppp


@ppp_protocol(0xFB, 0xFD, samples=(Sample("9000 00*20", "", "compressed or encrypted PPP"),))
def ppp_compressed(packet: Packet) -> int:
    """Say what is skipped: compression (RFC 1962), or MPPE (RFC 3078)."""
    return packet.undecoded("compressed or encrypted PPP")


@link(166, "PPP of pppd", Sample("01 ff030021 IP"))
@link(204, "PPP with direction", Sample("00 ff030021 IP"))
def ppp_directed(packet: Packet) -> Layer | int:
    """Skip the direction."""
    packet.skip(1)
    return ppp


@link(51, "PPPoE", Sample("1100 0011 002f 0021 IP", "pppoe 17"))
@ethertype(0x8864, samples=(Sample("1100 0011 002f 0021 IP", "pppoe 17"), Sample("1100 0011 0043 57 IP6", "pppoe 17")))
def pppoe(packet: Packet) -> Layer | int:
    """Read a PPPoE session packet (RFC 2516)."""
    if packet.byte(0) != 0x11 or packet.byte(1) != 0:
        return OUTCOME_NOT_TCP
    packet.path.append(f"pppoe {packet.number(2)}")
    packet.skip(6)
    return ppp


@link(8, "SLIP", Sample("00*16 IP"), Sample("IP"))
def slip(packet: Packet) -> Layer | int:
    """Skip direction and compressed header, 16 bytes, as BSD writes them."""
    packet.need(1)
    if packet.byte(0) >> 4 not in {4, 6}:
        packet.skip(16)
    return ip


@link(104, "Cisco HDLC", Sample("0f000800 IP"), Sample("8f0086dd IP6"))
def cisco_hdlc(packet: Packet) -> Layer | int:
    """Read Cisco's four bytes."""
    kind = packet.number(2)
    packet.skip(4)
    return ethernet_kind(kind) if kind > 1500 else OUTCOME_NOT_TCP


@link(205, "Cisco HDLC with direction", Sample("00 0f000800 IP"))
def cisco_hdlc_directed(packet: Packet) -> Layer | int:
    """Skip the direction."""
    packet.skip(1)
    return cisco_hdlc


@link(
    107,
    "Frame Relay",
    Sample("1841 03cc IP"),
    Sample("1841 03 00 80 000000 0800 IP"),
    Sample("1841 0800 IP"),
)
def frame_relay(packet: Packet) -> Layer | int:
    """Read Q.922 addresses, then RFC 2427's NLPID or Cisco's Ethertype."""
    size = 1
    while not packet.byte(size - 1) & 1:
        size += 1
        if size > 4:
            return OUTCOME_NOT_TCP
    packet.skip(size)
    if packet.byte(0) != 3:
        kind = packet.number(0)
        packet.skip(2)
        return ethernet_kind(kind) if kind > 1500 else OUTCOME_NOT_TCP
    packet.skip(1)
    if packet.byte(0) == 0:  # a pad byte
        packet.skip(1)
    return nlpid


@link(206, "Frame Relay with direction", Sample("00 1841 03cc IP"))
def frame_relay_directed(packet: Packet) -> Layer | int:
    """Skip the direction."""
    packet.skip(1)
    return frame_relay


@link(123, "SunATM", Sample("02 000000 aaaa03 000000 0800 IP"), Sample("01 000000 0000 FRAME"))
def sun_atm(packet: Packet) -> Layer | int:
    """Skip SunATM's four bytes; LANE has an address of its own before the Ethernet frame."""
    kind = packet.byte(0) & 15
    packet.skip(4)
    if kind == 1:
        packet.skip(2)
        return ethernet
    return llc if kind == 2 else OUTCOME_NOT_TCP
