"""Causes of closes that do not come to their end: sockets that leak, and what is gone before it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.causes.cause import Cause, Sufferer, Verdict
from tcptrace_fsm.core.words import SIDES
from tcptrace_fsm.findings.evidence import CLOSED_BY_CLIENT, HANDSHAKE
from tcptrace_fsm.findings.hosts import many
from tcptrace_fsm.findings.rule import SECOND, span
from tcptrace_fsm.kernels.layout import (
    C_FIRST_FRAME,
    C_INCARNATION,
    C_REQUESTS,
    C_RESPONSES,
    CLIENT,
    E_LAST_TIME,
    MARK_KEEPALIVE,
    SERVER,
)
from tcptrace_fsm.tcp.machine import State

if TYPE_CHECKING:
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World
    from tcptrace_fsm.findings.rule import Change, End, Segment

__all__ = ["CAUSES"]

HANG = 30 * SECOND  # a client may well read on for less
SOON = 5 * SECOND  # ... and much less where it has kept others for as long
LEAK = 120 * SECOND  # an application that has not closed by then is not about to


def holder(case: Case) -> End | None:
    """The end that is left in CLOSE_WAIT when all is over."""
    return next((end for end in case.view.ends if end.state == State.CLOSE_WAIT), None)


def patience(end: End, alike: int) -> int:
    """How long an end may stay in CLOSE_WAIT: a pool closes what its server has closed when it is used next."""
    return HANG if alike > 1 and end.side == SERVER else LEAK


def left_open(case: Case) -> int:
    """For how long the server is in CLOSE_WAIT when all is over, ns; 0 where it is not."""
    end = holder(case)
    entered = end.entered(State.CLOSE_WAIT) if end and end.side == SERVER else None
    return case.end - entered.time if entered else 0


def leak(case: Case, world: World) -> Verdict | None:
    """An endpoint acknowledged the other's FIN and never sent its own."""
    end = holder(case)
    found = case.finding("stuck_close_wait")
    if end is None or found is None or case.midstream:
        return until_probed(case, world)
    entered = end.entered(State.CLOSE_WAIT)
    if entered is None:
        return None
    waited = case.end - entered.time
    alike = [c for c in world.cases_of(case.service) if c.has("stuck_close_wait")]
    probes = [s for s in end.segments if s.has(MARK_KEEPALIVE) and s.time > entered.time]
    kept = world.once(("left open", case.service), lambda: [left_open(c) for c in alike]) if end.side == SERVER else []
    known, many = sum(ns >= HANG for ns in kept), sum(ns >= SOON for ns in kept) or len(alike)
    # Where several have leaked, the next ones do.
    if waited < (SOON if known > 1 else HANG if probes else patience(end, len(alike))):
        return None
    fin = next((s for s in end.peer.segments if s.fin), None)
    quiet = case.end - end[E_LAST_TIME]
    evidence = [
        f"{end.peer.name} sent its FIN and {end.name} acknowledged it ({case.frames(fin, entered.frame)})",
        f"{end.name} has said nothing since, and sent no FIN, for {span(waited)}"
        if span(quiet) == span(waited)
        else f"{end.name} has said nothing for {span(quiet)} and sent no FIN in {span(waited)}",
    ]
    if probes:
        evidence[1] = f"{end.name} sent no FIN in {span(waited)}"
        evidence.append(
            f"its system still sends keepalives ({case.frames(*probes)}): the socket is there, and only its "
            "application can close it"
        )
    if len(alike) > 1:
        evidence.append(f"{many} connections to {case.service_text} hang in the same way")
    owed = end.side == SERVER and case[C_RESPONSES] < case[C_REQUESTS]
    if owed:
        evidence.append(f"it owes an answer: {case[C_RESPONSES]} of {case[C_REQUESTS]} requests had one")
    return Verdict(
        70,
        "possible" if owed else "likely",
        tuple(evidence),
        f"the application of {end.name} has not closed for {span(waited)} after its peer's FIN: the socket leaks in "
        "CLOSE_WAIT",
        against=("a system that was gone would not have acknowledged the FIN",),
        alternatives=("request_unanswered",) if owed else () if len(alike) > 1 or probes else ("peer_vanished",),
        # Whoever hangs in its work does not close either.
        severity="medium" if owed else None,
        where=SIDES[end.side],
        at=entered,
        amount=waited,
    )


def until_probed(case: Case, world: World) -> Verdict | None:
    """The socket lived in CLOSE_WAIT until its system's keepalive found that the peer had forgotten the connection."""
    found = kept_until(case)
    if found is None or case.midstream or world.lacks_frames:
        return None
    end, entered, rst, probes = found
    waited = rst.time - entered.time
    alike = [c for c in world.cases_of(case.service) if (k := kept_until(c)) and k[0].side == end.side]
    if waited < patience(end, len(alike)):
        return None
    return Verdict(
        64,
        "likely" if len(alike) > 1 else "possible",
        (
            f"{end.peer.name} sent its FIN and {end.name} acknowledged it ({case.frames(entered.frame)})",
            (
                f"{end.name} sent no FIN in {span(waited)}; only its system spoke ({case.frames(*probes)}), until a "
                f"keepalive met RST ({case.frames(rst)})"
            ),
            f"{len(alike)} connections to {case.service_text} went so",
        ),
        f"the application of {end.name} has not closed for {span(waited)} after its peer's FIN, until a keepalive "
        "found nobody: the socket stayed in CLOSE_WAIT",
        against=("a system that was gone would not have acknowledged the FIN",),
        severity="medium",
        where=SIDES[end.side],
        at=entered,
        amount=waited,
    )


def kept_until(case: Case) -> tuple[End, Change, Segment, list[Segment]] | None:
    """Who was in CLOSE_WAIT until an RST answered its keepalives; since when, which RST, and the keepalives."""
    for end in case.view.ends:
        entered = end.entered(State.CLOSE_WAIT)
        rst = next((s for s in end.peer.segments if s.rst and s.reply_rst), None)
        if entered is None or rst is None or any(s.fin for s in end.segments):
            continue
        since = [s for s in end.segments if s.time > entered.time and s.frame < rst.frame]
        probes = [s for s in since if s.has(MARK_KEEPALIVE)]
        if probes and not any(s.length > 1 for s in since):
            return end, entered, rst, probes
    return None


def leaks(sufferers: list[Sufferer], world: World) -> str:
    """How many sockets leak, and for how long at most."""
    count = sum(world.alike(s.case) for s in sufferers)
    if count == 1:
        return sufferers[0].verdict.message
    longest = max(s.verdict.amount for s in sufferers)
    case = sufferers[0].case
    whose = case.service_text if sufferers[0].verdict.where == "server" else "the clients"
    return (
        f"the application of {whose} does not close what its peers have closed: {count:,} sockets are left in "
        f"CLOSE_WAIT, the longest for {span(longest)}"
    )


def hangs(case: Case, world: World) -> Verdict | None:  # noqa: ARG001
    """FIN_WAIT_2 without an end, where the other side is not known to hold the connection."""
    found = case.finding("stuck_fin_wait_2")
    if found is None or case.midstream:
        return None
    end = case.view.ends[0 if found.side == SIDES[CLIENT] else 1]
    entered = end.entered(State.FIN_WAIT_2)
    if entered is None or end.state not in (State.FIN_WAIT_2, State.CLOSED):
        return None
    waited = case.end - entered.time
    if waited < (HANG if end.side == CLIENT else LEAK):
        return None
    evidence = [f"{end.name} sent FIN, {end.peer.name} acknowledged it and sent none ({case.frames(entered.frame)})"]
    if case.end - case.last_time >= SECOND:
        evidence.append(f"nothing was said for {span(case.end - case.last_time)}")
    return Verdict(
        45,
        "possible",
        tuple(evidence),
        f"{end.name} waits in FIN_WAIT_2 for {span(waited)} for a FIN of {end.peer.name} that does not come; whether "
        "its system still keeps the socket depends on how it was closed",
        alternatives=("close_wait_leak", "peer_vanished"),
        where=SIDES[1 - end.side],
        at=entered,
        amount=waited,
    )


def orphan(case: Case, world: World) -> Verdict | None:  # noqa: ARG001
    """What came after a FIN_WAIT_2 had been given up met nobody."""
    found = case.finding("rst_after_fin_wait_2_timeout")
    if found is None:
        return None
    end = case.view.ends[0 if found.side == SIDES[CLIENT] else 1]
    fin = next((s for s in end.segments if s.fin), None)
    rst = next((s for s in end.segments if s.rst), None)
    if fin is None or rst is None:
        return None
    late = next((s for s in reversed(end.peer.segments) if s.frame < rst.frame), None)
    waited = rst.time - fin.time
    if waited < SECOND:
        return None  # no timer of that state is so short
    lost = sum(s.length for s in end.peer.segments if s.frame > fin.frame and s.time > fin.time + SECOND)
    return Verdict(
        80,
        "likely",
        (
            (
                f"{end.name} sent FIN ({case.frames(fin)}), and {end.peer.name} came with its own only {span(waited)} "
                f"later ({case.frames(late)})"
            ),
            f"{end.name} answered it with RST at once ({case.frames(rst)}): it had forgotten the connection",
        ),
        f"{end.name} gave up its FIN_WAIT_2 before {end.peer.name} closed, {span(waited)} after the FIN",
        against=("FIN_WAIT_2 and TIME_WAIT answer a FIN with ACK",),
        alternatives=("closed_with_unread_data",) if lost else (),
        severity="medium" if lost else "low",
        where=SIDES[1 - end.side],
        at=rst,
        amount=waited,
    )


def gone(case: Case, world: World) -> Verdict | None:  # noqa: ARG001
    """The repeated FIN met no TIME_WAIT."""
    found = case.finding("rst_after_time_wait_loss")
    if found is None:
        return unseen(case)
    end = case.view.ends[0 if found.side == SIDES[CLIENT] else 1]
    fins = [s for s in end.peer.segments if s.fin]
    rst = next((s for s in end.segments if s.rst and fins and s.frame > fins[-1].frame), None)
    if rst is None or len(fins) < 2:
        return None
    entered = end.entered(State.TIME_WAIT)
    kept = rst.time - entered.time if entered else rst.time - fins[0].time
    usual = end.profile.time_wait.usual
    return Verdict(
        85,
        "likely",
        (
            f"{end.peer.name} repeated its FIN, so the last ACK was lost ({case.frames(*fins)})",
            (
                f"{end.name} answered the repetition with RST ({case.frames(rst)}): its TIME_WAIT was gone "
                f"{span(kept)} after it began, where {usual:g} s are usual"
            ),
        ),
        f"{end.name} did not keep its TIME_WAIT: {span(kept)} after the last ACK a repeated FIN met RST",
        against=("a living TIME_WAIT answers a repeated FIN with ACK (RFC 9293 3.10.7.4)",),
        severity="low",
        where=SIDES[end.side],
        at=rst,
        amount=kept,
    )


def unseen(case: Case) -> Verdict | None:
    """The repeated FIN met RST, and the ACK of the first was lost before this point: it may never have been sent."""
    for end in case.view.ends:
        rst = next((s for s in end.segments if s.rst), None)
        if rst is None:
            continue
        own = next((s for s in end.segments if s.fin), None)
        fins = [s for s in end.peer.segments if s.fin]
        if own is None or len(fins) < 2 or not rst.reply_rst or not rst.frame > fins[-1].frame > own.frame:
            continue
        if any(s.rst and s.frame < rst.frame for s in end.peer.segments):
            continue  # that ended it (RFC 1337)
        if fins[0].ack < own.end or any(s.ack >= fins[0].end for s in end.segments if s.frame < rst.frame):
            continue
        kept = rst.time - fins[0].time
        return Verdict(
            45,
            "possible",
            (
                (
                    f"{end.name} had closed ({case.frames(own)}); {end.peer.name} closed too and repeated its FIN "
                    f"({case.frames(*fins)})"
                ),
                f"{end.name} answered the repetition with RST, {span(kept)} after the first ({case.frames(rst)})",
                "no ACK of the first FIN passed here: it was lost on the way, or the connection was gone even then",
            ),
            f"{end.name} no longer knew the connection {span(kept)} after the FIN of {end.peer.name}: no TIME_WAIT "
            "was kept",
            alternatives=("orphan_timed_out",),
            severity="low",
            where=SIDES[end.side],
            at=rst,
            amount=kept,
        )
    return None


def exhausted(case: Case, world: World) -> Verdict | None:
    """A client that meets its own connections in TIME_WAIT."""
    found = [f for f in world.found("port_exhaustion_suspected") if f.conn_id is not None]
    ours = next((f for f in found if _goes_there(f.conn_id, case, world)), None)
    if ours is None or not case[C_INCARNATION]:
        return None
    again = [c for c in world.cases if c.service == case.service and c.client_host == case.client_host]
    return Verdict(
        75,
        "likely",
        (
            (
                f"{case.client.name} came again to {case.service_text} ({case.frames(case[C_FIRST_FRAME])}), soon "
                "after its last connection there"
            ),
            f"{sum(world.alike(c) for c in again)} connections went that way",
        ),
        ours.message,
        where="client",
        severity=ours.severity,
    )


def _goes_there(conn_id: int | None, case: Case, world: World) -> bool:
    """Whether a connection went from this case's client to its service."""
    other = world.by_id.get(-1 if conn_id is None else conn_id)
    return other is not None and (other.client, other.service) == (case.client_host, case.service)


CAUSES = (
    Cause(
        name="close_wait_leak",
        family="close",
        where="server",
        severity="high",
        summary="An application does not close a socket whose peer has closed: sockets pile up in CLOSE_WAIT until it "
        "has no descriptors left.",
        predicts=("the FIN is acknowledged at once, and no FIN of its own follows, for minutes",),
        forbids=("data or a FIN from that side later", "silence on the FIN itself"),
        look_alikes={
            "fin_wait_2_stuck": "the same hang seen where nothing shows that the other side still holds it",
            "peer_vanished": "the FIN itself is not acknowledged",
            "capture_incomplete": "the capture lacks frames of these connections",
        },
        explains=frozenset({"close_wait_leak", "stuck_close_wait", "stuck_fin_wait_2", "half_close", "vanished"}),
        next_step="on {server_host}: ss -tnp state close-wait; the process it names does not close() after read() "
        "returned 0",
        weigh=leak,
        word=leaks,
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
            end 400
        """,
        look_alike=CLOSED_BY_CLIENT + "            end 400\n",
    ),
    Cause(
        name="fin_wait_2_stuck",
        family="close",
        where="server",
        severity="medium",
        summary="One side has closed and its FIN was acknowledged; the other side never closes. An open socket waits "
        "in FIN_WAIT_2 for ever, an orphan for tcp_fin_timeout.",
        predicts=("FIN, its ACK, and then nothing",),
        forbids=("a FIN from the other side",),
        look_alikes={"close_wait_leak": "the other side is known to be there and to hold the connection in CLOSE_WAIT"},
        explains=frozenset({"stuck_fin_wait_2", "half_close"}),
        next_step="on {client_host}: ss -tno state fin-wait-2; on {server_host}: ss -tnp state close-wait",
        weigh=hangs,
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
            end 80
        """,
        look_alike=CLOSED_BY_CLIENT + "            end 400\n",
    ),
    Cause(
        name="orphan_timed_out",
        family="close",
        where="server",
        severity="low",
        summary="One side closed both directions and its system gave up the orphan in FIN_WAIT_2 after its time-out; "
        "the other side closed, or sent, later and met RST.",
        predicts=("a FIN or data long after the other's FIN is answered at once by RST",),
        forbids=("an ACK for it", "an RST within a second of the FIN"),
        look_alikes={
            "closed_with_unread_data": "data met RST at once after the close",
            "time_wait_gone": "a repeated FIN met RST: the first had been acknowledged",
            "reused_after_close": "a new request was sent on a connection that the other side had closed",
            "endpoint_restarted": "no FIN had been sent before",
            "idle_timeout_in_path": "no FIN had been sent before",
        },
        explains=frozenset(
            {"close_wait_slow", "fin_wait_2_lifetime", "half_close", "reply_rst", "rst_after_fin_wait_2_timeout"}
        ),
        next_step="find out why {server} closes so late (ss -tnp state close-wait); sysctl net.ipv4.tcp_fin_timeout "
        "is how long an orphan waits",
        weigh=orphan,
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < .  1:1(0)     ack 102
            66.00 < F. 1:1(0)     ack 102
            66.01 > R  102:102(0)
        """,
        look_alike=CLOSED_BY_CLIENT,
    ),
    Cause(
        name="time_wait_gone",
        family="close",
        where="client",
        severity="low",
        summary="A TIME_WAIT did not last: too many of them (tcp_max_tw_buckets), a restart, or a balancer between. "
        "The peer's repeated FIN met RST.",
        predicts=("the FIN is repeated although its ACK was sent, and the repetition meets RST",),
        forbids=("an ACK for the repeated FIN",),
        look_alikes={
            "orphan_timed_out": "the FIN came for the first time",
            "closed_with_unread_data": "data met RST",
            "endpoint_restarted": "the connection had not been closed",
        },
        explains=frozenset({"fin_retransmission", "last_ack_lost", "reply_rst", "rst_after_time_wait_loss"}),
        next_step="on {client_host}: nstat -az TcpExtTCPTimeWaitOverflow; sysctl net.ipv4.tcp_max_tw_buckets",
        weigh=gone,
        example=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < F. 1:1(0)     ack 102
            1.020 > .  102:102(0) ack 2
            1.250 < F. 1:1(0)     ack 102
            1.260 > R  2:2(0)
        """.replace("R  2:2(0)", "R  102:102(0)"),
        look_alike=HANDSHAKE
        + """
            1.000 > F. 101:101(0) ack 1
            1.010 < F. 1:1(0)     ack 102
            1.020 > .  102:102(0) ack 2
            1.250 < F. 1:1(0)     ack 102
            1.260 > .  102:102(0) ack 2
        """,
    ),
    Cause(
        name="port_exhaustion_by_time_wait",
        family="close",
        where="client",
        severity="medium",
        summary="A client opens and closes connections to one service so fast that its local ports are used up by its "
        "own TIME_WAITs: connect() fails with EADDRNOTAVAIL, or a port is used again too early.",
        predicts=("the same local ports come round again within 2MSL, many of them",),
        forbids=("a few ports used again",),
        look_alikes={"port_in_time_wait": "one port, by an application that binds it"},
        explains=frozenset({"port_exhaustion_suspected", "reuse_before_2msl", "time_wait_reopen"}),
        next_step="on {client_host}: ss -tan state time-wait | wc -l; keep connections open, let the server close, "
        "widen net.ipv4.ip_local_port_range, or net.ipv4.tcp_tw_reuse=1",
        weigh=exhausted,
        example=many(20, CLOSED_BY_CLIENT) + "\nisn 500000 900000\n" + many(20, CLOSED_BY_CLIENT, start=5),
        look_alike=many(3, CLOSED_BY_CLIENT) + "\nisn 500000 900000\n" + many(3, CLOSED_BY_CLIENT, start=5),
    ),
)
