"""Captures as the lab needs them: read, write, edit, and make single segments."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


class Frame(NamedTuple):
    """One captured Ethernet frame; `ns` counts from the epoch."""

    ns: int
    data: bytes

    @property
    def time(self) -> float:
        return self.ns / 1e9


@dataclass(frozen=True, slots=True)
class Segment:
    """The TCP fields of a frame that the lab looks at."""

    src: str
    sport: int
    dst: str
    dport: int
    seq: int
    ack: int
    flags: int
    window: int
    length: int
    options: bytes

    @property
    def next(self) -> int:
        """The sequence number after this segment."""
        return (self.seq + self.length + bool(self.flags & SYN) + bool(self.flags & FIN)) & 0xFFFFFFFF

    @property
    def kind(self) -> str:
        """The word by which faults name a segment: syn, synack, fin, rst, data or ack."""
        if self.flags & RST:
            return "rst"
        if self.flags & SYN:
            return "synack" if self.flags & ACK else "syn"
        if self.flags & FIN:
            return "fin"
        return "data" if self.length else "ack"


def parse(frame: bytes) -> Segment | None:
    """The TCP segment in an Ethernet frame (IPv4, or IPv6 without extension headers), or None."""
    if len(frame) < 54:
        return None
    kind = frame[12:14]
    if kind == b"\x08\x00" and frame[23] == 6:
        at = 14 + (frame[14] & 15) * 4
        src, dst = socket.inet_ntop(socket.AF_INET, frame[26:30]), socket.inet_ntop(socket.AF_INET, frame[30:34])
        total = int.from_bytes(frame[16:18], "big")
        end = 14 + total if total else len(frame)
    elif kind == b"\x86\xdd" and frame[20] == 6:
        at = 54
        src, dst = socket.inet_ntop(socket.AF_INET6, frame[22:38]), socket.inet_ntop(socket.AF_INET6, frame[38:54])
        payload = int.from_bytes(frame[18:20], "big")
        end = 54 + payload if payload else len(frame)
    else:
        return None
    sport, dport, seq, ack, offset, flags, window = struct.unpack_from("!HHIIBBH", frame, at)
    header = (offset >> 4) * 4
    return Segment(src, sport, dst, dport, seq, ack, flags, window, end - at - header, frame[at + 20 : at + header])


def framed(packet: bytes) -> bytes:
    """An IP packet behind an Ethernet header, so that there is one way to parse."""
    return bytes(12) + (b"\x86\xdd" if packet[:1] >= b"\x60" else b"\x08\x00") + packet


def options(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """The TCP options: (kind, body)."""
    at = 0
    while at < len(raw) and raw[at] != 0:
        if raw[at] == 1:
            at += 1
        elif at + 1 < len(raw) and raw[at + 1] >= 2:
            yield raw[at], raw[at + 2 : at + raw[at + 1]]
            at += raw[at + 1]
        else:
            return


def read(path: Path) -> list[Frame]:
    """All whole frames of a little-endian pcap (a file still being written is fine).

    Of link type RAW too; its packets get the Ethernet header that they have not.
    """
    raw = path.read_bytes()
    if len(raw) < 24:
        return []
    raw_ip = int.from_bytes(raw[20:24], "little") in (12, 101)
    scale = {0xA1B2C3D4: 1000, 0xA1B23C4D: 1}[int.from_bytes(raw[:4], "little")]
    out, at = [], 24
    while at + 16 <= len(raw):
        sec, frac, caplen, _ = struct.unpack_from("<IIII", raw, at)
        if at + 16 + caplen > len(raw):
            break
        data = raw[at + 16 : at + 16 + caplen]
        out.append(Frame(sec * 1_000_000_000 + frac * scale, framed(data) if raw_ip else data))
        at += 16 + caplen
    return out


def write(path: Path, frames: Iterable[Frame]) -> None:
    """Write a pcap: Ethernet, microseconds."""
    parts = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)]
    for ns, data in frames:
        parts.append(struct.pack("<IIII", ns // 10**9, ns % 10**9 // 1000, len(data), len(data)) + data)
    path.write_bytes(b"".join(parts))


def _block(kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def write_pcapng(path: Path, frames: Iterable[Frame], interface: str, comment: str) -> None:
    """Write a pcapng: one section, one interface with nanosecond resolution, Enhanced Packet Blocks."""
    section = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + _option(1, comment.encode()) + _option(0, b"")
    options = _option(2, interface.encode()) + _option(9, b"\x09") + _option(0, b"")
    parts = [_block(0x0A0D0D0A, section), _block(1, struct.pack("<HHI", 1, 0, 262144) + options)]
    for ns, data in frames:
        head = struct.pack("<IIIII", 0, ns >> 32, ns & 0xFFFFFFFF, len(data), len(data))
        parts.append(_block(6, head + data + bytes(-len(data) % 4)))
    path.write_bytes(b"".join(parts))


def edit(path: Path, keep: Callable[[int, Frame, Segment | None], bool]) -> int:
    """Remove the frames that `keep` refuses, as if the capture had missed them; how many that were."""
    frames = read(path)
    kept = [f for i, f in enumerate(frames) if keep(i, f, parse(f.data))]
    write(path, kept)
    return len(frames) - len(kept)


def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def build(
    macs: tuple[bytes, bytes],
    src: tuple[str, int],
    dst: tuple[str, int],
    flags: int,
    seq: int,
    ack: int = 0,
    window: int = 1024,
    payload: bytes = b"",
    options: bytes = b"",
    urgent: int = 0,
    ttl: int = 64,
    ip_id: int = 0x1234,
    tos: int = 0,
) -> bytes:
    """An Ethernet frame with a well-formed TCP segment; macs are (source, destination), a ninth flag is AE."""
    family = socket.AF_INET6 if ":" in src[0] else socket.AF_INET
    a, z = socket.inet_pton(family, src[0]), socket.inet_pton(family, dst[0])
    head = struct.pack(
        "!HHIIBBHHH", src[1], dst[1], seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, 0, flags & 255, window, 0, urgent
    )
    head = head[:12] + bytes([(5 + len(options) // 4) << 4 | flags >> 8]) + head[13:] + options
    length = len(head) + len(payload)
    pseudo = a + z + (struct.pack("!I3xB", length, 6) if family == socket.AF_INET6 else struct.pack("!xBH", 6, length))
    tcp = bytearray(head + payload)
    tcp[16:18] = checksum(pseudo + tcp).to_bytes(2, "big")
    if family == socket.AF_INET6:
        ip = struct.pack("!IHBB", 6 << 28 | tos << 20, length, 6, ttl) + a + z
        return macs[1] + macs[0] + b"\x86\xdd" + ip + tcp
    ip4 = bytearray(struct.pack("!BBHHHBBH", 0x45, tos, 20 + length, ip_id, 0x4000, ttl, 6, 0) + a + z)
    ip4[10:12] = checksum(bytes(ip4)).to_bytes(2, "big")
    return macs[1] + macs[0] + b"\x08\x00" + bytes(ip4) + bytes(tcp)


def build_icmp(src: str, dst: str, kind: int, code: int, mtu: int, quoted: bytes) -> bytes:
    """An IP packet with an ICMP error (RFC 792, RFC 4443) about the packet whose beginning is `quoted`."""
    if ":" in src:
        a, z = socket.inet_pton(socket.AF_INET6, src), socket.inet_pton(socket.AF_INET6, dst)
        body = struct.pack("!BBHI", kind, code, 0, mtu) + quoted
        total = checksum(a + z + struct.pack("!I3xB", len(body), 58) + body)
        body = body[:2] + total.to_bytes(2, "big") + body[4:]
        return struct.pack("!IHBB", 6 << 28, len(body), 58, 64) + a + z + body
    body = struct.pack("!BBHHH", kind, code, 0, 0, mtu) + quoted
    body = body[:2] + checksum(body).to_bytes(2, "big") + body[4:]
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, 1, 0)
    ip += socket.inet_pton(socket.AF_INET, src) + socket.inet_pton(socket.AF_INET, dst)
    return ip[:10] + checksum(ip).to_bytes(2, "big") + ip[12:] + body
