"""Find the frames of a chunk of a capture file: pcap and snoop records, pcapng blocks.

One chunk goes in with a row of control words, frame records come out; what does not fit is left for the next call.
No byte is read before its place has been compared with the chunk's end, and no length is believed before it has been
compared with what may hold it.

Sources: the pcap and pcapng drafts of the IETF's opsawg (draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Buffer, Words

__all__ = ["settle_stamps", "walk_pcap", "walk_pcapng", "walk_snoop"]


def number(data: Buffer, at: int, swapped: int) -> int:
    """Return the 32-bit number at ``at``, in the byte order of the machine that wrote the file."""
    return little32(data, at) if swapped else uint32(data, at)


def stamp_to_ns(high: int, low: int, unit: int, factor: int, offset: int, ctl: Words) -> int:
    """Return the time in ns of a pcapng time stamp, held within 0 ... 2**62 (the year 2116); counts what was not."""
    beyond = 0
    if high >> 31:  # beyond what a signed word holds: no clock of this world
        high = 0x7FFFFFFF
        beyond = 1
    stamp = (high << 32) | low
    limit = stamp - stamp + 1  # in steps, so that C gives it the wide type too
    limit = limit << 62
    if unit == UNIT_TIMES:
        if stamp > limit // factor:
            time = limit
            beyond = 1
        else:
            time = stamp * factor
    elif unit == UNIT_PART:
        time = stamp // factor
    else:
        seconds = stamp >> factor
        fraction = stamp - (seconds << factor)
        if factor > 33:  # the product below must stay within 63 bits
            fraction = fraction >> (factor - 33)
            factor = 33
        if seconds >> 32:
            time = limit
            beyond = 1
        else:
            time = seconds * 1000000000 + ((fraction * 1000000000) >> factor)
    if time > limit:
        time = limit
        beyond = 1
    time = time + offset
    if time < 0:
        time = 0
        beyond = 1
    if time > limit:
        time = limit
        beyond = 1
    ctl[WALK_HELD] += beyond
    return time


def walk_pcap(data: Buffer, frames: Words, ctl: Words) -> int:
    """Walk the records of a pcap chunk.

    Parameters
    ----------
    data : bytes-like
        The chunk.
    frames : int64[WALK_CAPACITY * FRAME_SIZE]
        Filled with one frame record each.
    ctl : int64[WALK_SIZE]
        Control words, see :mod:`.layout`; ``WALK_BEGIN``, ``WALK_STATUS`` and ``WALK_NEED`` are the answer.

    Returns
    -------
    int
        Frame records filled.

    """
    at = ctl[WALK_BEGIN]
    end = ctl[WALK_END]
    capacity = ctl[WALK_CAPACITY]
    swapped = ctl[WALK_SWAPPED]
    tick = ctl[WALK_TICK]
    header = ctl[WALK_HEADER]
    link = ctl[WALK_LINK]
    lengths = ctl[WALK_LENGTHS]
    earliest = ctl[WALK_EARLIEST]
    latest = ctl[WALK_LATEST]
    count = 0
    status = STATUS_MORE
    while True:
        need = header
        if end - at < header:
            break
        captured = number(data, at + 8, swapped)
        original = number(data, at + 12, swapped)
        if lengths == 1 or (lengths == 2 and captured > original):
            captured, original = original, captured
        if captured > LIMIT_PACKET:
            status = STATUS_DAMAGED
            ctl[WALK_REASON] = DAMAGE_LENGTH
            need = captured
            break
        need = header + captured
        if end - at < need:
            break
        if count == capacity:
            status = STATUS_FULL
            break
        seconds = number(data, at, swapped)
        fraction = number(data, at + 4, swapped)
        f = count * FRAME_SIZE
        frames[f + F_OFFSET] = at + header
        frames[f + F_CAPTURED] = captured
        frames[f + F_ORIGINAL] = max(captured, original)
        time = seconds * 1000000000 + fraction * tick
        frames[f + F_TIME] = time
        earliest = min(earliest, time)
        latest = max(latest, time)
        frames[f + F_LINK] = link
        count += 1
        at += need
    ctl[WALK_BEGIN] = at
    ctl[WALK_STATUS] = status
    ctl[WALK_NEED] = need
    ctl[WALK_EARLIEST] = earliest
    ctl[WALK_LATEST] = latest
    return count


def walk_snoop(data: Buffer, frames: Words, ctl: Words) -> int:
    """Walk the records of a snoop chunk (RFC 1761); parameters and answer as for :func:`walk_pcap`."""
    at = ctl[WALK_BEGIN]
    end = ctl[WALK_END]
    capacity = ctl[WALK_CAPACITY]
    link = ctl[WALK_LINK]
    earliest = ctl[WALK_EARLIEST]
    latest = ctl[WALK_LATEST]
    count = 0
    status = STATUS_MORE
    while True:
        need = 24
        if end - at < 24:
            break
        original = uint32(data, at)
        captured = uint32(data, at + 4)
        total = uint32(data, at + 8)
        need = total
        if captured > LIMIT_PACKET or total > 2 * LIMIT_PACKET:
            status = STATUS_DAMAGED
            ctl[WALK_REASON] = DAMAGE_LENGTH
            need = max(captured, total)
            break
        if total < captured + 24:
            status = STATUS_DAMAGED
            ctl[WALK_REASON] = DAMAGE_PACKET_IN_BLOCK
            need = captured
            break
        if end - at < need:
            break
        if count == capacity:
            status = STATUS_FULL
            break
        seconds = uint32(data, at + 16)
        fraction = uint32(data, at + 20)
        time = seconds * 1000000000 + fraction * 1000
        f = count * FRAME_SIZE
        frames[f + F_OFFSET] = at + 24
        frames[f + F_CAPTURED] = captured
        frames[f + F_ORIGINAL] = max(captured, original)
        frames[f + F_TIME] = time
        frames[f + F_LINK] = link
        earliest = min(earliest, time)
        latest = max(latest, time)
        count += 1
        at += need
    ctl[WALK_BEGIN] = at
    ctl[WALK_STATUS] = status
    ctl[WALK_NEED] = need
    ctl[WALK_EARLIEST] = earliest
    ctl[WALK_LATEST] = latest
    return count


def packet_head(data: Buffer, at: int, kind: int, total: int, interfaces: Words, ctl: Words) -> int:
    """Read the lengths of the packet block of ``total`` bytes at ``at``, of which 28, or all, are in the chunk.

    Fills ``WALK_HEAD`` and what follows it. Returns what is wrong with them, ``DAMAGE_...``, with the number that shows
    it in ``WALK_NEED``; 0 for nothing.
    """
    swapped = ctl[WALK_SWAPPED]
    known = ctl[WALK_INTERFACES]
    head = 28
    interface = 0
    if total < (16 if kind == 3 else 32):
        ctl[WALK_NEED] = total
        return DAMAGE_BLOCK_LENGTH
    if kind == 3:  # simple packet: the first interface, no time
        head = 12
        original = number(data, at + 8, swapped)
        captured = original
        if known and interfaces[IF_SNAPLEN] and captured > interfaces[IF_SNAPLEN]:
            captured = interfaces[IF_SNAPLEN]
        captured = min(captured, total - 16)
    else:  # enhanced packet, and its obsolete forerunner
        if kind == 6:
            interface = number(data, at + 8, swapped)
        elif swapped:
            interface = (data[at + 9] << 8) | data[at + 8]
        else:
            interface = uint16(data, at + 8)
        captured = number(data, at + 20, swapped)
        original = number(data, at + 24, swapped)
    if interface >= known:
        ctl[WALK_NEED] = interface
        return DAMAGE_INTERFACE
    if captured > LIMIT_PACKET or captured > total - head - 4:
        ctl[WALK_NEED] = captured
        return DAMAGE_LENGTH if captured > LIMIT_PACKET else DAMAGE_PACKET_IN_BLOCK
    ctl[WALK_HEAD] = head
    ctl[WALK_INTERFACE] = interface
    ctl[WALK_CAPTURED] = captured
    ctl[WALK_ORIGINAL] = original
    return 0


def take_packet(data: Buffer, at: int, kind: int, frames: Words, f: int, interfaces: Words, ctl: Words) -> int:
    """Write the frame record of the packet block at ``at``, whose lengths have been read. Returns its time."""
    swapped = ctl[WALK_SWAPPED]
    row = ctl[WALK_INTERFACE] * IF_SIZE
    frames[f + F_OFFSET] = at + ctl[WALK_HEAD]
    frames[f + F_CAPTURED] = ctl[WALK_CAPTURED]
    frames[f + F_ORIGINAL] = max(ctl[WALK_CAPTURED], ctl[WALK_ORIGINAL])
    frames[f + F_LINK] = interfaces[row + IF_LINK]
    ctl[WALK_HELD_BEFORE] = ctl[WALK_HELD]
    ctl[WALK_UNSTAMPED] = 0
    if kind == 3:
        ctl[WALK_UNSTAMPED] = 1
        ctl[WALK_TIMELESS] += 1
    else:
        ctl[WALK_LAST_TIME] = stamp_to_ns(
            number(data, at + 12, swapped),
            number(data, at + 16, swapped),
            interfaces[row + IF_UNIT],
            interfaces[row + IF_FACTOR],
            interfaces[row + IF_OFFSET],
            ctl,
        )
        ctl[WALK_EARLIEST] = min(ctl[WALK_EARLIEST], ctl[WALK_LAST_TIME])
        ctl[WALK_LATEST] = max(ctl[WALK_LATEST], ctl[WALK_LAST_TIME])
    frames[f + F_TIME] = ctl[WALK_LAST_TIME]
    return ctl[WALK_LAST_TIME]


def walk_pcapng(data: Buffer, frames: Words, interfaces: Words, ctl: Words) -> int:
    """Walk the blocks of a pcapng chunk.

    The walk stops at a block that changes what it knows (section header, interface) or tells of the capture itself
    (statistics, names): the caller reads that one, moves ``WALK_BEGIN`` past it and calls again. ``interfaces`` is the
    section's interface table, ``WALK_INTERFACES`` rows; parameters and answer are otherwise as for :func:`walk_pcap`.
    """
    at = ctl[WALK_BEGIN]
    end = ctl[WALK_END]
    capacity = ctl[WALK_CAPACITY]
    swapped = ctl[WALK_SWAPPED]
    count = 0
    status = STATUS_MORE
    reason = 0
    while True:
        need = 12
        if end - at < 12:
            break
        kind = number(data, at, swapped)
        if kind == 0x0A0D0D0A:  # the same in both byte orders; what follows need not be in ours
            need = 28
            if end - at >= 28:
                status = STATUS_BLOCK
            break
        total = number(data, at + 4, swapped)
        size = (total + 3) & ~3  # the next block begins on a multiple of four
        need = size
        if total < 12 or total > LIMIT_BLOCK:
            status = STATUS_DAMAGED
            reason = DAMAGE_BLOCK_LENGTH
            need = total
            break
        if kind in {6, 2, 3}:
            if end - at < 28:
                need = min(size, 28)
                if end - at < need:
                    break
            reason = packet_head(data, at, kind, total, interfaces, ctl)
            if reason:
                status = STATUS_DAMAGED
                need = ctl[WALK_NEED]
                break
            need = size
            if end - at < size:
                break
            if count == capacity:
                status = STATUS_FULL
                break
        else:
            if end - at < size <= 65536:
                break
            if kind in {1, 4, 5}:  # interface, names, statistics: for the caller
                if end - at < size:
                    break
                status = STATUS_BLOCK
            elif size > 65536:  # not worth the room; by its size alone, so that chunks do not matter
                status = STATUS_SKIP
                break
        tail = at + size - 4
        if number(data, tail, swapped) != total:
            status = STATUS_DAMAGED
            reason = DAMAGE_BLOCK_TRAILER
            need = number(data, tail, swapped)
            break
        if status == STATUS_BLOCK:
            break
        if kind in {6, 2, 3}:
            take_packet(data, at, kind, frames, count * FRAME_SIZE, interfaces, ctl)
            count += 1
        at += size
    ctl[WALK_BEGIN] = at
    ctl[WALK_STATUS] = status
    ctl[WALK_NEED] = need
    ctl[WALK_REASON] = reason
    return count


def apart(one: int, other: int) -> int:
    """Whether two times lie a day or more apart: 1 or 0."""
    return 1 if one - other > DAY * MILLISECOND or other - one > DAY * MILLISECOND else 0


def settle_stamps(frames: Words, count: int, last: int, ctl: Words) -> int:
    """Give a frame that alone is stamped a day or more away from its neighbours the time of the one before.

    The clock is judged by what follows: one stamp says nothing, neither of it nor of what was open then. The first
    frame of a capture gets the time of the second where it is ahead of that and of the third.

    Parameters
    ----------
    frames : int64[]
        Frame records, as walked.
    count : int
    last : int
        1 where nothing follows that could judge the last frame: then it is taken as it is.
    ctl : int64[WALK_SIZE]
        ``WALK_EARLIEST`` and ``WALK_LATEST`` are corrected; ``WALK_STRAY`` and what follows it go on.

    Returns
    -------
    int
        How many are settled: all, or all but the last; of the first two of a capture, perhaps none.

    """
    before = ctl[WALK_BEFORE] - 1
    least = ctl[WALK_LEAST] - 1
    greatest = ctl[WALK_GREATEST] - 1
    i = 0
    while i < count:
        time = frames[i * FRAME_SIZE + F_TIME]
        if before < 0 or apart(time, before):
            if i + 1 == count and not last:
                break
            after = frames[(i + 1) * FRAME_SIZE + F_TIME] if i + 1 < count else time
            agree = 0
            if before >= 0:
                agree = 1 - apart(before, after)
            elif time > after and apart(time, after):
                if i + 2 == count and not last:
                    break
                agree = 1 - apart(after, frames[(i + 2) * FRAME_SIZE + F_TIME]) if i + 2 < count else 0
            if agree and apart(time, after):
                time = before if before >= 0 else after
                frames[i * FRAME_SIZE + F_TIME] = time
                ctl[WALK_STRAY] += 1
        least = time if least < 0 else min(least, time)
        greatest = max(greatest, time)
        before = time
        i += 1
    ctl[WALK_BEFORE] = before + 1
    ctl[WALK_LEAST] = least + 1
    ctl[WALK_GREATEST] = greatest + 1
    ctl[WALK_EARLIEST] = least
    ctl[WALK_LATEST] = greatest
    return i
