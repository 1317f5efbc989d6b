"""What Zeek says of the same segments, so that tables can be joined with its own.

It does not serve the analysis, which knows better in places (docs/joins.md). It is kept as Zeek keeps it:
``conn_state`` and ``history`` (src/packet_analysis/protocol/tcp/TCPSessionAdapter.cc). Zeek removes a connection
seconds after its end, or when it is silent for minutes, and begins a new one with what comes then: a row says what Zeek
says of the connection to which the row's first segment belongs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

# No __all__: only other kernels call these.


def gap32(a: int, b: int) -> int:
    """How far the 32-bit number ``a`` lies behind ``b``: negative where it lies before it."""
    ahead = low32(a - b)
    return ahead - ((ahead >> 31) << 32)


def likely_server(port: int) -> int:
    """Whether Zeek's scripts name the port as a server's (likely_server_ports, 7.0): 1 or 0."""
    if port < 1024:
        return (
            1
            if port in {21, 22, 25, 53, 79, 80, 81, 88, 110, 113, 135, 139, 143, 389, 443, 445, 502, 563, 585, 587, 614}
            or port in {631, 636, 989, 990, 992, 993, 995}
            else 0
        )
    return (
        1
        if port in {1080, 1434, 1883, 2811, 3128, 3268, 3306, 3389, 5060, 5222, 5223, 5269, 5432, 6379, 6666, 6667}
        or port in {6668, 6669, 8000, 8080, 8888, 20000}
        else 0
    )


def write_letter(c: int, code: int, rows: Words) -> int:
    """Add a letter to the history, if there is room."""
    n = rows[c + C_HISTORY_LENGTH]
    if n < HISTORY_MOST:
        rows[c + C_HISTORY + n // HISTORY_PER_WORD] |= code << 6 * (n % HISTORY_PER_WORD)
        rows[c + C_HISTORY_LENGTH] = n + 1
    return 0


def zeek_letter(c: int, side: int, letter: int, rows: Words) -> int:
    """Write a letter in the case of its side; ``letter`` counts from 0 in ``labels.HISTORY_LETTERS``."""
    origin = 1 if rows[c + C_ZEEK] & Z_FLIPPED else 0
    return write_letter(c, letter + 1 + (0 if side == origin else 13), rows)


def zeek_once(c: int, side: int, letter: int, rows: Words) -> int:
    """Write a letter unless this side has it already. Returns 1 if it had."""
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    if rows[x + E_STAGE] & ES_TOLD << letter:
        return 1
    rows[x + E_STAGE] |= ES_TOLD << letter
    z = rows[c + C_ZEEK]
    if side == (1 if z & Z_FLIPPED else 0):  # by the originator: what tells RSTOS0 (conn/main.zeek) from OTH
        if letter == HISTORY_R:
            first = rows[c + C_HISTORY] & 63
            if first == HISTORY_FLIPPED:
                first = rows[c + C_HISTORY] >> 6 & 63
            if first == 1 and not z & Z_SPOILED:
                rows[c + C_ZEEK] |= Z_RSTOS0
        elif letter in (HISTORY_H, HISTORY_A, HISTORY_F, HISTORY_I, HISTORY_Q):
            rows[c + C_ZEEK] |= Z_SPOILED
    zeek_letter(c, side, letter, rows)
    return 0


def zeek_scaled(c: int, side: int, letter: int, shift: int, rows: Words) -> int:
    """Count something, and write its letter the first, tenth, hundredth ... time."""
    e = c + C_ZEEK_ENDS + side * ZE_SIZE
    count = (rows[e + ZE_COUNTS] >> shift & 32767) + 1
    if count <= 32767:
        rows[e + ZE_COUNTS] += bit(shift)
        if count in (1, 10, 100, 1000, 10000):
            zeek_letter(c, side, letter, rows)
            if letter == HISTORY_G and side == (1 if rows[c + C_ZEEK] & Z_FLIPPED else 0):
                rows[c + C_ZEEK] |= Z_SPOILED
    return 0


def zeek_state(c: int, side: int, rows: Words) -> int:
    """Zeek's state of an endpoint, ``Z_INACTIVE`` ... ``Z_RESET``."""
    return rows[c + C_ZEEK] >> (Z_STATE_SHIFT + 3 * side) & 7


def zeek_before(c: int, side: int, rows: Words) -> int:
    """The state before that."""
    return rows[c + C_ZEEK] >> (Z_BEFORE_SHIFT + 3 * side) & 7


def zeek_enter(c: int, side: int, state: int, rows: Words) -> int:
    """Put an endpoint into a state."""
    old = zeek_state(c, side, rows)
    if state == old:
        return 0
    if state > Z_SYN_ACK_SENT and old <= Z_SYN_ACK_SENT and zeek_state(c, 1 - side, rows) <= Z_SYN_ACK_SENT:
        rows[c + C_ZEEK] |= Z_SETTLED
    rows[c + C_ZEEK] += (state - old) * bit(Z_STATE_SHIFT + 3 * side)
    rows[c + C_ZEEK] += (old - zeek_before(c, side, rows)) * bit(Z_BEFORE_SHIFT + 3 * side)
    return 1


def zeek_size(c: int, side: int, rows: Words) -> int:
    """Bytes that Zeek believes this endpoint to have sent."""
    e = c + C_ZEEK_ENDS + side * ZE_SIZE
    if (
        zeek_before(c, side, rows) == Z_SYN_SENT
        and zeek_state(c, side, rows) == Z_RESET
        and zeek_state(c, 1 - side, rows) == Z_INACTIVE
        and rows[e + ZE_ACK] > 1
    ):
        return 0
    size = rows[e + ZE_LAST] if rows[e + ZE_LAST] > rows[e + ZE_ACK] else rows[e + ZE_ACK]
    if size:
        size -= 1
    if size and rows[c + C_ENDPOINTS + side * ENDPOINT_SIZE + E_FINS]:
        size -= 1
    return size


def zeek_is_gone(c: int, s: int, segments: Words, rows: Words) -> int:
    """Whether Zeek has dropped its connection by the time of this segment, or takes its SYN for a new one: 1 or 0."""
    now = segments[s + S_TIME]
    z = rows[c + C_ZEEK]
    origin = 1 if z & Z_FLIPPED else 0
    if rows[c + C_ZEEK_GONE] >= 0 and now >= rows[c + C_ZEEK_GONE]:
        waiting = zeek_state(c, origin, rows)
        if not z & Z_ATTEMPT or (
            waiting in (Z_SYN_SENT, Z_SYN_ACK_SENT) and zeek_state(c, 1 - origin, rows) == Z_INACTIVE
        ):
            return 1
        rows[c + C_ZEEK_GONE] = -1
    silence = 60000
    if z & Z_SETTLED:
        port = rows[c + C_PORTS] >> 16 if origin else rows[c + C_PORTS] & 65535
        silence = 3600000 if port in (21, 22, 23, 513) else 300000
    if now - rows[c + C_ZEEK_TIME] >= silence * MILLISECOND:
        return 1
    flags = segments[s + S_FLAGS]
    if not flags & TCP_SYN:
        return 0
    who = origin
    if flags & TCP_ACK:
        if zeek_state(c, origin, rows) != Z_INACTIVE:
            return 0
        who = 1 - origin
    if z & (Z_CLOSED_CLIENT | Z_CLOSED_SERVER):
        return 1
    if segments[s + S_SEQ] == rows[c + C_ZEEK_ENDS + who * ZE_SIZE + ZE_START]:
        return 0
    if (
        not flags & TCP_ACK
        and zeek_state(c, who, rows) == Z_SYN_ACK_SENT
        and zeek_state(c, 1 - origin, rows) == Z_INACTIVE
        and segments[s + S_SEQ] == rows[c + C_ZEEK_ENDS + (1 - origin) * ZE_SIZE + ZE_START]
    ):
        return 0
    return 1


def zeek_begin(c: int, side: int, s: int, segments: Words, rows: Words) -> int:
    """Say by the connection's first segment who its originator is."""
    flags = segments[s + S_FLAGS]
    source = segments[s + S_PORTS] >> 16
    destination = segments[s + S_PORTS] & 65535
    flip = 0
    if flags & (TCP_SYN | TCP_ACK) != TCP_SYN and likely_server(source):
        flip = 1 if not likely_server(destination) or source < destination else 0
    rows[c + C_ZEEK] = Z_STARTED
    if flags & (TCP_SYN | TCP_ACK) != TCP_SYN:
        rows[c + C_ZEEK] |= Z_PARTIAL
    if (1 - side if flip else side) == SERVER:
        rows[c + C_ZEEK] |= Z_FLIPPED
    rows[c + C_ZEEK_GONE] = -1
    rows[c + C_ZEEK_TIME] = segments[s + S_TIME]
    rows[c + C_ZEEK_ENDS + ZE_REACHED] = 1
    rows[c + C_ZEEK_ENDS + ZE_SIZE + ZE_REACHED] = 1
    if flip:
        write_letter(c, HISTORY_FLIPPED, rows)
    return 0


def zeek_endpoint(c: int, side: int, s: int, segments: Words, rows: Words) -> int:
    """Where an endpoint's numbers begin (init_endpoint). ``ZE_LAST`` and ``ZE_ACK`` count from there."""
    e = c + C_ZEEK_ENDS + side * ZE_SIZE
    flags = segments[s + S_FLAGS]
    seq = segments[s + S_SEQ]
    state = zeek_state(c, side, rows)
    length = segments[s + S_LEN] if not flags & TCP_RST else 0
    end = length + (1 if flags & TCP_SYN else 0) + (1 if flags & TCP_FIN else 0)
    if state == Z_INACTIVE:
        if flags & TCP_SYN:
            rows[e + ZE_START] = seq
            rows[e + ZE_LAST] = end
        else:
            rows[e + ZE_START] = low32(seq - 1)
            rows[e + ZE_LAST] = 1
        rows[e + ZE_ACK] = 0
    elif flags & TCP_SYN and (
        state in (Z_SYN_SENT, Z_SYN_ACK_SENT, Z_ESTABLISHED, Z_PARTIAL_STATE)
        or (state == Z_RESET and zeek_before(c, side, rows) == Z_INACTIVE)
    ):
        if seq != rows[e + ZE_START] or state in (Z_ESTABLISHED, Z_PARTIAL_STATE, Z_RESET):
            rows[e + ZE_START] = seq
            rows[e + ZE_LAST] = end
            rows[e + ZE_ACK] = 0
    return 0


def zeek_history(c: int, side: int, s: int, segments: Words, rows: Words) -> int:
    """The letter of this segment (update_history), and that of a window of zero (update_window)."""
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    flags = segments[s + S_FLAGS]
    length = segments[s + S_LEN]
    seq = low32(segments[s + S_SEQ] - rows[c + C_ZEEK_ENDS + side * ZE_SIZE + ZE_START])
    kind = flags & (TCP_SYN | TCP_FIN | TCP_RST)
    if not kind:
        if length:
            zeek_once(c, side, HISTORY_D, rows)
        elif flags & TCP_ACK:
            zeek_once(c, side, HISTORY_A, rows)
    elif kind == TCP_SYN:
        # H and S count as one: told that it has either, Zeek tells of another one only if its number differs.
        letter = HISTORY_H if flags & TCP_ACK else HISTORY_S
        if rows[x + E_STAGE] & (ES_TOLD << HISTORY_S | ES_TOLD << HISTORY_H):
            if seq:
                zeek_letter(c, side, letter, rows)
        else:
            zeek_once(c, side, letter, rows)
    elif kind in (TCP_FIN, TCP_RST):
        letter = HISTORY_F
        shift = 0
        number = low32(seq + length)
        if kind == TCP_RST:
            letter = HISTORY_R
            shift = 31
            number = seq
        number = number & (bit(31) - 1)
        before = rows[c + C_ZEEK_ENDS + side * ZE_SIZE + ZE_NUMBERS] >> shift & (bit(31) - 1)
        if zeek_once(c, side, letter, rows) and before != number:
            zeek_letter(c, side, letter, rows)
        rows[c + C_ZEEK_ENDS + side * ZE_SIZE + ZE_NUMBERS] += (number - before) * bit(shift)
    elif flags & TCP_FIN and flags & TCP_RST:
        zeek_once(c, side, HISTORY_I, rows)
    else:
        zeek_once(c, side, HISTORY_Q, rows)
    if (
        segments[s + S_WINDOW] == 0
        and not flags & TCP_RST
        and zeek_state(c, 1 - side, rows) != Z_CLOSED
        and zeek_state(c, side, rows) != Z_RESET
    ):
        zeek_scaled(c, side, HISTORY_W, ZE_WINDOWS, rows)
    return 0


def zeek_numbers(c: int, side: int, s: int, segments: Words, rows: Words) -> int:
    """What was acknowledged and what was sent; data wholly below that is a retransmission (update_last_seq)."""
    e = c + C_ZEEK_ENDS + side * ZE_SIZE
    p = c + C_ZEEK_ENDS + (1 - side) * ZE_SIZE
    flags = segments[s + S_FLAGS]
    if flags & TCP_ACK:
        if zeek_state(c, 1 - side, rows) == Z_INACTIVE:
            rows[p + ZE_START] = low32(segments[s + S_ACK] - 1)
            rows[p + ZE_ACK] = 0
            rows[p + ZE_LAST] = 0
        elif not flags & TCP_RST:
            ack = low32(segments[s + S_ACK] - rows[p + ZE_START])
            ahead = gap32(ack, rows[p + ZE_ACK])
            if ahead > 0 and not (segments[s + S_ACK] == 0 and ahead > ZEEK_TOO_FAR):
                rows[p + ZE_ACK] = ack
    length = segments[s + S_LEN]
    taken = 0 if flags & TCP_RST else length
    end = low32(
        segments[s + S_SEQ] - rows[e + ZE_START] + taken + (1 if flags & TCP_SYN else 0) + (1 if flags & TCP_FIN else 0)
    )
    ahead = gap32(end, rows[e + ZE_LAST])
    if flags & (TCP_SYN | TCP_RST) and not -ZEEK_TOO_FAR <= ahead <= ZEEK_TOO_FAR:
        return 0
    if flags & TCP_FIN and rows[e + ZE_LAST] == 1:
        rows[e + ZE_LAST] = end
    elif zeek_state(c, side, rows) == Z_RESET:
        return 0
    elif ahead > 0:
        rows[e + ZE_LAST] = end
    elif length:
        zeek_scaled(c, side, HISTORY_T, ZE_AGAIN, rows)
    return 0


def zeek_first(c: int, side: int, s: int, segments: Words, rows: Words) -> int:
    """An endpoint's first segment (UpdateInactiveState). Returns 1 where it closes the endpoint."""
    flags = segments[s + S_FLAGS]
    origin = 1 if rows[c + C_ZEEK] & Z_FLIPPED else 0
    peer = zeek_state(c, 1 - side, rows)
    closes = 0
    if flags & TCP_SYN:
        if side == origin:
            zeek_enter(c, side, Z_SYN_ACK_SENT if flags & TCP_ACK else Z_SYN_SENT, rows)
            rows[c + C_ZEEK_GONE] = segments[s + S_TIME] + 5000 * MILLISECOND
            rows[c + C_ZEEK] |= Z_ATTEMPT
        else:
            ends = c + C_ZEEK_ENDS + side * ZE_SIZE
            if not flags & TCP_ACK and peer == Z_SYN_ACK_SENT and segments[s + S_SEQ] == rows[ends + ZE_START]:
                # The SYN+ACK was met first.
                rows[c + C_ZEEK] ^= Z_FLIPPED
                write_letter(c, HISTORY_FLIPPED, rows)
                zeek_enter(c, 1 - side, Z_ESTABLISHED, rows)
            elif peer == Z_SYN_SENT:
                zeek_enter(c, 1 - side, Z_ESTABLISHED, rows)
            zeek_enter(c, side, Z_ESTABLISHED, rows)
            if rows[c + C_ZEEK] & Z_ATTEMPT:
                rows[c + C_ZEEK_GONE] = -1
    if flags & TCP_FIN:
        zeek_enter(c, side, Z_CLOSED, rows)
        closes = 1
    if flags & TCP_RST:
        zeek_enter(c, side, Z_RESET, rows)
        closes = 1
    if zeek_state(c, side, rows) == Z_INACTIVE:
        peer = zeek_state(c, 1 - side, rows)
        if side != origin and not segments[s + S_LEN] and peer == Z_SYN_SENT:
            return closes  # an ACK of the SYN before the SYN+ACK
        zeek_enter(c, side, Z_ESTABLISHED if flags & TCP_ACK and peer == Z_ESTABLISHED else Z_PARTIAL_STATE, rows)
    return closes


def zeek_move(c: int, side: int, s: int, segments: Words, rows: Words) -> int:
    """The endpoint's next state (UpdateStateMachine). Returns 1 where this closes it."""
    flags = segments[s + S_FLAGS]
    state = zeek_state(c, side, rows)
    if state == Z_INACTIVE:
        return zeek_first(c, side, s, segments, rows)
    closes = 0
    if state in (Z_SYN_SENT, Z_SYN_ACK_SENT):
        if flags & TCP_FIN:
            zeek_enter(c, side, Z_CLOSED, rows)
            closes = 1
        if flags & TCP_RST:
            zeek_enter(c, side, Z_RESET, rows)
            closes = 1
    elif state in (Z_ESTABLISHED, Z_PARTIAL_STATE):
        if (
            flags & (TCP_SYN | TCP_ACK) == TCP_SYN
            and state == Z_PARTIAL_STATE
            and zeek_state(c, 1 - side, rows) == Z_INACTIVE
        ):
            zeek_enter(c, side, Z_SYN_SENT, rows)
        if flags & (TCP_FIN | TCP_RST) == TCP_FIN:
            zeek_enter(c, side, Z_CLOSED, rows)
            if zeek_state(c, 1 - side, rows) == Z_RESET and zeek_before(c, 1 - side, rows) == Z_CLOSED:
                zeek_enter(c, 1 - side, Z_CLOSED, rows)
            closes = 1
        if flags & TCP_RST:
            zeek_enter(c, side, Z_RESET, rows)
            closes = 1
    elif state == Z_CLOSED and flags & TCP_RST and zeek_state(c, 1 - side, rows) != Z_CLOSED:
        zeek_enter(c, side, Z_RESET, rows)
        closes = 1
        moment = segments[s + S_TIME] + 5000 * MILLISECOND
        if rows[c + C_ZEEK] & Z_ATTEMPT or rows[c + C_ZEEK_GONE] < 0 or moment < rows[c + C_ZEEK_GONE]:
            rows[c + C_ZEEK] &= ~Z_ATTEMPT
            rows[c + C_ZEEK_GONE] = moment
    return closes


def zeek_close(c: int, side: int, rows: Words) -> int:
    """An endpoint has closed (ConnectionClosed): where that ends the connection, it is dropped five seconds later."""
    own = Z_CLOSED_SERVER if side else Z_CLOSED_CLIENT
    other = Z_CLOSED_CLIENT if side else Z_CLOSED_SERVER
    if rows[c + C_ZEEK] & own:
        return 0
    rows[c + C_ZEEK] |= own
    if zeek_state(c, side, rows) == Z_RESET or rows[c + C_ZEEK] & other or zeek_state(c, 1 - side, rows) == Z_INACTIVE:
        rows[c + C_ZEEK] &= ~Z_ATTEMPT
        rows[c + C_ZEEK_GONE] = rows[c + C_ZEEK_TIME] + 5000 * MILLISECOND
    return 0


def zeek_gaps(c: int, side: int, rows: Words) -> int:
    """Holes in what the peer sent that this segment acknowledges (AckReceived)."""
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    p = c + C_ZEEK_ENDS + (1 - side) * ZE_SIZE
    ack = rows[x + E_LAST_ACK]
    if rows[y + E_FIN] >= 0 and ack >= rows[y + E_FIN]:
        ack = rows[y + E_FIN] - 1
    if ack <= rows[p + ZE_REACHED]:
        return 0
    i = 0
    while i < rows[y + E_HOLES]:
        start = rows[y + E_HOLE + 2 * i]
        end = rows[y + E_HOLE + 2 * i + 1]
        if start < rows[p + ZE_REACHED]:
            start = rows[p + ZE_REACHED]
        if end > ack:
            end = ack
        if start < end and zeek_clean(c, 0, rows) and zeek_clean(c, 1, rows):
            zeek_scaled(c, 1 - side, HISTORY_G, ZE_GAPS, rows)
        i += 1
    rows[p + ZE_REACHED] = ack
    return 0


def zeek_clean(c: int, side: int, rows: Words) -> int:
    """Whether an endpoint is established, or was until its FIN: 1 or 0."""
    state = zeek_state(c, side, rows)
    if state == Z_ESTABLISHED:
        return 1
    return 1 if state == Z_CLOSED and zeek_before(c, side, rows) == Z_ESTABLISHED else 0


def join_zeek(c: int, side: int, s: int, segments: Words, rows: Words) -> int:
    """Let a segment change what Zeek says of the connection (TCPSessionAdapter::Process)."""
    z = rows[c + C_ZEEK]
    if z & Z_GONE:
        return 0
    if not z & Z_STARTED:
        zeek_begin(c, side, s, segments, rows)
    elif zeek_is_gone(c, s, segments, rows):
        rows[c + C_ZEEK] |= Z_GONE
        return 0
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    if segments[s + S_CHECKSUM] == CHECKSUM_BAD and rows[x + E_CHECKSUMS] & 1:
        return zeek_scaled(c, side, HISTORY_C, ZE_CHECKSUMS, rows)
    zeek_endpoint(c, side, s, segments, rows)
    zeek_history(c, side, s, segments, rows)
    if not (rows[c + C_ZEEK] & Z_CLOSED_CLIENT and rows[c + C_ZEEK] & Z_CLOSED_SERVER):
        rows[c + C_ZEEK_TIME] = segments[s + S_TIME]
    zeek_numbers(c, side, s, segments, rows)
    closes = zeek_move(c, side, s, segments, rows)
    if segments[s + S_FLAGS] & TCP_ACK:
        zeek_gaps(c, side, rows)
    if closes:
        zeek_close(c, side, rows)
        if zeek_state(c, 0, rows) == Z_RESET and zeek_state(c, 1, rows) == Z_RESET:
            if not zeek_size(c, 0, rows) and not zeek_size(c, 1, rows):
                rows[c + C_ZEEK] |= Z_EMPTY
    return 0
