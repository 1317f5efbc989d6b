"""Timers learned in a second reading, in several processes, and from files."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tcptrace_fsm as tf
from tcptrace_fsm.cli import app as cli
from tcptrace_fsm.core.engine import Engine
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.findings.evidence import CLOSED_BY_CLIENT, CLOSED_BY_SERVER
from tcptrace_fsm.kernels.layout import S_MARKS, S_PORTS, S_TIME, SEGMENT_SIZE
from tcptrace_fsm.runs.jobs import Jobs
from tcptrace_fsm.runs.run import Run
from tcptrace_fsm.runs.timers import COARSE, Lesson, Shown, merged, taught
from tcptrace_fsm.tcp.machine import Basis, Event, State
from tcptrace_fsm.tcp.profiles import profile
from tests import builders as b
from tests.learning import CLIENT_HOST, EVIDENCE, HALF_CLOSED, SECOND, at_once, shown_by
from tests.many_files import TABLES, rotated, same, side_by_side
from tests.strategies import Batch

if TYPE_CHECKING:
    from tcptrace_fsm.capture.scripted import Script

# --- the second reading -----------------------------------------------------------------------------------------------


def replayed(conversation: Script, known) -> list[tuple[State, Event, Basis, float, float]]:
    """How the clients of a conversation came to CLOSED: from, by what, on what, and the bracket, s after entry."""
    from tcptrace_fsm.kernels import layout as k

    engine = Engine(Settings(known))
    engine.feed(conversation)
    engine.finish()
    ends = []
    while (done := engine.take()) is not None:
        entered = 0
        for t in range(0, done.transition_count * k.TRANSITION_SIZE, k.TRANSITION_SIZE):
            row = done.transitions[t : t + k.TRANSITION_SIZE]
            if row[k.T_SIDE] == k.CLIENT and row[k.T_TO] == State.CLOSED:
                bracket = ((row[word] - entered) / SECOND for word in (k.T_EARLIEST, k.T_LATEST))
                ends.append((State(row[k.T_FROM]), Event(row[k.T_EVENT]), Basis(row[k.T_BASIS]), *bracket))
            entered = row[k.T_TIME]
    return ends


GONE = (
    CLOSED_BY_CLIENT
    + """
            20.00 < F. 1:1(0)     ack 102
            20.01 > R  102:102(0)
"""
)


def test_a_timer_that_was_learned_ends_other_connections_of_that_host_and_says_so():
    talk = at_once(GONE, GONE, CLOSED_BY_CLIENT + "end 200")
    known, _ = taught(profile(), shown_by(talk))
    interval = known.of(CLIENT_HOST).time_wait
    assert interval == pytest.approx((1, 19.01, 19 * (1 + COARSE)), abs=0.02)
    *shown, other = replayed(talk, known)
    assert other[:3] == (State.TIME_WAIT, Event.TIMEOUT_2MSL, Basis.LEARNED)
    assert other[3:] == pytest.approx((interval.least, interval.most), abs=1e-6)
    assert [end[:3] for end in shown] == [(State.TIME_WAIT, Event.TIMEOUT_2MSL, Basis.LEARNED)] * 2


def test_without_it_they_end_by_the_profile():
    talk = at_once(GONE, GONE, CLOSED_BY_CLIENT + "end 200")
    *shown, other = replayed(talk, profile())
    assert other[:3] == (State.TIME_WAIT, Event.TIMEOUT_2MSL, Basis.TIMER)
    assert [end[:3] for end in shown] == [(State.TIME_WAIT, Event.GONE, Basis.SENT)] * 2


def test_the_other_end_keeps_its_own_timers():
    """The server closes first: its TIME_WAIT is not that of the client's host."""
    talk = at_once(GONE, GONE, CLOSED_BY_SERVER + "end 200")
    known, _ = taught(profile(), shown_by(talk))
    engine = Engine(Settings(known))
    engine.feed(talk)
    engine.finish()
    bases = set()
    while (done := engine.take()) is not None:
        bases |= {done.transitions[t + 9] for t in range(0, done.transition_count * 11, 11) if done.transitions[t + 1]}
    assert Basis.TIMER in bases
    assert Basis.LEARNED not in bases


def test_a_host_that_waits_longer_than_the_profile_is_waited_for(tmp_path):
    """What comes 90 s after the close belongs to the connection, not to a new one begun before the capture."""
    text = (
        CLOSED_BY_CLIENT
        + """
            91.00 < F. 1:1(0)     ack 102
            91.01 > .  102:102(0) ack 2
            end 300
    """
    )
    (tmp_path / "x.pcap").write_bytes(b.pcap(frames_of(at_once(text))))
    assert list(tf.analyze(tmp_path / "x.pcap").connections["opening"]).count("midstream") == 2  # and that of `end`
    trace = tf.analyze(tmp_path / "x.pcap", learn_timers=True)
    assert list(trace.connections["opening"]).count("midstream") == 1
    waited = trace.transitions[trace.transitions["basis"] == "learned"]
    assert list(waited["event"]) == ["timeout 2MSL"]
    assert (waited["time_latest"] - waited["time_earliest"]).dt.total_seconds().iloc[0] == pytest.approx(160, abs=0.1)


ORPHAN = (
    HALF_CLOSED
    + """
            16.00 < F. 1:1(0)     ack 102
            16.01 > R  102:102(0)
"""
)


def test_an_orphan_that_was_let_go_earlier_than_the_profile_has_it_timed_out():
    talk = at_once(ORPHAN, ORPHAN)
    known, _ = taught(profile(), shown_by(talk))
    assert known.of(CLIENT_HOST).time_wait == known.time_wait
    for end in replayed(talk, known):
        assert end[:3] == (State.FIN_WAIT_2, Event.TIMEOUT_FIN_WAIT_2, Basis.LEARNED)
    for end in replayed(talk, profile()):
        assert end[:2] == (State.FIN_WAIT_2, Event.GONE)


# --- however it is shared ---------------------------------------------------------------------------------------------


SHOWING = [case.text for case in EVIDENCE]


@given(st.lists(st.sampled_from(SHOWING), min_size=1, max_size=8), st.integers(1, 4), st.randoms(use_true_random=False))
def test_any_partition_of_the_connections_teaches_the_same(texts, parts, chance):
    talk = at_once(*texts)
    words, whose, now = talk.segments, {}, 0
    shares = [[] for _ in range(parts)]
    for n in range(talk.count):
        record = words[n * SEGMENT_SIZE : (n + 1) * SEGMENT_SIZE]
        record[S_MARKS] = now = max(now, record[S_TIME])  # the timeline's clock
        ports = frozenset(divmod(record[S_PORTS], 1 << 16))
        shares[whose.setdefault(ports, chance.randrange(parts))].append(record)
    lessons = []
    for records in shares:
        lesson = Lesson(Settings())
        for record in records:  # batches of one
            lesson.take(Batch(record, 1))
        lesson.finish(now)
        lessons.append(lesson.shown)
    chance.shuffle(lessons)
    assert merged(lessons) == shown_by(talk)


def test_how_parts_are_put_together_makes_no_difference():
    chance = random.Random(1)
    parts = [
        {CLIENT_HOST: Shown(chance.randrange(9), tuple(sorted(chance.choices(range(9), k=chance.randrange(3)))))}
        for _ in range(6)
    ]
    whole = merged(parts)
    for _ in range(50):
        chance.shuffle(parts)
        cut = chance.randrange(7)
        assert merged([merged(parts[:cut]), merged(parts[cut:])]) == whole


# --- from files -------------------------------------------------------------------------------------------------------


def frames_of(talk: Script) -> list[tuple[int, bytes]]:
    """A scripted conversation as frames, times in microseconds and all different."""
    frames = []
    for n, line in enumerate(talk.lines):
        flags = "".join(letter for bit, letter in zip((1, 2, 4, 8, 16), "FSRPA", strict=True) if line.flags & bit)
        packet = b.ipv4(
            b.tcp(
                seq=line.seq,
                ack=line.ack,
                flags=flags,
                payload=bytes(line.length),
                src_port=line.source[1],
                dst_port=line.target[1],
            ),
            src=".".join(str(byte) for byte in line.source[0].to_bytes(4, "big")),
            dst=".".join(str(byte) for byte in line.target[0].to_bytes(4, "big")),
            ident=line.ip_id,
        )
        frames.append((line.time // 1000 + n, b.ethernet(packet, 0x0800)))
    return frames


AGREEING = {case.name for case in EVIDENCE if case.alive is None or case.alive[0] < 10}


PLAIN = [case.text for case in EVIDENCE if case.name in AGREEING and "<mss" not in case.text]


SEVERAL = at_once(*PLAIN, *PLAIN[::-1], *[CLOSED_BY_CLIENT] * 3, CLOSED_BY_SERVER, HALF_CLOSED, "end 220")


def in_five_files(folder):
    """The same in five files, of which two were taken side by side."""
    frames = frames_of(SEVERAL)
    paths = rotated(folder, frames[:120], [40, 77])
    return [*paths, *side_by_side(folder, frames[120:], [n % 2 for n in range(len(frames) - 120)])]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return in_five_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "whole.pcap"
    path.write_bytes(b.pcap(frames_of(SEVERAL)))
    return path


def test_a_file_teaches_and_is_replayed_by_it(whole):
    trace = tf.analyze(whole, learn_timers=True)
    assert [host["host"] for host in trace.summary["timers"]["learned"]] == ["10.0.0.1", "10.0.0.2"]
    assert trace.summary["options"]["learn_timers"] is True
    ended = trace.transitions[trace.transitions["basis"] == "learned"]
    assert set(ended["event"]) == {"timeout 2MSL", "timeout FIN_WAIT_2"}
    before = tf.analyze(whole)
    assert "timers" not in before.summary
    assert not (before.transitions["basis"] == "learned").any()


def test_a_file_in_which_a_host_contradicts_itself(tmp_path):
    (tmp_path / "x.pcap").write_bytes(b.pcap(frames_of(at_once(*SHOWING[:5], *SHOWING[:5]))))
    trace = tf.analyze(tmp_path / "x.pcap", learn_timers=True)
    (told,) = trace.summary["timers"]["contradictory"]
    assert (told["host"], round(told["alive_at"]), round(told["gone_at"])) == ("10.0.0.1", 20, 12)
    assert "contradicts itself: the profile's holds for it" in " ".join(repr(trace).split())
    assert not (trace.transitions["basis"] == "learned").any()


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [2, 3])
def test_several_processes_teach_and_tell_the_same(files, jobs):
    one, other = (tf.analyze(files, learn_timers=True, jobs=n) for n in (1, jobs))
    assert one.summary["timers"]["learned"]
    for table in TABLES:
        same(getattr(one, table), getattr(other, table))
    assert one.summary == other.summary


def test_many_files_teach_what_one_does(files, whole):
    assert (
        tf.analyze(files, learn_timers=True).summary["timers"] == tf.analyze(whole, learn_timers=True).summary["timers"]
    )


def test_two_captures_of_the_same_connections_teach_too(tmp_path, whole):
    for name in ("near", "far"):
        (tmp_path / f"{name}.pcap").write_bytes(whole.read_bytes())
    both = [tmp_path / "near.pcap", tmp_path / "far.pcap"]
    trace = tf.analyze(both, learn_timers=True, merge_vantage=True)
    assert [host["host"] for host in trace.summary["timers"]["learned"]] == ["10.0.0.1", "10.0.0.2"]
    assert (trace.transitions["basis"] == "learned").any()


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_is_stopped_while_it_learns_tells_nothing(whole, jobs):
    def stop(run, batches):
        del batches
        run.interrupted = True
        yield from ()

    run = (Run if jobs == 1 else Jobs)([str(whole)], Settings(learn_timers=True))
    run.go(watch=stop)
    assert run.interrupted
    assert run.captures == []


def test_segments_are_read_by_the_same_timers(whole):
    """They come from a reading of their own, which must not number or judge otherwise."""
    late = tf.analyze(whole, learn_timers=True)
    early = tf.analyze(whole, learn_timers=True, tables=["segments"])
    same(late.segments, early.segments)


def test_netstat_counts_by_the_hosts_own_timer(whole):
    own = tf.analyze(whole, learn_timers=True)
    (least, usual, most) = next(
        host["time_wait"].values() for host in own.summary["timers"]["learned"] if host["host"] == "10.0.0.1"
    )
    assert least < usual <= most
    waits = own.at(5.0, host="10.0.0.1")
    left = waits[waits["timer"] == "timewait"]["timer_left"].dt.total_seconds()
    assert (abs(left - (usual - 4)) < 0.1).sum() >= 3, "those that nothing has restarted"


@pytest.mark.slow
def test_the_command_line_says_what_was_learned(whole, capsys):
    assert cli.run_command(["analyze", str(whole), "--learn-timers"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "timers 10.0.0.1 keeps TIME_WAIT for" in out
    assert "--learn-timers" in out.split("tcptrace-fsm ladder")[1]
    assert cli.run_command(["analyze", str(whole), "--learn-timers", "--json", "--jobs", "2"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert {host["host"] for host in said["timers"]["learned"]} == {"10.0.0.1", "10.0.0.2"}


@pytest.mark.parametrize("command", [["netstat"], ["ladder", "0"], ["diagram"], ["report", "-o", "page.html"]])
def test_every_view_can_go_by_it(whole, command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = [command[0], str(whole), *command[1:]]
    assert cli.run_command([*command, "--learn-timers"]) == 0
    assert "Error" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, why",
    [
        (["-"], "a stream can be read only once"),
        (["x.pcap", "--follow"], "still being written"),
        (["x.pcap", "--time-wait", "3", "--fin-timeout", "4"], "nothing to learn"),
    ],
)
def test_what_cannot_be_is_refused(arguments, why, capsys):
    assert cli.run_command(["analyze", *arguments, "--learn-timers"]) == 2
    assert why in capsys.readouterr().err


def test_a_file_object_is_refused(whole):
    with whole.open("rb") as file, pytest.raises(UsageError, match="read only once"):
        tf.analyze(file, learn_timers=True)


def test_a_missing_file_is_told_as_missing(capsys):
    assert cli.run_command(["analyze", "nowhere.pcap", "--learn-timers"]) == 1
    assert "nowhere.pcap" in capsys.readouterr().err
