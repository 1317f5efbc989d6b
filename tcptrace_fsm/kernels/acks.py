"""Acknowledgments of one segment: numbers, SACK blocks, windows, and RSTs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.holes import *
from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.numbers import *
from tcptrace_fsm.kernels.rtt import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words


def take_sacks(x: int, y: int, s: int, ack: int, segments: Words, rows: Words) -> int:
    """Keep what the SACK blocks of a segment tell: the edges above its ACK, and blocks that nobody can have meant.

    A receiver takes nothing beyond the window that it has announced, and nothing from before the connection; blocks
    that lie there were made for other sequence numbers than those that passed here.
    """
    most = rows[y + E_NEXT]
    if rows[x + E_EDGE] < 0:
        most += bit(30)
    elif rows[x + E_EDGE] > most:
        most = rows[x + E_EDGE]
    lowest = -1
    outside = 0
    i = 0
    while i < segments[s + S_SACKS]:
        left = widen(segments[s + S_SACK + 2 * i], rows[y + E_BASE], rows[y + E_NEXT])
        right = left + low32(segments[s + S_SACK + 2 * i + 1] - segments[s + S_SACK + 2 * i])
        # Bytes or ACKs that the capture lacks make a block lie a little outside; another's numbers, far.
        if right > most + ELSEWHERE or left < 0 or left < ack - bit(30):
            outside = 1
        elif left > ack:
            if lowest < 0 or left < lowest:
                lowest = left
            if right > rows[x + E_SACK_HIGH]:
                rows[x + E_SACK_HIGH] = right
        i += 1
    if lowest >= 0:
        rows[x + E_SACK_LOW] = lowest
    if outside:
        rows[x + E_SACKS_OUTSIDE] += 1
        if rows[x + E_OUTSIDE_FRAME] < 0:
            rows[x + E_OUTSIDE_FRAME] = segments[s + S_FRAME]
    return outside


def began_by_keepalive(x: int, y: int, rows: Words) -> int:
    """Whether all that was seen of ``y`` are keepalives, given that ``x`` acknowledges one more than they begin at.

    The capture begins while the connection is idle: neither has sent data, and a pure ACK lies one below what its
    sender has sent (RFC 9293 3.8.4).
    """
    if rows[y + E_BASE_KNOWN] != BASE_GUESSED or not rows[y + E_SEGMENTS] or rows[y + E_FIN] >= 0:
        return 0
    if rows[y + E_NEXT] != 1 or rows[y + E_UNIQUE] or rows[x + E_UNIQUE] or rows[x + E_FIN] >= 0:
        return 0
    return 1 if not rows[y + E_LAST_FLAGS] & (TCP_SYN | TCP_FIN | TCP_RST) else 0


def leaves_hole(y: int, s: int, ack: int, segments: Words, rows: Words) -> int:
    """Whether a SACK block lies above the ACK: a hole, whatever the window does (RFC 6675 section 2); 1 or 0."""
    if not segments[s + S_SACKS] or not rows[y + E_BASE_KNOWN]:
        return 0
    return 1 if widen(segments[s + S_SACK], rows[y + E_BASE], rows[y + E_NEXT]) > ack else 0


def believe_damaged(y: int, ack: int, rows: Words) -> int:
    """An ACK of what came damaged proves that it arrived whole: then it counts."""
    believed = rows[y + E_CHECKSUMS] >> SUMS_END_SHIFT
    if rows[y + E_NEXT] < believed <= ack:
        rows[y + E_CHECKSUMS] |= SUMS_BELIEVED
        rows[y + E_BYTES] += believed - rows[y + E_NEXT]
        rows[y + E_UNIQUE] += believed - rows[y + E_NEXT]
        rows[y + E_NEXT] = believed
    return 0


def take_unseen(x: int, y: int, ack: int, pure: int, rows: Words) -> int:
    """An ACK beyond all that was seen of its peer: of a keepalive's byte, or of what the capture lacks. Returns marks.

    Nobody acknowledges beyond the window that it announced: such a number teaches nothing.
    """
    if pure and ack == rows[y + E_NEXT] + 1 and began_by_keepalive(x, y, rows):
        rows[y + E_NEXT] = ack
        rows[y + E_KEEPALIVES] += 1
        return M_KEEPALIVE_ACK
    marks = M_ACK_UNSEEN
    if ack == rows[y + E_NEXT] + 1:
        marks |= M_ACK_PLUS_ONE
    window = rows[x + E_WINDOW]
    if (window >= 0 and rows[x + E_EDGE] >= 0 and ack <= rows[x + E_EDGE] + 1) or (
        window < 0 and ack - rows[y + E_NEXT] < 1 << 30
    ):
        add_hole(y, rows[y + E_NEXT], ack, rows)
        rows[y + E_NEXT] = ack
    return marks


def take_new_ack(x: int, y: int, s: int, ack: int, hole: int, segments: Words, rows: Words) -> int:
    """An ACK of more: a round trip, the oldest byte that still waits, SYN and FIN acknowledged. Returns marks."""
    now = segments[s + S_TIME]
    marks = 0
    if segments[s + S_FATE] == FATE_ARRIVED:
        take_samples(y, ack, segments[s + S_ARRIVAL], rows)  # from where it left to where its ACK came back
    elif segments[s + S_FATE] != FATE_LOST:
        take_samples(y, ack, now, rows)
    rows[x + E_ACK] = ack
    rows[x + E_ACK_TIME] = now
    rows[x + E_DUP_RUN] = hole
    rows[y + E_HEAD_TIME] = now if ack < rows[y + E_NEXT] else -1
    if rows[y + E_BASE_KNOWN] >= BASE_PEER and not rows[x + E_STAGE] & ES_ACKS_SYN:
        rows[x + E_STAGE] |= ES_ACKS_SYN
        marks |= M_ACKS_SYN
    if rows[y + E_FIN] >= 0 and ack >= rows[y + E_FIN] and not rows[x + E_STAGE] & ES_ACKS_FIN:
        rows[x + E_STAGE] |= ES_ACKS_FIN
        marks |= M_ACKS_FIN
    return marks


def take_same_ack(x: int, y: int, ack: int, window: int, hole: int, rows: Words) -> int:
    """The same ACK again, and nothing else in the segment: what is it for? Returns a mark, or 0."""
    before = rows[x + E_WINDOW]
    last = rows[y + E_LAST_FLAGS]
    if rows[x + E_STAGE] & ES_ACKS_FIN:
        return M_ACK_AGAIN
    if (window == before or hole) and ack < rows[y + E_NEXT] and window != 0:
        rows[x + E_DUP_RUN] += 1
        rows[x + E_DUPLICATE_ACKS] += 1
        return M_DUPLICATE_ACK
    if (window > before >= 0 or (window < before < 0)) and rows[x + E_STAGE] & ES_PLAIN:
        return M_WINDOW_UPDATE
    if (
        window == before
        and rows[y + E_LAST_LEN] <= 1
        and rows[y + E_LAST_SEQ] == low32(rows[y + E_BASE] + rows[y + E_NEXT] - 1)
        and not last & (TCP_SYN | TCP_FIN | TCP_RST)
        and not (rows[y + E_LAST_LEN] and last & TCP_PSH and window)
    ):
        return M_ZERO_WINDOW_PROBE_ACK if window == 0 else M_KEEPALIVE_ACK
    return 0


def take_window(x: int, ack: int, window: int, idle: int, rows: Words) -> int:
    """The window of a segment that is not older than its sender's last one. Returns marks."""
    marks = 0
    before = rows[x + E_WINDOW]
    if before == 0 and window != 0 and rows[x + E_ZERO_WINDOWS]:
        marks |= M_WINDOW_OPENED
    rows[x + E_WINDOW] = window
    edge = ack + window
    if window >= 0:
        if edge < rows[x + E_EDGE] - 16384 and window < before and ack >= rows[x + E_ACK] and not idle:
            marks |= M_WINDOW_SHRUNK
        if edge > rows[x + E_EDGE]:
            rows[x + E_EDGE] = edge
    return marks


def take_ack(x: int, y: int, s: int, ack: int, overtaken: int, segments: Words, rows: Words) -> int:
    """What the segment's acknowledgment and window say (RFC 9293 3.10.7.4, fifth check). Returns marks."""
    flags = segments[s + S_FLAGS]
    pure = 1 if segments[s + S_LEN] == 0 and not flags & (TCP_SYN | TCP_FIN | TCP_RST) else 0
    # Behind the peer's FIN nothing follows that a window could keep back: hosts write there what they like.
    idle = 1 if rows[y + E_FIN] >= 0 and ack >= rows[y + E_FIN] else 0
    marks = 0
    window = scaled_window(x, y, s, segments, rows)
    hole = leaves_hole(y, s, ack, segments, rows)
    believe_damaged(y, ack, rows)
    if ack > rows[y + E_NEXT]:
        marks |= take_unseen(x, y, ack, pure, rows)
        if ack > rows[y + E_NEXT]:
            return marks
    if ack > rows[x + E_ACK]:
        marks |= take_new_ack(x, y, s, ack, hole, segments, rows)
    elif ack < rows[x + E_ACK]:
        marks |= M_ACK_OLD
    elif pure and not overtaken:
        marks |= take_same_ack(x, y, ack, window, hole, rows)
    if segments[s + S_SACKS] and rows[y + E_BASE_KNOWN]:
        left = widen(segments[s + S_SACK], rows[y + E_BASE], rows[y + E_NEXT])
        if left < ack:
            marks |= M_DSACK
        take_sacks(x, y, s, ack, segments, rows)
    if window == 0 and not idle and not flags & (TCP_SYN | TCP_FIN | TCP_RST):
        rows[x + E_ZERO_WINDOWS] += 1
        marks |= M_ZERO_WINDOW
    if not flags & TCP_RST and ack >= rows[x + E_LAST_ACK] and not overtaken:
        marks |= take_window(x, ack, window, idle, rows)
    return marks


def take_rst(x: int, y: int, seq: int, rows: Words) -> int:
    """Where an RST lies in its receiver's window (RFC 9293 3.10.7.4, RFC 5961 section 3.2). Returns marks."""
    left = rows[y + E_ACK]
    if left < 0 or rows[x + E_BASE_KNOWN] == BASE_NONE or not rows[x + E_SEGMENTS]:
        return 0
    # Its sender's next number, unless nothing that leads up to it was ever seen.
    if seq in (left, rows[y + E_LAST_ACK]) or (seq == rows[x + E_NEXT] and not in_hole(x, seq - 1, rows)):
        return 0
    if rows[x + E_FIN] >= 0 and rows[x + E_FIN] - 1 <= seq <= rows[x + E_FIN]:
        return 0
    if rows[y + E_WINDOW] < 0 and left < seq <= left + (-rows[y + E_WINDOW] << SHIFT_MOST):
        return 0  # the window is not known, since the scale of it is not
    right = rows[y + E_EDGE] if rows[y + E_EDGE] > rows[x + E_NEXT] else rows[x + E_NEXT]
    return M_RST_INEXACT if left <= seq <= right else M_RST_OUTSIDE


def is_reply(x: int, y: int, s: int, segments: Words, rows: Words) -> int:
    """Whether an RST answers one segment of the peer, from a host that has no such connection: M_REPLY_RST or 0.

    By RFC 9293 3.5.2 it then has no ACK where that segment had one. Small stacks and middleboxes send ACK with every
    RST: then its numbers are those of the segment just before (SEQ = SEG.ACK, ACK = SEG.SEQ + SEG.LEN). Those of an
    application that aborts are the same, as a rule. So it counts only at once, before anything else, and where a
    living connection would have sent an ACK: to a FIN, a SYN+ACK, what was there before, or after its own FIN; or where
    the timestamps that its segments bear are missing from it (RFC 7323 section 3.2).
    """
    if not segments[s + S_FLAGS] & TCP_ACK:
        return M_REPLY_RST
    last = rows[y + E_LAST_FLAGS]
    if (
        not rows[y + E_SEGMENTS]
        or last & (TCP_RST | TCP_ACK) != TCP_ACK
        or not rows[x + E_BASE_KNOWN]
        or segments[s + S_OPTIONS] & OPT_TIMESTAMPS
        or segments[s + S_SEQ] != low32(rows[x + E_BASE] + rows[y + E_LAST_ACK])
    ):
        return 0
    at_once = 50 * MILLISECOND
    if rows[y + E_RTT_MIN] > 0:
        at_once += 2 * rows[y + E_RTT_MIN]
    if segments[s + S_TIME] - rows[y + E_LAST_TIME] > at_once:
        return 0
    if not rows[x + E_LAST_FLAGS] & TCP_RST and (
        rows[x + E_LAST_TIME] > rows[y + E_LAST_TIME]
        or (rows[x + E_LAST_TIME] == rows[y + E_LAST_TIME] and rows[x + E_ACK] >= rows[y + E_NEXT])
    ):
        return 0  # it has answered
    ack = widen(segments[s + S_ACK], rows[y + E_BASE], rows[y + E_NEXT])
    length = rows[y + E_LAST_LEN] + (1 if last & TCP_SYN else 0) + (1 if last & TCP_FIN else 0)
    if segments[s + S_ACK] != low32(rows[y + E_LAST_SEQ] + length):
        # several came in a row, and each draws its own
        k = y + E_SAMPLES
        while k < y + E_SAMPLES + 8 and rows[k] != ack:
            k += 2
        if k == y + E_SAMPLES + 8 or segments[s + S_TIME] - rows[k + 1] > at_once:
            return 0
        length = 1
    if last & TCP_SYN or rows[x + E_TSVAL] >= 0 or (length and ack <= rows[x + E_ACK]):
        return M_REPLY_RST
    # its last word was its FIN; a bare ACK draws an answer only where the peer's close is over too
    if rows[x + E_FIN] >= 0:
        return M_REPLY_RST if length or rows[y + E_FIN] >= 0 else 0
    # a FIN alone, long after all data: nothing can have been left unread
    idle = 1 if length == 1 and segments[s + S_TIME] - rows[x + E_ACK_TIME] > 1000 * MILLISECOND else 0
    return M_REPLY_RST if last & TCP_FIN and idle else 0


def is_drawn(x: int, y: int, flags: int, seq: int, now: int, rows: Words) -> int:
    """Whether what its receiver sent last drew a reset that may be a reply: data, a probe or a FIN, right before.

    It bears that segment's ACK number. What its sender had acknowledged, or what calls for no answer, draws none.
    """
    if flags & TCP_ACK:
        return 1  # its numbers and its time have been looked at
    if not rows[y + E_SEGMENTS] or seq != rows[y + E_LAST_ACK]:
        return 0
    within = 1000 * MILLISECOND
    if rows[y + E_RTT_MIN] >= 0:
        within = ANSWER_DUE * MILLISECOND + 4 * rows[y + E_RTT_MIN]
    if now - rows[y + E_LAST_TIME] > within or rows[y + E_LAST_FLAGS] & (TCP_SYN | TCP_RST):
        return 0
    last = low32(rows[y + E_BASE] + rows[y + E_NEXT])
    probe = 1 if rows[y + E_LAST_SEQ] == low32(last - 1) else 0
    if not rows[y + E_LAST_LEN] and not rows[y + E_LAST_FLAGS] & TCP_FIN and not probe:
        return 0
    return 1 if rows[y + E_NEXT] > rows[x + E_ACK] or rows[y + E_LAST_TIME] > rows[x + E_LAST_TIME] else 0
