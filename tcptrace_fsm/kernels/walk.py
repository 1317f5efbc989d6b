"""Find the frames of a chunk of a capture file: pcap and snoop records, pcapng blocks.

One chunk goes in with a row of control words, frame records come out; what does not fit is left for the next call.
No byte is read before its place has been compared with the chunk's end, and no length is believed before it has been
compared with what may hold it.

Sources: the pcap and pcapng drafts of the IETF's opsawg (draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Buffer, Words

__all__ = ["walk_pcap", "walk_pcapng", "walk_snoop"]


def number(a: int, b: int, c: int, d: int, swapped: int) -> int:
    """Return the 32-bit number whose bytes in the file are ``a b c d``."""
    if swapped:
        return (d << 24) | (c << 16) | (b << 8) | a
    return (a << 24) | (b << 16) | (c << 8) | d


def stamp_to_ns(high: int, low: int, unit: int, factor: int, offset: int) -> int:
    """Return the time in ns of a pcapng time stamp, held within 0 ... 2**62 (the year 2116)."""
    if high >> 31:  # beyond what a signed word holds: no clock of this world
        high = 0x7FFFFFFF
    stamp = (high << 32) | low
    limit = stamp - stamp + 1  # in steps, so that C gives it the wide type too
    limit = limit << 62
    if unit == UNIT_TIMES:
        if stamp > limit // factor:
            time = limit
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
        else:
            time = seconds * 1000000000 + ((fraction * 1000000000) >> factor)
    time = min(time, limit)
    time = time + offset
    if time < 0:
        return 0
    if time > limit:
        return limit
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
        captured = number(data[at + 8], data[at + 9], data[at + 10], data[at + 11], swapped)
        original = number(data[at + 12], data[at + 13], data[at + 14], data[at + 15], swapped)
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
        seconds = number(data[at], data[at + 1], data[at + 2], data[at + 3], swapped)
        fraction = number(data[at + 4], data[at + 5], data[at + 6], data[at + 7], swapped)
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
        original = number(data[at], data[at + 1], data[at + 2], data[at + 3], 0)
        captured = number(data[at + 4], data[at + 5], data[at + 6], data[at + 7], 0)
        total = number(data[at + 8], data[at + 9], data[at + 10], data[at + 11], 0)
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
        seconds = number(data[at + 16], data[at + 17], data[at + 18], data[at + 19], 0)
        fraction = number(data[at + 20], data[at + 21], data[at + 22], data[at + 23], 0)
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


def walk_pcapng(data: Buffer, frames: Words, interfaces: Words, ctl: Words) -> int:
    """Walk the blocks of a pcapng chunk.

    The walk stops at a block that changes what it knows (section header, interface) or tells of the capture itself
    (statistics, names): the caller reads that one, moves ``WALK_BEGIN`` past it and calls again.

    Parameters
    ----------
    data : bytes-like
        The chunk.
    frames : int64[WALK_CAPACITY * FRAME_SIZE]
        Filled with one frame record each.
    interfaces : int64[at least WALK_INTERFACES * IF_SIZE]
        The section's interface table.
    ctl : int64[WALK_SIZE]
        Control words, see :mod:`.layout`.

    Returns
    -------
    int
        Frame records filled.

    """
    at = ctl[WALK_BEGIN]
    end = ctl[WALK_END]
    capacity = ctl[WALK_CAPACITY]
    swapped = ctl[WALK_SWAPPED]
    known = ctl[WALK_INTERFACES]
    count = 0
    status = STATUS_MORE
    reason = 0
    while True:
        need = 12
        if end - at < 12:
            break
        kind = number(data[at], data[at + 1], data[at + 2], data[at + 3], swapped)
        if kind == 0x0A0D0D0A:  # the same in both byte orders; what follows need not be in ours
            need = 28
            if end - at >= 28:
                status = STATUS_BLOCK
            break
        total = number(data[at + 4], data[at + 5], data[at + 6], data[at + 7], swapped)
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
            if kind in {6, 2}:  # enhanced packet, and its obsolete forerunner
                if total < 32:
                    status = STATUS_DAMAGED
                    reason = DAMAGE_BLOCK_LENGTH
                    need = total
                    break
                head = 28
                if kind == 6:
                    interface = number(data[at + 8], data[at + 9], data[at + 10], data[at + 11], swapped)
                else:
                    interface = number(0, 0, data[at + 8], data[at + 9], 0)
                    if swapped:
                        interface = number(0, 0, data[at + 9], data[at + 8], 0)
                captured = number(data[at + 20], data[at + 21], data[at + 22], data[at + 23], swapped)
                original = number(data[at + 24], data[at + 25], data[at + 26], data[at + 27], swapped)
            else:  # simple packet: the first interface, no time
                if total < 16:
                    status = STATUS_DAMAGED
                    reason = DAMAGE_BLOCK_LENGTH
                    need = total
                    break
                head = 12
                interface = 0
                original = number(data[at + 8], data[at + 9], data[at + 10], data[at + 11], swapped)
                captured = original
                if known and interfaces[IF_SNAPLEN] and captured > interfaces[IF_SNAPLEN]:
                    captured = interfaces[IF_SNAPLEN]
                captured = min(captured, total - 16)
            if interface >= known:
                status = STATUS_DAMAGED
                reason = DAMAGE_INTERFACE
                need = interface
                break
            if captured > LIMIT_PACKET:
                status = STATUS_DAMAGED
                reason = DAMAGE_LENGTH
                need = captured
                break
            if captured > total - head - 4:
                status = STATUS_DAMAGED
                reason = DAMAGE_PACKET_IN_BLOCK
                need = captured
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
        if number(data[tail], data[tail + 1], data[tail + 2], data[tail + 3], swapped) != total:
            status = STATUS_DAMAGED
            reason = DAMAGE_BLOCK_TRAILER
            need = number(data[tail], data[tail + 1], data[tail + 2], data[tail + 3], swapped)
            break
        if status == STATUS_BLOCK:
            break
        if kind in {6, 2, 3}:
            f = count * FRAME_SIZE
            row = interface * IF_SIZE
            frames[f + F_OFFSET] = at + head
            frames[f + F_CAPTURED] = captured
            frames[f + F_ORIGINAL] = max(captured, original)
            frames[f + F_LINK] = interfaces[row + IF_LINK]
            if kind == 3:
                ctl[WALK_TIMELESS] += 1
            else:
                ctl[WALK_LAST_TIME] = stamp_to_ns(
                    number(data[at + 12], data[at + 13], data[at + 14], data[at + 15], swapped),
                    number(data[at + 16], data[at + 17], data[at + 18], data[at + 19], swapped),
                    interfaces[row + IF_UNIT],
                    interfaces[row + IF_FACTOR],
                    interfaces[row + IF_OFFSET],
                )
                ctl[WALK_EARLIEST] = min(ctl[WALK_EARLIEST], ctl[WALK_LAST_TIME])
                ctl[WALK_LATEST] = max(ctl[WALK_LATEST], ctl[WALK_LAST_TIME])
            frames[f + F_TIME] = ctl[WALK_LAST_TIME]
            count += 1
        at += size
    ctl[WALK_BEGIN] = at
    ctl[WALK_STATUS] = status
    ctl[WALK_NEED] = need
    ctl[WALK_REASON] = reason
    return count
