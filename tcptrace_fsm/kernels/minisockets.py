"""What Linux keeps an ending connection in, by its numbering of IPv4's packets, and in which order it sent them.

A socket numbers its packets one by one (``inet_id``). FIN_WAIT_2 of a socket that its application has closed, and each
TIME_WAIT, live in a small structure, for which another socket sends: its packets have the number 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.moves import *
from tcptrace_fsm.kernels.resets import *
from tcptrace_fsm.kernels.seen import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels.records import Tcb

# No __all__: compiled, only the replay calls this.


def counts_packets(tcb: Tcb, w: int) -> int:
    """Whether the endpoint is a Linux that has numbered its FIN, which passed before its segment ``w``: 1 or 0."""
    if tcb.stack != STACK_LINUX or not tcb.fins:
        return 0
    v = w - 1
    while v >= 0 and v >= w - LOOKED_AT:
        if tcb.log[v].side == tcb.side and tcb.log[v].flags & TCP_FIN:
            return 1 if tcb.log[v].ip_id > 1 else 0
        v -= 1
    return 0


def fins_before(tcb: Tcb, w: int) -> int:
    """How many FINs of the peer passed before the endpoint's segment ``w``, of the latest segments."""
    n = 0
    v = w - 1
    while v >= 0 and v >= w - LOOKED_AT:
        if tcb.log[v].side != tcb.side and tcb.log[v].flags & TCP_FIN and is_real(tcb, v):
            n += 1
        v -= 1
    return n


def was_let_go(tcb: Tcb) -> int:
    """Whether the ACK of the peer's FIN comes from a FIN_WAIT_2 that the application has let go of: 1 or 0.

    It has the number 0. TIME_WAIT sends such ACKs too, in answer to a second copy; and a numbered one that passes later
    was sent before.
    """
    proof = tcb.fin_proof
    if proof < 0 or tcb.log[proof].ip_id != 1 or tcb.log[proof].length:
        return 0
    if tcb.log[proof].flags & (TCP_SYN | TCP_FIN | TCP_RST) or not counts_packets(tcb, proof):
        return 0
    if fins_before(tcb, proof) > 1:
        return 0
    v = proof + 1
    stop = min(tcb.n, proof + LOOKED_AT)
    while v < stop:
        if tcb.log[v].side == tcb.side and tcb.log[v].ip_id > 1 and tcb.log[v].ack >= tcb.peer_fin_end:
            return 0
        v += 1
    return 1


def ack_of_fin_before(tcb: Tcb, w: int) -> int:
    """The endpoint's FIN was acknowledged, out of sight or out of order, before it took the FIN of the peer.

    That is ``w``, or has passed unseen, and ``w`` is the ACK of it.
    """
    proof = tcb.fin_proof
    v = w + 1
    while v < proof and (tcb.log[v].side == tcb.side or tcb.log[v].ack < tcb.fin_end):
        v += 1
    frame = -1
    if v < proof:
        frame = tcb.log[v].frame
    latest = tcb.log[proof].time
    due = min(tcb.log[w].time, tcb.last_fin + 40 * MILLISECOND) + tcb.half
    t = min(due, latest - tcb.half - 2 * MILLISECOND)
    return step(tcb, EV_RCV_ACK_OF_FIN, t, max(tcb.time, tcb.last_fin), latest, frame, BASIS_INFERRED)


def fin_meets_fin_wait_2(tcb: Tcb, w: int) -> int:
    """The endpoint takes the peer's FIN ``w`` in FIN_WAIT_2, maybe unseen to enter it, and answers at once."""
    proof = tcb.fin_proof
    latest = tcb.log[proof].time
    if tcb.state == ST_FIN_WAIT_1:
        ack_of_fin_before(tcb, w)
    earliest = min(tcb.log[w].time, latest)
    moved = step(tcb, EV_RCV_FIN, latest - tcb.half, earliest, latest, tcb.log[w].frame, BASIS_ACKED)
    return confirmed(tcb, moved, tcb.log[proof].frame)


def is_kept_by_nobody(tcb: Tcb, w: int) -> int:
    """Whether FIN_WAIT_2 ends with the peer's FIN ``w``, since its system keeps no TIME_WAIT: 1 or 0.

    A socket that is still held acknowledges the FIN, by its number; and what comes then meets nobody, long before 2MSL
    are over. Linux does so where there are too many (tcp_max_tw_buckets).
    """
    proof = tcb.fin_proof
    if proof < 0 or tcb.log[proof].flags & (TCP_SYN | TCP_FIN | TCP_RST) or tcb.log[proof].length:
        return 0
    if not counts_packets(tcb, proof) or fins_before(tcb, proof) != 1:
        return 0
    v = proof - 1
    while v >= 0 and v >= proof - LOOKED_AT and tcb.log[v].side != tcb.side:
        v -= 1
    if v < 0 or v < proof - LOOKED_AT or not follows(tcb, v, proof):
        return 0
    r = next_of(tcb, tcb.side, proof + 1)
    if r >= tcb.n or tcb.log[r].flags & (TCP_RST | TCP_ACK) != TCP_RST or tcb.log[r].seq != tcb.fin_end:
        return 0
    if tcb.log[r].time - tcb.log[w].time >= tcb.timers.time_wait_least:
        return 0
    u = next_of(tcb, 1 - tcb.side, proof + 1)
    while u < r and not tcb.log[u].flags & (TCP_FIN | TCP_RST | TCP_SYN):
        u = next_of(tcb, 1 - tcb.side, u + 1)
    return 1 if u < r and tcb.log[u].flags & TCP_FIN else 0


def keep_nothing(tcb: Tcb, w: int) -> int:
    """FIN_WAIT_2 ends with the peer's FIN ``w``, which is acknowledged, and there is no TIME_WAIT."""
    t = tcb.log[w].time
    proof = tcb.fin_proof
    moved = step(tcb, EV_GONE, t + tcb.half, t, tcb.log[proof].time, tcb.log[w].frame, BASIS_INFERRED)
    return confirmed(tcb, moved, tcb.log[next_of(tcb, tcb.side, proof + 1)].frame)


def closed_after(tcb: Tcb, proof: int) -> int:
    """Whether the endpoint's FIN, overtaken by ``proof`` or lost, acknowledges the peer's FIN too, by numbers: 1 or 0.

    Where ``proof`` tells of a duplicate, the endpoint had answered that FIN before. It had sent its own by then, too:
    one packet that is missing was both.
    """
    v = proof - 1
    while v >= 0 and v >= proof - LOOKED_AT and tcb.log[v].side != tcb.side:
        v -= 1
    if v >= 0 and v >= proof - LOOKED_AT and tcb.log[proof].marks & M_DSACK and tcb.log[v].ip_id > 1:
        if tcb.log[proof].ip_id - tcb.log[v].ip_id & 65535 == 2 and tcb.log[v].end_time == tcb.log[v].time:
            return 1
    v = proof + 1
    stop = min(tcb.n, proof + LOOKED_AT)
    while v < stop:
        if tcb.log[v].side == tcb.side and tcb.log[v].flags & TCP_FIN and tcb.log[v].ip_id > 1:
            if 0 < tcb.log[proof].ip_id - tcb.log[v].ip_id <= LOOKED_AT:
                return 1 if tcb.log[v].ack >= tcb.peer_fin_end else 0
        v += 1
    return 0
