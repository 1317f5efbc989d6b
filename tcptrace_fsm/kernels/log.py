"""The log of a connection: records chained in blocks, runs of plain segments in one record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *
from tcptrace_fsm.kernels.sequence import *
from tcptrace_fsm.kernels.table import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words


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


def log_segment(c: int, side: int, s: int, segments: Words, rows: Words, log: Words, control: Words) -> int:
    """Append a segment to the connection's log. Returns its record, which has no numbers and marks yet."""
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    r = record_after(rows[c + C_LOG_TAIL], log, control)
    log[r + L_TIME] = segments[s + S_TIME]
    log[r + L_FRAME] = segments[s + S_FRAME]
    length = segments[s + S_LEN]
    log[r + L_INFO] = (
        (segments[s + S_FLAGS] & LOG_FLAGS_MASK) | side << LOG_SIDE_SHIFT | length << LOG_LEN_SHIFT | bit(LOG_RUN_SHIFT)
    )
    # the window of a SYN is never scaled (RFC 7323 section 2.2)
    log[r + L_WINDOW] = segments[s + S_WINDOW] if segments[s + S_FLAGS] & TCP_SYN else rows[x + E_WINDOW]
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


def number_record(r: int, seq: int, ack: int, marks: int, log: Words) -> int:
    """Note where the segment of record ``r`` lies in 64-bit sequence space, and what is notable about it."""
    log[r + L_SEQ] = seq
    log[r + L_ACK] = ack
    log[r + L_MARKS] = marks
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
