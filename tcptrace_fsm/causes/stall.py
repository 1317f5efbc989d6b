"""Data that does not get through: what was repeated, how often, and what came back meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.findings.evidence import prompt
from tcptrace_fsm.findings.rule import SECOND, mask
from tcptrace_fsm.kernels.layout import (
    C_OPENING,
    E_ACK,
    E_DUPLICATE_ACKS,
    E_FIN,
    E_LAST_TIME,
    E_NEXT,
    E_SACK_HIGH,
    E_SACK_LOW,
    MARK_ACK_PLUS_ONE,
    MARK_ACK_UNSEEN,
    MARK_BAD_CHECKSUM,
    MARK_CAPTURE_DUPLICATE,
    MARK_KEEPALIVE,
    MARK_NETWORK_DUPLICATE,
    MARK_PAWS,
    MARK_SPURIOUS,
    MARK_SYN_ACK_AGAIN,
    MARK_ZERO_WINDOW_PROBE,
    OPENING_MIDSTREAM,
)

if TYPE_CHECKING:
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.findings.rule import End, Segment, View

__all__ = ["PATIENCE", "REPEATED", "Beyond", "Stall", "acked_beyond", "damaged", "stalls", "unanswered"]

PATIENCE = 3 * SECOND  # a stall that is shorter may still be ordinary loss
FEW = 256  # bytes: what a box may add to a message, an address or a header
REPEATED = frozenset(
    {"fast_retransmission", "lost_after_v", "rexmit_backoff_chain", "rto_retransmission", "tlp_probe"},
)
"""Findings that tell of repetitions; whatever keeps data from arriving explains them."""
COPIES = mask(MARK_CAPTURE_DUPLICATE, MARK_NETWORK_DUPLICATE)
PROBES = mask(MARK_KEEPALIVE, MARK_ZERO_WINDOW_PROBE)


class Stall(NamedTuple):
    """A segment that one endpoint sends again and again, up to the end, and that is never acknowledged.

    Attributes
    ----------
    end, peer : End
        Who repeats it, and who does not acknowledge it.
    head : int
        Its first byte: where the peer's ACK stands.
    copies : list of Segment
        The repetitions, in order; the first transmission only where it was logged.
    size : int
        The largest payload among them; 0 for a bare FIN.
    missing : int
        Bytes from there to the last that was sent.
    alive : bool
        Whether the peer was heard after the first repetition had had time to arrive.
    answered : bool
        Whether the peer's ACKs answered nearly every copy at once.
    sacked : bool
        Whether the peer acknowledged later bytes by SACK.
    """

    end: End
    peer: End
    head: int
    copies: list[Segment]
    size: int
    missing: int
    alive: bool
    answered: bool
    sacked: bool

    @property
    def lasted(self) -> int:
        """From the first copy to the last, ns."""
        return self.copies[-1].time - self.copies[0].time


def stalls(case: Case) -> list[Stall]:
    """The stalls of a connection, one at most for each endpoint; worked out once for all causes."""

    def make(view: View) -> list[Stall]:
        return [stall for end in view.ends if (stall := _stall(case, end)) is not None]

    return case.view.once("stalls", make)


def _stall(case: Case, end: End) -> Stall | None:
    peer = end.peer
    head = max(peer[E_ACK], 1)
    bad = mask(MARK_BAD_CHECKSUM)
    upto = max(end[E_NEXT], *(s.end for s in end.segments if s.length and s.marks & bad), 0)  # sent, if damaged here
    if upto <= head or not case.both_directions or _opening_still(end, peer):
        return None
    copies = [
        s
        for s in end.segments
        if s.seq <= head < s.end and not s.rst and not s.syn and not s.syn_ack and not s.marks & (COPIES | PROBES)
    ]
    if len(copies) < 3:
        return None
    first, last = copies[0], copies[-1]
    wait = prompt(peer)
    return Stall(
        end,
        peer,
        head,
        copies,
        max(s.length for s in copies),
        upto - head - (end[E_FIN] == upto),
        peer[E_LAST_TIME] > first.time,
        peer[E_DUPLICATE_ACKS] >= len(copies) - 2 and peer[E_LAST_TIME] + wait >= last.time,
        peer[E_SACK_HIGH] > head or peer[E_SACK_LOW] > head,
    )


def _opening_still(end: End, peer: End) -> bool:
    """Whether one of them goes on to offer the connection: what is sent on it meets nobody yet."""
    data = next((s.frame for s in end.segments if s.length), None)
    return any(
        s.has(MARK_SYN_ACK_AGAIN) and data is not None and s.frame > data for s in (*end.segments, *peer.segments)
    )


def damaged(stall: Stall) -> list[Segment]:
    """Its copies with a wrong checksum."""
    bad = mask(MARK_BAD_CHECKSUM)
    return [s for s in stall.copies if s.marks & bad]


def unanswered(stall: Stall) -> list[Segment]:
    """What the peer sent again meanwhile although it had been acknowledged: the ACKs do not reach it either.

    Not where a segment with an old timestamp came: a receiver that refuses those takes no ACK of them.
    """
    if any(s.has(MARK_PAWS) for s in (*stall.end.segments, *stall.peer.segments)):
        return []
    began = stall.copies[0].time
    return [s for s in stall.peer.segments if s.length and s.has(MARK_SPURIOUS) and s.time > began]


class Beyond(NamedTuple):
    """An ACK for more than its receiver ever sent, and what that goes on to repeat."""

    ack: Segment
    excess: int
    again: list[Segment]


def acked_beyond(end: End) -> Beyond | None:
    """ACKs of ``end`` for bytes that its peer, by all it says afterwards, has not sent: it counts otherwise.

    Where a capture only lacks them, the peer has got this ACK and repeats nothing below it; or it has not, and repeats
    the missing ones too.
    """
    ack = next((s for s in end.segments if s.has(MARK_ACK_UNSEEN) and not s.has(MARK_ACK_PLUS_ONE)), None)
    if ack is None or end.view[C_OPENING] == OPENING_MIDSTREAM:
        return None
    later = [s for s in end.peer.segments if s.length and s.frame > ack.frame]
    again = [s for s in later if s.has(MARK_SPURIOUS) and s.end < ack.ack]
    excess = ack.ack - max((s.end for s in again), default=0)
    if len(again) < 3 or excess > FEW or any(s.end >= ack.ack for s in later):
        return None
    return Beyond(ack, excess, again)
