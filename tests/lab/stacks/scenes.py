"""What is played between two stacks: closes of all kinds, with what may get lost, held up, doubled or forged."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING

from tests.lab import pcap
from tests.lab.stacks.world import ADDRESS, CLIENT, MAC, OTHER, SECOND, SERVER, Fault, Way, World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PORT = 40001


class Play:
    """A world with a listening server, and connections named by their client's port."""

    def __init__(self, world: World, server_port: int) -> None:
        self.world, self.port = world, server_port
        world.at(0, partial(world.do, SERVER, f"listen {server_port} 0 0"))

    def ends(self, host: str, client_port: int) -> str:
        """The two ports as a host names a connection."""
        return f"{client_port} {self.port}" if host == CLIENT else f"{self.port} {client_port}"

    def do(self, at: float, host: str, word: str, size: int = 0, client_port: int = PORT) -> None:
        """A call of an application."""
        self.world.at(at, partial(self.world.do, host, f"{word} {self.ends(host, client_port)} {size}"))

    def answer(self, host: str, to: str, word: str, delay: float, client_port: int = PORT) -> None:
        """A call that follows `open` or `eof` after a delay."""
        world = self.world
        world.when(host, to, client_port, lambda: self.do(world.now / SECOND + delay, host, word, 0, client_port))

    def exchange(self, at: float = 0.1, up: int = 100, down: int = 300, client_port: int = PORT) -> None:
        """Connect, ask, be answered."""
        self.do(at, CLIENT, "connect", 0, client_port)
        self.do(at + 0.2, CLIENT, "send", up, client_port)
        self.do(at + 0.3, SERVER, "send", down, client_port)

    def forge(self, at: float, to: str, flags: int, shift: int = 0) -> None:
        """Send a segment in the other end's name, `shift` beyond what it sent last."""
        self.world.at(at, lambda: self._forge(to, flags, shift))

    def _forge(self, to: str, flags: int, shift: int) -> None:
        sender = OTHER[to]
        own = [pcap.parse(f.data) for f in self.world.frames[sender]]
        last = [s for s in own if s and s.src == ADDRESS[sender] and s.dport in (PORT, self.port)][-1]
        ports = ((last.src, last.sport), (last.dst, last.dport))
        frame = pcap.build((MAC[sender], MAC[to]), *ports, flags, last.next + shift, last.ack)
        self.world.inject(to, frame)


Scene = tuple[Way, "Callable[[Play], float]"]


def closes(first: str, delay: float, *, half: bool = False) -> Callable[[Play], float]:
    """One end closes (or shuts down) at 1 s, the other `delay` after it has heard of it."""

    def play(p: Play) -> float:
        p.exchange()
        p.do(1.0, first, "shut" if half else "close")
        p.answer(OTHER[first], "eof", "close", delay)
        return 20 + delay

    return play


def crossing(gap: float) -> Callable[[Play], float]:
    """Both close at once."""

    def play(p: Play) -> float:
        p.exchange()
        p.do(1.0, CLIENT, "close")
        p.do(1.0 + gap, SERVER, "close")
        return 20

    return play


def aborts(who: str, moment: float) -> Callable[[Play], float]:
    """One end aborts at a moment; the other closes when it hears of it, or at 6 s."""

    def play(p: Play) -> float:
        p.exchange()
        p.do(moment, who, "abort")
        p.answer(OTHER[who], "eof", "close", 0.1)
        p.do(6.0, OTHER[who], "close")
        return 20

    return play


def resets(to: str, shift: int, moment: float) -> Callable[[Play], float]:
    """A forged RST, and a close 7 s later."""

    def play(p: Play) -> float:
        p.exchange()
        if moment > 1:
            p.do(1.0, CLIENT, "close")
            p.answer(SERVER, "eof", "close", 0.05)
        p.forge(moment, to, pcap.RST, shift)
        p.do(8.0, OTHER[to], "close")
        p.answer(to, "eof", "close", 0.1)
        return 20

    return play


def late(p: Play) -> float:
    """The client has closed; the server sends more data before it closes too."""
    p.exchange()
    p.do(1.0, CLIENT, "close")
    p.do(2.0, SERVER, "send", 3000)
    p.do(2.1, SERVER, "close")
    return 20


def unread(p: Play) -> float:
    """The client closes without having read."""
    p.exchange(down=0)
    p.do(0.35, CLIENT, "pause")
    p.do(0.5, SERVER, "send", 2000)
    p.do(1.0, CLIENT, "close")
    p.answer(SERVER, "eof", "close", 0.2)
    return 20


def zero_window(p: Play) -> float:
    """A FIN behind data for which there is no room."""
    p.exchange(down=0)
    p.do(0.35, CLIENT, "pause")
    p.do(0.5, SERVER, "send", 11000)
    p.do(0.6, SERVER, "send", 11000)
    p.do(0.7, SERVER, "close")
    p.do(6.0, CLIENT, "abort")
    return 20


def refused(p: Play) -> float:
    """Nobody listens."""
    p.world.at(0.1, partial(p.world.do, CLIENT, f"connect {PORT} {p.port + 1} 0"))
    return 5


def reused(gap: float) -> Callable[[Play], float]:
    """The same four-tuple again, after a close by the server (client's end is free) or the client."""

    def play(p: Play) -> float:
        p.exchange()
        p.do(1.0, SERVER, "close")
        p.answer(CLIENT, "eof", "close", 0.05)
        p.exchange(2.0 + gap)
        p.do(3.0 + gap, CLIENT, "close")
        p.answer(SERVER, "eof", "close", 0.05)
        return 20 + gap

    return play


def vanished(who: str) -> Callable[[Play], float]:
    """One end is cut off at 0.9 s; the other sends, then closes."""

    def play(p: Play) -> float:
        p.exchange()
        p.do(1.0, OTHER[who], "send", 500)
        p.do(2.0, OTHER[who], "close")
        return 90

    return play


def mass(seed: int) -> Callable[[Play], float]:
    """Many connections whose applications do what comes to their minds."""

    def play(p: Play) -> float:
        chance = p.world.chance
        for n in range(40):
            port, at = 41000 + n, 0.1 + 0.25 * n
            p.exchange(at, chance.choice((0, 100, 4000)), chance.choice((0, 300, 9000)), port)
            first = chance.choice((CLIENT, SERVER))
            end = at + chance.choice((0.0, 0.25, 0.5, 0.5, 1.0, 2.0))
            p.do(end, first, chance.choice(("close", "close", "close", "shut", "abort")), 0, port)
            other, delay = OTHER[first], chance.choice((0.0, 0.0, 0.01, 0.3, 3.0))
            p.answer(other, "eof", chance.choice(("close", "close", "close", "abort")), delay, port)
            if chance.random() < 0.2:
                p.do(end + chance.choice((0.0, 0.002, 0.01)), other, "close", 0, port)
        return 40

    return play


def lossy(sender: str, kind: str, stage: str, times: int = 1) -> Way:
    """The first of these get lost."""
    return Way(faults=[Fault(sender, kind, 1, times, "lose", stage)])


def by_chance(seed: int) -> Scene:
    """One connection that closes somehow, over some way, with up to three faults."""
    chance = Random(f"scene {seed}")
    who = chance.choice((CLIENT, SERVER))
    delay = chance.choice((0.0, 0.0, 0.002, 0.05, 0.4, 3.0, 28.0))
    playing = chance.choice(
        (
            closes(who, delay),
            closes(who, delay),
            closes(who, delay),
            closes(who, delay, half=True),
            crossing(chance.choice((0.0, 0.001, 0.004, -0.004, 0.009, -0.009, 0.02))),
            crossing(chance.choice((0.0, 0.001, 0.004, -0.004, 0.009, -0.009, 0.02))),
            aborts(who, chance.choice((0.15, 0.45, 1.5))),
            resets(who, chance.choice((0, 0, 300, 90000)), chance.choice((0.9, 1.02, 3.0))),
            late,
            reused(chance.choice((0.5, 3.0, 70.0))),
        )
    )
    faults = []
    for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 3))):
        kind = chance.choice(("syn", "synack", "fin", "fin", "fin", "data", "ack", "ack", "rst"))
        first = chance.choice((1, 1, 1, 2))
        action, stage = chance.choice(("lose", "lose", "hold", "copy")), chance.choice(("near", "far"))
        by, after = chance.choice((0.003, 0.03, 0.3, 2.2)), chance.choice((0.0, 0.95)) if kind == "ack" else 0.0
        last = first + chance.choice((0, 0, 0, 1))
        faults.append(Fault(chance.choice((CLIENT, SERVER)), kind, first, last, action, stage, by, after))
    near, far = chance.choice(((0.002, 0.008), (0.0001, 0.02), (0.02, 0.0001), (0.03, 0.05), (0.0004, 0.0006)))
    return Way(near, far, chance.choice((0.0, 0.0, 0.004)), faults=faults), playing


def scenes(seed: int = 0, by_chance_only: int = 0) -> dict[str, Scene]:
    """All of them by name; what is left to chance is another time by another seed. Or so many made by chance."""
    if by_chance_only:
        return {f"chance_{seed + n}": by_chance(seed + n) for n in range(by_chance_only)}
    found: dict[str, Scene] = {}
    plain = Way
    for who in (CLIENT, SERVER):
        found[f"close_{who}"] = plain(), closes(who, 0.05)
        found[f"close_{who}_at_once"] = plain(), closes(who, 0.0)
        for delay in (3.0, 28.0, 70.0, 140.0):
            found[f"close_{who}_{delay:.0f}s"] = plain(), closes(who, delay)
        found[f"half_{who}_3s"] = plain(), closes(who, 3.0, half=True)
        found[f"half_{who}_70s"] = plain(), closes(who, 70.0, half=True)
        for moment in (0.45, 1.5):
            found[f"abort_{who}_{moment}"] = plain(), aborts(who, moment)
        found[f"abort_{who}_lost"] = Way(faults=[Fault(who, "rst", 1, 1)]), aborts(who, 1.5)
        for shift in (0, 700, 200000):
            found[f"rst_to_{who}_{shift}"] = plain(), resets(who, shift, 0.9)
        found[f"rst_to_{who}_time_wait"] = plain(), resets(who, 0, 3.0)
        found[f"vanished_{who}"] = Way(faults=[Fault(who, "any", 1, 999, "lose", "near", after=0.9)]), vanished(who)
        for stage in ("near", "far"):
            for kind in ("fin", "data", "ack"):
                for times in (1, 2):
                    way = lossy(who, kind, stage, times)
                    found[f"lost_{who}_{kind}_{stage}_{times}"] = way, closes(CLIENT, 0.05)
                    way = lossy(who, kind, stage, times)
                    found[f"lost_{who}_{kind}_{stage}_{times}_server_first"] = way, closes(SERVER, 0.05)
            cut = Way(faults=[Fault(who, "ack", 1, 1, "lose", stage, after=1.0)])
            found[f"lost_{who}_ack_of_fin_{stage}"] = cut, closes(OTHER[who], 2.0)
            cut = Way(faults=[Fault(who, "ack", 1, 1, "lose", stage, after=1.0)])
            found[f"lost_{who}_last_ack_{stage}"] = cut, closes(who, 0.0)
            cut = Way(faults=[Fault(who, "ack", 1, 2, "lose", stage, after=1.0)])
            found[f"lost_{who}_last_acks_{stage}"] = cut, closes(who, 0.0)
        for kind in ("fin", "ack", "data"):
            for by in (0.03, 2.2):
                way = Way(faults=[Fault(who, kind, 1, 1, "copy", by=by, after=0.9 if kind == "ack" else 0)])
                found[f"copy_{who}_{kind}_{by}"] = way, closes(CLIENT, 0.05)
                way = Way(faults=[Fault(who, kind, 1, 1, "hold", by=by, after=0.9 if kind == "ack" else 0)])
                found[f"held_{who}_{kind}_{by}"] = way, closes(CLIENT, 0.05)
        found[f"crossing_{who}_fin_lost"] = lossy(who, "fin", "far"), crossing(0.0)
        found[f"crossing_{who}_fin_lost_near"] = lossy(who, "fin", "near"), crossing(0.0)
    for stage in ("near", "far"):
        for kind, sender in (("syn", CLIENT), ("synack", SERVER), ("ack", CLIENT)):
            for times in (1, 3, 9):
                way = lossy(sender, kind, stage, times)
                found[f"opening_{kind}_{stage}_{times}"] = way, closes(CLIENT, 0.05)
    for kind, sender in (("syn", CLIENT), ("synack", SERVER)):
        for by in (0.03, 2.2):
            found[f"copy_{kind}_{by}"] = Way(faults=[Fault(sender, kind, 1, 1, "copy", by=by)]), closes(CLIENT, 0.05)
            found[f"held_{kind}_{by}"] = Way(faults=[Fault(sender, kind, 1, 1, "hold", by=by)]), closes(CLIENT, 0.05)
    for gap in (0.0, 0.002, -0.002, 0.006):
        found[f"crossing_{gap}"] = plain(), crossing(gap)
    found |= {"late_data": (plain(), late), "unread": (plain(), unread), "zero_window": (plain(), zero_window)}
    found |= {"refused": (plain(), refused), "reused_1": (plain(), reused(1.0)), "reused_15": (plain(), reused(15.0))}
    found["reused_130"] = plain(), reused(130.0)
    for n in range(1, 5):
        found[f"mass_{n}"] = Way(loss=0.02 * n, jitter=0.001 * n, doubling=0.005 * n), mass(n + 100 * seed)
    found["mass_quiet"] = plain(), mass(9 + 100 * seed)
    found["mass_reorder"] = Way(jitter=0.012, doubling=0.01), mass(10 + 100 * seed)
    if seed:
        chance = Random(seed)
        for way, _ in found.values():
            shorter = chance.choice((0.1, 0.5, 1.0, 1.0, 2.0, 5.0))
            way.near, way.far = way.near * shorter, way.far * chance.choice((0.1, 1.0, 1.0, 3.0)) * shorter
    return found


def record(stacks: tuple[str, str], name: str, folder: Path, server_port: int, seed: int = 0) -> None:
    """Play one scene between two stacks and write what was seen and what is true."""
    chosen = name.removeprefix("chance_")
    way, play = by_chance(int(chosen)) if chosen != name else scenes(seed)[name]
    world = World(stacks, way, seed=sum(name.encode()) + 10007 * seed)
    try:
        world.run(play(Play(world, server_port)))
    finally:
        world.close()
    world.write(folder)
