"""``tcptrace-fsm netstat``: the sockets at one moment."""

from __future__ import annotations

from typing import Annotated

import typer

from tcptrace_fsm.cli.messages import EXIT_INTERRUPTED, warn
from tcptrace_fsm.cli.options import Captures, with_settings
from tcptrace_fsm.cli.progress import watch
from tcptrace_fsm.core.settings import Settings

__all__ = ["netstat"]


@with_settings("profile", "learn_timers", "taken_at", "filter")
def netstat(
    captures: Captures,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="Seconds from the start, or an ISO time; default: the end."),
    ] = None,
    host: Annotated[str | None, typer.Option("--host", metavar="IP", help="Only this host's sockets.")] = None,
    *,
    settings: Settings,
) -> None:
    """Show what netstat -nat would have shown at some moment, for both ends of every connection."""
    from tcptrace_fsm.capture.sources import sources
    from tcptrace_fsm.runs.run import Run
    from tcptrace_fsm.runs.sinks import Kept
    from tcptrace_fsm.views import netstat as view

    only = view.check_host(host)
    view.moment(at, (0, 0))  # nonsense is refused before a large capture is read
    run, kept = Run(sources(captures), settings), Kept()
    run.go([kept], watch=watch)
    warn(run)
    when = view.moment(at, run.span)
    sockets = view.sockets(kept.finished, when, run.settings.profile, host=only, last_time=run.span[1])
    for line in view.text(sockets):
        print(line)
    if run.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
