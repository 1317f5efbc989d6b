"""The pictures of states over time, and the notebook's figures."""

from __future__ import annotations

import builtins
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import tcptrace_fsm as tf
from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.views.palette import STATE
from tcptrace_fsm.views.statebars import _ink, _scale, timeline_svg

pytestmark = pytest.mark.extra

FOLDER = Path(__file__).parents[1] / "sample_pcaps"
SAMPLES = sorted(p for p in FOLDER.iterdir() if p.suffix in {".pcap", ".pcapng"})
SVG = "{http://www.w3.org/2000/svg}"


def sample(name):
    return tf.analyze(str(FOLDER / name))


# --- timeline ---------------------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.name)
def test_every_sample_has_its_timeline(path):
    conversations = tf.analyze(str(path)).conversations()
    assert conversations
    for conversation in conversations:
        drawn = ET.fromstring(timeline_svg(conversation))
        told = drawn.get("aria-label")
        for change in conversation.changes:
            if change.to_state not in {"CLOSED", "LISTEN"} and change.time < conversation.ended:
                assert change.to_state in told
        for box in drawn.iter(f"{SVG}rect"):
            assert float(box.get("width")) > 0


def test_only_what_is_presumed_is_hatched():
    (conversation,) = sample("lost_time_wait.pcap").conversations()
    drawn = ET.fromstring(timeline_svg(conversation))
    hatched = [
        group.find(f"{SVG}title").text
        for group in drawn.iter(f"{SVG}g")
        if any("url(" in box.get("fill") for box in group.iter(f"{SVG}rect"))
    ]
    assert [text.split(" for ")[0] for text in hatched] == ["client FIN_WAIT_2"]
    assert "presumed, rcv ACK of FIN, frame 9" in hatched[0]


def test_times_keep_their_order_whatever_their_lengths():
    times = [0, 1, 2, 1_000_000, 60_000_000_000, 60_000_000_001]
    places = list(_scale(times).values())
    assert places == sorted(places)
    steps = [b - a for a, b in pairwise(places)]
    assert min(steps) > 5, "nothing vanishes"
    assert steps[3] == max(steps), "what took longer is wider"


def test_text_is_read_on_every_colour():
    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(share * p for share, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for state, colour in STATE.items():
        ink = luminance({"#fff": "#ffffff"}.get(_ink(state), _ink(state)))
        low, high = sorted((ink, luminance(colour.light)))
        assert (high + 0.05) / (low + 0.05) > 4, state


# --- matplotlib -------------------------------------------------------------------------------------------------------
@pytest.fixture
def plt():
    matplotlib = pytest.importorskip("matplotlib", reason="no matplotlib here (pip install 'tcptrace-fsm[plot]')")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


@pytest.mark.usefixtures("plt")
@pytest.mark.parametrize("path", SAMPLES[::4], ids=lambda p: p.name)
def test_samples_have_their_figures(path):
    trace = tf.analyze(str(path))
    trace.plot_occupancy().figure.canvas.draw()
    connection = trace.connection(0)
    trace.plot_waits().figure.canvas.draw()
    for draw in (
        *(connection.plot_states, connection.plot_sequence, connection.plot_rtt, connection.plot_throughput),
        connection.plot_waits,
    ):
        axes = draw()
        axes.figure.canvas.draw()
        assert "connection 0: " in axes.get_title(loc="left")


@pytest.mark.usefixtures("plt")
def test_a_sequence_graph_shows_what_happened():
    lost = sample("data_lost.pcapng").connection(0)
    labels = lost.plot_sequence().get_legend_handles_labels()[1]
    assert {"data", "ACK", "window edge", "sent again"} <= set(labels)
    assert lost.plot_sequence("server").get_ylabel() == "bytes from the server"
    assert "window 0" in sample("zero_window.pcap").connection(0).plot_sequence().get_legend_handles_labels()[1]
    with pytest.raises(UsageError, match="client or server"):
        lost.plot_sequence("both")


@pytest.mark.usefixtures("plt")
def test_waits_are_drawn_to_scale_for_whom_they_waited():
    trace = sample("zero_window.pcap")
    row = trace.waits.sort_values("duration").iloc[-1]
    drawn = trace.connection(int(row["conn_id"])).plot_waits()
    lanes = [label.get_text() for label in drawn.get_yticklabels()]
    assert f"{row['side']} {row['waiting_for']}".replace("_", " ") in lanes
    widths = [path.get_extents().width for bars in drawn.collections for path in bars.get_paths()]
    assert max(widths) == pytest.approx(row["duration"].total_seconds())
    bars = trace.plot_waits(most=1)
    connection = trace.connections.set_index("conn_id").loc[int(bars.get_yticklabels()[0].get_text())]
    lasts = (connection["last_time"] - connection["first_time"]).total_seconds()
    assert sum(bar.get_width() for bar in bars.patches) == pytest.approx(lasts)


def test_occupancy_stacks_the_states(plt):
    _, ax = plt.subplots()
    drawn = sample("stuck_fin_wait_2.pcap").plot_occupancy(ax=ax)
    assert drawn is ax
    assert ax.get_legend_handles_labels()[1][-2:] == ["FIN_WAIT_2", "CLOSE_WAIT"]
    assert ax.get_ylim()[0] == 0
    assert not sample("stuck_fin_wait_2.pcap").plot_occupancy(host="10.9.9.9").collections


def test_without_matplotlib_it_is_said_how_to_get_it(monkeypatch):
    real = builtins.__import__

    def without(name, *more):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *more)

    trace = sample("normal_close.pcap")
    counts = trace.occupancy()
    monkeypatch.setattr(builtins, "__import__", without)
    from tcptrace_fsm.views import figures

    with pytest.raises(UsageError, match=r"pip install 'tcptrace-fsm\[plot\]'"):
        figures.occupancy(counts)
