"""Figures for notebooks, drawn with matplotlib from the numbers of :mod:`tcptrace_fsm.views.series`.

matplotlib, because pandas' own ``.plot`` is matplotlib, so these figures mix with what a notebook draws already;
because the picture stays in the notebook when that is saved or printed; and because it needs no script in the page. It
is the extra ``plot``; nothing else needs it. (What draws the report's graphs, and why, stands in docs/report.md.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.views.palette import GRAPH, STATE, WENT

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from tcptrace_fsm.views.series import Direction, Points

__all__ = ["occupancy", "round_trips", "sequence", "states", "throughput", "waits", "where_time_went"]


_SECONDS = 1e-9


def axes(ax: Axes | None, width: float, height: float) -> Axes:
    """Return the axes to draw on, new ones by default.

    Raises
    ------
    UsageError
        When matplotlib is not installed.

    """
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise UsageError("figures need matplotlib: pip install 'tcptrace-fsm[plot]'") from None
    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def occupancy(counts: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Stack the states of all endpoints over time.

    Parameters
    ----------
    counts : DataFrame
        As :meth:`tcptrace_fsm.Trace.occupancy` makes it, of one host or of all.
    ax : matplotlib.axes.Axes or None

    """
    ax = axes(ax, 9, 3.6)
    # Listeners are no connections; they would only lift the rest.
    seen = [name for name in counts.columns if name != "LISTEN" and counts[name].any()]
    if len(counts):
        seconds = (counts.index - counts.index[0]).total_seconds()
        colours = [STATE[name].light for name in seen]
        stacked = [counts[name] for name in seen]
        if seen:
            ax.stackplot(seconds, *stacked, labels=seen, colors=colours, step="post", linewidth=0)
            ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize="small", reverse=True)
        ax.margins(x=0)
    _named(ax, "endpoints", "seconds since the first segment")
    ax.set_ylim(bottom=0)
    return ax


def waits(rows: pd.DataFrame, begin: int, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the waits of one connection over time, a lane for each party and purpose.

    Parameters
    ----------
    rows : DataFrame
        Rows of :attr:`tcptrace_fsm.Trace.waits`, all of one connection.
    begin : int
        When the connection began, ns.
    title : str
    ax : matplotlib.axes.Axes or None

    """
    ax = axes(ax, 9, 2.6)
    lanes = list(dict.fromkeys(zip(rows["side"], rows["waiting_for"], strict=True)))
    for place, (side, what) in enumerate(lanes):
        of_lane = rows[(rows["side"] == side) & (rows["waiting_for"] == what)]
        spans = [
            ((start.value - begin) * _SECONDS, long.value * _SECONDS)
            for start, long in zip(of_lane["start"], of_lane["duration"], strict=True)
        ]
        colour = WENT.get(f"{side}_{what}") or WENT[what]
        ax.broken_barh(spans, (-place - 0.4, 0.8), color=colour.light)
    ax.set_yticks([-place for place in range(len(lanes))], [f"{side} {what}".replace("_", " ") for side, what in lanes])
    _named(ax, "", "seconds since its first segment")
    ax.set_title(title, loc="left", fontsize="medium")
    return ax


def where_time_went(connections: pd.DataFrame, most: int = 30, ax: Axes | None = None) -> Axes:
    """Stack what the time of connections went for, a bar for each, the longest wait on top.

    Parameters
    ----------
    connections : DataFrame
        Rows of :attr:`tcptrace_fsm.Trace.connections`.
    most : int
        Bars at most.
    ax : matplotlib.axes.Axes or None

    """
    waited = connections[connections["longest_wait"].notna()]
    shown = waited.sort_values("longest_wait", ascending=False, kind="stable").head(most).iloc[::-1]
    ax = axes(ax, 9, max(1.6, 0.6 + 0.22 * len(shown)))
    left = shown["time_transfer"].dt.total_seconds().to_numpy() * 0
    for name, colour in WENT.items():
        long = shown[f"time_{name}"].dt.total_seconds().to_numpy()
        if long.any():
            ax.barh(range(len(shown)), long, left=left, color=colour.light, label=name.replace("_", " "))
            left = left + long
    ax.set_yticks(range(len(shown)), [str(n) for n in shown["conn_id"]])
    _named(ax, "connection", "seconds")
    if len(shown):
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize="small")
    return ax


def states(stays: pd.DataFrame, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the stays of both endpoints as bars; what is only presumed is hatched.

    Parameters
    ----------
    stays : DataFrame
        Rows of :attr:`tcptrace_fsm.Trace.states`, all of one connection.
    title : str
    ax : matplotlib.axes.Axes or None

    """
    ax = axes(ax, 9, 1.9)
    begin = stays["begin"].min()
    named = set()
    for row, side in enumerate(("server", "client")):
        for stay in stays[stays["side"] == side].to_dict("records"):
            if stay["state"] == "CLOSED":
                continue
            start = (stay["begin"] - begin).total_seconds()
            ax.barh(
                row,
                stay["duration"].total_seconds(),
                left=start,
                height=0.62,
                color=STATE[stay["state"]].light,
                hatch="////" if stay["basis"] in {"presumed", "inferred"} else None,
                edgecolor=(1, 1, 1, 0.55),
                linewidth=0,
                label=stay["state"] if stay["state"] not in named else None,
            )
            named.add(stay["state"])
    ax.set_yticks([0, 1], ["server", "client"])
    ax.margins(x=0.01)
    if named:
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize="small")
    _named(ax, "", "seconds since the first change (hatched: presumed)")
    ax.set_title(title, loc="left", fontsize="medium")
    return ax


def sequence(way: Direction, start: int, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw a time-sequence graph, as tcptrace's: data as bars, the ACKs below, the edge of the window above.

    Parameters
    ----------
    way : Direction
    start : int
        Where time counts from, ns since 1970 UTC.
    title : str
    ax : matplotlib.axes.Axes or None

    """
    ax = axes(ax, 9, 4.6)
    data = way.data

    def bars(code: int, colour: str, label: str) -> None:
        chosen = data.kind == code
        if chosen.any():
            ax.vlines(
                _since(data.time[chosen], start),
                data.begin[chosen],
                data.end[chosen],
                GRAPH[colour].light,
                linewidth=1.6,
                label=label,
            )

    def steps(points: Points, colour: str, label: str) -> None:
        if len(points.time):
            seconds = _since(points.time, start)
            ax.step(seconds, points.value, where="post", color=GRAPH[colour].light, linewidth=1, label=label)

    def marks(points: Points, marker: str, colour: str, label: str) -> None:
        if len(points.time):
            seconds = _since(points.time, start)
            ax.plot(seconds, points.value, marker, color=GRAPH[colour].light, markersize=5, label=label)

    steps(way.edge, "edge", "window edge")
    steps(way.ack, "ack", "ACK")
    bars(0, "data", "data")
    bars(1, "again", "sent again")
    bars(2, "reorder", "out of order")
    bars(3, "probe", "probe")
    if len(way.sack.time):
        sack = way.sack
        ax.vlines(_since(sack.time, start), sack.begin, sack.end, GRAPH["sack"].light, linewidth=1, label="SACK")
    marks(way.duplicate_acks, "_", "ack", "duplicate ACK")
    marks(way.zero_windows, "s", "zero", "window 0")
    marks(way.resets, "x", "again", "RST")
    if ax.get_legend_handles_labels()[1]:
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize="small")
    _named(ax, f"bytes from the {way.side}", "seconds since the first segment")
    ax.set_title(title, loc="left", fontsize="medium")
    return ax


def round_trips(ways: tuple[Direction, Direction], start: int, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw each round trip that could be measured, at the capture point, in milliseconds."""
    ax = axes(ax, 9, 3)
    for way in ways:
        colour = GRAPH[way.side].light
        if len(way.rtt.time):
            label = f"the {way.side}'s data"
            ax.plot(_since(way.rtt.time, start), way.rtt.value * 1e-6, ".", color=colour, label=label)
    return _both(ax, "round trip, ms", title)


def throughput(ways: tuple[Direction, Direction], start: int, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the payload sent each way, in bytes a second."""
    ax = axes(ax, 9, 3)
    for way in ways:
        colour = GRAPH[way.side].light
        if not way.empty:
            rate = way.throughput.value / (way.bin * _SECONDS)
            label = f"from the {way.side}"
            ax.step(_since(way.throughput.time, start), rate, where="post", color=colour, linewidth=1, label=label)
    return _both(ax, "bytes/s", title)


def _both(ax: Axes, value: str, title: str) -> Axes:
    if ax.get_legend_handles_labels()[1]:
        ax.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize="small")
    ax.set_ylim(bottom=0)
    _named(ax, value, "seconds since the first segment")
    ax.set_title(title, loc="left", fontsize="medium")
    return ax


def _since(time: NDArray[np.int64], start: int) -> Any:
    return (time - start) * _SECONDS


def _named(ax: Axes, value: str, time: str) -> None:
    ax.set_ylabel(value)
    ax.set_xlabel(time)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(visible=True, alpha=0.25)
