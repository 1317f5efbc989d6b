"""Attempts that came to nothing, by who made them or whom they were made to: hosts come into Python, not attempts.

A flood has a host for each attempt. Attempts are kept as records of a few words until there are many; then a kernel
puts them in order, and only hosts with several attempts become groups (:class:`~tcptrace_fsm.findings.groups.Group`).
Those that are still alone stay records.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tcptrace_fsm.core.grouping import Field, Gathered, Order, counting, in_order, picked
from tcptrace_fsm.core.room import zeros
from tcptrace_fsm.findings import groups as limits
from tcptrace_fsm.findings.groups import Name
from tcptrace_fsm.findings.survey import Collector
from tcptrace_fsm.kernels.grouping import pick_attempts
from tcptrace_fsm.kernels.layout import (
    A_ANSWERED,
    A_FIRST,
    A_FRAME,
    A_ID,
    A_KEY,
    A_LAST,
    A_MEMBER,
    A_PEER,
    ATTEMPT_SIZE,
)
from tcptrace_fsm.kernels.strays import note_answers, note_probes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from tcptrace_fsm.findings.groups import Group, Groups
    from tcptrace_fsm.tcp.profiles import Profile

__all__ = ["EITHER", "HOST", "LISTENER", "PAIR", "TARGET", "Attempts", "Columns", "OfAttempts"]

MANY = 65536  # attempts that are kept before they are put in order
LISTENER, HOST, PAIR = ((A_KEY, 4), (A_MEMBER, 3)), ((A_KEY, 3), (A_MEMBER, 4)), ((A_KEY, 6), (A_PEER, 4))
TARGET, EITHER = ((A_KEY, 3), (A_MEMBER, 3)), ((A_KEY, 4), (A_MEMBER, 3))
"""Which words of a record are the group's key, and which its member's: where they begin, and how many."""
FEW = 1024  # groups that are looked for among attempts, instead of attempts among groups


class Columns:
    """The records of several attempts of one group, word by word.

    Attributes
    ----------
    records : array('q')
        Of ``ATTEMPT_SIZE`` words each.
    starts : array('q')
        Where each begins.
    """

    def __init__(self, records: array[int]) -> None:
        self.records = records
        self.starts = counting(len(records) // ATTEMPT_SIZE, ATTEMPT_SIZE)
        self.ids = records[A_ID::ATTEMPT_SIZE]
        self.frames = records[A_FRAME::ATTEMPT_SIZE]
        self.firsts = records[A_FIRST::ATTEMPT_SIZE]
        self.lasts = records[A_LAST::ATTEMPT_SIZE]
        self.answered = records[A_ANSWERED::ATTEMPT_SIZE]


class Attempts:
    """The attempts of one survey that are not yet counted in its groups.

    Parameters
    ----------
    key, member : (int, int)
        Which words of a record say what group it belongs to, and what it is counted as: ``LISTENER``: by the listener,
        the clients being members of the group; ``HOST``: by the client, or who sent a probe, with listeners as members;
        of probes ``TARGET``: by the host that is sent them, with senders as members; ``PAIR``: by sender and receiver;
        of answers ``EITHER``: by sender, and by receiver.
    """

    def __init__(self, key: tuple[int, int], member: tuple[int, int]) -> None:
        self._key, self._member = key, member
        self._held = Gathered()
        self.ordered = 0  # how many at the beginning are alone in their groups, and in order

    @property
    def words(self) -> array[int]:
        """``ATTEMPT_SIZE`` words of each."""
        return self._held.words

    @words.setter
    def words(self, words: array[int]) -> None:
        self._held = Gathered()
        self._held.add(words)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._held) // ATTEMPT_SIZE

    def take(self, block: array[int], rows: array[int], bound: Name | None) -> None:
        """Keep those among some connections; see :func:`tcptrace_fsm.kernels.grouping.pick_attempts`."""
        if rows:
            by_listener = int((self._key, self._member) == LISTENER)
            self._add(len(rows), lambda out: pick_attempts(len(rows), rows, block, by_listener, limit_of(bound), out))

    def take_probes(self, block: array[int], found: array[int], least_port: int, bound: Name | None) -> None:
        """Keep what was found; see :func:`tcptrace_fsm.kernels.strays.note_probes`."""
        if found:
            count = len(found) // 2
            pairs = {PAIR: 1, HOST: 2}.get((self._key, self._member), 0)
            self._add(count, lambda out: note_probes(count, found, block, pairs, least_port, limit_of(bound), out))

    def take_answers(self, block: array[int], rows: array[int], bound: Name | None) -> None:
        """Keep those among some connections; see :func:`tcptrace_fsm.kernels.strays.note_answers`."""
        if rows:
            self._add(2 * len(rows), lambda out: note_answers(len(rows), rows, block, limit_of(bound), out))

    def _add(self, most: int, write: Callable[[array[int]], int]) -> None:
        """Have a kernel write as many as ``most`` records behind the others; it tells how many these are."""
        out = zeros(most * ATTEMPT_SIZE)
        if n := write(out):
            self._held.add(out if n == most else out[: n * ATTEMPT_SIZE])

    @property
    def many(self) -> bool:
        """Whether it is time to count them."""
        return self.count - self.ordered >= MANY

    def merge(self, other: Attempts) -> None:
        """Take those of another."""
        self._held.add(other.words)

    def count_in(self, groups: Groups, tell: Callable[[Group, Columns], None]) -> None:
        """Count those that are not alone in their group; ``tell`` adds to a group what a survey counts besides."""
        alone, several = Order(self.words, ATTEMPT_SIZE, self._key[1]).parted()
        if groups and len(alone):
            keys = _Names(in_order(alone, self.words, ATTEMPT_SIZE), *self._key)
            joining = joined(keys, alone, groups)
            if joining:
                several += [array("q", [number]) for number in alone if number in joining]
                alone = array("q", [number for number in alone if number not in joining])
        for members in several:
            columns = Columns(in_order(members, self.words, ATTEMPT_SIZE))
            group = groups.of(_Names(columns.records, *self._key)[0])
            member = _Names(columns.records, *self._member)
            group.take_all(
                columns.ids, columns.frames, columns.firsts, columns.lasts, member.__getitem__, member.smallest()
            )
            tell(group, columns)
        self.words = in_order(alone, self.words, ATTEMPT_SIZE)
        self.ordered = len(alone)
        if len(groups) + self.ordered >= 2 * limits.MOST_GROUPS:
            self.trim(groups)

    def trim(self, groups: Groups) -> None:
        """Let go of the groups that are too many, those that are alone among them."""
        keys = _Names(self.words, *self._key)
        groups.trim(keys)
        if groups.bound is not None:
            self.ordered = bisect_right(keys, groups.bound)
            self.words = self.words[: self.ordered * ATTEMPT_SIZE]


def limit_of(bound: Name | None) -> array[int]:
    """The largest key that is taken, for a kernel to compare with."""
    limit = zeros(7)
    if bound is not None:
        limit[: 1 + len(bound)] = array("q", [1, *bound])
    return limit


class _Names(Sequence[Name]):
    """The same words of each of some records, which are taken out when they are asked for."""

    def __init__(self, records: array[int], word: int, width: int) -> None:
        self._records, self._word, self._width = records, word, width

    def __len__(self) -> int:
        return len(self._records) // ATTEMPT_SIZE

    def __getitem__(self, number: Any) -> Any:
        at = number * ATTEMPT_SIZE + self._word
        return tuple(self._records[at : at + self._width])

    def __iter__(self) -> Iterator[Name]:
        return zip(*(self._records[self._word + i :: ATTEMPT_SIZE] for i in range(self._width)), strict=True)

    def smallest(self) -> set[Name]:
        """Those that differ; of very many no more than a group keeps."""
        if len(self) <= limits.MOST_MEMBERS:
            return set(self)
        fields = [Field(self._word + i) for i in range(self._width)]
        words = picked(self._records, counting(len(self), ATTEMPT_SIZE), fields)
        chosen = in_order(Order(words, self._width, self._width).firsts(limits.MOST_MEMBERS), words, self._width)
        return set(zip(*(chosen[i :: self._width] for i in range(self._width)), strict=True))


def joined(keys: _Names, numbers: array[int], groups: Groups) -> set[int]:
    """The numbers of those whose key has a group already; ``keys`` are in order, one for each number."""
    if len(groups) < FEW:
        found = set()
        for key in groups:
            place = bisect_left(keys, key)
            if place < len(keys) and keys[place] == key:
                found.add(numbers[place])
        return found
    return {number for key, number in zip(keys, numbers, strict=True) if key in groups}


class OfAttempts(Collector):
    """A survey of attempts that came to nothing.

    Parameters
    ----------
    profile : Profile
        As of every survey.
    by : pair
        The key and the member of :class:`Attempts`.
    tell : callable
        Counts in a group what is asked of its attempts.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        by: tuple[tuple[int, int], tuple[int, int]],
        tell: Callable[[Group, Columns], None],
    ) -> None:
        super().__init__(profile)
        self.attempts = Attempts(*by)
        self._tell = tell

    def see_all(self, words: array[int], rows: array[int]) -> None:
        """Keep the attempts among some connections, until there are many."""
        self.attempts.take(words, rows, self.groups.bound)
        if self.attempts.many:
            self.count()

    def take_probes(self, words: array[int], found: array[int], least_port: int = 0) -> None:
        """The same of probes that were found."""
        self.attempts.take_probes(words, found, least_port, self.groups.bound)
        if self.attempts.many:
            self.count()

    def count(self) -> None:
        """Count the attempts in their groups."""
        self.attempts.count_in(self.groups, self._tell)

    def merge(self, other: Self) -> None:
        """Take what another has seen."""
        super().merge(other)
        self.attempts.merge(other.attempts)
