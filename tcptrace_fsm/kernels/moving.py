"""Making a hash table larger, or free of what is old, where it lies.

A second table would be memory that is touched for the first time, which costs more than all else here. So the caller
lets the table grow in place, with zeros behind it, and each entry is taken out and put in again. To begin behind a
free entry makes this safe: what lies between an entry and its home has been put in again before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *
from tcptrace_fsm.kernels.table import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

__all__ = ["spread_past", "spread_slots"]


def spread_slots(words: Words, old_size: int, size: int, oldest: int) -> int:
    """Let a table of ``old_size`` slots have ``size``, and keep those whose second word is above ``oldest``.

    Sizes are powers of 2; one of the old slots at least is free. Returns how many are kept.
    """
    slots = pointer(words)
    begin = 0
    while slots[2 * begin + 1]:
        begin += 1
    kept = 0
    n = 1
    while n < old_size:
        k = (begin + n) & (old_size - 1)
        h = slots[2 * k]
        value = slots[2 * k + 1]
        slots[2 * k] = 0
        slots[2 * k + 1] = 0
        if value > oldest:
            i = h & (size - 1)
            while slots[2 * i + 1]:
                i = (i + 1) & (size - 1)
            slots[2 * i] = h
            slots[2 * i + 1] = value
            kept += 1
        n += 1
    return kept


def spread_past(words: Words, old_size: int, size: int, oldest: int) -> int:
    """Let a table of ``old_size`` past uses have ``size``, and keep those by connections from ``oldest`` on.

    Sizes are powers of 2; one of the old entries at least is free. Returns how many are kept.
    """
    past = pointer(words)
    begin = 0
    while past[begin * PAST_SIZE + P_USE]:
        begin += 1
    kept = 0
    n = 1
    while n < old_size:
        p = ((begin + n) & (old_size - 1)) * PAST_SIZE
        use = past[p + P_USE] - 1
        past[p + P_USE] = 0
        if use >= 0 and use >> PAST_SHIFT >= oldest:
            kept += remember(past, size, past[p + P_HASH], past, p, use)
        n += 1
    return kept
