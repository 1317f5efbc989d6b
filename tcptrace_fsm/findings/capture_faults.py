"""Surveys of the capture itself: what it misses, what it holds twice, how its clock ran."""

from __future__ import annotations

from itertools import pairwise
from operator import sub
from typing import TYPE_CHECKING, Any

from tcptrace_fsm.core.finished import end_of
from tcptrace_fsm.findings.rule import SECOND, Hit, Key, Rule, View, mask, span
from tcptrace_fsm.findings.survey import Collector, Found, Group, Survey
from tcptrace_fsm.kernels.layout import (
    C_CLOCK_LEAP,
    C_FIRST_TIME,
    C_ID,
    C_LAST_TIME,
    C_LOG_HEAD,
    C_MARKS,
    C_ROLE_BASIS,
    C_SYN_ACK_TIME,
    C_SYN_TIME,
    CLIENT,
    CLOSING_NONE,
    CLOSING_NORMAL,
    CONNECTION_SIZE,
    E_ACK,
    E_HOLE,
    E_HOLES,
    E_NEXT,
    E_OUT_OF_ORDER,
    E_RETRANSMITTED,
    E_RSTS,
    E_SEGMENTS,
    E_SYNS,
    L_INFO,
    L_NEXT,
    L_TIME,
    L_TSVAL,
    LOG_SIDE_SHIFT,
    MARK_ACK_UNSEEN,
    MARK_CAPTURE_DUPLICATE,
    MARK_GAP,
    MARK_ODD_FLAGS,
    MARK_TIME_BACK,
    MILLISECOND,
    OPENING_HANDSHAKE,
    OPENING_INCOMPLETE,
    OPENING_MIDSTREAM,
    OPENING_REFUSED,
    OPENING_UNANSWERED,
    ROLE_SYN_ACK,
    SERVER,
)

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator

    from tcptrace_fsm.core.finished import Block
    from tcptrace_fsm.kernels import Words

__all__ = ["RULES", "SURVEYS"]

MUCH = 10 << 20  # bytes without an ACK
MEASURED = 4096  # connections whose clocks are compared, the first of the pass


class One(Collector):
    """A survey with a single group: a finding about the capture as a whole."""

    @property
    def group(self) -> Group:
        """The group."""
        return self.groups.of(())

    def see(self, words: array[int], c: int) -> None:
        """A connection that shows it."""
        self.group.add(words, c)

    def finish(self, now: int) -> Iterator[Found]:
        """One finding, if anything shows it."""
        if self.group.count:
            yield self.found(self.group, now)

    def found(self, group: Group, now: int) -> Found:
        """The finding."""
        raise NotImplementedError

    @property
    def of_all(self) -> str:
        """How many of the pass's connections, in words."""
        return f"{self.group.count:,} of {self.total:,} connections"


class Midstream(One):
    """Connections whose opening is not in the capture."""

    def see(self, words: array[int], c: int) -> None:
        """One whose ends both spoke, or one that said more than a probe does."""
        segments = words[end_of(c, CLIENT) + E_SEGMENTS], words[end_of(c, SERVER) + E_SEGMENTS]
        if min(segments) > 0 or max(segments) > 3:
            self.group.add(words, c)

    def found(self, group: Group, now: int) -> Found:
        """The finding."""
        del now
        return Found(
            group,
            None,
            f"{self.of_all} were open already when the capture began, or their handshakes are missing: who opened "
            "them, their "
            "options and window scales are not known",
        )


class StillOpen(One):
    """Connections that are open at the end of the capture."""

    def found(self, group: Group, now: int) -> Found:
        """The finding."""
        return Found(
            group,
            None,
            f"{self.of_all} were still open when the capture ended"
            + (f", the first of them {span(now - group.first)} old" if now - group.first >= MILLISECOND else "")
            + ": how they close is not known",
        )


class OneSided(One):
    """Connections of which the capture holds one direction."""

    def see(self, words: array[int], c: int) -> None:
        """One whose visible side reacts to what is not visible."""
        for side in (CLIENT, SERVER):
            own = end_of(c, side)
            if words[end_of(c, 1 - side) + E_SEGMENTS]:
                continue
            said = words[own + E_SEGMENTS] - words[own + E_SYNS] - words[own + E_RSTS]
            opened = words[own + E_SYNS] and words[own + E_ACK] >= 0
            if (said and opened) or (said > 1 and words[own + E_ACK] > 1):
                self.group.add(words, c)
                self.group.tally("server", side)

    def found(self, group: Group, now: int) -> Found:
        """The finding."""
        del now
        servers = group.more["server"]
        way = "to the servers" if not servers else "from the servers" if servers == group.count else "one way or the "
        "other"
        return Found(
            group,
            None,
            f"of {self.of_all} the capture holds one direction only, {way}: a mirror port without the other "
            "direction, or "
            "answers that take another path; what the silent side did is inferred",
            None if 2 * group.count > self.total else "info",
        )


class Dropped(One):
    """Connections of which frames are missing that did arrive."""

    def see(self, words: array[int], c: int) -> None:
        """One with holes that the receiver has acknowledged."""
        missing = holes = 0
        for side in (CLIENT, SERVER):
            own, peer = end_of(c, side), end_of(c, 1 - side)
            if not words[own + E_SEGMENTS] or not words[peer + E_SEGMENTS]:
                return
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


class Twice(One):
    """Connections with frames that the capture holds more than once."""

    def found(self, group: Group, now: int) -> Found:
        """The finding."""
        del now
        much = group.count > 1 and 5 * group.count >= self.total
        return Found(
            group,
            None,
            f"{self.of_all} have frames that were captured more than once within a millisecond: several interfaces of "
            "one "
            "host, or a mirror of both directions; the copies are not counted as retransmissions",
            None if much else "info",
        )


class Backwards(One):
    """Connections whose frames' times run backwards, or jump."""

    def block(self, block: Block) -> None:
        """Those of which it was measured that the clock jumped."""
        leaps = block.column(C_CLOCK_LEAP)
        if not any(leaps):
            return
        for i, (jump, conn_id) in enumerate(zip(leaps, block.column(C_ID), strict=True)):
            if jump and conn_id < MEASURED:
                self.group.add(block.words, i * CONNECTION_SIZE)
                self.group.reach("leap", jump)

    def found(self, group: Group, now: int) -> Found:
        """The finding."""
        del now
        jump = group.most.get("leap")
        if jump:
            return Found(
                group,
                None,
                f"the capture's clock jumped by {span(jump)} where the timestamps of both endpoints did not "
                f"({self.of_all}): "
                "durations across that moment are wrong",
                "medium",
            )
        return Found(
            group,
            None,
            f"{self.of_all} have frames that are stamped earlier than one before them: several queues or interfaces, "
            "or a "
            "clock that was set back; order of close segments may be wrong",
        )


def measure_leaps(block: Block) -> None:
    """Long connections: the capture's clock should agree with the endpoints' timestamps."""
    ids, log, words = block.column(C_ID), block.log, block.words
    if log is None or block.first_id >= MEASURED:
        return
    lasted = map(sub, block.column(C_LAST_TIME), block.column(C_FIRST_TIME))
    for i, (ns, conn_id) in enumerate(zip(lasted, ids, strict=True)):
        if ns >= 10 * SECOND and conn_id < MEASURED:
            words[i * CONNECTION_SIZE + C_CLOCK_LEAP] = leap(words, i * CONNECTION_SIZE, log)


def leap(words: array[int], c: int, log: Words) -> int:
    """By how much the capture's clock ran on in a connection while its endpoints' clocks did not, ns; or 0."""
    stamps: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    r = words[c + C_LOG_HEAD]
    while r >= 0 and len(stamps[0]) + len(stamps[1]) < 1000:
        if log[r + L_TSVAL] >= 0:
            stamps[log[r + L_INFO] >> LOG_SIDE_SHIFT & 1].append((log[r + L_TIME], log[r + L_TSVAL]))
        r = log[r + L_NEXT]
    return min(too_long(stamps[CLIENT]), too_long(stamps[SERVER]))


def too_long(stamps: list[tuple[int, int]]) -> int:
    """The longest wait between segments, less what the timestamps say it was; 0 where they agree or cannot tell."""
    waits = [(after[0] - before[0], after[1] - before[1] & 0xFFFFFFFF) for before, after in pairwise(stamps)]
    if not waits:
        return 0
    wait, ticks = max(waits)
    rates = [t * SECOND / ns for ns, t in waits if ns >= 50 * MILLISECOND and ns != wait and t < 1 << 31]
    # Nobody's clock ticks more slowly than once a second (RFC 7323 section 5.4).
    rate = max(rates, default=1.0)
    surplus = int(wait - ticks * SECOND / max(rate, 1.0))
    return surplus if surplus > 2 * SECOND and 2 * surplus > wait else 0


class Reversed(One):
    """Handshakes whose SYN+ACK was captured before the SYN."""

    def block(self, block: Block) -> None:
        """Those that began with a SYN+ACK, and the SYN within 10 ms."""
        roles = block.column(C_ROLE_BASIS)
        if not roles.count(ROLE_SYN_ACK):
            return
        words = block.words
        for i, role in enumerate(roles):
            c = i * CONNECTION_SIZE
            if role == ROLE_SYN_ACK and words[end_of(c, CLIENT) + E_SYNS]:
                late = words[c + C_SYN_TIME] - words[c + C_SYN_ACK_TIME]
                if 0 <= late < 10 * MILLISECOND:
                    self.group.add(words, c)

    def found(self, group: Group, now: int) -> Found:
        """The finding."""
        del now
        return Found(
            group,
            None,
            f"in {self.of_all} the SYN+ACK stands before its SYN, by less than 10 ms: the two directions were "
            "captured by "
            "queues or interfaces that do not keep order",
        )


def unacked(c: View) -> Iterator[Hit]:
    """Far more data than any window, without an ACK."""
    for end in c.ends:
        waiting = end[E_NEXT] - max(end.peer[E_ACK], 0)
        if end[E_SEGMENTS] and waiting > MUCH and c.segments:
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
    return key.opening != OPENING_HANDSHAKE or key.closing == CLOSING_NONE


def when_midstream(key: Key) -> bool:
    """No opening in the capture, and no scanner's flags."""
    return key.opening == OPENING_MIDSTREAM and not key.marks & mask(MARK_ODD_FLAGS)


def when_open(key: Key) -> bool:
    """Opened, and never closed."""
    never = (OPENING_REFUSED, OPENING_UNANSWERED, OPENING_INCOMPLETE)
    return key.closing == CLOSING_NONE and key.opening not in never and not key.taken_over


def when_lopsided(key: Key) -> bool:
    """Something is missing, from ACKs or from the opening or close."""
    known = key.opening == OPENING_HANDSHAKE and key.closing == CLOSING_NORMAL
    return not known or bool(key.marks & mask(MARK_ACK_UNSEEN))


def when_missing(key: Key) -> bool:
    """A hole, or an ACK of what was not seen."""
    return bool(key.marks & mask(MARK_GAP, MARK_ACK_UNSEEN))


def when_twice(key: Key) -> bool:
    """A frame captured twice."""
    return bool(key.marks & mask(MARK_CAPTURE_DUPLICATE))


def when_backwards(key: Key) -> bool:
    """A time earlier than one before it."""
    return bool(key.marks & mask(MARK_TIME_BACK))


WHOLE = """
    0.000 > S  0:0(0)              <mss 1000>
    0.010 < S. 0:0(0)       ack 1  <mss 1000>
    0.011 > .  1:1(0)       ack 1
    0.020 > P. 1:101(100)   ack 1
    0.030 < P. 1:501(500)   ack 101
    0.031 > .  101:101(0)   ack 501
    0.060 > F. 101:101(0)   ack 501
    0.070 < F. 501:501(0)   ack 102
    0.071 > .  102:102(0)   ack 502
"""


def without(*lines: int) -> str:
    """The whole connection less some of its segments."""
    return "\n".join(line for i, line in enumerate(WHOLE.strip().splitlines()) if i not in lines)


STAMPED = """
    0.000 > S  0:0(0)            <ts 1000/0>
    0.100 < S. 0:0(0)     ack 1  <ts 5000/1000>
    0.200 > .  1:1(0)     ack 1  <ts 1200/5000>
    {0:.1f} > F. 1:1(0)     ack 1  <ts 1400/5000>
    {1:.1f} < F. 1:1(0)     ack 2  <ts 5400/1400>
    {2:.1f} > .  2:2(0)     ack 2  <ts 1600/5400>
    {3:.1f} < .  2:2(0)     ack 2  <ts 5600/1600>
"""


def fault(kind: str, severity: str, rfc: str, summary: str, evidence: str, innocent: str, **more: Any) -> Survey:
    """The declaration of a survey of the capture."""
    return Survey(kind, "capture", severity, rfc, summary, evidence, innocent, **more)


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
        "Connections that opened and show neither FIN nor RST.",
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
    fault(
        "duplicate_capture",
        "low",
        "RFC 791 3.1",
        "The capture holds frames more than once.",
        "A segment with the same numbers and IP identification again within 1 ms; info for less than a fifth of all "
        "connections.",
        'Capturing on "any" with bridges or VLANs; a mirror of ingress and egress.',
        make=Twice,
        when=when_twice,
        aliases={"tcptrace": "hardware dups", "argus": "*"},
        example="""
            0.0000 > S  0:0(0) id 7
            0.0001 > S  0:0(0) id 7
            0.0100 < S. 0:0(0) ack 1
            0.0200 > .  1:1(0) ack 1
        """,
        counterexample="""
            0.0000 > S  0:0(0) id 7
            1.0000 > S  0:0(0) id 8
            1.0100 < S. 0:0(0) ack 1
            1.0200 > .  1:1(0) ack 1
        """,
    ),
    fault(
        "timestamp_regression",
        "low",
        "RFC 7323 5.4",
        "The capture's clock ran backwards or jumped.",
        "A frame stamped earlier than one before it; or a wait that the timestamps of neither endpoint know of, more "
        "than "
        "2 s and half of it, which is medium.",
        "Several capture queues, merged files; both hosts suspended at the same time.",
        make=Backwards,
        when=when_backwards,
        every=True,
        measure=measure_leaps,
        aliases={"tcptrace": "--warn_ooo", "Wireshark": "frame.time_delta < 0"},
        example=STAMPED.format(3600.4, 3600.5, 3600.6, 3600.7),
        counterexample=STAMPED.format(0.4, 0.5, 0.6, 0.7) + "\nend 3700",
    ),
    fault(
        "syn_synack_reversed",
        "low",
        "RFC 9293 3.5",
        "The SYN+ACK stands in the capture before its SYN.",
        "A SYN+ACK, and less than 10 ms after it the SYN that it answers.",
        "Two interfaces or queues, one for each direction.",
        make=Reversed,
        every=True,
        aliases={"Zeek": "flipped roles"},
        example="""
            0.0000 < S. 0:0(0) ack 1
            0.0001 > S  0:0(0)
            0.0200 > .  1:1(0) ack 1
        """,
        counterexample="""
            0.0000 > S  0:0(0)
            0.0001 < S. 0:0(0) ack 1
            0.0200 > .  1:1(0) ack 1
        """,
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
