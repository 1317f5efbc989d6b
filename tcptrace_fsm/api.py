"""The whole pipeline, and what it leaves: capture, segments, engine, and whoever wants what is over.

>>> import tcptrace_fsm as tf
>>> trace = tf.analyze("capture.pcap", profile="linux")  # doctest: +SKIP
>>> trace.connections[["client_ip", "server_ip", "opening", "closing"]]  # doctest: +SKIP
"""

from __future__ import annotations

import os
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, cast

from tcptrace_fsm.capture.losses import Losses, at_end, doubt, so_far
from tcptrace_fsm.capture.remote import is_remote, list_remote
from tcptrace_fsm.errors import CaptureError, UsageError
from tcptrace_fsm.kernels.layout import S_FRAME, SEGMENT_SIZE
from tcptrace_fsm.tables.writers import Export, check_tables
from tcptrace_fsm.tcp.profiles import Profile
from tcptrace_fsm.tcp.profiles import profile as find_profile
from tcptrace_fsm.version import versions
from tcptrace_fsm.views.summary import Tally, summary_dict, wireshark_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    import pandas as pd
    from matplotlib.axes import Axes

    from tcptrace_fsm.capture.filters import Filter
    from tcptrace_fsm.capture.timeline import Origins
    from tcptrace_fsm.findings import Finding
    from tcptrace_fsm.runs.timers import Shown
    from tcptrace_fsm.runs.vantage import Comparison
    from tcptrace_fsm.tcp.profiles import Host
    from tcptrace_fsm.views.conversation import Conversation
    from tcptrace_fsm.views.diagram import Diagram
    from tcptrace_fsm.views.ladder import Ladder
    from tcptrace_fsm.views.occupancy import Sweep
    from tcptrace_fsm.views.series import Direction

    Source = str | os.PathLike[str] | BinaryIO
    Watch = Callable[["Run", Iterator[Any]], Iterator[Any]]

__all__ = ["Connection", "Run", "Sink", "Trace", "analyze", "moment", "sources", "versions"]


class Sink(Protocol):
    """Somebody who wants what is over."""

    def take(self, finished: Any) -> None:
        """Take connections that are over, with their transitions and findings."""


class Run:
    """One pass over some captures.

    Parameters
    ----------
    captured : sequence of path or binary file
        Already expanded by `sources`.
    profile : Profile
    labels : bool
        Whether segments are wanted one by one.
    taken_at : sequence of str
        Addresses of the host on which the captures were taken; see :class:`tcptrace_fsm.core.engine.Engine`.
    keep : Filter or None
        Which frames to look at.
    follow : bool
        Whether the last capture is still being written.
    fragments : bool
        Whether each capture is to note which frames a segment was put together from.
    watch : callable or None
        Wraps the batches where `go` is not told another: to show progress, or to stop early.
    merge_vantage : bool
        Whether the two captures are of the same connections, taken at or near their two hosts.
    learn_timers : bool
        Whether to read the captures once before, for what hosts show of their own timers.

    Attributes
    ----------
    taught : dict or None
        What ``summary.json`` says of the timers that were learned; None where none were to be.
    captures : list of Capture
        Those opened so far.
    origins : Origins or None
        Of several captures: which frame of which stands at each position of the timeline; None for one.
    points : Comparison or None
        With two capture points, how they stand to each other, once they are compared.
    tally : Tally
        The counts so far.
    hurried : int
        Connections that were judged sooner than usual, because there were too many at once.
    streams : int
        What Wireshark calls TCP streams.

    """

    def __init__(
        self,
        captured: Sequence[Source],
        profile: Profile,
        *,
        labels: bool = False,
        taken_at: Sequence[str] = (),
        keep: Filter | None = None,
        follow: bool = False,
        fragments: bool = False,
        watch: Watch | None = None,
        merge_vantage: bool = False,
        learn_timers: bool = False,
    ) -> None:
        self._captured = captured
        self._learn = learn_timers
        self.taught: dict[str, Any] | None = None
        self.follow = follow
        self._fragments = fragments
        self._watch = watch
        self._merge = merge_vantage
        self.points: Comparison | None = None
        self.profile = profile
        self.labels = labels
        self.taken_at = tuple(taken_at)
        self.keep = keep
        self.captures: list[Any] = []
        self.tally = Tally()
        self.interrupted = False
        self._opened: list[Source] = []
        self._ends: dict[str, Losses | None] | None = None  # what each capture tells at its end
        self.origins: Origins | None = None
        if len(captured) > 1:
            from tcptrace_fsm.capture.timeline import Origins

            self.origins = Origins([])
        self.hurried = 0
        self.streams = 0
        if merge_vantage:
            from tcptrace_fsm.runs.vantage import check_sources

            check_sources(captured)
            if keep is not None or follow:
                raise UsageError("--merge-vantage goes with neither --filter nor --follow")
        if learn_timers:
            check_lesson(captured, profile, follow=follow)

    def go(self, sinks: Sequence[Sink] = (), *, watch: Watch | None = None) -> None:
        """Read everything, and hand to each sink what is over.

        Parameters
        ----------
        sinks : sequence of Sink
            One with a method ``take_segments`` gets every batch of labelled segments too.
        watch : callable or None
            Wraps the batches: to show progress, or to stop early.

        """
        watch = watch or self._watch
        if self._learn:
            self._study(watch)
            if self.interrupted:
                return
        points = {"two_points": True} if self._merge else {}
        engine = new_engine(self.profile, self.taken_at, **points)
        batches = self.batches()
        for batch in watch(self, batches) if watch else batches:
            engine.feed(batch)
            if engine.judges and engine.over:  # else nobody is asked
                engine.lost = self.lost()
            if self.labels:
                _hand_segments(batch, sinks)
            self._deliver(engine, sinks)
        if engine.judges:
            engine.lost = self.lost()
        self.hurried = engine.hurried
        self.streams = engine.streams_opened
        engine.finish()
        self._deliver(engine, sinks)

    def _study(self, watch: Watch | None) -> None:
        """Read everything for what hosts show of their timers, and go by that from now on."""
        from tcptrace_fsm.runs.timers import Lesson

        first = Run(self._captured, self.profile, keep=self.keep, merge_vantage=self._merge)
        lesson = Lesson(self.profile, taken_at=self.taken_at, two_points=self._merge)
        batches = first.batches()
        for batch in watch(first, batches) if watch else batches:
            lesson.take(batch)
        lesson.finish()
        self.interrupted = first.interrupted
        self._go_by([lesson.shown])

    def _go_by(self, shown: Iterable[Mapping[Host, Shown]]) -> None:
        """Replace the profile's timers by what hosts have shown of theirs, each to some of the readers."""
        from tcptrace_fsm.runs.timers import merged, taught

        self.profile, self.taught = taught(self.profile, merged(shown))

    def batches(self) -> Iterator[Any]:
        """Give the batches of all captures as one timeline."""
        if self._merge:
            yield from self._merged()
            return
        if self.origins is not None:
            from tcptrace_fsm.capture.timeline import Timeline

            yield from Timeline(self._captured, self._open, self.captures, self.origins).batches()
            return
        while True:
            before = sum(capture.frames for capture in self.captures)
            capture = open_capture(self._captured[0], self.keep, follow=self.follow, broken=True)
            self.captures.append(capture)
            if self._fragments:
                capture.fragments.joined = {}
            for batch in capture.segments():
                if before and batch.count:
                    _renumber(batch, before)
                yield batch
            if not self.follow or not capture.replaced:
                return

    def lost(self) -> str | None:
        """Say what the capturing machines lost, as far as that is known by now, for the rules to bear in mind."""
        if self._ends is None:
            named = [os.fspath(source) for source in self._captured if isinstance(source, str | os.PathLike)]
            self._ends = {} if self.follow else {name: at_end(name) for name in named}
        opened = [capture.name for capture in self.captures]
        known = [so_far(capture, self._ends.get(capture.name)) for capture in self.captures]
        return doubt(known + [end for name, end in self._ends.items() if name not in opened])

    @property
    def in_order(self) -> list[Source]:
        """The captures opened so far, as they were given, in the order of the timeline."""
        if self.origins is None:
            return list(self._captured[: len(self.captures)])
        return list(self._opened)

    def _open(self, source: Source, *, chunk_size: int | None = None) -> Any:
        """Open one of several captures; ``chunk_size`` is given for a first look at it."""
        if chunk_size is not None:
            return open_capture(source, self.keep, chunk_size=chunk_size, broken=True)
        follow = self.follow and source is self._captured[-1]
        capture = open_capture(source, self.keep, follow=follow, broken=True)
        self._opened.append(source)
        if self._fragments:
            capture.fragments.joined = {}
        return capture

    def _merged(self) -> Iterator[Any]:
        """Give the batches of two captures, taken at two points, as one stream."""
        from tcptrace_fsm.runs.vantage import check_sources, compare, merge

        paths = check_sources(self._captured)
        self.points = compare(*paths, self.profile)
        self.captures += [open_capture(path) for path in paths]
        if self.origins is not None:
            self.points.place(self.origins)
        yield from merge(self.captures, self.points)

    def _deliver(self, engine: Any, sinks: Sequence[Sink]) -> None:
        while (finished := engine.take()) is not None:
            self.tally.take(finished)
            for sink in sinks:
                sink.take(finished)

    @property
    def span(self) -> tuple[int | None, int | None]:
        """First and last capture time, ns."""
        first = [c.first_time for c in self.captures]
        last = [c.last_time for c in self.captures]
        if self.points is not None:
            first[1:] = [self.points.on_first_clock(time) for time in first[1:]]
            last[1:] = [self.points.on_first_clock(time) for time in last[1:]]
        known = [t for t in first if t is not None], [t for t in last if t is not None]
        return min(known[0], default=None), max(known[1], default=None)

    @property
    def name(self) -> str:
        """What the captures are called together."""
        names = [os.path.basename(c.name) for c in self.captures]  # noqa: PTH119 - a name may be "-"
        called = names[0] if len(names) == 1 else f"{len(names)} captures"
        return "standard input" if called == "-" else called

    def summary(self, **options: Any) -> dict[str, Any]:
        """Tell what ``summary.json`` says but for the versions, with the options that are not the profile's."""
        waits = self.profile.time_wait, self.profile.fin_wait_2
        known: dict[str, Any] = {
            "profile": self.profile.name,
            "time_wait": waits[0].usual,
            "fin_timeout": waits[1].usual,
        }
        if self.taken_at:
            known["taken_at"] = list(self.taken_at)
        if self.keep is not None:
            known["filter"] = self.keep.expression
        if self._merge:
            known["merge_vantage"] = True
        if self._learn:
            known["learn_timers"] = True
        said = summary_dict(self.captures, self.tally, {**known, **options})
        said["connections"]["judged_early"] = self.hurried
        if self.taught is not None:
            said["timers"] = self.taught
        if self.points is None:
            said["wireshark"] = {"tcp_frames": wireshark_frames(self.captures), "tcp_streams": self.streams}
        else:
            said["vantage"] = {**self.points.said(), **self.tally.between()}
        return {**said, "interrupted": True} if self.interrupted else said


def check_lesson(captured: Sequence[Source], profile: Profile, *, follow: bool = False) -> None:
    """Refuse to learn timers where that cannot be.

    Raises
    ------
    UsageError
        For what can be read only once, or where the user has given all there is to learn.

    """
    if follow or not all(_can_be_read_again(source) for source in captured):
        what = "a capture that is still being written" if follow else "a stream"
        raise UsageError(f"--learn-timers reads the captures twice, and {what} can be read only once")
    if profile.given >= {"time_wait", "fin_wait_2"}:
        raise UsageError("--learn-timers has nothing to learn where --time-wait and --fin-timeout are given")


def _can_be_read_again(source: Source) -> bool:
    """Whether a source is a file; one that is missing is for its opener to tell."""
    if not isinstance(source, str | os.PathLike) or os.fspath(source) == "-":
        return False
    return is_remote(os.fspath(source)) or Path(source).is_file() or not Path(source).exists()


def open_capture(source: Source, keep: Filter | None = None, *, follow: bool = False, **more: Any) -> Any:
    """Open one capture; see :func:`tcptrace_fsm.capture.containers.open_capture`."""
    from tcptrace_fsm.capture.containers import open_capture as opener

    return opener(source, keep=keep, follow=follow, **more)


def new_engine(profile: Profile, taken_at: Sequence[str] = (), *, two_points: bool = False) -> Any:
    """Make an engine with all judges; see :class:`tcptrace_fsm.core.engine.Engine`."""
    from tcptrace_fsm.core.engine import Engine
    from tcptrace_fsm.runs.judges import judges

    return Engine(profile, judges=judges(profile), taken_at=taken_at, two_points=two_points)


def _hand_segments(batch: Any, sinks: Sequence[Sink]) -> None:
    for sink in sinks:
        take = getattr(sink, "take_segments", None)
        if take is not None:
            take(batch)


def _renumber(batch: Any, before: int) -> None:
    """Count a batch's frames on from those of the file that this one has replaced."""
    import numpy as np

    words = np.frombuffer(batch.segments, dtype=np.int64, count=batch.count * SEGMENT_SIZE)
    words[S_FRAME::SEGMENT_SIZE] += before


# --- which captures ---------------------------------------------------------------------------------------------------
_MAGICS = tuple(
    bytes.fromhex(magic)
    for magic in (
        *("a1b2c3d4", "d4c3b2a1", "a1b23c4d", "4d3cb2a1", "a1b2cd34", "34cdb2a1", "0a0d0d0a"),
        *("736e6f6f", "1f8b", "28b52ffd", "425a68", "fd377a58", "04224d18"),
    )
)


def sources(given: Source | Iterable[Source]) -> list[Source]:
    """Expand what the user named to single captures, in the order in which they are read.

    A directory stands for the captures in it, a pattern for the files that match, each by name, with numbers in it
    counting as numbers (``x.pcap2`` before ``x.pcap10``). Which of them comes first is for their times to tell
    (:mod:`tcptrace_fsm.capture.timeline`), for the names of a ring begin anew.

    Raises
    ------
    CaptureError
        For a directory without a capture, or a pattern that matches nothing.

    """
    alone = isinstance(given, str | os.PathLike) or hasattr(given, "read")
    listed: list[Source] = [cast("Source", given)] if alone else list(cast("Iterable[Source]", given))
    if not listed:
        raise UsageError("name at least one capture")
    expanded: list[Source] = []
    for source in listed:
        if isinstance(source, str | os.PathLike):
            expanded += _files(os.fspath(source))
        else:
            expanded.append(source)
    return expanded


def _files(name: str) -> list[str]:
    """Give the files that a name stands for."""
    if is_remote(name):
        listed = sorted(list_remote(name), key=_by_number)
        if not listed:
            raise CaptureError(name, 0, "nothing there")
        return listed
    path = Path(name)
    if name and path.is_dir():
        inside = [str(file) for file in path.iterdir() if _looks_like_capture(file)]
        if not inside:
            raise CaptureError(name, 0, "a directory without a capture in it")
        return sorted(inside, key=_by_number)
    if name != "-" and not path.exists() and any(sign in name for sign in "*?["):
        import glob

        found = glob.glob(name)  # noqa: PTH207 - Path.glob takes no absolute pattern
        matching = [match for match in found if Path(match).is_file()]
        if not matching:
            raise CaptureError(name, 0, "no file matches this pattern")
        return sorted(matching, key=_by_number)
    return [name]  # where it is missing, opening it will tell


def _looks_like_capture(path: Path) -> bool:
    if not path.is_file() or path.name.startswith("."):
        return False
    try:
        with path.open("rb") as file:
            return file.read(4).startswith(_MAGICS)
    except OSError:
        return True  # that it cannot be read is for the user to hear


def _by_number(name: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"([0-9]+)", name)
    return [(1, int(part), part) if part.isdigit() and part.isascii() else (0, 0, part) for part in parts]


# --- the result -------------------------------------------------------------------------------------------------------
class Kept:
    """Keeps what is over, as it came."""

    def __init__(self) -> None:
        self.finished: list[Any] = []

    def take(self, finished: Any) -> None:
        """Take connections that are over."""
        self.finished.append(finished)


class Trace:
    """What an analysis found; made by `analyze`. Tables are built when first asked for, and kept.

    Attributes
    ----------
    summary : dict
        As in ``summary.json``.

    """

    def __init__(self, run: Run, kept: Kept, again: Callable[[], Run] | None, segment_table: Any = None) -> None:
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
        return sorted((f for done in self._kept.finished for f in done.findings), key=lambda f: (f.conn_id, f.time))

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
    def segments(self) -> pd.DataFrame:
        """One row per TCP segment. Unless `analyze` was told to keep them, the captures are read once more."""
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
        from tcptrace_fsm.tables.columns import SOURCES, Rows, build, findings_table

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
            else:
                rows.add(f.transitions, f.transition_count)
            if rows.count >= SOURCES[name].group:
                yield build(name, rows.take(), self._run.origins)
        yield build(name, rows.take(), self._run.origins)

    def _segments(self) -> Any:
        if self._segment_table is not None:
            table, self._segment_table = self._segment_table, None
            return table
        if self._again is None:
            raise UsageError('a stream cannot be read again: analyze(..., tables=["segments"]) keeps its segments')
        again = self._again()
        table = _new_segment_table(again.origins)
        again.go([_SegmentSink(table)])
        return table

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
            moment(when, self._run.span),
            self._run.profile,
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
            Count every so many seconds; None for a row at every moment at which some count changes.
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

    @property
    def sweep(self) -> Sweep:
        """All changes of state, ready to be counted; see :mod:`tcptrace_fsm.views.occupancy`."""
        if self._swept is None:
            from tcptrace_fsm.views.occupancy import Sweep

            self._swept = Sweep(self._kept.finished, self._run.span[1])
        return self._swept

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
        from tcptrace_fsm.views.conversation import LIMIT, Collector

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

        from tcptrace_fsm.views.conversation import as_integers, from_tables

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
                )

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
            None for connections, transitions and anomalies.

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
        tell: Callable[[int, int], None] | None = None,
    ) -> None:
        """Write one HTML page that shows all this, as ``tcptrace-fsm report`` does.

        Parameters
        ----------
        path : path
        named : sequence of str
            How to name the captures on the command line, with options that matter; by default as they were opened.
        tell : callable or None
            Told, after each connection that was drawn, how many of how many are.

        """
        from tcptrace_fsm.views.report import write

        write(self, path, named=named, tell=tell)

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


class Connection:
    """One connection of a trace.

    Attributes
    ----------
    conn_id : int

    """

    def __init__(self, trace: Trace, conn_id: int) -> None:
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
        """Show a notebook the states and the ladder; a stream that cannot be read again is told in words."""
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


def _new_segment_table(origins: Origins | None) -> Any:
    from tcptrace_fsm.tables.segments import SegmentTable

    return SegmentTable(origins=origins)


class _SegmentSink:
    """Gives a segment table what it needs."""

    def __init__(self, table: Any) -> None:
        self.take_segments = table.add
        self.take = table.learn


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


def moment(when: float | str | datetime | None, span: tuple[int | None, int | None]) -> int:
    """Work out a point in time, ns, from what the user says of it.

    Parameters
    ----------
    when : float, str, datetime or None
        Seconds from the start, or an ISO time (without a zone: UTC); None for the end.
    span : tuple of int or None
        First and last capture time, ns.

    Raises
    ------
    UsageError
        When it says no time.

    """
    from datetime import UTC, datetime

    first, last = span
    if when is None:
        return last or 0
    if isinstance(when, str):
        when = _said(when)
    if isinstance(when, datetime):
        aware = when if when.tzinfo else when.replace(tzinfo=UTC)
        since = aware - datetime(1970, 1, 1, tzinfo=UTC)
        # A pandas Timestamp knows nanoseconds that a datetime does not.
        return (since.days * 86400 + since.seconds) * 10**9 + since.microseconds * 1000 + getattr(when, "nanosecond", 0)
    if not abs(when) < 1e12:
        raise UsageError(f"a time is seconds from the start or ISO 8601, not {when!r}")
    return (first or 0) + round(when * 1e9)


def _said(text: str) -> float | datetime:
    """Read seconds or an ISO time."""
    from datetime import datetime

    for read in (float, datetime.fromisoformat):
        try:
            return read(text)
        except ValueError:
            continue
    raise UsageError(f"a time is seconds from the start or ISO 8601, not {text!r}")


def analyze(
    source: Source | Iterable[Source],
    *,
    profile: str | Profile = "linux",
    time_wait: float | None = None,
    fin_timeout: float | None = None,
    tables: Sequence[str] | None = None,
    filter: str | None = None,  # noqa: A002 - as the command line's --filter
    jobs: int = 1,
    client: Any = None,
    taken_at: Sequence[str] = (),
    merge_vantage: bool = False,
    learn_timers: bool = False,
) -> Trace:
    """Analyse captures.

    Parameters
    ----------
    source : path, binary file object, or several of them
        ``-`` is standard input. Several captures, a directory or a pattern are one timeline.
    profile : str or Profile
        Whose timers the hosts have: ``linux``, ``rfc9293``, ``bsd`` or ``windows``.
    time_wait, fin_timeout : float or None
        Seconds; replace the profile's.
    tables : sequence of str or None
        Name ``segments`` among them to keep every segment's row from the first reading on.
    filter : str or None
        Look only at the frames that this expression keeps, in tcpdump's language (pcap-filter(7)).
    taken_at : sequence of str
        Addresses of the host on which the captures were taken, where that is known: what they show arriving there is
        then certain to have arrived.
    jobs : int
        Processes that share the work.
    client : dask.distributed.Client or None
        Whose workers are to share the work; they must see the captures under the same names.
    merge_vantage : bool
        Take the two captures for ones of the same connections, at or near their two hosts: what was lost in between is
        then known, and the one-way delays.
    learn_timers : bool
        Read the captures once before, for what each host shows of its own timers, and go by that instead of the
        profile; changes that rest on it have the basis ``learned``.

    Returns
    -------
    Trace

    Raises
    ------
    CaptureError
        When a capture cannot be read.
    UsageError
        When an argument makes no sense.

    """
    keep = new_filter(filter)
    if not isinstance(profile, Profile):
        profile = find_profile(profile, time_wait=time_wait, fin_timeout=fin_timeout)
    elif time_wait is not None or fin_timeout is not None:
        raise UsageError("time_wait and fin_timeout go with a profile's name; a Profile has its own")
    chosen = check_tables(tables)
    captured = sources(source)
    rereadable = all(isinstance(c, str) and (is_remote(c) or Path(c).is_file()) for c in captured)
    kept, sinks, table = Kept(), [], None
    sinks.append(kept)
    known: dict[str, Any] = {"taken_at": tuple(taken_at), "keep": keep}
    if merge_vantage:
        if client is not None or jobs != 1:
            raise UsageError("merge_vantage reads two captures side by side, which jobs and client cannot share")
        known["merge_vantage"] = True
    if client is not None:
        from tcptrace_fsm.runs.cluster import Cluster

        run: Run = Cluster(captured, profile, client=client, learn_timers=learn_timers, **known)
    elif jobs == 1:
        run = Run(captured, profile, labels="segments" in chosen, learn_timers=learn_timers, **known)
    else:
        from tcptrace_fsm.runs.jobs import Jobs

        run = Jobs(captured, profile, jobs=jobs, learn_timers=learn_timers, **known)
    if run.labels:
        table = _new_segment_table(run.origins)
        sinks.append(_SegmentSink(table))  # type: ignore[arg-type]
    run.go(sinks)

    def once_more() -> Run:
        return Run(captured, run.profile, labels=True, **known)

    again = once_more if rereadable else None
    return Trace(run, kept, again, table)


def new_filter(expression: str | None) -> Filter | None:
    """Compile a filter expression; see :class:`tcptrace_fsm.capture.filters.Filter`."""
    if expression is None:
        return None
    from tcptrace_fsm.capture.filters import Filter

    return Filter(expression)
