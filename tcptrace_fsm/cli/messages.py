"""What commands say besides their answer, and the statuses that they end with."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

import typer

from tcptrace_fsm.errors import UsageError, printable
from tcptrace_fsm.text.counts import count

if TYPE_CHECKING:
    from tcptrace_fsm.runs.run import Run

__all__ = [
    "EXIT_FAIL_ON",
    "EXIT_INTERRUPTED",
    "EXIT_NOT_WRITTEN",
    "EXIT_UNREADABLE",
    "EXIT_USAGE",
    "as_given",
    "check_ids",
    "coloured",
    "give_up",
    "put",
    "say",
    "split_ids",
    "warn",
]

SHORT = 80  # characters of names that are repeated in a command
EXIT_UNREADABLE, EXIT_USAGE, EXIT_FAIL_ON, EXIT_NOT_WRITTEN, EXIT_INTERRUPTED = 1, 2, 3, 4, 130


def say(message: str) -> None:
    """One line on standard error."""
    try:
        print(f"tcptrace-fsm: {printable(message)}", file=sys.stderr, flush=True)
    except (OSError, ValueError):  # there is nowhere to print it; the status stays what it would have been
        give_up(sys.__stderr__, 2)


def give_up(stream: IO[str] | None, number: int) -> None:
    """Let nobody write to a standard stream any more, not even the interpreter when it ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno() if stream else number)


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
    if run.tally.undiagnosed:
        say(
            f"warning: too many services; nobody has asked what ails {count(run.tally.undiagnosed, 'connection')}, "
            "which were only counted"
        )
    if held := run.times_held + sum(capture.times_held for capture in run.captures):
        say(
            f"warning: {count(held, 'time')} before 1970, behind 2116 or more than nine years from the first segment "
            "of the connection; moved to that bound"
        )
    if run.interrupted:
        say(f"stopped by Ctrl-C after {count(sum(c.frames for c in run.captures), 'frame')}; analysed up to there")


def as_given(captures: list[str]) -> str:
    """How the user named captures, to be shown in a command; empty where that is too long to be shown."""
    import shlex

    words = " ".join(map(shlex.quote, captures))
    return words if len(words) <= SHORT else ""


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


def check_ids(run: Run, conn_ids: list[int]) -> None:
    """Refuse numbers of connections that there are not.

    Raises
    ------
    UsageError
        With how many there are.

    """
    missing = [n for n in conn_ids if not 0 <= n < run.tally.connections]
    if missing:
        number = count(run.tally.connections, "connection")
        raise UsageError(f"no connection {missing[0]}; {run.name} has {number}, numbered from 0")


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
