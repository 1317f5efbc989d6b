"""Time-outs and windows: what ends, or holds up, a connection without a word."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from tests.lab.scenario import FAMILIES, SIDES, STAGES, scenario

if TYPE_CHECKING:
    from tests.lab.scenario import Lab

KEEP = {"keepalive": 1, "keepidle": 1, "keepintvl": 1, "keepcnt": 2}


@scenario(who=SIDES, seconds=5)
def keepalive_alive(lab: Lab, who: str) -> None:
    """Keepalives on an idle connection, answered; then a normal close."""
    a, b = lab.pair(first=who)
    lab.talk(a, b)
    a.set(**KEEP)
    time.sleep(3.4)
    lab.close_both(a, b)
    lab.settle()


@scenario(who=SIDES, where=STAGES, seconds=7)
def keepalive_dead(lab: Lab, who: str, where: str) -> None:
    """The peer is gone: unanswered keepalives, then RST."""
    a, b = lab.pair(first=who)
    lab.talk(a, b)
    a.set(**KEEP)
    lab.blackhole(b.host.name, where)
    lab.expect("keepalive_death", who)
    a.until("CLOSED")
    lab.settle()


@scenario(who=SIDES, where=STAGES, seconds=9)
def retransmissions_exhausted(lab: Lab, who: str, where: str) -> None:
    """Data is never acknowledged: backed-off retransmissions, then ETIMEDOUT in silence."""
    lab.host(who).sysctl("tcp_retries2", 3)
    a, b = lab.pair(first=who)
    lab.talk(a, b)
    lab.blackhole(who, where)
    a.send()
    lab.expect("retransmission_timeout_abort", who)
    with contextlib.suppress(OSError):
        a.read()
    lab.settle()


@scenario(seconds=4)
def user_timeout(lab: Lab) -> None:
    """TCP_USER_TIMEOUT of one second ends the connection earlier."""
    a, b = lab.pair()
    lab.talk(a, b)
    a.set(user_timeout=1000)
    lab.blackhole("client", "far")
    a.send()
    a.until("CLOSED")
    lab.settle()


@scenario(who=SIDES, family=FAMILIES, seconds=5)
def zero_window(lab: Lab, who: str) -> None:
    """The reader sleeps: window zero, probes, window update, the rest, close."""
    listener = lab.server.listen(rcvbuf=4096, sndbuf=4096)
    c, s = lab.connect(listener, rcvbuf=4096, sndbuf=4096)
    a, b = (c, s) if who == "client" else (s, c)
    a.stuff()
    lab.expect("zero_window", b.host.name)
    time.sleep(1.5)
    a.shutdown()
    b.drain()
    time.sleep(0.1)
    b.close()
    a.drain().close()
    lab.settle()


@scenario(who=SIDES, where=STAGES, family=FAMILIES)
def data_lost(lab: Lab, who: str, where: str) -> None:
    """A data segment is lost and comes again after a retransmission time-out."""
    a, b = lab.pair(first=who)
    lab.talk(a, b)
    lab.lose("data", who, where)
    lab.talk(a, b)
    lab.expect("rto_retransmission", who)
    lab.close_both(a, b)
    lab.settle()


@scenario(seconds=5)
def idle(lab: Lab) -> None:
    """Four idle seconds in ESTABLISHED, then on as if nothing had been."""
    a, b = lab.pair()
    lab.talk(a, b)
    time.sleep(4)
    lab.talk(a, b)
    lab.close_both(a, b)
    lab.settle()
