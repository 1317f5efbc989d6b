"""Copies: what the capture shows twice, what was damaged on the way, and what was sent before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.holes import *
from tcptrace_fsm.kernels.incarnations import *
from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.numbers import *
from tcptrace_fsm.kernels.rtt import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words


def is_in_front(x: int, rows: Words) -> int:
    """Whether an endpoint numbers its packets one by one, and the last of them was the farthest of its data: 1 or 0.

    Then what bears the number of a packet before is no repetition; in a burst of those the order may be another.
    """
    if low32(rows[x + E_LAST_SEQ] + rows[x + E_LAST_LEN] - rows[x + E_BASE] - rows[x + E_NEXT]):
        return 0
    counts = rows[x + E_LAST_FLAGS] >> NUMBERED_SHIFT
    return 1 if counts & bit(SKIPPED_SHIFT - NUMBERED_SHIFT) - 1 >= 2 else 0


def is_capture_duplicate(c: int, x: int, y: int, s: int, ack: int, segments: Words, rows: Words) -> int:
    """Whether this is a frame seen before, captured once more (several interfaces, both sides of a router, a mirror).

    The same packet bears the same numbers and the same IP identification, and comes at once; behind a router it has
    lost a hop, and may be later. What proves nothing of itself (no identification: IPv6, and 0, which Linux writes into
    every SYN+ACK and RST) does so where other frames of the connection are there twice.
    """
    again = rows[c + C_MARKS] & M_CAPTURE_DUPLICATE
    flags = segments[s + S_FLAGS]
    number = segments[s + S_IP_ID]
    routed = rows[x + E_TTL] - segments[s + S_TTL]
    within = MILLISECOND
    if -3 <= routed <= 3 and routed and (number > 0 or again):  # a second point's clock may be behind
        within = 20 * MILLISECOND
    elif number > 0 and again:
        within = 5 * MILLISECOND
    elif flags & (TCP_SYN | TCP_ACK | TCP_RST) == TCP_SYN | TCP_ACK and rows[x + E_SYNS] == rows[y + E_SYNS] == 1:
        within = 20 * MILLISECOND  # no timer is so quick, and no SYN has come again
    if segments[s + S_TIME] - rows[x + E_LAST_TIME] >= within or (
        rows[x + E_LAST_TIME] - segments[s + S_TIME] >= within and number <= 0
    ):
        return 0
    if segments[s + S_OPTIONS] & OPT_TIMESTAMPS and newer(segments[s + S_TSVAL], rows[x + E_TSVAL]):
        return 0
    if (
        rows[x + E_LAST_SEQ] != segments[s + S_SEQ]
        or rows[x + E_LAST_LEN] != segments[s + S_LEN]
        or rows[x + E_LAST_FLAGS] & LAST_FLAGS_MASK != flags
        or (rows[x + E_IP_ID] != number and not (flags & TCP_RST and number == 0))
        or (ack >= 0 and rows[x + E_LAST_ACK] != ack)
    ):
        # Copies may come one after another when all of the train has passed: their sender had numbered them before.
        if number <= 0 or flags & (TCP_SYN | TCP_RST) or not rows[x + E_BASE_KNOWN]:
            return 0
        if not again and not (segments[s + S_LEN] and is_in_front(x, rows)):
            return 0
        seq = widen(segments[s + S_SEQ], rows[x + E_BASE], rows[x + E_NEXT])
        end = seq + segments[s + S_LEN] + (1 if flags & TCP_FIN else 0)
        behind = (rows[x + E_IP_ID] - number) & 65535
        if not 1 <= behind <= 32 or end > rows[x + E_NEXT] or ack > rows[x + E_LAST_ACK]:
            return 0
        if rows[x + E_LAST_FLAGS] & TCP_RST and ack > rows[x + E_ACK]:
            return 0  # only the RST that has overtaken it has acknowledged as much
        same = 1 if rows[x + E_LAST_SEQ] == segments[s + S_SEQ] and rows[x + E_LAST_LEN] == segments[s + S_LEN] else 0
        if end > seq and rows[x + E_NEXT] - end > behind * rows[x + E_LONGEST] + 1 and not (again and same):
            return 0  # so few packets do not reach so far: it was numbered behind some of these, to be sent again
        return 0 if end > seq and in_hole(x, seq, rows) else 1
    if segments[s + S_OPTIONS] & OPT_TIMESTAMPS and rows[x + E_TSVAL] != segments[s + S_TSVAL]:
        if number <= 0 or not newer(rows[x + E_TSVAL], segments[s + S_TSVAL]):
            return 0  # an older one than before is not kept: what the packet before had is not known
    if number > 0:
        return 1
    if flags & TCP_SYN and not flags & TCP_RST:
        # Nobody repeats a SYN+ACK at once of its own accord; but once SYNs come again, an answer and a timer may meet.
        return 1 if again or not flags & TCP_ACK or rows[x + E_SYNS] == rows[y + E_SYNS] == 1 else 0
    if flags & TCP_RST:
        return 1 if again else 0  # a system may answer two segments in the same moment, all with identification 0
    if segments[s + S_LEN] or flags & (TCP_SYN | TCP_FIN | TCP_RST):
        return 1
    # Without an identification, repeated pure ACKs are as likely to be duplicate ACKs.
    return 1 if again and scaled_window(x, y, s, segments, rows) == rows[x + E_WINDOW] else 0


def is_renumbered(c: int, x: int, side: int, s: int, segments: Words, rows: Words) -> int:
    """Whether this is the frame before, or one like it, as it is on the other side of a box that rewrites numbers.

    The same packet by its IP identification, length and flags, at the same moment, but far away in sequence space: from
    then on, what fits neither end's numbers is a copy.
    """
    if rows[c + C_FLAGS] & CF_RENUMBERED:
        return 0 if segments[s + S_IP_ID] <= 0 or fits(c, side, s, segments, rows) else 1
    if (
        segments[s + S_IP_ID] <= 0
        or rows[x + E_IP_ID] != segments[s + S_IP_ID]
        or rows[x + E_LAST_FLAGS] & LAST_FLAGS_MASK != segments[s + S_FLAGS]
        or rows[x + E_LAST_LEN] != segments[s + S_LEN]
        or not segments[s + S_FLAGS] & TCP_ACK
        or segments[s + S_FLAGS] & TCP_RST
        or segments[s + S_TIME] - rows[x + E_LAST_TIME] >= MILLISECOND
    ):
        return 0
    away = low32(segments[s + S_SEQ] - rows[x + E_LAST_SEQ])
    return 1 if bit(20) <= away <= bit(32) - bit(20) else 0


def renumber(c: int, x: int, y: int, s: int, segments: Words, rows: Words, log: Words) -> int:
    """The frame before was the copy where this SYN+ACK, and not that one, answers the SYN: learn from this one."""
    rows[c + C_FLAGS] |= CF_RENUMBERED
    r = rows[c + C_LOG_TAIL]
    if (
        not segments[s + S_FLAGS] & TCP_SYN
        or rows[y + E_BASE_KNOWN] != BASE_SYN
        or low32(segments[s + S_ACK] - rows[y + E_BASE]) != 1
        or rows[x + E_LAST_ACK] == 1
        or rows[x + E_SEGMENTS] != 1
        or log[r + L_FRAME] != rows[c + C_LAST_FRAME]
    ):
        return 0
    rows[x + E_BASE] = segments[s + S_SEQ]
    rows[x + E_BASE_KNOWN] = BASE_SYN
    rows[x + E_NEXT] = 1
    rows[x + E_LAST_SEQ] = segments[s + S_SEQ]
    rows[x + E_ACK] = 1
    rows[x + E_LAST_ACK] = 1
    rows[x + E_EDGE] = 1 + segments[s + S_WINDOW]
    rows[x + E_STAGE] |= ES_ACKS_SYN
    rows[y + E_NEXT] = 1
    rows[y + E_HOLES] = 0
    wrong = M_ACK_UNSEEN | M_ACK_PLUS_ONE | M_GAP | M_ACK_OLD | M_ACK_BEYOND | M_BASE_CHANGED
    rows[c + C_MARKS] &= ~wrong
    log[r + L_MARKS] = (log[r + L_MARKS] & ~wrong) | M_ACKS_SYN
    log[r + L_ACK] = 1
    return 1


def is_doubled(x: int, s: int, segments: Words, rows: Words) -> int:
    """Whether the packet before comes again, by its number, sooner than any timer sends it: 1 or 0."""
    if segments[s + S_IP_ID] <= 0 or segments[s + S_IP_ID] != rows[x + E_IP_ID]:
        return 0
    if segments[s + S_SEQ] != rows[x + E_LAST_SEQ]:
        return 0
    return 1 if segments[s + S_TIME] - rows[x + E_LAST_TIME] < TIMEOUT_LEAST * MILLISECOND else 0


def is_unsent(s: int, segments: Words) -> int:
    """Whether, of two captures, only that at its receiver has it: 1 or 0. When it was sent is a guess then."""
    return 1 if segments[s + S_FATE] == FATE_ARRIVED and segments[s + S_ARRIVAL_FRAME] == segments[s + S_FRAME] else 0


def is_no_later(x: int, s: int, segments: Words, rows: Words) -> int:
    """Whether its sender's clock or count of packets tells that it was not sent behind what was seen of it: 1 or 0."""
    if segments[s + S_OPTIONS] & OPT_TIMESTAMPS and rows[x + E_TSVAL] >= 0:
        return 1 - newer(segments[s + S_TSVAL], rows[x + E_TSVAL])
    if segments[s + S_IP_ID] <= 0 or rows[x + E_IP_ID] <= 0:
        return 0
    return 1 if 0 < (rows[x + E_IP_ID] - segments[s + S_IP_ID]) & 65535 < 4096 else 0


def fill_gap(x: int, y: int, end: int, s: int, segments: Words, rows: Words) -> int:
    """Marks for a segment all of which was missing so far: it was overtaken, or lost before it came here."""
    now = segments[s + S_TIME]
    length = segments[s + S_LEN]
    older = 0
    if segments[s + S_OPTIONS] & OPT_TIMESTAMPS and rows[x + E_TSVAL] >= 0:
        older = newer(rows[x + E_TSVAL], segments[s + S_TSVAL])
    quick = OVERTAKEN_WITHIN * MILLISECOND
    if rows[x + E_RTT_MIN] > quick:
        quick = rows[x + E_RTT_MIN]
    # Its sender's numbering of packets tells which of them it sent first, however quick its retransmissions are.
    ahead = 0
    if segments[s + S_IP_ID] > 0 and rows[x + E_IP_ID] > 0:
        ahead = ((segments[s + S_IP_ID] - rows[x + E_IP_ID] + 32768) & 65535) - 32768
    if end <= rows[y + E_ACK] and now - rows[y + E_LAST_TIME] >= 200 * MILLISECOND:
        rows[x + E_RETRANSMITTED] += 1
        rows[x + E_RETRANSMITTED_BYTES] += length
        forget_samples(x, rows)
        return M_SPURIOUS | M_RETRANSMISSION  # it had arrived; only the capture had missed it
    # What is acknowledged before it passes, and sooner than any timer sends it again, was sent once. Of two
    # captures its receiver's alone has what is late for no other reason than that.
    near = 1 if now - rows[x + E_LAST_TIME] < quick or is_unsent(s, segments) else 0
    soon = 1 if not 0 < ahead < 4096 and near else 0
    if end <= rows[y + E_ACK] or older or -4096 < ahead < 0 or soon:
        rows[x + E_OUT_OF_ORDER] += 1
        return M_OUT_OF_ORDER
    rows[x + E_RETRANSMITTED] += 1
    rows[x + E_RETRANSMITTED_BYTES] += length
    forget_samples(x, rows)
    return M_LOST_BEFORE | M_RETRANSMISSION


def sent_before(x: int, y: int, seq: int, end: int, s: int, segments: Words, rows: Words) -> int:
    """Marks for a segment that begins below what its sender has already sent."""
    now = segments[s + S_TIME]
    length = segments[s + S_LEN]
    flags = segments[s + S_FLAGS]
    if length <= 1 and seq == rows[x + E_NEXT] - 1 and not flags & (TCP_SYN | TCP_FIN):
        # A byte that was acknowledged asks whether the peer is there, unless an application pushes it: that is its last
        # write again. One that was not is sent again, unless the window holds it back, or nothing of the peer passes.
        pushed = flags & TCP_PSH and length
        if (
            (rows[y + E_ACK] > seq and not pushed)
            or (not rows[y + E_SEGMENTS] and not pushed)
            or (rows[y + E_ACK] >= seq and rows[y + E_WINDOW] == 0)
        ):
            rows[x + E_KEEPALIVES] += 1
            return M_ZERO_WINDOW_PROBE if rows[y + E_WINDOW] == 0 else M_KEEPALIVE
    marks = 0
    filled = fill_holes(x, seq, end, rows)
    rows[x + E_UNIQUE] += filled if filled < length else length
    if filled >= end - seq and filled > 0:
        return fill_gap(x, y, end, s, segments, rows)
    if is_doubled(x, s, segments, rows):
        return M_NETWORK_DUPLICATE
    if is_unsent(s, segments) and is_no_later(x, s, segments, rows):
        rows[x + E_OUT_OF_ORDER] += 1
        return M_OUT_OF_ORDER  # behind more gaps than are kept
    marks = M_RETRANSMISSION
    rows[x + E_RETRANSMITTED] += 1
    rows[x + E_RETRANSMITTED_BYTES] += length
    forget_samples(x, rows)
    if end <= rows[y + E_ACK]:
        return marks | M_SPURIOUS
    # Duplicate ACKs are acted on when they come; what follows long after them, a timer sent.
    asked = 1 if rows[y + E_DUP_RUN] > 0 and now - rows[y + E_LAST_TIME] <= answered_within(y, rows) else 0
    if seq <= rows[y + E_ACK] or rows[y + E_ACK] < 0:
        # The oldest unacknowledged byte: what made its sender repeat it?
        waited = now - rows[x + E_HEAD_TIME]
        # One that tells of all that was sent behind says what is lost, as the answer to a tail-loss probe (RFC 8985).
        way = rows[y + E_RTT_MIN]
        at_once = 20 * MILLISECOND + way + way // 2 if way >= 0 else 0
        told = 1 if rows[y + E_SACK_HIGH] >= rows[x + E_NEXT] and now - rows[y + E_LAST_TIME] <= at_once else 0
        if asked and (told or rows[y + E_DUP_RUN] >= DUPLICATE_ACKS_ASK):
            marks |= M_FAST
        elif rows[x + E_HEAD_TIME] >= 0 and waited >= TIMEOUT_LEAST * MILLISECOND:
            marks |= M_TIMEOUT
            if rows[x + E_BACKOFF_SEQ] == seq:
                rows[x + E_BACKOFF_COUNT] += 1
            else:
                rows[x + E_BACKOFF_SEQ] = seq
                rows[x + E_BACKOFF_COUNT] = 1
        elif asked:
            marks |= M_FAST
        elif end == rows[x + E_NEXT]:
            marks |= M_TAIL_LOSS_PROBE
        rows[x + E_HEAD_TIME] = now
    elif asked:
        marks |= M_FAST
    elif end == rows[x + E_NEXT] and not flags & TCP_SYN:
        marks |= M_TAIL_LOSS_PROBE
    return marks


def is_ack_with_fin(x: int, y: int, s: int, seq: int, now: int, segments: Words, rows: Words) -> int:
    """Whether a FIN that was sent before comes along with an ACK only: 1 or 0.

    4.4BSD and its descendants set FIN in every ACK until theirs is acknowledged. No timer made that one, and nothing
    need be lost: it acknowledges, at once, what was not acknowledged before.
    """
    if segments[s + S_LEN] or rows[x + E_FIN] != seq + 1 or not segments[s + S_FLAGS] & TCP_ACK:
        return 0
    ack = widen(segments[s + S_ACK], rows[y + E_BASE], rows[y + E_NEXT])
    if ack <= rows[x + E_ACK] or ack > rows[y + E_NEXT]:
        return 0
    k = y + E_SAMPLES
    while k < y + E_SAMPLES + 8 and rows[k] != ack:
        k += 2
    if k == y + E_SAMPLES + 8:
        return 0
    at_once = 50 * MILLISECOND
    if rows[y + E_RTT_MIN] >= 0:
        at_once = 5 * MILLISECOND + rows[y + E_RTT_MIN] + rows[y + E_RTT_MIN] // 2
    return 1 if now - rows[k + 1] <= at_once else 0


def longest_whole(y: int, rows: Words) -> int:
    """The longest payload that one segment has: the MSS of ``y``, which receives it.

    What is longer was put together by a network card or a host, and its checksum is nobody's.
    """
    return rows[y + E_MSS] if rows[y + E_MSS] > 0 else ETHERNET_MSS


def learn_sum(x: int, y: int, s: int, segments: Words, rows: Words) -> int:
    """Note what kind of checksum an endpoint's segment has; not where a card may have made one segment of several.

    Linux gives what it has put together the sum that it leaves to its card.
    """
    verdict = segments[s + S_CHECKSUM]
    if (verdict == CHECKSUM_OFFLOADED and segments[s + S_LEN]) or (
        verdict == CHECKSUM_BAD and segments[s + S_LEN] > longest_whole(y, rows)
    ):
        return 0
    rows[x + E_CHECKSUMS] |= 1 << (verdict - 1)
    return 1


def is_damaged(x: int, y: int, s: int, segments: Words, rows: Words) -> int:
    """Whether a segment with a wrong checksum reaches nobody: 1 or 0.

    Its sender computes right ones elsewhere, or leaves them to its card, and its peer has not yet taken one that seemed
    wrong.
    """
    sums = rows[x + E_CHECKSUMS]
    if sums & SUMS_BELIEVED or not sums & (SUMS_GOOD | SUMS_OFFLOADED):
        return 0
    return 1 if segments[s + S_LEN] <= longest_whole(y, rows) else 0


def is_from_before(x: int, s: int, segments: Words, rows: Words) -> int:
    """Whether a segment is older, by its timestamp, than the SYN of its sender: 1 or 0.

    It is forged, or of an earlier connection, and PAWS rejects all of it (RFC 7323 section 5.3). The sender must have
    shown that its clock runs on from its SYN: behind a proxy that answers SYNs another clock may go on.
    """
    if (
        not segments[s + S_OPTIONS] & OPT_TIMESTAMPS
        or segments[s + S_FLAGS] & (TCP_SYN | TCP_RST)
        or rows[x + E_SYN_TSVAL] < 0
        or rows[x + E_TSVAL] < 0
        or not newer(rows[x + E_TSVAL], rows[x + E_SYN_TSVAL])
    ):
        return 0
    # What lies further back than any segment lives is no old segment: some box has changed the timestamps.
    return 1 if 0 < low32(rows[x + E_SYN_TSVAL] - segments[s + S_TSVAL]) < OLD_TICKS else 0
