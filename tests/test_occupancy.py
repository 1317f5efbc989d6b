"""Endpoints in each state over time: the sweep counts what netstat lists, at any moment."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tcptrace_fsm as tf
from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.tcp.machine import Event, State
from tcptrace_fsm.tcp.profiles import PROFILES
from tcptrace_fsm.views import netstat
from tcptrace_fsm.views.occupancy import COUNTED, Sweep, grid

from . import fakes
from .fakes import SECOND, START

FOLDER = Path(__file__).parents[1] / "sample_pcaps"
SAMPLES = sorted(p for p in FOLDER.iterdir() if p.suffix in {".pcap", ".pcapng"})
HOSTS = ("10.0.0.1", "10.0.0.2", "2001:db8::1")


@st.composite
def finished(draw):
    """Connections of few hosts, with chains of changes at few times, some dated before the first segment."""
    connections, changes = [], []
    states = st.sampled_from(list(State))
    for conn_id in range(draw(st.integers(0, 5))):
        six = draw(st.booleans())
        ends = (HOSTS[2], HOSTS[2]) if six else draw(st.permutations(HOSTS[:2]))
        last = [draw(states), draw(states)]
        began = START + draw(st.integers(0, 3)) * SECOND
        for side in (0, 1):
            times = sorted(draw(st.lists(st.integers(-1, 8), max_size=5)))
            state = draw(states)
            for time in times:
                target = draw(states)
                changes.append(fakes.transition(conn_id, side, START + time * SECOND, state, target, Event.SND_SYN))
                state = last[side] = target
        words = {k.C_FIRST_TIME: began, k.C_CLIENT_STATE: int(last[0]), k.C_SERVER_STATE: int(last[1])}
        ports = (40000 + conn_id, draw(st.sampled_from((80, 443))))
        connections.append(fakes.connection(conn_id, *ends, ports, words))
    cut = draw(st.integers(0, len(connections)))  # an engine hands them out in parts
    parts = [(connections[:cut], 0, cut), (connections[cut:], cut, len(connections))]
    return [fakes.finished(some, [c for c in changes if low <= c[0] < high]) for some, low, high in parts]


def sample(name):
    return tf.analyze(str(FOLDER / name))


def listed(done, at, host):
    """What netstat lists, counted."""
    found = netstat.sockets(done, at, PROFILES["linux"], host=host)
    return {name: sum(s.state == name for s in found) for name in COUNTED}


@settings(deadline=None)
@given(finished(), st.sampled_from((None, *HOSTS)), st.lists(st.integers(-4, 20), max_size=8))
def test_counts_are_those_of_netstat_at_any_moment(done, host, halves):
    times = [START + half * SECOND // 2 for half in sorted(halves)]
    rows = Sweep(done).frame(host=host, at=pd.array(times, dtype="int64").to_numpy())
    assert [dict(row) for _, row in rows.iterrows()] == [listed(done, at, host) for at in times]


@pytest.mark.slow
@settings(deadline=None)
@given(finished(), st.sampled_from((None, *HOSTS)))
def test_a_row_holds_until_the_next(done, host):
    rows = Sweep(done).frame(host=host)
    for time, row in rows.iterrows():
        assert dict(row) == listed(done, time.value, host)
        assert dict(row) == listed(done, time.value + SECOND // 2, host), "changes are whole seconds apart"
    assert (rows.to_numpy() >= 0).all()


@pytest.mark.slow
@settings(deadline=None)
@given(finished())
def test_hosts_add_up(done):
    sweep = Sweep(done)
    by_host = sweep.frame_by_host()
    assert len(sweep.hosts) or not any(over.transition_count for over in done)
    for host in sweep.hosts:
        own = by_host.loc[host] if host in by_host.index else sweep.frame(host=host)
        pd.testing.assert_frame_equal(own, sweep.frame(host=host), check_freq=False)


@pytest.mark.slow
@pytest.mark.parametrize("path", SAMPLES, ids=lambda p: p.name)
def test_real_captures_count_as_netstat_shows(path):
    trace = tf.analyze(str(path))
    rows = trace.occupancy()
    assert len(rows)
    assert rows.index[-1].value <= trace.span[1]
    for time, row in rows.iterrows():
        shown = trace.at(time)["state"].value_counts().to_dict()
        assert {name: n for name, n in dict(row).items() if n} == shown


def test_a_stuck_close_stays_and_timers_end_what_they_end():
    stuck = sample("stuck_fin_wait_2.pcap").occupancy(step=1)
    assert stuck["CLOSE_WAIT"].tolist()[1:] == [1] * (len(stuck) - 1)
    expired = sample("fin_wait_2_expired.pcap").occupancy()
    assert expired["FIN_WAIT_2"].max() == 1
    assert expired["FIN_WAIT_2"].iloc[-1] == 0


def test_of_one_host():
    trace = sample("normal_close.pcap")
    assert trace.occupancy(host="10.0.0.1")["LISTEN"].max() == 0
    assert trace.occupancy(host="10.0.0.2")["LISTEN"].max() == 1
    assert not len(trace.occupancy(host="10.9.9.9"))
    assert trace.occupancy(by_host=True).index.names == ["host", "time"]


def test_what_comes_after_the_captures_end_is_not_counted():
    change = fakes.transition(0, 0, START + 9 * SECOND, State.ESTABLISHED, State.FIN_WAIT_1)
    done = [fakes.finished([fakes.connection()], [change])]
    assert Sweep(done).frame()["FIN_WAIT_1"].tolist() == [0, 1]
    assert Sweep(done, START + 8 * SECOND).frame()["ESTABLISHED"].tolist() == [1]


def test_nothing_gives_no_rows():
    assert Sweep([]).frame().shape == (0, len(COUNTED))
    assert Sweep([]).frame_by_host().shape == (0, len(COUNTED))
    assert not len(grid((None, None), 1))


@pytest.mark.parametrize("step", [0, -1, float("nan"), float("inf"), 1e-9])
def test_a_step_is_a_length_of_time(step):
    with pytest.raises(UsageError, match="step"):
        grid((START, START + 3600 * SECOND), step)


def test_by_host_goes_alone():
    with pytest.raises(UsageError, match="by_host"):
        sample("normal_close.pcap").occupancy(step=1, by_host=True)
