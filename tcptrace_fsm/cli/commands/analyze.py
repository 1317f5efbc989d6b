"""``tcptrace-fsm analyze``: the main job."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tcptrace_fsm.cli import completion
from tcptrace_fsm.cli.captures import LEFT_OUT, are_large, captures_of
from tcptrace_fsm.cli.messages import EXIT_FAIL_ON, EXIT_INTERRUPTED, as_given, say, warn
from tcptrace_fsm.cli.options import Captures, with_settings
from tcptrace_fsm.cli.progress import watch
from tcptrace_fsm.core.room import KEPT_WITH_TABLES, keep_freed
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.core.words import SEVERITIES
from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.files import refuse_input
from tcptrace_fsm.tables.names import TABLE_NAMES
from tcptrace_fsm.tables.writers import FORMATS, check_format, check_tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tcptrace_fsm.capture.sources import Source
    from tcptrace_fsm.runs.run import Run
    from tcptrace_fsm.views.worst import Worst

__all__ = ["analyze"]

MOST_LISTED = 10_000  # findings that --json lists
JUNIT_LEAST = "medium"  # what --junit lists without --fail-on

Form = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="|".join(FORMATS),
        help="How -o writes tables; parquet where not given.",
        autocompletion=completion.formats,
    ),
]
Tables = Annotated[
    str | None,
    typer.Option(
        "--tables",
        metavar="NAMES",
        help=f"Which tables -o writes, with commas: {', '.join(TABLE_NAMES)}.",
        autocompletion=completion.tables,
    ),
]
Jobs = Annotated[int | None, typer.Option("--jobs", metavar="N", help="Share the work among N processors.")]
FailOn = Annotated[
    str | None,
    typer.Option(
        "--fail-on",
        metavar="|".join(SEVERITIES),
        help="Exit with 3 when something this severe was found.",
        autocompletion=completion.severities,
    ),
]
Junit = Annotated[
    str | None,
    typer.Option(
        "--junit",
        metavar="FILE",
        help=f"Write what --fail-on names ({JUNIT_LEAST} without it) as failed tests, in JUnit's XML.",
    ),
]


@with_settings("profile", "learn_timers", "taken_at", "merge_vantage", "filter", "follow", "strict")
def analyze(
    captures: Captures,
    out: Annotated[
        str | None, typer.Option("-o", "--out", metavar="DIR", help="Write tables and summary.json there.")
    ] = None,
    form: Form = None,
    tables: Tables = None,
    jobs: Jobs = None,
    dask: Annotated[
        str | None,
        typer.Option("--dask", metavar="ADDRESS", help="Work on a Dask cluster; 'local' starts one of --jobs workers."),
    ] = None,
    fail_on: FailOn = None,
    junit: Junit = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print summary.json instead of the summary, with every finding.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="List every kind of finding, however long the summary gets.")
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing.")] = False,
    *,
    settings: Settings,
) -> None:
    """Replay captures: how connections opened and closed, their states at the end, and what went wrong."""
    from tcptrace_fsm.runs.start import check_shareable, new_run
    from tcptrace_fsm.version import versions

    check_format(form or "parquet")
    chosen = check_tables(tables)
    if fail_on is not None and fail_on not in SEVERITIES:
        raise UsageError(f"no severity {fail_on!r}; there are {', '.join(SEVERITIES)}")
    if out is None:
        say_idle({"--format": form, "--tables": tables})
    captured = captures_of(captures, settings)
    more = More(captured, fail_on or JUNIT_LEAST, junit, as_json=as_json)
    settings = replace(settings, segments=out is not None and "segments" in chosen)
    with ExitStack() as stack:
        client = None
        if jobs is not None or dask is not None:
            check_shareable(settings)
        if dask is not None:
            from tcptrace_fsm.runs.cluster import connect

            if jobs is not None and dask != "local":
                raise UsageError("--jobs is for this machine; how many workers a cluster has is for the cluster to say")
            client = stack.enter_context(connect(dask, workers=jobs, say=say))
        run = new_run(captured, settings, jobs=jobs, client=client)
        live = [LiveFindings()] if settings.follow and not quiet and not as_json else []
        sinks: list[Any] = [*live, *more.sinks]
        if out is None:
            if are_large(captured):
                keep_freed()
            run.go(sinks, watch=watch)
            summary = run.summary(tables=[], fail_on=fail_on)
        else:
            from tcptrace_fsm.tables.export import Export
            from tcptrace_fsm.tables.partitioned import PartitionedExport

            exports: Any = Export if client is None else PartitionedExport
            keep_freed(KEPT_WITH_TABLES)
            with exports(out, form or "parquet", chosen, origins=run.origins) as export:
                run.go([export, *sinks], watch=watch)
                summary = run.summary(tables=list(chosen), format=form or "parquet", fail_on=fail_on)
                if run.captures:
                    export.commit({**summary, "versions": versions()})
    warn(run)
    more.write(summary)
    if as_json:
        put_json({**summary, **more.findings(run), "versions": versions()})
    elif not quiet:
        put_summary(summary, run, captures, everything=everything)
    if run.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if fail_on is not None and run.tally.reaches(fail_on):
        raise typer.Exit(EXIT_FAIL_ON)


def put_json(whole: dict[str, Any]) -> None:
    """Print what programs read."""
    from tcptrace_fsm.text.escaped import json_text

    print(json_text(whole, indent=2))


def put_summary(summary: dict[str, Any], run: Run, captures: list[str], *, everything: bool) -> None:
    """Print the first screen."""
    from tcptrace_fsm.text.terminal import terminal_width
    from tcptrace_fsm.views.summary import first_screen, show

    show(first_screen(summary, run.span, terminal_width(), everything=everything, given=as_given(captures)))


def say_idle(options: dict[str, object]) -> None:
    """Say which of these options do nothing without -o."""
    given = [name for name, value in options.items() if value is not None]
    if given:
        verb = "says" if len(given) == 1 else "say"
        say(f"warning: {' and '.join(given)} {verb} what -o DIR is to hold; without -o nothing is written")


class More:
    """What is written for programs besides the summary: findings one by one.

    Parameters
    ----------
    captured : sequence of path or binary file
    least : str
        Severity from which on ``--junit`` lists them.
    junit : str or None
        The file to write.
    as_json : bool

    """

    def __init__(self, captured: Sequence[Source], least: str, junit: str | None, *, as_json: bool) -> None:
        self._junit, self._least = junit, least
        self._failed: Worst | None = None
        self._all: Worst | None = None
        if junit is not None or as_json:
            from tcptrace_fsm.views.junit import MOST
            from tcptrace_fsm.views.worst import Worst

            if junit is not None:
                refuse_input(junit, captured)
                self._failed = Worst(least, MOST)
            if as_json:
                self._all = Worst(SEVERITIES[0], MOST_LISTED)

    @property
    def sinks(self) -> list[Worst]:
        """Who wants the findings."""
        return [worst for worst in (self._failed, self._all) if worst is not None]

    def write(self, summary: dict[str, Any]) -> None:
        """Write the JUnit file."""
        if self._junit is None or self._failed is None:
            return
        from tcptrace_fsm.cli.messages import put
        from tcptrace_fsm.views.junit import junit_text

        put(self._junit, junit_text(summary, self._failed, self._least, LEFT_OUT).rstrip("\n"))

    def findings(self, run: Run) -> dict[str, Any]:
        """Give what ``--json`` says of single findings."""
        if self._all is None:
            return {}
        from tcptrace_fsm.views.worst import finding_dict

        rows = [finding_dict(finding, run.origins) for finding in self._all]
        return {"findings": rows, "findings_left_out": self._all.left_out}


class LiveFindings:
    """A sink that prints findings as they come: when their connection is over, and nothing more is expected of it."""

    def take(self, finished: Any) -> None:
        """Print the findings, one line each."""
        from tcptrace_fsm.text.times import iso_time

        for f in finished.findings:
            line = f"{iso_time(f.time)}  {f.severity.upper():<6}  {f.kind}  {f.message}"
            print(line if f.place < 0 else f"{line}   (connection {f.conn_id})", flush=True)
