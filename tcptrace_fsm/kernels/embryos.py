"""Embryos: a segment that nothing of its four-tuple has followed yet costs a fifteenth of a connection's row.

A flood of SYNs opens a connection with each, and so does any other segment of ever new hosts, ports or tunnels. What
the tracker makes of a lone segment depends on that alone, so it is kept as it came, in a record of a few words, and a
row is made of it (it *hatches*) when anything else comes for its four-tuple, or when it is over and is to be judged.
Only its marks and the numbers that it has in common with others, its conn_id and Wireshark's stream, are given at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.log import *
from tcptrace_fsm.kernels.memory import *
from tcptrace_fsm.kernels.rows import *
from tcptrace_fsm.kernels.segment import *
from tcptrace_fsm.kernels.sequence import *
from tcptrace_fsm.kernels.table import *
from tcptrace_fsm.kernels.waits import account
from tcptrace_fsm.kernels.wireshark import *
from tcptrace_fsm.kernels.zeek import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words
    from tcptrace_fsm.kernels.records import Tracker

__all__ = ["embryos_among", "free_logs", "hatch_apart", "hatch_due", "let_go_of_hatched"]


def suits_embryo(s: int, segments: Words, control: Words) -> int:
    """Whether a segment is like most, in order of time, all of which an embryo has words for: 1 or 0."""
    if segments[s + S_SACKS] or segments[s + S_FATE] or segments[s + S_LEN] >= EM_LEN_MOST:
        return 0
    if segments[s + S_CHECKSUM] == CHECKSUM_BAD or segments[s + S_TIME] < control[K_NOW]:
        return 0
    if control[K_BEHIND]:
        return 0
    return 1 if control[K_EMBRYOS] else 0


def mark_first(s: int, h: int, segments: Words, rows: Words, log: Words, control: Words) -> int:
    """The marks of a four-tuple's first segment: those that a row gives it, which is needed for no longer than that."""
    if segments[s + S_FLAGS] & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK | TCP_URG) == TCP_SYN and not segments[s + S_LEN]:
        return 0
    c = open_row(vacant_row(rows, control), s, h, segments, rows)
    marks = take_segment(c, 1 - is_client(rows, c, segments, s), s, segments, rows, log, control)
    free_log(c, rows, log, control)
    list_free(c, rows, control)
    return marks


def is_waiting(c: int, rows: Words) -> int:
    """Whether it is an embryo, and not over: 1 or 0."""
    return 1 if rows[c + C_FLAGS] & CF_EMBRYO and rows[c + EM_OVER] < 0 else 0


def new_embryo(rows: Words, control: Words) -> int:
    """Room for one. Returns where it begins."""
    if control[K_EMBRYO_FREE] < 0:
        c = control[K_ROW_FREE]
        if c >= 0:
            control[K_ROW_FREE] = rows[c + C_OLDER]
        else:
            c = control[K_ROW_TOP]
            control[K_ROW_TOP] = c + CONNECTION_SIZE
        e = c
        while e + EMBRYO_SIZE <= c + CONNECTION_SIZE:
            rows[e + EM_HASH] = control[K_EMBRYO_FREE]
            control[K_EMBRYO_FREE] = e
            e += EMBRYO_SIZE
    e = control[K_EMBRYO_FREE]
    control[K_EMBRYO_FREE] = rows[e + EM_HASH]
    if control[K_EMBRYO_FREE] >= 0:
        prefetch(rows, control[K_EMBRYO_FREE])
    return e


def keep_first(s: int, h: int, segments: Words, past: Words, rows: Words, living: Words, control: Words) -> int:
    """Make an embryo of a segment for a four-tuple that is not in use; -1 where that was used before. Returns it."""
    e = new_embryo(rows, control)
    rows[e + C_NET] = segments[s + S_NET]
    rows[e + C_PORTS] = segments[s + S_PORTS]
    rows[e + C_CLIENT_HI] = segments[s + S_SRC_HI]
    rows[e + C_CLIENT_LO] = segments[s + S_SRC_LO]
    rows[e + C_SERVER_HI] = segments[s + S_DST_HI]
    rows[e + C_SERVER_LO] = segments[s + S_DST_LO]
    if past[find_past(past, control[K_PAST], h, rows, e) + P_USE]:
        rows[e + EM_HASH] = control[K_EMBRYO_FREE]
        control[K_EMBRYO_FREE] = e
        return -1
    rows[e + C_FLAGS] = CF_EMBRYO
    rows[e + EM_HASH] = h
    rows[e + C_LAST_TIME] = segments[s + S_TIME]
    rows[e + C_LAST_FRAME] = segments[s + S_FRAME]
    rows[e + EM_NUMBERS] = (
        segments[s + S_SEQ] | segments[s + S_WINDOW] << EM_WINDOW_SHIFT | segments[s + S_FLAGS] << EM_FLAGS_SHIFT
    )
    options = segments[s + S_OPTIONS]
    words = options | segments[s + S_TTL] << EM_TTL_SHIFT | segments[s + S_CHECKSUM] << EM_CHECKSUM_SHIFT
    if options & OPT_MSS:
        words |= segments[s + S_MSS] << EM_MSS_SHIFT
    if options & OPT_SCALE:
        words |= segments[s + S_SHIFT] << EM_SCALE_SHIFT
    rows[e + EM_OPTIONS] = words
    rows[e + EM_STAMP] = (segments[s + S_IP_ID] + 1) << EM_IP_ID_SHIFT
    rows[e + EM_ECHO] = 0
    if options & OPT_TIMESTAMPS:
        rows[e + EM_STAMP] |= segments[s + S_TSVAL]
        rows[e + EM_ECHO] = segments[s + S_TSECR]
    rows[e + EM_ACK] = segments[s + S_ACK] | segments[s + S_LEN] << EM_LEN_SHIFT
    rows[e + EM_OVER] = -1
    give_id(e, rows, control)
    rows[e + EM_LIVING] = control[K_LIVE]
    living[control[K_LIVE]] = e
    control[K_LIVE] += 1
    return e


def join_embryo(e: int, s: int, segments: Words, rows: Words, streams: Words, known: Words, control: Words) -> int:
    """Number an embryo's stream and tell its completeness, as :func:`join_wireshark` does for a row."""
    if segments[s + S_NET] >> 1:
        control[K_MIXED] = 1
    h = hash_plain(segments, s, control[K_SEED]) if segments[s + S_NET] >> 1 else rows[e + EM_HASH]
    stream = find_stream(h, streams, known, control)
    stream = enter_stream(stream, h, s, segments, streams, known, control)
    rows[e + C_STREAM] = stream
    completeness = complete_stream(stream, s, segments, streams, control)
    rows[e + EM_COMPLETENESS] = completeness
    w = (stream & (control[K_STREAM_MOST] - 1)) * STREAM_SIZE
    if streams[w + W_BITS] & W_BASES and streams[w + W_BITS] & 63 == completeness & 63:
        rows[e + EM_COMPLETENESS] |= COMPLETE_CALM
    segments[s + S_STREAM] = stream << STREAM_SHIFT | (completeness & 63)
    return stream


def write_first(e: int, rows: Words, control: Words) -> int:
    """Write what an embryo was made of as a segment behind the control words. Returns where that begins."""
    s = CONTROL_SIZE
    k = s
    while k < s + SEGMENT_SIZE:
        control[k] = 0
        k += 1
    numbers = rows[e + EM_NUMBERS]
    options = rows[e + EM_OPTIONS]
    control[s + S_FRAME] = rows[e + C_LAST_FRAME]
    control[s + S_TIME] = rows[e + C_LAST_TIME]
    control[s + S_NET] = rows[e + C_NET]
    control[s + S_PORTS] = rows[e + C_PORTS]
    control[s + S_SRC_HI] = rows[e + C_CLIENT_HI]
    control[s + S_SRC_LO] = rows[e + C_CLIENT_LO]
    control[s + S_DST_HI] = rows[e + C_SERVER_HI]
    control[s + S_DST_LO] = rows[e + C_SERVER_LO]
    control[s + S_SEQ] = low32(numbers)
    control[s + S_WINDOW] = numbers >> EM_WINDOW_SHIFT & 65535
    control[s + S_FLAGS] = numbers >> EM_FLAGS_SHIFT
    control[s + S_OPTIONS] = options & 65535
    control[s + S_MSS] = options >> EM_MSS_SHIFT & 65535
    control[s + S_SHIFT] = options >> EM_SCALE_SHIFT & 255
    control[s + S_TTL] = options >> EM_TTL_SHIFT & 255
    control[s + S_CHECKSUM] = options >> EM_CHECKSUM_SHIFT
    control[s + S_TSVAL] = low32(rows[e + EM_STAMP])
    control[s + S_TSECR] = rows[e + EM_ECHO]
    control[s + S_ACK] = low32(rows[e + EM_ACK])
    control[s + S_LEN] = rows[e + EM_ACK] >> EM_LEN_SHIFT
    control[s + S_IP_ID] = (rows[e + EM_STAMP] >> EM_IP_ID_SHIFT) - 1
    return s


def hatch(e: int, tracker: Tracker) -> int:
    """The row that the tracker would have made of an embryo's segment. Returns it; the embryo stays, and its place."""
    rows = tracker.rows
    control = tracker.control
    c = open_row(vacant_row(rows, control), write_first(e, rows, control), rows[e + EM_HASH], control, rows)
    take_embryo(e, c, rows, tracker)
    return c


def take_embryo(e: int, c: int, embryos: Words, tracker: Tracker) -> int:
    """Have the new row ``c`` take the segment of an embryo, which stands behind the control words."""
    rows = tracker.rows
    control = tracker.control
    batch = tracker.segments
    tracker.segments = control
    now = control[K_NOW]
    s = CONTROL_SIZE
    rows[c + C_ID] = embryos[e + C_ID]
    rows[c + C_STREAM] = embryos[e + C_STREAM]
    rows[c + C_STREAM_NOW] = embryos[e + C_STREAM]
    rows[c + C_COMPLETENESS] = embryos[e + EM_COMPLETENESS]
    control[K_NOW] = control[s + S_TIME]  # as it was when it came
    side = 1 - is_client(rows, c, control, s)
    marks = take_segment(c, side, s, control, rows, tracker.log, control)
    account(c, side, s, marks, control[s + S_TIME], tracker)
    join_zeek(c, side, s, control, rows)
    control[K_NOW] = now
    tracker.segments = batch
    return 0


def grow_up(e: int, slot: int, tracker: Tracker) -> int:
    """Something came for an embryo's four-tuple: a row takes its place. Returns it."""
    rows = tracker.rows
    living = tracker.living
    control = tracker.control
    c = hatch(e, tracker)
    tracker.slots[slot + 1] = c + 1
    living[rows[e + EM_LIVING]] = c
    rows[c + C_LIVING] = rows[e + EM_LIVING]
    rows[e + EM_HASH] = control[K_EMBRYO_FREE]
    control[K_EMBRYO_FREE] = e
    return c


def hatch_due(start: int, stop: int, tracker: Tracker) -> int:
    """Put rows in the place of the embryos among those that are due.

    The caller makes room first: for as many rows and blocks of log records.

    Parameters
    ----------
    start, stop : int
        Which of the due ones.
    tracker : Tracker

    Returns
    -------
    int
        How many there were.
    """
    due = tracker.due
    rows = tracker.rows
    n = 0
    i = start
    while i < stop:
        e = due[i]
        if i + 8 < stop:
            prefetch(rows, due[i + 8])
            prefetch(rows, due[i + 8] + 8)
        if rows[e + C_FLAGS] & CF_EMBRYO:
            c = hatch(e, tracker)
            rows[c + C_LIVING] = -1 - e
            rows[c + C_LIFE] = LIFE_DUE
            rows[c + C_OVER_TIME] = rows[e + EM_OVER]
            due[i] = c
            n += 1
        i += 1
    return n


def embryos_among(start: int, stop: int, tracker: Tracker) -> int:
    """How many of those that are due are embryos."""
    due = tracker.due
    rows = tracker.rows
    n = 0
    i = start
    while i < stop:
        if i + 8 < stop:
            prefetch(rows, due[i + 8])
            prefetch(rows, due[i + 8] + 8)
        if rows[due[i] + C_FLAGS] & CF_EMBRYO:
            n += 1
        i += 1
    return n


def hatch_apart(start: int, count: int, records_words: Words, tracker: Tracker) -> int:
    """Make the rows of embryos that are due, nothing but embryos, where they are to be read: one after the other.

    Parameters
    ----------
    start, count : int
        Which of the due ones.
    records : int64[count * CONNECTION_SIZE]
        Zeros.
    tracker : Tracker
        With room for as many blocks of log records.
    """
    due = tracker.due
    embryos = tracker.rows
    control = tracker.control
    records = pointer(records_words)
    tracker.rows = records
    c = 0
    i = start
    while i < start + count:
        e = due[i]
        open_row(c, write_first(e, embryos, control), embryos[e + EM_HASH], control, records)
        take_embryo(e, c, embryos, tracker)
        records[c + C_LIVING] = -1 - e
        records[c + C_LIFE] = LIFE_DUE
        records[c + C_OVER_TIME] = embryos[e + EM_OVER]
        c += CONNECTION_SIZE
        i += 1
    tracker.rows = embryos
    return c


def free_logs(count: int, records_words: Words, log_words: Words, control_words: Words) -> int:
    """Free the logs of so many records that were made apart."""
    records = pointer(records_words)
    log = pointer(log_words)
    control = pointer(control_words)
    c = 0
    while c < count * CONNECTION_SIZE:
        free_log(c, records, log, control)
        c += CONNECTION_SIZE
    return c


def let_go_of_hatched(start: int, stop: int, tracker: Tracker) -> int:
    """Free the rows that were made of embryos, which have been judged now; the embryos are on the list again."""
    due = tracker.due
    rows = tracker.rows
    control = tracker.control
    n = 0
    i = start
    while i < stop:
        c = due[i]
        if not rows[c + C_FLAGS] & CF_EMBRYO and rows[c + C_LIVING] < 0:
            due[i] = -1 - rows[c + C_LIVING]
            free_log(c, rows, tracker.log, control)
            list_free(c, rows, control)
            n += 1
        i += 1
    return n
