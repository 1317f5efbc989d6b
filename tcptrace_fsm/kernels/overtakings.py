"""What has overtaken what on the way between capture point and endpoint, as its answers tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.seen import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels.records import Tcb

# No __all__: compiled, only the replay calls this.


def is_bare(tcb: Tcb, w: int) -> int:
    """Whether the record ``w`` is an ACK and nothing else: 1 or 0."""
    return 1 if not tcb.log[w].flags & (TCP_SYN | TCP_FIN | TCP_RST) and not tcb.log[w].length else 0


def came_behind_fin(tcb: Tcb, w: int) -> int:
    """Whether the peer's FIN, which passed right behind its bare ACK ``w``, reached the endpoint before that: 1 or 0.

    An ACK that lies before the window is answered in TIME_WAIT (RFC 9293 3.10.7.4, first check): there are two answers
    then, and one FIN. lwIP answers none (``tcp_timewait_input``).
    """
    proof = tcb.fin_proof
    if tcb.local or proof < 0 or tcb.habits & HABIT_REFUSES_SYN or not is_bare(tcb, w) or not is_bare(tcb, proof):
        return 0
    f = next_of(tcb, 1 - tcb.side, w + 1)
    if f >= proof or f != tcb.fin_copy or tcb.log[f].length or tcb.log[f].seq != tcb.log[w].seq:
        return 0
    if tcb.log[f].ack != tcb.log[w].ack or tcb.log[f].time > tcb.log[w].time + OVERTAKEN_WITHIN * MILLISECOND:
        return 0
    v = next_of(tcb, tcb.side, proof + 1)
    if v >= tcb.n or not is_bare(tcb, v) or not is_real(tcb, v) or tcb.log[v].end_time > tcb.log[v].time:
        return 0
    if tcb.log[v].ack != tcb.log[proof].ack or tcb.log[v].seq != tcb.log[proof].seq:
        return 0
    if tcb.log[v].ip_id and tcb.log[v].ip_id == tcb.log[proof].ip_id:
        return 0  # a copy that the network made
    if tcb.log[v].time > tcb.log[f].time + tcb.reach + AT_ONCE * MILLISECOND:
        return 0
    u = next_of(tcb, 1 - tcb.side, f + 1)
    return 1 if u > v else 0  # nothing else that it may answer
