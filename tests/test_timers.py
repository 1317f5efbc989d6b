"""What hosts teach of their timers: each piece of evidence, each trap, and the same however work is shared."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcptrace_fsm.findings.evidence import CLOSED_BY_CLIENT, CLOSED_BY_SERVER, HANDSHAKE
from tcptrace_fsm.runs.timers import COARSE, WIDEST, Shown, narrowed, taught
from tcptrace_fsm.tcp.profiles import Interval, profile
from tests.learning import CLIENT_HOST, EVIDENCE, HALF_CLOSED, SECOND, SERVER_HOST, TIMESTAMPS, Case, at_once, shown_by

TRAPS = [
    Case(
        "never_kept",
        CLOSED_BY_CLIENT
        + """
            1.230 < F. 1:1(0)     ack 102
            1.231 > R  102:102(0)
        """,
    ),
    Case(
        "assassinated",
        CLOSED_BY_CLIENT
        + """
            9.000 < R  2:2(0)
            20.00 < F. 1:1(0)     ack 102
            20.01 > R  102:102(0)
        """,
    ),
    Case(
        "alive_and_then_assassinated",
        CLOSED_BY_CLIENT
        + """
            8.000 < F. 1:1(0)     ack 102
            8.010 > .  102:102(0) ack 2
            9.000 < R  2:2(0)
            20.00 < F. 1:1(0)     ack 102
            20.01 > R  102:102(0)
        """,
        alive=(6.9, 6.98),
    ),
    Case(
        "an_rst_that_answers_something_else",
        CLOSED_BY_CLIENT
        + """
            20.00 < F. 1:1(0)     ack 102
            20.01 > R  90:90(0)
        """,
    ),
    Case(
        "an_rst_long_after",
        CLOSED_BY_CLIENT
        + """
            20.00 < F. 1:1(0)     ack 102
            29.00 > R  102:102(0)
        """,
    ),
    Case(
        "an_rst_of_its_own_accord",
        CLOSED_BY_CLIENT
        + """
            20.00 < F. 1:1(0)     ack 102
            20.01 > R. 102:102(0) ack 1
        """,
    ),
    Case(
        "a_reply_with_ack",
        CLOSED_BY_CLIENT
        + """
            20.00 < F. 1:1(0)     ack 102
            20.01 > R. 102:102(0) ack 2
        """,
        gone=(19, 19.01),
    ),
    Case(
        "linux_gives_way_to_a_higher_sequence_number",
        CLOSED_BY_SERVER
        + """
            isn 900000 70000
            45.00 > S  0:0(0)
            45.01 < S. 0:0(0)     ack 1
            45.02 > .  1:1(0)     ack 1
        """,
        host=SERVER_HOST,
    ),
    Case(
        "and_to_a_newer_timestamp",
        TIMESTAMPS
        + """
            isn 500 70000
            45.00 > S  0:0(0)             <mss 1460,ts 45100/0>
            45.01 < S. 0:0(0)     ack 1   <mss 1460,ts 5/45100>
            45.02 > .  1:1(0)     ack 1   <ts 45101/5>
        """,
        host=SERVER_HOST,
    ),
    Case(
        "a_client_may_use_its_own_port_again_after_a_second",
        CLOSED_BY_CLIENT
        + """
            isn 500 70000
            9.000 > S  0:0(0)
            9.010 < S. 0:0(0)     ack 1
            9.020 > .  1:1(0)     ack 1
        """,
    ),
    Case(
        "a_syn_that_was_taken_only_when_repeated_may_have_killed_it",
        CLOSED_BY_SERVER
        + """
            isn 500 70000
            45.00 > S  0:0(0)
            46.00 > S  0:0(0)
            46.01 < S. 0:0(0)     ack 1
            46.02 > .  1:1(0)     ack 1
        """,
        host=SERVER_HOST,
    ),
    Case(
        "no_orphan_takes_data_at_any_age",
        HALF_CLOSED
        + """
            16.00 < P. 1:11(10)   ack 102
            16.01 > R  102:102(0)
        """,
    ),
    Case(
        "nor_a_fin_with_data",
        HALF_CLOSED
        + """
            16.00 < FP. 1:11(10)  ack 102
            16.01 > R  102:102(0)
        """,
    ),
    Case(
        "an_ack_from_fin_wait_2_shows_no_timer",
        HALF_CLOSED
        + """
            90.00 < F. 1:1(0)     ack 102
            90.01 > .  102:102(0) ack 2
        """,
    ),
    Case(
        "killed_at_its_close",
        HALF_CLOSED
        + """
            1.300 < F. 1:1(0)     ack 102
            1.310 > R  102:102(0)
        """,
    ),
    Case(
        "nothing_shows_that_it_began",
        HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < F. 1:1(0)     ack 102
            20.00 < F. 1:1(0)     ack 102
            20.01 > R  102:102(0)
        """,
    ),
    Case(
        "begun_before_the_capture",
        """
            1.010 < F. 1:1(0)     ack 102
            1.020 > .  102:102(0) ack 2
            20.00 < F. 1:1(0)     ack 102
            20.01 > R  102:102(0)
        """,
    ),
    Case(
        "the_captures_clock_jumped",
        """
            0.000 > S  0:0(0)             <mss 1460,ts 100/0>
            0.010 < S. 0:0(0)     ack 1   <mss 1460,ts 900/100>
            0.110 > .  1:1(0)     ack 1   <ts 210/900>
            1.000 > F. 1:1(0)     ack 1   <ts 1100/900>
            1.010 < F. 1:1(0)     ack 2   <ts 1900/1100>
            1.100 > .  2:2(0)     ack 2   <ts 1200/1900>
            90.00 < F. 1:1(0)     ack 2   <ts 2900/1200>
            90.09 > .  2:2(0)     ack 2   <ts 2200/2900>
        """,
    ),
    Case("closed_as_usual", CLOSED_BY_CLIENT + "end 100"),
]


@pytest.mark.parametrize("case", EVIDENCE + TRAPS, ids=lambda case: case.name)
def test_what_one_conversation_shows(case):
    shown = shown_by(at_once(case.text))
    found = shown.pop(case.host, Shown())
    assert shown == {}, "it shows nothing of its peer"
    for bounds, ages in ((case.alive, (found.alive,)), (case.gone, found.gone), (case.let_go, found.let_go)):
        if bounds is None:
            assert not any(ages), found
        else:
            (age,) = ages
            assert bounds[0] * SECOND <= age <= bounds[1] * SECOND, found


def test_the_cases_stand_for_all_kinds_of_evidence():
    assert {field for case in EVIDENCE for field in ("alive", "gone", "let_go") if getattr(case, field)} == {
        "alive",
        "gone",
        "let_go",
    }


# --- what it comes to -------------------------------------------------------------------------------------------------


def seconds(*ages: float) -> tuple[int, ...]:
    return tuple(int(age * SECOND) for age in ages)


LINUX, WINDOWS = (profile(name).time_wait for name in ("linux", "windows"))


@pytest.mark.parametrize(
    "usual, alive, gone, expected",
    [
        (LINUX, 0, (), None),
        # as slack as a timer may be, both agree with the profile and narrow nothing
        (LINUX, 61.9, (60.1, 60.2), None),
        (LINUX, 20, (70, 90), None),
        # longer than the profile's: no second opinion is needed, for nobody answers who is gone
        (LINUX, 90, (), (80, 90, 240)),
        # shorter: one connection may have other reasons
        (LINUX, 0, (20,), None),
        (LINUX, 0, (20, 24), (1, 24, 27)),
        (LINUX, 18, (20, 24), (16, 24, 27)),
        # within the profile's: it is cut
        (WINDOWS, 0, (54, 64), (30, 64, 72)),
        (WINDOWS, 45, (54, 64), (40, 64, 72)),
        (WINDOWS, 180, (), (160, 180, 240)),
        (WINDOWS, 45, (), (40, 120, 240)),
        (WINDOWS, 32, (), None),
        # alive for a little longer than others: as coarse as timers are
        (WINDOWS, 70, (60, 64), (62.222, 70, 72)),
        # alive for much longer: it contradicts itself
        (LINUX, 90, (20, 24), None),
        (WINDOWS, 90, (54, 64), None),
        (LINUX, 300, (), (266.667, 266.667, 266.667)),
    ],
)
def test_an_interval_is_cut_by_what_was_shown(usual, alive, gone, expected):
    found = narrowed(usual, int(alive * SECOND), seconds(*gone))
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-3))


@given(
    st.sampled_from([LINUX, WINDOWS, WIDEST, Interval(5, 5, 5)]),
    st.floats(0, 300),
    st.lists(st.floats(5, 300), max_size=2).map(sorted),
)
def test_an_interval_stays_one_and_holds_what_was_shown(usual, alive, gone):
    found = narrowed(usual, int(alive * SECOND), seconds(*gone))
    if found is None:
        return
    assert 0 <= found.least <= found.usual <= found.most
    assert found.most * (1 + COARSE) + 1e-6 >= alive
    if len(gone) == 2:
        assert found.least <= gone[1] * (1 + COARSE) + 1e-6


def test_a_host_that_contradicts_itself_keeps_the_profiles_and_is_told_of():
    known, said = taught(profile(), {CLIENT_HOST: Shown(*seconds(90), seconds(20, 24))})
    assert known.hosts == {}
    assert said == {"learned": [], "contradictory": [{"host": "10.0.0.1", "alive_at": 90.0, "gone_at": 24.0}]}


def test_what_the_user_has_given_is_not_learned():
    shown = {CLIENT_HOST: Shown(0, seconds(20, 24), seconds(9, 10))}
    known, said = taught(profile(time_wait=30), shown)
    assert known.of(CLIENT_HOST).time_wait == Interval(30, 30, 30)
    assert [set(host) for host in said["learned"]] == [{"host", "fin_wait_2"}]
    known, _ = taught(profile(fin_timeout=30), shown)
    assert known.of(CLIENT_HOST).fin_wait_2 == Interval(30, 30, 30)
    assert known.of(CLIENT_HOST).time_wait.most == pytest.approx(27)


def test_hosts_that_show_nothing_keep_the_profile():
    known, _ = taught(profile(), {CLIENT_HOST: Shown(seconds(90)[0])})
    assert known.of(SERVER_HOST) == known
    assert known.of(CLIENT_HOST).fin_wait_2 == known.fin_wait_2
    assert known.longest == 240
