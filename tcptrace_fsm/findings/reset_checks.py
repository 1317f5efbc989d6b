"""Rules about resets that their receiver should not, or did not, believe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.evidence import (
    HANDSHAKE,
    answered_by,
    genuine,
    hops,
    is_copy,
    off_edge,
    overtaken,
    prompt,
    state_at,
    when_aborted,
)
from tcptrace_fsm.findings.gone_on import OVERTAKEN, before_answer, goes_on
from tcptrace_fsm.findings.needs import BOTH_DIRECTIONS, whole
from tcptrace_fsm.findings.rule import SECOND, Hit, Key, Rule, Segment, View, mask, span
from tcptrace_fsm.kernels.layout import (
    BASE_SYN,
    CF_CLOSING,
    E_ACK,
    E_BASE_KNOWN,
    E_NEXT,
    ELSEWHERE,
    FACT_RESET_AGAIN,
    FACT_RESET_ODD_ACK,
    MARK_AFTER_RST,
    MARK_OUT_OF_WINDOW,
    MARK_RST_INEXACT,
    MARK_RST_OUTSIDE,
    OPENING_INCOMPLETE,
    OPENING_UNANSWERED,
    TCP_ACK,
    TCP_FIN,
    TCP_RST,
    TCP_SYN,
)
from tcptrace_fsm.tcp.machine import Event, State
from tcptrace_fsm.text.counts import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcptrace_fsm.findings.rule import End

__all__ = ["RULES", "asked_by_hand"]

FAR_AWAY = 2 * SECOND // 5  # longer than the way round the earth and back

UNSYNCHRONIZED = (State.CLOSED, State.LISTEN, State.SYN_SENT, State.SYN_RECEIVED, State.UNKNOWN)


def talks_on(end: End) -> tuple[Segment, Segment] | None:
    """An RST that ``end`` cannot have meant: the RST, and what ``end`` says after it."""
    resets = (s for s in genuine(end.segments) if s.rst)
    rst = next((s for s in resets if state_at(end, s.time) not in UNSYNCHRONIZED or ends_opening(end, s)), None)
    later = goes_on(end, rst) if rst else None
    return (rst, later) if rst and later else None


def ends_opening(end: End, rst: Segment) -> bool:
    """Whether an RST in the first round trip would have ended the connection that ``end`` is about to open.

    It refuses the SYN, or bears the number that follows the SYN+ACK. What only answers an ACK of something else (RFC
    9293 3.10.7.4, group 2) has that ACK's number.
    """
    syn = next((s for s in end.peer.segments if s.syn and s.frame < rst.frame), None)
    if syn is None:
        return False
    offered = any(s.syn_ack and s.frame < rst.frame for s in end.segments)
    return rst.seq == 1 if offered else rst.seq == 0 and bool(rst.flags & TCP_ACK) and rst.ack == syn.end


def mistaken(end: End, rst: Segment) -> bool:
    """Whether ``end`` itself refused by it a segment of no connection that it has: one that lies beyond any window."""
    asked = answered_by(rst, end)
    own = {s.ttl for s in genuine(end.segments) if not s.rst}
    return asked is not None and asked.has(MARK_OUT_OF_WINDOW) and (rst.ttl < 0 or rst.ttl in own)


def scattered(end: End) -> list[Segment]:
    """Resets of ``end`` within a second at several numbers, the first right, others where it has never been."""
    resets = [s for s in genuine(end.segments) if s.rst]
    if not resets or resets[0].seq != end.peer[E_ACK] or end[E_NEXT] > resets[0].seq:
        return []
    if not whole(end.view):
        return []  # where frames are missing, it may have been there
    row = [s for s in resets if s.time - resets[0].time < SECOND and s.seq >= resets[0].seq]
    return row if row[-1].seq > resets[0].seq + 1 else []  # by one: its FIN, which the capture may lack


def took_effect(end: End, rst: Segment) -> bool:
    """Whether the RST ended the connection of its receiver ``end``."""
    return any(x.event is Event.RCV_RST and x.frame == rst.frame for x in end.changes)


def asked_by_hand(end: End, rst: Segment) -> bool:
    """Whether the system of ``end`` itself resets the answer to a SYN that a program sent past it, as scanners do.

    It knows of no connection, and answers the SYN+ACK at once; the program may go on all the same. The RST comes from
    as far.
    """
    before = [s for s in genuine(end.segments) if s.frame < rst.frame and not s.rst]
    answer = next((s for s in genuine(end.peer.segments) if s.syn_ack and s.frame < rst.frame), None)
    if not rst.reply_rst or rst.seq != (answer.ack if answer else 1):
        return False
    if answer and rst.time - answer.time > FAR_AWAY:
        return False
    return bool(before) and all(s.syn for s in before) and hops(rst.ttl) in {hops(s.ttl) for s in before}


def rst_injection_suspected(c: View) -> Iterator[Hit]:
    """A reset that worked, from an endpoint that knows nothing of it."""
    for end in c.ends:
        early = before_answer(end)
        if early:
            yield Hit(
                end.side,
                early[0],
                f"an RST in the name of {end.name} acknowledges what {end.peer.name} had not sent, and "
                f"{span(early[1].time - early[0].time)} later {end.name} answered the SYN: somebody else sent it, or "
                "it answers the SYN of another connection",
                (early[1],),
                "medium",
            )
            continue
        found = talks_on(end)
        if found and mistaken(end, found[0]):
            continue
        if found is None or not took_effect(end.peer, found[0]):
            row = scattered(end)
            if row:
                yield Hit(
                    end.side,
                    row[0],
                    f"{count(len(row), 'RST')} in the name of {end.name} at numbers up to "
                    f"{count(row[-1].seq - row[0].seq, 'byte')} "
                    f"apart, of which {end.name} has sent none: a host that resets knows its own number; whoever "
                    "guesses tries several",
                    row[1:],
                    "medium",
                )
            continue
        rst, later = found
        if asked_by_hand(end, rst):
            continue
        drew = c.before(rst, side=end.peer.side)
        strange = drew and (drew.has(MARK_OUT_OF_WINDOW) or drew.seq - end[E_ACK] > ELSEWHERE)
        if drew and strange and rst.reply_rst and rst.seq == drew.ack:
            continue  # its own system answers what it cannot assign to any connection
        yield Hit(
            end.side,
            rst,
            f"an RST in the name of {end.name} ended the connection for {end.peer.name}, but {end.name} went on "
            f"{span(later.last_time - rst.time)} later as if it had not sent any: somebody else did",
            (later,),
        )


def rst_ignored(c: View) -> Iterator[Hit]:
    """An exact reset after which both go on."""
    for end in c.ends:
        found = talks_on(end)
        if found is None or mistaken(end, found[0]):
            continue
        rst, later = found
        if rst.has(MARK_RST_INEXACT, MARK_RST_OUTSIDE) or took_effect(end.peer, rst):
            continue
        answer = next((s for s in genuine(end.peer.segments) if s.last_time > rst.time + OVERTAKEN and not s.rst), None)
        if answer and not (is_copy(later, end) or is_copy(answer, end.peer) or overtaken(answer, end.peer)):
            yield Hit(
                end.side,
                rst,
                f"an RST of {end.name} at the exact sequence number had no effect: {span(later.last_time - rst.time)} "
                f"later {end.name} goes on, and so does {end.peer.name}; it was lost on its way, or dropped as forged",
                (later, answer),
            )


def misplaced(end: End, mark: int) -> list[Segment]:
    """RSTs of ``end`` with a mark, unless ``end`` proved by an exact one that it meant it."""
    resets = [s for s in genuine(end.segments) if s.rst]
    if any(not s.has(MARK_RST_INEXACT, MARK_RST_OUTSIDE) for s in resets):
        return []
    answers = {s.ack for s in genuine(end.peer.segments)}
    return [s for s in resets if s.has(mark) and not (s.reply_rst and s.seq in answers)]


def rst_seq_inexact(c: View) -> Iterator[Hit]:
    """An RST inside the window, but not at its edge."""
    for end in c.ends:
        found = misplaced(end, MARK_RST_INEXACT)
        if found:
            off, far = off_edge(end, found[0])
            if found[0].seq in (end.peer[E_ACK], end[E_NEXT]):
                continue  # it is where its receiver stands by now; or where its sender does: it has overtaken the rest
            # Where nobody asked back or went on, it may have been exact, and bytes before it are missing here.
            refuted = any(challenge(end, rst) for rst in found) or talks_on(end)
            yield Hit(
                end.side,
                found[0],
                f"an RST of {end.name} lies inside the window of {end.peer.name} but {far + ' ' if off else ''}off "
                "its edge: it is answered with a challenge ACK and not obeyed; a blind guess, or an abort with data "
                "lost before it",
                found[1:],
                None if refuted else "low",
            )


def meant(end: End, rst: Segment) -> bool:
    """Whether ``end`` itself answered by an RST what had been under way when it closed.

    It bears the ACK number of what it answers (RFC 9293 3.5.2, group 1), which its peer has gone beyond since.
    """
    closed = any(s.fin and s.frame < rst.frame for s in genuine(end.segments))
    return closed and rst.flags & (TCP_RST | TCP_ACK) == TCP_RST and 1 <= rst.seq < end.peer[E_ACK]


def rst_out_of_window(c: View) -> Iterator[Hit]:
    """An RST outside the window."""
    for end in c.ends:
        found = misplaced(end, MARK_RST_OUTSIDE)
        if found and not meant(end, found[0]):
            off, far = off_edge(end, found[0])
            where = f"{far} {'beyond' if off > 0 else 'below'} its edge" if off else "below its edge"
            yield Hit(
                end.side,
                found[0],
                f"an RST of {end.name} lies outside the window of {end.peer.name}, {where}: it is dropped; a blind "
                "guess, or of another connection",
                found[1:],
                None if lives_on(c, found[0]) else "low",
            )


def lives_on(c: View, rst: Segment) -> bool:
    """Whether the connection lived on after a reset."""
    later = (s for s in genuine(c.segments) if s.frame > rst.frame or s.last_time > rst.time)
    return any(not s.rst for s in later)


def challenge(end: End, rst: Segment) -> Segment | None:
    """The pure ACK by which the peer of ``end`` asks back, at once, whether a reset was meant (RFC 5961 3.2)."""
    answer = end.view.after(rst, side=end.peer.side)
    if answer is None or answer.time - rst.time > prompt(end.peer) or answer.length:
        return None
    return answer if answer.flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK) == TCP_ACK else None


def rst_challenged(c: View) -> Iterator[Hit]:
    """An inexact RST draws an ACK."""
    for end in c.ends:
        for rst in (s for s in genuine(end.segments) if s.rst and s.has(MARK_RST_INEXACT)):
            answer = challenge(end, rst)
            if answer:
                yield Hit(
                    end.peer.side,
                    answer,
                    f"{end.peer.name} did not believe an RST of {end.name} and asked back by a challenge ACK "
                    f"{span(answer.time - rst.time)} later: its connection lives on",
                    (rst,),
                )
                break


def rst_bad_ack(c: View) -> Iterator[Hit]:
    """An RST whose acknowledgment number is impossible."""
    for end in c.ends:
        peer = end.peer
        if peer[E_BASE_KNOWN] < BASE_SYN:
            continue
        for s in genuine(end.segments):
            if not s.rst or not s.flags & TCP_ACK or s.ack < 0:
                continue
            asked = state_at(peer, s.time) is State.SYN_SENT
            if s.ack > peer[E_NEXT] or (asked and s.ack < 1):
                verdict = (
                    "does not acknowledge its SYN" if asked else f"acknowledges {s.ack - peer[E_NEXT]:,} bytes too many"
                )
                yield Hit(
                    end.side,
                    s,
                    f"an RST of {end.name} to {peer.name} {verdict} (ack {s.ack}): it must not be obeyed",
                )
                break


def when_talked_on(key: Key) -> bool:
    """Segments from an endpoint that had sent an RST."""
    return bool(key.marks & mask(MARK_AFTER_RST))


def when_inexact(key: Key) -> bool:
    """An RST inside the window, but not at its edge."""
    return bool(key.marks & mask(MARK_RST_INEXACT))


def when_outside(key: Key) -> bool:
    """An RST outside the window."""
    return bool(key.marks & mask(MARK_RST_OUTSIDE))


def when_reset_seen(key: Key) -> bool:
    """A reset that was obeyed, disbelieved or met by a SYN."""
    opening = key.opening in (OPENING_INCOMPLETE, OPENING_UNANSWERED) and bool(key.flags & CF_CLOSING)
    return when_aborted(key) or opening or bool(key.marks & mask(MARK_AFTER_RST, MARK_RST_INEXACT, MARK_RST_OUTSIDE))


def when_injected(key: Key) -> bool:
    """A reset, and more of its sender."""
    return when_reset_seen(key) and (when_talked_on(key) or key.shows(FACT_RESET_AGAIN))


def when_odd_ack(key: Key) -> bool:
    """A reset that acknowledges what was not sent."""
    return when_reset_seen(key) and key.shows(FACT_RESET_ODD_ACK)


RULES = (
    Rule(
        kind="rst_injection_suspected",
        category="reset",
        severity="high",
        rfc="RFC 5961 3",
        summary="A connection was reset by somebody who is neither of its ends.",
        evidence="An RST that its receiver obeys, and segments of its supposed sender afterwards; or RSTs at several "
        "numbers where that sender has never been; or one with a wrong ACK before the sender's own answer to a SYN.",
        innocent="Segments that the RST overtook (3 ms and numbers tell them apart); two hosts behind one address.",
        when=when_injected,
        needs=(BOTH_DIRECTIONS,),
        detect=rst_injection_suspected,
        aliases={"Suricata": "suspected_rst_inject", "Zeek": "data_after_reset"},
        example=HANDSHAKE
        + """
            1.000 < R  1:1(0)
            1.100 < P. 1:501(500) ack 101
        """,
        counterexample=(
            HANDSHAKE
            + """
            1.000 < R. 501:501(0) ack 101
            1.001 < P. 1:501(500) ack 101   # overtaken
        """,
            HANDSHAKE
            + """
            1.000 > P. 101:201(100) ack 1
            1.001 > P. 201:301(100) ack 1
            1.010 < R  1:1(0)               # one reset for each, and all know where they are
            1.011 < R  1:1(0)
        """,
            HANDSHAKE
            + """
            1.000 < P. 90000001:90001001(1000) ack 101   # from another connection, by its numbers
            1.001 > R  101:101(0)
            5.000 > P. 101:201(100) ack 1
        """,
            HANDSHAKE
            + """
            0.900 < P. 1:101(100) ack 101 win 1000
            0.901 > .  101:101(0) ack 101 win 1000
            1.000 > P. 90000101:90000201(100) ack 101   # of no connection that the server has: it refuses it itself
            1.010 < R  101:101(0)
            2.000 < P. 101:201(100) ack 101
        """,
            HANDSHAKE
            + """
            0.500 > .  101:101(0) ack 1001  # of bytes that the capture misses: the server had been there
            1.000 < R  1001:1001(0)
            1.001 < R  2001:2001(0)
        """,
        ),
    ),
    Rule(
        kind="rst_ignored",
        category="reset",
        severity="medium",
        rfc="RFC 9293 3.5.3",
        summary="A valid RST had no effect: both ends went on.",
        evidence="An RST at the left edge of the window, then segments of both sides.",
        innocent="An RST that was lost behind the capture point, or that a firewall dropped.",
        when=when_talked_on,
        needs=(BOTH_DIRECTIONS,),
        detect=rst_ignored,
        aliases={"Zeek": "data_after_reset"},
        example=HANDSHAKE
        + """
            1.000 < R  1:1(0)
            1.100 < P. 1:501(500) ack 101
            1.110 > .  101:101(0) ack 501
        """,
        counterexample=HANDSHAKE
        + """
            1.000 < R  1:1(0)
            1.100 < P. 1:501(500) ack 101
        """,
    ),
    Rule(
        kind="rst_seq_inexact",
        category="reset",
        severity="medium",
        rfc="RFC 5961 3.2",
        summary="An RST inside the window but not at its edge; a careful receiver asks back before it believes it.",
        evidence="A sequence number inside the window that is neither the next expected nor the sender's next; low "
        "where nobody asked back or went on.",
        innocent="A real abort whose data before it were lost; its sender then repeats the RST at the right place.",
        when=when_inexact,
        needs=(BOTH_DIRECTIONS,),
        detect=rst_seq_inexact,
        aliases={"conntrack": "state kept", "Linux": "TCPChallengeACK"},
        example=HANDSHAKE
        + """
            1.000 < R 2000:2000(0)
            1.001 > . 101:101(0) ack 1
            2.000 < P. 1:501(500) ack 101
        """,
        counterexample=HANDSHAKE
        + """
            1.000 < P. 501:1001(500) ack 101   # the 500 bytes before it are lost
            1.010 < R  1001:1001(0)
        """,
    ),
    Rule(
        kind="rst_out_of_window",
        category="reset",
        severity="medium",
        rfc="RFC 9293 3.5.3",
        summary="An RST outside the window, which its receiver drops.",
        evidence="A sequence number below the next expected or beyond the window, and no valid RST besides.",
        innocent="A late RST of an earlier connection; a window that the capture does not show.",
        when=when_outside,
        needs=(BOTH_DIRECTIONS,),
        detect=rst_out_of_window,
        aliases={"conntrack": "invalid rst", "Suricata": "dropped by the reset policy"},
        example=HANDSHAKE
        + """
            1.000 < R  800000:800000(0)
            2.000 < P. 1:501(500) ack 101
        """,
        counterexample=HANDSHAKE
        + """
            1.000 < R  1:1(0)
        """,
    ),
    Rule(
        kind="rst_challenged",
        category="reset",
        severity="low",
        rfc="RFC 5961 3.2",
        summary="An endpoint answered a doubtful RST by a challenge ACK instead of obeying.",
        evidence="An RST inside the window but not at its edge, and within a round trip a pure ACK in answer.",
        innocent="Protection at work; a genuine sender answers with an exact RST.",
        when=when_inexact,
        needs=(BOTH_DIRECTIONS,),
        detect=rst_challenged,
        aliases={"Linux": "TCPChallengeACK", "conntrack": "challenge ACK"},
        example=HANDSHAKE
        + """
            1.000 < R 2000:2000(0)
            1.001 > . 101:101(0) ack 1
        """,
        counterexample=HANDSHAKE
        + """
            1.000 < R 2000:2000(0)
            9.001 > . 101:101(0) ack 1
        """,
    ),
    Rule(
        kind="rst_bad_ack",
        category="reset",
        severity="low",
        rfc="RFC 9293 3.10.7.3",
        summary="An RST acknowledges what was never sent.",
        evidence="Its acknowledgment lies beyond all that the peer sent, or, in answer to a SYN, does not cover the "
        "SYN.",
        innocent="Stacks that put 0 there; a SYN that the capture misses.",
        when=when_odd_ack,
        needs=(BOTH_DIRECTIONS,),
        detect=rst_bad_ack,
        aliases={"Suricata": "rst_invalid_ack"},
        example="""
            0.000 > S  0:0(0)
            0.010 < R. 0:0(0) ack 7001
            1.000 > S  0:0(0)
        """,
        counterexample="""
            0.000 > S  0:0(0)
            0.010 < R. 0:0(0) ack 1
        """,
    ),
)
