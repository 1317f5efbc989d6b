"""What compiled kernels do in their own way: with memory, which Python leaves alone, and with 128 bits.

``setup.py`` gives these their meaning in C: an array is the address of its first word there, a cache line that will be
needed soon can be fetched early, a number of four bytes is read at once, and a sum reads eight bytes at a time. This
module is never compiled; uncompiled kernels use it as it stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Buffer, Words

__all__ = ["fold", "little32", "octets", "ones_sum", "pointer", "prefetch", "rotated", "uint16", "uint32"]


def pointer(words: Words) -> Words:
    """The array itself; in C the address of its first word."""
    return words


def octets(content: Buffer) -> Buffer:
    """The bytes themselves; in C the address of the first."""
    return content


def fold(a: int, b: int) -> int:
    """The product of two words, unsigned, of 128 bits: its upper half folded onto the lower, as a signed word."""
    low = (1 << 64) - 1
    product = (a & low) * (b & low)
    folded = (product ^ product >> 64) & low
    return folded - (folded >> 63 << 64)


def ones_sum(content: Buffer, at: int, count: int) -> int:
    """The ones' complement sum of ``count`` bytes (at least one) from ``at`` on, as 16 bits; a 0 may stand for 65535.

    Such a sum is the remainder by 65535 of the bytes taken as one number (RFC 1071 section 2).
    """
    return (int.from_bytes(content[at : at + count], "big") << (8 * (count & 1))) % 65535


def rotated(x: int, by: int) -> int:
    """The bits of a 32-bit number moved to the left, those that fall out coming in on the right; ``by`` is 1 to 31."""
    return (x << by & 0xFFFFFFFF) | x >> (32 - by)


def uint16(data: Buffer, at: int) -> int:
    """The 16-bit number at ``at``, in network byte order."""
    return (data[at] << 8) | data[at + 1]


def uint32(data: Buffer, at: int) -> int:
    """The 32-bit number at ``at``, in network byte order."""
    return (data[at] << 24) | (data[at + 1] << 16) | (data[at + 2] << 8) | data[at + 3]


def little32(data: Buffer, at: int) -> int:
    """The 32-bit number at ``at``, its lowest byte first."""
    return (data[at + 3] << 24) | (data[at + 2] << 16) | (data[at + 1] << 8) | data[at]


def prefetch(words: Words, i: int) -> int:  # noqa: ARG001
    """Nothing; in C a hint that word ``i`` is needed soon."""
    return 0
