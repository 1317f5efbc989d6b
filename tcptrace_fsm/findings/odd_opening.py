"""Rules about SYNs that no ordinary opening has: to oneself, into an old connection, split, or with odd flags."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.needs import BEGINNING, BOTH_DIRECTIONS
from tcptrace_fsm.findings.rule import Hit, Key, Rule, View, mask, span
from tcptrace_fsm.findings.wording import Detected, Wording
from tcptrace_fsm.kernels.layout import (
    C_CLIENT_HI,
    C_CLIENT_LO,
    C_PORTS,
    C_SERVER_HI,
    C_SERVER_LO,
    C_TAKEN_BY,
    C_TAKEN_FRAME,
    C_TAKEN_OVER,
    CF_SIMULTANEOUS_OPEN,
    DETECT_SYN_FIN,
    DETECT_SYN_RST,
    DETECT_SYN_URG,
    FACT_PURE_ACK,
    FACT_SELF,
    MARK_ACK_PLUS_ONE,
    MARK_NETWORK_DUPLICATE,
    MARK_ODD_FLAGS,
    MARK_SYN_AGAIN,
    OPENING_INCOMPLETE,
    OPENING_SIMULTANEOUS,
    OPENING_UNANSWERED,
    SERVER,
    TCP_ACK,
    TCP_FIN,
    TCP_RST,
    TCP_SYN,
    TCP_URG,
)
from tcptrace_fsm.tcp.machine import State
from tcptrace_fsm.text.counts import count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tcptrace_fsm.findings.rule import End, Segment

__all__ = ["RULES", "is_old_ack"]

ONE_CONNECTION = 1 << 24  # bytes: whose numbers lie so near go on from the same SYN, as good as certainly
SYNCHRONIZED = (
    State.ESTABLISHED,
    State.FIN_WAIT_1,
    State.FIN_WAIT_2,
    State.CLOSE_WAIT,
    State.CLOSING,
    State.LAST_ACK,
)


def self_connect(c: View) -> Iterator[Hit]:
    """Both ends are one."""
    same = c[C_CLIENT_HI] == c[C_SERVER_HI] and c[C_CLIENT_LO] == c[C_SERVER_LO]
    if not same or c[C_PORTS] >> 16 != c[C_PORTS] & 65535:
        return
    syn = next((s for s in c.segments if s.syn), None)
    if syn and any(s.flags & TCP_ACK and not s.rst for s in c.segments):  # a SYN alone is forged, to confuse a host
        yield Hit(
            None,
            syn,
            f"{c.client.name} connected to itself ({count(len(c.segments), 'segment')}): a client that retries a "
            "local port "
            "where "
            "nobody listens was given that very port as its own, and now blocks the server from binding it",
        )


def split_handshake(c: View) -> Iterator[Hit]:
    """The server answers the SYN with a SYN of its own, not with SYN+ACK."""
    syn = next((s for s in c.client.segments if s.syn), None)
    ack = next((s for s in c.server.segments if not s.flags & (TCP_SYN | TCP_RST | TCP_FIN) and s.ack == 1), None)
    if syn is None or any(s.syn_ack for s in c.server.segments):
        return
    if c[C_TAKEN_OVER] >= 0 and c[C_TAKEN_BY] == SERVER and ack and ack.time <= c[C_TAKEN_OVER]:
        yield Hit(
            SERVER,
            ack,
            f"{c.server.name} acknowledged the SYN of {c.client.name} without a SYN and "
            f"{span(c[C_TAKEN_OVER] - ack.time)} "
            f"later sent one of its own (frame {c[C_TAKEN_FRAME]}): a split handshake, which turns the roles round "
            "for filters",
            (syn,),
        )
    own = next((s for s in c.server.segments if s.syn), None)
    taken = next((s for s in c.client.segments if s.syn_ack), None)
    if own and taken and ack and own.time > syn.time:
        yield Hit(
            SERVER,
            own,
            f"{c.server.name} answered the SYN of {c.client.name} with a bare SYN {span(own.time - syn.time)} later, "
            "and "
            "let the client send the SYN+ACK: a split handshake, which turns the roles round for filters",
            (syn, taken),
            "low",  # a simultaneous open whose first SYN was lost looks the same
        )


def state_before(end: End, time: int) -> State | None:
    """The state that an endpoint was in just before a moment."""
    return next((x.target for x in reversed(end.changes) if x.time < time), None)


def answered_by_ack(c: View) -> Iterator[Hit]:
    """A SYN draws an ACK of something else: its receiver still has an old connection."""
    if c[C_TAKEN_OVER] >= 0:
        end = c.ends[1 - c[C_TAKEN_BY]]
        answer = next((s for s in end.segments if s.time >= c[C_TAKEN_OVER] and s.frame > c[C_TAKEN_FRAME]), None)
        if answer and state_before(end, answer.time) in SYNCHRONIZED and is_pure_ack(answer):
            yield answered(c, end, answer, c[C_TAKEN_FRAME])
            return
    syn = next((s for s in c.client.segments if s.syn), None)
    first = next(iter(c.server.segments), None)
    if syn and first and syn.frame < first.frame and is_old_ack(first):
        yield answered(c, c.server, first, c.shown(syn.frame))
    yield from late_copy_answered(c)


def late_copy_answered(c: View) -> Iterator[Hit]:
    """A copy of the SYN comes late, and draws an ACK of where the connection stands."""
    for copy in (s for s in c.client.segments if s.syn and s.has(MARK_NETWORK_DUPLICATE)):
        answer = c.after(copy)
        first = next(s for s in c.client.segments if s.syn)
        if answer and answer.side == SERVER and is_pure_ack(answer) and first is not copy:
            yield Hit(
                SERVER,
                answer,
                f"a copy of the SYN of {c.client.name} came {span(copy.time - first.time)} late, and {c.server.name} "
                "answered it with an ACK of where the connection stands",
                (first, copy),
                "low",
            )
            return


def is_old_ack(s: Segment) -> bool:
    """Whether a server's first segment, where its SYN+ACK should be, is an ACK of another connection.

    One that lies a little beyond the SYN goes on from there: then only the SYN+ACK is missing.
    """
    return is_pure_ack(s) and not 1 <= s.ack < ONE_CONNECTION


def is_pure_ack(s: Segment) -> bool:
    """An ACK and nothing else."""
    return s.flags & (TCP_SYN | TCP_FIN | TCP_RST | TCP_ACK) == TCP_ACK and not s.length


def answered(c: View, end: End, answer: Segment, frame: int) -> Hit:
    """The finding: ``end`` answers the SYN in ``frame`` with ``answer``."""
    rst = next((s for s in end.peer.segments if s.rst and s.frame > answer.frame), None)
    then = "which answered with RST, as it should, and has to send its SYN again" if rst else "and no RST cleared it"
    return Hit(
        end.side,
        answer,
        f"{end.name} answered the SYN in frame {frame} with an ACK of other numbers: it still holds an old connection "
        "with "
        f"{end.peer.name}, {then}; {count(len(c.segments), 'segment')} of it were kept",
        (rst,) if rst else (),
    )


def odd_syn(flag: int, name: str) -> Callable[[View], Iterator[Hit]]:
    """A detection of SYNs with a flag that no SYN bears."""

    def detect(c: View) -> Iterator[Hit]:
        for end in c.ends:
            odd = [s for s in end.segments if s.flags & TCP_SYN and s.flags & flag]
            if odd:
                answer = c.after(odd[-1], side=end.peer.side)
                drew = 0 if answer is None else 1 if answer.rst else 2
                yield Hit(end.side, odd[0], no_tcp_does(end.name, end.peer.name, len(odd), name, drew), odd[1:])

    return detect


def no_tcp_does(name: str, peer: str, often: int, flag: str, drew: int) -> str:
    """In words: so many SYNs with a flag, which drew nothing, RST or an answer."""
    reply = ("drew no answer here", "drew RST", "drew an answer")[drew]
    return f"{name} sent {often} SYN with {flag} to {peer}: no TCP does; a scanner, or damage on the way; it {reply}"


def worded_with(number: int, flag: str) -> Wording:
    """How it is put into words what a kernel has detected."""

    def word(found: Detected) -> str:
        return no_tcp_does(*found.names(found.side), found.count, flag, found.more)

    return Wording(number, word)


def when_incomplete(key: Key) -> bool:
    """No handshake came of it."""
    return key.opening in (OPENING_INCOMPLETE, OPENING_UNANSWERED, OPENING_SIMULTANEOUS)


def when_self(key: Key) -> bool:
    """No handshake, or one whose numbers do not fit: both ends share one sequence space."""
    return key.shows(FACT_SELF) and (when_incomplete(key) or bool(key.marks & mask(MARK_ACK_PLUS_ONE)))


def when_answered_oddly(key: Key) -> bool:
    """An ACK, and a SYN into a connection that was there, or an attempt that failed, or had to be made again."""
    odd = (
        key.taken_over
        or key.opening == OPENING_INCOMPLETE
        or bool(key.marks & mask(MARK_SYN_AGAIN, MARK_NETWORK_DUPLICATE))
    )
    return odd and key.shows(FACT_PURE_ACK)


def when_odd_flags(key: Key) -> bool:
    """Flags that no TCP sends together."""
    return bool(key.marks & mask(MARK_ODD_FLAGS))


def when_split(key: Key) -> bool:
    """The server sent a SYN where it should have sent SYN+ACK."""
    return bool(key.flags & CF_SIMULTANEOUS_OPEN) or (key.taken_over and key.opening == OPENING_INCOMPLETE)


RULES = (
    Rule(
        kind="self_connect",
        category="open",
        severity="medium",
        rfc="RFC 9293 3.5 (MUST-10)",
        summary="A socket is connected to itself.",
        evidence="A SYN whose source and destination address and port are the same, and an ACK of it.",
        innocent="None on a real network; on loopback it is a simultaneous open with oneself, by accident.",
        when=when_self,
        needs=(BEGINNING,),
        detect=self_connect,
        aliases={"Snort": "BAD-TRAFFIC same SRC/DST (land attack)"},
        example="""
            addr 10.0.0.1 10.0.0.1
            port 40000 40000
            0.00000 > S  0:0(0)
            0.00001 > S. 0:0(0) ack -3999
            0.00002 > .  1:1(0) ack -3998
        """,
        counterexample=(
            """
            addr 10.0.0.1 10.0.0.1
            port 40000 40001
            0.00000 > S  0:0(0)
            0.00001 < R. 0:0(0) ack 1
        """,
            """
            addr 10.0.0.1 10.0.0.1
            port 139 139
            0.00000 > S  0:0(0)   # forged, from the network: nobody connected to anything
        """,
        ),
    ),
    Rule(
        kind="split_handshake",
        category="open",
        severity="medium",
        rfc="RFC 9293 3.5",
        summary="The server did not answer the SYN with SYN+ACK but with ACK and SYN apart, or with a SYN alone.",
        evidence="A bare ACK of the SYN and then a SYN from the server, or a SYN from the server that the client "
        "answers with SYN+ACK.",
        innocent="A simultaneous open whose first SYN was lost has the second form, which is therefore low.",
        when=when_split,
        needs=(BOTH_DIRECTIONS, BEGINNING),
        detect=split_handshake,
        aliases={"Suricata": "4whs_*"},
        example="""
            0.000 > S  0:0(0)
            0.010 < .  5:5(0) ack 1
            0.011 < S  0:0(0)
            0.020 > S. 0:0(0) ack 1
            0.030 < .  1:1(0) ack 1
        """,
        counterexample="""
            0.000 > S  0:0(0)
            0.001 < S  0:0(0)
            0.030 > S. 0:0(0) ack 1
            0.031 < S. 0:0(0) ack 1
            0.060 > .  1:1(0) ack 1
            0.061 < .  1:1(0) ack 1
        """,
    ),
    Rule(
        kind="syn_answered_by_ack",
        category="open",
        severity="medium",
        rfc="RFC 9293 3.5.1, RFC 5961 4",
        summary="A SYN met an old connection: the answer is an ACK with that connection's numbers.",
        evidence="The first answer to a SYN is a pure ACK that does not acknowledge it, from an endpoint that is not "
        "in TIME_WAIT; low for a late copy of the connection's own SYN, in TIME_WAIT too.",
        innocent="The client crashed or lost its state; ports behind a NAT were given to another host. It costs one "
        "RTO.",
        when=when_answered_oddly,
        needs=(BOTH_DIRECTIONS, BEGINNING),
        fragile=True,
        detect=answered_by_ack,
        aliases={"conntrack": "SYN ignored, last_ack kept", "Linux": "TCPChallengeACK"},
        example="""
            0.00 > S  0:0(0)
            0.01 < .  9000:9000(0) ack 777000000
            0.02 > R  777000000:777000000(0)
            1.00 > S  0:0(0)
            1.01 < S. 0:0(0) ack 1
            1.02 > .  1:1(0) ack 1
        """,
        counterexample=(
            """
            0.00 > S  0:0(0)
            0.01 < R. 0:0(0) ack 1
            1.00 > S  0:0(0)
            1.01 < S. 0:0(0) ack 1
            1.02 > .  1:1(0) ack 1
        """,
            """
            0.00 > S  0:0(0)       <ts 100/0>    id 1
            0.01 < S. 0:0(0) ack 1 <ts 900/100>
            0.02 > .  1:1(0) ack 1 <ts 120/900>  id 2
            0.03 > F. 1:1(0) ack 1 <ts 130/900>  id 3
            0.04 < F. 1:1(0) ack 2 <ts 930/130>
            0.05 > .  2:2(0) ack 2 <ts 150/930>  id 4
            2.00 > S  0:0(0)       <ts 100/0>    id 1   # the capture, appended to itself
            2.01 < S. 0:0(0) ack 1 <ts 900/100>
            2.02 > .  1:1(0) ack 1 <ts 120/900>  id 2
        """,
            """
            0.00 > S  0:0(0)
            0.05 < .  777:777(0) ack 501   # of what follows this SYN: one packet of ten was captured
            0.50 > P. 5001:5501(500) ack 900
        """,
        ),
    ),
    Rule(
        kind="syn_fin",
        category="open",
        severity="medium",
        rfc="RFC 9293 3.10.7.4",
        summary="A segment has both SYN and FIN.",
        evidence="Both flags in one segment.",
        innocent="T/TCP (RFC 1644, historic) did this.",
        when=when_odd_flags,
        detect=odd_syn(TCP_FIN, "FIN"),
        wording=worded_with(DETECT_SYN_FIN, "FIN"),
        aliases={"Suricata": "fin_syn", "Zeek": "baroque_SYN", "conntrack": "invalid flags"},
        example="""
            0.000 > SF 0:0(0)
            0.001 < R. 0:0(0) ack 2
        """,
        counterexample="""
            0.000 > F. 0:0(0) ack 1
            0.001 < R  1:1(0)
        """,
    ),
    Rule(
        kind="syn_rst",
        category="open",
        severity="medium",
        rfc="RFC 9293 3.10.7.2",
        summary="A segment has both SYN and RST.",
        evidence="Both flags in one segment.",
        innocent="None known; damaged headers whose checksum was not verified.",
        when=when_odd_flags,
        detect=odd_syn(TCP_RST, "RST"),
        wording=worded_with(DETECT_SYN_RST, "RST"),
        aliases={"Zeek": "TCP_christmas", "conntrack": "invalid flags"},
        example="""
            0.000 > SR 0:0(0)
            end 5
        """,
        counterexample="""
            0.000 > S  0:0(0)
            0.001 < R. 0:0(0) ack 1
        """,
    ),
    Rule(
        kind="syn_urg",
        category="open",
        severity="medium",
        rfc="RFC 9293 3.1",
        summary="A segment has both SYN and URG.",
        evidence="Both flags in one segment of a connection that did not open in the ordinary way.",
        innocent="None known; damaged headers whose checksum was not verified.",
        when=when_odd_flags,
        detect=odd_syn(TCP_URG, "URG"),
        wording=worded_with(DETECT_SYN_URG, "URG"),
        aliases={"conntrack": "invalid flags"},
        example="""
            0.000 > SU 0:0(0)
            0.001 < R. 0:0(0) ack 1
        """,
        counterexample="""
            0.000 > S  0:0(0)
            0.001 < R. 0:0(0) ack 1
        """,
    ),
)
