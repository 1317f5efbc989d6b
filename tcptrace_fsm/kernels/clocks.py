"""What only a clock, or a new use of the four-tuple, does to an endpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.hidden import *
from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.moves import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels.records import Tcb

# No __all__: compiled, only the replay calls this.


def end_time_wait(tcb: Tcb) -> int:
    """TIME_WAIT ends when 2MSL are over, by what is known of the host's timer (RFC 9293 3.10.8)."""
    since = tcb.since
    step(
        tcb,
        EV_TIMEOUT_2MSL,
        since + tcb.timers.time_wait_usual,
        since + tcb.timers.time_wait_least,
        since + tcb.timers.time_wait_most,
        -1,
        tcb.timers.time_wait_basis,
    )
    return 0


def run_2msl(tcb: Tcb, t: int) -> int:
    """Let TIME_WAIT end if it must have ended before ``t`` and the endpoint gives no sign of life after."""
    since = tcb.since
    if tcb.state == ST_TIME_WAIT and t > since + tcb.timers.time_wait_most and tcb.last_alive < t:
        end_time_wait(tcb)
    return 0


def give_up(tcb: Tcb, last: int, gap: int) -> int:
    """An endpoint that repeated itself at ``last``, ``gap`` after the time before, and then no more.

    It gave up when its timer ran out once more, one to two gaps later (RFC 6298 section 5.5, RFC 9293 3.8.3).
    """
    if tcb.end > last + 2 * gap + gap // 4 + 200 * MILLISECOND:
        step(
            tcb,
            EV_TIMEOUT_RETRANSMISSION,
            last + 2 * gap,
            last + gap - tcb.slack,
            last + 2 * gap + gap // 4 + 200 * MILLISECOND,
            -1,
            BASIS_TIMER,
        )
    return 0


def taken_over(tcb: Tcb) -> int:
    """When a new incarnation took the endpoint's place: as it sent the SYN, or answered it; -1 where none did."""
    if tcb.row.taken_over >= 0 and tcb.row.taken_by == tcb.side:
        x = tcb.endpoint
        copied = 1 if x.base_known == BASE_SYN and tcb.row.taken_seq == 0 else 0
        if not copied or tcb.row.taken_tsval != x.syn_tsval:
            return tcb.row.taken_over
        # The same SYN once more is a copy that came late: who sent it knows nothing of it. The SYN+ACK that answers it
        # is acknowledged by TIME_WAIT; by an RST where that is gone, but for lwIP's.
        return -1 if tcb.habits & HABIT_REFUSES_SYN else tcb.row.refused
    if tcb.row.taken_over < 0:
        return -1
    # A host that knows a connection answers a SYN in it by ACK (RFC 5961 section 4.2): an RST shows that it is gone.
    return tcb.row.accepted if tcb.row.accepted >= 0 else tcb.row.refused


def refuses(tcb: Tcb) -> int:
    """Whether the endpoint answered the SYN of a new incarnation by RST, and that does not show that it is gone.

    lwIP does so in TIME_WAIT, and stays.
    """
    if not tcb.habits & HABIT_REFUSES_SYN or tcb.row.taken_by == tcb.side or tcb.row.accepted >= 0:
        return 0
    return 1 if tcb.row.taken_over >= 0 and tcb.row.refused >= 0 else 0


def repeats_before_fin(tcb: Tcb) -> int:
    """Whether the endpoint repeated, after its FIN, what comes before it: then its timer does not run for the FIN."""
    x = tcb.endpoint
    return 1 if tcb.peer.ack < tcb.fin_end - 1 and x.retransmitted and x.last_time > tcb.last_fin + tcb.slack else 0


def run_out(tcb: Tcb) -> int:
    """What happens to the endpoint after the last segment, up to the end of capture or incarnation: timers."""
    state = tcb.state
    end = tcb.end
    since = tcb.since
    if state == ST_TIME_WAIT and end > since + tcb.timers.time_wait_usual:
        end_time_wait(tcb)
    elif state in (ST_SYN_SENT, ST_SYN_RECEIVED) and tcb.syns > 1:
        last = tcb.last_syn if state == ST_SYN_SENT else tcb.last_syn_ack
        give_up(tcb, last, tcb.syn_gap)
    elif state in (ST_FIN_WAIT_1, ST_CLOSING, ST_LAST_ACK):
        last = tcb.last_fin
        if tcb.fins > 1:
            give_up(tcb, last, tcb.fin_gap)
        elif (
            not repeats_before_fin(tcb)
            and state == ST_LAST_ACK
            and (
                tcb.peer_unseen
                or end > last + 50 * MILLISECOND + tcb.timers.patience + 10 * tcb.half
                or (lacks_bare_acks(tcb) and end > last + 2 * tcb.half + tcb.slack)
            )
        ):
            # Neither acknowledged nor repeated when its timer must have run out: the ACK passed out of sight.
            step(
                tcb,
                EV_RCV_ACK_OF_FIN,
                last + MILLISECOND + tcb.half,
                last,
                last + 1000 * MILLISECOND,
                -1,
                BASIS_INFERRED,
            )
    taken = taken_over(tcb)
    if refuses(tcb) and (tcb.state == ST_TIME_WAIT or tcb.time > taken):
        return 0
    if taken >= 0 and tcb.started:
        refused = 1 if tcb.row.taken_by != tcb.side and tcb.row.accepted < 0 else 0
        step(tcb, EV_GONE if refused else EV_REUSED, taken, tcb.time, taken, -1, BASIS_INFERRED)
    return 0
