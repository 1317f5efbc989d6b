"""A full disk, a limit on files, a process that was killed: a line, its status, old tables whole or none at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import builders as make

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")

HOME = Path(__file__).resolve().parents[1]
SAMPLE = HOME / "sample_pcaps" / "lost_time_wait.pcap"
ALL = "connections,transitions,anomalies,diagnoses,waits,segments"


def tool(command: str, **environment: str) -> subprocess.CompletedProcess:
    more = {**os.environ, "PYTHONPATH": str(HOME), **environment}
    command = command.replace("TOOL", f"{sys.executable} -P -m tcptrace_fsm")
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=300, env=more, check=False)


def told(done: subprocess.CompletedProcess) -> None:
    """Status 4, and one line that says why."""
    assert done.returncode == 4, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("tcptrace-fsm: cannot write"), done.stderr


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A capture whose tables are larger than the disks below: many segments, none like another."""
    frames = []
    for n in range(8_000):
        segment = make.tcp(seq=n * 7919, ack=n * 104729 % 2**32, src_port=1024 + n * 31 % 60000, window=n % 65536)
        frames.append((n * n, make.ethernet(make.ipv4(segment))))
    path = tmp_path_factory.mktemp("large") / "large.pcap"
    path.write_bytes(make.pcap(frames))
    return path


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("cannot mount a file system")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_full_disk_leaves_nothing(form, small_disk, large):
    """Tables, and the spool of segments."""
    told(tool(f"TOOL analyze {large} -q -o {small_disk}/out --format {form} --tables {ALL}"))
    assert list(small_disk.iterdir()) == []


def test_a_full_disk_leaves_the_tables_of_before(small_disk, large):
    """Old and whole."""
    assert tool(f"TOOL analyze {SAMPLE} -q -o {small_disk}/out --tables {ALL}").returncode == 0
    before = {path.name: path.read_bytes() for path in (small_disk / "out").iterdir()}
    told(tool(f"TOOL analyze {large} -q -o {small_disk}/out --tables {ALL}"))
    assert {path.name: path.read_bytes() for path in (small_disk / "out").iterdir()} == before


@pytest.mark.slow
def test_a_full_disk_for_what_several_processes_put_aside(small_disk, large, tmp_path):
    """Their temporary folder is full, the place of the tables is not."""
    done = tool(f"TOOL analyze {large} -q -o {tmp_path}/out --jobs 3 --tables {ALL}", TMPDIR=str(small_disk))
    assert done.returncode == 4, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert "No space left" in done.stderr
    assert list(small_disk.iterdir()) == []
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    ["analyze {} -q -o OUT/tables --tables segments", "analyze {} -q -o OUT/tables --tables segments --format csv",
     "analyze {} -q --jobs 2 -o OUT/tables --tables segments", "extract {} 0 1 2 3 4 5 6 7 8 9 -o OUT/some.pcap",
     "annotate {} -o OUT/notes.pcapng", "report {} -o OUT/page.html", "analyze {} --json >OUT/file"],
)  # fmt: skip
def test_a_limit_on_the_size_of_files(command, large, tmp_path):
    """SIGXFSZ kills nobody; whatever is written ends in a line."""
    out = tmp_path / "out"
    out.mkdir()
    given = command.replace("OUT", str(out)).format(large)
    # CPython keeps bytecode that was cut at the limit, and all that import it later fail.
    done = tool(f"ulimit -f 1; PYTHONDONTWRITEBYTECODE=1 TOOL {given}")
    assert done.returncode in {0, 4} if "extract" in command else done.returncode == 4, done.stderr
    assert done.stderr.count("\n") <= 1, done.stderr
    assert not [path for path in out.rglob("*") if path.is_file() and path.name != "file"] or done.returncode == 0


@pytest.mark.slow
def test_what_a_killed_run_left_goes_with_the_next(tmp_path):
    """Nothing of it stays in the folder of the tables."""
    out = tmp_path / "out"
    command = [sys.executable, "-P", "-m", "tcptrace_fsm", "analyze", "-", "-q", "-o", str(out), "--tables", ALL]
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)
    process.stdin.write(SAMPLE.read_bytes())
    process.stdin.flush()
    deadline = time.monotonic() + 60
    while len(list(out.glob(".*.partial"))) < 8 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    process.stdin.close()
    assert len(list(out.glob(".*.partial"))) >= 8
    assert tool(f"TOOL analyze {SAMPLE} -q -o {out} --tables {ALL}").returncode == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*(f"{name}.parquet" for name in ALL.split(",")), "summary.json"]
    )
