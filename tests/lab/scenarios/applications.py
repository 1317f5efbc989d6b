"""Applications that wait for known times, on either side: the truth for where the time of a connection went.

Each connection is one *play*. It notes in ``lab.waits`` by client port who was waited for, from when to when (by the
captures' clock), how many requests there were, and how long the server's application took for each of them.
"""

from __future__ import annotations

import contextlib
import fcntl
import random
import sys
import threading
import time
from termios import FIONREAD
from typing import TYPE_CHECKING

from tests.lab.scenario import scenario

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.scenario import Lab
    from tests.lab.sockets import Conn

FIRST_PORT = 20_000


class Play:
    """One connection, and what is noted of it."""

    def __init__(self, lab: Lab, kind: str, rng: random.Random, rtt: float) -> None:
        self.lab, self.kind, self.rng, self.rtt = lab, kind, rng, rtt
        self.party = ""
        self.waited: list[tuple[float, float]] = []
        self.requests = 0
        self.responses: list[float] = []
        self.pause = rng.uniform(0.3, 2.5)
        self.since = 0.0  # when the client had its connection

    def wait(self, seconds: float | None = None, began: float = 0.0) -> None:
        """Stand still, and note it."""
        began = began or time.time()
        time.sleep(self.pause if seconds is None else seconds)
        self.waited.append((began, time.time()))

    def exchange(self, a: Conn, b: Conn, slow: float = 0.0, size: int = 700) -> None:
        """A request, and its answer that takes so long."""
        asked = self.rng.randrange(20, 900)
        a.send(asked)
        b.read(asked)
        began = time.time()
        if slow:
            self.wait(slow)
        b.send(size)
        self.responses.append(time.time() - began)
        a.read(size)
        self.requests += 1

    @property
    def noted(self) -> dict[str, object]:
        return {
            "kind": self.kind, "party": self.party, "seconds": max((z - a for a, z in self.waited), default=0.0),
            "waited": self.waited, "requests": self.requests, "responses": self.responses,
        }  # fmt: skip


PLAYS: dict[str, Callable[[Play, Conn, Conn], None]] = {}
SMALL = {"rcvbuf": 16384}  # the buffer of an endpoint that does not read


def play(function: Callable[[Play, Conn, Conn], None]) -> Callable[[Play, Conn, Conn], None]:
    """Register a play under its name."""
    PLAYS[function.__name__] = function
    return function


@play
def fast(p: Play, a: Conn, b: Conn) -> None:
    """Nobody waits for an application."""
    for _ in range(p.rng.randrange(1, 6)):
        p.exchange(a, b, size=p.rng.choice((50, 700, 9000)))


@play
def server_slow(p: Play, a: Conn, b: Conn) -> None:
    """The server's application takes its time for one answer of several."""
    p.party = "server application"
    n = p.rng.randrange(1, 5)
    slow = p.rng.randrange(n)
    for i in range(n):
        p.exchange(a, b, p.pause if i == slow else 0.0, p.rng.choice((50, 700, 30_000)))


@play
def server_pauses(p: Play, a: Conn, b: Conn) -> None:
    """The server says half of its answer, and the rest later."""
    p.party = "server application"
    p.exchange(a, b, size=p.rng.choice((100, 5000)))
    p.wait()
    b.send(400)
    a.read(400)


@play
def server_greets(p: Play, a: Conn, b: Conn) -> None:
    """The client waits for the server's greeting before it says anything."""
    p.party = "server application"
    p.wait()
    b.send(60)
    a.read(60)
    p.exchange(a, b)


@play
def unanswered(p: Play, a: Conn, b: Conn) -> None:
    """The server reads a request and says nothing; the client gives up."""
    p.party = "server application"
    if p.rng.random() < 0.5:
        p.exchange(a, b)
    a.send(300)
    b.read(300)
    p.requests += 1
    p.wait(p.rng.uniform(2.2, 4))


@play
def client_slow(p: Play, a: Conn, b: Conn) -> None:
    """The client says half of its request, and the rest later."""
    p.party = "client application"
    a.send(200)
    b.read(200)
    p.wait()
    p.exchange(a, b)


@play
def client_thinks(p: Play, a: Conn, b: Conn) -> None:
    """The client does something else between two requests."""
    p.party = "client application"
    p.exchange(a, b)
    p.wait()
    p.exchange(a, b)


@play
def client_asks_late(p: Play, a: Conn, b: Conn) -> None:
    """The client opens a connection and says nothing for a while."""
    p.party = "client application"
    p.wait(began=p.since)
    p.exchange(a, b)


def unread(conn: Conn) -> int:
    """Bytes that its application has not read."""
    return int.from_bytes(fcntl.ioctl(conn.socket, FIONREAD, bytes(4)), sys.byteorder)


def _unread(p: Play, sender: Conn, receiver: Conn) -> None:
    stuffing = threading.Thread(target=sender.stuff)
    stuffing.start()
    held, began = -1, 0.0
    until = time.time() + p.pause + 0.3
    while time.time() < until:  # from the moment when its buffer is full
        if (now := unread(receiver)) != held:
            held, began = now, time.time()
        time.sleep(0.005)
    p.waited.append((began, time.time()))
    stuffing.join()
    threading.Thread(target=sender.shutdown).start()
    receiver.drain()


@play
def client_unread(p: Play, a: Conn, b: Conn) -> None:
    """The client asks for much and does not read it for a while."""
    p.party = "client window"
    p.exchange(a, b)
    _unread(p, b, a)


@play
def server_unread(p: Play, a: Conn, b: Conn) -> None:
    """The client uploads, and the server does not read for a while."""
    p.party = "server window"
    _unread(p, a, b)


def _in_two_writes(p: Play, writer: Conn, reader: Conn) -> None:
    for _ in range(5):
        writer.send(20)
        writer.send(180)
        reader.read(20)
        began = time.time()
        reader.read(180)
        # What came later than a round trip after the first write was held back.
        if time.time() - began > p.rtt + 0.02:
            p.waited.append((began + p.rtt, time.time()))
        reader.send(200)
        writer.read(200)


@play
def nagle(p: Play, a: Conn, b: Conn) -> None:
    """Each request is written in two small pieces: the second waits for a delayed ACK of the first."""
    p.party = "server delayed_ack"
    _in_two_writes(p, a, b)


@play
def nagle_of_server(p: Play, a: Conn, b: Conn) -> None:
    """Each answer is written in two small pieces."""
    p.party = "client delayed_ack"
    p.exchange(a, b)
    _in_two_writes(p, b, a)


def _long_answer(p: Play, a: Conn, b: Conn, size: int) -> None:
    p.exchange(a, b)
    a.send(100)
    b.read(100)
    p.requests += 1
    writer = threading.Thread(target=lambda: b.send(size))
    writer.start()
    a.read(size)
    writer.join()


@play
def bulk(p: Play, a: Conn, b: Conn) -> None:
    """A long answer to a client that reads at once."""
    _long_answer(p, a, b, 300_000)


@play
def window_bound(p: Play, a: Conn, b: Conn) -> None:
    """A long answer to a client that reads at once, and has a small buffer."""
    _long_answer(p, a, b, 400_000)


@play
def unscaled(p: Play, a: Conn, b: Conn) -> None:
    """A longer answer; its wire has ends that do not scale their windows."""
    _long_answer(p, a, b, 2_000_000)


@play
def typing(p: Play, a: Conn, b: Conn) -> None:
    """A person types, each key is echoed."""
    p.party = "client application"
    for _ in range(12):
        a.send(1)
        b.read(1)
        b.send(1)
        a.read(1)
        p.wait(p.rng.uniform(0.08, 0.7))


@play
def idle_pool(p: Play, a: Conn, b: Conn) -> None:
    """A pooled connection: two requests, long idle, keepalives meanwhile."""
    p.party = "client application"
    a.set(keepalive=1, keepidle=1, keepintvl=1)
    p.exchange(a, b)
    p.wait(4.5)
    p.exchange(a, b)
    a.set(keepalive=0)


@play
def long_poll(p: Play, a: Conn, b: Conn) -> None:
    """The client asks for news; when there are none the server says so after twenty seconds."""
    p.party = "server application"
    for _ in range(2):
        p.exchange(a, b, 20.0)


@scenario(seed=(), seconds=30)
def applications(lab: Lab, seed: int, kinds: tuple[str, ...] = (), each: int = 4, rtt: float = 0.0, loss: float = 0.0,
                 acks_held: float = 0.0) -> None:  # fmt: skip
    """Many connections whose applications wait for known times; meta.json says by client port who waited for whom."""
    rng = random.Random(seed)
    kinds = kinds or tuple(kind for kind in PLAYS if kind != "unscaled")
    work = [kind for kind in kinds for _ in range(each)]
    rng.shuffle(work)
    work.sort(key=lambda kind: kind == "long_poll")  # the longest begin first: they are taken from the end
    listeners = {
        kind: lab.server.listen(8080 + i, **(SMALL if kind == "server_unread" else {})) for i, kind in enumerate(PLAYS)
    }
    locks = {kind: threading.Lock() for kind in PLAYS}
    numbers = iter(range(FIRST_PORT, FIRST_PORT + 10_000))
    if loss:
        for side in ("client", "server"):
            for where in ("near", "far"):
                lab.lose("any", side, where, chance=loss / 2, count=1_000_000_000)
    if acks_held:
        lab.net.hold("ack", "server", "far", acks_held, count=1_000_000_000)

    def one(kind: str, source: int, rng: random.Random) -> None:
        p = Play(lab, kind, rng, rtt)
        with locks[kind]:
            options = SMALL if kind in ("client_unread", "window_bound") else {}
            a = lab.client.connect(8080 + list(PLAYS).index(kind), source=source, **options)
            p.since = time.time()
            b = listeners[kind].accept()
        PLAYS[kind](p, a, b)
        lab.waits[str(source)] = p.noted
        a.close()
        with contextlib.suppress(OSError):
            b.drain()
        b.close()

    def worker(own: int) -> None:
        mine = random.Random(own)
        while True:
            try:
                kind = work.pop()
            except IndexError:
                return
            try:
                one(kind, next(numbers), mine)
            except (OSError, EOFError, ValueError) as e:
                lab.note(f"{kind}: {e!r}")

    threads = [threading.Thread(target=worker, args=(seed * 100 + i,)) for i in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    lab.settle(1)
