"""Rules about receive windows: shut, probed, taken back, overrun."""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.findings.evidence import HANDSHAKE
from tcptrace_fsm.findings.loss import bears, counted, times
from tcptrace_fsm.findings.needs import BOTH_DIRECTIONS, BOTH_SYNS, TO_THE_END
from tcptrace_fsm.findings.rule import SECOND, Hit, Rule, Segment, View, span
from tcptrace_fsm.kernels.layout import (
    C_FLAGS,
    CF_MIDSTREAM,
    E_ACK,
    E_EDGE,
    E_LAST_TIME,
    E_NEXT,
    E_WINDOW,
    E_ZERO_WINDOWS,
    MARK_AFTER_RST,
    MARK_OUT_OF_WINDOW,
    MARK_WINDOW_OPENED,
    MARK_WINDOW_SHRUNK,
    MARK_ZERO_WINDOW,
    MARK_ZERO_WINDOW_PROBE,
    MARK_ZERO_WINDOW_PROBE_ACK,
)
from tcptrace_fsm.text.counts import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcptrace_fsm.findings.rule import End

__all__ = ["RULES"]

PAUSE = SECOND  # a window shut for less is flow control at work
STALL = 5 * SECOND


class Shut(NamedTuple):
    """One time that an endpoint's window was shut.

    Attributes
    ----------
    segments : list of Segment
        Those that said so.
    probes : list of Segment
        What the peer asked meanwhile.
    least : int
        It lasted at least so long, ns; exactly so long where ``opened`` is known.
    open : bool
        Whether it was opened again.
    opened : Segment or None
        The segment that opened it, if that was seen.

    """

    segments: list[Segment]
    probes: list[Segment]
    least: int
    open: bool
    opened: Segment | None

    @property
    def length(self) -> str:
        """How long, in words."""
        if self.opened:
            return f"for {span(self.least)}"
        return f"for {span(self.least)} or longer" if self.least else "for a moment"


def shut(c: View, end: End) -> list[Shut]:
    """When an endpoint's window was shut. While the ACK stays the same, nothing was taken, so it is the same time."""
    groups: list[list[Segment]] = []
    ends: dict[int, Segment] = {}  # by number of the group: what opened it
    for s in end.segments:
        if s.has(MARK_ZERO_WINDOW) and not s.has(MARK_AFTER_RST):
            if groups and s.ack - groups[-1][-1].ack <= 1 and len(groups) - 1 not in ends:
                groups[-1].append(s)
            else:
                groups.append([s])
        elif s.has(MARK_WINDOW_OPENED) and groups:
            ends.setdefault(len(groups) - 1, s)
    found = []
    for number, (group, following) in enumerate(zip_longest(groups, groups[1:])):
        first, last = group[0], group[-1]
        opened = ends.get(number)
        until = opened.time if opened else following[0].time if following else c.end
        probes = [s for s in end.peer.segments if s.has(MARK_ZERO_WINDOW_PROBE) and first.time <= s.time < until]
        # a window of unknown size is open too
        reopened = opened is not None or following is not None or end[E_WINDOW] != 0
        # What an RST had ended before stood still for nobody.
        gone = any(s.rst and s.frame < first.frame for s in end.peer.segments)
        reset = last.time if gone else next((s.time for s in c.segments if s.rst and s.time >= last.time), c.end)
        seen = opened.time if opened else max(s.time for s in (last, *probes)) if reopened else reset
        found.append(Shut(group, probes, max(seen - first.time, 0), reopened, opened))
    return found


def zero_windows(c: View) -> Iterator[Hit]:
    """An endpoint whose receive buffer is full, one finding per receiver."""
    for end in c.ends:
        pauses = shut(c, end)
        if not pauses:
            continue
        longest = max(pauses, key=lambda p: p.least)
        if not longest.open:
            length = f"and had not opened it again {span(longest.least)} later"
        else:
            length = f"{'the longest time ' if len(pauses) > 1 else ''}{longest.length}"
        yield Hit(
            end.side,
            pauses[0].segments[0],
            f"{end.name} shut its window {times(len(pauses), c)}, {length} "
            f"({counted(end[E_ZERO_WINDOWS], 'segment')} with "
            f"window 0): its application did not read as fast as data from {end.peer.name} arrived",
            [s for p in pauses for s in p.segments][1:],
            None if longest.least >= PAUSE else "low",
        )


def stalls(c: View) -> Iterator[Hit]:
    """A window that stays shut while its peer has data to send, one finding per receiver: the longest."""
    for end in c.ends:
        waited = [p for p in shut(c, end) if p.probes and p.least >= STALL]
        if not waited:
            continue
        longest = max(waited, key=lambda p: p.least)
        yield Hit(
            end.side,
            longest.segments[0],
            f"{end.name} kept its window shut {longest.length} while {end.peer.name} had data to send and "
            f"probed {times(len(longest.probes), c)}: its application "
            f"{'did not read' if longest.open else 'has stopped reading'}",
            [*longest.segments[1:], *longest.probes, *([longest.opened] if longest.opened else [])],
        )


def probes(c: View) -> Iterator[Hit]:
    """Probes of a shut window, one finding per sender."""
    for end in c.ends:
        asked = [s for s in end.segments if s.has(MARK_ZERO_WINDOW_PROBE)]
        if asked:
            yield Hit(
                end.side,
                asked[0],
                f"{end.name} probed the shut window of {end.peer.name} {times(len(asked), c)} in "
                f"{span(asked[-1].time - asked[0].time)}: it has data that it may not send",
                asked[1:],
            )


def probe_answers(c: View) -> Iterator[Hit]:
    """Answers that the window is still shut, one finding per receiver."""
    for end in c.ends:
        answers = [s for s in end.segments if s.has(MARK_ZERO_WINDOW_PROBE_ACK)]
        if answers:
            yield Hit(
                end.side,
                answers[0],
                f"{end.name} answered probes of {end.peer.name} {times(len(answers), c)} with window 0: it is alive, "
                "and its window "
                "is still shut",
                answers[1:],
            )


def shrunk(c: View) -> Iterator[Hit]:
    """A right edge that moved left, one finding per receiver."""
    for end in c.ends:
        taken = [s for s in end.segments if s.has(MARK_WINDOW_SHRUNK)]
        if taken:
            first = taken[0]
            yield Hit(
                end.side,
                first,
                f"{end.name} took back window that it had offered, {times(len(taken), c)}: first down to "
                f"{count(first.window, 'byte')} from "
                f"byte {first.ack} on; what {end.peer.name} had already sent beyond that is dropped",
                taken[1:],
            )


def beyond(end: End) -> list[Segment]:
    """New data that an endpoint sent beyond the window announced to it."""
    return [s for s in end.segments if s.has(MARK_OUT_OF_WINDOW)]


def overrun(c: View) -> Iterator[Hit]:
    """Data that begin inside the window and end beyond it, one finding per sender."""
    for end in c.ends:
        sent = [s for s in beyond(end) if s.seq <= end.peer[E_EDGE]]
        if not sent:
            continue
        taken = end.peer[E_ACK] >= sent[-1].end
        # Who goes on sending to a receiver that is heard no more has heard it: its ACKs are missing here.
        unheard = end.peer[E_LAST_TIME] < sent[0].time and end[E_NEXT] > sent[-1].end
        fate = "acknowledged them all the same" if taken else "has not acknowledged them"
        yield Hit(
            end.side,
            sent[0],
            f"{end.name} sent more than {end.peer.name} had room for, {times(len(sent), c)}: "
            f"{count(sent[0].length, 'byte')} "
            "from byte "
            f"{sent[0].seq} on went beyond its window; {end.peer.name} {fate}",
            sent[1:],
            # Of whoever has acknowledged nothing here, the ACKs may be missing, and the room that they gave.
            "info" if taken else None if end.peer[E_ACK] > 1 and not unheard else "low",
        )


def outside(c: View) -> Iterator[Hit]:
    """Data that begin beyond any window ever announced, one finding per sender."""
    if c[C_FLAGS] & CF_MIDSTREAM:
        return  # by how much windows are scaled is not known, nor what was announced before
    for end in c.ends:
        sent = [s for s in beyond(end) if s.seq > end.peer[E_EDGE]]
        # What was acknowledged had room; and of whoever has acknowledged nothing here, no window is known.
        if sent and 1 < end.peer[E_ACK] < sent[0].end:
            yield Hit(
                end.side,
                sent[0],
                f"a segment of {end.name} lies {count(sent[0].seq - end.peer[E_EDGE], 'byte')} beyond any window that "
                f"{end.peer.name} "
                f"announced ({times(len(sent), c)}): an old or forged segment, or another connection's",
                sent[1:],
            )


SHUT = (
    HANDSHAKE
    + """
            1.000 > P. 101:1101(1000) ack 1
            1.010 < .  1:1(0)         ack 1101 win 0
"""
)

PROBED = (
    SHUT
    + """
            1.210 > .  1100:1100(0) ack 1
            1.220 < .  1:1(0)       ack 1101 win 0
            2.100 > .  1100:1100(0) ack 1
            2.110 < .  1:1(0)       ack 1101 win 0
"""
)

NARROW = """
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0) ack 1 win 600
            0.020 > .  1:1(0) ack 1
"""

RULES = (
    Rule(
        kind="zero_window",
        category="data",
        severity="medium",
        rfc="RFC 9293 3.8.6.1",
        summary="A receiver announced that it has no room left.",
        evidence="A segment other than SYN, FIN or RST with window 0; low where it was shut for less than a second.",
        innocent="A pause of the application; a window of 0 for one round trip is flow control at work.",
        when=bears(MARK_ZERO_WINDOW),
        fragile=True,
        detect=zero_windows,
        aliases={"Wireshark": "tcp.analysis.zero_window", "Zeek": "history W", "argus": "WINDOW_SHUT"},
        example=SHUT
        + """
            3.000 < .  1:1(0)         ack 1101 win 5000
            3.010 > P. 1101:1201(100) ack 1
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > P. 101:1101(1000) ack 1
            1.010 < R. 1:1(0)         ack 1101 win 0
        """,
    ),
    Rule(
        kind="zero_window_stall",
        category="data",
        severity="high",
        rfc="RFC 9293 3.8.6.1",
        summary="A receiver kept its window shut for long, and its peer had data for it.",
        evidence="Window 0 for five seconds or more without a byte taken, and probes of the peer meanwhile.",
        innocent="An application that pauses on purpose, a player with a full buffer for instance.",
        when=bears(MARK_ZERO_WINDOW_PROBE),
        needs=(BOTH_DIRECTIONS, TO_THE_END),
        fragile=True,
        detect=stalls,
        example=PROBED
        + """
            8.100 > .  1100:1100(0) ack 1
            8.110 < .  1:1(0)       ack 1101 win 0
        """,
        counterexample=PROBED
        + """
            2.500 < .  1:1(0)         ack 1101 win 65535
            2.510 > P. 1101:1201(100) ack 1
            2.520 < .  1:1(0)         ack 1201
            end 30
        """,
    ),
    Rule(
        kind="zero_window_probe",
        category="data",
        severity="info",
        rfc="RFC 9293 3.8.6.1",
        summary="A sender asked whether a shut window has opened.",
        evidence="No byte or one, just below or at what was sent, while the peer's window is 0.",
        innocent="This is how TCP finds out that a window update was lost.",
        when=bears(MARK_ZERO_WINDOW_PROBE),
        needs=(BOTH_DIRECTIONS,),
        detect=probes,
        aliases={
            "Wireshark": "tcp.analysis.zero_window_probe, of Linux tcp.analysis.keep_alive",
            "tcptrace": "zwnd probe pkts",
        },
        example=PROBED,
        counterexample=HANDSHAKE
        + """
            8.100 > .  100:100(0) ack 1   # the window is open: a keepalive
            8.110 < .  1:1(0)     ack 101
        """,
    ),
    Rule(
        kind="zwp_ack",
        category="data",
        severity="info",
        rfc="RFC 9293 3.8.6.1",
        summary="A receiver answered a probe: its window is still shut.",
        evidence="The same ACK with window 0 again, after a probe.",
        innocent="This is how it has to answer.",
        when=bears(MARK_ZERO_WINDOW_PROBE_ACK),
        needs=(BOTH_DIRECTIONS,),
        detect=probe_answers,
        aliases={"Wireshark": "tcp.analysis.zero_window_probe_ack"},
        example=PROBED,
        counterexample=SHUT
        + """
            1.210 > .  1100:1100(0)   ack 1
            1.220 < .  1:1(0)         ack 1101 win 65535
            1.230 > P. 1101:1201(100) ack 1
        """,
    ),
    Rule(
        kind="window_shrunk",
        category="data",
        severity="low",
        rfc="RFC 9293 3.8.6 (SHLD-14)",
        summary="A receiver took back window that it had already offered.",
        evidence=(
            "The right edge (ACK plus window) moves left by more than 16 KiB, in a segment that is not an old one."
        ),
        innocent="Rounding by the window scale moves it by less; a system short of memory may have to.",
        when=bears(MARK_WINDOW_SHRUNK),
        detect=shrunk,
        aliases={"Zeek": "window_recision", "Suricata": "pkt_bad_window_update"},
        example=HANDSHAKE
        + """
            1.000 > P. 101:1101(1000) ack 1
            1.010 < .  1:1(0)         ack 1101 win 20000
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > P. 101:1101(1000) ack 1
            1.010 < .  1:1(0)         ack 1101 win 64535
        """,
    ),
    Rule(
        kind="window_overrun",
        category="data",
        severity="medium",
        rfc="RFC 9293 3.8.6",
        summary="A sender sent more than its peer had announced room for.",
        evidence=(
            "New data that begin within the window and end beyond its right edge, more than one byte; info "
            "where they were accepted."
        ),
        innocent="The ACK that moved the edge is not in the capture.",
        when=bears(MARK_OUT_OF_WINDOW),
        needs=(BOTH_SYNS,),
        fragile=True,
        detect=overrun,
        aliases={"conntrack": "bytes more than expected"},
        example=NARROW + "            0.030 > P. 1:1001(1000) ack 1\n",
        counterexample=NARROW + "            0.030 > P. 1:601(600) ack 1\n",
    ),
    Rule(
        kind="out_of_window_segment",
        category="data",
        severity="medium",
        rfc="RFC 9293 3.10.7.4",
        summary="A segment lies beyond any window that its receiver ever announced.",
        evidence="Data that begin beyond the greatest ACK plus window of the peer.",
        innocent="Frames missing from the capture; a middlebox that rewrites sequence numbers in one direction only.",
        when=bears(MARK_OUT_OF_WINDOW),
        needs=(BOTH_DIRECTIONS,),
        fragile=True,
        detect=outside,
        aliases={"Suricata": "est_packet_out_of_window", "conntrack": "SEQ is over upper bound"},
        example=HANDSHAKE
        + """
            1.000 > P. 900101:900201(100) ack 1
            1.010 < .  1:1(0)             ack 101
        """,
        counterexample=NARROW + "            0.030 > P. 1:1001(1000) ack 1\n",
    ),
)
