"""A segment of the peer arrives, if it does: what it does to the endpoint, in the order of RFC 9293 3.10.7."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.holes import *
from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.leaves import *
from tcptrace_fsm.kernels.moves import *
from tcptrace_fsm.kernels.resets import *
from tcptrace_fsm.kernels.seen import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

# No __all__: compiled, only the replay calls this.


def of_unsent(w: int, side: int, n: int, scratch: Words, work: Words) -> int:
    """Whether the peer's segment ``w`` acknowledges what the endpoint never sent, at the endpoint's own host.

    Nothing of it is taken then (RFC 9293 3.10.7.4, fifth check). The next own segment tells: one that begins below that
    number, or the RST by which a connection not yet open answers it. The capture may just have missed what was sent.
    """
    ack = work[w + L_ACK]
    if not scratch[X_LOCAL] or scratch[X_OWN_NEXT] < 1 or ack <= scratch[X_OWN_NEXT]:
        return 0
    v = own_after(w, side, n, scratch, work)
    if v >= n:
        return 0
    if work[v + L_INFO] & TCP_RST:
        return 1 if scratch[X_STATE] in (ST_SYN_SENT, ST_SYN_RECEIVED) and work[v + L_SEQ] == ack else 0
    # A byte less, later on, may be a keepalive.
    return 1 if work[v + L_SEQ] < ack - (0 if work[v + L_TIME] - work[w + L_TIME] <= scratch[X_REACH] else 1) else 0


def opens(w: int, c: int, rows: Words, scratch: Words, work: Words) -> int:
    """Whether the peer's segment ``w``, with an ACK, can complete the handshake of an endpoint in SYN_RECEIVED.

    Not a SYN+ACK to who listened (RFC 9293 3.10.7.4, fourth check). At the host itself neither what lies outside the
    window, nor what echoes a timestamp that no SYN+ACK bore (as Linux has it), nor what is then ignored altogether.
    """
    marks = work[w + L_MARKS]
    if scratch[X_OPENED] != OPENED_PASSIVE:
        return 1
    if work[w + L_INFO] & TCP_SYN:
        return 0
    if not scratch[X_LOCAL]:
        return 1
    end = work[w + L_SEQ] + (work[w + L_INFO] >> LOG_LEN_SHIFT & LOG_LEN_MASK)
    if work[w + L_SEQ] < scratch[X_OWN_ACK] and end <= scratch[X_OWN_ACK]:
        return 0
    if scratch[X_OVERLOOKED] or (marks & M_OUT_OF_WINDOW and marks & M_GAP):
        return 0
    if scratch[X_SYN_ACK_TSVAL] >= 0 and work[w + L_TSVAL] >= 0 and not rows[c + C_FLAGS] & CF_FAST_OPEN:
        early = newer(scratch[X_SYN_ACK_TSVAL], work[w + L_TSECR])
        v = scratch[X_SYN_ACK]
        return 0 if early or (v >= 0 and newer(work[w + L_TSECR], work[v + L_TSVAL])) else 1
    return 1


def ack_went_before(w: int, c: int, side: int, n: int, rows: Words, timers: Words, scratch: Words, work: Words) -> int:
    """Whether the endpoint's FIN was acknowledged out of sight before the peer's FIN ``w``, which does so too.

    It has waited too long not to repeat its own; or the peer's numbering of packets shows that one went before, later
    than an ACK is delayed at least. Unless that one was this FIN's first copy, lost before it got here: then a least
    RTO has passed (RFC 6298 section 2.4 as systems have it). Or it comes right behind, overtaken.
    """
    waited = work[w + L_TIME] - scratch[X_LAST_FIN]
    patience = timers[scratch[X_TIMERS] + P_PATIENCE] + 10 * scratch[X_HALF]
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    if rows[x + E_RTT_MIN] > 0:
        patience += 3 * rows[x + E_RTT_MIN]  # RFC 6298 section 2.2
    if waited > patience:
        return 1
    if (
        waited < DELAYED_ACK_LEAST * MILLISECOND + 2 * scratch[X_HALF]
        or not work[w + L_MARKS] & M_SENT_BEFORE
        or rows[c + C_MARKS] & M_PAWS
        # Lost on its way as well as by the capture, and FIN_WAIT_2 only in the second case.
        or (scratch[X_HABITS] & HABIT_STRAIGHT and not rows[c + C_MARKS] & M_ACK_UNSEEN)
        or 200 * MILLISECOND <= waited <= 220 * MILLISECOND + 4 * scratch[X_HALF]
    ):
        return 0
    v = next_of(1 - side, w + LOG_SIZE, n, work)
    overtaken = 1 if v < n and work[v + L_SEQ] == work[w + L_SEQ] and not work[v + L_INFO] & TCP_FIN else 0
    return 1 - overtaken


def rst_arrives(
    w: int, c: int, side: int, n: int, rows: Words, table: Words, out: Words, scratch: Words, work: Words
) -> int:
    """The second check: the RST ``w`` ends the connection, or counts for nothing."""
    ident = rows[c + C_ID]
    if (
        scratch[X_STATE] == ST_LISTEN
        and not scratch[X_STARTED]
        and is_reply_rst(w, work)
        and work[w + L_SEQ] == 1
        and scratch[X_SYN_COPY] >= 0
    ):
        # It answers a SYN+ACK (RFC 9293 3.5.2 group 1), which did not pass here.
        received(EV_RCV_SYN, scratch[X_SYN_COPY], w, side, ident, table, out, scratch, work)
    if takes_rst(w, c, side, n, rows, scratch, work):
        received(EV_RCV_RST, w, -1, side, ident, table, out, scratch, work)
    else:
        scratch[X_TURNED_AWAY] = work[w + L_TIME]
    return 0


def syn_arrives(w: int, c: int, side: int, rows: Words, table: Words, out: Words, scratch: Words, work: Words) -> int:
    """LISTEN, or SYN_SENT where both open: the SYN ``w``, if it is the copy that was accepted."""
    ident = rows[c + C_ID]
    if w == scratch[X_SYN_COPY]:
        proof = scratch[X_SYN_PROOF]
        if proof >= 0:
            received(EV_RCV_SYN, w, proof, side, ident, table, out, scratch, work)
        elif scratch[X_PLAIN_PROOF] >= 0 or (
            scratch[X_UNSEEN] and rows[c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE + E_ACK] >= 1
        ):
            step(
                EV_RCV_SYN,
                work[w + L_TIME] + scratch[X_HALF],
                work[w + L_TIME],
                work[w + L_TIME] + 1000 * MILLISECOND,
                work[w + L_FRAME],
                BASIS_INFERRED,
                -1,
                side,
                ident,
                table,
                out,
                scratch,
            )
    return 0


def syn_ack_arrives(
    w: int, c: int, side: int, n: int, rows: Words, table: Words, out: Words, scratch: Words, work: Words
) -> int:
    """SYN_SENT: the SYN+ACK ``w``, if it is the copy that was accepted (RFC 9293 3.10.7.3)."""
    ident = rows[c + C_ID]
    if w == scratch[X_SYN_ACK_COPY] and (
        scratch[X_SYN_ACK_PROOF] >= 0 or not answered_by_rst(w, side, n, scratch, work)
    ):
        if not scratch[X_STARTED] and side == CLIENT:
            scratch[X_OPENED] = OPENED_ACTIVE
            inferred(EV_SND_SYN, w, -1, side, ident, table, out, scratch, work)
        waited = scratch[X_END] - work[w + L_TIME]  # whoever gets a SYN+ACK answers it at once
        if (
            scratch[X_SYN_ACK_PROOF] >= 0
            or scratch[X_UNSEEN]
            or (waited < ANSWER_DUE * MILLISECOND + 4 * scratch[X_HALF] and not rows[c + C_MARKS] & M_SYN_ACK_AGAIN)
        ):
            received(EV_RCV_SYN_ACK, w, scratch[X_SYN_ACK_PROOF], side, ident, table, out, scratch, work)
    return 0


def ack_opens(w: int, c: int, side: int, rows: Words, table: Words, out: Words, scratch: Words, work: Words) -> int:
    """The fifth check in SYN_RECEIVED: the ACK in ``w`` completes the handshake."""
    ident = rows[c + C_ID]
    proof = scratch[X_PLAIN_PROOF]
    t = work[w + L_TIME]
    back = rows[c + C_ENDPOINTS + side * ENDPOINT_SIZE + E_RTT_MIN]
    if back >= 0 and t - scratch[X_LAST_SYN_ACK] > back + 10 * MILLISECOND and not scratch[X_LOCAL]:
        # The peer must have acknowledged the SYN+ACK before, out of sight: that may have arrived, or been lost.
        latest = work[proof + L_TIME] if proof > w else t + scratch[X_HALF] + scratch[X_REACH]
        step(
            EV_RCV_ACK_OF_SYN,
            t + scratch[X_HALF],
            scratch[X_LAST_SYN_ACK],
            latest,
            work[w + L_FRAME],
            BASIS_PRESUMED,
            work[proof + L_FRAME] if proof > w else -1,
            side,
            ident,
            table,
            out,
            scratch,
        )
    else:
        received(EV_RCV_ACK_OF_SYN, w, proof if proof > w else -1, side, ident, table, out, scratch, work)
    return 0


def acks_fin(w: int, c: int, side: int, n: int, rows: Words, scratch: Words, work: Words) -> int:
    """The fifth check: whether ``w`` acknowledges the endpoint's FIN; -1 where it finds the connection gone."""
    flags = work[w + L_INFO] & LOG_FLAGS_MASK
    ack = work[w + L_ACK]
    # a copy of the FIN that did not arrive: nor did its ACK
    lost = 1 if flags & TCP_FIN and w < scratch[X_FIN_COPY] and not scratch[X_LOCAL] else 0
    if not (
        not lost
        and scratch[X_FIN_END] >= 0
        and ack >= scratch[X_FIN_END]
        and (ack == scratch[X_FIN_END] or rows[c + C_MARKS] & M_FIN_MOVED)  # nothing can follow a FIN
        and scratch[X_STATE] in (ST_FIN_WAIT_1, ST_CLOSING, ST_LAST_ACK)
    ):
        return 0
    if met_nobody(w, side, n, scratch, work):
        return -1
    if (
        scratch[X_HABITS] & HABIT_FIN_STARTS_AGAIN
        and not scratch[X_FIN_TAKEN]
        and 0 <= scratch[X_PEER_FIN_END] <= work[w + L_SEQ]
    ):
        return 0  # gVisor looks for the ACK of its FIN in what is next in sequence (consumeSegment)
    if (
        scratch[X_FIN_UNHEARD]
        and scratch[X_STATE] == ST_FIN_WAIT_1
        and not scratch[X_LOCAL]
        and not work[w + L_MARKS] & M_GAP
        and scratch[X_OVERTAKEN] < w
    ):
        return -1  # what its peer had sent before that came first, and ended it
    if scratch[X_STATE] == ST_FIN_WAIT_1 and aborts_at(w, side, n, scratch, work):
        return -1
    return arrived(w, scratch[X_LAST_FIN], scratch[X_FIN_GAP], scratch, work)


def take_fin(w: int, side: int, ident: int, table: Words, out: Words, scratch: Words, work: Words) -> int:
    """The eighth check: the peer's FIN is taken with ``w``; its own FIN, lost on its way here, may have gone before."""
    scratch[X_FIN_TAKEN] = 1
    proof = scratch[X_FIN_PROOF]
    if (
        proof >= 0
        and scratch[X_STATE] == ST_ESTABLISHED
        and is_behind_fin(proof, scratch, work)
        and not scratch[X_FIN_AFTER]
        # an answer that comes late is not the first: that was its FIN, and was lost
        and (
            work[proof + L_TSVAL] >= 0
            or work[proof + L_TIME] - work[w + L_TIME] < 2 * scratch[X_HALF] + scratch[X_SLACK] + 50 * MILLISECOND
        )
    ):
        # It acknowledges this FIN by a segment of its own, as after a FIN that it had sent before;
        # unless that segment answers a second copy. Then its retransmission timer tells when its own
        # FIN first went out.
        if (
            not work[proof + L_MARKS] & M_DSACK
            or scratch[X_FIRST_FIN] - 205 * MILLISECOND - 6 * scratch[X_HALF] < work[w + L_TIME]
        ):
            hidden_fin(proof, side, ident, table, out, scratch, work)
    return 0


def behind_unseen_fin(w: int, x: int, rows: Words, scratch: Words, work: Words) -> int:
    """Whether the endpoint answers the peer's FIN ``w`` from behind a FIN of its own that the capture does not hold.

    Its ACK begins one beyond all that was seen of it, and that one never comes: it had closed before.
    """
    proof = scratch[X_FIN_PROOF]
    if scratch[X_STATE] != ST_ESTABLISHED or scratch[X_FIN_END] >= 0 or proof < 0:
        return 0
    info = work[proof + L_INFO]
    if info & (TCP_SYN | TCP_RST) or info >> LOG_LEN_SHIFT & LOG_LEN_MASK or not work[proof + L_MARKS] & M_GAP:
        return 0
    if work[proof + L_TIME] - work[w + L_TIME] > scratch[X_REACH] + AT_ONCE * MILLISECOND:
        return 0
    end = work[proof + L_SEQ]
    if end < 2 or end != rows[x + E_NEXT]:
        return 0
    return 1 if in_hole(x, end - 1, rows) and not in_hole(x, end - 2, rows) else 0


def unseen_fin_acked(w: int, side: int, ident: int, table: Words, out: Words, scratch: Words, work: Words) -> int:
    """The segment ``w`` acknowledges a FIN of the endpoint that the capture does not hold."""
    return step(
        EV_RCV_ACK_OF_UNSEEN_FIN,
        work[w + L_TIME] + scratch[X_HALF],
        scratch[X_TIME],
        work[w + L_TIME] + 1000 * MILLISECOND,
        work[w + L_FRAME],
        BASIS_INFERRED,
        -1,
        side,
        ident,
        table,
        out,
        scratch,
    )


def fin_acks_fin(
    w: int, c: int, side: int, n: int, rows: Words, timers: Words, table: Words, out: Words, scratch: Words, work: Words
) -> int:
    """FIN_WAIT_1: the peer's FIN ``w`` acknowledges the endpoint's; maybe not for the first time."""
    ident = rows[c + C_ID]
    if ack_went_before(w, c, side, n, rows, timers, scratch, work):
        # It has waited too long not to repeat its FIN: an ACK must have reached it that did not pass here.
        step(
            EV_RCV_ACK_OF_FIN,
            scratch[X_LAST_FIN] + 40 * MILLISECOND + scratch[X_HALF],
            scratch[X_LAST_FIN],
            work[w + L_TIME],
            -1,
            BASIS_INFERRED,
            work[w + L_FRAME],
            side,
            ident,
            table,
            out,
            scratch,
        )
        received(EV_RCV_FIN, w, scratch[X_FIN_PROOF], side, ident, table, out, scratch, work)
        return 0
    received(EV_RCV_FIN_ACK_OF_FIN, w, scratch[X_FIN_PROOF], side, ident, table, out, scratch, work)
    return 0


def peer_segment(
    w: int, c: int, side: int, n: int, rows: Words, timers: Words, table: Words, out: Words, scratch: Words, work: Words
) -> int:
    """The peer's segment ``w`` arrives, if it does: what it does to the endpoint."""
    ident = rows[c + C_ID]
    flags = work[w + L_INFO] & LOG_FLAGS_MASK
    ack = work[w + L_ACK]
    if flags & TCP_RST:
        return rst_arrives(w, c, side, n, rows, table, out, scratch, work)
    if flags & TCP_SYN and not flags & TCP_ACK:
        return syn_arrives(w, c, side, rows, table, out, scratch, work)
    if flags & TCP_SYN and scratch[X_STARTED] and scratch[X_STATE] not in (ST_SYN_SENT, ST_SYN_RECEIVED):
        return 0  # a SYN in a synchronized state: nothing else of it is looked at (RFC 5961 section 4.2)
    if of_unsent(w, side, n, scratch, work):
        scratch[X_TURNED_AWAY] = work[w + L_TIME]
        return 0
    if scratch[X_STATE] == ST_SYN_SENT or (flags & TCP_SYN and not scratch[X_STARTED]):
        syn_ack_arrives(w, c, side, n, rows, table, out, scratch, work)
        if flags & TCP_SYN:
            return 0
    end = work[w + L_SEQ] + (work[w + L_INFO] >> LOG_LEN_SHIFT & LOG_LEN_MASK) + (flags & TCP_FIN)
    if not flags & TCP_SYN and end < scratch[X_OWN_ACK] and w != scratch[X_UNSEEN_FIN]:
        scratch[X_TURNED_AWAY] = work[w + L_TIME]
        return 0  # all of it lies before RCV.NXT: not acceptable (RFC 9293 3.10.7.4, first check)
    if ack > scratch[X_PEER_ACK]:
        scratch[X_PEER_ACK] = ack
    # the ACK first, as RFC 9293 3.10.7.4 has it
    if not scratch[X_STARTED] and scratch[X_UNSEEN] and not flags & TCP_SYN and ack >= 1:
        # Nothing of this endpoint is in the capture, but its peer answers it.
        open_inside(w, c, side, rows, table, out, scratch, work)
    if scratch[X_STATE] == ST_SYN_RECEIVED and ack >= 1 and not opens(w, c, rows, scratch, work):
        scratch[X_TURNED_AWAY] = work[w + L_TIME]
        return 0
    fin_at = scratch[X_FIN_FILL] if scratch[X_FIN_FILL] >= 0 else scratch[X_FIN_COPY]
    if (
        scratch[X_STATE] == ST_SYN_RECEIVED
        and ack >= 1
        and (
            (w == fin_at and scratch[X_FIN_PROOF] >= 0)  # taken, and so was its ACK before it
            or arrived(w, scratch[X_LAST_SYN_ACK], scratch[X_SYN_GAP], scratch, work)
        )
        and (
            (scratch[X_PLAIN_PROOF] >= 0 and not work[w + L_MARKS] & M_ACK_UNSEEN)
            or not answered_by_rst(w, side, n, scratch, work)
        )
    ):
        ack_opens(w, c, side, rows, table, out, scratch, work)
    acked_fin = acks_fin(w, c, side, n, rows, scratch, work)
    if acked_fin < 0:
        return 0
    takes_fin = 1 if w == fin_at and not scratch[X_FIN_TAKEN] else 0
    if scratch[X_SYN_ACK_PROOF] < 0 and not scratch[X_STARTED]:
        takes_fin = 0
    event = EV_RCV_FIN
    if takes_fin:
        if behind_unseen_fin(w, c + C_ENDPOINTS + side * ENDPOINT_SIZE, rows, scratch, work):
            event = EV_RCV_FIN_AFTER_UNSEEN_FIN
        take_fin(w, side, ident, table, out, scratch, work)
    if w == scratch[X_UNSEEN_FIN]:
        unseen_fin_acked(w, side, ident, table, out, scratch, work)
        if takes_fin:
            received(EV_RCV_FIN, w, scratch[X_FIN_PROOF], side, ident, table, out, scratch, work)
        return 0
    if takes_fin and acked_fin and scratch[X_STATE] == ST_FIN_WAIT_1:
        return fin_acks_fin(w, c, side, n, rows, timers, table, out, scratch, work)
    if acked_fin:
        received(EV_RCV_ACK_OF_FIN, w, -1, side, ident, table, out, scratch, work)
    if takes_fin:
        received(event, w, scratch[X_FIN_PROOF], side, ident, table, out, scratch, work)
        if event == EV_RCV_FIN_AFTER_UNSEEN_FIN:
            scratch[X_FIN_END] = work[scratch[X_FIN_PROOF] + L_SEQ]
    return 0
