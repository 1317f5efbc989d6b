"""Facts: what the log of a connection shows, as bits by which rules are chosen.

A rule says by facts whether a connection can concern it at all (``when``). They are computed here for a whole block of
connections, so that Python looks at those only that a rule has something to say about. Each fact is a necessary
condition, never the judgement itself: where in doubt it holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words
    from tcptrace_fsm.kernels.records import Classes

__all__ = ["classify", "unpack"]


def facts_of(c: int, t: int, block: Words, log: Words, changes: Words) -> int:
    """The facts about the connection whose record begins at ``c``, and whose transitions begin at ``t``."""
    if block[c + C_PATH]:
        return ALL_FACTS  # two captures in one: their frames are in no order of their own
    facts = (
        order_of_opening(c, block, log)
        | repeated_after_fin(c, CLIENT, block, log)
        | repeated_after_fin(c, SERVER, block, log)
        | by_flags(c, block, log)
        | facts_of_changes(c, t, block, changes)
        | facts_of_ends(c, block)
    )
    ports = block[c + C_PORTS]
    if (
        block[c + C_CLIENT_LO] == block[c + C_SERVER_LO]
        and block[c + C_CLIENT_HI] == block[c + C_SERVER_HI]
        and ports >> 16 == ports & 65535
    ):
        facts |= bit(FACT_SELF)
    if block[c + C_TAKEN_OVER] >= 0 and block[c + C_ACCEPTED] >= 0:
        facts |= bit(FACT_OLD_DATA)
        if block[c + C_TAKEN_BY] == SERVER:
            facts |= bit(FACT_ROLES_REVERSED)
    return facts


def facts_of_ends(c: int, block: Words) -> int:
    """What was seen of both sides, and how much of it was acknowledged."""
    x = c + C_ENDPOINTS
    y = x + ENDPOINT_SIZE
    facts = 0
    if block[x + E_SEGMENTS] and block[y + E_SEGMENTS]:
        facts |= bit(FACT_BOTH_DIRECTIONS)
    if block[x + E_BASE_KNOWN] == BASE_SYN and block[y + E_BASE_KNOWN] == BASE_SYN:
        facts |= bit(FACT_BOTH_SYNS)
    if (
        block[x + E_NEXT] - (block[y + E_ACK] if block[y + E_ACK] > 0 else 0) > MUCH_UNACKED
        or block[y + E_NEXT] - (block[x + E_ACK] if block[x + E_ACK] > 0 else 0) > MUCH_UNACKED
    ):
        facts |= bit(FACT_MUCH_UNACKED)
    return facts


def order_of_opening(c: int, block: Words, log: Words) -> int:
    """``FACT_DATA_FIRST``: the client sent data before the server's SYN+ACK, or there was none."""
    r = block[c + C_LOG_HEAD]
    while r >= 0:
        info = log[r + L_INFO]
        if not log[r + L_MARKS] & M_CAPTURE_DUPLICATE:
            if info >> LOG_SIDE_SHIFT & 1:
                if info & (TCP_SYN | TCP_ACK | TCP_RST) == TCP_SYN | TCP_ACK:
                    return 0
            elif info >> LOG_LEN_SHIFT & LOG_LEN_MASK and not info & (TCP_SYN | TCP_RST):
                return bit(FACT_DATA_FIRST)
        r = log[r + L_NEXT]
    return 0


def repeated_after_fin(c: int, side: int, block: Words, log: Words) -> int:
    """What ``side`` sent after its own FIN, or the ACK of it: ``FACT_CLOSE_AGAIN``, ``FACT_OLD_DATA``."""
    e = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    unreal = M_CAPTURE_DUPLICATE | M_BAD_CHECKSUM
    facts = 0
    fins = 0
    fin_time = -1  # of its first FIN, as FACT_OLD_DATA sees it
    fin_tsval = -1
    acked = -1  # when the peer first acknowledged the FIN
    r = block[c + C_LOG_HEAD]
    while r >= 0:
        info = log[r + L_INFO]
        marks = log[r + L_MARKS]
        time = log[r + L_TIME]
        length = info >> LOG_LEN_SHIFT & LOG_LEN_MASK
        if info >> LOG_SIDE_SHIFT & 1 != side:
            if acked < 0 and not info & TCP_RST and not marks & M_NOBODYS and log[r + L_ACK] >= block[e + E_FIN]:
                acked = time
        elif not marks & unreal:
            if fin_time < 0 and info & TCP_FIN:
                fin_time = time
                fin_tsval = log[r + L_TSVAL]
            if not marks & (M_NOBODYS | M_NETWORK_DUPLICATE):
                if info & (TCP_FIN | TCP_RST) == TCP_FIN:
                    fins += 1
                if acked >= 0 and time > acked and (info & TCP_FIN or (length and marks & M_SPURIOUS)):
                    facts |= bit(FACT_CLOSE_AGAIN)
            if length and marks & M_SPURIOUS and fin_time >= 0 and time > fin_time and fin_tsval >= 0:
                if log[r + L_TSVAL] < 0 or newer(fin_tsval, log[r + L_TSVAL]):
                    facts |= bit(FACT_OLD_DATA)
        r = log[r + L_NEXT]
    if fins > 1:
        facts |= bit(FACT_CLOSE_AGAIN)
    return facts


def by_flags(c: int, block: Words, log: Words) -> int:
    """What was sent by its flags: SYN+ACKs, pure ACKs, RSTs and how many of them, FINs that acknowledge oddly."""
    facts = 0
    openers = 0  # which sides sent a SYN
    enders = 0  # which sides sent a FIN without ACK
    client_resets = 0
    server_resets = 0
    r = block[c + C_LOG_HEAD]
    if r >= 0 and log[r + L_INFO] & TCP_RST:
        facts |= bit(FACT_RESET_FIRST)
    while r >= 0:
        info = log[r + L_INFO]
        if info & (TCP_SYN | TCP_ACK | TCP_RST) == TCP_SYN | TCP_ACK:
            facts |= bit(FACT_SYN_ACK)
        if info & (TCP_SYN | TCP_FIN | TCP_RST | TCP_ACK) == TCP_ACK and not info >> LOG_LEN_SHIFT & LOG_LEN_MASK:
            facts |= bit(FACT_PURE_ACK)
        if info & (TCP_SYN | TCP_ACK | TCP_RST) == TCP_SYN:
            openers |= 1 << (info >> LOG_SIDE_SHIFT & 1)
        if info & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK) == TCP_FIN:
            enders |= 1 << (info >> LOG_SIDE_SHIFT & 1)
        if info & TCP_FIN and log[r + L_MARKS] & (M_ACK_UNSEEN | M_ACK_OLD):
            facts |= bit(FACT_FIN_ODD_ACK)
        if info & TCP_RST:
            if info >> LOG_LEN_SHIFT & LOG_LEN_MASK:
                facts |= bit(FACT_RESET_WITH_DATA)
            if info >> LOG_SIDE_SHIFT & 1:
                server_resets += 1
            else:
                client_resets += 1
        r = log[r + L_NEXT]
    if openers & enders:
        facts |= bit(FACT_SYN_AND_FIN)
    if client_resets > 1 or server_resets > 1:
        facts |= bit(FACT_RESET_AGAIN)
    if client_resets:
        facts |= resets_of(c, CLIENT, block, log)
    if server_resets:
        facts |= resets_of(c, SERVER, block, log)
    return facts


def resets_of(c: int, side: int, block: Words, log: Words) -> int:
    """What the RSTs of ``side`` are like: ``FACT_RESET_SILENT``, ``..._REPLY``, ``..._AFTER_FIN``, ``..._ODD_ACK``."""
    sent = block[c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE + E_NEXT]
    facts = 0
    spoke = 0
    closed = 0
    r = block[c + C_LOG_HEAD]
    while r >= 0:
        info = log[r + L_INFO]
        if info >> LOG_SIDE_SHIFT & 1 == side:
            if info & TCP_RST:
                if not spoke:
                    facts |= bit(FACT_RESET_SILENT)
                if closed:
                    facts |= bit(FACT_RESET_AFTER_FIN)
                if not info & TCP_ACK or log[r + L_MARKS] & M_REPLY_RST:
                    facts |= bit(FACT_RESET_REPLY)
                if log[r + L_ACK] > sent or log[r + L_ACK] < 1:
                    facts |= bit(FACT_RESET_ODD_ACK)
            else:
                if info & TCP_FIN:
                    closed = 1
                if not info & TCP_SYN and not log[r + L_MARKS] & M_NOBODYS:
                    spoke = 1
        r = log[r + L_NEXT]
    return facts


def of_state(state: int) -> int:
    """What it shows that a side was in a state."""
    if state == ST_TIME_WAIT:
        return bit(FACT_TIME_WAIT)
    if state == ST_ESTABLISHED:
        return bit(FACT_ESTABLISHED)
    if state in (ST_FIN_WAIT_1, ST_FIN_WAIT_2, ST_CLOSE_WAIT, ST_CLOSING, ST_LAST_ACK):
        return bit(FACT_ENDING)
    return 0


def facts_of_changes(c: int, t: int, block: Words, changes: Words) -> int:
    """What the transitions show, which begin at ``t``."""
    facts = 0
    end = t + block[c + C_TRANSITIONS] * TRANSITION_SIZE
    while t < end:
        event = changes[t + T_EVENT]
        state = changes[t + T_FROM]
        facts |= of_state(state) | of_state(changes[t + T_TO])
        if state in (ST_ESTABLISHED, ST_CLOSE_WAIT) and event in (EV_SND_RST, EV_GONE):
            facts |= bit(FACT_ABORTED_OPEN)
        if event == EV_GONE:
            facts |= bit(FACT_GONE)
        if state == ST_FIN_WAIT_2 and event in (EV_GONE, EV_TIMEOUT_FIN_WAIT_2, EV_TIMEOUT_2MSL):
            facts |= bit(FACT_GONE_IN_FIN_WAIT_2)
        if state == ST_CLOSE_WAIT and event == EV_SND_FIN:
            facts |= bit(FACT_CLOSED_SECOND)
        if state == ST_LAST_ACK and changes[t + T_BASIS] == BASIS_INFERRED:
            facts |= bit(FACT_LAST_ACK_INFERRED)
        t += TRANSITION_SIZE
    return facts


def classify(count: int, classes: Classes) -> int:
    """Which class each of ``count`` connections is of: connections with the same ``KEY_`` words are of one class.

    Returns how many classes are new.
    """
    chosen = classes.chosen
    block = classes.block
    known = classes.known
    slots = classes.slots
    new = 0
    i = 0
    while i < count:
        c = chosen[2 * i]
        marks = block[c + C_MARKS]
        flags = block[c + C_FLAGS]
        states = block[c + C_OPENING] | block[c + C_CLOSING] << 8
        states |= block[c + C_CLIENT_STATE] << 16 | block[c + C_SERVER_STATE] << 24
        facts = ALL_FACTS
        if classes.logged:
            facts = facts_of(c, chosen[2 * i + 1], block, classes.log, classes.changes)
        states |= facts << 32
        if block[c + C_INCARNATION] > 0:
            states |= bit(KEY_REUSED)
        if block[c + C_TAKEN_OVER] >= 0:
            states |= bit(KEY_TAKEN_OVER)
        if block[c + C_ENDPOINTS + E_STAGE] & block[c + C_ENDPOINTS + ENDPOINT_SIZE + E_STAGE] & ES_ACKS_FIN:
            states |= bit(KEY_ACKNOWLEDGED)
        # Of each the lowest 26 bits, which decide the place: times 127, what has 62 bits would not fit 64.
        k = ((marks ^ marks >> 21) & 0x3FFFFFF) * 7 + ((flags ^ flags >> 15) & 0x3FFFFFF) * 31
        k += ((states ^ states >> 19 ^ states >> 37) & 0x3FFFFFF) * 127
        k = (k ^ k >> 13) & (slots - 1)
        tries = 0
        while tries < slots and known[k * KEY_SIZE + KEY_USED]:
            if (
                known[k * KEY_SIZE + KEY_MARKS] == marks
                and known[k * KEY_SIZE + KEY_FLAGS] == flags
                and known[k * KEY_SIZE + KEY_STATES] == states
            ):
                break
            k = (k + 1) & (slots - 1)
            tries += 1
        if tries == slots:
            k = -1
        elif not known[k * KEY_SIZE + KEY_USED]:
            known[k * KEY_SIZE + KEY_USED] = 1
            known[k * KEY_SIZE + KEY_MARKS] = marks
            known[k * KEY_SIZE + KEY_FLAGS] = flags
            known[k * KEY_SIZE + KEY_STATES] = states
            new += 1
        classes.of[i] = k
        i += 1
    return new


def unpack(head: int, most: int, log: Words, out: Words) -> int:
    """Write the log that begins at ``head`` as ``U_`` words of each segment, at most ``most``. Returns how many."""
    n = 0
    w = 0
    r = head
    while r >= 0 and n < most:
        info = log[r + L_INFO]
        packet = log[r + L_FATE]
        out[w + U_SIDE] = info >> LOG_SIDE_SHIFT & 1
        out[w + U_TIME] = log[r + L_TIME]
        out[w + U_FRAME] = log[r + L_FRAME]
        out[w + U_FLAGS] = info & LOG_FLAGS_MASK
        out[w + U_SEQ] = log[r + L_SEQ]
        out[w + U_ACK] = log[r + L_ACK]
        out[w + U_LENGTH] = info >> LOG_LEN_SHIFT & LOG_LEN_MASK
        out[w + U_MARKS] = log[r + L_MARKS]
        out[w + U_WINDOW] = log[r + L_WINDOW]
        out[w + U_TSVAL] = log[r + L_TSVAL]
        out[w + U_TSECR] = log[r + L_TSECR]
        out[w + U_LAST_TIME] = log[r + L_END_TIME]
        out[w + U_LAST_FRAME] = log[r + L_END_FRAME]
        out[w + U_RUN] = info >> LOG_RUN_SHIFT
        out[w + U_TTL] = packet >> LOG_TTL_SHIFT & 255
        out[w + U_IP_ID] = (packet >> LOG_IP_ID_SHIFT & LOG_IP_ID_MASK) - 1
        out[w + U_OPTIONS] = packet >> LOG_OPTIONS_SHIFT
        out[w + U_FATE] = packet & LOG_FATE_MASK
        out[w + U_CHECKSUM] = packet >> LOG_CHECKSUM_SHIFT & 3
        out[w + U_UNSENT] = 1 if log[r + L_ARRIVAL_FRAME] == log[r + L_FRAME] else 0
        w += UNPACKED_SIZE
        n += 1
        r = log[r + L_NEXT]
    return n
