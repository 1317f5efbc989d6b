"""Tunnels that lie in one another: the way through them, where it is plain IPv4 in IPv4 or in GRE.

What a tunnel is called is for :mod:`tcptrace_fsm.capture.layers` to say, and it reads whatever is not plain. A capture
may hold a dozen headers around each packet, the same ones again and again: this kernel finds the packet inside, and
says by which ends it went, so that the name needs to be made only once for each way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.header import *
from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Buffer, Words

__all__ = ["way_inside"]


def first_packet(data: Buffer, frames: Words, f: int) -> int:
    """Where the IPv4 packet of an Ethernet or raw frame begins; -1 where it is another frame."""
    at = frames[f + F_OFFSET]
    link = frames[f + F_LINK]
    if link == LINK_ETHERNET:
        if frames[f + F_CAPTURED] < 34 or uint16(data, at + 12) != 0x0800:
            return -1
        return at + 14
    return at if link == LINK_RAW and frames[f + F_CAPTURED] >= 20 else -1


def note_end(data: Buffer, at: int, kind: int, key: int, way: Words, k: int) -> int:
    """Write a tunnel by its kind and key, and the addresses of the IPv4 header at ``at``, the lower one first."""
    source = uint32(data, at + 12)
    destination = uint32(data, at + 16)
    way[k] = kind
    way[k + 1] = key
    way[k + 2] = source if source < destination else destination
    way[k + 3] = destination if source < destination else source
    return k + 4


def way_inside(data_bytes: Buffer, frames_words: Words, f: int, most: int, way_words: Words) -> int:
    """Go through the tunnels of the frame whose record begins at ``f``, down to a whole IPv4 packet that holds TCP.

    Parameters
    ----------
    data : bytes-like
        The chunk.
    frames : int64 array
        Frame records.
    f : int
    most : int
        Tunnels that are gone through.
    way : int64[3 + 4 * most]
        Where the packet inside begins and ends, and where all that is around it ends at the latest, on the wire; then
        for each tunnel its IP protocol, its key or -1, and its two ends.

    Returns
    -------
    int
        How many words were written; 0 where anything at all is out of the ordinary, or there is no tunnel.
    """
    data = octets(data_bytes)
    frames = pointer(frames_words)
    way = pointer(way_words)
    at = first_packet(data, frames, f)
    end = frames[f + F_OFFSET] + frames[f + F_CAPTURED]
    room = frames[f + F_OFFSET] + frames[f + F_ORIGINAL]
    wire = room
    k = 3
    while at >= 0 and end - at >= 20:
        head = (data[at] & 15) * 4
        total = uint16(data, at + 2)
        if data[at] >> 4 != 4 or head < 20 or total < head or uint16(data, at + 6) & 0x3FFF:
            return 0
        if end - at < head:
            return 0
        wire = at + total
        if wire < room:
            room = wire
        if wire < end:
            end = wire
        protocol = data[at + 9]
        if protocol == 6:
            way[0] = at
            way[1] = end
            way[2] = room
            return k if k > 3 else 0
        if k >= 3 + 4 * most:
            return 0
        inside = at + head
        key = -1
        if protocol == 47:
            if end - inside < 8 or uint16(data, inside + 2) != 0x0800:
                return 0
            flags = uint16(data, inside)
            if flags & ~0x2000:
                return 0
            if flags:
                key = uint32(data, inside + 4)
                inside += 4
            inside += 4
        elif protocol != 4:
            return 0
        k = note_end(data, at, protocol, key, way, k)
        at = inside
    return 0
