"""Standard streams that are closed, full or know few letters, and the system's limits: a line or silence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a system with /dev/full")

HOME = Path(__file__).resolve().parents[1]
SAMPLE = HOME / "sample_pcaps" / "lost_time_wait.pcap"

# What each command is called with, and whether its answer goes to standard output.
COMMANDS = {
    "analyze": (f"analyze {SAMPLE}", True),
    "analyze --json": (f"analyze {SAMPLE} --json", True),
    "analyze -o": (f"analyze {SAMPLE} -q -o OUT/tables --tables connections,segments --format csv", False),
    "analyze --jobs": (f"analyze {SAMPLE} --jobs 2", True),
    "connections": (f"connections {SAMPLE}", True),
    "netstat": (f"netstat {SAMPLE}", True),
    "ladder": (f"ladder {SAMPLE} 0", True),
    "ladder --svg": (f"ladder {SAMPLE} 0 --svg OUT/ladder.svg", False),
    "diagram": (f"diagram {SAMPLE} --svg OUT/diagram.svg", False),
    "extract": (f"extract {SAMPLE} 0 -o OUT/some.pcap", False),
    "annotate": (f"annotate {SAMPLE} -o OUT/notes.pcapng", False),
    "report": (f"report {SAMPLE} -o OUT/page.html", False),
    "rules": ("rules", True),
    "causes": ("causes", True),
}
WRONG = {"missing": ("analyze /nowhere.pcap", 1), "usage": ("analyze --nonsense", 2)}
STREAMS = {
    "all closed": "{} <&- >&- 2>&-",
    "errors full": "{} 2>/dev/full",
    "all full": "{} >/dev/full 2>/dev/full",
    "few letters": "LC_ALL=C PYTHONIOENCODING=ascii PYTHONUTF8=0 {}",
}


def tried(how: str, arguments: str, folder: Path) -> subprocess.CompletedProcess:
    (folder / "out").mkdir()
    command = f"{sys.executable} -P -m tcptrace_fsm {arguments.replace('OUT', str(folder / 'out'))}"
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    done = subprocess.run(
        ["bash", "-c", how.format(command)], capture_output=True, timeout=120, env=environment, check=False
    )
    assert b"Traceback" not in done.stderr + done.stdout
    assert b"Exception ignored" not in done.stderr
    assert done.stderr.count(b"\n") <= 1, done.stderr.decode()
    assert not list((folder / "out").rglob(".*"))
    return done


# Who answers with files alone has nothing for standard output: where that is full too, it is the same. Each command
# meets two of the four, and each of these every second command.
TRIED = [
    (name, how)
    for i, (name, (_, answers)) in enumerate(COMMANDS.items())
    for j, how in enumerate(STREAMS)
    if (answers or how != "errors full") and (j - i) % 4 < 2
]


@pytest.mark.slow
@pytest.mark.parametrize("name, how", TRIED)
def test_streams_that_take_nothing(name, how, tmp_path):
    """What cannot be written to standard output is told by the status; all else is done as ever."""
    arguments, answers = COMMANDS[name]
    done = tried(STREAMS[how], arguments, tmp_path)
    lost = answers and how == "all full"
    assert done.returncode == (4 if lost else 0), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("how", STREAMS)
@pytest.mark.parametrize("name", WRONG)
def test_errors_keep_their_status_where_nobody_can_be_told(name, how, tmp_path):
    arguments, status = WRONG[name]
    assert tried(STREAMS[how], arguments, tmp_path).returncode == status


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["-v 60000", "-n 5"])
@pytest.mark.parametrize("name", ["analyze", "analyze -o", "analyze --jobs", "annotate"])
def test_little_memory_and_few_descriptors(name, limit, tmp_path):
    """It does its work, or says in a line that it cannot; nothing half written stays."""
    done = tried(f"ulimit {limit}; {{}}", COMMANDS[name][0], tmp_path)
    assert done.returncode in {0, 4}, done.stderr
    assert (done.returncode == 4) == (b"too little memory" in done.stderr or b"Too many open files" in done.stderr)


def test_a_reader_that_has_gone(tmp_path):
    """As `head` goes when it has enough."""
    assert tried("{} | true; exit ${{PIPESTATUS[0]}}", COMMANDS["analyze"][0], tmp_path).returncode == 0
