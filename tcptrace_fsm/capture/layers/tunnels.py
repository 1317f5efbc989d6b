"""Take off what lies outside an IP packet: the links and tunnels that the decode kernel does not read.

Each layer is a small function: it reads its header at ``packet.at``, moves past it, and returns the layer inside, or
the frame's outcome when there is none. The tables at the end say which number leads to which layer. A frame is peeled
until TCP is found; the innermost IP packet then goes to the decode kernel, so that a segment is read by one piece of
code whatever was around it.
"""

from __future__ import annotations

from collections.abc import Callable
from socket import AF_INET, AF_INET6, inet_ntop
from typing import TYPE_CHECKING, TypeAlias, Union

from tcptrace_fsm.capture.layers.links import LINK_TYPES
from tcptrace_fsm.kernels.layout import (
    OUTCOME_BAD_IP_EXTENSION,
    OUTCOME_BAD_IP_HEADER,
    OUTCOME_FRAGMENT,
    OUTCOME_NOT_TCP,
    OUTCOME_SHORT_IP,
    OUTCOME_SHORT_LINK,
    OUTCOME_TCP,
    OUTCOME_TOO_DEEP,
    OUTCOME_UNSUPPORTED_LINK,
)

if TYPE_CHECKING:
    from tcptrace_fsm.capture.fragments import Fragments

__all__ = ["Packet", "peel"]

MAX_LAYERS = 64
"""Layers peeled off one frame; nobody means more."""
MAX_FIELDS = 256
"""Fields of variable number read in one header."""

Layer: TypeAlias = Callable[["Packet"], Union["Layer", int]]


class _Short(Exception):  # noqa: N818 - not an error: the bytes end here
    """The bytes end inside a header; ``cut`` says whether the capture cut them off."""

    def __init__(self, cut: bool) -> None:
        self.cut = cut


class Packet:
    """Where the peeling of one frame stands.

    Attributes
    ----------
    data : bytes-like
        What the positions count in: the chunk, or a datagram put together from fragments.
    at, end, wire : int
        Where the current layer begins; one past its last captured byte; one past its last byte on the wire.
    path : list of str
        Encapsulation so far, outermost first.
    ip_at, ip_end, ip_wire : int
        The same three for the innermost IP packet; the last is where all that is around it ends at the latest.
    room : int
        Where all layers so far end at the latest, on the wire.
    error : tuple of int, or None
        Of an ICMP error, where the innermost IP packet is one that it quotes: type | code << 8, MTU or -1, the two
        words of its sender's address.
    whole : bool
        False when ``data`` is not the chunk.
    time : int
        Capture time, ns.
    fragments : Fragments
        The capture's unfinished datagrams.

    """

    __slots__ = (
        "at",
        "data",
        "end",
        "error",
        "fragments",
        "ip_at",
        "ip_end",
        "ip_wire",
        "pair",
        "path",
        "room",
        "time",
        "whole",
        "wire",
    )

    def __init__(self, data: bytes | bytearray, place: tuple[int, int, int], time: int, fragments: Fragments) -> None:
        self.data = data
        self.at, captured, original = place
        self.end = self.at + captured
        self.wire = self.room = self.at + original
        self.time = time
        self.fragments = fragments
        self.path: list[str] = []
        self.pair = ""
        self.ip_at = self.ip_end = self.ip_wire = 0
        self.whole = True
        self.error: tuple[int, int, int, int] | None = None

    def need(self, count: int) -> None:
        """Make sure that ``count`` more bytes were captured."""
        if self.end - self.at < count:
            raise _Short(self.wire - self.at >= count)

    def byte(self, offset: int) -> int:
        """Return the byte at ``offset`` in this layer."""
        self.need(offset + 1)
        return self.data[self.at + offset]

    def number(self, offset: int, size: int = 2, order: str = "big") -> int:
        """Return an unsigned number at ``offset`` in this layer."""
        self.need(offset + size)
        start = self.at + offset
        return int.from_bytes(self.data[start : start + size], "little" if order == "little" else "big")

    def bound(self, size: int) -> None:
        """Note that this layer says to be ``size`` bytes long: nothing in it is longer."""
        self.room = min(self.room, self.at + size)
        self.wire = min(self.wire, self.room)
        self.end = min(self.end, self.room)

    def skip(self, count: int) -> None:
        """Move past ``count`` bytes of this layer."""
        self.need(count)
        self.at += count


def peel(packet: Packet, link: int) -> int:
    """Peel a frame down to the IP packet that holds TCP; ``OUTCOME_TCP`` says that ``packet.ip_at`` is it."""
    layer: Layer | int = _link(link)
    peeled = 0
    try:
        while peeled < MAX_LAYERS:
            if isinstance(layer, int):
                return layer
            layer = layer(packet)
            peeled += 1
    except _Short as short:
        if peeled and not short.cut:
            return OUTCOME_NOT_TCP  # all of it was captured: it only looked like that layer
        return OUTCOME_SHORT_LINK
    return OUTCOME_TOO_DEEP


# --- links ----------------------------------------------------------------------------------------------------------


def _link(number: int) -> Layer | int:
    known = LINK_TYPES.get(number)
    if known is None or not known.layer:
        return OUTCOME_UNSUPPORTED_LINK
    return _KERNEL_LINKS[number] if known.layer == "kernel" else _LINKS[known.layer]


def _ethernet(packet: Packet) -> Layer | int:
    kind = packet.number(12)
    packet.skip(14)
    return _ethertype(kind)


def _ethertype(kind: int) -> Layer | int:
    if kind <= 1500:
        return _llc
    return _ETHERTYPES.get(kind, OUTCOME_NOT_TCP)


def _vlan(packet: Packet) -> Layer | int:
    name, kind = packet.number(0) & 0xFFF, packet.number(2)
    packet.skip(4)
    if name:  # 0 only gives a priority
        packet.path.append(f"vlan {name}")
    return _ethertype(kind)


def _cooked(packet: Packet) -> Layer | int:
    hardware, kind = packet.number(2), packet.number(14)
    packet.skip(16)
    return _cooked_inside(hardware, kind)


def _cooked2(packet: Packet) -> Layer | int:
    kind, hardware = packet.number(0), packet.number(8)
    packet.skip(20)
    return _cooked_inside(hardware, kind)


def _cooked_inside(hardware: int, kind: int) -> Layer | int:
    if hardware in _ARPHRD:
        return _ARPHRD[hardware]
    if kind == 4:  # 802.2 without an Ethernet header
        return _llc
    return _ETHERTYPES.get(kind, OUTCOME_NOT_TCP)


def _null(packet: Packet) -> Layer | int:
    if packet.number(0) == 0xFF03:
        return _ppp
    family = packet.number(0, 4)
    if family >= 1 << 16:
        family = packet.number(0, 4, "little")
    packet.skip(4)
    if family >= 1536:
        return _ETHERTYPES.get(family, OUTCOME_NOT_TCP)
    return _ip if family in {2, 10, 23, 24, 28, 30} else OUTCOME_NOT_TCP


def _llc(packet: Packet) -> Layer | int:
    """Read 802.2 LLC, SNAP (RFC 1042) and RFC 2684's routed form of NLPID."""
    access = packet.number(0)
    if access == 0xAAAA:
        packet.need(8)
        organisation, kind = packet.number(3, 3), packet.number(6)
        packet.skip(8)
        if organisation == 0x0080C2 and kind in {1, 7}:  # bridged Ethernet, with and without its checksum
            packet.skip(2)  # padding (RFC 2684 5.2)
            return _ethernet
        return _ETHERTYPES.get(kind, OUTCOME_NOT_TCP) if organisation in {0, 0x0000F8} else OUTCOME_NOT_TCP
    if access == 0x0606 and packet.byte(2) == 3:
        packet.skip(3)
        return _ip
    if access == 0xFEFE and packet.byte(2) == 3:
        packet.skip(3)
        return _nlpid
    return OUTCOME_NOT_TCP


def _nlpid(packet: Packet) -> Layer | int:
    kind = packet.byte(0)
    packet.skip(1)
    if kind in {0xCC, 0x8E}:
        return _ip
    if kind == 0x80:
        return _snap
    return _ppp if kind == 0xCF else OUTCOME_NOT_TCP


def _snap(packet: Packet) -> Layer | int:
    organisation, kind = packet.number(0, 3), packet.number(3)
    packet.skip(5)
    if organisation == 0x0080C2:
        return _ethernet if kind in {1, 7} else OUTCOME_NOT_TCP
    return _ETHERTYPES.get(kind, OUTCOME_NOT_TCP) if organisation == 0 else OUTCOME_NOT_TCP


def _token_ring(packet: Packet) -> Layer | int:
    routed = packet.byte(8) & 0x80
    packet.skip(14)
    if routed:
        packet.skip(packet.byte(0) & 0x1F)
    return _llc


def _fddi(packet: Packet) -> Layer | int:
    control = packet.byte(0)
    packet.skip(13)
    return _llc if control & 0x70 == 0x50 else OUTCOME_NOT_TCP


def _ip_over_fc(packet: Packet) -> Layer | int:
    packet.skip(16)
    return _llc


def _slip(packet: Packet) -> Layer | int:
    packet.need(1)
    if packet.byte(0) >> 4 not in {4, 6}:  # direction and compressed header, 16 bytes, as BSD writes them
        packet.skip(16)
    return _ip


def _ppp(packet: Packet) -> Layer | int:
    """Read PPP (RFC 1661), with or without its HDLC address, with a one- or two-byte protocol."""
    if packet.number(0) == 0xFF03:
        packet.skip(2)
    if packet.byte(0) & 1:
        kind = packet.byte(0)
        packet.skip(1)
    else:
        kind = packet.number(0)
        packet.skip(2)
    return _PPP.get(kind, OUTCOME_NOT_TCP)


def _ppp_directed(packet: Packet) -> Layer | int:
    packet.skip(1)
    return _LINKS["ppp"]


def _pppoe(packet: Packet) -> Layer | int:
    if packet.byte(0) != 0x11 or packet.byte(1) != 0:
        return OUTCOME_NOT_TCP
    packet.path.append(f"pppoe {packet.number(2)}")
    packet.skip(6)
    return _ppp


def _cisco_hdlc(packet: Packet) -> Layer | int:
    kind = packet.number(2)
    packet.skip(4)
    return _ethertype(kind) if kind > 1500 else OUTCOME_NOT_TCP


def _cisco_hdlc_directed(packet: Packet) -> Layer | int:
    packet.skip(1)
    return _cisco_hdlc


def _frame_relay(packet: Packet) -> Layer | int:
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
        return _ethertype(kind) if kind > 1500 else OUTCOME_NOT_TCP
    packet.skip(1)
    if packet.byte(0) == 0:  # a pad byte
        packet.skip(1)
    return _nlpid


def _frame_relay_directed(packet: Packet) -> Layer | int:
    packet.skip(1)
    return _frame_relay


def _enc(packet: Packet) -> Layer | int:
    packet.skip(12)
    return _ip


def _pflog(packet: Packet) -> Layer | int:
    packet.skip(packet.byte(0) + 3 & ~3)
    return _ip


def _nflog(packet: Packet) -> Layer | int:
    """Read https://www.tcpdump.org/linktypes/LINKTYPE_NFLOG.html; the byte order is the capturing machine's."""
    packet.skip(4)
    for _ in range(MAX_FIELDS):
        size, kind = packet.number(0, 2, "little"), packet.number(2, 2, "little")
        if size < 4 or size > 0x1000 > packet.number(0):
            size, kind = packet.number(0), packet.number(2)
        if size < 4:
            return OUTCOME_NOT_TCP
        if kind & 0x7FFF == 9:
            packet.skip(4)
            return _ip
        packet.skip(size + 3 & ~3)
    return OUTCOME_NOT_TCP


def _netanalyzer(packet: Packet) -> Layer | int:
    packet.skip(4)
    return _ethernet


def _ppi(packet: Packet) -> Layer | int:
    size, link = packet.number(2, 2, "little"), packet.number(4, 4, "little")
    packet.skip(max(size, 8))
    return _link(link) if link != 192 else OUTCOME_NOT_TCP


def _pktap(packet: Packet) -> Layer | int:
    size, link = packet.number(0, 4, "little"), packet.number(8, 4, "little")
    packet.skip(max(size, 12))
    return _link(link) if link != 258 else OUTCOME_NOT_TCP


def _ip_over_infiniband(packet: Packet) -> Layer | int:
    """Read RFC 4391's four bytes, behind a destination of 20 bytes or a header of 40 where one is there."""
    for _ in range(2):
        if packet.number(2) or packet.number(0) not in _ETHERTYPES:
            packet.skip(20)
    kind = packet.number(0)
    packet.skip(4)
    return _ethertype(kind)


def _sun_atm(packet: Packet) -> Layer | int:
    """Skip SunATM's four bytes; LANE has an address of its own before the Ethernet frame."""
    kind = packet.byte(0) & 15
    packet.skip(4)
    if kind == 1:
        packet.skip(2)
        return _ethernet
    return _llc if kind == 2 else OUTCOME_NOT_TCP


def _epon(packet: Packet) -> Layer | int:
    packet.skip(8)
    return _ethernet


def _docsis(packet: Packet) -> Layer | int:
    """Read DOCSIS packet data (frame type 0), with its extended header skipped."""
    control = packet.byte(0)
    if control & 0xC0:
        return OUTCOME_NOT_TCP
    packet.skip(6 + (packet.byte(1) if control & 1 else 0))
    return _ethernet


def _switch_tag(packet: Packet, size: int) -> Layer | int:
    """Skip a switch chip's tag between the addresses and the Ethertype."""
    packet.skip(12 + size)
    kind = packet.number(0)
    packet.skip(2)
    return _ethertype(kind)


def _broadcom_tag(packet: Packet) -> Layer | int:
    return _switch_tag(packet, 4)


def _broadcom_tag_first(packet: Packet) -> Layer | int:
    packet.skip(4)
    return _ethernet


def _marvell_tag(packet: Packet) -> Layer | int:
    return _switch_tag(packet, 4)


def _marvell_ethertype_tag(packet: Packet) -> Layer | int:
    return _switch_tag(packet, 8)


def _erf(packet: Packet) -> Layer | int:
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
        return _ethernet
    if kind == 1:
        return _cisco_hdlc if packet.byte(0) in {0x0F, 0x8F} else _ppp
    return _ip if kind in {22, 23} else OUTCOME_NOT_TCP


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
        return _ip
    return inside


def _juniper_ethernet(packet: Packet) -> Layer | int:
    return _juniper(packet, _ethernet)


def _juniper_ppp(packet: Packet) -> Layer | int:
    return _juniper(packet, _ppp)


def _juniper_frame_relay(packet: Packet) -> Layer | int:
    return _juniper(packet, _frame_relay)


def _juniper_cisco_hdlc(packet: Packet) -> Layer | int:
    return _juniper(packet, _cisco_hdlc)


# --- 802.11 ---------------------------------------------------------------------------------------------------------


def _radiotap(packet: Packet) -> Layer | int:
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
    return _wlan_padded if flags & 0x20 else _wlan


def _prism(packet: Packet) -> Layer | int:
    """Skip the Prism header, or the AVS header that begins with its own magic."""
    if packet.number(0, 4) & 0xFFFFF000 == 0x80211000:
        packet.skip(packet.number(4, 4))
        return _wlan
    size = packet.number(4, 4, "little")
    packet.skip(size if size < 0x10000 else packet.number(4, 4))
    return _wlan


def _wlan_padded(packet: Packet) -> Layer | int:
    return _wlan_data(packet, 4)


def _wlan(packet: Packet) -> Layer | int:
    return _wlan_data(packet, 1)


def _wlan_turned(packet: Packet) -> Layer | int:
    """Read a frame whose first two bytes an access point's controller has exchanged."""
    return _wlan_data(packet, 1, turned=True)


def _wlan_data(packet: Packet, multiple: int, *, turned: bool = False) -> Layer | int:
    """Read an 802.11 data frame's header; what is encrypted stays so."""
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
    if flags & 0x40 or packet.byte(22) & 15 or flags & 4:  # encrypted, or a fragment
        return OUTCOME_NOT_TCP
    packet.skip(-(-size // multiple) * multiple)
    if aggregated:  # the first of several; its own addresses and length stand in front
        packet.skip(14)
    return _llc


# --- between link and IP --------------------------------------------------------------------------------------------


def _mpls(packet: Packet) -> Layer | int:
    """Skip a label stack (RFC 3032); labels differ by direction, so the path does not name them."""
    packet.path.append("mpls")
    for _ in range(MAX_LAYERS):
        last = packet.byte(2) & 1
        packet.skip(4)
        if last:
            break
    version = packet.byte(0) >> 4
    if version in {4, 6}:
        return _ip
    # A pseudowire with Ethernet inside, behind a control word that begins with 0 (RFC 4385) or not: what would be the
    # Ethertype tells.
    if packet.number(12) in _ETHERTYPES:
        return _ethernet
    if version == 0 and packet.number(16) in _ETHERTYPES:
        packet.skip(4)
        return _ethernet
    return OUTCOME_NOT_TCP


def _fabric_path(packet: Packet) -> Layer | int:
    packet.skip(2)
    return _ethernet


def _backbone(packet: Packet) -> Layer | int:
    packet.path.append(f"pbb {packet.number(1, 3)}")
    packet.skip(4)
    return _ethernet


def _nsh(packet: Packet) -> Layer | int:
    """Skip a service function chain's header (RFC 8300)."""
    size, kind = (packet.byte(1) & 0x3F) * 4, packet.byte(3)
    packet.skip(max(size, 8))
    return _NEXT_PROTOCOL.get(kind, OUTCOME_NOT_TCP)


def _tag_before_ethertype(packet: Packet) -> Layer | int:
    kind = packet.number(4)
    packet.skip(6)
    return _ethertype(kind)


def _batman(packet: Packet) -> Layer | int:
    """Read batman-adv's unicast and broadcast packets (compatibility version 15)."""
    kind = packet.byte(0)
    if packet.byte(1) != 15 or kind not in _BATMAN:
        return OUTCOME_NOT_TCP
    packet.path.append("batman")
    packet.skip(_BATMAN[kind])
    return _ethernet


_BATMAN = {0x01: 14, 0x40: 10, 0x42: 18}
"""Header size of the packet types that carry frames."""


def _cisco_metadata(packet: Packet) -> Layer | int:
    kind = packet.number(6)
    packet.skip(8)
    return _ethertype(kind)


def _trill(packet: Packet) -> Layer | int:
    packet.skip(6 + (packet.number(0) >> 6 & 0x1F) * 4)
    return _ethernet


def _macsec(packet: Packet) -> Layer | int:
    """Read through 802.1AE where it only authenticates."""
    control = packet.byte(0)
    if control & 0x0C:
        return OUTCOME_NOT_TCP
    packet.skip(14 if control & 0x20 else 6)
    kind = packet.number(0)
    packet.skip(2)
    return _ethertype(kind)


def _erspan(packet: Packet) -> Layer | int:
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
    return _ethernet


# --- IP and what it may carry ---------------------------------------------------------------------------------------


def _ip(packet: Packet) -> Layer | int:
    if packet.end - packet.at < 1:
        return OUTCOME_SHORT_IP
    version = packet.data[packet.at] >> 4
    if version == 4:
        return _ipv4(packet)
    return _ipv6(packet) if version == 6 else OUTCOME_BAD_IP_HEADER


def _ipv4(packet: Packet) -> Layer | int:
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
        _replace(packet, header, whole[1])
    elif part & 0x1FFF:
        return OUTCOME_FRAGMENT
    else:
        packet.at = start + head
    return _IP_PROTOCOLS.get(protocol, OUTCOME_NOT_TCP)


def _ipv6(packet: Packet) -> Layer | int:
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
    while follows in {0, 43, 44, 51, 60, 135, 139, 140}:
        if packet.end - packet.at < 8:
            return OUTCOME_SHORT_IP if packet.wire - packet.at >= 8 else OUTCOME_BAD_IP_EXTENSION
        part = packet.number(2)
        if follows == 44 and part & 0xFFF9:
            if packet.end == packet.wire and packet.end - packet.at > 8:
                header = bytearray(data[start : packet.at])
                header[pointer - start] = packet.byte(0)
                key = (tuple(packet.path), bytes(data[start + 8 : start + 40]), packet.number(4, 4), 6)
                content = bytes(data[packet.at + 8 : packet.end])
                whole = packet.fragments.add(
                    key, packet.time, part & 0xFFF8, content, more=bool(part & 1), header=bytes(header)
                )
                if whole is None:
                    return OUTCOME_FRAGMENT
                header = bytearray(whole[0])
                size = len(header) - 40 + len(whole[1])
                header[4:6] = (size if size < 65536 else 0).to_bytes(2, "big")
                follows = header[pointer - start] if pointer - start < len(header) else 59
                start = 0
                _replace(packet, header, whole[1])
                data = packet.data
                pointer = 0
                continue
            return OUTCOME_FRAGMENT
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
    return _IP_PROTOCOLS.get(follows, OUTCOME_NOT_TCP)


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


def _replace(packet: Packet, header: bytearray, payload: bytes) -> None:
    """Go on in the datagram that fragments have made."""
    packet.data = bytes(header) + payload
    packet.whole = False
    packet.at = len(header)
    packet.end = packet.wire = packet.room = len(packet.data)
    packet.ip_at, packet.ip_end, packet.ip_wire = 0, packet.end, packet.wire


def _tcp(_packet: Packet) -> int:
    return OUTCOME_TCP


def _udp(packet: Packet) -> Layer | int:
    low, high = sorted((packet.number(0), packet.number(2)))
    size = packet.number(4)
    if size >= 8:  # 0 says nothing (RFC 2675 4)
        packet.bound(size)
    packet.skip(8)
    if low < 1024:  # the tunnel's port was only somebody's ephemeral port
        return OUTCOME_NOT_TCP
    return _UDP_PORTS[low] if low in _UDP_PORTS else _UDP_PORTS.get(high, OUTCOME_NOT_TCP)


def _icmp(packet: Packet) -> Layer | int:
    """Read the beginning of the datagram that an ICMP error quotes (RFC 792), where it is TCP."""
    packet.need(28)
    kind, code = packet.byte(0), packet.byte(1)
    if packet.error or kind not in {3, 4, 11, 12} or packet.byte(17) != 6:
        return OUTCOME_NOT_TCP
    mtu = packet.number(6) if (kind, code) == (3, 4) else 0  # 0: a router from before RFC 1191
    packet.error = (kind | code << 8, mtu or -1, *_sender(packet))
    packet.skip(8)
    return _ip


def _icmp6(packet: Packet) -> Layer | int:
    """Read the beginning of the packet that an ICMPv6 error quotes (RFC 4443 3), where it is TCP."""
    packet.need(48)
    kind, code = packet.byte(0), packet.byte(1)
    if packet.error or not 1 <= kind <= 4 or packet.byte(14) != 6:
        return OUTCOME_NOT_TCP
    packet.error = (kind | code << 8, packet.number(4, 4) if kind == 2 else -1, *_sender(packet))
    packet.skip(8)
    return _ip


def _sender(packet: Packet) -> tuple[int, int]:
    """Give the source address of the innermost IP packet as two signed words."""
    start = packet.ip_at
    if packet.data[start] >> 4 == 4:
        return 0, int.from_bytes(packet.data[start + 12 : start + 16], "big")
    high, low = (int.from_bytes(packet.data[start + i : start + i + 8], "big", signed=True) for i in (8, 16))
    return high, low


def _ip_in_ip(packet: Packet) -> Layer | int:
    packet.path.append(f"ipip {packet.pair}")
    return _ip


def _ipv6_in_ip(packet: Packet) -> Layer | int:
    packet.path.append("6in4" if "." in packet.pair else f"6in6 {packet.pair}")
    return _ip


def _authentication(packet: Packet) -> Layer | int:
    kind = packet.byte(0)
    packet.skip((packet.byte(1) + 2) * 4)
    return _IP_PROTOCOLS.get(kind, OUTCOME_NOT_TCP)


def _ether_ip(packet: Packet) -> Layer | int:
    packet.path.append(f"etherip {packet.pair}")
    packet.skip(2)
    return _ethernet


def _ethernet_in_ip(packet: Packet) -> Layer | int:
    packet.path.append(f"ethernet {packet.pair}")
    return _ethernet


def _gre(packet: Packet) -> Layer | int:
    """Read GRE (RFC 2784, RFC 2890, RFC 1701's routing), PPTP's version 1 (RFC 2637)."""
    flags, kind = packet.number(0), packet.number(2)
    packet.skip(4)
    if flags & 0xC000:
        packet.skip(4)  # checksum and offset, present when either flag is
    name = f"gre {packet.pair}"
    if flags & 0x2000:
        key = packet.number(0, 4)
        packet.skip(4)
        if flags & 7 == 0:  # version 1 has a call number there, another one in each direction
            name += f" key {key}"
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
        return _ethernet
    if kind == 0x883E:  # WCCP: a redirect header unless IP begins at once
        if packet.byte(0) >> 4 != 4:
            packet.skip(4)
        return _ip
    return _ETHERTYPES.get(kind, OUTCOME_NOT_TCP)


def _vxlan(packet: Packet) -> Layer | int:
    """Read VXLAN (RFC 7348)."""
    if not packet.byte(0) & 0x08:
        return OUTCOME_NOT_TCP
    packet.path.append(f"vxlan {packet.number(4, 3)} {packet.pair}")
    packet.skip(8)
    return _ethernet


def _vxlan_gpe(packet: Packet) -> Layer | int:
    kind = packet.byte(3)
    packet.path.append(f"vxlan {packet.number(4, 3)} {packet.pair}")
    packet.skip(8)
    return _NEXT_PROTOCOL.get(kind, OUTCOME_NOT_TCP)


def _geneve(packet: Packet) -> Layer | int:
    """Read Geneve (RFC 8926)."""
    if packet.byte(0) & 0xC0:
        return OUTCOME_NOT_TCP
    size, kind = (packet.byte(0) & 0x3F) * 4, packet.number(2)
    packet.path.append(f"geneve {packet.number(4, 3)} {packet.pair}")
    packet.skip(8 + size)
    return _ETHERTYPES.get(kind, OUTCOME_NOT_TCP)


def _gtp(packet: Packet) -> Layer | int:
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
        return _ip
    return _ppp if packet.byte(0) == 0xFF else OUTCOME_NOT_TCP


def _teredo(packet: Packet) -> Layer | int:
    """Read Teredo (RFC 4380): an authentication and an origin part may stand first."""
    if packet.number(0) == 1:
        packet.skip(13 + packet.byte(2) + packet.byte(3))
    if packet.number(0) == 0:
        packet.skip(8)
    if packet.byte(0) >> 4 != 6:
        return OUTCOME_NOT_TCP
    packet.path.append("teredo")
    return _ip


def _ayiya(packet: Packet) -> Layer | int:
    kind = packet.byte(3)
    packet.path.append(f"ayiya {packet.pair}")
    packet.skip(8 + (1 << (packet.byte(0) >> 4)) + (packet.byte(1) >> 4) * 4)
    return _IP_PROTOCOLS.get(kind, OUTCOME_NOT_TCP)


def _l2tp(packet: Packet) -> Layer | int:
    """Read L2TP data messages (RFC 2661 3.1)."""
    flags = packet.number(0)
    if flags & 0x8000 or flags & 15 != 2:
        return OUTCOME_NOT_TCP
    packet.path.append(f"l2tp {packet.pair}")
    packet.skip(2 + (2 if flags & 0x4000 else 0) + 4 + (4 if flags & 0x0800 else 0))
    if flags & 0x0200:
        packet.skip(2 + packet.number(0))
    return _ppp


def _mpls_in_udp(packet: Packet) -> Layer | int:
    packet.path.append(f"udp {packet.pair}")
    return _mpls


def _capwap(packet: Packet) -> Layer | int:
    """Read CAPWAP data (RFC 5415 4.3), unencrypted and in one piece."""
    head = packet.number(0, 4)
    if head >> 24 or head & 0x80:  # DTLS or another version; a fragment
        return OUTCOME_NOT_TCP
    packet.path.append(f"capwap {packet.pair}")
    packet.skip(max(8, (head >> 19 & 31) * 4))
    return _wlan_turned if head & 0x100 else _ethernet


def _tzsp(packet: Packet) -> Layer | int:
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
        return _ethernet
    return _wlan if kind == 18 else OUTCOME_NOT_TCP


# --- which number leads to which layer ------------------------------------------------------------------------------

_KERNEL_LINKS: dict[int, Layer] = {
    0: _null,
    1: _ethernet,
    12: _ip,
    14: _ip,
    101: _ip,
    108: _null,
    113: _cooked,
    228: _ip,
    229: _ip,
    276: _cooked2,
}

_LINKS: dict[str, Layer] = {
    "broadcom_tag": _broadcom_tag,
    "broadcom_tag_first": _broadcom_tag_first,
    "cisco_hdlc": _cisco_hdlc,
    "cisco_hdlc_directed": _cisco_hdlc_directed,
    "docsis": _docsis,
    "enc": _enc,
    "epon": _epon,
    "erf": _erf,
    "fddi": _fddi,
    "frame_relay": _frame_relay,
    "frame_relay_directed": _frame_relay_directed,
    "ip_over_fc": _ip_over_fc,
    "ip_over_infiniband": _ip_over_infiniband,
    "juniper_cisco_hdlc": _juniper_cisco_hdlc,
    "juniper_ethernet": _juniper_ethernet,
    "juniper_frame_relay": _juniper_frame_relay,
    "juniper_ppp": _juniper_ppp,
    "llc": _llc,
    "marvell_ethertype_tag": _marvell_ethertype_tag,
    "marvell_tag": _marvell_tag,
    "netanalyzer": _netanalyzer,
    "nflog": _nflog,
    "pflog": _pflog,
    "pktap": _pktap,
    "ppi": _ppi,
    "ppp": _ppp,
    "ppp_directed": _ppp_directed,
    "pppoe": _pppoe,
    "prism": _prism,
    "radiotap": _radiotap,
    "slip": _slip,
    "sun_atm": _sun_atm,
    "token_ring": _token_ring,
    "wlan": _wlan,
}


def _cooked_without_protocol(_packet: Packet) -> int:
    return OUTCOME_NOT_TCP


_ARPHRD: dict[int, Layer] = {801: _wlan, 802: _prism, 803: _radiotap, 824: _cooked_without_protocol}

_ETHERTYPES: dict[int, Layer] = {
    0x0800: _ip,
    0x86DD: _ip,
    0x8100: _vlan,
    0x88A8: _vlan,
    0x9100: _vlan,
    0x9200: _vlan,
    0x9300: _vlan,
    0x22EB: _erspan,
    0x22F3: _trill,
    0x6558: _ethernet,
    0x4305: _batman,
    0x880B: _ppp,
    0x8847: _mpls,
    0x8848: _mpls,
    0x8864: _pppoe,
    0x8870: _llc,
    0x88BE: _erspan,
    0x88E5: _macsec,
    0x88E7: _backbone,
    0x8903: _fabric_path,
    0x8909: _cisco_metadata,
    0x8926: _tag_before_ethertype,
    0x892F: _tag_before_ethertype,
    0x894F: _nsh,
}

_PPP: dict[int, Layer] = {0x21: _ip, 0x57: _ip, 0x281: _mpls, 0x283: _mpls}

_NEXT_PROTOCOL: dict[int, Layer] = {1: _ip, 2: _ip, 3: _ethernet, 4: _nsh, 5: _mpls}

_IP_PROTOCOLS: dict[int, Layer] = {
    1: _icmp,
    4: _ip_in_ip,
    6: _tcp,
    17: _udp,
    41: _ipv6_in_ip,
    47: _gre,
    51: _authentication,
    58: _icmp6,
    97: _ether_ip,
    137: _mpls_in_udp,
    143: _ethernet_in_ip,
}

_UDP_PORTS: dict[int, Layer] = {
    1701: _l2tp,
    2152: _gtp,
    3386: _gtp,
    3544: _teredo,
    4754: _gre,
    4789: _vxlan,
    4790: _vxlan_gpe,
    5072: _ayiya,
    5247: _capwap,
    6081: _geneve,
    6635: _mpls_in_udp,
    8472: _vxlan,
    37008: _tzsp,
}
