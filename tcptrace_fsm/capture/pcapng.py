"""The blocks of a pcapng file that hold no packets, and the options in them (draft-ietf-opsawg-pcapng).

All of them are read here, whether they are met on the way or looked up at a file's end; the packets themselves are for
:func:`tcptrace_fsm.kernels.walk.walk_pcapng`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from tcptrace_fsm.kernels.layout import LIMIT_BLOCK, UNIT_BINARY, UNIT_PART, UNIT_TIMES

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "BLOCK_INTERFACE",
    "BLOCK_NAMES",
    "BLOCK_STATISTICS",
    "IMPOSSIBLE",
    "MAX_INTERFACES",
    "PCAPNG_MAGIC",
    "SECTION_HEADER",
    "Description",
    "Drops",
    "Interface",
    "Order",
    "Statistics",
    "names",
    "number",
    "options",
    "read_interface",
    "read_section",
    "read_statistics",
]

Order: TypeAlias = Literal["big", "little"]

PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"
SECTION_HEADER = 28
"""Bytes of the shortest section header."""
BLOCK_INTERFACE = 1
BLOCK_NAMES = 4
BLOCK_STATISTICS = 5
IMPOSSIBLE = "a block of {} bytes, which no such block can have"
MAX_INTERFACES = 65536
"""Interfaces in one section."""
FURTHEST = 1 << 32
"""Seconds that an interface's clock may be off by; what lies beyond is no time, and its nanoseconds would not fit."""


def number(data: bytes | bytearray, offset: int, size: int, order: Order) -> int:
    """Return an unsigned number."""
    return int.from_bytes(data[offset : offset + size], order)


def options(body: bytes, order: Order) -> Iterator[tuple[int, bytes]]:
    """Give code and value of each option (3.5); what does not fit ends the list."""
    at = 0
    while at + 4 <= len(body):
        code, size = number(body, at, 2, order), number(body, at + 2, 2, order)
        if code == 0 or at + 4 + size > len(body):
            return
        yield code, body[at + 4 : at + 4 + size]
        at += 4 + (size + 3 & ~3)


def _first(body: bytes, order: Order) -> dict[int, bytes]:
    """The first option of each code."""
    found: dict[int, bytes] = {}
    for code, value in options(body, order):
        found.setdefault(code, value)
    return found


def read_section(header: bytes) -> tuple[Order, int]:
    """Give the byte order of a section, and the length of its header (4.1). Raises ValueError where it is none."""
    mark = header[8:12]
    order: Order = "big" if mark == b"\x1a\x2b\x3c\x4d" else "little"
    if mark not in {b"\x1a\x2b\x3c\x4d", b"\x4d\x3c\x2b\x1a"}:
        raise ValueError(f"a pcapng section without its byte-order mark ({mark.hex(' ')} instead)")
    total = number(header, 4, 4, order)
    if total < SECTION_HEADER or total > LIMIT_BLOCK or total % 4:
        raise ValueError(IMPOSSIBLE.format(total))
    major = number(header, 12, 2, order)
    if major != 1:
        raise ValueError(f"pcapng version {major} is not known")
    return order, total


class Description(NamedTuple):
    """What an interface description says.

    Attributes
    ----------
    name : str
    link, snaplen : int
        LINKTYPE_ number, and bytes captured of a frame at most; 0 for no limit.
    unit, factor, offset : int
        As ``IF_UNIT``, ``IF_FACTOR`` and ``IF_OFFSET``.
    resolution : str
        ``10^-6 s``.
    """

    name: str
    link: int
    snaplen: int
    unit: int
    factor: int
    offset: int
    resolution: str


def read_interface(body: bytes, order: Order) -> Description:
    """Read an interface description (4.2) without its type and lengths. Raises ValueError where it is too short."""
    if len(body) < 8:
        raise ValueError(IMPOSSIBLE.format(len(body) + 12))
    found = _first(body[8:], order)
    code = found.get(9, b"\x06")[:1] or b"\x06"
    power = code[0] & 0x7F
    if code[0] & 0x80:
        unit, factor, resolution = UNIT_BINARY, min(power, 62), f"2^-{power} s"
    elif power <= 9:
        unit, factor, resolution = UNIT_TIMES, 10 ** (9 - power), f"10^-{power} s"
    else:
        unit, factor, resolution = UNIT_PART, 10 ** min(power - 9, 18), f"10^-{power} s"
    offset = int.from_bytes(found[14], order, signed=True) if len(found.get(14, b"")) == 8 else 0
    return Description(
        found.get(2, b"").decode("utf-8", "replace"),
        number(body, 0, 2, order),
        number(body, 4, 4, order),
        unit,
        factor,
        max(-FURTHEST, min(FURTHEST, offset)) * 1_000_000_000,
        resolution,
    )


class Statistics(NamedTuple):
    """Frames that an interface received, and that were lost there; -1 for what is not stated."""

    interface: int
    received: int
    lost: int


def read_statistics(body: bytes, order: Order) -> Statistics | None:
    """Read interface statistics (4.6) without their type and lengths; None where they are too short."""
    if len(body) < 12:
        return None
    counts = {code: number(value, 0, 8, order) for code, value in _first(body[12:], order).items() if len(value) == 8}
    lost = [counts[code] for code in (5, 7) if code in counts]  # by the interface, by the operating system
    return Statistics(number(body, 0, 4, order), counts.get(4, -1), sum(lost) if lost else -1)


class Interface(NamedTuple):
    """A pcapng interface, or the only one of a pcap file."""

    name: str
    link_type: int
    snaplen: int
    """Bytes captured of a frame at most; 0 for no limit."""
    resolution: str
    """Unit of the file's time stamps: ``10^-6 s``, ``2^-32 s``..."""
    section: int
    """Which pcapng section, from 0."""


class Drops:
    """What the statistics of all interfaces say; the last of an interface count for all before it."""

    def __init__(self) -> None:
        self._counts: dict[tuple[int, int], Statistics] = {}

    def take(self, section: int, counts: Statistics | None) -> None:
        """Take those of an interface of a section."""
        if counts and ((section, counts.interface) in self._counts or len(self._counts) < MAX_INTERFACES):
            self._counts[section, counts.interface] = counts

    @property
    def received(self) -> int | None:
        """Frames received; None where it is not stated."""
        known = [counts.received for counts in self._counts.values() if counts.received >= 0]
        return sum(known) if known else None

    @property
    def lost(self) -> int | None:
        """Frames lost; None where it is not stated."""
        known = [counts.lost for counts in self._counts.values() if counts.lost >= 0]
        return sum(known) if known else None


def names(body: bytes, order: Order) -> Iterator[tuple[str, str]]:
    """Give addresses and their names from a name resolution block (4.5): what the capturing machine called them."""
    from socket import AF_INET, AF_INET6, inet_ntop

    for code, value in options(body, order):
        size = {1: 4, 2: 16}.get(code, 0)
        if size and len(value) > size:
            name = value[size:].split(b"\0")[0].decode("utf-8", "replace")
            yield inet_ntop(AF_INET if size == 4 else AF_INET6, value[:size]), name
