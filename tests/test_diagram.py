"""The state diagram: the machine's figure 5, whole, and what a capture did in it."""

from __future__ import annotations

import re
from collections import Counter
from html import escape
from itertools import combinations
from xml.etree import ElementTree as ET

import pytest

import tcptrace_fsm as tf
from tcptrace_fsm.cli import app as cli
from tcptrace_fsm.core.words import STATES
from tcptrace_fsm.tcp.machine import EVENT_TEXT, TRANSITIONS, Event, State
from tcptrace_fsm.views import diagram
from tcptrace_fsm.views.diagram import ARROWS, BOX, NOTED, PLACES, Taken, Way, diagram_style, diagram_svg, diagram_text

from . import fakes
from .fakes import START

SVG = "{http://www.w3.org/2000/svg}"
ROWS = {Way(row.source, row.event, row.target) for row in TRANSITIONS}
DRAWN = {Way(row.source, row.event, row.target) for row in TRANSITIONS if row.drawn}


def picture(taken=None, **options):
    return ET.fromstring(diagram_svg(taken, **options))


def ways(root):
    """The arrows of a picture, with how they are drawn."""
    found: dict[Way, set[str]] = {}
    for path in root.iter(f"{SVG}path"):
        if path.get("data-way"):
            source, event, target = path.get("data-way").split()
            way = Way(State[source], Event[event], State[target])
            found.setdefault(way, set()).update(set(path.get("class").split()) - {"way"})
    return found


def taken_of(name):
    taken = Taken()
    trace = tf.analyze(name)
    for finished in trace._kept.finished:
        taken.take(finished)
    return trace, taken


# --- the figure -------------------------------------------------------------------------------------------------------
def test_every_arrow_of_the_machines_figure_is_drawn_and_no_other():
    assert set(ARROWS) == DRAWN
    assert set(ways(picture())) == DRAWN
    assert set(NOTED) <= ROWS - DRAWN


def test_what_the_figure_does_not_draw_is_listed():
    text = " ".join("".join(t.itertext()) for t in picture().iter(f"{SVG}text"))
    listed = text[text.index("Not in the figure:") :]
    assert ROWS - DRAWN
    for way in ROWS - DRAWN:
        line = re.search(rf"{re.escape(EVENT_TEXT[way.event])} to {way.target.name} from ([A-Z_0-9, ]+)", listed)
        assert line, way
        assert way.source.name in line[1].split(", ") or way.source.name in listed


def test_every_state_has_its_box():
    names = [t.text for t in picture().iter(f"{SVG}text") if t.get("class") == "name"]
    assert Counter(names) == Counter([s for s in STATES if s != "UNKNOWN"] + ["CLOSED"])


def box(state, x, y):
    """How far a point is from the edge of a state's box."""
    place = PLACES[state]
    dx, dy = abs(x - place.x) - BOX[0] / 2, abs(y - place.y) - BOX[1] / 2
    return max(dx, dy)


@pytest.mark.parametrize("way", [*ARROWS, *NOTED], ids=lambda w: f"{w.source.name}-{w.target.name}")
def test_arrows_go_from_box_to_box(way):
    begin, end, _ = diagram._ends({**ARROWS, **NOTED}[way].path)
    targets = [way.target, diagram.CLOSED_AGAIN] if way.target is State.CLOSED else [way.target]
    assert abs(box(way.source, *begin)) <= 1
    assert min(abs(box(target, *end)) for target in targets) <= 1


def extent(arrow, lines):
    """The rectangle that an arrow's text fills, at most."""
    wide = 6.8 * max(map(len, lines))
    left = {"start": arrow.x, "middle": arrow.x - wide / 2, "end": arrow.x - wide}[arrow.anchor]
    return left, arrow.y - 10, left + wide, arrow.y + 14 * (len(lines) - 1) + 3


def meet(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def test_no_text_covers_another_or_a_box():
    counts = ["99,999 clients", "99,999 servers", "9,999 in findings"]
    texts = {}
    for way, arrow in {**ARROWS, **NOTED}.items():
        seen = way.event not in {Event.OPEN_PASSIVE, Event.USER_CLOSE}  # these no capture shows
        lines = [EVENT_TEXT[way.event], *([arrow.also] if arrow.also else []), *(counts if seen else [])]
        texts[way] = extent(arrow, lines)
    boxes = {
        name: (p.x - BOX[0] / 2, p.y - BOX[1] / 2, p.x + BOX[0] / 2, p.y + BOX[1] / 2) for name, p in PLACES.items()
    }
    assert len(texts) > 10
    for (one, a), (other, b) in combinations([*texts.items(), *boxes.items()], 2):
        assert not meet(a, b), (one, other)
    for left, _, right, _ in texts.values():
        assert left >= 0
        assert right <= diagram.WIDTH


# --- what a capture did -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["lost_time_wait", "simultaneous_close", "simultaneous_open", "half_open", "refused"])
def test_nothing_that_was_taken_is_dropped(name):
    trace, taken = taken_of(f"sample_pcaps/{name}.pcap")
    assert sum(taken.client.values()) + sum(taken.server.values()) == len(trace.transitions)
    table = Counter(zip(trace.transitions.from_state, trace.transitions.event, trace.transitions.to_state, strict=True))
    root = picture(taken)
    drawn, text = ways(root), [" ".join("".join(t.itertext()).split()) for t in root.iter(f"{SVG}text")]
    for (source, event, target), times in table.items():
        way = next(w for w in ROWS if (w.source.name, EVENT_TEXT[w.event], w.target.name) == (source, event, target))
        assert taken.total(way) == times
        shown = way in drawn and drawn[way] & {"client", "server"}
        listed = [line for line in text if line.startswith(f"{source} to {target}, {event}:")]
        assert bool(shown) != bool(listed)
    for way, kinds in drawn.items():
        assert ("never" in kinds) == (not taken.total(way))
        assert ("client" in kinds, "server" in kinds) == (bool(taken.client[way]), bool(taken.server[way]))


def test_the_usual_ways_of_client_and_server():
    _, taken = taken_of("sample_pcaps/normal_close.pcap")
    s, e = State, Event
    assert set(taken.client) == {
        Way(s.CLOSED, e.SND_SYN, s.SYN_SENT),
        Way(s.SYN_SENT, e.RCV_SYN_ACK, s.ESTABLISHED),
        Way(s.ESTABLISHED, e.SND_FIN, s.FIN_WAIT_1),
        Way(s.FIN_WAIT_1, e.RCV_ACK_OF_FIN, s.FIN_WAIT_2),
        Way(s.FIN_WAIT_2, e.RCV_FIN, s.TIME_WAIT),
    }
    assert set(taken.server) == {
        Way(s.LISTEN, e.RCV_SYN, s.SYN_RECEIVED),
        Way(s.SYN_RECEIVED, e.RCV_ACK_OF_SYN, s.ESTABLISHED),
        Way(s.ESTABLISHED, e.RCV_FIN, s.CLOSE_WAIT),
        Way(s.CLOSE_WAIT, e.SND_FIN, s.LAST_ACK),
        Way(s.LAST_ACK, e.RCV_ACK_OF_FIN, s.CLOSED),
    }
    assert not taken.marked


def test_findings_mark_the_ways_that_they_cite():
    change = fakes.transition(0, 0, START, State.ESTABLISHED, State.FIN_WAIT_1, Event.SND_FIN, frame=5)
    other = fakes.transition(1, 0, START, State.ESTABLISHED, State.FIN_WAIT_1, Event.SND_FIN, frame=6)
    for severity, frames, wanted in (("high", (5,), 1), ("medium", (5, 6), 1), ("low", (5,), 0), ("high", (6,), 0)):
        taken = Taken()
        finding = fakes.finding(severity=severity, frames=frames)
        taken.take(fakes.finished([fakes.connection(0), fakes.connection(1)], [change, other], [finding]))
        way = Way(State.ESTABLISHED, Event.SND_FIN, State.FIN_WAIT_1)
        assert (taken.client[way], taken.marked[way]) == (2, wanted)
        assert ("marked" in ways(picture(taken))[way]) == bool(wanted)


def test_the_note_of_the_figure_is_drawn_where_it_was_taken():
    _, taken = taken_of("sample_pcaps/straight_to_time_wait.pcapng")
    (way,) = NOTED
    assert taken.server[way] == 1
    assert set(ways(picture(taken))) == DRAWN | {way}


def test_an_empty_capture_takes_no_way():
    taken = Taken()
    taken.take(fakes.finished([]))
    assert {kind for kinds in ways(picture(taken)).values() for kind in kinds} == {"never"}
    assert list(diagram_text(taken)) == []


def test_heavier_is_more():
    weights = [diagram.weight(n) for n in (0, 1, 2, 10, 1000, 10**7)]
    assert weights == sorted(weights)
    assert len(set(weights)) == 6


# --- where it is shown ------------------------------------------------------------------------------------------------
def test_names_from_outside_are_escaped():
    hostile = "<script>alert(1)</script>&.pcap"
    svg = diagram_svg(Taken(), capture=hostile)
    assert "<script" not in svg
    assert escape(hostile) in svg
    assert hostile in "".join(ET.fromstring(svg).itertext())


def test_it_is_told_in_words_too():
    root = picture()
    ids = {e.get("id") for e in root.iter() if e.get("id")}
    assert set(root.get("aria-labelledby").split()) <= ids
    told = root.find(f"{SVG}desc").text
    assert told.count(" to ") == len(DRAWN)
    assert "prefers-color-scheme" in diagram_style()
    assert "prefers-color-scheme" not in diagram_style(".dark")
    assert "<style>" not in diagram_svg(standalone=False)


def test_a_trace_gives_it():
    trace, taken = taken_of("sample_pcaps/lost_time_wait.pcap")
    figure = trace.diagram()
    assert figure.svg == figure._repr_svg_() == diagram_svg(taken, capture="lost_time_wait.pcap")
    assert "TIME_WAIT to CLOSED: found gone, 1 client, 1 in findings (not in the figure)" in str(figure).splitlines()


def run(*arguments, capsys):
    status = cli.run_command(["diagram", *arguments])
    return status, *capsys.readouterr()


def test_the_command(tmp_path, capsys):
    svg = tmp_path / "x.svg"
    assert run("--svg", str(svg), capsys=capsys) == (0, "", "")
    assert svg.read_text(encoding="utf-8") == diagram_svg() + "\n"
    status, out, err = run("sample_pcaps/lost_time_wait.pcap", capsys=capsys)
    assert (status, err) == (0, "")
    assert "CLOSED to SYN_SENT: snd SYN, 1 client\n" in out
    status, out, _ = run("sample_pcaps/lost_time_wait.pcap", "--svg", "-", capsys=capsys)
    assert "as taken in lost_time_wait.pcap" in ET.fromstring(out).find(f"{SVG}title").text
    assert len(run(capsys=capsys)[1].splitlines()) == len(DRAWN)
