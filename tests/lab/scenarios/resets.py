"""Resets: the application's, the kernel's, an attacker's, and those that get lost."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from tests.lab.pcap import ACK, PSH, RST, SYN
from tests.lab.scenario import FAMILIES, SIDES, STAGES, scenario
from tests.lab.sockets import PORT

if TYPE_CHECKING:
    from tests.lab.scenario import Lab

CLIENT_PROGRAM = """
import socket, sys, time
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
s.connect((sys.argv[1], int(sys.argv[2])))
s.sendall(b"x" * 200)
print(s.getsockname()[1], flush=True)
time.sleep(100)
"""


def other(side: str) -> str:
    return "server" if side == "client" else "client"


@scenario(who=SIDES, family=FAMILIES)
def linger_zero(lab: Lab, who: str) -> None:
    """close() with SO_LINGER 0: RST instead of FIN."""
    a, b = lab.pair(first=who)
    lab.talk(a, b)
    time.sleep(0.1)
    a.abort()
    lab.expect("linger_zero_close", who)
    with contextlib.suppress(ConnectionResetError):
        b.read()
    lab.settle(0.2)


@scenario(who=SIDES)
def close_with_unread_data(lab: Lab, who: str) -> None:
    """close() with data unread: RST."""
    a, b = lab.pair(first=who)
    b.send(1000)
    time.sleep(0.1)
    a.close()
    lab.expect("close_with_unread_data", who)
    lab.settle(0.3)


@scenario(who=SIDES, where=STAGES, family=FAMILIES)
def reset_lost(lab: Lab, who: str, where: str) -> None:
    """The RST is lost: the peer stays ESTABLISHED until it speaks and is told again."""
    a, b = lab.pair(first=who)
    lab.talk(a, b)
    lab.lose("rst", who, where)
    a.abort()
    time.sleep(0.4)
    b.send()
    with contextlib.suppress(ConnectionResetError):
        b.read()
    lab.settle(0.3)


@scenario(who=SIDES)
def abort_in_close_wait(lab: Lab, who: str) -> None:
    """One side half-closes, the other one answers by RST."""
    a, b = lab.pair(first=who)
    a.shutdown()
    b.drain()
    a.until("FIN_WAIT_2")
    time.sleep(0.1)
    b.abort()
    lab.settle(0.3)


@scenario(who=SIDES)
def shut_then_abort(lab: Lab, who: str) -> None:
    """FIN first, then a RST of the same side, while the peer is in CLOSE_WAIT."""
    a, b = lab.pair(first=who)
    a.shutdown()
    b.drain()
    a.until("FIN_WAIT_2")
    b.send()
    time.sleep(0.1)
    a.abort()
    lab.settle(0.3)


@scenario(family=FAMILIES)
def process_killed(lab: Lab) -> None:
    """The client's process is killed (SIGKILL): its kernel closes by FIN."""
    listener = lab.server.listen()
    p = lab.client.process(CLIENT_PROGRAM, lab.server.ip, PORT)
    s = listener.accept()
    s.read()
    p.kill()
    s.drain()
    time.sleep(0.1)
    s.close()
    lab.settle()


@scenario()
def process_killed_with_unread_data(lab: Lab) -> None:
    """The client's process is killed with data unread: its kernel resets."""
    listener = lab.server.listen()
    p = lab.client.process(CLIENT_PROGRAM, lab.server.ip, PORT)
    s = listener.accept()
    s.read()
    s.send()
    time.sleep(0.1)
    p.kill()
    lab.settle(0.3)


@scenario(who=SIDES)
def socket_destroyed(lab: Lab, who: str) -> None:
    """`ss -K` on an established connection: RST."""
    a, b = lab.pair(first=who)
    lab.talk(a, b)
    lab.host(who).kill(a)
    lab.settle(0.3)


@scenario(victim=SIDES, aim=("exact", "in_window", "outside"), family=FAMILIES)
def reset_injected(lab: Lab, victim: str, aim: str) -> None:
    """A blind RST on the victim's link: exact kills, in window draws a challenge ACK, outside is ignored."""
    a, b = lab.pair(first=victim)
    lab.talk(a, b)
    lab.forge(a, b, RST, shift={"exact": 0, "in_window": 500, "outside": 5_000_000}[aim])
    time.sleep(0.2)
    if aim == "exact":
        with contextlib.suppress(OSError):
            b.send()
            b.read()
    else:
        lab.talk(a, b)
        lab.close_both(a, b)
    lab.settle()


@scenario(who=SIDES)
def reset_injected_on_the_wire(lab: Lab, who: str) -> None:
    """A RST in window leaves the peer's own interface, seen at all points: challenge ACK, the connection lives on."""
    a, b = lab.pair(first=who)
    lab.talk(a, b)
    lab.forge(a, b, RST, shift=100, at=b.host.name)
    lab.expect("rst_challenged", b.host.name)
    time.sleep(0.2)
    lab.talk(a, b)
    lab.close_both(a, b)
    lab.settle()


@scenario(victim=SIDES)
def syn_injected(lab: Lab, victim: str) -> None:
    """A SYN inside a live connection: challenge ACK, the connection lives on."""
    a, b = lab.pair(first=victim)
    lab.talk(a, b)
    lab.forge(a, b, SYN, shift=1_000_000, at=b.host.name)
    lab.expect("stray_syn_challenged", b.host.name)
    time.sleep(0.2)
    lab.talk(a, b)
    lab.close_both(a, b)
    lab.settle()


@scenario(victim=SIDES)
def old_data_injected(lab: Lab, victim: str) -> None:
    """A segment from before the window: ACK, dropped."""
    a, b = lab.pair(first=victim)
    lab.talk(a, b)
    lab.forge(a, b, ACK | PSH, shift=-150, payload=b"z" * 100)
    time.sleep(0.2)
    lab.close_both(a, b)
    lab.settle()


@scenario(state=("FIN_WAIT_1", "FIN_WAIT_2", "CLOSE_WAIT", "LAST_ACK"))
def reset_in(lab: Lab, state: str) -> None:
    """An exact RST meets the client in this state."""
    first = "client" if state.startswith("FIN") else "server"
    a, b = lab.pair(first=first)
    c, s = (a, b) if first == "client" else (b, a)
    lab.talk(a, b)
    if state in ("FIN_WAIT_1", "LAST_ACK"):
        if state == "LAST_ACK":
            a.shutdown()
            b.drain()
            a.until("FIN_WAIT_2")
        lab.lose("fin", "client", "far", count=100)
        c.shutdown()
    else:
        a.shutdown()
        b.drain()
        a.until("FIN_WAIT_2")
    c.until(state)
    lab.forge(c, s, RST)
    lab.settle(0.6)


@scenario(family=FAMILIES, then=("data", "syn"))
def half_open(lab: Lab, then: str) -> None:
    """The server dies without a word (its RST is lost). The client finds out by its data, or by a new SYN from the
    same port after its own death."""
    if then == "data":
        a, b = lab.pair()
        lab.talk(a, b)
        lab.lose("rst", "server", "far")
        b.abort()
        time.sleep(0.3)
        a.send()
        lab.expect("half_open_discovered", "client")
    else:
        listener = lab.server.listen()
        a, b = lab.connect(listener, source=45000, reuse=1)
        lab.talk(a, b)
        lab.lose("rst", "client", "near")
        a.abort()
        time.sleep(0.3)
        a, b = lab.connect(listener, source=45000, reuse=1)
        lab.expect("half_open_discovered", "server")
        lab.talk(a, b)
        lab.close_both(a, b)
    lab.settle(0.4)


@scenario()
def data_to_closed_port(lab: Lab) -> None:
    """A connection that nobody has: data out of nowhere draws RST."""
    from tests.lab.pcap import build

    macs = (lab.net.mac["client"], lab.net.mac["server"])
    frame = build(macs, (lab.client.ip, 40000), (lab.server.ip, 9999), ACK | PSH, 5000, 6000, payload=b"hello")
    lab.net.inject(frame, "client")
    lab.settle(0.3)
