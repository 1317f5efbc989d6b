"""Two hosts and the way between them, in virtual time: who sends what when, what is lost, held up or doubled.

A host is a process (``*/host.c``, ``host.go``) that is told the time with each command. The way has three capture
points, as in the kernel's lab: at the client, in the middle, at the server; a segment may get lost before the middle
(``near``, as the sender sees it: client's end first) or behind it.
"""

from __future__ import annotations

import csv
import heapq
import random
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.lab import pcap
from tests.lab.stacks.build import program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLIENT, SERVER = "client", "server"
ADDRESS = {CLIENT: "10.79.1.1", SERVER: "10.79.1.2"}
MAC = {CLIENT: b"\x02\0\0\0\0\x01", SERVER: b"\x02\0\0\0\0\x02"}
POINTS = (CLIENT, "router", SERVER)
SECOND = 1_000_000_000
EPOCH = 1_760_000_000 * SECOND
HEAD = ["time", "host", "local_ip", "local_port", "remote_ip", "remote_port", "old_state", "new_state", "source"]
MOST = 8000  # frames that one end may see in a scene
OTHER = {CLIENT: SERVER, SERVER: CLIENT}
# What one packet or call may do at once, with the state that it passes through.
THROUGH = {
    ("SYN_RECEIVED", "CLOSE_WAIT"): ["ESTABLISHED"],
    ("SYN_SENT", "CLOSE_WAIT"): ["ESTABLISHED"],
    ("SYN_SENT", "FIN_WAIT_1"): ["ESTABLISHED"],
    ("SYN_RECEIVED", "FIN_WAIT_1"): ["ESTABLISHED"],
    ("CLOSED", "ESTABLISHED"): ["SYN_RECEIVED"],
    ("CLOSED", "CLOSE_WAIT"): ["SYN_RECEIVED", "ESTABLISHED"],
    ("ESTABLISHED", "LAST_ACK"): ["CLOSE_WAIT"],
    ("SYN_RECEIVED", "LAST_ACK"): ["ESTABLISHED", "CLOSE_WAIT"],
    ("TIME_WAIT", "SYN_RECEIVED"): ["CLOSED"],
}


class Host:
    """One process; its answers are lines of words."""

    def __init__(self, name: str, stack: str, seed: int, phase: int) -> None:
        self.name, self.stack = name, stack
        command = [str(program(stack)), ADDRESS[name], ADDRESS[OTHER[name]], str(seed), str(phase)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.next = phase

    def tell(self, now: int, command: str) -> list[list[str]]:
        """Give it a command; what it has to say, without the last line."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{now} {command}\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            words = line.split()
            if words[0] == "done":
                self.next = max(int(words[1]), now + 1_000_000)
                return lines
            lines.append(words)
        raise RuntimeError(f"{self.stack} has died of {command[:60]!r}")

    def stop(self) -> None:
        """End the process."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)


@dataclass
class Fault:
    """What happens to some segments: which (sender, kind, the nth to the last of them), where, and what."""

    sender: str
    kind: str  # syn, synack, fin, rst, data, ack, or any
    first: int = 1
    last: int = 1
    action: str = "lose"  # or hold, copy
    stage: str = "far"  # near the sender, before the middle; or far
    by: float = 0.0  # seconds that a held segment, or the copy, comes later
    after: float = 0.0  # not before this moment
    seen: int = 0

    def meets(self, sender: str, kind: str, now: int) -> bool:
        """Whether it befalls this segment."""
        if sender != self.sender or self.kind not in (kind, "any") or now < self.after * SECOND:
            return False
        self.seen += 1
        return self.first <= self.seen <= self.last


@dataclass
class Way:
    """How long a segment takes, and what chance does to it."""

    near: float = 0.002
    far: float = 0.008
    jitter: float = 0.0
    loss: float = 0.0
    doubling: float = 0.0
    faults: list[Fault] = field(default_factory=list)


class World:
    """Runs it all, and writes what was captured and what the hosts said."""

    def __init__(self, stacks: tuple[str, str], way: Way, seed: int = 1) -> None:
        self.chance = random.Random(seed)
        self.way = way
        self.hosts = {
            name: Host(name, stack, seed * 7 + n, self.chance.randrange(250_000_000))
            for n, (name, stack) in enumerate(zip((CLIENT, SERVER), stacks, strict=True))
        }
        self.events: list[tuple[int, int, Callable[[], None]]] = []
        self.count = 0
        self.now = 0
        self.frames: dict[str, list[pcap.Frame]] = {point: [] for point in POINTS}
        self.truth: list[tuple[int, str, int, int, str, str]] = []
        self.states: dict[tuple[str, int, int], str] = {}
        self.reactions: dict[tuple[str, str, int], list[Callable[[], None]]] = {}

    def at(self, seconds: float, action: Callable[[], None]) -> None:
        """Have something done at a moment."""
        self._push(max(self.now, int(seconds * SECOND)), action)

    def _push(self, when: int, action: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.events, (when, self.count, action))

    def do(self, host: str, command: str) -> None:
        """Give a host a command now."""
        for words in self.hosts[host].tell(self.now, command):
            self._hear(host, words)

    def when(self, host: str, word: str, client_port: int, action: Callable[[], None]) -> None:
        """Have something done when a connection's end says `open` or `eof`."""
        self.reactions.setdefault((host, word, client_port), []).append(action)

    def run(self, until: float) -> None:
        """Up to a moment."""
        stop = int(until * SECOND)
        while True:
            timer = min(self.hosts.values(), key=lambda h: h.next)
            if self.events and self.events[0][0] <= min(timer.next, stop):
                self.now, _, action = heapq.heappop(self.events)
                action()
            elif timer.next <= stop:
                self.now = timer.next
                self.do(timer.name, "tick")
            else:
                break

    def _hear(self, host: str, words: list[str]) -> None:
        if words[0] == "out":
            self._send(host, bytes.fromhex(words[1]))
            return
        local, remote = int(words[1]), int(words[2])
        if words[0] == "state":
            old = self.states.get((host, local, remote), "CLOSED")
            through = THROUGH.get((old, words[3]), [])
            if (old, words[3]) == ("SYN_SENT", "CLOSED") and self._acknowledges(host, local, remote):
                through = ["ESTABLISHED"]
            if (old, words[3]) == ("SYN_RECEIVED", "CLOSED") and self._drops_at_ack(host, local, remote):
                through = ["ESTABLISHED"]
            for new in [*through, words[3]]:
                if new != old:
                    self.truth.append((self.now, host, local, remote, old, new))
                old = new
            self.states[host, local, remote] = old
            return
        port = local if host == CLIENT else remote
        for action in self.reactions.pop((host, words[0], port), []):
            action()

    def _acknowledges(self, host: str, local: int, remote: int) -> bool:
        """Whether a host has sent an ACK on a connection at this very moment, besides a reset."""
        now = [pcap.parse(f.data) for f in self.frames[host][-8:] if f.ns == EPOCH + self.now]
        return any(
            s and (s.sport, s.dport) == (local, remote) and s.flags & (pcap.ACK | pcap.RST | pcap.SYN) == pcap.ACK
            for s in now
        )

    def _drops_at_ack(self, host: str, local: int, remote: int) -> bool:
        """Whether libslirp has taken an ACK at this very moment and found its own side gone: it aborts at once.

        Its ``tcp_input`` has entered ESTABLISHED by then. An answer to a wrong ACK has no ACK.
        """
        if self.hosts[host].stack != "slirp":
            return False
        now = [(f.ns, pcap.parse(f.data)) for f in self.frames[host][-8:] if f.ns >= EPOCH + self.now - 10_000]
        kinds = {
            (s.sport, s.flags & (pcap.RST | pcap.SYN | pcap.ACK))
            for _, s in now
            if s and {s.sport, s.dport} == {local, remote}
        }
        return (local, pcap.RST | pcap.ACK) in kinds and (remote, pcap.ACK) in kinds

    def inject(self, to: str, segment: bytes, *, late: bool = True) -> None:
        """Put a forged segment (a frame) on the way to a host; seen from the middle on, or at its end only."""
        sender = OTHER[to]
        if late:
            self._capture("router", segment)
        far = self.way.near if to == CLIENT else self.way.far
        self._push(self.now + int(far * SECOND), lambda: self._arrive(sender, segment))

    def _capture(self, point: str, frame: bytes) -> None:
        self.frames[point].append(pcap.Frame(EPOCH + self.now, frame))

    def _send(self, sender: str, packet: bytes) -> None:
        frame = MAC[OTHER[sender]] + MAC[sender] + b"\x08\x00" + packet
        self._capture(sender, frame)
        segment = pcap.parse(frame)
        if segment is None:
            return
        if len(self.frames[sender]) > MOST:
            raise RuntimeError(f"{self.hosts[sender].stack} does not stop sending")
        way = self.way
        legs = (way.near, way.far) if sender == CLIENT else (way.far, way.near)
        lost = ""
        held = doubled = 0.0
        for fault in way.faults:
            if fault.meets(sender, segment.kind, self.now):
                if fault.action == "lose":
                    lost = fault.stage
                elif fault.action == "hold":
                    held = fault.by
                else:
                    doubled = fault.by
        chance = self.chance
        if chance.random() < way.loss:
            lost = chance.choice(("near", "far"))
        if chance.random() < way.doubling:
            doubled = chance.choice((0.001, 0.01, 0.3, 2.0))
        for delay in [held, held + doubled] if doubled else [held]:
            if lost == "near":
                break
            first = legs[0] + delay + chance.uniform(0, way.jitter)
            second = legs[1] + chance.uniform(0, way.jitter)
            self._push(self.now + int(first * SECOND), lambda s=second: self._pass(sender, frame, s, lost))

    def _pass(self, sender: str, frame: bytes, rest: float, lost: str) -> None:
        self._capture("router", frame)
        if lost != "far":
            self._push(self.now + int(rest * SECOND), lambda: self._arrive(sender, frame))

    def _arrive(self, sender: str, frame: bytes) -> None:
        receiver = OTHER[sender]
        self._capture(receiver, frame)
        self._push(self.now + 5_000, lambda: self.do(receiver, f"in {frame[14:].hex()}"))

    def close(self) -> None:
        """End the processes."""
        for host in self.hosts.values():
            host.stop()

    def write(self, folder: Path) -> None:
        """Three captures and what the hosts said of their states, in the lab's form."""
        folder.mkdir(parents=True, exist_ok=True)
        for point, frames in self.frames.items():
            pcap.write(folder / f"{point}.pcap", frames)
        with (folder / "truth.csv").open("w", newline="") as f:
            rows = csv.writer(f)
            rows.writerow(HEAD)
            for ns, host, local, remote, old, new in self.truth:
                ends = (ADDRESS[host], local, ADDRESS[OTHER[host]], remote)
                rows.writerow([f"{(EPOCH + ns) / 1e9:.6f}", host, *ends, old, new, self.hosts[host].stack])
