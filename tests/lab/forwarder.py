"""A wire in user space: takes frames from one device to another, late, twice, or not at all (netem without netem).

Two stages, near (client side) and far (server side) of the middle capture point, each a pair of devices in the router
namespace. One thread serves all four. Only for links without offload: a frame here has to be a finished packet.
"""

from __future__ import annotations

import heapq
import itertools
import random
import select
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.lab.pcap import parse

if TYPE_CHECKING:
    from tests.lab.netns import Namespace

OUTGOING = 4
ETH_P_ALL = 3


@dataclass
class Rule:
    """What happens to the first `count` matching frames after `skip` were let through."""

    stage: str
    sender: str
    segment: str
    action: str  # drop, hold, duplicate
    count: int = 1
    skip: int = 0
    delay: float = 0.0
    chance: float = 1.0

    def takes(self, stage: str, sender: str, kind: str, rng: random.Random) -> bool:
        """Whether this frame is one of them; counts."""
        if (stage, sender) != (self.stage, self.sender) or self.segment not in ("any", kind) or not self.count:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.chance < 1 and rng.random() >= self.chance:
            return False
        self.count -= 1
        return True


class Forwarder:
    """Moves frames between the pairs `{stage: (client-side device, server-side device)}` of a namespace."""

    def __init__(
        self, ns: Namespace, pairs: dict[str, tuple[str, str]], delay: dict[str, float], jitter: float, seed: int
    ) -> None:
        self.rules: list[Rule] = []
        self._delay, self._jitter, self._rng = delay, jitter, random.Random(seed)
        self._heap: list[tuple[float, int, socket.socket, bytes]] = []
        self._number = itertools.count()
        self._routes: dict[socket.socket, tuple[str, str, socket.socket]] = {}
        for stage, (left, right) in pairs.items():
            a, z = (self._open(ns, d) for d in (left, right))
            self._routes[a] = (stage, "client", z)
            self._routes[z] = (stage, "server", a)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="forwarder", daemon=True)
        self._thread.start()

    @staticmethod
    def _open(ns: Namespace, device: str) -> socket.socket:
        s = ns.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        s.bind((device, ETH_P_ALL))
        s.setblocking(False)
        return s

    def _loop(self) -> None:
        poll = select.poll()
        by_fd = {s.fileno(): s for s in self._routes}
        for fd in by_fd:
            poll.register(fd, select.POLLIN)
        while not self._stop.is_set():
            wait = min(0.05, self._heap[0][0] - time.monotonic()) if self._heap else 0.05
            for fd, _ in poll.poll(max(0.0, wait) * 1000):
                with suppress(BlockingIOError):
                    while True:
                        frame, address = by_fd[fd].recvfrom(65536)
                        if address[2] != OUTGOING:
                            self._arrived(by_fd[fd], frame)
            while self._heap and self._heap[0][0] <= time.monotonic():
                _, _, out, frame = heapq.heappop(self._heap)
                with suppress(OSError):
                    out.send(frame)

    def _arrived(self, source: socket.socket, frame: bytes) -> None:
        stage, sender, out = self._routes[source]
        late = self._delay[stage] + self._rng.random() * self._jitter
        segment = parse(frame)
        due = [late]
        if segment:
            for rule in list(self.rules):
                if rule.takes(stage, sender, segment.kind, self._rng):
                    due = {"drop": [], "hold": [late + rule.delay], "duplicate": [late, late + rule.delay]}[rule.action]
                    break
        for d in due:
            heapq.heappush(self._heap, (time.monotonic() + d, next(self._number), out, frame))

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for s in self._routes:
            s.close()
