"""One kernel on the bench, and a script for its peer: what a second kernel would never say, and what tests of TCP do.

Each script of `scripts.txt` runs over IPv4 and IPv6; only the kernel's endpoint has a truth.
"""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.scenario import FAMILIES, Spec, scenario

if TYPE_CHECKING:
    from tests.lab.bench import Player


def read_scripts(path: Path) -> dict[str, str]:
    """Name to steps, with the openings written out."""
    found: dict[str, str] = {}
    for part in path.read_text().split("\n== ")[1:]:
        name, _, body = part.partition("\n")
        steps = (line.strip() for line in body.splitlines())
        found[name] = "\n".join(found[s] if s.startswith("open ") else s for s in steps if s and not s.startswith("#"))
    return found


SCRIPTS = read_scripts(Path(__file__).with_name("scripts.txt"))


@scenario(wire={"mode": "bench"}, family=FAMILIES, name=[n for n in SCRIPTS if not n.startswith("open ")])
def scripted(lab: Player, name: str) -> None:
    """A script plays the kernel's peer."""
    lab.play(SCRIPTS[name])


def hasten(script: str) -> str:
    """The script without its short waits before segments: a peer that answers within microseconds."""
    return re.sub(r"^0\.[01]\d* (?=<)", "", script, flags=re.MULTILINE)


@scenario(wire={"mode": "bench"}, name=[n for n in SCRIPTS if not n.startswith("open ")])
def hasty(lab: Player, name: str) -> None:
    """The same, as fast as the peer can: what was taken where shows less."""
    lab.play(hasten(SCRIPTS[name]))


def random_script(seed: int) -> str:
    """What nobody thought of: an opening, then the kernel's application and its peer do anything, right or wrong."""
    rng = random.Random(seed)
    opening = rng.choice(["server", "client", "stamped", "fast", "none", "active", "server", "client"])
    steps = {
        "none": ["listen 4", "< S 0:0 <mss 1000,sackok>", "forget"],
        "active": ["connect", "forget"],
        "fast": [*SCRIPTS["open fast"].splitlines(), "< S 0:10 <mss 1000,sackok>", "forget", "accept"],
    }.get(opening) or SCRIPTS[f"open {opening}"].splitlines()
    state = _Guess(
        next=11 if opening == "fast" else 0 if opening == "active" else 1, stamp=300 if opening == "stamped" else -1
    )
    if opening == "active":
        steps.append("0.02 < S. 0:0 ack 1 <mss 1000>" if rng.random() < 0.6 else "0.02 < S 0:0 <mss 1000>")
        state.next = 1
    for _ in range(rng.randint(3, 11)):
        wait = rng.choice(["", "", "0.01 ", "0.05 ", "0.1 ", "0.25 "])
        steps += [wait + s for s in state.step(rng)]
    if rng.random() < 0.2:
        steps.append("ends open")
    return "\n".join([*steps, "0.05 forget"])


class _Guess:
    """What the script believes: the next number of its own, and of the kernel's."""

    def __init__(self, next: int, stamp: int) -> None:  # noqa: A002 - the words of the segment
        self.next, self.ack, self.stamp = next, 1, stamp
        self.closed = False

    def step(self, rng: random.Random) -> list[str]:
        """One thing that happens."""
        if rng.random() < 0.4 and not self.closed:
            return self._act(rng)
        flags = rng.choices([".", "P.", "F.", "FP.", "R", "R.", "S", "S.", "F", "."], [9, 8, 8, 2, 2, 3, 1, 1, 1, 3])[0]
        size = rng.choice([1, 10, 500]) if "P" in flags else 0
        begin, ack = self.next, self.ack
        odd = rng.random()
        if odd < 0.08:
            begin += rng.choice([-1, 1, 100, 500, -500, 10**6])
        elif odd < 0.14:
            ack += rng.choice([-1, 1, 10, 5000])
        elif odd < 0.2:  # once more
            begin -= 1
        else:
            self.next += size + ("F" in flags)
        options = ""
        if self.stamp >= 0:
            self.stamp += rng.choice([10, 10, 10, -50])
            options = f" <ts {self.stamp}/ok>"
        return [f"< {flags} {begin}:{begin + size}" + (f" ack {ack}" if "." in flags else "") + options]

    def _act(self, rng: random.Random) -> list[str]:
        what = rng.choices(["write", "close", "wr", "rd", "rdwr", "abort", "read"], [4, 4, 3, 1, 1, 1, 2])[0]
        if what == "write":
            self.ack += 100
            return ["try write 100"]
        if what in ("close", "wr", "rdwr"):
            self.ack += 1
            self.closed = what != "wr"
        elif what == "abort":
            self.closed = True
        return [
            f"try {what} 1000"
            if what == "read"
            else f"try {what}"
            if what in ("close", "abort")
            else f"try shutdown {what}"
        ]


def random_scripted(lab: Player, seed: int) -> None:
    """A script made at random by its seed."""
    lab.play(random_script(seed))


def random_bench(seed: int) -> Spec:
    """The recording of this seed."""
    wire = {"mode": "bench", "family": 6 if seed % 3 == 0 else 4}
    return Spec(f"scripted_random_{seed}", random_scripted, {"seed": seed}, wire, {}, 2)
