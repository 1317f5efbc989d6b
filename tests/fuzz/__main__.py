"""Fuzz for as long as wanted: ``python -m tests.fuzz compare --minutes 240``; see docs/fuzzing.md."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    compare = commands.add_parser("compare", help="the same tables, compiled and not, shared and cut")
    compare.add_argument("--inputs", type=int, help="how many; without it and --minutes, 1,000")
    compare.add_argument("--minutes", type=float)
    compare.add_argument("--seed", type=int, default=1, help="0 begins with the captures unchanged")
    compare.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="where findings go")
    compare.add_argument("--checked", type=Path, metavar="FOLDER", help="on kernels built there by tests.fuzz.checked")
    given = parser.parse_args()
    extension = None
    if given.checked:
        from tests.fuzz.checked import build

        extension = build(given.checked)
    from tests.fuzz.compare import run

    inputs = 1000 if given.inputs is None and given.minutes is None else given.inputs
    seconds = None if given.minutes is None else 60 * given.minutes
    return 1 if run(inputs=inputs, seconds=seconds, seed=given.seed, keep=given.keep, extension=extension) else 0


if __name__ == "__main__":
    sys.exit(main())
