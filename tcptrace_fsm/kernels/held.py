"""Records that wait for their counterpart at the other capture point, in a ring and in a list for each way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.sequence import *
from tcptrace_fsm.kernels.ways import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words
    from tcptrace_fsm.kernels.records import Pairing

# No __all__: only other kernels call these.


def slot(number: int, ctl: Words) -> int:
    """Where the waiting record of that number (plus one) lies."""
    return ((number - 1) & (ctl[V_ROOM] - 1)) * HELD_SIZE


def no_longer_open(m: int, held: Words, ways: Words, ctl: Words) -> int:
    """Take a record out of its way's list of open ones, if it is in that."""
    if not held[m + H_LISTED]:
        return 0
    g = held[m + H_WAY] - 1
    before = held[m + H_BEFORE]
    following = held[m + H_AFTER]
    if before:
        held[slot(before, ctl) + H_AFTER] = following
    else:
        ways[g + G_FIRST] = following
    if following:
        held[slot(following, ctl) + H_BEFORE] = before
    else:
        ways[g + G_LAST] = before
    if held[m + H_LISTED] == 2:
        ways[g + G_REPEATS] -= 1
    held[m + H_LISTED] = 0
    return 1


def settle(m: int, fate: int, held: Words, ways: Words, ctl: Words) -> int:
    """Decide a record's fate for good."""
    held[m + H_OPEN] = OPEN_SETTLED
    held[m + S_FATE] = fate
    no_longer_open(m, held, ways, ctl)
    return 0


def arrive(m: int, held: Words, ways: Words, ctl: Words) -> int:
    """A record's counterpart was seen: it arrived, and no ACK tells of other copies of its bytes any more."""
    settle(m, FATE_ARRIVED, held, ways, ctl)
    if held[m + S_ARRIVAL] < held[m + S_TIME]:
        held[m + S_ARRIVAL] = held[m + S_TIME]  # nothing arrives before it was sent: the clocks are that far off
    size = units(m, held)
    if not size:
        return 0
    g = held[m + H_WAY] - 1
    end = low32(held[m + S_SEQ] + size)
    if ways[g + G_TOP] < 0 or after(end, ways[g + G_TOP]) > 0:
        ways[g + G_TOP] = end
    u = ways[g + G_FIRST]
    steps = 0
    while u and steps < 1024 and (ways[g + G_REPEATS] or held[slot(u, ctl) + S_TIME] <= held[m + S_TIME]):
        o = slot(u, ctl)
        if after(held[o + S_SEQ], end) < 0 and after(low32(held[o + S_SEQ] + units(o, held)), held[m + S_SEQ]) > 0:
            held[o + H_AGAIN] = 1
        u = held[o + H_AFTER]
        steps += 1
    return 0


def keep(s: int, pairing: Pairing) -> int:
    """Let the segment at hand wait. Returns its record."""
    segments = pairing.segments
    held = pairing.held
    buckets = pairing.buckets
    ways = pairing.ways
    ctl = pairing.ctl
    bucket = pairing.bucket
    number = ctl[V_TAIL] + 1
    ctl[V_TAIL] = number
    m = slot(number, ctl)
    k = 0
    while k < SEGMENT_SIZE:
        held[m + k] = segments[s + k]
        k += 1
    while k < HELD_SIZE:
        held[m + k] = 0
        k += 1
    held[m + S_FATE] = FATE_UNKNOWN
    held[m + S_ARRIVAL] = -1
    held[m + S_ARRIVAL_FRAME] = -1
    held[m + S_LOST] = 0
    held[m + S_OFFSET] = -1  # the bytes of its capture are not at hand
    held[m + H_POINT] = pairing.point
    held[m + H_BUCKET] = bucket
    held[m + H_OLDER] = buckets[bucket]
    if buckets[bucket]:
        held[slot(buckets[bucket], ctl) + H_NEWER] = number
    buckets[bucket] = number
    g = way_of(m, held, ways, ctl)
    held[m + H_WAY] = g + 1
    ways[g + G_HELD] += 1
    return m


def open_up(m: int, held: Words, ways: Words, ctl: Words) -> int:
    """List a record with sequence space among the open ones of its way."""
    g = held[m + H_WAY] - 1
    number = ctl[V_TAIL]
    seq = held[m + S_SEQ]
    end = low32(seq + units(m, held))
    held[m + H_LISTED] = 1
    if ways[g + G_NEXT] >= 0 and after(seq, ways[g + G_NEXT]) < 0:
        held[m + H_LISTED] = 2
        ways[g + G_REPEATS] += 1
        # Sent before. If the bytes have arrived already, their ACK will tell nothing of this copy.
        if ways[g + G_ACK] >= 0 and after(end, ways[g + G_ACK]) <= 0:
            held[m + H_AGAIN] = 1
        elif ways[g + G_TOP] >= 0 and after(end, ways[g + G_TOP]) <= 0:
            missing = 0
            u = ways[g + G_FIRST]
            steps = 0
            while u and not missing and steps < 256:
                o = slot(u, ctl)
                if after(held[o + S_SEQ], end) < 0 and after(low32(held[o + S_SEQ] + units(o, held)), seq) > 0:
                    missing = 1
                u = held[o + H_AFTER]
                steps += 1
            held[m + H_AGAIN] = 1 - missing
    held[m + H_BEFORE] = ways[g + G_LAST]
    if ways[g + G_LAST]:
        held[slot(ways[g + G_LAST], ctl) + H_AFTER] = number
    else:
        ways[g + G_FIRST] = number
    ways[g + G_LAST] = number
    if ways[g + G_NEXT] >= 0 and after(seq, ways[g + G_NEXT]) > 0:
        k = G_HOLES
        while k < WAY_ENTRY - 2:
            ways[g + k] = ways[g + k + 2]
            k += 1
        ways[g + WAY_ENTRY - 2] = ways[g + G_NEXT]
        ways[g + WAY_ENTRY - 1] = seq
    if ways[g + G_NEXT] < 0 or after(end, ways[g + G_NEXT]) > 0:
        ways[g + G_NEXT] = end
    return 0
