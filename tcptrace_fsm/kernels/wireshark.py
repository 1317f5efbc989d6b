"""What Wireshark says of the same segments, so that tables can be joined with its own.

It does not serve the analysis, which knows better in places (docs/joins.md). It is kept as Wireshark 4.0 keeps it:
``tcp.stream`` and ``tcp.completeness`` (epan/dissectors/packet-tcp.c). A stream is found by addresses and ports alone,
whatever is wrapped around them, and never ends; only a SYN with another sequence number opens a new one for a
four-tuple that is known. Streams are kept in a table of their own, a few words for each; beyond ``STREAM_MOST`` of them
the oldest are forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.sequence import *
from tcptrace_fsm.kernels.table import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

# No __all__: only other kernels call these.


def hash_for_streams(c: int, s: int, segments: Words, rows: Words, control: Words) -> int:
    """The hash of the segment's addresses and ports; ``c`` is its row, or negative where it has none."""
    if c < 0 or rows[c + C_NET] >> 1:
        return hash_plain(segments, s, control[K_SEED])
    return rows[c + C_HASH]


def find_stream(h: int, streams: Words, known: Words, control: Words) -> int:
    """The number of the stream that addresses and ports lead to; a new one where they lead nowhere.

    ``known`` holds pairs of hash and number plus one. The hash stands for the four-tuple: its seed is random and
    secret and it loses no bit of them, so that two tuples share one by an accident of one in 2**60 alone.
    """
    mask = control[K_STREAM_SLOTS] - 1
    i = h & mask
    while known[2 * i + 1]:
        if known[2 * i] == h:
            return known[2 * i + 1] - 1
        i = (i + 1) & mask
    known[2 * i] = h
    known[2 * i + 1] = control[K_NEXT_STREAM] + 1
    return open_stream(0, streams, control)


def renumber_stream(h: int, stream: int, known: Words, control: Words) -> int:
    """From now on, these addresses and ports lead to ``stream``."""
    mask = control[K_STREAM_SLOTS] - 1
    i = h & mask
    while known[2 * i] != h and known[2 * i + 1]:
        i = (i + 1) & mask
    known[2 * i] = h
    known[2 * i + 1] = stream + 1
    return stream


def open_stream(completeness: int, streams: Words, control: Words) -> int:
    """A new stream. Returns its number."""
    stream = control[K_NEXT_STREAM]
    control[K_NEXT_STREAM] = stream + 1
    w = (stream & (control[K_STREAM_MOST] - 1)) * STREAM_SIZE
    streams[w + W_NUMBER] = stream
    streams[w + W_LOW_BASE] = -1
    streams[w + W_HIGH_BASE] = -1
    streams[w + W_BITS] = completeness
    return stream


def is_high(segments: Words, s: int) -> int:
    """Whether the segment goes from the larger end to the smaller: 1 or 0. The same order as in the hash."""
    if segments[s + S_SRC_LO] != segments[s + S_DST_LO]:
        return 1 if segments[s + S_SRC_LO] > segments[s + S_DST_LO] else 0
    if segments[s + S_SRC_HI] != segments[s + S_DST_HI]:
        return 1 if segments[s + S_SRC_HI] > segments[s + S_DST_HI] else 0
    return 1 if segments[s + S_PORTS] >> 16 > segments[s + S_PORTS] & 65535 else 0


def enter_stream(stream: int, h: int, s: int, segments: Words, streams: Words, known: Words, control: Words) -> int:
    """Let a segment come to the stream that its addresses lead to: a SYN may open a new one. Returns the stream."""
    flags = segments[s + S_FLAGS]
    w = (stream & (control[K_STREAM_MOST] - 1)) * STREAM_SIZE
    if streams[w + W_NUMBER] != stream:  # forgotten: begin anew with what is left of it
        streams[w + W_NUMBER] = stream
        streams[w + W_LOW_BASE] = -1
        streams[w + W_HIGH_BASE] = -1
        streams[w + W_BITS] = W_MET
    if not flags & TCP_SYN and streams[w + W_BITS] & W_BASES:
        return stream
    high = is_high(segments, s)
    own = W_HIGH_BASE if high else W_LOW_BASE
    peer = W_LOW_BASE if high else W_HIGH_BASE
    seq = segments[s + S_SEQ]
    if flags & TCP_SYN and streams[w + own] >= 0 and streams[w + own] != seq:
        if flags & TCP_ACK:
            streams[w + own] = seq
        else:
            stream = open_stream(COMPLETE_SYN | W_MET, streams, control)
            renumber_stream(h, stream, known, control)
            w = (stream & (control[K_STREAM_MOST] - 1)) * STREAM_SIZE
    if segments[s + S_SHOWN] < 0:
        return stream  # where Wireshark has no length, it learns no numbers
    if streams[w + own] < 0:
        streams[w + own] = seq if flags & TCP_SYN else low32(seq - 1)
    if streams[w + peer] < 0 and flags & TCP_ACK:
        streams[w + peer] = low32(segments[s + S_ACK] - 1)
    if streams[w + peer] >= 0:
        streams[w + W_BITS] |= W_BASES
    return stream


def complete_stream(stream: int, s: int, segments: Words, streams: Words, control: Words) -> int:
    """Let a segment change the completeness of its stream. Returns it as Wireshark shows it: before, above it after."""
    flags = segments[s + S_FLAGS]
    w = (stream & (control[K_STREAM_MOST] - 1)) * STREAM_SIZE
    shown = streams[w + W_BITS] & 63
    met = streams[w + W_BITS] & W_MET
    seen = 0
    if flags & TCP_ACK:
        if flags & TCP_SYN:
            seen = COMPLETE_SYN_ACK
        else:
            seen = COMPLETE_DATA if segments[s + S_SHOWN] > 0 else COMPLETE_ACK
        if flags & TCP_FIN:
            seen |= COMPLETE_FIN
    if flags & TCP_RST:
        seen |= COMPLETE_RST
    if flags & TCP_MUTE:
        streams[w + W_BITS] |= W_MET
    elif met:
        streams[w + W_BITS] |= seen
    else:
        # In a stream's first segment Wireshark sees nothing but a SYN; when it reads the capture again, it sees more.
        streams[w + W_BITS] |= W_MET | seen << W_FIRST_SHIFT
        if flags & (TCP_SYN | TCP_ACK) == TCP_SYN:
            streams[w + W_BITS] |= COMPLETE_SYN
            if segments[s + S_SHOWN] > 0:
                streams[w + W_BITS] |= COMPLETE_DATA
    bits = streams[w + W_BITS]
    if met:  # with one segment alone, reading it again shows nothing more
        bits |= bits >> W_FIRST_SHIFT
    return shown | (bits & 63) << COMPLETE_WHOLE_SHIFT


def join_wireshark(c: int, s: int, segments: Words, rows: Words, streams: Words, known: Words, control: Words) -> int:
    """Number the segment's stream and tell its completeness."""
    flags = segments[s + S_FLAGS]
    stream = rows[c + C_STREAM_NOW]
    if segments[s + S_NET] >> 1:
        control[K_MIXED] = 1
    h = hash_for_streams(c, s, segments, rows, control)
    # Other rows of the same four-tuple (in another VLAN, of another incarnation) may have met a newer stream.
    if (
        stream < 0
        or flags & TCP_SYN
        or control[K_MIXED]
        or rows[c + C_OLDER] >= 0
        or rows[c + C_NEWER] >= 0
        or stream <= control[K_NEXT_STREAM] - control[K_STREAM_MOST]
    ):
        stream = find_stream(h, streams, known, control)
    stream = enter_stream(stream, h, s, segments, streams, known, control)
    rows[c + C_STREAM_NOW] = stream
    if rows[c + C_STREAM] < 0:
        rows[c + C_STREAM] = stream
    completeness = complete_stream(stream, s, segments, streams, control)
    if stream == rows[c + C_STREAM]:
        rows[c + C_COMPLETENESS] = completeness
        alone = 1 if rows[c + C_OLDER] < 0 and rows[c + C_NEWER] < 0 else 0
        w = (stream & (control[K_STREAM_MOST] - 1)) * STREAM_SIZE
        if alone and streams[w + W_BITS] & W_BASES and streams[w + W_BITS] & 63 == completeness & 63:
            rows[c + C_COMPLETENESS] |= COMPLETE_CALM
    segments[s + S_STREAM] = stream << STREAM_SHIFT | (completeness & 63)
    return stream


def join_broken(s: int, segments: Words, streams: Words, known: Words, control: Words) -> int:
    """Number the stream of what is TCP to Wireshark alone; it belongs to no connection.

    Returns the stream's completeness as :func:`complete_stream` does; -1 where that is not the stream's last by now.
    """
    segments[s + S_STREAM] = -1
    if segments[s + S_FLAGS] & TCP_STREAMLESS:
        return -1
    control[K_MIXED] = 1
    h = hash_plain(segments, s, control[K_SEED])
    stream = find_stream(h, streams, known, control)
    stream = enter_stream(stream, h, s, segments, streams, known, control)
    completeness = complete_stream(stream, s, segments, streams, control)
    segments[s + S_STREAM] = stream << STREAM_SHIFT | (completeness & 63)
    if segments[s + S_FLAGS] & TCP_QUOTED:
        return -1  # the stream's completeness goes with the last segment that is no ICMP
    return completeness
