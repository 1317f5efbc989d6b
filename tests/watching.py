"""Conversations for tests: scripts and random records, collected as a command collects them."""

from __future__ import annotations

from array import array

from tcptrace_fsm.capture.scripted import parse
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.runs.run import new_engine
from tcptrace_fsm.views.collector import Collector

from .strategies import at, cut


def collected(given, wanted=None, *, limit=4000, step=None, capture="test.pcap", sinks=()):
    """Feed a script or segment records to the engine; give what a collector made of it."""
    segments = parse(given).segments if isinstance(given, str) else array("q", given)
    collector = Collector(wanted, limit=limit)
    engine = new_engine(Settings())
    everybody = [collector, *sinks]
    for batch in [*cut(segments, step or max(1, len(segments) // at.SEGMENT_SIZE)), None]:
        if batch is None:
            engine.finish()
        else:
            engine.feed(batch)
            for sink in everybody:
                getattr(sink, "take_segments", lambda _: None)(batch)
        while (done := engine.take()) is not None:
            for sink in everybody:
                sink.take(done)
    times = segments[at.S_TIME :: at.SEGMENT_SIZE]
    return list(collector.conversations(capture, (min(times), max(times))))


HANDSHAKE = """
    0.000  > S    0:0(0)              <mss 1460, sackok>
    0.020  < S.   0:0(0)     ack 1    <mss 1460, sackok>
    0.040  > .    1:1(0)     ack 1
"""
