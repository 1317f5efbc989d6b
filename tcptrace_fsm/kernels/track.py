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
it fell into keeps it as such. Silence never splits a connection, and no number is ever learnt from an RST.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *
from tcptrace_fsm.kernels.plain import *
from tcptrace_fsm.kernels.sequence import *
from tcptrace_fsm.kernels.table import *
from tcptrace_fsm.kernels.waits import account
from tcptrace_fsm.kernels.wireshark import *
from tcptrace_fsm.kernels.zeek import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

__all__ = ["collect_paths", "end_paths", "expire", "make_all_due", "release", "track"]


# --- log --------------------------------------------------------------------------------------------------------------


def record_after(r: int, log: Words, control: Words) -> int:
    """Memory for the record that follows ``r`` in a chain; -1 begins one. Returns it."""
    if r >= 0 and (r & (LOG_BLOCK - 1)) < LOG_BLOCK - LOG_SIZE:
        r += LOG_SIZE  # the block of the record before has room
    elif control[K_LOG_FREE] >= 0:
        r = control[K_LOG_FREE]
        k = next_block(r, log)
        control[K_LOG_FREE] = k
        if k >= 0:  # it lies anywhere in memory
            prefetch(log, k)
            prefetch(log, k + 8)
            prefetch(log, k + LOG_BLOCK - 8)
    else:
        r = control[K_LOG_TOP]
        control[K_LOG_TOP] = r + LOG_BLOCK
    return r


def log_segment(
    c: int,
    x: int,
    side: int,
    s: int,
    seq: int,
    ack: int,
    marks: int,
    segments: Words,
    rows: Words,
    log: Words,
    control: Words,
) -> int:
    """Append a segment to the connection's log. Returns its record."""
    r = record_after(rows[c + C_LOG_TAIL], log, control)
    log[r + L_TIME] = segments[s + S_TIME]
    log[r + L_FRAME] = segments[s + S_FRAME]
    length = segments[s + S_LEN]
    log[r + L_INFO] = (
        (segments[s + S_FLAGS] & LOG_FLAGS_MASK) | side << LOG_SIDE_SHIFT | length << LOG_LEN_SHIFT | bit(LOG_RUN_SHIFT)
    )
    log[r + L_SEQ] = seq
    log[r + L_ACK] = ack
    log[r + L_MARKS] = marks
    log[r + L_WINDOW] = rows[x + E_WINDOW]
    log[r + L_TSVAL] = -1
    log[r + L_TSECR] = -1
    if segments[s + S_OPTIONS] & OPT_TIMESTAMPS:
        log[r + L_TSVAL] = segments[s + S_TSVAL]
        log[r + L_TSECR] = segments[s + S_TSECR]
    log[r + L_END_TIME] = segments[s + S_TIME]
    log[r + L_END_FRAME] = segments[s + S_FRAME]
    log[r + L_NEXT] = -1
    log[r + L_FATE] = (
        segments[s + S_FATE]
        | segments[s + S_TTL] << LOG_TTL_SHIFT
        | (segments[s + S_IP_ID] + 1) << LOG_IP_ID_SHIFT
        | segments[s + S_CHECKSUM] << LOG_CHECKSUM_SHIFT
        | segments[s + S_OPTIONS] << LOG_OPTIONS_SHIFT
    )
    log[r + L_ARRIVAL] = segments[s + S_ARRIVAL]
    log[r + L_ARRIVAL_FRAME] = segments[s + S_ARRIVAL_FRAME]
    log[r + L_END_ARRIVAL] = segments[s + S_ARRIVAL]
    if rows[c + C_LOG_HEAD] < 0:
        rows[c + C_LOG_HEAD] = r
    else:
        log[rows[c + C_LOG_TAIL] + L_NEXT] = r
    rows[c + C_LOG_TAIL] = r
    rows[c + C_LOG_COUNT] += 1
    return r


def free_log(c: int, rows: Words, log: Words, control: Words) -> int:
    """Put the blocks of a connection's log on the free list, linked as they are."""
    if rows[c + C_LOG_HEAD] >= 0:
        log[rows[c + C_LOG_TAIL] + L_NEXT] = control[K_LOG_FREE]
        control[K_LOG_FREE] = rows[c + C_LOG_HEAD]
    free_icmp(c + C_ENDPOINTS, rows, log, control)
    free_icmp(c + C_ENDPOINTS + ENDPOINT_SIZE, rows, log, control)
    return 0


def free_icmp(e: int, rows: Words, log: Words, control: Words) -> int:
    """Put the records of the ICMP errors that quote an endpoint's segments on the free list."""
    r = rows[e + E_ICMP]
    if r >= 0:
        log[log[r + I_TAIL] + I_NEXT] = control[K_LOG_FREE]
        control[K_LOG_FREE] = r
        rows[e + E_ICMP] = -1
    return 0


def hand_icmp(e: int, to: int, rows: Words, log: Words, control: Words) -> int:
    """Hand ICMP errors over to the endpoint ``to`` of the connection to which the quoted segments prove to belong."""
    r = rows[e + E_ICMP]
    rows[to + E_ICMP_COUNT] += rows[e + E_ICMP_COUNT]
    if r >= 0:
        first = rows[to + E_ICMP]
        if first < 0:
            rows[to + E_ICMP] = r
        elif log[first + I_KEPT] + log[r + I_KEPT] <= ICMP_MOST:
            log[log[first + I_TAIL] + I_NEXT] = r
            log[first + I_TAIL] = log[r + I_TAIL]
            log[first + I_KEPT] += log[r + I_KEPT]
        else:
            free_icmp(e, rows, log, control)
    rows[e + E_ICMP] = -1
    rows[e + E_ICMP_COUNT] = 0
    return 0


def extend_run(r: int, s: int, segments: Words, log: Words) -> int:
    """Let the record ``r`` stand for one more plain segment."""
    log[r + L_END_TIME] = segments[s + S_TIME]
    log[r + L_END_FRAME] = segments[s + S_FRAME]
    log[r + L_END_ARRIVAL] = segments[s + S_ARRIVAL]
    log[r + L_INFO] += bit(LOG_RUN_SHIFT)
    return 0


# --- rows -------------------------------------------------------------------------------------------------------------


def new_row(s: int, h: int, swap: int, segments: Words, rows: Words, living: Words, control: Words) -> int:
    """A fresh row for the segment's four-tuple; its source is the client unless ``swap``. Returns the word offset."""
    c = control[K_ROW_FREE]
    if c >= 0:
        control[K_ROW_FREE] = rows[c + C_OLDER]
        if rows[c + C_OLDER] >= 0:  # the row to be taken next lies anywhere in memory
            k = rows[c + C_OLDER]
            while k < rows[c + C_OLDER] + CONNECTION_SIZE:
                prefetch(rows, k)
                k += 8
    else:
        c = control[K_ROW_TOP]
        control[K_ROW_TOP] = c + CONNECTION_SIZE
    k = 0
    while k < CONNECTION_SIZE:
        rows[c + k] = 0
        k += 1
    ports = segments[s + S_PORTS]
    rows[c + C_NET] = segments[s + S_NET]
    if swap:
        rows[c + C_PORTS] = (ports & 65535) << 16 | ports >> 16
        rows[c + C_CLIENT_HI] = segments[s + S_DST_HI]
        rows[c + C_CLIENT_LO] = segments[s + S_DST_LO]
        rows[c + C_SERVER_HI] = segments[s + S_SRC_HI]
        rows[c + C_SERVER_LO] = segments[s + S_SRC_LO]
    else:
        rows[c + C_PORTS] = ports
        rows[c + C_CLIENT_HI] = segments[s + S_SRC_HI]
        rows[c + C_CLIENT_LO] = segments[s + S_SRC_LO]
        rows[c + C_SERVER_HI] = segments[s + S_DST_HI]
        rows[c + C_SERVER_LO] = segments[s + S_DST_LO]
    rows[c + C_HASH] = h
    rows[c + C_OLDER] = -1
    rows[c + C_NEWER] = -1
    rows[c + C_TAKEN_OVER] = -1
    rows[c + C_ACCEPTED] = -1
    rows[c + C_REFUSED] = -1
    rows[c + C_ID] = -1
    rows[c + C_PREVIOUS_ID] = -1
    rows[c + C_FIRST_TIME] = segments[s + S_TIME]
    rows[c + C_LAST_TIME] = segments[s + S_TIME]
    rows[c + C_FIRST_FRAME] = segments[s + S_FRAME]
    rows[c + C_LOG_HEAD] = -1
    rows[c + C_LOG_TAIL] = -1
    rows[c + C_SYN_TIME] = -1
    rows[c + C_SYN_ACK_TIME] = -1
    rows[c + C_HANDSHAKE_ACK_TIME] = -1
    rows[c + C_STREAM] = -1
    rows[c + C_STREAM_NOW] = -1
    rows[c + C_LIFE] = LIFE_LIVE
    rows[c + C_LIVING] = control[K_LIVE]
    living[control[K_LIVE]] = c
    control[K_LIVE] += 1
    side = 0
    while side < 2:
        e = c + C_ENDPOINTS + side * ENDPOINT_SIZE
        rows[e + E_ACK] = -1
        rows[e + E_LAST_ACK] = -1
        rows[e + E_WINDOW] = -1
        rows[e + E_EDGE] = -1
        rows[e + E_SHIFT] = -1
        rows[e + E_FIN] = -1
        rows[e + E_LAST_TIME] = -1
        rows[e + E_RUN] = -1
        rows[e + E_MSS] = -1
        rows[e + E_TSVAL] = -1
        rows[e + E_TTL] = -1
        rows[e + E_IP_ID] = -1
        rows[e + E_FIN_TSVAL] = -1
        rows[e + E_FIN_IP_ID] = -1
        rows[e + E_LAST_SEQ] = -1
        rows[e + E_LAST_LEN] = -1
        rows[e + E_HEAD_TIME] = -1
        rows[e + E_ACK_TIME] = -1
        rows[e + E_BACKOFF_SEQ] = -1
        rows[e + E_BUSY_SINCE] = -1
        rows[e + E_BLOCKED_SINCE] = -1
        rows[e + E_RTT_MIN] = -1
        rows[e + E_SYN_TSVAL] = -1
        rows[e + E_SACK_LOW] = -1
        rows[e + E_SACK_HIGH] = -1
        rows[e + E_OUTSIDE_FRAME] = -1
        rows[e + E_ICMP] = -1
        side += 1
    return c


def give_id(c: int, rows: Words, control: Words) -> int:
    """Make the row a connection of its own. Returns its conn_id."""
    rows[c + C_ID] = control[K_NEXT_ID]
    control[K_NEXT_ID] += 1
    return rows[c + C_ID]


def server_port_first(ports: int) -> int:
    """Who is the server of a connection met inside: 1 the source, 0 the destination, -1 the ports do not tell."""
    source = ports >> 16
    destination = ports & 65535
    if source < 1024 <= destination:
        return 1
    if destination < 1024 <= source:
        return 0
    if source < 32768 <= destination:
        return 1
    if destination < 32768 <= source:
        return 0
    return -1


def open_connection(s: int, h: int, segments: Words, rows: Words, living: Words, control: Words) -> int:
    """A row for a four-tuple's first segment, with the roles as well as this segment tells them."""
    flags = segments[s + S_FLAGS]
    role = ROLE_SYN
    swap = 0
    if not flags & TCP_SYN or flags & TCP_RST:
        told = server_port_first(segments[s + S_PORTS])
        role = ROLE_PORT
        swap = 1 if told == 1 else 0
        if told < 0:
            role = ROLE_FIRST_SEGMENT
    elif flags & TCP_ACK:
        role = ROLE_SYN_ACK
        swap = 1
    c = new_row(s, h, swap, segments, rows, living, control)
    rows[c + C_ROLE_BASIS] = role
    if role > ROLE_SYN_ACK:
        rows[c + C_FLAGS] = CF_MIDSTREAM
    return c


def make_due(c: int, moment: int, rows: Words, due: Words, control: Words) -> int:
    """Put a row on the list of those that are over, to be judged as of ``moment``.

    A SYN that is still pending counts as a connection of its own.
    """
    if rows[c + C_LIFE] == LIFE_LIVE:
        if rows[c + C_ID] < 0:
            rows[c + C_FLAGS] |= CF_UNCONFIRMED
            confirm(c, rows, control)
        rows[c + C_LIFE] = LIFE_DUE
        rows[c + C_OVER_TIME] = moment
        due[control[K_DUE]] = c
        control[K_DUE] += 1
        if rows[c + C_LOG_COUNT] > control[K_LONGEST]:
            control[K_LONGEST] = rows[c + C_LOG_COUNT]
    return 0


# --- incarnations -----------------------------------------------------------------------------------------------------


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


def fits(c: int, side: int, s: int, segments: Words, rows: Words) -> int:
    """Whether a segment's numbers lie in this incarnation's windows: 1, 0, or -1 where nothing is known."""
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    told = -1
    if rows[x + E_BASE_KNOWN]:
        slack = 262144
        if rows[y + E_EDGE] - rows[x + E_NEXT] > slack:
            slack = rows[y + E_EDGE] - rows[x + E_NEXT]
        off = widen(segments[s + S_SEQ], rows[x + E_BASE], rows[x + E_NEXT]) - rows[x + E_NEXT]
        if off > slack or off < -slack:
            return 0
        told = 1
    if segments[s + S_FLAGS] & TCP_ACK and rows[y + E_BASE_KNOWN]:
        off = widen(segments[s + S_ACK], rows[y + E_BASE], rows[y + E_NEXT]) - rows[y + E_NEXT]
        if off > 262144 or off < -262144:
            return 0
        told = 1
    return told


def new_incarnation(
    old: int,
    s: int,
    h: int,
    slot: int,
    segments: Words,
    slots: Words,
    rows: Words,
    living: Words,
    due: Words,
    control: Words,
) -> int:
    """A new row for the tuple of ``old``, opened by the SYN at hand; ``old`` lingers behind it."""
    attempt = -1
    older = rows[old + C_OLDER]
    if older >= 0 and rows[old + C_FLAGS] & CF_MET_OLD and only_asked(old, rows):
        attempt = old  # the connection before it still answers whoever asks: it is that which lingers on
    elif older >= 0:
        make_due(older, segments[s + S_TIME], rows, due, control)
        rows[older + C_NEWER] = -1
        rows[old + C_OLDER] = -1
    c = open_connection(s, h, segments, rows, living, control)
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
    slots[slot + 1] = c + 1
    return c


def confirm(c: int, rows: Words, control: Words) -> int:
    """A pending SYN proved to be a connection."""
    rows[c + C_FLAGS] &= ~CF_PENDING
    return give_id(c, rows, control)


def discard(
    c: int, slot: int, slots: Words, rows: Words, log: Words, living: Words, paths: Words, control: Words
) -> int:
    """A pending SYN came to nothing: hand its log to the connection it fell into, while there is room there.

    Returns that row.
    """
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
    slots[slot + 1] = old + 1
    free_row(c, rows, living, control)
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


def route(
    newest: int,
    s: int,
    h: int,
    slot: int,
    segments: Words,
    slots: Words,
    rows: Words,
    log: Words,
    living: Words,
    due: Words,
    paths: Words,
    control: Words,
) -> int:
    """Which incarnation of a known four-tuple a segment belongs to; opens one where it must. Returns its row."""
    flags = segments[s + S_FLAGS]
    side = 1 - is_client(rows, newest, segments, s)
    x = newest + C_ENDPOINTS + side * ENDPOINT_SIZE
    y = newest + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    pending = rows[newest + C_FLAGS] & CF_PENDING
    old = rows[newest + C_OLDER]
    if flags & TCP_SYN and not flags & (TCP_ACK | TCP_RST):
        if rows[x + E_BASE_KNOWN] >= BASE_PEER and segments[s + S_SEQ] == rows[x + E_BASE]:
            # The same ISN: a retransmission, unless the attempt has already had its answer. No answer are an RST that
            # the SYN's sender itself sends, and one whose ACK is not acceptable (RFC 9293 3.10.7.3).
            opening = 1 if rows[x + E_SEGMENTS] == rows[x + E_SYNS] + rows[x + E_RSTS] else 0
            if (
                rows[x + E_SEGMENTS]
                and rows[y + E_SEGMENTS]
                and is_over(newest, rows)
                and (not opening or rows[newest + C_FLAGS] & CF_REFUSED)
            ):
                return new_incarnation(newest, s, h, slot, segments, slots, rows, living, due, control)
            if opening and rows[y + E_SEGMENTS] and not rows[y + E_STAGE] & ES_SYN:
                unlearn(x, y, rows)
            return newest
        if pending:
            if side == CLIENT:  # yet another ISN: the pending attempt was given up
                newest = discard(newest, slot, slots, rows, log, living, paths, control)
            else:
                return newest
        elif side == SERVER and not rows[y + E_STAGE] & (ES_PLAIN | ES_SYN_ACK) and not rows[x + E_SEGMENTS]:
            return newest  # simultaneous open
        elif (
            rows[x + E_BASE_KNOWN] == BASE_NONE and not rows[x + E_SEGMENTS] and rows[newest + C_ROLE_BASIS] > ROLE_SYN
        ):
            return newest  # the SYN of a connection whose SYN+ACK was stamped first
        if is_over(newest, rows):
            return new_incarnation(newest, s, h, slot, segments, slots, rows, living, due, control)
        c = new_incarnation(newest, s, h, slot, segments, slots, rows, living, due, control)
        rows[c + C_FLAGS] |= CF_PENDING
        return c
    if old < 0:
        return newest
    if flags & TCP_RST and not pending and not (rows[x + E_STAGE] | rows[y + E_STAGE]) & ES_PLAIN:
        # Does it answer, to the number, what the old connection last said?
        was = 1 - is_client(rows, old, segments, s)
        told = old + C_ENDPOINTS + (1 - was) * ENDPOINT_SIZE
        if (
            rows[told + E_ACK] >= 0
            and low32(rows[old + C_ENDPOINTS + was * ENDPOINT_SIZE + E_BASE] + rows[told + E_ACK])
            == segments[s + S_SEQ]
        ):
            return old
    if flags & TCP_ACK and rows[y + E_BASE_KNOWN] == BASE_SYN:
        answered = widen(segments[s + S_ACK], rows[y + E_BASE], 1)
        if 1 <= answered <= rows[y + E_NEXT]:
            if flags & (TCP_SYN | TCP_RST) or not pending:
                return newest
        elif (
            rows[y + E_SEGMENTS] == rows[y + E_SYNS]
            and fits(old, 1 - is_client(rows, old, segments, s), s, segments, rows) == 1
        ):
            rows[newest + C_FLAGS] |= CF_MET_OLD
            return old  # the new SYN met the old connection, which answers with its own numbers
    if pending:
        # The old connection goes on: by its own numbers, and from the very side that sent the SYN.
        if (
            side == CLIENT
            and not flags & TCP_RST
            and fits(old, 1 - is_client(rows, old, segments, s), s, segments, rows) == 1
        ):
            return discard(newest, slot, slots, rows, log, living, paths, control)
        if side == CLIENT and segments[s + S_SEQ] == low32(rows[x + E_BASE] + 1):
            return newest
        return old
    if (
        rows[x + E_BASE_KNOWN] >= BASE_PEER
        and rows[y + E_BASE_KNOWN] >= BASE_PEER
        and fits(newest, side, s, segments, rows) == 1
    ):
        return newest
    if (
        fits(old, 1 - is_client(rows, old, segments, s), s, segments, rows) == 1
        and fits(newest, side, s, segments, rows) != 1
    ):
        return old
    return newest


# --- round-trip times -------------------------------------------------------------------------------------------------


def rtt_sample(e: int, value: int, rows: Words) -> int:
    """Take one round-trip time: minimum, and the P-square estimate of the median.

    Jain and Chlamtac, "The P2 algorithm for dynamic calculation of quantiles and histograms without storing
    observations", CACM 28 (1985), for the median alone, in integers. The first five are kept in order, so that up to
    there the median is exact.
    """
    if rows[e + E_RTT_MIN] < 0 or value < rows[e + E_RTT_MIN]:
        rows[e + E_RTT_MIN] = value
    n = rows[e + E_RTT_COUNT]
    rows[e + E_RTT_COUNT] = n + 1
    q = e + E_RTT_MARKER
    p = q + 5
    if n < 5:
        i = n
        while i > 0 and rows[q + i - 1] > value:
            rows[q + i] = rows[q + i - 1]
            i -= 1
        rows[q + i] = value
        if n == 4:
            i = 0
            while i < 5:
                rows[p + i] = i
                i += 1
        return 0
    k = 3
    if value < rows[q]:
        rows[q] = value
        k = 0
    elif value >= rows[q + 4]:
        rows[q + 4] = value
    else:
        k = 0
        while k < 3 and value >= rows[q + k + 1]:
            k += 1
    i = k + 1
    while i < 5:
        rows[p + i] += 1
        i += 1
    i = 1
    while i < 4:
        # Desired position of marker i among n + 1 observations, times 4: i * n.
        behind = i * n - 4 * rows[p + i]
        step = 0
        if behind >= 4 and rows[p + i + 1] - rows[p + i] > 1:
            step = 1
        elif behind <= -4 and rows[p + i] - rows[p + i - 1] > 1:
            step = -1
        if step:
            below = rows[p + i] - rows[p + i - 1]
            above = rows[p + i + 1] - rows[p + i]
            up = rows[q + i + 1] - rows[q + i]
            down = rows[q + i] - rows[q + i - 1]
            # up, down, below and above are all positive or zero: integer division is the same in C and Python
            part = (below + step) * (up // above) + (above - step) * (down // below)
            move = step * (part // (below + above))
            if not rows[q + i - 1] < rows[q + i] + move < rows[q + i + 1]:
                move = up // above if step > 0 else -(down // below)
            rows[q + i] += move
            rows[p + i] += step
        i += 1
    return 0


def await_ack(e: int, end: int, now: int, rows: Words) -> int:
    """Remember when the segment that ends at ``end`` was sent, if there is room."""
    k = e + E_SAMPLES
    while k < e + E_SAMPLES + 8:
        if not rows[k]:
            rows[k] = end
            rows[k + 1] = now
            return 0
        k += 2
    return 0


def forget_samples(e: int, rows: Words) -> int:
    """After a retransmission no ACK is unambiguous (Karn's algorithm, RFC 6298 section 3)."""
    k = e + E_SAMPLES
    while k < e + E_SAMPLES + 8:
        rows[k] = 0
        k += 2
    return 0


def take_samples(e: int, ack: int, now: int, rows: Words) -> int:
    """A new ACK arrived: the segment that ends exactly there gives a round-trip time."""
    k = e + E_SAMPLES
    while k < e + E_SAMPLES + 8:
        if rows[k] and rows[k] <= ack:
            if rows[k] == ack and now >= rows[k + 1]:
                rtt_sample(e, now - rows[k + 1], rows)
            rows[k] = 0
        k += 2
    return 0


# --- holes ------------------------------------------------------------------------------------------------------------


def add_hole(e: int, start: int, end: int, rows: Words) -> int:
    """Bytes ``start`` to ``end`` were passed over. With no room left, the first hole is forgotten."""
    n = rows[e + E_HOLES]
    if n == 4:
        # What is forgotten counts as seen: its sender will send it again. (If it does not, conclude() sees to it.)
        rows[e + E_UNIQUE] += rows[e + E_HOLE + 1] - rows[e + E_HOLE]
        n = 0
        while n < 6:
            rows[e + E_HOLE + n] = rows[e + E_HOLE + n + 2]
            n += 1
        n = 3
    rows[e + E_HOLE + 2 * n] = start
    rows[e + E_HOLE + 2 * n + 1] = end
    rows[e + E_HOLES] = n + 1
    return 0


def in_hole(e: int, at: int, rows: Words) -> int:
    """Whether the byte ``at`` was passed over: 1 or 0."""
    i = 0
    while i < rows[e + E_HOLES]:
        if rows[e + E_HOLE + 2 * i] <= at < rows[e + E_HOLE + 2 * i + 1]:
            return 1
        i += 1
    return 0


def fill_holes(e: int, start: int, end: int, rows: Words) -> int:
    """Take bytes ``start`` to ``end`` out of the holes. Returns how many of them were missing."""
    filled = 0
    i = 0
    while i < rows[e + E_HOLES]:
        a = rows[e + E_HOLE + 2 * i]
        b = rows[e + E_HOLE + 2 * i + 1]
        if start < b and end > a:
            left = start if start > a else a
            right = end if end < b else b
            filled += right - left
            if left == a and right == b:
                rows[e + E_HOLES] -= 1
                k = i
                while k < rows[e + E_HOLES]:
                    rows[e + E_HOLE + 2 * k] = rows[e + E_HOLE + 2 * k + 2]
                    rows[e + E_HOLE + 2 * k + 1] = rows[e + E_HOLE + 2 * k + 3]
                    k += 1
                continue
            if left == a:
                rows[e + E_HOLE + 2 * i] = right
            elif right == b or rows[e + E_HOLES] == 4:
                rows[e + E_HOLE + 2 * i + 1] = left
            else:
                rows[e + E_HOLE + 2 * i + 1] = left
                add_hole(e, right, b, rows)
        i += 1
    return filled


# --- one segment ------------------------------------------------------------------------------------------------------


def scaled_window(x: int, y: int, s: int, segments: Words, rows: Words) -> int:
    """The announced window in bytes; where the scale factor is unknown (RFC 7323 section 2.2), minus the field.

    So a window of unknown size is never taken for a size, and two of them can still be told apart.
    """
    window = segments[s + S_WINDOW]
    if segments[s + S_FLAGS] & TCP_SYN or window == 0:
        return window
    if rows[x + E_STAGE] & ES_SYN and rows[y + E_STAGE] & ES_SYN:
        if rows[x + E_SHIFT] >= 0 and rows[y + E_SHIFT] >= 0:
            return window << rows[x + E_SHIFT]
        return window
    return -window


def is_capture_duplicate(c: int, x: int, y: int, s: int, ack: int, segments: Words, rows: Words) -> int:
    """Whether this is a frame seen before, captured once more (several interfaces, both sides of a router, a mirror).

    The same packet bears the same numbers and the same IP identification, and comes at once; behind a router it has
    lost a hop, and may be later. What proves nothing of itself (no identification: IPv6, and 0, which Linux writes into
    every SYN+ACK and RST) does so where other frames of the connection are there twice.
    """
    again = rows[c + C_MARKS] & M_CAPTURE_DUPLICATE
    flags = segments[s + S_FLAGS]
    number = segments[s + S_IP_ID]
    routed = rows[x + E_TTL] - segments[s + S_TTL]
    within = MILLISECOND
    if 1 <= routed <= 3 and (number > 0 or again):
        within = 20 * MILLISECOND
    elif number > 0 and again:
        within = 5 * MILLISECOND
    if segments[s + S_TIME] - rows[x + E_LAST_TIME] >= within or (
        rows[x + E_LAST_TIME] - segments[s + S_TIME] >= within and number <= 0
    ):
        return 0
    if segments[s + S_OPTIONS] & OPT_TIMESTAMPS and newer(segments[s + S_TSVAL], rows[x + E_TSVAL]):
        return 0
    if (
        rows[x + E_LAST_SEQ] != segments[s + S_SEQ]
        or rows[x + E_LAST_LEN] != segments[s + S_LEN]
        or rows[x + E_LAST_FLAGS] != flags
        or rows[x + E_IP_ID] != number
        or (ack >= 0 and rows[x + E_LAST_ACK] != ack)
    ):
        # Copies may come one after another when all of the train has passed: their sender had numbered them before.
        if number <= 0 or not again or flags & (TCP_SYN | TCP_RST) or not rows[x + E_BASE_KNOWN]:
            return 0
        seq = widen(segments[s + S_SEQ], rows[x + E_BASE], rows[x + E_NEXT])
        end = seq + segments[s + S_LEN] + (1 if flags & TCP_FIN else 0)
        behind = (rows[x + E_IP_ID] - number) & 65535
        if not 1 <= behind <= 32 or end > rows[x + E_NEXT] or ack > rows[x + E_LAST_ACK]:
            return 0
        return 0 if end > seq and in_hole(x, seq, rows) else 1
    if segments[s + S_OPTIONS] & OPT_TIMESTAMPS and rows[x + E_TSVAL] != segments[s + S_TSVAL]:
        return 0
    if number > 0:
        return 1
    if number == 0 and flags & TCP_SYN and not flags & TCP_RST:
        # As many answers as questions, or a copy: nobody repeats a SYN+ACK at once of its own accord.
        return 1 if again or not flags & TCP_ACK or rows[x + E_SYNS] >= rows[y + E_SYNS] > 0 else 0
    if number == 0 and flags & TCP_RST:
        return 1 if again else 0  # Linux may answer two segments in the same moment
    if segments[s + S_LEN] or flags & (TCP_SYN | TCP_FIN | TCP_RST):
        return 1
    # Without an identification, repeated pure ACKs are as likely to be duplicate ACKs.
    return 1 if again and scaled_window(x, y, s, segments, rows) == rows[x + E_WINDOW] else 0


def is_renumbered(c: int, x: int, side: int, s: int, segments: Words, rows: Words) -> int:
    """Whether this is the frame before, or one like it, as it is on the other side of a box that rewrites numbers.

    The same packet by its IP identification, length and flags, at the same moment, but far away in sequence space: from
    then on, what fits neither end's numbers is a copy.
    """
    if rows[c + C_FLAGS] & CF_RENUMBERED:
        return 0 if segments[s + S_IP_ID] <= 0 or fits(c, side, s, segments, rows) else 1
    if (
        segments[s + S_IP_ID] <= 0
        or rows[x + E_IP_ID] != segments[s + S_IP_ID]
        or rows[x + E_LAST_FLAGS] != segments[s + S_FLAGS]
        or rows[x + E_LAST_LEN] != segments[s + S_LEN]
        or not segments[s + S_FLAGS] & TCP_ACK
        or segments[s + S_FLAGS] & TCP_RST
        or segments[s + S_TIME] - rows[x + E_LAST_TIME] >= MILLISECOND
    ):
        return 0
    away = low32(segments[s + S_SEQ] - rows[x + E_LAST_SEQ])
    return 1 if bit(20) <= away <= bit(32) - bit(20) else 0


def renumber(c: int, x: int, y: int, s: int, segments: Words, rows: Words, log: Words) -> int:
    """The frame before was the copy where this SYN+ACK, and not that one, answers the SYN: learn from this one."""
    rows[c + C_FLAGS] |= CF_RENUMBERED
    r = rows[c + C_LOG_TAIL]
    if (
        not segments[s + S_FLAGS] & TCP_SYN
        or rows[y + E_BASE_KNOWN] != BASE_SYN
        or low32(segments[s + S_ACK] - rows[y + E_BASE]) != 1
        or rows[x + E_LAST_ACK] == 1
        or rows[x + E_SEGMENTS] != 1
        or log[r + L_FRAME] != rows[c + C_LAST_FRAME]
    ):
        return 0
    rows[x + E_BASE] = segments[s + S_SEQ]
    rows[x + E_LAST_SEQ] = segments[s + S_SEQ]
    rows[x + E_ACK] = 1
    rows[x + E_LAST_ACK] = 1
    rows[x + E_EDGE] = 1 + segments[s + S_WINDOW]
    rows[x + E_STAGE] |= ES_ACKS_SYN
    rows[y + E_NEXT] = 1
    rows[y + E_HOLES] = 0
    wrong = M_ACK_UNSEEN | M_ACK_PLUS_ONE | M_GAP | M_ACK_OLD
    rows[c + C_MARKS] &= ~wrong
    log[r + L_MARKS] = (log[r + L_MARKS] & ~wrong) | M_ACKS_SYN
    log[r + L_ACK] = 1
    return 1


def place(x: int, y: int, s: int, segments: Words, rows: Words) -> int:
    """Learn the endpoints' sequence bases from a segment where they are not known yet; never from an RST."""
    flags = segments[s + S_FLAGS]
    if flags & TCP_RST:
        return 0
    seq = segments[s + S_SEQ]
    if flags & TCP_SYN:
        known = rows[x + E_BASE_KNOWN]
        if known == BASE_NONE:
            rows[x + E_BASE] = seq
            rows[x + E_BASE_KNOWN] = BASE_SYN
        elif known < BASE_SYN and rows[x + E_BASE] == seq:
            rows[x + E_BASE_KNOWN] = BASE_SYN
        elif known == BASE_GUESSED and not rows[x + E_STAGE] & ES_SYN:
            # The SYN was stamped behind what followed it: what counted as byte 1 keeps its place.
            shift = widen(rows[x + E_BASE], seq, 0)
            if 0 <= shift < 1 << 30:
                rows[x + E_BASE] = seq
                rows[x + E_BASE_KNOWN] = BASE_SYN
                rows[x + E_NEXT] += shift
                if rows[y + E_ACK] >= 0:
                    rows[y + E_ACK] += shift
                    rows[y + E_EDGE] += shift
                if rows[x + E_FIN] >= 0:
                    rows[x + E_FIN] += shift
    elif rows[x + E_BASE_KNOWN] == BASE_NONE:
        rows[x + E_BASE] = low32(seq - 1)
        rows[x + E_BASE_KNOWN] = BASE_GUESSED
        rows[x + E_NEXT] = 1
    if flags & TCP_ACK and rows[y + E_BASE_KNOWN] == BASE_NONE:
        rows[y + E_BASE] = low32(segments[s + S_ACK] - 1)
        rows[y + E_BASE_KNOWN] = BASE_PEER if flags & TCP_SYN else BASE_GUESSED
        rows[y + E_NEXT] = 1
    return 0


def is_bad_answer(y: int, s: int, segments: Words, rows: Words) -> int:
    """Whether this is a SYN+ACK that does not acknowledge the peer's SYN, nor data in it: 1 or 0.

    It is forged, or of an older connection. SYN_SENT resets what it came from and stays (RFC 9293 3.10.7.3): neither
    its numbers nor its options count for the connection that opens then.
    """
    if segments[s + S_FLAGS] & (TCP_SYN | TCP_ACK | TCP_RST) != TCP_SYN | TCP_ACK or rows[y + E_BASE_KNOWN] != BASE_SYN:
        return 0
    ack = widen(segments[s + S_ACK], rows[y + E_BASE], rows[y + E_NEXT])
    return 0 if 1 <= ack <= rows[y + E_NEXT] else 1


def answered_within(y: int, rows: Words) -> int:
    """Within what time after a segment of ``y`` has passed here its peer's answer surely does, ns."""
    if rows[y + E_RTT_MIN] < 0:
        return 250 * MILLISECOND
    return 50 * MILLISECOND + 4 * rows[y + E_RTT_MIN]


def sent_before(x: int, y: int, seq: int, end: int, s: int, now: int, segments: Words, rows: Words) -> int:
    """Marks for a segment that begins below what its sender has already sent."""
    length = segments[s + S_LEN]
    flags = segments[s + S_FLAGS]
    if length <= 1 and seq == rows[x + E_NEXT] - 1 and not flags & (TCP_SYN | TCP_FIN):
        # A byte that was acknowledged asks whether the peer is there, unless an application pushes it: that is its last
        # write again. One that was not is sent again, unless the window holds it back, or nothing of the peer passes.
        pushed = flags & TCP_PSH and length
        if (
            (rows[y + E_ACK] > seq and not pushed)
            or (not rows[y + E_SEGMENTS] and not pushed)
            or (rows[y + E_ACK] >= seq and rows[y + E_WINDOW] == 0)
        ):
            rows[x + E_KEEPALIVES] += 1
            return M_ZERO_WINDOW_PROBE if rows[y + E_WINDOW] == 0 else M_KEEPALIVE
    marks = 0
    filled = fill_holes(x, seq, end, rows)
    rows[x + E_UNIQUE] += filled if filled < length else length
    if filled >= end - seq and filled > 0:
        older = 0
        if segments[s + S_OPTIONS] & OPT_TIMESTAMPS and rows[x + E_TSVAL] >= 0:
            older = newer(rows[x + E_TSVAL], segments[s + S_TSVAL])
        quick = 3 * MILLISECOND
        if rows[x + E_RTT_MIN] > quick:
            quick = rows[x + E_RTT_MIN]
        # Its sender's numbering of packets tells which of them it sent first, however quick its retransmissions are.
        ahead = 0
        if segments[s + S_IP_ID] > 0 and rows[x + E_IP_ID] > 0:
            ahead = ((segments[s + S_IP_ID] - rows[x + E_IP_ID] + 32768) & 65535) - 32768
        if end <= rows[y + E_ACK] and now - rows[y + E_LAST_TIME] >= 200 * MILLISECOND:
            rows[x + E_RETRANSMITTED] += 1
            rows[x + E_RETRANSMITTED_BYTES] += length
            forget_samples(x, rows)
            return M_SPURIOUS | M_RETRANSMISSION  # it had arrived; only the capture had missed it
        # What is acknowledged before it passes, and sooner than any timer sends it again, was sent once.
        soon = 1 if not 0 < ahead < 4096 and now - rows[x + E_LAST_TIME] < quick else 0
        if end <= rows[y + E_ACK] or older or -4096 < ahead < 0 or soon:
            rows[x + E_OUT_OF_ORDER] += 1
            return M_OUT_OF_ORDER
        rows[x + E_RETRANSMITTED] += 1
        rows[x + E_RETRANSMITTED_BYTES] += length
        forget_samples(x, rows)
        return M_LOST_BEFORE | M_RETRANSMISSION
    if (
        segments[s + S_IP_ID] > 0
        and segments[s + S_IP_ID] == rows[x + E_IP_ID]
        and segments[s + S_SEQ] == rows[x + E_LAST_SEQ]
    ):
        return M_NETWORK_DUPLICATE
    marks = M_RETRANSMISSION
    rows[x + E_RETRANSMITTED] += 1
    rows[x + E_RETRANSMITTED_BYTES] += length
    forget_samples(x, rows)
    if end <= rows[y + E_ACK]:
        return marks | M_SPURIOUS
    # Duplicate ACKs are acted on when they come; what follows long after them, a timer sent.
    asked = 1 if rows[y + E_DUP_RUN] > 0 and now - rows[y + E_LAST_TIME] <= answered_within(y, rows) else 0
    if seq <= rows[y + E_ACK] or rows[y + E_ACK] < 0:
        # The oldest unacknowledged byte: what made its sender repeat it?
        waited = now - rows[x + E_HEAD_TIME]
        if asked and rows[y + E_DUP_RUN] >= 3:
            marks |= M_FAST
        elif rows[x + E_HEAD_TIME] >= 0 and waited >= 190 * MILLISECOND:
            marks |= M_TIMEOUT
            if rows[x + E_BACKOFF_SEQ] == seq:
                rows[x + E_BACKOFF_COUNT] += 1
            else:
                rows[x + E_BACKOFF_SEQ] = seq
                rows[x + E_BACKOFF_COUNT] = 1
        elif asked:
            marks |= M_FAST
        elif end == rows[x + E_NEXT]:
            marks |= M_TAIL_LOSS_PROBE
        rows[x + E_HEAD_TIME] = now
    elif asked:
        marks |= M_FAST
    elif end == rows[x + E_NEXT] and not flags & TCP_SYN:
        marks |= M_TAIL_LOSS_PROBE
    return marks


def is_ack_with_fin(x: int, y: int, s: int, seq: int, now: int, segments: Words, rows: Words) -> int:
    """Whether a FIN that was sent before comes along with an ACK only: 1 or 0.

    4.4BSD and its descendants set FIN in every ACK until theirs is acknowledged. No timer made that one, and nothing
    need be lost: it acknowledges, at once, what was not acknowledged before.
    """
    if segments[s + S_LEN] or rows[x + E_FIN] != seq + 1 or not segments[s + S_FLAGS] & TCP_ACK:
        return 0
    ack = widen(segments[s + S_ACK], rows[y + E_BASE], rows[y + E_NEXT])
    if ack <= rows[x + E_ACK] or ack > rows[y + E_NEXT]:
        return 0
    k = y + E_SAMPLES
    while k < y + E_SAMPLES + 8 and rows[k] != ack:
        k += 2
    if k == y + E_SAMPLES + 8:
        return 0
    at_once = 50 * MILLISECOND
    if rows[y + E_RTT_MIN] >= 0:
        at_once = 5 * MILLISECOND + rows[y + E_RTT_MIN] + rows[y + E_RTT_MIN] // 2
    return 1 if now - rows[k + 1] <= at_once else 0


def longest_whole(y: int, rows: Words) -> int:
    """The longest payload that one segment has: the MSS of ``y``, which receives it.

    What is longer was put together by a network card or a host, and its checksum is nobody's.
    """
    return rows[y + E_MSS] if rows[y + E_MSS] > 0 else 1460


def learn_sum(x: int, y: int, s: int, segments: Words, rows: Words) -> int:
    """Note what kind of checksum an endpoint's segment has; not where a card may have made one segment of several.

    Linux gives what it has put together the sum that it leaves to its card.
    """
    verdict = segments[s + S_CHECKSUM]
    if (verdict == CHECKSUM_OFFLOADED and segments[s + S_LEN]) or (
        verdict == CHECKSUM_BAD and segments[s + S_LEN] > longest_whole(y, rows)
    ):
        return 0
    rows[x + E_CHECKSUMS] |= 1 << (verdict - 1)
    return 1


def is_damaged(x: int, y: int, s: int, segments: Words, rows: Words) -> int:
    """Whether a segment with a wrong checksum reaches nobody: 1 or 0.

    Its sender computes right ones elsewhere, and its peer has not yet taken one that seemed wrong.
    """
    if rows[x + E_CHECKSUMS] & (SUMS_GOOD | SUMS_BELIEVED) != SUMS_GOOD:
        return 0
    return 1 if segments[s + S_LEN] <= longest_whole(y, rows) else 0


def is_from_before(x: int, s: int, segments: Words, rows: Words) -> int:
    """Whether a segment is older, by its timestamp, than the SYN of its sender: 1 or 0.

    It is forged, or of an earlier connection, and PAWS rejects all of it (RFC 7323 section 5.3). The sender must have
    shown that its clock runs on from its SYN: behind a proxy that answers SYNs another clock may go on.
    """
    if (
        not segments[s + S_OPTIONS] & OPT_TIMESTAMPS
        or segments[s + S_FLAGS] & (TCP_SYN | TCP_RST)
        or rows[x + E_SYN_TSVAL] < 0
        or rows[x + E_TSVAL] < 0
        or not newer(rows[x + E_TSVAL], rows[x + E_SYN_TSVAL])
    ):
        return 0
    # What lies further back than any segment lives is no old segment: some box has changed the timestamps.
    return 1 if 0 < low32(rows[x + E_SYN_TSVAL] - segments[s + S_TSVAL]) < OLD_TICKS else 0


def take_sequence(c: int, x: int, y: int, side: int, s: int, seq: int, now: int, segments: Words, rows: Words) -> int:
    """What the segment's own sequence space says: new, a hole, repeated, SYN, FIN. Returns marks."""
    flags = segments[s + S_FLAGS]
    length = segments[s + S_LEN]
    marks = 0
    end = seq + length
    if (
        flags & TCP_FIN
        and rows[x + E_FIN] < 0
        and rows[x + E_BASE_KNOWN] == BASE_SYN
        and end < rows[x + E_NEXT]
        and not in_hole(x, end, rows)
        # the SYN's data, which its peer has not taken
        and not (rows[c + C_FLAGS] & CF_DATA_IN_SYN and rows[y + E_STAGE] & ES_SYN_ACK and rows[y + E_ACK] <= 1)
    ):
        flags -= TCP_FIN  # nobody takes it: that number is used
        marks = M_FIN_OLD
    if flags & TCP_SYN:
        end += 1
        rows[x + E_SYNS] += 1
        again = 1 if rows[x + E_STAGE] & ES_SYN or seq != 0 else 0
        if again:
            if seq != 0:
                return M_BASE_CHANGED
            marks |= M_SYN_ACK_AGAIN if flags & TCP_ACK else M_SYN_AGAIN
        # A damaged SYN taught what may be damaged too: the first that is whole teaches anew.
        if not again or (
            segments[s + S_CHECKSUM] == CHECKSUM_GOOD and rows[x + E_CHECKSUMS] & (SUMS_GOOD | SUMS_BAD) == SUMS_BAD
        ):
            rows[x + E_MSS] = segments[s + S_MSS] if segments[s + S_OPTIONS] & OPT_MSS else -1
            if segments[s + S_OPTIONS] & OPT_SCALE:
                rows[x + E_SHIFT] = segments[s + S_SHIFT] if segments[s + S_SHIFT] <= 14 else 14
            rows[x + E_OPTIONS] = segments[s + S_OPTIONS]
            rows[x + E_SYN_FLAGS] = flags
            if segments[s + S_OPTIONS] & OPT_TIMESTAMPS:
                rows[x + E_SYN_TSVAL] = segments[s + S_TSVAL]
        if length:
            marks |= M_SYN_DATA
            if side == CLIENT:
                rows[c + C_FLAGS] |= CF_DATA_IN_SYN
        rows[x + E_STAGE] |= ES_SYN
        if flags & TCP_ACK:
            rows[x + E_STAGE] |= ES_SYN_ACK
    if flags & TCP_FIN:
        end += 1
        rows[x + E_FINS] += 1
    rows[x + E_BYTES] += length
    if length:
        rows[x + E_STAGE] |= ES_DATA
        if length > rows[x + E_LONGEST]:
            rows[x + E_LONGEST] = length
    if length == 0 and not flags & (TCP_SYN | TCP_FIN):
        if (
            seq == rows[x + E_NEXT] - 1
            and (rows[x + E_STAGE] & ES_PLAIN or rows[x + E_BASE_KNOWN] == BASE_GUESSED)
            and rows[x + E_FIN] < 0
            and rows[y + E_ACK] > seq
        ):
            rows[x + E_KEEPALIVES] += 1
            return marks | (M_ZERO_WINDOW_PROBE if rows[y + E_WINDOW] == 0 else M_KEEPALIVE)
        if seq > rows[x + E_NEXT] and seq - rows[x + E_NEXT] < 1 << 30:
            # A pure ACK that begins beyond all that was seen: the capture misses something, a FIN perhaps.
            marks |= M_GAP
            if 0 <= rows[y + E_EDGE] < seq and rows[y + E_WINDOW] >= 0:
                marks |= M_OUT_OF_WINDOW
            add_hole(x, rows[x + E_NEXT], seq, rows)
            rows[x + E_NEXT] = seq
        return marks
    if (
        flags & TCP_FIN
        and rows[y + E_ACK] < end < rows[x + E_FIN]
        and (in_hole(x, end, rows) or 0 <= rows[y + E_EDGE] + 1 < rows[x + E_FIN])
    ):
        rows[x + E_FIN] = end  # the one before lay behind a hole, or outside the window: it was not taken
    if rows[x + E_FIN] >= 0 and end > rows[x + E_FIN]:
        if not flags & TCP_FIN:
            return marks | M_BEYOND_FIN
        marks |= M_FIN_MOVED
    if flags & TCP_FIN and is_ack_with_fin(x, y, s, seq, now, segments, rows):
        return marks
    following = rows[x + E_NEXT]
    if rows[x + E_SEGMENTS] == 0 and not flags & TCP_SYN and rows[x + E_BASE_KNOWN] < BASE_SYN:
        following = seq  # the first that is seen of it opens no hole
        rows[x + E_NEXT] = seq
        rows[x + E_HOLES] = 0
    if seq < following and not marks & (M_SYN_AGAIN | M_SYN_ACK_AGAIN):
        marks |= sent_before(x, y, seq, end, s, now, segments, rows)
        if seq + length > following:
            rows[x + E_UNIQUE] += seq + length - following if seq + length - following < length else length
    elif seq > following:
        if seq - following < 1 << 30:
            marks |= M_GAP
            add_hole(x, following, seq, rows)
            rows[x + E_UNIQUE] += length
    elif end > following:
        rows[x + E_UNIQUE] += length
        await_ack(x, end, now, rows)
        if rows[x + E_HEAD_TIME] < 0:
            rows[x + E_HEAD_TIME] = now
    if marks & (M_SYN_AGAIN | M_SYN_ACK_AGAIN):
        rows[x + E_RETRANSMITTED] += 1
        forget_samples(x, rows)
    if length and rows[y + E_EDGE] >= 0 and rows[y + E_WINDOW] >= 0:
        if end == rows[y + E_EDGE]:
            marks |= M_WINDOW_FULL
        elif end > rows[y + E_EDGE] + 1 and end > following:
            marks |= M_OUT_OF_WINDOW
    if end > rows[x + E_NEXT] and end - rows[x + E_NEXT] < bit(31):
        rows[x + E_NEXT] = end
    if flags & TCP_FIN:
        if rows[x + E_FIN] < 0:
            rows[x + E_FIN] = end
        else:
            marks |= M_FIN_AGAIN
    return marks


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
        if right > most or left < 0 or left < ack - bit(30):
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


def take_ack(x: int, y: int, s: int, ack: int, now: int, overtaken: int, segments: Words, rows: Words) -> int:
    """What the segment's acknowledgment and window say. Returns marks."""
    flags = segments[s + S_FLAGS]
    pure = 1 if segments[s + S_LEN] == 0 and not flags & (TCP_SYN | TCP_FIN | TCP_RST) else 0
    # Behind the peer's FIN nothing follows that a window could keep back: hosts write there what they like.
    idle = 1 if rows[y + E_FIN] >= 0 and ack >= rows[y + E_FIN] else 0
    marks = 0
    window = scaled_window(x, y, s, segments, rows)
    before = rows[x + E_WINDOW]
    # A SACK block above the ACK tells of a hole, whatever the window does (RFC 6675 section 2: DupAck).
    holes = 0
    if (
        segments[s + S_SACKS]
        and rows[y + E_BASE_KNOWN]
        and widen(segments[s + S_SACK], rows[y + E_BASE], rows[y + E_NEXT]) > ack
    ):
        holes = 1
    believed = rows[y + E_CHECKSUMS] >> SUMS_END_SHIFT
    if rows[y + E_NEXT] < believed <= ack:
        rows[y + E_CHECKSUMS] |= SUMS_BELIEVED
        rows[y + E_BYTES] += believed - rows[y + E_NEXT]
        rows[y + E_UNIQUE] += believed - rows[y + E_NEXT]
        rows[y + E_NEXT] = believed
    if pure and ack == rows[y + E_NEXT] + 1 and began_by_keepalive(x, y, rows):
        rows[y + E_NEXT] = ack
        rows[y + E_KEEPALIVES] += 1
        marks |= M_KEEPALIVE_ACK
    elif ack > rows[y + E_NEXT]:
        marks |= M_ACK_UNSEEN
        if ack == rows[y + E_NEXT] + 1:
            marks |= M_ACK_PLUS_ONE
        # Nobody acknowledges beyond the window that it announced: such a number teaches nothing.
        if (before >= 0 and rows[x + E_EDGE] >= 0 and ack <= rows[x + E_EDGE] + 1) or (
            before < 0 and ack - rows[y + E_NEXT] < 1 << 30
        ):
            add_hole(y, rows[y + E_NEXT], ack, rows)
            rows[y + E_NEXT] = ack
        else:
            return marks
    if ack > rows[x + E_ACK]:
        if segments[s + S_FATE] == FATE_ARRIVED:
            take_samples(y, ack, segments[s + S_ARRIVAL], rows)  # from where it left to where its ACK came back
        elif segments[s + S_FATE] != FATE_LOST:
            take_samples(y, ack, now, rows)
        rows[x + E_ACK] = ack
        rows[x + E_ACK_TIME] = now
        rows[x + E_DUP_RUN] = holes
        rows[y + E_HEAD_TIME] = now if ack < rows[y + E_NEXT] else -1
        if rows[y + E_BASE_KNOWN] >= BASE_PEER and not rows[x + E_STAGE] & ES_ACKS_SYN:
            rows[x + E_STAGE] |= ES_ACKS_SYN
            marks |= M_ACKS_SYN
        if rows[y + E_FIN] >= 0 and ack >= rows[y + E_FIN] and not rows[x + E_STAGE] & ES_ACKS_FIN:
            rows[x + E_STAGE] |= ES_ACKS_FIN
            marks |= M_ACKS_FIN
    elif ack == rows[x + E_ACK]:
        if pure and not overtaken:
            last = rows[y + E_LAST_FLAGS]
            if rows[x + E_STAGE] & ES_ACKS_FIN:
                marks |= M_ACK_AGAIN
            elif (window == before or holes) and ack < rows[y + E_NEXT] and window != 0:
                rows[x + E_DUP_RUN] += 1
                rows[x + E_DUPLICATE_ACKS] += 1
                marks |= M_DUPLICATE_ACK
            elif (window > before >= 0 or (window < before < 0)) and rows[x + E_STAGE] & ES_PLAIN:
                marks |= M_WINDOW_UPDATE
            elif (
                window == before
                and rows[y + E_LAST_LEN] <= 1
                and rows[y + E_LAST_SEQ] == low32(rows[y + E_BASE] + rows[y + E_NEXT] - 1)
                and not last & (TCP_SYN | TCP_FIN | TCP_RST)
                and not (rows[y + E_LAST_LEN] and last & TCP_PSH and window)
            ):
                marks |= M_ZERO_WINDOW_PROBE_ACK if window == 0 else M_KEEPALIVE_ACK
    else:
        marks |= M_ACK_OLD
    if segments[s + S_SACKS] and rows[y + E_BASE_KNOWN]:
        left = widen(segments[s + S_SACK], rows[y + E_BASE], rows[y + E_NEXT])
        if left < ack:
            marks |= M_DSACK
        take_sacks(x, y, s, ack, segments, rows)
    if window == 0 and not idle and not flags & (TCP_SYN | TCP_FIN | TCP_RST):
        rows[x + E_ZERO_WINDOWS] += 1
        marks |= M_ZERO_WINDOW
    if not flags & TCP_RST and ack >= rows[x + E_LAST_ACK] and not overtaken:
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
    if rows[x + E_LAST_TIME] > rows[y + E_LAST_TIME] and not rows[x + E_LAST_FLAGS] & TCP_RST:
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
        within = 250 * MILLISECOND + 4 * rows[y + E_RTT_MIN]
    if now - rows[y + E_LAST_TIME] > within or rows[y + E_LAST_FLAGS] & (TCP_SYN | TCP_RST):
        return 0
    last = low32(rows[y + E_BASE] + rows[y + E_NEXT])
    probe = 1 if rows[y + E_LAST_SEQ] == low32(last - 1) else 0
    if not rows[y + E_LAST_LEN] and not rows[y + E_LAST_FLAGS] & TCP_FIN and not probe:
        return 0
    return 1 if rows[y + E_NEXT] > rows[x + E_ACK] or rows[y + E_LAST_TIME] >= rows[x + E_LAST_TIME] else 0


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


def be_last(c: int, x: int, s: int, ack: int, now: int, segments: Words, rows: Words) -> int:
    """Keep what the next segment will be compared with."""
    rows[x + E_SEGMENTS] += 1
    rows[x + E_LAST_TIME] = now
    rows[x + E_LAST_SEQ] = segments[s + S_SEQ]
    if ack >= 0:
        rows[x + E_LAST_ACK] = ack
    rows[x + E_LAST_LEN] = segments[s + S_LEN]
    rows[x + E_LAST_FLAGS] = segments[s + S_FLAGS]
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
        rows[c + C_FLAGS] & (CF_SETTLED | CF_CLOSING) != CF_SETTLED
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
        if 2 <= skipped <= 3 and rows[x + E_IP_ID] > 0 and rows[x + E_LAST_LEN] <= 1460 and rows[x + E_FINS] < 2:
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


# --- two capture points -----------------------------------------------------------------------------------------------


def path_of(c: int, rows: Words, paths: Words, control: Words) -> int:
    """The path record of a connection that was seen at both points; made when first asked for."""
    if rows[c + C_PATH]:
        return rows[c + C_PATH] - 1
    p = control[K_PATH_FREE] - 1
    if p >= 0:
        control[K_PATH_FREE] = paths[p]
    else:
        p = control[K_PATH_TOP]
        control[K_PATH_TOP] = p + PATH_SIZE
    k = 0
    while k < PATH_SIZE:
        paths[p + k] = 0
        k += 1
    side = 0
    while side < 2:
        w = p + side * WAY_SIZE
        paths[w + W_DELAY_MIN] = -1
        paths[w + W_TURN] = -1
        k = W_GONE
        while k < W_FORGOTTEN:
            paths[w + k] = -1
            k += 1
        side += 1
    rows[c + C_PATH] = p + 1
    return p


def free_path(c: int, rows: Words, paths: Words, control: Words) -> int:
    """Put a connection's path record on the free list."""
    paths[rows[c + C_PATH] - 1] = control[K_PATH_FREE]
    control[K_PATH_FREE] = rows[c + C_PATH]
    rows[c + C_PATH] = 0
    return 0


def was_gone(w: int, seq: int, end: int, arrived: int, paths: Words) -> int:
    """Whether bytes from ``seq`` on did not arrive when last sent: 1 or 0; with ``arrived``, forget it."""
    gone = 0
    k = w + W_GONE
    while k < w + W_FORGOTTEN:
        if paths[k] < end and paths[k + 1] > seq:
            gone = 1
            if arrived:
                paths[k] = -1
                paths[k + 1] = -1
        k += 2
    return gone


def take_path(c: int, side: int, s: int, marks: int, segments: Words, rows: Words, paths: Words, control: Words) -> int:
    """Count what became of a segment between the points, before the first and behind the last; measure its delay."""
    fate = segments[s + S_FATE]
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    w = path_of(c, rows, paths, control) + side * WAY_SIZE
    flags = segments[s + S_FLAGS]
    seq = widen(segments[s + S_SEQ], rows[x + E_BASE], rows[x + E_NEXT])
    end = seq + segments[s + S_LEN] + (1 if flags & TCP_SYN else 0) + (1 if flags & TCP_FIN else 0)
    if fate == FATE_FOREIGN:
        paths[w + W_FOREIGN] += 1
        return 0
    if fate == FATE_COPY:
        return 0
    if marks & M_LOST_BEFORE:
        paths[w + W_BEFORE] += 1
    if (
        marks & (M_TIMEOUT | M_SYN_AGAIN | M_SYN_ACK_AGAIN)
        and seq >= paths[w + W_FORGOTTEN]
        and rows[c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE + E_ACK] < end
        and not was_gone(w, seq, end, 0, paths)
    ):
        # Repeated after a timeout, though it had come to the point near its receiver, and no answer had left that.
        paths[w + W_AFTER] += 1
    if fate == FATE_MISSED:
        paths[w + W_MISSED] += 1
    elif fate in (FATE_LOST, FATE_PARTLY):
        paths[w + W_LOST] += 1
        paths[w + W_LOST_BYTES] += segments[s + S_LOST]
    if fate == FATE_ARRIVED and segments[s + S_FRAME] != segments[s + S_ARRIVAL_FRAME]:
        # A way keeps its delays as an endpoint its round-trip times.
        rtt_sample(w - E_RTT_MIN, segments[s + S_ARRIVAL] - segments[s + S_TIME], paths)
        if segments[s + S_ARRIVAL] < paths[w + W_LAST_ARRIVAL]:
            paths[w + W_REORDERED] += 1
        else:
            paths[w + W_LAST_ARRIVAL] = segments[s + S_ARRIVAL]
    back = rows[c + C_PATH] - 1 + (1 - side) * WAY_SIZE
    if flags & TCP_ACK and not flags & TCP_RST and fate != FATE_MISSED and paths[back + W_END]:
        y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
        turn = segments[s + S_TIME] - paths[back + W_END_ARRIVAL]
        if widen(segments[s + S_ACK], rows[y + E_BASE], rows[y + E_NEXT]) == paths[back + W_END] and turn >= 0:
            if paths[back + W_TURN] < 0 or turn < paths[back + W_TURN]:
                paths[back + W_TURN] = turn
            paths[back + W_END] = 0
    if end > seq:
        if flags & TCP_SYN and fate == FATE_ARRIVED and not marks & (M_SYN_AGAIN | M_SYN_ACK_AGAIN):
            paths[w + W_END] = end
            paths[w + W_END_ARRIVAL] = segments[s + S_ARRIVAL]
        if fate in (FATE_ARRIVED, FATE_MISSED):
            was_gone(w, seq, end, 1, paths)
        else:
            if paths[w + W_GONE + 1] > paths[w + W_FORGOTTEN]:
                paths[w + W_FORGOTTEN] = paths[w + W_GONE + 1]
            k = w + W_GONE
            while k < w + W_FORGOTTEN - 2:
                paths[k] = paths[k + 2]
                k += 1
            paths[w + W_FORGOTTEN - 2] = seq
            paths[w + W_FORGOTTEN - 1] = end
    return 0


def end_paths(count: int, due_words: Words, rows_words: Words, paths_words: Words) -> int:
    """Tell the due rows how far their hosts are from the points near them, and whether they are the hosts themselves.

    A point counts as the host itself where no router lies between (its segments still have a TTL that hosts begin with)
    and where the host answers within a millisecond what passes there.
    """
    due = pointer(due_words)
    rows = pointer(rows_words)
    paths = pointer(paths_words)
    i = 0
    while i < count:
        c = due[i]
        if rows[c + C_PATH]:
            p = rows[c + C_PATH] - 1
            side = 0
            while side < 2:
                near = paths[p + (1 - side) * WAY_SIZE + W_TURN]
                rows[c + C_NEAR + side] = near
                hops = rows[c + C_ENDPOINTS + side * ENDPOINT_SIZE + E_TTL]
                if near < MILLISECOND and hops in (-1, 32, 64, 128, 255):
                    rows[c + C_LOCAL] |= WHO_CLIENT if side == CLIENT else WHO_SERVER
                side += 1
        i += 1
    return 0


def collect_paths(count: int, start: int, due_words: Words, rows_words: Words, paths_words: Words, out: Words) -> int:
    """Copy the path records of due connections from ``start`` on, zeros for those that have none."""
    due = pointer(due_words)
    rows = pointer(rows_words)
    paths = pointer(paths_words)
    block = pointer(out)
    i = 0
    while i < count:
        c = due[start + i]
        k = 0
        while k < PATH_SIZE:
            block[i * PATH_SIZE + k] = paths[rows[c + C_PATH] - 1 + k] if rows[c + C_PATH] else -1
            k += 1
        i += 1
    return 0


# --- the loop ---------------------------------------------------------------------------------------------------------


def track(
    segments_words: Words,
    count: int,
    slots_words: Words,
    past_words: Words,
    rows_words: Words,
    log_words: Words,
    living_words: Words,
    due_words: Words,
    streams_words: Words,
    known_words: Words,
    paths_words: Words,
    waits_words: Words,
    control_words: Words,
) -> int:
    """Take ``count`` segments.

    The caller makes room first: for ``count`` more rows (in ``rows``, ``living`` and ``due``), blocks of log records
    and streams, ``WAITS_PER_SEGMENT * count`` waits, twice ``count`` slots and, with two capture points, path records.

    Parameters
    ----------
    segments, slots, past, rows, log, living, due, streams, known, paths, waits, control : int64 arrays
        Records as laid out in :mod:`.layout`; ``living`` lists the live rows, ``due`` those that are over, ``known``
        finds Wireshark's streams.

    Returns
    -------
    int
        Number of rows that became due.
    """
    segments = pointer(segments_words)
    slots = pointer(slots_words)
    past = pointer(past_words)
    rows = pointer(rows_words)
    log = pointer(log_words)
    living = pointer(living_words)
    due = pointer(due_words)
    streams = pointer(streams_words)
    known = pointer(known_words)
    paths = pointer(paths_words)
    waits = pointer(waits_words)
    control = pointer(control_words)
    s = 0
    while s < count * SEGMENT_SIZE:
        # Fetch what the segments after this one will need, in two steps: their slots, then their rows.
        ahead = s + 24 * SEGMENT_SIZE
        if ahead < count * SEGMENT_SIZE:
            segments[ahead + S_CONNECTION] = hash_of(segments, ahead, control[K_SEED])
            prefetch(slots, 2 * (segments[ahead + S_CONNECTION] & (control[K_SLOTS] - 1)))
            if segments[ahead + S_FLAGS] & TCP_SYN:
                prefetch(past, PAST_SIZE * (segments[ahead + S_CONNECTION] & (control[K_PAST] - 1)))
                prefetch(known, 2 * (segments[ahead + S_CONNECTION] & (control[K_STREAM_SLOTS] - 1)))
        ahead = s + 12 * SEGMENT_SIZE
        if s >= 12 * SEGMENT_SIZE and ahead < count * SEGMENT_SIZE:
            c = slots[2 * (segments[ahead + S_CONNECTION] & (control[K_SLOTS] - 1)) + 1] - 1
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
        h = segments[s + S_CONNECTION] if s >= 24 * SEGMENT_SIZE else hash_of(segments, s, control[K_SEED])
        names = control[K_NEXT_ID]
        stream = control[K_NEXT_STREAM]
        # The timeline's clock. To a share of the connections it is told, for it runs with the segments of the others.
        if segments[s + S_MARKS]:
            if segments[s + S_MARKS] < control[K_NOW] - CLOCK_SLACK * MILLISECOND:
                control[K_SET_BACK] = segments[s + S_FRAME]
                control[K_NOW] = segments[s + S_MARKS]
            elif segments[s + S_MARKS] > control[K_NOW]:
                control[K_NOW] = segments[s + S_MARKS]
        elif set_clock(control, K_NOW, K_BEHIND, segments[s + S_TIME]) and not segments[s + S_FATE]:
            control[K_SET_BACK] = segments[s + S_FRAME]
        if segments[s + S_FLAGS] & TCP_BROKEN:
            told = join_broken(s, segments, streams, known, control)
            if told >= 0:
                complete_rows(s, h, told, segments, slots, rows, control)
            if segments[s + S_FLAGS] & TCP_QUOTED:
                take_icmp(s, h, segments, slots, rows, log, control)
            segments[s + S_CONNECTION] = -1
            segments[s + S_SIDE] = 0
            segments[s + S_MARKS] = M_BEGINS_STREAM if control[K_NEXT_STREAM] > stream else 0
            s += SEGMENT_SIZE
            continue
        slot = find(slots, control[K_SLOTS], h, rows, segments, s)
        if not slots[slot + 1]:
            c = open_connection(s, h, segments, rows, living, control)
            follow(c, recall(past, control[K_PAST], rows, c), rows, control)
            slots[slot] = h
            slots[slot + 1] = c + 1
            control[K_USED] += 1
        else:
            # Whether the sweep has come by already must make no difference.
            c = slots[slot + 1] - 1
            old = rows[c + C_OLDER]
            if old >= 0 and is_spent(old, rows, control):
                make_due(old, rows[old + C_LAST_TIME] + control[K_LINGER_SYN], rows, due, control)
                rows[old + C_NEWER] = -1
                rows[c + C_OLDER] = -1
            if is_spent(c, rows, control):
                old = c
                make_due(old, rows[old + C_LAST_TIME] + control[K_LINGER_SYN], rows, due, control)
                c = open_connection(s, h, segments, rows, living, control)
                follow(c, rows[old + C_ID] << PAST_SHIFT | rows[old + C_INCARNATION], rows, control)
                slots[slot + 1] = c + 1
            elif rows[c + C_OLDER] >= 0 or (segments[s + S_FLAGS] & TCP_SYN):
                c = route(c, s, h, slot, segments, slots, rows, log, living, due, paths, control)
        side = 1 - is_client(rows, c, segments, s)
        if rows[c + C_ID] < 0:
            if not rows[c + C_FLAGS] & CF_PENDING:
                give_id(c, rows, control)
            elif side == SERVER:
                confirm(c, rows, control)
        marks = 0
        before = rows[c + C_LAST_TIME]
        if not predicted(c, side, s, segments, rows, control):
            marks = take_segment(c, side, s, segments, rows, log, control)
        response = account(c, side, s, marks, before, segments, rows, waits, control)
        if response >= 0:
            rtt_sample(c + C_RESPONSE_MIN - E_RTT_MIN, response, rows)
        if not plain_to_wireshark(c, s, segments, rows, control):
            join_wireshark(c, s, segments, rows, streams, known, control)
        if not plain_to_zeek(c, side, s, segments, rows):
            join_zeek(c, side, s, segments, rows)
        if segments[s + S_FATE]:
            take_path(c, side, s, marks, segments, rows, paths, control)
        segments[s + S_CONNECTION] = rows[c + C_ID]
        segments[s + S_SIDE] = side
        segments[s + S_MARKS] = marks
        if control[K_NEXT_ID] > names:
            segments[s + S_MARKS] |= M_NAMES
        if control[K_NEXT_STREAM] > stream:
            segments[s + S_MARKS] |= M_BEGINS_STREAM
        s += SEGMENT_SIZE
    return control[K_DUE]


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
    if c < 0 or is_spent(c, rows, control):
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


def complete_rows(s: int, h: int, told: int, segments: Words, slots: Words, rows: Words, control: Words) -> int:
    """Tell the connections that are named after a broken segment's stream how complete that is now.

    Only those of which something is still expected: whether the sweep has come by already must make no difference.
    """
    c = slots[find(slots, control[K_SLOTS], h, rows, segments, s) + 1] - 1
    if c >= 0 and is_spent(c, rows, control):
        return 0
    while c >= 0:
        if rows[c + C_STREAM] == segments[s + S_STREAM] >> STREAM_SHIFT and not is_spent(c, rows, control):
            rows[c + C_COMPLETENESS] = told
        c = rows[c + C_OLDER]
    return 0


def follow(c: int, use: int, rows: Words, control: Words) -> int:
    """Link a new row to the use of its four-tuple that was over long before, if that is remembered (``use`` >= 0)."""
    if use >= 0 and control[K_NEXT_ID] - (use >> PAST_SHIFT) <= PAST_MOST:
        rows[c + C_FLAGS] |= CF_LONG_AFTER
        rows[c + C_PREVIOUS_ID] = use >> PAST_SHIFT
        rows[c + C_INCARNATION] = (use & (1 << PAST_SHIFT) - 1) + 1
    return 0


def is_spent(c: int, rows: Words, control: Words) -> int:
    """Whether a connection has been over for so long that nothing is expected of it any more: 1 or 0."""
    silent = control[K_NOW] - rows[c + C_LAST_TIME]
    if rows[c + C_LAST_FRAME] < control[K_SET_BACK]:
        silent = control[K_LINGER_SYN] + 1  # nobody knows how long ago, by another clock
    if silent <= control[K_LINGER] or not is_over(c, rows):
        return 0
    if rows[c + C_NEWER] >= 0 and rows[rows[c + C_NEWER] + C_FLAGS] & CF_PENDING:
        return 0  # a SYN inside it is not decided yet
    if rows[c + C_FLAGS] & CF_PENDING and rows[c + C_OLDER] >= 0:
        return 0  # nor is it: the four-tuple may yet prove to be the old connection's
    x = c + C_ENDPOINTS
    if rows[x + E_SEGMENTS] == rows[x + E_SYNS] and not rows[x + ENDPOINT_SIZE + E_SEGMENTS]:
        return 1 if silent > control[K_LINGER_SYN] else 0
    return 1


def is_open(c: int, rows: Words) -> int:
    """Whether an end has sent more than SYNs: 1 or 0."""
    x = c + C_ENDPOINTS
    return 1 if (rows[x + E_STAGE] | rows[x + ENDPOINT_SIZE + E_STAGE]) & ES_PLAIN else 0


def expire(budget: int, rows_words: Words, living_words: Words, due_words: Words, control_words: Words) -> int:
    """Look at up to ``budget`` live rows, going round, and make due those that have been over for long enough.

    A row whose connection is still open is kept however long it is silent. Where there is a crowd, a flood of SYNs say,
    patience with what never opened, or is over, halves with every call until it suffices.
    """
    rows = pointer(rows_words)
    living = pointer(living_words)
    due = pointer(due_words)
    control = pointer(control_words)
    crowded = 1 if control[K_LIVE] - control[K_DUE] > control[K_CROWD] else 0
    if crowded:
        budget *= 16
        control[K_PATIENCE] -= control[K_PATIENCE] // 2
    else:
        control[K_PATIENCE] += control[K_PATIENCE] // 4 + MILLISECOND
        if control[K_PATIENCE] > control[K_LINGER_SYN]:
            control[K_PATIENCE] = control[K_LINGER_SYN]
    if budget > control[K_LIVE]:
        budget = control[K_LIVE]
    i = control[K_SWEEP]
    while budget > 0:
        if i >= control[K_LIVE]:
            i = 0
        c = living[i]
        if i + 8 < control[K_LIVE]:
            prefetch(rows, living[i + 8] + C_LAST_TIME)
        if is_spent(c, rows, control):
            make_due(c, rows[c + C_LAST_TIME] + control[K_LINGER_SYN], rows, due, control)
        elif (
            crowded
            and rows[c + C_LIFE] == LIFE_LIVE
            and control[K_NOW] - rows[c + C_LAST_TIME] >= control[K_PATIENCE]
            and rows[c + C_OLDER] < 0
            and rows[c + C_NEWER] < 0
            and (is_over(c, rows) or not is_open(c, rows))
            and control[K_LIVE] - control[K_DUE] > control[K_CROWD]
        ):
            make_due(c, control[K_NOW], rows, due, control)
            control[K_HURRIED] += 1
        i += 1
        budget -= 1
    control[K_SWEEP] = i
    return control[K_DUE]


def name_pending(rows: Words, living: Words, due: Words, control: Words) -> int:
    """Give their conn_ids to the SYNs that are still pending, in order of their frames; ``due`` is empty, and scratch.

    Returns how many there were.
    """
    n = 0
    i = 0
    while i < control[K_LIVE]:
        if rows[living[i] + C_ID] < 0:
            due[n] = living[i]
            n += 1
        i += 1
    gap = n  # a comb sort
    swapped = 1
    while gap > 1 or swapped:
        gap = gap * 10 // 13
        if gap < 1:
            gap = 1
        swapped = 0
        i = 0
        while i + gap < n:
            if rows[due[i] + C_FIRST_FRAME] > rows[due[i + gap] + C_FIRST_FRAME]:
                c = due[i]
                due[i] = due[i + gap]
                due[i + gap] = c
                swapped = 1
            i += 1
    i = 0
    while i < n:
        rows[due[i] + C_FLAGS] |= CF_UNCONFIRMED
        confirm(due[i], rows, control)
        i += 1
    return n


def make_all_due(rows_words: Words, living_words: Words, due_words: Words, control_words: Words) -> int:
    """At the end of the capture: everything is over.

    What has been over for long enough to be forgotten is judged as the sweep would have judged it.
    """
    rows = pointer(rows_words)
    living = pointer(living_words)
    due = pointer(due_words)
    control = pointer(control_words)
    i = 0
    while i < control[K_LIVE]:
        c = living[i]
        rows[c + C_OVER_TIME] = control[K_NOW] if control[K_NOW] > rows[c + C_LAST_TIME] else rows[c + C_LAST_TIME]
        if is_spent(c, rows, control):
            rows[c + C_OVER_TIME] = rows[c + C_LAST_TIME] + control[K_LINGER_SYN]
        i += 1
    name_pending(rows, living, due, control)
    i = 0
    while i < control[K_LIVE]:
        c = living[i]
        make_due(c, rows[c + C_OVER_TIME], rows, due, control)
        i += 1
    return control[K_DUE]


def free_row(c: int, rows: Words, living: Words, control: Words) -> int:
    """Take a row out of the list of the living and put it on the free list."""
    last = living[control[K_LIVE] - 1]
    living[rows[c + C_LIVING]] = last
    rows[last + C_LIVING] = rows[c + C_LIVING]
    control[K_LIVE] -= 1
    rows[c + C_LIFE] = LIFE_FREE
    rows[c + C_OLDER] = control[K_ROW_FREE]
    control[K_ROW_FREE] = c
    return 0


def release(
    slots_words: Words,
    past_words: Words,
    rows_words: Words,
    log_words: Words,
    living_words: Words,
    due_words: Words,
    paths_words: Words,
    control_words: Words,
) -> int:
    """Free the rows on the due list with their logs and slots, and empty the list. The caller makes room in ``past``.

    What remains of a four-tuple's latest use is its conn_id.
    """
    slots = pointer(slots_words)
    past = pointer(past_words)
    rows = pointer(rows_words)
    log = pointer(log_words)
    living = pointer(living_words)
    due = pointer(due_words)
    paths = pointer(paths_words)
    control = pointer(control_words)
    i = 0
    while i < control[K_DUE]:
        c = due[i]
        if rows[c + C_PATH]:
            free_path(c, rows, paths, control)
        if i + 4 < control[K_DUE]:
            k = rows[due[i + 4] + C_HASH]
            prefetch(slots, 2 * (k & (control[K_SLOTS] - 1)))
            prefetch(past, PAST_SIZE * (k & (control[K_PAST] - 1)))
            if rows[due[i + 4] + C_LOG_HEAD] >= 0:
                prefetch(log, rows[due[i + 4] + C_LOG_TAIL] + L_NEXT)
        free_log(c, rows, log, control)
        if remove(slots, control[K_SLOTS], rows[c + C_HASH], c):
            control[K_USED] -= 1
            use = rows[c + C_ID] << PAST_SHIFT | rows[c + C_INCARNATION]
            control[K_PAST_USED] += remember(past, control[K_PAST], rows[c + C_HASH], rows, c, use)
        if rows[c + C_NEWER] >= 0:
            rows[rows[c + C_NEWER] + C_OLDER] = -1
        if rows[c + C_OLDER] >= 0:
            rows[rows[c + C_OLDER] + C_NEWER] = -1
        free_row(c, rows, living, control)
        i += 1
    control[K_DUE] = 0
    control[K_LONGEST] = 0
    return 0
