"""The command line."""

from __future__ import annotations

from tcptrace_fsm.cli.app import main

__all__ = ["main"]
