"""The frames that the decode kernel does not read by itself: links and tunnels, fragments, ICMP errors, broken headers.

::

    frame -> plain tunnels (kernel) -> its segment among the others
          -> peel (layers) -> decode (kernel) of the packet inside -> its segment among the others
"""

from __future__ import annotations

from array import array
from collections import Counter
from typing import TYPE_CHECKING, Any

from tcptrace_fsm.capture.batches import BATCH_FRAMES
from tcptrace_fsm.capture.fragments import Fragments
from tcptrace_fsm.capture.layers import layers
from tcptrace_fsm.capture.layers.links import encapsulation_code, is_read, met_paths
from tcptrace_fsm.kernels.decode import decode
from tcptrace_fsm.kernels.layout import (
    F_CAPTURED,
    F_LINK,
    F_OFFSET,
    F_ORIGINAL,
    F_OUTCOME,
    F_TIME,
    FRAME_SIZE,
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
    TCP_BROKEN,
    TCP_QUOTED,
    WY_BROKEN,
    WY_FIRST,
    WY_KEEPS,
    WY_NEXT,
    WY_SIZE,
)
from tcptrace_fsm.kernels.tunnels import decode_tunnels

if TYPE_CHECKING:
    from tcptrace_fsm.capture.batches import Batch
    from tcptrace_fsm.capture.layers.registry import Packet

__all__ = ["Peeler"]

MOST_SKIPPED = 256
"""Names of what is not decoded that are counted apart."""


class Peeler:
    """The slow path of one capture.

    Parameters
    ----------
    broken : bool
        Whether to give records of broken TCP headers, as :func:`tcptrace_fsm.capture.containers.open_capture` says.

    Attributes
    ----------
    fragments : Fragments
        What IP fragments wait for the rest.
    unsupported_links : dict
        Frames of each LINKTYPE_ number that nothing here reads.
    broken_headers : int
        Frames that Wireshark calls TCP though their TCP header is none.
    icmp_errors : int
        ICMP errors that quote a TCP segment.
    skipped : dict
        Frames that may hold TCP behind what is not decoded, by its name.

    """

    def __init__(self, *, broken: bool) -> None:
        self._broken = broken
        self._broken_frames = 0
        self._one_frame = array("q", bytes(8 * FRAME_SIZE))
        self._one_segment = array("q", bytes(8 * SEGMENT_SIZE))
        self._one_outcome = array("q", bytes(8 * OUTCOMES))
        self._way = array("q")
        self._found = array("q")
        self.fragments = Fragments()
        self.unsupported_links: dict[int, int] = {}
        self.broken_headers = 0
        self.icmp_errors = 0
        self.skipped: Counter[str] = Counter()

    def complete(self, batch: Batch, outcomes: array[int]) -> None:
        """Read the frames that the kernel left, and count them in ``outcomes``; sort in what comes of them."""
        strange = outcomes[OUTCOME_SHORT_TCP] + outcomes[OUTCOME_BAD_TCP_HEADER]
        if outcomes[OUTCOME_PEEL] or (self._broken and strange > self._broken_frames):
            self._go_through(batch, outcomes)
            if outcomes[OUTCOME_PEEL]:
                self._peel(batch, outcomes)
            self._broken_frames = outcomes[OUTCOME_SHORT_TCP] + outcomes[OUTCOME_BAD_TCP_HEADER]

    def _go_through(self, batch: Batch, outcomes: array[int]) -> None:
        """Have a kernel read what lies in plain tunnels, and look again at broken TCP headers."""
        if not self._way:
            self._way = array("q", bytes(8 * WY_SIZE))
            self._found = array("q", bytes(8 * SEGMENT_SIZE * BATCH_FRAMES))
        way, found, paths = self._way, self._found, met_paths()
        way[WY_NEXT] = way[WY_BROKEN] = 0
        way[WY_FIRST], way[WY_KEEPS] = batch.first_frame, int(self._broken)
        words, count = paths.words or paths.grow(), batch.frame_count
        while way[WY_NEXT] < count:
            made = decode_tunnels(batch.data, batch.frames, count, way, words, found, outcomes)
            batch.merge(found, made)
            if way[WY_NEXT] < count:
                words = paths.grow()
        self.broken_headers += way[WY_BROKEN]

    def _peel(self, batch: Batch, outcomes: array[int]) -> None:
        """Peel the frames that are left, one by one."""
        frames, one = batch.frames, self._one_segment
        found = array("q")
        for index, left in enumerate(frames[F_OUTCOME : batch.frame_count * FRAME_SIZE : FRAME_SIZE]):
            if left != OUTCOME_PEEL:
                continue
            f = index * FRAME_SIZE
            one[S_FLAGS] = 0
            outcome = self._frame(batch, f, batch.first_frame + index)
            frames[f + F_OUTCOME] = outcome
            outcomes[outcome] += 1
            if outcome == OUTCOME_TCP or (self._broken and one[S_FLAGS] & TCP_BROKEN):
                one[S_FRAME] = batch.first_frame + index
                one[S_TIME] = frames[f + F_TIME]
                found += one
                self.broken_headers += one[S_FLAGS] & (TCP_BROKEN | TCP_QUOTED) == TCP_BROKEN
        outcomes[OUTCOME_PEEL] = 0
        batch.merge(found, len(found) // SEGMENT_SIZE)

    def _frame(self, batch: Batch, f: int, number: int) -> int:
        """Peel one frame; its segment, or what is broken of it, is in `_one_segment`."""
        frames = batch.frames
        link = frames[f + F_LINK]
        if not is_read(link):
            return self._unsupported(link)
        registry = layers()
        place = (frames[f + F_OFFSET], frames[f + F_CAPTURED], frames[f + F_ORIGINAL])
        self.fragments.frame = number
        packet = registry.Packet(batch.data, place, frames[f + F_TIME], self.fragments)
        outcome: int = registry.peel(packet, link)
        if packet.skipped and (packet.skipped in self.skipped or len(self.skipped) < MOST_SKIPPED):
            self.skipped[packet.skipped] += 1
        if outcome == OUTCOME_UNSUPPORTED_LINK:  # PPI and the like name another link inside
            return self._unsupported(link)
        if outcome != OUTCOME_TCP:
            return OUTCOME_NOT_TCP if packet.error else outcome
        return self._inside(packet, frames[f + F_TIME], number)

    def _unsupported(self, link: int) -> int:
        self.unsupported_links[link] = self.unsupported_links.get(link, 0) + 1
        return OUTCOME_UNSUPPORTED_LINK

    def _inside(self, packet: Packet, time: int, number: int) -> int:
        """Decode the IP packet that was found to hold TCP."""
        place = array("q", (packet.ip_at, packet.ip_end, packet.ip_wire))
        outcome = self._decode(packet.data, place, time, number, encapsulation_code(packet.path))
        if not packet.whole:
            self._one_segment[S_OFFSET] = -1
        if packet.error:
            if packet.end - packet.at < 8:  # not even its sequence number is quoted
                self._one_segment[S_FLAGS] = 0
            elif self._one_frame[F_OUTCOME] == OUTCOME_TCP or self._one_segment[S_FLAGS]:
                self._quote(packet, packet.error)
            return OUTCOME_NOT_TCP
        return outcome

    def _decode(self, data: Any, place: array[int], time: int, number: int, code: int) -> int:
        """Decode the IP packet at a place: where it begins and ends, captured and on the wire. Returns the outcome."""
        one = self._one_frame
        at, end, wire = place
        one[F_OFFSET], one[F_CAPTURED], one[F_ORIGINAL] = at, end - at, wire - at
        one[F_TIME], one[F_LINK] = time, LINK_RAW
        decode(data, one, 1, number, code, self._one_segment, self._one_outcome)
        # What the kernel would peel again the peeler has just seen to be TCP in name only.
        return one[F_OUTCOME] if one[F_OUTCOME] != OUTCOME_PEEL else OUTCOME_NOT_TCP

    def _quote(self, packet: Packet, error: tuple[int, int, int, int]) -> None:
        """Make the record in `_one_segment` that of an ICMP error which quotes that segment."""
        one = self._one_segment
        one[S_FLAGS] |= TCP_BROKEN | TCP_QUOTED
        one[S_SHOWN] = -1
        one[S_SACKS] = 0
        one[Q_KIND], one[Q_MTU], one[Q_FROM_HI], one[Q_FROM_LO] = error
        start = packet.ip_at
        six = packet.data[start] >> 4 == 6
        size = int.from_bytes(packet.data[start + 4 : start + 6] if six else packet.data[start + 2 : start + 4], "big")
        one[Q_SIZE] = size + 40 if six else size
        self.icmp_errors += 1
