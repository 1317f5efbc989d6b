"""Files that this program writes: whole or not at all, never over what it reads, and safely in anybody's folder.

A regular file is written under a temporary name beside its place and then renamed. The temporary name cannot be
foreseen and is made exclusively, so nobody can have put a link there. What is no regular file (a device, a FIFO) keeps
its place and is written through, once all is known.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tcptrace_fsm.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["new_beside", "refuse_input", "remove_stale", "whole_file", "write_whole", "writing"]


@contextmanager
def writing(where: str | os.PathLike[str]) -> Iterator[None]:
    """Turn the system's refusal to write into one line that says where and why.

    Raises
    ------
    OutputError
        For a full disk, a quota, a limit on the size of files, a missing right.

    """
    try:
        yield
    except OSError as reason:
        why = os.strerror(reason.errno) if reason.errno else str(reason).splitlines()[0]
        raise OutputError(f"cannot write to {os.fspath(where)}: {why}") from reason


@contextmanager
def whole_file(name: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path to write to; put it in place at the end, or remove it when something went wrong.

    Parameters
    ----------
    name : path
        Where the file is to be. A device or FIFO there is written through.

    Raises
    ------
    OutputError
        When there is no writing there.

    """
    path = Path(name)
    if path.is_dir() or not path.name:
        raise UsageError(f"cannot write to {path}: it is a directory")
    temporary: Path | None = None
    try:
        with writing(path):
            if _is_special(path):
                import tempfile

                handle, made = tempfile.mkstemp(prefix="tcptrace-fsm-")
                os.close(handle)
                temporary = Path(made)
                yield temporary
                with temporary.open("rb") as source, path.open("wb") as target:
                    shutil.copyfileobj(source, target)
                return
            remove_stale(path.parent, path.name)
            temporary = new_beside(path)
            yield temporary
            if path.exists():
                temporary.chmod(path.stat().st_mode & 0o777)
            temporary.replace(path)
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _is_special(path: Path) -> bool:
    """Whether something is there that is neither a regular file nor a directory."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode)


def new_beside(path: Path) -> Path:
    """Make an empty file beside ``path``, under a name that nobody can foresee, and give its path.

    Raises
    ------
    OSError
        When that cannot be.

    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(6).hex()}.partial")
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666))
    return temporary


def remove_stale(folder: Path, name: str) -> None:
    """Remove the temporary files of ``name`` that a run left which was killed."""
    pattern = re.compile(rf"\.{re.escape(name)}\.([0-9]+)-[0-9a-f]{{12}}\.partial")
    with suppress(OSError):
        for entry in os.scandir(folder):
            match = pattern.fullmatch(entry.name)
            if match and entry.is_file(follow_symlinks=False) and not _alive(int(match[1])):
                with suppress(OSError):
                    Path(entry.path).unlink()


def _alive(process: int) -> bool:
    """Whether a process of that number runs, as far as can be known."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def write_whole(name: str | os.PathLike[str], text: str) -> None:
    """Write a text file, whole or not at all; see `whole_file`."""
    with whole_file(name) as path:
        path.write_text(text, encoding="utf-8")


def refuse_input(name: str | os.PathLike[str], captured: Iterable[object]) -> None:
    """Refuse to write over what is read, whatever name or link leads there.

    Raises
    ------
    UsageError
        When the output is one of the captures.

    """
    path = Path(name)
    for source in captured:
        if not isinstance(source, str | os.PathLike) or source == "-":
            continue
        with suppress(OSError):  # one of them is not there
            if path.samefile(source):
                raise UsageError(f"{os.fspath(name)} is the capture itself; write to another file")
