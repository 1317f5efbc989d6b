"""What a segment carries: new data, repeated data, what fills a hole, and what leaves one open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.copies import *
from tcptrace_fsm.kernels.holes import *
from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.rtt import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words


def is_used_fin(c: int, x: int, y: int, end: int, rows: Words) -> int:
    """Whether a FIN behind ``end`` is one that nobody takes, its number being used already: 1 or 0."""
    if rows[x + E_FIN] >= 0 or rows[x + E_BASE_KNOWN] != BASE_SYN or end >= rows[x + E_NEXT] or in_hole(x, end, rows):
        return 0
    # the SYN's data, which its peer has not taken
    if rows[c + C_FLAGS] & CF_DATA_IN_SYN and rows[y + E_STAGE] & ES_SYN_ACK and rows[y + E_ACK] <= 1:
        return 0
    return 1


def learn_from_syn(c: int, side: int, s: int, seq: int, segments: Words, rows: Words) -> int:
    """A SYN: another ISN, the same SYN again, or what it tells of its sender (fourth check). Returns marks."""
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    flags = segments[s + S_FLAGS]
    marks = 0
    rows[x + E_SYNS] += 1
    again = 1 if rows[x + E_STAGE] & ES_SYN or seq != 0 else 0
    if again:
        if seq != 0:
            return M_BASE_CHANGED
        marks |= M_SYN_ACK_AGAIN if flags & TCP_ACK else M_SYN_AGAIN
    # A damaged SYN taught what may be damaged too: the first that is whole teaches anew.
    if not again or (
        segments[s + S_CHECKSUM] == CHECKSUM_GOOD and rows[x + E_CHECKSUMS] & (SUMS_GOOD | SUMS_BAD) == SUMS_BAD
    ):
        rows[x + E_MSS] = segments[s + S_MSS] if segments[s + S_OPTIONS] & OPT_MSS else -1
        if segments[s + S_OPTIONS] & OPT_SCALE:
            rows[x + E_SHIFT] = min(segments[s + S_SHIFT], SHIFT_MOST)
        rows[x + E_OPTIONS] = segments[s + S_OPTIONS]
        rows[x + E_SYN_FLAGS] = flags
        if segments[s + S_OPTIONS] & OPT_TIMESTAMPS:
            rows[x + E_SYN_TSVAL] = segments[s + S_TSVAL]
    if segments[s + S_LEN]:
        marks |= M_SYN_DATA
        if side == CLIENT:
            rows[c + C_FLAGS] |= CF_DATA_IN_SYN
    rows[x + E_STAGE] |= ES_SYN
    if flags & TCP_ACK:
        rows[x + E_STAGE] |= ES_SYN_ACK
    return marks


def take_bare(x: int, y: int, seq: int, rows: Words) -> int:
    """A segment that takes no number: below the next one a probe, beyond it proof of a hole. Returns marks."""
    if (
        seq == rows[x + E_NEXT] - 1
        and (rows[x + E_STAGE] & ES_PLAIN or rows[x + E_BASE_KNOWN] == BASE_GUESSED)
        and rows[x + E_FIN] < 0
        and rows[y + E_ACK] > seq
    ):
        rows[x + E_KEEPALIVES] += 1
        return M_ZERO_WINDOW_PROBE if rows[y + E_WINDOW] == 0 else M_KEEPALIVE
    if seq <= rows[x + E_NEXT] or seq - rows[x + E_NEXT] >= 1 << 30:
        return 0
    # A pure ACK that begins beyond all that was seen: the capture misses something, a FIN perhaps.
    marks = M_GAP
    if 0 <= rows[y + E_EDGE] < seq and rows[y + E_WINDOW] >= 0:
        marks |= M_OUT_OF_WINDOW
    add_hole(x, rows[x + E_NEXT], seq, rows)
    rows[x + E_NEXT] = seq
    return marks


def take_sequence(c: int, side: int, s: int, seq: int, segments: Words, rows: Words) -> int:
    """What the segment's own sequence space says: new, a hole, repeated, SYN, FIN. Returns marks."""
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    now = segments[s + S_TIME]
    flags = segments[s + S_FLAGS]
    length = segments[s + S_LEN]
    marks = 0
    end = seq + length
    if flags & TCP_FIN and is_used_fin(c, x, y, end, rows):
        flags -= TCP_FIN
        marks = M_FIN_OLD
    if flags & TCP_SYN:
        end += 1
        opened = learn_from_syn(c, side, s, seq, segments, rows)
        if opened & M_BASE_CHANGED:
            return opened
        marks |= opened
    if flags & TCP_FIN:
        end += 1
        rows[x + E_FINS] += 1
    rows[x + E_BYTES] += length
    if length:
        rows[x + E_STAGE] |= ES_DATA
        if length > rows[x + E_LONGEST]:
            rows[x + E_LONGEST] = length
    elif not flags & (TCP_SYN | TCP_FIN):
        return marks | take_bare(x, y, seq, rows)
    if (
        flags & TCP_FIN
        and rows[y + E_ACK] < end < rows[x + E_FIN]
        and (in_hole(x, end, rows) or 0 <= rows[y + E_EDGE] + 1 < rows[x + E_FIN])
    ):
        rows[x + E_FIN] = end  # the one before lay behind a hole, or outside the window: it was not taken
    if rows[x + E_FIN] >= 0 and end > rows[x + E_FIN]:
        if not flags & TCP_FIN:
            return marks | M_BEYOND_FIN
        marks |= M_FIN_MOVED
    if flags & TCP_FIN and is_ack_with_fin(x, y, s, seq, now, segments, rows):
        return marks
    following = rows[x + E_NEXT]
    if rows[x + E_SEGMENTS] == 0 and not flags & TCP_SYN and rows[x + E_BASE_KNOWN] < BASE_SYN:
        following = seq  # the first that is seen of it opens no hole
        rows[x + E_NEXT] = seq
        rows[x + E_HOLES] = 0
    if seq < following and not marks & (M_SYN_AGAIN | M_SYN_ACK_AGAIN):
        marks |= sent_before(x, y, seq, end, s, segments, rows)
        if seq + length > following:
            rows[x + E_UNIQUE] += seq + length - following if seq + length - following < length else length
    elif seq > following:
        if seq - following < 1 << 30:
            marks |= M_GAP
            add_hole(x, following, seq, rows)
            rows[x + E_UNIQUE] += length
    elif end > following:
        rows[x + E_UNIQUE] += length
        await_ack(x, end, now, rows)
        if rows[x + E_HEAD_TIME] < 0:
            rows[x + E_HEAD_TIME] = now
    if marks & (M_SYN_AGAIN | M_SYN_ACK_AGAIN):
        rows[x + E_RETRANSMITTED] += 1
        forget_samples(x, rows)
    if length and rows[y + E_EDGE] >= 0 and rows[y + E_WINDOW] >= 0:
        if end == rows[y + E_EDGE]:
            marks |= M_WINDOW_FULL
        elif end > rows[y + E_EDGE] + 1 and end > following:
            marks |= M_OUT_OF_WINDOW
    if end > rows[x + E_NEXT] and end - rows[x + E_NEXT] < bit(31):
        rows[x + E_NEXT] = end
    if flags & TCP_FIN:
        if rows[x + E_FIN] < 0:
            rows[x + E_FIN] = end
        else:
            marks |= M_FIN_AGAIN
    return marks
