"""The table of diagnoses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tcptrace_fsm.capture.codes import FILE_SHIFT, FRAME_MASK
from tcptrace_fsm.tables import schema
from tcptrace_fsm.tables.arrow import ARROW_TYPES, lists, numbers, text_lists, texts
from tcptrace_fsm.tables.columns import assemble

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tcptrace_fsm.capture.timeline import Origins
    from tcptrace_fsm.causes.cause import Diagnosis

__all__ = ["diagnoses_table"]


def diagnoses_table(diagnoses: Sequence[Diagnosis], origins: Origins | None = None) -> Any:
    """Make the table of diagnoses, in their order; frames of several captures are named with their capture."""
    rows = [d._asdict() for d in diagnoses]
    if origins is not None:
        codes = origins.codes(np.array([-1 if d.frame is None else d.frame for d in diagnoses], dtype=np.int64))
        for row, code in zip(rows, codes.tolist(), strict=True):
            row["frame"] = code & FRAME_MASK if code >= 0 else None
            row["file"] = origins.names[code >> FILE_SHIFT] if code >= 0 else None
    arrays = []
    for column in schema.declared("diagnoses", files=origins is not None):
        values = [row[column.name] for row in rows]
        if column.type == "list<int64>":
            arrays.append(lists(values))
        elif column.type == "list<string>":
            arrays.append(text_lists(values))
        elif column.type == "string":
            arrays.append(texts(values))
        else:
            found = np.array([-1 if v is None else v for v in values], dtype=np.int64)
            arrays.append(numbers(found, found < 0 if column.nullable else None, ARROW_TYPES[column.type]))
    return assemble("diagnoses", arrays, files=origins is not None)
