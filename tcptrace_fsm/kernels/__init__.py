"""The compiled heart: integer-only Python over flat ``int64`` arrays.

Every file here is plain Python that runs as it stands. Where a C compiler is at hand, Cython's pure-Python mode
compiles these very files ahead of time; the small ``.pxd`` file beside each gives its functions C signatures. What is
called for every segment from several of them (:mod:`.plain`, :mod:`.sequence`, :mod:`.table`) becomes part of each
caller instead.

House rules, so that one source serves both:

* only ints and flat ``int64`` arrays (``array('q')``, or anything with the same buffer) and ``bytes``-like input;
* a record is a run of words in such an array: ``rows[c + FIELD]``, with the fields named in :mod:`.layout`;
* a truth value that is kept in a variable is written ``1 if test else 0`` (Cython would make a ``bool`` an object);
* results fit 64 signed bits, products are masked; no division or remainder of negative numbers;
* compiled functions run without the GIL and never raise: every index is in bounds by construction, and the same
  tests run uncompiled, where Python itself checks each of them.
"""

from __future__ import annotations

import sys
from importlib.machinery import EXTENSION_SUFFIXES
from typing import Protocol, TypeAlias

__all__ = ["Buffer", "Words", "compiled"]

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Bytes as they were captured."""


class Words(Protocol):
    """A flat array of ``int64``: ``array('q')``, or a ``memoryview`` cast to ``"q"``."""

    def __getitem__(self, index: int, /) -> int: ...

    def __setitem__(self, index: int, value: int, /) -> None: ...


def compiled() -> bool:
    """Whether the compiled kernels are the ones in use."""
    from tcptrace_fsm.kernels import decode

    return str(sys.modules[decode.__name__].__file__).endswith(tuple(EXTENSION_SUFFIXES))
