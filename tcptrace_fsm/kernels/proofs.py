"""What an endpoint's own segments prove: one look over its log before it is replayed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.outcome import *
from tcptrace_fsm.kernels.seen import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

# No __all__: compiled, only the replay calls this.


def longest_round(c: int, side: int, rows: Words) -> int:
    """The longest from here to the endpoint and back, of the answers that nobody delays; 0 unknown.

    Where delays vary, the least says too little. An answer in the handshake comes at once; where segments have
    overtaken each other, any answer may have taken so long.
    """
    x = c + C_ENDPOINTS
    longest = 0
    if rows[x + E_SYNS] == 1 and rows[x + ENDPOINT_SIZE + E_SYNS] == 1 and rows[c + C_SYN_ACK_TIME] >= 0:
        if side == SERVER and rows[c + C_SYN_TIME] >= 0:
            longest = rows[c + C_SYN_ACK_TIME] - rows[c + C_SYN_TIME]
        elif side == CLIENT and rows[c + C_HANDSHAKE_ACK_TIME] >= 0:
            longest = rows[c + C_HANDSHAKE_ACK_TIME] - rows[c + C_SYN_ACK_TIME]
    if rows[c + C_MARKS] & M_OUT_OF_ORDER:
        y = x + (1 - side) * ENDPOINT_SIZE
        k = 0
        while k < 5 and k < rows[y + E_RTT_COUNT]:
            longest = max(longest, rows[y + E_RTT_MARKER + k])
            k += 1
    return longest


def measure_way(c: int, side: int, rows: Words, scratch: Words) -> int:
    """How far it is from the capture point to the endpoint and back, and what that may be off by."""
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    # the peer's segment to this endpoint's answer and back to the capture point
    if rows[y + E_RTT_MIN] > 0:
        scratch[X_HALF] = rows[y + E_RTT_MIN] // 2
    scratch[X_SLACK] = MILLISECOND + scratch[X_HALF] // 2
    scratch[X_REACH] = 2 * scratch[X_HALF] + scratch[X_SLACK]
    scratch[X_REACH] = max(scratch[X_REACH], longest_round(c, side, rows) + scratch[X_SLACK])
    if rows[y + E_RTT_MIN] < 0:
        scratch[X_REACH] = ANSWER_DUE * MILLISECOND  # nothing tells how far away it is
        scratch[X_SLACK] = 50 * MILLISECOND
    if rows[c + C_PATH]:
        scratch[X_HALF] = rows[c + C_NEAR + side] // 2 if rows[c + C_NEAR + side] > 0 else 0
        scratch[X_SLACK] = MILLISECOND + scratch[X_HALF] // 2
        scratch[X_REACH] = 2 * scratch[X_HALF] + scratch[X_SLACK]
    if rows[c + C_LOCAL] & who(side):
        scratch[X_LOCAL] = 1
        scratch[X_HALF] = 0
        scratch[X_SLACK] = MILLISECOND // 5  # what a segment takes from the capture's stamp to TCP
        scratch[X_REACH] = MILLISECOND
    return 0


def begin_side(c: int, side: int, rows: Words, scratch: Words) -> int:
    """Forget the endpoint before."""
    k = 0
    while k < SCRATCH_SIZE:
        if k not in (X_TOP, X_END, X_HABITS):
            scratch[k] = 0
        k += 1
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    k = X_LAST_SYN
    while k <= X_LAST_ALIVE:
        scratch[k] = -1
        k += 1
    k = X_SYN_COPY
    while k <= X_PEER_UNSEEN_FIN:
        scratch[k] = -1
        k += 1
    scratch[X_FIN_FILL] = -1
    scratch[X_OWN] = -1
    scratch[X_OWN_ACK] = -1
    scratch[X_PEER_ACK] = -1
    scratch[X_NEXT_OWN] = -1
    scratch[X_NEXT_RST] = -1
    scratch[X_SYN_ACK_TSVAL] = -1
    scratch[X_CHALLENGE] = -1
    scratch[X_SYN_ACK] = -1
    scratch[X_OWN_NEXT] = -1
    scratch[X_TURNED_AWAY] = -1
    scratch[X_UNSEEN] = 0 if rows[x + E_SEGMENTS] else 1
    scratch[X_PEER_UNSEEN] = 0 if rows[y + E_SEGMENTS] else 1
    measure_way(c, side, rows, scratch)
    scratch[X_FIN_END] = rows[x + E_FIN]
    scratch[X_PEER_FIN_END] = rows[y + E_FIN]
    return 0


def note_syn(w: int, scratch: Words, work: Words) -> int:
    """The endpoint's SYN or SYN+ACK ``w``: when, and what it proves."""
    flags = work[w + L_INFO] & LOG_FLAGS_MASK
    t = work[w + L_TIME]
    last = scratch[X_LAST_SYN_ACK] if flags & TCP_ACK else scratch[X_LAST_SYN]
    scratch[X_SYNS] += 1
    if last >= 0:
        scratch[X_SYN_GAP] = t - last
    if flags & TCP_ACK:
        scratch[X_LAST_SYN_ACK] = t
        if scratch[X_SYN_PROOF] < 0:
            scratch[X_SYN_PROOF] = w
            scratch[X_SYN_ACK_TSVAL] = work[w + L_TSVAL]
    else:
        scratch[X_LAST_SYN] = t
    return 0


def note_own(w: int, c: int, rows: Words, scratch: Words, work: Words) -> int:
    """The endpoint's segment ``w``: its last words of each kind, its first proofs."""
    flags = work[w + L_INFO] & LOG_FLAGS_MASK
    ack = work[w + L_ACK]
    t = work[w + L_TIME]
    if not flags & TCP_RST and not is_overtaken(w, work):
        scratch[X_LAST_ALIVE] = work[w + L_END_TIME]
    if flags & TCP_SYN and not flags & TCP_RST:
        note_syn(w, scratch, work)
    elif not flags & TCP_RST:
        if scratch[X_PLAIN_PROOF] < 0:
            scratch[X_PLAIN_PROOF] = w
        if ack >= 1 and scratch[X_SYN_ACK_PROOF] < 0:
            scratch[X_SYN_ACK_PROOF] = w
    if flags & TCP_FIN and (not scratch[X_FINS] or work[w + L_MARKS] & (M_FIN_AGAIN | M_FIN_MOVED)):
        if scratch[X_LAST_FIN] >= 0:
            scratch[X_FIN_GAP] = t - scratch[X_LAST_FIN]
        if not scratch[X_FINS]:
            scratch[X_FIRST_FIN] = t
            if work[w + L_MARKS] & M_OUT_OF_ORDER and ack >= scratch[X_PEER_FIN_END] >= 0:
                scratch[X_FIN_AFTER] = 1
        scratch[X_FINS] += 1
        scratch[X_LAST_FIN] = t
    if (
        scratch[X_PEER_FIN_END] >= 0
        and ack >= scratch[X_PEER_FIN_END]
        and (ack == scratch[X_PEER_FIN_END] or rows[c + C_MARKS] & M_FIN_MOVED)  # nothing follows a FIN
        and not flags & TCP_RST
        and scratch[X_FIN_PROOF] < 0
    ):
        scratch[X_FIN_PROOF] = w
    if is_reply_rst(w, work) and scratch[X_FINS]:
        if not scratch[X_RESETS] and 1 <= work[w + L_SEQ] < scratch[X_FIN_END]:
            scratch[X_FIN_UNHEARD] = t
        scratch[X_RESETS] += 1
    return 0


def survey(c: int, side: int, n: int, rows: Words, work: Words, scratch: Words) -> int:
    """One look over the log: the endpoint's last words of each kind, and its first proofs of what it received."""
    begin_side(c, side, rows, scratch)
    # when the peer first sent what is acknowledged within 200 ms, and the first that speaks for or against it
    asked = -1
    stop = -1
    w = 0
    while w < n:
        own = 1 if (work[w + L_INFO] >> LOG_SIDE_SHIFT & 1) == side else 0
        flags = work[w + L_INFO] & LOG_FLAGS_MASK
        ack = work[w + L_ACK]
        if not is_real(w, work):
            w += LOG_SIZE
            continue
        if own and flags & TCP_RST and asked == -1:
            asked = -2
        if asked == -1 and not own and not flags & (TCP_SYN | TCP_RST):
            if flags & TCP_FIN or work[w + L_INFO] >> LOG_LEN_SHIFT & LOG_LEN_MASK:
                asked = work[w + L_TIME]
        elif asked >= 0 and stop < 0 and (own or flags & TCP_RST):
            stop = work[w + L_TIME]
        if not own and scratch[X_FINS] and ack < scratch[X_FIN_END] and work[w + L_MARKS] & M_OUT_OF_ORDER:
            scratch[X_OVERTAKEN] = w
        if own:
            note_own(w, c, rows, scratch, work)
        w += LOG_SIZE
    if scratch[X_LAST_ALIVE] > scratch[X_FIN_UNHEARD] + OVERTAKEN_WITHIN * MILLISECOND:
        scratch[X_FIN_UNHEARD] = 0
    if scratch[X_LOCAL] and side == SERVER and asked >= 0 and scratch[X_PLAIN_PROOF] < 0 and scratch[X_LAST_SYN] < 0:
        if (stop if stop >= 0 else scratch[X_END]) > asked + ANSWER_DUE * MILLISECOND:
            scratch[X_OVERLOOKED] = 1
    return 0


def find_syn_copy(side: int, n: int, scratch: Words, work: Words) -> int:
    """Which copy of the peer's SYN the endpoint accepted.

    A SYN+ACK echoes the timestamp of the SYN that made the request, also when it is sent again.
    """
    proof = scratch[X_SYN_PROOF]
    if proof < 0:
        proof = scratch[X_PLAIN_PROOF]
    w = next_of(1 - side, 0, n, work)
    while w < n:
        flags = work[w + L_INFO] & LOG_FLAGS_MASK
        if flags & TCP_SYN and not flags & (TCP_ACK | TCP_RST) and is_real(w, work) and work[w + L_SEQ] == 0:
            if proof >= 0 and scratch[X_SYN_COPY] >= 0 and (w > proof or too_soon(w, proof, scratch, work)):
                break
            scratch[X_SYN_COPY] = w
            if proof >= 0 and work[w + L_TSVAL] >= 0 and work[w + L_TSVAL] == work[proof + L_TSECR]:
                break
        w = next_of(1 - side, w + LOG_SIZE, n, work)
    return 0


def find_syn_ack_copy(side: int, n: int, scratch: Words, work: Words) -> int:
    """Which copy of the peer's SYN+ACK the endpoint accepted: the first that came after its own last SYN."""
    proof = scratch[X_SYN_ACK_PROOF]
    w = next_of(1 - side, 0, n, work)
    while w < n:
        flags = work[w + L_INFO] & LOG_FLAGS_MASK
        if (
            flags & TCP_SYN
            and flags & TCP_ACK
            and not flags & TCP_RST
            and is_real(w, work)
            and work[w + L_SEQ] == 0
            and work[w + L_ACK] >= 1
        ):
            if proof >= 0 and w > proof and scratch[X_SYN_ACK_COPY] >= 0:
                break
            if arrives_after(w, scratch[X_LAST_SYN], scratch, work):
                if scratch[X_SYN_ACK_COPY] < 0:
                    scratch[X_SYN_ACK_COPY] = w
                if proof >= 0 and work[w + L_TSVAL] >= 0 and work[w + L_TSVAL] == work[proof + L_TSECR]:
                    scratch[X_SYN_ACK_COPY] = w
                    break
        w = next_of(1 - side, w + LOG_SIZE, n, work)
    return 0
