"""What the segments of a connection tell of the capture itself: that others are missing, or that its clock was set.

Where a host counts the packets of a connection, as Linux does in the identification of IPv4 headers, a step of more
than one shows a packet that did not come here. Where bytes are missing as well that is said already; what only this
tells is that ACKs, or a FIN, are missing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import (
    C_ENDPOINTS,
    C_FLAGS,
    C_LOG_HEAD,
    CF_MIDSTREAM,
    CF_SET_BACK,
    CLIENT,
    E_LAST_FLAGS,
    E_SEGMENTS,
    END_STACK,
    ENDPOINT_SIZE,
    L_INFO,
    L_NEXT,
    L_TIME,
    L_TSVAL,
    LOG_SIDE_SHIFT,
    MARK_GAP,
    MILLISECOND,
    NUMBERED_SHIFT,
    SERVER,
    SKIPPED_SHIFT,
    STACK_LINUX,
    STACK_UNKNOWN,
    STEPS_LEAST,
)
from tcptrace_fsm.text.durations import SECOND

if TYPE_CHECKING:
    from array import array

    from tcptrace_fsm.findings.view import End, View
    from tcptrace_fsm.kernels import Words

__all__ = ["lacks", "leap", "may_skip_packets", "mistimed", "shown_from", "skips_packets"]

STEPS_MASK = (1 << SKIPPED_SHIFT - NUMBERED_SHIFT) - 1


def skips_packets(end: End) -> bool:
    """Whether packets of an end are missing that bore no bytes, by its count of all that it sent.

    Where bytes are missing too, or were sent again, the way may have lost them. Linux counts the packets of each
    connection for itself; others count those to one host, or all of them.
    """
    skips, steps = end[E_LAST_FLAGS] >> SKIPPED_SHIFT, end[E_LAST_FLAGS] >> NUMBERED_SHIFT & STEPS_MASK
    return skips > 0 and skips + steps >= STEPS_LEAST and end[END_STACK] == STACK_LINUX


def may_skip_packets(end: End) -> bool:
    """The same, of any host that mostly numbers its packets one by one: where others than these may be missing."""
    skips, steps = end[E_LAST_FLAGS] >> SKIPPED_SHIFT, end[E_LAST_FLAGS] >> NUMBERED_SHIFT & STEPS_MASK
    often = skips <= steps or end[END_STACK] == STACK_UNKNOWN
    return skips_packets(end) or (skips > 0 and often and skips + steps >= STEPS_LEAST)


def shown_from(end: End) -> int:
    """From which number on the capture shows what an endpoint sent: what lies below may have passed before it began.

    Where it began inside a connection, and the first that it shows of an endpoint repeats something old, what follows
    lies far ahead: the bytes between were sent before, and come again, if at all, as repetitions.
    """
    if not end.view[C_FLAGS] & CF_MIDSTREAM:
        return 0
    first = next((s for s in end.segments if s.length), None)
    gap = next((s for s in end.segments if s.has(MARK_GAP)), None)
    return gap.seq if first and gap and gap.time - first.time <= SECOND else 0


def leap(words: array[int], c: int, log: Words) -> int:
    """By how much the capture's clock ran on in a connection while its endpoints' clocks did not, ns; or 0."""
    stamps: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    r = words[c + C_LOG_HEAD]
    while r >= 0 and len(stamps[0]) + len(stamps[1]) < 1000:
        if log[r + L_TSVAL] >= 0:
            stamps[log[r + L_INFO] >> LOG_SIDE_SHIFT & 1].append((log[r + L_TIME], log[r + L_TSVAL]))
        r = log[r + L_NEXT]
    return min(too_long(stamps[CLIENT]), too_long(stamps[SERVER]))


def too_long(stamps: list[tuple[int, int]]) -> int:
    """The longest wait between segments, less what the timestamps say it was; 0 where they agree or cannot tell."""
    waits = [(after[0] - before[0], after[1] - before[1] & 0xFFFFFFFF) for before, after in pairwise(stamps)]
    if not waits:
        return 0
    wait, ticks = max(waits)
    rates = [t * SECOND / ns for ns, t in waits if ns >= 50 * MILLISECOND and ns != wait and t < 1 << 31]
    # Nobody's clock ticks more slowly than once a second (RFC 7323 section 5.4); those in use do so ten times at least.
    rate = max(rates, default=10.0)
    surplus = int(wait - ticks * SECOND / max(rate, 1.0))
    return surplus if surplus > 2 * SECOND and 2 * surplus > wait else 0


def clock_ran_on(view: View) -> bool:
    """The same, of a connection that rules look at."""
    stamps = ([(s.time, s.tsval) for s in end.segments if s.tsval >= 0] for end in view.ends)
    return all(too_long(some) for some in stamps)


def mistimed(view: View) -> bool:
    """Whether the stamps of a connection are known to be wrong: behind each other, or by the clocks of both ends."""
    return view.once("mistimed", lambda c: bool(c[C_FLAGS] & CF_SET_BACK) or clock_ran_on(c))


def mistimed_record(words: array[int], c: int, log: Words | None) -> bool:
    """The same, by the record of a connection at which no rule looks. Each end must show two stamps for that."""
    if words[c + C_FLAGS] & CF_SET_BACK:
        return True
    client, server = c + C_ENDPOINTS, c + C_ENDPOINTS + ENDPOINT_SIZE
    if log is None or words[server + E_SEGMENTS] < 2 or words[client + E_SEGMENTS] < 2:
        return False
    return leap(words, c, log) > 0


def lacks(view: View) -> bool:
    """Whether the capture is known to lack packets of a connection without bytes, or not to know its times."""
    return view.once("lacks", lambda c: mistimed(c) or any(map(skips_packets, c.ends)))
