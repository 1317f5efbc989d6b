"""What surveys found: hosts that did something once stay numbers, and are put into words when somebody asks.

Whoever sends one odd segment each of many hosts makes as many findings, all of which say the same of another address.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

from tcptrace_fsm.core.finished import Finding
from tcptrace_fsm.core.tally import Counted
from tcptrace_fsm.core.words import SIDES
from tcptrace_fsm.findings.wording import NO_CLIENT, NO_SERVER
from tcptrace_fsm.kernels.layout import A_ANSWERED, A_FIRST, A_FRAME, A_ID, A_KEY, A_MEMBER, A_SIDE, ATTEMPT_SIZE
from tcptrace_fsm.text.addresses import address_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tcptrace_fsm.findings.groups import Name

__all__ = ["Lone", "Surveyed", "in_turn"]

BASIS = "inferred"


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

    def _messages(self) -> list[str]:
        """What is said of each: of those that are alike the words are put together once."""
        texts = {answered: self._message(NO_CLIENT, NO_SERVER, answered) for answered in set(self.column(A_ANSWERED))}
        words = (A_ANSWERED, A_KEY, A_KEY + 1, A_KEY + 2, A_MEMBER + 1, A_MEMBER + 2)
        return [
            texts[answered]
            .replace(NO_CLIENT, address_text(high, low, six=bool(six)))
            .replace(NO_SERVER, address_text(other_high, other_low, six=bool(six)))
            for answered, six, high, low, other_high, other_low in zip(*map(self.column, words), strict=True)
        ]

    def finding(self, i: int) -> Finding:
        """One of them as a row of the anomalies table."""
        words, survey = self._words[i * ATTEMPT_SIZE : (i + 1) * ATTEMPT_SIZE], self.survey
        return Finding(
            words[A_ID], SIDES[words[A_SIDE]], words[A_FIRST], words[A_FRAME], survey.kind, survey.category,
            self.severity, BASIS, self._say(words), (words[A_FRAME],), survey.rfc, None,
        )  # fmt: skip

    def of(self, host: Name) -> Finding | None:
        """What was found of a host."""

        def host_at(i: int) -> Name:
            return tuple(self._words[i * ATTEMPT_SIZE + A_KEY : i * ATTEMPT_SIZE + A_KEY + len(host)])

        i = bisect_left(range(len(self)), host, key=host_at)
        return self.finding(i) if i < len(self) and host_at(i) == host else None

    def columns(self) -> list[Sequence[Any]]:
        """What they say, column by column as in :class:`Finding`."""
        count, survey = len(self), self.survey
        frames = self.column(A_FRAME)
        return [
            self.column(A_ID),
            [SIDES[side] for side in self.column(A_SIDE)],
            self.column(A_FIRST),
            frames,
            [survey.kind] * count,
            [survey.category] * count,
            [self.severity] * count,
            [BASIS] * count,
            self._messages(),
            list(zip(frames, strict=True)),
            [survey.rfc] * count,
            [None] * count,
        ]

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

    def kinds_in(self, _mask: int) -> frozenset[str]:
        """Kinds of the others, which have no bits."""
        return frozenset(some.survey.kind for some in self.lone)

    def columns(self) -> list[Sequence[Any]]:
        """What the others say, column by column as in :class:`Finding`."""
        parts = [some.columns() for some in self.lone]
        return [list(chain(*column)) for column in zip(*parts, strict=True)]

    def counted(self) -> Iterator[Counted]:
        """Count the others."""
        return (some.counted() for some in self.lone)
