"""A connection that is over, as rules see it.

The counters of its row, the logged segments with their marks, the transitions of both endpoints: each is read when a
rule asks for it first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from tcptrace_fsm.core.room import zeros
from tcptrace_fsm.findings.icmp import IcmpError, icmp_errors
from tcptrace_fsm.findings.keys import mask
from tcptrace_fsm.findings.wording import name_in
from tcptrace_fsm.kernels.facts import unpack
from tcptrace_fsm.kernels.layout import (
    C_CLIENT_BASIS,
    C_CLIENT_HI,
    C_CLIENT_LO,
    C_CLIENT_STATE,
    C_ENDPOINTS,
    C_FLAGS,
    C_LOG_COUNT,
    C_LOG_HEAD,
    C_MARKS,
    C_NET,
    C_PATH,
    C_SERVER_BASIS,
    C_SERVER_HI,
    C_SERVER_LO,
    C_SERVER_STATE,
    C_TAKEN_OVER,
    C_TRANSITIONS,
    CF_LOG_FULL,
    CF_MIDSTREAM,
    CLIENT,
    DOUBT_COPIED,
    DOUBT_LOG_FULL,
    DOUBT_ONE_WAY,
    DOUBT_ORDER,
    DOUBT_UNSEEN,
    E_SEGMENTS,
    END_STACK,
    ENDPOINT_SIZE,
    FATE_ARRIVED,
    FATE_PARTLY,
    L_ARRIVAL_FRAME,
    L_FATE,
    L_FRAME,
    L_NEXT,
    LOG_FATE_MASK,
    MARK_ACK_UNSEEN,
    MARK_CAPTURE_DUPLICATE,
    MARK_GAP,
    MARK_REPLY_RST,
    MARK_TIME_BACK,
    SERVER,
    T_BASIS,
    T_CONFIRMED_BY,
    T_EARLIEST,
    T_EVENT,
    T_FRAME,
    T_FROM,
    T_LATEST,
    T_SIDE,
    T_TIME,
    T_TO,
    TCP_ACK,
    TCP_FIN,
    TCP_RST,
    TCP_SYN,
    TRANSITION_SIZE,
    UNPACKED_SIZE,
)
from tcptrace_fsm.tcp.machine import Basis, Event, State
from tcptrace_fsm.tcp.profiles import STACKS

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterable

    from tcptrace_fsm.tcp.profiles import Profile

__all__ = [
    "Change",
    "End",
    "Segment",
    "View",
    "artefact_of",
    "fault_of",
    "median",
    "name_of",
    "places_of",
    "segments_of",
]

T = TypeVar("T")
PLACES = 1 << 62  # above all numbers of frames
# By number: a call of the enum takes ten times as long.
STATES, EVENTS, BASES = tuple(State), tuple(Event), tuple(Basis)


class Segment(NamedTuple):
    """One logged segment, or a run of plain ones; see the log record in :mod:`tcptrace_fsm.kernels.layout`."""

    side: int
    time: int
    frame: int
    flags: int
    seq: int
    ack: int
    length: int
    marks: int
    window: int
    tsval: int
    tsecr: int
    last_time: int
    last_frame: int
    run: int
    ttl: int = -1
    """TTL or hop limit; of a run's first segment, like the two below."""
    ip_id: int = -1
    """IPv4 identification; -1 for IPv6."""
    options: int = 0
    """``OPT_`` bits."""
    fate: int = 0
    """``FATE_...``: with two capture points, what became of it between them; of a run's first segment."""
    checksum: int = 0
    """``CHECKSUM_`` code."""
    unsent: int = 0
    """1 where, of two captures, only that at its receiver has it; why the sender's lacks it is another matter."""

    @property
    def end(self) -> int:
        """Sequence number after it (SEG.SEQ + SEG.LEN)."""
        return self.seq + self.length + bool(self.flags & TCP_SYN) + bool(self.flags & TCP_FIN)

    @property
    def syn(self) -> bool:
        """A SYN without ACK."""
        return self.flags & (TCP_SYN | TCP_ACK | TCP_RST) == TCP_SYN

    @property
    def syn_ack(self) -> bool:
        """A SYN with ACK."""
        return self.flags & (TCP_SYN | TCP_ACK | TCP_RST) == TCP_SYN | TCP_ACK

    @property
    def fin(self) -> bool:
        """A FIN."""
        return self.flags & (TCP_FIN | TCP_RST) == TCP_FIN

    @property
    def rst(self) -> bool:
        """An RST."""
        return bool(self.flags & TCP_RST)

    @property
    def reply_rst(self) -> bool:
        """An RST that answers a segment to a connection that is not there (RFC 9293 3.5.2).

        It has no ACK; or it has one, and the numbers of the segment before it: the tracker's ``is_reply`` says so.
        """
        return bool(self.marks >> MARK_REPLY_RST & 1) or self.flags & (TCP_RST | TCP_ACK) == TCP_RST

    def has(self, *marks: int) -> bool:
        """Whether it bears any of the marks."""
        return bool(self.marks & mask(*marks))


class Change(NamedTuple):
    """One transition of one endpoint."""

    side: int
    time: int
    earliest: int
    latest: int
    frame: int | None
    source: State
    target: State
    event: Event
    basis: Basis
    confirmed_by: int | None


class End:
    """One endpoint of a connection, as rules see it."""

    def __init__(self, view: View, side: int) -> None:
        self.view = view
        self.side = side
        self._base = view.base + C_ENDPOINTS + side * ENDPOINT_SIZE

    def __getitem__(self, word: int) -> int:
        """A word of its record: ``end[E_FIN]``."""
        return self.view.words[self._base + word]

    @cached_property
    def name(self) -> str:
        """``address:port``."""
        return name_of(self.view.words, self.view.base, self.side)

    @property
    def peer(self) -> End:
        """The other endpoint."""
        return self.view.ends[1 - self.side]

    @property
    def profile(self) -> Profile:
        """The timers of its host: the profile's, those of the system that it bespeaks, or those that it has taught."""
        words, c = self.view.words, self.view.base
        hi, lo = (C_CLIENT_HI, C_CLIENT_LO) if self.side == CLIENT else (C_SERVER_HI, C_SERVER_LO)
        likely = self.view.profile.of_stack(STACKS[self[END_STACK]])
        return likely.of((words[c + C_NET] & 1, words[c + hi], words[c + lo]))

    @property
    def state(self) -> State:
        """Its state when the capture, or the incarnation, ends."""
        return STATES[self.view.words[self.view.base + (C_CLIENT_STATE if self.side == CLIENT else C_SERVER_STATE)]]

    @property
    def basis(self) -> Basis:
        """What that rests on."""
        return BASES[self.view.words[self.view.base + (C_CLIENT_BASIS if self.side == CLIENT else C_SERVER_BASIS)]]

    @cached_property
    def changes(self) -> list[Change]:
        """Its transitions, in order."""
        return [c for c in self.view.changes if c.side == self.side]

    @cached_property
    def segments(self) -> list[Segment]:
        """Its logged segments, in order."""
        return [s for s in self.view.segments if s.side == self.side]

    def entered(self, state: State) -> Change | None:
        """How it first came into a state."""
        return next((c for c in self.changes if c.target == state), None)

    def left(self, state: State) -> Change | None:
        """How it last went out of a state."""
        return next((c for c in reversed(self.changes) if c.source == state), None)


def median(values: Iterable[int]) -> float:
    """The median of some numbers; the module that knows it is not loaded at each start."""
    from statistics import median as middle

    return middle(values)


def places_of(log: memoryview, head: int) -> dict[int, int]:
    """Where two captures were made one: each frame's place in the log, by its number at either point.

    The captures number their frames apart, and rules tell by these numbers what came first.
    """
    places: dict[int, int] = {}
    r, n = head, PLACES
    while r >= 0:
        places[log[r + L_FRAME]] = n
        if log[r + L_FATE] & LOG_FATE_MASK in (FATE_ARRIVED, FATE_PARTLY):
            places.setdefault(log[r + L_ARRIVAL_FRAME], n)
        n += 1
        r = log[r + L_NEXT]
    return places


_SEGMENT: Callable[[Iterable[int]], Segment] = partial(tuple.__new__, Segment)  # as Segment._make, without Python


def segments_of(words: array[int], c: int, log: memoryview) -> list[Segment]:
    """The log of the connection whose record begins at ``c``, in capture order."""
    count = words[c + C_LOG_COUNT]
    unpacked = zeros(UNPACKED_SIZE * count)
    unpack(words[c + C_LOG_HEAD], count, log, unpacked)
    each = iter(unpacked)
    found = list(map(_SEGMENT, zip(*[each] * UNPACKED_SIZE, strict=True)))
    if words[c + C_PATH]:
        places = places_of(log, words[c + C_LOG_HEAD])
        return [s._replace(frame=places[s.frame]) for s in found]
    return found


@dataclass
class View:
    """A connection that is over, as rules see it.

    Attributes
    ----------
    words : array('q')
        The finished records; this connection's begins at word ``base``.
    log : memoryview of int64
        The pool of log records.
    transitions : array('q')
        The finished transitions; this connection's begin at word ``first``.
    now : int
        The moment as of which it is judged: the capture's latest for whatever is still open then, ns.
    profile : Profile
    lost : str or None
        What the capturing machine says that it lost, where that is much.
    kept : dict
        What rules have asked for once.
    """

    words: array[int]
    base: int
    log: memoryview
    transitions: array[int]
    first: int
    now: int
    profile: Profile
    lost: str | None = None
    ends: tuple[End, ...] = field(init=False)
    kept: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ends = (End(self, CLIENT), End(self, SERVER))

    def release(self) -> None:
        """Let go of its ends, which hold on to it as it does to them.

        Such a ring, and with it the whole block of records, stays in memory until Python searches for garbage.
        """
        self.ends = ()
        self.kept.clear()

    def once(self, what: str, make: Callable[[View], T]) -> T:
        """What several rules ask of the connection, worked out for the first of them."""
        if what not in self.kept:
            self.kept[what] = make(self)
        found: T = self.kept[what]
        return found

    def __getitem__(self, word: int) -> int:
        """A word of its record: ``view[C_MARKS]``."""
        return self.words[self.base + word]

    @property
    def client(self) -> End:
        """The client."""
        return self.ends[CLIENT]

    @property
    def server(self) -> End:
        """The server."""
        return self.ends[SERVER]

    @property
    def end(self) -> int:
        """The last moment that counts for it: the capture's, or that of the SYN which took the four-tuple over; ns."""
        return self[C_TAKEN_OVER] if self[C_TAKEN_OVER] >= 0 else self.now

    @cached_property
    def changes(self) -> list[Change]:
        """Its transitions: the client's in order of time, then the server's."""
        read = read_changes(self.transitions, self.first, self[C_TRANSITIONS])
        if not self[C_PATH]:
            return read
        place = self.places.get
        return [
            c._replace(
                frame=None if c.frame is None else place(c.frame, c.frame),
                confirmed_by=None if c.confirmed_by is None else place(c.confirmed_by, c.confirmed_by),
            )
            for c in read
        ]

    @cached_property
    def places(self) -> dict[int, int]:
        """Where two captures were made one: each frame's place in the log."""
        return places_of(self.log, self[C_LOG_HEAD])

    def shown(self, frame: int) -> int:
        """The number of a frame as its capture has it, given that of a segment or change."""
        if frame < PLACES:
            return frame
        return next(number for number, place in self.places.items() if place == frame)

    @cached_property
    def segments(self) -> list[Segment]:
        """Its log, in capture order, less what only the capture holds twice: copies are not looked at."""
        found = segments_of(self.words, self.base, self.log)
        if not self[C_MARKS] & COPIED:
            return found
        return [s for s in found if not s.marks & COPIED]

    @cached_property
    def icmp(self) -> list[IcmpError]:
        """The ICMP errors that quote its segments, in capture order."""
        found = icmp_errors(self.words, self.base, self.log)
        if not self[C_PATH]:
            return found
        return [e._replace(frame=self.places.get(e.frame, e.frame)) for e in found]

    def marked(self, *marks: int) -> list[Segment]:
        """The logged segments with any of these marks."""
        wanted = mask(*marks)
        return [s for s in self.segments if s.marks & wanted]

    def before(self, segment: Segment, *, side: int | None = None) -> Segment | None:
        """The logged segment before this one, from ``side`` if given."""
        return next((s for s in reversed(self.segments) if s.frame < segment.frame and side in (None, s.side)), None)

    def after(self, segment: Segment, *, side: int | None = None) -> Segment | None:
        """The logged segment after this one, from ``side`` if given."""
        return next((s for s in self.segments if s.frame > segment.frame and side in (None, s.side)), None)

    @property
    def one_sided(self) -> bool:
        """Whether the capture holds one direction only."""
        return not (self.client[E_SEGMENTS] and self.server[E_SEGMENTS])

    @property
    def artefact(self) -> str | None:
        """The capture fault that could explain what seems wrong with this connection, or None."""
        return artefact_of(self.words, self.base, self.lost)


def name_of(words: array[int], c: int, side: int) -> str:
    """``address:port`` of an endpoint of the connection whose record begins at ``c``."""
    return name_in(words[c + C_NET : c + C_SERVER_HI + 1], side)


CAPTURE_FAULTS = {
    DOUBT_COPIED: "the capture holds frames twice",
    DOUBT_UNSEEN: "the capture misses frames of this connection",
    DOUBT_ONE_WAY: "the capture holds one direction only",
    DOUBT_ORDER: "the capture's frames are out of order",
    DOUBT_LOG_FULL: "more happened than was kept",
}
"""The first that holds is named."""
COPIED, UNSEEN = mask(MARK_CAPTURE_DUPLICATE), mask(MARK_ACK_UNSEEN)
BACK, GAP = mask(MARK_TIME_BACK), mask(MARK_GAP)
SUSPECT, PARTIAL = COPIED | UNSEEN | BACK, CF_MIDSTREAM | CF_LOG_FULL


def artefact_of(words: array[int], c: int, lost: str | None) -> str | None:
    """The capture fault that could explain what seems wrong with the connection whose record begins at ``c``."""
    marks, flags = words[c + C_MARKS], words[c + C_FLAGS]
    if not marks & SUSPECT and not flags & PARTIAL:
        return lost
    one_way = not (words[c + C_ENDPOINTS + E_SEGMENTS] and words[c + C_ENDPOINTS + ENDPOINT_SIZE + E_SEGMENTS])
    return fault_of(
        (DOUBT_COPIED if marks & COPIED else 0)
        | (DOUBT_UNSEEN if marks & UNSEEN else 0)
        | (DOUBT_ONE_WAY if flags & CF_MIDSTREAM and one_way else 0)
        | (DOUBT_ORDER if marks & BACK and marks & GAP else 0)
        | (DOUBT_LOG_FULL if flags & CF_LOG_FULL else 0),
        lost,
    )


def fault_of(doubt: int, lost: str | None) -> str | None:
    """The same by ``DOUBT_`` bits; ``lost`` is what the capturing machine says that it lost."""
    return next((fault for bit, fault in CAPTURE_FAULTS.items() if doubt & bit), lost) if doubt else lost


def read_changes(words: array[int], start: int, count: int) -> list[Change]:
    """Transition records as :class:`Change`."""
    return [
        Change(
            words[t + T_SIDE],
            words[t + T_TIME],
            words[t + T_EARLIEST],
            words[t + T_LATEST],
            words[t + T_FRAME] if words[t + T_FRAME] >= 0 else None,
            STATES[words[t + T_FROM]],
            STATES[words[t + T_TO]],
            EVENTS[words[t + T_EVENT]],
            BASES[words[t + T_BASIS]],
            words[t + T_CONFIRMED_BY] if words[t + T_CONFIRMED_BY] >= 0 else None,
        )
        for t in range(start, start + count * TRANSITION_SIZE, TRANSITION_SIZE)
    ]
