"""Network namespaces from Python: enter one in a thread, make sockets there, run programs there."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CLONE_NEWNET = 0x40000000
SIOCETHTOOL = 0x8946
# ETHTOOL_S* commands of the offloads that make a captured segment differ from the one on the wire
OFFLOADS = {"rx": 0x15, "tx": 0x17, "sg": 0x19, "tso": 0x1F, "gso": 0x24, "gro": 0x2C}

_libc = ctypes.CDLL(None, use_errno=True)


class CommandError(RuntimeError):
    """A system command of the lab failed: its name, status and words."""


def run(args: Sequence[str], text: str | None = None) -> str:
    """Run a command in the calling thread's namespace; its output, or CommandError with what it said."""
    done = subprocess.run(args, input=text, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise CommandError(f"{' '.join(args)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def setns(fd: int) -> None:
    """Move the calling thread (only) into the network namespace behind fd. os.setns came with Python 3.12."""
    if _libc.setns(fd, CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


class Namespace:
    """One `ip netns` namespace; creating it fails with FileExistsError if the name is taken, which makes it a lock."""

    def __init__(self, name: str) -> None:
        self.name = name
        path = Path("/run/netns") / name
        if path.exists():
            raise FileExistsError(name)
        try:
            run(["ip", "netns", "add", name])
        except CommandError as e:
            if "File exists" in str(e):
                raise FileExistsError(name) from e
            raise
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._home = threading.local()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is in this namespace inside the block; sockets made there stay there for good."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(self._fd)
            try:
                yield
            finally:
                setns(home)
        finally:
            os.close(home)

    def run(self, *args: str, text: str | None = None) -> str:
        """Run a command inside."""
        with self.entered():
            return run(args, text)

    def start(self, *args: str, **options: object) -> subprocess.Popen[str]:
        """Start a program inside, with text pipes."""
        with self.entered():
            return subprocess.Popen(args, text=True, **options)  # type: ignore[call-overload,no-any-return]

    def socket(self, family: int, kind: int, proto: int = 0) -> socket.socket:
        """Make a socket that lives inside."""
        with self.entered():
            return socket.socket(family, kind, proto)

    def sysctl(self, name: str, value: object) -> None:
        """Set net.<name> inside, e.g. ipv4.tcp_fin_timeout."""
        with self.entered():
            Path("/proc/sys/net", *name.split(".")).write_text(str(value))

    def offload(self, device: str, enabled: bool) -> None:
        """Switch segmentation and checksum offload of a device (what `ethtool -K` does)."""
        with self.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            for command in OFFLOADS.values():
                value = ctypes.create_string_buffer(struct.pack("II", command, int(enabled)))
                request = struct.pack("16sP16x", device.encode(), ctypes.addressof(value))
                try:
                    fcntl.ioctl(s, SIOCETHTOOL, request)
                except OSError:  # an offload that this driver has not is off already
                    continue

    def remove(self) -> None:
        """Delete it, with every device inside."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)


def leftovers(prefix: str) -> list[str]:
    """Names of namespaces that start with prefix: those of a run that was killed before it could tidy up."""
    out = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout
    return [line.split()[0] for line in out.splitlines() if line.startswith(prefix)]
