"""Link types, and the names of what an IP packet was wrapped in.

A segment's ``S_NET`` word says how it was encapsulated, as a code, so that equal addresses in different VLANs or
tunnels stay different connections:

* ``0``: nothing outside the link layer;
* positive: one to four VLAN tags, packed by the decode kernel: their number in the lowest 3 bits, above it 12 bits for
  each tag, the innermost lowest;
* negative: a tunnel path, numbered in order of its first appearance.

A path is the same for both directions of a connection: tunnel ends are named in a fixed order, and labels that are
chosen by direction (MPLS labels, GTP's TEIDs) are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "LINK_TYPES",
    "LinkType",
    "encapsulation_code",
    "encapsulation_name",
    "known_paths",
    "learn_paths",
    "link_name",
]


class LinkType(NamedTuple):
    """A link type as on https://www.tcpdump.org/linktypes.html."""

    name: str
    """The registry's name without ``LINKTYPE_``; what people call it for the most common ones."""
    layer: str
    """Who reads it: ``kernel``, a layer of :mod:`tcptrace_fsm.capture.layers.tunnels`, or empty for nobody."""


LINK_TYPES = {
    0: LinkType("NULL", "kernel"),
    1: LinkType("Ethernet", "kernel"),
    6: LinkType("Token Ring", "token_ring"),
    8: LinkType("SLIP", "slip"),
    9: LinkType("PPP", "ppp"),
    10: LinkType("FDDI", "fddi"),
    11: LinkType("ATM RFC 1483", "llc"),
    12: LinkType("RAW", "kernel"),
    14: LinkType("RAW", "kernel"),
    50: LinkType("PPP HDLC", "ppp"),
    51: LinkType("PPPoE", "pppoe"),
    100: LinkType("ATM RFC 1483", "llc"),
    101: LinkType("RAW", "kernel"),
    104: LinkType("Cisco HDLC", "cisco_hdlc"),
    105: LinkType("802.11", "wlan"),
    107: LinkType("Frame Relay", "frame_relay"),
    108: LinkType("LOOP", "kernel"),
    109: LinkType("ENC", "enc"),
    113: LinkType("Linux cooked", "kernel"),
    117: LinkType("PFLOG", "pflog"),
    119: LinkType("802.11 with Prism header", "prism"),
    122: LinkType("IP over Fibre Channel", "ip_over_fc"),
    123: LinkType("SunATM", "sun_atm"),
    127: LinkType("802.11 with radiotap", "radiotap"),
    143: LinkType("DOCSIS", "docsis"),
    163: LinkType("802.11 with AVS header", "prism"),
    166: LinkType("PPP of pppd", "ppp_directed"),
    178: LinkType("Juniper Ethernet", "juniper_ethernet"),
    179: LinkType("Juniper PPP", "juniper_ppp"),
    180: LinkType("Juniper Frame Relay", "juniper_frame_relay"),
    181: LinkType("Juniper Cisco HDLC", "juniper_cisco_hdlc"),
    192: LinkType("PPI", "ppi"),
    197: LinkType("ERF", "erf"),
    204: LinkType("PPP with direction", "ppp_directed"),
    205: LinkType("Cisco HDLC with direction", "cisco_hdlc_directed"),
    206: LinkType("Frame Relay with direction", "frame_relay_directed"),
    228: LinkType("IPv4", "kernel"),
    229: LinkType("IPv6", "kernel"),
    239: LinkType("NFLOG", "nflog"),
    240: LinkType("NetANALYZER", "netanalyzer"),
    242: LinkType("IP over InfiniBand", "ip_over_infiniband"),
    258: LinkType("PKTAP", "pktap"),
    259: LinkType("EPON", "epon"),
    276: LinkType("Linux cooked v2", "kernel"),
    281: LinkType("Ethernet with Broadcom tag", "broadcom_tag"),
    282: LinkType("Ethernet with Broadcom tag in front", "broadcom_tag_first"),
    283: LinkType("Ethernet with Marvell tag", "marvell_tag"),
    284: LinkType("Ethernet with Marvell Ethertype tag", "marvell_ethertype_tag"),
    # Known by name only: nothing in them leads to TCP in a way that is worth the code, or they are encrypted.
    187: LinkType("Bluetooth HCI H4", ""),
    189: LinkType("USB Linux", ""),
    195: LinkType("802.15.4", ""),
    201: LinkType("Bluetooth HCI H4 with direction", ""),
    220: LinkType("USB Linux with padding", ""),
    227: LinkType("SocketCAN", ""),
    230: LinkType("802.15.4 without FCS", ""),
    249: LinkType("USBPcap", ""),
    251: LinkType("Bluetooth LE", ""),
    252: LinkType("Wireshark upper PDU", ""),
    253: LinkType("Netlink", ""),
    265: LinkType("NFC LLCP", ""),
}


def link_name(number: int) -> str:
    """Return what to call a link type.

    >>> link_name(1), link_name(54321)
    ('Ethernet', 'link type 54321')
    """
    known = LINK_TYPES.get(number)
    return known.name if known else f"link type {number}"


# Distinct tunnel paths that get a code of their own; a hostile capture can make up any number of them.
MAX_PATHS = 65536
_OVERFLOW = "tunnels beyond counting"
_OVERFLOW_CODE = -1
_codes: dict[str, int] = {}
_names: dict[int, str] = {}


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
    text = "/".join(path)
    code = _codes.get(text, 0)
    if code == 0:
        if len(_names) >= MAX_PATHS:
            return _OVERFLOW_CODE
        from hashlib import blake2b

        # Made of the text alone, so that it means the same in every process.
        code = -2 - int.from_bytes(blake2b(text.encode(), digest_size=7).digest(), "big")
        _codes[text], _names[code] = code, text
    return code


def known_paths() -> dict[int, str]:
    """Return the paths that this process has met, by their codes: for another process to `learn_paths`."""
    return dict(_names)


def learn_paths(paths: dict[int, str]) -> None:
    """Take what another process has met."""
    _names.update(paths)


def encapsulation_name(code: int) -> str:
    """Return the path that an encapsulation code stands for, outermost first; empty for none.

    >>> encapsulation_name((5 << 12 | 6) << 3 | 2)
    'vlan 5/vlan 6'
    """
    if code < 0:
        return _names.get(code, _OVERFLOW)
    count = code & 7
    code >>= 3
    return "/".join(f"vlan {code >> 12 * (count - 1 - i) & 0xFFF}" for i in range(count))
