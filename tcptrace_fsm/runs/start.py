"""Which kind of run does the work: one process, several, or a cluster."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.kernels import compiled
from tcptrace_fsm.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tcptrace_fsm.capture.sources import Source
    from tcptrace_fsm.core.settings import Settings

__all__ = ["check_shareable", "new_run"]


def check_shareable(settings: Settings) -> None:
    """Refuse settings with which the work cannot be shared.

    Raises
    ------
    UsageError

    """
    if settings.follow:
        raise UsageError("--follow reads one capture as it grows, which cannot be shared by --jobs or --dask")
    if settings.merge_vantage:
        raise UsageError("--merge-vantage reads two captures side by side, which --jobs and --dask cannot share")


def new_run(captured: Sequence[Source], settings: Settings, *, jobs: int | None = None, client: Any = None) -> Run:
    """Make the run that does the work.

    Parameters
    ----------
    captured : sequence of path or binary file
    settings : Settings
    jobs : int or None
        Processors that share the work; None or 1 for one. Two read one capture with one process of several threads,
        which costs little more than to do one thing after the other; more are so many processes.
    client : dask.distributed.Client or None
        Of the cluster that is to share it.

    """
    if client is None and jobs in (None, 1):
        return Run(captured, settings)
    check_shareable(settings)
    # Several processes hand out finished tables: what they read is read again where its segments are wanted.
    shared = replace(settings, segments=False)
    if client is not None:
        from tcptrace_fsm.runs.cluster import Cluster

        return Cluster(captured, shared, client=client)
    if jobs == 2 and len(captured) == 1 and compiled():  # kernels that are not compiled let no other thread run
        from tcptrace_fsm.runs.pipeline import Pipeline

        return Pipeline(captured, settings)
    from tcptrace_fsm.runs.jobs import Jobs

    assert jobs is not None  # or there is a cluster
    return Jobs(captured, shared, jobs=jobs)
