"""A segment of the peer arrives, if it does: what it does to the endpoint, in the order of RFC 9293 3.10.7."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.fins import *
from tcptrace_fsm.kernels.hidden import *
from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.leaves import *
from tcptrace_fsm.kernels.minisockets import *
from tcptrace_fsm.kernels.moves import *
from tcptrace_fsm.kernels.overtakings import *
from tcptrace_fsm.kernels.resets import *
from tcptrace_fsm.kernels.seen import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels.records import Tcb

# No __all__: compiled, only the replay calls this.


def of_unsent(tcb: Tcb, w: int) -> int:
    """Whether the peer's segment ``w`` acknowledges what the endpoint never sent, at the endpoint's own host.

    Nothing of it is taken then (RFC 9293 3.10.7.4, fifth check). The next own segment tells: one that begins below that
    number, or the RST by which a connection not yet open answers it. The capture may just have missed what was sent.
    """
    ack = tcb.log[w].ack
    if not tcb.local or tcb.own_next < 1 or ack <= tcb.own_next:
        return 0
    v = own_after(tcb, w)
    if v >= tcb.n:
        return 0
    if tcb.log[v].flags & TCP_RST:
        return 1 if tcb.state in (ST_SYN_SENT, ST_SYN_RECEIVED) and tcb.log[v].seq == ack else 0
    # A byte less, later on, may be a keepalive.
    return 1 if tcb.log[v].seq < ack - (0 if tcb.log[v].time - tcb.log[w].time <= tcb.reach else 1) else 0


def opens(tcb: Tcb, w: int) -> int:
    """Whether the peer's segment ``w``, with an ACK, can complete the handshake of an endpoint in SYN_RECEIVED.

    Not a SYN+ACK to who listened (RFC 9293 3.10.7.4, fourth check). At the host itself neither what lies outside the
    window, nor what echoes a timestamp that no SYN+ACK bore (as Linux has it), nor what is then ignored altogether.
    """
    marks = tcb.log[w].marks
    if tcb.opened != OPENED_PASSIVE:
        return 1
    if tcb.log[w].flags & TCP_SYN:
        return 0
    if not tcb.local:
        return 1
    end = tcb.log[w].seq + tcb.log[w].length
    if tcb.log[w].seq < tcb.own_ack and end <= tcb.own_ack:
        return 0
    if tcb.overlooked or (marks & M_OUT_OF_WINDOW and marks & M_GAP):
        return 0
    if tcb.syn_ack_tsval >= 0 and tcb.log[w].tsval >= 0 and not tcb.row.flags & CF_FAST_OPEN:
        early = newer(tcb.syn_ack_tsval, tcb.log[w].tsecr)
        v = tcb.syn_ack
        return 0 if early or (v >= 0 and newer(tcb.log[w].tsecr, tcb.log[v].tsval)) else 1
    return 1


def ack_went_before(tcb: Tcb, w: int) -> int:
    """Whether the endpoint's FIN was acknowledged out of sight before the peer's FIN ``w``, which does so too.

    It has waited too long not to repeat its own; or the peer's numbering of packets shows that one went before, later
    than an ACK is delayed at least. Unless that one was this FIN's first copy, lost before it got here: then a least
    RTO has passed (RFC 6298 section 2.4 as systems have it). Or it comes right behind, overtaken. A capture that lacks
    all bare ACKs lacks that one.
    """
    waited = tcb.log[w].time - tcb.last_fin
    patience = tcb.timers.patience + 10 * tcb.half
    x = tcb.endpoint
    if x.rtt_min > 0:
        patience += 3 * x.rtt_min  # RFC 6298 section 2.2
    if waited > patience:
        return 1
    if lacks_bare_acks(tcb) and tcb.log[w].marks & M_SENT_BEFORE and waited < TIMEOUT_LEAST * MILLISECOND:
        return 1
    if (
        waited < DELAYED_ACK_LEAST * MILLISECOND + 2 * tcb.half
        or not tcb.log[w].marks & M_SENT_BEFORE
        or tcb.row.marks & M_PAWS
        # Lost on its way as well as by the capture, and FIN_WAIT_2 only in the second case.
        or (tcb.habits & HABIT_STRAIGHT and not tcb.row.marks & M_ACK_UNSEEN)
        or 200 * MILLISECOND <= waited <= 220 * MILLISECOND + 4 * tcb.half
    ):
        return 0
    v = next_of(tcb, 1 - tcb.side, w + 1)
    overtaken = 1 if v < tcb.n and tcb.log[v].seq == tcb.log[w].seq and not tcb.log[v].flags & TCP_FIN else 0
    return 1 - overtaken


def rst_arrives(tcb: Tcb, w: int) -> int:
    """The second check: the RST ``w`` ends the connection, or counts for nothing."""
    if (
        tcb.state == ST_LISTEN
        and not tcb.started
        and is_reply_rst(tcb, w)
        and tcb.log[w].seq == 1
        and tcb.syn_copy >= 0
    ):
        # It answers a SYN+ACK (RFC 9293 3.5.2 group 1), which did not pass here.
        received(tcb, EV_RCV_SYN, tcb.syn_copy, w)
    if takes_rst(tcb, w):
        first = overtaken_ack(tcb, w)
        if first >= 0:
            received(tcb, EV_RCV_ACK_OF_FIN, first, -1)
        received(tcb, EV_RCV_RST, w, -1)
    else:
        tcb.turned_away = tcb.log[w].time
    return 0


def syn_arrives(tcb: Tcb, w: int) -> int:
    """LISTEN, or SYN_SENT where both open: the SYN ``w``, if it is the copy that was accepted."""
    if w == tcb.syn_copy:
        proof = tcb.syn_proof
        if proof >= 0:
            received(tcb, EV_RCV_SYN, w, proof)
        elif tcb.plain_proof >= 0 or (tcb.unseen and tcb.peer.ack >= 1):
            step(
                tcb,
                EV_RCV_SYN,
                tcb.log[w].time + tcb.half,
                tcb.log[w].time,
                tcb.log[w].time + 1000 * MILLISECOND,
                tcb.log[w].frame,
                BASIS_INFERRED,
            )
    elif tcb.state == ST_SYN_RECEIVED:
        tcb.turned_away = tcb.log[w].time
    return 0


def is_refused(tcb: Tcb, w: int) -> int:
    """Whether the endpoint answers the SYN+ACK ``w`` by an RST that follows its SYN in number: 1 or 0."""
    v = own_after(tcb, w)
    if v >= tcb.n or not tcb.log[v].flags & TCP_RST:
        return 0
    u = w - 1
    while u >= 0 and u >= w - LOOKED_AT and tcb.log[u].side != tcb.side:
        u -= 1
    return follows(tcb, u, v) if u >= 0 and u >= w - LOOKED_AT else 0


def syn_ack_arrives(tcb: Tcb, w: int) -> int:
    """SYN_SENT: the SYN+ACK ``w``, if it is the copy that was accepted (RFC 9293 3.10.7.3)."""
    if w == tcb.syn_ack_copy and (tcb.syn_ack_proof >= 0 or not answered_by_rst(tcb, w)):
        if not tcb.started and tcb.side == CLIENT:
            tcb.opened = OPENED_ACTIVE
            inferred(tcb, EV_SND_SYN, w, -1)
        waited = tcb.end - tcb.log[w].time  # whoever gets a SYN+ACK answers it at once
        if (
            tcb.syn_ack_proof >= 0
            or (tcb.unseen and not (tcb.row.marks & M_SYN_ACK_AGAIN and tcb.peer.segments == tcb.peer.syns))
            or (
                waited < ANSWER_DUE * MILLISECOND + 4 * tcb.half
                and not tcb.row.marks & M_SYN_ACK_AGAIN
                and not is_refused(tcb, w)
            )
        ):
            received(tcb, EV_RCV_SYN_ACK, w, tcb.syn_ack_proof)
    return 0


def ack_opens(tcb: Tcb, w: int) -> int:
    """The fifth check in SYN_RECEIVED: the ACK in ``w`` completes the handshake."""
    proof = tcb.plain_proof
    t = tcb.log[w].time
    back = tcb.endpoint.rtt_min
    if back >= 0 and t - tcb.last_syn_ack > back + 10 * MILLISECOND and not tcb.local:
        # The peer must have acknowledged the SYN+ACK before, out of sight: that may have arrived, or been lost.
        latest = tcb.log[proof].time if proof > w else t + tcb.half + tcb.reach
        confirmed(
            tcb,
            step(tcb, EV_RCV_ACK_OF_SYN, t + tcb.half, tcb.last_syn_ack, latest, tcb.log[w].frame, BASIS_PRESUMED),
            tcb.log[proof].frame if proof > w else -1,
        )
    else:
        received(tcb, EV_RCV_ACK_OF_SYN, w, proof if proof > w else -1)
    return 0


def acks_fin(tcb: Tcb, w: int) -> int:
    """The fifth check: whether ``w`` acknowledges the endpoint's FIN; -1 where it finds the connection gone."""
    flags = tcb.log[w].flags
    ack = tcb.log[w].ack
    # a copy of the FIN that did not arrive: nor did its ACK; but behind a hole the ACK counts, if not the FIN
    lost = 1 if flags & TCP_FIN and w < tcb.fin_copy and not tcb.local and not met_hole(tcb, w) else 0
    if not (
        not lost
        and tcb.fin_end >= 0
        and ack >= tcb.fin_end
        and (ack == tcb.fin_end or tcb.row.marks & M_FIN_MOVED)  # nothing can follow a FIN
        and tcb.state in (ST_FIN_WAIT_1, ST_CLOSING, ST_LAST_ACK)
    ):
        return 0
    if met_nobody(tcb, w):
        return -1
    if tcb.habits & HABIT_FIN_STARTS_AGAIN and not tcb.fin_taken and 0 <= tcb.peer_fin_end <= tcb.log[w].seq:
        return 0  # gVisor looks for the ACK of its FIN in what is next in sequence (consumeSegment)
    if w < tcb.fin_copy and not tcb.fin_taken and is_echoed_late(tcb, tcb.fin_copy):
        if newer(tcb.log[w].tsval, tcb.log[tcb.fin_proof].tsecr):
            return 0  # it takes the FIN, and has not had this before
    if (
        0 < tcb.fin_unknown <= tcb.log[w].time + tcb.reach
        and tcb.state == ST_FIN_WAIT_1
        and not tcb.local
        and not tcb.log[w].marks & M_GAP
        and tcb.overtaken < w
    ):
        return -1  # what its peer had sent before that came first, and ended it
    if tcb.state == ST_FIN_WAIT_1 and came_behind_fin(tcb, w):
        return 0
    if tcb.state == ST_FIN_WAIT_1 and tcb.aborted and draws_rst(tcb, w):
        return -1
    if tcb.state == ST_FIN_WAIT_1 and tcb.habits & HABIT_STRAIGHT and aborts_on_data(tcb, w):
        if not acks_before_rst(tcb, w):
            tcb.aborted = 1
            return -1  # these let go of a connection before they look at the ACK, or say no state in between
    if tcb.state == ST_FIN_WAIT_1 and (aborts_at(tcb, w) or reset_before(tcb, w) or left_unread(tcb, w)):
        return -1
    if tcb.state == ST_FIN_WAIT_1 and (is_answered_too(tcb, w) or each_draws_rst(tcb, w)):
        return -1
    if w == tcb.fin_copy and tcb.fin_proof >= 0 and tcb.fin_fill < 0 and not tcb.local:
        return 1  # it came, as the ACK of its FIN shows
    return arrived(tcb, w, tcb.last_fin, tcb.fin_gap)


def first_fin_by(tcb: Tcb) -> int:
    """When the endpoint's FIN, which passes as a repetition, would have passed at the latest for the first time.

    One time-out before: a round trip and 200 ms at least (RFC 6298 section 2.3, with the least variation of Linux).
    """
    x = tcb.endpoint
    return tcb.first_fin - 205 * MILLISECOND - 2 * tcb.half - (x.rtt_min if x.rtt_min >= 0 else 2 * tcb.half)


def take_fin(tcb: Tcb, w: int) -> int:
    """The eighth check: the peer's FIN is taken with ``w``; its own FIN, lost on its way here, may have gone before."""
    tcb.fin_taken = 1
    proof = tcb.fin_proof
    if tcb.fin_early >= 0 and tcb.state == ST_ESTABLISHED:
        early_fin(tcb, w)
    elif (
        proof >= 0
        and tcb.state == ST_ESTABLISHED
        and is_behind_fin(tcb, proof)
        and not tcb.fin_after
        and not closed_after(tcb, proof)
        # an answer that comes late is not the first: that was its FIN, and was lost
        and (
            tcb.log[proof].tsval >= 0
            or tcb.log[proof].time - tcb.log[w].time < 2 * tcb.half + tcb.slack + 50 * MILLISECOND
        )
    ):
        # It acknowledges this FIN by a segment of its own, as after a FIN that it had sent before;
        # unless that segment answers a second copy. Then its retransmission timer tells when its own
        # FIN first went out.
        if not tcb.log[proof].marks & M_DSACK or first_fin_by(tcb) < tcb.log[w].time + 2 * tcb.half:
            hidden_fin(tcb, proof)
    return 0


def behind_unseen_fin(tcb: Tcb, w: int) -> int:
    """Whether the endpoint answers the peer's FIN ``w`` from behind a FIN of its own that the capture does not hold.

    Its ACK begins one beyond all that was seen of it, and that one never comes: it had closed before.
    """
    proof = tcb.fin_proof
    if tcb.state != ST_ESTABLISHED or tcb.fin_end >= 0 or proof < 0:
        return 0
    if tcb.log[proof].time - tcb.log[w].time > tcb.reach + AT_ONCE * MILLISECOND:
        return 0
    return counts_unseen_fin(tcb, proof)


def unseen_fin_acked(tcb: Tcb, w: int) -> int:
    """The segment ``w`` acknowledges a FIN of the endpoint that the capture does not hold.

    Where its sender's own is missing too, this is the last ACK, and that FIN came first.
    """
    if tcb.state == ST_ESTABLISHED and counts_unseen_fin(tcb, w):
        tcb.fin_taken = 1
        t = tcb.log[w].time - tcb.half - MILLISECOND
        step(tcb, EV_RCV_FIN, t, tcb.time, tcb.log[w].time, tcb.log[w].frame, BASIS_INFERRED)
    return step(
        tcb,
        EV_RCV_ACK_OF_UNSEEN_FIN,
        tcb.log[w].time + tcb.half,
        tcb.time,
        tcb.log[w].time + 1000 * MILLISECOND,
        tcb.log[w].frame,
        BASIS_INFERRED,
    )


def fin_acks_fin(tcb: Tcb, w: int) -> int:
    """FIN_WAIT_1: the peer's FIN ``w`` acknowledges the endpoint's; maybe not for the first time."""
    if ack_went_before(tcb, w):
        # It has waited too long not to repeat its FIN: an ACK must have reached it that did not pass here. It was
        # delayed, unless that was why the FIN came twice (RFC 8985 section 7.2): the second is answered at once.
        delay = 0 if tcb.fins > 1 and tcb.fin_gap < TIMEOUT_LEAST * MILLISECOND else 40 * MILLISECOND
        confirmed(
            tcb,
            step(
                tcb,
                EV_RCV_ACK_OF_FIN,
                tcb.last_fin + delay + tcb.half,
                tcb.last_fin,
                tcb.log[w].time,
                -1,
                BASIS_INFERRED,
            ),
            tcb.log[w].frame,
        )
        received(tcb, EV_RCV_FIN, w, tcb.fin_proof)
        return 0
    received(tcb, EV_RCV_FIN_ACK_OF_FIN, w, tcb.fin_proof)
    return 0


def peer_segment(tcb: Tcb, w: int) -> int:
    """The peer's segment ``w`` arrives, if it does: what it does to the endpoint."""
    flags = tcb.log[w].flags
    ack = tcb.log[w].ack
    if flags & TCP_RST:
        return rst_arrives(tcb, w)
    if flags & TCP_SYN and not flags & TCP_ACK:
        return syn_arrives(tcb, w)
    if flags & TCP_SYN and tcb.started and tcb.state not in (ST_SYN_SENT, ST_SYN_RECEIVED):
        return 0  # a SYN in a synchronized state: nothing else of it is looked at (RFC 5961 section 4.2)
    if of_unsent(tcb, w):
        tcb.turned_away = tcb.log[w].time
        return 0
    if tcb.state == ST_SYN_SENT or (flags & TCP_SYN and not tcb.started):
        syn_ack_arrives(tcb, w)
        if flags & TCP_SYN:
            return 0
    end = tcb.log[w].seq + tcb.log[w].length + (flags & TCP_FIN)
    if not flags & TCP_SYN and end < tcb.own_ack and w != tcb.unseen_fin:
        tcb.turned_away = tcb.log[w].time
        return 0  # all of it lies before RCV.NXT: not acceptable (RFC 9293 3.10.7.4, first check)
    if ack > tcb.peer_ack:
        tcb.peer_ack = ack
    # the ACK first, as RFC 9293 3.10.7.4 has it
    if not tcb.started and tcb.unseen and not flags & TCP_SYN and ack >= 1:
        # Nothing of this endpoint is in the capture, but its peer answers it.
        open_inside(tcb, w)
    if tcb.state == ST_SYN_RECEIVED and ack >= 1 and not opens(tcb, w):
        tcb.turned_away = tcb.log[w].time
        return 0
    fin_at = tcb.fin_fill if tcb.fin_fill >= 0 else tcb.fin_copy
    if (
        tcb.state == ST_SYN_RECEIVED
        and ack >= 1
        and (
            (w == fin_at and tcb.fin_proof >= 0)  # taken, and so was its ACK before it
            or arrived(tcb, w, tcb.last_syn_ack, tcb.syn_gap)
        )
        and ((tcb.plain_proof >= 0 and not tcb.log[w].marks & M_ACK_UNSEEN) or not answered_by_rst(tcb, w))
        and not reset_before(tcb, w)
    ):
        ack_opens(tcb, w)
    acked_fin = acks_fin(tcb, w)
    if acked_fin < 0:
        return 0
    takes_fin = 1 if w == fin_at and not tcb.fin_taken else 0
    if tcb.syn_ack_proof < 0 and not tcb.started:
        takes_fin = 0
    event = EV_RCV_FIN
    if takes_fin:
        if behind_unseen_fin(tcb, w):
            event = EV_RCV_FIN_AFTER_UNSEEN_FIN
        take_fin(tcb, w)
        if tcb.state in (ST_FIN_WAIT_1, ST_FIN_WAIT_2) and was_let_go(tcb):
            return fin_meets_fin_wait_2(tcb, w)
        if tcb.state == ST_FIN_WAIT_2 and is_kept_by_nobody(tcb, w):
            return keep_nothing(tcb, w)
    if w == tcb.unseen_fin:
        unseen_fin_acked(tcb, w)
        if takes_fin:
            received(tcb, EV_RCV_FIN, w, tcb.fin_proof)
        return 0
    if takes_fin and acked_fin and tcb.state == ST_FIN_WAIT_1:
        return fin_acks_fin(tcb, w)
    if acked_fin:
        received(tcb, EV_RCV_ACK_OF_FIN, w, -1)
    if takes_fin:
        received(tcb, event, w, tcb.fin_proof)
        if event == EV_RCV_FIN_AFTER_UNSEEN_FIN:
            tcb.fin_end = tcb.log[tcb.fin_proof].seq
    return 0
