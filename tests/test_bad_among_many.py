"""A capture among many that is none: left out, said, and an exit status of 1; and names that are nearly right."""

from __future__ import annotations

import pytest

from tcptrace_fsm.cli import app as cli

from .test_cli import close_by_client, pcap


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "a.pcap").write_bytes(pcap(close_by_client()))
    (tmp_path / "bad.pcap").write_bytes(b"no capture at all, only words")
    (tmp_path / "c.pcap").write_bytes(pcap(close_by_client(40001, 1_700_000_100)))
    return tmp_path


def run(*arguments, capsys):
    status = cli.run_command(list(map(str, arguments)))
    return status, *capsys.readouterr()


@pytest.mark.parametrize("command", [["analyze"], ["connections"], ["netstat"], ["diagram"]])
def test_the_others_are_analysed(folder, capsys, command):
    paths = [folder / name for name in ("a.pcap", "bad.pcap", "missing.pcap", "c.pcap")]
    status, out, err = run(*command, *paths, capsys=capsys)
    assert status == 1
    first, second = err.splitlines()
    assert first.startswith("tcptrace-fsm: warning: ")
    assert "bad.pcap: byte 0: " in first
    assert "missing.pcap: byte 0: no such file; left out" in second
    assert out == run(*command, paths[0], paths[3], capsys=capsys)[1]


def test_tables_are_written_of_the_others(folder, capsys):
    out = folder / "out"
    assert run("analyze", folder / "*.pcap", "-o", out, "--format", "csv", capsys=capsys)[0] == 1
    assert len((out / "connections.csv").read_text().splitlines()) == 3


def test_strict_stops_at_once(folder, capsys):
    paths = [folder / name for name in ("a.pcap", "bad.pcap", "c.pcap")]
    status, out, err = run("analyze", "--strict", *paths, capsys=capsys)
    assert (status, out) == (1, "")
    assert "bad.pcap" in err
    assert "left out" not in err


def test_where_none_is_good_nothing_is_analysed(folder, capsys):
    status, out, err = run("analyze", folder / "bad.pcap", folder / "missing.pcap", capsys=capsys)
    assert (status, out) == (1, "")
    assert err.count("\n") == 1


def test_the_next_command_begins_anew(folder, capsys):
    assert run("analyze", folder / "a.pcap", folder / "bad.pcap", capsys=capsys)[0] == 1
    assert run("analyze", folder / "a.pcap", capsys=capsys)[0] == 0


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["rules", "close_wait"], "no rule 'close_wait'; did you mean close_wait"),
        (["causes", "closewait"], "no cause 'closewait'; did you mean close_wait_leak"),
    ],
)
def test_nearest_names(capsys, arguments, says):
    status, _, err = run(*arguments, capsys=capsys)
    assert status == 2
    assert says in err
