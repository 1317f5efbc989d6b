"""Surveys of what the capture misses: beginnings, ends, one direction, single frames."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from tcptrace_fsm.core.finished import end_of
from tcptrace_fsm.core.grouping import Field, picked
from tcptrace_fsm.core.room import zeros
from tcptrace_fsm.findings.keys import NEVER_OPENED
from tcptrace_fsm.findings.rule import Hit, Key, Rule, View, mask, span
from tcptrace_fsm.findings.survey import Found, Group
from tcptrace_fsm.findings.whole_capture import WHOLE, One, fault, without
from tcptrace_fsm.kernels.layout import (
    C_MARKS,
    CLIENT,
    CLOSING_HALF_CLOSED,
    CLOSING_NONE,
    CLOSING_NORMAL,
    E_ACK,
    E_HOLE,
    E_HOLES,
    E_NEXT,
    E_OUT_OF_ORDER,
    E_RETRANSMITTED,
    E_RSTS,
    E_SEGMENTS,
    E_SYNS,
    FACT_ESTABLISHED,
    FACT_MUCH_UNACKED,
    MARK_ACK_UNSEEN,
    MARK_GAP,
    MARK_ODD_FLAGS,
    MILLISECOND,
    MUCH_UNACKED,
    OPENING_HANDSHAKE,
    OPENING_MIDSTREAM,
    OPENING_UNANSWERED,
    SERVER,
)
from tcptrace_fsm.kernels.strays import find_heard, find_one_sided

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RULES", "SURVEYS", "one_sided"]

COUNTS = tuple(Field(end_of(0, side) + word) for side in (CLIENT, SERVER) for word in (E_SEGMENTS, E_SYNS, E_RSTS))


class Midstream(One):
    """Connections whose opening is not in the capture."""

    def see_all(self, words: array[int], rows: array[int]) -> None:
        """Those whose ends both spoke, or that said more than a probe does."""
        chosen = zeros(len(rows))
        n = find_heard(len(rows), rows, words, chosen) if rows else 0
        self.group.add_all(words, chosen[:n])

    def found(self, group: Group, now: int) -> Found:
        """The finding."""
        del now
        if self.one:
            text = (
                f"{self.one} goes on without a beginning, from frame {group.frame} on: it was open already when the "
                "capture began, or its handshake is missing; who opened it, its options and window scales are not known"
            )
        else:
            text = (
                f"{self.of_all} go on without a beginning: they were open already when the capture began, or their "
                "handshakes are missing; who opened them, their options and window scales are not known"
            )
        return Found(group, None, text)


class StillOpen(One):
    """Connections that are open at the end of the capture."""

    def see_all(self, words: array[int], rows: array[int]) -> None:
        """All of them."""
        self.group.add_all(words, rows)

    def found(self, group: Group, now: int) -> Found:
        """The finding."""
        age = f"{span(now - group.first)} old" if now - group.first >= MILLISECOND else ""
        if self.one:
            text = f"{self.one} was still open when the capture ended{', ' * bool(age)}{age}: how it closes"
        else:
            first = f", the first of them {age}" if age else ""
            text = f"{self.of_all} were still open when the capture ended{first}: how they close"
        return Found(group, None, f"{text} is not known")


def one_sided(words: array[int], rows: array[int]) -> array[int]:
    """Of the records at ``rows`` those of which one side says nothing, such as visibly react to it.

    Returns
    -------
    array of int64
        Two words for each: where its record begins, and which side is seen.
    """
    out = zeros(2 * len(rows))
    return out[: 2 * find_one_sided(len(rows), rows, words, out)] if rows else out


class OneSided(One):
    """Connections of which the capture holds one direction."""

    def see_all(self, words: array[int], rows: array[int]) -> None:
        """Of those of which one side says nothing, such as visibly react to it."""
        found = one_sided(words, rows)
        if found:
            self.group.add_all(words, found[::2])
            self.group.tally("server", sum(found[1::2]))

    def found(self, group: Group, now: int) -> Found:
        """The finding."""
        del now
        servers = group.more["server"]
        way = "to the servers" if not servers else "from the servers" if servers == group.count else "one way or the "
        "other"
        return Found(
            group,
            None,
            f"the capture holds one direction only of {self.of_all}, {way}: a mirror port without the other direction, "
            "or answers that take another path; what the silent side did is inferred",
            None if 2 * group.count > self.total else "info",
        )


class Dropped(One):
    """Connections of which frames are missing that did arrive."""

    def see_all(self, words: array[int], rows: array[int]) -> None:
        """Of connections in which both spoke."""
        client, server = (picked(words, rows, COUNTS[3 * side :][:1]) for side in (CLIENT, SERVER))
        if any(client) and any(server):
            each = zip(rows, client, server, strict=True)
            super().see_all(words, array("q", [c for c, own, other in each if own and other]))

    def see(self, words: array[int], c: int) -> None:
        """One with holes that the receiver has acknowledged."""
        missing = holes = 0
        for side in (CLIENT, SERVER):
            own, peer = end_of(c, side), end_of(c, 1 - side)
            repaired = words[own + E_RETRANSMITTED] + words[own + E_OUT_OF_ORDER]
            if repaired > words[own + E_HOLES] and not words[c + C_MARKS] & mask(MARK_ACK_UNSEEN):
                continue  # loss on the way: with many holes at a time, those that were filled are not told apart
            for i in range(words[own + E_HOLES]):
                start, stop = words[own + E_HOLE + 2 * i], words[own + E_HOLE + 2 * i + 1]
                taken = min(stop, words[peer + E_ACK]) - start
                if taken > 0:
                    holes += 1
                    missing += taken
        if holes:
            self.group.add(words, c)
            self.group.tally("holes", holes)
            self.group.tally("bytes", missing)

    def found(self, group: Group, now: int) -> Found:
        """The finding."""
        del now
        return Found(
            group,
            None,
            f"{self.of_all} have at least {group.more['holes']:,} holes, {group.more['bytes']:,} bytes in all, that "
            "their "
            "receivers acknowledged: the capture dropped those frames, or they took another path",
            "info" if group.count == 1 else None,
        )


def unacked(c: View) -> Iterator[Hit]:
    """Far more data than any window, without an ACK."""
    for end in c.ends:
        waiting = end[E_NEXT] - max(end.peer[E_ACK], 0)
        if end[E_SEGMENTS] and waiting > MUCH_UNACKED and c.segments:
            last = next((s for s in reversed(end.segments)), c.segments[-1])
            yield Hit(
                end.side,
                last,
                f"{end.name} sent {waiting / (1 << 20):.1f} MiB that {end.peer.name} never acknowledged here: the "
                "capture misses "
                "that direction",
            )


def when_unacked(key: Key) -> bool:
    """Nobody closed it in the ordinary way, or one side is not in the capture."""
    if key.opening == OPENING_UNANSWERED:
        return False
    return key.shows(FACT_MUCH_UNACKED) and (key.opening != OPENING_HANDSHAKE or key.closing == CLOSING_NONE)


def when_midstream(key: Key) -> bool:
    """No opening in the capture, and no scanner's flags."""
    return key.opening == OPENING_MIDSTREAM and not key.marks & mask(MARK_ODD_FLAGS)


def when_open(key: Key) -> bool:
    """Opened, and never closed; or one side was, and the other was to follow."""
    half = key.closing == CLOSING_HALF_CLOSED and key.shows(FACT_ESTABLISHED)
    return (key.closing == CLOSING_NONE or half) and key.opening not in NEVER_OPENED and not key.taken_over


def when_lopsided(key: Key) -> bool:
    """Something is missing, from ACKs or from the opening or close."""
    complete = key.opening == OPENING_HANDSHAKE and key.closing == CLOSING_NORMAL
    return not complete or bool(key.marks & mask(MARK_ACK_UNSEEN))


def when_missing(key: Key) -> bool:
    """A hole, or an ACK of what was not seen."""
    return bool(key.marks & mask(MARK_GAP, MARK_ACK_UNSEEN))


SURVEYS = (
    fault(
        "capture_midstream",
        "info",
        "RFC 9293 3.5",
        "Connections were open already when the capture began.",
        "Connections without SYN and SYN+ACK, whose ends both speak.",
        "Long-lived connections; their state is right from the first segment on, their window scale never.",
        make=Midstream,
        when=when_midstream,
        aliases={"Zeek": "OTH", "Wireshark": "completeness without 1"},
        example=without(0, 1, 2),
        counterexample=WHOLE,
    ),
    fault(
        "capture_truncated_end",
        "info",
        "RFC 9293 3.6",
        "Connections were still open when the capture ended.",
        "Connections that opened and show no RST, and a FIN of one side at most.",
        "Long-lived connections; a host that vanished looks the same.",
        make=StillOpen,
        when=when_open,
        aliases={"Wireshark": "completeness without 16 and 32"},
        example=without(6, 7, 8),
        counterexample=WHOLE,
    ),
    fault(
        "one_sided",
        "low",
        "RFC 9293 3.4",
        "The capture holds one direction of connections that have two.",
        "Nothing from one end, and ACKs from the other that follow what it must have sent; info for less than half of "
        "all.",
        "Asymmetric routes, a mirror port of one direction, a filter with src or dst.",
        make=OneSided,
        when=when_lopsided,
        aliases={"Zeek": "possible_split_routing", "Suricata": "async", "tcptrace": "unidirectional"},
        example=without(1, 4, 7),
        counterexample=WHOLE,
    ),
    fault(
        "capture_drop",
        "low",
        "RFC 9293 3.4",
        "The capture lacks frames that did reach their receivers.",
        "Bytes that were never seen and are acknowledged all the same; info in one connection alone.",
        "Frames that take several paths; a forged ACK.",
        make=Dropped,
        when=when_missing,
        aliases={"Wireshark": "tcp.analysis.ack_lost_segment", "Zeek": "content_gap", "pcapng": "isb_ifdrop"},
        example=without(4),
        counterexample=WHOLE,
    ),
)

RULES = (
    Rule(
        kind="excessive_unacked",
        category="capture",
        severity="info",
        rfc="RFC 9293 3.8.6",
        summary="Far more data passed than any window allows, and no ACK: the capture lacks the other direction.",
        evidence="More than 10 MiB beyond the last ACK that was seen.",
        innocent="A path with more than 10 MiB in flight, and a capture that ends there.",
        when=when_unacked,
        detect=unacked,
        aliases={"Zeek": "excessive_data_without_further_acks"},
        example="""
            0.000 > S  0:0(0)
            0.020 > .  1:1(0)                 ack 1
            0.030 > .  1:6000001(6000000)       ack 1
            0.040 > .  6000001:12000001(6000000) ack 1
        """,
        counterexample="""
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)                 ack 1
            0.020 > .  1:1(0)                 ack 1
            0.030 > .  1:6000001(6000000)       ack 1
            0.035 < .  1:1(0)                 ack 6000001
            0.040 > .  6000001:12000001(6000000) ack 1
        """,
    ),
)
