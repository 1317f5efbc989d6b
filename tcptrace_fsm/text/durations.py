"""Lengths of time.

Microseconds are written ``us``: a terminal that knows ASCII only would show a question mark in place of the Greek
letter, and one spelling everywhere can be searched for.
"""

from __future__ import annotations

__all__ = ["MILLISECOND", "SECOND", "UNKNOWN", "duration", "span"]

SECOND = 1_000_000_000  # ns
MILLISECOND = 1_000_000
ABSURD = 366 * 86400  # s: no connection that a capture shows has waited for a year

UNKNOWN = "an unknown time"
"""What no sentence that is printed holds: findings and diagnoses that rest on such a span are left out."""


def span(ns: float) -> str:
    """A length of time in one unit, for sentences that compare it with a timer.

    What a clock that was set, or frames out of order, make of it is no length of time: less than none, or years.

    >>> span(81_400), span(81_400_000), span(192 * SECOND)
    ('81 us', '81.4 ms', '192 s')
    >>> span(999_999_999), span(999_999), span(99_990 * MILLISECOND)
    ('1 s', '1 ms', '100 s')
    >>> span(500), span(-707 * MILLISECOND), span(249_252_457 * SECOND)
    ('less than 1 us', 'an unknown time', 'an unknown time')

    Between equal stamps there may be any time that is shorter than the clock's step, which nobody knows.

    >>> span(0)
    'a moment'
    """
    seconds = ns / SECOND
    if ns < 0 or ns > ABSURD * SECOND:
        return UNKNOWN
    if ns == 0:
        return "a moment"
    if ns < 1000:
        return "less than 1 us"
    if seconds < 0.9995e-3:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 99.95:
        return f"{seconds:.3g} s"
    return f"{seconds:.0f} s"


def duration(ns: int) -> str:
    """A length of time as people say it, for headings and labels.

    >>> duration(192_000_000_000), duration(81_400_000), duration(7_380_000_000_000)
    ('3 min 12 s', '81.4 ms', '2 h 3 min')
    >>> duration(999_999_999), duration(999_999), duration(59_999_000_000)
    ('1 s', '1 ms', '1 min')
    """
    seconds = ns / SECOND
    if seconds < 0.9995e-3:
        return f"{seconds * 1e6:.3g} us"
    if seconds < 0.9995:  # what is more would be rounded to 1e+03
        return f"{seconds * 1e3:.3g} ms"
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    for unit, length, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= length:
            rest = whole % length // part
            return f"{whole // length:,} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"
