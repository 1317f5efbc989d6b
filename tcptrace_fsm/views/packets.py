"""The frames of one connection as dpkt sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tcptrace_fsm.capture.containers import open_capture
from tcptrace_fsm.capture.packets import Packets
from tcptrace_fsm.views.extract import Frames

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tcptrace_fsm.capture.sources import Source

__all__ = ["frames_of", "link_object"]

_CLASSES = {
    1: ("ethernet", "Ethernet"),
    0: ("loopback", "Loopback"),
    108: ("loopback", "Loopback"),
    9: ("ppp", "PPP"),
    113: ("sll", "SLL"),
    276: ("sll2", "SLL2"),
    105: ("ieee80211", "IEEE80211"),
    127: ("radiotap", "Radiotap"),
}
_RAW_IP = {12, 14, 101, 228, 229}


def link_object(link_type: int, frame: bytes) -> Any:
    """Make dpkt's object of the link layer; the bytes as they are where dpkt has none, or cannot read them."""
    from importlib import import_module

    import dpkt

    if link_type in _RAW_IP:
        module, name = ("ip6", "IP6") if frame[:1] and frame[0] >> 4 == 6 else ("ip", "IP")
    elif link_type in _CLASSES:
        module, name = _CLASSES[link_type]
    else:
        return frame
    try:
        return getattr(import_module(f"dpkt.{module}"), name)(frame)
    except (dpkt.Error, ImportError, AttributeError, IndexError, ValueError):  # what dpkt raises on damage is many
        return frame


def frames_of(run: Any, conn_id: int) -> Iterator[tuple[float, Any]]:
    """Give the frames of a connection, each with its time in seconds.

    Parameters
    ----------
    run : Run
        Not gone yet, with settings that ask for segments and fragments; its captures can be read again.
    conn_id : int

    """
    found = Frames({conn_id})
    run.go([found])
    wanted = set(found.numbers(run.captures, run.origins))
    captured: Sequence[Source] = run.in_order
    before = 0
    for source, capture in zip(captured, run.captures, strict=True):
        again: Any = source.fresh() if isinstance(source, Packets) else source
        for batch in open_capture(again).segments():
            for number in range(batch.first_frame, batch.first_frame + batch.frame_count):
                if before + number in wanted:
                    time, _, link, content = batch.frame(number)
                    yield time / 1e9, link_object(link, content)
        before += capture.frames
