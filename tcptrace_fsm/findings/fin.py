"""Rules about FINs that are repeated, and about FINs that no correct endpoint sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.evidence import HANDSHAKE, heard, times, when_closing
from tcptrace_fsm.findings.needs import BEGINNING, BOTH_DIRECTIONS, BOTH_SYNS
from tcptrace_fsm.findings.rule import SECOND, Hit, Key, Rule, Segment, View, mask, span
from tcptrace_fsm.kernels.layout import (
    BASE_SYN,
    CF_CLOSING,
    CF_MIDSTREAM,
    E_BASE_KNOWN,
    E_EDGE,
    E_FIN,
    E_FINS,
    E_SHIFT,
    FACT_CLOSE_AGAIN,
    FACT_FIN_ODD_ACK,
    MARK_ACK_OLD,
    MARK_ACK_UNSEEN,
    MARK_BEYOND_FIN,
    MARK_DSACK,
    MARK_FIN_AGAIN,
    MARK_GAP,
    MARK_NETWORK_DUPLICATE,
    MARK_ODD_FLAGS,
    MARK_OUT_OF_WINDOW,
    MARK_SPURIOUS,
    TCP_ACK,
    TCP_FIN,
    TCP_RST,
    TCP_SYN,
    TCP_URG,
)
from tcptrace_fsm.tcp.machine import State

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcptrace_fsm.findings.rule import End

__all__ = ["RULES"]

COPIED = SECOND // 1000
ELSEWHERE = 1 << 24  # bytes; what lies so far off is of another connection on the same ports
STORM = 10  # segments without data, one after another, that nobody asked for


def fins_of(end: End) -> list[Segment]:
    """Its FINs, without copies that the capture or the network made: no timer is as quick as those."""
    fins: list[Segment] = []
    latest = -COPIED
    for s in heard(end.segments):
        if s.fin and not s.has(MARK_NETWORK_DUPLICATE):
            if s.time - latest >= COPIED or s.end != fins[0].end:
                fins.append(s)
            latest = s.time
    return fins


def lost_last_ack(end: End) -> tuple[Segment, Segment, bool] | None:
    """The last ACK of an endpoint in TIME_WAIT that got lost: itself, the FIN that proves so, whether it passed here.

    Either the ACK had passed before the FIN came again, or the ACK of the repeated FIN shows that an earlier one had
    been received: by the timestamp that it echoes (RFC 7323 section 4.3) or by a duplicate SACK (RFC 2883).
    """
    fins = fins_of(end.peer)
    if not end.entered(State.TIME_WAIT) or not fins:
        return None
    acks = [s for s in heard(end.segments) if not s.rst and s.ack >= end.peer[E_FIN]]
    if not acks:
        return None
    later = [
        s for s in heard(end.peer.segments) if s.time > acks[0].time + COPIED and not s.has(MARK_NETWORK_DUPLICATE)
    ]
    again = next((s for s in later if s.fin or (s.length and s.has(MARK_SPURIOUS) and s.tsval >= fins[0].tsval)), None)
    if again:
        return acks[0], again, True
    if len(fins) < 2:
        return None
    echoed = acks[0].tsecr in [f.tsval for f in fins[:-1] if f.tsval >= 0] and acks[0].tsecr != fins[-1].tsval
    return (acks[0], fins[-1], False) if echoed or acks[0].has(MARK_DSACK) else None


def last_ack_lost(c: View) -> Iterator[Hit]:
    """A FIN is repeated although its receiver had acknowledged it."""
    for end in c.ends:
        found = lost_last_ack(end)
        if found is None:
            continue
        ack, again, passed = found
        first = fins_of(end.peer)[0]
        what = "its FIN" if again.fin else "data"
        how = (
            f"repeated {what} {span(again.time - ack.time)} after that ACK had passed here"
            if passed
            else f"repeated its FIN {span(again.time - first.time)} after the first, which had been received, as the "
            "next ACK shows"
        )
        yield Hit(
            end.side, again, f"the last ACK of {end.name} was lost: {end.peer.name} {how}", (ack, *fins_of(end.peer))
        )


def fin_retransmission(c: View) -> Iterator[Hit]:
    """A FIN that was sent again for want of an ACK, unless it was the last ACK that got lost."""
    for end in c.ends:
        fins = fins_of(end)
        again = [s for s in fins[1:] if s.has(MARK_FIN_AGAIN)]
        if not again or lost_last_ack(end.peer):
            continue
        lost = "its ACK was lost" if again[0].has(MARK_SPURIOUS) else "it or its ACK was lost"
        yield Hit(
            end.side,
            again[0],
            f"{end.name} repeated its FIN {times(len(again))}, {span(again[0].time - fins[0].time)} after the first: "
            f"{lost}",
            (fins[0], *again[1:]),
        )


def fin_without_ack(c: View) -> Iterator[Hit]:
    """A bare FIN."""
    wanted = TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK | TCP_URG
    for end in c.ends:
        bare = [s for s in heard(end.segments) if s.flags & wanted == TCP_FIN]
        if bare:
            yield Hit(
                end.side,
                bare[0],
                f"{end.name} sent {end.peer.name} a FIN without ACK ({times(len(bare))}): no TCP does, every segment "
                "after the first SYN carries one",
                bare[1:],
            )


def fin_no_session(c: View) -> Iterator[Hit]:
    """A FIN begins the conversation, and nobody knows of a connection."""
    first = c.segments[0] if c.segments else None
    if first is None or not first.fin:
        return
    end = c.ends[first.side]
    answer = next((s for s in end.peer.segments), None)
    if answer is not None and not answer.rst:
        return  # the connection was there: the capture began inside it
    said = "answered with RST: it knows of no connection" if answer else "never answered"
    yield Hit(
        end.side,
        first,
        f"{end.name} began with a FIN, without any handshake in the capture, and {end.peer.name} {said}",
        (answer,) if answer else (),
        None if answer else "info",
    )


def inappropriate_fin(c: View) -> Iterator[Hit]:
    """A FIN from an endpoint that has not had the peer's SYN."""
    for end in c.ends:
        syn = next((s for s in end.segments if s.syn), None)
        fin = next(
            (s for s in heard(end.segments) if s.flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK) == TCP_FIN), None
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
        beyond = [s for s in heard(end.segments) if s.fin and s.seq > edge]
        if beyond:
            yield Hit(
                end.side,
                beyond[0],
                f"a FIN of {end.name} lies {beyond[0].seq - edge} bytes beyond the window of {end.peer.name}, which "
                "must ignore it",
                beyond[1:],
            )


def fin_seq_changed(c: View) -> Iterator[Hit]:
    """Two FINs of one endpoint that do not end the stream at the same byte."""
    for end in c.ends:
        fins = fins_of(end)
        other = next((s for s in fins if s.end != fins[0].end), None)
        if other:
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
        beyond = [s for s in heard(end.segments) if s.has(MARK_BEYOND_FIN)]
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
        highest = -1
        for s in heard(end.segments):
            if s.fin and s.flags & TCP_ACK:
                beyond = s.has(MARK_ACK_UNSEEN) and end[E_EDGE] >= 0 and s.ack > end[E_EDGE] + 1
                before = s.has(MARK_ACK_OLD) and (s.ack < highest - reach or s.ack == 0 < highest)
                if beyond or before:
                    what = f"{s.ack - end[E_EDGE]} bytes beyond its own window" if beyond else "what is long past"
                    yield Hit(
                        end.side, s, f"a FIN of {end.name} acknowledges {what}: {end.peer.name} must not accept it"
                    )
                    break
            elif not s.rst:
                highest = max(highest, s.ack)


def fin_storm(c: View) -> Iterator[Hit]:
    """Many FINs in a row, faster than any timer repeats them."""
    for end in c.ends:
        if end[E_FINS] < STORM:
            continue
        row: list[Segment] = []
        for s in heard(end.segments):
            if s.fin:
                row = [*row, s] if row and s.time - row[-1].time < SECOND else [s]
            if len(row) == STORM:
                yield Hit(
                    end.side,
                    row[-1],
                    f"{end.name} sent {end[E_FINS]} FINs, {STORM} of them within {span(row[-1].time - row[0].time)}: "
                    "something repeats them, or copies them on the way",
                    row,
                )
                break


def when_fin_again(key: Key) -> bool:
    """A FIN was repeated."""
    return bool(key.marks & mask(MARK_FIN_AGAIN))


def when_close_again(key: Key) -> bool:
    """A FIN, or data that had been acknowledged, were repeated."""
    return key.shows(FACT_CLOSE_AGAIN) and when_closing(key) and bool(key.marks & mask(MARK_FIN_AGAIN, MARK_SPURIOUS))


def when_odd_flags(key: Key) -> bool:
    """A combination of flags that no TCP sends."""
    return bool(key.marks & mask(MARK_ODD_FLAGS))


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
        kind="fin_retransmission",
        category="close",
        severity="low",
        rfc="RFC 6298 5.4",
        summary="A FIN was sent again because no ACK of it came.",
        evidence="A FIN that ends at the same byte as one before; not a copy by the capture or the network.",
        innocent="One lost segment, repaired; an ACK that is delayed for longer than the retransmission timer.",
        when=when_fin_again,
        detect=fin_retransmission,
        aliases={"Wireshark": "tcp.analysis.retransmission of a FIN"},
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.210 > F. 101:101(0) ack 1
            1.220 < F. 1:1(0)     ack 102
            1.230 > .  102:102(0) ack 2
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.0005 > F. 101:101(0) ack 1 id 104   # the very same frame again
            1.010 < F. 1:1(0)     ack 102
            1.020 > .  102:102(0) ack 2
        """,
    ),
    Rule(
        kind="last_ack_lost",
        category="close",
        severity="low",
        rfc="RFC 9293 3.10.7.4",
        summary="The ACK of the last FIN got lost; TIME_WAIT is there to send it again.",
        evidence="A FIN sent again after the ACK of it had passed, or although the next ACK proves it was received.",
        innocent="The FIN and its ACK may just have crossed on a slow way.",
        when=when_close_again,
        needs=(BOTH_DIRECTIONS,),
        detect=last_ack_lost,
        aliases={"Wireshark": "tcp.analysis.retransmission of a FIN"},
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1   <ts 1000/2000>
            1.010 < F. 1:1(0)     ack 102 <ts 2010/1000>
            1.230 < F. 1:1(0)     ack 102 <ts 2230/1000>
            1.240 > .  102:102(0) ack 2   <ts 1240/2010>
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1   <ts 1000/2000>
            1.010 < F. 1:1(0)     ack 102 <ts 2010/1000>
            1.230 < F. 1:1(0)     ack 102 <ts 2230/1000>
            1.240 > .  102:102(0) ack 2   <ts 1240/2230>
        """,
    ),
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
        when=when_odd_flags,
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
        evidence="A second FIN whose last sequence number differs from that of the first.",
        innocent="None for one host; somebody else sent one of them, or a middlebox changed the stream's length.",
        when=when_fin_again,
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
    Rule(
        kind="fin_storm",
        category="close",
        severity="medium",
        rfc="RFC 6298 5.5",
        summary="FINs in a row, far faster than a retransmission timer sends them.",
        evidence="Ten FINs of one endpoint with less than a second between each two.",
        innocent="A mirror port that copies frames, or a loop in the network.",
        when=when_fin_again,
        detect=fin_storm,
        aliases={"Zeek": "FIN_storm"},
        example=HANDSHAKE + "".join(f"            1.{n:02d}0 > F. 101:101(0) ack 1\n" for n in range(0, 60, 5)),
        counterexample=HANDSHAKE + "".join(f"            {2**n}.000 > F. 101:101(0) ack 1\n" for n in range(12)),
    ),
)
