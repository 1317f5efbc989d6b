"""The whole pipeline in one call: captures in, a trace out.

>>> import tcptrace_fsm as tf
>>> trace = tf.analyze("capture.pcap", profile="linux")  # doctest: +SKIP
>>> trace.connections[["client_ip", "server_ip", "opening", "closing"]]  # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tcptrace_fsm.api.trace import Trace, new_segment_table
from tcptrace_fsm.capture.packets import Packets, packets
from tcptrace_fsm.capture.remote import is_remote
from tcptrace_fsm.capture.sources import sources
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.runs.run import Run
from tcptrace_fsm.runs.sinks import Kept, SegmentSink
from tcptrace_fsm.runs.start import new_run
from tcptrace_fsm.tables.writers import check_tables
from tcptrace_fsm.tcp.profiles import Profile
from tcptrace_fsm.tcp.profiles import profile as find_profile

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tcptrace_fsm.capture.sources import Source
    from tcptrace_fsm.runs.sinks import Sink

__all__ = ["analyze"]


def analyze(
    source: Source | Iterable[Source] | Iterable[tuple[Any, Any]],
    *,
    linktype: int | None = None,
    profile: str | Profile = "linux",
    time_wait: float | None = None,
    fin_timeout: float | None = None,
    tables: Sequence[str] | None = None,
    filter: str | None = None,  # noqa: A002 - as the command line's --filter
    jobs: int = 1,
    client: Any = None,
    taken_at: Sequence[str] = (),
    merge_vantage: bool = False,
    learn_timers: bool = False,
) -> Trace:
    """Analyse captures.

    Parameters
    ----------
    source : path, binary file object, several of them, or packets
        ``-`` is standard input. Several captures, a directory or a pattern are one timeline. Packets are a reader with
        ``datalink()`` (``dpkt.pcap.Reader``, ``dpkt.pcapng.Reader``, pypcap), or with ``linktype`` any iterable of
        (timestamp, bytes): seconds as float or Decimal, or ns as int.
    linktype : int or None
        LINKTYPE_ number of the packets' frames, such as 1 for Ethernet, 101 for IP.
    profile : str or Profile
        Whose timers the hosts have: ``linux``, ``rfc9293``, ``bsd`` or ``windows``.
    time_wait, fin_timeout : float or None
        Seconds; replace the profile's.
    tables : sequence of str or None
        Name ``segments`` among them to keep every segment's row from the first reading on.
    filter : str or None
        Look only at the frames that this expression keeps, in tcpdump's language (pcap-filter(7)).
    taken_at : sequence of str
        Addresses of the host that took the captures: what they show arriving there has arrived.
    jobs : int
        Processors that share the work.
    client : dask.distributed.Client or None
        Whose workers are to share the work; they must see the captures under the same names.
    merge_vantage : bool
        Take the two captures for ones of the same connections, at or near their two hosts: what was lost in between is
        then known, and the one-way delays.
    learn_timers : bool
        Read the captures once before, for what each host shows of its own timers, and go by that instead of the
        profile; changes that rest on it have the basis ``learned``.

    Returns
    -------
    Trace

    Raises
    ------
    CaptureError
        When a capture cannot be read.
    UsageError
        When an argument makes no sense.

    """
    if not isinstance(profile, Profile):
        profile = find_profile(profile, time_wait=time_wait, fin_timeout=fin_timeout)
    elif time_wait is not None or fin_timeout is not None:
        raise UsageError("time_wait and fin_timeout go with a profile's name; a Profile has its own")
    settings = Settings(
        profile,
        taken_at=tuple(taken_at),
        filter=filter,
        learn_timers=learn_timers,
        merge_vantage=merge_vantage,
        segments="segments" in check_tables(tables),
    )
    given = packets(source, linktype)
    captured = sources(cast("Any", source if given is None else given))
    return _gone(captured, new_run(captured, settings, jobs=jobs, client=client))


def _gone(captured: Sequence[Source], run: Run) -> Trace:
    """Let a run go, and keep what it finds."""
    kept, table = Kept(), None
    sinks: list[Sink] = [kept]
    if run.settings.segments:
        table = new_segment_table(run.origins)
        sinks.append(SegmentSink(table))
    run.go(sinks)

    def once_more(**more: Any) -> Run:
        fresh = [c.fresh() if isinstance(c, Packets) else c for c in captured]
        return Run(cast("Any", fresh), replace(run.settings, segments=True, learn_timers=False, **more))

    return Trace(run, kept, once_more if all(map(_rereadable, captured)) else None, table)


def _rereadable(source: Any) -> bool:
    """Whether a capture that was read once can be read again."""
    if isinstance(source, Packets):
        return source.again
    return isinstance(source, str) and (is_remote(source) or Path(source).is_file())
