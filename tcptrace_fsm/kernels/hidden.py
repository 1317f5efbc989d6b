"""Closes that the capture does not hold: a FIN that did not pass here, or went before the capture began."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.moves import *
from tcptrace_fsm.kernels.records import *
from tcptrace_fsm.kernels.seen import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels.records import Tcb

# No __all__: compiled, only the replay calls this.


def find_unseen_fin(tcb: Tcb, sender: int) -> int:
    """A segment of ``sender`` that acknowledges a FIN of the other side which the capture does not hold, or -1.

    It acknowledges exactly one more than was seen, nothing was seen beyond that, and nothing was acknowledged beyond
    it.
    """
    x = end_of(tcb.row, sender)
    y = end_of(tcb.row, 1 - sender)
    if y.fin >= 0:
        return -1
    found = -1
    # A FIN alone may be the first of the two as well as the last.
    alone = 1 if tcb.row.flags & CF_MIDSTREAM and x.segments == x.fins else 0
    if y.segments == 0 and x.fin >= 0 and not alone:
        # One direction only. Had the peer closed later, this side would have had to acknowledge that after its own FIN.
        w = next_of(tcb, sender, 0)
        while w < tcb.n:
            if tcb.log[w].flags & TCP_FIN:
                found = w
            elif found >= 0 and not tcb.log[w].flags & TCP_RST:
                found = -1
                break
            w = next_of(tcb, sender, w + 1)
        if found >= 0 and not tcb.log[found].marks & M_FIN_AGAIN:
            return found
        found = -1
    if not tcb.row.marks & M_ACK_PLUS_ONE:
        return -1
    w = next_of(tcb, sender, 0)
    while w < tcb.n:
        if tcb.log[w].marks & M_ACK_PLUS_ONE and tcb.log[w].ack == x.ack and tcb.log[w].ack > 1:
            found = w
            break
        w = next_of(tcb, sender, w + 1)
    if found < 0 or y.next > x.ack:
        return -1
    v = next_of(tcb, 1 - sender, found)
    while v < tcb.n:
        if tcb.log[v].length and tcb.log[v].seq >= tcb.log[found].ack - 1:
            return -1  # it goes on to send data: what was acknowledged was a byte
        v = next_of(tcb, 1 - sender, v + 1)
    return found


def counts_unseen_fin(tcb: Tcb, w: int) -> int:
    """Whether the record ``w``, a bare ACK, counts a FIN of its sender which the capture does not hold: 1 or 0.

    It begins one beyond all that was seen of its sender, and that one never comes.
    """
    x = end_of(tcb.row, tcb.log[w].side)
    seq = tcb.log[w].seq
    if x.fin >= 0 or tcb.log[w].flags & (TCP_SYN | TCP_FIN | TCP_RST) or tcb.log[w].length:
        return 0
    if seq < 2 or seq != x.next:
        return 0
    return 1 if is_missing(x, seq - 1) and not is_missing(x, seq - 2) else 0


def lacks_bare_acks(tcb: Tcb) -> int:
    """Whether the capture holds no bare ACK, and one did go, by the numbers of the client's packets: 1 or 0.

    One lies between its SYN and the data that it sends next. So that another is not in the capture says nothing.
    """
    if end_of(tcb.row, CLIENT).syns != 1 or end_of(tcb.row, CLIENT).segments < 2:
        return 0
    first = next_of(tcb, CLIENT, 0)
    v = next_of(tcb, CLIENT, first + 1)
    if v >= tcb.n or not tcb.log[first].flags & TCP_SYN or not tcb.log[v].length:
        return 0
    if tcb.log[first].ip_id < 2 or (tcb.log[v].ip_id - tcb.log[first].ip_id) & 65535 != 2:
        return 0
    w = 0
    while w < tcb.n:
        if not tcb.log[w].flags & (TCP_SYN | TCP_FIN | TCP_RST) and not tcb.log[w].length:
            return 0
        w += 1
    return 1


def closed_before(tcb: Tcb, side: int) -> int:
    """Whether ``side`` closed before the capture began, by how it answers the FIN of its peer: 1 or 0.

    Linux acknowledges a FIN that comes alone, with all before it acknowledged, after 40 ms at least (``tcp_fin`` ends
    quick ACKs); who has closed does so at once. Its TIME_WAIT takes no timestamp from a FIN that comes again, as a
    socket does, and has the number 0.
    """
    x = end_of(tcb.row, side)
    y = end_of(tcb.row, 1 - side)
    if not tcb.row.flags & CF_MIDSTREAM or x.fin >= 0 or y.fin < 0 or x.rsts or y.rsts or x.ttl > 64:
        return 0
    if tcb.habits & HABIT_STRAIGHT:
        return 0
    w = next_of(tcb, 1 - side, 0)
    while w < tcb.n and not tcb.log[w].flags & TCP_FIN:
        w = next_of(tcb, 1 - side, w + 1)
    if w >= tcb.n or tcb.log[w].length or tcb.log[w].tsval < 0:
        return 0
    v = next_of(tcb, side, w + 1)
    while v < tcb.n and tcb.log[v].ack < y.fin:
        v = next_of(tcb, side, v + 1)
    if v >= tcb.n or tcb.log[v].tsval < 0:
        return 0
    u = v
    while u < tcb.n:
        if tcb.log[u].length or tcb.log[u].flags & (TCP_SYN | TCP_FIN | TCP_RST):
            return 0
        u = next_of(tcb, side, u + 1)
    if tcb.log[v].ip_id == 1:
        return 1 if y.fins > 1 and newer(tcb.log[w].tsval, tcb.log[v].tsecr) else 0
    return answers_fin_at_once(tcb, w, v)


def answers_fin_at_once(tcb: Tcb, w: int, v: int) -> int:
    """Whether the record ``v``, a bare ACK, answers the FIN ``w`` sooner than Linux does in ESTABLISHED: 1 or 0.

    Its sender counts its packets one by one, and echoes the timestamp of the FIN: it is a Linux, as far as that shows.
    It had acknowledged all that came before, and neither a hole nor a read buffer is what makes it answer.
    """
    side = tcb.log[v].side
    if tcb.log[v].time - tcb.log[w].time > AT_ONCE * MILLISECOND or tcb.log[v].tsecr != tcb.log[w].tsval:
        return 0
    if end_of(tcb.row, 1 - side).fins > 1 or tcb.row.marks & (M_OUT_OF_ORDER | M_LOST_BEFORE | M_RETRANSMISSION):
        return 0
    u = w - 1
    while u >= 0 and tcb.log[u].side != side:
        u -= 1
    if u < 0 or not follows(tcb, u, v) or tcb.log[u].ack != tcb.log[w].seq:
        return 0
    return 1 if tcb.log[u].window == tcb.log[v].window and tcb.log[u].seq + tcb.log[u].length == tcb.log[v].seq else 0


def begin_closed(tcb: Tcb) -> int:
    """The capture begins inside: one of the two may have closed before, and the other one have taken its FIN."""
    if closed_before(tcb, tcb.side):
        return inferred(tcb, EV_RCV_ACK_OF_UNSEEN_FIN, 0, -1)
    if closed_before(tcb, 1 - tcb.side):
        tcb.fin_taken = 1
        return inferred(tcb, EV_RCV_FIN, 0, -1)
    return 0
