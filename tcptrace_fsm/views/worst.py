"""The worst findings, one by one, their number limited: for ``--json`` and ``--junit``, whatever a capture holds."""

from __future__ import annotations

from heapq import heappush, heappushpop
from typing import TYPE_CHECKING, Any

from tcptrace_fsm.capture.codes import FILE_SHIFT, FRAME_MASK
from tcptrace_fsm.core.words import SEVERITIES
from tcptrace_fsm.text.times import iso_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcptrace_fsm.capture.timeline import Origins
    from tcptrace_fsm.core.finished import Finding, Finished

__all__ = ["Worst", "finding_dict"]


class Worst:
    """A sink that keeps the worst findings; which these are does not depend on the order in which they come.

    Parameters
    ----------
    least : str
        The severity from which on they are kept.
    most : int
        How many are kept.

    Attributes
    ----------
    count : int
        How many there were, those that are not kept included.

    """

    def __init__(self, least: str, most: int) -> None:
        self.count = 0
        self._least = SEVERITIES.index(least)
        self._most = most
        self._heap: list[tuple[tuple[int, int, int, str, str, str], int, Finding]] = []  # the least at the top

    def take(self, finished: Finished) -> None:
        """Take connections that are over."""
        for finding in finished.findings:
            rank = SEVERITIES.index(finding.severity)
            if rank < self._least:
                continue
            self.count += 1
            key = (rank, -finding.place, -finding.time, finding.kind, finding.side or "", finding.message)
            item = (key, -self.count, finding)
            if len(self._heap) < self._most:
                heappush(self._heap, item)
            else:
                heappushpop(self._heap, item)

    def __iter__(self) -> Iterator[Finding]:
        """Give them, the worst first, then by connection and time."""
        return (item[-1] for item in sorted(self._heap, key=lambda item: item[:2], reverse=True))

    @property
    def left_out(self) -> int:
        """How many were not kept."""
        return self.count - len(self._heap)


def finding_dict(finding: Finding, origins: Origins | None = None) -> dict[str, Any]:
    """Give the columns of anomalies; of several captures, frames are named with the capture that holds them."""
    row = {**finding._asdict(), "time": iso_time(finding.time), "frames": list(finding.frames)}
    if origins is None:
        return row
    code = -1 if finding.frame is None else origins.code(finding.frame)
    codes = [origins.code(frame) for frame in finding.frames]
    return row | {
        "frame": code & FRAME_MASK if code >= 0 else None,
        "file": origins.names[code >> FILE_SHIFT] if code >= 0 else None,
        "frames": [code & FRAME_MASK for code in codes],
        "files": [origins.names[code >> FILE_SHIFT] for code in codes],
    }
