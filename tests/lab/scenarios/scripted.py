"""One kernel on the bench, and a script for its peer: what a second kernel would never say, and what tests of TCP do.

Each script of `scripts.txt` runs over IPv4 and IPv6; only the kernel's endpoint has a truth.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.scenario import FAMILIES, scenario

if TYPE_CHECKING:
    from tests.lab.bench import Player


def read_scripts(path: Path) -> dict[str, str]:
    """Name to steps, with the openings written out."""
    found: dict[str, str] = {}
    for part in path.read_text().split("\n== ")[1:]:
        name, _, body = part.partition("\n")
        steps = (line.strip() for line in body.splitlines())
        found[name] = "\n".join(found.get(s, s) for s in steps if s and not s.startswith("#"))
    return found


SCRIPTS = read_scripts(Path(__file__).with_name("scripts.txt"))


@scenario(wire={"mode": "bench"}, family=FAMILIES, name=[n for n in SCRIPTS if not n.startswith("open ")])
def scripted(lab: Player, name: str) -> None:
    """A script plays the kernel's peer."""
    lab.play(SCRIPTS[name])
