"""A cluster: captures are decoded where workers are free, and only what runs across captures travels between them.

Four steps, in tasks of ``dask.distributed``, each a pure function of a capture or of rows, so that what a lost worker
had is made again elsewhere (with ``--learn-timers``, the second and the third are taken once before, to learn them):

1. *Scan*: decode each capture, and tell when it begins and ends and which four-tuples it holds. That gives the order of
   the timeline, and the four-tuples that occur in more than one capture.
2. *Follow*: decode each capture again. Connections that live in it alone are followed on the spot; the segments of the
   others, with their clocks, are its contribution to the shuffle.
3. *Shuffle* these rows by four-tuple (P2P, on the workers' disks), and follow their connections, a partition at a time.
4. *Harvest*: with the final numbers, make the tables, and write each share's as a file of a partitioned data set.

To decode twice is cheaper than to keep a capture's segments: they are larger than the capture. See
:mod:`tcptrace_fsm.runs.shares` for why the result is that of a single pass, and ``docs/scaling.md`` for what it costs.
"""

from __future__ import annotations

import os
import secrets
from array import array
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from tcptrace_fsm.capture.codes import FILE_SHIFT
from tcptrace_fsm.capture.layers.links import known_paths, learn_paths
from tcptrace_fsm.capture.losses import at_end, lost_by_count
from tcptrace_fsm.capture.timeline import (
    NEVER,
    Member,
    Origins,
    Reader,
    batch_of,
    clocks_of,
    order,
    seams,
    segments_of,
)
from tcptrace_fsm.errors import UsageError, WorkerError, plain_name
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.kernels.share import keys, stamp_all
from tcptrace_fsm.runs.jobs import check_jobs
from tcptrace_fsm.runs.leaps import Ahead, gaps_in, leaps_of
from tcptrace_fsm.runs.run import Run, new_filter, open_capture
from tcptrace_fsm.runs.shares import Parts, Share, facts, harvest, numbers, together
from tcptrace_fsm.runs.timers import Lesson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from tcptrace_fsm.capture.losses import Losses, Lost, Statement
    from tcptrace_fsm.capture.sources import Source
    from tcptrace_fsm.core.settings import Settings
    from tcptrace_fsm.runs.leaps import Leaps
    from tcptrace_fsm.runs.run import Watch
    from tcptrace_fsm.runs.shares import Facts, Keys, Yield
    from tcptrace_fsm.runs.sinks import Sink
    from tcptrace_fsm.runs.timers import Shown
    from tcptrace_fsm.tables.partitioned import PartitionedExport
    from tcptrace_fsm.tcp.profiles import Host

    Words = NDArray[np.int64]

__all__ = ["Cluster", "connect"]

BLOCK = 1 << 13  # rows of a partition fed at once
RETRIES = 3  # of a task that fails for a passing reason, such as a storage that does not answer


@contextmanager
def connect(address: str, *, workers: int | None = None, say: Callable[[str], None] = lambda _: None) -> Iterator[Any]:
    """Connect to a scheduler, or start a cluster of this machine's own.

    Parameters
    ----------
    address : str
        Of the scheduler; ``local`` for a cluster that ends with this context.
    workers : int or None
        Processes of a local one; None for one to each processor.
    say : callable
        Told where the dashboard is.

    Raises
    ------
    UsageError
        Where dask is not installed, or nobody answers.

    """
    try:
        distributed: Any = import_module("dask.distributed")
    except ImportError as reason:
        raise UsageError("--dask needs dask.distributed: pip install 'tcptrace-fsm[dask]'") from reason
    own = None
    if address == "local":
        os.environ["PYTHONSAFEPATH"] = "1"  # its workers take no module from the current directory
        own = distributed.LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=":0")
    try:
        try:
            client = distributed.Client(own or address, timeout=10)
        except (OSError, ValueError, TypeError) as reason:
            raise UsageError(f"no dask scheduler answers at {address}: {reason}") from reason
        try:
            say(f"dashboard at {client.dashboard_link}")
            yield client
        finally:
            client.close()
    finally:
        if own is not None:
            own.close()


class Cluster(Run):
    """One pass over some captures, by the workers of a cluster; the result is that of a :class:`Run`.

    Parameters
    ----------
    captured : sequence of path
        As the workers see them.
    settings : Settings
    client : dask.distributed.Client
    partitions : int or None
        Of the shuffled rows; None for two to each worker thread.
    watch : callable or None
        As for a Run.

    """

    def __init__(
        self,
        captured: Sequence[Source],
        settings: Settings,
        *,
        client: Any,
        partitions: int | None = None,
        watch: Watch | None = None,
    ) -> None:
        super().__init__(captured, settings, watch=watch)
        check_jobs(2, captured)
        self._client = client
        self._partitions = partitions or max(1, 2 * sum(client.nthreads().values()))

    def go(self, sinks: Sequence[Sink] = (), *, watch: Watch | None = None) -> None:
        """Read everything, and hand to each sink what is over.

        Parameters
        ----------
        sinks : sequence of Sink
            A :class:`tcptrace_fsm.tables.partitioned.PartitionedExport` is written by the workers; others get
            connections.
        watch : callable or None
            Wraps the steps: to show progress, or to stop. What is stopped leaves nothing.

        """
        from distributed import KilledWorker

        watch = watch or self._watch
        try:
            steps = self._steps(sinks)
            for _ in watch(self, steps) if watch else steps:
                pass
        except KilledWorker as reason:
            raise WorkerError(
                f"the cluster gave up, for its workers died several times over one task ({reason.args[0]}); "
                "they may need more memory, or the captures to be in smaller files"
            ) from reason
        if self.interrupted:
            self.captures = []

    def _steps(self, sinks: Sequence[Sink]) -> Iterator[bool]:
        """Do one step after another; yields now and then."""
        names = [os.fspath(source) for source in self._captured]  # type: ignore[arg-type]
        seed = secrets.randbits(60) | 1
        submit = self._submit
        scans = yield from self._results(
            [submit(scan, name, place, seed, self.settings) for place, name in enumerate(names)]
        )
        plan = _plan(scans)
        for one in scans:
            learn_paths(one.paths)
        paths = known_paths()
        self.captures = [scans[step.place].facts for step in plan]
        if self.origins is not None:
            self.origins.names[:] = [plain_name(names[step.place]) for step in plan]
        now = max([0, *(scan.last for scan in scans)])
        leaps = leaps_of([(one.first, one.last, one.gaps) for one in scans])
        lost = lost_by_count([one.losses for one in scans])
        several = self.origins.names if self.origins is not None else None
        if self.settings.learn_timers:
            lessons = self._shared(plan, names, study, study_rows, Task(self.settings, seed, now, leaps, lost))
            self._go_by((yield from self._results(lessons)))
        segments = any("segments" in getattr(sink, "tables", ()) for sink in sinks)
        task = Task(replace(self.settings, segments=segments), seed, now, leaps, lost)
        shares = self._shared(plan, names, follow, follow_rows, task)
        keys = yield from self._results([submit(_keys, share) for share in shares])
        ids, streams = numbers([key[0] for key in keys]), numbers([key[1] for key in keys])
        writers: list[Any] = [sink for sink in sinks if hasattr(sink, "part")]
        takers = [sink for sink in sinks if not hasattr(sink, "part")]
        gleaned = [
            submit(glean, share, (ids[n], streams[n]), n, several, paths, [w.part for w in writers], bool(takers))
            for n, share in enumerate(shares)
        ]
        yields = []
        for n in range(len(gleaned)):
            (gathered,) = yield from self._results(gleaned[n : n + 1])
            yields.append(gathered[0])
            for sink in takers:
                for finished in gathered[1]:
                    sink.take(finished)
        self.hurried = sum(one.hurried for one in yields)
        self.times_held = sum(one.times_held for one in yields)
        self.leapt = max(one.leapt for one in yields)
        self.streams = sum(map(len, streams))
        self.tally, last = together(self.settings.profile, yields, now, self.origins)
        if last.holds_anything:
            for sink in sinks:
                sink.take(last)

    def _submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self._client.submit(function, *arguments, pure=False, retries=RETRIES)

    def _results(self, futures: list[Any]) -> Any:
        """Wait for results, in order; yields each time that one is there."""
        distributed: Any = import_module("dask.distributed")
        try:
            for future in distributed.as_completed(futures):
                future.result()  # a fault of a capture is reported at once
                yield True
            return self._client.gather(futures)
        except GeneratorExit:
            self._client.cancel(futures)
            raise

    def _shared(
        self,
        plan: Sequence[Step],
        names: Sequence[str],
        alone: Callable[..., Any],
        rows: Callable[..., Any],
        task: Task,
    ) -> list[Any]:
        """Let workers follow all connections: those of one capture by ``alone``, those of several by ``rows``."""
        submit = self._submit
        followed = [submit(alone, names[step.place], index, step, task) for index, step in enumerate(plan)]
        shares = [submit(_first, one) for one in followed]
        if any(len(step.shared) for step in plan):
            strays = [submit(_second, one) for one, step in zip(followed, plan, strict=True) if len(step.shared)]
            shares += self._shuffled(strays, rows, task)
        return shares

    def _shuffled(self, rows: list[Any], follower: Callable[..., Any], task: Task) -> list[Any]:
        """Bring the rows of each four-tuple together, and follow their connections."""
        dask: Any = import_module("dask")
        dd: Any = import_module("dask.dataframe")
        with dask.config.set({"dataframe.shuffle.method": "p2p"}):
            frame = dd.from_delayed(rows, meta=_frame_of([]), verify_meta=False)
            parts = frame.shuffle("key", npartitions=self._partitions).to_delayed()
            following = [dask.delayed(follower, pure=False)(part, task) for part in parts]
            futures: list[Any] = self._client.compute(following, retries=RETRIES)
        return futures


def _first(pair: tuple[Any, Any]) -> Any:
    return pair[0]


def _second(pair: tuple[Any, Any]) -> Any:
    return pair[1]


def _keys(share: tuple[Share, Any]) -> tuple[Keys, Keys]:
    return share[0].keys


# --- the steps, on the workers ----------------------------------------------------------------------------------------
@dataclass
class Scan:
    """What is known of a capture before anything is followed.

    Also the keys of its four-tuples, in order, and the times between which it shows nothing for a day or more.
    """

    facts: Facts
    place: int
    first: int
    last: int
    gaps: Leaps
    keys: Words
    paths: dict[int, str]
    losses: tuple[Losses | None, list[Statement]]


@dataclass(frozen=True)
class Task:
    """What all workers need: the settings, by which seed four-tuples are hashed, what was lost.

    Of the clock: where it ends, and from when to when it leaps by a day or more.
    """

    settings: Settings
    seed: int
    now: int
    leaps: Leaps
    lost: Lost | None


@dataclass
class Step:
    """One capture of the timeline: its place in the list, its clock's floor, the keys that other captures hold too."""

    place: int
    floor: int
    shared: Words


def scan(name: str, place: int, seed: int, settings: Settings) -> Scan:
    """Decode a capture for what is to be known of it beforehand."""
    capture = open_capture(name, settings, new_filter(settings.filter))
    first, last = NEVER, -NEVER
    gaps: Leaps = []
    keys_so_far: list[Words] = []
    fresh = 0
    for batch in capture.segments():
        if batch.count:
            records = segments_of(batch)
            first = int(records[0, k.S_TIME]) if first == NEVER else first
            clocks = clocks_of(records, last)
            gaps += gaps_in(np.insert(clocks, 0, last if last > -NEVER else first))
            last = int(clocks[-1])
            found = np.empty(batch.count, dtype=np.int64)
            keys(batch.segments, batch.count, seed, found)
            keys_so_far.append(np.unique(found))
            fresh += len(keys_so_far[-1])
            if fresh > 2 * len(keys_so_far[0]) + (1 << 16):
                keys_so_far, fresh = [np.unique(np.concatenate(keys_so_far))], 0
    whole = np.unique(np.concatenate(keys_so_far)) if keys_so_far else np.empty(0, dtype=np.int64)
    return Scan(facts(capture), place, first, last, gaps, whole, known_paths(), (at_end(name), capture.statements))


def _plan(scans: Sequence[Scan]) -> list[Step]:
    """Put captures in the order of the timeline, and find what they have in common."""
    ordered = order(Member(one.place, one.first, one.last) for one in scans)
    keys, counts = np.unique(np.concatenate([one.keys for one in scans]), return_counts=True)
    common = keys[counts > 1]
    return [
        Step(member.place, floor, np.intersect1d(scans[member.place].keys, common, assume_unique=True))
        for member, floor in zip(ordered, seams(ordered), strict=True)
    ]


def _frame_of(parts: list[tuple[Words, Words, Words, Words]]) -> Any:
    """Make a DataFrame of (records, clocks, codes, keys): one column for each word, and three more."""
    import pandas as pd

    names = [*(f"w{i}" for i in range(k.SEGMENT_SIZE)), "clock", "code", "key"]
    blocks = [np.column_stack([records, clocks, codes, keys]) for records, clocks, codes, keys in parts]
    return pd.DataFrame(np.concatenate(blocks) if blocks else np.empty((0, len(names)), dtype=np.int64), columns=names)


def follow(name: str, index: int, step: Step, task: Task) -> tuple[tuple[Share, Origins], Any]:
    """Follow the connections that live in one capture alone; hand out the segments of the others."""
    share, origins = Share(task.settings, lost=task.lost), Origins([])
    origins.stretch(0, index << FILE_SHIFT)
    strays = _read(share, name, index, step, task)
    share.finish(task.now)
    return (share, origins), strays


def study(name: str, index: int, step: Step, task: Task) -> tuple[dict[Host, Shown], Any]:
    """Do as `follow`, for what the connections show of their hosts' timers."""
    lesson = Lesson(task.settings)
    strays = _read(lesson, name, index, step, task)
    lesson.finish(task.now)
    return lesson.shown, strays


def _read(follower: Share | Lesson, name: str, index: int, step: Step, task: Task) -> Any:
    """Let the connections that live in one capture alone be followed; return the segments of the others, if any."""
    shared, strays = step.shared, []
    capture = open_capture(name, task.settings, new_filter(task.settings.filter))
    reader = Reader(capture.segments(), index, step.floor)
    clock, leaps = array("q", [max(step.floor, 0), 0]), Ahead(task.leaps)
    while reader.advance():
        records, clocks = reader.records, reader.clocks
        found, news = np.empty(len(records), dtype=np.int64), np.empty(len(records), dtype=np.int64)
        words = np.ascontiguousarray(records).reshape(-1)
        # Kernels that are not compiled count in Python's numbers: numpy's overflow.
        keys(words.data, len(records), task.seed, found)
        stamp_all(words.data, len(records), clock, news)
        records = words.reshape(records.shape)
        codes = index << FILE_SHIFT | records[:, k.S_FRAME]
        if len(shared):
            at = np.minimum(np.searchsorted(shared, found), len(shared) - 1)
            stray = shared[at] == found
            if stray.any():
                strays.append((records[stray], clocks[stray], codes[stray], found[stray]))
                records = records.copy()
                records[stray, k.S_FLAGS] = k.TCP_CLOCK
                mine = ~stray | (news > 0)
                records, clocks, codes = records[mine], clocks[mine], codes[mine]
        records, clocks, codes = leaps.told(records, clocks, codes)
        follower.take(batch_of(records), (clocks, codes))
    follower.take(batch_of(leaps.next_one()))
    return _frame_of(strays) if len(shared) else None


def follow_rows(frame: Any, task: Task) -> tuple[Share, Origins]:
    """Follow connections whose segments came from several captures."""
    share, origins = Share(task.settings, lost=task.lost), Origins([])
    _read_rows(share, frame, origins, task.leaps)
    share.finish(task.now)
    return share, origins


def study_rows(frame: Any, task: Task) -> dict[Host, Shown]:
    """Do as `follow_rows`, for what the connections show of their hosts' timers."""
    lesson = Lesson(task.settings)
    _read_rows(lesson, frame, Origins([]), task.leaps)
    lesson.finish(task.now)
    return lesson.shown


def _read_rows(follower: Share | Lesson, frame: Any, origins: Origins, leaps: Leaps) -> None:
    """Let connections be followed whose segments came from several captures."""
    clocks, codes = (frame[name].to_numpy(dtype=np.int64) for name in ("clock", "code"))
    by = np.lexsort((codes, clocks))
    ahead = Ahead(leaps)
    for begin in range(0, len(by), BLOCK):
        rows = by[begin : begin + BLOCK]
        records = np.array(frame.iloc[rows, : k.SEGMENT_SIZE], dtype=np.int64)
        positions = np.arange(begin + 1, begin + 1 + len(rows))
        origins.stretches(positions, codes[rows])
        records[:, k.S_FRAME] = positions
        records[:, k.S_MARKS] = clocks[rows]
        records, now, of = ahead.told(records, clocks[rows], codes[rows])
        follower.take(batch_of(records), (now, of))
    follower.take(batch_of(ahead.next_one()))


def glean(
    followed: tuple[Share, Origins],
    numbered: tuple[Words, Words],
    number: int,
    names: list[str] | None,
    paths: dict[int, str],
    writers: list[Callable[[int], PartitionedExport]],
    wanted: bool,
) -> tuple[Yield, list[Any]]:
    """Number what a share has, write its tables, count and gather it; ``wanted``: hand out its connections too.

    ``paths`` are the tunnels that any worker has met, for their codes to become names here.
    """
    learn_paths(paths)
    (share, origins), (ids, streams) = followed, numbered
    everywhere = None
    if names is not None:
        origins.names[:] = names
        everywhere = Origins(names)  # numbers are codes by then
    kept: list[Any] = []
    with ExitStack() as stack:
        parts = []
        for writer in writers:
            part: Any = stack.enter_context(writer(number))
            parts.append((part, Parts(part.tables, part.put, everywhere)))
        take = [tables.take for _, tables in parts] + ([kept.append] if wanted else [])
        found = harvest(share, ids, streams, take=take, coded=origins if names is not None else None)
        for part, tables in parts:
            tables.flush()
            if share.segments is not None and "segments" in part.tables:
                for table in share.segments.resolved(
                    origins=origins if names is not None else None, ids=ids, streams=streams
                ):
                    part.put("segments", table)
    return found, kept
