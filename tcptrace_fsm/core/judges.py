"""What the engine asks of those who judge connections: rules, surveys, causes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tcptrace_fsm.capture.losses import Lost
    from tcptrace_fsm.core.finished import Block, Finished

__all__ = ["Judge", "have_finished", "have_judged"]


class Judge:
    """Somebody who looks at connections that are over, and puts what is found into `Finished`.

    A judge overrides what it needs. One that only looks at single connections needs `judge`. One that looks across
    connections gathers what it needs to know of each, and speaks at the end. Several processes may share the work:
    each has a judge of its own, and what these have gathered is merged.
    """

    origins: Any = None
    """With several captures: which frame of which stands at each position of the timeline. Set before `finish`."""
    lost: Lost | None = None
    """What the capturing machines lost, by their own count. Set before `finish`."""

    def judge(self, block: Block) -> None:
        """Look at connections while ``block.log`` holds their logs: add findings to ``block.done``, complete records.

        Where several processes share the work, the connections' numbers are not yet the final ones.
        """

    def gather(self, block: Block) -> None:
        """Look at connections once their numbers are final; their logs are gone."""

    @property
    def gathered(self) -> Any:
        """What has been gathered so far; it can be pickled."""
        return None

    def merge(self, gathered: Any) -> None:
        """Add what another judge of this kind has gathered of other connections."""

    @property
    def copies(self) -> dict[int, int]:
        """Which connections it knows to be others once more: the number of each copy, and of what it is a copy."""
        return {}

    def finish(self, now: int, last: Finished) -> None:
        """Add to ``last`` what all connections together show; ``now`` is the capture's latest time, ns."""


def have_finished(judges: Sequence[Judge], now: int, last: Finished) -> None:
    """Have all add to ``last`` what all connections together show; what one knows of copies all do."""
    for judge in judges:
        last.copies.update(judge.copies)
    for judge in judges:
        judge.finish(now, last)


def have_judged(block: Block, judges: Sequence[Judge]) -> None:
    """Have all look at the connections of a block; its logs are gone then."""
    for judge in judges:
        judge.judge(block)
    block.log = None
    for judge in judges:
        judge.gather(block)
