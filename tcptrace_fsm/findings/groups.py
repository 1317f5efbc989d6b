"""Groups of connections: what surveys remember of those that have something in common."""

from __future__ import annotations

from array import array
from bisect import insort
from heapq import nsmallest
from typing import TYPE_CHECKING, Any

from tcptrace_fsm.core.grouping import Field, extent_of, lowest_of, picked, words_in_common
from tcptrace_fsm.kernels.layout import C_FIRST_FRAME, C_FIRST_TIME, C_ID, C_LAST_TIME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Self

__all__ = ["Group", "Groups", "Name", "Smallest"]

EXAMPLES = 8  # frames given with a finding
MOST_GROUPS = 65536  # hosts or listeners told apart
MOST_MEMBERS = 4096  # distinct things counted within a group
MOST_IDS = 100_000  # connections whose numbers are kept
NONE = array("q")
_ID, _LAST = (Field(C_ID),), (Field(C_LAST_TIME),)
Name = tuple[int, ...]  # numbers that tell a group, or a member of one, from others: an address, with or without port


class Smallest(set[Name]):
    """A set that keeps no more than its ``most`` smallest members, whatever the order in which they come.

    >>> few = Smallest(2)
    >>> for number in (5, 3, 4, 1, 9):
    ...     few.take((number,))
    >>> sorted(few.trim())
    [(1,), (3,)]
    """

    def __init__(self, most: int = MOST_MEMBERS) -> None:
        super().__init__()
        self.most = most
        self.bound: Name | None = None

    def take(self, member: Name) -> None:
        """Add a member, if it is among the smallest."""
        if self.bound is None or member < self.bound:
            self.add(member)
            if len(self) >= 2 * self.most:
                self.trim()

    def take_all(self, members: set[Name]) -> None:
        """Add several."""
        bound = self.bound
        self.update(members if bound is None else [member for member in members if member < bound])
        if len(self) >= 2 * self.most:
            self.trim()

    def trim(self) -> Self:
        """Let go of what is too much; it may be twice as much between two calls."""
        if len(self) > self.most:
            kept = sorted(self)[: self.most]
            self.clear()
            self.update(kept)
            self.bound = kept[-1]
        return self

    def merge(self, other: Smallest) -> None:
        """Take the members of another."""
        for member in other:
            self.take(member)

    def __reduce__(self) -> tuple[Any, ...]:
        return _smallest, (self.most, list(self))


def _smallest(most: int, members: list[Name]) -> Smallest:
    made = Smallest(most)
    made.update(members)
    return made.trim()


class Group:
    """Connections that belong together: how many, when, the first of them, and some frames.

    Attributes
    ----------
    conn_id, first, frame
        Of the first of them, the one with the lowest conn_id; and the time and frame with which it begins.
    member : tuple or None
        What it was counted with.
    count : int
    unseen : int
        How many of these were counted without their members.
    last : int
        Time of the latest segment of all, ns.
    examples : list of (int, int)
        conn_id and first frame of the first few.
    members : Smallest
        Distinct things that a survey counts in it; no more are kept than a finding needs.
    ids : array('q') or None
        The numbers of all, where a survey asks for them; None as well where they are too many.
    more, most : dict of str to int
        Counts, and greatest values, that a survey keeps with it.
    """

    __slots__ = (
        *(
            "conn_id",
            "count",
            "examples",
            "first",
            "frame",
            "ids",
            "last",
            "member",
            "members",
            "more",
            "most",
            "unseen",
        ),
    )

    def __init__(self) -> None:
        self.conn_id = -1
        self.count = 0
        self.unseen = 0
        self.first = self.last = 0
        self.frame = 0
        self.member: Name | None = None
        self.ids: array[int] | None = None
        self.examples: list[tuple[int, int]] = []
        self.members = Smallest()
        self.more: dict[str, int] = {}
        self.most: dict[str, int] = {}

    def add(self, words: array[int], c: int, member: Name | None = None) -> None:
        """Count the connection whose record begins at ``c``."""
        self.count += 1
        self.note(words, c, member)
        conn_id = words[c + C_ID]
        if len(self.examples) < EXAMPLES or conn_id < self.examples[-1][0]:
            self._show(conn_id, words[c + C_FIRST_FRAME])
        if member is not None:
            self.members.take(member)
        self._keep((conn_id,))

    def _keep(self, ids: Iterable[int]) -> None:
        """Keep the numbers of some, if anybody asks for them."""
        if self.ids is not None:
            self.ids.extend(ids)
            if len(self.ids) > MOST_IDS:
                self.ids = None

    def add_all(
        self,
        words: array[int],
        rows: array[int],
        others: array[int] = NONE,
        member: Sequence[Field] = (),
    ) -> None:
        """Count the connections whose records begin at ``rows``, and without their members those at ``others``.

        ``member`` are the parts of the record that make up what is counted in the group, if anything is.
        """
        self.count += len(rows)
        ids = picked(words, rows, _ID)
        self._keep(ids)
        for some, numbers in ((rows, ids), (others, picked(words, others, _ID))):
            if some:
                first, _ = extent_of(numbers)
                name = tuple(picked(words, some[first : first + 1], member)) if member else None
                self.note(words, some[first], name)
        if rows:
            if len(self.examples) < EXAMPLES or lowest_of(ids) < self.examples[-1][0]:
                for conn_id, c in nsmallest(EXAMPLES, zip(ids, rows, strict=True)):
                    self._show(conn_id, words[c + C_FIRST_FRAME])
            lasts = picked(words, rows, _LAST)
            self.last = max(self.last, lasts[extent_of(lasts)[1]])
            if member:
                self.members.take_all({name for name, _ in words_in_common(words, rows, member)})
        self.leave(len(others))

    def take_all(
        self,
        ids: array[int],
        frames: array[int],
        firsts: array[int],
        lasts: array[int],
        member: Callable[[int], Name],
        members: set[Name],
    ) -> None:
        """Count connections by columns: their numbers, first frames, first and last times, and what they count as.

        ``member`` gives that of one of them, ``members`` are those of all; of very many the smallest suffice.
        """
        self.count += len(ids)
        first, _ = extent_of(ids)
        lowest = ids[first]
        if self.conn_id < 0 or lowest < self.conn_id:
            self.conn_id, self.frame, self.first, self.member = lowest, frames[first], firsts[first], member(first)
        self.last = max(self.last, lasts[extent_of(lasts)[1]])
        if len(self.examples) < EXAMPLES or lowest < self.examples[-1][0]:
            for example in nsmallest(EXAMPLES, zip(ids, frames, strict=True)):
                self._show(*example)
        self.members.take_all(members)

    def leave(self, n: int) -> None:
        """Count some that nobody looks at."""
        self.count += n
        self.unseen += n

    def note(self, words: array[int], c: int, member: Name | None = None) -> None:
        """Look at a connection that is counted otherwise: it may be the first, or the last to speak."""
        if self.conn_id < 0 or words[c + C_ID] < self.conn_id:
            self.conn_id, self.frame = words[c + C_ID], words[c + C_FIRST_FRAME]
            self.first, self.member = words[c + C_FIRST_TIME], member
        self.last = max(self.last, words[c + C_LAST_TIME])

    def _show(self, conn_id: int, frame: int) -> None:
        insort(self.examples, (conn_id, frame))
        del self.examples[EXAMPLES:]

    def merge(self, other: Group) -> None:
        """Take what another has counted of other connections."""
        if other.conn_id >= 0 and (self.conn_id < 0 or other.conn_id < self.conn_id):
            self.conn_id, self.frame, self.first = other.conn_id, other.frame, other.first
            self.member = other.member
        if other.count:
            self.ids = None if other.ids is None or (self.ids is None and self.count) else self.ids or array("q")
            self._keep(other.ids or ())
        self.count += other.count
        self.unseen += other.unseen
        self.last = max(self.last, other.last)
        for example in other.examples:
            self._show(*example)
        self.members.merge(other.members)
        for what, n in other.more.items():
            self.tally(what, n)
        for what, n in other.most.items():
            self.reach(what, n)

    def tally(self, what: str, by: int = 1) -> None:
        """Count something else."""
        self.more[what] = self.more.get(what, 0) + by

    def reach(self, what: str, value: int) -> None:
        """Keep the greatest value."""
        self.most[what] = max(value, self.most.get(what, value))

    def peak(self, what: str) -> int:
        """The most that was counted under any name that begins like this."""
        return max((n for key, n in self.more.items() if key.startswith(what)), default=0)

    @property
    def counted(self) -> str:
        """How many different members, in words."""
        more = len(self.members) == MOST_MEMBERS or self.unseen
        return f"{max(1, len(self.members)):,}" + (" or more" if more else "")

    @property
    def lasted(self) -> int:
        """From the first segment to the last, ns."""
        return self.last - self.first


def in_both(place: int, some: Sequence[Name], others: Sequence[Name]) -> Name:
    """What would stand at a place if two lists that are in order were merged; most of them is not looked at.

    >>> [in_both(i, [(1,), (4,)], [(2,), (4,), (5,)])[0] for i in range(5)]
    [1, 2, 4, 4, 5]
    """
    low, high = max(0, place + 1 - len(others)), min(place + 1, len(some))
    while low < high:  # how many of those before, and at, that place are from the first list
        middle = (low + high) // 2
        if some[middle] < others[place - middle]:
            low = middle + 1
        else:
            high = middle
    ends = ([some[low - 1]] if low else []) + ([others[place - low]] if low <= place else [])
    return max(ends)


class Groups(dict[Name, Group]):
    """Groups by what their connections have in common; where there are too many, those with the smallest keys."""

    def __init__(self) -> None:
        super().__init__()
        self.bound: Name | None = None
        self._others = Group()

    def of(self, key: Name) -> Group:
        """The group of that key; one that nobody reads where there are too many."""
        group = self.get(key)
        if group is None:
            if self.bound is not None and key > self.bound:
                return self._others
            group = self[key] = Group()
            if len(self) >= 2 * MOST_GROUPS:
                self.trim()
        return group

    def trim(self, others: Sequence[Name] = ()) -> None:
        """Let go of the groups that are too many, and of members.

        Parameters
        ----------
        others : sequence of tuple
            Keys that count as well, in order: of what may become a group.
        """
        if len(self) + len(others) > MOST_GROUPS:
            self.bound = in_both(MOST_GROUPS - 1, sorted(self), others)
            for key in [key for key in self if key > self.bound]:
                del self[key]
        for group in self.values():
            group.members.trim()

    def merge(self, other: Groups) -> None:
        """Take what another has counted of other connections."""
        for key, group in other.items():
            self.of(key).merge(group)
