"""Findings column by column: what is alike in many is said once, and what they say is kept in parts.

A message consists of texts and of names that are filled in. Tables put messages together by a kernel, all at once;
:func:`filled` is the readable twin, for one.
"""

from __future__ import annotations

import re
from array import array
from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.core.grouping import Order, in_order
from tcptrace_fsm.core.room import zeros
from tcptrace_fsm.kernels.layout import PIECE_CLIENT, PIECE_FRAME, PIECE_SERVER, PIECE_TEXT, SE_SIX, SENTENCE_SIZE
from tcptrace_fsm.kernels.sentences import rising
from tcptrace_fsm.text.addresses import address_text, socket_text

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "NAMES_SIZE",
    "NO_CLIENT",
    "NO_FRAME",
    "NO_SERVER",
    "Alike",
    "Columns",
    "Piece",
    "evidence_of",
    "filled",
    "groups_in",
    "parted",
]

NO_CLIENT, NO_SERVER, NO_FRAME = "\0", "\1", "\2"
"""What stands in the places of names, and of the number of a frame."""
BLANKS = {NO_CLIENT: PIECE_CLIENT, NO_SERVER: PIECE_SERVER, NO_FRAME: PIECE_FRAME}
BLANK = re.compile(f"([{''.join(BLANKS)}])")
NAMES_SIZE = SENTENCE_SIZE - SE_SIX
"""Words of what is filled in: SE_SIX and what follows."""


class Piece(NamedTuple):
    """A part of a message: ``PIECE_...``, and of a text its letters."""

    what: int
    text: str = ""


def parted(text: str) -> tuple[Piece, ...]:
    r"""A text that lacks names, in pieces.

    >>> [piece.text or piece.what for piece in parted("\1 and \0 met")]
    [2, ' and ', 1, ' met']
    """
    return tuple(
        Piece(BLANKS.get(part, PIECE_TEXT), "" if part in BLANKS else part) for part in BLANK.split(text) if part
    )


def filled(pieces: Sequence[Piece], names: Sequence[int]) -> str:
    """The message of which these are the pieces, and ``NAMES_SIZE`` words that are filled in."""
    six, frame, said = bool(names[0]), names[-1], []
    for what, text in pieces:
        if what == PIECE_TEXT:
            said.append(text)
        elif what == PIECE_FRAME:
            said.append(str(frame))
        else:
            high, low, port = names[1:4] if what == PIECE_CLIENT else names[4:7]
            alone = port < 0
            said.append(address_text(high, low, six=six) if alone else socket_text(high, low, port, six=six))
    return "".join(said)


class Alike(NamedTuple):
    """What many findings have in common, as in :class:`tcptrace_fsm.core.finished.Finding`."""

    side: str | None
    kind: str
    category: str
    severity: str
    basis: str
    rfc: str
    possible_artefact: str | None


class Columns(NamedTuple):
    """Some findings, column by column; numbers are those of :class:`tcptrace_fsm.core.finished.Finding`.

    Attributes
    ----------
    conn_ids, times, frames : array('q')
    groups : array('q')
        Which of those that are alike each one is of.
    alike : list of Alike
    pieces : list of tuple of Piece
        The messages of each group, without names.
    names : array('q')
        ``NAMES_SIZE`` words of each.
    counts, evidence : array('q')
        How many frames of evidence each has, and all of them.
    """

    conn_ids: array[int]
    times: array[int]
    frames: array[int]
    groups: array[int]
    alike: list[Alike]
    pieces: list[tuple[Piece, ...]]
    names: array[int]
    counts: array[int]
    evidence: array[int]


def evidence_of(begins: array[int], counts: array[int], frames: array[int]) -> tuple[array[int], array[int]]:
    """The frames of evidence of findings, each one's in order and once: how many, and all of them.

    >>> evidence_of(array("q", [0, 3]), array("q", [3, 1]), array("q", [8, 7, 8, 5]))
    (array('q', [2, 1]), array('q', [7, 8, 5]))
    """
    if counts.count(1) == len(counts):
        return counts, in_order(begins, frames)
    out, odd = zeros(sum(counts)), zeros(len(counts))
    n = rising(len(counts), begins, counts, frames or array("q", [0]), out or array("q", [0]), odd)
    if n:
        each = [frames[begin : begin + count] for begin, count in zip(begins, counts, strict=True)]
        for i in odd[:n]:
            each[i] = array("q", sorted(set(each[i])))
        counts, out = array("q", map(len, each)), array("q")
        for some in each:
            out += some
    return counts, out


def groups_in(records: array[int], size: int) -> tuple[array[int], array[int]]:
    """Which records are equal: the group of each, and the first one of each group."""
    order = Order(records, size, size)
    return order.ranks(), order.firsts(order.distinct)
