"""The connection as a whole: how it opened and closed, where it was captured, what reached nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.records import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

# No __all__: compiled, only the replay calls this.


def who(side: int) -> int:
    """WHO_CLIENT or WHO_SERVER."""
    return WHO_CLIENT if side == CLIENT else WHO_SERVER


def beyond_hole(x: Endpoint, y: Endpoint) -> int:
    """Whether the FIN of endpoint ``x`` stands behind bytes that never came and that ``y`` never acknowledged: 1 or 0.

    Such a FIN is kept, but not taken (RFC 9293 section 3.10.7.4): the connection is not closed.
    """
    if x.fin < 0 or y.fin < 0 or y.ack < 1:
        return 0
    i = 0
    while i < x.holes:
        if x.hole[2 * i] >= y.ack and x.hole[2 * i] < x.fin:
            return 1
        i += 1
    return 0


def stands_before_fin(x: Endpoint, y: Endpoint, state: int) -> int:
    """Whether ``x``, which ends in ``state``, repeats in vain what comes before its FIN: ``y`` can take no FIN yet."""
    waiting = bit(ST_FIN_WAIT_1) | bit(ST_CLOSING) | bit(ST_LAST_ACK)
    return 1 if bit(state) & waiting and x.retransmitted and x.fin > 0 and 1 <= y.ack < x.fin - 1 else 0


def conclude(tcb: Tcb, first: int, last: int, saw_client: int, saw_server: int) -> int:
    """How the connection opened and closed, who did it, from the transitions between words ``first`` and ``last``."""
    x = end_of(tcb.row, CLIENT)
    y = end_of(tcb.row, SERVER)
    # Holes that were forgotten count as seen, and may never have been: no more was seen than was sent.
    if x.unique > x.bytes:
        x.unique = x.bytes
    if y.unique > y.bytes:
        y.unique = y.bytes
    flags = tcb.row.flags
    opened = saw_client & saw_server & bit(ST_ESTABLISHED)
    fin_client = -1
    fin_server = -1
    reset = 0
    timed_out = 0
    refused = 0
    t = first
    while t < last:
        event = tcb.out[t].event
        if event == EV_SND_FIN:
            if tcb.out[t].side == CLIENT:
                fin_client = tcb.out[t].time
            else:
                fin_server = tcb.out[t].time
        elif event in (EV_RCV_RST, EV_SND_RST, EV_GONE):
            reset = 1
            if tcb.out[t].from_ == ST_SYN_SENT and event == EV_RCV_RST:
                refused = 1
        elif event == EV_TIMEOUT_RETRANSMISSION:
            timed_out = 1
        t += 1
    if flags & CF_MIDSTREAM:
        tcb.row.opening = OPENING_MIDSTREAM
    elif refused and not y.stage & ES_SYN:
        tcb.row.opening = OPENING_REFUSED
    elif opened and flags & CF_SIMULTANEOUS_OPEN:
        tcb.row.opening = OPENING_SIMULTANEOUS
    elif opened and flags & CF_FAST_OPEN:
        tcb.row.opening = OPENING_FAST_OPEN
    elif opened:
        tcb.row.opening = OPENING_HANDSHAKE
    elif y.segments == 0 and x.segments == x.syns:
        tcb.row.opening = OPENING_UNANSWERED
    else:
        tcb.row.opening = OPENING_INCOMPLETE
    ended = bit(ST_TIME_WAIT) | bit(ST_LAST_ACK)
    if reset:
        tcb.row.closing = CLOSING_ABORTED
    elif timed_out:
        tcb.row.closing = CLOSING_TIMED_OUT
    elif saw_client & saw_server & bit(ST_CLOSING):
        tcb.row.closing = CLOSING_SIMULTANEOUS
    elif (
        beyond_hole(x, y)
        or beyond_hole(y, x)
        or stands_before_fin(x, y, tcb.row.client_state)
        or stands_before_fin(y, x, tcb.row.server_state)
    ):
        tcb.row.closing = CLOSING_HALF_CLOSED
    elif (x.fin >= 0 and y.fin >= 0) or (saw_client & ended and saw_server & ended):
        tcb.row.closing = CLOSING_NORMAL
    elif x.fin >= 0 or y.fin >= 0 or (saw_client | saw_server) & bit(ST_CLOSE_WAIT):
        tcb.row.closing = CLOSING_HALF_CLOSED
    else:
        tcb.row.closing = CLOSING_NONE
    # the side whose FIN went out in ESTABLISHED closed first
    active = bit(ST_FIN_WAIT_1) | bit(ST_FIN_WAIT_2)
    first_client = 1 if saw_client & active else 0
    first_server = 1 if saw_server & active else 0
    tcb.row.closed_first = (WHO_CLIENT if first_client else 0) | (WHO_SERVER if first_server else 0)
    if first_client and first_server and not (saw_client & saw_server & bit(ST_CLOSING)):
        tcb.row.closed_first = WHO_CLIENT if fin_client <= fin_server else WHO_SERVER
    if reset:
        tcb.row.reset_by = (WHO_CLIENT if x.rsts else 0) | (WHO_SERVER if y.rsts else 0)
    return 0


def first_hop(ttl: int) -> int:
    """Whether a TTL or hop limit is one that hosts begin with: no router has touched it. 1 or 0."""
    return 1 if ttl in (64, 128, 255) else 0


def locate(tcb: Tcb) -> int:
    """Where the capture was taken: the share of the round trip on either side of it.

    A host that answers within a quarter of a millisecond, while the rest of the way takes eight times as long or more,
    and whose packets no router has touched yet, is where the capture was taken, or on the same wire.
    """
    x = end_of(tcb.row, CLIENT)
    y = end_of(tcb.row, SERVER)
    near = y.rtt_min  # the client's part
    far = x.rtt_min
    if near >= 0 and far >= 0 and near + far >= MILLISECOND // 2:
        tcb.row.vantage = VANTAGE_BETWEEN
        if near * 8 < far:
            tcb.row.vantage = VANTAGE_NEAR_CLIENT
        elif far * 8 < near:
            tcb.row.vantage = VANTAGE_NEAR_SERVER
    close = MILLISECOND // 4
    if tcb.row.local:  # named by the user
        if tcb.row.local == WHO_CLIENT:
            tcb.row.vantage = VANTAGE_NEAR_CLIENT
        elif tcb.row.local == WHO_SERVER:
            tcb.row.vantage = VANTAGE_NEAR_SERVER
    elif tcb.row.vantage == VANTAGE_NEAR_CLIENT and near <= close and first_hop(x.ttl):
        tcb.row.local = WHO_CLIENT
    elif tcb.row.vantage == VANTAGE_NEAR_SERVER and far <= close and first_hop(y.ttl):
        tcb.row.local = WHO_SERVER
    elif (
        tcb.row.flags & CF_BARE_LINK
        and (0 <= near <= close or 0 <= far <= close)
        and first_hop(x.ttl)
        and first_hop(y.ttl)
    ):
        # One end of such a link is the host that captures, and no router has touched the packets of either: the
        # quicker of the two.
        tcb.row.local = WHO_CLIENT if far < 0 or 0 <= near < far else WHO_SERVER
    return 0


def mark_damaged_syns(c: int, side: int, rows: Words, log: Words) -> int:
    """Mark the SYNs with a wrong checksum that reached nobody, as later segments show: for the rules. Returns how many.

    Their sender sent the same with a right one; or it sent nothing else, nothing answered (but a client that goes on
    asking), and routers have passed the SYNs on, so that this is not what a host leaves to its network card.
    """
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    asking = 1 if side == SERVER and rows[y + E_SYNS] > 1 and rows[y + E_SEGMENTS] == rows[y + E_SYNS] else 0
    sums = rows[x + E_CHECKSUMS]
    if not sums & SUMS_BAD or not rows[x + E_SYNS]:
        return 0
    if not sums & SUMS_GOOD and (
        sums & SUMS_OFFLOADED
        or rows[x + E_SEGMENTS] > rows[x + E_SYNS]
        or (rows[y + E_SEGMENTS] and not asking)
        or first_hop(rows[x + E_TTL])
    ):
        return 0
    good = 0 if sums & SUMS_GOOD else 1
    r = rows[c + C_LOG_HEAD]
    while r >= 0 and not good:
        if log[r + L_INFO] >> LOG_SIDE_SHIFT & 1 == side and log[r + L_INFO] & TCP_SYN and log[r + L_SEQ] == 0:
            good = 1 if log[r + L_FATE] >> LOG_CHECKSUM_SHIFT & 3 == CHECKSUM_GOOD else 0
        r = log[r + L_NEXT]
    marked = 0
    r = rows[c + C_LOG_HEAD]
    while r >= 0 and good:
        if (
            log[r + L_INFO] >> LOG_SIDE_SHIFT & 1 == side
            and log[r + L_INFO] & TCP_SYN
            and log[r + L_FATE] >> LOG_CHECKSUM_SHIFT & 3 == CHECKSUM_BAD
        ):
            log[r + L_MARKS] |= M_BAD_CHECKSUM
            rows[c + C_MARKS] |= M_BAD_CHECKSUM
            marked += 1
        r = log[r + L_NEXT]
    return marked


def final_basis(tcb: Tcb) -> int:
    """What the state at the end rests on: that of its latest change, or time alone.

    FIN_WAIT_2 lasts for as long as the application holds the socket, and for as long as a timer lets it where it has
    let go. Nothing that is sent tells the one from the other.
    """
    since = tcb.last_alive if tcb.last_alive > tcb.since else tcb.since
    if tcb.state == ST_FIN_WAIT_2 and tcb.end > since + tcb.timers.fin_wait_2_least:
        return tcb.timers.fin_wait_2_basis
    return tcb.basis


def final_state(tcb: Tcb) -> int:
    """The state to report at the end. Of an endpoint that never moved only its RSTs tell: there is no connection."""
    if tcb.started:
        return tcb.state
    return ST_CLOSED if tcb.endpoint.rsts else ST_UNKNOWN
