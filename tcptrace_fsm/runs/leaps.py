"""Leaps of the timeline's clock, where each capture is read on its own: those of all are found first, then passed on.

Where no capture shows a segment for a day or more, the books of all connections are closed: see
:func:`tcptrace_fsm.kernels.ending.close_books`. That one capture is silent for so long says nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from tcptrace_fsm.kernels import layout as k

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    Words = NDArray[np.int64]

__all__ = ["Ahead", "Leaps", "gaps_in", "leaps_of"]

Leaps: TypeAlias = list[tuple[int, int]]
"""From when to when, ns, in order."""

A_DAY = k.DAY * 1_000_000  # ns
LEAP = [k.S_FLAGS, k.S_MARKS, k.S_TIME]


def gaps_in(clocks: Words) -> Leaps:
    """Find where a capture's clock, which never runs back, moves by more than a day."""
    return [(int(clocks[i]), int(clocks[i + 1])) for i in np.flatnonzero(np.diff(clocks) > A_DAY)]


def leaps_of(captures: Iterable[tuple[int, int, Leaps]]) -> Leaps:
    """Find where the clock of the timeline leaps.

    Parameters
    ----------
    captures : iterable of (int, int, Leaps)
        Of each, ns: its first and its last time, and the gaps in between.

    """
    shown: Leaps = []
    for first, last, gaps in captures:
        if first <= last:
            ends = [first, *(time for gap in gaps for time in gap), last]
            shown += zip(ends[::2], ends[1::2], strict=True)
    found: Leaps = []
    shown.sort()
    latest = shown[0][0] if shown else 0
    for begin, end in shown:
        if begin - latest > A_DAY:
            found.append((latest, begin))
        latest = max(latest, end)
    return found


class Ahead:
    """Tells a share of the leaps of the timeline's clock, as it comes to them.

    Parameters
    ----------
    leaps : Leaps
        Of the timeline.

    """

    def __init__(self, leaps: Leaps) -> None:
        self._leaps = list(leaps)
        self._begun = False

    def told(self, records: Words, clocks: Words, codes: Words) -> tuple[Words, Words, Words]:
        """Put those that the segments come to in between, as ``TCP_CLOCK``; each array with what is new."""
        if not len(records):
            return records, clocks, codes
        if not self._begun:
            self._begun = True
            self._leaps = [leap for leap in self._leaps if leap[1] > clocks[0]]
        while self._leaps and self._leaps[0][1] <= clocks[-1]:
            leap = self._leaps.pop(0)
            at = int(np.searchsorted(clocks, leap[1]))
            records[at, k.S_MARKS] = max(int(records[at, k.S_MARKS]), leap[1])
            records = np.insert(records, at, records[at], axis=0)
            records[at, LEAP] = k.TCP_CLOCK, *leap
            clocks, codes = np.insert(clocks, at, clocks[at]), np.insert(codes, at, codes[at])
        # Where this capture alone shows nothing for a day, others have moved the clock on.
        then, now = records[:, k.S_MARKS], records[:, k.S_TIME]
        alone = (then > 0) & (now - then > A_DAY) & (records[:, k.S_FLAGS] != k.TCP_CLOCK)
        records[alone, k.S_MARKS] = clocks[alone]
        return records, clocks, codes

    def next_one(self) -> Words:
        """The first leap behind all segments, if there is one: records."""
        record = np.zeros((1, k.SEGMENT_SIZE), dtype=np.int64)
        if not self._begun or not self._leaps:
            return record[:0]
        record[0, LEAP] = k.TCP_CLOCK, *self._leaps[0]
        return record
