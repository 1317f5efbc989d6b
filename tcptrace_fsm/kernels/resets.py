"""Resets: what an RST answers, and whether it ended the connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.moves import *
from tcptrace_fsm.kernels.seen import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels.records import Tcb

# No __all__: compiled, only the replay calls this.


def answered_by_rst(tcb: Tcb, w: int) -> int:
    """Whether the endpoint answers the peer's segment ``w`` by a reply RST.

    Then it knows no such connection (RFC 9293 3.5.2), unless the peer has reset it in between.
    """
    v = own_after(tcb, w)
    if v >= tcb.n or not tcb.log[v].flags & TCP_RST or not is_reply_rst(tcb, v):
        return 0
    if tcb.local:
        if tcb.log[v].time - tcb.log[w].time > tcb.reach:
            return 0
        # One RST answers one segment: the last of those before it.
        k = v + 1
        if v - w > 1 and (k >= tcb.n or not tcb.log[k].flags & TCP_RST or next_of(tcb, tcb.side, k) > k):
            return 0
    if tcb.next_rst < w:
        w = next_of(tcb, 1 - tcb.side, w)
        while w < tcb.n and not tcb.log[w].flags & TCP_RST:
            w = next_of(tcb, 1 - tcb.side, w + 1)
        tcb.next_rst = w
    return 1 if tcb.next_rst > v else 0


def met_nobody(tcb: Tcb, w: int) -> int:
    """Whether the peer's segment ``w``, without data, draws a reply RST at once, at the endpoint's own host.

    No state that has sent a FIN answers such a segment so (RFC 9293 3.5.2): it was left some time before. But Linux
    does where its application does not want to wait in FIN_WAIT_2 (TCP_LINGER2): likelier, unless it had repeated its
    FIN.
    """
    if tcb.state == ST_FIN_WAIT_1 and tcb.fins < 2:
        return 0
    if not tcb.local or tcb.log[w].length:
        return 0
    v = w + 1
    if v >= tcb.n or tcb.log[v].side != tcb.side or tcb.log[v].time - tcb.log[w].time > tcb.reach:
        return 0
    return 1 if is_reply_rst(tcb, v) and tcb.log[v].seq == tcb.log[w].ack else 0


def reset_before(tcb: Tcb, w: int) -> int:
    """Whether an RST of the peer that passed right behind its bare ACK ``w`` reached the endpoint before it did.

    The endpoint answers the ACK by an RST (RFC 9293 3.5.2, group 1), in time and with its numbers: its connection was
    gone by then. An RST draws no answer, and nothing else that its peer has sent has these numbers.
    """
    if tcb.local or tcb.log[w].length or tcb.log[w].flags & (TCP_SYN | TCP_FIN):
        return 0
    v = own_after(tcb, w)
    while v < tcb.n and tcb.log[v].time < tcb.log[w].time + 2 * tcb.half - tcb.slack:
        v = next_of(tcb, tcb.side, v + 1)  # sent before it came
    if v >= tcb.n or not tcb.log[v].flags & TCP_RST or tcb.log[v].seq != tcb.log[w].ack:
        return 0
    if tcb.log[v].flags & TCP_ACK and tcb.log[v].ack != tcb.log[w].seq:
        return 0
    if tcb.log[v].time > tcb.log[w].time + tcb.reach + (OVERTAKEN_WITHIN + AT_ONCE) * MILLISECOND:
        return 0
    resets = 0
    r = next_of(tcb, 1 - tcb.side, w + 1)
    while r < v:
        if not tcb.log[r].flags & TCP_RST:
            return 0  # that may be what it answers
        if tcb.log[r].time <= tcb.log[w].time + OVERTAKEN_WITHIN * MILLISECOND and is_real(tcb, r):
            resets += 1
        r = next_of(tcb, 1 - tcb.side, r + 1)
    return 1 if resets else 0


def left_unread(tcb: Tcb, w: int) -> int:
    """Whether the peer's bare ACK ``w`` meets nobody: data that came before it, after CLOSE, had ended the connection.

    The endpoint never acknowledges them, and answers this ACK by an RST at once. Had it missed them it would be there.
    """
    if tcb.local or tcb.log[w].length or tcb.log[w].flags & TCP_FIN or tcb.log[w].marks & M_GAP:
        return 0
    if tcb.own_ack < 1 or tcb.log[w].seq <= tcb.own_ack:
        return 0
    v = own_after(tcb, w)
    while v < tcb.n and tcb.log[v].time < tcb.log[w].time + 2 * tcb.half - tcb.slack:
        v = next_of(tcb, tcb.side, v + 1)  # sent before it came
    if v >= tcb.n or tcb.log[v].flags & (TCP_RST | TCP_ACK) != TCP_RST or tcb.log[v].seq != tcb.log[w].ack:
        return 0
    return 1 if tcb.log[v].time <= tcb.log[w].time + tcb.reach + AT_ONCE * MILLISECOND else 0


def is_answered_too(tcb: Tcb, w: int) -> int:
    """Whether the endpoint answers the peer's bare ACK ``w`` by an RST as it does the data before: 1 or 0.

    Data that come after CLOSE end the connection, and all that comes then draws an RST of its own with its numbers. So
    there are more of these than segments that end there. Those before the first FIN may not be in the log.
    """
    if tcb.local or tcb.log[w].length or tcb.log[w].flags & (TCP_SYN | TCP_FIN):
        return 0
    since = tcb.log[w].time - tcb.reach
    most = tcb.log[w].time + tcb.reach + ANSWER_DUE * MILLISECOND
    drawn = 0
    others = 0
    v = max(0, w - LOOKED_AT)
    stop = min(tcb.n, w + LOOKED_AT)
    while v < stop and tcb.log[v].time <= most:
        flags = tcb.log[v].flags
        if tcb.log[v].time < since or not is_real(tcb, v):
            v += 1
            continue
        if tcb.log[v].side == tcb.side:
            if v > w and flags & TCP_RST and flags & TCP_ACK and tcb.log[v].ack == tcb.log[w].seq:
                drawn += 1 if tcb.log[v].seq == tcb.log[w].ack else 0
        elif not flags & TCP_RST and (tcb.log[v].length or flags & TCP_FIN):
            end = tcb.log[v].seq + tcb.log[v].length
            if flags & TCP_FIN:
                end += 1
            others += 1 if end == tcb.log[w].seq else 0
        v += 1
    return 1 if drawn >= 2 and drawn > others else 0


def each_draws_rst(tcb: Tcb, w: int) -> int:
    """Whether each segment of the peer with the ACK of the endpoint's FIN, as ``w``, draws an RST of its own: 1 or 0.

    An RST without ACK begins where the segment that it answers acknowledges. So nobody was there any more to take that
    ACK, where there are as many of one number as of the other: data that came after CLOSE had ended the connection, and
    drew an RST with their lower number.
    """
    if tcb.local or tcb.resets < 2:
        return 0
    drawn = 0
    others = 0
    lower = 0
    v = max(0, w - LOOKED_AT)
    stop = min(tcb.n, w + LOOKED_AT)
    while v < stop:
        if tcb.log[v].side == tcb.side:
            if tcb.log[v].flags & (TCP_RST | TCP_ACK) == TCP_RST:
                drawn += 1 if tcb.log[v].seq == tcb.fin_end and others else 0
                lower += 1 if 1 <= tcb.log[v].seq < tcb.fin_end and not drawn else 0
        elif not tcb.log[v].flags & TCP_RST and tcb.log[v].ack == tcb.fin_end:
            if tcb.log[v].end_time > tcb.log[v].time:
                return 0  # several, kept as one
            others += 1
        v += 1
    return 1 if lower and drawn >= others else 0


def draws_rst(tcb: Tcb, w: int) -> int:
    """Whether an RST of the endpoint with ACK has the very numbers of an answer to the peer's segment ``w``: 1 or 0."""
    end = tcb.log[w].seq + tcb.log[w].length
    if tcb.log[w].flags & TCP_FIN:
        end += 1
    v = w + 1
    stop = min(tcb.n, w + LOOKED_AT)
    while v < stop:
        if tcb.log[v].side == tcb.side and tcb.log[v].flags & (TCP_RST | TCP_ACK) == TCP_RST | TCP_ACK:
            if tcb.log[v].seq == tcb.log[w].ack and tcb.log[v].ack == end and is_real(tcb, v):
                return 1
        v += 1
    return 0


def answers_early_rst(tcb: Tcb, w: int, v: int) -> int:
    """Whether the endpoint's bare ACK ``v`` answers an RST that has overtaken the peer's data ``w``: 1 or 0.

    That lies beyond them, and draws a challenge ACK (RFC 5961 section 3.2) of what came before. No data passed that lie
    beyond, too.
    """
    if tcb.log[v].flags & (TCP_RST | TCP_FIN | TCP_SYN) or tcb.log[v].length or tcb.log[v].ack != tcb.log[w].seq:
        return 0
    resets = 0
    u = max(0, w - LOOKED_AT)
    while u < v:
        if tcb.log[u].side != tcb.side and u != w and tcb.log[u].seq > tcb.log[w].seq:
            if not tcb.log[u].flags & TCP_RST:
                return 0
            resets += 1
        u += 1
    return 1 if resets else 0


def acks_before_rst(tcb: Tcb, w: int) -> int:
    """Whether the endpoint sent a bare ACK right before the RST that follows the peer's segment ``w``, by its numbers.

    It answers what came before the RST's cause: a segment beyond a hole.
    """
    r = next_of(tcb, tcb.side, w + 1)
    while r < tcb.n and not tcb.log[r].flags & TCP_RST:
        r = next_of(tcb, tcb.side, r + 1)
    v = w + 1
    stop = min(tcb.n, r + LOOKED_AT)
    while v < stop:
        if tcb.log[v].side == tcb.side and tcb.log[v].seq == tcb.fin_end and not tcb.log[v].length:
            if not tcb.log[v].flags & (TCP_RST | TCP_FIN | TCP_SYN) and follows(tcb, v, r):
                return 0 if answers_early_rst(tcb, w, v) else 1
        v += 1
    return 0


def overtaken_ack(tcb: Tcb, w: int) -> int:
    """The peer's bare ACK of the endpoint's FIN that its RST ``w`` has overtaken on the way here only; -1 for none.

    Had it come behind the RST, it would have met nobody, and would have been answered by an RST.
    """
    if tcb.local or tcb.fin_end < 0 or tcb.state not in (ST_FIN_WAIT_1, ST_CLOSING):
        return -1
    v = next_of(tcb, 1 - tcb.side, w + 1)
    if v >= tcb.n or tcb.log[v].flags & (TCP_SYN | TCP_FIN | TCP_RST) or tcb.log[v].length or not is_real(tcb, v):
        return -1
    if tcb.log[v].ack != tcb.fin_end or tcb.log[v].seq > tcb.log[w].seq:
        return -1
    numbered = 1 if tcb.log[v].ip_id > 1 and 0 < tcb.log[w].ip_id - tcb.log[v].ip_id <= LOOKED_AT else 0
    if not numbered and tcb.log[v].time > tcb.log[w].time + OVERTAKEN_WITHIN * MILLISECOND:
        return -1
    if tcb.end < tcb.log[v].time + tcb.reach + ANSWER_DUE * MILLISECOND:
        return -1
    r = next_of(tcb, tcb.side, v + 1)
    while r < tcb.n and not (tcb.log[r].flags & TCP_RST and tcb.log[r].seq == tcb.log[v].ack):
        r = next_of(tcb, tcb.side, r + 1)
    return v if r >= tcb.n else -1


def aborts_at(tcb: Tcb, w: int) -> int:
    """Whether the peer's bare ACK ``w``, which lies beyond a FIN that is missing, makes the endpoint abort at once.

    gVisor aborts whatever its application has closed when anything comes beyond RCV.NXT, before it looks at the ACK.
    The RST acknowledges less than the segment's own number.
    """
    if tcb.log[w].flags & TCP_FIN or tcb.log[w].length:
        return 0
    v = own_after(tcb, w)
    if v >= tcb.n or tcb.log[v].flags & (TCP_RST | TCP_ACK) != TCP_RST | TCP_ACK:
        return 0
    if tcb.log[v].time - tcb.log[w].time > 2 * tcb.half + tcb.slack:
        return 0
    return 1 if 0 <= tcb.log[v].ack < tcb.log[w].seq and tcb.log[v].seq == tcb.fin_end else 0


def challenged(tcb: Tcb, w: int) -> int:
    """Whether the RST ``w`` is not what the endpoint waits for next: it draws a challenge ACK (RFC 5961 section 3.2).

    That is a pure ACK right behind it which falls short of the RST, and repeats the endpoint's last.
    """
    v = own_after(tcb, w)
    if v >= tcb.n or tcb.log[v].time - tcb.log[w].time > tcb.reach or tcb.latest < 0:
        return 0
    if tcb.log[v].flags & (TCP_SYN | TCP_FIN | TCP_RST) or tcb.log[v].length:
        return 0
    return 1 if 0 <= tcb.log[v].ack < tcb.log[w].seq and tcb.log[v].ack == tcb.log[tcb.latest].ack else 0


def shows_no_mercy(tcb: Tcb, w: int) -> int:
    """Whether the RST ``w``, inside the window but not at its edge, ends the connection all the same, at the own host.

    Linux keeps requests and the FIN_WAIT_2 of a closed socket in small structures without challenge ACKs: any RST
    inside the window ends them. A socket in FIN_WAIT_2 answers by one (RFC 5961 section 3.2), unless it has just done
    so.
    """
    state = tcb.state
    if not tcb.local:
        return 0
    if state == ST_SYN_RECEIVED:
        ack = tcb.log[w].ack
        return 1 if tcb.opened == OPENED_PASSIVE and (not tcb.log[w].flags & TCP_ACK or ack == 1) else 0
    if state != ST_FIN_WAIT_2:
        return 0
    if tcb.challenge >= 0 and tcb.log[w].time - tcb.challenge < 500 * MILLISECOND:
        return 0
    v = own_after(tcb, w)
    return 1 if v >= tcb.n or tcb.log[v].time - tcb.log[w].time > tcb.reach or tcb.log[v].flags & TCP_RST else 0


def takes_rst(tcb: Tcb, w: int) -> int:
    """Whether the peer's RST ``w`` ended the endpoint's connection: acceptable, and silence (or RSTs) ever after."""
    state = tcb.state
    if state in (ST_CLOSED, ST_LISTEN) or (state == ST_TIME_WAIT and tcb.habits & HABIT_KEEPS_TIME_WAIT):
        return 0
    flags = tcb.log[w].flags
    if state == ST_SYN_SENT:
        x = tcb.endpoint
        if not flags & TCP_ACK or tcb.log[w].ack < 1 or tcb.log[w].ack > x.next:
            return 0
        return arrives_after(tcb, w, tcb.last_syn)
    if tcb.habits & HABIT_OBEYS_OLD_RST and (tcb.log[w].seq < tcb.own_ack or tcb.log[w].marks & M_RST_INEXACT):
        return arrives_after(tcb, w, tcb.last_alive)
    if tcb.log[w].marks & M_RST_OUTSIDE:
        return 0
    if tcb.log[w].marks & M_RST_INEXACT and tcb.habits & HABIT_OBEYS_RST_INSIDE:
        return arrives_after(tcb, w, tcb.last_alive)
    if tcb.log[w].marks & M_RST_INEXACT and not shows_no_mercy(tcb, w):
        return 0
    if challenged(tcb, w):
        return 0
    if (
        tcb.fin_taken
        and tcb.log[w].seq != tcb.peer_fin_end
        and not (tcb.log[w].seq == tcb.peer_fin_end - 1 and state in (ST_CLOSE_WAIT, ST_LAST_ACK, ST_CLOSING))
        and tcb.peer_fin_end >= 0
    ):
        return 0  # RCV.NXT moves no more; one short of it, Linux lets pass in these three states
    if not tcb.local and tcb.asked >= 2:
        return 0  # what follows two keepalives or retransmissions without an answer does not arrive either
    return arrives_after(tcb, w, tcb.last_alive)


def is_foreign(tcb: Tcb, w: int) -> int:
    """Whether the RST ``w`` in the endpoint's name is not its own, by its numbering of packets: 1 or 0.

    All others of the connection are numbered one by one, and this one is far off. 0 says nothing: some hosts give it to
    each RST that no connection sends. Linux does so as to its SYN+ACK (ip_select_ident: not to be fragmented, and of no
    socket), and sends no other RST without ACK.
    """
    number = tcb.log[w].ip_id - 1
    if tcb.stack == STACK_LINUX and number > 0 and not tcb.log[w].flags & TCP_ACK:
        v = next_of(tcb, tcb.side, 0)
        if tcb.log[v].flags & (TCP_SYN | TCP_ACK) == TCP_SYN | TCP_ACK and tcb.log[v].ip_id == 1:
            return 1
    if number < 1 or tcb.endpoint.segments < NUMBERED_LEAST or tcb.endpoint.rsts > LOOKED_AT:
        return 0
    v = w - 1
    while v >= 0 and v >= w - LOOKED_AT and (tcb.log[v].side != tcb.side or tcb.log[v].flags & TCP_RST):
        v -= 1
    if v < 0 or v < w - LOOKED_AT or number - (tcb.log[v].ip_id - 1) & 65535 <= NUMBERED_WITHIN:
        return 0
    return 1 if missing_before(tcb, v) >= 0 else 0


def cause_of(tcb: Tcb, w: int) -> int:
    """What the endpoint's RST ``w`` answers, by its numbers: a segment of the peer; -1 for none.

    One that has passed since the endpoint last spoke, or one without FIN just before, on time for this answer.
    """
    since = tcb.log[w].time - tcb.reach - AT_ONCE * MILLISECOND
    v = w - 1
    while v >= 0 and (v > tcb.latest or v >= w - LOOKED_AT):
        flags = tcb.log[v].flags
        end = tcb.log[v].seq + tcb.log[v].length
        if flags & (TCP_SYN | TCP_FIN):
            end += 1
        on_time = 1 if tcb.log[v].time >= since and not flags & (TCP_FIN | TCP_RST) else 0
        if tcb.log[v].side != tcb.side and (v > tcb.latest or on_time):
            if tcb.log[w].seq == tcb.log[v].ack or (tcb.log[w].flags & TCP_ACK and tcb.log[w].ack == end):
                return v
        v -= 1
    return -1


def take_fin_before(tcb: Tcb, w: int) -> int:
    """The peer's FIN was taken before the endpoint's RST ``w`` whose overtaken ACK passes right behind it."""
    proof = tcb.fin_proof
    if proof <= w or tcb.fin_taken or tcb.local or not 0 <= tcb.fin_copy < w:
        return 0
    if tcb.log[w].ack < tcb.peer_fin_end:
        return 0
    if tcb.state == ST_SYN_RECEIVED:
        open_inside(tcb, tcb.fin_copy)  # that FIN, or what came before it, has acknowledged the SYN+ACK
    tcb.fin_taken = 1
    return received(tcb, EV_RCV_FIN, tcb.fin_copy, proof)
