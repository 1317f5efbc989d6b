"""``tcptrace-fsm extract``: the frames of connections, byte for byte."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from tcptrace_fsm.cli.captures import captures_of
from tcptrace_fsm.cli.messages import check_ids, say, split_ids, warn
from tcptrace_fsm.cli.options import with_settings
from tcptrace_fsm.cli.progress import watch
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.files import refuse_input
from tcptrace_fsm.text.counts import count

__all__ = ["extract"]


@with_settings("filter", "strict")
def extract(
    named: Annotated[
        list[str],
        typer.Argument(metavar="CAPTURE... CONN_ID...", help="Captures, as for analyze, then connections' numbers."),
    ],
    out: Annotated[
        str,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            help="Where to write; compressed if it ends in .gz or .zst; - is standard output.",
        ),
    ],
    settings: Settings,
) -> None:
    """Copy the frames of connections, byte for byte, into a capture of the same format.

    IP fragments of their segments come along; frames of other protocols that speak of them (ICMP errors) do not.
    """
    from tcptrace_fsm.runs.run import Run
    from tcptrace_fsm.views import extract as copying

    captures, conn_ids = split_ids(named)
    if not conn_ids:
        raise UsageError("name the connections to extract by their numbers, behind the capture")
    expanded = captures_of(captures, settings)
    refuse_input(out, expanded)
    with copying.rereadable(expanded) as twice:
        run = Run(twice, replace(settings, segments=True, fragments=True))
        frames = copying.Frames(conn_ids)
        run.go([frames], watch=watch)
        warn(run)
        check_ids(run, conn_ids)
        numbers = frames.numbers(run.captures, run.origins)
        with copying.output_file(out) as file:
            copied = copying.copy_frames(run.in_order, [c.frames for c in run.captures], numbers, file)
    many = "s" if len(set(conn_ids)) > 1 else ""
    say(f"{count(copied, 'frame')} of connection{many} {', '.join(map(str, sorted(set(conn_ids))))} written to {out}")
