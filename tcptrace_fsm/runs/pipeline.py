"""Two processors for one capture: threads read, follow connections, replay what is over, judge it and make the tables.

Each does its part in the order of a run that does one thing after the other, so the result is the same. Compiled
kernels, Arrow and files let other threads run meanwhile. Segments and what is over come in memory of their own: a batch
keeps its segments until some more have been read, a block has its connections' records and logs.
"""

from __future__ import annotations

import sys
from queue import Queue
from threading import Thread
from typing import TYPE_CHECKING, Any, Self, cast

from tcptrace_fsm.capture.sources import can_be_read_again
from tcptrace_fsm.core.engine import Engine
from tcptrace_fsm.core.finished import Block, Finished
from tcptrace_fsm.core.judges import have_finished, have_judged
from tcptrace_fsm.core.replaying import Later
from tcptrace_fsm.kernels.layout import SEGMENT_SIZE
from tcptrace_fsm.runs.judges import judges
from tcptrace_fsm.runs.run import Run, hand_segments, open_capture

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Generator, Iterator, Sequence
    from types import TracebackType

    from tcptrace_fsm.capture.losses import Lost
    from tcptrace_fsm.runs.run import Watch
    from tcptrace_fsm.runs.sinks import Sink

__all__ = ["Pipeline"]

CHUNK = 1 << 22  # bytes read at once
FRAMES = 1 << 14  # frames decoded at once: threads change seldom, since each waits its turn to run Python
AHEAD = 2  # batches that may wait to be followed: 5 MB each
BEHIND = 4  # blocks that may wait to be judged: some 10 MB each
TURN = 0.0005  # seconds that a thread may run Python while another waits to; a batch takes some 5 ms


class Pipeline(Run):
    """One pass over one capture, by several threads; the result is that of a :class:`Run`."""

    _lost: Lost | None = None
    _lost_in_all: Lost | None = None
    _reader: _Ahead | None = None

    def go(self, sinks: Sequence[Sink] = (), *, watch: Watch | None = None) -> None:
        """Read everything, and hand to each sink what is over; see :meth:`Run.go`.

        Another thread than the caller's calls the sinks, one after the other.
        """
        watch = watch or self._watch
        if self.settings.learn_timers:
            self._study(watch)
            if self.interrupted:
                return
        engine, everyone = Engine(self.settings, judges=None), judges(self.settings.profile)

        later = Later(self.settings, engine.control)

        def replay(what: Block | _Segments) -> None:
            if isinstance(what, Block) and what.log is not None:
                later.complete(what)
            behind.put(what)

        def take(what: Block | _Segments) -> None:
            if isinstance(what, _Segments):
                hand_segments(what, sinks)
                return
            if what.log is not None:
                have_judged(what, everyone)
            self.tally.take(what.done)
            for sink in sinks:
                sink.take(what.done)

        with _Turns(), _Behind(take) as behind, _Behind(replay) as over:

            def deliver() -> None:
                while (block := engine.take_block()) is not None:
                    over.put(block)

            self._follow(engine, watch, lambda batch: over.put(_Segments(batch)), deliver)
        last = Finished()
        for judge in everyone:
            judge.origins, judge.lost = self.origins, engine.lost
        have_finished(everyone, engine.now, last)
        if last.holds_anything:
            take(Block(last))

    def batches(self) -> Iterator[Any]:
        """Give the batches of the capture, which another thread reads. It would wait for a stream, whatever happens."""
        if not self._ahead:
            for batch, self._lost in self._read():  # noqa: B020
                yield batch
        else:
            self._reader = _Ahead(self._read())
            with self._reader as ahead:
                for batch, self._lost in ahead:
                    yield batch
        self._lost = self._lost_in_all

    def _left(self, batches: Iterator[Any]) -> Iterator[Any]:
        cast("Generator[Any]", batches).close()
        left = self._reader.left if self._reader else []
        for batch, self._lost in left:
            yield batch

    def _read(self) -> Iterator[tuple[Any, Lost | None]]:
        for batch in super().batches():
            yield batch, super().lost()
        self._lost_in_all = super().lost()

    def lost(self) -> Lost | None:
        """Say what was lost, as far as it was known when what is being followed was read."""
        return self._lost

    @property
    def _ahead(self) -> bool:
        return can_be_read_again(self._captured[0])

    def _open_only(self) -> Any:
        source = self._captured[0]
        if not self._ahead:
            return super()._open_only()
        return open_capture(source, self.settings, self._keep, chunk_size=CHUNK, batch_frames=FRAMES, batches=AHEAD + 2)


class _Segments:
    """A batch of segments with memory of its own."""

    def __init__(self, batch: Any) -> None:
        self.count: int = batch.count
        self.segments: array[int] = batch.segments[: batch.count * SEGMENT_SIZE]


class _Turns:
    """Threads wait for their turn to run Python for a short time only."""

    def __enter__(self) -> None:
        self._before = sys.getswitchinterval()
        sys.setswitchinterval(TURN)

    def __exit__(self, *_: object) -> None:
        sys.setswitchinterval(self._before)


class _Ahead:
    """Another thread goes through an iterator, and keeps some of what it gives; what fails there is raised here.

    Attributes
    ----------
    left : list
        What it had given when the reading was stopped, and nobody has taken.
    """

    def __init__(self, things: Iterator[Any]) -> None:
        self._things = things
        self._ready: Queue[tuple[bool, Any]] = Queue(AHEAD)
        self._stopped = False
        self.left: list[Any] = []
        self._thread = Thread(target=self._run, daemon=True)  # whoever presses Ctrl-C again and again gets out

    def _run(self) -> None:
        ending: BaseException | None = None
        try:
            for thing in self._things:
                self._ready.put((True, thing))
                if self._stopped:
                    break
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody can act on it
            ending = error
        self._ready.put((False, ending))

    def __iter__(self) -> Iterator[Any]:
        while True:
            more, thing = self._ready.get()
            if more:
                yield thing
                continue
            self._ready.put((False, None))  # for __exit__
            if thing is not None:
                raise thing
            return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        while (last := self._ready.get())[0]:
            self.left.append(last[1])
        self._thread.join()


class _Behind:
    """Another thread takes one thing after the other; what fails there is raised here."""

    def __init__(self, take: Callable[[Any], None]) -> None:
        self._take = take
        self._waiting: Queue[Any] = Queue(BEHIND)
        self._failed: BaseException | None = None
        self._stopped = False
        self._thread = Thread(target=self._run, daemon=True)  # whoever presses Ctrl-C again and again gets out

    def put(self, what: Any) -> None:
        """Have something taken; waits while too much does."""
        if self._failed is not None:
            raise self._failed
        self._waiting.put(what)

    def _run(self) -> None:
        while (what := self._waiting.get()) is not None:
            if not self._stopped:
                try:
                    self._take(what)
                except BaseException as error:  # noqa: BLE001 - it is raised where somebody can act on it
                    self._failed, self._stopped = error, True

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopped |= kind is not None
        self._waiting.put(None)
        self._thread.join()
        if self._failed is not None and kind is None:
            raise self._failed
