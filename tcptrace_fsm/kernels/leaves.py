"""An endpoint sends a segment: what that proves about its state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.hidden import *
from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.minisockets import *
from tcptrace_fsm.kernels.moves import *
from tcptrace_fsm.kernels.resets import *
from tcptrace_fsm.kernels.seen import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels.records import Tcb

# No __all__: compiled, only the replay calls this.


def fin_earliest(tcb: Tcb, w: int) -> int:
    """The earliest moment at which the application can have closed, given that its FIN passed here as segment ``w``.

    CLOSE changes the state at once; the FIN follows behind what is still queued. An endpoint that was busy sending may
    have been closed since it began to be.
    """
    earliest = tcb.log[w].time - tcb.reach
    since = tcb.endpoint.busy_since
    if since >= 0 and since - tcb.reach < earliest:
        earliest = since - tcb.reach
    return max(earliest, tcb.earliest)


def fin_sent_before(tcb: Tcb, w: int) -> int:
    """Whether the endpoint's FIN ``w`` repeats one that was lost before it got here, by the numbering of packets."""
    if tcb.row.marks & M_PAWS or tcb.local:
        return 0
    return 1 if tcb.log[w].marks & M_SENT_BEFORE else 0


def sent_by_timer(tcb: Tcb, proof: int, w: int) -> int:
    """Whether the endpoint's FIN ``w`` left one least RTO after its bare ACK ``proof``, by its own clock: 1 or 0.

    gVisor's is 200 ms to the millisecond that its timestamps count (MinRTO): its application closed as soon as it had
    read the end, and that FIN was lost before it got here.
    """
    if tcb.log[w].tsval < 0 or tcb.log[proof].tsval < 0 or tcb.log[w].length or tcb.log[w].seq != tcb.log[proof].seq:
        return 0
    if tcb.log[proof].flags & (TCP_SYN | TCP_FIN | TCP_RST) or tcb.log[proof].length:
        return 0
    return 1 if 0 <= low32(tcb.log[w].tsval - tcb.log[proof].tsval) - LEAST_RTO <= 1 else 0


def fin_starts_again(tcb: Tcb, w: int) -> int:
    """Whether the endpoint's FIN ``w`` repeats one that got lost after the ACK of its peer's, by numbers and time.

    What went before counts that FIN as sent. Or by its numbering of packets one or two of the connection are missing,
    behind that ACK, and since then its retransmission timer has had time to run out.
    """
    proof = tcb.fin_proof
    if not 0 <= proof < w or tcb.local:
        return 0
    waited = tcb.log[w].time - tcb.log[proof].time
    if is_behind_fin(tcb, proof) and tcb.state == ST_CLOSING:
        return 1 if waited >= TIMEOUT_LEAST * MILLISECOND else 0
    if tcb.state != ST_LAST_ACK:
        return 0
    if sent_by_timer(tcb, proof, w):
        return 1
    if not tcb.log[w].marks & M_SENT_BEFORE or waited < TIMEOUT_LEAST * MILLISECOND:
        return 0
    return 1 if missing_before(tcb, w) > 0 else 0


def own_fin(tcb: Tcb, w: int) -> int:
    """The endpoint's FIN passes as segment ``w``: it closed just before, unless this FIN is a repetition already."""
    earliest = fin_earliest(tcb, w)
    t = tcb.log[w].time
    if fin_sent_before(tcb, w):
        # Lost before it got here and sent again: a lone segment after 200 ms (RFC 8985 section 7.2 and the least RTO of
        # most systems), one that follows others a few milliseconds after.
        again = 205 * MILLISECOND + 4 * tcb.half
        if t - again < tcb.time:
            again = 10 * MILLISECOND
        return step(tcb, EV_SND_FIN, t - again, tcb.time, t, tcb.log[w].frame, BASIS_SENT)
    if tcb.shut and tcb.log[w].length:
        # It came out with data that a shut window had held back: CLOSE was called before the window opened, and rather
        # with the last write than during the stall.
        shut = tcb.endpoint.busy_since + tcb.half
        return step(tcb, EV_SND_FIN, shut, earliest, t, tcb.log[w].frame, BASIS_SENT)
    return sent(tcb, EV_SND_FIN, w, earliest)


def hidden_fin(tcb: Tcb, w: int) -> int:
    """The endpoint's segment ``w`` counts a FIN as sent that has not passed here yet: it was lost on its way."""
    t = tcb.log[w].time
    first = tcb.first_fin - 205 * MILLISECOND - 4 * tcb.half  # what passes later is the retransmission
    if first > t - tcb.half or first < tcb.time:
        first = t - tcb.half
    return step(tcb, EV_SND_FIN, first, tcb.time, t, tcb.log[w].frame, BASIS_INFERRED)


def early_fin(tcb: Tcb, w: int) -> int:
    """The endpoint's FIN that was held up on its way here left before it took the peer's FIN ``w``."""
    v = tcb.fin_early
    t = tcb.log[w].time
    return step(tcb, EV_SND_FIN, t, tcb.time, t + tcb.half + tcb.slack, tcb.log[v].frame, BASIS_SENT)


def syn_before(tcb: Tcb, w: int) -> int:
    """Whether the peer's SYN has passed again right before the endpoint's segment ``w``, elsewhere than at its host."""
    v = w - 1
    while v >= 0 and v >= w - LOOKED_AT and tcb.log[w].time - tcb.log[v].time <= tcb.reach and not tcb.local:
        if tcb.log[v].side != tcb.side and tcb.log[v].marks & M_SYN_AGAIN:
            return 1
        v -= 1
    return 0


def turns_away(tcb: Tcb, w: int) -> int:
    """Whether the endpoint's segment ``w`` only answers what could not complete the handshake, at its own host.

    A pure ACK of the SYN, right behind that: it is in SYN_RECEIVED still (RFC 9293 3.10.7.4, first check). Elsewhere
    only where the peer has acknowledged nothing so far, but sent its SYN again.
    """
    flags = tcb.log[w].flags
    if not syn_before(tcb, w) and (tcb.turned_away < 0 or tcb.log[w].time - tcb.turned_away > tcb.reach):
        return 0
    if flags & (TCP_FIN | TCP_SYN) or tcb.log[w].length or (not tcb.local and tcb.peer_ack >= 1):
        return 0
    return 1 if tcb.log[w].ack <= max(tcb.own_ack, 1) else 0  # of the SYN alone, whose answer may not have passed here


def found_gone(tcb: Tcb, w: int) -> int:
    """The endpoint's RST ``w`` answers what came to a connection that is no more (RFC 9293 3.5.2): since when."""
    t = tcb.log[w].time
    state = tcb.state
    since = tcb.since
    if state in (ST_FIN_WAIT_1, ST_CLOSING, ST_LAST_ACK) and tcb.fins > 1:
        # It repeated its FIN, and no more when it was due again: it had given up.
        due = tcb.last_fin + 2 * tcb.fin_gap
        if due < t:
            return step(
                tcb,
                EV_TIMEOUT_RETRANSMISSION,
                due,
                tcb.last_fin + tcb.fin_gap - tcb.slack,
                t,
                tcb.log[w].frame,
                BASIS_TIMER,
            )
    if state == ST_FIN_WAIT_2 and t - since >= tcb.timers.fin_wait_2_least:
        return step(
            tcb,
            EV_TIMEOUT_FIN_WAIT_2,
            since + tcb.timers.fin_wait_2_usual,
            since + tcb.timers.fin_wait_2_least,
            t,
            tcb.log[w].frame,
            tcb.timers.fin_wait_2_basis,
        )
    if state == ST_TIME_WAIT and t - since >= tcb.timers.time_wait_least:
        return step(
            tcb,
            EV_TIMEOUT_2MSL,
            since + tcb.timers.time_wait_usual,
            since + tcb.timers.time_wait_least,
            t,
            tcb.log[w].frame,
            tcb.timers.time_wait_basis,
        )
    return step(tcb, EV_GONE, t - tcb.half, tcb.time, t, tcb.log[w].frame, BASIS_SENT)


def aborts_after_syn_ack(tcb: Tcb, w: int) -> int:
    """Whether the RST ``w`` of an endpoint in SYN_SENT shows that it had the SYN+ACK, and was established: 1 or 0.

    It acknowledges that. An answer to a SYN+ACK that nobody wants any more has no ACK (RFC 9293 3.5.2, group 1), unless
    a small stack or a middlebox gives it; and it comes at once, or follows the SYN in number.
    """
    if not tcb.log[w].flags & TCP_ACK or tcb.log[w].ack < 1:
        return 0
    if tcb.stack in (STACK_LINUX, STACK_BSD, STACK_GVISOR) or tcb.log[w].seq > 1:
        return 1  # of data that were sent it counts the bytes
    v = w - 1
    while v >= 0 and v >= w - LOOKED_AT and tcb.log[v].side != tcb.side:
        v -= 1
    if v >= 0 and v >= w - LOOKED_AT and tcb.log[v].flags & TCP_SYN and follows(tcb, v, w):
        return 0  # nothing went between its SYN and this, as would have acknowledged the SYN+ACK
    v = w - 1
    while v >= 0 and v >= w - LOOKED_AT and tcb.log[v].flags & (TCP_SYN | TCP_ACK) != TCP_SYN | TCP_ACK:
        v -= 1
    if v < 0 or v < w - LOOKED_AT or tcb.log[v].side == tcb.side:
        return 0
    return 1 if tcb.log[w].time - tcb.log[v].time > max(tcb.reach, LONGEST_WAY * MILLISECOND) else 0


def close_before(tcb: Tcb, w: int) -> int:
    """The endpoint's first FIN passes right behind its RST ``w``, which has overtaken it: none is sent after an RST."""
    t = tcb.log[w].time
    if tcb.local or not tcb.fins or tcb.first_fin < t or tcb.state not in (ST_ESTABLISHED, ST_CLOSE_WAIT):
        return 0
    v = next_of(tcb, tcb.side, w + 1)
    while v < tcb.n and not (tcb.log[v].flags & TCP_FIN and is_real(tcb, v)):
        v = next_of(tcb, tcb.side, v + 1)
    if v >= tcb.n:
        return 0
    return step(tcb, EV_SND_FIN, t - tcb.half, fin_earliest(tcb, w), t, tcb.log[v].frame, BASIS_SENT)


def answers_after_close(tcb: Tcb, w: int) -> int:
    """Whether the RST ``w`` answers, after the endpoint's FIN, data that it had not received: 1 or 0.

    What its system sends for a closed socket is not numbered with the connection's packets everywhere.
    """
    if tcb.state not in (ST_FIN_WAIT_1, ST_FIN_WAIT_2) or not is_reply_rst(tcb, w):
        return 0
    v = cause_of(tcb, w)
    if v < 0 or tcb.log[w].time - tcb.log[v].end_time > tcb.reach + AT_ONCE * MILLISECOND:
        return 0
    if tcb.log[v].end_time > tcb.log[v].time:
        return 1  # in a row of several; only the first one's numbers are kept
    return 1 if tcb.log[v].length and tcb.log[v].seq + tcb.log[v].length > tcb.own_ack else 0


def opened_unseen(tcb: Tcb, w: int) -> int:
    """The RST ``w`` is all that has passed of an endpoint so far, and acknowledges nothing: it aborts in SYN_SENT.

    RFC 9293 3.10.5 has none sent there; lwIP does (tcp_abandon), with RCV.NXT as it was before any SYN came: 0. Its
    SYN was lost before it got here, where no other has passed and the RST's hop limit is lwIP's; or it is the next to
    pass, overtaken, and was numbered before. 1 if that opened it.
    """
    if tcb.side != CLIENT or tcb.log[w].ack != 0 or not tcb.log[w].flags & TCP_ACK or tcb.peer.segments:
        return 0
    v = next_of(tcb, tcb.side, w + 1)
    if v >= tcb.n:
        return inferred(tcb, EV_SND_SYN, w, -1) if w == 0 and tcb.endpoint.ttl > 128 else 0
    if tcb.log[v].flags & (TCP_SYN | TCP_ACK) != TCP_SYN or not 0 < tcb.log[w].ip_id - tcb.log[v].ip_id <= LOOKED_AT:
        return 0
    if tcb.log[v].time - tcb.log[w].time > OVERTAKEN_WITHIN * MILLISECOND:
        return 0
    tcb.opened = OPENED_ACTIVE
    return inferred(tcb, EV_SND_SYN, w, tcb.log[w].time - ANSWER_DUE * MILLISECOND)


def own_rst(tcb: Tcb, w: int) -> int:
    """The endpoint sends the RST ``w``: an abort, or an answer to what met no connection."""
    flags = tcb.log[w].flags
    t = tcb.log[w].time
    if is_foreign(tcb, w) and not answers_after_close(tcb, w):
        return 0
    # An endpoint that talks on after an RST did not send it (or it is older, and was overtaken).
    if tcb.last_alive > t + (0 if tcb.local else OVERTAKEN_WITHIN * MILLISECOND):
        return 0
    if not tcb.started and not opened_unseen(tcb, w):
        return 0
    take_fin_before(tcb, w)
    close_before(tcb, w)
    state = tcb.state
    if (
        state in (ST_SYN_SENT, ST_SYN_RECEIVED)
        and is_reply_rst(tcb, w)
        and tcb.own_next >= 1
        and (tcb.log[w].seq < 1 or tcb.log[w].seq > tcb.own_next)
    ):
        return 0  # it answers an ACK of what it never sent, and stays (RFC 9293 3.10.7.3 and 3.10.7.4)
    if state == ST_SYN_RECEIVED and flags & TCP_ACK and tcb.turned_away >= 0 and tcb.log[w].ack > tcb.own_ack:
        open_inside(tcb, w)  # what came meanwhile was taken
    proof = tcb.syn_ack_proof
    if state == ST_SYN_SENT and flags & TCP_ACK and proof > w:
        if tcb.log[proof].time <= t + OVERTAKEN_WITHIN * MILLISECOND:
            open_inside(tcb, w)  # it had acknowledged the SYN+ACK, and this has overtaken that on its way here
    if state == ST_SYN_SENT and aborts_after_syn_ack(tcb, w):
        open_inside(tcb, w)
    if (
        state == ST_SYN_RECEIVED
        and tcb.opened == OPENED_PASSIVE
        and not is_reply_rst(tcb, w)
        and tcb.row.handshake_ack_time >= 0
        and tcb.row.handshake_ack_time < t
    ):
        # An application aborts what it has accepted: the ACK that passed here was there before, however long it took.
        open_inside(tcb, w)
    if state == ST_TIME_WAIT:
        # It sends no RST: of its own accord none at all, and in answer to a segment only once it is gone.
        cause = cause_of(tcb, w)
        if cause < 0 and not tcb.peer_unseen:
            return 0  # somebody else did
        if cause >= 0 and tcb.habits & HABIT_REFUSES_SYN and tcb.log[cause].flags & TCP_SYN:
            return 0  # it answers that so, and stays
        return found_gone(tcb, w)
    if not is_reply_rst(tcb, w) or state in (ST_SYN_SENT, ST_SYN_RECEIVED):
        return sent(tcb, EV_SND_RST, w, t - tcb.reach)
    return found_gone(tcb, w)


def own_syn(tcb: Tcb, w: int) -> int:
    """The endpoint sends the SYN or SYN+ACK ``w``."""
    t = tcb.log[w].time
    if not tcb.log[w].flags & TCP_ACK:
        if not tcb.started:
            tcb.opened = OPENED_ACTIVE
            tcb.state = ST_CLOSED
            sent(tcb, EV_SND_SYN, w, t - tcb.reach)
        return 0
    if not tcb.started or tcb.state == ST_SYN_SENT:
        if not tcb.started and tcb.side == CLIENT:
            tcb.opened = OPENED_ACTIVE
            inferred(tcb, EV_SND_SYN, w, -1)
        inferred(tcb, EV_RCV_SYN, w, t - tcb.reach)
    return 0


def takes_unseen_fin(tcb: Tcb, w: int) -> int:
    """The endpoint's segment ``w`` acknowledges a FIN of its peer that the capture does not hold."""
    t = tcb.log[w].time
    tcb.fin_taken = 1
    event = EV_RCV_FIN
    # A peer that was never seen may have acknowledged and closed in one segment; a pause speaks against it.
    if tcb.state == ST_FIN_WAIT_1 and t - tcb.time < AT_ONCE * MILLISECOND:
        event = EV_RCV_FIN_ACK_OF_FIN
    elif tcb.state == ST_ESTABLISHED and counts_unseen_fin(tcb, w):
        # It has closed as well, and its peer spoke last: that is the last ACK.
        step(tcb, EV_RCV_ACK_OF_UNSEEN_FIN, t - tcb.half - MILLISECOND, tcb.time, t, tcb.log[w].frame, BASIS_INFERRED)
    elif tcb.state == ST_FIN_WAIT_1 and tcb.peer_unseen:
        confirmed(
            tcb,
            step(tcb, EV_RCV_ACK_OF_FIN, tcb.time + 40 * MILLISECOND, tcb.time, t, -1, BASIS_INFERRED),
            tcb.log[w].frame,
        )
    step(tcb, event, t - tcb.half, tcb.time, t, tcb.log[w].frame, BASIS_INFERRED)
    return 0


def each_fin_acknowledges(tcb: Tcb, w: int) -> int:
    """Whether its peer's FIN, whichever copy it took, acknowledges that of the endpoint in FIN_WAIT_1: 1 or 0."""
    if tcb.state != ST_FIN_WAIT_1 or tcb.fin_end < 0:
        return 0
    copies = 0
    v = next_of(tcb, 1 - tcb.side, 0)
    while v < w:
        if tcb.log[v].flags & TCP_FIN and is_real(tcb, v):
            if tcb.log[v].ack < tcb.fin_end:
                return 0
            copies += 1
        v = next_of(tcb, 1 - tcb.side, v + 1)
    return 1 if copies else 0


def own_segment(tcb: Tcb, w: int) -> int:
    """The endpoint sends segment ``w``: what that proves about its state."""
    flags = tcb.log[w].flags
    t = tcb.log[w].time
    if flags & TCP_RST:
        return own_rst(tcb, w)
    if flags & TCP_SYN:
        return own_syn(tcb, w)
    # a plain segment or a FIN: it is past the handshake, or still in a connection before
    if not tcb.started and tcb.syn_proof > w and tcb.log[w].marks & M_ACK_UNSEEN:
        return 0
    if tcb.state == ST_SYN_RECEIVED and turns_away(tcb, w):
        return 0
    if not tcb.started or tcb.state == ST_SYN_SENT:
        if tcb.started or flags & TCP_ACK:
            open_inside(tcb, w)
    elif (
        tcb.state == ST_SYN_RECEIVED
        and (
            not tcb.row.flags & CF_FAST_OPEN
            or (tcb.turned_away >= 0 and tcb.log[w].ack > tcb.own_ack)  # what came meanwhile was taken
        )
        # closed before it was open, as only a simultaneous open can be
        and not (flags & TCP_FIN and tcb.opened == OPENED_ACTIVE and tcb.peer_ack < 1 and not tcb.peer_unseen)
    ):
        open_inside(tcb, w)
    if w == tcb.peer_unseen_fin and not tcb.fin_taken:
        takes_unseen_fin(tcb, w)
    if w == tcb.fin_proof and not tcb.fin_taken and not flags & TCP_SYN:
        tcb.fin_taken = 1
        if tcb.state == ST_FIN_WAIT_1 and was_let_go(tcb):
            ack_of_fin_before(tcb, w)
        inferred(tcb, EV_RCV_FIN_ACK_OF_FIN if each_fin_acknowledges(tcb, w) else EV_RCV_FIN, w, tcb.time)
    if flags & TCP_FIN:
        own_fin(tcb, w)
        if tcb.habits & HABIT_FIN_STARTS_AGAIN and (tcb.log[w].marks & M_FIN_AGAIN or fin_starts_again(tcb, w)):
            sent(tcb, EV_SND_FIN_AGAIN, w, t - tcb.reach)
    elif tcb.fin_end >= 0 and tcb.log[w].seq >= tcb.fin_end and tcb.state in (ST_ESTABLISHED, ST_CLOSE_WAIT):
        hidden_fin(tcb, w)
    if tcb.state == ST_TIME_WAIT and tcb.log[w].end_time > tcb.since:
        tcb.since = tcb.log[w].end_time - tcb.half  # what it answers restarted 2MSL
    return 0
