"""Surveys of scans: one host that asks many ports."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tcptrace_fsm.core.grouping import Field, words_in_common
from tcptrace_fsm.core.room import zeros
from tcptrace_fsm.findings.attempts import HOST, PAIR, OfAttempts
from tcptrace_fsm.findings.lone import Lone
from tcptrace_fsm.findings.rule import SECOND, Key, Rule, span
from tcptrace_fsm.findings.survey import Found, Group, Survey, name
from tcptrace_fsm.kernels.layout import (
    A_OPENING,
    A_OPTIONS,
    A_PORT,
    A_SIDE,
    ATTEMPT_SIZE,
    CLIENT,
    CLOSING_ABORTED,
    OPENING_HANDSHAKE,
    OPENING_INCOMPLETE,
    OPENING_MIDSTREAM,
    OPENING_REFUSED,
    OPENING_UNANSWERED,
    OPT_SCALE,
    OPT_TIMESTAMPS,
    SERVER,
    TCP_ACK,
    TCP_FIN,
    TCP_PSH,
    TCP_URG,
)
from tcptrace_fsm.kernels.strays import find_probes

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator

    from tcptrace_fsm.findings.attempts import Columns
    from tcptrace_fsm.tcp.profiles import Profile

__all__ = ["RULES", "SURVEYS"]

RULES: tuple[Rule, ...] = ()  # what one connection shows is in attack.py


OFFERS = OPT_SCALE | OPT_TIMESTAMPS
WAYS = (Field(A_OPENING), Field(A_OPTIONS))
OUTCOMES = {OPENING_REFUSED: "refused", OPENING_UNANSWERED: "unanswered"}
DROPPED = "accepted and dropped without data"
TARGETS = 20  # different listeners that make a scan
SERVICES = 1024  # ports below this are services': what comes from there ends a connection that was asked for


class Scan(OfAttempts):
    """Attempts that came to nothing, by the host that made them.

    A SYN scan is made of SYNs by hand, which bear MSS at most; a connect scan is made by the scanner's system, whose
    SYNs offer window scale or timestamps.
    """

    def __init__(self, profile: Profile, *, by_system: bool) -> None:
        super().__init__(profile, by=HOST, tell=tell)
        self.by_system = by_system

    def finish(self, now: int) -> Iterator[Found]:
        """Hosts that tried many."""
        del now
        for host, group in self.groups.items():
            if len(group.members) < TARGETS or (2 * group.more.get("system", 0) > group.count) is not self.by_system:
                continue
            outcomes = [f"{group.more[k]:,} {k}" for k in (*OUTCOMES.values(), DROPPED) if group.more.get(k)]
            per_second = len(group.members) * SECOND / max(group.lasted, 1)
            yield Found(
                group,
                CLIENT,
                f"{name(host)} tried {ports_of(group)} in {span(group.lasted)}; {count_of(group.count, 'attempt')} "
                f"came to nothing: {', '.join(outcomes)}",
                None if per_second >= 0.1 else "low",
            )


def tell(group: Group, attempts: Columns) -> None:
    """Count how attempts ended, and which a system made."""
    by_system = 0
    for (opening, options), members in words_in_common(attempts.records, attempts.starts, WAYS):
        group.tally(OUTCOMES.get(opening, DROPPED), len(members))
        if options & OFFERS or opening == OPENING_HANDSHAKE:
            by_system += len(members)
    if by_system:
        group.tally("system", by_system)


def probers(words: array[int], rows: array[int], flags: int, others: int | None = None) -> array[int]:
    """The connections in which one side sent segments with some flags only, and its peer RSTs or nothing.

    Returns
    -------
    array('q')
        Where the record begins, and the side, one after the other; see :func:`tcptrace_fsm.kernels.strays.find_probes`.
    """
    out = zeros(2 * len(rows))
    n = find_probes(len(rows), rows, words, flags, flags if others is None else others, out) if rows else 0
    return out[: 2 * n]


def tell_probes(group: Group, probes: Columns) -> None:
    """Count probes by the port that they came from, and by side, and those that were answered by RST."""
    for (port,), members in words_in_common(probes.records, probes.starts, (Field(A_PORT),)):
        group.tally(f"from {port}", len(members))
    group.tally("by server", sum(probes.records[A_SIDE::ATTEMPT_SIZE]))
    reset = sum(probes.answered)
    if reset:
        group.tally("reset", reset)


class Probes(OfAttempts):
    """Single segments with certain flags, outside of any connection, by the host that sent them.

    Connections that end, or are kept alive, look the same where the capture has one direction of them: bare ACKs and
    FIN+ACKs are probes only where one sender tries many ports of one host from few ports of its own, which are no
    service's, and without the timestamps that a connection's segments bear.
    """

    def __init__(self, profile: Profile, *, flags: int, least: int, text: str) -> None:
        super().__init__(profile, by=PAIR if flags & TCP_ACK else HOST, tell=tell_probes)
        self.flags = flags
        self.least = least
        self.text = text
        self.ordinary = bool(flags & TCP_ACK)

    def see_all(self, words: array[int], rows: array[int]) -> None:
        """Connections that were never opened, as far as the capture tells."""
        self.take_probes(words, probers(words, rows, self.flags), SERVICES)

    def finish(self, now: int) -> Iterator[Found]:
        """Hosts that asked enough."""
        del now
        if self.least == 1:
            self.attempts.trim(self.groups)
        for host, group in self.groups.items():
            if len(group.members) < self.least:
                continue
            sources = sum(what.startswith("from ") for what in group.more)
            if self.ordinary and 4 * sources > len(group.members):
                continue
            reset = group.more.get("reset", 0)
            # Connections that lie idle look so as well, where the capture has one direction of them.
            sure = len(group.members) >= max(3, self.least) and (reset or not self.ordinary)
            yield Found(
                group,
                SERVER if 2 * group.more["by server"] > group.count else CLIENT,
                self.message(name(host[:3]), ports_of(group), reset, group.count),
                None if sure else "low",
            )

    def lone(self, survey: Survey) -> Lone | None:
        """Hosts that asked once."""
        if self.least > 1 or not self.attempts.words:
            return None
        return Lone(survey, self.attempts.words, self.message_of_one, "low")

    def message_of_one(self, host: str, other: str, reset: int) -> str:
        """What is said of a host that asked once."""
        return self.message(host, f"1 port of {other}", reset, 1)

    def message(self, host: str, ports: str, reset: int, count: int) -> str:
        """What is said of a host."""
        what = "a scan for open ports" if count > 1 else "a probe for an open port, or damage on the way"
        return (
            f"{host} sent {self.text} to {ports} that had no connection with it; {reset:,} of "
            f"{count_of(count, 'attempt')} were answered with RST: {what}"
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


def when_failed(key: Key) -> bool:
    """An attempt that came to nothing, or a connection that was reset."""
    if key.opening in (OPENING_REFUSED, OPENING_UNANSWERED):
        return True
    return key.opening in (OPENING_INCOMPLETE, OPENING_HANDSHAKE) and key.closing == CLOSING_ABORTED


def when_never_opened(key: Key) -> bool:
    """Not opened, as far as the capture tells."""
    return key.opening == OPENING_MIDSTREAM


def targets(count: int, text: str) -> str:
    """An example with ``count`` listeners on different ports."""
    return "\n".join(
        f"port {50000 + i} {1000 + i}\n{text.format(i / 100, i / 100 + 0.001, i / 100 + 0.002)}" for i in range(count)
    )


SYN_PROBE = "{0:.4f} > S 0:0(0) <mss 1460>\n{1:.4f} < R. 0:0(0) ack 1"
SYSTEM_PROBE = "{0:.4f} > S 0:0(0) <mss 1460,scale 7>\n{1:.4f} < R. 0:0(0) ack 1"


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
)
