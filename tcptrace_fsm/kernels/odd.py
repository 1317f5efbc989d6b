"""Segments with flags that no TCP sends together, detected for many connections at once.

As in :mod:`tcptrace_fsm.kernels.detect`: what the findings say is declared in the rules. Whoever floods a network with
such segments makes a connection of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.detected import *
from tcptrace_fsm.kernels.layout import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

__all__ = ["detect_odd"]


def is_odd(kind: int, info: int, marks: int) -> int:
    """Whether a segment is of the kind: 1 or 0."""
    if kind == DETECT_FIN_BARE:
        if marks & M_NOBODYS:
            return 0
        return 1 if info & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK | TCP_URG) == TCP_FIN else 0
    flag = TCP_FIN if kind == DETECT_SYN_FIN else TCP_RST if kind == DETECT_SYN_RST else TCP_URG
    return 1 if info & TCP_SYN and info & flag else 0


def odd_of(head: int, what: int, n: int, at: int, log: Words, out: Words, frames: Words) -> int:
    """Those of a kind (``what``: times two, and the side) in the log that begins at ``head``.

    Returns how many frames of evidence there are now.
    """
    kind = what >> 1
    side = what & 1
    d = -1
    begun = at
    r = head
    while r >= 0:
        info = log[r + L_INFO]
        marks = log[r + L_MARKS]
        if not marks & M_CAPTURE_DUPLICATE and side_of(info) == side and is_odd(kind, info, marks):
            if d < 0:
                d = tell(0, kind, side, n, begun, out)
                out[d + D_TIME] = log[r + L_TIME]
                out[d + D_FRAME] = log[r + L_FRAME]
            out[d + D_COUNT] += 1
            frames[at] = log[r + L_FRAME]
            at += 1
        r = log[r + L_NEXT]
    r = head
    while d >= 0 and r >= 0:  # what the last of them drew; a log is not in order everywhere
        info = log[r + L_INFO]
        if (
            not log[r + L_MARKS] & M_CAPTURE_DUPLICATE
            and side_of(info) != side
            and log[r + L_FRAME] > frames[at - 1]
            and not out[d + D_MORE]
        ):
            out[d + D_MORE] = 1 if info & TCP_RST else 2
        r = log[r + L_NEXT]
    if d >= 0:
        out[d + D_FRAMES] = at - begun
    return at


def detect_odd(count: int, asked: Words, found: int, block: Words, log: Words, out: Words, frames: Words) -> int:
    """Look for segments with odd flags in ``count`` connections.

    Parameters
    ----------
    count : int
    asked, block, log, out, frames : int64 arrays
        As of :func:`tcptrace_fsm.kernels.detect.detect`; what it has found goes before.
    found : int
        How many findings there are already.

    Returns
    -------
    int
        How many there are then.
    """
    n = found
    at = frames_of(found, out)
    i = 0
    while i < count:
        kind = DETECT_SYN_FIN
        while kind <= DETECT_FIN_BARE:
            what = 2 * kind + CLIENT
            while asked[3 * i + 2] & kind and what <= 2 * kind + SERVER:
                before = at
                at = odd_of(block[asked[3 * i] + C_LOG_HEAD], what, n, at, log, out, frames)
                if at > before:
                    out[n * DETECTED_SIZE + D_ASKED] = i
                    n += 1
                what += 1
            kind = kind * 2
        i += 1
    return describe_all(found, n, asked, block, out)
