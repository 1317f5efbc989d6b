"""JUnit XML, which pipelines show as tests: one that failed for each diagnosis and each finding that is bad enough.

Names and addresses come from captures that anybody may have made, so every text is escaped, what XML cannot hold is
written as an escape, and the number of test cases is limited.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from tcptrace_fsm.core.words import SEVERITIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tcptrace_fsm.views.worst import Worst

__all__ = ["MOST", "junit_text"]

MOST = 1000
"""Findings that have a test case of their own."""
_LONGEST = 4000  # characters of one text
# What may be no character of XML 1.0 (section 2.2), or steer a terminal; what can be printed is neither.
_UNUSUAL = re.compile("[^\t\n\r -~]")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}


class Case(NamedTuple):
    """A test case: of what family, its name, how it ended, and why."""

    family: str
    name: str
    outcome: str = ""  # failure, error, or empty where it passed
    kind: str = ""
    message: str = ""
    more: str = ""


def junit_text(summary: dict[str, Any], worst: Worst, least: str, unreadable: Sequence[tuple[str, str]] = ()) -> str:
    """Make the text of a JUnit file.

    Parameters
    ----------
    summary : dict
        As in ``summary.json``.
    worst : Worst
        The findings.
    least : str
        The severity from which on something is a failure.
    unreadable : sequence of (str, str)
        Captures that were left out, and why.

    """
    names = [capture["name"] for capture in summary["captures"]]
    suite = names[0] if len(names) == 1 else f"{len(names)} captures"
    cases = [Case("captures", name, "error", "CaptureError", reason) for name, reason in unreadable]
    cases += _diagnoses(summary["diagnoses"], SEVERITIES.index(least))
    cases += _findings(worst)
    cases = list(_told_apart(cases))
    if not cases:
        cases.append(Case("captures", f"{suite}: nothing of severity {least} or more"))
    failures, errors = (sum(case.outcome == word for case in cases) for word in ("failure", "error"))
    counts = f'tests="{len(cases)}" failures="{failures}" errors="{errors}"'
    when = summary["captures"][0]["first_time"] if names else None
    stamp = f' timestamp="{when[:19]}"' if when else ""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<testsuites name="tcptrace-fsm" {counts} time="0">',
        f'  <testsuite name="{_escaped(suite)}" {counts} skipped="0" time="0"{stamp}>',
        *(line for case in cases for line in _lines(case)),
        "  </testsuite>",
        "</testsuites>",
    ]
    return "\n".join(lines) + "\n"


def _diagnoses(diagnoses: Iterable[dict[str, Any]], least: int) -> Iterator[Case]:
    for d in diagnoses:
        if SEVERITIES.index(d["severity"]) < least:
            continue
        concerned = d["service"] or d["host"]
        name = f"{d['cause']}: {concerned}" if concerned else d["cause"]
        shown = ", ".join(map(str, d["connections"][:20]))
        more = [
            f"{d['severity']}, {d['confidence']}, to be mended at: {d['where']}",
            f"{d['count']:,} of {d['of']:,} connections: {shown}{' ...' if len(d['connections']) > 20 else ''}",
            *(f"why: {text}" for text in d["evidence_for"]),
            *(f"but: {text}" for text in d["evidence_against"]),
            *([f"or: {', '.join(d['alternatives'])}"] if d["alternatives"] else []),
            f"next: {d['next_step']}",
        ]
        yield Case("diagnoses", name, "failure", d["cause"], d["message"], "\n".join(more))


def _findings(worst: Worst) -> Iterator[Case]:
    for f in worst:
        where = "the whole capture" if f.conn_id is None else f"connection {f.conn_id}"
        where += f", {f.side}" if f.side else ""
        more = f"{f.severity}, {f.category}, {f.rfc}"
        if f.possible_artefact:
            more += f"\nmay also come from the capture: {f.possible_artefact}"
        yield Case("findings", f"{f.kind}: {where}", "failure", f.kind, f.message, more)
    if worst.left_out:
        text = f"{worst.left_out:,} more findings as severe; tcptrace-fsm analyze -o DIR writes all of them"
        yield Case("findings", "more findings", "failure", "more_findings", text)


def _told_apart(cases: Iterable[Case]) -> Iterator[Case]:
    """Number those that have the same name, for a pipeline follows a test by its name."""
    seen: Counter[tuple[str, str]] = Counter()
    for case in cases:
        seen[case.family, case.name] += 1
        n = seen[case.family, case.name]
        yield case if n == 1 else case._replace(name=f"{case.name} ({n})")


def _lines(case: Case) -> Iterator[str]:
    head = f'    <testcase classname="{case.family}" name="{_escaped(case.name)}" time="0"'
    if not case.outcome:
        yield f"{head}/>"
        return
    yield f"{head}>"
    text = f"{case.message}\n{case.more}".rstrip()
    begin = f'<{case.outcome} type="{_escaped(case.kind)}" message="{_escaped(case.message)}">'
    yield f"      {begin}{_body(text)}</{case.outcome}>"
    yield "    </testcase>"


def _clean(text: str) -> str:
    """Text of a bounded length in which there is nothing but characters of XML, and nothing that steers a terminal."""
    short = text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."
    return _UNUSUAL.sub(lambda match: match[0] if match[0].isprintable() else repr(match[0])[1:-1], short)


def _escaped(text: str) -> str:
    """Text for an attribute."""
    return "".join(_ESCAPES.get(c, c) for c in _clean(text))


def _body(text: str) -> str:
    """Text between tags."""
    return _clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")
