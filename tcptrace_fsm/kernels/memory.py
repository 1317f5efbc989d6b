"""What compiled kernels do with memory and Python cannot: nothing, here.

``setup.py`` gives these their meaning in C: an array is the address of its first word there, and a cache line that will
be needed soon can be fetched early. This module is never compiled; uncompiled kernels use it as it stands.
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
