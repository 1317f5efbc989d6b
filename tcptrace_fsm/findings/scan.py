"""Surveys of scans and floods: one host that asks many, or many that ask one."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import partial
from typing import TYPE_CHECKING

from tcptrace_fsm.core.finished import end_of
from tcptrace_fsm.findings.groups import lone_of
from tcptrace_fsm.findings.hosts import many
from tcptrace_fsm.findings.rule import SECOND, Key, Rule, mask, span
from tcptrace_fsm.findings.survey import Collector, Found, Group, Survey, host_of, name, socket_of
from tcptrace_fsm.kernels.layout import (
    BASE_SYN,
    C_ENDPOINTS,
    C_FIRST_TIME,
    C_ID,
    C_LAST_TIME,
    C_OPENING,
    C_PORTS,
    C_ROLE_BASIS,
    CLIENT,
    CLOSING_ABORTED,
    CONNECTION_SIZE,
    E_BASE,
    E_BASE_KNOWN,
    E_BYTES,
    E_FINS,
    E_LAST_FLAGS,
    E_OPTIONS,
    E_RSTS,
    E_SEGMENTS,
    E_SYNS,
    E_TSVAL,
    E_WINDOW,
    E_ZERO_WINDOWS,
    MARK_ZERO_WINDOW,
    OPENING_HANDSHAKE,
    OPENING_INCOMPLETE,
    OPENING_MIDSTREAM,
    OPENING_REFUSED,
    OPENING_UNANSWERED,
    OPT_SCALE,
    OPT_TIMESTAMPS,
    ROLE_SYN_ACK,
    SERVER,
    TCP_ACK,
    TCP_FIN,
    TCP_PSH,
    TCP_RST,
    TCP_URG,
)

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator

    from tcptrace_fsm.core.finished import Block
    from tcptrace_fsm.findings.survey import Name
    from tcptrace_fsm.tcp.profiles import Profile

__all__ = ["RULES", "SURVEYS"]

RULES: tuple[Rule, ...] = ()  # what one connection shows is in attack.py

OUTCOMES = {OPENING_REFUSED: "refused", OPENING_UNANSWERED: "unanswered"}
TARGETS = 20  # different listeners that make a scan
WINDOW = 10 * SECOND  # a flood is counted within such a time
FLOOD = 100  # half-open connections within it
STORM = 200  # stray segments within it
FEW_HOSTS = 10  # from fewer hosts, stray RSTs are answers to the one that they are sent to
SERVICES = 1024  # ports below this are services': what comes from there ends a connection that was asked for


# --- scans with SYN ---------------------------------------------------------------------------------------------------


class Scan(Collector):
    """Attempts that came to nothing, by the host that made them.

    A SYN scan is made of SYNs by hand, which bear MSS at most; a connect scan is made by the scanner's system, whose
    SYNs offer window scale or timestamps.
    """

    def __init__(self, profile: Profile, *, by_system: bool) -> None:
        super().__init__(profile)
        self.by_system = by_system

    def see(self, words: array[int], c: int) -> None:
        """An attempt that was refused or unanswered, or a connection that was reset before any data."""
        client, server = end_of(c, CLIENT), end_of(c, SERVER)
        if words[client + E_BYTES] or words[server + E_BYTES] or not words[client + E_SYNS]:
            return
        opening = words[c + C_OPENING]
        by_system = words[client + E_OPTIONS] & (OPT_SCALE | OPT_TIMESTAMPS) or opening == OPENING_HANDSHAKE
        what = OUTCOMES.get(opening, "open")
        self.groups.count(
            host_of(words, c, CLIENT),
            lone_of(words, c, socket_of(words, c, SERVER), ("system", what) if by_system else (what,)),
        )

    def finish(self, now: int) -> Iterator[Found]:
        """Hosts that tried many."""
        del now
        for host, group in self.groups.items():
            if len(group.members) < TARGETS or (2 * group.more.get("system", 0) > group.count) is not self.by_system:
                continue
            what = {k: group.more.get(k, 0) for k in ("refused", "unanswered", "open")}
            per_second = len(group.members) * SECOND / max(group.lasted, 1)
            yield Found(
                group,
                CLIENT,
                f"{name(host)} tried {ports_of(group)} in {span(group.lasted)}, {count_of(group.count, 'attempt')} in "
                f"all: {what['refused']:,} refused, "
                f"{what['unanswered']:,} unanswered, {what['open']:,} open and dropped without data",
                None if per_second >= 0.1 else "low",
            )


# --- scans with other flags, and floods of stray segments -------------------------------------------------------------


def prober(words: array[int], c: int, flags: int) -> int | None:
    """The side that sent segments with these flags, and no others, to a peer that answered with RST or not at all."""
    for side in (CLIENT, SERVER):
        own, other = end_of(c, side), end_of(c, 1 - side)
        asks = words[own + E_SEGMENTS]
        fins = asks if flags & TCP_FIN and flags & TCP_ACK else 0
        if (
            0 < asks <= 3
            and words[own + E_LAST_FLAGS] & 63 == flags
            and not words[own + E_BYTES]
            and words[own + E_RSTS] == (asks if flags & TCP_RST else 0)
            and (words[own + E_FINS] == fins or not flags & TCP_ACK)
            and words[other + E_SEGMENTS] == words[other + E_RSTS] <= asks
        ):
            return side
    return None


def port_of(words: array[int], c: int, side: int) -> int:
    """The port of an endpoint."""
    return socket_of(words, c, side)[-1]


class Probes(Collector):
    """Single segments with certain flags, outside of any connection, by the host that sent them.

    Connections that end, or are kept alive, look the same where the capture has one direction of them: bare ACKs and
    FIN+ACKs are probes only where one sender tries many ports of one host from few ports of its own, which are no
    service's, and without the timestamps that a connection's segments bear.
    """

    def __init__(self, profile: Profile, *, flags: int, least: int, text: str) -> None:
        super().__init__(profile)
        self.flags = flags
        self.least = least
        self.text = text
        self.ordinary = bool(flags & TCP_ACK)

    def see(self, words: array[int], c: int) -> None:
        """A connection that was never opened, as far as the capture tells."""
        side = prober(words, c, self.flags)
        if side is None:
            return
        key = host_of(words, c, side)
        if self.ordinary:
            if words[end_of(c, side) + E_TSVAL] >= 0 or port_of(words, c, side) < SERVICES:
                return
            key += host_of(words, c, 1 - side)
        group = self.groups.of(key)
        group.add(words, c, socket_of(words, c, 1 - side))
        group.tally(f"from {port_of(words, c, side)}")
        group.tally("by server", side)
        if words[end_of(c, 1 - side) + E_RSTS]:
            group.tally("reset")

    def finish(self, now: int) -> Iterator[Found]:
        """Hosts that asked enough."""
        del now
        for host, group in self.groups.items():
            if len(group.members) < self.least:
                continue
            sources = sum(what.startswith("from ") for what in group.more)
            if self.ordinary and 4 * sources > len(group.members):
                continue
            yield Found(
                group,
                SERVER if 2 * group.more["by server"] > group.count else CLIENT,
                f"{name(host[:3])} sent {self.text} to {ports_of(group)} that had no connection with it; "
                f"{group.more.get('reset', 0):,} of {count_of(group.count, 'attempt')} were answered with RST: a scan "
                "for open ports",
                None if len(group.members) >= max(3, self.least) else "low",
            )


def count_of(n: int, what: str) -> str:
    """A number of things."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def ports_of(group: Group) -> str:
    """How many ports of how many hosts, in words: a port of two hosts counts once."""
    hosts = len({target[:3] for target in group.members})
    if hosts == 1:
        ports = f"{group.counted} {'port' if group.counted == '1' else 'ports'}"
        return f"{ports} of {name(next(iter(sorted(group.members)))[:3])}"
    different = len({target[-1] for target in group.members})
    return f"{count_of(different, 'port')} of {hosts:,} hosts ({group.counted} pairs of address and port)"


class Storm(Collector):
    """Stray segments with certain flags, by the host that they were sent to."""

    def __init__(self, profile: Profile, *, flags: int, text: str) -> None:
        super().__init__(profile)
        self.flags = flags
        self.text = text

    def see(self, words: array[int], c: int) -> None:
        """A connection that was never opened, as far as the capture tells."""
        side = prober(words, c, self.flags)
        if side is None:
            side = prober(words, c, self.flags | TCP_ACK)
        if side is not None:
            group = self.groups.of(host_of(words, c, 1 - side))
            group.add(words, c, host_of(words, c, side))
            group.tally(f"window {words[c + C_FIRST_TIME] // WINDOW}")
            if words[end_of(c, 1 - side) + E_RSTS]:
                group.tally("reset")

    def finish(self, now: int) -> Iterator[Found]:
        """Hosts that were sent too many at once."""
        del now
        for host, group in self.groups.items():
            peak = group.peak("window ")
            if peak >= STORM:
                # Nobody answers RSTs; ACKs of no connection are answered by them, unless it is the capture that lacks
                # the other direction.
                sure = (
                    len(group.members) >= FEW_HOSTS
                    if self.flags & TCP_RST
                    else 2 * group.more.get("reset", 0) > group.count
                )
                yield Found(
                    group,
                    None,
                    f"{name(host)} was sent {self.text} from {group.counted} hosts on {group.count:,} four-tuples that "
                    f"had no connection, up to {peak:,} of them within {span(WINDOW)}: a flood, or the answers to one "
                    "in its name",
                    None if sure else "low",
                )


class SynFlood(Collector):
    """SYNs that nobody follows up, by listener."""

    def see_all(self, words: array[int], rows: list[int]) -> None:
        """Attempts whose clients did nothing but send SYNs."""
        by_listener: dict[Name, list[int]] = defaultdict(list)
        for c in rows:
            client = c + C_ENDPOINTS
            if words[client + E_SEGMENTS] == words[client + E_SYNS] > 0:
                by_listener[socket_of(words, c, SERVER)].append(c)
        for listener, asked in by_listener.items():
            group = self.groups.of(listener)
            group.add_all(words, asked, [], lambda words, c: host_of(words, c, CLIENT))
            for window, n in Counter([words[c + C_FIRST_TIME] // WINDOW for c in asked]).items():
                group.tally(f"window {window}", n)
            answered = sum(words[end_of(c, SERVER) + E_SEGMENTS] > 0 for c in asked)
            if answered:
                group.tally("answered", answered)

    def finish(self, now: int) -> Iterator[Found]:
        """Listeners that were sent too many at once."""
        del now
        for listener, group in self.groups.items():
            peak = group.peak("window ")
            if peak >= FLOOD:
                lone = len(group.members) == 1
                who = f"one host, {name(min(group.members))}," if lone else f"{group.counted} hosts"
                forged = 2 * len(group.members) > group.count
                what = "a SYN flood" + (", whose addresses are probably forged" if forged else "")
                if lone:
                    what += ", or a client that tries again and again"
                yield Found(
                    group,
                    CLIENT,
                    f"{name(listener)} was sent SYNs from {who} for {group.count:,} connections whose handshakes were "
                    f"never completed, up to {peak:,} of them within {span(WINDOW)}; it answered "
                    f"{group.more.get('answered', 0):,}: {what}",
                    "medium" if lone else None,
                )


class Backscatter(Collector):
    """Answers to SYNs that were not sent, by the host that is sent them."""

    def see(self, words: array[int], c: int) -> None:
        """A connection of which the server's answer was seen, and nothing from the client but RST."""
        client, server = end_of(c, CLIENT), end_of(c, SERVER)
        if words[c + C_ROLE_BASIS] != ROLE_SYN_ACK or words[client + E_SEGMENTS] != words[client + E_RSTS]:
            return
        if words[server + E_SYNS] != words[server + E_SEGMENTS]:
            return
        self.groups.of((0, *host_of(words, c, CLIENT))).add(words, c, host_of(words, c, SERVER))
        self.groups.of((1, *host_of(words, c, SERVER))).add(words, c, host_of(words, c, CLIENT))

    def finish(self, now: int) -> Iterator[Found]:
        """One that is answered by many, or one that answers many."""
        del now
        for (way, *host), group in self.groups.items():
            if len(group.members) < TARGETS // 2:
                continue
            text = f"{group.counted} hosts sent SYN+ACKs to {name(tuple(host))}, which had sent no SYN"
            if way:
                text = f"{name(tuple(host))} sent SYN+ACKs to {group.counted} hosts that had sent no SYN"
            yield Found(
                group,
                SERVER,
                f"{text}, {group.count:,} in {span(group.lasted)}: somebody attacks in the name of "
                f"{'those' if way else 'that host'}",
            )


class Holds(Collector):
    """Clients that open connections and keep their windows shut."""

    def see(self, words: array[int], c: int) -> None:
        """A connection whose client's last window is 0."""
        client = end_of(c, CLIENT)
        if words[client + E_ZERO_WINDOWS] and words[client + E_WINDOW] == 0:
            held = words[c + C_LAST_TIME] - words[c + C_FIRST_TIME]
            if held >= 10 * SECOND:
                self.groups.of(host_of(words, c, CLIENT)).add(words, c, socket_of(words, c, SERVER))

    def finish(self, now: int) -> Iterator[Found]:
        """Clients that do it several times."""
        del now
        for host, group in self.groups.items():
            if group.count >= 5:
                yield Found(
                    group,
                    CLIENT,
                    f"{name(host)} held {group.count:,} connections to {group.counted} listeners whose last word was "
                    f"window 0, within {span(group.lasted)}: each of them binds memory on the server for as long as "
                    "it likes (sockstress)",
                )


class Numbers(Collector):
    """Initial sequence numbers of listeners' hosts, as far as a sample goes."""

    sample = 4096  # connections looked at, the first of the pass
    enough = 64  # numbers of one host

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile)
        self.records: dict[int, array[int]] = {}  # by conn_id

    def block(self, block: Block) -> None:
        """Keep those of the sample."""
        ids = block.column(C_ID)
        if block.first_id >= self.sample:
            return
        words = block.words
        for i, conn_id in enumerate(ids):
            server = end_of(i * CONNECTION_SIZE, SERVER)
            if conn_id < self.sample and words[server + E_BASE_KNOWN] == BASE_SYN and words[server + E_SYNS]:
                self.records[conn_id] = words[i * CONNECTION_SIZE : (i + 1) * CONNECTION_SIZE]

    def merge(self, other: Numbers) -> None:
        """Take what another has seen."""
        self.records |= other.records

    def finish(self, now: int) -> Iterator[Found]:
        """Hosts whose numbers are near to one another."""
        del now
        by_host: dict[Name, dict[Name, int]] = {}
        for _, words in sorted(self.records.items()):
            numbers = by_host.setdefault(host_of(words, 0, SERVER), {})
            # a four-tuple that is used again may well count on from its last number (RFC 6528)
            pair = (*host_of(words, 0, CLIENT), words[C_PORTS])
            if len(numbers) < self.enough and pair not in numbers:
                numbers[pair] = words[end_of(0, SERVER) + E_BASE]
                self.groups.of(host_of(words, 0, SERVER)).add(words, 0)
        for host, numbers in by_host.items():
            values = sorted(numbers.values())
            if len(values) < 10:
                continue
            # The smallest arc of the circle of 32-bit numbers that holds all but one of ten.
            keep = len(values) - len(values) // 10
            around = values + [v + (1 << 32) for v in values]
            width = min(around[i + keep - 1] - around[i] for i in range(len(values)))
            if width < 1 << 26:
                yield Found(
                    self.groups[host],
                    SERVER,
                    f"{name(host)} chose {keep} of {len(values)} initial sequence numbers within {width:,} of one "
                    "another, out of "
                    "4,294,967,296: they can be guessed, and connections forged or reset from afar",
                )


def when_failed(key: Key) -> bool:
    """An attempt that came to nothing, or a connection that was reset."""
    if key.opening in (OPENING_REFUSED, OPENING_UNANSWERED):
        return True
    return key.opening in (OPENING_INCOMPLETE, OPENING_HANDSHAKE) and key.closing == CLOSING_ABORTED


def when_half_open(key: Key) -> bool:
    """An attempt that was not refused and not completed."""
    return key.opening in (OPENING_UNANSWERED, OPENING_INCOMPLETE)


def when_incomplete(key: Key) -> bool:
    """More than SYNs, and no handshake."""
    return key.opening == OPENING_INCOMPLETE


def when_never_opened(key: Key) -> bool:
    """Not opened, as far as the capture tells."""
    return key.opening == OPENING_MIDSTREAM


def when_zero_window(key: Key) -> bool:
    """A window of 0."""
    return bool(key.marks & mask(MARK_ZERO_WINDOW))


def targets(count: int, text: str) -> str:
    """An example with ``count`` listeners on different ports."""
    return "\n".join(
        f"port {50000 + i} {1000 + i}\n{text.format(i / 100, i / 100 + 0.001, i / 100 + 0.002)}" for i in range(count)
    )


def clients(count: int, text: str, *, step: float = 0.01) -> str:
    """An example with ``count`` client hosts."""
    return "\n".join(
        f"addr 10.1.{i // 250}.{i % 250 + 1} "
        f"10.0.0.2\n{text.format(i * step, i * step + step / 4, i * step + step / 2)}"
        for i in range(count)
    )


SYN_PROBE = "{0:.4f} > S 0:0(0) <mss 1460>\n{1:.4f} < R. 0:0(0) ack 1"
SYSTEM_PROBE = "{0:.4f} > S 0:0(0) <mss 1460,scale 7>\n{1:.4f} < R. 0:0(0) ack 1"
HALF = "{0:.4f} > S 0:0(0)\n{1:.4f} < S. 0:0(0) ack 1"
WHOLE = HALF + "\n{2:.4f} > . 1:1(0) ack 1"
SHUT = """
    0.00 > S  0:0(0)
    0.01 < S. 0:0(0)     ack 1
    0.02 > .  1:1(0)     ack 1 win 0
    5.00 < .  1:2(1)     ack 1
    5.01 > .  1:1(0)     ack 1 win 0
    20.0 < .  1:2(1)     ack 1
    20.1 > .  1:1(0)     ack 1 win 0
"""
OPENS = SHUT.replace("20.1 > .  1:1(0)     ack 1 win 0", "20.1 > .  1:1(0)     ack 2 win 5000")


def probe(flags: str) -> str:
    """A segment with these flags, answered by RST."""
    return f"{{0:.4f}} > {flags} 0:0(0){' ack 0' if '.' in flags else ''}\n{{1:.4f}} < R. 0:0(0) ack 1"


def one_source(count: int, text: str) -> str:
    """An example with ``count`` ports of one host, all tried from the same port."""
    return "\n".join(f"port 50000 {1000 + i}\n{text.format(i / 100, i / 100 + 0.001)}" for i in range(count))


def closes(count: int, *, port: int = 80) -> str:
    """Ends of ordinary connections, of which the capture has one direction: FIN+ACK, and the last ACK."""
    text = "{0:.4f} > F. 0:0(0) ack 0\n{1:.4f} > . 1:1(0) ack 1"
    return "\n".join(f"port {port} {40000 + i}\n{text.format(i / 100, i / 100 + 0.02)}" for i in range(count))


def flag_scan(
    kind: str, flags: int, least: int, text: str, shown: str, *, aka: dict[str, str], innocent: str
) -> Survey:
    """The declaration of a scan with segments that open nothing."""
    return Survey(
        kind=kind,
        category="scan",
        severity="medium",
        rfc="RFC 9293 3.10.7.1",
        summary=f"A host looks for open ports with {text}.",
        evidence=f"Lone {text}, answered by RST or by nothing, to {least} or more ports"
        + (
            " of one host, from few ports of the sender, none of them a service's, without timestamps."
            if least > 1
            else " of other hosts; low below 3."
        ),
        innocent=innocent,
        make=partial(Probes, flags=flags, least=least, text=text),
        when=when_never_opened,
        aliases=aka,
        example=one_source(max(3, least), probe(shown)),
        counterexample=closes(30) if least > 1 else targets(3, SYN_PROBE),
    )


NEVER = "None known: no TCP sends such segments."
LATE = "Connections that one side has forgotten, or that were over when the capture began."

SURVEYS = (
    Survey(
        kind="syn_scan",
        category="scan",
        severity="medium",
        rfc="RFC 9293 3.10.7.1",
        summary="A host looks for open ports with SYNs of its own making.",
        evidence="Twenty or more ports of one or several hosts, all refused, unanswered, or reset without data; low "
        "below one in 10 s.",
        innocent="A monitoring system or vulnerability scanner of one's own; a peer-to-peer program with a stale list.",
        make=partial(Scan, by_system=False),
        when=when_failed,
        aliases={"Zeek": "Scan::Port_Scan, Scan::Address_Scan", "nmap": "-sS"},
        example=targets(20, SYN_PROBE),
        counterexample=targets(19, SYN_PROBE),
    ),
    Survey(
        kind="connect_scan",
        category="scan",
        severity="low",
        rfc="RFC 9293 3.10.7.1",
        summary="A host tries one port after another with connections of its system.",
        evidence="As syn_scan, with SYNs that offer window scale or timestamps, or with completed handshakes.",
        innocent="A client with a long list of addresses that are down; service discovery.",
        make=partial(Scan, by_system=True),
        when=when_failed,
        shares="syn_scan",
        aliases={"Zeek": "Scan::Port_Scan, Scan::Address_Scan", "nmap": "-sT"},
        example=targets(20, SYSTEM_PROBE),
        counterexample=targets(20, SYN_PROBE),
    ),
    flag_scan(
        "null_scan",
        0,
        1,
        "segments without any flag",
        "-",
        aka={"nmap": "-sN", "conntrack": "invalid flags"},
        innocent=NEVER,
    ),
    flag_scan(
        "fin_scan", TCP_FIN, 1, "FINs without ACK", "F", aka={"nmap": "-sF", "Zeek": "history F"}, innocent=NEVER
    ),
    flag_scan(
        "xmas_scan",
        TCP_FIN | TCP_PSH | TCP_URG,
        1,
        "segments with FIN, PSH and URG",
        "FPU",
        aka={"nmap": "-sX"},
        innocent=NEVER,
    ),
    flag_scan("maimon_scan", TCP_FIN | TCP_ACK, 5, "FIN+ACKs", "F.", aka={"nmap": "-sM"}, innocent=LATE),
    flag_scan(
        "ack_scan", TCP_ACK, 10, "bare ACKs", ".", aka={"nmap": "-sA, and -sW, which sends the same"}, innocent=LATE
    ),
    Survey(
        kind="syn_flood",
        category="scan",
        severity="high",
        rfc="RFC 4987 2",
        summary="A listener is flooded with SYNs that nobody follows up.",
        evidence="A hundred or more attempts within 10 s at one listener whose clients sent nothing but SYNs.",
        innocent="A crowd of clients at a server that is down or overloaded; a capture that misses the clients' ACKs.",
        make=SynFlood,
        when=when_half_open,
        aliases={"Suricata": "3whs_syn_flood", "Linux": "possible SYN flooding on port"},
        example=clients(100, HALF),
        counterexample=clients(100, WHOLE),
    ),
    Survey(
        kind="ack_flood",
        category="scan",
        severity="high",
        rfc="RFC 9293 3.10.7.1",
        summary="A host is flooded with ACKs that belong to no connection.",
        evidence="Two hundred or more four-tuples within 10 s with bare ACKs to one host and no connection.",
        innocent="A server that has just restarted, and whose many clients go on.",
        make=partial(Storm, flags=TCP_ACK, text="bare ACKs"),
        when=when_never_opened,
        example=clients(200, "{0:.4f} > . 0:0(0) ack 0\n{1:.4f} < R 0:0(0)"),
        counterexample=clients(200, WHOLE),
    ),
    Survey(
        kind="rst_flood",
        category="scan",
        severity="high",
        rfc="RFC 9293 3.5.3",
        summary="A host is flooded with RSTs that belong to no connection.",
        evidence="Two hundred or more four-tuples within 10 s with RSTs to one host and no connection.",
        innocent="The answers to a scan, or to a flood in that host's name, of which the capture holds one direction.",
        make=partial(Storm, flags=TCP_RST, text="RSTs"),
        when=when_never_opened,
        example=clients(200, "{0:.4f} > R 0:0(0)"),
        counterexample=clients(150, "{0:.4f} > R 0:0(0)"),
    ),
    Survey(
        kind="backscatter",
        category="scan",
        severity="info",
        rfc="RFC 9293 3.5.1",
        summary="Answers come to hosts that have not asked: somebody uses their addresses.",
        evidence="SYN+ACKs without a SYN, and nothing back but RST, from ten or more hosts to one, or from one to ten "
        "or more.",
        innocent="A capture of one direction only, or one that began in the middle of a burst.",
        make=Backscatter,
        when=when_incomplete,
        aliases={"Zeek": "RSTRH", "CAIDA": "backscatter"},
        example=clients(10, "{0:.4f} < S. 0:0(0) ack 1\n{1:.4f} > R 1:1(0)"),
        counterexample=clients(10, "{0:.4f} < S. 0:0(0) ack 1\n{1:.4f} > . 1:1(0) ack 1"),
    ),
    Survey(
        kind="zero_window_hold",
        category="scan",
        severity="high",
        rfc="RFC 9293 3.8.6.1, RFC 6429",
        summary="A client keeps many connections open with its window shut.",
        evidence="Five or more connections of one client, each of 10 s or more, whose last announced window is 0.",
        innocent="A client machine that is suspended or overloaded.",
        make=Holds,
        when=when_zero_window,
        aliases={"CVE-2008-4609": "sockstress"},
        example=many(5, SHUT),
        counterexample=many(5, OPENS),
    ),
    Survey(
        kind="sequence_prediction_isn",
        category="scan",
        severity="medium",
        rfc="RFC 6528 3",
        summary="A host's initial sequence numbers are close together: they can be guessed.",
        evidence="Nine tenths of ten or more ISNs of one host, on different four-tuples, within 1/64 of the number "
        "space.",
        innocent="A simulator or test; hosts older than RFC 6528.",
        make=Numbers,
        every=True,
        aliases={"nmap": "TCP Sequence Prediction"},
        example="\n".join(
            f"isn 1 {64000 * i + 9}\n" + many(1, "0 > S 0:0(0)\n0.001 < S. 0:0(0) ack 1", first=41000 + i, start=i)
            for i in range(10)
        ),
        counterexample="\n".join(
            f"isn 1 {429000000 * i + 9}\n" + many(1, "0 > S 0:0(0)\n0.001 < S. 0:0(0) ack 1", first=41000 + i, start=i)
            for i in range(10)
        ),
    ),
)
