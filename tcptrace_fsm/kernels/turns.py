"""Whose turn it is to speak: new data, and what the pause before them was for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.intervals import *
from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words
    from tcptrace_fsm.kernels.records import Tracker

# No __all__: only other kernels call these.


def segment_room(y: int, rows: Words) -> int:
    """What fits into one segment to ``y``, less what options may take of it."""
    return rows[y + E_MSS] - 40 if rows[y + E_MSS] > 80 else 1200


def room_upto(x: int, y: int, rows: Words) -> int:
    """Up to which number ``y`` has room for ``x`` now, also if it took back window, as who scales it unasked seems to.

    Not below what was sent before it did: that is the shut window's. RFC 9293 3.8.6 asks senders to be prepared for it.
    """
    now = rows[y + E_ACK] + rows[y + E_WINDOW]
    if rows[y + E_ACK] >= 0 and rows[y + E_WINDOW] >= 0 and rows[x + E_NEXT] <= now < rows[y + E_EDGE]:
        return now
    return rows[y + E_EDGE]


def is_held_back(c: int, side: int, rows: Words) -> int:
    """Whether ``side`` goes on the moment it hears of an ACK of all that it had sent, and that ACK was delayed.

    Nagle's algorithm holds back a short segment until then (RFC 9293 3.7.4, RFC 5681 4.2).
    """
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    acked = rows[y + E_ACK_TIME]
    spoke = rows[c + C_WAIT_SPOKE + side]
    here = rows[c + C_WAIT_WAY + side]
    there = rows[c + C_WAIT_WAY + 1 - side]
    held = acked - spoke - there
    if rows[y + E_ACK] < rows[c + C_WAIT_SEEN + side] or acked < spoke or there < 0:
        return 0
    took = rows[c + C_LAST_TIME] - acked
    if here <= 4 * MILLISECOND and took > here + MILLISECOND:
        return 0  # an ACK lets it go at once
    if here > 10 * MILLISECOND and took < here - (here >> 3):
        return 0  # it was on its way before the ACK can have come to its sender
    return 1 if 25 * MILLISECOND <= held <= 600 * MILLISECOND else 0


def held_back(c: int, side: int, after: int, rows: Words, waits: Words, control: Words) -> int:
    """Account for a short segment that waited for a delayed ACK; ``after`` is its frame."""
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    there = rows[c + C_WAIT_SPOKE + side] + rows[c + C_WAIT_WAY + 1 - side]
    spend(c, there, WAIT_TRANSFER * 2 + side, after, rows, waits, control)
    spend(c, rows[y + E_ACK_TIME], WAIT_DELAYED_ACK * 2 + 1 - side, after, rows, waits, control)
    rows[c + C_DELAYED_ACKS] += 1
    if rows[c + C_HELD_FRAME] < 0:
        rows[c + C_HELD_FRAME] = after
    return 0


def went_on(c: int, side: int, s: int, bits: int, tracker: Tracker) -> int:
    """Account for a pause between new data of one endpoint and more of them, with no answer between."""
    rows = tracker.rows
    waits = tracker.waits
    control = tracker.control
    after = tracker.segments[s + S_FRAME]
    length = tracker.segments[s + S_LEN]
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    clock = rows[c + C_LAST_TIME]
    spoke = rows[c + C_WAIT_SPOKE + side]
    acked = rows[y + E_ACK_TIME]
    here = rows[c + C_WAIT_WAY + side]
    there = rows[c + C_WAIT_WAY + 1 - side]
    slack = 5 * MILLISECOND
    at_once = (here + here // 4 if here > 0 else 0) + slack  # the way is the shortest: most take longer
    purpose = WAIT_APPLICATION * 2 + side
    if bits & WB_TIGHT and rows[x + E_NEXT] >= room_upto(x, y, rows):
        purpose = WAIT_WINDOW * 2 + 1 - side  # it sends what little there is room for
    elif bits & WB_RELIEVED and clock - rows[y + E_LAST_TIME] <= at_once:
        spend(c, rows[y + E_LAST_TIME], WAIT_WINDOW * 2 + 1 - side, after, rows, waits, control)
        purpose = WAIT_TRANSFER * 2 + side
    elif (
        5 * MILLISECOND < here <= 3 * (clock - spoke)
        and clock - spoke <= 2 * here
        and 0 < rows[y + E_WINDOW] <= rows[c + C_WAIT_SEEN + side] - rows[c + C_WAIT_ROUND] + 2 * segment_room(y, rows)
        and rows[c + C_WAIT_SEEN + side] - rows[c + C_WAIT_ROUND] > 4 * segment_room(y, rows)
    ):
        # Near the receiver every ACK passes at once, and the window never looks full. But its sender said as much as
        # it holds, and no more for a round trip.
        purpose = WAIT_WINDOW * 2 + 1 - side
    elif bits & WB_MORE << side:
        # Its application had said more than fitted. Far from it, with all acknowledged that has come, no window and no
        # congestion window holds it back for longer than a probe takes at the least: what it sent never came here.
        purpose = WAIT_TRANSFER * 2 + side
        if (
            length < segment_room(y, rows)
            and not bits & (WB_REPEATED << side | WB_TIGHT)
            and clock - acked <= at_once
            and is_held_back(c, side, rows)
        ):
            held_back(c, side, after, rows, waits, control)  # the rest of it was too short to go along
        elif (
            here > there >= 0
            and here > 5 * MILLISECOND
            and rows[y + E_ACK] >= rows[c + C_WAIT_SEEN + side]
            and clock - rows[c + C_WAIT_DONE] >= 2 * here + 20 * MILLISECOND
            and clock - acked >= here + here // 2 + 20 * MILLISECOND
        ):
            purpose = WAIT_RETRANSMISSION * 2 + side
    elif rows[y + E_ACK] >= rows[c + C_WAIT_SEEN + side] and acked >= spoke:
        if clock - acked <= at_once and (not bits & WB_SHORT << side or length < segment_room(y, rows)):
            # It went on as soon as the ACK reached it.
            purpose = WAIT_TRANSFER * 2 + side
            shift = rows[y + E_SHIFT] if rows[y + E_SHIFT] > 0 else 0
            if there >= 0 and length < segment_room(y, rows) and length == rows[y + E_WINDOW] >> shift:
                # As long as the window's field without its scale: that is all that its TCP sends before an ACK.
                purpose = WAIT_WINDOW * 2 + 1 - side
            elif length < segment_room(y, rows) and is_held_back(c, side, rows):
                held_back(c, side, after, rows, waits, control)
    elif clock - rows[c + C_WAIT_DONE] <= (there if there > 0 else 15 * MILLISECOND) + slack:
        purpose = WAIT_TRANSFER * 2 + side
    elif 0 <= there < clock - spoke - 200 * MILLISECOND and rows[y + E_ACK] >= 0 and not bits & WB_HEARD:
        # Not acknowledged for longer than ACKs are held back: it, or its ACK, was lost, and new data are a probe
        # (RFC 8985 7.3) or sent in spite of it.
        purpose = WAIT_RETRANSMISSION * 2 + side
    return spend(c, clock, purpose, after, rows, waits, control)


def words_arrived(c: int, rows: Words) -> int:
    """When the server had the client's latest words, seen from here: now at the latest.

    The way there and back takes what it takes at its best, unless the ACK of them says that it took longer: no ACK is
    held back for half a second, and one of a part of them says that the rest is still on its way. Where the answer
    itself is the first to acknowledge them, later than that, of a server that acknowledges before it answers, they were
    on their way until then. Only what was not repeated for seconds either was acknowledged, in a frame that is missing.
    """
    way = rows[c + C_WAIT_WAY + SERVER]
    clock = rows[c + C_LAST_TIME]
    spoke = rows[c + C_WAIT_SPOKE]
    acked = rows[c + C_WAIT_ACKED]
    there = spoke + way if way > 0 else spoke
    if acked >= spoke:
        if acked - there >= ACK_HELD:
            there = acked
    elif acked > 0 and way > 0 and clock - there >= ACK_HELD and (clock - there) // 6 < ACK_HELD:
        there = clock
    return there if there < clock else clock


def at_once(slowest: int) -> int:
    """Up to how long answers are given at once, ns, beside one that took ``slowest``.

    Of what comes by chance half take less than a third of the longest, but few take so little.
    """
    return min(max(slowest >> 4, 100 * MILLISECOND), 2000 * MILLISECOND)


def answered(c: int, response: int, frame: int, rows: Words) -> int:
    """Take note of how long an answer took that begins with ``frame``."""
    slowest = rows[c + C_RESPONSE_MAX]
    asked = rows[c + C_WAIT_SEEN] - rows[c + C_WAIT_ROUND]
    alike = rows[c + C_SLOWEST] & (bit(SLOWEST_QUICK_SHIFT) - 1)
    if response > slowest + RESPONSE_ALIKE:
        alike = 0
    if response >= slowest - RESPONSE_ALIKE and alike + 1 < bit(SLOWEST_QUICK_SHIFT):
        rows[c + C_SLOWEST] += alike + 1 - (rows[c + C_SLOWEST] & (bit(SLOWEST_QUICK_SHIFT) - 1))
        alike += 1
    elif response <= at_once(slowest) and rows[c + C_SLOWEST] >> SLOWEST_QUICK_SHIFT & 15 < 15:
        rows[c + C_SLOWEST] += bit(SLOWEST_QUICK_SHIFT)
    if response > slowest:
        rows[c + C_RESPONSE_MAX] = response
        rows[c + C_SLOWEST_FRAME] = frame
        size = max(min(asked, 16777215), 0)
        rows[c + C_SLOWEST] = alike | size << SLOWEST_ASKED_SHIFT
    if rows[c + C_LEAST_REQUEST] < 0 or asked < rows[c + C_LEAST_REQUEST]:
        rows[c + C_LEAST_REQUEST] = asked
    return response


def paused_within(c: int, side: int, paused: int, frame: int, rows: Words) -> int:
    """Take note that an endpoint went on, of its own accord, after a pause in which nothing kept it from that."""
    if side == CLIENT:
        rows[c + C_BURSTS] += 1
        rows[c + C_PAUSES] += 1
        if paused > rows[c + C_PAUSE]:
            rows[c + C_PAUSE] = paused
            rows[c + C_PAUSE_FRAME] = frame
        return 0
    if paused >> 1 > rows[c + C_STALL]:
        rows[c + C_STALLS] = 1
    elif paused >= rows[c + C_STALL] >> 1:
        rows[c + C_STALLS] += 1
    if paused > rows[c + C_STALL]:
        rows[c + C_STALL] = paused
        rows[c + C_STALL_AT] = rows[c + C_WAIT_SEEN + 1]
    return 0


def echoes_unseen(c: int, side: int, s: int, segments: Words, rows: Words) -> int:
    """Whether a segment echoes a later timestamp than its peer has shown: its sender had an ACK that is not here."""
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    if not segments[s + S_OPTIONS] & OPT_TIMESTAMPS or rows[y + E_TSVAL] < 0:
        return 0
    return newer(segments[s + S_TSECR], rows[y + E_TSVAL])


def take_data(c: int, side: int, s: int, bits: int, tracker: Tracker) -> int:
    """Account for the pause that new data ended. Returns the time in which a request was answered, -1 for none."""
    segments = tracker.segments
    rows = tracker.rows
    waits = tracker.waits
    control = tracker.control
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    clock = rows[c + C_LAST_TIME]
    frame = segments[s + S_FRAME]
    last = SERVER if bits & WB_SERVER_LAST else CLIENT
    spoken = bits & WB_SPOKEN
    response = -1
    # An answer acknowledges what it answers.
    answer = 1 if spoken and last != side and rows[x + E_LAST_ACK] >= rows[c + C_WAIT_SEEN + last] else 0
    if answer:
        way = rows[c + C_WAIT_WAY + side]
        there = rows[c + C_WAIT_SPOKE + last] + (way if way > 0 else 0)
        if side == SERVER:
            there = words_arrived(c, rows)
            if bits & WB_UNSEEN and rows[c + C_WAIT_ACKED] > there:
                there = rows[c + C_WAIT_ACKED]
            response = answered(c, 0 if bits & WB_UNSEEN else clock - there, frame, rows)
    if bits & WB_CLOSING and not (answer and side == SERVER):
        spend(c, clock, WAIT_CLOSE * 2 + closer(c, bits, rows), frame, rows, waits, control)
    elif not spoken:
        spend(c, clock, WAIT_APPLICATION * 2 + side, frame, rows, waits, control)
    elif answer:
        spend(c, there if there < clock else clock, WAIT_TRANSFER * 2 + last, frame, rows, waits, control)
        purpose = WAIT_RETRANSMISSION if bits & WB_UNSEEN else WAIT_APPLICATION
        spend(c, clock, purpose * 2 + side, frame, rows, waits, control)
    elif last != side:
        # It sends before it has what its peer sent meanwhile.
        ways = 20 * MILLISECOND
        if rows[c + C_WAIT_WAY] >= 0 and rows[c + C_WAIT_WAY + 1] >= 0:
            ways = rows[c + C_WAIT_WAY] + rows[c + C_WAIT_WAY + 1] + 5 * MILLISECOND
        purpose = WAIT_TRANSFER if clock - rows[c + C_WAIT_DONE] <= ways else WAIT_APPLICATION
        spend(c, clock, purpose * 2 + side, frame, rows, waits, control)
    elif bits & WB_BLOCKED << side:
        spend(c, clock, WAIT_WINDOW * 2 + 1 - side, frame, rows, waits, control)
    elif bits & (WB_LOSS << side | WB_UNSEEN):
        spend(c, clock, WAIT_RETRANSMISSION * 2 + side, frame, rows, waits, control)
    else:
        paused = clock - rows[c + C_WAIT_DONE]
        heard = WB_HEARD if echoes_unseen(c, side, s, segments, rows) else 0
        went_on(c, side, s, bits | heard, tracker)
        if paused > 0 and rows[c + C_RUN] == WAIT_APPLICATION * 2 + side:
            paused_within(c, side, paused, frame, rows)
    # With new data no standstill goes on, unless a window lets through a little at a time.
    if rows[c + C_RUN] >> 1 != WAIT_WINDOW:
        end_run(c, rows, waits, control)
    return response


def end_round(c: int, side: int, last: int, rows: Words) -> int:
    """New data: where they come a round trip after others, see whether those filled the window.

    Between sender and receiver an ACK passes before the sender has it, and the window never looks full. But who sends
    as much as the window holds, and no more until the first of it is acknowledged, waits for the window: the time in
    which that was on its way is the window's. What an ACK lets go comes the sender's round trip after it.
    """
    r = c + C_ROUND + side * ROUND_SIZE
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    spent = c + C_TIMES + WAIT_TRANSFER * 2 + side
    acked = rows[r + ROUND_ACKED]
    here = rows[c + C_WAIT_WAY + side]
    if rows[r + ROUND_BEGAN] > 0 and last == side and (acked < 0 or here < 0 or rows[c + C_LAST_TIME] < acked + here):
        return 0
    if rows[r + ROUND_BEGAN] > 0 and last == side:
        window = rows[y + E_WINDOW]
        slack = 2 * segment_room(y, rows)
        if slack < window >> 3:
            slack = window >> 3
        if slack > window >> 2:
            slack = window >> 2
        sent = rows[c + C_WAIT_SEEN + side] - rows[r + ROUND_BEGAN]
        took = rows[spent] - rows[r + ROUND_TRANSFER]
        if window > 0 and sent >= window - slack and sent > 2 * segment_room(y, rows) and took > 0:
            rows[spent] -= took
            rows[c + C_TIMES + WAIT_WINDOW * 2 + 1 - side] += took
            rows[r + ROUND_FULL] += took
    rows[r + ROUND_BEGAN] = rows[c + C_WAIT_SEEN + side]
    rows[r + ROUND_ACKED] = -1
    rows[r + ROUND_TRANSFER] = rows[spent]
    return 0


def speak_on(c: int, side: int, s: int, bits: int, segments: Words, rows: Words) -> int:
    """Take note that who spoke last goes on: what `speak` does of that, and no more. Returns the new bits."""
    end_round(c, side, side, rows)
    silent = rows[c + C_LAST_TIME] - rows[c + C_WAIT_SPOKE + side]
    if silent >= MILLISECOND and 3 * silent >= rows[c + C_WAIT_WAY + side]:
        rows[c + C_WAIT_ROUND] = rows[c + C_WAIT_SEEN + side]
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    short = bits & WB_SHORT << side
    bits &= ~(WB_REFUSED | WB_RELIEVED | (WB_MORE | WB_SHORT | WB_REPEATED) << side)
    if segments[s + S_LEN] < segment_room(y, rows):
        bits |= WB_SHORT << side
        if short and rows[y + E_ACK] < rows[c + C_WAIT_SEEN + side]:
            rows[c + C_DELAYED_ACKS] += bit(32)
    elif not segments[s + S_FLAGS] & TCP_PSH:
        bits |= WB_MORE << side
    return bits


def reacted(c: int, acked: int, rows: Words) -> int:
    """The client sends after the server: note how soon and, if it acknowledged that, whether in its own time."""
    took = rows[c + C_LAST_TIME] - rows[c + C_WAIT_SPOKE + 1]
    if rows[c + C_RESPONSES] and not rows[c + C_SLOWEST] >> SLOWEST_NEXT_SHIFT:
        after = took if acked and took >= 0 else bit(60)
        after = min(after // MILLISECOND + 1, 262143)
        rows[c + C_SLOWEST] += after << SLOWEST_NEXT_SHIFT
    if not acked:
        return took
    every = rows[c + C_LAST_TIME] - rows[c + C_WAIT_SPOKE]
    off = every - rows[c + C_ASK_EVERY]
    if took >= 1000 * MILLISECOND and took > every - took:
        rows[c + C_UNHURRIED] += 1
    if -(every >> 6) <= off <= every >> 6:
        rows[c + C_UNHURRIED] += bit(32)
    rows[c + C_ASK_EVERY] = every
    return took


def speak(c: int, side: int, s: int, bits: int, segments: Words, rows: Words) -> int:
    """Take note of who has spoken. Returns the new bits."""
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    last = SERVER if bits & WB_SERVER_LAST else CLIENT
    acked = 1 if rows[x + E_LAST_ACK] >= rows[c + C_WAIT_SEEN + 1 - side] else 0
    if side == CLIENT and (not bits & WB_SPOKEN or last == SERVER):
        rows[c + C_REQUESTS] += 1
        rows[c + C_BURSTS] = 1
        if bits & WB_SPOKEN:
            reacted(c, acked, rows)
        if not acked and bits & WB_SPOKEN:
            rows[c + C_CROSSED] += 1
    elif not acked and bits & WB_SPOKEN and last != side and rows[c + C_WAIT_SPOKE + 1] <= rows[c + C_WAIT_SPOKE]:
        rows[c + C_CROSSED] += 1
    end_round(c, side, last, rows)
    if side == SERVER:
        bits |= WB_SERVER_SPOKE
    silent = min(rows[c + C_LAST_TIME] - rows[c + C_WAIT_SPOKE + side], bit(60))  # the first time since 1970
    if last != side or (silent >= MILLISECOND and 3 * silent >= rows[c + C_WAIT_WAY + side]):
        rows[c + C_WAIT_ROUND] = rows[c + C_WAIT_SEEN + side]
    bits &= ~(WB_REFUSED | WB_RELIEVED)
    if side == CLIENT or not bits & WB_SPOKEN or acked:
        bits = bits & ~WB_SERVER_LAST | (WB_SERVER_LAST if side == SERVER else 0)
    short = bits & WB_SHORT << side
    bits = (bits | WB_SPOKEN) & ~((WB_MORE | WB_SHORT | WB_REPEATED) << side)
    if segments[s + S_LEN] < segment_room(y, rows):
        bits |= WB_SHORT << side
        if short and rows[y + E_ACK] < rows[c + C_WAIT_SEEN + side]:
            rows[c + C_DELAYED_ACKS] += bit(32)
    elif not segments[s + S_FLAGS] & TCP_PSH:
        bits |= WB_MORE << side
    return bits
