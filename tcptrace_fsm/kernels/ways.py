"""Ways between two capture points: one for each direction of a four-tuple, and who its sender is near."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.sequence import *
from tcptrace_fsm.kernels.table import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

# No __all__: only other kernels call these.


def after(a: int, b: int) -> int:
    """How far the 32-bit number ``a`` lies after ``b``; negative where before (RFC 9293 section 3.4)."""
    ahead = low32(a - b)
    return ahead - ((ahead >> 31) << 32)


def units(record: int, held: Words) -> int:
    """How much sequence space a segment takes: payload, SYN and FIN."""
    flags = held[record + S_FLAGS]
    return held[record + S_LEN] + (1 if flags & TCP_SYN else 0) + (1 if flags & TCP_FIN else 0)


def find_way(ports: int, net: int, key: int, back: int, words: Words, ways: Words, ctl: Words) -> int:
    """The entry of one direction between two sockets, or (``ports`` -1) two hosts; made where there is none.

    At ``key`` of ``words`` stand the addresses as in a segment, ``S_SRC_HI`` to ``S_DST_LO``; with ``back`` it is the
    opposite direction that is asked for.
    """
    source = key + 2 * back
    destination = key + 2 - 2 * back
    src_hi = words[source]
    src_lo = words[source + 1]
    dst_hi = words[destination]
    dst_lo = words[destination + 1]
    h = stir(ctl[V_SEED], src_lo, ctl[V_SEED])
    h = stir(h, dst_lo, ctl[V_SEED])
    h = stir(h, ports, ctl[V_SEED])
    h = stir(h, src_hi ^ net, ctl[V_SEED])
    h = stir(h, dst_hi, ctl[V_SEED])
    i = h & (ctl[V_WAYS] - 1)
    g = i * WAY_ENTRY
    while ways[g + G_USED]:
        if (
            ways[g + G_USED] == h + 1
            and ways[g + G_PORTS] == ports
            and ways[g + G_SRC_LO] == src_lo
            and ways[g + G_DST_LO] == dst_lo
            and ways[g + G_SRC_HI] == src_hi
            and ways[g + G_DST_HI] == dst_hi
            and ways[g + G_NET] == net
        ):
            return g
        i = (i + 1) & (ctl[V_WAYS] - 1)
        g = i * WAY_ENTRY
    k = 0
    while k < WAY_ENTRY:
        ways[g + k] = 0
        k += 1
    ways[g + G_USED] = h + 1
    ways[g + G_PORTS] = ports
    ways[g + G_SRC_HI] = src_hi
    ways[g + G_SRC_LO] = src_lo
    ways[g + G_DST_HI] = dst_hi
    ways[g + G_DST_LO] = dst_lo
    ways[g + G_NET] = net
    ways[g + G_NEXT] = -1
    ways[g + G_TOP] = -1
    ways[g + G_ACK] = -1
    k = G_HOLES
    while k < WAY_ENTRY:
        ways[g + k] = -1
        k += 1
    ctl[V_WAYS_USED] += 1
    return g


def way_of(m: int, held: Words, ways: Words, ctl: Words) -> int:
    """The direction that a segment belongs to."""
    return find_way(held[m + S_PORTS], held[m + S_NET], m + S_SRC_HI, 0, held, ways, ctl)


def way_back(m: int, held: Words, ways: Words, ctl: Words) -> int:
    """The direction opposite to a segment's."""
    ports = held[m + S_PORTS]
    return find_way((ports & 65535) << 16 | ports >> 16, held[m + S_NET], m + S_SRC_HI, 1, held, ways, ctl)


def hosts_of(m: int, held: Words, back: int, ways: Words, ctl: Words) -> int:
    """The direction between the hosts of a segment, or (``back``) the opposite one."""
    return find_way(-1, held[m + S_NET], m + S_SRC_HI, back, held, ways, ctl)


def learn(m: int, point: int, held: Words, ways: Words, ctl: Words) -> int:
    """The sender of record ``m`` is at ``point``: that holds for its connection, and for all between these hosts."""
    ways[way_of(m, held, ways, ctl) + G_POINT] = point + 1
    ways[way_back(m, held, ways, ctl) + G_POINT] = 2 - point
    ways[hosts_of(m, held, 0, ways, ctl) + G_POINT] = point + 1
    ways[hosts_of(m, held, 1, ways, ctl) + G_POINT] = 2 - point
    return 0
