"""Byte streams under a capture: files, pipes, and what compressors made of them.

Everything is read forwards in bounded pieces; nothing is ever sought, so that a pipe is as good as a file.
"""

from __future__ import annotations

import os
import stat
import sys
import time
import zlib
from typing import TYPE_CHECKING, Any, Protocol

from tcptrace_fsm.capture.remote import is_remote, open_remote
from tcptrace_fsm.errors import CaptureError, UsageError

if TYPE_CHECKING:
    from typing import BinaryIO

__all__ = ["Stream", "StreamDamage", "open_stream"]

POLL = 0.1
"""Seconds between two looks at a file that is followed."""
PIECE = 1 << 16
"""Compressed bytes read at once."""
LZMA_MEMORY = 1 << 28
"""Bytes that an xz file may make its decoder use; more than any preset of xz asks for."""


class StreamDamage(Exception):  # noqa: N818 - a finding, not a fault of ours
    """The compressed stream cannot be followed further; the message says why."""


class Unpacker(Protocol):
    """What the decompressors of the standard library have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ...) -> bytes: ...


class _Gzip:
    """One gzip member; keeps what a bounded output left unread."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int = PIECE) -> bytes:
        return self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)


class _Zstd:
    """One zstd frame. Its decoder has no bound on its output, so it is fed a little at a time."""

    STEP = 512  # bytes; at most 16 MiB come out of them (runs of 128 KiB from 4 bytes)

    def __init__(self) -> None:
        import zstandard

        self._object: Any = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
        self._input = b""
        self._output = b""

    @property
    def eof(self) -> bool:
        return bool(self._object.eof) and not self._output

    @property
    def unused_data(self) -> bytes:
        return bytes(self._object.unused_data) + self._input

    def decompress(self, data: bytes, max_length: int = PIECE) -> bytes:
        self._input += data
        while self._input and len(self._output) < max_length and not self._object.eof:
            piece, self._input = self._input[: self.STEP], self._input[self.STEP :]
            self._output += self._object.decompress(piece)
        out, self._output = self._output[:max_length], self._output[max_length:]
        return out


def _bzip2() -> Unpacker:
    import bz2

    return bz2.BZ2Decompressor()


def _xz() -> Unpacker:
    import lzma

    return lzma.LZMADecompressor(memlimit=LZMA_MEMORY)


class _Lz4:
    """One lz4 frame."""

    def __init__(self) -> None:
        from importlib import import_module  # not one of our dependencies

        self._object: Any = import_module("lz4.frame").LZ4FrameDecompressor()

    @property
    def eof(self) -> bool:
        return bool(self._object.eof)

    @property
    def unused_data(self) -> bytes:
        return self._object.unused_data or b""  # None for nothing

    def decompress(self, data: bytes, max_length: int = PIECE) -> bytes:
        return bytes(self._object.decompress(data, max_length))


COMPRESSIONS: dict[str, tuple[bytes, Any, str]] = {
    "gzip": (b"\x1f\x8b", _Gzip, ""),
    "zstd": (b"\x28\xb5\x2f\xfd", _Zstd, "zstandard"),
    "bzip2": (b"BZh", _bzip2, ""),
    "xz": (b"\xfd7zXZ\x00", _xz, ""),
    "lz4": (b"\x04\x22\x4d\x18", _Lz4, "lz4"),
}
"""Name: the bytes it begins with, the decoder, and the package that it needs."""


class _Tail:
    """A file that is still being written: whether to look again at its end."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        about = os.fstat(file.fileno())
        self._name = name
        self._identity = about.st_dev, about.st_ino
        self._regular = stat.S_ISREG(about.st_mode)
        self.replaced = False

    def more(self, consumed: int) -> bool:
        """Wait a moment; False where nothing more can come: it was cut, or another file has taken its name."""
        if self.replaced or not self._regular:
            return False
        time.sleep(POLL)
        try:
            about = os.stat(self._name)  # noqa: PTH116 - a path may be any PathLike
        except OSError:
            return True  # moved away; its successor may be on its way
        # What was written before the name passed on is still to be read: the caller looks once more.
        self.replaced = (about.st_dev, about.st_ino) != self._identity or about.st_size < consumed
        return True


class _Raw:
    """The file's own bytes; some may be put back."""

    def __init__(self, file: BinaryIO, name: str, tail: _Tail | None = None) -> None:
        self.consumed = 0
        self.name = name
        self.waiting = False
        self.stopped = False
        self._tail = tail
        # A buffered reader's readinto1() waits for more than it has; its read1() does not.
        self._read = getattr(file, "read1", None) or file.read
        self._into = None if hasattr(file, "read1") else getattr(file, "readinto", None)
        self._back = b""

    def read_into(self, room: memoryview) -> int:
        if self._back:
            piece = self._back[: len(room)]
            self._back = self._back[len(piece) :]
            room[: len(piece)] = piece
            return len(piece)
        self.waiting = True
        try:
            if self.stopped:  # in the moment before: nobody would interrupt the wait
                raise KeyboardInterrupt
            count = self._take(room)
            while not count and self._tail is not None and self._tail.more(self.consumed):
                count = self._take(room)
        finally:
            self.waiting = False
        self.consumed += count
        return count

    def _take(self, room: memoryview) -> int:
        if self._into is not None:
            count: int = self._into(room) or 0
            return count
        data = self._read(len(room)) or b""
        if isinstance(data, str):
            raise CaptureError(self.name, 0, "a text stream; a capture is read from a binary one")
        room[: len(data)] = data
        return len(data)

    def read(self, count: int = PIECE) -> bytes:
        room = bytearray(count)
        return bytes(room[: self.read_into(memoryview(room))])

    def put_back(self, data: bytes) -> None:
        self._back = data + self._back

    def skip_zeros(self) -> None:
        """Move on to the next byte that is not 0; a block at a time, for there may be gigabytes of them."""
        while piece := self.read():
            if rest := piece.lstrip(b"\0"):
                self.put_back(rest)
                return

    def peek(self, count: int) -> bytes:
        """Return the next ``count`` bytes, fewer at the end, and leave them there."""
        data = b""
        while len(data) < count and (piece := self.read(count - len(data))):
            data += piece
        self.put_back(data)
        return data


class Stream:
    """The bytes of a capture, decompressed.

    Attributes
    ----------
    name : str
        For messages.
    size : int or None
        Bytes of the file as it stands, where known.
    compression : str
        ``gzip``, ``zstd``, ``bzip2``, ``xz``, ``lz4``, or empty.

    """

    def __init__(self, file: BinaryIO, name: str, size: int | None, *, own: bool, follow: bool = False) -> None:
        self.name = name
        self.size = size
        self.compression = ""
        self._file = file
        self._own = own
        self._tail = _Tail(file, name) if follow else None
        self._raw = _Raw(file, name, self._tail)
        self._unpacker: Unpacker | None = None
        self._more = False  # the unpacker may give more without more input
        start = self._raw.peek(max(len(magic) for magic, _, _ in COMPRESSIONS.values()))
        for kind, (magic, make, package) in COMPRESSIONS.items():
            if start.startswith(magic):
                self.compression = kind
                try:
                    self._unpacker = make()
                except ImportError as reason:
                    message = f"{kind} compressed; reading it needs the Python package {package}"
                    raise CaptureError(name, 0, message) from reason

    @property
    def consumed(self) -> int:
        """Bytes read of the file, compressed ones where it is compressed."""
        return self._raw.consumed

    @property
    def waiting(self) -> bool:
        """Whether bytes are being waited for at this moment."""
        return self._raw.waiting

    def stop(self) -> None:
        """Have KeyboardInterrupt raised where bytes are waited for the next time."""
        self._raw.stopped = True

    @property
    def replaced(self) -> bool:
        """Whether a file that is followed was cut, or gave its name to another one."""
        return self._tail is not None and self._tail.replaced

    def read_into(self, room: memoryview) -> int:
        """Fill some of ``room``; return how many bytes, 0 at the end. Raises `StreamDamage`."""
        try:
            return self._read_into(room)
        except (StreamDamage, CaptureError, UsageError):
            raise
        except Exception as reason:  # each decompressor has an error class of its own
            what = f"the {self.compression} stream is damaged" if self.compression else "reading failed"
            raise StreamDamage(f"{what} ({reason})") from reason

    def _read_into(self, room: memoryview) -> int:
        if self._unpacker is None:
            return self._raw.read_into(room)
        while True:
            if self._unpacker.eof:
                self._raw.put_back(self._unpacker.unused_data)
                if not self._next_member():
                    return 0
            data = b"" if self._more else self._raw.read()
            if not data and not self._more:
                raise StreamDamage(f"the {self.compression} stream ends before its end mark")
            out = self._unpacker.decompress(data, len(room))
            self._more = len(out) == len(room) and not self._unpacker.eof
            if out:
                room[: len(out)] = out
                return len(out)

    def close(self) -> None:
        """Close the file if this stream opened it."""
        if self._own:
            self._file.close()

    def _next_member(self) -> bool:
        """Begin the next gzip member, zstd frame...; zeros after the last one are padding."""
        magic, make, _ = COMPRESSIONS[self.compression]
        self._raw.skip_zeros()
        start = self._raw.peek(len(magic))
        if not start:
            return False
        if not start.startswith(magic):
            raise StreamDamage(f"what follows the {self.compression} stream is not {self.compression}")
        self._unpacker = make()
        self._more = False
        return True


def open_stream(source: str | os.PathLike[str] | BinaryIO, *, follow: bool = False) -> Stream:
    """Open a capture's bytes: a path, a URL, ``-`` for standard input, or a binary file object.

    With ``follow``, the end of a file is not its end: reading waits for more.

    Raises
    ------
    CaptureError
        When there is nothing to read there.

    """
    if not isinstance(source, str | os.PathLike):
        if not hasattr(source, "read"):
            raise TypeError(f"a path or a binary file object is needed, not {type(source).__name__}")
        return Stream(source, str(getattr(source, "name", "stream")), None, own=False)
    name = os.fspath(source)
    if name == "-":
        return Stream(getattr(sys.stdin.buffer, "raw", sys.stdin.buffer), "-", None, own=False)
    if is_remote(name):
        remote, size = open_remote(name)
        return Stream(remote, name, size, own=True)
    try:
        file = open(name, "rb", buffering=0)  # noqa: SIM115, PTH123 - the stream closes it; a path may be any PathLike
    except (OSError, ValueError) as reason:
        raise CaptureError(name, 0, _why(reason)) from reason
    try:
        about = os.fstat(file.fileno())
        size = about.st_size if stat.S_ISREG(about.st_mode) and not follow else None
        return Stream(file, name, size, own=True, follow=follow)
    except OSError as reason:
        file.close()
        raise CaptureError(name, 0, _why(reason)) from reason
    except CaptureError:
        file.close()
        raise


def _why(reason: OSError | ValueError) -> str:
    if isinstance(reason, IsADirectoryError):
        return "a directory, not a capture"
    if isinstance(reason, FileNotFoundError):
        return "no such file"
    if isinstance(reason, PermissionError):
        return "no permission to read it"
    return str(getattr(reason, "strerror", None) or reason)
