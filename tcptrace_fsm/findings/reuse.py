"""Rules about four-tuples that are used again, and about SYNs and segments of the wrong incarnation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.evidence import (
    CLOSED_BY_CLIENT,
    CLOSED_BY_SERVER,
    HANDSHAKE,
    older,
    outdated,
    prompt,
    state_at,
)
from tcptrace_fsm.findings.needs import ACROSS, BOTH_DIRECTIONS
from tcptrace_fsm.findings.rule import SECOND, Hit, Key, Rule, Segment, View, mask, span
from tcptrace_fsm.kernels.layout import (
    C_ACCEPTED,
    C_FLAGS,
    C_MARKS,
    C_TAKEN_BY,
    C_TAKEN_FRAME,
    C_TAKEN_OVER,
    C_TAKEN_SEQ,
    C_TAKEN_TSVAL,
    CF_MIDSTREAM,
    ELSEWHERE,
    FACT_ENDING,
    FACT_ESTABLISHED,
    FACT_OLD_DATA,
    FACT_ROLES_REVERSED,
    MARK_BAD_CHECKSUM,
    MARK_CAPTURE_DUPLICATE,
    MARK_SPURIOUS,
    MARK_STRAY_SYN,
    SERVER,
)
from tcptrace_fsm.tcp.machine import Basis, Event, State
from tcptrace_fsm.text.counts import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcptrace_fsm.findings.rule import Change, End

__all__ = ["RULES"]

COPIED_WITHIN = SECOND // 50
FORGOTTEN = 60 * SECOND  # after such a silence a close that the capture missed is likely
ENDING = (State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSE_WAIT, State.CLOSING, State.LAST_ACK)


def taken_at(c: View) -> Change | None:
    """The SYN that took the four-tuple over, in the shape of a change, for time and frame; None without any segment."""
    if not c.changes:
        return None
    return c.changes[-1]._replace(
        side=c[C_TAKEN_BY], time=c[C_TAKEN_OVER], frame=c[C_TAKEN_FRAME], basis=Basis.SENT, confirmed_by=None
    )


def last_before(c: View) -> int:
    """When the connection was last heard before it was taken over."""
    return max((s.last_time for s in c.segments if s.last_time < c[C_TAKEN_OVER]), default=c[C_TAKEN_OVER])


def reuse_before_2msl(c: View) -> Iterator[Hit]:
    """A new connection so soon that segments of the old may still be under way, and no TIME_WAIT to stop them."""
    syn = taken_at(c)
    gap = c[C_TAKEN_OVER] - last_before(c)
    if syn is None or c[C_ACCEPTED] < 0 or gap >= c.profile.time_wait.least * SECOND:
        return
    if any(x.event is Event.REUSED for x in c.changes) or not all(e.entered(State.ESTABLISHED) for e in c.ends):
        return
    end = c.ends[c[C_TAKEN_BY]]
    yield Hit(
        end.side,
        syn,
        f"{end.name} used the four-tuple to {end.peer.name} again {span(gap)} after the last segment of the connection "
        f"before, which left no TIME_WAIT; 2MSL is {c.profile.time_wait.least:.0f} s",
    )


def active_connection_reuse(c: View) -> Iterator[Hit]:
    """A new connection is accepted although nobody had closed the old one."""
    syn = taken_at(c)
    if syn is None or c[C_ACCEPTED] < 0:
        return
    if any(state_at(end, c[C_TAKEN_OVER]) is not State.ESTABLISHED for end in c.ends):
        return
    if c[C_FLAGS] & CF_MIDSTREAM and -ELSEWHERE < c[C_TAKEN_SEQ] <= 0:
        return  # its numbers lead up to those of what is taken for the old one: it began that, and was stamped late
    silent = c[C_TAKEN_OVER] - last_before(c)
    end = c.ends[c[C_TAKEN_BY]]
    yield Hit(
        end.side,
        syn,
        f"{end.name} opened the four-tuple to {end.peer.name} anew, and that was accepted, although the connection on "
        f"it was open and had been silent for {span(silent)}: both ends lost it, or its close is not in the "
        "capture",
        severity="low" if silent >= FORGOTTEN else None,
    )


def strays(c: View) -> Iterator[tuple[End, Segment, State]]:
    """SYNs that fell into the connection and came to nothing, one per receiver: receiver, SYN, its state then."""
    for end in c.ends:
        stray = next((s for s in end.peer.segments if s.has(MARK_STRAY_SYN)), None)
        if stray:
            yield end, stray, state_at(end, stray.time)


def stray_syn_challenged(c: View) -> Iterator[Hit]:
    """A SYN inside an open connection, which goes on."""
    for end, stray, state in strays(c):
        if state in ENDING:
            continue
        answer = c.after(stray, side=end.side)
        yield Hit(
            end.side,
            stray,
            f"a SYN with another sequence number reached {end.name} in the name of {end.peer.name} inside their "
            "connection, which went on: forged, or an old duplicate",
            (answer,) if answer and answer.time - stray.time <= prompt(end) else (),
        )


def syn_in_closing_state(c: View) -> Iterator[Hit]:
    """A SYN while the connection is half closed."""
    syn = taken_at(c) if c[C_TAKEN_OVER] >= 0 else None
    if syn:
        end = c.ends[1 - c[C_TAKEN_BY]]
        yield from closing_hit(end, syn, state_at(end, syn.time))
        return
    for end, stray, state in strays(c):
        yield from closing_hit(end, stray, state)


def closing_hit(end: End, syn: Segment | Change, state: State) -> Iterator[Hit]:
    """The finding, if the SYN's receiver is closing."""
    if state in ENDING:
        since = end.entered(state)
        waited = f" for {span(syn.time - since.time)}" if since else ""
        yield Hit(
            end.side,
            syn,
            f"{end.peer.name} sent a new SYN while {end.name} had been in {state.name}{waited}: the old connection is "
            "in its way",
            (since,) if since else (),
        )


def old_duplicate_segment(c: View) -> Iterator[Hit]:
    """Data or a FIN with numbers that are over."""
    for end in c.ends:
        found = old_data(c, end)
        if found is None:
            continue
        old, since, new = found
        event = "the new connection on the four-tuple had been accepted" if new else "it had closed"
        what = f"{event} {span(since)} before"
        yield Hit(
            end.side,
            old,
            f"a segment of {end.name} with {what_of(old)} of the old sequence space arrived although {what}: "
            "something held it back on the way, or copied it",
            severity=None if new else "low",
        )


def what_of(segment: Segment) -> str:
    """What a segment carries, in words."""
    return count(segment.length, "byte") if segment.length else "the FIN"


def old_data(c: View, end: End) -> tuple[Segment, int, bool] | None:
    """An old segment of ``end``: itself, how late it is, and whether a new connection is there for it to harm."""
    unreal = mask(MARK_CAPTURE_DUPLICATE, MARK_BAD_CHECKSUM)
    sent = [s for s in end.segments if (s.length or s.fin) and not s.marks & unreal]
    if c[C_TAKEN_OVER] >= 0 and c[C_ACCEPTED] >= 0:
        # In a capture that holds a time twice, what came before the new SYN may bear later stamps.
        behind = (s for s in sent if s.time > c[C_ACCEPTED] and s.frame > c[C_TAKEN_FRAME])
        late = next((s for s in behind if had_passed(s, end, c)), None)
        copied = c[C_MARKS] & mask(MARK_CAPTURE_DUPLICATE) or (late and late.ip_id <= 0 and late.tsval < 0)
        if late and copied and late.time - c[C_ACCEPTED] < COPIED_WITHIN:
            return None  # the capture holds frames twice, or nothing tells it from that: a copy of one before
        if late:
            return late, late.time - c[C_ACCEPTED], True
    closed = end.left(State.LAST_ACK)
    if closed is None or closed.event is not Event.RCV_ACK_OF_FIN or closed.basis is Basis.INFERRED:
        return None
    fin = next((s for s in sent if s.fin), None)
    if fin is None or fin.tsval < 0:
        return None  # only its timestamp tells an old segment from a retransmission for want of the last ACK
    after = [s for s in sent if s.length and s.has(MARK_SPURIOUS) and s.time > closed.time + prompt(end)]
    late = next((s for s in after if outdated(s, fin)), None)
    return (late, late.time - closed.time, False) if late else None


def had_passed(late: Segment, end: End, c: View) -> bool:
    """Whether what a segment carries had passed, or was acknowledged, before the new SYN: by frames and by stamps.

    Otherwise the capture itself has it in the wrong place, as where its pieces were put together in another order.
    """
    past = [s for s in c.segments if s.frame < c[C_TAKEN_FRAME] and s.last_time < c[C_TAKEN_OVER]]
    if any(late.end <= (s.end if s.side == end.side else s.ack) for s in past):
        return not older(c[C_TAKEN_TSVAL], last_stamp(c.ends[c[C_TAKEN_BY]], c))
    return False


def last_stamp(end: End, c: View) -> int:
    """The latest timestamp that an endpoint had sent before the new SYN; -1 for none."""
    return next((s.tsval for s in reversed(end.segments) if s.frame < c[C_TAKEN_FRAME] and s.tsval >= 0), -1)


def role_reversed_reuse(c: View) -> Iterator[Hit]:
    """The former server opens."""
    syn = taken_at(c)
    if syn and c[C_TAKEN_BY] == SERVER and c[C_ACCEPTED] >= 0:
        yield Hit(
            SERVER,
            syn,
            f"{c.server.name}, the server before, opened the next connection on the four-tuple to {c.client.name}, "
            f"{span(c[C_TAKEN_OVER] - last_before(c))} after the last one",
        )


def when_opened_before(key: Key) -> bool:
    """A later incarnation of what had been open."""
    return key.taken_over and key.shows(FACT_ESTABLISHED)


def when_reversed(key: Key) -> bool:
    """The server opened the later incarnation."""
    return key.taken_over and key.shows(FACT_ROLES_REVERSED)


def when_stray(key: Key) -> bool:
    """A SYN that came to nothing."""
    return bool(key.marks & mask(MARK_STRAY_SYN))


def when_stray_or_taken(key: Key) -> bool:
    """A SYN inside a connection that was being closed, whatever came of it."""
    return (key.taken_over or when_stray(key)) and key.shows(FACT_ENDING)


def when_late(key: Key) -> bool:
    """A later incarnation, or data that had been acknowledged already."""
    return key.shows(FACT_OLD_DATA) and (key.taken_over or bool(key.marks & mask(MARK_SPURIOUS)))


RULES = (
    Rule(
        kind="reuse_before_2msl",
        category="time_wait",
        severity="low",
        rfc="RFC 9293 3.6.1",
        summary="A four-tuple was used again before segments of its last connection can have died.",
        evidence="A SYN less than 2MSL after the last segment, accepted, where no end was in TIME_WAIT.",
        innocent="After a reset there is no TIME_WAIT, and timestamps or growing sequence numbers still protect.",
        when=when_opened_before,
        needs=(BOTH_DIRECTIONS,),
        detect=reuse_before_2msl,
        aliases={"Wireshark": "tcp.analysis.reused_ports", "Zeek": "premature_connection_reuse"},
        example=HANDSHAKE
        + """
            1.000 > R. 101:101(0) ack 1
            isn 200000 900000
            3.000 > S  0:0(0)
            3.010 < S. 0:0(0) ack 1
            3.020 > .  1:1(0) ack 1
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > R. 101:101(0) ack 1
            isn 200000 900000
            90.00 > S  0:0(0)
            90.01 < S. 0:0(0) ack 1
            90.02 > .  1:1(0) ack 1
        """,
    ),
    Rule(
        kind="active_connection_reuse",
        category="time_wait",
        severity="medium",
        rfc="RFC 9293 3.5.1",
        summary="A connection was opened on a four-tuple whose last connection nobody had closed.",
        evidence="A SYN+ACK for a SYN with a new sequence number, both ends established until then.",
        innocent="A close that the capture misses, which is likely (and the finding low) after a minute of silence.",
        when=when_opened_before,
        needs=(BOTH_DIRECTIONS, ACROSS),
        fragile=True,
        detect=active_connection_reuse,
        aliases={"Zeek": "active_connection_reuse", "Wireshark": "tcp.analysis.reused_ports", "argus": "PORT_REUSE"},
        example=HANDSHAKE
        + """
            isn 200000 900000
            3.000 > S  0:0(0)
            3.010 < S. 0:0(0) ack 1
            3.020 > .  1:1(0) ack 1
        """,
        counterexample=HANDSHAKE
        + """
            isn 200000 5000
            3.000 > S  0:0(0)
            isn 1000 5000
            3.010 < .  1:1(0)       ack 101
            3.020 > P. 101:201(100) ack 1
            3.030 < .  1:1(0)       ack 201
        """,
    ),
    Rule(
        kind="stray_syn_challenged",
        category="time_wait",
        severity="low",
        rfc="RFC 5961 4",
        summary="A SYN with another sequence number fell into an open connection and changed nothing.",
        evidence="The SYN, and afterwards segments of the old connection from the side that seems to have sent it.",
        innocent="An old duplicate; protection at work.",
        when=when_stray,
        needs=(BOTH_DIRECTIONS,),
        detect=stray_syn_challenged,
        aliases={"Linux": "TCPSYNChallenge", "Suricata": "est_syn_resend_diff_seq", "Wireshark": "a stream of its own"},
        example=HANDSHAKE
        + """
            isn 200000 5000
            3.000 > S  0:0(0)
            isn 1000 5000
            3.010 < .  1:1(0)       ack 101
            3.020 > P. 101:201(100) ack 1
            3.030 < .  1:1(0)       ack 201
        """,
        counterexample=HANDSHAKE
        + """
            isn 200000 5000
            3.000 > S  0:0(0)
            isn 1000 5000
            3.010 < .  1:1(0)       ack 101
            3.020 > R  101:101(0)
        """,
    ),
    Rule(
        kind="syn_in_closing_state",
        category="time_wait",
        severity="low",
        rfc="RFC 5961 4",
        summary="A SYN met a connection that is not yet wholly closed.",
        evidence="A SYN with a new sequence number while its receiver is between ESTABLISHED and its end.",
        innocent="A client that was restarted, or uses few ports; a last ACK that was lost.",
        when=when_stray_or_taken,
        needs=(BOTH_DIRECTIONS,),
        detect=syn_in_closing_state,
        aliases={"Suricata": "shutdown_syn_resend", "Zeek": "SYN_after_close"},
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
            isn 200000 900000
            3.000 > S  0:0(0)
            3.010 < S. 0:0(0) ack 1
            3.020 > .  1:1(0) ack 1
        """,
        counterexample=CLOSED_BY_SERVER
        + """
            isn 200000 900000
            3.000 > S  0:0(0)
            3.010 < S. 0:0(0) ack 1
            3.020 > .  1:1(0) ack 1
        """,
    ),
    Rule(
        kind="old_duplicate_segment",
        category="time_wait",
        severity="high",
        rfc="RFC 9293 3.4.2",
        summary="A segment of a connection that is over arrived late; TIME_WAIT is there to keep it from the next one.",
        evidence="Data or a FIN in the old sequence space after the new connection was accepted, or (low) after the "
        "close.",
        innocent="A retransmission that crossed the end of the connection.",
        when=when_late,
        fragile=True,
        detect=old_duplicate_segment,
        example=CLOSED_BY_SERVER
        + """
            isn 200000 900000
            3.000 > S  0:0(0)
            3.010 < S. 0:0(0) ack 1
            3.020 > .  1:1(0) ack 1
            isn 1000 5000
            3.500 > P. 1:101(100) ack 1
        """,
        counterexample=CLOSED_BY_SERVER
        + """
            isn 200000 900000
            3.000 > S  0:0(0)
            3.010 < S. 0:0(0) ack 1
            3.020 > .  1:1(0) ack 1
            3.500 > P. 1:101(100) ack 1
        """,
    ),
    Rule(
        kind="role_reversed_reuse",
        category="time_wait",
        severity="info",
        rfc="RFC 9293 3.6.1",
        summary="The former server opened the next connection on the same four-tuple.",
        evidence="A SYN from the server's address and port to the client's, and a SYN+ACK in answer.",
        innocent="Protocols that use fixed ports on both sides, such as BGP.",
        when=when_reversed,
        needs=(BOTH_DIRECTIONS,),
        detect=role_reversed_reuse,
        aliases={"conntrack": "reopened in the reply direction"},
        example=CLOSED_BY_CLIENT
        + """
            isn 200000 900000
            30.00 < S  0:0(0)
            30.01 > S. 0:0(0) ack 1
            30.02 < .  1:1(0) ack 1
        """,
        counterexample=CLOSED_BY_CLIENT
        + """
            isn 200000 900000
            30.00 > S  0:0(0)
            30.01 < S. 0:0(0) ack 1
            30.02 > .  1:1(0) ack 1
        """,
    ),
)
