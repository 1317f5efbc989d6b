"""Surveys of what one host does in many connections: sockets that it leaves open, ports that it uses again."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tcptrace_fsm.core.finished import end_of
from tcptrace_fsm.core.grouping import Field, in_order, lowest_of, picked, words_in_common
from tcptrace_fsm.core.room import zeros
from tcptrace_fsm.findings.groups import Smallest
from tcptrace_fsm.findings.needs import BOTH_DIRECTIONS, FIRST_FIN, WHOLE
from tcptrace_fsm.findings.rule import SECOND, Key, Rule, mask, median, span
from tcptrace_fsm.findings.survey import Collector, Found, Survey, host_of, name, socket_of
from tcptrace_fsm.kernels.layout import (
    C_CLIENT_HI,
    C_CLIENT_LO,
    C_FLAGS,
    C_ID,
    C_LAST_TIME,
    C_MARKS,
    C_NET,
    C_OVER_TIME,
    C_PORTS,
    C_REQUESTS,
    C_RESPONSES,
    C_SERVER_HI,
    C_SERVER_LO,
    C_SERVER_STATE,
    C_TAKEN_OVER,
    CF_MIDSTREAM,
    CLIENT,
    E_ACK,
    E_FIN,
    E_HOLES,
    E_UNIQUE,
    MARK_ACK_UNSEEN,
    SERVER,
)
from tcptrace_fsm.kernels.strays import find_used_again
from tcptrace_fsm.tcp.machine import State
from tcptrace_fsm.text.counts import count

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator

    from tcptrace_fsm.findings.survey import Name
    from tcptrace_fsm.tcp.profiles import Profile

__all__ = ["RULES", "SURVEYS"]

RULES: tuple[Rule, ...] = ()


FEW = 5  # connections that make a pattern


class Leaks(Collector):
    """Sockets in CLOSE_WAIT, by the address (and, of a server, the port) that holds them."""

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile)
        self.held: dict[Name, list[int]] = {}
        self.owing: Counter[Name] = Counter()

    def see(self, words: array[int], c: int) -> None:
        """A connection that ended, as far as the capture goes, in CLOSE_WAIT on one side."""
        side = SERVER if words[c + C_SERVER_STATE] == State.CLOSE_WAIT else CLIENT
        if words[c + C_MARKS] & mask(MARK_ACK_UNSEEN):
            return  # where frames are missing, a FIN may be
        if words[end_of(c, CLIENT) + E_HOLES] or words[end_of(c, SERVER) + E_HOLES]:
            return
        if words[c + C_FLAGS] & CF_MIDSTREAM and words[end_of(c, side) + E_UNIQUE] < 2:
            return  # begun inside: its FIN may have passed before
        if words[end_of(c, side) + E_ACK] < words[end_of(c, 1 - side) + E_FIN]:
            return  # a FIN that is neither acknowledged nor sent again had an answer that is not here
        holder = socket_of(words, c, SERVER) if side == SERVER else host_of(words, c, CLIENT)
        self.groups.of(holder).add(words, c)
        self.held.setdefault(holder, []).append(words[c + C_OVER_TIME] - words[c + C_LAST_TIME])
        self.owing[holder] += side == SERVER and words[c + C_RESPONSES] < words[c + C_REQUESTS]

    def merge(self, other: Leaks) -> None:
        """Take what another has seen."""
        super().merge(other)
        for holder, times in other.held.items():
            self.held.setdefault(holder, []).extend(times)
        self.owing.update(other.owing)

    def finish(self, now: int) -> Iterator[Found]:  # noqa: ARG002
        """Those who hold several for longer than a pause explains."""
        for holder, group in self.groups.items():
            held = [t for t in self.held[holder] if t >= 3 * SECOND]
            if len(held) >= FEW:
                listens = len(holder) > 3
                usual = median(held)
                hangs = 2 * self.owing[holder] > len(self.held[holder])
                yield Found(
                    group,
                    SERVER if listens else CLIENT,
                    f"{name(holder)}{'' if listens else ':*'} holds {count(len(held), 'socket')} in CLOSE_WAIT, the "
                    "oldest for "
                    f"{span(max(held))}: its application does not close connections that its peers have closed"
                    + (", most of which it owes an answer: it may hang in its work" if hangs else ""),
                    "low"
                    if hangs
                    else "high"
                    if usual >= 60 * SECOND
                    else "low"
                    if usual < 5 * SECOND or not listens
                    else None,
                )


PAIR = (
    *(Field(C_NET, 0, 1), Field(C_CLIENT_HI), Field(C_CLIENT_LO)),
    *(Field(C_NET, 0, 1), Field(C_SERVER_HI), Field(C_SERVER_LO), Field(C_PORTS, 0, 65535)),
)
CLIENT_PORT = (Field(C_PORTS, 16, 65535),)


class Reuse(Collector):
    """Four-tuples taken again, by client and listener."""

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile)
        self.gaps: dict[Name, Smallest] = {}  # conn_id and gap of the first incarnations

    def see_all(self, words: array[int], rows: array[int]) -> None:
        """Incarnations after which the client opened another."""
        out = zeros(len(rows))
        rows = out[: find_used_again(len(rows), rows, words, out)] if rows else rows
        for pair, numbers in words_in_common(words, rows, PAIR):
            some = in_order(numbers, rows)
            self.groups.of(pair).add_all(words, some, member=CLIENT_PORT)
            gaps = self.gaps.setdefault(pair, Smallest())
            ids, since, last = (picked(words, some, (Field(word),)) for word in (C_ID, C_TAKEN_OVER, C_LAST_TIME))
            if gaps.bound is None or lowest_of(ids) <= gaps.bound[0]:
                gaps.take_all({(conn_id, at - ended) for conn_id, at, ended in zip(ids, since, last, strict=True)})

    def merge(self, other: Reuse) -> None:
        """Take what another has seen."""
        super().merge(other)
        for pair, gaps in other.gaps.items():
            self.gaps.setdefault(pair, Smallest()).merge(gaps)

    def finish(self, now: int) -> Iterator[Found]:
        """Pairs that go round many ports faster than TIME_WAIT."""
        del now
        limit = self.profile.time_wait.usual * SECOND
        for pair, group in self.groups.items():
            usual = median(gap for _, gap in self.gaps[pair].trim())
            if len(group.members) >= 20 and usual < limit:
                client, listener = pair[:3], pair[3:]
                yield Found(
                    group,
                    CLIENT,
                    f"{name(client)} has used {group.counted} ports more than once for {name(listener)}, usually "
                    f"{span(usual)} after the last use, TIME_WAIT being {span(limit)}: it is short of local ports; "
                    "keep "
                    "connections open or widen the port range",
                    "high" if len(group.members) >= 100 else "medium",
                )


def when_close_wait(key: Key) -> bool:
    """One end is in CLOSE_WAIT."""
    return not key.taken_over and State.CLOSE_WAIT in (key.client_state, key.server_state)


def when_taken_over(key: Key) -> bool:
    """The four-tuple was used again."""
    return key.taken_over


def many(count: int, text: str, *, first: int = 41000, step: float = 0.01, start: float = 0) -> str:
    """An example with ``count`` connections like ``text``, from one port after another, each ``step`` seconds later."""
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(
        f"port {first + i} 80\n" + "\n".join(_moved(line, start + i * step) for line in lines) for i in range(count)
    )


def _moved(line: str, by: float) -> str:
    time, rest = line.strip().split(None, 1)
    return f"{float(time) + by:.4f} {rest}"


LEAK = """
0.000 > S  0:0(0)
0.001 < S. 0:0(0)     ack 1
0.002 > .  1:1(0)     ack 1
0.003 > F. 1:1(0)     ack 1
0.004 < .  1:1(0)     ack 2
"""
UNSEEN_LEAK = """
0.000 > S  0:0(0)
0.001 < S. 0:0(0)     ack 1
0.002 > .  1:1(0)     ack 1
0.003 < P. 1:101(100) ack 1
0.004 > .  1:1(0)     ack 601    # what it acknowledges is missing: who knows what else is
0.103 > F. 1:1(0)     ack 601
0.104 < .  601:601(0) ack 2
"""
CLOSED = (
    LEAK
    + """
0.005 < F. 1:1(0)     ack 2
0.006 > .  2:2(0)     ack 2
"""
)

SURVEYS = (
    Survey(
        kind="close_wait_leak",
        category="close",
        severity="medium",
        rfc="RFC 9293 3.6",
        summary="An application leaves many connections in CLOSE_WAIT: it does not close what its peers have closed.",
        evidence="Five or more connections of one listener, or of one client host, in CLOSE_WAIT for 3 s or more at "
        "the end; high from a median of 60 s on, low below 5 s and, up to there, for clients; low where most owe an "
        "answer to the last request: who hangs in its work does not close either.",
        innocent="Half-closed connections that are meant to be: the peers still read.",
        make=Leaks,
        needs=(BOTH_DIRECTIONS, FIRST_FIN, WHOLE),
        when=when_close_wait,
        aliases={"netstat": "CLOSE_WAIT"},
        example=many(6, LEAK) + "\nend 90",
        counterexample=(
            many(6, CLOSED) + "\nend 90",
            many(6, UNSEEN_LEAK) + "\nend 90",
        ),
    ),
    Survey(
        kind="port_exhaustion_suspected",
        category="time_wait",
        severity="high",
        rfc="RFC 6056 3.2, RFC 9293 3.6.1",
        summary="A client goes round its local ports so fast that it meets its own connections in TIME_WAIT.",
        evidence="Twenty or more ports of one client used again for one listener, at a median gap below 2MSL; high "
        "from 100 on.",
        innocent="Several hosts behind one address; a load generator that binds its ports.",
        make=Reuse,
        when=when_taken_over,
        aliases={"Linux": "EADDRNOTAVAIL"},
        example=many(20, CLOSED) + "\nisn 500000 900000\n" + many(20, CLOSED, start=5),
        counterexample=many(20, CLOSED) + "\nisn 500000 900000\n" + many(20, CLOSED, start=300),
    ),
)
