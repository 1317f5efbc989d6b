"""Help that teaches: the shell's completion, how to read examples, what it costs that kernels are not compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tcptrace_fsm.kernels
from tcptrace_fsm import docs, version
from tcptrace_fsm.causes import CAUSES
from tcptrace_fsm.cli import completion, progress
from tcptrace_fsm.core.words import SEVERITIES, STATES
from tcptrace_fsm.findings import CATALOGUE
from tcptrace_fsm.tcp.notation import LEGEND

from .test_bad_among_many import run

ROOT = Path(__file__).parent.parent
LOST = ROOT / "sample_pcaps" / "lost_time_wait.pcap"


# --- completion -------------------------------------------------------------------------------------------------------
def completed(words, **environment):
    """What bash is offered behind these words, the last of which is being typed."""
    done = subprocess.run(
        [sys.executable, "-m", "tcptrace_fsm"],
        cwd=ROOT,
        env={
            **os.environ,
            "_TCPTRACE_FSM_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(words),
            "COMP_CWORD": str(len(words) - 1),
            **environment,
        },
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize(
    "words, offered",
    [
        (["tcptrace-fsm", "ann"], ["annotate"]),
        (["tcptrace-fsm", "analyze", "x.pcap", "--fail-on", ""], list(SEVERITIES)),
        (["tcptrace-fsm", "connections", "--state", "FIN"], ["FIN_WAIT_1", "FIN_WAIT_2"]),
        (["tcptrace-fsm", "causes", "close_w"], ["close_wait_leak"]),
    ],
)
def test_the_shell_is_offered_names(words, offered):
    assert completed(words) == offered


def test_the_script_is_shown(capsys, monkeypatch):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")  # the tests may run below no shell at all
    status, out, err = run("--show-completion", "bash", capsys=capsys)
    assert (status, err) == (0, "")
    assert "_TCPTRACE_FSM_COMPLETE=complete_bash" in out
    assert "complete -o default" in out  # files, where nothing is offered


def test_names_that_depend_on_no_capture():
    assert set(completion.states("")) == set(STATES)
    assert {name for name, _ in completion.kinds("")} == set(CATALOGUE)
    assert {name for name, _ in completion.causes("")} == set(CAUSES)
    assert completion.tables("connections,wa") == ["connections,waits"]
    assert completion.columns("longest_wait_") == ["longest_wait_for"]
    assert completion.profiles("li") == ["linux"]
    assert completion.formats("c") == ["csv"]


# --- examples ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("arguments", [("rules", "zero_window"), ("causes", "receiver_slow")])
def test_the_notation_is_explained_once(monkeypatch, capsys, arguments):
    monkeypatch.setenv("COLUMNS", "400")
    _, out, _ = run(*arguments, capsys=capsys)
    assert out.count("how to read the examples:") == 1
    for text in LEGEND:
        assert f"  - {text}"[:90] in out


@pytest.mark.parametrize("page", ["anomalies.md", "causes.md"])
def test_pages_explain_it_before_the_first_example(page):
    text = docs.page(page, ROOT / "docs")
    assert text.count("How to read the examples:") == 1
    assert text.index("How to read the examples:") < text.index("```")


# --- uncompiled kernels -----------------------------------------------------------------------------------------------
@pytest.fixture
def uncompiled(monkeypatch):
    monkeypatch.setattr(tcptrace_fsm.kernels, "compiled", lambda: False)


def test_a_large_capture_says_it_once(uncompiled, monkeypatch, capsys):
    monkeypatch.setattr(progress, "LARGE", 100)
    status, _, err = run("analyze", LOST, LOST, "-q", capsys=capsys)
    assert status == 0
    assert err.count("about 100 times slower") == 1
    assert "pip install" in err
    assert err.count("\n") == 1


def test_a_small_one_says_nothing(uncompiled, capsys):
    assert run("analyze", LOST, "-q", capsys=capsys)[2] == ""


def test_compiled_kernels_say_nothing(monkeypatch, capsys):
    monkeypatch.setattr(tcptrace_fsm.kernels, "compiled", lambda: True)
    monkeypatch.setattr(progress, "LARGE", 100)
    assert run("analyze", LOST, "-q", capsys=capsys)[2] == ""
    assert run("--version", capsys=capsys)[1].count("\n") == 1


def test_version_says_how_to_mend_it(uncompiled, capsys):
    first, second = run("--version", capsys=capsys)[1].splitlines()
    assert "kernels uncompiled" in first
    assert "gcc python3-dev" in second


def test_a_source_tree_is_named(uncompiled, monkeypatch, tmp_path):
    monkeypatch.setattr(version, "__file__", str(tmp_path / "tcptrace_fsm" / "version.py"))
    assert "--force-reinstall --no-cache-dir" in version.slow_note()
    (tmp_path / "setup.py").touch()
    assert f"pip install -e {tmp_path}" in version.slow_note()
