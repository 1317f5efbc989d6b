"""What a file is, by its first bytes: the headers of pcap, snoop and pcapng files.

Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng, RFC 1761.
"""

from __future__ import annotations

from typing import NamedTuple

from tcptrace_fsm.capture.pcapng import PCAPNG_MAGIC, Order, number
from tcptrace_fsm.errors import CaptureError

__all__ = ["LONGEST_HEADER", "PCAP_MAGIC", "SNOOP_LINKS", "SNOOP_MAGIC", "FileHeader", "read_header"]

LONGEST_HEADER = 24

# The first four bytes of a pcap file: (ticks in ns, bytes in a record header).
PCAP_MAGIC = {
    0xA1B2C3D4: (1000, 16),
    0xA1B23C4D: (1, 16),
    0xA1B2CD34: (1000, 24),  # Kuznetzov's patch: interface, protocol and packet type follow the lengths
}
SNOOP_MAGIC = b"snoop\0\0\0"
SNOOP_LINKS = {0: 1, 2: 6, 4: 1, 8: 10}
"""LINKTYPE_ numbers of snoop's data link types: 802.3, token ring, Ethernet, FDDI (RFC 1761)."""

# What people hand over by mistake, by its first bytes.
LOOKALIKES = {
    b"GMBU": "a Microsoft Network Monitor capture; Wireshark's editcap -F pcap converts it",
    b"RTSS": "a Microsoft Network Monitor capture; Wireshark's editcap -F pcap converts it",
    b"PK\x03\x04": "a ZIP archive; unpack it first",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"<!DO": "an HTML page",
    b"<htm": "an HTML page",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
}


class FileHeader(NamedTuple):
    """What the header of a capture file says.

    Attributes
    ----------
    format : str
        ``pcap``, ``pcapng`` or ``snoop``; of a pcapng file nothing else is known yet.
    order : str
        Byte order of its numbers.
    size : int
        Bytes of the header.
    link, snaplen : int
        LINKTYPE_ number, and bytes captured of a frame at most.
    tick, record : int
        pcap: nanoseconds in a unit of the fraction, and bytes of a record's header.
    lengths : int
        pcap: as ``WALK_LENGTHS``.
    """

    format: str
    order: Order = "big"
    size: int = 0
    link: int = 0
    snaplen: int = 0
    tick: int = 1000
    record: int = 0
    lengths: int = 0


def read_header(start: bytes, name: str, compression: str) -> FileHeader:
    """Read the beginning of a file, ``LONGEST_HEADER`` bytes of it where there are so many.

    Raises
    ------
    CaptureError
        When no capture begins like this.
    """
    if not start:
        raise CaptureError(name, 0, f"nothing in the {compression} stream" if compression else "empty")
    if start.startswith(PCAPNG_MAGIC):
        return FileHeader("pcapng")
    if start.startswith(SNOOP_MAGIC):
        return _snoop(start, name)
    orders: tuple[Order, ...] = ("big", "little")
    for order in orders:
        magic = number(start, 0, 4, order)
        if len(start) >= 4 and magic in PCAP_MAGIC:
            return _pcap(start, name, order, *PCAP_MAGIC[magic])
    mistaken = [what for magic_bytes, what in LOOKALIKES.items() if start.startswith(magic_bytes)]
    begins = f"not a capture (it begins with {start[:4].hex(' ')})"
    raise CaptureError(name, 0, mistaken[0] if mistaken else begins)


def _pcap(start: bytes, name: str, order: Order, tick: int, record: int) -> FileHeader:
    if len(start) < 24:
        raise CaptureError(name, len(start), "the file ends inside its 24-byte header")
    version = number(start, 4, 2, order), number(start, 6, 2, order)
    if version[0] not in {2, 543}:  # 543.0 is that of a modified libpcap, otherwise as 2.4
        raise CaptureError(name, 4, f"pcap version {version[0]}.{version[1]} is not known")
    # Before 2.3 the original length came first; writers of 2.3 did not agree.
    lengths = 1 if version < (2, 3) else 2 if version == (2, 3) else 0
    link = number(start, 20, 4, order) & 0x03FFFFFF  # the upper bits tell of the frame check sequence
    return FileHeader("pcap", order, 24, link, number(start, 16, 4, order), tick, record, lengths)


def _snoop(start: bytes, name: str) -> FileHeader:
    if len(start) < 16:
        raise CaptureError(name, len(start), "the file ends inside its 16-byte header")
    version, kind = number(start, 8, 4, "big"), number(start, 12, 4, "big")
    if version != 2:
        raise CaptureError(name, 8, f"snoop version {version} is not known")
    if kind not in SNOOP_LINKS:
        raise CaptureError(name, 12, f"snoop data link type {kind} is not known")
    return FileHeader("snoop", "big", 16, SNOOP_LINKS[kind])
