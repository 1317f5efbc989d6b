"""The errors that caller, file or a helping process can cause. The network's faults are data, never exceptions."""

from __future__ import annotations


class CaptureError(Exception):
    """A capture that cannot be read: which one, where, and why.

    Attributes
    ----------
    path : str
        The capture's name, ``-`` for standard input.
    offset : int
        Byte offset (in the decompressed stream) at which reading failed.
    reason : str
        What is wrong there, in plain words.
    """

    def __init__(self, path: str, offset: int, reason: str) -> None:
        super().__init__(f"{path}: byte {offset}: {reason}")
        self.path = path
        self.offset = offset
        self.reason = reason

    def __reduce__(self) -> tuple[type[CaptureError], tuple[str, int, str]]:
        return CaptureError, (self.path, self.offset, self.reason)  # as it crosses from one process to another


class WorkerError(Exception):
    """Some process that was to share the work is gone; the message says how."""


def printable(text: str) -> str:
    """Text that may be shown on a terminal: what would steer it (in a file's name) is written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def plain_name(name: str) -> str:
    r"""A capture's name as tables have it: no byte that is no text, nothing that a terminal or a spreadsheet obeys.

    >>> plain_name("=a.pcap"), plain_name("a\x1b[31m.pcap")
    ('./=a.pcap', 'a\\x1b[31m.pcap')
    """
    return printable(f"./{name}" if name[:1] in {"=", "+", "@"} or (name[:1] == "-" and name != "-") else name)


class UsageError(Exception):
    """A request that makes no sense; the message says what would."""


class OutputError(UsageError):
    """An output cannot be written, or not to its end: no room, no right, no such folder."""
