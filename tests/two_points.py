"""Conversations between two hosts over a bad network, captured at both ends: what each end sees, and the truth.

Nothing here uses the package: a small TCP of its own sends, acknowledges, times out and closes.
"""

from __future__ import annotations

import heapq
import random
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests import builders

if TYPE_CHECKING:
    from collections.abc import Callable

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
BEGIN = 1_700_000_000 * SECOND
HOSTS = ("10.0.0.1", "10.0.0.2")
MSS = 1000


@dataclass
class Packet:
    """One segment on the wire; times of the network's own clock, ns."""

    side: int
    seq: int
    ack: int
    flags: str
    length: int
    sent: int
    ident: int
    port: int
    stamps: tuple[int, int] | None
    arrived: int | None = None
    copies: list[int] = field(default_factory=list)


@dataclass
class Network:
    """What happens between the hosts."""

    seed: int = 1
    delay: tuple[int, int] = (10 * MILLISECOND, 15 * MILLISECOND)
    jitter: int = 2 * MILLISECOND
    loss: float = 0.1
    timeout: int = 250 * MILLISECOND
    copies: float = 0.0
    numbered: bool = True
    stamped: bool = True
    lost: set[int] = field(default_factory=set)  # packets, by number, that are lost whatever chance says

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.packets: list[Packet] = []
        self._events: list[tuple[int, int, Any]] = []
        self._count = 0
        self._ident = [self.rng.randrange(1, 30000), self.rng.randrange(1, 30000)]

    def at(self, time: int, what: Any) -> None:
        """Do something at a time."""
        self._count += 1
        heapq.heappush(self._events, (time, self._count, what))

    def run(self, until: int = 60 * SECOND) -> list[Packet]:
        """Let everything happen."""
        while self._events:
            time, _, what = heapq.heappop(self._events)
            if time > BEGIN + until:
                break
            what(time)
        return self.packets

    def send(self, time: int, host: Host, seq: int, flags: str, length: int) -> None:
        """Put a segment on the wire."""
        side = host.side
        self._ident[side] = self._ident[side] % 65535 + 1
        stamps = (time // MILLISECOND % 2**32, host.echo) if self.stamped else None
        ident = self._ident[side] if self.numbered else 0
        ack = host.got if "A" in flags else 0
        packet = Packet(side, seq, ack, flags, length, time, ident, host.port, stamps)
        number = len(self.packets)
        self.packets.append(packet)
        if number in self.lost or self.rng.random() < self.loss:
            return
        delay = self.delay[side] + self.rng.randrange(self.jitter + 1)
        packet.arrived = time + delay
        self.at(packet.arrived, lambda now: host.peer.take(now, packet))
        if self.rng.random() < self.copies:
            packet.copies.append(packet.arrived + self.rng.randrange(2 * MILLISECOND, 10 * MILLISECOND))


@dataclass
class Host:
    """One end of one connection."""

    network: Network
    side: int
    port: int
    data: int
    window: int = 4

    def __post_init__(self) -> None:
        self.peer: Host = self
        self.next = 1000 if self.side == 0 else 500_000
        self.acked = self.next
        self.base = self.next
        self.got = 0
        self.echo = 0
        self.open = False
        self.end = self.base + 1 + self.data  # sequence number of its FIN
        self.early: set[tuple[int, int]] = set()
        self.tries = 0
        self.timer = 0

    def start(self, now: int) -> None:
        """Open actively."""
        self.network.send(now, self, self.base, "S", 0)
        self.next = self.base + 1
        self.arm(now)

    def arm(self, now: int) -> None:
        """Start the retransmission timer anew."""
        self.timer += 1
        which = self.timer
        self.network.at(now + self.network.timeout, lambda then: self.expire(then, which))

    def expire(self, now: int, which: int) -> None:
        """Send the oldest again."""
        if which != self.timer or self.acked >= self.end + 1 or self.next == self.acked:
            return
        self.tries += 1
        if self.tries > 12:
            return
        if self.acked == self.base:
            self.network.send(now, self, self.base, "S" if self.side == 0 else "SA", 0)
        else:
            self.put(now, self.acked)
        self.arm(now)

    def put(self, now: int, seq: int) -> int:
        """Send what begins at a sequence number; returns where it ends."""
        if seq == self.end:
            self.network.send(now, self, seq, "FA", 0)
            return seq + 1
        length = min(MSS, self.end - seq)
        self.network.send(now, self, seq, "A", length)
        return seq + length

    def push(self, now: int) -> None:
        """Send as much as the window allows."""
        had = self.next
        while self.open and self.next <= self.end and self.next - self.acked < self.window * MSS:
            self.next = self.put(now, self.next)
        if self.next != had:
            self.arm(now)

    def take(self, now: int, packet: Packet) -> None:
        """A segment arrives."""
        answer = False
        begin, end = packet.seq, packet.seq + packet.length + ("S" in packet.flags) + ("F" in packet.flags)
        if "S" in packet.flags:
            if not self.got:
                self.got = end
                self.echo = packet.stamps[0] if packet.stamps else 0
            if "A" not in packet.flags:
                self.network.send(now, self, self.base, "SA", 0)
                if self.next == self.base:
                    self.next = self.base + 1
                    self.arm(now)
            else:
                answer = True
        elif not self.got:
            return
        elif end > begin:
            self.early.add((begin, end))
            for first, last in sorted(self.early):
                if first <= self.got < last:
                    self.got = last
                    self.echo = packet.stamps[0] if packet.stamps else 0
            answer = True
        if "A" in packet.flags and packet.ack > self.acked:
            self.acked = packet.ack
            self.tries = 0
            self.open = True
            if self.acked < self.next:
                self.arm(now)
        sent = len(self.network.packets)
        self.push(now)
        if answer and len(self.network.packets) == sent:
            self.network.send(now, self, self.next, "A", 0)


def converse(network: Network, connections: int = 1, data: tuple[int, int] = (3000, 5000)) -> list[Packet]:
    """Let some connections run over a network."""
    for number in range(connections):
        client = Host(network, 0, 40000 + number, network.rng.randrange(data[0] + 1))
        server = Host(network, 1, 40000 + number, network.rng.randrange(data[1] + 1))
        client.peer, server.peer = server, client
        network.at(BEGIN + number * 7 * MILLISECOND, client.start)
    return network.run()


@dataclass
class Clock:
    """What the second point's clock shows."""

    offset: int = 0
    drift: float = 0.0

    def __call__(self, time: int) -> int:
        """Show a time."""
        return time + self.offset + round(self.drift * (time - BEGIN))


Names = tuple[tuple[str, int], tuple[str, int]]  # address and port of the client, and of the server


def frame(
    packet: Packet,
    *,
    seq: int | None = None,
    length: int | None = None,
    fin: bool | None = None,
    names: Names | None = None,
) -> bytes:
    """A packet as bytes; or a piece of it."""
    options = b""
    if packet.stamps:
        options = b"\1\1\x08\x0a" + struct.pack("!II", *packet.stamps)
    flags = packet.flags if fin is None or fin else packet.flags.replace("F", "")
    (client_ip, client), (server_ip, server) = names or ((HOSTS[0], packet.port), (HOSTS[1], 80))
    segment = builders.tcp(
        bytes(packet.length if length is None else length),
        src_port=server if packet.side else client,
        dst_port=client if packet.side else server,
        seq=packet.seq if seq is None else seq,
        ack=packet.ack,
        flags=flags,
        window=1000,
        options=options,
    )
    one, other = (client_ip, server_ip) if packet.side == 0 else (server_ip, client_ip)
    return builders.ethernet(builders.ipv4(segment, src=one, dst=other, ident=packet.ident))


def captures(
    packets: list[Packet],
    clock: Clock,
    *,
    dropped: tuple[set[int], set[int]] = (set(), set()),
    translated: Callable[[Packet], Names] | None = None,
) -> tuple[list[tuple[int, bytes, int]], list[tuple[int, bytes, int]]]:
    """What each point captures: (its clock's time, bytes, number of the packet), without the dropped packets.

    At the second point a packet bears the names that ``translated`` gives it.
    """
    points: tuple[list[tuple[int, bytes, int]], list[tuple[int, bytes, int]]] = ([], [])
    for number, packet in enumerate(packets):
        content = frame(packet), frame(packet, names=translated(packet) if translated else None)
        times = [(packet.side, packet.sent)]
        if packet.arrived is not None:
            times += [(1 - packet.side, time) for time in (packet.arrived, *packet.copies)]
        for point, time in times:
            if number not in dropped[point]:
                points[point].append((clock(time) if point else time, content[point], number))
    for point in points:
        point.sort(key=lambda taken: taken[0])
    return points


def write(path: Any, taken: list[tuple[int, bytes, int]]) -> str:
    """Write a capture, with nanoseconds."""
    path.write_bytes(builders.pcap([(time, content) for time, content, _ in taken], magic=0xA1B23C4D))
    return str(path)
