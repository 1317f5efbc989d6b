"""What the capturing machine lost, looked up at the end of a capture, bears on every finding alike."""

from __future__ import annotations

import gzip
import io
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tcptrace_fsm as tf
from tcptrace_fsm.capture.containers import open_capture
from tcptrace_fsm.capture.losses import MOST_STATEMENTS, NEAR, Losses, Statement, at_end, doubt, lost_by_count
from tests import builders as make
from tests.many_files import SAMPLES, TABLES, same


def written(path, *blocks, order="<"):
    path.write_bytes(make.section(order) + make.interface(order=order) + b"".join(blocks))
    return path


PACKET = make.packet(10**15, make.ethernet(make.ipv4(make.tcp(flags="S"))))


@pytest.mark.parametrize("order", ["<", ">"])
def test_statistics_are_found_at_the_end(tmp_path, order):
    """Those of each interface count once, the last of them; what interface and system lost adds up."""
    blocks = [
        make.packet(10**15, bytes(60), order=order),
        make.statistics(received=5, dropped=1, order=order),
        make.statistics(1, received=7, os_dropped=2, order=order),
        make.statistics(received=50, dropped=3, os_dropped=4, order=order),
    ]
    assert at_end(written(tmp_path / "a.pcapng", *blocks, order=order)) == Losses(57, 9)


def test_nothing_is_told_where_there_is_nothing(tmp_path):
    """No statistics, none at the end, none with a count; no pcapng, no file, no end."""
    assert at_end(written(tmp_path / "none.pcapng", PACKET)) is None
    assert at_end(written(tmp_path / "inside.pcapng", make.statistics(dropped=9), PACKET)) is None
    assert at_end(written(tmp_path / "countless.pcapng", PACKET, make.statistics(received=9))) is None
    cut = written(tmp_path / "cut.pcapng", PACKET, make.statistics(dropped=9))
    cut.write_bytes(cut.read_bytes()[:-1])
    assert at_end(cut) is None
    (tmp_path / "old.pcap").write_bytes(make.pcap([(0, bytes(60))]))
    assert at_end(tmp_path / "old.pcap") is None
    assert [at_end(source) for source in ("-", str(tmp_path), str(tmp_path / "missing"), io.BytesIO())] == [None] * 4


@given(st.binary(max_size=80), st.integers(0, 2**32 - 1))
def test_hostile_ends_are_read_like_others(tmp_path_factory, tail, size):
    """Whatever the last bytes are, there is an answer."""
    path = tmp_path_factory.mktemp("ends") / "hostile.pcapng"
    for end in (tail, size.to_bytes(4, "little"), make.statistics(dropped=9)[:-4] + size.to_bytes(4, "little")):
        written(path, PACKET, end)
        assert at_end(path) in {None, Losses(-1, 9)}


def test_little_lost_explains_nothing():
    """One frame in a thousand; where the machine does not say how many there were, one is enough."""
    assert doubt([]) is None
    assert doubt([None, Losses(10, 0)]) is None
    assert doubt([Losses(10**6, 999)]) is None
    assert doubt([Losses(10**6, 1000)]) == "the capturing machine lost 1,000 frames, by its own count"
    assert doubt([Losses(10**6, 400), None, Losses(10**6, 1600)])
    assert doubt([Losses(-1, 1)])


def blocks_of_sample():
    """The frames of a capture in which a TIME_WAIT is gone too early, as pcapng blocks, and the time of the last."""
    blocks = []
    for batch in open_capture(str(SAMPLES / "lost_time_wait.pcap")).segments():
        for number in range(1, batch.frame_count + 1):
            time, _original, _link, content = batch.frame(number)
            blocks.append(make.packet(time // 1000, content))
    return blocks, time // 1000


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("way", ["compressed", "beside another", "first of two sections"])
def test_losses_that_no_end_tells_are_told_when_met(tmp_path, way, jobs):
    """A compressed capture, also beside one whose end says that it lost nothing; an end that speaks of its section."""
    quiet = written(tmp_path / "quiet.pcapng", PACKET, make.statistics(received=1, dropped=0))
    lossy = written(tmp_path / "lossy.pcapng", *blocks_of_sample()[0], make.statistics(received=13, dropped=4_000))
    packed = tmp_path / "packed.pcapng.gz"
    packed.write_bytes(gzip.compress(lossy.read_bytes()))
    both = tmp_path / "both.pcapng"
    both.write_bytes(lossy.read_bytes() + quiet.read_bytes())
    captures = {"compressed": packed, "beside another": [quiet, packed], "first of two sections": both}[way]
    found = tf.analyze(captures, jobs=jobs).anomalies.set_index("kind").loc["rst_after_time_wait_loss"]
    assert found["possible_artefact"] == "the capturing machine lost 4,000 frames, by its own count"


@pytest.mark.slow
def test_findings_made_long_before_bear_it_in_mind_too(tmp_path):
    """The statistics stand at the end; the connection was over, judged and handed out hours before."""
    blocks, last = blocks_of_sample()
    late = last + 10**10
    rest = [
        make.packet(late + n, make.ethernet(make.ipv4(make.tcp(flags="A", src_port=1 + n % 100, seq=n))))
        for n in range(10_000)
    ]
    path = written(tmp_path / "long.pcapng", *blocks, *rest, make.statistics(received=10_013, dropped=4_000))
    one = tf.analyze(path)
    found = one.anomalies.set_index("kind").loc["rst_after_time_wait_loss"]
    assert found["severity"] == "medium"
    assert found["possible_artefact"] == "the capturing machine lost 4,000 frames, by its own count"
    other = tf.analyze(path, jobs=2)
    for table in TABLES:
        same(getattr(one, table), getattr(other, table))


@cache
def late(time: int, count: int, *, begin: int = 0) -> list[bytes]:
    """Segments of as many connections that open nothing, from ``time`` on, us."""
    return [
        make.packet(time + n, make.ethernet(make.ipv4(make.tcp(flags="A", src_port=1 + begin + n))))
        for n in range(count)
    ]


STATEMENT = make.statistics(received=13, dropped=4_000)
SAID = "the capturing machine lost 4,000 frames, by its own count"
MINUTE = 60_000_000


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.parametrize("jobs, many", [(1, 3000), (2, 1), (2, 3000), (3, 1)])
@pytest.mark.parametrize(
    "place, said",
    [
        ("before it", SAID),
        ("just behind it", SAID),
        ("behind a segment 4 s later", SAID),
        ("behind a segment 6 s later", None),
        ("long behind it", None),
    ],
)
def test_what_is_said_in_the_midst_bears_on_what_is_not_over_by_then(tmp_path, place, said, jobs, many):
    """Whoever follows the connection, and whenever it is judged: the capture alone decides."""
    blocks, last = blocks_of_sample()
    ten = last + 10 * MINUTE
    parts = {
        "before it": [STATEMENT, *blocks, *late(ten, many)],
        "just behind it": [*blocks, STATEMENT, *late(ten, many)],
        "behind a segment 4 s later": [*blocks, *late(last + 4_000_000, 1), STATEMENT, *late(ten, many)],
        "behind a segment 6 s later": [*blocks, *late(last + 6_000_000, 1), STATEMENT, *late(ten, many)],
        "long behind it": [*blocks, *late(ten, many), STATEMENT],
    }[place]
    path = written(tmp_path / "midst.pcapng", *parts, *late(ten + MINUTE, many, begin=many))
    found = tf.analyze(path, jobs=jobs).anomalies.set_index("kind").loc["rst_after_time_wait_loss"]
    assert (found["possible_artefact"] or None) == said or (said is None and found.isna()["possible_artefact"])


def test_what_is_met_counts_where_it_is_more():
    """Of several captures all are added up, each as it stands by then."""
    told = [
        (Losses(-1, 5), [Statement(100, 50, 3), Statement(200, 90, 8)]),
        (None, [Statement(150, 10, 4)]),
        (None, []),
    ]
    lost = lost_by_count(told)
    words = [f"the capturing machine lost {n} frames, by its own count" for n in (5, 9, 12)]
    assert lost is not None
    assert [lost.by(time - NEAR) for time in (-1, 100, 149, 150, 199, 200, 10**9)] == [
        *(words[0], words[0], words[0], words[1], words[1], words[2], words[2])
    ]
    assert lost.whole == words[2]
    assert lost_by_count([(None, []), (None, [])]) is None


def test_a_capture_that_never_stops_speaking_is_heard_so_far(tmp_path):
    """There is a bound to what is kept of it."""
    blocks = [make.statistics(dropped=n) for n in range(1, 2 * MOST_STATEMENTS)]
    capture = open_capture(str(written(tmp_path / "loud.pcapng", PACKET, *blocks)))
    list(capture.segments())
    assert len(capture.statements) == MOST_STATEMENTS
    assert capture.statements[-1] == Statement(10**18, 1, MOST_STATEMENTS)
    assert capture.dropped == 2 * MOST_STATEMENTS - 1
