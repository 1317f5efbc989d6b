"""Passive TCP analysis: the RFC 9293 state of each endpoint, on what evidence, and what went wrong.

>>> import tcptrace_fsm as tf
>>> trace = tf.analyze("capture.pcap", profile="linux")  # doctest: +SKIP
>>> trace.connections  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tcptrace_fsm.api import Connection, Trace, analyze
    from tcptrace_fsm.errors import CaptureError, UsageError
    from tcptrace_fsm.version import __version__

__all__ = ["CaptureError", "Connection", "Trace", "UsageError", "__version__", "analyze"]

_HOMES = {
    "analyze": "api",
    "Connection": "api",
    "Trace": "api",
    "CaptureError": "errors",
    "UsageError": "errors",
    "__version__": "version",
}


def __getattr__(name: str) -> Any:
    """Import public names when they are first used: a command that does not need them starts faster."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"tcptrace_fsm.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
