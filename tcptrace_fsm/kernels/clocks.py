"""What only a clock, or a new use of the four-tuple, does to an endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.moves import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

# No __all__: compiled, only the replay calls this.


def end_time_wait(side: int, ident: int, timers: Words, table: Words, out: Words, scratch: Words) -> int:
    """TIME_WAIT ends when 2MSL are over, by what is known of the host's timer (RFC 9293 3.10.8)."""
    since = scratch[X_SINCE]
    host = scratch[X_TIMERS]
    step(
        EV_TIMEOUT_2MSL,
        since + timers[host + P_TIME_WAIT_USUAL],
        since + timers[host + P_TIME_WAIT_LEAST],
        since + timers[host + P_TIME_WAIT_MOST],
        -1,
        timers[host + P_TIME_WAIT_BASIS],
        -1,
        side,
        ident,
        table,
        out,
        scratch,
    )
    return 0


def run_2msl(t: int, side: int, ident: int, timers: Words, table: Words, out: Words, scratch: Words) -> int:
    """Let TIME_WAIT end if it must have ended before ``t`` and the endpoint gives no sign of life after."""
    since = scratch[X_SINCE]
    if (
        scratch[X_STATE] == ST_TIME_WAIT
        and t > since + timers[scratch[X_TIMERS] + P_TIME_WAIT_MOST]
        and scratch[X_LAST_ALIVE] < t
    ):
        end_time_wait(side, ident, timers, table, out, scratch)
    return 0


def give_up(last: int, gap: int, side: int, ident: int, table: Words, out: Words, scratch: Words) -> int:
    """An endpoint that repeated itself at ``last``, ``gap`` after the time before, and then no more.

    It gave up when its timer ran out once more, one to two gaps later (RFC 6298 section 5.5, RFC 9293 3.8.3).
    """
    if scratch[X_END] > last + 2 * gap + gap // 4 + 200 * MILLISECOND:
        step(
            EV_TIMEOUT_RETRANSMISSION,
            last + 2 * gap,
            last + gap - scratch[X_SLACK],
            last + 2 * gap + gap // 4 + 200 * MILLISECOND,
            -1,
            BASIS_TIMER,
            -1,
            side,
            ident,
            table,
            out,
            scratch,
        )
    return 0


def taken_over(c: int, side: int, rows: Words) -> int:
    """When a new incarnation took the endpoint's place: as it sent the SYN, or answered it; -1 where none did."""
    if rows[c + C_TAKEN_OVER] >= 0 and rows[c + C_TAKEN_BY] == side:
        x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
        copied = 1 if rows[x + E_BASE_KNOWN] == BASE_SYN and rows[c + C_TAKEN_SEQ] == 0 else 0
        # The same SYN once more is a copy that came late: who sent it knows nothing of it.
        return -1 if copied and rows[c + C_TAKEN_TSVAL] == rows[x + E_SYN_TSVAL] else rows[c + C_TAKEN_OVER]
    if rows[c + C_TAKEN_OVER] < 0:
        return -1
    # A host that knows a connection answers a SYN in it by ACK (RFC 5961 section 4.2): an RST shows that it is gone.
    return rows[c + C_ACCEPTED] if rows[c + C_ACCEPTED] >= 0 else rows[c + C_REFUSED]


def run_out(c: int, side: int, rows: Words, timers: Words, table: Words, out: Words, scratch: Words) -> int:
    """What happens to the endpoint after the last segment, up to the end of capture or incarnation: timers."""
    ident = rows[c + C_ID]
    state = scratch[X_STATE]
    end = scratch[X_END]
    since = scratch[X_SINCE]
    if state == ST_TIME_WAIT and end > since + timers[scratch[X_TIMERS] + P_TIME_WAIT_USUAL]:
        end_time_wait(side, ident, timers, table, out, scratch)
    elif state in (ST_SYN_SENT, ST_SYN_RECEIVED) and scratch[X_SYNS] > 1:
        last = scratch[X_LAST_SYN] if state == ST_SYN_SENT else scratch[X_LAST_SYN_ACK]
        give_up(last, scratch[X_SYN_GAP], side, ident, table, out, scratch)
    elif state in (ST_FIN_WAIT_1, ST_CLOSING, ST_LAST_ACK):
        last = scratch[X_LAST_FIN]
        if scratch[X_FINS] > 1:
            give_up(last, scratch[X_FIN_GAP], side, ident, table, out, scratch)
        elif state == ST_LAST_ACK and (
            scratch[X_PEER_UNSEEN]
            or end > last + 50 * MILLISECOND + timers[scratch[X_TIMERS] + P_PATIENCE] + 10 * scratch[X_HALF]
        ):
            # Neither acknowledged nor repeated when its timer must have run out: the ACK passed out of sight.
            step(
                EV_RCV_ACK_OF_FIN,
                last + MILLISECOND + scratch[X_HALF],
                last,
                last + 1000 * MILLISECOND,
                -1,
                BASIS_INFERRED,
                -1,
                side,
                ident,
                table,
                out,
                scratch,
            )
    taken = taken_over(c, side, rows)
    if taken >= 0 and scratch[X_STARTED]:
        refused = 1 if rows[c + C_TAKEN_BY] != side and rows[c + C_ACCEPTED] < 0 else 0
        step(
            EV_GONE if refused else EV_REUSED,
            taken,
            scratch[X_TIME],
            taken,
            -1,
            BASIS_INFERRED,
            -1,
            side,
            ident,
            table,
            out,
            scratch,
        )
    return 0
