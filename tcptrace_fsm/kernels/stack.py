"""Which system an endpoint seems to run, by its first SYN (options, TTL, window, IP identification) and by its times.

It is decided for each connection from the endpoint's own segments alone, so that it does not matter what else a
capture holds. Where two systems send the same, or what is seen contradicts itself, it is not known. Times are when it
first repeats what is not acknowledged, and how long its ACKs come later than the quickest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

# No __all__: compiled, only the replay calls this.


def first_syn(c: int, side: int, rows: Words, log: Words) -> int:
    """The log record of the endpoint's first SYN or SYN+ACK, or -1."""
    r = rows[c + C_LOG_HEAD]
    while r >= 0:
        info = log[r + L_INFO]
        if info >> LOG_SIDE_SHIFT & 1 == side and (info & (TCP_SYN | TCP_RST)) == TCP_SYN:
            return r
        r = log[r + L_NEXT]
    return -1


def resets_bare(c: int, side: int, rows: Words, log: Words) -> int:
    """Whether the endpoint has sent an RST without ACK: 1 or 0."""
    r = rows[c + C_LOG_HEAD] if rows[c + C_ENDPOINTS + side * ENDPOINT_SIZE + E_RSTS] else -1
    while r >= 0:
        info = log[r + L_INFO]
        if info >> LOG_SIDE_SHIFT & 1 == side and (info & (TCP_RST | TCP_ACK)) == TCP_RST:
            return 1
        r = log[r + L_NEXT]
    return 0


def first_repetition(c: int, side: int, flag: int, rows: Words, log: Words) -> int:
    """After how many ns the endpoint first repeated its SYN, or its FIN, by its timer; -1 where none shows.

    A SYN+ACK may answer a repeated SYN. A FIN is repeated sooner where duplicate ACKs ask for it.
    """
    if rows[c + C_ENDPOINTS + side * ENDPOINT_SIZE + (E_SYNS if flag == TCP_SYN else E_FINS)] < 2:
        return -1
    first = -1
    named = 0
    asked = 0
    again = M_SYN_AGAIN | M_SYN_ACK_AGAIN | M_FIN_AGAIN
    r = rows[c + C_LOG_HEAD]
    while r >= 0:
        info = log[r + L_INFO]
        marks = log[r + L_MARKS]
        if info >> LOG_SIDE_SHIFT & 1 != side:
            asked |= 1 if info & TCP_SYN or marks & M_DUPLICATE_ACK else 0
        elif info & flag and not info & TCP_RST and not marks & (M_CAPTURE_DUPLICATE | M_NETWORK_DUPLICATE | M_PAWS):
            number = log[r + L_FATE] >> LOG_IP_ID_SHIFT & LOG_IP_ID_MASK
            if first >= 0 and marks & again:
                if 0 < named - number <= LOOKED_AT and number > 1:
                    return -1  # that was sent before, and held up on its way here
                return -1 if asked else log[r + L_TIME] - first
            first = log[r + L_TIME]
            named = number
            asked = 0
        r = log[r + L_NEXT]
    return -1


def delays_acks(c: int, side: int, rows: Words) -> int:
    """Whether an ACK of the endpoint came so much later than another that it was delayed, with nothing lost: 1 or 0."""
    if rows[c + C_MARKS] & (M_RETRANSMISSION | M_OUT_OF_ORDER | M_GAP | M_LOST_BEFORE | M_DUPLICATE_ACK | M_FIN_AGAIN):
        return 0
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    n = min(5, rows[y + E_RTT_COUNT])
    if n < 2:
        return 0
    return 1 if rows[y + E_RTT_MARKER + n - 1] - rows[y + E_RTT_MIN] > DELAYED_ACK_LEAST * MILLISECOND else 0


def plain_bsd(c: int, side: int, rows: Words, log: Words) -> int:
    """Whether the endpoint's SYN is as 4.4BSD sends it, and as others may that were offered nothing: 1 or 0."""
    r = first_syn(c, side, rows, log)
    if r < 0 or (log[r + L_FATE] >> LOG_TTL_SHIFT & 255) > 64:
        return 0
    options = log[r + L_FATE] >> LOG_OPTIONS_SHIFT
    beside = OPT_SACK_PERMITTED | OPT_TIMESTAMPS | OPT_SCALE | OPT_DAMAGED | OPT_SHORT | OPT_NOP_RUN | OPT_MD5 | OPT_AO
    window = log[r + L_WINDOW]
    return 1 if options & OPT_MSS and not options & beside and window in (65535, -65535) else 0


def by_syn(c: int, side: int, rows: Words, log: Words) -> int:
    """STACK_... of the endpoint, by its first SYN or SYN+ACK and the form of its RSTs.

    * lwIP sends TTL 255, no timestamps, a window of whole segments, and each RST with ACK.
    * 4.4BSD and what descends from it (libslirp, FreeBSD, macOS) announces 65535, and the MSS alone or the window scale
      before all else. An answer with the MSS alone tells that only where more was offered.
    * gVisor writes its options as Linux does, but its window is no multiple of the MSS, and its SYN+ACK has an IP
      identification.
    * Windows sends TTL 128, the window scale before SACK-permitted.
    * Linux sends SACK-permitted, then timestamps, the window scale last, and a window of whole segments.
    """
    r = first_syn(c, side, rows, log)
    if r < 0:
        return STACK_UNKNOWN
    options = log[r + L_FATE] >> LOG_OPTIONS_SHIFT
    if not options & OPT_MSS or options & (OPT_DAMAGED | OPT_SHORT | OPT_NOP_RUN | OPT_MD5 | OPT_AO | OPT_MULTIPATH):
        return STACK_UNKNOWN
    ttl = log[r + L_FATE] >> LOG_TTL_SHIFT & 255
    hops = 64 if ttl <= 64 else (128 if ttl <= 128 else 255)
    mss = rows[c + C_ENDPOINTS + side * ENDPOINT_SIZE + E_MSS]
    window = log[r + L_WINDOW]
    if window < 0:
        window = -window
    if mss < 64 or not window:
        return STACK_UNKNOWN
    stamps = 1 if options & OPT_TIMESTAMPS else 0
    whole = 1 if window % mss == 0 or window % (mss - 12) == 0 else 0
    early = 1 if options & OPT_SCALE_EARLY and options & (OPT_SACK_PERMITTED | OPT_TIMESTAMPS) else 0
    offered = OPT_SACK_PERMITTED | OPT_TIMESTAMPS | OPT_SCALE
    answers = 1 if log[r + L_INFO] & TCP_ACK else 0
    if answers:
        v = first_syn(c, 1 - side, rows, log)
        offered = log[v + L_FATE] >> LOG_OPTIONS_SHIFT if v >= 0 else 0
    if hops == 255:
        bare = resets_bare(c, side, rows, log)
        return STACK_LWIP if not stamps and window % mss == 0 and not bare else STACK_UNKNOWN
    if hops == 128:
        return STACK_WINDOWS if early and options & OPT_SACK_PERMITTED else STACK_UNKNOWN
    if window == 65535 and (
        early
        or (
            not options & (OPT_SACK_PERMITTED | OPT_TIMESTAMPS | OPT_SCALE)
            and offered & (OPT_SACK_PERMITTED | OPT_TIMESTAMPS)
        )
    ):
        return STACK_BSD
    if early or not stamps or not options & OPT_SCALE:
        return STACK_UNKNOWN
    if not whole and window & 511 == 0:
        named = log[r + L_FATE] >> LOG_IP_ID_SHIFT & LOG_IP_ID_MASK
        return STACK_UNKNOWN if answers and named == 1 else STACK_GVISOR
    if offered & OPT_SACK_PERMITTED and not options & OPT_SACK_PERMITTED:
        return STACK_UNKNOWN
    return STACK_LINUX if whole or window == 65535 else STACK_UNKNOWN


def stack_of(c: int, side: int, rows: Words, log: Words) -> int:
    """STACK_... of the endpoint, by what it sends and when.

    * lwIP's timer looks every half second, and waits for three of them: it repeats nothing within a second.
    * 4.4BSD waits six seconds before it first repeats a SYN (TCPTV_SRTTBASE), where the others wait one to three.
    * No system that is known here repeats a SYN within 900 ms (RFC 6298 section 2.1: one second).
    * gVisor delays no ACK (handleSegmentsLocked).
    """
    stack = by_syn(c, side, rows, log)
    syn_again = first_repetition(c, side, TCP_SYN, rows, log)
    if stack == STACK_UNKNOWN:
        return STACK_BSD if 5500 <= syn_again // MILLISECOND <= 6500 and plain_bsd(c, side, rows, log) else stack
    if 0 <= syn_again < 900 * MILLISECOND:
        return STACK_UNKNOWN
    if stack == STACK_LWIP and 0 <= first_repetition(c, side, TCP_FIN, rows, log) < 1000 * MILLISECOND:
        return STACK_UNKNOWN
    return STACK_UNKNOWN if stack == STACK_GVISOR and delays_acks(c, side, rows) else stack
