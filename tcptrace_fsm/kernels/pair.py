"""Two captures of the same traffic, taken at two points: what both have seen, and what only one of them has.

The segments of both come in, each capture in its own order, on one clock. Out comes one stream: each segment once, as
its sender's point saw it, with its fate (``FATE_...``) and its arrival at the other point. The records that wait for
their counterpart lie in a ring; one whose counterpart has not come within the window is judged by what is known then.

Which of the copies of a segment is which: by the content, the IP identification where both points agree on it, and the
order of time. Where network cards cut or joined segments on the way (TSO, LRO, GRO), content differs and sequence space
decides. Which point is the sender's: the one that saw it first, and that holds for all segments between two hosts.

A segment that the other point did not see was lost, if that capture was running; unless it was acknowledged without
any other copy of its bytes having arrived, for then the capture lacks the frame, and the network nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.held import *
from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *
from tcptrace_fsm.kernels.sequence import *
from tcptrace_fsm.kernels.table import *
from tcptrace_fsm.kernels.unmatched import *
from tcptrace_fsm.kernels.ways import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words
    from tcptrace_fsm.kernels.records import Pairing

__all__ = ["know_hosts", "pair", "tidy_ways"]


def lasting_flags() -> int:
    """The flags that nobody on the way changes: not PSH, which joining sets, nor those of ECN."""
    return TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK | TCP_URG


def content(s: int, segments: Words, seed: int) -> int:
    """A keyed hash of what is the same at both points."""
    h = stir(seed, segments[s + S_SRC_LO], seed)
    h = stir(h, segments[s + S_DST_LO], seed)
    h = stir(h, segments[s + S_PORTS], seed)
    h = stir(h, segments[s + S_SEQ] << 16 | segments[s + S_WINDOW], seed)
    h = stir(h, segments[s + S_ACK] << 20 | segments[s + S_LEN], seed)
    return stir(h, (segments[s + S_TSVAL] << 9 | (segments[s + S_FLAGS] & lasting_flags())), seed)


def same(m: int, held: Words, s: int, segments: Words) -> int:
    """Whether two segments are the same on the wire, as far as that does not change on the way: 1 or 0."""
    if (
        held[m + S_SEQ] == segments[s + S_SEQ]
        and held[m + S_ACK] == segments[s + S_ACK]
        and held[m + S_LEN] == segments[s + S_LEN]
        and held[m + S_PORTS] == segments[s + S_PORTS]
        and held[m + S_WINDOW] == segments[s + S_WINDOW]
        and held[m + S_SRC_LO] == segments[s + S_SRC_LO]
        and held[m + S_DST_LO] == segments[s + S_DST_LO]
        and held[m + S_SRC_HI] == segments[s + S_SRC_HI]
        and held[m + S_DST_HI] == segments[s + S_DST_HI]
        and held[m + S_NET] == segments[s + S_NET]
        and held[m + S_TSVAL] == segments[s + S_TSVAL]
        and held[m + S_TSECR] == segments[s + S_TSECR]
        and (held[m + S_FLAGS] ^ segments[s + S_FLAGS]) & lasting_flags() == 0
    ):
        return 1
    return 0


# --- ways ---------------------------------------------------------------------------------------------------------


def know_hosts(count: int, known_words: Words, ways_words: Words, ctl_words: Words) -> int:
    """Tell which hosts are at which point: ``count`` segment records, in whose ``H_POINT`` stands the sender's."""
    known = pointer(known_words)
    ways = pointer(ways_words)
    ctl = pointer(ctl_words)
    m = 0
    while m < count * HELD_SIZE:
        ways[hosts_of(m, known, 0, ways, ctl) + G_POINT] = known[m + H_POINT] + 1
        ways[hosts_of(m, known, 1, ways, ctl) + G_POINT] = 2 - known[m + H_POINT]
        m += HELD_SIZE
    return 0


def tidy_ways(old_size: int, old_words: Words, ways_words: Words, held_words: Words, ctl_words: Words) -> int:
    """Copy what is still needed to a fresh table of ``V_WAYS`` zeros: hosts, and ways with records that wait."""
    old = pointer(old_words)
    ways = pointer(ways_words)
    held = pointer(held_words)
    ctl = pointer(ctl_words)
    ctl[V_WAYS_USED] = 0
    o = 0
    while o < old_size * WAY_ENTRY:
        recent = 1 if old[o + G_TIME] > ctl[V_NOW] - 8 * ctl[V_WINDOW] else 0
        if old[o + G_USED] and (old[o + G_PORTS] < 0 or old[o + G_HELD] or recent):
            g = find_way(old[o + G_PORTS], old[o + G_NET], o + G_SRC_HI, 0, old, ways, ctl)
            k = G_POINT
            while k < WAY_ENTRY:
                ways[g + k] = old[o + k]
                k += 1
        o += WAY_ENTRY
    n = ctl[V_KEPT]
    while n < ctl[V_TAIL]:
        m = (n & (ctl[V_ROOM] - 1)) * HELD_SIZE
        held[m + H_WAY] = way_of(m, held, ways, ctl) + 1
        n += 1
    return 0


# --- matching ---------------------------------------------------------------------------------------------------------


def twice_captured(m: int, held: Words, s: int, segments: Words) -> int:
    """Whether ``s`` is the frame of record ``m`` captured once more, at the same point: 1 or 0."""
    ident = segments[s + S_IP_ID]
    apart = segments[s + S_TIME] - held[m + S_TIME]
    if held[m + S_IP_ID] != ident or apart < 0 or apart >= MILLISECOND:
        return 0
    if ident > 0:
        return 1
    if ident == 0 and segments[s + S_FLAGS] & TCP_SYN:
        return 0
    return 1 if segments[s + S_LEN] or segments[s + S_FLAGS] & (TCP_SYN | TCP_FIN | TCP_RST) else 0


def cover(s: int, strict: int, pairing: Pairing) -> int:
    """Let a segment, as seen at its receiver's point, cover the sequence space of those that were sent.

    Those of one train that was cut or joined on the way carry the same ACK and timestamps (``strict``), unless a
    network card has brought them up to date. Returns how much of the segment's own space was found.
    """
    segments = pairing.segments
    held = pairing.held
    ways = pairing.ways
    ctl = pairing.ctl
    size = units(s, segments)
    found = 0
    u = ways[pairing.way + G_FIRST]
    steps = 0
    while u and found < size and steps < 1024:
        m = slot(u, ctl)
        u = held[m + H_AFTER]
        steps += 1
        if held[m + H_POINT] == pairing.point or (
            strict
            and (
                held[m + S_ACK] != segments[s + S_ACK]
                or held[m + S_TSVAL] != segments[s + S_TSVAL]
                or held[m + S_TSECR] != segments[s + S_TSECR]
            )
        ):
            continue
        whole = units(m, held)
        low = after(segments[s + S_SEQ], held[m + S_SEQ])
        high = low + size
        if low < 0:
            low = 0
        if high > whole:
            high = whole
        if high <= low:
            continue
        found += high - low
        held[m + H_COVERED] += high - low
        held[m + S_ARRIVAL] = segments[s + S_TIME]
        held[m + S_ARRIVAL_FRAME] = segments[s + S_FRAME]
        if high == whole:
            held[m + H_END_SEEN] = 1
        if held[m + H_COVERED] >= whole:
            arrive(m, held, ways, ctl)
    return found


def acknowledge(back: int, ack: int, held: Words, ways: Words, ctl: Words) -> int:
    """An ACK leaves its sender's point: what it covers of the way back had arrived there."""
    if ways[back + G_ACK] < 0 or after(ack, ways[back + G_ACK]) > 0:
        ways[back + G_ACK] = ack
    u = ways[back + G_FIRST]
    beyond = 0
    while u and beyond < 8:
        m = slot(u, ctl)
        u = held[m + H_AFTER]
        if after(low32(held[m + S_SEQ] + units(m, held)), ack) > 0:
            beyond += 1
        elif held[m + H_AGAIN]:
            no_longer_open(m, held, ways, ctl)
        else:
            held[m + H_OPEN] = OPEN_ACKED
            no_longer_open(m, held, ways, ctl)
    return 0


def know_way(s: int, pairing: Pairing) -> int:
    """Which direction a segment goes in, and who is known to send there: its sender's point + 1, 0 for nobody."""
    segments = pairing.segments
    ways = pairing.ways
    ctl = pairing.ctl
    g = way_of(s, segments, ways, ctl)
    back = way_back(s, segments, ways, ctl)
    ways[g + G_TIME] = segments[s + S_TIME]
    ways[back + G_TIME] = segments[s + S_TIME]
    if not ways[g + G_POINT]:
        known = ways[hosts_of(s, segments, 0, ways, ctl) + G_POINT]
        if known:
            ways[g + G_POINT] = known
            ways[back + G_POINT] = 3 - known
    pairing.way = g
    pairing.back = back
    pairing.at = ways[g + G_POINT]
    return pairing.at


def find_counterpart(s: int, sends: int, gets: int, pairing: Pairing) -> int:
    """Look for the record of the other point that is the same segment; -1 for none. What else is seen stays noted."""
    segments = pairing.segments
    held = pairing.held
    ctl = pairing.ctl
    now = segments[s + S_TIME]
    pairing.best = -1
    pairing.good = 0
    pairing.again = 0
    pairing.copied = 0
    q = pairing.buckets[pairing.bucket]
    steps = 0
    while q and steps < 256 and not pairing.good:
        m = slot(q, ctl)
        q = held[m + H_OLDER]
        steps += 1
        if not same(m, held, s, segments):
            continue
        if held[m + H_POINT] == pairing.point:
            # Of many RSTs alike, which bear no number of their own, each is a copy of the one before.
            unnumbered = 1 if segments[s + S_FLAGS] & TCP_RST and segments[s + S_IP_ID] == 0 else 0
            if (held[m + S_FATE] != FATE_COPY or unnumbered) and twice_captured(m, held, s, segments):
                pairing.again = 1
            continue
        if ctl[V_NUMBERED] and held[m + S_IP_ID] != segments[s + S_IP_ID]:
            continue
        if held[m + H_OPEN] == OPEN_SETTLED:
            pairing.copied = 1
            continue
        apart = now - held[m + S_TIME]
        if (gets and apart < -MILLISECOND) or (sends and apart > MILLISECOND):
            continue  # nothing arrives before it was sent
        if pairing.best < 0:
            pairing.best = m
        if gets and apart >= ctl[V_LEAST] - ctl[V_LEAST] // 8:
            pairing.best = m  # the latest that can have got here
            pairing.good = 1
    if q and pairing.best < 0:
        pairing.copied = 1  # there are more that are alike than are looked at
    return pairing.best


def meet(s: int, sends: int, pairing: Pairing) -> int:
    """A segment and its counterpart: it has arrived, where the one of both that is not its sender's has it."""
    segments = pairing.segments
    held = pairing.held
    m = pairing.best
    now = segments[s + S_TIME]
    if sends or (not pairing.at and now < held[m + S_TIME]):
        # Its sender's own capture stamped it behind the other one: its record takes the place.
        arrival = held[m + S_TIME]
        frame = held[m + S_FRAME]
        arrived = held[m + S_CHECKSUM]
        k = 0
        while k < S_FATE:
            held[m + k] = segments[s + k]
            k += 1
        held[m + S_OFFSET] = -1
        held[m + H_POINT] = pairing.point
        held[m + S_ARRIVAL] = arrival
        held[m + S_ARRIVAL_FRAME] = frame
    else:
        held[m + S_ARRIVAL] = now
        held[m + S_ARRIVAL_FRAME] = segments[s + S_FRAME]
        arrived = segments[s + S_CHECKSUM]
    if arrived == CHECKSUM_BAD:
        held[m + S_CHECKSUM] = CHECKSUM_BAD  # damaged between the points: so its receiver has it
    if not pairing.at:
        learn(m, held[m + H_POINT], held, pairing.ways, pairing.ctl)
    return arrive(m, held, pairing.ways, pairing.ctl)


def let_wait(s: int, gets: int, pairing: Pairing) -> int:
    """A segment without counterpart: it covers what was sent in other pieces, is a copy, or waits."""
    segments = pairing.segments
    held = pairing.held
    ways = pairing.ways
    ctl = pairing.ctl
    top = ways[pairing.way + G_TOP]
    size = units(s, segments)
    if gets and size and not pairing.copied:
        if cover(s, 1, pairing) or cover(s, 0, pairing):
            return 0
        end = low32(segments[s + S_SEQ] + size)
        if segments[s + S_LEN] and top >= 0 and after(end, top) <= 0:
            pairing.copied = 1
    m = keep(s, pairing)
    if gets and pairing.copied:
        held[m + S_ARRIVAL] = segments[s + S_TIME]
        held[m + S_ARRIVAL_FRAME] = segments[s + S_FRAME]
        settle(m, FATE_COPY, held, ways, ctl)
    elif size and not gets:
        open_up(m, held, ways, ctl)
    return 1


def take(s: int, point: int, segments: Words, pairing: Pairing) -> int:
    """Take the next segment of the capture at ``point``: find its counterpart, or let it wait. Returns 0."""
    ctl = pairing.ctl
    pairing.segments = segments
    pairing.point = point
    if segments[s + S_TIME] > ctl[V_NOW]:
        ctl[V_NOW] = segments[s + S_TIME]
    pairing.bucket = content(s, segments, ctl[V_SEED]) & (ctl[V_BUCKETS] - 1)
    at = know_way(s, pairing)
    if segments[s + S_FLAGS] & TCP_BROKEN:
        # What no connection takes, or an ICMP error quotes, is no copy of what it looks like.
        pairing.bucket = (pairing.bucket + 1) & (ctl[V_BUCKETS] - 1)
        return settle(keep(s, pairing), FATE_UNKNOWN, pairing.held, pairing.ways, ctl)
    sends = 1 if at == point + 1 else 0
    gets = 1 if at and not sends else 0
    best = find_counterpart(s, sends, gets, pairing)
    if pairing.again and not pairing.good:
        return settle(keep(s, pairing), FATE_COPY, pairing.held, pairing.ways, ctl)
    if best >= 0:
        meet(s, sends, pairing)
    else:
        let_wait(s, gets, pairing)
    if sends and segments[s + S_FLAGS] & TCP_ACK:
        acknowledge(pairing.back, segments[s + S_ACK], pairing.held, pairing.ways, ctl)
    return 0


def pair(first_count: int, second_count: int, pairing: Pairing) -> int:
    """Go on with both captures until one of them has to be read on, or the output is full.

    The caller makes room for four ways per segment. Returns how many segments were written to ``pairing.out``.
    """
    first = pairing.first
    second = pairing.second
    held = pairing.held
    buckets = pairing.buckets
    ways = pairing.ways
    out = pairing.out
    ctl = pairing.ctl
    written = 0
    while written < ctl[V_OUT_ROOM]:
        if ctl[V_HEAD] < ctl[V_TAIL]:
            m = slot(ctl[V_HEAD] + 1, ctl)
            if (
                held[m + H_OPEN] == OPEN_SETTLED
                or ctl[V_FLUSH]
                or ctl[V_TAIL] - ctl[V_HEAD] >= ctl[V_ROOM] - ctl[V_MEMORY]
                or ctl[V_NOW] - held[m + S_TIME] > ctl[V_WINDOW]
            ):
                give_out(written * SEGMENT_SIZE, held, ways, out, ctl)
                written += 1
                if ctl[V_HEAD] - ctl[V_KEPT] > ctl[V_MEMORY]:
                    forget(held, buckets, ways, ctl)
                continue
        i = ctl[V_FIRST_NEXT]
        j = ctl[V_SECOND_NEXT]
        if (i >= first_count and not ctl[V_FIRST_OVER]) or (j >= second_count and not ctl[V_SECOND_OVER]):
            break
        if i >= first_count and j >= second_count:
            break
        if j >= second_count or (
            i < first_count and first[i * SEGMENT_SIZE + S_TIME] <= second[j * SEGMENT_SIZE + S_TIME]
        ):
            take(i * SEGMENT_SIZE, 0, first, pairing)
            ctl[V_FIRST_NEXT] = i + 1
        else:
            take(j * SEGMENT_SIZE, 1, second, pairing)
            ctl[V_SECOND_NEXT] = j + 1
    return written
