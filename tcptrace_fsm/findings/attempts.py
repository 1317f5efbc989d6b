"""Attempts that came to nothing, by who made them or whom they were made to: hosts come into Python, not attempts.

A flood has a host for each attempt. Attempts are kept as records of a few words until there are many; then a kernel
puts them in order, and only hosts with several attempts become groups (:class:`~tcptrace_fsm.findings.groups.Group`).
Those that are still alone stay records.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.core.grouping import Order, in_order
from tcptrace_fsm.findings import groups as limits
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
    A_OPENING,
    A_OPTIONS,
    ATTEMPT_SIZE,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from tcptrace_fsm.findings.groups import Group, Groups, Name
    from tcptrace_fsm.tcp.profiles import Profile

__all__ = ["Attempts", "Columns", "OfAttempts"]

MANY = 65536  # attempts that are kept before they are put in order
KEY_WORDS = 4


class Columns(NamedTuple):
    """The records of several attempts of one group, word by word."""

    key: Name
    ids: array[int]
    frames: array[int]
    firsts: array[int]
    lasts: array[int]
    openings: array[int]
    options: array[int]
    answered: array[int]
    members: list[Name]


class Attempts:
    """The attempts of one survey that are not yet counted in its groups.

    Parameters
    ----------
    by_listener : bool
        Whether they are counted by the listener, the clients being members of the group; or by the client, with
        listeners as members.
    """

    def __init__(self, *, by_listener: bool) -> None:
        self.by_listener = by_listener
        self.words = array("q")
        self.ordered = 0  # how many at the beginning are alone in their groups, and in order

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.words) // ATTEMPT_SIZE

    def take(self, block: array[int], rows: array[int], bound: Name | None) -> None:
        """Keep those among some connections; see :func:`tcptrace_fsm.kernels.grouping.pick_attempts`."""
        if rows:
            out = array("q", bytes(8 * len(rows) * ATTEMPT_SIZE))
            limit = array("q", [0] * (1 + KEY_WORDS) if bound is None else [1, *self._padded(bound)])
            n = pick_attempts(len(rows), rows, block, int(self.by_listener), limit, out)
            self.words += out[: n * ATTEMPT_SIZE]

    @property
    def many(self) -> bool:
        """Whether it is time to count them."""
        return self.count - self.ordered >= MANY

    def merge(self, other: Attempts) -> None:
        """Take those of another."""
        self.words += other.words

    def count_in(self, groups: Groups, tell: Callable[[Group, Columns], None]) -> None:
        """Count those that are not alone in their group; ``tell`` adds to a group what a survey counts besides."""
        alone, several = Order(self.words, ATTEMPT_SIZE, KEY_WORDS).parted()
        if groups:
            keys = self._keys(in_order(alone, self.words, ATTEMPT_SIZE))
            joining = {number for key, number in zip(keys, alone, strict=True) if key in groups}
            if joining:
                several += [array("q", [number]) for number in alone if number in joining]
                alone = array("q", [number for number in alone if number not in joining])
        for members in several:
            columns = self._columns(in_order(members, self.words, ATTEMPT_SIZE))
            group = groups.of(columns.key)
            group.take_all(columns.ids, columns.frames, columns.firsts, columns.lasts, columns.members)
            tell(group, columns)
        self.words = in_order(alone, self.words, ATTEMPT_SIZE)
        self.ordered = len(alone)
        if len(groups) + self.ordered >= 2 * limits.MOST_GROUPS:
            self.trim(groups)

    def trim(self, groups: Groups) -> None:
        """Let go of the groups that are too many, those that are alone among them."""
        keys = self._keys(self.words)
        groups.trim(keys)
        if groups.bound is not None:
            self.ordered = sum(key <= groups.bound for key in keys)
            del self.words[self.ordered * ATTEMPT_SIZE :]

    def _keys(self, words: array[int]) -> list[Name]:
        width = KEY_WORDS - (not self.by_listener)
        return list(zip(*(words[A_KEY + i :: ATTEMPT_SIZE] for i in range(width)), strict=True))

    def _padded(self, key: Name) -> Name:
        return key if self.by_listener else (*key, 0)

    def _columns(self, words: array[int]) -> Columns:
        width = KEY_WORDS - self.by_listener
        return Columns(
            self._keys(words[:ATTEMPT_SIZE])[0],
            words[A_ID::ATTEMPT_SIZE],
            words[A_FRAME::ATTEMPT_SIZE],
            words[A_FIRST::ATTEMPT_SIZE],
            words[A_LAST::ATTEMPT_SIZE],
            words[A_OPENING::ATTEMPT_SIZE],
            words[A_OPTIONS::ATTEMPT_SIZE],
            words[A_ANSWERED::ATTEMPT_SIZE],
            list(zip(*(words[A_MEMBER + i :: ATTEMPT_SIZE] for i in range(width)), strict=True)),
        )


class OfAttempts(Collector):
    """A survey of attempts that came to nothing.

    Parameters
    ----------
    profile : Profile
        As of every survey.
    by_listener : bool
        As of :class:`Attempts`.
    tell : callable
        Counts in a group what is asked of its attempts.
    """

    def __init__(self, profile: Profile, *, by_listener: bool, tell: Callable[[Group, Columns], None]) -> None:
        super().__init__(profile)
        self.attempts = Attempts(by_listener=by_listener)
        self._tell = tell

    def see_all(self, words: array[int], rows: array[int]) -> None:
        """Keep the attempts among some connections, until there are many."""
        self.attempts.take(words, rows, self.groups.bound)
        if self.attempts.many:
            self.count()

    def count(self) -> None:
        """Count the attempts in their groups."""
        self.attempts.count_in(self.groups, self._tell)

    def merge(self, other: Self) -> None:
        """Take what another has seen."""
        super().merge(other)
        self.attempts.merge(other.attempts)
