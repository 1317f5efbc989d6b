"""Changes of state: the one place where a state is assigned, and on what evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels.records import Tcb

# No __all__: compiled, only the replay calls this.


def step(tcb: Tcb, event: int, time: int, earliest: int, latest: int, frame: int, basis: int) -> int:
    """Give the endpoint one event. The one place where a state is assigned. Returns 1 if it moved, else 0."""
    state = tcb.state
    target = tcb.machine[(tcb.opened * STATES + state) * EVENTS + event]
    if target == state:
        return 0
    if latest < earliest:
        latest = earliest
    if time > tcb.end:
        time = tcb.end  # what was under way when the capture ended has that time
    if time > latest:
        time = latest
    if time < earliest:
        time = earliest
    if time < tcb.time:
        time = tcb.time
    if latest < time:
        latest = time
    t = tcb.top
    tcb.out[t].connection = tcb.row.id
    tcb.out[t].side = tcb.side
    tcb.out[t].time = time
    tcb.out[t].earliest = earliest
    tcb.out[t].latest = latest
    tcb.out[t].frame = frame
    tcb.out[t].from_ = state
    tcb.out[t].to = target
    tcb.out[t].event = event
    tcb.out[t].basis = basis
    tcb.out[t].confirmed_by = -1
    tcb.top = t + 1
    tcb.state = target
    tcb.started = 1
    tcb.time = time
    tcb.earliest = earliest
    tcb.since = time
    tcb.basis = basis
    tcb.saw |= bit(target)
    return 1


def confirmed(tcb: Tcb, moved: int, frame: int) -> int:
    """Frame ``frame`` confirms the change of state that was just made, if one was. Returns ``moved``."""
    if moved:
        tcb.out[tcb.top - 1].confirmed_by = frame
    return moved


def sent(tcb: Tcb, event: int, w: int, earliest: int) -> int:
    """An event that the endpoint's own segment ``w`` shows."""
    t = tcb.log[w].time
    return step(tcb, event, t - tcb.half, earliest, t, tcb.log[w].frame, BASIS_SENT)


def received(tcb: Tcb, event: int, w: int, proof: int) -> int:
    """An event that the peer's segment ``w`` caused: proved by the own segment ``proof``, or presumed (-1)."""
    t = tcb.log[w].time
    if tcb.local and not (event == EV_RCV_RST and tcb.state == ST_TIME_WAIT):  # some obey no RST there
        latest = tcb.log[proof].time if proof >= 0 else t + tcb.reach
        frame = tcb.log[proof].frame if proof >= 0 else tcb.log[w].frame
        return confirmed(tcb, step(tcb, event, t, t, latest, tcb.log[w].frame, BASIS_ACKED), frame)
    if proof >= 0:
        # A SYN, and a FIN that ends the connection, are answered at once: the answer dates the arrival best.
        arrival = t + tcb.half
        answer = tcb.log[proof].time - tcb.half
        if (
            answer > arrival
            and answer - arrival < AT_ONCE * MILLISECOND
            and event != EV_RCV_ACK_OF_SYN
            and (event != EV_RCV_FIN or tcb.state != ST_ESTABLISHED)
        ):
            arrival = answer
        return confirmed(
            tcb, step(tcb, event, arrival, t, tcb.log[proof].time, tcb.log[w].frame, BASIS_ACKED), tcb.log[proof].frame
        )
    latest = t + tcb.half + tcb.reach
    return step(tcb, event, t + tcb.half, t, latest, tcb.log[w].frame, BASIS_PRESUMED)


def inferred(tcb: Tcb, event: int, w: int, earliest: int) -> int:
    """An event without a segment of its own in the capture; segment ``w`` makes us conclude it."""
    t = tcb.log[w].time
    return step(tcb, event, t - tcb.half, earliest, t, tcb.log[w].frame, BASIS_INFERRED)


def open_inside(tcb: Tcb, w: int) -> int:
    """The endpoint is established, and the capture does not show how: conclude the usual way there."""
    if tcb.state in (ST_CLOSED, ST_LISTEN):
        if tcb.side == CLIENT:
            tcb.opened = OPENED_ACTIVE
            inferred(tcb, EV_SND_SYN, w, -1)
        else:
            inferred(tcb, EV_RCV_SYN, w, -1)
    if tcb.state == ST_SYN_SENT:
        inferred(tcb, EV_RCV_SYN_ACK, w, -1)
    elif tcb.state == ST_SYN_RECEIVED:
        inferred(tcb, EV_RCV_ACK_OF_SYN, w, -1)
    return 0
