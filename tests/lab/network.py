"""The wire: client - router - server, three capture points, and faults exactly where they are asked for.

    client (tflc) = rc | near | m1 = m2 | far | rs = (tfls) server

`near` and `far` are two stages inside the router namespace, either kernel bridges with nft (round trip 60 us) or the
forwarder of `forwarder.py` (delay, hold, duplicate). The middle capture is taken at m1, between them: what is lost near
on its way from the client is in client.pcap only, what is lost far is in client.pcap and router.pcap.
"""

from __future__ import annotations

import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING

from tests.lab.forwarder import ETH_P_ALL, Forwarder, Rule
from tests.lab.netns import Namespace, leftovers, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PREFIX = "tflab"
FOREVER = 1_000_000
HOSTS = ("client", "server")
# What a segment is called in a fault, as nft sees it. A pure ACK has no length test in a bridge, hence its size.
NFT_SEGMENTS = {
    "syn": "tcp flags & (syn | ack) == syn",
    "synack": "tcp flags & (syn | ack) == (syn | ack)",
    "fin": "tcp flags & fin == fin",
    "rst": "tcp flags & rst == rst",
    "ack": "tcp flags & (syn | fin | rst | psh | ack) == ack meta length < 100",
    "data": "tcp flags & (syn | fin | rst) == 0 meta length >= 100",
    "any": "meta l4proto tcp",
}
# Away from the 60 s of TIME_WAIT, so that the timer of a minisocket tells which state it is in.
SYSCTLS = {"ipv4.tcp_fin_timeout": 30}


class Network:
    """Three namespaces and their wire; addresses 10.0.N.1/2 and fd00:N::1/2 where N is this network's own number."""

    def __init__(self, *, family: int = 4, mode: str = "bridge", offload: bool = False, near: float = 0.0,
                 far: float = 0.0, jitter: float = 0.0, seed: int = 0, number: int | None = None) -> None:  # fmt: skip
        self.family, self.mode, self.offload = family, mode, offload
        self._stack = ExitStack()
        self._captures: dict[str, subprocess.Popen[str]] = {}
        self.forwarder: Forwarder | None = None
        try:
            self._claim(number)
            self._wire()
            if mode == "forwarder":
                pairs = {"near": ("rc", "m1"), "far": ("m2", "rs")}
                self.forwarder = Forwarder(self.router, pairs, {"near": near, "far": far}, jitter, seed)
                self._stack.callback(self.forwarder.close)
        except BaseException:
            self.close()
            raise

    def _claim(self, number: int | None) -> None:
        """Take the first number whose namespaces nobody has: `ip netns add` is the lock between parallel runs."""
        for n in range(1, 250) if number is None else [number]:
            try:
                client = Namespace(f"{PREFIX}-{n}-client")
            except FileExistsError:
                continue
            self._stack.callback(client.remove)
            self.number = n
            self.router = Namespace(f"{PREFIX}-{n}-router")
            self._stack.callback(self.router.remove)
            server = Namespace(f"{PREFIX}-{n}-server")
            self._stack.callback(server.remove)
            self.ns = {"client": client, "server": server}
            break
        else:
            raise RuntimeError(f"no free network number; try `python -m tests.lab clean` ({PREFIX}-*)")
        n = self.number
        both = {h: (f"10.0.{n}.{i}", str(ip_address(f"fd00:{n}::{i}"))) for i, h in enumerate(HOSTS, 1)}
        self.ip = {h: pair[self.family == 6] for h, pair in both.items()}
        self.hosts = {ip: h for h, pair in both.items() for ip in pair}
        self.device = {"client": f"tflc{n}", "server": f"tfls{n}"}
        self.mac = {h: bytes([2, 0, 0, 0, n, i]) for i, h in enumerate(HOSTS, 1)}
        self.port = {"client": "rc", "server": "rs"}

    def _wire(self) -> None:
        n, names = self.number, {h: ns.name for h, ns in self.ns.items()}
        with self.router.entered():
            run(["ip", "-batch", "-"], "\n".join([
                f"link add rc type veth peer name {self.device['client']} netns {names['client']}",
                f"link add rs type veth peer name {self.device['server']} netns {names['server']}",
                "link add m1 type veth peer name m2",
            ]))  # fmt: skip
        self.router.sysctl("ipv6.conf.all.disable_ipv6", 1)
        self.router.sysctl("ipv6.conf.default.disable_ipv6", 1)
        bridges = [] if self.mode == "forwarder" else [
            "link add near type bridge stp_state 0 mcast_snooping 0",
            "link add far type bridge stp_state 0 mcast_snooping 0",
            "link set rc master near", "link set m1 master near",
            "link set m2 master far", "link set rs master far",
            "link set near up", "link set far up",
        ]  # fmt: skip
        up = [f"link set {d} up" for d in ("rc", "rs", "m1", "m2")]
        self.router.run("ip", "-batch", "-", text="\n".join(bridges + up))
        for host, peer in (HOSTS, HOSTS[::-1]):
            ns, device, i, j = self.ns[host], self.device[host], HOSTS.index(host) + 1, HOSTS.index(peer) + 1
            ns.sysctl("ipv6.conf.all.accept_dad", 0)
            ns.sysctl("ipv6.conf.default.router_solicitations", 0)
            mac, other = (":".join(f"{b:02x}" for b in self.mac[h]) for h in (host, peer))
            ns.run("ip", "-batch", "-", text="\n".join([
                "link set lo up",
                f"link set {device} address {mac}",
                f"addr add 10.0.{n}.{i}/24 dev {device}",
                f"addr add fd00:{n}::{i}/64 dev {device} nodad",
                f"link set {device} up",
                f"neigh replace 10.0.{n}.{j} lladdr {other} dev {device} nud permanent",
                f"neigh replace fd00:{n}::{j} lladdr {other} dev {device} nud permanent",
            ]))  # fmt: skip
            for name, value in SYSCTLS.items():
                ns.sysctl(name, value)
            ns.offload(device, self.offload)
        for device in ("rc", "rs", "m1", "m2"):
            self.router.offload(device, self.offload)
        if self.mode == "bridge":
            self.router.run("nft", "-f", "-", text="add table bridge lab\n"
                            "add chain bridge lab wire { type filter hook forward priority 0; }")  # fmt: skip

    # faults

    def _iif(self, stage: str, sender: str) -> tuple[str, str]:
        left, right = {"near": ("rc", "m1"), "far": ("m2", "rs")}[stage]
        return (left, right) if sender == "client" else (right, left)

    def lose(
        self, segment: str, sender: str, where: str, *, count: int = 1, skip: int = 0, chance: float = 1.0
    ) -> None:
        """Lose the next `count` such segments of `sender`, near or far of the middle capture, after `skip` others."""
        if self.forwarder:
            self.forwarder.rules.append(Rule(where, sender, segment, "drop", count, skip, 0.0, chance))
            return
        iif, oif = self._iif(where, sender)
        if chance < 1:
            when = f"numgen random mod 10000 < {int(chance * 10000)}"
        elif skip:
            when = f"numgen inc mod {FOREVER} {skip}-{skip + count - 1}"
        else:
            when = f"numgen inc mod {FOREVER} < {count}" if count < FOREVER else ""
        rule = f'add rule bridge lab wire iifname "{iif}" oifname "{oif}" {NFT_SEGMENTS[segment]} {when} counter drop'
        self.router.run("nft", rule)

    def _delay(self, action: str, segment: str, sender: str, where: str, seconds: float, count: int, skip: int) -> None:
        if not self.forwarder:
            raise RuntimeError(f"{action} needs mode='forwarder'")
        self.forwarder.rules.append(Rule(where, sender, segment, action, count, skip, seconds))

    def hold(self, segment: str, sender: str, where: str, seconds: float, *, count: int = 1, skip: int = 0) -> None:
        """Deliver a segment that much later than its successors."""
        self._delay("hold", segment, sender, where, seconds, count, skip)

    def duplicate(
        self, segment: str, sender: str, where: str, seconds: float, *, count: int = 1, skip: int = 0
    ) -> None:
        """Deliver a segment twice, the second time that much later."""
        self._delay("duplicate", segment, sender, where, seconds, count, skip)

    def heal(self) -> None:
        """Remove all faults."""
        if self.forwarder:
            self.forwarder.rules.clear()
        else:
            self.router.run("nft", "flush chain bridge lab wire")

    def inject(self, frame: bytes, at: str) -> None:
        """Put a frame on the wire: "client"/"server" leaves that host as if it had sent it; "to_client"/"to_server" is
        on that host's last link only, "router" between the two stages towards the server."""
        if at in HOSTS:
            ns, device = self.ns[at], self.device[at]
        else:
            ns, device = self.router, {"to_client": "rc", "to_server": "rs", "router": "m1"}[at]
        with ns.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as s:
            s.bind((device, 0))
            s.send(frame)

    # captures

    def capture(self, folder: Path) -> None:
        """Start tcpdump at the three points and wait until each one listens."""
        points = {
            "client": (self.ns["client"], self.device["client"]),
            "router": (self.router, "m1"),
            "server": (self.ns["server"], self.device["server"]),
        }
        for point, (ns, device) in points.items():
            args = ["tcpdump", "-Z", "root", "-i", device, "-U", "--immediate-mode", "-B", "8192", "-n"]
            p = ns.start(*args, "-w", str(folder / f"{point}.pcap"), "tcp",
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # fmt: skip
            self._captures[point] = p
            self._stack.callback(_end, p)
        for p in self._captures.values():
            assert p.stderr
            while "listening" not in (line := p.stderr.readline()):
                if not line:
                    raise RuntimeError("tcpdump did not start")

    def stop_capture(self) -> dict[str, dict[str, int]]:
        """Stop; tcpdump's own counters per point."""
        time.sleep(0.05)
        counters = {}
        for p in self._captures.values():
            p.terminate()
        for point, p in self._captures.items():
            said = p.communicate(timeout=10)[1]
            words = said.replace("\n", " ").split()
            counters[point] = {
                "captured": int(words[words.index("captured") - 2]),
                "dropped_by_kernel": int(words[words.index("dropped") - 2]),
            }
        self._captures = {}
        return counters

    def close(self) -> None:
        """Take everything down, whatever state it is in."""
        self._stack.close()


def _end(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        process.kill()
    process.wait()


@contextmanager
def network(**options: object) -> Iterator[Network]:
    """A Network that is gone after the block."""
    net = Network(**options)  # type: ignore[arg-type]
    try:
        yield net
    finally:
        net.close()


def clean() -> list[str]:
    """Remove the namespaces of runs that were killed; their names."""
    names = [*leftovers(f"{PREFIX}-"), *leftovers("tfbench-")]
    for name in names:
        run(["ip", "netns", "del", name])
    return names
