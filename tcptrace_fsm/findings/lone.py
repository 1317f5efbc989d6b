"""What surveys found: hosts that did something once stay numbers, and are put into words when somebody asks.

Whoever sends one odd segment each of many hosts makes as many findings, all of which say the same of another address.
"""

from __future__ import annotations

from array import array
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Protocol

from tcptrace_fsm.core.columns import NAMES_SIZE, NO_CLIENT, NO_SERVER, Alike, Columns, groups_in, parted
from tcptrace_fsm.core.finished import Finding
from tcptrace_fsm.core.room import zeros
from tcptrace_fsm.core.tally import Counted
from tcptrace_fsm.core.words import SIDES
from tcptrace_fsm.kernels.layout import (
    A_ANSWERED,
    A_FIRST,
    A_FRAME,
    A_ID,
    A_KEY,
    A_MEMBER,
    A_SIDE,
    ATTEMPT_SIZE,
    SE_CLIENT_HI,
    SE_CLIENT_LO,
    SE_SERVER_HI,
    SE_SERVER_LO,
    SE_SIX,
)
from tcptrace_fsm.text.addresses import address_text

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Sequence

__all__ = ["Lone", "Surveyed", "in_turn"]

BASIS = "inferred"
ALONE = -1  # an address without a port
NAMES = {
    SE_SIX: A_KEY,
    SE_CLIENT_HI: A_KEY + 1,
    SE_CLIENT_LO: A_KEY + 2,
    SE_SERVER_HI: A_MEMBER + 1,
    SE_SERVER_LO: A_MEMBER + 2,
}
"""The words of an attempt that are filled in: the host is in the place of the client."""


def in_turn(finding: Finding) -> tuple[int, str, int, str]:
    """Where a finding of surveys stands among others."""
    return finding.time, finding.kind, finding.place, finding.message


class Kind(Protocol):
    """What a survey is to them."""

    @property
    def kind(self) -> str: ...

    @property
    def category(self) -> str: ...

    @property
    def rfc(self) -> str: ...


class Lone:
    """The hosts that one survey saw do something once.

    Parameters
    ----------
    survey : Kind
    words : array('q')
        What they did, in order of the hosts: ``ATTEMPT_SIZE`` words each, which begin with the host.
    message : callable
        The host, the other one, and ``A_ANSWERED`` -> what is said of it.
    severity : str
    """

    def __init__(self, survey: Kind, words: array[int], message: Callable[[str, str, int], str], severity: str) -> None:
        self.survey, self.severity = survey, severity
        self._words, self._message = words, message

    def __len__(self) -> int:
        return len(self._words) // ATTEMPT_SIZE

    def __iter__(self) -> Iterator[Finding]:
        return map(self.finding, range(len(self)))

    def column(self, word: int) -> array[int]:
        """One word of each."""
        return self._words[word::ATTEMPT_SIZE]

    def message(self, i: int) -> str:
        """What is said of one of them."""
        return self._say(self._words[i * ATTEMPT_SIZE : (i + 1) * ATTEMPT_SIZE])

    def _say(self, words: array[int]) -> str:
        (six, *host), (_, *other) = words[A_KEY : A_KEY + 3], words[A_MEMBER : A_MEMBER + 3]
        names = [address_text(high, low, six=bool(six)) for high, low in (host, other)]
        return self._message(names[0], names[1], words[A_ANSWERED])

    def finding(self, i: int) -> Finding:
        """One of them as a row of the anomalies table."""
        words, survey = self._words[i * ATTEMPT_SIZE : (i + 1) * ATTEMPT_SIZE], self.survey
        return Finding(
            words[A_ID], SIDES[words[A_SIDE]], words[A_FIRST], words[A_FRAME], survey.kind, survey.category,
            self.severity, BASIS, self._say(words), (words[A_FRAME],), survey.rfc, None,
        )  # fmt: skip

    def columns(self) -> Columns:
        """What they say, column by column."""
        count, survey, frames = len(self), self.survey, self.column(A_FRAME)
        said = zeros(2 * count)
        said[::2], said[1::2] = self.column(A_SIDE), self.column(A_ANSWERED)
        groups, firsts = groups_in(said, 2)
        alike, pieces = [], []
        for i in firsts:
            side = SIDES[said[2 * i]]
            alike.append(Alike(side, survey.kind, survey.category, self.severity, BASIS, survey.rfc, None))
            pieces.append(parted(self._message(NO_CLIENT, NO_SERVER, said[2 * i + 1])))
        names = array("q", [ALONE]) * (NAMES_SIZE * count)
        for place, word in NAMES.items():
            names[place - SE_SIX :: NAMES_SIZE] = self.column(word)
        each = array("q", [1]) * count
        return Columns(self.column(A_ID), self.column(A_FIRST), frames, groups, alike, pieces, names, each, frames)

    def counted(self) -> Counted:
        """Count them: each is of another connection, and all are as severe."""
        ids = self.column(A_ID)
        least = min(ids)
        first = ids.index(least)
        time = self._words[first * ATTEMPT_SIZE + A_FIRST]
        return Counted(self.survey.kind, self.severity, least, time, ids, least, partial(self.message, first))


class Surveyed:
    """All that surveys found in a pass, in order of time: some are made already, and others stay numbers.

    Parameters
    ----------
    made : iterable of Finding
    lone : sequence of Lone
    """

    starts = array("q")
    kinds = array("q")  # they belong to no block of connections, and nobody sorts these by kinds

    def __init__(self, made: Iterable[Finding], lone: Sequence[Lone]) -> None:
        self._made = sorted(made, key=in_turn)
        self.between = {0: self._made}
        self.lone = lone

    def __len__(self) -> int:
        return len(self._made) + sum(map(len, self.lone))

    def __iter__(self) -> Iterator[Finding]:
        return iter(sorted(chain(self._made, *self.lone), key=in_turn))

    @property
    def others(self) -> Iterator[Finding]:
        """Those that are made."""
        return iter(self._made)

    @property
    def conn_ids(self) -> array[int]:
        """The numbers of the others' connections."""
        ids = array("q")
        for some in self.lone:
            ids += some.column(A_ID)
        return ids

    def finding(self, i: int) -> Finding:
        """One of the others."""
        for some in self.lone:
            if i < len(some):
                return some.finding(i)
            i -= len(some)
        raise IndexError(i)

    def taken_out(self, _kinds: Container[str]) -> list[Finding]:
        """None: they belong to no connections that somebody may keep back."""
        return []

    def kinds_in(self, _mask: int) -> frozenset[str]:
        """Kinds of the others, which have no bits."""
        return frozenset(some.survey.kind for some in self.lone)

    def columns(self) -> list[Columns]:
        """What the others say, column by column."""
        return [some.columns() for some in self.lone]

    def counted(self) -> Iterator[Counted]:
        """Count the others."""
        return (some.counted() for some in self.lone)
