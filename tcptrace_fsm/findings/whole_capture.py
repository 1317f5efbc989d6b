"""What surveys of the capture itself share: one finding about all of it, and a conversation with nothing amiss."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from tcptrace_fsm.findings.survey import Collector, Found, Group, Survey

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["WHOLE", "One", "fault", "without"]


class One(Collector):
    """A survey with a single group: a finding about the capture as a whole."""

    @property
    def group(self) -> Group:
        """The group; it keeps the numbers of its connections."""
        group = self.groups.of(())
        if not group.count and group.ids is None:
            group.ids = array("q")
        return group

    def see(self, words: array[int], c: int) -> None:
        """A connection that shows it."""
        self.group.add(words, c)

    def finish(self, now: int) -> Iterator[Found]:
        """One finding, if anything shows it."""
        if self.group.count:
            yield self.found(self.group, now)

    def found(self, group: Group, now: int) -> Found:
        """The finding."""
        raise NotImplementedError

    @property
    def of_all(self) -> str:
        """How many of the connections, in words; what the capture shows twice is one, as far as that is known."""
        count, ids, total = self.group.count, self.group.ids, self.total
        if self.copies and ids is not None:
            count, total = len({self.copies.get(n, n) for n in ids}), total - len(self.copies)
        return f"{count:,} of {total:,} connections"

    @property
    def one(self) -> str:
        """The connection, in words, where only one shows it; else nothing."""
        return "" if self.group.count > 1 else "the connection" if self.total == 1 else self.of_all


WHOLE = """
    0.000 > S  0:0(0)              <mss 1000>
    0.010 < S. 0:0(0)       ack 1  <mss 1000>
    0.011 > .  1:1(0)       ack 1
    0.020 > P. 1:101(100)   ack 1
    0.030 < P. 1:501(500)   ack 101
    0.031 > .  101:101(0)   ack 501
    0.060 > F. 101:101(0)   ack 501
    0.070 < F. 501:501(0)   ack 102
    0.071 > .  102:102(0)   ack 502
"""


def without(*lines: int) -> str:
    """The whole connection less some of its segments."""
    return "\n".join(line for i, line in enumerate(WHOLE.strip().splitlines()) if i not in lines)


def fault(kind: str, severity: str, rfc: str, summary: str, evidence: str, innocent: str, **more: Any) -> Survey:
    """The declaration of a survey of the capture."""
    return Survey(kind, "capture", severity, rfc, summary, evidence, innocent, **more)
