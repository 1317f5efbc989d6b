"""Two capture points: what became of a segment between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *
from tcptrace_fsm.kernels.rtt import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words
    from tcptrace_fsm.kernels.records import Tracker

__all__ = ["collect_paths", "end_paths"]


def path_of(c: int, rows: Words, paths: Words, control: Words) -> int:
    """The path record of a connection that was seen at both points; made when first asked for."""
    if rows[c + C_PATH]:
        return rows[c + C_PATH] - 1
    p = control[K_PATH_FREE] - 1
    if p >= 0:
        control[K_PATH_FREE] = paths[p]
    else:
        p = control[K_PATH_TOP]
        control[K_PATH_TOP] = p + PATH_SIZE
    k = 0
    while k < PATH_SIZE:
        paths[p + k] = 0
        k += 1
    side = 0
    while side < 2:
        w = p + side * WAY_SIZE
        paths[w + W_DELAY_MIN] = -1
        paths[w + W_TURN] = -1
        k = W_GONE
        while k < W_FORGOTTEN:
            paths[w + k] = -1
            k += 1
        side += 1
    rows[c + C_PATH] = p + 1
    return p


def free_path(c: int, rows: Words, paths: Words, control: Words) -> int:
    """Put a connection's path record on the free list."""
    paths[rows[c + C_PATH] - 1] = control[K_PATH_FREE]
    control[K_PATH_FREE] = rows[c + C_PATH]
    rows[c + C_PATH] = 0
    return 0


def was_gone(w: int, seq: int, end: int, arrived: int, paths: Words) -> int:
    """Whether bytes from ``seq`` on did not arrive when last sent: 1 or 0; with ``arrived``, forget it."""
    gone = 0
    k = w + W_GONE
    while k < w + W_FORGOTTEN:
        if paths[k] < end and paths[k + 1] > seq:
            gone = 1
            if arrived:
                paths[k] = -1
                paths[k + 1] = -1
        k += 2
    return gone


def take_path(c: int, side: int, s: int, marks: int, tracker: Tracker) -> int:
    """Count what became of a segment between the points, before the first and behind the last; measure its delay."""
    segments = tracker.segments
    rows = tracker.rows
    paths = tracker.paths
    fate = segments[s + S_FATE]
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    w = path_of(c, rows, paths, tracker.control) + side * WAY_SIZE
    flags = segments[s + S_FLAGS]
    seq = widen(segments[s + S_SEQ], rows[x + E_BASE], rows[x + E_NEXT])
    end = seq + segments[s + S_LEN] + (1 if flags & TCP_SYN else 0) + (1 if flags & TCP_FIN else 0)
    if fate == FATE_FOREIGN:
        paths[w + W_FOREIGN] += 1
        return 0
    if fate == FATE_COPY:
        return 0
    if marks & M_LOST_BEFORE:
        paths[w + W_BEFORE] += 1
    if (
        marks & (M_TIMEOUT | M_SYN_AGAIN | M_SYN_ACK_AGAIN)
        and seq >= paths[w + W_FORGOTTEN]
        and rows[c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE + E_ACK] < end
        and not was_gone(w, seq, end, 0, paths)
    ):
        # Repeated after a timeout, though it had come to the point near its receiver, and no answer had left that.
        paths[w + W_AFTER] += 1
    if fate == FATE_MISSED:
        paths[w + W_MISSED] += 1
    elif fate in (FATE_LOST, FATE_PARTLY):
        paths[w + W_LOST] += 1
        paths[w + W_LOST_BYTES] += segments[s + S_LOST]
    if fate == FATE_ARRIVED and segments[s + S_FRAME] != segments[s + S_ARRIVAL_FRAME]:
        # A way keeps its delays as an endpoint its round-trip times.
        rtt_sample(w, segments[s + S_ARRIVAL] - segments[s + S_TIME], paths)
        if segments[s + S_ARRIVAL] < paths[w + W_LAST_ARRIVAL]:
            paths[w + W_REORDERED] += 1
        else:
            paths[w + W_LAST_ARRIVAL] = segments[s + S_ARRIVAL]
    back = rows[c + C_PATH] - 1 + (1 - side) * WAY_SIZE
    if flags & TCP_ACK and not flags & TCP_RST and fate != FATE_MISSED and paths[back + W_END]:
        y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
        turn = segments[s + S_TIME] - paths[back + W_END_ARRIVAL]
        if widen(segments[s + S_ACK], rows[y + E_BASE], rows[y + E_NEXT]) == paths[back + W_END] and turn >= 0:
            if paths[back + W_TURN] < 0 or turn < paths[back + W_TURN]:
                paths[back + W_TURN] = turn
            paths[back + W_END] = 0
    if end > seq:
        if flags & TCP_SYN and fate == FATE_ARRIVED and not marks & (M_SYN_AGAIN | M_SYN_ACK_AGAIN):
            paths[w + W_END] = end
            paths[w + W_END_ARRIVAL] = segments[s + S_ARRIVAL]
        if fate in (FATE_ARRIVED, FATE_MISSED):
            was_gone(w, seq, end, 1, paths)
        else:
            if paths[w + W_GONE + 1] > paths[w + W_FORGOTTEN]:
                paths[w + W_FORGOTTEN] = paths[w + W_GONE + 1]
            k = w + W_GONE
            while k < w + W_FORGOTTEN - 2:
                paths[k] = paths[k + 2]
                k += 1
            paths[w + W_FORGOTTEN - 2] = seq
            paths[w + W_FORGOTTEN - 1] = end
    return 0


def end_paths(count: int, due_words: Words, rows_words: Words, paths_words: Words) -> int:
    """Tell the due rows how far their hosts are from the points near them, and whether they are the hosts themselves.

    A point counts as the host itself where no router lies between (its segments still have a TTL that hosts begin with)
    and where the host answers within a millisecond what passes there.
    """
    due = pointer(due_words)
    rows = pointer(rows_words)
    paths = pointer(paths_words)
    i = 0
    while i < count:
        c = due[i]
        if rows[c + C_PATH]:
            p = rows[c + C_PATH] - 1
            side = 0
            while side < 2:
                near = paths[p + (1 - side) * WAY_SIZE + W_TURN]
                rows[c + C_NEAR + side] = near
                hops = rows[c + C_ENDPOINTS + side * ENDPOINT_SIZE + E_TTL]
                if near < MILLISECOND and hops in (-1, 32, 64, 128, 255):
                    rows[c + C_LOCAL] |= WHO_CLIENT if side == CLIENT else WHO_SERVER
                side += 1
        i += 1
    return 0


def collect_paths(count: int, start: int, due_words: Words, rows_words: Words, paths_words: Words, out: Words) -> int:
    """Copy the path records of due connections from ``start`` on, zeros for those that have none."""
    due = pointer(due_words)
    rows = pointer(rows_words)
    paths = pointer(paths_words)
    block = pointer(out)
    i = 0
    while i < count:
        c = due[start + i]
        k = 0
        while k < PATH_SIZE:
            block[i * PATH_SIZE + k] = paths[rows[c + C_PATH] - 1 + k] if rows[c + C_PATH] else -1
            k += 1
        i += 1
    return 0
