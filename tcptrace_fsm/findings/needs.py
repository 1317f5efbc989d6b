"""What a capture must have shown of a connection before a rule may speak about it.

A capture shows what passed one point while somebody was looking. Where it could not have shown the contrary, a rule
that speaks all the same only repeats what the capture lacks. Each rule therefore names its needs, and they are asked
here, for all of them alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.findings.lacking import lacks
from tcptrace_fsm.kernels.layout import (
    BASE_SYN,
    BOTH_ELSEWHERE,
    C_ENDPOINTS,
    C_FLAGS,
    C_MARKS,
    CF_MIDSTREAM,
    E_ACK,
    E_BASE_KNOWN,
    E_FIN,
    E_HOLE,
    E_HOLES,
    E_NEXT,
    E_RSTS,
    E_SEGMENTS,
    E_SYNS,
    E_UNIQUE,
    ELSEWHERE,
    ENDPOINT_SIZE,
    FACT_BOTH_DIRECTIONS,
    FACT_BOTH_SYNS,
    MARK_ACK_UNSEEN,
    MARK_BAD_CHECKSUM,
    MARK_GAP,
    MARK_STRAY_SYN,
    MARK_TIME_BACK,
    TCP_ACK,
    TCP_FIN,
    TCP_RST,
    TCP_SYN,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tcptrace_fsm.findings.keys import Key
    from tcptrace_fsm.findings.view import End, Segment, View

__all__ = [
    "ACROSS",
    "BEGINNING",
    "BOTH_DIRECTIONS",
    "BOTH_SYNS",
    "DOUBTS",
    "FIRST_FIN",
    "TO_THE_END",
    "WHOLE",
    "Need",
    "doubtful",
    "holds_bare_acks",
    "incomplete",
    "is_elsewhere",
    "mixed",
    "whole",
]

DOUBTS = (
    "low where the capture lacks segments of the connection that were acknowledged or numbered, or its bare ACKs, "
    "takes two connections on the same ports for one, or has stamps a second or more behind those before them"
)


def always(_key: Key) -> bool:
    """For what can only be told of one connection."""
    return True


class Need(NamedTuple):
    """Something that the capture must hold of a connection.

    Attributes
    ----------
    text : str
        What, as it ends the sentence "the capture must hold ...".
    holds : callable
        View -> bool: whether it does.
    may_hold : callable
        Key -> bool: whether it can, as far as that is known of all connections that are alike.
    """

    text: str
    holds: Callable[[View], bool]
    may_hold: Callable[[Key], bool] = always


def both_directions(view: View) -> bool:
    """Whether each endpoint sent something that was seen."""
    words, c = view.words, view.base + C_ENDPOINTS + E_SEGMENTS
    return bool(words[c] and words[c + ENDPOINT_SIZE])


def beginning(view: View) -> bool:
    """Whether a SYN or SYN+ACK was seen."""
    return not view[C_FLAGS] & CF_MIDSTREAM


def handshake(view: View) -> bool:
    """Whether both SYNs were seen."""
    return view.client[E_BASE_KNOWN] == view.server[E_BASE_KNOWN] == BASE_SYN


def first_fin(view: View) -> bool:
    """Whether a FIN would have been seen from whoever has sent none: both spoke here before the first one passed.

    Not a bare ACK, which an endpoint sends after its FIN as well; a SYN, or data.
    """
    if beginning(view):
        return True
    fin = next((s for s in view.segments if s.fin), None)
    return fin is not None and all(end[E_UNIQUE] > 1 for end in view.ends if end[E_FIN] < 0)


def whole(view: View) -> bool:
    """Whether no bytes are known to be missing: what loses or filters data may do so to a FIN."""
    if view[C_MARKS] & 1 << MARK_ACK_UNSEEN:
        return False
    return not any(end[E_HOLE + 2 * i + 1] <= end.peer[E_ACK] for end in view.ends for i in range(end[E_HOLES]))


def outside(number: int, end: End) -> int:
    """By how many bytes a number lies outside of what an endpoint is known to have sent."""
    return max(-number, number - end[E_UNIQUE] - 1, 0)


def is_elsewhere(s: Segment, end: End, *, first: bool) -> bool:
    """Whether both numbers of a segment of ``end`` lie where its connection has none: it is of another, on its ports.

    A first segment gives its own number by itself.
    """
    if not s.flags & TCP_ACK or s.rst or s.marks >> MARK_BAD_CHECKSUM & 1 or s.marks >> MARK_STRAY_SYN & 1:
        return False
    off = outside(s.ack, end.peer)
    return off > ELSEWHERE if first and not s.seq else off > BOTH_ELSEWHERE and outside(s.seq, end) > BOTH_ELSEWHERE


def mixed(view: View) -> bool:
    """Whether segments of several connections on the same ports were taken for one: an opening was not captured."""
    if any(end[E_NEXT] - 1 - end[E_UNIQUE] > ELSEWHERE for end in view.ends):
        return True  # nobody loses so much of one
    return any(is_elsewhere(s, end, first=not i) for end in view.ends for i, s in enumerate(end.segments))


def holds_bare_acks(view: View) -> bool:
    """Whether the capture holds ACKs without data: where that which opens is missing, a filter may leave all out."""
    client = view.client
    if view[C_FLAGS] & CF_MIDSTREAM or not client[E_SYNS]:
        return True  # none need have been sent, as far as can be seen
    return any(not s.length and s.flags & (TCP_SYN | TCP_FIN | TCP_RST | TCP_ACK) == TCP_ACK for s in client.segments)


def lacks_answer(view: View) -> bool:
    """Whether one end's SYN is missing though it went on, and the other's is there: the capture dropped frames."""
    return any(end[E_SYNS] and not end.peer[E_SYNS] and end.peer[E_SEGMENTS] > end.peer[E_RSTS] for end in view.ends)


def doubtful(view: View) -> bool:
    """Whether the capture is known to lack segments of the connection, to mix several, or to have lost their order."""
    return view.once("doubtful", is_doubtful)


def is_doubtful(view: View) -> bool:
    """The same, worked out."""
    return incomplete(view) or mixed(view)


def incomplete(view: View) -> bool:
    """Whether the capture is known to lack segments of the connection, or to have lost their order."""
    return view.once("incomplete", is_incomplete)


def is_incomplete(view: View) -> bool:
    """The same, worked out."""
    if view.lost or lacks(view) or not holds_bare_acks(view) or lacks_answer(view):
        return True
    missed = any(s.has(MARK_ACK_UNSEEN) and s.ack <= view.ends[s.side][E_ACK] for s in view.segments)
    if missed or (view[C_MARKS] >> MARK_TIME_BACK & 1 and view[C_MARKS] >> MARK_GAP & 1):
        return True
    return any(end[E_HOLE + 2 * i + 1] <= end.peer[E_ACK] for end in view.ends for i in range(end[E_HOLES]))


BOTH_DIRECTIONS = Need("segments of both endpoints", both_directions, lambda key: key.shows(FACT_BOTH_DIRECTIONS))
BEGINNING = Need("the connection's beginning", beginning, lambda key: not key.flags & CF_MIDSTREAM)
BOTH_SYNS = Need("the SYNs of both endpoints", handshake, lambda key: key.shows(FACT_BOTH_SYNS))
FIRST_FIN = Need("the handshake, or data of the side that is said not to have closed", first_fin)
WHOLE = Need("all that was acknowledged", whole)
# What only the whole capture tells is asked at its end (tcptrace_fsm.causes.held), and not of the connection.
TO_THE_END = Need(
    "what came after: no connection goes on with its numbers under another name, and none shows that most of the time "
    "since was not captured",
    lambda _: True,
)
ACROSS = Need(
    "the time before: no connection shows that the capture did not listen, for longer than has passed since",
    lambda _: True,
)
