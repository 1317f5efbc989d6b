"""Shares of a timeline: whose a segment is, so that several processes can follow different connections.

Every process numbers the same four-tuple alike, given the same seed: both directions, all its incarnations, and
whatever wears it in some VLAN or tunnel (Wireshark's streams make no difference there) belong to one share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *
from tcptrace_fsm.kernels.table import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

__all__ = ["keys", "pick"]


def keys(segments_words: Words, count: int, seed: int, out_words: Words) -> int:
    """Write the key of each segment's four-tuple: positive, the same in both directions. Returns how many."""
    segments = pointer(segments_words)
    out = pointer(out_words)
    i = 0
    while i < count:
        out[i] = hash_plain(segments, i * SEGMENT_SIZE, seed)
        i += 1
    return count


def pick(
    segments_words: Words, count: int, number: int, shares: int, seed: int, clock_words: Words, out_words: Words
) -> int:
    """Copy the segments of share ``number`` of ``shares``, each with the timeline's clock in place of its marks.

    Parameters
    ----------
    segments, out : int64 arrays
        Segment records; ``out`` has room for as many.
    count : int
    number, shares : int
    seed : int
        Of the hash; odd.
    clock : int64[3]
        The timeline's clock, ns, and how many segments in a row were far behind it; see
        :func:`tcptrace_fsm.kernels.table.set_clock`. Then from where it has first leapt by a day since the last
        segment of this share (see :func:`tcptrace_fsm.kernels.table.leap`): its next brings it along as its side.

    Returns
    -------
    int
        How many were copied.
    """
    segments = pointer(segments_words)
    clock = pointer(clock_words)
    out = pointer(out_words)
    n = 0
    s = 0
    while s < count * SEGMENT_SIZE:
        then = clock[0]
        set_clock(clock, 0, 1, segments[s + S_TIME])
        if not clock[2]:
            clock[2] = leap(then, clock[0])
        if (hash_plain(segments, s, seed) >> 8) % shares == number:
            k = 0
            while k < SEGMENT_SIZE:
                out[n + k] = segments[s + k]
                k += 1
            out[n + S_MARKS] = clock[0]
            out[n + S_SIDE] = clock[2]
            clock[2] = 0
            n += SEGMENT_SIZE
        s += SEGMENT_SIZE
    return n // SEGMENT_SIZE
