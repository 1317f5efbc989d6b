"""What the log shows of a segment: whether it is its sender's own, could have arrived, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words
    from tcptrace_fsm.kernels.records import Endpoint, Tcb

# No __all__: compiled, only the replay calls this.


def next_of(tcb: Tcb, side: int, w: int) -> int:
    """The first record at or after ``w`` that ``side`` sent, or ``n``."""
    while w < tcb.n and tcb.log[w].side != side:
        w += 1
    return w


def own_after(tcb: Tcb, w: int) -> int:
    """The endpoint's first segment after the peer's ``w``, or ``n``. For growing ``w`` this is linear altogether."""
    if tcb.next_own < w:
        tcb.next_own = next_of(tcb, tcb.side, w)
    return tcb.next_own


def is_real(tcb: Tcb, w: int) -> int:
    """Whether a record is the sender's own and could have arrived.

    Not a copy made by the capture, not one with a bad checksum, not a stray SYN, which is judged by what it draws.
    """
    marks = tcb.log[w].marks
    if marks & (M_CAPTURE_DUPLICATE | M_BAD_CHECKSUM | M_STRAY_SYN | M_NETWORK_DUPLICATE | M_FIN_OLD | M_ACK_BEYOND):
        return 0
    if not tcb.log[w].flags & (TCP_SYN | TCP_RST | TCP_ACK):
        return 0  # nobody takes a segment without ACK (RFC 9293 3.10.7.4, fifth check)
    # A repetition with a timestamp older than what its sender has used since is an old duplicate: the network's,
    # not its.
    if marks & M_PAWS and marks & (M_RETRANSMISSION | M_FIN_AGAIN | M_SYN_AGAIN | M_SYN_ACK_AGAIN):
        return 0
    return 1


def is_taken(tcb: Tcb, w: int) -> int:
    """Whether the peer's record ``w`` is real, and the endpoint's TCP would look at it.

    At the host itself the capture's order is that of arrival, and an old timestamp is refused (RFC 7323 section 5.3,
    R1); one that fills a hole is not old, for TS.Recent waits for it. A FIN beyond the one that counts was never in the
    window.
    """
    marks = tcb.log[w].marks
    if not is_real(tcb, w):
        return 0
    if tcb.local and marks & M_PAWS and not marks & (M_OUT_OF_ORDER | M_LOST_BEFORE):
        return 0
    flags = tcb.log[w].flags
    if flags & TCP_FIN and marks & M_OUT_OF_WINDOW and tcb.peer_fin_end >= 0:
        return 1 if tcb.log[w].seq + tcb.log[w].length < tcb.peer_fin_end else 0
    return 1


def is_overtaken(tcb: Tcb, w: int) -> int:
    """Whether a record is a bare ACK that passed behind what its sender sent later, by its timestamp: 1 or 0."""
    flags = tcb.log[w].flags
    if flags & (TCP_SYN | TCP_FIN | TCP_RST) or tcb.log[w].length:
        return 0
    return 1 if tcb.log[w].marks & M_PAWS and tcb.log[w].marks & (M_ACK_OLD | M_ACK_AGAIN | M_DUPLICATE_ACK) else 0


def is_reply_rst(tcb: Tcb, w: int) -> int:
    """Whether a record is an RST that says: there is no such connection (see ``is_reply`` of the tracker): 1 or 0."""
    if tcb.log[w].marks & M_REPLY_RST:
        return 1
    if tcb.log[w].flags & (TCP_RST | TCP_ACK) == TCP_RST:
        return 1
    return answers_before_fin(tcb, w)


def answers_before_fin(tcb: Tcb, w: int) -> int:
    """Whether an RST begins before its sender's FIN, with the numbers of what its peer had sent before that FIN came.

    What aborts has sent the FIN, and begins behind it.
    """
    x = tcb.endpoint if tcb.log[w].side == tcb.side else tcb.peer
    if tcb.log[w].flags & (TCP_RST | TCP_ACK) != TCP_RST | TCP_ACK or not 1 <= tcb.log[w].seq < x.fin:
        return 0
    v = w - 1
    while v >= 0 and v >= w - LOOKED_AT:
        if tcb.log[v].side != tcb.log[w].side and tcb.log[v].ack == tcb.log[w].seq:
            end = tcb.log[v].seq + tcb.log[v].length
            if tcb.log[v].flags & TCP_FIN:
                end += 1
            if end == tcb.log[w].ack:
                return 1
        v -= 1
    return 0


def copy_record(tcb: Tcb, w: int, r: int, log: Words) -> int:
    """Make the log record at word ``r`` the segment ``w`` of the endpoint at hand."""
    info = log[r + L_INFO]
    tcb.log[w].time = log[r + L_TIME]
    tcb.log[w].frame = log[r + L_FRAME]
    tcb.log[w].flags = info & LOG_FLAGS_MASK
    tcb.log[w].side = info >> LOG_SIDE_SHIFT & 1
    tcb.log[w].length = info >> LOG_LEN_SHIFT & LOG_LEN_MASK
    tcb.log[w].seq = log[r + L_SEQ]
    tcb.log[w].ack = log[r + L_ACK]
    tcb.log[w].marks = log[r + L_MARKS]
    tcb.log[w].window = log[r + L_WINDOW]
    tcb.log[w].tsval = log[r + L_TSVAL]
    tcb.log[w].tsecr = log[r + L_TSECR]
    tcb.log[w].end_time = log[r + L_END_TIME]
    tcb.log[w].ip_id = log[r + L_FATE] >> LOG_IP_ID_SHIFT & LOG_IP_ID_MASK
    return 0


def gather(tcb: Tcb, log: Words) -> int:
    """Take the log of the connection, in order. Returns how many segments there are."""
    r = tcb.row.log_head
    w = 0
    while r >= 0:
        copy_record(tcb, w, r, log)
        w += 1
        r = log[r + L_NEXT]
    return w


def mark_old_fins(tcb: Tcb) -> int:
    """Mark the FINs that pass behind what acknowledges more: copies that were held up on the way.

    A repetition acknowledges all that has arrived by then, and has a higher number than what was sent before.
    """
    side = 0
    while side < 2:
        top = -1
        at = -1
        named = 0
        w = next_of(tcb, side, 0)
        while w < tcb.n:
            flags = tcb.log[w].flags
            if flags & TCP_FIN and 0 <= tcb.log[w].ack < top and tcb.log[w].time > at + 10 * MILLISECOND:
                if tcb.log[w].marks & M_FIN_AGAIN:
                    tcb.log[w].marks |= M_FIN_OLD
            elif flags & TCP_FIN and tcb.log[w].marks & M_FIN_AGAIN and 0 < named - tcb.log[w].ip_id <= LOOKED_AT:
                if tcb.log[w].ip_id > 1:
                    tcb.log[w].marks |= M_FIN_OLD
            elif tcb.log[w].ack > top and not flags & TCP_RST and is_real(tcb, w):
                top = tcb.log[w].ack
                at = tcb.log[w].time
            if flags & TCP_FIN and not flags & TCP_RST and tcb.log[w].ip_id > named and is_real(tcb, w):
                named = tcb.log[w].ip_id
            w = next_of(tcb, side, w + 1)
        side += 1
    return 0


def gather_at(tcb: Tcb, log: Words) -> int:
    """Take what passed the point near the endpoint, as it passed there. Returns how many segments there are.

    Its own segments as they left, its peer's as they arrived, without those that did not, nor what others sent in its
    name further on.
    """
    r = tcb.row.log_head
    w = 0
    while r >= 0:
        fate = log[r + L_FATE] & LOG_FATE_MASK
        own = 1 if (log[r + L_INFO] >> LOG_SIDE_SHIFT & 1) == tcb.side else 0
        if (own and fate != FATE_FOREIGN) or (not own and fate != FATE_LOST):
            # Nearly in order already: move up what passes later.
            time = log[r + L_TIME] if own or log[r + L_ARRIVAL] < 0 else log[r + L_ARRIVAL]
            v = w
            while v > 0 and tcb.log[v - 1].time > time:
                tcb.log[v] = tcb.log[v - 1]
                v -= 1
            copy_record(tcb, v, r, log)
            if not own and log[r + L_ARRIVAL] >= 0:
                tcb.log[v].time = log[r + L_ARRIVAL]
                tcb.log[v].end_time = log[r + L_END_ARRIVAL]
                if log[r + L_ARRIVAL_FRAME] >= 0:
                    tcb.log[v].frame = log[r + L_ARRIVAL_FRAME]
            w += 1
        r = log[r + L_NEXT]
    return w


def is_missing(end: Endpoint, number: int) -> int:
    """Whether the byte ``number`` of an endpoint lies in a hole that is still open (``in_hole`` of the tracker)."""
    i = 0
    while i < end.holes:
        if end.hole[2 * i] <= number < end.hole[2 * i + 1]:
            return 1
        i += 1
    return 0


def arrives_after(tcb: Tcb, w: int, moment: int) -> int:
    """Whether the peer's segment ``w`` reached the endpoint after what it sent at capture time ``moment``: 1 or 0.

    The segment needs half a round trip to get there, what was sent needed half a round trip to get here.
    """
    return 1 if tcb.log[w].time + 2 * tcb.half + tcb.slack >= moment else 0


def arrived(tcb: Tcb, w: int, repeated: int, gap: int) -> int:
    """Whether to presume that the ACK in the peer's segment ``w`` arrived.

    The endpoint last repeated what it acknowledges at capture time ``repeated``, ``gap`` after the time before. Not
    before that; and where three such ACKs in a row have been lost, only if it should have repeated itself once more and
    did not.
    """
    if not arrives_after(tcb, w, repeated):
        tcb.denied += 1
        return 0
    if tcb.local:
        return 1
    return 1 if tcb.denied < 3 or tcb.end > repeated + 2 * gap + gap // 4 else 0


def too_soon(tcb: Tcb, w: int, proof: int) -> int:
    """Whether the endpoint's segment ``proof`` passed here sooner than an answer to ``w`` can have come: 1 or 0."""
    if tcb.local:
        return 0
    return 1 if tcb.log[proof].time < tcb.log[w].time + 2 * tcb.half - tcb.slack else 0


def follows(tcb: Tcb, v: int, w: int) -> int:
    """Whether nothing went between the records ``v`` and ``w`` of one sender, by its numbering of packets: 1 or 0.

    Many hosts number IPv4's packets one by one: for each connection, for each peer, or altogether.
    """
    before = tcb.log[v].ip_id - 1
    after = tcb.log[w].ip_id - 1
    return 1 if before >= 0 and after >= 1 and after == (before + 1) & 65535 else 0


def missing_before(tcb: Tcb, w: int) -> int:
    """How many packets the endpoint sent before its record ``w`` that did not pass here; -1 not known.

    By its numbering of packets, where that is the connection's own. From the first FIN on, the log holds all segments.
    """
    seen = tcb.endpoint.segments
    v = next_of(tcb, tcb.side, 0)
    while v < tcb.n:
        if v >= w and tcb.log[v].end_time > tcb.log[v].time:
            return -1  # several, kept as one
        if v >= w or tcb.log[v].marks & (M_NETWORK_DUPLICATE | M_CAPTURE_DUPLICATE):
            seen -= 1  # a copy has the number of the first
        v = next_of(tcb, tcb.side, v + 1)
    v = next_of(tcb, tcb.side, 0)
    first = tcb.log[v].ip_id - 1
    here = tcb.log[w].ip_id - 1
    if first < 0 or here < 1:
        return -1
    missing = (here - first & 65535) - seen
    return missing if 0 <= missing < 3 else -1


def is_behind_fin(tcb: Tcb, w: int) -> int:
    """Whether the endpoint's segment ``w`` counts its own FIN as sent before: 1 or 0."""
    if tcb.fin_end < 0 or tcb.log[w].flags & TCP_FIN:
        return 0
    return 1 if tcb.log[w].seq >= tcb.fin_end else 0


def repeats(tcb: Tcb, i: int) -> int:
    """Whether the endpoint's segment ``i`` is a pure ACK of what its latest one acknowledged already."""
    flags = tcb.log[i].flags
    if flags & (TCP_SYN | TCP_FIN | TCP_RST) or tcb.log[i].length or tcb.latest < 0:
        return 0
    return 1 if tcb.log[i].ack == tcb.log[tcb.latest].ack else 0
