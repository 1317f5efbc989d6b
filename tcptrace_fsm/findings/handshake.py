"""Rules about the answer to a SYN, and the answer to that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.needs import BEGINNING, BOTH_DIRECTIONS, BOTH_SYNS
from tcptrace_fsm.findings.rule import SECOND, Hit, Key, Rule, View, mask, span
from tcptrace_fsm.kernels.layout import (
    C_LOCAL,
    C_VANTAGE,
    CLIENT,
    CLOSING_ABORTED,
    E_SEGMENTS,
    FACT_DATA_FIRST,
    MARK_ACK_UNSEEN,
    MARK_BASE_CHANGED,
    MARK_CAPTURE_DUPLICATE,
    MARK_FIRST_PLAIN,
    MARK_SPURIOUS,
    MARK_STRAY_SYN,
    MARK_SYN_ACK_AGAIN,
    MILLISECOND,
    OPENING_HANDSHAKE,
    OPENING_INCOMPLETE,
    OPENING_UNANSWERED,
    SERVER,
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


# --- the third segment -----------------------------------------------------------------------------------------------


def half_open(c: View) -> Iterator[Hit]:
    """A SYN+ACK that the client never acknowledges."""
    answers = syn_acks(c.server)
    if not answers or first_syn(c) is None or any(not s.syn for s in c.client.segments):
        return
    if any(not s.syn_ack for s in c.server.segments):
        return
    waited = c.end - answers[0].time
    if waited < SECOND:
        return  # the ACK may yet come
    severity = "info" if len(answers) == 1 and waited < 3 * SECOND else None
    yield Hit(
        CLIENT,
        answers[-1],
        f"{c.client.name} never acknowledged the SYN+ACK of {c.server.name}: sent {len(answers)} "
        f"{'time' if len(answers) == 1 else 'times'}, {span(waited)} of waiting; the SYN was forged, or the SYN+ACK "
        "does not "
        "get through",
        answers[:-1],
        severity,
    )


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
        """Whether the server seems to wait for data before it opens."""
        if not self.again or self.data or self.reaction is None or self.reaction.rst:
            return False
        first = self.again[0].time - self.answers[0].time
        if first >= DEFERRED and self.again[0] is self.answers[1]:
            return True
        patient = len(self.again) > 1 or first > 5 * SECOND // 2
        return patient and self.reaction.ack > 1

    @property
    def overflown(self) -> bool:
        """Whether the server saw what should have opened it, and would not."""
        return bool(self.again) and not self.deferred and (self.count >= 3 or len(self.again) >= 3)


def third_ack_lost(c: View) -> Iterator[Hit]:
    """The SYN+ACK comes again although its ACK had passed here, and then all is well."""
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
    doubtful = "medium" if c[C_VANTAGE] == VANTAGE_NEAR_SERVER else "low"
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


def abort_on_overflow(c: View) -> Iterator[Hit]:
    """The ACK that completes the handshake is answered by RST."""
    answers = syn_acks(c.server)
    ack = first_plain(c.client)
    if not answers or ack is None or ack.frame < answers[0].frame or (ack.seq, ack.ack) != (1, 1):
        return
    rsts = [s for s in c.server.segments if s.rst]
    if not rsts or first_plain(c.server) is not None or any(s.rst for s in c.client.segments):
        return  # it was open; or the client itself had given up
    if any(not s.reply_rst or s.seq != 1 for s in rsts) or rsts[0].frame < ack.frame:
        return
    # What is refused at the ACK is refused a round trip after it.
    way = answers[-1].time - c.segments[0].time
    if not way // 2 <= rsts[0].time - ack.time <= 2 * way + 5 * MILLISECOND:
        return
    yield Hit(
        SERVER,
        rsts[0],
        f"{c.server.name} offered the connection with SYN+ACK and answered the ACK of {c.client.name} with RST "
        f"{span(rsts[0].time - ack.time)} later: its accept queue is full and tcp_abort_on_overflow set, or the "
        "listener was closed in between",
        (answers[-1], ack),
    )


def early_data(c: View) -> Iterator[Hit]:
    """Data from the client before there was an answer to its SYN."""
    syn = first_syn(c)
    if syn is None or not c.server[E_SEGMENTS]:
        return
    answer = next(iter(syn_acks(c.server)), None)
    early = [
        s
        for s in c.client.segments
        if s.length and is_plain(s) and s.frame > syn.frame and (answer is None or s.frame < answer.frame)
    ]
    if not early or (answer is None and first_plain(c.server) is not None):
        return
    ahead = answer.time - early[0].time if answer else None
    then = "no SYN+ACK came at all" if ahead is None else f"{span(ahead)} ahead of the SYN+ACK"
    yield Hit(
        CLIENT,
        early[0],
        f"{c.client.name} sent {sum(s.length for s in early)} bytes to {c.server.name} before it could know that the "
        f"connection was open: {then}",
        (syn, *early[1:], *((answer,) if answer else ())),
        "low" if ahead is not None and ahead < SECOND // 1000 else None,  # frames of two queues in the wrong order
    )


def bad_third(c: View) -> Iterator[Hit]:
    """The first ACK after the SYN+ACK has numbers that the handshake does not allow."""
    answers = syn_acks(c.server)
    syn, ack = first_syn(c), first_plain(c.client)
    if syn is None or not answers or ack is None or not syn.frame < answers[0].frame < ack.frame:
        return
    said = max([1, *(s.end for s in c.server.segments if answers[0].frame < s.frame < ack.frame and not s.rst)])
    if ack.ack < 0 or 1 <= ack.ack <= said:
        return
    rst = next((s for s in c.server.segments if s.reply_rst and s.frame > ack.frame and s.seq == ack.ack), None)
    if rst is None and ack.ack > said:
        return  # more likely the capture misses what it acknowledges
    yield Hit(
        CLIENT,
        ack,
        f"the first ACK of {c.client.name} acknowledges {ack.ack - 1:+d} from the SYN+ACK of {c.server.name}"
        f"{', which answered with RST' if rst else ''}: it answers another SYN+ACK, or was forged to confuse a filter",
        (answers[0], *((rst,) if rst else ())),
        None if rst else "medium",
    )


def when_again(key: Key) -> bool:
    """A SYN+ACK was repeated."""
    return bool(key.marks & mask(MARK_SYN_ACK_AGAIN))


def when_open_again(key: Key) -> bool:
    """A SYN+ACK was repeated, and the client said something."""
    return when_again(key) and bool(key.marks & mask(MARK_FIRST_PLAIN))


def when_failed(key: Key) -> bool:
    """No handshake was completed."""
    return key.opening == OPENING_INCOMPLETE


def when_misfit(key: Key) -> bool:
    """There was an answer, but no handshake, or one with numbers that do not fit."""
    if key.opening == OPENING_UNANSWERED:
        return False
    return key.opening != OPENING_HANDSHAKE or bool(key.marks & mask(MARK_ACK_UNSEEN, MARK_BASE_CHANGED))


def when_aborted(key: Key) -> bool:
    """An RST took part, and all that was said is a handshake."""
    return key.opening in (OPENING_HANDSHAKE, OPENING_INCOMPLETE) and when_reset(key)


def when_reset(key: Key) -> bool:
    """An RST took part in the end."""
    return key.closing == CLOSING_ABORTED


def when_early(key: Key) -> bool:
    """A SYN+ACK behind what acknowledges it, or no handshake."""
    return key.shows(FACT_DATA_FIRST) and (bool(key.marks & mask(MARK_SPURIOUS)) or when_failed(key))


OPENING = """
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)     ack 1
            0.020 > .  1:1(0)     ack 1
"""

RULES = (
    Rule(
        kind="half_open_timeout",
        category="open",
        severity="medium",
        rfc="RFC 9293 3.8.3, RFC 4987 2",
        summary="The client never acknowledged the SYN+ACK: the server is left in SYN_RECEIVED.",
        evidence="SYN and SYN+ACK, and nothing but SYNs from the client for a second or more; info below 3 s.",
        innocent="A capture that ends, or that misses the client's direction after the SYN.",
        when=when_failed,
        needs=(BOTH_SYNS,),
        detect=half_open,
        aliases={"Zeek": "S1", "conntrack": "SYN_RECV", "Wireshark": "completeness 3"},
        example="""
            0.00 > S  0:0(0)
            0.01 < S. 0:0(0) ack 1
            1.01 < S. 0:0(0) ack 1
            3.01 < S. 0:0(0) ack 1
            end 8
        """,
        counterexample="""
            0.00 > S  0:0(0)
            0.01 < S. 0:0(0) ack 1
            1.01 < S. 0:0(0) ack 1
            1.02 > .  1:1(0) ack 1
            end 8
        """,
    ),
    Rule(
        kind="third_ack_lost",
        category="open",
        severity="low",
        rfc="RFC 9293 3.8.1",
        summary="The ACK that completes the handshake was lost behind the capture point.",
        evidence="A SYN+ACK repeated a retransmission time after the ACK of it had passed, once or twice.",
        innocent="A server that ignores the ACK for a while: a full accept queue, TCP_DEFER_ACCEPT.",
        when=when_open_again,
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
        ),
    ),
    Rule(
        kind="accept_queue_overflow_suspected",
        category="open",
        severity="high",
        rfc="Linux tcp_check_req, RFC 9293 3.10.7.4",
        summary="The server hears the client and does not open: its accept queue seems to be full.",
        evidence="Three or more segments that complete the handshake pass, and the SYN+ACK is repeated all the same; "
        "high only where the server's own host captured, since elsewhere they may have been lost.",
        innocent="A path that loses everything towards the server from here on.",
        when=when_open_again,
        needs=(BOTH_SYNS,),
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
        evidence="A SYN+ACK repeated late or twice after bare ACKs had passed, then data that are acknowledged at "
        "once.",
        innocent="A full accept queue of a server whose clients speak late.",
        when=when_open_again,
        needs=(BOTH_SYNS,),
        detect=defer_accept,
        aliases={"Linux": "TCP_DEFER_ACCEPT", "FreeBSD": "accf_data"},
        example=OPENING
        + """
            1.010 < S. 0:0(0)     ack 1
            1.020 > .  1:1(0)     ack 1
            3.010 < S. 0:0(0)     ack 1
            3.020 > .  1:1(0)     ack 1
            4.000 > P. 1:101(100) ack 1
            4.010 < .  1:1(0)     ack 101
        """,
        counterexample=OPENING
        + """
            1.010 < S. 0:0(0)     ack 1
            1.020 > .  1:1(0)     ack 1
            4.000 > P. 1:101(100) ack 1
            4.010 < .  1:1(0)     ack 101
        """,
    ),
    Rule(
        kind="abort_on_overflow",
        category="open",
        severity="low",
        rfc="Linux tcp_abort_on_overflow, RFC 9293 3.5.2",
        summary="The server offered the connection and then reset the ACK that completed it.",
        evidence="SYN, SYN+ACK, the ACK of it, and an RST without ACK from the server, which has said nothing else.",
        innocent="A listener that was closed in between; a SYN proxy whose own connection behind it failed.",
        when=when_aborted,
        needs=(BOTH_SYNS,),
        detect=abort_on_overflow,
        aliases={"Linux": "tcp_abort_on_overflow"},
        example=OPENING
        + """
            0.030 < R  1:1(0)
        """,
        counterexample=(
            OPENING
            + """
            0.030 < R. 1:1(0)     ack 1
        """,
            OPENING
            + """
            908.0 > P. 1:6(5)     ack 1     # forgotten while it was idle
            908.1 < R  1:1(0)
        """,
            OPENING
            + """
            0.021 > P. 1:13(12)   ack 1
            0.030 < R  1:1(0)
            0.031 < R  12504:12504(0)       # no host that refuses sends such a number
        """,
        ),
    ),
    Rule(
        kind="data_before_established",
        category="open",
        severity="medium",
        rfc="RFC 9293 3.10.7.3",
        summary="The client sent data, without Fast Open, before the answer to its SYN.",
        evidence="A segment with data from the client between its SYN and the SYN+ACK; low where less than 1 ms lies "
        "between.",
        innocent="Frames of several queues captured in the wrong order; a capture that misses the SYN+ACK.",
        when=when_early,
        needs=(BOTH_DIRECTIONS, BEGINNING),
        detect=early_data,
        aliases={"Zeek": "data_before_established", "Suricata": "3whs_ack_data_inject"},
        example="""
            0.000 > S  0:0(0)
            0.001 > P. 1:101(100) ack 1
            0.020 < S. 0:0(0)     ack 1
            0.030 > .  101:101(0) ack 1
            0.040 < .  1:1(0)     ack 101
        """,
        counterexample=OPENING
        + """
            0.021 > P. 1:101(100) ack 1
            0.040 < .  1:1(0)     ack 101
        """,
    ),
    Rule(
        kind="handshake_ack_invalid",
        category="open",
        severity="high",
        rfc="RFC 9293 3.10.7.4",
        summary="The ACK that should complete the handshake acknowledges something else.",
        evidence="The client's first ACK lies outside of what the server had sent, and the server resets it.",
        innocent="The ACK of an older SYN+ACK; where no RST answers, the capture may miss what was acknowledged.",
        when=when_misfit,
        needs=(BOTH_SYNS,),
        detect=bad_third,
        aliases={"Suricata": "3whs_wrong_seq_wrong_ack, 3whs_right_seq_wrong_ack_evasion"},
        example="""
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0) ack 1
            0.020 > .  1:1(0) ack 9999
            0.030 < R  9999:9999(0)
        """,
        counterexample="""
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)     ack 1
            0.020 < P. 1:101(100) ack 1
            0.030 > .  1:1(0)     ack 101
        """,
    ),
)
