"""Round-trip times: samples of what was acknowledged, never of what was sent twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words


def rtt_sample(m: int, value: int, rows: Words) -> int:
    """Take one time, a round trip's or an answer's, into the words at ``m``: least, and P-square estimate of median.

    Jain and Chlamtac, "The P2 algorithm for dynamic calculation of quantiles and histograms without storing
    observations", CACM 28 (1985), for the median alone, in integers. The first five are kept in order, so that up to
    there the median is exact.
    """
    if rows[m + MEDIAN_LEAST] < 0 or value < rows[m + MEDIAN_LEAST]:
        rows[m + MEDIAN_LEAST] = value
    n = rows[m + MEDIAN_COUNT]
    rows[m + MEDIAN_COUNT] = n + 1
    q = m + MEDIAN_MARKER
    p = q + 5
    if n < 5:
        i = n
        while i > 0 and rows[q + i - 1] > value:
            rows[q + i] = rows[q + i - 1]
            i -= 1
        rows[q + i] = value
        if n == 4:
            i = 0
            while i < 5:
                rows[p + i] = i
                i += 1
        return 0
    k = 3
    if value < rows[q]:
        rows[q] = value
        k = 0
    elif value >= rows[q + 4]:
        rows[q + 4] = value
    else:
        k = 0
        while k < 3 and value >= rows[q + k + 1]:
            k += 1
    i = k + 1
    while i < 5:
        rows[p + i] += 1
        i += 1
    i = 1
    while i < 4:
        # Desired position of marker i among n + 1 observations, times 4: i * n.
        behind = i * n - 4 * rows[p + i]
        step = 0
        if behind >= 4 and rows[p + i + 1] - rows[p + i] > 1:
            step = 1
        elif behind <= -4 and rows[p + i] - rows[p + i - 1] > 1:
            step = -1
        if step:
            below = rows[p + i] - rows[p + i - 1]
            above = rows[p + i + 1] - rows[p + i]
            up = rows[q + i + 1] - rows[q + i]
            down = rows[q + i] - rows[q + i - 1]
            # up, down, below and above are all positive or zero: integer division is the same in C and Python
            part = (below + step) * (up // above) + (above - step) * (down // below)
            move = step * (part // (below + above))
            if not rows[q + i - 1] < rows[q + i] + move < rows[q + i + 1]:
                move = up // above if step > 0 else -(down // below)
            rows[q + i] += move
            rows[p + i] += step
        i += 1
    return 0


def await_ack(e: int, end: int, now: int, rows: Words) -> int:
    """Remember when the segment that ends at ``end`` was sent, if there is room."""
    k = e + E_SAMPLES
    while k < e + E_SAMPLES + 8:
        if not rows[k]:
            rows[k] = end
            rows[k + 1] = now
            return 0
        k += 2
    return 0


def forget_samples(e: int, rows: Words) -> int:
    """After a retransmission no ACK is unambiguous (Karn's algorithm, RFC 6298 section 3)."""
    k = e + E_SAMPLES
    while k < e + E_SAMPLES + 8:
        rows[k] = 0
        k += 2
    return 0


def take_samples(e: int, ack: int, now: int, rows: Words) -> int:
    """A new ACK arrived: the segment that ends exactly there gives a round-trip time."""
    k = e + E_SAMPLES
    while k < e + E_SAMPLES + 8:
        if rows[k] and rows[k] <= ack:
            if rows[k] == ack and now >= rows[k + 1]:
                rtt_sample(e + E_RTT_MIN, now - rows[k + 1], rows)
            rows[k] = 0
        k += 2
    return 0
