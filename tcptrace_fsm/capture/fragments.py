"""Put IP fragments together (RFC 791 3.2, RFC 8200 4.5), in bounded memory and time.

Where fragments overlap, the byte of the fragment that begins earlier stands, and of two that begin together the one
that came first: what Wireshark shows. Nothing is guessed: a datagram with a hole is never given out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Hashable

MAX_BYTES = 8 << 20
"""Bytes kept over all unfinished datagrams; beyond, the oldest datagram is dropped."""
MAX_PIECES = 8192
"""Pieces kept for one datagram: 65535 bytes in eights."""
MAX_AGE = 60_000_000_000
"""Nanoseconds after which the rest of a datagram comes too late (RFC 8200 4.5: 60 seconds)."""
OVERHEAD = 512
"""Bytes counted for each piece beside its content, near what Python's objects take."""


class Piece(NamedTuple):
    """One fragment's payload."""

    offset: int
    content: bytes


class Datagram:
    """The pieces of one datagram so far."""

    __slots__ = ("covered", "first", "frames", "pieces", "size", "time", "weight")

    def __init__(self, time: int) -> None:
        self.time = time
        self.pieces: list[Piece] = []
        self.covered = bytearray()  # a 1 for each eight bytes that some piece holds whole
        self.weight = OVERHEAD
        self.size = -1  # known when the last fragment has come
        self.first: bytes = b""
        self.frames: set[int] = set()

    def cover(self, begin: int, end: int) -> None:
        """Note that the bytes from ``begin`` to ``end`` are there; the last eight of the datagram may be fewer."""
        last = (end + 7 if end == self.size else end) // 8
        if last > len(self.covered):
            self.covered.extend(bytes(last - len(self.covered)))
        if last > begin // 8:
            self.covered[begin // 8 : last] = b"\1" * (last - begin // 8)

    def whole(self) -> bytes | None:
        """Return the payload when no byte is missing."""
        eights = (self.size + 7) // 8
        if self.size < 0 or self.covered.count(1, 0, eights) < eights:
            return None
        payload = bytearray()
        for offset, content in sorted(self.pieces, key=lambda piece: piece.offset):
            if offset > len(payload):
                return None
            payload += content[len(payload) - offset :]
        return bytes(payload[: self.size]) if len(payload) >= self.size else None


class Fragments:
    """All unfinished datagrams of a capture.

    Attributes
    ----------
    dropped : int
        Datagrams given up: too old, or too many bytes waiting.
    frame : int
        Number of the frame that the next fragment is from; set by whoever adds it.
    joined : dict of int to set of int, or None
        Where it is a dict: which frames a datagram was made of, by the number of the frame that completed it.

    """

    def __init__(self) -> None:
        self.frame = 0
        self.joined: dict[int, set[int]] | None = None
        self._waiting: dict[Hashable, Datagram] = {}
        self._weight = 0
        self.dropped = 0

    def add(
        self, key: Hashable, time: int, offset: int, content: bytes, *, more: bool, header: bytes
    ) -> tuple[bytes, bytes] | None:
        """Add a fragment; return (header of the first fragment, whole payload) when it completes its datagram.

        Parameters
        ----------
        key : hashable
            What the fragments of one datagram share: addresses, identification, protocol, encapsulation.
        time : int
            Capture time, ns.
        offset : int
            Of the fragment in the payload, bytes.
        content : bytes
            The fragment's payload, all of it.
        more : bool
            Whether more fragments follow.
        header : bytes
            The IP header in front; that of the fragment with offset 0 is kept.

        """
        datagram = self._waiting.get(key)
        if datagram is not None and abs(time - datagram.time) > MAX_AGE:
            self._forget(key)
            self.dropped += 1
            datagram = None
        if datagram is None:
            datagram = self._waiting[key] = Datagram(time)
            self._weight += datagram.weight
        if len(datagram.pieces) >= MAX_PIECES:
            return None
        if offset == 0 and not datagram.first:
            datagram.first = header
        if not more and datagram.size < 0:
            datagram.size = offset + len(content)
        datagram.pieces.append(Piece(offset, content))
        if self.joined is not None:  # the fragment itself may have come out of fragments of a tunnel
            datagram.frames |= {self.frame, *self.joined.get(self.frame, ())}
        before = len(datagram.covered)
        datagram.cover(offset, offset + len(content))
        weight = len(content) + OVERHEAD + len(datagram.covered) - before
        datagram.weight += weight
        self._weight += weight
        payload = datagram.whole()
        if payload is not None:
            self._forget(key)
            if self.joined is not None:
                self.joined[self.frame] = datagram.frames
            return datagram.first, payload
        while self._weight > MAX_BYTES:
            self._forget(next(iter(self._waiting)))
            self.dropped += 1
        return None

    def _forget(self, key: Hashable) -> None:
        self._weight -= self._waiting.pop(key).weight
