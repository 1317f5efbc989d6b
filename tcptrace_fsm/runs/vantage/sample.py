"""The first reading of each capture: the segments of which the two are compared, and whether it lacks frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tcptrace_fsm.capture.containers import open_capture
from tcptrace_fsm.core.engine import Engine
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.kernels import layout as k

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tcptrace_fsm.tcp.profiles import Profile

    Words = NDArray[np.int64]

__all__ = ["SAMPLE", "Sample", "mixed", "survey"]

SAMPLE = 1 << 18  # segments kept of each capture to compare them
LASTING = k.TCP_FIN | k.TCP_SYN | k.TCP_RST | k.TCP_ACK | k.TCP_URG
ODD = np.uint64(0x9E3779B97F4A7C15)
# What is kept of a segment, and in which column.
KEPT = (
    *(k.S_TIME, k.S_FRAME, k.S_SRC_HI, k.S_SRC_LO, k.S_DST_HI, k.S_DST_LO, k.S_NET, k.S_IP_ID, k.S_TTL),
    *(k.S_PORTS, k.S_ACK, k.S_TSVAL),
)
TIME, FRAME, SRC_HI, SRC_LO, DST_HI, DST_LO, NET, IP_ID, TTL, PORTS, ACK, TSVAL = range(len(KEPT))
ENDS = (k.S_SRC_LO, k.S_DST_LO, k.S_PORTS, k.S_SRC_HI, k.S_DST_HI)
NAMED = tuple(KEPT.index(word) for word in ENDS)
NAMES = [NET, SRC_HI, SRC_LO, DST_HI, DST_LO, PORTS]
SYN_SHIFT = np.uint64(6)  # SYNs are kept rather than others: by them a connection that is translated is known


def mixed(columns: Sequence[Words]) -> NDArray[np.uint64]:
    """Hash rows of words: alike in both captures, whatever their order."""
    h = np.full(len(columns[0]), 0x243F6A8885A308D3, dtype=np.uint64)
    for column in columns:
        h = (h ^ column.view(np.uint64)) * ODD
        h ^= h >> np.uint64(29)
    return h


def names_key(names: Words) -> NDArray[np.uint64]:
    """Hash network, addresses and ports, as in ``NAMES``; the tunnel does not count."""
    columns = np.ascontiguousarray(names.T)
    columns[0] &= 1
    return mixed(list(columns))


class Sample:
    """The segments of a capture whose content has the smallest hashes, and what else the first reading shows.

    The hash that decides leaves addresses and ports out: both captures keep the same segments, translated or not.
    """

    def __init__(self, limit: int = SAMPLE) -> None:
        self._limit = limit
        self._below = np.uint64(2**64 - 1)
        self._parts: list[tuple[NDArray[np.uint64], NDArray[np.uint64], Words]] = []
        self._count = 0
        self.nets: set[int] = set()
        self.segments = 0
        self.frames = 0
        self.first_time: int | None = None
        self.last_time: int | None = None
        self.lacks = False
        self.name = ""

    def add(self, batch: Any) -> None:
        """Take the segments of a batch."""
        if not batch.count:
            return
        size = k.SEGMENT_SIZE
        r = np.frombuffer(batch.segments, dtype=np.int64, count=batch.count * size).reshape(-1, size)
        self.segments += batch.count
        self.nets.update(np.unique(r[:, k.S_NET]).tolist())
        flags = r[:, k.S_FLAGS] & LASTING
        numbers = [np.ascontiguousarray(r[:, w]) for w in (k.S_SEQ, k.S_ACK, k.S_LEN, k.S_TSVAL, k.S_TSECR, k.S_WINDOW)]
        ends = [np.ascontiguousarray(r[:, w]) for w in ENDS]
        unplaced = mixed([flags, *numbers])
        unplaced = np.where(flags & (k.TCP_SYN | k.TCP_ACK) == k.TCP_SYN, unplaced >> SYN_SHIFT, unplaced)
        content = mixed([unplaced.view(np.int64), *ends])
        chosen = unplaced <= self._below
        self._parts.append((content[chosen], unplaced[chosen], r[chosen][:, KEPT]))
        self._count += int(chosen.sum())
        if self._count > 2 * self._limit:
            self._shrink()

    @property
    def below(self) -> np.uint64:
        """The greatest hash that the sample may have."""
        return self._below

    def _shrink(self) -> None:
        content, unplaced, rows = self.all()
        order = np.argpartition(unplaced, self._limit)[: self._limit]
        order.sort()
        self._parts = [(content[order], unplaced[order], rows[order])]
        self._count = self._limit
        self._below = unplaced[order].max()

    def rename(self, found: NDArray[np.bool_], names: Words) -> None:
        """Give the segments that were found other names, as in ``NAMES``."""
        content, unplaced, rows = self.all()
        rows[np.flatnonzero(found)[:, None], NAMES[1:]] = names[:, 1:]
        content[found] = mixed([unplaced[found].view(np.int64), *(rows[found, column] for column in NAMED)])
        self._parts = [(content, unplaced, rows)]

    def all(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64], Words]:
        """Return hashes of content, the same without addresses and ports, and the kept words, one row per segment."""
        if not self._parts:
            none = np.empty(0, dtype=np.uint64)
            return none, none, np.empty((0, len(KEPT)), dtype=np.int64)
        content, unplaced, rows = (np.concatenate(part) for part in zip(*self._parts, strict=True))
        return content, unplaced, rows


def survey(source: str, profile: Profile, limit: int = SAMPLE) -> Sample:
    """Read a capture once for what two of them are compared by."""
    sample = Sample(limit)
    capture = open_capture(source)
    engine = Engine(Settings(profile))
    unseen = 0
    for batch in capture.segments():
        sample.add(batch)
        engine.feed(batch)
        unseen += _unseen(engine)
    engine.finish()
    unseen += _unseen(engine)
    sample.name = capture.name
    sample.frames = capture.frames
    sample.first_time, sample.last_time = capture.first_time, capture.last_time
    sample.lacks = bool(unseen or capture.dropped)
    return sample


def _unseen(engine: Engine) -> int:
    """Count connections, captured from their SYN on, in which more was acknowledged than the capture has."""
    count = 0
    while (finished := engine.take()) is not None:
        size = k.CONNECTION_SIZE
        rows = np.frombuffer(finished.connections, dtype=np.int64, count=finished.count * size).reshape(-1, size)
        whole = rows[:, k.C_FLAGS] & k.CF_MIDSTREAM == 0
        unseen = rows[:, k.C_MARKS] & k.M_ACK_UNSEEN != 0
        for own, peer in ((0, k.ENDPOINT_SIZE), (k.ENDPOINT_SIZE, 0)):
            own_words, peer_words = rows[:, k.C_ENDPOINTS + own :], rows[:, k.C_ENDPOINTS + peer :]
            acked, fin = peer_words[:, k.E_ACK], own_words[:, k.E_FIN]
            unseen |= acked - 1 - ((fin >= 0) & (acked >= fin)) > own_words[:, k.E_UNIQUE]
        count += int((whole & unseen).sum())
    return count
