"""Closing by FIN: either side, half, at once, out of order, and each of the four segments lost on either stage."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.lab.scenario import FAMILIES, SIDES, STAGES, scenario

if TYPE_CHECKING:
    from tests.lab.scenario import Lab

SLOW = {"mode": "forwarder", "near": 0.015, "far": 0.015}


def other(side: str) -> str:
    return "server" if side == "client" else "client"


@scenario(who=SIDES, family=FAMILIES)
def close_by(lab: Lab, who: str) -> None:
    """One side closes, the other one a moment later."""
    a, b = lab.pair(first=who)
    lab.talk(a, b)
    lab.close_both(a, b)
    lab.settle()


@scenario(who=SIDES, wire={"offload": True})
def close_after_bulk(lab: Lab, who: str) -> None:
    """A megabyte with offload on (segments larger than the MTU in the sender's capture), then close."""
    a, b = lab.pair(first=who)
    a.socket.setblocking(True)
    for _ in range(16):
        a.send(16384)
        b.read(16384)
    lab.close_both(a, b)
    lab.settle()


@scenario(who=SIDES, family=FAMILIES)
def half_close(lab: Lab, who: str) -> None:
    """One side half-closes, the other one goes on sending for a while and closes."""
    a, b = lab.pair(first=who)
    a.send()
    a.shutdown()
    b.drain()
    for _ in range(3):
        time.sleep(0.1)
        b.send(300)
        a.read(300)
    lab.expect("half_close", who)
    b.close()
    a.drain().close()
    lab.settle()


@scenario(who=SIDES, family=FAMILIES)
def straight_to_time_wait(lab: Lab, who: str) -> None:
    """The answer to a FIN is one segment, FIN+ACK: FIN_WAIT_1 to TIME_WAIT without FIN_WAIT_2."""
    a, b = lab.pair(first=who)
    lab.talk(a, b)
    a.shutdown()
    b.drain().close()
    lab.settle(0.3)


@scenario(wire=SLOW, family=FAMILIES)
def simultaneous_close(lab: Lab) -> None:
    """Both ends close at once, the FINs cross."""
    a, b = lab.pair()
    lab.talk(a, b)
    time.sleep(0.2)
    a.close()
    b.close()
    lab.expect("simultaneous_close", None)
    lab.settle(0.6)


@scenario(wire=SLOW, segment=("fin", "ack"), who=SIDES, where=STAGES)
def simultaneous_close_lost(lab: Lab, segment: str, who: str, where: str) -> None:
    """The FINs cross and one FIN, or the ACK of one, is lost once."""
    a, b = lab.pair(first=who)
    lab.talk(a, b)
    time.sleep(0.2)
    lab.lose(segment, who, where)
    a.close()
    b.close()
    lab.settle(1.2)


@scenario(segment=("fin1", "ackfin", "fin2", "lastack"), where=STAGES, who=SIDES, family=FAMILIES)
def close_lost(lab: Lab, segment: str, where: str, who: str) -> None:
    """One of the four segments of a close is lost once and repaired."""
    a, b = lab.pair(first=who)
    lab.talk(a, b)
    time.sleep(0.1)
    if segment == "fin1":
        lab.lose("fin", who, where)
    if segment == "ackfin":
        lab.lose("ack", other(who), where)
    a.close()
    b.drain()
    a.until("FIN_WAIT_2")
    time.sleep(0.1)
    if segment == "fin2":
        lab.lose("fin", other(who), where)
    if segment == "lastack":
        lab.lose("ack", who, where)
        lab.expect("last_ack_lost", who)
    b.close()
    lab.settle(0.9)


@scenario(where=STAGES, count=(2, 3))
def close_lost_repeatedly(lab: Lab, where: str, count: int) -> None:
    """The last ACK is lost several times: LAST_ACK backs off, TIME_WAIT answers each FIN."""
    a, b = lab.pair()
    a.close()
    b.drain()
    a.until("FIN_WAIT_2")
    lab.lose("ack", "client", where, count=count)
    b.close()
    lab.expect("last_ack_lost", "client")
    lab.settle(4)


@scenario(where=STAGES, who=SIDES)
def fin_ack_lost(lab: Lab, where: str, who: str) -> None:
    """The combined FIN+ACK of a straight close is lost: CLOSE_WAIT and LAST_ACK only show by its retransmission."""
    a, b = lab.pair(first=who)
    lab.talk(a, b)
    lab.lose("fin", other(who), where)
    a.shutdown()
    b.drain().close()
    lab.settle(0.9)


@scenario(where=STAGES, who=SIDES)
def data_before_fin_lost(lab: Lab, where: str, who: str) -> None:
    """The last data segment is lost, the FIN behind it arrives out of order and counts only once the hole is filled."""
    a, b = lab.pair(first=who)
    lab.talk(a, b)
    lab.lose("data", who, where)
    a.send(300)
    a.shutdown()
    b.read(300)
    b.drain()
    time.sleep(0.1)
    b.close()
    lab.settle()


@scenario(who=SIDES)
def fin_with_data(lab: Lab, who: str) -> None:
    """Data and FIN in one segment (corked)."""
    import socket

    a, b = lab.pair(first=who)
    a.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    a.send(300)
    a.shutdown()
    b.drain()
    time.sleep(0.1)
    b.close()
    lab.settle()


@scenario(wire={**SLOW}, what=("fin_first", "duplicate", "duplicate_late"), who=SIDES)
def fin_reordered(lab: Lab, what: str, who: str) -> None:
    """The FIN overtakes the data before it, or arrives twice, the second time perhaps after everything is over."""
    a, b = lab.pair(first=who)
    lab.talk(a, b)
    if what == "fin_first":
        lab.net.hold("data", who, "near", 0.08)
    else:
        lab.net.duplicate("fin", who, "near", 0.02 if what == "duplicate" else 0.5)
    a.send(300)
    a.shutdown()
    b.read(300)
    b.drain()
    time.sleep(0.1)
    b.close()
    lab.settle(0.9)


@scenario(who=SIDES, wire=SLOW)
def last_fin_duplicated(lab: Lab, who: str) -> None:
    """The second FIN arrives again in TIME_WAIT; its re-ACK meets CLOSED, whose RST kills TIME_WAIT (RFC 1337)."""
    a, b = lab.pair(first=who)
    a.close()
    b.drain()
    lab.net.duplicate("fin", other(who), "near", 0.4)
    b.close()
    lab.settle(1)


@scenario(server={"tcp_orphan_retries": 2}, seconds=8, where=STAGES)
def last_ack_timeout(lab: Lab, where: str) -> None:
    """No ACK of the second FIN ever arrives: LAST_ACK gives up silently."""
    a, b = lab.pair()
    a.close()
    b.drain()
    a.until("FIN_WAIT_2")
    lab.blackhole("client", where)
    b.close()
    lab.expect("stuck_last_ack", "server")
    b.until("CLOSED")
    lab.settle()


@scenario(client={"tcp_orphan_retries": 2}, seconds=8, where=STAGES)
def fin_wait_1_timeout(lab: Lab, where: str) -> None:
    """The FIN is never acknowledged: the orphan in FIN_WAIT_1 gives up silently."""
    a, _ = lab.pair()
    lab.blackhole("client", where)
    a.close()
    lab.expect("stuck_fin_wait_1", "client")
    a.until("CLOSED")
    lab.settle()


@scenario(client={"tcp_orphan_retries": 2}, server={"tcp_orphan_retries": 2}, wire=SLOW, seconds=8)
def closing_timeout(lab: Lab) -> None:
    """The FINs cross, every ACK of them is lost: CLOSING gives up."""
    a, b = lab.pair()
    lab.talk(a, b)
    time.sleep(0.2)
    for side in SIDES:
        lab.lose("ack", side, "far", count=1000)
    a.close()
    b.close()
    lab.expect("stuck_closing", None)
    time.sleep(0.2)
    lab.blackhole("client", "far")
    lab.blackhole("server", "far")
    a.until("CLOSED")
    b.until("CLOSED")
    lab.settle()


@scenario(family=FAMILIES, seconds=5)
def fin_behind_zero_window(lab: Lab) -> None:
    """The FIN waits behind data that a closed window holds back: FIN_WAIT_1 long before the FIN is on the wire."""
    listener = lab.server.listen(rcvbuf=4096)
    a, b = lab.connect(listener, sndbuf=4096)
    a.stuff()
    lab.expect("zero_window", "server")
    a.close()
    time.sleep(1.5)
    b.drain()
    time.sleep(0.1)
    b.close()
    lab.settle()
