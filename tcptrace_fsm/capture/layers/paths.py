"""The paths around IP packets that a process has met, as the kernels keep them (:mod:`tcptrace_fsm.kernels.paths`).

A code is made of the words of its path alone, so that it means the same in every process.
"""

from __future__ import annotations

import os
import sys
from array import array

from tcptrace_fsm.kernels.layout import (
    P_CODE,
    P_LETTERS,
    P_TEXT,
    PT_COUNT,
    PT_MIX,
    PT_MOST,
    PT_ROOM,
    PT_SEED,
    PT_STORE,
    PT_TOP,
    WY_TEXT,
)
from tcptrace_fsm.kernels.paths import count_letters, note_path, write_paths

__all__ = ["Paths"]

MOST_PATHS = 65536
"""Paths that get a code of their own; a hostile capture can make up any number of them."""
MIX = 0x1E3779B97F4A7C15  # an odd number without a pattern: 2**61 divided by the golden ratio
FIRST_ROOM = 4096  # words


def packed(letters: bytes) -> array[int]:
    """Letters as kernels have them, eight to a word, the first one lowest."""
    words = array("q")
    words.frombytes(letters + bytes(-len(letters) % 8))
    if sys.byteorder == "big":
        words.byteswap()
    return words


def unpacked(words: array[int], count: int) -> bytes:
    """The first ``count`` letters of such words."""
    if sys.byteorder == "big":
        words = array("q", words)
        words.byteswap()
    return words.tobytes()[:count]


class Paths:
    """Paths and their codes.

    Parameters
    ----------
    most : int
        How many get a code of their own.

    Attributes
    ----------
    words : array('q')
        The kernels' array, :mod:`tcptrace_fsm.kernels.layout.tunnels`; empty until there is a path.
    """

    def __init__(self, most: int = MOST_PATHS) -> None:
        self.most = most
        self.words = array("q")

    def grow(self) -> array[int]:
        """Make room for more paths."""
        if self.words:
            self.words.extend(array("q", bytes(8 * (len(self.words) - PT_STORE))))
        else:
            self.words = array("q", bytes(8 * (PT_STORE + FIRST_ROOM)))
            self.words[PT_TOP], self.words[PT_MOST], self.words[PT_MIX] = PT_STORE, self.most, MIX
            self.words[PT_SEED] = int.from_bytes(os.urandom(7), "big") | 1
        self.words[PT_ROOM] = len(self.words)
        return self.words

    def code(self, text: str) -> int:
        """The code of a path: negative, the same for all that are beyond counting."""
        letters = text.encode()
        words, code = packed(letters) or array("q", [0]), 0
        while not code:
            code = note_path(words, len(letters), self.words) if self.words else 0
            if not code:
                self.grow()
        return code

    def texts(self, codes: array[int]) -> tuple[array[int], bytes | None]:
        """How many letters each code stands for, -1 where it was not met; and all of them, if all were met."""
        lengths = array("q", bytes(8 * len(codes)))
        if not codes:
            return lengths, b""
        words = self.words or self.grow()
        count = count_letters(len(codes), codes, words, lengths)
        if min(lengths) < 0:
            return lengths, None
        out = array("q", bytes(8 * WY_TEXT + (count + 7 & ~7)))
        write_paths(len(codes), codes, words, out)
        return lengths, unpacked(out[WY_TEXT:], count)

    def name(self, code: int) -> str | None:
        """What a code stands for; None where it was not met."""
        letters = self.texts(array("q", [code]))[1]
        return None if letters is None else letters.decode()

    def names(self) -> dict[int, str]:
        """All paths by their codes."""
        found, at = {}, PT_STORE
        for _ in range(self.words[PT_COUNT] if self.words else 0):
            letters = self.words[at + P_LETTERS]
            stop = at + P_TEXT + (letters + 7 >> 3)
            found[self.words[at + P_CODE]] = unpacked(self.words[at + P_TEXT : stop], letters).decode()
            at = stop
        return found
