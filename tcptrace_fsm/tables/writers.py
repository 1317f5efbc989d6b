"""Tables to files: row group by row group while the capture is read, whole or not at all.

Everything is written under a temporary name beside its place and renamed at the end, all files together; what an
earlier run left there of other tables goes at the same moment, so that the directory always speaks of one capture.

To add a format: a class with ``write`` and ``close``, and its line in :data:`FORMATS`.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, cast

from tcptrace_fsm.capture.remote import is_remote, put_remote, remove_remote, write_remote
from tcptrace_fsm.errors import OutputError, UsageError
from tcptrace_fsm.files import new_beside, remove_stale, writing
from tcptrace_fsm.tables import schema
from tcptrace_fsm.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from tcptrace_fsm.capture.timeline import Origins
    from tcptrace_fsm.causes.cause import Diagnosis

__all__ = ["FORMATS", "Export", "Format", "Part", "PartitionedExport", "TableWriter", "check_format", "check_tables"]

DEFAULT_TABLES = ("connections", "transitions", "anomalies", "diagnoses", "waits")
SUMMARY = "summary.json"
SKIPPED_BY = ("conn_id", "time", "frame", "first_time", "last_time", "kind", "severity")  # columns with statistics
FINDINGS_GROUP = 16384  # findings to a row group


class TableWriter(Protocol):
    """Writes one table to one file."""

    def write(self, table: Any) -> None:
        """Write some rows: a pyarrow table of this writer's kind."""

    def close(self) -> None:
        """Finish the file."""


class ParquetTable:
    """Parquet: each column in the encoding that suits it, each call one row group.

    Numbers are written as differences (DELTA_BINARY_PACKED), which makes them smaller than lz4 does, in less time; lz4
    is for texts. Statistics are kept of what a reader may want to skip row groups by.

    Columns of few distinct words come as Arrow dictionaries, which are the cheapest to write. Readers are to see plain
    strings, so the Arrow schema that is kept in the file is the declared one.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        self._writer: Any = None

    def write(self, table: Any) -> None:
        """Write one row group."""
        import base64

        import pyarrow as pa
        import pyarrow.parquet as pq

        from tcptrace_fsm.tables.columns import arrow_schema, has_files

        if self._writer is None:
            files = has_files(table, self._name)
            numbers: dict[str, str] = {}
            repeats: list[str] = []
            compression: dict[str, str] = {}
            for field, column in zip(table.schema, schema.declared(self._name, files=files), strict=True):
                compression[field.name] = "none"
                if pa.types.is_dictionary(field.type):
                    repeats.append(field.name)
                elif column.type in {"string", "list<int64>", "list<string>"}:
                    compression[field.name] = "lz4"
                else:
                    numbers[field.name] = "DELTA_BINARY_PACKED"
            # The type stubs know less than the function does.
            self._writer = pq.ParquetWriter(
                self._path,
                table.schema,
                compression=cast("Any", compression),
                use_dictionary=cast("Any", repeats),
                column_encoding=numbers,
                write_statistics=cast("Any", [name for name in SKIPPED_BY if name in table.schema.names]),
                store_schema=False,
            )
            declared = arrow_schema(self._name, files=files)
            kept = {b"ARROW:schema": base64.b64encode(declared.serialize()), **declared.metadata}
            self._writer.add_key_value_metadata(kept)
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()


class CsvTable:
    """CSV: ISO 8601 times with nine decimals and Z, durations in seconds, lists joined by spaces, null empty.

    Arrow's own CSV writer puts quotes around every text; here only a text that needs them gets them (RFC 4180). A
    table's rows are joined to one long Arrow text, whose bytes are the file.
    """

    def __init__(self, path: Path, name: str) -> None:
        del name  # the table brings the names of its columns
        self._file = path.open("wb")
        self._begun = False

    def write(self, table: Any) -> None:
        """Append rows."""
        import pyarrow.compute as pc

        if not self._begun:
            self._begun = True
            self._file.write((",".join(table.column_names) + "\n").encode())
        for batch in table.to_batches(max_chunksize=65536):
            fields = [csv_text(column) for column in batch.columns]
            fields[-1] = pc.binary_join_element_wise(fields[-1], "\n", "", null_handling="replace")
            rows = pc.binary_join_element_wise(*fields, ",", null_handling="replace")
            offsets, text = rows.buffers()[1:]
            ends = memoryview(offsets).cast("i")
            self._file.write(memoryview(text)[ends[rows.offset] : ends[rows.offset + len(rows)]])

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


def csv_text(column: Any) -> Any:
    """Turn an Arrow array into the texts that CSV shows of it."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_dictionary(kind):
        # Its few words are looked at once; the result may have a null word, which is a null.
        return pc.take(_quoted(column.dictionary), column.indices)
    if pa.types.is_string(kind):
        return _quoted(column)
    if pa.types.is_timestamp(kind):
        # As text without a zone: "2026-11-22 10:01:03.123456789".
        naive = column.cast(pa.timestamp("ns")).cast(pa.string())
        return pc.binary_join_element_wise(pc.utf8_replace_slice(naive, 10, 11, "T"), "Z", "")
    if pa.types.is_duration(kind):
        # In whole numbers: a float would not hold the nanoseconds of a long one, a decimal writes "6E-9" of a short.
        signed: Any = column.cast(pa.int64())
        billion: Any = 10**9
        none: Any = 0
        sign: Any = pc.if_else(pc.less(signed, none), "-", "")
        nanoseconds: Any = pc.abs(signed)
        seconds: Any = pc.divide(nanoseconds, billion)
        rest: Any = pc.subtract(nanoseconds, pc.multiply(seconds, billion))
        whole = pc.binary_join_element_wise(sign, seconds.cast(pa.string()), "")
        return pc.binary_join_element_wise(whole, pc.utf8_lpad(rest.cast(pa.string()), 9, "0"), ".")
    if pa.types.is_list(kind):
        return pc.binary_join(column.cast(pa.list_(pa.string())), " ")
    return column.cast(pa.string())


def _quoted(texts: Any) -> Any:
    """Put quotes where a comma, a quote or a line break asks for them."""
    import pyarrow.compute as pc

    asks = pc.fill_null(pc.match_substring_regex(texts, '[",\r\n]'), False)
    if not pc.any(asks).as_py():
        return texts
    quoted = pc.binary_join_element_wise('"', pc.replace_substring(texts, '"', '""'), '"', "")
    return pc.if_else(asks, quoted, texts)


class Format(NamedTuple):
    """One way to write tables: the ending of its files, and what writes one."""

    suffix: str
    writer: Callable[[Path, str], TableWriter]


FORMATS: dict[str, Format] = {
    "parquet": Format(".parquet", ParquetTable),
    "csv": Format(".csv", CsvTable),
}


def check_format(name: str) -> Format:
    """Return the format of that name.

    Raises
    ------
    UsageError
        With the names that there are.

    """
    if name not in FORMATS:
        raise UsageError(f"no format {name!r}; there are {', '.join(FORMATS)}")
    return FORMATS[name]


def check_tables(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the tables asked for, in their usual order; a string may name several, with commas.

    Raises
    ------
    UsageError
        For a table that there is not, with the names that there are.

    """
    if names is None:
        return DEFAULT_TABLES
    asked = [n.strip() for n in names.split(",")] if isinstance(names, str) else list(names)
    for name in asked:
        if name not in schema.TABLES:
            raise UsageError(f"no table {name!r}; there are {', '.join(schema.TABLES)}")
    return tuple(name for name in schema.TABLES if name in asked)


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
        from tcptrace_fsm.tables.columns import SOURCES, Rows, build, findings_table
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
        text = _summary_text(summary, self.tables, self._format)
        if self._remote:
            write_remote(f"{self._place.rstrip('/')}/{SUMMARY}", text.encode())
            return
        place = Path(self._place)
        for name in left_here(place):
            _remove(place / name)
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


def _summary_text(summary: dict[str, Any], tables: Sequence[str], form: str) -> str:
    """``summary.json``, which says what was written beside it: a later run may replace that, and nothing else."""
    options = {**summary.get("options", {}), "tables": list(tables), "format": form}
    versions = summary.get("versions") or {"tcptrace-fsm": __version__}
    return json.dumps({**summary, "options": options, "versions": versions}, indent=2, ensure_ascii=False) + "\n"


def left_here(directory: Path) -> set[str]:
    """The files and data sets that an earlier run left in a directory, as its ``summary.json`` tells."""
    try:
        summary = json.loads((directory / SUMMARY).read_text(encoding="utf-8"))
        options = summary["options"] if "tcptrace-fsm" in summary["versions"] else {}
        suffix = FORMATS[options["format"]].suffix
        return {f"{name}{suffix}" for name in options["tables"] if name in schema.TABLES}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def refuse_foreign(directory: Path, names: Sequence[str]) -> None:
    """Refuse to write over what somebody else has put there.

    Raises
    ------
    OutputError
        When one of these names is taken and no earlier run says that it is its own.

    """
    own = left_here(directory)
    for name in names:
        if name not in own and os.path.lexists(directory / name):
            raise OutputError(
                f"cannot write to {directory}: {name} is there already, and {SUMMARY} does not say that it is from an "
                "earlier run; remove it or choose another directory"
            )


def _remove(path: Path) -> None:
    """Remove what an earlier run left, a file or a data set."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
        self._findings: list[Any] = []
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
                for name in self.tables:
                    self._writers[name] = self._format.writer(self._place(name + self._format.suffix), name)
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
        from tcptrace_fsm.tables.columns import SOURCES, build, findings_table

        for name, rows in self._rows.items():
            if rows.count >= SOURCES[name].group or (everything and (rows.count or name not in self._given)):
                self._writers[name].write(build(name, rows.take(), self._origins))
        if "anomalies" in self.tables and (everything or len(self._findings) >= FINDINGS_GROUP):
            self._writers["anomalies"].write(findings_table(self._findings, self._origins))
            self._findings = []
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
        self._temporary[SUMMARY].write_text(_summary_text(summary, self.tables, self._form), encoding="utf-8")
        ours = {name + form.suffix for name in schema.TABLES for form in FORMATS.values()}
        if self._remote:
            for gone in (SUMMARY, *sorted(ours)):
                remove_remote(f"{self._remote}/{gone}")
            for final, temporary in sorted(self._temporary.items(), key=lambda item: item[0] == SUMMARY):
                put_remote(temporary, f"{self._remote}/{final}")
            return
        for stale in left_here(self._directory) - set(self._temporary):
            _remove(self._directory / stale)
        for final, temporary in self._temporary.items():
            if (self._directory / final).is_dir():  # a data set of many files
                _remove(self._directory / final)
            temporary.replace(self._directory / final)
        self._temporary = {}
        self._made = []

    def _discard(self) -> None:
        """Leave nothing behind of what was not committed."""
        if self._segments is not None:
            self._segments.close()
        for writer in self._writers.values():
            with suppress(Exception):  # it may have failed halfway, and that error is on its way already
                writer.close()
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
