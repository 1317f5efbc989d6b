"""Read a frame down to its TCP header, and the TCP header with all its options.

This is the fast way, for what most captures are made of: Ethernet with VLAN tags, Linux cooked, loopback and raw
frames, IPv4 with options, IPv6 with extension headers. Whatever else may hold TCP (other links, tunnels, fragments) is
answered with ``OUTCOME_PEEL``: the layers of :mod:`tcptrace_fsm.capture.layers` are taken off, and the IP packet inside
comes back here as a raw frame.

No byte is read before its place has been compared with the end of what was captured.

Sources: RFC 791, RFC 8200, RFC 9293 3.1, RFC 7323, RFC 2018, IEEE 802.1Q; link types as on
https://www.tcpdump.org/linktypes.html.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.header import *
from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Buffer, Words

__all__ = ["decode", "hides_tcp"]


def finds_tcp(data: Buffer, at: int, end: int) -> int:
    """Whether an IP packet that holds TCP begins soon behind ``at``, where nothing is read: 1 or 0.

    The checksum of its header proves an IPv4 packet; its length one without, and one of IPv6.
    """
    last = at + 64 if at + 64 <= end - 40 else end - 40  # no header that anybody puts before a packet is longer
    while at <= last:
        if data[at] == 0x45 and data[at + 9] == 6:
            total = 0
            for i in range(0, 20, 2):
                total += uint16(data, at + i)
            if (total & 0xFFFF) + (total >> 16) == 0xFFFF:
                return 1
            # Left for the network card to fill in: then its length has to be right, but for Ethernet's padding.
            if uint16(data, at + 10) == 0 and 40 <= uint16(data, at + 2) <= end - at <= uint16(data, at + 2) + 46:
                return 1
        if data[at] >> 4 == 6 and data[at + 6] == 6 and 20 <= uint16(data, at + 4) == end - at - 40:
            return 1
        at += 1
    return 0


def hides_tcp(data_bytes: Buffer, at: int, end: int) -> int:
    """Whether TCP stands behind a header at ``at`` that nothing here reads: 1 or 0."""
    return finds_tcp(octets(data_bytes), at, end)


def unread(data: Buffer, at: int, end: int) -> int:
    """The outcome of what nothing here reads: ``OUTCOME_PEEL`` where TCP seems to be in it, to be counted by name."""
    return OUTCOME_PEEL if finds_tcp(data, at, end) else OUTCOME_NOT_TCP


def tunnel_protocol(protocol: int) -> int:
    """Tell whether an IP protocol number may carry IP inside (1) or not (0)."""
    if protocol in {47, 4, 41}:  # GRE, IPv4, IPv6
        return 1
    if protocol in {137, 97, 143}:  # MPLS, EtherIP, Ethernet
        return 1
    return 0


def tunnel_port(port: int) -> int:
    """Tell whether a UDP port is that of a tunnel which we can take off (1) or not (0)."""
    if port < 1701:
        return 0
    if port in {1701, 2152, 3386, 3544, 4754, 4789, 4790}:
        return 1  # L2TP, GTP-U and its version 0, Teredo, GRE, VXLAN, VXLAN-GPE
    if port in {5072, 5247, 6081, 6635, 8472, 37008}:
        return 1  # AYIYA, CAPWAP, Geneve, MPLS, VXLAN before its port was assigned, TZSP
    return 0


def udp_inside(data: Buffer, at: int, end: int) -> int:
    """Judge the UDP datagram at ``at``, by its ports and, for what Teredo clients send each other, by what is in it."""
    if end - at < 8:
        return OUTCOME_NOT_TCP
    if tunnel_port(uint16(data, at + 2)) or tunnel_port(uint16(data, at)):
        return OUTCOME_PEEL
    if end - at < 48:
        return OUTCOME_NOT_TCP
    p = at + 8
    if (data[p] >> 4) == 6 and uint16(data, p + 4) + 48 == uint16(data, at + 4):
        for i in range(8, 25, 16):  # RFC 4380 2.6: one end's address tells
            if uint32(data, p + i) == 0x20010000:
                return OUTCOME_PEEL
    if uint16(data, at) == 4500 or uint16(data, at + 2) == 4500:
        if uint32(data, p):  # RFC 3948 2.2: 0 stands for IKE
            return OUTCOME_ENCRYPTED
    return unread(data, p, end)


def quotes_tcp(data: Buffer, at: int, end: int, six: int) -> int:
    """Judge the ICMP message at ``at``: ``OUTCOME_PEEL`` if it is an error that quotes enough of a TCP header.

    Eight bytes hold ports and sequence number. To Wireshark, of sixteen bytes on, what is quoted belongs to a stream,
    and may begin one.
    """
    if end - at < 8 + 20 + 8:
        return OUTCOME_NOT_TCP
    kind = data[at]
    if six:
        if 1 <= kind <= 4 and data[at + 8] >> 4 == 6 and data[at + 14] == 6 and end - at >= 8 + 40 + 8:
            return OUTCOME_PEEL
        return OUTCOME_NOT_TCP
    if kind in {3, 4, 11, 12} and data[at + 8] >> 4 == 4 and data[at + 17] == 6:
        return OUTCOME_PEEL
    return OUTCOME_NOT_TCP


def tunnel_ethertype(kind: int) -> int:
    """Tell whether an Ethertype may carry IP behind a header that this kernel does not read (1) or not (0)."""
    if kind < 1536:  # a length: only LLC can follow
        return 1
    if kind in {0x8847, 0x8848, 0x8864, 0x880B}:  # MPLS, PPPoE session, PPP
        return 1
    if kind in {0x8903, 0x894F, 0x88E7, 0x8926, 0x892F}:
        return 1  # FabricPath, NSH, 802.1ah, VN-tag, HSR
    if kind in {0x8909, 0x6558, 0x88BE, 0x22EB, 0x8870}:
        return 1  # Cisco metadata, bridged Ethernet, ERSPAN II and III, LLC in jumbo frames
    if kind in {0x22F3, 0x88E5, 0x4305}:  # TRILL, MACsec, batman-adv
        return 1
    if kind in {0x2452, 0x893F}:  # decrypted 802.11, 802.1BR
        return 1
    return 0


def decode_ipv4(data: Buffer, at: int, end: int, wire: int, path: int, segments: Words, s: int) -> int:
    """Read the IPv4 packet at ``at``, captured up to ``end``, on the wire up to ``wire``. Returns the outcome."""
    if end - at < 20:
        return OUTCOME_SHORT_IP
    head = (data[at] & 15) * 4
    if (data[at] >> 4) != 4 or head < 20:
        return OUTCOME_BAD_IP_HEADER
    total = uint16(data, at + 2)
    if total == 0:  # left for the network card to fill in (segmentation offload)
        total = wire - at
    if total < head:
        return OUTCOME_BAD_IP_HEADER
    protocol = data[at + 9]
    part = uint16(data, at + 6) & 0x3FFF
    if part:  # a fragment, or more fragments to come
        if protocol not in {6, 17} and tunnel_protocol(protocol) == 0:
            return OUTCOME_NOT_TCP
        if end - at >= total > head:
            return OUTCOME_PEEL
        if part & 0x1FFF:
            return OUTCOME_FRAGMENT
        if protocol != 6:  # the first fragment of a tunnel's packet
            return OUTCOME_PEEL
    elif protocol != 6:
        if protocol == 17:
            return udp_inside(data, at + head, end)
        if tunnel_protocol(protocol):
            return OUTCOME_PEEL
        if protocol == 50:
            return OUTCOME_ENCRYPTED
        if protocol == 1:
            return quotes_tcp(data, at + head, end, 0)
        if protocol != 51 or end - at < head + 12:
            return unread(data, at + head, end)
        # An authentication header (RFC 4302) leaves what it protects readable.
        protocol = data[at + head]
        head = head + (data[at + head + 1] + 2) * 4
        if head > total:
            return OUTCOME_BAD_IP_HEADER
        if protocol == 17 or tunnel_protocol(protocol):
            return OUTCOME_PEEL
    if protocol != 6:
        return OUTCOME_NOT_TCP
    if end - at < head:
        return OUTCOME_SHORT_IP
    segments[s + S_NET] = path * 2
    segments[s + S_SRC_HI] = 0
    segments[s + S_SRC_LO] = uint32(data, at + 12)
    segments[s + S_DST_HI] = 0
    segments[s + S_DST_LO] = uint32(data, at + 16)
    segments[s + S_IP_ID] = uint16(data, at + 4)
    segments[s + S_TTL] = data[at + 8]
    doubts = 0
    if head > 20:
        doubts = DOUBT_ROUTED  # perhaps: a source route is an option
    if part:
        doubts = doubts | DOUBT_PART
    if end - at > total:
        end = at + total  # what follows the packet is Ethernet's padding
    segments[s + IP_ROOM] = wire - at - head
    segments[s + IP_DOUBTS] = doubts
    return decode_tcp(data, at + head, end, total - head, segments, s)


def decode_ipv6(data: Buffer, at: int, end: int, wire: int, path: int, segments: Words, s: int) -> int:
    """Read the IPv6 packet at ``at``, captured up to ``end``, on the wire up to ``wire``. Returns the outcome."""
    if end - at < 40:
        return OUTCOME_SHORT_IP
    if (data[at] >> 4) != 6:
        return OUTCOME_BAD_IP_HEADER
    total = uint16(data, at + 4) + 40
    if total == 40:  # a jumbogram (RFC 2675), or left for the network card to fill in
        total = wire - at
    if end - at > total:
        end = at + total
    follows = data[at + 6]
    p = at + 40
    doubts = 0
    while follows != 6:
        if follows in {0, 43, 60, 135, 139, 140}:
            if p + 8 > at + total:
                return OUTCOME_BAD_IP_EXTENSION
            if p + 8 > end:
                return OUTCOME_SHORT_IP
            if follows == 43 and data[p + 3] != 0:
                doubts = doubts | DOUBT_ROUTED
            follows = data[p]
            p = p + (data[p + 1] + 1) * 8
        elif follows == 51:  # authentication header: its length counts in fours (RFC 4302)
            if p + 12 > at + total:
                return OUTCOME_BAD_IP_EXTENSION
            if p + 12 > end:
                return OUTCOME_SHORT_IP
            follows = data[p]
            p = p + (data[p + 1] + 2) * 4
        elif follows == 44:
            if p + 8 > at + total:
                return OUTCOME_BAD_IP_EXTENSION
            if p + 8 > end:
                return OUTCOME_SHORT_IP
            part = uint16(data, p + 2) & 0xFFF9
            if part:
                if end - at >= total > p + 8 - at:
                    return OUTCOME_PEEL
                return OUTCOME_FRAGMENT
            follows = data[p]
            p = p + 8
        elif follows == 17:
            return udp_inside(data, p, end)
        elif tunnel_protocol(follows):
            return OUTCOME_PEEL
        elif follows == 50:
            return OUTCOME_ENCRYPTED
        elif follows == 58:
            return quotes_tcp(data, p, end, 1)
        else:
            return unread(data, p, end)
        if p > at + total:
            return OUTCOME_BAD_IP_EXTENSION
    segments[s + S_NET] = path * 2 + 1
    for i in range(2):
        q = at + 8 + 16 * i
        segments[s + S_SRC_HI + 2 * i] = signed64(
            uint32(data, q),
            uint32(data, q + 4),
        )
        segments[s + S_SRC_LO + 2 * i] = signed64(
            uint32(data, q + 8),
            uint32(data, q + 12),
        )
    segments[s + S_IP_ID] = -1
    segments[s + S_TTL] = data[at + 7]
    segments[s + IP_ROOM] = wire - p
    segments[s + IP_DOUBTS] = doubts
    return decode_tcp(data, p, end, at + total - p, segments, s)


def decode_frame(data: Buffer, frames: Words, f: int, path: int, segments: Words, s: int) -> int:
    """Read the frame whose record begins at ``f`` into the segment record at ``s``. Returns the outcome."""
    at = frames[f + F_OFFSET]
    end = at + frames[f + F_CAPTURED]
    wire = at + frames[f + F_ORIGINAL]
    link = frames[f + F_LINK]
    if link == LINK_ETHERNET:
        if end - at < 14:
            return OUTCOME_SHORT_LINK
        kind = uint16(data, at + 12)
        at += 14
    elif link == LINK_SLL:
        if end - at < 16:
            return OUTCOME_SHORT_LINK
        kind = uint16(data, at + 2)  # ARPHRD_: for some, the protocol field means something else
        if kind in {778, 801, 802, 803, 824}:
            return OUTCOME_PEEL
        kind = uint16(data, at + 14)
        at += 16
    elif link == LINK_SLL2:
        if end - at < 20:
            return OUTCOME_SHORT_LINK
        kind = uint16(data, at + 8)
        if kind in {778, 801, 802, 803, 824}:
            return OUTCOME_PEEL
        kind = uint16(data, at)
        at += 20
    elif link in (LINK_RAW, LINK_RAW_BSD, LINK_RAW_OPENBSD, LINK_IPV4, LINK_IPV6):
        if end - at < 1:
            return OUTCOME_SHORT_LINK
        kind = 0x86DD if (data[at] >> 4) == 6 else 0x0800
    elif link in (LINK_NULL, LINK_LOOP):
        if end - at < 4:
            return OUTCOME_SHORT_LINK
        # In the byte order of the machine that captured; the number is small, so the zeros tell.
        if data[at] == 0 and data[at + 1] == 0:
            kind = uint16(data, at + 2)
        elif data[at + 2] == 0 and data[at + 3] == 0:
            kind = (data[at + 1] << 8) | data[at]
        else:
            return OUTCOME_PEEL
        if kind == 2:
            kind = 0x0800
        elif kind in {24, 28, 30, 10, 23}:  # AF_INET6 of the BSDs, Linux, Windows
            kind = 0x86DD
        elif kind < 1536:
            return OUTCOME_NOT_TCP
        at += 4
    elif link < 0:  # marked by a filter
        return OUTCOME_FILTERED
    else:
        return OUTCOME_PEEL
    tags = 0
    names = 0
    while kind in {0x8100, 0x88A8, 0x9100, 0x9200, 0x9300}:
        if end - at < 4:
            return OUTCOME_SHORT_LINK
        name = uint16(data, at) & 0xFFF
        kind = uint16(data, at + 2)
        at += 4
        if name:  # 0 only gives a priority (IEEE 802.1Q 9.6)
            if tags == 4:
                return OUTCOME_PEEL
            names = (names << 12) | name
            tags += 1
    if tags:
        path = (names << 3) | tags
    if kind == 0x0800:
        if end - at >= 1 and (data[at] >> 4) == 6:
            return decode_ipv6(data, at, end, wire, path, segments, s)
        return decode_ipv4(data, at, end, wire, path, segments, s)
    if kind == 0x86DD:
        return decode_ipv6(data, at, end, wire, path, segments, s)
    if kind < 1536 and end - at >= 2:  # LLC: SNAP, IP's own access point and NLPID can lead to IP
        access = uint16(data, at)
        if access not in {0xAAAA, 0x0606, 0xFEFE}:
            return OUTCOME_NOT_TCP
    if tunnel_ethertype(kind):
        return OUTCOME_PEEL
    return unread(data, at, end)


def decode(
    data_bytes: Buffer,
    frames_words: Words,
    count: int,
    first: int,
    path: int,
    segments_words: Words,
    outcomes_words: Words,
) -> int:
    """Decode the frames of one chunk.

    Parameters
    ----------
    data_bytes : bytes-like
        The chunk that ``F_OFFSET`` counts in.
    frames_words : int64[count * FRAME_SIZE]
        Frame records; ``F_OUTCOME`` is written.
    count : int
        How many.
    first : int
        Frame number of the first.
    path : int
        Encapsulation code of the frames, see :mod:`tcptrace_fsm.capture.layers.links`; VLAN tags found here replace a
        0.
    segments_words : int64[count * SEGMENT_SIZE]
        Filled with one segment record for each TCP segment, in order.
    outcomes_words : int64[OUTCOMES]
        Counters, added to.

    Returns
    -------
    int
        Segment records filled.

    """
    data = octets(data_bytes)
    frames = pointer(frames_words)
    segments = pointer(segments_words)
    outcomes = pointer(outcomes_words)
    made = 0
    for i in range(count):
        f = i * FRAME_SIZE
        s = made * SEGMENT_SIZE
        outcome = decode_frame(data, frames, f, path, segments, s)
        frames[f + F_OUTCOME] = outcome
        outcomes[outcome] += 1
        if outcome == OUTCOME_TCP:
            if frames[f + F_LINK] in (LINK_RAW, LINK_RAW_BSD, LINK_RAW_OPENBSD) and segments[s + S_NET] < 2:
                segments[s + S_OPTIONS] = segments[s + S_OPTIONS] | OPT_BARE_LINK
            segments[s + S_FRAME] = first + i
            segments[s + S_TIME] = frames[f + F_TIME]
            made += 1
    return made
