"""A cluster gives what one process gives, row for row, however it cuts the work, and whoever dies."""

from __future__ import annotations

import json
import os
import signal

import pandas as pd
import pytest

import tcptrace_fsm as tf
from tcptrace_fsm.api import Trace
from tcptrace_fsm.capture.sources import sources
from tcptrace_fsm.cli import app as cli
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.runs import cluster
from tcptrace_fsm.runs.run import Run
from tcptrace_fsm.runs.sinks import Kept
from tcptrace_fsm.tables.partitioned import PartitionedExport
from tests.many_files import SAMPLES, SECOND, TABLES, rotated, same, side_by_side, town
from tests.strategies import pure_kernels
from tests.test_timers_read_again import in_five_files

pytestmark = pytest.mark.extra

distributed = pytest.importorskip("distributed")

FRAMES = town(seed=3, connections=45)
DAY = 86400 * SECOND


@pytest.fixture(scope="module")
def client():
    with cluster.connect("local", workers=2) as connected:
        yield connected


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A capture, rotated into four files, the rest of it taken by two queues."""
    folder = tmp_path_factory.mktemp("files")
    paths = rotated(folder, FRAMES[:300], [70, 150, 220])
    paths += side_by_side(folder, FRAMES[300:], [n % 2 for n in range(len(FRAMES) - 300)])
    return [str(path) for path in paths]


@pytest.fixture(scope="module")
def alone(files):
    """What one process makes of them."""
    return tf.analyze(files)


def check(one, other):
    for table in TABLES:
        same(getattr(one, table), getattr(other, table))
    assert one.summary == other.summary


def test_all_samples(client):
    check(tf.analyze(SAMPLES, client=client), tf.analyze(SAMPLES))


def test_one_capture(client):
    path = SAMPLES / "zero_window.pcap"
    check(tf.analyze(path, client=client), tf.analyze(path))


@pytest.mark.parametrize(
    "given", [{"taken_at": ["192.0.2.1"]}, {"filter": "host 192.0.2.1"}, {"taken_at": ["10.0.0.1"], "filter": "tcp"}]
)
def test_what_is_asked_for_reaches_every_worker(client, files, given):
    """Which frames to look at, and where the captures were taken."""
    if "filter" in given:
        pytest.importorskip("cypcap")
    check(tf.analyze(files, client=client, **given), tf.analyze(files, **given))


def test_timers_are_learned_alike(client, tmp_path):
    files = in_five_files(tmp_path)
    one, other = tf.analyze(files, learn_timers=True), tf.analyze(files, learn_timers=True, client=client)
    assert one.summary["timers"]["learned"]
    check(one, other)


@pytest.mark.parametrize("partitions", [1, 2, 7])
def test_any_partitioning_gives_the_same_tables(client, files, alone, partitions):
    kept, run = Kept(), cluster.Cluster(sources(files), Settings(), client=client, partitions=partitions)
    run.go([kept])
    check(Trace(run, kept, lambda: Run(sources(files), Settings(segments=True))), alone)


def written(files, out, client, *, form="parquet"):
    run = cluster.Cluster(sources(files), Settings(segments=True), client=client, partitions=3)
    with PartitionedExport(out, form, TABLES, origins=run.origins) as export:
        run.go([export])
        export.commit(run.summary())
    return run


@pytest.fixture(scope="module")
def data_set(client, files, tmp_path_factory):
    """The place of tables that the workers have written."""
    place = tmp_path_factory.mktemp("data_set")
    written(files, place, client)
    return place


def test_data_sets_are_written_by_the_workers(data_set, alone):
    for table in TABLES:
        assert table == "diagnoses" or len(list((data_set / f"{table}.parquet").glob("part-*.parquet"))) > 2
        read = pd.read_parquet(data_set / f"{table}.parquet")
        whole = getattr(alone, table)
        assert set(whole.columns) <= set(read.columns)
        same(read[whole.columns], whole)
    said = json.loads((data_set / "summary.json").read_text())
    assert said["worst"] == alone.summary["worst"]
    assert sorted(path.name for path in data_set.iterdir()) == [
        *sorted(f"{table}.parquet" for table in TABLES if table < "segments"),
        *("segments.parquet", "summary.json", "transitions.parquet", "waits.parquet"),
    ]


@pytest.mark.parametrize("reader", ["polars", "duckdb"])
def test_others_read_them_as_one(data_set, alone, reader):
    module = pytest.importorskip(reader)
    place = f"{data_set}/transitions.parquet/*.parquet"
    if reader == "polars":
        count = module.scan_parquet(place).collect().height
    else:
        count = module.sql(f"select count(*) from '{place}'").fetchall()[0][0]
    assert count == len(alone.transitions)


def test_a_later_run_of_one_process_replaces_a_data_set(client, files, alone, tmp_path):
    written(files, tmp_path, client, form="csv")
    assert (tmp_path / "connections.csv").is_dir()
    alone.export(tmp_path, tables=["connections"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["connections.parquet", "summary.json"]


def test_a_worker_that_is_killed_is_survived(client, files, alone, monkeypatch):
    """One of two workers is killed when all is followed and nothing harvested: what it had is made again."""
    run = cluster.Cluster(sources(files), Settings(), client=client, partitions=3)
    submit, killed = run._submit, []

    def killing(function, *arguments):
        if function is cluster.glean and not killed:
            killed.append(next(iter(client.run(os.getpid).values())))
            os.kill(killed[0], signal.SIGKILL)
        return submit(function, *arguments)

    monkeypatch.setattr(run, "_submit", killing)
    kept = Kept()
    run.go([kept])
    assert killed
    check(Trace(run, kept, lambda: Run(sources(files), Settings(segments=True))), alone)


def test_a_cut_off_file_is_analysed_up_to_the_cut(client, tmp_path):
    paths = rotated(tmp_path, FRAMES, [100, 200])
    paths[1].write_bytes(paths[1].read_bytes()[:-7])
    trace = tf.analyze(paths, client=client)
    assert [bool(c["truncated"]) for c in trace.summary["captures"]] == [False, True, False]
    check(trace, tf.analyze(paths))


def test_what_cannot_be_read_is_told(client, files, tmp_path):
    (tmp_path / "no.pcap").write_text("nothing that could be read")
    with pytest.raises(tf.CaptureError, match=r"no\.pcap: byte 0: not a capture"):
        tf.analyze([*files, tmp_path / "no.pcap"], client=client)


def test_the_command_line_starts_a_cluster_of_its_own(files, alone, tmp_path, capfd):
    assert cli.run_command(["analyze", *files, "--dask", "local", "--jobs", "1", "-o", str(tmp_path)]) == 0
    out, err = capfd.readouterr()
    assert "dashboard at http" in err
    assert out.startswith("6 captures")
    assert len(pd.read_parquet(tmp_path / "connections.parquet")) == len(alone.connections)


@pytest.mark.parametrize(
    "arguments", [["x.pcap", "--dask", "tcp://127.0.0.1:1", "--jobs", "2"], ["-", "--dask", "local", "--jobs", "1"]]
)
def test_what_makes_no_sense_is_refused(arguments, capfd):
    assert cli.run_command(["analyze", *arguments]) == 2


@pytest.mark.parametrize("beside", [False, True])
def test_a_day_without_a_segment_closes_the_books_of_all_captures(client, tmp_path, beside):
    """Of captures that follow one another; not where another capture, beside them, shows what happened meanwhile."""
    halves = [FRAMES[: len(FRAMES) // 2], town(seed=5, connections=9), FRAMES[-50:]]  # many are open at the end
    frames = [(time + n * 3 * DAY, frame) for n, half in enumerate(halves) for time, frame in half]
    paths = rotated(tmp_path, frames, [len(halves[0]), len(halves[0]) + len(halves[1])])
    if beside:
        (tmp_path / "beside").mkdir()
        paths += rotated(tmp_path / "beside", [(FRAMES[0][0] + n * DAY // 2, FRAMES[0][1]) for n in range(20)], [])
    one, other = tf.analyze(paths, client=client), tf.analyze(paths)
    check(one, other)
    assert other.summary.get("leaps_by_days", False) is not beside


def test_the_segments_of_other_captures_are_known_without_compiled_kernels_too(monkeypatch, files):
    """Plain kernels count beyond 64 bits, as Python's numbers do and those of numpy do not."""
    seed = 0x123456789ABCDEF
    scanned = cluster.scan(files[0], 0, seed, Settings())
    step = cluster.Step(0, scanned.first, scanned.keys)
    task = cluster.Task(Settings(), seed, scanned.last, [], None)
    _, compiled = cluster.follow(files[0], 0, step, task)
    for name in ("keys", "stamp_all"):
        monkeypatch.setattr(cluster, name, getattr(pure_kernels()["share"], name))
    _, plain = cluster.follow(files[0], 0, step, task)
    assert len(plain) == 70
    pd.testing.assert_frame_equal(plain, compiled)
