"""``tcptrace-fsm annotate``: the capture again, with what happened as packet comments."""

from __future__ import annotations

from typing import Annotated

import typer

from tcptrace_fsm.cli.captures import captures_of
from tcptrace_fsm.cli.messages import EXIT_INTERRUPTED, say, warn
from tcptrace_fsm.cli.options import Captures, with_settings
from tcptrace_fsm.cli.progress import watch
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.files import refuse_input
from tcptrace_fsm.text.counts import count

__all__ = ["annotate"]


@with_settings("profile", "learn_timers", "taken_at", "filter", "strict")
def annotate(
    captures: Captures,
    out: Annotated[
        str,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE.pcapng",
            help="Where to write; compressed if it ends in .gz or .zst; - is standard output.",
        ),
    ],
    settings: Settings,
) -> None:
    """Write the capture again as pcapng, byte for byte, with packet comments on changes of state and findings.

    In Wireshark, the filter frame.comment shows the frames that bear one.
    """
    from tcptrace_fsm.runs.run import Run
    from tcptrace_fsm.views import annotate as view
    from tcptrace_fsm.views.extract import output_file, rereadable

    expanded = captures_of(captures, settings)
    refuse_input(out, expanded)
    with rereadable(expanded) as twice:
        run, comments = Run(twice, settings), view.Comments()
        run.go([comments], watch=watch)
        warn(run)
        counts = [capture.frames for capture in run.captures]
        with output_file(out) as file:
            written, marked = view.annotated(run.in_order, counts, comments.by_frame(counts, run.origins), file)
    say(f"{count(written, 'frame')} written to {out}, {marked:,} with comments (Wireshark's filter: frame.comment)")
    if run.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
