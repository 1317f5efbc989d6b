"""What views ask of a trace; :class:`tcptrace_fsm.api.trace.Trace` fulfils it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import pandas as pd

    from tcptrace_fsm.core.finished import Finding
    from tcptrace_fsm.views.conversation import Conversation
    from tcptrace_fsm.views.diagram import Diagram
    from tcptrace_fsm.views.occupancy import Sweep

__all__ = ["TraceTables", "TraceViews"]


class TraceTables(Protocol):
    """The tables of an analysis, and its connections with every segment."""

    @property
    def connections(self) -> pd.DataFrame:
        """One row per connection."""

    @property
    def transitions(self) -> pd.DataFrame:
        """One row per change of state."""

    @property
    def anomalies(self) -> pd.DataFrame:
        """One row per finding."""

    @property
    def diagnoses(self) -> pd.DataFrame:
        """One row per problem."""

    @property
    def waits(self) -> pd.DataFrame:
        """One row per standstill."""

    @property
    def segments(self) -> pd.DataFrame:
        """One row per segment."""

    @property
    def states(self) -> pd.DataFrame:
        """One row per stay in a state."""

    @property
    def rereadable(self) -> bool:
        """Whether the segments can be had."""

    def conversations(
        self, wanted: Collection[int] | None = None, *, limit: int | None = None
    ) -> Iterator[Conversation]:
        """Give connections with their segments."""


class TraceViews(TraceTables, Protocol):
    """What the report shows besides."""

    summary: dict[str, Any]

    @property
    def span(self) -> tuple[int | None, int | None]:
        """First and last capture time, ns since 1970 UTC."""

    @property
    def name(self) -> str:
        """What the captures are called."""

    @property
    def findings(self) -> list[Finding]:
        """The rows of `anomalies` as plain tuples."""

    @property
    def sweep(self) -> Sweep:
        """All changes of state, ready to be counted."""

    def diagram(self) -> Diagram:
        """Draw figure 5 of RFC 9293."""
