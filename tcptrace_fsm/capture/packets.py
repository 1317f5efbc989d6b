"""Packets from a Python program as a capture: (timestamp, bytes), as dpkt's readers, pypcap or a list give them.

They are written as a pcap stream in memory, a few at a time, and read like any other.
"""

from __future__ import annotations

import operator
import struct
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tcptrace_fsm.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["Packets", "packets"]

MAGIC_NANOSECONDS = 0xA1B23C4D
SECOND = 10**9
LONGEST = 1 << 26
EXPECTED = "(timestamp, bytes), the timestamp in seconds as float or Decimal, or in ns as int"


class Packets:
    """A stream of packets, which is read like a file.

    Parameters
    ----------
    items : iterable of (timestamp, bytes)
    link_type : int

    Attributes
    ----------
    name : str
    again : bool
        Whether they can be gone through once more.

    """

    def __init__(self, items: Iterable[Any], link_type: int) -> None:
        self.name = "packets"
        self.again = isinstance(items, list | tuple)
        self._items = items
        self._link_type = link_type
        self._records: Iterator[bytes] | None = None
        self._rest = b""

    def fresh(self) -> Packets:
        """The same packets from the start."""
        return Packets(self._items, self._link_type)

    def read(self, size: int = -1) -> bytes:
        """Read some bytes of the pcap stream; at its end, none."""
        if self._records is None:
            self._records = self._made()
        parts, length = [self._rest], len(self._rest)
        while size < 0 or length < size:
            record = next(self._records, b"")
            if not record:
                break
            parts.append(record)
            length += len(record)
        whole = b"".join(parts)
        given = whole if size < 0 else whole[:size]
        self._rest = whole[len(given) :]
        return given

    def _made(self) -> Iterator[bytes]:
        yield struct.pack("<IHHiIII", MAGIC_NANOSECONDS, 2, 4, 0, 0, 0, self._link_type)
        for number, item in enumerate(self._items, start=1):
            time, content = _taken(item, number)
            yield struct.pack("<IIII", time // SECOND, time % SECOND, len(content), len(content)) + content


def _taken(item: Any, number: int) -> tuple[int, bytes]:
    """Read one item: its time in ns, and its bytes."""
    if not isinstance(item, tuple | list) or len(item) < 2:
        raise UsageError(f"packet {number} is {_kind(item)}; expected {EXPECTED}")
    when, content = item[0], item[1]
    time = _nanoseconds(when)
    if time is None or not 0 <= time < SECOND << 32:
        raise UsageError(f"packet {number} has the timestamp {when!r}; expected {EXPECTED}, from 1970 to 2106")
    if not isinstance(content, bytes | bytearray | memoryview) and not hasattr(content, "__bytes__"):
        raise UsageError(f"packet {number} holds {_kind(content)} in place of bytes; expected {EXPECTED}")
    frame = bytes(content)
    if len(frame) > LONGEST:
        raise UsageError(f"packet {number} has {len(frame):,} bytes, more than any capture holds")
    return time, frame


def _nanoseconds(when: Any) -> int | None:
    """A timestamp in ns; None for what is none."""
    if isinstance(when, bool):
        return None
    try:
        if isinstance(when, Decimal):
            return round(when * SECOND)
        if isinstance(when, float):  # which holds microseconds of our days, and no more
            return round(when * 10**6) * 1000
        return operator.index(when)
    except (TypeError, ValueError, ArithmeticError):
        return None


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"


def packets(source: Any, linktype: int | None = None) -> Packets | None:
    """Make a capture of what gives packets; None where that is something else: a path, a file, several of these.

    Parameters
    ----------
    source : Any
        A reader with ``datalink()``, or an iterable of (timestamp, bytes) where ``linktype`` is given.
    linktype : int or None
        LINKTYPE_ number of its frames (https://www.tcpdump.org/linktypes.html).

    Raises
    ------
    UsageError
        When a link type is none, or what has one is no iterable.

    """
    tells = getattr(source, "datalink", None)
    if linktype is None and not callable(tells):
        return None
    link = tells() if linktype is None and tells is not None else linktype
    if isinstance(link, bool) or not isinstance(link, int) or not 0 <= link < 1 << 16:
        raise UsageError(f"a link type is a LINKTYPE_ number, such as 1 for Ethernet or 101 for IP, not {link!r}")
    if isinstance(source, str | bytes) or hasattr(source, "read") or not hasattr(source, "__iter__"):
        raise UsageError(f"linktype= goes with an iterable of {EXPECTED}, not with {_kind(source)}")
    return Packets(source, link)
