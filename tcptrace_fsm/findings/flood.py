"""Surveys of floods, of answers to forged SYNs, and of what else makes a server vulnerable."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tcptrace_fsm.core.finished import end_of
from tcptrace_fsm.core.grouping import Field, in_order, steps_of, words_in_common
from tcptrace_fsm.findings.attempts import EITHER, LISTENER, TARGET, OfAttempts
from tcptrace_fsm.findings.hosts import many
from tcptrace_fsm.findings.rule import SECOND, Key, Rule, mask, span
from tcptrace_fsm.findings.scan import TARGETS, probers, when_never_opened
from tcptrace_fsm.findings.survey import HOST, Collector, Found, Survey, host_of, name, socket_of
from tcptrace_fsm.kernels.layout import (
    BASE_SYN,
    C_FIRST_TIME,
    C_ID,
    C_LAST_TIME,
    C_PORTS,
    CLIENT,
    CONNECTION_SIZE,
    E_BASE,
    E_BASE_KNOWN,
    E_SYNS,
    E_WINDOW,
    E_ZERO_WINDOWS,
    MARK_ZERO_WINDOW,
    OPENING_INCOMPLETE,
    OPENING_UNANSWERED,
    SERVER,
    TCP_ACK,
    TCP_RST,
)

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator

    from tcptrace_fsm.core.finished import Block
    from tcptrace_fsm.findings.attempts import Columns
    from tcptrace_fsm.findings.groups import Group
    from tcptrace_fsm.findings.survey import Name
    from tcptrace_fsm.tcp.profiles import Profile

__all__ = ["RULES", "SURVEYS"]

RULES: tuple[Rule, ...] = ()


WINDOW = 10 * SECOND  # a flood is counted within such a time
FLOOD = 100  # half-open connections within it
STORM = 200  # stray segments within it
FEW_HOSTS = 10  # from fewer hosts, stray RSTs are answers to the one that they are sent to


class Storm(OfAttempts):
    """Stray segments with certain flags, by the host that they were sent to."""

    def __init__(self, profile: Profile, *, flags: int, text: str) -> None:
        super().__init__(profile, by=TARGET, tell=tell_strays)
        self.flags = flags
        self.text = text

    def see_all(self, words: array[int], rows: array[int]) -> None:
        """Connections that were never opened, as far as the capture tells."""
        self.take_probes(words, probers(words, rows, self.flags, self.flags | TCP_ACK))

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
                    f"had no connection, up to {peak:,} of them within {span(min(WINDOW, group.lasted))}: "
                    "a flood, or the answers to one in its name",
                    None if sure else "low",
                )


def tell_strays(group: Group, attempts: Columns) -> None:
    """Count strays by when they came, and those that were answered by RST."""
    for window, n in steps_of(attempts.firsts, WINDOW):
        group.tally(f"window {window}", n)
    reset = sum(attempts.answered)
    if reset:
        group.tally("reset", reset)


def tell(group: Group, attempts: Columns) -> None:
    """Count attempts by when they were made, and those that were answered."""
    for window, n in steps_of(attempts.firsts, WINDOW):
        group.tally(f"window {window}", n)
    answered = sum(attempts.answered)
    if answered:
        group.tally("answered", answered)


class SynFlood(OfAttempts):
    """SYNs that nobody follows up, by listener."""

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile, by=LISTENER, tell=tell)

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
                    f"never completed, up to {peak:,} of them within {span(min(WINDOW, group.lasted))}; it answered "
                    f"{group.more.get('answered', 0):,}: {what}",
                    # One host that had answers, and did not reset them, may have completed what is not here.
                    ("low" if group.more.get("answered", 0) else "medium") if lone else None,
                )


def tell_nothing(group: Group, attempts: Columns) -> None:
    """Who is told apart is enough."""


class Backscatter(OfAttempts):
    """Answers to SYNs that were not sent, by the host that is sent them, and by that which sends them."""

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile, by=EITHER, tell=tell_nothing)

    def see_all(self, words: array[int], rows: array[int]) -> None:
        """Connections of which the server's answer was seen, and nothing from the client but RST."""
        self.attempts.take_answers(words, rows, self.groups.bound)
        if self.attempts.many:
            self.count()

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


def pair_of(words: array[int], c: int) -> Name:
    """The client's address and both ports: on a four-tuple that is used again a host may count on (RFC 6528)."""
    return (*host_of(words, c, CLIENT), words[c + C_PORTS])


class Numbers(Collector):
    """Initial sequence numbers of listeners' hosts, as far as a sample goes."""

    sample = 4096  # connections looked at, the first of the pass
    enough = 64  # numbers of one host

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile)
        self.records: dict[int, array[int]] = {}  # by conn_id

    def block(self, block: Block) -> None:
        """Keep those of the sample: of each host, with as many of its first connections as are enough."""
        if block.first_id >= self.sample:
            return
        words, known = block.words, end_of(0, SERVER) + E_BASE_KNOWN
        for (*_, basis), members in words_in_common(words, block.starts, (*HOST[SERVER], Field(known))):
            if basis != BASE_SYN:
                continue
            pairs: set[Name] = set()
            for conn_id, c in sorted([(words[c + C_ID], c) for c in in_order(members, block.starts)]):
                if conn_id >= self.sample or len(pairs) == self.enough:
                    break
                if words[end_of(c, SERVER) + E_SYNS] and (pair := pair_of(words, c)) not in pairs:
                    pairs.add(pair)
                    self.records[conn_id] = words[c : c + CONNECTION_SIZE]

    def merge(self, other: Numbers) -> None:
        """Take what another has seen."""
        self.records |= other.records

    def finish(self, now: int) -> Iterator[Found]:
        """Hosts whose numbers are near to one another."""
        del now
        by_host: dict[Name, dict[Name, int]] = {}
        for _, words in sorted(self.records.items()):
            numbers = by_host.setdefault(host_of(words, 0, SERVER), {})
            pair = pair_of(words, 0)
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


def when_half_open(key: Key) -> bool:
    """An attempt that was not refused and not completed."""
    return key.opening in (OPENING_UNANSWERED, OPENING_INCOMPLETE)


def when_incomplete(key: Key) -> bool:
    """More than SYNs, and no handshake."""
    return key.opening == OPENING_INCOMPLETE


def when_zero_window(key: Key) -> bool:
    """A window of 0."""
    return bool(key.marks & mask(MARK_ZERO_WINDOW))


def clients(count: int, text: str, *, step: float = 0.01) -> str:
    """An example with ``count`` client hosts."""
    return "\n".join(
        f"addr 10.1.{i // 250}.{i % 250 + 1} "
        f"10.0.0.2\n{text.format(i * step, i * step + step / 4, i * step + step / 2)}"
        for i in range(count)
    )


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

SURVEYS = (
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
