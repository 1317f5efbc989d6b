"""Causes of waiting for a window: an application that does not read, a small window, a scale that is lost."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from tcptrace_fsm.causes.cause import Cause, Verdict
from tcptrace_fsm.causes.examples import ASKED, CLOSED, OPENED
from tcptrace_fsm.core.words import SIDES
from tcptrace_fsm.findings.rule import mask
from tcptrace_fsm.kernels.layout import (
    C_FLAGS,
    C_LONGEST_AFTER,
    C_LONGEST_BEFORE,
    C_LONGEST_FOR,
    C_LONGEST_WAIT,
    C_MARKS,
    C_ROUND,
    C_TIMES,
    C_WAIT_WAY,
    C_WAITING,
    CF_LOG_FULL,
    CLIENT,
    E_LAST_TIME,
    E_LONGEST,
    E_MSS,
    E_NEXT,
    E_OPTIONS,
    E_RETRANSMITTED,
    E_SEGMENTS,
    E_SHIFT,
    E_UNIQUE,
    E_WINDOW,
    E_ZERO_WINDOWS,
    MARK_CAPTURE_DUPLICATE,
    MILLISECOND,
    OPT_SCALE,
    ROUND_FULL,
    ROUND_SIZE,
    SERVER,
    TCP_RST,
    TCP_SYN,
    WAIT_TRANSFER,
    WAIT_WINDOW,
)
from tcptrace_fsm.text.durations import SECOND, span

if TYPE_CHECKING:
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World
    from tcptrace_fsm.findings.rule import End

__all__ = ["CAUSES"]

STEADY = 6  # times that a window opened: fewer may be steady by chance
FIRST_FLIGHT = 65_535
PAUSED = 10 * SECOND  # a player that has enough stops reading for seconds


def spent(case: Case, kind: int, side: int) -> int:
    """Time for one purpose and side, ns; what still lasts when the capture ends counts until then."""
    code = 2 * kind + side
    return case[C_TIMES + code] + (case.end - case.last_time if case[C_WAITING] == code else 0)


# --- windows ----------------------------------------------------------------------------------------------------------
def shut_side(case: Case) -> int:
    """Whose window was waited for longer."""
    return max((CLIENT, SERVER), key=lambda side: spent(case, WAIT_WINDOW, side))


def receiver_slow(case: Case, world: World) -> Verdict | None:  # noqa: ARG001
    """The receiving application does not read, and its window shuts."""
    side = shut_side(case)
    # Without what was on its way to a window that was open, and full.
    shut = spent(case, WAIT_WINDOW, side) - case[C_ROUND + (1 - side) * ROUND_SIZE + ROUND_FULL]
    end = case.view.ends[side]
    if shut < SECOND // 2 or not end[E_ZERO_WINDOWS]:
        return None
    if case[C_WAITING] == 2 * WAIT_WINDOW + side and case.last_time - end[E_LAST_TIME] > SECOND:
        return None  # nobody answers the probes any more
    if 2 * (case.last_time - end[E_LAST_TIME]) > max(shut, SECOND):
        return None  # it was not heard for the most of that time: nothing shows that it is there
    own = case[C_LONGEST_FOR] == 2 * WAIT_WINDOW + side
    longest = case[C_LONGEST_WAIT] if own else shut
    shown = case.frames(case[C_LONGEST_BEFORE], case[C_LONGEST_AFTER] if case[C_LONGEST_AFTER] >= 0 else None)
    still = case[C_WAITING] == 2 * WAIT_WINDOW + side
    left, filled = unwanted(end, shut), plays(end) or may_play(case, end, longest)
    return Verdict(
        68,
        "possible" if left or filled else "likely",
        (
            f"the {SIDES[side]}'s window had no room for {span(shut)} in all, {span(longest)} at a time"
            + (f" ({shown})" if own else ""),
            (
                f"it announced a window of 0 in {end[E_ZERO_WINDOWS]} segments: its TCP was there, and its application "
                f"did not read (first in {first_zero(case, side)})"
            ),
        ),
        f"{end.name} did not read what {end.peer.name} sent: its window was shut for {span(shut)}"
        + (", and still is when the capture ends" if still else ""),
        against=("it ended the connection itself, without reading on: it may not have wanted the rest",)
        if left
        else ("it took much at first, and may since then take a little at a time, as a player whose buffer is full",)
        if filled
        else ("what was sent once the window opened arrived: the way was there",)
        if not still
        else (),
        severity="medium" if shut >= SECOND and not left and not filled else "low",
        where=SIDES[side],
        amount=shut,
    )


def plays(end: End) -> bool:
    """Whether it first took more than its buffer holds, and then as much at a time at a steady pace, as a player does.

    Who cannot keep up is slow from the start, or now and then.
    """
    taken: list[int] = []
    opened: list[int] = []
    shut = False
    for s in end.segments:
        if s.syn or s.rst or (s.window == 0) == shut:
            continue
        if not shut and opened and s.time - opened[-1] < MILLISECOND:
            continue  # a copy of what came before it
        shut = not shut
        if shut:
            taken.append(s.ack)
        else:
            opened.append(s.time)
    room = max((s.window for s in end.segments if not s.rst), default=0)
    if end.side != CLIENT or len(opened) < STEADY or taken[0] < 2 * room:
        return False
    gaps = sorted(b - a for a, b in pairwise(opened))
    portions = sorted(b - a for a, b in pairwise(taken))
    return 2 * gaps[-2] <= 3 * gaps[1] and gaps[-1] <= 4 * gaps[1] and taken[0] >= 4 * portions[len(portions) // 2]


def may_play(case: Case, end: End, longest: int) -> bool:
    """Whether the capture ends before its pace shows, a few seconds after it had taken much more than its buffer."""
    if end.side != CLIENT or longest >= PAUSED // 2:
        return False
    if case[C_FLAGS] & CF_LOG_FULL and case[C_MARKS] & mask(MARK_CAPTURE_DUPLICATE):
        return True  # copies have filled the log
    if any(s.fin or s.rst for s in case.segments):
        return False
    room = max((s.window for s in end.segments if not s.rst), default=0)
    return next((s.ack for s in end.segments if not s.window and not s.syn), 0) >= 2 * room


def unwanted(end: End, shut: int) -> bool:
    """Whether a client shut its window for a few seconds, and then ended the connection without opening it again."""
    if end.side != CLIENT or shut >= PAUSED:
        return False
    rst = next((s for s in end.segments if s.rst), None)
    zero = next((s for s in end.segments if s.window == 0 and not s.rst and not s.syn), None)
    return (
        rst is not None
        and zero is not None
        and not any(s.window > 0 and zero.frame < s.frame < rst.frame for s in end.segments)
    )


def first_of(case: Case, side: int) -> str:
    """The first logged segment of one end, in words."""
    return case.frames(*case.sent(side)[:1])


def first_zero(case: Case, side: int) -> str:
    """The first logged segment that shuts its window, in words."""
    first = next((s for s in case.sent(side) if s.window == 0 and not s.rst and not s.syn), None)
    return case.frames(first) if first else case.frames(case[C_LONGEST_BEFORE])


def window_limited(case: Case, world: World) -> Verdict | None:  # noqa: ARG001
    """The sender always fills the window, and waits for the ACK that lets it go on."""
    side = shut_side(case)
    receiver = case.view.ends[side]
    sender = receiver.peer
    limited = spent(case, WAIT_WINDOW, side)
    way = sum(w for w in (case[C_WAIT_WAY], case[C_WAIT_WAY + 1]) if w > 0)
    long = case[C_LONGEST_FOR] == 2 * WAIT_WINDOW + side and case[C_LONGEST_WAIT] > max(SECOND, 8 * way)
    if long and not in_pieces(case, side, receiver[E_WINDOW]):
        limited -= case[C_LONGEST_WAIT]  # no window that is only too small is full for so long: somebody was away
    moving = limited + case[C_TIMES + 2 * WAIT_TRANSFER + 1 - side]
    if receiver[E_ZERO_WINDOWS] or limited < SECOND // 5 or 2 * limited < moving or way < 5_000_000:
        return None
    if 50 * sender[E_RETRANSMITTED] > sender[E_SEGMENTS]:
        return None  # behind what is missing a window fills too
    if case.midstream or receiver[E_WINDOW] <= 0 or sender[E_UNIQUE] < 8 * receiver[E_WINDOW]:
        return None
    scaled = receiver[E_SHIFT] >= 0 and sender[E_SHIFT] >= 0
    rate = sender[E_UNIQUE] * SECOND // max(moving, 1)
    if 3 * rate * way < receiver[E_WINDOW] * SECOND:
        return None  # it would let through much more: what fills it stands in a queue
    return Verdict(
        62,
        "likely",
        (
            (
                f"the {SIDES[1 - side]} filled the window of {receiver[E_WINDOW]:,} bytes again and again, and stood "
                f"still for {span(limited)} of {span(moving)} until an ACK made room (window: {first_of(case, side)})"
            ),
            f"a window of {receiver[E_WINDOW]:,} bytes in each {span(way)} gives {rate:,} bytes a second at the most",
            "window scaling is in use" if scaled else "no window scale was agreed on: 65,535 bytes are the most",
        ),
        f"the window of {receiver.name} ({receiver[E_WINDOW]:,} bytes) limits the transfer to {rate:,} bytes a second "
        f"over a round trip of {span(way)}",
        against=("it never shut its window: its application did read",),
        severity="medium" if receiver[E_WINDOW] < 2 * max(receiver[E_MSS], 536) else "low",
        where=SIDES[side],
        amount=limited,
    )


def fields(case: Case, side: int) -> set[int]:
    """The window fields of ``side`` that the log holds, as they stand on the wire."""
    shift = case.view.ends[side][E_SHIFT]
    windows = [s.window for s in case.sent(side) if not s.flags & (TCP_SYN | TCP_RST) and s.window > 0]
    return {window >> shift for window in (*windows, case.view.ends[side][E_WINDOW])}


def window_scale_broken(case: Case, world: World) -> Verdict | None:  # noqa: ARG001
    """The sender takes the window field as it stands, without the scale that its owner means."""
    for side in (CLIENT, SERVER):
        receiver, sender = case.view.ends[side], case.view.ends[1 - side]
        shift, window = receiver[E_SHIFT], receiver[E_WINDOW]
        if 10 * sender[E_UNIQUE] < 9 * (sender[E_NEXT] - 1):
            continue  # the capture lacks much of what it sent
        found = after_first_flight(case, side) or cut_from_answer(case, side)
        if found is not None:
            return found
        if shift <= 0 or window <= 0 or sender[E_MSS] < 0:
            continue
        field = window >> shift
        full = receiver[E_MSS] if receiver[E_MSS] > 0 else 536
        longest = sender[E_LONGEST]
        if field < full and 0 < longest < full and sender[E_UNIQUE] >= 10 * longest and longest in fields(case, side):
            return Verdict(
                75,
                "likely",
                (
                    (
                        f"the {SIDES[1 - side]} never sends more than {longest} bytes at a time, which is the "
                        f"{SIDES[side]}'s window field without its scale of {shift} bits "
                        f"({case.frames(*case.sent(side)[:1])})"
                    ),
                    f"with the scale the window is {window:,} bytes, and a segment may hold {full}",
                ),
                f"{sender.name} sends {longest} bytes per round trip to {receiver.name}: the window scale of "
                f"{shift} bits was lost on the way",
                alternatives=("window_limited",),
                severity="medium",
                where="path",
            )
    return None


def stood_for_window(case: Case, side: int) -> int:
    """How long the peer of ``side`` waited for a window that was never 0, ns; 0 where that was not most of the time."""
    limited = spent(case, WAIT_WINDOW, side)
    moving = limited + case[C_TIMES + 2 * WAIT_TRANSFER + 1 - side]
    return 0 if case.view.ends[side][E_ZERO_WINDOWS] or limited < SECOND or 2 * limited < moving else limited


def in_pieces(case: Case, side: int, field: int) -> bool:
    """Whether what the peer of ``side`` sent came in segments of about this size, to the end."""
    sender = case.view.ends[1 - side]
    waits = case[C_WAITING] == 2 * WAIT_WINDOW + side  # nobody tells for what
    behind = sender[E_UNIQUE] - FIRST_FLIGHT  # which the window of a SYN, that is never scaled, lets through at once
    return not waits and behind <= field * sender[E_SEGMENTS]


def after_first_flight(case: Case, side: int) -> Verdict | None:
    """The same, but for a first flight: the window of a SYN is never scaled, and allowed that much at once."""
    receiver, sender = case.view.ends[side], case.view.ends[1 - side]
    shift, window = receiver[E_SHIFT], receiver[E_WINDOW]
    if shift <= 2 or window >> shift >= max(receiver[E_MSS], 536):
        return None
    limited = stood_for_window(case, side)
    way = sum(w for w in (case[C_WAIT_WAY], case[C_WAIT_WAY + 1]) if w > 0)
    if sender[E_SHIFT] < 0 or not limited or not way:
        return None
    field = window >> shift
    if not in_pieces(case, side, field):
        return None
    moved = sender[E_UNIQUE] * way // limited
    if field <= 0 or 8 * moved > window:
        return None
    return Verdict(
        75,
        "likely",
        (
            (
                f"the {SIDES[1 - side]} waits for ACKs after {field} bytes at a time, which is the {SIDES[side]}'s "
                f"window field without its scale of {shift} bits ({case.frames(*case.sent(side)[:1])})"
            ),
            f"with the scale the window is {window:,} bytes, and was never full; {span(limited)} went so",
        ),
        f"{sender.name} sends {field} bytes per round trip to {receiver.name}: the window scale of {shift} bits was "
        "lost on the way",
        alternatives=("window_limited",),
        severity="medium",
        where="path",
    )


def cut_from_answer(case: Case, side: int) -> Verdict | None:
    """No scale was granted, and the window of the SYN+ACK shrinks at once to a small part: its owner does scale."""
    receiver, sender = case.view.ends[side], case.view.ends[1 - side]
    window = receiver[E_WINDOW]
    if case[C_WAITING] == 2 * WAIT_WINDOW + side or not 0 < window < max(receiver[E_MSS], 536):
        return None
    answer = next((s for s in case.sent(side) if s.syn_ack), None)
    if answer is None:
        return None
    offered = bool(sender[E_OPTIONS] & OPT_SCALE) and not receiver[E_OPTIONS] & OPT_SCALE
    limited = stood_for_window(case, side) if in_pieces(case, side, window) else 0
    then = next((s for s in case.sent(side) if s.frame > answer.frame and not s.rst), None)
    if not offered or not limited or answer.window < 16 * window or then is None:
        return None
    if then.ack + then.window > answer.window:
        return None  # it took back nothing that it had offered
    return Verdict(
        66,
        "possible",
        (
            (
                f"{receiver.name} grants no window scale, and its window falls from {answer.window:,} bytes in the "
                f"SYN+ACK to {window:,} at once ({case.frames(answer)}), although it acknowledges all"
            ),
            f"{sender.name} offered a scale; it waited {span(limited)} for room",
        ),
        f"{sender.name} sends {window:,} bytes per round trip to {receiver.name}, whose window looks as if it were "
        "scaled: the scale was taken out of the SYN+ACK on the way",
        alternatives=("window_limited",),
        severity="medium",
        where="path",
    )


# Behind a scale of 8 bits: what a sender that does not know of it sends at a time.
SMALL = "".join(
    f"""
            {0.2 + 0.1 * i:.3f} < .  {1 + 63 * i}:{64 + 63 * i}(63) ack 101 win 512
            {0.2 + 0.1 * i:.3f} > .  101:101(0)   ack {64 + 63 * i} win 63
"""
    for i in range(12)
)
FULL = "".join(
    f"""
            {0.3 + 0.1 * i:.3f} < .  {1 + 14600 * i}:{14601 + 14600 * i}(14600) ack 101 win 65535
            {0.39 + 0.1 * i:.3f} > .  101:101(0)   ack {14601 + 14600 * i} win 14600
"""
    for i in range(12)
)

CAUSES = (
    Cause(
        name="receiver_slow",
        family="data",
        where="client",
        severity="medium",
        summary="The receiving application does not read what has arrived: its TCP shuts the window, and the sender "
        "has to wait.",
        predicts=("a window of 0, and probes of it that are answered", "data go on as soon as the window opens"),
        forbids=("probes that nobody answers",),
        look_alikes={
            "window_limited": "the window is small or full, and never shut",
            "server_slow": "the window is open, and nothing comes",
            "path_dead": "the probes are not answered",
        },
        explains=frozenset({"zero_window", "zero_window_stall"}),
        next_step="find out why the receiving application does not read: ss -tnm shows what waits in its socket",
        weigh=receiver_slow,
        group="pair",
        example=OPENED
        + """
            0.100 > P. 1:101(100)      ack 1    win 512
            0.120 < .  1:1001(1000)    ack 101  win 512
            0.121 > .  101:101(0)      ack 1001 win 0
            0.500 < .  1000:1000(0)    ack 101  win 512
            0.501 > .  101:101(0)      ack 1001 win 0
            5.500 > .  101:101(0)      ack 1001 win 512
            5.520 < .  1001:2001(1000) ack 101  win 512
        """,
        look_alike=OPENED
        + """
            0.100 > P. 1:101(100)      ack 1    win 512
            0.120 < .  1:1001(1000)    ack 101  win 512
            0.121 > .  101:101(0)      ack 1001 win 0
            0.150 > .  101:101(0)      ack 1001 win 512
            0.170 < .  1001:2001(1000) ack 101  win 512
        """,
    ),
    Cause(
        name="window_limited",
        family="data",
        where="client",
        severity="low",
        summary="The receiver's window is smaller than what is under way in a round trip: the sender fills it and "
        "waits, however fast the path is.",
        predicts=("the sender stops at the edge of the window, in every round trip", "ACKs come with the round trip"),
        forbids=("a window of 0: then the application does not read",),
        look_alikes={
            "receiver_slow": "the window shuts",
            "path_loss": "the sender stops because something is missing",
            "window_scale_broken": "the window is large, and the sender takes it for small",
        },
        explains=frozenset(),
        next_step="raise the receive buffer of {client_host} (Linux: net.ipv4.tcp_rmem), and see that window scaling "
        "is on at both ends and passes the path",
        weigh=window_limited,
        group="pair",
        example="""
            0.000 > S  0:0(0)            win 14600 <mss 1460>
            0.090 < S. 0:0(0)     ack 1  win 65535 <mss 1460>
            0.091 > .  1:1(0)     ack 1  win 14600
            0.100 > P. 1:101(100) ack 1  win 14600
        """
        + FULL,
        look_alike=OPENED + ASKED + "            0.150 < P. 1:501(500) ack 101 win 512\n" + CLOSED,
    ),
    Cause(
        name="window_scale_broken",
        family="data",
        where="path",
        severity="medium",
        summary="One end scales its window, and the other takes the field as it stands: a box on the way removed the "
        "window scale option from a SYN, or a stack gets it wrong.",
        predicts=("the sender never sends more at a time than the window field says without its scale",),
        forbids=("a segment that is longer than that",),
        look_alikes={
            "window_limited": "the window is small with its scale, too",
            "receiver_slow": "the window shuts",
        },
        explains=frozenset(),
        next_step="capture the SYN and the SYN+ACK at both ends and compare their window scale options",
        weigh=window_scale_broken,
        group="pair",
        example="""
            0.000 > S  0:0(0)            win 65535 <mss 1460,scale 10>
            0.090 < S. 0:0(0)     ack 1  win 65535 <mss 1460,scale 7>
            0.091 > .  1:1(0)     ack 1  win 63
            0.100 > P. 1:101(100) ack 1  win 63
        """
        + SMALL,
        look_alike=OPENED + ASKED + "            0.150 < P. 1:501(500) ack 101 win 512\n" + CLOSED,
    ),
)
