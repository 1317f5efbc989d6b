"""The words behind the codes in records: what tables, findings and views call states, sides, openings."""

from __future__ import annotations

from tcptrace_fsm.tcp.machine import EVENT_TEXT, Basis, State

__all__ = [
    "BASES",
    "CATEGORIES",
    "CLOSINGS",
    "CONFIDENCES",
    "EVENTS",
    "FATES",
    "LOUD",
    "MOST_FINDINGS",
    "OPENINGS",
    "PLACES",
    "ROLES",
    "SEVERITIES",
    "SIDES",
    "STATES",
    "VANTAGES",
    "WHO",
]

# The index is the code in the record.
SIDES = ("client", "server")
ROLES = ("syn", "syn_ack", "port", "first_segment")
OPENINGS = ("handshake", "simultaneous", "fast_open", "midstream", "refused", "unanswered", "incomplete")
CLOSINGS = ("normal", "simultaneous", "half_closed", "aborted", "timed_out", "none")
VANTAGES = ("unknown", "client", "server", "between")
WHO = ("nobody", "client", "server", "both")
STATES = tuple(s.name for s in State)
EVENTS = tuple(EVENT_TEXT.values())
BASES = tuple(b.name.lower() for b in Basis)
SEVERITIES = ("info", "low", "medium", "high")
LOUD = frozenset(SEVERITIES[2:])
"""What nobody may be told without good ground."""
MOST_FINDINGS = 100_000
"""Findings of one kind about single connections in the anomalies table; beyond that no more are looked for."""
CONFIDENCES = ("possible", "likely", "proved")
PLACES = ("client", "server", "path", "capture")
"""Who or what has to be mended."""
CATEGORIES = ("open", "data", "close", "reset", "time_wait", "timer", "scan", "capture")
FATES: tuple[str, ...] = ("", "arrived", "partly", "lost", "uncaptured", "foreign", "copy")
"""What became of a segment between two capture points, in the order of ``FATE_...``."""
