"""Rules about connections that an endpoint aborts, and what may have been lost by that."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.findings.abort_words import (
    aborted,
    is_plain,
    left_unread,
    lingered,
    low,
    reset_for_fin,
    word_abort,
    word_linger,
    word_reset_for_fin,
    word_unread,
)
from tcptrace_fsm.findings.evidence import (
    HANDSHAKE,
    answered_by,
    asked_in_vain,
    bytes_lost,
    follows_own_syn,
    genuine,
    persisting,
    prompt,
    reset_of,
    spoke,
    takes_data,
    when_aborted,
    when_reset_after_fin,
)
from tcptrace_fsm.findings.lacking import may_skip_packets
from tcptrace_fsm.findings.late_data import heard_late, late_data
from tcptrace_fsm.findings.needs import ACROSS, BOTH_DIRECTIONS
from tcptrace_fsm.findings.rule import SECOND, Hit, Rule, Segment, View, span
from tcptrace_fsm.findings.wording import Wording
from tcptrace_fsm.kernels.layout import (
    ACK_DUE,
    C_FIRST_TIME,
    C_WAIT_SPOKE,
    CLIENT,
    DETECT_ABORT,
    DETECT_LINGER,
    DETECT_RST_FOR_FIN,
    DETECT_UNREAD,
    E_ACK,
    E_ACK_TIME,
    E_FIN,
    E_NEXT,
    E_RTT_MIN,
    E_SEGMENTS,
    END_STACK,
    FACT_ABORTED_OPEN,
    IN_VAIN,
    LAST_WORDS,
    MARK_RST_DRAWN,
    MILLISECOND,
    SENT_AGAIN,
    SERVER,
    STACK_LINUX,
    STACK_UNKNOWN,
)
from tcptrace_fsm.tcp.machine import Event, State
from tcptrace_fsm.text.counts import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcptrace_fsm.findings.rule import Change, End, Key

__all__ = ["RULES", "aborts", "may_have_acknowledged", "unasked_reset"]

OPEN = (State.ESTABLISHED, State.CLOSE_WAIT)
FINISHED = (State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSING, State.LAST_ACK, State.TIME_WAIT)


class Abort(NamedTuple):
    """An RST by which ``end`` threw away an open connection.

    Attributes
    ----------
    end : End
    change : Change
    rst : Segment
    unread : int
        Bytes of the peer that ``end`` had not acknowledged before.
    maybe_unread : bool
        Whether the peer's data were the last thing that happened, just before.
    lost : int
        Bytes of ``end`` that were not acknowledged.
    instead_of_ack : bool
        Whether it is the only answer to the peer's FIN.
    """

    end: End
    change: Change
    rst: Segment
    unread: int
    maybe_unread: bool
    lost: int
    instead_of_ack: bool


def unasked_reset(end: End) -> tuple[Change, Segment] | None:
    """The RST by which ``end``, which had been past the handshake, ended an open connection of its own accord.

    One without ACK that answers a segment at once is none: it says that there is no connection any more.
    """
    change = next((x for x in end.changes if x.event in (Event.SND_RST, Event.GONE) and x.source in OPEN), None)
    rst = reset_of(end, change) if change else None
    if change is None or rst is None or not (spoke(end, rst) or takes_data(end, rst)):
        return None
    answers = (rst.has(MARK_RST_DRAWN) or follows_own_syn(rst, end)) if rst.reply_rst else change.event is Event.GONE
    return None if answers else (change, rst)


def aborts(c: View) -> list[Abort]:
    """The aborts of open connections that are not for want of an answer."""
    return c.once("aborts", lambda view: list(each_abort(view)))


def each_abort(c: View) -> Iterator[Abort]:
    """The same, one after the other."""
    for end in c.ends:
        found = unasked_reset(end)
        if found is None or len(asked_in_vain(end, found[1])) >= IN_VAIN or persisting(end, found[1]):
            continue
        change, rst = found
        peer = end.peer
        later = [s.seq for s in genuine(peer.segments) if s.length and s.frame > rst.frame]
        sent = min([peer[E_NEXT], *later]) - (peer[E_FIN] >= 0)
        fin = next((s for s in peer.segments if s.fin and s.frame < rst.frame), None)
        recent = rst.time - end[E_ACK_TIME] <= prompt(end)
        # What has not been acknowledged for so long was, only not here; and so was what nobody sent again.
        spoke_last = c[C_WAIT_SPOKE + peer.side], c[C_WAIT_SPOKE + end.side]
        heard_long_ago = 0 < spoke_last[0] < rst.time - ACK_DUE * MILLISECOND - 2 * max(peer[E_RTT_MIN], 0)
        sent_long_ago = 0 < spoke_last[1] < rst.time - SENT_AGAIN * MILLISECOND
        yield Abort(
            end,
            change,
            rst,
            0 if heard_long_ago else max(0, sent - max(end[E_ACK], 1)),
            # Whoever has acknowledged the peer's FIN as well aborts what the peer had closed.
            end[E_ACK] > 1 and end[E_ACK_TIME] >= peer[E_ACK_TIME] and recent and not 0 <= peer[E_FIN] <= end[E_ACK],
            0 if sent_long_ago else bytes_lost(end),
            fin is not None and end[E_ACK] < peer[E_FIN] <= rst.ack,
        )


def close_with_unread_data(c: View) -> Iterator[Hit]:
    """Data came, and an RST was the answer."""
    for abort in aborts(c):
        if abort.instead_of_ack or not (abort.unread or abort.maybe_unread):
            continue
        end = abort.end
        after = max(0, abort.rst.time - end[E_ACK_TIME])
        yield Hit(
            end.side,
            abort.rst,
            left_unread((end.name, end.peer.name), abort.unread, after),
            severity=None if abort.unread and harms(abort) and not may_have_acknowledged(end, abort.rst) else "low",
        )


def harms(abort: Abort) -> bool:
    """Whether anybody but who resets may miss something: a client that has what it wanted does so, as checks do."""
    return abort.lost > 0 or abort.end.side == SERVER


def may_have_acknowledged(end: End, rst: Segment) -> bool:
    """Whether packets of ``end``, by its count of them, are missing from the capture: ACKs may be among them."""
    if may_skip_packets(end):
        return True
    if end[END_STACK] not in (STACK_UNKNOWN, STACK_LINUX) or sum(s.run for s in end.segments) < end[E_SEGMENTS]:
        return False
    before = end.view.before(rst, side=end.side)
    return before is not None and before.ip_id > 0 and before.run == 1 and 1 < (rst.ip_id - before.ip_id) % 65536 < 64


def linger_zero_close(c: View) -> Iterator[Hit]:
    """An RST in place of a FIN, when nothing was under way."""
    for abort in aborts(c):
        end = abort.end
        if abort.instead_of_ack or abort.unread or abort.maybe_unread or abort.lost:
            continue
        if end.peer[E_ACK_TIME] > end[E_ACK_TIME] and abort.rst.time - end.peer[E_ACK_TIME] <= SECOND:
            after = abort.rst.time - end.peer[E_ACK_TIME]
            yield Hit(end.side, abort.rst, lingered((end.name, end.peer.name), after))


def abort_rst(c: View) -> Iterator[Hit]:
    """Any other abort of an open connection."""
    for abort in aborts(c):
        end = abort.end
        acked = end.peer[E_ACK_TIME]
        done = acked > end[E_ACK_TIME] and abort.rst.time - acked <= SECOND and not abort.lost
        if abort.instead_of_ack or abort.unread or abort.maybe_unread or done:
            continue
        few = LAST_WORDS if end.peer[E_FIN] >= 0 else 0  # it answers its peer's close so, and takes leave
        yield Hit(
            end.side,
            abort.rst,
            aborted((end.name, end.peer.name), abort.lost, abort.rst.time - c[C_FIRST_TIME]),
            severity=None
            if abort.lost > few
            and abort.rst.ack <= end.peer[E_NEXT]
            and not (may_skip_packets(end.peer) or abort.rst.reply_rst)
            else "low",  # else it had more than is here, or answers what is not here
        )


def rst_instead_of_ack_of_fin(c: View) -> Iterator[Hit]:
    """A FIN is answered by RST and ACK."""
    for abort in aborts(c):
        if abort.instead_of_ack:
            end = abort.end
            fin = next(s for s in end.peer.segments if s.fin and s.frame < abort.rst.frame)
            yield Hit(
                end.side,
                abort.rst,
                reset_for_fin((end.name, end.peer.name), abort.rst.time - fin.time),
                (fin,),
                # All had arrived: a client that has read enough harms nobody, a server may have dropped a request. A
                # few last words with the FIN, as to unbind from a directory, are a goodbye.
                None if abort.lost or (abort.unread > LAST_WORDS and end.side == SERVER) else "low",
            )


def rst_on_late_data(c: View) -> Iterator[Hit]:
    """Data meet an endpoint whose application has closed the whole socket."""
    for end in c.ends:
        found = late_data(end)
        if found is None:
            continue
        rst, cause, fin = found
        late = (cause.time if cause.length else cause.last_time) - fin.time
        what = count(cause.length, "byte") if cause.length else "its last bytes and FIN" if cause.fin else "data"
        heard = heard_late(end, fin)
        under_way = cause.ack < end[E_FIN]  # what does not acknowledge the FIN was under way already
        # A few last words with a FIN behind them, or at once in answer to the FIN: a goodbye.
        few = end.peer[E_NEXT] - (end.peer[E_FIN] >= 0) - cause.seq <= LAST_WORDS
        goodbye = few and (end.peer[E_FIN] >= 0 or late <= prompt(end.peer))
        # A client that has waited and then closes knows that what may yet come is not read: it left a poll, or a page.
        left = end.side == CLIENT and c[C_WAIT_SPOKE] <= fin.time - SECOND
        yield Hit(
            end.side,
            rst,
            f"{end.peer.name} sent {what} {span(late)} after the FIN of {end.name}, which answered with "
            "RST: its application had closed without waiting for them, and they are lost"
            if heard is None
            else f"{end.peer.name} sent {what} {span(late)} after {end.name} had closed, as soon as it had its FIN, "
            f"which took {span(heard - fin.time)} to get through: they were answered with RST, and are lost",
            (cause,),
            "low" if under_way or goodbye or left or heard else None if late >= SECOND else "medium",
        )


def rst_after_own_fin(c: View) -> Iterator[Hit]:
    """An endpoint closes, and then resets of its own accord."""
    for end in c.ends:
        events = (Event.SND_RST, Event.GONE, Event.TIMEOUT_FIN_WAIT_2)
        change = next((x for x in end.changes if x.event in events and x.source in FINISHED), None)
        rst = reset_of(end, change) if change else None
        fin = next((s for s in end.segments if s.fin), None)
        if change is None or rst is None or fin is None or fin.frame > rst.frame:
            continue
        if answered_by(rst, end) or rst.has(MARK_RST_DRAWN) or len(asked_in_vain(end, rst)) >= IN_VAIN:
            continue
        yield Hit(
            end.side,
            rst,
            f"{end.name} sent RST {span(rst.time - fin.time)} after its own FIN, in {change.source.name}, and nothing "
            f"had asked for it: it did not let the close with {end.peer.name} come to its end",
            (fin,),
        )


def when_aborted_open(key: Key) -> bool:
    """An open connection was reset."""
    return when_aborted(key) and key.shows(FACT_ABORTED_OPEN)


RULES = (
    Rule(
        kind="abort_rst",
        category="reset",
        severity="medium",
        rfc="RFC 9293 3.10.5",
        summary="An endpoint aborted an open connection.",
        evidence="An RST with ACK from an endpoint that had not closed; low where all of its data were acknowledged.",
        innocent="An application that ends idle connections so; an RST that a firewall sends in its name.",
        when=when_aborted_open,
        needs=(BOTH_DIRECTIONS,),
        fragile=True,
        detect=abort_rst,
        wording=Wording(DETECT_ABORT, word_abort, low, is_plain),
        aliases={"Zeek": "RSTO or RSTR", "tcptrace": "resets", "Wireshark": "tcp.connection.rst"},
        example=HANDSHAKE
        + """
            9.000 > P. 101:301(200) ack 1
            9.005 > R. 301:301(0)   ack 1
        """,
        counterexample=(
            HANDSHAKE
            + """
            9.000 > P. 101:301(200) ack 1
            9.010 < R  1:1(0)              # no connection there: not an abort, but a discovery
        """,
            """
            0.000 > P. 1:101(100) ack 1     # one direction only: who knows what was acknowledged
            1.000 > R. 101:101(0) ack 1
        """,
            """
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0) ack 1
            9.000 > R. 1:1(0) ack 1         # it was never open
        """,
        ),
    ),
    Rule(
        kind="close_with_unread_data",
        category="close",
        severity="medium",
        rfc="RFC 2525 2.17",
        summary="An application closed while data for it were waiting: its system says so by RST, and the data are "
        "lost.",
        evidence="RST with ACK as the answer to data, without a FIN; low where the data had been acknowledged before, "
        "and of a client all of whose words had arrived.",
        innocent="A close with SO_LINGER 0 right after the answer was read looks the same.",
        when=when_aborted_open,
        needs=(BOTH_DIRECTIONS,),
        fragile=True,
        detect=close_with_unread_data,
        wording=Wording(DETECT_UNREAD, word_unread, low, is_plain),
        aliases={"Linux": "TCPAbortOnClose"},
        example=HANDSHAKE
        + """
            1.000 < P. 1:1001(1000)    ack 101
            1.001 < P. 1001:2001(1000) ack 101
            1.010 > R. 101:101(0)      ack 2001
        """,
        counterexample=(
            HANDSHAKE
            + """
            1.000 < P. 1:1001(1000)    ack 101
            1.010 > .  101:101(0)      ack 1001
            9.010 > R. 101:101(0)      ack 1001
        """,
            """
            0.000 > S  0:0(0)
            0.001 < S. 0:0(0)     ack 1
            1.001 < S. 0:0(0)     ack 1
            113.0 > P. 1:101(100) ack 1     # the server had long given up: it never was open
            113.1 < R. 1:1(0)     ack 101
        """,
        ),
    ),
    Rule(
        kind="linger_zero_close",
        category="close",
        severity="low",
        rfc="RFC 9293 3.10.5",
        summary="An application ended the connection with RST although nothing was left to do: it avoids TIME_WAIT.",
        evidence="RST with ACK within a second after the ACK of its last data, none of the peer's data after that.",
        innocent="Data that the capture misses.",
        when=when_aborted_open,
        needs=(BOTH_DIRECTIONS,),
        detect=linger_zero_close,
        wording=Wording(DETECT_LINGER, word_linger, covers=is_plain),
        aliases={"Linux": "SO_LINGER with l_linger 0"},
        example=HANDSHAKE
        + """
            0.050 > R. 101:101(0) ack 1
        """,
        counterexample=(
            HANDSHAKE
            + """
            9.000 > R. 101:101(0) ack 1
        """,
            """
            0.000 > S  0:0(0)
            0.420 < S. 0:0(0) ack 1         # nothing was opened that could be closed
            0.421 > R. 1:1(0) ack 1
        """,
        ),
    ),
    Rule(
        kind="rst_instead_of_ack_of_fin",
        category="reset",
        severity="medium",
        rfc="RFC 9293 3.6",
        summary="A FIN was answered by RST in place of ACK.",
        evidence="RST with ACK that is the only acknowledgment of the peer's FIN; low where no data were lost.",
        innocent="Data that were still unread when the FIN came; a firewall that answers for the host.",
        when=when_aborted_open,
        needs=(BOTH_DIRECTIONS,),
        detect=rst_instead_of_ack_of_fin,
        wording=Wording(DETECT_RST_FOR_FIN, word_reset_for_fin, low, is_plain),
        aliases={"Zeek": "RSTR or RSTO"},
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < R. 1:1(0)     ack 102
        """,
        counterexample=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
            1.020 < R. 1:1(0)     ack 102
        """,
    ),
    Rule(
        kind="rst_on_late_data",
        category="close",
        severity="high",
        rfc="RFC 9293 3.6.1",
        summary="An application closed although data were still to come; they met no reader, and an RST says so.",
        evidence="A FIN, later data from the peer, and an RST in answer; less if soon, or under way before, or where a "
        "FIN follows a few last words.",
        innocent="A client that does not want the rest of an answer.",
        when=when_reset_after_fin,
        needs=(BOTH_DIRECTIONS, ACROSS),
        detect=rst_on_late_data,
        aliases={"Linux": "TCPAbortOnData"},
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0)   ack 1
            1.010 < .  1:1(0)       ack 102
            5.000 < P. 1:1001(1000) ack 102
            5.001 > R  102:102(0)
        """,
        counterexample=(
            HANDSHAKE
            + """
            1.000 > F. 101:101(0)   ack 1
            1.010 < .  1:1(0)       ack 102
            5.000 < F. 1:1(0)       ack 102
            5.001 > R  102:102(0)
        """,
            HANDSHAKE
            + """
            1.000 > F. 101:101(0)   ack 1
            1.010 < .  1:1(0)       ack 102
            6.000 > R  102:102(0)             # nothing had come
        """,
        ),
    ),
    Rule(
        kind="rst_after_own_fin",
        category="reset",
        severity="low",
        rfc="RFC 9293 3.10.5",
        summary="An endpoint closed, and aborted what it had begun to close.",
        evidence="A FIN, then an RST with ACK from the same side, not for want of answers.",
        innocent="The way some systems close a socket that was shut down before, and some applications avoid "
        "TIME_WAIT.",
        when=when_reset_after_fin,
        needs=(BOTH_DIRECTIONS,),
        fragile=True,
        detect=rst_after_own_fin,
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
            1.500 > R. 102:102(0) ack 1
        """,
        counterexample=(
            HANDSHAKE
            + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
            1.500 < F. 1:1(0)     ack 102
            1.510 > R  102:102(0)
        """,
            HANDSHAKE
            + """
            1.000 > F. 101:101(0)   ack 1
            1.010 < .  1:1(0)       ack 102
            58.00 < F. 1:1(0)       ack 102   # it mirrors the FIN: nobody is there
            58.01 > R. 102:102(0)   ack 2
        """,
        ),
    ),
)
