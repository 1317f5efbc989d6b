"""What the segments of a connection tell of the capture itself: that others are missing, or that its clock was set.

Where a host counts the packets of a connection, as Linux does in the identification of IPv4 headers, a step of more
than one shows a packet that did not come here. Where bytes are missing as well that is said already; what only this
tells is that ACKs, or a FIN, are missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import (
    C_LAST_TIME,
    C_MARKS,
    E_LAST_FLAGS,
    E_LAST_TIME,
    END_STACK,
    MARK_TIME_BACK,
    NUMBERED_SHIFT,
    SKIPPED_SHIFT,
    STACK_LINUX,
)
from tcptrace_fsm.text.durations import SECOND

if TYPE_CHECKING:
    from tcptrace_fsm.findings.view import End, View

__all__ = ["SET_BACK", "clock_set_back", "lacks", "skips_packets"]

COUNTED = 3  # steps forward by one or a few: so a host goes on that numbers the packets of each connection for itself
STEPS_MASK = (1 << SKIPPED_SHIFT - NUMBERED_SHIFT) - 1
SET_BACK = SECOND  # by less, queues and interfaces put packets out of order


def skips_packets(end: End) -> bool:
    """Whether packets of an end are missing that bore no bytes, by its count of all that it sent.

    Where bytes are missing too, or were sent again, the way may have lost them. Linux counts the packets of each
    connection for itself; others count those to one host, or all of them.
    """
    skips, steps = end[E_LAST_FLAGS] >> SKIPPED_SHIFT, end[E_LAST_FLAGS] >> NUMBERED_SHIFT & STEPS_MASK
    return skips > 0 and skips + steps >= COUNTED and end[END_STACK] == STACK_LINUX


def clock_set_back(view: View) -> int:
    """By how much a segment of the connection is stamped before one that stands before it, ns."""
    if not view[C_MARKS] >> MARK_TIME_BACK & 1:
        return 0
    latest = 0
    most = view[C_LAST_TIME] - max(end[E_LAST_TIME] for end in view.ends)
    for s in view.segments:
        most = max(most, latest - s.time)
        latest = max(latest, s.time, s.last_time)
    return most


def lacks(view: View) -> bool:
    """Whether the capture is known to lack packets of a connection without bytes, or not to know its times."""
    return view.once("lacks", lambda c: clock_set_back(c) >= SET_BACK or any(map(skips_packets, c.ends)))
