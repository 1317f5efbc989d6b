"""Records with fields by name: what the kernels of the replay work with.

Each class declares one record; ``setup.py`` makes a C struct of it, and a parameter of that type the address of one.
Uncompiled, the same names read and write the same words in memory, and refuse places that lie outside of it.

* A record over words that :mod:`.layout` numbers names those fields of it that are used here: :class:`Connection`,
  :class:`Endpoint`, :class:`Transition`, :class:`Timers`.
* A record of the kernels' own is declared here in full, in order: :class:`Segment` and :class:`Tcb`. All fields are
  ``int64``, or stand for arrays or other records.
* A record that Python makes and passes holds arrays: those derived from :class:`Held`.

``tcb.log[w]`` is a record in C and not its address: it may be read or written field by field, and copied to another
place, but not kept under a name of its own.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar

from tcptrace_fsm.kernels import layout
from tcptrace_fsm.kernels.layout import *

if TYPE_CHECKING:
    from collections.abc import Callable

    from tcptrace_fsm.kernels import Words

    Ends: TypeAlias = "Records[Endpoint]"  # the client's and the server's

# No __all__: compiled, these are structs, and the functions lines of C.

Kind = TypeVar("Kind")


class Placed:
    """A record over words: its fields are those words, by the numbers that the layout gives them."""

    __slots__ = ("at", "words")
    size: ClassVar[int]

    def __init__(self, words: Words, at: int) -> None:
        self.words = words
        self.at = at

    def __init_subclass__(cls, *, prefix: str, size: int) -> None:
        cls.size = size
        for name, kind in cls.__annotations__.items():
            place = getattr(layout, prefix + name.strip("_").upper())
            setattr(cls, name, {"int": _word, "Words": _run, "Ends": _ends}[kind](place))


def _word(place: int) -> property:
    def read(record: Placed) -> int:
        return record.words[record.at + place]

    def write(record: Placed, value: int) -> None:
        record.words[record.at + place] = value

    return property(read, write)


def _run(place: int) -> property:
    return property(lambda record: _Run(record.words, record.at + place))


def _ends(place: int) -> property:
    return property(lambda record: Records(Endpoint, record.words, record.at + place, 2))


class _Run:
    """Words of a record that belong together."""

    __slots__ = ("at", "words")

    def __init__(self, words: Words, at: int) -> None:
        self.words = words
        self.at = at

    def __getitem__(self, i: int) -> int:
        return self.words[self.at + i]


class Records(Generic[Kind]):
    """Records that lie side by side in memory, ``room`` of them."""

    __slots__ = ("made", "make", "room")

    def __init__(self, kind: Any, words: Words, at: int, room: int) -> None:
        self.make: Callable[[int], Kind] = lambda i: kind(words, at + i * kind.size)
        self.made: list[Kind] = []
        self.room = room

    def __getitem__(self, i: int) -> Kind:
        made = self.made
        if 0 <= i < len(made):
            return made[i]
        if not 0 <= i < self.room:
            raise IndexError(f"record {i} of {self.room}")
        made += map(self.make, range(len(made), i + 1))
        return made[i]

    def __setitem__(self, i: int, record: Kind) -> None:
        for name in type(record).__slots__:  # type: ignore[attr-defined]
            setattr(self[i], name, getattr(record, name))


class Endpoint(Placed, prefix="E_", size=ENDPOINT_SIZE):
    """One end of a connection, as the tracker has counted it (``E_...``)."""

    ack: int
    base_known: int
    busy_since: int
    bytes: int
    fin: int
    fins: int
    hole: Words
    holes: int
    last_time: int
    next: int
    retransmitted: int
    rsts: int
    rtt_count: int
    rtt_marker: Words
    rtt_min: int
    segments: int
    shift: int
    stage: int
    syn_tsval: int
    syns: int
    ttl: int
    unique: int


class Connection(Placed, prefix="C_", size=CONNECTION_SIZE):
    """A connection, as the tracker has counted it, and what the replay finds out about it (``C_...``)."""

    accepted: int
    client_basis: int
    client_state: int
    closed_first: int
    closing: int
    endpoints: Ends
    flags: int
    handshake_ack_time: int
    id: int
    local: int
    log_head: int
    marks: int
    near: Words
    opening: int
    over_time: int
    path: int
    refused: int
    reset_by: int
    server_basis: int
    server_state: int
    syn_ack_time: int
    syn_time: int
    taken_by: int
    taken_over: int
    taken_seq: int
    taken_tsval: int
    transitions: int
    vantage: int


class Transition(Placed, prefix="T_", size=TRANSITION_SIZE):
    """One change of state (``T_...``)."""

    connection: int
    side: int
    time: int
    earliest: int
    latest: int
    frame: int
    from_: int
    to: int
    event: int
    basis: int
    confirmed_by: int


class Timers(Placed, prefix="P_", size=PROFILE_SIZE):
    """How the clocks of one kind of host run (``P_...``)."""

    time_wait_least: int
    time_wait_usual: int
    time_wait_most: int
    fin_wait_2_least: int
    fin_wait_2_usual: int
    fin_wait_2_most: int
    time_wait_basis: int
    fin_wait_2_basis: int
    patience: int
    habits: int


class Segment:
    """A segment of the connection, as it passed here, or passed the point near the endpoint at hand."""

    __slots__ = (
        "ack", "end_time", "flags", "frame", "ip_id", "length", "marks",
        "seq", "side", "time", "tsecr", "tsval", "window",
    )  # fmt: skip
    size = len(__slots__)

    time: int  # ns
    frame: int
    flags: int
    side: int  # who sent it
    length: int  # of its payload
    seq: int  # 64 bits, relative to the sender's E_BASE
    ack: int  # 64 bits, relative to the peer's E_BASE; -1 without ACK flag or base
    marks: int  # M_... bits
    window: int  # bytes; where the scale is unknown, minus the field
    tsval: int  # -1 for none
    tsecr: int
    end_time: int  # of the last segment in a run of segments that are kept as one
    ip_id: int  # IP identification + 1; 0 for none

    def __init__(self, *_: object) -> None:
        for name in self.__slots__:
            setattr(self, name, 0)


class Held:
    """A record that Python makes and hands to a kernel: the arrays that this works on, and numbers.

    Compiled, a function that Python calls fills a struct of its own from it, and writes the numbers back. What is not
    given begins empty, or as 0.
    """

    def __init__(self, **given: Words | int) -> None:
        for name, kind in type(self).__annotations__.items():
            setattr(self, name, given.pop(name, 0 if kind == "int" else array("q")))
        if given:
            raise TypeError(f"{type(self).__name__} has no {', '.join(given)}")


class Tracker(Held):
    """The tables that the tracker works on, and what it remembers while one segment is at hand."""

    segments: Words  # the batch
    slots: Words  # finds rows by their four-tuple
    past: Words  # earlier uses of four-tuples
    rows: Words
    log: Words
    living: Words  # the live rows
    due: Words  # those that are over
    streams: Words  # Wireshark's
    known: Words  # finds them
    paths: Words  # between two capture points
    waits: Words
    control: Words  # K_...
    next_id: int  # the next conn_id, and the next stream, before the segment at hand
    next_stream: int


class Pairing(Held):
    """The tables by which two captures are compared, and what is found of the segment at hand."""

    first: Words  # segment records of the two captures, on one clock
    second: Words
    held: Words  # what waits for its counterpart
    buckets: Words  # finds it by its content
    ways: Words  # and by its direction
    out: Words  # takes V_OUT_ROOM segment records
    ctl: Words  # V_...
    segments: Words  # of the capture at hand
    point: int  # which of the two that is
    bucket: int  # where the segment at hand is found
    way: int  # its direction, and the other one
    back: int
    at: int  # its sender's point + 1, 0 where nobody knows
    best: int  # its counterpart, -1 for none
    good: int  # 1 where that can have got here by now
    again: int  # 1 where this point has the same frame already
    copied: int  # 1 where its counterpart has met another copy of it


class Replaying(Held):
    """What connections that are over are replayed from, and where their states are written."""

    due: Words  # where their rows begin
    rows: Words
    log: Words
    timers: Words  # P_...
    hosts: Words  # two words for each: where in ``timers`` those of the client's and the server's host begin
    machine: Words  # where an event leads: tcptrace_fsm.tcp.machine.table
    out: Words  # takes the transitions
    work: Words  # room for the segments of one
    scratch: Words  # room for the endpoint at hand
    room: int  # words in ``out``
    written: int  # transitions in it


class Classes(Held):
    """What connections are sorted by into classes of those that are alike to every rule."""

    chosen: Words  # two words each: where its record begins in ``block``, and its transitions in ``changes``
    block: Words
    log: Words
    changes: Words
    known: Words  # the classes: a hash table of their KEY_ words
    of: Words  # gets the class of each connection, -1 where there is no more room
    logged: int  # 0 where there is no log: then all facts hold
    slots: int  # room for so many classes, a power of two


class Scattering(Held):
    """Records of which some words are wanted, and the columns that those go to."""

    block: Words
    wanted: Words  # numbers of words
    places: Words  # the row of each record
    columns: Words
    size: int  # words in a record
    count: int  # of words that are wanted
    stride: int  # words from the beginning of one column to that of the next


class Detection(Held):
    """What detection reads of a block of connections, and what it has found so far."""

    asked: Words  # three words each: where its record begins, where its transitions begin, DETECT_... bits
    block: Words
    log: Words
    changes: Words  # transitions
    out: Words  # D_...; room for nine findings of each connection
    frames: Words  # of evidence; room for seven for each record of the logs, and nine for each connection
    found: int  # findings in ``out``
    evidence: int  # frames in ``frames``
    apart: int  # FINs that follow each other more quickly, ns, are copies
    soon: int  # the wait for an answer to a SYN that says nothing yet, ns


class Tcb:
    """The endpoint at hand: what its transmission control block holds (RFC 9293 3.3.1), and what its segments prove.

    Fields without a value are set for each connection, or each endpoint. The others begin with that value each time
    (:func:`begin_anew`). Segments are named by their place in ``log``; -1 is no segment, and no time.
    """

    top: int  # the next free place in ``out``
    row: Connection
    endpoint: Endpoint
    peer: Endpoint
    timers: Timers  # of its host
    machine: Words  # where an event leads: tcptrace_fsm.tcp.machine.table
    log: Records[Segment]
    out: Records[Transition]
    n: int  # how many segments there are
    side: int
    end: int  # last moment that counts, ns
    habits: int  # HABIT_... bits of its host's profile
    stack: int  # STACK_...: what system its host bespeaks

    state: int = 0  # machine.State
    opened: int = 0  # machine.Opened
    started: int = 0  # 1 once the endpoint has left its first state
    time: int = 0  # of its latest change: times never run backwards
    since: int = 0  # when TIME_WAIT was entered or restarted, or FIN_WAIT_2 entered
    basis: int = 0  # of its latest change
    asked: int = 0  # segments that ask for an answer which the peer has sent since it last heard of the endpoint
    saw: int = 0  # bits of the states it has been in
    half: int = 0  # half a round trip between capture point and endpoint, ns
    slack: int = 0  # what arrival times may be off by, ns
    reach: int = 0  # how far from its passing here a segment may have been sent or received, ns
    last_syn: int = -1  # capture times of its own last SYN, SYN+ACK, FIN, and segment other than RST; -1 for none
    last_syn_ack: int = -1
    last_fin: int = -1
    last_alive: int = -1
    syns: int = 0  # how many SYNs (or SYN+ACKs) and FINs it sent, and the gap before the last
    syn_gap: int = 0
    fins: int = 0
    fin_gap: int = 0
    first_fin: int = 0
    syn_copy: int = -1  # the copy of the peer's SYN, SYN+ACK and FIN that reached it: index in the log, -1 for none
    syn_ack_copy: int = -1
    fin_copy: int = -1
    syn_proof: int = -1  # its own segment that proves so, -1 for none
    syn_ack_proof: int = -1
    fin_proof: int = -1
    plain_proof: int = -1  # its first own segment with neither SYN nor RST
    unseen_fin: int = -1  # the peer's segment that acknowledges a FIN which is not in the capture, -1 for none
    peer_unseen_fin: int = -1  # its own segment that acknowledges such a FIN of the peer
    denied: int = 0  # how many ACKs of its FIN or SYN it has shown not to have received
    fin_taken: int = 0  # 1 once the peer's FIN was processed
    fin_end: int = 0  # sequence number after its own FIN, -1 for none
    peer_fin_end: int = 0
    unseen: int = 0  # 1 where the capture holds nothing from it
    peer_unseen: int = 0
    local: int = 0  # 1 where the capture was taken at this endpoint's host
    fin_fill: int = -1  # the peer's segment that filled the hole before its FIN: index in the log, -1 for none
    latest: int = -1  # its own latest segment so far, -1 for none
    own_ack: int = -1  # the highest ACK that it, and that its peer, has sent so far; -1 for none
    peer_ack: int = -1
    # its next segment in the log, and its peer's next RST: what was looked for is not looked for again
    next_own: int = -1
    next_rst: int = -1
    syn_ack_tsval: int = -1  # TSval of its first SYN+ACK, -1 for none
    overlooked: int = 0  # 1 where what should have been acknowledged at once never was, at the endpoint's own host
    challenge: int = -1  # capture time of its latest pure ACK that repeats the one before, -1 for none
    syn_ack: int = -1  # its latest SYN+ACK so far, -1 for none
    own_next: int = -1  # one past the highest that it has sent so far, -1 for nothing
    # capture time of the peer's latest segment that could not complete the handshake, -1 for none
    turned_away: int = -1
    shut: int = 0  # 1 where what it had to send at last was held back by a shut window
    fin_unknown: int = 0  # 1 where it answered by RST what its peer had sent before it had the endpoint's FIN
    # its peer's last segment that came late, and was sent before its peer heard of the endpoint's FIN
    overtaken: int = 0
    fin_after: int = 0  # 1 where its own FIN, lost or overtaken on its way here, was sent after it had taken the peer's
    fin_early: int = -1  # its FIN that does not acknowledge its peer's, passing behind that which does; -1 for none
    first_rst: int = -1  # its first RST that has an IP identification: index in the log, -1 for none
    scanned: int = 0  # up to where its own segments were looked at, and the last ACK of those
    scanned_ack: int = 0
    earliest: int = 0  # the earliest moment of its latest change
    resets: int = 0  # how many reply RSTs it sent after its FIN
    # its latest segment that does not acknowledge the peer's FIN, before the one that does, and when sent
    less: int = 0
    less_at: int = 0
    aborted: int = 0  # 1 once data that came after CLOSE have ended the connection, and its RST has yet to pass here

    size: ClassVar[int]

    def forget(self) -> None:
        """Begin with another endpoint."""
        for name in self.__annotations__:
            if name in vars(Tcb):
                setattr(self, name, getattr(Tcb, name))


Tcb.size = len(Tcb.__annotations__) - 1


def begin_anew(tcb: Tcb) -> int:
    """Begin with another endpoint: each field that has a value of its own begins with it."""
    tcb.forget()
    return 0


def tcb_in(scratch: Words) -> Tcb:  # noqa: ARG001
    """The holder; compiled, it lies in ``scratch``."""
    return Tcb()


def segments_in(work: Words) -> Records[Segment]:
    """Room for the segments of a connection; compiled, it lies in ``work``."""
    return Records(Segment, work, 0, len(work) // Segment.size)


def transitions_in(out: Words) -> Records[Transition]:
    """The transitions that ``out`` has room for."""
    return Records(Transition, out, 0, len(out) // TRANSITION_SIZE)


def row_at(rows: Words, c: int) -> Connection:
    """The connection whose record begins at word ``c``."""
    return Connection(rows, c)


def end_of(row: Connection, side: int) -> Endpoint:
    """One end of a connection."""
    return row.endpoints[side]


def timers_at(timers: Words, host: int) -> Timers:
    """The timers that begin at word ``host``."""
    return Timers(timers, host)
