"""Community ID version 1 of TCP four-tuples: SHA-1 (FIPS 180-4) of at most forty bytes each, in base64 (RFC 4648).

There is no security in it: the Community ID is defined so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.memory import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

__all__ = ["write_community_ids"]


def in_halves(high: int, low: int) -> int:
    """A number of 32 bits, which as it stands would be none of C's."""
    return high << 16 | low


def hash_block(w: Words) -> int:
    """SHA-1 of one padded block, the words 0 to 15; the digest is in the words 80 to 84 then."""
    t = 16
    while t < 80:
        w[t] = rotated(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1)
        t += 1
    a = in_halves(0x6745, 0x2301)
    b = in_halves(0xEFCD, 0xAB89)
    c = in_halves(0x98BA, 0xDCFE)
    d = in_halves(0x1032, 0x5476)
    e = in_halves(0xC3D2, 0xE1F0)
    t = 0
    while t < 80:
        if t < 20:
            f = (d ^ (b & (c ^ d))) + in_halves(0x5A82, 0x7999)
        elif t < 40:
            f = (b ^ c ^ d) + in_halves(0x6ED9, 0xEBA1)
        elif t < 60:
            f = (b & c | d & (b | c)) + in_halves(0x8F1B, 0xBCDC)
        else:
            f = (b ^ c ^ d) + in_halves(0xCA62, 0xC1D6)
        f = low32(f + rotated(a, 5) + e + w[t])
        e = d
        d = c
        c = rotated(b, 30)
        b = a
        a = f
        t += 1
    w[80] = low32(a + in_halves(0x6745, 0x2301))
    w[81] = low32(b + in_halves(0xEFCD, 0xAB89))
    w[82] = low32(c + in_halves(0x98BA, 0xDCFE))
    w[83] = low32(d + in_halves(0x1032, 0x5476))
    w[84] = low32(e + in_halves(0xC3D2, 0xE1F0))
    return 0


def put_half(w: Words, k: int, value: int) -> int:
    """Write 16 bits of what is hashed. Returns where what follows goes."""
    if k & 1:
        w[k >> 1] |= value & 65535
    else:
        w[k >> 1] = (value & 65535) << 16
    return k + 1


def put_address(w: Words, k: int, six: int, high: int, low: int) -> int:
    """Write an address of what is hashed. Returns where what follows goes."""
    if six:
        k = put_half(w, k, high >> 48)
        k = put_half(w, k, high >> 32)
        k = put_half(w, k, high >> 16)
        k = put_half(w, k, high)
        k = put_half(w, k, low >> 48)
        k = put_half(w, k, low >> 32)
    k = put_half(w, k, low >> 16)
    return put_half(w, k, low)


def is_below(one: int, other: int) -> int:
    """Whether the one word, without a sign, is less than the other: 1 or 0."""
    if (one ^ other) < 0:
        return 1 if other < 0 else 0
    return 1 if one < other else 0


def serves_first(r: int, tuples: Words) -> int:
    """Whether the server's address, or of one address its port, is the smaller one: 1 or 0."""
    if tuples[r + 2] != tuples[r + 4]:
        return is_below(tuples[r + 4], tuples[r + 2])
    if tuples[r + 3] != tuples[r + 5]:
        return is_below(tuples[r + 5], tuples[r + 3])
    return 1 if tuples[r + 1] >> 16 > tuples[r + 1] & 65535 else 0


def digit_of(v: int) -> int:
    """The character of base64 for six bits."""
    if v < 26:
        return 65 + v
    if v < 52:
        return 71 + v
    if v < 62:
        return v - 4
    return 43 if v == 62 else 47


def write_community_ids(count: int, tuples_words: Words, work_words: Words, out_words: Words) -> int:
    """Write the thirty characters of each four-tuple's Community ID, and two zeros.

    Parameters
    ----------
    count : int
    tuples : int64[6 * count]
        IP version bit, both ports, the client's address (upper and lower word), the server's.
    work : int64[85]
    out : int64[4 * count]
        Zeros before; the first character is in the lowest byte.
    """
    tuples = pointer(tuples_words)
    w = pointer(work_words)
    out = pointer(out_words)
    n = 0
    while n < count:
        r = 6 * n
        six = tuples[r] & 1
        ports = tuples[r + 1]
        last = serves_first(r, tuples)
        x = r + 2 + 2 * last
        y = r + 4 - 2 * last
        k = put_half(w, 0, 0)  # the seed
        k = put_address(w, k, six, tuples[x], tuples[x + 1])
        k = put_address(w, k, six, tuples[y], tuples[y + 1])
        k = put_half(w, k, 6 << 8)
        k = put_half(w, k, ports if last else ports >> 16)
        k = put_half(w, k, ports >> 16 if last else ports)
        bits = 16 * k
        k = put_half(w, k, 32768)
        while k < 32:
            k = put_half(w, k, 0)
        w[15] = bits
        hash_block(w)
        out[4 * n] = 49 | 58 << 8  # 1:
        i = 2
        k = 80
        held = 0
        bits = 0
        while i < 28:
            if bits < 6:
                held = (held & 63) << 32 | w[k]
                bits += 32
                k += 1
            bits -= 6
            out[4 * n + (i >> 3)] |= digit_of(held >> bits & 63) << 8 * (i & 7)
            i += 1
        out[4 * n + 3] |= (digit_of((held & 15) << 2) | 61 << 8) << 32  # =
        n += 1
    return n
