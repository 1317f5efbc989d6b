"""Diagnoses in words: the block of the first screen, and what a cause says of itself."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from tcptrace_fsm.findings.needs import DOUBTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tcptrace_fsm.causes.cause import Cause

__all__ = ["cause_lines", "diagnoses_html", "diagnosis_lines"]

IN_FULL = 3  # diagnoses that are shown with their evidence; of the others the first sentence
SHOWN = 8
LINKED = 5  # connections of a diagnosis that a page names
INDENT = 9
LABEL = 6


def diagnosis_lines(
    diagnoses: Sequence[dict[str, Any]], named: tuple[str, str] | None, width: int
) -> Iterator[tuple[str, str]]:
    """Give the lines of the diagnoses, worst first, each with its style.

    Parameters
    ----------
    diagnoses : sequence of dict
        As ``summary.json`` has them.
    named : tuple of str or None
        How a command names the captures, and further options; None where they cannot be read again.
    width : int
        Columns to fill.
    """
    for i, diagnosis in enumerate(diagnoses[:SHOWN]):
        if 0 < i <= IN_FULL:
            yield "", ""
        yield from _lines(diagnosis, named, width, full=i < IN_FULL)
    left_out = len(diagnoses) - SHOWN
    if left_out > 0:
        yield f"{'':<{INDENT}}and {left_out} more: in the table diagnoses", ""


def diagnoses_html(diagnoses: Sequence[dict[str, Any]], link: Callable[[int], str] = str) -> str:
    """Say the same in HTML, with everything escaped: a list, each with its reasons to unfold; empty for none.

    Parameters
    ----------
    diagnoses : sequence of dict
        As ``summary.json`` has them.
    link : callable
        Makes HTML of the number of a connection.
    """
    from html import escape

    if not diagnoses:
        return ""
    items = []
    for d in diagnoses:
        reasons = (
            ("why", "; ".join(d["evidence_for"])),
            ("but", "; ".join(d["evidence_against"])),
            ("or", ", ".join(d["alternatives"])),
            ("next", d["next_step"]),
        )
        listed = "".join(f"<div><dt>{name}</dt><dd>{escape(text)}</dd></div>" for name, text in reasons if text)
        shown = ", ".join(map(link, d["connections"][:LINKED])) + (" …" if len(d["connections"]) > LINKED else "")
        many = f"{d['count']:,} of {d['of']:,} connections" if d["of"] > 1 else ""
        head = ", ".join(filter(None, [d["confidence"], f"at the {d['where']}", many]))
        word = "connections" if len(d["connections"]) > 1 else "connection"
        ids = ",".join(map(str, d["connections"]))
        more = f' <button type="button" class="filter" data-ids="{ids}">Show them in the table</button>' if ids else ""
        where = f'<span class="where">{word} {shown}{more}</span>' if shown else ""
        severity = escape(d["severity"])
        items.append(
            f'<li class="{severity}"><details><summary><b class="severity {severity}">{severity}</b> '
            f'<code class="cause">{escape(d["cause"])}</code> <span class="quiet">{escape(head)}</span> '
            f'<span class="message">{escape(d["message"])}</span></summary>'
            f'<dl class="explained">{listed}</dl></details>{where}</li>'
        )
    return f'<ol class="diagnoses">{"".join(items)}</ol>'


def _lines(
    diagnosis: dict[str, Any], named: tuple[str, str] | None, width: int, *, full: bool
) -> Iterator[tuple[str, str]]:
    how_many = f"{diagnosis['count']:,} of {diagnosis['of']:,} connections" if diagnosis["of"] > 1 else ""
    head = [diagnosis["cause"], diagnosis["confidence"], diagnosis["where"], how_many]
    severity = diagnosis["severity"]
    yield f"{severity.upper():<{INDENT}}{'   '.join(filter(None, head))}", severity
    yield from _wrapped("", diagnosis["message"], width)
    if not full:
        return
    yield from _wrapped("why", "; ".join(diagnosis["evidence_for"]), width)
    yield from _wrapped("but", "; ".join(diagnosis["evidence_against"]), width)
    yield from _wrapped("or", ", ".join(diagnosis["alternatives"]), width)
    yield from _wrapped("next", diagnosis["next_step"], width)
    if named is not None and diagnosis["connections"]:
        yield (
            f"{'':<{INDENT}}{'see':<{LABEL}}tcptrace-fsm ladder {named[0]} {diagnosis['connections'][0]}{named[1]}",
            "",
        )


def _wrapped(label: str, text: str, width: int) -> Iterator[tuple[str, str]]:
    if not text:
        return
    room = max(30, width - INDENT - (LABEL if label else 0))
    for i, line in enumerate(textwrap.wrap(text, room, break_on_hyphens=False)):
        margin = f"{label if not i else '':<{LABEL}}" if label else ""
        yield f"{'':<{INDENT}}{margin}{line}", ""


def cause_lines(cause: Cause, width: int) -> Iterator[str]:
    """Everything that a cause says of itself."""
    yield f"{cause.name}   {cause.family}, to be mended at: {cause.where}, {cause.severity}"
    yield ""
    yield from textwrap.wrap(cause.summary, width)
    listed = (
        ("what is seen", cause.predicts),
        ("what is not seen", cause.forbids),
        ("what looks alike", tuple(f"{name}: {apart}" for name, apart in cause.look_alikes.items())),
        ("what the capture must hold", (DOUBTS,) if cause.fragile else ()),
        ("what to do next", (cause.next_step,)),
        ("findings that it explains", (", ".join(sorted(cause.explains)),)),
    )
    for head, texts in listed:
        if any(texts):
            yield ""
            yield f"{head}:"
            for text in texts:
                yield from textwrap.wrap(text, width, initial_indent="  - ", subsequent_indent="    ")
    for head, text in (("an example", cause.example), ("looks alike, but is not", cause.look_alike)):
        yield ""
        yield f"{head}:"
        yield from textwrap.indent(textwrap.dedent(text).strip("\n"), "  ").split("\n")
