"""Twins: two courses of events that leave the same frames at a capture point, byte for byte and at the same moments.

What an end went through differs, so no tool can tell it from that capture: the proof of what docs/accuracy.md lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.lab.stacks import build, scenes
from tests.lab.stacks.world import CLIENT, SERVER, Fault, Way, World

if TYPE_CHECKING:
    from collections.abc import Callable

PORT = 21000
LATE = 0.95  # seconds: behind the exchange of data, before the close


class Course(NamedTuple):
    """What is played, over which way, and up to when the capture goes."""

    play: Callable[[scenes.Play], float]
    way: Callable[[], Way] = Way
    end: float = 0.0  # 0: as long as the scene takes


class Twins(NamedTuple):
    """Two courses, the point that sees no difference, and the host whose states differ."""

    name: str
    first: Course
    second: Course
    host: str
    points: tuple[str, ...]
    stacks: tuple[str, ...] = ("lwip", "slirp")  # gVisor draws its numbers by chance


def lost(sender: str, kind: str, stage: str, times: int = 1, after: float = 0.0) -> Callable[[], Way]:
    """A way on which the first of these get lost."""
    return lambda: Way(faults=[Fault(sender, kind, 1, times, "lose", stage, after=after)])


def only_abort(p: scenes.Play) -> float:
    """The client aborts; the server's application never looks."""
    p.exchange()
    p.do(1.5, CLIENT, "abort")
    return 5


def shut_window(close_at: float) -> Callable[[scenes.Play], float]:
    """The server closes while more is queued than the client has room for."""

    def play(p: scenes.Play) -> float:
        p.exchange(down=0)
        p.do(0.35, CLIENT, "pause")
        p.do(0.5, SERVER, "send", 11000)
        p.do(0.6, SERVER, "send", 11000)
        p.do(close_at, SERVER, "close")
        return 4

    return play


AT_ONCE = scenes.closes(CLIENT, 0.05)
TWINS = [
    Twins(
        "the ACK of the FIN is lost behind, and the peer's FIN acknowledges too",
        Course(AT_ONCE),
        Course(AT_ONCE, lost(SERVER, "ack", "far", after=LATE)),
        CLIENT,
        ("router", SERVER),
    ),
    Twins(
        "a last RST is lost behind",
        Course(only_abort),
        Course(only_abort, lost(CLIENT, "rst", "far")),
        SERVER,
        (CLIENT, "router"),
    ),
    Twins(
        "the last ACK is lost behind, and the capture ends before the FIN comes again",
        Course(AT_ONCE, end=2.0),
        Course(AT_ONCE, lost(CLIENT, "ack", "far", after=LATE), end=2.0),
        SERVER,
        (CLIENT, "router"),
    ),
    Twins(
        "FINs without an answer: they do not arrive, or the answers do not get here",
        Course(scenes.vanished(CLIENT), lost(CLIENT, "any", "near", 999, after=0.9)),
        Course(scenes.vanished(CLIENT), lost(SERVER, "any", "far", 999, after=0.9)),
        CLIENT,
        ("router", SERVER),
    ),
    Twins(
        "SYNs without an answer: they do not arrive, or the SYN+ACKs do not get here",
        Course(AT_ONCE, lost(CLIENT, "syn", "far", 999)),
        Course(AT_ONCE, lost(SERVER, "synack", "near", 999)),
        SERVER,
        (CLIENT, "router"),
    ),
    Twins(
        "a FIN with the ACK of another: its sender's first, its ACK lost before, or its second, the first lost before",
        Course(scenes.closes(CLIENT, 0.0), lost(SERVER, "ack", "near", after=LATE)),
        Course(scenes.crossing(0.005), lost(SERVER, "fin", "near")),
        SERVER,
        (CLIENT, "router"),
        ("slirp",),
    ),
    Twins(
        "the ACK of the FIN comes before the peer's FIN, or has been overtaken by it",
        Course(AT_ONCE),
        Course(AT_ONCE, lambda: Way(faults=[Fault(SERVER, "ack", 1, 1, "hold", by=0.1, after=LATE)])),
        CLIENT,
        (SERVER,),
        ("lwip",),  # libslirp answers the ACK that comes late
    ),
    Twins(
        "CLOSE behind a shut window",
        Course(shut_window(0.7)),
        Course(shut_window(2.0)),
        SERVER,
        (CLIENT, "router", SERVER),
        ("lwip",),
    ),
]


def play(stack: str, course: Course) -> World:
    """Play a course between two hosts with this stack."""
    world = World((stack, stack), course.way(), seed=1)
    try:
        until = course.play(scenes.Play(world, PORT))
        world.run(course.end or until)
    finally:
        world.close()
    return world


def states(world: World, host: str) -> list[tuple[int, str]]:
    """What an end went through, and when."""
    return [(row[0], row[5]) for row in world.truth if row[1] == host]


def differ(stack: str, twins: Twins) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """The states of both courses, after making sure that they look alike; ValueError where they do not."""
    first, second = play(stack, twins.first), play(stack, twins.second)
    for point in twins.points:
        if not first.frames[point] or first.frames[point] != second.frames[point]:
            raise ValueError(f"{stack}, {twins.name}: not the same frames at {point}")
    return states(first, twins.host), states(second, twins.host)


def main() -> int:
    """Play all twins on each stack that is here and draws no number by chance; say what both went through."""
    failed = 0
    for stack in ("lwip", "slirp"):
        if reason := build.missing(stack):
            print(f"{stack}: {reason}")
            failed += 1
            continue
        for twins in TWINS:
            if stack not in twins.stacks:
                continue
            first, second = differ(stack, twins)
            print(f"{stack}, {twins.host}: {twins.name}")
            for told in (first, second):
                print("   ", *(f"{state}@{ns / 1e9:.3f}" for ns, state in told))
    return failed
