"""The tables of one analysis as data sets of many files."""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tcptrace_fsm.capture.remote import is_remote, put_remote, remove_remote, write_remote
from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.tables.directory import SUMMARY, left_here, refuse_foreign, remove, summary_text
from tcptrace_fsm.tables.writers import TableWriter, check_format, check_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from tcptrace_fsm.capture.timeline import Origins
    from tcptrace_fsm.causes.cause import Diagnosis

__all__ = ["Part", "PartitionedExport"]


class PartitionedExport:
    """The tables of one analysis as data sets of many files, written by whoever has made a part of them.

    ``DIR/connections.parquet/part-00017.parquet`` and so on, as pandas, Polars, DuckDB, Spark and Dask read them. In a
    directory, all is written under temporary names and renamed at the end; in a remote storage, which cannot rename,
    ``summary.json`` comes last: where it stands, everything does.

    Parameters
    ----------
    directory : path or URL
        As all writers see it.
    form : str
        One of :data:`FORMATS`.
    tables : sequence of str
    origins : Origins or None
        Of several captures.

    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        form: str = "parquet",
        tables: Sequence[str] | None = None,
        *,
        origins: Origins | None = None,
    ) -> None:
        self.tables = check_tables(tables)
        self._format = form
        self._place = os.fspath(directory)
        self._remote = is_remote(self._place)
        self._suffix = check_format(form).suffix
        self._token = os.urandom(4).hex()
        self._origins = origins
        self._findings: list[Any] = []
        self._diagnoses: list[Diagnosis] = []

    def _folder(self, name: str) -> str:
        final = f"{name}{self._suffix}"
        return f"{self._place.rstrip('/')}/{final if self._remote else f'.{final}.{self._token}.partial'}"

    @property
    def part(self) -> Callable[[int], Part]:
        """What writes the part of some number: a function that can travel to another machine."""
        return partial(Part, {name: self._folder(name) for name in self.tables}, self._format)

    def take(self, finished: Any) -> None:
        """Take findings and diagnoses about the whole."""
        self._findings += finished.findings
        self._diagnoses += finished.diagnoses

    def __enter__(self) -> Self:
        try:
            if self._remote:
                for name in self.tables:
                    remove_remote(self._folder(name))
                remove_remote(f"{self._place.rstrip('/')}/{SUMMARY}")
            else:
                refuse_foreign(Path(self._place), [name + self._suffix for name in self.tables])
                for name in self.tables:
                    Path(self._folder(name)).mkdir(parents=True)
        except OSError as reason:
            self._discard()
            raise UsageError(f"cannot write to {self._place}: {reason}") from reason
        return self

    def commit(self, summary: dict[str, Any]) -> None:
        """Write what is left, then put everything in place."""
        from tcptrace_fsm.tables.anomalies import findings_table
        from tcptrace_fsm.tables.columns import SOURCES, Rows, build
        from tcptrace_fsm.tables.diagnoses import diagnoses_table
        from tcptrace_fsm.tables.segments import SegmentTable

        with self.part(-1) as last:  # each table has at least this part, which tells its columns
            for name in self.tables:
                if name == "anomalies":
                    last.put(name, findings_table(self._findings, self._origins))
                elif name == "diagnoses":
                    last.put(name, diagnoses_table(self._diagnoses, self._origins))
                elif name == "segments":
                    last.put(name, next(SegmentTable(origins=self._origins).resolved()))
                else:
                    last.put(name, build(name, Rows(SOURCES[name]).take(), self._origins))
        text = summary_text(summary, self.tables, self._format)
        if self._remote:
            write_remote(f"{self._place.rstrip('/')}/{SUMMARY}", text.encode())
            return
        place = Path(self._place)
        for name in left_here(place):
            remove(place / name)
        for name in self.tables:
            Path(self._folder(name)).rename(place / f"{name}{self._suffix}")
        partial_summary = place / f".{SUMMARY}.{self._token}.partial"
        partial_summary.write_text(text, encoding="utf-8")
        partial_summary.replace(place / SUMMARY)

    def _discard(self) -> None:
        if not self._remote:
            for name in self.tables:
                shutil.rmtree(self._folder(name), ignore_errors=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._discard()


class Part:
    """One part of each table: a context that leaves whole files, or none. Written anew, it replaces itself.

    Parameters
    ----------
    folders : dict of str to str
        Where each table's parts are.
    form : str
        One of :data:`FORMATS`.
    number : int
        Of the part; -1 for the one that concerns all.

    """

    def __init__(self, folders: dict[str, str], form: str, number: int) -> None:
        self.tables = tuple(folders)
        self._folders = folders
        self._format = check_format(form)
        self._name = f"part-{'all' if number < 0 else f'{number:05d}'}{self._format.suffix}"
        self._temporary = Path()
        self._writers: dict[str, TableWriter] = {}

    def __enter__(self) -> Self:
        self._temporary = Path(tempfile.mkdtemp(prefix="tcptrace-fsm-"))
        return self

    def put(self, name: str, table: Any) -> None:
        """Write some rows of a table."""
        if name not in self._writers:
            self._writers[name] = self._format.writer(self._temporary / f"{name}.part", name)
        self._writers[name].write(table)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for name, writer in self._writers.items():
                writer.close()
                if kind is None:
                    self._deliver(self._temporary / f"{name}.part", self._folders[name])
        finally:
            shutil.rmtree(self._temporary, ignore_errors=True)

    def _deliver(self, made: Path, folder: str) -> None:
        if is_remote(folder):
            put_remote(made, f"{folder}/{self._name}")
            return
        beside = Path(folder) / f".{self._name}.{os.urandom(4).hex()}"  # another worker may be at the same part
        shutil.copyfile(made, beside)
        beside.replace(Path(folder) / self._name)
