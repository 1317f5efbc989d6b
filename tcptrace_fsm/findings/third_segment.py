"""Rules about what follows a SYN+ACK other than its ACK: nothing, data too early, wrong numbers, a reset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.evidence import reply_time
from tcptrace_fsm.findings.handshake import OPENING, first_plain, first_syn, is_plain, syn_acks
from tcptrace_fsm.findings.needs import BEGINNING, BOTH_DIRECTIONS, BOTH_SYNS, TO_THE_END
from tcptrace_fsm.findings.rule import SECOND, Hit, Key, Rule, View, mask, span
from tcptrace_fsm.kernels.layout import (
    CLIENT,
    CLOSING_ABORTED,
    E_SEGMENTS,
    FACT_DATA_FIRST,
    FACT_RESET_SILENT,
    FACT_SYN_ACK,
    MARK_ACK_UNSEEN,
    MARK_BASE_CHANGED,
    MARK_SPURIOUS,
    MILLISECOND,
    OPENING_HANDSHAKE,
    OPENING_INCOMPLETE,
    OPENING_UNANSWERED,
    SERVER,
)
from tcptrace_fsm.text.counts import count, off_by

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcptrace_fsm.findings.rule import End, Segment

__all__ = ["RULES"]


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
    # A server repeats its SYN+ACK after a second, and again: where it did not, the ACK may only be missing here.
    apart = answers[-1].time - answers[0].time
    repeats = apart >= 9 * SECOND // 10 and (len(answers) > 2 or c.end - answers[-1].time <= 5 * apart)
    severity = None if repeats else "low" if waited >= 3 * SECOND else "info"
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
        f"{c.client.name} sent {count(sum(s.length for s in early), 'byte')} to {c.server.name} before it could "
        "know that the "
        f"connection was open: {then}",
        (syn, *early[1:], *((answer,) if answer else ())),
        # Nobody guesses a server's ISN: this capture shows the SYN+ACK too late, or not. A server that knows of no
        # connection says so at once. And who has acknowledged by a segment of its own, or echoes a timestamp, had one.
        None if answer is None and denies(c.server, early[0]) and not answered_unseen(c.client, early[0]) else "low",
    )


def denies(end: End, asked: Segment) -> bool:
    """Whether an endpoint answers a segment by a reset: it knows no connection that this is of."""
    return any(s.reply_rst and s.seq == asked.ack and 0 <= s.time - asked.time <= reply_time(end) for s in end.segments)


def answered_unseen(client: End, data: Segment) -> bool:
    """Whether a client has acknowledged a SYN+ACK that is not in the capture before it sent its first data."""
    return data.tsecr > 0 or any(s.ack >= 0 and is_plain(s) and s.frame < data.frame for s in client.segments)


def bad_third(c: View) -> Iterator[Hit]:
    """The first ACK after the SYN+ACK has numbers that the handshake does not allow."""
    answers = syn_acks(c.server)
    syn, ack = first_syn(c), first_plain(c.client)
    if syn is None or not answers or ack is None or not syn.frame < answers[0].frame < ack.frame:
        return
    sent = max([1, *(s.end for s in c.server.segments if answers[0].frame < s.frame < ack.frame and not s.rst)])
    if ack.seq != 1 or ack.ack < 0 or 1 <= ack.ack <= sent:
        return  # what begins beyond the SYN is not the first: a filter left that out
    rst = next((s for s in c.server.segments if s.reply_rst and s.frame > ack.frame and s.seq == ack.ack), None)
    if rst is None and ack.ack > sent:
        return  # more likely the capture misses what it acknowledges
    yield Hit(
        CLIENT,
        ack,
        f"the first ACK of {c.client.name} acknowledges {off_by(ack.ack - 1, least=not ack.ack)} the SYN+ACK of "
        f"{c.server.name} asks for{', which answered with RST' if rst else ''}: it answers another SYN+ACK, or was "
        "forged to confuse a filter",
        (answers[0], *((rst,) if rst else ())),
        None if rst else "medium",
    )


def when_failed(key: Key) -> bool:
    """No handshake was completed."""
    return key.opening == OPENING_INCOMPLETE


def when_misfit(key: Key) -> bool:
    """There was a SYN+ACK, but no handshake, or one with numbers that do not fit."""
    if key.opening == OPENING_UNANSWERED or not key.shows(FACT_SYN_ACK):
        return False
    return key.opening != OPENING_HANDSHAKE or bool(key.marks & mask(MARK_ACK_UNSEEN, MARK_BASE_CHANGED))


def when_aborted(key: Key) -> bool:
    """An RST took part, and all that its sender had said is a handshake."""
    return key.opening in (OPENING_HANDSHAKE, OPENING_INCOMPLETE) and when_reset(key) and key.shows(FACT_RESET_SILENT)


def when_reset(key: Key) -> bool:
    """An RST took part in the end."""
    return key.closing == CLOSING_ABORTED


def when_early(key: Key) -> bool:
    """A SYN+ACK behind what acknowledges it, or no handshake."""
    return key.shows(FACT_DATA_FIRST) and (bool(key.marks & mask(MARK_SPURIOUS)) or when_failed(key))


RULES = (
    Rule(
        kind="half_open_timeout",
        category="open",
        severity="medium",
        rfc="RFC 9293 3.8.3, RFC 4987 2",
        summary="The client never acknowledged the SYN+ACK: the server is left in SYN_RECEIVED.",
        evidence="SYN and SYN+ACK, and nothing but SYNs from the client for a second or more; low where the "
        "SYN+ACK is not repeated, info below 3 s.",
        innocent="A capture that ends, or that misses the client's direction after the SYN.",
        when=when_failed,
        needs=(BOTH_SYNS, TO_THE_END),
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
        kind="abort_on_overflow",
        category="open",
        severity="low",
        rfc="Linux tcp_abort_on_overflow, RFC 9293 3.5.2",
        summary="The server offered the connection and then reset the ACK that completed it.",
        evidence="SYN, SYN+ACK, the ACK of it, and an RST of the server in answer to that; it has said nothing else.",
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
        evidence="A segment with data from the client between its SYN and the SYN+ACK; low where a SYN+ACK follows.",
        innocent="Two directions captured by clocks or queues of their own; a capture that misses the SYN+ACK.",
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
