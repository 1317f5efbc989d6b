"""Threads that read, follow, replay and judge one capture give what one thread gives, row for row."""

from __future__ import annotations

import threading
from itertools import islice

import pytest

import tcptrace_fsm as tf
from tcptrace_fsm.capture.sources import sources
from tcptrace_fsm.cli import app as cli
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.errors import CaptureError, UsageError
from tcptrace_fsm.runs import pipeline
from tcptrace_fsm.runs.pipeline import Pipeline
from tcptrace_fsm.runs.run import Run
from tcptrace_fsm.runs.start import new_run
from tests import builders as b
from tests.many_files import SAMPLES, TABLES, same, town

GIVEN = [
    {},
    {"taken_at": ["192.0.2.1"]},
    {"learn_timers": True},
    {"profile": "auto"},
    {"tables": TABLES},
]


@pytest.fixture(autouse=True)
def _threads(monkeypatch):
    """Wherever the tests run, and with blocks and batches that have to wait."""
    monkeypatch.setattr("tcptrace_fsm.runs.start.compiled", lambda: True)
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    return written(tmp_path_factory.mktemp("town") / "town.pcap", town(seed=3, connections=40))


def written(path, frames):
    path.write_bytes(b.pcap(frames))
    return path


def check(one, other):
    for table in TABLES:
        same(getattr(one, table), getattr(other, table))
    assert dict(one.summary) == dict(other.summary)


def test_two_processors_and_one_capture_are_threads(capture):
    assert isinstance(new_run([capture], Settings(), jobs=2), Pipeline)
    assert not isinstance(new_run([capture, capture], Settings(), jobs=2), Pipeline)
    assert not isinstance(new_run([capture], Settings(), jobs=3), Pipeline)


@pytest.mark.no_cover
@pytest.mark.parametrize("given, frames", [({}, 64), ({}, pipeline.FRAMES), *((given, 3) for given in GIVEN)], ids=str)
def test_threads_give_the_same_tables(capture, given, frames, monkeypatch):
    monkeypatch.setattr(pipeline, "FRAMES", frames)
    monkeypatch.setattr(pipeline, "CHUNK", 40 * frames)
    check(tf.analyze(capture, jobs=2, **given), tf.analyze(capture, **given))


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.pcap*")), ids=lambda path: path.stem)
def test_of_each_sample(path):
    check(tf.analyze(path, jobs=2), tf.analyze(path))


def test_a_growing_capture_is_not_shared(capture):
    with pytest.raises(UsageError, match="reads one capture as it grows"):
        new_run([capture], Settings(follow=True), jobs=2)


def test_of_a_flood(tmp_path):
    """Lone SYNs are replayed apart, and their logs are free at once."""
    syns = [(n, b.ethernet(b.ipv4(b.tcp(src_port=1024 + n, flags="S"), src="10.0.0.9"))) for n in range(2100)]
    path = written(tmp_path / "flood.pcap", syns)
    check(tf.analyze(path, jobs=2), tf.analyze(path))


def test_a_stream_is_read(capture, monkeypatch, capsys):
    """It is read once."""
    with capture.open("rb") as stream:
        fed = type("Stdin", (), {"buffer": stream, "fileno": stream.fileno, "isatty": lambda _: False})()
        monkeypatch.setattr("sys.stdin", fed)
        assert cli.run_command(["analyze", "-", "--jobs", "2"]) == 0
    assert "connections" in capsys.readouterr().out


class Failing:
    """A sink that cannot take anything."""

    def take(self, finished):
        raise OSError(28, "No space left on device")


def test_what_a_sink_raises_is_raised_to_the_caller(capture, monkeypatch):
    monkeypatch.setattr(pipeline, "FRAMES", 3)
    run = Pipeline(sources(capture), Settings())
    with pytest.raises(OSError, match="No space left"):
        run.go([Failing()])


def test_what_a_reader_raises_is_raised_to_the_caller(tmp_path):
    (tmp_path / "no.pcap").write_text("nothing that could be read")
    with pytest.raises(CaptureError, match="not a capture"):
        Pipeline(sources(tmp_path / "no.pcap"), Settings()).go([])


def test_a_capture_that_is_cut_short_is_read_up_to_there(capture, tmp_path):
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(capture.read_bytes()[:-7])
    check(tf.analyze(cut, jobs=2), tf.analyze(cut))


def test_who_stops_early_has_what_was_read_until_then(capture, monkeypatch):
    """Batches that were read ahead are followed too: the count of frames is that of what was analysed."""
    monkeypatch.setattr(pipeline, "FRAMES", 32)
    monkeypatch.setattr("tcptrace_fsm.capture.containers.BATCH_FRAMES", 32)
    ours, theirs = (kind(sources(capture), Settings()) for kind in (Pipeline, Run))
    ours.go([], watch=lambda _, batches: islice(batches, 2))
    frames = ours.captures[0].frames
    assert 64 <= frames <= 32 * (2 + pipeline.AHEAD + 2)
    theirs.go([], watch=lambda _, batches: islice(batches, frames // 32))
    assert theirs.captures[0].frames == frames
    assert ours.tally.connections == theirs.tally.connections > 0
    assert ours.tally.transitions == theirs.tally.transitions > 0


def test_a_key_pressed_leaves_no_thread_behind(capture, monkeypatch):
    monkeypatch.setattr(pipeline, "FRAMES", 3)

    def watch(_, batches):
        yield next(batches)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Pipeline(sources(capture), Settings()).go([], watch=watch)
