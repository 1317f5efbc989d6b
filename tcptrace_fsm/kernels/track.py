"""Segments to connections: which incarnation a segment belongs to, what it does there, what is worth remembering.

For each segment, in capture order: find its four-tuple, decide the incarnation, place its numbers in 64-bit sequence
space, update the counters of its sender, name what is notable about it (``MARK_`` bits), and log it if the replay or a
rule may need it. Nothing here assigns a state: that is for the replay, which sees the whole connection.

What is logged. Everything up to the point where both ends have spoken after the SYNs, everything from the first FIN
or RST on, and between the two what bears a mark. Plain segments in a row from one side share a record (a *run*), so the
log grows with what happens and not with what is transferred.

Incarnations. A SYN whose ISN is new opens a new incarnation at once where the old one is over (both FINs or an RST
seen), or never got an answer. In a live connection it is only *pending*: the numbers of what follows decide. A SYN+ACK
or RST that acknowledges it confirms it; when its sender goes on in the old numbers, it was a stray, and the connection
it fell into keeps it as such. Where the SYN was not seen, numbers far from those of a connection that both sides have
closed open a new incarnation as well. Silence never splits a connection, and no number is ever learnt from an RST.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.embryos import grow_up, is_waiting, join_embryo, keep_first, mark_first, suits_embryo
from tcptrace_fsm.kernels.ending import (
    close_books,
    follow,
    is_elsewhere,
    is_left_behind,
    is_shut,
    is_spent,
    spent_at,
    succeed,
)
from tcptrace_fsm.kernels.incarnations import *
from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.log import *
from tcptrace_fsm.kernels.memory import *
from tcptrace_fsm.kernels.plain import *
from tcptrace_fsm.kernels.points import take_path
from tcptrace_fsm.kernels.rows import *
from tcptrace_fsm.kernels.rtt import *
from tcptrace_fsm.kernels.segment import *
from tcptrace_fsm.kernels.sequence import *
from tcptrace_fsm.kernels.services import count_half
from tcptrace_fsm.kernels.table import *
from tcptrace_fsm.kernels.timeline import move_clock
from tcptrace_fsm.kernels.waits import account
from tcptrace_fsm.kernels.wireshark import *
from tcptrace_fsm.kernels.zeek import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words
    from tcptrace_fsm.kernels.records import Tracker

__all__ = ["track"]


def fetch_slot(ahead: int, tracker: Tracker) -> int:
    """Hash a segment that comes later, and have its slots ready by then."""
    segments = tracker.segments
    control = tracker.control
    h = hash_of(segments, ahead, control[K_SEED])
    segments[ahead + S_CONNECTION] = h
    prefetch(tracker.slots, 2 * (h & (control[K_SLOTS] - 1)))
    if segments[ahead + S_FLAGS] & TCP_SYN:
        prefetch(tracker.past, PAST_SIZE * (h & (control[K_PAST] - 1)))
        prefetch(tracker.known, 2 * (h & (control[K_STREAM_SLOTS] - 1)))
    return h


def fetch_row(ahead: int, tracker: Tracker) -> int:
    """Have the row ready that a segment will need; its slots are."""
    rows = tracker.rows
    h = tracker.segments[ahead + S_CONNECTION]
    c = tracker.slots[2 * (h & (tracker.control[K_SLOTS] - 1)) + 1] - 1
    if c >= 0:
        prefetch(rows, c)
        prefetch(rows, c + 8)
        prefetch(rows, c + 16)
        prefetch(rows, c + 24)
        prefetch(rows, c + C_WAIT_DONE)
        prefetch(rows, c + C_RUN)
        k = c + C_ENDPOINTS
        while k < c + C_ENDPOINTS + 40:
            prefetch(rows, k)
            prefetch(rows, k + ENDPOINT_SIZE)
            k += 8
    return c


def take_broken(s: int, h: int, tracker: Tracker) -> int:
    """What no connection takes: a broken segment, which Wireshark counts, or one that an ICMP error quotes."""
    segments = tracker.segments
    slots = tracker.slots
    rows = tracker.rows
    control = tracker.control
    slot = find(slots, control[K_SLOTS], h, rows, segments, s)
    if slots[slot + 1] and is_waiting(slots[slot + 1] - 1, rows):
        grow_up(slots[slot + 1] - 1, slot, tracker)
    completeness = join_broken(s, segments, tracker.streams, tracker.known, control)
    if completeness >= 0:
        complete_rows(s, h, completeness, segments, slots, rows, control)
    if segments[s + S_FLAGS] & TCP_QUOTED:
        take_icmp(s, h, segments, slots, rows, tracker.log, control)
    segments[s + S_CONNECTION] = -1
    segments[s + S_SIDE] = 0
    segments[s + S_MARKS] = M_BEGINS_STREAM if control[K_NEXT_STREAM] > tracker.next_stream else 0
    return 0


def begin_tuple(s: int, h: int, slot: int, tracker: Tracker) -> int:
    """The first segment of a four-tuple that nothing living has: an embryo, or a row. Returns it."""
    segments = tracker.segments
    rows = tracker.rows
    control = tracker.control
    c = (
        keep_first(s, h, segments, tracker.past, rows, tracker.living, control)
        if suits_embryo(s, segments, control)
        else -1
    )
    if c < 0:
        c = open_connection(s, h, segments, rows, tracker.living, control)
        follow(c, recall(tracker.past, control[K_PAST], rows, c), rows, control)
    tracker.slots[slot] = h
    tracker.slots[slot + 1] = c + 1
    control[K_USED] += 1
    return c


def incarnation_of(s: int, h: int, slot: int, tracker: Tracker) -> int:
    """The incarnation that a segment belongs to whose four-tuple is known; a new one where that is over. Returns it.

    Whether the sweep has come by already must make no difference.
    """
    segments = tracker.segments
    rows = tracker.rows
    control = tracker.control
    c = tracker.slots[slot + 1] - 1
    if is_waiting(c, rows):
        c = grow_up(c, slot, tracker)
    over = 1 if rows[c + C_FLAGS] & CF_EMBRYO else 0  # a lone segment on which the books are closed
    if not over and is_shut(c, rows):
        c = discard(c, slot, tracker)
        return succeed(c, s, h, slot, rows[c + C_OVER_TIME], tracker)
    old = -1 if over else rows[c + C_OLDER]
    if old >= 0 and is_spent(old, rows, control):
        make_due(old, spent_at(old, rows, control), rows, tracker.due, control)
        rows[old + C_NEWER] = -1
        rows[c + C_OLDER] = -1
    if not over and is_left_behind(c, rows, control):
        x = c + C_ENDPOINTS + (1 - is_client(rows, c, segments, s)) * ENDPOINT_SIZE
        over = 1 - is_replayed(c, x, s, segments, rows)
    if over or is_spent(c, rows, control):
        return succeed(c, s, h, slot, spent_at(c, rows, control), tracker)
    if is_elsewhere(c, s, segments, rows):
        return succeed(c, s, h, slot, segments[s + S_TIME], tracker)
    if rows[c + C_OLDER] >= 0 or segments[s + S_FLAGS] & TCP_SYN:
        return route(c, s, h, slot, tracker)
    return c


def take_in(c: int, s: int, tracker: Tracker) -> int:
    """Everything that a segment changes in the connection that it belongs to."""
    segments = tracker.segments
    rows = tracker.rows
    control = tracker.control
    if control[K_BEHIND]:
        rows[c + C_FLAGS] |= CF_BEHIND
    elif rows[c + C_FLAGS] & CF_BEHIND:
        rows[c + C_FLAGS] ^= CF_BEHIND
    hold_time(c, s, segments, rows, control)
    side = 1 - is_client(rows, c, segments, s)
    if rows[c + C_ID] < 0:
        if not rows[c + C_FLAGS] & CF_PENDING:
            give_id(c, rows, control)
        elif side == SERVER:
            confirm(c, rows, control)
    marks = 0
    before = rows[c + C_LAST_TIME]
    if not predicted(c, side, s, segments, rows, control):
        marks = take_segment(c, side, s, segments, rows, tracker.log, control)
    response = account(c, side, s, marks, before, tracker)
    if response >= 0:
        rtt_sample(c + C_RESPONSE_MIN, response, rows)
        count_half(c, response, rows)
    if not plain_to_wireshark(c, s, segments, rows, control):
        join_wireshark(c, s, segments, rows, tracker.streams, tracker.known, control)
    if not plain_to_zeek(c, side, s, segments, rows):
        join_zeek(c, side, s, segments, rows)
    if segments[s + S_FATE]:
        take_path(c, side, s, marks, tracker)
    return label(c, side, s, marks, tracker)


def label(c: int, side: int, s: int, marks: int, tracker: Tracker) -> int:
    """Write to a segment what was found of it."""
    segments = tracker.segments
    control = tracker.control
    segments[s + S_CONNECTION] = tracker.rows[c + C_ID]
    segments[s + S_SIDE] = side
    segments[s + S_MARKS] = marks
    if control[K_NEXT_ID] > tracker.next_id:
        segments[s + S_MARKS] |= M_NAMES
    if control[K_NEXT_STREAM] > tracker.next_stream:
        segments[s + S_MARKS] |= M_BEGINS_STREAM
    return marks


def is_outstanding(c: int, side: int, s: int, segments: Words, rows: Words) -> int:
    """Whether one side has sent the sequence number of ``s``, and lacks its ACK (RFC 5927 4.1): 1 or 0."""
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    if not rows[x + E_BASE_KNOWN]:
        return 0
    seq = widen(segments[s + S_SEQ], rows[x + E_BASE], rows[x + E_NEXT])
    return 1 if seq >= 0 and rows[y + E_ACK] <= seq < rows[x + E_NEXT] else 0


def take_icmp(s: int, h: int, segments: Words, slots: Words, rows: Words, log: Words, control: Words) -> int:
    """Keep an ICMP error with the connection whose segment it quotes. Returns that row, -1 where there is none.

    It is no segment: nothing is counted, no state moves, no connection begins. Whether the sweep over the live rows has
    come by already must make no difference.
    """
    c = slots[find(slots, control[K_SLOTS], h, rows, segments, s) + 1] - 1
    if c < 0 or rows[c + C_FLAGS] & CF_EMBRYO or is_spent(c, rows, control) or is_shut(c, rows):
        return -1
    side = 1 - is_client(rows, c, segments, s)
    outstanding = is_outstanding(c, side, s, segments, rows)
    old = rows[c + C_OLDER]
    if old >= 0 and not outstanding and not is_spent(old, rows, control):
        was = 1 - is_client(rows, old, segments, s)
        if is_outstanding(old, was, s, segments, rows) or (
            fits(c, side, s, segments, rows) < 1 and fits(old, was, s, segments, rows) == 1
        ):
            c = old
            side = was
            outstanding = is_outstanding(c, side, s, segments, rows)
    e = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    rows[c + C_MARKS] |= M_ICMP
    rows[e + E_ICMP_COUNT] += 1
    first = rows[e + E_ICMP]
    if first >= 0 and log[first + I_KEPT] >= ICMP_MOST:
        return c
    r = record_after(log[first + I_TAIL] if first >= 0 else -1, log, control)
    log[r + I_TIME] = segments[s + S_TIME]
    log[r + I_FRAME] = segments[s + S_FRAME]
    log[r + I_KIND] = segments[s + Q_KIND]
    if segments[s + S_NET] & 1:
        log[r + I_KIND] |= ICMP_SIX
    if outstanding:
        log[r + I_KIND] |= ICMP_OUTSTANDING
    log[r + I_SEQ] = -1
    if rows[e + E_BASE_KNOWN]:
        log[r + I_SEQ] = widen(segments[s + S_SEQ], rows[e + E_BASE], rows[e + E_NEXT])
    log[r + I_MTU] = segments[s + Q_MTU]
    log[r + I_FROM_HI] = segments[s + Q_FROM_HI]
    log[r + I_FROM_LO] = segments[s + Q_FROM_LO]
    log[r + I_SIZE] = segments[s + Q_SIZE]
    log[r + I_FLAGS] = -1
    if not segments[s + S_FLAGS] & TCP_STREAMLESS:
        log[r + I_FLAGS] = segments[s + S_FLAGS] & LOG_FLAGS_MASK
    log[r + I_TTL] = segments[s + S_TTL]
    log[r + I_IP_ID] = segments[s + S_IP_ID]
    log[r + I_NEXT] = -1
    if first < 0:
        rows[e + E_ICMP] = r
        log[r + I_KEPT] = 0
        first = r
    else:
        log[log[first + I_TAIL] + I_NEXT] = r
    log[first + I_TAIL] = r
    log[first + I_KEPT] += 1
    return c


def complete_rows(s: int, h: int, completeness: int, segments: Words, slots: Words, rows: Words, control: Words) -> int:
    """Tell the connections that are named after a broken segment's stream how complete that is now.

    Only those of which something is still expected: whether the sweep has come by already must make no difference.
    """
    c = slots[find(slots, control[K_SLOTS], h, rows, segments, s) + 1] - 1
    if c >= 0 and (rows[c + C_FLAGS] & CF_EMBRYO or is_spent(c, rows, control)):
        return 0
    while c >= 0:
        if rows[c + C_STREAM] == segments[s + S_STREAM] >> STREAM_SHIFT and not is_spent(c, rows, control):
            rows[c + C_COMPLETENESS] = completeness
        c = rows[c + C_OLDER]
    return 0


def track(count: int, tracker: Tracker) -> int:
    """Take ``count`` segments.

    The caller makes room first: for ``2 * count`` more rows and blocks of log records, ``count`` in ``due``, one more
    than that in ``living``, ``count`` streams, ``WAITS_PER_SEGMENT * count`` waits, twice ``count`` slots and, with
    two capture points, path records.

    Returns
    -------
    int
        Number of rows that became due.
    """
    segments = tracker.segments
    slots = tracker.slots
    rows = tracker.rows
    control = tracker.control
    end = count * SEGMENT_SIZE
    s = 0
    while s < end:
        # Fetch what the segments after this one will need, in two steps: their slots, then their rows.
        if s + 24 * SEGMENT_SIZE < end:
            fetch_slot(s + 24 * SEGMENT_SIZE, tracker)
        if s >= 12 * SEGMENT_SIZE and s + 12 * SEGMENT_SIZE < end:
            fetch_row(s + 12 * SEGMENT_SIZE, tracker)
        h = segments[s + S_CONNECTION] if s >= 24 * SEGMENT_SIZE else hash_of(segments, s, control[K_SEED])
        tracker.next_id = control[K_NEXT_ID]
        tracker.next_stream = control[K_NEXT_STREAM]
        leapt = move_clock(s, segments, control)
        if leapt:
            close_books(leapt, rows, tracker.living, tracker.due, control)
        if segments[s + S_FLAGS] & TCP_CLOCK:
            segments[s + S_CONNECTION] = -1
            segments[s + S_MARKS] = 0
        elif segments[s + S_FLAGS] & TCP_BROKEN:
            take_broken(s, h, tracker)
        else:
            slot = find(slots, control[K_SLOTS], h, rows, segments, s)
            c = incarnation_of(s, h, slot, tracker) if slots[slot + 1] else begin_tuple(s, h, slot, tracker)
            if rows[c + C_FLAGS] & CF_EMBRYO:
                join_embryo(c, s, segments, rows, tracker.streams, tracker.known, control)
                marks = mark_first(s, h, segments, rows, tracker.log, control)
                label(c, sender_serves(s, segments), s, marks, tracker)
            else:
                take_in(c, s, tracker)
        s += SEGMENT_SIZE
    return control[K_DUE]
