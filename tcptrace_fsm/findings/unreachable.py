"""Rules about ICMP errors that answer a SYN."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.rule import Hit, Key, Rule, View, mask, span
from tcptrace_fsm.kernels.layout import CLIENT, MARK_ICMP

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RULES"]


def syn_icmp_error(c: View) -> Iterator[Hit]:
    """A router, a firewall or the host itself answers the SYN by an ICMP error that quotes it."""
    syns = [s for s in c.client.segments if s.syn]
    errors = [e for e in c.icmp if e.side == CLIENT and (e.unreachable or e.expired) and e.seq == 0]
    if not syns or not errors:
        return
    first = errors[0]
    asked = next((s for s in reversed(syns) if s.frame < first.frame), None)
    if asked is None or any(s.flags and s.frame < first.frame for s in c.server.segments):
        return  # the server has answered, so that the SYN had arrived
    often = f" to {len(errors)} of its SYNs" if len(errors) > 1 else ""
    yield Hit(
        CLIENT,
        asked,
        f'{first.sender} answered the SYN of {c.client.name} to {c.server.name} by ICMP "{first.name}"{often}, '
        f"{span(first.time - asked.time)} after it",
        errors,
    )


def when_quoted(key: Key) -> bool:
    """An ICMP error quotes a segment."""
    return bool(key.marks & mask(MARK_ICMP))


RULES = (
    Rule(
        kind="syn_icmp_error",
        category="open",
        severity="low",
        rfc="RFC 9293 3.9.2.2, RFC 5461",
        summary="The SYN was answered by an ICMP error: its destination cannot be reached, or this is forbidden.",
        evidence="An ICMP error, destination unreachable or time exceeded, that quotes the SYN, before the server has "
        "said anything.",
        innocent="An error that somebody forged, or that was soon over: the client asks again, and is answered.",
        when=when_quoted,
        detect=syn_icmp_error,
        aliases={"errno": "ECONNREFUSED, EHOSTUNREACH, ENETUNREACH"},
        example="""
            0.000 > S  0:0(0)
            0.002 > icmp 3/13 0           from 10.0.0.9
            1.000 > S  0:0(0)
            1.002 > icmp 3/13 0           from 10.0.0.9
            end 4
        """,
        counterexample=(
            """
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)     ack 1
            0.020 > .  1:1(0)     ack 1
            0.030 > P. 1:1401(1400) ack 1
            0.031 > icmp 3/4 1            mtu 1400 from 10.0.0.9
        """,
            """
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)     ack 1
            0.011 > icmp 3/3 0            from 10.0.0.9     # it had arrived
            0.020 > .  1:1(0)     ack 1
        """,
        ),
    ),
)
