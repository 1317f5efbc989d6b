"""Passive TCP analysis: the RFC 9293 state of each endpoint, on what evidence, and what went wrong."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("tcptrace-fsm")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+uninstalled"
