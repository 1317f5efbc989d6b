"""The frames of chosen connections, byte for byte: for Wireshark, for a bug report, for a test.

The first reading finds out which frames these are, the second copies them: record headers, time stamps, blocks and
their options as they stand, in the order of the file. What is no packet in a pcapng file (sections, interfaces, names,
statistics, secrets) is copied too; only the length that a section's header may give is taken back to "unknown". IP
fragments that a segment was put together from come along. Frames of other protocols that speak of a connection (ICMP
errors) do not.
"""

from __future__ import annotations

import gzip
import sys
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from tcptrace_fsm.capture.codes import FILE_SHIFT
from tcptrace_fsm.capture.headers import PCAP_MAGIC, SNOOP_MAGIC
from tcptrace_fsm.capture.pcapng import PCAPNG_MAGIC
from tcptrace_fsm.capture.streams import StreamDamage, open_stream
from tcptrace_fsm.errors import CaptureError, UsageError
from tcptrace_fsm.files import whole_file
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.views.undecided import Undecided

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Iterator, Sequence

    from tcptrace_fsm.capture.timeline import Origins

    Source = str | os.PathLike[str] | BinaryIO

__all__ = ["Frames", "copy_frames", "records", "rereadable"]

CHUNK = 1 << 20
PACKET_BLOCKS = frozenset({2, 3, 6})
UNKNOWN_LENGTH = b"\xff" * 8


class Frames:
    """A sink that notes which frames chosen connections have.

    Parameters
    ----------
    wanted : collection of int
        Their ``conn_id``.

    """

    def __init__(self, wanted: Collection[int]) -> None:
        import numpy as np

        self._np = np
        self._wanted = np.array(sorted(wanted), dtype=np.int64)
        self._frames: list[Any] = []
        self._undecided = Undecided()

    def take_segments(self, batch: Any) -> None:
        """Take the labelled segments of a batch."""
        np = self._np
        records = np.frombuffer(batch.segments, dtype=np.int64, count=batch.count * k.SEGMENT_SIZE)
        records = records.reshape(-1, k.SEGMENT_SIZE)
        frames = records[np.isin(records[:, k.S_CONNECTION], self._wanted), k.S_FRAME]
        if len(frames):
            self._frames.append(frames.copy())
        self._undecided.take_segments(records)

    def take(self, finished: Any) -> None:
        """Take what is over."""
        np = self._np
        records = np.frombuffer(finished.connections, dtype=np.int64, count=finished.count * k.CONNECTION_SIZE)
        records = records.reshape(-1, k.CONNECTION_SIZE)
        self._undecided.take(records)

    def numbers(self, captures: Sequence[Any], origins: Origins | None = None) -> list[int]:
        """Give the numbers of the frames, in order; to be asked when the run is over.

        Parameters
        ----------
        captures : sequence of Capture
            As read; those that noted fragments give theirs.
        origins : Origins or None
            Of several captures: which frame of which stands at each position of the timeline.

        """
        np = self._np
        adopted = self._undecided.adopted()
        frames = np.concatenate([*self._frames, adopted[np.isin(adopted[:, k.S_CONNECTION], self._wanted), k.S_FRAME]])
        if origins is not None:
            codes = origins.codes(frames)
            begins = np.cumsum([0, *(capture.frames for capture in captures)])
            frames = begins[codes >> FILE_SHIFT] + (codes & (1 << FILE_SHIFT) - 1)
        numbers = set(frames.tolist())
        before = 0
        for capture in captures:
            for last, parts in (capture.fragments.joined or {}).items():
                if before + last in numbers:
                    numbers |= {before + part for part in parts}
            before += capture.frames
        return sorted(numbers)


# --- reading records --------------------------------------------------------------------------------------------------
class Record(NamedTuple):
    """A piece of a capture file: its bytes, and whether it holds a frame."""

    content: bytes
    frame: bool


class _Bytes:
    """A stream, some bytes at a time."""

    def __init__(self, source: Source) -> None:
        self._stream = open_stream(source)
        self._buffer = bytearray()
        self._at = 0

    def exactly(self, count: int) -> bytes:
        """Give the next ``count`` bytes, or nothing where there are fewer."""
        while len(self._buffer) - self._at < count:
            room = bytearray(CHUNK)
            try:
                got = self._stream.read_into(memoryview(room))
            except StreamDamage:
                got = 0
            if not got:
                return b""
            del self._buffer[: self._at]
            self._at = 0
            self._buffer += room[:got]
        content = bytes(self._buffer[self._at : self._at + count])
        self._at += count
        return content

    def close(self) -> None:
        self._stream.close()


def records(source: Source) -> Iterator[Record]:
    """Give a capture file's pieces in order, up to its end or to where it is damaged; the header first.

    Frames are counted as :class:`tcptrace_fsm.capture.containers.Capture` counts them.
    """
    data = _Bytes(source)
    try:
        start = data.exactly(4)
        if start == PCAPNG_MAGIC:
            yield from _pcapng(data)
        elif start and SNOOP_MAGIC.startswith(start):
            yield Record(start + data.exactly(12), frame=False)
            while head := data.exactly(24):
                size = int.from_bytes(head[8:12], "big") - 24
                body = data.exactly(size) if size > 0 else b""
                if size < 0 or len(body) < size:
                    return
                yield Record(head + body, frame=True)
        else:
            yield from _pcap(data, start)
    finally:
        data.close()


def _pcap(data: _Bytes, start: bytes) -> Iterator[Record]:
    order: Any = "big" if int.from_bytes(start, "big") in PCAP_MAGIC else "little"
    _, size = PCAP_MAGIC[int.from_bytes(start, order)]
    header = start + data.exactly(20)
    yield Record(header, frame=False)
    version = int.from_bytes(header[4:6], order), int.from_bytes(header[6:8], order)
    while head := data.exactly(size):
        captured, original = int.from_bytes(head[8:12], order), int.from_bytes(head[12:16], order)
        if version < (2, 3) or (version == (2, 3) and captured > original):
            captured = original
        if captured > k.LIMIT_PACKET:
            return
        body = data.exactly(captured) if captured else b""
        if len(body) < captured:
            return
        yield Record(head + body, frame=True)


def _pcapng(data: _Bytes) -> Iterator[Record]:
    order: Any = "big"
    head = PCAPNG_MAGIC + data.exactly(4)
    while len(head) == 8:
        more = b""
        if head[:4] == PCAPNG_MAGIC:
            more = data.exactly(16)
            order = "little" if more[:4] == b"\x4d\x3c\x2b\x1a" else "big"
            more = more[:8] + UNKNOWN_LENGTH
        total = int.from_bytes(head[4:8], order)
        size = (total + 3 & ~3) - 8 - len(more)
        if size < 4 or total > k.LIMIT_BLOCK:
            return
        body = data.exactly(size)
        if not body:
            return
        yield Record(head + more + body, frame=int.from_bytes(head[:4], order) in PACKET_BLOCKS)
        head = data.exactly(8)


# --- writing ----------------------------------------------------------------------------------------------------------
def copy_frames(captured: Sequence[Source], counts: Sequence[int], numbers: Sequence[int], output: IO[bytes]) -> int:
    """Copy frames to an open file.

    Parameters
    ----------
    captured : sequence of path
        The captures, in the order in which they are one timeline.
    counts : sequence of int
        How many frames each of them was found to have.
    numbers : sequence of int
        Which frames, counted through all captures, in order.
    output : binary file

    Returns
    -------
    int
        How many were copied.

    Raises
    ------
    UsageError
        When the captures are of different formats, which one file cannot hold.

    """
    from bisect import bisect_left

    before = copied = 0
    header: bytes | None = None
    for source, frames in zip(captured, counts, strict=True):
        wanted = numbers[bisect_left(numbers, before + 1) : bisect_left(numbers, before + frames + 1)]
        if wanted:
            pieces = records(source)
            first = next(pieces)
            if header is None or first.content[:4] == PCAPNG_MAGIC == header[:4]:
                output.write(first.content)
                header = header or first.content
            elif _kind(first.content) != _kind(header):
                raise UsageError(f"{source} has another format than the capture before; join them with mergecap first")
            copied += _copy(pieces, [n - before for n in wanted], output)
        before += frames
    return copied


def _kind(header: bytes) -> bytes:
    """What of a file header two files must share for one to hold the records of both."""
    if header[:4] == PCAPNG_MAGIC:
        return header[:4]
    if SNOOP_MAGIC.startswith(header[:4]):
        return header
    return header[:8] + header[20:]  # not the time zone and the longest frame


def _copy(pieces: Iterator[Record], wanted: list[int], output: IO[bytes]) -> int:
    number, at = 0, 0
    for piece in pieces:
        if not piece.frame:
            output.write(piece.content)
            continue
        number += 1
        if at < len(wanted) and wanted[at] == number:
            output.write(piece.content)
            at += 1
    return at


@contextmanager
def output_file(name: str) -> Iterator[IO[bytes]]:
    """Open what the frames go to: compressed as its name ends, standard output for ``-``."""
    if name == "-":
        if sys.stdout.isatty():
            raise UsageError("a capture is not for a terminal; write it to a file, or into a pipe")
        yield sys.stdout.buffer
        return
    with whole_file(name) as path, path.open("wb") as file:
        if name.endswith(".gz"):
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed:
                yield cast("IO[bytes]", packed)
        elif name.endswith(".zst"):
            import zstandard

            with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as packed:
                yield cast("IO[bytes]", packed)
        else:
            yield file


@contextmanager
def rereadable(captured: Sequence[Source]) -> Iterator[list[Source]]:
    """Give captures that can be read twice: of standard input, or a pipe, a copy is kept while it is needed."""
    if not any(map(_once, captured)):
        with nullcontext():
            yield list(captured)
        return
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory(prefix="tcptrace-fsm-") as folder:
        given: list[Source] = []
        for number, source in enumerate(captured):
            if not _once(source):
                given.append(source)
                continue
            copy = Path(folder) / str(number) / ("standard input" if source == "-" else Path(str(source)).name)
            copy.parent.mkdir()
            with copy.open("wb") as file:
                if source == "-":
                    shutil.copyfileobj(sys.stdin.buffer, file, CHUNK)
                else:
                    with Path(str(source)).open("rb") as pipe:
                        shutil.copyfileobj(pipe, file, CHUNK)
            if not copy.stat().st_size:
                raise CaptureError(str(source), 0, "empty")
            given.append(str(copy))
        yield given


def _once(source: Source) -> bool:
    """Whether a capture can be read but once."""
    return source == "-" or (isinstance(source, str) and Path(source).exists() and not Path(source).is_file())
