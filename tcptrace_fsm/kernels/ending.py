"""The end of connections: which are over, and how their rows, logs and four-tuples are let go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.incarnations import *
from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.log import *
from tcptrace_fsm.kernels.memory import *
from tcptrace_fsm.kernels.points import free_path
from tcptrace_fsm.kernels.rows import *
from tcptrace_fsm.kernels.table import *
from tcptrace_fsm.kernels.timeline import latest_since

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words
    from tcptrace_fsm.kernels.records import Tracker

__all__ = ["expire", "make_all_due", "release"]


def follow(c: int, use: int, rows: Words, control: Words) -> int:
    """Link a new row to the use of its four-tuple that was over long before, if that is remembered (``use`` >= 0)."""
    if use >= 0 and control[K_NEXT_ID] - (use >> PAST_SHIFT) <= PAST_MOST:
        rows[c + C_FLAGS] |= CF_LONG_AFTER
        rows[c + C_PREVIOUS_ID] = use >> PAST_SHIFT
        rows[c + C_INCARNATION] = (use & (1 << PAST_SHIFT) - 1) + 1
    return 0


def is_elsewhere(c: int, s: int, segments: Words, rows: Words) -> int:
    """Whether a segment is of a later connection, the opening of which was not seen: 1 or 0.

    Both ends of the one that is known have sent FIN, and both numbers of the segment lie far from where they ended. A
    SYN opens a connection itself, and an RST of other numbers is somebody else's. Where such numbers came before, the
    capture holds the connection in two numberings: on both sides of something that rewrites them.
    """
    x = c + C_ENDPOINTS
    y = x + ENDPOINT_SIZE
    if rows[x + E_FIN] < 0 or rows[y + E_FIN] < 0 or rows[c + C_NEWER] >= 0:
        return 0
    if rows[c + C_MARKS] & (M_BASE_CHANGED | M_ACK_BEYOND | M_CAPTURE_DUPLICATE):
        return 0
    if segments[s + S_FLAGS] & (TCP_ACK | TCP_RST) != TCP_ACK:
        return 0
    if is_client(rows, c, segments, s) == 0:
        x += ENDPOINT_SIZE
        y -= ENDPOINT_SIZE
    if lies_near(segments[s + S_SEQ], x, rows) or lies_near(segments[s + S_ACK], y, rows):
        return 0
    old = rows[c + C_OLDER]
    return 0 if old >= 0 and fits(old, 1 - is_client(rows, old, segments, s), s, segments, rows) == 1 else 1


def lies_near(number: int, x: int, rows: Words) -> int:
    """Whether a number can be of the bytes that ``x`` sent: not far from the last of them, or not known; 1 or 0."""
    if not rows[x + E_BASE_KNOWN]:
        return 1
    off = widen(number, rows[x + E_BASE], rows[x + E_NEXT]) - rows[x + E_NEXT]
    return 1 if -ELSEWHERE <= off <= ELSEWHERE else 0


def succeed(c: int, s: int, h: int, slot: int, moment: int, tracker: Tracker) -> int:
    """A new row for the four-tuple of ``c``, which is over and judged as of ``moment``. Returns it.

    A connection that lingers behind ``c`` is judged in its own time, as where the sweep had come by first.
    """
    rows = tracker.rows
    due = tracker.due
    control = tracker.control
    old = -1 if rows[c + C_FLAGS] & CF_EMBRYO else rows[c + C_OLDER]
    if old >= 0:
        rows[old + C_NEWER] = -1
        rows[c + C_OLDER] = -1
    use = rows[c + C_ID] << PAST_SHIFT | (0 if rows[c + C_FLAGS] & CF_EMBRYO else rows[c + C_INCARNATION])
    make_due(c, moment, rows, due, control)
    c = open_connection(s, h, tracker.segments, rows, tracker.living, control)
    follow(c, use, rows, control)
    tracker.slots[slot + 1] = c + 1
    return c


def is_left_behind(c: int, rows: Words, control: Words) -> int:
    """Whether a connection was over before the clock was set back, to before its end: 1 or 0.

    Nobody knows how long ago that was, by another clock. It is kept, for the same may be in the capture once more.
    """
    if rows[c + C_LAST_FRAME] >= control[K_SET_BACK]:
        return 0
    if rows[c + C_FLAGS] & CF_EMBRYO:
        return 1 if rows[c + C_LAST_TIME] > control[K_NOW] and may_follow(c, rows) and not is_syn_alone(c, rows) else 0
    if rows[c + C_FLAGS] & CF_PENDING or rows[c + C_NEWER] >= 0:
        return 0  # a SYN inside a connection is not decided yet
    return 1 if rows[c + C_LAST_TIME] > control[K_NOW] and is_over(c, rows) else 0


def may_follow(e: int, rows: Words) -> int:
    """Whether a new SYN needs no proof to take over what an embryo has, as :func:`is_over` tells of rows: 1 or 0."""
    return 1 if rows[e + EM_NUMBERS] >> EM_FLAGS_SHIFT & (TCP_SYN | TCP_RST) else 0


def is_syn_alone(e: int, rows: Words) -> int:
    """Whether an embryo is a SYN that may still be answered: 1 or 0."""
    return 1 if rows[e + EM_NUMBERS] >> EM_FLAGS_SHIFT & (TCP_SYN | TCP_ACK | TCP_RST) == TCP_SYN else 0


def is_spent(c: int, rows: Words, control: Words) -> int:
    """Whether a connection has been over for so long that nothing is expected of it any more: 1 or 0.

    Once it is, it stays so, whatever the clock does: nobody can tell when the sweep came by. Where the clock was set
    back before, the connection waits until it has come to where it was (:func:`is_left_behind`).
    """
    if not rows[c + C_FLAGS] & CF_EMBRYO and rows[c + C_LIFE] == LIFE_DUE:
        return 1  # a day without a segment has ended it: it is judged, and freed, with the others on that list
    silent = control[K_NOW] - rows[c + C_LAST_TIME]
    if rows[c + C_LAST_FRAME] < control[K_SET_BACK]:
        silent = latest_since(rows[c + C_LAST_FRAME], control) - rows[c + C_LAST_TIME]
    if silent <= control[K_LINGER]:
        return 0
    if rows[c + C_FLAGS] & CF_EMBRYO:
        if rows[c + EM_OVER] >= 0:
            return 1
        return 1 if may_follow(c, rows) and (not is_syn_alone(c, rows) or silent > control[K_LINGER_SYN]) else 0
    if control[K_BEHIND] and rows[c + C_FLAGS] & CF_BEHIND and rows[c + C_LAST_FRAME] >= control[K_BEHIND_SINCE]:
        return 0  # by which clock? What was far behind before others were not is late, and no more
    if not is_over(c, rows):
        return 0
    if rows[c + C_NEWER] >= 0 and rows[rows[c + C_NEWER] + C_FLAGS] & CF_PENDING:
        return 0  # a SYN inside it is not decided yet
    if rows[c + C_FLAGS] & CF_PENDING and rows[c + C_OLDER] >= 0:
        return 0  # nor is it: the four-tuple may yet prove to be the old connection's
    return 1 if silent > patience_with(c, rows, control) else 0


def spent_at(c: int, rows: Words, control: Words) -> int:
    """As of when a connection that is over is judged, ns: when nothing was expected of it any more."""
    if rows[c + C_FLAGS] & CF_EMBRYO:
        return rows[c + C_LAST_TIME] + control[K_LINGER_SYN if is_syn_alone(c, rows) else K_LINGER]
    return rows[c + C_LAST_TIME] + patience_with(c, rows, control)


def is_open(c: int, rows: Words) -> int:
    """Whether an end has sent more than SYNs: 1 or 0."""
    x = c + C_ENDPOINTS
    return 1 if (rows[x + E_STAGE] | rows[x + ENDPOINT_SIZE + E_STAGE]) & ES_PLAIN else 0


def may_leave(c: int, rows: Words) -> int:
    """Whether, where there is a crowd, nothing holds a connection: it never opened, or is over: 1 or 0."""
    if rows[c + C_FLAGS] & CF_EMBRYO:
        return 1 if rows[c + EM_OVER] < 0 and may_follow(c, rows) else 0
    if rows[c + C_LIFE] != LIFE_LIVE or rows[c + C_OLDER] >= 0 or rows[c + C_NEWER] >= 0:
        return 0
    return 1 if is_over(c, rows) or not is_open(c, rows) else 0


def expire(budget: int, tracker: Tracker) -> int:
    """Look at up to ``budget`` live rows, going round, and make due those that have been over for long enough.

    A row whose connection is still open is kept however long it is silent. Where there is a crowd, a flood of SYNs say,
    patience with what never opened, or is over, halves with every call until it suffices.
    """
    rows = tracker.rows
    living = tracker.living
    due = tracker.due
    control = tracker.control
    crowded = 1 if control[K_LIVE] - control[K_DUE] > control[K_CROWD] else 0
    if crowded:
        budget *= 16
        control[K_PATIENCE] -= control[K_PATIENCE] // 2
    else:
        control[K_PATIENCE] += control[K_PATIENCE] // 4 + MILLISECOND
        if control[K_PATIENCE] > control[K_LINGER_SYN]:
            control[K_PATIENCE] = control[K_LINGER_SYN]
    if budget > control[K_LIVE]:
        budget = control[K_LIVE]
    i = control[K_SWEEP]
    while budget > 0:
        if i >= control[K_LIVE]:
            i = 0
        c = living[i]
        if i + 8 < control[K_LIVE]:
            prefetch(rows, living[i + 8] + C_FLAGS)
            prefetch(rows, living[i + 8] + C_LAST_TIME)
        if is_spent(c, rows, control):
            make_due(c, spent_at(c, rows, control), rows, due, control)
        elif (
            crowded
            and (
                control[K_NOW] - rows[c + C_LAST_TIME] >= control[K_PATIENCE]
                or (rows[c + C_LAST_FRAME] < control[K_SET_BACK] and rows[c + C_LAST_TIME] > control[K_NOW])
            )
            and may_leave(c, rows)
            and control[K_LIVE] - control[K_DUE] > control[K_CROWD]
        ):
            make_due(c, control[K_NOW], rows, due, control)
            control[K_HURRIED] += 1
        i += 1
        budget -= 1
    control[K_SWEEP] = i
    return control[K_DUE]


def name_pending(rows: Words, living: Words, due: Words, control: Words) -> int:
    """Give their conn_ids to the SYNs that are still pending, in order of their frames; ``due`` has room for them.

    Returns how many there were.
    """
    first = control[K_DUE]
    n = 0
    i = 0
    while i < control[K_LIVE]:
        if rows[living[i] + C_ID] < 0 and rows[living[i] + C_LIFE] == LIFE_LIVE:
            due[first + n] = living[i]
            n += 1
        i += 1
    gap = n  # a comb sort
    swapped = 1
    while gap > 1 or swapped:
        gap = gap * 10 // 13
        if gap < 1:
            gap = 1
        swapped = 0
        i = first
        while i + gap < first + n:
            if rows[due[i] + C_FIRST_FRAME] > rows[due[i + gap] + C_FIRST_FRAME]:
                c = due[i]
                due[i] = due[i + gap]
                due[i + gap] = c
                swapped = 1
            i += 1
    i = first
    while i < first + n:
        rows[due[i] + C_FLAGS] |= CF_UNCONFIRMED
        confirm(due[i], rows, control)
        i += 1
    return n


def over_by(moment: int, c: int, rows: Words) -> int:
    """As of when a row is judged where the clock stops at ``moment``: not before its latest segment.

    Where that was far behind the clock, nobody knows by which clock it was stamped, nor how long it has been silent.
    Where the capture was appended to itself, what it lasts longer is the same time once more.
    """
    if moment <= rows[c + C_LAST_TIME] or rows[c + C_FLAGS] & (CF_BEHIND | CF_RESTAMPED):
        return rows[c + C_LAST_TIME]
    return moment


def is_shut(c: int, rows: Words) -> int:
    """Whether the books were closed on a SYN inside a connection, and on that, before it was decided: 1 or 0.

    Such a SYN has no conn_id yet, and gets none before those that came before it: both stay as they are, to be judged
    as of then.
    """
    if not rows[c + C_FLAGS] & CF_PENDING or rows[c + C_OLDER] < 0:
        return 0
    return is_judged_as_of(c, rows)


def is_judged_as_of(c: int, rows: Words) -> int:
    """Whether the moment as of which a living row will be judged is set, and nothing has come since: 1 or 0."""
    return 1 if rows[c + C_OVER_TIME] and rows[c + C_OVER_TIME] >= rows[c + C_LAST_TIME] else 0


def is_undecided(c: int, rows: Words) -> int:
    """Whether it is a SYN inside a connection that is not decided yet, or that connection: 1 or 0."""
    if rows[c + C_FLAGS] & CF_PENDING and rows[c + C_OLDER] >= 0:
        return 1
    return 1 if rows[c + C_NEWER] >= 0 and rows[rows[c + C_NEWER] + C_FLAGS] & CF_PENDING else 0


def close_books(moment: int, rows: Words, living: Words, due: Words, control: Words) -> int:
    """The clock has leapt by a day or more, see :func:`.timeline.leap`: what was live then is judged as of then.

    Nobody has looked at what happened between two such captures: nothing has waited, or was silent, all that time.
    Where it leapt back, rows stay that have had segments since, while that was not yet clear.
    """
    control[K_LEAPT] = 1
    now = control[K_NOW]
    back = 1 if moment < 0 else 0
    control[K_NOW] = -moment if back else moment
    i = 0
    while i < control[K_LIVE]:
        c = living[i]
        if not back or rows[c + C_LAST_FRAME] < control[K_SET_BACK]:
            if rows[c + C_FLAGS] & CF_EMBRYO or not is_undecided(c, rows):
                make_due(c, last_moment(c, rows, control), rows, due, control)
            else:
                rows[c + C_OVER_TIME] = last_moment(c, rows, control)
        i += 1
    control[K_NOW] = now
    return control[K_DUE]


def last_moment(c: int, rows: Words, control: Words) -> int:
    """As of when a connection is judged at the end of the capture, or where the clock leaps."""
    if not rows[c + C_FLAGS] & CF_EMBRYO and is_judged_as_of(c, rows):
        return rows[c + C_OVER_TIME]  # the clock has leapt before
    if is_spent(c, rows, control) or is_left_behind(c, rows, control):
        return spent_at(c, rows, control)
    return over_by(control[K_NOW], c, rows)


def make_all_due(tracker: Tracker) -> int:
    """At the end of the capture: everything is over.

    What has been over for long enough to be forgotten is judged as the sweep would have judged it.
    """
    rows = tracker.rows
    living = tracker.living
    due = tracker.due
    control = tracker.control
    i = 0
    while i < control[K_LIVE]:
        c = living[i]
        if not rows[c + C_FLAGS] & CF_EMBRYO:  # before pending SYNs are decided
            rows[c + C_OVER_TIME] = last_moment(c, rows, control)
        i += 1
    name_pending(rows, living, due, control)
    i = 0
    while i < control[K_LIVE]:
        c = living[i]
        over = last_moment(c, rows, control) if rows[c + C_FLAGS] & CF_EMBRYO else rows[c + C_OVER_TIME]
        make_due(c, over, rows, due, control)
        i += 1
    return control[K_DUE]


def hash_of_row(c: int, rows: Words) -> int:
    """The hash of a row's, or an embryo's, four-tuple."""
    return rows[c + EM_HASH] if rows[c + C_FLAGS] & CF_EMBRYO else rows[c + C_HASH]


def release(tracker: Tracker) -> int:
    """Free the rows on the due list with their logs and slots, and empty the list. The caller makes room in ``past``.

    What remains of a four-tuple's latest use is its conn_id.
    """
    slots = tracker.slots
    past = tracker.past
    log = tracker.log
    paths = tracker.paths
    rows = tracker.rows
    living = tracker.living
    due = tracker.due
    control = tracker.control
    i = 0
    while i < control[K_DUE]:
        c = due[i]
        if i + 4 < control[K_DUE]:
            k = hash_of_row(due[i + 4], rows)
            prefetch(slots, 2 * (k & (control[K_SLOTS] - 1)))
            prefetch(past, PAST_SIZE * (k & (control[K_PAST] - 1)))
        if rows[c + C_FLAGS] & CF_EMBRYO:
            if remove(slots, control[K_SLOTS], rows[c + EM_HASH], c):
                control[K_USED] -= 1
                use = rows[c + C_ID] << PAST_SHIFT
                control[K_PAST_USED] += remember(past, control[K_PAST], rows[c + EM_HASH], rows, c, use)
            free_embryo(c, rows, living, control)
            i += 1
            continue
        if rows[c + C_PATH]:
            free_path(c, rows, paths, control)
        if i + 4 < control[K_DUE] and not rows[due[i + 4] + C_FLAGS] & CF_EMBRYO:
            if rows[due[i + 4] + C_LOG_HEAD] >= 0:
                prefetch(log, rows[due[i + 4] + C_LOG_TAIL] + L_NEXT)
        free_log(c, rows, log, control)
        if remove(slots, control[K_SLOTS], rows[c + C_HASH], c):
            control[K_USED] -= 1
            use = rows[c + C_ID] << PAST_SHIFT | rows[c + C_INCARNATION]
            control[K_PAST_USED] += remember(past, control[K_PAST], rows[c + C_HASH], rows, c, use)
        if rows[c + C_NEWER] >= 0:
            rows[rows[c + C_NEWER] + C_OLDER] = -1
        if rows[c + C_OLDER] >= 0:
            rows[rows[c + C_OLDER] + C_NEWER] = -1
        free_row(c, rows, living, control)
        i += 1
    control[K_DUE] = 0
    control[K_LONGEST] = 0
    return 0
