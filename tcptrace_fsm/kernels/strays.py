"""Strays: connections that nobody opened, as far as the capture tells; what surveys of them look for.

An attacker makes one of every packet. Those that concern a survey are found here, so that Python sees hosts, not
packets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

__all__ = ["find_heard", "find_one_sided", "find_probes", "find_used_again", "note_answers", "note_probes"]


def probes_from(own: int, other: int, flags: int, block: Words) -> int:
    """Whether one endpoint sent a few segments with these flags only, and its peer RSTs or nothing: 1 or 0."""
    asks = block[own + E_SEGMENTS]
    if asks < 1 or asks > 3 or block[own + E_LAST_FLAGS] & 63 != flags or block[own + E_BYTES]:
        return 0
    if block[own + E_RSTS] != (asks if flags & TCP_RST else 0):
        return 0
    if flags & TCP_ACK and block[own + E_FINS] != (asks if flags & TCP_FIN else 0):
        return 0
    replies = block[other + E_SEGMENTS]
    return 1 if replies == block[other + E_RSTS] and replies <= asks else 0


def find_probes(count: int, starts: Words, block: Words, flags: int, others: int, out: Words) -> int:
    """The connections in which one side sent segments with some flags only, and its peer RSTs or nothing.

    Parameters
    ----------
    count : int
    starts : int64[count]
        Where their records begin in ``block``.
    block : int64 array
    flags, others : int
        Either will do; the first that fit count, the client before the server.
    out : int64[2 * count]
        Where the record begins, and the side.

    Returns
    -------
    int
        How many there are.
    """
    n = 0
    i = 0
    while i < count:
        x = starts[i] + C_ENDPOINTS
        y = x + ENDPOINT_SIZE
        side = -1
        if probes_from(x, y, flags, block):
            side = CLIENT
        elif probes_from(y, x, flags, block):
            side = SERVER
        elif others != flags:
            if probes_from(x, y, others, block):
                side = CLIENT
            elif probes_from(y, x, others, block):
                side = SERVER
        if side >= 0:
            out[2 * n] = starts[i]
            out[2 * n + 1] = side
            n += 1
        i += 1
    return n


def put_host(c: int, side: int, block: Words, out: Words, k: int) -> int:
    """Write the address of an endpoint. Returns where what follows goes."""
    out[k] = block[c + C_NET] & 1
    out[k + 1] = block[c + (C_CLIENT_HI if side == CLIENT else C_SERVER_HI)]
    out[k + 2] = block[c + (C_CLIENT_LO if side == CLIENT else C_SERVER_LO)]
    return k + 3


def lies_behind(k: int, width: int, out: Words, bound: Words) -> int:
    """Whether the key at ``k`` is larger than a bound, if there is one: 1 or 0."""
    if not bound[0]:
        return 0
    f = 0
    while f < width - 1 and out[k + f] == bound[1 + f]:
        f += 1
    return 1 if out[k + f] > bound[1 + f] else 0


def note_probes(count: int, found: Words, block: Words, pairs: int, least_port: int, bound: Words, out: Words) -> int:
    """Note what was found as attempts: by the host that was sent it, by who sent it whom, or by who sent it.

    Parameters
    ----------
    count : int
    found : int64[2 * count]
        As of `find_probes`.
    block : int64 array
    pairs : int
        0: by the host that was sent it, its sender the member. 1: by both hosts, the socket that was sent it the
        member; without those that bear timestamps, as connections' segments do. 2: by the host that sent it, the
        socket that was sent it the member.
    least_port : int
        With ``pairs``, from lower ports ends of ordinary connections come.
    bound : int64[7]
        1 and the largest key that is taken, or 0.
    out : int64[count * ATTEMPT_SIZE]

    Returns
    -------
    int
        How many records were written.
    """
    n = 0
    i = 0
    while i < 2 * count:
        c = found[i]
        side = found[i + 1]
        i += 2
        own = c + C_ENDPOINTS + side * ENDPOINT_SIZE
        other = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
        ports = block[c + C_PORTS]
        port = ports >> 16 if side == CLIENT else ports & 65535
        k = n * ATTEMPT_SIZE
        if pairs == 2:
            put_host(c, side, block, out, k + A_KEY)
            out[k + A_KEY + 3] = 0
            put_host(c, 1 - side, block, out, k + A_MEMBER)
            out[k + A_MEMBER + 3] = ports & 65535 if side == CLIENT else ports >> 16
        elif pairs:
            if block[own + E_TSVAL] >= 0 or port < least_port:
                continue
            put_host(c, side, block, out, k + A_KEY)
            put_host(c, 1 - side, block, out, k + A_PEER)
            out[k + A_PEER + 3] = ports & 65535 if side == CLIENT else ports >> 16
            out[k + A_PEER + 4] = 0
        else:
            put_host(c, 1 - side, block, out, k + A_KEY)
            out[k + A_KEY + 3] = 0
            put_host(c, side, block, out, k + A_MEMBER)
            out[k + A_MEMBER + 3] = 0
        if lies_behind(k, 6 if pairs == 1 else 3, out, bound):
            continue
        out[k + A_ID] = block[c + C_ID]
        out[k + A_FRAME] = block[c + C_FIRST_FRAME]
        out[k + A_FIRST] = block[c + C_FIRST_TIME]
        out[k + A_LAST] = block[c + C_LAST_TIME]
        out[k + A_PORT] = port
        out[k + A_SIDE] = side
        out[k + A_ANSWERED] = 1 if block[other + E_RSTS] else 0
        n += 1
    return n


def note_answers(count: int, starts: Words, block: Words, bound: Words, out: Words) -> int:
    """Note SYN+ACKs to who sent nothing, or RSTs: by who was sent them, and by who sent them, each the other's member.

    Parameters
    ----------
    count : int
    starts : int64[count]
    block : int64 array
    bound : int64[7]
        1 and the largest key that is taken, or 0. A key is 0 and who was sent them, or 1 and who sent them.
    out : int64[2 * count * ATTEMPT_SIZE]

    Returns
    -------
    int
        How many records were written.
    """
    n = 0
    i = 0
    while i < count:
        c = starts[i]
        x = c + C_ENDPOINTS
        y = x + ENDPOINT_SIZE
        i += 1
        if block[c + C_ROLE_BASIS] != ROLE_SYN_ACK or block[x + E_SEGMENTS] != block[x + E_RSTS]:
            continue
        if block[y + E_SYNS] != block[y + E_SEGMENTS]:
            continue
        by = CLIENT
        while by <= SERVER:
            k = n * ATTEMPT_SIZE
            out[k + A_KEY] = by
            put_host(c, by, block, out, k + A_KEY + 1)
            put_host(c, 1 - by, block, out, k + A_MEMBER)
            if not lies_behind(k, 4, out, bound):
                out[k + A_MEMBER + 3] = 0
                out[k + A_ID] = block[c + C_ID]
                out[k + A_FRAME] = block[c + C_FIRST_FRAME]
                out[k + A_FIRST] = block[c + C_FIRST_TIME]
                out[k + A_LAST] = block[c + C_LAST_TIME]
                out[k + A_PORT] = 0
                out[k + A_SIDE] = SERVER
                out[k + A_ANSWERED] = 1 if block[x + E_RSTS] else 0
                n += 1
            by += 1
    return n


def find_used_again(count: int, starts: Words, block: Words, out: Words) -> int:
    """Those whose four-tuple their client has used again, with another number. Returns how many there are.

    Where the gap is negative, the capture holds a time twice; without a new number, the same packets were sent again:
    no TCP takes an ISN twice.
    """
    n = 0
    i = 0
    while i < count:
        c = starts[i]
        i += 1
        if block[c + C_TAKEN_BY] == CLIENT and block[c + C_TAKEN_OVER] >= block[c + C_LAST_TIME]:
            if block[c + C_TAKEN_SEQ]:
                out[n] = c
                n += 1
    return n


def find_heard(count: int, starts: Words, block: Words, out: Words) -> int:
    """Those whose ends both spoke, or of which one said more than a probe does. Returns how many there are."""
    n = 0
    i = 0
    while i < count:
        own = block[starts[i] + C_ENDPOINTS + E_SEGMENTS]
        other = block[starts[i] + C_ENDPOINTS + ENDPOINT_SIZE + E_SEGMENTS]
        if (own and other) or own > 3 or other > 3:
            out[n] = starts[i]
            n += 1
        i += 1
    return n


def find_one_sided(count: int, starts: Words, block: Words, out: Words) -> int:
    """Those in which one side reacts to what is not visible of the other: where the record begins, and that side.

    Returns how many there are.
    """
    n = 0
    i = 0
    while i < count:
        side = CLIENT
        while side <= SERVER:
            own = starts[i] + C_ENDPOINTS + side * ENDPOINT_SIZE
            other = starts[i] + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
            others = block[own + E_SEGMENTS] - block[own + E_SYNS] - block[own + E_RSTS]
            ack = block[own + E_ACK]
            if not block[other + E_SEGMENTS] and others > 0:
                if (block[own + E_SYNS] and ack >= 0) or (others > 1 and ack > 1):
                    out[2 * n] = starts[i]
                    out[2 * n + 1] = side
                    n += 1
            side += 1
        i += 1
    return n
