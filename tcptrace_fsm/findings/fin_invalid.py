"""Rules about FINs that no correct endpoint sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.evidence import HANDSHAKE, genuine, times, when_closing
from tcptrace_fsm.findings.fin_again import fins_of, when_fin_again
from tcptrace_fsm.findings.needs import BEGINNING, BOTH_DIRECTIONS, BOTH_SYNS
from tcptrace_fsm.findings.rule import Hit, Key, Rule, View, mask, span
from tcptrace_fsm.findings.wording import Detected, Wording
from tcptrace_fsm.kernels.layout import (
    BASE_SYN,
    CF_CLOSING,
    CF_MIDSTREAM,
    DETECT_FIN_BARE,
    DETECT_STRAY_FIN,
    E_ACK,
    E_BASE_KNOWN,
    E_EDGE,
    E_NEXT,
    E_SHIFT,
    ELSEWHERE,
    FACT_FIN_ODD_ACK,
    FACT_SYN_AND_FIN,
    GRADE_RESET,
    MARK_ACK_OLD,
    MARK_ACK_UNSEEN,
    MARK_BEYOND_FIN,
    MARK_GAP,
    MARK_ODD_FLAGS,
    MARK_OUT_OF_WINDOW,
    TCP_ACK,
    TCP_FIN,
    TCP_RST,
    TCP_SYN,
    TCP_URG,
)
from tcptrace_fsm.text.counts import count

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RULES"]


def fin_without_ack(c: View) -> Iterator[Hit]:
    """A bare FIN."""
    wanted = TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK | TCP_URG
    for end in c.ends:
        bare = [s for s in genuine(end.segments) if s.flags & wanted == TCP_FIN]
        if bare:
            yield Hit(end.side, bare[0], no_ack(end.name, end.peer.name, len(bare)), bare[1:])


def no_ack(name: str, peer: str, often: int) -> str:
    """In words: so many FINs without ACK."""
    why = "no TCP does, every segment after the first SYN carries one"
    return f"{name} sent {peer} a FIN without ACK ({times(often)}): {why}"


def word_bare_fin(found: Detected) -> str:
    """The same of what a kernel has detected."""
    return no_ack(*found.names(found.side), found.count)


def fin_no_session(c: View) -> Iterator[Hit]:
    """A FIN begins the conversation, and nobody knows of a connection."""
    first = c.segments[0] if c.segments else None
    if first is None or not first.fin:
        return
    end = c.ends[first.side]
    answer = next((s for s in end.peer.segments), None)
    if answer is not None and not answer.rst:
        return  # the connection was there: the capture began inside it
    message = no_session(end.name, end.peer.name, reset=answer is not None)
    severity = grade_stray_fin(0 if answer is None else GRADE_RESET)
    yield Hit(end.side, first, message, (answer,) if answer else (), severity)


def grade_stray_fin(grade: int) -> str | None:
    """How bad that is, by what ``GRADE_`` bits say."""
    return None if grade & GRADE_RESET else "info"


def no_session(name: str, peer: str, *, reset: bool) -> str:
    """In words: a FIN, and an RST or nothing."""
    reply = "answered with RST: it knows of no connection" if reset else "never answered"
    return f"{name} began with a FIN, without any handshake in the capture, and {peer} {reply}"


def word_stray_fin(found: Detected) -> str:
    """The same of what a kernel has detected."""
    return no_session(*found.names(found.side), reset=bool(found.more))


def inappropriate_fin(c: View) -> Iterator[Hit]:
    """A FIN from an endpoint that has not had the peer's SYN."""
    for end in c.ends:
        syn = next((s for s in end.segments if s.syn), None)
        fin = next(
            (s for s in genuine(end.segments) if s.flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK) == TCP_FIN), None
        )
        if syn is None or fin is None or fin.frame < syn.frame:
            continue
        if any(s.flags & TCP_SYN and s.frame < fin.frame for s in end.peer.segments):
            continue
        yield Hit(
            end.side,
            fin,
            f"{end.name} sent a FIN {span(fin.time - syn.time)} after its SYN, before {end.peer.name} had answered "
            "with a SYN of its own",
            (syn,),
        )


def fin_out_of_window(c: View) -> Iterator[Hit]:
    """A FIN beyond every window that its receiver has announced."""
    for end in c.ends:
        edge = end.peer[E_EDGE]
        if edge < 0 or not end[E_BASE_KNOWN] == end.peer[E_BASE_KNOWN] == BASE_SYN:
            continue
        beyond = [s for s in genuine(end.segments) if s.fin and s.seq > edge and end.peer[E_ACK] < s.end - 1]
        if beyond:
            answer = next((s for s in genuine(end.peer.segments) if s.frame > beyond[0].frame and not s.rst), None)
            yield Hit(
                end.side,
                beyond[0],
                f"a FIN of {end.name} lies {count(beyond[0].seq - edge, 'byte')} beyond the window of "
                f"{end.peer.name}, which "
                "must ignore it",
                beyond[1:],
                # RFC 9293 3.10.7.4: whoever gets what is out of its window answers with an ACK of what it expects.
                None if answer and answer.ack < beyond[0].seq else "low",
            )


def fin_seq_changed(c: View) -> Iterator[Hit]:
    """Two FINs of one endpoint that do not end the stream at the same byte."""
    for end in c.ends:
        fins = fins_of(end)
        other = next((s for s in fins if s.end != fins[0].end), None)
        if other and other.seq == fins[0].end and not other.length:
            yield Hit(
                end.side,
                other,
                f"{end.name} sent a second FIN behind its first, {span(other.time - fins[0].time)} later, as if the "
                "first were a byte of data: its system is not an ordinary one (a proxy or an application that writes "
                "TCP itself)",
                (fins[0],),
                "low",
            )
        elif other:
            yield Hit(
                end.side,
                other,
                f"{end.name} ended its stream twice: at byte {fins[0].end - 1}, and {span(other.time - fins[0].time)} "
                f"later at byte {other.end - 1}; one of the two FINs is not its own",
                (fins[0],),
                "low" if abs(other.end - fins[0].end) > ELSEWHERE else None,
            )


def data_beyond_fin(c: View) -> Iterator[Hit]:
    """Data behind the sender's own FIN."""
    for end in c.ends:
        beyond = [s for s in genuine(end.segments) if s.has(MARK_BEYOND_FIN)]
        fin = next((s for s in end.segments if s.fin), None)
        if beyond and fin:
            yield Hit(
                end.side,
                beyond[0],
                f"{end.name} sent data up to byte {beyond[0].end - 1}, {span(beyond[0].time - fin.time)} after its FIN "
                f"had ended the stream at byte {fin.end - 1}: the FIN is forged, or the data are",
                (fin, *beyond[1:]),
                "low" if beyond[0].end - fin.end > ELSEWHERE else None,
            )


def fin_ack_invalid(c: View) -> Iterator[Hit]:
    """A FIN that acknowledges what cannot have been received."""
    for end in c.ends:
        reach = max([65535 << max(end[E_SHIFT], 0), *(s.window for s in end.segments)])
        highest, outlier = -1, -1  # one alone may be forged, and all others right
        for s in genuine(end.segments):
            if s.fin and s.flags & TCP_ACK:
                beyond = s.has(MARK_ACK_UNSEEN) and 0 <= end[E_EDGE] < s.ack - 1 and s.ack > end.peer[E_NEXT]
                before = s.has(MARK_ACK_OLD) and (s.ack < highest - reach or s.ack == 0 < highest)
                if beyond or before:
                    what = f"{s.ack - end[E_EDGE]:,} bytes beyond its window" if beyond else "what is long past"
                    yield Hit(
                        end.side, s, f"a FIN of {end.name} acknowledges {what}: {end.peer.name} must not accept it"
                    )
                    break
            elif not s.rst:
                highest, outlier = max(highest, min(outlier, s.ack)), max(outlier, s.ack)


def when_odd_flags(key: Key) -> bool:
    """A combination of flags that no TCP sends."""
    return bool(key.marks & mask(MARK_ODD_FLAGS))


def when_syn_and_fin(key: Key) -> bool:
    """The same, by a side that sent a SYN and a FIN."""
    return when_odd_flags(key) and key.shows(FACT_SYN_AND_FIN)


def when_begins_inside(key: Key) -> bool:
    """No handshake was seen, but an end."""
    return bool(key.flags & CF_MIDSTREAM) and bool(key.flags & CF_CLOSING)


def when_beyond(key: Key) -> bool:
    """A segment beyond a hole or a window, and a FIN."""
    return when_closing(key) and bool(key.marks & mask(MARK_GAP, MARK_OUT_OF_WINDOW))


def when_data_beyond_fin(key: Key) -> bool:
    """Data behind a FIN."""
    return bool(key.marks & mask(MARK_BEYOND_FIN))


def when_odd_ack(key: Key) -> bool:
    """An ACK of something unseen, or long past, and a FIN."""
    return key.shows(FACT_FIN_ODD_ACK) and bool(key.marks & mask(MARK_ACK_UNSEEN, MARK_ACK_OLD))


RULES = (
    Rule(
        kind="fin_without_ack",
        category="close",
        severity="medium",
        rfc="RFC 9293 3.10.7.4",
        summary="A FIN without the ACK flag; what it meets must drop it.",
        evidence="FIN set, and none of SYN, RST, ACK and URG.",
        innocent="A FIN scan; a very old or home-made stack.",
        when=when_odd_flags,
        detect=fin_without_ack,
        wording=Wording(DETECT_FIN_BARE, word_bare_fin),
        aliases={"conntrack": "INVALID", "nmap": "FIN scan"},
        example=HANDSHAKE
        + """
            1.000 > F  101:101(0)
            1.010 > F. 101:101(0) ack 1
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > FPU 101:101(0)
            1.010 > F.  101:101(0) ack 1
        """,
    ),
    Rule(
        kind="fin_no_session",
        category="close",
        severity="low",
        rfc="RFC 9293 3.5.2",
        summary="A FIN that belongs to no connection.",
        evidence="The first segment of a four-tuple is a FIN, and the answer is RST, or none (then info only).",
        innocent="A capture that began after the connection; a probe for open ports.",
        when=when_begins_inside,
        detect=fin_no_session,
        wording=Wording(DETECT_STRAY_FIN, word_stray_fin, grade_stray_fin),
        aliases={"Zeek": "spontaneous_FIN", "Suricata": "fin_but_no_session"},
        example="""
            0.000 > F. 1:1(0) ack 1
            0.010 < R  1:1(0)
        """,
        counterexample="""
            0.000 > F. 1:1(0) ack 1
            0.010 < F. 1:1(0) ack 2
            0.020 > .  2:2(0) ack 2
        """,
    ),
    Rule(
        kind="inappropriate_fin",
        category="close",
        severity="medium",
        rfc="RFC 9293 3.10.4",
        summary="A FIN from an endpoint that has not yet received the other's SYN: it has nothing to close.",
        evidence="A SYN, then a FIN without ACK from the same side, before any SYN of the other.",
        innocent="A SYN+ACK that the capture misses or holds too late; then the FIN has the ACK flag.",
        when=when_syn_and_fin,
        needs=(BEGINNING,),
        detect=inappropriate_fin,
        aliases={"Zeek": "inappropriate_FIN"},
        example="""
            0.000 > S  0:0(0)
            0.010 > F  1:1(0)
            0.020 < S. 0:0(0) ack 1
            0.030 > F. 1:1(0) ack 1
        """,
        counterexample="""
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0) ack 1
            0.020 > F  1:1(0)
            0.030 > F. 1:1(0) ack 1
        """,
    ),
    Rule(
        kind="fin_out_of_window",
        category="close",
        severity="medium",
        rfc="RFC 9293 3.4",
        summary="A FIN beyond the receiver's window; its receiver ignores it.",
        evidence="Its sequence number is above every acknowledgment plus window that the peer ever announced.",
        innocent="A window that grew in a segment which the capture misses.",
        when=when_beyond,
        needs=(BOTH_SYNS,),
        fragile=True,
        detect=fin_out_of_window,
        aliases={"Suricata": "fin_out_of_window, closewait_fin_out_of_window"},
        example=HANDSHAKE
        + """
            1.000 > F. 200001:200001(0) ack 1
            1.010 < .  1:1(0)           ack 101
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > F. 2001:2001(0)   ack 1     # behind what was lost
            1.200 > P. 101:2001(1900) ack 1
            1.210 < .  1:1(0)         ack 2002
        """,
    ),
    Rule(
        kind="fin_seq_changed",
        category="close",
        severity="high",
        rfc="RFC 9293 3.10.4",
        summary="Two FINs of the same endpoint end its stream at different bytes.",
        evidence="A second FIN whose last sequence number differs from that of the first; low where it has no data and "
        "begins right behind the first.",
        innocent="None for one host; somebody else sent one of them, or a middlebox changed the stream's length. A "
        "program that writes TCP itself may count its FIN when it sends it again.",
        when=when_fin_again,
        fragile=True,
        detect=fin_seq_changed,
        aliases={"tcptrace": "rexmitted FIN had diff. seqnum", "Zeek": "FIN_advanced_last_seq"},
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0)   ack 1
            1.500 > F. 101:201(100) ack 1
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > P.  101:201(100) ack 1
            1.001 > F.  201:201(0)   ack 1
            1.300 > FP. 101:201(100) ack 1   # both in one segment: the same end
            1.310 < .   1:1(0)       ack 202
        """,
    ),
    Rule(
        kind="data_beyond_fin",
        category="close",
        severity="high",
        rfc="RFC 9293 3.6 case 1",
        summary="An endpoint sent data behind its own FIN.",
        evidence="Payload that ends above the sequence number of the sender's FIN.",
        innocent="A forged FIN; a segment of another incarnation of the same four-tuple.",
        when=when_data_beyond_fin,
        fragile=True,
        detect=data_beyond_fin,
        aliases={"Suricata": "stream.fin1_invalid_ack and *_wrong_seq"},
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0)   ack 1
            1.500 > P. 101:201(100) ack 1
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > P. 101:201(100) ack 1
            1.001 > F. 201:201(0)   ack 1
            1.300 > P. 101:201(100) ack 1
        """,
    ),
    Rule(
        kind="fin_ack_invalid",
        category="close",
        severity="medium",
        rfc="RFC 5961 5",
        summary="A FIN whose acknowledgment number cannot be right; its receiver must drop it.",
        evidence="It acknowledges beyond its sender's own window, or more than a window's size below what it had.",
        innocent="A window that is not known exactly; a forged FIN.",
        when=when_odd_ack,
        needs=(BOTH_DIRECTIONS,),
        fragile=True,
        detect=fin_ack_invalid,
        aliases={"Suricata": "fin_invalid_ack, lastack_invalid_ack, closing_invalid_ack"},
        example=HANDSHAKE
        + """
            0.900 > .  101:101(0) ack 1
            1.000 > F. 101:101(0) ack 9000001
        """,
        counterexample=HANDSHAKE
        + """
            0.900 > .  101:101(0) ack 1
            1.000 > F. 101:101(0) ack 3001   # what it acknowledges is missing from the capture
        """,
    ),
)
