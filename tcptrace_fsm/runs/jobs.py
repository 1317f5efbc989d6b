"""Several processes on one machine: each reads everything and follows its share of the connections.

Decoding is the small part of the work, and no segment has to travel from one process to another: what travels is the
places where numbers were given, once, and the finished tables as Arrow files. So it does not matter how the traffic is
spread over captures, how they are packed, or whether they overlap.

The processes are this very module, run as a program (:func:`work`), which is talked to in pickles through its standard
input and output.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tcptrace_fsm.errors import CaptureError, UsageError, WorkerError
from tcptrace_fsm.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tcptrace_fsm.capture.losses import Lost
    from tcptrace_fsm.capture.sources import Source
    from tcptrace_fsm.core.settings import Settings
    from tcptrace_fsm.runs.run import Watch
    from tcptrace_fsm.runs.shares import Share
    from tcptrace_fsm.runs.sinks import Sink
    from tcptrace_fsm.runs.timers import Lesson, Shown
    from tcptrace_fsm.tcp.profiles import Host

__all__ = ["Jobs", "check_jobs", "work"]

EVERY = 0.25  # seconds between two messages about progress


def check_jobs(jobs: int, captured: Sequence[Source]) -> None:
    """Refuse what cannot be done by several processes.

    Raises
    ------
    UsageError
        For fewer than one, and for streams.

    """
    if jobs < 1:
        raise UsageError(f"--jobs takes a number of processes from 1 on, not {jobs}")
    if jobs > 1 and not all(isinstance(source, str | os.PathLike) and os.fspath(source) != "-" for source in captured):
        raise UsageError("with --jobs each process reads the captures for itself, and a stream can be read only once")


class Jobs(Run):
    """One pass over some captures, by several processes; the result is that of a :class:`Run`."""

    def __init__(
        self, captured: Sequence[Source], settings: Settings, *, jobs: int = 2, watch: Watch | None = None
    ) -> None:
        super().__init__(captured, settings, watch=watch)
        check_jobs(jobs, captured)
        self.jobs = jobs

    def go(self, sinks: Sequence[Sink] = (), *, watch: Watch | None = None) -> None:
        """Read everything, and hand to each sink what is over.

        Parameters
        ----------
        sinks : sequence of Sink
            One with a method ``put`` gets finished Arrow tables, others get connections.
        watch : callable or None
            Wraps what comes from the processes: to show progress, or to stop. What is stopped leaves nothing.

        """
        from tcptrace_fsm.runs.shares import together

        watch = watch or self._watch
        writers: list[Any] = [sink for sink in sinks if hasattr(sink, "put")]
        takers = [sink for sink in sinks if not hasattr(sink, "put")]
        tables = sorted({name for sink in writers for name in sink.tables})
        settings = replace(self.settings, segments="segments" in tables)
        with tempfile.TemporaryDirectory(prefix="tcptrace-fsm-") as folder, _Crew(self.jobs) as crew:
            task = Task(
                captured=[os.fspath(source) for source in self._captured],  # type: ignore[arg-type]
                settings=settings,
                seed=int.from_bytes(os.urandom(7), "big") | 1,
                folder=Path(folder),
                jobs=self.jobs,
            )
            for n in range(self.jobs):
                crew.tell(n, replace(task, number=n))
            if settings.learn_timers:
                self._wait(crew, "shown", watch)
                if self.interrupted:
                    return
                self._go_by(crew.answers("shown"))
                settings = replace(settings, profile=self.settings.profile)
                for n in range(self.jobs):
                    crew.tell(n, settings)
            self._wait(crew, "keys", watch)
            if self.interrupted:
                return
            ids, streams, now = self._number(crew.answers("keys"))
            for n in range(self.jobs):
                crew.tell(n, Harvest(ids[n], streams[n], tables, finished=bool(takers)))
            for kind, content in crew.listen("done"):
                if kind == "finished":
                    for sink in takers:
                        sink.take(content)
            self.hurried = sum(one.hurried for one in crew.answers("done"))
            self.times_held = sum(one.times_held for one in crew.answers("done"))
            self.leapt = max(one.leapt for one in crew.answers("done"))
            self.streams = sum(map(len, streams))
            self.tally, last = together(self.settings.profile, crew.answers("done"), now, self.origins)
            for sink in writers:
                _put(sink, tables, Path(folder), self.jobs)
            if last.holds_anything:
                for sink in sinks:
                    sink.take(last)

    def _number(self, answers: list[dict[str, Any]]) -> tuple[list[Any], list[Any], int]:
        """Find every process's final numbers of connections and of streams, and the clock's end, ns."""
        from tcptrace_fsm.capture.layers.links import learn_paths
        from tcptrace_fsm.runs.shares import numbers

        first = answers[0]
        self.captures = first["captures"]
        learn_paths(first["paths"])
        if self.origins is not None:
            self.origins.adopt(first["origins"])
        ids, streams = (numbers([one["keys"][which] for one in answers]) for which in (0, 1))
        return ids, streams, first["now"]

    def _wait(self, crew: _Crew, until: str, watch: Watch | None) -> None:
        """Wait until all processes have said something of that kind, or the user stops it."""
        events = self._hear(crew, until)
        for _ in watch(self, events) if watch else events:
            pass
        self.captures = []

    def _hear(self, crew: _Crew, until: str) -> Iterator[bool]:
        for kind, content in crew.listen(until):
            if kind == "progress":
                self.captures = content
                yield True


def _put(sink: Any, tables: Sequence[str], folder: Path, jobs: int) -> None:
    """Hand a sink the tables that the processes have made."""
    import pyarrow as pa

    for name in tables:
        parts = [path for n in range(jobs) if (path := folder / f"{name}.{n}.arrow").exists()]
        with contextlib.ExitStack() as stack:
            opened = [
                stack.enter_context(pa.ipc.open_stream(stack.enter_context(pa.memory_map(str(p))))) for p in parts
            ]
            batches = (pa.Table.from_batches([batch]) for one in opened for batch in one)
            for table in _by_position(opened) if name == "segments" else batches:
                sink.put(name, table)


def _by_position(parts: Sequence[Any]) -> Iterator[Any]:
    """Merge tables, each ordered by its column ``position``, and take that away."""
    import pyarrow as pa
    import pyarrow.compute as pc

    streams = [iter(part) for part in parts]
    heads: list[Any] = [None] * len(streams)
    while True:
        for n, stream in enumerate(streams):
            while heads[n] is None or not len(heads[n]):
                batch = next(stream, None)
                if batch is None:
                    heads[n] = None
                    break
                heads[n] = pa.Table.from_batches([batch])
        live = [head for head in heads if head is not None]
        if not live:
            return
        bound = min(head["position"][-1].as_py() for head in live)
        taken = []
        for n, head in enumerate(heads):
            if head is not None:
                count = pc.sum(pc.less_equal(head["position"], bound)).as_py()
                taken.append(head.slice(0, count))
                heads[n] = head.slice(count)
        whole = pa.concat_tables(taken).unify_dictionaries().sort_by("position")
        yield whole.drop_columns("position").combine_chunks()


@dataclass(frozen=True)
class Task:
    """What a process is to do: its number, out of how many, and by which seed connections are shared out."""

    captured: list[str]
    settings: Settings
    seed: int
    folder: Path
    jobs: int
    number: int = 0


@dataclass(frozen=True)
class Harvest:
    """What a process is to do in the end: the final numbers, which tables to make, whether to hand out connections."""

    ids: Any
    streams: Any
    tables: list[str]
    finished: bool


def worker_environment() -> dict[str, str]:
    """The environment in which a worker finds what this process has found, and nothing in the current directory.

    Somebody else may have put a ``numpy.py`` beside the captures.
    """
    here = os.getcwd()  # noqa: PTH109
    home = str(Path(__file__).resolve().parents[2])
    found = [path for path in sys.path if path and os.path.abspath(path) != here]  # noqa: PTH100
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*found, home]), "PYTHONSAFEPATH": "1"}


class _Crew:
    """The processes, and what they say."""

    def __init__(self, count: int) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._count = count
        self._heard: queue.Queue[tuple[int, bytes]] = queue.Queue()  # nothing of a process that is gone
        self._answers: dict[tuple[str, int], Any] = {}

    def __enter__(self) -> Self:
        # A Ctrl-C on the terminal is for this process alone to see.
        environment = worker_environment()
        for n in range(self._count):
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", "from tcptrace_fsm.runs.jobs import work; work()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
            self._processes.append(process)
            threading.Thread(target=self._hear, args=(n, process), daemon=True).start()
        return self

    def _hear(self, n: int, process: subprocess.Popen[bytes]) -> None:
        """Take what a process says, unread: what is read imports modules, which threads may not do at the same time.

        A package and a module inside it, each imported by another thread, wait for each other; Python then lets one
        of them have the other half done.
        """
        assert process.stdout is not None
        with contextlib.suppress(OSError, ValueError):  # closed when all is over
            while len(head := process.stdout.read(8)) == 8:
                size = int.from_bytes(head, "little")
                if len(content := process.stdout.read(size)) < size:
                    break
                self._heard.put((n, content))
        self._heard.put((n, b""))

    def tell(self, n: int, content: Any) -> None:
        """Send something to one process."""
        stream = self._processes[n].stdin
        assert stream is not None
        with contextlib.suppress(BrokenPipeError):  # that it is gone is heard
            pickle.dump(content, stream, protocol=5)
            stream.flush()

    def answers(self, kind: str) -> list[Any]:
        """What each of them has said of that kind."""
        return [self._answers[kind, n] for n in range(self._count)]

    def listen(self, until: str) -> Iterator[tuple[str, Any]]:
        """Give what they say until all have said something of that kind."""
        while sum(kind == until for kind, _ in self._answers) < self._count:
            n, unread = self._heard.get()
            if not unread:
                if ("done", n) in self._answers:
                    continue  # it has done all it was to do
                status = self._processes[n].wait()
                how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
                hint = "; if there was too little memory, use fewer --jobs" if status == -9 else ""
                raise WorkerError(f"one of the {self._count} processes {how}{hint}")
            kind, content = pickle.loads(unread)  # noqa: S301 - our own process
            if kind == "refused":
                raise content
            if kind == until:
                self._answers[kind, n] = content
            else:
                yield kind, content

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()


# --- in the processes -------------------------------------------------------------------------------------------------
def work() -> None:
    """Do what is asked through standard input; answer through standard output."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints is not to disturb

    def say(kind: str, content: Any) -> None:
        content = pickle.dumps((kind, content), protocol=5)
        answers.write(len(content).to_bytes(8, "little"))
        answers.write(content)
        answers.flush()

    try:
        _work(say, lambda: pickle.load(sys.stdin.buffer))  # noqa: S301 - what started this process
    except (EOFError, BrokenPipeError):
        pass  # nobody waits for it any more
    except (CaptureError, UsageError, OSError, MemoryError) as error:  # OSError: a full disk, say
        say("refused", error)


def _work(say: Callable[[str, Any], None], hear: Callable[[], Any]) -> None:
    task: Task = hear()
    if task.settings.learn_timers:
        say("shown", _study(task, say))
        task = replace(task, settings=hear())
    run = Run(task.captured, task.settings)
    with (task.folder / f"spool.{task.number}").open("w+b") as spool:
        share, now = _follow(run, task, spool, say)
        first: dict[str, Any] = {}
        if task.number == 0:
            from tcptrace_fsm.capture.layers.links import known_paths
            from tcptrace_fsm.runs.shares import facts

            first = {"captures": [facts(c) for c in run.captures], "origins": run.origins, "now": now}
            first["paths"] = known_paths()
        say("keys", {"keys": share.keys, **first})
        _harvest(run, share, hear(), task, say)


def _study(task: Task, say: Callable[[str, Any], None]) -> dict[Host, Shown]:
    """Read everything, for what this process's share shows of hosts' timers."""
    from tcptrace_fsm.runs.timers import Lesson

    lesson = Lesson(task.settings)
    _read(Run(task.captured, task.settings), task, lesson, say)
    return lesson.shown


def _follow(run: Run, task: Task, spool: Any, say: Callable[[str, Any], None]) -> tuple[Share, int]:
    """Read everything, follow this process's share."""
    from tcptrace_fsm.runs.shares import Share

    segment_spool = task.folder / f"segments.{task.number}.spool" if task.settings.segments else None
    share = Share(task.settings, spool=spool, segment_spool=segment_spool)
    return share, _read(run, task, share, say, share.bear_in_mind)


def _read(
    run: Run,
    task: Task,
    follower: Share | Lesson,
    say: Callable[[str, Any], None],
    note_lost: Callable[[Lost | None], None] | None = None,
) -> int:
    """Read everything, and let this process's share of it be followed; returns the clock's end, ns.

    ``tell`` gets what the capturing machine lost, as far as that is known.
    """
    from array import array

    from tcptrace_fsm.capture.timeline import Batch
    from tcptrace_fsm.kernels.layout import SEGMENT_SIZE
    from tcptrace_fsm.kernels.share import pick
    from tcptrace_fsm.runs.shares import facts

    clock, mine = array("q", [0, 0]), array("q")
    reported = time.monotonic()
    for batch in run.batches():
        if len(mine) < batch.count * SEGMENT_SIZE:
            mine = array("q", bytes(8 * batch.count * SEGMENT_SIZE))
        if note_lost:
            note_lost(run.lost())
        if batch.count:
            count = pick(batch.segments, batch.count, task.number, task.jobs, task.seed, clock, mine)
            follower.take(Batch(mine, count))
        if task.number == 0 and time.monotonic() - reported > EVERY:
            reported = time.monotonic()
            say("progress", [facts(capture) for capture in run.captures])
    if note_lost:
        note_lost(run.lost())
    follower.finish(clock[0])
    return clock[0]


def _harvest(run: Run, share: Share, wanted: Harvest, task: Task, say: Callable[[str, Any], None]) -> None:
    """Number what was found, make the tables that are wanted."""
    from tcptrace_fsm.runs.shares import Parts, harvest

    with contextlib.ExitStack() as stack:
        files: dict[str, Any] = {}

        def write(name: str, table: Any) -> None:
            import pyarrow as pa

            if name not in files:
                path = str(task.folder / f"{name}.{task.number}.arrow")
                files[name] = stack.enter_context(pa.ipc.new_stream(path, table.schema))
            files[name].write_table(table)

        parts = Parts(wanted.tables, write, run.origins)
        take: list[Any] = [parts.take]
        if wanted.finished:
            take.append(lambda finished: say("finished", finished))
        done = harvest(share, wanted.ids, wanted.streams, take=take)
        parts.flush()
        if share.segments is not None:
            for table in share.segments.resolved(
                origins=run.origins, ids=wanted.ids, streams=wanted.streams, positions=True
            ):
                write("segments", table)
            share.segments.close()
    say("done", done)
