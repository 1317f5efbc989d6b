"""The timeline's clock: late segments, clocks that are set back, leaps of days; whoever follows what, however cut."""

from __future__ import annotations

from array import array
from itertools import permutations

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.kernels import layout as at
from tcptrace_fsm.tcp.notation import BEGIN
from tcptrace_fsm.tcp.profiles import profile as find_profile
from tests.invariants import PLACE_WORDS, check, essence
from tests.strategies import (
    HOSTS,
    MILLISECOND,
    SECOND,
    Batch,
    collect,
    plain_engine,
    pure_kernels,
    record,
    run,
    watched_engine,
)

DAY = 86400 * SECOND
SEED = 0x1234567890ABCDF  # by which the four connections are not all of one share
kernels = pure_kernels()
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

STEPS = (*(10 * MILLISECOND,) * 8, SECOND, 70 * SECOND, 140 * SECOND, -100 * SECOND, -200 * SECOND, 2 * DAY, -2 * DAY)
FLAGS = (2, 2, 18, 16, 24, 17, 17, 4)


def timeline(events) -> array:
    """Segment records of (which connection, whether the server sends, flags, step of time, ns)."""
    out, time, sent = array("q"), BEGIN, {}
    for frame, (which, back, flags, step) in enumerate(events, 1):
        time = max(time + step, 0)
        ports = (80, 40000 + which) if back else (40000 + which, 80)
        seq, ack = sent.get((which, back), 1000), sent.get((which, not back), 1000)
        if flags & 2 and not flags & 16:
            seq = 1000 * frame
        length = 100 if flags & 8 else 0
        sent[which, back] = seq + length + (1 if flags & 3 else 0)
        hosts = HOSTS[::-1] if back else HOSTS
        out.extend(record(frame, time, hosts, ports, seq, ack if flags & 16 else 0, flags, LEN=length))
    return out


timelines = st.lists(
    st.tuples(st.integers(0, 3), st.booleans(), st.sampled_from(FLAGS), st.sampled_from(STEPS)), min_size=1, max_size=40
).map(timeline)

CLOSED = [(2, False, 2, 0), (2, True, 18, 10), (2, False, 16, 10), (2, False, 17, 10), (2, True, 17, 10)]
CLOSED = [(which, back, flags, step * MILLISECOND) for which, back, flags, step in [*CLOSED, (2, False, 16, 10)]]
OTHERS = [(0, bool(n % 2), 16, SECOND) for n in range(12)]
LONG_OVER_THEN_SET_BACK = timeline(
    [*CLOSED, (0, False, 16, 300 * SECOND), (0, False, 16, -250 * SECOND), *OTHERS, (2, False, 16, SECOND)]
)
UNDECIDED_AT_A_LEAP = timeline(
    [
        *[(2, False, 2, 0), (2, True, 18, 0), (2, False, 16, 0), (2, False, 2, SECOND)],
        *[(1, False, 2, 2 * DAY), (2, False, 16, SECOND), (2, True, 16, SECOND)],
    ]
)
UNDECIDED_TO_THE_END = UNDECIDED_AT_A_LEAP[: 5 * at.SEGMENT_SIZE]
BEHIND_A_LATE_SYN = timeline(
    [*CLOSED, (2, False, 2, -200 * SECOND), (0, False, 16, 201 * SECOND), (2, True, 16, SECOND)]
)


def late_and_over(late: int, other: int) -> array:
    """One connection is closed, all of it stamped late; another shows that the clock was not set back, and goes on."""
    closed = [(late, *event[1:]) for event in CLOSED]
    closed[0] = (late, False, 2, -100 * SECOND)
    return timeline(
        [
            *[(other, False, 16, 0), *closed, (other, True, 16, 101 * SECOND), (other, False, 16, 200 * SECOND)],
            (late, False, 16, SECOND),
        ]
    )


@pytest.mark.slow
@relaxed
@example(LONG_OVER_THEN_SET_BACK, 1)
@example(UNDECIDED_AT_A_LEAP, 1)
@example(UNDECIDED_TO_THE_END, 2)
@example(BEHIND_A_LATE_SYN, 1)
@given(timelines, st.sampled_from((1, 2, 7)))
def test_however_batches_are_cut(segments, step):
    assert essence(run(segments, engine=plain_engine(), step=step)) == essence(run(segments, engine=plain_engine()))


def unnumbered(connections) -> list:
    """Connections in order of their first frames, without numbers that count those of others, and places in memory."""
    hidden = PLACE_WORDS | {at.C_ID, at.C_PREVIOUS_ID, at.C_STREAM, at.C_STREAM_NOW}
    ordered = sorted(connections, key=lambda c: (c["C_FIRST_FRAME"], c["C_LAST_FRAME"]))
    return [([0 if i in hidden else word for i, word in enumerate(c.words)], c.changes) for c in ordered]


def share(segments: array, number: int, of: int, step: int) -> list:
    """The connections of one share, followed apart from the others, so many segments of the timeline at a time."""
    engine = plain_engine()(Settings(find_profile("linux")), seed=9)
    clock, found = array("q", [0, 0]), []
    size = step * at.SEGMENT_SIZE
    for begin in range(0, len(segments), size):
        part = segments[begin : begin + size]
        mine = array("q", bytes(8 * len(part)))
        count = kernels["share"].pick(part, len(part) // at.SEGMENT_SIZE, number, of, SEED, clock, mine)
        engine.feed(Batch(mine, count))
        while (done := engine.take()) is not None:
            collect(done, found)
    engine.finish(clock[0])
    while (done := engine.take()) is not None:
        collect(done, found)
    return found


@pytest.mark.slow
@relaxed
@example(LONG_OVER_THEN_SET_BACK, 7)
@example(UNDECIDED_AT_A_LEAP, 2)
@example(UNDECIDED_TO_THE_END, 2)
@given(timelines, st.sampled_from((2, 7, 100)))
def test_whoever_follows_a_connection(segments, step):
    """Two shares find what one pass finds: each hears of what moves the clock."""
    assert_shared_alike(segments, step)


def assert_shared_alike(segments: array, step: int) -> list[int]:
    """Compare two shares with one pass; returns how many connections they hold."""
    shares = [share(segments, number, 2, step) for number in (0, 1)]
    assert unnumbered([c for one in shares for c in one]) == unnumbered(
        run(segments, engine=plain_engine()).connections
    )
    return [len(one) for one in shares]


def test_others_show_that_it_was_late():
    held = [assert_shared_alike(late_and_over(late, other), 100) for late, other in permutations(range(4), 2)]
    assert any(all(one) for one in held)


@relaxed
@given(timelines)
def test_every_index_is_in_bounds(segments):
    check(run(segments, engine=watched_engine()))


@pytest.mark.parametrize("most", [3, 30])
@relaxed
@given(st.data())
def test_the_latest_time_since_a_frame(most, data):
    """Beside a list of all that the clock has shown; of more than are kept, no less than that."""
    clock = kernels["timeline"]
    control, shown, frame = array("q", bytes(8 * at.CONTROL_SIZE)), [], 0
    for _ in range(data.draw(st.integers(1, most))):
        then = data.draw(st.integers(0, 50))
        frame += data.draw(st.integers(1, 3))
        clock.note_set_back(frame, then, control)
        shown.append((frame, then))
    control[at.K_NOW] = data.draw(st.integers(0, 50))
    since = data.draw(st.integers(0, frame + 1))
    expected = max([control[at.K_NOW], *(then for at_frame, then in shown if at_frame > since)])
    found = clock.latest_since(since, control)
    assert found == expected if most <= at.SET_BACKS_MOST else found >= expected
