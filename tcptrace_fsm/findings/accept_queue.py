"""Surveys of listeners that do not complete handshakes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.core.finished import end_of
from tcptrace_fsm.findings.handshake import Handshake
from tcptrace_fsm.findings.hosts import many
from tcptrace_fsm.findings.keys import alike
from tcptrace_fsm.findings.rule import SECOND, Key, Rule, mask, segments_of, span
from tcptrace_fsm.findings.survey import Collector, Found, Survey, host_of, name, socket_of
from tcptrace_fsm.kernels.layout import (
    C_FIRST_TIME,
    C_LIVING,
    C_LOG_HEAD,
    C_MARKS,
    CLIENT,
    E_RETRANSMITTED,
    L_INFO,
    L_MARKS,
    L_NEXT,
    LOG_SIDE_SHIFT,
    MARK_CAPTURE_DUPLICATE,
    MARK_FIN_AGAIN,
    MARK_FIRST_PLAIN,
    MARK_KEEPALIVE,
    MARK_NETWORK_DUPLICATE,
    MARK_RETRANSMISSION,
    MARK_SPURIOUS,
    MARK_SYN_ACK_AGAIN,
    MARK_ZERO_WINDOW_PROBE,
    SERVER,
    TCP_RST,
    TCP_SYN,
)

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator

    from tcptrace_fsm.core.finished import Block

__all__ = ["RULES", "SURVEYS"]

RULES: tuple[Rule, ...] = ()


LEAST_WAITING = 3  # handshakes that a full accept queue keeps waiting at a time
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
    for key, rows in alike(block).items():
        if when_unanswered(key):
            for c, _ in rows:
                words[c + C_HEARD] = treatment(words, c, log)


def treatment(words: array[int], c: int, log: memoryview) -> int:
    """HEARD, UNHEARD_ONCE, UNHEARD or LOST_LATER."""
    if words[c + C_MARKS] & OPEN_AGAIN == OPEN_AGAIN:
        handshake = Handshake(segments_of(words, c, log))
        if handshake.overflown and max(handshake.count, len(handshake.again)) >= 3:
            return UNHEARD  # of two a path that loses much may lose both
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


OPEN_AGAIN = mask(MARK_SYN_ACK_AGAIN, MARK_FIRST_PLAIN)
AGAIN = mask(MARK_RETRANSMISSION, MARK_FIN_AGAIN)
NOT_LOST = mask(MARK_CAPTURE_DUPLICATE, MARK_NETWORK_DUPLICATE, MARK_KEEPALIVE, MARK_ZERO_WINDOW_PROBE, MARK_SPURIOUS)


def when_open_again(key: Key) -> bool:
    """A SYN+ACK was repeated, and the client said something."""
    return key.marks & OPEN_AGAIN == OPEN_AGAIN


def when_unanswered(key: Key) -> bool:
    """A SYN+ACK was repeated and the client said something, or something else was repeated."""
    return when_open_again(key) or bool(key.marks & AGAIN)


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

SURVEYS = (
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
        when=when_unanswered,
        measure=measure_waits,
        aliases={"Linux": "ListenOverflows, ListenDrops"},
        example=many(3, OVERFLOW) + "\nend 10",
        counterexample=many(3, SYN_ACK_LOST) + "\n" + many(3, ONE_LOST, first=42000) + "\nend 10",
    ),
)
