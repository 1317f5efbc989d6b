"""Which copy of a FIN was accepted, and what filled the hole before it."""

from __future__ import annotations

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.records import *
from tcptrace_fsm.kernels.resets import *
from tcptrace_fsm.kernels.seen import *
from tcptrace_fsm.kernels.sequence import *

# No __all__: compiled, only the replay calls this.


def find_less(tcb: Tcb) -> int:
    """The endpoint's latest segment that does not acknowledge the peer's FIN, before the one that does."""
    proof = tcb.fin_proof
    end = tcb.peer_fin_end
    less = -1
    sent_at = -1
    top = -1  # its highest timestamp so far, and when that first passed
    top_at = -1
    v = next_of(tcb, tcb.side, 0)
    while v < tcb.n and (proof < 0 or v < proof):
        at = tcb.log[v].end_time
        stamp = tcb.log[v].tsval
        if stamp >= 0:
            if top < 0 or newer(stamp, top):
                top = stamp
                top_at = tcb.log[v].time
            elif at > top_at + 10 * MILLISECOND and not tcb.local:
                at = top_at + 10 * MILLISECOND  # sent by then: held up on the way
        if 0 <= tcb.log[v].ack < end and is_real(tcb, v):
            if less < 0 or at >= sent_at:
                less = v
                sent_at = at
        v = next_of(tcb, tcb.side, v + 1)
    tcb.less = less
    tcb.less_at = sent_at
    return 0


def unanswered(tcb: Tcb, w: int) -> int:
    """Whether the endpoint's numbering of packets shows that it sent no answer to the peer's FIN ``w``: 1 or 0.

    It owes one at once. What passed here after that FIN, and after another copy, follows in number what passed before.
    """
    if tcb.local:
        return 0
    due = tcb.log[w].time + 2 * tcb.half - tcb.slack
    stop = min(tcb.n, w + LOOKED_AT)  # so that it is linear altogether
    v = w - 1
    while v >= 0 and v >= w - LOOKED_AT and tcb.log[v].side != tcb.side:
        v -= 1
    if v < 0 or v < w - LOOKED_AT:
        return 0
    again = 0
    u = w + 1
    while u < stop and (tcb.log[u].side != tcb.side or tcb.log[u].time < due or 0 <= tcb.log[u].ack < tcb.peer_fin_end):
        if tcb.log[u].side == tcb.side:
            v = u
        elif tcb.log[u].flags & TCP_FIN:
            again = 1  # else no other copy can be what it answers
        u += 1
    if u >= stop or not again or tcb.log[u].flags & TCP_RST or not is_late(tcb, w, u):
        return 0
    return follows(tcb, v, u)


def is_late(tcb: Tcb, w: int, u: int) -> int:
    """Whether the endpoint's segment ``u`` comes too late for an answer to the peer's FIN ``w``: 1 or 0."""
    due = tcb.log[w].time + 2 * tcb.half + tcb.slack
    # Who has closed himself answers a FIN at once: no data are to come with which the ACK could go.
    if not tcb.habits & HABIT_STRAIGHT and not 0 < tcb.first_fin <= tcb.log[w].time + 2 * tcb.half:
        due += ANSWER_DUE * MILLISECOND
    return 1 if tcb.log[u].time > due else 0


def never_came(tcb: Tcb, w: int) -> int:
    """Whether the endpoint goes on as it would not, had the peer's FIN ``w`` arrived: 1 or 0."""
    proof = tcb.fin_proof
    less = tcb.less
    pure = 0
    if less >= 0 and not tcb.log[less].flags & (TCP_SYN | TCP_FIN | TCP_RST) and not tcb.log[less].length:
        pure = 1
    # It carries the ACK of the endpoint's own FIN: had it arrived, that FIN would not have been sent again.
    repeated = 0
    if tcb.fin_end >= 0 and tcb.log[w].ack >= tcb.fin_end and not arrives_after(tcb, w, tcb.last_fin):
        repeated = 1
    # Had it arrived, this later segment of the endpoint would have acknowledged it.
    if less >= 0 and tcb.local:
        if less > w and (pure or tcb.less_at > tcb.log[w].time + tcb.slack):
            repeated = 1
    elif less >= 0 and not arrives_after(tcb, w, tcb.less_at) and tcb.less_at > tcb.log[w].time + 5 * MILLISECOND:
        repeated = 1
    if unanswered(tcb, w):
        repeated = 1
    # Nor does it count behind a hole that nothing fills.
    if proof < 0 and tcb.local and tcb.log[w].marks & M_GAP:
        repeated = 1
    if proof < 0 and not tcb.local and met_hole(tcb, w):
        repeated = 1
    return repeated


def is_later(tcb: Tcb, w: int, proof: int) -> int:
    """Whether the endpoint sent ``proof`` before the peer's FIN ``w`` came: it bears the endpoint's own FIN once more.

    The peer's acknowledges that FIN: it would have been done.
    """
    return 1 if tcb.log[proof].flags & TCP_FIN and tcb.log[w].ack >= tcb.fin_end >= 0 else 0


def loses_answers(tcb: Tcb, w: int) -> int:
    """Whether what is lost are the endpoint's answers, by its numbering of packets before the peer's FIN ``w``: 1 or 0.

    Two or more of what it sent did not get here, one of them the ACK that opens; and nothing else was lost.
    """
    if tcb.local or tcb.plain_proof < 0 or tcb.row.marks & (M_PAWS | M_OUT_OF_ORDER | M_LOST_BEFORE):
        return 0
    if tcb.side == CLIENT and not tcb.log[tcb.plain_proof].length:
        return 0
    v = w - 1
    while v >= 0 and v >= w - LOOKED_AT and tcb.log[v].side != tcb.side:
        v -= 1
    if v < 0 or v < w - LOOKED_AT:
        return 0
    return 1 if missing_before(tcb, v) >= 2 else 0


def answers_others(tcb: Tcb, w: int, r: int) -> int:
    """Whether the endpoint's RST ``r`` does not answer the peer's FIN ``w``, which was there before: 1 or 0.

    The peer has reset the connection since; and behind that passes as much with the ACK of the FIN as there are such
    RSTs, sent before and held up on its way here.
    """
    if tcb.log[r].flags & TCP_ACK:
        return 0
    reset = 0
    others = 0
    drawn = 0
    v = w + 1
    stop = min(tcb.n, w + LOOKED_AT)
    while v < stop:
        flags = tcb.log[v].flags
        if tcb.log[v].side == tcb.side:
            drawn += 1 if flags & TCP_RST and tcb.log[v].seq == tcb.log[r].seq else 0
        elif flags & TCP_RST:
            reset += 1 if v < r else 0
        elif reset and tcb.log[v].ack == tcb.log[r].seq and tcb.log[v].time > tcb.log[w].time + tcb.slack:
            others += 1
        v += 1
    return 1 if reset and drawn and others >= drawn else 0


def presume_fin(tcb: Tcb, first: int, last: int, copies: int, gap: int) -> int:
    """Which of the copies of a FIN is presumed to have arrived, where nothing acknowledges it."""
    # Nothing acknowledges it. A reply RST answers the copy before it, so that this one met no connection; an
    # earlier copy may have. Otherwise presume that the last one arrived, unless it should have been sent once more.
    rst = next_of(tcb, tcb.side, last)
    while rst < tcb.n and not tcb.log[rst].flags & TCP_RST:
        rst = next_of(tcb, tcb.side, rst + 1)
    if rst < tcb.n and not is_reply_rst(tcb, rst) and 0 <= tcb.log[rst].ack < tcb.peer_fin_end:
        return 0  # an abort, whose ACK is RCV.NXT: without the FIN
    stop = tcb.end
    if rst < tcb.n:
        stop = tcb.log[rst].time
    if rst < tcb.n and is_reply_rst(tcb, rst) and not arrives_after(tcb, last, tcb.log[rst].time - 500 * MILLISECOND):
        rst = tcb.n
    if rst < tcb.n and is_reply_rst(tcb, rst):
        if first != last and (next_of(tcb, tcb.side, first) > last or not answered_by_rst(tcb, first)):
            tcb.fin_copy = first
        elif first == last and answers_others(tcb, first, rst):
            tcb.fin_copy = first
    elif tcb.unseen or loses_answers(tcb, first):
        tcb.fin_copy = last if tcb.unseen else first
    elif copies == 1 or (copies == 2 and stop - tcb.log[last].time < gap + gap // 2):
        if tcb.last_alive <= tcb.log[last].time + 2 * tcb.half + 500 * MILLISECOND:
            tcb.fin_copy = last
    return 0


def is_echoed_late(tcb: Tcb, first: int) -> int:
    """Whether the ACK of the peer's FIN is gVisor's, which had closed before the copy ``first`` came: 1 or 0.

    It answers at once, and echoes the timestamp that it had before. Only its TIME_WAIT echoes the one that it answers.
    """
    proof = tcb.fin_proof
    if not tcb.habits & HABIT_FIN_STARTS_AGAIN or proof < 0 or tcb.log[proof].tsval < 0:
        return 0
    if tcb.log[proof].flags & TCP_FIN or tcb.log[proof].length or not tcb.fins:
        return 0
    return arrives_after(tcb, first, tcb.first_fin)


def answer_is_missing(tcb: Tcb, first: int) -> int:
    """Whether the endpoint answered the copy ``first`` of its peer's FIN out of sight, rather than it was lost: 1 or 0.

    Its numbering of packets tells; where that does not, both are one loss. Who closes at the same moment has answered,
    and the FIN that acknowledges the endpoint's own was lost.
    """
    missing = missing_before(tcb, tcb.fin_proof)
    return 1 if missing > 0 or (missing < 0 and tcb.log[first].ack < tcb.fin_end) else 0


def acknowledged_copy(tcb: Tcb, first: int, last: int, echoed: int) -> int:
    """Which of the copies ``first`` to ``last`` of a FIN is the one that arrived, where the endpoint acknowledges it.

    ``echoed`` is the one whose timestamp that ACK bears, -1 for none.
    """
    proof = tcb.fin_proof
    chosen = last
    if first != last and is_echoed_late(tcb, first):
        return first if tcb.log[proof].tsecr == tcb.log[last].tsval else last
    # Had it come, its answer got lost: a duplicate SACK tells, or the numbers of those that send none.
    had_first = 1 if first != last and tcb.log[proof].marks & M_DSACK else 0
    if first != last and tcb.habits & HABIT_STRAIGHT and not tcb.log[proof].flags & TCP_FIN:
        if is_late(tcb, first, proof) and missing_before(tcb, proof) > 0:
            had_first = 1
    if echoed >= 0:
        chosen = echoed
        # A full socket echoes the latest copy; only the duplicate SACK tells that it had an earlier one.
        if echoed == last and had_first:
            chosen = first
    elif had_first:
        chosen = first
    elif (
        first != last
        and tcb.log[proof].tsval < 0
        and is_behind_fin(tcb, proof)
        and (tcb.first_fin > tcb.log[proof].time or answer_is_missing(tcb, first))
    ):
        # Its own FIN went before that, and did not pass here. Had it been sent of its own accord, the first copy
        # would have been lost too; if it answered that copy, one loss explains all.
        chosen = first
        tcb.fin_after = 1
    return chosen


def find_fin_copy(tcb: Tcb) -> int:
    """Which copy of the peer's FIN the endpoint accepted."""
    proof = tcb.fin_proof
    end = tcb.peer_fin_end
    if end < 0:
        return 0
    first = -1
    last = -1
    echoed = -1
    passed = -1
    copies = 0
    gap = 0
    find_less(tcb)
    w = next_of(tcb, 1 - tcb.side, 0)
    while w < tcb.n:
        flags = tcb.log[w].flags
        if flags & TCP_FIN and not flags & TCP_RST and is_taken(tcb, w):
            if proof >= 0 and last >= 0 and (w > proof or too_soon(tcb, w, proof)):
                break
            if proof >= 0 and passed >= 0 and is_later(tcb, w, proof):
                if last < 0:  # what spoke against the one before was held up on its way
                    first = passed
                    last = passed
                break
            passed = w
            copies += 1
            if not never_came(tcb, w):
                if first < 0:
                    first = w
                if last >= 0:
                    gap = tcb.log[w].time - tcb.log[last].time
                last = w
                if proof >= 0 and echoed < 0 and tcb.log[w].tsval >= 0 and tcb.log[w].tsval == tcb.log[proof].tsecr:
                    echoed = w
        elif (
            proof >= 0
            and passed >= 0
            and echoed < 0
            and tcb.log[w].tsval >= 0
            and tcb.log[w].tsval == tcb.log[proof].tsecr
        ):
            # It echoes a segment that follows the FIN in sequence, which it can have accepted only with the FIN.
            if tcb.log[w].seq >= end and is_real(tcb, w):
                if last < 0:  # what spoke against it was sent before it came, and took longer than usual
                    first = passed
                    last = passed
                echoed = last
        w = next_of(tcb, 1 - tcb.side, w + 1)
    if proof >= 0 and last < 0 and copies == 1 and not tcb.row.marks & M_ACK_UNSEEN and not tcb.local:
        # No other has passed: it came late, and what speaks against it was sent before, and held up. Behind a hole it
        # is taken only once that is filled.
        if tcb.less < 0 or tcb.log[tcb.less].ack >= tcb.log[passed].seq + tcb.log[passed].length:
            first = passed
            last = passed
    if proof >= 0:
        chosen = acknowledged_copy(tcb, first, last, echoed)
        tcb.fin_copy = chosen
        if chosen >= 0:
            find_filling(tcb, chosen, proof)
    elif last >= 0 and tcb.local:
        if not answered_by_rst(tcb, first):
            tcb.fin_copy = first
    elif last >= 0:
        presume_fin(tcb, first, last, copies, gap)
    if proof < 0 and tcb.fin_copy >= 0 and aborts_on_data(tcb, tcb.fin_copy):
        tcb.fin_copy = -1
    return 0


def aborts_on_data(tcb: Tcb, w: int) -> int:
    """Whether the endpoint, which had closed, answers the data in the peer's segment ``w`` by an RST at once.

    Nobody is there any more to read them: it aborts before it gets to the FIN (RFC 1122 section 4.2.2.13).
    """
    if not tcb.log[w].length or not 0 < tcb.first_fin <= tcb.log[w].time + 2 * tcb.half + tcb.slack:
        return 0
    v = next_of(tcb, tcb.side, w + 1)
    while v < tcb.n and tcb.log[v].time < tcb.log[w].time + 2 * tcb.half - tcb.slack:
        v = next_of(tcb, tcb.side, v + 1)
    if v < tcb.n and answers_early_rst(tcb, w, v):
        v = next_of(tcb, tcb.side, v + 1)
    if v >= tcb.n or not tcb.log[v].flags & TCP_RST or tcb.log[v].time > tcb.log[w].time + tcb.reach + tcb.slack:
        return 0
    if tcb.log[v].flags & TCP_ACK and not tcb.log[w].flags & TCP_FIN:
        end = tcb.log[w].seq + tcb.log[w].length
        fills = 1 if tcb.log[w].seq == tcb.own_ack and tcb.log[w].marks & (M_OUT_OF_ORDER | M_RETRANSMISSION) else 0
        if tcb.log[v].ack < end or (tcb.log[v].ack > end and not fills):
            return 0  # it answers others
    return 1 if tcb.log[v].seq == tcb.fin_end else 0


def met_hole(tcb: Tcb, w: int) -> int:
    """Whether the endpoint answers the peer's FIN ``w`` by its ACK of before: something that came first is missing.

    It sends a pure ACK for the second time only because of what it got (RFC 5681 section 4.2).
    """
    v = tcb.scanned  # for growing ``w`` this is linear altogether
    least = tcb.log[w].time + 2 * tcb.half - tcb.slack
    while v < tcb.n and (v < w or tcb.log[v].time < least):
        if tcb.log[v].side == tcb.side and is_real(tcb, v) and not tcb.log[v].flags & TCP_RST:
            tcb.scanned_ack = tcb.log[v].ack
        v += 1
    last = tcb.log[w].time + 2 * tcb.half + tcb.slack
    v = next_of(tcb, tcb.side, v)
    while v < tcb.n and tcb.log[v].time <= last and tcb.log[v].flags & TCP_FIN and is_real(tcb, v):
        tcb.scanned_ack = tcb.log[v].ack  # its own FIN was on its way
        v = next_of(tcb, tcb.side, v + 1)
    tcb.scanned = v
    if v >= tcb.n or tcb.log[v].time > last:
        return 0
    flags = tcb.log[v].flags
    if flags & (TCP_SYN | TCP_FIN | TCP_RST) or tcb.log[v].length or not is_real(tcb, v):
        return 0
    return 1 if 0 <= tcb.log[v].ack < tcb.log[w].seq and tcb.log[v].ack == tcb.scanned_ack else 0


def find_filling(tcb: Tcb, copy: int, proof: int) -> int:
    """Find what filled the hole before the peer's FIN ``copy``, where the endpoint first acknowledged less."""
    held = 0
    if not tcb.local and met_hole(tcb, copy):
        held = tcb.scanned
    v = next_of(tcb, tcb.side, copy)
    while v < proof and not held:
        if (
            is_real(tcb, v)
            and 0 <= tcb.log[v].ack < tcb.peer_fin_end - 1
            and not arrives_after(tcb, copy, tcb.log[v].time)
        ):
            held = v
        # A duplicate ACK right behind is an answer to the FIN itself.
        if tcb.log[v].marks & M_DUPLICATE_ACK and tcb.local:
            held = v
        v = next_of(tcb, tcb.side, v + 1)
    fills = M_OUT_OF_ORDER | M_LOST_BEFORE
    w = next_of(tcb, 1 - tcb.side, max(held, copy))
    while w < proof:
        if tcb.log[w].length and tcb.log[w].seq < tcb.peer_fin_end - 1 and is_real(tcb, w):
            # Acknowledged less before; or the hole was there when the FIN passed, and this came in time to be answered.
            if held or (tcb.log[w].marks & fills and w > copy and not too_soon(tcb, w, proof)):
                tcb.fin_fill = w
        w = next_of(tcb, 1 - tcb.side, w + 1)
    return 0
