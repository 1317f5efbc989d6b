"""One streaming pass: batches of segments in, finished connections out.

The engine owns the arrays that the kernels work on and gives them room; the kernels do the rest. Memory follows the
number of live connections: one that is over is replayed, handed out and forgotten.
"""

from __future__ import annotations

import secrets
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tcptrace_fsm.kernels.layout import (
    CONNECTION_SIZE,
    CONTROL_SIZE,
    K_DUE,
    K_LINGER,
    K_LINGER_SYN,
    K_LIVE,
    K_LOG_FREE,
    K_LOG_LIMIT,
    K_LOG_TOP,
    K_NEXT_ID,
    K_NOW,
    K_PAST,
    K_PAST_USED,
    K_ROW_FREE,
    K_ROW_TOP,
    K_SEED,
    K_SLOTS,
    K_USED,
    LOG_SIZE,
    PAST_MOST,
    PROFILE_SIZE,
    SCRATCH_SIZE,
    TRANSITION_SIZE,
    X_TOP,
)
from tcptrace_fsm.kernels.replay import collect, longest_log, replay_due
from tcptrace_fsm.kernels.table import move_past, move_slots
from tcptrace_fsm.kernels.track import expire, make_all_due, release, track
from tcptrace_fsm.machine import table
from tcptrace_fsm.room import grown, room

if TYPE_CHECKING:
    from tcptrace_fsm.anomalies.rule import Finding, Runner
    from tcptrace_fsm.anomalies.survey import Surveyor
    from tcptrace_fsm.profiles import Profile

__all__ = ["Engine", "Finished", "SegmentBatch"]

LOG_LIMIT = 256  # log records per connection before marked data segments are only counted
LINGER_SYN = 130  # seconds; Linux gives up a connect() after 127 s
SECOND = 1_000_000_000
CHUNK = 4096  # finished connections handed out at once


class SegmentBatch(Protocol):
    """What the engine needs of a batch: ``count`` records of ``SEGMENT_SIZE`` words."""

    segments: array[int]
    count: int


@dataclass
class Finished:
    """Connections that are over.

    Attributes
    ----------
    connections : array('q')
        ``count`` records of ``CONNECTION_SIZE`` words.
    count : int
    transitions : array('q')
        ``transition_count`` records of ``TRANSITION_SIZE`` words, grouped by connection, the client's before the
        server's, each in order of time.
    transition_count : int
    findings : list of Finding
    """

    connections: array[int]
    count: int
    transitions: array[int]
    transition_count: int
    findings: list[Finding] = field(default_factory=list)


ZERO = array("q", [0])


def words(n: int) -> array[int]:
    """An array of ``n`` zeros."""
    return ZERO * n


class Engine:
    """The state of a pass over one timeline.

    Parameters
    ----------
    profile : Profile
        Timers.
    rules : Runner or None
        The anomaly rules to apply to each connection; None for none.
    surveys : Surveyor or None
        Those that look across connections; None for none.
    seed : int or None
        Of the flow table's hash; random if None.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        rules: Runner | None = None,
        surveys: Surveyor | None = None,
        seed: int | None = None,
    ) -> None:
        self.profile = profile
        self.rules = rules
        self.surveys = surveys
        self.control = words(CONTROL_SIZE)
        self.control[K_SEED] = (secrets.randbits(61) if seed is None else seed) | 1
        self.control[K_SLOTS] = 1024
        self.control[K_ROW_FREE] = -1
        self.control[K_LOG_FREE] = -1
        self.control[K_LOG_LIMIT] = LOG_LIMIT
        self.control[K_LINGER] = int((profile.time_wait.most + 5) * SECOND)
        self.control[K_LINGER_SYN] = max(LINGER_SYN * SECOND, self.control[K_LINGER])
        self.control[K_PAST] = 1024
        self.slots = room(2 * self.control[K_SLOTS])
        self.past = room(2 * self.control[K_PAST])
        self.rows = room(0)
        self.log = room(0)
        self.living = room(0)
        self.due = room(0)
        self.table = array("q", table(sockets=profile.sockets))
        self.timers = words(PROFILE_SIZE)
        for i, seconds in enumerate((*profile.time_wait, *profile.fin_wait_2)):
            self.timers[i] = int(seconds * SECOND)
        self.scratch = words(SCRATCH_SIZE)
        self.work = room(0)
        self.out = room(0)
        self.ready: list[Finished] = []
        self._settled = 0  # how many of those that are due have been judged
        self._finishing = False

    @property
    def now(self) -> int:
        """The latest capture time, ns."""
        return self.control[K_NOW]

    @property
    def live(self) -> int:
        """How many connections are in memory."""
        return self.control[K_LIVE]

    def feed(self, batch: SegmentBatch) -> None:
        """Take a batch of segments, in capture order."""
        count = batch.count
        if not count:
            return
        self._settle_all()
        control = self.control
        self.rows = grown(self.rows, control[K_ROW_TOP] + count * CONNECTION_SIZE)
        self.log = grown(self.log, control[K_LOG_TOP] + count * LOG_SIZE)
        self.living = grown(self.living, control[K_LIVE] + count)
        self.due = grown(self.due, control[K_LIVE] + count)
        size = control[K_SLOTS]
        if 2 * (control[K_USED] + count) > size:
            while 2 * (control[K_USED] + count) > size:
                size *= 2
            slots = room(2 * size)
            move_slots(self.slots, control[K_SLOTS], slots, size)
            self.slots = slots
            control[K_SLOTS] = size
        track(batch.segments, count, self.slots, self.past, self.rows, self.log, self.living, self.due, control)
        expire(count // 4 + 64, self.rows, self.living, self.due, control)

    def finish(self, now: int | None = None) -> None:
        """The capture is over: whatever is still live is judged as it stands.

        Parameters
        ----------
        now : int or None
            The latest capture time, ns, where this engine has not seen all segments.
        """
        self.control[K_NOW] = max(self.control[K_NOW], now or 0)
        self._settle_all()
        self.due = grown(self.due, self.control[K_LIVE])
        make_all_due(self.rows, self.living, self.due, self.control)
        self._finishing = True

    def take(self) -> Finished | None:
        """The next connections that are over, or None. They are judged when they are asked for."""
        if not self.ready:
            self._settle()
        return self.ready.pop(0) if self.ready else None

    def _settle_all(self) -> None:
        """Judge what the caller has not asked for before the next batch changes the rows."""
        while self.control[K_DUE]:
            self._settle()

    def _make_room_for_past(self, count: int) -> None:
        """Room to remember ``count`` more four-tuples; what was used too long ago is forgotten."""
        control = self.control
        if 2 * (control[K_PAST_USED] + count) > control[K_PAST]:
            size = control[K_PAST]
            while 4 * (min(control[K_PAST_USED], PAST_MOST) + count) > size:
                size *= 2
            past = room(2 * size)
            oldest = control[K_NEXT_ID] - PAST_MOST
            control[K_PAST_USED] = move_past(self.past, control[K_PAST], past, size, oldest)
            control[K_PAST], self.past = size, past

    def _settle(self) -> None:
        """Replay some of what is due, let the rules see it, make it ready; once all is, free the rows."""
        control = self.control
        count = control[K_DUE]
        if count:
            start, stop = self._settled, min(count, self._settled + CHUNK)
            longest = longest_log(self.rows, self.due, count)
            self.work = grown(self.work, longest * LOG_SIZE)
            self.out = grown(self.out, (24 + 2 * longest + 16 * (stop - start)) * TRANSITION_SIZE)
            self.scratch[X_TOP] = 0
            end = replay_due(
                start, stop, len(self.out), self.due, self.rows, self.log, self.timers, self.table, self.out,
                self.scratch, self.work,
            )  # fmt: skip
            block = words((end - start) * CONNECTION_SIZE)
            collect(start, end, self.due, self.rows, block)
            transitions = array("q", self.out[: self.scratch[X_TOP]].tobytes())
            done = Finished(block, end - start, transitions, len(transitions) // TRANSITION_SIZE)
            if self.rules is not None:
                done.findings = self.rules.connections(done, self.log)
            if self.surveys is not None:
                self.surveys.measure(done, self.log)
                self.surveys.connections(done)
            self.ready.append(done)
            self._settled = end
            if end == count:
                self._make_room_for_past(count)
                release(self.slots, self.past, self.rows, self.log, self.living, self.due, control)
                self._settled = 0
        elif self._finishing and self.surveys is not None:
            found = self.surveys.finish(control[K_NOW])
            self._finishing = False
            if found:
                self.ready.append(Finished(words(0), 0, words(0), 0, found))
