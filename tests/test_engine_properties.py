"""What holds whatever segments come: in any order, on colliding four-tuples, with any flags, numbers and times."""

from __future__ import annotations

import ast
from array import array
from random import Random

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tcptrace_fsm.capture.scripted import parse
from tcptrace_fsm.core.engine import CHUNK, Engine
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.kernels import compiled
from tcptrace_fsm.kernels import layout as at
from tcptrace_fsm.runs.timers import Lesson, Shown, taught
from tcptrace_fsm.tcp.notation import BEGIN
from tcptrace_fsm.tcp.profiles import profile as find_profile
from tests.invariants import check, check_counted, essence
from tests.kernels import FOLDER
from tests.strategies import (
    HOSTS,
    MILLISECOND,
    PORTS,
    SECOND,
    anything,
    collect,
    conversations,
    cut,
    plain_engine,
    plain_engine_where,
    pure_kernels,
    record,
    run,
    watched_engine,
)

# 40 steps of at most a second: nothing is over for long enough to be forgotten before the end.
SHORT_STEPS = st.sampled_from((0, 1000, 500_000, 10 * MILLISECOND, 200 * MILLISECOND, SECOND, -1000, -20 * MILLISECOND))
short = conversations(steps=SHORT_STEPS)
either = st.one_of(anything(), conversations())
SHORT_WAYS = ("predicted", "plain_to_wireshark", "plain_to_zeek", "suits_embryo")
LONG = {way: plain_engine_where(**{way: lambda *_: 0}) for way in SHORT_WAYS}
predicted = pure_kernels()["track"].predicted
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@relaxed
@given(short)
def test_every_index_is_in_bounds(segments):
    """Plain Python, every index of every array watched: no negative one, none beyond the end, nothing over 64 bits."""
    outcome = run(segments, engine=watched_engine())
    check(outcome)


@relaxed
@given(short)
def test_every_segment_is_counted_once(segments):
    """Each segment belongs to one connection, or to a SYN that became one; each label names one that exists."""
    check_counted(run(segments, engine=plain_engine()))


@relaxed
@given(short)
def test_results_do_not_depend_on_the_seed(segments):
    """The random seed of the flow table decides where things lie, and nothing else."""
    expected = essence(run(segments, engine=plain_engine(), seed=1))
    for seed in (3, 2**61 - 1, 0x5555_5555_5555_5555 >> 3):
        assert essence(run(segments, engine=plain_engine(), seed=seed)) == expected


BEYOND = parse(
    """
    0.000 > S  0:0(0)              win 1000
    0.010 < S. 0:0(0)     ack 1    win 1000
    0.020 > .  1:1(0)     ack 1    win 1000
    0.030 > P. 1:101(100) ack 1    win 1000
    0.040 < .  1:1(0)     ack 101  win 1000
    0.050 > P. 101:201(100) ack 1  win 1000
    0.060 < .  1:1(0)     ack 50000 win 1000
    0.070 > P. 301:401(100) ack 1  win 1000
    0.080 < .  1:1(0)     ack 401  win 1000
    """
).segments
"""An ACK far beyond what was sent and announced, then a hole."""

FAR_ACK = parse(
    """
    0.000 > S  0:0(0)              win 1000
    0.010 < S. 0:0(0)     ack 1    win 1000
    0.020 > .  1:1(0)     ack 1    win 1000
    0.030 < P. 1:101(100) ack 1    win 1000
    0.040 > .  1:1(0)     ack 2147483000 win 1000
    0.050 > .  1:1(0)     ack 101  win 1000
    """
).segments
"""An ACK of almost 2**31."""

STAMPED_BACK = parse(
    """
    0.000    > S  0:0(0)              win 1000
    0.000    < S. 0:0(0)     ack 1    win 1000
    0.000    > .  1:1(0)     ack 1    win 1000
    0.000001 > .  1:1(0)     ack 1    win 1000
    0.000    > .  1:1(0)     ack 1    win 1000
    0.010    < P. 1:2(1)     ack 1    win 1000
    0.010    > .  1:1(0)     ack 2    win 1000
    0.010    > .  1:1(0)     ack 2    win 1000
    """
).segments
"""The first moment once more, as in a capture that was appended to itself; and it goes on behind what was seen."""


@pytest.mark.slow
@pytest.mark.parametrize("way", SHORT_WAYS)
@settings(relaxed, max_examples=25)
@example(BEYOND)
@example(FAR_ACK)
@example(STAMPED_BACK)
@given(conversations(orderly=True, steps=st.sampled_from((0, 1000, 10 * MILLISECOND, 200 * MILLISECOND, -1000))))
def test_short_ways_change_nothing(way, segments):
    """What is expected is taken on a short way; the long one leads to the same words."""
    assert essence(run(segments, engine=LONG[way])) == essence(run(segments, engine=plain_engine()))


def test_what_is_in_order_is_predicted():
    """Of a request and its answer, all but what opens and closes the connection, and each end's first word."""
    talk = """
    0.000 > S  0:0(0)              win 65535 <mss 1460>
    0.010 < S. 0:0(0)     ack 1    win 65535 <mss 1460>
    0.020 > .  1:1(0)     ack 1    win 65535
    0.021 > P. 1:101(100) ack 1    win 65535
    0.030 < .  1:1(0)     ack 101  win 65535
    0.031 < .  1:1461(1460) ack 101 win 65535
    0.032 < P. 1461:2000(539) ack 101 win 65535
    0.040 > .  101:101(0) ack 1461 win 65535
    0.041 > .  101:101(0) ack 2000 win 64000
    0.042 > .  101:101(0) ack 2000 win 65535
    0.050 > F. 101:101(0) ack 2000 win 65535
    """
    told = []

    def watched(*given):
        told.append(predicted(*given))
        return told[-1]

    run(talk, engine=plain_engine_where(predicted=watched))
    assert told == [0, 0, 0, 0, 1, 1, 1, 1, 0, 0]  # the SYN is kept by itself until more comes


def exchange(*lines: tuple[bool, int, int, int, int]) -> array:
    """Records of (sent by the server, microseconds, seq, ack, flags)."""
    segments = array("q")
    for frame, (back, time, seq, ack, flags) in enumerate(lines, 1):
        hosts, ports = (HOSTS[::-1], PORTS) if back else (HOSTS, PORTS[::-1])
        segments.extend(record(frame, BEGIN + time * 1000, hosts, ports, seq, ack, flags))
    return segments


HANDED_OVER_AND_STILL_REACHED = exchange(
    (False, 0, 2147483749, 0, 0),
    (False, 200_000, 2147483649, 0, 2),
    (True, 200_000, 0, 0, 2),
    (False, 180_000, 0, 0, 2),
    (False, 180_000, 2147483651, 0, 18),
    (True, 180_000, 0, 2147483652, 18),
)
JUDGED_BY_THE_CLOCK_OF_THE_BATCH = exchange(
    (True, 0, 0, 0, 18),
    (False, 62_000_000, 0, 1, 16),
    (True, 61_000_000, 1, 0, 20),
    (True, 61_000_500, 0, 0, 2),
    (True, 62_000_500, 1, 0, 2),
    (False, 195_000_500, 0, 0, 0),
)


def once_behind(*times: int) -> array:
    """SYNs of one four-tuple, in seconds; the second is another's, and far behind the clock, as is the last."""
    ports = [PORTS, PORTS[::-1], *[PORTS] * (len(times) - 2)]
    syns = [record(n + 1, BEGIN + t * SECOND, HOSTS, ports[n], 7 * n, 0, 2) for n, t in enumerate(times)]
    return array("q", [word for syn in syns for word in syn])


ONCE_BEHIND = once_behind(0, -100, 40, -60)


@relaxed
@given(either, st.sampled_from((1, 2, 7)))
@example(ONCE_BEHIND, 1)
@example(HANDED_OVER_AND_STILL_REACHED, 1)
@example(JUDGED_BY_THE_CLOCK_OF_THE_BATCH, 1)
def test_results_do_not_depend_on_how_batches_are_cut(segments, step):
    """One segment at a time, two or seven: the same connections, transitions and labels as all at once."""
    assert essence(run(segments, engine=plain_engine(), step=step)) == essence(run(segments, engine=plain_engine()))


@relaxed
@given(either, st.sampled_from(("linux", "rfc9293", "bsd", "windows")))
def test_any_times_give_sound_transitions(segments, profile):
    """Hours of silence, clocks that run backwards: every change is the machine's, chains, and lies in its bracket."""
    check(run(segments, engine=plain_engine(), profile=profile))


AGES = st.floats(0, 300).map(lambda age: int(age * SECOND))
SOME = st.lists(AGES, max_size=2).map(sorted).map(tuple)


@relaxed
@given(either, st.lists(st.builds(Shown, AGES, SOME, SOME), min_size=2, max_size=2))
def test_timers_of_single_hosts_give_sound_transitions(segments, shown):
    """Whatever hosts have shown, every index is in bounds, and each change lies in its bracket."""
    hosts = dict(zip(((0, 0, HOSTS[0]), (0, 0, HOSTS[1])), shown, strict=True))
    known, _ = taught(find_profile("linux"), hosts)
    check(run(segments, engine=watched_engine(), profile=known))


@relaxed
@given(either)
def test_no_segments_teach_nonsense(segments):
    """Ages are no longer than the capture, and no less than what is worth to be learned."""
    lesson = Lesson(Settings())
    for batch in cut(segments, 7):
        lesson.take(batch)
    lesson.finish()
    times = segments[at.S_TIME :: at.SEGMENT_SIZE]
    longest = max(times) - min(times)
    for shown in lesson.shown.values():
        assert 0 <= shown.alive <= longest
        assert all(5 * SECOND <= age <= longest for age in shown.gone)
        assert all(SECOND <= age <= longest for age in shown.let_go)
    taught(find_profile("linux"), lesson.shown)


def test_a_broken_header_long_after_tells_nothing_of_what_was_over():
    """Wherever batches end, and so whether the sweep has come by: its stream's connection is no longer there."""
    segments, hosts, ports = array("q"), (HOSTS, HOSTS[::-1]), (PORTS[::-1], PORTS)
    for n, (server, seq, ack, flags) in enumerate(
        [(0, 1000, 0, 2), (1, 5000, 1001, 18), (0, 1001, 5001, 16), (1, 5001, 0, 4), (0, 1001, 5001, 16)]
    ):
        segments.extend(record(n + 1, BEGIN + n * MILLISECOND, hosts[server], ports[server], seq, ack, flags))
    for n in range(3):  # others, for the clock and the sweep
        segments.extend(record(n + 6, BEGIN + (8000 + n) * SECOND, hosts[0], (50000 + n, 80), 1, 0, 2))
    late = BEGIN + 8003 * SECOND
    segments.extend(record(9, late, hosts[0], ports[0], 1001, 5001, 17 | at.TCP_BROKEN, SHOWN=5))
    told = [
        run(segments, engine=plain_engine(), step=step).connections[0]["C_COMPLETENESS"] >> at.COMPLETE_WHOLE_SHIFT & 63
        for step in (1, 2, None)
    ]
    assert told == 3 * [at.COMPLETE_SYN | at.COMPLETE_SYN_ACK | at.COMPLETE_ACK | at.COMPLETE_RST]


STRAYS_AFTER_SILENCE = parse(
    """
    0.00 > S  0:0(0)
    0.02 < S. 0:0(0)       ack 1
    0.04 > .  1:1(0)       ack 1
    isn 900000 0
    71.0 > S  0:0(0)
    isn 910000 0
    71.1 > S  0:0(0)
    """
).segments


@pytest.mark.parametrize("step", [1])
def test_eviction_keeps_memory_sound(step):
    """What lingers too long is freed once, with a conn_id, and nothing points at it any more."""
    check(run(STRAYS_AFTER_SILENCE, engine=watched_engine(), step=step))


@pytest.mark.skipif(not compiled(), reason="the kernels in use are plain Python already")
def test_compiled_and_plain_agree_on_last_ack():
    """A FIN of 20 ms ago that nobody has acknowledged yet: LAST_ACK, compiled or not."""
    text = """
        0.00 > S  0:0(0)
        0.02 < S. 0:0(0) ack 1
        0.04 > .  1:1(0) ack 1
        1.00 > F. 1:1(0) ack 1
        1.02 < F. 1:1(0) ack 2
    """
    assert essence(run(text)) == essence(run(text, engine=plain_engine()))


@pytest.mark.skipif(not compiled(), reason="the kernels in use are plain Python already")
@settings(relaxed, max_examples=300)
@given(short)
def test_compiled_and_plain_agree(segments):
    """One source, two ways to run it, one result: every word of every connection, transition and label."""
    assert essence(run(segments, engine=Engine)) == essence(run(segments, engine=plain_engine()))


def constants(name: str):
    """(line, value) of every product, sum or shift of constants in a kernel: what C computes in an int.

    Masks and MILLISECOND are 64 bits wide in C (setup.py), and so is what is computed with them.
    """
    known = {k: int(v) for k, v in vars(at).items() if isinstance(v, int) and k[0].isupper()}
    operators = {ast.Mult: int.__mul__, ast.Add: int.__add__, ast.LShift: int.__lshift__}

    def value(node) -> int | None:
        if isinstance(node, ast.Constant) and type(node.value) is int:
            return node.value
        if isinstance(node, ast.Name) and not node.id.startswith("M_") and node.id != "MILLISECOND":
            return known.get(node.id)
        if isinstance(node, ast.BinOp) and type(node.op) in operators:
            left, right = value(node.left), value(node.right)
            if left is not None and right is not None:
                return operators[type(node.op)](left, right)
        return None

    for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text())):
        if isinstance(node, ast.BinOp) and (found := value(node)) is not None:
            yield node.lineno, found


@pytest.mark.parametrize("name", sorted({p.stem for p in FOLDER.glob("*.py")} - {"__init__", "memory"}))
def test_constants_fit_a_c_int(name):
    """Constants are C ints when compiled: a product of two that does not fit 32 bits would wrap without a word."""
    assert [(line, value) for line, value in constants(name) if not -(2**31) <= value < 2**31] == []


@pytest.mark.slow
def test_two_thousand_connections_leave_nothing_behind():
    """Connections that come, close and are forgotten: memory follows those alive, and everything is given back."""
    segments = array("q")
    for n in range(2000):
        text = f"""
            port {1024 + n} 80
            {n}.00 > S  0:0(0)
            {n}.02 < S. 0:0(0) ack 1
            {n}.04 > .  1:1(0) ack 1
            {n}.06 > F. 1:1(0) ack 1
            {n}.08 < F. 1:1(0) ack 2
            {n}.10 > .  2:2(0) ack 2
        """
        segments.extend(parse(text).segments)
    outcome = run(segments, step=60)
    check(outcome)
    assert len(outcome.connections) == 2000
    assert outcome.engine.control[at.K_ROW_TOP] < 200 * at.CONNECTION_SIZE


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(6))
def test_lone_syns_are_kept_in_few_words_and_nothing_else_changes(seed):
    """Alone, repeated, answered, refused or quoted long after: with and without a row from the first SYN on."""
    rng = Random(seed)
    segments = array("q")
    for n in range(60):
        options = rng.choice(("", "<mss 1460>", "<mss 1460,scale 7,sackok,ts 4000000000/0>", "<ts 7/4294967295>"))
        flags = rng.choice(("S", "SEW"))
        text = f"port {1024 + n} 80\n{n / 100} > {flags} 0:0(0) win {rng.choice((0, 65535))} {options}"
        again, refusal = f"\n{n / 100 + 1} > {flags} 0:0(0) {options}", f"\n{n / 100 + 3} < R. 0:0(0) ack 1"
        text += rng.choice(("", "", again, refusal))
        text += rng.choice(("", f"\n{n / 100 + 4} < S. 0:0(0) ack 1\n{n / 100 + 5} > . 1:1(0) ack 1"))
        segments.extend(parse(text).segments)
    size = at.SEGMENT_SIZE
    order = sorted(range(0, len(segments), size), key=lambda s: segments[s + at.S_TIME])
    segments = array("q", [word for s in order for word in segments[s : s + size]])
    for frame, s in enumerate(range(0, len(segments), size), 1):
        segments[s + at.S_FRAME] = frame
    without = run(segments, engine=LONG["suits_embryo"])
    for step in (7, None):
        assert essence(run(segments, step=step)) == essence(without)
        check(run(segments, engine=watched_engine(), step=step))


def test_a_flood_takes_few_words():
    """Rows are made of what is to be judged alone."""
    outcome = run(flood(3000, answered=False), step=100)
    check(outcome)
    assert outcome.engine.control[at.K_ROW_TOP] < (CHUNK + 300) * at.CONNECTION_SIZE


def flood(count: int, *, answered: bool) -> array:
    """A connection that lives through ``count`` SYNs from as many ports, a millisecond apart."""
    text = """
        port 1024 443
        0.000 > S  0:0(0)
        0.010 < S. 0:0(0) ack 1
        0.020 > .  1:1(0) ack 1
    """
    for n in range(count):
        text += f"\nport {2000 + n} 80\n{1 + n / 1000:.3f} > S 0:0(0)"
        if answered:
            text += f"\n{1 + n / 1000:.4f} < S. 0:0(0) ack 1"
    text += """
        port 1024 443
        99.000 > P. 1:101(100) ack 1
        99.010 < .  1:1(0)     ack 101
    """
    return parse(text).segments


@pytest.mark.parametrize("answered", [False, True])
def test_a_flood_is_judged_early_and_open_connections_are_not(answered):
    """Too many attempts at once leave before their time, all are told once, and who is connected stays."""
    engine = Engine(Settings(), crowd=200)
    connections: list = []
    most = 0
    for batch in cut(flood(3000, answered=answered), 50):
        engine.feed(batch)
        while (done := engine.take()) is not None:
            collect(done, connections)
        most = max(most, engine.live)
    engine.finish()
    while (done := engine.take()) is not None:
        collect(done, connections)
    assert most <= 600  # patience needs a few batches to shrink
    assert engine.hurried >= 2000
    assert sorted(c["C_ID"] for c in connections) == list(range(3001))
    first = min(connections, key=lambda c: c["C_ID"])
    assert first.end("client", "E_BYTES") == 100


def test_nobody_is_hurried_where_there_is_no_crowd():
    """Below the limit every attempt gets its full time."""
    engine = Engine(Settings(), crowd=4000)
    for batch in cut(flood(3000, answered=False), 50):
        engine.feed(batch)
    assert (engine.hurried, engine.live) == (0, 3001)


def test_connections_are_judged_in_blocks_and_soon():
    """Ten refused connections a second, in small batches: few blocks, and all told that have been over for long."""
    text = "\n".join(
        f"port {2000 + n} 80\n{n / 10:.1f} > S 0:0(0)\n{n / 10 + 0.01:.2f} < R. 0:0(0) ack 1" for n in range(2400)
    )
    engine = Engine(Settings())
    blocks = 0
    for batch in cut(parse(text).segments, 6):
        engine.feed(batch)
        while engine.take() is not None:
            blocks += 1
    silence = engine.control[at.K_LINGER] / SECOND
    assert blocks <= 240 / (silence / 16)
    assert engine.live <= 10 * (silence + 2 * silence / 16)


@pytest.mark.parametrize(
    "lines",
    [
        "0.0 > S 0:0(0)\n0.1 < S. 0:0(0) ack 1\n0.2 > . 1:1(0) ack 1\n1.0 > F. 1:1(0) ack 1\n1.1 < F. 1:1(0) ack 2",
        "0.0 > S 0:0(0)\n0.1 < S. 0:0(0) ack 1\n0.2 > . 1:1(0) ack 1\n1.0 > R 1:1(0)",
        "0.0 > S 0:0(0)\n0.1 < R. 0:0(0) ack 1",
        "0.0 < S. 0:0(0) ack 1",
        "0.0 > R 5:5(0)",
        "0.0 > S 0:0(0)",
        "0.0 > S 0:0(0)\n1.0 > S 0:0(0)",
    ],
)
def test_nothing_is_judged_as_of_a_time_after_the_capture(lines):
    """However a connection ends, and whether the sweep comes by or not: more than the capture is not known."""
    for more in (66, 80, 132):
        text = f"port 2000 80\n{lines}\n" + "".join(
            f"port {3000 + n} 80\n{n + 1.2:.1f} > S 0:0(0)\n{n + 1.3:.1f} < R. 0:0(0) ack 1\n" for n in range(more)
        )
        segments = parse(text).segments
        end = max(segments[s + at.S_TIME] for s in range(0, len(segments), at.SEGMENT_SIZE))
        overs = [found["C_OVER_TIME"] for found in run(segments, step=10).connections]
        assert len(overs) == 1 + more
        assert max(overs) <= end
