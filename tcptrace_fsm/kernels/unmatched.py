"""What became of a segment whose counterpart has not come, and when a record leaves the ring."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.held import *
from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.sequence import *
from tcptrace_fsm.kernels.ways import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

# No __all__: only other kernels call these.


def running(point: int, time: int, ctl: Words) -> int:
    """Whether the capture at ``point`` was certainly being taken at that time: 1 or 0."""
    return 1 if ctl[V_BEGAN + point] <= time <= ctl[V_ENDED + point] else 0


def lacking(point: int, ctl: Words) -> int:
    """Whether the capture at ``point`` lacks frames that passed there: then what it does not show proves nothing."""
    return 1 if ctl[V_MISSES + point] or ctl[V_FOUND + point] else 0


def passed_over(m: int, held: Words, ways: Words) -> int:
    """Whether a segment that only its receiver's point has fits what its sender's capture shows as missing: 1 or 0.

    A pure ACK leaves no gap; that somebody makes one up is less likely than that a capture lacks one.
    """
    flags = held[m + S_FLAGS]
    if flags & (TCP_SYN | TCP_RST):
        return 0
    size = units(m, held)
    if not size:
        return 1
    g = held[m + H_WAY] - 1
    seq = held[m + S_SEQ]
    end = low32(seq + size)
    if ways[g + G_NEXT] < 0 or after(seq, ways[g + G_NEXT]) >= 0:
        return 1
    k = G_HOLES
    while k < WAY_ENTRY:
        if ways[g + k] >= 0 and after(seq, ways[g + k]) >= 0 and after(end, ways[g + k + 1]) <= 0:
            return 1
        k += 2
    return 0


def judge(m: int, held: Words, ways: Words, ctl: Words) -> int:
    """No counterpart will come any more: what became of the segment, by what is known now."""
    point = held[m + H_POINT]
    other = 1 - point
    at = ways[held[m + H_WAY] - 1 + G_POINT]
    time = held[m + S_TIME]
    if not at:
        return settle(m, FATE_UNKNOWN, held, ways, ctl)
    if at != point + 1:
        held[m + S_ARRIVAL] = time
        held[m + S_ARRIVAL_FRAME] = held[m + S_FRAME]
        if running(other, time - ctl[V_LEAST], ctl) and not lacking(other, ctl) and not passed_over(m, held, ways):
            return settle(m, FATE_FOREIGN, held, ways, ctl)
        # Its sender's capture lacks it. It left at least so long before.
        held[m + S_TIME] = time - ctl[V_LEAST]
        if held[m + S_TIME] < ctl[V_LAST]:
            held[m + S_TIME] = ctl[V_LAST] if ctl[V_LAST] < time else time
        ctl[V_FOUND + other] += running(other, time - ctl[V_LEAST], ctl)
        return settle(m, FATE_ARRIVED, held, ways, ctl)
    if held[m + H_OPEN] == OPEN_ACKED:
        held[m + S_ARRIVAL] = time + ctl[V_LEAST]
        ctl[V_FOUND + other] += running(other, time + ctl[V_LEAST], ctl)
        return settle(m, FATE_MISSED, held, ways, ctl)
    missing = units(m, held) - held[m + H_COVERED]
    if held[m + H_COVERED] and (held[m + H_END_SEEN] or not held[m + S_FLAGS] & TCP_FIN):
        held[m + S_LOST] = missing
        return settle(m, FATE_PARTLY, held, ways, ctl)
    if not held[m + H_COVERED]:
        if not running(other, time + ctl[V_LEAST], ctl):
            return settle(m, FATE_UNKNOWN, held, ways, ctl)
        if lacking(other, ctl) and not held[m + H_AGAIN]:
            return settle(m, FATE_UNKNOWN, held, ways, ctl)
    held[m + S_LOST] = missing if missing < held[m + S_LEN] else held[m + S_LEN]
    held[m + S_ARRIVAL] = -1
    held[m + S_ARRIVAL_FRAME] = -1
    return settle(m, FATE_LOST, held, ways, ctl)


def give_out(at: int, held: Words, ways: Words, out: Words, ctl: Words) -> int:
    """Write the oldest waiting record to ``out``; it is remembered for a while."""
    number = ctl[V_HEAD] + 1
    m = slot(number, ctl)
    if held[m + H_OPEN] != OPEN_SETTLED:
        judge(m, held, ways, ctl)
    k = 0
    while k < SEGMENT_SIZE:
        out[at + k] = held[m + k]
        k += 1
    if held[m + S_TIME] > ctl[V_LAST]:
        ctl[V_LAST] = held[m + S_TIME]
    ctl[V_HEAD] = number
    return 0


def forget(held: Words, buckets: Words, ways: Words, ctl: Words) -> int:
    """Let go of the oldest record that was given out."""
    ctl[V_KEPT] += 1
    m = slot(ctl[V_KEPT], ctl)
    older = held[m + H_OLDER]
    newer = held[m + H_NEWER]
    if older:
        held[slot(older, ctl) + H_NEWER] = newer
    if newer:
        held[slot(newer, ctl) + H_OLDER] = older
    else:
        buckets[held[m + H_BUCKET]] = older
    ways[held[m + H_WAY] - 1 + G_HELD] -= 1
    return 0
