"""Shares of a timeline: whose a segment is, so that several processes can follow different connections.

Every process numbers the same four-tuple alike, given the same seed: both directions, all its incarnations, and
whatever wears it in some VLAN or tunnel (Wireshark's streams make no difference there) belong to one share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *
from tcptrace_fsm.kernels.table import *
from tcptrace_fsm.kernels.timeline import stamp

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

__all__ = ["keys", "pick", "stamp_all"]


def keys(segments_words: Words, count: int, seed: int, out_words: Words) -> int:
    """Write the key of each segment's four-tuple: positive, the same in both directions. Returns how many."""
    segments = pointer(segments_words)
    out = pointer(out_words)
    i = 0
    while i < count:
        out[i] = hash_plain(segments, i * SEGMENT_SIZE, seed)
        i += 1
    return count


def stamp_all(segments_words: Words, count: int, clock_words: Words, news_words: Words) -> int:
    """Give each segment the timeline's clock in place of its marks; see :func:`pick`.

    Where others must hear of a segment, 1 is written to ``news``, else 0. Returns how many these are.
    """
    segments = pointer(segments_words)
    clock = pointer(clock_words)
    news = pointer(news_words)
    n = 0
    i = 0
    while i < count:
        news[i] = stamp(i * SEGMENT_SIZE, segments, clock)
        n += news[i]
        i += 1
    return n


def pick(
    segments_words: Words, count: int, number: int, shares: int, seed: int, clock_words: Words, out_words: Words
) -> int:
    """Copy the segments of share ``number`` of ``shares``, each with the timeline's clock in place of its marks.

    Those of other shares that whoever judges by the clock must hear of come along, as ``TCP_CLOCK`` and no more.

    Parameters
    ----------
    segments, out : int64 arrays
        Segment records; ``out`` has room for as many.
    count : int
    number, shares : int
    seed : int
        Of the hash; odd.
    clock : int64[2]
        The timeline's clock, ns, and how many segments in a row were far behind it; see
        :func:`tcptrace_fsm.kernels.timeline.set_clock`.

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
        news = stamp(s, segments, clock)
        mine = 1 if (hash_plain(segments, s, seed) >> 8) % shares == number else 0
        if mine or news:
            k = 0
            while k < SEGMENT_SIZE:
                out[n + k] = segments[s + k]
                k += 1
            if not mine:
                out[n + S_FLAGS] = TCP_CLOCK
            n += SEGMENT_SIZE
        s += SEGMENT_SIZE
    return n // SEGMENT_SIZE
