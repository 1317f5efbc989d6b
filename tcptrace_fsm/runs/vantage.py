"""Two captures of the same connections, taken at or near their two hosts, made one.

Read once to compare them: what both hold, how their clocks stand to each other, which host is at which point, whether
one of them lacks frames. Then read again, side by side, and paired segment by segment
(:mod:`tcptrace_fsm.kernels.pair`): a segment that one point saw and the other did not was lost between them.

The clocks. A segment from the first point to the second takes ``d``; its stamps differ by ``d + offset``. One the other
way makes them differ by ``offset - d'``. Delays are not negative, so the offset lies below all differences of the one
kind and above all of the other, at each moment: a line between two hulls (Moon, Skelly and Towsley, "Estimation and
removal of clock skew from network delay measurements", INFOCOM 1999). Of all lines, that which keeps the greatest
distance from both is taken; it gives the least delay the same length both ways, and is off by that much at most. How an
unequal path divides, no pair of captures can show.

What is kept of the first reading is a sample of segments, the same one in both captures: those whose content has the
smallest hashes (Broder, "On the resemblance and containment of documents", 1997). Small captures are kept whole.
"""

from __future__ import annotations

import os
from array import array
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from tcptrace_fsm.capture.codes import FILE_SHIFT
from tcptrace_fsm.capture.containers import open_capture
from tcptrace_fsm.core.engine import Engine
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.findings.rule import SECOND
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.kernels.pair import know_hosts, pair, tidy_ways

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from tcptrace_fsm.capture.timeline import Origins
    from tcptrace_fsm.tcp.profiles import Profile

    Words = NDArray[np.int64]

__all__ = ["Clock", "Comparison", "Merged", "compare", "merge"]

SAMPLE = 1 << 18  # segments kept of each capture to compare them
DRIFT = 500e-6  # more than any clock of a computer is off, as a share
RING = 1 << 18  # segments that may wait for their counterpart
FOREVER = (1 << 62) - 1
LASTING = k.TCP_FIN | k.TCP_SYN | k.TCP_RST | k.TCP_ACK | k.TCP_URG
ODD = np.uint64(0x9E3779B97F4A7C15)


# --- the first reading ------------------------------------------------------------------------------------------------
_KEPT = (*(k.S_TIME, k.S_FRAME, k.S_SRC_HI, k.S_SRC_LO, k.S_DST_HI, k.S_DST_LO, k.S_NET, k.S_IP_ID, k.S_TTL),)
_TIME, _FRAME, _SRC_HI, _SRC_LO, _DST_HI, _DST_LO, _NET, _IP_ID, _TTL = range(len(_KEPT))


def _mixed(columns: Sequence[Words]) -> NDArray[np.uint64]:
    """Hash rows of words: alike in both captures, whatever their order."""
    h = np.full(len(columns[0]), 0x243F6A8885A308D3, dtype=np.uint64)
    for column in columns:
        h = (h ^ column.view(np.uint64)) * ODD
        h ^= h >> np.uint64(29)
    return h


class Sample:
    """The segments of a capture whose content has the smallest hashes, and what else the first reading shows."""

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
        ends = [np.ascontiguousarray(r[:, w]) for w in (k.S_SRC_LO, k.S_DST_LO, k.S_PORTS, k.S_SRC_HI, k.S_DST_HI)]
        unplaced = _mixed([flags, *numbers])
        content = _mixed([unplaced.view(np.int64), *ends])
        chosen = content <= self._below
        self._parts.append((content[chosen], unplaced[chosen], r[chosen][:, _KEPT]))
        self._count += int(chosen.sum())
        if self._count > 2 * self._limit:
            self._shrink()

    @property
    def below(self) -> np.uint64:
        """The greatest hash that the sample may have."""
        return self._below

    def _shrink(self) -> None:
        content, unplaced, rows = self.all()
        order = np.argpartition(content, self._limit)[: self._limit]
        order.sort()
        self._parts = [(content[order], unplaced[order], rows[order])]
        self._count = self._limit
        self._below = content[order].max()

    def all(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64], Words]:
        """Return hashes of content, the same without addresses and ports, and the kept words, one row per segment."""
        if not self._parts:
            none = np.empty(0, dtype=np.uint64)
            return none, none, np.empty((0, len(_KEPT)), dtype=np.int64)
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


# --- clocks -----------------------------------------------------------------------------------------------------------
class Line(NamedTuple):
    """The offset of the second clock to the first: ``offset + drift * (time - origin)``, from ``frame`` on."""

    frame: int
    origin: int
    offset: int
    drift: float


class Clock(NamedTuple):
    """How the clock of the second capture stands to that of the first.

    Attributes
    ----------
    lines : tuple of Line
        One, unless a clock was set while the captures ran.
    least : int
        Least delay from point to point, ns: half the least round trip. So much the offset may be off.
    both_ways : bool
        Whether segments of both directions were compared. If not, the shortest delay counts as none.

    """

    lines: tuple[Line, ...]
    least: int
    both_ways: bool

    def offsets(self, frame: Words, time: Words) -> Words:
        """Return what to subtract from these times of the second capture."""
        starts = np.array([line.frame for line in self.lines])
        at = np.maximum(np.searchsorted(starts, frame, side="right") - 1, 0)
        origin = np.array([line.origin for line in self.lines])[at]
        drift = np.array([line.drift for line in self.lines])[at]
        moved = np.rint(drift * (time - origin)).astype(np.int64)
        return cast("Words", np.array([line.offset for line in self.lines])[at] + moved)

    @property
    def offset(self) -> int:
        """Offset where the second capture begins, ns: positive where its clock is ahead."""
        return self.lines[0].offset

    @property
    def drift(self) -> float:
        """Drift where the second capture begins, as a share: positive where its clock is faster."""
        return self.lines[0].drift


def _hull(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower convex hull of points, from left to right."""
    order = np.lexsort((y, x))
    hull: list[tuple[float, float]] = []
    for px, py in zip(x[order].tolist(), y[order].tolist(), strict=True):
        while len(hull) > 1:
            (ax, ay), (bx, by) = hull[-2], hull[-1]
            if (bx - ax) * (py - ay) > (px - ax) * (by - ay):
                break
            hull.pop()
        hull.append((px, py))
    corners = np.array(hull, dtype=np.float64).reshape(-1, 2)
    return corners[:, 0], corners[:, 1]


class Fit(NamedTuple):
    """A line between two hulls: height at ``x`` = 0, slope, and distance from both (negative: none fits)."""

    height: float
    slope: float
    margin: float


def fit(there: tuple[Any, Any], back: tuple[Any, Any]) -> Fit:
    """Fit the line that keeps the greatest distance below the points ``there`` and above the points ``back``.

    Parameters
    ----------
    there, back : pair of float arrays
        Time since some moment, and difference of the stamps, of the segments of each direction.

    """
    if not len(there[0]) or not len(back[0]):
        only = float(np.min(there[1])) if len(there[0]) else float(np.max(back[1])) if len(back[0]) else 0.0
        return Fit(only, 0.0, 0.0)
    ax, ay = _hull(there[0], there[1])
    bx, by = _hull(back[0], -back[1])

    def gap(slope: float) -> tuple[float, float]:
        return float((ay - slope * ax).min()), float((-by - slope * bx).max())

    low, high = -DRIFT, DRIFT
    for _ in range(80):  # the gap is concave in the slope
        a, b = low + (high - low) / 3, high - (high - low) / 3
        (above_a, below_a), (above_b, below_b) = gap(a), gap(b)
        if above_a - below_a < above_b - below_b:
            low = a
        else:
            high = b
    slope = (low + high) / 2
    above, below = gap(slope)
    flat_above, flat_below = gap(0.0)
    # Without drift the line is as good but for the jitter of the least delays: then there is none worth the name.
    if flat_above > flat_below and not _drifts(there, back, slope, (above - below) / 2, (flat_above - flat_below) / 2):
        slope, above, below = 0.0, flat_above, flat_below
    return Fit((above + below) / 2, slope, (above - below) / 2)


def _drifts(there: Any, back: Any, slope: float, margin: float, flat: float) -> bool:
    """Whether a slope is more than the jitter of the least delays makes of none.

    Between the first third of the time and the last, drift moves the middle between the hulls, jitter changes their
    distance.
    """
    first = min(there[0].min(), back[0].min())
    last = max(there[0].max(), back[0].max())
    noise = 0.01 * margin
    thirds = []
    for begin, end in ((first, first + (last - first) / 3), (last - (last - first) / 3, last)):
        a = (
            there[1][(there[0] >= begin) & (there[0] <= end)]
            - slope * there[0][(there[0] >= begin) & (there[0] <= end)]
        )
        b = back[1][(back[0] >= begin) & (back[0] <= end)] - slope * back[0][(back[0] >= begin) & (back[0] <= end)]
        if not len(a) or not len(b):
            return margin - flat > margin / 4
        thirds.append(float(a.min() - b.max()) / 2)
    return margin - flat > max(noise, 3 * abs(thirds[0] - thirds[1]))


def _usual(time: Words, difference: Words) -> NDArray[np.bool_]:
    """Which differences are not far from those around them: what is was taken for the same segment, and was not."""
    order = np.argsort(time, kind="stable")
    keep = np.ones(len(time), dtype=bool)
    ordered = difference[order].astype(np.float64)
    width = 51
    for begin in range(0, len(ordered), width):
        part = ordered[max(0, begin - width) : begin + 2 * width]
        middle = np.median(part)
        spread = np.median(np.abs(part - middle))
        keep[order[begin : begin + width]] = np.abs(ordered[begin : begin + width] - middle) <= 10 * spread + 1e6
    return keep


def set_clocks(time: Words, frame: Words, difference: Words, there: NDArray[np.bool_]) -> Clock:
    """Work out how two clocks stand to each other.

    Parameters
    ----------
    time, frame : int64 arrays
        Of the second capture.
    difference : int64 array
        The second capture's time of a segment less the first's, ns.
    there : bool array
        Whether the segment came by the first point first.

    """
    both = bool(there.any() and not there.all())
    order = np.argsort(frame, kind="stable")
    time, frame, difference, there = time[order], frame[order], difference[order], there[order]
    origin, middle = int(time[0]), int(np.median(difference))
    x, y = (time - origin).astype(np.float64), (difference - middle).astype(np.float64)

    def line(begin: int, end: int) -> Fit:
        t = there[begin:end]
        xs, ys = x[begin:end], y[begin:end]
        return fit((xs[t], ys[t]), (xs[~t], ys[~t]))

    found = line(0, len(x))
    if found.margin < 0:
        usual = np.ones(len(x), dtype=bool)
        for way in (there, ~there):
            usual[way] = _usual(time[way], difference[way])
        frame, there, x, y = frame[usual], there[usual], x[usual], y[usual]
        found = line(0, len(x))
    lines: list[Line] = []
    least, begin = FOREVER, 0
    while begin < len(x):
        end = len(x)
        if found.margin < 0:  # a clock was set: as far as one line fits
            good, bad = begin + 1, len(x)
            while bad - good > 1:
                tried = (good + bad) // 2
                if line(begin, tried).margin >= 0:
                    good = tried
                else:
                    bad = tried
            end = good
        part = line(begin, end)
        lines.append(Line(int(frame[begin]) if lines else 0, origin, middle + round(part.height), part.slope))
        ways = there[begin:end]
        if ways.any() and not ways.all():
            least = min(least, round(part.margin))
        begin = end
        if begin < len(x):
            found = line(begin, len(x))
    if len(lines) > 100:
        raise UsageError("the clocks of the two captures cannot be brought together: no line fits their differences")
    return Clock(tuple(lines), max(0, least) if both and least < FOREVER else 0, both)


# --- comparing --------------------------------------------------------------------------------------------------------
class Comparison(NamedTuple):
    """What the first reading of both captures shows.

    Attributes
    ----------
    names : tuple of str
    clock : Clock
    common : int
        Segments that were found in both to compare them by.
    hosts : int64 array
        For the pairing: which hosts are at which point.
    host_count : int
    began, ended : tuple of int
        Since when and until when each capture certainly ran, ns, on the first one's clock.
    lacks : tuple of bool
        Whether each capture lacks frames that passed it.
    window : int
        How long a counterpart is waited for, ns.
    numbered : bool
        Whether the IP identification is the same at both points.
    plain_nets : bool
        Whether the encapsulation differs between the points, and is left out.
    frames : int
        Frames of the first capture: those of the second count on from there.
    empty : str
        Name of the capture that holds no TCP segment; empty for none.

    """

    names: tuple[str, str]
    clock: Clock
    common: int
    hosts: array[int]
    host_count: int
    began: tuple[int, int]
    ended: tuple[int, int]
    lacks: tuple[bool, bool]
    window: int
    numbered: bool
    plain_nets: bool
    frames: int
    empty: str

    def place(self, origins: Origins) -> None:
        """Tell which frame of which capture stands at each position."""
        origins.names[:] = self.names
        origins.stretch(1, 1)
        origins.stretch(self.frames + 1, 1 << FILE_SHIFT | 1)

    def on_first_clock(self, time: int | None) -> int | None:
        """Give a time of the second capture, ns, on the clock of the first."""
        if time is None:
            return None
        moved = self.clock.offsets(np.array([0]), np.array([time]))
        return time - int(moved[0])

    def said(self) -> dict[str, Any]:
        """Tell it as ``summary.json`` does."""
        return {
            "captures": list(self.names),
            "segments_compared": self.common,
            "clock_offset": self.clock.offset / 1e9,
            "clock_drift": self.clock.drift,
            "clock_set": len(self.clock.lines) - 1,
            "least_delay": self.clock.least / 1e9,
            "both_ways": self.clock.both_ways,
            "lacks_frames": list(self.lacks),
            "empty": self.empty or None,
        }


def _single(content: NDArray[np.uint64], rows: Words) -> NDArray[np.intp]:
    """Where content occurs once only, but for frames that were captured twice."""
    order = np.lexsort((rows[:, _TIME], content))
    c, t, ident = content[order], rows[order, _TIME], rows[order, _IP_ID]
    again = np.zeros(len(c), dtype=bool)
    again[1:] = (c[1:] == c[:-1]) & (t[1:] - t[:-1] < k.MILLISECOND) & (ident[1:] == ident[:-1])
    order, c = order[~again], c[~again]
    alone = np.ones(len(c), dtype=bool)
    if len(c) > 1:
        equal = c[1:] == c[:-1]
        alone[1:] &= ~equal
        alone[:-1] &= ~equal
    return order[alone]


def _common(one: Sample, other: Sample) -> tuple[Words, Words]:
    """Return the rows of the segments that both samples hold, side by side."""
    a, _, rows_a = one.all()
    b, _, rows_b = other.all()
    at, bt = _single(a, rows_a), _single(b, rows_b)
    _, i, j = np.intersect1d(a[at], b[bt], assume_unique=True, return_indices=True)
    return rows_a[at[i]], rows_b[bt[j]]


def _host_pairs(rows: Words) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Number the pairs of hosts, whichever sends, and tell for each row whether the smaller address sends."""
    six = rows[:, _NET] & 1
    forward = (rows[:, _SRC_HI] < rows[:, _DST_HI]) | (
        (rows[:, _SRC_HI] == rows[:, _DST_HI]) & (rows[:, _SRC_LO] <= rows[:, _DST_LO])
    )
    low = np.where(forward[:, None], rows[:, [_SRC_HI, _SRC_LO]], rows[:, [_DST_HI, _DST_LO]])
    high = np.where(forward[:, None], rows[:, [_DST_HI, _DST_LO]], rows[:, [_SRC_HI, _SRC_LO]])
    hashed = _mixed([np.ascontiguousarray(c) for c in (six, *low.T, *high.T)])
    return np.unique(hashed, return_inverse=True)[1].reshape(-1), forward


def _from_first(first: Words, second: Words) -> NDArray[np.bool_]:
    """Tell for each common segment whether its sender is at the first point.

    Two segments between the same hosts, of opposite directions and next to each other in time: their differences of
    stamps differ by the round trip between the points, and the greater one is that of the way from first to second.
    Where only one direction is there, the TTL tells, which routers make smaller.
    """
    group, forward = _host_pairs(first)
    difference = second[:, _TIME] - first[:, _TIME]
    votes = np.zeros(int(group.max()) + 1)
    order = np.lexsort((first[:, _TIME], group))
    g, f, d, t = group[order], forward[order], difference[order], first[order, _TIME]
    turns = np.flatnonzero((g[1:] == g[:-1]) & (f[1:] != f[:-1]))
    sign = np.sign(np.where(f[turns], d[turns] - d[turns + 1], d[turns + 1] - d[turns]))
    near = 1.0 / (1 + (t[turns + 1] - t[turns]) / 1e6)  # drift tells less the closer they are
    np.add.at(votes, g[turns], sign * near)
    silent = votes == 0
    hops = np.sign(first[:, _TTL] - second[:, _TTL]) * np.where(forward, 1, -1)
    routed = np.zeros_like(votes)
    np.add.at(routed, group, hops)
    votes[silent] = routed[silent]
    unknown = votes == 0
    if unknown.any():
        # The others tell how the clocks stand; without any, whoever has the earlier stamp is taken at his word.
        known = ~unknown[group]
        there = (votes[group] > 0) == forward
        middle = 0.0
        if (known & there).any() and (known & ~there).any():
            middle = (float(difference[known & there].min()) + float(difference[known & ~there].max())) / 2
        late = np.zeros_like(votes)
        np.add.at(late, group, np.where(forward, 1, -1) * np.sign(difference - middle))
        votes[unknown] = np.where(late[unknown] >= 0, 1, -1)
    return np.asarray((votes[group] > 0) == forward)


def compare(first: str, second: str, profile: Profile, limit: int = SAMPLE) -> Comparison:
    """Read two captures for what has to be known before they can be made one.

    Raises
    ------
    CaptureError
        When one cannot be read.
    UsageError
        When they have no segment in common.

    """
    one, other = survey(first, profile, limit), survey(second, profile, limit)
    plain = one.nets != other.nets
    shared = one.frames
    if not one.segments or not other.segments:
        empty = one if not one.segments else other
        full, point = (other, 1) if empty is one else (one, 0)
        rows = full.all()[2]
        hosts, count = _known(rows, np.full(len(rows), point == 0), plain=True)
        always = (-FOREVER, -FOREVER), (FOREVER, FOREVER)
        clock = Clock((Line(0, 0, 0, 0.0),), 0, both_ways=False)
        return Comparison(
            (one.name, other.name), clock, 0, hosts, count, *always, (one.lacks, other.lacks),
            SECOND, numbered=False, plain_nets=True, frames=shared, empty=empty.name if full.segments else "",
        )  # fmt: skip
    a, b = _common(one, other)
    if not len(a):
        raise UsageError(_nothing_in_common(one, other))
    there = _from_first(a, b)
    clock = set_clocks(b[:, _TIME], b[:, _FRAME], b[:, _TIME] - a[:, _TIME], there)
    moved = b[:, _TIME] - clock.offsets(b[:, _FRAME], b[:, _TIME])
    longest = int(np.abs(moved - a[:, _TIME]).max())
    both = (a[:, _IP_ID] > 0) & (b[:, _IP_ID] > 0)
    alike = (a[both, _IP_ID] == b[both, _IP_ID]).mean() if both.any() else 0.0
    hosts, count = _known(a, there, plain=plain)
    began, ended = _spans(one, other, clock, a, there)
    window = min(3 * longest // 2 + SECOND // 2, 300 * SECOND)
    return Comparison(
        (one.name, other.name), clock, len(a), hosts, count, began, ended, (one.lacks, other.lacks),
        window, numbered=bool(alike > 0.9), plain_nets=plain, frames=shared, empty="",
    )  # fmt: skip


def _nothing_in_common(one: Sample, other: Sample) -> str:
    said = f"{one.name} and {other.name} have no segment in common"
    a, b = one.all()[1], other.all()[1]
    if len(np.intersect1d(a, b)) > min(len(a), len(b)) // 4:
        return f"{said}, but many that differ in their addresses only: what is translated (NAT) cannot be matched"
    times = (one.first_time, one.last_time, other.first_time, other.last_time)
    if None not in times:
        (a_first, a_last, b_first, b_last) = cast("tuple[int, int, int, int]", times)
        if a_last < b_first or b_last < a_first:
            return f"{said}, and by their clocks they were not taken at the same time"
    return f"{said}: are they of the same connections?"


def _known(rows: Words, there: NDArray[np.bool_], *, plain: bool) -> tuple[array[int], int]:
    """Lay out which hosts are at which point, one record per pair of hosts and network, as the pairing wants it."""
    group, _ = _host_pairs(rows)
    nets = rows[:, _NET] & 1 if plain else rows[:, _NET]
    _, at = np.unique(np.stack([group, nets]), axis=1, return_index=True)
    known = np.zeros((len(at), k.HELD_SIZE), dtype=np.int64)
    for word, column in ((k.S_SRC_HI, _SRC_HI), (k.S_SRC_LO, _SRC_LO), (k.S_DST_HI, _DST_HI), (k.S_DST_LO, _DST_LO)):
        known[:, word] = rows[at, column]
    known[:, k.S_NET] = nets[at]
    known[:, k.H_POINT] = np.where(there[at], 0, 1)
    return array("q", known.tobytes() or bytes(8)), len(at)


def _spans(
    one: Sample, other: Sample, clock: Clock, common: Words, there: NDArray[np.bool_]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Since when and until when each capture ran.

    A capture file does not say it. One counts as running for as long as the other shows nothing that came by it and
    that it lacks beyond its own first and last frame.
    """
    group_hash = {}
    group, forward = _host_pairs(common)
    for word in np.unique(group):
        row = int(np.flatnonzero(group == word)[0])
        ends = tuple(common[row, [_SRC_HI, _SRC_LO, _DST_HI, _DST_LO]].tolist())
        group_hash[ends if forward[row] else ends[2:] + ends[:2]] = bool(there[row]) == bool(forward[row])
    began, ended = [-FOREVER, -FOREVER], [FOREVER, FOREVER]
    for point, (shown, lacking) in enumerate(((other, one), (one, other))):
        content, _, rows = shown.all()
        missing = ~np.isin(content, lacking.all()[0])
        missing &= content <= min(shown.below, lacking.below)  # of the others the samples do not tell
        rows = rows[missing]
        first, last = np.array([lacking.first_time or 0]), np.array([lacking.last_time or 0])
        frames = np.array([0]), np.array([lacking.frames])
        if point == 0:
            rows[:, _TIME] -= clock.offsets(rows[:, _FRAME], rows[:, _TIME])
        else:
            first, last = first - clock.offsets(frames[0], first), last - clock.offsets(frames[1], last)
        outside = rows[(rows[:, _TIME] < first[0]) | (rows[:, _TIME] - clock.least > last[0])]
        if not len(outside):
            continue
        _, smaller_sends = _host_pairs(outside)
        ends = outside[:, [_SRC_HI, _SRC_LO, _DST_HI, _DST_LO]].tolist()
        for row, smaller in enumerate(smaller_sends.tolist()):
            pair_of = tuple(ends[row]) if smaller else tuple(ends[row][2:] + ends[row][:2])
            smaller_at_first = group_hash.get(pair_of)
            if smaller_at_first is None or (smaller == smaller_at_first) != (point == 0):
                continue  # not sent behind the point that lacks it
            if outside[row, _TIME] < first[0]:
                began[point] = int(first[0])
            else:
                ended[point] = int(last[0])
    return (began[0], began[1]), (ended[0], ended[1])


# --- the second reading -----------------------------------------------------------------------------------------------
class Merged:
    """A batch of the merged stream, as the engine takes it.

    Attributes
    ----------
    segments : int64 array
    count : int
    last_time : int

    """

    __slots__ = ("count", "last_time", "segments")

    def __init__(self, room: int) -> None:
        self.segments = array("q", bytes(8 * k.SEGMENT_SIZE * room))
        self.count = 0
        self.last_time = 0


class _Reader:
    """One of the two captures: its batches one by one, on the common clock, frames numbered on."""

    def __init__(self, capture: Any, known: Comparison, point: int) -> None:
        self._batches = capture.segments()
        self._known = known
        self._point = point
        self.segments = array("q", bytes(8))
        self.count = 0
        self.over = False

    def read(self) -> None:
        batch = next(self._batches, None)
        if batch is None:
            self.count, self.over = 0, True
            return
        self.segments, self.count = batch.segments, batch.count
        if not batch.count:
            return
        size = k.SEGMENT_SIZE
        rows = np.frombuffer(batch.segments, dtype=np.int64, count=batch.count * size).reshape(-1, size)
        if self._known.plain_nets:
            rows[:, k.S_NET] &= 1
        if self._point == 1:
            rows[:, k.S_TIME] -= self._known.clock.offsets(rows[:, k.S_FRAME], rows[:, k.S_TIME])
            rows[:, k.S_FRAME] += self._known.frames


def merge(
    captures: Sequence[Any], known: Comparison, *, ring: int = RING, room: int = 2048, seed: int | None = None
) -> Iterator[Merged]:
    """Read both captures side by side, and give each segment once, with its fate between the points.

    Parameters
    ----------
    captures : sequence of Capture
        Both, freshly opened.
    known : Comparison
        What `compare` found.
    ring : int
        How many segments may wait for their counterpart; a power of two. What does not fit is judged early.
    room : int
        Segments to a batch.
    seed : int or None
        Of the hashes; random if None.

    """
    import secrets

    readers = [_Reader(capture, known, point) for point, capture in enumerate(captures)]
    ctl = array("q", bytes(8 * k.V_SIZE))
    ctl[k.V_SEED] = (secrets.randbits(61) if seed is None else seed) | 1
    ctl[k.V_ROOM] = min(ring, 16384)
    ctl[k.V_MEMORY] = min(ring // 2, 2048)
    ctl[k.V_BUCKETS] = 2 * ctl[k.V_ROOM]
    ctl[k.V_WINDOW], ctl[k.V_LEAST] = known.window, known.clock.least
    ctl[k.V_NUMBERED] = int(known.numbered)
    ctl[k.V_NOW] = ctl[k.V_LAST] = -FOREVER
    ctl[k.V_OUT_ROOM] = room
    for point in (0, 1):
        ctl[k.V_BEGAN + point], ctl[k.V_ENDED + point] = known.began[point], known.ended[point]
        ctl[k.V_MISSES + point] = int(known.lacks[point])
    held = array("q", bytes(8 * k.HELD_SIZE * ctl[k.V_ROOM]))
    buckets = array("q", bytes(8 * ctl[k.V_BUCKETS]))
    ctl[k.V_WAYS] = 1 << max(15, (8 * known.host_count).bit_length())
    ways = array("q", bytes(8 * k.WAY_ENTRY * ctl[k.V_WAYS]))
    know_hosts(known.host_count, known.hosts, ways, ctl)
    batch = Merged(room)
    one, other = readers
    while True:
        for reader, place, over in ((one, k.V_FIRST_NEXT, k.V_FIRST_OVER), (other, k.V_SECOND_NEXT, k.V_SECOND_OVER)):
            while not reader.over and ctl[place] >= reader.count:
                reader.read()
                ctl[place] = 0
            ctl[over] = int(reader.over)
        ctl[k.V_FLUSH] = int(one.over and other.over)
        if 2 * (ctl[k.V_WAYS_USED] + 4 * (one.count + other.count)) > ctl[k.V_WAYS]:
            ways = _more_ways(ways, held, ctl, 4 * (one.count + other.count))
        if ctl[k.V_TAIL] - ctl[k.V_HEAD] >= ctl[k.V_ROOM] // 2 and ctl[k.V_ROOM] < ring:
            held = _more_room(held, ctl)
        batch.count = pair(
            one.segments, one.count, other.segments, other.count, held, buckets, ways, batch.segments, ctl
        )
        batch.last_time = ctl[k.V_LAST]
        if batch.count:
            yield batch
        elif ctl[k.V_FLUSH] and ctl[k.V_HEAD] == ctl[k.V_TAIL]:
            return


def _more_ways(ways: array[int], held: array[int], ctl: array[int], needed: int) -> array[int]:
    """Leave out the ways that nothing waits on; take a larger table where that does not do."""
    old = ctl[k.V_WAYS]
    fresh = ways
    for size in (old, 2 * old, 4 * old, 8 * old):
        ctl[k.V_WAYS] = size
        fresh = array("q", bytes(8 * k.WAY_ENTRY * size))
        if 4 * needed > size:
            continue
        tidy_ways(old, ways, fresh, held, ctl)
        if 4 * (ctl[k.V_WAYS_USED] + needed) <= size * 2:
            break
    return fresh


def _more_room(held: array[int], ctl: array[int]) -> array[int]:
    """Double the ring."""
    old, size = ctl[k.V_ROOM], k.HELD_SIZE
    grown = array("q", bytes(8 * size * 2 * old))
    for number in range(ctl[k.V_KEPT], ctl[k.V_TAIL]):
        a, b = (number & (old - 1)) * size, (number & (2 * old - 1)) * size
        grown[b : b + size] = held[a : a + size]
    ctl[k.V_ROOM] = 2 * old
    return grown


def check_sources(captured: Sequence[Any]) -> tuple[str, str]:
    """Return the two captures to be merged.

    Raises
    ------
    UsageError
        When they are not two files.

    """
    if len(captured) != 2:
        raise UsageError(
            f"--merge-vantage takes two captures, one of each point, not {len(captured)}; "
            "join what was taken at one point first (mergecap -w)"
        )
    for capture in captured:
        if capture == "-" or not isinstance(capture, str | os.PathLike):
            raise UsageError("--merge-vantage reads both captures twice, so they have to be files, not streams")
    first, second = (os.fspath(capture) for capture in captured)
    if os.path.exists(first) and os.path.exists(second) and os.path.samefile(first, second):  # noqa: PTH110, PTH121
        raise UsageError("--merge-vantage takes two captures, and both names are of the same file")
    return first, second
