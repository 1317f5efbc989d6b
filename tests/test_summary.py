"""The first screen and summary.json."""

from __future__ import annotations

import io
import re

import pytest

from tcptrace_fsm.core.tally import Tally
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.tcp.machine import State
from tcptrace_fsm.text.counts import count
from tcptrace_fsm.text.durations import duration
from tcptrace_fsm.text.times import iso_time
from tcptrace_fsm.views import summary
from tcptrace_fsm.views.summary import first_screen, summary_dict

from . import fakes
from .fakes import SECOND, START

pytestmark = pytest.mark.plain


def tally(*done):
    counts = Tally()
    for each in done:
        counts.take(each)
    return counts


def mixed():
    records = [
        fakes.connection(0),
        fakes.connection(1, words={k.C_OPENING: k.OPENING_REFUSED, k.C_CLOSING: k.CLOSING_ABORTED}),
        fakes.connection(
            2,
            words={
                k.C_CLOSING: k.CLOSING_NONE,
                k.C_CLIENT_STATE: int(State.FIN_WAIT_2),
                k.C_SERVER_STATE: int(State.CLOSE_WAIT),
            },
        ),
    ]
    found = [
        *(fakes.finding(i, "zero_window", "low", f"window {i}") for i in range(9)),
        fakes.finding(2, "stuck_close_wait", "high", "10.0.0.2:80 has not closed"),
        fakes.finding(1, "rto_retransmission", "medium", "sent again"),
        fakes.finding(2, "rto_retransmission", "medium", "sent again, too"),
    ]
    return fakes.finished(records, [], found)


def screen(done, width=100, **capture):
    said = summary_dict([fakes.FakeCapture(**capture)], tally(done), {})
    return [line for line, _ in first_screen(said, (START, START + 192 * SECOND), width)]


def test_every_connection_is_counted_once_in_each_way():
    said = summary_dict([fakes.FakeCapture()], tally(mixed(), mixed()), {"profile": "linux"})
    connections = said["connections"]
    assert connections["count"] == 6
    for way in ("opening", "closing"):
        assert sum(connections[way].values()) == 6
    assert connections["states_at_end"]["client"]["FIN_WAIT_2"] == 2
    assert said["anomalies"] == {"stuck_close_wait": 2, "rto_retransmission": 4, "zero_window": 18}
    assert said["options"] == {"profile": "linux"}


def test_every_frame_is_counted_once():
    outcomes = list(range(1, k.OUTCOMES + 1))
    outcomes[k.OUTCOME_PEEL] = 0
    capture = fakes.FakeCapture(
        outcomes=outcomes, frames=sum(outcomes), links={147: outcomes[k.OUTCOME_UNSUPPORTED_LINK]}
    )
    frames = summary_dict([capture], tally(), {})["frames"]

    def leaves(node):
        return sum(map(leaves, node.values())) if isinstance(node, dict) else node

    assert leaves(frames) == sum(outcomes)
    assert frames["unsupported_link"] == {"147": outcomes[k.OUTCOME_UNSUPPORTED_LINK]}
    assert frames["malformed"]["short_tcp_header"] == outcomes[k.OUTCOME_SHORT_TCP]


def test_what_is_skipped_is_named():
    """On the first screen too, for half of a connection may be in it."""

    def told(**skipped):
        capture = fakes.FakeCapture()
        capture.skipped = skipped
        summary = summary_dict([capture], tally(mixed()), {})
        lines = [line for line, _ in first_screen(summary, (START, START + 192 * SECOND), 200)]
        return summary["skipped"], [line for line in lines if line.startswith("skipped")]

    assert told() == ({}, [])
    counts, (line,) = told(wifi=3, ESP=1200)
    assert list(counts.items()) == [("ESP", 1200), ("wifi", 3)]
    assert line.split(maxsplit=1)[1] == (
        "1,203 frames may hold TCP that is not decoded: 1,200 in ESP, 3 in wifi; what seems missing may be there"
    )
    assert "1 frame may hold TCP" in told(wifi=1)[1][0]
    assert "and so on" in told(a=1, b=2, c=3, d=4)[1][0]


def test_every_outcome_has_a_place():
    placed = {
        *summary.MALFORMED,
        k.OUTCOME_TCP,
        k.OUTCOME_NOT_TCP,
        k.OUTCOME_ENCRYPTED,
        k.OUTCOME_FRAGMENT,
        k.OUTCOME_FILTERED,
        k.OUTCOME_PEEL,
        k.OUTCOME_UNSUPPORTED_LINK,
    }
    assert placed == set(range(k.OUTCOMES))


def test_the_first_screen_is_the_answer():
    lines = screen(mixed())
    assert lines[0] == "fake.pcap      pcap, Ethernet, 9 frames, 3 min 12 s from 2023-11-14 22:13:20 UTC"
    assert lines[1] == "TCP            9 segments, 3 connections: 2 by handshake, 1 refused"
    assert lines[2] == "closed         1 normally, 1 reset, 1 open at the end"
    found = [line for line in lines if re.match("HIGH|MEDIUM|LOW|INFO", line)]
    assert [line.split()[:3] for line in found] == [
        ["HIGH", "stuck_close_wait", "1"],
        ["MEDIUM", "rto_retransmission", "2"],
        ["LOW", "zero_window", "9"],
    ]
    assert "10.0.0.2:80 has not closed   (connection 2)" in found[0]
    assert "(connections 0, 1, 2, 3, 4 ...)" in found[2]
    assert "  FIN_WAIT_2              1           ." in lines
    assert lines[-1].startswith("see it         tcptrace-fsm ")


@pytest.mark.parametrize("width", [40, 60, 80, 100, 140])
def test_no_line_is_wider_than_the_terminal(width):
    lines = screen(mixed(), width)
    assert max(map(len, lines)) <= max(width, 50)
    assert any("has not closed" in line for line in lines)


def test_nothing_to_see_is_said_plainly():
    lines = screen(fakes.finished([]), outcomes=[0, 9, *[0] * (k.OUTCOMES - 2)])
    assert lines[1:] == ["TCP            0 segments, no connections"]


def test_what_is_missing_is_said():
    bad = [5, *[0] * (k.OUTCOMES - 1)]
    bad[k.OUTCOME_SHORT_TCP] = 3
    bad[k.OUTCOME_UNSUPPORTED_LINK] = 1
    lines = screen(mixed(), outcomes=bad, links={54321: 1}, truncated="the last frame ends after 7 of 60 bytes")
    assert "cut short: the last frame" in lines[1]
    assert any("3 short tcp header" in line and "1 of unsupported link type 54321" in line for line in lines)


def test_severities_reach():
    found = tally(mixed())
    assert all(found.reaches(s) for s in ("info", "low", "medium", "high"))
    low = tally(fakes.finished([], [], [fakes.finding(severity="low")]))
    assert [low.reaches(s) for s in ("info", "low", "medium", "high")] == [True, True, False, False]


def test_plain_text_goes_into_a_pipe():
    out = io.StringIO()
    summary.show([("HIGH    something", "high")], out)
    assert out.getvalue() == "HIGH    something\n"


def test_colour_goes_to_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    summary.show([("HIGH    [red]something[/red]", "high")], out)
    assert "\x1b[" in out.getvalue()
    assert "[red]something[/red]" in out.getvalue()  # what a capture says is never markup


@pytest.mark.parametrize(
    "ns, text",
    [(0, "0 us"), (1500, "1.5 us"), (81_400_000, "81.4 ms"), (59_000_000_000, "59 s"), (60_000_000_000, "1 min"),
     (7_380_000_000_000, "2 h 3 min"), (90_000_000_000_000, "1 d 1 h")],
)  # fmt: skip
def test_durations(ns, text):
    assert duration(ns) == text


def test_counts_and_times():
    assert (count(1, "frame"), count(0, "frame"), count(1234, "entry", "entries")) == (
        "1 frame",
        "0 frames",
        "1,234 entries",
    )
    assert iso_time(None) is None
    assert iso_time(-1) == "1969-12-31T23:59:59.999999999Z"


def test_the_first_screen_is_one_screen():
    """Forty kinds of finding are not listed one by one, unless that is asked for."""
    kinds = [fakes.finding(i, f"kind_{i:02}", "low" if i > 2 else "high", "word " * 20) for i in range(40)]
    said = summary_dict([fakes.FakeCapture()], tally(fakes.finished([fakes.connection(0)], [], kinds)), {})
    lines, everything = (
        [line for line, _ in first_screen(said, (START, START), everything=everything)] for everything in (False, True)
    )
    assert len(lines) <= 42
    assert sum("kind_" in line for line in everything) > sum("kind_" in line for line in lines)
    (more,) = (line for line in lines if "--all lists them" in line)
    assert int(more.split()[1]) + sum("  1  word" in line for line in lines) == 40
    assert not any("--all" in line for line in everything)


def test_a_healthy_capture_says_so():
    """In one line, where nothing at all was found and where only trifles were."""
    healthy = fakes.finished([fakes.connection(0)], [], [])
    assert [line for line in screen(healthy) if line.startswith("healthy")]
    slight = fakes.finished([fakes.connection(0)], [], [fakes.finding(0, "keepalive", "info")])
    assert [line for line in screen(slight) if line.startswith("healthy")]
    assert not [line for line in screen(mixed()) if line.startswith("healthy")]


def test_what_never_opened_is_not_open_at_the_end():
    """Nor is what was over before the capture began, a lone RST for instance."""
    closed = {k.C_CLOSING: k.CLOSING_NONE, k.C_CLIENT_STATE: int(State.CLOSED), k.C_SERVER_STATE: int(State.CLOSED)}
    records = [
        fakes.connection(0, words={**closed, k.C_OPENING: k.OPENING_UNANSWERED}),
        fakes.connection(1, words={**closed, k.C_OPENING: k.OPENING_MIDSTREAM}),
        fakes.connection(2, words={k.C_CLOSING: k.CLOSING_NONE, k.C_CLIENT_STATE: int(State.ESTABLISHED)}),
    ]
    (line,) = (line for line in screen(fakes.finished(records, [], [])) if line.startswith("closed"))
    assert line == "closed         1 open at the end, 1 never opened, 1 over before the capture began"


def test_a_finding_of_the_whole_capture_names_no_connection():
    """It has none, and the screen makes none up."""
    lines = screen(fakes.finished([fakes.connection(0)], [], [fakes.finding(None, "one_sided", "low", "half of it")]))
    (line,) = (line for line in lines if line.startswith("LOW"))
    assert line.endswith("half of it")
