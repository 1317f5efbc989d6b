"""The connection as a whole: how it opened and closed, where it was captured, what reached nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

# No __all__: compiled, only the replay calls this.


def who(side: int) -> int:
    """WHO_CLIENT or WHO_SERVER."""
    return WHO_CLIENT if side == CLIENT else WHO_SERVER


def beyond_hole(x: int, y: int, rows: Words) -> int:
    """Whether the FIN of endpoint ``x`` stands behind bytes that never came and that ``y`` never acknowledged: 1 or 0.

    Such a FIN is kept, but not taken (RFC 9293 section 3.10.7.4): the connection is not closed.
    """
    if rows[x + E_FIN] < 0 or rows[y + E_FIN] < 0 or rows[y + E_ACK] < 1:
        return 0
    i = 0
    while i < rows[x + E_HOLES]:
        if rows[x + E_HOLE + 2 * i] >= rows[y + E_ACK] and rows[x + E_HOLE + 2 * i] < rows[x + E_FIN]:
            return 1
        i += 1
    return 0


def conclude(c: int, first: int, last: int, saw_client: int, saw_server: int, rows: Words, out: Words) -> int:
    """How the connection opened and closed, who did it, from the transitions between words ``first`` and ``last``."""
    x = c + C_ENDPOINTS
    y = x + ENDPOINT_SIZE
    # Holes that were forgotten count as seen, and may never have been: no more was seen than was sent.
    if rows[x + E_UNIQUE] > rows[x + E_BYTES]:
        rows[x + E_UNIQUE] = rows[x + E_BYTES]
    if rows[y + E_UNIQUE] > rows[y + E_BYTES]:
        rows[y + E_UNIQUE] = rows[y + E_BYTES]
    flags = rows[c + C_FLAGS]
    opened = saw_client & saw_server & bit(ST_ESTABLISHED)
    fin_client = -1
    fin_server = -1
    reset = 0
    timed_out = 0
    refused = 0
    t = first
    while t < last:
        event = out[t + T_EVENT]
        if event == EV_SND_FIN:
            if out[t + T_SIDE] == CLIENT:
                fin_client = out[t + T_TIME]
            else:
                fin_server = out[t + T_TIME]
        elif event in (EV_RCV_RST, EV_SND_RST, EV_GONE):
            reset = 1
            if out[t + T_FROM] == ST_SYN_SENT and event == EV_RCV_RST:
                refused = 1
        elif event == EV_TIMEOUT_RETRANSMISSION:
            timed_out = 1
        t += TRANSITION_SIZE
    if flags & CF_MIDSTREAM:
        rows[c + C_OPENING] = OPENING_MIDSTREAM
    elif refused and not rows[y + E_STAGE] & ES_SYN:
        rows[c + C_OPENING] = OPENING_REFUSED
    elif opened and flags & CF_SIMULTANEOUS_OPEN:
        rows[c + C_OPENING] = OPENING_SIMULTANEOUS
    elif opened and flags & CF_FAST_OPEN:
        rows[c + C_OPENING] = OPENING_FAST_OPEN
    elif opened:
        rows[c + C_OPENING] = OPENING_HANDSHAKE
    elif rows[y + E_SEGMENTS] == 0 and rows[x + E_SEGMENTS] == rows[x + E_SYNS]:
        rows[c + C_OPENING] = OPENING_UNANSWERED
    else:
        rows[c + C_OPENING] = OPENING_INCOMPLETE
    ended = bit(ST_TIME_WAIT) | bit(ST_LAST_ACK)
    if reset:
        rows[c + C_CLOSING] = CLOSING_ABORTED
    elif timed_out:
        rows[c + C_CLOSING] = CLOSING_TIMED_OUT
    elif saw_client & saw_server & bit(ST_CLOSING):
        rows[c + C_CLOSING] = CLOSING_SIMULTANEOUS
    elif beyond_hole(x, y, rows) or beyond_hole(y, x, rows):
        rows[c + C_CLOSING] = CLOSING_HALF_CLOSED
    elif (rows[x + E_FIN] >= 0 and rows[y + E_FIN] >= 0) or (saw_client & ended and saw_server & ended):
        rows[c + C_CLOSING] = CLOSING_NORMAL
    elif rows[x + E_FIN] >= 0 or rows[y + E_FIN] >= 0 or (saw_client | saw_server) & bit(ST_CLOSE_WAIT):
        rows[c + C_CLOSING] = CLOSING_HALF_CLOSED
    else:
        rows[c + C_CLOSING] = CLOSING_NONE
    # the side whose FIN went out in ESTABLISHED closed first
    active = bit(ST_FIN_WAIT_1) | bit(ST_FIN_WAIT_2)
    first_client = 1 if saw_client & active else 0
    first_server = 1 if saw_server & active else 0
    rows[c + C_CLOSED_FIRST] = (WHO_CLIENT if first_client else 0) | (WHO_SERVER if first_server else 0)
    if first_client and first_server and not (saw_client & saw_server & bit(ST_CLOSING)):
        rows[c + C_CLOSED_FIRST] = WHO_CLIENT if fin_client <= fin_server else WHO_SERVER
    if reset:
        rows[c + C_RESET_BY] = (WHO_CLIENT if rows[x + E_RSTS] else 0) | (WHO_SERVER if rows[y + E_RSTS] else 0)
    return 0


def first_hop(ttl: int) -> int:
    """Whether a TTL or hop limit is one that hosts begin with: no router has touched it. 1 or 0."""
    return 1 if ttl in (64, 128, 255) else 0


def locate(c: int, rows: Words) -> int:
    """Where the capture was taken: the share of the round trip on either side of it.

    A host that answers within a quarter of a millisecond, while the rest of the way takes eight times as long or more,
    and whose packets no router has touched yet, is where the capture was taken, or on the same wire.
    """
    x = c + C_ENDPOINTS
    y = x + ENDPOINT_SIZE
    near = rows[y + E_RTT_MIN]  # the client's part
    far = rows[x + E_RTT_MIN]
    if near >= 0 and far >= 0 and near + far >= MILLISECOND // 2:
        rows[c + C_VANTAGE] = VANTAGE_BETWEEN
        if near * 8 < far:
            rows[c + C_VANTAGE] = VANTAGE_NEAR_CLIENT
        elif far * 8 < near:
            rows[c + C_VANTAGE] = VANTAGE_NEAR_SERVER
    close = MILLISECOND // 4
    if rows[c + C_LOCAL]:  # told
        if rows[c + C_LOCAL] == WHO_CLIENT:
            rows[c + C_VANTAGE] = VANTAGE_NEAR_CLIENT
        elif rows[c + C_LOCAL] == WHO_SERVER:
            rows[c + C_VANTAGE] = VANTAGE_NEAR_SERVER
    elif rows[c + C_VANTAGE] == VANTAGE_NEAR_CLIENT and near <= close and first_hop(rows[x + E_TTL]):
        rows[c + C_LOCAL] = WHO_CLIENT
    elif rows[c + C_VANTAGE] == VANTAGE_NEAR_SERVER and far <= close and first_hop(rows[y + E_TTL]):
        rows[c + C_LOCAL] = WHO_SERVER
    elif (
        rows[c + C_FLAGS] & CF_BARE_LINK
        and (0 <= near <= close or 0 <= far <= close)
        and first_hop(rows[x + E_TTL])
        and first_hop(rows[y + E_TTL])
    ):
        # One end of such a link is the host that captures, and no router has touched the packets of either: the
        # quicker of the two.
        rows[c + C_LOCAL] = WHO_CLIENT if far < 0 or 0 <= near < far else WHO_SERVER
    return 0


def mark_damaged_syns(c: int, side: int, rows: Words, log: Words) -> int:
    """Mark the SYNs with a wrong checksum that reached nobody, as later segments show: for the rules. Returns how many.

    Their sender sent the same with a right one; or it sent nothing else, nothing answered, and routers have passed the
    SYNs on, so that this is not what a host leaves to its network card.
    """
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    sums = rows[x + E_CHECKSUMS]
    if not sums & SUMS_BAD or not rows[x + E_SYNS]:
        return 0
    if not sums & SUMS_GOOD and (
        sums & SUMS_OFFLOADED
        or rows[x + E_SEGMENTS] > rows[x + E_SYNS]
        or rows[c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE + E_SEGMENTS]
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


def final_basis(timers: Words, scratch: Words) -> int:
    """What the state at the end rests on: that of its latest change, or time alone.

    FIN_WAIT_2 lasts for as long as the application holds the socket, and for as long as a timer lets it where it has
    let go. Nothing that is sent tells the one from the other.
    """
    since = scratch[X_LAST_ALIVE] if scratch[X_LAST_ALIVE] > scratch[X_SINCE] else scratch[X_SINCE]
    if scratch[X_STATE] == ST_FIN_WAIT_2 and scratch[X_END] > since + timers[scratch[X_TIMERS] + P_FIN_WAIT_2_LEAST]:
        return timers[scratch[X_TIMERS] + P_FIN_WAIT_2_BASIS]
    return scratch[X_BASIS]


def final_state(x: int, rows: Words, scratch: Words) -> int:
    """The state to report at the end. Of an endpoint that never moved only its RSTs tell: there is no connection."""
    if scratch[X_STARTED]:
        return scratch[X_STATE]
    return ST_CLOSED if rows[x + E_RSTS] else ST_UNKNOWN
