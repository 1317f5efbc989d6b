"""Records in, Arrow tables out: blocks of ``int64`` words become typed columns of :mod:`tcptrace_fsm.tables.schema`.

Three steps, all of them whole columns at a time. :class:`Rows` keeps of each block only the words that some column
reads, column by column. :func:`build` turns them into a table, its rows by ``conn_id``. :func:`to_pandas` makes that a
DataFrame. Words that are codes become Arrow dictionaries: cheap to make, cheap to write; readers see plain strings.

numpy and pyarrow are imported here and wherever this module is: nothing on the way to a terminal summary imports it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from tcptrace_fsm.capture.codes import FILE_SHIFT, FRAME_MASK
from tcptrace_fsm.core.grouping import Field, Records, counting, picked
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.kernels.columns import scatter
from tcptrace_fsm.kernels.records import Scattering
from tcptrace_fsm.tables import schema
from tcptrace_fsm.tables.arrow import ARROW_TYPES, coded, numbers, words
from tcptrace_fsm.tables.derived import DERIVED
from tcptrace_fsm.tables.limits import LIMIT_WORDS
from tcptrace_fsm.tables.waits import WAIT_WORDS

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from tcptrace_fsm.capture.timeline import Origins

    Words = NDArray[np.int64]

__all__ = [
    "SOURCES",
    "Rows",
    "arrow_schema",
    "assemble",
    "build",
    "has_files",
    "plain",
    "to_pandas",
    "with_seconds",
]


# --- types -----------------------------------------------------------------------------------------------------------
def arrow_schema(table: str, *, files: bool = False, seconds: bool = False) -> Any:
    """Make the table's Arrow schema, with the metadata that gives nullable integers their pandas type.

    Parameters
    ----------
    table : str
        Which of :data:`tcptrace_fsm.tables.schema.TABLES`.
    files : bool
        With the columns that name captures.
    seconds : bool
        With the columns that files have for readers without durations.

    """
    columns = schema.declared(table, files=files) + (schema.seconds(table) if seconds else ())
    fields = [pa.field(c.name, ARROW_TYPES[c.type], nullable=c.nullable) for c in columns]
    pandas_types = {
        "string": ("unicode", "str"),
        "timestamp": ("datetimetz", "datetime64[ns]"),
        "duration": ("timedelta64[ns]", "timedelta64[ns]"),
        "list<int64>": ("list[int64]", "object"),
        "list<string>": ("list[unicode]", "object"),
    }
    described = []
    for c in columns:
        pandas_type, numpy_type = pandas_types.get(c.type, (c.type, c.type))
        if c.nullable and c.type == "int64":
            numpy_type = "Int64"
        zone = {"timezone": "UTC"} if c.type == "timestamp" else None
        described.append(
            {
                "name": c.name,
                "field_name": c.name,
                "pandas_type": pandas_type,
                "numpy_type": numpy_type,
                "metadata": zone,
            }
        )
    metadata = {"index_columns": [], "column_indexes": [], "columns": described, "pandas_version": "2.2.0"}
    return pa.schema(fields, metadata={b"pandas": json.dumps(metadata).encode()})


def has_files(table: Any, name: str) -> bool:
    """Whether a table of that kind has the columns that name captures."""
    return bool(table.num_columns > len(schema.TABLES[name]))


def missing_of(column: Any) -> NDArray[np.bool_]:
    """Which values of an Arrow array are not there; Arrow's own functions would import all of its compute module."""
    bits = np.unpackbits(np.frombuffer(column.buffers()[0], np.uint8), bitorder="little")
    return np.equal(bits[column.offset : column.offset + len(column)], 0)


def with_seconds(table: Any, name: str, kept: dict[str, tuple[Any, Any]] | None = None) -> Any:
    """Append each duration in seconds: parquet has no type for durations, and not every reader knows Arrow's.

    ``kept`` holds those of an earlier row group: a column that is in the same memory is not divided again.
    """
    arrays, fields = list(table.columns), list(table.schema)
    kept = {} if kept is None else kept
    for column in schema.seconds(name):
        chunked = table.column(column.name.removesuffix("_s"))
        lengths = chunked.chunk(0) if chunked.num_chunks == 1 else chunked.combine_chunks()
        old = kept.get(column.name)
        if old is None or _memory(old[0]) != _memory(lengths):
            values = words(lengths.view(pa.int64())) / 1e9
            missing = missing_of(lengths) if lengths.null_count else None
            old = kept[column.name] = (lengths, numbers(values, missing))
        fields.append(pa.field(column.name, pa.float64(), nullable=column.nullable))
        arrays.append(old[1])
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, metadata=table.schema.metadata))


def _memory(column: Any) -> tuple[Any, ...]:
    """Where an array of numbers lies."""
    return len(column), column.offset, *(part and part.address for part in column.buffers())


def plain(table: Any, name: str) -> Any:
    """Replace dictionaries by the strings they stand for, so that the table has exactly its declared schema."""
    return table.cast(arrow_schema(name, files=has_files(table, name)))


def to_pandas(tables: Sequence[Any], name: str) -> pd.DataFrame:
    """One DataFrame of the given tables (all of the named kind), ordered by connection.

    Parameters
    ----------
    tables : sequence of pyarrow.Table
        In the order of their rows.
    name : str
        Which of :data:`tcptrace_fsm.tables.schema.TABLES`.

    """
    frame: pd.DataFrame = pa.concat_tables([_categorical(t, name) for t in tables]).to_pandas()
    for column in schema.TABLES[name]:
        if column.categorical and column.choices:
            categories = frame[column.name].cat.set_categories(column.choices, ordered=column.ordered)
            frame[column.name] = categories
    if name != "segments" and len(tables) > 1:
        frame = frame.sort_values("conn_id", kind="stable", ignore_index=True)
    return frame


def _categorical(table: Any, name: str) -> Any:
    """Leave those columns coded that have few values, and give all others their declared type."""
    declared = arrow_schema(name, files=has_files(table, name))
    few = {c.name for c in schema.TABLES[name] if c.categorical}
    kind = pa.dictionary(pa.int32(), pa.string())
    fields = [pa.field(f.name, kind if f.name in few else f.type, nullable=f.nullable) for f in declared]
    metadata = json.loads(declared.metadata[b"pandas"])
    metadata["columns"] = [c for c in metadata["columns"] if c["name"] not in few]
    return table.cast(pa.schema(fields, metadata={b"pandas": json.dumps(metadata).encode()}))


# --- blocks of records ------------------------------------------------------------------------------------------------
class Source(NamedTuple):
    """Where a table's rows come from: size of a record, its conn_id, the words that columns read, rows to a group.

    Row groups are sized for their columns to fit the processor's cache, and for the records of one to take little
    memory: measured, eight times larger is slower.
    """

    size: int
    key: int
    words: tuple[int, ...]
    group: int


def _words_of(table: str, *more: int) -> tuple[int, ...]:
    return tuple(sorted({c.word for c in schema.TABLES[table] if c.word is not None} | set(more)))


def _endpoint_words(*names: int) -> list[int]:
    return [k.C_ENDPOINTS + side * k.ENDPOINT_SIZE + e for side in (k.CLIENT, k.SERVER) for e in names]


SOURCES: dict[str, Source] = {
    "connections": Source(
        k.CONNECTION_SIZE,
        k.C_ID,
        _words_of(
            "connections",
            *(k.C_NET, k.C_PORTS, k.C_CLIENT_HI, k.C_CLIENT_LO, k.C_SERVER_HI, k.C_SERVER_LO),
            *(k.C_SYN_TIME, k.C_SYN_ACK_TIME, k.C_HANDSHAKE_ACK_TIME),
            *(k.C_HISTORY, k.C_HISTORY + 1, k.C_HISTORY + 2, k.C_HISTORY_LENGTH),
            *(k.C_ZEEK, k.C_COMPLETENESS),
            *_endpoint_words(k.E_BASE, k.E_BASE_KNOWN, k.E_RTT_COUNT),
            *_endpoint_words(*range(k.E_RTT_MARKER, k.E_RTT_MARKER + 5)),
            *WAIT_WORDS,
            *LIMIT_WORDS,
        ),
        8192,
    ),
    "transitions": Source(k.TRANSITION_SIZE, k.T_CONNECTION, tuple(range(k.TRANSITION_SIZE)), 65536),
    "waits": Source(k.WAIT_SIZE, k.WT_CONNECTION, tuple(range(k.WAIT_SIZE)), 65536),
}


MANY_GROUPS = 256  # a parquet file's footer keeps 0.3 MB of memory for each: beyond so many, they are twice as large


class Columns(dict[int, "Words"]):
    """The rows of a row group, column by column.

    Attributes
    ----------
    common : dict of int to int
        The words that are the same in all rows; their columns are made when somebody asks for them.
    count : int
    read : set of int
        The words that were asked for.
    """

    def __init__(self, columns: Iterable[tuple[int, Words]], common: dict[int, int], count: int) -> None:
        super().__init__(columns)
        self.common = common
        self.count = count
        self.read: set[int] = set()

    def __getitem__(self, word: int) -> Words:
        self.read.add(word)
        if word in self.common:
            return np.full(self.count, self.common[word], dtype=np.int64)
        return super().__getitem__(word)


class Part(NamedTuple):
    """Some records of a row group: ``words`` of each, and what all of them have in common."""

    block: array[int]
    count: int  # type: ignore[assignment]  # a tuple has a method of that name
    words: tuple[int, ...]
    common: dict[int, int]


class Rows:
    """Collects records until there are enough for a row group, keeping only the words that some column reads.

    Of records that are known to be much alike, a flood's, only the words are kept that differ.

    Parameters
    ----------
    source : Source
        Which words to keep.

    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._whole = tuple(range(source.size))
        self._parts: list[Part] = []
        self._paths: list[array[int] | None] = []
        self._groups = 0
        self.count = 0

    @property
    def is_full(self) -> bool:
        """Whether there are enough for a row group."""
        return self.count >= self._source.group << (self._groups >= MANY_GROUPS)

    def add(self, block: array[int], count: int, paths: array[int] | None = None) -> None:
        """Take the first ``count`` records of a block, which is kept, and what two capture points tell of them."""
        if count:
            part = Part(block, count, self._whole, {})
            if isinstance(block, Records):
                part = self._condensed(block, count)
            self._parts.append(part)
            self._paths.append(paths)
            self.count += count

    def _condensed(self, block: Records, count: int) -> Part:
        """Keep of records what differs among them."""
        source = self._source
        common = {w: block[w] for w in source.words if w != source.key and block.share(Field(w))}
        words = tuple(w for w in source.words if w not in common)
        return Part(picked(block, counting(count, source.size), [Field(w) for w in words]), count, words, common)

    def take(self) -> Columns:
        """Hand out what was collected, by word of the record, ordered by conn_id; begin anew."""
        source, count = self._source, self.count
        keys = [
            np.frombuffer(block, np.int64, n * len(held))[held.index(source.key) :: len(held)]
            for block, n, held, _ in self._parts
        ]
        places = np.arange(count)
        key = np.concatenate(keys) if keys else places
        if (key[1:] < key[:-1]).any():
            places[np.argsort(key, kind="stable")] = np.arange(count)
        common: dict[int, int] = {}
        if self._parts:
            common = dict(set.intersection(*(set(part.common.items()) for part in self._parts)))
        wanted = [word for word in source.words if word not in common]
        # Columns that lie a round number of bytes apart would fight for the same lines of the processor's cache.
        stride = count + 8 + (count & 1)
        columns = np.empty((len(wanted), stride), dtype=np.int64)
        scattering = Scattering(places=places, columns=columns.reshape(-1), stride=stride)
        begin = 0
        for block, n, held, alike in self._parts:
            chosen = [j for j, word in enumerate(wanted) if word not in alike]
            for j in {*range(len(wanted))}.difference(chosen):
                columns[j, places[begin : begin + n]] = alike[wanted[j]]
            at = np.array([held.index(wanted[j]) for j in chosen], dtype=np.int64)
            if len(chosen) == len(wanted):
                scattering.block, scattering.size = block, len(held)
                scattering.wanted, scattering.count = at, len(at)
                scatter(n, begin, scattering)
            else:
                records = np.frombuffer(block, np.int64, n * len(held)).reshape(n, -1)
                columns[np.array(chosen)[:, None], places[begin : begin + n]] = records[:, at].T
            begin += n
        made = Columns(zip(wanted, columns[:, :count], strict=True), common, count)
        made.update(self._path_words(places))
        self._parts, self._paths, self.count = [], [], 0
        self._groups += 1
        return made

    def _path_words(self, places: Words) -> dict[int, Words]:
        """Give the words of the path records, numbered on from those of a connection; none with one capture point."""
        if all(paths is None for paths in self._paths):
            return {}
        words = np.full((k.PATH_SIZE, self.count), -1, dtype=np.int64)
        begin = 0
        for (_, n, *_), paths in zip(self._parts, self._paths, strict=True):
            if paths is not None:
                words[:, places[begin : begin + n]] = np.frombuffer(paths, np.int64, n * k.PATH_SIZE).reshape(n, -1).T
            begin += n
        return {k.CONNECTION_SIZE + i: words[i] for i in range(k.PATH_SIZE)}


class Kept(NamedTuple):
    """A column that was made of nothing but words that all rows have in common: of so many rows, of these words."""

    count: int  # type: ignore[assignment]  # a tuple has a method of that name
    words: dict[int, int]
    values: Any


def build(
    name: str, rows: dict[int, Words], origins: Origins | None = None, kept: dict[str, Kept] | None = None
) -> Any:
    """Make the Arrow table of these rows.

    Parameters
    ----------
    name : str
        ``connections``, ``transitions`` or ``waits``.
    rows : dict of int to int64[n]
        Values by word of the record, as :meth:`Rows.take` gives them.
    origins : Origins or None
        Of several captures: which frame of which stands at each position.
    kept : dict or None
        Columns of earlier row groups, for those that come out the same again.

    """
    declared = schema.declared(name, files=origins is not None)
    arrays = []
    for column in declared:
        if kept is None or not isinstance(rows, Columns):
            arrays.append(_made(column, rows, origins))
            continue
        old = kept.get(column.name)
        if old is None or old.count != rows.count or not old.words.items() <= rows.common.items():
            rows.read = set()
            old = Kept(rows.count, {}, _made(column, rows, origins))
            if rows.read <= rows.common.keys():
                kept[column.name] = old._replace(words={word: rows.common[word] for word in rows.read})
        arrays.append(old.values)
    return assemble(name, arrays, files=origins is not None)


def _made(column: schema.Column, rows: dict[int, Words], origins: Origins | None) -> Any:
    """One column."""
    if column.word is None:
        return DERIVED[column.name](rows)
    if origins is not None and (column.frames or column.after):
        return _place(column, origins.codes(rows[column.word]), origins)
    return _column(column, rows[column.word])


def assemble(name: str, arrays: Sequence[Any], *, files: bool = False) -> Any:
    """Make one table of a table's columns, in declared order; nullable only where declared so."""
    declared = schema.declared(name, files=files)
    fields = [pa.field(c.name, values.type, nullable=c.nullable) for c, values in zip(declared, arrays, strict=True)]
    return pa.Table.from_arrays(list(arrays), schema=pa.schema(fields))


def _place(column: schema.Column, codes: Words, origins: Origins) -> Any:
    """The frame numbers, or the captures, that codes stand for."""
    mask = codes < 0 if column.nullable else None
    if column.after:
        return coded(np.maximum(codes >> FILE_SHIFT, 0).astype(np.int32), origins.names, mask)
    return numbers(codes & FRAME_MASK, mask)


def _column(column: schema.Column, values: Words) -> Any:
    """One column that is a word of the record."""
    mask = values == column.absent if column.absent is not None else None
    if mask is not None and not mask.any():
        mask = None
    if column.words is not None:
        return coded(values.astype(np.int8), column.words, mask)
    if column.type in {"timestamp", "duration"}:
        return numbers(values, mask, ARROW_TYPES[column.type])
    if column.type != "int64":
        values = values.astype(column.type)
    return numbers(values, mask)
