"""For pipelines: --fail-on, --junit, --json with every finding; and that docs/ci.md shows commands that work."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tcptrace_fsm.cli import app as cli
from tcptrace_fsm.core.tally import Tally
from tcptrace_fsm.views.junit import junit_text
from tcptrace_fsm.views.worst import Worst, finding_dict

from . import fakes
from .test_bad_among_many import run
from .test_cli import close_by_client, pcap

ROOT = Path(__file__).parent.parent
LOST = ROOT / "sample_pcaps" / "lost_time_wait.pcap"
PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
SUMMARY = {"captures": [{"name": "a.pcap", "first_time": "2026-11-22T15:44:14.000000000Z"}], "diagnoses": []}
DIAGNOSIS = {
    "diagnosis_id": 0, "cause": "server_slow", "confidence": "likely", "severity": "high", "where": "server",
    "service": "10.0.0.2:80", "host": None, "connections": (4, 5), "count": 2, "of": 3, "message": "it is slow",
    "evidence_for": ("seen",), "evidence_against": (), "alternatives": ("client_slow",), "next_step": "look",
}  # fmt: skip


def suite(text):
    """The test suite of a JUnit file whose counts are true."""
    root = ET.fromstring(text)
    assert root.tag == "testsuites"
    (found,) = root
    assert found.tag == "testsuite"
    cases = found.findall("testcase")
    for element in (root, found):
        assert int(element.get("tests")) == len(cases) > 0
        assert int(element.get("failures")) == len(found.findall("testcase/failure"))
        assert int(element.get("errors")) == len(found.findall("testcase/error"))
    for case in cases:
        assert case.get("name")
        assert case.get("classname")
    names = [(case.get("classname"), case.get("name")) for case in cases]
    assert len(set(names)) == len(names)
    return found


def worst_of(*findings, least="medium", most=1000):
    worst = Worst(least, most)
    worst.take(fakes.finished([], [], list(findings)))
    return worst


# --- the file ---------------------------------------------------------------------------------------------------------
def test_a_case_for_each_diagnosis_and_finding_that_is_bad_enough():
    slight = {**DIAGNOSIS, "severity": "low", "cause": "client_slow"}
    worst = worst_of(
        fakes.finding(3, severity="high", message="bad"),
        fakes.finding(1, severity="medium"),
        fakes.finding(2, severity="low"),
    )
    found = suite(junit_text({**SUMMARY, "diagnoses": [DIAGNOSIS, slight]}, worst, "medium"))
    assert [case.get("classname") for case in found] == ["diagnoses", "findings", "findings"]
    diagnosis, first, second = found
    assert diagnosis.get("name") == "server_slow: 10.0.0.2:80"
    assert diagnosis[0].get("message") == "it is slow"
    for line in ("2 of 3 connections: 4, 5", "why: seen", "or: client_slow", "next: look"):
        assert line in diagnosis[0].text
    assert first[0].get("message") == "bad"
    assert "connection 3" in first.get("name")
    assert "connection 1" in second.get("name")


def test_a_good_capture_has_a_test_that_passed():
    (case,) = suite(junit_text(SUMMARY, worst_of(), "high"))
    assert len(case) == 0
    assert case.get("name") == "a.pcap: nothing of severity high or more"


def test_hostile_text_stays_text():
    evil = 'x" y="]]><failure/>&amp;\x00\x1b[31m\ud800\n\uffff<'
    hostile = fakes.finding(0, severity="high", message=evil, possible_artefact=evil)
    summary = {
        "captures": [{"name": evil, "first_time": None}],
        "diagnoses": [{**DIAGNOSIS, "service": evil, "message": evil, "evidence_for": (evil,)}],
    }
    text = junit_text(summary, worst_of(hostile), "low", [(evil, evil)])
    text.encode()
    found = suite(text)
    assert [case.get("classname") for case in found] == ["captures", "diagnoses", "findings"]
    for case in found:
        (outcome,) = case
        assert len(outcome) == 0
        shown = outcome.get("message")
        assert shown.startswith('x" y="]]><failure/>&amp;')
        assert r"\x00\x1b[31m\ud800" in shown
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", text)


def test_it_is_bounded():
    many = [fakes.finding(n, severity="high", message="m" * 9000) for n in range(30)]
    found = suite(junit_text(SUMMARY, worst_of(*many, most=10), "high"))
    assert len(found) == 11
    assert found[-1][0].get("message").startswith("20 more findings")
    assert max(len(case[0].get("message")) for case in found) < 5000


def test_same_names_are_numbered():
    twice = [fakes.finding(1, severity="high", time=5), fakes.finding(1, severity="high", time=7)]
    first, second = suite(junit_text(SUMMARY, worst_of(*twice), "high"))
    assert second.get("name") == first.get("name") + " (2)"


def test_which_are_kept_depends_on_no_order():
    findings = [fakes.finding(n % 7, severity=s, time=n) for n in range(40) for s in ("low", "medium", "high")]
    one, other = worst_of(*findings, most=25), worst_of(*reversed(findings), most=25)
    assert list(one) == list(other)
    assert (one.count, one.left_out) == (80, 55)
    assert [f.severity for f in one] == ["high"] * 25
    places = [(f.place, f.time) for f in one]
    assert places == sorted(places)


# --- the command ------------------------------------------------------------------------------------------------------
def test_the_file_and_the_status(tmp_path, capsys):
    out = tmp_path / "tcp.xml"
    assert run("analyze", LOST, "--fail-on", "high", "--junit", out, "-q", capsys=capsys)[0] == 3
    kinds = [case[0].get("type") for case in suite(out.read_text())]
    assert kinds == ["rst_after_time_wait_loss"]
    assert run("analyze", LOST, "--junit", out, "-q", capsys=capsys)[0] == 0
    assert suite(out.read_text()).get("failures") == "1"
    assert run("analyze", LOST, "--junit", LOST, capsys=capsys)[0] == 2


def test_a_capture_that_is_left_out_is_an_error(tmp_path, capsys):
    good, bad, out = tmp_path / "a.pcap", tmp_path / "b.pcap", tmp_path / "tcp.xml"
    good.write_bytes(pcap(close_by_client()))
    bad.write_bytes(b"<no> capture & nothing")
    assert run("analyze", good, bad, "--junit", out, "-q", capsys=capsys)[0] == 1
    (case,) = suite(out.read_text())
    assert case.get("name") == str(bad)
    assert "byte 0" in case.find("error").get("message")


def test_a_diagnosis_alone_meets_fail_on():
    tally = Tally()
    tally.take(fakes.finished([], [], [fakes.finding(severity="low")]))
    assert not tally.reaches("medium")
    tally.diagnoses = [fakes.finding(severity="medium")]  # what has a severity
    assert tally.reaches("medium")
    assert not tally.reaches("high")


def test_json_has_every_finding_in_full(tmp_path, capsys):
    status, out, _ = run("analyze", LOST, "--json", capsys=capsys)
    found = json.loads(out)
    assert status == 0
    assert found["findings_left_out"] == 0
    assert len(found["findings"]) == sum(found["anomalies"].values())
    assert found["findings"][0]["kind"] == "rst_after_time_wait_loss"
    assert found["findings"][0]["frames"] == [10, 11, 12, 13]
    assert found["diagnoses"][0]["evidence_for"]
    second = tmp_path / "later.pcap"
    second.write_bytes(pcap(close_by_client(40001, 1_900_000_000)))
    both = json.loads(run("analyze", LOST, second, "--json", capsys=capsys)[1])
    assert both["findings"][0]["file"] == str(LOST)
    assert both["findings"][0]["files"] == [str(LOST)] * 4


def test_a_finding_without_a_frame():
    row = finding_dict(fakes.finding(0, frame=None, frames=(), time=0))
    assert row["frame"] is None
    assert row["time"] == "1970-01-01T00:00:00.000000000Z"


@pytest.mark.parametrize(
    "options, says", [(["--format", "csv"], "--format says"), (["--tables", "waits"], "--tables says")]
)
def test_options_that_do_nothing_say_so(capsys, options, says):
    status, out, err = run("analyze", LOST, *options, capsys=capsys)
    assert status == 0
    assert says in err
    assert err.count("\n") == 1
    assert out == run("analyze", LOST, capsys=capsys)[1]


# --- the page ---------------------------------------------------------------------------------------------------------
COMMANDS = dict.fromkeys(re.findall(r"(?:^|run: |- )(tcptrace-fsm .*?)(?: \| jq .*)?$", PAGE, re.MULTILINE))


def test_the_page_shows_both_pipelines():
    assert len(COMMANDS) == 3
    assert [head for head in ("## GitHub Actions", "## GitLab") if head in PAGE] == ["## GitHub Actions", "## GitLab"]


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_work(tmp_path, monkeypatch, capsys, command):
    (tmp_path / "captures").mkdir()
    shutil.copy(LOST, tmp_path / "captures")
    monkeypatch.chdir(tmp_path)
    _, *arguments = shlex.split(command)
    assert cli.run_command(arguments) == (3 if "--fail-on" in arguments else 0)
    out = capsys.readouterr().out
    if "--json" in arguments:
        assert json.loads(out)["diagnoses"][0]["cause"]
    else:
        suite((tmp_path / "tcp.xml").read_text())


@pytest.mark.extra
def test_its_yaml_is_yaml():
    yaml = pytest.importorskip("yaml", reason="needs '.[test-all]'")
    github, gitlab = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
    steps = github["jobs"]["tcp"]["steps"]
    assert any("tcptrace-fsm analyze" in step.get("run", "") for step in steps)
    assert gitlab["tcp"]["artifacts"]["reports"]["junit"] == "tcp.xml"
