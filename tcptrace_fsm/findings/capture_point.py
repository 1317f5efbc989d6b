"""Surveys of the capture point: next to whom it was, and before or after which network card."""

from __future__ import annotations

from array import array
from functools import partial
from operator import gt
from typing import TYPE_CHECKING

from tcptrace_fsm.core.finished import end_of
from tcptrace_fsm.findings.hosts import many
from tcptrace_fsm.findings.survey import Collector, Found, host_of, name
from tcptrace_fsm.findings.whole_capture import WHOLE, fault
from tcptrace_fsm.kernels.layout import (
    C_ID,
    C_VANTAGE,
    CLIENT,
    CONNECTION_SIZE,
    E_CHECKSUMS,
    E_LONGEST,
    E_MSS,
    E_TTL,
    SERVER,
    SUMS_OFFLOADED,
    VANTAGE_NEAR_CLIENT,
    VANTAGE_NEAR_SERVER,
    VANTAGE_UNKNOWN,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcptrace_fsm.core.finished import Block
    from tcptrace_fsm.findings.rule import Rule
    from tcptrace_fsm.tcp.profiles import Profile

__all__ = ["RULES", "SURVEYS"]

RULES: tuple[Rule, ...] = ()

FIRST_TTLS = (32, 64, 128, 255)  # with which hosts send


def longer(block: Block) -> list[tuple[int, int, int]]:
    """Where the longest payload exceeds the peer's MSS, if that is known: the record, the side, the length."""
    found = []
    for side in (CLIENT, SERVER):
        own, peer = end_of(0, side), end_of(0, 1 - side)
        if block.is_all(own + E_LONGEST, 0):
            continue
        longest, most = block.column(own + E_LONGEST), block.column(peer + E_MSS)
        if max(most, default=0) > 0 and any(map(gt, longest, most)):
            pairs = enumerate(zip(longest, most, strict=True))
            found += [(i * CONNECTION_SIZE, side, sent) for i, (sent, mss) in pairs if sent > mss > 0]
    return found


class Offload(Collector):
    """Hosts whose segments are longer than any that their peers take.

    They were captured before they were cut up, or after they had been put together.
    """

    def __init__(self, profile: Profile, *, receiving: bool) -> None:
        super().__init__(profile)
        self.receiving = receiving

    def block(self, block: Block) -> None:
        """Those that are longer."""
        for c, side, sent in block.once("longer", longer):
            self.take(block.words, c, side, sent)

    def take(self, words: array[int], c: int, side: int, sent: int) -> None:
        """One that is longer: put together by its receiver's card if the capture was taken there."""
        at_peer = words[c + C_VANTAGE] == (VANTAGE_NEAR_SERVER if side == CLIENT else VANTAGE_NEAR_CLIENT)
        routed = words[end_of(c, side) + E_TTL] not in (*FIRST_TTLS, -1)  # its own card is far away
        if ((at_peer or routed) and not words[end_of(c, side) + E_CHECKSUMS] & SUMS_OFFLOADED) is self.receiving:
            group = self.groups.of(())
            group.add(words, c, host_of(words, c, side))
            group.reach("longest", sent)

    def finish(self, now: int) -> Iterator[Found]:
        """One finding for the capture."""
        del now
        for group in self.groups.values():
            one = name(group.member or ())
            what = (
                "put together by the receiving host's card (GRO, LRO)"
                if self.receiving
                else "captured before the sending host's card cut them up (TSO, GSO)"
            )
            yield Found(
                group,
                None,
                f"{group.count:,} of {self.total:,} connections have segments of up to {group.most['longest']:,} "
                f"bytes, longer than their peers' MSS, sent by {group.counted} "
                f"{'host' if group.counted == '1' else 'hosts'}, e.g. {one}: {what}; they are not what was on "
                "the wire",
            )


def vantage(block: Block) -> array[int]:
    """What each connection says about where the capture was taken; nothing where none of them knows."""
    return array("q") if block.is_all(C_VANTAGE, VANTAGE_UNKNOWN) else block.column(C_VANTAGE)


class Vantage(Collector):
    """On whose side the capture was taken."""

    def __init__(self, profile: Profile, *, near: int) -> None:
        super().__init__(profile)
        self.near = near

    def block(self, block: Block) -> None:
        """Votes of connections whose round trips tell."""
        votes = block.once("vantage", vantage)
        n = votes.count(self.near)
        if n:
            group = self.groups.of(())
            group.count += n
            ids = block.column(C_ID)
            if group.conn_id < 0 or block.first_id < group.conn_id:
                first = min((ids[i], i) for i, vote in enumerate(votes) if vote == self.near)
                group.note(block.words, first[1] * CONNECTION_SIZE)
        self.groups.of((0,)).count += votes.count(VANTAGE_NEAR_CLIENT) + votes.count(VANTAGE_NEAR_SERVER)

    def finish(self, now: int) -> Iterator[Found]:
        """If nearly all of those agree."""
        del now
        group = self.groups.get(())
        complete = self.groups.of((0,)).count
        if group and group.count >= 10 and 5 * group.count >= 4 * complete:
            who = "client" if self.near == VANTAGE_NEAR_CLIENT else "server"
            yield Found(
                group,
                CLIENT if who == "client" else SERVER,
                f"the capture was taken next to the {who}s: {group.count:,} of {self.total:,} connections have nearly "
                "all of their "
                f"round trip beyond it; what the {who}s send is seen even where it is lost later",
            )


BEHIND = (
    WHOLE.replace("0.011 >", "0.019 >")
    .replace("0.031 >", "0.039 >")
    .replace("0.010 <", "0.001 <")
    .replace("0.030 <", "0.021 <")
    .replace("0.071 >", "0.095 >")
)

SURVEYS = (
    fault(
        "offload_tx",
        "info",
        "RFC 9293 3.7.1",
        "Segments were captured before the sending host's network card cut them up.",
        "Payloads longer than the peer's MSS, not captured next to their receiver, or with checksums left to the card.",
        "Virtual networks, in which such segments travel whole.",
        make=partial(Offload, receiving=False),
        every=True,
        example=many(
            1,
            WHOLE.replace("1:101(100)", "1:8001(8000)")
            .replace("ack 101", "ack 8001")
            .replace("ack 102", "ack 8002")
            .replace("101:101", "8001:8001")
            .replace("102:102", "8002:8002"),
        ),
        counterexample=WHOLE,
    ),
    fault(
        "offload_rx",
        "info",
        "RFC 9293 3.7.1",
        "Segments were captured after the receiving host had put several together.",
        "Payloads longer than the peer's MSS, captured next to that peer, or with a TTL that routers have lowered.",
        "A router or bridge with receive offload.",
        make=partial(Offload, receiving=True),
        every=True,
        example=WHOLE.replace("< P. 1:501(500)", "< P. 1:5001(5000)")
        .replace("ack 501", "ack 5001")
        .replace("ack 502", "ack 5002")
        .replace("501:501", "5001:5001"),
        counterexample=WHOLE,
    ),
    fault(
        "vantage_near_client",
        "info",
        "RFC 9293 3.8.1",
        "The capture was taken on, or next to, the clients.",
        "Four fifths of ten or more connections whose round trips tell have nearly all of it on the servers' side.",
        "A proxy in front of the servers' side.",
        make=partial(Vantage, near=VANTAGE_NEAR_CLIENT),
        every=True,
        example=many(10, WHOLE, step=0.1),
        counterexample=many(9, WHOLE, step=0.1),
    ),
    fault(
        "vantage_near_server",
        "info",
        "RFC 9293 3.8.1",
        "The capture was taken on, or next to, the servers.",
        "Four fifths of ten or more connections whose round trips tell have nearly all of it on the clients' side.",
        "A proxy in front of the clients' side.",
        make=partial(Vantage, near=VANTAGE_NEAR_SERVER),
        every=True,
        example=many(10, BEHIND, step=0.1),
        counterexample=many(10, WHOLE, step=0.1),
    ),
)
