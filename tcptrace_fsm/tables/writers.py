"""The formats of tables, each with what writes one row group by row group while the capture is read.

To add a format: a class with ``write`` and ``close``, and its line in :data:`FORMATS`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.tables.names import DEFAULT_TABLES, TABLE_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


__all__ = ["FORMATS", "Format", "TableWriter", "check_format", "check_tables"]

SKIPPED_BY = ("conn_id", "time", "frame", "first_time", "last_time", "kind", "severity")  # columns with statistics


class TableWriter(Protocol):
    """Writes one table to one file."""

    def write(self, table: Any) -> None:
        """Write some rows: a pyarrow table of this writer's kind."""

    def close(self) -> None:
        """Finish the file."""


class ParquetTable:
    """Parquet: each column in the encoding that suits it, each call one row group.

    Numbers are written as differences (DELTA_BINARY_PACKED), which makes them smaller than lz4 does, in less time; lz4
    is for texts and fractions. Statistics are kept of what a reader may want to skip row groups by.

    Columns of few distinct words come as Arrow dictionaries, which are the cheapest to write. Readers are to see plain
    strings, so the Arrow schema that is kept in the file is the declared one.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        self._writer: Any = None
        self._seconds: dict[str, tuple[Any, Any]] = {}

    def write(self, table: Any) -> None:
        """Write one row group."""
        import base64

        import pyarrow as pa
        import pyarrow.parquet as pq

        from tcptrace_fsm.tables import schema
        from tcptrace_fsm.tables.columns import arrow_schema, has_files, with_seconds

        files = has_files(table, self._name)
        table = with_seconds(table, self._name, self._seconds)
        if self._writer is None:
            columns = (*schema.declared(self._name, files=files), *schema.seconds(self._name))
            numbers: dict[str, str] = {}
            repeats: list[str] = []
            compression: dict[str, str] = {}
            for field, column in zip(table.schema, columns, strict=True):
                compression[field.name] = "none"
                if pa.types.is_dictionary(field.type):
                    repeats.append(field.name)
                elif column.type in {"string", "list<int64>", "list<string>", "float64"}:
                    compression[field.name] = "lz4"
                else:
                    numbers[field.name] = "DELTA_BINARY_PACKED"
            # The type stubs know less than the function does.
            self._file = pa.OSFile(cast("Any", os.fsencode(self._path)), "wb")  # a path may be no text
            self._writer = pq.ParquetWriter(
                self._file,
                table.schema,
                compression=cast("Any", compression),
                use_dictionary=cast("Any", repeats),
                column_encoding=numbers,
                write_statistics=cast("Any", [name for name in SKIPPED_BY if name in table.schema.names]),
                store_schema=False,
            )
            declared = arrow_schema(self._name, files=files, seconds=True)
            kept = {b"ARROW:schema": base64.b64encode(declared.serialize()), **declared.metadata}
            self._writer.add_key_value_metadata(kept)
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            with self._file:
                self._writer.close()


class CsvTable:
    """CSV: ISO 8601 times with nine decimals and Z, durations in seconds, lists joined by spaces, null empty.

    Arrow's own CSV writer puts quotes around every text; here only a text that needs them gets them (RFC 4180). A
    table's rows are joined to one long Arrow text, whose bytes are the file.
    """

    def __init__(self, path: Path, name: str) -> None:
        from tcptrace_fsm.tables import schema

        self._seconds = schema.seconds(name)
        self._file = path.open("wb")
        self._begun = False

    def write(self, table: Any) -> None:
        """Append rows."""
        import pyarrow.compute as pc

        if not self._begun:
            self._begun = True
            names = [*table.column_names, *(column.name for column in self._seconds)]
            self._file.write((",".join(names) + "\n").encode())
        for batch in table.to_batches(max_chunksize=65536):
            fields = [csv_text(column) for column in batch.columns]
            # Durations are seconds here anyhow; the same queries are to work on either format.
            fields += [fields[table.column_names.index(c.name.removesuffix("_s"))] for c in self._seconds]
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
        return _quoted(pc.binary_join(column.cast(pa.list_(pa.string())), " "))
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
        if name not in TABLE_NAMES:
            raise UsageError(f"no table {name!r}; there are {', '.join(TABLE_NAMES)}")
    return tuple(name for name in TABLE_NAMES if name in asked)
