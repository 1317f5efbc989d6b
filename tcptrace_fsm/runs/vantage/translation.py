"""Connections that bear other addresses or ports at the second point: translated (NAT) or balanced in between.

Sequence and acknowledgment numbers, lengths, windows and timestamps pass a translation as they are. What both captures
hold once, alike but for its addresses, is one segment, and tells what its connection is called at the other point. The
second capture's names are then replaced by the first one's, and all that follows knows one name only. What has its
numbers rewritten too, or ends at a proxy, has nothing in common and stays two connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.runs.vantage.sample import ACK, FRAME, NAMES, TSVAL, mixed, names_key
from tcptrace_fsm.text.addresses import socket_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tcptrace_fsm.runs.vantage.sample import Sample

    Words = NDArray[np.int64]

__all__ = ["Translation", "find_translation"]

REVERSED = [2, 3, 0, 1]  # source and target change places
IN_RECORD = [k.S_SRC_HI, k.S_SRC_LO, k.S_DST_HI, k.S_DST_LO, k.S_PORTS]


class Translation(NamedTuple):
    """What connections of the second capture are called in the first.

    Attributes
    ----------
    keys : uint64[n]
        Of names in the second capture, each way by itself, in order; a name that comes to mean another one has several.
    frames : int64[n]
        From which frame on.
    names : int64[n, 6]
        Network, addresses and ports in the first capture.
    connections : int
    example : tuple of str
        One connection's name in the second capture, and in the first.

    """

    keys: NDArray[np.uint64]
    frames: Words
    names: Words
    connections: int
    example: tuple[str, str]

    def rename(self, keys: NDArray[np.uint64], frames: Words) -> tuple[NDArray[np.bool_], Words]:
        """Tell which of some names have another one in the first capture, and which."""
        begin = np.searchsorted(self.keys, keys)
        begin = np.minimum(begin, len(self.keys) - 1)
        found = self.keys[begin] == keys
        end = np.searchsorted(self.keys, keys, side="right")
        at = begin.copy()
        for i in np.flatnonzero(found & (end - begin > 1)):
            since = self.frames[begin[i] : end[i]]
            at[i] += max(int(np.searchsorted(since, frames[i], side="right")) - 1, 0)
        return found, self.names[at[found]]

    def apply(self, records: Words) -> None:
        """Give segment records of the second capture their names in the first, in place."""
        names = records[:, [k.S_NET, *IN_RECORD]]
        found, others = self.rename(names_key(names), records[:, k.S_FRAME])
        for column, word in enumerate(IN_RECORD, 1):
            records[found, word] = others[:, column]

    def summary(self) -> dict[str, Any]:
        """What ``summary.json`` says of it."""
        second, first = self.example
        return {"connections": self.connections, "example": {"first": first, "second": second}}


def find_translation(one: Sample, other: Sample) -> Translation | None:
    """Find what connections of the second capture are called in the first; None where all have one name."""
    a, b = _once(one), _once(other)
    _, i, j = np.intersect1d(a[0], b[0], assume_unique=True, return_indices=True)
    first, second = a[1][i], b[1][j]
    here, there = names_key(first[:, NAMES]), names_key(second[:, NAMES])
    same = here == there
    moved = ~same & ((first[:, NAMES[0]] ^ second[:, NAMES[0]]) & 1 == 0) & ~np.isin(there, there[same])
    moved &= ~_doubtful(here, there, first)
    if not moved.any():
        return None
    first, second, there = first[moved], second[moved], there[moved]
    earliest = int(np.argmin(second[:, FRAME]))
    example = named(second[earliest, NAMES]), named(first[earliest, NAMES])
    back = names_key(reverse(second[:, NAMES]))
    alone = ~np.isin(back, there)  # nothing of the other way was matched
    keys = np.concatenate([there, back[alone]])
    frames = np.concatenate([second[:, FRAME], second[alone, FRAME]])
    names = np.concatenate([first[:, NAMES], reverse(first[alone][:, NAMES])])
    by = np.lexsort((frames, keys))
    keys, frames, names = keys[by], frames[by], names[by]
    begins = np.ones(len(keys), dtype=bool)
    begins[1:] = (keys[1:] != keys[:-1]) | (names[1:, 1:] != names[:-1, 1:]).any(axis=1)
    keys, frames, names = keys[begins], frames[begins], names[begins]
    return Translation(keys, frames, names, _connections(second, first), example)


def _once(sample: Sample) -> tuple[NDArray[np.uint64], Words]:
    """Contents that a capture holds under one name only, and the first row of each."""
    _, unplaced, rows = sample.all()
    order = np.lexsort((rows[:, FRAME], unplaced))
    u, key = unplaced[order], names_key(rows[order][:, NAMES])
    begin = np.ones(len(u), dtype=bool)
    begin[1:] = u[1:] != u[:-1]
    group = np.cumsum(begin) - 1
    several = np.zeros(int(begin.sum()), dtype=bool)
    np.logical_or.at(several, group[1:], (key[1:] != key[:-1]) & ~begin[1:])
    return u[begin][~several], rows[order[begin]][~several]


def _doubtful(here: NDArray[np.uint64], there: NDArray[np.uint64], first: Words) -> NDArray[np.bool_]:
    """Pairs of names that nothing but one number has in common: any two connections may.

    Sequence and acknowledgment number, or a timestamp beside the sequence number, are 64 bits.
    """
    telling = (first[:, ACK] != 0) | (first[:, TSVAL] > 0)
    pairs = mixed([here.view(np.int64), there.view(np.int64)])
    _, pair = np.unique(pairs, return_inverse=True)
    count, told = np.bincount(pair), np.bincount(pair, weights=telling)
    alone: NDArray[np.bool_] = (told == 0) & (count < 2)
    return alone[pair]


def reverse(names: Words) -> Words:
    """The same names for what is sent the other way."""
    ports = names[:, 5]
    swapped = (ports & 0xFFFF) << 16 | ports >> 16
    return np.column_stack([names[:, 0], names[:, 1:5][:, REVERSED], swapped])


def named(names: Words) -> str:
    """Source and target, as text."""
    net, *addresses, ports = map(int, names)
    six = bool(net & 1)
    source = socket_text(addresses[0], addresses[1], ports >> 16, six=six)
    return f"{source} > {socket_text(addresses[2], addresses[3], ports & 0xFFFF, six=six)}"


def _connections(second: Words, first: Words) -> int:
    """How many connections these segments are of, whichever way they went."""
    ways = [mixed([names_key(n[:, NAMES]).view(np.int64) for n in (second, first)])]
    ways.append(mixed([names_key(reverse(n[:, NAMES])).view(np.int64) for n in (second, first)]))
    return len(np.unique(np.minimum(*ways)))
