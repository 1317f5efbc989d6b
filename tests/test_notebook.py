"""The example notebook runs as it stands; what notebooks show is escaped."""

from __future__ import annotations

import shutil
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import tcptrace_fsm as tf

pytestmark = pytest.mark.extra

ROOT = Path(__file__).parents[1]
LOST = ROOT / "sample_pcaps" / "lost_time_wait.pcap"
STORIES = ROOT / "docs" / "stories.ipynb"


def read():
    return pytest.importorskip("nbformat").read(STORIES, as_version=4)


def test_the_notebook_runs_without_error():
    client = pytest.importorskip("nbclient", reason="no nbclient here (pip install 'tcptrace-fsm[test]')")
    notebook = read()
    client.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(STORIES.parent)}}).execute()
    told = "".join(str(cell.get("outputs")) for cell in notebook.cells)
    for word in ("rst_after_time_wait_loss", "stuck_fin_wait_2", "stuck_close_wait", 'class="ladder"', "image/png"):
        assert word in told


def test_the_notebook_is_kept_with_its_outputs():
    cells = [cell for cell in read().cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [o for cell in cells for o in cell.outputs if o.output_type in {"error", "stream"}]
    assert str(ROOT) not in STORIES.read_text(encoding="utf-8"), "no path of the machine it ran on"


def test_a_trace_shows_its_first_screen():
    shown = tf.analyze(str(LOST))._repr_html_()
    for words in ("lost_time_wait.pcap", "13 segments, 1 connection", "time_wait_gone", "next", "CLOSED 1 / 1"):
        assert words in shown
    ET.fromstring(f"<div>{shown}</div>")


def test_a_connection_shows_its_ladder_and_its_states():
    shown = tf.analyze(str(LOST)).connection(0)._repr_html_()
    assert 'class="ladder"' in shown
    assert 'class="timeline"' in shown
    ET.fromstring(shown.replace("<div style='max-width:1080px'>", "<div>").join(("<div>", "</div>")))


def test_a_stream_has_no_ladder_to_show():
    with LOST.open("rb") as stream:
        connection = tf.analyze(stream).connection(0)
    assert connection._repr_html_() is None, "so that a notebook shows its repr"
    assert repr(connection).startswith("connection 0: 10.0.0.1:49412 ->")


def test_names_are_escaped(tmp_path):
    path = tmp_path / "<script>alert(1)<script>.pcap"
    shutil.copy(LOST, path)
    trace = tf.analyze(str(path))
    for shown in (trace._repr_html_(), trace.connection(0)._repr_html_()):
        assert "<script>" not in shown
        assert "&lt;script&gt;alert(1)" in shown
