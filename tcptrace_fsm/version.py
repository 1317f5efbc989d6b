"""The version, and what else a result depends on."""

from __future__ import annotations

__all__ = ["__version__", "slow_note", "versions"]

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


def slow_note() -> str:
    """Say what it costs that the kernels are not compiled, and how to mend it; empty where they are."""
    from pathlib import Path

    from tcptrace_fsm.kernels import compiled

    if compiled():
        return ""
    cost = "the kernels are not compiled: every result is the same, about 100 times slower"
    place = Path(__file__).parents[1]
    if (place / "setup.py").is_file():
        mend = f"this is the source tree {place}: 'pip install -e {place}' compiles them there"
    else:
        mend = "'pip install --force-reinstall --no-cache-dir' of what was installed compiles them"
    return f"{cost}; {mend}, where there are a C compiler and Python's headers (Debian: apt install gcc python3-dev)"
