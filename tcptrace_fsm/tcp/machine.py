"""The TCP state machine of RFC 9293, as data.

This file is the only place that knows how TCP moves from state to state. The replay, the diagram, the generated
documentation and the tests all read the rows below; nothing else assigns a state.

The theory in one page
----------------------
Each connection has two endpoints, and *each of them* runs this machine (RFC 9293 section 3.3.2). An endpoint opens
actively (it sends the first SYN: a client) or passively (it waits in LISTEN: a server)::

    client   CLOSED  -SYN->       SYN_SENT     <-SYN+ACK-  ESTABLISHED
    server   LISTEN  <-SYN-       SYN_RECEIVED <-ACK-      ESTABLISHED

Either may close first. The one that does goes the *active* way, the other the *passive* way::

    active   ESTABLISHED -FIN->  FIN_WAIT_1 <-ACK-  FIN_WAIT_2  <-FIN-  TIME_WAIT -(2MSL)-> CLOSED
    passive  ESTABLISHED <-FIN-  CLOSE_WAIT -FIN->  LAST_ACK    <-ACK-  CLOSED

Between the two closes lies the *half-close*: FIN_WAIT_2 on one side and CLOSE_WAIT on the other, for as long as the
passive side's application likes. If both send their FIN before seeing the other's, both go FIN_WAIT_1, CLOSING,
TIME_WAIT (simultaneous close). If both send a SYN before seeing the other's, both go SYN_SENT, SYN_RECEIVED,
ESTABLISHED (simultaneous open). TIME_WAIT keeps the active closer for two maximum segment lifetimes, for two reasons:
its last ACK may be lost, and then somebody must be there to answer the repeated FIN; and old segments must have died
before the same four-tuple is used again.

How the table is used
---------------------
A segment is first *classified*: all guards (is this ACK acceptable, does it cover our FIN, is this RST exact, was it
delivered at all?) are answered there, so that each segment gives each endpoint at most one event that matters. The
events are therefore *effects*, not header flags: a FIN behind a hole is no ``RCV_FIN`` yet, an RST outside the window
is no ``RCV_RST``. What remains is this table, and it is total: any state, any event, one answer. A pair without a row
means "no change". Where RFC 9293 checks two things of one segment in turn (3.10.7.4: first the ACK, then the FIN), two
events may follow one another, as when the ACK that completes a handshake carries a FIN.

A passive observer needs three kinds of row that the RFC's figure does not draw: what a RST does, what only a clock
shows, and what a capture makes us conclude although the segment itself is not in it (the ``UNSEEN`` and ``GONE``
events). They are marked ``drawn=False``; the rows that are drawn are exactly the edges of the RFC's figure 5.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

__all__ = ["EVENT_TEXT", "TRANSITIONS", "Basis", "Event", "Opened", "State", "Transition", "table"]


class State(IntEnum):
    """The eleven states of RFC 9293 section 3.3.2, and UNKNOWN for what a capture cannot tell."""

    CLOSED = 0
    LISTEN = 1
    SYN_SENT = 2
    SYN_RECEIVED = 3
    ESTABLISHED = 4
    FIN_WAIT_1 = 5
    FIN_WAIT_2 = 6
    CLOSE_WAIT = 7
    CLOSING = 8
    LAST_ACK = 9
    TIME_WAIT = 10
    UNKNOWN = 11


class Opened(IntEnum):
    """How an endpoint opened; RFC 9293 MUST-11 has it remembered."""

    ACTIVE = 0
    PASSIVE = 1


class Event(IntEnum):
    """What can happen to an endpoint, after classification."""

    OPEN_PASSIVE = 0
    SND_SYN = 1
    SND_SYN_ACK = 2
    SND_FIN = 3
    SND_RST = 4
    RCV_SYN = 5
    RCV_SYN_ACK = 6
    RCV_ACK_OF_SYN = 7
    RCV_FIN = 8
    RCV_ACK_OF_FIN = 9
    RCV_FIN_ACK_OF_FIN = 10
    RCV_RST = 11
    USER_CLOSE = 12
    TIMEOUT_2MSL = 13
    TIMEOUT_FIN_WAIT_2 = 14
    TIMEOUT_RETRANSMISSION = 15
    GONE = 16
    REUSED = 17
    RCV_ACK_OF_UNSEEN_FIN = 18
    SND_FIN_AGAIN = 19
    RCV_FIN_AFTER_UNSEEN_FIN = 20


EVENT_TEXT: dict[Event, str] = {
    Event.OPEN_PASSIVE: "passive OPEN",
    Event.SND_SYN: "snd SYN",
    Event.SND_SYN_ACK: "snd SYN+ACK",
    Event.SND_FIN: "snd FIN",
    Event.SND_RST: "snd RST",
    Event.RCV_SYN: "rcv SYN",
    Event.RCV_SYN_ACK: "rcv SYN+ACK",
    Event.RCV_ACK_OF_SYN: "rcv ACK of SYN",
    Event.RCV_FIN: "rcv FIN",
    Event.RCV_ACK_OF_FIN: "rcv ACK of FIN",
    Event.RCV_FIN_ACK_OF_FIN: "rcv FIN, ACK of FIN",
    Event.RCV_RST: "rcv RST",
    Event.USER_CLOSE: "CLOSE",
    Event.TIMEOUT_2MSL: "timeout 2MSL",
    Event.TIMEOUT_FIN_WAIT_2: "timeout FIN_WAIT_2",
    Event.TIMEOUT_RETRANSMISSION: "timeout retransmission",
    Event.GONE: "found gone",
    Event.REUSED: "four-tuple reused",
    Event.RCV_ACK_OF_UNSEEN_FIN: "rcv ACK of unseen FIN",
    Event.SND_FIN_AGAIN: "snd FIN again",
    Event.RCV_FIN_AFTER_UNSEEN_FIN: "rcv FIN after unseen FIN",
}
"""The words of the ``event`` column of the transitions table."""


class Basis(IntEnum):
    """What a state change rests on; the words of the ``basis`` columns are these names in lower case.

    sent
        The endpoint's own segment shows it.
    acked
        The endpoint's own later segment proves that it had received what caused the change.
    presumed
        The cause passed the capture point and nothing says that it was lost.
    timer
        Time alone.
    inferred
        From context: the capture does not hold the segment that caused it.
    learned
        Time alone, as ``timer``, by what this very host has shown of its timers.
    """

    SENT = 0
    ACKED = 1
    PRESUMED = 2
    TIMER = 3
    INFERRED = 4
    LEARNED = 5


class Transition(NamedTuple):
    """One row: in state ``source``, ``event`` leads to ``target``.

    Attributes
    ----------
    source, event, target : State, Event, State
    rfc : str
        Section of RFC 9293 unless another document is named.
    drawn : bool
        Whether it is an edge of the RFC's figure 5.
    opened : Opened or None
        The row holds only for an endpoint that opened this way; None for both.
    sockets : bool or None
        True: only where a listener is a socket of its own (every system with the sockets interface), so that the
        four-tuple's endpoint ends while the listener listens on. False: only in the RFC's own model, in which one TCB
        goes back to LISTEN. None: in both.
    """

    source: State
    event: Event
    target: State
    rfc: str
    drawn: bool = True
    opened: Opened | None = None
    sockets: bool | None = None


def _rows() -> tuple[Transition, ...]:
    s, e = State, Event
    active, passive = Opened.ACTIVE, Opened.PASSIVE
    row = Transition
    # fmt: off
    rows = [
        # opening
        row(s.CLOSED,       e.OPEN_PASSIVE,   s.LISTEN,       "3.10.1"),
        row(s.CLOSED,       e.SND_SYN,        s.SYN_SENT,     "3.10.1"),
        row(s.LISTEN,       e.SND_SYN,        s.SYN_SENT,     "3.10.2"),
        row(s.LISTEN,       e.RCV_SYN,        s.SYN_RECEIVED, "3.10.7.2"),
        row(s.SYN_SENT,     e.RCV_SYN,        s.SYN_RECEIVED, "3.10.7.3"),
        row(s.SYN_SENT,     e.RCV_SYN_ACK,    s.ESTABLISHED,  "3.10.7.3"),
        row(s.SYN_RECEIVED, e.RCV_ACK_OF_SYN, s.ESTABLISHED,  "3.10.7.4"),
        row(s.SYN_RECEIVED, e.RCV_RST,        s.LISTEN,       "3.10.7.4",     opened=passive, sockets=False),
        row(s.SYN_RECEIVED, e.RCV_RST,        s.CLOSED,       "3.10.7.4", opened=passive, sockets=True, drawn=False),
        row(s.SYN_RECEIVED, e.RCV_RST,        s.CLOSED,       "3.10.7.4",     opened=active, drawn=False),
        # a close before it was open: no segment shows the first two
        row(s.LISTEN,       e.USER_CLOSE,     s.CLOSED,       "3.10.4"),
        row(s.SYN_SENT,     e.USER_CLOSE,     s.CLOSED,       "3.10.4"),
        row(s.SYN_RECEIVED, e.SND_FIN,        s.FIN_WAIT_1,   "3.10.4"),
        # closing, the active way
        row(s.ESTABLISHED,  e.SND_FIN,        s.FIN_WAIT_1,   "3.10.4"),
        row(s.FIN_WAIT_1,   e.RCV_ACK_OF_FIN, s.FIN_WAIT_2,   "3.10.7.4"),
        row(s.FIN_WAIT_1,   e.RCV_FIN,        s.CLOSING,      "3.10.7.4"),
        row(s.FIN_WAIT_1,   e.RCV_FIN_ACK_OF_FIN, s.TIME_WAIT, "3.3.2 note 2", drawn=False),
        row(s.FIN_WAIT_2,   e.RCV_FIN,        s.TIME_WAIT,    "3.10.7.4"),
        row(s.FIN_WAIT_2,   e.RCV_FIN_ACK_OF_FIN, s.TIME_WAIT, "3.10.7.4",     drawn=False),
        row(s.CLOSING,      e.RCV_ACK_OF_FIN, s.TIME_WAIT,    "3.10.7.4"),
        row(s.CLOSING,      e.RCV_FIN_ACK_OF_FIN, s.TIME_WAIT, "3.10.7.4",     drawn=False),
        row(s.TIME_WAIT,    e.TIMEOUT_2MSL,   s.CLOSED,       "3.10.8"),
        # closing, the passive way
        row(s.ESTABLISHED,  e.RCV_FIN,        s.CLOSE_WAIT,   "3.10.7.4"),
        row(s.CLOSE_WAIT,   e.SND_FIN,        s.LAST_ACK,     "3.10.4"),
        row(s.LAST_ACK,     e.RCV_ACK_OF_FIN, s.CLOSED,       "3.10.7.4"),
        row(s.LAST_ACK,     e.RCV_FIN_ACK_OF_FIN, s.CLOSED,   "3.10.7.4",     drawn=False),
        # SYN_RECEIVED that meets a FIN whose ACK was not enough to open it (RFC 9293 3.10.7.4, eighth check)
        row(s.SYN_RECEIVED, e.RCV_FIN,        s.CLOSE_WAIT,   "3.10.7.4",     drawn=False),
        # what the capture does not hold: a FIN that the peer acknowledged all the same
        row(s.ESTABLISHED,  e.RCV_ACK_OF_UNSEEN_FIN, s.FIN_WAIT_2, "3.10.7.4", drawn=False),
        row(s.CLOSE_WAIT,   e.RCV_ACK_OF_UNSEEN_FIN, s.CLOSED, "3.10.7.4",     drawn=False),
        # ... or that its own ACK of the peer's FIN has behind it
        row(s.ESTABLISHED,  e.RCV_FIN_AFTER_UNSEEN_FIN, s.CLOSING, "3.10.7.4", drawn=False),
        # gVisor calls itself so once it has repeated its FIN (maybeSendSegment); no other stack has this event
        row(s.LAST_ACK,     e.SND_FIN_AGAIN,  s.FIN_WAIT_1,   "3.8.1; gVisor's netstack alone", drawn=False),
        row(s.CLOSING,      e.SND_FIN_AGAIN,  s.FIN_WAIT_1,   "3.8.1; gVisor's netstack alone", drawn=False),
        # time
        row(s.FIN_WAIT_2,   e.TIMEOUT_FIN_WAIT_2, s.CLOSED, "3.10.8; not in the RFC, every system has it", drawn=False),
    ]
    synchronized = (
        s.ESTABLISHED, s.FIN_WAIT_1, s.FIN_WAIT_2, s.CLOSE_WAIT, s.CLOSING, s.LAST_ACK, s.TIME_WAIT,
    )
    # resets: RFC 9293 3.10.7.3 and 3.10.7.4 (second check, for acceptable ones only), and 3.10.5 for the sender's side
    rows += [row(x, e.RCV_RST, s.CLOSED, "3.10.7.4", drawn=False) for x in synchronized]
    rows += [row(s.SYN_SENT, e.RCV_RST, s.CLOSED, "3.10.7.3", drawn=False)]
    rows += [row(x, e.SND_RST, s.CLOSED, "3.10.5", drawn=False) for x in (s.SYN_SENT, s.SYN_RECEIVED, *synchronized)]
    # its own later segments, or a new use of the four-tuple, show that the connection was forgotten (3.5.1)
    living = (s.LISTEN, s.SYN_SENT, s.SYN_RECEIVED, *synchronized)
    rows += [row(x, e.GONE, s.CLOSED, "3.5.1", drawn=False) for x in living]
    rows += [row(x, e.REUSED, s.CLOSED, "3.6.1", drawn=False) for x in living]
    # giving up: R2 of RFC 9293 3.8.3, user time-out, orphan limits
    giving_up = (s.SYN_SENT, s.SYN_RECEIVED, s.ESTABLISHED, s.FIN_WAIT_1, s.CLOSE_WAIT, s.CLOSING, s.LAST_ACK)
    rows += [row(x, e.TIMEOUT_RETRANSMISSION, s.CLOSED, "3.8.3", drawn=False) for x in giving_up]
    # fmt: on
    return tuple(rows)


TRANSITIONS: tuple[Transition, ...] = _rows()


def table(*, sockets: bool = True) -> list[int]:
    """Expand the rows to a total table, for the replay.

    Parameters
    ----------
    sockets : bool
        See :class:`Transition`.

    Returns
    -------
    list of int
        ``len(Opened) * len(State) * len(Event)`` next states, indexed ``(opened * len(State) + state) * len(Event) +
        event``. A pair without a row keeps its state.
    """
    states, events = len(State), len(Event)
    cells = [state for _ in Opened for state in range(states) for _ in range(events)]
    for t in TRANSITIONS:
        if t.sockets is not None and t.sockets != sockets:
            continue
        for opened in Opened if t.opened is None else (t.opened,):
            cells[(opened * states + t.source) * events + t.event] = int(t.target)
    return cells
