"""Records to columns: the chosen words of many records, each word in a column of its own.

What numpy does with a selection, a sort and a transposition, each of which copies everything, in one pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.memory import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

__all__ = ["scatter"]


def scatter(
    count: int,
    size: int,
    block_words: Words,
    wanted: int,
    words_words: Words,
    begin: int,
    places_words: Words,
    stride: int,
    columns_words: Words,
) -> int:
    """Take ``wanted`` words of each of the first ``count`` records of ``block``, which are ``size`` words long.

    Word ``words[j]`` of record ``i`` goes to row ``places[begin + i]`` of column ``j``. A column begins every
    ``stride`` words of ``columns``. Returns ``begin + count``.
    """
    block = pointer(block_words)
    words = pointer(words_words)
    places = pointer(places_words)
    columns = pointer(columns_words)
    i = 0
    r = 0
    while i < count:
        place = places[begin + i]
        j = 0
        while j < wanted:
            columns[place] = block[r + words[j]]
            place += stride
            j += 1
        r += size
        i += 1
    return begin + count
