"""Conversations in the notation of :mod:`tcptrace_fsm.tcp.notation`, as a capture gives them to the engine."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import (
    CHECKSUM_BAD,
    CHECKSUM_GOOD,
    CHECKSUM_UNKNOWN,
    OPT_FAST_OPEN,
    OPT_FAST_OPEN_COOKIE,
    OPT_MSS,
    OPT_MULTIPATH,
    OPT_SACK,
    OPT_SACK_PERMITTED,
    OPT_SCALE,
    OPT_SCALE_EARLY,
    OPT_TIMESTAMPS,
    Q_FROM_LO,
    Q_KIND,
    Q_MTU,
    Q_SIZE,
    S_ACK,
    S_CHECKSUM,
    S_DST_LO,
    S_FLAGS,
    S_FRAME,
    S_IP_ID,
    S_LEN,
    S_MSS,
    S_OFFSET,
    S_OPTIONS,
    S_PORTS,
    S_SACK,
    S_SACKS,
    S_SEQ,
    S_SHIFT,
    S_SHOWN,
    S_SRC_LO,
    S_TIME,
    S_TSECR,
    S_TSVAL,
    S_TTL,
    S_WINDOW,
    SEGMENT_SIZE,
    TCP_BROKEN,
    TCP_QUOTED,
    TCP_STREAMLESS,
)
from tcptrace_fsm.tcp.notation import read

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tcptrace_fsm.tcp.notation import Line

__all__ = ["Script", "parse"]


class Script:
    """Scripted segments; what the engine calls a batch.

    Attributes
    ----------
    lines : list of Line
    """

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self.lines = list(lines)

    @property
    def count(self) -> int:
        """Number of segments."""
        return len(self.lines)

    @property
    def segments(self) -> array[int]:
        """Its segment records, as ``decode`` would make them."""
        words = array("q", bytes(8 * SEGMENT_SIZE * len(self.lines)))
        for number, line in enumerate(self.lines):
            s = number * SEGMENT_SIZE
            put(words, s, line)
            words[s + S_FRAME] = number + 1
        return words


def parse(text: str) -> Script:
    """Read a conversation; see :func:`tcptrace_fsm.tcp.notation.read`."""
    return Script(read(text).lines)


def put(words: array[int], s: int, line: Line) -> None:
    """Write one line as a segment record."""
    options = 0
    for name, bit in (
        ("mss", OPT_MSS),
        ("scale", OPT_SCALE),
        ("sackok", OPT_SACK_PERMITTED),
        ("ts", OPT_TIMESTAMPS),
        ("sack", OPT_SACK),
        ("tfo", OPT_FAST_OPEN | OPT_FAST_OPEN_COOKIE),
        ("mptcp", OPT_MULTIPATH),
    ):
        if name in line.options:
            options |= bit
    order = [name for name in line.options if name in ("scale", "sackok", "ts")]
    if order[:1] == ["scale"]:
        options |= OPT_SCALE_EARLY
    words[s + S_TIME] = line.time
    words[s + S_SRC_LO], words[s + S_DST_LO] = line.source[0], line.target[0]
    words[s + S_PORTS] = line.source[1] << 16 | line.target[1]
    words[s + S_SEQ] = line.seq
    words[s + S_ACK] = line.ack
    words[s + S_FLAGS] = line.flags | (TCP_BROKEN | TCP_QUOTED | TCP_STREAMLESS if line.error else 0)
    words[s + S_LEN] = words[s + S_SHOWN] = line.length
    words[s + S_WINDOW] = line.window
    words[s + S_OPTIONS] = options
    words[s + S_TSVAL], words[s + S_TSECR] = line.options.get("ts", (0, 0))
    words[s + S_MSS] = line.options.get("mss", (0,))[0]
    words[s + S_SHIFT] = line.options.get("scale", (0,))[0]
    sack = line.options.get("sack", ())
    words[s + S_SACKS] = len(sack) // 2
    for i, edge in enumerate(sack):
        words[s + S_SACK + i] = edge
    words[s + S_IP_ID] = line.ip_id
    words[s + S_TTL] = line.ttl
    words[s + S_CHECKSUM] = CHECKSUM_BAD if line.bad else CHECKSUM_GOOD
    words[s + S_OFFSET] = -1
    if line.error:
        words[s + S_CHECKSUM] = CHECKSUM_UNKNOWN
        words[s + S_SHOWN] = -1
        words[s + Q_KIND] = line.error.type | line.error.code << 8
        words[s + Q_MTU] = line.error.mtu
        words[s + Q_FROM_LO] = line.error.sender
        words[s + Q_SIZE] = line.error.size
