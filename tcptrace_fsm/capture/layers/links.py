"""Link types, and the names of what an IP packet was wrapped in.

A segment's ``S_NET`` word says how it was encapsulated, as a code, so that equal addresses in different VLANs or
tunnels stay different connections:

* ``0``: nothing outside the link layer;
* positive: one to four VLAN tags, packed by the decode kernel: their number in the lowest 3 bits, above it 12 bits for
  each tag, the innermost lowest;
* negative: a tunnel path, by a number that is made of its words (:mod:`.paths`).

A path is the same for both directions of a connection: tunnel ends are named in a fixed order, and labels that are
chosen by direction (MPLS labels, GTP's TEIDs) are left out.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from tcptrace_fsm.capture.layers import layers
from tcptrace_fsm.capture.layers.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "KERNEL_LINKS",
    "NAMES_ONLY",
    "encapsulation_code",
    "encapsulation_name",
    "encapsulation_texts",
    "is_read",
    "known_paths",
    "learn_paths",
    "link_name",
    "met_paths",
]


KERNEL_LINKS = {
    0: "NULL",
    1: "Ethernet",
    12: "RAW",
    14: "RAW",
    101: "RAW",
    108: "LOOP",
    113: "Linux cooked",
    228: "IPv4",
    229: "IPv6",
    276: "Linux cooked v2",
}
"""Names of the link types that the decode kernel reads: the registry's without ``LINKTYPE_``, or what people say."""

NAMES_ONLY = {
    187: "Bluetooth HCI H4",
    189: "USB Linux",
    195: "802.15.4",
    201: "Bluetooth HCI H4 with direction",
    220: "USB Linux with padding",
    227: "SocketCAN",
    230: "802.15.4 without FCS",
    249: "USBPcap",
    251: "Bluetooth LE",
    252: "Wireshark upper PDU",
    253: "Netlink",
    265: "NFC LLCP",
}
"""Nothing in these leads to TCP in a way that is worth the code, or they are encrypted."""


def is_read(number: int) -> bool:
    """Whether frames of a link type are read."""
    return number in KERNEL_LINKS or number in layers().LINKS


def link_name(number: int) -> str:
    """Return what to call a link type (https://www.tcpdump.org/linktypes.html).

    >>> link_name(1), link_name(54321)
    ('Ethernet', 'link type 54321')
    """
    name = KERNEL_LINKS.get(number) or NAMES_ONLY.get(number)
    if name is None:
        known = layers().LINKS.get(number)
        name = known.name if known else f"link type {number}"
    return name


_OVERFLOW = "tunnels beyond counting"
_paths = Paths()
_learnt: dict[int, str] = {}


def encapsulation_code(layers: Iterable[str]) -> int:
    """Return the code of a path, outermost layer first; VLAN tags alone give what the kernel gives for them.

    >>> encapsulation_code([]), encapsulation_code(["vlan 10"]) == 10 << 3 | 1
    (0, True)
    """
    path = list(layers)
    if len(path) <= 4 and all(layer.startswith("vlan ") for layer in path):
        code = 0
        for layer in path:
            code = code << 12 | int(layer[5:])
        return code << 3 | len(path)
    return path_code("/".join(path))


def path_code(text: str) -> int:
    """The same of a path, written as it is shown, that is more than VLAN tags.

    >>> path_code("gre 10.0.0.1-10.0.0.2") == encapsulation_code(["gre 10.0.0.1-10.0.0.2"])
    True
    """
    return _paths.code(text)


def met_paths() -> Paths:
    """The paths that this process has met, for kernels that meet others."""
    return _paths


def known_paths() -> dict[int, str]:
    """Return the paths that this process has met, by their codes: for another process to `learn_paths`."""
    return _learnt | _paths.names()


def learn_paths(paths: dict[int, str]) -> None:
    """Take what another process has met."""
    _learnt.update(paths)


def encapsulation_name(code: int) -> str:
    """Return the path that an encapsulation code stands for, outermost first; empty for none.

    >>> encapsulation_name((5 << 12 | 6) << 3 | 2)
    'vlan 5/vlan 6'
    """
    name = _paths.name(code)
    return _learnt.get(code, _OVERFLOW) if name is None else name


def encapsulation_texts(codes: array[int]) -> tuple[array[int], bytes]:
    """The same of many: how many letters each has, and all of them, one path after the other.

    >>> encapsulation_texts(array("q", [0, 5 << 3 | 1]))
    (array('q', [0, 6]), b'vlan 5')
    """
    lengths, letters = _paths.texts(codes)
    if letters is None:
        texts = [encapsulation_name(code).encode() for code in codes]
        lengths, letters = array("q", map(len, texts)), b"".join(texts)
    return lengths, letters
