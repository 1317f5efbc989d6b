"""Columns of connections that are no single word of the record: each has its function here (:data:`DERIVED`)."""

from __future__ import annotations

import base64
import socket
from array import array
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tcptrace_fsm.capture.layers.links import encapsulation_texts
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.kernels.community import write_community_ids
from tcptrace_fsm.tables.arrow import ARROW_TYPES, ascii_texts, coded, numbers, texts
from tcptrace_fsm.tables.connections import LIMITED_BY, WAITING_FOR, WAYS
from tcptrace_fsm.tables.labels import HISTORY_LETTERS
from tcptrace_fsm.tables.limits import limited_by
from tcptrace_fsm.tables.waits import requests, time_of, without_turns
from tcptrace_fsm.text.addresses import address_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Words = NDArray[np.int64]

__all__ = ["DERIVED", "community_id"]


def _e(rows: dict[int, Words], side: int, word: int) -> Words:
    return rows[k.C_ENDPOINTS + side * k.ENDPOINT_SIZE + word]


def _distinct(values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Give the distinct values, and for each value its place among them."""
    distinct, place = np.unique(values, return_inverse=True)
    return distinct, place.reshape(-1)


# Each octet with the point behind it, in four characters, of which so many count.
_OCTETS = np.frombuffer("".join(f"{i}.".ljust(4) for i in range(256)).encode(), dtype=np.uint32)
_WIDTHS = np.array([len(f"{i}.") for i in range(256)], dtype=np.int32)
_COUNT = np.arange(4) < _WIDTHS[:, None]
_COUNT_LAST = np.arange(4) < _WIDTHS[:, None] - 1


def _ipv4_texts(addresses: Words) -> Any:
    """IPv4 addresses as an array of their texts."""
    octets = addresses.astype(">u4").view(np.uint8).reshape(-1, 4)
    counts = _COUNT[octets]
    counts[:, 3] = _COUNT_LAST[octets[:, 3]]
    text = _OCTETS[octets].view(np.uint8)[counts.reshape(len(octets), 16)]
    return ascii_texts(_WIDTHS[octets].sum(axis=1, dtype=np.int32) - 1, text.data)


def _addresses(rows: dict[int, Words], high: int, low: int) -> Any:
    """Addresses as a dictionary of their canonical text; the lowest bit of the network word tells the family."""
    lows, highs = rows[low], rows[high]
    six = (rows[k.C_NET] & 1).astype(bool)
    place = np.empty(len(lows), dtype=np.int32)
    four = ~six
    distinct, where = _distinct(lows[four])
    names = _ipv4_texts(distinct)
    place[four] = where
    if six.any():
        pairs = np.empty(int(six.sum()), dtype=[("high", np.int64), ("low", np.int64)])
        pairs["high"], pairs["low"] = highs[six], lows[six]
        distinct, where = _distinct(pairs)
        place[six] = where + len(names)
        longer = texts([address_text(h, low_half, six=True) for h, low_half in distinct.tolist()])
        names = pa.concat_arrays([names, longer])
    return pa.DictionaryArray.from_arrays(numbers(place), names)


def _encapsulation(rows: dict[int, Words]) -> Any:
    distinct, place = _distinct(rows[k.C_NET] >> 1)
    lengths, letters = encapsulation_texts(array("q", distinct.tobytes()))
    names = ascii_texts(np.array(lengths, dtype=np.int32), letters)
    return pa.DictionaryArray.from_arrays(numbers(place.astype(np.int32)), names)


def community_id(one: str, other: str, one_port: int, other_port: int) -> str:
    """Community ID version 1 of a TCP four-tuple, seed 0: the readable twin of the column's code.

    >>> community_id("128.232.110.120", "66.35.250.204", 34855, 80)
    '1:LQU9qZlK+B5F3KDmev6m5PMibrg='
    """
    import hashlib  # it loads OpenSSL

    family = socket.AF_INET6 if ":" in one else socket.AF_INET
    ends = sorted(
        (socket.inet_pton(family, address), port.to_bytes(2, "big"))
        for address, port in ((one, one_port), (other, other_port))
    )
    (low, low_port), (high, high_port) = ends
    text = b"\0\0" + low + high + b"\x06\0" + low_port + high_port
    return "1:" + base64.b64encode(hashlib.sha1(text, usedforsecurity=False).digest()).decode()


_TUPLE = (k.C_NET, k.C_PORTS, k.C_CLIENT_HI, k.C_CLIENT_LO, k.C_SERVER_HI, k.C_SERVER_LO)


def _community_ids(rows: dict[int, Words]) -> Any:
    tuples = np.stack([rows[word] for word in _TUPLE], axis=1)
    count = len(tuples)
    written = np.zeros(4 * count, dtype=np.int64)
    if count:
        write_community_ids(count, tuples.reshape(-1), np.empty(85, dtype=np.int64), written)
    text = written.astype("<i8", copy=False).view(np.uint8).reshape(count, 32)[:, :30].tobytes()
    return ascii_texts(np.full(count, 30, dtype=np.int32), text)


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
_HISTORY_CODES[1 : len(HISTORY_LETTERS) + 1] = np.frombuffer(HISTORY_LETTERS.encode(), dtype=np.uint8)


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


def _limited_by(side: int) -> Callable[[dict[int, Words]], Any]:
    def derive(rows: dict[int, Words]) -> Any:
        codes = limited_by(rows, side)
        return coded(codes, LIMITED_BY, codes == 0)

    return derive


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
    **{f"time_{WAITING_FOR[kind]}": _time_of(kind) for kind in range(k.WAITS)},
    "client_limited_by": _limited_by(k.CLIENT),
    "server_limited_by": _limited_by(k.SERVER),
    "client_isn": _isn(k.CLIENT),
    "server_isn": _isn(k.SERVER),
    "client_rtt_median": _rtt_median(k.CLIENT),
    "server_rtt_median": _rtt_median(k.SERVER),
    **{
        name.format(way): _way(side, getattr(k, word))
        for name, word, *_ in WAYS
        for side, way in ((k.CLIENT, "c2s"), (k.SERVER, "s2c"))
    },
}
"""The columns of connections that are no word of the record, by name."""
