"""The report page, as text: what is in it, what is not, that nothing of a capture is read as HTML."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pandas as pd
import pytest

import tcptrace_fsm as tf
from tcptrace_fsm.cli.app import run_command
from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.findings import CATALOGUE
from tcptrace_fsm.views import pagedata, report
from tcptrace_fsm.views.pagedata import Limits, chosen

from . import fakes

FOLDER = Path(__file__).parents[1] / "sample_pcaps"
LOST = FOLDER / "lost_time_wait.pcap"


@pytest.fixture(scope="module")
def all_samples():
    return tf.analyze(str(FOLDER))


@pytest.fixture(scope="module")
def text(all_samples):
    return "".join(report.page(all_samples))


def unpacked(text, name):
    (packed,) = re.findall(rf'<script type="text/plain" id="data-{name}">([^<]*)</script>', text)
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def detail(text, conn_id):
    """What the page holds of one connection."""
    told = meta(text)
    return unpacked(text, f"connections-{told['ladders'].index(conn_id) // told['together']}")[str(conn_id)]


def meta(text):
    (found,) = re.findall(r'<script type="application/json" id="meta">(.*)</script>', text)
    return json.loads(found)


class Elements(HTMLParser):
    """Every element with its attributes, and the text outside scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.found, self.said, self._inside = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside not in {"script", "style"}:
            self.said.append(data)


def test_nothing_is_loaded_from_anywhere(text):
    for tag, attributes in Elements(text).found:
        assert "src" not in attributes, tag
        assert attributes.get("href", "#").startswith("#"), attributes
        assert not [name for name in attributes if name.startswith("on")], (tag, attributes)
    assert "@import" not in text
    assert "url(http" not in text


def test_the_policy_allows_this_script_and_this_style_and_nothing_else(text):
    (policy,) = [a["content"] for _, a in Elements(text).found if a.get("http-equiv") == "Content-Security-Policy"]
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    (code,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    for rule, inside in (("script-src", code), ("style-src", style)):
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'"
    assert rules["default-src"] == "'none'"
    assert {"base-uri", "form-action"} <= set(rules)


def test_no_element_has_a_style_of_its_own(text):
    assert not [tag for tag, attributes in Elements(text).found if "style" in attributes], "the policy forbids it"


def test_the_first_screen_says_what_the_terminal_says(all_samples, text):
    said = " ".join(" ".join(Elements(text).said).split())
    lines = [line for line in repr(all_samples).splitlines() if line.startswith(("TCP ", "closed "))]
    assert len(lines) > 1
    for line in lines:
        assert line.split(None, 1)[1].split(",")[0] in said


def test_diagnoses_come_first_with_their_reasons(all_samples, text):
    page = Elements(text)
    said = " ".join(" ".join(page.said).split())
    diagnoses = all_samples.summary["diagnoses"]
    assert diagnoses
    for d in diagnoses:
        for words in (d["cause"], d["message"], d["next_step"], *d["evidence_for"], *d["alternatives"]):
            assert " ".join(words.split()) in said
    assert text.index('class="diagnoses"') < text.index('class="worst"') < text.index('id="kind-')
    explained = {kind for d in diagnoses for kind in d["findings"]}
    worst = text[text.index('class="worst"') : text.index('id="findings-title"')]
    assert not [kind for kind in explained if f'#kind-{kind}"' in worst], "said once is enough"


def test_where_the_time_went_adds_up(all_samples, text):
    rows = unpacked(text, "table")
    names = meta(text)["went"]
    assert len(rows["went"]) == len(names) == 9
    sums = [sum(shares) for shares in zip(*rows["went"], strict=True)]
    assert all(abs(s - 1000) <= 5 or (not s and not lasts) for s, lasts in zip(sums, rows["duration"], strict=True))
    words = [meta(text)["waits"][n] for n in rows["longest_for"]]
    want = all_samples.connections["longest_wait_for"].astype(object).fillna("nothing").tolist()
    assert words == want


def test_every_kind_that_was_found_is_explained(all_samples, text):
    said = " ".join(" ".join(Elements(text).said).split())
    kinds = all_samples.anomalies["kind"].unique()
    assert len(kinds) > 10
    for kind in kinds:
        rule = CATALOGUE[kind]
        for words in (kind, rule.summary, rule.evidence, rule.innocent, rule.rfc):
            assert " ".join(words.split()) in said


def test_the_table_holds_every_connection(all_samples, text):
    rows = unpacked(text, "table")
    connections = all_samples.connections
    assert rows["id"] == connections["conn_id"].tolist()
    assert [rows["hosts"][i] for i in rows["client"]] == connections["client_ip"].tolist()
    assert rows["server_port"] == connections["server_port"].tolist()
    assert rows["client_bytes"] == connections["client_payload_bytes"].tolist()
    told = {int(id_): {rows["kinds"][k] for k in kinds} for id_, kinds in rows["findings"].items()}
    assert told == all_samples.anomalies.groupby("conn_id")["kind"].agg(set).to_dict()


def test_addresses_are_numbered_in_their_order():
    frame = pd.DataFrame({"client_ip": ["10.0.0.10", "::1", "9.0.0.1"], "server_ip": ["10.0.0.9", "::1", "9.0.0.1"]})
    hosts, client, _ = pagedata.hosts(frame)
    assert hosts == ["9.0.0.1", "10.0.0.9", "10.0.0.10", "::1"]
    assert client == [2, 3, 0]


def test_every_connection_of_a_small_capture_has_its_ladder(all_samples, text):
    assert meta(text)["ladders"] == list(range(len(all_samples.connections)))
    for conn_id in meta(text)["ladders"]:
        drawn = detail(text, conn_id)
        assert 'class="ladder"' in drawn["ladder"]
        assert len(drawn["ways"]) == 2
        changes = all_samples.transitions.query(f"conn_id == {conn_id}")
        assert len(drawn["changes"]) == len(changes)
    assert "Each opens with its ladder" in text


def test_occupancy_is_that_of_the_trace(text, all_samples):
    everywhere = unpacked(text, "occupancy")["hosts"][0]
    counted = all_samples.occupancy()
    for state, counts in zip(everywhere["states"], everywhere["counts"], strict=True):
        assert max(counts) <= counted[state].max()
    assert "LISTEN" not in everywhere["states"]


HOSTILE = "<script>alert(1)<script>\"'&--><img src=x onerror=alert(2)>.pcap"


def test_a_hostile_name_stays_text(tmp_path):
    path = tmp_path / HOSTILE
    shutil.copy(LOST, path)
    text = "".join(report.page(tf.analyze(str(path))))
    elements = Elements(text)
    assert HOSTILE in "".join(elements.said)
    assert not [tag for tag, _ in elements.found if tag == "img"]
    kinds = [a.get("type") for tag, a in elements.found if tag == "script"]
    assert kinds.count(None) == 1, "one script that runs: the page's own"
    assert HOSTILE in meta(text)["command"].replace("'\"'\"'", "'")
    assert "<img" not in detail(text, 0)["ladder"]


@pytest.mark.parametrize("name", [b"a\x07\x1b[31m.pcap", b"\xff\xfe.pcap", "\u202egp.pcap".encode()])
def test_a_name_that_is_no_text_is_shown_as_far_as_it_is(tmp_path, name):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/" + name)
    shutil.copy(LOST, path)
    trace = tf.analyze(path)
    trace.report(tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert re.search(r"\\x07|\\udcff|\\u202e", text), "shown as an escape"
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", text)
    ET.fromstring(detail(text, 0)["ladder"])


def test_hostile_findings_stay_text(monkeypatch):
    trace = tf.analyze(str(LOST))
    bad = "</script><script>alert(1)</script>"
    hit = fakes.finding(0, kind=trace.findings[0].kind, severity="high", message=bad)._replace(
        time=trace.span[0], possible_artefact=bad, rfc=bad
    )
    found = [hit, *trace.findings]
    monkeypatch.setattr(type(trace), "findings", property(lambda _: found))
    trace.summary["worst"][0] |= {"message": bad}
    text = "".join(report.page(trace))
    assert "<script>alert" not in text
    assert bad in "".join(Elements(text).said)


def test_json_cannot_end_its_element():
    assert "<" not in report._json({"a": "</script><!--"})
    assert json.loads(report._json({"a": "</script><!--"})) == {"a": "</script><!--"}


@pytest.mark.parametrize("bad", ["a</style>", "b</SCRIPT>", "<!--"])
def test_the_pages_own_text_must_not_end_its_element(bad):
    with pytest.raises(AssertionError, match="end early"):
        report._closed(bad)


def connections(sizes):
    return pd.DataFrame(
        {
            "conn_id": range(len(sizes)),
            "client_segments": sizes,
            "server_segments": 0,
            "client_payload_bytes": [n * 1000 for n in sizes],
            "server_payload_bytes": 0,
        }
    )


def test_findings_come_before_size_and_no_kind_crowds_out_another():
    found = [fakes.finding(i, kind="many", severity="medium") for i in range(50)]
    found += [fakes.finding(60, kind="rare", severity="medium"), fakes.finding(70, kind="worst", severity="high")]
    found += [fakes.finding(80, kind="told", severity="info")]
    order = chosen(connections(list(range(100))), found, Limits(ladders=90))
    assert order[:3] == [70, 0, 60], "the worst, then each kind in turn"
    assert order[52:62] == list(range(99, 89, -1)), "then the ten largest"
    assert order[62] == 80, "then what is only information, then by size"
    assert order[63:] == [i for i in range(89, 49, -1) if i not in {60, 70, 80}][:27]


def test_what_ladders_take_is_limited():
    many = connections([5000] * 100)
    assert len(chosen(many, [], Limits(bytes=1_000_000))) == 1_000_000 // (3500 + 14 * 5000)
    assert len(chosen(many, [], Limits(ladders=7))) == 7


def test_findings_about_no_connection_are_no_reason_to_draw_one():
    assert chosen(connections([1]), [fakes.finding(-1), fakes.finding(9)], Limits()) == [0]


def test_the_page_says_which_ladders_it_lacks(all_samples):
    text = "".join(report.page(all_samples, Limits(ladders=2)))
    assert len(meta(text)["ladders"]) == 2
    assert f"2 connections of {len(all_samples.connections)} open with ladder and graphs" in text
    assert meta(text)["command"].startswith("tcptrace-fsm ladder ")


def test_the_table_keeps_those_with_findings(all_samples):
    text = "".join(report.page(all_samples, Limits(rows=5)))
    rows = unpacked(text, "table")
    assert len(rows["id"]) == 5
    assert {str(i) for i in rows["id"]} == set(rows["findings"])
    assert "The table holds 5" in text


def test_a_capture_without_tcp_has_a_page(tmp_path):
    empty = tmp_path / "empty.pcap"
    empty.write_bytes(LOST.read_bytes()[:24])
    text = "".join(report.page(tf.analyze(str(empty))))
    assert "no connections" in text
    assert unpacked(text, "table")["id"] == []
    assert unpacked(text, "occupancy") == {"hosts": []}


# --- the command ------------------------------------------------------------------------------------------------------
def test_the_command_writes_a_page(tmp_path, capsys):
    out = tmp_path / "page.html"
    assert run_command(["report", str(LOST), "-o", str(out)]) == 0
    assert meta(out.read_text())["ladders"] == [0]
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert capsys.readouterr() == ("", "")


def test_the_ladder_it_names_is_the_one_it_would_show(tmp_path, capsys):
    out = tmp_path / "page.html"
    given = ["--time-wait", "2.5", "--profile", "bsd", "--taken-at", "10.0.0.1"]
    assert run_command(["report", str(LOST), "-o", str(out), *given]) == 0
    program, *command = shlex.split(meta(out.read_text())["command"])
    assert program == "tcptrace-fsm"
    assert set(given) < set(command)
    assert run_command([*command, "0"]) == 0
    assert "TIME_WAIT" in capsys.readouterr().out


@pytest.mark.slow
def test_standard_input_is_read_once_and_drawn_all_the_same(tmp_path):
    out = tmp_path / "page.html"
    command = [sys.executable, "-m", "tcptrace_fsm", "report", "-", "-o", str(out)]
    subprocess.run(command, input=LOST.read_bytes(), check=True)
    assert meta(out.read_text())["ladders"] == [0]
    assert '<h1 id="title">standard input</h1>' in out.read_text()


@pytest.mark.slow
def test_a_pipe_by_name_is_copied(tmp_path):
    out = tmp_path / "page.html"
    command = f'{sys.executable} -m tcptrace_fsm report <(cat "{LOST}") -o "{out}"'
    subprocess.run(["bash", "-c", command], check=True)
    assert meta(out.read_text())["ladders"] == [0]


@pytest.mark.parametrize("place, status", [("missing/page.html", 4), (".", 2)])
def test_what_cannot_be_written_is_said(tmp_path, capsys, place, status):
    assert run_command(["report", str(LOST), "-o", str(tmp_path / place)]) == status
    assert "cannot write" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_page_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    out = tmp_path / "page.html"
    out.write_text("old")
    monkeypatch.setattr(report, "detail", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tf.analyze(str(LOST)).report(out)
    assert out.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_capture_that_cannot_be_read_is_said(tmp_path, capsys):
    assert run_command(["report", str(tmp_path / "none.pcap"), "-o", str(tmp_path / "page.html")]) == 1
    assert "none.pcap" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_trace_of_a_stream_has_a_page_without_ladders(tmp_path):
    with LOST.open("rb") as stream:
        trace = tf.analyze(stream)
    trace.report(tmp_path / "page.html")
    assert meta((tmp_path / "page.html").read_text())["ladders"] == []


def test_progress_is_told(tmp_path, all_samples):
    told = []
    all_samples.report(tmp_path / "page.html", tell=lambda done, total: told.append((done, total)))
    assert told == [(i + 1, len(all_samples.connections)) for i in range(len(all_samples.connections))]


def test_wrong_files_raise_plain_errors(tmp_path):
    with pytest.raises(UsageError, match="cannot write"):
        tf.analyze(str(LOST)).report(tmp_path)
