"""The terminal that text is written to."""

from __future__ import annotations

import shutil

__all__ = ["terminal_width"]


def terminal_width() -> int:
    """Columns of the terminal; what suits a file where there is none."""
    return min(shutil.get_terminal_size((100, 24)).columns, 140)
