"""One connection of a trace: its rows of every table, and pictures of it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from tcptrace_fsm.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from tcptrace_fsm.views.conversation import Conversation
    from tcptrace_fsm.views.ladder import Ladder
    from tcptrace_fsm.views.protocol import TraceTables
    from tcptrace_fsm.views.series import Direction

__all__ = ["Connection"]


class Connection:
    """One connection of a trace.

    Attributes
    ----------
    conn_id : int

    """

    def __init__(self, trace: TraceTables, conn_id: int) -> None:
        self.conn_id = conn_id
        self._trace = trace
        self._conversation: Conversation | None = None

    @property
    def row(self) -> pd.Series[Any]:
        """Its row of the connections table."""
        return self._trace.connections.iloc[self.conn_id]

    def _rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame[frame["conn_id"] == self.conn_id].reset_index(drop=True)

    @property
    def transitions(self) -> pd.DataFrame:
        """Its changes of state, both endpoints in order of time."""
        return self._rows(self._trace.transitions).sort_values("time", kind="stable", ignore_index=True)

    @property
    def anomalies(self) -> pd.DataFrame:
        """Its findings."""
        return self._rows(self._trace.anomalies)

    @property
    def segments(self) -> pd.DataFrame:
        """Its segments."""
        return self._rows(self._trace.segments)

    @property
    def states(self) -> pd.DataFrame:
        """Its endpoints' stays in states."""
        return self._rows(self._trace.states)

    def conversation(self) -> Conversation:
        """Everything that a picture of it needs; kept once it was asked for."""
        if self._conversation is None:
            self._conversation = next(self._trace.conversations({self.conn_id}))
        return self._conversation

    def ladder(self, *, most: int | None = None) -> Ladder:
        """Draw its segments between two lifelines, each endpoint's states down its side.

        Parameters
        ----------
        most : int or None
            Rows for segments at most, about; None for the usual.

        Returns
        -------
        Ladder
            Shows itself in a notebook, prints itself in a terminal; its ``svg`` is the picture's text.

        """
        from tcptrace_fsm.views.ladder import Ladder

        return Ladder(self.conversation(), most=most)

    def plot_states(self, ax: Axes | None = None) -> Axes:
        """Draw the states of both endpoints over time. Needs matplotlib (the extra ``plot``)."""
        from tcptrace_fsm.views import figures

        return figures.states(self.states, self._title, ax)

    def plot_sequence(self, side: str | None = None, ax: Axes | None = None) -> Axes:
        """Draw the time-sequence graph of what one side sent: data, ACKs, window, retransmissions, SACK.

        Parameters
        ----------
        side : str or None
            ``client`` or ``server``; None for the one that sent more.
        ax : matplotlib.axes.Axes or None

        """
        from tcptrace_fsm.views import figures

        if side is None:
            row = self.row
            side = "client" if row["client_unique_bytes"] >= row["server_unique_bytes"] else "server"
        if side not in {"client", "server"}:
            raise UsageError(f"a side is client or server, not {side!r}")
        return figures.sequence(self._directions[side == "server"], self._begin, self._title, ax)

    @property
    def waits(self) -> pd.DataFrame:
        """Intervals in which it stood still: for whom, and for what."""
        return self._rows(self._trace.waits)

    def plot_waits(self, ax: Axes | None = None) -> Axes:
        """Draw for whom and for what it stood still, over time. Needs matplotlib (the extra ``plot``)."""
        from tcptrace_fsm.views import figures

        return figures.waits(self.waits, self._begin, self._title, ax)

    def plot_rtt(self, ax: Axes | None = None) -> Axes:
        """Draw the round trips of both directions, as seen at the capture point."""
        from tcptrace_fsm.views import figures

        return figures.round_trips(self._directions, self._begin, self._title, ax)

    def plot_throughput(self, ax: Axes | None = None) -> Axes:
        """Draw the payload sent each way over time."""
        from tcptrace_fsm.views import figures

        return figures.throughput(self._directions, self._begin, self._title, ax)

    @cached_property
    def _directions(self) -> tuple[Direction, Direction]:
        from tcptrace_fsm.views.series import directions

        return directions(self.conversation().segments)

    @property
    def _begin(self) -> int:
        return int(self.row["first_time"].value)

    @property
    def _title(self) -> str:
        row = self.row
        return f"connection {self.conn_id}: {row.client_ip}:{row.client_port} -> {row.server_ip}:{row.server_port}"

    def _repr_html_(self) -> str | None:
        """Show a notebook the states and the ladder; for a stream, which cannot be read again, a line of words."""
        from tcptrace_fsm.views.notebook import connection_html

        return connection_html(self.conversation()) if self._trace.rereadable else None

    def __repr__(self) -> str:
        row = self.row
        ends = f"{row.client_ip}:{row.client_port} -> {row.server_ip}:{row.server_port}"
        lines = [f"connection {self.conn_id}: {ends}, opened by {row.opening}, closed: {row.closing}"]
        for t in self.transitions.to_dict("records"):
            change = f"{t['from_state']} -> {t['to_state']}"
            lines.append(f"  {t['time']:%H:%M:%S.%f}  {t['side']:<6}  {change}  ({t['event']}, {t['basis']})")
        lines += [f"  {a['severity'].upper()}  {a['kind']}: {a['message']}" for a in self.anomalies.to_dict("records")]
        return "\n".join(lines)
