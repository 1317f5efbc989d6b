"""The kernels as the tests run them: as installed, and always also as plain Python with every index watched."""

from __future__ import annotations

import importlib.util
import sys
from array import array
from pathlib import Path

import tcptrace_fsm.kernels

FOLDER = Path(tcptrace_fsm.kernels.__file__).parent


def uncompiled(name: str):
    """The kernel module ``name`` from its source, whatever is compiled beside it."""
    spec = importlib.util.spec_from_file_location(f"uncompiled_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def uncompiled_with(name: str, *others: str):
    """The same where it takes functions of ``others``, which kernels alone call: those as plain Python too."""
    full = [f"tcptrace_fsm.kernels.{other}" for other in others]
    before = {module: sys.modules.get(module) for module in full}
    try:
        for module, other in zip(full, others, strict=True):
            sys.modules[module] = uncompiled(other)
        return uncompiled(name)
    finally:
        for module, was in before.items():
            if was is None:
                del sys.modules[module]
            else:
                sys.modules[module] = was


class Watched:
    """A sequence that refuses negative indices, which Python would quietly count from the end, and values over 64 bits.

    ``low`` and ``high`` bound the indices that may be used.
    """

    def __init__(self, content, low=0, high=None):
        self.content = content
        self.low = low
        self.high = len(content) if high is None else high

    def _check(self, index):
        if not self.low <= index < self.high:
            raise AssertionError(f"index {index} outside {self.low} ... {self.high - 1}")

    def __len__(self):
        return len(self.content)

    def __getitem__(self, index):
        if isinstance(index, slice):
            self._check(index.start)
            self._check(index.stop - 1)
        else:
            self._check(index)
        return self.content[index]

    def __setitem__(self, index, value):
        self._check(index)
        self.content[index] = value  # an array('q') refuses what does not fit 64 signed bits


def words(count: int):
    return array("q", bytes(8 * count))
