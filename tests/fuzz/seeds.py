"""Captures to begin from: the samples, the fuzzers' corpus, and every conversation that a rule brings along."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path

from tcptrace_fsm.findings import RULES
from tcptrace_fsm.tcp.notation import read
from tests import builders as make

HOME = Path(__file__).resolve().parents[2]
LARGEST = 200_000  # bytes of a capture that is worth beginning from


@cache
def seeds() -> list[bytes]:
    """All of them, the smallest first."""
    folders = [HOME / name for name in ("sample_pcaps", "tests/fuzz/corpus/capture", "tests/fuzz/corpus/compare")]
    files = [path.read_bytes() for folder in folders for path in sorted(folder.iterdir()) if ".pcap" in path.name]
    found = [data for data in files if len(data) <= LARGEST]
    for rule in RULES.values():
        told = (rule.example, *rule.counterexamples)
        found += [capture_of(example) for example in told if isinstance(example, str)]
    return sorted(set(found), key=lambda data: (len(data), data))


def capture_of(text: str) -> bytes:
    """A conversation in the notation of the rules, as a capture of whole frames."""
    frames = [(line.time // 1000, make.ethernet(packet_of(line))) for line in read(text).lines]
    return make.pcap(frames)


def address(number: int) -> str:
    return ".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0))


def packet_of(line) -> bytes:
    """One line of a conversation as an IP packet; what an ICMP error quotes, inside that error."""
    src, dst = address(line.source[0]), address(line.target[0])
    content = bytes((line.seq + n) % 251 for n in range(min(line.length, 1400)))
    segment = make.tcp(
        content,
        src_port=line.source[1],
        dst_port=line.target[1],
        seq=line.seq % 2**32,
        ack=line.ack % 2**32,
        window=line.window & 65535,
        options=options_of(line.options)[:40],
    )
    flags = line.flags & 511
    segment = segment[:12] + struct.pack("!H", segment[12] >> 4 << 12 | flags) + segment[14:]
    segment = make.with_checksum(segment, src, dst)
    if line.bad:
        segment = segment[:16] + bytes([segment[16] ^ 1]) + segment[17:]
    size = len(segment) + 20 + max(line.length - len(content), 0)
    packet = make.ipv4(segment, src=src, dst=dst, ident=max(line.ip_id, 0) & 65535, ttl=max(line.ttl, 0) & 255 or 64,
                       total=min(size, 65535))  # fmt: skip
    if line.error:
        head = struct.pack("!BBHHH", line.error.type, line.error.code, 0, 0, line.error.mtu & 65535)
        return make.ipv4(head + packet[:28], src=address(line.error.sender), dst=src, protocol=1)
    return packet


def options_of(options) -> bytes:
    """TCP options of a line."""
    out = b""
    if "mss" in options:
        out += struct.pack("!BBH", 2, 4, options["mss"][0] & 65535)
    if "scale" in options:
        out += bytes([1, 3, 3, options["scale"][0] & 255])
    if "sackok" in options:
        out += bytes([1, 1, 4, 2])
    if "ts" in options:
        out += struct.pack("!BBBBII", 1, 1, 8, 10, *(value % 2**32 for value in options["ts"]))
    if sack := options.get("sack"):
        out += bytes([1, 1, 5, 2 + 4 * len(sack)]) + b"".join(struct.pack("!I", edge % 2**32) for edge in sack)
    if "tfo" in options:
        out += bytes([34, 10]) + bytes(range(8))
    if "mptcp" in options:
        out += bytes([30, 12]) + bytes(10)
    return out
