"""The timers of operating systems: figures in order, and what the user knows better."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.tcp.profiles import PROFILES, Interval, profile


@pytest.mark.parametrize("name", PROFILES)
def test_intervals_are_in_order_and_have_a_source(name):
    chosen = profile(name)
    assert chosen.name == name
    assert chosen.source
    for timer in (chosen.time_wait, chosen.fin_wait_2):
        assert 0 < timer.least <= timer.usual <= timer.most <= 1e9


def test_there_are_those_of_the_command_line():
    assert list(PROFILES) == ["linux", "rfc9293", "bsd", "windows", "lwip", "gvisor", "auto"]


def test_linux_is_the_default_and_waits_a_minute():
    assert profile() is PROFILES["linux"]
    assert profile().time_wait.least == 60


def test_2msl_of_the_rfc_is_four_minutes_and_its_listener_is_no_socket_of_its_own():
    """RFC 9293 3.4.2: MSL is two minutes; 3.3.2 note 1: SYN-RECEIVED goes back to LISTEN."""
    assert set(profile("rfc9293").time_wait) == {240}
    assert [p.name for p in PROFILES.values() if not p.sockets] == ["rfc9293"]


@given(st.sampled_from(list(PROFILES)), st.floats(0, 1e9))
def test_what_the_user_knows_replaces_the_whole_interval_and_nothing_else(name, seconds):
    before = PROFILES[name]
    after = profile(name, time_wait=seconds)
    assert after.time_wait == Interval(seconds, seconds, seconds)
    assert (after.fin_wait_2, after.sockets) == (before.fin_wait_2, before.sockets)
    after = profile(name, fin_timeout=seconds)
    assert after.fin_wait_2 == Interval(seconds, seconds, seconds)
    assert (after.time_wait, after.sockets) == (before.time_wait, before.sockets)
    assert PROFILES[name] is before


@pytest.mark.parametrize("seconds", [-1, -1e-9, 1e9 + 1, float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("option", ["time_wait", "fin_timeout"])
def test_impossible_times_are_refused_by_the_name_of_their_option(option, seconds):
    with pytest.raises(UsageError, match="--" + option.replace("_", "-")):
        profile("linux", **{option: seconds})


def test_an_unknown_profile_is_answered_with_those_that_there_are():
    with pytest.raises(UsageError, match="linux, rfc9293, bsd, windows"):
        profile("solaris")
