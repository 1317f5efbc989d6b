"""One capture made into several, and tables compared whatever the files that they came from."""

from __future__ import annotations

import random
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np

from tests import builders as b

SECOND = 10**6
SAMPLES = Path(__file__).parent.parent / "sample_pcaps"
FILE_COLUMNS = {
    "file",
    "files",
    "first_file",
    "last_file",
    "confirmed_by_file",
    "arrival_file",
    "file_before",
    "file_after",
}
TABLES = ("connections", "transitions", "anomalies", "diagnoses", "waits", "segments")


def pcap_frames(path):
    """Header and records of a pcap file."""
    data = Path(path).read_bytes()
    order = "<" if data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
    at, frames = 24, []
    while at < len(data):
        size = 16 + struct.unpack(order + "I", data[at + 8 : at + 12])[0]
        frames.append(data[at : at + size])
        at += size
    return data[:24], frames


def town(seed=1, connections=60, length=30):
    """A capture with many connections at the same time: closes, resets, refusals, scans, losses, ports used again.

    No two frames have the same time, which grows.
    """
    chance = random.Random(seed)
    frames = []
    for n in range(connections):
        begin = chance.randrange(length * SECOND)
        host, port = f"10.0.{n % 3}.{1 + n % 7}", 40000 + (n * 7) % 23
        server = f"192.0.2.{1 + n % 2}" if n % 5 else f"192.0.2.{50 + n}"
        way = chance.choice(("close", "close", "reset", "refused", "silent", "open", "half"))
        for time, back, content in talk(chance, way, 1000 + 77777 * n):
            src, dst = (server, host) if back else (host, server)
            ports = {"src_port": 80, "dst_port": port} if back else {"src_port": port, "dst_port": 80}
            packet = b.ipv4(b.tcp(**content, **ports), src=src, dst=dst, ident=chance.randrange(1, 65535))
            tags = range(1, 6) if n % 9 == 4 else ()  # more than the kernel takes off itself
            frames.append((begin + time, b.ethernet(packet, 0x0800, *tags)))
    frames.append((length * SECOND // 2, b.ethernet(b.ipv4(b.udp(b"?"), protocol=17))))
    for n in range(25):  # no segments here, and streams to Wireshark: broken headers, what ICMP errors quote
        ports = {"src_port": 40000 + n % 23, "dst_port": 80, "seq": 9 * n, "flags": "SA"[n % 2]}
        packet = b.ipv4(b.tcp(offset=(4, 5)[n % 5 == 0], **ports), src=f"10.0.{n % 3}.{1 + n % 7}", dst="192.0.2.1")
        if n % 5 == 0:
            packet = b.ipv4(b"\3" + bytes(7) + packet, src="192.0.2.1", dst="10.0.0.1", protocol=1)
        frames.append((n * SECOND, b.ethernet(packet)))
    frames.sort(key=lambda frame: frame[0])
    times = np.maximum.accumulate(np.array([time for time, _ in frames]) + np.arange(len(frames)))
    return [(int(time) + 10**15, content) for time, (_, content) in zip(times, frames, strict=True)]


def talk(chance, way, isn):
    """The segments of one connection: (time, sent by the server, arguments of a TCP header)."""
    mine, peer, time = isn, 5 * isn % 2**32, 0

    def say(back, flags, payload=b"", *, pause=10_000):
        nonlocal mine, peer, time
        time += 1 + chance.randrange(2 * pause)
        seq, ack = (peer, mine) if back else (mine, peer)
        counted = len(payload) + ("S" in flags) + ("F" in flags)
        if back:
            peer = (peer + counted) % 2**32
        else:
            mine = (mine + counted) % 2**32
        content = {"seq": seq, "ack": ack if "A" in flags else 0, "flags": flags, "payload": payload}
        if chance.random() < 0.04:
            return []
        again = [(time + 250_000, back, content)] if chance.random() < 0.05 else []
        return [(time, back, content), *again]

    said = say(False, "S")
    if way == "silent":
        return said
    if way == "refused":
        return said + say(True, "RA")
    said += say(True, "SA") + say(False, "A")
    for _ in range(chance.randrange(8)):
        back = chance.random() < 0.5
        said += say(back, "PA", bytes(chance.randrange(1, 1400)), pause=200_000) + say(not back, "A")
    if way == "reset":
        said += say(chance.random() < 0.5, "RA")
    elif way in {"close", "half"}:
        said += say(False, "FA") + say(True, "A")
        if way == "close":
            said += say(True, "FA", pause=300_000) + say(False, "A")
    return said


def rotated(folder, frames, cuts, *, name="ring{}.pcap"):
    """Write frames to files, one after another; the names do not tell the order."""
    edges = [0, *sorted(cuts), len(frames)]
    paths = []
    for n, (begin, end) in enumerate(pairwise(edges)):
        paths.append(folder / name.format((n * 7 + 3) % 10 * 100 + n))
        paths[-1].write_bytes(b.pcap(frames[begin:end]))
    return paths


def side_by_side(folder, frames, whose):
    """Write frames to files of which each holds those that ``whose`` gives it."""
    paths = []
    for n in sorted(set(whose)):
        paths.append(folder / f"queue{n}.pcap")
        paths[-1].write_bytes(b.pcap([frame for frame, own in zip(frames, whose, strict=True) if own == n]))
    return paths


def plain(table):
    """A table without what names files and frames, its rows in an order that does not depend on them."""
    frames = {
        "frame",
        "frames",
        "first_frame",
        "last_frame",
        "confirmed_by",
        "arrival_frame",
        "frame_before",
        "frame_after",
        "evidence_for",  # sentences that name frames
        "evidence_against",
    }
    return table.drop(columns=[c for c in table.columns if c in FILE_COLUMNS | frames])


def same(one, other):
    """Whether two tables have the same rows, in whatever order they come."""
    assert list(one.columns) == list(other.columns)
    assert len(one) == len(other)
    rows, others = (sorted(zip(*(map(str, t[c].tolist()) for c in t.columns), strict=True)) for t in (one, other))
    for row, another in zip(rows, others, strict=True):
        assert dict(zip(one.columns, row, strict=True)) == dict(zip(one.columns, another, strict=True))
