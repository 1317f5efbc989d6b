"""Captures that somebody makes to cost much: ``python -m tests.benchmarks hostile``.

Each is a simple trick to have every packet take a long way: through new connections, new tunnels, or many headers. What
they cost is told in terms of plain traffic, packet by packet.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from tests.benchmarks.generate import ACK, FIN, HEADERS, RST, SYN, capture, make_records, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["HOSTILE", "write_hostile"]

DEPTH = 12  # IPv4 headers around each packet of ipip
FRAME = struct.Struct("<IIII")
SERVER = 0xC0A80001
ETHERNET = bytes.fromhex("020000000002 020000000001 0800")


def packets_of(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """So many segments of one four-tuple from client to server, one every 10 us, with random numbers."""
    return {
        "time": np.arange(n) / 1e5,
        "from_server": np.zeros(n, bool),
        "length": np.zeros(n, np.int64),
        "flags": np.full(n, ACK),
        "seq": rng.integers(0, 1 << 32, n),
        "ack": np.zeros(n, np.int64),
        "port": np.full(n, 40000),
        "client": np.full(n, 0x0A000001),
        "window": np.full(n, 64240),
    }


def new_numbers(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """SYNs with ever new initial sequence numbers on one four-tuple."""
    return {**packets_of(n, rng), "flags": np.full(n, SYN)}


def incarnations(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A SYN and the RST that answers it, again and again on one four-tuple."""
    packets = packets_of(n, rng)
    answer = np.arange(n) % 2 == 1
    asked = np.repeat(packets["seq"][::2], 2)[:n]
    packets["flags"] = np.where(answer, RST | ACK, SYN)
    packets["from_server"] = answer
    packets["seq"] = np.where(answer, 0, asked)
    packets["ack"] = np.where(answer, (asked + 1) % (1 << 32), 0)
    return packets


def spoofed_resets(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One connection in the midst of a guesser's RSTs."""
    packets = packets_of(n, rng)
    packets["flags"] = np.full(n, RST)
    opening = {"flags": (SYN, SYN | ACK, ACK), "seq": (1000, 5000, 1001), "ack": (0, 1001, 5001)}
    for name, values in opening.items():
        packets[name][:3] = values[: len(packets[name][:3])]
    packets["from_server"][1:2] = True
    return packets


def flood(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """As many clients as SYNs."""
    packets = packets_of(n, rng)
    return {**packets, "flags": np.full(n, SYN), "client": 0x0B000000 + rng.permutation(n)}


def strays(flags: int, *, answers: bool = False) -> Callable[[int, np.random.Generator], dict[str, np.ndarray]]:
    """Lone segments of as many hosts as packets: with flags that no connection begins with, or SYN+ACKs."""

    def make(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        packets = {**packets_of(n, rng), "flags": np.full(n, flags), "client": 0x0B000000 + rng.permutation(n)}
        return {**packets, "from_server": np.full(n, answers)}

    return make


def ipv4(protocol: int, size: int) -> bytes:
    """An IPv4 header around ``size`` bytes."""
    head = struct.pack(">BBHHHBBHII", 0x45, 0, 20 + size, 0, 0x4000, 64, protocol, 0, 0x0A090901, 0x0A090902)
    total = sum(struct.unpack(">10H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack(">H", 0xFFFF - total) + head[12:]


def in_ipv4(inner: bytes, _number: int) -> bytes:
    """A packet in many others."""
    for _ in range(DEPTH):
        inner = ipv4(4, len(inner)) + inner
    return inner


def in_gre(inner: bytes, number: int) -> bytes:
    """A packet in a GRE tunnel (RFC 2890) whose key is new."""
    return ipv4(47, 8 + len(inner)) + struct.pack(">HHI", 0x2000, 0x0800, number) + inner


def in_udp(port: int, inner: bytes) -> bytes:
    """Something in a UDP datagram to a port, between two routers."""
    return ipv4(17, 8 + len(inner)) + struct.pack(">4H", port, port, 8 + len(inner), 0) + inner


def in_vxlan(inner: bytes, number: int) -> bytes:
    """A packet in a VXLAN (RFC 7348) whose number is new; they are 24 bits long."""
    return in_udp(4789, struct.pack(">BxxxI", 8, (number & 0xFFFFFF) << 8) + ETHERNET + inner)


def in_gtp(inner: bytes, number: int) -> bytes:
    """A packet of a mobile subscriber's, in a GTP-U tunnel whose TEID is new."""
    return in_udp(2152, struct.pack(">BBHI", 0x30, 255, len(inner), number) + inner)


def in_tags(inner: bytes, number: int) -> bytes:
    """A packet behind two VLAN tags, another pair each time."""
    return struct.pack(">4H", 1 + number % 4094, 0x8100, 1 + number // 4094 % 4094, 0x0800) + inner


def in_labels(inner: bytes, number: int) -> bytes:
    """A packet behind an MPLS label (RFC 3032) that is new."""
    return struct.pack(">I", (number & 0xFFFFF) << 12 | 0x140) + inner


def from_stranger(inner: bytes, number: int) -> bytes:
    """A packet whose source, or whose destination, is another one each time."""
    source = (0x0B000000 + number).to_bytes(4, "big")
    if inner[12:16] == SERVER.to_bytes(4, "big"):
        return inner[:16] + source + inner[20:]
    return inner[:12] + source + inner[16:]


def write_wrapped(path: Path, packets: int, seed: int, wrap: Callable[[bytes, int], bytes], kind: int) -> None:
    """The calm capture, each packet wrapped, in frames of an Ethertype."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        number = 0
        for part in capture("calm", packets, seed):
            records = make_records({**part, "length": np.zeros(len(part["time"]), np.int64)}, snap=True)
            raw, size = records.tobytes(), records.itemsize
            for i in range(0, len(raw), size):
                seconds, micros, _, _ = FRAME.unpack_from(raw, i)
                frame = raw[i + 16 : i + 28] + kind.to_bytes(2, "big") + wrap(raw[i + 30 : i + 16 + HEADERS], number)
                file.write(FRAME.pack(seconds, micros, len(frame), len(frame)) + frame)
                number += 1


MADE = {
    "isn": new_numbers,
    "incarnations": incarnations,
    "resets": spoofed_resets,
    "flood": flood,
    "fins": strays(FIN),
    "nulls": strays(0),
    "synfins": strays(SYN | FIN),
    "synacks": strays(SYN | ACK, answers=True),
}
WRAPPED = {
    "ipip": (in_ipv4, 0x0800),
    "gre": (in_gre, 0x0800),
    "vxlan": (in_vxlan, 0x0800),
    "gtp": (in_gtp, 0x0800),
    "vlan": (in_tags, 0x88A8),
    "mpls": (in_labels, 0x8847),
    "strangers": (from_stranger, 0x0800),
}
HOSTILE = ("plain", *MADE, *WRAPPED)
"""The captures, the one that the others are compared with first."""


def write_hostile(path: Path, kind: str, packets: int, seed: int = 1) -> None:
    """Write one of :data:`HOSTILE`."""
    if kind in WRAPPED:
        write_wrapped(path, packets, seed, *WRAPPED[kind])
    elif kind in MADE:
        write(path, [MADE[kind](packets, np.random.default_rng(seed))], snap=True)
    else:
        write(path, capture("calm", packets, seed), snap=True)
