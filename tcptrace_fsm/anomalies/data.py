"""Rules about the transfer of data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.anomalies.rule import Hit, Key, Rule, View, mask, span
from tcptrace_fsm.kernels.layout import E_ZERO_WINDOWS, MARK_SYN_ACK_AGAIN, MARK_SYN_AGAIN, MARK_TIMEOUT, MARK_ZERO_WINDOW

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RULES"]


def timeouts(c: View) -> Iterator[Hit]:
    """Retransmissions after the retransmission timer ran out, one finding per sender."""
    for end in c.ends:
        again = [s for s in end.segments if s.has(MARK_TIMEOUT) and not s.has(MARK_SYN_AGAIN, MARK_SYN_ACK_AGAIN) and not s.fin]
        if not again:
            continue
        waits = [s.time - before.time for s in again if (before := c.before(s, side=end.side))]
        longest = f", after up to {span(max(waits))} without progress" if waits else ""
        times = "once" if len(again) == 1 else f"{len(again)} times"
        yield Hit(
            end.side,
            again[0],
            f"{end.name} repeated data {times} because its retransmission timer ran out{longest}: "
            "segments or their ACKs were lost and nothing else told it so",
            again[1:],
        )


def zero_windows(c: View) -> Iterator[Hit]:
    """An endpoint whose receive buffer is full, one finding per receiver."""
    for end in c.ends:
        shut = [s for s in end.segments if s.has(MARK_ZERO_WINDOW)]
        if not shut:
            continue
        opened = next((s for s in end.segments if s.frame > shut[-1].frame and s.window), None)
        until = f" for {span(opened.time - shut[0].time)}" if opened else f" and never opened it again in {span(c.end - shut[0].time)}"
        yield Hit(
            end.side,
            shut[0],
            f"{end.name} closed its window{until} ({end[E_ZERO_WINDOWS]} segments with window 0): "
            "its application does not read as fast as data arrive",
            shut[1:],
        )


def when_timeout(key: Key) -> bool:
    """A retransmission after a timeout."""
    return bool(key.marks & mask(MARK_TIMEOUT))


def when_zero_window(key: Key) -> bool:
    """A zero window."""
    return bool(key.marks & mask(MARK_ZERO_WINDOW))


RULES = (
    Rule(
        kind="rto_retransmission",
        category="data",
        severity="medium",
        rfc="RFC 6298 5",
        summary="Data were sent again because the retransmission timer ran out.",
        evidence="The oldest unacknowledged bytes again, 200 ms or more after they or the last ACK, without duplicate ACKs.",
        innocent="A receiver that delays its ACKs; ACKs lost on their way back.",
        when=when_timeout,
        detect=timeouts,
        aliases={"Wireshark": "tcp.analysis.retransmission", "tcptrace": "rexmt data pkts"},
        example="""
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)     ack 1
            0.020 > .  1:1(0)     ack 1
            0.030 > P. 1:101(100) ack 1
            0.260 > P. 1:101(100) ack 1
            0.270 < .  1:1(0)     ack 101
        """,
        counterexample="""
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)         ack 1
            0.020 > .  1:1(0)         ack 1
            0.030 > .  1:1001(1000)    ack 1
            0.031 > .  1001:2001(1000) ack 1
            0.032 > .  2001:3001(1000) ack 1
            0.033 > .  3001:4001(1000) ack 1
            0.040 < .  1:1(0)         ack 1
            0.041 < .  1:1(0)         ack 1
            0.042 < .  1:1(0)         ack 1
            0.043 > .  1:1001(1000)    ack 1   # three duplicate ACKs: fast
            0.060 < .  1:1(0)         ack 4001
        """,
    ),
    Rule(
        kind="zero_window",
        category="data",
        severity="medium",
        rfc="RFC 9293 3.8.6.1",
        summary="A receiver announced that it has no room left.",
        evidence="A segment other than SYN, FIN or RST with window 0.",
        innocent="A pause of the application; a window of 0 for one round trip is flow control at work.",
        when=when_zero_window,
        detect=zero_windows,
        aliases={"Wireshark": "tcp.analysis.zero_window", "Zeek": "history W", "argus": "WINDOW_SHUT"},
        example="""
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)       ack 1
            0.020 > .  1:1(0)       ack 1
            0.030 > P. 1:1001(1000) ack 1
            0.040 < .  1:1(0)       ack 1001 win 0
            2.000 < .  1:1(0)       ack 1001 win 5000
        """,
        counterexample="""
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)       ack 1
            0.020 > .  1:1(0)       ack 1
            0.030 > P. 1:1001(1000) ack 1
            0.040 < R. 1:1(0)       ack 1001 win 0
        """,
    ),
)
