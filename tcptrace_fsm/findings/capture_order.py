"""Surveys of the capture's copies, order and clock."""

from __future__ import annotations

from operator import sub
from typing import TYPE_CHECKING

from tcptrace_fsm.core.finished import end_of
from tcptrace_fsm.findings.lacking import leap
from tcptrace_fsm.findings.rule import SECOND, Key, Rule, mask, span
from tcptrace_fsm.findings.survey import Found, Group
from tcptrace_fsm.findings.whole_capture import One, fault
from tcptrace_fsm.kernels.layout import (
    C_CLOCK_LEAP,
    C_FIRST_TIME,
    C_ID,
    C_LAST_TIME,
    C_MARKS,
    C_ROLE_BASIS,
    C_SYN_ACK_TIME,
    C_SYN_TIME,
    CLIENT,
    CONNECTION_SIZE,
    E_SYNS,
    MARK_CAPTURE_DUPLICATE,
    MARK_TIME_BACK,
    MILLISECOND,
    ROLE_SYN_ACK,
)

if TYPE_CHECKING:
    from tcptrace_fsm.core.finished import Block

__all__ = ["RULES", "SURVEYS"]

RULES: tuple[Rule, ...] = ()


MEASURED = 4096  # connections whose clocks are compared, the first of the pass


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
        if block.is_all(C_CLOCK_LEAP, 0):
            return
        leaps = block.column(C_CLOCK_LEAP)
        if not any(leaps):
            return
        rows = zip(leaps, block.column(C_ID), block.column(C_MARKS), strict=True)
        for i, (jump, conn_id, marks) in enumerate(rows):
            if jump and conn_id < MEASURED:
                if not marks & mask(MARK_TIME_BACK):  # those are counted by that
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
                f"the capture's clock jumped by {span(jump)} or more where the timestamps of both endpoints did not "
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


class Reversed(One):
    """Handshakes whose SYN+ACK was captured before the SYN."""

    def block(self, block: Block) -> None:
        """Those that began with a SYN+ACK, and the SYN within 10 ms."""
        if block.lacks(C_ROLE_BASIS, ROLE_SYN_ACK):
            return
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


def when_twice(key: Key) -> bool:
    """A frame captured twice."""
    return bool(key.marks & mask(MARK_CAPTURE_DUPLICATE))


def when_backwards(key: Key) -> bool:
    """A time earlier than one before it."""
    return bool(key.marks & mask(MARK_TIME_BACK))


STAMPED = """
    0.000 > S  0:0(0)            <ts 1000/0>
    0.100 < S. 0:0(0)     ack 1  <ts 5000/1000>
    0.200 > .  1:1(0)     ack 1  <ts 1200/5000>
    {0:.1f} > F. 1:1(0)     ack 1  <ts 1400/5000>
    {1:.1f} < F. 1:1(0)     ack 2  <ts 5400/1400>
    {2:.1f} > .  2:2(0)     ack 2  <ts 1600/5400>
    {3:.1f} < .  2:2(0)     ack 2  <ts 5600/1600>
"""

SURVEYS = (
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
