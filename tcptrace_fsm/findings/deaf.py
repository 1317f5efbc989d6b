"""When a capture did not listen although its clock ran on, as connections show that went on meanwhile.

A capture that was stopped and started, a file of a ring that was overwritten, two pieces put together: they leave an
interval without any frame. A quiet network does so too. What tells them apart is a connection whose numbers have moved
on across its silence: both ends have sent, and received, what the capture does not hold; or the clocks of both ends,
which say that the time has not passed. One connection may have lost a frame where it had been silent, several have not.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import compress, pairwise
from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.findings.capture_order import MEASURED
from tcptrace_fsm.findings.keys import alike
from tcptrace_fsm.findings.view import segments_of
from tcptrace_fsm.kernels.layout import (
    C_CLOCK_LEAP,
    C_FIRST_TIME,
    C_ID,
    C_LAST_TIME,
    MARK_ACK_UNSEEN,
    MARK_GAP,
    SERVER,
)
from tcptrace_fsm.text.durations import SECOND

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Sequence

    from tcptrace_fsm.core.finished import Block
    from tcptrace_fsm.findings.view import Segment

__all__ = ["Deaf", "deaf_intervals", "may_have_gone_on", "silences"]

LEAST = 5 * SECOND  # a shorter silence counts for little
SOON = SECOND  # what comes within this after a silence shows what is missing of it
FEW = 8  # segments of that
SURE = 2  # what one connection in which both ends have moved on shows, or two others
UNSEEN = (1 << MARK_GAP) | (1 << MARK_ACK_UNSEEN)


class Deaf(NamedTuple):
    """An interval, ns, in which a connection went on without the capture; how sure that is."""

    since: int
    until: int
    weight: int

    @property
    def lasted(self) -> int:
        """How long it was, ns."""
        return self.until - self.since


def may_have_gone_on(block: Block) -> list[int]:
    """Where the records begin of connections across whose silences something may have passed unseen."""
    some = {c for key, places in alike(block).items() if key.marks & UNSEEN for c, _ in places}
    if not block.is_all(C_CLOCK_LEAP, 0):
        some |= set(compress(block.starts, block.column(C_CLOCK_LEAP)))
    words = block.words
    lasting = [c for c in sorted(some) if words[c + C_LAST_TIME] - words[c + C_FIRST_TIME] >= LEAST]
    return [c for c in lasting if words[c + C_ID] < MEASURED]


def silences(words: array[int], c: int, log: memoryview) -> list[Deaf]:
    """The silences of one connection, the record of which begins at ``c``, across which it went on."""
    segments, surplus = segments_of(words, c, log), words[c + C_CLOCK_LEAP]
    found = []
    for i, (before, after) in enumerate(pairwise(segments)):
        wait = after.time - before.last_time
        if wait < LEAST:
            continue
        missing = moved_on(segments[i + 1 : i + 1 + FEW])
        weight = SURE if surplus and 2 * surplus > wait else len(missing)
        if weight:
            found.append(Deaf(before.last_time, after.time, weight))
    return found


def moved_on(after: list[Segment]) -> set[int]:
    """Whose bytes are missing before what comes first after a silence."""
    missing = set()
    for s in after:
        if s.time - after[0].time > SOON:
            break
        if s.has(MARK_GAP):
            missing.add(s.side)
        if s.has(MARK_ACK_UNSEEN):
            missing.add(SERVER - s.side)
    return missing


def deaf_intervals(shown: Iterable[Deaf], heard: Sequence[int]) -> list[Deaf]:
    """When the capture did not listen, by what all connections show: what their intervals have in common.

    Parameters
    ----------
    shown : iterable of Deaf
    heard : sequence of int
        When it did listen, ns, in order: what is left of an interval that these divide has to be most of it.
    """
    found: list[Deaf] = []
    for one in sorted(shown):
        last = found[-1] if found else None
        if last and min(last.until, one.until) - one.since >= LEAST:
            found[-1] = Deaf(one.since, min(last.until, one.until), last.weight + one.weight)
        else:
            found.append(one)
    parts = [(undivided(one, heard), one.lasted) for one in found if one.weight >= SURE]
    return [part for part, whole in parts if part.lasted >= max(LEAST, whole // 2)]


def undivided(deaf: Deaf, heard: Sequence[int]) -> Deaf:
    """The longest part of an interval in which nothing was heard."""
    inside = heard[bisect_right(heard, deaf.since) : bisect_left(heard, deaf.until)]
    parts = pairwise((deaf.since, *inside, deaf.until))
    return max((Deaf(since, until, deaf.weight) for since, until in parts), key=lambda part: part.lasted)
