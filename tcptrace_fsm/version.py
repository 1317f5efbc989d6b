"""The version, and what else a result depends on."""

from __future__ import annotations

__all__ = ["__version__", "versions"]

__version__ = "0.1.0"  # pyproject.toml reads it here: to ask for what is installed takes as long as a small capture


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    import sys

    from tcptrace_fsm.kernels import compiled

    return {
        "tcptrace-fsm": __version__,
        "kernels": "compiled" if compiled() else "uncompiled",
        "python": sys.version.split()[0],
    }
