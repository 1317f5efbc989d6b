"""The compiled heart: integer-only Python over flat ``int64`` arrays.

Every file here is plain Python that runs as it stands. Where a C compiler is at hand, ``setup.py`` writes the functions
of all of them into one source, with the types that their annotations say, and Cython compiles it ahead of time to the
one extension ``_compiled``. Where it is there, it takes the place of these files.

House rules, so that one source serves both:

* parameters are annotated ``int`` (64 bits, signed), ``Words``, ``Buffer`` or a record of :mod:`.records`, and nothing
  else; a file holds functions and no constants (those stand in :mod:`.layout`), and no two files have a function of the
  same name;
* ``__all__`` names what Python calls; a file whose functions only other kernels call has none. A function that Python
  calls is not called by kernels;
* only ints and flat ``int64`` arrays (``array('q')``, or anything with the same buffer) and ``bytes``-like input;
* a function takes seven arguments at most: what travels together is a record of :mod:`.records`, which Python makes and
  hands over where it calls;
* a record is a run of words in such an array: ``rows[c + FIELD]``, with the fields named in :mod:`.layout`; the replay
  names them as fields, ``tcb.row.marks``, by :mod:`.records`;
* a truth value that is kept in a variable is written ``1 if test else 0`` (Cython would make a ``bool`` an object);
* results fit 64 signed bits, products are masked; no division or remainder of negative numbers;
* compiled functions run without the GIL and never raise: every index is in bounds by construction, and the same
  tests run uncompiled, where Python itself checks each of them.
"""

from __future__ import annotations

import os
import sys
import warnings
import zlib
from importlib import import_module
from types import ModuleType
from typing import Protocol, TypeAlias

__all__ = ["Buffer", "Words", "compiled"]

Buffer: TypeAlias = bytes | bytearray | memoryview
"""Bytes as they were captured."""


class Words(Protocol):
    """A flat array of ``int64``: ``array('q')``, or a ``memoryview`` cast to ``"q"``."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> int: ...

    def __setitem__(self, index: int, value: int, /) -> None: ...


def compiled() -> bool:
    """Whether the compiled kernels are the ones in use."""
    return f"{__name__}._compiled" in sys.modules


def edited(sources: dict[str, int]) -> list[str]:
    """Kernels that differ from what was compiled: records have other sizes there, and memory would be overrun."""
    now, folders = {}, [("", os.path.dirname(__file__))]
    while folders:
        inside, folder = folders.pop()
        for entry in os.scandir(folder):
            if entry.name.endswith(".py") and entry.name not in {"__init__.py", "memory.py"}:
                with open(entry.path, "rb") as source:
                    text = source.read()
                if b"\r" in text:
                    text = text.replace(b"\r\n", b"\n")
                now[inside + entry.name[:-3]] = zlib.crc32(text)
            elif entry.is_dir():
                folders.append((f"{inside}{entry.name}/", entry.path))
    return sorted(name for name in {*now, *sources} if now and now.get(name) != sources.get(name))


def _take_compiled() -> None:
    """Put what is compiled in the place of the modules that it was compiled from."""
    try:
        extension = import_module(f"{__name__}._compiled")
    except ModuleNotFoundError:
        return
    if changed := edited(extension.SOURCES):
        del sys.modules[extension.__name__]
        names = ", ".join(changed)
        warnings.warn(
            f"kernels changed since they were compiled ({names}): pip install -e . again; slow until then",
            RuntimeWarning,
            stacklevel=2,
        )
        return
    for kernel, functions in extension.KERNELS.items():
        module = ModuleType(f"{__name__}.{kernel}")
        vars(module).update({name: getattr(extension, name) for name in functions})
        sys.modules[module.__name__] = globals()[kernel] = module


_take_compiled()
