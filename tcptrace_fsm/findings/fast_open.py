"""Rules about data in SYNs and TCP Fast Open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.needs import BEGINNING, BOTH_DIRECTIONS
from tcptrace_fsm.findings.rule import Hit, Key, Rule, View, mask, span
from tcptrace_fsm.kernels.layout import (
    CF_FAST_OPEN,
    CLIENT,
    E_OPTIONS,
    MARK_SYN_AGAIN,
    MARK_SYN_DATA,
    OPT_FAST_OPEN,
    OPT_FAST_OPEN_COOKIE,
    SERVER,
)
from tcptrace_fsm.text.counts import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcptrace_fsm.findings.rule import Segment

__all__ = ["RULES"]


def data_syns(c: View) -> list[Segment]:
    """The client's SYNs that carry data."""
    return [s for s in c.client.segments if s.syn and s.length]


def syn_ack_of(c: View) -> Segment | None:
    """The server's first SYN+ACK."""
    return next((s for s in c.server.segments if s.syn_ack), None)


def with_data(c: View) -> Iterator[Hit]:
    """Payload in a SYN that does not ask for Fast Open."""
    syns = data_syns(c)
    if syns and not c.client[E_OPTIONS] & OPT_FAST_OPEN:
        answer = syn_ack_of(c)
        taken = answer is not None and answer.ack > 1
        yield Hit(
            CLIENT,
            syns[0],
            f"{c.client.name} sent {count(syns[0].length, 'byte')} in its SYN to {c.server.name} without Fast Open; "
            "they were "
            f"{'acknowledged by the SYN+ACK' if taken else 'not acknowledged by a SYN+ACK'}",
            syns[1:],
        )


def refused_data(c: View, *, new_cookie: bool) -> Iterator[Hit]:
    """A cookie and data in the SYN, and a SYN+ACK that acknowledges the SYN alone."""
    syns, answer = data_syns(c), syn_ack_of(c)
    if not syns or answer is None or answer.ack != 1 or not c.client[E_OPTIONS] & OPT_FAST_OPEN_COOKIE:
        return
    if bool(c.server[E_OPTIONS] & OPT_FAST_OPEN_COOKIE) is not new_cookie or syns[-1] is not syns[0]:
        return
    if any(s.frame > syns[0].frame and s.frame < answer.frame for s in c.client.segments):
        return  # a plain SYN followed: that may be what is answered
    why = "and gave a new cookie: the old one was stale" if new_cookie else "and gave no reason"
    yield Hit(
        SERVER,
        answer,
        f"{c.server.name} did not take the {count(syns[0].length, 'byte')} that {c.client.name} sent with a Fast "
        "Open cookie "
        f"{why}; "
        f"they have to be sent again, {span(answer.time - syns[0].time)} later",
        syns,
    )


def data_ignored(c: View) -> Iterator[Hit]:
    """No new cookie came with the refusal."""
    yield from refused_data(c, new_cookie=False)


def cookie_rejected(c: View) -> Iterator[Hit]:
    """A new cookie came with the refusal."""
    yield from refused_data(c, new_cookie=True)


def blackhole(c: View) -> Iterator[Hit]:
    """SYNs with Fast Open vanish, a plain one gets through."""
    syns, answer = data_syns(c), syn_ack_of(c)
    plain = next((s for s in c.client.segments if s.syn and not s.length and syns and s.frame > syns[-1].frame), None)
    if not syns or plain is None or answer is None or answer.frame < plain.frame:
        return
    if not c.client[E_OPTIONS] & OPT_FAST_OPEN:
        return
    often = "a SYN" if len(syns) == 1 else f"{len(syns)} SYNs"
    yield Hit(
        CLIENT,
        syns[0],
        f"{often} of {c.client.name} with Fast Open data went unanswered for {span(plain.time - syns[0].time)}; the "
        "plain "
        f"SYN after it was answered by {c.server.name} in {span(answer.time - plain.time)}: something drops Fast Open",
        (*syns[1:], plain),
        None if len(syns) > 1 else "low",  # one lost SYN looks the same
    )


def when_data(key: Key) -> bool:
    """Payload in a SYN."""
    return bool(key.marks & mask(MARK_SYN_DATA))


def when_refused(key: Key) -> bool:
    """Payload in a SYN, and no Fast Open came of it."""
    return when_data(key) and not key.flags & CF_FAST_OPEN


def when_again(key: Key) -> bool:
    """Payload in a SYN, and that SYN had to be repeated."""
    return when_data(key) and bool(key.marks & mask(MARK_SYN_AGAIN))


RULES = (
    Rule(
        kind="syn_with_data",
        category="open",
        severity="low",
        rfc="RFC 9293 3.10.7.2",
        summary="A SYN carries data although Fast Open was not asked for.",
        evidence="Payload in a SYN without the Fast Open option.",
        innocent="Allowed, and queued until the handshake is done; T/TCP, some load balancers' probes and scanners do "
        "it.",
        when=when_data,
        needs=(BEGINNING,),
        detect=with_data,
        aliases={"Zeek": "SYN_with_data", "Wireshark": "tcp.completeness DATA"},
        example="""
            0.000 > S  0:100(100)
            0.010 < S. 0:0(0)       ack 1
            0.020 > .  1:1(0)       ack 1
        """,
        counterexample="""
            0.000 > S  0:100(100)   <tfo>
            0.010 < S. 0:0(0)       ack 101
            0.020 > .  101:101(0)   ack 1
        """,
    ),
    Rule(
        kind="tfo_data_ignored",
        category="open",
        severity="low",
        rfc="RFC 7413 4.2",
        summary="The server did not take the data that came with a Fast Open cookie.",
        evidence="A SYN with cookie and data, and a SYN+ACK without a new cookie that acknowledges the SYN alone.",
        innocent="A server that has switched Fast Open off or has too many such requests pending falls back like this.",
        when=when_refused,
        needs=(BOTH_DIRECTIONS, BEGINNING),
        detect=data_ignored,
        aliases={"Wireshark": "tcp.options.tfo.ignored", "Suricata": "3whs_synack_tfo_data_ignored"},
        example="""
            0.000 > S  0:100(100)   <tfo>
            0.010 < S. 0:0(0)       ack 1
            0.020 > P. 1:101(100)   ack 1
        """,
        counterexample="""
            0.000 > S  0:100(100)   <tfo>
            0.010 < S. 0:0(0)       ack 101
            0.020 > .  101:101(0)   ack 1
        """,
    ),
    Rule(
        kind="tfo_cookie_rejected",
        category="open",
        severity="medium",
        rfc="RFC 7413 4.2.2",
        summary="The server refused a Fast Open cookie and issued another.",
        evidence="A SYN with cookie and data, and a SYN+ACK with a cookie that acknowledges the SYN alone.",
        innocent="A server that has changed its key; machines behind one address that do not share a key do it all "
        "the time.",
        when=when_refused,
        needs=(BOTH_DIRECTIONS, BEGINNING),
        detect=cookie_rejected,
        aliases={"Linux": "TCPFastOpenPassiveFail"},
        example="""
            0.000 > S  0:100(100)   <tfo>
            0.010 < S. 0:0(0)       ack 1 <tfo>
            0.020 > P. 1:101(100)   ack 1
        """,
        counterexample="""
            0.000 > S  0:100(100)   <tfo>
            0.010 < S. 0:0(0)       ack 101 <tfo>
            0.020 > .  101:101(0)   ack 1
        """,
    ),
    Rule(
        kind="tfo_blackhole",
        category="open",
        severity="medium",
        rfc="RFC 7413 4.1.3.1",
        summary="SYNs with Fast Open data get lost, and the plain SYN after them gets through.",
        evidence="SYNs with data unanswered, then the same SYN without data answered; low where only one was lost.",
        innocent="Ordinary loss of that SYN.",
        when=when_again,
        needs=(BOTH_DIRECTIONS, BEGINNING),
        detect=blackhole,
        aliases={"Linux": "TCPFastOpenBlackhole"},
        example="""
            0.000 > S  0:100(100)   <tfo>
            1.000 > S  0:100(100)   <tfo>
            3.000 > S  0:0(0)
            3.010 < S. 0:0(0)       ack 1
            3.020 > P. 1:101(100)   ack 1
        """,
        counterexample="""
            0.000 > S  0:100(100)   <tfo>
            1.000 > S  0:100(100)   <tfo>
            1.010 < S. 0:0(0)       ack 101
            1.020 > .  101:101(0)   ack 1
        """,
    ),
)
