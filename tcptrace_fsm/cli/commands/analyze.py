"""``tcptrace-fsm analyze``: the main job."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from typing import Annotated, Any

import typer

from tcptrace_fsm.cli.captures import captures_of
from tcptrace_fsm.cli.messages import EXIT_FAIL_ON, EXIT_INTERRUPTED, say, warn
from tcptrace_fsm.cli.options import Captures, with_settings
from tcptrace_fsm.cli.progress import watch
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.core.words import SEVERITIES
from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.tables import schema
from tcptrace_fsm.tables.writers import FORMATS, check_format, check_tables
from tcptrace_fsm.views.summary import first_screen, show, terminal_width

__all__ = ["analyze"]


@with_settings("profile", "learn_timers", "taken_at", "merge_vantage", "filter", "follow", "strict")
def analyze(
    captures: Captures,
    out: Annotated[
        str | None, typer.Option("-o", "--out", metavar="DIR", help="Write tables and summary.json there.")
    ] = None,
    form: Annotated[str, typer.Option("--format", metavar="|".join(FORMATS), help="How to write tables.")] = "parquet",
    tables: Annotated[
        str | None,
        typer.Option("--tables", metavar="NAMES", help=f"Which tables, with commas: {', '.join(schema.TABLES)}."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", metavar="N", help="Share the work among so many processes.")
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option("--dask", metavar="ADDRESS", help="Work on a Dask cluster; 'local' starts one of --jobs workers."),
    ] = None,
    fail_on: Annotated[
        str | None,
        typer.Option(
            "--fail-on", metavar="|".join(SEVERITIES), help="Exit with 3 when something this severe was found."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json instead of the summary.")] = False,
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

    check_format(form)
    chosen = check_tables(tables)
    if fail_on is not None and fail_on not in SEVERITIES:
        raise UsageError(f"no severity {fail_on!r}; there are {', '.join(SEVERITIES)}")
    captured = captures_of(captures, settings)
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
        if out is None:
            run.go(live, watch=watch)
            summary = run.summary(tables=[], fail_on=fail_on)
        else:
            from tcptrace_fsm.core.room import keep_freed
            from tcptrace_fsm.tables.export import Export
            from tcptrace_fsm.tables.partitioned import PartitionedExport

            exports: Any = Export if client is None else PartitionedExport
            keep_freed()
            with exports(out, form, chosen, origins=run.origins) as export:
                run.go([export, *live], watch=watch)
                summary = run.summary(tables=list(chosen), format=form, fail_on=fail_on)
                if run.captures:
                    export.commit({**summary, "versions": versions()})
    warn(run)
    if as_json:
        print(json.dumps({**summary, "versions": versions()}, indent=2, ensure_ascii=False))
    elif not quiet:
        show(first_screen(summary, run.span, terminal_width(), everything=everything))
    if run.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if fail_on is not None and run.tally.reaches(fail_on):
        raise typer.Exit(EXIT_FAIL_ON)


class LiveFindings:
    """A sink that prints findings as they come: when their connection is over, and nothing more is expected of it."""

    def take(self, finished: Any) -> None:
        """Print the findings, one line each."""
        from tcptrace_fsm.text.times import iso_time

        for f in finished.findings:
            line = f"{iso_time(f.time)}  {f.severity.upper():<6}  {f.kind}  {f.message}"
            print(line if f.place < 0 else f"{line}   (connection {f.conn_id})", flush=True)
