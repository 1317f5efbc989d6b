"""Moving the entries of a hash table to a larger one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *
from tcptrace_fsm.kernels.table import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

__all__ = ["move_past", "move_slots"]


def move_slots(old_words: Words, old_size: int, new_words: Words, new_size: int, oldest: int) -> int:
    """Copy the entries whose second word is above ``oldest`` to another table of zeros. Returns how many there were."""
    old = pointer(old_words)
    new = pointer(new_words)
    moved = 0
    k = 0
    while k < old_size:
        if old[2 * k + 1] > oldest:
            i = old[2 * k] & (new_size - 1)
            while new[2 * i + 1]:
                i = (i + 1) & (new_size - 1)
            new[2 * i] = old[2 * k]
            new[2 * i + 1] = old[2 * k + 1]
            moved += 1
        k += 1
    return moved


def move_past(old_words: Words, old_size: int, new_words: Words, new_size: int, oldest: int) -> int:
    """Copy the uses by connections from ``oldest`` on to another table of zeros. Returns how many there were."""
    old = pointer(old_words)
    new = pointer(new_words)
    moved = 0
    k = 0
    while k < old_size:
        p = k * PAST_SIZE
        use = old[p + P_USE] - 1
        if use >= 0 and use >> PAST_SHIFT >= oldest:
            moved += remember(new, new_size, old[p + P_HASH], old, p, use)
        k += 1
    return moved
