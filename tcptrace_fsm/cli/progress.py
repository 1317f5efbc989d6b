"""While captures are read: a progress bar on a terminal, and Ctrl-C that loses nothing."""

from __future__ import annotations

import gc
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tcptrace_fsm.cli.messages import say
from tcptrace_fsm.errors import printable
from tcptrace_fsm.text.counts import count

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from tcptrace_fsm.runs.run import Run

__all__ = ["drawing", "progress", "watch"]

LARGE = 10 << 20  # bytes; from here on it is worth saying that the kernels are not compiled


class CtrlC:
    """Ctrl-C ends the reading, not the analysis: what was read is finished, summarised and written.

    While a batch is being decoded or fed, the signal is only noted, for half a batch must not be left anywhere; while
    bytes are awaited (a pipe may be silent for hours) it interrupts. What came in the moment before interrupts the wait
    where it begins. A second Ctrl-C interrupts whatever is going on.
    """

    def __init__(self, run: Run) -> None:
        self.asked = False
        self.awaiting = False
        self._run = run

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        first, self.asked = not self.asked, True
        captures = self._run.captures
        if not first or (self.awaiting and (not captures or getattr(captures[-1], "waiting", True))):
            raise KeyboardInterrupt
        if self.awaiting:
            captures[-1].stop()


@contextmanager
def _handling(handler: CtrlC) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def watch(run: Run, batches: Iterator[Any]) -> Iterator[Any]:
    """Pass batches on; stop at Ctrl-C, show progress on a terminal, say once if it could be faster."""
    # What there is now lives as long as the process; looking through it for garbage again and again would find none.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()
    handler, pace = CtrlC(run), Pace()
    with _handling(handler), progress(hidden=run.settings.follow) as advance:
        while not handler.asked:
            handler.awaiting = True
            try:
                batch = next(batches, None)
            except KeyboardInterrupt:
                handler.asked = True
                break
            finally:
                handler.awaiting = False
            if batch is None:
                break
            pace.look(run)
            advance(run)
            yield batch
        run.interrupted = handler.asked


@contextmanager
def progress(*, hidden: bool = False) -> Iterator[Any]:
    """Show a progress bar on a terminal for whatever takes longer than a moment; nothing elsewhere."""
    if hidden or not sys.stderr.isatty():
        yield lambda _run: None
        return
    bar = _Bar()
    try:
        yield bar
    finally:
        bar.stop()


@contextmanager
def drawing() -> Iterator[Any]:
    """Count connections that are drawn, on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    status: Any = None

    def show_drawn(done: int, total: int) -> None:
        nonlocal status
        if status is None:  # not before: while the capture is read again, the bar is there
            from rich.console import Console

            status = Console(stderr=True).status("")
            status.start()
        status.update(f"drawn {done:,} of {count(total, 'connection')}")

    try:
        yield show_drawn
    finally:
        if status is not None:
            status.stop()


class Pace:
    """Says once, at the first large capture, that the kernels are not compiled, and how to mend it."""

    def __init__(self) -> None:
        from tcptrace_fsm.kernels import compiled

        self._done = compiled()

    def look(self, run: Run) -> None:
        """Look at the capture that is being read."""
        if self._done or not run.captures:
            return
        capture = run.captures[-1]
        if max(capture.size or 0, capture.bytes_read) >= LARGE:
            from tcptrace_fsm.version import slow_note

            self._done = True
            say(slow_note())


class _Bar:
    """Appears after half a second, so that quick work stays quiet and does not wait for rich."""

    def __init__(self) -> None:
        from time import monotonic

        self._clock = monotonic
        self._since = monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, run: Run) -> None:
        capture = run.captures[-1]
        if self._bar is None:
            if self._clock() - self._since < 0.5:
                return
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                DownloadColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("")
            self._bar.start()
        frames = count(sum(c.frames for c in run.captures), "frame")
        self._bar.update(
            self._task,
            description=f"{printable(capture.name.rsplit('/', 1)[-1])}  {frames}",
            completed=capture.bytes_read,
            total=capture.size,
        )

    def stop(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
