"""For Python: `analyze`, and the `Trace` and `Connection` that it leads to."""

from __future__ import annotations

from tcptrace_fsm.api.analysis import analyze
from tcptrace_fsm.api.connection import Connection
from tcptrace_fsm.api.trace import Trace

__all__ = ["Connection", "Trace", "analyze"]
