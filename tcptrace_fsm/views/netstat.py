"""What ``netstat -nat`` would have shown at some moment, for both ends of every connection, with the evidence.

A capture sees sockets from outside, so two of netstat's columns are usually unknown: what an application has not read
yet (Recv-Q) always, what is sent and not acknowledged (Send-Q) except at the capture's end. They print as ``-``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from tcptrace_fsm.core.words import SIDES
from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.tcp.machine import Basis, Event, State
from tcptrace_fsm.text.addresses import address_text
from tcptrace_fsm.text.durations import SECOND, duration
from tcptrace_fsm.text.times import iso_time

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterable, Iterator
    from datetime import datetime, time

    from tcptrace_fsm.tcp.profiles import Host, Profile

__all__ = ["COLUMNS", "Socket", "check_host", "hosts", "moment", "outside", "sockets", "text"]

COLUMNS = ("Proto", "Recv-Q", "Send-Q", "Local Address", "Foreign Address", "State", "Basis", "Timer")
"""The heads of the columns: netstat's own, then ours."""


class Socket(NamedTuple):
    """One line: one endpoint at one moment.

    Attributes
    ----------
    proto : str
        ``tcp`` or ``tcp6``.
    recv_q, send_q : int or None
        Bytes not yet read by the application, bytes not yet acknowledged by the peer; None where unknown.
    local_ip, local_port, foreign_ip, foreign_port : str, int, str, int
        A listener's foreign end is any address (``0.0.0.0`` or ``::``), port 0.
    state, basis : str
        State by its RFC 9293 name, and what that rests on.
    timer : str
        Which timer is about to change the state; empty for none.
    timer_left : int or None
        When, ns from now.
    conn_id : int or None
        None for a listener.
    side : str

    """

    proto: str
    recv_q: int | None
    send_q: int | None
    local_ip: str
    local_port: int
    foreign_ip: str
    foreign_port: int
    state: str
    basis: str
    timer: str
    timer_left: int | None
    conn_id: int | None
    side: str


class Change(NamedTuple):
    """What of a transition matters here."""

    time: int
    source: int
    target: int
    event: int
    basis: int


_TIMERS = {
    Event.TIMEOUT_2MSL: "timewait",
    Event.TIMEOUT_FIN_WAIT_2: "fin_wait_2",
    Event.TIMEOUT_RETRANSMISSION: "retransmission",
}
_NO_CHANGES: tuple[list[Change], list[Change]] = ([], [])


def _changes(blocks: Iterable[tuple[array[int], int]]) -> dict[int, tuple[list[Change], list[Change]]]:
    """Give the transitions of each connection, for each side in order."""
    by_connection: dict[int, tuple[list[Change], list[Change]]] = {}
    size = k.TRANSITION_SIZE
    for block, count in blocks:
        for t in range(0, count * size, size):
            sides = by_connection.get(block[t + k.T_CONNECTION])
            if sides is None:
                sides = by_connection[block[t + k.T_CONNECTION]] = ([], [])
            sides[block[t + k.T_SIDE]].append(
                Change(
                    block[t + k.T_TIME],
                    block[t + k.T_FROM],
                    block[t + k.T_TO],
                    block[t + k.T_EVENT],
                    block[t + k.T_BASIS],
                )
            )
    return by_connection


def check_host(host: str | None) -> str | None:
    """Return an address in canonical text.

    Raises
    ------
    UsageError
        When it is none.

    """
    if host is None:
        return None
    from ipaddress import ip_address

    try:
        address = ip_address(host)
    except ValueError:
        raise UsageError(f"--host takes an IP address, not {host!r}") from None
    packed = int(address)
    low, high = packed & (1 << 64) - 1, packed >> 64
    return address_text(high, low, six=address.version == 6)


def sockets(
    finished: Iterable[Any],
    at: int,
    profile: Profile,
    *,
    host: str | None = None,
    last_time: int | None = None,
) -> list[Socket]:
    """Every endpoint that existed at a moment, as netstat orders them: IPv4 before IPv6, listeners before connections.

    Parameters
    ----------
    finished : iterable of Finished
        What the engine gave, all of it.
    at : int
        The moment, ns since 1970 UTC.
    profile : Profile
        For the time left in TIME_WAIT.
    host : str or None
        Only the endpoints of this address, in canonical text.
    last_time : int or None
        When the capture ends: from then on, Send-Q is what was never acknowledged.

    """
    finished = list(finished)
    changes = _changes((f.transitions, f.transition_count) for f in finished)
    listeners: dict[tuple[str, int], Socket] = {}
    found = []
    for f in finished:
        for c in range(0, f.count * k.CONNECTION_SIZE, k.CONNECTION_SIZE):
            if f.connections[c + k.C_FIRST_TIME] > at:
                continue
            sides = changes.get(f.connections[c + k.C_ID], _NO_CHANGES)
            for socket in _ends(f.connections, c, sides, at, profile, last_time):
                if host is not None and socket.local_ip != host:
                    continue
                if socket.conn_id is None:
                    listeners[socket.local_ip, socket.local_port] = socket
                else:
                    found.append(socket)
    found.sort(key=lambda s: (s.conn_id, s.side))
    return sorted([listeners[key] for key in sorted(listeners)] + found, key=lambda s: (s.proto, s.conn_id is not None))


def _ends(
    block: array[int],
    c: int,
    sides: tuple[list[Change], list[Change]],
    at: int,
    profile: Profile,
    last_time: int | None,
) -> Iterator[Socket]:
    """Give the client, the server and the server's listener, as far as they exist."""
    six = bool(block[c + k.C_NET] & 1)
    proto, anywhere = ("tcp6", "::") if six else ("tcp", "0.0.0.0")  # noqa: S104 - as netstat prints a listener
    ports = block[c + k.C_PORTS]
    hosts: tuple[Host, Host] = (
        (six, block[c + k.C_CLIENT_HI], block[c + k.C_CLIENT_LO]),
        (six, block[c + k.C_SERVER_HI], block[c + k.C_SERVER_LO]),
    )
    client = address_text(block[c + k.C_CLIENT_HI], block[c + k.C_CLIENT_LO], six=six), ports >> 16
    server = address_text(block[c + k.C_SERVER_HI], block[c + k.C_SERVER_LO], six=six), ports & 0xFFFF
    for side, (local, foreign) in enumerate(((client, server), (server, client))):
        past = [change for change in sides[side] if change.time <= at]
        coming = sides[side][len(past)] if len(past) < len(sides[side]) else None
        if side == k.SERVER and sides[side] and sides[side][0].source == State.LISTEN and past:
            basis = Basis(past[0].basis).name.lower()
            yield Socket(proto, None, None, *local, anywhere, 0, "LISTEN", basis, "", None, None, "server")
        if past:
            state, basis_code = past[-1].target, past[-1].basis
        elif coming is not None:
            state, basis_code = coming.source, int(Basis.INFERRED)
        else:
            state, basis_code = block[c + k.C_CLIENT_STATE + side], block[c + k.C_CLIENT_BASIS + side]
        if state in {State.CLOSED, State.LISTEN}:
            continue
        timer, left = _timer(state, past, coming, at, profile.of(hosts[side]))
        if timer == "timewait" and left is not None and left <= 0:
            # The analysis held it alive until the capture's end; after that only its timer counts, unless some segment
            # had restarted that, in which case nobody knows how long it lasts.
            if last_time is not None and last_time < at and last_time < at + left:
                continue
            left = None
        yield Socket(
            proto,
            None,
            _unacknowledged(block, c, side) if last_time is not None and at >= last_time else None,
            *local,
            *foreign,
            State(state).name,
            Basis(basis_code).name.lower(),
            timer,
            left,
            block[c + k.C_ID],
            SIDES[side],
        )


def _timer(state: int, past: list[Change], coming: Change | None, at: int, profile: Profile) -> tuple[str, int | None]:
    if coming is not None and coming.event in _TIMERS:
        return _TIMERS[Event(coming.event)], coming.time - at
    if state == State.TIME_WAIT and past:
        return "timewait", past[-1].time + round(profile.time_wait.usual * 1e9) - at
    return "", None


def _unacknowledged(block: array[int], c: int, side: int) -> int | None:
    own, peer = (c + k.C_ENDPOINTS + s * k.ENDPOINT_SIZE for s in (side, 1 - side))
    if block[own + k.E_BASE_KNOWN] == k.BASE_NONE or block[peer + k.E_ACK] < 0:
        return None
    return max(0, block[own + k.E_NEXT] - block[peer + k.E_ACK])


def text(found: Iterable[Socket], width: int | None = None) -> Iterator[str]:
    """Give the lines that netstat would print, with two columns more.

    Parameters
    ----------
    found : iterable of Socket
    width : int or None
        Columns to fill: where the whole line does not fit, the queues are left out, then the timer's name, and at last
        a socket takes two lines. None for whole lines.

    """
    proto, recv_q, send_q, local, foreign, state, basis, timer = COLUMNS
    rows = [
        (
            s.proto,
            "-" if s.recv_q is None else str(s.recv_q),
            "-" if s.send_q is None else str(s.send_q),
            f"{s.local_ip}:{s.local_port}",
            f"{s.foreign_ip}:{s.foreign_port or '*'}",
            s.state,
            s.basis,
            s.timer if s.timer_left is None else f"{s.timer} ({s.timer_left / 1e9:.2f} s left)",
        )
        for s in found
    ]
    ends = max([23, *(len(text) for row in rows for text in row[3:5])])
    lines = [f"{proto} {recv_q} {send_q} {local:<{ends}} {foreign:<{ends}} {state:<12} {basis:<9} {timer}"]
    for row in rows:
        line = (
            f"{row[0]:<5} {row[1]:>6} {row[2]:>6} {row[3]:<{ends}} {row[4]:<{ends}} {row[5]:<12} {row[6]:<9} {row[7]}"
        )
        lines.append(line.rstrip())
    if width is None or max(map(len, lines)) <= width:
        yield from lines
    else:
        yield from _narrow([(proto, recv_q, send_q, local, foreign, state, basis, timer), *rows], width)


def _narrow(rows: list[tuple[str, ...]], width: int) -> Iterator[str]:
    """Give lines without the queues, each as short as it can be."""
    short = [(*row[:7], row[7].partition(" (")[2].removesuffix(" left)") or row[7]) for row in rows]
    wide = [max(len(row[i]) for row in short) for i in range(len(COLUMNS))]
    for proto, _, _, local, foreign, state, basis, timer in short:
        start, rest = f"{proto:<{wide[0]}}", f"{state:<{wide[5]}} {basis:<{wide[6]}} {timer}"
        if wide[0] + sum(wide[3:]) + 5 <= width:
            yield f"{start} {local:<{wide[3]}} {foreign:<{wide[4]}} {rest}".rstrip()
        else:
            yield f"{start} {local} {foreign}"
            yield f"{'':<{wide[0]}} {rest}".rstrip()


def hosts(finished: Iterable[Any]) -> list[str]:
    """The addresses of all connections, those with most first."""
    from collections import Counter

    counted: Counter[tuple[bool, int, int]] = Counter()
    for f in finished:
        for c in range(0, f.count * k.CONNECTION_SIZE, k.CONNECTION_SIZE):
            six = bool(f.connections[c + k.C_NET] & 1)
            counted[six, f.connections[c + k.C_CLIENT_HI], f.connections[c + k.C_CLIENT_LO]] += 1
            counted[six, f.connections[c + k.C_SERVER_HI], f.connections[c + k.C_SERVER_LO]] += 1
    return [address_text(high, low, six=six) for (six, high, low), _ in counted.most_common()]


def outside(when: int, span: tuple[int | None, int | None]) -> str:
    """Say that a moment lies before the capture or after it; empty where it does not."""
    first, last = span
    if first is None or last is None or first <= when <= last:
        return ""
    if when < first:
        return f"that is {duration(first - when)} before the capture begins ({iso_time(first)}): nothing is known of it"
    return (
        f"that is {duration(when - last)} after the capture's end ({iso_time(last)}): "
        "what would be so if nothing more had come"
    )


def moment(when: float | str | datetime | None, span: tuple[int | None, int | None]) -> int:
    """Work out a point in time, ns, from what the user says of it.

    Parameters
    ----------
    when : float, str, datetime or None
        Seconds from the start, an ISO time (without a zone: UTC), or a time of day (UTC), the first such in the
        capture; None for the end.
    span : tuple of int or None
        First and last capture time, ns.

    Raises
    ------
    UsageError
        When it says no time.

    """
    from datetime import UTC, datetime, time

    first, last = span
    if when is None:
        return last or 0
    if isinstance(when, str):
        read = _read_time(when)
        if isinstance(read, time):
            return _time_of_day(read, first or 0, last or 0)
        when = read
    if isinstance(when, datetime):
        aware = when if when.tzinfo else when.replace(tzinfo=UTC)
        since = aware - datetime(1970, 1, 1, tzinfo=UTC)
        # A pandas Timestamp knows nanoseconds that a datetime does not.
        return (since.days * 86400 + since.seconds) * 10**9 + since.microseconds * 1000 + getattr(when, "nanosecond", 0)
    if not abs(when) < 1e12:
        raise UsageError(f"a time is seconds from the start, ISO 8601 or a time of day, not {when!r}")
    return (first or 0) + round(when * 1e9)


def _time_of_day(clock: time, first: int, last: int) -> int:
    """The first such time of day (UTC) in the capture, or else the one of the day on which it begins."""
    day = 86_400 * SECOND
    since = (clock.hour * 3600 + clock.minute * 60 + clock.second) * SECOND + clock.microsecond * 1000
    found = first // day * day + since
    return found + day if found < first and found + day <= last else found


def _read_time(text: str) -> float | datetime | time:
    """Read seconds, an ISO time or a time of day."""
    from datetime import datetime, time

    for read in (float, datetime.fromisoformat, time.fromisoformat):
        try:
            return read(text)
        except ValueError:
            continue
    raise UsageError(f"a time is seconds from the start, ISO 8601 or a time of day, not {text!r}")
