"""Records by what they have in common: Python sees the groups, and not each connection.

A flood makes a connection of every frame. Whoever counts connections by a few words of their records has those words
picked here, and the records put in order by them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

__all__ = [
    "add_up",
    "arrange_records",
    "count_steps",
    "count_up",
    "extent",
    "group_records",
    "mark_rows",
    "marks_of",
    "most_within",
    "multiply",
    "part_alone",
    "pick_attempts",
    "pick_words",
    "write_ranks",
]


def pick_words(count: int, starts: Words, block: Words, fields: int, wanted: Words, out: Words) -> int:
    """Parts of words of some records, record by record: ``fields`` of each. Returns how many words there are.

    ``wanted`` holds for each field the word, by how many bits it is shifted to the right, and the mask.
    """
    k = 0
    i = 0
    while i < count:
        f = 0
        while f < 3 * fields:
            out[k] = block[starts[i] + wanted[f]] >> wanted[f + 1] & wanted[f + 2]
            k += 1
            f += 3
        i += 1
    return k


def count_up(count: int, step: int, out: Words) -> int:
    """Write 0, ``step``, twice ``step``, and so on: so many numbers. Returns what comes next."""
    at = 0
    i = 0
    while i < count:
        out[i] = at
        at += step
        i += 1
    return at


def add_up(count: int, numbers: Words, out: Words) -> int:
    """Write before each of some numbers the sum of those before it. Returns the sum of all."""
    total = 0
    i = 0
    while i < count:
        out[i] = total
        total += numbers[i]
        i += 1
    return total


def mark_rows(count: int, rows: Words, step: int, marks: Words, out: Words) -> int:
    """Add marks to those of some rows, which begin at ``rows`` and are ``step`` words long. Returns how many."""
    i = 0
    while i < count:
        out[rows[i] // step] |= marks[i]
        i += 1
    return count


def marks_of(count: int, rows: Words, step: int, marks: Words, out: Words) -> int:
    """Write the marks that :func:`mark_rows` has made of some rows. Returns how many have any."""
    n = 0
    i = 0
    while i < count:
        out[i] = marks[rows[i] // step]
        if out[i]:
            n += 1
        i += 1
    return n


def extent(count: int, numbers: Words, out: Words) -> int:
    """Write the place of the lowest of some numbers, and of the highest, the first of each. Returns how many there are.

    There is at least one.
    """
    low = 0
    high = 0
    i = 1
    while i < count:
        if numbers[i] < numbers[low]:
            low = i
        elif numbers[i] > numbers[high]:
            high = i
        i += 1
    out[0] = low
    out[1] = high
    return count


def most_within(count: int, times: Words, span: int) -> int:
    """How many of some times, which are in order, lie within a span of each other at most."""
    most = 0
    start = 0
    i = 0
    while i < count:
        while times[i] - times[start] > span:
            start += 1
        if i - start >= most:
            most = i - start + 1
        i += 1
    return most


def multiply(count: int, factor: int, numbers: Words, out: Words) -> int:
    """Multiply so many numbers; ``out`` may be the same. Returns how many there are."""
    i = 0
    while i < count:
        out[i] = numbers[i] * factor
        i += 1
    return count


def comes_before(a: int, b: int, width: int, records: Words) -> int:
    """Whether of two records the first has the smaller words, the first that differs deciding: 1, 0, or -1: larger."""
    k = 0
    while k < width:
        if records[a + k] != records[b + k]:
            return 1 if records[a + k] < records[b + k] else -1
        k += 1
    return 0


def merge_runs(low: int, middle: int, high: int, width: int, records: Words, order: Words, to: Words) -> int:
    """Merge two runs of places that are in order into ``to``; what is equal stays as it was."""
    i = low
    j = middle
    k = low
    if middle >= high or comes_before(order[middle], order[middle - 1], width, records) < 1:
        while k < high:  # in order already
            to[k] = order[k]
            k += 1
        return high - low
    while k < high:
        if j >= high or (i < middle and comes_before(order[j], order[i], width, records) < 1):
            to[k] = order[i]
            i += 1
        else:
            to[k] = order[j]
            j += 1
        k += 1
    return high - low


def sort_by_merging(count: int, size: int, width: int, records: Words, order: Words, work: Words) -> int:
    """Put few records in order by their first ``width`` words; meanwhile ``order`` has their places, not numbers."""
    i = 0
    while i < count:
        order[i] *= size
        i += 1
    run = 1
    while run < count:
        low = 0
        while low < count:
            middle = low + run
            high = middle + run
            if middle > count:
                middle = count
            if high > count:
                high = count
            merge_runs(low, middle, high, width, records, order, work)
            low = high
        i = 0
        while i < count:
            order[i] = work[i]
            i += 1
        run = run * 2
    i = 0
    while i < count:
        order[i] = order[i] // size
        i += 1
    return count


def differing_bits(count: int, size: int, width: int, records: Words, out: Words, at: int) -> int:
    """Write at ``at`` of ``out`` for each of the first ``width`` words the bits in which not all records agree."""
    k = 0
    while k < width:
        out[at + k] = 0
        k += 1
    i = size
    while i < count * size:
        k = 0
        while k < width:
            out[at + k] |= records[i + k] ^ records[k]
            k += 1
        i += size
    return width


def sort_by_byte(count: int, shift: int, odd: int, work: Words) -> int:
    """One pass of a radix sort: from one half of ``work`` to the other, by eight bits of the keys.

    ``work`` holds two lists of ``count`` numbers, the keys of each, and 256 counts.
    """
    source = odd * count
    to = count - source
    counts = 4 * count
    flip = 128 if shift == 56 else 0  # the sign
    i = 0
    while i < 256:
        work[counts + i] = 0
        i += 1
    i = 2 * count + source
    while i < 3 * count + source:
        work[counts + (work[i] >> shift & 255 ^ flip)] += 1
        i += 1
    i = 0
    before = to
    while i < 256:
        n = work[counts + i]
        work[counts + i] = before
        before += n
        i += 1
    i = source
    while i < source + count:
        key = work[2 * count + i]
        byte = counts + (key >> shift & 255 ^ flip)
        j = work[byte]
        work[byte] = j + 1
        work[j] = work[i]
        work[2 * count + j] = key
        i += 1
    return 1 - odd


def sort_by_radix(count: int, size: int, width: int, records: Words, order: Words, work: Words) -> int:
    """Put many records in order by their first ``width`` words: byte by byte, those alike in all records left out."""
    i = 0
    while i < count:
        work[i] = i
        i += 1
    odd = 0
    differing = 4 * count + 256
    k = width - 1
    while k >= 0:
        bits = work[differing + k]
        if bits:
            i = odd * count
            while i < odd * count + count:
                work[2 * count + i] = records[work[i] * size + k]
                i += 1
        shift = 0
        while shift < 64 and bits:
            if bits >> shift & 255:
                odd = sort_by_byte(count, shift, odd, work)
            shift += 8
        k -= 1
    i = 0
    while i < count:
        order[i] = work[odd * count + i]
        i += 1
    return count


def group_records(
    count: int, size: int, width: int, records_words: Words, order_words: Words, work_words: Words, begins_words: Words
) -> int:
    """Put records in order by their first ``width`` words, those that are equal as they stand.

    Parameters
    ----------
    count, size : int
        How many records, and of how many words each.
    width : int
    records : int64[count * size]
    order : int64[count]
        The numbers of the records in that order.
    work : int64[4 * count + 256 + width]
        Scratch.
    begins : int64[count + 1]
        Where in ``order`` each group of equal ones begins, and the count.

    Returns
    -------
    int
        How many groups there are.
    """
    records = pointer(records_words)
    order = pointer(order_words)
    work = pointer(work_words)
    begins = pointer(begins_words)
    differing = 4 * count + 256
    differing_bits(count, size, width, records, work, differing)
    alike = 1
    i = 0
    while i < width:
        if work[differing + i]:
            alike = 0
        i += 1
    i = 0
    while i < count:
        order[i] = i
        i += 1
    if not alike and count < ORDER_FEW:
        sort_by_merging(count, size, width, records, order, work)
    elif not alike:
        sort_by_radix(count, size, width, records, order, work)
    groups = 0
    i = 0
    while i < count:
        if i == 0 or (not alike and comes_before(order[i - 1] * size, order[i] * size, width, records)):
            begins[groups] = i
            groups += 1
        i += 1
    begins[groups] = count
    return groups


def write_ranks(groups: int, order: Words, begins: Words, out: Words) -> int:
    """Write of each record the number of its group, as :func:`group_records` tells them. Returns how many records."""
    i = 0
    group = 0
    while group < groups:
        while i < begins[group + 1]:
            out[order[i]] = group
            i += 1
        group += 1
    return i


def arrange_records(count: int, size: int, order: Words, records: Words, out: Words) -> int:
    """Copy ``count`` records, in the order of the numbers given. Returns how many words there are."""
    k = 0
    i = 0
    while i < count:
        at = order[i] * size
        j = 0
        while j < size:
            out[k] = records[at + j]
            k += 1
            j += 1
        i += 1
    return k


def part_alone(groups: int, order: Words, begins: Words, alone: Words, several: Words) -> int:
    """Tell records that are alone in their group from those that are not. Returns how many there are.

    ``alone`` takes their numbers, ``several`` where in ``order`` each other group begins and ends.
    """
    n = 0
    k = 0
    i = 0
    while i < groups:
        if begins[i + 1] == begins[i] + 1:
            alone[n] = order[begins[i]]
            n += 1
        else:
            several[k] = begins[i]
            several[k + 1] = begins[i + 1]
            k += 2
        i += 1
    return n


def count_steps(count: int, values: Words, step: int, out: Words) -> int:
    """Pairs: in which step values lie, none below 0, and how many in a row. Returns how many pairs there are."""
    n = 0
    i = 0
    while i < count:
        at = values[i] // step
        if n and out[2 * n - 2] == at:
            out[2 * n - 1] += 1
        else:
            out[2 * n] = at
            out[2 * n + 1] = 1
            n += 1
        i += 1
    return n


# --- attempts ---------------------------------------------------------------------------------------------------------


def put_end(c: int, side: int, port: int, block: Words, out: Words, k: int) -> int:
    """Write the address of an endpoint, and its port if that is wanted."""
    ports = block[c + C_PORTS]
    out[k] = block[c + C_NET] & 1
    if side == CLIENT:
        out[k + 1] = block[c + C_CLIENT_HI]
        out[k + 2] = block[c + C_CLIENT_LO]
        out[k + 3] = ports >> 16 if port else 0
    else:
        out[k + 1] = block[c + C_SERVER_HI]
        out[k + 2] = block[c + C_SERVER_LO]
        out[k + 3] = ports & 65535 if port else 0
    return k


def is_attempt(c: int, by_listener: int, block: Words) -> int:
    """Whether it is counted: its client sent nothing but SYNs; or, by client, it asked and nobody sent data: 1 or 0."""
    x = c + C_ENDPOINTS
    y = x + ENDPOINT_SIZE
    if not block[x + E_SYNS]:
        return 0
    if by_listener:
        return 1 if block[x + E_SEGMENTS] == block[x + E_SYNS] else 0
    return 0 if block[x + E_BYTES] or block[y + E_BYTES] else 1


def pick_attempts(count: int, starts: Words, block: Words, by_listener: int, bound: Words, out: Words) -> int:
    """The attempts among some connections, by listener or by client; those beyond the bound are left out.

    Parameters
    ----------
    count : int
    starts : int64[count]
        Where their records begin in ``block``.
    block : int64 array
    by_listener : int
        1, or 0: by client.
    bound : int64[7]
        1 and the largest key that is taken, or 0.
    out : int64[count * ATTEMPT_SIZE]

    Returns
    -------
    int
        How many records were written.
    """
    n = 0
    i = 0
    while i < count:
        c = starts[i]
        i += 1
        if not is_attempt(c, by_listener, block):
            continue
        k = n * ATTEMPT_SIZE
        put_end(c, SERVER if by_listener else CLIENT, by_listener, block, out, k + A_KEY)
        if bound[0]:
            f = 0
            while f < 3 and out[k + f] == bound[1 + f]:
                f += 1
            if out[k + f] > bound[1 + f]:
                continue
        put_end(c, CLIENT if by_listener else SERVER, 1 - by_listener, block, out, k + A_MEMBER)
        out[k + A_ID] = block[c + C_ID]
        out[k + A_FRAME] = block[c + C_FIRST_FRAME]
        out[k + A_FIRST] = block[c + C_FIRST_TIME]
        out[k + A_LAST] = block[c + C_LAST_TIME]
        out[k + A_OPENING] = block[c + C_OPENING]
        out[k + A_OPTIONS] = block[c + C_ENDPOINTS + E_OPTIONS]
        out[k + A_ANSWERED] = 1 if block[c + C_ENDPOINTS + ENDPOINT_SIZE + E_SEGMENTS] else 0
        n += 1
    return n
