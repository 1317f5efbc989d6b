"""``tcptrace-fsm ladder``, ``diagram`` and ``report``: pictures of connections and of captures."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Annotated

import typer

from tcptrace_fsm.cli.captures import captures_of
from tcptrace_fsm.cli.messages import EXIT_INTERRUPTED, check_ids, coloured, put, split_ids, warn
from tcptrace_fsm.cli.options import Captures, FileOrDash, with_settings
from tcptrace_fsm.cli.progress import drawing, watch
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.files import refuse_input
from tcptrace_fsm.text.terminal import terminal_width

__all__ = ["diagram", "ladder", "report"]

UNFOLDED = 1_000_000  # segments kept for a ladder of everything


@with_settings("profile", "learn_timers", "taken_at", "filter", "strict")
def ladder(
    named: Annotated[
        list[str],
        typer.Argument(
            metavar="CAPTURE... [CONN_ID]",
            help="Captures, as for analyze, then the connection's number; it may be left out where there is only one.",
        ),
    ],
    svg: FileOrDash = None,
    everything: Annotated[bool, typer.Option("--all", help="Fold nothing: a row for each segment.")] = False,
    *,
    settings: Settings,
) -> None:
    """Draw a connection's segments between two lifelines, each endpoint's states down its side."""
    from tcptrace_fsm.runs.run import Run
    from tcptrace_fsm.views.collector import LIMIT, Collector
    from tcptrace_fsm.views.ladder import MOST_DRAWN, MOST_PRINTED, ladder_svg, ladder_text, plainer

    captures, conn_ids = split_ids(named)
    if len(conn_ids) > 1:
        raise UsageError(f"a ladder shows one connection, not {len(conn_ids)}")
    captured = captures_of(captures, settings)
    if svg is not None:
        refuse_input(svg, captured)
    run = Run(captured, replace(settings, segments=True))
    collector = Collector(conn_ids or [0], limit=UNFOLDED if everything else LIMIT)
    run.go([collector], watch=watch)
    warn(run)
    if not conn_ids and run.tally.connections > 1:
        number = f"{run.name} has {run.tally.connections:,}, numbered from 0"
        raise UsageError(f"which connection? {number}; 'tcptrace-fsm connections' lists them")
    check_ids(run, conn_ids or [0])
    (conversation,) = collector.conversations(run.name, run.span)
    if svg is not None:
        put(svg, ladder_svg(conversation, most=None if everything else MOST_DRAWN))
    else:
        most = None if everything else MOST_PRINTED
        for line in ladder_text(conversation, width=terminal_width(), colour=coloured(sys.stdout), most=most):
            print(plainer(line, sys.stdout.encoding))
    if run.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


@with_settings("profile", "learn_timers", "taken_at", "filter", "strict")
def diagram(
    captures: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CAPTURE...]", help="Show what its endpoints did; captures as for analyze."),
    ] = None,
    svg: FileOrDash = None,
    *,
    settings: Settings,
) -> None:
    """Draw figure 5 of RFC 9293 as SVG, weighted by what a capture's endpoints did; without --svg, list it in lines."""
    from tcptrace_fsm.runs.run import Run
    from tcptrace_fsm.views.diagram import Taken, diagram_svg, diagram_text

    taken, name, interrupted = None, "", False
    if captures:
        captured = captures_of(captures, settings)
        if svg is not None:
            refuse_input(svg, captured)
        run = Run(captured, settings)
        taken = Taken()
        run.go([taken], watch=watch)
        warn(run)
        name, interrupted = run.name, run.interrupted
    if svg is not None:
        put(svg, diagram_svg(taken, capture=name))
    else:
        for line in diagram_text(taken):
            print(line)
    if interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


@with_settings("profile", "learn_timers", "taken_at", "filter", "strict")
def report(
    captures: Captures,
    out: Annotated[str, typer.Option("-o", "--out", metavar="FILE.html", help="The page to write.")],
    host: Annotated[
        str | None, typer.Option("--host", metavar="IP[:PORT]", help="Only this host's connections, or port's (:PORT).")
    ] = None,
    *,
    settings: Settings,
) -> None:
    """Write one HTML page that needs no network: findings, connections, states over time, ladders, graphs."""
    from tcptrace_fsm.api import Trace
    from tcptrace_fsm.runs.run import Run
    from tcptrace_fsm.runs.sinks import Kept
    from tcptrace_fsm.text.addresses import endpoint
    from tcptrace_fsm.views.extract import rereadable

    if host is not None:
        endpoint(host)  # nonsense is refused before a large capture is read
    captured = captures_of(captures, settings)
    refuse_input(out, captured)
    with rereadable(captured) as twice:
        run, kept = Run(twice, settings), Kept()
        run.go([kept], watch=watch)
        warn(run)

        # The segments of those connections that the page draws are read in a second pass.
        def again() -> Run:
            return Run(twice, replace(run.settings, segments=True, learn_timers=False), watch=watch)

        trace = Trace(run, kept, None if run.interrupted else again)
        with drawing() as tell:
            trace.report(out, named=[*captures, *settings.arguments()], host=host, tell=tell)
    if run.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
