"""A connection's log, replayed through the machine: who moved from what to what, when, and on what evidence.

What is decided here, and what is not. The machine's table (:mod:`tcptrace_fsm.tcp.machine`) says where an event leads;
:func:`step` is the only place that moves a state. This file decides *whether and when an event happened*: a capture
shows what passed one point, not what arrived. It sees the whole connection at once, so nothing is ever revoked:

* What an endpoint sends proves its state at that moment (``sent``).
* What it acknowledges proves what it had received by then (``acked``). Of several copies of a SYN, SYN+ACK or FIN, its
  own segments tell which one arrived: by the timestamp that it echoes (RFC 7323 section 4.3: TS.Recent is taken from
  the segment that was accepted first), by a duplicate SACK (RFC 2883), by not acknowledging it in between, by sending
  its own again.
* A pure ACK, a last ACK, an RST calls for no answer. It is ``presumed`` to have arrived unless the endpoint goes on
  to do what it would have stopped: it sends its FIN or SYN+ACK again, or talks on after the RST.
* Some changes only the clock makes (``timer``; ``learned`` where the host has shown how its clock runs), and some only
  context shows (``inferred``).

Order and time. An endpoint's own segments were sent half a round trip before they passed the capture point, its peer's
arrive half a round trip after. The two streams are merged in the endpoint's own order of events: by these local times,
but never against the evidence. A segment that acknowledges the peer's FIN comes after the FIN, one that does not comes
before it, whatever the capture's order. Each change carries the bracket within which it must lie.

At the host itself (``C_LOCAL``) there is no way to go and nothing to lose: what the capture shows arriving has arrived
(``acked``, and the very frame confirms it), what it shows leaving is sent at that moment, in the capture's order. What
is left to judge is whether TCP accepted it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *
from tcptrace_fsm.kernels.sequence import *
from tcptrace_fsm.kernels.stack import *
from tcptrace_fsm.kernels.table import *
from tcptrace_fsm.kernels.waits import is_waited_for

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

__all__ = ["collect", "interesting", "replay_due"]


# --- reading the log --------------------------------------------------------------------------------------------------


def mark_damaged_syns(c: int, side: int, rows: Words, log: Words) -> int:
    """Mark the SYNs with a wrong checksum that reached nobody, as later segments show: for the rules. Returns how many.

    Their sender sent the same with a right one; or it sent nothing else, nothing answered, and routers have passed the
    SYNs on, so that this is not what a host leaves to its network card.
    """
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    sums = rows[x + E_CHECKSUMS]
    if not sums & SUMS_BAD or not rows[x + E_SYNS]:
        return 0
    if not sums & SUMS_GOOD and (
        sums & SUMS_OFFLOADED
        or rows[x + E_SEGMENTS] > rows[x + E_SYNS]
        or rows[c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE + E_SEGMENTS]
        or first_hop(rows[x + E_TTL])
    ):
        return 0
    good = 0 if sums & SUMS_GOOD else 1
    r = rows[c + C_LOG_HEAD]
    while r >= 0 and not good:
        if log[r + L_INFO] >> LOG_SIDE_SHIFT & 1 == side and log[r + L_INFO] & TCP_SYN and log[r + L_SEQ] == 0:
            good = 1 if log[r + L_FATE] >> LOG_CHECKSUM_SHIFT & 3 == CHECKSUM_GOOD else 0
        r = log[r + L_NEXT]
    marked = 0
    r = rows[c + C_LOG_HEAD]
    while r >= 0 and good:
        if (
            log[r + L_INFO] >> LOG_SIDE_SHIFT & 1 == side
            and log[r + L_INFO] & TCP_SYN
            and log[r + L_FATE] >> LOG_CHECKSUM_SHIFT & 3 == CHECKSUM_BAD
        ):
            log[r + L_MARKS] |= M_BAD_CHECKSUM
            rows[c + C_MARKS] |= M_BAD_CHECKSUM
            marked += 1
        r = log[r + L_NEXT]
    return marked


def gather(c: int, rows: Words, log: Words, work: Words) -> int:
    """Copy the log of row ``c`` to ``work``, in order. Returns the words used."""
    r = rows[c + C_LOG_HEAD]
    w = 0
    while r >= 0:
        k = 0
        while k < LOG_SIZE:
            work[w + k] = log[r + k]
            k += 1
        w += LOG_SIZE
        r = log[r + L_NEXT]
    return w


def mark_old_fins(n: int, work: Words) -> int:
    """Mark the FINs that pass behind what acknowledges more: copies that were held up on the way.

    A repetition acknowledges all that has arrived by then.
    """
    side = 0
    while side < 2:
        top = -1
        at = -1
        w = next_of(side, 0, n, work)
        while w < n:
            info = work[w + L_INFO]
            if info & TCP_FIN and 0 <= work[w + L_ACK] < top and work[w + L_TIME] > at + 10 * MILLISECOND:
                if work[w + L_MARKS] & M_FIN_AGAIN:
                    work[w + L_MARKS] |= M_FIN_OLD
            elif work[w + L_ACK] > top and not info & TCP_RST and is_real(w, work):
                top = work[w + L_ACK]
                at = work[w + L_TIME]
            w = next_of(side, w + LOG_SIZE, n, work)
        side += 1
    return 0


def gather_at(c: int, side: int, rows: Words, log: Words, work: Words) -> int:
    """Copy to ``work`` what passed the point near one endpoint, as it passed there. Returns the words used.

    Its own segments as they left, its peer's as they arrived, without those that did not, nor what others sent in its
    name further on.
    """
    r = rows[c + C_LOG_HEAD]
    w = 0
    while r >= 0:
        fate = log[r + L_FATE] & LOG_FATE_MASK
        own = 1 if (log[r + L_INFO] >> LOG_SIDE_SHIFT & 1) == side else 0
        if (own and fate != FATE_FOREIGN) or (not own and fate != FATE_LOST):
            # Nearly in order already: move up what passes later.
            time = log[r + L_TIME] if own or log[r + L_ARRIVAL] < 0 else log[r + L_ARRIVAL]
            v = w
            while v > 0 and work[v - LOG_SIZE + L_TIME] > time:
                k = 0
                while k < LOG_SIZE:
                    work[v + k] = work[v - LOG_SIZE + k]
                    k += 1
                v -= LOG_SIZE
            k = 0
            while k < LOG_SIZE:
                work[v + k] = log[r + k]
                k += 1
            if not own and log[r + L_ARRIVAL] >= 0:
                work[v + L_TIME] = log[r + L_ARRIVAL]
                work[v + L_END_TIME] = log[r + L_END_ARRIVAL]
                if log[r + L_ARRIVAL_FRAME] >= 0:
                    work[v + L_FRAME] = log[r + L_ARRIVAL_FRAME]
            w += LOG_SIZE
        r = log[r + L_NEXT]
    return w


def next_of(side: int, w: int, n: int, work: Words) -> int:
    """The first record at or after ``w`` that ``side`` sent, or ``n``."""
    while w < n and (work[w + L_INFO] >> LOG_SIDE_SHIFT & 1) != side:
        w += LOG_SIZE
    return w


def own_after(w: int, side: int, n: int, scratch: Words, work: Words) -> int:
    """The endpoint's first segment after the peer's ``w``, or ``n``. For growing ``w`` this is linear altogether."""
    if scratch[X_NEXT_OWN] < w:
        scratch[X_NEXT_OWN] = next_of(side, w, n, work)
    return scratch[X_NEXT_OWN]


def is_real(w: int, work: Words) -> int:
    """Whether a record is the sender's own and could have arrived.

    Not a copy made by the capture, not one with a bad checksum, not a stray SYN, which is judged by what it draws.
    """
    marks = work[w + L_MARKS]
    if marks & (M_CAPTURE_DUPLICATE | M_BAD_CHECKSUM | M_STRAY_SYN | M_NETWORK_DUPLICATE | M_FIN_OLD | M_ACK_BEYOND):
        return 0
    if not work[w + L_INFO] & (TCP_SYN | TCP_RST | TCP_ACK):
        return 0  # nobody takes a segment without ACK (RFC 9293 3.10.7.4, fifth check)
    # A repetition with a timestamp older than what its sender has used since is an old duplicate: the network's,
    # not its.
    if marks & M_PAWS and marks & (M_RETRANSMISSION | M_FIN_AGAIN | M_SYN_AGAIN | M_SYN_ACK_AGAIN):
        return 0
    return 1


def is_taken(w: int, scratch: Words, work: Words) -> int:
    """Whether the peer's record ``w`` is real, and the endpoint's TCP would look at it.

    At the host itself the capture's order is that of arrival, and an old timestamp is refused (RFC 7323 section 5.3,
    R1); one that fills a hole is not old, for TS.Recent waits for it. A FIN beyond the one that counts was never in the
    window.
    """
    marks = work[w + L_MARKS]
    if not is_real(w, work):
        return 0
    if scratch[X_LOCAL] and marks & M_PAWS and not marks & (M_OUT_OF_ORDER | M_LOST_BEFORE):
        return 0
    info = work[w + L_INFO]
    if info & TCP_FIN and marks & M_OUT_OF_WINDOW and scratch[X_PEER_FIN_END] >= 0:
        return 1 if work[w + L_SEQ] + (info >> LOG_LEN_SHIFT & LOG_LEN_MASK) < scratch[X_PEER_FIN_END] else 0
    return 1


def is_overtaken(w: int, work: Words) -> int:
    """Whether a record is a bare ACK that passed behind what its sender sent later, by its timestamp: 1 or 0."""
    info = work[w + L_INFO]
    if info & (TCP_SYN | TCP_FIN | TCP_RST) or info >> LOG_LEN_SHIFT & LOG_LEN_MASK:
        return 0
    return 1 if work[w + L_MARKS] & M_PAWS and work[w + L_MARKS] & (M_ACK_OLD | M_ACK_AGAIN | M_DUPLICATE_ACK) else 0


def is_reply_rst(w: int, work: Words) -> int:
    """Whether a record is an RST that says: there is no such connection (see ``is_reply`` of the tracker): 1 or 0."""
    if work[w + L_MARKS] & M_REPLY_RST:
        return 1
    return 1 if work[w + L_INFO] & (TCP_RST | TCP_ACK) == TCP_RST else 0


# --- moving -----------------------------------------------------------------------------------------------------------


def step(
    event: int,
    time: int,
    earliest: int,
    latest: int,
    frame: int,
    basis: int,
    confirmed: int,
    side: int,
    ident: int,
    table: Words,
    out: Words,
    scratch: Words,
) -> int:
    """Give the endpoint one event. The one place where a state is assigned. Returns 1 if it moved, else 0."""
    state = scratch[X_STATE]
    target = table[(scratch[X_OPENED] * STATES + state) * EVENTS + event]
    if target == state:
        return 0
    if latest < earliest:
        latest = earliest
    if time > scratch[X_END]:
        time = scratch[X_END]  # what was under way when the capture ended is told as of then
    if time > latest:
        time = latest
    if time < earliest:
        time = earliest
    if time < scratch[X_TIME]:
        time = scratch[X_TIME]
    if latest < time:
        latest = time
    t = scratch[X_TOP]
    out[t + T_CONNECTION] = ident
    out[t + T_SIDE] = side
    out[t + T_TIME] = time
    out[t + T_EARLIEST] = earliest
    out[t + T_LATEST] = latest
    out[t + T_FRAME] = frame
    out[t + T_FROM] = state
    out[t + T_TO] = target
    out[t + T_EVENT] = event
    out[t + T_BASIS] = basis
    out[t + T_CONFIRMED_BY] = confirmed
    scratch[X_TOP] = t + TRANSITION_SIZE
    scratch[X_STATE] = target
    scratch[X_STARTED] = 1
    scratch[X_TIME] = time
    scratch[X_EARLIEST] = earliest
    scratch[X_SINCE] = time
    scratch[X_BASIS] = basis
    scratch[X_SAW] |= bit(target)
    return 1


def sent(
    event: int, w: int, earliest: int, side: int, ident: int, table: Words, out: Words, scratch: Words, work: Words
) -> int:
    """An event that the endpoint's own segment ``w`` shows."""
    t = work[w + L_TIME]
    return step(
        event, t - scratch[X_HALF], earliest, t, work[w + L_FRAME], BASIS_SENT, -1, side, ident, table, out, scratch
    )


def received(
    event: int, w: int, proof: int, side: int, ident: int, table: Words, out: Words, scratch: Words, work: Words
) -> int:
    """An event that the peer's segment ``w`` caused: proved by the own segment ``proof``, or presumed (-1)."""
    t = work[w + L_TIME]
    if scratch[X_LOCAL] and not (event == EV_RCV_RST and scratch[X_STATE] == ST_TIME_WAIT):  # some obey no RST there
        latest = work[proof + L_TIME] if proof >= 0 else t + scratch[X_REACH]
        confirmed = work[proof + L_FRAME] if proof >= 0 else work[w + L_FRAME]
        return step(event, t, t, latest, work[w + L_FRAME], BASIS_ACKED, confirmed, side, ident, table, out, scratch)
    if proof >= 0:
        # A SYN, and a FIN that ends the connection, are answered at once: the answer dates the arrival best.
        arrival = t + scratch[X_HALF]
        answer = work[proof + L_TIME] - scratch[X_HALF]
        if (
            answer > arrival
            and answer - arrival < AT_ONCE * MILLISECOND
            and event != EV_RCV_ACK_OF_SYN
            and (event != EV_RCV_FIN or scratch[X_STATE] != ST_ESTABLISHED)
        ):
            arrival = answer
        return step(
            event,
            arrival,
            t,
            work[proof + L_TIME],
            work[w + L_FRAME],
            BASIS_ACKED,
            work[proof + L_FRAME],
            side,
            ident,
            table,
            out,
            scratch,
        )
    latest = t + scratch[X_HALF] + scratch[X_REACH]
    return step(
        event, t + scratch[X_HALF], t, latest, work[w + L_FRAME], BASIS_PRESUMED, -1, side, ident, table, out, scratch
    )


def inferred(
    event: int, w: int, earliest: int, side: int, ident: int, table: Words, out: Words, scratch: Words, work: Words
) -> int:
    """An event without a segment of its own in the capture; segment ``w`` makes us conclude it."""
    t = work[w + L_TIME]
    return step(
        event, t - scratch[X_HALF], earliest, t, work[w + L_FRAME], BASIS_INFERRED, -1, side, ident, table, out, scratch
    )


# --- what the endpoint's own segments prove -------------------------------------------------------------------------


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


def survey(c: int, side: int, n: int, rows: Words, work: Words, scratch: Words) -> int:
    """One look over the log: the endpoint's last words of each kind, and its first proofs of what it received."""
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
    scratch[X_FIN_END] = rows[x + E_FIN]
    scratch[X_PEER_FIN_END] = rows[y + E_FIN]
    # when the peer first sent what is acknowledged within 200 ms, and the first that speaks for or against it
    asked = -1
    stop = -1
    resets = 0
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
            t = work[w + L_TIME]
            if not flags & TCP_RST and not is_overtaken(w, work):
                scratch[X_LAST_ALIVE] = work[w + L_END_TIME]
            if flags & TCP_SYN and not flags & TCP_RST:
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
                if not resets and 1 <= work[w + L_SEQ] < scratch[X_FIN_END]:
                    scratch[X_FIN_UNHEARD] = t
                resets += 1
        w += LOG_SIZE
    if scratch[X_LAST_ALIVE] > scratch[X_FIN_UNHEARD] + OVERTAKEN_WITHIN * MILLISECOND:
        scratch[X_FIN_UNHEARD] = 0
    if scratch[X_LOCAL] and side == SERVER and asked >= 0 and scratch[X_PLAIN_PROOF] < 0 and scratch[X_LAST_SYN] < 0:
        if (stop if stop >= 0 else scratch[X_END]) > asked + ANSWER_DUE * MILLISECOND:
            scratch[X_OVERLOOKED] = 1
    return 0


def arrives_after(w: int, moment: int, scratch: Words, work: Words) -> int:
    """Whether the peer's segment ``w`` reached the endpoint after what it sent at capture time ``moment``: 1 or 0.

    The segment needs half a round trip to get there, what was sent needed half a round trip to get here.
    """
    return 1 if work[w + L_TIME] + 2 * scratch[X_HALF] + scratch[X_SLACK] >= moment else 0


def arrived(w: int, repeated: int, gap: int, scratch: Words, work: Words) -> int:
    """Whether to presume that the ACK in the peer's segment ``w`` arrived.

    The endpoint last repeated what it acknowledges at capture time ``repeated``, ``gap`` after the time before. Not
    before that; and where three such ACKs in a row have been lost, only if it should have repeated itself once more and
    did not.
    """
    if not arrives_after(w, repeated, scratch, work):
        scratch[X_DENIED] += 1
        return 0
    if scratch[X_LOCAL]:
        return 1
    return 1 if scratch[X_DENIED] < 3 or scratch[X_END] > repeated + 2 * gap + gap // 4 else 0


def too_soon(w: int, proof: int, scratch: Words, work: Words) -> int:
    """Whether the endpoint's segment ``proof`` passed here sooner than an answer to ``w`` can have come: 1 or 0."""
    if scratch[X_LOCAL]:
        return 0
    return 1 if work[proof + L_TIME] < work[w + L_TIME] + 2 * scratch[X_HALF] - scratch[X_SLACK] else 0


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
    # the endpoint's latest segment that does not acknowledge it, before the one that does
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
    pure = 0
    if (
        less >= 0
        and not work[less + L_INFO] & (TCP_SYN | TCP_FIN | TCP_RST)
        and not work[less + L_INFO] >> LOG_LEN_SHIFT & LOG_LEN_MASK
    ):
        pure = 1
    w = next_of(1 - side, 0, n, work)
    while w < n:
        info = work[w + L_INFO]
        if info & TCP_FIN and not info & TCP_RST and is_taken(w, scratch, work):
            if proof >= 0 and last >= 0 and (w > proof or too_soon(w, proof, scratch, work)):
                break
            copies += 1
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
                if less > w and (pure or sent_at > work[w + L_TIME] + scratch[X_SLACK]):
                    repeated = 1
            elif (
                less >= 0
                and not arrives_after(w, sent_at, scratch, work)
                and sent_at > work[w + L_TIME] + 5 * MILLISECOND
            ):
                repeated = 1
            # Nor does it count behind a hole that nothing fills.
            if proof < 0 and scratch[X_LOCAL] and work[w + L_MARKS] & M_GAP:
                repeated = 1
            if proof < 0 and not scratch[X_LOCAL] and met_hole(w, side, n, scratch, work):
                repeated = 1
            if not repeated:
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
        if echoed >= 0:
            chosen = echoed
            # A full socket echoes the latest copy; only the duplicate SACK tells that it had an earlier one.
            if echoed == last and first != last and work[proof + L_MARKS] & M_DSACK:
                chosen = first
        elif work[proof + L_MARKS] & M_DSACK:
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


def is_behind_fin(w: int, scratch: Words, work: Words) -> int:
    """Whether the endpoint's segment ``w`` counts its own FIN as sent before: 1 or 0."""
    if scratch[X_FIN_END] < 0 or work[w + L_INFO] & TCP_FIN:
        return 0
    return 1 if work[w + L_SEQ] >= scratch[X_FIN_END] else 0


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


# --- one segment, seen by one endpoint ------------------------------------------------------------------------------


def open_inside(w: int, c: int, side: int, rows: Words, table: Words, out: Words, scratch: Words, work: Words) -> int:
    """The endpoint is established, and the capture does not show how: conclude the usual way there."""
    ident = rows[c + C_ID]
    if scratch[X_STATE] in (ST_CLOSED, ST_LISTEN):
        if side == CLIENT:
            scratch[X_OPENED] = OPENED_ACTIVE
            inferred(EV_SND_SYN, w, -1, side, ident, table, out, scratch, work)
        else:
            inferred(EV_RCV_SYN, w, -1, side, ident, table, out, scratch, work)
    if scratch[X_STATE] == ST_SYN_SENT:
        inferred(EV_RCV_SYN_ACK, w, -1, side, ident, table, out, scratch, work)
    elif scratch[X_STATE] == ST_SYN_RECEIVED:
        inferred(EV_RCV_ACK_OF_SYN, w, -1, side, ident, table, out, scratch, work)
    return 0


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


def take_fin_before(w: int, side: int, ident: int, table: Words, out: Words, scratch: Words, work: Words) -> int:
    """The peer's FIN was taken before the endpoint's RST ``w`` whose overtaken ACK passes right behind it."""
    proof = scratch[X_FIN_PROOF]
    if proof <= w or scratch[X_FIN_TAKEN] or scratch[X_LOCAL] or not 0 <= scratch[X_FIN_COPY] < w:
        return 0
    if work[proof + L_TIME] > work[w + L_TIME] + 3 * MILLISECOND or work[w + L_ACK] < scratch[X_PEER_FIN_END]:
        return 0
    scratch[X_FIN_TAKEN] = 1
    return received(EV_RCV_FIN, scratch[X_FIN_COPY], proof, side, ident, table, out, scratch, work)


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


def own_segment(
    w: int, c: int, side: int, rows: Words, timers: Words, table: Words, out: Words, scratch: Words, work: Words
) -> int:
    """The endpoint sends segment ``w``: what that proves about its state."""
    ident = rows[c + C_ID]
    flags = work[w + L_INFO] & LOG_FLAGS_MASK
    t = work[w + L_TIME]
    slack = scratch[X_REACH]
    if flags & TCP_RST:
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
        if not is_reply_rst(w, work) or state in (ST_SYN_SENT, ST_SYN_RECEIVED):
            return sent(EV_SND_RST, w, t - slack, side, ident, table, out, scratch, work)
        if state == ST_TIME_WAIT and not scratch[X_PEER_UNSEEN] and not has_cause(w, scratch, work):
            return 0  # TIME_WAIT sends nothing of its own accord: somebody else did
        # It answers a segment to a connection that is no more (RFC 9293 3.5.2, group 1).
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
    if flags & TCP_SYN and not flags & TCP_ACK:
        if not scratch[X_STARTED]:
            scratch[X_OPENED] = OPENED_ACTIVE
            scratch[X_STATE] = ST_CLOSED
            sent(EV_SND_SYN, w, t - slack, side, ident, table, out, scratch, work)
        return 0
    if flags & TCP_SYN:
        if not scratch[X_STARTED] or scratch[X_STATE] == ST_SYN_SENT:
            if not scratch[X_STARTED] and side == CLIENT:
                scratch[X_OPENED] = OPENED_ACTIVE
                inferred(EV_SND_SYN, w, -1, side, ident, table, out, scratch, work)
            inferred(EV_RCV_SYN, w, t - slack, side, ident, table, out, scratch, work)
        return 0
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
    if w == scratch[X_FIN_PROOF] and not scratch[X_FIN_TAKEN] and not flags & TCP_SYN:
        scratch[X_FIN_TAKEN] = 1
        inferred(EV_RCV_FIN, w, scratch[X_TIME], side, ident, table, out, scratch, work)
    if flags & TCP_FIN:
        own_fin(w, c, side, ident, rows, table, out, scratch, work)
        again = 1 if work[w + L_MARKS] & M_FIN_AGAIN else fin_sent_before(w, c, rows, scratch, work)
        if again and scratch[X_HABITS] & HABIT_FIN_STARTS_AGAIN:
            sent(EV_SND_FIN_AGAIN, w, t - slack, side, ident, table, out, scratch, work)
    elif (
        scratch[X_FIN_END] >= 0
        and work[w + L_SEQ] >= scratch[X_FIN_END]
        and scratch[X_STATE] in (ST_ESTABLISHED, ST_CLOSE_WAIT)
    ):
        hidden_fin(w, side, ident, table, out, scratch, work)
    if scratch[X_STATE] == ST_TIME_WAIT and work[w + L_END_TIME] > scratch[X_SINCE]:
        scratch[X_SINCE] = work[w + L_END_TIME] - scratch[X_HALF]  # what it answers restarted 2MSL
    return 0


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
        or 200 * MILLISECOND <= waited <= 220 * MILLISECOND + 4 * scratch[X_HALF]
    ):
        return 0
    v = next_of(1 - side, w + LOG_SIZE, n, work)
    overtaken = 1 if v < n and work[v + L_SEQ] == work[w + L_SEQ] and not work[v + L_INFO] & TCP_FIN else 0
    return 1 - overtaken


def peer_segment(
    w: int, c: int, side: int, n: int, rows: Words, timers: Words, table: Words, out: Words, scratch: Words, work: Words
) -> int:
    """The peer's segment ``w`` arrives, if it does: what it does to the endpoint."""
    ident = rows[c + C_ID]
    flags = work[w + L_INFO] & LOG_FLAGS_MASK
    ack = work[w + L_ACK]
    if flags & TCP_RST:
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
    if flags & TCP_SYN and not flags & TCP_ACK:
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
    if flags & TCP_SYN and scratch[X_STARTED] and scratch[X_STATE] not in (ST_SYN_SENT, ST_SYN_RECEIVED):
        return 0  # a SYN in a synchronized state: nothing else of it is looked at (RFC 5961 section 4.2)
    if of_unsent(w, side, n, scratch, work):
        scratch[X_TURNED_AWAY] = work[w + L_TIME]
        return 0
    if scratch[X_STATE] == ST_SYN_SENT or (flags & TCP_SYN and not scratch[X_STARTED]):
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
    if (
        scratch[X_STATE] == ST_SYN_RECEIVED
        and ack >= 1
        and arrived(w, scratch[X_LAST_SYN_ACK], scratch[X_SYN_GAP], scratch, work)
        and (
            (scratch[X_PLAIN_PROOF] >= 0 and not work[w + L_MARKS] & M_ACK_UNSEEN)
            or not answered_by_rst(w, side, n, scratch, work)
        )
    ):
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
    fin_at = scratch[X_FIN_FILL] if scratch[X_FIN_FILL] >= 0 else scratch[X_FIN_COPY]
    takes_fin = 1 if w == fin_at and not scratch[X_FIN_TAKEN] else 0
    acked_fin = 0
    # a copy of the FIN that did not arrive: nor did its ACK
    lost = 1 if flags & TCP_FIN and w < scratch[X_FIN_COPY] and not scratch[X_LOCAL] else 0
    if (
        not lost
        and scratch[X_FIN_END] >= 0
        and ack >= scratch[X_FIN_END]
        and (ack == scratch[X_FIN_END] or rows[c + C_MARKS] & M_FIN_MOVED)  # nothing can follow a FIN
        and scratch[X_STATE] in (ST_FIN_WAIT_1, ST_CLOSING, ST_LAST_ACK)
    ):
        if met_nobody(w, side, n, scratch, work):
            return 0
        if (
            scratch[X_FIN_UNHEARD]
            and scratch[X_STATE] == ST_FIN_WAIT_1
            and not scratch[X_LOCAL]
            and not work[w + L_MARKS] & M_GAP
            and scratch[X_OVERTAKEN] < w
        ):
            return 0  # what its peer had sent before that came first, and ended it
        if scratch[X_STATE] == ST_FIN_WAIT_1 and aborts_at(w, side, n, scratch, work):
            return 0
        acked_fin = arrived(w, scratch[X_LAST_FIN], scratch[X_FIN_GAP], scratch, work)
    if scratch[X_SYN_ACK_PROOF] < 0 and not scratch[X_STARTED]:
        takes_fin = 0
    if takes_fin:
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
    if w == scratch[X_UNSEEN_FIN]:
        step(
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
        if takes_fin:
            received(EV_RCV_FIN, w, scratch[X_FIN_PROOF], side, ident, table, out, scratch, work)
        return 0
    if takes_fin and acked_fin and scratch[X_STATE] == ST_FIN_WAIT_1:
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
    if acked_fin:
        received(EV_RCV_ACK_OF_FIN, w, -1, side, ident, table, out, scratch, work)
    if takes_fin:
        received(EV_RCV_FIN, w, scratch[X_FIN_PROOF], side, ident, table, out, scratch, work)
    return 0


def repeats(i: int, scratch: Words, work: Words) -> int:
    """Whether the endpoint's segment ``i`` is a pure ACK of what its latest one acknowledged already."""
    info = work[i + L_INFO]
    if info & (TCP_SYN | TCP_FIN | TCP_RST) or info >> LOG_LEN_SHIFT & LOG_LEN_MASK or scratch[X_OWN] < 0:
        return 0
    return 1 if work[i + L_ACK] == work[scratch[X_OWN] + L_ACK] else 0


def own_first(i: int, j: int, scratch: Words, work: Words) -> int:
    """Whether the endpoint sent its segment ``i`` before the peer's segment ``j`` arrived: 1 or 0."""
    flags = work[j + L_INFO] & LOG_FLAGS_MASK
    proof = -1
    if scratch[X_LOCAL]:
        return 1 if i < j else 0
    if j == scratch[X_SYN_COPY] and flags & TCP_SYN:
        proof = scratch[X_SYN_PROOF]
    elif j == scratch[X_SYN_ACK_COPY] and flags & TCP_SYN:
        proof = scratch[X_SYN_ACK_PROOF]
    elif j == scratch[X_FIN_COPY] and flags & TCP_FIN and scratch[X_FIN_FILL] < 0:
        proof = scratch[X_FIN_PROOF]
    if proof >= 0:
        return 1 if i < proof else 0
    if j < i and is_reply_rst(i, work) and work[i + L_SEQ] == work[j + L_ACK]:
        return 0  # it answers that very segment
    return 1 if work[i + L_TIME] - scratch[X_HALF] < work[j + L_TIME] + scratch[X_HALF] else 0


# --- one endpoint ---------------------------------------------------------------------------------------------------


def run_2msl(t: int, side: int, ident: int, timers: Words, table: Words, out: Words, scratch: Words) -> int:
    """Let TIME_WAIT end if it must have ended before ``t`` and the endpoint gives no sign of life after."""
    since = scratch[X_SINCE]
    if (
        scratch[X_STATE] == ST_TIME_WAIT
        and t > since + timers[scratch[X_TIMERS] + P_TIME_WAIT_MOST]
        and scratch[X_LAST_ALIVE] < t
    ):
        step(
            EV_TIMEOUT_2MSL,
            since + timers[scratch[X_TIMERS] + P_TIME_WAIT_USUAL],
            since + timers[scratch[X_TIMERS] + P_TIME_WAIT_LEAST],
            since + timers[scratch[X_TIMERS] + P_TIME_WAIT_MOST],
            -1,
            timers[scratch[X_TIMERS] + P_TIME_WAIT_BASIS],
            -1,
            side,
            ident,
            table,
            out,
            scratch,
        )
    return 0


def give_up(last: int, gap: int, side: int, ident: int, table: Words, out: Words, scratch: Words) -> int:
    """An endpoint that repeated itself at ``last``, ``gap`` after the time before, and then no more.

    It gave up when its timer ran out once more, one to two gaps later (RFC 6298 section 5.5, RFC 9293 3.8.3).
    """
    if scratch[X_END] > last + 2 * gap + gap // 4 + 200 * MILLISECOND:
        step(
            EV_TIMEOUT_RETRANSMISSION,
            last + 2 * gap,
            last + gap - scratch[X_SLACK],
            last + 2 * gap + gap // 4 + 200 * MILLISECOND,
            -1,
            BASIS_TIMER,
            -1,
            side,
            ident,
            table,
            out,
            scratch,
        )
    return 0


def taken_over(c: int, side: int, rows: Words) -> int:
    """When a new incarnation took the endpoint's place: as it sent the SYN, or answered it; -1 where none did."""
    if rows[c + C_TAKEN_OVER] >= 0 and rows[c + C_TAKEN_BY] == side:
        x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
        copied = 1 if rows[x + E_BASE_KNOWN] == BASE_SYN and rows[c + C_TAKEN_SEQ] == 0 else 0
        # The same SYN once more is a copy that came late: who sent it knows nothing of it.
        return -1 if copied and rows[c + C_TAKEN_TSVAL] == rows[x + E_SYN_TSVAL] else rows[c + C_TAKEN_OVER]
    if rows[c + C_TAKEN_OVER] < 0:
        return -1
    # A host that knows a connection answers a SYN in it by ACK (RFC 5961 section 4.2): an RST shows that it is gone.
    return rows[c + C_ACCEPTED] if rows[c + C_ACCEPTED] >= 0 else rows[c + C_REFUSED]


def run_out(c: int, side: int, rows: Words, timers: Words, table: Words, out: Words, scratch: Words) -> int:
    """What happens to the endpoint after the last segment, up to the end of capture or incarnation: timers."""
    ident = rows[c + C_ID]
    state = scratch[X_STATE]
    end = scratch[X_END]
    since = scratch[X_SINCE]
    if state == ST_TIME_WAIT and end > since + timers[scratch[X_TIMERS] + P_TIME_WAIT_USUAL]:
        step(
            EV_TIMEOUT_2MSL,
            since + timers[scratch[X_TIMERS] + P_TIME_WAIT_USUAL],
            since + timers[scratch[X_TIMERS] + P_TIME_WAIT_LEAST],
            since + timers[scratch[X_TIMERS] + P_TIME_WAIT_MOST],
            -1,
            timers[scratch[X_TIMERS] + P_TIME_WAIT_BASIS],
            -1,
            side,
            ident,
            table,
            out,
            scratch,
        )
    elif state in (ST_SYN_SENT, ST_SYN_RECEIVED) and scratch[X_SYNS] > 1:
        last = scratch[X_LAST_SYN] if state == ST_SYN_SENT else scratch[X_LAST_SYN_ACK]
        give_up(last, scratch[X_SYN_GAP], side, ident, table, out, scratch)
    elif state in (ST_FIN_WAIT_1, ST_CLOSING, ST_LAST_ACK):
        last = scratch[X_LAST_FIN]
        if scratch[X_FINS] > 1:
            give_up(last, scratch[X_FIN_GAP], side, ident, table, out, scratch)
        elif state == ST_LAST_ACK and (
            scratch[X_PEER_UNSEEN]
            or end > last + 50 * MILLISECOND + timers[scratch[X_TIMERS] + P_PATIENCE] + 10 * scratch[X_HALF]
        ):
            # Neither acknowledged nor repeated when its timer must have run out: the ACK passed out of sight.
            step(
                EV_RCV_ACK_OF_FIN,
                last + MILLISECOND + scratch[X_HALF],
                last,
                last + 1000 * MILLISECOND,
                -1,
                BASIS_INFERRED,
                -1,
                side,
                ident,
                table,
                out,
                scratch,
            )
    taken = taken_over(c, side, rows)
    if taken >= 0 and scratch[X_STARTED]:
        refused = 1 if rows[c + C_TAKEN_BY] != side and rows[c + C_ACCEPTED] < 0 else 0
        step(
            EV_GONE if refused else EV_REUSED,
            taken,
            scratch[X_TIME],
            taken,
            -1,
            BASIS_INFERRED,
            -1,
            side,
            ident,
            table,
            out,
            scratch,
        )
    return 0


def replay_side(
    c: int,
    side: int,
    host: int,
    n: int,
    now: int,
    rows: Words,
    timers: Words,
    table: Words,
    out: Words,
    scratch: Words,
    work: Words,
) -> int:
    """Walk one endpoint through the machine, in its own order of events.

    Its host's timers begin at word ``host`` of ``timers``.
    """
    ident = rows[c + C_ID]
    scratch[X_END] = now
    if taken_over(c, side, rows) >= 0:
        scratch[X_END] = taken_over(c, side, rows)
    survey(c, side, n, rows, work, scratch)
    scratch[X_TIMERS] = host
    find_syn_copy(side, n, scratch, work)
    find_syn_ack_copy(side, n, scratch, work)
    find_fin_copy(side, n, scratch, work)
    scratch[X_UNSEEN_FIN] = find_unseen_fin(1 - side, n, c, rows, work)
    scratch[X_PEER_UNSEEN_FIN] = find_unseen_fin(side, n, c, rows, work)
    scratch[X_OPENED] = OPENED_ACTIVE if side == CLIENT else OPENED_PASSIVE
    scratch[X_STATE] = ST_CLOSED if side == CLIENT else ST_LISTEN
    scratch[X_BASIS] = BASIS_INFERRED
    if rows[c + C_FLAGS] & CF_MIDSTREAM and n:
        spoke = 1 if scratch[X_LAST_ALIVE] >= 0 or scratch[X_UNSEEN] else 0
        if spoke and work[L_ACK] >= 0 and not work[L_INFO] & (TCP_SYN | TCP_RST):
            open_inside(0, c, side, rows, table, out, scratch, work)
    asks = M_KEEPALIVE | M_ZERO_WINDOW_PROBE | M_TIMEOUT | M_FIN_AGAIN
    scratch[X_NEXT_OWN] = -1  # the copies were looked for out of order
    scratch[X_NEXT_RST] = -1
    i = next_of(side, 0, n, work)
    j = next_of(1 - side, 0, n, work)
    while i < n or j < n:
        if j >= n or (i < n and own_first(i, j, scratch, work)):
            scratch[X_ASKED] = 0
            if is_real(i, work):
                run_2msl(work[i + L_TIME], side, ident, timers, table, out, scratch)
                own_segment(i, c, side, rows, timers, table, out, scratch, work)
                if work[i + L_INFO] & (TCP_SYN | TCP_ACK) == TCP_SYN | TCP_ACK:
                    scratch[X_SYN_ACK] = i
                elif repeats(i, scratch, work):
                    scratch[X_CHALLENGE] = work[i + L_TIME]
                scratch[X_OWN] = i
                end = work[i + L_SEQ] + (work[i + L_INFO] >> LOG_LEN_SHIFT & LOG_LEN_MASK)
                if work[i + L_INFO] & (TCP_SYN | TCP_FIN):
                    end += 1
                if end > scratch[X_OWN_NEXT] and not work[i + L_INFO] & TCP_RST:
                    scratch[X_OWN_NEXT] = end
                if (
                    work[i + L_ACK] > scratch[X_OWN_ACK]
                    and not work[i + L_INFO] & TCP_RST
                    and not 0 <= scratch[X_PEER_FIN_END] < work[i + L_ACK]  # it was not its own
                ):
                    scratch[X_OWN_ACK] = work[i + L_ACK]
            i = next_of(side, i + LOG_SIZE, n, work)
        else:
            if (
                work[j + L_WINDOW] == 0
                and not work[j + L_INFO] & TCP_RST
                and work[j + L_TIME] == rows[c + C_ENDPOINTS + side * ENDPOINT_SIZE + E_BUSY_SINCE]
            ):
                scratch[X_SHUT] = 1
            if is_taken(j, scratch, work):
                run_2msl(work[j + L_TIME], side, ident, timers, table, out, scratch)
                peer_segment(j, c, side, n, rows, timers, table, out, scratch, work)
            else:
                scratch[X_TURNED_AWAY] = work[j + L_TIME]
            if work[j + L_MARKS] & asks:
                scratch[X_ASKED] += 1
            j = next_of(1 - side, j + LOG_SIZE, n, work)
    run_out(c, side, rows, timers, table, out, scratch)
    return 0


# --- the connection as a whole --------------------------------------------------------------------------------------


def who(side: int) -> int:
    """WHO_CLIENT or WHO_SERVER."""
    return WHO_CLIENT if side == CLIENT else WHO_SERVER


def conclude(c: int, first: int, last: int, saw_client: int, saw_server: int, rows: Words, out: Words) -> int:
    """How the connection opened and closed, who did it, from the transitions between words ``first`` and ``last``."""
    x = c + C_ENDPOINTS
    y = x + ENDPOINT_SIZE
    # Holes that were forgotten count as seen, and may never have been: no more was seen than was sent.
    if rows[x + E_UNIQUE] > rows[x + E_BYTES]:
        rows[x + E_UNIQUE] = rows[x + E_BYTES]
    if rows[y + E_UNIQUE] > rows[y + E_BYTES]:
        rows[y + E_UNIQUE] = rows[y + E_BYTES]
    flags = rows[c + C_FLAGS]
    opened = saw_client & saw_server & bit(ST_ESTABLISHED)
    fin_client = -1
    fin_server = -1
    reset = 0
    timed_out = 0
    refused = 0
    t = first
    while t < last:
        event = out[t + T_EVENT]
        if event == EV_SND_FIN:
            if out[t + T_SIDE] == CLIENT:
                fin_client = out[t + T_TIME]
            else:
                fin_server = out[t + T_TIME]
        elif event in (EV_RCV_RST, EV_SND_RST, EV_GONE):
            reset = 1
            if out[t + T_FROM] == ST_SYN_SENT and event == EV_RCV_RST:
                refused = 1
        elif event == EV_TIMEOUT_RETRANSMISSION:
            timed_out = 1
        t += TRANSITION_SIZE
    if flags & CF_MIDSTREAM:
        rows[c + C_OPENING] = OPENING_MIDSTREAM
    elif refused and not rows[y + E_STAGE] & ES_SYN:
        rows[c + C_OPENING] = OPENING_REFUSED
    elif opened and flags & CF_SIMULTANEOUS_OPEN:
        rows[c + C_OPENING] = OPENING_SIMULTANEOUS
    elif opened and flags & CF_FAST_OPEN:
        rows[c + C_OPENING] = OPENING_FAST_OPEN
    elif opened:
        rows[c + C_OPENING] = OPENING_HANDSHAKE
    elif rows[y + E_SEGMENTS] == 0 and rows[x + E_SEGMENTS] == rows[x + E_SYNS]:
        rows[c + C_OPENING] = OPENING_UNANSWERED
    else:
        rows[c + C_OPENING] = OPENING_INCOMPLETE
    ended = bit(ST_TIME_WAIT) | bit(ST_LAST_ACK)
    if reset:
        rows[c + C_CLOSING] = CLOSING_ABORTED
    elif timed_out:
        rows[c + C_CLOSING] = CLOSING_TIMED_OUT
    elif saw_client & saw_server & bit(ST_CLOSING):
        rows[c + C_CLOSING] = CLOSING_SIMULTANEOUS
    elif (rows[x + E_FIN] >= 0 and rows[y + E_FIN] >= 0) or (saw_client & ended and saw_server & ended):
        rows[c + C_CLOSING] = CLOSING_NORMAL
    elif rows[x + E_FIN] >= 0 or rows[y + E_FIN] >= 0 or (saw_client | saw_server) & bit(ST_CLOSE_WAIT):
        rows[c + C_CLOSING] = CLOSING_HALF_CLOSED
    else:
        rows[c + C_CLOSING] = CLOSING_NONE
    # the side whose FIN went out in ESTABLISHED closed first
    active = bit(ST_FIN_WAIT_1) | bit(ST_FIN_WAIT_2)
    first_client = 1 if saw_client & active else 0
    first_server = 1 if saw_server & active else 0
    rows[c + C_CLOSED_FIRST] = (WHO_CLIENT if first_client else 0) | (WHO_SERVER if first_server else 0)
    if first_client and first_server and not (saw_client & saw_server & bit(ST_CLOSING)):
        rows[c + C_CLOSED_FIRST] = WHO_CLIENT if fin_client <= fin_server else WHO_SERVER
    if reset:
        rows[c + C_RESET_BY] = (WHO_CLIENT if rows[x + E_RSTS] else 0) | (WHO_SERVER if rows[y + E_RSTS] else 0)
    return 0


def first_hop(ttl: int) -> int:
    """Whether a TTL or hop limit is one that hosts begin with: no router has touched it. 1 or 0."""
    return 1 if ttl in (64, 128, 255) else 0


def locate(c: int, rows: Words) -> int:
    """Where the capture was taken: the share of the round trip on either side of it.

    A host that answers within a quarter of a millisecond, while the rest of the way takes eight times as long or more,
    and whose packets no router has touched yet, is where the capture was taken, or on the same wire.
    """
    x = c + C_ENDPOINTS
    y = x + ENDPOINT_SIZE
    near = rows[y + E_RTT_MIN]  # the client's part
    far = rows[x + E_RTT_MIN]
    if near >= 0 and far >= 0 and near + far >= MILLISECOND // 2:
        rows[c + C_VANTAGE] = VANTAGE_BETWEEN
        if near * 8 < far:
            rows[c + C_VANTAGE] = VANTAGE_NEAR_CLIENT
        elif far * 8 < near:
            rows[c + C_VANTAGE] = VANTAGE_NEAR_SERVER
    close = MILLISECOND // 4
    if rows[c + C_LOCAL]:  # told
        if rows[c + C_LOCAL] == WHO_CLIENT:
            rows[c + C_VANTAGE] = VANTAGE_NEAR_CLIENT
        elif rows[c + C_LOCAL] == WHO_SERVER:
            rows[c + C_VANTAGE] = VANTAGE_NEAR_SERVER
    elif rows[c + C_VANTAGE] == VANTAGE_NEAR_CLIENT and near <= close and first_hop(rows[x + E_TTL]):
        rows[c + C_LOCAL] = WHO_CLIENT
    elif rows[c + C_VANTAGE] == VANTAGE_NEAR_SERVER and far <= close and first_hop(rows[y + E_TTL]):
        rows[c + C_LOCAL] = WHO_SERVER
    elif (
        rows[c + C_FLAGS] & CF_BARE_LINK
        and (0 <= near <= close or 0 <= far <= close)
        and first_hop(rows[x + E_TTL])
        and first_hop(rows[y + E_TTL])
    ):
        # One end of such a link is the host that captures, and no router has touched the packets of either: the
        # quicker of the two.
        rows[c + C_LOCAL] = WHO_CLIENT if far < 0 or 0 <= near < far else WHO_SERVER
    return 0


def final_state(x: int, rows: Words, scratch: Words) -> int:
    """The state to report at the end. Of an endpoint that never moved only its RSTs tell: there is no connection."""
    if scratch[X_STARTED]:
        return scratch[X_STATE]
    return ST_CLOSED if rows[x + E_RSTS] else ST_UNKNOWN


def habits(x: int, stack: int, rows: Words, timers: Words) -> int:
    """The HABIT_... bits of an endpoint that bespeaks this system."""
    found = timers[habits_of(stack, timers) + P_HABITS]
    # A BSD without window scale is an old one: it cuts off what lies before the window, and takes the RST all the same.
    if timers[P_STACKS] and stack == STACK_BSD and rows[x + E_SHIFT] < 0:
        found |= HABIT_OBEYS_OLD_RST
    return found


def habits_of(stack: int, timers: Words) -> int:
    """Where in ``timers`` the profile of a host begins that bespeaks this system and has shown no timers."""
    return timers[P_STACKS] + stack * PROFILE_SIZE if timers[P_STACKS] else 0


def replay(
    c: int,
    client_host: int,
    server_host: int,
    now: int,
    rows: Words,
    log: Words,
    timers: Words,
    table: Words,
    out: Words,
    scratch: Words,
    work: Words,
) -> int:
    """Replay the connection of row ``c``; ``now`` is the capture's latest moment.

    The timers of the client's host begin at word ``client_host`` of ``timers``, the server's at ``server_host``.

    Writes its transitions at word ``scratch[X_TOP]`` of ``out`` (which must have room for
    ``8 + 2 * log records`` of them) and its results into the row. Returns the number of transitions.
    """
    first = scratch[X_TOP]
    x = c + C_ENDPOINTS
    client_stack = stack_of(c, CLIENT, rows, log)
    server_stack = stack_of(c, SERVER, rows, log)
    rows[x + END_STACK] = client_stack
    rows[x + ENDPOINT_SIZE + END_STACK] = server_stack
    if rows[c + C_PATH]:
        n = gather_at(c, CLIENT, rows, log, work)
    else:
        n = gather(c, rows, log, work)
        locate(c, rows)
    scratch[X_HABITS] = habits(x, client_stack, rows, timers)
    mark_old_fins(n, work)
    replay_side(
        c, CLIENT, client_host or habits_of(client_stack, timers), n, now, rows, timers, table, out, scratch, work
    )
    rows[c + C_CLIENT_STATE] = final_state(x, rows, scratch)
    rows[c + C_CLIENT_BASIS] = scratch[X_BASIS]
    saw_client = scratch[X_SAW]
    if rows[c + C_PATH]:
        n = gather_at(c, SERVER, rows, log, work)
        mark_old_fins(n, work)
    scratch[X_HABITS] = habits(x + ENDPOINT_SIZE, server_stack, rows, timers)
    replay_side(
        c, SERVER, server_host or habits_of(server_stack, timers), n, now, rows, timers, table, out, scratch, work
    )
    rows[c + C_SERVER_STATE] = final_state(x + ENDPOINT_SIZE, rows, scratch)
    rows[c + C_SERVER_BASIS] = scratch[X_BASIS]
    conclude(c, first, scratch[X_TOP], saw_client, scratch[X_SAW], rows, out)
    mark_damaged_syns(c, CLIENT, rows, log)
    mark_damaged_syns(c, SERVER, rows, log)
    rows[c + C_TRANSITIONS] = (scratch[X_TOP] - first) // TRANSITION_SIZE
    return rows[c + C_TRANSITIONS]


def replay_due(
    start: int,
    count: int,
    room: int,
    due_words: Words,
    rows_words: Words,
    log_words: Words,
    timers_words: Words,
    hosts_words: Words,
    table_words: Words,
    out_words: Words,
    scratch_words: Words,
    work_words: Words,
) -> int:
    """Replay the due connections from ``start`` on while there is room for their transitions.

    For each of them ``hosts`` holds two words: where in ``timers`` those of the client's and the server's host begin.

    Returns the index of the first that was not replayed; ``scratch[X_TOP]`` is the end of what was written.
    """
    due = pointer(due_words)
    rows = pointer(rows_words)
    log = pointer(log_words)
    timers = pointer(timers_words)
    hosts = pointer(hosts_words)
    table = pointer(table_words)
    out = pointer(out_words)
    scratch = pointer(scratch_words)
    work = pointer(work_words)
    i = start
    while i < count:
        # Fetch what the connections after this one will need, step by step: their rows, then one block of their logs
        # after the other, for each tells where the next one lies.
        if i + 6 < count:
            k = due[i + 6]
            while k < due[i + 6] + CONNECTION_SIZE:
                prefetch(rows, k)
                k += 8
        step = 0
        while step < 4 and i + 4 - step < count:
            r = rows[due[i + 4 - step] + C_LOG_HEAD]
            k = 0
            while k < step and r >= 0:
                r = next_block(r, log)
                k += 1
            if r >= 0:
                end = r + LOG_BLOCK
                while r < end:
                    prefetch(log, r)
                    r += 8
            step += 1
        if scratch[X_TOP] + (24 + 2 * rows[due[i] + C_LOG_COUNT]) * TRANSITION_SIZE > room:
            break
        k = 2 * (i - start)
        replay(due[i], hosts[k], hosts[k + 1], rows[due[i] + C_OVER_TIME], rows, log, timers, table, out, scratch, work)
        i += 1
    return i


def collect(start: int, end: int, due_words: Words, rows_words: Words, block_words: Words) -> int:
    """Copy the records of the due connections ``start`` to ``end`` to the front of ``block``, one after the other."""
    due = pointer(due_words)
    rows = pointer(rows_words)
    block = pointer(block_words)
    i = start
    w = 0
    while i < end:
        k = 0
        while k < CONNECTION_SIZE:
            block[w] = rows[due[i] + k]
            w += 1
            k += 1
        i += 1
    return w


def interesting(count: int, boring: int, block_words: Words, chosen_words: Words) -> int:
    """Which of ``count`` finished connections any rule may have something to say about.

    Not: those that opened by handshake and closed normally, once only, with no marks but ``boring`` ones, and in which
    nobody had to wait for long. For each of the others, ``chosen`` gets two words: where its record begins in
    ``block``, and its transitions in ``out``. Returns how many.
    """
    block = pointer(block_words)
    chosen = pointer(chosen_words)
    n = 0
    c = 0
    t = 0
    quiet = CF_SETTLED | CF_CLOSING | CF_BARE_LINK
    while c < count * CONNECTION_SIZE:
        if (
            block[c + C_MARKS] & ~boring
            or block[c + C_OPENING] != OPENING_HANDSHAKE
            or block[c + C_CLOSING] != CLOSING_NORMAL
            or block[c + C_INCARNATION]
            or block[c + C_FLAGS] & ~quiet
            or is_waited_for(c, block)
            or not block[c + C_ENDPOINTS + E_STAGE] & block[c + C_ENDPOINTS + ENDPOINT_SIZE + E_STAGE] & ES_ACKS_FIN
        ):
            chosen[2 * n] = c
            chosen[2 * n + 1] = t
            n += 1
        t += block[c + C_TRANSITIONS] * TRANSITION_SIZE
        c += CONNECTION_SIZE
    return n
