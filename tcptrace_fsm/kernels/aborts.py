"""Resets of open connections, detected for many connections at once.

As in :mod:`tcptrace_fsm.kernels.detect`: what the findings say is declared in the rules (``findings/abort.py``). It is
asked of plain connections: they opened by handshake, and nothing but repetitions and window updates is notable about
their segments. On bad days one in five ends so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.detected import *
from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words
    from tcptrace_fsm.kernels.records import Detection

__all__ = ["detect_aborts"]


def end_at(c: int, side: int) -> int:
    """Where the record of an endpoint begins."""
    return c + C_ENDPOINTS + side * ENDPOINT_SIZE


def is_in_reply(r: int, log: Words) -> int:
    """Whether an RST answers a segment to a connection that is not there."""
    if log[r + L_MARKS] & M_REPLY_RST:
        return 1
    return 1 if log[r + L_INFO] & (TCP_RST | TCP_ACK) == TCP_RST else 0


def was_there(c: int, side: int, rst: int, block: Words, log: Words) -> int:
    """Whether ``side`` had spoken beyond the handshake before its RST; or, a server, had what that acknowledges."""
    reply = is_in_reply(rst, log)
    asked = 0
    r = block[c + C_LOG_HEAD]
    while r >= 0:
        info = log[r + L_INFO]
        if log[r + L_FRAME] < log[rst + L_FRAME]:
            if side_of(info) == side and not info & (TCP_SYN | TCP_RST):
                return 1
            if side_of(info) != side and length_of(info) and end_of_record(r, log) == log[rst + L_ACK]:
                asked = 1
        r = log[r + L_NEXT]
    return 1 if asked and side == SERVER and not reply and log[rst + L_SEQ] == 1 else 0


def unasked_reset_of(c: int, side: int, t: int, block: Words, log: Words, changes: Words) -> int:
    """Where the log has the RST by which ``side`` ended an open connection of its own accord; -1 where it has none.

    The connection's transitions begin at ``t``.
    """
    end = t + block[c + C_TRANSITIONS] * TRANSITION_SIZE
    while t < end and not (
        changes[t + T_SIDE] == side
        and changes[t + T_EVENT] in (EV_SND_RST, EV_GONE)
        and changes[t + T_FROM] in (ST_ESTABLISHED, ST_CLOSE_WAIT)
    ):
        t += TRANSITION_SIZE
    if t >= end:
        return -1
    r = block[c + C_LOG_HEAD]
    while r >= 0 and not (
        side_of(log[r + L_INFO]) == side and log[r + L_INFO] & TCP_RST and log[r + L_FRAME] == changes[t + T_FRAME]
    ):
        r = log[r + L_NEXT]
    if r < 0 or not was_there(c, side, r, block, log):
        return -1
    if is_in_reply(r, log):
        return -1 if log[r + L_MARKS] & M_RST_DRAWN else r
    return -1 if changes[t + T_EVENT] == EV_GONE else r


def repeated_in_vain(c: int, side: int, rst: int, block: Words, log: Words) -> int:
    """How often ``side`` has repeated something since its peer last sent anything, up to its RST."""
    y = end_at(c, 1 - side)
    heard = -1
    if block[y + E_LAST_TIME] <= log[rst + L_TIME]:
        heard = block[y + E_LAST_TIME]
    if heard < block[y + E_ACK_TIME] <= log[rst + L_TIME]:
        heard = block[y + E_ACK_TIME]
    n = 0
    r = block[c + C_LOG_HEAD]
    while r >= 0 and log[r + L_FRAME] < log[rst + L_FRAME]:
        if side_of(log[r + L_INFO]) != side:
            n = 0
        elif log[r + L_MARKS] & M_RETRANSMISSION and log[r + L_TIME] > heard:
            n += 1
        r = log[r + L_NEXT]
    return n


def unread_by(c: int, side: int, rst: int, block: Words, log: Words) -> int:
    """How many bytes of its peer ``side`` had not acknowledged when it sent its RST."""
    x = end_at(c, side)
    y = end_at(c, 1 - side)
    spoke = block[c + C_WAIT_SPOKE + 1 - side]
    if 0 < spoke < log[rst + L_TIME] - ACK_DUE * MILLISECOND - 2 * max(block[y + E_RTT_MIN], 0):
        return 0  # what has not been acknowledged for so long was, only not here
    sent = block[y + E_NEXT]
    r = block[c + C_LOG_HEAD]
    while r >= 0:
        info = log[r + L_INFO]
        if side_of(info) != side and length_of(info) and log[r + L_FRAME] > log[rst + L_FRAME]:
            sent = min(sent, log[r + L_SEQ])
        r = log[r + L_NEXT]
    if block[y + E_FIN] >= 0:
        sent -= 1
    return max(0, sent - max(block[x + E_ACK], 1))


def may_be_unread(c: int, side: int, rst: int, block: Words, log: Words) -> int:
    """Whether the peer's data were the last thing that happened, just before the RST of ``side``."""
    x = end_at(c, side)
    y = end_at(c, 1 - side)
    if block[x + E_ACK] <= 1 or block[x + E_ACK_TIME] < block[y + E_ACK_TIME]:
        return 0
    if 0 <= block[y + E_FIN] <= block[x + E_ACK]:
        return 0
    soon = 4 * max(block[y + E_RTT_MIN], 0) + PROMPT * MILLISECOND
    return 1 if log[rst + L_TIME] - block[x + E_ACK_TIME] <= soon else 0


def lost_by(c: int, side: int, rst: int, block: Words, log: Words) -> int:
    """How many bytes that ``side`` had sent were not acknowledged when it sent its RST."""
    spoke = block[c + C_WAIT_SPOKE + side]
    if 0 < spoke < log[rst + L_TIME] - SENT_AGAIN * MILLISECOND:
        return 0  # nobody sent them again
    return max(0, block[end_at(c, side) + E_NEXT] - max(block[end_at(c, 1 - side) + E_ACK], 1))


def fin_before(c: int, side: int, before: int, block: Words, log: Words) -> int:
    """Where the log has the first FIN of ``side`` before another segment; -1 where it has none."""
    r = block[c + C_LOG_HEAD]
    while r >= 0 and not (
        side_of(log[r + L_INFO]) == side
        and log[r + L_INFO] & (TCP_FIN | TCP_RST) == TCP_FIN
        and log[r + L_FRAME] < log[before + L_FRAME]
    ):
        r = log[r + L_NEXT]
    return r


def skips(x: int, block: Words) -> int:
    """Whether packets of the endpoint at ``x`` are missing, by its numbers: 2 surely, 1 perhaps, 0 as far as known not.

    Surely where its system counts them for each connection; perhaps where it mostly numbers them one by one.
    """
    skipped = block[x + E_LAST_FLAGS] >> SKIPPED_SHIFT
    steps = block[x + E_LAST_FLAGS] >> NUMBERED_SHIFT & bit(SKIPPED_SHIFT - NUMBERED_SHIFT) - 1
    if not skipped or skipped + steps < STEPS_LEAST:
        return 0
    if block[x + END_STACK] == STACK_LINUX:
        return 2
    return 1 if skipped <= steps or block[x + END_STACK] == STACK_UNKNOWN else 0


def acks_may_lack(c: int, side: int, rst: int, block: Words, log: Words) -> int:
    """Whether ACKs of ``side`` may be missing before its RST, by its count of packets."""
    x = end_at(c, side)
    if skips(x, block):
        return 1
    if block[x + END_STACK] not in (STACK_UNKNOWN, STACK_LINUX):
        return 0
    sent = 0
    before = -1
    r = block[c + C_LOG_HEAD]
    while r >= 0:
        if side_of(log[r + L_INFO]) == side:
            sent += log[r + L_INFO] >> LOG_RUN_SHIFT
            if log[r + L_FRAME] < log[rst + L_FRAME]:
                before = r
        r = log[r + L_NEXT]
    if sent < block[x + E_SEGMENTS] or before < 0 or log[before + L_INFO] >> LOG_RUN_SHIFT != 1:
        return 0
    number = log[before + L_FATE] >> LOG_IP_ID_SHIFT & LOG_IP_ID_MASK
    if number <= 1:
        return 0
    step = (log[rst + L_FATE] >> LOG_IP_ID_SHIFT & LOG_IP_ID_MASK) - number & 65535
    return 1 if 1 < step < 64 else 0


def lies_elsewhere(c: int, r: int, first: int, block: Words, log: Words) -> int:
    """Whether both numbers of a segment lie where its connection has none; a first one gives its own by itself."""
    info = log[r + L_INFO]
    if info & (TCP_ACK | TCP_RST) != TCP_ACK:
        return 0
    x = end_at(c, side_of(info))
    y = end_at(c, 1 - side_of(info))
    off = max(0 - log[r + L_ACK], log[r + L_ACK] - block[y + E_UNIQUE] - 1, 0)
    if first and not log[r + L_SEQ]:
        return 1 if off > ELSEWHERE else 0
    own = max(0 - log[r + L_SEQ], log[r + L_SEQ] - block[x + E_UNIQUE] - 1, 0)
    return 1 if off > BOTH_ELSEWHERE and own > BOTH_ELSEWHERE else 0


def lacks_syn(x: int, y: int, block: Words) -> int:
    """Whether the SYN of the endpoint at ``x`` is missing though it went on, and that of ``y`` is there."""
    return 1 if block[y + E_SYNS] and not block[x + E_SYNS] and block[x + E_SEGMENTS] > block[x + E_RSTS] else 0


def lacks_segments(c: int, block: Words, log: Words) -> int:
    """Whether the capture is known to lack segments of a plain connection, or to mix several."""
    bare = 0
    x = end_at(c, CLIENT)
    y = end_at(c, SERVER)
    if lacks_syn(x, y, block) or lacks_syn(y, x, block):
        return 1
    if max(skips(x, block), skips(y, block)) == 2:
        return 1
    if max(block[x + E_NEXT] - block[x + E_UNIQUE], block[y + E_NEXT] - block[y + E_UNIQUE]) - 1 > ELSEWHERE:
        return 1
    seen = 0  # of which sides a segment came before
    r = block[c + C_LOG_HEAD]
    while r >= 0:
        info = log[r + L_INFO]
        flags = info & (TCP_SYN | TCP_FIN | TCP_RST | TCP_ACK)
        if side_of(info) == CLIENT and not length_of(info) and flags == TCP_ACK:
            bare = 1
        if lies_elsewhere(c, r, 0 if seen & 1 << side_of(info) else 1, block, log):
            return 1
        seen |= 1 << side_of(info)
        r = log[r + L_NEXT]
    return 0 if bare or not block[x + E_SYNS] else 1


def weigh_abort(c: int, side: int, rst: int, d: int, block: Words, log: Words, out: Words) -> int:
    """Write at ``d`` what the RST of ``side`` cost. Returns which kind of finding that is."""
    x = end_at(c, side)
    y = end_at(c, 1 - side)
    time = log[rst + L_TIME]
    unread = unread_by(c, side, rst, block, log)
    lost = lost_by(c, side, rst, block, log)
    acked = block[y + E_ACK_TIME]
    fin = fin_before(c, 1 - side, rst, block, log)
    low = 0
    if fin >= 0 and block[x + E_ACK] < block[y + E_FIN] <= log[rst + L_ACK]:
        out[d + D_SPAN] = time - log[fin + L_TIME]
        if not lost and (unread <= LAST_WORDS or side != SERVER):
            out[d + D_GRADE] = GRADE_LOW
        return DETECT_RST_FOR_FIN
    if unread or may_be_unread(c, side, rst, block, log):
        out[d + D_COUNT] = unread
        out[d + D_SPAN] = max(0, time - block[x + E_ACK_TIME])
        if not unread or not (lost or side == SERVER) or acks_may_lack(c, side, rst, block, log):
            low = 1
        if low or lacks_segments(c, block, log):
            out[d + D_GRADE] = GRADE_LOW
        return DETECT_UNREAD
    if acked > block[x + E_ACK_TIME] and time - acked <= 1000 * MILLISECOND and not lost:
        out[d + D_SPAN] = time - acked
        return DETECT_LINGER
    out[d + D_COUNT] = lost
    out[d + D_SPAN] = time - block[c + C_FIRST_TIME]
    few = LAST_WORDS if block[y + E_FIN] >= 0 else 0
    if lost <= few or log[rst + L_ACK] > block[y + E_NEXT] or skips(y, block) or log[rst + L_MARKS] & M_REPLY_RST:
        low = 1
    if low or lacks_segments(c, block, log):
        out[d + D_GRADE] = GRADE_LOW
    return DETECT_ABORT


def abort_of(place: int, side: int, detection: Detection) -> int:
    """An RST of ``side`` by which it threw the connection away. Returns how many findings there are now."""
    block = detection.block
    log = detection.log
    out = detection.out
    frames = detection.frames
    at = detection.evidence
    c = detection.asked[3 * place]
    rst = unasked_reset_of(c, side, detection.asked[3 * place + 1], block, log, detection.changes)
    if rst < 0 or repeated_in_vain(c, side, rst, block, log) >= IN_VAIN:
        return detection.found
    d = tell(place, 0, side, detection)
    out[d + D_KIND] = weigh_abort(c, side, rst, d, block, log, out)
    if not detection.asked[3 * place + 2] & out[d + D_KIND] or not is_length(out[d + D_SPAN]):
        return detection.found
    out[d + D_TIME] = log[rst + L_TIME]
    out[d + D_FRAME] = log[rst + L_FRAME]
    frames[at] = log[rst + L_FRAME]
    if out[d + D_KIND] == DETECT_RST_FOR_FIN:
        at += 1
        frames[at] = log[fin_before(c, 1 - side, rst, block, log) + L_FRAME]
    return keep_finding(at + 1, detection)


def detect_aborts(count: int, detection: Detection) -> int:
    """Look for RSTs by which an end threw away an open connection, in ``count`` connections.

    What :func:`tcptrace_fsm.kernels.detect.detect` has found goes before. Returns how many findings there are then.
    """
    first = detection.found
    i = 0
    while i < count:
        if detection.asked[3 * i + 2] & DETECT_ABORTS:
            abort_of(i, CLIENT, detection)
            abort_of(i, SERVER, detection)
        i += 1
    return describe_all(first, detection)
