"""Which copy of a FIN was accepted, what filled the hole before it, and FINs that the capture does not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.resets import *
from tcptrace_fsm.kernels.seen import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

# No __all__: compiled, only the replay calls this.


def find_less(side: int, n: int, scratch: Words, work: Words) -> int:
    """The endpoint's latest segment that does not acknowledge the peer's FIN, before the one that does."""
    proof = scratch[X_FIN_PROOF]
    end = scratch[X_PEER_FIN_END]
    less = -1
    sent_at = -1
    top = -1  # its highest timestamp so far, and when that first passed
    top_at = -1
    v = next_of(side, 0, n, work)
    while v < n and (proof < 0 or v < proof):
        at = work[v + L_END_TIME]
        stamp = work[v + L_TSVAL]
        if stamp >= 0:
            if top < 0 or newer(stamp, top):
                top = stamp
                top_at = work[v + L_TIME]
            elif at > top_at + 10 * MILLISECOND and not scratch[X_LOCAL]:
                at = top_at + 10 * MILLISECOND  # sent by then: held up on the way
        if 0 <= work[v + L_ACK] < end and is_real(v, work):
            if less < 0 or at >= sent_at:
                less = v
                sent_at = at
        v = next_of(side, v + LOG_SIZE, n, work)
    scratch[X_LESS] = less
    scratch[X_LESS_AT] = sent_at
    return 0


def unanswered(w: int, side: int, n: int, scratch: Words, work: Words) -> int:
    """What the endpoint's numbering of packets tells of an answer to the peer's FIN ``w``, which it owes at once.

    1 there was none: the FIN did not come. -1 there may have been one that did not pass here. 0 nothing.
    """
    if scratch[X_LOCAL]:
        return 0
    due = work[w + L_TIME] + 2 * scratch[X_HALF]
    near = w - LOOKED_AT * LOG_SIZE  # so that it is linear altogether
    v = w - LOG_SIZE
    while v >= near and v >= 0 and (work[v + L_INFO] >> LOG_SIDE_SHIFT & 1) != side:
        v -= LOG_SIZE
    if v < near or v < 0:
        return 0
    near = min(n, w + LOOKED_AT * LOG_SIZE)
    u = next_of(side, w, near, work)
    while u < near and work[u + L_TIME] < due - scratch[X_SLACK]:
        v = u
        u = next_of(side, u + LOG_SIZE, near, work)
    if u >= near or work[u + L_INFO] & TCP_RST:
        return 0
    if not scratch[X_HABITS] & HABIT_STRAIGHT:
        due += ANSWER_DUE * MILLISECOND
    if work[u + L_TIME] <= due + scratch[X_SLACK]:
        return 0
    between = skipped(v, u, work)
    if not between:
        return 1
    return -1 if between > 0 else 0


def never_came(w: int, side: int, n: int, scratch: Words, work: Words) -> int:
    """Whether the endpoint goes on as it would not, had the peer's FIN ``w`` arrived: 1 or 0."""
    proof = scratch[X_FIN_PROOF]
    less = scratch[X_LESS]
    pure = 0
    if (
        less >= 0
        and not work[less + L_INFO] & (TCP_SYN | TCP_FIN | TCP_RST)
        and not work[less + L_INFO] >> LOG_LEN_SHIFT & LOG_LEN_MASK
    ):
        pure = 1
    # It carries the ACK of the endpoint's own FIN: had it arrived, that FIN would not have been sent again.
    repeated = 0
    if (
        scratch[X_FIN_END] >= 0
        and work[w + L_ACK] >= scratch[X_FIN_END]
        and not arrives_after(w, scratch[X_LAST_FIN], scratch, work)
    ):
        repeated = 1
    # Had it arrived, this later segment of the endpoint would have acknowledged it.
    if less >= 0 and scratch[X_LOCAL]:
        if less > w and (pure or scratch[X_LESS_AT] > work[w + L_TIME] + scratch[X_SLACK]):
            repeated = 1
    elif (
        less >= 0
        and not arrives_after(w, scratch[X_LESS_AT], scratch, work)
        and scratch[X_LESS_AT] > work[w + L_TIME] + 5 * MILLISECOND
    ):
        repeated = 1
    if unanswered(w, side, n, scratch, work) == 1:
        repeated = 1
    # Nor does it count behind a hole that nothing fills.
    if proof < 0 and scratch[X_LOCAL] and work[w + L_MARKS] & M_GAP:
        repeated = 1
    if proof < 0 and not scratch[X_LOCAL] and met_hole(w, side, n, scratch, work):
        repeated = 1
    return repeated


def presume_fin(first: int, last: int, copies: int, gap: int, side: int, n: int, scratch: Words, work: Words) -> int:
    """Which of the copies of a FIN is presumed to have arrived, where nothing acknowledges it."""
    # Nothing acknowledges it. A reply RST answers the copy before it, so that this one met no connection; an
    # earlier copy may have. Otherwise presume that the last one arrived, unless it should have been sent once more.
    rst = next_of(side, last, n, work)
    while rst < n and not work[rst + L_INFO] & TCP_RST:
        rst = next_of(side, rst + LOG_SIZE, n, work)
    stop = scratch[X_END]
    if rst < n:
        stop = work[rst + L_TIME]
    if (
        rst < n
        and is_reply_rst(rst, work)
        and not arrives_after(last, work[rst + L_TIME] - 500 * MILLISECOND, scratch, work)
    ):
        rst = n
    if rst < n and is_reply_rst(rst, work):
        if first != last and (
            next_of(side, first, n, work) > last or not answered_by_rst(first, side, n, scratch, work)
        ):
            scratch[X_FIN_COPY] = first
    elif scratch[X_UNSEEN]:
        scratch[X_FIN_COPY] = last
    elif copies == 1 or (copies == 2 and stop - work[last + L_TIME] < gap + gap // 2):
        if scratch[X_LAST_ALIVE] <= work[last + L_TIME] + 2 * scratch[X_HALF] + 500 * MILLISECOND:
            scratch[X_FIN_COPY] = last
    return 0


def find_fin_copy(side: int, n: int, scratch: Words, work: Words) -> int:
    """Which copy of the peer's FIN the endpoint accepted."""
    proof = scratch[X_FIN_PROOF]
    end = scratch[X_PEER_FIN_END]
    if end < 0:
        return 0
    first = -1
    last = -1
    echoed = -1
    copies = 0
    gap = 0
    find_less(side, n, scratch, work)
    w = next_of(1 - side, 0, n, work)
    while w < n:
        info = work[w + L_INFO]
        if info & TCP_FIN and not info & TCP_RST and is_taken(w, scratch, work):
            if proof >= 0 and last >= 0 and (w > proof or too_soon(w, proof, scratch, work)):
                break
            copies += 1
            if not never_came(w, side, n, scratch, work):
                if first < 0:
                    first = w
                if last >= 0:
                    gap = work[w + L_TIME] - work[last + L_TIME]
                last = w
                if proof >= 0 and echoed < 0 and work[w + L_TSVAL] >= 0 and work[w + L_TSVAL] == work[proof + L_TSECR]:
                    echoed = w
        elif (
            proof >= 0
            and last >= 0
            and echoed < 0
            and work[w + L_TSVAL] >= 0
            and work[w + L_TSVAL] == work[proof + L_TSECR]
        ):
            # It echoes a segment that follows the FIN in sequence, which it can have accepted only with the FIN.
            if work[w + L_SEQ] >= end and is_real(w, work):
                echoed = last
        w = next_of(1 - side, w + LOG_SIZE, n, work)
    if proof >= 0:
        chosen = last
        # Had it come, its answer got lost: a duplicate SACK tells, or the numbers of those that send none.
        had_first = 1 if first != last and work[proof + L_MARKS] & M_DSACK else 0
        if first != last and scratch[X_HABITS] & HABIT_STRAIGHT and not work[proof + L_INFO] & TCP_FIN:
            if unanswered(first, side, n, scratch, work) < 0:
                had_first = 1
        if echoed >= 0:
            chosen = echoed
            # A full socket echoes the latest copy; only the duplicate SACK tells that it had an earlier one.
            if echoed == last and had_first:
                chosen = first
        elif had_first:
            chosen = first
        elif first != last and work[proof + L_TSVAL] < 0 and is_behind_fin(proof, scratch, work):
            # Its own FIN went before that, and did not pass here. Had it been sent of its own accord, the first copy
            # would have been lost too; if it answered that copy, one loss explains all.
            chosen = first
            scratch[X_FIN_AFTER] = 1
        scratch[X_FIN_COPY] = chosen
        if chosen >= 0:
            find_filling(chosen, proof, side, n, scratch, work)
    elif last >= 0 and scratch[X_LOCAL]:
        if not answered_by_rst(first, side, n, scratch, work):
            scratch[X_FIN_COPY] = first
    elif last >= 0:
        presume_fin(first, last, copies, gap, side, n, scratch, work)
    return 0


def met_hole(w: int, side: int, n: int, scratch: Words, work: Words) -> int:
    """Whether the endpoint answers the peer's FIN ``w`` by its ACK of before: something that came first is missing.

    It sends a pure ACK for the second time only because of what it got (RFC 5681 section 4.2).
    """
    v = scratch[X_HEARD]  # for growing ``w`` this is linear altogether
    least = work[w + L_TIME] + 2 * scratch[X_HALF] - scratch[X_SLACK]
    while v < n and (v < w or work[v + L_TIME] < least):
        if (work[v + L_INFO] >> LOG_SIDE_SHIFT & 1) == side and is_real(v, work) and not work[v + L_INFO] & TCP_RST:
            scratch[X_HEARD_ACK] = work[v + L_ACK]
        v += LOG_SIZE
    v = next_of(side, v, n, work)
    scratch[X_HEARD] = v
    if v >= n or work[v + L_TIME] > work[w + L_TIME] + 2 * scratch[X_HALF] + scratch[X_SLACK]:
        return 0
    info = work[v + L_INFO]
    if info & (TCP_SYN | TCP_FIN | TCP_RST) or info >> LOG_LEN_SHIFT & LOG_LEN_MASK or not is_real(v, work):
        return 0
    return 1 if 0 <= work[v + L_ACK] < work[w + L_SEQ] and work[v + L_ACK] == scratch[X_HEARD_ACK] else 0


def find_filling(copy: int, proof: int, side: int, n: int, scratch: Words, work: Words) -> int:
    """Find what filled the hole before the peer's FIN ``copy``, where the endpoint first acknowledged less."""
    held = 0
    v = next_of(side, copy, n, work)
    while v < proof and not held:
        if (
            is_real(v, work)
            and 0 <= work[v + L_ACK] < scratch[X_PEER_FIN_END] - 1
            and not arrives_after(copy, work[v + L_TIME], scratch, work)
        ):
            held = v
        # A duplicate ACK right behind is an answer to the FIN itself.
        if work[v + L_MARKS] & M_DUPLICATE_ACK and scratch[X_LOCAL]:
            held = v
        v = next_of(side, v + LOG_SIZE, n, work)
    if not held:
        return 0
    w = next_of(1 - side, held, n, work)
    while w < proof:
        if work[w + L_INFO] >> LOG_LEN_SHIFT & LOG_LEN_MASK and work[w + L_SEQ] < scratch[X_PEER_FIN_END] - 1:
            if is_real(w, work):
                scratch[X_FIN_FILL] = w
        w = next_of(1 - side, w + LOG_SIZE, n, work)
    return 0


def find_unseen_fin(sender: int, n: int, c: int, rows: Words, work: Words) -> int:
    """A segment of ``sender`` that acknowledges a FIN of the other side which the capture does not hold, or -1.

    It acknowledges exactly one more than was seen, nothing was seen beyond that, and nothing was acknowledged beyond
    it.
    """
    x = c + C_ENDPOINTS + sender * ENDPOINT_SIZE
    y = c + C_ENDPOINTS + (1 - sender) * ENDPOINT_SIZE
    if rows[y + E_FIN] >= 0:
        return -1
    found = -1
    # A FIN alone may be the first of the two as well as the last.
    alone = 1 if rows[c + C_FLAGS] & CF_MIDSTREAM and rows[x + E_SEGMENTS] == rows[x + E_FINS] else 0
    if rows[y + E_SEGMENTS] == 0 and rows[x + E_FIN] >= 0 and not alone:
        # One direction only. Had the peer closed later, this side would have had to acknowledge that after its own FIN.
        w = next_of(sender, 0, n, work)
        while w < n:
            if work[w + L_INFO] & TCP_FIN:
                found = w
            elif found >= 0 and not work[w + L_INFO] & TCP_RST:
                found = -1
                break
            w = next_of(sender, w + LOG_SIZE, n, work)
        if found >= 0 and not work[found + L_MARKS] & M_FIN_AGAIN:
            return found
        found = -1
    if not rows[c + C_MARKS] & M_ACK_PLUS_ONE:
        return -1
    w = next_of(sender, 0, n, work)
    while w < n:
        if work[w + L_MARKS] & M_ACK_PLUS_ONE and work[w + L_ACK] == rows[x + E_ACK] and work[w + L_ACK] > 1:
            found = w
            break
        w = next_of(sender, w + LOG_SIZE, n, work)
    if found < 0 or rows[y + E_NEXT] > rows[x + E_ACK]:
        return -1
    v = next_of(1 - sender, found, n, work)
    while v < n:
        if (work[v + L_INFO] >> LOG_LEN_SHIFT & LOG_LEN_MASK) and work[v + L_SEQ] >= work[found + L_ACK] - 1:
            return -1  # it goes on to send data: what was acknowledged was a byte
        v = next_of(1 - sender, v + LOG_SIZE, n, work)
    return found
