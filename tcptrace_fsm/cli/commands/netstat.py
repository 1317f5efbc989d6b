"""``tcptrace-fsm netstat``: the sockets at one moment."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tcptrace_fsm.cli.captures import captures_of
from tcptrace_fsm.cli.messages import EXIT_INTERRUPTED, say, warn
from tcptrace_fsm.cli.options import Captures, with_settings
from tcptrace_fsm.cli.progress import watch
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.text.counts import count

__all__ = ["netstat"]

ROWS = 100


@with_settings("profile", "learn_timers", "taken_at", "filter", "strict")
def netstat(
    captures: Captures,
    at: Annotated[
        str | None,
        typer.Option(
            "--at", metavar="TIME", help="Seconds from the start, an ISO time or a time of day (UTC); default: the end."
        ),
    ] = None,
    host: Annotated[
        str | None, typer.Option("--host", metavar="IP[:PORT]", help="Only this host's sockets, or port's (:PORT).")
    ] = None,
    most: Annotated[
        int | None,
        typer.Option("-n", metavar="N", help=f"At most N sockets, 0 for all; on a terminal {ROWS} by default."),
    ] = None,
    *,
    settings: Settings,
) -> None:
    """Show what netstat -nat would have shown at some moment, for both ends of every connection."""
    from tcptrace_fsm.runs.run import Run
    from tcptrace_fsm.runs.sinks import Kept
    from tcptrace_fsm.text.addresses import endpoint
    from tcptrace_fsm.views import netstat as view
    from tcptrace_fsm.views.connections import screen_width

    only = None if host is None else endpoint(host)
    view.moment(at, (0, 0))  # nonsense is refused before a large capture is read
    run, kept = Run(captures_of(captures, settings), settings), Kept()
    run.go([kept], watch=watch)
    warn(run)
    when = view.moment(at, run.span)
    if beyond := view.outside(when, run.span):
        say(f"warning: {beyond}")
    sockets = view.sockets(kept.finished, when, run.settings.profile, last_time=run.span[1])
    if only is not None:
        sockets = [s for s in sockets if only.matches(s.local_ip, s.local_port)]
        there = view.hosts(kept.finished) if not sockets else []
        if there and only.ip not in {None, *there}:
            say(f"{only.ip} is not in the capture; those with most connections are {', '.join(there[:5])}")
        elif there:
            say(f"{only} has no socket at that moment")
    if most is None:
        most = ROWS if sys.stdout.isatty() else 0
    shown = sockets[: most or None]
    for line in view.text(shown, screen_width()):
        print(line)
    if len(shown) < len(sockets):
        print(f"and {count(len(sockets) - len(shown), 'socket')} more; -n 0 shows all")
    if run.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
