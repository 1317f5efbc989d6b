"""``tcptrace-fsm rules`` and ``causes``: the catalogues of findings and of their causes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tcptrace_fsm.cli import completion
from tcptrace_fsm.core.words import SEVERITIES
from tcptrace_fsm.text.names import check_name
from tcptrace_fsm.text.terminal import terminal_width

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcptrace_fsm.findings import Rule, Survey

__all__ = ["causes", "rules"]


def rules(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="[KIND]", help="Show this rule in full.", autocompletion=completion.kinds),
    ] = None,
) -> None:
    """List the anomaly catalogue, or explain one of its rules."""
    from tcptrace_fsm.findings import CATALOGUE

    if kind is None:
        width = max((len(name) for name in CATALOGUE), default=0)
        for name, rule in sorted(CATALOGUE.items(), key=lambda item: (-SEVERITIES.index(item[1].severity), item[0])):
            print(f"{rule.severity:<7} {rule.category:<10} {name:<{width}}  {rule.summary}".rstrip())
        return
    for line in explain(CATALOGUE[check_name("rule", kind, CATALOGUE)]):
        print(line)


def causes(
    cause: Annotated[
        str | None,
        typer.Argument(metavar="[CAUSE]", help="Show this cause in full.", autocompletion=completion.causes),
    ] = None,
) -> None:
    """List the causes that diagnoses name, or explain one of them."""
    from tcptrace_fsm.causes import CAUSES
    from tcptrace_fsm.views.diagnoses import cause_lines
    from tcptrace_fsm.views.legend import legend_lines

    if cause is None:
        width = max(map(len, CAUSES))
        for name, one in CAUSES.items():
            print(f"{one.family:<8} {one.where:<8} {name:<{width}}  {one.summary}")
        return
    width = min(terminal_width(), 100)
    for line in (*cause_lines(CAUSES[check_name("cause", cause, CAUSES)], width), "", *legend_lines(width)):
        print(line)


def explain(rule: Rule | Survey) -> Iterator[str]:
    """Everything that a rule says of itself."""
    import textwrap

    from tcptrace_fsm.views.legend import legend_lines

    width = min(terminal_width(), 100)
    yield f"{rule.kind}   {rule.severity}, {rule.category}, {rule.rfc}"
    yield ""
    yield from textwrap.wrap(rule.summary, width)
    for head, text in (("what is seen", rule.evidence), ("what else it may be", rule.innocent)):
        yield ""
        yield f"{head}:"
        yield from textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="  ")
    if rule.needs:
        yield ""
        yield "what the capture must hold:"
        for need in rule.needs:
            yield f"  {need.text}"
    if rule.fragile:
        from tcptrace_fsm.findings.needs import DOUBTS

        yield ""
        yield from textwrap.wrap(f"{DOUBTS}.", width)
    alike = [("looks alike, but is not", text) for text in rule.counterexamples]
    for head, text in (("an example", rule.example), *alike):
        yield ""
        yield f"{head}:"
        yield from textwrap.indent(textwrap.dedent(text).strip("\n"), "  ").split("\n")
    yield ""
    yield from legend_lines(width)
    if rule.aliases:
        yield ""
        yield "called elsewhere: " + ", ".join(f"{name} ({tool})" for tool, name in rule.aliases.items())
