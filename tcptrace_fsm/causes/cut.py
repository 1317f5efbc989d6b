"""Resets of open connections that take data with them: unread, under way, or still to be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.causes.cause import Verdict
from tcptrace_fsm.causes.leave import news
from tcptrace_fsm.causes.talk import has_turns, last_burst, pending, way_and_back
from tcptrace_fsm.core.words import SIDES
from tcptrace_fsm.findings.abort import unasked_reset
from tcptrace_fsm.findings.evidence import genuine, overtaken, prompt
from tcptrace_fsm.findings.rule import SECOND, span
from tcptrace_fsm.kernels.layout import C_WAIT_SPOKE, CLIENT, E_FIN, E_NEXT, E_UNIQUE, MILLISECOND, SERVER

if TYPE_CHECKING:
    from tcptrace_fsm.causes.case import Case

__all__ = ["behind_shut_window", "cut_off", "in_its_answer"]

UPLOAD = 2_920  # bytes: more than two segments are no few words, and were not all of them said


def cut_off(case: Case) -> Verdict | None:
    """A server resets an open connection, and what its client was just sending passes behind the RST."""
    found = unasked_reset(case.server)
    if found is None or case.midstream or not case.both_directions:
        return None
    rst, server, client = found[1], case.server, case.client
    late = [s for s in client.segments if s.length and s.frame > rst.frame and not overtaken(s, client)]
    late = [s for s in late if s.seq + s.length > max(rst.ack, 1) and s.time - rst.time <= prompt(server) + SECOND]
    lost = client[E_NEXT] - (client[E_FIN] >= 0) - max(rst.ack, 1) if late else 0
    if lost <= UPLOAD or any(s.fin and s.frame < rst.frame for s in case.segments) or news(case, lost):
        return None
    return Verdict(
        60,
        "likely",
        (
            f"{server.name} sent RST into an open connection ({case.frames(rst)})",
            f"{lost:,} bytes that {client.name} was sending came behind it ({case.frames(*late)}): nobody reads them",
        ),
        f"{server.name} reset the connection while {client.name} was sending: {lost:,} bytes under way are lost",
        alternatives=("aborted_by_application",),
        where="server",
        at=rst,
        amount=lost,
    )


def behind_shut_window(case: Case) -> Verdict | None:
    """An end whose window is shut resets the connection: its buffer is full of what its application did not read."""
    for end in case.view.ends:
        found = unasked_reset(end)
        if found is None:
            continue
        rst = found[1]
        last = next((s for s in reversed(genuine(end.segments)) if s.frame < rst.frame and not s.rst), None)
        if last is None or last.window or last.syn or not end.peer[E_UNIQUE]:
            continue
        left = end.side == CLIENT  # of its own accord
        return Verdict(
            58,
            "possible" if left else "likely",
            (
                (
                    f"{end.name} had shut its window ({case.frames(last)}): its application left data of "
                    f"{end.peer.name} unread"
                ),
                f"{end.name} sent RST {span(rst.time - last.time)} later, the window still shut ({case.frames(rst)})",
            ),
            f"{end.name} closed without having read all that {end.peer.name} had sent: what its socket held is lost, "
            "and what was to follow",
            alternatives=("aborted_by_application",),
            severity="low" if left else None,
            where=SIDES[end.side],
            at=rst,
        )
    return None


def in_its_answer(case: Case) -> Verdict | None:
    """A server resets before it can have heard that the last of its answer arrived: the client may not get it all."""
    found = unasked_reset(case.server)
    if found is None or case.midstream or not has_turns(case) or case.client[E_FIN] >= 0:
        return None
    rst, server = found[1], case.server
    spoke, way = case[C_WAIT_SPOKE + SERVER], way_and_back(case)
    between, answer = rst.time - spoke, last_burst(case)
    if spoke <= 0 or not 0 <= between < 3 * way // 4 or way < 4 * MILLISECOND or answer <= UPLOAD or pending(case):
        return None
    return Verdict(
        34,
        "possible",
        (
            f"{server.name} sent RST {span(between)} after the last of its data ({case.frames(rst)})",
            f"to its client and back takes {span(way)}: it cannot have heard that the end of its answer had arrived",
        ),
        f"{server.name} aborted the connection {span(between)} behind the last of {answer:,} bytes of its answer: what "
        "the client had not read by then is lost, and what was not sent yet never comes",
        alternatives=("closed_with_unread_data",),
        severity="medium",
        where="server",
        at=rst,
        amount=answer,
    )
