"""Links and tunnels: what may lie outside an IP packet.

:mod:`.links` has what every capture needs. The other modules, one for each family of layers, are loaded when the first
frame needs one of them (:func:`layers`).
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["layers"]


@cache
def layers() -> ModuleType:
    """The registry, with all layers in it."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    return import_module(f"{__name__}.registry")
