"""Causes of resets at the end: closed too early, used too late, aborted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.causes.cause import Cause, Verdict
from tcptrace_fsm.causes.cut import behind_shut_window, cut_off, in_its_answer
from tcptrace_fsm.causes.gave_up import MOMENT
from tcptrace_fsm.causes.leave import (
    farewell,
    had_waited,
    had_waited_in_vain,
    has_all,
    news,
    nobody_waits,
    parting,
    stops,
)
from tcptrace_fsm.causes.talk import client_asks, is_free, last_burst, pending
from tcptrace_fsm.core.words import SIDES
from tcptrace_fsm.findings.abort import aborts, may_have_acknowledged
from tcptrace_fsm.findings.evidence import HANDSHAKE, bytes_lost, overtaken, prompt
from tcptrace_fsm.findings.rule import SECOND, span
from tcptrace_fsm.kernels.layout import (
    C_IDLE,
    C_OPENING,
    C_REQUESTS,
    C_RESPONSE_MAX,
    C_RESPONSES,
    C_WAIT_SPOKE,
    CLIENT,
    E_ACK,
    E_FIN,
    E_NEXT,
    LAST_WORDS,
    OPENING_REFUSED,
    SERVER,
)

if TYPE_CHECKING:
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World
    from tcptrace_fsm.findings.rule import End, Segment, View

__all__ = ["CAUSES"]

IMPATIENCE = 30 * SECOND  # after that a request may have needed no answer


def fin_then_rst(end: End) -> tuple[Segment | None, Segment | None]:
    """The first FIN of ``end``, and its first RST behind that; looked for once for all causes."""

    def make(_: View) -> tuple[Segment | None, Segment | None]:
        fin = next((s for s in end.segments if s.fin), None)
        return fin, None if fin is None else next((s for s in end.segments if s.rst and s.frame > fin.frame), None)

    return end.view.once(f"FIN, then RST of {end.side}", make)


def late_data(end: End) -> tuple[Segment, list[Segment], Segment] | None:
    """``end`` closed and then reset data: its FIN, the data that came behind it, the RST."""
    fin, rst = fin_then_rst(end)
    if fin is None or rst is None:
        return None
    # What was overtaken on its way had been sent before, and what is acknowledged had arrived.
    late = [
        s
        for s in end.peer.segments
        if s.length and fin.frame < s.frame < rst.frame and s.seq + s.length > fin.ack and not overtaken(s, end.peer)
    ]
    return (fin, late, rst) if late else None


def in_flight(end: End) -> tuple[Segment, Segment, int] | None:
    """``end`` closed and then reset what its peer had under way: FIN, first RST, bytes."""
    fin, rst = fin_then_rst(end)
    own = next((s for s in end.peer.segments if s.fin), None)
    lost = (own.end - 1 if own else end.peer[E_NEXT]) - max(end[E_ACK], 1)
    if fin is None or rst is None or lost <= 0 or rst.time - fin.time > prompt(end) + SECOND:
        return None
    if own is not None and own.frame < rst.frame:
        return None  # it had said all that it had to say
    return fin, rst, lost


def refused_since(case: Case, world: World) -> int:
    """How many connections its service refused, if it accepted none any more after it had closed this one."""
    fin = next((s for s in case.sent(SERVER) if s.fin), None)
    if fin is None:
        return 0
    since = world.to_service(case.service).split(fin.time - SECOND)[1]
    return 0 if len(since.opened) else since.column(C_OPENING).count(OPENING_REFUSED)


def after_close(case: Case, world: World) -> Verdict | None:
    """A client sends a request on a connection that the server has closed; or a few words that want no answer."""
    found = crossed(case) or too_late(case)
    if found is not None and (refused := refused_since(case, world)) > 1:
        evidence = f"{refused} connections were refused since, and none accepted: its process has ended"
        return found._replace(confidence="possible", severity="low", evidence=(*found.evidence, evidence), against=())
    if found is None or not (news(case, last_burst(case)) or takes_leave(case)):
        return found
    # It had acknowledged the FIN long before: what it says then is nothing that the server should have waited for.
    return found._replace(weight=62 if too_late(case) else 30, confidence="possible", severity="low")


def takes_leave(case: Case) -> bool:
    """Whether the client's own FIN stands right behind its last few words: it waits for no answer to them."""
    sent = case[C_WAIT_SPOKE + CLIENT]
    fin = next((s for s in case.client.segments if s.fin), None)
    return fin is not None and 0 <= fin.time - sent <= MOMENT and 0 < last_burst(case) <= LAST_WORDS


def too_late(case: Case) -> Verdict | None:
    """A client has acknowledged the FIN of its server, and sends all the same."""
    found = late_data(case.server)
    if found is None:
        return None
    fin, late, rst = found
    client = case.client
    acked = next((s for s in client.segments if s.frame > fin.frame and s.ack >= case.server[E_FIN] > 0), None)
    if acked is None or (acked.frame >= late[0].frame and acked is not late[0]):
        return None
    idle = late[0].time - fin.time
    if idle < max(MOMENT, prompt(client)):
        return None
    return Verdict(
        85,
        "likely",
        (
            f"{case.server.name} closed ({case.frames(fin)}) and {client.name} acknowledged it ({case.frames(acked)})",
            (
                f"{span(idle)} later {client.name} sent {sum(s.length for s in late):,} bytes on the same connection "
                f"({case.frames(*late)}) and met RST ({case.frames(rst)})"
            ),
        ),
        f"{client.name} used a connection that {case.server.name} had closed {span(idle)} before: the request of "
        f"{sum(s.length for s in late):,} bytes is lost",
        against=("the server did not crash: it closed in order first",),
        alternatives=("closed_with_unread_data",),
        where="client",
        at=late[0],
        amount=idle,
    )


def crossed(case: Case) -> Verdict | None:
    """A client's next request and the FIN of a server that had waited for one long enough cross on their way."""
    server, client = case.server, case.client
    fin, rst = fin_then_rst(server)
    if fin is None or rst is None or rst.time - fin.time > 2 * prompt(server) + SECOND:
        return None
    own = next((s for s in client.segments if s.fin), None)
    lost = (own.seq if own else client[E_NEXT]) - fin.ack
    idle = max(case[C_IDLE], fin.time - case[C_WAIT_SPOKE + SERVER])  # its FIN may have come here a moment sooner
    owed = case[C_REQUESTS] - case[C_RESPONSES]
    if lost <= 0 or fin.ack < 1 or idle < SECOND or owed != 1 or not case[C_RESPONSES] or not case.both_directions:
        return None
    if any(s.fin and s.frame < fin.frame for s in client.segments):
        return None
    words = [s for s in client.segments if s.length and s.frame > fin.frame]
    if lost <= LAST_WORDS and words and all(s.ack >= fin.end for s in words):
        return None  # what it says to the FIN itself
    return Verdict(
        80,
        "likely",
        (
            f"all {case[C_RESPONSES]} requests before had been answered, and nothing was said for {span(idle)}",
            (
                f"then {server.name} closed ({case.frames(fin)}) just when {client.name} sent {lost:,} bytes, which "
                f"that FIN does not acknowledge, and reset them ({case.frames(rst)})"
            ),
        ),
        f"{server.name} closed the idle connection after {span(idle)}, just when {client.name} used it again: the "
        f"request of {lost:,} bytes is lost",
        against=("the server did not crash: it closed in order first",),
        alternatives=("closed_with_unread_data",),
        where="client",
        at=fin,
        amount=idle,
    )


def while_sending(case: Case, end: End) -> Verdict | None:
    """``end`` closed, and reset what its peer was sending."""
    flight = in_flight(end)
    if flight is None:
        return None
    fin, rst, lost = flight
    left = stops(case, end) or news(case, lost)
    return Verdict(
        65,
        "possible" if left else "likely",
        (
            (
                f"{end.name} closed ({case.frames(fin)}) and sent RST {span(rst.time - fin.time)} later "
                f"({case.frames(rst)})"
            ),
            f"{lost:,} bytes of {end.peer.name} were under way then and were never acknowledged",
        ),
        f"{end.name} closed while {end.peer.name} was sending: {lost:,} bytes under way met RST and are lost",
        alternatives=("aborted_by_application",),
        severity="low" if left else None,
        where=SIDES[end.side],
        at=rst,
        amount=lost,
    )


def unread(case: Case, world: World) -> Verdict | None:  # noqa: ARG001
    """An application closed while data for it were waiting, or still to come."""
    found_so = case.has("rst_on_late_data", "close_with_unread_data")
    for end in case.view.ends:
        place = SIDES[end.side]
        if (not found_so and fin_then_rst(end)[1] is None) or farewell(case, end):
            continue
        found = late_data(end)
        if found is not None and (case.has("rst_on_late_data", "close_with_unread_data", "rst_after_own_fin")):
            fin, late, rst = found
            lost = sum(s.length for s in late)
            if lost <= LAST_WORDS and end.peer[E_FIN] >= 0:
                continue  # it had only its farewell left to say
            at_once = late[0].time - fin.time <= prompt(end.peer)
            if lost <= LAST_WORDS and at_once and all(s.ack >= fin.end for s in late):
                continue  # a few words in answer to the FIN itself, as a TLS alert: they take leave
            left = nobody_waits(case, end, fin, late) or (at_once and stops(case, end)) or news(case, lost)
            left = left or (end.side == CLIENT and had_waited_in_vain(case)) or had_waited(case, end)
            # Where the capture began before that, it does not show whether the connection had been idle.
            spoken = any(s.length and s.frame < fin.frame for s in case.segments)
            blind = end.side != CLIENT and case.midstream and not spoken
            return Verdict(
                60 if left else 70,
                "possible" if left or blind else "likely",
                (
                    (
                        f"{end.name} closed ({case.frames(fin)}) while {end.peer.name} still sent: {lost:,} bytes "
                        f"came behind ({case.frames(*late)})"
                    ),
                    f"{end.name} answered them with RST ({case.frames(rst)}): nobody reads them",
                ),
                f"{end.name} closed of its own accord, and {end.peer.name} said {lost:,} bytes more, which met RST"
                if left
                else f"{end.name} closed before {end.peer.name} had finished: {lost:,} bytes and what follows are lost",
                alternatives=("reused_after_close",) * blind + ("aborted_by_application",),
                severity="low" if left else None,
                where=place,
                at=rst,
                amount=lost,
            )
        if (sending := while_sending(case, end)) is not None:
            return sending
        finding = case.finding("rst_on_late_data", "close_with_unread_data")
        if finding is not None and finding.side == place:
            last = next((s for s in end.segments if s.rst), None)
            done = (end.side == CLIENT and has_all(case, last)) or stops(case, end) or parting(case, end, last)
            said = last_burst(case) if pending(case) == (end.side != CLIENT) else 0
            owing = max(end.peer[E_NEXT] - max(end[E_ACK], 1), said)
            # All was acknowledged, and an answer had been given, and had arrived; or none was awaited any more.
            given = not owing and not bytes_lost(end)
            done = done or given or news(case, owing) or had_waited(case, end)
            sure = finding.severity != "low" and not done
            # A few words that its system acknowledged may have been read; so may all that it may have acknowledged.
            doubt = (
                not sure
                and not bytes_lost(end)
                and (owing <= LAST_WORDS or (last is not None and may_have_acknowledged(end, last)))
            )
            return Verdict(
                65 if sure else 45,
                "likely" if sure else "possible",
                (f"{finding.message} ({case.frames(finding.frame)})",),
                f"{end.name} closed while data were unread or still to come: what {end.peer.name} sent is lost"
                if not done
                else f"{end.name} ended the connection by RST, with answers received and perhaps read",
                alternatives=("aborted_by_application",),
                severity="low" if done or doubt else None,
                where=place,
                at=last,
            )
    return cut_off(case) or behind_shut_window(case)


def aborted(case: Case, world: World) -> Verdict | None:  # noqa: ARG001
    """An application threw the connection away."""
    finding = case.finding("abort_rst")
    if finding is None or finding.side is None:
        return in_its_answer(case)
    end = case.view.ends[SIDES.index(finding.side)]
    rst = next((s for s in end.segments if s.rst), None)
    lost = sum(abort.lost + abort.unread for abort in aborts(case.view) if abort.end is end)
    if rst is None or not case.both_directions:
        return None
    # Whoever has closed behind its last words may have taken its leave.
    waiting = end.side != CLIENT and case.client[E_FIN] < 0 and not is_free(case)
    farewell_lost = lost and (parting(case, end, rst) or news(case, lost))
    since = rst.time - case[C_WAIT_SPOKE]
    owed = waiting and case[C_RESPONSES] < case[C_REQUESTS] and since < IMPATIENCE
    owed = owed and client_asks(case, since, case[C_RESPONSE_MAX])
    # Without ACK it carries the number of a segment that it answers: one that the capture lacks, or that came long ago.
    replies = rst.reply_rst
    return Verdict(
        36 if owed else 35,
        "likely" if lost and not farewell_lost and not replies else "possible",
        (
            f"{end.name} sent RST into an open connection ({case.frames(rst)})",
            (f"{lost:,} bytes were not acknowledged then" if lost else "all that was sent had been acknowledged")
            + (", and a request had no answer" if owed else ""),
        ),
        f"{end.name} aborted the connection"
        + (f": {lost:,} bytes are lost" if lost else " without an answer" if owed else ", nothing was under way")
        + (f" ({case[C_RESPONSES]} of {case[C_REQUESTS]} requests were answered)" if owed and not lost else ""),
        alternatives=("endpoint_restarted",) * replies + ("closed_with_unread_data", "reset_injected"),
        severity="medium" if ((lost and not farewell_lost) or owed) and not replies else "low",
        where=SIDES[end.side],
        at=rst,
        amount=lost,
    )


CAUSES = (
    Cause(
        name="reused_after_close",
        family="close",
        where="client",
        severity="medium",
        summary="A client sends a request on a connection that the server has closed already, or closes in that "
        "moment, as a pool or a proxy does: the request is lost (a proxy says 502).",
        predicts=(
            "the server's FIN is acknowledged, then a new request follows, then RST",
            "or an idle connection: the server's FIN and the next request cross, then RST",
        ),
        forbids=("a request that the server owed an answer to when it closed",),
        look_alikes={
            "closed_with_unread_data": "the client was speaking, or waiting for an answer, when the server closed",
            "path_loss": "repetitions get through in the end",
            "orphan_timed_out": "the server had closed a minute before",
            "idle_timeout_in_path": "no FIN came before the RST",
            "endpoint_restarted": "no FIN came before the RST",
            "aborted_by_application": "the RST answers nothing",
        },
        explains=frozenset({"half_close", "reply_rst", "rst_after_own_fin", "rst_on_late_data"}),
        next_step="let the client's idle time-out be shorter than the server's keep-alive time-out, and repeat "
        "requests that met a closed connection",
        weigh=after_close,
        example=HANDSHAKE
        + """
            0.040 < P. 1:201(200)   ack 101
            0.050 > .  101:101(0)   ack 201
            5.000 < F. 201:201(0)   ack 101
            5.010 > .  101:101(0)   ack 202
            17.00 > P. 101:201(100) ack 202
            17.01 < R  202:202(0)
        """,
        look_alike=HANDSHAKE
        + """
            0.040 < P. 1:201(200)   ack 101
            0.050 > .  101:101(0)   ack 201
            0.600 > P. 101:201(100) ack 201
            0.800 < F. 201:201(0)   ack 201
            0.805 > P. 201:301(100) ack 201
            0.815 < R  202:202(0)
        """,
    ),
    Cause(
        name="closed_with_unread_data",
        family="close",
        where="server",
        severity="medium",
        summary="An application closed a socket with data unread, or while data were still coming: its system sends "
        "RST, and what was on its way is lost, often with the response.",
        predicts=("an RST right after data were acknowledged, or behind a FIN of the same side",),
        forbids=("data that are acknowledged after the RST", "an idle connection"),
        look_alikes={
            "aborted_by_application": "SO_LINGER with 0, or a process that was killed: nothing was unread",
            "reset_injected": "TTL or IP id of the RST are not those of its sender",
            "orphan_timed_out": "the other side came long after",
            "accept_queue_full": "the connection had not been accepted yet",
            "idle_timeout_in_path": "the connection had been idle",
            "half_close_unsupported": "the server closes in order, without an answer",
        },
        explains=frozenset(
            {"abort_rst", "close_with_unread_data", "half_close", "rst_after_own_fin", "rst_on_late_data", "rst_storm"}
        ),
        next_step="let the application on {server_host} read until end of file before close(), or shutdown(SHUT_WR) "
        "and drain; strace -f -e trace=network,close -p PID shows it",
        weigh=unread,
        example=HANDSHAKE
        + """
            0.040 < .  1:1(0)       ack 101
            0.500 > F. 101:101(0)   ack 1
            0.510 < .  1:1(0)       ack 102
            0.900 < P. 1:201(200)   ack 102
            0.910 > R  102:102(0)
        """,
        look_alike=HANDSHAKE
        + """
            0.040 < P. 1:201(200)   ack 101
            0.050 > .  101:101(0)   ack 201
            60.00 > R. 101:101(0)   ack 201
        """,
    ),
    Cause(
        name="aborted_by_application",
        family="close",
        where="server",
        severity="low",
        summary="An application ended the connection by RST: SO_LINGER with 0, a killed process, or an abort on an "
        "error.",
        predicts=("an RST with the right numbers into an open connection",),
        forbids=("numbers, TTL or IP id that its sender does not use",),
        look_alikes={
            "closed_with_unread_data": "data had just come, or were still coming",
            "reset_injected": "TTL or IP id of the RST are not those of its sender",
            "idle_timeout_in_path": "a box on the path forgot the connection while it was idle",
            "endpoint_restarted": "the RST answers a segment and carries its numbers",
            "orphan_timed_out": "the RST's sender had sent its FIN long before",
            "accept_queue_full": "the connection had not been accepted yet",
        },
        explains=frozenset({"abort_rst", "linger_zero_close", "rst_after_own_fin"}),
        next_step="look into the log of the application that sent the RST at that moment; ss -tnpo and strace show "
        "SO_LINGER",
        weigh=aborted,
        example=HANDSHAKE
        + """
            0.040 < .  1:1461(1460)    ack 101
            0.041 < .  1461:2921(1460) ack 101
            0.050 > .  101:101(0)      ack 1461
            1.000 < .  2921:4381(1460) ack 101
            1.001 < R. 4381:4381(0)    ack 101
        """,
        look_alike=HANDSHAKE
        + """
            0.040 < P. 1:201(200)   ack 101
            0.050 > .  101:101(0)   ack 201
            1.000 > F. 101:101(0)   ack 201
            1.010 < F. 201:201(0)   ack 102
            1.020 > .  102:102(0)   ack 202
        """,
    ),
)
