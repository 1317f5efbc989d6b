"""Names of layers and their ends, written letter by letter: what a path is made of (:mod:`.paths`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Buffer, Words

# No __all__: only other kernels call these.


def put_letter(letter: int, way: Words) -> int:
    """Write one letter. Returns how many there are."""
    n = way[WY_LETTERS]
    if n & 7:
        way[WY_TEXT + (n >> 3)] |= letter << ((n & 7) * 8)
    else:
        way[WY_TEXT + (n >> 3)] = letter
    way[WY_LETTERS] = n + 1
    return n + 1


def put_name(letters: int, way: Words) -> int:
    """Write up to four letters, a ``NAME_``."""
    while letters:
        put_letter(letters & 255, way)
        letters = letters >> 8
    return way[WY_LETTERS]


def put_number(number: int, way: Words) -> int:
    """Write a number below 2**32."""
    unit = number - number + 1
    while number // unit >= 10:
        unit = unit * 10
    while unit:
        put_letter(48 + number // unit % 10, way)
        unit = unit // 10
    return way[WY_LETTERS]


def put_address4(data: Buffer, at: int, way: Words) -> int:
    """Write an IPv4 address."""
    i = 0
    while i < 4:
        if i:
            put_letter(46, way)
        put_number(data[at + i], way)
        i += 1
    return way[WY_LETTERS]


def put_hex(number: int, way: Words) -> int:
    """Write a number below 2**16 in hexadecimal digits."""
    shift = 12
    while shift > 0 and not number >> shift:
        shift -= 4
    while shift >= 0:
        digit = number >> shift & 15
        put_letter(digit + (48 if digit < 10 else 87), way)
        shift -= 4
    return way[WY_LETTERS]


def longest_zeros(data: Buffer, at: int) -> int:
    """Which fields of an IPv6 address are left out: the first one, times 16, plus how many; 0 for none."""
    best = run = 0
    i = 0
    while i < 8:
        run = 0 if uint16(data, at + 2 * i) else run + 1
        if run > 1 and run > best & 15:
            best = (i + 1 - run) * 16 + run
        i += 1
    return best


def is_four_in_six(data: Buffer, at: int) -> int:
    """Whether an IPv6 address may be shown with an IPv4 address at its end, and systems differ in it: 1 or 0."""
    i = 0
    while i < 5:
        if uint16(data, at + 2 * i):
            return 0
        i += 1
    return 1


def put_address6(data: Buffer, at: int, way: Words) -> int:
    """Write an IPv6 address as RFC 5952 section 4 has it."""
    zeros = longest_zeros(data, at)
    begin = zeros >> 4
    end = begin + (zeros & 15)
    i = 0
    while i < 8:
        if i == begin and zeros:
            put_letter(58, way)
            if end == 8:
                put_letter(58, way)
            i = end
            continue
        if i:
            put_letter(58, way)
        put_hex(uint16(data, at + 2 * i), way)
        i += 1
    return way[WY_LETTERS]


def put_pair(data: Buffer, way: Words) -> int:
    """Write the two ends of a tunnel."""
    if way[WY_SIX]:
        put_address6(data, way[WY_LOW], way)
        put_letter(45, way)
        return put_address6(data, way[WY_HIGH], way)
    put_address4(data, way[WY_LOW], way)
    put_letter(45, way)
    return put_address4(data, way[WY_HIGH], way)


def begin_name(way: Words) -> int:
    """Begin to name another layer: 1, or 0 where there is no room."""
    if way[WY_LETTERS] + NAME_LETTERS > 8 * TEXT_WORDS:
        return 0
    if way[WY_LETTERS]:
        put_letter(47, way)
    way[WY_OTHERS] += 1
    return 1
