"""The bench: a kernel's own interface on one side, frames that a script makes on the other."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from tests.lab.netns import Namespace

if TYPE_CHECKING:
    from pathlib import Path


PREFIX = "tfbench"


POINT = "kernel"


TUNSETIFF = 0x400454CA


IFF_TUN, IFF_NO_PI = 1, 0x1000


class ScriptError(RuntimeError):
    """The kernel did not do what a script waits for."""


class Bench:
    """A namespace with a tun device, and who is who on it; looks like a `Network` to the runner."""

    def __init__(self, *, family: int = 4, **_: object) -> None:
        self.family = family
        self._stack = ExitStack()
        self._capture: subprocess.Popen[str] | None = None
        try:
            self._wire(self._claim())
        except BaseException:
            self.close()
            raise

    def _claim(self) -> int:
        """Take the first number whose namespace nobody has."""
        for n in range(1, 250):
            try:
                self.namespace = Namespace(f"{PREFIX}-{n}")
            except FileExistsError:
                continue
            self._stack.callback(self.namespace.remove)
            return n
        raise RuntimeError("no free bench; try `python -m tests.lab clean`")

    def _wire(self, n: int) -> None:
        four, six = (f"10.200.{n}.1", f"10.201.{n}.1"), (f"fd01:{n}::1", f"fd02:{n}::1")
        here, there = four if self.family == 4 else six
        device, ns = f"tflt{n}", self.namespace
        self.ns, self.ip = {POINT: ns}, {POINT: here, "script": there}
        self.hosts, self.device = {here: POINT}, {POINT: device}
        with ns.entered():
            self.tun = os.open("/dev/net/tun", os.O_RDWR)
        self._stack.callback(os.close, self.tun)
        fcntl.ioctl(self.tun, TUNSETIFF, struct.pack("16sH", device.encode(), IFF_TUN | IFF_NO_PI))
        ns.sysctl("ipv6.conf.all.accept_dad", 0)
        ns.run("ip", "-batch", "-", text="\n".join([
            "link set lo up",
            f"link set {device} up",
            f"addr add {here}/16 dev {device}" if self.family == 4 else f"addr add {here}/48 dev {device} nodad",
            f"route add {'0.0.0.0/0' if self.family == 4 else '::/0'} dev {device}",
        ]))  # fmt: skip
        for name, value in {"tcp_fin_timeout": 30, "tcp_fastopen": 3, "tcp_ecn": 0}.items():
            ns.sysctl(f"ipv4.{name}", value)

    def capture(self, folder: Path) -> None:
        """Start tcpdump on the tun device and wait until it listens."""
        args = ["tcpdump", "-Z", "root", "-i", self.device[POINT], "-U", "--immediate-mode", "-n"]
        self._capture = p = self.namespace.start(
            *args,
            "-w",
            str(folder / f"{POINT}.pcap"),
            "tcp or icmp or icmp6",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._stack.callback(p.wait)
        self._stack.callback(p.kill)
        assert p.stderr
        while "listening" not in (line := p.stderr.readline()):
            if not line:
                raise RuntimeError("tcpdump did not start")

    def stop_capture(self) -> dict[str, dict[str, int]]:
        """Stop; tcpdump's own counters."""
        time.sleep(0.05)
        assert self._capture
        self._capture.terminate()
        words = self._capture.communicate(timeout=10)[1].replace("\n", " ").split()
        count = {w: int(words[words.index(w) - 2]) for w in ("captured", "dropped") if w in words}
        return {POINT: {"captured": count.get("captured", 0), "dropped_by_kernel": count.get("dropped", 0)}}

    def close(self) -> None:
        """Take everything down."""
        self._stack.close()
