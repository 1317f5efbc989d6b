"""The kinds of findings that are most frequent, detected for many connections at once.

What they say is declared in the rules (``tcptrace_fsm.findings``), whose ``detect`` says the same of one connection;
that form serves two capture points, and as the measure of this one. Here a connection costs no Python object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.detected import *
from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words
    from tcptrace_fsm.kernels.records import Detection

__all__ = ["detect"]


def end_of_data_in_syn(c: int, side: int, block: Words, log: Words) -> int:
    """Where the payload ends that ``side`` sent in its SYN; 0 where there was none."""
    end = 0
    r = block[c + C_LOG_HEAD]
    while r >= 0:
        info = log[r + L_INFO]
        if info & TCP_SYN and length_of(info) and side_of(info) == side and not log[r + L_MARKS] & M_CAPTURE_DUPLICATE:
            end = max(end, end_of_record(r, log))
        r = log[r + L_NEXT]
    return end


def spurious_of(place: int, c: int, side: int, detection: Detection) -> int:
    """Data that ``side`` sent again although they had arrived. Returns how many findings there are now."""
    block = detection.block
    log = detection.log
    out = detection.out
    frames = detection.frames
    at = detection.evidence
    in_syn = end_of_data_in_syn(c, side, block, log)
    d = -1
    since = 0
    spared = 0
    r = block[c + C_LOG_HEAD]
    while r >= 0:
        info = log[r + L_INFO]
        marks = log[r + L_MARKS]
        if side_of(info) == side and length_of(info) and not info & TCP_SYN and not marks & M_CAPTURE_DUPLICATE:
            if not spared and 0 <= log[r + L_SEQ] < in_syn:
                spared = 1  # what was in the SYN is sent once more: it had not been taken
            elif marks & M_SPURIOUS:
                if d < 0:
                    d = tell(place, DETECT_SPURIOUS, side, detection)
                    since = log[r + L_TIME]
                    out[d + D_TIME] = since
                    out[d + D_FRAME] = log[r + L_FRAME]
                out[d + D_COUNT] += 1
                frames[at] = log[r + L_FRAME]
                at += 1
        r = log[r + L_NEXT]
    if d < 0:
        return detection.found
    r = block[c + C_LOG_HEAD]
    while r >= 0:
        marks = log[r + L_MARKS]
        if (
            side_of(log[r + L_INFO]) != side
            and marks & M_DSACK
            and not marks & M_CAPTURE_DUPLICATE
            and log[r + L_TIME] >= since
        ):
            out[d + D_MORE] += 1
            frames[at] = log[r + L_FRAME]
            at += 1
        r = log[r + L_NEXT]
    out[d + D_GRADE] = min(out[d + D_COUNT], out[d + D_MORE], 15)
    return keep_finding(at, detection)


def closed_first(c: int, side: int, t: int, block: Words, changes: Words) -> int:
    """Whether ``side`` came into TIME_WAIT, or kept none behind its FIN_WAIT_2; its transitions begin at ``t``."""
    end = t + block[c + C_TRANSITIONS] * TRANSITION_SIZE
    while t < end:
        if changes[t + T_SIDE] == side and (
            changes[t + T_TO] == ST_TIME_WAIT
            or (changes[t + T_FROM] == ST_FIN_WAIT_2 and changes[t + T_EVENT] == EV_GONE)
        ):
            return 1
        t += TRANSITION_SIZE
    return 0


def fins_of_side(c: int, side: int, at: int, apart: int, block: Words, log: Words, frames: Words) -> int:
    """Write where the log has the FINs of ``side``, without copies, which come within ``apart`` ns; how many."""
    n = 0
    latest = -apart
    end = 0
    r = block[c + C_LOG_HEAD]
    while r >= 0:
        info = log[r + L_INFO]
        if (
            side_of(info) == side
            and info & (TCP_FIN | TCP_RST) == TCP_FIN
            and not log[r + L_MARKS] & (M_NOBODYS | M_NETWORK_DUPLICATE)
        ):
            time = log[r + L_TIME]
            if time - latest >= apart or end_of_record(r, log) != end:
                if not n:
                    end = end_of_record(r, log)
                frames[at + n] = r
                n += 1
            latest = time
        r = log[r + L_NEXT]
    return n


def first_ack_of_fin(c: int, side: int, block: Words, log: Words) -> int:
    """Where the log has the first ACK that ``side`` sent of its peer's FIN; -1 where it has none."""
    fin = block[c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE + E_FIN]
    r = block[c + C_LOG_HEAD]
    while r >= 0:
        info = log[r + L_INFO]
        if side_of(info) == side and not info & TCP_RST and log[r + L_ACK] >= fin and not log[r + L_MARKS] & M_NOBODYS:
            return r
        r = log[r + L_NEXT]
    return -1


def is_older(a: int, b: int) -> int:
    """Whether timestamp ``a`` is older than ``b``, or missing beside it (RFC 7323 section 3.2)."""
    if b < 0:
        return 0
    return newer(b, a) if a >= 0 else 1


def repeated_after(c: int, side: int, since: int, tsval: int, block: Words, log: Words) -> int:
    """Where the log has the first FIN, or old data, that ``side`` sent after ``since``; -1 where it has none."""
    r = block[c + C_LOG_HEAD]
    while r >= 0:
        info = log[r + L_INFO]
        marks = log[r + L_MARKS]
        if (
            side_of(info) == side
            and log[r + L_TIME] > since
            and not marks & (M_NOBODYS | M_NETWORK_DUPLICATE)
            and (
                info & (TCP_FIN | TCP_RST) == TCP_FIN
                or (length_of(info) and marks & M_SPURIOUS and not is_older(log[r + L_TSVAL], tsval))
            )
        ):
            return r
        r = log[r + L_NEXT]
    return -1


def echoes_earlier(ack: int, fins: int, at: int, log: Words, frames: Words) -> int:
    """Whether the ACK at ``ack`` echoes the timestamp of a FIN before the last of the ``fins`` that stand at ``at``."""
    echoed = log[ack + L_TSECR]
    if echoed == log[frames[at + fins - 1] + L_TSVAL]:
        return 0
    i = 0
    while i < fins - 1:
        tsval = log[frames[at + i] + L_TSVAL]
        if tsval >= 0 and tsval == echoed:
            return 1
        i += 1
    return 0


def last_ack_of(place: int, side: int, detection: Detection) -> int:
    """The last ACK of ``side``, which closed first, was lost. Returns how many findings there are now."""
    block = detection.block
    log = detection.log
    out = detection.out
    frames = detection.frames
    apart = detection.apart
    at = detection.evidence
    changes = detection.changes
    c = detection.asked[3 * place]
    t = detection.asked[3 * place + 1]
    if not closed_first(c, side, t, block, changes):
        return detection.found
    fins = fins_of_side(c, 1 - side, at, apart, block, log, frames)
    if not fins:
        return detection.found
    ack = first_ack_of_fin(c, side, block, log)
    if ack < 0:
        return detection.found
    first = frames[at]
    # What comes within a round trip of that ACK had left before the ACK could be there.
    since = log[ack + L_TIME] + max(apart, block[c + C_ENDPOINTS + side * ENDPOINT_SIZE + E_RTT_MIN])
    again = repeated_after(c, 1 - side, since, log[first + L_TSVAL], block, log)
    d = -1
    if again >= 0:
        d = tell(place, DETECT_LAST_ACK_LOST, side, detection)
        out[d + D_SPAN] = log[again + L_TIME] - log[ack + L_TIME]
        out[d + D_MORE] = DL_PASSED
    elif fins >= 2 and (log[ack + L_MARKS] & M_DSACK or echoes_earlier(ack, fins, at, log, frames)):
        again = frames[at + fins - 1]
        d = tell(place, DETECT_LAST_ACK_LOST, side, detection)
        out[d + D_SPAN] = log[again + L_TIME] - log[first + L_TIME]
    if d < 0 or not is_length(out[d + D_SPAN]):
        return detection.found
    if log[again + L_INFO] & (TCP_FIN | TCP_RST) == TCP_FIN:
        out[d + D_MORE] |= DL_FIN
    out[d + D_TIME] = log[again + L_TIME]
    out[d + D_FRAME] = log[again + L_FRAME]
    out[d + D_COUNT] = fins
    i = 0
    while i < fins:
        frames[at + i] = log[frames[at + i] + L_FRAME]
        i += 1
    frames[at + fins] = log[ack + L_FRAME]
    frames[at + fins + 1] = log[again + L_FRAME]
    return keep_finding(at + fins + 2, detection)


def no_response_of(place: int, c: int, detection: Detection) -> int:
    """SYNs, and nobody answers within ``soon`` ns. Returns how many findings there are now."""
    block = detection.block
    log = detection.log
    out = detection.out
    frames = detection.frames
    at = detection.evidence
    if block[c + C_FLAGS] & (CF_MET_OLD | CF_MIDSTREAM):
        return detection.found
    end = block[c + C_TAKEN_OVER]
    if end < 0:
        end = block[c + C_OVER_TIME]
    d = -1
    last = 0
    r = block[c + C_LOG_HEAD]
    while r >= 0:
        if log[r + L_INFO] & (TCP_SYN | TCP_ACK | TCP_RST) == TCP_SYN and not log[r + L_MARKS] & M_CAPTURE_DUPLICATE:
            last = log[r + L_TIME]
            if d < 0:
                if end - last < detection.soon:
                    return detection.found
                d = tell(place, DETECT_NO_RESPONSE, CLIENT, detection)
                out[d + D_TIME] = last
                out[d + D_FRAME] = log[r + L_FRAME]
            out[d + D_COUNT] += 1
            frames[at] = log[r + L_FRAME]
            at += 1
        r = log[r + L_NEXT]
    if d < 0:
        return detection.found
    lasted = last - out[d + D_TIME]
    silence = end - last
    waited = lasted + silence
    again = 1 if out[d + D_COUNT] > 1 and 10 * lasted >= detection.soon else 0
    if not is_length(lasted) or not is_length(waited if again and silence < detection.soon else silence):
        return detection.found
    out[d + D_SPAN] = lasted
    out[d + D_MORE] = silence
    out[d + D_GRADE] = GRADE_AGAIN if again else 0
    if waited >= 3000 * MILLISECOND:
        out[d + D_GRADE] |= GRADE_LATE
    sums = block[c + C_ENDPOINTS + E_CHECKSUMS] & (SUMS_GOOD | SUMS_OFFLOADED | SUMS_BAD)
    if sums == SUMS_BAD:
        out[d + D_GRADE] |= GRADE_BAD_SUMS
    return keep_finding(at, detection)


def isn_changed_of(place: int, c: int, detection: Detection) -> int:
    """SYNs without an answer, and then one with another ISN. Returns how many findings there are now."""
    block = detection.block
    log = detection.log
    out = detection.out
    frames = detection.frames
    at = detection.evidence
    if block[c + C_FLAGS] & (CF_MET_OLD | CF_MIDSTREAM) or block[c + C_TAKEN_BY] != CLIENT:
        return detection.found
    until = -1  # the frame of the first thing that the client sent and that is no SYN
    r = block[c + C_LOG_HEAD]
    while r >= 0 and until < 0:
        if side_of(log[r + L_INFO]) == CLIENT and not log[r + L_MARKS] & M_CAPTURE_DUPLICATE and not is_syn(r, log):
            until = log[r + L_FRAME]
        r = log[r + L_NEXT]
    d = -1
    r = block[c + C_LOG_HEAD]
    while r >= 0:
        if (
            side_of(log[r + L_INFO]) == CLIENT
            and is_syn(r, log)
            and not log[r + L_MARKS] & M_CAPTURE_DUPLICATE
            and (until < 0 or log[r + L_FRAME] < until)
        ):
            if d < 0:
                d = tell(place, DETECT_ISN_CHANGED, CLIENT, detection)
            out[d + D_TIME] = log[r + L_TIME]
            out[d + D_FRAME] = log[r + L_FRAME]
            out[d + D_COUNT] += 1
            frames[at] = log[r + L_FRAME]
            at += 1
        r = log[r + L_NEXT]
    if d < 0:
        return detection.found
    out[d + D_SPAN] = block[c + C_TAKEN_OVER] - out[d + D_TIME]
    if not is_length(out[d + D_SPAN]):
        return detection.found
    x = c + C_ENDPOINTS
    if block[x + E_RSTS] or (block[c + C_INCARNATION] and not block[x + ENDPOINT_SIZE + E_SEGMENTS]):
        out[d + D_GRADE] = GRADE_UNSURE
    if out[d + D_SPAN] >= 3000 * MILLISECOND:
        out[d + D_GRADE] |= GRADE_LATE
    return keep_finding(at, detection)


def refused_of(place: int, c: int, detection: Detection) -> int:
    """A SYN, and an RST of the server. Returns how many findings there are now."""
    block = detection.block
    log = detection.log
    out = detection.out
    frames = detection.frames
    at = detection.evidence
    x = c + C_ENDPOINTS + E_SEGMENTS
    if block[c + C_FLAGS] & CF_MIDSTREAM or not block[x] or not block[x + ENDPOINT_SIZE]:
        return detection.found
    syn = -1
    rst = -1
    r = block[c + C_LOG_HEAD]
    while r >= 0:
        if not log[r + L_MARKS] & M_CAPTURE_DUPLICATE:
            if syn < 0 and is_syn(r, log):
                syn = r
            if rst < 0 and log[r + L_INFO] & TCP_RST and side_of(log[r + L_INFO]) != CLIENT:
                rst = r
        r = log[r + L_NEXT]
    if syn < 0 or rst < 0 or not is_length(log[rst + L_TIME] - log[syn + L_TIME]):
        return detection.found
    d = tell(place, DETECT_REFUSED, CLIENT, detection)
    out[d + D_TIME] = log[rst + L_TIME]
    out[d + D_FRAME] = log[rst + L_FRAME]
    out[d + D_COUNT] = block[c + C_ENDPOINTS + E_SYNS]
    out[d + D_SPAN] = log[rst + L_TIME] - log[syn + L_TIME]
    frames[at] = log[rst + L_FRAME]
    frames[at + 1] = log[syn + L_FRAME]
    return keep_finding(at + 2, detection)


def unsolicited_of(place: int, c: int, detection: Detection) -> int:
    """SYN+ACKs to who sent no SYN, answered by RST or by nothing. Returns how many findings there are now."""
    block = detection.block
    log = detection.log
    out = detection.out
    frames = detection.frames
    at = detection.evidence
    answers = 0
    rst = -1
    first = -1
    last = -1
    r = block[c + C_LOG_HEAD]
    while r >= 0:
        if not log[r + L_MARKS] & M_CAPTURE_DUPLICATE:
            flags = log[r + L_INFO] & (TCP_SYN | TCP_ACK | TCP_RST)
            answer = 1 if flags == TCP_SYN | TCP_ACK and side_of(log[r + L_INFO]) == SERVER else 0
            if flags == TCP_SYN or not flags & (TCP_SYN | TCP_RST) or (first < 0 and not answer):
                return detection.found
            if first < 0:
                first = r
            if answer:
                frames[at + answers] = log[r + L_FRAME]
                answers += 1
                last = r
            elif rst < 0 and flags & TCP_RST and side_of(log[r + L_INFO]) == CLIENT:
                rst = r
        r = log[r + L_NEXT]
    if first < 0:
        return detection.found
    taken = block[c + C_TAKEN_OVER]
    if 0 <= taken - log[first + L_TIME] < 1000 * MILLISECOND:
        return detection.found
    if rst < 0 and (taken if taken >= 0 else block[c + C_OVER_TIME]) - log[last + L_TIME] < 1000 * MILLISECOND:
        return detection.found
    if rst >= 0 and not is_length(log[rst + L_TIME] - log[first + L_TIME]):
        return detection.found
    d = tell(place, DETECT_UNSOLICITED, SERVER, detection)
    out[d + D_TIME] = log[first + L_TIME]
    out[d + D_FRAME] = log[first + L_FRAME]
    out[d + D_COUNT] = answers
    if rst >= 0:
        out[d + D_MORE] = 1
        out[d + D_GRADE] = GRADE_RESET | (GRADE_AGAIN if answers > 1 else 0)
        out[d + D_SPAN] = log[rst + L_TIME] - log[first + L_TIME]
        frames[at + answers] = log[rst + L_FRAME]
        answers += 1
    return keep_finding(at + answers, detection)


def stray_of(place: int, c: int, detection: Detection) -> int:
    """An RST before all else, or a FIN that is answered by RST or by nothing.

    Returns how many findings there are now.
    """
    block = detection.block
    log = detection.log
    out = detection.out
    frames = detection.frames
    at = detection.evidence
    first = -1
    answer = -1
    r = block[c + C_LOG_HEAD]
    while r >= 0 and answer < 0:
        if not log[r + L_MARKS] & M_CAPTURE_DUPLICATE:
            if first < 0:
                first = r
            elif side_of(log[r + L_INFO]) != side_of(log[first + L_INFO]):
                answer = r
        r = log[r + L_NEXT]
    if first < 0 or not log[first + L_INFO] & (TCP_FIN | TCP_RST):
        return detection.found
    side = side_of(log[first + L_INFO])
    reset = 1 if log[first + L_INFO] & TCP_RST else 0
    if answer >= 0 and not reset and not log[answer + L_INFO] & TCP_RST:
        return detection.found
    kind = DETECT_STRAY_RST if reset else DETECT_STRAY_FIN
    if not detection.asked[3 * place + 2] & kind:
        return detection.found
    d = tell(place, kind, side, detection)
    out[d + D_TIME] = log[first + L_TIME]
    out[d + D_FRAME] = log[first + L_FRAME]
    out[d + D_COUNT] = block[c + C_ENDPOINTS + side * ENDPOINT_SIZE + E_RSTS] if reset else 1
    frames[at] = log[first + L_FRAME]
    if answer >= 0 and not reset:
        out[d + D_MORE] = 1
        out[d + D_GRADE] = GRADE_RESET
        frames[at + 1] = log[answer + L_FRAME]
        at += 1
    return keep_finding(at + 1, detection)


def detect(count: int, detection: Detection) -> int:
    """Look for what each of ``count`` connections is asked about.

    The findings are in the order of the connections, of the kinds and of the sides. Returns how many there are.
    """
    block = detection.block
    i = 0
    while i < count:
        c = detection.asked[3 * i]
        bits = detection.asked[3 * i + 2]
        if bits & DETECT_NO_RESPONSE:
            no_response_of(i, c, detection)
        if bits & DETECT_ISN_CHANGED:
            isn_changed_of(i, c, detection)
        if bits & DETECT_REFUSED:
            refused_of(i, c, detection)
        if bits & DETECT_UNSOLICITED:
            unsolicited_of(i, c, detection)
        if bits & (DETECT_STRAY_FIN | DETECT_STRAY_RST):
            stray_of(i, c, detection)
        side = CLIENT
        if not block[c + C_ENDPOINTS + E_SEGMENTS] or not block[c + C_ENDPOINTS + ENDPOINT_SIZE + E_SEGMENTS]:
            side = SERVER + 1  # of one direction, what the other had received is not to be seen
        while side <= SERVER:
            if bits & DETECT_SPURIOUS:
                spurious_of(i, c, side, detection)
            if bits & DETECT_LAST_ACK_LOST:
                last_ack_of(i, side, detection)
            side += 1
        i += 1
    return describe_all(0, detection)
