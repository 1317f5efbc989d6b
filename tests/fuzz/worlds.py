"""The program several times in one process: on compiled kernels, on plain Python, on kernels that sanitizers watch.

A world is all modules of the package, loaded for it alone. What a world runs finds its own modules, whenever it imports
them.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

PACKAGE = "tcptrace_fsm"
COMPILED = f"{PACKAGE}.kernels._compiled"


def _take_away() -> dict[str, ModuleType]:
    mine = {name: module for name, module in sys.modules.items() if name.split(".")[0] == PACKAGE}
    for name in mine:
        del sys.modules[name]
    return mine


class World:
    """The package on kernels of one kind.

    Parameters
    ----------
    kernels : "installed", "plain" or path
        As built, as plain Python, or the extension of that path.

    """

    def __init__(self, kernels: str | Path) -> None:
        self._modules: dict[str, ModuleType] = {}
        with self.entered():
            if kernels == "plain":
                sys.modules[COMPILED] = None  # whoever imports it is told that it is not there
            elif kernels != "installed":
                spec = importlib.util.spec_from_file_location(COMPILED, kernels)
                extension = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(extension)
                sys.modules[COMPILED] = extension
            importlib.import_module(PACKAGE)
            importlib.import_module(f"{PACKAGE}.kernels")
            if sys.modules.get(COMPILED, 0) is None:
                del sys.modules[COMPILED]
            self.compiled = self.module("kernels").compiled()

    @contextmanager
    def entered(self) -> Iterator[World]:
        """Let what runs meanwhile find this world's modules."""
        outside = _take_away()
        sys.modules.update(self._modules)
        try:
            yield self
        finally:
            self._modules = _take_away()
            sys.modules.update(outside)

    def module(self, name: str) -> ModuleType:
        """One of its modules; only while it is entered."""
        return importlib.import_module(f"{PACKAGE}.{name}")
