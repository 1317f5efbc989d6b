"""Which captures are meant: files, directories, patterns, remote places, streams."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from tcptrace_fsm.capture.remote import is_remote, list_remote
from tcptrace_fsm.errors import CaptureError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

Source = str | os.PathLike[str] | BinaryIO

__all__ = ["Source", "can_be_read_again", "sources"]

_MAGICS = tuple(
    bytes.fromhex(magic)
    for magic in (
        *("a1b2c3d4", "d4c3b2a1", "a1b23c4d", "4d3cb2a1", "a1b2cd34", "34cdb2a1", "0a0d0d0a"),
        *("736e6f6f", "1f8b", "28b52ffd", "425a68", "fd377a58", "04224d18"),
    )
)


def sources(given: Source | Iterable[Source]) -> list[Source]:
    """Expand what the user named to single captures, in the order in which they are read.

    A directory stands for the captures in it, a pattern for the files that match, each by name, with numbers in it
    counting as numbers (``x.pcap2`` before ``x.pcap10``). Which of them comes first is for their times to tell
    (:mod:`tcptrace_fsm.capture.timeline`), for the names of a ring begin anew.

    Raises
    ------
    CaptureError
        For a directory without a capture, or a pattern that matches nothing.

    """
    alone = isinstance(given, str | os.PathLike) or hasattr(given, "read")
    if not alone and not hasattr(given, "__iter__"):
        raise UsageError(f"a capture is a path or a binary file object, not a {type(given).__name__}")
    listed: list[Source] = [cast("Source", given)] if alone else list(cast("Iterable[Source]", given))
    if not listed:
        raise UsageError("name at least one capture")
    expanded: list[Source] = []
    for source in listed:
        if isinstance(source, str | os.PathLike):
            expanded += _files(os.fspath(source))
        elif hasattr(source, "read"):
            expanded.append(source)
        else:
            kind = type(source).__name__
            more = "; a list of packets needs linktype=, such as 1 for Ethernet" if isinstance(source, tuple) else ""
            raise UsageError(f"a capture is a path or a binary file object, not a {kind}{more}")
    return expanded


def can_be_read_again(source: Source) -> bool:
    """Whether a source is a file; one that is missing is for its opener to tell."""
    if not isinstance(source, str | os.PathLike) or os.fspath(source) == "-":
        return False
    return is_remote(os.fspath(source)) or Path(source).is_file() or not Path(source).exists()


def _files(name: str) -> list[str]:
    """Give the files that a name stands for."""
    if is_remote(name):
        listed = sorted(list_remote(name), key=_by_number)
        if not listed:
            raise CaptureError(name, 0, "nothing there")
        return listed
    path = Path(name)
    if name and path.is_dir():
        inside = [str(file) for file in path.iterdir() if _looks_like_capture(file)]
        if not inside:
            raise CaptureError(name, 0, "a directory without a capture in it")
        return sorted(inside, key=_by_number)
    if name != "-" and not path.exists() and any(sign in name for sign in "*?["):
        import glob

        found = glob.glob(name)  # noqa: PTH207 - Path.glob takes no absolute pattern
        matching = [match for match in found if Path(match).is_file()]
        if not matching:
            raise CaptureError(name, 0, "no file matches this pattern")
        return sorted(matching, key=_by_number)
    return [name]  # where it is missing, opening it will tell


def _looks_like_capture(path: Path) -> bool:
    if not path.is_file() or path.name.startswith("."):
        return False
    try:
        with path.open("rb") as file:
            return file.read(4).startswith(_MAGICS)
    except OSError:
        return True  # that it cannot be read is for the user to hear


def _by_number(name: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"([0-9]+)", name)
    return [(1, int(part), part) if part.isdigit() and part.isascii() else (0, 0, part) for part in parts]
