"""One pass over some captures: read, follow, judge, and hand out what is over."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tcptrace_fsm.capture.codes import FILE_SHIFT, FRAME_MASK
from tcptrace_fsm.capture.losses import Losses, Lost, at_end, lost_by_count
from tcptrace_fsm.capture.sources import can_be_read_again
from tcptrace_fsm.core.tally import Tally
from tcptrace_fsm.errors import UsageError, printable
from tcptrace_fsm.kernels.layout import S_FRAME, SEGMENT_SIZE
from tcptrace_fsm.views.summary import summary_dict, wireshark_frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from tcptrace_fsm.capture.filters import Filter
    from tcptrace_fsm.capture.sources import Source
    from tcptrace_fsm.capture.timeline import Origins
    from tcptrace_fsm.core.settings import Settings
    from tcptrace_fsm.runs.sinks import Sink
    from tcptrace_fsm.runs.timers import Shown
    from tcptrace_fsm.runs.vantage import Comparison
    from tcptrace_fsm.tcp.profiles import Host

    Watch = Callable[["Run", Iterator[Any]], Iterator[Any]]

__all__ = ["Run", "hand_segments", "new_engine", "new_filter", "open_capture"]


class Run:
    """One pass over some captures.

    Parameters
    ----------
    captured : sequence of path or binary file
        Already expanded by :func:`tcptrace_fsm.capture.sources.sources`.
    settings : Settings
    watch : callable or None
        Wraps the batches where `go` is not given another: to show progress, or to stop early.

    Attributes
    ----------
    settings : Settings
        With the timers that hosts have shown, once these are learned.
    learned_timers : dict or None
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
    times_held : int
        Segments more than nine years from their connection's first, which were moved to that distance.
    leapt : int
        1 where the timeline leaps by a day or more: what was open then is judged as of then.
    streams : int
        What Wireshark calls TCP streams.

    """

    def __init__(self, captured: Sequence[Source], settings: Settings, *, watch: Watch | None = None) -> None:
        self._captured = captured
        self.settings = settings
        self._watch = watch
        self.learned_timers: dict[str, Any] | None = None
        self.points: Comparison | None = None
        self.captures: list[Any] = []
        self.tally = Tally()
        self.interrupted = False
        self._opened: list[Source] = []
        self._ends: dict[str, Losses | None] | None = None  # what each capture tells at its end
        self._known: tuple[int, ...] | None = None  # how many statements of each capture are known
        self._lost_so_far: Lost | None = None
        self.origins: Origins | None = None
        if len(captured) > 1:
            from tcptrace_fsm.capture.timeline import Origins

            self.origins = Origins([])
        self.hurried = self.times_held = self.leapt = 0
        self.streams = 0
        self._keep = new_filter(settings.filter)  # what makes no sense is refused before anything is read
        if settings.merge_vantage:
            from tcptrace_fsm.runs.vantage import check_sources

            check_sources(captured)
        if settings.learn_timers:
            check_readable_twice(captured, follow=settings.follow)

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
        if self.settings.learn_timers:
            self._study(watch)
            if self.interrupted:
                return
        engine = new_engine(self.settings)
        self._follow(engine, watch, lambda batch: hand_segments(batch, sinks), lambda: self._deliver(engine, sinks))

    def _follow(
        self, engine: Any, watch: Watch | None, hand: Callable[[Any], None], deliver: Callable[[], None]
    ) -> None:
        """Have the engine follow everything; ``hand`` gets batches of labelled segments where these are wanted.

        ``deliver`` is called when something may be over.
        """
        judged = engine.judges is None or bool(engine.judges)  # else nobody asks what was lost

        def take(batch: Any) -> None:
            engine.feed(batch)
            if judged and engine.over:
                engine.lost = self.lost()
            if self.settings.segments:
                hand(batch)
            deliver()

        batches = self.batches()
        for batch in watch(self, batches) if watch else batches:
            take(batch)
        for batch in self._left(batches):
            take(batch)
        if judged:
            engine.lost = self.lost()
        self.hurried, self.times_held, self.leapt = engine.hurried, engine.times_held, engine.leapt
        self.streams = engine.streams_opened
        for judge in engine.judges or ():
            judge.origins, judge.lost = self.origins, engine.lost
        engine.finish()
        deliver()

    def _left(self, batches: Iterator[Any]) -> Iterator[Any]:  # noqa: ARG002 - for whoever reads ahead
        """What was read when somebody stopped the reading, and is not followed yet."""
        return iter(())

    def _study(self, watch: Watch | None) -> None:
        """Read everything for what hosts show of their timers, and go by that from now on."""
        from tcptrace_fsm.runs.timers import Lesson

        settings = replace(self.settings, learn_timers=False, segments=False, fragments=False)
        first, lesson = Run(self._captured, settings), Lesson(settings)
        batches = first.batches()
        for batch in watch(first, batches) if watch else batches:
            lesson.take(batch)
        lesson.finish()
        self.interrupted = first.interrupted
        self._go_by([lesson.shown])

    def _go_by(self, shown: Iterable[Mapping[Host, Shown]]) -> None:
        """Replace the profile's timers by what hosts have shown of theirs, each to some of the readers."""
        from tcptrace_fsm.runs.timers import merged, taught

        profile, self.learned_timers = taught(self.settings.profile, merged(shown))
        self.settings = replace(self.settings, profile=profile)

    def batches(self) -> Iterator[Any]:
        """Give the batches of all captures as one timeline."""
        if self.settings.merge_vantage:
            yield from self._merged()
            return
        if self.origins is not None:
            from tcptrace_fsm.capture.timeline import Timeline

            yield from Timeline(self._captured, self._open, self.captures, self.origins).batches()
            return
        while True:
            before = sum(capture.frames for capture in self.captures)
            capture = self._open_only()
            self.captures.append(capture)
            for batch in capture.segments():
                if before and batch.count:
                    _renumber(batch, before)
                yield batch
            if not self.settings.follow or not capture.replaced:
                return

    def lost(self) -> Lost | None:
        """Say what the capturing machines lost, as far as that is known by now, for the rules to bear in mind."""
        if self._ends is None:
            named = [os.fspath(source) for source in self._captured if isinstance(source, str | os.PathLike)]
            self._ends = {} if self.settings.follow else {name: at_end(name) for name in named}
        told = [getattr(capture, "statements", ()) for capture in self.captures]
        if (known := tuple(map(len, told))) != self._known:
            opened = [capture.name for capture in self.captures]
            captures = [(self._ends.get(name), some) for name, some in zip(opened, told, strict=True)]
            captures += [(end, ()) for name, end in self._ends.items() if name not in opened]
            self._known, self._lost_so_far = known, lost_by_count(captures)
        return self._lost_so_far

    @property
    def in_order(self) -> list[Source]:
        """The captures opened so far, as they were given, in the order of the timeline."""
        if self.origins is None:
            return list(self._captured[: len(self.captures)])
        return list(self._opened)

    def _open_only(self) -> Any:
        """Open the only capture."""
        return open_capture(self._captured[0], self.settings, self._keep, follow=self.settings.follow)

    def _open(self, source: Source, *, chunk_size: int | None = None) -> Any:
        """Open one of several captures; ``chunk_size`` is given for a first look at it."""
        if chunk_size is not None:
            return open_capture(source, self.settings, self._keep, chunk_size=chunk_size)
        follow = self.settings.follow and source is self._captured[-1]
        capture = open_capture(source, self.settings, self._keep, follow=follow)
        self._opened.append(source)
        return capture

    def _merged(self) -> Iterator[Any]:
        """Give the batches of two captures, taken at two points, as one stream."""
        from tcptrace_fsm.capture.containers import open_capture
        from tcptrace_fsm.runs.vantage import check_sources, compare, merge

        paths = check_sources(self._captured)
        self.points = compare(*paths, self.settings.profile)
        self.captures += [open_capture(path, broken=True) for path in paths]
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
        times = [t for t in first if t is not None], [t for t in last if t is not None]
        return min(times[0], default=None), max(times[1], default=None)

    @property
    def name(self) -> str:
        """What the captures are called together."""
        names = [printable(os.path.basename(c.name)) for c in self.captures]  # noqa: PTH119 - a name may be "-"
        together = names[0] if len(names) == 1 else f"{len(names)} captures"
        return "standard input" if together == "-" else together

    def _placed(self, position: int | None) -> dict[str, Any]:
        """The frame that stands at a position of the timeline, and the capture that holds it."""
        if position is None or self.origins is None:
            return {"frame": None, "file": None}
        code = self.origins.code(position)
        return {"frame": code & FRAME_MASK, "file": self.origins.names[code >> FILE_SHIFT]}

    def summary(self, **options: Any) -> dict[str, Any]:
        """What ``summary.json`` says but for the versions, with options that are no settings of the run."""
        summary = summary_dict(self.captures, self.tally, {**self.settings.summary(), **options})
        summary["connections"]["judged_early"] = self.hurried
        if held := self.times_held + sum(getattr(capture, "times_held", 0) for capture in self.captures):
            summary["times_held"] = held
        if strays := sum(getattr(capture, "stray_stamps", 0) for capture in self.captures):
            summary["stray_stamps"] = strays
        if self.tally.undiagnosed:
            summary["undiagnosed"] = self.tally.undiagnosed
        if self.leapt:
            summary["leaps_by_days"] = True
        if self.origins is not None:
            for diagnosis in summary["diagnoses"]:
                diagnosis.update(self._placed(diagnosis["frame"]))
        if self.learned_timers is not None:
            summary["timers"] = self.learned_timers
        if self.points is None:
            summary["wireshark"] = {"tcp_frames": wireshark_frames(self.captures), "tcp_streams": self.streams}
        else:
            summary["vantage"] = {**self.points.summary(), **self.tally.between()}
        return {**summary, "interrupted": True} if self.interrupted else summary


def check_readable_twice(captured: Sequence[Source], *, follow: bool = False) -> None:
    """Refuse to learn timers of what can be read only once.

    Raises
    ------
    UsageError

    """
    if follow or not all(can_be_read_again(source) for source in captured):
        what = "a capture that is still being written" if follow else "a stream"
        raise UsageError(f"--learn-timers reads the captures twice, and {what} can be read only once")


def new_filter(expression: str | None) -> Filter | None:
    """Compile a filter expression; see :class:`tcptrace_fsm.capture.filters.Filter`."""
    if expression is None:
        return None
    from tcptrace_fsm.capture.filters import Filter

    return Filter(expression)


def open_capture(source: Source, settings: Settings, keep: Filter | None, *, follow: bool = False, **more: Any) -> Any:
    """Open one capture of a run; see :func:`tcptrace_fsm.capture.containers.open_capture`."""
    from tcptrace_fsm.capture import containers

    capture = containers.open_capture(source, keep=keep, follow=follow, broken=True, **more)
    if settings.fragments:
        capture.fragments.joined = {}
    return capture


def new_engine(settings: Settings) -> Any:
    """Make an engine with all judges; see :class:`tcptrace_fsm.core.engine.Engine`."""
    from tcptrace_fsm.core.engine import Engine
    from tcptrace_fsm.runs.judges import judges

    return Engine(settings, judges=judges(settings.profile))


def hand_segments(batch: Any, sinks: Sequence[Sink]) -> None:
    """Hand a batch of labelled segments to those sinks that take them."""
    for sink in sinks:
        take = getattr(sink, "take_segments", None)
        if take is not None:
            take(batch)


def _renumber(batch: Any, before: int) -> None:
    """Count a batch's frames on from those of the file that this one has replaced."""
    import numpy as np

    words = np.frombuffer(batch.segments, dtype=np.int64, count=batch.count * SEGMENT_SIZE)
    words[S_FRAME::SEGMENT_SIZE] += before
