"""Numbers of things in words."""

from __future__ import annotations

__all__ = ["count", "off_by"]


def count(n: int, what: str, many: str = "") -> str:
    """Write a number with its noun.

    >>> count(1, "frame"), count(41238, "frame")
    ('1 frame', '41,238 frames')
    """
    return f"{n:,} {what if n == 1 else many or what + 's'}"


def off_by(n: int) -> str:
    """How far a number is from the one that was expected, for the words that follow: ``1 more than``.

    >>> off_by(1), off_by(-90_000)
    ('1 more than', '90,000 less than')
    """
    return f"{abs(n):,} {'less' if n < 0 else 'more'} than"
