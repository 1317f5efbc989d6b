"""Plays scenarios, several at a time, and writes a folder of captures and truth for each one."""

from __future__ import annotations

import concurrent.futures as cf
import json
import os
import platform
import shutil
import time
import traceback
from contextlib import ExitStack
from typing import TYPE_CHECKING

from tests.lab import pcap, trace, truth
from tests.lab.bench import Player
from tests.lab.diag import Poller
from tests.lab.network import SYSCTLS, Network, network
from tests.lab.scenario import Lab
from tests.lab.wire import Bench

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.lab.diag import Pair, Snapshot
    from tests.lab.scenario import Spec


def missing() -> str | None:
    """Why there can be no lab on this machine, or None."""
    if os.geteuid() != 0:
        return "the kernel lab needs root"
    for tool in ("ip", "nft", "tcpdump", "ss"):
        if not shutil.which(tool):
            return f"the kernel lab needs the command {tool}"
    if reason := trace.missing():
        return reason
    try:
        with network():
            pass
    except Exception as e:  # noqa: BLE001 - whatever stands in the way is the reason
        return f"cannot make network namespaces here: {e}"
    return None


def record(spec: Spec, out: Path, tracer: trace.Tracer, number: int | None = None) -> dict[str, object]:
    """Play one scenario and leave client.pcap, router.pcap, server.pcap, truth.csv, events.csv, meta.json in out/name.

    Returns the meta data; an error inside the scenario is in its `error` and what was recorded is still written.
    """
    folder = out / spec.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began = time.time()
    error = None
    with ExitStack() as stack:
        bench = spec.wire.get("mode") == "bench"
        net: Network | Bench = Bench(**spec.wire) if bench else Network(number=number, **spec.wire)  # type: ignore[arg-type]
        stack.callback(net.close)
        for side, values in spec.sysctls.items():
            for name, value in values.items():
                net.ns[side].sysctl(f"ipv4.{name}", value)
        net.capture(folder)
        lab = Player(net, folder) if isinstance(net, Bench) else Lab(net, folder)
        stack.callback(lab.close)
        poller = Poller(lab.askers)
        stack.callback(poller.stop)
        started = time.time()
        try:
            spec.play(lab, **spec.args)
        except Exception:  # noqa: BLE001 - reported with the recording
            error = traceback.format_exc(limit=-3)
        counters = net.stop_capture()
        end = time.time()  # the captures run on for a while, and the truth must not end before them
        snapshots = poller.stop()
        events = tracer.between(started, end)
    told = derive(net, folder, events, snapshots, end)
    told.write(folder)
    edited = {}
    for point, keep in lab.edits:
        edited[point] = pcap.edit(folder / f"{point}.pcap", keep)  # type: ignore[arg-type]
    meta: dict[str, object] = {
        "scenario": spec.name, "doc": spec.doc, "args": spec.args, "wire": spec.wire,
        "sysctls": {**SYSCTLS, **{f"{s}.{k}": v for s, d in spec.sysctls.items() for k, v in d.items()}},
        "kernel": platform.release(), **{f"{host}_ip": ip for host, ip in net.ip.items()},
        "actions": lab.actions, "expect": lab.expected, "capture": counters, "capture_edited": edited,
        "t0": began, "capture_start": started, "truth_end": end, "t1": time.time(), "error": error,
        "waits": lab.waits, "truth_check": told.check, "poll_error": poller.error, "trace_pages_lost": tracer.lost,
    }  # fmt: skip
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")
    return meta


def derive(
    net: Network | Bench, folder: Path, events: list[trace.Event], snapshots: list[Snapshot], end: float
) -> truth.Truth:
    """Rows and checks of one run."""
    syns: dict[str, list[tuple[float, Pair]]] = {h: [] for h in net.ns}
    sent: dict[str, list[tuple[float, Pair]]] = {h: [] for h in net.ns}
    for h in net.ns:
        for frame in pcap.read(folder / f"{h}.pcap"):
            s = pcap.parse(frame.data)
            if s and s.kind == "syn":
                a, z = (s.src, s.sport), (s.dst, s.dport)
                if net.hosts.get(s.dst) == h:
                    syns[h].append((frame.time, (z, a)))
                else:
                    sent[h].append((frame.time, (a, z)))
    devices = {d: h for h, d in net.device.items()}
    deriver = truth.Deriver(net.hosts, devices, trace.hz(), syns, sent)
    rows = truth.merge_restarts(deriver.rows(events), truth.restarts(snapshots))
    return truth.Truth(rows, deriver.remarks, truth.check(rows, snapshots, end))


def record_all(
    specs: Sequence[Spec], out: Path, jobs: int = 10, say: Callable[[str], None] = print
) -> list[dict[str, object]]:
    """Record many, the long ones first. One tracer serves all."""
    tracer = trace.Tracer()
    metas = []
    try:
        with cf.ThreadPoolExecutor(jobs) as pool:
            order = sorted(specs, key=lambda s: -s.seconds)
            waiting = {pool.submit(record, s, out, tracer): s for s in order}
            try:
                for done in cf.as_completed(waiting):
                    name = waiting[done].name
                    try:
                        meta = done.result()
                    except Exception:  # noqa: BLE001 - the others go on
                        meta = {"scenario": name, "error": traceback.format_exc(limit=-4)}
                    metas.append(meta)
                    say(summary(meta))
            except BaseException:
                for f in waiting:
                    f.cancel()
                raise
    finally:
        tracer.close()
    return metas


def clean_record(meta: dict[str, object]) -> bool:
    """Whether a recording can be believed: no error, both witnesses agree, nothing lost."""
    check = meta.get("truth_check")
    return isinstance(check, dict) and not (
        meta["error"] or meta["poll_error"] or meta["trace_pages_lost"] or check["mismatches"] or check["chain_breaks"]
    )


def summary(meta: dict[str, object]) -> str:
    """One line per recording: what the checks said."""
    check = meta.get("truth_check") or {}
    assert isinstance(check, dict)
    faults = [f"{check[k]} {k}" for k in ("mismatches", "chain_breaks") if check.get(k)]
    if meta["error"]:
        faults.append(str(meta["error"]).strip().splitlines()[-1])
    took = float(meta.get("t1", 0)) - float(meta.get("t0", 0))  # type: ignore[arg-type]
    return f"{meta['scenario']:48s} {took:5.1f} s {check.get('rows', 0):5d} rows  {'; '.join(faults) or 'ok'}"
