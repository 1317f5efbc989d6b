"""What compiled kernels do with memory and Python cannot: nothing, here.

``memory.pxd`` gives these their meaning in C: the address of an array's first word, so that functions pass one
pointer instead of a memoryview's description, and a hint to fetch a cache line that will be needed soon. This module is
never compiled; uncompiled kernels use it as it stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Buffer, Words

__all__ = ["octets", "pointer", "prefetch"]


def pointer(words: Words) -> Words:
    """The array itself; in C the address of its first word."""
    return words


def octets(content: Buffer) -> Buffer:
    """The bytes themselves; in C the address of the first."""
    return content


def prefetch(words: Words, i: int) -> int:  # noqa: ARG001
    """Nothing; in C a hint that word ``i`` is needed soon."""
    return 0
