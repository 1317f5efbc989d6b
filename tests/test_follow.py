"""Captures that are still being written: files that grow, are cut or replaced, and pipes."""

from __future__ import annotations

import fcntl
import gzip
import json
import signal
import subprocess
import sys
import termios
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tcptrace_fsm.capture import streams
from tcptrace_fsm.capture.containers import open_capture
from tests import builders as make

SAMPLES = Path(__file__).parents[1] / "sample_pcaps"
FRAMES = [make.ethernet(make.ipv4(make.tcp(bytes(n), seq=n))) for n in range(20)]
PCAP = make.pcap(list(enumerate(FRAMES)))
PCAPNG = make.section() + make.interface(1) + b"".join(make.packet(i, frame) for i, frame in enumerate(FRAMES))


class Follower:
    """Reads a file that grows, in a thread; gives it up when the file is replaced."""

    def __init__(self, path, monkeypatch):
        monkeypatch.setattr(streams, "POLL", 0.002)
        self.path, self.frames, self.capture = path, 0, None
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        self.capture = open_capture(str(self.path), follow=True)
        for batch in self.capture.segments():
            self.frames += batch.frame_count

    def sees(self, wanted):
        """Whether it comes to that many frames, and stays there."""
        end = time.monotonic() + 20
        while self.frames < wanted and time.monotonic() < end:
            time.sleep(0.002)
        time.sleep(0.02)
        return self.frames == wanted

    def begins(self):
        """Whether it comes to any."""
        end = time.monotonic() + 20
        while not self.frames and time.monotonic() < end:
            time.sleep(0.002)
        return self.frames > 0

    def ends(self):
        self.thread.join(20)
        return not self.thread.is_alive()


@pytest.mark.parametrize("data", [PCAP, PCAPNG, gzip.compress(PCAP)], ids=["pcap", "pcapng", "gzip"])
@pytest.mark.parametrize("piece", [7, 61, 1000])
def test_reading_goes_on_as_the_file_grows(tmp_path, monkeypatch, data, piece):
    """From an empty file on, however its bytes come."""
    path = tmp_path / "growing"
    path.touch()
    follower = Follower(path, monkeypatch)
    with path.open("ab", buffering=0) as file:
        for begin in range(0, len(data), piece):
            file.write(data[begin : begin + piece])
            time.sleep(0.001)
    assert follower.sees(len(FRAMES))
    path.replace(tmp_path / "old")
    path.touch()
    assert follower.ends()
    assert follower.capture.replaced
    assert follower.capture.truncated is None or data[:2] == b"\x1f\x8b"
    assert sum(follower.capture.outcomes) == follower.frames


def test_what_was_written_before_the_name_passed_on_is_read(tmp_path, monkeypatch):
    """The writer of a rotated file may write on until it closes it."""
    path = tmp_path / "rotated"
    path.write_bytes(PCAP[:300])
    follower = Follower(path, monkeypatch)
    assert follower.begins()
    with path.open("ab", buffering=0) as file:
        path.replace(tmp_path / "old")  # no successor yet
        time.sleep(0.02)
        file.write(PCAP[300:])
    assert follower.sees(len(FRAMES))
    path.write_bytes(PCAP)
    assert follower.ends()


def test_a_file_that_is_cut_is_begun_anew(tmp_path, monkeypatch):
    """copytruncate, or a capture started again on the same name."""
    path = tmp_path / "cut"
    path.write_bytes(PCAP)
    follower = Follower(path, monkeypatch)
    assert follower.sees(len(FRAMES))
    path.write_bytes(PCAP[:100])
    assert follower.ends()
    assert follower.capture.replaced


@contextmanager
def running(command, **streams):
    """A process that ends when the test does, however it does: left alone, a follower would wait for ever."""
    with subprocess.Popen(command, **streams) as process:
        try:
            yield process
        finally:
            process.kill()


def until(process, reached):
    """Wait until the process has come that far: it is started in its own time."""
    end = time.monotonic() + 60
    while not reached():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.01)


def has_read(process, path):
    """Whether it has the file open and stands at its end (proc(5))."""
    for fd in Path(f"/proc/{process.pid}/fd").iterdir():
        if fd.exists() and fd.resolve() == path:
            position = Path(f"/proc/{process.pid}/fdinfo/{fd.name}").read_text().split()[1]
            return int(position) == path.stat().st_size
    return False


def left_in(pipe):
    """Bytes that were written to a pipe and not read."""
    return int.from_bytes(fcntl.ioctl(pipe.fileno(), termios.FIONREAD, bytes(4)), sys.byteorder)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_findings_come_at_once_and_ctrl_c_ends_it_all_well(tmp_path):
    """The command line: a growing file, replaced by another one; one line for each finding, then the summary."""
    data = (SAMPLES / "lost_time_wait.pcap").read_bytes()
    path, out = tmp_path / "live.pcap", tmp_path / "out"
    path.write_bytes(data[:24])
    command = [sys.executable, "-m", "tcptrace_fsm", "analyze", "--follow", str(path), "-o", str(out)]
    with running(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        with path.open("ab", buffering=0) as file:
            file.write(data[24:900])
            until(process, lambda: has_read(process, path))
            file.write(data[900:])
        until(process, lambda: has_read(process, path))
        path.unlink()
        # The same hour later: the connections before are over now, and their findings are told.
        frames = [(4_000_000_000_000_000 + i * 10**9, FRAMES[0]) for i in range(3)]
        path.write_bytes(make.pcap(frames))
        assert b"rst_after_time_wait_loss" in process.stdout.readline() + process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"2 captures" in rest
    assert b"stopped by Ctrl-C after 16 frames; analysed up to there" in err
    summary = json.loads((out / "summary.json").read_text())
    assert summary["interrupted"]
    assert summary["frames"]["tcp"] == 16


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks a pipe how much is in it")
def test_a_live_pipe(tmp_path):
    """tcpdump -w - | tcptrace-fsm analyze --follow -: what comes is read at once; Ctrl-C ends it with what came."""
    command = [sys.executable, "-m", "tcptrace_fsm", "analyze", "--follow", "-", "--json"]
    with running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(PCAP[:-10])
        process.stdin.flush()
        until(process, lambda: left_in(process.stdin) == 0)
        time.sleep(0.2)  # what was taken out of the pipe is now on its way through
        process.send_signal(signal.SIGINT)
        out, _err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(out)["frames"]["tcp"] == len(FRAMES) - 1


@pytest.mark.slow
@pytest.mark.parametrize("place", ["before the wait", "in the wait"])
def test_ctrl_c_in_the_moment_before_a_wait_is_not_forgotten(place):
    """The signal comes after the bytes that were there, and before the pipe is asked for more, which never come."""
    code = """
import os, signal, sys
from tcptrace_fsm.capture import streams
from tcptrace_fsm.cli.app import run_command
before = streams._Raw.read_into
def read_into(self, room):
    if self.consumed == SIZE and not self._back and PLACE == "before the wait":
        os.kill(os.getpid(), signal.SIGINT)
    return before(self, room)
streams._Raw.read_into = read_into
take = streams._Raw._take
def _take(self, room):
    if self.consumed == SIZE and PLACE == "in the wait":
        os.kill(os.getpid(), signal.SIGINT)
    return take(self, room)
streams._Raw._take = _take
sys.exit(run_command(["analyze", "--follow", "-", "--json"]))
"""
    command = [sys.executable, "-c", code.replace("PLACE", repr(place)).replace("SIZE", str(len(PCAP)))]
    with running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(PCAP)
        process.stdin.flush()
        assert process.wait(60) == 130
        assert json.loads(process.stdout.read())["frames"]["tcp"] == len(FRAMES)
