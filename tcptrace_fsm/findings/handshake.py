"""Rules about a server that repeats its SYN+ACK although the ACK of it had passed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.lacking import may_skip_packets
from tcptrace_fsm.findings.needs import BOTH_SYNS, TO_THE_END
from tcptrace_fsm.findings.rule import SECOND, Hit, Key, Rule, View, mask, span
from tcptrace_fsm.kernels.layout import (
    C_LOCAL,
    C_VANTAGE,
    CLIENT,
    E_RTT_MIN,
    END_STACK,
    MARK_ACK_MISSING,
    MARK_CAPTURE_DUPLICATE,
    MARK_FIRST_PLAIN,
    MARK_STRAY_SYN,
    MARK_SYN_ACK_AGAIN,
    SERVER,
    STACK_LINUX,
    TCP_RST,
    TCP_SYN,
    VANTAGE_NEAR_SERVER,
    WHO_SERVER,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcptrace_fsm.findings.rule import End, Segment

__all__ = ["RULES", "Handshake"]

DEFERRED = 8 * SECOND  # no timer that a lost SYN+ACK starts first runs out so late (RFC 6298 section 2.1: 1 s)


def syn_acks(end: End) -> list[Segment]:
    """The SYN+ACKs of an endpoint, without copies that the capture made."""
    return [s for s in end.segments if s.syn_ack and not s.has(MARK_CAPTURE_DUPLICATE)]


def first_syn(c: View) -> Segment | None:
    """The client's first SYN."""
    return next((s for s in c.client.segments if s.syn and not s.has(MARK_STRAY_SYN)), None)


def is_plain(s: Segment) -> bool:
    """Neither SYN nor RST, and no copy that the capture made."""
    return not s.flags & (TCP_SYN | TCP_RST) and not s.has(MARK_CAPTURE_DUPLICATE)


def first_plain(end: End) -> Segment | None:
    """The first segment of an endpoint that is neither SYN nor RST."""
    return next((s for s in end.segments if is_plain(s)), None)


class Handshake:
    """A handshake in which the server repeats its SYN+ACK although the ACK of it had passed here."""

    def __init__(self, segments: list[Segment]) -> None:
        self.client = [s for s in segments if s.side == CLIENT]
        self.server = [s for s in segments if s.side == SERVER]
        self.answers = [s for s in self.server if s.syn_ack and not s.has(MARK_CAPTURE_DUPLICATE) and not s.seq]
        self.ack = next((s for s in self.client if is_plain(s)), None)
        self.again: list[Segment] = []
        self.ignored: list[Segment] = []
        if self.ack is None or not self.answers or self.ack.frame < self.answers[0].frame:
            return
        # an ACK that is still under way to the server when that repeats itself was not lost
        way = max(SECOND // 5, 2 * (self.answers[0].time - segments[0].time))
        after = self.ack.time + way
        # ... and once the server has said anything else, it is open: a SYN+ACK that comes later is an old copy
        opened = self.reaction.frame if self.reaction else self.server[-1].frame + 1
        self.again = [s for s in self.answers[1:] if s.has(MARK_SYN_ACK_AGAIN) and s.time >= after and s.frame < opened]
        if self.again:
            last = self.again[-1].frame
            self.ignored = [s for s in self.client if is_plain(s) and s.frame < last]

    @property
    def count(self) -> int:
        """How many segments of the client the server did not react to, each of which should have opened it."""
        return sum(s.run for s in self.ignored)

    @property
    def data(self) -> bool:
        """Whether there were data among them: a run of plain segments tells only by what follows it."""
        following = next((s for s in self.client if is_plain(s) and s.frame > self.again[-1].frame), None)
        return any(s.length for s in self.ignored) or (following is not None and following.seq > 1)

    @property
    def reaction(self) -> Segment | None:
        """The first segment from the server that shows it open, or gone."""
        return next((s for s in self.server if not s.flags & TCP_SYN), None)

    @property
    def deferred(self) -> bool:
        """Whether the server seems to wait for data before it opens.

        Linux sends no SYN+ACK again while it waits for them, but one at the end of that time.
        """
        if not self.again or self.data or self.reaction is None or self.reaction.rst:
            return False
        first = self.again[0].time - self.answers[0].time
        if first >= DEFERRED and self.again[0] is self.answers[1]:
            return True
        return first > 5 * SECOND // 2 and self.reaction.ack > 1

    @property
    def overflown(self) -> bool:
        """Whether the server saw what should have opened it, and would not: not once, but twice or more."""
        often = self.count >= 3 or len(self.again) >= 3 or (self.count == 2 and len(self.again) == 2)
        return bool(self.again) and often and not self.deferred


def lost_before(c: View) -> Iterator[Hit]:
    """The first words of the client are not its ACK of the SYN+ACK: that did not pass here."""
    first = next((s for s in c.client.segments if s.has(MARK_ACK_MISSING)), None)
    answer = next((s for s in c.server.segments if s.syn_ack), None)
    if first is None or answer is None or first.frame < answer.frame:
        return
    if any(not s.flags & TCP_SYN for s in c.server.segments if s.frame < first.frame):
        return  # the server has opened: the ACK had arrived, and the capture lacks it
    wait = first.time - answer.time
    linux = c.client[END_STACK] == STACK_LINUX
    if first.ip_id > 0 and (linux or may_skip_packets(c.client)):  # else it may not count its packets
        why = "its packets' numbers skip one"
    elif wait - max(c.server[E_RTT_MIN], 0) > (
        SECOND // 4 if linux else SECOND // 2
    ):  # TCP_DELACK_MAX; RFC 9293 3.8.6.3
        why = "no TCP holds back an ACK for so long"
    else:
        return
    yield Hit(
        CLIENT,
        first,
        f"the ACK with which {c.client.name} completed the handshake did not pass here: {why}, and "
        f"{'its FIN' if first.fin else 'data'} came first, {span(wait)} after the SYN+ACK; it was lost before, or the "
        "capture lacks it",
        (answer,),
    )


def third_ack_lost(c: View) -> Iterator[Hit]:
    """The SYN+ACK comes again although its ACK had passed here, and then all is well; or the ACK did not pass here."""
    yield from lost_before(c)
    h = Handshake(c.segments)
    if not h.again or h.deferred or h.overflown or h.ack is None:
        return
    yield Hit(
        CLIENT,
        h.again[0],
        f"the ACK with which {c.client.name} completed the handshake was lost: {c.server.name} repeated its SYN+ACK "
        f"{span(h.again[0].time - h.ack.time)} after that ACK had passed here",
        (h.ack, *h.again[1:]),
    )


def accept_queue_overflow(c: View) -> Iterator[Hit]:
    """ACKs and data reach the server, which stays in SYN_RECEIVED all the same."""
    h = Handshake(c.segments)
    if not h.overflown or h.ack is None:
        return
    reaction = h.reaction
    if reaction is None:
        end = f"and has not opened in {span(c.end - h.ack.time)}"
    elif reaction.rst:
        end = f"and reset after {span(reaction.time - h.ack.time)}"
    else:
        end = f"and opened only after {span(reaction.time - h.ack.time)}"
    data = ", data among them," if h.data else ""
    at_server = c[C_LOCAL] == WHO_SERVER
    why = (
        "its accept queue is full, because the application does not accept() fast enough or the backlog is small"
        if at_server
        else "its accept queue is full, or what the client sends is lost between here and there"
    )
    doubtful = "medium" if c[C_VANTAGE] == VANTAGE_NEAR_SERVER and h.count > 2 else "low"
    yield Hit(
        SERVER,
        h.again[0],
        f"{c.server.name} did not react to {h.count} segments{data} of {c.client.name} that should have completed the "
        f"handshake, repeated its SYN+ACK {len(h.again)} times {end}: {why}",
        (h.ack, *h.again[1:]),
        doubtful if not at_server else None if h.data or h.count >= 4 else "medium",
    )


def defer_accept(c: View) -> Iterator[Hit]:
    """ACKs are ignored, the first data are not."""
    h = Handshake(c.segments)
    if h.deferred and h.ack and h.reaction:
        yield Hit(
            SERVER,
            h.again[0],
            f"{c.server.name} ignored the bare ACK of {c.client.name}, repeated its SYN+ACK {len(h.again)} "
            f"{'time' if len(h.again) == 1 else 'times'} and opened with the first data, "
            f"{span(h.reaction.time - h.ack.time)} "
            "later: it seems to use TCP_DEFER_ACCEPT",
            (h.ack, *h.again[1:], h.reaction),
        )


def when_again(key: Key) -> bool:
    """A SYN+ACK was repeated."""
    return bool(key.marks & mask(MARK_SYN_ACK_AGAIN))


def when_lost(key: Key) -> bool:
    """A SYN+ACK was repeated and the client said something, or its first ACK did not pass here."""
    return when_open_again(key) or bool(key.marks & mask(MARK_ACK_MISSING))


def when_open_again(key: Key) -> bool:
    """A SYN+ACK was repeated, and the client said something."""
    return when_again(key) and bool(key.marks & mask(MARK_FIRST_PLAIN))


OPENING = """
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)     ack 1
            0.020 > .  1:1(0)     ack 1
"""

RULES = (
    Rule(
        kind="third_ack_lost",
        category="open",
        severity="low",
        rfc="RFC 9293 3.8.1",
        summary="The ACK that completes the handshake was lost, behind the capture point or before it.",
        evidence="A SYN+ACK repeated once, a retransmission time after the ACK of it had passed. Or the first segment "
        "of the client behind the SYN+ACK has data or a FIN, while its IPv4 identification skips one; or, where it has "
        "none, comes later than any TCP holds back an ACK.",
        innocent="A server that ignores the ACK for a while: a full accept queue, TCP_DEFER_ACCEPT; a capture that "
        "lacks the ACK.",
        when=when_lost,
        needs=(BOTH_SYNS,),
        detect=third_ack_lost,
        example=OPENING
        + """
            1.010 < S. 0:0(0)     ack 1
            1.020 > .  1:1(0)     ack 1
            1.500 > P. 1:101(100) ack 1
            1.510 < .  1:1(0)     ack 101
        """,
        counterexample=(
            """
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)     ack 1
            1.010 < S. 0:0(0)     ack 1
            1.020 > .  1:1(0)     ack 1
            1.500 > P. 1:101(100) ack 1
            1.510 < .  1:1(0)     ack 101
        """,
            OPENING
            + """
            15.30 < S. 0:0(0)     ack 1     # no timer begins at 15 s: accept is deferred
            15.31 > .  1:1(0)     ack 1
            15.32 < P. 1:12(11)   ack 1
        """,
            """
            0.000 > S  0:0(0)               id 7
            0.010 < S. 0:0(0)     ack 1
            0.320 > P. 1:101(100) ack 1     id 8    # the answer to the SYN+ACK itself, held back
            0.330 < .  1:1(0)     ack 101
            0.420 > .  101:101(0) ack 1     id 9
        """,
            """
            0.000 > S  0:0(0)               id 7
            0.010 < S. 0:0(0)     ack 1
            0.015 < P. 1:101(100) ack 1             # it has opened: the ACK had arrived
            0.120 > P. 1:101(100) ack 1     id 9
            0.130 < .  101:101(0) ack 101
            0.140 > .  101:101(0) ack 101   id 10
        """,
        ),
    ),
    Rule(
        kind="accept_queue_overflow_suspected",
        category="open",
        severity="high",
        rfc="Linux tcp_check_req, RFC 9293 3.10.7.4",
        summary="The server hears the client and does not open: its accept queue seems to be full.",
        evidence="Three or more segments that complete the handshake pass, and the SYN+ACK is repeated all the same, "
        "or two, and it is repeated twice; high only where the server's own host captured, since elsewhere they may "
        "have been lost.",
        innocent="A path that loses everything towards the server from here on.",
        when=when_open_again,
        needs=(BOTH_SYNS, TO_THE_END),
        detect=accept_queue_overflow,
        aliases={"Linux": "ListenOverflows, ListenDrops"},
        example=OPENING
        + """
            0.100 > P. 1:101(100)   ack 1
            0.400 > P. 1:101(100)   ack 1
            1.010 < S. 0:0(0)       ack 1
            1.020 > .  101:101(0)   ack 1
            1.200 > P. 1:101(100)   ack 1
            3.010 < S. 0:0(0)       ack 1
            3.020 > .  101:101(0)   ack 1
            end 10
        """,
        counterexample=(
            OPENING
            + """
            0.100 > P. 1:101(100)   ack 1
            1.010 < S. 0:0(0)       ack 1
            1.020 > .  101:101(0)   ack 1
            1.200 > P. 1:101(100)   ack 1
            1.210 < .  1:1(0)       ack 101
            end 10
        """,
            OPENING
            + """
            0.030 > P. 1:101(100)   ack 1
            0.040 < .  1:1(0)       ack 101
            0.050 > F. 101:101(0)   ack 1
            0.060 < F. 1:1(0)       ack 102
            0.070 > .  102:102(0)   ack 2
            2.270 < S. 0:0(0)       ack 1   # a late copy: the server was open, and is done
            2.271 > .  102:102(0)   ack 2
            2.280 < R  2:2(0)
        """,
        ),
    ),
    Rule(
        kind="defer_accept_suspected",
        category="open",
        severity="info",
        rfc="Linux TCP_DEFER_ACCEPT",
        summary="The server ignored the bare ACK and opened with the first data: it defers accept().",
        evidence="A SYN+ACK repeated late, after a bare ACK had passed, then data that are acknowledged at once.",
        innocent="A full accept queue of a server whose clients speak late.",
        when=when_open_again,
        needs=(BOTH_SYNS,),
        detect=defer_accept,
        aliases={"Linux": "TCP_DEFER_ACCEPT", "FreeBSD": "accf_data"},
        example=OPENING
        + """
            3.010 < S. 0:0(0)     ack 1
            3.020 > .  1:1(0)     ack 1
            4.000 > P. 1:101(100) ack 1
            4.010 < .  1:1(0)     ack 101
        """,
        counterexample=(
            OPENING
            + """
            1.010 < S. 0:0(0)     ack 1
            1.020 > .  1:1(0)     ack 1
            4.000 > P. 1:101(100) ack 1
            4.010 < .  1:1(0)     ack 101
        """,
            OPENING
            + """
            1.010 < S. 0:0(0)     ack 1     # Linux sends none while it waits for data: its queue is full
            1.020 > .  1:1(0)     ack 1
            3.010 < S. 0:0(0)     ack 1
            3.020 > .  1:1(0)     ack 1
            4.000 > P. 1:101(100) ack 1
            4.010 < .  1:1(0)     ack 101
        """,
        ),
    ),
)
