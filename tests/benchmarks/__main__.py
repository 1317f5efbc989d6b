"""Measure this tool beside others that read captures: ``python -m tests.benchmarks``.

Makes its captures from a seed, runs whole processes one after another in turn (so that what else the machine does meets
all of them), and prints for each the median of its user and system time, its spread, its time relative to this tool's,
and its peak memory. Tools that are not installed are left out. Nothing here is a test: see docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.generate import CONTAINERS, KINDS, capture, write
from tests.benchmarks.hostile import HOSTILE, write_hostile

TOOL = [sys.executable, "-m", "tcptrace_fsm"]
DPKT = """
import sys, dpkt
with open(sys.argv[1], "rb") as file:
    for time, frame in dpkt.pcap.UniversalReader(file):
        try:
            dpkt.ethernet.Ethernet(frame)
        except dpkt.UnpackError:
            pass
"""

# {pcap} is the capture, {out} a place for what is written. Each is one line of the table.
COMMANDS: dict[str, list[str]] = {
    "analyze -o": [*TOOL, "analyze", "{pcap}", "-q", "-o", "{out}"],
    "analyze": [*TOOL, "analyze", "{pcap}", "-q"],
    "analyze -o --jobs 2": [*TOOL, "analyze", "{pcap}", "-q", "-o", "{out}", "--jobs", "2"],
    "analyze --jobs 2": [*TOOL, "analyze", "{pcap}", "-q", "--jobs", "2"],
    "analyze --tables segments": [
        *(*TOOL, "analyze", "{pcap}", "-q", "-o", "{out}"),
        *("--tables", "connections,transitions,anomalies,segments"),
    ],
    "tcpdump -w": ["tcpdump", "-r", "{pcap}", "-w", os.devnull],
    "tcptrace -n": ["tcptrace", "-n", "{pcap}"],
    "argus -w": ["argus", "-r", "{pcap}", "-w", "{out}"],
    "tshark conv,tcp": ["tshark", "-r", "{pcap}", "-q", "-z", "conv,tcp"],
    "dpkt loop": [sys.executable, "-c", DPKT, "{pcap}"],
}
SLOW = {"tshark conv,tcp", "dpkt loop"}  # run once only, on the large captures


class Run(NamedTuple):
    """One process: seconds of processor time and of wall time, and the most memory it had, bytes."""

    cpu: float
    wall: float
    memory: int


def run(command: list[str], pcap: Path) -> Run:
    """Run a command to its end."""
    with tempfile.TemporaryDirectory() as folder:
        filled = [part.replace("{pcap}", str(pcap)).replace("{out}", f"{folder}/out") for part in command]
        began = os.times()
        process = subprocess.Popen(filled, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = os.times().elapsed - began.elapsed
        if process.returncode:
            raise RuntimeError(f"{' '.join(filled)} ended with {process.returncode}")
    return Run(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024)


def available(names: list[str]) -> list[str]:
    """Those of the commands whose program is there."""
    missing = [n for n in names if shutil.which(COMMANDS[n][0]) is None]
    for name in missing:
        print(f"left out: {name}, {COMMANDS[name][0]} is not installed")
    return [n for n in names if n not in missing]


def measure(pcap: Path, names: list[str], rounds: int) -> dict[str, list[Run]]:
    """Run each command ``rounds`` times, in turn; one that cannot read such a file is left out."""
    runs: dict[str, list[Run]] = {name: [] for name in names}
    for i in range(rounds):
        for name in list(runs):
            if i == 0 or name not in SLOW or pcap.stat().st_size < 10 << 20:
                try:
                    runs[name].append(run(COMMANDS[name], pcap))
                except RuntimeError as reason:
                    print(f"left out: {reason}")
                    del runs[name]
    return runs


def print_table(title: str, runs: dict[str, list[Run]]) -> None:
    """One line for each command, in the table form of Markdown."""
    own = statistics.median(r.cpu for r in next(iter(runs.values())))
    print(f"\n{title}\n")
    print("| command | CPU s, median | least ... most | in terms of the first | wall s | peak MB |")
    print("|---|---|---|---|---|---|")
    for name, of in runs.items():
        cpu = sorted(r.cpu for r in of)
        median, wall = statistics.median(cpu), statistics.median(r.wall for r in of)
        memory = max(r.memory for r in of) / 1e6
        print(
            f"| {name} | {median:.2f} | {cpu[0]:.2f} ... {cpu[-1]:.2f} "
            f"| {median / own:.2f} | {wall:.2f} | {memory:.0f} |"
        )


def print_stages(pcap: Path) -> None:
    """Where the time of one run goes, by stage."""
    print(f"\nStages of analyze -o {pcap.name}, one run under cProfile\n")
    code = (
        "import cProfile, pstats, sys, tempfile; from tcptrace_fsm.cli.app import run_command; p = cProfile.Profile(); "
        "d = tempfile.mkdtemp(); p.runcall(run_command, ['analyze', sys.argv[1], '-q', '-o', d]); "
        "s = pstats.Stats(p); s.sort_stats('cumtime').print_stats('tcptrace_fsm', 25)"
    )
    subprocess.run([sys.executable, "-c", code, str(pcap)], check=True)


def print_hostile(folder: Path, packets: int, rounds: int, seed: int) -> None:
    """What a packet of hostile captures costs, in terms of one of plain traffic; what a start costs is left out."""
    pcaps = {kind: folder / f"hostile-{kind}-{packets}-{seed}.pcap" for kind in ("start", *HOSTILE)}
    for kind, pcap in pcaps.items():
        if not pcap.exists():
            write_hostile(pcap, "plain" if kind == "start" else kind, 10 if kind == "start" else packets, seed)
    runs: dict[str, list[Run]] = {kind: [] for kind in pcaps}
    for _ in range(rounds):
        for kind, pcap in pcaps.items():
            runs[kind].append(run(COMMANDS["analyze -o"], pcap))
    start = statistics.median(r.cpu for r in runs.pop("start"))
    costs = {kind: (statistics.median(r.cpu for r in of) - start) * 1e6 / packets for kind, of in runs.items()}
    print(f"\nhostile: {packets:,} packets each, analyze -o, without its start of {start:.2f} s\n")
    print("| capture | CPU s per million packets | in terms of plain | peak MB |")
    print("|---|---|---|---|")
    for kind, cost in costs.items():
        memory = max(r.memory for r in runs[kind]) / 1e6
        print(f"| {kind} | {cost:.2f} | {cost / costs['plain']:.1f} | {memory:.0f} |")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "kinds",
        nargs="*",
        choices=[*KINDS, "hostile", []],
        help="which captures; not synflood, long and hostile by default",
    )
    parser.add_argument("--packets", type=int, default=5_000_000, help="in each but small and long (5,000,000)")
    parser.add_argument(
        "--container", choices=CONTAINERS, default="pcap", help="what the packets are wrapped in (pcap)"
    )
    parser.add_argument("--only", action="append", choices=COMMANDS, metavar="COMMAND", help="may be given repeatedly")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each command (5)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a folder for the captures; what is there is used again")
    parser.add_argument("--stages", action="store_true", help="also tell where the time goes")
    args = parser.parse_args()
    kinds = args.kinds or [k for k in KINDS if k not in {"synflood", "long"}]
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for kind in kinds:
            if kind == "hostile":
                print_hostile(folder, args.packets, args.rounds, args.seed)
                continue
            packets = {"small": 1000, "long": 10 * args.packets}.get(kind, args.packets)
            pcap = folder / f"{kind}-{packets}-{args.seed}.{args.container}"
            if not pcap.exists():
                write(pcap, capture(kind, packets, args.seed), snap=kind != "web")
            names = available(args.only or list(COMMANDS))
            print_table(
                f"{kind}: {packets:,} packets, {pcap.stat().st_size / 1e6:,.1f} MB", measure(pcap, names, args.rounds)
            )
            if args.stages:
                print_stages(pcap)


if __name__ == "__main__":
    main()
