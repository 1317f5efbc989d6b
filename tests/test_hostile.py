"""Captures not made in good faith, through the whole command: a status, at most one line, every frame counted."""

from __future__ import annotations

import csv
import json
import os
import random
import threading
from pathlib import Path

import pytest

from tcptrace_fsm.cli.app import run_command
from tcptrace_fsm.tables import schema
from tests import builders as make

SAMPLES = sorted((Path(__file__).parents[1] / "sample_pcaps").glob("*.pcap*"))
FRAME = make.ethernet(make.ipv4(make.tcp(b"x", seq=5)))
PCAP = make.pcap([(0, FRAME)])


def run(capsys, *arguments):
    status = run_command(["analyze", *map(str, arguments)])
    said = capsys.readouterr()
    return status, said.out, said.err


def leaves(node):
    return sum(map(leaves, node.values())) if isinstance(node, dict) else node


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Cut, overwritten, with bytes more or fewer."""
    content = bytearray(data)
    at = chance.randrange(len(content))
    kind = chance.randrange(5)
    if kind == 0:
        return bytes(content[:at])
    if kind == 1:
        for _ in range(chance.choice((1, 3, 10, 100))):
            content[chance.randrange(len(content))] = chance.randrange(256)
    elif kind == 2:
        for _ in range(3):
            content[chance.randrange(min(200, len(content)))] = chance.choice((0, 1, 127, 128, 255))
    elif kind == 3:
        content[at:at] = content[at : at + chance.randrange(3000)]
    else:
        del content[at : at + chance.randrange(1, 60)]
    return bytes(content)


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(8))
def test_damaged_captures_give_tables_or_one_line(seed, tmp_path, capsys):
    """No traceback, no frame lost, whatever was done to the bytes."""
    chance = random.Random(seed)
    analysed = 0
    for sample in SAMPLES:
        path = tmp_path / "damaged.pcap"
        path.write_bytes(mutated(sample.read_bytes(), chance))
        status, out, err = run(capsys, path, "--json", "-o", tmp_path / "out", "--tables", "connections,segments")
        assert status in {0, 1}
        assert err.count("\n") <= 1
        if status == 1:
            assert (out, err.count("\n")) == ("", 1)
        else:
            analysed += 1
            summary = json.loads(out)
            assert leaves(summary["frames"]) == sum(one["frames"] for one in summary["captures"])
    # What is damaged behind its head is analysed up to there; most damage is.
    assert 2 * analysed > len(SAMPLES)


@pytest.mark.parametrize(
    "name, content, says",
    [
        ("empty.pcap", b"", "byte 0: empty"),
        ("text.pcapng", b"no capture at all, but a text of some length", "byte 0: not a capture (it begins with 6e"),
        ("short.pcap", PCAP[:20], "byte 20: the file ends inside its 24-byte header"),
        ("old.pcap", PCAP[:4] + b"\1\0" + PCAP[6:], "byte 4: pcap version 1.4 is not known"),
        ("new.pcap", PCAP[:4] + b"\3\0" + PCAP[6:], "byte 4: pcap version 3.4 is not known"),
        ("section.pcapng", b"\x0a\x0d\x0d\x0a" + bytes(40), "without its byte-order mark"),
        ("4gib.pcapng", b"\x0a\x0d\x0d\x0a\xfc\xff\xff\xff\x4d\x3c\x2b\x1a" + bytes(40), "a block of 4294967292 bytes"),
    ],
)
def test_what_is_no_capture_is_one_line_and_status_1(name, content, says, tmp_path, capsys):
    path = tmp_path / name
    path.write_bytes(content)
    status, out, err = run(capsys, path)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert says in err
    assert err.startswith(f"tcptrace-fsm: {path}: ")


@pytest.mark.parametrize(
    "name, content, frames",
    [("header.pcap", PCAP[:24], 0), ("link.pcap", make.pcap([(0, FRAME)] * 3, link=147), 3)],
)
def test_nothing_to_analyse_is_no_error(name, content, frames, tmp_path, capsys):
    """A capture without frames, or only with those of a link type that nobody reads."""
    path = tmp_path / name
    path.write_bytes(content)
    status, out, err = run(capsys, path, "--json")
    assert (status, err) == (0, "")
    assert leaves(json.loads(out)["frames"]) == frames


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_places_that_are_no_files(tmp_path, capsys):
    assert run(capsys, tmp_path)[0] == 1
    assert run(capsys, "/dev/null")[0] == 1
    assert run(capsys, "/dev/zero")[0] == 1
    assert run(capsys, "")[0] == 1
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(PCAP))
    writer.start()
    status, out, _ = run(capsys, pipe, "--json")
    writer.join()
    assert (status, json.loads(out)["frames"]["tcp"]) == (0, 1)


@pytest.mark.skipif(os.name != "posix", reason="names are bytes there")
def test_a_name_steers_no_terminal(tmp_path, capsys):
    """Escape sequences and bytes that are no text, in the name of a file that is found in a folder."""
    with open(os.fsencode(tmp_path) + b"/a\x1b[31m\xff\n.pcap", "wb") as file:
        file.write(PCAP)
    status, out, _ = run(capsys, tmp_path)
    assert status == 0
    assert "a\\x1b[31m\\udcff\\n.pcap" in out
    assert json.loads(run(capsys, tmp_path, "--json")[1])["captures"][0]["name"].endswith("\\udcff\n.pcap")


def test_cells_are_no_formulas(tmp_path, capsys):
    """No text in a CSV begins with what a spreadsheet would compute."""
    out = tmp_path / "out"
    assert run(capsys, *SAMPLES, "-q", "--format", "csv", "-o", out, "--tables", ",".join(schema.TABLES))[0] == 0
    for table, columns in schema.TABLES.items():
        texts = [c.name for c in columns if c.type == "string"]
        with (out / f"{table}.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                assert not [row[name] for name in texts if row[name][:1] in {"=", "+", "-", "@", "\t", "\r"}]
