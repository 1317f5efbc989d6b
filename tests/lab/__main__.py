"""`python -m tests.lab`: list, run and score scenarios; record the sample captures."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.lab import runner, samples, score, stacks, waits
from tests.lab.network import clean
from tests.lab.scenario import REGISTRY
from tests.lab.scenarios import application_specs, load, random_spec
from tests.lab.scenarios.scripted import random_bench
from tests.lab.stacks import twins


def main() -> int:
    """Entry point."""
    load()
    top = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    top.add_argument("--list", action="store_true", help="the scenarios and what they play")
    sub = top.add_subparsers(dest="command")
    p = sub.add_parser("run", help="record scenarios (a name may be the beginning of several)")
    p.add_argument("names", nargs="*")
    p.add_argument("--all", action="store_true")
    p.add_argument("--random", type=int, action="append", default=[], metavar="SEED")
    p.add_argument("--scripts", type=int, default=0, metavar="N", help="N random scripts on the bench")
    p.add_argument("--out", type=Path, default=Path("lab-out"))
    p.add_argument("--jobs", type=int, default=10)
    p = sub.add_parser("score", help="compare a tool with the kernel on recordings")
    p.add_argument("folder", type=Path, nargs="+")
    p.add_argument("--tool", default=score.TOOL, help="a command with {pcap} and {out}; or `api`: in Python, faster")
    p.add_argument("--misses", action="store_true", help="list every endpoint that is not exact")
    p.add_argument("--json", type=Path)
    p = sub.add_parser("samples", help="record sample_pcaps/ anew")
    p.add_argument("--out", type=Path, default=Path(__file__).parents[2] / "sample_pcaps")
    p.add_argument("names", nargs="*")
    p = sub.add_parser("waits", help="record applications that wait for known times, and score who was waited for")
    p.add_argument("out", type=Path)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--each", type=int, default=4, help="connections of each kind on each wire")
    p.add_argument("--misses", action="store_true")
    p = sub.add_parser("stacks", help="record what other stacks do, each pair of them in all its scenes")
    p.add_argument(
        "pairs", nargs="*", metavar="CLIENT,SERVER", help="lwip, gvisor, slirp; without any, each with itself"
    )
    p.add_argument("--seed", type=int, default=0, help="another seed plays other chances over other ways")
    p.add_argument("--by-chance", type=int, default=0, metavar="N", help="instead, N scenes made by chance")
    p.add_argument("--fetch", action="store_true", help="have apt bring the source of lwIP first")
    p.add_argument("--out", type=Path, default=Path("lab-out"))
    sub.add_parser("twins", help="two courses of events each that leave the same frames: what no capture can show")
    sub.add_parser("clean", help="remove what killed runs left behind")
    a = top.parse_args()
    if a.list:
        for spec in REGISTRY.values():
            print(f"{spec.name:48s} {spec.doc}")
        print(len(REGISTRY), "scenarios")
        return 0
    if a.command == "score":
        return score.main(a.folder, a.tool, misses=a.misses, json_to=a.json)
    if a.command == "clean":
        print("\n".join(clean()))
        return 0
    if a.command == "stacks":
        return stacks.main(a.pairs, a.out, a.seed, a.by_chance, fetch=a.fetch)
    if a.command == "twins":
        return twins.main()
    if a.command is None:
        top.print_usage()
        return 2
    if reason := runner.missing():
        print(reason, file=sys.stderr)
        return 1
    if a.command == "samples":
        return samples.record(a.out, a.names)
    if a.command == "waits":
        specs = application_specs(a.seed, a.each)
        runner.record_all(specs, a.out, 3)
        marks = [mark for s in specs for mark in waits.score(a.out / s.name)]
        for m in marks if a.misses else ():
            if wrong := [name for name, good in m.right.items() if not good]:
                print(m.recording, m.point, m.kind, m.port, *wrong, "|", m.said)
        print(waits.table(marks))
        return 0
    unknown = [n for n in a.names if not any(k.startswith(n) for k in REGISTRY)]
    if unknown:
        print("no scenario begins with", ", ".join(unknown), file=sys.stderr)
        return 2
    specs = [s for k, s in REGISTRY.items() if a.all or any(k.startswith(n) for n in a.names)]
    specs += [random_spec(seed) for seed in a.random] + [random_bench(seed) for seed in range(a.scripts)]
    began = time.monotonic()
    metas = runner.record_all(specs, a.out, a.jobs)
    bad = [m for m in metas if not runner.clean_record(m)]
    print(f"{len(metas)} recordings in {time.monotonic() - began:.0f} s, {len(bad)} of them with faults, in {a.out}")
    return bool(bad)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # everything is taken down by now
        sys.exit(130)
