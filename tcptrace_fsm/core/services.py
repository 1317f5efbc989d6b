"""Services: how long the answers of each server took, added up as connections end.

The sums are made by a kernel, in a table that never grows beyond `MOST` services: whatever is on the way to the first
screen costs no Python for each connection.
"""

from __future__ import annotations

from array import array
from typing import NamedTuple

from tcptrace_fsm.core.room import zeros
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.kernels.services import add_services, move_services
from tcptrace_fsm.text.addresses import address_text, with_port

__all__ = ["MOST", "Service", "Services"]

MOST = 1000  # services with numbers of their own
_FEW = 16  # entries to begin with
_PARTS = 16  # buckets to an octave
_FIRST = 12  # the first octave begins at 2**12 ns


class Service(NamedTuple):
    """What is known of one service; times in ns, None where nothing was measured.

    Attributes
    ----------
    service : str
        ``10.0.0.2:8080``.
    server_ip, server_port : str, int
    connections : int
        With requests, in which the ends took turns.
    requests, responses : int
    response_median, response_p95, response_max : int or None
        Last byte of a request to the first byte of its answer, less the way.
    slowest_conn_id : int or None
        The connection with the slowest answer.
    rtt : int or None
        The network's share: the shortest way to the server and back, on the average of the connections.
    """

    service: str
    server_ip: str
    server_port: int
    connections: int
    requests: int
    responses: int
    response_median: int | None
    response_p95: int | None
    response_max: int | None
    slowest_conn_id: int | None
    rtt: int | None


class Services:
    """Sums by service; made when the first connection ends that has any."""

    def __init__(self) -> None:
        self._table: array[int] | None = None

    @property
    def left_out(self) -> int:
        """Connections of services without numbers of their own, because there were too many."""
        return 0 if self._table is None else self._table[k.SV_LEFT_OUT]

    def take(self, connections: array[int], count: int) -> None:
        """Add connections that are over."""
        if not count:
            return
        if self._table is None:
            self._table = _table(_FEW)
        done = 0
        while (done := add_services(done, count, MOST, connections, self._table)) < count:
            self._grow()

    def merge(self, other: Services) -> None:
        """Add what another has added up of other connections."""
        if other._table is None:
            return
        needed = other._table[k.SV_USED] + (self._table[k.SV_USED] if self._table is not None else 0)
        if self._table is None:
            self._table = _table(_FEW)
        while 4 * min(needed, MOST) > 3 * self._table[k.SV_SLOTS]:
            self._grow()
        move_services(MOST, other._table, self._table)

    def _grow(self) -> None:
        assert self._table is not None
        larger = _table(2 * self._table[k.SV_SLOTS])
        move_services(MOST, self._table, larger)
        self._table = larger

    def rows(self) -> list[Service]:
        """Give the services, that with the slowest answer first."""
        table = self._table
        if table is None:
            return []
        begins = range(k.SV_HEAD, len(table), k.SERVICE_SIZE)
        found = [_service(table[e : e + k.SERVICE_SIZE]) for e in begins if table[e + k.SERVICE_PORT] >= 0]
        return sorted(found, key=lambda s: (1 if s.response_max is None else -s.response_max, -s.requests, s.service))


def _table(slots: int) -> array[int]:
    table = zeros(k.SV_HEAD + slots * k.SERVICE_SIZE)
    table[k.SV_SLOTS] = slots
    table[k.SV_HEAD + k.SERVICE_PORT :: k.SERVICE_SIZE] = array("q", [-1]) * slots
    return table


def _service(entry: array[int]) -> Service:
    address = address_text(entry[k.SERVICE_HI], entry[k.SERVICE_LO], six=bool(entry[k.SERVICE_PORT] & 1))
    port = entry[k.SERVICE_PORT] >> 1
    n, ways = entry[k.SERVICE_RESPONSES], entry[k.SERVICE_WAYS]
    buckets = entry[k.SERVICE_BUCKETS :]
    return Service(
        service=with_port(address, port),
        server_ip=address,
        server_port=port,
        connections=entry[k.SERVICE_CONNECTIONS],
        requests=entry[k.SERVICE_REQUESTS],
        responses=n,
        response_median=_quantile(buckets, 0.5, entry[k.SERVICE_MAX]) if n else None,
        response_p95=_quantile(buckets, 0.95, entry[k.SERVICE_MAX]) if n else None,
        response_max=entry[k.SERVICE_MAX] if n else None,
        slowest_conn_id=entry[k.SERVICE_SLOWEST] if n else None,
        rtt=entry[k.SERVICE_WAY] // ways if ways else None,
    )


def _quantile(buckets: array[int], part: float, most: int) -> int:
    """The time within which this part of the answers came."""
    rank = part * sum(buckets)
    seen = 0
    for i, n in enumerate(buckets):
        if n and seen + n >= rank:
            low, high = _bound(i), _bound(i + 1)
            return min(most, round(low + (high - low) * (rank - seen) / n))
        seen += n
    return most


def _bound(bucket: int) -> int:
    """The shortest time in a bucket, ns; the first begins at nothing."""
    octave, part = divmod(bucket, _PARTS)
    return (_PARTS + part) << (_FIRST - 4 + octave) if bucket else 0
