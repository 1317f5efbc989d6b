"""How to read the notation of examples, wherever one is shown."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from tcptrace_fsm.tcp.notation import LEGEND

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["legend_lines"]


def legend_lines(width: int) -> Iterator[str]:
    """Explain the notation, in lines of ``width`` columns."""
    yield "how to read the examples:"
    for text in LEGEND:
        yield from textwrap.wrap(text, width, initial_indent="  - ", subsequent_indent="    ")
