"""Rows: the record of a connection that is alive, how it is made, named, listed as due and given back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words


def vacant_row(rows: Words, control: Words) -> int:
    """A row of zeros: one that was given back, or the next of those never used. Returns its word offset."""
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
    return c


def write_tuple(c: int, s: int, swap: int, segments: Words, rows: Words) -> int:
    """The segment's four-tuple as that of a row: its source is the client unless ``swap``."""
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
    return 0


def begin_endpoint(e: int, rows: Words) -> int:
    """What of an endpoint is not zero before its first segment."""
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
    return 0


def begin_row(c: int, s: int, h: int, swap: int, segments: Words, rows: Words) -> int:
    """What of a row, zeros so far, is not zero before its first segment is taken.

    That one's source is the client unless ``swap``.
    """
    write_tuple(c, s, swap, segments, rows)
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
    begin_endpoint(c + C_ENDPOINTS, rows)
    begin_endpoint(c + C_ENDPOINTS + ENDPOINT_SIZE, rows)
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


def role_of_first(s: int, segments: Words) -> int:
    """What tells the roles in a connection that begins with this segment."""
    flags = segments[s + S_FLAGS]
    if not flags & TCP_SYN or flags & TCP_RST:
        return ROLE_FIRST_SEGMENT if server_port_first(segments[s + S_PORTS]) < 0 else ROLE_PORT
    return ROLE_SYN_ACK if flags & TCP_ACK else ROLE_SYN


def sender_serves(s: int, segments: Words) -> int:
    """Whether who sends this segment is the server of a connection that begins with it, as far as it tells: 1 or 0."""
    role = role_of_first(s, segments)
    if role == ROLE_PORT:
        return server_port_first(segments[s + S_PORTS])
    if role != ROLE_SYN_ACK:
        return 0
    if segments[s + S_SRC_LO] != segments[s + S_DST_LO] or segments[s + S_SRC_HI] != segments[s + S_DST_HI]:
        return 1
    ports = segments[s + S_PORTS]
    return 0 if ports >> 16 == ports & 65535 else 1  # who talks to itself is called the client


def open_row(c: int, s: int, h: int, segments: Words, rows: Words) -> int:
    """Begin a row, zeros so far, for a four-tuple's first segment, with the roles as well as that tells them."""
    role = role_of_first(s, segments)
    begin_row(c, s, h, sender_serves(s, segments), segments, rows)
    rows[c + C_ROLE_BASIS] = role
    if role > ROLE_SYN_ACK:
        rows[c + C_FLAGS] = CF_MIDSTREAM
    return c


def open_connection(s: int, h: int, segments: Words, rows: Words, living: Words, control: Words) -> int:
    """A living row for a four-tuple's first segment. Returns the word offset."""
    c = open_row(vacant_row(rows, control), s, h, segments, rows)
    rows[c + C_LIVING] = control[K_LIVE]
    living[control[K_LIVE]] = c
    control[K_LIVE] += 1
    return c


def make_due(c: int, moment: int, rows: Words, due: Words, control: Words) -> int:
    """Put a row on the list of those that are over, to be judged as of ``moment``.

    A SYN that is still pending counts as a connection of its own.
    """
    if rows[c + C_FLAGS] & CF_EMBRYO:
        if rows[c + EM_OVER] < 0:
            rows[c + EM_OVER] = moment
            due[control[K_DUE]] = c
            control[K_DUE] += 1
            if not control[K_LONGEST]:
                control[K_LONGEST] = 1
    elif rows[c + C_LIFE] == LIFE_LIVE:
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


def confirm(c: int, rows: Words, control: Words) -> int:
    """A pending SYN proved to be a connection."""
    rows[c + C_FLAGS] &= ~CF_PENDING
    return give_id(c, rows, control)


def leave_living(place: int, rows: Words, living: Words, control: Words) -> int:
    """Take what stands at a place of the list of the living out of it: the last one takes that place."""
    last = living[control[K_LIVE] - 1]
    living[place] = last
    rows[last + (EM_LIVING if rows[last + C_FLAGS] & CF_EMBRYO else C_LIVING)] = place
    control[K_LIVE] -= 1
    return last


def free_embryo(e: int, rows: Words, living: Words, control: Words) -> int:
    """Take an embryo out of the list of the living and put it on the free list."""
    leave_living(rows[e + EM_LIVING], rows, living, control)
    rows[e + EM_HASH] = control[K_EMBRYO_FREE]
    control[K_EMBRYO_FREE] = e
    return 0


def list_free(c: int, rows: Words, control: Words) -> int:
    """Put a row, which is not among the living, on the free list."""
    rows[c + C_LIFE] = LIFE_FREE
    rows[c + C_OLDER] = control[K_ROW_FREE]
    control[K_ROW_FREE] = c
    return 0


def free_row(c: int, rows: Words, living: Words, control: Words) -> int:
    """Take a row out of the list of the living and put it on the free list."""
    leave_living(rows[c + C_LIVING], rows, living, control)
    list_free(c, rows, control)
    return 0
