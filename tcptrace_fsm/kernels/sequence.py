"""Sequence numbers: 32 bits on the wire, 64 bits in here.

RFC 9293 section 3.4 has sequence numbers wrap at 2**32. All comparisons are made after :func:`widen`, so that no other
place has to think of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

# No __all__: only other kernels call these.


def bit(number: int) -> int:
    """``1 << number``, 64 bits wide whatever the platform's int is."""
    return (number - number + 1) << number


def low32(value: int) -> int:
    """The lower 32 bits, as the wire has them: 0 ... 2**32 - 1."""
    return value & (bit(32) - 1)


def widen(wire: int, base: int, near: int) -> int:
    """The 64-bit number, relative to ``base``, that ``wire`` stands for.

    Of all numbers that equal ``wire - base`` modulo 2**32, the one closest to ``near`` (itself relative to ``base``).
    """
    ahead = low32(wire - base - near)
    return near + ahead - ((ahead >> 31) << 32)


def newer(a: int, b: int) -> int:
    """Whether the 32-bit number ``a`` lies after ``b`` (timestamps: RFC 7323 section 5.2): 1 or 0."""
    ahead = low32(a - b)
    return 1 if ahead and not ahead >> 31 else 0


def hold_time(c: int, s: int, segments: Words, rows: Words, control: Words) -> int:
    """Hold a segment's time within nine years (2**58 ns) of its connection's first, and count it if it was not.

    All times lie within 0 ... 2**62. Of what lies so near to each other, sums and small multiples fit 64 bits.
    """
    apart = segments[s + S_TIME] - rows[c + C_FIRST_TIME]
    if -bit(58) <= apart <= bit(58):
        return 0
    segments[s + S_TIME] = rows[c + C_FIRST_TIME] + (bit(58) if apart > 0 else -bit(58))
    control[K_HELD] += 1
    return 1
