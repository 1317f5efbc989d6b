"""What is declared of a column."""

from __future__ import annotations

from typing import NamedTuple

from tcptrace_fsm.core.words import SIDES
from tcptrace_fsm.kernels import layout

__all__ = ["Column", "column_of"]


class Column(NamedTuple):
    """One column.

    Attributes
    ----------
    name : str
    type : str
        ``int64``, ``int32``, ``uint16``, ``float64``, ``string``, ``timestamp`` (ns, UTC), ``duration`` (ns),
        ``list<int64>`` or ``list<string>``.
    meaning : str
        One line.
    source : str
        A word of the record, by its name in ``layout``, or the derivation in words.
    null : str
        What null means; empty where the column has none.
    unit : str
    word : int or None
        Offset of the source in its record, where the column is a word of it.
    absent : int or None
        The value of that word that becomes null.
    words : tuple of str or None
        Where there are few values: all of them. For a word that is a code: what the codes mean.
    frames : bool
        Whether it holds frame numbers.
    after : str
        For a column that there is only where there are several captures: the column before it, which holds the frame
        of which this one names the capture.
    ordered : bool
        Whether ``words`` go from the least to the most.

    """

    name: str
    type: str
    meaning: str
    source: str
    null: str = ""
    unit: str = ""
    word: int | None = None
    absent: int | None = None
    words: tuple[str, ...] | None = None
    frames: bool = False
    after: str = ""
    ordered: bool = False

    @property
    def choices(self) -> tuple[str, ...] | None:
        """The values that it can have, null aside, where they are few."""
        return self.words[1:] if self.words and self.absent == 0 else self.words

    @property
    def categorical(self) -> bool:
        """Whether it is a category in pandas. With nulls it stays text: a category refuses ``fillna("none")``."""
        return self.choices is not None and not self.nullable

    @property
    def nullable(self) -> bool:
        """Whether the column may hold nulls."""
        return bool(self.null)


def column_of(
    name: str,
    source: str,
    meaning: str,
    *,
    kind: str = "int64",
    null: str = "",
    absent: int | None = -1,
    unit: str = "",
    words: tuple[str, ...] | None = None,
    side: int | None = None,
) -> Column:
    """Declare a column that is a word of its record."""
    place = int(getattr(layout, source))
    if side is not None:
        place += layout.C_ENDPOINTS + side * layout.ENDPOINT_SIZE
        source = f"{SIDES[side]}'s {source}"
    kind = "string" if words else kind
    frames = source in {
        "C_FIRST_FRAME",
        "C_LAST_FRAME",
        "T_FRAME",
        "T_CONFIRMED_BY",
        "S_FRAME",
        "WT_BEFORE",
        "WT_AFTER",
    }
    unit = unit or ("ns" if kind == "duration" else "ns, UTC" if kind == "timestamp" else "")
    return Column(name, kind, meaning, source, null, unit, place, absent if null else None, words, frames)
