"""From the kernel's events to rows: every state change of both hosts, with the moment at which the kernel made it.

`inet_sock_set_state` tells the life of a full socket and nothing else has to be believed for that. Three rules add
what Linux keeps outside full sockets, each one resting on what the kernel does without a pause on one CPU:

1. *Minisockets.* Leaving FIN_WAIT_2 or CLOSING for TIME_WAIT (or for the FIN_WAIT_2 of an orphan), Linux starts the
   minisocket's timer and then closes the full socket, in the same context. So a `FIN_WAIT2 -> CLOSE` directly after a
   `tw_timer_handler` start is a hand-over, and which state it is the timer's length tells (60 s: TIME_WAIT); without
   such a start it is really CLOSED. From then on: started again with 60 s = FIN arrived or 2MSL restarted, expired =
   its end, cancelled and not started = killed (RST, `ss -K`, a new SYN accepted).
2. *Request sockets.* A `reqsk_timer_handler` start while the CPU handles a frame of the lab's device = SYN_RECEIVED
   begins. If a child socket appears (`LISTEN -> SYN_RECV`) and the same context cancels the timer, the child continues
   it. Cancelled without a child, or expired and not started again = CLOSED. A child without a request (SYN cookie,
   Fast Open) begins SYN_RECEIVED itself.
3. A request that never has a child is named by its SYN-ACK retransmission, else by the SYN that the host's own capture
   shows directly before.

The poll (`diag`) is an independent witness: each state that it saw must be one that these rows allow at that moment.
It also adds restarts of the 2MSL timer, for which the kernel often fires no event.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tests.lab.diag import Snapshot
    from tests.lab.trace import Event

STATES = {
    1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECEIVED", 4: "FIN_WAIT_1", 5: "FIN_WAIT_2", 6: "TIME_WAIT", 7: "CLOSED",
    8: "CLOSE_WAIT", 9: "LAST_ACK", 10: "LISTEN", 11: "CLOSING", 12: "SYN_RECEIVED",
}  # fmt: skip
REASONS = dict(enumerate((
    "NOT_SPECIFIED", "NO_SOCKET", "TCP_INVALID_ACK_SEQUENCE", "TCP_RFC7323_PAWS", "TCP_TOO_OLD_ACK",
    "TCP_ACK_UNSENT_DATA", "TCP_FLAGS", "TCP_OLD_ACK", "TCP_ABORT_ON_DATA", "TCP_TIMEWAIT_SOCKET", "INVALID_SYN",
    "TCP_ABORT_ON_CLOSE", "TCP_ABORT_ON_LINGER", "TCP_ABORT_ON_MEMORY", "TCP_STATE", "TCP_KEEPALIVE_TIMEOUT",
    "TCP_DISCONNECT_WITH_DATA",
)))  # fmt: skip
SYN_SENT = 2
STAMP = 0.00002  # what a capture's time stamp and the trace's clock may differ by
ENDS = ("local_ip", "local_port", "remote_ip", "remote_port")
# What one step of the kernel can be; the RFC's diagram plus aborts, time-outs and the reuse of a four-tuple.
LEGAL = {
    "CLOSED": {"SYN_SENT", "LISTEN"},
    "LISTEN": {"SYN_RECEIVED", "CLOSED"},
    "SYN_SENT": {"ESTABLISHED", "SYN_RECEIVED", "CLOSED"},
    "SYN_RECEIVED": {"ESTABLISHED", "FIN_WAIT_1", "CLOSE_WAIT", "CLOSED"},
    "ESTABLISHED": {"FIN_WAIT_1", "CLOSE_WAIT", "CLOSED"},
    "FIN_WAIT_1": {"FIN_WAIT_2", "CLOSING", "TIME_WAIT", "CLOSED"},
    "FIN_WAIT_2": {"TIME_WAIT", "CLOSED"},
    "CLOSE_WAIT": {"LAST_ACK", "CLOSED"},
    "CLOSING": {"TIME_WAIT", "CLOSED"},
    "LAST_ACK": {"CLOSED"},
    "TIME_WAIT": {"CLOSED", "TIME_WAIT"},
}
TIME_WAIT_SECONDS = 59.5  # a minisocket whose timer runs that long is in TIME_WAIT
BREATH = 0.005  # how far apart two events of one and the same kernel path can be (an interrupt may come between)

Address = tuple[str, int]
Pair = tuple[Address, Address]


class Row(NamedTuple):
    """One line of truth.csv."""

    time: float
    host: str
    local: Address
    remote: Address
    old: str
    new: str
    source: str = "tracepoint"


@dataclass
class _Socket:
    """One incarnation of a full socket: from the event that begins it to the one that closes it."""

    steps: list[Event] = field(default_factory=list)
    closed_into: _Timer | None = None
    request: _Timer | None = None

    @property
    def pair(self) -> Pair:
        """The four-tuple: from the event that knows most (a connecting socket has no port in its first one)."""
        steps = self.steps
        if steps[0].f["newstate"] == SYN_SENT:  # a socket used again bears its old port in its first event
            steps = [*steps[1:], steps[0]]
        return max(
            ((e.f["local"], e.f["remote"]) for e in steps),
            key=lambda p: (p[1][1] != 0, p[0][1] != 0),  # type: ignore[index]
        )  # type: ignore[return-value]


@dataclass
class _Timer:
    """One life of a minisocket's or request's timer."""

    began: float
    ticks: int
    marks: list[tuple[float, str]] = field(default_factory=list)  # (time, TIME_WAIT or CLOSED)
    pair: Pair | None = None
    host: str | None = None
    child: bool = False


@dataclass
class Truth:
    """The rows, the kernel's remarks, and how far to trust them."""

    rows: list[Row]
    remarks: list[tuple[float, str, str, Pair]]
    check: dict[str, object]

    def write(self, folder: Path) -> None:
        """truth.csv and events.csv."""
        with (folder / "truth.csv").open("w", newline="") as f:
            out = csv.writer(f, lineterminator="\n")
            out.writerow(("time", "host", *ENDS, "old_state", "new_state", "source"))
            out.writerows((f"{r.time:.6f}", r.host, *r.local, *r.remote, r.old, r.new, r.source) for r in self.rows)
        with (folder / "events.csv").open("w", newline="") as f:
            out = csv.writer(f, lineterminator="\n")
            out.writerow(("time", "host", "event", *ENDS))
            out.writerows((f"{t:.6f}", host, what, *pair[0], *pair[1]) for t, host, what, pair in self.remarks)


class Deriver:
    """Applies the rules of this module to one run's events."""

    def __init__(
        self, hosts: dict[str, str], devices: dict[str, str], hz: int, syns: dict[str, list[tuple[float, Pair]]],
        sent: dict[str, list[tuple[float, Pair]]],
    ) -> None:  # fmt: skip
        """hosts: address -> host; devices: device -> host; syns, sent: host -> the SYNs that came in, and went out,
        in its own capture, as (time, (its address, the other's))."""
        self._hosts, self._devices, self._hz, self._syns, self._sent = hosts, devices, hz, syns, sent
        self._sockets: list[_Socket] = []
        self._requests: list[_Timer] = []
        self._minis: list[_Timer] = []
        self.remarks: list[tuple[float, str, str, Pair]] = []

    def rows(self, events: list[Event]) -> list[Row]:
        """All rows, in time order."""
        self._collect(events)
        self._name_requests()
        out: list[Row] = []
        for s in self._sockets:
            out += self._socket_rows(s)
        for r in self._requests:
            if r.pair and r.host:
                out.append(Row(r.began, r.host, *r.pair, "LISTEN", "SYN_RECEIVED"))
                if not r.child:
                    ends = [t for t, what in r.marks if what == "CLOSED"]
                    out += [Row(t, r.host, *r.pair, "SYN_RECEIVED", "CLOSED") for t in ends]
        return self._ordered(out)

    # first pass: objects with lives

    def _collect(self, events: list[Event]) -> None:
        live: dict[object, _Socket] = {}
        minis: dict[object, _Timer] = {}
        requests: dict[object, _Timer] = {}
        started: dict[tuple[int, int], list[tuple[float, _Timer]]] = defaultdict(list)
        working_on: dict[int, str | None] = {}  # CPU -> device of the frame that it handles
        born: dict[int, tuple[float, _Socket]] = {}  # CPU -> the child socket that it has just made
        expired: dict[int, tuple[float, _Timer]] = {}  # CPU -> the request whose timer it has just handled
        for i, e in enumerate(events):
            timer = e.f.get("timer")
            if e.kind == "netif_receive_skb":
                working_on[e.cpu] = str(e.f["device"])
                born.pop(e.cpu, None)
                expired.pop(e.cpu, None)
            elif e.kind == "inet_sock_set_state":
                self._step(e, live, started, born)
            elif e.kind == "timer_start":
                if e.f["handler"] == "tw_timer_handler":
                    m = minis.get(timer)
                    if m and not self._over(m):
                        m.marks.append((e.time, "TIME_WAIT"))
                    else:
                        m = minis[timer] = _Timer(e.time, int(e.f["ticks"]))  # type: ignore[call-overload]
                        self._minis.append(m)
                        started[e.context].append((e.time, m))
                elif (r := requests.get(timer)) is None or self._over(r):
                    host = self._devices.get(working_on.get(e.cpu) or "")
                    r = requests[timer] = _Timer(e.time, 0, host=host)
                    self._requests.append(r)
            elif e.kind in ("timer_cancel", "timer_expire_entry"):
                t = minis.get(timer) or requests.get(timer)
                if t is None or self._over(t):
                    continue
                if requests.get(timer) is t:
                    at, child = born.get(e.cpu, (0.0, None))
                    if child and e.kind == "timer_cancel" and e.time - at < BREATH:
                        born.pop(e.cpu)
                        t.child, t.pair, child.request = True, child.pair, t
                        t.host = self._hosts.get(child.pair[0][0])
                        t.marks.append((e.time, "CHILD"))
                        continue
                    if e.kind == "timer_expire_entry":
                        expired[e.cpu] = (e.time, t)
                if not self._restarted(events, i):
                    t.marks.append((e.time, "CLOSED"))
            else:
                self._remark(e, expired)

    @staticmethod
    def _over(t: _Timer) -> bool:
        return bool(t.marks) and t.marks[-1][1] in ("CLOSED", "CHILD")

    @staticmethod
    def _restarted(events: list[Event], i: int) -> bool:
        """Whether a timer that was cancelled or ran out here is started again by the same piece of kernel code.

        Another minisocket may get the same memory microseconds later, but not before the CPU turns to another frame.
        """
        first = events[i]
        for e in events[i + 1 :]:
            if e.time - first.time > BREATH:
                return False
            if e.context != first.context:
                continue
            if e.kind == "netif_receive_skb":
                return False
            if e.f.get("timer") == first.f["timer"]:
                return e.kind == "timer_start" or (e.kind == "timer_expire_entry" and first.kind == "timer_cancel")
        return False

    def _step(
        self,
        e: Event,
        live: dict[object, _Socket],
        started: dict[tuple[int, int], list[tuple[float, _Timer]]],
        born: dict[int, tuple[float, _Socket]],
    ) -> None:
        old, new = STATES[int(e.f["oldstate"])], STATES[int(e.f["newstate"])]  # type: ignore[call-overload]
        key = e.f["skaddr"]
        if (old, new) in (("CLOSED", "SYN_SENT"), ("CLOSED", "LISTEN"), ("LISTEN", "SYN_RECEIVED")):
            live[key] = _Socket()
            self._sockets.append(live[key])
            if old == "LISTEN":
                born[e.cpu] = (e.time, live[key])
        if key in live:
            live[key].steps.append(e)  # else it began before the recording: not of this run
        if new == "CLOSED":
            stack = started[e.context]
            while stack and e.time - stack[-1][0] > BREATH:
                stack.pop()
            mini = stack.pop()[1] if stack and old in ("FIN_WAIT_2", "CLOSING", "FIN_WAIT_1") else None
            if s := live.pop(key, None):
                s.closed_into = mini

    def _remark(self, e: Event, expired: dict[int, tuple[float, _Timer]]) -> None:
        """Resets and retransmissions for events.csv; a retransmitted SYN-ACK also names its request."""
        local, remote = e.f["local"], e.f["remote"]
        state = STATES.get(int(e.f.get("state", 0)), "no_socket")  # type: ignore[call-overload]
        what = {"tcp_receive_reset": "receive_reset", "tcp_retransmit_skb": f"retransmit:in_{state}",
                "tcp_retransmit_synack": "retransmit_synack"}.get(e.kind)  # fmt: skip
        if e.kind == "tcp_send_reset":
            what = f"send_reset:{REASONS.get(int(e.f['reason']), e.f['reason'])}:from_{state}"  # type: ignore[call-overload]
        host = self._hosts.get(local[0])  # type: ignore[index]
        if what and host:
            self.remarks.append((e.time, host, what, (local, remote)))  # type: ignore[arg-type]
            at, request = expired.pop(e.cpu, (0.0, None)) if e.kind == "tcp_retransmit_synack" else (0.0, None)
            if request and request.host in (None, host) and e.time - at < BREATH:
                request.pair, request.host = (local, remote), host  # type: ignore[assignment]

    def _name_requests(self) -> None:
        taken: set[tuple[str, float]] = set()
        for r in sorted(self._requests, key=lambda r: r.began):
            if not r.host:
                continue
            near = [(t, p) for t, p in self._syns.get(r.host, []) if r.began - 0.002 <= t <= r.began + 0.0001]
            near = [(t, p) for t, p in near if (r.host, t) not in taken and r.pair in (None, p)]
            if near:
                t, r.pair = near[0]
                taken.add((r.host, t))

    # second pass: rows

    def _socket_rows(self, s: _Socket) -> list[Row]:
        local, remote = self._pair(s)
        host = self._hosts.get(local[0]) or (self._hosts.get(remote[0]) and "")
        names = [(STATES[int(e.f["oldstate"])], STATES[int(e.f["newstate"])]) for e in s.steps]  # type: ignore[call-overload]
        if not host or local[1] == 0:
            return []
        if names == [("CLOSED", "SYN_SENT"), ("SYN_SENT", "CLOSED")]:
            begin, end = (e.time for e in s.steps)
            if not any(begin - STAMP < t < end + STAMP and p == (local, remote) for t, p in self._sent.get(host, [])):
                return []  # connect() failed before it sent anything
        if remote[1] == 0:
            return [Row(e.time, host, local, remote, a, z) for e, (a, z) in zip(s.steps, names, strict=True)]
        out = []
        for e, (old, new) in zip(s.steps, names, strict=True):
            if old == "LISTEN" and s.request:
                continue  # the request's row stands for it
            if old == new:
                continue  # the kernel set the state that it had
            if new == "CLOSED" and s.closed_into:
                out += self._mini_rows(host, (local, remote), old, e.time, s.closed_into)
            else:
                out.append(Row(e.time, host, local, remote, old, new))
        return out

    def _pair(self, s: _Socket) -> Pair:
        """The four-tuple; where no event knows the port (connect() was all that happened), its SYN on the wire does."""
        local, remote = s.pair
        if local[1] == 0 and s.steps[0].f["newstate"] == SYN_SENT:
            began = s.steps[0].time
            for t, pair in self._sent.get(self._hosts.get(local[0], ""), []):
                if began - STAMP < t < began + BREATH and pair[1] == remote:
                    return pair
        return local, remote

    def _mini_rows(self, host: str, pair: Pair, old: str, at: float, m: _Timer) -> list[Row]:
        """The minisocket's life after the hand-over at `at`."""
        state = "TIME_WAIT" if m.ticks >= TIME_WAIT_SECONDS * self._hz else "FIN_WAIT_2"
        out = [] if state == old else [Row(at, host, *pair, old, state)]
        for t, new in m.marks:
            if new in ("TIME_WAIT", "CLOSED"):
                out.append(Row(t, host, *pair, state, new))
                state = new
        return out

    @staticmethod
    def _ordered(rows: list[Row]) -> list[Row]:
        """In time order; a minisocket that its own successor's connect() kills ends just before that SYN_SENT."""
        begun: dict[tuple[str, Pair], list[float]] = defaultdict(list)
        for r in rows:
            if r.new == "SYN_SENT":
                begun[r.host, (r.local, r.remote)].append(r.time)
        for i, r in enumerate(rows):
            if r.old in ("TIME_WAIT", "FIN_WAIT_2") and r.new == "CLOSED":
                for t in begun[r.host, (r.local, r.remote)]:
                    if 0 <= r.time - t < 0.001:
                        rows[i] = r._replace(time=t - 1e-6)
        return sorted(rows, key=lambda r: r.time)


def restarts(snapshots: Iterable[Snapshot]) -> list[Row]:
    """TIME_WAIT rows from the poll: its timer's remaining time grew, so 2MSL began again."""
    out, last = [], {}
    for snap in snapshots:
        for pair, entry in snap.sockets.items():
            key = (snap.host, pair)
            if entry.state == "TIME_WAIT":
                if key in last and entry.timer_ms > last[key] + 100:
                    out.append(Row(snap.end, snap.host, *pair, "TIME_WAIT", "TIME_WAIT", "poll"))
                last[key] = entry.timer_ms
            else:
                last.pop(key, None)
        for key in [k for k in last if k[0] == snap.host and k[1] not in snap.sockets]:
            del last[key]
    return out


def merge_restarts(rows: list[Row], polled: list[Row]) -> list[Row]:
    """Add the restarts that no event told (an event within 60 ms before the poll is the same restart)."""
    told: dict[tuple[str, Pair], list[Row]] = defaultdict(list)
    for r in rows:
        told[r.host, (r.local, r.remote)].append(r)
    new = []
    for p in polled:
        mine = told[p.host, (p.local, p.remote)]
        before = [r for r in mine if r.time <= p.time]
        if before and before[-1].new == "TIME_WAIT" and p.time - before[-1].time > 0.06:
            new.append(p)
    return sorted(rows + new, key=lambda r: r.time)


def check(rows: list[Row], snapshots: Iterable[Snapshot], end: float) -> dict[str, object]:
    """Whether the rows chain, are legal, and agree with every state that the poll saw (3 ms of tolerance)."""
    breaks: list[str] = []
    spans: dict[tuple[str, Pair], list[tuple[float, str]]] = defaultdict(list)
    for r in rows:
        seq = spans[r.host, (r.local, r.remote)]
        before = seq[-1][1] if seq else "CLOSED"
        if r.old != before and (r.old, before) != ("LISTEN", "CLOSED"):
            breaks.append(f"{r.time:.6f} {r.host} {r.local} {r.remote} {r.old}->{r.new} after {before}")
        if r.new not in LEGAL[r.old]:
            breaks.append(f"{r.time:.6f} {r.host} {r.local} {r.remote} {r.old}->{r.new} is not legal")
        seq.append((r.time, r.new))
    checked, wrong = 0, []
    for snap in snapshots:
        if snap.end > end:
            break
        for pair in {p for h, p in spans if h == snap.host} | set(snap.sockets):
            seen = snap.sockets[pair].state if pair in snap.sockets else "CLOSED"
            allowed = _during(spans.get((snap.host, pair), []), snap.begin - 0.003, snap.end + 0.003)
            checked += 1
            if seen not in allowed:
                wrong.append(f"{snap.begin:.6f} {snap.host} {pair} {seen}, truth {sorted(allowed)}")
    return {"rows": len(rows), "states_checked": checked, "mismatches": len(wrong), "examples": wrong[:10],
            "chain_breaks": breaks[:10], "poll_rows": sum(r.source == "poll" for r in rows)}  # fmt: skip


def _during(seq: list[tuple[float, str]], begin: float, end: float) -> set[str]:
    state, found = "CLOSED", set()
    for t, new in seq:
        if t <= begin:
            state = new
        elif t <= end:
            found.add(new)
    return found | {state}
