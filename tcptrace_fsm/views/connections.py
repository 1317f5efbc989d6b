"""One line per connection: the way from an address to a connection's number, and to what is wrong with it.

Connections are chosen by host, port, state, cause and finding, sorted by any column, and written as text, JSON or CSV.
Text on a terminal fits it: what there is no room for is left out, and the last line says what that is.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tcptrace_fsm.core.words import SEVERITIES, SIDES, STATES
from tcptrace_fsm.tables import schema
from tcptrace_fsm.text.addresses import Endpoint, endpoint, with_port
from tcptrace_fsm.text.counts import count
from tcptrace_fsm.text.durations import duration
from tcptrace_fsm.text.escaped import json_text
from tcptrace_fsm.text.names import check_name
from tcptrace_fsm.text.times import iso_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tcptrace_fsm.capture.timeline import Origins

__all__ = ["Choice", "Listing", "check_column", "choice"]

OWN = ("duration", "bytes", "severity", "worst_finding", "causes")
"""What this view knows besides the columns of connections."""
CSV = (
    *("conn_id", "client_ip", "client_port", "server_ip", "server_port", "first_time", "last_time", "duration"),
    *("opening", "closing", "client_state", "server_state", "client_unique_bytes", "server_unique_bytes"),
    *("longest_wait", "longest_wait_for", "severity", "worst_finding", "causes"),
)
_SMALLEST_FIRST = {
    *("conn_id", "incarnation", "previous_conn_id", "tcp_stream", "tcp_stream_last", "first_frame", "last_frame"),
    *(f"{side}_{name}" for side in SIDES for name in ("isn", "mss", "window_shift")),
}
_FEW = 5  # of up to five connections more than a line is printed
_LEAST_FINDING = 20  # columns of the worst finding, before another is spared for its sake


@dataclass(frozen=True)
class Choice:
    """Which connections; None for all.

    Attributes
    ----------
    host : Endpoint or None
        One of a connection's ends.
    state : str or None
        Of either end, when the capture ends.
    cause, kind : str or None
        A diagnosis, a finding that concerns the connection.

    """

    host: Endpoint | None = None
    state: str | None = None
    cause: str | None = None
    kind: str | None = None


def choice(
    host: str | None = None, state: str | None = None, cause: str | None = None, kind: str | None = None
) -> Choice:
    """Make a choice of what a user has typed.

    Raises
    ------
    UsageError
        When there is no such thing; with the names that are most like it.

    """
    if cause is not None:
        from tcptrace_fsm.causes import CAUSES

        cause = check_name("cause", cause, CAUSES)
    if kind is not None:
        from tcptrace_fsm.findings import CATALOGUE

        kind = check_name("kind of finding", kind, CATALOGUE)
    return Choice(
        None if host is None else endpoint(host),
        None if state is None else check_name("state", state, STATES),
        cause,
        kind,
    )


def check_column(name: str) -> str:
    """Return the name of a column to sort by; see `check_name`."""
    return check_name("column", name, [*schema.columns("connections"), *OWN])


class _Wrong(NamedTuple):
    """What is wrong with a connection."""

    kinds: dict[str, str]  # kind of finding and its severity, the worst first
    causes: dict[str, None]

    @property
    def worst(self) -> tuple[str | None, str | None]:
        """The severity and kind of the worst finding."""
        for kind, severity in self.kinds.items():
            return severity, kind
        return None, None


class Listing:
    """The connections of a run.

    Parameters
    ----------
    finished : iterable of Finished
        All that the run handed out.
    origins : Origins or None
        Of several captures.

    """

    def __init__(self, finished: Iterable[Any], origins: Origins | None = None) -> None:
        from tcptrace_fsm.tables.columns import SOURCES, Rows, build

        finished = list(finished)
        rows = Rows(SOURCES["connections"])
        for f in finished:
            rows.add(f.connections, f.count, f.paths)
        self._table = build("connections", rows.take(), origins)
        self._wrong: dict[int, _Wrong] = {}
        found = (finding for f in finished for finding in f.findings if finding.conn_id is not None)
        for finding in sorted(found, key=lambda f: (-SEVERITIES.index(f.severity), f.time)):
            self._of(finding.conn_id).kinds.setdefault(finding.kind, finding.severity)
        self._unlisted: dict[str, int] = {}
        self._diagnoses = [d for f in finished for d in f.diagnoses]
        for diagnosis in self._diagnoses:
            for conn_id in diagnosis.connections:
                self._of(conn_id).causes.setdefault(diagnosis.cause)
            rest = max(0, diagnosis.count - len(diagnosis.connections))
            self._unlisted[diagnosis.cause] = self._unlisted.get(diagnosis.cause, 0) + rest
        self._columns: dict[str, list[Any]] = {}
        self.count: int = self._table.num_rows

    def _of(self, conn_id: int) -> _Wrong:
        return self._wrong.setdefault(conn_id, _Wrong({}, {}))

    def column(self, name: str) -> list[Any]:
        """The values of a column, in the order of conn_id; times and durations in ns."""
        if name not in self._columns:
            self._columns[name] = self._made(name) if name in OWN else self._read(name)
        return self._columns[name]

    def _read(self, name: str) -> list[Any]:
        import pyarrow as pa

        column = self._table.column(name)
        if pa.types.is_timestamp(column.type) or pa.types.is_duration(column.type):
            column = column.cast(pa.int64())
        values: list[Any] = column.to_pylist()
        return values

    def _made(self, name: str) -> list[Any]:
        if name == "duration":
            return [b - a for a, b in zip(self.column("first_time"), self.column("last_time"), strict=True)]
        if name == "bytes":
            ways = self.column("client_unique_bytes"), self.column("server_unique_bytes")
            return [a + b for a, b in zip(*ways, strict=True)]
        nothing = _Wrong({}, {})
        wrong = [self._wrong.get(conn_id, nothing) for conn_id in self.column("conn_id")]
        if name == "causes":
            return [" ".join(w.causes) or None for w in wrong]
        return [w.worst[name == "worst_finding"] for w in wrong]

    def chosen(self, wanted: Choice, sort: str | None = None, *, reverse: bool = False) -> list[int]:
        """Give the places of the connections that are wanted, in order.

        Parameters
        ----------
        wanted : Choice
        sort : str or None
            A column: amounts, times and severities with the largest first, everything else with the smallest; what
            has no value comes last. None for the order of conn_id.
        reverse : bool
            The other way around.

        """
        places = [i for i in range(self.count) if self._matches(i, wanted)]
        if sort is None:
            return places[::-1] if reverse else places
        key, largest_first = _order(sort)
        values = self.column(sort)
        there = [i for i in places if values[i] is not None]
        there.sort(key=lambda i: key(values[i]), reverse=largest_first != reverse)
        return there + [i for i in places if values[i] is None]

    def _matches(self, i: int, wanted: Choice) -> bool:
        if wanted.host is not None and not any(
            wanted.host.matches(self.column(f"{side}_ip")[i], self.column(f"{side}_port")[i]) for side in SIDES
        ):
            return False
        if wanted.state is not None and not any(self.column(f"{side}_state")[i] == wanted.state for side in SIDES):
            return False
        if wanted.cause is None and wanted.kind is None:
            return True
        wrong = self._wrong.get(self.column("conn_id")[i])
        return (
            wrong is not None
            and (wanted.cause is None or wanted.cause in wrong.causes)
            and (wanted.kind is None or wanted.kind in wrong.kinds)
        )

    def hosts(self, most: int = 5) -> list[str]:
        """The addresses with most connections."""
        from collections import Counter

        counted = Counter([*self.column("client_ip"), *self.column("server_ip")])
        return [host for host, _ in counted.most_common(most)]

    def why_none(self, wanted: Choice) -> str:
        """Say why no connection was chosen."""
        if wanted.host is not None and not self.chosen(Choice(wanted.host)):
            return f"{wanted.host} has no connection here; those with most are {', '.join(self.hosts())}"
        if not self.count:
            return "there is no connection"
        return f"none of {count(self.count, 'connection')} is like that"

    def unlisted(self, wanted: Choice) -> str:
        """Say what a diagnosis does not list; empty where it lists all."""
        rest = self._unlisted.get(wanted.cause or "", 0)
        return f"{rest:,} more suffer from {wanted.cause}, whose diagnosis lists the first 1,000" if rest else ""

    # --- text ---
    def text(self, places: Sequence[int], width: int | None, more: int = 0, sort: str | None = None) -> Iterator[str]:
        """Give lines, one for each connection.

        Parameters
        ----------
        places : sequence of int
        width : int or None
            Columns to fill; None for as many as it takes.
        more : int
            Connections that there are besides.
        sort : str or None
            The column that they are sorted by, which is always shown.

        """
        import textwrap

        fields = _fields(sort)
        cells = {head: [head, *(make(self, i) for i in places)] for head, make, _ in fields}
        wide = {head: max(map(len, column)) for head, column in cells.items()}
        kept = _fitting(fields, wide, width)
        for row in range(len(places) + 1):
            shown = [(cells[head][row], wide[head], head in _RIGHT) for head in kept]
            line = " ".join(f"{cell:>{room}}" if right else f"{cell:<{room}}" for cell, room, right in shown)
            yield line[:width].rstrip()
        if more:
            yield f"and {count(more, 'connection')} more; -n 0 shows all"
        gone = [head for head, _, _ in fields if head not in kept]
        if gone:
            yield from textwrap.wrap(
                f"no room here for {', '.join(gone)}; a pipe, --csv and --json have all", width or 80
            )

    def why(self, places: Sequence[int], named: tuple[str, str] | None, width: int) -> Iterator[str]:
        """Say what is wrong with a few connections, and which commands show more; nothing of many.

        Parameters
        ----------
        places : sequence of int
        named : tuple of str or None
            How a command names the captures, and further options; None where they cannot be read again.
        width : int
            Columns to fill.

        """
        import textwrap

        ids = [self.column("conn_id")[i] for i in places]
        if not 0 < len(ids) <= _FEW:
            return
        concerned = [d for d in self._diagnoses if not set(ids).isdisjoint(d.connections)]
        for d in concerned[:_FEW]:
            yield ""
            text = f"{d.severity.upper()} {d.cause}, {d.confidence}: {d.message}"
            yield from textwrap.wrap(text, width, subsequent_indent="  ", break_on_hyphens=False)
            yield from textwrap.wrap(
                f"next  {d.next_step}", width, initial_indent="  ", subsequent_indent=" " * 8, break_on_hyphens=False
            )
        if named is not None:
            yield ""
            yield f"see it   tcptrace-fsm ladder {named[0]} {ids[0]}{named[1]}"
        for cause in dict.fromkeys(d.cause for d in concerned[:1]):
            yield f"explain  tcptrace-fsm causes {cause}"

    # --- for other programs ---
    def csv(self, places: Sequence[int], out: Any, sort: str | None = None) -> None:
        """Write CSV: the columns of :data:`CSV`, and the one that is sorted by."""
        names = CSV if sort is None or sort in CSV else (*CSV, sort)
        kinds = {name: column.type for name, column in schema.columns("connections").items()} | {"duration": "duration"}
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(names)
        values = [(self.column(name), kinds.get(name, "")) for name in names]
        for i in places:
            writer.writerow([_csv(column[i], kind) for column, kind in values])

    def json(self, places: Sequence[int]) -> Iterator[str]:
        """Give one object a line: every column of connections, and what is wrong; durations in seconds."""
        kinds = {c.name: c.type for c in schema.declared("connections")}
        names = [*self._table.schema.names, "duration"]
        for i in places:
            row = {name: _json(self.column(name)[i], kinds.get(name, "duration" if name == "duration" else ""))
                   for name in names}  # fmt: skip
            wrong = self._wrong.get(row["conn_id"], _Wrong({}, {}))
            severity, worst = wrong.worst
            row |= {"severity": severity, "worst_finding": worst, "findings": [*wrong.kinds], "causes": [*wrong.causes]}
            yield json_text(row)


def _order(name: str) -> tuple[Callable[[Any], Any], bool]:
    """How to compare values of a column, and whether the largest comes first."""
    column = schema.columns("connections").get(name)
    if name == "severity":
        return SEVERITIES.index, True
    if name.endswith("_ip"):
        from ipaddress import ip_address

        return (lambda text: (ip_address(text).version, int(ip_address(text)))), False
    if column is None:
        return (lambda value: value), name in {"duration", "bytes"}
    return (lambda value: value), column.type in {"int64", "duration"} and name not in _SMALLEST_FIRST


def _csv(value: Any, kind: str) -> Any:
    if value is None:
        return ""
    if kind == "timestamp":
        return iso_time(value)
    if kind == "duration":
        return f"{value // 10**9}.{value % 10**9:09d}"
    return value


def _json(value: Any, kind: str) -> Any:
    if kind == "timestamp":
        return iso_time(value)
    if kind == "duration":
        return None if value is None else value / 1e9
    return value


# --- the fields of a line ---------------------------------------------------------------------------------------------
class _Field(NamedTuple):
    """A field of a line: its head, what stands in it, and how soon it is spared for want of room (0: never)."""

    head: str
    cell: Callable[[Listing, int], str]
    spared: int


def _end(listing: Listing, i: int, side: str) -> str:
    return with_port(listing.column(f"{side}_ip")[i], listing.column(f"{side}_port")[i])


def _size(listing: Listing, i: int) -> str:
    return "/".join(_short(listing.column(f"{side}_unique_bytes")[i]) for side in SIDES)


def _short(n: int) -> str:
    """A number in a few characters.

    >>> _short(999), _short(41_238), _short(5_000_000_000)
    ('999', '41.2k', '5G')
    """
    for unit, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if n >= unit:
            return f"{n / unit:.3g}{letter}"
    return str(n)


def _wait(listing: Listing, i: int) -> str:
    wait = listing.column("longest_wait")[i]
    return "" if wait is None else f"{duration(wait)} {listing.column('longest_wait_for')[i]}"


def _worst(listing: Listing, i: int) -> str:
    severity, kind = listing.column("severity")[i], listing.column("worst_finding")[i]
    return "" if kind is None else f"{severity.upper()} {kind}"


def _start(listing: Listing, i: int) -> str:
    time = iso_time(listing.column("first_time")[i]) or ""
    return time[11:23]


_FIELDS: tuple[_Field, ...] = (
    _Field("no", lambda listing, i: str(listing.column("conn_id")[i]), 0),
    _Field("client", lambda listing, i: _end(listing, i, "client"), 0),
    _Field("server", lambda listing, i: _end(listing, i, "server"), 0),
    _Field("began", _start, 6),
    _Field("lasted", lambda listing, i: duration(listing.column("duration")[i]), 5),
    _Field("opened", lambda listing, i: listing.column("opening")[i], 7),
    _Field("closed", lambda listing, i: listing.column("closing")[i], 2),
    _Field("states", lambda listing, i: f"{listing.column('client_state')[i]}/{listing.column('server_state')[i]}", 4),
    _Field("bytes", _size, 8),
    _Field("longest wait", _wait, 3),
    _Field("cause", lambda listing, i: listing.column("causes")[i] or "", 1),
    _Field("worst finding", _worst, 0),
)
_RIGHT = {"no", "lasted", "bytes"}
_SHOWN_AS = {
    "conn_id": "no",
    "client_ip": "client",
    "client_port": "client",
    "server_ip": "server",
    "server_port": "server",
    "first_time": "began",
    "duration": "lasted",
    "opening": "opened",
    "closing": "closed",
    "bytes": "bytes",
    "client_state": "states",
    "server_state": "states",
    "client_unique_bytes": "bytes",
    "server_unique_bytes": "bytes",
    "longest_wait": "longest wait",
    "longest_wait_for": "longest wait",
    "causes": "cause",
    "severity": "worst finding",
    "worst_finding": "worst finding",
}


def _fields(sort: str | None) -> list[_Field]:
    """The fields of a line, with the one that lines are sorted by."""
    if sort is None:
        return list(_FIELDS)
    head = _SHOWN_AS.get(sort)
    if head is not None:
        return [field._replace(spared=0) if field.head == head else field for field in _FIELDS]
    kind = schema.columns("connections")[sort].type

    def cell(listing: Listing, i: int) -> str:
        value = listing.column(sort)[i]
        if value is None:
            return ""
        return duration(value) if kind == "duration" else str(_csv(value, kind))

    return [*_FIELDS[:-1], _Field(sort, cell, 0), _FIELDS[-1]]


def _fitting(fields: Sequence[_Field], wide: dict[str, int], width: int | None) -> list[str]:
    """Choose the fields for which there is room; the last may be cut."""
    if width is None:
        return [field.head for field in fields]
    wide = {**wide, "worst finding": min(wide["worst finding"], _LEAST_FINDING)}
    kept: set[str] = set()
    room = width + 1
    for head, _, spared in sorted(fields, key=lambda field: field.spared):
        if not spared or wide[head] + 1 <= room:
            kept.add(head)
            room -= wide[head] + 1
    return [field.head for field in fields if field.head in kept]


def screen_width() -> int | None:
    """Columns to fill: the terminal's; None for a pipe, unless ``COLUMNS`` says how wide it is."""
    import os

    from tcptrace_fsm.text.terminal import terminal_width

    return terminal_width() if sys.stdout.isatty() or os.environ.get("COLUMNS") else None
