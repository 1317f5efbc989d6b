"""One real kernel on a bench: a namespace whose only link is a tun device, and a script that plays the other end.

The kernel's sockets are driven by system calls, and what its peer says is written to the tun device segment by segment,
by the script below: numbers, flags and options that no TCP would send, at moments that no network would choose. The
capture is taken on the tun device (link type RAW), so at the host itself; truth is made for the kernel alone, for there
is nobody behind the script.

A script has one step a line, with the seconds to wait before it, if any, in front::

    listen
    < S 0:0 <mss 1000,sackok,scale 7>       inject; begin:end as the script counts, 0 being its SYN
    > S.                                    wait for a segment of the kernel's with these flags
    0.1 < . 1:1 ack 1                       ack counts from the kernel's own SYN
    accept
    < P. 1:1001 ack 1
    read 1000
    close
    > F.

Steps that act on the kernel's socket: ``listen [backlog]``, ``accept``, ``connect``, ``write N``, ``read N``,
``close``, ``shutdown rd|wr|rdwr``, ``abort`` (close with SO_LINGER 0), ``unlisten``, ``disconnect``, ``set NAME VALUE``
(a socket option of the current socket, or of the listener while there is none), ``sysctl NAME VALUE``, ``fastopen N``
(connect with N bytes in the SYN), ``kill`` (`ss -K`), ``signed`` (a TCP MD5 key for the peer), ``mapped`` (sockets of
IPv6 for the peer's IPv4 address, from here on).

``icmp KIND [mtu N] [seq N]`` injects an ICMP error that quotes the kernel's last segment, or another number: ``net``,
``host``, ``protocol``, ``port``, ``admin`` or ``toobig``. The words ``win N``, ``up N`` (urgent pointer) and ``tos N``
may follow the numbers of a segment.

``peer PORT [ISN]`` goes on with another connection, ``again ISN`` with another use of the four-tuple. ``expect none``
makes sure that nothing is sent for a while, ``forget`` drops what was sent so far, ``try STEP`` accepts a socket first
if there is none yet, ``ends open`` leaves the sockets as they are. Otherwise, at the end, the process closes its
sockets, and the script resets what is left.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.lab import pcap
from tests.lab.diag import Asker
from tests.lab.netns import CommandError
from tests.lab.sockets import SOCKET_OPTIONS

if TYPE_CHECKING:
    from pathlib import Path
from tests.lab.wire import POINT, Bench, ScriptError

PORT = 8080
PATIENCE = 2.5
MSG_FASTOPEN = 0x20000000
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, ".": 16, "U": 32, "E": 64, "W": 128, "A": 256}
TCP_MD5SIG = 14
ICMP = {"net": (3, 0), "host": (3, 1), "protocol": (3, 2), "port": (3, 3), "toobig": (3, 4), "admin": (3, 13)}
ICMP6 = {"net": (1, 0), "host": (1, 3), "protocol": (4, 1), "port": (1, 4), "toobig": (2, 0), "admin": (1, 1)}


@dataclass
class Peer:
    """What the script knows of one connection."""

    port: int
    isn: int
    local_port: int = PORT
    kernel_isn: int | None = None
    sent_next: int = 0  # relative, after the last that was injected
    sent_ack: int | None = None  # of the last that was injected, None where that had no ACK
    heard_seq: int = 0  # of the kernel's last segment, as on the wire
    heard_ack: int | None = None
    heard_tsval: int = 0
    heard: bytes = b""  # the kernel's last segment, from the IP header on
    window: int = 32792


@dataclass
class Player:
    """Plays one script; looks like a `Lab` to the runner."""

    net: Bench
    folder: Path
    actions: list[dict[str, object]] = field(default_factory=list)
    expected: list[dict[str, object]] = field(default_factory=list)
    edits: list[tuple[str, object]] = field(default_factory=list)
    waits: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        family = socket.AF_INET if self.net.family == 4 else socket.AF_INET6
        self._family = family
        self.asker = Asker(self.net.namespace, (socket.AF_INET, socket.AF_INET6))
        self.askers = {POINT: self.asker}
        self._here, self._there = self.net.ip[POINT], self.net.ip["script"]
        self._heard: queue.Queue[tuple[pcap.Segment, bytes]] = queue.Queue()
        self._stop = threading.Event()
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()
        self._listener: socket.socket | None = None
        self._socket: socket.socket | None = None
        self._open: list[socket.socket] = []
        self._cookie = b""
        self.peer = Peer(40000, 0)
        self._peers = {self.peer.port: self.peer}
        self._tidy = True

    def _listen(self) -> None:
        import select

        while not self._stop.is_set():
            if select.select([self.net.tun], [], [], 0.05)[0]:
                packet = os.read(self.net.tun, 65536)
                segment = pcap.parse(pcap.framed(packet))
                if segment and segment.dst == self.net.ip["script"]:
                    self._heard.put((segment, packet))

    # what the script can do

    def play(self, text: str) -> None:
        """Every step in turn."""
        for raw in text.strip().splitlines():
            line = raw.split("#")[0].strip()
            if not line:
                continue
            first, _, rest = line.partition(" ")
            with contextlib.suppress(ValueError):
                time.sleep(float(first))
                line = rest.strip()
            verb, _, rest = line.partition(" ")
            self.actions.append({"t": time.time(), "what": line})
            if verb == "<":
                self._inject(rest)
            elif verb == ">":
                self._await(rest.split()[0])
            else:
                getattr(self, f"do_{verb}")(*rest.split())
        time.sleep(0.02)
        if self._tidy:
            self._finish()

    def _finish(self) -> None:
        """As a test program ends: its sockets are closed, then the peer resets each connection."""
        self._take_all()
        for s in (self._socket, *self._open, self._listener):
            if s:
                s.close()
        self._socket = self._listener = None
        time.sleep(0.003)
        self._take_all()
        for p in self._peers.values():
            if p.kernel_isn is None:
                continue
            self.peer = p
            if p.sent_ack is not None:
                seq, ack = p.sent_next, p.sent_ack
            elif p.heard_ack is not None:
                seq, ack = p.heard_ack, p.heard_seq - p.kernel_isn
            else:
                seq, ack = 0, 1
            self._put(FLAGS["R"] | FLAGS["."], seq, ack, 0, b"", p.window)
        time.sleep(0.03)

    def do_ends(self, _how: str) -> None:
        self._tidy = False

    def do_peer(self, port: str, isn: str = "0") -> None:
        self.peer = self._peers.setdefault(int(port), Peer(int(port), int(isn)))

    def do_again(self, isn: str) -> None:
        """The same four-tuple once more."""
        self.peer = self._peers[self.peer.port] = Peer(self.peer.port, int(isn), self.peer.local_port)

    def do_try(self, verb: str, *arguments: str) -> None:
        """A step that may fail: there may be no socket for it."""
        if not self._socket and self._listener:
            with contextlib.suppress(OSError):
                self._listener.settimeout(0.005)
                self.do_accept()
        if self._socket:
            getattr(self, f"do_{verb}")(*arguments)

    def do_forget(self) -> None:
        time.sleep(0.005)
        self._take_all()

    def do_expect(self, _what: str, seconds: str = "0.05") -> None:
        self._take_all()
        time.sleep(float(seconds))
        if not self._heard.empty():
            raise ScriptError(f"not silent: {self._heard.get()[0]}")

    def do_listen(self, backlog: str = "1") -> None:
        self._listener = s = self.net.namespace.socket(self._family, socket.SOCK_STREAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((self._here, PORT))
        s.listen(int(backlog))
        s.settimeout(PATIENCE)

    def do_unlisten(self) -> None:
        assert self._listener
        self._listener.close()
        self._listener = None

    def do_accept(self) -> None:
        assert self._listener
        accepted, _ = self._listener.accept()
        if self._socket:
            self._open.append(self._socket)
        self._socket = accepted
        self._socket.settimeout(PATIENCE)

    def _new_socket(self) -> socket.socket:
        if self._socket:
            self._open.append(self._socket)
        self._socket = s = self.net.namespace.socket(self._family, socket.SOCK_STREAM)
        s.settimeout(PATIENCE)
        return s

    def do_socket(self) -> None:
        self._new_socket()

    def do_connect(self, local: str = "0") -> None:
        s = self._socket if self._socket and not self._socket_used() else self._new_socket()
        if int(local):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((self._here, int(local)))
        s.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            s.connect((self._there, self.peer.port))
        s.settimeout(PATIENCE)
        self.peer.local_port = s.getsockname()[1]

    def _socket_used(self) -> bool:
        assert self._socket
        return bool(self._socket.getsockname()[1])

    def do_fastopen(self, size: str) -> None:
        s = self._new_socket()
        s.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            s.sendto(b"f" * int(size), MSG_FASTOPEN, (self._there, self.peer.port))
        s.settimeout(PATIENCE)
        self.peer.local_port = s.getsockname()[1]

    def do_disconnect(self) -> None:
        """connect() to AF_UNSPEC: the socket is as new, the connection is aborted."""
        import ctypes

        assert self._socket
        address = struct.pack("=H14x", socket.AF_UNSPEC)
        ctypes.CDLL(None).connect(self._socket.fileno(), address, len(address))

    def do_reconnect(self) -> None:
        """connect() on the socket as it is, from the port that it has."""
        assert self._socket
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            self._socket.connect((self._there, self.peer.port))
        self._socket.settimeout(PATIENCE)

    def do_write(self, size: str) -> None:
        assert self._socket
        self._socket.setblocking(False)
        with contextlib.suppress(OSError):
            self._socket.send(b"w" * int(size))
        self._socket.settimeout(PATIENCE)

    def do_read(self, size: str) -> None:
        assert self._socket
        with contextlib.suppress(OSError):
            self._socket.recv(int(size))

    def do_close(self) -> None:
        assert self._socket
        self._socket.close()
        self._socket = None

    def do_abort(self) -> None:
        assert self._socket
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.do_close()

    def do_shutdown(self, how: str) -> None:
        assert self._socket
        with contextlib.suppress(OSError):
            self._socket.shutdown({"rd": 0, "wr": 1, "rdwr": 2}[how])

    def do_set(self, name: str, value: str) -> None:
        s = self._socket or self._listener
        assert s
        s.setsockopt(*SOCKET_OPTIONS[name], int(value))

    def do_linger(self, seconds: str) -> None:
        assert self._socket
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, int(seconds)))

    def do_signed(self) -> None:
        """What comes from the peer must bear an MD5 signature (RFC 2385), which no segment of a script has."""
        s = self._socket or self._listener
        assert s
        address = socket.inet_pton(self._family, self._there)
        if self._family == socket.AF_INET:
            peer = struct.pack("=HH4s", self._family, 0, address)
        else:
            peer = struct.pack("=HHI16s", self._family, 0, 0, address)
        s.setsockopt(socket.IPPROTO_TCP, TCP_MD5SIG, peer.ljust(128, b"\0") + struct.pack("=xxHi80s", 6, 0, b"secret"))

    def do_mapped(self) -> None:
        """IPv4 through sockets of IPv6; over IPv6 there is nothing to map."""
        if self.net.family == 4:
            self._family = socket.AF_INET6
            self._here, self._there = f"::ffff:{self._here}", f"::ffff:{self._there}"

    def do_sysctl(self, name: str, *value: str) -> None:
        self.net.namespace.sysctl(f"ipv4.{name}", " ".join(value))

    def do_kill(self) -> None:
        with contextlib.suppress(CommandError):
            self.net.namespace.run("ss", "-K", "-tan", "dport", "=", f":{self.peer.port}")

    def do_drop(self, chain: str) -> None:
        """A firewall on the host drops what comes in (`input`) or goes out (`output`)."""
        self.net.namespace.run("nft", "-f", "-", text="add table inet b\n"
                               f"add chain inet b {chain} {{ type filter hook {chain} priority 0; }}\n"
                               f"add rule inet b {chain} meta l4proto tcp drop")  # fmt: skip

    def do_pass(self) -> None:
        self.net.namespace.run("nft", "flush ruleset")

    # segments

    def _take(self, heard: tuple[pcap.Segment, bytes]) -> None:
        segment, packet = heard
        p = self._peers.get(segment.dport)
        if p is None:
            return
        if segment.flags & pcap.SYN:
            p.kernel_isn = segment.seq
            p.local_port = segment.sport
        p.heard_seq, p.heard = segment.seq, packet
        if segment.flags & pcap.ACK:
            p.heard_ack = (segment.ack - p.isn) & 0xFFFFFFFF
        for kind, body in pcap.options(segment.options):
            if kind == 8:
                (p.heard_tsval,) = struct.unpack_from("!I", body)
            elif kind == 34 and body:
                self._cookie = body

    def _take_all(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._take(self._heard.get_nowait())

    def _await(self, flags: str) -> None:
        wanted = sum(FLAGS[f] for f in flags)
        deadline = time.monotonic() + PATIENCE
        while (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                heard = self._heard.get(timeout=left)
                self._take(heard)
                segment = heard[0]
                if segment.flags & ~FLAGS["P"] == wanted & 255 & ~FLAGS["P"] and segment.dport == self.peer.port:
                    return
        raise ScriptError(f"no {flags} came")

    def _inject(self, text: str) -> None:
        self._take_all()
        head, _, options = text.partition("<")
        words = head.split()
        flags = sum(FLAGS[f] for f in words[0])
        begin, end = (int(n) for n in words[1].split(":"))
        more = dict(zip(words[2::2], words[3::2], strict=True))
        if "win" in more:
            self.peer.window = int(more["win"])
        ack = int(more["ack"]) if "ack" in more else 0
        self.peer.sent_ack = ack if "ack" in more else None
        encoded = self._options(options.rstrip("> "))
        urgent, tos = int(more.get("up", 0)), int(more.get("tos", 0))
        self._put(flags, begin, ack, end - begin, encoded, self.peer.window, urgent, tos)
        self.peer.sent_next = end + bool(flags & 3 and (flags & 2 or flags & 1))

    def _options(self, text: str) -> bytes:
        out = b""
        for word in filter(None, (w.strip() for w in text.split(","))):
            name, *values = word.replace("/", " ").split()
            if name == "mss":
                out += struct.pack("!BBH", 2, 4, int(values[0]))
            elif name == "sackok":
                out += b"\x04\x02"
            elif name == "scale":
                out += bytes([3, 3, int(values[0])])
            elif name == "ts":
                echo = self.peer.heard_tsval if values[1] == "ok" else int(values[1])
                out += struct.pack("!BBII", 8, 10, int(values[0]), echo)
            elif name == "sack":
                base = self.peer.kernel_isn or 0
                edges = [int(e) for v in values for e in v.split(":")]
                out += bytes([5, 2 + 4 * len(edges)])
                out += b"".join(struct.pack("!I", (e + base) & 0xFFFFFFFF) for e in edges)
            elif name == "fo":
                cookie = self._cookie if values == ["ok"] else bytes.fromhex(values[0]) if values else b""
                out += bytes([34, 2 + len(cookie)]) + cookie
            elif name == "raw":
                out += bytes.fromhex(values[0])
            else:
                raise ScriptError(f"no option {name}")
        return out + b"\x01" * (-len(out) % 4)

    def do_icmp(self, kind: str, *more: str) -> None:
        """An error about the kernel's last segment, or one that quotes another number of its."""
        self._take_all()
        words = dict(zip(more[::2], more[1::2], strict=True))
        header = 20 if self.net.family == 4 else 40
        quoted = bytearray(self.peer.heard[: header + 20])
        if "seq" in words:
            number = int(words["seq"]) + (self.peer.kernel_isn or 0)
            quoted[header + 4 : header + 8] = (number & 0xFFFFFFFF).to_bytes(4, "big")
        number, code = (ICMP if self.net.family == 4 else ICMP6)[kind]
        ends = (self.net.ip["script"], self.net.ip[POINT])
        os.write(self.net.tun, pcap.build_icmp(*ends, number, code, int(words.get("mtu", 0)), bytes(quoted)))

    def _put(
        self, flags: int, seq: int, ack: int, length: int, options: bytes, window: int, urgent: int = 0, tos: int = 0
    ) -> None:
        p = self.peer
        number = (ack + (p.kernel_isn or 0)) if flags & FLAGS["."] else 0
        frame = pcap.build(
            (bytes(6), bytes(6)), (self.net.ip["script"], p.port), (self.net.ip[POINT], p.local_port), flags,
            seq + p.isn, number, window=window, payload=b"s" * length, options=options, urgent=urgent, ttl=255,
            ip_id=0, tos=tos,
        )  # fmt: skip
        os.write(self.net.tun, frame[14:])

    def close(self) -> None:
        """Stop listening."""
        self._stop.set()
        self._reader.join()
        for s in (self._socket, *self._open, self._listener):
            if s:
                s.close()
        self.asker.close()
