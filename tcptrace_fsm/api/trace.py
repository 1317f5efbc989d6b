"""What an analysis found: its tables, and every view of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tcptrace_fsm.api.connection import Connection
from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.runs.sinks import SegmentSink
from tcptrace_fsm.tables.export import Export
from tcptrace_fsm.tables.writers import check_tables
from tcptrace_fsm.text.addresses import endpoint
from tcptrace_fsm.version import versions

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Collection, Iterator, Sequence
    from datetime import datetime

    import pandas as pd
    from matplotlib.axes import Axes

    from tcptrace_fsm.capture.timeline import Origins
    from tcptrace_fsm.core.finished import Finding
    from tcptrace_fsm.runs.run import Run
    from tcptrace_fsm.runs.sinks import Kept
    from tcptrace_fsm.views.conversation import Conversation, Wait
    from tcptrace_fsm.views.diagram import Diagram
    from tcptrace_fsm.views.occupancy import Sweep

__all__ = ["Trace", "new_segment_table"]


class Trace:
    """What an analysis found; made by `analyze`. Tables are built when first asked for, and kept.

    Attributes
    ----------
    summary : dict
        As in ``summary.json``.

    """

    def __init__(self, run: Run, kept: Kept, again: Callable[..., Run] | None, segment_table: Any = None) -> None:
        self.summary: dict[str, Any] = {**run.summary(), "versions": versions()}
        self._run = run
        self._kept = kept
        self._again = again
        self._segment_table = segment_table
        self._frames: dict[str, pd.DataFrame] = {}
        self._swept: Sweep | None = None

    @property
    def rereadable(self) -> bool:
        """Whether the segments can be had: they were kept, or the captures can be read once more."""
        return self._again is not None or self._segment_table is not None or "segments" in self._frames

    @property
    def span(self) -> tuple[int | None, int | None]:
        """First and last capture time, ns since 1970 UTC."""
        return self._run.span

    @property
    def name(self) -> str:
        """What the captures are called."""
        return self._run.name

    @property
    def findings(self) -> list[Finding]:
        """The rows of `anomalies` as they were found: plain tuples, by connection and time."""
        return sorted((f for done in self._kept.finished for f in done.findings), key=lambda f: (f.place, f.time))

    @property
    def connections(self) -> pd.DataFrame:
        """One row per connection."""
        return self._frame("connections")

    @property
    def transitions(self) -> pd.DataFrame:
        """One row per change of state of one endpoint."""
        return self._frame("transitions")

    @property
    def anomalies(self) -> pd.DataFrame:
        """One row per finding."""
        return self._frame("anomalies")

    @property
    def diagnoses(self) -> pd.DataFrame:
        """One row per problem, worst first: why, for whom, and how sure that is."""
        return self._frame("diagnoses")

    @property
    def waits(self) -> pd.DataFrame:
        """One row per interval in which a connection stood still: for whom, and for what."""
        return self._frame("waits")

    @property
    def segments(self) -> pd.DataFrame:
        """One row per TCP segment. Read from the captures again, unless `analyze` has kept them."""
        return self._frame("segments")

    @property
    def states(self) -> pd.DataFrame:
        """One row per stay of an endpoint in a state: when it began and ended, and what the change to it rests on."""
        if "states" not in self._frames:
            self._frames["states"] = _stays(self.transitions, self._run.span[1])
        return self._frames["states"]

    def _frame(self, name: str) -> pd.DataFrame:
        if name not in self._frames:
            from tcptrace_fsm.tables.columns import to_pandas

            self._frames[name] = to_pandas(list(self._arrow(name)), name)
        return self._frames[name]

    def _arrow(self, name: str) -> Iterator[Any]:
        from tcptrace_fsm.tables.anomalies import findings_table
        from tcptrace_fsm.tables.columns import SOURCES, Rows, build

        if name == "anomalies":
            found = (finding for f in self._kept.finished for finding in f.findings)
            yield findings_table(found, self._run.origins)
            return
        if name == "diagnoses":
            from tcptrace_fsm.tables.diagnoses import diagnoses_table

            diagnoses = [diagnosis for f in self._kept.finished for diagnosis in f.diagnoses]
            yield diagnoses_table(diagnoses, self._run.origins)
            return
        if name == "segments":
            yield from self._segments().resolved()
            return
        rows = Rows(SOURCES[name])
        for f in self._kept.finished:
            if name == "connections":
                rows.add(f.connections, f.count, f.paths)
            elif name == "waits":
                rows.add(f.waits, f.wait_count)
            else:
                rows.add(f.transitions, f.transition_count)
            if rows.is_full:
                yield build(name, rows.take(), self._run.origins)
        yield build(name, rows.take(), self._run.origins)

    def _segments(self) -> Any:
        if self._segment_table is not None:
            table, self._segment_table = self._segment_table, None
            return table
        if self._again is None:
            raise UsageError('a stream cannot be read again: analyze(..., tables=["segments"]) keeps its segments')
        again = self._again()
        table = new_segment_table(again.origins)
        again.go([SegmentSink(table)])
        return table

    def services(self) -> pd.DataFrame:
        """Show how long each server took to answer: one row per service, that with the slowest answer first.

        Returns
        -------
        DataFrame
            ``service`` (``10.0.0.2:8080``), ``server_ip``, ``server_port``, ``connections`` (with requests, in which
            the ends took turns), ``requests``, ``responses``, ``response_median``, ``response_p95``, ``response_max``,
            ``slowest_conn_id``, and ``rtt``, the network's share: the shortest way there and back. At most 1,000.

        """
        from tcptrace_fsm.tables.services import services_frame

        return services_frame(self._run.tally.services.rows())

    def at(self, when: float | datetime, host: str | None = None) -> pd.DataFrame:
        """Show what ``netstat -nat`` would have shown at a moment, for both ends of every connection.

        Parameters
        ----------
        when : float or datetime
            Seconds from the start of the capture, or a point in time (naive means UTC).
        host : str or None
            Only the sockets of this address.

        """
        import pandas as pd

        from tcptrace_fsm.views import netstat

        found = netstat.sockets(
            self._kept.finished,
            netstat.moment(when, self._run.span),
            self._run.settings.profile,
            host=netstat.check_host(host),
            last_time=self._run.span[1],
        )
        frame = pd.DataFrame(found, columns=list(netstat.Socket._fields))
        for name in ("recv_q", "send_q", "conn_id"):
            frame[name] = frame[name].astype("Int64")
        frame["timer_left"] = pd.to_timedelta(frame["timer_left"].astype("Int64"), unit="ns")
        return frame

    def diagram(self) -> Diagram:
        """Draw figure 5 of RFC 9293, weighted by what the endpoints did; shows itself in a notebook."""
        from tcptrace_fsm.views.diagram import Diagram, Taken

        taken = Taken()
        for finished in self._kept.finished:
            taken.take(finished)
        return Diagram(taken, self._run.name)

    def occupancy(self, step: float | None = None, host: str | None = None, *, by_host: bool = False) -> pd.DataFrame:
        """Count the endpoints in each state over time: TIME_WAITs that fill a port range, CLOSE_WAITs that leak.

        Parameters
        ----------
        step : float or None
            Seconds between two counts; None for a row at every moment at which some count changes.
        host : str or None
            Only the sockets of this address.
        by_host : bool
            A row for each host and moment, indexed by both; goes with neither ``step`` nor ``host``.

        Returns
        -------
        DataFrame
            Indexed by ``time``, up to the capture's end; a column for each state but CLOSED. A row says what `at`
            counts at that moment, and holds until the next.

        """
        from tcptrace_fsm.views import netstat
        from tcptrace_fsm.views.occupancy import grid

        if by_host:
            if step is not None or host is not None:
                raise UsageError("by_host goes with neither step nor host")
            return self.sweep.frame_by_host()
        at = None if step is None else grid(self._run.span, step)
        return self.sweep.frame(host=netstat.check_host(host), at=at)

    def plot_occupancy(self, step: float | None = None, host: str | None = None, ax: Axes | None = None) -> Axes:
        """Draw what `occupancy` counts, stacked. Needs matplotlib (the extra ``plot``)."""
        from tcptrace_fsm.views import figures

        return figures.occupancy(self.occupancy(step, host), ax)

    def plot_waits(self, most: int = 30, ax: Axes | None = None) -> Axes:
        """Draw where the time of those connections went that waited longest. Needs matplotlib (the extra ``plot``)."""
        from tcptrace_fsm.views import figures

        return figures.where_time_went(self.connections, most, ax)

    @property
    def sweep(self) -> Sweep:
        """All changes of state, ready to be counted; see :mod:`tcptrace_fsm.views.occupancy`."""
        if self._swept is None:
            from tcptrace_fsm.views.occupancy import Sweep

            self._swept = Sweep(self._kept.finished, self._run.span[1])
        return self._swept

    def query(self, text: str) -> pd.DataFrame:
        """Give the rows of `connections` that a person means by a few words.

        Parameters
        ----------
        text : str
            An address with or without a port (``10.0.0.2:8080``, ``:443``), a pair (``10.0.0.1 -> 10.0.0.2:8080``, in
            either direction), a cause (``close_wait_leak``), a kind of finding (``zero_window``), a state of either end
            when the capture ends (``CLOSE_WAIT``), or several of these, which then all must hold. A diagnosis of more
            than 1,000 connections lists the first 1,000.

        Returns
        -------
        DataFrame
            With the columns and the index of `connections`.

        Raises
        ------
        UsageError
            When a word is none of these; with the names that are most like it.

        """
        from tcptrace_fsm.views.query import matching, question

        return matching(self, question(text))

    def connection(self, conn_id: int) -> Connection:
        """One connection, with its rows of every table.

        Raises
        ------
        UsageError
            When there is no connection of that number.

        """
        if not 0 <= conn_id < len(self.connections):
            raise UsageError(f"no connection {conn_id}; there are {len(self.connections):,}, numbered from 0")
        return Connection(self, conn_id)

    def conversations(
        self, wanted: Collection[int] | None = None, *, limit: int | None = None
    ) -> Iterator[Conversation]:
        """Give connections with their segments, for pictures of them. The captures are read once more.

        Parameters
        ----------
        wanted : collection of int or None
            Which; None for all.
        limit : int or None
            Segments of one connection, roughly; of a longer one a sample is kept. None for the usual limit.

        """
        from tcptrace_fsm.views.collector import LIMIT, Collector

        if self._again is None:
            yield from self._kept_conversations(wanted)
            return
        collector = Collector(wanted, limit=limit or LIMIT)
        run = self._again()
        run.go([collector])
        yield from collector.conversations(run.name, run.span)

    def _kept_conversations(self, wanted: Collection[int] | None) -> Iterator[Conversation]:
        """Give conversations of a stream whose segments were kept when it was read."""
        import pyarrow as pa

        from tcptrace_fsm.views.collector import as_integers, from_tables

        kept = self.segments  # or an error that says what to do
        findings = [finding for f in self._kept.finished for finding in f.findings]
        for row in as_integers(pa.Table.from_pandas(self.connections)).to_pylist():
            conn_id = row["conn_id"]
            if wanted is None or conn_id in wanted:
                yield from_tables(
                    row,
                    pa.Table.from_pandas(kept[kept["conn_id"] == conn_id], preserve_index=False),
                    pa.Table.from_pandas(
                        self.transitions[self.transitions["conn_id"] == conn_id], preserve_index=False
                    ),
                    [f for f in findings if f.conn_id == conn_id],
                    (self._run.name, *self._run.span),
                    waits=self._waits_of(conn_id),
                )

    def _waits_of(self, conn_id: int) -> Iterator[Wait]:
        from tcptrace_fsm.views.conversation import Wait

        for row in self.waits[self.waits["conn_id"] == conn_id].to_dict("records"):
            yield Wait(row["start"].value, row["end"].value, row["waiting_for"], row["side"])

    def packets(self, conn_id: int) -> Iterator[tuple[float, Any]]:
        """Give the frames of a connection as dpkt sees them. The captures are read twice more.

        Parameters
        ----------
        conn_id : int

        Yields
        ------
        tuple
            Time in seconds since 1970, and dpkt's object of the link layer (``dpkt.ethernet.Ethernet``, ...); the
            frame's bytes where dpkt cannot read them.

        """
        from tcptrace_fsm.views.packets import frames_of

        self.connection(conn_id)  # or an error that says which there are
        if self._again is None:
            raise UsageError("a stream cannot be read again for its frames: analyse a file, or a list of packets")
        yield from frames_of(self._again(fragments=True), conn_id)

    def export(
        self,
        directory: str | os.PathLike[str],
        format: str = "parquet",  # noqa: A002 - the word users expect
        tables: Sequence[str] | None = None,
    ) -> None:
        """Write tables and ``summary.json``, as ``tcptrace-fsm analyze -o`` does.

        Parameters
        ----------
        directory : path
            Made where it is missing.
        format : str
            ``parquet`` or ``csv``.
        tables : sequence of str or None
            None for all but segments.

        """
        chosen = check_tables(tables)
        again = self._again_or_fail() if "segments" in chosen else None
        origins = again.origins if again else self._run.origins
        with Export(directory, format, chosen, origins=origins) as export:
            if again:
                again.go([export])
            else:
                for finished in self._kept.finished:
                    export.take(finished)
            export.commit(self.summary)

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        named: Sequence[str] = (),
        host: str | None = None,
        tell: Callable[[int, int], None] | None = None,
    ) -> None:
        """Write one HTML page that shows all this, as ``tcptrace-fsm report`` does.

        Parameters
        ----------
        path : path
        named : sequence of str
            How to name the captures on the command line, with options that matter; by default as they were opened.
        host : str or None
            Show only the connections of this address, ``ADDRESS:PORT`` or ``:PORT``; they keep their numbers.
        tell : callable or None
            Told, after each connection that was drawn, how many of how many are.

        """
        from tcptrace_fsm.views.report import write

        write(self, path, named=named, host=None if host is None else endpoint(host), tell=tell)

    def _again_or_fail(self) -> Run:
        if self._again is None:
            raise UsageError("a stream cannot be read again for its segments: write them with the command line's -o")
        return self._again()

    def _repr_html_(self) -> str:
        from tcptrace_fsm.views.notebook import trace_html

        return trace_html(self.summary, self.span)

    def __repr__(self) -> str:
        from tcptrace_fsm.views.summary import first_screen

        lines = [line for line, _ in first_screen(self.summary, self._run.span)]
        return "\n".join(line for line in lines if not line.startswith("see it")).rstrip()


def new_segment_table(origins: Origins | None) -> Any:
    """Make an empty table of segments."""
    from tcptrace_fsm.tables.segments import SegmentTable

    return SegmentTable(origins=origins)


def _stays(transitions: pd.DataFrame, last: int | None) -> pd.DataFrame:
    import pandas as pd

    stays = transitions[["conn_id", "side", "to_state", "time", "basis", "event"]].copy()
    stays.columns = pd.Index(["conn_id", "side", "state", "begin", "basis", "event"])
    end = stays.groupby(["conn_id", "side"], sort=False)["begin"].shift(-1)
    capture_end = pd.Timestamp(last or 0, unit="ns", tz="UTC")
    # A timer may have fired after the last frame; what was entered by then has no end yet.
    end = end.where(end.notna(), stays["begin"].where(stays["begin"] > capture_end, capture_end))
    stays.insert(4, "end", end)
    stays.insert(5, "duration", end - stays["begin"])
    return stays.sort_values(["conn_id", "side", "begin"], kind="stable", ignore_index=True)
