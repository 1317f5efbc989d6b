"""The flow table: from a segment's four-tuple to the row of its connection.

Open addressing with linear probing. A slot is two words: the hash, and the row's word offset plus one (0: free). The
hash is keyed by a random seed, so that nobody can prepare a capture whose four-tuples all meet in one slot. A row holds
the tuple as client and server; the hash puts the smaller end first, so both directions find the same slot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

# No __all__: only other kernels call these.


def stir(h: int, word: int, seed: int) -> int:
    """One step of the hash: multiply by the odd random seed and fold the product: no bit of ``word`` is lost."""
    return fold(h ^ word, seed) & (bit(62) - 1)


def hash_of(segments: Words, s: int, seed: int) -> int:
    """The keyed hash of a segment's four-tuple and encapsulation: positive, the same in both directions."""
    return hash_in(segments, s, segments[s + S_NET], seed)


def hash_plain(segments: Words, s: int, seed: int) -> int:
    """The same of its four-tuple alone, whatever it is wrapped in."""
    return hash_in(segments, s, segments[s + S_NET] & 1, seed)


def hash_in(segments: Words, s: int, net: int, seed: int) -> int:
    """The keyed hash of a segment's four-tuple as if its ``S_NET`` were ``net``."""
    a_hi = segments[s + S_SRC_HI]
    a_lo = segments[s + S_SRC_LO]
    b_hi = segments[s + S_DST_HI]
    b_lo = segments[s + S_DST_LO]
    a_port = segments[s + S_PORTS] >> 16
    b_port = segments[s + S_PORTS] & 65535
    swap = 0
    if a_lo > b_lo:
        swap = 1
    elif a_lo == b_lo:
        if a_hi > b_hi:
            swap = 1
        elif a_hi == b_hi and a_port > b_port:
            swap = 1
    if swap:
        a_hi, b_hi = b_hi, a_hi
        a_lo, b_lo = b_lo, a_lo
        a_port, b_port = b_port, a_port
    h = stir(seed, a_lo, seed)
    h = stir(h, b_lo, seed)
    h = stir(h, (a_port << 16) | b_port, seed)
    if net:
        h = stir(h, net, seed)
        h = stir(h, a_hi, seed)
        h = stir(h, b_hi, seed)
    return h


def is_client(rows: Words, c: int, segments: Words, s: int) -> int:
    """1 where the segment's source is the row's client, 0 where it is the server, -1 where it is another tuple."""
    if rows[c + C_NET] != segments[s + S_NET]:
        return -1
    ports = segments[s + S_PORTS]
    if (
        rows[c + C_PORTS] == ports
        and rows[c + C_CLIENT_LO] == segments[s + S_SRC_LO]
        and rows[c + C_SERVER_LO] == segments[s + S_DST_LO]
        and rows[c + C_CLIENT_HI] == segments[s + S_SRC_HI]
        and rows[c + C_SERVER_HI] == segments[s + S_DST_HI]
    ):
        return 1
    if (
        rows[c + C_PORTS] == ((ports & 65535) << 16 | ports >> 16)
        and rows[c + C_CLIENT_LO] == segments[s + S_DST_LO]
        and rows[c + C_SERVER_LO] == segments[s + S_SRC_LO]
        and rows[c + C_CLIENT_HI] == segments[s + S_DST_HI]
        and rows[c + C_SERVER_HI] == segments[s + S_SRC_HI]
    ):
        return 0
    return -1


def find(slots: Words, size: int, h: int, rows: Words, segments: Words, s: int) -> int:
    """The word offset of the slot that holds the segment's tuple, or of the free slot where it belongs."""
    i = h & (size - 1)
    while slots[2 * i + 1]:
        if slots[2 * i] == h and is_client(rows, slots[2 * i + 1] - 1, segments, s) >= 0:
            break
        i = (i + 1) & (size - 1)
    return 2 * i


def remove(slots: Words, size: int, h: int, c: int) -> int:
    """Free the slot of row ``c`` and close the gap that it leaves. Returns 1 if the row had a slot, else 0."""
    mask = size - 1
    i = h & mask
    while slots[2 * i + 1] and slots[2 * i + 1] != c + 1:
        i = (i + 1) & mask
    if not slots[2 * i + 1]:
        return 0
    j = i
    while True:
        j = (j + 1) & mask
        if not slots[2 * j + 1]:
            break
        home = slots[2 * j] & mask
        # the entry at j may move to i unless its home lies between the two
        if ((j - home) & mask) >= ((j - i) & mask):
            slots[2 * i] = slots[2 * j]
            slots[2 * i + 1] = slots[2 * j + 1]
            i = j
    slots[2 * i] = 0
    slots[2 * i + 1] = 0
    return 1


# --- past uses of four-tuples -----------------------------------------------------------------------------------------


def find_past(past: Words, size: int, h: int, rows: Words, c: int) -> int:
    """Where the latest use of the four-tuple of row ``c`` is kept, or the free entry where it belongs.

    An entry begins with the same words as a row.
    """
    i = h & (size - 1)
    while past[i * PAST_SIZE + P_USE]:
        if past[i * PAST_SIZE + P_HASH] == h and is_same(past, i * PAST_SIZE, rows, c):
            break
        i = (i + 1) & (size - 1)
    return i * PAST_SIZE


def is_same(rows: Words, c: int, others: Words, d: int) -> int:
    """Whether two rows are of one four-tuple, whichever end was the client: 1 or 0."""
    if rows[c + C_NET] != others[d + C_NET]:
        return 0
    ports = others[d + C_PORTS]
    if (
        rows[c + C_PORTS] == ports
        and rows[c + C_CLIENT_LO] == others[d + C_CLIENT_LO]
        and rows[c + C_SERVER_LO] == others[d + C_SERVER_LO]
        and rows[c + C_CLIENT_HI] == others[d + C_CLIENT_HI]
        and rows[c + C_SERVER_HI] == others[d + C_SERVER_HI]
    ):
        return 1
    if (
        rows[c + C_PORTS] == ((ports & 65535) << 16 | ports >> 16)
        and rows[c + C_CLIENT_LO] == others[d + C_SERVER_LO]
        and rows[c + C_SERVER_LO] == others[d + C_CLIENT_LO]
        and rows[c + C_CLIENT_HI] == others[d + C_SERVER_HI]
        and rows[c + C_SERVER_HI] == others[d + C_CLIENT_HI]
    ):
        return 1
    return 0


def recall(past: Words, size: int, rows: Words, c: int) -> int:
    """What is remembered of the latest use of the four-tuple of row ``c``: conn_id and incarnation, or -1."""
    return past[find_past(past, size, rows[c + C_HASH], rows, c) + P_USE] - 1


def remember(past: Words, size: int, h: int, rows: Words, c: int, use: int) -> int:
    """Keep the latest use of the four-tuple of row ``c``. Returns 1 for one that was not there, else 0."""
    p = find_past(past, size, h, rows, c)
    new = 0 if past[p + P_USE] else 1
    past[p + C_NET] = rows[c + C_NET]
    past[p + C_PORTS] = rows[c + C_PORTS]
    past[p + C_CLIENT_LO] = rows[c + C_CLIENT_LO]
    past[p + C_SERVER_LO] = rows[c + C_SERVER_LO]
    past[p + C_CLIENT_HI] = rows[c + C_CLIENT_HI]
    past[p + C_SERVER_HI] = rows[c + C_SERVER_HI]
    past[p + P_HASH] = h
    past[p + P_USE] = use + 1
    return new


# --- logs of connections ----------------------------------------------------------------------------------------------


def next_block(r: int, log: Words) -> int:
    """The block of log records that follows the one at ``r`` in its connection's log, or in the free list; or -1."""
    r = log[r + L_NEXT]
    while r >= 0 and r & (LOG_BLOCK - 1):
        r = log[r + L_NEXT]
    return r
