"""How often a tool says who was waited for, and how long: against applications that waited for known times.

Per connection of the recordings of `scenarios/applications.py`, at each of the three capture points:

who        longest_wait_for names the party that was waited for
covered    the rows of the table `waits` for this party hold what it waited, to a tenth or one round trip
long       longest_wait is what its longest pause took, to a tenth or one round trip
responses  requests and response_time_max are right, to a tenth or one round trip
quiet      no diagnosis above info where nobody did anything wrong
limited    server_limited_by says what limited a long answer
cause      a diagnosis names the cause that belongs to what was played

Where segments are lost, a repetition or a handshake may have taken longer than any application: then `who` and `long`
are asked of the longest wait of an application, a window or an ACK in the table.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pandas as pd

POINTS = ("client", "router", "server")
INNOCENT = ("fast", "typing", "idle_pool", "long_poll", "client_thinks", "client_asks_late", "bulk")
CAUSE = {
    "server_slow": "server_slow",
    "unanswered": "request_unanswered",
    "client_slow": "client_slow",
    "client_unread": "receiver_slow",
    "server_unread": "receiver_slow",
    "nagle": "nagle_delayed_ack",
    "nagle_of_server": "nagle_delayed_ack",
}
BULK = {"bulk": "path", "window_bound": "receiver_window", "unscaled": "receiver_window"}
BY_CHANCE = ("handshake", "retransmission", "close")


@dataclass
class Mark:
    """What was right of one connection at one point."""

    recording: str
    point: str
    kind: str
    port: int
    right: dict[str, bool] = field(default_factory=dict)
    said: str = ""


def score(folder: Path, points: Iterable[str] = POINTS) -> list[Mark]:
    """Marks of one recording."""
    import tcptrace_fsm

    meta = json.loads((folder / "meta.json").read_text())
    marks = []
    for point in points:
        trace = tcptrace_fsm.analyze(folder / f"{point}.pcap")
        rows = {r["client_port"]: r for r in trace.connections.to_dict("records")}
        waits = dict(list(trace.waits.groupby("conn_id")))
        found = defaultdict(list)
        for d in trace.diagnoses.to_dict("records"):
            for n in d["connections"]:
                found[n].append(d)
        for port, truth in meta["waits"].items():
            row = rows[int(port)]
            n = row["conn_id"]
            marks.append(
                _mark(
                    Mark(folder.name, point, truth["kind"], int(port)),
                    truth,
                    row,
                    waits.get(n),
                    found[n],
                    meta["args"],
                )
            )
    return marks


def _seconds(value: Any) -> float:
    return float("nan") if value is None or value != value else value.total_seconds()


def _near(value: float, truth: float, slack: float) -> bool:
    return abs(value - truth) <= max(truth / 10, slack)


def _mark(
    mark: Mark,
    truth: dict[str, Any],
    row: dict[str, Any],
    waits: pd.DataFrame | None,
    found: list[dict[str, Any]],
    args: dict[str, Any],
) -> Mark:
    slack = args.get("rtt", 0.0) + 0.02
    lossy = bool(args.get("loss"))
    party, kind, waited = truth["party"], truth["kind"], truth["waited"]
    who, long = row["longest_wait_for"], _seconds(row["longest_wait"])
    if lossy and waits is not None and (who is None or who.split(" ")[1] in BY_CHANCE):
        others = waits[~waits["waiting_for"].isin(BY_CHANCE)].sort_values("duration")
        if len(others):
            last = others.iloc[-1]
            who, long = f"{last['side']} {last['waiting_for']}", _seconds(last["duration"])
    right = mark.right
    if kind.startswith("nagle"):
        total = sum(z - a for a, z in waited)
        took = _seconds(row["time_delayed_ack"])
        # An ACK that is held back behind the capture point cannot be told from one that was late on its way.
        if not lossy and not (args.get("acks_held") and mark.point == "server"):
            right["covered"] = abs(took - total) <= max(total / 5, slack)
            right["who"] = total < 0.1 or took > 0.05
    elif party:
        right["who"] = who == party
        right["long"] = _near(long, truth["seconds"], slack)
        if lossy and kind.endswith("_unread"):
            del right["long"]
        if truth["seconds"] > 2 * slack:
            right["covered"] = _covered(waits, party, waited, slack)
    elif kind in BULK:
        if not lossy and slack > 0.03:
            right["limited"] = row["server_limited_by"] == BULK[kind]
    else:
        right["who"] = lossy or not long > 0.1 + args.get("rtt", 0.0)
    if truth["responses"] and row["requests"] is not None and row["requests"] == row["requests"]:
        most = max(truth["responses"])
        right["responses"] = lossy or (
            row["requests"] >= truth["requests"] and _near(_seconds(row["response_time_max"]), most, slack + 0.03)
        )
    told = [d for d in found if d["severity"] != "info"]
    mark.said = f"{who} {long:.3f} of {truth['seconds']:.3f}; " + " ".join(d["cause"] for d in told)
    if kind in INNOCENT and not lossy:
        right["quiet"] = not told
    if kind in ("window_bound", "unscaled") and not lossy and slack > 0.03:
        right["cause"] = "window_limited" in {d["cause"] for d in found}
    if kind in CAUSE and right.get("who") and not lossy and (kind.startswith("nagle") or truth["seconds"] > 2.1):
        right["cause"] = CAUSE[kind] in {d["cause"] for d in found}
    return mark


def _covered(waits: pd.DataFrame | None, party: str, waited: list[list[float]], slack: float) -> bool:
    """Whether the party's rows hold what it waited, for each pause that is long enough to be a row."""
    if waits is None:
        return False
    side, what = party.split(" ")
    rows = waits[(waits["side"] == side) & (waits["waiting_for"] == what)]
    spans = [(a.timestamp(), z.timestamp()) for a, z in zip(rows["start"], rows["end"], strict=True)]
    for a, z in waited:
        if z - a <= 2 * slack:
            continue
        within = sum(max(0.0, min(z, y) - max(a, x)) for x, y in spans)
        if z - a - within > max((z - a) / 10, slack):
            return False
    return True


def table(marks: list[Mark]) -> str:
    """Shares by kind and mark."""
    by: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for m in marks:
        for name, good in m.right.items():
            by[m.kind][name].append(good)
            by["all"][name].append(good)
    lines = []
    for kind, of in sorted(by.items(), key=lambda i: (i[0] == "all", i[0])):
        shares = "  ".join(f"{name} {sum(v) / len(v):.3f} ({len(v)})" for name, v in of.items())
        lines.append(f"{kind:18s} {shares}")
    return "\n".join(lines)
