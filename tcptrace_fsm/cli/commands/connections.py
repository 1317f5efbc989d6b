"""``tcptrace-fsm connections``: one line per connection."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tcptrace_fsm.cli import completion
from tcptrace_fsm.cli.captures import captures_of
from tcptrace_fsm.cli.messages import EXIT_INTERRUPTED, as_given, say, warn
from tcptrace_fsm.cli.options import Captures, with_settings
from tcptrace_fsm.cli.progress import watch
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.errors import UsageError

__all__ = ["connections"]

ROWS = 100


@with_settings("profile", "learn_timers", "taken_at", "filter", "strict")
def connections(
    captures: Captures,
    host: Annotated[
        str | None, typer.Option("--host", metavar="IP[:PORT]", help="Only those of this host, or port (:PORT).")
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(
            "--state",
            metavar="STATE",
            help="Only those of which an end is in this state at last.",
            autocompletion=completion.states,
        ),
    ] = None,
    cause: Annotated[
        str | None,
        typer.Option(
            "--cause", metavar="CAUSE", help="Only those that suffer from this.", autocompletion=completion.causes
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--kind", metavar="KIND", help="Only those with such a finding.", autocompletion=completion.kinds),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            metavar="COLUMN",
            help="By any column of the table (amounts: largest first), or by duration, bytes, severity.",
            autocompletion=completion.columns,
        ),
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Turn that order around.")] = False,
    most: Annotated[
        int | None,
        typer.Option("-n", metavar="N", help=f"At most N connections, 0 for all; {ROWS} by default as text."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One object a line, with every column.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV with the columns that matter.")] = False,
    *,
    settings: Settings,
) -> None:
    """List connections, one a line: from an address to a number, and to what is wrong."""
    from tcptrace_fsm.runs.run import Run
    from tcptrace_fsm.runs.sinks import Kept
    from tcptrace_fsm.views import connections as view
    from tcptrace_fsm.views.summary import named_captures

    if as_json and as_csv:
        raise UsageError("--json or --csv, not both")
    if most is not None and most < 0:
        raise UsageError(f"-n takes how many connections to show, 0 for all, not {most}")
    wanted = view.choice(host, state, cause, kind)
    by = None if sort is None else view.check_column(sort)
    run, kept = Run(captures_of(captures, settings), settings), Kept()
    run.go([kept], watch=watch)
    warn(run)
    listing = view.Listing(kept.finished, run.origins)
    places = listing.chosen(wanted, by, reverse=reverse)
    shown = places[: most or None] if as_json or as_csv else places[: (ROWS if most is None else most) or None]
    if not places:
        say(listing.why_none(wanted))
    elif unlisted := listing.unlisted(wanted):
        say(unlisted)
    if as_csv:
        listing.csv(shown, sys.stdout, by)
    elif as_json:
        for line in listing.json(shown):
            print(line)
    elif places:
        width = view.screen_width()
        for line in listing.text(shown, width, len(places) - len(shown), by):
            print(line)
        if width is not None:  # a person reads it, no program
            for line in listing.why(places, named_captures(run.summary(), as_given(captures)), width):
                print(line)
    if run.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
