"""Captures that hold a stretch of time twice: appended to themselves, with the stamps of before or with later ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words


def is_replayed(c: int, x: int, s: int, segments: Words, rows: Words) -> int:
    """Whether this is a frame of a capture that was appended to itself: 1 or 0.

    The connection's first segment comes again, with the very stamp that it had, after later ones. Until its latest time
    is reached once more, all that follows are copies. Where the copies bear later stamps, all are that show nothing
    new.
    """
    if rows[c + C_FLAGS] & CF_RESTAMPED:
        if not shows_new(c, x, s, segments, rows):
            return 1
        rows[c + C_FLAGS] &= ~CF_RESTAMPED
    if segments[s + S_TIME] > rows[c + C_LAST_TIME]:
        rows[c + C_FLAGS] &= ~CF_REPLAYED
        return 0
    if rows[c + C_FLAGS] & CF_REPLAYED:
        return 1
    if segments[s + S_TIME] != rows[c + C_FIRST_TIME] or segments[s + S_TIME] == rows[c + C_LAST_TIME]:
        return 0
    if not rows[x + E_BASE_KNOWN] or low32(segments[s + S_SEQ] - rows[x + E_BASE]) > 1:
        return 0
    rows[c + C_FLAGS] |= CF_REPLAYED
    return 1


def packets_behind(x: int, s: int, segments: Words, rows: Words) -> int:
    """How many packets its sender has sent since this one, by its count of them; 0 where it does not tell."""
    if segments[s + S_IP_ID] <= 0 or rows[x + E_IP_ID] <= 0:
        return 0
    behind = (rows[x + E_IP_ID] - segments[s + S_IP_ID]) & 65535
    return behind if behind < 4096 else 0


def has_earlier_stamp(x: int, s: int, segments: Words, rows: Words) -> int:
    """Whether a segment's timestamp lies before the latest of its sender, by less than any segment lives: 1 or 0."""
    if not segments[s + S_OPTIONS] & OPT_TIMESTAMPS or rows[x + E_TSVAL] < 0:
        return 0
    return 1 if 0 < low32(rows[x + E_TSVAL] - segments[s + S_TSVAL]) < OLD_TICKS else 0


def shows_new(c: int, x: int, s: int, segments: Words, rows: Words) -> int:
    """Whether a segment says anything that its connection had not heard yet: 1 or 0."""
    flags = segments[s + S_FLAGS]
    if flags & TCP_RST and not rows[x + E_STAGE] & ES_RST:
        return 1
    if segments[s + S_OPTIONS] & OPT_TIMESTAMPS:
        if rows[x + E_TSVAL] < 0 or newer(segments[s + S_TSVAL], rows[x + E_TSVAL]):
            return 1
    elif segments[s + S_IP_ID] > 0 and 0 < (segments[s + S_IP_ID] - rows[x + E_IP_ID]) & 65535 < 4096:
        return 1
    if not rows[x + E_BASE_KNOWN]:
        return 1
    seq = widen(segments[s + S_SEQ], rows[x + E_BASE], rows[x + E_NEXT])
    if seq + segments[s + S_LEN] + (1 if flags & TCP_FIN else 0) > rows[x + E_NEXT]:
        return 1
    y = 2 * (c + C_ENDPOINTS) + ENDPOINT_SIZE - x
    if not flags & TCP_ACK or not rows[y + E_BASE_KNOWN]:
        return 0
    return 1 if widen(segments[s + S_ACK], rows[y + E_BASE], rows[y + E_NEXT]) > rows[x + E_ACK] else 0


def is_opening_again(c: int, x: int, s: int, segments: Words, rows: Words) -> int:
    """Whether a SYN is the very packet that opened the connection, seen once more: 1 or 0.

    It has the ISN of its sender, who by its timestamps, or by its count of packets, had gone on since. Whoever repeats
    a SYN, or opens anew, gives it a timestamp and an identification of that moment.
    """
    if not rows[x + E_SYNS] or segments[s + S_TIME] <= rows[c + C_LAST_TIME]:
        return 0
    if segments[s + S_OPTIONS] & OPT_TIMESTAMPS and rows[x + E_TSVAL] >= 0:
        same = 1 if segments[s + S_IP_ID] > 0 and segments[s + S_IP_ID] == rows[x + E_IP_ID] else 0
        if not newer(rows[x + E_TSVAL], segments[s + S_TSVAL]) and not (
            same and segments[s + S_TSVAL] == rows[x + E_TSVAL]
        ):
            return 0
    elif rows[x + E_SEGMENTS] <= rows[x + E_SYNS] + rows[x + E_RSTS] or not packets_behind(x, s, segments, rows):
        return 0
    rows[c + C_FLAGS] |= CF_RESTAMPED
    return 1


def is_beginning_again(c: int, x: int, side: int, s: int, segments: Words, rows: Words, log: Words) -> int:
    """Whether the segment with which the capture of a connection began comes again, a while later: 1 or 0."""
    if segments[s + S_TIME] - rows[c + C_LAST_TIME] < 1000 * MILLISECOND or not packets_behind(x, s, segments, rows):
        return 0
    r = rows[c + C_LOG_HEAD]
    if r < 0 or log[r + L_INFO] >> LOG_SIDE_SHIFT & 1 != side:
        return 0
    if (
        (log[r + L_FATE] >> LOG_IP_ID_SHIFT & LOG_IP_ID_MASK) - 1 != segments[s + S_IP_ID]
        or low32(rows[x + E_BASE] + log[r + L_SEQ]) != segments[s + S_SEQ]
        or log[r + L_INFO] & LOG_FLAGS_MASK != segments[s + S_FLAGS] & LOG_FLAGS_MASK
        or log[r + L_INFO] >> LOG_LEN_SHIFT & LOG_LEN_MASK != segments[s + S_LEN]
    ):
        return 0
    rows[c + C_FLAGS] |= CF_RESTAMPED
    return 1


def believe_opening(c: int, x: int, s: int, segments: Words, rows: Words, log: Words) -> int:
    """Take a SYN that was taken for the capture's copy for one that arrived late, where this segment answers it.

    A bare ACK of where the connection stands, from the other end, soon and with a new timestamp: nobody had sent it
    before. Returns 1 or 0.
    """
    r = rows[c + C_LOG_TAIL]
    if r < 0 or not log[r + L_MARKS] & M_CAPTURE_DUPLICATE:
        return 0
    info = log[r + L_INFO]
    if info & (TCP_SYN | TCP_ACK | TCP_RST) != TCP_SYN or info >> LOG_SIDE_SHIFT & 1 == (x > c + C_ENDPOINTS):
        return 0
    if segments[s + S_FLAGS] & (TCP_SYN | TCP_FIN | TCP_RST | TCP_ACK) != TCP_ACK or segments[s + S_LEN]:
        return 0
    if segments[s + S_TIME] - log[r + L_TIME] >= 1000 * MILLISECOND or not segments[s + S_OPTIONS] & OPT_TIMESTAMPS:
        return 0
    seq = widen(segments[s + S_SEQ], rows[x + E_BASE], rows[x + E_NEXT])
    if seq != rows[x + E_NEXT] or not newer(segments[s + S_TSVAL], rows[x + E_TSVAL]):
        return 0
    log[r + L_MARKS] = (log[r + L_MARKS] & ~M_CAPTURE_DUPLICATE) | M_NETWORK_DUPLICATE
    rows[c + C_MARKS] = (rows[c + C_MARKS] & ~M_CAPTURE_DUPLICATE) | M_NETWORK_DUPLICATE
    rows[c + C_FLAGS] &= ~CF_RESTAMPED
    return 1
