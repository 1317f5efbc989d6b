"""Gaps of a ladder: for whom and for what a connection stood still between two rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.core.words import SIDES

if TYPE_CHECKING:
    from tcptrace_fsm.views.conversation import Conversation, Wait

__all__ = ["Gaps"]

LONG = 150_000_000
"""ns; nothing shorter is a gap, unless somebody was waited for."""


class Gaps:
    """Tells which gaps between rows are worth a row; they are to be asked for in order of time."""

    def __init__(self, conversation: Conversation) -> None:
        trip = sum(conversation.distance(side) or 0 for side in SIDES) * 2
        self._long = max(LONG, 3 * trip)
        self._left = list(reversed(conversation.waits))
        # Of waits as short as a delayed ACK, those that matter here.
        longest = max((wait.end - wait.start for wait in self._left), default=0)
        self._short = min(self._long, longest // 5)
        fins: dict[str, int] = {}
        for segment in conversation.segments:
            if "FIN" in segment.flags:
                fins.setdefault(segment.side, segment.time)
        self._fins = fins

    def between(self, begin: int, end: int) -> tuple[bool, Wait | None]:
        """Say whether a gap is worth a row, and what fills at least half of it."""
        wait = self._filling(begin, end)
        brief = wait is not None and wait.waiting_for not in ("handshake", "close")
        return end > begin and end - begin >= (self._short if brief else self._long), wait

    def _filling(self, begin: int, end: int) -> Wait | None:
        while self._left and self._left[-1].end <= begin:
            self._left.pop()
        best, most = None, (end - begin) // 2
        for wait in reversed(self._left):
            if wait.start >= end:
                break
            shared = min(end, wait.end) - max(begin, wait.start)
            if shared >= most:
                best, most = wait, shared
        if best is not None and best.waiting_for == "close" and self._fins.get(best.side, end) <= begin:
            return None  # it has closed: what is missing is an ACK
        return best
