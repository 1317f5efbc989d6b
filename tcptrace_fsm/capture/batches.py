"""A batch: a run of a capture's frames, and the segments in them."""

from __future__ import annotations

from array import array

from tcptrace_fsm.kernels.layout import F_CAPTURED, F_LINK, F_OFFSET, F_ORIGINAL, F_TIME, FRAME_SIZE, SEGMENT_SIZE
from tcptrace_fsm.kernels.tunnels import merge_segments

__all__ = ["BATCH_FRAMES", "Batch"]

BATCH_FRAMES = 2048
"""Frames decoded at once, if nobody asks for more: their segment records stay within a core's cache."""


class Batch:
    """Segments of a run of frames. All arrays belong to the capture and are used again for the next batch.

    Parameters
    ----------
    most : int
        Frames that there is room for.

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

    def __init__(self, most: int = BATCH_FRAMES) -> None:
        self.segments = array("q", bytes(8 * SEGMENT_SIZE * most))
        self.frames = array("q", bytes(8 * FRAME_SIZE * most))
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

    def merge(self, found: array[int], count: int) -> None:
        """Put the first ``count`` segments of ``found`` among those of the batch, in order of their frame numbers."""
        if count and self.count:
            merged = array("q", bytes(8 * SEGMENT_SIZE * (self.count + count)))
            merge_segments(self.count, self.segments, count, found, merged)
            self.segments[: len(merged)] = merged
        elif count:
            self.segments[: count * SEGMENT_SIZE] = found[: count * SEGMENT_SIZE]
        self.count += count
