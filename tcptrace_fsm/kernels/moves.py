"""Changes of state: the one place where a state is assigned, and on what evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

# No __all__: compiled, only the replay calls this.


def step(
    event: int,
    time: int,
    earliest: int,
    latest: int,
    frame: int,
    basis: int,
    confirmed: int,
    side: int,
    ident: int,
    table: Words,
    out: Words,
    scratch: Words,
) -> int:
    """Give the endpoint one event. The one place where a state is assigned. Returns 1 if it moved, else 0."""
    state = scratch[X_STATE]
    target = table[(scratch[X_OPENED] * STATES + state) * EVENTS + event]
    if target == state:
        return 0
    if latest < earliest:
        latest = earliest
    if time > scratch[X_END]:
        time = scratch[X_END]  # what was under way when the capture ended is told as of then
    if time > latest:
        time = latest
    if time < earliest:
        time = earliest
    if time < scratch[X_TIME]:
        time = scratch[X_TIME]
    if latest < time:
        latest = time
    t = scratch[X_TOP]
    out[t + T_CONNECTION] = ident
    out[t + T_SIDE] = side
    out[t + T_TIME] = time
    out[t + T_EARLIEST] = earliest
    out[t + T_LATEST] = latest
    out[t + T_FRAME] = frame
    out[t + T_FROM] = state
    out[t + T_TO] = target
    out[t + T_EVENT] = event
    out[t + T_BASIS] = basis
    out[t + T_CONFIRMED_BY] = confirmed
    scratch[X_TOP] = t + TRANSITION_SIZE
    scratch[X_STATE] = target
    scratch[X_STARTED] = 1
    scratch[X_TIME] = time
    scratch[X_EARLIEST] = earliest
    scratch[X_SINCE] = time
    scratch[X_BASIS] = basis
    scratch[X_SAW] |= bit(target)
    return 1


def sent(
    event: int, w: int, earliest: int, side: int, ident: int, table: Words, out: Words, scratch: Words, work: Words
) -> int:
    """An event that the endpoint's own segment ``w`` shows."""
    t = work[w + L_TIME]
    return step(
        event, t - scratch[X_HALF], earliest, t, work[w + L_FRAME], BASIS_SENT, -1, side, ident, table, out, scratch
    )


def received(
    event: int, w: int, proof: int, side: int, ident: int, table: Words, out: Words, scratch: Words, work: Words
) -> int:
    """An event that the peer's segment ``w`` caused: proved by the own segment ``proof``, or presumed (-1)."""
    t = work[w + L_TIME]
    if scratch[X_LOCAL] and not (event == EV_RCV_RST and scratch[X_STATE] == ST_TIME_WAIT):  # some obey no RST there
        latest = work[proof + L_TIME] if proof >= 0 else t + scratch[X_REACH]
        confirmed = work[proof + L_FRAME] if proof >= 0 else work[w + L_FRAME]
        return step(event, t, t, latest, work[w + L_FRAME], BASIS_ACKED, confirmed, side, ident, table, out, scratch)
    if proof >= 0:
        # A SYN, and a FIN that ends the connection, are answered at once: the answer dates the arrival best.
        arrival = t + scratch[X_HALF]
        answer = work[proof + L_TIME] - scratch[X_HALF]
        if (
            answer > arrival
            and answer - arrival < AT_ONCE * MILLISECOND
            and event != EV_RCV_ACK_OF_SYN
            and (event != EV_RCV_FIN or scratch[X_STATE] != ST_ESTABLISHED)
        ):
            arrival = answer
        return step(
            event,
            arrival,
            t,
            work[proof + L_TIME],
            work[w + L_FRAME],
            BASIS_ACKED,
            work[proof + L_FRAME],
            side,
            ident,
            table,
            out,
            scratch,
        )
    latest = t + scratch[X_HALF] + scratch[X_REACH]
    return step(
        event, t + scratch[X_HALF], t, latest, work[w + L_FRAME], BASIS_PRESUMED, -1, side, ident, table, out, scratch
    )


def inferred(
    event: int, w: int, earliest: int, side: int, ident: int, table: Words, out: Words, scratch: Words, work: Words
) -> int:
    """An event without a segment of its own in the capture; segment ``w`` makes us conclude it."""
    t = work[w + L_TIME]
    return step(
        event, t - scratch[X_HALF], earliest, t, work[w + L_FRAME], BASIS_INFERRED, -1, side, ident, table, out, scratch
    )


def open_inside(w: int, c: int, side: int, rows: Words, table: Words, out: Words, scratch: Words, work: Words) -> int:
    """The endpoint is established, and the capture does not show how: conclude the usual way there."""
    ident = rows[c + C_ID]
    if scratch[X_STATE] in (ST_CLOSED, ST_LISTEN):
        if side == CLIENT:
            scratch[X_OPENED] = OPENED_ACTIVE
            inferred(EV_SND_SYN, w, -1, side, ident, table, out, scratch, work)
        else:
            inferred(EV_RCV_SYN, w, -1, side, ident, table, out, scratch, work)
    if scratch[X_STATE] == ST_SYN_SENT:
        inferred(EV_RCV_SYN_ACK, w, -1, side, ident, table, out, scratch, work)
    elif scratch[X_STATE] == ST_SYN_RECEIVED:
        inferred(EV_RCV_ACK_OF_SYN, w, -1, side, ident, table, out, scratch, work)
    return 0
