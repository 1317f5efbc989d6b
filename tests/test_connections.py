"""From an address to a connection's number: the list of connections, and netstat and report of one host."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from tcptrace_fsm.cli import app as cli
from tcptrace_fsm.cli import messages
from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.text.addresses import Endpoint, endpoint
from tcptrace_fsm.views import connections as view

from . import fakes
from .fakes import SECOND, START
from .test_cli import close_by_client, pcap


@pytest.fixture
def capture(tmp_path):
    path = tmp_path / "three.pcap"
    path.write_bytes(
        pcap(*(list(close_by_client(port, 1_700_000_000 + 10 * n)) for n, port in enumerate((40002, 40000, 40001))))
    )
    return str(path)


def run(*arguments, capsys):
    status = cli.run_command(list(map(str, arguments)))
    return status, *capsys.readouterr()


def listing(*, findings=(), **words):
    from tcptrace_fsm.kernels import layout as k

    rows = [
        fakes.connection(
            n,
            client=f"10.0.0.{10 - n}",
            ports=(40000 + n, 80),
            words={k.C_LONGEST_WAIT: wait, k.C_LONGEST_FOR: 1 if wait else 0, k.C_LAST_TIME: START + n * SECOND},
        )
        for n, wait in enumerate((5, 0, 9))
    ]
    return view.Listing([fakes.finished(rows, findings=findings)])


def test_one_line_for_each_connection(capture, capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    status, out, err = run("connections", capture, capsys=capsys)
    assert (status, err) == (0, "")
    head, *lines = out.splitlines()
    assert head.split() == [
        *("no", "client", "server", "began", "lasted", "opened", "closed", "states", "bytes", "longest", "wait"),
        *("cause", "worst", "finding"),
    ]
    assert [line.split()[:2] for line in lines] == [
        ["0", "10.0.0.1:40002"],
        ["1", "10.0.0.1:40000"],
        ["2", "10.0.0.1:40001"],
    ]
    assert "22:13:20.000" in lines[0]
    assert "TIME_WAIT/CLOSED" in lines[2]


@pytest.mark.parametrize(
    "options, numbers",
    [
        (["--host", "10.0.0.1:40000"], [1]),
        (["--host", "10.0.0.2"], [0, 1, 2]),
        (["--host", ":40001"], [2]),
        (["--state", "time-wait"], [2]),
        (["--sort", "client_port"], [1, 2, 0]),
        (["--sort", "client_port", "--reverse"], [0, 2, 1]),
        (["--sort", "first_time", "-n", "2"], [0, 1]),
        (["--reverse"], [2, 1, 0]),
    ],
)
def test_chosen_and_sorted(tmp_path, capsys, options, numbers):
    path = tmp_path / "c.pcap"
    conversations = [
        list(close_by_client(port, 1_700_000_000 + 100 * n)) for n, port in enumerate((40002, 40000, 40001))
    ]
    path.write_bytes(pcap(*conversations))
    for form in ("--json", "--csv"):
        status, out, _ = run("connections", path, form, *options, capsys=capsys)
        assert status == 0
        rows = (
            [json.loads(line) for line in out.splitlines()]
            if form == "--json"
            else list(csv.DictReader(io.StringIO(out)))
        )
        assert [int(row["conn_id"]) for row in rows] == numbers


def test_amounts_come_largest_first_and_what_is_missing_last():
    made = listing()
    assert made.chosen(view.Choice(), "longest_wait") == [2, 0, 1]
    assert made.chosen(view.Choice(), "longest_wait", reverse=True) == [0, 2, 1]
    assert made.chosen(view.Choice(), "duration") == [2, 1, 0]
    assert made.chosen(view.Choice(), "client_ip") == [2, 1, 0], "10.0.0.8 comes before 10.0.0.10"


def test_findings_choose_and_the_worst_is_named():
    found = [
        fakes.finding(1, "zero_window", "low"),
        fakes.finding(1, "stuck_close_wait", "high"),
        fakes.finding(None, "capture_drops", "high"),
    ]
    made = listing(findings=found)
    assert made.chosen(view.Choice(kind="zero_window")) == [1]
    assert made.chosen(view.Choice(), "severity") == [1, 0, 2]
    assert "HIGH stuck_close_wait" in list(made.text([1], None))[1]
    row = json.loads(next(made.json([1])))
    assert row["findings"] == ["stuck_close_wait", "zero_window"]
    assert row["longest_wait"] is None
    assert row["first_time"] == "2023-11-14T22:13:20.000000000Z"


def test_diagnoses_choose_and_say_what_they_do_not_list():
    from types import SimpleNamespace

    done = fakes.finished([fakes.connection(n) for n in range(3)])
    done.diagnoses = [SimpleNamespace(cause="path_loss", connections=(2,), count=5)]
    made = view.Listing([done])
    assert made.chosen(view.Choice(cause="path_loss")) == [2]
    assert "4 more suffer from path_loss" in made.unlisted(view.Choice(cause="path_loss"))


@pytest.mark.parametrize("width", [60, 80, 100, 140])
@pytest.mark.parametrize("sort", [None, "longest_wait", "client_retransmitted_bytes", "severity"])
def test_text_fits_and_says_what_is_left_out(width, sort):
    made = listing(findings=[fakes.finding(1, "rst_after_time_wait_loss", "high")])
    lines = list(made.text([0, 1, 2], width, more=7, sort=sort))
    assert max(map(len, lines)) <= width
    assert "and 7 connections more; -n 0 shows all" in lines
    kept, gone = lines[0].split(), " ".join(lines[5:]).replace(",", "").replace(";", "").split()
    for head in ("lasted", "closed", "states", "bytes"):
        assert (head in kept) != (head in gone)
    assert {"no", "client", "server"} < set(kept)
    if sort == "longest_wait":
        assert "longest" in kept
    if sort == "client_retransmitted_bytes":
        assert sort in kept


@pytest.mark.parametrize(
    "options, says",
    [
        (["--sort", "longest_waits"], "no column 'longest_waits'; did you mean longest_wait"),
        (["--state", "timewait"], "did you mean TIME_WAIT"),
        (["--cause", "closewait"], "did you mean close_wait_leak"),
        (["--kind", "close_wait"], "stuck_close_wait"),
        (["--kind", "xyzzy"], "no kind of finding 'xyzzy'; there are"),
        (["--host", "example.org"], "--host takes an IP address, with or without :PORT, not 'example.org'"),
        (["--json", "--csv"], "not both"),
        (["-n", "-1"], "-n takes"),
    ],
)
def test_wrong_names_are_refused_before_anything_is_read(capsys, options, says):
    status, out, err = run("connections", "no-such-file.pcap", *options, capsys=capsys)
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_a_host_that_is_not_there_is_said(capture, capsys):
    assert run("connections", capture, "--host", "10.9.9.9", capsys=capsys) == (
        0, "", "tcptrace-fsm: 10.9.9.9 has no connection here; those with most are 10.0.0.1, 10.0.0.2\n",
    )  # fmt: skip
    _, _, err = run("connections", capture, "--kind", "zero_window", capsys=capsys)
    assert "none of 3 connections is like that" in err


@pytest.mark.parametrize("text", ["10.0.0.1:", "10.0.0.1:99999", "10.0.0.1:http", "::1]:80", "", ":", "[::1]x"])
def test_no_endpoint(text):
    with pytest.raises(UsageError, match="takes an IP address"):
        endpoint(text)


@pytest.mark.parametrize(
    "text, ip, port",
    [
        ("::1", "::1", None),
        ("::", "::", None),
        ("[::1]", "::1", None),
        ("[0:0::1]:0", "::1", 0),
    ],
)
def test_endpoints_of_ipv6(text, ip, port):
    assert endpoint(text) == Endpoint(ip, port)


# --- netstat and report -----------------------------------------------------------------------------------------------
def test_netstat_says_what_lies_outside(capture, capsys):
    _, out, err = run("netstat", capture, "--at", "100", capsys=capsys)
    assert "1 min 13 s after the capture's end (2023-11-14T22:13:47.000000000Z)" in err
    _, out, err = run("netstat", capture, "--at", "2023-11-14T22:00:00", capsys=capsys)
    assert "13 min 20 s before the capture begins" in err
    assert out.count("\n") == 1
    _, _, err = run("netstat", capture, "--host", "10.9.9.9", capsys=capsys)
    assert "10.9.9.9 is not in the capture; those with most connections are 10.0.0.1, 10.0.0.2" in err
    _, _, err = run("netstat", capture, "--host", "10.0.0.2:81", capsys=capsys)
    assert "10.0.0.2:81 has no socket at that moment" in err


def test_netstat_takes_a_time_of_day_and_a_port(capture, capsys):
    same = run("netstat", capture, "--at", "2", "--host", ":40002", capsys=capsys)
    assert run("netstat", capture, "--at", "22:13:22", "--host", "10.0.0.1:40002", capsys=capsys) == same
    assert same[1].splitlines()[1].split()[-3:] == ["10.0.0.2:80", "ESTABLISHED", "acked"]


def test_a_time_of_day_after_midnight():
    from tcptrace_fsm.views.netstat import moment

    day = 86_400 * SECOND
    first = 20_000 * day + day - 5 * SECOND
    assert moment("00:00:05", (first, first + 20 * SECOND)) == 20_001 * day + 5 * SECOND
    assert moment("23:59:58", (first, first + 20 * SECOND)) == first + 3 * SECOND
    assert moment("23:59:50", (first, first + 20 * SECOND)) == first - 5 * SECOND, "outside, and said to be"


@pytest.mark.parametrize("address", ["10.0.0.1", "100.100.100.100", "2001:db8:1234:5678:9abc:def0:1234:5678"])
def test_netstat_fits_eighty_columns(address):
    from tcptrace_fsm.views.netstat import Socket, text

    row = Socket(
        "tcp", None, 12, address, 40000, address, 65535, "TIME_WAIT", "presumed", "timewait", 59 * SECOND, 0, "client"
    )
    lines = list(text([row], 80))
    if ":" not in address:
        assert len(lines) == 2
    assert max(map(len, lines[-2:] if ":" not in address else lines[3:])) <= 80
    assert f"{address}:40000" in "".join(lines)
    assert "59.00 s" in lines[-1]


def test_netstat_bounds_its_rows(capture, capsys):
    _, out, _ = run("netstat", capture, "--at", "25", "-n", "2", capsys=capsys)
    assert out.splitlines()[-1] == "and 3 sockets more; -n 0 shows all"
    assert len(out.splitlines()) == 4


def test_a_report_of_one_host_keeps_the_numbers(capture, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert run("report", capture, "-o", page, "--host", "10.0.0.1:40001", capsys=capsys)[0] == 0
    text = page.read_text()
    assert "1 connection of 10.0.0.1:40001; the capture has 3" in text
    assert '"ladders":[2]' in text
    assert run("report", capture, "-o", page, "--host", "nonsense", capsys=capsys)[0] == 2


SAMPLES = Path(__file__).parent.parent / "sample_pcaps"


def test_few_connections_on_a_terminal_come_with_their_cause(capsys, monkeypatch):
    """From an address to the cause: the diagnosis, what to do next, and the commands that show more."""
    monkeypatch.setenv("COLUMNS", "80")
    _, out, err = run("connections", SAMPLES, "--host", "10.0.0.1:49412", capsys=capsys)
    assert err == ""
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80 + len(str(SAMPLES))
    assert any(line.startswith("LOW time_wait_gone, likely: ") for line in lines)
    assert any(line.startswith("  next  ") for line in lines)
    assert lines[-2].startswith("see it   tcptrace-fsm ladder ")
    assert lines[-1] == "explain  tcptrace-fsm causes time_wait_gone"
    conn_id = next(line.split()[0] for line in lines[1:])
    assert lines[-2].endswith(f" {conn_id}")
    shown = run(*lines[-2].split()[3:], capsys=capsys)
    assert shown[0] == 0
    assert "10.0.0.1:49412" in shown[1]


def test_many_connections_and_pipes_get_lines_alone(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert "see it" not in run("connections", SAMPLES, capsys=capsys)[1]
    monkeypatch.delenv("COLUMNS")
    assert len(run("connections", SAMPLES, "--host", "10.0.0.1:49412", capsys=capsys)[1].splitlines()) == 2


def test_several_captures_are_named_as_they_were_given(capsys):
    _, out, _ = run("analyze", SAMPLES, capsys=capsys)
    assert "tcptrace-fsm ladder CAPTURE... " in out or f"tcptrace-fsm ladder {SAMPLES} " in out
    assert messages.as_given(["a b.pcap", "c.pcap"]) == "'a b.pcap' c.pcap"
    assert messages.as_given(["x" * 50, "y" * 50]) == ""
