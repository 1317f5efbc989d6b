"""Files written whole or not at all: under a temporary name beside their place, then renamed."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tcptrace_fsm.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["whole_file", "write_whole"]


@contextmanager
def whole_file(name: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path to write to; put it in place at the end, or remove it when something went wrong.

    Parameters
    ----------
    name : path
        Where the file is to be.

    Raises
    ------
    UsageError
        When there is no writing there.

    """
    path = Path(name)
    if path.is_dir() or not path.name:
        raise UsageError(f"cannot write to {path}: it is a directory")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        temporary.touch()
        yield temporary
        if path.exists():
            temporary.chmod(path.stat().st_mode & 0o777)
        temporary.replace(path)
    except OSError as reason:
        raise UsageError(f"cannot write to {path}: {reason.strerror}") from reason
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_whole(name: str | os.PathLike[str], text: str) -> None:
    """Write a text file, whole or not at all; see `whole_file`."""
    with whole_file(name) as path:
        path.write_text(text, encoding="utf-8")
