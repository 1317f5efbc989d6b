"""Connections that are alike: a few of them are kept whole, and the others are counted."""

from __future__ import annotations

from bisect import insort
from heapq import nsmallest
from typing import TYPE_CHECKING

from tcptrace_fsm.core.grouping import Field, Places, lowest_of, picked
from tcptrace_fsm.kernels.layout import C_FIRST_FRAME, C_FIRST_TIME, C_ID

if TYPE_CHECKING:
    from array import array

    from tcptrace_fsm.causes.case import Case

__all__ = ["BEGAN", "LISTED", "Alike", "Earliest"]

ALIKE = 16  # connections that are alike and kept whole
LISTED = 1000  # numbers of connections in one diagnosis
BEGAN = (Field(C_FIRST_TIME),)
Order = tuple[int, int]


class Earliest(list[Order]):
    """The few that began first, of connections that are alike: when, and with which frame."""

    def take(self, words: array[int], rows: Places, since: int) -> list[int]:
        """Of some more, none of which began before ``since``, those among the first: where their records begin."""
        last = self[-1][0] if len(self) >= ALIKE else 1 << 63
        if since > last:
            return []
        times = picked(words, rows.starts, BEGAN)
        if lowest_of(times) > last:
            return []
        early = nsmallest(
            ALIKE,
            [(time, words[c + C_FIRST_FRAME], c) for c, time in zip(rows.starts, times, strict=True) if time <= last],
        )
        taken = []
        for began, frame, c in early:
            if len(self) >= ALIKE and (began, frame) >= self[-1]:
                break
            insort(self, (began, frame))
            del self[ALIKE:]
            taken.append(c)
        return taken


class Alike:
    """Connections that are alike: how many, their numbers, and the first of them whole."""

    def __init__(self) -> None:
        self.count = 0
        self.ids: list[tuple[int, int, int]] = []
        """When each began, its first frame, its number: those that began first."""
        self.cases: list[Case] = []

    def number(self, words: array[int], rows: Places, since: int) -> None:
        """Count some, none of which began before ``since``, and note their numbers."""
        self.count += len(rows)
        last = self.ids[-1][0] if len(self.ids) >= LISTED else 1 << 63
        if since > last:
            return
        times = picked(words, rows.starts, BEGAN)
        if lowest_of(times) <= last:
            early = [
                (time, words[c + C_FIRST_FRAME], words[c + C_ID])
                for c, time in zip(rows.starts, times, strict=True)
                if time <= last
            ]
            self.ids = sorted(self.ids + early)[:LISTED]

    def keep(self, case: Case) -> None:
        """Keep one whole, if it is among the first."""
        insort(self.cases, case, key=lambda c: c.order)
        del self.cases[ALIKE:]

    def share_out(self, twice: dict[int, int], numbers: dict[int, list[int]], many: dict[int, int]) -> None:
        """For which of them each that is kept whole stands, and for how many; copies of others among them count not."""
        ids = [n for _, _, n in self.ids]
        those = set(ids)
        once = [n for n in ids if twice.get(n) not in those]
        count = self.count - (len(ids) - len(once)) if len(ids) == self.count else self.count * len(once) // len(ids)
        kept = [case for case in self.cases if twice.get(case.conn_id) not in those] or self.cases
        share, rest = divmod(count, len(kept) or 1)
        for i, case in enumerate(kept):
            many[id(case)], numbers[id(case)] = share + (i < rest), once[i :: len(kept)]
        for case in self.cases:
            many.setdefault(id(case), 0)
            numbers.setdefault(id(case), [])

    def merge(self, other: Alike) -> None:
        """Take what another has counted of other connections."""
        self.count += other.count
        self.ids = sorted(self.ids + other.ids)[:LISTED]
        self.cases = sorted(self.cases + other.cases, key=lambda c: c.order)[:ALIKE]
