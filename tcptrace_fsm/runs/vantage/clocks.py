"""How the clocks of two captures stand to each other: offset, drift, and where one of them was set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from tcptrace_fsm.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Words = NDArray[np.int64]

__all__ = ["FOREVER", "Clock", "Line", "set_clocks"]

DRIFT = 500e-6  # more than any clock of a computer is off, as a share
FOREVER = (1 << 62) - 1


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

    def set_at(self, frame: Words, time: Words) -> Clock:
        """Where the clock was set, to the frame: not each segment is in both captures.

        Parameters
        ----------
        frame, time : int64 arrays
            Of what the second capture holds, in its order.

        """
        lines = list(self.lines)
        for i in range(1, len(lines)):
            jump = abs(lines[i].offset - lines[i - 1].offset)
            at = first = int(np.searchsorted(frame, lines[i].frame))
            # What comes before it by the new clock is near by that; what came by the old one is as far as that was off.
            while 0 < at < len(time) and 2 * abs(int(time[first]) - int(time[at - 1])) < jump:
                at -= 1
            if at < first and frame[at] > lines[i - 1].frame:
                lines[i] = lines[i]._replace(frame=int(frame[at]))
        return self._replace(lines=tuple(lines))

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


def _usual(difference: Words) -> NDArray[np.bool_]:
    """Which differences are not far from those around them: what is was taken for the same segment, and was not.

    They come in the order of frames: that of times mixes what stands before and behind the setting back of a clock.
    """
    keep = np.ones(len(difference), dtype=bool)
    ordered = difference.astype(np.float64)
    width = 51
    for begin in range(0, len(ordered), width):
        part = ordered[max(0, begin - width) : begin + 2 * width]
        middle = np.median(part)
        spread = np.median(np.abs(part - middle))
        room = 10 * spread + 1e6
        for i in np.flatnonzero(np.abs(ordered[begin : begin + width] - middle) > room) + begin:
            # Where several next to each other are as far off, a clock was set.
            near = ordered[max(0, i - 3) : i + 4]
            keep[i] = (np.abs(near - ordered[i]) <= room).sum() > 3
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
            usual[way] = _usual(difference[way])
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
