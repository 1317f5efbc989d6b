"""A connection as causes see it: a copy of what rules saw, kept until the capture is over, with its findings.

Rules judge a connection when it is over and let go of it. A cause needs the rest of the capture, which is only known at
the end. So a :class:`Case` holds a :class:`~tcptrace_fsm.findings.view.View` on copies of its record, its transitions
and its logged segments: everything that a rule can ask, a cause can ask too.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, NamedTuple

from tcptrace_fsm.capture.codes import FILE_SHIFT
from tcptrace_fsm.findings.icmp import icmp_errors
from tcptrace_fsm.findings.rule import View, segments_of
from tcptrace_fsm.findings.survey import Name, host_of, name, socket_of
from tcptrace_fsm.findings.view import places_of
from tcptrace_fsm.kernels.layout import (
    C_ENDPOINTS,
    C_FIRST_FRAME,
    C_FIRST_TIME,
    C_FLAGS,
    C_HELD_FRAME,
    C_ID,
    C_LAST_FRAME,
    C_LAST_TIME,
    C_LOG_HEAD,
    C_LONGEST_AFTER,
    C_LONGEST_BEFORE,
    C_OVER_TIME,
    C_PATH,
    C_PAUSE_FRAME,
    C_SLOWEST_FRAME,
    C_TAKEN_FRAME,
    C_TRANSITIONS,
    CF_MIDSTREAM,
    CLIENT,
    CONNECTION_SIZE,
    E_OUTSIDE_FRAME,
    E_SEGMENTS,
    ENDPOINT_SIZE,
    PATH_SIZE,
    SERVER,
    TRANSITION_SIZE,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tcptrace_fsm.core.finished import Block, Finding
    from tcptrace_fsm.findings.icmp import IcmpError
    from tcptrace_fsm.findings.rule import End, Segment
    from tcptrace_fsm.tcp.profiles import Profile

__all__ = ["Case", "Log", "frames_text", "host_text", "log_of", "path_of", "view_of"]

FRAME_WORDS = (
    *(C_FIRST_FRAME, C_LAST_FRAME, C_LONGEST_BEFORE, C_LONGEST_AFTER),
    *(C_SLOWEST_FRAME, C_PAUSE_FRAME, C_HELD_FRAME, C_TAKEN_FRAME),
    *(C_ENDPOINTS + side * ENDPOINT_SIZE + E_OUTSIDE_FRAME for side in (CLIENT, SERVER)),
)
"""Words of a connection's record that are frames, -1 for none."""

NO_LOG: Any = array("q")  # unlike a memoryview, it can be handed to another process


class Log(NamedTuple):
    """What is kept of a connection's log.

    Attributes
    ----------
    segments : list of Segment
    places : dict or None
        With two capture points, each frame's place in the log; see :func:`tcptrace_fsm.findings.view.places_of`.
    icmp : list of IcmpError
    """

    segments: list[Segment]
    places: dict[int, int] | None
    icmp: list[IcmpError]


def log_of(words: array[int], c: int, log: memoryview) -> Log:
    """The log of the connection whose record begins at ``c``, in a form that lasts."""
    places = places_of(log, words[c + C_LOG_HEAD]) if words[c + C_PATH] else None
    return Log(segments_of(words, c, log), places, icmp_errors(words, c, log))


def view_of(block: Block, c: int, t: int, log: Log, profile: Profile) -> View:
    """A view on copies, which lives on when the records and the log are gone."""
    copy = block.words[c : c + CONNECTION_SIZE]
    changes = block.done.transitions[t : t + copy[C_TRANSITIONS] * TRANSITION_SIZE]
    view = View(copy, 0, NO_LOG, changes, 0, copy[C_OVER_TIME], profile, block.lost_by(c))
    # What a view would work out of the log.
    view.__dict__["segments"] = log.segments
    view.__dict__["icmp"] = log.icmp
    if log.places is not None:
        view.__dict__["places"] = log.places
    return view


class Case:
    """One connection that may suffer from something.

    Attributes
    ----------
    view : View
        As rules see it.
    findings : list of Finding
        About this connection.
    path : array('q') or None
        With two capture points, its path record (``W_...``).
    """

    origins: Any = None
    """With several captures: which frame of which stands at each position of the timeline."""

    codes: dict[int, int] | None = None
    """Where the positions are those of one share of the work: what its frames are called everywhere."""

    def __init__(self, view: View, findings: list[Finding], path: array[int] | None = None) -> None:
        self.view = view
        self.findings = findings
        self.path = path
        self.kinds = frozenset(f.kind for f in findings)
        words = view.words
        self.client_host: Name = host_of(words, 0, CLIENT)
        self.server_host: Name = host_of(words, 0, SERVER)
        self.service: Name = socket_of(words, 0, SERVER)

    def ends_at(self, moment: int, kinds: frozenset[str]) -> None:
        """What comes after a moment is not known: it was not silent then, and findings of these kinds are none."""
        self.view.now = min(self.view.now, moment)
        self._without(kinds)

    def has_no_times(self, kinds: frozenset[str]) -> None:
        """The capture does not know how long it lasted, and findings of these kinds are none."""
        self.view.kept["mistimed"] = True
        self._without(kinds)

    def _without(self, kinds: frozenset[str]) -> None:
        self.kinds -= kinds
        self.findings = [f for f in self.findings if f.kind not in kinds]

    def __getitem__(self, word: int) -> int:
        """A word of its record: ``case[C_OPENING]``."""
        return self.view.words[word]

    @property
    def conn_id(self) -> int:
        """Its number."""
        return self.view.words[C_ID]

    @property
    def order(self) -> tuple[int, int]:
        """By what cases are ordered: when it began, and with which frame."""
        return self[C_FIRST_TIME], self.everywhere(self[C_FIRST_FRAME])

    def everywhere(self, position: int) -> int:
        """What a frame is called in all shares of the work."""
        return position if self.codes is None else self.codes.get(position, position)

    def learn_codes(self, codes: Callable[[list[int]], list[int]]) -> None:
        """Note what its frames are called everywhere; they keep their positions, which are in order of time."""
        positions = {number for s in self.view.segments for number in (s.frame, s.last_frame)}
        positions |= {error.frame for error in self.view.icmp}
        positions |= {change.frame for change in self.view.changes if change.frame is not None}
        positions |= {number for finding in self.findings for number in (finding.frame, *finding.frames) if number}
        positions |= {self[word] for word in FRAME_WORDS}
        known = sorted(positions)
        self.codes = dict(zip(known, codes(known), strict=True))

    @property
    def client(self) -> End:
        """Its client."""
        return self.view.client

    @property
    def server(self) -> End:
        """Its server."""
        return self.view.server

    @property
    def segments(self) -> list[Segment]:
        """Its logged segments, in capture order."""
        return self.view.segments

    @property
    def first_time(self) -> int:
        """Its first segment, ns."""
        return self[C_FIRST_TIME]

    @property
    def last_time(self) -> int:
        """Its last segment, ns."""
        return self[C_LAST_TIME]

    @property
    def end(self) -> int:
        """The last moment that counts for it, ns: the capture's end, for one that is open then."""
        return self.view.end

    @property
    def midstream(self) -> bool:
        """Whether the capture began inside it: no SYN and no SYN+ACK was seen."""
        return bool(self[C_FLAGS] & CF_MIDSTREAM)

    @property
    def both_directions(self) -> bool:
        """Whether segments of both ends were seen."""
        return bool(self.client[E_SEGMENTS] and self.server[E_SEGMENTS])

    @property
    def two_points(self) -> bool:
        """Whether it was captured at two points."""
        return self.path is not None and bool(self[C_PATH])

    @property
    def service_text(self) -> str:
        """The server's ``address:port``."""
        return self.server.name

    def has(self, *kinds: str) -> bool:
        """Whether there is a finding of any of these kinds."""
        return not self.kinds.isdisjoint(kinds)

    def finding(self, *kinds: str) -> Finding | None:
        """The first finding of any of these kinds."""
        return next((f for f in self.findings if f.kind in kinds), None) if self.has(*kinds) else None

    def sent(self, side: int) -> list[Segment]:
        """The logged segments of one side."""
        return self.view.ends[side].segments

    def shown(self, segments: Iterable[Segment | int | None]) -> list[int]:
        """The numbers of frames as the capture has them."""
        numbers = [s if isinstance(s, int) or s is None else s.frame for s in segments]
        shown = [self.everywhere(self.view.shown(n)) for n in numbers if n is not None]
        return shown if self.origins is None else [self.origins.code(n) for n in shown]

    def is_before(self, segment: Segment, number: int) -> bool:
        """Whether a logged segment came before the frame with this number: of its record, of a finding.

        With two capture points segments have places in place of numbers, and each capture its own numbers: those of
        one capture are compared.
        """
        places = self.log_places
        if places is None:
            return segment.frame < number
        if number in places:
            return segment.frame < places[number]
        (wanted,) = self.shown([number])
        own = self.shown([n for n, place in places.items() if place == segment.frame])
        return any(n < wanted for n in own if n >> FILE_SHIFT == wanted >> FILE_SHIFT)

    def at_one_point(self, one: Segment, other: Segment) -> bool:
        """With two capture points: whether the same of them shows both, by the frames that they are known by."""
        return len({n >> FILE_SHIFT for n in self.shown([one, other])}) < 2

    def place(self, number: int) -> int:
        """Where the frame with this number, of its record, stands among its logged segments, by their ``frame``."""
        return number if self.log_places is None else self.log_places.get(number, -1)

    @property
    def log_places(self) -> dict[int, int] | None:
        """With two capture points: each logged frame's place, by its number at either point."""
        return self.view.places if self.two_points else None

    def frames(self, *segments: Segment | int | None) -> str:
        """Frames in words: ``frame 4``, ``frames 4, 5``, ``frames 4, 5 and 9 more to 40``."""
        return frames_text(self.shown(segments))


def frames_text(numbers: Iterable[int]) -> str:
    """Frames in words; of many the first ones and the last. Those of several captures say of which.

    >>> frames_text([4]), frames_text([4, 5]), frames_text(range(10, 18))
    ('frame 4', 'frames 4, 5', 'frames 10, 11, 12 ... 17')
    >>> frames_text([(1 << FILE_SHIFT) + 7])
    'frame 7 of capture 2'
    """
    ordered = [_frame_text(n) for n in sorted(set(numbers))]
    if len(ordered) == 1:
        return f"frame {ordered[0]}"
    if len(ordered) <= 4:
        return "frames " + ", ".join(ordered)
    return "frames " + ", ".join(ordered[:3]) + f" ... {ordered[-1]}"


def _frame_text(number: int) -> str:
    capture, frame = divmod(number, 1 << FILE_SHIFT)
    return f"{frame} of capture {capture + 1}" if capture else str(frame)


def path_of(paths: array[int] | None, i: int) -> array[int] | None:
    """The path record of connection ``i`` of a block."""
    return None if paths is None else paths[i * PATH_SIZE : (i + 1) * PATH_SIZE]


def host_text(host: Name) -> str:
    """An address in words."""
    return name(host[:3])
