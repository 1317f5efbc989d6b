"""The part of a stream that is in memory: read forwards in pieces, as large as what was read, whatever is announced."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tcptrace_fsm.capture.streams import Stream

__all__ = ["Chunk"]


class Chunk:
    """Bytes of a stream.

    Parameters
    ----------
    stream : Stream
    size : int
        Bytes read at once.

    Attributes
    ----------
    data : bytearray
        Longer than what is in it.
    end : int
        Bytes in it.
    base : int
        Offset in the stream of the first.

    """

    def __init__(self, stream: Stream, size: int) -> None:
        self._stream = stream
        self._size = max(1, size)
        self.data = bytearray(self._size + 64)
        self.end = 0
        self.base = 0

    def more(self, begin: int, need: int) -> bool:
        """Move what stands from ``begin`` on to the front, with room for ``need``; read on; False at the end."""
        rest = self.end - begin
        room = max(need, self._size + 64)
        if room > len(self.data):
            # Grow with what has come, not with what a length promises.
            room = min(room, max(2 * len(self.data), rest + self._size))
            grown = bytearray(room)
            grown[:rest] = memoryview(self.data)[begin : self.end]
            self.data = grown
        elif begin:
            self.data[:rest] = self.data[begin : self.end]
        self.base += begin
        self.end = rest
        stop = min(len(self.data), rest + self._size)
        with memoryview(self.data) as view, view[rest:stop] as space:
            count = self._stream.read_into(space)
        self.end += count
        return count > 0
