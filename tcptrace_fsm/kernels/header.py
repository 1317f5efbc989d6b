"""Read a TCP header with all its options, and judge its checksum.

No byte is read before its place has been compared with the end of what was captured.

Sources: RFC 9293 3.1, RFC 1071, RFC 7323, RFC 2018, RFC 7413.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Buffer, Words

# No __all__: compiled, only decode.py calls this.


def signed64(high: int, low: int) -> int:
    """Return two 32-bit halves as one signed word, alike compiled and not."""
    sign = high >> 31
    return (high - (sign << 32)) * 65536 * 65536 | low


def fold16(total: int) -> int:
    """Return a ones' complement sum in 16 bits; of a sum above 0, 65535 stands for both zeros."""
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


def checksum(data: Buffer, at: int, length: int, pseudo: int) -> int:
    """Judge the TCP checksum (RFC 9293 3.1) of ``length`` bytes at ``at``; ``pseudo`` sums the pseudo-header.

    Returns one of ``CHECKSUM_GOOD``, ``CHECKSUM_OFFLOADED``, ``CHECKSUM_BAD``. Hosts that leave the sum to their
    network card put the pseudo-header's in its place: with the length, or without where the card is to cut the segment
    up; or 0.
    """
    if fold16(pseudo + ones_sum(data, at, length)) == 0xFFFF:
        return CHECKSUM_GOOD
    field = uint16(data, at + 16)
    if field in {0, fold16(pseudo), fold16(pseudo - length)}:
        return CHECKSUM_OFFLOADED
    return CHECKSUM_BAD


def options(data: Buffer, at: int, stop: int, segments: Words, s: int) -> None:
    """Read the TCP options in ``data[at:stop]`` into the segment record at ``s``."""
    seen = segments[s + S_OPTIONS]
    nops = 0
    while at < stop:
        kind = data[at]
        if kind == 0:
            break
        if kind == 1:
            nops += 1
            if nops == 4:
                seen = seen | OPT_NOP_RUN
            at += 1
            continue
        nops = 0
        if at + 1 >= stop:
            seen = seen | OPT_DAMAGED
            break
        size = data[at + 1]
        if size < 2 or at + size > stop:
            seen = seen | OPT_DAMAGED
            break
        if kind == 8 and size == 10:
            seen = seen | OPT_TIMESTAMPS
            segments[s + S_TSVAL] = uint32(data, at + 2)
            segments[s + S_TSECR] = uint32(data, at + 6)
        elif kind == 2 and size == 4:
            seen = seen | OPT_MSS
            segments[s + S_MSS] = uint16(data, at + 2)
        elif kind == 3 and size == 3:
            if not seen & (OPT_SACK_PERMITTED | OPT_TIMESTAMPS):
                seen = seen | OPT_SCALE_EARLY
            seen = seen | OPT_SCALE
            segments[s + S_SHIFT] = data[at + 2]
        elif kind == 4 and size == 2:
            seen = seen | OPT_SACK_PERMITTED
        elif kind == 5 and size >= 10 and (size & 7) == 2:
            if seen & OPT_SACK:  # a second one: the first stands
                seen = seen | OPT_DAMAGED
            else:
                seen = seen | OPT_SACK
                blocks = (size - 2) >> 3
                blocks = min(blocks, 4)
                segments[s + S_SACKS] = blocks
                for i in range(2 * blocks):
                    p = at + 2 + 4 * i
                    segments[s + S_SACK + i] = uint32(data, p)
        elif kind == 34 or (kind == 254 and size >= 4 and data[at + 2] == 0xF9 and data[at + 3] == 0x89):
            seen = seen | OPT_FAST_OPEN  # RFC 7413 4.1.1; the experimental form has a 16-bit magic first
            if size > (2 if kind == 34 else 4):
                seen = seen | OPT_FAST_OPEN_COOKIE
        elif kind == 30:
            seen = seen | OPT_MULTIPATH
        elif kind == 19:
            seen = seen | OPT_MD5
        elif kind == 29:
            seen = seen | OPT_AO
        elif kind in {2, 3, 4, 5, 8}:  # known, with an impossible length
            seen = seen | OPT_DAMAGED
            break
        at += size
    segments[s + S_OPTIONS] = seen


def shown(length: int, room: int, offset: int, part: int) -> int:
    """Return what Wireshark calls tcp.len: of ``length`` bytes with a header of ``offset``; -1 where it says nothing.

    It believes the IP header only as far as there is ``room`` in the frame, and it does not trust a first fragment.
    """
    length = min(length, room)
    if part or length < offset:
        return -1
    return length - offset


def broken(data: Buffer, at: int, end: int, length: int, segments: Words, s: int) -> None:
    """Leave in the record at ``s`` what Wireshark reads of a TCP header that is none; flags of 0 for nothing.

    Its dissector names the ports, then the stream (sixteen bytes suffice), and only then looks at the header's length.
    """
    room = segments[s + IP_ROOM]
    part = segments[s + IP_DOUBTS] & DOUBT_PART
    for i in range(S_PORTS, S_IP_ID):
        segments[s + i] = 0
    for i in range(S_CHECKSUM, S_CONNECTION):
        segments[s + i] = 0
    segments[s + S_OFFSET] = -1
    segments[s + S_SHOWN] = -1
    segments[s + S_CONNECTION] = -1
    segments[s + S_SIDE] = 0
    segments[s + S_MARKS] = 0
    segments[s + S_FATE] = FATE_UNKNOWN
    here = min(end - at, length, room)
    if here < 4:
        return
    segments[s + S_PORTS] = uint32(data, at)
    segments[s + S_FLAGS] = TCP_BROKEN | TCP_STREAMLESS
    if here < 8:
        return
    segments[s + S_SEQ] = uint32(data, at + 4)
    if here < 16:
        return
    offset = (data[at + 12] >> 4) * 4
    segments[s + S_ACK] = uint32(data, at + 8)
    segments[s + S_FLAGS] = TCP_BROKEN | data[at + 13] | ((data[at + 12] & 1) << 8)
    segments[s + S_WINDOW] = uint16(data, at + 14)
    segments[s + S_SHOWN] = shown(length, room, offset, part)
    segments[s + S_LEN] = max(segments[s + S_SHOWN], 0)
    if offset < 20:
        segments[s + S_FLAGS] = segments[s + S_FLAGS] | TCP_MUTE


def decode_tcp(data: Buffer, at: int, end: int, length: int, segments: Words, s: int) -> int:
    """Read the TCP segment at ``at``: ``length`` bytes by the IP header, captured up to ``end``.

    The record at ``s`` has its frame, addresses, IP identification and TTL already, and ``IP_`` words: ``DOUBT_ROUTED``
    says that a source route may have changed the destination that the checksum was made with, ``DOUBT_PART`` that this
    is the first fragment of more. Returns the outcome.
    """
    room = segments[s + IP_ROOM]
    doubts = segments[s + IP_DOUBTS]
    outcome = OUTCOME_TCP
    offset = length - length  # a zero of the wide type
    if length < 20:
        outcome = OUTCOME_SHORT_TCP
        if end - at >= length or end - at >= 20:
            outcome = OUTCOME_BAD_TCP_HEADER
    elif end - at < 20:
        outcome = OUTCOME_SHORT_TCP
    else:
        offset = (data[at + 12] >> 4) * 4
        if offset < 20 or offset > length:
            outcome = OUTCOME_BAD_TCP_HEADER
    if outcome != OUTCOME_TCP:
        broken(data, at, end, length, segments, s)
        return outcome
    payload = length - offset
    flags = data[at + 13] | ((data[at + 12] & 1) << 8)
    segments[s + S_PORTS] = uint32(data, at)
    segments[s + S_SEQ] = uint32(data, at + 4)
    segments[s + S_ACK] = uint32(data, at + 8)
    segments[s + S_FLAGS] = flags
    segments[s + S_LEN] = payload
    segments[s + S_WINDOW] = uint16(data, at + 14)
    for i in range(S_OPTIONS, S_IP_ID):
        segments[s + i] = 0
    segments[s + S_STREAM] = -1
    segments[s + S_OFFSET] = at
    segments[s + S_SHOWN] = payload
    if room < length or doubts & DOUBT_PART:
        segments[s + S_SHOWN] = shown(length, room, offset, doubts & DOUBT_PART)
    segments[s + S_CONNECTION] = -1
    segments[s + S_SIDE] = 0
    segments[s + S_MARKS] = 0
    segments[s + S_FATE] = FATE_UNKNOWN

    stop = at + offset
    if end < stop:
        segments[s + S_OPTIONS] = OPT_SHORT
        stop = end

    if offset == 32 and end - at >= 32 and uint32(data, at + 20) == 0x0101080A:
        segments[s + S_OPTIONS] = OPT_TIMESTAMPS  # nearly every segment after the handshake
        segments[s + S_TSVAL] = uint32(data, at + 24)
        segments[s + S_TSECR] = uint32(data, at + 28)
    elif offset > 20:
        options(data, at + 20, stop, segments, s)
        if segments[s + S_OPTIONS] & OPT_SHORT:  # the last option was cut by the capture, not by its sender
            segments[s + S_OPTIONS] = segments[s + S_OPTIONS] & ~OPT_DAMAGED

    verdict = CHECKSUM_UNKNOWN
    if end - at >= length:
        pseudo = 6 + length
        for i in range(S_SRC_HI, S_DST_LO + 1):
            # In larger pieces: 2**16 and 2**32 are both 1 in this arithmetic.
            pseudo = pseudo + low32(segments[s + i]) + low32(segments[s + i] >> 32)
        verdict = checksum(data, at, length, pseudo)
        if doubts & DOUBT_ROUTED and verdict == CHECKSUM_BAD:
            verdict = CHECKSUM_UNKNOWN
    segments[s + S_CHECKSUM] = verdict
    return OUTCOME_TCP
