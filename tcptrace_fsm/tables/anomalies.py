"""The table of findings."""

from __future__ import annotations

from itertools import chain, islice
from operator import itemgetter, lt
from typing import TYPE_CHECKING, Any

import numpy as np

from tcptrace_fsm.capture.codes import FILE_SHIFT, FRAME_MASK
from tcptrace_fsm.core.finished import Finding, Findings
from tcptrace_fsm.tables import schema
from tcptrace_fsm.tables.arrow import ARROW_TYPES, encoded, lists, numbers, text_lists, texts
from tcptrace_fsm.tables.columns import assemble

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tcptrace_fsm.capture.timeline import Origins

__all__ = ["findings_table", "placed"]

REPEATED = {"file", "side", "kind", "category", "severity", "basis", "rfc", "possible_artefact"}


def findings_table(findings: Iterable[Any], origins: Origins | None = None) -> Any:
    """Make the anomalies table of these findings, ordered by connection and time."""
    given = ordered(findings if isinstance(findings, Findings) else Findings(findings))
    if origins is not None:
        place(given, origins)
    arrays = []
    for column in schema.declared("anomalies", files=origins is not None):
        values: Any = given[column.after or column.name]
        if column.name == "frame" or column.after == "frame":
            values = [None if v is None or v < 0 else v for v in values]
        if origins is not None and column.after:
            names = origins.names
            if column.type == "string":
                values = [None if v is None else names[v >> FILE_SHIFT] for v in values]
            else:
                values = [[names[v >> FILE_SHIFT] for v in codes] for codes in values]
        elif origins is not None and column.frames:
            if column.type == "int64":
                values = [None if v is None else v & FRAME_MASK for v in values]
            else:
                values = [[v & FRAME_MASK for v in codes] for codes in values]
        if column.type == "list<int64>":
            arrays.append(lists(values))
        elif column.type == "list<string>":
            arrays.append(text_lists(values))
        elif column.name in REPEATED:
            arrays.append(encoded(values))
        elif column.type == "string":
            arrays.append(texts(values))
        else:
            found = np.array([-1 if v is None else v for v in values], dtype=np.int64)
            arrays.append(numbers(found, found < 0 if column.nullable else None, ARROW_TYPES[column.type]))
    return assemble("anomalies", arrays, files=origins is not None)


def ordered(findings: Findings) -> dict[str, list[Any]]:
    """What findings say, column by column, in the order of the table."""
    given = dict(zip(Finding._fields, findings.columns(), strict=True))
    numbers = [-1 if number is None else number for number in given["conn_id"]]
    if all(map(lt, numbers, numbers[1:])):
        return given
    sides = [side or "" for side in given["side"]]
    keys = [np.array(some, dtype=np.int64) for some in (numbers, given["time"], _ranks(given["kind"]), _ranks(sides))]
    order = np.lexsort(keys[::-1])
    same = np.logical_and.reduce([key[order[1:]] == key[order[:-1]] for key in keys])
    edges = np.diff(np.concatenate(([False], same, [False])).astype(np.int8))
    places, messages = order.tolist(), given["message"]
    for begin, end in zip(np.flatnonzero(edges > 0).tolist(), np.flatnonzero(edges < 0).tolist(), strict=True):
        places[begin : end + 1] = sorted(places[begin : end + 1], key=messages.__getitem__)
    in_order = itemgetter(*places)  # there are two at least
    return {name: list(in_order(column)) for name, column in given.items()}


def _ranks(texts: list[str]) -> list[int]:
    """Where each text stands among those that there are, in order."""
    ranks = {text: rank for rank, text in enumerate(sorted(set(texts)))}
    return [ranks[text] for text in texts]


def place(given: dict[str, list[Any]], origins: Origins) -> None:
    """Put the codes of frames in the place of their numbers."""
    frames = [-1 if frame is None else frame for frame in given["frame"]]
    flat = np.array([*frames, *chain.from_iterable(given["frames"])], dtype=np.int64)
    codes = iter(origins.codes(flat).tolist())
    given["frame"] = [code if code >= 0 else None for code in islice(codes, len(frames))]
    given["frames"] = [tuple(islice(codes, len(some))) for some in given["frames"]]


def placed(finding: Any, origins: Origins) -> Any:
    """A finding with the codes of its frames."""
    frame = -1 if finding.frame is None else finding.frame
    codes = origins.codes(np.array([frame, *finding.frames], dtype=np.int64)).tolist()
    return finding._replace(frame=codes[0] if codes[0] >= 0 else None, frames=tuple(codes[1:]))
