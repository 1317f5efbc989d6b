"""What two captures have in common, and what has to be known before they can be made one."""

from __future__ import annotations

import os
from array import array
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from tcptrace_fsm.capture.codes import FILE_SHIFT
from tcptrace_fsm.errors import UsageError, plain_name
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.runs.vantage.clocks import FOREVER, Clock, Line, set_clocks
from tcptrace_fsm.runs.vantage.sample import (
    DST_HI,
    DST_LO,
    FRAME,
    IP_ID,
    NAMES,
    NET,
    SAMPLE,
    SRC_HI,
    SRC_LO,
    TIME,
    TTL,
    Sample,
    mixed,
    names_key,
    survey,
)
from tcptrace_fsm.runs.vantage.translation import Translation, find_translation
from tcptrace_fsm.text.durations import SECOND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from tcptrace_fsm.capture.timeline import Origins
    from tcptrace_fsm.tcp.profiles import Profile

    Words = NDArray[np.int64]

__all__ = ["Comparison", "check_sources", "compare"]


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
    translation : Translation or None
        What connections of the second capture are called in the first, where they have other names.

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
    translation: Translation | None = None

    def place(self, origins: Origins) -> None:
        """Tell which frame of which capture stands at each position."""
        origins.names[:] = map(plain_name, self.names)
        origins.stretch(1, 1)
        origins.stretch(self.frames + 1, 1 << FILE_SHIFT | 1)

    def on_first_clock(self, time: int | None) -> int | None:
        """Give a time of the second capture, ns, on the clock of the first."""
        if time is None:
            return None
        moved = self.clock.offsets(np.array([0]), np.array([time]))
        return time - int(moved[0])

    def summary(self) -> dict[str, Any]:
        """What ``summary.json`` says of it."""
        return {
            "captures": list(map(plain_name, self.names)),
            "segments_compared": self.common,
            "clock_offset": self.clock.offset / 1e9,
            "clock_drift": self.clock.drift,
            "clock_set": len(self.clock.lines) - 1,
            "least_delay": self.clock.least / 1e9,
            "both_ways": self.clock.both_ways,
            "lacks_frames": list(self.lacks),
            "empty": self.empty or None,
            "translated": self.translation.summary() if self.translation is not None else None,
        }


def _single(content: NDArray[np.uint64], rows: Words) -> NDArray[np.intp]:
    """Where content occurs once only, but for frames that were captured twice."""
    order = np.lexsort((rows[:, TIME], content))
    c, t, ident = content[order], rows[order, TIME], rows[order, IP_ID]
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
    six = rows[:, NET] & 1
    forward = (rows[:, SRC_HI] < rows[:, DST_HI]) | (
        (rows[:, SRC_HI] == rows[:, DST_HI]) & (rows[:, SRC_LO] <= rows[:, DST_LO])
    )
    low = np.where(forward[:, None], rows[:, [SRC_HI, SRC_LO]], rows[:, [DST_HI, DST_LO]])
    high = np.where(forward[:, None], rows[:, [DST_HI, DST_LO]], rows[:, [SRC_HI, SRC_LO]])
    hashed = mixed([np.ascontiguousarray(c) for c in (six, *low.T, *high.T)])
    return np.unique(hashed, return_inverse=True)[1].reshape(-1), forward


def _from_first(first: Words, second: Words) -> NDArray[np.bool_]:
    """Tell for each common segment whether its sender is at the first point.

    Two segments between the same hosts, of opposite directions and next to each other in time: their differences of
    stamps differ by the round trip between the points, and the greater one is that of the way from first to second.
    Where only one direction is there, the TTL tells, which routers make smaller.
    """
    group, forward = _host_pairs(first)
    difference = second[:, TIME] - first[:, TIME]
    votes = np.zeros(int(group.max()) + 1)
    order = np.lexsort((first[:, TIME], group))
    g, f, d, t = group[order], forward[order], difference[order], first[order, TIME]
    turns = np.flatnonzero((g[1:] == g[:-1]) & (f[1:] != f[:-1]))
    sign = np.sign(np.where(f[turns], d[turns] - d[turns + 1], d[turns + 1] - d[turns]))
    near = 1.0 / (1 + (t[turns + 1] - t[turns]) / 1e6)  # drift tells less the closer they are
    np.add.at(votes, g[turns], sign * near)
    silent = votes == 0
    hops = np.sign(first[:, TTL] - second[:, TTL]) * np.where(forward, 1, -1)
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
        hosts, count = _host_records(rows, np.full(len(rows), point == 0), plain=True)
        always = (-FOREVER, -FOREVER), (FOREVER, FOREVER)
        clock = Clock((Line(0, 0, 0, 0.0),), 0, both_ways=False)
        return Comparison(
            (one.name, other.name), clock, 0, hosts, count, *always, (one.lacks, other.lacks),
            SECOND, numbered=False, plain_nets=True, frames=shared, empty=empty.name if full.segments else "",
        )  # fmt: skip
    translation = find_translation(one, other)
    if translation is not None:
        rows = other.all()[2]
        other.rename(*translation.rename(names_key(rows[:, NAMES]), rows[:, FRAME]))
    a, b = _common(one, other)
    if not len(a):
        raise UsageError(_nothing_in_common(one, other))
    there = _from_first(a, b)
    clock = set_clocks(b[:, TIME], b[:, FRAME], b[:, TIME] - a[:, TIME], there)
    if len(clock.lines) > 1:
        rows = other.all()[2]
        rows = rows[np.argsort(rows[:, FRAME], kind="stable")]
        clock = clock.set_at(rows[:, FRAME], rows[:, TIME])
    moved = b[:, TIME] - clock.offsets(b[:, FRAME], b[:, TIME])
    longest = int(np.abs(moved - a[:, TIME]).max())
    both = (a[:, IP_ID] > 0) & (b[:, IP_ID] > 0)
    alike = (a[both, IP_ID] == b[both, IP_ID]).mean() if both.any() else 0.0
    hosts, count = _host_records(a, there, plain=plain)
    began, ended = _spans(one, other, clock, a, there)
    window = min(3 * longest // 2 + SECOND // 2, 300 * SECOND)
    return Comparison(
        (one.name, other.name), clock, len(a), hosts, count, began, ended, (one.lacks, other.lacks),
        window, numbered=bool(alike > 0.9), plain_nets=plain, frames=shared, empty="", translation=translation,
    )  # fmt: skip


def _nothing_in_common(one: Sample, other: Sample) -> str:
    sentence = f"{one.name} and {other.name} have no segment in common"
    times = (one.first_time, one.last_time, other.first_time, other.last_time)
    if None not in times:
        (a_first, a_last, b_first, b_last) = cast("tuple[int, int, int, int]", times)
        if a_last < b_first or b_last < a_first:
            return f"{sentence}, and by their clocks they were not taken at the same time"
    return f"{sentence}: are they of the same connections?"


def _host_records(rows: Words, there: NDArray[np.bool_], *, plain: bool) -> tuple[array[int], int]:
    """Lay out which hosts are at which point, one record per pair of hosts and network, as the pairing wants it."""
    group, _ = _host_pairs(rows)
    nets = rows[:, NET] & 1 if plain else rows[:, NET]
    _, at = np.unique(np.stack([group, nets]), axis=1, return_index=True)
    records = np.zeros((len(at), k.HELD_SIZE), dtype=np.int64)
    for word, column in ((k.S_SRC_HI, SRC_HI), (k.S_SRC_LO, SRC_LO), (k.S_DST_HI, DST_HI), (k.S_DST_LO, DST_LO)):
        records[:, word] = rows[at, column]
    records[:, k.S_NET] = nets[at]
    records[:, k.H_POINT] = np.where(there[at], 0, 1)
    return array("q", records.tobytes() or bytes(8)), len(at)


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
        ends = tuple(common[row, [SRC_HI, SRC_LO, DST_HI, DST_LO]].tolist())
        group_hash[ends if forward[row] else ends[2:] + ends[:2]] = bool(there[row]) == bool(forward[row])
    began, ended = [-FOREVER, -FOREVER], [FOREVER, FOREVER]
    for point, (shown, lacking) in enumerate(((other, one), (one, other))):
        content, unplaced, rows = shown.all()
        missing = ~np.isin(content, lacking.all()[0])
        missing &= unplaced <= min(shown.below, lacking.below)  # of the others the samples do not tell
        rows = rows[missing]
        first, last = np.array([lacking.first_time or 0]), np.array([lacking.last_time or 0])
        frames = np.array([0]), np.array([lacking.frames])
        if point == 0:
            rows[:, TIME] -= clock.offsets(rows[:, FRAME], rows[:, TIME])
        else:
            first, last = first - clock.offsets(frames[0], first), last - clock.offsets(frames[1], last)
        outside = rows[(rows[:, TIME] < first[0]) | (rows[:, TIME] - clock.least > last[0])]
        if not len(outside):
            continue
        _, smaller_sends = _host_pairs(outside)
        ends = outside[:, [SRC_HI, SRC_LO, DST_HI, DST_LO]].tolist()
        for row, smaller in enumerate(smaller_sends.tolist()):
            pair_of = tuple(ends[row]) if smaller else tuple(ends[row][2:] + ends[row][:2])
            smaller_at_first = group_hash.get(pair_of)
            if smaller_at_first is None or (smaller == smaller_at_first) != (point == 0):
                continue  # not sent behind the point that lacks it
            if outside[row, TIME] < first[0]:
                began[point] = int(first[0])
            else:
                ended[point] = int(last[0])
    return (began[0], began[1]), (ended[0], ended[1])


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
