"""An endpoint sends a segment: what that proves about its state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.moves import *
from tcptrace_fsm.kernels.resets import *
from tcptrace_fsm.kernels.seen import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

# No __all__: compiled, only the replay calls this.


def fin_earliest(w: int, x: int, rows: Words, scratch: Words, work: Words) -> int:
    """The earliest moment at which the application can have closed, given that its FIN passed here as segment ``w``.

    CLOSE changes the state at once; the FIN follows behind what is still queued. An endpoint that was busy sending may
    have been closed since it began to be.
    """
    earliest = work[w + L_TIME] - scratch[X_REACH]
    since = rows[x + E_BUSY_SINCE]
    if since >= 0 and since - scratch[X_REACH] < earliest:
        earliest = since - scratch[X_REACH]
    return max(earliest, scratch[X_EARLIEST])


def fin_sent_before(w: int, c: int, rows: Words, scratch: Words, work: Words) -> int:
    """Whether the endpoint's FIN ``w`` repeats one that was lost before it got here, by the numbering of packets."""
    if rows[c + C_MARKS] & M_PAWS or scratch[X_LOCAL]:
        return 0
    return 1 if work[w + L_MARKS] & M_SENT_BEFORE else 0


def fin_starts_again(w: int, c: int, side: int, n: int, rows: Words, scratch: Words, work: Words) -> int:
    """Whether the endpoint's FIN ``w`` repeats one that got lost after the ACK of its peer's, by numbers and time.

    By its numbering of packets one or two of the connection are missing, behind that ACK, and since then its
    retransmission timer has had time to run out.
    """
    proof = scratch[X_FIN_PROOF]
    if not 0 <= proof < w or scratch[X_LOCAL] or not work[w + L_MARKS] & M_SENT_BEFORE:
        return 0
    if scratch[X_STATE] != ST_LAST_ACK or work[w + L_TIME] - work[proof + L_TIME] < TIMEOUT_LEAST * MILLISECOND:
        return 0
    before = rows[c + C_ENDPOINTS + side * ENDPOINT_SIZE + E_SEGMENTS]  # that passed here
    v = w
    while v < n:
        before -= 1
        v = next_of(side, v + LOG_SIZE, n, work)
    first = next_of(side, 0, n, work)
    went = (work[w + L_FATE] >> LOG_IP_ID_SHIFT) - (work[first + L_FATE] >> LOG_IP_ID_SHIFT) & LOG_IP_ID_MASK
    return 1 if 1 <= went - before <= 2 else 0


def own_fin(
    w: int, c: int, side: int, ident: int, rows: Words, table: Words, out: Words, scratch: Words, work: Words
) -> int:
    """The endpoint's FIN passes as segment ``w``: it closed just before, unless this FIN is a repetition already."""
    earliest = fin_earliest(w, c + C_ENDPOINTS + side * ENDPOINT_SIZE, rows, scratch, work)
    t = work[w + L_TIME]
    if fin_sent_before(w, c, rows, scratch, work):
        # Lost before it got here and sent again: a lone segment after 200 ms (RFC 8985 section 7.2 and the least RTO of
        # most systems), one that follows others a few milliseconds after.
        again = 205 * MILLISECOND + 4 * scratch[X_HALF]
        if t - again < scratch[X_TIME]:
            again = 10 * MILLISECOND
        return step(
            EV_SND_FIN,
            t - again,
            scratch[X_TIME],
            t,
            work[w + L_FRAME],
            BASIS_SENT,
            -1,
            side,
            ident,
            table,
            out,
            scratch,
        )
    if scratch[X_SHUT] and work[w + L_INFO] >> LOG_LEN_SHIFT & LOG_LEN_MASK:
        # It came out with data that a shut window had held back: CLOSE was called before the window opened, and rather
        # with the last write than during the stall.
        shut = rows[c + C_ENDPOINTS + side * ENDPOINT_SIZE + E_BUSY_SINCE] + scratch[X_HALF]
        return step(EV_SND_FIN, shut, earliest, t, work[w + L_FRAME], BASIS_SENT, -1, side, ident, table, out, scratch)
    return sent(EV_SND_FIN, w, earliest, side, ident, table, out, scratch, work)


def hidden_fin(w: int, side: int, ident: int, table: Words, out: Words, scratch: Words, work: Words) -> int:
    """The endpoint's segment ``w`` counts a FIN as sent that has not passed here yet: it was lost on its way."""
    t = work[w + L_TIME]
    first = scratch[X_FIRST_FIN] - 205 * MILLISECOND - 4 * scratch[X_HALF]  # what passes later is the retransmission
    if first > t - scratch[X_HALF] or first < scratch[X_TIME]:
        first = t - scratch[X_HALF]
    return step(
        EV_SND_FIN, first, scratch[X_TIME], t, work[w + L_FRAME], BASIS_INFERRED, -1, side, ident, table, out, scratch
    )


def turns_away(w: int, scratch: Words, work: Words) -> int:
    """Whether the endpoint's segment ``w`` only answers what could not complete the handshake, at its own host.

    A pure ACK of the SYN, right behind that: it is in SYN_RECEIVED still (RFC 9293 3.10.7.4, first check).
    """
    info = work[w + L_INFO]
    if scratch[X_TURNED_AWAY] < 0 or work[w + L_TIME] - scratch[X_TURNED_AWAY] > scratch[X_REACH]:
        return 0
    if info & (TCP_FIN | TCP_SYN) or info >> LOG_LEN_SHIFT & LOG_LEN_MASK or not scratch[X_LOCAL]:
        return 0
    return 1 if work[w + L_ACK] <= scratch[X_OWN_ACK] else 0


def found_gone(
    w: int, c: int, side: int, rows: Words, timers: Words, table: Words, out: Words, scratch: Words, work: Words
) -> int:
    """The endpoint's RST ``w`` answers what came to a connection that is no more (RFC 9293 3.5.2): since when."""
    ident = rows[c + C_ID]
    t = work[w + L_TIME]
    state = scratch[X_STATE]
    since = scratch[X_SINCE]
    if state in (ST_FIN_WAIT_1, ST_CLOSING, ST_LAST_ACK) and scratch[X_FINS] > 1:
        # It repeated its FIN, and no more when it was due again: it had given up.
        due = scratch[X_LAST_FIN] + 2 * scratch[X_FIN_GAP]
        if due < t:
            return step(
                EV_TIMEOUT_RETRANSMISSION,
                due,
                scratch[X_LAST_FIN] + scratch[X_FIN_GAP] - scratch[X_SLACK],
                t,
                work[w + L_FRAME],
                BASIS_TIMER,
                -1,
                side,
                ident,
                table,
                out,
                scratch,
            )
    if state == ST_FIN_WAIT_2 and t - since >= timers[scratch[X_TIMERS] + P_FIN_WAIT_2_LEAST]:
        return step(
            EV_TIMEOUT_FIN_WAIT_2,
            since + timers[scratch[X_TIMERS] + P_FIN_WAIT_2_USUAL],
            since + timers[scratch[X_TIMERS] + P_FIN_WAIT_2_LEAST],
            t,
            work[w + L_FRAME],
            timers[scratch[X_TIMERS] + P_FIN_WAIT_2_BASIS],
            -1,
            side,
            ident,
            table,
            out,
            scratch,
        )
    if state == ST_TIME_WAIT and t - since >= timers[scratch[X_TIMERS] + P_TIME_WAIT_LEAST]:
        return step(
            EV_TIMEOUT_2MSL,
            since + timers[scratch[X_TIMERS] + P_TIME_WAIT_USUAL],
            since + timers[scratch[X_TIMERS] + P_TIME_WAIT_LEAST],
            t,
            work[w + L_FRAME],
            timers[scratch[X_TIMERS] + P_TIME_WAIT_BASIS],
            -1,
            side,
            ident,
            table,
            out,
            scratch,
        )
    return step(
        EV_GONE,
        t - scratch[X_HALF],
        scratch[X_TIME],
        t,
        work[w + L_FRAME],
        BASIS_SENT,
        -1,
        side,
        ident,
        table,
        out,
        scratch,
    )


def own_rst(
    w: int, c: int, side: int, rows: Words, timers: Words, table: Words, out: Words, scratch: Words, work: Words
) -> int:
    """The endpoint sends the RST ``w``: an abort, or an answer to what met no connection."""
    ident = rows[c + C_ID]
    flags = work[w + L_INFO] & LOG_FLAGS_MASK
    t = work[w + L_TIME]
    # An endpoint that talks on after an RST did not send it (or it is older, and was overtaken).
    if (
        scratch[X_LAST_ALIVE] > t + (0 if scratch[X_LOCAL] else OVERTAKEN_WITHIN * MILLISECOND)
        or not scratch[X_STARTED]
    ):
        return 0
    take_fin_before(w, side, ident, table, out, scratch, work)
    state = scratch[X_STATE]
    if (
        state in (ST_SYN_SENT, ST_SYN_RECEIVED)
        and is_reply_rst(w, work)
        and scratch[X_OWN_NEXT] >= 1
        and (work[w + L_SEQ] < 1 or work[w + L_SEQ] > scratch[X_OWN_NEXT])
    ):
        return 0  # it answers an ACK of what it never sent, and stays (RFC 9293 3.10.7.3 and 3.10.7.4)
    if (
        state == ST_SYN_RECEIVED
        and flags & TCP_ACK
        and scratch[X_TURNED_AWAY] >= 0
        and work[w + L_ACK] > scratch[X_OWN_ACK]
    ):
        open_inside(w, c, side, rows, table, out, scratch, work)  # what came meanwhile was taken
    if (
        state == ST_SYN_RECEIVED
        and scratch[X_OPENED] == OPENED_PASSIVE
        and not is_reply_rst(w, work)
        and rows[c + C_HANDSHAKE_ACK_TIME] >= 0
        and rows[c + C_HANDSHAKE_ACK_TIME] < t
    ):
        # An application aborts what it has accepted: the ACK that passed here was there before, however long it took.
        open_inside(w, c, side, rows, table, out, scratch, work)
    if state == ST_TIME_WAIT:
        # It sends no RST: of its own accord none at all, and in answer to a segment only once it is gone.
        if not scratch[X_PEER_UNSEEN] and not has_cause(w, scratch, work):
            return 0  # somebody else did
        return found_gone(w, c, side, rows, timers, table, out, scratch, work)
    if not is_reply_rst(w, work) or state in (ST_SYN_SENT, ST_SYN_RECEIVED):
        return sent(EV_SND_RST, w, t - scratch[X_REACH], side, ident, table, out, scratch, work)
    return found_gone(w, c, side, rows, timers, table, out, scratch, work)


def own_syn(w: int, c: int, side: int, rows: Words, table: Words, out: Words, scratch: Words, work: Words) -> int:
    """The endpoint sends the SYN or SYN+ACK ``w``."""
    ident = rows[c + C_ID]
    t = work[w + L_TIME]
    if not work[w + L_INFO] & TCP_ACK:
        if not scratch[X_STARTED]:
            scratch[X_OPENED] = OPENED_ACTIVE
            scratch[X_STATE] = ST_CLOSED
            sent(EV_SND_SYN, w, t - scratch[X_REACH], side, ident, table, out, scratch, work)
        return 0
    if not scratch[X_STARTED] or scratch[X_STATE] == ST_SYN_SENT:
        if not scratch[X_STARTED] and side == CLIENT:
            scratch[X_OPENED] = OPENED_ACTIVE
            inferred(EV_SND_SYN, w, -1, side, ident, table, out, scratch, work)
        inferred(EV_RCV_SYN, w, t - scratch[X_REACH], side, ident, table, out, scratch, work)
    return 0


def takes_unseen_fin(
    w: int, c: int, side: int, rows: Words, table: Words, out: Words, scratch: Words, work: Words
) -> int:
    """The endpoint's segment ``w`` acknowledges a FIN of its peer that the capture does not hold."""
    ident = rows[c + C_ID]
    t = work[w + L_TIME]
    scratch[X_FIN_TAKEN] = 1
    event = EV_RCV_FIN
    # A peer that was never seen may have acknowledged and closed in one segment; a pause speaks against it.
    if scratch[X_STATE] == ST_FIN_WAIT_1 and t - scratch[X_TIME] < AT_ONCE * MILLISECOND:
        event = EV_RCV_FIN_ACK_OF_FIN
    elif scratch[X_STATE] == ST_FIN_WAIT_1 and scratch[X_PEER_UNSEEN]:
        step(
            EV_RCV_ACK_OF_FIN,
            scratch[X_TIME] + 40 * MILLISECOND,
            scratch[X_TIME],
            t,
            -1,
            BASIS_INFERRED,
            work[w + L_FRAME],
            side,
            ident,
            table,
            out,
            scratch,
        )
    step(
        event,
        t - scratch[X_HALF],
        scratch[X_TIME],
        t,
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


def own_segment(
    w: int, c: int, side: int, n: int, rows: Words, timers: Words, table: Words, out: Words, scratch: Words, work: Words
) -> int:
    """The endpoint sends segment ``w``: what that proves about its state."""
    ident = rows[c + C_ID]
    flags = work[w + L_INFO] & LOG_FLAGS_MASK
    t = work[w + L_TIME]
    if flags & TCP_RST:
        return own_rst(w, c, side, rows, timers, table, out, scratch, work)
    if flags & TCP_SYN:
        return own_syn(w, c, side, rows, table, out, scratch, work)
    # a plain segment or a FIN: it is past the handshake, or still in a connection before
    if not scratch[X_STARTED] and scratch[X_SYN_PROOF] > w and work[w + L_MARKS] & M_ACK_UNSEEN:
        return 0
    if scratch[X_STATE] == ST_SYN_RECEIVED and turns_away(w, scratch, work):
        return 0
    if not scratch[X_STARTED] or scratch[X_STATE] == ST_SYN_SENT:
        if scratch[X_STARTED] or flags & TCP_ACK:
            open_inside(w, c, side, rows, table, out, scratch, work)
    elif (
        scratch[X_STATE] == ST_SYN_RECEIVED
        and (
            not rows[c + C_FLAGS] & CF_FAST_OPEN
            or (scratch[X_TURNED_AWAY] >= 0 and work[w + L_ACK] > scratch[X_OWN_ACK])  # what came meanwhile was taken
        )
        # closed before it was open, as only a simultaneous open can be
        and not (
            flags & TCP_FIN
            and scratch[X_OPENED] == OPENED_ACTIVE
            and scratch[X_PEER_ACK] < 1
            and not scratch[X_PEER_UNSEEN]
        )
    ):
        open_inside(w, c, side, rows, table, out, scratch, work)
    if w == scratch[X_PEER_UNSEEN_FIN] and not scratch[X_FIN_TAKEN]:
        takes_unseen_fin(w, c, side, rows, table, out, scratch, work)
    if w == scratch[X_FIN_PROOF] and not scratch[X_FIN_TAKEN] and not flags & TCP_SYN:
        scratch[X_FIN_TAKEN] = 1
        inferred(EV_RCV_FIN, w, scratch[X_TIME], side, ident, table, out, scratch, work)
    if flags & TCP_FIN:
        own_fin(w, c, side, ident, rows, table, out, scratch, work)
        if scratch[X_HABITS] & HABIT_FIN_STARTS_AGAIN and (
            work[w + L_MARKS] & M_FIN_AGAIN or fin_starts_again(w, c, side, n, rows, scratch, work)
        ):
            sent(EV_SND_FIN_AGAIN, w, t - scratch[X_REACH], side, ident, table, out, scratch, work)
    elif (
        scratch[X_FIN_END] >= 0
        and work[w + L_SEQ] >= scratch[X_FIN_END]
        and scratch[X_STATE] in (ST_ESTABLISHED, ST_CLOSE_WAIT)
    ):
        hidden_fin(w, side, ident, table, out, scratch, work)
    if scratch[X_STATE] == ST_TIME_WAIT and work[w + L_END_TIME] > scratch[X_SINCE]:
        scratch[X_SINCE] = work[w + L_END_TIME] - scratch[X_HALF]  # what it answers restarted 2MSL
    return 0
