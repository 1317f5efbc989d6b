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

__version__ = "0.1.0"  # pyproject.toml reads it here: to ask for what is installed takes as long as a small capture
__all__ = ["CaptureError", "Connection", "Trace", "UsageError", "__version__", "analyze"]

_HOMES = {
    "analyze": "api",
    "Connection": "api",
    "Trace": "api",
    "CaptureError": "errors",
    "UsageError": "errors",
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
