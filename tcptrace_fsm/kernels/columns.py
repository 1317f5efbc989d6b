"""Records to columns: the chosen words of many records, each word in a column of its own.

What numpy does with a selection, a sort and a transposition, each of which copies everything, in one pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tcptrace_fsm.kernels.records import Scattering

__all__ = ["scatter"]


def scatter(count: int, begin: int, scattering: Scattering) -> int:
    """Take the wanted words of each of the first ``count`` records.

    Word ``wanted[j]`` of record ``i`` goes to row ``places[begin + i]`` of column ``j``. Returns ``begin + count``.
    """
    block = scattering.block
    words = scattering.wanted
    wanted = scattering.count
    places = scattering.places
    columns = scattering.columns
    size = scattering.size
    stride = scattering.stride
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
