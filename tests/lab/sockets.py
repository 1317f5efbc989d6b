"""Hosts and connections as a scenario sees them: verbs of an application, on real sockets inside a namespace."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from tests.lab.diag import Asker
from tests.lab.netns import CommandError

if TYPE_CHECKING:
    from tests.lab.diag import Pair
    from tests.lab.network import Network

PATIENCE = 30.0
PORT = 8080
TCP_FASTOPEN_CONNECT = 30
SOCKET_OPTIONS = {
    "reuse": (socket.SOL_SOCKET, socket.SO_REUSEADDR),
    "keepidle": (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
    "keepintvl": (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
    "keepcnt": (socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
    "keepalive": (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    "sndbuf": (socket.SOL_SOCKET, socket.SO_SNDBUF),
    "rcvbuf": (socket.SOL_SOCKET, socket.SO_RCVBUF),
    "nodelay": (socket.IPPROTO_TCP, socket.TCP_NODELAY),
    "defer_accept": (socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT),
    "fastopen": (socket.IPPROTO_TCP, socket.TCP_FASTOPEN),
    "user_timeout": (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT),
    "linger2": (socket.IPPROTO_TCP, socket.TCP_LINGER2),
    "syncnt": (socket.IPPROTO_TCP, socket.TCP_SYNCNT),
    "cork": (socket.IPPROTO_TCP, socket.TCP_CORK),
    "maxseg": (socket.IPPROTO_TCP, socket.TCP_MAXSEG),
    "window_clamp": (socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP),
    "fastopen_connect": (socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT),
    "oobinline": (socket.SOL_SOCKET, socket.SO_OOBINLINE),
}


class Host:
    """One end of the wire."""

    def __init__(self, net: Network, name: str) -> None:
        self.net, self.name = net, name
        self.ns, self.ip = net.ns[name], net.ip[name]
        self.peer_ip = net.ip["server" if name == "client" else "client"]
        self._family = socket.AF_INET if net.family == 4 else socket.AF_INET6
        self.asker = Asker(self.ns, (socket.AF_INET, socket.AF_INET6))
        self._open: list[socket.socket] = []
        self._processes: list[subprocess.Popen[str]] = []

    def sysctl(self, name: str, value: object) -> None:
        self.ns.sysctl(f"ipv4.{name}" if "." not in name else name, value)

    def socket(self, port: int = 0, **options: int) -> socket.socket:
        """A TCP socket with options of `SOCKET_OPTIONS`, bound to this host's address and the port if one is given."""
        s = self.ns.socket(self._family, socket.SOCK_STREAM)
        self._open.append(s)
        s.settimeout(PATIENCE)
        for name, value in options.items():
            s.setsockopt(*SOCKET_OPTIONS[name], value)
        if port:
            s.bind((self.ip, port))
        return s

    def listen(self, port: int = PORT, backlog: int = 64, **options: int) -> Listener:
        s = self.socket(port, reuse=1, **options)
        s.listen(backlog)
        return Listener(self, s)

    def connect(self, port: int = PORT, *, source: int = 0, wait: bool = True, **options: int) -> Conn:
        """Connect to the other host. wait=False only sends the SYN; Conn.connected() waits for the rest."""
        s = self.socket(source, **options)
        if wait:
            s.connect((self.peer_ip, port))
        else:
            s.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                s.connect((self.peer_ip, port))
            s.settimeout(PATIENCE)
        return Conn(self, s, (self.peer_ip, port))

    def connect_with_data(self, data: bytes, port: int = PORT) -> Conn:
        """Fast Open: the data goes out with the SYN if this host has a cookie."""
        s = self.socket()
        s.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
        s.connect((self.peer_ip, port))
        s.sendall(data)
        return Conn(self, s, (self.peer_ip, port))

    def process(self, code: str, *args: object) -> subprocess.Popen[str]:
        """A program of its own on this host (so that it can be killed); returns when it prints a line."""
        p = self.ns.start(sys.executable, "-I", "-S", "-c", code, *map(str, args),
                          stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)  # fmt: skip
        self._processes.append(p)
        assert p.stdout
        p.stdout.readline()
        return p

    def states(self) -> dict[Pair, str]:
        """What netstat would show now."""
        return {pair: entry.state for pair, entry in self.asker.dump().items()}

    def kill(self, conn: Conn) -> None:
        """`ss -K`: the kernel drops the socket (a RST for a full one, silence for a TIME_WAIT)."""
        (_, sport), (_, dport) = conn.pair
        with contextlib.suppress(CommandError):
            self.ns.run("ss", "-K", "-tan", "sport", "=", f":{sport}", "and", "dport", "=", f":{dport}")

    def close(self) -> None:
        for p in self._processes:
            p.kill()
            p.wait()
            if p.stdout:
                p.stdout.close()
        for s in self._open:
            s.close()
        self.asker.close()


class Listener:
    """A listening socket."""

    def __init__(self, host: Host, s: socket.socket) -> None:
        self.host, self.socket = host, s

    def accept(self) -> Conn:
        s, peer = self.socket.accept()
        s.settimeout(PATIENCE)
        self.host._open.append(s)
        return Conn(self.host, s, (peer[0], peer[1]))

    def close(self) -> None:
        self.socket.close()


class Conn:
    """One endpoint of a connection."""

    def __init__(self, host: Host, s: socket.socket, remote: tuple[str, int]) -> None:
        self.host, self.socket, self.remote = host, s, remote
        self._local: tuple[str, int] | None = None
        self.pair  # noqa: B018 - asks for the address while there is one

    @property
    def pair(self) -> Pair:
        """((local ip, port), (remote ip, port)); still known after close()."""
        if self.socket.fileno() >= 0:
            self._local = self.socket.getsockname()[:2]
        assert self._local
        return (self.host.ip, self._local[1]), self.remote

    @property
    def port(self) -> int:
        return self.pair[0][1]

    @property
    def state(self) -> str:
        return self.host.states().get(self.pair, "CLOSED")

    def until(self, *states: str, timeout: float = PATIENCE) -> Conn:
        """Wait until the kernel lists this endpoint in one of the states."""
        deadline = time.monotonic() + timeout
        while self.state not in states:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.host.name} {self.pair} is {self.state}, not {' or '.join(states)}")
            time.sleep(0.004)
        return self

    def connected(self) -> Conn:
        """Wait for a connect() begun with wait=False."""
        return self.until("ESTABLISHED")

    def set(self, **options: int) -> Conn:
        for name, value in options.items():
            self.socket.setsockopt(*SOCKET_OPTIONS[name], value)
        return self

    def send(self, size: int = 200) -> Conn:
        self.socket.sendall(b"x" * size)
        return self

    def stuff(self) -> Conn:
        """Send until the peer's window and our buffer are full."""
        self.socket.setblocking(False)
        quiet = 0
        while quiet < 5:
            try:
                self.socket.send(b"y" * 16384)
                quiet = 0
            except BlockingIOError:
                quiet += 1
                time.sleep(0.03)
        self.socket.settimeout(PATIENCE)
        return self

    def read(self, size: int = 200) -> bytes:
        """Exactly so many bytes."""
        got = b""
        while len(got) < size:
            part = self.socket.recv(size - len(got))
            if not part:
                raise EOFError
            got += part
        return got

    def drain(self) -> Conn:
        """Read until the peer's FIN."""
        while self.socket.recv(65536):
            pass
        return self

    def shutdown(self) -> Conn:
        """Half-close: our FIN, we go on reading."""
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def close(self) -> Conn:
        self.pair  # noqa: B018 - remembers the address
        self.socket.close()
        return self

    def abort(self) -> Conn:
        """close() with SO_LINGER 0: a RST instead of a FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return self.close()
