"""Rules about senders that repeat the same bytes again and again, and about those that give up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.evidence import HANDSHAKE, genuine, hops
from tcptrace_fsm.findings.loss import bears, chains, refused, unanswered, waits
from tcptrace_fsm.findings.needs import BOTH_DIRECTIONS, TO_THE_END, holds_bare_acks
from tcptrace_fsm.findings.rule import Hit, Rule, View, span
from tcptrace_fsm.kernels.layout import E_LAST_TIME, E_TTL, MARK_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcptrace_fsm.findings.rule import End, Segment

__all__ = ["RULES"]

CHAIN = 4  # four timeouts in a row for the same byte are no accident
GIVING_UP = 3  # ... and after three, an RST means giving up; after more, silence does
PATIENCE = 4  # silence of four times the last wait: the next try was due after two of them


def backoff(c: View) -> Iterator[Hit]:
    """The same bytes sent again and again, one finding per sender: the longest chain."""
    for end in c.ends:
        chain = max(chains(end), key=len, default=[])
        if len(chain) < CHAIN or c.one_sided:
            continue
        gaps = waits(chain)
        last = (
            "got through in the end"
            if not unanswered(end, chain)
            else f"never got through: the path to {end.peer.name}, or back, is broken"
            if not refused(end, chain)
            else f"were never taken: {end.peer.name} answers each copy by an ACK of what comes before"
        )
        yield Hit(
            end.side,
            chain[0],
            f"{end.name} sent the same bytes again {len(chain)} times over {span(chain[-1].time - chain[0].time)}, "
            "waiting "
            f"{span(gaps[0])} at first and {span(gaps[-1])} at last; they {last}",
            chain[1:],
            "low" if not holds_bare_acks(c) else None if unanswered(end, chain) else "medium",
        )


def given_up(c: View) -> Iterator[Hit]:
    """A chain that ends in silence or in an RST from its sender."""
    for end in c.ends:
        last = chains(end)[-1:]
        if not last or len(last[0]) < GIVING_UP or c.one_sided or not unanswered(end, last[0]):
            continue
        chain = last[0]
        rst = next((s for s in end.segments if s.rst and not s.reply_rst and s.time >= chain[-1].time), None)
        if any(s.fin and s.frame > chain[-1].frame for s in genuine(end.segments)):
            continue  # its application closed, and the connection is still there
        silence = c.end - max(chain[-1].time, end[E_LAST_TIME])
        if rst is None and (silence < PATIENCE * max(waits(chain)) or any(s.rst for s in c.segments)):
            continue
        how = (
            f"and reset the connection {span(rst.time - chain[-1].time)} later"
            if rst
            else f"and has been silent for {span(silence)}"
        )
        yield Hit(
            end.side,
            rst or chain[-1],
            f"{end.name} gave up: it sent the same bytes again {len(chain)} times over "
            f"{span(chain[-1].time - chain[0].time)} without "
            f"an ACK from {end.peer.name}, {how}",
            chain,
            None if rst or (len(chain) > GIVING_UP and not ignores(end, chain[-1])) else "low",
        )


def ignores(end: End, last: Segment) -> bool:
    """Whether what came to ``end``, at whose host the capture was taken, has no answer in it: it lacks what was sent.

    A system answers what asks, by an ACK as long as the connection is there, by an RST from then on.
    """
    asked = [s for s in genuine(end.peer.segments) if s.frame > last.frame and (s.length or s.fin or s.syn_ack)]
    return bool(asked) and hops(end[E_TTL]) == 0 and not any(s.frame > asked[0].frame for s in end.segments)


BACKOFF = (
    HANDSHAKE
    + """
            1.000 > P. 101:201(100) ack 1
            1.200 > P. 101:201(100) ack 1
            1.600 > P. 101:201(100) ack 1
            2.400 > P. 101:201(100) ack 1
            4.000 > P. 101:201(100) ack 1
"""
)

RULES = (
    Rule(
        kind="rexmit_backoff_chain",
        category="data",
        severity="high",
        rfc="RFC 6298 5 (5.5)",
        summary="The same bytes had to be sent again and again, each time after a longer wait.",
        evidence="Four or more timeout retransmissions of the same first byte in a row.",
        innocent="A link that was down for a while; medium where the bytes got through in the end.",
        when=bears(MARK_TIMEOUT),
        needs=(BOTH_DIRECTIONS,),
        detect=backoff,
        aliases={"tcptrace": "max # retrans", "Suricata": "excessive retransmissions"},
        example=BACKOFF,
        counterexample=HANDSHAKE
        + """
            1.000 > P. 101:201(100) ack 1
            1.200 > P. 101:201(100) ack 1
            1.600 > P. 101:201(100) ack 1
            1.610 < .  1:1(0)       ack 201
            2.000 > P. 201:301(100) ack 1
            2.200 > P. 201:301(100) ack 1
            2.600 > P. 201:301(100) ack 1
            2.610 < .  1:1(0)       ack 301
        """,
    ),
    Rule(
        kind="retransmission_timeout_abort",
        category="data",
        severity="high",
        rfc="RFC 9293 3.8.3",
        summary="The sender repeated the same bytes until it gave the connection up.",
        evidence=(
            "Three or more timeout retransmissions of bytes that are never acknowledged, then its RST, or none "
            "of the next two due tries."
        ),
        innocent="The sender's host went down or off the network; the capture point stopped seeing it.",
        when=bears(MARK_TIMEOUT),
        needs=(BOTH_DIRECTIONS, TO_THE_END),
        detect=given_up,
        example=BACKOFF + "            end 60\n",
        counterexample=BACKOFF + "            end 6\n",
    ),
)
