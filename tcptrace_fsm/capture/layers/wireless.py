"""802.11, the headers that capturing drivers put in front of it, and the tunnels of access points."""

from __future__ import annotations

from tcptrace_fsm.capture.layers.ethernet import ethernet, llc
from tcptrace_fsm.capture.layers.ip import ends_of
from tcptrace_fsm.capture.layers.registry import (
    MAX_FIELDS,
    Layer,
    Packet,
    Sample,
    ethertype,
    gre_protocol,
    hardware,
    link,
    udp_port,
)
from tcptrace_fsm.kernels.layout import OUTCOME_FRAGMENT, OUTCOME_NOT_TCP

__all__ = ["wlan"]

SNAP_IP = "aaaa03 000000 0800 IP"
DATA = f"0801 0000 00*20 {SNAP_IP}"
QOS = "8801 0000 00*20 0000"
FIRST = f"020000000002 020000000001 0035 {SNAP_IP} 000000"
AGGREGATE = "further frames of an 802.11 aggregate (A-MSDU)"


@link(
    105,
    "802.11",
    Sample(DATA),
    Sample(f"{QOS} {SNAP_IP}"),
    Sample(f"0803 0000 00*26 {SNAP_IP}"),
    Sample("0841 0000 00*20 00*40", "", "encrypted 802.11"),
    Sample("0805 0000 00*20 00*40", "", "802.11 fragment"),
    Sample(f"8801 0000 00*20 8000 {FIRST}"),
    Sample(f"8801 0000 00*20 8000 ffffffffffff 020000000001 0024 aaaa03 000000 0806 00*30 {FIRST}"),
)
@hardware(801, samples=(Sample(DATA),))
def wlan(packet: Packet) -> Layer | int:
    """Read an 802.11 frame."""
    return _data(packet)


def _wlan_padded(packet: Packet) -> Layer | int:
    return _data(packet, multiple=4)


@ethertype(
    0x2452,
    samples=(Sample(DATA), Sample(f"0841 0000 00*20 {SNAP_IP}"), Sample(f"0841 0000 00*20 12345600 {SNAP_IP} 00*4")),
)
def wlan_decrypted(packet: Packet) -> Layer | int:
    """Read what Intel's drivers give in promiscuous mode: 802.11 frames that they have decrypted, marked or not."""
    return _data(packet, decrypted=True)


@gre_protocol(
    *range(0x8200, 0x8380, 0x10),
    samples=(
        Sample(DATA, "gre PAIR"),
        Sample(f"8801 0000 00*20 8000 {FIRST}", "gre PAIR"),
    ),
)
def aruba(packet: Packet) -> Layer | int:
    """Read what Aruba's access points send to their controllers: 802.11 frames."""
    return _data(packet)


def _data(packet: Packet, *, multiple: int = 1, turned: bool = False, decrypted: bool = False) -> Layer | int:
    """Read an 802.11 data frame's header; what is encrypted stays so.

    The header is padded to a multiple of ``multiple``; some controllers exchange its first two bytes (``turned``).
    """
    control, flags = packet.byte(0), packet.byte(1)
    if turned:
        control, flags = flags, control
    if control & 0x0C != 0x08 or control & 0x40:  # not data, or data without content
        return OUTCOME_NOT_TCP
    size = 24
    if flags & 3 == 3:
        size += 6  # a fourth address, between access points
    aggregated = False
    if control & 0x80:
        aggregated = bool(packet.byte(size) & 0x80)
        size += 2
        if flags & 0x80:
            size += 4
    if flags & 0x40 and not decrypted:
        return packet.undecoded("encrypted 802.11")
    if packet.byte(22) & 15 or flags & 4:
        return packet.undecoded("802.11 fragment")
    packet.skip(-(-size // multiple) * multiple)
    if flags & 0x40 and packet.number(0) not in {0xAAAA, 0x0606}:
        packet.skip(8 if packet.byte(3) & 0x20 else 4)  # what was decrypted still has its initialization vector
    return _aggregate(packet) if aggregated else llc


def _aggregate(packet: Packet) -> Layer | int:
    """Go on in the first frame of an aggregate that looks like TCP, or the first of all; say if there are more."""
    chosen, found, begin = packet.at, 0, packet.at
    for _ in range(MAX_FIELDS):
        if packet.wire - packet.at <= 14 or packet.end - packet.at < 14:
            break
        size = packet.number(12)
        if _is_tcp(packet, packet.at + 14):
            chosen = packet.at if not found else chosen
            found += 1
        packet.at += 14 + size
        packet.at += -(packet.at - begin) % 4
    if found > 1:
        packet.skipped = AGGREGATE
    packet.at = chosen
    size = packet.number(12)
    packet.skip(14)
    packet.bound(size)
    return llc


def _is_tcp(packet: Packet, at: int) -> bool:
    """Whether SNAP, IP and TCP follow one another from ``at`` on."""
    begin = bytes(packet.data[at : min(at + 32, packet.end)])
    if len(begin) < 18 or begin[:6] != b"\xaa\xaa\3\0\0\0":
        return False
    if begin[6:8] == b"\x08\0":
        return begin[17] == 6
    return begin[6:8] == b"\x86\xdd" and begin[14] == 6


@link(
    127,
    "802.11 with radiotap",
    Sample(f"00 00 0800 00000000 {DATA}"),
    Sample(f"00 00 0900 02000000 20 8801 0000 00*20 0000 0000 {SNAP_IP}"),
    Sample(f"00 00 1900 03000080 00000000 00000000 0500000000000000 00 {DATA}"),
)
@hardware(803, samples=(Sample(f"00 00 0800 00000000 {DATA}"),))
def radiotap(packet: Packet) -> Layer | int:
    """Skip the radiotap header (https://www.radiotap.org); its flags say whether the frame is padded."""
    size = packet.number(2, 2, "little")
    present = packet.number(4, 4, "little")
    field = 8
    word = present
    while word & 0x80000000 and field < 4 * MAX_FIELDS:
        word = packet.number(field, 4, "little")
        field += 4
    flags = 0
    if present & 2:
        if present & 1:  # the clock comes first, on a multiple of eight
            field = (field + 7 & ~7) + 8
        flags = packet.byte(field)
    packet.skip(max(size, 8))
    return _wlan_padded if flags & 0x20 else wlan


@link(
    119,
    "802.11 with Prism header",
    Sample(f"44000000 90000000 00*136 {DATA}"),
    Sample(f"80211001 00000040 00*56 {DATA}"),
)
@link(163, "802.11 with AVS header", Sample(f"80211001 00000040 00*56 {DATA}"))
@hardware(802, samples=(Sample(f"44000000 90000000 00*136 {DATA}"),))
def prism(packet: Packet) -> Layer | int:
    """Skip the Prism header, or the AVS header that begins with its own magic."""
    if packet.number(0, 4) & 0xFFFFF000 == 0x80211000:
        packet.skip(packet.number(4, 4))
        return wlan
    size = packet.number(4, 4, "little")
    packet.skip(size if size < 0x10000 else packet.number(4, 4))
    return wlan


# --- tunnels of access points -----------------------------------------------------------------------------------------


@udp_port(
    5247,
    samples=(
        Sample("00100000 00000000 FRAME", "capwap PAIR"),
        Sample(f"00100300 00000000 0108 0000 00*20 {SNAP_IP}", "capwap PAIR"),  # as Cisco turns it
        Sample(f"00100300 00000000 {DATA}", "capwap PAIR"),
        Sample("01000000 16feff 00*30", "", "CAPWAP in DTLS"),
    ),
)
def capwap(packet: Packet) -> Layer | int:
    """Read CAPWAP data (RFC 5415 4.3), where it is not encrypted, and put fragments together."""
    head = packet.number(0, 4)
    if head >> 24 == 1:
        return packet.undecoded("CAPWAP in DTLS")
    if head >> 24:
        return OUTCOME_NOT_TCP
    size = max(8, (head >> 19 & 31) * 4)
    packet.need(size)
    if head & 0x80:
        if packet.end != packet.wire:
            return packet.undecoded("CAPWAP fragment")
        start = packet.at
        key = ("capwap", tuple(packet.path), ends_of(packet), packet.number(4))
        header = bytes(packet.data[start : start + size])
        content = bytes(packet.data[start + size : packet.end])
        whole = packet.fragments.add(
            key, packet.time, (packet.number(6) >> 3) * 8, content, more=not head & 0x40, header=header
        )
        if whole is None:
            return OUTCOME_FRAGMENT
        packet.replace(*whole)
    else:
        packet.skip(size)
    packet.path.append(f"capwap {packet.pair}")
    if not head & 0x100:
        return ethernet
    # Of the two bytes that some exchange, the frame control has the version 0 and the type of data.
    return _data(packet, turned=packet.byte(0) & 0x0F != 0x08 and packet.byte(1) & 0x0F == 0x08)


@udp_port(
    37008,
    samples=(
        Sample("01000001 0a0100 01 FRAME", "tzsp PAIR"),
        Sample(f"01000012 01 {DATA}", "tzsp PAIR"),
    ),
)
def tzsp(packet: Packet) -> Layer | int:
    """Read TaZmen Sniffer Protocol: tagged fields, then a frame of the kind that the header names."""
    kind = packet.number(2)
    if packet.byte(0) != 1 or packet.byte(1) > 1:
        return OUTCOME_NOT_TCP
    packet.path.append(f"tzsp {packet.pair}")
    packet.skip(4)
    for _ in range(MAX_FIELDS):
        tag = packet.byte(0)
        if tag == 1:
            packet.skip(1)
            break
        packet.skip(1 if tag == 0 else 2 + packet.byte(1))
    if kind == 1:
        return ethernet
    return wlan if kind == 18 else OUTCOME_NOT_TCP
