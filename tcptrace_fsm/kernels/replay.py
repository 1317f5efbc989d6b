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
from tcptrace_fsm.kernels.hidden import *
from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.leaves import *
from tcptrace_fsm.kernels.memory import *
from tcptrace_fsm.kernels.moves import *
from tcptrace_fsm.kernels.outcome import *
from tcptrace_fsm.kernels.proofs import *
from tcptrace_fsm.kernels.records import *
from tcptrace_fsm.kernels.seen import *
from tcptrace_fsm.kernels.stack import *
from tcptrace_fsm.kernels.table import *
from tcptrace_fsm.kernels.waits import is_waited_for

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

__all__ = ["collect", "interesting", "replay_due", "tell_apart"]


def own_first(tcb: Tcb, i: int, j: int) -> int:
    """Whether the endpoint sent its segment ``i`` before the peer's segment ``j`` arrived: 1 or 0."""
    flags = tcb.log[j].flags
    proof = -1
    if tcb.local:
        # Stamped as it came in, and not yet taken when that went out which does not acknowledge it.
        if (
            j == tcb.fin_copy
            and flags & TCP_FIN
            and i <= tcb.less
            and tcb.fin_fill < 0
            and tcb.state != ST_SYN_RECEIVED
        ):
            return 1
        if (
            flags & TCP_RST
            and not tcb.log[i].flags & TCP_RST
            and not tcb.log[j].marks & (M_RST_INEXACT | M_RST_OUTSIDE)
        ):
            if i > j and is_real(tcb, i) and tcb.log[i].time <= tcb.log[j].time + tcb.slack:
                return 1  # who is reset says no more
        return 1 if i < j else 0
    if j == tcb.syn_copy and flags & TCP_SYN:
        proof = tcb.syn_proof
    elif j == tcb.syn_ack_copy and flags & TCP_SYN:
        proof = tcb.syn_ack_proof
    elif j == tcb.fin_copy and flags & TCP_FIN and tcb.fin_fill < 0:
        proof = tcb.fin_proof
    if proof >= 0:
        return 1 if i < proof else 0
    if j < tcb.fin_copy and 0 <= tcb.fin_proof <= i and tcb.fin_fill < 0:
        return 0  # what acknowledges the FIN comes behind what passed before that
    if j < i and is_reply_rst(tcb, i) and tcb.log[i].seq == tcb.log[j].ack:
        # It answers that very segment. With an ACK it may be an abort, where it comes sooner than an answer can.
        if not (tcb.log[i].flags & TCP_ACK and too_soon(tcb, j, i)):
            return 0
    if tcb.log[j].flags & TCP_RST and not tcb.log[i].flags & TCP_RST and is_real(tcb, i):
        return arrives_after(tcb, j, tcb.log[i].time)  # who is reset says no more
    return 1 if tcb.log[i].time - tcb.half < tcb.log[j].time + tcb.half else 0


def replay_side(tcb: Tcb) -> int:
    """Walk one endpoint through the machine, in its own order of events."""
    tcb.end = tcb.row.over_time
    if taken_over(tcb) >= 0 and not refuses(tcb):
        tcb.end = taken_over(tcb)
    survey(tcb)
    find_syn_copy(tcb)
    find_syn_ack_copy(tcb)
    find_fin_copy(tcb)
    tcb.unseen_fin = find_unseen_fin(tcb, 1 - tcb.side)
    tcb.peer_unseen_fin = find_unseen_fin(tcb, tcb.side)
    tcb.opened = OPENED_ACTIVE if tcb.side == CLIENT else OPENED_PASSIVE
    tcb.state = ST_CLOSED if tcb.side == CLIENT else ST_LISTEN
    tcb.basis = BASIS_INFERRED
    if tcb.row.flags & CF_MIDSTREAM and tcb.n:
        spoke = 1 if tcb.last_alive >= 0 or tcb.unseen else 0
        if spoke and tcb.log[0].ack >= 0 and not tcb.log[0].flags & (TCP_SYN | TCP_RST):
            open_inside(tcb, 0)
            begin_closed(tcb)
    asks = M_KEEPALIVE | M_ZERO_WINDOW_PROBE | M_TIMEOUT | M_FIN_AGAIN
    tcb.next_own = -1  # the copies were looked for out of order
    tcb.next_rst = -1
    tcb.scanned = 0
    tcb.scanned_ack = 0
    i = next_of(tcb, tcb.side, 0)
    j = next_of(tcb, 1 - tcb.side, 0)
    while i < tcb.n or j < tcb.n:
        if j >= tcb.n or (i < tcb.n and own_first(tcb, i, j)):
            tcb.asked = 0
            if is_real(tcb, i):
                run_2msl(tcb, tcb.log[i].time)
                own_segment(tcb, i)
                if tcb.log[i].flags & (TCP_SYN | TCP_ACK) == TCP_SYN | TCP_ACK:
                    tcb.syn_ack = i
                elif repeats(tcb, i):
                    tcb.challenge = tcb.log[i].time
                tcb.latest = i
                end = tcb.log[i].seq + tcb.log[i].length
                if tcb.log[i].flags & (TCP_SYN | TCP_FIN):
                    end += 1
                if end > tcb.own_next and not tcb.log[i].flags & TCP_RST:
                    tcb.own_next = end
                if (
                    tcb.log[i].ack > tcb.own_ack
                    and not tcb.log[i].flags & TCP_RST
                    and not 0 <= tcb.peer_fin_end < tcb.log[i].ack  # it was not its own
                ):
                    tcb.own_ack = tcb.log[i].ack
            i = next_of(tcb, tcb.side, i + 1)
        else:
            if tcb.log[j].window == 0 and not tcb.log[j].flags & TCP_RST and tcb.log[j].time == tcb.endpoint.busy_since:
                tcb.shut = 1
            if is_taken(tcb, j):
                run_2msl(tcb, tcb.log[j].time)
                peer_segment(tcb, j)
            else:
                tcb.turned_away = tcb.log[j].time
            if tcb.log[j].marks & asks:
                tcb.asked += 1
            j = next_of(tcb, 1 - tcb.side, j + 1)
    run_out(tcb)
    return 0


def profile_of(stack: int, timers: Words) -> int:
    """Where in ``timers`` the profile of a host begins that bespeaks this system and has shown no timers."""
    return timers[P_STACKS] + stack * PROFILE_SIZE if timers[P_STACKS] else 0


def turn_to(tcb: Tcb, side: int, stack: int, host: int, timers: Words) -> int:
    """Turn to the endpoint ``side``, whose host bespeaks the system ``stack``.

    Its timers begin at word ``host`` of ``timers``, or where those of its system do (0).
    """
    tcb.side = side
    tcb.stack = stack
    tcb.endpoint = end_of(tcb.row, side)
    tcb.peer = end_of(tcb.row, 1 - side)
    tcb.timers = timers_at(timers, profile_of(stack, timers))
    tcb.habits = tcb.timers.habits
    # A BSD without window scale is an old one: it cuts off what lies before the window, and takes the RST all the same.
    if timers[P_STACKS] and stack == STACK_BSD and tcb.endpoint.shift < 0:
        tcb.habits |= HABIT_OBEYS_OLD_RST
    if host:
        tcb.timers = timers_at(timers, host)
    return 0


def replay(tcb: Tcb, c: int, client_host: int, server_host: int, rows: Words, log: Words, timers: Words) -> int:
    """Replay the connection of row ``c``.

    The timers of the client's host begin at word ``client_host`` of ``timers``, the server's at ``server_host``; at 0
    where neither has shown any.

    Adds its transitions to ``tcb.out`` (which must have room for ``8 + 2 * log records`` of them), writes its results
    into the row, and returns the number of transitions.
    """
    first = tcb.top
    tcb.row = row_at(rows, c)
    client_stack = stack_of(c, CLIENT, rows, log)
    server_stack = stack_of(c, SERVER, rows, log)
    rows[c + C_ENDPOINTS + END_STACK] = client_stack
    rows[c + C_ENDPOINTS + ENDPOINT_SIZE + END_STACK] = server_stack
    turn_to(tcb, CLIENT, client_stack, client_host, timers)
    if tcb.row.path:
        tcb.n = gather_at(tcb, log)
    else:
        tcb.n = gather(tcb, log)
        locate(tcb)
    mark_old_fins(tcb)
    replay_side(tcb)
    tcb.row.client_state = final_state(tcb)
    tcb.row.client_basis = final_basis(tcb)
    saw_client = tcb.saw
    turn_to(tcb, SERVER, server_stack, server_host, timers)
    if tcb.row.path:
        tcb.n = gather_at(tcb, log)
        mark_old_fins(tcb)
    replay_side(tcb)
    tcb.row.server_state = final_state(tcb)
    tcb.row.server_basis = final_basis(tcb)
    conclude(tcb, first, tcb.top, saw_client, tcb.saw)
    mark_damaged_syns(c, CLIENT, rows, log)
    mark_damaged_syns(c, SERVER, rows, log)
    tcb.row.transitions = tcb.top - first
    return tcb.row.transitions


def fetch_ahead(i: int, count: int, due: Words, rows: Words, log: Words) -> int:
    """Fetch what the connections after the ``i``-th will need, step by step: their rows, then their logs.

    Of the logs one block after the other, for each tells where the next one lies.
    """
    if i + 6 < count:
        k = due[i + 6]
        while k < due[i + 6] + CONNECTION_SIZE:
            prefetch(rows, k)
            k += 8
    back = 0
    while back < 4 and i + 4 - back < count:
        r = rows[due[i + 4 - back] + C_LOG_HEAD]
        k = 0
        while k < back and r >= 0:
            r = next_block(r, log)
            k += 1
        if r >= 0:
            end = r + LOG_BLOCK
            while r < end:
                prefetch(log, r)
                r += 8
        back += 1
    return 0


def replay_due(start: int, stop: int, replaying: Replaying) -> int:
    """Replay the due connections ``start`` to ``stop`` while there is room for their transitions.

    Returns the index of the first that was not replayed.
    """
    due = replaying.due
    rows = replaying.rows
    log = replaying.log
    hosts = replaying.hosts
    tcb = tcb_in(replaying.scratch)
    tcb.machine = replaying.machine
    tcb.out = transitions_in(replaying.out)
    tcb.log = segments_in(replaying.work)
    tcb.top = 0
    i = start
    while i < stop:
        fetch_ahead(i, stop, due, rows, log)
        if (tcb.top + 24 + 2 * rows[due[i] + C_LOG_COUNT]) * TRANSITION_SIZE > replaying.room:
            break
        k = 2 * (i - start)
        replay(tcb, due[i], hosts[k], hosts[k + 1], rows, log, replaying.timers)
        i += 1
    replaying.written = tcb.top
    return i


def collect(start: int, end: int, due_words: Words, rows_words: Words, block_words: Words) -> int:
    """Copy the records of the due connections ``start`` to ``end`` to the front of ``block``, one after the other."""
    due = pointer(due_words)
    rows = pointer(rows_words)
    block = pointer(block_words)
    i = start
    w = 0
    while i < end:
        c = due[i]
        k = 0
        while k < CONNECTION_SIZE:  # several words at a time, where a C compiler sees that nothing else changes
            block[w + k] = rows[c + k]
            k += 1
        w += CONNECTION_SIZE
        i += 1
    return w


def tell_apart(count: int, block_words: Words, differs_words: Words) -> int:
    """Write for each word of a record the bits in which not all of ``count`` records agree. Returns how many words."""
    block = pointer(block_words)
    differs = pointer(differs_words)
    w = CONNECTION_SIZE
    while w + 3 * CONNECTION_SIZE < count * CONNECTION_SIZE:  # four at once: less is read again
        k = 0
        while k < CONNECTION_SIZE:
            one = block[w + k] ^ block[k] | block[w + k + CONNECTION_SIZE] ^ block[k]
            other = block[w + k + 2 * CONNECTION_SIZE] ^ block[k] | block[w + k + 3 * CONNECTION_SIZE] ^ block[k]
            differs[k] |= one | other
            k += 1
        w += 4 * CONNECTION_SIZE
    while w < count * CONNECTION_SIZE:
        k = 0
        while k < CONNECTION_SIZE:
            differs[k] |= block[w + k] ^ block[k]
            k += 1
        w += CONNECTION_SIZE
    return CONNECTION_SIZE


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
