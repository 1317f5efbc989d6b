"""Arrow arrays straight from memory.

``pyarrow.array`` is the usual way; but on its way it imports pandas, to see whether it was given something of pandas',
and that takes as long as to analyse a hundred thousand packets. These take numpy arrays, or lists of Python's own
values, and nothing else.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["ARROW_TYPES", "coded", "listed", "lists", "numbers", "repeated", "text_lists", "texts", "words"]

_TYPES = {np.dtype(t): getattr(pa, t)() for t in ("int8", "int16", "int32", "int64", "uint16", "float64")}
_KINDS = {kind: dtype for dtype, kind in _TYPES.items()}

ARROW_TYPES: dict[str, Any] = {
    "int64": pa.int64(),
    "float64": pa.float64(),
    "int32": pa.int32(),
    "uint16": pa.uint16(),
    "string": pa.string(),
    "timestamp": pa.timestamp("ns", tz="UTC"),
    "duration": pa.duration("ns"),
    "list<int64>": pa.list_(pa.int64()),
    "list<string>": pa.list_(pa.string()),
}


def numbers(values: NDArray[Any], mask: NDArray[np.bool_] | None = None, kind: Any = None) -> Any:
    """Make an array of numbers, or of what is kept as numbers.

    Parameters
    ----------
    values : ndarray of int8, int16, int32, int64, uint16 or float64
    mask : ndarray of bool or None
        True where there is no value.
    kind : pyarrow.DataType or None
        Timestamp or duration; None for what the values are.

    """
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(
        kind or _TYPES[values.dtype], len(values), [_validity(mask), pa.py_buffer(values.data)]
    )


def words(column: Any) -> NDArray[Any]:
    """View an array of numbers as numpy; where it has no value, any number stands."""
    whole = np.frombuffer(column.buffers()[1], dtype=_KINDS[column.type])
    return whole[column.offset : column.offset + len(column)]


def texts(values: Sequence[str | None]) -> Any:
    """Make an array of strings."""
    if None not in values:
        whole = "".join(values)  # type: ignore[arg-type]
        if whole.isascii():  # then each is as many bytes as characters
            return ascii_texts(np.fromiter(map(len, values), np.int32, len(values)), whole.encode())  # type: ignore[arg-type]
    there = [b"" if text is None else text.encode() for text in values]
    offsets = _offsets(np.fromiter(map(len, there), np.int32, len(there)))
    mask = np.fromiter((text is None for text in values), np.bool_, len(there))
    return pa.StringArray.from_buffers(
        len(there), pa.py_buffer(offsets.data), pa.py_buffer(b"".join(there)), _validity(mask)
    )


def ascii_texts(lengths: NDArray[np.int32], whole: Any) -> Any:
    """Make an array of strings that stand one after the other in memory."""
    return pa.StringArray.from_buffers(len(lengths), pa.py_buffer(_offsets(lengths).data), pa.py_buffer(whole))


def lists(values: Sequence[Sequence[int]]) -> Any:
    """Make an array of lists of numbers."""
    offsets = _offsets(np.fromiter(map(len, values), np.int32, len(values)))
    flat = np.fromiter(chain.from_iterable(values), np.int64, int(offsets[-1]))
    return pa.ListArray.from_arrays(numbers(offsets), numbers(flat))


def listed(counts: NDArray[np.int64], values: Any) -> Any:
    """Make an array of lists of an array's values: so many each."""
    return pa.ListArray.from_arrays(numbers(_offsets(counts)), values)


def text_lists(values: Sequence[Sequence[str]]) -> Any:
    """Make an array of lists of strings."""
    offsets = _offsets(np.fromiter(map(len, values), np.int32, len(values)))
    return pa.ListArray.from_arrays(numbers(offsets), texts(list(chain.from_iterable(values))))


def coded(codes: NDArray[Any], words: Sequence[str], mask: NDArray[np.bool_] | None = None) -> Any:
    """Make a dictionary array of codes (``int8`` where their words are fixed and few, else ``int32``)."""
    return pa.DictionaryArray.from_arrays(numbers(codes, mask), texts(words))


def repeated(words: Sequence[str | None], codes: NDArray[np.int64]) -> Any:
    """Make a dictionary array of strings that repeat, in the order in which they come.

    Parameters
    ----------
    words : sequence of (str or None)
        What codes stand for; several may stand for the same.
    codes : int64[n]
        Negative where there is no value.

    """
    different: dict[str, int] = {}
    places = np.array([-1 if w is None else different.setdefault(w, len(different)) for w in words], dtype=np.int64)
    found = np.full(len(codes), -1, dtype=np.int32)
    there = codes >= 0
    found[there] = places[codes[there]]
    firsts = np.full(len(different) + 1, len(found))  # the last is for no value
    firsts[found[::-1]] = np.arange(len(found))[::-1]
    order = [i for i in np.argsort(firsts[:-1], kind="stable").tolist() if firsts[i] < len(found)]
    ranks = np.full(len(different) + 1, -1, dtype=np.int32)
    ranks[order] = np.arange(len(order))
    texts_of = list(different)
    return coded(ranks[found], [texts_of[i] for i in order], found < 0)


def _offsets(lengths: NDArray[Any]) -> NDArray[np.int32]:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _validity(mask: NDArray[np.bool_] | None) -> Any:
    """Make the bitmap of what is there; None where everything is."""
    if mask is None or not mask.any():
        return None
    return pa.py_buffer(np.packbits(~mask, bitorder="little").data)
