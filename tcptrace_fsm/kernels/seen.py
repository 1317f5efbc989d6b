"""What the log shows of a segment: whether it is its sender's own, could have arrived, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

# No __all__: compiled, only the replay calls this.


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


def skipped(v: int, w: int, work: Words) -> int:
    """How many packets went between the records ``v`` and ``w`` of one sender, by its numbering of them; -1 not known.

    Many hosts number IPv4's packets one by one: for each connection, for each peer, or altogether.
    """
    before = (work[v + L_FATE] >> LOG_IP_ID_SHIFT & LOG_IP_ID_MASK) - 1
    after = (work[w + L_FATE] >> LOG_IP_ID_SHIFT & LOG_IP_ID_MASK) - 1
    if before < 0 or after < 1:
        return -1
    between = (after - before - 1) & 65535
    return between if between < 3 else -1


def is_behind_fin(w: int, scratch: Words, work: Words) -> int:
    """Whether the endpoint's segment ``w`` counts its own FIN as sent before: 1 or 0."""
    if scratch[X_FIN_END] < 0 or work[w + L_INFO] & TCP_FIN:
        return 0
    return 1 if work[w + L_SEQ] >= scratch[X_FIN_END] else 0


def repeats(i: int, scratch: Words, work: Words) -> int:
    """Whether the endpoint's segment ``i`` is a pure ACK of what its latest one acknowledged already."""
    info = work[i + L_INFO]
    if info & (TCP_SYN | TCP_FIN | TCP_RST) or info >> LOG_LEN_SHIFT & LOG_LEN_MASK or scratch[X_OWN] < 0:
        return 0
    return 1 if work[i + L_ACK] == work[scratch[X_OWN] + L_ACK] else 0
