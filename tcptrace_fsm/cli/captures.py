"""Which captures a command reads: a bad one among many is left out, and reported."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tcptrace_fsm.cli.messages import say
from tcptrace_fsm.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from tcptrace_fsm.capture.sources import Source
    from tcptrace_fsm.core.settings import Settings

__all__ = ["LEFT_OUT", "are_large", "captures_of"]

LARGE = 64 << 20  # bytes
LEFT_OUT: list[tuple[str, str]] = []
"""What the running command has left out, and why; it ends with status 1 then."""


def captures_of(named: Sequence[str], settings: Settings) -> list[Source]:
    """Expand what the user named to captures; of several, leave out with a warning what is none.

    Raises
    ------
    CaptureError
        With ``--strict`` for the first that cannot be read; else where none is left.

    """
    from tcptrace_fsm.capture.sources import sources

    if settings.strict or settings.merge_vantage:
        return sources(named)
    expanded: list[Source] = []
    bad: list[CaptureError] = []
    for name in named:
        try:
            expanded += sources(name)
        except CaptureError as reason:
            bad.append(reason)
    if len(expanded) + len(bad) > 1:
        readable = []
        for source in expanded:
            try:
                _look(source)
                readable.append(source)
            except CaptureError as reason:
                bad.append(reason)
        expanded = readable
    if bad and not expanded:
        raise bad[0]
    for one in bad:
        say(f"warning: {one}; left out")
        LEFT_OUT.append((one.path, str(one)))
    return expanded or sources(named)


def are_large(captured: Sequence[Source]) -> bool:
    """Whether so much is to be read, or may be, that it pays to prepare for it."""
    try:
        return sum(Path(source).stat().st_size for source in captured if isinstance(source, str)) >= LARGE
    except OSError:  # a pipe, or something elsewhere
        return True


def _look(source: Source) -> None:
    """Read the beginning of a file; streams and pipes, which can be read but once, are left alone."""
    from tcptrace_fsm.capture.containers import open_capture
    from tcptrace_fsm.capture.remote import is_remote

    if not isinstance(source, str) or source == "-" or is_remote(source):
        return
    if Path(source).exists() and not Path(source).is_file():
        return
    with closing(cast("Generator[Any]", open_capture(source, chunk_size=1 << 12).segments())) as batches:
        next(batches, None)
