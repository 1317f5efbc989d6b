"""The tables of one analysis as files of a directory: row group by row group, whole or not at all.

Everything is written under a temporary name beside its place and renamed at the end, all files together; what an
earlier run left there of other tables goes at the same moment, so that the directory always speaks of one capture.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tcptrace_fsm.capture.remote import is_remote, put_remote, remove_remote
from tcptrace_fsm.core.finished import Findings
from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.files import new_beside, remove_stale, writing
from tcptrace_fsm.tables.behind import Behind, WritesBehind
from tcptrace_fsm.tables.directory import SUMMARY, left_here, refuse_foreign, remove, summary_text
from tcptrace_fsm.tables.names import TABLE_NAMES
from tcptrace_fsm.tables.writers import FORMATS, TableWriter, check_format, check_tables

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from tcptrace_fsm.capture.timeline import Origins
    from tcptrace_fsm.causes.cause import Diagnosis

__all__ = ["Export"]

FINDINGS_GROUP = 16384  # findings to a row group


class Export:
    """The files of one analysis in one directory: a context that leaves all of them, or none.

    Parameters
    ----------
    directory : path or URL
        Made where it is missing. To a remote storage, everything is copied at the end, ``summary.json`` last.
    form : str
        One of :data:`FORMATS`.
    tables : sequence of str
        Which tables to write.
    origins : Origins or None
        Of several captures: which frame of which stands at each position.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as out:
    ...     with Export(out, "csv", ("anomalies",)) as export:
    ...         export.commit({"connections": {}})
    ...     sorted(path.name for path in Path(out).iterdir())
    ['anomalies.csv', 'summary.json']

    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        form: str = "parquet",
        tables: Sequence[str] | None = None,
        *,
        origins: Origins | None = None,
    ) -> None:
        self._format = check_format(form)
        self._form = form
        self.tables = check_tables(tables)
        self._remote = os.fspath(directory).rstrip("/") if is_remote(os.fspath(directory)) else ""
        self._directory = Path(directory)
        self._origins = origins
        self._temporary: dict[str, Path] = {}
        self._writers: dict[str, TableWriter] = {}
        self._rows: dict[str, Any] = {}
        self._kept: dict[str, dict[str, Any]] = {}
        self._findings = Findings()
        self._diagnoses: list[Diagnosis] = []
        self._segments: Any = None
        self._made: list[Path] = []
        self._given: set[str] = set()

    def __enter__(self) -> Self:
        from tcptrace_fsm.tables.columns import SOURCES, Rows

        try:
            if self._remote:
                self._directory = Path(tempfile.mkdtemp(prefix="tcptrace-fsm-"))
                self._made = [self._directory]
            else:
                with writing(self._directory):
                    self._made = _make(self._directory)
                refuse_foreign(self._directory, [name + self._format.suffix for name in self.tables])
            with writing(self._directory):
                behind = Behind()
                for name in self.tables:
                    writer = self._format.writer(self._place(name + self._format.suffix), name)
                    self._writers[name] = WritesBehind(writer, behind)
                self._place(SUMMARY)
        except UsageError:
            self._discard()
            raise
        self._rows = {name: Rows(SOURCES[name]) for name in self.tables if name in SOURCES}
        if "segments" in self.tables:
            from tcptrace_fsm.tables.segments import SegmentTable

            self._segments = SegmentTable(self._place("segments.spool"), self._origins)
        return self

    def _place(self, final: str) -> Path:
        """Return the temporary name of a file that will have that name."""
        remove_stale(self._directory, final)
        path = self._temporary[final] = new_beside(self._directory / final)
        return path

    def take_segments(self, batch: Any) -> None:
        """Take the labelled segments of a batch."""
        if self._segments is not None:
            with writing(self._directory):
                self._segments.add(batch)

    def put(self, name: str, table: Any) -> None:
        """Take some rows of a table that somebody else has made."""
        self._writers[name].write(table)
        self._given.add(name)

    def take(self, finished: Any) -> None:
        """Take the connections that are over; write each table that has a row group full."""
        with writing(self._directory):
            self._take(finished)

    def _take(self, finished: Any) -> None:
        if "connections" in self._rows:
            self._rows["connections"].add(finished.connections, finished.count, finished.paths)
        if "transitions" in self._rows:
            self._rows["transitions"].add(finished.transitions, finished.transition_count)
        if "waits" in self._rows:
            self._rows["waits"].add(finished.waits, finished.wait_count)
        if self._segments is not None:
            self._segments.learn(finished)
        if "anomalies" in self.tables:
            self._findings += finished.findings
        self._diagnoses += finished.diagnoses
        self._flush()

    def _flush(self, *, everything: bool = False) -> None:
        from tcptrace_fsm.tables.anomalies import findings_table
        from tcptrace_fsm.tables.columns import build

        for name, rows in self._rows.items():
            if rows.is_full or (everything and (rows.count or name not in self._given)):
                self._writers[name].write(build(name, rows.take(), self._origins, self._kept.setdefault(name, {})))
        if "anomalies" in self.tables and (everything or len(self._findings) >= FINDINGS_GROUP):
            self._writers["anomalies"].write(findings_table(self._findings, self._origins))
            self._findings = Findings()
        if "diagnoses" in self.tables and everything:
            from tcptrace_fsm.tables.diagnoses import diagnoses_table

            self._writers["diagnoses"].write(diagnoses_table(self._diagnoses, self._origins))

    def commit(self, summary: dict[str, Any]) -> None:
        """Write what is left, then put all files in place at once.

        Parameters
        ----------
        summary : dict
            What ``summary.json`` is to say.

        """
        with writing(self._directory):
            self._commit(summary)

    def _commit(self, summary: dict[str, Any]) -> None:
        self._flush(everything=True)
        if self._segments is not None:
            if "segments" not in self._given:
                for rows in self._segments.resolved():
                    self._writers["segments"].write(rows)
            self._segments.close()
            self._temporary.pop("segments.spool").unlink(missing_ok=True)
        for writer in self._writers.values():
            writer.close()
        self._writers = {}
        self._temporary[SUMMARY].write_text(summary_text(summary, self.tables, self._form), encoding="utf-8")
        ours = {name + form.suffix for name in TABLE_NAMES for form in FORMATS.values()}
        if self._remote:
            for gone in (SUMMARY, *sorted(ours)):
                remove_remote(f"{self._remote}/{gone}")
            for final, temporary in sorted(self._temporary.items(), key=lambda item: item[0] == SUMMARY):
                put_remote(temporary, f"{self._remote}/{final}")
            return
        for stale in left_here(self._directory) - set(self._temporary):
            remove(self._directory / stale)
        for final, temporary in self._temporary.items():
            if (self._directory / final).is_dir():  # a data set of many files
                remove(self._directory / final)
            temporary.replace(self._directory / final)
        self._temporary = {}
        self._made = []

    def _discard(self) -> None:
        """Leave nothing behind of what was not committed."""
        for written in (self._segments, *self._writers.values()):
            with suppress(Exception):  # it may have failed halfway, and that error is on its way already
                if written is not None:
                    written.close()
        for temporary in self._temporary.values():
            temporary.unlink(missing_ok=True)
        for directory in reversed(self._made):
            with suppress(OSError):  # somebody else put something there
                directory.rmdir()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._discard()


def _make(directory: Path) -> list[Path]:
    """Make a directory and its parents; return those that were missing, outermost first."""
    missing = []
    at = directory
    while not at.exists():
        missing.append(at)
        at = at.parent
    directory.mkdir(parents=True, exist_ok=True)
    return missing[::-1]
