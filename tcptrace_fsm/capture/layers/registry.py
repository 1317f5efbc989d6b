"""The layers that may lie outside an IP packet: each registers itself, with samples; a frame is peeled of them.

A layer is a small function: it reads its header at ``packet.at``, moves past it, and returns the layer inside, or the
frame's outcome when there is none. A decorator beside it says which number leads to it (a link type, an Ethertype, a
port...), and shows a sample of what it reads, which the tests decode. To add a layer is to write such a function in the
file of its family here, or in a new file: every module of this package is loaded with the first frame that the decode
kernel leaves to it.

A frame is peeled until TCP is found; the innermost IP packet then goes to the decode kernel, so that a segment is read
by one piece of code whatever was around it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, Union

from tcptrace_fsm.kernels.decode import hides_tcp
from tcptrace_fsm.kernels.layout import (
    OUTCOME_NOT_TCP,
    OUTCOME_SHORT_LINK,
    OUTCOME_TOO_DEEP,
    OUTCOME_UNSUPPORTED_LINK,
)

if TYPE_CHECKING:
    from tcptrace_fsm.capture.fragments import Fragments

__all__ = [
    "ENTRIES",
    "ETHERTYPES",
    "GRE_PROTOCOLS",
    "HARDWARE",
    "IP_PROTOCOLS",
    "LINKS",
    "MAX_FIELDS",
    "MAX_LAYERS",
    "NEXT_PROTOCOLS",
    "PPP_PROTOCOLS",
    "UDP_PORTS",
    "Entry",
    "Layer",
    "Packet",
    "Sample",
    "Short",
    "by_ethertype",
    "ethertype",
    "gre_protocol",
    "hardware",
    "ip_protocol",
    "link",
    "next_protocol",
    "of_link",
    "peel",
    "ppp_protocol",
    "udp_port",
    "unread",
]

MAX_LAYERS = 64
"""Layers peeled off one frame; nobody means more."""
MAX_FIELDS = 256
"""Fields of variable number read in one header."""

Layer: TypeAlias = Callable[["Packet"], Union["Layer", int]]


class Short(Exception):  # noqa: N818 - not an error: the bytes end here
    """The bytes end inside a header; ``cut`` says whether the capture cut them off."""

    def __init__(self, cut: bool) -> None:
        self.cut = cut


class Packet:
    """Where the peeling of one frame stands.

    Attributes
    ----------
    data : bytes-like
        What the positions count in: the chunk, or a datagram put together from fragments.
    at, end, wire : int
        Where the current layer begins; one past its last captured byte; one past its last byte on the wire.
    path : list of str
        Encapsulation so far, outermost first.
    ip_at, ip_end, ip_wire : int
        The same three for the innermost IP packet; the last is where all that is around it ends at the latest.
    room : int
        Where all layers so far end at the latest, on the wire.
    pair : str
        The two addresses of the innermost IP packet, in an order that does not depend on the direction.
    error : tuple of int, or None
        Of an ICMP error, where the innermost IP packet is one that it quotes: type | code << 8, MTU or -1, the two
        words of its sender's address.
    skipped : str
        What may hold TCP and is not decoded; empty for nothing.
    whole : bool
        False when ``data`` is not the chunk.
    time : int
        Capture time, ns.
    fragments : Fragments
        The capture's unfinished datagrams.

    """

    __slots__ = (
        *("at", "data", "end", "error", "fragments", "ip_at", "ip_end", "ip_wire", "pair", "path", "room", "skipped"),
        *("time", "whole", "wire"),
    )

    def __init__(self, data: bytes | bytearray, place: tuple[int, int, int], time: int, fragments: Fragments) -> None:
        self.data = data
        self.at, captured, original = place
        self.end = self.at + captured
        self.wire = self.room = self.at + original
        self.time = time
        self.fragments = fragments
        self.path: list[str] = []
        self.pair = ""
        self.ip_at = self.ip_end = self.ip_wire = 0
        self.whole = True
        self.error: tuple[int, int, int, int] | None = None
        self.skipped = ""

    def need(self, count: int) -> None:
        """Make sure that ``count`` more bytes were captured."""
        if self.end - self.at < count:
            raise Short(self.wire - self.at >= count)

    def byte(self, offset: int) -> int:
        """Return the byte at ``offset`` in this layer."""
        self.need(offset + 1)
        return self.data[self.at + offset]

    def number(self, offset: int, size: int = 2, order: str = "big") -> int:
        """Return an unsigned number at ``offset`` in this layer."""
        self.need(offset + size)
        start = self.at + offset
        return int.from_bytes(self.data[start : start + size], "little" if order == "little" else "big")

    def bound(self, size: int) -> None:
        """Note that this layer says to be ``size`` bytes long: nothing in it is longer."""
        self.room = min(self.room, self.at + size)
        self.wire = min(self.wire, self.room)
        self.end = min(self.end, self.room)

    def skip(self, count: int) -> None:
        """Move past ``count`` bytes of this layer."""
        self.need(count)
        self.at += count

    def replace(self, header: bytes | bytearray, payload: bytes) -> None:
        """Go on behind ``header`` in an IP packet that is not in the chunk: put together, or restored."""
        self.data = bytes(header) + payload
        self.whole = False
        self.at = len(header)
        self.end = self.wire = self.room = len(self.data)
        self.ip_at, self.ip_end, self.ip_wire = 0, self.end, self.wire

    def undecoded(self, what: str) -> int:
        """End here, and say what may hold TCP and is not decoded."""
        self.skipped = what
        return OUTCOME_NOT_TCP


# --- registration -----------------------------------------------------------------------------------------------------


class Sample(NamedTuple):
    """What a layer reads, for the tests.

    Attributes
    ----------
    text : str
        Bytes in hexadecimal digits, ``00*12`` for twelve of the same; where a packet follows ``IP``, ``IP6``, or
        ``FRAME`` for one in an Ethernet frame.
    path : str
        The path that the segment in it gets; ``PAIR`` stands for the ends of the IP packet around it.
    skipped : str
        As of a :class:`Packet`: nothing is decoded then.
    """

    text: str
    path: str = ""
    skipped: str = ""


class Entry(NamedTuple):
    """One number that leads to a layer."""

    table: str
    number: int
    layer: Layer
    samples: tuple[Sample, ...]


class Link(NamedTuple):
    """A link type, see :mod:`.links`."""

    name: str
    layer: Layer


LINKS: dict[int, Link] = {}
ETHERTYPES: dict[int, Layer] = {}
IP_PROTOCOLS: dict[int, Layer] = {}
UDP_PORTS: dict[int, Layer] = {}
GRE_PROTOCOLS: dict[int, Layer] = {}
"""What GRE carries beside what has an Ethertype."""
PPP_PROTOCOLS: dict[int, Layer] = {}
NEXT_PROTOCOLS: dict[int, Layer] = {}
"""The next protocol of NSH and of VXLAN-GPE."""
HARDWARE: dict[int, Layer] = {}
"""ARPHRD_ numbers for which the protocol of a Linux cooked frame means something else."""
ENTRIES: list[Entry] = []

_TABLES: dict[str, dict[int, Layer]] = {
    "ethertype": ETHERTYPES,
    "ip_protocol": IP_PROTOCOLS,
    "udp_port": UDP_PORTS,
    "gre_protocol": GRE_PROTOCOLS,
    "ppp_protocol": PPP_PROTOCOLS,
    "next_protocol": NEXT_PROTOCOLS,
    "hardware": HARDWARE,
}


def _register(table: str, numbers: tuple[int, ...], samples: tuple[Sample, ...]) -> Callable[[Layer], Layer]:
    def take(layer: Layer) -> Layer:
        for number in numbers:
            if _TABLES[table].setdefault(number, layer) is not layer:
                raise ValueError(f"{table} {number:#x} leads to two layers")
            ENTRIES.append(Entry(table, number, layer, samples))
        return layer

    return take


def link(number: int, name: str, *samples: Sample) -> Callable[[Layer], Layer]:
    """Register the layer of a LINKTYPE_ number; ``name`` is what people call it."""

    def take(layer: Layer) -> Layer:
        if number in LINKS:
            raise ValueError(f"link type {number} leads to two layers")
        LINKS[number] = Link(name, layer)
        ENTRIES.append(Entry("link", number, layer, samples))
        return layer

    return take


def ethertype(*numbers: int, samples: tuple[Sample, ...]) -> Callable[[Layer], Layer]:
    """Register the layer of Ethertypes. The decode kernel has to know them too (``tunnel_ethertype``)."""
    return _register("ethertype", numbers, samples)


def ip_protocol(*numbers: int, samples: tuple[Sample, ...]) -> Callable[[Layer], Layer]:
    """Register the layer of IP protocol numbers. The decode kernel has to know them too (``tunnel_protocol``)."""
    return _register("ip_protocol", numbers, samples)


def udp_port(*numbers: int, samples: tuple[Sample, ...]) -> Callable[[Layer], Layer]:
    """Register the layer of UDP ports. The decode kernel has to know them too (``tunnel_port``)."""
    return _register("udp_port", numbers, samples)


def gre_protocol(*numbers: int, samples: tuple[Sample, ...]) -> Callable[[Layer], Layer]:
    """Register the layer of protocol types of GRE that are no Ethertypes."""
    return _register("gre_protocol", numbers, samples)


def ppp_protocol(*numbers: int, samples: tuple[Sample, ...]) -> Callable[[Layer], Layer]:
    """Register the layer of PPP protocol numbers."""
    return _register("ppp_protocol", numbers, samples)


def next_protocol(*numbers: int, samples: tuple[Sample, ...]) -> Callable[[Layer], Layer]:
    """Register the layer of next protocol numbers of NSH and VXLAN-GPE."""
    return _register("next_protocol", numbers, samples)


def hardware(*numbers: int, samples: tuple[Sample, ...]) -> Callable[[Layer], Layer]:
    """Register the layer of ARPHRD_ numbers. The decode kernel has to know them too."""
    return _register("hardware", numbers, samples)


# --- peeling ----------------------------------------------------------------------------------------------------------


def unread(name: str) -> Layer:
    """The layer of what nothing here reads: where TCP seems to be in it, it is counted by that name."""

    def look(packet: Packet) -> int:
        return packet.undecoded(name) if hides_tcp(packet.data, packet.at, packet.end) else OUTCOME_NOT_TCP

    return look


def by_ethertype(kind: int) -> Layer | int:
    """The layer of an Ethertype, or an outcome."""
    return ETHERTYPES.get(kind) or unread(f"Ethertype {kind:#06x}")


def of_link(number: int) -> Layer | int:
    """The layer of a link type, or an outcome."""
    known = LINKS.get(number)
    return known.layer if known else OUTCOME_UNSUPPORTED_LINK


def peel(packet: Packet, number: int) -> int:
    """Peel a frame of link type ``number`` down to the IP packet that holds TCP.

    ``OUTCOME_TCP`` says that ``packet.ip_at`` is it.
    """
    layer = of_link(number)
    peeled = 0
    try:
        while peeled < MAX_LAYERS:
            if isinstance(layer, int):
                return layer
            layer = layer(packet)
            peeled += 1
    except Short as short:
        if peeled and not short.cut:
            return OUTCOME_NOT_TCP  # all of it was captured: it only looked like that layer
        return OUTCOME_SHORT_LINK
    return OUTCOME_TOO_DEEP
