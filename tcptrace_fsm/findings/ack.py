"""Rules about acknowledgments: of what was never seen, of what was never sent, of what came twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.evidence import BEGUN_IDLE, HANDSHAKE, MET_OLD
from tcptrace_fsm.findings.loss import bears, counted, times
from tcptrace_fsm.findings.needs import BOTH_DIRECTIONS, mixed
from tcptrace_fsm.findings.rule import Hit, Rule, View, mask
from tcptrace_fsm.kernels.layout import (
    C_MARKS,
    E_ACK,
    E_FIN,
    E_HOLE,
    E_HOLES,
    E_LAST_ACK,
    E_NEXT,
    E_UNIQUE,
    MARK_ACK_UNSEEN,
    MARK_DSACK,
    MARK_GAP,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcptrace_fsm.findings.rule import End

__all__ = ["RULES"]

ROOM = 4  # holes that a record has room for


def missing(end: End) -> int:
    """How many bytes an endpoint sent, and its peer acknowledged, that the capture does not hold."""
    if end[E_HOLES] == ROOM and not end.view[C_MARKS] & mask(MARK_ACK_UNSEEN):
        return 0  # so many holes at once are kept only roughly
    holes = [(end[E_HOLE + 2 * i], end[E_HOLE + 2 * i + 1]) for i in range(end[E_HOLES])]
    acknowledged = sum(b - a for a, b in holes if b <= end.peer[E_ACK])
    unseen_bytes = end[E_NEXT] - 1 - (end[E_FIN] >= 0) - end[E_UNIQUE]
    return min(acknowledged, unseen_bytes)


def sequence_gaps(c: View) -> Iterator[Hit]:
    """Bytes that were acknowledged and never passed here, one finding per sender."""
    for end in c.ends:
        amount = missing(end)
        shown = [s for s in c.segments if s.has(MARK_GAP if s.side == end.side else MARK_ACK_UNSEEN)]
        if amount <= 0 or not shown or c.one_sided:
            continue
        yield Hit(
            None,
            shown[0],
            f"{counted(amount, 'byte')} that {end.name} sent did not pass here, though {end.peer.name} acknowledged "
            "all: "
            "frames are missing from the capture",
            shown[1:],
            "low" if amount == 1 else None,  # a FIN that was not seen
        )


def unseen(c: View) -> Iterator[Hit]:
    """ACKs of what has not been seen, one finding per connection."""
    found = [s for s in c.marked(MARK_ACK_UNSEEN) if s.ack <= c.ends[s.side][E_ACK]]
    if found and not c.one_sided:
        first = found[0]
        yield Hit(
            None,
            first,
            f"{c.ends[first.side].name} acknowledged bytes of {c.ends[1 - first.side].name} that had not passed here, "
            f"{times(len(found), c)}: frames are missing from the capture, or stand behind their ACKs in it",
            found[1:],
        )


def unsent(c: View) -> Iterator[Hit]:
    """An ACK of more than its own sender stands by later, one finding per endpoint."""
    if c.one_sided:
        return
    for end in c.ends:
        # What its peer sent later stands behind its ACK: the capture is out of order.
        most = max(end[E_ACK], end.peer[E_NEXT])
        found = [s for s in end.segments if s.has(MARK_ACK_UNSEEN) and s.ack > most]
        if found:
            first = found[0]
            other = f"more than {end[E_ACK]} otherwise" if end[E_ACK] >= 0 else "anything else"
            yield Hit(
                end.side,
                first,
                f"a segment of {end.name} acknowledged byte {first.ack} of {end.peer.name}, which sent up to byte "
                f"{end.peer[E_NEXT]}; {end.name} itself never acknowledged {other}: it is forged or astray",
                found[1:],
                None
                if end[E_LAST_ACK] < first.ack and not mixed(c)
                else "low",  # its last word stands alone: what it says may be so
            )


def reported_duplicates(c: View) -> Iterator[Hit]:
    """D-SACKs, one finding per receiver."""
    for end in c.ends:
        dsacks = [s for s in end.segments if s.has(MARK_DSACK)]
        if dsacks:
            yield Hit(
                end.side,
                dsacks[0],
                f"{end.name} reported {times(len(dsacks), c)} that it had received bytes of {end.peer.name} twice "
                "(D-SACK)",
                dsacks[1:],
            )


RULES = (
    Rule(
        kind="seq_gap",
        category="data",
        severity="low",
        rfc="RFC 9293 3.4",
        summary="Bytes that arrived are not in the capture: what it says of this connection is incomplete.",
        evidence="A hole in the sequence numbers that nothing filled, and an ACK of the peer beyond it.",
        innocent="The capture lost frames, or part of the traffic took another way; TCP itself was well.",
        when=bears(MARK_GAP, MARK_ACK_UNSEEN),
        needs=(BOTH_DIRECTIONS,),
        detect=sequence_gaps,
        aliases={"Zeek": "content_gap, missed_bytes", "Suricata": "reassembly_seq_gap", "argus": "sgap"},
        example=HANDSHAKE
        + """
            1.000 > P. 1101:1201(100) ack 1
            1.010 < .  1:1(0)         ack 1201
        """,
        counterexample=(
            HANDSHAKE
            + """
            1.000 > P. 1101:1201(100) ack 1
            1.005 > .  101:1101(1000) ack 1
            1.010 < .  1:1(0)         ack 1201
        """,
            BEGUN_IDLE,
            MET_OLD,
        ),
    ),
    Rule(
        kind="ack_unseen",
        category="data",
        severity="low",
        rfc="RFC 9293 3.10.7.4",
        summary="An endpoint acknowledged bytes that the capture has not shown so far.",
        evidence="An ACK beyond the highest sequence number seen from the peer, within the window announced to it.",
        innocent="Frames missing from the capture; a capture that reorders the two directions.",
        when=bears(MARK_ACK_UNSEEN),
        needs=(BOTH_DIRECTIONS,),
        detect=unseen,
        aliases={"Wireshark": "tcp.analysis.ack_lost_segment", "conntrack": "ACK is over upper bound"},
        example=HANDSHAKE + "            1.010 < .  1:1(0) ack 1201\n",
        counterexample=(
            HANDSHAKE
            + """
            1.000 > P. 1101:1201(100) ack 1
            1.010 < .  1:1(0)         ack 1201
        """,
            BEGUN_IDLE,
            MET_OLD,
        ),
    ),
    Rule(
        kind="ack_of_unsent_data",
        category="data",
        severity="high",
        rfc="RFC 9293 3.10.7.4, RFC 5961 5",
        summary="A segment acknowledged bytes that were never sent.",
        evidence="An ACK beyond all that the peer sent and beyond the window offered to it; no later ACK confirms it.",
        innocent=(
            "A middlebox that rewrites sequence numbers in one direction only; frames missing where the window "
            "is unknown."
        ),
        when=bears(MARK_ACK_UNSEEN),
        needs=(BOTH_DIRECTIONS,),
        detect=unsent,
        aliases={"Suricata": "est_invalid_ack, pkt_invalid_ack"},
        example=HANDSHAKE
        + """
            1.010 < .  1:1(0)       ack 900101
            1.020 > P. 101:201(100) ack 1
            1.030 < .  1:1(0)       ack 201
        """,
        counterexample=HANDSHAKE
        + """
            1.010 < .  1:1(0)         ack 1101
            1.020 > P. 1101:1201(100) ack 1
            1.030 < .  1:1(0)         ack 1201
        """,
    ),
    Rule(
        kind="dsack_report",
        category="data",
        severity="info",
        rfc="RFC 2883 4",
        summary="A receiver told that bytes came twice.",
        evidence="The first SACK block lies below the ACK.",
        innocent="A retransmission that was not needed, or a copy made by the network; the sender learns from it.",
        when=bears(MARK_DSACK),
        detect=reported_duplicates,
        aliases={"Wireshark": "tcp.options.sack.dsack", "tcptrace": "dsack pkts sent"},
        example=HANDSHAKE
        + """
            0.260 > P. 1:101(100) ack 1
            0.270 < .  1:1(0)     ack 101 <sack 1:101>
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > P. 1101:1201(100) ack 1
            1.010 < .  1:1(0)         ack 101 <sack 1101:1201>
            1.200 > .  101:1101(1000) ack 1
            1.210 < .  1:1(0)         ack 1201
        """,
    ),
)
