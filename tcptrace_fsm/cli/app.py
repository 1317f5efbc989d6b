"""The command line: ``tcptrace-fsm analyze | netstat | ladder | diagram | extract | rules``.

Exit status: 0 done, 1 the capture cannot be read (one line on stderr), 2 wrong usage, 3 ``--fail-on`` met, 130 stopped
with Ctrl-C (after what was read until then was summarised and written).

Heavy modules are imported by the commands that need them, for ``--help`` and a small capture are to be instant.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tcptrace_fsm.errors import CaptureError, UsageError, WorkerError, printable
from tcptrace_fsm.tables import schema
from tcptrace_fsm.tables.writers import FORMATS, Export, PartitionedExport, check_format, check_tables
from tcptrace_fsm.tcp.profiles import PROFILES
from tcptrace_fsm.tcp.profiles import profile as find_profile
from tcptrace_fsm.views.summary import count, first_screen, show, terminal_width

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from tcptrace_fsm.api import Run
    from tcptrace_fsm.findings import Rule, Survey

__all__ = ["app", "main"]

EXIT_UNREADABLE, EXIT_USAGE, EXIT_FAIL_ON, EXIT_INTERRUPTED = 1, 2, 3, 130
UNFOLDED = 1_000_000  # segments kept for a ladder of everything
LARGE = 100 << 20  # bytes; from here on it is worth saying that the kernels are not compiled

# typer keeps click inside or beside itself, by version; its own exception leads to click's either way.
_CommandLineError: Any = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="tcptrace-fsm",
    help="Passive TCP analysis: the RFC 9293 state of each endpoint, on what evidence, and what went wrong.",
    add_completion=False,
    rich_markup_mode=None,  # rich would double the time that --help takes
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Captures = Annotated[
    list[str],
    typer.Argument(
        metavar="CAPTURE...",
        help="pcap or pcapng files (also .gz, .zst), directories, patterns, or - for standard input.",
    ),
]
ProfileOption = Annotated[
    str, typer.Option("--profile", metavar="NAME", help=f"Whose timers the hosts have: {', '.join(PROFILES)}.")
]
TimeWait = Annotated[
    float | None, typer.Option("--time-wait", metavar="S", help="How long TIME_WAIT lasts, in place of the profile's.")
]
FinTimeout = Annotated[
    float | None,
    typer.Option(
        "--fin-timeout", metavar="S", help="How long an orphaned FIN_WAIT_2 lasts, in place of the profile's."
    ),
]
LearnTimers = Annotated[
    bool,
    typer.Option(
        "--learn-timers",
        help="Read the captures twice: first for what each host shows of its own timers, then to go by that where it "
        "shows anything.",
    ),
]
OnlyFrames = Annotated[
    str | None,
    typer.Option("--filter", metavar="EXPR", help="Only these frames, in tcpdump's words."),
]
TakenAt = Annotated[
    list[str] | None,
    typer.Option(
        "--taken-at",
        metavar="IP",
        help="An address of the host that took the capture: what arrives there has arrived. May be repeated.",
    ),
]


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version, and whether the kernels are compiled.")
    ] = False,
) -> None:
    """Passive TCP analysis: the RFC 9293 state of each endpoint, on what evidence, and what went wrong."""
    if version:
        from tcptrace_fsm.api import versions

        known = versions()
        print(f"tcptrace-fsm {known['tcptrace-fsm']} (kernels {known['kernels']}, Python {known['python']})")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(EXIT_USAGE)


@app.command()
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
    profile: ProfileOption = "linux",
    time_wait: TimeWait = None,
    fin_timeout: FinTimeout = None,
    learn_timers: LearnTimers = False,
    taken_at: TakenAt = None,
    merge_vantage: Annotated[
        bool,
        typer.Option(
            "--merge-vantage",
            help="The two captures are of the same connections, one taken at (or near) each host: match their "
            "segments, so that what was lost in between is known, what arrived is proved, and one-way delays come out. "
            "Their clocks may differ.",
        ),
    ] = False,
    only: OnlyFrames = None,
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
            "--fail-on", metavar="|".join(schema.SEVERITIES), help="Exit with 3 when something this severe was found."
        ),
    ] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Go on as the last capture grows, tell findings as they come, until Ctrl-C."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json instead of the summary.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing.")] = False,
) -> None:
    """Replay captures: how connections opened and closed, their states at the end, and what went wrong."""
    from tcptrace_fsm.api import Run, new_filter, sources, versions

    keep = new_filter(only)
    check_format(form)
    chosen = check_tables(tables)
    if fail_on is not None and fail_on not in schema.SEVERITIES:
        raise UsageError(f"no severity {fail_on!r}; there are {', '.join(schema.SEVERITIES)}")
    timers = find_profile(profile, time_wait=time_wait, fin_timeout=fin_timeout)
    captured, labels = sources(captures), out is not None and "segments" in chosen
    known: dict[str, Any] = {"labels": labels, "taken_at": taken_at or (), "keep": keep, "learn_timers": learn_timers}
    with ExitStack() as stack:
        exports: Any = Export
        if follow and (jobs is not None or dask is not None):
            raise UsageError("--follow reads one capture as it grows, which cannot be shared by --jobs or --dask")
        if merge_vantage and (jobs is not None or dask is not None):
            raise UsageError("--merge-vantage reads two captures side by side, which --jobs and --dask cannot share")
        if dask is not None:
            from tcptrace_fsm.runs.cluster import Cluster, connect

            if jobs is not None and dask != "local":
                raise UsageError("--jobs is for this machine; how many workers a cluster has is for the cluster to say")
            client = stack.enter_context(connect(dask, workers=jobs, say=say))
            run: Run = Cluster(captured, timers, client=client, **known)
            exports = PartitionedExport
        elif jobs is not None and jobs != 1:
            from tcptrace_fsm.runs.jobs import Jobs

            run = Jobs(captured, timers, jobs=jobs, **known)
        else:
            run = Run(captured, timers, follow=follow, merge_vantage=merge_vantage, **known)
        told = [Told(run)] if follow and not quiet and not as_json else []
        if out is None:
            run.go(told, watch=watch)
            summary = run.summary(tables=[], fail_on=fail_on)
        else:
            from tcptrace_fsm.core.room import keep_freed

            keep_freed()
            with exports(out, form, chosen, origins=run.origins) as export:
                run.go([export, *told], watch=watch)
                summary = run.summary(tables=list(chosen), format=form, fail_on=fail_on)
                if run.captures:
                    export.commit({**summary, "versions": versions()})
    warn(run)
    if as_json:
        print(json.dumps({**summary, "versions": versions()}, indent=2, ensure_ascii=False))
    elif not quiet:
        show(first_screen(summary, run.span, terminal_width()))
    if run.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if fail_on is not None and run.tally.reaches(fail_on):
        raise typer.Exit(EXIT_FAIL_ON)


@app.command()
def netstat(
    captures: Captures,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="Seconds from the start, or an ISO time; default: the end."),
    ] = None,
    host: Annotated[str | None, typer.Option("--host", metavar="IP", help="Only this host's sockets.")] = None,
    profile: ProfileOption = "linux",
    time_wait: TimeWait = None,
    fin_timeout: FinTimeout = None,
    learn_timers: LearnTimers = False,
    taken_at: TakenAt = None,
) -> None:
    """Show what netstat -nat would have shown at some moment, for both ends of every connection."""
    from tcptrace_fsm.api import Kept, Run, moment, sources
    from tcptrace_fsm.views import netstat as view

    only = view.check_host(host)
    moment(at, (0, 0))  # nonsense is refused before a large capture is read
    timers = find_profile(profile, time_wait=time_wait, fin_timeout=fin_timeout)
    run = Run(sources(captures), timers, taken_at=taken_at or (), learn_timers=learn_timers)
    kept = Kept()
    run.go([kept], watch=watch)
    warn(run)
    when = moment(at, run.span)
    for line in view.text(view.sockets(kept.finished, when, run.profile, host=only, last_time=run.span[1])):
        print(line)
    if run.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


@app.command()
def ladder(
    named: Annotated[
        list[str],
        typer.Argument(
            metavar="CAPTURE... [CONN_ID]",
            help="Captures, as for analyze, then the connection's number; it may be left out where there is only one.",
        ),
    ],
    svg: Annotated[
        str | None, typer.Option("--svg", metavar="FILE", help="Draw it as SVG into this file; - is standard output.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Fold nothing: a row for each segment.")] = False,
    profile: ProfileOption = "linux",
    time_wait: TimeWait = None,
    fin_timeout: FinTimeout = None,
    learn_timers: LearnTimers = False,
    taken_at: TakenAt = None,
    only: OnlyFrames = None,
) -> None:
    """Draw a connection's segments between two lifelines, each endpoint's states down its side."""
    from tcptrace_fsm.api import Run, new_filter, sources
    from tcptrace_fsm.views.conversation import LIMIT, Collector
    from tcptrace_fsm.views.ladder import MOST_DRAWN, MOST_PRINTED, ladder_svg, ladder_text, plainer

    captures, conn_ids = split_ids(named)
    if len(conn_ids) > 1:
        raise UsageError(f"a ladder shows one connection, not {len(conn_ids)}")
    keep = new_filter(only)
    timers = find_profile(profile, time_wait=time_wait, fin_timeout=fin_timeout)
    given: dict[str, Any] = {"taken_at": taken_at or (), "keep": keep, "learn_timers": learn_timers}
    run = Run(sources(captures), timers, labels=True, **given)
    collector = Collector(conn_ids or [0], limit=UNFOLDED if everything else LIMIT)
    run.go([collector], watch=watch)
    warn(run)
    if not conn_ids and run.tally.connections > 1:
        raise UsageError(f"which connection? {run.name} has {run.tally.connections:,}, numbered from 0")
    there_are(run, conn_ids or [0])
    (conversation,) = collector.conversations(run.name, run.span)
    if svg is not None:
        put(svg, ladder_svg(conversation, most=None if everything else MOST_DRAWN))
    else:
        most = None if everything else MOST_PRINTED
        for line in ladder_text(conversation, width=terminal_width(), colour=coloured(sys.stdout), most=most):
            print(plainer(line, sys.stdout.encoding))
    if run.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


@app.command()
def diagram(
    captures: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CAPTURE...]", help="Show what its endpoints did; captures as for analyze."),
    ] = None,
    svg: Annotated[
        str | None, typer.Option("--svg", metavar="FILE", help="Draw it as SVG into this file; - is standard output.")
    ] = None,
    profile: ProfileOption = "linux",
    time_wait: TimeWait = None,
    fin_timeout: FinTimeout = None,
    learn_timers: LearnTimers = False,
    taken_at: TakenAt = None,
    only: OnlyFrames = None,
) -> None:
    """Draw figure 5 of RFC 9293 as SVG, weighted by what a capture's endpoints did; without --svg, tell it in lines."""
    from tcptrace_fsm.api import Run, new_filter, sources
    from tcptrace_fsm.views.diagram import Taken, diagram_svg, diagram_text

    taken, name, interrupted = None, "", False
    keep = new_filter(only)
    timers = find_profile(profile, time_wait=time_wait, fin_timeout=fin_timeout)
    if captures:
        given: dict[str, Any] = {"taken_at": taken_at or (), "keep": keep, "learn_timers": learn_timers}
        run = Run(sources(captures), timers, **given)
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


@app.command()
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
    only: OnlyFrames = None,
) -> None:
    """Copy the frames of connections, byte for byte, into a capture of the same format.

    IP fragments of their segments come along; frames of other protocols that speak of them (ICMP errors) do not.
    """
    from tcptrace_fsm.api import Run, new_filter, sources
    from tcptrace_fsm.views import extract as copying

    captures, conn_ids = split_ids(named)
    keep = new_filter(only)
    if not conn_ids:
        raise UsageError("name the connections to extract by their numbers, behind the capture")
    expanded = sources(captures)
    copying.check_output(out, expanded)
    with copying.rereadable(expanded) as twice:
        run = Run(twice, find_profile("linux"), labels=True, fragments=True, keep=keep)
        frames = copying.Frames(conn_ids)
        run.go([frames], watch=watch)
        warn(run)
        there_are(run, conn_ids)
        numbers = frames.numbers(run.captures, run.origins)
        with copying.output_file(out) as file:
            copied = copying.copy_frames(run.in_order, [c.frames for c in run.captures], numbers, file)
    many = "s" if len(set(conn_ids)) > 1 else ""
    say(f"{count(copied, 'frame')} of connection{many} {', '.join(map(str, sorted(set(conn_ids))))} written to {out}")


@app.command()
def report(
    captures: Captures,
    out: Annotated[str, typer.Option("-o", "--out", metavar="FILE.html", help="The page to write.")],
    profile: ProfileOption = "linux",
    time_wait: TimeWait = None,
    fin_timeout: FinTimeout = None,
    learn_timers: LearnTimers = False,
    taken_at: TakenAt = None,
) -> None:
    """Write one HTML page that needs no network: findings, connections, states over time, ladders, graphs."""
    from tcptrace_fsm.api import Kept, Run, Trace, sources
    from tcptrace_fsm.views.extract import rereadable

    timers = find_profile(profile, time_wait=time_wait, fin_timeout=fin_timeout)
    with rereadable(sources(captures)) as twice:
        run, kept = Run(twice, timers, taken_at=taken_at or (), learn_timers=learn_timers), Kept()
        run.go([kept], watch=watch)
        warn(run)

        # The segments of those connections that the page draws are read in a second pass.
        def again() -> Run:
            return Run(twice, run.profile, labels=True, taken_at=taken_at or (), watch=watch)

        trace = Trace(run, kept, None if run.interrupted else again)
        given = [] if profile == "linux" else ["--profile", profile]
        given += [] if time_wait is None else ["--time-wait", f"{time_wait:g}"]
        given += [] if fin_timeout is None else ["--fin-timeout", f"{fin_timeout:g}"]
        given += ["--learn-timers"] if learn_timers else []
        given += [word for address in taken_at or () for word in ("--taken-at", address)]
        with drawing() as tell:
            trace.report(out, named=[*captures, *given], tell=tell)
    if run.interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)


@app.command()
def rules(
    kind: Annotated[str | None, typer.Argument(metavar="[KIND]", help="Show this rule in full.")] = None,
) -> None:
    """List the anomaly catalogue, or explain one of its rules."""
    from tcptrace_fsm.findings import CATALOGUE

    if kind is None:
        width = max((len(name) for name in CATALOGUE), default=0)
        for name, rule in sorted(
            CATALOGUE.items(), key=lambda item: (-schema.SEVERITIES.index(item[1].severity), item[0])
        ):
            print(f"{rule.severity:<7} {rule.category:<10} {name:<{width}}  {rule.summary}".rstrip())
        return
    if kind not in CATALOGUE:
        raise UsageError(f"no rule {kind!r}; there are {', '.join(sorted(CATALOGUE))}")
    for line in explain(CATALOGUE[kind]):
        print(line)


@app.command()
def causes(
    cause: Annotated[str | None, typer.Argument(metavar="[CAUSE]", help="Show this cause in full.")] = None,
) -> None:
    """List the causes that diagnoses name, or explain one of them."""
    from tcptrace_fsm.causes import CAUSES
    from tcptrace_fsm.views.diagnoses import cause_lines

    if cause is None:
        width = max(map(len, CAUSES))
        for name, one in CAUSES.items():
            print(f"{one.family:<8} {one.where:<8} {name:<{width}}  {one.summary}")
        return
    if cause not in CAUSES:
        from difflib import get_close_matches

        near = get_close_matches(cause, CAUSES, n=3) or sorted(CAUSES)
        raise UsageError(f"no cause {cause!r}; did you mean {', '.join(near)}?")
    for line in cause_lines(CAUSES[cause], min(terminal_width(), 100)):
        print(line)


def explain(rule: Rule | Survey) -> Iterator[str]:
    """Everything that a rule says of itself."""
    import textwrap

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
    alike = [("looks alike, but is not", text) for text in rule.counterexamples]
    for head, text in (("an example", rule.example), *alike):
        yield ""
        yield f"{head}:"
        yield from textwrap.indent(textwrap.dedent(text).strip("\n"), "  ").split("\n")
    if rule.aliases:
        yield ""
        yield "called elsewhere: " + ", ".join(f"{name} ({tool})" for tool, name in rule.aliases.items())


def split_ids(named: list[str]) -> tuple[list[str], list[int]]:
    """Tell captures from the numbers of connections behind them.

    Raises
    ------
    UsageError
        When no capture is left.

    """
    at = len(named)
    while at and named[at - 1].isascii() and named[at - 1].isdigit() and not os.path.exists(named[at - 1]):  # noqa: PTH110
        at -= 1
    if not at:
        raise UsageError("name a capture, then the connection's number")
    return named[:at], [int(text) for text in named[at:]]


def there_are(run: Run, conn_ids: list[int]) -> None:
    """Refuse numbers of connections that there are not.

    Raises
    ------
    UsageError
        With how many there are.

    """
    missing = [n for n in conn_ids if not 0 <= n < run.tally.connections]
    if missing:
        known = count(run.tally.connections, "connection")
        raise UsageError(f"no connection {missing[0]}; {run.name} has {known}, numbered from 0")


def put(name: str, text: str) -> None:
    """Write a picture to a file, whole or not at all, or to standard output for ``-``."""
    from tcptrace_fsm.files import write_whole

    if name == "-":
        print(text)
    else:
        write_whole(name, text + "\n")


def coloured(out: Any) -> bool:
    """Whether to colour what is written there (https://no-color.org)."""
    return bool(out.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


# --- around a run -----------------------------------------------------------------------------------------------------
def say(message: str) -> None:
    """One line on standard error."""
    print(f"tcptrace-fsm: {printable(message)}", file=sys.stderr)


def warn(run: Run) -> None:
    """Say what the reader of a summary must know: that something is missing."""
    if not run.captures:
        say("stopped by Ctrl-C before anything was analysed")
        raise typer.Exit(EXIT_INTERRUPTED)
    for capture in run.captures:
        if capture.truncated:
            say(f"warning: {capture.name}: {capture.truncated}; analysed up to there")
    if run.hurried:
        say(
            f"warning: too many connections at once; {run.hurried:,} that never opened, or were over, were judged "
            "without waiting for what might follow"
        )
    if run.interrupted:
        say(f"stopped by Ctrl-C after {count(sum(c.frames for c in run.captures), 'frame')}; analysed up to there")


class Told:
    """Tells findings as they come: when their connection is over, and nothing more is expected of it."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def take(self, finished: Any) -> None:
        """Print the findings, one line each."""
        from tcptrace_fsm.views.summary import iso_time

        for f in finished.findings:
            line = f"{iso_time(f.time)}  {f.severity.upper():<6}  {f.kind}  {f.message}"
            print(line if f.conn_id < 0 else f"{line}   (connection {f.conn_id})", flush=True)


class CtrlC:
    """Ctrl-C ends the reading, not the analysis: what was read is finished, summarised and written.

    While a batch is being decoded or fed, the signal is only noted, for half a batch must not be left anywhere; while
    bytes are awaited (a pipe may be silent for hours) it interrupts. A second Ctrl-C interrupts whatever is going on.
    """

    def __init__(self, run: Run) -> None:
        self.asked = False
        self.awaiting = False
        self._run = run

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        first, self.asked = not self.asked, True
        captures = self._run.captures
        if not first or (self.awaiting and (not captures or getattr(captures[-1], "waiting", True))):
            raise KeyboardInterrupt


@contextmanager
def _handling(handler: CtrlC) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def watch(run: Run, batches: Iterator[Any]) -> Iterator[Any]:
    """Pass batches on; stop at Ctrl-C, show progress on a terminal, say once if it could be faster."""
    # What there is now lives as long as the process; looking through it for garbage again and again would find none.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    gc.enable()
    handler = CtrlC(run)
    with _handling(handler), progress(hidden=run.follow) as advance:
        while not handler.asked:
            handler.awaiting = True
            try:
                batch = next(batches, None)
            except KeyboardInterrupt:
                handler.asked = True
                break
            finally:
                handler.awaiting = False
            if batch is None:
                break
            advance(run)
            yield batch
        run.interrupted = handler.asked


@contextmanager
def progress(*, hidden: bool = False) -> Iterator[Any]:
    """Show a progress bar on a terminal for whatever takes longer than a moment; nothing elsewhere."""
    if hidden or not sys.stderr.isatty():
        yield lambda _run: None
        return
    bar = _Bar()
    try:
        yield bar
    finally:
        bar.stop()


@contextmanager
def drawing() -> Iterator[Any]:
    """Count connections that are drawn, on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    status: Any = None

    def tell(done: int, total: int) -> None:
        nonlocal status
        if status is None:  # not before: while the capture is read again, the bar is there
            from rich.console import Console

            status = Console(stderr=True).status("")
            status.start()
        status.update(f"drawn {done:,} of {count(total, 'connection')}")

    try:
        yield tell
    finally:
        if status is not None:
            status.stop()


class _Bar:
    """Appears after half a second, so that quick work stays quiet and does not wait for rich."""

    def __init__(self) -> None:
        from time import monotonic

        self._clock = monotonic
        self._since = monotonic()
        self._bar: Any = None
        self._task: Any = None
        self._told = False

    def __call__(self, run: Run) -> None:
        capture = run.captures[-1]
        self._tell(capture)
        if self._bar is None:
            if self._clock() - self._since < 0.5:
                return
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task("")
            self._bar.start()
        frames = count(sum(c.frames for c in run.captures), "frame")
        self._bar.update(
            self._task,
            description=f"{capture.name.rsplit('/', 1)[-1]}  {frames}",
            completed=capture.bytes_read,
            total=capture.size,
        )

    def _tell(self, capture: Any) -> None:
        if self._told or (capture.size or 0) < LARGE:
            return
        self._told = True
        from tcptrace_fsm.kernels import compiled

        if not compiled():
            say("the kernels are not compiled: the result is the same, at about a sixtieth of the speed")

    def stop(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()


def main() -> None:
    """Run the command line and exit with its status."""
    # numpy is used for copying columns: threads of its linear algebra would only spin.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    gc.disable()  # until the capture is read: what is imported is no garbage
    sys.exit(run_command())


def run_command(arguments: list[str] | None = None) -> int:
    """Run one command; every error that is not a fault of this program becomes one line and a status."""
    try:
        status = app(arguments, prog_name="tcptrace-fsm", standalone_mode=False)
        sys.stdout.flush()
    except CaptureError as error:
        say(str(error))
        return EXIT_UNREADABLE
    except WorkerError as error:
        say(str(error))
        return EXIT_UNREADABLE
    except UsageError as error:
        say(str(error))
        return EXIT_USAGE
    except _CommandLineError as error:
        say(usage_message(error))
        return EXIT_USAGE
    except KeyboardInterrupt:  # before there was anything to finish, or asked twice
        say("stopped by Ctrl-C")
        return EXIT_INTERRUPTED
    except (BrokenPipeError, SystemExit):
        # The reader has gone (head, a pager); in this mode SystemExit is typer's word for that. Nobody is left to tell,
        # and the interpreter must not try at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
        return 0
    return status if isinstance(status, int) else 0


def usage_message(error: Any) -> str:
    """Tell what was wrong with the command line, in one line, with the choices that there are."""
    message = error.format_message()
    context = getattr(error, "ctx", None)
    command = getattr(context, "command", None)
    if "option" in message.lower() and "such" in message.lower() and command is not None:
        options = sorted(name for p in command.params for name in p.opts if name.startswith("--"))
        message = f"{message.rstrip('.')}; there are {', '.join([*options, '--help'])}"
    elif "command" in message.lower() and command is not None and hasattr(command, "commands"):
        message = f"{message.rstrip('.')}; there are {', '.join(sorted(command.commands))}"
    return " ".join(message.split())
