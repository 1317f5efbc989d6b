"""TCP stacks other than Linux, run in virtual time: each host is a process that says what it sends and its states."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

from tests.lab.stacks import build, scenes

if TYPE_CHECKING:
    from pathlib import Path

FIRST_PORT = 21000


def main(pairs: list[str], out: Path, seed: int = 0, by_chance: int = 0, *, fetch: bool = False) -> int:
    """Record all scenes between these pairs of stacks, or so many made by chance; how many of them failed."""
    if fetch:
        build.fetch()
    chosen = [tuple((pair.split(",") * 2)[:2]) for pair in pairs or build.STACKS]
    for stack in sorted({name for pair in chosen for name in pair}):
        if reason := build.missing(stack):
            print(f"{stack}: {reason}", file=sys.stderr)
            return 1
        build.program(stack)
    jobs = [(pair, name) for pair in chosen for name in scenes.scenes(seed, by_chance)]
    failed = 0
    with ProcessPoolExecutor() as pool:
        made = [
            pool.submit(scenes.record, pair, name, out / "-".join(pair) / name, FIRST_PORT + n, seed)
            for n, (pair, name) in enumerate(jobs)
        ]
        for (pair, name), one in zip(jobs, made, strict=True):
            if error := one.exception():
                print(f"{'-'.join(pair)} {name}: {error}", file=sys.stderr)
                failed += 1
    print(f"{len(jobs) - failed} of {len(jobs)} recorded in {out}")
    return failed
