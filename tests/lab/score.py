"""How often a tool says what the kernel said: exact, agreement in time, and bracket coverage, per capture point.

Per endpoint and incarnation in truth.csv, as far as the capture reaches:

exact    the tool reports the same sequence of states. FIN_WAIT_1 straight to TIME_WAIT is the same as Linux's
         way through a FIN_WAIT_2 of less than a millisecond; a change within half a second after the capture's
         end may be told or not.
agree    the share of the time from the first frame of the connection to the end in which both name the same state.
bracket  of the changes of an exact endpoint, the share whose kernel moment lies in [time_earliest, time_latest].

Not asked for, because no capture shows it: FIN_WAIT_1 or LAST_ACK without its FIN in the capture, and a last CLOSED
that has no RST beside it and does not follow LAST_ACK or a whole TIME_WAIT.
"""

from __future__ import annotations

import concurrent.futures as cf
import csv
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
from bisect import bisect_right
from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tests.lab import pcap

TOOL = "tcptrace-fsm analyze {pcap} -o {out} -q"
# Instead of a command: tcptrace_fsm.analyze() in this process, some ten times faster; with a profile: `api:auto`.
API = "api"
POINTS = ("client", "router", "server", "kernel")
NEAR = 0.005  # the same moment, for a packet and what it causes
MARGIN = 0.002  # what a bracket may miss by: a host acts a little after its capture's time stamp
UNDER_WAY = 0.5

Address = tuple[str, int]
Rows = list[dict[str, object]]


class Step(NamedTuple):
    """A state entered, and when; with the bracket if a tool gives one."""

    time: float
    state: str
    earliest: float | None = None
    latest: float | None = None


@dataclass
class Endpoint:
    """What the kernel said about one endpoint of one incarnation."""

    host: str
    local: Address
    remote: Address
    steps: list[Step]


@dataclass
class Wire:
    """What matters of a capture: its span, FINs by direction, RSTs."""

    first: float
    last: float
    fins: dict[tuple[Address, Address], list[float]]
    rsts: list[tuple[float, frozenset[Address]]]


@dataclass
class Result:
    """One endpoint at one capture point."""

    recording: str
    point: str
    host: str
    local: str
    remote: str
    want: list[str]
    got: list[str] | None = None
    exact: bool = False
    agree: float = 0.0
    bracket: float | None = None
    widths: list[float] | None = None
    error: str | None = None


def read_truth(path: Path) -> list[Endpoint]:
    """Endpoints by incarnation, listeners left out."""
    out: list[Endpoint] = []
    live: dict[tuple[str, Address, Address], Endpoint] = {}
    with path.open() as f:
        rows = sorted(csv.DictReader(f), key=lambda r: float(r["time"]))
    for r in rows:
        if r["remote_port"] == "0":
            continue
        local, remote = (r["local_ip"], int(r["local_port"])), (r["remote_ip"], int(r["remote_port"]))
        key, new = (r["host"], local, remote), r["new_state"]
        e = live.get(key)
        if e is None or (new in ("SYN_SENT", "SYN_RECEIVED") and e.steps[-1].state in ("CLOSED", "TIME_WAIT")):
            e = live[key] = Endpoint(*key, [])
            out.append(e)
        if not e.steps or e.steps[-1].state != new:
            e.steps.append(Step(float(r["time"]), new))
    return out


def read_wire(path: Path) -> Wire | None:
    """The capture's outline; None if it is empty."""
    frames = pcap.read(path)
    if not frames:
        return None
    fins: dict[tuple[Address, Address], list[float]] = defaultdict(list)
    rsts = []
    for f in frames:
        s = pcap.parse(f.data)
        if s and s.flags & pcap.FIN:
            fins[(s.src, s.sport), (s.dst, s.dport)].append(f.time)
        if s and s.flags & pcap.RST:
            rsts.append((f.time, frozenset([(s.src, s.sport), (s.dst, s.dport)])))
    times = [f.time for f in frames]
    return Wire(min(times), max(times), fins, rsts)


def knowable(e: Endpoint, wire: Wire, end: float) -> list[Step]:
    """The kernel's steps less those that no capture can show."""
    out = []
    for before, step in zip([None, *e.steps], e.steps, strict=False):
        if step.state in ("FIN_WAIT_1", "LAST_ACK"):
            if not any(t <= end + NEAR for t in wire.fins.get((e.local, e.remote), [])):
                continue
        elif step.state == "CLOSED" and step.time <= end + NEAR:
            ends = frozenset([e.local, e.remote])
            reset = any(abs(t - step.time) < NEAR and who == ends for t, who in wire.rsts)
            state = before.state if before else ""
            whole = before is not None and state == "TIME_WAIT" and step.time - before.time > 50
            if not (reset or state == "LAST_ACK" or whole):
                continue
        out.append(step)
    return out


def entered(steps: list[Step], end: float) -> list[Step]:
    """The states entered up to `end`."""
    return [x for x in steps if x.time <= end + NEAR and x.state not in ("LISTEN", "UNKNOWN")]


def path_of(steps: list[Step], end: float, brief: float = 0.001) -> list[str]:
    """Names of the states entered up to `end`, without a FIN_WAIT_2 before TIME_WAIT that is shorter than `brief`."""
    s = entered(steps, end)
    names = []
    for i, x in enumerate(s):
        passing = (
            x.state == "FIN_WAIT_2" and 0 < i < len(s) - 1 and s[i - 1].state == "FIN_WAIT_1"
            and s[i + 1].state == "TIME_WAIT" and s[i + 1].time - x.time < brief
        )  # fmt: skip
        if not passing:
            names.append(x.state)
    return names


def agreement(a: list[Step], b: list[Step], begin: float, end: float) -> float:
    """Share of [begin, end] in which both are in the same state."""

    def at(steps: list[Step], t: float) -> str:
        i = bisect_right([s.time for s in steps], t)
        return steps[i - 1].state if i else "CLOSED"

    cuts = sorted({begin, end, *(s.time for s in (*a, *b) if begin < s.time < end)})
    same = sum(z - y for y, z in pairwise(cuts) if at(a, (y + z) / 2) == at(b, (y + z) / 2))
    return same / (end - begin)


# what the tool says


def _seconds(value: object) -> float | None:
    if value is None or value == "" or value != value:  # NaT and NaN differ from themselves
        return None
    if isinstance(value, datetime):
        return value.timestamp()
    text = str(value).replace("Z", "+00:00").replace(" ", "T")
    head, dot, tail = text.partition(".")
    digits = tail.split("+")[0] if dot else ""
    whole = datetime.fromisoformat(head.split("+")[0]).replace(tzinfo=UTC).timestamp()
    return whole + (int(digits) / 10 ** len(digits) if digits else 0.0)


def _table(folder: Path, name: str) -> Rows:
    if (path := folder / f"{name}.csv").exists():
        with path.open() as f:
            return list(csv.DictReader(f))
    import pyarrow.parquet as pq

    columns = pq.read_table(folder / f"{name}.parquet")
    out = []
    for c in columns.column_names:  # timestamps as text with all nanoseconds
        if str(columns.schema.field(c).type).startswith("timestamp"):
            at = columns.column_names.index(c)
            columns = columns.set_column(at, c, columns[c].cast("string"))
    out.extend(columns.to_pylist())
    return out


def _ask(tool: str, path: Path) -> tuple[Rows, Rows]:
    """The tool's connections and transitions; RuntimeError with its last words if there are none."""
    said = ""
    with tempfile.TemporaryDirectory() as out:
        try:
            if tool.partition(":")[0] == API:
                import tcptrace_fsm

                tcptrace_fsm.analyze(str(path), profile=tool.partition(":")[2] or "linux").export(out, format="csv")
            else:
                command = tool.replace("{pcap}", shlex.quote(str(path))).replace("{out}", shlex.quote(out))
                done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=300, check=False)
                said = done.stderr.strip()
            return _table(Path(out), "connections"), _table(Path(out), "transitions")
        except Exception as e:
            raise RuntimeError((said or str(e) or repr(e)).splitlines()[-1]) from e


class Answer:
    """What a tool said of one capture, ready to be looked up by endpoint."""

    def __init__(self, tool: str, path: Path) -> None:
        self.error: str | None = None
        self.begun: dict[tuple[Address, Address], list[tuple[float, str, str]]] = defaultdict(list)
        self.steps: dict[tuple[str, str], list[Step]] = defaultdict(list)
        try:
            connections, transitions = _ask(tool, path)
        except RuntimeError as e:
            self.error = str(e)
            return
        for c in connections:
            a = (str(c["client_ip"]), int(str(c["client_port"])))
            z = (str(c["server_ip"]), int(str(c["server_port"])))
            first = _seconds(c["first_time"]) or 0.0
            self.begun[a, z].append((first, str(c["conn_id"]), "client"))
            self.begun[z, a].append((first, str(c["conn_id"]), "server"))
        for t in transitions:
            when = _seconds(t["time"])
            if when is not None:
                step = Step(when, str(t["to_state"]), _seconds(t["time_earliest"]), _seconds(t["time_latest"]))
                self.steps[str(t["conn_id"]), str(t["side"])].append(step)
        for s in self.steps.values():
            s.sort(key=lambda x: x.time)


def score_capture(tool: str, folder: Path, point: str) -> list[Result]:
    """All endpoints of one recording at one point."""
    wire = read_wire(folder / f"{point}.pcap")
    if wire is None:
        return []
    answer = Answer(tool, folder / f"{point}.pcap")
    endpoints = read_truth(folder / "truth.csv")
    results = []
    for e in endpoints:
        start = e.steps[0].time
        later = [x.steps[0].time for x in endpoints
                 if (x.host, x.local, x.remote) == (e.host, e.local, e.remote) and x.steps[0].time > start]  # fmt: skip
        end = min([wire.last, *later])
        if start > wire.last + NEAR or end + NEAR < wire.first:
            continue
        steps = knowable(e, wire, end)
        want = path_of(steps, end)
        if not want:
            continue
        names = (folder.name, point, e.host, "{}:{}".format(*e.local), "{}:{}".format(*e.remote))
        result = Result(*names, want, error=answer.error)
        results.append(result)
        if mine := answer.begun.get((e.local, e.remote)):
            judge(result, e, steps, end, wire, answer.steps, min(mine, key=lambda c: abs(c[0] - start)))
    return results


def judge(
    result: Result,
    e: Endpoint,
    steps: list[Step],
    end: float,
    wire: Wire,
    said: dict[tuple[str, str], list[Step]],
    best: tuple[float, str, str],
) -> None:
    """Fill in the three figures for one endpoint."""
    first, conn, side = best
    got = said.get((conn, side), [])
    last = e.steps[-1]
    silent = last.state == "CLOSED" and last.time <= end + NEAR and (not steps or steps[-1].state != "CLOSED")
    # Where the kernel's FIN_WAIT_2 was that brief, both answers are right, however long the tool says that it lasted;
    # where it was not, so is one that the tool says was brief.
    passed = len(result.want) < len(entered(steps, end))
    result.got = path_of(got, end, 9e9 if passed else 0.0 if "FIN_WAIT_2" in result.want else 0.001)
    if silent and result.got[-1:] == ["CLOSED"]:
        result.got.pop()
    more = path_of(steps, end + UNDER_WAY)
    result.exact = result.got[: len(result.want)] == result.want and more[: len(result.got)] == result.got
    begin = max(e.steps[0].time, wire.first, first)
    if silent:
        end = min(end, last.time)
    result.agree = agreement(steps, got, begin, end) if end > begin else float(result.got == result.want)
    if result.exact:
        when = {s.state: s.time for s in reversed(steps)}
        judged = [s for s in got if s.time <= end + NEAR and s.state in when and s.earliest and s.latest]
        inside = [s.earliest - MARGIN <= when[s.state] <= s.latest + MARGIN for s in judged]  # type: ignore[operator]
        result.bracket = sum(inside) / len(inside) if inside else None
        result.widths = [s.latest - s.earliest for s in judged]  # type: ignore[operator]


def score(folders: list[Path], tool: str = TOOL, jobs: int = 2) -> list[Result]:
    """Every capture of every recording under the folders."""
    work = [
        (truth.parent, point)
        for folder in folders
        for truth in sorted(folder.rglob("truth.csv"))
        for point in POINTS
        if (truth.parent / f"{point}.pcap").exists()
    ]
    if not work:
        return []
    tools, where, points = zip(*((tool, *w) for w in work), strict=True)
    with cf.ProcessPoolExecutor(jobs) as pool:
        return [r for rs in pool.map(score_capture, tools, where, points, chunksize=8) for r in rs]


def _line(name: str, results: list[Result]) -> str:
    brackets = [r.bracket for r in results if r.bracket is not None]
    widths = [w for r in results for w in r.widths or []]
    return (
        f"{name:12s} endpoints {len(results):5d}  exact {statistics.fmean(r.exact for r in results):.4f}  "
        f"agree {statistics.fmean(r.agree for r in results):.4f}  "
        f"bracket {statistics.fmean(brackets) if brackets else float('nan'):.4f}  "
        f"median width {statistics.median(widths) * 1000 if widths else float('nan'):.2f} ms"
    )


def main(folders: list[Path], tool: str = TOOL, *, misses: bool = False, json_to: Path | None = None) -> int:
    """Print the table."""
    results = score(folders, tool)
    if not results:
        print("no recordings here", file=sys.stderr)
        return 1
    if json_to:
        json_to.write_text(json.dumps([asdict(r) for r in results], indent=1) + "\n")
    for r in results if misses else []:
        if not r.exact:
            got = " ".join(r.got) if r.got is not None else r.error or "no connection"
            print(f"{r.recording}/{r.point} {r.host} {r.local} {r.remote}\n   want {' '.join(r.want)}\n   got  {got}")
    for point in POINTS:
        if mine := [r for r in results if r.point == point]:
            print(_line(point, mine))
    print(_line("all", results))
    by: dict[str, list[Result]] = defaultdict(list)
    for r in results:
        by[r.recording].append(r)
    means = [(statistics.fmean(r.exact for r in g), statistics.fmean(r.agree for r in g)) for g in by.values()]
    print(f"recordings {len(by)}  mean exact {statistics.fmean(m[0] for m in means):.4f}  "
          f"mean agree {statistics.fmean(m[1] for m in means):.4f}  "
          f"all exact {statistics.fmean(m[0] == 1 for m in means):.4f}")  # fmt: skip
    return 0
