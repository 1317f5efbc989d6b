"""What happens behind the farther of two capture points: segments pass it, and nobody answers them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.causes.cause import Verdict
from tcptrace_fsm.causes.stall import PATIENCE, damaged, stalls
from tcptrace_fsm.core.words import SIDES
from tcptrace_fsm.findings.rule import SECOND, span
from tcptrace_fsm.kernels.layout import E_LAST_TIME, FATE_ARRIVED

if TYPE_CHECKING:
    from tcptrace_fsm.causes.briefs import Brief
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.stall import Stall
    from tcptrace_fsm.causes.world import World

__all__ = ["silent_beyond", "still_talk"]


def still_talk(case: Case, stall: Stall, world: World) -> list[Brief]:
    """Other connections between its hosts in which the silent one is heard a second after a stall began, or later."""
    since, side = stall.copies[0].time + SECOND, stall.peer.side

    def heard(b: Brief) -> int:
        other = world.cases_by_id.get(b.conn_id)
        return b.last_time if other is None else other.view.ends[side][E_LAST_TIME]

    others = world.between(case.client_host, case.server_host).opened
    return [b for b in others if b.conn_id != case.conn_id and b.server_segments > 1 and heard(b) > since]


def silent_beyond(case: Case, world: World) -> Verdict | None:
    """Two captures show that what is repeated came past the farther point, and that nothing came back out of there."""
    if not case.two_points or world.lacks_frames:
        return None
    for stall in stalls(case):
        arrived = [s for s in stall.copies if s.fate == FATE_ARRIVED]
        silence = case.end - stall.copies[0].time
        if stall.alive or silence < PATIENCE or len(arrived) < 3 or damaged(stall) or still_talk(case, stall, world):
            continue
        return Verdict(
            64,
            "likely",
            (
                (
                    f"{stall.end.name} sent {stall.size:,} bytes {len(stall.copies)} times, and {len(arrived)} copies "
                    f"passed the capture point on the side of {stall.peer.name} ({case.frames(*arrived)})"
                ),
                f"{stall.peer.name} has said nothing since before that, for {span(silence)}",
            ),
            f"{stall.peer.name} does not answer any more: what it is sent comes past the capture point on its side, "
            f"and nothing has come out of there for {span(silence)}",
            against=("a path that is dead between the points would let nothing pass",),
            alternatives=("path_dead",),
            severity="medium",
            where=SIDES[stall.peer.side],
            at=stall.copies[0],
        )
    return None
