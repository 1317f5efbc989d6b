"""Probes planted in every text that a capture can bring along: no output obeys them, wherever they are shown."""

from __future__ import annotations

import csv
import json
import re
import struct
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pandas as pd
import pytest

from tcptrace_fsm.cli.app import run_command
from tests import builders as make

PROBES = {
    "html": "</script><xprobe onclick=alert(1)>\"'&amp;<!--",
    "formula": '=HYPERLINK("http://192.0.2.1","probe")',
    "plus": "+1+cmd|' /C probe'!A0",
    "at": "@SUM(1+1)*probe",
    "escape": "\x1b[31mprobe\x1b]0;probe\x07\x9b2J",
    "bidi": "\u202eprobe\u2066\u200f",
    "lines": 'probe\r\nprobe,"probe\n',
}  # fmt: skip
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
COMMENT, NAME, DESCRIPTION, FILTER, SYSTEM, HARDWARE = 1, 2, 3, 11, 12, 15
SECOND = 10**6


def planted(probe: str) -> bytes:
    """A capture in which every text of its own is the probe."""
    text = probe.encode()

    def texts(*codes: int) -> bytes:
        filtered = [make.option(code, b"\0" + text if code == FILTER else text) for code in codes]
        return b"".join(filtered) + make.option(0, b"")

    out = make.section(options=texts(COMMENT, 2, 3, 4))
    out += make.block(1, struct.pack("<HHI", 1, 0, 0) + texts(NAME, DESCRIPTION, FILTER, SYSTEM, HARDWARE, COMMENT))
    hosts = b""
    for kind, address in ((1, bytes([10, 0, 0, 1])), (1, bytes([10, 0, 0, 2])), (2, bytes(15) + b"\1")):
        record = address + text + b"\0"
        hosts += struct.pack("<HH", kind, len(record)) + record + b"\0" * (-len(record) % 4)
    out += make.block(4, hosts + struct.pack("<HH", 0, 0) + texts(COMMENT, 2))
    for n, (flags, seq, ack, back) in enumerate(
        [("S", 100, 0, False), ("SA", 500, 101, True), ("A", 101, 501, False), ("PA", 101, 501, False),
         ("PA", 101, 501, False), ("FA", 501, 106, True), ("A", 106, 502, False), ("R", 106, 0, False)]
    ):  # fmt: skip
        ports = {"src_port": 80, "dst_port": 40000} if back else {}
        hosts_ = {"src": "10.0.0.2", "dst": "10.0.0.1"} if back else {}
        content = text[:5].ljust(5) if "P" in flags else b""
        frame = make.ethernet(make.ipv4(make.tcp(content, seq=seq, ack=ack, flags=flags, **ports), **hosts_))
        out += make.packet(1_700_000_000 * SECOND + n * SECOND, frame, options=texts(COMMENT))
    return out + make.statistics(0, received=8, dropped=1)


class Elements(HTMLParser):
    """The elements of a page, and the handlers on them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.handlers: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.handlers.update(name for name, _ in attrs if name.startswith("on"))


@pytest.fixture(scope="module", params=PROBES)
def capture(request, tmp_path_factory):
    """A capture full of one probe, whose name is one too."""
    probe = PROBES[request.param]
    path = tmp_path_factory.mktemp("captures") / f"{probe.replace('/', '%')[:60]}.pcapng"
    if request.param == "html":  # a path may close an element where a name cannot
        path = path.parent / "x<" / "script><xprobe onclick=alert(1)>.pcapng"
        path.parent.mkdir()
    path.write_bytes(planted(probe))
    (path.parent / "other.pcapng").write_bytes(planted(probe))
    return path


def harmless(text: str) -> None:
    assert not CONTROL.search(text), repr(text[max(CONTROL.search(text).start() - 80, 0) :][:160])


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [["analyze"], ["analyze", "--json"], ["analyze", "--all"], ["connections"], ["connections", "--json"], ["netstat"],
     ["ladder", "0"]],
    ids=" ".join,
)  # fmt: skip
def test_terminals(arguments, capture, monkeypatch, capsys):
    monkeypatch.chdir(capture.parent)
    command, *more = arguments
    given = [capture.name, *more] if more == ["0"] else [*more, "--", capture.name]
    assert run_command([command, *given]) == 0
    said = capsys.readouterr()
    harmless(said.out)
    harmless(said.err)
    if arguments == ["analyze", "--json"]:
        assert json.loads(said.out)["captures"]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_tables(form, capture, tmp_path, monkeypatch):
    """No cell is a formula, no text steers a terminal; two captures, so that their names are columns."""
    monkeypatch.chdir(capture.parent)
    tables = "connections,transitions,anomalies,diagnoses,waits,segments"
    given = ["--tables", tables, "--format", form, "-o", str(tmp_path), "-q", "--", capture.name, "other.pcapng"]
    assert run_command(["analyze", *given]) == 0
    seen = 0
    for path in tmp_path.glob(f"*.{form}"):
        if form == "csv":
            text = path.read_bytes().decode()
            harmless(text)
            cells = [cell for row in list(csv.reader(text.splitlines(keepends=True)))[1:] for cell in row]
            assert not [cell for cell in cells if cell[:1] in {"=", "+", "@", "\t", "\r"}]
            assert not [cell for cell in cells if cell[:1] == "-" and not re.fullmatch(r"-[0-9.]+", cell)]
        else:
            frame = pd.read_parquet(path)
            texts = frame.select_dtypes(include=["object", "str", "category"])
            cells = [str(cell) for name in texts for cell in texts[name]]
            for cell in cells:
                harmless(cell)
        seen += sum("pcapng" in cell for cell in cells)
    assert seen
    harmless((tmp_path / "summary.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_pages(capture, tmp_path, monkeypatch):
    """The probe makes no element, no handler, no control character."""
    monkeypatch.chdir(capture.parent)
    page = tmp_path / "page.html"
    assert run_command(["report", "-o", str(page), "--", capture.name]) == 0
    text = page.read_text(encoding="utf-8")
    harmless(text)
    found = Elements(text)
    assert "xprobe" not in found.names
    assert not found.handlers


@pytest.mark.slow
@pytest.mark.parametrize("command", ["ladder", "diagram"])
def test_pictures(command, capture, tmp_path, monkeypatch):
    monkeypatch.chdir(capture.parent)
    picture = tmp_path / "picture.svg"
    more = ["0"] if command == "ladder" else []
    name = f"./{capture.name}"
    assert run_command([command, name, *more, "--svg", str(picture)]) == 0
    text = picture.read_text(encoding="utf-8")
    harmless(text)
    names = {element.tag.rsplit("}", 1)[-1] for element in ET.fromstring(text).iter()}
    assert not names & {"xprobe", "script", "foreignObject", "a", "image"}


def test_comments_that_annotate_adds(capture, tmp_path, monkeypatch):
    """The capture's own texts stay as they are; what is added repeats none of them."""
    monkeypatch.chdir(capture.parent)
    noted = tmp_path / "noted.pcapng"
    assert run_command(["annotate", f"./{capture.name}", "-o", str(noted)]) == 0
    probe = next(text for text in PROBES.values() if text.encode() in Path(capture).read_bytes())
    assert noted.read_bytes().count(probe.encode()) == capture.read_bytes().count(probe.encode())


def test_junit(capture, tmp_path, monkeypatch):
    """What CI shows of findings."""
    monkeypatch.chdir(capture.parent)
    written = tmp_path / "findings.xml"
    assert run_command(["analyze", "-q", "--junit", str(written), "--", capture.name]) in {0, 3}
    text = written.read_text(encoding="utf-8")
    harmless(text)
    assert "xprobe" not in {element.tag for element in ET.fromstring(text).iter()}
