"""SYNs inside live connections, which belong to a connection only once it is known what followed them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tcptrace_fsm.kernels import layout as k

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Words = NDArray[np.int64]

__all__ = ["Undecided"]

UNDECIDED = 65536
"""Segments of no connection yet (SYNs inside others) that are kept until it is known whose they are."""
_TUPLE = [k.S_NET, k.S_SRC_HI, k.S_SRC_LO, k.S_DST_HI, k.S_DST_LO, k.S_PORTS]


def _either_way(records: Words, one: int, other: int, ports: int) -> Words:
    """Give a number for each four-tuple that is the same in both directions; different ones may share it."""
    both = records[:, ports]
    return records[:, one] ^ records[:, other] ^ ((both >> 16 ^ both & 0xFFFF) << 32)


class Undecided:
    """SYNs inside live connections, of which only what follows tells whether they begin another.

    When they are tracked they belong to no connection yet (``conn_id`` -1); here they find the one that they belong to.
    """

    def __init__(self) -> None:
        self._records: list[Words] = []
        self._count = 0
        self._owners: dict[int, int] = {}  # frame of a connection's first segment to its conn_id
        self._around: list[Words] = []  # connections that one of them may have fallen into

    def take_segments(self, records: Words) -> None:
        """Take labelled segments, of which only the undecided are kept."""
        undecided = records[(records[:, k.S_CONNECTION] < 0) & (records[:, k.S_FLAGS] & k.TCP_BROKEN == 0)]
        if len(undecided) and self._count < UNDECIDED:
            self._records.append(undecided)
            self._count += len(undecided)

    def take(self, connections: Words) -> None:
        """Learn of connections that are over: which of them began with an undecided SYN, or were live when one came."""
        if self._count:
            records = np.concatenate(self._records)
            for c in connections[np.isin(connections[:, k.C_FIRST_FRAME], records[:, k.S_FRAME])]:
                self._owners[int(c[k.C_FIRST_FRAME])] = int(c[k.C_ID])
            ours = _either_way(connections, k.C_CLIENT_LO, k.C_SERVER_LO, k.C_PORTS)
            opened = _either_way(records, k.S_SRC_LO, k.S_DST_LO, k.S_PORTS)
            self._around.append(connections[np.isin(ours, opened)])

    def adopted(self) -> Words:
        """Give the undecided SYNs, numbered: those that began a connection, and those that fell into one."""
        taken = []
        begun: dict[tuple[int, ...], int] = {}  # attempt (four-tuple and ISN) to the connection that came of it
        live: dict[tuple[int, ...], list[tuple[int, Words]]] = {}  # four-tuple to the sender's side, and the connection
        for c in np.concatenate(self._around) if self._around else ():
            client, server = (c[k.C_CLIENT_HI], c[k.C_CLIENT_LO]), (c[k.C_SERVER_HI], c[k.C_SERVER_LO])
            ports = int(c[k.C_PORTS])
            back = (ports & 0xFFFF) << 16 | ports >> 16
            for side, ends in (
                (k.CLIENT, (c[k.C_NET], *client, *server, ports)),
                (k.SERVER, (c[k.C_NET], *server, *client, back)),
            ):
                live.setdefault(tuple(map(int, ends)), []).append((side, c))
        for record in np.concatenate(self._records) if self._records else ():
            key = tuple(map(int, record[_TUPLE]))
            attempt, frame = (*key, int(record[k.S_SEQ])), int(record[k.S_FRAME])
            if frame in self._owners:
                begun[attempt] = self._owners[frame]
            copy = record.copy()
            if attempt in begun:
                copy[k.S_CONNECTION] = begun[attempt]
                taken.append(copy)
                continue
            open_then = [
                (int(c[k.C_FIRST_FRAME]), side, int(c[k.C_ID]))
                for side, c in live.get(key, ())
                if c[k.C_FIRST_FRAME] <= frame and (c[k.C_TAKEN_OVER] < 0 or frame < c[k.C_TAKEN_FRAME])
            ]
            if open_then:
                _, copy[k.S_SIDE], copy[k.S_CONNECTION] = max(open_then)
                taken.append(copy)
        return np.array(taken) if taken else np.empty((0, k.SEGMENT_SIZE), dtype=np.int64)
