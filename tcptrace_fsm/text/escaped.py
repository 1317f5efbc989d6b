"""JSON that may be shown on a terminal."""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["json_text"]

_UNSEEN = re.compile("[^\n -~]")


def json_text(value: Any, indent: int | None = None) -> str:
    r"""JSON in UTF-8 letters; what would steer a terminal, or is half a letter, is written as an escape.

    >>> print(json_text(["\u00e9", "\u202e", "\x9b"]))
    ["\u00e9", "\\u202e", "\\u009b"]
    """
    return _UNSEEN.sub(_escaped, json.dumps(value, indent=indent, ensure_ascii=False))


def _escaped(found: re.Match[str]) -> str:
    return found[0] if found[0].isprintable() else json.dumps(found[0])[1:-1]
