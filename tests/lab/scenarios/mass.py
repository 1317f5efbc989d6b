"""Many connections at once, what they do drawn by lot."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from typing import TYPE_CHECKING

from tests.lab.scenario import scenario

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.scenario import Lab
    from tests.lab.sockets import Conn

PORTS = (8080, 8081)


def _client_closes(a: Conn, b: Conn, rest: Callable[[], None]) -> None:
    a.close()
    b.drain()
    rest()
    b.close()


def _server_closes(a: Conn, b: Conn, rest: Callable[[], None]) -> None:
    _client_closes(b, a, rest)


def _both_close(a: Conn, b: Conn, _rest: Callable[[], None]) -> None:
    a.close()
    b.close()


def _client_half_closes(a: Conn, b: Conn, rest: Callable[[], None]) -> None:
    a.shutdown()
    rest()
    b.send(300)
    rest()
    b.close()
    a.drain().close()


def _straight(a: Conn, b: Conn, _rest: Callable[[], None]) -> None:
    a.shutdown()
    b.drain().close()


def _client_aborts(a: Conn, _b: Conn, _rest: Callable[[], None]) -> None:
    a.abort()


def _server_aborts(_a: Conn, b: Conn, _rest: Callable[[], None]) -> None:
    b.abort()


def _unread(a: Conn, b: Conn, rest: Callable[[], None]) -> None:
    b.send(700)
    rest()
    a.close()


def _left_open(_a: Conn, _b: Conn, _rest: Callable[[], None]) -> None:
    pass


def _server_leaks(a: Conn, b: Conn, _rest: Callable[[], None]) -> None:
    a.shutdown()
    b.drain()


def _time_wait_killed(a: Conn, b: Conn, rest: Callable[[], None]) -> None:
    _client_closes(a, b, rest)
    with contextlib.suppress(TimeoutError):
        a.until("TIME_WAIT", timeout=1)
        a.host.kill(a)


PATTERNS = [
    *[_client_closes, _server_closes, _straight] * 2,
    *[_both_close, _client_half_closes, _client_aborts, _server_aborts, _unread],
    *[_left_open, _server_leaks, _time_wait_killed],
]


@scenario(seed=(1, 2, 3, 4), seconds=20)
def random_traffic(lab: Lab, seed: int) -> None:
    """Many connections by a few workers: random exchanges, random closes, random loss on either stage."""
    rng = random.Random(seed)
    listeners = {port: lab.server.listen(port) for port in PORTS}
    loss = rng.choice((0.0, 0.02, 0.06))
    if loss:
        for side in ("client", "server"):
            for where in ("near", "far"):
                lab.lose("any", side, where, chance=loss / 2, count=1_000_000)
    locks = {port: threading.Lock() for port in PORTS}
    lab.client.sysctl("tcp_tw_reuse", 1)

    def one(rng: random.Random) -> None:
        port = rng.choice(PORTS)
        with locks[port]:  # so that accept() gets the connection made here
            a = lab.client.connect(port, source=rng.choice((0, 0, 0, rng.randrange(41000, 41006))), reuse=1)
            b = listeners[port].accept()
            while b.remote[1] != a.port:  # a leftover whose client gave up
                b = listeners[port].accept()
        for _ in range(rng.randrange(4)):
            lab.talk(a, b, rng.choice((100, 400, 3000)))
            time.sleep(rng.random() * 0.03)
        rng.choice(PATTERNS)(a, b, lambda: time.sleep(rng.random() * 0.1))

    def worker(own: int) -> None:
        mine = random.Random(own)
        for _ in range(12):
            with contextlib.suppress(OSError, EOFError):
                one(mine)
            time.sleep(mine.random() * 0.1)

    threads = [threading.Thread(target=worker, args=(seed * 100 + i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    lab.settle(2)
