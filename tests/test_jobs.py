"""Several processes give what one gives, row for row."""

from __future__ import annotations

import json

import pandas as pd
import pytest

import tcptrace_fsm as tf
from tcptrace_fsm.cli import app as cli
from tests import builders as b
from tests.many_files import SAMPLES, SECOND, TABLES, rotated, same, side_by_side, town

FRAMES = town(seed=2, connections=40)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A capture, rotated into three files, one of them doubled by a second queue."""
    folder = tmp_path_factory.mktemp("files")
    first, rest = FRAMES[:250], FRAMES[250:]
    paths = rotated(folder, first, [70, 150])
    return [*paths, *side_by_side(folder, rest, [n % 2 for n in range(len(rest))])]


@pytest.fixture(scope="module")
def alone(files):
    """What one process makes of them."""
    return tf.analyze(files)


def check(one, other):
    for table in TABLES:
        same(getattr(one, table), getattr(other, table))
    ours, theirs = dict(one.summary), dict(other.summary)
    assert ours == theirs


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.parametrize("jobs", [2, 3])
def test_several_processes_give_the_same_tables(files, alone, jobs):
    check(tf.analyze(files, jobs=jobs), alone)


@pytest.mark.slow
def test_segments_that_are_wanted_from_the_first_are_there(files, alone):
    """Processes hand out finished tables; the captures are read once more for their segments."""
    same(tf.analyze(files, jobs=3, tables=TABLES).segments, alone.segments)


@pytest.mark.slow
@pytest.mark.parametrize(
    "given", [{"taken_at": ["192.0.2.1"]}, {"filter": "host 192.0.2.1"}, {"taken_at": ["10.0.0.1"], "filter": "tcp"}]
)
def test_what_is_asked_for_reaches_every_process(files, alone, given):
    """Which frames to look at, and where the captures were taken."""
    if "filter" in given:
        pytest.importorskip("cypcap")
    one, other = tf.analyze(files, jobs=2, **given), tf.analyze(files, **given)
    check(one, other)
    assert len(one.transitions) != len(alone.transitions) or not one.transitions.equals(alone.transitions)


@pytest.mark.slow
def test_the_command_line_hands_them_on(files, tmp_path):
    """--filter and --taken-at beside --jobs."""
    pytest.importorskip("cypcap")
    names = [str(path) for path in files]
    for jobs in ("1", "2"):
        arguments = ["-o", str(tmp_path / jobs), "-q", "--jobs", jobs, "--filter", "net 10.0.0.0/16 and port 80"]
        arguments += ["--taken-at", "192.0.2.1", "--taken-at", "10.0.1.2", "--tables", ",".join(TABLES)]
        assert cli.run_command(["analyze", *names, *arguments]) == 0
    for table in TABLES:
        same(*(pd.read_parquet(tmp_path / jobs / f"{table}.parquet") for jobs in ("1", "2")))
    one, two = (json.loads((tmp_path / jobs / "summary.json").read_text()) for jobs in ("1", "2"))
    assert one == two
    assert one["options"]["taken_at"] == ["192.0.2.1", "10.0.1.2"]


def test_a_filter_that_is_none_is_told_in_one_line(files, capsys):
    pytest.importorskip("cypcap")
    assert cli.run_command(["analyze", str(files[0]), "--jobs", "2", "--filter", "prot tcp"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "filter" in err


@pytest.mark.slow
def test_a_clock_that_was_set_back(tmp_path):
    """Each process is told the clock of the whole timeline, and goes back with it."""
    (path,) = rotated(tmp_path, FRAMES + [(time - 100 * SECOND, frame) for time, frame in FRAMES], [])
    one, other = tf.analyze([path], jobs=3), tf.analyze([path])
    check(one, other)
    once = tf.analyze(rotated(tmp_path, FRAMES, []))
    normal = [int((trace.connections.closing == "normal").sum()) for trace in (once, other)]
    assert normal[1] > 1.5 * normal[0] > 0  # some of what is open at the end goes on with the same numbers


@pytest.mark.slow
def test_all_samples_in_two_processes():
    check(tf.analyze(SAMPLES, jobs=2), tf.analyze(SAMPLES))


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_the_same_files_are_written(files, tmp_path, form):
    read = pd.read_parquet if form == "parquet" else pd.read_csv
    names = [str(path) for path in files]
    for jobs in ("1", "2"):
        arguments = ["-o", str(tmp_path / jobs), "--format", form, "--tables", ",".join(TABLES), "-q", "--jobs", jobs]
        assert cli.run_command(["analyze", *names, *arguments]) == 0
    assert {p.name for p in (tmp_path / "1").iterdir()} == {p.name for p in (tmp_path / "2").iterdir()}
    for table in TABLES:
        one, two = (read(tmp_path / jobs / f"{table}.{form}") for jobs in ("1", "2"))
        same(one, two)
        assert (one.dtypes == two.dtypes).all()
    segments = read(tmp_path / "2" / f"segments.{form}")
    pd.testing.assert_frame_equal(segments, read(tmp_path / "1" / f"segments.{form}"))
    one, two = (json.loads((tmp_path / jobs / "summary.json").read_text()) for jobs in ("1", "2"))
    assert one == two


@pytest.mark.slow
def test_what_cannot_be_read_is_told_in_one_line(tmp_path, capsys):
    (tmp_path / "no.pcap").write_text("nothing that could be read")
    assert cli.run_command(["analyze", str(tmp_path / "no.pcap"), "--jobs", "2"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "no.pcap: byte 0: not a capture" in err


@pytest.mark.parametrize("arguments", [["-", "--jobs", "3"], ["x.pcap", "--jobs", "0"]])
def test_what_makes_no_sense_is_refused(arguments, capsys):
    assert cli.run_command(["analyze", *arguments]) == 2
    assert "--jobs" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_process_is_told_of(files, monkeypatch):
    from tcptrace_fsm.errors import WorkerError
    from tcptrace_fsm.runs import jobs

    def killing(self, n, content, tell=jobs._Crew.tell):
        if isinstance(content, jobs.Harvest):
            self._processes[n].kill()
        tell(self, n, content)

    monkeypatch.setattr(jobs._Crew, "tell", killing)
    with pytest.raises(WorkerError, match="signal 9"):
        tf.analyze(files, jobs=2)


@pytest.mark.slow
def test_a_cut_off_file_is_analysed_up_to_the_cut(tmp_path, capfd):
    paths = rotated(tmp_path, FRAMES, [100, 200])
    paths[1].write_bytes(paths[1].read_bytes()[:-7])
    assert cli.run_command(["analyze", *map(str, paths), "--jobs", "2"]) == 0
    out, err = capfd.readouterr()
    assert "cut short" in out
    assert f"warning: {paths[1]}" in err


@pytest.mark.slow
def test_an_empty_capture(tmp_path):
    (tmp_path / "empty.pcap").write_bytes(b.pcap([]))
    check(tf.analyze(tmp_path / "empty.pcap", jobs=2), tf.analyze(tmp_path / "empty.pcap"))
