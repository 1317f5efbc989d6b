"""What each endpoint sent, counted the slow and obvious way: the tracker's twin.

A dict of endpoints, a set of byte numbers for each. It is told which connection and side a segment belongs to; it knows
nothing of windows, holes or times, and takes for granted that nobody was overtaken on the way.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable


class Sent(NamedTuple):
    """One segment; ``begin`` is the number of its first byte, counted from 1, however often the wire's has wrapped."""

    sender: str
    flags: str
    begin: int
    length: int


@dataclass
class Endpoint:
    """What one endpoint sent."""

    segments: int = 0
    payload: int = 0
    syns: int = 0
    fins: int = 0
    rsts: int = 0
    retransmitted: int = 0
    retransmitted_bytes: int = 0
    seen: set[int] = field(default_factory=set)
    syn_seen: bool = False
    fin_seen: bool = False

    @property
    def unique(self) -> int:
        """Bytes of payload, each counted once."""
        return len(self.seen)


def count(conversation: Iterable[Sent]) -> dict[str, Endpoint]:
    """Count a conversation."""
    endpoints: dict[str, Endpoint] = {"client": Endpoint(), "server": Endpoint()}
    for segment in conversation:
        e = endpoints[segment.sender]
        e.segments += 1
        e.payload += segment.length
        e.syns += "S" in segment.flags
        e.fins += "F" in segment.flags
        e.rsts += "R" in segment.flags
        if "R" in segment.flags:
            continue
        bytes_of_it = range(segment.begin, segment.begin + segment.length)
        behind = bool(e.seen) and segment.length > 0 and segment.begin < max(e.seen)
        if behind or ("S" in segment.flags and e.syn_seen) or ("F" in segment.flags and e.fin_seen):
            e.retransmitted += 1
            e.retransmitted_bytes += segment.length
        e.seen.update(bytes_of_it)
        e.syn_seen |= "S" in segment.flags
        e.fin_seen |= "F" in segment.flags
    return endpoints
