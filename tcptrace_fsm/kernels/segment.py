"""One segment in its connection: header prediction, or the long way through numbers, acknowledgments and marks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.acks import *
from tcptrace_fsm.kernels.carried import *
from tcptrace_fsm.kernels.copies import *
from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.log import *
from tcptrace_fsm.kernels.numbers import *
from tcptrace_fsm.kernels.replayed import *
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


def comes_again(x: int, y: int, s: int, segments: Words, rows: Words) -> int:
    """Whether data that are new here were sent before, and lost on their way here: 1 or 0.

    Their sender numbers its packets one by one, and some are missing since its last one, when it had nothing left to
    acknowledge: they bore data. What a timer repeats comes after it: the first time within a second, each further time
    after twice as long (RFC 6298).
    """
    counts = rows[x + E_LAST_FLAGS]
    skipped = ((segments[s + S_IP_ID] - rows[x + E_IP_ID]) & 65535) - 1
    if rows[x + E_IP_ID] <= 0 or not 1 <= skipped < SKIPPED_NEAR - 1 or rows[x + E_LAST_LEN] > ETHERNET_MSS:
        return 0
    steps = counts >> NUMBERED_SHIFT & bit(SKIPPED_SHIFT - NUMBERED_SHIFT) - 1
    if steps < 4 or counts >> SKIPPED_SHIFT > steps >> 2 or rows[x + E_LAST_ACK] < rows[y + E_NEXT]:
        return 0
    paused = segments[s + S_TIME] - rows[x + E_LAST_TIME]
    most = bit(skipped if skipped < 6 else 6) - 1
    return 1 if TIMEOUT_LEAST * MILLISECOND <= paused <= most * 1000 * MILLISECOND else 0


def be_last(c: int, x: int, s: int, ack: int, now: int, segments: Words, rows: Words) -> int:
    """Keep what the next segment will be compared with."""
    rows[x + E_SEGMENTS] += 1
    # What is behind by its number was overtaken, and not by so much: else its sender draws numbers by chance.
    if (
        rows[x + E_IP_ID] <= 0
        or ((segments[s + S_IP_ID] - rows[x + E_IP_ID]) & 65535) < 32768
        or (now - rows[x + E_LAST_TIME] >= TIMEOUT_LEAST * MILLISECOND and not is_unsent(s, segments))
        or segments[s + S_FLAGS] & TCP_RST  # which may be numbered by another counter
    ):
        rows[x + E_IP_ID] = segments[s + S_IP_ID]
    rows[x + E_LAST_TIME] = now
    rows[x + E_LAST_SEQ] = segments[s + S_SEQ]
    if ack >= 0:
        rows[x + E_LAST_ACK] = ack
    rows[x + E_LAST_LEN] = segments[s + S_LEN]
    rows[x + E_LAST_FLAGS] = (rows[x + E_LAST_FLAGS] & ~LAST_FLAGS_MASK) | segments[s + S_FLAGS]
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
        rows[c + C_FLAGS] & (CF_SETTLED | CF_CLOSING | CF_REPLAYED | CF_RESTAMPED) != CF_SETTLED
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
        if now - rows[x + E_LAST_TIME] >= TIMEOUT_LEAST * MILLISECOND and comes_again(x, y, s, segments, rows):
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


def copy_mark(c: int, side: int, s: int, ack: int, segments: Words, rows: Words, log: Words) -> int:
    """Whether a segment is in the capture for another time: the mark that says whose copy it is, or 0."""
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    if segments[s + S_FATE] == FATE_COPY:
        return M_NETWORK_DUPLICATE
    if not rows[x + E_SEGMENTS]:
        return 0
    if rows[c + C_FLAGS] & CF_RESTAMPED and believe_opening(c, x, s, segments, rows, log):
        return 0
    if is_replayed(c, x, s, segments, rows) or is_capture_duplicate(c, x, y, s, ack, segments, rows):
        return M_CAPTURE_DUPLICATE
    if is_beginning_again(c, x, side, s, segments, rows, log):
        return M_CAPTURE_DUPLICATE
    if is_renumbered(c, x, side, s, segments, rows):
        if not rows[c + C_FLAGS] & CF_RENUMBERED:
            renumber(c, x, y, s, segments, rows, log)
        return M_CAPTURE_DUPLICATE
    return 0


def count_copy(c: int, x: int, s: int, marks: int, segments: Words, rows: Words) -> int:
    """A copy is seen and not taken: it moves the connection's time, and no number."""
    if marks & M_NETWORK_DUPLICATE:
        rows[x + E_SEGMENTS] += 1  # what the capture alone has twice was sent once
    rows[c + C_MARKS] |= marks
    if rows[c + C_FLAGS] & CF_RESTAMPED:
        return marks  # its stamp is of another story
    if segments[s + S_TIME] > rows[c + C_LAST_TIME]:
        rows[c + C_LAST_TIME] = segments[s + S_TIME]
    rows[c + C_LAST_FRAME] = segments[s + S_FRAME]
    return marks


def has_older_stamp(x: int, s: int, segments: Words, rows: Words) -> int:
    """Whether the sender's timestamp has run back: PAWS drops such a segment (RFC 7323 section 5.3); 1 or 0."""
    if not segments[s + S_OPTIONS] & OPT_TIMESTAMPS or segments[s + S_FLAGS] & TCP_RST:
        return 0
    return 1 if rows[x + E_TSVAL] >= 0 and newer(rows[x + E_TSVAL], segments[s + S_TSVAL]) else 0


def take_reset(c: int, side: int, s: int, seq: int, ack: int, segments: Words, rows: Words) -> int:
    """An RST: where it lies, what it answers, and whether it refuses a SYN (second check). Returns marks."""
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    now = segments[s + S_TIME]
    rows[x + E_RSTS] += 1
    marks = take_rst(x, y, seq, rows) | is_reply(x, y, s, segments, rows)
    if marks & M_REPLY_RST and is_drawn(x, y, segments[s + S_FLAGS], seq, now, rows):
        marks |= M_RST_DRAWN
    bare = 1 if ack < 0 and seq == rows[y + E_ACK] else 0  # who is asked by a SYN+ACK out of nothing answers so
    if (bare or 1 <= ack <= rows[y + E_NEXT]) and not rows[x + E_STAGE] and rows[y + E_SEGMENTS] == rows[y + E_SYNS]:
        if not bare:
            rows[c + C_FLAGS] |= CF_REFUSED
        if rows[c + C_OLDER] >= 0 and rows[rows[c + C_OLDER] + C_LIFE] == LIFE_LIVE:
            rows[rows[c + C_OLDER] + C_REFUSED] = now
    return marks


def take_bad_answer(x: int, seq: int, rows: Words) -> int:
    """A SYN+ACK that acknowledges what was never sent: its numbers are of another connection. Returns marks."""
    rows[x + E_SYNS] += 1
    marks = M_ACK_BEYOND | M_BASE_CHANGED
    if rows[x + E_STAGE] & ES_SYN and seq == 0:
        marks |= M_SYN_ACK_AGAIN
    return marks


def take_numbers(c: int, side: int, s: int, seq: int, ack: int, segments: Words, rows: Words) -> int:
    """What its sender's numbers say, unless nobody takes the segment. Returns marks.

    Not taken: an ACK of what was never sent, no ACK at all (both fifth check), what is of an earlier connection, and
    what is damaged.
    """
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    flags = segments[s + S_FLAGS]
    if rows[y + E_FIN] >= 0 and rows[y + E_BASE_KNOWN] == BASE_SYN and ack > rows[y + E_FIN]:
        return M_ACK_BEYOND
    if not flags & (TCP_SYN | TCP_ACK):
        return M_ODD_FLAGS
    if is_from_before(x, s, segments, rows):
        return M_ACK_BEYOND | (M_FIN_OLD if flags & TCP_FIN else 0)
    if segments[s + S_CHECKSUM] == CHECKSUM_BAD and is_damaged(x, y, s, segments, rows):
        end = seq + segments[s + S_LEN]
        if end > rows[x + E_CHECKSUMS] >> SUMS_END_SHIFT:
            rows[x + E_CHECKSUMS] &= (1 << SUMS_END_SHIFT) - 1
            rows[x + E_CHECKSUMS] |= end << SUMS_END_SHIFT
        return M_BAD_CHECKSUM
    return take_sequence(c, side, s, seq, segments, rows)


def is_late_ack(x: int, s: int, seq: int, marks: int, segments: Words, rows: Words) -> int:
    """Whether a pure ACK begins below what its sender has sent, and so was overtaken on its way: 1 or 0."""
    if segments[s + S_LEN] or segments[s + S_FLAGS] & (TCP_SYN | TCP_FIN):
        return 0
    return 1 if seq < rows[x + E_NEXT] and not marks & (M_KEEPALIVE | M_ZERO_WINDOW_PROBE) else 0


def take_flags(x: int, s: int, marks: int, segments: Words, rows: Words, control: Words) -> int:
    """What flags and time alone say: after an RST, behind the clock, flags that do not go together. Returns marks."""
    flags = segments[s + S_FLAGS]
    more = 0
    if rows[x + E_STAGE] & ES_RST and not flags & TCP_RST:
        more |= M_AFTER_RST
    if segments[s + S_TIME] < control[K_NOW]:
        more |= M_TIME_BACK
    if (
        (flags & TCP_SYN and flags & (TCP_FIN | TCP_RST | TCP_URG))
        or not flags & (TCP_SYN | TCP_RST | TCP_ACK)
        or flags & (TCP_FIN | TCP_RST) == TCP_FIN | TCP_RST
    ):
        more |= M_ODD_FLAGS
    if not flags & (TCP_SYN | TCP_RST) and not rows[x + E_STAGE] & ES_PLAIN and not marks & M_BAD_CHECKSUM:
        rows[x + E_STAGE] |= ES_PLAIN
        more |= M_FIRST_PLAIN
    return more


def learn_from_fin(x: int, s: int, marks: int, segments: Words, rows: Words) -> int:
    """A FIN: the same one again, or the first, and whether it was sent before (eighth check). Returns marks."""
    stamped = segments[s + S_OPTIONS] & OPT_TIMESTAMPS
    if marks & M_FIN_AGAIN:
        # A sender that repeats its FIN gives it a new timestamp and a new identification.
        if (rows[x + E_FIN_TSVAL] >= 0 and stamped and segments[s + S_TSVAL] == rows[x + E_FIN_TSVAL]) or (
            rows[x + E_FIN_IP_ID] > 0 and segments[s + S_IP_ID] == rows[x + E_FIN_IP_ID]
        ):
            return M_NETWORK_DUPLICATE
        return 0
    if marks & (M_BAD_CHECKSUM | M_ACK_BEYOND):
        return 0
    rows[x + E_FIN_TSVAL] = segments[s + S_TSVAL] if stamped else -1
    rows[x + E_FIN_IP_ID] = segments[s + S_IP_ID]
    # Hosts that number a connection's packets one by one show when one of them did not pass here.
    skipped = segments[s + S_IP_ID] - rows[x + E_IP_ID]
    if 2 <= skipped <= 3 and rows[x + E_IP_ID] > 0 and rows[x + E_LAST_LEN] <= ETHERNET_MSS and rows[x + E_FINS] < 2:
        return M_SENT_BEFORE
    return 0


def take_half_closed(x: int, s: int, marks: int, segments: Words, rows: Words) -> int:
    """What comes from a side that has acknowledged its peer's FIN: data still, or its own FIN late. Returns marks."""
    more = 0
    if segments[s + S_LEN] and not marks & M_RETRANSMISSION:
        more |= M_HALF_CLOSE_DATA
    if (
        segments[s + S_FLAGS] & TCP_FIN
        and not marks & (M_FIN_AGAIN | M_ACKS_FIN)
        and segments[s + S_TIME] - rows[x + E_ACK_TIME] >= 5000 * MILLISECOND
    ):
        more |= M_CLOSE_SLOW
    return more


def lacks_third_ack(c: int, s: int, ack: int, segments: Words, rows: Words) -> int:
    """Whether the opener's first words behind the SYN+ACK are not its answer to it: another did not pass here.

    By its number, where it counts its packets; else by its time: no ACK is held back for long.
    """
    x = c + C_ENDPOINTS
    if ack != 1 or not (segments[s + S_LEN] or segments[s + S_FLAGS] & TCP_FIN) or rows[c + C_FLAGS] & CF_DATA_IN_SYN:
        return 0
    if rows[x + E_IP_ID] > 0 and segments[s + S_IP_ID] > 0:
        return 1 if segments[s + S_IP_ID] - rows[x + E_IP_ID] == 2 else 0
    return 1 if segments[s + S_TIME] - rows[c + C_SYN_ACK_TIME] > 200 * MILLISECOND else 0


def take_opening(c: int, side: int, s: int, ack: int, segments: Words, rows: Words) -> int:
    """When the parts of the handshake passed here, and of which kind it is. Returns marks."""
    flags = segments[s + S_FLAGS]
    now = segments[s + S_TIME]
    if flags & TCP_RST:
        return 0
    if not flags & TCP_SYN:
        if rows[c + C_HANDSHAKE_ACK_TIME] < 0 and side == CLIENT and rows[c + C_SYN_ACK_TIME] >= 0 and flags & TCP_ACK:
            rows[c + C_HANDSHAKE_ACK_TIME] = now
            return M_ACK_MISSING if lacks_third_ack(c, s, ack, segments, rows) else 0
        return 0
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
    return 0


def place_in_log(c: int, s: int, marks: int, segments: Words, rows: Words, control: Words) -> int:
    """Where a segment is logged: 1 in a record of its own, 2 in that of a run, 0 nowhere."""
    flags = segments[s + S_FLAGS]
    important = 1 if flags & (TCP_SYN | TCP_FIN | TCP_RST) else 0
    if flags & (TCP_FIN | TCP_RST):
        rows[c + C_FLAGS] |= CF_CLOSING
    stage = rows[c + C_FLAGS]
    notable = marks & ~plain_marks()
    if not important and not notable:
        return 2 if stage & CF_CLOSING or not stage & CF_SETTLED else 0
    if important or notable & (M_FIRST_PLAIN | M_ACKS_SYN | M_ACKS_FIN) or rows[c + C_LOG_COUNT] < control[K_LOG_LIMIT]:
        return 1 if rows[c + C_LOG_COUNT] < 64 * control[K_LOG_LIMIT] else 0
    rows[c + C_FLAGS] |= CF_LOG_FULL
    return 0


def joins_run(x: int, s: int, segments: Words, rows: Words, log: Words) -> int:
    """Let the run of its sender stand for one more segment, where there is one of that fate: 1 or 0."""
    if rows[x + E_RUN] < 0 or log[rows[x + E_RUN] + L_FATE] & LOG_FATE_MASK != segments[s + S_FATE]:
        return 0
    extend_run(rows[x + E_RUN], s, segments, log)
    return 1


def take_segment(c: int, side: int, s: int, segments: Words, rows: Words, log: Words, control: Words) -> int:
    """Everything that one segment changes in its connection, in the order of RFC 9293 3.10.7.4. Returns its marks."""
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    now = segments[s + S_TIME]
    flags = segments[s + S_FLAGS]
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
    elif flags & TCP_ACK and not segments[s + S_ACK] and segments[s + S_SEQ]:
        ack = 0  # an RST's, of nothing: its sender has received no SYN, or not one in four billion
    marks = copy_mark(c, side, s, ack, segments, rows, log)
    if marks:
        if not rows[c + C_MARKS] & marks:
            number_record(log_segment(c, side, s, segments, rows, log, control), seq, ack, marks, log)
            rows[x + E_RUN] = -1
            rows[y + E_RUN] = -1
        return count_copy(c, x, s, marks, segments, rows)
    overtaken = has_older_stamp(x, s, segments, rows)
    marks = M_PAWS if overtaken else 0
    if segments[s + S_LEN] and seq == rows[x + E_NEXT] and not flags & (TCP_SYN | TCP_FIN | TCP_RST):
        marks |= M_SENT_BEFORE if comes_again(x, y, s, segments, rows) else 0
    if flags & TCP_RST and segments[s + S_CHECKSUM] == CHECKSUM_BAD and is_damaged(x, y, s, segments, rows):
        marks |= M_BAD_CHECKSUM
    elif flags & TCP_RST:
        marks |= take_reset(c, side, s, seq, ack, segments, rows)
    elif bad_answer:
        marks |= take_bad_answer(x, seq, rows)
    else:
        marks |= take_numbers(c, side, s, seq, ack, segments, rows)
    if segments[s + S_CHECKSUM]:
        learn_sum(x, y, s, segments, rows)
    if ack >= 0 and not marks & (M_BAD_CHECKSUM | M_ACK_BEYOND) and not flags & TCP_RST:
        late = 1 if overtaken or is_late_ack(x, s, seq, marks, segments, rows) else 0
        marks |= take_ack(x, y, s, ack, late, segments, rows)
    if segments[s + S_OPTIONS] & OPT_TIMESTAMPS and not overtaken and not marks & (M_BASE_CHANGED | M_ACK_BEYOND):
        rows[x + E_TSVAL] = segments[s + S_TSVAL]
    marks |= take_flags(x, s, marks, segments, rows, control)
    if marks & M_TIME_BACK and now < rows[c + C_LAST_TIME] - STAMPED_BACK * MILLISECOND:
        rows[c + C_FLAGS] |= CF_SET_BACK
    if flags & TCP_FIN:
        marks |= learn_from_fin(x, s, marks, segments, rows)
    if rows[x + E_STAGE] & ES_ACKS_FIN and not flags & TCP_RST:
        marks |= take_half_closed(x, s, marks, segments, rows)
    if flags & TCP_RST and not marks & M_BAD_CHECKSUM:
        rows[x + E_STAGE] |= ES_RST
    if not bad_answer:
        marks |= take_opening(c, side, s, ack, segments, rows)
    if rows[x + E_WINDOW] == 0 and rows[y + E_BLOCKED_SINCE] < 0:
        rows[y + E_BLOCKED_SINCE] = now
    if segments[s + S_LEN] or flags & TCP_FIN:
        join_train(x, y, now, rows)
    count_numbers(x, s, 0 if marks & (M_GAP | M_RETRANSMISSION | M_OUT_OF_ORDER) else 1, segments, rows)
    be_last(c, x, s, ack, now, segments, rows)
    rows[c + C_MARKS] |= marks
    where = place_in_log(c, s, marks, segments, rows, control)
    if where == 1 or (where == 2 and not joins_run(x, s, segments, rows, log)):
        r = log_segment(c, side, s, segments, rows, log, control)
        number_record(r, seq, ack, marks, log)
        rows[x + E_RUN] = r if where == 2 else -1
        if where == 1:
            rows[y + E_RUN] = -1
    if not rows[c + C_FLAGS] & CF_SETTLED and rows[x + E_STAGE] & rows[y + E_STAGE] & ES_PLAIN:
        rows[c + C_FLAGS] |= CF_SETTLED
    return marks
