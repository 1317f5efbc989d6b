"""Writing behind: a second thread writes a row group while the capture is read on.

Kernels and Arrow let other threads run meanwhile, so that on two processors writing costs no time of the reader's. One
row group at a time is being written; the next one waits for it, so that memory holds two at most.
"""

from __future__ import annotations

from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tcptrace_fsm.tables.writers import TableWriter

__all__ = ["Behind", "WritesBehind"]


class Behind:
    """The second thread: does one thing at a time, and reports what failed to whoever comes next."""

    def __init__(self) -> None:
        self._thread: Thread | None = None
        self._failed: BaseException | None = None

    def begin(self, work: Callable[[], None]) -> None:
        """Have something done, once what was begun before is done."""
        self.wait()
        self._thread = Thread(target=self._run, args=(work,))
        self._thread.start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - it is raised where somebody can act on it
            self._failed = error

    def wait(self) -> None:
        """Wait for what was begun; raises what it raised."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._failed is not None:
            error, self._failed = self._failed, None
            raise error


class WritesBehind:
    """A writer of a table whose row groups the second thread writes."""

    def __init__(self, writer: TableWriter, behind: Behind) -> None:
        self._writer = writer
        self._behind = behind

    def write(self, table: Any) -> None:
        """Hand some rows over."""
        self._behind.begin(lambda: self._writer.write(table))

    def close(self) -> None:
        """Finish the file, whether or not all could be written."""
        try:
            self._behind.wait()
        finally:
            self._writer.close()
