"""Services as a DataFrame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.core.services import Service

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

__all__ = ["services_frame"]


def services_frame(services: Sequence[Service]) -> pd.DataFrame:
    """One row per service; times as timedelta64, whole numbers as integers that may be missing."""
    import pandas as pd

    frame = pd.DataFrame(list(services), columns=list(Service._fields))
    for name in ("response_median", "response_p95", "response_max", "rtt"):
        frame[name] = pd.to_timedelta(frame[name].astype("Int64"), unit="ns")
    frame["server_port"] = frame["server_port"].astype("uint16")
    frame["slowest_conn_id"] = frame["slowest_conn_id"].astype("Int64")
    for name in ("connections", "requests", "responses"):
        frame[name] = frame[name].astype("int64")
    return frame
