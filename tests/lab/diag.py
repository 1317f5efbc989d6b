"""The second witness: what `ss -tan` would show, asked for over netlink (sock_diag) every few milliseconds."""

from __future__ import annotations

import socket
import struct
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tests.lab.netns import Namespace

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLM_F_DUMP = 0x301  # request, root, match
ALL_STATES = (1 << 13) - 1
STATES = {
    1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECEIVED", 4: "FIN_WAIT_1", 5: "FIN_WAIT_2", 6: "TIME_WAIT", 7: "CLOSED",
    8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN", 11: "CLOSING", 12: "SYN_RECEIVED",
}  # fmt: skip

Pair = tuple[tuple[str, int], tuple[str, int]]


class Entry(NamedTuple):
    """A socket as the kernel lists it: RFC state name, and the milliseconds that its timer still runs."""

    state: str
    timer_ms: int


class Snapshot(NamedTuple):
    """All TCP sockets of one host, true at some moment in [begin, end]."""

    begin: float
    end: float
    host: str
    sockets: dict[Pair, Entry]


class Asker:
    """A netlink socket inside one namespace."""

    def __init__(self, ns: Namespace, families: tuple[int, ...]) -> None:
        self._socket = ns.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.settimeout(5)
        self._families = families
        self._lock = threading.Lock()

    def dump(self) -> dict[Pair, Entry]:
        """All TCP sockets now; listeners have remote port 0."""
        found: dict[Pair, Entry] = {}
        with self._lock:
            for family in self._families:
                body = struct.pack("=BBBBI48s", family, socket.IPPROTO_TCP, 0, 0, ALL_STATES, bytes(48))
                head = struct.pack("=IHHII", 16 + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, 1, 0)
                self._socket.send(head + body)
                while self._batch(self._socket.recv(1 << 18), found):
                    pass
        return found

    @staticmethod
    def _batch(data: bytes, found: dict[Pair, Entry]) -> bool:
        at = 0
        while at + 16 <= len(data):
            length, kind = struct.unpack_from("=IH", data, at)
            if kind != SOCK_DIAG_BY_FAMILY:  # NLMSG_DONE or an error
                return False
            family, state, _, _, sport, dport = struct.unpack_from("!BBBBHH", data, at + 16)
            raw = data[at + 24 : at + 56]
            (expires,) = struct.unpack_from("=I", data, at + 68)
            size = 4 if family == socket.AF_INET else 16
            a, z = (_plain(raw[i : i + size]) for i in (0, 16))
            found[(a, sport), (z, dport)] = Entry(STATES.get(state, "UNKNOWN"), expires)
            at += (length + 3) & ~3
        return True

    def close(self) -> None:
        self._socket.close()


def _plain(raw: bytes) -> str:
    if len(raw) == 16 and raw[:12] == bytes(10) + b"\xff\xff":
        raw = raw[12:]
    return socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw)


class Poller:
    """Takes snapshots of both hosts until stopped; keeps those that differ from the host's last one."""

    def __init__(self, askers: dict[str, Asker], period: float = 0.03) -> None:
        self.snapshots: list[Snapshot] = []
        self.error: str | None = None
        self._askers, self._period = askers, period
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="poller", daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        try:
            while not self._stop.wait(self._period):
                for host, asker in self._askers.items():
                    begin = time.time()
                    sockets = asker.dump()
                    self.snapshots.append(Snapshot(begin, time.time(), host, sockets))
        except OSError as e:
            self.error = str(e)

    def stop(self) -> list[Snapshot]:
        self._stop.set()
        self._thread.join()
        return self.snapshots
