"""One segment in its connection: header prediction, or the long way through numbers, acknowledgments and marks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.acks import *
from tcptrace_fsm.kernels.carried import *
from tcptrace_fsm.kernels.copies import *
from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.log import *
from tcptrace_fsm.kernels.numbers import *
from tcptrace_fsm.kernels.rtt import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words


def join_train(x: int, y: int, now: int, rows: Words) -> int:
    """Since when it may be held back by a window: from the first of a train of segments without a pause."""
    pause = 50 * MILLISECOND
    if 4 * rows[x + E_RTT_MIN] > pause:
        pause = 4 * rows[x + E_RTT_MIN]
    blocked = (
        1
        if rows[y + E_WINDOW] == 0
        or (rows[y + E_EDGE] >= 0 and rows[x + E_NEXT] + rows[x + E_LONGEST] > rows[y + E_EDGE])
        else 0
    )
    if rows[x + E_BUSY_SINCE] < 0 or (
        now - rows[x + E_LAST_TIME] > pause and not blocked and not rows[x + E_HEAD_TIME] >= 0
    ):
        rows[x + E_BUSY_SINCE] = now
        # ... or from when its peer's window closed, if it goes on as soon as that opens
        if rows[x + E_BLOCKED_SINCE] >= 0 and now - rows[y + E_LAST_TIME] <= pause:
            rows[x + E_BUSY_SINCE] = rows[x + E_BLOCKED_SINCE]
    if rows[y + E_WINDOW] != 0:
        rows[x + E_BLOCKED_SINCE] = -1
    return 0


def count_numbers(x: int, s: int, whole: int, segments: Words, rows: Words) -> int:
    """Whether its sender numbers its packets one by one, and how often one of them did not come here.

    Not where bytes are missing as well (``whole`` is 0), which the way may have lost, nor behind what was several
    packets. A number that comes after all was overtaken.
    """
    if rows[x + E_IP_ID] <= 0:
        return 0
    step = (segments[s + S_IP_ID] - rows[x + E_IP_ID]) & 65535
    if step == 1:
        rows[x + E_LAST_FLAGS] += bit(NUMBERED_SHIFT)
    elif 1 < step < SKIPPED_NEAR:
        if whole and rows[x + E_LAST_LEN] <= ETHERNET_MSS and rows[x + E_LAST_FLAGS] >> SKIPPED_SHIFT < SKIPPED_MOST:
            rows[x + E_LAST_FLAGS] += bit(SKIPPED_SHIFT)
    elif step > 65536 - SKIPPED_NEAR and rows[x + E_LAST_FLAGS] >> SKIPPED_SHIFT:
        rows[x + E_LAST_FLAGS] -= bit(SKIPPED_SHIFT)
    return 0


def be_last(c: int, x: int, s: int, ack: int, now: int, segments: Words, rows: Words) -> int:
    """Keep what the next segment will be compared with."""
    rows[x + E_SEGMENTS] += 1
    rows[x + E_LAST_TIME] = now
    rows[x + E_LAST_SEQ] = segments[s + S_SEQ]
    if ack >= 0:
        rows[x + E_LAST_ACK] = ack
    rows[x + E_LAST_LEN] = segments[s + S_LEN]
    rows[x + E_LAST_FLAGS] = (rows[x + E_LAST_FLAGS] & ~LAST_FLAGS_MASK) | segments[s + S_FLAGS]
    if rows[x + E_IP_ID] <= 0 or ((segments[s + S_IP_ID] - rows[x + E_IP_ID]) & 65535) < 32768:
        rows[x + E_IP_ID] = segments[s + S_IP_ID]
    if rows[x + E_SEGMENTS] < 3 and rows[x + E_TTL] < 0:
        rows[x + E_TTL] = segments[s + S_TTL]
        if segments[s + S_OPTIONS] & OPT_BARE_LINK:
            rows[c + C_FLAGS] |= CF_BARE_LINK
    if now > rows[c + C_LAST_TIME]:
        rows[c + C_LAST_TIME] = now
    rows[c + C_LAST_FRAME] = segments[s + S_FRAME]
    return 0


def predicted(c: int, side: int, s: int, segments: Words, rows: Words, control: Words) -> int:
    """Take the segment that was to be expected: the next bytes in order, or an ACK of more, in an open connection.

    Van Jacobson's header prediction (RFC 7323 appendix A does it as TCPs do). Such a segment bears no mark, is not
    logged, and changes a few words only: those that :func:`take_segment` would change. Returns 1, or 0 and changes
    nothing where anything at all is out of the ordinary.
    """
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    now = segments[s + S_TIME]
    seq = rows[x + E_NEXT]
    if (
        rows[c + C_FLAGS] & (CF_SETTLED | CF_CLOSING | CF_REPLAYED) != CF_SETTLED
        or segments[s + S_FLAGS] & (TCP_SYN | TCP_FIN | TCP_RST | TCP_ACK) != TCP_ACK
        or segments[s + S_SEQ] != low32(rows[x + E_BASE] + seq)
        or segments[s + S_SACKS]
        or segments[s + S_FATE]
        or segments[s + S_CHECKSUM] == CHECKSUM_BAD
        or now < control[K_NOW]
        or not rows[y + E_BASE_KNOWN]
        or (rows[y + E_BASE_KNOWN] >= BASE_PEER and not rows[x + E_STAGE] & ES_ACKS_SYN)
        or (side == CLIENT and rows[c + C_HANDSHAKE_ACK_TIME] < 0)
    ):
        return 0
    ack = widen(segments[s + S_ACK], rows[y + E_BASE], rows[y + E_NEXT])
    length = segments[s + S_LEN]
    end = seq + length
    if ack > rows[y + E_NEXT] or ack < rows[x + E_LAST_ACK] or ack < rows[x + E_ACK] or ack < 0:
        return 0
    if length:
        if rows[x + E_LAST_SEQ] == segments[s + S_SEQ] and rows[x + E_LAST_LEN]:
            return 0
        if rows[y + E_WINDOW] >= 0 and 0 <= rows[y + E_EDGE] <= end:
            return 0
    elif ack == rows[x + E_ACK] or ack == rows[x + E_LAST_ACK]:
        return 0
    window = scaled_window(x, y, s, segments, rows)
    if window == 0 or not rows[x + E_WINDOW] or (window > 0 and ack + window < rows[x + E_EDGE] - 16384):
        return 0
    if segments[s + S_OPTIONS] & OPT_TIMESTAMPS:
        if rows[x + E_TSVAL] >= 0 and newer(rows[x + E_TSVAL], segments[s + S_TSVAL]):
            return 0
        rows[x + E_TSVAL] = segments[s + S_TSVAL]
    if segments[s + S_CHECKSUM]:
        learn_sum(x, y, s, segments, rows)
    if length:
        rows[x + E_STAGE] |= ES_DATA
        rows[x + E_BYTES] += length
        rows[x + E_UNIQUE] += length
        if length > rows[x + E_LONGEST]:
            rows[x + E_LONGEST] = length
        await_ack(x, end, now, rows)
        if rows[x + E_HEAD_TIME] < 0:
            rows[x + E_HEAD_TIME] = now
        rows[x + E_NEXT] = end
    if ack > rows[x + E_ACK]:
        take_samples(y, ack, now, rows)
        rows[x + E_ACK] = ack
        rows[x + E_ACK_TIME] = now
        rows[x + E_DUP_RUN] = 0
        rows[y + E_HEAD_TIME] = now if ack < rows[y + E_NEXT] else -1
    rows[x + E_WINDOW] = window
    if window >= 0 and ack + window > rows[x + E_EDGE]:
        rows[x + E_EDGE] = ack + window
    if length:
        join_train(x, y, now, rows)
    count_numbers(x, s, 1, segments, rows)
    be_last(c, x, s, ack, now, segments, rows)
    return 1


def plain_marks() -> int:
    """The marks that alone make no log record before the close: routine, or counted in the row.

    In a capture out of order every other frame may be stamped early: a log full of them would have no room for losses.
    """
    routine = M_HALF_CLOSE_DATA | M_WINDOW_UPDATE | M_ACK_AGAIN | M_DUPLICATE_ACK | M_ACK_OLD | M_WINDOW_FULL
    return routine | M_TIME_BACK


def take_segment(c: int, side: int, s: int, segments: Words, rows: Words, log: Words, control: Words) -> int:
    """Everything that one segment changes in its connection. Returns its marks."""
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    now = segments[s + S_TIME]
    flags = segments[s + S_FLAGS]
    length = segments[s + S_LEN]
    bad_answer = is_bad_answer(y, s, segments, rows)
    if not bad_answer:
        place(x, y, s, segments, rows)
    seq = rows[x + E_NEXT]
    if rows[x + E_BASE_KNOWN]:
        seq = widen(segments[s + S_SEQ], rows[x + E_BASE], rows[x + E_NEXT])
    ack = -1
    if flags & TCP_ACK and rows[y + E_BASE_KNOWN]:
        ack = widen(segments[s + S_ACK], rows[y + E_BASE], rows[y + E_NEXT])
        if ack < 0:
            ack = 0
    marks = 0
    if segments[s + S_FATE] == FATE_COPY:
        marks = M_NETWORK_DUPLICATE
    elif rows[x + E_SEGMENTS] and is_replayed(c, x, s, segments, rows):
        marks = M_CAPTURE_DUPLICATE
    elif rows[x + E_SEGMENTS] and is_capture_duplicate(c, x, y, s, ack, segments, rows):
        marks = M_CAPTURE_DUPLICATE
    elif rows[x + E_SEGMENTS] and is_renumbered(c, x, side, s, segments, rows):
        marks = M_CAPTURE_DUPLICATE
        if not rows[c + C_FLAGS] & CF_RENUMBERED:
            renumber(c, x, y, s, segments, rows, log)
    if marks:
        if marks & M_NETWORK_DUPLICATE:
            rows[x + E_SEGMENTS] += 1  # what the capture alone has twice was sent once
        if now > rows[c + C_LAST_TIME]:
            rows[c + C_LAST_TIME] = now
        rows[c + C_LAST_FRAME] = segments[s + S_FRAME]
        if not rows[c + C_MARKS] & marks:
            log_segment(c, x, side, s, seq, ack, marks, segments, rows, log, control)
            rows[x + E_RUN] = -1
            rows[y + E_RUN] = -1
        rows[c + C_MARKS] |= marks
        return marks
    overtaken = 0
    if (
        segments[s + S_OPTIONS] & OPT_TIMESTAMPS
        and rows[x + E_TSVAL] >= 0
        and newer(rows[x + E_TSVAL], segments[s + S_TSVAL])
        and not flags & TCP_RST
    ):
        overtaken = 1
        marks |= M_PAWS
    if flags & TCP_RST:
        rows[x + E_RSTS] += 1
        marks |= take_rst(x, y, seq, rows) | is_reply(x, y, s, segments, rows)
        if marks & M_REPLY_RST and is_drawn(x, y, flags, seq, now, rows):
            marks |= M_RST_DRAWN
        if 1 <= ack <= rows[y + E_NEXT] and not rows[x + E_STAGE] and rows[y + E_SEGMENTS] == rows[y + E_SYNS]:
            rows[c + C_FLAGS] |= CF_REFUSED
            if rows[c + C_OLDER] >= 0 and rows[rows[c + C_OLDER] + C_LIFE] == LIFE_LIVE:
                rows[rows[c + C_OLDER] + C_REFUSED] = now
    elif bad_answer:
        rows[x + E_SYNS] += 1
        marks |= M_ACK_BEYOND | M_BASE_CHANGED
        if rows[x + E_STAGE] & ES_SYN and seq == 0:
            marks |= M_SYN_ACK_AGAIN
    elif rows[y + E_FIN] >= 0 and rows[y + E_BASE_KNOWN] == BASE_SYN and ack > rows[y + E_FIN]:
        marks |= M_ACK_BEYOND
    elif not flags & (TCP_SYN | TCP_ACK):
        marks |= M_ODD_FLAGS  # nobody takes a segment without ACK (RFC 9293 3.10.7.4, fifth check)
    elif is_from_before(x, s, segments, rows):
        marks |= M_ACK_BEYOND | (M_FIN_OLD if flags & TCP_FIN else 0)
    elif segments[s + S_CHECKSUM] == CHECKSUM_BAD and is_damaged(x, y, s, segments, rows):
        marks |= M_BAD_CHECKSUM
        if seq + length > rows[x + E_CHECKSUMS] >> SUMS_END_SHIFT:
            rows[x + E_CHECKSUMS] &= (1 << SUMS_END_SHIFT) - 1
            rows[x + E_CHECKSUMS] |= (seq + length) << SUMS_END_SHIFT
    else:
        marks |= take_sequence(c, x, y, side, s, seq, now, segments, rows)
    if segments[s + S_CHECKSUM]:
        learn_sum(x, y, s, segments, rows)
    if ack >= 0 and not marks & (M_BAD_CHECKSUM | M_ACK_BEYOND) and not flags & TCP_RST:
        # A pure ACK that begins below what its sender has sent was overtaken too.
        late = overtaken
        if (
            not length
            and not flags & (TCP_SYN | TCP_FIN)
            and seq < rows[x + E_NEXT]
            and not marks & (M_KEEPALIVE | M_ZERO_WINDOW_PROBE)
        ):
            late = 1
        marks |= take_ack(x, y, s, ack, now, late, segments, rows)
    if segments[s + S_OPTIONS] & OPT_TIMESTAMPS and not overtaken and not marks & (M_BASE_CHANGED | M_ACK_BEYOND):
        rows[x + E_TSVAL] = segments[s + S_TSVAL]
    if rows[x + E_STAGE] & ES_RST and not flags & TCP_RST:
        marks |= M_AFTER_RST
    if now < control[K_NOW]:
        marks |= M_TIME_BACK
    if (
        (flags & TCP_SYN and flags & (TCP_FIN | TCP_RST | TCP_URG))
        or not flags & (TCP_SYN | TCP_RST | TCP_ACK)
        or flags & (TCP_FIN | TCP_RST) == TCP_FIN | TCP_RST
    ):
        marks |= M_ODD_FLAGS
    if not flags & (TCP_SYN | TCP_RST) and not rows[x + E_STAGE] & ES_PLAIN and not marks & M_BAD_CHECKSUM:
        rows[x + E_STAGE] |= ES_PLAIN
        marks |= M_FIRST_PLAIN
    if flags & TCP_FIN and marks & M_FIN_AGAIN:
        # A sender that repeats its FIN gives it a new timestamp and a new identification.
        if (
            rows[x + E_FIN_TSVAL] >= 0
            and segments[s + S_OPTIONS] & OPT_TIMESTAMPS
            and segments[s + S_TSVAL] == rows[x + E_FIN_TSVAL]
        ) or (rows[x + E_FIN_IP_ID] > 0 and segments[s + S_IP_ID] == rows[x + E_FIN_IP_ID]):
            marks |= M_NETWORK_DUPLICATE
    elif flags & TCP_FIN and not marks & (M_BAD_CHECKSUM | M_ACK_BEYOND):
        rows[x + E_FIN_TSVAL] = segments[s + S_TSVAL] if segments[s + S_OPTIONS] & OPT_TIMESTAMPS else -1
        rows[x + E_FIN_IP_ID] = segments[s + S_IP_ID]
        # Hosts that number a connection's packets one by one show when one of them did not pass here.
        skipped = segments[s + S_IP_ID] - rows[x + E_IP_ID]
        if (
            2 <= skipped <= 3
            and rows[x + E_IP_ID] > 0
            and rows[x + E_LAST_LEN] <= ETHERNET_MSS
            and rows[x + E_FINS] < 2
        ):
            marks |= M_SENT_BEFORE
    if rows[x + E_STAGE] & ES_ACKS_FIN and not flags & TCP_RST:
        if length and not marks & M_RETRANSMISSION:
            marks |= M_HALF_CLOSE_DATA
        if (
            flags & TCP_FIN
            and not marks & (M_FIN_AGAIN | M_ACKS_FIN)
            and now - rows[x + E_ACK_TIME] >= 5000 * MILLISECOND
        ):
            marks |= M_CLOSE_SLOW
    if flags & TCP_RST:
        rows[x + E_STAGE] |= ES_RST
    # handshake as seen here
    if flags & TCP_SYN and not flags & TCP_RST and not bad_answer:
        if flags & TCP_ACK:
            if rows[c + C_SYN_ACK_TIME] < 0:
                rows[c + C_SYN_ACK_TIME] = now
                if rows[c + C_OLDER] >= 0 and rows[rows[c + C_OLDER] + C_LIFE] == LIFE_LIVE:
                    rows[rows[c + C_OLDER] + C_ACCEPTED] = now
            if rows[c + C_FLAGS] & CF_DATA_IN_SYN and side == SERVER and ack > 1:
                rows[c + C_FLAGS] |= CF_FAST_OPEN
        elif rows[c + C_SYN_TIME] < 0:
            rows[c + C_SYN_TIME] = now
        if side == SERVER and not flags & TCP_ACK:
            rows[c + C_FLAGS] |= CF_SIMULTANEOUS_OPEN
    elif (
        rows[c + C_HANDSHAKE_ACK_TIME] < 0
        and side == CLIENT
        and rows[c + C_SYN_ACK_TIME] >= 0
        and flags & TCP_ACK
        and not flags & TCP_RST
    ):
        rows[c + C_HANDSHAKE_ACK_TIME] = now
    if rows[x + E_WINDOW] == 0 and rows[y + E_BLOCKED_SINCE] < 0:
        rows[y + E_BLOCKED_SINCE] = now
    if length or flags & TCP_FIN:
        join_train(x, y, now, rows)
    count_numbers(x, s, 0 if marks & (M_GAP | M_RETRANSMISSION | M_OUT_OF_ORDER) else 1, segments, rows)
    be_last(c, x, s, ack, now, segments, rows)
    rows[c + C_MARKS] |= marks
    # the log
    important = 1 if flags & (TCP_SYN | TCP_FIN | TCP_RST) else 0
    if flags & (TCP_FIN | TCP_RST):
        rows[c + C_FLAGS] |= CF_CLOSING
    stage = rows[c + C_FLAGS]
    notable = marks & ~plain_marks()
    if important or notable:
        if (
            important
            or notable & (M_FIRST_PLAIN | M_ACKS_SYN | M_ACKS_FIN)
            or rows[c + C_LOG_COUNT] < control[K_LOG_LIMIT]
        ):
            if rows[c + C_LOG_COUNT] < 64 * control[K_LOG_LIMIT]:
                log_segment(c, x, side, s, seq, ack, marks, segments, rows, log, control)
                rows[x + E_RUN] = -1
                rows[y + E_RUN] = -1
        else:
            rows[c + C_FLAGS] |= CF_LOG_FULL
    elif stage & CF_CLOSING or not stage & CF_SETTLED:
        if rows[x + E_RUN] >= 0 and log[rows[x + E_RUN] + L_FATE] & LOG_FATE_MASK == segments[s + S_FATE]:
            extend_run(rows[x + E_RUN], s, segments, log)
        else:
            rows[x + E_RUN] = log_segment(c, x, side, s, seq, ack, marks, segments, rows, log, control)
    if not stage & CF_SETTLED and rows[x + E_STAGE] & rows[y + E_STAGE] & ES_PLAIN:
        rows[c + C_FLAGS] |= CF_SETTLED
    return marks
