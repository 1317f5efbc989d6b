"""One HTML page that tells what a capture holds: to open from disk, to send, to print. It asks no network for anything.

What matters stands in the page as plain HTML, readable without its script: the summary, the findings by kind with their
explanation, the states at the end. The script adds what needs one: the table of connections, the graphs, the ladders.
Their data are JSON, compressed and in base64, a few connections to a piece, so that a page of ten thousand connections
opens at once and unpacks what is looked at.

Whatever comes from a capture is hostile. In HTML it is escaped; in the script it is only ever text. And the page's
Content-Security-Policy names the one script and the one style sheet by their digests and allows nothing else, not even
a picture from elsewhere.

Not every connection has its ladder in the page: :func:`tcptrace_fsm.views.pagedata.chosen` says which, and the page
says how
to get the others.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import shlex
from dataclasses import dataclass
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any

from tcptrace_fsm.core.words import CLOSINGS, OPENINGS, SEVERITIES, SIDES, STATES
from tcptrace_fsm.errors import printable
from tcptrace_fsm.files import whole_file
from tcptrace_fsm.tables.connections import LONGEST_FOR
from tcptrace_fsm.text.counts import count
from tcptrace_fsm.views.diagnoses import diagnoses_html
from tcptrace_fsm.views.diagram import diagram_style, diagram_svg
from tcptrace_fsm.views.ladder import ladder_style
from tcptrace_fsm.views.pagedata import Limits, chosen, detail, occupancy, rows
from tcptrace_fsm.views.palette import GRAPH, INK, SEVERITY, STATE, WENT
from tcptrace_fsm.views.summary import facts, unexplained

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd

    from tcptrace_fsm.core.finished import Finding
    from tcptrace_fsm.findings import Rule, Survey
    from tcptrace_fsm.text.addresses import Endpoint
    from tcptrace_fsm.views.palette import Colour
    from tcptrace_fsm.views.protocol import TraceViews


__all__ = ["Limits", "chosen", "write"]


LIMITS = Limits()
TOGETHER = 8  # connections to a piece of data
_PAGE = resources.files("tcptrace_fsm.views") / "page"


def write(
    trace: TraceViews,
    path: str | os.PathLike[str],
    *,
    limits: Limits = LIMITS,
    named: Sequence[str] = (),
    host: Endpoint | None = None,
    tell: Callable[[int, int], None] | None = None,
) -> None:
    """Write the report of a trace.

    Parameters
    ----------
    trace : Trace
    path : path
        Written whole or not at all: under a temporary name first.
    limits : Limits
    named : sequence of str
        How to name the captures on the command line, with options that matter; by default as they were opened.
    host : Endpoint or None
        Show only the connections of this host; they keep their numbers.
    tell : callable or None
        Told, after each connection that was drawn, how many of how many are.

    Raises
    ------
    UsageError
        When nothing can be written there.

    """
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(page(trace, limits, named, tell, host))


def page(
    trace: TraceViews,
    limits: Limits = LIMITS,
    named: Sequence[str] = (),
    tell: Callable[[int, int], None] | None = None,
    host: Endpoint | None = None,
) -> Iterator[str]:
    """Give the page, piece by piece."""
    summary, span = trace.summary, trace.span
    connections, findings, only = trace.connections, trace.findings, []
    if host is not None:
        whole = len(connections)
        connections = _of_host(connections, host)
        summary, findings = _narrowed(summary, findings, set(connections["conn_id"].tolist()))
        only = [("shown here", f"{count(len(connections), 'connection')} of {host}; the capture has {whole:,}")]
    table = rows(connections, findings, limits.rows)
    ids = sorted(chosen(connections, findings, limits)) if trace.rereadable else []
    style = "".join([_file("uplot.min.css"), _colours(), _file("page.css"), ladder_style(_DARK), diagram_style(_DARK)])
    code = "".join([_file("uplot.min.js"), "(() => {'use strict';\n", *map(_file, _SCRIPTS), "})();\n"])
    style, code = _closed(style), _closed(code)
    kinds = _kinds(summary, findings)
    names = ["FILE" if name == "-" else printable(name) for name in named or [c["name"] for c in summary["captures"]]]
    head, *others = facts(summary, span)
    parts = {
        "title": escape(head[0]),
        "policy": _policy(code, style),
        "style": style,
        "what": escape(head[1]),
        "facts": "".join(_fact(*fact) for fact in [*only, *others]),
        "diagnoses": diagnoses_html(summary["diagnoses"], _link),
        "worst": _worst(summary),
        "states": _states_at_end(summary["connections"]["states_at_end"]),
        "findings": "".join(_kind(trace, kind, limits.messages) for kind in kinds) or "<p>Nothing went wrong.</p>",
        "diagram": _diagram(trace),
        "ladders": escape(_which(len(ids), len(connections), table["shown"])),
        "version": escape(summary["versions"]["tcptrace-fsm"]),
    }
    meta = {
        "connections": len(connections),
        "shown": table["shown"],
        "began": (span[0] or 0) // 1_000_000,
        "span": (span[1] or 0) - (span[0] or 0),
        "states": list(STATES),
        "openings": list(OPENINGS),
        "closings": list(CLOSINGS),
        "severities": list(SEVERITIES),
        "waits": list(LONGEST_FOR),
        "went": [
            name.replace("_application", "'s application").replace("_window", "'s window").replace("_", " ")
            for name in WENT
        ],
        "colours": {name: _either(colour) for name, colour in STATE.items()},
        "kinds": [{"kind": kind.name, "severity": kind.severity, "count": kind.count} for kind in kinds],
        "ladders": ids,
        "together": TOGETHER,
        "command": "tcptrace-fsm ladder " + " ".join(shlex.quote(name) for name in names),
    }
    before, after = _file("page.html").split("{{data}}")
    yield _filled(before, parts)
    yield f'<script type="application/json" id="meta">{_json(meta)}</script>\n'
    yield _packed("table", table)
    yield _packed("occupancy", occupancy(trace))
    yield from _details(trace, ids, limits.points, tell)
    yield f"<script>{code}</script>\n"
    yield _filled(after, parts)


def _details(trace: TraceViews, ids: list[int], points: int, tell: Callable[[int, int], None] | None) -> Iterator[str]:
    """Give the chosen connections, some to a piece: together they compress better, and one is still soon unpacked."""
    if not ids:
        return
    place = {conn_id: i for i, conn_id in enumerate(ids)}
    piece: dict[int, Any] = {}
    number = 0
    for done, conversation in enumerate(trace.conversations(ids, limit=4 * points), start=1):
        if place[conversation.conn_id] // TOGETHER != number:
            yield _packed(f"connections-{number}", piece)
            piece, number = {}, place[conversation.conn_id] // TOGETHER
        piece[conversation.conn_id] = detail(conversation, points)
        if tell is not None:
            tell(done, len(ids))
    yield _packed(f"connections-{number}", piece)


def _of_host(connections: pd.DataFrame, host: Endpoint) -> pd.DataFrame:
    """The connections of which one end is that host, or port."""
    ends = [
        (connections[f"{side}_ip"] == host.ip if host.ip is not None else connections[f"{side}_port"] >= 0)
        & (connections[f"{side}_port"] == host.port if host.port is not None else connections[f"{side}_port"] >= 0)
        for side in SIDES
    ]
    return connections[ends[0] | ends[1]]


def _narrowed(
    summary: dict[str, Any], findings: list[Finding], there: set[int]
) -> tuple[dict[str, Any], list[Finding]]:
    """Keep of summary and findings what concerns some connections."""
    findings = [f for f in findings if f.conn_id in there]
    worst = []
    for kind in summary["worst"]:
        these = [f for f in findings if f.kind == kind["kind"]]
        if these:
            ids = list(dict.fromkeys(f.place for f in these))
            worst.append({**kind, "count": len(these), "conn_ids": ids, "message": these[0].message})
    suffering = [d for d in summary["diagnoses"] if there.intersection(d["connections"])]
    shown = [{**d, "connections": [n for n in d["connections"] if n in there]} for d in suffering]
    services = [s for s in summary["services"] if s["slowest_conn_id"] in there]
    return {**summary, "worst": worst, "diagnoses": shown, "services": services}, findings


# --- pieces of the page -----------------------------------------------------------------------------------------------
_DARK = ':root[data-theme="dark"]'
_SCRIPTS = ("table.js", "graphs.js", "page.js")


def _file(name: str) -> str:
    return (_PAGE / name).read_text(encoding="utf-8")


def _filled(template: str, parts: dict[str, str]) -> str:
    """Put the parts into the places of a template; what a part holds is looked at no more."""
    pieces = template.split("{{")
    made = [pieces[0]]
    for piece in pieces[1:]:
        name, rest = piece.split("}}", 1)
        made += [parts[name], rest]
    return "".join(made)


def _closed(text: str) -> str:
    """Refuse what would end the element that this text is put into."""
    if "</s" in text.lower() or "<!--" in text:
        raise AssertionError("the page's own script or style would end early")
    return text


def _policy(code: str, style: str) -> str:
    """Allow exactly this script and this style sheet."""
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (code, style)]
    return escape(
        f"default-src 'none'; script-src 'sha256-{digests[0]}'; style-src 'sha256-{digests[1]}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _json(value: Any) -> str:
    """Write JSON that may stand in a script element: with no ``<`` in it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _packed(name: str, value: Any) -> str:
    """Write JSON for the script to unpack: gzip, in base64."""
    packed = gzip.compress(json.dumps(value, separators=(",", ":")).encode(), compresslevel=6, mtime=0)
    return f'<script type="text/plain" id="data-{name}">{base64.b64encode(packed).decode()}</script>\n'


def _colours() -> str:
    """Give the style sheet its colours."""
    named = {**INK, **SEVERITY, **GRAPH}
    went = "".join(
        f".went-{i}{{--swatch:{_either(colour)};background:var(--swatch)}}" for i, colour in enumerate(WENT.values())
    )
    variables = "".join(f"--{name}:{_either(colour)};" for name, colour in named.items())
    states = "".join(f".s-{name}{{--state:{_either(colour)}}}" for name, colour in STATE.items())
    return f":root{{{variables}}}{states}{went}.timeline [class]{{fill:var(--state)}}"


def _either(colour: Colour) -> str:
    return f"light-dark({colour.light},{colour.dark})"


def _fact(name: str, value: str) -> str:
    return f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"


def _severity(name: str) -> str:
    return f'<span class="severity {escape(name)}">{escape(name)}</span>'


def _link(conn_id: int) -> str:
    return f'<a class="connection" href="#c{conn_id}">{conn_id}</a>'


def _worst(summary: dict[str, Any]) -> str:
    """Say what went wrong and is not diagnosed, worst first, a line for each kind."""
    if not summary["connections"]["count"]:
        return ""
    lines = []
    kinds = unexplained(summary)
    informing = [kind for kind in kinds if kind["severity"] == "info"]
    for kind in kinds:
        if kind["severity"] == "info":
            continue
        shown = [i for i in kind["conn_ids"][:5] if i >= 0]
        more = " …" if len(kind["conn_ids"]) > 5 else ""
        where = (
            f'<span class="where">connection{"s" if len(shown) > 1 else ""} {", ".join(map(_link, shown))}{more}</span>'
        )
        name = escape(kind["kind"])
        lines.append(
            f'<li class="{escape(kind["severity"])}">{_severity(kind["severity"])}'
            f'<a class="kind" href="#kind-{name}">{name}</a><span class="count">{kind["count"]:,}</span>'
            f'<span class="message">{escape(kind["message"])} {where if shown else ""}</span></li>'
        )
    if informing:
        sentences = "".join(
            f'<span><a class="kind" href="#kind-{name}">{name}</a> {kind["count"]:,}</span> '
            for kind, name in ((kind, escape(kind["kind"])) for kind in informing)
        )
        lines.append(f'<li class="info">{_severity("info")}<div class="rest">{sentences}</div></li>')
    if not lines and summary["diagnoses"]:
        return ""
    if not lines:
        return '<p class="well">No anomaly was found.</p>'
    return f'<ol class="worst">{"".join(lines)}</ol>'


def _states_at_end(states: dict[str, dict[str, int]]) -> str:
    rows = "".join(
        f'<tr><th scope="row"><span class="swatch s-{name}"></span>{name}</th>'
        + "".join(f"<td>{f'{states[side][name]:,}' if states[side][name] else '·'}</td>" for side in SIDES)
        + "</tr>"
        for name in STATES
        if states["client"][name] or states["server"][name]
    )
    if not rows:
        return ""
    return (
        '<table class="ends"><caption>States at the end</caption><thead><tr><th scope="col">state</th>'
        f'<th scope="col">client</th><th scope="col">server</th></tr></thead><tbody>{rows}</tbody></table>'
    )


@dataclass(frozen=True)
class _Kind:
    """The findings of one kind, with what the catalogue says of it."""

    name: str
    severity: str
    count: int
    rule: Rule | Survey | None
    findings: list[Finding]


def _kinds(summary: dict[str, Any], findings: list[Finding]) -> list[_Kind]:
    """Group the findings, in the order of the summary."""
    from tcptrace_fsm.findings import CATALOGUE

    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.kind, []).append(finding)
    return [
        _Kind(kind["kind"], kind["severity"], kind["count"], CATALOGUE.get(kind["kind"]), groups[kind["kind"]])
        for kind in summary["worst"]
    ]


def _kind(trace: TraceViews, kind: _Kind, most: int) -> str:
    """Explain a kind, and list its findings."""
    rule, name = kind.rule, escape(kind.name)
    details = gist = ""
    if rule is not None:
        gist = f'<span class="gist">{escape(rule.summary)}</span>'
        details = (
            '<dl class="explained">'
            f"<div><dt>what is seen</dt><dd>{escape(rule.evidence)}</dd></div>"
            f"<div><dt>what else it may be</dt><dd>{escape(rule.innocent)}</dd></div>"
            f"<div><dt>where it is written</dt><dd>{escape(rule.rfc)}</dd></div></dl>"
        )
    began = trace.span[0] or 0
    items = []
    for f in kind.findings[:most]:
        link = _link(f.place) if f.place >= 0 else ""
        frame = "" if f.frame is None or f.frame < 0 else f"{f.frame:,}"
        artefact = f" <em>(or {escape(f.possible_artefact)})</em>" if f.possible_artefact else ""
        items.append(
            f'<tr><td class="number">{link}</td><td class="number">{(f.time - began) / 1e9:.6f} s</td>'
            f'<td class="number">{frame}</td><td>{escape(f.message)}{artefact}</td></tr>'
        )
    left = kind.count - len(items)
    more = f'<p class="quiet">{left:,} more are in the table of connections.</p>' if left else ""
    return (
        f'<details class="kind" id="kind-{name}"{" open" if kind.severity == "high" else ""}><summary>'
        f'{_severity(kind.severity)}<h3>{name}</h3><span class="count">{kind.count:,}</span>{gist}</summary>'
        f'{details}<table class="findings"><thead><tr><th scope="col">connection</th><th scope="col">time</th>'
        f'<th scope="col">frame</th><th scope="col">finding</th></tr></thead><tbody>{"".join(items)}</tbody></table>'
        f'{more}<p><button type="button" class="filter" data-kind="{name}">Show their connections in the table</button>'
        "</p></details>"
    )


def _diagram(trace: TraceViews) -> str:
    """Draw the state diagram as this capture's endpoints went through it."""
    if not trace.connections.size:
        return ""
    taken = trace.diagram().taken
    drawn = diagram_svg(taken, capture=trace.name, standalone=False)
    explanation = "RFC 9293's figure 5, weighted by what the endpoints of this capture did"
    return f'<details class="as-figure"><summary>{explanation}</summary><div class="drawn">{drawn}</div></details>'


def _which(ladders: int, connections: int, rows: int) -> str:
    """Say what is in the page and what is not."""
    if ladders == connections == rows:
        return "Each opens with its ladder and graphs."
    which = "those with findings, then the largest"
    sentences = [f"{count(ladders, 'connection')} of {connections:,} open with ladder and graphs: {which}."]
    if rows < connections:
        sentences.append(f"The table holds {rows:,}: those with findings, then the first ones.")
    return " ".join(sentences)
