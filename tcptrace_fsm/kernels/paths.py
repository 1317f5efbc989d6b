"""Paths: what lies around IP packets, in words, each under a code that is made of the words.

A capture may wrap every packet another way. Where paths are written by a kernel, they are numbered and kept here; they
come into Python when a table shows them. Two paths never share a code: the second of two that would is given the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *
from tcptrace_fsm.kernels.names import *
from tcptrace_fsm.kernels.sequence import *
from tcptrace_fsm.kernels.table import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

__all__ = ["count_letters", "note_path", "write_paths"]


def slot_of(code: int, paths: Words) -> int:
    """Where a code stands, or the free slot where it would."""
    i = stir(paths[PT_SEED], code, paths[PT_SEED]) & (SLOT_COUNT - 1)
    while paths[PT_SLOTS + i] and paths[paths[PT_SLOTS + i] + P_CODE] != code:
        i = (i + 1) & (SLOT_COUNT - 1)
    return PT_SLOTS + i


def is_text(path: int, text: Words, at: int, letters: int, paths: Words) -> int:
    """Whether a path is written so: 1 or 0."""
    if paths[path + P_LETTERS] != letters:
        return 0
    i = 0
    while i < (letters + 7) >> 3:
        if paths[path + P_TEXT + i] != text[at + i]:
            return 0
        i += 1
    return 1


def code_of(text: Words, at: int, letters: int, paths: Words) -> int:
    """The code of the path that is written at ``at``: negative; 0 where there is no room for another one."""
    count = (letters + 7) >> 3
    h = stir(paths[PT_MIX], letters, paths[PT_MIX])
    i = 0
    while i < count:
        h = stir(h, text[at + i], paths[PT_MIX])
        i += 1
    code = -2 - (h & (bit(CODE_BITS) - 1))
    slot = slot_of(code, paths)
    while paths[slot]:
        if is_text(paths[slot], text, at, letters, paths):
            return code
        code -= 1  # another path has that code
        slot = slot_of(code, paths)
    if paths[PT_COUNT] >= paths[PT_MOST]:
        return CODE_OVERFLOW
    path = paths[PT_TOP]
    if path + P_TEXT + count > paths[PT_ROOM]:
        return 0
    paths[slot] = path
    paths[path + P_CODE] = code
    paths[path + P_LETTERS] = letters
    i = 0
    while i < count:
        paths[path + P_TEXT + i] = text[at + i]
        i += 1
    paths[PT_TOP] = path + P_TEXT + count
    paths[PT_COUNT] += 1
    return code


def note_path(text: Words, letters: int, paths: Words) -> int:
    """The code of a path, eight letters to a word, the first one lowest; 0 where there is no room for another one."""
    return code_of(text, 0, letters, paths)


# --- words ------------------------------------------------------------------------------------------------------------


def put_tags(code: int, way: Words) -> int:
    """Write the VLAN tags that a positive code stands for."""
    i = code & 7
    while i > 0:
        i -= 1
        put_name(NAME_VLAN, way)
        put_letter(32, way)
        put_number(code >> (3 + 12 * i) & 0xFFF, way)
        if i:
            put_letter(47, way)
    return way[WY_LETTERS]


def tag_letters(code: int) -> int:
    """How many letters these take."""
    n = code & 7
    letters = 6 * n - (1 if n else 0)  # with the stroke between two
    while n > 0:
        n -= 1
        tag = code >> (3 + 12 * n) & 0xFFF
        letters += 1 + (1 if tag > 9 else 0) + (1 if tag > 99 else 0) + (1 if tag > 999 else 0)
    return letters


def count_letters(count: int, codes: Words, paths: Words, out: Words) -> int:
    """How many letters each of some codes stands for, -1 where it is not known. Returns how many in all."""
    total = count - count
    i = 0
    while i < count:
        if codes[i] >= 0:
            out[i] = tag_letters(codes[i])
        else:
            path = paths[slot_of(codes[i], paths)]
            out[i] = paths[path + P_LETTERS] if path else -1
        total += max(out[i], 0)
        i += 1
    return total


def write_paths(count: int, codes: Words, paths: Words, out: Words) -> int:
    """Write what some codes that are known stand for, one after the other. Returns how many letters there are.

    Parameters
    ----------
    count : int
    codes : int64[count]
    paths : int64 array
    out : int64 array
        Letters from word ``WY_TEXT`` on, eight to a word; ``WY_LETTERS`` counts them.
    """
    i = 0
    while i < count:
        if codes[i] >= 0:
            put_tags(codes[i], out)
        else:
            path = paths[slot_of(codes[i], paths)]
            j = 0
            while j < paths[path + P_LETTERS]:
                put_letter(paths[path + P_TEXT + (j >> 3)] >> ((j & 7) * 8) & 255, out)
                j += 1
        i += 1
    return out[WY_LETTERS]
