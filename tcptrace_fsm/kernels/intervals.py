"""Intervals: what the time of a connection went for is written down, and what stood still for long as a row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

# No __all__: only other kernels call these.


def end_run(c: int, rows: Words, waits: Words, control: Words) -> int:
    """What the connection stood still for is over, or the capture is: a row of its own, if it was long."""
    run = rows[c + C_RUN]
    duration = rows[c + C_WAIT_DONE] - rows[c + C_RUN_START]
    rows[c + C_RUN] = WAIT_TRANSFER
    if run < 2 or duration <= 10 * MILLISECOND or rows[c + C_ID] < 0:
        return 0
    kind = run >> 1
    side = run & 1
    round_trip = 0
    if rows[c + C_WAIT_WAY] > 0:
        round_trip = rows[c + C_WAIT_WAY]
    if rows[c + C_WAIT_WAY + 1] > 0:
        round_trip += rows[c + C_WAIT_WAY + 1]
    # Of a handshake and a close the way is a part; and where both ends have closed, no application waits any more.
    both = 1 if kind == WAIT_CLOSE and rows[c + C_WAIT_BITS] & (WB_FIN | WB_FIN << 1) == WB_FIN | WB_FIN << 1 else 0
    if (
        duration > rows[c + C_LONGEST_WAIT]
        and not both
        and (kind not in (WAIT_HANDSHAKE, WAIT_CLOSE) or duration > 2 * round_trip)
    ):
        rows[c + C_LONGEST_WAIT] = duration
        rows[c + C_LONGEST_FOR] = run
        rows[c + C_LONGEST_BEFORE] = rows[c + C_RUN_BEFORE]
        rows[c + C_LONGEST_AFTER] = rows[c + C_RUN_AFTER]
    if duration <= 2 * round_trip:
        return 0
    w = control[K_WAITS]
    control[K_WAITS] = w + WAIT_SIZE
    waits[w + WT_CONNECTION] = rows[c + C_ID]
    waits[w + WT_START] = rows[c + C_RUN_START]
    waits[w + WT_END] = rows[c + C_WAIT_DONE]
    waits[w + WT_DURATION] = duration
    waits[w + WT_FOR] = kind
    waits[w + WT_SIDE] = side
    waits[w + WT_BEFORE] = rows[c + C_RUN_BEFORE]
    waits[w + WT_AFTER] = rows[c + C_RUN_AFTER]
    basis = BASIS_SENT
    if kind == WAIT_DELAYED_ACK or (kind in (WAIT_RETRANSMISSION, WAIT_HANDSHAKE) and rows[c + C_RUN_AFTER] < 0):
        basis = BASIS_INFERRED
    elif kind == WAIT_APPLICATION:
        # It had what it needed if it has acknowledged all of it.
        x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
        basis = BASIS_ACKED if rows[x + E_ACK] >= rows[c + C_WAIT_SEEN + 1 - side] else BASIS_PRESUMED
    waits[w + WT_BASIS] = basis
    return 1


def spend(c: int, until: int, purpose: int, after: int, rows: Words, waits: Words, control: Words) -> int:
    """Account for the time up to ``until``; ``after`` is the frame that ends it."""
    done = rows[c + C_WAIT_DONE]
    if until > done:
        rows[c + C_TIMES + purpose] += until - done
        if rows[c + C_RUN] != purpose:
            end_run(c, rows, waits, control)
            rows[c + C_RUN] = purpose
            rows[c + C_RUN_START] = done
            rows[c + C_RUN_BEFORE] = rows[c + C_WAIT_FRAME]
        rows[c + C_RUN_AFTER] = after
        rows[c + C_WAIT_DONE] = until
    return 0


def closer(c: int, bits: int, rows: Words) -> int:
    """Who is waited for once one end has closed: the one that has not, else the one that has not acknowledged it."""
    if not bits & WB_FIN:
        return CLIENT
    if not bits & WB_FIN << 1:
        return SERVER
    server = c + C_ENDPOINTS + ENDPOINT_SIZE
    return SERVER if rows[server + E_ACK] < rows[c + C_ENDPOINTS + E_FIN] else CLIENT


def purpose_of(c: int, bits: int, rows: Words) -> int:
    """What the connection stands still for, as far as what has come so far tells."""
    if not bits & WB_OPEN:
        return WAIT_HANDSHAKE * 2 + (CLIENT if rows[c + C_SYN_ACK_TIME] >= 0 else SERVER)
    if bits & WB_CLOSING:
        return WAIT_CLOSE * 2 + closer(c, bits, rows)
    last = SERVER if bits & WB_SERVER_LAST else CLIENT
    if bits & WB_BLOCKED << last:
        return WAIT_WINDOW * 2 + 1 - last
    acked = rows[c + C_ENDPOINTS + (1 - last) * ENDPOINT_SIZE + E_ACK]
    if acked < rows[c + C_WAIT_SEEN + last] and bits & (WB_LOSS | WB_REPEATED) << last:
        return WAIT_RETRANSMISSION * 2 + last
    # A client that asks once, or is used to answers, waits for one. One that talks on and on expects none.
    if bits & WB_SPOKEN and last == CLIENT and (bits & WB_SERVER_SPOKE or rows[c + C_BURSTS] < 2):
        return WAIT_APPLICATION * 2 + SERVER
    return WAIT_APPLICATION * 2 + CLIENT


def spend_waiting(c: int, until: int, bits: int, after: int, rows: Words, waits: Words, control: Words) -> int:
    """Account for a pause that no answer ended."""
    purpose = purpose_of(c, bits, rows)
    last = SERVER if bits & WB_SERVER_LAST else CLIENT
    if purpose == WAIT_APPLICATION * 2 + 1 - last and rows[c + C_WAIT_WAY + 1 - last] > 0:
        spoke, way = rows[c + C_WAIT_SPOKE + last], rows[c + C_WAIT_WAY + 1 - last]
        there = spoke + way if way < until - spoke else until  # not the sum first: with forged times it overflows
        spend(c, there, WAIT_TRANSFER * 2 + last, after, rows, waits, control)
    return spend(c, until, purpose, after, rows, waits, control)
