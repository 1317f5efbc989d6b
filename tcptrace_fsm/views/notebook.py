"""What a notebook shows of a trace and of a connection: HTML that needs no script, with everything escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from tcptrace_fsm.core.words import STATES
from tcptrace_fsm.views.diagnoses import diagnoses_html
from tcptrace_fsm.views.ladder import ladder_svg
from tcptrace_fsm.views.palette import SEVERITY, STATE
from tcptrace_fsm.views.statebars import timeline_svg
from tcptrace_fsm.views.summary import facts, unexplained

if TYPE_CHECKING:
    from tcptrace_fsm.views.conversation import Conversation

__all__ = ["connection_html", "trace_html"]


def trace_html(summary: dict[str, Any], span: tuple[int | None, int | None]) -> str:
    """Show what the first screen of a terminal says: the capture, diagnoses, what they leave, the states at the end.

    Parameters
    ----------
    summary : dict
        As in ``summary.json``.
    span : tuple of int or None
        First and last capture time, ns.

    """
    (name, what), *rest = facts(summary, span)
    lines = "".join(f"<tr><th style='text-align:left'>{escape(n)}</th>{_cell(v)}</tr>" for n, v in rest)
    found = "".join(
        f"<tr><td style='text-align:left'>{_severity(kind['severity'])}</td>"
        f"<td style='text-align:left'><code>{escape(kind['kind'])}</code></td><td>{kind['count']:,}</td>"
        f"{_cell(kind['message'])}{_cell(', '.join(str(i) for i in kind['conn_ids'][:5]))}</tr>"
        for kind in unexplained(summary)
    )
    head = "".join(
        f"<th style='text-align:left'>{n}</th>" for n in ("", "kind", "", "first of the worst", "connections")
    )
    ends = summary["connections"]["states_at_end"]
    states = "; ".join(
        f"<span style='color:{STATE[state].light}'>■</span> {state}"
        f" {ends['client'][state]:,} / {ends['server'][state]:,}"
        for state in STATES
        if ends["client"][state] or ends["server"][state]
    )
    return (
        f"<p><strong>{escape(name)}</strong> {escape(what)}</p><table>{lines}</table>"
        + diagnoses_html(summary["diagnoses"])
        + (f"<table><thead><tr>{head}</tr></thead><tbody>{found}</tbody></table>" if found else "")
        + (f"<p>at the end (clients / servers): {states}</p>" if states else "")
    )


def connection_html(conversation: Conversation) -> str:
    """Show a connection: its states over time, and its ladder with the findings.

    Parameters
    ----------
    conversation : Conversation

    """
    return (
        f"<div style='max-width:1080px'>{timeline_svg(conversation)}</div>"
        f"<div style='max-width:860px'>{ladder_svg(conversation)}</div>"
    )


def _cell(text: str) -> str:
    return f"<td style='text-align:left'>{escape(text)}</td>"


def _severity(name: str) -> str:
    return f"<strong style='color:{SEVERITY[name].light}'>{escape(name.upper())}</strong>"
