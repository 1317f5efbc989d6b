"""Where captures come from: files, pipes, standard input, compressed or not."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
import tracemalloc
from functools import partial

import pytest
import zstandard

from tcptrace_fsm.capture.containers import open_capture
from tcptrace_fsm.capture.streams import open_stream
from tcptrace_fsm.errors import CaptureError
from tests import builders as make
from tests.capturing import SAMPLES, expected_rows, read, some_frames

COMPRESSORS = {
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lz4": pytest.importorskip("lz4.frame").compress,
}


LARGE = make.pcap(some_frames(5000))


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_compression(kind):
    """A compressed capture reads as the same capture, in several members too, with padding behind."""
    data = COMPRESSORS[kind](LARGE)
    capture, rows = read(data)
    assert (capture.compression, capture.truncated, capture.bytes_read) == (kind, None, len(data))
    assert rows == expected_rows(5000)
    members = b"".join(COMPRESSORS[kind](LARGE[i : i + 40000]) for i in range(0, len(LARGE), 40000))
    capture, rows = read(members + bytes(100), chunk_size=1000)
    assert (rows, capture.truncated) == (expected_rows(5000), None)


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_compressed_stream_cut(kind):
    """A compressed file cut in the middle is analysed as far as it goes, and says so."""
    data = COMPRESSORS[kind](LARGE)
    for part in (1, 2, 3):
        cut = data[: len(data) * part // 4]
        try:
            capture, rows = read(cut)
        except CaptureError as error:  # so early that not even the file header came out
            assert "ends before its end mark" in error.reason  # noqa: PT017
            continue
        assert "ends before its end mark" in capture.truncated
        assert rows == expected_rows(5000)[: len(rows)]


def test_gzip_cut_keeps_what_came_before():
    """Half of a gzip file of random payloads gives about half of the frames."""
    frames = [(i, make.ethernet(make.ipv4(make.tcp(os.urandom(100))))) for i in range(2000)]
    data = gzip.compress(make.pcap(frames))
    capture, rows = read(data[: len(data) // 2])
    assert 800 < len(rows) < 1200
    assert "the gzip stream ends before its end mark" in capture.truncated


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_compressed_stream_damaged(kind):
    """A damaged compressed stream is an end, not a crash."""
    compress = COMPRESSORS[kind]
    if kind == "zstd":
        compress = zstandard.ZstdCompressor(write_checksum=True).compress
    elif kind == "lz4":
        compress = partial(compress, content_checksum=True)
    data = bytearray(compress(LARGE))
    for i in range(len(data) // 2, len(data) // 2 + 8):
        data[i] ^= 0xFF
    try:
        capture, _ = read(bytes(data))
    except CaptureError as error:
        assert "stream" in error.reason  # noqa: PT017
    else:
        assert capture.truncated is not None


@pytest.mark.parametrize("count", [1, 3, 5, 1 << 20])
def test_zeros_behind_are_skipped_in_blocks(count):
    """However many there are, and whatever follows them."""
    data = make.pcap([(0, make.ethernet(make.ipv4(make.tcp())))])
    packed = gzip.compress(data[:30]) + bytes(count) + gzip.compress(data[30:]) + bytes(count)
    stream = open_stream(io.BytesIO(packed))
    reads = 0
    whole, room = bytearray(), memoryview(bytearray(4096))
    original = stream._raw.read_into

    def counted(space):
        nonlocal reads
        reads += 1
        return original(space)

    stream._raw.read_into = counted
    while got := stream.read_into(room):
        whole += room[:got]
    assert whole == data
    assert reads < 100


def test_what_follows_a_compressed_stream():
    """Bytes behind the end that are neither padding nor another member are told of."""
    capture, rows = read(gzip.compress(LARGE) + b"rubbish")
    assert len(rows) == len(expected_rows(5000))
    assert capture.truncated.endswith("what follows the gzip stream is not gzip")


@pytest.mark.slow
@pytest.mark.parametrize("kind", COMPRESSORS)
def test_compression_bomb(kind):
    """64 MB of zeros in blocks that nobody reads, from a small file: bounded memory."""
    head = make.section() + make.interface(1)
    bomb = COMPRESSORS[kind](head + make.block(0x99, bytes(16_000_000)) * 4)
    assert len(bomb) < 300_000
    tracemalloc.start()
    capture, _ = read(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (capture.frames, capture.truncated) == (0, None)
    assert peak < 40_000_000


class Dribble(io.RawIOBase):
    """A pipe that gives a few bytes at a time and cannot be sought."""

    def __init__(self, data):
        self.rest = data

    def readable(self):
        return True

    def readinto(self, room):
        count = min(len(room), 13, len(self.rest))
        room[:count] = self.rest[:count]
        self.rest = self.rest[count:]
        return count

    def seek(self, *_):
        raise AssertionError("a pipe was sought")


class ReadOnly:
    """An object with nothing but ``read``."""

    def __init__(self, data):
        self.file = io.BytesIO(data)

    def read(self, count):
        return self.file.read(count)


@pytest.mark.parametrize("wrap", [Dribble, ReadOnly, io.BytesIO])
@pytest.mark.parametrize("name", ["pcap", "pcapng"])
def test_file_objects(wrap, name):
    """Pipes that give little at a time and objects that only know ``read`` serve as well as files."""
    for data in (SAMPLES[name], gzip.compress(SAMPLES[name])):
        assert read(wrap(data))[1] == read(SAMPLES[name])[1]


def test_standard_input():
    """``-`` reads a pipe."""
    code = (
        "from tcptrace_fsm.capture.containers import open_capture\n"
        "capture = open_capture('-')\n"
        "print(sum(batch.count for batch in capture.segments()), capture.name)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=LARGE, capture_output=True, check=True)
    assert done.stdout.decode().split() == [str(len(expected_rows(5000))), "-"]


def test_nothing_heavy_is_imported():
    """Reading a capture loads no data library: the answer on a small capture must come at once."""
    # What an editable install loads at Python's start is not ours.
    code = "import sys; old = set(sys.modules); import tcptrace_fsm.capture.containers; print(*set(sys.modules) - old)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    loaded = set(done.stdout.decode().split())
    assert "tcptrace_fsm.kernels.decode" in loaded
    assert not loaded & {"numpy", "pandas", "pyarrow", "dpkt", "zstandard", "rich", "typer", "lzma", "bz2", "ipaddress"}


def test_errors_of_opening(tmp_path):
    """What is not there or not a capture: one error, with the path, the offset and a plain reason."""
    cases = [
        ("missing", None, "no such file"),
        ("empty", b"", "empty"),
        ("text", b"hello, world\n", "not a capture (it begins with 68 65 6c 6c)"),
        ("short", b"\xd4\xc3\xb2\xa1\2\0", "the file ends inside its 24-byte header"),
        ("short pcapng", make.section()[:20], "the file ends inside its section header"),
        ("version", make.pcap([], version=(1, 0)), "pcap version 1.0 is not known"),
        ("no mark", make.block(0x0A0D0D0A, bytes(16)), "a pcapng section without its byte-order mark"),
        ("empty gzip", gzip.compress(b""), "nothing in the gzip stream"),
        ("zip", b"PK\3\4" + bytes(30), "a ZIP archive; unpack it first"),
    ]
    for name, content, reason in cases:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(CaptureError) as caught:
            open_capture(path)
        assert caught.value.path == str(path)
        assert caught.value.reason.startswith(reason)
        assert 0 <= caught.value.offset <= len(content or b"")
    with pytest.raises(CaptureError, match="a directory, not a capture"):
        open_capture(tmp_path)
    with pytest.raises(CaptureError, match="text stream"):
        open_capture(io.StringIO("text"))
    with pytest.raises(TypeError):
        open_capture(5)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    """A file that may not be read is told from one that is not there."""
    path = tmp_path / "closed"
    path.write_bytes(LARGE)
    path.chmod(0)
    with pytest.raises(CaptureError, match="no permission"):
        open_capture(path)


def test_a_capture_is_read_once(tmp_path):
    """Iterating a second time is a mistake that says so; the file is closed after the first."""
    path = tmp_path / "a.pcap"
    path.write_bytes(LARGE)
    capture, rows = read(path)
    assert (capture.size, capture.bytes_read, len(rows)) == (len(LARGE), len(LARGE), len(expected_rows(5000)))
    with pytest.raises(RuntimeError, match="read once"):
        next(capture.segments())


def test_missing_package_is_named(monkeypatch):
    """A compression whose package is missing says which package to install."""
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(CaptureError, match="needs the Python package zstandard"):
        read(COMPRESSORS["zstd"](LARGE))


def test_frames_of_a_batch_are_given_back_whole():
    """`Batch.frame` gives what was captured, byte for byte, for writing frames out again."""
    sent = some_frames(10)
    got = []
    for batch in open_capture(io.BytesIO(make.pcap(sent)), chunk_size=100).segments():
        got += [batch.frame(batch.first_frame + i) for i in range(batch.frame_count)]
        with pytest.raises(IndexError):
            batch.frame(batch.first_frame + batch.frame_count)
    assert got == [(time * 1000, len(frame), 1, frame) for time, frame in sent]
