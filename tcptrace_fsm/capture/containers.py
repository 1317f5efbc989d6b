"""Read a capture: bytes in, TCP segments out, every frame accounted for.

::

    stream -> chunk -> walk (kernel) -> frames -> decode (kernel) -> segments
                                                    '-> peel (layers) -> decode of the packet inside

A capture is read once, forwards, in chunks; what a length field says never decides how much memory is used. Damage
ends it where it stands: what came before is analysed, `Capture.truncated` says why and where.
Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng, RFC 1761.
"""

from __future__ import annotations

from array import array
from itertools import cycle
from typing import TYPE_CHECKING

from tcptrace_fsm.capture.batches import BATCH_FRAMES, Batch
from tcptrace_fsm.capture.chunks import Chunk
from tcptrace_fsm.capture.counts import Counts
from tcptrace_fsm.capture.headers import LONGEST_HEADER, read_header
from tcptrace_fsm.capture.losses import MOST_STATEMENTS, Statement
from tcptrace_fsm.capture.pcapng import (
    BLOCK_INTERFACE,
    BLOCK_STATISTICS,
    IMPOSSIBLE,
    MAX_INTERFACES,
    PCAPNG_MAGIC,
    SECTION_HEADER,
    Description,
    Interface,
    Order,
    names,
    number,
    options,
    read_interface,
    read_section,
    read_statistics,
)
from tcptrace_fsm.capture.streams import Stream, StreamDamage, open_stream
from tcptrace_fsm.errors import CaptureError
from tcptrace_fsm.kernels.decode import decode
from tcptrace_fsm.kernels.layout import (
    DAMAGE_BLOCK_LENGTH,
    DAMAGE_BLOCK_TRAILER,
    DAMAGE_INTERFACE,
    DAMAGE_LENGTH,
    DAMAGE_PACKET_IN_BLOCK,
    F_OFFSET,
    FRAME_SIZE,
    IF_SIZE,
    STATUS_BLOCK,
    STATUS_DAMAGED,
    STATUS_FULL,
    STATUS_MORE,
    STATUS_SKIP,
    WALK_BEFORE,
    WALK_BEGIN,
    WALK_CAPACITY,
    WALK_EARLIEST,
    WALK_END,
    WALK_HEADER,
    WALK_HELD,
    WALK_HELD_BEFORE,
    WALK_INTERFACES,
    WALK_LATEST,
    WALK_LENGTHS,
    WALK_LINK,
    WALK_NEED,
    WALK_REASON,
    WALK_STATUS,
    WALK_SWAPPED,
    WALK_TICK,
    WALK_UNSTAMPED,
)
from tcptrace_fsm.kernels.walk import settle_stamps, walk_pcap, walk_pcapng, walk_snoop

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator
    from typing import BinaryIO

    from tcptrace_fsm.capture.filters import Filter

__all__ = ["Batch", "Capture", "Interface", "open_capture"]

PACKET_HEAD = {"pcapng": 28, "snoop": 24}
"""Bytes of a record before the packet, where that has a time."""
MAX_NOTES = 1000
"""Comments and resolved names kept."""
FOREVER = (1 << 63) - 1

DAMAGE = {
    DAMAGE_LENGTH: "a packet of {} bytes, more than any capture holds",
    DAMAGE_BLOCK_LENGTH: IMPOSSIBLE,
    DAMAGE_BLOCK_TRAILER: "a block whose length is repeated as {}, differently, at its end",
    DAMAGE_PACKET_IN_BLOCK: "a packet of {} bytes, more than its block holds",
    DAMAGE_INTERFACE: "a packet of interface {}, which nothing describes",
}


class Capture(Counts):
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
    truncated : str or None
        Why reading ended early, with the byte offset in the decompressed stream.
    outcomes : int64[OUTCOMES]
        Frames by outcome; their sum is `frames`.
    peeler : Peeler
        Reads what the decode kernel leaves, and counts it.
    broken_headers, icmp_errors : int
    unsupported_links, skipped : dict
    fragments : Fragments
        The peeler's.
    interfaces : list of Interface
        As described by the file.
    comments : list of str
        Comments of the sections.
    statements : list of Statement
        What was lost, where it is told in the midst of the capture.
    names : dict
        Addresses and the names that the file has for them.

    """

    def __init__(
        self,
        stream: Stream,
        chunk_size: int,
        keep: Filter | None = None,
        *,
        broken: bool = False,
        batch_frames: int | None = None,
        batches: int = 1,
    ) -> None:
        super().__init__(stream, broken=broken)
        self._keep = keep
        most = max(3, batch_frames or BATCH_FRAMES)  # by the next two the first is judged
        self._batches = cycle([Batch(most) for _ in range(batches)])
        self._chunk = Chunk(stream, chunk_size)
        self._ctl[WALK_CAPACITY] = most
        self._ctl[WALK_EARLIEST] = FOREVER
        self._ctl[WALK_LATEST] = -1
        self._table = array("q", bytes(8 * IF_SIZE))
        self._order: Order = "big"
        self._sections = 0
        self._seen_links: set[int] = set()
        self._started = False
        self._put_back = 0  # bytes of a frame that was walked, and is walked again with what follows it
        self._ended: StreamDamage | None = None  # how reading ended, while a frame that was put back is still to come
        self._last = False  # nothing follows any more
        self.format = ""
        self.link_types: list[int] = []
        self.frames = 0
        self.truncated: str | None = None
        self.interfaces: list[Interface] = []
        self.comments: list[str] = []
        self.statements: list[Statement] = []
        self.names: dict[str, str] = {}
        self._open()

    def segments(self) -> Iterator[Batch]:
        """Read on, a batch of frames at a time, in file order. A capture is read once.

        Batches without any segment come too, for the clock's sake.
        """
        if self._started:
            raise RuntimeError("a capture is read once; open it again")
        self._started = True
        batch = next(self._batches)
        try:
            while True:
                ctl = self._ctl
                ctl[WALK_END] = self._chunk.end
                if self.format == "pcapng":
                    count = walk_pcapng(self._chunk.data, batch.frames, self._table, ctl)
                else:
                    walk = walk_pcap if self.format == "pcap" else walk_snoop
                    count = walk(self._chunk.data, batch.frames, ctl)
                count = self._settle(batch, count) if count else 0
                if count:
                    self._decode(batch, count)
                    yield batch
                    batch = next(self._batches)
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
            if self._ended is not None:
                raise self._ended
            if not self._last and self._more(ctl[WALK_NEED]):
                return True
        except StreamDamage as reason:
            if self._put_back:
                self._ended, self._last = reason, True
                return True
            ctl[WALK_BEGIN] = self._chunk.end
            self._stop(str(reason))
            return False
        if self._put_back:
            self._last = True
            return True
        rest = self._chunk.end - ctl[WALK_BEGIN]
        if rest:
            self._stop(f"the capture ends {rest} bytes into a record of at least {ctl[WALK_NEED]}")
        return False

    def _stop(self, reason: str) -> None:
        self.truncated = f"byte {self._chunk.base + self._ctl[WALK_BEGIN]}: {reason}"

    def _more(self, need: int) -> bool:
        """Read more bytes behind those not yet walked, with room for ``need``; False at the end of the stream."""
        begin = self._ctl[WALK_BEGIN]
        self._ctl[WALK_BEGIN] = 0
        return self._chunk.more(begin, need)

    def _skip(self, count: int) -> bool:
        """Leave out ``count`` bytes that nobody reads, without keeping them."""
        ctl = self._ctl
        while True:
            here = min(count, self._chunk.end - ctl[WALK_BEGIN])
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
            while self._chunk.end < LONGEST_HEADER and self._more(LONGEST_HEADER):
                pass
        except StreamDamage as reason:
            if self._chunk.end < LONGEST_HEADER:
                raise CaptureError(self.name, self._chunk.end, str(reason)) from reason
        header = read_header(bytes(self._chunk.data[: self._chunk.end]), self.name, self.compression)
        self.format = header.format
        if header.format == "pcapng":
            self._open_pcapng()
            return
        ctl = self._ctl
        ctl[WALK_BEGIN] = header.size
        ctl[WALK_SWAPPED] = 1 if header.order == "little" else 0
        ctl[WALK_TICK] = header.tick
        ctl[WALK_HEADER] = header.record
        ctl[WALK_LINK] = header.link
        ctl[WALK_LENGTHS] = header.lengths
        self.interfaces.append(
            Interface("", header.link, header.snaplen, "10^-6 s" if header.tick == 1000 else "10^-9 s", 0)
        )
        self._met(header.link)

    def _open_pcapng(self) -> None:
        """Take the first section header, so that a file that has none is refused at once."""
        ctl = self._ctl
        try:
            while True:
                ctl[WALK_END] = self._chunk.end
                if self._chunk.end >= SECTION_HEADER:
                    self._begin_section()
                    return
                if not self._more(SECTION_HEADER):
                    break
        except StreamDamage as reason:
            raise CaptureError(self.name, self._chunk.end, str(reason)) from reason
        except ValueError as reason:
            raise CaptureError(self.name, 0, str(reason)) from reason
        raise CaptureError(self.name, self._chunk.end, "the file ends inside its section header")

    def _begin_section(self) -> int:
        """Learn a section's byte order from the header at WALK_BEGIN; return its length. Raises ValueError."""
        ctl = self._ctl
        begin = ctl[WALK_BEGIN]
        self._order, total = read_section(bytes(self._chunk.data[begin : begin + SECTION_HEADER]))
        ctl[WALK_SWAPPED] = 1 if self._order == "little" else 0
        ctl[WALK_INTERFACES] = 0
        return total

    def _block(self) -> bool:
        """Read the block at WALK_BEGIN that the walk left to us."""
        ctl = self._ctl
        begin = ctl[WALK_BEGIN]
        if self._chunk.data[begin : begin + 4] == PCAPNG_MAGIC:
            return self._section()
        kind = number(self._chunk.data, begin, 4, self._order)
        total = number(self._chunk.data, begin + 4, 4, self._order)
        body = bytes(self._chunk.data[begin + 8 : begin + total - 4])
        if kind == BLOCK_INTERFACE:
            try:
                self._interface(read_interface(body, self._order))
            except ValueError as reason:
                self._stop(str(reason))
                return False
        elif kind == BLOCK_STATISTICS:
            self._drops.take(self._sections, read_statistics(body, self._order))
            self._note_lost()
        else:
            for address, name in names(body, self._order):
                if len(self.names) < MAX_NOTES:
                    self.names.setdefault(address, name)
        ctl[WALK_BEGIN] = begin + (total + 3 & ~3)
        return True

    def _note_lost(self) -> None:
        """Keep where in the capture it says of more frames, or fewer, that they were lost."""
        lost, known = self._drops.lost or 0, self.statements
        if lost != (known[-1].lost if known else 0) and len(known) < MOST_STATEMENTS:
            known.append(Statement(self._ctl[WALK_LATEST], self.frames, lost))

    def _section(self) -> bool:
        """Read the section header at WALK_BEGIN, with its comments."""
        ctl = self._ctl
        try:
            size = self._begin_section()
        except ValueError as reason:
            self._stop(str(reason))
            return False
        while self._chunk.end - ctl[WALK_BEGIN] < size:
            if not self._more(size):
                self._stop("the capture ends inside a section header")
                return False
        begin = ctl[WALK_BEGIN]
        for code, value in options(bytes(self._chunk.data[begin + 24 : begin + size - 4]), self._order):
            if code == 1 and len(self.comments) < MAX_NOTES:
                self.comments.append(value.decode("utf-8", "replace"))
        ctl[WALK_BEGIN] = begin + size
        self._sections += 1
        return True

    def _interface(self, described: Description) -> None:
        """Take an interface description. Raises ValueError where there are too many."""
        ctl = self._ctl
        known = ctl[WALK_INTERFACES]
        if known >= MAX_INTERFACES:
            raise ValueError(f"more than {MAX_INTERFACES} interfaces")
        while len(self._table) < (known + 1) * IF_SIZE:
            self._table.extend(self._table)
        row = array("q", [described.link, described.snaplen, described.unit, described.factor, described.offset])
        self._table[known * IF_SIZE : (known + 1) * IF_SIZE] = row
        ctl[WALK_INTERFACES] = known + 1
        if len(self.interfaces) < MAX_INTERFACES:
            section = max(0, self._sections - 1)
            self.interfaces.append(
                Interface(described.name, described.link, described.snaplen, described.resolution, section)
            )
        self._met(described.link)

    def _met(self, link: int) -> None:
        if link not in self._seen_links:
            self._seen_links.add(link)
            self.link_types.append(link)

    # --- decoding ---

    def _settle(self, batch: Batch, count: int) -> int:
        """Settle the stamps of the frames walked; returns how many are. One that is not yet is walked again."""
        ctl = self._ctl
        follows = ctl[WALK_STATUS] in {STATUS_FULL, STATUS_MORE} and not self._last and not ctl[WALK_UNSTAMPED]
        settled = settle_stamps(batch.frames, count, int(not follows), ctl)
        self._put_back = 0
        if settled < count:
            head = ctl[WALK_HEADER] if self.format == "pcap" else PACKET_HEAD[self.format]
            self._put_back = ctl[WALK_BEGIN] - batch.frames[settled * FRAME_SIZE + F_OFFSET] + head
            ctl[WALK_BEGIN] -= self._put_back
            ctl[WALK_NEED] += self._put_back
            ctl[WALK_HELD] = ctl[WALK_HELD_BEFORE] if ctl[WALK_BEFORE] else 0
        return settled

    def _decode(self, batch: Batch, count: int) -> None:
        batch.data = self._chunk.data
        batch.first_frame = self.frames + 1
        batch.frame_count = count
        if self._keep is not None:
            self._keep.prepare(self.link_types)
            self._keep.mark(self._chunk.data, batch.frames, count)
        batch.count = decode(self._chunk.data, batch.frames, count, batch.first_frame, 0, batch.segments, self.outcomes)
        self.peeler.complete(batch, self.outcomes)
        self.frames += count
        batch.last_time = self._ctl[WALK_LATEST]


def open_capture(
    source: str | os.PathLike[str] | BinaryIO,
    *,
    chunk_size: int = 1 << 20,
    keep: Filter | None = None,
    follow: bool = False,
    broken: bool = False,
    batch_frames: int | None = None,
    batches: int = 1,
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
    batch_frames : int or None
        Frames decoded at once; None for as many as stay within a core's cache.
    batches : int
        A batch keeps its segments while so many less one follow.

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
        return Capture(stream, chunk_size, keep, broken=broken, batch_frames=batch_frames, batches=batches)
    except BaseException:
        stream.close()
        raise
