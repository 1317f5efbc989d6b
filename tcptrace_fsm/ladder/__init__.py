"""The ladder of a connection: its segments between two lifelines, each endpoint's states down its side.

`ladder_text` draws it for a terminal, `ladder_svg` as a picture; `ladder_style` is the CSS for a page with several.
"""

from __future__ import annotations

from tcptrace_fsm.ladder.picture import MOST_DRAWN, ladder_style, ladder_svg
from tcptrace_fsm.ladder.text import MOST_PRINTED, ladder_text, plainer

__all__ = ["MOST_DRAWN", "MOST_PRINTED", "ladder_style", "ladder_svg", "ladder_text", "plainer"]
