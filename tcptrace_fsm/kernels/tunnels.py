"""Tunnels that lie in one another: the way through them, where it is plain.

:mod:`tcptrace_fsm.capture.layers` reads whatever may lie around an IP packet, frame by frame. This kernel goes through
what networks carry most, a batch at a time, and writes the path as the layers would: VLAN tags, MPLS, PPPoE, IP in IP,
GRE, VXLAN, Geneve, GTP-U. Where anything at all is out of the ordinary, it leaves the frame to them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.decode import decode_frame, decode_ipv4, decode_ipv6, tunnel_ethertype, tunnel_port
from tcptrace_fsm.kernels.header import *
from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *
from tcptrace_fsm.kernels.names import *
from tcptrace_fsm.kernels.paths import code_of

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Buffer, Words

__all__ = ["decode_tunnels", "merge_segments"]


# --- one layer --------------------------------------------------------------------------------------------------------


def by_kind(kind: int) -> int:
    """What to read behind an Ethertype, ``READ_``."""
    if kind in {0x0800, 0x86DD}:
        return READ_IP
    if kind in {0x8100, 0x88A8, 0x9100, 0x9200, 0x9300}:
        return READ_TAG
    if kind in {0x8847, 0x8848}:
        return READ_LABELS
    if kind == 0x6558:
        return READ_ETHERNET
    return READ_PPPOE if kind == 0x8864 else READ_NOTHING


def by_link(link: int) -> int:
    """What frames of a link type begin with, ``READ_``."""
    if link == LINK_ETHERNET:
        return READ_ETHERNET
    return READ_IP if link in {LINK_RAW, LINK_RAW_BSD, LINK_RAW_OPENBSD, LINK_IPV4, LINK_IPV6} else READ_NOTHING


def bind(size: int, way: Words) -> int:
    """Note that the layer at hand says to be ``size`` bytes long: nothing in it is longer."""
    way[WY_ROOM] = min(way[WY_ROOM], way[WY_AT] + size)
    way[WY_WIRE] = min(way[WY_WIRE], way[WY_ROOM])
    way[WY_END] = min(way[WY_END], way[WY_ROOM])
    return way[WY_END]


def bind_ip(size: int, way: Words) -> int:
    """The same of an IP packet: on the wire it ends where it says, whatever is around it."""
    way[WY_WIRE] = way[WY_AT] + size
    way[WY_ROOM] = min(way[WY_ROOM], way[WY_WIRE])
    way[WY_END] = min(way[WY_END], way[WY_WIRE])
    return way[WY_END]


def read_tag(data: Buffer, way: Words) -> int:
    """A VLAN tag (IEEE 802.1Q); 0 only gives a priority."""
    at = way[WY_AT]
    if way[WY_END] - at < 4:
        return READ_NOTHING
    name = uint16(data, at) & 0xFFF
    if name:
        if not begin_name(way):
            return READ_NOTHING
        way[WY_OTHERS] -= 1
        way[WY_TAGS] += 1
        put_name(NAME_VLAN, way)
        put_letter(32, way)
        put_number(name, way)
    way[WY_AT] = at + 4
    return by_kind(uint16(data, at + 2))


def begins_ip(data: Buffer, at: int, end: int, wire: int) -> int:
    """Whether an IP packet is at ``at``, by the sum of its header or by its length: 1 or 0."""
    if data[at] >> 4 == 4:
        head = (data[at] & 15) * 4
        if head < 20 or end - at < head or uint16(data, at + 2) < head or uint16(data, at + 2) > wire - at:
            return 0
        return 1 if ones_sum(data, at, head) % 65535 == 0 else 0
    return 1 if data[at] >> 4 == 6 and end - at >= 40 and uint16(data, at + 4) + 40 == wire - at else 0


def read_labels(data: Buffer, way: Words) -> int:
    """A stack of MPLS labels (RFC 3032) with IP behind; labels differ by direction, so the path does not name them."""
    if not begin_name(way):
        return READ_NOTHING
    put_name(NAME_MPLS, way)
    at = way[WY_AT]
    last = 0
    n = 0
    while not last and n < MOST_LAYERS:
        if way[WY_END] - at < 4:
            return READ_NOTHING
        last = data[at + 2] & 1
        at += 4
        n += 1
    if not last or way[WY_END] - at < 20:
        return READ_NOTHING
    way[WY_AT] = at
    if begins_ip(data, at, way[WY_END], way[WY_WIRE]):
        return READ_IP
    kind = uint16(data, at + 12)  # Ethernet's, if it is that
    if data[at] >> 4 not in {4, 6} or tunnel_ethertype(kind) or by_kind(kind):
        return READ_NOTHING
    return READ_IP


def read_pppoe(data: Buffer, way: Words) -> int:
    """A PPPoE session packet (RFC 2516) with IP in PPP."""
    at = way[WY_AT]
    if way[WY_END] - at < 8 or uint16(data, at) != 0x1100 or not begin_name(way):
        return READ_NOTHING
    put_name(NAME_PPPO, way)
    put_name(NAME_E, way)
    put_number(uint16(data, at + 2), way)
    way[WY_AT] = at + 8
    return READ_IP if uint16(data, at + 6) in {0x21, 0x57} else READ_NOTHING


def read_gre(data: Buffer, way: Words) -> int:
    """GRE (RFC 2784, RFC 2890) with checksum, key and number, or without."""
    at = way[WY_AT]
    if way[WY_END] - at < 4:
        return READ_NOTHING
    flags = uint16(data, at)
    size = 4 + (4 if flags & 0x8000 else 0) + (4 if flags & 0x2000 else 0) + (4 if flags & 0x1000 else 0)
    if flags & ~0xB000 or way[WY_END] - at < size or not begin_name(way):
        return READ_NOTHING
    put_name(NAME_GRE, way)
    put_pair(data, way)
    if flags & 0x2000:
        put_name(NAME_KEY, way)
        put_letter(32, way)
        put_number(uint32(data, at + (8 if flags & 0x8000 else 4)), way)
    way[WY_AT] = at + size
    return by_kind(uint16(data, at + 2))


def read_number24(data: Buffer, at: int) -> int:
    """A number of three bytes."""
    return uint32(data, at) >> 8


def read_vxlan(data: Buffer, way: Words) -> int:
    """VXLAN (RFC 7348)."""
    at = way[WY_AT]
    if way[WY_END] - at < 8 or not data[at] & 8 or not begin_name(way):
        return READ_NOTHING
    put_name(NAME_VXLA, way)
    put_name(NAME_N, way)
    put_number(read_number24(data, at + 4), way)
    put_letter(32, way)
    put_pair(data, way)
    way[WY_AT] = at + 8
    return READ_ETHERNET


def read_geneve(data: Buffer, way: Words) -> int:
    """Geneve (RFC 8926)."""
    at = way[WY_AT]
    if way[WY_END] - at < 8 or data[at] & 0xC0:
        return READ_NOTHING
    size = 8 + (data[at] & 0x3F) * 4
    if way[WY_END] - at < size or not begin_name(way):
        return READ_NOTHING
    put_name(NAME_GENE, way)
    put_name(NAME_VE, way)
    put_number(read_number24(data, at + 4), way)
    put_letter(32, way)
    put_pair(data, way)
    way[WY_AT] = at + size
    return by_kind(uint16(data, at + 2))


def read_gtp(data: Buffer, way: Words) -> int:
    """GTP-U (3GPP TS 29.281): G-PDUs. The tunnel's number differs by direction, so the path has none."""
    at = way[WY_AT]
    if way[WY_END] - at < 8 or data[at] >> 4 != 3 or data[at + 1] != 255 or not begin_name(way):
        return READ_NOTHING
    put_name(NAME_GTP, way)
    put_pair(data, way)
    flags = data[at]
    bind(8 + uint16(data, at + 2), way)
    end = way[WY_END]
    at += 8
    if flags & 7:
        at += 4
        if end < at:
            return READ_NOTHING
        kind = data[at - 1] if flags & 4 else 0
        while kind:
            size = data[at] * 4 if end > at else 0
            if size == 0 or end - at < size:
                return READ_NOTHING
            kind = data[at + size - 1]
            at += size
    way[WY_AT] = at
    return READ_IP if end > at and data[at] >> 4 in {4, 6} else READ_NOTHING


def read_udp(data: Buffer, way: Words) -> int:
    """UDP: the lower port tells what is in it, or else the upper one."""
    at = way[WY_AT]
    if way[WY_END] - at < 8:
        return READ_NOTHING
    low = min(uint16(data, at), uint16(data, at + 2))
    port = low if tunnel_port(low) else max(uint16(data, at), uint16(data, at + 2))
    if low < 1024:
        return READ_NOTHING
    if uint16(data, at + 4) >= 8:
        bind(uint16(data, at + 4), way)
    way[WY_AT] = at + 8
    if port in {4789, 8472}:
        return read_vxlan(data, way)
    if port in {2152, 3386}:
        return read_gtp(data, way)
    return read_geneve(data, way) if port == 6081 else READ_NOTHING


def take_ends(data: Buffer, one: int, other: int, size: int, way: Words) -> int:
    """Note the two addresses of an IP packet, the lower one first. Returns which that is, 0 or 1."""
    i = 0
    while i < size - 1 and data[one + i] == data[other + i]:
        i += 1
    swap = 1 if data[one + i] > data[other + i] else 0
    way[WY_SIX] = 1 if size == 16 else 0
    way[WY_LOW] = other if swap else one
    way[WY_HIGH] = one if swap else other
    return swap


def read_protocol(data: Buffer, protocol: int, way: Words) -> int:
    """What to read behind an IP header, ``READ_``; IP in IP is named here."""
    if protocol == 6:
        return READ_TCP
    if way[WY_SIX] and (is_four_in_six(data, way[WY_LOW]) or is_four_in_six(data, way[WY_HIGH])):
        return READ_NOTHING
    if protocol == 17:
        return READ_UDP
    if protocol == 47:
        return READ_GRE
    if protocol not in {4, 41} or not begin_name(way):
        return READ_NOTHING
    if protocol == 41 and not way[WY_SIX]:
        put_name(NAME_6IN4, way)
        return READ_IP
    put_name(NAME_IPIP if protocol == 4 else NAME_6IN6, way)
    put_letter(32, way)
    put_pair(data, way)
    return READ_IP


def read_ip(data: Buffer, way: Words) -> int:
    """IPv4 (RFC 791) or IPv6 (RFC 8200), whole and without extension headers."""
    at = way[WY_AT]
    captured = way[WY_END] - at
    if captured < 20:
        return READ_NOTHING
    way[WY_IP] = at
    if data[at] >> 4 == 6:
        if captured < 40 or not uint16(data, at + 4):
            return READ_NOTHING
        bind_ip(uint16(data, at + 4) + 40, way)
        take_ends(data, at + 8, at + 24, 16, way)
        way[WY_AT] = at + 40
        return read_protocol(data, data[at + 6], way)
    head = (data[at] & 15) * 4
    total = uint16(data, at + 2)
    if data[at] >> 4 != 4 or head < 20 or total < head or uint16(data, at + 6) & 0x3FFF or captured < head:
        return READ_NOTHING
    bind_ip(total, way)
    take_ends(data, at + 12, at + 16, 4, way)
    way[WY_AT] = at + head
    return read_protocol(data, data[at + 9], way)


# --- frames -----------------------------------------------------------------------------------------------------------


def read_layer(what: int, data: Buffer, way: Words) -> int:
    """Read one layer: what comes next, ``READ_``."""
    if what == READ_IP:
        return read_ip(data, way)
    if what == READ_ETHERNET:
        at = way[WY_AT]
        if way[WY_END] - at < 14:
            return READ_NOTHING
        way[WY_AT] = at + 14
        return by_kind(uint16(data, at + 12))
    if what == READ_TAG:
        return read_tag(data, way)
    if what == READ_UDP:
        return read_udp(data, way)
    if what == READ_GRE:
        return read_gre(data, way)
    return read_labels(data, way) if what == READ_LABELS else read_pppoe(data, way)


def goes_through(data: Buffer, frames: Words, f: int, way: Words) -> int:
    """Go through the frame whose record begins at ``f``, down to a whole IP packet that holds TCP: 1, or 0."""
    at = frames[f + F_OFFSET]
    way[WY_AT] = at
    way[WY_END] = at + frames[f + F_CAPTURED]
    way[WY_WIRE] = at + frames[f + F_ORIGINAL]
    way[WY_ROOM] = way[WY_WIRE]
    way[WY_LETTERS] = 0
    way[WY_TAGS] = 0
    way[WY_OTHERS] = 0
    what = by_link(frames[f + F_LINK])
    n = 0
    while what not in {READ_NOTHING, READ_TCP}:
        n += 1
        if n > MOST_LAYERS:
            return 0
        what = read_layer(what, data, way)
    # Tags alone have codes of their own kind, up to four of them.
    return 1 if what == READ_TCP and (way[WY_OTHERS] or way[WY_TAGS] > 4) else 0


def decode_inside(data: Buffer, frames: Words, f: int, way: Words, code: int, segments: Words, s: int) -> int:
    """Decode the packet that was found, by its path's code. Returns the outcome."""
    at = way[WY_IP]
    if way[WY_SIX]:
        outcome = decode_ipv6(data, at, way[WY_END], way[WY_ROOM], code, segments, s)
    else:
        outcome = decode_ipv4(data, at, way[WY_END], way[WY_ROOM], code, segments, s)
    if outcome == OUTCOME_PEEL:  # it has just been seen to be TCP, in name only
        outcome = OUTCOME_NOT_TCP
    if outcome == OUTCOME_TCP:
        segments[s + S_OPTIONS] = segments[s + S_OPTIONS] | OPT_BARE_LINK
    frames[f + F_OUTCOME] = outcome
    return outcome


def decode_tunnels(
    data_bytes: Buffer,
    frames_words: Words,
    count: int,
    way_words: Words,
    paths_words: Words,
    segments_words: Words,
    outcomes_words: Words,
) -> int:
    """Read what `decode` left of a batch of frames, as far as it is plain; and look again at broken TCP headers.

    Parameters
    ----------
    data : bytes-like
        The chunk.
    frames : int64[count * FRAME_SIZE]
        Frame records with their outcomes; those of frames that are read here are written.
    count : int
    way : int64[WY_SIZE]
        The caller sets ``WY_FIRST`` and ``WY_KEEPS``. ``WY_NEXT`` is the frame to begin with, and on return the one
        that comes next: fewer than ``count`` where there was no room for another path. ``WY_BROKEN`` is counted on.
    paths : int64 array
        The paths that were met, :mod:`.paths`.
    segments : int64[count * SEGMENT_SIZE]
        Filled with segment records.
    outcomes : int64[OUTCOMES]
        Counters, changed where a frame's outcome does.

    Returns
    -------
    int
        Segment records filled.
    """
    data = octets(data_bytes)
    frames = pointer(frames_words)
    way = pointer(way_words)
    paths = pointer(paths_words)
    segments = pointer(segments_words)
    outcomes = pointer(outcomes_words)
    keeps = way[WY_KEEPS]
    made = 0
    i = way[WY_NEXT]
    while i < count:
        f = i * FRAME_SIZE
        s = made * SEGMENT_SIZE
        outcome = frames[f + F_OUTCOME]
        segments[s + S_FLAGS] = 0
        if outcome == OUTCOME_PEEL and goes_through(data, frames, f, way):
            code = code_of(way, WY_TEXT, way[WY_LETTERS], paths)
            if not code:
                break
            outcomes[OUTCOME_PEEL] -= 1
            outcome = decode_inside(data, frames, f, way, code, segments, s)
            outcomes[outcome] += 1
        elif keeps and outcome in {OUTCOME_SHORT_TCP, OUTCOME_BAD_TCP_HEADER}:
            outcome = decode_frame(data, frames, f, 0, segments, s)
        else:
            i += 1
            continue
        if outcome == OUTCOME_TCP or (keeps and segments[s + S_FLAGS] & TCP_BROKEN):
            segments[s + S_FRAME] = way[WY_FIRST] + i
            segments[s + S_TIME] = frames[f + F_TIME]
            way[WY_BROKEN] += 1 if segments[s + S_FLAGS] & TCP_BROKEN else 0
            made += 1
        i += 1
    way[WY_NEXT] = i
    return made


def merge_segments(count: int, ours: Words, more: int, found: Words, out: Words) -> int:
    """Merge two lists of segment records, each in order of its frames; none has both. Returns how many there are."""
    i = 0
    j = 0
    k = 0
    while i < count or j < more:
        theirs = 1 if i >= count else 0
        if i < count and j < more and found[j * SEGMENT_SIZE + S_FRAME] <= ours[i * SEGMENT_SIZE + S_FRAME]:
            theirs = 1
        n = 0
        while n < SEGMENT_SIZE:
            out[k + n] = found[j * SEGMENT_SIZE + n] if theirs else ours[i * SEGMENT_SIZE + n]
            n += 1
        j += theirs
        i += 1 - theirs
        k += SEGMENT_SIZE
    return count + more
