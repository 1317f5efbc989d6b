"""Surveys of the options in SYNs and SYN+ACKs."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from tcptrace_fsm.core.finished import end_of
from tcptrace_fsm.core.grouping import Field, extent_of, in_order, picked, words_in_common
from tcptrace_fsm.findings.hosts import many
from tcptrace_fsm.findings.rule import Rule, span
from tcptrace_fsm.findings.survey import (
    HOST,
    SAMPLE,
    SOCKET,
    Collector,
    Found,
    Group,
    Survey,
    name,
    socket_of,
)
from tcptrace_fsm.kernels.layout import (
    C_ID,
    CLIENT,
    E_OPTIONS,
    E_SYNS,
    OPT_DAMAGED,
    OPT_MSS,
    OPT_SACK_PERMITTED,
    OPT_SCALE,
    OPT_SHORT,
    OPT_TIMESTAMPS,
    SERVER,
)
from tcptrace_fsm.text.counts import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcptrace_fsm.core.finished import Block
    from tcptrace_fsm.findings.survey import Name
    from tcptrace_fsm.tcp.profiles import Profile

    Kind = Name  # options of SYN and SYN+ACK, numbers of SYN and SYN+ACK

__all__ = ["RULES", "SURVEYS"]

RULES: tuple[Rule, ...] = ()


OPTIONS = tuple(Field(end_of(0, side) + word) for word in (E_OPTIONS, E_SYNS) for side in (CLIENT, SERVER))
IN_SAMPLE = (Field(C_ID),)


def kinds_of_options(block: Block) -> list[tuple[Kind, array[int]]]:
    """Which options of SYN and SYN+ACK occur, with which numbers of these, and where such records begin."""
    return [(kind, in_order(some, block.starts)) for kind, some in words_in_common(block.words, block.starts, OPTIONS)]


def parted(words: array[int], rows: array[int]) -> tuple[array[int], array[int]]:
    """Connections of the sample, and others."""
    ids = picked(words, rows, IN_SAMPLE)
    if not ids:
        return rows, array("q")
    low, high = extent_of(ids)
    if ids[high] < SAMPLE:
        return rows, array("q")
    if ids[low] >= SAMPLE:
        return array("q"), rows
    inside = array("q", [c for c, conn_id in zip(rows, ids, strict=True) if conn_id < SAMPLE])
    return inside, array("q", [c for c, conn_id in zip(rows, ids, strict=True) if conn_id >= SAMPLE])


class Options(Collector):
    """SYNs or SYN+ACKs with some peculiarity of their options, in one finding.

    The connections of the sample give members and examples; the others are only counted, at a fraction of the cost.
    """

    def __init__(self, profile: Profile) -> None:
        super().__init__(profile)
        self.odd_sides: dict[Name, tuple[int, ...]] = {}

    def odd(self, client: int, server: int) -> tuple[int, ...]:
        """Which sides are peculiar, given the options of SYN and SYN+ACK."""
        raise NotImplementedError

    def whose(self, kind: Kind) -> tuple[int, ...]:
        """Which sides are peculiar, and were seen to be."""
        pair, syns = kind[:2], kind[2:]
        if pair not in self.odd_sides:
            self.odd_sides[pair] = self.odd(*pair)
        return tuple(side for side in self.odd_sides[pair] if syns[side] and self.fits(*syns))

    def block(self, block: Block) -> None:
        """Few kinds of options occur in a block: where none is odd, no connection is looked at."""
        kinds = block.once("options", kinds_of_options)
        for side in (CLIENT, SERVER):
            odd = array("q")
            for kind, rows in kinds:
                if side in self.whose(kind):
                    odd.extend(rows)
            if not odd:
                continue
            group = self.groups.of((side,))
            if block.first_id >= SAMPLE and 0 <= group.conn_id < block.first_id:
                group.leave(len(odd))
                continue
            group.add_all(block.words, *parted(block.words, odd), SOCKET[side] if side == SERVER else HOST[side])

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
    what, who = ("SYN", "host") if side == CLIENT else ("SYN+ACK", "listener")
    if group.counted == "1":
        return f"{count(group.count, what)} of {name(group.member or ())}"
    return f"{count(group.count, what)} of {group.counted} {who}s (e.g. {name(group.member or ())})"


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
            f"{whose(side, group)} came without an MSS option: whoever answers must send segments of 536 bytes, or "
            "1220 with IPv6; scanners' SYNs are like that"
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
        words = block.words
        for kind, rows in block.once("options", kinds_of_options):
            if self.whose(kind):
                for c in rows:
                    self.groups.of(socket_of(words, c, SERVER)).add(words, c)
            elif kind[CLIENT] & kind[SERVER] & self.offered == self.offered and block.first_id < SAMPLE:
                self.full |= {
                    listener for listener, _ in words_in_common(words, parted(words, rows)[0], SOCKET[SERVER])
                }

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
