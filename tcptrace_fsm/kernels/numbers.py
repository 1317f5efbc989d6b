"""Where the numbers of a segment lie: 64-bit sequence space, windows in bytes, answers that make no sense."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words


def scaled_window(x: int, y: int, s: int, segments: Words, rows: Words) -> int:
    """The announced window in bytes; where the scale factor is unknown (RFC 7323 section 2.2), minus the field.

    So a window of unknown size is never taken for a size, and two of them can still be told apart.
    """
    window = segments[s + S_WINDOW]
    if segments[s + S_FLAGS] & TCP_SYN or window == 0:
        return window
    if rows[x + E_STAGE] & ES_SYN and rows[y + E_STAGE] & ES_SYN:
        if rows[x + E_SHIFT] >= 0 and rows[y + E_SHIFT] >= 0:
            return window << rows[x + E_SHIFT]
        return -window if (rows[x + E_OPTIONS] | rows[y + E_OPTIONS]) & OPT_SHORT else window
    return -window


def place(x: int, y: int, s: int, segments: Words, rows: Words) -> int:
    """Learn the endpoints' sequence bases from a segment where they are not known yet; never from an RST."""
    flags = segments[s + S_FLAGS]
    if flags & TCP_RST:
        return 0
    seq = segments[s + S_SEQ]
    if flags & TCP_SYN:
        known = rows[x + E_BASE_KNOWN]
        if known == BASE_NONE:
            rows[x + E_BASE] = seq
            rows[x + E_BASE_KNOWN] = BASE_SYN
        elif known < BASE_SYN and rows[x + E_BASE] == seq:
            rows[x + E_BASE_KNOWN] = BASE_SYN
        elif known == BASE_GUESSED and not rows[x + E_STAGE] & ES_SYN:
            # The SYN was stamped behind what followed it: what counted as byte 1 keeps its place.
            shift = widen(rows[x + E_BASE], seq, 0)
            if 0 <= shift < 1 << 30:
                rows[x + E_BASE] = seq
                rows[x + E_BASE_KNOWN] = BASE_SYN
                rows[x + E_NEXT] += shift
                if rows[y + E_ACK] >= 0:
                    rows[y + E_ACK] += shift
                    rows[y + E_EDGE] += shift
                if rows[x + E_FIN] >= 0:
                    rows[x + E_FIN] += shift
    elif rows[x + E_BASE_KNOWN] == BASE_NONE:
        rows[x + E_BASE] = low32(seq - 1)
        rows[x + E_BASE_KNOWN] = BASE_GUESSED
        rows[x + E_NEXT] = 1
    if flags & TCP_ACK and rows[y + E_BASE_KNOWN] == BASE_NONE:
        rows[y + E_BASE] = low32(segments[s + S_ACK] - 1)
        rows[y + E_BASE_KNOWN] = BASE_PEER if flags & TCP_SYN else BASE_GUESSED
        rows[y + E_NEXT] = 1
    return 0


def is_bad_answer(y: int, s: int, segments: Words, rows: Words) -> int:
    """Whether this is a SYN+ACK that does not acknowledge the peer's SYN, nor data in it: 1 or 0.

    It is forged, or of an older connection. SYN_SENT resets what it came from and stays (RFC 9293 3.10.7.3): neither
    its numbers nor its options count for the connection that opens then.
    """
    if segments[s + S_FLAGS] & (TCP_SYN | TCP_ACK | TCP_RST) != TCP_SYN | TCP_ACK or rows[y + E_BASE_KNOWN] != BASE_SYN:
        return 0
    ack = widen(segments[s + S_ACK], rows[y + E_BASE], rows[y + E_NEXT])
    return 0 if 1 <= ack <= rows[y + E_NEXT] else 1


def answered_within(y: int, rows: Words) -> int:
    """Within what time after a segment of ``y`` has passed here its peer's answer surely does, ns."""
    if rows[y + E_RTT_MIN] < 0:
        return ANSWER_DUE * MILLISECOND
    return 50 * MILLISECOND + 4 * rows[y + E_RTT_MIN]
