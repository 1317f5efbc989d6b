"""Names that steer terminals or are no text, in every command: shown escaped, stored as UTF-8, stopping nobody."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tcptrace_fsm.cli.app import run_command

pytestmark = pytest.mark.skipif(os.name != "posix", reason="names are bytes there")

HOME = Path(__file__).resolve().parents[1]
SAMPLE = HOME / "sample_pcaps" / "lost_time_wait.pcap"
EVIL = b"a\x1b]0;x\x07\x1b[31m\xff\xe2\x80\xae\xc2\x9b2J\r\n.pcap"
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")

# Each command, where {in} is the capture and {out} a folder; and what it writes there.
COMMANDS = {
    "analyze": ["analyze", "{in}"],
    "analyze --json": ["analyze", "{in}", "--json"],
    "analyze -o": ["analyze", "{in}", "-o", "{out}/tables", "--format", "csv", "--tables", "connections,segments"],
    "analyze --junit": ["analyze", "{in}", "-q", "--junit", "{out}/findings.xml"],
    "analyze --jobs": ["analyze", "{in}", "--jobs", "2"],
    "connections": ["connections", "{in}"],
    "netstat": ["netstat", "{in}"],
    "ladder": ["ladder", "{in}", "0"],
    "ladder --svg": ["ladder", "{in}", "0", "--svg", "{out}/ladder.svg"],
    "diagram": ["diagram", "{in}", "--svg", "{out}/diagram.svg"],
    "extract": ["extract", "{in}", "0", "-o", "{out}/some.pcap"],
    "annotate": ["annotate", "{in}", "-o", "{out}/notes.pcapng"],
    "report": ["report", "{in}", "-o", "{out}/page.html"],
}


@pytest.fixture
def evil(tmp_path):
    folder = tmp_path / "captures"
    folder.mkdir()
    path = os.fsencode(folder) + b"/" + EVIL
    with open(path, "wb") as file:
        file.write(SAMPLE.read_bytes())
    return os.fsdecode(path)


def tried(capfdbinary, arguments):
    status = run_command(arguments)
    said = capfdbinary.readouterr()
    return status, said.out, said.err


def harmless(content: bytes) -> str:
    """Text without anything that a terminal would obey."""
    text = content.decode("utf-8", errors="strict")
    assert not CONTROL.search(text), repr(CONTROL.search(text)) + repr(text[:300])
    return text


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_the_name_of_a_capture(name, evil, tmp_path, capfdbinary):
    """Whatever the capture is called, the command does its work and repeats no control character."""
    out = tmp_path / "out"
    out.mkdir()
    arguments = [part.replace("{in}", evil).replace("{out}", str(out)) for part in COMMANDS[name]]
    status, stdout, stderr = tried(capfdbinary, arguments)
    assert status == 0, stderr
    for said in (stdout, stderr):
        harmless(said)
    for path in out.rglob("*"):
        if path.is_file() and path.suffix in {".svg", ".html", ".json", ".csv", ".xml"}:
            harmless(path.read_bytes())


@pytest.mark.parametrize("name", [name for name in COMMANDS if "{out}" in " ".join(COMMANDS[name])])
def test_the_name_of_an_output(name, tmp_path, capfdbinary):
    """What is written where is told escaped too."""
    folder = tmp_path / os.fsdecode(EVIL)
    folder.mkdir()
    arguments = [part.replace("{in}", str(SAMPLE)).replace("{out}", str(folder)) for part in COMMANDS[name]]
    status, stdout, stderr = tried(capfdbinary, arguments)
    assert status == 0, stderr
    for said in (stdout, stderr):
        harmless(said)
    assert list(folder.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("content", [None, b"", b"no capture"], ids=["missing", "empty", "text"])
def test_the_name_in_an_error(name, content, tmp_path, capfdbinary):
    """One line, escaped; nothing else."""
    path = os.fsencode(tmp_path) + b"/" + EVIL
    if content is not None:
        with open(path, "wb") as file:
            file.write(content)
    arguments = [part.replace("{in}", os.fsdecode(path)).replace("{out}", str(tmp_path)) for part in COMMANDS[name]]
    status, stdout, stderr = tried(capfdbinary, arguments)
    assert (status, stdout) == (1, b"")
    assert harmless(stderr).count("\n") == 1


WRONG = [
    ["rules", "{}"],
    ["causes", "{}"],
    ["{}"],
    ["analyze", "--{}"],
    ["analyze", str(SAMPLE), "--profile", "{}"],
    ["analyze", str(SAMPLE), "--format", "{}"],
    ["analyze", str(SAMPLE), "--tables", "{}", "-o", "/nowhere"],
    ["analyze", str(SAMPLE), "--fail-on", "{}"],
    ["analyze", str(SAMPLE), "--taken-at", "{}"],
    ["analyze", str(SAMPLE), "--time-wait", "{}"],
    ["analyze", str(SAMPLE), "--filter", "{}"],
    ["netstat", str(SAMPLE), "--at", "{}"],
    ["netstat", str(SAMPLE), "--host", "{}"],
    ["connections", str(SAMPLE), "--state", "{}"],
    ["connections", str(SAMPLE), "--cause", "{}"],
    ["connections", str(SAMPLE), "--kind", "{}"],
    ["connections", str(SAMPLE), "--sort", "{}"],
    ["connections", str(SAMPLE), "--host", "{}"],
    ["ladder", str(SAMPLE), "{}"],
    ["extract", str(SAMPLE), "{}", "-o", "/nowhere/x"],
]


@pytest.mark.parametrize("arguments", WRONG, ids=lambda a: " ".join(part for part in a if "/" not in part))
def test_what_makes_no_sense_is_repeated_escaped(arguments, capfdbinary):
    given = [part.replace("{}", os.fsdecode(EVIL)) for part in arguments]
    status, stdout, stderr = tried(capfdbinary, given)
    assert status in {1, 2}
    assert stdout == b"" or arguments[0] == "ladder"  # to which it is a second capture, left out with a line
    harmless(stdout)
    assert harmless(stderr).strip()


# How names are given is over before there are processes.
@pytest.mark.slow
@pytest.mark.parametrize("given, jobs", [("directory", "1"), ("pattern", "1"), ("each", "1"), ("directory", "2")])
def test_a_name_that_is_no_text_stops_nobody(given, jobs, evil, tmp_path, capfdbinary):
    """Beside others, all of them are read; and the tables name it, in UTF-8."""
    folder = Path(evil).parent
    (folder / "b.pcap").write_bytes(SAMPLE.read_bytes())
    named = {"directory": [str(folder)], "pattern": [f"{folder}/*.pcap"], "each": [evil, str(folder / "b.pcap")]}[given]
    for form in ("csv", "parquet"):
        out = tmp_path / form
        status, stdout, _ = tried(
            capfdbinary, ["analyze", *named, "-o", str(out), "--format", form, "--jobs", jobs,
                          "--tables", "connections,transitions,anomalies,diagnoses,waits,segments"]
        )  # fmt: skip
        assert status == 0
        harmless(stdout)
        summary = json.loads(harmless((out / "summary.json").read_bytes()))
        assert len(summary["captures"]) == 2
        read = pd.read_csv if form == "csv" else pd.read_parquet
        files = set(read(out / f"segments.{form}")["file"])
        assert len(files) == 2
    for path in (tmp_path / "csv").iterdir():
        harmless(path.read_bytes())


@pytest.mark.slow
def test_names_on_a_terminal_that_shows_colours(evil):
    """What the program itself sends to a terminal are colours; the name's own sequences are not among them."""
    environment = {**os.environ, "PYTHONPATH": str(HOME), "FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "tcptrace_fsm", "analyze", evil], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 0
    assert b"\x1b[31m\\u" not in done.stdout
    for sequence in (b"\x1b]0;", b"\x07", b"\xc2\x9b", b"\xe2\x80\xae"):
        assert sequence not in done.stdout + done.stderr
