"""One connection with every segment: what a picture of it needs.

A :class:`Conversation` is made by :mod:`tcptrace_fsm.views.collector`, in a run or from tables::

    conversation.client, conversation.server   # "10.0.0.1:49412", "10.0.0.2:8080"
    conversation.row["closing"]                # its row of the connections table; times and durations in ns
    conversation.segments                      # tuple of Segment: frame, time, side, flags, rel_seq, label, fate
    conversation.changes                       # tuple of Change: the transitions of both sides, by time
    conversation.stays("client")               # list of Stay: its states, each with begin, end and basis
    conversation.findings                      # tuple of Finding, each with its frames
    conversation.waits                         # tuple of Wait: from when to when, for whom and for what

In Python there are ``trace.conversations(wanted)`` and ``trace.connection(n).conversation()``. Pictures of a
conversation are made by :func:`tcptrace_fsm.views.ladder.ladder_svg` and :func:`tcptrace_fsm.views.ladder.ladder_text`.
What became of each segment is judged in :mod:`tcptrace_fsm.views.fates`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tcptrace_fsm.text.addresses import with_port

if TYPE_CHECKING:
    from tcptrace_fsm.core.finished import Finding

__all__ = ["NONE_LEFT_OUT", "Change", "Conversation", "LeftOut", "Segment", "Stay", "Wait"]


class LeftOut(NamedTuple):
    """Segments that a sample left out, by sender: with payload, without, and the payload's bytes."""

    client_data: int = 0
    server_data: int = 0
    client_empty: int = 0
    server_empty: int = 0
    client_bytes: int = 0
    server_bytes: int = 0

    @property
    def segments(self) -> int:
        """How many."""
        return self.client_data + self.server_data + self.client_empty + self.server_empty


NONE_LEFT_OUT = LeftOut()


class Segment(NamedTuple):
    """One segment, as the picture needs it.

    Attributes
    ----------
    frame : int
    time : int
        Capture time, ns since 1970 UTC.
    side : str
        The sender: ``client`` or ``server``.
    flags : str
        As in the segments table: ``SYN+ACK``.
    rel_seq, rel_ack : int or None
        Relative numbers; None where no base is known, or without ACK flag.
    payload_len : int
        Bytes.
    window : int or None
        Scaled, bytes; None where the scale is unknown.
    sack : tuple of (int, int)
        SACK blocks, relative like ``rel_ack``.
    tsval, tsecr : int or None
    label : str
        As in the segments table, or empty.
    sender_state, receiver_state : str or None
        After this segment.
    fate : str
        ``lost``: the analysis holds that it did not arrive, or was discarded on arrival. ``unknown``: nothing tells.
        Empty: it arrived, proved or presumed. See :mod:`tcptrace_fsm.views.fates`.
    left_out : LeftOut
        What was sampled away right before this one.

    """

    frame: int
    time: int
    side: str
    flags: str
    rel_seq: int | None
    rel_ack: int | None
    payload_len: int
    window: int | None
    sack: tuple[tuple[int, int], ...]
    tsval: int | None
    tsecr: int | None
    label: str
    sender_state: str | None
    receiver_state: str | None
    fate: str = ""
    left_out: LeftOut = NONE_LEFT_OUT

    @property
    def end(self) -> int | None:
        """Sequence number after it, SYN and FIN counted."""
        if self.rel_seq is None:
            return None
        return self.rel_seq + self.payload_len + ("SYN" in self.flags) + ("FIN" in self.flags)


class Change(NamedTuple):
    """One row of the transitions table; times in ns, None where the table has null."""

    side: str
    time: int
    earliest: int | None
    latest: int | None
    frame: int | None
    from_state: str
    to_state: str
    event: str
    basis: str
    confirmed_by: int | None


class Stay(NamedTuple):
    """An endpoint's stay in a state; ``change`` led to it, None for the one it began in. Times in ns."""

    state: str
    begin: int
    end: int
    basis: str
    change: Change | None


class Wait(NamedTuple):
    """One row of the table of waits; times in ns."""

    start: int
    end: int
    waiting_for: str
    side: str

    @property
    def words(self) -> str:
        """For whom or what.

        >>> Wait(0, 1, "application", "server").words, Wait(0, 1, "delayed_ack", "client").words
        ("waiting for the server's application", "waiting for the client's ACK, which it holds back")
        """
        return f"waiting for the {self.side}'s {_AWAITED[self.waiting_for]}"


_AWAITED = {
    "handshake": "part of the handshake",
    "application": "application",
    "window": "window to open",
    "retransmission": "repetition of what was lost",
    "delayed_ack": "ACK, which it holds back",
    "close": "close",
}


@dataclass(frozen=True)
class Conversation:
    """One connection, whole.

    Attributes
    ----------
    conn_id : int
    capture : str
        What the capture is called.
    began, ended : int
        First and last moment of the capture, ns: times on pictures count from the first.
    row : dict
        Its row of the connections table, by column; times and durations in ns, None for null.
    segments : tuple of Segment
        In capture order.
    changes : tuple of Change
        Of both sides, by time.
    findings : tuple of Finding
        By time; see :class:`tcptrace_fsm.core.finished.Finding`.
    waits : tuple of Wait
        Rows of the table of waits, by time.

    """

    conn_id: int
    capture: str
    began: int
    ended: int
    row: dict[str, Any]
    segments: tuple[Segment, ...]
    changes: tuple[Change, ...]
    findings: tuple[Finding, ...]
    waits: tuple[Wait, ...] = ()

    @property
    def client(self) -> str:
        """Address and port of the active opener."""
        return with_port(self.row["client_ip"], self.row["client_port"])

    @property
    def server(self) -> str:
        """Address and port of the passive opener."""
        return with_port(self.row["server_ip"], self.row["server_port"])

    @property
    def total(self) -> int:
        """Segments of the connection, those included that were sampled away."""
        return len(self.segments) + sum(s.left_out.segments for s in self.segments)

    def distance(self, side: str) -> int | None:
        """Half a round trip between capture point and that endpoint, ns; None where no answer of it was timed."""
        shortest: int | None = self.row["server_rtt_min" if side == "client" else "client_rtt_min"]
        return None if shortest is None else shortest // 2

    def stays(self, side: str) -> list[Stay]:
        """Give that endpoint's states in order, from the capture's first moment to its last (or its last timer)."""
        changes = [c for c in self.changes if c.side == side]
        if not changes:
            state, basis = self.row[f"{side}_state"], self.row[f"{side}_state_basis"]
            return [Stay(state, self.began, self.ended, basis, None)]
        stays = [Stay(changes[0].from_state, min(self.began, changes[0].time), changes[0].time, "inferred", None)]
        for change, after in zip(changes, [*changes[1:], None], strict=True):
            end = after.time if after else max(self.ended, change.time)
            stays.append(Stay(change.to_state, change.time, end, change.basis, change))
        return stays
