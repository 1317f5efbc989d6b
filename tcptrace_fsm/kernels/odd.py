"""Segments with flags that no TCP sends together, detected for many connections at once.

As in :mod:`tcptrace_fsm.kernels.detect`: what the findings say is declared in the rules. Whoever floods a network with
such segments makes a connection of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.detected import *
from tcptrace_fsm.kernels.layout import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels.records import Detection

__all__ = ["detect_odd"]


def is_odd(kind: int, info: int, marks: int) -> int:
    """Whether a segment is of the kind: 1 or 0."""
    if kind == DETECT_FIN_BARE:
        if marks & M_NOBODYS:
            return 0
        return 1 if info & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK | TCP_URG) == TCP_FIN else 0
    flag = TCP_FIN if kind == DETECT_SYN_FIN else TCP_RST if kind == DETECT_SYN_RST else TCP_URG
    return 1 if info & TCP_SYN and info & flag else 0


def odd_of(place: int, kind: int, side: int, detection: Detection) -> int:
    """Those of a kind that ``side`` sent. Returns how many findings there are now."""
    log = detection.log
    out = detection.out
    frames = detection.frames
    at = detection.evidence
    head = detection.block[detection.asked[3 * place] + C_LOG_HEAD]
    d = -1
    r = head
    while r >= 0:
        info = log[r + L_INFO]
        marks = log[r + L_MARKS]
        if not marks & M_CAPTURE_DUPLICATE and side_of(info) == side and is_odd(kind, info, marks):
            if d < 0:
                d = tell(place, kind, side, detection)
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
    return keep_finding(at, detection) if d >= 0 else detection.found


def detect_odd(count: int, detection: Detection) -> int:
    """Look for segments with odd flags in ``count`` connections. Returns how many findings there are then."""
    first = detection.found
    i = 0
    while i < count:
        kind = DETECT_SYN_FIN
        while kind <= DETECT_FIN_BARE:
            side = CLIENT
            while detection.asked[3 * i + 2] & kind and side <= SERVER:
                odd_of(i, kind, side, detection)
                side += 1
            kind = kind * 2
        i += 1
    return describe_all(first, detection)
