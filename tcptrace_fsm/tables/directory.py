"""What stands in a directory of tables: ``summary.json`` says which of the files are ours."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from tcptrace_fsm.errors import OutputError
from tcptrace_fsm.tables.names import TABLE_NAMES
from tcptrace_fsm.tables.writers import FORMATS
from tcptrace_fsm.text.escaped import json_text
from tcptrace_fsm.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


__all__ = ["SUMMARY", "left_here", "refuse_foreign", "remove", "summary_text"]

SUMMARY = "summary.json"


def summary_text(summary: dict[str, Any], tables: Sequence[str], form: str) -> str:
    """``summary.json``, which says what was written beside it: a later run may replace that, and nothing else."""
    options = {**summary.get("options", {}), "tables": list(tables), "format": form}
    versions = summary.get("versions") or {"tcptrace-fsm": __version__}
    return json_text({**summary, "options": options, "versions": versions}, indent=2) + "\n"


def left_here(directory: Path) -> set[str]:
    """The files and data sets that an earlier run left in a directory, as its ``summary.json`` tells."""
    try:
        summary = json.loads((directory / SUMMARY).read_text(encoding="utf-8"))
        options = summary["options"] if "tcptrace-fsm" in summary["versions"] else {}
        suffix = FORMATS[options["format"]].suffix
        return {f"{name}{suffix}" for name in options["tables"] if name in TABLE_NAMES}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def refuse_foreign(directory: Path, names: Sequence[str]) -> None:
    """Refuse to write over what somebody else has put there.

    Raises
    ------
    OutputError
        When one of these names is taken and no earlier run says that it is its own.

    """
    own = left_here(directory)
    for name in names:
        if name not in own and os.path.lexists(directory / name):
            raise OutputError(
                f"cannot write to {directory}: {name} is there already, and {SUMMARY} does not say that it is from an "
                "earlier run; remove it or choose another directory"
            )


def remove(path: Path) -> None:
    """Remove what an earlier run left, a file or a data set."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
