"""Numbers of things in words."""

from __future__ import annotations

__all__ = ["count"]


def count(n: int, what: str, many: str = "") -> str:
    """Write a number with its noun.

    >>> count(1, "frame"), count(41238, "frame")
    ('1 frame', '41,238 frames')
    """
    return f"{n:,} {what if n == 1 else many or what + 's'}"
