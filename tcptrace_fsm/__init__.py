"""Passive TCP analysis: the RFC 9293 state of each endpoint, on what evidence, and what went wrong.

>>> import tcptrace_fsm as tf
>>> trace = tf.analyze("capture.pcap", profile="linux")  # doctest: +SKIP
>>> trace.connections  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tcptrace_fsm.analysis import Connection, Trace, analyze
    from tcptrace_fsm.errors import CaptureError, UsageError

    __version__: str

__all__ = ["CaptureError", "Connection", "Trace", "UsageError", "__version__", "analyze"]

_HOMES = {
    "analyze": "analysis",
    "Connection": "analysis",
    "Trace": "analysis",
    "CaptureError": "errors",
    "UsageError": "errors",
}


def __getattr__(name: str) -> Any:
    """Import public names when they are first used: a command that does not need them starts faster."""
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            value: Any = version("tcptrace-fsm")
        except PackageNotFoundError:  # run from a source tree that was never installed
            value = "0+uninstalled"
    elif name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(f"tcptrace_fsm.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
