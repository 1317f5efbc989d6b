"""The command line and the Python interface, on captures made here and on stand-ins."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime

import pandas as pd
import pytest

import tcptrace_fsm as tf
from tcptrace_fsm.cli import app as cli
from tcptrace_fsm.cli import progress
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.core.words import STATES
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.runs import run as running
from tcptrace_fsm.tcp.machine import State
from tcptrace_fsm.tcp.profiles import PROFILES
from tcptrace_fsm.views import netstat

from . import builders, fakes
from .fakes import SECOND, START

pytestmark = pytest.mark.plain

BEGAN = 1_700_000_000


def close_by_client(port=40000, began=BEGAN):
    """A handshake, a request, a close by the client; each segment with its time."""
    to_server = {"src_port": port, "dst_port": 80}
    to_client = {"src_port": 80, "dst_port": port}
    segments = [
        (0, builders.tcp(seq=100, ack=0, flags="S", **to_server), False),
        (1, builders.tcp(seq=500, ack=101, flags="SA", **to_client), True),
        (2, builders.tcp(seq=101, ack=501, flags="A", **to_server), False),
        (3, builders.tcp(b"hello", seq=101, ack=501, flags="PA", **to_server), False),
        (4, builders.tcp(seq=501, ack=106, flags="A", **to_client), True),
        (5, builders.tcp(seq=106, ack=501, flags="FA", **to_server), False),
        (6, builders.tcp(seq=501, ack=107, flags="FA", **to_client), True),
        (7, builders.tcp(seq=107, ack=502, flags="A", **to_server), False),
    ]
    for after, segment, back in segments:
        source, target = ("10.0.0.2", "10.0.0.1") if back else ("10.0.0.1", "10.0.0.2")
        yield (
            began + after,
            builders.ethernet(builders.ipv4(builders.with_checksum(segment, source, target), src=source, dst=target)),
        )


def pcap(*conversations):
    return builders.pcap([(when * 10**6, frame) for c in conversations for when, frame in c])


@pytest.fixture
def capture(tmp_path):
    path = tmp_path / "close.pcap"
    path.write_bytes(pcap(close_by_client()))
    return str(path)


def run(*arguments, capsys=None):
    status = cli.run_command(list(arguments))
    out, err = capsys.readouterr()
    return status, out, err


# --- analyze ----------------------------------------------------------------------------------------------------------
def test_analyze_prints_the_summary(capture, capsys):
    status, out, err = run("analyze", capture, capsys=capsys)
    assert (status, err) == (0, "")
    assert out.startswith("close.pcap     pcap, Ethernet, 8 frames, 7 s from 2023-11-14 22:13:20 UTC\n")
    assert "8 segments, 1 connection: 1 by handshake" in out
    assert "  TIME_WAIT               1           ." in out


def test_analyze_writes_tables(capture, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("analyze", capture, "-o", str(out), "-q", capsys=capsys) == (0, "", "")
    transitions = pd.read_parquet(out / "transitions.parquet")
    client = transitions[transitions.side == "client"].to_state.to_list()
    assert client == ["SYN_SENT", "ESTABLISHED", "FIN_WAIT_1", "TIME_WAIT"]
    said = json.loads((out / "summary.json").read_text())
    assert said["frames"]["tcp"] == 8
    assert said["connections"]["opening"]["handshake"] == 1
    assert said["versions"]["tcptrace-fsm"] == tf.__version__
    assert said["options"]["profile"] == "linux"


def test_json_goes_to_standard_output(capture, capsys):
    status, out, _ = run("analyze", "--json", capture, capsys=capsys)
    assert status == 0
    assert json.loads(out)["captures"][0]["frames"] == 8


def test_standard_input(capture, capsys, monkeypatch):
    with open(capture, "rb") as file:
        done = subprocess.run(
            [sys.executable, "-m", "tcptrace_fsm", "analyze", "-"],
            stdin=file,
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.startswith("standard input pcap, Ethernet, 8 frames")


def test_several_captures_are_one_timeline(tmp_path, capsys):
    whole = list(close_by_client())
    (tmp_path / "x.pcap10").write_bytes(builders.pcap([(t * 10**6, f) for t, f in whole[4:]]))
    (tmp_path / "x.pcap9").write_bytes(builders.pcap([(t * 10**6, f) for t, f in whole[:4]]))
    (tmp_path / "README").write_text("not a capture")
    for given in (
        [str(tmp_path)],
        [str(tmp_path / "x.pcap*")],
        [str(tmp_path / "x.pcap9"), str(tmp_path / "x.pcap10")],
    ):
        status, out, _ = run("analyze", *given, "--json", capsys=capsys)
        said = json.loads(out)
        assert status == 0
        assert [c["frames"] for c in said["captures"]] == [4, 4]
        assert said["connections"]["count"] == 1
    trace = tf.analyze(tmp_path)
    assert trace.connections.last_frame.to_list() == [4]
    assert trace.connections.last_file.to_list() == [str(tmp_path / "x.pcap10")]
    assert trace.segments.frame.to_list() == [1, 2, 3, 4] * 2


# --- exit statuses ----------------------------------------------------------------------------------------------------
def test_a_cut_capture_is_analysed_up_to_the_cut(tmp_path, capsys):
    path = tmp_path / "cut.pcap"
    path.write_bytes(pcap(close_by_client())[:-5])
    status, out, err = run("analyze", str(path), capsys=capsys)
    assert status == 0
    assert err.startswith("tcptrace-fsm: warning: ")
    assert err.count("\n") == 1
    assert "cut short" in out
    _, out, _ = run("analyze", "--json", str(path), capsys=capsys)
    assert json.loads(out)["captures"][0]["truncated"]


@pytest.mark.parametrize("content", [b"", b"plain text, no capture at all", None])
def test_what_is_no_capture_is_one_line(tmp_path, capsys, content):
    path = tmp_path / "no.pcap"
    if content is not None:
        path.write_bytes(content)
    status, out, err = run("analyze", str(path), "-o", str(tmp_path / "out"), capsys=capsys)
    assert (status, out) == (1, "")
    assert err.startswith(f"tcptrace-fsm: {path}: byte ")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_empty_directory_and_a_pattern_without_match(tmp_path, capsys):
    for name in (str(tmp_path), str(tmp_path / "*.pcap")):
        status, _, err = run("analyze", name, capsys=capsys)
        assert status == 1
        assert name in err


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["analyze"], "CAPTURE"),
        (["bogus"], "analyze, annotate, causes, connections, diagram, extract, ladder, netstat, report, rules"),
        (["analyze", "x", "--bogus"], "--profile"),
        (["analyze", "x", "--format", "xml"], "parquet, csv"),
        (["analyze", "x", "--tables", "frames"], "connections, transitions, anomalies, diagnoses, waits, segments"),
        (["analyze", "x", "--profile", "plan9"], "linux, rfc9293, bsd, windows"),
        (["analyze", "x", "--time-wait", "long"], "--time-wait"),
        (["analyze", "x", "--time-wait", "-1"], "--time-wait"),
        (["analyze", "x", "--fail-on", "all"], "info, low, medium, high"),
        (["analyze", "x", "--filter", "porrt 80"], "'porrt', character 1"),
        (["netstat", "x", "--at", "noon"], "ISO 8601"),
        (["netstat", "x", "--host", "localhost"], "IP address"),
        (["rules", "bogus"], "no rule 'bogus'; there are abort_on_overflow"),
    ],
)
def test_wrong_usage_is_one_line_that_says_what_is_right(arguments, says, capsys):
    status, out, err = run(*arguments, capsys=capsys)
    assert (status, out) == (2, "")
    assert says in err
    assert err.startswith("tcptrace-fsm: ")
    assert err.count("\n") == 1


def test_no_command_shows_the_help(capsys):
    status, out, _ = run(capsys=capsys)
    assert status == 2
    assert "analyze" in out


def test_fail_on(monkeypatch, capsys):
    for severity, wanted in (("high", 0), ("medium", 3), ("info", 3)):
        stand_in(monkeypatch, [fakes.finished([fakes.connection()], [], [fakes.finding(severity="medium")])])
        assert run("analyze", "-", "--fail-on", severity, capsys=capsys)[0] == wanted


def stand_in(monkeypatch, done, batches=None):
    """Analyse stand-ins in place of a capture."""
    captured = fakes.FakeCapture([fakes.batch([fakes.segment(1)])] if batches is None else batches)
    monkeypatch.setattr(running, "open_capture", lambda source, settings, keep, **_: captured)
    monkeypatch.setattr(running, "new_engine", lambda *_, **__: fakes.FakeEngine(done))


# --- Ctrl-C, pipes, terminals -----------------------------------------------------------------------------------------
def press_ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_while_waiting_loses_nothing(monkeypatch, tmp_path, capsys):
    def batches():
        yield fakes.batch([fakes.segment(1)])
        press_ctrl_c()  # the next bytes of a pipe are awaited, maybe for hours
        yield fakes.batch([fakes.segment(2)])

    stand_in(monkeypatch, [fakes.finished([fakes.connection(i)]) for i in range(2)], batches())
    status, out, err = run("analyze", "-", "-o", str(tmp_path / "out"), capsys=capsys)
    assert status == 130
    assert "2 connections" in out
    assert "stopped by Ctrl-C after 9 frames" in err
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["interrupted"] is True
    assert len(pd.read_parquet(tmp_path / "out" / "connections.parquet")) == 2


def test_ctrl_c_before_there_is_anything(monkeypatch, tmp_path, capsys):
    stand_in(monkeypatch, [])
    monkeypatch.setattr(running, "open_capture", lambda source, settings, keep, **_: press_ctrl_c())
    said = "tcptrace-fsm: stopped by Ctrl-C before anything was analysed\n"
    assert run("analyze", "-", capsys=capsys) == (130, "", said)
    assert run("analyze", "-", "-o", str(tmp_path / "out"), capsys=capsys) == (130, "", said)
    assert not (tmp_path / "out").exists()


def test_ctrl_c_while_feeding_waits_for_the_batch(monkeypatch, capsys):
    done = [fakes.finished([fakes.connection(i)]) for i in range(3)]
    stand_in(monkeypatch, done, [fakes.batch([fakes.segment(i)]) for i in range(3)])

    class Interrupted(fakes.FakeEngine):
        def feed(self, batch):
            press_ctrl_c()
            super().feed(batch)

    engine = Interrupted(done)
    monkeypatch.setattr(running, "new_engine", lambda *_, **__: engine)
    status, out, err = run("analyze", "-", capsys=capsys)
    assert (status, engine.fed) == (130, 1)
    assert "3 connections" in out
    assert "Ctrl-C" in err


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error(capture):
    for command in (["analyze", capture], ["netstat", capture], ["rules"], ["--help"]):
        process = subprocess.Popen(
            [sys.executable, "-m", "tcptrace_fsm", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        process.stdout.close()
        err = process.stderr.read()
        process.stderr.close()
        assert (process.wait(), err) == (0, b""), command


def test_the_bar_shows_and_goes(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    bar = progress._Bar()
    bar._since -= 1
    made = running.Run([], Settings())
    made.captures.append(fakes.FakeCapture())
    bar(made)
    bar(made)
    bar.stop()
    assert "fake.pcap" in terminal.getvalue()


def test_what_is_drawn_is_counted_on_a_terminal_only(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    with progress.drawing() as tell:
        assert tell is None
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress.drawing() as tell:
        assert terminal.getvalue() == "", "nothing until something is drawn"
        tell(1, 2)
        tell(2, 2)
    assert "drawn 2 of 2 connections" in terminal.getvalue()


def test_version_says_whether_compiled(capsys):
    status, out, _ = run("--version", capsys=capsys)
    assert status == 0
    assert out.startswith(f"tcptrace-fsm {tf.__version__} (kernels ")


# --- netstat and rules ------------------------------------------------------------------------------------------------
def test_netstat_at_a_moment(capture, capsys):
    status, out, _ = run("netstat", capture, "--at", "2.5", "--host", "10.0.0.1", capsys=capsys)
    assert status == 0
    assert [line.split()[3:6] for line in out.splitlines()[1:]] == [["10.0.0.1:40000", "10.0.0.2:80", "ESTABLISHED"]]
    _, same, _ = run("netstat", capture, "--at", "2023-11-14T22:13:22.5Z", "--host", "10.0.0.1", capsys=capsys)
    assert same == out


def test_netstat_at_the_end(capture, capsys):
    _, out, _ = run("netstat", capture, "--host", "10.0.0.1", capsys=capsys)
    assert "TIME_WAIT" in out.splitlines()[1]
    assert "timewait (" in out


def test_rules_lists_and_explains(capsys):
    status, out, _ = run("rules", capsys=capsys)
    assert status == 0
    assert "stuck_close_wait" in out
    status, out, _ = run("rules", "stuck_close_wait", capsys=capsys)
    assert status == 0
    assert "an example:" in out
    assert "RFC 9293" in out


# --- Python -----------------------------------------------------------------------------------------------------------
def test_trace(capture):
    trace = tf.analyze(capture)
    assert trace.connections is trace.connections
    assert trace.connections.closing.to_list() == ["normal"]
    assert len(trace.anomalies.columns) == 12
    assert trace.segments["flags"].to_list()[:2] == ["SYN", "SYN+ACK"]
    assert trace.segments.payload_len.sum() == 5
    assert repr(trace).startswith("close.pcap     pcap")
    one = trace.connection(0)
    assert one.row.client_port == 40000
    assert one.transitions.time.is_monotonic_increasing
    assert "SYN_SENT -> ESTABLISHED" in repr(one)
    assert len(one.segments) == 8
    stays = one.states[one.states.side == "client"]
    assert stays.state.to_list() == ["SYN_SENT", "ESTABLISHED", "FIN_WAIT_1", "TIME_WAIT"]
    assert (stays.begin.iloc[1:].to_numpy() == stays.end.iloc[:-1].to_numpy()).all()
    with pytest.raises(tf.UsageError, match="no connection 1"):
        trace.connection(1)


def test_trace_at(capture):
    trace = tf.analyze(capture)
    by_seconds = trace.at(2.5)
    by_clock = trace.at(datetime.fromtimestamp(BEGAN + 2.5, UTC))
    pd.testing.assert_frame_equal(by_seconds, by_clock)
    pd.testing.assert_frame_equal(by_seconds, trace.at(pd.Timestamp(BEGAN + 2.5, unit="s")))
    assert by_seconds[by_seconds.side == "client"].state.to_list() == ["ESTABLISHED"]
    assert trace.at(-5).empty


def test_a_file_object_is_read_once(capture):
    with open(capture, "rb") as file:
        trace = tf.analyze(file)
    assert len(trace.connections) == 1
    with pytest.raises(tf.UsageError, match="cannot be read again"):
        _ = trace.segments
    with open(capture, "rb") as file:
        assert len(tf.analyze(file, tables=["segments"]).segments) == 8


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_trace_export_is_what_the_command_line_writes(capture, tmp_path, capsys, form):
    tables = ["connections", "transitions", "anomalies", "diagnoses", "waits", "segments"]
    tf.analyze(capture).export(tmp_path / "a", format=form, tables=tables)
    run("analyze", capture, "-o", str(tmp_path / "b"), "--format", form, "--tables", ",".join(tables), capsys=capsys)
    for name in tables:
        a, b = ((tmp_path / d / f"{name}.{form}").read_bytes() for d in "ab")
        assert a == b


def test_python_errors(capture):
    with pytest.raises(tf.CaptureError, match="byte 0"):
        tf.analyze("/nowhere/at/all.pcap")
    with pytest.raises(tf.UsageError):
        tf.analyze([])
    with pytest.raises(tf.UsageError, match="profile"):
        tf.analyze(capture, profile="plan9")
    with pytest.raises(tf.UsageError, match="own"):
        tf.analyze(capture, profile=PROFILES["bsd"], time_wait=3)
    with pytest.raises(AttributeError):
        _ = tf.nothing
    assert "analyze" in dir(tf)


def test_time_wait_is_the_users_to_say(capture):
    trace = tf.analyze(capture, time_wait=1)
    assert trace.summary["options"]["time_wait"] == 1
    assert trace._run.settings.profile.time_wait.usual == 1


def test_moments():
    span = (START, START + 10 * SECOND)
    assert netstat.moment(None, span) == span[1]
    assert netstat.moment(0.25, span) == START + SECOND // 4
    assert netstat.moment("2023-11-14T22:13:21.000000", span) == START + SECOND
    with pytest.raises(tf.UsageError):
        netstat.moment(float("nan"), span)


def test_nothing_heavy_is_imported_for_a_summary(capture):
    code = (
        "import sys; from tcptrace_fsm.cli import app as cli; s = cli.run_command(sys.argv[1:]); "
        "print([m for m in ('numpy', 'pandas', 'pyarrow', 'rich', 'dpkt') if m in sys.modules], s)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "analyze", capture, "-q"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[] 0\n"


def test_states_of_the_machine_are_the_words_of_the_tables():
    assert {s.name for s in State} == set(STATES)
    assert k.CLIENT == 0
