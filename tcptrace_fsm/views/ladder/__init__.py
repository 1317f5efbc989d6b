"""The ladder of a connection: its segments between two lifelines, each endpoint's states down its side.

`ladder_text` draws it for a terminal, `ladder_svg` as a picture; `ladder_style` is the CSS for a page with several.
`Ladder` is what a notebook gets: it shows itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.views.ladder.picture import MOST_DRAWN, ladder_style, ladder_svg
from tcptrace_fsm.views.ladder.text import MOST_PRINTED, ladder_text, plainer

if TYPE_CHECKING:
    from tcptrace_fsm.views.conversation import Conversation

__all__ = ["MOST_DRAWN", "MOST_PRINTED", "Ladder", "ladder_style", "ladder_svg", "ladder_text", "plainer"]


class Ladder:
    """A ladder that shows itself: as a picture in a notebook, in characters elsewhere.

    Attributes
    ----------
    conversation : Conversation
        What it draws.

    """

    def __init__(self, conversation: Conversation, *, most: int | None = None) -> None:
        self.conversation = conversation
        self._most = most

    @property
    def svg(self) -> str:
        """The picture, an SVG file's text."""
        return ladder_svg(self.conversation, most=self._most or MOST_DRAWN)

    def __str__(self) -> str:
        from tcptrace_fsm.text.terminal import terminal_width

        return "\n".join(ladder_text(self.conversation, width=terminal_width(), most=self._most or MOST_PRINTED))

    __repr__ = __str__

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_html_(self) -> str:
        # A notebook has grounds of its own; the picture brings its paper and follows the reader's light or dark.
        return f'<div style="max-width:100%;overflow-x:auto">{self.svg}</div>'
