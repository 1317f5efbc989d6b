"""Make benchmark captures: many TCP connections, interleaved, from a seed.

``web``: connections of mixed sizes with payload; ``snap``: the same, headers only, 1 % of the segments sent again and
1 % of the connections reset; ``trouble``: 5 % of each, and half-open connections and closed windows; ``calm``: none of
it; ``bulk``: few and long; ``synflood``: a connection a packet; ``small``: a thousand packets of ``snap``; ``long``:
ten of ``snap``, one after another.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import struct
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HEADERS = 66  # Ethernet, IPv4, TCP with timestamps
RECORD = np.dtype(
    [
        ("s", "<u4"),
        ("us", "<u4"),
        ("cap", "<u4"),
        ("len", "<u4"),
        ("eth", "u1", 14),
        ("ip", "u1", 20),
        ("tcp", "u1", 32),
    ]
)
BLOCK = np.dtype(  # pcapng's Enhanced Packet Block, its packet and trailer aside
    [
        ("type", "<u4"),
        ("size", "<u4"),
        ("interface", "<u4"),
        ("high", "<u4"),
        ("low", "<u4"),
        ("cap", "<u4"),
        ("len", "<u4"),
    ]
)
KINDS = ("web", "snap", "trouble", "calm", "bulk", "synflood", "small", "long")
CONTAINERS = ("pcap", "pcapng", "pcap.gz")
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def big(values: np.ndarray, size: int) -> np.ndarray:
    """Values as ``size`` big-endian bytes each: uint8[n, size]."""
    return values.astype(f">u{size}").view("u1").reshape(-1, size)


def connection_packets(counts: np.ndarray, rng: np.random.Generator, spread: float) -> dict[str, np.ndarray]:
    """All packets of all connections, ordered by time.

    Each connection: three packets to open, data and ACKs in turn, four packets to close.
    """
    connections = len(counts)
    total = int(counts.sum())
    conn = np.repeat(np.arange(connections), counts)
    first = np.concatenate(([0], np.cumsum(counts)[:-1]))
    k = np.arange(total) - np.repeat(first, counts)
    n = np.repeat(counts, counts)
    start = np.sort(rng.uniform(0, spread, connections))
    gap = rng.exponential(0.004, total)
    gap[k == 0] = 0
    within = np.cumsum(gap)
    within -= np.repeat(within[first], counts)
    time = np.repeat(start, counts) + within
    data = (k >= 3) & (k < n - 4)
    turn = (k - 3) % 3  # request or response data twice, then an ACK from the other side
    server = rng.random(connections)[conn] < 0.8  # mostly downloads
    from_server = np.where(data, np.where(turn < 2, server, ~server), False)
    from_server |= (k == 1) | (k == n - 3) | (k == n - 2)
    length = np.where(data & (turn < 2), rng.choice([1448, 1448, 1448, 536, 100], total), 0)
    flags = np.full(total, ACK)
    flags[k == 0] = SYN
    flags[k == 1] = SYN | ACK
    flags[data & (turn == 1)] |= PSH
    flags[(k == n - 4) | (k == n - 2)] |= FIN
    consumed = length + ((flags & (SYN | FIN)) != 0)
    sent = [np.where(from_server == side, consumed, 0) for side in (False, True)]
    running = []
    for side in (0, 1):
        total_sent = np.cumsum(sent[side])
        before = total_sent - sent[side]
        running.append(before - np.repeat(before[first], counts))
    isn = [rng.integers(0, 2**32, connections)[conn] for _ in (0, 1)]
    seq = np.where(from_server, running[1] + isn[1], running[0] + isn[0]) % 2**32
    ack = np.where(from_server, running[0] + isn[0], running[1] + isn[1]) % 2**32
    ack[k == 0] = 0
    order = np.argsort(time, kind="stable")
    # Distinct four-tuples: 64,000 client ports times as many clients as it takes.
    port = 1024 + conn % 60000
    client = 0x0A000001 + conn // 60000 + rng.integers(0, 200, connections)[conn] * 256
    packets = {
        "time": time,
        "from_server": from_server,
        "length": length,
        "flags": flags,
        "seq": seq,
        "ack": ack,
        "port": port,
        "client": client,
        "window": np.full(total, 64240),
        "conn": conn,
        "k": k,
        "n": n,
    }
    return {name: values[order] for name, values in packets.items()}


def troubled(
    packets: dict[str, np.ndarray], rng: np.random.Generator, *, loss: float, resets: float, half_open: float = 0
) -> dict[str, np.ndarray]:
    """The same packets with what happens on bad days.

    A share ``loss`` of the data is sent again a retransmission timeout later. A share ``resets`` of the connections
    ends in an RST in place of FINs. Of ``half_open``, the server is not heard after its SYN+ACK, and the client sends
    its first data again; and in as many others the client closes its window for a second.
    """
    fate = rng.random(int(packets["conn"].max()) + 1)[packets["conn"]]
    k, n = packets["k"], packets["n"]
    reset = fate < resets
    silent = (fate >= resets) & (fate < resets + half_open)
    closed = (fate >= resets + half_open) & (fate < resets + 2 * half_open)
    packets["flags"] = np.where(reset & (k == n - 4), RST | ACK, packets["flags"])
    keep = ~(reset & (k > n - 4)) & ~(silent & ((packets["from_server"] & (k > 1)) | (k > 5)))
    full = closed & ~packets["from_server"] & (k == 5)  # then the window opens again with the next ACK
    packets["window"] = np.where(full, 0, packets["window"])
    packets["time"] = packets["time"] + (closed & (k > 5))  # a second of waiting
    again = keep & (packets["length"] > 0) & ((rng.random(len(k)) < loss) | silent)
    copies = {name: values[again] for name, values in packets.items()}
    copies["time"] = copies["time"] + 0.25
    whole = {name: np.concatenate((values[keep], copies[name])) for name, values in packets.items()}
    order = np.argsort(whole["time"], kind="stable")
    return {name: values[order] for name, values in whole.items()}


def write(path: Path, parts: Iterable[dict[str, np.ndarray]], *, snap: bool) -> None:
    """Write packets with times in microseconds; with ``snap`` headers only, else with payload of zeros.

    The name tells the container: one of :data:`CONTAINERS`.
    """
    blocks = path.name.endswith(".pcapng")
    with gzip.open(path, "wb", compresslevel=6) if path.name.endswith(".gz") else path.open("wb") as file:
        if blocks:
            file.write(struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28))
            file.write(struct.pack("<IIHHII", 1, 20, 1, 0, 262144, 20))
        else:
            file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        for packets in parts:
            for begin in range(0, len(packets["time"]), 200_000):
                part = {name: values[begin : begin + 200_000] for name, values in packets.items()}
                (write_blocks if blocks else write_records)(file, make_records(part, snap=snap))


def write_records(file: BinaryIO, records: np.ndarray) -> None:
    """Append records of a pcap file, each with as many zeros behind its headers as it claims."""
    raw, size = records.tobytes(), records.itemsize
    if (records["cap"] == HEADERS).all():
        file.write(raw)
        return
    headers = (raw[i : i + size] for i in range(0, len(raw), size))
    payloads = (bytes(int(n)) for n in records["cap"] - HEADERS)
    file.write(b"".join(itertools.chain.from_iterable(zip(headers, payloads, strict=True))))


def write_blocks(file: BinaryIO, records: np.ndarray) -> None:
    """Append the same as pcapng's Enhanced Packet Blocks."""
    captured = records["cap"].astype(np.int64)
    padded = (captured + 3) // 4 * 4
    heads = np.zeros(len(records), BLOCK)
    heads["type"], heads["size"] = 6, 32 + padded
    micros = records["s"].astype(np.int64) * 1_000_000 + records["us"]
    heads["high"], heads["low"] = micros >> 32, micros & 0xFFFFFFFF
    heads["cap"], heads["len"] = captured, records["len"]
    raw, before = records.tobytes(), records.itemsize - HEADERS
    pieces = []
    for i, head in enumerate(heads):
        at = i * records.itemsize + before
        pieces += (
            head.tobytes(),
            raw[at : at + HEADERS],
            bytes(int(padded[i]) - HEADERS),
            struct.pack("<I", head["size"]),
        )
    file.write(b"".join(pieces))


def make_records(p: dict[str, np.ndarray], *, snap: bool) -> np.ndarray:
    """The pcap records of some packets, without payload."""
    n = len(p["time"])
    r = np.zeros(n, RECORD)
    micros = (p["time"] * 1e6).astype(np.int64)
    r["s"] = 1_700_000_000 + micros // 1_000_000
    r["us"] = micros % 1_000_000
    r["len"] = HEADERS + p["length"]
    r["cap"] = HEADERS if snap else HEADERS + p["length"]
    r["eth"][:] = np.frombuffer(bytes.fromhex("0200000000010200000000020800"), "u1")
    ip = r["ip"]
    ip[:, 0] = 0x45
    ip[:, 2:4] = big(52 + p["length"], 2)
    ip[:, 4:6] = big(np.arange(n) % 65536, 2)
    ip[:, 6] = 0x40
    ip[:, 8] = 64
    ip[:, 9] = 6
    server = np.full(n, 0xC0A80001)
    s = p["from_server"][:, None]
    ip[:, 12:16] = np.where(s, big(server, 4), big(p["client"], 4))
    ip[:, 16:20] = np.where(s, big(p["client"], 4), big(server, 4))
    sums = ip.reshape(n, 10, 2).astype(np.uint32)
    check = (sums[:, :, 0] * 256 + sums[:, :, 1]).sum(1)
    check = (check & 0xFFFF) + (check >> 16)
    check = (check & 0xFFFF) + (check >> 16)
    ip[:, 10:12] = big(0xFFFF - check, 2)
    tcp = r["tcp"]
    web = np.full(n, 443)
    tcp[:, 0:2] = np.where(s, big(web, 2), big(p["port"], 2))
    tcp[:, 2:4] = np.where(s, big(p["port"], 2), big(web, 2))
    tcp[:, 4:8] = big(p["seq"], 4)
    tcp[:, 8:12] = big(p["ack"], 4)
    tcp[:, 12] = 0x80
    tcp[:, 13] = p["flags"]
    tcp[:, 14:16] = big(p["window"], 2)
    tcp[:, 20:24] = np.array([1, 1, 8, 10], "u1")
    tcp[:, 24:28] = big((p["time"] * 1000).astype(np.int64) + 1000, 4)
    tcp[:, 28:32] = big(np.maximum((p["time"] * 1000).astype(np.int64) + 990, 0), 4)
    return r


def capture(kind: str, packets: int, seed: int = 1) -> Iterator[dict[str, np.ndarray]]:
    """The packets of one kind of capture, in parts that follow each other in time."""
    if kind == "long":
        end = 0.0
        for n in range(10):
            for part in capture("snap", packets // 10, seed + n):
                part["time"] += end
                end = part["time"].max() + 1
                yield part
        return
    rng = np.random.default_rng(seed)
    if kind == "synflood":
        counts = np.ones(packets, np.int64)
        made = connection_packets(counts, rng, packets / 1e5)
        made["client"] = 0x0B000000 + rng.permutation(packets)
        yield made
        return
    connections = max(1, packets // 25) if kind != "bulk" else 20
    sizes = rng.geometric(1 / 14, connections) + 10 if kind != "bulk" else np.full(connections, packets // connections)
    counts = np.maximum(8, (sizes * packets / sizes.sum()).astype(np.int64))
    made = connection_packets(counts, rng, packets / 2e4)
    if kind in {"snap", "small"}:
        made = troubled(made, rng, loss=0.01, resets=0.01)
    elif kind == "trouble":
        made = troubled(made, rng, loss=0.05, resets=0.05, half_open=0.02)
    yield made


def main() -> None:
    """``python -m tests.benchmarks.generate KIND PACKETS FILE``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("packets", type=int)
    parser.add_argument("file", type=Path, help=f"its name ends in one of {', '.join(CONTAINERS)}")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    write(args.file, capture(args.kind, args.packets, args.seed), snap=args.kind != "web")


if __name__ == "__main__":
    main()
