"""One streaming pass: batches of segments in, finished connections out.

The engine owns the arrays that the kernels work on and gives them room; the kernels do the rest. Memory follows the
number of live connections: one that is over is replayed, handed out and forgotten.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

from tcptrace_fsm.core.finished import Block, Finished
from tcptrace_fsm.core.grouping import Records, counting
from tcptrace_fsm.core.judges import have_finished, have_judged
from tcptrace_fsm.core.replaying import CHUNK, Replayer
from tcptrace_fsm.core.room import copied, grown, room, zeros
from tcptrace_fsm.kernels.apart import copy_logs, size_of_logs
from tcptrace_fsm.kernels.embryos import embryos_among, free_logs, hatch_apart, hatch_due, let_go_of_hatched
from tcptrace_fsm.kernels.ending import expire, make_all_due, release
from tcptrace_fsm.kernels.layout import (
    CONNECTION_SIZE,
    CONTROL_SIZE,
    K_CROWD,
    K_DUE,
    K_EMBRYO_FREE,
    K_EMBRYOS,
    K_HELD,
    K_HURRIED,
    K_LEAPT,
    K_LINGER,
    K_LINGER_SYN,
    K_LIVE,
    K_LOG_FREE,
    K_LOG_LIMIT,
    K_LOG_TOP,
    K_LONGEST,
    K_NEXT_ID,
    K_NEXT_STREAM,
    K_NOW,
    K_PAST,
    K_PAST_USED,
    K_PATH_TOP,
    K_PATIENCE,
    K_ROW_FREE,
    K_ROW_TOP,
    K_SEED,
    K_SLOTS,
    K_STREAM_MOST,
    K_STREAM_SLOTS,
    K_USED,
    K_WAITS,
    LOG_BLOCK,
    PAST_MOST,
    PAST_SIZE,
    PATH_SIZE,
    SEGMENT_SIZE,
    STREAM_SIZE,
    TRANSITION_SIZE,
    WAIT_SIZE,
    WAITS_PER_SEGMENT,
)
from tcptrace_fsm.kernels.moving import move_past, move_slots
from tcptrace_fsm.kernels.points import collect_paths, end_paths
from tcptrace_fsm.kernels.records import Tracker
from tcptrace_fsm.kernels.replay import collect
from tcptrace_fsm.kernels.track import track
from tcptrace_fsm.kernels.waits import end_waits
from tcptrace_fsm.text.durations import SECOND

if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence

    from tcptrace_fsm.capture.losses import Lost
    from tcptrace_fsm.core.judges import Judge
    from tcptrace_fsm.core.settings import Settings

__all__ = ["Engine", "SegmentBatch"]
LOG_LIMIT = 256  # log records per connection before marked data segments are only counted
LINGER_SYN = 130  # seconds; Linux gives up a connect() after 127 s
CROWD = 500_000  # live connections; their rows and logs take a little under 1 GB
SWEEP = 1 << 16  # segments after which live connections are looked over: what is judged by few costs more for each
SWEPT_LEAST = 4096  # ... how many at least, and one more for four segments
WAITS_KEPT = 4096  # waits that are kept until connections are handed out
STREAMS = 1 << 19  # of Wireshark's that are remembered


class SegmentBatch(Protocol):
    """What the engine needs of a batch: ``count`` records of ``SEGMENT_SIZE`` words."""

    segments: array[int]
    count: int


def random_seed() -> int:
    """61 bits that nobody can foresee."""
    return int.from_bytes(os.urandom(8)) >> 3  # the module secrets would load OpenSSL for it


class Engine:
    """The state of a pass over one timeline.

    Parameters
    ----------
    settings : Settings
        The profile's timers; at whose host the capture was taken; whether the segments come from two capture points,
        each with its fate between them (``S_FATE``).

        Endpoints of the capturing host are judged as seen from within: what arrives in the capture has arrived (basis
        ``acked``, confirmed by that very frame), what leaves is sent at that moment, in the capture's order, and no
        loss behind the capture point is presumed. Their peers are judged as ever. Wrong addresses make wrong states.
    judges : sequence of Judge or None
        Those who look at connections that are over, in this order. With None somebody else will have them judged, while
        the engine goes on: each block has the logs of its connections in memory of its own.
    seed : int or None
        Of the flow table's hash; random if None.
    crowd : int
        Live connections from which on those that never opened, or are over, are judged sooner than others: the bound
        on memory that a flood of SYNs meets.

    Attributes
    ----------
    lost : Lost or None
        What the capturing machine says that it lost, as far as that is known yet; for judges to bear in mind.

    Raises
    ------
    UsageError
        When an address is none.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        judges: Sequence[Judge] | None = (),
        seed: int | None = None,
        crowd: int = CROWD,
    ) -> None:
        profile = settings.profile
        self.profile = profile
        self.two_points = settings.merge_vantage
        self.judges = judges
        self.lost: Lost | None = None
        self.tables = tables = Tracker()
        tables.control = control = zeros(CONTROL_SIZE + SEGMENT_SIZE)
        control[K_SEED] = (random_seed() if seed is None else seed) | 1
        control[K_SLOTS] = 1024
        control[K_ROW_FREE] = -1
        control[K_EMBRYO_FREE] = -1
        control[K_EMBRYOS] = 0 if self.two_points else 1
        control[K_LOG_FREE] = -1
        control[K_LOG_LIMIT] = LOG_LIMIT
        control[K_LINGER] = int((profile.longest + 5) * SECOND)
        control[K_LINGER_SYN] = max(LINGER_SYN * SECOND, control[K_LINGER])
        control[K_PAST] = 1024
        control[K_CROWD] = crowd
        control[K_PATIENCE] = control[K_LINGER_SYN]
        control[K_STREAM_MOST] = STREAMS
        control[K_STREAM_SLOTS] = 1024
        tables.slots = room(2 * control[K_SLOTS])
        tables.past = room(PAST_SIZE * control[K_PAST])
        tables.known = zeros(2 * control[K_STREAM_SLOTS])
        tables.paths = room(PATH_SIZE)
        for name in ("rows", "log", "living", "due", "streams", "waits"):
            setattr(tables, name, room(0))
        self.control = control
        self.forgotten = 0  # streams before this one are forgotten
        self.replayer = Replayer(settings)
        self.ready: list[Block] = []
        self._settled = 0  # how many of those that are due have been judged
        self._finishing = False
        self._unswept = 0  # segments since live connections were last looked over
        self._swept_at = 0  # the clock then, ns
        self._kept: dict[str, Any] = {}

    @property
    def now(self) -> int:
        """The timeline's clock, ns: the latest capture time, since the clock was last set back."""
        return self.control[K_NOW]

    @property
    def live(self) -> int:
        """How many connections are in memory."""
        return self.control[K_LIVE]

    @property
    def over(self) -> int:
        """How many connections are over and will be judged when they are asked for."""
        return self.control[K_DUE]

    @property
    def hurried(self) -> int:
        """How many connections were judged sooner than usual, because there were too many at once."""
        return self.control[K_HURRIED]

    @property
    def times_held(self) -> int:
        """How many segments lay more than nine years from their connection's first, and were moved to that distance."""
        return self.control[K_HELD]

    @property
    def leapt(self) -> int:
        """Whether the clock has leapt by a day or more, and the books were closed: 1 or 0."""
        return self.control[K_LEAPT]

    @property
    def streams_opened(self) -> int:
        """How many streams Wireshark would count."""
        return self.control[K_NEXT_STREAM]

    def feed(self, batch: SegmentBatch) -> None:
        """Take a batch of segments, in capture order."""
        tables = self.tables
        count = batch.count
        if not count:
            return
        self._settle_all()
        control = self.control
        # A SYN may be kept without a row of its own, and call for one when it is followed by another.
        tables.rows = grown(tables.rows, control[K_ROW_TOP] + 2 * count * CONNECTION_SIZE)
        tables.log = grown(tables.log, control[K_LOG_TOP] + 2 * count * LOG_BLOCK)
        tables.living = grown(tables.living, control[K_LIVE] + count + 1)
        tables.due = grown(tables.due, control[K_LIVE] + count)
        if self.two_points:
            tables.paths = grown(tables.paths, control[K_PATH_TOP] + count * PATH_SIZE)
        size = control[K_SLOTS]
        if 2 * (control[K_USED] + count) > size:
            while 2 * (control[K_USED] + count) > size:
                size *= 2
            slots = room(2 * size)
            move_slots(tables.slots, control[K_SLOTS], slots, size, 0)
            tables.slots = slots
            control[K_SLOTS] = size
        self._make_room_for_streams(count)
        tables.waits = grown(tables.waits, control[K_WAITS] + WAITS_PER_SEGMENT * count * WAIT_SIZE)
        tables.segments = batch.segments
        track(count, tables)
        if control[K_WAITS] > WAITS_KEPT * WAIT_SIZE:
            self.ready.append(Block(self._with_waits(Finished())))
        self._sweep(count)

    def _sweep(self, count: int) -> None:
        """After ``count`` segments more: make due what has been over for long enough, in blocks that are worth it.

        That is after so many segments or a sixteenth of the patience, and at once where there is a crowd.
        """
        control = self.control
        self._unswept += count
        passed = abs(control[K_NOW] - self._swept_at)
        crowded = control[K_LIVE] - control[K_DUE] > control[K_CROWD]
        if self._unswept >= SWEEP or passed >= control[K_LINGER] // 16 or crowded or control[K_DUE]:
            least = 64 if crowded else SWEPT_LEAST  # a crowd is looked over with every batch, and sixteen times as far
            expire(self._unswept // 4 + least, self.tables)
            self._unswept = 0
            self._swept_at = control[K_NOW]

    def _make_room_for_streams(self, count: int) -> None:
        """Let ``count`` segments open as many streams; when they are too many, the older half is forgotten."""
        tables = self.tables
        control = self.control
        most = control[K_NEXT_STREAM] + count
        tables.streams = grown(tables.streams, min(most, control[K_STREAM_MOST]) * STREAM_SIZE)
        size = control[K_STREAM_SLOTS]
        forgotten = self.forgotten
        if most - forgotten > control[K_STREAM_MOST]:
            forgotten = max(forgotten, control[K_NEXT_STREAM] - control[K_STREAM_MOST] // 2)
        while 2 * (most - forgotten) > size:
            size *= 2
        if size > control[K_STREAM_SLOTS] or forgotten > self.forgotten:
            larger = zeros(2 * size)
            move_slots(tables.known, control[K_STREAM_SLOTS], larger, size, forgotten)
            self.forgotten = forgotten
            tables.known = larger
            control[K_STREAM_SLOTS] = size

    def finish(self, now: int | None = None) -> None:
        """The capture is over: whatever is still live is judged as it stands.

        Parameters
        ----------
        now : int or None
            The timeline's clock, ns, where this engine has not seen all segments.
        """
        tables = self.tables
        if now is not None:
            self.control[K_NOW] = now
        self._settle_all()
        tables.due = grown(tables.due, self.control[K_LIVE])
        make_all_due(self.tables)
        self._finishing = True

    def take(self) -> Finished | None:
        """The next connections that are over, or None. They are judged when they are asked for."""
        block = self.take_block()
        return block.done if block else None

    def take_block(self) -> Block | None:
        """The same as those who judge see them."""
        if not self.ready:
            self._settle()
        return self.ready.pop(0) if self.ready else None

    def _settle_all(self) -> None:
        """Judge what the caller has not asked for before the next batch changes the rows."""
        while self.control[K_DUE]:
            self._settle()

    def _make_room_for_past(self, count: int) -> None:
        """Room to remember ``count`` more four-tuples; what was used too long ago is forgotten."""
        tables = self.tables
        control = self.control
        if 4 * (control[K_PAST_USED] + count) > 3 * control[K_PAST]:
            size = control[K_PAST]
            while 4 * (min(control[K_PAST_USED], PAST_MOST) + count) > 3 * size:
                size *= 2
            past = room(PAST_SIZE * size)
            oldest = control[K_NEXT_ID] - PAST_MOST
            control[K_PAST_USED] = move_past(tables.past, control[K_PAST], past, size, oldest)
            control[K_PAST], tables.past = size, past

    def _with_waits(self, done: Finished) -> Finished:
        """Hand out what has ended since the last time."""
        tables = self.tables
        done.waits = copied(tables.waits, self.control[K_WAITS])
        done.wait_count = self.control[K_WAITS] // WAIT_SIZE
        self.control[K_WAITS] = 0
        return done

    def _settle(self) -> None:
        """Replay some of what is due, have it judged, make it ready; once all is, free the rows."""
        tables = self.tables
        control = self.control
        count = control[K_DUE]
        if count:
            start, stop = self._settled, min(count, self._settled + CHUNK)
            tables.log = grown(tables.log, control[K_LOG_TOP] + (stop - start) * LOG_BLOCK)
            tables.waits = grown(tables.waits, control[K_WAITS] + 2 * WAITS_PER_SEGMENT * (stop - start) * WAIT_SIZE)
            plain = self.replayer.plain and not self.two_points
            apart = plain and embryos_among(start, stop, tables) == stop - start
            end, done = self._replay_apart(start, stop) if apart else self._replay(start, stop)
            if self.two_points:
                done.paths = zeros((end - start) * PATH_SIZE)
                collect_paths(end - start, start, tables.due, tables.rows, tables.paths, done.paths)
            block = Block(done, tables.log, self.lost, self._kept)
            if self.judges is None:
                block.longest = control[K_LONGEST]
                block.log = self._copied_logs(done, apart)
            else:
                have_judged(block, self.judges)
            self.ready.append(block)
            if apart and self.judges is not None:
                free_logs(done.count, done.connections, tables.log, control)
            elif not apart:
                let_go_of_hatched(start, end, tables)
            self._settled = end
            if end == count:
                self._make_room_for_past(count)
                release(tables)
                self._settled = 0
        elif self._finishing:
            self._finishing = False
            last = Finished()
            have_finished(self.judges or (), control[K_NOW], last)
            if last.holds_anything:
                self.ready.append(Block(last))

    def _copied_logs(self, done: Finished, apart: bool) -> memoryview:
        """The logs of these records in memory of their own; those of records that were made apart are free then."""
        tables = self.tables
        out = zeros(size_of_logs(done.count, done.connections, tables.log))
        copy_logs(done.count, int(apart), done.connections, tables.log, out, self.control)
        return memoryview(out)

    def _replay(self, start: int, stop: int) -> tuple[int, Finished]:
        """Replay some of those that are due: up to which, and what is over."""
        tables = self.tables
        control, count = self.control, stop - start
        tables.rows = grown(tables.rows, control[K_ROW_TOP] + count * CONNECTION_SIZE)
        hatch_due(start, stop, tables)
        if self.two_points and not start:
            end_paths(control[K_DUE], tables.due, tables.rows, tables.paths)
        end, changes = stop, zeros(0)
        if self.judges is not None:
            end = self.replayer.run(start, stop, control[K_LONGEST], tables.due, tables.rows, tables.log)
            changes = self.replayer.transitions
            end_waits(start, end, tables.due, tables.rows, tables.waits, control)
        records = zeros((end - start) * CONNECTION_SIZE)
        collect(start, end, tables.due, tables.rows, records)
        return end, self._with_waits(Finished(records, end - start, changes, len(changes) // TRANSITION_SIZE))

    def _replay_apart(self, start: int, stop: int) -> tuple[int, Finished]:
        """The same of nothing but lone segments: a flood. Their rows are made where they are to be read.

        What all of them have in common will be looked at once.
        """
        tables = self.tables
        control, count = self.control, stop - start
        records, changes = Records.blank(count), zeros(0)
        hatch_apart(start, count, records, tables)
        if self.judges is not None:
            places = counting(count, CONNECTION_SIZE)
            end = self.replayer.run(0, count, control[K_LONGEST], places, records, tables.log)
            assert end == count  # there is room for sixteen transitions of each
            changes = self.replayer.transitions
            end_waits(0, count, places, records, tables.waits, control)
            records.compare()
        return stop, self._with_waits(Finished(records, count, changes, len(changes) // TRANSITION_SIZE))
