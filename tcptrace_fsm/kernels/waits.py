"""Where the time of a connection went: who waited for whom, and for what.

Each moment between a connection's first and last segment goes for exactly one thing: a transfer, the handshake, an
application that had all it needed and said nothing, a window with no room, the repetition of what was lost, an ACK that
was held back, the close. What a pause was for often shows only when it ends. So time is accounted for when something
*changes*: new data, a repetition, a SYN, FIN or RST, a window that was shut. Pure ACKs and keepalives change nothing
and leave the pause before them open.

Way and turn. A request needs half a round trip from here to its receiver, the answer half a round trip back; what an
answer takes longer than that is the application's. The round trip between here and an endpoint is the shortest time
in which it acknowledged, by a SYN+ACK or a pure ACK, all that its peer had sent. Whose turn it is follows from who sent
new data last, without a look at the data; an answer acknowledges what it answers, or it is none.

Only two things are ever taken back: a repetition that proves needless, and the transfer of a round trip that proves to
have filled the window. Memory is constant, and whatever order and stamps segments come in, the times add up to
``C_LAST_TIME - C_FIRST_TIME``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.incarnations import only_asked, patience_with
from tcptrace_fsm.kernels.intervals import *
from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *
from tcptrace_fsm.kernels.sequence import *
from tcptrace_fsm.kernels.turns import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words
    from tcptrace_fsm.kernels.records import Tracker

__all__ = ["end_waits"]


# --- one segment ------------------------------------------------------------------------------------------------------


def begin(c: int, rows: Words) -> int:
    """The first segment of a connection. Returns its bits."""
    rows[c + C_WAIT_DONE] = rows[c + C_FIRST_TIME]
    rows[c + C_WAIT_FRAME] = rows[c + C_FIRST_FRAME]
    rows[c + C_WAIT_WAY] = -1
    rows[c + C_WAIT_WAY + 1] = -1
    rows[c + C_RESPONSE_MIN] = -1
    rows[c + C_IDLE] = -1
    rows[c + C_RUN_AFTER] = -1
    rows[c + C_LONGEST_BEFORE] = -1
    rows[c + C_LONGEST_AFTER] = -1
    rows[c + C_SLOWEST_FRAME] = -1
    rows[c + C_PAUSE_FRAME] = -1
    rows[c + C_HELD_FRAME] = -1
    rows[c + C_WAIT_ACKED] = -1
    rows[c + C_LEAST_REQUEST] = -1
    if rows[c + C_SYN_TIME] < 0 and rows[c + C_SYN_ACK_TIME] < 0:
        return WB_BEGUN | WB_OPEN
    return WB_BEGUN


def sample(c: int, side: int, bits: int, rows: Words) -> int:
    """``side`` has just acknowledged all that its peer sent: the round trip to it is no longer than that."""
    peer = 1 - side
    if rows[c + C_WAIT_SPOKE + peer] < rows[c + C_FIRST_TIME]:
        return 0  # nobody has seen it speak
    if rows[c + C_ENDPOINTS + side * ENDPOINT_SIZE + E_ACK] >= rows[c + C_WAIT_SEEN + peer]:
        took = rows[c + C_LAST_TIME] - rows[c + C_WAIT_SPOKE + peer]
        if not bits & WB_REPEATED << peer and (rows[c + C_WAIT_WAY + side] < 0 or took < rows[c + C_WAIT_WAY + side]):
            rows[c + C_WAIT_WAY + side] = took
        acked = rows[c + C_ENDPOINTS + side * ENDPOINT_SIZE + E_ACK_TIME]
        if (
            side == SERVER
            and bits & WB_SPOKEN
            and (
                rows[c + C_WAIT_ACKED] < rows[c + C_WAIT_SPOKE]
                or (acked == rows[c + C_LAST_TIME] and not bits & WB_FIN)
            )
        ):
            rows[c + C_WAIT_ACKED] = rows[c + C_LAST_TIME]
    return 0


def look(c: int, bits: int, rows: Words) -> int:
    """How the two ends stand after a segment: what is missing, whose window is full. Returns the new bits."""
    x = c + C_ENDPOINTS
    y = x + ENDPOINT_SIZE
    rows[c + C_WAIT_SEEN] = rows[x + E_NEXT]
    rows[c + C_WAIT_SEEN + 1] = rows[y + E_NEXT]
    tight = bits & WB_TIGHT
    bits &= ~(WB_UNSETTLED | WB_BLOCKED | WB_BLOCKED << 1 | WB_LOSS | WB_LOSS << 1 | WB_TIGHT)
    if rows[y + E_ACK] < rows[x + E_NEXT] and rows[y + E_SEGMENTS]:
        bits |= WB_UNSETTLED
        if rows[y + E_DUP_RUN] or (
            rows[x + E_HOLES] and rows[x + E_HOLE + 2 * rows[x + E_HOLES] - 1] > rows[y + E_ACK] >= 0
        ):
            bits |= WB_LOSS
    if rows[x + E_ACK] < rows[y + E_NEXT] and rows[x + E_SEGMENTS]:
        bits |= WB_UNSETTLED
        if rows[x + E_DUP_RUN] or (
            rows[y + E_HOLES] and rows[y + E_HOLE + 2 * rows[y + E_HOLES] - 1] > rows[x + E_ACK] >= 0
        ):
            bits |= WB_LOSS << 1
    last = SERVER if bits & WB_SERVER_LAST else CLIENT
    if last == SERVER:  # now ``x`` is who spoke last
        y = x
        x += ENDPOINT_SIZE
    if bits & WB_SPOKEN:
        if rows[y + E_ACK] >= rows[x + E_NEXT]:
            bits &= ~WB_REFUSED
        elif rows[y + E_WINDOW] == 0:
            bits |= WB_REFUSED
        room = room_upto(x, y, rows) - rows[x + E_NEXT]
        least = segment_room(y, rows)
        if rows[y + E_WINDOW] >= 0 and rows[y + E_EDGE] >= 0 and (room < least or rows[y + E_WINDOW] == 0):
            if room <= 0 or rows[y + E_WINDOW] == 0 or bits & WB_MORE << last:
                bits |= WB_BLOCKED << last
            else:
                bits |= WB_TIGHT
        elif tight:
            bits |= WB_RELIEVED
    return bits


def take_back(c: int, rows: Words) -> int:
    """A repetition was needless (RFC 2883): what was sent first had arrived, and its ACK was lost or late."""
    rows[c + C_TIMES + rows[c + C_RUN]] -= rows[c + C_WAIT_DONE] - rows[c + C_RUN_START]
    rows[c + C_WAIT_SPOKE + (rows[c + C_RUN] & 1)] = rows[c + C_RUN_START]
    rows[c + C_WAIT_DONE] = rows[c + C_RUN_START]
    rows[c + C_WAIT_FRAME] = rows[c + C_RUN_BEFORE]
    rows[c + C_RUN] = WAIT_TRANSFER
    return 0


def marks_without_effect() -> int:
    """The marks of what changes nothing here: no word of the endpoint's, or one that asks for nothing."""
    return (
        M_CAPTURE_DUPLICATE
        | M_NETWORK_DUPLICATE
        | M_BAD_CHECKSUM
        | M_ACK_BEYOND
        | M_KEEPALIVE
        | M_KEEPALIVE_ACK
        | M_SPURIOUS
        | M_STRAY_SYN
    )


def marks_with_effect() -> int:
    """The marks of what changes something, though it brings nothing new."""
    return M_RETRANSMISSION | M_OUT_OF_ORDER | M_ZERO_WINDOW_PROBE | M_ZERO_WINDOW_PROBE_ACK


def take_syn(c: int, side: int, s: int, marks: int, bits: int, tracker: Tracker) -> int:
    """A SYN, or a SYN+ACK. Returns the new bits."""
    segments = tracker.segments
    rows = tracker.rows
    clock = rows[c + C_LAST_TIME]
    answer = 1 if segments[s + S_FLAGS] & TCP_ACK else 0
    waited = side if answer else 1 - side
    purpose = WAIT_CLOSE * 2 + closer(c, bits, rows) if bits & WB_CLOSING else WAIT_HANDSHAKE * 2 + waited
    spend(c, clock, purpose, segments[s + S_FRAME], rows, tracker.waits, tracker.control)
    if marks & (M_SYN_AGAIN | M_SYN_ACK_AGAIN | M_BASE_CHANGED):
        bits |= WB_REPEATED << side
    if not bits & WB_OPEN:
        if answer:
            sample(c, side, bits, rows)
        rows[c + C_WAIT_SPOKE + side] = clock
        if segments[s + S_LEN] and not bits & WB_SPOKEN:
            bits = speak(c, side, s, bits, segments, rows)
    return bits


def take_refused(c: int, side: int, s: int, tracker: Tracker) -> int:
    """What a shut window had refused comes again, later than there was room for it: the sender's timer was waited for.

    That is a consequence of the shut window, and so its length does not make it the longest wait of the connection.
    """
    rows = tracker.rows
    waits = tracker.waits
    control = tracker.control
    frame = tracker.segments[s + S_FRAME]
    end_run(c, rows, waits, control)
    longest = rows[c + C_LONGEST_WAIT]
    longest_for = rows[c + C_LONGEST_FOR]
    longest_before = rows[c + C_LONGEST_BEFORE]
    longest_after = rows[c + C_LONGEST_AFTER]
    spend(c, rows[c + C_LAST_TIME], WAIT_RETRANSMISSION * 2 + side, frame, rows, waits, control)
    end_run(c, rows, waits, control)
    rows[c + C_LONGEST_WAIT] = longest
    rows[c + C_LONGEST_FOR] = longest_for
    rows[c + C_LONGEST_BEFORE] = longest_before
    rows[c + C_LONGEST_AFTER] = longest_after
    return 0


def take_again(c: int, side: int, s: int, marks: int, bits: int, tracker: Tracker) -> int:
    """What was sent before: a repetition, a probe of a shut window, or what was overtaken. Returns the new bits."""
    segments = tracker.segments
    rows = tracker.rows
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    clock = rows[c + C_LAST_TIME]
    purpose = WAIT_TRANSFER * 2 + side
    if bits & WB_CLOSING:
        purpose = WAIT_CLOSE * 2 + closer(c, bits, rows)
    elif marks & M_ZERO_WINDOW_PROBE:
        purpose = WAIT_WINDOW * 2 + 1 - side
    elif marks & M_ZERO_WINDOW_PROBE_ACK:
        purpose = WAIT_WINDOW * 2 + side
    elif marks & M_RETRANSMISSION:
        purpose = WAIT_RETRANSMISSION * 2 + side
        if bits & WB_REFUSED and side == (SERVER if bits & WB_SERVER_LAST else CLIENT):
            y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
            if rows[y + E_WINDOW] < segment_room(y, rows):
                purpose = WAIT_WINDOW * 2 + 1 - side
            else:
                take_refused(c, side, s, tracker)
    spend(c, clock, purpose, segments[s + S_FRAME], rows, tracker.waits, tracker.control)
    bits &= ~WB_RELIEVED
    if marks & M_RETRANSMISSION:
        bits |= WB_REPEATED << side
        if rows[c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE + E_WINDOW] != 0:
            bits &= ~WB_REFUSED
        # What answers it answers the latest copy, as far as can be seen; and a request is answered when all is there.
        end = low32(segments[s + S_SEQ] + segments[s + S_LEN] - rows[x + E_BASE])
        acked = rows[c + C_ENDPOINTS + ENDPOINT_SIZE + E_ACK]
        if end == low32(rows[x + E_NEXT]) or (side == CLIENT and acked >= 0 and low32(end - acked) <= bit(30)):
            rows[c + C_WAIT_SPOKE + side] = clock
    return bits


def take_event(c: int, side: int, s: int, marks: int, before: int, bits: int, tracker: Tracker) -> int:
    """Account for the pause that something else than an ACK ended. Returns the time of an answer, -1 for none."""
    segments = tracker.segments
    rows = tracker.rows
    waits = tracker.waits
    control = tracker.control
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    clock = rows[c + C_LAST_TIME]
    frame = segments[s + S_FRAME]
    flags = segments[s + S_FLAGS]
    new = 1 if rows[x + E_NEXT] > rows[c + C_WAIT_SEEN + side] else 0
    quiet = 1 if bits & WB_OPEN and not bits & WB_UNSETTLED else 0
    happened = 0
    response = -1
    if flags & TCP_SYN and not flags & TCP_RST:
        bits = take_syn(c, side, s, marks, bits, tracker)
    else:
        if not bits & WB_OPEN:
            spend(c, clock, WAIT_HANDSHAKE * 2 + side, frame, rows, waits, control)
            if not flags & TCP_RST:
                bits |= WB_OPEN
        if new and (segments[s + S_LEN] or not flags & TCP_FIN):
            happened = 1
            response = take_data(c, side, s, bits | (WB_UNSEEN if marks & M_SENT_BEFORE else 0), tracker)
            bits = speak(c, side, s, bits, segments, rows)
            rows[c + C_WAIT_SPOKE + side] = clock
        elif marks & marks_with_effect():
            bits = take_again(c, side, s, marks, bits, tracker)
        if flags & TCP_RST or (flags & TCP_FIN and rows[x + E_FIN] >= 0):
            if flags & TCP_RST:
                happened = 1 if rows[x + E_RSTS] == 1 else 0
            elif not bits & WB_FIN << side:
                happened = 1
            spend_waiting(c, clock, bits, frame, rows, waits, control)
            if happened and bits & WB_CLOSING:
                end_run(c, rows, waits, control)
            bits |= WB_CLOSING
            if not flags & TCP_RST:
                bits |= WB_FIN << side
    if happened and quiet:
        rows[c + C_IDLE] = clock - before
    rows[c + C_WAIT_FRAME] = frame
    rows[c + C_WAIT_BITS] = bits
    return response


def account(c: int, side: int, s: int, marks: int, before: int, tracker: Tracker) -> int:
    """Account for the time up to this segment, which the tracker has taken; ``before`` was ``C_LAST_TIME`` before it.

    Returns the time in which a request was answered, -1 where it is no answer.
    """
    segments = tracker.segments
    rows = tracker.rows
    waits = tracker.waits
    control = tracker.control
    bits = rows[c + C_WAIT_BITS]
    if not bits:
        bits = begin(c, rows)
    if marks & marks_without_effect():
        rows[c + C_WAIT_BITS] = bits
        return -1
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    clock = rows[c + C_LAST_TIME]
    flags = segments[s + S_FLAGS] & (TCP_SYN | TCP_FIN | TCP_RST)
    new = 1 if rows[x + E_NEXT] > rows[c + C_WAIT_SEEN + side] else 0
    response = -1
    if (
        new
        and not flags
        and not marks
        and clock - rows[c + C_WAIT_DONE] < 2 * MILLISECOND
        and not bits & (WB_CLOSING | WB_BLOCKED | WB_BLOCKED << 1 | WB_LOSS | WB_LOSS << 1)
        and bits & (WB_OPEN | WB_SPOKEN | WB_SERVER_LAST)
        == WB_OPEN | WB_SPOKEN | (WB_SERVER_LAST if side == SERVER else 0)
    ):
        # The usual: more of a transfer that is under way.
        if not bits & WB_UNSETTLED:
            rows[c + C_IDLE] = clock - before
        spend(c, clock, WAIT_TRANSFER * 2 + side, segments[s + S_FRAME], rows, waits, control)
        bits = speak_on(c, side, s, bits, segments, rows)
        rows[c + C_WAIT_SPOKE + side] = clock
        rows[c + C_WAIT_FRAME] = segments[s + S_FRAME]
    elif new or flags or marks & marks_with_effect():
        response = take_event(c, side, s, marks, before, bits, tracker)
        bits = rows[c + C_WAIT_BITS]
    else:
        # A pure ACK, or nothing at all.
        if not bits & WB_OPEN:
            spend(c, clock, WAIT_HANDSHAKE * 2 + side, segments[s + S_FRAME], rows, waits, control)
            bits |= WB_OPEN
            rows[c + C_WAIT_FRAME] = segments[s + S_FRAME]
        elif bits & WB_CLOSING:
            spend(c, clock, WAIT_CLOSE * 2 + closer(c, bits, rows), segments[s + S_FRAME], rows, waits, control)
        elif bits & WB_BLOCKED << 1 - side:
            spend(c, clock, WAIT_WINDOW * 2 + side, segments[s + S_FRAME], rows, waits, control)
            if rows[x + E_WINDOW] != 0:
                end_run(c, rows, waits, control)  # it opens: what still waits waits for something else
            rows[c + C_WAIT_FRAME] = segments[s + S_FRAME]
        elif bits & WB_LOSS << 1 - side:
            spend(c, clock, WAIT_RETRANSMISSION * 2 + 1 - side, segments[s + S_FRAME], rows, waits, control)
            rows[c + C_WAIT_FRAME] = segments[s + S_FRAME]
        if marks & M_DSACK and rows[c + C_RUN] == WAIT_RETRANSMISSION * 2 + 1 - side:
            take_back(c, rows)
        if rows[y + E_HEAD_TIME] < 0:
            sample(c, side, bits, rows)
        elif side == SERVER and bits & WB_SPOKEN and rows[x + E_ACK_TIME] == clock:
            rows[c + C_WAIT_ACKED] = clock  # it acknowledges what it has, and has not all of it
        r = c + C_ROUND + (1 - side) * ROUND_SIZE
        if rows[r + ROUND_ACKED] < 0 and rows[x + E_ACK] > rows[r + ROUND_BEGAN]:
            rows[r + ROUND_ACKED] = clock
    rows[c + C_WAIT_BITS] = look(c, bits, rows)
    return response


# --- the end ----------------------------------------------------------------------------------------------------------


def end_waits(
    start: int, end: int, due_words: Words, rows_words: Words, waits_words: Words, control_words: Words
) -> int:
    """Account for the last moments of the due connections ``start`` to ``end``, and for what they still wait for.

    What is open when the capture ends, or leaps by days, waits on until then; not a SYN that was given up long before.
    The capture's last segment ends no wait that goes on behind it, as one for a window does behind a probe.
    Its row says so, and has no frame after it. As the longest wait it counts only where somebody waits for it: a pause
    that nobody waits in, or a slow close, does not.
    """
    due = pointer(due_words)
    rows = pointer(rows_words)
    waits = pointer(waits_words)
    control = pointer(control_words)
    i = start
    while i < end:
        c = due[i]
        bits = rows[c + C_WAIT_BITS]
        last = rows[c + C_LAST_TIME]
        spend_waiting(c, last, bits, rows[c + C_LAST_FRAME], rows, waits, control)
        x = c + C_ENDPOINTS
        y = x + ENDPOINT_SIZE
        over = 1 if (bits & WB_FIN and bits & WB_FIN << 1) or rows[x + E_RSTS] or rows[y + E_RSTS] else 0
        waiting = 0
        end_of_books = rows[c + C_OVER_TIME]
        if (
            not over
            and (end_of_books > last or (end_of_books == last and rows[c + C_RUN] == purpose_of(c, bits, rows)))
            and not rows[c + C_FLAGS] & CF_SPLIT
            and not (only_asked(c, rows) and end_of_books - last >= patience_with(c, rows, control))
        ):
            waiting = purpose_of(c, bits, rows)
            if rows[c + C_RUN] != waiting:
                end_run(c, rows, waits, control)
                rows[c + C_RUN_START] = last
                rows[c + C_RUN_BEFORE] = rows[c + C_WAIT_FRAME]
            rows[c + C_RUN] = waiting
            rows[c + C_RUN_AFTER] = -1
            rows[c + C_WAIT_DONE] = end_of_books
            rows[c + C_WAITING] = waiting
        idle = 1 if waiting >> 1 in (WAIT_HANDSHAKE, WAIT_CLOSE) or waiting == WAIT_APPLICATION * 2 + CLIENT else 0
        longest = rows[c + C_LONGEST_WAIT]
        longest_for = rows[c + C_LONGEST_FOR]
        so_far = last - rows[c + C_RUN_START]
        end_run(c, rows, waits, control)
        if idle and rows[c + C_LONGEST_WAIT] > longest:
            rows[c + C_LONGEST_WAIT] = longest
            if so_far > longest and so_far > 10 * MILLISECOND:
                rows[c + C_LONGEST_WAIT] = so_far
            else:
                rows[c + C_LONGEST_FOR] = longest_for
        rows[c + C_WAIT_DONE] = last
        i += 1
    return control[K_WAITS]


def is_waited_for(c: int, block: Words) -> int:
    """Whether somebody had to wait for long enough, in one finished connection, that a cause may explain it: 1 or 0."""
    k = c + C_TIMES
    held = block[k + WAIT_DELAYED_ACK * 2] + block[k + WAIT_DELAYED_ACK * 2 + 1]
    shut = block[k + WAIT_WINDOW * 2] + block[k + WAIT_WINDOW * 2 + 1]
    lost = block[k + WAIT_RETRANSMISSION * 2] + block[k + WAIT_RETRANSMISSION * 2 + 1]
    if (
        block[c + C_RESPONSE_MAX] >= 1000 * MILLISECOND
        or block[c + C_PAUSE] >= 2000 * MILLISECOND
        or held >= 30 * MILLISECOND
        or shut >= 200 * MILLISECOND
        or lost >= 1000 * MILLISECOND
        or (block[c + C_LONGEST_FOR] == WAIT_APPLICATION * 2 + 1 and block[c + C_LONGEST_WAIT] >= 1000 * MILLISECOND)
    ):
        return 1
    side = 0
    while side < 2:  # as much at a time as the window would be without its scale
        x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
        y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
        if (
            block[y + E_SHIFT] > 0
            and block[x + E_LONGEST] > 0
            and block[y + E_WINDOW] >> block[y + E_SHIFT] == block[x + E_LONGEST]
        ):
            return 1
        side += 1
    return 0
