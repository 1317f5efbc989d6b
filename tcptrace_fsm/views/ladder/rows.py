"""A conversation as rows, from top to bottom: what text and picture of a ladder have in common.

Segments stand in capture order, one to a row. Only where the states tell that two segments crossed (both ends sent
their FIN before they had the other's) a segment takes two rows: in one it leaves, in a later one it arrives. Runs of
segments that tell nothing new are folded into one row. What only a clock did has a row of its own.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tcptrace_fsm.core.words import SIDES
from tcptrace_fsm.views.ladder.gaps import Gaps

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tcptrace_fsm.views.conversation import Change, Conversation, Segment, Wait

__all__ = ["Fold", "Row", "elapsed", "endings", "label", "pieces", "rows"]

SHORT = 40
"""A connection of no more segments than this is drawn whole."""
RUN = 4
"""Fewer segments in a row than this are not worth a fold."""


@dataclass
class Fold:
    """Segments that share a row.

    Attributes
    ----------
    data, empty, size : dict of str to int
        By sender: segments with payload and without, and the payload's bytes.
    labels : Counter
        How many segments bear which label; ``lost`` counts those that did not arrive.
    first, last : Segment
        The first and last of those that are known one by one.

    """

    first: Segment
    last: Segment
    data: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SIDES, 0))
    empty: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SIDES, 0))
    size: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SIDES, 0))
    labels: Counter[str] = field(default_factory=Counter)

    def add(self, segment: Segment) -> None:
        """Take one more segment."""
        self.last = segment
        which = self.data if segment.payload_len else self.empty
        which[segment.side] += 1
        self.size[segment.side] += segment.payload_len
        if segment.label:
            self.labels[segment.label] += 1
        if segment.fate == "lost":
            self.labels["lost"] += 1
        for flag in ("SYN", "FIN", "RST"):
            if flag in segment.flags:
                self.labels[flag] += 1

    def add_left_out(self, segment: Segment) -> None:
        """Take what was sampled away before a segment."""
        gone = segment.left_out
        for side, data, empty, size in (
            ("client", gone.client_data, gone.client_empty, gone.client_bytes),
            ("server", gone.server_data, gone.server_empty, gone.server_bytes),
        ):
            self.data[side] += data
            self.empty[side] += empty
            self.size[side] += size

    @property
    def segments(self) -> int:
        """How many it stands for."""
        return sum(self.data.values()) + sum(self.empty.values())

    def lines(self, ahead: str = "\u25b6", back: str = "\u25c0", width: int = 46) -> list[str]:
        """Say what is in it.

        Parameters
        ----------
        ahead, back : str
            Signs for the ways from and to the client.
        width : int
            Characters to a line, about.

        """
        parts = []
        for side, sign in (("client", ahead), ("server", back)):
            if self.data[side]:
                parts.append(f"{count(self.data[side], 'data segment')} {sign} {bytes_text(self.size[side])}")
            if self.empty[side]:
                only = "segment" if self.data[side] else "ACK"
                parts.append(f"{count(self.empty[side], 'empty ' + only if self.data[side] else only)} {sign}")
        if self.labels:
            named = sorted(self.labels.items(), key=lambda item: (item[0] != "lost", -item[1], item[0]))
            parts.append(", ".join(f"{n:,} {_several(label(name), n)}" for name, n in named))
        return [line for text in parts for line in textwrap.wrap(text, width)]


@dataclass
class Row:
    """One row.

    Attributes
    ----------
    kind : str
        ``segment`` (leaves and arrives), ``leave``, ``arrive``, ``fold``, ``clock`` (nothing but changes of state) or
        ``pause`` (time passes).
    time : int
        ns.
    segment : Segment or None
    fold : Fold or None
    changes : list of Change
        What takes effect here, in order.
    findings : list of (int, Finding)
        What is to be marked here, with its number on this ladder, from 1.
    pause : int
        ns, of a pause.
    share : float
        How long a pause is, compared with the longest.
    wait : Wait or None
        For whom and for what the connection stood still then.

    """

    kind: str
    time: int
    segment: Segment | None = None
    fold: Fold | None = None
    changes: list[Change] = field(default_factory=list)
    findings: list[tuple[int, Any]] = field(default_factory=list)
    pause: int = 0
    share: float = 0.0
    wait: Wait | None = None

    @property
    def words(self) -> str:
        """How long a pause is, and for whom."""
        return f"\u22ee {elapsed(self.pause)}" + (f"  {self.wait.words}" if self.wait else "")

    def of(self, side: str) -> list[Change]:
        """Give that endpoint's changes."""
        return [c for c in self.changes if c.side == side]


# --- which segments have a row of their own ---------------------------------------------------------------------------
def _weights(conversation: Conversation) -> list[int]:
    """Say how much each segment tells: 0 nothing new, 1 a label, 2 a loss, evidence, a first, 3 a change of state."""
    shown = {c.frame for c in conversation.changes} | {c.confirmed_by for c in conversation.changes}
    kinds: Counter[str] = Counter()
    cited: set[int] = set()
    for finding in conversation.findings:
        kinds[finding.kind] += 1
        if kinds[finding.kind] <= 3:
            shown.add(finding.frame)
            cited.update(finding.frames[:6])
    started: set[str] = set()
    weights = []
    segments = conversation.segments
    for i, s in enumerate(segments):
        weight = 0
        if s.frame in shown or i in {0, len(segments) - 1} or any(f in s.flags for f in ("SYN", "FIN", "RST")):
            weight = 3
        elif s.frame in cited or s.fate or (s.payload_len and s.side not in started):
            weight = 2
        elif s.label not in {"", "duplicate_ack", "window_update"}:
            weight = 1
        if s.payload_len:
            started.add(s.side)
        weights.append(weight)
    return weights


def _items(conversation: Conversation, most: int | None) -> list[Segment | Fold]:
    """Fold what tells least until there are no more than ``most`` items, if that can be."""
    segments = conversation.segments
    if most is None:
        return _folded(segments, [True] * len(segments))
    if len(segments) <= min(SHORT, most) and conversation.total == len(segments):
        return list(segments)
    weights = _weights(conversation)
    items: list[Segment | Fold] = []
    for level in range(3):
        items = _folded(segments, [w > level for w in weights])
        if len(items) <= most:
            return items
    # Even what matters is too much: the beginning and the end stay.
    edge = max(1, most // 2 - 1)
    return _folded(segments, [i < edge or i >= len(segments) - edge for i in range(len(segments))])


def _folded(segments: Sequence[Segment], stays: Sequence[bool]) -> list[Segment | Fold]:
    items: list[Segment | Fold] = []
    run: list[Segment] = []

    def close() -> None:
        if len(run) < RUN and not any(s.left_out.segments for s in run):
            items.extend(run)
        elif run:
            items.append(_fold(run))
        run.clear()

    for s, alone in zip(segments, stays, strict=True):
        if not alone:
            run.append(s)
            continue
        if s.left_out.segments:
            fold = _fold(run) if run else Fold(s, s)
            fold.add_left_out(s)
            items.append(fold)
            run.clear()
        close()
        items.append(s)
    close()
    return items


def _fold(run: Sequence[Segment]) -> Fold:
    fold = Fold(run[0], run[0])
    for s in run:
        fold.add_left_out(s)
        fold.add(s)
    return fold


# --- rows -------------------------------------------------------------------------------------------------------------
def rows(conversation: Conversation, most: int | None = 200) -> list[Row]:
    """Lay out a conversation.

    Parameters
    ----------
    conversation : Conversation
    most : int or None
        Rows for segments, about; None to fold nothing.

    """
    items = _items(conversation, most)
    made: list[Row] = []
    own: dict[int, Row] = {}  # by frame: the row of a segment
    for item in items:
        if isinstance(item, Fold):
            row = Row("fold", item.first.time, fold=item)
        else:
            row = own[item.frame] = Row("segment", item.time, segment=item)
        made.append(row)
    made = _changed(conversation, made, own)
    _mark(conversation, made, own)
    made = list(_paused(conversation, made))
    longest = max((row.pause for row in made), default=0)
    for row in made:
        row.share = row.pause / longest if longest else 0.0
    return made


def _changed(conversation: Conversation, made: list[Row], own: dict[int, Row]) -> list[Row]:
    """Let each change take effect in its row; segments that crossed get a second row, what only a clock did its own."""
    arrivals: dict[int, Row] = {}  # by frame: the row in which a segment that crossed arrives
    for side in SIDES:
        at = -1
        for change in (c for c in conversation.changes if c.side == side):
            row = None if change.frame is None else own.get(change.frame)
            segment = row.segment if row else None
            if row is None or segment is None:
                made, at = _inserted(made, change, at)
                continue
            place = _index(made, row)
            if segment.side != side and segment.frame in arrivals:
                place = _index(made, arrivals[segment.frame])
            elif segment.side != side and place < at:
                # It took effect after what this endpoint sent later: the two crossed.
                row.kind = "leave"
                place = at + 1
                arrivals[segment.frame] = Row("arrive", change.time, segment=segment)
                made.insert(place, arrivals[segment.frame])
            at = max(at, place)
            made[at].changes.append(change)
    return _crossed(made)


def _index(made: list[Row], row: Row) -> int:
    return next(i for i, r in enumerate(made) if r is row)


def _inserted(made: list[Row], change: Change, at: int) -> tuple[list[Row], int]:
    """Put a change without a row of its own where its time says, but not before what precedes it."""
    for i, row in enumerate(made):
        if row.kind == "fold" and row.fold is not None and i >= at and _in_fold(change, row.fold):
            row.changes.append(change)
            return made, i
    place = max(at + 1, next((i for i, row in enumerate(made) if row.time > change.time), len(made)))
    return [*made[:place], Row("clock", change.time, changes=[change]), *made[place:]], place


def _in_fold(change: Change, fold: Fold) -> bool:
    return change.frame is not None and fold.first.frame <= change.frame <= fold.last.frame


def _crossed(made: list[Row]) -> list[Row]:
    """Where one segment is under way, one that comes the other way and moves its receiver takes two rows as well."""
    result: list[Row] = []
    flying: list[Segment] = []
    waiting: list[Row] = []
    for row in made:
        s = row.segment
        if row.kind == "leave" and s is not None:
            flying.append(s)
        crossing = (
            row.kind == "segment" and s is not None and not s.fate and flying and all(f.side != s.side for f in flying)
        )
        peer_changes = [c for c in row.changes if s is not None and c.side != s.side]
        if crossing and peer_changes and s is not None:
            row.kind, row.changes = "leave", [c for c in row.changes if c.side == s.side]
            waiting.append(Row("arrive", peer_changes[0].time, segment=s, changes=peer_changes))
        result.append(row)
        if row.kind == "arrive" and s is not None:
            flying = [f for f in flying if f.frame != s.frame]
            if not flying:
                result += waiting
                waiting = []
    return result + waiting


def _mark(conversation: Conversation, made: list[Row], own: dict[int, Row]) -> None:
    """Mark each finding where it shows."""
    for number, finding in enumerate(conversation.findings, 1):
        row = None if finding.frame is None else own.get(finding.frame)
        if row is None and finding.frame is not None:
            row = next((r for r in made if r.fold and r.fold.first.frame <= finding.frame <= r.fold.last.frame), None)
        if row is None:
            row = next((r for r in reversed(made) if r.time <= finding.time), made[0] if made else None)
        if row is not None:
            _landed(made, row).findings.append((number, finding))


def _landed(made: list[Row], row: Row) -> Row:
    """Give the first row from this one on after which no segment is under way."""
    at = _index(made, row)
    flying = {r.segment.frame for r in made[: at + 1] if r.kind == "leave" and r.segment}
    flying -= {r.segment.frame for r in made[: at + 1] if r.kind == "arrive" and r.segment}
    for later in made[at + 1 :]:
        if not flying:
            break
        row = later
        if later.segment and later.kind == "leave":
            flying.add(later.segment.frame)
        elif later.segment and later.kind == "arrive":
            flying.discard(later.segment.frame)
    return row


def _paused(conversation: Conversation, made: list[Row]) -> Iterator[Row]:
    """Put a pause between rows where nothing happened for long, or somebody was waited for."""
    gaps = Gaps(conversation)
    before: int | None = None
    for row in made:
        if before is not None and row.time > before and row.kind != "arrive":
            worth, wait = gaps.between(before, row.time)
            if worth:
                yield Row("pause", before, pause=row.time - before, wait=wait)
        yield row
        before = max(before or row.time, row.time, row.fold.last.time if row.fold else 0)


# --- words ------------------------------------------------------------------------------------------------------------
def count(n: int, what: str) -> str:
    """Write a number with its noun.

    >>> count(1, "ACK"), count(1204, "data segment")
    ('1 ACK', '1,204 data segments')
    """
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def bytes_text(n: int) -> str:
    """Write an amount of bytes.

    >>> bytes_text(400), bytes_text(1_740_000)
    ('400 bytes', '1.74 MB')
    """
    for size, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**4, "kB")):
        if n >= size:
            return f"{n / (1000 if unit == 'kB' else size):.3g} {unit}"
    return count(n, "byte")


def label(name: str) -> str:
    """Write a label in words.

    >>> label("fin_retransmission"), label("duplicate_ack")
    ('FIN retransmission', 'duplicate ACK')
    """
    words = {"fin": "FIN", "syn": "SYN", "ack": "ACK"}
    return " ".join(words.get(word, word) for word in name.split("_"))


def _several(name: str, n: int) -> str:
    """Put a label in the plural where it has one.

    >>> _several("duplicate ACK", 2), _several("out of order", 2)
    ('duplicate ACKs', 'out of order')
    """
    ends = ("retransmission", "ACK", "keepalive", "probe", "window", "update", "duplicate", "SYN", "FIN", "RST")
    return name + "s" if n != 1 and name.endswith(ends) else name


def pieces(segment: Segment, *, short: bool = False) -> list[str]:
    """Give what is to be written at a segment, the most important first: flags, numbers, ACK, what is notable.

    Parameters
    ----------
    segment : Segment
    short : bool
        Write one number where there is no payload, not ``begin:end(0)``.

    """
    s = segment
    parts = [s.flags or "no flags"]
    if s.payload_len or any(flag in s.flags for flag in ("SYN", "FIN", "RST")):
        if s.rel_seq is None:
            parts.append(f"({s.payload_len})")
        elif short and not s.payload_len:
            parts.append(f"{s.rel_seq}")
        else:
            parts.append(f"{s.rel_seq}:{s.rel_seq + s.payload_len}({s.payload_len})")
    if s.rel_ack is not None and "ACK" in s.flags:
        parts.append(f"ack {s.rel_ack}")
    if s.window is not None and ("SYN" in s.flags or s.window == 0 or "window" in s.label) and "RST" not in s.flags:
        parts.append(f"win {s.window}")
    if s.sack:
        parts.append("sack " + " ".join(f"{a}:{b}" for a, b in s.sack))
    if s.label:
        parts.append(label(s.label))
    return parts


def elapsed(ns: int) -> str:
    """Write a length of time.

    >>> elapsed(208_000_000), elapsed(60_950_000_000)
    ('208 ms', '60.9 s')
    """
    from tcptrace_fsm.text.durations import duration

    return duration(ns)


_OPENED = {
    "handshake": "opened by handshake",
    "simultaneous": "opened simultaneously",
    "fast_open": "opened by Fast Open",
    "midstream": "begun before the capture",
    "refused": "refused",
    "unanswered": "unanswered",
    "incomplete": "never quite opened",
}
_CLOSED = {
    "normal": "closed normally",
    "simultaneous": "closed simultaneously",
    "half_closed": "half closed",
    "aborted": "reset",
    "timed_out": "timed out",
    "none": "open at the end",
}


def endings(conversation: Conversation) -> str:
    """Say in a line how it opened and closed."""
    row = conversation.row
    opened, closed = _OPENED[row["opening"]], _CLOSED[row["closing"]]
    if row["opening"] in {"refused", "unanswered"}:
        return opened
    if row["closing"] == "aborted" and row["reset_by"] in SIDES:
        closed += f" by the {row['reset_by']}"
    elif row["closing"] == "normal" and row["closed_first"] in SIDES:
        closed += f", by the {row['closed_first']} first"
    elif row["closing"] == "half_closed" and row["closed_first"] in SIDES:
        closed += f" by the {row['closed_first']}"
    return f"{opened}, {closed}"
