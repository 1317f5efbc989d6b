"""Connections of a block by what they have in common: groups, not connections, come into Python."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING, Any, NamedTuple

from tcptrace_fsm.core.room import copied, grown, room, zeros
from tcptrace_fsm.kernels.grouping import (
    add_up,
    arrange_records,
    count_steps,
    count_up,
    extent,
    group_records,
    mark_rows,
    marks_of,
    multiply,
    part_alone,
    pick_words,
    write_ranks,
)
from tcptrace_fsm.kernels.layout import CONNECTION_SIZE
from tcptrace_fsm.kernels.replay import tell_apart

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

__all__ = [
    "ALL",
    "Field",
    "Gathered",
    "Marks",
    "Order",
    "Places",
    "Records",
    "counting",
    "extent_of",
    "groups_of",
    "in_order",
    "lowest_of",
    "multiplied",
    "picked",
    "steps_of",
    "sums_before",
    "words_in_common",
]

ALL = -1


def counting(count: int, step: int = 1) -> array[int]:
    """So many numbers from 0 on: a tenth of the time that an array takes to take them out of a range.

    >>> counting(3, 5)
    array('q', [0, 5, 10])
    """
    out = zeros(count)
    if count:
        count_up(count, step, out)
    return out


def multiplied(numbers: array[int], factor: int) -> array[int]:
    """Each number so many times.

    >>> multiplied(array("q", [3, 5]), 2)
    array('q', [6, 10])
    """
    out = zeros(len(numbers))
    if numbers:
        multiply(len(numbers), factor, numbers, out)
    return out


def sums_before(numbers: array[int]) -> array[int]:
    """The sum of those before each of some numbers.

    >>> sums_before(array("q", [3, 5, 1]))
    array('q', [0, 3, 8])
    """
    out = zeros(len(numbers))
    if numbers:
        add_up(len(numbers), numbers, out)
    return out


def extent_of(numbers: array[int]) -> tuple[int, int]:
    """The places of the lowest and of the highest of some numbers, the first of each; there is at least one.

    >>> extent_of(array("q", [3, 5, 1, 5, 1]))
    (2, 1)
    """
    out = array("q", [0, 0])
    extent(len(numbers), numbers, out)
    return out[0], out[1]


def lowest_of(numbers: array[int]) -> int:
    """The lowest of some numbers, in a twentieth of the time that an array takes to hand them out."""
    return numbers[extent_of(numbers)[0]]


class Field(NamedTuple):
    """A part of a word of a connection's record."""

    word: int
    shift: int = 0
    mask: int = ALL


class Records(array):  # type: ignore[type-arg]  # it takes none at run time
    """The records of connections that are over, and in what they differ: what is alike in all is looked at once.

    Attributes
    ----------
    differs : array('q')
        For each word of a record the bits in which not all of them agree.
    """

    differs: array[int]

    @classmethod
    def blank(cls, count: int) -> Self:
        """So many records of zeros, to be written; :meth:`compare` is for when they are."""
        made = cls("q", [0])
        made *= count * CONNECTION_SIZE  # type: ignore[assignment]  # it stays what it is
        made.differs = array("q", [ALL]) * CONNECTION_SIZE
        return made

    def compare(self) -> None:
        """See in what they differ."""
        self.differs = zeros(CONNECTION_SIZE)
        tell_apart(len(self) // CONNECTION_SIZE, self, self.differs)

    def __setitem__(self, place: Any, value: Any) -> None:
        super().__setitem__(place, value)
        if isinstance(place, int):
            self.differs[place % len(self.differs)] = ALL
        else:
            self.differs = array("q", [ALL]) * len(self.differs)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return array("q", self).__reduce_ex__(protocol)

    def share(self, field: Field) -> bool:
        """Whether a part of a word is the same in all of them."""
        return not self.differs[field.word] >> field.shift & field.mask


class Places:
    """Where the records of some connections begin, and where their transitions do.

    Attributes
    ----------
    starts, changes : array('q')
    """

    __slots__ = ("changes", "starts")

    def __init__(self, starts: array[int] | None = None, changes: array[int] | None = None) -> None:
        self.starts = array("q") if starts is None else starts
        self.changes = array("q") if changes is None else changes

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self.starts, self.changes, strict=True)

    def extend(self, other: Places) -> None:
        """Add others."""
        self.starts.extend(other.starts)
        self.changes.extend(other.changes)

    def some(self, numbers: array[int]) -> Places:
        """Those with these numbers, in the order given."""
        return Places(in_order(numbers, self.starts), in_order(numbers, self.changes))


def in_order(numbers: array[int], records: array[int], size: int = 1) -> array[int]:
    """The records with these numbers, of so many words each, one after the other."""
    count = len(numbers)
    out = zeros(count * size)
    if count:
        arrange_records(count, size, numbers, records, out)
    return out


def picked(words: array[int], starts: array[int], fields: Sequence[Field]) -> array[int]:
    """Parts of words of some records, record by record."""
    if isinstance(words, Records) and all(map(words.share, fields)):
        return array("q", [words[f.word] >> f.shift & f.mask for f in fields] if starts else ()) * len(starts)
    out = zeros(len(starts) * len(fields))
    if starts:
        pick_words(len(starts), starts, words, len(fields), array("q", [n for field in fields for n in field]), out)
    return out


class Gathered:
    """Words that come in parts, and are one array when somebody asks for them.

    Meanwhile they lie apart from what comes and goes with each block, where they would keep memory from being used
    again, in room that grows without being copied.
    """

    def __init__(self) -> None:
        self._room: memoryview | None = None
        self._words = array("q")
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __reduce__(self) -> tuple[Any, ...]:
        return Gathered.of, (self.words,)

    @classmethod
    def of(cls, words: array[int]) -> Gathered:
        """What holds these."""
        made = cls()
        made.add(words)
        return made

    def add(self, part: array[int]) -> None:
        """Add some."""
        count = self._count + len(part)
        if self._room is None:
            self._room = room(count)
            self._room[: len(self._words)] = self._words
            self._words = array("q")
        self._room = grown(self._room, count)
        self._room[self._count : count] = part
        self._count = count

    @property
    def words(self) -> array[int]:
        """All of them."""
        if self._room is not None:
            self._words, self._room = copied(self._room, self._count), None
        return self._words


class Order:
    """The numbers of some records, in order by their first ``width`` words of ``size``.

    Attributes
    ----------
    count, distinct : int
        How many records there are, and how many that differ in these words.
    numbers : array('q')
    """

    def __init__(self, records: array[int], size: int, width: int) -> None:
        self.count = count = len(records) // size
        self._records, self._size, self._width = records, size, width
        self.numbers, work = zeros(count), zeros(4 * count + 256 + width)
        self._begins = zeros(count + 1)
        self.distinct = 0
        if count:
            self.distinct = group_records(count, size, width, records, self.numbers, work, self._begins)

    def groups(self) -> list[array[int]]:
        """Those that are equal, group by group."""
        begins = self._begins
        return [self.numbers[begins[i] : begins[i + 1]] for i in range(self.distinct)]

    def firsts(self, most: int) -> array[int]:
        """The first of each group, of the first groups."""
        begins = self._begins
        return array("q", [self.numbers[begins[i]] for i in range(min(most, self.distinct))])

    def ranks(self) -> array[int]:
        """Of each record the number of its group."""
        out = zeros(self.count)
        if self.count:
            write_ranks(self.distinct, self.numbers, self._begins, out)
        return out

    def equal_to(self, words: tuple[int, ...]) -> array[int]:
        """Those whose first words are these."""

        def words_of(group: int) -> tuple[int, ...]:
            at = self.numbers[self._begins[group]] * self._size
            return tuple(self._records[at : at + self._width])

        i = bisect_left(range(self.distinct), words, key=words_of)
        found = i < self.distinct and words_of(i) == words
        return self.numbers[self._begins[i] : self._begins[i + 1]] if found else array("q")

    def parted(self) -> tuple[array[int], list[array[int]]]:
        """Those that are alone in their group, and the other groups."""
        if not self.count:
            return array("q"), []
        alone, several = zeros(self.distinct), zeros(self.count)
        n = part_alone(self.distinct, self.numbers, self._begins, alone, several)
        places = iter(several[: 2 * (self.distinct - n)])
        return alone[:n], [self.numbers[i:j] for i, j in zip(places, places, strict=True)]


def groups_of(records: array[int], size: int, width: int) -> list[array[int]]:
    """The numbers of the records that have the same first ``width`` words, group by group."""
    return Order(records, size, width).groups()


class Marks:
    """Bits that somebody notes for connections of a block.

    Attributes
    ----------
    any : bool
        Whether there are any.
    """

    def __init__(self, count: int) -> None:
        self._marks = zeros(count)
        self.any = False

    def add(self, starts: array[int], marks: array[int]) -> None:
        """Note more for the connections whose records begin there."""
        if starts:
            self.any = mark_rows(len(starts), starts, CONNECTION_SIZE, marks, self._marks) > 0

    def of(self, starts: array[int]) -> array[int]:
        """What is noted for each of these."""
        out = zeros(len(starts))
        if starts and self.any:
            marks_of(len(starts), starts, CONNECTION_SIZE, self._marks, out)
        return out


def words_in_common(
    words: array[int], starts: array[int], fields: Sequence[Field], more: array[int] | None = None
) -> list[tuple[tuple[int, ...], array[int]]]:
    """What these words are, and the numbers of the connections in whose records they are so.

    ``more`` holds another number of each connection, which is the last of what they may have in common.
    """
    if not starts:
        return []
    key = [0] * len(fields)
    various = list(range(len(fields)))
    if isinstance(words, Records):  # what is alike in all of them need not be sorted by
        key = [words[f.word] >> f.shift & f.mask for f in fields]
        various = [i for i, field in enumerate(fields) if not words.share(field)]
    keys = picked(words, starts, [fields[i] for i in various])
    if more is not None:
        keys, picks, size = zeros((len(various) + 1) * len(starts)), keys, len(various) + 1
        for n in range(len(various)):
            keys[n::size] = picks[n :: size - 1]
        keys[size - 1 :: size] = more
        various.append(len(key))
        key.append(0)
    if not various:
        return [(tuple(key), counting(len(starts)))]
    size, found = len(various), []
    for numbers in groups_of(keys, size, size):
        at = numbers[0] * size
        for i in various:
            key[i] = keys[at]
            at += 1
        found.append((tuple(key), numbers))
    return found


def steps_of(values: array[int], step: int) -> list[tuple[int, int]]:
    """In which steps some values lie, and how many, as they follow each other: a step may come again.

    >>> steps_of(array("q", [3, 5, 14, 9]), 10)
    [(0, 2), (1, 1), (0, 1)]
    """
    if min(values, default=0) < 0:  # relative times
        return [(value // step, 1) for value in values]
    out = zeros(2 * len(values))
    n = count_steps(len(values), values, step, out) if values else 0
    return list(zip(out[: 2 * n : 2], out[1 : 2 * n : 2], strict=True))
