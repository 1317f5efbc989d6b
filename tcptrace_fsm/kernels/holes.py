"""Holes: what a sender has skipped so far, as the capture saw it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words


def add_hole(e: int, start: int, end: int, rows: Words) -> int:
    """Bytes ``start`` to ``end`` were passed over. With no room left, the first hole is forgotten."""
    n = rows[e + E_HOLES]
    if n == 4:
        # What is forgotten counts as seen: its sender will send it again. (If it does not, conclude() sees to it.)
        rows[e + E_UNIQUE] += rows[e + E_HOLE + 1] - rows[e + E_HOLE]
        n = 0
        while n < 6:
            rows[e + E_HOLE + n] = rows[e + E_HOLE + n + 2]
            n += 1
        n = 3
    rows[e + E_HOLE + 2 * n] = start
    rows[e + E_HOLE + 2 * n + 1] = end
    rows[e + E_HOLES] = n + 1
    return 0


def in_hole(e: int, at: int, rows: Words) -> int:
    """Whether the byte ``at`` was passed over: 1 or 0."""
    i = 0
    while i < rows[e + E_HOLES]:
        if rows[e + E_HOLE + 2 * i] <= at < rows[e + E_HOLE + 2 * i + 1]:
            return 1
        i += 1
    return 0


def fill_holes(e: int, start: int, end: int, rows: Words) -> int:
    """Take bytes ``start`` to ``end`` out of the holes. Returns how many of them were missing."""
    filled = 0
    i = 0
    while i < rows[e + E_HOLES]:
        a = rows[e + E_HOLE + 2 * i]
        b = rows[e + E_HOLE + 2 * i + 1]
        if start < b and end > a:
            left = start if start > a else a
            right = end if end < b else b
            filled += right - left
            if left == a and right == b:
                rows[e + E_HOLES] -= 1
                k = i
                while k < rows[e + E_HOLES]:
                    rows[e + E_HOLE + 2 * k] = rows[e + E_HOLE + 2 * k + 2]
                    rows[e + E_HOLE + 2 * k + 1] = rows[e + E_HOLE + 2 * k + 3]
                    k += 1
                continue
            if left == a:
                rows[e + E_HOLE + 2 * i] = right
            elif right == b or rows[e + E_HOLES] == 4:
                rows[e + E_HOLE + 2 * i + 1] = left
            else:
                rows[e + E_HOLE + 2 * i + 1] = left
                add_hole(e, right, b, rows)
        i += 1
    return filled
