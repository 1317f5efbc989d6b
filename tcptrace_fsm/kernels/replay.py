"""A connection's log, replayed through the machine: who moved from what to what, when, and on what evidence.

What is decided here, and what is not. The machine's table (:mod:`tcptrace_fsm.tcp.machine`) says where an event leads;
:func:`step` is the only place that moves a state. This file decides *whether and when an event happened*: a capture
shows what passed one point, not what arrived. It sees the whole connection at once, so nothing is ever revoked:

* What an endpoint sends proves its state at that moment (``sent``).
* What it acknowledges proves what it had received by then (``acked``). Of several copies of a SYN, SYN+ACK or FIN, its
  own segments tell which one arrived: by the timestamp that it echoes (RFC 7323 section 4.3: TS.Recent is taken from
  the segment that was accepted first), by a duplicate SACK (RFC 2883), by not acknowledging it in between, by sending
  its own again.
* A pure ACK, a last ACK, an RST calls for no answer. It is ``presumed`` to have arrived unless the endpoint goes on
  to do what it would have stopped: it sends its FIN or SYN+ACK again, or talks on after the RST.
* Some changes only the clock makes (``timer``; ``learned`` where the host has shown how its clock runs), and some only
  context shows (``inferred``).

Order and time. An endpoint's own segments were sent half a round trip before they passed the capture point, its peer's
arrive half a round trip after. The two streams are merged in the endpoint's own order of events: by these local times,
but never against the evidence. A segment that acknowledges the peer's FIN comes after the FIN, one that does not comes
before it, whatever the capture's order. Each change carries the bracket within which it must lie.

At the host itself (``C_LOCAL``) there is no way to go and nothing to lose: what the capture shows arriving has arrived
(``acked``, and the very frame confirms it), what it shows leaving is sent at that moment, in the capture's order. What
is left to judge is whether TCP accepted it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.arrives import *
from tcptrace_fsm.kernels.clocks import *
from tcptrace_fsm.kernels.fins import *
from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.leaves import *
from tcptrace_fsm.kernels.memory import *
from tcptrace_fsm.kernels.moves import *
from tcptrace_fsm.kernels.outcome import *
from tcptrace_fsm.kernels.proofs import *
from tcptrace_fsm.kernels.seen import *
from tcptrace_fsm.kernels.stack import *
from tcptrace_fsm.kernels.table import *
from tcptrace_fsm.kernels.waits import is_waited_for

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

__all__ = ["collect", "interesting", "replay_due"]


def own_first(i: int, j: int, scratch: Words, work: Words) -> int:
    """Whether the endpoint sent its segment ``i`` before the peer's segment ``j`` arrived: 1 or 0."""
    flags = work[j + L_INFO] & LOG_FLAGS_MASK
    proof = -1
    if scratch[X_LOCAL]:
        return 1 if i < j else 0
    if j == scratch[X_SYN_COPY] and flags & TCP_SYN:
        proof = scratch[X_SYN_PROOF]
    elif j == scratch[X_SYN_ACK_COPY] and flags & TCP_SYN:
        proof = scratch[X_SYN_ACK_PROOF]
    elif j == scratch[X_FIN_COPY] and flags & TCP_FIN and scratch[X_FIN_FILL] < 0:
        proof = scratch[X_FIN_PROOF]
    if proof >= 0:
        return 1 if i < proof else 0
    if j < i and is_reply_rst(i, work) and work[i + L_SEQ] == work[j + L_ACK]:
        return 0  # it answers that very segment
    return 1 if work[i + L_TIME] - scratch[X_HALF] < work[j + L_TIME] + scratch[X_HALF] else 0


def replay_side(
    c: int,
    side: int,
    host: int,
    n: int,
    now: int,
    rows: Words,
    timers: Words,
    table: Words,
    out: Words,
    scratch: Words,
    work: Words,
) -> int:
    """Walk one endpoint through the machine, in its own order of events.

    Its host's timers begin at word ``host`` of ``timers``.
    """
    ident = rows[c + C_ID]
    scratch[X_END] = now
    if taken_over(c, side, rows) >= 0:
        scratch[X_END] = taken_over(c, side, rows)
    survey(c, side, n, rows, work, scratch)
    scratch[X_TIMERS] = host
    find_syn_copy(side, n, scratch, work)
    find_syn_ack_copy(side, n, scratch, work)
    find_fin_copy(side, n, scratch, work)
    scratch[X_UNSEEN_FIN] = find_unseen_fin(1 - side, n, c, rows, work)
    scratch[X_PEER_UNSEEN_FIN] = find_unseen_fin(side, n, c, rows, work)
    scratch[X_OPENED] = OPENED_ACTIVE if side == CLIENT else OPENED_PASSIVE
    scratch[X_STATE] = ST_CLOSED if side == CLIENT else ST_LISTEN
    scratch[X_BASIS] = BASIS_INFERRED
    if rows[c + C_FLAGS] & CF_MIDSTREAM and n:
        spoke = 1 if scratch[X_LAST_ALIVE] >= 0 or scratch[X_UNSEEN] else 0
        if spoke and work[L_ACK] >= 0 and not work[L_INFO] & (TCP_SYN | TCP_RST):
            open_inside(0, c, side, rows, table, out, scratch, work)
    asks = M_KEEPALIVE | M_ZERO_WINDOW_PROBE | M_TIMEOUT | M_FIN_AGAIN
    scratch[X_NEXT_OWN] = -1  # the copies were looked for out of order
    scratch[X_NEXT_RST] = -1
    i = next_of(side, 0, n, work)
    j = next_of(1 - side, 0, n, work)
    while i < n or j < n:
        if j >= n or (i < n and own_first(i, j, scratch, work)):
            scratch[X_ASKED] = 0
            if is_real(i, work):
                run_2msl(work[i + L_TIME], side, ident, timers, table, out, scratch)
                own_segment(i, c, side, n, rows, timers, table, out, scratch, work)
                if work[i + L_INFO] & (TCP_SYN | TCP_ACK) == TCP_SYN | TCP_ACK:
                    scratch[X_SYN_ACK] = i
                elif repeats(i, scratch, work):
                    scratch[X_CHALLENGE] = work[i + L_TIME]
                scratch[X_OWN] = i
                end = work[i + L_SEQ] + (work[i + L_INFO] >> LOG_LEN_SHIFT & LOG_LEN_MASK)
                if work[i + L_INFO] & (TCP_SYN | TCP_FIN):
                    end += 1
                if end > scratch[X_OWN_NEXT] and not work[i + L_INFO] & TCP_RST:
                    scratch[X_OWN_NEXT] = end
                if (
                    work[i + L_ACK] > scratch[X_OWN_ACK]
                    and not work[i + L_INFO] & TCP_RST
                    and not 0 <= scratch[X_PEER_FIN_END] < work[i + L_ACK]  # it was not its own
                ):
                    scratch[X_OWN_ACK] = work[i + L_ACK]
            i = next_of(side, i + LOG_SIZE, n, work)
        else:
            if (
                work[j + L_WINDOW] == 0
                and not work[j + L_INFO] & TCP_RST
                and work[j + L_TIME] == rows[c + C_ENDPOINTS + side * ENDPOINT_SIZE + E_BUSY_SINCE]
            ):
                scratch[X_SHUT] = 1
            if is_taken(j, scratch, work):
                run_2msl(work[j + L_TIME], side, ident, timers, table, out, scratch)
                peer_segment(j, c, side, n, rows, timers, table, out, scratch, work)
            else:
                scratch[X_TURNED_AWAY] = work[j + L_TIME]
            if work[j + L_MARKS] & asks:
                scratch[X_ASKED] += 1
            j = next_of(1 - side, j + LOG_SIZE, n, work)
    run_out(c, side, rows, timers, table, out, scratch)
    return 0


def habits(x: int, stack: int, rows: Words, timers: Words) -> int:
    """The HABIT_... bits of an endpoint that bespeaks this system."""
    found = timers[habits_of(stack, timers) + P_HABITS]
    # A BSD without window scale is an old one: it cuts off what lies before the window, and takes the RST all the same.
    if timers[P_STACKS] and stack == STACK_BSD and rows[x + E_SHIFT] < 0:
        found |= HABIT_OBEYS_OLD_RST
    return found


def habits_of(stack: int, timers: Words) -> int:
    """Where in ``timers`` the profile of a host begins that bespeaks this system and has shown no timers."""
    return timers[P_STACKS] + stack * PROFILE_SIZE if timers[P_STACKS] else 0


def replay(
    c: int,
    client_host: int,
    server_host: int,
    now: int,
    rows: Words,
    log: Words,
    timers: Words,
    table: Words,
    out: Words,
    scratch: Words,
    work: Words,
) -> int:
    """Replay the connection of row ``c``; ``now`` is the capture's latest moment.

    The timers of the client's host begin at word ``client_host`` of ``timers``, the server's at ``server_host``.

    Writes its transitions at word ``scratch[X_TOP]`` of ``out`` (which must have room for
    ``8 + 2 * log records`` of them) and its results into the row. Returns the number of transitions.
    """
    first = scratch[X_TOP]
    x = c + C_ENDPOINTS
    client_stack = stack_of(c, CLIENT, rows, log)
    server_stack = stack_of(c, SERVER, rows, log)
    rows[x + END_STACK] = client_stack
    rows[x + ENDPOINT_SIZE + END_STACK] = server_stack
    if rows[c + C_PATH]:
        n = gather_at(c, CLIENT, rows, log, work)
    else:
        n = gather(c, rows, log, work)
        locate(c, rows)
    scratch[X_HABITS] = habits(x, client_stack, rows, timers)
    mark_old_fins(n, work)
    replay_side(
        c, CLIENT, client_host or habits_of(client_stack, timers), n, now, rows, timers, table, out, scratch, work
    )
    rows[c + C_CLIENT_STATE] = final_state(x, rows, scratch)
    rows[c + C_CLIENT_BASIS] = final_basis(timers, scratch)
    saw_client = scratch[X_SAW]
    if rows[c + C_PATH]:
        n = gather_at(c, SERVER, rows, log, work)
        mark_old_fins(n, work)
    scratch[X_HABITS] = habits(x + ENDPOINT_SIZE, server_stack, rows, timers)
    replay_side(
        c, SERVER, server_host or habits_of(server_stack, timers), n, now, rows, timers, table, out, scratch, work
    )
    rows[c + C_SERVER_STATE] = final_state(x + ENDPOINT_SIZE, rows, scratch)
    rows[c + C_SERVER_BASIS] = final_basis(timers, scratch)
    conclude(c, first, scratch[X_TOP], saw_client, scratch[X_SAW], rows, out)
    mark_damaged_syns(c, CLIENT, rows, log)
    mark_damaged_syns(c, SERVER, rows, log)
    rows[c + C_TRANSITIONS] = (scratch[X_TOP] - first) // TRANSITION_SIZE
    return rows[c + C_TRANSITIONS]


def replay_due(
    start: int,
    count: int,
    room: int,
    due_words: Words,
    rows_words: Words,
    log_words: Words,
    timers_words: Words,
    hosts_words: Words,
    table_words: Words,
    out_words: Words,
    scratch_words: Words,
    work_words: Words,
) -> int:
    """Replay the due connections from ``start`` on while there is room for their transitions.

    For each of them ``hosts`` holds two words: where in ``timers`` those of the client's and the server's host begin.

    Returns the index of the first that was not replayed; ``scratch[X_TOP]`` is the end of what was written.
    """
    due = pointer(due_words)
    rows = pointer(rows_words)
    log = pointer(log_words)
    timers = pointer(timers_words)
    hosts = pointer(hosts_words)
    table = pointer(table_words)
    out = pointer(out_words)
    scratch = pointer(scratch_words)
    work = pointer(work_words)
    i = start
    while i < count:
        # Fetch what the connections after this one will need, step by step: their rows, then one block of their logs
        # after the other, for each tells where the next one lies.
        if i + 6 < count:
            k = due[i + 6]
            while k < due[i + 6] + CONNECTION_SIZE:
                prefetch(rows, k)
                k += 8
        step = 0
        while step < 4 and i + 4 - step < count:
            r = rows[due[i + 4 - step] + C_LOG_HEAD]
            k = 0
            while k < step and r >= 0:
                r = next_block(r, log)
                k += 1
            if r >= 0:
                end = r + LOG_BLOCK
                while r < end:
                    prefetch(log, r)
                    r += 8
            step += 1
        if scratch[X_TOP] + (24 + 2 * rows[due[i] + C_LOG_COUNT]) * TRANSITION_SIZE > room:
            break
        k = 2 * (i - start)
        replay(due[i], hosts[k], hosts[k + 1], rows[due[i] + C_OVER_TIME], rows, log, timers, table, out, scratch, work)
        i += 1
    return i


def collect(start: int, end: int, due_words: Words, rows_words: Words, block_words: Words) -> int:
    """Copy the records of the due connections ``start`` to ``end`` to the front of ``block``, one after the other."""
    due = pointer(due_words)
    rows = pointer(rows_words)
    block = pointer(block_words)
    i = start
    w = 0
    while i < end:
        k = 0
        while k < CONNECTION_SIZE:
            block[w] = rows[due[i] + k]
            w += 1
            k += 1
        i += 1
    return w


def interesting(count: int, boring: int, block_words: Words, chosen_words: Words) -> int:
    """Which of ``count`` finished connections any rule may have something to say about.

    Not: those that opened by handshake and closed normally, once only, with no marks but ``boring`` ones, and in which
    nobody had to wait for long. For each of the others, ``chosen`` gets two words: where its record begins in
    ``block``, and its transitions in ``out``. Returns how many.
    """
    block = pointer(block_words)
    chosen = pointer(chosen_words)
    n = 0
    c = 0
    t = 0
    quiet = CF_SETTLED | CF_CLOSING | CF_BARE_LINK
    while c < count * CONNECTION_SIZE:
        if (
            block[c + C_MARKS] & ~boring
            or block[c + C_OPENING] != OPENING_HANDSHAKE
            or block[c + C_CLOSING] != CLOSING_NORMAL
            or block[c + C_INCARNATION]
            or block[c + C_FLAGS] & ~quiet
            or is_waited_for(c, block)
            or not block[c + C_ENDPOINTS + E_STAGE] & block[c + C_ENDPOINTS + ENDPOINT_SIZE + E_STAGE] & ES_ACKS_FIN
        ):
            chosen[2 * n] = c
            chosen[2 * n + 1] = t
            n += 1
        t += block[c + C_TRANSITIONS] * TRANSITION_SIZE
        c += CONNECTION_SIZE
    return n
