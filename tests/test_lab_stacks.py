"""Other TCP stacks tell their own states, in virtual time: ordinary traffic is right on each of them."""

from __future__ import annotations

import pytest

import tcptrace_fsm
from tests.lab import score
from tests.lab.stacks import build, scenes, twins

pytestmark = pytest.mark.lab

SCENES = {
    "close_client": (),
    "close_server_at_once": (),
    "half_client_3s": (),
    "close_server_28s": (),
    "crossing_0.0": (),
    "abort_client_1.5": (),
    "refused": (),
    "opening_synack_far_1": (),
    "lost_client_fin_far_1": (),
    "mass_quiet": ("slirp",),  # its reset of a listener's connection is answered without end
}


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.parametrize("stack", build.STACKS)
@pytest.mark.parametrize("scene", SCENES)
def test_states_are_those_that_the_stack_tells(stack, scene, tmp_path):
    if reason := build.missing(stack):
        pytest.skip(reason)
    if stack in SCENES[scene]:
        pytest.skip("this stack does not come to rest here")
    scenes.record((stack, stack), scene, tmp_path / scene, 22000 + list(SCENES).index(scene))
    for point in ("client", "router", "server"):
        scored = score.score_capture("api:auto", tmp_path / scene, point)
        assert scored
        for one in scored:
            assert one.exact, (point, one.host, one.want, one.got)


@pytest.mark.parametrize("stack, name", [("lwip", "lwip"), ("gvisor", "gvisor"), ("slirp", "bsd")])
def test_its_syn_bespeaks_it(stack, name, tmp_path):
    if reason := build.missing(stack):
        pytest.skip(reason)
    scenes.record((stack, stack), "close_client", tmp_path, 22100)
    (row,) = tcptrace_fsm.analyze(str(tmp_path / "router.pcap")).connections.itertuples()
    assert row.client_stack == name
    assert row.server_stack in {name, "unknown"}


@pytest.mark.parametrize("pair", [pytest.param(t, id=t.name) for t in twins.TWINS])
def test_twins_look_alike_and_are_not(pair):
    """What docs/accuracy.md says no capture can show: the same frames at the same moments, and other states."""
    if reason := build.missing(pair.stacks[0]):
        pytest.skip(reason)
    first, second = twins.differ(pair.stacks[0], pair)
    assert first != second


def test_a_stack_that_is_not_here_says_why(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LWIP_SOURCE", str(tmp_path))
    monkeypatch.setattr(build, "SLIRP", tmp_path / "libslirp.h")
    monkeypatch.setattr(build, "GVISOR", tmp_path / "tcpip")
    assert all(build.missing(stack) for stack in build.STACKS)
