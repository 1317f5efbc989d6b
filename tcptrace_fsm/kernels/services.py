"""Services: how long the servers' answers took, added up over connections that are over.

A connection keeps of its answers the first five, then their median, and how many fell into each half octave. A service
adds them up in a histogram whose buckets are sixteenths of an octave, 3 to 6 per cent wide.

The table is open-addressed, each entry as wide as its histogram. It never holds more than its limit, whatever a
scan of ports does: only who answered or was asked has an entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

__all__ = ["add_services", "move_services"]


# --- one connection, while it lasts -----------------------------------------------------------------------------------


def half_of(value: int) -> int:
    """Which of 32 classes a time falls into: below 66 us, then half octaves; the last takes all from 3 s on."""
    if value < 65536:
        return 0
    octave = 16
    while value >> (octave + 1):
        octave += 1
    half = 1 + 2 * (octave - 16) + ((value >> (octave - 1)) & 1)
    return half if half < 31 else 31


def half_bound(half: int) -> int:
    """The shortest time of a class."""
    two = 2
    return (two + ((half - 1) & 1)) << (15 + ((half - 1) >> 1)) if half else 0


def count_half(c: int, value: int, rows: Words) -> int:
    """Count one answer of a connection by its half octave: four counters to a word."""
    half = half_of(value)
    w = c + C_RESPONSE_HALVES + (half >> 2)
    shift = 16 * (half & 3)
    if (rows[w] >> shift) & 0x7FFF == 0x7FFF:
        i = 0
        while i < 32:  # half of each: shares are what matters
            k = c + C_RESPONSE_HALVES + (i >> 2)
            there = (rows[k] >> (16 * (i & 3))) & 0x7FFF
            rows[k] -= (there - (there >> 1)) << (16 * (i & 3))
            i += 1
    one = 1
    rows[w] += one << shift
    return 0


def halves(c: int, half: int, block: Words) -> int:
    """How many answers were counted in a class."""
    return (block[c + C_RESPONSE_HALVES + (half >> 2)] >> (16 * (half & 3))) & 0x7FFF


# --- the histogram ----------------------------------------------------------------------------------------------------


def bucket_of(value: int) -> int:
    """The bucket of a time: sixteenths of an octave from 4 us on."""
    octave = 0
    high = value >> 12
    if high <= 0:
        return 0
    while high > 1 and octave < 27:
        high = high >> 1
        octave += 1
    part = (value >> (12 + octave - 4)) & 15
    return 16 * octave + part


def spread(e: int, low: int, high: int, weight: int, table: Words) -> int:
    """Add ``weight`` answers, evenly between two times, to a service's histogram."""
    steps = weight if weight < 8 else 8
    i = 0
    done = 0
    while i < steps:
        part = weight * (i + 1) // steps - done
        done += part
        table[e + SERVICE_BUCKETS + bucket_of(low + (high - low) * (2 * i + 1) // (2 * steps))] += part
        i += 1
    return 0


def add_answers(c: int, e: int, block: Words, table: Words) -> int:
    """Add the answers of one connection to a service's histogram."""
    n = block[c + C_RESPONSES]
    q = c + C_RESPONSE_MARKER
    half = 0
    if n <= 5:
        while half < n:
            table[e + SERVICE_BUCKETS + bucket_of(block[q + half])] += 1
            half += 1
        return 0
    counted = 0
    while half < 32:
        counted += halves(c, half, block)
        half += 1
    below = 0
    given = 0
    half = 0
    while half < 32:
        there = halves(c, half, block)
        below += there
        half += 1
        if not there:
            continue
        weight = n * below // counted - given
        low = half_bound(half - 1)
        high = half_bound(half) if half < 32 else block[c + C_RESPONSE_MAX]
        if low < block[c + C_RESPONSE_MIN]:
            low = block[c + C_RESPONSE_MIN]
        if high > block[c + C_RESPONSE_MAX]:
            high = block[c + C_RESPONSE_MAX]
        if high < low:
            high = low
        first = n // 2 - given
        if 0 < first < weight and low < block[q + 2] < high:  # the median is in here
            spread(e, low, block[q + 2], first, table)
            spread(e, block[q + 2], high, weight - first, table)
        else:
            spread(e, low, high, weight, table)
        given += weight
    return 0


# --- the table --------------------------------------------------------------------------------------------------------


def find_service(high: int, low: int, port: int, table: Words) -> int:
    """The entry of a service, or the free one where it belongs. There is always a free one."""
    slots = table[SV_SLOTS]
    h = fold(low, 0x1E3779B97F4A7C15) ^ high
    h = fold(h, 0x2545F4914F6CDD1D) ^ port
    h = fold(h, 0x1E3779B97F4A7C15)
    slot = (h ^ (h >> 32)) & (slots - 1)
    while True:
        e = SV_HEAD + slot * SERVICE_SIZE
        if table[e + SERVICE_PORT] < 0 or (
            table[e + SERVICE_PORT] == port and table[e + SERVICE_LO] == low and table[e + SERVICE_HI] == high
        ):
            return e
        slot = (slot + 1) & (slots - 1)


def has_turns(c: int, block: Words) -> int:
    """Whether the ends of a connection took turns, and both directions were seen: 1 or 0. As `without_turns` says."""
    x = c + C_ENDPOINTS
    y = x + ENDPOINT_SIZE
    if not block[x + E_SEGMENTS] or not block[y + E_SEGMENTS] or not block[c + C_REQUESTS]:
        return 0
    return 1 if 3 * block[c + C_CROSSED] <= block[c + C_REQUESTS] else 0


def add_services(start: int, count: int, most: int, block_words: Words, table_words: Words) -> int:
    """Add connections that are over to their services, from number ``start`` on.

    Parameters
    ----------
    start, count : int
        The first, and how many there are.
    most : int
        Services beyond so many are only counted.
    block, table : int64 arrays
        Connections, and services.

    Returns
    -------
    int
        ``count``, or the number of the first connection for which the table has no room.

    """
    block = pointer(block_words)
    table = pointer(table_words)
    i = start
    while i < count:
        c = i * CONNECTION_SIZE
        if has_turns(c, block):
            port = (block[c + C_PORTS] & 0xFFFF) * 2 + (block[c + C_NET] & 1)
            e = find_service(block[c + C_SERVER_HI], block[c + C_SERVER_LO], port, table)
            if table[e + SERVICE_PORT] < 0 and table[SV_USED] >= most:
                table[SV_LEFT_OUT] += 1
                i += 1
                continue
            if table[e + SERVICE_PORT] < 0:
                if 4 * (table[SV_USED] + 1) > 3 * table[SV_SLOTS]:
                    return i
                table[SV_USED] += 1
                table[e + SERVICE_PORT] = port
                table[e + SERVICE_LO] = block[c + C_SERVER_LO]
                table[e + SERVICE_HI] = block[c + C_SERVER_HI]
                table[e + SERVICE_SLOWEST] = -1
            table[e + SERVICE_CONNECTIONS] += 1
            table[e + SERVICE_REQUESTS] += block[c + C_REQUESTS]
            table[e + SERVICE_RESPONSES] += block[c + C_RESPONSES]
            if block[c + C_RESPONSES]:
                add_answers(c, e, block, table)
                worst = block[c + C_RESPONSE_MAX]
                if (
                    table[e + SERVICE_SLOWEST] < 0
                    or worst > table[e + SERVICE_MAX]
                    or (worst == table[e + SERVICE_MAX] and block[c + C_ID] < table[e + SERVICE_SLOWEST])
                ):
                    table[e + SERVICE_MAX] = worst
                    table[e + SERVICE_SLOWEST] = block[c + C_ID]
            if block[c + C_WAIT_WAY] >= 0 and block[c + C_WAIT_WAY + 1] >= 0:
                table[e + SERVICE_WAYS] += 1
                table[e + SERVICE_WAY] += block[c + C_WAIT_WAY] + block[c + C_WAIT_WAY + 1]
        i += 1
    return count


def move_services(most: int, old_words: Words, table_words: Words) -> int:
    """Add the services of one table to another, which has room for them. Returns how many there are."""
    old = pointer(old_words)
    table = pointer(table_words)
    table[SV_LEFT_OUT] += old[SV_LEFT_OUT]
    slot = 0
    while slot < old[SV_SLOTS]:
        s = SV_HEAD + slot * SERVICE_SIZE
        slot += 1
        if old[s + SERVICE_PORT] < 0:
            continue
        e = find_service(old[s + SERVICE_HI], old[s + SERVICE_LO], old[s + SERVICE_PORT], table)
        if table[e + SERVICE_PORT] < 0:
            if table[SV_USED] >= most:
                table[SV_LEFT_OUT] += old[s + SERVICE_CONNECTIONS]
                continue
            table[SV_USED] += 1
            k = 0
            while k < SERVICE_CONNECTIONS:
                table[e + k] = old[s + k]
                k += 1
        worst = old[s + SERVICE_MAX]
        if old[s + SERVICE_SLOWEST] >= 0 and (
            table[e + SERVICE_SLOWEST] < 0
            or worst > table[e + SERVICE_MAX]
            or (worst == table[e + SERVICE_MAX] and old[s + SERVICE_SLOWEST] < table[e + SERVICE_SLOWEST])
        ):
            table[e + SERVICE_MAX] = worst
            table[e + SERVICE_SLOWEST] = old[s + SERVICE_SLOWEST]
        k = SERVICE_CONNECTIONS
        while k < SERVICE_SIZE:
            table[e + k] += old[s + k]
            k += 1
    return table[SV_USED]
