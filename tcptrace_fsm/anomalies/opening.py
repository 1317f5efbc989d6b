"""Rules about how connections open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.anomalies.rule import SECOND, Hit, Key, Rule, View, span
from tcptrace_fsm.kernels.layout import (
    CF_SIMULTANEOUS_OPEN,
    CLIENT,
    E_SYNS,
    OPENING_REFUSED,
    OPENING_SIMULTANEOUS,
    OPENING_UNANSWERED,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RULES"]


def refused(c: View) -> Iterator[Hit]:
    """An RST answers the SYN."""
    syn = next((s for s in c.segments if s.syn), None)
    rst = next((s for s in c.segments if s.rst and s.side != CLIENT), None)
    if syn and rst:
        tries = c.client[E_SYNS]
        again = f" after {tries} SYNs" if tries > 1 else ""
        yield Hit(
            CLIENT,
            rst,
            f"{c.server.name} refused {c.client.name} with RST{again}, {span(rst.time - syn.time)} after the SYN: "
            "nothing listens on that port, or a firewall rejects",
            (syn,),
        )


def no_response(c: View) -> Iterator[Hit]:
    """SYNs and nothing else."""
    syns = [s for s in c.segments if s.syn]
    if not syns:
        return
    waited = c.end - syns[0].time
    # A lone SYN at the end of the capture may yet be answered.
    severity = None if waited >= 3 * SECOND else "low" if len(syns) > 1 else "info"
    often = f"{len(syns)} SYNs" if len(syns) > 1 else "1 SYN"
    yield Hit(
        CLIENT,
        syns[0],
        f"{c.server.name} never answered {c.client.name}: {often} in {span(syns[-1].time - syns[0].time)}, then "
        f"{span(c.end - syns[-1].time)} of silence; a firewall drops them, the host is down, or the answers take another way",
        syns[1:],
        severity,
    )


def simultaneous(c: View) -> Iterator[Hit]:
    """Both ends sent a SYN without ACK."""
    first = next((s for s in c.client.segments if s.syn), None)
    second = next((s for s in c.server.segments if s.syn), None)
    if first and second:
        yield Hit(
            None,
            second,
            f"{c.client.name} and {c.server.name} opened at the same time: their SYNs crossed {span(second.time - first.time)} apart",
            (first,),
        )


def when_refused(key: Key) -> bool:
    """Refused."""
    return key.opening == OPENING_REFUSED


def when_unanswered(key: Key) -> bool:
    """No segment but SYNs from the client."""
    return key.opening == OPENING_UNANSWERED


def when_simultaneous(key: Key) -> bool:
    """The server sent a SYN of its own."""
    return bool(key.flags & CF_SIMULTANEOUS_OPEN) and key.opening == OPENING_SIMULTANEOUS


RULES = (
    Rule(
        kind="connection_refused",
        category="open",
        severity="low",
        rfc="RFC 9293 3.5.2",
        summary="The server answered the SYN with RST: nobody listens there.",
        evidence="A SYN, then RST+ACK that acknowledges it, and no SYN+ACK.",
        innocent="A firewall that rejects instead of dropping; its TTL often differs from the host's.",
        when=when_refused,
        detect=refused,
        aliases={"Zeek": "REJ", "Wireshark": "completeness 37"},
        example="""
            0.000 > S  0:0(0)
            0.001 < R. 0:0(0) ack 1
        """,
        counterexample="""
            0.000 > S  0:0(0)
            0.001 < S. 0:0(0) ack 1
            0.002 > .  1:1(0) ack 1
            0.003 < R. 1:1(0) ack 1
        """,
    ),
    Rule(
        kind="syn_no_response",
        category="open",
        severity="medium",
        rfc="RFC 9293 3.8.3",
        summary="The SYN, and its repetitions, never got an answer.",
        evidence="Nothing but SYNs from the client, and nothing from the server.",
        innocent="A capture of one direction only; one that ends before the answer; an answer by another path.",
        when=when_unanswered,
        detect=no_response,
        aliases={"Zeek": "S0", "Wireshark": "completeness 1", "conntrack": "UNREPLIED"},
        example="""
            0.000 > S 0:0(0)
            1.000 > S 0:0(0)
            3.000 > S 0:0(0)
            end 7
        """,
        counterexample="""
            0.000 > S  0:0(0)
            1.000 > S  0:0(0)
            1.001 < S. 0:0(0) ack 1
            1.002 > .  1:1(0) ack 1
            end 7
        """,
    ),
    Rule(
        kind="simultaneous_open",
        category="open",
        severity="info",
        rfc="RFC 9293 3.5 (MUST-10)",
        summary="Both ends connected to each other at the same time; one connection came of it.",
        evidence="A SYN without ACK from either end, each sent before the other's could have arrived, and both established.",
        innocent="Rare and legal; peer-to-peer programs do it on purpose to pass NAT.",
        when=when_simultaneous,
        detect=simultaneous,
        aliases={"Zeek": "simultaneous_open", "Suricata": "4whs", "conntrack": "SYN_SENT2"},
        example="""
            0.000 > S  0:0(0)
            0.001 < S  0:0(0)
            0.030 > S. 0:0(0) ack 1
            0.031 < S. 0:0(0) ack 1
            0.060 > .  1:1(0) ack 1
            0.061 < .  1:1(0) ack 1
        """,
        counterexample="""
            0.000 > S  0:0(0)
            0.030 < S. 0:0(0) ack 1
            0.060 > .  1:1(0) ack 1
            0.061 < .  1:1(0) ack 1
        """,
    ),
)
