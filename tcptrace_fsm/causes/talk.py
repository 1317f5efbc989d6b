"""What proves, in a talk of two applications, that somebody waited for an answer.

Silence proves nothing: whoever has nothing to say is silent too. A capture shows in four ways only that an answer was
awaited, and in each of them the two ends take turns: no words are left without an answer, and the server says nothing
that was not asked for.

- *By habit.* Requests before and after were answered at once, and the client went on soon when it had the slow answer,
  or so many were that chance is out of the question.
- *By its nature.* All answers take about the same time, one that nobody has set, and the client asks again soon.
- *By leave.* The client closes as soon as it has the answer.
- *By others.* The same service answers at once in other connections.

What only may be so (a long poll, an acknowledgment of an application's protocol, heartbeats, news) fits none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.kernels.layout import (
    C_CROSSED,
    C_LEAST_REQUEST,
    C_PAUSE,
    C_PAUSES,
    C_REQUESTS,
    C_RESPONSE_HALVES,
    C_RESPONSE_MARKER,
    C_RESPONSE_MAX,
    C_RESPONSE_MIN,
    C_RESPONSES,
    C_SLOWEST,
    C_STALL,
    C_STALL_AT,
    C_STALLS,
    C_TIMES,
    C_UNHURRIED,
    C_WAIT_BITS,
    C_WAIT_ROUND,
    C_WAIT_SEEN,
    C_WAIT_SPOKE,
    C_WAIT_WAY,
    CLIENT,
    E_UNIQUE,
    MILLISECOND,
    RESPONSE_ALIKE,
    SERVER,
    SLOWEST_ASKED_SHIFT,
    SLOWEST_NEXT_SHIFT,
    SLOWEST_QUICK_SHIFT,
    WAIT_APPLICATION,
    WB_SERVER_LAST,
)
from tcptrace_fsm.text.durations import SECOND, span

if TYPE_CHECKING:
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World

__all__ = [
    "ANSWER",
    "HABIT",
    "WORDS",
    "Slowest",
    "alternates",
    "answered_elsewhere",
    "client_asks",
    "has_turns",
    "is_free",
    "is_long_poll",
    "last_burst",
    "median_response",
    "off_the_clock",
    "pending",
    "proof",
    "quick_answers",
    "server_began",
    "slowest",
    "way_and_back",
]

WORDS = 64  # bytes: less may be no request at all: an acknowledgment or a keepalive of the application's protocol
ANSWER = 256  # bytes: what a server says when it closes of its own accord is shorter
PAGE = 8000  # bytes: news and acknowledgments are shorter
AT_ONCE = 50 * MILLISECOND  # no person is so quick: a program goes on as it always does
GREET = frozenset({21, 25, 110, 119, 587})  # where the server says who it is, and from then on the client commands
BEHIND = 2  # quick answers behind one that was slow: who polls asks again at once
HABIT = 6  # quick answers: fewer may be how a talk of any kind begins
CLASSES = 32  # of C_RESPONSE_HALVES


class Slowest(NamedTuple):
    """The slowest answer of a connection.

    Attributes
    ----------
    alike : int
        How many took as long.
    asked : int
        Bytes of its request.
    after : int
        How long after it the client spoke again, ns; -1 if it did not.
    """

    alike: int
    asked: int
    after: int


def slowest(case: Case) -> Slowest:
    """What is known of the slowest answer."""
    word = case[C_SLOWEST]
    after = ((word >> SLOWEST_NEXT_SHIFT) - 1) * MILLISECOND
    if after > 0:  # seen from here, its way to the client and back is a part of it
        after = max(after - max(case[C_WAIT_WAY], 0), 0)
    return Slowest(
        word & ((1 << SLOWEST_QUICK_SHIFT) - 1),
        word >> SLOWEST_ASKED_SHIFT & ((1 << SLOWEST_NEXT_SHIFT - SLOWEST_ASKED_SHIFT) - 1),
        max(after, -1),
    )


def has_turns(case: Case) -> bool:
    """Whether both directions were seen, and the ends took turns."""
    return case.both_directions and 3 * case[C_CROSSED] <= case[C_REQUESTS]


def median_response(case: Case) -> int:
    """Median time of its answers, ns; 0 for none."""
    n = case[C_RESPONSES]
    if not n:
        return 0
    heights = [case[C_RESPONSE_MARKER + i] for i in range(5)]
    if n >= 5:
        return heights[2]
    few = sorted(heights[:n])
    return (few[(n - 1) // 2] + few[n // 2]) // 2


def quick_answers(case: Case, limit: int) -> int:
    """How many answers took less than ``limit``, ns: of many no more than is certain."""
    n = case[C_RESPONSES]
    if n <= 5:
        return sum(case[C_RESPONSE_MARKER + i] < limit for i in range(n))
    quick = 0
    for half in range(CLASSES - 1):
        if (2 + (half & 1)) << (15 + (half >> 1)) > limit:
            break
        quick += case[C_RESPONSE_HALVES + (half >> 2)] >> 16 * (half & 3) & 0x7FFF
    return min(quick, n)


def way_and_back(case: Case) -> int:
    """The way to the server and back, ns, as far as it is known."""
    return sum(w for w in (case[C_WAIT_WAY], case[C_WAIT_WAY + 1]) if w > 0)


def off_the_clock(time: int, step: int) -> int:
    """How far a time is off a multiple of ``step``, ns."""
    off = time % step
    return min(off, step - off)


def last_burst(case: Case) -> int:
    """Bytes that who spoke last said then."""
    last = SERVER if case[C_WAIT_BITS] & WB_SERVER_LAST else CLIENT
    return case[C_WAIT_SEEN + last] - case[C_WAIT_ROUND]


def pending(case: Case) -> bool:
    """Whether the client spoke last."""
    return not case[C_WAIT_BITS] & WB_SERVER_LAST


def says_goodbye(case: Case) -> bool:
    """Whether the only late words that the server said unasked are its last, few, and left without a reply."""
    return case[C_STALLS] == 1 and not pending(case) and case.server[E_UNIQUE] + 1 - case[C_STALL_AT] <= WORDS


def alternates(case: Case, long: int) -> bool:
    """Whether each end spoke when it had heard the other, and not again after a pause that compares with ``long``."""
    if not has_turns(case) or 8 * case[C_CROSSED] > case[C_REQUESTS] or 8 * case[C_PAUSE] > long:
        return False
    if case[C_PAUSES] > 1 and case[C_PAUSE] >= max(SECOND // 2, 4 * median_response(case)):
        return False  # some of its words get no answer
    return 8 * case[C_STALL] <= long or says_goodbye(case)


def server_began(case: Case) -> bool:
    """Whether the first words that the capture holds are the server's, and may be news: mail servers only greet."""
    first = next((s for s in case.segments if s.length), None)
    if first is None or first.side != SERVER:
        return False
    return not has_commands(case)


def has_commands(case: Case) -> bool:
    """Whether its service is one in which the server greets, and then answers commands, which may be short."""
    return case.service[3] in GREET and not case.midstream


def client_asks(case: Case, last: int, usual: int | None = None) -> bool:
    """Whether it is the client that asks and the server that answers: who answers is the quicker of two in turns.

    A server that gives out work, or tells news, is heard when it has some, and its client answers at once; what the
    client says last is then an answer too. ``last`` is how long the server has been silent since, as far as its time
    holds that; ``usual`` what its answers take, at the median if it is not given.
    """
    waited = [case[C_TIMES + 2 * WAIT_APPLICATION + side] for side in (CLIENT, SERVER)]
    usual = median_response(case) if usual is None else usual
    if case.midstream and server_began(case):  # that may have been an answer
        return case[C_RESPONSES] >= HABIT and usual <= 2 * AT_ONCE and waited[CLIENT] >= 4 * usual * case[C_REQUESTS]
    if usual <= 2 * AT_ONCE:
        return True
    return not server_began(case) and waited[CLIENT] >= 4 * (waited[SERVER] - last)


def is_free(case: Case) -> bool:
    """Whether either end speaks when it likes: their words cross, or each has spoken unasked."""
    unasked = case[C_STALLS] - says_goodbye(case)
    crossed = case[C_CROSSED] - 1  # once what meets a FIN, or misses it
    return 3 * crossed > case[C_REQUESTS] or unasked >= 2 or (unasked > 0 and case[C_PAUSE] >= SECOND // 4)


# --- long polls -------------------------------------------------------------------------------------------------------
def is_long_poll(case: Case, world: World) -> bool:
    """Whether its answers come when a time is over, by design: alike to the clock, or alike here and quick elsewhere.

    A long poll is held until something happens, or until its time is over: the slowest answers take that time, others
    any less. What works for long takes its own time each time.
    """
    worst, least = case[C_RESPONSE_MAX], case[C_RESPONSE_MIN]
    others = world.cases_of(case.service)
    if case[C_RESPONSES] >= 2 and worst - least <= max(worst // 40, RESPONSE_ALIKE):
        quick = any(
            other is not case and other[C_RESPONSES] >= 5 and other[C_RESPONSE_MAX] < SECOND for other in others
        )
        if quick:
            return True
    limit = max(other[C_RESPONSE_MAX] for other in others)
    as_a_rule = 4 * median_response(case) >= worst
    near = limit - worst <= RESPONSE_ALIKE or as_a_rule
    return case[C_RESPONSES] >= 2 and near and is_set(limit, others, as_a_rule=as_a_rule)


def is_set(limit: int, cases: list[Case], *, as_a_rule: bool) -> bool:
    """Whether the slowest answers of a service took the same time, one that somebody has set.

    So short a time may be the server's own, or that of something behind it which some requests run into, as those for
    a name that nobody knows. Many that are alike to a whole second ``as_a_rule`` are not; nor is what comes each whole
    second, whatever the client says in between.
    """
    alike = [case for case in cases if case[C_RESPONSES] >= 2 and limit - case[C_RESPONSE_MAX] <= RESPONSE_ALIKE]
    count = sum(slowest(case).alike for case in alike)
    if limit >= 19 * SECOND:
        if not as_a_rule and 2 * sum(map(is_never_polled_again, alike)) >= len(alike):
            return False  # a time-out behind the server, such as that for a name, which one request of each runs into
        return count >= 2 - as_a_rule and is_limit(limit)
    # Polls that come back in between have news: the next is sent as soon as one is over, and takes as long.
    as_a_rule = as_a_rule or (limit >= 2 * SECOND and all(map(is_polled_again, alike)))
    ways = {way_and_back(case) for case in alike}
    off = min(off_the_clock(limit + way, SECOND) for way in (0, *ways))
    # Without a handshake, ACKs that are held back tell how long the way is.
    return as_a_rule and count >= 5 and off <= (RESPONSE_ALIKE if any(c.midstream for c in alike) else SECOND // 50)


def is_polled_again(case: Case) -> bool:
    """Whether most answers since the first that took so long took as long, and the client asked again at once."""
    late = slowest(case)
    return late.alike > case[C_SLOWEST] >> SLOWEST_QUICK_SHIFT & 15 and 0 <= late.after < AT_ONCE


def is_never_polled_again(case: Case) -> bool:
    """Whether only one answer took so long, and many behind it came at once: who polls asks again when a poll ends."""
    quick = quick_answers(case, soon_enough(case))
    return slowest(case).alike == 1 and quick >= HABIT and case[C_SLOWEST] >> SLOWEST_QUICK_SHIFT & 15 >= BEHIND


# --- proofs -----------------------------------------------------------------------------------------------------------
def proof(case: Case, world: World) -> str | None:
    """What shows that the client waited for the slowest answer, in words; None if nothing does."""
    worst = case[C_RESPONSE_MAX]
    if not alternates(case, worst) or worst > 120 * SECOND:
        return None  # nobody is so patient
    late = slowest(case)
    if late.asked <= WORDS and not has_commands(case):
        if 4 * late.asked * case[C_REQUESTS] < case.client[E_UNIQUE]:
            return None  # much less than its requests have
        if is_acknowledged(case, late) or case.server[E_UNIQUE] <= WORDS * case[C_RESPONSES]:
            return None
    return by_leave(case) or by_habit(case, world, late) or by_nature(case, world, late) or by_others(case, world, late)


def is_acknowledged(case: Case, late: Slowest) -> bool:
    """Whether few words as soon as it hears anything may be acknowledgments, which are all alike."""
    quick = quick_answers(case, soon_enough(case))
    alike = late.asked < case[C_LEAST_REQUEST] + 8 or quick < 16 * (case[C_RESPONSES] - quick)
    return alike and 0 <= late.after < AT_ONCE


def soon_enough(case: Case) -> int:
    """Up to how long answers were given at once, ns, compared with the slowest.

    Of what comes by chance half take less than a third of the longest, but few take so little.
    """
    return min(max(case[C_RESPONSE_MAX] // 16, 2 * AT_ONCE), 2 * SECOND)


def goes_on(case: Case) -> bool:
    """Whether the talk went on after the slowest answer: what was said then was answered at once, or was a goodbye.

    After a few quick turns, as most talks begin, a client asks for news or work. What it says when it has them is
    perhaps no request, and nothing shows that answers are quick as a rule.
    """
    return bool(case[C_SLOWEST] >> SLOWEST_QUICK_SHIFT & 15) or says_bye(case)


def says_bye(case: Case) -> bool:
    """Whether the last that the client said are a few words right behind which it closed, as TLS's close_notify."""
    closed = next((s for s in case.sent(CLIENT) if s.fin or s.rst), None)
    if closed is None or not pending(case) or last_burst(case) > WORDS:
        return False
    return closed.time - case[C_WAIT_SPOKE] <= 2 * AT_ONCE


def by_leave(case: Case) -> str | None:
    """The slowest answer was the last, and the client closed as soon as it had it."""
    spoke = case[C_WAIT_SPOKE + SERVER]
    ends = [s for s in case.segments if (s.fin or s.rst) and s.time >= spoke]
    own = next((s for s in ends if s.side == CLIENT), None)
    if own is None or not (is_last(case) if says_bye(case) else not pending(case) and slowest(case).after < 0):
        return None
    if not pending(case) and last_burst(case) <= WORDS:
        return None
    if ends[0].side != CLIENT and (pending(case) or last_burst(case) < ANSWER):
        return None
    quick = quick_answers(case, soon_enough(case))
    if 8 * in_between(case, quick) > case[C_RESPONSES]:
        return None  # others came at any time, and so may this one
    if server_began(case) and not (quick and client_asks(case, case[C_RESPONSE_MAX])):
        return None  # it may speak when it likes
    took = own.time - spoke
    if took > SECOND // 4 + way_and_back(case):
        return None  # who leaves a moment later may have had enough
    return f"the client closed {span(took)} after it ({case.frames(own)}): that was what it had waited for"


def in_between(case: Case, quick: int) -> int:
    """How many answers came neither at once nor after as long as the slowest; of more than five, how many may have."""
    n, worst = case[C_RESPONSES], case[C_RESPONSE_MAX]
    if n > 5:
        return n - quick - slowest(case).alike
    return sum(soon_enough(case) <= case[C_RESPONSE_MARKER + i] <= worst // 2 for i in range(n))


def is_last(case: Case) -> bool:
    """Whether the client's last words are the first after the slowest answer."""
    since = (case[C_WAIT_SPOKE + CLIENT] - case[C_WAIT_SPOKE + SERVER]) // MILLISECOND
    return abs(since - ((case[C_SLOWEST] >> SLOWEST_NEXT_SHIFT) - 1)) <= 1


def by_habit(case: Case, world: World, late: Slowest) -> str | None:
    """Others were answered at once, and the client went on soon, or so many were that it is no chance."""
    n, worst = case[C_RESPONSES], case[C_RESPONSE_MAX]
    if server_began(case) and not client_asks(case, worst):
        return None
    quick = quick_answers(case, soon_enough(case))
    if not goes_on(case) and (quick <= HABIT or not client_asks(case, worst) or is_limit(worst)):
        return None
    slow = n - quick
    soon = 0 <= late.after <= worst // 4
    if quick < HABIT and quick < 2 + worst // (10 * SECOND):
        return None  # the longer it takes, the fewer sit and wait
    # Polls are sent as soon as the one before is answered.
    polls = 0 <= late.after < AT_ONCE and ((pending(case) and not says_bye(case)) or slow > 1)
    any_time = 3 * (quick_answers(case, worst // 2) - quick) > n
    few = (quick >= max(2 * slow, 2) or quick >= max(slow, 4)) and not any_time
    many = quick >= max(6, 3 * slow)
    if (soon and few and not (polls and not many)) or (many and late.asked > WORDS):
        return f"{quick} of {n} requests were answered at once, each before the next was sent"
    return by_habit_of_all(case, world) if soon and late.after >= AT_ONCE and late.asked > WORDS else None


def by_habit_of_all(case: Case, world: World) -> str | None:
    """The same, in the connections of its service that suffer as it does, each too short to show a habit."""
    limit = soon_enough(case)
    alike = [c for c in world.cases_of(case.service) if c[C_RESPONSES] >= 3 and alternates(c, c[C_RESPONSE_MAX])]
    if len(alike) < 3 or 2 * sum(map(goes_on, alike)) < len(alike) or any(is_limit(c[C_RESPONSE_MAX]) for c in alike):
        return None
    n, quick = sum(c[C_RESPONSES] for c in alike), sum(quick_answers(c, limit) for c in alike)
    some = sum(quick_answers(c, case[C_RESPONSE_MAX] // 2) for c in alike) - quick
    if quick < max(2 * HABIT, n - quick) or 3 * some > n - quick:
        return None
    return f"{quick} of {n} requests in {len(alike)} connections were answered at once, each before the next was sent"


def by_nature(case: Case, world: World, late: Slowest) -> str | None:
    """All answers take about as long, whatever the clock says, and the client asks again soon."""
    n, worst, least = case[C_RESPONSES], case[C_RESPONSE_MAX], case[C_RESPONSE_MIN]
    if n >= 3 and 4 * least >= worst and case.server[E_UNIQUE] >= n * PAGE >= n * 4 * late.asked:
        return f"all {n} answers took about as long, and are as large as only what was asked for is"
    if server_began(case):
        return None  # what is said at intervals, and answered at once, may be orders
    if (case[C_UNHURRIED] & 0xFFFFFFFF) * 4 >= n or late.after > worst // 4 or is_heartbeat(case, late):
        return None
    if n < 8 and late.after < AT_ONCE and is_round(case, worst):
        return None  # a poll that is held until its time is over, and begins again
    others = [c for c in world.cases_of(case.service) if c[C_RESPONSES]]
    all_of_it = sum(c[C_RESPONSES] for c in others)
    same = (
        (n >= 3 and 4 * least >= 3 * worst)
        or (n >= 8 and 3 * least >= worst)
        or (n == 2 and 20 * least >= 19 * worst and off_the_clock(worst, SECOND) > SECOND // 50)
    )
    if not same and all_of_it >= 8:
        same = 3 * min(c[C_RESPONSE_MIN] for c in others) >= max(c[C_RESPONSE_MAX] for c in others)
        n = all_of_it
    return f"all {n} answers took about as long, and the client asked again soon" if same else None


def is_limit(time: int) -> bool:
    """Whether a time is one that is set for polls: such of twenty seconds and more are set by fives."""
    return time >= 19 * SECOND and off_the_clock(time, 5 * SECOND) <= SECOND // 10


def is_round(case: Case, time: int) -> bool:
    """Whether a time is one of whole seconds, at the server or at the client, give or take the way's jitter.

    Where the handshake is not in the capture, the way is only known to be no longer than that.
    """
    way = way_and_back(case)
    if case.midstream and way < SECOND // 4 and time // SECOND < (time + way) // SECOND:
        return True
    return any(off_the_clock(time + way, SECOND) <= RESPONSE_ALIKE for way in (0, way))


def is_heartbeat(case: Case, late: Slowest) -> bool:
    """Whether the client speaks by its own clock, and both ends say about as much: each tells that it lives."""
    turns = case[C_REQUESTS] - 1
    if 3 * (case[C_UNHURRIED] >> 32) < 2 * turns or late.after < 2 * AT_ONCE:
        return False
    asked, answered = case.client[E_UNIQUE] // case[C_REQUESTS], case.server[E_UNIQUE] // case[C_RESPONSES]
    return late.asked <= WORDS or 3 * abs(asked - answered) <= max(asked, answered)


def by_others(case: Case, world: World, late: Slowest) -> str | None:
    """The same service answers at once in other connections, and this is no poll that begins again as it ends."""
    worst = case[C_RESPONSE_MAX]
    slow = case[C_RESPONSES] - quick_answers(case, worst // 4)
    if slow != 1 or late.asked <= WORDS or (0 <= late.after < AT_ONCE and not goes_on(case)):
        return None
    answers, connections = answered_elsewhere(case, world, worst // 8)
    if answers < 5 or connections < 3:
        return None
    return f"in {connections} other connections the same service gave all {answers} answers within {span(worst // 8)}"


def answered_elsewhere(case: Case, world: World, limit: int) -> tuple[int, int]:
    """Answers of the service in other connections that were all given within ``limit`` ns; and how many connections."""
    answers = connections = 0
    for n, worst in world.response_times(case.service):
        if n and worst <= limit:
            answers += n
            connections += 1
    return answers, connections
