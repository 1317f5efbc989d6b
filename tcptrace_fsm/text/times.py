"""Points in time."""

from __future__ import annotations

import time

__all__ = ["iso_time"]


def iso_time(ns: int | None) -> str | None:
    """ISO 8601 with nine decimals and Z.

    >>> iso_time(1_500_000_000_000_000_001)
    '2017-07-14T02:40:00.000000001Z'
    """
    if ns is None:
        return None
    seconds, rest = divmod(ns, 10**9)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"
