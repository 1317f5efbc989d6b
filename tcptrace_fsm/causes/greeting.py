"""A server that speaks first: when it does, and when it is late."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.causes.cause import Verdict
from tcptrace_fsm.causes.talk import alternates, has_turns, quick_answers, way_and_back
from tcptrace_fsm.kernels.layout import (
    C_LONGEST_AFTER,
    C_LONGEST_BEFORE,
    C_LONGEST_FOR,
    C_LONGEST_WAIT,
    C_RESPONSES,
    C_TIMES,
    C_WAIT_WAY,
    CLIENT,
    E_UNIQUE,
    SERVER,
    WAIT_APPLICATION,
)
from tcptrace_fsm.text.durations import SECOND, span

if TYPE_CHECKING:
    from tcptrace_fsm.causes.case import Case

__all__ = ["MINUTE", "is_greeted", "late_greeting", "network_share"]

MINUTE = 60 * SECOND
PAUSE = 4 * SECOND


def network_share(case: Case) -> str:
    """The way to the server and back, in words."""
    way = way_and_back(case)
    return span(way) if way else "not known"


def late_greeting(case: Case) -> Verdict | None:
    """The server speaks first, and does so late."""
    waited = case[C_LONGEST_WAIT]
    if case[C_LONGEST_FOR] != 2 * WAIT_APPLICATION + SERVER or waited < 2 * SECOND or case.midstream:
        return None
    third = next((s for s in case.sent(CLIENT) if not s.syn), None)
    if third is None or case.is_before(third, case[C_LONGEST_BEFORE]) or not case.client[E_UNIQUE]:
        return None  # a server that only ever pushes may have had nothing to say
    if case[C_WAIT_WAY + SERVER] < 0 or not has_turns(case) or sum(s.syn_ack for s in case.sent(SERVER)) > 1:
        return None
    # Who waits for a greeting goes on when it comes, and takes turns. Two who speak when they like do not.
    soon = alternates(case, waited) and quick_answers(case, waited // 4) == case[C_RESPONSES] > 0
    if case[C_RESPONSES] < 2 and case[C_TIMES + 2 * WAIT_APPLICATION] > SECOND // 2:
        soon = False  # its client takes its time, too
    if case[C_RESPONSES] < 3 and waited > MINUTE:
        soon = False  # few are so patient, and news that are acknowledged may come after as long
    if waited < PAUSE:
        soon = False  # a mail server holds its greeting back for as long, to see who cannot wait
    return Verdict(
        60 if soon else 20,
        "likely" if soon else "possible",
        (
            (
                f"the connection was open, and {case.service_text}, which speaks first, said nothing for "
                f"{span(waited)} ({case.frames(third, case[C_LONGEST_AFTER])})"
            ),
            f"the way there and back takes {network_share(case)}",
        ),
        f"{case.service_text} greets its client only {span(waited)} after the handshake",
        against=("the SYN+ACK was not repeated, nor anything else: nothing was lost or put off by TCP",),
        severity=None if soon else "low",
        amount=waited,
    )


def is_greeted(case: Case) -> bool:
    """Whether the server's first words came as soon as the connection was open: news come at any time."""
    first = next((s for s in case.segments if s.length), None)
    return first is not None and first.side == SERVER and first.time - case.first_time <= 2 * SECOND
