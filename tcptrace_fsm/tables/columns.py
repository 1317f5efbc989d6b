"""Records in, Arrow tables out: blocks of ``int64`` words become typed columns of :mod:`tcptrace_fsm.tables.schema`.

Three steps, all of them whole columns at a time. :class:`Rows` keeps of each block only the words that some column
reads, column by column. :func:`build` turns them into a table, its rows by ``conn_id``. :func:`to_pandas` makes that a
DataFrame. Words that are codes become Arrow dictionaries: cheap to make, cheap to write; readers see plain strings.

numpy and pyarrow are imported here and wherever this module is: nothing on the way to a terminal summary imports it.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import json
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from tcptrace_fsm.capture.layers.links import encapsulation_name
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.kernels.columns import scatter
from tcptrace_fsm.tables import schema
from tcptrace_fsm.tables.arrow import coded, encoded, lists, numbers, text_lists, texts
from tcptrace_fsm.tables.waits import WAIT_WORDS, requests, time_of, without_turns
from tcptrace_fsm.text.addresses import address_text

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterable, Sequence

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
    "community_id",
    "findings_table",
    "has_files",
    "placed",
    "plain",
    "to_pandas",
]

ARROW_TYPES: dict[str, Any] = {
    "int64": pa.int64(),
    "int32": pa.int32(),
    "uint16": pa.uint16(),
    "string": pa.string(),
    "timestamp": pa.timestamp("ns", tz="UTC"),
    "duration": pa.duration("ns"),
    "list<int64>": pa.list_(pa.int64()),
    "list<string>": pa.list_(pa.string()),
}
_FRAME = (1 << schema.FILE_SHIFT) - 1


# --- types -----------------------------------------------------------------------------------------------------------
def arrow_schema(table: str, *, files: bool = False) -> Any:
    """Make the table's Arrow schema, with the metadata that gives nullable integers their pandas type.

    Parameters
    ----------
    table : str
        Which of :data:`tcptrace_fsm.tables.schema.TABLES`.
    files : bool
        With the columns that name captures.

    """
    columns = schema.declared(table, files=files)
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
    whole = pa.concat_tables([plain(t, name) for t in tables]) if tables else arrow_schema(name).empty_table()
    frame: pd.DataFrame = whole.to_pandas()
    if name != "segments" and len(tables) > 1:
        frame = frame.sort_values("conn_id", kind="stable", ignore_index=True)
    return frame


# --- blocks of records ------------------------------------------------------------------------------------------------
class Source(NamedTuple):
    """Where a table's rows come from: size of a record, its conn_id, the words that columns read, rows to a group.

    Row groups are sized for their columns to fit the processor's cache: measured, four times larger is slower.
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
        ),
        16384,
    ),
    "transitions": Source(k.TRANSITION_SIZE, k.T_CONNECTION, tuple(range(k.TRANSITION_SIZE)), 65536),
    "waits": Source(k.WAIT_SIZE, k.WT_CONNECTION, tuple(range(k.WAIT_SIZE)), 65536),
}


class Rows:
    """Collects records until there are enough for a row group, keeping only the words that some column reads.

    Parameters
    ----------
    source : Source
        Which words to keep.

    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._words = np.array(source.words, dtype=np.int64)
        self._parts: list[tuple[array[int], int]] = []
        self._paths: list[array[int] | None] = []
        self.count = 0

    def add(self, block: array[int], count: int, paths: array[int] | None = None) -> None:
        """Take the first ``count`` records of a block, which is kept, and what two capture points tell of them."""
        if count:
            self._parts.append((block, count))
            self._paths.append(paths)
            self.count += count

    def take(self) -> dict[int, Words]:
        """Hand out what was collected, by word of the record, ordered by conn_id; begin anew."""
        size, count = self._source.size, self.count
        keys = [np.frombuffer(block, np.int64, n * size)[self._source.key :: size] for block, n in self._parts]
        places = np.arange(count)
        key = np.concatenate(keys) if keys else places
        if (key[1:] < key[:-1]).any():
            places[np.argsort(key, kind="stable")] = np.arange(count)
        # Columns that lie a round number of bytes apart would fight for the same lines of the processor's cache.
        stride = count + 8 + (count & 1)
        columns = np.empty((len(self._words), stride), dtype=np.int64)
        begin = 0
        for block, n in self._parts:
            begin = scatter(n, size, block, len(self._words), self._words, begin, places, stride, columns.reshape(-1))
        made = dict(zip(self._source.words, columns[:, :count], strict=True))
        made.update(self._path_words(places))
        self._parts, self._paths, self.count = [], [], 0
        return made

    def _path_words(self, places: Words) -> dict[int, Words]:
        """Give the words of the path records, numbered on from those of a connection; none with one capture point."""
        if all(paths is None for paths in self._paths):
            return {}
        words = np.full((k.PATH_SIZE, self.count), -1, dtype=np.int64)
        begin = 0
        for (_, n), paths in zip(self._parts, self._paths, strict=True):
            if paths is not None:
                words[:, places[begin : begin + n]] = np.frombuffer(paths, np.int64, n * k.PATH_SIZE).reshape(n, -1).T
            begin += n
        return {k.CONNECTION_SIZE + i: words[i] for i in range(k.PATH_SIZE)}


def build(name: str, rows: dict[int, Words], origins: Origins | None = None) -> Any:
    """Make the Arrow table of these rows.

    Parameters
    ----------
    name : str
        ``connections``, ``transitions`` or ``waits``.
    rows : dict of int to int64[n]
        Values by word of the record, as :meth:`Rows.take` gives them.
    origins : Origins or None
        Of several captures: which frame of which stands at each position.

    """
    declared = schema.declared(name, files=origins is not None)
    arrays = []
    for column in declared:
        if column.word is None:
            arrays.append(DERIVED[column.name](rows))
        elif origins is not None and (column.frames or column.after):
            arrays.append(_place(column, origins.codes(rows[column.word]), origins))
        else:
            arrays.append(_column(column, rows[column.word]))
    return assemble(name, arrays, files=origins is not None)


def assemble(name: str, arrays: Sequence[Any], *, files: bool = False) -> Any:
    """Make one table of a table's columns, in declared order; nullable only where declared so."""
    declared = schema.declared(name, files=files)
    fields = [pa.field(c.name, values.type, nullable=c.nullable) for c, values in zip(declared, arrays, strict=True)]
    return pa.Table.from_arrays(list(arrays), schema=pa.schema(fields))


def _place(column: schema.Column, codes: Words, origins: Origins) -> Any:
    """The frame numbers, or the captures, that codes stand for."""
    mask = codes < 0 if column.nullable else None
    if column.after:
        return coded(np.maximum(codes >> schema.FILE_SHIFT, 0).astype(np.int32), origins.names, mask)
    return numbers(codes & _FRAME, mask)


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


# --- derived columns of connections -----------------------------------------------------------------------------------
def _e(rows: dict[int, Words], side: int, word: int) -> Words:
    return rows[k.C_ENDPOINTS + side * k.ENDPOINT_SIZE + word]


def _distinct(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Give the distinct values, and for each value its place among them."""
    distinct, place = np.unique(values, return_inverse=True)
    return distinct, place.reshape(-1)


_OCTETS = [str(i) for i in range(256)]


def _ipv4_texts(addresses: Words) -> list[str]:
    octets = addresses.astype(">u4").tobytes()
    o = _OCTETS
    return [f"{o[a]}.{o[b]}.{o[c]}.{o[d]}" for a, b, c, d in zip(*(iter(octets),) * 4, strict=True)]


def _addresses(rows: dict[int, Words], high: int, low: int) -> Any:
    """Addresses as a dictionary of their canonical text; the lowest bit of the network word tells the family."""
    lows, highs = rows[low], rows[high]
    six = (rows[k.C_NET] & 1).astype(bool)
    place = np.empty(len(lows), dtype=np.int32)
    four = ~six
    distinct, where = _distinct(lows[four])
    texts = _ipv4_texts(distinct)
    place[four] = where
    if six.any():
        pairs = np.empty(int(six.sum()), dtype=[("high", np.int64), ("low", np.int64)])
        pairs["high"], pairs["low"] = highs[six], lows[six]
        distinct, where = _distinct(pairs)
        place[six] = where + len(texts)
        texts += [address_text(h, low_half, six=True) for h, low_half in distinct.tolist()]
    return coded(place, texts)


def _encapsulation(rows: dict[int, Words]) -> Any:
    distinct, place = _distinct(rows[k.C_NET] >> 1)
    return coded(place.astype(np.int32), [encapsulation_name(int(code)) for code in distinct])


def _sha1() -> Callable[..., Any]:
    """Give the plain constructor where it may be had: the flag that a FIPS build insists on doubles a call's cost."""
    try:
        hashlib.sha1()  # noqa: S324 - no security in it: Community ID is defined so
    except ValueError:
        return functools.partial(hashlib.sha1, usedforsecurity=False)
    return hashlib.sha1


def community_id(one: str, other: str, one_port: int, other_port: int) -> str:
    """Community ID version 1 of a TCP four-tuple, seed 0: the readable twin of the column's code.

    >>> community_id("128.232.110.120", "66.35.250.204", 34855, 80)
    '1:LQU9qZlK+B5F3KDmev6m5PMibrg='
    """
    family = socket.AF_INET6 if ":" in one else socket.AF_INET
    ends = sorted(
        (socket.inet_pton(family, address), port.to_bytes(2, "big"))
        for address, port in ((one, one_port), (other, other_port))
    )
    (low, low_port), (high, high_port) = ends
    text = b"\0\0" + low + high + b"\x06\0" + low_port + high_port
    return "1:" + base64.b64encode(hashlib.sha1(text, usedforsecurity=False).digest()).decode()


def _community_ids(rows: dict[int, Words]) -> Any:
    six = (rows[k.C_NET] & 1).astype(bool)
    result = np.empty((len(six), 30), dtype=np.uint8)
    for family, width in ((~six, 4), (six, 16)):
        count = int(family.sum())
        if count:
            result[family] = _community_id_texts(rows, family, count, width)
    offsets = np.arange(0, 30 * len(six) + 1, 30, dtype=np.int32)
    return pa.StringArray.from_buffers(len(six), pa.py_buffer(offsets.data), pa.py_buffer(result.data))


def _community_id_texts(rows: dict[int, Words], chosen: NDArray[np.bool_], count: int, width: int) -> NDArray[np.uint8]:
    """Write the thirty characters of each chosen row's Community ID."""

    def column(word: int) -> Words:
        return rows[word][chosen]

    ports = column(k.C_PORTS)
    client_port, server_port = ports >> 16, ports & 0xFFFF
    client, server = column(k.C_CLIENT_LO).view(np.uint64), column(k.C_SERVER_LO).view(np.uint64)
    client_high, server_high = column(k.C_CLIENT_HI).view(np.uint64), column(k.C_SERVER_HI).view(np.uint64)
    # The end with the smaller address comes first, or, of one address, the one with the smaller port.
    same_high, same_low = client_high == server_high, client == server
    swap = (
        (client_high > server_high) | same_high & (client > server) | same_high & same_low & (client_port > server_port)
    )
    # What is hashed, big-endian: seed, two addresses, protocol, padding, two ports.
    address = [(">u4", "")] if width == 4 else [(">u8", "_high"), (">u8", "")]
    fields = [("seed", ">u2"), *((end + part, kind) for end in ("low", "high") for kind, part in address)]
    hashed = np.zeros(
        count, dtype=[*fields, ("protocol", "u1"), ("padding", "u1"), ("low_port", ">u2"), ("high_port", ">u2")]
    )
    hashed["protocol"] = 6
    hashed["low"], hashed["high"] = np.where(swap, server, client), np.where(swap, client, server)
    hashed["low_port"] = np.where(swap, server_port, client_port)
    hashed["high_port"] = np.where(swap, client_port, server_port)
    if width == 16:
        hashed["low_high"] = np.where(swap, server_high, client_high)
        hashed["high_high"] = np.where(swap, client_high, server_high)
    raw, size = hashed.tobytes(), hashed.itemsize
    sha1 = _sha1()
    digests = [sha1(raw[at : at + size]).digest() for at in range(0, count * size, size)]
    # With a zero byte behind each digest, all of them are encoded at once; where the zero's bits went belongs a "=".
    out = np.empty((count, 30), dtype=np.uint8)
    out[:, :2] = np.frombuffer(b"1:", dtype=np.uint8)
    encoded = binascii.b2a_base64(b"\0".join([*digests, b""]), newline=False)
    out[:, 2:] = np.frombuffer(encoded, dtype=np.uint8).reshape(count, 28)
    out[:, 29] = ord("=")
    return out


ZEEK_STATES = ("S0", "S1", "SF", "REJ", "S2", "S3", "RSTO", "RSTR", "RSTOS0", "RSTRH", "SH", "SHR", "OTH")


def _zeek_conn_state(rows: dict[int, Words]) -> Any:
    """Zeek's verdict on the last states of originator and responder (its ``conn/main.zeek``, ``conn_state``)."""
    zeek = rows[k.C_ZEEK]
    flipped = (zeek & k.Z_FLIPPED != 0).astype(np.int64)
    state = [zeek >> k.Z_STATE_SHIFT + 3 * side & 7 for side in (k.CLIENT, k.SERVER)]
    origin, responder = np.where(flipped, state[1], state[0]), np.where(flipped, state[0], state[1])
    silent = [(s == k.Z_INACTIVE) | (s == k.Z_PARTIAL_STATE) for s in (origin, responder)]
    trying = (origin == k.Z_SYN_SENT) | (origin == k.Z_SYN_ACK_SENT)
    empty = (origin == k.Z_RESET) & (zeek & k.Z_EMPTY != 0)
    reset = [s == k.Z_RESET for s in (origin, responder)]
    closed = [s == k.Z_CLOSED for s in (origin, responder)]
    choices = (
        (reset[1] & (trying | empty), "REJ"),
        (reset[1] & silent[0], "RSTRH"),
        (reset[1], "RSTR"),
        (reset[0] & silent[1] & (zeek & k.Z_RSTOS0 != 0), "RSTOS0"),
        (reset[0] & silent[1], "OTH"),
        (reset[0], "RSTO"),
        (closed[0] & closed[1], "SF"),
        (closed[0] & silent[1], "SH"),
        (closed[0], "S2"),
        (closed[1] & silent[0], "SHR"),
        (closed[1], "S3"),
        ((origin == k.Z_SYN_SENT) & (responder == k.Z_INACTIVE), "S0"),
        ((origin == k.Z_ESTABLISHED) & (responder == k.Z_ESTABLISHED), "S1"),
    )
    codes = np.select([c for c, _ in choices], [ZEEK_STATES.index(s) for _, s in choices], ZEEK_STATES.index("OTH"))
    return coded(codes.astype(np.int8), ZEEK_STATES)


def _completeness(shift: int) -> Callable[[dict[int, Words]], Any]:
    return lambda rows: numbers((rows[k.C_COMPLETENESS] >> shift & 63).astype(np.int32))


_HISTORY_CODES = np.full(64, ord("?"), dtype=np.uint8)
_HISTORY_CODES[1 : len(schema.HISTORY_LETTERS) + 1] = np.frombuffer(schema.HISTORY_LETTERS.encode(), dtype=np.uint8)


def _zeek_history(rows: dict[int, Words]) -> Any:
    count = np.clip(rows[k.C_HISTORY_LENGTH], 0, 30)
    longest = int(count.max(initial=0))
    letters = np.empty((len(count), longest), dtype=np.uint8)
    for i in range(longest):
        letters[:, i] = _HISTORY_CODES[rows[k.C_HISTORY + i // 10] >> 6 * (i % 10) & 63]
    data = letters[np.arange(longest) < count[:, None]]
    offsets = np.zeros(len(count) + 1, dtype=np.int32)
    np.cumsum(count, out=offsets[1:])
    return pa.StringArray.from_buffers(len(count), pa.py_buffer(offsets.data), pa.py_buffer(data.data))


def _handshake_rtt(rows: dict[int, Words]) -> Any:
    syn, syn_ack, ack = rows[k.C_SYN_TIME], rows[k.C_SYN_ACK_TIME], rows[k.C_HANDSHAKE_ACK_TIME]
    unseen = (syn == -1) | (syn_ack == -1) | (ack == -1)
    return numbers(np.where(unseen, 0, ack - syn), unseen, ARROW_TYPES["duration"])


def _isn(side: int) -> Callable[[dict[int, Words]], Any]:
    def derive(rows: dict[int, Words]) -> Any:
        return numbers(_e(rows, side, k.E_BASE), _e(rows, side, k.E_BASE_KNOWN) < k.BASE_PEER)

    return derive


def _rtt_median(side: int) -> Callable[[dict[int, Words]], Any]:
    def derive(rows: dict[int, Words]) -> Any:
        count = _e(rows, side, k.E_RTT_COUNT)
        return _median(count, np.stack([_e(rows, side, k.E_RTT_MARKER + i) for i in range(5)]))

    return derive


def _median(count: Words, heights: Words) -> Any:
    """The median that five P-square markers tell of ``count`` samples."""
    median = heights[2].copy()  # from five samples on, the middle marker
    for n in range(1, 5):  # before that, the markers hold the samples themselves
        few = count == n
        if few.any():
            ordered = np.sort(heights[:n, few], axis=0)
            median[few] = (ordered[(n - 1) // 2] + ordered[n // 2]) // 2
    return numbers(median, count <= 0, ARROW_TYPES["duration"])


def _way(side: int, word: int) -> Callable[[dict[int, Words]], Any]:
    """A word of the path record, or (the marker) the median delay."""
    at = k.CONNECTION_SIZE + side * k.WAY_SIZE
    kind = ARROW_TYPES["duration" if word in (k.W_DELAY_MIN, k.W_DELAY_MARKER) else "int64"]

    def derive(rows: dict[int, Words]) -> Any:
        if at not in rows:
            none = np.zeros(len(rows[k.C_ID]), dtype=np.int64)
            return numbers(none, none == 0, kind)
        if word == k.W_DELAY_MARKER:
            return _median(rows[at + k.W_DELAYS], np.stack([rows[at + word + i] for i in range(5)]))
        return numbers(rows[at + word], rows[at + word] < 0, kind)

    return derive


def _response_median(rows: dict[int, Words]) -> Any:
    count = np.where(without_turns(rows), 0, rows[k.C_RESPONSES])
    return _median(count, np.stack([rows[k.C_RESPONSE_MARKER + i] for i in range(5)]))


def _response_max(rows: dict[int, Words]) -> Any:
    unseen = without_turns(rows) | (rows[k.C_RESPONSES] == 0)
    return numbers(rows[k.C_RESPONSE_MAX], unseen, ARROW_TYPES["duration"])


def _time_of(kind: int) -> Callable[[dict[int, Words]], Any]:
    return lambda rows: numbers(time_of(rows, kind), None, ARROW_TYPES["duration"])


DERIVED: dict[str, Callable[[dict[int, Words]], Any]] = {
    "client_ip": lambda rows: _addresses(rows, k.C_CLIENT_HI, k.C_CLIENT_LO),
    "server_ip": lambda rows: _addresses(rows, k.C_SERVER_HI, k.C_SERVER_LO),
    "client_port": lambda rows: numbers((rows[k.C_PORTS] >> 16).astype(np.uint16)),
    "server_port": lambda rows: numbers((rows[k.C_PORTS] & 0xFFFF).astype(np.uint16)),
    "encapsulation": _encapsulation,
    "community_id": _community_ids,
    "zeek_conn_state": _zeek_conn_state,
    "zeek_history": _zeek_history,
    "wireshark_completeness": _completeness(0),
    "wireshark_completeness_whole": _completeness(k.COMPLETE_WHOLE_SHIFT),
    "handshake_rtt": _handshake_rtt,
    "requests": lambda rows: numbers(*requests(rows)),
    "response_time_median": _response_median,
    "response_time_max": _response_max,
    **{f"time_{schema.WAITING_FOR[kind]}": _time_of(kind) for kind in range(k.WAITS)},
    "client_isn": _isn(k.CLIENT),
    "server_isn": _isn(k.SERVER),
    "client_rtt_median": _rtt_median(k.CLIENT),
    "server_rtt_median": _rtt_median(k.SERVER),
    **{
        name.format(way): _way(side, getattr(k, word))
        for name, word, *_ in schema.WAYS
        for side, way in ((k.CLIENT, "c2s"), (k.SERVER, "s2c"))
    },
}
"""The columns of connections that are no word of the record, by name."""


# --- findings ---------------------------------------------------------------------------------------------------------
REPEATED = {"file", "side", "kind", "category", "severity", "basis", "rfc", "possible_artefact"}


def findings_table(findings: Iterable[Any], origins: Origins | None = None) -> Any:
    """Make the anomalies table of these findings, ordered by connection and time."""
    ordered = sorted(findings, key=lambda f: (f.place, f.time, f.kind, f.side or "", f.message))
    if origins is not None:
        ordered = [placed(finding, origins) for finding in ordered]
    arrays = []
    for column in schema.declared("anomalies", files=origins is not None):
        values = [getattr(f, column.after or column.name) for f in ordered]
        if column.name == "frame" or column.after == "frame":
            values = [None if v is None or v < 0 else v for v in values]
        if origins is not None and column.after:
            names = origins.names
            if column.type == "string":
                values = [None if v is None else names[v >> schema.FILE_SHIFT] for v in values]
            else:
                values = [[names[v >> schema.FILE_SHIFT] for v in codes] for codes in values]
        elif origins is not None and column.frames:
            if column.type == "int64":
                values = [None if v is None else v & _FRAME for v in values]
            else:
                values = [[v & _FRAME for v in codes] for codes in values]
        if column.type == "list<int64>":
            arrays.append(lists(values))
        elif column.type == "list<string>":
            arrays.append(text_lists(values))
        elif column.name in REPEATED:
            arrays.append(encoded(values))
        elif column.type == "string":
            arrays.append(texts(values))
        else:
            found = np.array([-1 if v is None else v for v in values], dtype=np.int64)
            arrays.append(numbers(found, found < 0 if column.nullable else None, ARROW_TYPES[column.type]))
    return assemble("anomalies", arrays, files=origins is not None)


def placed(finding: Any, origins: Origins) -> Any:
    """A finding with the codes of its frames."""
    frame = -1 if finding.frame is None else finding.frame
    codes = origins.codes(np.array([frame, *finding.frames], dtype=np.int64)).tolist()
    return finding._replace(frame=codes[0] if codes[0] >= 0 else None, frames=tuple(codes[1:]))
