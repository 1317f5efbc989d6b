"""In strangers' folders: modules beside captures, devices as outputs, links, leftovers, full disks, signals."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tcptrace_fsm.cli.app import run_command
from tcptrace_fsm.files import new_beside, remove_stale

CAPTURE = Path("sample_pcaps/lost_time_wait.pcap").resolve()
HOME = Path(__file__).resolve().parents[1]


def tool(*arguments, cwd=None, **more):
    """Run the command line in a process of its own, in a folder of its own."""
    environment = {**os.environ, "PYTHONPATH": str(HOME), **more.pop("env", {})}
    command = [sys.executable, "-P", "-m", "tcptrace_fsm", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False, **more
    )


@pytest.mark.slow
def test_workers_take_no_module_from_the_folder_of_the_capture(tmp_path):
    """A numpy.py beside the capture does not run, with several processes as with one."""
    shutil.copy(CAPTURE, tmp_path / "a.pcap")
    (tmp_path / "numpy.py").write_text("open('was_run', 'w').close()\n")
    (tmp_path / "multiprocessing.py").write_text("open('was_run', 'w').close()\n")
    done = tool("analyze", "a.pcap", "--jobs", 2, "-o", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "summary.json").exists()
    assert not (tmp_path / "was_run").exists()


PICTURES = [
    ["ladder", CAPTURE, "0", "--svg"],
    ["diagram", CAPTURE, "--svg"],
    ["report", CAPTURE, "-o"],
    ["extract", CAPTURE, "0", "-o"],
]


@pytest.mark.slow
@pytest.mark.parametrize("command", PICTURES, ids=lambda c: c[0])
def test_a_device_is_written_through(command, tmp_path):
    """What is no regular file stays what it is, and gets the bytes."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    writer = subprocess.Popen([sys.executable, "-m", "tcptrace_fsm", *map(str, command), str(fifo)], env=environment)
    received = 0
    while writer.poll() is None or received == 0:
        got = len(os.read(reader, 1 << 16))
        received += got
        if not got and writer.poll() is not None:
            break
        if not got:
            time.sleep(0.02)  # nobody has opened it yet
    os.close(reader)
    assert writer.wait(60) == 0
    assert received > 100
    assert stat.S_ISFIFO(fifo.stat().st_mode)


@pytest.mark.parametrize("command", PICTURES, ids=lambda c: c[0])
@pytest.mark.parametrize("link", [None, "symbolic", "hard"])
def test_the_capture_is_not_its_own_output(command, link, tmp_path, capsys):
    """Whatever name or link leads to it."""
    capture = tmp_path / "a.pcap"
    shutil.copy(CAPTURE, capture)
    target = capture
    if link:
        target = tmp_path / "link"
        target.symlink_to(capture) if link == "symbolic" else target.hardlink_to(capture)
    arguments = [str(capture) if part is CAPTURE else str(part) for part in command]
    assert run_command([*arguments, str(target)]) == 2
    assert "is the capture itself" in capsys.readouterr().err
    assert capture.read_bytes() == CAPTURE.read_bytes()


def test_temporary_names_are_new_and_follow_no_link(tmp_path):
    """Nobody can have put a link where a temporary file will be."""
    target = tmp_path / "out.svg"
    names = {new_beside(target) for _ in range(50)}
    assert len(names) == 50
    assert all(path.is_file() and not path.is_symlink() for path in names)


def test_what_a_killed_run_left_is_removed_and_nothing_else(tmp_path):
    """Leftovers of processes that are gone go; those of a living one, and files of others, stay."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = tmp_path / f".out.svg.{gone.pid}-0123456789ab.partial"
    living = tmp_path / f".out.svg.{os.getpid()}-0123456789ab.partial"
    others = [tmp_path / ".other.svg.1-0123456789ab.partial", tmp_path / ".out.svg.notes.partial"]
    for path in (left, living, *others):
        path.touch()
    remove_stale(tmp_path, "out.svg")
    assert not left.exists()
    assert all(path.exists() for path in (living, *others))


@pytest.mark.parametrize("name", ["anomalies.csv", "connections.csv"])
def test_somebody_elses_table_is_refused(name, tmp_path, capsys):
    """A file of that name that no earlier run has left is not written over, and neither is a folder."""
    theirs = tmp_path / name
    theirs.write_text("theirs\n")
    assert run_command(["analyze", str(CAPTURE), "-o", str(tmp_path), "--format", "csv", "-q"]) == 4
    assert "is there already" in capsys.readouterr().err
    assert theirs.read_text() == "theirs\n"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_earlier_runs_tables_are_replaced_and_other_files_stay(tmp_path):
    """Tables that the earlier run wrote and this one does not are gone; a segments.csv of somebody else is not."""
    run_command(["analyze", str(CAPTURE), "-o", str(tmp_path), "--format", "csv", "-q"])
    (tmp_path / "segments.csv").write_text("theirs\n")
    assert run_command(["analyze", str(CAPTURE), "-o", str(tmp_path), "-q"]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert "connections.parquet" in names
    assert "connections.csv" not in names
    assert (tmp_path / "segments.csv").read_text() == "theirs\n"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("command", [["analyze", CAPTURE], ["ladder", CAPTURE, "0"], ["rules"]], ids=lambda c: c[0])
def test_a_full_device_on_standard_output_is_one_line(command):
    """No traceback, the status of what cannot be written."""
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "tcptrace_fsm", *map(str, command)],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, env=environment, check=False,
        )  # fmt: skip
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.slow
def test_a_limit_on_the_size_of_files_is_one_line_and_leaves_nothing(tmp_path):
    """The tables are whole or absent, and the reason is told."""
    script = f"ulimit -f 1; exec {sys.executable} -m tcptrace_fsm report {CAPTURE} -o {tmp_path}/page.html"
    # CPython keeps bytecode that was cut at the limit, and all that import it later fail.
    environment = {**os.environ, "PYTHONPATH": str(HOME), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert done.returncode == 4, done.stderr
    assert done.stderr.splitlines()[-1].startswith("tcptrace-fsm: cannot write to")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_closed_standard_streams_make_no_traceback(closed, tmp_path):
    """A caller may close any of them."""
    log = tmp_path / "log"
    script = f"{sys.executable} -m tcptrace_fsm analyze {CAPTURE} -o {tmp_path}/out 2>{log} {closed}"
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert done.returncode == 0, log.read_text()
    assert "Traceback" not in log.read_text()
    assert (tmp_path / "out" / "summary.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing_half_written(number, tmp_path):
    """Stopped while it reads a pipe that never ends: no temporary file stays, and the status says which signal."""
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    command = [sys.executable, "-m", "tcptrace_fsm", "analyze", "-", "-o", str(tmp_path / "out")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    process.stdin.write(CAPTURE.read_bytes())
    process.stdin.flush()
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("out/.*.partial")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(tmp_path.glob("out/.*.partial"))
    time.sleep(0.5)  # all of them are there, and it reads
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number, errors
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
