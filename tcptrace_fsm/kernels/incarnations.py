"""Incarnations: which connection of a four-tuple a segment belongs to, and when a SYN opens a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.log import *
from tcptrace_fsm.kernels.points import free_path, path_of
from tcptrace_fsm.kernels.replayed import *
from tcptrace_fsm.kernels.rows import *
from tcptrace_fsm.kernels.sequence import *
from tcptrace_fsm.kernels.table import *
from tcptrace_fsm.kernels.zeek import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words
    from tcptrace_fsm.kernels.records import Tracker


def is_over(c: int, rows: Words) -> int:
    """Whether a new SYN needs no proof to take the four-tuple over: 1 or 0."""
    if rows[c + C_FLAGS] & CF_SPLIT:
        return 1
    x = c + C_ENDPOINTS
    y = x + ENDPOINT_SIZE
    if (rows[x + E_STAGE] | rows[y + E_STAGE]) & ES_RST:
        return 1
    if rows[x + E_FIN] >= 0 and rows[y + E_FIN] >= 0:
        return 1
    # only one side ever spoke, and it said nothing but SYN: an attempt that was given up
    return only_asked(c, rows)


def only_asked(c: int, rows: Words) -> int:
    """Whether nothing but SYNs of one side is all there is of it: 1 or 0."""
    x = c + C_ENDPOINTS
    y = x + ENDPOINT_SIZE
    if rows[x + E_SEGMENTS] == rows[x + E_SYNS] and rows[y + E_SEGMENTS] == 0:
        return 1
    return 1 if rows[y + E_SEGMENTS] == rows[y + E_SYNS] and rows[x + E_SEGMENTS] == 0 else 0


def patience_with(c: int, rows: Words, control: Words) -> int:
    """For how long something may still come of a connection that is over, ns: longest for a SYN, which is repeated."""
    x = c + C_ENDPOINTS
    if rows[x + E_SEGMENTS] == rows[x + E_SYNS] and not rows[x + ENDPOINT_SIZE + E_SEGMENTS]:
        return control[K_LINGER_SYN]
    return control[K_LINGER]


def fits(c: int, side: int, s: int, segments: Words, rows: Words) -> int:
    """Whether a segment's numbers lie in this incarnation's windows: 1, 0, or -1 where nothing is known."""
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    fitting = -1
    if rows[x + E_BASE_KNOWN]:
        slack = 262144
        if rows[y + E_EDGE] - rows[x + E_NEXT] > slack:
            slack = rows[y + E_EDGE] - rows[x + E_NEXT]
        off = widen(segments[s + S_SEQ], rows[x + E_BASE], rows[x + E_NEXT]) - rows[x + E_NEXT]
        if off > slack or off < -slack:
            return 0
        fitting = 1
    if segments[s + S_FLAGS] & TCP_ACK and rows[y + E_BASE_KNOWN]:
        off = widen(segments[s + S_ACK], rows[y + E_BASE], rows[y + E_NEXT]) - rows[y + E_NEXT]
        if off > 262144 or off < -262144:
            return 0
        fitting = 1
    return fitting


def new_incarnation(old: int, s: int, h: int, slot: int, tracker: Tracker) -> int:
    """A new row for the tuple of ``old``, opened by the SYN at hand; ``old`` lingers behind it."""
    segments = tracker.segments
    rows = tracker.rows
    due = tracker.due
    control = tracker.control
    attempt = -1
    older = rows[old + C_OLDER]
    if older >= 0 and rows[old + C_FLAGS] & CF_MET_OLD and only_asked(old, rows):
        attempt = old  # the connection before it still answers whoever asks: it is that which lingers on
    elif older >= 0:
        make_due(older, segments[s + S_TIME], rows, due, control)
        rows[older + C_NEWER] = -1
        rows[old + C_OLDER] = -1
    c = open_connection(s, h, segments, rows, tracker.living, control)
    rows[c + C_OLDER] = old
    rows[old + C_NEWER] = c
    rows[old + C_COMPLETENESS] &= ~COMPLETE_CALM
    rows[old + C_FLAGS] |= CF_SPLIT
    rows[old + C_TAKEN_OVER] = segments[s + S_TIME]
    rows[old + C_TAKEN_FRAME] = segments[s + S_FRAME]
    rows[old + C_TAKEN_BY] = 1 - is_client(rows, old, segments, s)
    rows[old + C_ACCEPTED] = -1
    rows[old + C_REFUSED] = -1
    if zeek_is_gone(old, s, segments, rows):
        rows[old + C_ZEEK] |= Z_GONE
    sender = old + C_ENDPOINTS + rows[old + C_TAKEN_BY] * ENDPOINT_SIZE
    rows[old + C_TAKEN_SEQ] = widen(segments[s + S_SEQ], rows[sender + E_BASE], rows[sender + E_NEXT])
    rows[old + C_TAKEN_TSVAL] = segments[s + S_TSVAL] if segments[s + S_OPTIONS] & OPT_TIMESTAMPS else -1
    rows[c + C_INCARNATION] = rows[old + C_INCARNATION] + 1
    rows[c + C_PREVIOUS_ID] = rows[old + C_ID]
    if attempt >= 0:
        make_due(attempt, segments[s + S_TIME], rows, due, control)
        rows[attempt + C_OLDER] = -1
        rows[attempt + C_NEWER] = -1
        rows[c + C_OLDER] = older
        rows[older + C_NEWER] = c
    tracker.slots[slot + 1] = c + 1
    return c


def discard(c: int, slot: int, tracker: Tracker) -> int:
    """A pending SYN came to nothing: hand its log to the connection it fell into, while there is room there.

    Returns that row.
    """
    rows = tracker.rows
    log = tracker.log
    paths = tracker.paths
    control = tracker.control
    old = rows[c + C_OLDER]
    swapped = 0 if rows[old + C_PORTS] == rows[c + C_PORTS] else 1
    full = 1 if rows[old + C_LOG_COUNT] + rows[c + C_LOG_COUNT] > 64 * control[K_LOG_LIMIT] else 0
    if rows[c + C_PATH]:
        p = rows[c + C_PATH] - 1
        q = path_of(old, rows, paths, control)
        k = W_LOST
        while k <= W_FOREIGN:
            paths[q + swapped * WAY_SIZE + k] += paths[p + k]
            paths[q + (1 - swapped) * WAY_SIZE + k] += paths[p + WAY_SIZE + k]
            k += 1
        free_path(c, rows, paths, control)
    side = 0
    while side < 2:
        to = side if not swapped else 1 - side
        hand_icmp(c + C_ENDPOINTS + side * ENDPOINT_SIZE, old + C_ENDPOINTS + to * ENDPOINT_SIZE, rows, log, control)
        side += 1
    rows[old + C_MARKS] |= rows[c + C_MARKS] & M_ICMP
    r = rows[c + C_LOG_HEAD]
    while r >= 0:
        log[r + L_MARKS] |= M_STRAY_SYN
        if swapped:
            log[r + L_INFO] ^= bit(LOG_SIDE_SHIFT)
        if log[r + L_INFO] >> LOG_SIDE_SHIFT & 1:
            sender = old + C_ENDPOINTS + ENDPOINT_SIZE
            peer = old + C_ENDPOINTS
        else:
            sender = old + C_ENDPOINTS
            peer = old + C_ENDPOINTS + ENDPOINT_SIZE
        rows[sender + E_SEGMENTS] += rows[c + C_ENDPOINTS + E_SEGMENTS]
        rows[sender + E_SYNS] += rows[c + C_ENDPOINTS + E_SYNS]
        rows[c + C_ENDPOINTS + E_SEGMENTS] = 0
        rows[c + C_ENDPOINTS + E_SYNS] = 0
        rows[old + C_MARKS] |= log[r + L_MARKS]
        following = log[r + L_NEXT]
        if not full:
            rows[sender + E_RUN] = -1
            rows[peer + E_RUN] = -1
            rows[old + C_LOG_COUNT] += 1
            log[r + L_NEXT] = -1
            if rows[old + C_LOG_HEAD] < 0:
                rows[old + C_LOG_HEAD] = r
            else:
                log[rows[old + C_LOG_TAIL] + L_NEXT] = r
            rows[old + C_LOG_TAIL] = r
        r = following
    if full:
        rows[old + C_FLAGS] |= CF_LOG_FULL
        free_log(c, rows, log, control)
    rows[c + C_LOG_HEAD] = -1
    rows[old + C_NEWER] = -1
    rows[old + C_STREAM_NOW] = rows[c + C_STREAM_NOW]
    rows[old + C_FLAGS] &= ~CF_SPLIT
    rows[old + C_TAKEN_OVER] = -1
    tracker.slots[slot + 1] = old + 1
    free_row(c, rows, tracker.living, control)
    return old


def unlearn(x: int, y: int, rows: Words) -> int:
    """Forget the numbers of what ``y`` said before ``x`` had to repeat its SYN: they were of another connection."""
    rows[x + E_NEXT] = 1
    rows[x + E_HOLES] = 0
    rows[y + E_BASE_KNOWN] = BASE_NONE
    rows[y + E_NEXT] = 0
    rows[y + E_HOLES] = 0
    rows[y + E_ACK] = -1
    rows[y + E_LAST_ACK] = -1
    rows[y + E_EDGE] = -1
    rows[y + E_WINDOW] = -1
    rows[y + E_FIN] = -1
    rows[y + E_STAGE] &= ~(ES_PLAIN | ES_ACKS_SYN | ES_ACKS_FIN | ES_DATA)
    return 0


def given_up_before(x: int, y: int, s: int, segments: Words, rows: Words) -> int:
    """Whether all that was seen of a four-tuple is the RST that gives the SYN at hand up, and has overtaken it."""
    if rows[x + E_SEGMENTS] != 1 or rows[x + E_RSTS] != 1 or rows[y + E_SEGMENTS]:
        return 0
    apart = segments[s + S_TIME] - rows[x + E_LAST_TIME]
    return 1 if rows[x + E_LAST_SEQ] == low32(segments[s + S_SEQ] + 1) and apart < ANSWER_DUE * MILLISECOND else 0


def is_part_of_opening(c: int, side: int, s: int, segments: Words, rows: Words) -> int:
    """Whether a SYN whose ISN is new is of the connection's own opening all the same: 1 or 0."""
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    if side == SERVER and not rows[y + E_STAGE] & (ES_PLAIN | ES_SYN_ACK) and not rows[x + E_SEGMENTS]:
        return 1  # simultaneous open
    if rows[x + E_BASE_KNOWN] == BASE_NONE and not rows[x + E_SEGMENTS] and rows[c + C_ROLE_BASIS] > ROLE_SYN:
        return 1  # the SYN of a connection whose SYN+ACK was stamped first
    if rows[x + E_BASE_KNOWN] == BASE_GUESSED and not rows[x + E_STAGE] & ES_SYN:
        # Begun inside: the SYN whose first byte is the first that was seen, or which its sender had numbered before.
        away = low32(rows[x + E_BASE] - segments[s + S_SEQ])
        if not away or (
            away < 65536 and (packets_behind(x, s, segments, rows) or has_earlier_stamp(x, s, segments, rows))
        ):
            return 1
    return given_up_before(x, y, s, segments, rows) if side == CLIENT else 0


def begins_again(c: int, side: int, s: int, segments: Words, rows: Words) -> int:
    """Whether a SYN with the ISN of its sender opens a new connection, and is no retransmission: 1 or 0.

    The attempt must have had its answer. No answer are an RST that the SYN's sender itself sends, and one whose ACK is
    not acceptable (RFC 9293 3.10.7.3).
    """
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    opening = 1 if rows[x + E_SEGMENTS] == rows[x + E_SYNS] + rows[x + E_RSTS] else 0
    answered = (
        1
        if rows[x + E_SEGMENTS]
        and rows[y + E_SEGMENTS]
        and is_over(c, rows)
        and (not opening or rows[c + C_FLAGS] & CF_REFUSED)
        and not is_replayed(c, x, s, segments, rows)
        else 0
    )
    if is_opening_again(c, x, s, segments, rows):
        return 0
    if answered:
        return 1
    if opening and rows[y + E_SEGMENTS] and not rows[y + E_STAGE] & ES_SYN:
        unlearn(x, y, rows)
    return 0


def route_syn(newest: int, s: int, h: int, slot: int, tracker: Tracker) -> int:
    """Which incarnation a SYN belongs to; a new one where its ISN is new, pending while the old one lives."""
    segments = tracker.segments
    rows = tracker.rows
    side = 1 - is_client(rows, newest, segments, s)
    x = newest + C_ENDPOINTS + side * ENDPOINT_SIZE
    if rows[x + E_BASE_KNOWN] >= BASE_PEER and segments[s + S_SEQ] == rows[x + E_BASE]:
        if begins_again(newest, side, s, segments, rows):
            return new_incarnation(newest, s, h, slot, tracker)
        return newest
    if rows[newest + C_FLAGS] & CF_PENDING:
        if side == SERVER:
            return newest
        newest = discard(newest, slot, tracker)  # yet another ISN: the pending attempt was given up
    elif is_part_of_opening(newest, side, s, segments, rows):
        return newest
    over = is_over(newest, rows)
    c = new_incarnation(newest, s, h, slot, tracker)
    if not over:
        rows[c + C_FLAGS] |= CF_PENDING
    return c


def fits_old(old: int, s: int, segments: Words, rows: Words) -> int:
    """Whether a segment's numbers lie in the windows of the incarnation before: 1 or 0."""
    return 1 if fits(old, 1 - is_client(rows, old, segments, s), s, segments, rows) == 1 else 0


def resets_old(newest: int, old: int, s: int, segments: Words, rows: Words) -> int:
    """Whether an RST answers, to the number, what the old connection last said, and not the new one: 1 or 0."""
    side = 1 - is_client(rows, newest, segments, s)
    x = newest + C_ENDPOINTS + side * ENDPOINT_SIZE
    y = newest + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    was = 1 - is_client(rows, old, segments, s)
    sender = old + C_ENDPOINTS + was * ENDPOINT_SIZE
    answered = old + C_ENDPOINTS + (1 - was) * ENDPOINT_SIZE
    if rows[answered + E_ACK] < 0 or low32(rows[sender + E_BASE] + rows[answered + E_ACK]) != segments[s + S_SEQ]:
        return 0
    return 0 if rows[y + E_ACK] >= 0 and low32(rows[x + E_BASE] + rows[y + E_ACK]) == segments[s + S_SEQ] else 1


def is_answered_anew(c: int, s: int, segments: Words, rows: Words) -> int:
    """Whether a SYN+ACK has another number than that to the SYN of a connection which is over, and answers it: 1 or 0.

    A copy of that SYN came late, or was taken for the capture's, or did not pass here, and made a listener open a
    connection. Where both have closed and said so, no other socket can have sent that.
    """
    if segments[s + S_FLAGS] & (TCP_SYN | TCP_ACK | TCP_RST) != TCP_SYN | TCP_ACK:
        return 0
    x = c + C_ENDPOINTS
    y = x + ENDPOINT_SIZE
    if not rows[c + C_FLAGS] & CF_RESTAMPED and not rows[x + E_STAGE] & rows[y + E_STAGE] & ES_ACKS_FIN:
        return 0
    if is_client(rows, c, segments, s) or rows[x + E_BASE_KNOWN] != BASE_SYN or rows[y + E_BASE_KNOWN] != BASE_SYN:
        return 0
    if segments[s + S_SEQ] == rows[y + E_BASE] or segments[s + S_ACK] != low32(rows[x + E_BASE] + 1):
        return 0
    return is_over(c, rows)


def answer_anew(old: int, s: int, h: int, slot: int, tracker: Tracker) -> int:
    """A new row for what that SYN+ACK answers: the same SYN, which its sender has not sent again."""
    rows = tracker.rows
    c = new_incarnation(old, s, h, slot, tracker)
    rows[old + C_FLAGS] &= ~CF_RESTAMPED
    rows[old + C_TAKEN_BY] = CLIENT
    rows[old + C_TAKEN_SEQ] = 0
    rows[old + C_TAKEN_TSVAL] = rows[old + C_ENDPOINTS + E_SYN_TSVAL]
    return c


def route(newest: int, s: int, h: int, slot: int, tracker: Tracker) -> int:
    """Which incarnation of a known four-tuple a segment belongs to; opens one where it must. Returns its row."""
    segments = tracker.segments
    rows = tracker.rows
    flags = segments[s + S_FLAGS]
    if flags & TCP_SYN and not flags & (TCP_ACK | TCP_RST):
        return route_syn(newest, s, h, slot, tracker)
    if is_answered_anew(newest, s, segments, rows):
        return answer_anew(newest, s, h, slot, tracker)
    old = rows[newest + C_OLDER]
    if old < 0:
        return newest
    side = 1 - is_client(rows, newest, segments, s)
    x = newest + C_ENDPOINTS + side * ENDPOINT_SIZE
    y = newest + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    pending = rows[newest + C_FLAGS] & CF_PENDING
    if (
        flags & TCP_RST
        and not pending
        and not (rows[x + E_STAGE] | rows[y + E_STAGE]) & ES_PLAIN
        and resets_old(newest, old, s, segments, rows)
    ):
        return old
    if flags & TCP_ACK and rows[y + E_BASE_KNOWN] == BASE_SYN:
        answered = widen(segments[s + S_ACK], rows[y + E_BASE], 1)
        if 1 <= answered <= rows[y + E_NEXT]:
            if flags & (TCP_SYN | TCP_RST) or not pending:
                return newest
        elif rows[y + E_SEGMENTS] == rows[y + E_SYNS] and fits_old(old, s, segments, rows):
            rows[newest + C_FLAGS] |= CF_MET_OLD
            return old  # the new SYN met the old connection, which answers with its own numbers
    if pending:
        # The old connection goes on: by its own numbers, and from the very side that sent the SYN.
        if side == CLIENT and not flags & TCP_RST and fits_old(old, s, segments, rows):
            return discard(newest, slot, tracker)
        if side == CLIENT and segments[s + S_SEQ] == low32(rows[x + E_BASE] + 1):
            return newest
        return old
    fitting = fits(newest, side, s, segments, rows)
    if rows[x + E_BASE_KNOWN] >= BASE_PEER and rows[y + E_BASE_KNOWN] >= BASE_PEER and fitting == 1:
        return newest
    return old if fitting != 1 and fits_old(old, s, segments, rows) else newest
