"""The kernel's own words: tracepoints read from a private ftrace instance, raw, so with nanoseconds and addresses.

What is recorded, and why it is enough without probes inside the kernel:

- `sock:inet_sock_set_state` has every transition of a full socket.
- `timer:timer_start`, `timer_expire_entry` and `timer_cancel` of the two timers `tw_timer_handler` and
  `reqsk_timer_handler`: a TIME_WAIT or FIN_WAIT_2 minisocket, and a request socket (SYN_RECEIVED), has a timer for as
  long as it exists, so the timer's life is the state's life. The timer events carry no addresses; `truth` finds them
  from what else happens on the same CPU in the same breath.
- `net:netif_receive_skb` of the lab's own devices: which host's frame the CPU was working on.
- `tcp:*` resets and retransmissions, for events.csv.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

TRACEFS = Path("/sys/kernel/tracing")
DEVICES = "tfl"  # every network device of the lab begins with this, so that the kernel filters for us
TIMERS = ("tw_timer_handler", "reqsk_timer_handler")
PAGE = 4096


class Event(NamedTuple):
    """One trace event: realtime seconds, CPU, process, name, and the fields that its kind has."""

    time: float
    cpu: int
    pid: int
    kind: str
    f: dict[str, object]

    @property
    def context(self) -> tuple[int, int]:
        """Where it ran: a process may change the CPU, the idle task is one per CPU."""
        return (self.pid, self.cpu if self.pid == 0 else -1)


def missing() -> str | None:
    """Why this machine cannot trace, or None."""
    if not (TRACEFS / "instances").is_dir():
        subprocess.run(["mount", "-t", "tracefs", "nodev", str(TRACEFS)], capture_output=True, check=False)
    if not (TRACEFS / "instances").is_dir():
        return "tracefs cannot be mounted"
    if not (TRACEFS / "events/sock/inet_sock_set_state").is_dir():
        return "this kernel has no tracepoint sock:inet_sock_set_state"
    if None in _symbols().values():
        return "/proc/kallsyms does not show the TCP timers"
    return None


def _symbols() -> dict[str, int | None]:
    found: dict[str, int | None] = dict.fromkeys(TIMERS)
    with Path("/proc/kallsyms").open() as f:
        for line in f:
            address, _, name = line.split()[:3]
            if name in found and int(address, 16):
                found[name] = int(address, 16)
    return found


def hz() -> int:
    """Ticks of the kernel's timers per second (CONFIG_HZ)."""
    with suppress(OSError, subprocess.SubprocessError):
        text = subprocess.run(["zcat", "/proc/config.gz"], capture_output=True, text=True, check=True).stdout
        if m := re.search(r"^CONFIG_HZ=(\d+)$", text, re.MULTILINE):
            return int(m[1])
    return 250


def boot_offset() -> float:
    """CLOCK_REALTIME - CLOCK_BOOTTIME: the closest of some readings taken in between two others."""
    best = (1 << 62, 0)
    for _ in range(50):
        a = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        r = time.clock_gettime_ns(time.CLOCK_REALTIME)
        z = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        best = min(best, (z - a, r - (a + z) // 2))
    return best[1]


@dataclass(frozen=True)
class _Format:
    """One event's layout: field name -> (offset, size, signed), from its format file."""

    name: str
    fields: dict[str, tuple[int, int, bool]]

    def number(self, data: bytes, field: str) -> int:
        at, size, signed = self.fields[field]
        return int.from_bytes(data[at : at + size], "little", signed=signed)

    def raw(self, data: bytes, field: str) -> bytes:
        at, size, _ = self.fields[field]
        return data[at : at + size]


def _text(raw: bytes) -> str:
    """An address as text; a v4-mapped one as IPv4."""
    if len(raw) == 16 and raw[:12] == bytes(10) + b"\xff\xff":
        raw = raw[12:]
    return socket.inet_ntop(socket.AF_INET6 if len(raw) == 16 else socket.AF_INET, raw)


class Tracer:
    """A private trace instance and the thread that empties it. One serves any number of parallel runs."""

    def __init__(self) -> None:
        if reason := missing():
            raise RuntimeError(reason)
        self.events: list[Event] = []
        self.lost = 0
        self.root = TRACEFS / "instances" / f"{DEVICES}-{os.getpid()}-{id(self):x}"
        self.root.mkdir()
        self._formats: dict[int, _Format] = {}
        self._symbols = {v: k for k, v in _symbols().items()}
        self._known: set[int] = set()
        self._cancels: list[Event] = []
        self._unsure: list[Event] = []
        self._stop = threading.Event()
        self._lock = threading.Lock()
        try:
            self._arm()
        except BaseException:
            self.root.rmdir()
            raise
        self._thread = threading.Thread(target=self._loop, name="tracer", daemon=True)
        self._thread.start()

    def _write(self, name: str, value: str) -> None:
        (self.root / name).write_text(value)

    def _arm(self) -> None:
        self._write("trace_clock", "boot")
        self._write("buffer_size_kb", "4096")
        handlers = " || ".join(f"function == {address:#x}" for address in self._symbols)
        filters = {
            "sock/inet_sock_set_state": "protocol == 6",
            "timer/timer_start": handlers,
            "timer/timer_expire_entry": handlers,
            "timer/timer_cancel": "",
            "net/netif_receive_skb": f'name ~ "{DEVICES}*"',
            "tcp/tcp_send_reset": "",
            "tcp/tcp_receive_reset": "",
            "tcp/tcp_retransmit_skb": "",
            "tcp/tcp_retransmit_synack": "",
        }
        for event, text in filters.items():
            fields, number = {}, 0
            for line in (self.root / "events" / event / "format").read_text().splitlines():
                if line.startswith("ID:"):
                    number = int(line[3:])
                if m := re.search(r"field:.*?(\w+)(?:\[\d*\])?;\s*offset:(\d+);\s*size:(\d+);\s*signed:(\d)", line):
                    fields[m[1]] = (int(m[2]), int(m[3]), m[4] == "1")
            self._formats[number] = _Format(event.split("/")[1], fields)
            if text:
                self._write(f"events/{event}/filter", text)
            self._write(f"events/{event}/enable", "1")
        self._pipes = {
            int(p.name[3:]): os.open(p / "trace_pipe_raw", os.O_RDONLY | os.O_NONBLOCK)
            for p in sorted((self.root / "per_cpu").iterdir())
        }

    def _loop(self) -> None:
        while not self._stop.wait(0.05):
            self.drain()

    def drain(self) -> None:
        """Read what the kernel holds for us now."""
        with self._lock:
            offset = boot_offset()
            for cpu, fd in self._pipes.items():
                with suppress(BlockingIOError):
                    while page := os.read(fd, PAGE):
                        self._page(cpu, page, offset)
            # A cancel cannot be filtered by handler in the kernel, and the start that makes its timer ours may be on
            # another CPU's page, in this round or (if that CPU was read first) in the next one.
            self.events += [e for e in self._unsure + self._cancels if e.f["timer"] in self._known]
            self._unsure = [e for e in self._cancels if e.f["timer"] not in self._known]
            self._cancels = []

    def _page(self, cpu: int, page: bytes, offset: float) -> None:
        now, commit = struct.unpack_from("<QQ", page)
        if commit & 1 << 31:
            self.lost += 1
        at, end = 16, 16 + (commit & 0xFFFFF)
        while at + 4 <= end:
            (word,) = struct.unpack_from("<I", page, at)
            kind, delta = word & 31, word >> 5
            at += 4
            if kind == 29:  # padding: to the end of the page, or a discarded event
                if not delta:
                    break
                at += int.from_bytes(page[at : at + 4], "little")
                now += delta
                continue
            if kind in (30, 31):  # the clock went further than 27 bits hold
                far = int.from_bytes(page[at : at + 4], "little") << 27
                now = now + far + delta if kind == 30 else (now & ~((1 << 59) - 1)) | far | delta
                at += 4
                continue
            now += delta
            if kind:
                size, start = kind * 4, at
                at += size
            else:
                size, start = int.from_bytes(page[at : at + 4], "little") - 4, at + 4
                at += size + 4
            self._event(cpu, (now + offset) / 1e9, page[start : start + size])

    def _event(self, cpu: int, when: float, data: bytes) -> None:
        layout = self._formats.get(int.from_bytes(data[:2], "little"))
        if layout is None:
            return
        f: dict[str, object] = {}
        kind = layout.name
        if kind.startswith("timer_"):
            timer = layout.number(data, "timer")
            if kind != "timer_cancel":
                self._known.add(timer)
                f["handler"] = self._symbols[layout.number(data, "function")]
                if kind == "timer_start":
                    f["ticks"] = layout.number(data, "expires") - layout.number(data, "now")
            f["timer"] = timer
        elif kind == "netif_receive_skb":
            where = layout.number(data, "name")
            f["device"] = data[where & 0xFFFF : (where & 0xFFFF) + (where >> 16)].rstrip(b"\0").decode()
        else:
            for name in ("skaddr", "oldstate", "newstate", "state", "reason"):
                if name in layout.fields:
                    f[name] = layout.number(data, name)
            f["local"], f["remote"] = self._ends(layout, data)
        into = self._cancels if kind == "timer_cancel" else self.events
        into.append(Event(when, cpu, layout.number(data, "common_pid"), kind, f))

    @staticmethod
    def _ends(layout: _Format, data: bytes) -> tuple[tuple[str, int], tuple[str, int]]:
        if "sport" not in layout.fields:  # tcp_send_reset holds two struct sockaddr
            ends = []
            for name in ("saddr", "daddr"):
                raw = layout.raw(data, name)
                v6 = int.from_bytes(raw[:2], "little") == socket.AF_INET6
                ends.append((_text(raw[8:24] if v6 else raw[4:8]), int.from_bytes(raw[2:4], "big")))
            return ends[0], ends[1]
        v6 = layout.number(data, "family") == socket.AF_INET6
        names = ("saddr_v6", "daddr_v6") if v6 else ("saddr", "daddr")
        a, z = (_text(layout.raw(data, n)) for n in names)
        return (a, layout.number(data, "sport")), (z, layout.number(data, "dport"))

    def between(self, begin: float, end: float) -> list[Event]:
        """The events of a period in time order (ties in the order of their CPU's buffer)."""
        self.drain()
        self.drain()
        return sorted((e for e in self.events[:] if begin <= e.time <= end), key=lambda e: e.time)

    def close(self) -> None:
        """Stop, and remove the instance."""
        self._stop.set()
        self._thread.join()
        for fd in self._pipes.values():
            os.close(fd)
        for _ in range(20):
            try:
                self._write("tracing_on", "0")
                self._write("events/enable", "0")
                self.root.rmdir()
            except OSError:
                time.sleep(0.05)
            else:
                return
