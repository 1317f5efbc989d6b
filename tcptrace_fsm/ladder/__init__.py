"""The ladder of a connection: its segments between two lifelines, each endpoint's states down its side.

`ladder_text` draws it for a terminal, `ladder_svg` as a picture; `ladder_style` is the CSS for a page with several.
"""

from __future__ import annotations

from tcptrace_fsm.ladder.picture import ladder_style, ladder_svg
from tcptrace_fsm.ladder.text import ladder_text

__all__ = ["ladder_style", "ladder_svg", "ladder_text"]
