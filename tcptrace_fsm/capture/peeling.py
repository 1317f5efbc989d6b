"""The frames that the decode kernel does not read by itself: links and tunnels, fragments, ICMP errors, broken headers.

::

    frame -> peel (layers) -> decode (kernel) of the packet inside -> its segment among the others
"""

from __future__ import annotations

from array import array
from collections import Counter
from typing import TYPE_CHECKING, Any

from tcptrace_fsm.capture.fragments import Fragments
from tcptrace_fsm.capture.layers import layers
from tcptrace_fsm.capture.layers.links import encapsulation_code, is_read, path_code
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
)
from tcptrace_fsm.kernels.tunnels import way_inside

if TYPE_CHECKING:
    from tcptrace_fsm.capture.batches import Batch
    from tcptrace_fsm.capture.layers.registry import Packet

__all__ = ["Peeler"]

TUNNELS = 16
"""Tunnels in one another, each of two layers, that the kernel goes through: fewer than the layers give up at."""
MOST_WAYS = 65536
"""Ways through tunnels whose codes are remembered."""

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
        self._way = array("q", bytes(8 * (3 + 4 * TUNNELS)))
        self._codes: dict[bytes, int] = {}
        self.fragments = Fragments()
        self.unsupported_links: dict[int, int] = {}
        self.broken_headers = 0
        self.icmp_errors = 0
        self.skipped: Counter[str] = Counter()

    def complete(self, batch: Batch, outcomes: array[int]) -> None:
        """Read the frames that the kernel left, and count them in ``outcomes``; sort in what comes of them."""
        strange = outcomes[OUTCOME_SHORT_TCP] + outcomes[OUTCOME_BAD_TCP_HEADER]
        if outcomes[OUTCOME_PEEL] or (self._broken and strange > self._broken_frames):
            self._look_again(batch, outcomes)
            self._broken_frames = outcomes[OUTCOME_SHORT_TCP] + outcomes[OUTCOME_BAD_TCP_HEADER]

    def _look_again(self, batch: Batch, outcomes: array[int]) -> None:
        frames, one = batch.frames, self._one_segment
        found = array("q")
        for index, first_outcome in enumerate(frames[F_OUTCOME : batch.frame_count * FRAME_SIZE : FRAME_SIZE]):
            f = index * FRAME_SIZE
            one[S_FLAGS] = 0
            if first_outcome == OUTCOME_PEEL:
                outcome = self._frame(batch, f, batch.first_frame + index)
                frames[f + F_OUTCOME] = outcome
                outcomes[outcome] += 1
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
        outcomes[OUTCOME_PEEL] = 0
        if found:
            batch.merge(found)

    def _frame(self, batch: Batch, f: int, number: int) -> int:
        """Peel one frame; its segment, or what is broken of it, is in `_one_segment`."""
        frames = batch.frames
        link = frames[f + F_LINK]
        if not is_read(link):
            return self._unsupported(link)
        registry = layers()
        n = way_inside(batch.data, frames, f, TUNNELS, self._way)
        if n:
            return self._decode(batch.data, self._way[:3], frames[f + F_TIME], number, self._code(self._way[3:n]))
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

    def _code(self, way: array[int]) -> int:
        """What the way through some plain tunnels is called in records."""
        key = way.tobytes()
        code = self._codes.get(key)
        if code is None:
            # a cold start does without layers
            from tcptrace_fsm.capture.layers.ip import plain_path

            code = path_code("/".join(plain_path(way)))
            if len(self._codes) < MOST_WAYS:
                self._codes[key] = code
        return code

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
