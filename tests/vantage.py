"""Two captures of one conversation."""

from __future__ import annotations

import tcptrace_fsm as tf
from tests import two_points


def analysed(folder, points, **options):
    """The trace of two captures, and the packet that each segment of it is, by number."""
    files = [two_points.write(folder / f"{name}.pcap", taken) for name, taken in zip("ab", points, strict=True)]
    trace = tf.analyze(files, merge_vantage=True, tables=["segments"], **options)
    numbers = {(file, i): n for file, taken in zip(files, points, strict=True) for i, (_, _, n) in enumerate(taken, 1)}
    rows = trace.segments
    return trace, [numbers[file, frame] for file, frame in zip(rows.file, rows.frame, strict=True)]


def fates(trace, numbers):
    """The fate of each packet."""
    return {n: fate for n, fate in zip(numbers, trace.segments.fate.fillna("unknown"), strict=True) if fate != "copy"}
