"""What an endpoint's own segments prove: one look over its log before it is replayed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.outcome import *
from tcptrace_fsm.kernels.records import *
from tcptrace_fsm.kernels.seen import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels.records import Tcb

# No __all__: compiled, only the replay calls this.


def longest_round(tcb: Tcb) -> int:
    """The longest from here to the endpoint and back, of the answers that nobody delays; 0 unknown.

    Where delays vary, the least says too little. An answer in the handshake comes at once; where segments have
    overtaken each other, any answer may have taken so long.
    """
    x = end_of(tcb.row, CLIENT)
    longest = 0
    if x.syns == 1 and end_of(tcb.row, SERVER).syns == 1 and tcb.row.syn_ack_time >= 0:
        if tcb.side == SERVER and tcb.row.syn_time >= 0:
            longest = tcb.row.syn_ack_time - tcb.row.syn_time
        elif tcb.side == CLIENT and tcb.row.handshake_ack_time >= 0:
            longest = tcb.row.handshake_ack_time - tcb.row.syn_ack_time
    if tcb.row.marks & M_OUT_OF_ORDER:
        y = tcb.peer
        k = 0
        while k < 5 and k < y.rtt_count:
            longest = max(longest, y.rtt_marker[k])
            k += 1
    return longest


def quickest_rst(tcb: Tcb) -> int:
    """The quickest RST of the endpoint with the ACK of what its peer had sent once before; -1 for none.

    It comes at once, where other answers may be delayed, or get lost.
    """
    least = -1
    if not tcb.endpoint.rsts or tcb.endpoint.rsts > LOOKED_AT:
        return least
    v = next_of(tcb, tcb.side, 0)
    while v < tcb.n:
        if tcb.log[v].flags & (TCP_RST | TCP_ACK) == TCP_RST | TCP_ACK and is_real(tcb, v):
            first = -1
            u = v - 1
            while u >= 0 and u >= v - LOOKED_AT:
                end = tcb.log[u].seq + tcb.log[u].length
                if tcb.log[u].side != tcb.side and tcb.log[u].length and end == tcb.log[v].ack:
                    first = u
                u -= 1
            if first >= 0 and not tcb.log[first].marks & M_RETRANSMISSION:
                took = tcb.log[v].time - tcb.log[first].time
                least = took if least < 0 else min(least, took)
        v = next_of(tcb, tcb.side, v + 1)
    return least


def measure_way(tcb: Tcb) -> int:
    """How far it is from the capture point to the endpoint and back, and what that may be off by."""
    y = tcb.peer
    # the peer's segment to this endpoint's answer and back to the capture point
    if y.rtt_min > 0:
        tcb.half = y.rtt_min // 2
        least = quickest_rst(tcb)
        if 0 < least < y.rtt_min:
            tcb.half = least // 2
    tcb.slack = MILLISECOND + tcb.half // 2
    tcb.reach = 2 * tcb.half + tcb.slack
    tcb.reach = max(tcb.reach, longest_round(tcb) + tcb.slack)
    if y.rtt_min < 0:
        tcb.reach = ANSWER_DUE * MILLISECOND  # nothing tells how far away it is
        tcb.slack = 50 * MILLISECOND
    if tcb.row.path:
        tcb.half = tcb.row.near[tcb.side] // 2 if tcb.row.near[tcb.side] > 0 else 0
        tcb.slack = MILLISECOND + tcb.half // 2
        tcb.reach = 2 * tcb.half + tcb.slack
    if tcb.row.local & who(tcb.side):
        tcb.local = 1
        tcb.half = 0
        tcb.slack = MILLISECOND // 5  # what a segment takes from the capture's stamp to TCP
        tcb.reach = MILLISECOND
    return 0


def begin_side(tcb: Tcb) -> int:
    """Forget the endpoint before."""
    begin_anew(tcb)
    tcb.unseen = 0 if tcb.endpoint.segments else 1
    tcb.peer_unseen = 0 if tcb.peer.segments else 1
    measure_way(tcb)
    tcb.fin_end = tcb.endpoint.fin
    tcb.peer_fin_end = tcb.peer.fin
    return 0


def note_syn(tcb: Tcb, w: int) -> int:
    """The endpoint's SYN or SYN+ACK ``w``: when, and what it proves."""
    flags = tcb.log[w].flags
    t = tcb.log[w].time
    last = tcb.last_syn_ack if flags & TCP_ACK else tcb.last_syn
    tcb.syns += 1
    if last >= 0:
        tcb.syn_gap = t - last
    if flags & TCP_ACK:
        tcb.last_syn_ack = t
        if tcb.syn_proof < 0:
            tcb.syn_proof = w
            tcb.syn_ack_tsval = tcb.log[w].tsval
    else:
        tcb.last_syn = t
    return 0


def before_rst(tcb: Tcb, w: int) -> int:
    """Whether the endpoint's bare ACK or FIN ``w`` was sent before the RST that has passed, by its number: 1 or 0.

    Its number is a little lower, as those are that a host has given out just before; and the RST acknowledges as much.
    """
    r = tcb.first_rst
    if r < 0 or r >= w or tcb.log[w].ip_id < 2 or tcb.log[w].length:
        return 0
    end = tcb.log[w].seq
    if tcb.log[w].flags & TCP_FIN:
        end += 1
    same = 1 if end == tcb.log[r].seq and 0 <= tcb.log[w].ack <= tcb.log[r].ack else 0
    if not same and not tcb.log[w].marks & (M_ACK_OLD | M_ACK_AGAIN):
        return 0
    return 1 if 0 < tcb.log[r].ip_id - tcb.log[w].ip_id <= LOOKED_AT else 0


def note_own(tcb: Tcb, w: int) -> int:
    """The endpoint's segment ``w``: its last words of each kind, its first proofs."""
    flags = tcb.log[w].flags
    ack = tcb.log[w].ack
    t = tcb.log[w].time
    if flags & TCP_RST and tcb.first_rst < 0 and tcb.log[w].ip_id:
        tcb.first_rst = w
    if not flags & TCP_RST and not is_overtaken(tcb, w) and not before_rst(tcb, w):
        tcb.last_alive = tcb.log[w].end_time
    if flags & TCP_SYN and not flags & TCP_RST:
        note_syn(tcb, w)
    elif not flags & TCP_RST:
        if tcb.plain_proof < 0:
            tcb.plain_proof = w
        if ack >= 1 and tcb.syn_ack_proof < 0:
            tcb.syn_ack_proof = w
    if flags & TCP_FIN and (not tcb.fins or tcb.log[w].marks & (M_FIN_AGAIN | M_FIN_MOVED)):
        if tcb.last_fin >= 0:
            tcb.fin_gap = t - tcb.last_fin
        if not tcb.fins:
            tcb.first_fin = t
            if tcb.log[w].marks & M_OUT_OF_ORDER and ack >= tcb.peer_fin_end >= 0:
                tcb.fin_after = 1
        tcb.fins += 1
        tcb.last_fin = t
    if (
        tcb.peer_fin_end >= 0
        and ack >= tcb.peer_fin_end
        and (ack == tcb.peer_fin_end or tcb.row.marks & M_FIN_MOVED)  # nothing follows a FIN
        and not flags & TCP_RST
        and tcb.fin_proof < 0
    ):
        tcb.fin_proof = w
    if is_reply_rst(tcb, w) and tcb.fins:
        if not tcb.resets and 1 <= tcb.log[w].seq < tcb.fin_end:
            tcb.fin_unknown = t
        tcb.resets += 1
    return 0


def note_early_fin(tcb: Tcb, w: int) -> int:
    """Whether the endpoint's segment ``w``, behind the one that acknowledges the peer's FIN, is a FIN that does not.

    ACK numbers never go back: it was sent before, and held up on its way here. So it had closed before it took that.
    """
    flags = tcb.log[w].flags
    if flags & (TCP_FIN | TCP_RST | TCP_SYN) != TCP_FIN or not 0 <= tcb.log[w].ack < tcb.peer_fin_end:
        return 0
    if tcb.log[w].marks & (M_CAPTURE_DUPLICATE | M_BAD_CHECKSUM) or tcb.log[tcb.fin_proof].marks & M_FIN_OLD:
        return 0
    if tcb.fin_early < 0 and tcb.log[w].seq + tcb.log[w].length + 1 == tcb.fin_end and not tcb.local:
        tcb.fin_early = w
    return 1


def survey(tcb: Tcb) -> int:
    """One look over the log: the endpoint's last words of each kind, and its first proofs of what it received."""
    begin_side(tcb)
    # when the peer first sent what is acknowledged within 200 ms, and the first that speaks for or against it
    asked = -1
    stop = -1
    w = 0
    while w < tcb.n:
        own = 1 if tcb.log[w].side == tcb.side else 0
        flags = tcb.log[w].flags
        ack = tcb.log[w].ack
        if own and tcb.fin_proof >= 0:
            note_early_fin(tcb, w)
        if not is_real(tcb, w):
            w += 1
            continue
        if own and flags & TCP_RST and asked == -1:
            asked = -2
        if asked == -1 and not own and not flags & (TCP_SYN | TCP_RST):
            if flags & TCP_FIN or tcb.log[w].length:
                asked = tcb.log[w].time
        elif asked >= 0 and stop < 0 and (own or flags & TCP_RST):
            stop = tcb.log[w].time
        if not own and tcb.fins and ack < tcb.fin_end and tcb.log[w].marks & M_OUT_OF_ORDER:
            tcb.overtaken = w
        if own:
            note_own(tcb, w)
        w += 1
    if tcb.last_alive > tcb.fin_unknown + OVERTAKEN_WITHIN * MILLISECOND:
        tcb.fin_unknown = 0
    if tcb.local and tcb.side == SERVER and asked >= 0 and tcb.plain_proof < 0 and tcb.last_syn < 0:
        if (stop if stop >= 0 else tcb.end) > asked + ANSWER_DUE * MILLISECOND:
            tcb.overlooked = 1
    return 0


def find_syn_copy(tcb: Tcb) -> int:
    """Which copy of the peer's SYN the endpoint accepted.

    A SYN+ACK echoes the timestamp of the SYN that made the request, also when it is sent again.
    """
    proof = tcb.syn_proof
    if proof < 0:
        proof = tcb.plain_proof
    w = next_of(tcb, 1 - tcb.side, 0)
    while w < tcb.n:
        flags = tcb.log[w].flags
        if flags & TCP_SYN and not flags & (TCP_ACK | TCP_RST) and is_real(tcb, w) and tcb.log[w].seq == 0:
            if proof >= 0 and tcb.syn_copy >= 0 and (w > proof or too_soon(tcb, w, proof)):
                break
            tcb.syn_copy = w
            if proof >= 0 and tcb.log[w].tsval >= 0 and tcb.log[w].tsval == tcb.log[proof].tsecr:
                break
        w = next_of(tcb, 1 - tcb.side, w + 1)
    return 0


def find_syn_ack_copy(tcb: Tcb) -> int:
    """Which copy of the peer's SYN+ACK the endpoint accepted: the first that came after its own last SYN."""
    proof = tcb.syn_ack_proof
    w = next_of(tcb, 1 - tcb.side, 0)
    while w < tcb.n:
        flags = tcb.log[w].flags
        if (
            flags & TCP_SYN
            and flags & TCP_ACK
            and not flags & TCP_RST
            and is_real(tcb, w)
            and tcb.log[w].seq == 0
            and tcb.log[w].ack >= 1
        ):
            if proof >= 0 and w > proof and tcb.syn_ack_copy >= 0:
                break
            if arrives_after(tcb, w, tcb.last_syn):
                if tcb.syn_ack_copy < 0:
                    tcb.syn_ack_copy = w
                if proof >= 0 and tcb.log[w].tsval >= 0 and tcb.log[w].tsval == tcb.log[proof].tsecr:
                    tcb.syn_ack_copy = w
                    break
        w = next_of(tcb, 1 - tcb.side, w + 1)
    return 0
