"""FIN_WAIT_2, CLOSE_WAIT and TIME_WAIT: states that nothing on the wire ends, and what their loss looks like."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from tests.lab.pcap import ACK, PSH, RST
from tests.lab.scenario import FAMILIES, SIDES, STAGES, scenario
from tests.lab.sockets import PORT

if TYPE_CHECKING:
    from tests.lab.scenario import Lab

SHORT = {"tcp_fin_timeout": 3}


@scenario(client=SHORT, then=("nothing", "close", "send"), family=FAMILIES, seconds=6)
def orphan_fin_wait_2(lab: Lab, then: str) -> None:
    """The client closes, the server does not: the client's orphan expires; what the server does later meets RST."""
    a, b = lab.pair()
    lab.talk(a, b)
    a.close()
    b.drain()
    a.until("CLOSED")
    lab.note("orphan expired")
    time.sleep(0.5)
    if then == "close":
        b.close()
    elif then == "send":
        b.send()
    if then != "nothing":
        lab.expect("rst_after_fin_wait_2_timeout", "client")
    lab.settle()


@scenario(client={"tcp_fin_timeout": 59}, seconds=66)
def orphan_fin_wait_2_for_a_minute(lab: Lab) -> None:
    """As orphan_fin_wait_2 with (almost) the default tcp_fin_timeout: the server closes after more than a minute."""
    a, b = lab.pair()
    lab.talk(a, b)
    a.close()
    began = time.monotonic()
    b.drain()
    a.until("FIN_WAIT_2")
    a.until("CLOSED", timeout=70)
    time.sleep(max(0.0, began + 64 - time.monotonic()))
    b.close()
    lab.expect("rst_after_fin_wait_2_timeout", "client")
    lab.settle()


@scenario(client={"tcp_fin_timeout": 2}, family=FAMILIES, seconds=6)
def orphans_of_one_host(lab: Lab) -> None:
    """A host lets go of its orphans after 2 s: the servers close after 1 s, and after 2.6, 2.9 and 3.6 s."""
    listener = lab.server.listen()
    pairs = [lab.connect(listener) for _ in range(4)]
    for a, b in pairs:
        lab.talk(a, b)
        a.close()
        b.drain()
    began = time.monotonic()
    for (_, b), moment in zip(pairs, (1.0, 2.6, 2.9, 3.6), strict=True):
        time.sleep(max(0.0, began + moment - time.monotonic()))
        b.close()
    lab.expect("rst_after_fin_wait_2_timeout", "client")
    lab.settle()


@scenario(server=SHORT, seconds=6)
def orphan_fin_wait_2_of_server(lab: Lab) -> None:
    """As orphan_fin_wait_2, with the server as the side that closed first."""
    a, b = lab.pair(first="server")
    a.close()
    b.drain()
    a.until("CLOSED")
    time.sleep(0.3)
    b.close()
    lab.expect("rst_after_fin_wait_2_timeout", "server")
    lab.settle()


@scenario(who=SIDES)
def data_to_orphan_fin_wait_2(lab: Lab, who: str) -> None:
    """One side has closed for good, the other one sends data: RST at once."""
    a, b = lab.pair(first=who)
    a.close()
    a.until("FIN_WAIT_2")
    time.sleep(0.1)
    b.send()
    lab.expect("rst_on_late_data", who)
    lab.settle()


@scenario(client=SHORT, who=SIDES, seconds=7)
def stuck_fin_wait_2(lab: Lab, who: str) -> None:
    """Half-closed with the socket still open: FIN_WAIT_2 has no timer. The peer's application never closes."""
    a, b = lab.pair(first=who)
    lab.talk(a, b)
    a.shutdown()
    b.drain()
    time.sleep(5)
    lab.settle()


@scenario(seconds=75)
def stuck_fin_wait_2_for_a_minute(lab: Lab) -> None:
    """As stuck_fin_wait_2 for more than a minute, with keepalives of the side that forgot to close."""
    a, b = lab.pair()
    lab.talk(a, b)
    b.set(keepalive=1, keepidle=20, keepintvl=10, keepcnt=5)
    a.shutdown()
    b.drain()
    lab.expect("stuck_fin_wait_2", "client")
    lab.expect("stuck_close_wait", "server")
    time.sleep(70)


@scenario(seconds=4)
def close_wait_leak(lab: Lab) -> None:
    """Ten clients close, the server forgets to close any of its ends, but for two."""
    listener = lab.server.listen()
    pairs = [lab.connect(listener) for _ in range(10)]
    for i, (c, s) in enumerate(pairs):
        lab.talk(c, s)
        c.shutdown()
        s.drain()
        if i < 2:
            s.close()
    time.sleep(3)


@scenario(client={"tcp_max_tw_buckets": 0}, where=STAGES, family=FAMILIES)
def time_wait_not_kept(lab: Lab, where: str) -> None:
    """No TIME_WAIT (tcp_max_tw_buckets=0) and the last ACK lost: the repeated FIN draws RST."""
    a, b = lab.pair()
    lab.talk(a, b)
    a.shutdown()
    b.drain()
    a.until("FIN_WAIT_2")
    time.sleep(0.1)
    lab.lose("ack", "client", where)
    b.close()
    a.drain().close()
    lab.expect("rst_after_time_wait_loss", "client")
    lab.settle(0.8)


@scenario(client={"tcp_max_tw_buckets": 0})
def orphan_not_kept(lab: Lab) -> None:
    """No minisockets at all: the orphan loses its FIN_WAIT_2 too, and the peer's first FIN meets RST."""
    a, b = lab.pair()
    a.close()
    b.drain()
    time.sleep(0.2)
    b.close()
    lab.settle()


@scenario(where=STAGES, who=SIDES, family=FAMILIES)
def time_wait_killed(lab: Lab, where: str, who: str) -> None:
    """The last ACK is lost and TIME_WAIT is killed (ss -K) before the FIN comes again: RST."""
    a, b = lab.pair(first=who)
    lab.talk(a, b)
    a.close()
    b.drain()
    a.until("FIN_WAIT_2")
    time.sleep(0.1)
    lab.lose("ack", who, where)
    b.close()
    a.until("TIME_WAIT")
    lab.host(who).kill(a)
    lab.note(f"ss -K on the {who}")
    lab.expect("rst_after_time_wait_loss", who)
    lab.settle(0.8)


@scenario(seconds=66, who=SIDES)
def time_wait_expires(lab: Lab, who: str) -> None:
    """A whole TIME_WAIT of 60 s; afterwards another connection on the same port, from the very beginning."""
    listener = lab.server.listen()
    c, s = lab.connect(listener, source=45000, reuse=1)
    a, b = (c, s) if who == "client" else (s, c)
    lab.close_both(a, b)
    a.until("TIME_WAIT")
    a.until("CLOSED", timeout=70)
    c, s = lab.connect(listener, source=45000, reuse=1)
    lab.close_both(c, s)
    lab.settle(0.3)


@scenario(family=FAMILIES, client={"tcp_tw_reuse": 1})
def time_wait_reused_by_client(lab: Lab) -> None:
    """The client binds the port that it holds in TIME_WAIT (SO_REUSEADDR) and connects again, twice."""
    listener = lab.server.listen()
    for i in range(3):
        if i:
            time.sleep(1.1)
            lab.expect("time_wait_reopen", "client")
        c, s = lab.connect(listener, source=45000, reuse=1)
        lab.talk(c, s)
        lab.close_both(c, s)
        c.until("TIME_WAIT")
    lab.settle(0.3)


@scenario(family=FAMILIES, timestamps=(1, 0))
def time_wait_reused_by_server(lab: Lab, timestamps: int) -> None:
    """TIME_WAIT is the server's; the client's new SYN from the same port reopens it."""
    lab.client.sysctl("tcp_timestamps", timestamps)
    listener = lab.server.listen()
    for i in range(3):
        if i:
            time.sleep(0.2)
            lab.expect("time_wait_reopen", "server")
        c, s = lab.connect(listener, source=45000, reuse=1)
        lab.talk(c, s)
        lab.close_both(s, c)
        s.until("TIME_WAIT")
    lab.settle(0.3)


@scenario(family=FAMILIES, client={"tcp_tw_reuse": 0}, seconds=4)
def same_port_again(lab: Lab) -> None:
    """`nc -p 12345` twice: the second start finds the port in TIME_WAIT (EADDRINUSE, nothing on the wire);
    with SO_REUSEADDR the four-tuple opens again."""
    listener = lab.server.listen()
    c, s = lab.connect(listener, source=12345, reuse=1)
    lab.talk(c, s)
    lab.close_both(c, s)
    c.until("TIME_WAIT")
    time.sleep(0.5)
    try:
        lab.client.connect(source=12345)
    except OSError as e:
        lab.note(f"second start without SO_REUSEADDR: {e.strerror}")
    else:
        raise AssertionError("the port was free")
    time.sleep(1)
    c, s = lab.connect(listener, source=12345, reuse=1)
    lab.expect("time_wait_reopen", "client")
    lab.talk(c, s)
    lab.close_both(c, s)
    lab.settle()


@scenario(rfc1337=(0, 1), family=FAMILIES)
def time_wait_assassination(lab: Lab, rfc1337: int) -> None:
    """RFC 1337: an old duplicate reaches TIME_WAIT, its ACK meets CLOSED, whose RST kills TIME_WAIT (or not)."""
    lab.client.sysctl("tcp_rfc1337", rfc1337)
    a, b = lab.pair()
    lab.talk(a, b)
    old = next(f for f, s in zip(*lab.seen(b), strict=True) if s.length)
    lab.close_both(a, b)
    a.until("TIME_WAIT")
    b.until("CLOSED")
    time.sleep(0.2)
    lab.net.inject(old.data, "server")
    lab.note("the server's first data segment arrives once more")
    if not rfc1337:
        lab.expect("time_wait_assassination", "client")
    lab.settle(0.6)


@scenario(what=("rst", "old_data", "old_fin"))
def time_wait_visited(lab: Lab, what: str) -> None:
    """TIME_WAIT gets an injected RST, an old data segment or the FIN again, and its peer's answers are lost."""
    a, b = lab.pair()
    lab.talk(a, b)
    lab.close_both(a, b)
    a.until("TIME_WAIT")
    b.until("CLOSED")
    frames, segments = lab.seen(b)
    lab.lose("rst", "server", "near", count=10)
    if what == "rst":
        lab.forge(a, b, RST)
    else:
        old = [f for f, s in zip(frames, segments, strict=True) if s.kind == ("fin" if what == "old_fin" else "data")]
        lab.net.inject(old[0].data, "to_client")
    lab.settle(0.6)


@scenario()
def syn_collides_with_time_wait(lab: Lab) -> None:
    """A SYN with an old number and no timestamp in the server's TIME_WAIT draws the ACK of the old connection."""
    lab.client.sysctl("tcp_timestamps", 0)
    listener = lab.server.listen()
    c, s = lab.connect(listener, source=45000, reuse=1)
    lab.talk(c, s)
    first = lab.seen(c)[0][0].data
    lab.close_both(s, c)
    s.until("TIME_WAIT")
    c.until("CLOSED")
    time.sleep(0.2)
    lab.net.inject(first, "client")
    lab.note("the first SYN of the old connection once more")
    lab.settle(0.8)


@scenario(times=(10,), seconds=5)
def tuple_reused(lab: Lab, times: int) -> None:
    """The same four-tuple again and again, closed by the client, the server, or a RST, in turn."""
    lab.client.sysctl("tcp_tw_reuse", 1)
    listener = lab.server.listen()
    for i in range(times):
        for _ in range(40):
            try:
                c, s = lab.connect(listener, source=45000, reuse=1)
                break
            except OSError:
                time.sleep(0.1)
        lab.talk(c, s)
        if i % 3 == 0:
            lab.close_both(c, s, 0.03)
        elif i % 3 == 1:
            lab.close_both(s, c, 0.03)
        else:
            c.abort()
            with contextlib.suppress(ConnectionResetError):
                s.read()
            s.close()
        time.sleep(0.15)
    lab.settle(0.3)


@scenario()
def roles_swapped(lab: Lab) -> None:
    """After a close the former server connects back on the same four-tuple."""
    listener = lab.server.listen()
    c, s = lab.connect(listener, source=45000, reuse=1)
    lab.close_both(s, c)
    listener.close()
    time.sleep(1.2)
    lab.server.sysctl("tcp_tw_reuse", 1)
    back = lab.client.listen(45000)
    s2 = lab.server.connect(45000, source=PORT, reuse=1)
    c2 = back.accept()
    lab.talk(s2, c2)
    lab.close_both(s2, c2)
    lab.settle()


@scenario(who=SIDES)
def data_after_close_wait(lab: Lab, who: str) -> None:
    """An old segment is injected into CLOSE_WAIT: duplicate ACK, no change."""
    a, b = lab.pair(first=who)
    lab.talk(a, b)
    a.shutdown()
    b.drain()
    a.until("FIN_WAIT_2")
    lab.forge(b, a, ACK | PSH, shift=-100, payload=b"z" * 50)
    time.sleep(0.3)
    b.close()
    a.drain().close()
    lab.settle()
