"""Ladders: in characters and as pictures."""

# ruff: noqa: RUF001 - the sign of a lost segment is no letter

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
import sys
from html import escape
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tcptrace_fsm as tf
from tcptrace_fsm.cli import app as cli
from tcptrace_fsm.cli import messages
from tcptrace_fsm.core.words import SEVERITIES, STATES
from tcptrace_fsm.views import palette
from tcptrace_fsm.views.conversation import Wait
from tcptrace_fsm.views.ladder import Ladder, ladder_style, ladder_svg, ladder_text, plainer
from tcptrace_fsm.views.ladder.rows import Fold, rows

from . import builders, strategies
from .watching import HANDSHAKE, collected

SAMPLES = sorted(Path("sample_pcaps").glob("*.pcap*"))
SVG = "{http://www.w3.org/2000/svg}"
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def conversation(name, conn_id=0):
    return tf.analyze(f"sample_pcaps/{name}").connection(conn_id).conversation()


def drawn(talk, **options):
    """The picture, parsed: this fails where anything was not escaped."""
    return ET.fromstring(ladder_svg(talk, **options))


# --- characters -------------------------------------------------------------------------------------------------------
def test_the_ladder_of_a_lost_last_ack():
    lines = ladder_text(conversation("lost_time_wait.pcap"), width=100)
    shown = "\n".join(line.rstrip() for line in lines[2:24])
    assert (
        shown
        == """\
frame     time            client 10.0.0.1:49412                    server 10.0.0.2:8080
                   CLOSED █                                                           █ LISTEN
  1 0.000000     SYN_SENT █───────────────── SYN  0:0(0)  win 64240 ─────────────────▶█ SYN_RECEIVED
  2 0.000086  ESTABLISHED █◀──────────── SYN+ACK  0:0(0)  ack 1  win 65160 ───────────█
  3 0.000113              █─────────────────────── ACK  ack 1 ───────────────────────▶█ ESTABLISHED
  4 0.000243              █─────────────── PSH+ACK  1:201(200)  ack 1 ───────────────▶█
  5 0.000286              █◀────────────────────── ACK  ack 201 ──────────────────────█
  6 0.000332              █◀────────────── PSH+ACK  1:201(200)  ack 201 ──────────────█
  7 0.000348              █────────────────────── ACK  ack 201 ──────────────────────▶█
  8 0.000382   FIN_WAIT_1 █────────────── FIN+ACK  201:201(0)  ack 201 ──────────────▶█ CLOSE_WAIT
  9 0.043790   FIN_WAIT_2 ▒◀────────────────────── ACK  ack 202 ──────────────────────█
 10 0.151611    TIME_WAIT █◀────────────── FIN+ACK  201:201(0)  ack 202 ──────────────█ LAST_ACK
 11 0.151658              █────────────────── ACK  ack 202 ──────────────────×        █
                          █                         ⋮ 208 ms                          █
 12 0.359855              █◀──── FIN+ACK  201:201(0)  ack 202  FIN retransmission ────█
                          █ [1] last_ack_lost                                         █
 13 0.359880       CLOSED █──────────────────── RST  202:202(0) ─────────────────────▶▒ CLOSED
                          █ [2] rst_after_time_wait_loss                              ▒
                          █                                                           ▒

[1] LOW last_ack_lost
    the last ACK of 10.0.0.1:49412 was lost: 10.0.0.2:8080 repeated its FIN 208 ms after that ACK"""
    )


def waited(length):
    """A conversation with a slow answer, after a shorter one."""
    talk = conversation("normal_close.pcap")
    at = [s.time for s in talk.segments]
    later = tuple(s._replace(time=s.time + length + (40_000_000 if i > 4 else 0)) if i > 3 else s
                  for i, s in enumerate(talk.segments))  # fmt: skip
    waits = (
        Wait(at[3], at[3] + length, "application", "server"),
        Wait(at[4] + length, at[4] + length + 40_000_000, "delayed_ack", "client"),
    )
    return dataclasses.replace(talk, segments=later, waits=waits, ended=talk.ended + 2 * length)


def test_a_wait_is_a_gap_to_scale_with_its_words():
    lines = [line.strip("█ ▒\n") for line in ladder_text(waited(8_200_000_000), width=100)]
    gap = [line.split("█")[-2] if "█" in line else line for line in lines if "⋮" in line]
    assert sum("8.2 s  waiting for the server's application" in line for line in gap) == 1
    assert len(gap) == 7, "a tall gap, and the short one beside it is no gap at all"
    short = "\n".join(ladder_text(waited(100_000_000), width=100))
    assert "40 ms  waiting for the client's ACK, which it holds back" in short
    picture = drawn(waited(100_000_000))
    heights = sorted(float(r.get("height")) for r in picture.iter(f"{SVG}rect") if r.get("class") == "wait")
    assert heights[1] - 14 == pytest.approx(130)
    assert heights[0] - 14 == pytest.approx(130 * 0.4, abs=1)


def test_segments_that_crossed_are_drawn_across_one_another():
    lines = ladder_text(conversation("simultaneous_close.pcap"), width=100)
    at = next(i for i, line in enumerate(lines) if "FIN_WAIT_1" in line)
    assert [line.rstrip() for line in lines[at : at + 4]] == [
        "  8 0.361752   FIN_WAIT_1 █─────── FIN+ACK  201:201(0)  ack 201 ───────┐              █",
        "  9 0.361853              █              ┌─────── FIN+ACK  201:201(0)  ack 201 ───────█ FIN_WAIT_1",
        "                          █              │                             └─────────────▶█ CLOSING",
        "                  CLOSING █◀─────────────┘                                            █",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.stem)
@pytest.mark.parametrize("width", [60, 75, 100, 140])
def test_no_line_is_too_long_and_colours_change_nothing_else(path, width):
    talks = tf.analyze(path).conversations()
    assert talks
    for talk in talks:
        plain = ladder_text(talk, width=width)
        assert max(map(len, plain)) <= width
        painted = ladder_text(talk, width=width, colour=True)
        assert [ANSI.sub("", line) for line in painted] == plain
        assert any(ANSI.search(line) for line in painted)
        assert not any(ANSI.search(line) for line in plain)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.stem)
def test_states_stand_in_their_order_at_both_sides(path):
    talks = tf.analyze(path).conversations()
    assert talks
    for talk in talks:
        lines = ladder_text(talk, width=100)
        for side, pattern in (("client", r"(\w+) [█▒]"), ("server", r"[█▒] (\w+)$")):
            found = [m[1] for line in lines if (m := re.search(pattern, line)) and m[1] in STATES]
            assert found == [stay.state for stay in talk.stays(side)]


def test_long_addresses_fit_too():
    six = "2001:db8:1234:5678:9abc:def0:1234:567"
    (talk,) = collected(HANDSHAKE)
    long = dataclasses.replace(talk, row={**talk.row, "client_ip": f"{six}8", "server_ip": f"{six}9"})
    for width in (60, 80, 100):
        lines = ladder_text(long, width=width)
        assert max(map(len, lines)) <= width
        assert sum(six in line for line in lines) == 2 or width >= 100
    drawn(long)


def test_what_an_output_cannot_show_becomes_ascii():
    lines = [plainer(line, "ascii") for line in ladder_text(conversation("simultaneous_close.pcap"))]
    assert all(line.isascii() for line in lines)
    assert any("+------------->#" in line for line in lines)
    assert plainer("█", "utf-8") == plainer("█", None) == "█"


# --- folds ------------------------------------------------------------------------------------------------------------
def transfer(segments, lost=()):
    lines = [HANDSHAKE]
    for n in range(segments):
        lines.append(f"{0.1 + n / 1000:.4f}  > .  {1 + 100 * n}:{101 + 100 * n}(100)  ack 1")
        if n % 2:
            lines.append(f"{0.1 + n / 1000 + 0.0005:.4f}  < .  1:1(0)  ack {101 + 100 * n}")
    end = 1 + 100 * segments
    lines += [
        f"90.0 > F. {end}:{end}(0) ack 1",
        f"90.02 < F. 1:1(0) ack {end + 1}",
        f"90.04 > . {end + 1}:{end + 1}(0) ack 2",
    ]
    return "\n".join(lines)


@pytest.mark.parametrize("limit", [200, 100_000])
def test_long_transfers_are_folded(limit):
    (talk,) = collected(transfer(1206), limit=limit)
    text = "\n".join(ladder_text(talk, width=100))
    data = [r.segment for r in rows(talk) if r.segment and r.segment.payload_len]
    folded = 1206 - len(data)
    assert folded > 1190
    assert f"{folded:,} data segments ▶ {folded * 100 / 1000:.3g} kB" in text
    assert "FIN_WAIT_1" in text
    assert f"{folded:,} data segments → " in ladder_svg(talk)
    assert len(rows(talk)) < 40


def test_nothing_is_folded_away_uncounted():
    (talk,) = collected(transfer(700), limit=100_000)
    for most in (1, 5, 20, 1000, 10_000):
        made = rows(talk, most)
        alone = sum(r.kind in {"segment", "leave"} for r in made)
        assert alone + sum(r.fold.segments for r in made if r.fold) == len(talk.segments)


def test_a_short_connection_is_drawn_whole():
    (talk,) = collected(transfer(15))
    assert not any(r.fold for r in rows(talk))


def test_a_fold_says_what_is_in_it():
    (talk,) = collected(HANDSHAKE)
    fold = Fold(talk.segments[0], talk.segments[0])
    for s in talk.segments:
        fold.add(s._replace(label="duplicate_ack", fate="lost"))
    assert fold.lines() == ["2 ACKs ▶", "1 ACK ◀", "3 lost, 3 duplicate ACKs, 2 SYNs"]


# --- pictures ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.stem)
def test_pictures_are_whole(path):
    talks = tf.analyze(path).conversations()
    assert talks
    for talk in talks:
        svg = ladder_svg(talk)
        picture = ET.fromstring(svg)
        ids = [e.get("id") for e in picture.iter() if e.get("id")]
        assert len(ids) == len(set(ids))
        assert all(name in ids for name in picture.get("aria-labelledby").split())
        assert not re.search(r"https?:(?!//www\.w3\.org/2000/svg)|url\((?!#)|<script|href", svg)
        shown = [t.text for t in picture.iter(f"{SVG}title") if (t.text or "").startswith("frame ")]
        alone = [r.segment for r in rows(talk, 100) if r.segment and r.kind != "leave"]
        assert len(shown) == len(alone)
        assert sum(", lost" in t for t in shown) == sum(s.fate == "lost" for s in alone)
        texts = ["".join(t.itertext()) for t in picture.iter(f"{SVG}text")]
        for finding in talk.findings:
            assert finding.kind in texts
        for side in ("client", "server"):
            bands = [
                t.text.split(": ")[1] for t in picture.iter(f"{SVG}title") if (t.text or "").startswith(f"{side}: ")
            ]
            assert bands == [stay.state for stay in talk.stays(side)]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.stem)
def test_texts_at_one_edge_do_not_overlap(path):
    talks = tf.analyze(path).conversations()
    assert talks
    for talk in talks:
        edges: dict[float, list[float]] = {}
        for text in drawn(talk, notes=False).iter(f"{SVG}text"):
            if text.get("x"):
                edges.setdefault(float(text.get("x")), []).append(float(text.get("y")))
        for heights in edges.values():
            assert all(b - a >= 11 for a, b in pairwise(sorted(heights))), path


def test_a_page_may_give_the_style():
    talk = conversation("normal_close.pcap")
    assert "<style>" in ladder_svg(talk)
    assert "<style>" not in ladder_svg(talk, standalone=False)
    assert "prefers-color-scheme" in ladder_style()
    chosen = ladder_style(":root[data-theme=dark]")
    assert "prefers-color-scheme" not in chosen
    light, dark = chosen.split(":root[data-theme=dark]", 1)
    assert palette.INK["paper"].light in light
    assert palette.INK["paper"].dark not in light
    assert palette.INK["paper"].dark in dark


def test_notes_can_be_left_out():
    talk = conversation("lost_time_wait.pcap")
    message = talk.findings[0].message
    assert message[:60] in "".join(drawn(talk).itertext()).replace("\n", " ")
    assert not any(message[:60] in (t.text or "") for t in drawn(talk, notes=False).iter(f"{SVG}text"))


HOSTILE = "</svg><script>alert('&amp;\"')</script>.pcap"


def test_names_from_outside_are_escaped():
    (talk,) = collected(HANDSHAKE, capture=HOSTILE)
    svg = ladder_svg(talk)
    assert "<script" not in svg
    assert escape(HOSTILE) in svg
    ET.fromstring(svg)
    assert HOSTILE in "".join(ET.fromstring(svg).itertext())


def test_every_state_and_severity_has_a_colour():
    assert set(palette.STATE) == set(STATES)
    assert set(palette.SEVERITY) == set(SEVERITIES)
    assert len({c.light for c in palette.STATE.values()}) == len(STATES)
    assert len({c.ansi for c in palette.STATE.values()}) == len(STATES)


@pytest.mark.slow
@settings(max_examples=50)
@given(strategies.conversations() | strategies.anything(), st.integers(1, 30))
def test_anything_can_be_drawn(given, most):
    for talk in collected(given):
        for lines in (ladder_text(talk, width=60, most=most), ladder_text(talk, width=100)):
            assert max(map(len, lines)) <= 100
        drawn(talk, most=most)
        drawn(talk)
        made = rows(talk)
        assert sum(len(r.changes) for r in made) == len(talk.changes)
        assert sorted(n for r in made for n, _ in r.findings) == list(range(1, len(talk.findings) + 1))
        for side in ("client", "server"):
            order = [c for r in made for c in r.of(side)]
            assert order == [c for c in talk.changes if c.side == side]


# --- notebooks and the command ----------------------------------------------------------------------------------------
def test_a_connection_shows_its_ladder():
    connection = tf.analyze("sample_pcaps/lost_time_wait.pcap").connection(0)
    ladder = connection.ladder()
    assert isinstance(ladder, Ladder)
    assert ladder.svg == ladder._repr_svg_() in connection._repr_html_()
    assert "[2] rst_after_time_wait_loss" in str(ladder)
    assert repr(connection).startswith("connection 0: 10.0.0.1:49412 -> 10.0.0.2:8080, opened by handshake")
    assert connection.conversation() is connection.conversation()


def run(*arguments, capsys):
    status = cli.run_command([*arguments])
    return status, *capsys.readouterr()


def test_the_command_prints_and_draws(tmp_path, capsys):
    name, svg = "sample_pcaps/lost_time_wait.pcap", tmp_path / "ladder.svg"
    status, out, err = run("ladder", name, "0", capsys=capsys)
    assert (status, err) == (0, "")
    assert "TIME_WAIT █" in out
    assert run("ladder", name, capsys=capsys)[1] == out
    assert run("ladder", name, "0", "--svg", str(svg), capsys=capsys) == (0, "", "")
    ET.fromstring(svg.read_text(encoding="utf-8"))
    assert run("ladder", name, "0", "--svg", "-", capsys=capsys)[1] == svg.read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["ladder.svg"]


def test_the_command_folds_nothing_when_told_so(tmp_path, capsys):
    began = 1_700_000_000
    segments = [builders.tcp(b"x" * 10, seq=1 + 10 * n, ack=1) for n in range(300)]
    path = tmp_path / "long.pcap"
    path.write_bytes(
        builders.pcap(
            [((began * 1000 + n) * 1000, builders.ethernet(builders.ipv4(s))) for n, s in enumerate(segments)]
        )
    )
    out = run("ladder", str(path), "0", capsys=capsys)[1]
    assert "data segments ▶" in out
    every = run("ladder", str(path), "0", "--all", capsys=capsys)[1]
    assert every.count("(10)") == 300


def test_the_summary_names_the_ladder_to_look_at(capsys):
    name = "sample_pcaps/lost_time_wait.pcap"
    for more in ((), ("--filter", "port 8080 and not icmp")):
        cli.run_command(["analyze", name, *more])
        (command, *_) = [line for line in capsys.readouterr().out.splitlines() if "tcptrace-fsm ladder" in line]
        words = shlex.split(command.partition("tcptrace-fsm ")[2])
        assert words[:2] == ["ladder", name]
        status, out, _ = run(*words, capsys=capsys)
        assert status == 0
        assert "rst_after_time_wait_loss" in out


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["sample_pcaps/same_port_again.pcap"], "which connection? same_port_again.pcap has 2, numbered from 0"),
        (["sample_pcaps/same_port_again.pcap", "2"], "no connection 2; same_port_again.pcap has 2 connections"),
        (["sample_pcaps/same_port_again.pcap", "0", "1"], "one connection"),
        (["0"], "name a capture"),
        (["sample_pcaps/normal_close.pcap", "0", "--svg", "/nowhere/x.svg"], "cannot write to /nowhere/x.svg"),
        (["sample_pcaps/normal_close.pcap", "0", "--svg", "/tmp"], "it is a directory"),
    ],
)
def test_wrong_usage_is_one_line(arguments, says, capsys):
    status, out, err = run("ladder", *arguments, capsys=capsys)
    assert (status, out) == (4 if "nowhere" in says else 2, "")  # there is no such folder
    assert says in err
    assert err.count("\n") == 1


def test_colours_are_for_terminals_that_want_them(monkeypatch):
    class Out:
        def __init__(self, terminal):
            self.isatty = lambda: terminal

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert messages.coloured(Out(True))
    assert not messages.coloured(Out(False))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not messages.coloured(Out(True))
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not messages.coloured(Out(True))


def test_the_command_waits_for_no_pandas():
    looked = (
        "import sys; from tcptrace_fsm.cli import app as cli; "
        "cli.run_command(['ladder', 'sample_pcaps/lost_time_wait.pcap', '0']); sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", looked], capture_output=True, check=False).returncode == 0
