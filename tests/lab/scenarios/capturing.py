"""Captures that do not tell everything: begun late, ended early, one direction, frames missing or doubled."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from tests.lab.scenario import FAMILIES, SIDES, scenario

if TYPE_CHECKING:
    from tests.lab.pcap import Frame, Segment
    from tests.lab.scenario import Lab

POINTS = ("client", "router", "server")


def everything(lab: Lab) -> None:
    """A few connections with a request, an answer and each kind of close."""
    listener = lab.server.listen()
    pairs = [lab.connect(listener) for _ in range(6)]
    for i, (c, s) in enumerate(pairs):
        for _ in range(3):
            lab.talk(c, s)
            time.sleep(0.02)
        if i % 3 == 0:
            lab.close_both(c, s, 0.05)
        elif i % 3 == 1:
            lab.close_both(s, c, 0.05)
        else:
            s.shutdown()
            c.drain().close()
    lab.settle(0.3)


@scenario(skip=(2, 4, 12))
def begun_late(lab: Lab, skip: int) -> None:
    """The first frames are not in the captures."""
    everything(lab)
    for point in POINTS:
        lab.edit(point, lambda i, _f, _s: i >= skip)


@scenario(state=("ESTABLISHED", "CLOSE_WAIT", "LAST_ACK"))
def begun_inside(lab: Lab, state: str) -> None:
    """The capture begins when the server is in this state already."""
    a, b = lab.pair()
    lab.talk(a, b)
    if state != "ESTABLISHED":
        a.shutdown()
        b.drain()
        time.sleep(0.2)
    if state == "LAST_ACK":
        lab.lose("ack", "client", "near", count=2)
        b.close()
        time.sleep(0.1)
    begin = time.time()
    for point in POINTS:
        lab.edit(point, lambda _i, f, _s: f.time >= begin)
    time.sleep(0.1)
    if state == "ESTABLISHED":
        lab.talk(a, b)
        lab.close_both(a, b)
    elif state == "CLOSE_WAIT":
        b.send()
        time.sleep(0.05)
        b.close()
        a.drain().close()
    lab.settle(1)


@scenario(of=SIDES, family=FAMILIES)
def one_direction(lab: Lab, of: str) -> None:
    """Only what one host sent is in the captures."""
    everything(lab)
    ip = lab.host(of).ip

    def keep(_i: int, _f: Frame, s: Segment | None) -> bool:
        return s is not None and s.src == ip

    for point in POINTS:
        lab.edit(point, keep)


@scenario(percent=(5, 15))
def frames_missing(lab: Lab, percent: int) -> None:
    """The capture itself missed frames that the hosts got."""
    everything(lab)
    rng = random.Random(percent)
    for point in POINTS:
        lab.edit(point, lambda _i, _f, _s: rng.random() * 100 >= percent)


@scenario(kind=("synack", "fin", "ack"))
def kind_missing(lab: Lab, kind: str) -> None:
    """No segment of this kind is in the captures."""
    everything(lab)
    for point in POINTS:
        lab.edit(point, lambda _i, _f, s: s is None or s.kind != kind)


@scenario()
def ended_early(lab: Lab) -> None:
    """The captures end in the middle of everything."""
    everything(lab)
    end = time.time() - 0.7
    for point in POINTS:
        lab.edit(point, lambda _i, f, _s: f.time <= end)
