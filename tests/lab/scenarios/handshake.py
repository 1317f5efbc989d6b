"""Opening: everything that can happen before both ends are ESTABLISHED."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

from tests.lab.pcap import ACK, RST, SYN, build
from tests.lab.scenario import FAMILIES, STAGES, scenario
from tests.lab.sockets import PORT, Conn

if TYPE_CHECKING:
    from tests.lab.scenario import Lab

SLOW = {"mode": "forwarder", "near": 0.015, "far": 0.015}


@scenario(segment=("syn", "synack", "ack"), where=STAGES, family=FAMILIES)
def handshake_lost(lab: Lab, segment: str, where: str) -> None:
    """One segment of the handshake is lost once and repaired by a retransmission; then a normal exchange and close."""
    lab.lose(segment, "server" if segment == "synack" else "client", where)
    listener = lab.server.listen()
    c, s = lab.connect(listener)
    if segment == "ack":
        lab.expect("third_ack_lost", "client")
    lab.talk(c, s)
    lab.close_both(c, s)
    lab.settle()


@scenario(where=STAGES, family=(4,))
def handshake_ack_lost_then_data(lab: Lab, where: str) -> None:
    """The client's handshake ACK is lost, its first data segment completes the server's handshake."""
    listener = lab.server.listen()
    lab.lose("ack", "client", where)
    c = lab.client.connect()
    time.sleep(0.1)
    c.send()
    s = listener.accept()
    s.read()
    lab.close_both(c, s)
    lab.settle()


@scenario(where=STAGES)
def handshake_ack_lost_then_fin(lab: Lab, where: str) -> None:
    """The client's handshake ACK is lost and its next segment is its FIN: SYN_RECEIVED straight to CLOSE_WAIT."""
    listener = lab.server.listen()
    lab.lose("ack", "client", where)
    c = lab.client.connect()
    time.sleep(0.1)
    c.close()
    s = listener.accept()
    s.drain()
    time.sleep(0.1)
    s.close()
    lab.settle()


@scenario(family=FAMILIES)
def refused(lab: Lab) -> None:
    """Nobody listens: the SYN draws RST+ACK."""
    for _ in range(2):
        with contextlib.suppress(ConnectionRefusedError):
            lab.client.connect()
        lab.expect("connection_refused", "client")
    lab.settle(0.2)


@scenario(where=STAGES, client={"tcp_syn_retries": 2, "tcp_syn_linear_timeouts": 0}, seconds=9)
def filtered(lab: Lab, where: str) -> None:
    """The SYNs vanish: the client repeats them and gives up."""
    lab.server.listen()
    lab.blackhole("client", where)
    with contextlib.suppress(TimeoutError):
        lab.client.connect()
    lab.expect("syn_no_response", "client")
    lab.settle()


@scenario(where=STAGES, client={"tcp_syn_retries": 1, "tcp_syn_linear_timeouts": 0}, seconds=9,
          server={"tcp_synack_retries": 1})  # fmt: skip
def synack_filtered(lab: Lab, where: str) -> None:
    """All SYN-ACKs vanish: both ends give up, each by its own timer."""
    lab.server.listen()
    lab.blackhole("server", where)
    with contextlib.suppress(TimeoutError):
        lab.client.connect()
    lab.settle(5)


@scenario(server={"tcp_synack_retries": 2}, seconds=12)
def syn_received_timeout(lab: Lab) -> None:
    """The client's answers to SYN-ACKs vanish: it is ESTABLISHED, the server gives up SYN_RECEIVED."""
    lab.server.listen()
    lab.lose("ack", "client", "far", count=1000)
    lab.client.connect()
    time.sleep(8)
    lab.expect("half_open_timeout", "server")


@scenario(where=STAGES)
def syn_sent_abandoned(lab: Lab, where: str) -> None:
    """The application gives up connect(): nothing on the wire; the late SYN-ACK is answered by RST."""
    lab.server.listen()
    lab.lose("synack", "server", where)
    c = lab.client.connect(wait=False)
    time.sleep(0.2)
    c.close()
    lab.note("client closed in SYN_SENT")
    lab.settle(1.5)


@scenario(family=FAMILIES)
def reset_in_syn_received(lab: Lab) -> None:
    """A SYN, its SYN-ACK, and a RST from the client (what a SYN scan does)."""
    lab.server.listen()
    client, server = (lab.client.ip, 40000), (lab.server.ip, PORT)
    lab.net.router.run("nft", 'add rule bridge lab wire iifname "m1" oifname "rc" counter drop')
    macs = (lab.net.mac["client"], lab.net.mac["server"])
    lab.net.inject(build(macs, client, server, SYN, 1000), "client")
    time.sleep(0.15)
    lab.net.inject(build(macs, client, server, RST, 1001), "client")
    lab.settle()


@scenario(family=FAMILIES, wire=SLOW)
def simultaneous_open(lab: Lab) -> None:
    """Both ends connect to each other, the SYNs cross."""
    a, b = (h.socket(port, reuse=1) for h, port in ((lab.client, 40001), (lab.server, PORT)))
    for s, peer in ((a, (lab.server.ip, PORT)), (b, (lab.client.ip, 40001))):
        s.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            s.connect(peer)
        s.settimeout(30)
    c, s2 = Conn(lab.client, a, (lab.server.ip, PORT)), Conn(lab.server, b, (lab.client.ip, 40001))
    c.connected()
    s2.connected()
    lab.expect("simultaneous_open", None)
    lab.talk(c, s2)
    lab.close_both(c, s2)
    lab.settle()


@scenario(wire=SLOW, lost=("client", "server"))
def simultaneous_open_synack_lost(lab: Lab, lost: str) -> None:
    """As simultaneous_open, and one end's SYN-ACK is lost."""
    lab.lose("synack", lost, "far")
    simultaneous_open(lab)


@scenario(seconds=6, server={"tcp_synack_retries": 3}, wire=SLOW, full=("before_syn", "before_ack"), family=FAMILIES)
def accept_queue_overflow(lab: Lab, full: str) -> None:
    """Backlog 1 (room for two) and nobody accepts for a while. Full before the SYN: it is ignored. Full before the
    handshake ACK: that is ignored, the client is ESTABLISHED alone until there is room and a SYN-ACK comes again."""
    listener = lab.server.listen(backlog=1)
    conns = [lab.client.connect() for _ in range(2 if full == "before_syn" else 1)]
    conns += [lab.client.connect(wait=False) for _ in range(2)]
    time.sleep(1.3)
    if full == "before_ack":
        lab.expect("accept_queue_overflow_suspected", "server")
    for _ in conns:
        s = listener.accept()
        c = next(c for c in conns if c.port == s.remote[1])
        lab.close_both(c, s, 0.02)
    lab.settle()


@scenario(server={"tcp_abort_on_overflow": 1})
def abort_on_overflow(lab: Lab) -> None:
    """As accept_queue_overflow with tcp_abort_on_overflow: the server answers the ACK by RST."""
    lab.server.listen(backlog=0)
    lab.client.connect()
    late = lab.client.connect(wait=False)
    time.sleep(0.3)
    lab.expect("abort_on_overflow", "server")
    late.close()
    lab.settle(0.2)


@scenario(server={"tcp_syncookies": 2}, ack_lost=("kept", "lost"), family=FAMILIES)
def syn_cookies(lab: Lab, ack_lost: str) -> None:
    """The server keeps no SYN_RECEIVED: it is born by the ACK (which may be lost, until data brings it again)."""
    listener = lab.server.listen()
    if ack_lost == "lost":
        lab.lose("ack", "client", "far")
    c = lab.client.connect()
    time.sleep(0.1)
    c.send()
    s = listener.accept()
    s.read()
    lab.close_both(c, s)
    lab.settle()


@scenario(data=("sent", "silent"), seconds=5)
def defer_accept(lab: Lab, data: str) -> None:
    """TCP_DEFER_ACCEPT: the server ignores the bare handshake ACK until data comes (or its SYN-ACK timer)."""
    listener = lab.server.listen(defer_accept=2)
    c = lab.client.connect()
    time.sleep(0.3)
    if data == "sent":
        c.send()
        lab.expect("defer_accept_suspected", "server")
    s = listener.accept()
    if data == "sent":
        s.read()
    lab.close_both(c, s)
    lab.settle()


@scenario(client={"tcp_fastopen": 3}, server={"tcp_fastopen": 3}, lost=("none", "synack", "ack"), family=FAMILIES)
def fast_open(lab: Lab, lost: str) -> None:
    """Fast Open: the first connection fetches a cookie, the second one carries data in its SYN."""
    listener = lab.server.listen(fastopen=16)
    for i in range(2):
        if i and lost != "none":
            lab.lose(lost, "server" if lost == "synack" else "client", "far")
        c = lab.client.connect_with_data(b"x" * 200)
        s = listener.accept()
        s.read()
        s.send(300)
        c.read(300)
        time.sleep(0.05)
        lab.close_both(c, s)
        time.sleep(0.1)
    lab.settle()


@scenario(server={"tcp_synack_retries": 1, "tcp_max_syn_backlog": 8}, seconds=5)
def syn_flood(lab: Lab) -> None:
    """Forty SYNs with no follow-up: the backlog fills, cookies set in; then an honest client connects."""
    listener = lab.server.listen(backlog=8)
    lab.net.router.run("nft", 'add rule bridge lab wire iifname "m1" oifname "rc" tcp dport < 2000 counter drop')
    macs = (lab.net.mac["client"], lab.net.mac["server"])
    for i in range(40):
        lab.net.inject(build(macs, (lab.client.ip, 1000 + i), (lab.server.ip, PORT), SYN, 7000 * i), "client")
        time.sleep(0.003)
    c, s = lab.connect(listener)
    lab.talk(c, s)
    lab.close_both(c, s)
    lab.settle(3.5)


@scenario()
def ack_to_listener(lab: Lab) -> None:
    """A bare ACK to a listening port draws RST; the listener stays."""
    listener = lab.server.listen()
    macs = (lab.net.mac["client"], lab.net.mac["server"])
    lab.net.inject(build(macs, (lab.client.ip, 1234), (lab.server.ip, PORT), ACK, 1, 99), "client")
    time.sleep(0.1)
    c, s = lab.connect(listener)
    lab.close_both(c, s)
    lab.settle()


@scenario()
def listener_closed_in_handshake(lab: Lab) -> None:
    """The server stops listening while the handshake ACK is missing: the late ACK meets no socket."""
    listener = lab.server.listen()
    lab.lose("ack", "client", "far")
    c = lab.client.connect()
    time.sleep(0.1)
    listener.close()
    with contextlib.suppress(OSError, socket.timeout):
        c.send()
        c.read()
    lab.settle(0.3)
