"""The timeline's clock: how segments move it, and what it had shown before it was set back.

The clock is the latest time so far. Where several segments in a row are more than a minute behind it, it was set back,
by the capturing machine or because captures were appended to each other, and goes on from there. A single one, or
packets out of order, do not move it.

What is judged by the clock hangs on what it has shown, never on who asks, or when: not on how segments were cut into
batches, nor on which of several processes follows a connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

# No __all__: compiled, only other kernels call these.


def leap(then: int, now: int) -> int:
    """From where the clock has moved by a day or more: ``then`` where forward, less than 0 where back; 0 if it has not.

    The first segment of all, before which the clock is 0, is none.
    """
    if now - then > DAY * MILLISECOND:
        return then
    return -then if then - now > DAY * MILLISECOND else 0


def set_clock(clock: Words, at: int, behind: int, time: int) -> int:
    """Move the clock, word ``at``, with the next segment's time; word ``behind`` counts those far behind it in a row.

    Returns 1 where it was set back, else 0.
    """
    if time >= clock[at]:
        clock[at] = time
        clock[behind] = 0
        return 0
    if clock[at] - time <= CLOCK_SLACK * MILLISECOND:
        clock[behind] = 0
        return 0
    clock[behind] += 1
    if clock[behind] < CLOCK_PROOF:
        return 0
    clock[at] = time
    clock[behind] = 0
    return 1


def move_clock(s: int, segments: Words, control: Words) -> int:
    """Move the clock with a segment. Returns what :func:`leap` says of that.

    Where others have moved it since the segment before, the segment brings along what it showed before its own turn.
    """
    if segments[s + S_MARKS]:
        control[K_NOW] = segments[s + S_MARKS]
    then = control[K_NOW]
    set_back = set_clock(control, K_NOW, K_BEHIND, segments[s + S_TIME])
    if control[K_BEHIND] == 1:
        control[K_BEHIND_SINCE] = segments[s + S_FRAME]
    if segments[s + S_FATE]:
        return 0  # clocks of two capture points: neither was set
    if set_back:
        note_set_back(control[K_BEHIND_SINCE], then, control)
    return leap(then, control[K_NOW])


def note_set_back(frame: int, then: int, control: Words) -> int:
    """The clock was set back with ``frame``, from ``then``. What an earlier time adds to nothing is forgotten.

    When there are too many, the two oldest become one.
    """
    control[K_SET_BACK] = frame
    n = control[K_SET_BACKS]
    while n > 0 and control[K_SET_BACK_FROM + n - 1] <= then:
        n -= 1
    if n == SET_BACKS_MOST:
        control[K_SET_BACK_FROM + 1] = control[K_SET_BACK_FROM]
        k = 1
        while k < n:
            control[K_SET_BACK_AT + k - 1] = control[K_SET_BACK_AT + k]
            control[K_SET_BACK_FROM + k - 1] = control[K_SET_BACK_FROM + k]
            k += 1
        n -= 1
    control[K_SET_BACK_AT + n] = frame
    control[K_SET_BACK_FROM + n] = then
    control[K_SET_BACKS] = n + 1
    return n


def latest_since(frame: int, control: Words) -> int:
    """The latest time that the clock has shown since ``frame``."""
    latest = control[K_NOW]
    k = control[K_SET_BACKS] - 1
    while k >= 0 and control[K_SET_BACK_AT + k] > frame:
        if control[K_SET_BACK_FROM + k] > latest:
            latest = control[K_SET_BACK_FROM + k]
        k -= 1
    return latest


def stamp(s: int, segments: Words, clock: Words) -> int:
    """Move the clock, two words of ``clock``, with a segment, and give it what that showed before, in place of marks.

    Returns 1 where whoever follows other connections must hear of it: it is far behind, or the first that no more is,
    or the clock has leapt.
    """
    then = clock[0]
    behind = clock[1]
    segments[s + S_MARKS] = then
    set_clock(clock, 0, 1, segments[s + S_TIME])
    return 1 if behind or clock[1] or leap(then, clock[0]) else 0
