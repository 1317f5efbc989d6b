"""The ladder of a connection: its segments between two lifelines, each endpoint's states down its side.

``ladder_text`` draws it for a terminal, ``ladder_svg`` as a picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tcptrace_fsm.conversation import Conversation

__all__ = ["ladder_svg", "ladder_text"]


def ladder_svg(conversation: Conversation, *, rows: int = 120, standalone: bool = True) -> str:
    """Draw a ladder as SVG.

    Parameters
    ----------
    conversation : Conversation
    rows : int
        Lines to fill at most; what does not fit is folded ("1,204 data segments").
    standalone : bool
        With its own style, which follows ``prefers-color-scheme``. False inside a page, which gives the style once
        (:func:`ladder_style`) and decides between light and dark itself.

    """
    raise NotImplementedError


def ladder_style() -> str:
    """CSS of every ladder, for a page that holds several."""
    raise NotImplementedError


def ladder_text(conversation: Conversation, *, width: int = 100, colour: bool = False, rows: int = 200) -> list[str]:
    """Draw a ladder in characters.

    Parameters
    ----------
    conversation : Conversation
    width : int
        Columns, 60 or more.
    colour : bool
        Whether to colour it with ANSI sequences.
    rows : int
        As of `ladder_svg`.

    """
    raise NotImplementedError
