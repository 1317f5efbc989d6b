"""Resets: what an RST answers, and whether it ended the connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.moves import *
from tcptrace_fsm.kernels.seen import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

# No __all__: compiled, only the replay calls this.


def answered_by_rst(w: int, side: int, n: int, scratch: Words, work: Words) -> int:
    """Whether the endpoint answers the peer's segment ``w`` by a reply RST.

    Then it knows no such connection (RFC 9293 3.5.2), unless the peer has reset it in between.
    """
    v = own_after(w, side, n, scratch, work)
    if v >= n or not work[v + L_INFO] & TCP_RST or not is_reply_rst(v, work):
        return 0
    if scratch[X_LOCAL]:
        if work[v + L_TIME] - work[w + L_TIME] > scratch[X_REACH]:
            return 0
        # One RST answers one segment: the last of those before it.
        k = v + LOG_SIZE
        if v - w > LOG_SIZE and (k >= n or not work[k + L_INFO] & TCP_RST or next_of(side, k, n, work) > k):
            return 0
    if scratch[X_NEXT_RST] < w:
        w = next_of(1 - side, w, n, work)
        while w < n and not work[w + L_INFO] & TCP_RST:
            w = next_of(1 - side, w + LOG_SIZE, n, work)
        scratch[X_NEXT_RST] = w
    return 1 if scratch[X_NEXT_RST] > v else 0


def met_nobody(w: int, side: int, n: int, scratch: Words, work: Words) -> int:
    """Whether the peer's segment ``w``, without data, draws a reply RST at once, at the endpoint's own host.

    No state that has sent a FIN answers such a segment so (RFC 9293 3.5.2): it was left some time before. But Linux
    does where its application does not want to wait in FIN_WAIT_2 (TCP_LINGER2): likelier, unless it had repeated its
    FIN.
    """
    if scratch[X_STATE] == ST_FIN_WAIT_1 and scratch[X_FINS] < 2:
        return 0
    if not scratch[X_LOCAL] or work[w + L_INFO] >> LOG_LEN_SHIFT & LOG_LEN_MASK:
        return 0
    v = w + LOG_SIZE
    if (
        v >= n
        or (work[v + L_INFO] >> LOG_SIDE_SHIFT & 1) != side
        or work[v + L_TIME] - work[w + L_TIME] > scratch[X_REACH]
    ):
        return 0
    return 1 if is_reply_rst(v, work) and work[v + L_SEQ] == work[w + L_ACK] else 0


def aborts_at(w: int, side: int, n: int, scratch: Words, work: Words) -> int:
    """Whether the peer's bare ACK ``w``, which lies beyond a FIN that is missing, makes the endpoint abort at once.

    gVisor aborts whatever its application has closed when anything comes beyond RCV.NXT, before it looks at the ACK.
    The RST acknowledges less than the segment's own number.
    """
    if work[w + L_INFO] & TCP_FIN or work[w + L_INFO] >> LOG_LEN_SHIFT & LOG_LEN_MASK:
        return 0
    v = own_after(w, side, n, scratch, work)
    if v >= n or work[v + L_INFO] & (TCP_RST | TCP_ACK) != TCP_RST | TCP_ACK:
        return 0
    if work[v + L_TIME] - work[w + L_TIME] > 2 * scratch[X_HALF] + scratch[X_SLACK]:
        return 0
    return 1 if 0 <= work[v + L_ACK] < work[w + L_SEQ] and work[v + L_SEQ] == scratch[X_FIN_END] else 0


def challenged(w: int, side: int, n: int, scratch: Words, work: Words) -> int:
    """Whether the RST ``w`` is not what the endpoint waits for next: it draws a challenge ACK (RFC 5961 section 3.2).

    That is a pure ACK right behind it which falls short of the RST, and repeats the endpoint's last.
    """
    v = own_after(w, side, n, scratch, work)
    if v >= n or work[v + L_TIME] - work[w + L_TIME] > scratch[X_REACH] or scratch[X_OWN] < 0:
        return 0
    if work[v + L_INFO] & (TCP_SYN | TCP_FIN | TCP_RST) or work[v + L_INFO] >> LOG_LEN_SHIFT & LOG_LEN_MASK:
        return 0
    return 1 if 0 <= work[v + L_ACK] < work[w + L_SEQ] and work[v + L_ACK] == work[scratch[X_OWN] + L_ACK] else 0


def shows_no_mercy(w: int, side: int, n: int, scratch: Words, work: Words) -> int:
    """Whether the RST ``w``, inside the window but not at its edge, ends the connection all the same, at the own host.

    Linux keeps requests and the FIN_WAIT_2 of a closed socket in small structures without challenge ACKs: any RST
    inside the window ends them. A socket in FIN_WAIT_2 answers by one (RFC 5961 section 3.2), unless it has just done
    so.
    """
    state = scratch[X_STATE]
    if not scratch[X_LOCAL]:
        return 0
    if state == ST_SYN_RECEIVED:
        ack = work[w + L_ACK]
        return 1 if scratch[X_OPENED] == OPENED_PASSIVE and (not work[w + L_INFO] & TCP_ACK or ack == 1) else 0
    if state != ST_FIN_WAIT_2:
        return 0
    if scratch[X_CHALLENGE] >= 0 and work[w + L_TIME] - scratch[X_CHALLENGE] < 500 * MILLISECOND:
        return 0
    v = own_after(w, side, n, scratch, work)
    return 1 if v >= n or work[v + L_TIME] - work[w + L_TIME] > scratch[X_REACH] or work[v + L_INFO] & TCP_RST else 0


def takes_rst(w: int, c: int, side: int, n: int, rows: Words, scratch: Words, work: Words) -> int:
    """Whether the peer's RST ``w`` ended the endpoint's connection: acceptable, and silence (or RSTs) ever after."""
    state = scratch[X_STATE]
    if state in (ST_CLOSED, ST_LISTEN) or (state == ST_TIME_WAIT and scratch[X_HABITS] & HABIT_KEEPS_TIME_WAIT):
        return 0
    flags = work[w + L_INFO] & LOG_FLAGS_MASK
    if state == ST_SYN_SENT:
        x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
        if not flags & TCP_ACK or work[w + L_ACK] < 1 or work[w + L_ACK] > rows[x + E_NEXT]:
            return 0
        return arrives_after(w, scratch[X_LAST_SYN], scratch, work)
    if scratch[X_HABITS] & HABIT_OBEYS_OLD_RST and work[w + L_SEQ] < scratch[X_OWN_ACK]:
        return arrives_after(w, scratch[X_LAST_ALIVE], scratch, work)
    if work[w + L_MARKS] & M_RST_OUTSIDE:
        return 0
    if work[w + L_MARKS] & M_RST_INEXACT and not shows_no_mercy(w, side, n, scratch, work):
        return 0
    if challenged(w, side, n, scratch, work):
        return 0
    if (
        scratch[X_FIN_TAKEN]
        and work[w + L_SEQ] != scratch[X_PEER_FIN_END]
        and not (work[w + L_SEQ] == scratch[X_PEER_FIN_END] - 1 and state in (ST_CLOSE_WAIT, ST_LAST_ACK, ST_CLOSING))
        and scratch[X_PEER_FIN_END] >= 0
    ):
        return 0  # RCV.NXT moves no more; one short of it, Linux lets pass in these three states
    if not scratch[X_LOCAL] and scratch[X_ASKED] >= 2:
        return 0  # what follows two keepalives or retransmissions without an answer does not arrive either
    return arrives_after(w, scratch[X_LAST_ALIVE], scratch, work)


def has_cause(w: int, scratch: Words, work: Words) -> int:
    """Whether the endpoint's RST ``w`` has the numbers of a segment which its peer has sent since it last spoke."""
    v = w - LOG_SIZE
    while v > scratch[X_OWN]:
        end = work[v + L_SEQ] + (work[v + L_INFO] >> LOG_LEN_SHIFT & LOG_LEN_MASK)
        if work[v + L_INFO] & (TCP_SYN | TCP_FIN):
            end += 1
        if work[w + L_SEQ] == work[v + L_ACK] or (work[w + L_INFO] & TCP_ACK and work[w + L_ACK] == end):
            return 1
        v -= LOG_SIZE
    return 0


def take_fin_before(w: int, side: int, ident: int, table: Words, out: Words, scratch: Words, work: Words) -> int:
    """The peer's FIN was taken before the endpoint's RST ``w`` whose overtaken ACK passes right behind it."""
    proof = scratch[X_FIN_PROOF]
    if proof <= w or scratch[X_FIN_TAKEN] or scratch[X_LOCAL] or not 0 <= scratch[X_FIN_COPY] < w:
        return 0
    if work[proof + L_TIME] > work[w + L_TIME] + 3 * MILLISECOND or work[w + L_ACK] < scratch[X_PEER_FIN_END]:
        return 0
    scratch[X_FIN_TAKEN] = 1
    return received(EV_RCV_FIN, scratch[X_FIN_COPY], proof, side, ident, table, out, scratch, work)
