"""What is noted with each finding that a kernel detects: enough to put it into words when the connection is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words
    from tcptrace_fsm.kernels.records import Detection


def side_of(info: int) -> int:
    """Who sent what a log record tells of."""
    return info >> LOG_SIDE_SHIFT & 1


def length_of(info: int) -> int:
    """How much payload a log record tells of."""
    return info >> LOG_LEN_SHIFT & LOG_LEN_MASK


def end_of_record(r: int, log: Words) -> int:
    """The sequence number after what a log record tells of."""
    info = log[r + L_INFO]
    return log[r + L_SEQ] + length_of(info) + (1 if info & TCP_SYN else 0) + (1 if info & TCP_FIN else 0)


def is_syn(r: int, log: Words) -> int:
    """Whether a log record tells of a SYN without ACK."""
    return 1 if log[r + L_INFO] & (TCP_SYN | TCP_ACK | TCP_RST) == TCP_SYN else 0


def tell(place: int, kind: int, side: int, detection: Detection) -> int:
    """Begin a finding behind those that there are. Returns where it begins; it counts once it is kept."""
    out = detection.out
    d = detection.found * DETECTED_SIZE
    out[d + D_ASKED] = place
    out[d + D_KIND] = kind
    out[d + D_SIDE] = side
    out[d + D_COUNT] = 0
    out[d + D_MORE] = 0
    out[d + D_SPAN] = 0
    out[d + D_GRADE] = 0
    out[d + D_FRAMES] = 0
    return d


def keep_finding(at: int, detection: Detection) -> int:
    """Count the finding that was begun, whose frames of evidence end at ``at``. Returns how many there are."""
    detection.out[detection.found * DETECTED_SIZE + D_FRAMES] = at - detection.evidence
    detection.evidence = at
    detection.found += 1
    return detection.found


def is_length(span: int) -> int:
    """Whether a span is a length of time, and not what a clock that was set, or frames out of order, make of it."""
    longest = span - span + LONGEST_SPAN  # of 64 bits, which the constant has not
    return 1 if 0 <= span <= longest * 1000 * MILLISECOND else 0


def doubts_about(c: int, block: Words) -> int:
    """What may be wrong with the capture of a connection: ``DOUBT_`` bits."""
    marks = block[c + C_MARKS]
    flags = block[c + C_FLAGS]
    x = c + C_ENDPOINTS + E_SEGMENTS
    doubt = 0
    if marks & M_CAPTURE_DUPLICATE:
        doubt |= DOUBT_COPIED
    if marks & M_ACK_UNSEEN:
        doubt |= DOUBT_UNSEEN
    if flags & CF_MIDSTREAM and not (block[x] and block[x + ENDPOINT_SIZE]):
        doubt |= DOUBT_ONE_WAY
    if marks & M_TIME_BACK and marks & M_GAP:
        doubt |= DOUBT_ORDER
    if flags & CF_LOG_FULL:
        doubt |= DOUBT_LOG_FULL
    if flags & CF_SET_BACK:
        doubt |= DOUBT_TIME
    elif block[x] > 1 and block[x + ENDPOINT_SIZE] > 1:
        doubt |= DOUBT_CLOCKS
    return doubt


def describe_all(first: int, detection: Detection) -> int:
    """Note with each finding from ``first`` on whose it is. Returns how many there are."""
    asked = detection.asked
    block = detection.block
    out = detection.out
    d = first * DETECTED_SIZE
    while d < detection.found * DETECTED_SIZE:
        c = asked[3 * out[d + D_ASKED]]
        out[d + D_DOUBT] = doubts_about(c, block)
        out[d + D_ID] = block[c + C_ID]
        i = 0
        while i <= C_SERVER_HI - C_NET:
            out[d + D_NET + i] = block[c + C_NET + i]
            i += 1
        out[d + D_TAKEN_FRAME] = block[c + C_TAKEN_FRAME]
        d += DETECTED_SIZE
    return detection.found
