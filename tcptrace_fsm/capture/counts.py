"""What a capture says of itself while it is read: its name, its times, and how many frames of what kind it had."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from tcptrace_fsm.capture.pcapng import Drops
from tcptrace_fsm.capture.peeling import Peeler
from tcptrace_fsm.kernels.layout import (
    OUTCOME_ENCRYPTED,
    OUTCOMES,
    WALK_EARLIEST,
    WALK_HELD,
    WALK_LATEST,
    WALK_SIZE,
    WALK_STRAY,
    WALK_TIMELESS,
)

if TYPE_CHECKING:
    from tcptrace_fsm.capture.fragments import Fragments
    from tcptrace_fsm.capture.streams import Stream

__all__ = ["Counts"]

ESP = "encrypted IPsec (ESP)"


class Counts:
    """Counts of a capture, right for what has been read so far."""

    def __init__(self, stream: Stream, *, broken: bool) -> None:
        self._stream = stream
        self._ctl = array("q", bytes(8 * WALK_SIZE))
        self._drops = Drops()
        self.outcomes = array("q", bytes(8 * OUTCOMES))
        self.peeler = Peeler(broken=broken)

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

    def stop(self) -> None:
        """Have KeyboardInterrupt raised where bytes are waited for the next time."""
        self._stream.stop()

    @property
    def replaced(self) -> bool:
        """Whether a file that was followed was cut, or gave its name to another one."""
        return self._stream.replaced

    @property
    def size(self) -> int | None:
        """Bytes of the file, where known."""
        return self._stream.size

    @property
    def fragments(self) -> Fragments:
        """What IP fragments wait for the rest."""
        return self.peeler.fragments

    @property
    def unsupported_links(self) -> dict[int, int]:
        """Frames of each LINKTYPE_ number that nothing here reads."""
        return self.peeler.unsupported_links

    @property
    def broken_headers(self) -> int:
        """Frames with a TCP header that is none."""
        return self.peeler.broken_headers

    @property
    def icmp_errors(self) -> int:
        """ICMP errors that quote a TCP segment."""
        return self.peeler.icmp_errors

    @property
    def skipped(self) -> dict[str, int]:
        """Frames that may hold TCP behind what is not decoded, by its name."""
        encrypted = self.outcomes[OUTCOME_ENCRYPTED]
        return {**self.peeler.skipped, ESP: encrypted} if encrypted else dict(self.peeler.skipped)

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
        """Frames without a time of their own (simple packet blocks); they got that of the frame before."""
        return self._ctl[WALK_TIMELESS]

    @property
    def times_held(self) -> int:
        """Frames whose time lay before 1970 or behind 2116; they got the time of that bound."""
        return self._ctl[WALK_HELD]

    @property
    def stray_stamps(self) -> int:
        """Frames that alone are stamped a day or more away from their neighbours, see `settle_stamps`."""
        return self._ctl[WALK_STRAY]

    @property
    def received(self) -> int | None:
        """Frames received by the capturing machine, by its last statistics; None where it says nothing."""
        return self._drops.received

    @property
    def dropped(self) -> int | None:
        """Frames lost by the capturing machine, by its last statistics; None where it says nothing."""
        return self._drops.lost
