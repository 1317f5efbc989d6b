"""Read a capture: bytes in, TCP segments out, every frame accounted for.

::

    stream -> chunk -> walk (kernel) -> frames -> decode (kernel) -> segments
                                                    '-> peel (tunnels) -> decode of the packet inside

A capture is read once, forwards, in chunks; what a length field says never decides how much memory is used. Damage
ends the reading where it stands: what came before is analysed, `Capture.truncated` says why and where.

Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng, RFC 1761.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.capture.fragments import Fragments
from tcptrace_fsm.capture.layers import tunnels
from tcptrace_fsm.capture.layers.links import LINK_TYPES, encapsulation_code
from tcptrace_fsm.capture.streams import Stream, StreamDamage, open_stream
from tcptrace_fsm.errors import CaptureError
from tcptrace_fsm.kernels.decode import decode
from tcptrace_fsm.kernels.layout import (
    DAMAGE_BLOCK_LENGTH,
    DAMAGE_BLOCK_TRAILER,
    DAMAGE_INTERFACE,
    DAMAGE_LENGTH,
    DAMAGE_PACKET_IN_BLOCK,
    F_CAPTURED,
    F_LINK,
    F_OFFSET,
    F_ORIGINAL,
    F_OUTCOME,
    F_TIME,
    FRAME_SIZE,
    IF_SIZE,
    LIMIT_BLOCK,
    LINK_RAW,
    OUTCOME_BAD_TCP_HEADER,
    OUTCOME_NOT_TCP,
    OUTCOME_PEEL,
    OUTCOME_SHORT_TCP,
    OUTCOME_TCP,
    OUTCOME_UNSUPPORTED_LINK,
    OUTCOMES,
    Q_FROM_HI,
    Q_FROM_LO,
    Q_KIND,
    Q_MTU,
    Q_SIZE,
    S_FLAGS,
    S_FRAME,
    S_OFFSET,
    S_SACKS,
    S_SHOWN,
    S_TIME,
    SEGMENT_SIZE,
    STATUS_BLOCK,
    STATUS_DAMAGED,
    STATUS_FULL,
    STATUS_SKIP,
    TCP_BROKEN,
    TCP_QUOTED,
    UNIT_BINARY,
    UNIT_PART,
    UNIT_TIMES,
    WALK_BEGIN,
    WALK_CAPACITY,
    WALK_EARLIEST,
    WALK_END,
    WALK_HEADER,
    WALK_INTERFACES,
    WALK_LATEST,
    WALK_LENGTHS,
    WALK_LINK,
    WALK_NEED,
    WALK_REASON,
    WALK_SIZE,
    WALK_STATUS,
    WALK_SWAPPED,
    WALK_TICK,
    WALK_TIMELESS,
)
from tcptrace_fsm.kernels.walk import walk_pcap, walk_pcapng, walk_snoop

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from typing import BinaryIO

    from tcptrace_fsm.capture.filters import Filter

__all__ = ["Batch", "Capture", "Interface", "open_capture"]

BATCH_FRAMES = 2048
"""Frames decoded at once: their segment records stay within a core's cache."""
MAX_INTERFACES = 65536
"""Interfaces in one pcapng section."""
MAX_NOTES = 1000
"""Comments and resolved names kept."""
FOREVER = (1 << 63) - 1

# The first four bytes of a pcap file: (ticks in ns, bytes in a record header).
PCAP_MAGIC = {
    0xA1B2C3D4: (1000, 16),
    0xA1B23C4D: (1, 16),
    0xA1B2CD34: (1000, 24),  # Kuznetzov's patch: interface, protocol and packet type follow the lengths
}
SNOOP_MAGIC = b"snoop\0\0\0"
SNOOP_LINKS = {0: 1, 2: 6, 4: 1, 8: 10}
"""LINKTYPE_ numbers of snoop's data link types: 802.3, token ring, Ethernet, FDDI (RFC 1761)."""
PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"

# What people hand over by mistake, by its first bytes.
LOOKALIKES = {
    b"GMBU": "a Microsoft Network Monitor capture; Wireshark's editcap -F pcap converts it",
    b"RTSS": "a Microsoft Network Monitor capture; Wireshark's editcap -F pcap converts it",
    b"PK\x03\x04": "a ZIP archive; unpack it first",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"<!DO": "an HTML page",
    b"<htm": "an HTML page",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
}

DAMAGE = {
    DAMAGE_LENGTH: "a packet of {} bytes, more than any capture holds",
    DAMAGE_BLOCK_LENGTH: "a block of {} bytes, which no such block can have",
    DAMAGE_BLOCK_TRAILER: "a block whose length is repeated as {}, differently, at its end",
    DAMAGE_PACKET_IN_BLOCK: "a packet of {} bytes, more than its block holds",
    DAMAGE_INTERFACE: "a packet of interface {}, which nothing describes",
}


class Interface(NamedTuple):
    """A pcapng interface, or the only one of a pcap file."""

    name: str
    link_type: int
    snaplen: int
    """Bytes captured of a frame at most; 0 for no limit."""
    resolution: str
    """Unit of the file's time stamps: ``10^-6 s``, ``2^-32 s``..."""
    section: int
    """Which pcapng section, from 0."""


class Batch:
    """Segments of a run of frames. All arrays belong to the capture and are used again for the next batch.

    Attributes
    ----------
    segments : int64[count * SEGMENT_SIZE]
        Segment records; the array is longer than that.
    count : int
        Segments.
    data : bytes-like
        What `S_OFFSET` and `F_OFFSET` count in.
    last_time : int
        ns; the greatest capture time so far, of any frame.
    frames : int64[frame_count * FRAME_SIZE]
        Frame records, with their outcome.
    frame_count : int
        Frames.
    first_frame : int
        Number of the first of them.

    """

    __slots__ = ("count", "data", "first_frame", "frame_count", "frames", "last_time", "segments")

    def __init__(self) -> None:
        self.segments = array("q", bytes(8 * SEGMENT_SIZE * BATCH_FRAMES))
        self.frames = array("q", bytes(8 * FRAME_SIZE * BATCH_FRAMES))
        self.data = bytearray()
        self.count = 0
        self.frame_count = 0
        self.first_frame = 1
        self.last_time = 0

    def frame(self, number: int) -> tuple[int, int, int, bytes]:
        """Return time (ns), original length, link type and captured bytes of frame ``number`` of this batch."""
        f = (number - self.first_frame) * FRAME_SIZE
        if not 0 <= number - self.first_frame < self.frame_count:
            raise IndexError(f"frame {number} is not in this batch")
        start = self.frames[f + F_OFFSET]
        content = bytes(memoryview(self.data)[start : start + self.frames[f + F_CAPTURED]])
        return self.frames[f + F_TIME], self.frames[f + F_ORIGINAL], self.frames[f + F_LINK], content


class Capture:
    """A capture being read; made by `open_capture`.

    The attributes are right for what has been read so far, and final after the iteration.

    Attributes
    ----------
    name : str
        The path as given, ``-`` for standard input.
    format : str
        ``pcap``, ``pcapng`` or ``snoop``.
    link_types : list of int
        LINKTYPE_ numbers in the order met.
    frames : int
        Frames read.
    first_time, last_time : int or None
        ns; least and greatest capture time of a frame.
    truncated : str or None
        Why reading ended early, with the byte offset in the decompressed stream.
    outcomes : int64[OUTCOMES]
        Frames by outcome; their sum is `frames`.
    broken_headers : int
        Frames that Wireshark calls TCP though their TCP header is none; counted where `open_capture` was told to.
    icmp_errors : int
        ICMP errors that quote a TCP segment.
    unsupported_links : dict
        Frames of each LINKTYPE_ number that nothing here reads.
    interfaces : list of Interface
        As described by the file.
    received, dropped : int or None
        Frames that the capturing machine received and lost, by its own statistics; None where it says nothing.
    timeless : int
        Frames without a time of their own (simple packet blocks); they got that of the frame before.
    fragments : Fragments
        What IP fragments wait for the rest.
    comments : list of str
        Comments of the sections.
    names : dict
        Addresses and the names that the file has for them.

    """

    def __init__(self, stream: Stream, chunk_size: int, keep: Filter | None = None, *, broken: bool = False) -> None:
        self._stream = stream
        self._keep = keep
        self._broken = broken
        self._chunk_size = max(1, chunk_size)
        self._buffer = bytearray(self._chunk_size + 64)
        self._end = 0  # bytes in the buffer
        self._base = 0  # offset in the stream of the buffer's first byte
        self._ctl = array("q", bytes(8 * WALK_SIZE))
        self._ctl[WALK_CAPACITY] = BATCH_FRAMES
        self._ctl[WALK_EARLIEST] = FOREVER
        self._ctl[WALK_LATEST] = -1
        self._table = array("q", bytes(8 * IF_SIZE))
        self._order = "big"
        self._sections = 0
        self._drops: dict[tuple[int, int], tuple[int, int]] = {}
        self._seen_links: set[int] = set()
        self._started = False
        self.format = ""
        self.link_types: list[int] = []
        self.frames = 0
        self.truncated: str | None = None
        self.outcomes = array("q", bytes(8 * OUTCOMES))
        self.unsupported_links: dict[int, int] = {}
        self.interfaces: list[Interface] = []
        self.comments: list[str] = []
        self.names: dict[str, str] = {}
        self.fragments = Fragments()
        self._broken_frames = 0
        self.broken_headers = 0
        self.icmp_errors = 0
        self._one_frame = array("q", bytes(8 * FRAME_SIZE))
        self._one_segment = array("q", bytes(8 * SEGMENT_SIZE))
        self._one_outcome = array("q", bytes(8 * OUTCOMES))
        self._open()

    @property
    def name(self) -> str:
        """The path as given, ``-`` for standard input."""
        return self._stream.name

    @property
    def compression(self) -> str:
        """How the file is compressed; empty for not at all."""
        return self._stream.compression

    @property
    def bytes_read(self) -> int:
        """Bytes of the file read so far, as they lie on the disk."""
        return self._stream.consumed

    @property
    def waiting(self) -> bool:
        """Whether bytes are being waited for at this moment."""
        return self._stream.waiting

    @property
    def replaced(self) -> bool:
        """Whether a file that was followed was cut, or gave its name to another one."""
        return self._stream.replaced

    @property
    def size(self) -> int | None:
        """Bytes of the file, where known."""
        return self._stream.size

    @property
    def first_time(self) -> int | None:
        """Least capture time, ns."""
        return self._ctl[WALK_EARLIEST] if self._ctl[WALK_LATEST] >= 0 else None

    @property
    def last_time(self) -> int | None:
        """Greatest capture time, ns."""
        return self._ctl[WALK_LATEST] if self._ctl[WALK_LATEST] >= 0 else None

    @property
    def timeless(self) -> int:
        """Frames without a time of their own."""
        return self._ctl[WALK_TIMELESS]

    @property
    def received(self) -> int | None:
        """Frames received by the capturing machine, by its last statistics."""
        known = [received for received, _ in self._drops.values() if received >= 0]
        return sum(known) if known else None

    @property
    def dropped(self) -> int | None:
        """Frames lost by the capturing machine, by its last statistics."""
        known = [dropped for _, dropped in self._drops.values() if dropped >= 0]
        return sum(known) if known else None

    def segments(self) -> Iterator[Batch]:
        """Read on, a batch of frames at a time, in file order. A capture is read once.

        Batches without any segment come too, for the clock's sake.
        """
        if self._started:
            raise RuntimeError("a capture is read once; open it again")
        self._started = True
        batch = Batch()
        try:
            while True:
                ctl = self._ctl
                ctl[WALK_END] = self._end
                if self.format == "pcap":
                    count = walk_pcap(self._buffer, batch.frames, ctl)
                elif self.format == "snoop":
                    count = walk_snoop(self._buffer, batch.frames, ctl)
                else:
                    count = walk_pcapng(self._buffer, batch.frames, self._table, ctl)
                if count:
                    self._decode(batch, count)
                    yield batch
                if not self._go_on():
                    return
        finally:
            self._stream.close()

    # --- reading on ---

    def _go_on(self) -> bool:
        """Do what the walk stopped for; False at the end of the capture."""
        ctl = self._ctl
        status = ctl[WALK_STATUS]
        if status == STATUS_FULL:
            return True
        if status == STATUS_DAMAGED:
            self._stop(DAMAGE[ctl[WALK_REASON]].format(ctl[WALK_NEED]))
            return False
        try:
            if status == STATUS_BLOCK:
                return self._block()
            if status == STATUS_SKIP:
                return self._skip(ctl[WALK_NEED])
            if self._more(ctl[WALK_NEED]):
                return True
        except StreamDamage as reason:
            ctl[WALK_BEGIN] = self._end
            self._stop(str(reason))
            return False
        rest = self._end - ctl[WALK_BEGIN]
        if rest:
            self._stop(f"the capture ends {rest} bytes into a record of at least {ctl[WALK_NEED]}")
        return False

    def _stop(self, reason: str) -> None:
        self.truncated = f"byte {self._base + self._ctl[WALK_BEGIN]}: {reason}"

    def _more(self, need: int) -> bool:
        """Read more bytes behind those not yet walked, with room for ``need``; False at the end of the stream."""
        begin = self._ctl[WALK_BEGIN]
        rest = self._end - begin
        room = max(need, self._chunk_size + 64)
        if room > len(self._buffer):
            # Grow with what has come, not with what a length promises.
            room = min(room, max(2 * len(self._buffer), rest + self._chunk_size))
            grown = bytearray(room)
            grown[:rest] = memoryview(self._buffer)[begin : self._end]
            self._buffer = grown
        elif begin:
            self._buffer[:rest] = self._buffer[begin : self._end]
        self._base += begin
        self._ctl[WALK_BEGIN] = 0
        self._end = rest
        stop = min(len(self._buffer), rest + self._chunk_size)
        with memoryview(self._buffer) as view, view[rest:stop] as space:
            count = self._stream.read_into(space)
        self._end += count
        return count > 0

    def _skip(self, count: int) -> bool:
        """Leave out ``count`` bytes that nobody reads, without keeping them."""
        ctl = self._ctl
        while True:
            here = min(count, self._end - ctl[WALK_BEGIN])
            ctl[WALK_BEGIN] += here
            count -= here
            if count == 0:
                return True
            if not self._more(1):
                self._stop(f"the capture ends inside a block, {count} bytes before the block's end")
                return False

    # --- file header and pcapng blocks ---

    def _open(self) -> None:
        """Read the file header. Raises CaptureError."""
        try:
            while self._end < 24 and self._more(24):
                pass
        except StreamDamage as reason:
            if self._end < 24:
                raise CaptureError(self.name, self._end, str(reason)) from reason
        start = bytes(self._buffer[: self._end])
        if not start:
            what = f"nothing in the {self.compression} stream" if self.compression else "empty"
            raise CaptureError(self.name, 0, what)
        if start.startswith(PCAPNG_MAGIC):
            self.format = "pcapng"
            self._open_pcapng()
            return
        if start.startswith(SNOOP_MAGIC):
            self._open_snoop(start)
            return
        for order in ("big", "little"):
            magic = int.from_bytes(start[:4], "big" if order == "big" else "little")
            if len(start) >= 4 and magic in PCAP_MAGIC:
                self._order = order
                self._open_pcap(start, *PCAP_MAGIC[magic])
                return
        whats = [what for magic_bytes, what in LOOKALIKES.items() if start.startswith(magic_bytes)]
        shown = start[:4].hex(" ")
        raise CaptureError(self.name, 0, whats[0] if whats else f"not a capture (it begins with {shown})")

    def _open_pcap(self, start: bytes, tick: int, header: int) -> None:
        self.format = "pcap"
        if len(start) < 24:
            raise CaptureError(self.name, len(start), "the file ends inside its 24-byte header")
        major, minor = self._number(start, 4, 2), self._number(start, 6, 2)
        if major not in {2, 543}:  # 543.0 is that of a modified libpcap, otherwise as 2.4
            raise CaptureError(self.name, 4, f"pcap version {major}.{minor} is not known")
        link = self._number(start, 20, 4) & 0x03FFFFFF  # the upper bits tell of the frame check sequence
        snaplen = self._number(start, 16, 4)
        ctl = self._ctl
        ctl[WALK_BEGIN] = 24
        ctl[WALK_SWAPPED] = 1 if self._order == "little" else 0
        ctl[WALK_TICK] = tick
        ctl[WALK_HEADER] = header
        ctl[WALK_LINK] = link
        # Before 2.3 the original length came first; writers of 2.3 did not agree.
        ctl[WALK_LENGTHS] = 1 if (major, minor) < (2, 3) else 2 if (major, minor) == (2, 3) else 0
        self.interfaces.append(Interface("", link, snaplen, "10^-6 s" if tick == 1000 else "10^-9 s", 0))
        self._met(link)

    def _open_snoop(self, start: bytes) -> None:
        self.format = "snoop"
        if len(start) < 16:
            raise CaptureError(self.name, len(start), "the file ends inside its 16-byte header")
        version, kind = self._number(start, 8, 4), self._number(start, 12, 4)
        if version != 2:
            raise CaptureError(self.name, 8, f"snoop version {version} is not known")
        if kind not in SNOOP_LINKS:
            raise CaptureError(self.name, 12, f"snoop data link type {kind} is not known")
        self._ctl[WALK_BEGIN] = 16
        self._ctl[WALK_LINK] = SNOOP_LINKS[kind]
        self.interfaces.append(Interface("", SNOOP_LINKS[kind], 0, "10^-6 s", 0))
        self._met(SNOOP_LINKS[kind])

    def _open_pcapng(self) -> None:
        """Take the first section header, so that a file that has none is refused at once."""
        ctl = self._ctl
        try:
            while True:
                ctl[WALK_END] = self._end
                if self._end >= 28:
                    self._section(whole=False)
                    return
                if not self._more(28):
                    break
        except StreamDamage as reason:
            raise CaptureError(self.name, self._end, str(reason)) from reason
        except ValueError as reason:
            raise CaptureError(self.name, 0, str(reason)) from reason
        raise CaptureError(self.name, self._end, "the file ends inside its section header")

    def _block(self) -> bool:
        """Read the block at WALK_BEGIN that the walk left to us."""
        ctl = self._ctl
        begin = ctl[WALK_BEGIN]
        if self._buffer[begin : begin + 4] == PCAPNG_MAGIC:
            try:
                size = self._section(whole=True)
            except ValueError as reason:
                self._stop(str(reason))
                return False
            while self._end - ctl[WALK_BEGIN] < size:
                if not self._more(size):
                    self._stop("the capture ends inside a section header")
                    return False
            begin = ctl[WALK_BEGIN]
            self._section(whole=False)
            body = bytes(self._buffer[begin + 24 : begin + size - 4])
            self._options(body, self._section_option)
            ctl[WALK_BEGIN] = begin + size
            self._sections += 1
            return True
        kind = self._number(self._buffer, begin, 4)
        total = self._number(self._buffer, begin + 4, 4)
        body = bytes(self._buffer[begin + 8 : begin + total - 4])
        if kind == 1:
            if not self._interface(body):
                return False
        elif kind == 5:
            self._statistics(body)
        else:
            self._names(body)
        ctl[WALK_BEGIN] = begin + (total + 3 & ~3)
        return True

    def _section(self, *, whole: bool) -> int:
        """Learn a section's byte order from its header; return the header's size. Raises ValueError."""
        begin = self._ctl[WALK_BEGIN]
        mark = bytes(self._buffer[begin + 8 : begin + 12])
        if mark == b"\x1a\x2b\x3c\x4d":
            self._order = "big"
        elif mark == b"\x4d\x3c\x2b\x1a":
            self._order = "little"
        else:
            raise ValueError(f"a pcapng section without its byte-order mark ({mark.hex(' ')} instead)")
        total = self._number(self._buffer, begin + 4, 4)
        if total < 28 or total > LIMIT_BLOCK or total % 4:
            raise ValueError(DAMAGE[DAMAGE_BLOCK_LENGTH].format(total))
        major = self._number(self._buffer, begin + 12, 2)
        if major != 1:
            raise ValueError(f"pcapng version {major} is not known")
        if not whole:
            self._ctl[WALK_SWAPPED] = 1 if self._order == "little" else 0
            self._ctl[WALK_INTERFACES] = 0
        return total

    def _section_option(self, code: int, value: bytes) -> None:
        if code == 1 and len(self.comments) < MAX_NOTES:
            self.comments.append(value.decode("utf-8", "replace"))

    def _interface(self, body: bytes) -> bool:
        """Take an interface description (pcapng 4.2)."""
        ctl = self._ctl
        if len(body) < 8:
            self._stop(DAMAGE[DAMAGE_BLOCK_LENGTH].format(len(body) + 12))
            return False
        known = ctl[WALK_INTERFACES]
        if known >= MAX_INTERFACES:
            self._stop(f"more than {MAX_INTERFACES} interfaces")
            return False
        link, snaplen = self._number(body, 0, 2), self._number(body, 4, 4)
        found: dict[int, bytes] = {}
        self._options(body[8:], found.setdefault)
        code = found.get(9, b"\x06")[:1] or b"\x06"
        power = code[0] & 0x7F
        if code[0] & 0x80:
            unit, factor, text = UNIT_BINARY, min(power, 62), f"2^-{power} s"
        elif power <= 9:
            unit, factor, text = UNIT_TIMES, 10 ** (9 - power), f"10^-{power} s"
        else:
            unit, factor, text = UNIT_PART, 10 ** min(power - 9, 18), f"10^-{power} s"
        offset = 0
        if len(found.get(14, b"")) == 8:
            offset = int.from_bytes(found[14], "big" if self._order == "big" else "little", signed=True)
        limit = 1 << 32  # seconds; what lies beyond is no time, and its nanoseconds would not fit
        offset = max(-limit, min(limit, offset)) * 1_000_000_000
        while len(self._table) < (known + 1) * IF_SIZE:
            self._table.extend(self._table)
        self._table[known * IF_SIZE : (known + 1) * IF_SIZE] = array("q", [link, snaplen, unit, factor, offset])
        ctl[WALK_INTERFACES] = known + 1
        if len(self.interfaces) < MAX_INTERFACES:
            name = found.get(2, b"").decode("utf-8", "replace")
            self.interfaces.append(Interface(name, link, snaplen, text, max(0, self._sections - 1)))
        self._met(link)
        return True

    def _statistics(self, body: bytes) -> None:
        """Take interface statistics (pcapng 4.6); the last of an interface count for all before it."""
        if len(body) < 12:
            return
        found: dict[int, bytes] = {}
        self._options(body[12:], found.setdefault)

        def count(code: int) -> int:
            return self._number(found[code], 0, 8) if len(found.get(code, b"")) == 8 else -1

        key = (self._sections, self._number(body, 0, 4))
        lost = [n for n in (count(5), count(7)) if n >= 0]
        if key in self._drops or len(self._drops) < MAX_INTERFACES:
            self._drops[key] = (count(4), sum(lost) if lost else -1)

    def _names(self, body: bytes) -> None:
        """Take resolved names (pcapng 4.5): what the capturing machine called an address."""
        from socket import AF_INET, AF_INET6, inet_ntop

        def record(code: int, value: bytes) -> None:
            size = {1: 4, 2: 16}.get(code, 0)
            if size and len(value) > size and len(self.names) < MAX_NOTES:
                name = value[size:].split(b"\0")[0].decode("utf-8", "replace")
                self.names.setdefault(inet_ntop(AF_INET if size == 4 else AF_INET6, value[:size]), name)

        self._options(body, record)

    def _options(self, body: bytes, take: object) -> None:
        """Call ``take(code, value)`` for each option (pcapng 3.5); what does not fit ends the list."""
        assert callable(take)
        at = 0
        while at + 4 <= len(body):
            code, size = self._number(body, at, 2), self._number(body, at + 2, 2)
            if code == 0 or at + 4 + size > len(body):
                return
            take(code, body[at + 4 : at + 4 + size])
            at += 4 + (size + 3 & ~3)

    def _number(self, data: bytes | bytearray, offset: int, size: int) -> int:
        return int.from_bytes(data[offset : offset + size], "big" if self._order == "big" else "little")

    def _met(self, link: int) -> None:
        if link not in self._seen_links:
            self._seen_links.add(link)
            self.link_types.append(link)

    # --- decoding ---

    def _decode(self, batch: Batch, count: int) -> None:
        batch.data = self._buffer
        batch.first_frame = self.frames + 1
        batch.frame_count = count
        if self._keep is not None:
            self._keep.prepare(self.link_types)
            self._keep.mark(self._buffer, batch.frames, count)
        batch.count = decode(self._buffer, batch.frames, count, batch.first_frame, 0, batch.segments, self.outcomes)
        strange = self.outcomes[OUTCOME_SHORT_TCP] + self.outcomes[OUTCOME_BAD_TCP_HEADER]
        if self.outcomes[OUTCOME_PEEL] or (self._broken and strange > self._broken_frames):
            self._look_again(batch)
            self._broken_frames = self.outcomes[OUTCOME_SHORT_TCP] + self.outcomes[OUTCOME_BAD_TCP_HEADER]
        self.frames += count
        batch.last_time = self._ctl[WALK_LATEST]

    def _look_again(self, batch: Batch) -> None:
        """Send the frames that the kernel does not know down the slow path; sort in the segments that come of them.

        So are the records of broken TCP headers, where they are wanted.
        """
        frames, one = batch.frames, self._one_segment
        found = array("q")
        for index, first_outcome in enumerate(frames[F_OUTCOME : batch.frame_count * FRAME_SIZE : FRAME_SIZE]):
            f = index * FRAME_SIZE
            one[S_FLAGS] = 0
            if first_outcome == OUTCOME_PEEL:
                outcome = self._peel_frame(batch, f, batch.first_frame + index)
                frames[f + F_OUTCOME] = outcome
                self.outcomes[outcome] += 1
            elif self._broken and first_outcome in {OUTCOME_SHORT_TCP, OUTCOME_BAD_TCP_HEADER}:
                outcome = first_outcome
                decode(batch.data, frames[f : f + FRAME_SIZE], 1, 0, 0, one, self._one_outcome)
            else:
                continue
            if outcome == OUTCOME_TCP or (self._broken and one[S_FLAGS] & TCP_BROKEN):
                one[S_FRAME] = batch.first_frame + index
                one[S_TIME] = frames[f + F_TIME]
                found += one
                self.broken_headers += one[S_FLAGS] & (TCP_BROKEN | TCP_QUOTED) == TCP_BROKEN
        self.outcomes[OUTCOME_PEEL] = 0
        if found:
            _merge(batch, found)

    def _peel_frame(self, batch: Batch, f: int, number: int) -> int:
        """Peel one frame; its segment, or what is broken of it, is in `_one_segment`."""
        frames = batch.frames
        link = frames[f + F_LINK]
        known = LINK_TYPES.get(link)
        if known is None or not known.layer:
            self.unsupported_links[link] = self.unsupported_links.get(link, 0) + 1
            return OUTCOME_UNSUPPORTED_LINK
        place = (frames[f + F_OFFSET], frames[f + F_CAPTURED], frames[f + F_ORIGINAL])
        self.fragments.frame = number
        packet = tunnels.Packet(self._buffer, place, frames[f + F_TIME], self.fragments)
        outcome = tunnels.peel(packet, link)
        if outcome == OUTCOME_UNSUPPORTED_LINK:  # PPI and the like name another link inside
            self.unsupported_links[link] = self.unsupported_links.get(link, 0) + 1
        if outcome != OUTCOME_TCP:
            return OUTCOME_NOT_TCP if packet.error else outcome
        one = self._one_frame
        one[F_OFFSET] = packet.ip_at
        one[F_CAPTURED] = packet.ip_end - packet.ip_at
        one[F_ORIGINAL] = packet.ip_wire - packet.ip_at
        one[F_TIME] = frames[f + F_TIME]
        one[F_LINK] = LINK_RAW
        code = encapsulation_code(packet.path)
        decode(packet.data, one, 1, number, code, self._one_segment, self._one_outcome)
        if not packet.whole:
            self._one_segment[S_OFFSET] = -1
        if packet.error:
            if packet.end - packet.at < 8:  # not even its sequence number is quoted
                self._one_segment[S_FLAGS] = 0
            elif one[F_OUTCOME] == OUTCOME_TCP or self._one_segment[S_FLAGS]:
                self._quote(packet)
            return OUTCOME_NOT_TCP
        # What the kernel would peel again the peeler has just seen to be TCP in name only.
        return one[F_OUTCOME] if one[F_OUTCOME] != OUTCOME_PEEL else OUTCOME_NOT_TCP

    def _quote(self, packet: tunnels.Packet) -> None:
        """Make the record in `_one_segment` that of an ICMP error which quotes that segment."""
        assert packet.error
        one = self._one_segment
        one[S_FLAGS] |= TCP_BROKEN | TCP_QUOTED
        one[S_SHOWN] = -1
        one[S_SACKS] = 0
        one[Q_KIND], one[Q_MTU], one[Q_FROM_HI], one[Q_FROM_LO] = packet.error
        start = packet.ip_at
        six = packet.data[start] >> 4 == 6
        size = int.from_bytes(packet.data[start + 4 : start + 6] if six else packet.data[start + 2 : start + 4], "big")
        one[Q_SIZE] = size + 40 if six else size
        self.icmp_errors += 1


def _merge(batch: Batch, found: array[int]) -> None:
    """Put the segments ``found`` among those of ``batch``, all in order of their frame numbers."""
    size = SEGMENT_SIZE
    ours = batch.segments[: batch.count * size]
    numbers = ours[::size]
    merged = array("q")
    taken = 0
    for s in range(0, len(found), size):
        before = taken
        while taken < len(numbers) and numbers[taken] < found[s]:
            taken += 1
        merged += ours[before * size : taken * size]
        merged += found[s : s + size]
    merged += ours[taken * size :]
    batch.segments[: len(merged)] = merged
    batch.count = len(merged) // size


def open_capture(
    source: str | os.PathLike[str] | BinaryIO,
    *,
    chunk_size: int = 1 << 20,
    keep: Filter | None = None,
    follow: bool = False,
    broken: bool = False,
) -> Capture:
    """Open a capture and read its file header.

    Parameters
    ----------
    source : path, ``-`` or binary file object
        ``-`` is standard input. Nothing is ever sought.
    chunk_size : int
        Bytes read at once.
    keep : Filter or None
        Which frames to look at; the others are counted (``OUTCOME_FILTERED``) and keep their numbers.
    follow : bool
        Whether to wait for more at the end of the file, until it is replaced.
    broken : bool
        Whether to give records of broken TCP headers too (``TCP_BROKEN``), and of those that ICMP errors quote: for
        Wireshark they have streams. They change nothing in `outcomes`.

    Raises
    ------
    CaptureError
        When this is not a capture that can be read: missing, empty, a directory, another kind of file.

    Examples
    --------
    >>> import io
    >>> from tcptrace_fsm.capture.containers import open_capture
    >>> header = bytes.fromhex("d4c3b2a1 0200 0400 00000000 00000000 ffff0000 01000000")
    >>> capture = open_capture(io.BytesIO(header))
    >>> capture.format, capture.link_types, [batch.count for batch in capture.segments()]
    ('pcap', [1], [])

    """
    stream = open_stream(source, follow=follow)
    try:
        return Capture(stream, chunk_size, keep, broken=broken)
    except BaseException:
        stream.close()
        raise
