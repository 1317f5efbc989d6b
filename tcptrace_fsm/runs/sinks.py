"""What receives the results of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from tcptrace_fsm.core.finished import Finished

__all__ = ["Kept", "SegmentSink", "Sink"]


class Sink(Protocol):
    """Somebody who wants connections that are over.

    One with a method ``take_segments`` gets every batch of labelled segments too, where segments are wanted.
    """

    def take(self, finished: Finished) -> None:
        """Take connections that are over, with their transitions and findings."""


class Kept:
    """Keeps what is over, as it came."""

    def __init__(self) -> None:
        self.finished: list[Finished] = []

    def take(self, finished: Finished) -> None:
        """Take connections that are over."""
        self.finished.append(finished)


class SegmentSink:
    """Gives a segment table (:class:`tcptrace_fsm.tables.segments.SegmentTable`) what it needs."""

    def __init__(self, table: Any) -> None:
        self.take_segments = table.add
        self.take = table.learn
