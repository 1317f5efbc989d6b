"""Rules about resets that come early, stand alone, get lost, are repeated or carry data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.evidence import HANDSHAKE, genuine, times, when_aborted
from tcptrace_fsm.findings.forgotten import when_reset
from tcptrace_fsm.findings.needs import BOTH_DIRECTIONS
from tcptrace_fsm.findings.rule import SECOND, Hit, Key, Rule, Segment, View, mask, span
from tcptrace_fsm.findings.wording import Detected, Wording
from tcptrace_fsm.kernels.layout import (
    CLIENT,
    DETECT_STRAY_RST,
    E_RSTS,
    E_SEGMENTS,
    FACT_RESET_AGAIN,
    FACT_RESET_FIRST,
    FACT_RESET_SILENT,
    FACT_RESET_WITH_DATA,
    MARK_FIN_AGAIN,
    MARK_RETRANSMISSION,
    OPENING_HANDSHAKE,
    OPENING_INCOMPLETE,
    TCP_RST,
    TCP_SYN,
)
from tcptrace_fsm.text.counts import count

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RULES"]

STORM = 10  # resets that answer nothing, one after another
TIMEOUT = SECOND * 190 // 1000  # what is repeated after that is repeated by a timer


def rst_in_handshake(c: View) -> Iterator[Hit]:
    """The client answers the SYN+ACK by RST."""
    syn = next((s for s in c.client.segments if s.syn), None)
    answer = next((s for s in c.server.segments if s.syn_ack), None)
    rst = next((s for s in genuine(c.client.segments) if s.rst), None)
    if syn is None or answer is None or rst is None or not syn.frame < answer.frame < rst.frame:
        return
    if any(not s.flags & (TCP_SYN | TCP_RST) for s in c.client.segments if s.frame < rst.frame):
        return
    yield Hit(
        CLIENT,
        rst,
        f"{c.client.name} asked for a connection, and answered the SYN+ACK of {c.server.name} with RST after "
        f"{span(rst.time - answer.time)}: it had given up, or wanted to know only whether the port is open",
        (syn, answer),
    )


def rst_no_session(c: View) -> Iterator[Hit]:
    """An RST begins the conversation."""
    if c.segments and c.segments[0].rst:
        first = c.segments[0]
        end = c.ends[first.side]
        yield Hit(end.side, first, no_session(end.name, end.peer.name, end[E_RSTS]))


def no_session(name: str, peer: str, often: int) -> str:
    """In words: an RST, so many in all."""
    return f"{name} sent {peer} an RST, and nothing that it answers or ends is in the capture before ({times(often)})"


def word_stray_rst(found: Detected) -> str:
    """The same of what a kernel has detected."""
    return no_session(*found.names(found.side), found.count)


def rst_lost_suspected(c: View) -> Iterator[Hit]:
    """An endpoint that was reset goes on repeating, and is reset once more."""
    for end in c.ends:
        resets = [s for s in genuine(end.segments) if s.rst]
        if len(resets) < 2:
            continue
        first, last = resets[0], resets[-1]
        again = [
            s
            for s in genuine(end.peer.segments)
            if first.time + TIMEOUT <= s.time < last.time and s.has(MARK_RETRANSMISSION, MARK_FIN_AGAIN)
        ]
        if again:
            yield Hit(
                end.side,
                last,
                f"{end.peer.name} repeated data {span(again[0].time - first.time)} after the RST of {end.name}, as if "
                "it had never come, and was reset again: the first RST was lost or not accepted",
                (first, *again),
            )


def rst_storm(c: View) -> Iterator[Hit]:
    """Many RSTs in a row that answer nothing."""
    for end in c.ends:
        if end[E_RSTS] < STORM:
            continue
        resets = [s for s in genuine(end.segments) if s.rst]
        row: list[Segment] = []
        for s in resets:
            row = [*row, s] if row and s.time - row[-1].time < SECOND else [s]
        if len(row) < STORM:
            continue
        if end.peer[E_SEGMENTS] >= len(row):
            continue  # each may answer one of these, which were on their way: plain ones are not in the log
        provoked = sum(s.run for s in end.peer.segments if not s.rst and s.last_time >= row[0].time - SECOND)
        if len(row) - provoked >= STORM:
            yield Hit(
                end.side,
                row[0],
                f"{end.name} sent {count(len(row), 'RST')} within {span(row[-1].time - row[0].time)}, and "
                f"{end.peer.name} no "
                f"more than {count(provoked, 'segment')} that they could answer: something repeats them, or copies "
                "them on the "
                "way",
                row[1:],
            )


def rst_with_data(c: View) -> Iterator[Hit]:
    """An RST that carries payload."""
    for end in c.ends:
        loaded = [s for s in genuine(end.segments) if s.rst and s.length]
        if loaded:
            yield Hit(
                end.side,
                loaded[0],
                f"{end.name} sent {count(loaded[0].length, 'byte')} in an RST to {end.peer.name}: its reason, in "
                "words, perhaps",
                loaded[1:],
            )


def when_handshake_reset(key: Key) -> bool:
    """A reset before the connection was open."""
    opened = key.opening in (OPENING_INCOMPLETE, OPENING_HANDSHAKE)
    return opened and when_aborted(key) and key.shows(FACT_RESET_SILENT)


def when_reset_first(key: Key) -> bool:
    """It begins with a reset."""
    return when_reset(key) and key.shows(FACT_RESET_FIRST)


def when_loaded(key: Key) -> bool:
    """A reset with payload."""
    return when_reset(key) and key.shows(FACT_RESET_WITH_DATA)


def when_reset_again(key: Key) -> bool:
    """Several resets of one side."""
    return when_aborted(key) and key.shows(FACT_RESET_AGAIN)


def when_repeated_after_reset(key: Key) -> bool:
    """A reset, and something repeated."""
    return key.shows(FACT_RESET_AGAIN) and bool(key.marks & mask(MARK_RETRANSMISSION, MARK_FIN_AGAIN))


RULES = (
    Rule(
        kind="rst_in_handshake",
        category="reset",
        severity="low",
        rfc="RFC 9293 3.10.7.4",
        summary="A client answered the SYN+ACK by RST.",
        evidence="SYN, SYN+ACK, then an RST of the client before anything else from it.",
        innocent="A half-open port scan; a client that gave up, or crashed, meanwhile.",
        when=when_handshake_reset,
        needs=(BOTH_DIRECTIONS,),
        detect=rst_in_handshake,
        aliases={"Zeek": "history ShR", "nmap": "SYN scan"},
        example="""
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0) ack 1
            0.020 > R  1:1(0)
        """,
        counterexample=(
            """
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0) ack 1
            0.020 > .  1:1(0) ack 1
            0.030 > R. 1:1(0) ack 1
        """,
            HANDSHAKE
            + """
            0.050 > R. 101:101(0) ack 1
        """,
        ),
    ),
    Rule(
        kind="rst_no_session",
        category="reset",
        severity="info",
        rfc="RFC 9293 3.5.2",
        summary="An RST without anything that it could belong to.",
        evidence="The first segment of a four-tuple is an RST.",
        innocent="A capture that began late, or sees one direction; the answer to a SYN with a forged source.",
        when=when_reset_first,
        detect=rst_no_session,
        wording=Wording(DETECT_STRAY_RST, word_stray_rst),
        aliases={"Zeek": "spontaneous_RST", "Suricata": "rst_but_no_session"},
        example="""
            0.000 < R. 0:0(0) ack 1
        """,
        counterexample="""
            0.000 > S  0:0(0)
            0.001 < R. 0:0(0) ack 1
        """,
    ),
    Rule(
        kind="rst_lost_suspected",
        category="reset",
        severity="low",
        rfc="RFC 9293 3.5.2",
        summary="An RST did not reach its goal: the other side kept repeating, and had to be reset again.",
        evidence="An RST, a retransmission of the peer 190 ms or more later, and another RST.",
        innocent="A firewall that resets one direction only; an RST that its receiver did not accept.",
        when=when_repeated_after_reset,
        needs=(BOTH_DIRECTIONS,),
        detect=rst_lost_suspected,
        example=HANDSHAKE
        + """
            1.000 > P. 101:201(100) ack 1
            1.010 < R. 1:1(0)       ack 201
            1.210 > P. 101:201(100) ack 1
            1.220 < R  1:1(0)
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > P. 101:201(100) ack 1
            1.001 > P. 201:301(100) ack 1   # under way when the RST was sent
            1.010 < R. 1:1(0)       ack 201
            1.011 < R  1:1(0)
        """,
    ),
    Rule(
        kind="rst_storm",
        category="reset",
        severity="medium",
        rfc="RFC 9293 3.5.2",
        summary="RSTs in a row that answer nothing.",
        evidence="Ten RSTs of one endpoint more than the peer's segments, with less than a second between each two.",
        innocent="A mirror port that copies frames; a censor or load balancer that resets with vigour.",
        when=when_reset_again,
        needs=(BOTH_DIRECTIONS,),
        detect=rst_storm,
        aliases={"Zeek": "RST_storm"},
        example=HANDSHAKE + "".join(f"            1.{n:02d}0 > R. 101:101(0) ack 1\n" for n in range(0, 75, 5)),
        counterexample=(
            HANDSHAKE
            + "".join(
                f"            1.{n:02d}0 < P. {20 * n + 1}:{20 * n + 101}(100) ack 101\n            1.{n:02d}1 > R  "
                "101:101(0)\n"
                for n in range(0, 75, 5)
            ),
            HANDSHAKE
            + "".join(f"            1.{n:03d} > P. {20 * n + 101}:{20 * n + 121}(20) ack 1\n" for n in range(20))
            + "            1.020 < F. 1:1(0) ack 101\n"
            + "".join(f"            1.{n:03d} < R  1:1(0)\n" for n in range(21, 41)),
        ),
    ),
    Rule(
        kind="rst_with_data",
        category="reset",
        severity="low",
        rfc="RFC 9293 3.5.3",
        summary="An RST carried data, which its receiver may drop or log.",
        evidence="Payload in an RST.",
        innocent="Allowed (SHLD-2); some systems and firewalls put the reason into it.",
        when=when_loaded,
        detect=rst_with_data,
        aliases={"Suricata": "rst_with_data"},
        example=HANDSHAKE
        + """
            1.000 < R. 1:11(10) ack 101
        """,
        counterexample=HANDSHAKE
        + """
            1.000 < R. 1:1(0) ack 101
        """,
    ),
)
