"""What the report page's script shows, as plain lists and dictionaries: the table, the states over time, connections.

Words are numbers into lists of words, times and durations ns, -1 is null: short, and soon read. :func:`chosen` says
which connections get ladder and graphs.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tcptrace_fsm.core.words import CLOSINGS, OPENINGS, SEVERITIES, STATES
from tcptrace_fsm.tables.connections import LONGEST_FOR
from tcptrace_fsm.views.ladder import ladder_svg
from tcptrace_fsm.views.occupancy import COUNTED
from tcptrace_fsm.views.palette import WENT
from tcptrace_fsm.views.series import directions, merged, sampled
from tcptrace_fsm.views.statebars import timeline_svg

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from numpy.typing import NDArray

    from tcptrace_fsm.core.finished import Finding
    from tcptrace_fsm.views.conversation import Conversation
    from tcptrace_fsm.views.protocol import TraceViews
    from tcptrace_fsm.views.series import Direction

    Words = NDArray[np.int64]

__all__ = ["Limits", "chosen", "detail", "hosts", "occupancy", "rows", "shares"]

OCCUPANCY_POINTS = 1200
OCCUPANCY_HOSTS = 12


@dataclass(frozen=True)
class Limits:
    """How much goes into a page.

    Attributes
    ----------
    rows : int
        Connections in the table; of more, those with findings and then the first ones.
    ladders : int
        Connections with ladder and graphs.
    bytes : int
        What these may take together, roughly.
    points : int
        Segments in one graph; of more, some are drawn as one.
    messages : int
        Findings of one kind that are listed; the table shows all.

    """

    rows: int = 200_000
    ladders: int = 2_000
    bytes: int = 8_000_000
    points: int = 3_000
    messages: int = 20


def chosen(connections: pd.DataFrame, findings: list[Finding], limits: Limits) -> list[int]:
    """Choose the connections that get ladder and graphs, the most wanted first.

    First those with findings: the more severe first, and of one severity every kind in turn, so that no frequent kind
    crowds out a rare one. Findings that are only information come after the ten largest connections, and after them
    whatever is largest.

    Parameters
    ----------
    connections : DataFrame
    findings : list of Finding
    limits : Limits

    Returns
    -------
    list of int

    """
    segments = (connections["client_segments"] + connections["server_segments"]).to_numpy()
    payload = (connections["client_payload_bytes"] + connections["server_payload_bytes"]).to_numpy()
    ids = connections["conn_id"].tolist()
    place = {conn_id: i for i, conn_id in enumerate(ids)}
    largest = [ids[i] for i in np.lexsort((np.arange(len(payload)), -segments, -payload)).tolist()]
    turns: Counter[str] = Counter()
    ranked = []
    for f in findings:
        ranked.append((-SEVERITIES.index(f.severity), turns[f.kind], f.place))
        turns[f.kind] += 1
    ranked.sort()
    notable = [conn_id for severity, _, conn_id in ranked if severity]
    informing = [conn_id for severity, _, conn_id in ranked if not severity]
    order = [*notable, *largest[:10], *informing, *largest]
    taken: dict[int, None] = {}
    room = limits.bytes
    for conn_id in order:
        if conn_id not in place or conn_id in taken:
            continue
        room -= 3500 + 14 * min(int(segments[place[conn_id]]), 2 * limits.points)
        if len(taken) >= limits.ladders or room < 0:
            break
        taken[conn_id] = None
    return list(taken)


def rows(connections: pd.DataFrame, findings: list[Finding], most: int) -> dict[str, Any]:
    """Make the columns of the table; words are numbers into lists of words, durations are ns, -1 is null."""
    there = set(connections["conn_id"].tolist())
    found = [f for f in findings if f.place in there]
    if len(connections) > most:
        order = dict.fromkeys([*(f.place for f in found), *connections["conn_id"].tolist()])
        of_these = set(list(order)[:most])
        connections = connections[connections["conn_id"].isin(of_these)]
        found = [f for f in found if f.place in of_these]
    kinds = list(dict.fromkeys(f.kind for f in found))
    place = {kind: i for i, kind in enumerate(kinds)}
    by_connection: dict[int, list[int]] = {}
    for f in found:
        listed = by_connection.setdefault(f.place, [])
        if place[f.kind] not in listed:
            listed.append(place[f.kind])
    addresses, client, server = hosts(connections)
    first_time = connections["first_time"].astype("int64")
    began = int(first_time.min()) if len(first_time) else 0
    duration_ns = connections["last_time"].astype("int64") - first_time

    def words(name: str, codes: tuple[str, ...]) -> list[int]:
        return connections[name].map({word: i for i, word in enumerate(codes)}).astype("int64").tolist()

    def numbers(values: Any) -> list[int]:
        as_integers: list[int] = values.astype("int64").tolist()
        return as_integers

    def durations(name: str) -> list[int]:
        return numbers(connections[name].astype("int64").where(connections[name].notna(), -1))

    of_waits = {word: i for i, word in enumerate(LONGEST_FOR)}
    longest_for = connections["longest_wait_for"].astype(object).map(lambda word: of_waits.get(word, 0))
    return {
        "shown": len(connections),
        "hosts": addresses,
        "kinds": kinds,
        "id": numbers(connections["conn_id"]),
        "client": client,
        "client_port": numbers(connections["client_port"]),
        "server": server,
        "server_port": numbers(connections["server_port"]),
        "start": (first_time - began).tolist(),
        "duration": duration_ns.tolist(),
        "opening": words("opening", OPENINGS),
        "closing": words("closing", CLOSINGS),
        "client_state": words("client_state", STATES),
        "server_state": words("server_state", STATES),
        "client_bytes": numbers(connections["client_payload_bytes"]),
        "server_bytes": numbers(connections["server_payload_bytes"]),
        "segments": numbers(connections["client_segments"] + connections["server_segments"]),
        "again": numbers(connections["client_retransmitted_segments"] + connections["server_retransmitted_segments"]),
        "rtt": durations("handshake_rtt"),
        "longest": durations("longest_wait"),
        "longest_for": numbers(longest_for),
        "went": shares(connections),
        "findings": by_connection,
    }


def shares(connections: pd.DataFrame) -> list[list[int]]:
    """Per thousand of each connection's duration, for what it went, in the order of the palette's ``WENT``."""
    times = np.array([connections[f"time_{name}"].astype("int64").to_numpy() for name in WENT], dtype=np.float64)
    total = np.maximum(times.sum(axis=0), 1)
    made: list[list[int]] = np.rint(times * 1000 / total).astype(np.int64).tolist()
    return made


def hosts(connections: pd.DataFrame) -> tuple[list[str], list[int], list[int]]:
    """Number the addresses in their order, so that sorting by number sorts by address."""
    from ipaddress import ip_address

    def order(text: str) -> tuple[int, int]:
        address = ip_address(text)
        return address.version, int(address)

    distinct = sorted({*connections["client_ip"], *connections["server_ip"]}, key=order)
    place = {text: i for i, text in enumerate(distinct)}
    return distinct, connections["client_ip"].map(place).tolist(), connections["server_ip"].map(place).tolist()


def occupancy(trace: TraceViews) -> dict[str, Any]:
    """Count endpoints by state over time: of all hosts, and of those with most endpoints."""
    first, last = trace.span
    if first is None or last is None or not len(trace.connections):
        return {"hosts": []}
    sweep = trace.sweep
    busy = (
        trace.connections["client_ip"].value_counts().add(trace.connections["server_ip"].value_counts(), fill_value=0)
    )
    hosts: list[str | None] = [None, *busy.sort_values(ascending=False, kind="stable").head(OCCUPANCY_HOSTS).index]
    if sweep.changes <= OCCUPANCY_POINTS:
        at = None
    else:
        at = first + (np.arange(OCCUPANCY_POINTS + 1, dtype=np.int64) * ((last - first) // OCCUPANCY_POINTS))
    made = []
    for host in hosts:
        times, counts = sweep.counts(host=host, at=at)
        inside = times <= last
        times, counts = times[inside], counts[inside]
        if at is None and len(times) and times[-1] < last:  # the last count holds until the end
            times, counts = np.append(times, last), np.vstack([counts, counts[-1:]])
        seen = [i for i, name in enumerate(COUNTED) if name != "LISTEN" and counts[:, i].any()]
        made.append(
            {
                "host": host,
                "times": (times - first).tolist(),
                "states": [COUNTED[i] for i in seen],
                "counts": [counts[:, i].tolist() for i in seen],
            }
        )
    return {"hosts": made, "every": 0 if at is None else int(at[1] - at[0])}


def detail(conversation: Conversation, points: int) -> dict[str, Any]:
    """Make what the page shows of one connection."""
    began = conversation.began
    return {
        "ladder": ladder_svg(conversation, standalone=False),
        "timeline": timeline_svg(conversation),
        "total": conversation.total,
        "kept": len(conversation.segments),
        "ways": [direction(way, began, points) for way in directions(conversation.segments)],
        "changes": [
            [c.side, c.time - began, c.from_state, c.to_state, c.event, c.basis, c.frame] for c in conversation.changes
        ],
        "findings": [[f.severity, f.kind, f.time - began, f.frame, f.message] for f in conversation.findings],
    }


def direction(way: Direction, began: int, points: int) -> dict[str, Any]:
    data = merged(way.data, points)

    def lists(columns: Iterable[Words]) -> list[list[int]]:
        time, *values = sampled(columns, points)
        return [(time - began).tolist(), *(v.tolist() for v in values)]

    return {
        "side": way.side,
        "data": [
            (data.time - began).tolist(),
            (data.last - began).tolist(),
            data.begin.tolist(),
            data.end.tolist(),
            data.kind.tolist(),
        ],
        "ack": lists(way.ack),
        "edge": lists(way.edge),
        "duplicate_acks": lists(way.duplicate_acks),
        "zero_windows": lists(way.zero_windows),
        "resets": lists(way.resets),
        "sack": lists(way.sack),
        "rtt": lists(way.rtt),
        "throughput": [(way.throughput.time - began).tolist(), way.throughput.value.tolist(), way.bin],
    }
