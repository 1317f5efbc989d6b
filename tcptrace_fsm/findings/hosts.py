"""Surveys of hosts and listeners: what one server or client does in many connections."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from tcptrace_fsm.core.finished import end_of
from tcptrace_fsm.findings.groups import Smallest
from tcptrace_fsm.findings.handshake import Handshake
from tcptrace_fsm.findings.needs import BOTH_DIRECTIONS, FIRST_FIN, WHOLE
from tcptrace_fsm.findings.rule import SECOND, Key, Rule, mask, median, notable, segments_of, span
from tcptrace_fsm.findings.survey import (
    SAMPLE,
    Collector,
    Found,
    Group,
    Survey,
    host_of,
    name,
    socket_of,
)
from tcptrace_fsm.kernels.layout import (
    C_FIRST_TIME,
    C_FLAGS,
    C_ID,
    C_LAST_TIME,
    C_LIVING,
    C_LOG_HEAD,
    C_MARKS,
    C_PORTS,
    C_SERVER_STATE,
    C_TAKEN_BY,
    C_TAKEN_OVER,
    CF_MIDSTREAM,
    CLIENT,
    CONNECTION_SIZE,
    E_HOLES,
    E_OPTIONS,
    E_RETRANSMITTED,
    E_SYNS,
    E_UNIQUE,
    L_INFO,
    L_MARKS,
    L_NEXT,
    LOG_SIDE_SHIFT,
    MARK_ACK_UNSEEN,
    MARK_CAPTURE_DUPLICATE,
    MARK_FIN_AGAIN,
    MARK_FIRST_PLAIN,
    MARK_KEEPALIVE,
    MARK_NETWORK_DUPLICATE,
    MARK_RETRANSMISSION,
    MARK_SPURIOUS,
    MARK_SYN_ACK_AGAIN,
    MARK_ZERO_WINDOW_PROBE,
    OPT_DAMAGED,
    OPT_MSS,
    OPT_SACK_PERMITTED,
    OPT_SCALE,
    OPT_SHORT,
    OPT_TIMESTAMPS,
    SERVER,
    TCP_RST,
    TCP_SYN,
)
from tcptrace_fsm.tcp.machine import State

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator

    from tcptrace_fsm.core.finished import Block
    from tcptrace_fsm.findings.survey import Name
    from tcptrace_fsm.tcp.profiles import Profile

    Kind = tuple[int, int, int, int]  # options of SYN and SYN+ACK, numbers of SYN and SYN+ACK

__all__ = ["RULES", "SURVEYS"]

FEW = 5  # connections that make a pattern
LEAST_WAITING = 3  # handshakes that a full accept queue keeps waiting at a time


class Leaks(Collector):
    """Sockets in CLOSE_WAIT, by the address (and, of a server, the port) that holds them."""

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile)
        self.since: dict[Name, list[int]] = {}

    def see(self, words: array[int], c: int) -> None:
        """A connection that ended, as far as the capture goes, in CLOSE_WAIT on one side."""
        side = SERVER if words[c + C_SERVER_STATE] == State.CLOSE_WAIT else CLIENT
        if words[c + C_MARKS] & mask(MARK_ACK_UNSEEN):
            return  # where frames are missing, a FIN may be
        if words[end_of(c, CLIENT) + E_HOLES] or words[end_of(c, SERVER) + E_HOLES]:
            return
        if words[c + C_FLAGS] & CF_MIDSTREAM and words[end_of(c, side) + E_UNIQUE] < 2:
            return  # begun inside: its FIN may have passed before
        holder = socket_of(words, c, SERVER) if side == SERVER else host_of(words, c, CLIENT)
        self.groups.of(holder).add(words, c)
        self.since.setdefault(holder, []).append(words[c + C_LAST_TIME])

    def merge(self, other: Leaks) -> None:
        """Take what another has seen."""
        super().merge(other)
        for holder, times in other.since.items():
            self.since.setdefault(holder, []).extend(times)

    def finish(self, now: int) -> Iterator[Found]:
        """Those who hold several for longer than a pause explains."""
        for holder, group in self.groups.items():
            held = [now - t for t in self.since[holder] if now - t >= 3 * SECOND]
            if len(held) >= FEW:
                listens = len(holder) > 3
                usual = median(held)
                yield Found(
                    group,
                    SERVER if listens else CLIENT,
                    f"{name(holder)}{'' if listens else ':*'} holds {len(held)} sockets in CLOSE_WAIT, the oldest for "
                    f"{span(max(held))}: its application does not close connections that its peers have closed",
                    "high" if usual >= 60 * SECOND else "low" if usual < 5 * SECOND or not listens else None,
                )


WAITS = 10 * SECOND  # handshakes that began within such a time are compared with one another
# What is measured of a handshake that is over, in a word that has served its purpose by then.
C_HEARD = C_LIVING
HEARD = 0  # nothing to tell
UNHEARD_ONCE = 1  # the SYN+ACK came again after its ACK, and then all was well: one loss explains it
UNHEARD = 2  # ... although several segments had passed that complete the handshake
LOST_LATER = 3  # opened as it should; later the client had to send something again


def measure_waits(block: Block) -> None:
    """How listeners treated what completes a handshake, and whether paths to them lose segments besides."""
    log, words = block.log, block.words
    if log is None:
        return
    for c, _, key in notable(block):
        if when_unheard(key):
            words[c + C_HEARD] = treatment(words, c, log)


def treatment(words: array[int], c: int, log: memoryview) -> int:
    """HEARD, UNHEARD_ONCE, UNHEARD or LOST_LATER."""
    if words[c + C_MARKS] & OPEN_AGAIN == OPEN_AGAIN:
        handshake = Handshake(segments_of(words, c, log))
        if handshake.overflown:
            return UNHEARD
        if handshake.again and not handshake.deferred:
            return UNHEARD_ONCE
    if not words[end_of(c, CLIENT) + E_RETRANSMITTED]:
        return HEARD
    opened, r = False, words[c + C_LOG_HEAD]
    while r >= 0:
        info, marks = log[r + L_INFO], log[r + L_MARKS]
        if info >> LOG_SIDE_SHIFT & 1 == SERVER:
            opened = opened or not info & (TCP_SYN | TCP_RST)
        elif opened and marks & AGAIN and not marks & NOT_LOST:
            return LOST_LATER
        r = log[r + L_NEXT]
    return HEARD


class Overflows(Collector):
    """Handshakes that a listener would not complete.

    Where the path loses segments, only a small part of the handshakes loses all that would complete them, and far more
    of the connections lose something later. Where the accept queue is full, it is only the handshakes that suffer.
    """

    def see(self, words: array[int], c: int) -> None:
        """A connection of which it was measured how it was treated."""
        how = words[c + C_HEARD]
        if how == HEARD:
            return
        group = self.groups.of(socket_of(words, c, SERVER))
        group.tally(f"{how} {words[c + C_FIRST_TIME] // WAITS}")
        if how == UNHEARD:
            group.add(words, c, host_of(words, c, CLIENT))

    def finish(self, now: int) -> Iterator[Found]:
        """Listeners that did it to several at a time, and to more than what loss explains."""
        del now
        for listener, group in self.groups.items():
            if group.count < LEAST_WAITING:
                continue
            at = {int(what.split()[1]) for what in group.more if what.startswith(f"{UNHEARD} ")}
            if any(overflows(group.more, window) for window in at):
                yield Found(
                    group,
                    SERVER,
                    f"{name(listener)} let {group.count} handshakes of {group.counted} clients wait, within "
                    f"{span(group.lasted)}, by ignoring several segments of each that should have completed them, and "
                    "its open connections lost less: its accept queue is full",
                )


def overflows(counts: dict[str, int], window: int) -> bool:
    """Whether in this window and the next the handshakes suffered, and open connections did not."""

    def total(how: int, first: int) -> int:
        return sum(counts.get(f"{how} {w}", 0) for w in range(first, window + 2))

    waiting = total(UNHEARD, window)
    # Connections that opened just before meet the same losses. Of handshakes that one loss delays, no path that
    # still carries anything loses a quarter twice more.
    return (
        waiting >= LEAST_WAITING
        and waiting > total(LOST_LATER, window - 1)
        and 4 * waiting > total(UNHEARD_ONCE, window)
    )


class Reuse(Collector):
    """Four-tuples taken again, by client and listener."""

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile)
        self.gaps: dict[Name, Smallest] = {}  # conn_id and gap of the first incarnations

    def see(self, words: array[int], c: int) -> None:
        """An incarnation after which the client opened another."""
        if words[c + C_TAKEN_BY] != CLIENT:
            return
        pair = host_of(words, c, CLIENT) + socket_of(words, c, SERVER)
        self.groups.of(pair).add(words, c, (words[c + C_PORTS] >> 16,))
        gap = words[c + C_TAKEN_OVER] - words[c + C_LAST_TIME]
        self.gaps.setdefault(pair, Smallest()).take((words[c + C_ID], gap))

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


def kinds_of_options(block: Block) -> Counter[Kind]:
    """How often which options of SYN and SYN+ACK occur, with which numbers of these."""
    return Counter(options(block))


def options(block: Block) -> Iterator[Kind]:
    """Options of the client's SYN and the server's, and how many there were of each, of every connection."""
    client, server = end_of(0, CLIENT), end_of(0, SERVER)
    words = (client + E_OPTIONS, server + E_OPTIONS, client + E_SYNS, server + E_SYNS)
    return zip(*map(block.column, words), strict=True)


class Options(Collector):
    """SYNs or SYN+ACKs with some peculiarity of their options, in one finding.

    The connections of the sample give members and examples; the others are only counted, at a fraction of the cost.
    """

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile)
        self.known: dict[tuple[int, int], tuple[int, ...]] = {}

    def odd(self, client: int, server: int) -> tuple[int, ...]:
        """Which sides are peculiar, given the options of SYN and SYN+ACK."""
        raise NotImplementedError

    def whose(self, kind: Kind) -> tuple[int, ...]:
        """Which sides are peculiar, and were seen to be."""
        pair, syns = kind[:2], kind[2:]
        if pair not in self.known:
            self.known[pair] = self.odd(*pair)
        return tuple(side for side in self.known[pair] if syns[side] and self.fits(*syns))

    def block(self, block: Block) -> None:
        """Few kinds of options occur in a block: where none is odd, no connection is looked at."""
        kinds = block.once("options", kinds_of_options)
        for side in (CLIENT, SERVER):
            odd = {kind for kind in kinds if side in self.whose(kind)}
            if not odd:
                continue
            group = self.groups.of((side,))
            ids = block.column(C_ID)
            if block.first_id >= SAMPLE and 0 <= group.conn_id < block.first_id:
                group.leave(sum(kinds[kind] for kind in odd))
                continue
            places = [i for i, kind in enumerate(options(block)) if kind in odd]
            group.add_all(
                block.words,
                [i * CONNECTION_SIZE for i in places if ids[i] < SAMPLE],
                [i * CONNECTION_SIZE for i in places if ids[i] >= SAMPLE],
                partial(socket_of if side == SERVER else host_of, side=side),
            )

    def fits(self, client_syns: int, server_syns: int) -> bool:
        """Whether enough of the connection was seen."""
        del client_syns, server_syns
        return True

    def say(self, side: int, group: Group) -> str:
        """The message."""
        raise NotImplementedError

    def finish(self, now: int) -> Iterator[Found]:
        """One finding for each side that has any."""
        del now
        for (side,), group in self.groups.items():
            yield Found(group, side, self.say(side, group))


def whose(side: int, group: Group) -> str:
    """How many SYNs or SYN+ACKs of how many, and one of them by name."""
    what, who = ("SYN", "hosts") if side == CLIENT else ("SYN+ACK", "listeners")
    return f"{group.count:,} {what}s of {group.counted} {who} (e.g. {name(group.member or ())})"


class NotOffered(Options):
    """A SYN+ACK with options that the SYN did not have."""

    wanted = OPT_SCALE | OPT_SACK_PERMITTED | OPT_TIMESTAMPS

    def odd(self, client: int, server: int) -> tuple[int, ...]:
        """More in the answer than in the question."""
        return (SERVER,) if server & ~client & self.wanted and not client & (OPT_DAMAGED | OPT_SHORT) else ()

    def fits(self, client_syns: int, server_syns: int) -> bool:
        """The SYN was captured."""
        del server_syns
        return bool(client_syns)

    def say(self, side: int, group: Group) -> str:
        """The message."""
        return (
            f"{whose(side, group)} have window scale, SACK or timestamps although the SYN did not offer them: one of "
            "the two was rewritten on the way, or the listener is faulty"
        )


class NoMss(Options):
    """SYNs without MSS."""

    def odd(self, client: int, server: int) -> tuple[int, ...]:
        """Options, or none, and no MSS among them."""
        blind = OPT_DAMAGED | OPT_SHORT
        return (
            *((CLIENT,) if not client & (OPT_MSS | blind) else ()),
            *((SERVER,) if not server & (OPT_MSS | blind) else ()),
        )

    def say(self, side: int, group: Group) -> str:
        """The message."""
        return (
            f"{whose(side, group)} came without an MSS option: their peers must send segments of 536 bytes, or 1220 "
            "with IPv6; scanners' SYNs are like that"
        )


class Cookies(Options):
    """Listeners that answer some SYNs with less than others."""

    offered = OPT_SCALE | OPT_SACK_PERMITTED

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile)
        self.full: set[Name] = set()

    def odd(self, client: int, server: int) -> tuple[int, ...]:
        """Scale and SACK were offered and neither came back."""
        poor = (
            client & self.offered == self.offered
            and not server & self.offered
            and not server & (OPT_DAMAGED | OPT_SHORT)
        )
        return (SERVER,) if poor else ()

    def block(self, block: Block) -> None:
        """Of the sample, listeners that can do better are remembered."""
        kinds = block.once("options", kinds_of_options)
        poor = {kind for kind in kinds if self.whose(kind)}
        full = {kind for kind in kinds if kind[CLIENT] & kind[SERVER] & self.offered == self.offered}
        ids = block.column(C_ID)
        if poor or (full and block.first_id < SAMPLE):
            for i, (kind, conn_id) in enumerate(zip(options(block), ids, strict=True)):
                if kind in poor:
                    listener = socket_of(block.words, i * CONNECTION_SIZE, SERVER)
                    self.groups.of(listener).add(block.words, i * CONNECTION_SIZE)
                elif kind in full and conn_id < SAMPLE:
                    self.full.add(socket_of(block.words, i * CONNECTION_SIZE, SERVER))

    def merge(self, other: Cookies) -> None:
        """Take what another has seen."""
        super().merge(other)
        self.full |= other.full

    def finish(self, now: int) -> Iterator[Found]:
        """Listeners that did both."""
        del now
        for listener, group in self.groups.items():
            if listener in self.full:
                yield Found(
                    group,
                    SERVER,
                    f"{name(listener)} answered {group.count:,} SYNs without the window scale and SACK that it grants "
                    "to "
                    f"others, over {span(group.lasted)}: it was sending SYN cookies, so its backlog was full",
                )


OPEN_AGAIN = mask(MARK_SYN_ACK_AGAIN, MARK_FIRST_PLAIN)
AGAIN = mask(MARK_RETRANSMISSION, MARK_FIN_AGAIN)
NOT_LOST = mask(MARK_CAPTURE_DUPLICATE, MARK_NETWORK_DUPLICATE, MARK_KEEPALIVE, MARK_ZERO_WINDOW_PROBE, MARK_SPURIOUS)


def when_close_wait(key: Key) -> bool:
    """One end is in CLOSE_WAIT."""
    return not key.taken_over and State.CLOSE_WAIT in (key.client_state, key.server_state)


def when_open_again(key: Key) -> bool:
    """A SYN+ACK was repeated, and the client said something."""
    return key.marks & OPEN_AGAIN == OPEN_AGAIN


def when_unheard(key: Key) -> bool:
    """A SYN+ACK was repeated and the client said something, or something else was repeated."""
    return when_open_again(key) or bool(key.marks & AGAIN)


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
OVERFLOW = """
0.000 > S  0:0(0)
0.001 < S. 0:0(0)     ack 1
0.002 > .  1:1(0)     ack 1
0.300 > P. 1:101(100) ack 1
1.001 < S. 0:0(0)     ack 1
1.002 > .  101:101(0) ack 1
3.001 < S. 0:0(0)     ack 1
"""
ONE_LOST = """
0.000 > S  0:0(0)
0.001 < S. 0:0(0)     ack 1
0.002 > .  1:1(0)     ack 1
1.001 < S. 0:0(0)     ack 1
1.002 > .  1:1(0)     ack 1
1.300 > P. 1:101(100) ack 1
1.301 < .  1:1(0)     ack 101
"""
# The SYN+ACK is lost behind the capture point; its timer and the client's go off together, so it comes twice.
SYN_ACK_LOST = """
0.000 > S  0:0(0)
0.001 < S. 0:0(0)     ack 1
1.001 > S  0:0(0)
1.002 < S. 0:0(0)     ack 1
1.003 > .  1:1(0)     ack 1
1.004 < S. 0:0(0)     ack 1
1.005 > .  1:1(0)     ack 1
1.006 > P. 1:101(100) ack 1
1.007 < .  1:1(0)     ack 101
"""
RICH = """
0.000 > S  0:0(0)         <mss 1460,scale 7,sackok>
0.001 < S. 0:0(0)     ack 1 <mss 1460,scale 7,sackok>
0.002 > .  1:1(0)     ack 1
"""
POOR = """
0.000 > S  0:0(0)         <mss 1460,scale 7,sackok>
0.001 < S. 0:0(0)     ack 1 <mss 1460>
0.002 > .  1:1(0)     ack 1
"""
BARE = """
0.000 > S  0:0(0)
0.001 < S. 0:0(0)     ack 1 <mss 1460>
0.002 > .  1:1(0)     ack 1
"""
GENEROUS = """
0.000 > S  0:0(0)         <mss 1460>
0.001 < S. 0:0(0)     ack 1 <mss 1460,scale 7,sackok>
0.002 > .  1:1(0)     ack 1
"""

SURVEYS = (
    Survey(
        kind="close_wait_leak",
        category="close",
        severity="medium",
        rfc="RFC 9293 3.6",
        summary="An application leaves many connections in CLOSE_WAIT: it does not close what its peers have closed.",
        evidence="Five or more connections of one listener, or of one client host, in CLOSE_WAIT for 3 s or more at "
        "the end; high from a median of 60 s on, low below 5 s and, up to there, for clients.",
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
        kind="accept_queue_overflow",
        category="open",
        severity="high",
        rfc="Linux tcp_check_req, RFC 9293 3.10.7.4",
        summary="A listener left several clients in half-done handshakes: its accept queue overflows.",
        evidence="Three or more handshakes of one listener that began within 20 s, in each of which it repeated its "
        "SYN+ACK although three or more segments had passed that complete it; more of them than open connections that "
        "had to repeat something at that time, and than a quarter of the handshakes that a single loss would explain.",
        innocent="A path to the server that breaks down for seconds while nothing but handshakes are under way.",
        make=Overflows,
        when=when_unheard,
        measure=measure_waits,
        aliases={"Linux": "ListenOverflows, ListenDrops"},
        example=many(3, OVERFLOW) + "\nend 10",
        counterexample=many(3, SYN_ACK_LOST) + "\n" + many(3, ONE_LOST, first=42000) + "\nend 10",
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
    Survey(
        kind="syncookie_suspected",
        category="open",
        severity="info",
        rfc="RFC 4987 3.6",
        summary="A listener answered some SYNs without the options that it grants to others: it was using SYN cookies.",
        evidence="SYN+ACKs without window scale and SACK to SYNs that offered both, from a listener that elsewhere "
        "grants them.",
        innocent="Several machines behind one address; Linux hides the options in the timestamp, so this shows "
        "without timestamps only.",
        make=Cookies,
        every=True,
        aliases={"Linux": "SyncookiesSent"},
        example=many(3, RICH) + "\n" + many(3, POOR, first=42000),
        counterexample=many(3, POOR),
    ),
    Survey(
        kind="option_not_negotiated",
        category="open",
        severity="low",
        rfc="RFC 7323 2.2, 3.2, RFC 2018 2",
        summary="A SYN+ACK grants options that the SYN did not ask for.",
        evidence="Window scale, SACK permitted or timestamps in a SYN+ACK and not in its SYN, both captured.",
        innocent="A middlebox that strips options from SYNs after the capture point's side.",
        make=NotOffered,
        every=True,
        example=GENEROUS,
        counterexample=POOR,
    ),
    Survey(
        kind="mss_absent",
        category="open",
        severity="low",
        rfc="RFC 9293 3.7.1 (SHLD-5)",
        summary="SYNs do not say how long segments may be.",
        evidence="A SYN or SYN+ACK without the MSS option.",
        innocent="Scanners and tiny stacks; SYN cookies keep the MSS.",
        make=NoMss,
        every=True,
        aliases={"Wireshark": "tcp.options.mss.absent"},
        example=BARE,
        counterexample=POOR,
    ),
)

RULES: tuple[Rule, ...] = ()
