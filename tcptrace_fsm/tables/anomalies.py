"""The table of findings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tcptrace_fsm.capture.codes import FILE_SHIFT, FRAME_MASK
from tcptrace_fsm.core.columns import Alike
from tcptrace_fsm.core.finished import Findings
from tcptrace_fsm.tables import schema
from tcptrace_fsm.tables.arrow import ARROW_TYPES, listed, numbers, repeated, texts
from tcptrace_fsm.tables.columns import assemble
from tcptrace_fsm.tables.told import told

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tcptrace_fsm.capture.timeline import Origins
    from tcptrace_fsm.tables.told import Told

__all__ = ["findings_table", "placed"]


def findings_table(findings: Iterable[Any], origins: Origins | None = None) -> Any:
    """Make the anomalies table of these findings, ordered by connection and time."""
    given = told(findings if isinstance(findings, Findings) else Findings(findings)).in_order()
    if origins is not None:
        given = in_files(given, origins)
    arrays = [
        _column(column, given, None if origins is None else origins.names)
        for column in schema.declared("anomalies", files=origins is not None)
    ]
    return assemble("anomalies", arrays, files=origins is not None)


def _column(column: schema.Column, given: Told, names: Sequence[str] | None) -> Any:
    """One column of the table; ``names`` are those of the captures, where frames are codes."""
    if column.name == "message":
        return given.messages()
    if column.name in Alike._fields:
        return repeated([getattr(alike, column.name) for alike in given.alike], given.codes)
    if column.after == "frame":
        return repeated(names or (), np.where(given.frames < 0, -1, given.frames >> FILE_SHIFT))
    evidence = given.evidence
    if column.after:
        assert names is not None
        return listed(given.counts, texts([names[code >> FILE_SHIFT] for code in evidence.tolist()]))
    mask = -1 if names is None else FRAME_MASK
    if column.name == "frames":
        return listed(given.counts, numbers(evidence & mask))
    values = {"conn_id": given.numbers, "time": given.times, "frame": given.frames}[column.name]
    missing = values < 0 if column.nullable else None
    if column.frames:
        values = np.where(values < 0, -1, values & mask)
    return numbers(values, missing, ARROW_TYPES[column.type])


def in_files(given: Told, origins: Origins) -> Told:
    """The same with the codes of frames in the place of their numbers."""
    codes = origins.codes(np.concatenate((given.frames, given.evidence)))
    count = len(given.frames)
    return given._replace(frames=codes[:count], evidence=codes[count:])


def placed(finding: Any, origins: Origins) -> Any:
    """A finding with the codes of its frames."""
    frame = -1 if finding.frame is None else finding.frame
    codes = origins.codes(np.array([frame, *finding.frames], dtype=np.int64)).tolist()
    return finding._replace(frame=codes[0] if codes[0] >= 0 else None, frames=tuple(codes[1:]))
