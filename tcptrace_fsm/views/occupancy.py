"""How many endpoints were in each state, over time: what a ``netstat`` every moment would have counted.

A sweep over changes, not a loop over moments: each change of state takes one from the count of the state that is left
and adds one to that of the state that is entered, and running sums do the rest. What is counted, and from when, is as
in :mod:`tcptrace_fsm.views.netstat`: an endpoint exists from its connection's first segment to its CLOSED, a listener
from
the first connection that shows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tcptrace_fsm.core.words import STATES
from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.tcp.machine import State
from tcptrace_fsm.text.addresses import address_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd
    from numpy.typing import NDArray

    Words = NDArray[np.int64]

__all__ = ["COUNTED", "Sweep", "grid"]

COUNTED = tuple(name for name in STATES if name != "CLOSED")
"""The columns: an endpoint that is CLOSED is in no list of sockets."""

MOST_ROWS = 10_000_000
_COLUMN = np.array([COUNTED.index(name) if name in COUNTED else -1 for name in STATES])
# A four-tuple's endpoint is never a listener: where the machine has it back in LISTEN, the listener is counted already.
_COLUMN_OF_ENDPOINT = np.where(np.arange(len(_COLUMN)) == State.LISTEN, -1, _COLUMN)


class _Changes(NamedTuple):
    """Changes of counts: when, at which host, in which column, and by how much (1 or -1)."""

    time: Words
    host: Words
    column: Words
    by: Words


class Sweep:
    """All changes of state of a trace, ready to be counted.

    Parameters
    ----------
    finished : iterable of Finished
        What the engine gave, all of it.
    until : int or None
        What comes later is not counted: the capture's end, ns since 1970 UTC.

    Attributes
    ----------
    hosts : list of str
        Every address, in canonical text.

    """

    def __init__(self, finished: Iterable[Any], until: int | None = None) -> None:
        finished = list(finished)
        rows = [_records(f.connections, f.count, k.CONNECTION_SIZE)[:, _CONNECTION_WORDS] for f in finished if f.count]
        connections = np.concatenate(rows) if rows else np.empty((0, len(_CONNECTION_WORDS)), dtype=np.int64)
        parts = [
            _records(f.transitions, f.transition_count, k.TRANSITION_SIZE)[:, _TRANSITION_WORDS]
            for f in finished
            if f.transition_count
        ]
        changes = np.concatenate(parts) if parts else np.empty((0, len(_TRANSITION_WORDS)), dtype=np.int64)
        hosts = np.empty(2 * len(connections), dtype=[("six", np.int64), ("high", np.int64), ("low", np.int64)])
        for side, (high, low) in enumerate(((3, 4), (5, 6))):
            hosts["six"][side::2] = connections[:, 2] & 1
            hosts["high"][side::2], hosts["low"][side::2] = connections[:, high], connections[:, low]
        distinct, host = np.unique(hosts, return_inverse=True)
        self.hosts = [address_text(high, low, six=bool(six)) for six, high, low in distinct.tolist()]
        swept = _sweep(connections, changes, host.reshape(-1))
        if until is not None:
            swept = _Changes(*(values[swept.time <= until] for values in swept))
        self._changes = swept

    @property
    def changes(self) -> int:
        """How many changes of counts there are, at most as many moments."""
        return len(self._changes.time)

    def counts(self, *, host: str | None = None, at: Words | None = None) -> tuple[Words, Words]:
        """Count endpoints by state.

        Parameters
        ----------
        host : str or None
            Only those of this address, in canonical text.
        at : int64[n], ns since 1970 UTC, ascending, or None
            The moments at which to count; None for every moment at which some count changes.

        Returns
        -------
        times : int64[n], ns
        counts : int64[n, len(COUNTED)]

        """
        changes = self._changes
        if host is not None:
            number = self.hosts.index(host) if host in self.hosts else -1
            changes = _Changes(*(values[changes.host == number] for values in changes))
        times = np.unique(changes.time) if at is None else at
        # A change counts from the first of the moments that is not before it.
        place = np.searchsorted(times, changes.time, side="left")
        kept = place < len(times)
        steps = _added(place[kept], changes.column[kept], changes.by[kept], len(times))
        return times, np.cumsum(steps, axis=0)

    def counts_by_host(self) -> tuple[Words, Words, Words]:
        """Count endpoints by state, host by host, at every moment at which some count of that host changes.

        Returns
        -------
        host : int64[n]
            Index into ``hosts``, ascending.
        times : int64[n], ns
            Ascending for each host.
        counts : int64[n, len(COUNTED)]

        """
        changes = self._changes
        order = np.lexsort((changes.time, changes.host))
        host, time = changes.host[order], changes.time[order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = (host[1:] != host[:-1]) | (time[1:] != time[:-1])
        row = np.cumsum(new) - 1
        first = np.flatnonzero(new)
        host, time = host[first], time[first]
        total = np.cumsum(_added(row, changes.column[order], changes.by[order], len(first)), axis=0)
        begins = np.flatnonzero(np.append(True, host[1:] != host[:-1])) if len(host) else np.empty(0, dtype=np.int64)
        before = np.zeros((len(begins), len(COUNTED)), dtype=np.int64)
        before[1:] = total[begins[1:] - 1]
        lengths = np.diff(np.append(begins, len(host)))
        return host, time, total - np.repeat(before, lengths, axis=0)

    def frame(self, *, host: str | None = None, at: Words | None = None) -> pd.DataFrame:
        """Make the DataFrame of :meth:`counts`: a row for each moment, a column for each state."""
        import pandas as pd

        times, counts = self.counts(host=host, at=at)
        return pd.DataFrame(counts, index=_index(times), columns=pd.Index(COUNTED))

    def frame_by_host(self) -> pd.DataFrame:
        """Make the DataFrame of :meth:`counts_by_host`: a row for each host and moment, a column for each state."""
        import pandas as pd

        host, times, counts = self.counts_by_host()
        index = pd.MultiIndex.from_arrays(
            [pd.Index(self.hosts, dtype=object).take(host), _index(times)], names=["host", "time"]
        )
        return pd.DataFrame(counts, index=index, columns=pd.Index(COUNTED))


_CONNECTION_WORDS = np.array(
    [
        *(k.C_ID, k.C_FIRST_TIME, k.C_NET, k.C_CLIENT_HI, k.C_CLIENT_LO, k.C_SERVER_HI, k.C_SERVER_LO, k.C_PORTS),
        *(k.C_CLIENT_STATE, k.C_SERVER_STATE),
    ]
)
_TRANSITION_WORDS = np.array([k.T_CONNECTION, k.T_SIDE, k.T_TIME, k.T_FROM, k.T_TO])


def _records(block: Any, count: int, size: int) -> Words:
    return np.frombuffer(block, dtype=np.int64, count=count * size).reshape(count, size)


def _index(times: Words) -> pd.DatetimeIndex:
    import pandas as pd

    return pd.DatetimeIndex(times.astype("datetime64[ns]"), tz="UTC", name="time")


def _added(row: Words, column: Words, by: Words, rows: int) -> Words:
    """Add up what falls into the same row and column."""
    flat = np.bincount(row * len(COUNTED) + column, weights=by, minlength=rows * len(COUNTED))
    return flat.astype(np.int64).reshape(rows, len(COUNTED))


def _sweep(connections: Words, changes: Words, host: Words) -> _Changes:
    """Turn connections and their transitions into changes of counts.

    An endpoint's place is twice its connection's place among the rows, plus its side.
    """
    by_id = np.argsort(connections[:, 0], kind="stable")
    owner = (
        by_id[np.searchsorted(connections[by_id, 0], changes[:, 0])] if len(changes) else np.empty(0, dtype=np.int64)
    )
    end = 2 * owner + changes[:, 1]
    order = np.argsort(end, kind="stable")  # of one endpoint they are in order of time already
    end, changes = end[order], changes[order]
    # Nothing exists before the connection's first segment: what is dated earlier holds from there.
    begun = np.repeat(connections[:, 1], 2)
    time = np.maximum(changes[:, 2], begun[end])
    first = np.flatnonzero(np.append(True, end[1:] != end[:-1])) if len(end) else np.empty(0, dtype=np.int64)
    begin_state = connections[:, 8:10].reshape(-1).copy()
    begin_state[end[first]] = changes[first, 3]
    left = np.empty(len(end), dtype=np.int64)
    left[1:] = changes[:-1, 4]
    left[first] = changes[first, 3]
    listening = first[(end[first] & 1 == k.SERVER) & (changes[first, 3] == State.LISTEN)]
    listeners, since = _listeners(connections, end[listening] >> 1, time[listening])
    column = _COLUMN_OF_ENDPOINT
    made = [
        (begun, host, column[begin_state], 1),
        (time, host[end], column[left], -1),
        (time, host[end], column[changes[:, 4]], 1),
        (since, host[2 * listeners + k.SERVER], np.full(len(listeners), _COLUMN[State.LISTEN]), 1),
    ]
    parts = []
    for when, where, what, by in made:
        counted = what >= 0
        parts.append((when[counted], where[counted], what[counted], np.full(int(counted.sum()), by)))
    return _Changes(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def _listeners(connections: Words, owner: Words, since: Words) -> tuple[Words, Words]:
    """Give each listener once: a connection that shows it, and the first moment at which one does."""
    socket = np.empty(len(owner), dtype=[(name, np.int64) for name in ("six", "high", "low", "port")])
    socket["six"] = connections[owner, 2] & 1
    socket["high"], socket["low"], socket["port"] = (
        connections[owner, 5],
        connections[owner, 6],
        connections[owner, 7] & 0xFFFF,
    )
    order = np.argsort(since, kind="stable")
    _, earliest = np.unique(socket[order], return_index=True)
    return owner[order][earliest], since[order][earliest]


def grid(span: tuple[int | None, int | None], step: float) -> Words:
    """Give the moments at which to count, ns: every ``step`` seconds from the first capture time to the last.

    Raises
    ------
    UsageError
        For a step that is no length of time, or so short that the rows would be too many.

    """
    if not 1e-9 <= step < 1e9:
        raise UsageError(f"a step is a number of seconds above 0, not {step!r}")
    first, last = span
    if first is None or last is None:
        return np.empty(0, dtype=np.int64)
    pace = round(step * 1e9)
    rows = (last - first) // pace + 1
    if rows > MOST_ROWS:
        raise UsageError(
            f"a step of {step:g} s makes {rows:,} rows; {(last - first) / 1e9 / MOST_ROWS:.3g} s is the least"
        )
    return first + pace * np.arange(rows, dtype=np.int64)
