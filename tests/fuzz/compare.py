"""Differential fuzzing: the same tables whoever makes them, over captures changed in their form.

    python -m tests.fuzz compare --inputs 1500 --seed 1
    python -m tests.fuzz compare --minutes 240

Each input is analysed by the compiled kernels in one piece, and then

* by the same kernels in plain Python;
* by two processes that share the connections (``--jobs 2``; here their very code, in threads);
* cut into batches of a few frames, read in chunks of a few bytes.

All tables, the segments too, and the summary must be the same to the byte, and so must the reason where the capture is
refused. An input that is told apart is written to a file, and the run goes on.
"""

from __future__ import annotations

import contextlib
import json
import pickle
import queue
import random
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.fuzz.mutate import mutated
from tests.fuzz.seeds import seeds
from tests.fuzz.worlds import World

TABLES = ("connections", "transitions", "anomalies", "diagnoses", "waits", "segments")
PROFILES = ("linux", "linux", "linux", "rfc9293", "bsd", "windows")


class LocalCrew:
    """What stands for :class:`tcptrace_fsm.runs.jobs._Crew`: the same work, told in the same pickles, in threads."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._heard: queue.Queue = queue.Queue()
        self._told: list[queue.Queue] = [queue.Queue() for _ in range(count)]
        self._answers: dict = {}

    def __enter__(self):
        from tcptrace_fsm.runs.jobs import _work

        def work(n: int) -> None:
            def say(kind, content):
                self._heard.put((n, kind, pickle.loads(pickle.dumps(content, protocol=5))))

            try:
                _work(say, self._told[n].get)
            except BaseException as reason:  # noqa: BLE001 - it is raised where the answer is waited for
                self._heard.put((n, "refused", reason))

        self._threads = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(self._count)]
        for thread in self._threads:
            thread.start()
        return self

    def tell(self, n: int, content: Any) -> None:
        self._told[n].put(pickle.loads(pickle.dumps(content, protocol=5)))

    def answers(self, kind: str) -> list[Any]:
        return [self._answers[kind, n] for n in range(self._count)]

    def listen(self, until: str):
        while sum(kind == until for kind, _ in self._answers) < self._count:
            n, kind, content = self._heard.get(timeout=600)
            if kind == "refused":
                raise content
            if kind == until:
                self._answers[kind, n] = content
            else:
                yield kind, content

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:  # its folder is removed next; one that waits in vain is left
            thread.join(timeout=5)


@contextlib.contextmanager
def cut_into(frames: int, size: int):
    """Read in chunks of ``size`` bytes, in batches of so many frames."""
    from tcptrace_fsm.capture import containers

    whole, before = containers.open_capture.__kwdefaults__, containers.BATCH_FRAMES
    containers.open_capture.__kwdefaults__ = {**whole, "chunk_size": size}
    containers.BATCH_FRAMES = frames
    try:
        yield
    finally:
        containers.open_capture.__kwdefaults__, containers.BATCH_FRAMES = whole, before


class Kept:
    """Keeps the tables of an analysis as Arrow tables."""

    tables = TABLES

    def __init__(self, folder: Path, origins: Any = None) -> None:
        from tcptrace_fsm.tables.segments import SegmentTable

        self.finished: list = []
        self.made: dict[str, list] = {}
        self._segments = SegmentTable(folder / "kept.spool", origins)

    def take(self, finished: Any) -> None:
        self.finished.append(finished)
        self._segments.learn(finished)

    def take_segments(self, batch: Any) -> None:
        self._segments.add(batch)

    def put(self, name: str, table: Any) -> None:
        self.made.setdefault(name, []).append(table)

    def rows(self, origins: Any) -> dict[str, str]:
        """Each table as text, one line a row."""
        from tcptrace_fsm.tables.anomalies import findings_table
        from tcptrace_fsm.tables.columns import SOURCES, Rows, build
        from tcptrace_fsm.tables.diagnoses import diagnoses_table

        made = {name: list(self.made.get(name, ())) for name in TABLES}
        for name in ("connections", "transitions", "waits"):
            rows = Rows(SOURCES[name])
            for done in self.finished:
                if name == "connections":
                    rows.add(done.connections, done.count, done.paths)
                elif name == "waits":
                    rows.add(done.waits, done.wait_count)
                else:
                    rows.add(done.transitions, done.transition_count)
            if rows.count:
                made[name].append(build(name, rows.take(), origins))
        made["anomalies"].append(findings_table([f for done in self.finished for f in done.findings], origins))
        made["diagnoses"].append(diagnoses_table([d for done in self.finished for d in done.diagnoses], origins))
        if "segments" not in self.made:
            made["segments"] += self._segments.resolved()
        self._segments.close()
        out = {}
        for name, tables in made.items():
            lines = [repr(row) for table in tables if table is not None for row in table.to_pylist()]
            # What is over is handed out when it is over: several processes have another order, and readers sort.
            out[name] = "\n".join(lines if name in {"segments", "diagnoses"} else sorted(lines))
        return out


def analysed(
    path: str, settings: dict[str, Any], folder: Path, jobs: int = 1, *, threads: bool = False
) -> dict[str, str]:
    """What the world that is entered makes of a capture: each table and the summary, as text."""
    from dataclasses import replace

    from tcptrace_fsm.core.settings import Settings
    from tcptrace_fsm.errors import CaptureError, UsageError
    from tcptrace_fsm.runs import jobs as several
    from tcptrace_fsm.runs.pipeline import Pipeline
    from tcptrace_fsm.runs.run import Run
    from tcptrace_fsm.tcp.profiles import profile

    chosen = Settings(profile(settings["profile"]), taken_at=settings["taken_at"], learn_timers=settings["learn"])
    try:
        if jobs > 1:
            several._Crew = LocalCrew
            run = several.Jobs([path], chosen, jobs=jobs)
        else:
            run = (Pipeline if threads else Run)([path], replace(chosen, segments=True))
        kept = Kept(folder, run.origins)
        run.go([kept])
    except (CaptureError, UsageError) as reason:
        return {"refused": str(reason)}
    summary = {k: v for k, v in run.summary().items() if k != "versions"}
    for capture in summary["captures"]:
        if capture["truncated"]:
            del capture["bytes"]  # how far it was read beyond the damage depends on how much is read at once
    return {**kept.rows(run.origins), "summary": json.dumps(summary, indent=1, default=str, sort_keys=True)}


class Comparison:
    """The worlds, and what an input must give in each of them."""

    def __init__(self, extension: Path | None = None) -> None:
        self.first = World(extension or "installed")
        self.plain = World("plain")
        self._folder = tempfile.TemporaryDirectory(prefix="tcptrace-fsm-fuzz-")
        self.folder = Path(self._folder.name)

    def close(self) -> None:
        self._folder.cleanup()

    def differences(self, data: bytes, settings: dict[str, Any]) -> list[str]:
        """What is told apart, a line each; nothing where all agree."""
        path = self.folder / "input.pcap"
        path.write_bytes(data)
        given = (str(path), settings, self.folder)
        with self.first.entered():
            whole = analysed(*given)
            with cut_into(settings["batch"], settings["chunk"]):
                parts = analysed(*given)
            shared = analysed(*given, jobs=2)
            beside = analysed(*given, threads=True)
        with self.plain.entered():
            plain = analysed(*given)
        found = []
        others = {"plain Python": plain, "two processes": shared, "threads": beside, "cut into batches": parts}
        for name, other in others.items():
            found += [f"{name}: {line}" for line in told_apart(whole, other)]
        return found


def told_apart(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Which tables differ, with the first lines that do."""
    found = []
    for name in sorted(one.keys() | other.keys()):
        ours, theirs = one.get(name, "").splitlines(), other.get(name, "").splitlines()
        if ours != theirs:
            pairs = enumerate(zip(ours, theirs, strict=False))
            n = next((i for i, (a, b) in pairs if a != b), min(len(ours), len(theirs)))
            line, against = ("".join(text[n : n + 1])[:2000] for text in (ours, theirs))
            found.append(f"{name}, line {n}: {line!r} != {against!r}")
    return found


def drawn(chance: random.Random) -> dict[str, Any]:
    """Settings of a run."""
    return {
        "profile": chance.choice(PROFILES),
        "taken_at": chance.choice(((), (), (), ("10.0.0.1",), ("10.0.0.1", "10.0.0.2"))),
        "learn": chance.random() < 0.1,
        "batch": chance.choice((1, 2, 3, 7, 64)),
        "chunk": chance.choice((1, 64, 512, 4096)),
    }


def run(
    *,
    inputs: int | None,
    seconds: float | None,
    seed: int,
    keep: Path | None = None,
    extension: Path | None = None,
    say=print,
) -> int:
    """Compare until so many inputs, or seconds, are done; returns how many were told apart."""
    begun = seeds()
    comparison = Comparison(extension)
    counted: Counter = Counter()
    began = spoke = time.monotonic()
    n = 0
    try:
        while (inputs is None or n < inputs) and (seconds is None or time.monotonic() - began < seconds):
            chance = random.Random(f"{seed}/{n}")
            data = mutated(chance.choice(begun), chance, chance.choice(begun))
            if seed == 0 and n < len(begun):
                data = begun[n]
            settings = drawn(chance)
            if keep is not None:  # a report of the sanitizer ends the process
                keep.mkdir(parents=True, exist_ok=True)
                (keep / "last.pcap").write_bytes(data)
                (keep / "last.txt").write_text(f"{settings!r}\n")
            try:
                found = comparison.differences(data, settings)
            except Exception as reason:  # noqa: BLE001 - whatever it is, it is a finding
                found = [f"{type(reason).__name__}: {reason}"]
            if found:
                counted["told apart"] += 1
                name = f"{seed}-{n}"
                say(f"input {name} {settings}:")
                for line in found:
                    say(f"    {line}")
                if keep is not None:
                    (keep / f"{name}.pcap").write_bytes(data)
                    (keep / f"{name}.txt").write_text("\n".join([repr(settings), *found]) + "\n")
            n += 1
            if time.monotonic() - spoke > 60:
                spoke = time.monotonic()
                say(f"{n:,} inputs in {spoke - began:,.0f} s, {counted['told apart']} told apart")
    finally:
        comparison.close()
    say(f"{n:,} inputs in {time.monotonic() - began:,.0f} s, {counted['told apart']} told apart")
    return counted["told apart"]


def again(data: bytes, settings: dict[str, Any]) -> list[str]:
    """Compare one input."""
    comparison = Comparison()
    try:
        return comparison.differences(data, settings)
    finally:
        comparison.close()
