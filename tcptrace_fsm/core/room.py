"""Flat arrays of ``int64`` that grow in place.

The engine's arrays grow to hundreds of megabytes while a capture is read. To copy them at each step would need both
copies at once, and touch memory that may never be used; the system can move pages to another address instead, and
hands out zeros only where they are asked for.

Huge pages are not asked for. A virtual machine gives the memory of those that it has freed back to its host, and must
ask for it anew, page by page: a third of all the time went into that.
"""

from __future__ import annotations

import mmap
from array import array
from contextlib import suppress
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

__all__ = ["KEPT_WITH_TABLES", "copied", "grown", "keep_freed", "room", "zeros"]

WORD = 8
STEP = 1 << 16  # bytes; sizes are multiples of it
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
KEPT = 8 << 20  # bytes; more than the records of a block of connections have
KEPT_WITH_TABLES = 32 << 20  # more than a column of a row group; the most that glibc takes
PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}


ZERO = array("q", [0])


def zeros(n: int) -> array[int]:
    """An array of ``n`` zeros: in half the time that it takes to copy as many bytes into it."""
    return ZERO * n


def copied(source: Words, n: int) -> array[int]:
    """The first ``n`` words of what :func:`room` gave, in an array of their own."""
    copy = array("q")
    copy.frombytes(cast("memoryview", source)[:n].cast("B"))
    return copy


def room(n: int) -> memoryview:
    """An array of at least ``n`` zeros.

    Returns
    -------
    memoryview
        Of format ``q``.

    """
    return _words(mmap.mmap(-1, _bytes(n), **PRIVATE))


def grown(words: Words, n: int) -> memoryview:
    """What :func:`room` gave, with room for at least ``n`` words, in steps that keep the cost of growing linear.

    Returns
    -------
    memoryview
        With the same content, and zeros behind it. The one given is not to be used any more.

    """
    view = cast("memoryview", words)
    had = len(view)
    if had >= n:
        return view
    wanted = max(n, had + had // 2)
    memory = cast("mmap.mmap", view.obj)
    view.release()
    try:
        memory.resize(_bytes(wanted))
    except (SystemError, OSError, ValueError):  # not every system can move pages
        larger = mmap.mmap(-1, _bytes(wanted), **PRIVATE)
        larger[: WORD * had] = memory[: WORD * had]
        memory.close()
        memory = larger
    return _words(memory)


def keep_freed(size: int = KEPT) -> None:
    """Have the C library keep what is freed for the next to ask, where it lets itself be told so (glibc's mallopt).

    Each block of connections takes megabytes and frees them, each row group of a table tens of them. Given back to the
    system, they would come again page by page, zeroed anew. ``size``, in bytes, is that of the largest array to keep.
    """
    import ctypes

    with suppress(AttributeError, OSError, TypeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, 2 * size)
        mallopt(M_MMAP_THRESHOLD, size)


def _words(memory: mmap.mmap) -> memoryview:
    return memoryview(memory).cast("q")


def _bytes(n: int) -> int:
    return (WORD * max(n, 1) + STEP - 1) // STEP * STEP
