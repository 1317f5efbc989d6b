"""Sockets at a moment, as netstat -nat prints them."""

from __future__ import annotations

import pytest

from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.tcp.machine import Basis, Event, State
from tcptrace_fsm.tcp.profiles import PROFILES
from tcptrace_fsm.views import netstat

from . import fakes
from .fakes import SECOND, START

S = State


def closed_connection():
    changes = [
        fakes.transition(0, 0, START, S.CLOSED, S.SYN_SENT),
        fakes.transition(0, 0, START + 1 * SECOND, S.SYN_SENT, S.ESTABLISHED, Event.RCV_SYN_ACK, Basis.ACKED),
        fakes.transition(0, 0, START + 5 * SECOND, S.ESTABLISHED, S.TIME_WAIT, Event.RCV_FIN, Basis.PRESUMED),
        fakes.transition(0, 0, START + 66 * SECOND, S.TIME_WAIT, S.CLOSED, Event.TIMEOUT_2MSL, Basis.TIMER, frame=-1),
        fakes.transition(0, 1, START, S.LISTEN, S.SYN_RECEIVED, Event.RCV_SYN, Basis.ACKED),
        fakes.transition(0, 1, START + 2 * SECOND, S.SYN_RECEIVED, S.ESTABLISHED, Event.RCV_ACK_OF_SYN, Basis.ACKED),
        fakes.transition(0, 1, START + 6 * SECOND, S.ESTABLISHED, S.CLOSED, Event.RCV_ACK_OF_FIN, Basis.PRESUMED),
    ]
    return fakes.finished([fakes.connection()], changes)


def shown(at, done=None, **more):
    found = netstat.sockets([done or closed_connection()], START + round(at * SECOND), PROFILES["linux"], **more)
    return [(s.local_port, s.foreign_port, s.state, s.basis) for s in found]


@pytest.mark.parametrize(
    "at, wanted",
    [
        (-1, []),
        (0, [(80, 0, "LISTEN", "acked"), (40000, 80, "SYN_SENT", "sent"), (80, 40000, "SYN_RECEIVED", "acked")]),
        (1.5, [(80, 0, "LISTEN", "acked"), (40000, 80, "ESTABLISHED", "acked"), (80, 40000, "SYN_RECEIVED", "acked")]),
        (6, [(80, 0, "LISTEN", "acked"), (40000, 80, "TIME_WAIT", "presumed")]),
        (66, [(80, 0, "LISTEN", "acked")]),
    ],
)
def test_sockets_come_and_go(at, wanted):
    assert shown(at) == wanted


def test_only_one_host():
    assert shown(3, host="10.0.0.1") == [(40000, 80, "ESTABLISHED", "acked")]
    assert shown(3, host="10.9.9.9") == []


def test_time_wait_tells_what_is_left():
    (client,) = netstat.sockets([closed_connection()], START + 20 * SECOND, PROFILES["linux"], host="10.0.0.1")
    assert (client.timer, client.timer_left) == ("timewait", 46 * SECOND)


def test_time_wait_ends_although_the_capture_has_ended_before():
    changes = [fakes.transition(0, 0, START, S.FIN_WAIT_2, S.TIME_WAIT, Event.RCV_FIN, Basis.PRESUMED)]
    done = fakes.finished([fakes.connection()], changes)
    alive = [(40000, 80, "TIME_WAIT", "presumed")]
    for seconds, last, wanted in ((60.9, 10, alive), (61, 10, []), (61, 100, alive), (120, 100, alive)):
        # A capture of 100 s in which it is still alive has shown that its timer began anew.
        assert shown(seconds, done, last_time=START + last * SECOND) == wanted, (seconds, last)


def test_an_endpoint_that_never_changed_is_where_it_ended():
    done = fakes.finished(
        [fakes.connection(words={k.C_CLIENT_STATE: int(S.ESTABLISHED), k.C_CLIENT_BASIS: int(Basis.INFERRED)})]
    )
    assert shown(1, done) == [(40000, 80, "ESTABLISHED", "inferred")]


def test_before_its_first_change_an_endpoint_is_where_that_began():
    done = fakes.finished(
        [fakes.connection()], [fakes.transition(0, 0, START + 9 * SECOND, S.ESTABLISHED, S.FIN_WAIT_1)]
    )
    assert shown(1, done) == [(40000, 80, "ESTABLISHED", "inferred")]


def test_send_q_is_known_at_the_end_only():
    known = {k.E_BASE_KNOWN: k.BASE_SYN}
    record = fakes.connection(
        words={k.C_CLIENT_STATE: int(S.ESTABLISHED)},
        client_words=known | {k.E_NEXT: 501},
        server_words=known | {k.E_ACK: 101},
    )
    for last, wanted in ((START + SECOND, 400), (START + 9 * SECOND, None)):
        (socket,) = netstat.sockets([fakes.finished([record])], START + SECOND, PROFILES["linux"], last_time=last)
        assert socket.send_q == wanted


def test_the_text_has_netstats_columns():
    lines = list(netstat.text(netstat.sockets([closed_connection()], START + 20 * SECOND, PROFILES["linux"])))
    assert lines[0].startswith("Proto Recv-Q Send-Q Local Address           Foreign Address         State ")
    assert lines[1].split() == ["tcp", "-", "-", "10.0.0.2:80", "0.0.0.0:*", "LISTEN", "acked"]
    assert lines[2].split() == [
        "tcp",
        "-",
        "-",
        "10.0.0.1:40000",
        "10.0.0.2:80",
        "TIME_WAIT",
        "presumed",
        "timewait",
        "(46.00",
        "s",
        "left)",
    ]
    assert len({line.index(word) for line, word in zip(lines, ("State", "LISTEN", "TIME_WAIT"), strict=True)}) == 1


def test_ipv6_is_tcp6():
    done = fakes.finished(
        [fakes.connection(0, "2001:db8::1", "2001:db8::2", words={k.C_CLIENT_STATE: int(S.ESTABLISHED)})]
    )
    (socket,) = netstat.sockets([done], START, PROFILES["linux"])
    assert (socket.proto, socket.local_ip) == ("tcp6", "2001:db8::1")


def test_the_order_is_netstats():
    six = fakes.connection(0, "2001:db8::1", "2001:db8::2")
    four = fakes.connection(1)
    changes = [fakes.transition(n, 1, START, S.LISTEN, S.SYN_RECEIVED, Event.RCV_SYN, Basis.ACKED) for n in (0, 1)] + [
        fakes.transition(n, 0, START, S.CLOSED, S.SYN_SENT) for n in (0, 1)
    ]
    found = netstat.sockets([fakes.finished([six, four], changes)], START, PROFILES["linux"])
    assert [(s.proto, s.state) for s in found] == [
        (proto, state) for proto in ("tcp", "tcp6") for state in ("LISTEN", "SYN_SENT", "SYN_RECEIVED")
    ]


def test_hosts_are_addresses():
    assert netstat.check_host("2001:DB8:0::1") == "2001:db8::1"
    assert netstat.check_host(None) is None
    with pytest.raises(UsageError, match="example"):
        netstat.check_host("example.com")
