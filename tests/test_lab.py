"""The kernel lab: what it records can be believed, and the analyser says what the kernel said."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
import threading

import pytest

from tests.lab import pcap, runner, score, truth, waits
from tests.lab.network import HOSTS
from tests.lab.scenario import REGISTRY
from tests.lab.scenarios import application_specs, load, random_spec

pytestmark = pytest.mark.lab

load()

# Quick ones, each with a different reason to be here. `EXACT` at the points named: the capture decides these.
EVERYWHERE = ("client", "router", "server")
QUICK = {
    "close_by_client_v4": EVERYWHERE,
    "close_by_server_v6": EVERYWHERE,
    "straight_to_time_wait_client_v4": EVERYWHERE,
    "half_close_server_v6": EVERYWHERE,
    "simultaneous_open_v4": EVERYWHERE,
    "simultaneous_close_v6": EVERYWHERE,
    "refused_v4": EVERYWHERE,
    "handshake_lost_ack_far_v4": EVERYWHERE,
    "handshake_lost_synack_near_v6": EVERYWHERE,
    "close_lost_fin1_far_client_v4": EVERYWHERE,
    "close_lost_ackfin_near_server_v4": EVERYWHERE,
    "close_lost_lastack_far_client_v6": EVERYWHERE,
    "time_wait_killed_near_client_v4": EVERYWHERE,
    "time_wait_reused_by_server_1_v4": EVERYWHERE,
    "fast_open_none_v4": EVERYWHERE,
    "linger_zero_client_v4": EVERYWHERE,
    "reset_injected_on_the_wire_client_v4": EVERYWHERE,
    "data_before_fin_lost_near_client_v4": EVERYWHERE,
    "orphans_of_one_host_v4": EVERYWHERE,
    "random_14": (),
}


SCRIPTED = (
    "scripted_icmp_port_in_syn_received_v4",
    "scripted_icmp_too_big_in_established_v6",
    "scripted_syn_ack_in_syn_received_v4",
    "scripted_reset_in_window_in_syn_received_v6",
    "scripted_simultaneous_open_closed_by_the_kernel_v4",
    "scripted_fast_open_cookie_of_another_v6",
    "scripted_v4_mapped_fast_open_v4",
    "scripted_paws_acks_in_fin_wait_v4",
    "hasty_fin_in_a_hole_while_closing_v4",
    "hasty_fast_open_wrong_ack_in_syn_received_v4",
    "hasty_fin_overtaken_by_its_ack_v4",
)


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """All quick scenarios, recorded once."""
    if reason := runner.missing():
        pytest.skip(reason)
    out = tmp_path_factory.mktemp("lab")
    specs = [random_spec(14) if n == "random_14" else REGISTRY[n] for n in QUICK]
    metas = runner.record_all(specs, out, jobs=6, say=lambda _: None)
    return out, {m["scenario"]: m for m in metas}


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_both_witnesses_agree(recordings, name):
    """No error, no tracepoint lost, rows chain and are legal, and the poll never saw a state that they exclude."""
    _, metas = recordings
    assert runner.clean_record(metas[name]), json.dumps(metas[name], indent=1)
    assert metas[name]["truth_check"]["rows"] >= 4
    assert not any(c["dropped_by_kernel"] for c in metas[name]["capture"].values())


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_each_transition_has_its_packet(recordings, name):
    """A change of state stands within 50 ms of a segment of that connection in the host's own capture, with the flag
    that goes with the state; only what an application or a timer does alone may stand by itself."""
    out, _ = recordings
    folder = out / name
    wanted = {"SYN_SENT": pcap.SYN, "SYN_RECEIVED": pcap.SYN, "CLOSE_WAIT": pcap.FIN, "LAST_ACK": pcap.FIN,
              "FIN_WAIT_1": pcap.FIN, "CLOSING": pcap.FIN, "ESTABLISHED": pcap.ACK, "FIN_WAIT_2": pcap.ACK,
              "TIME_WAIT": pcap.ACK}  # fmt: skip
    segments = {h: [(f.time, s) for f in pcap.read(folder / f"{h}.pcap") if (s := pcap.parse(f.data))] for h in HOSTS}
    lonely = []
    for e in score.read_truth(folder / "truth.csv"):
        ends = {e.local, e.remote}
        mine = [(t, s) for t, s in segments[e.host] if {(s.src, s.sport), (s.dst, s.dport)} == ends]
        for step in e.steps:
            flag = wanted.get(step.state)
            # a hole filled later delivers a FIN that came before
            slack = 1.5 if step.state in ("CLOSE_WAIT", "CLOSING", "TIME_WAIT", "FIN_WAIT_1", "LAST_ACK") else 0.05
            if flag and not any(abs(t - step.time) < slack and s.flags & flag for t, s in mine):
                lonely.append((e.host, e.local, e.remote, step))
    assert not lonely


@pytest.mark.parametrize("name", QUICK)
def test_each_connection_is_in_the_truth(recordings, name):
    """Nothing was on the wire of which the kernels did not speak: each SYN that a host sent is a SYN_SENT of it."""
    out, _ = recordings
    began = {(e.local, e.remote) for e in score.read_truth(out / name / "truth.csv") if e.steps[0].state == "SYN_SENT"}
    syns = set()
    for host in HOSTS:
        for f in pcap.read(out / name / f"{host}.pcap"):
            s = pcap.parse(f.data)
            if s and s.kind == "syn":
                syns.add(((s.src, s.sport), (s.dst, s.dport)))
    assert {s for s in syns if "injected" not in name} <= began


@pytest.mark.parametrize("point", EVERYWHERE)
def test_a_host_teaches_how_long_it_keeps_its_orphans(recordings, point):
    """Its tcp_fin_timeout is 2 s, which the profile does not know; what is learned holds what its kernel did."""
    import tcptrace_fsm

    folder = recordings[0] / "orphans_of_one_host_v4"
    kernel = {e.local[1]: e.steps for e in score.read_truth(folder / "truth.csv") if e.host == "client"}
    trace = tcptrace_fsm.analyze(folder / f"{point}.pcap", learn_timers=True)
    (host,) = trace.summary["timers"]["learned"]
    least, usual, most = host["fin_wait_2"].values()
    assert least <= 2 <= usual < most < 5  # when the script spoke again is as late as the machine is busy
    ended = trace.transitions[trace.transitions["basis"] == "learned"].merge(trace.connections, on="conn_id")
    assert len(ended) == 3
    for row in ended.itertuples():
        assert (row.event, row.side) == ("timeout FIN_WAIT_2", "client")
        (truth,) = (step.time for step in kernel[row.client_port] if step.state == "CLOSED")
        assert row.time_earliest.timestamp() <= truth <= row.time_latest.timestamp()
        assert abs(row.time.timestamp() - truth) < 1


@pytest.fixture(scope="module")
def on_the_bench(tmp_path_factory):
    """One kernel and a script for its peer: one of each kind that a pair of kernels never shows."""
    if reason := runner.missing():
        pytest.skip(reason)
    out = tmp_path_factory.mktemp("bench")
    runner.record_all([REGISTRY[n] for n in SCRIPTED], out, jobs=4, say=lambda _: None)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTED)
def test_the_kernel_on_the_bench_says_the_same(on_the_bench, name):
    """ICMP errors, mapped addresses, a peer that answers within microseconds: the analyser goes the kernel's way."""
    results = score.score_capture(score.API, on_the_bench / name, "kernel")
    assert results
    assert [(r.want, r.got) for r in results if not r.exact] == []


@pytest.fixture(scope="module")
def waited(tmp_path_factory):
    """Applications that sleep for known times, at hand and 40 ms away."""
    if reason := runner.missing():
        pytest.skip(reason)
    out = tmp_path_factory.mktemp("waits")
    specs = [s for s in application_specs(7, each=1) if s.name in ("applications_at_hand_7", "applications_far_7")]
    specs = [dataclasses.replace(s, args={**s.args, "kinds": QUICK_PLAYS}) for s in specs]
    runner.record_all(specs, out, jobs=2, say=lambda _: None)
    return [mark for s in specs for mark in waits.score(out / s.name)]


QUICK_PLAYS = (
    *("server_slow", "server_pauses", "client_slow", "client_thinks", "client_unread", "server_unread"),
    *("nagle", "nagle_of_server", "unanswered", "fast"),
)


@pytest.mark.slow
def test_who_was_waited_for_is_who_slept(waited):
    """At each of the three capture points; a busy machine may add a wait of its own to one connection in ten."""
    for name in ("who", "covered", "responses", "quiet", "cause"):
        wrong = [m for m in waited if not m.right.get(name, True)]
        assert len(wrong) <= sum(name in m.right for m in waited) / 10, (name, wrong)


def test_namespaces_are_gone_after_an_error():
    """Whatever happens inside, nothing is left behind."""
    if reason := runner.missing():
        pytest.skip(reason)
    names = []

    def fail():
        with runner.network() as net:
            names.extend(ns.name for ns in (*net.ns.values(), net.router))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    left = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert len(names) == 3
    assert not [n for n in names if n in left.split()]


def test_parallel_networks_do_not_share_a_number():
    """Two runs at once, here or in two processes, get different addresses."""
    if reason := runner.missing():
        pytest.skip(reason)
    numbers, both = [], threading.Barrier(2)

    def claim():
        with runner.network() as net:
            numbers.append(net.number)
            both.wait(20)

    threads = [threading.Thread(target=claim) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(set(numbers)) == 2


def test_there_are_enough_scenarios():
    """Every module contributes, every scenario says what it plays."""
    assert len(REGISTRY) > 200
    assert all(s.doc for s in REGISTRY.values())


def test_illegal_and_broken_rows_are_found():
    """The check of the truth is one: it sees a gap in a chain, an impossible step, and a contradicting poll."""
    from tests.lab.diag import Entry, Snapshot

    a, z = ("10.0.0.1", 1000), ("10.0.0.2", 80)
    steps = [(1.0, "CLOSED", "SYN_SENT"), (2.0, "ESTABLISHED", "LAST_ACK")]
    rows = [truth.Row(t, "client", a, z, old, new) for t, old, new in steps]
    snap = Snapshot(1.5, 1.51, "client", {(a, z): Entry("ESTABLISHED", 0)})
    said = truth.check(rows, [snap], 9)
    assert said["mismatches"] == 1
    assert len(said["chain_breaks"]) == 2


COMMAND = f"{sys.executable} -m tcptrace_fsm analyze {{pcap}} -o {{out}} -q"


@pytest.fixture(scope="module")
def scores(recordings):
    """The analyser's marks for every capture, by (recording, point)."""
    if not importlib.util.find_spec("tcptrace_fsm"):
        pytest.skip("tcptrace_fsm is not installed here")
    out, _ = recordings
    work = [(n, p) for n, points in QUICK.items() for p in points]
    return {(n, p): score.score_capture(score.API, out / n, p) for n, p in work}


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, points in QUICK.items() if points])
def test_analyser_agrees_with_the_kernel(scores, name):
    """From each capture point the states of both ends, exactly."""
    assert QUICK[name]
    for point in QUICK[name]:
        assert scores[name, point]
        for r in scores[name, point]:
            assert r.exact, f"{point} {r.host}: want {r.want}, got {r.got or r.error}"


def test_kernel_moments_lie_in_the_brackets(scores):
    """[time_earliest, time_latest] holds the kernel's moment for 98 of 100 changes, also on a busy machine."""
    brackets = [r.bracket for rs in scores.values() for r in rs if r.bracket is not None]
    assert sum(brackets) / len(brackets) >= 0.98


def test_command_says_the_same(recordings, scores):
    """The command line and the Python interface give the same states."""
    out, _ = recordings
    name = "close_by_client_v4"
    by_command = score.score_capture(COMMAND, out / name, "router")
    assert [r.got for r in by_command] == [r.got for r in scores[name, "router"]], by_command[0].error


@pytest.mark.parametrize(
    "lasts, told, exact", [(2.0, 0.5, True), (2.0, 0.0, True), (2.0, None, False), (0.5, None, True)]
)
def test_a_fin_wait_2_counts_where_it_is_told_however_brief(lasts, told, exact):
    """Milliseconds that FIN_WAIT_2 lasted, and lasts as it is told (None: it is not)."""

    def steps(middle):
        between = [score.Step(2.0, "FIN_WAIT_2")] if middle is not None else []
        return [score.Step(1.0, "FIN_WAIT_1"), *between, score.Step(2.0 + (middle or 0.0) / 1000, "TIME_WAIT")]

    end = score.Endpoint("client", ("10.0.0.1", 1), ("10.0.0.2", 2), steps(lasts))
    wire = score.Wire(0.9, 9.0, {}, [])
    result = score.Result("r", "client", "client", "a", "b", score.path_of(end.steps, 9.0))
    score.judge(result, end, end.steps, 9.0, wire, {("1", "client"): steps(told)}, (0.9, "1", "client"))
    assert result.exact is exact
