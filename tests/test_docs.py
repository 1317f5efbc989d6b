"""Generated pages are current, and what people read names only what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tcptrace_fsm import docs
from tcptrace_fsm.findings import CATALOGUE

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs"
TEXTS = sorted([*ROOT.glob("*.md"), *FOLDER.glob("*.md")])


@pytest.mark.parametrize("page", docs.PAGES)
def test_page_is_current(page):
    path = FOLDER / page
    assert path.exists(), f"docs/{page} is missing; write it with: {docs.COMMAND}"
    same = path.read_text(encoding="utf-8") == docs.page(page, FOLDER)
    assert same, f"docs/{page} is out of date; write it anew with: {docs.COMMAND}"


def test_the_readme_shows_what_the_command_prints():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert docs.SCREEN.search(text)
    same = docs.with_screens(text, ROOT) == text
    assert same, f"the first screen in README.md is out of date; write it anew with: {docs.COMMAND}"


@pytest.mark.slow
def test_the_command_writes_what_is_out_of_date_and_nothing_else(tmp_path, monkeypatch, capsys):
    (tmp_path / "docs").mkdir()
    (tmp_path / "sample_pcaps").symlink_to(ROOT / "sample_pcaps")
    (tmp_path / "docs" / docs.LEFT_OUT).write_text((FOLDER / docs.LEFT_OUT).read_text())
    monkeypatch.chdir(tmp_path)
    docs.main()
    assert capsys.readouterr().out.count(" written") == len(docs.PAGES)
    for page in docs.PAGES:
        assert (tmp_path / "docs" / page).read_text() == (FOLDER / page).read_text()
    docs.main()
    assert capsys.readouterr().out == ""


def test_the_command_says_where_it_has_to_be_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="top of the source tree"):
        docs.main()


def test_every_rule_is_explained():
    text = docs.page("anomalies.md", FOLDER)
    for kind in CATALOGUE:
        assert text.count(f"\n### {kind}\n") == 1


def test_kinds_that_the_left_out_section_points_to_exist():
    named = set(re.findall(r"`([a-z]+(?:_[a-z0-9]+)+)`", (FOLDER / docs.LEFT_OUT).read_text(encoding="utf-8")))
    assert named <= set(CATALOGUE)


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.name)
def test_links_lead_somewhere(path):
    """Relative links, and files of this tree that are named in code spans."""
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (path.parent / target).exists(), f"{path.name} links to {target}, which does not exist"
    for named in re.findall(r"`((?:tcptrace_fsm|tests|docs|sample_pcaps|\.ci)/[\w./-]*)`", text):
        assert (ROOT / named).exists(), f"{path.name} names {named}, which does not exist"
