"""Causes of connections that one side no longer knows: forgotten on the path, restarted, vanished."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.causes.beyond import silent_beyond, still_talk
from tcptrace_fsm.causes.cause import Cause, Verdict
from tcptrace_fsm.causes.silences import QUIET, asked_at, ended_by_box, limit_text, usual_ttl
from tcptrace_fsm.causes.stall import REPEATED, stalls
from tcptrace_fsm.core.words import SIDES
from tcptrace_fsm.findings.data import in_vain, keepalives, unanswered
from tcptrace_fsm.findings.evidence import HANDSHAKE
from tcptrace_fsm.findings.forgotten import last_heard
from tcptrace_fsm.findings.rule import SECOND, mask, span
from tcptrace_fsm.kernels.layout import (
    C_CLOSING,
    C_IDLE,
    C_MARKS,
    CLOSING_NORMAL,
    CLOSING_SIMULTANEOUS,
    E_ACK_TIME,
    E_LAST_TIME,
    FATE_FOREIGN,
    MARK_KEEPALIVE,
    MARK_ZERO_WINDOW_PROBE,
    TCP_ACK,
)

if TYPE_CHECKING:
    from tcptrace_fsm.causes.briefs import Brief, Briefs
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World
    from tcptrace_fsm.findings.rule import End, Segment

__all__ = ["CAUSES", "others_reset"]

PROBES = mask(MARK_ZERO_WINDOW_PROBE, MARK_KEEPALIVE)

MOST = 1_000  # connections to look at, of those that began before a reset: the latest
ORDERLY = (CLOSING_NORMAL, CLOSING_SIMULTANEOUS)


def reply(case: Case) -> tuple[End, Segment] | None:
    """Who answered by RST that it knows no such connection, without a FIN before."""
    if any(s.fin for s in case.segments):
        return None
    for end in case.view.ends:
        rst = next((s for s in end.segments if s.rst), None)
        if rst is not None and rst.reply_rst and any(s.frame < rst.frame for s in end.segments):
            return end, rst
    return None


def others_reset(case: Case, end: End, rst: Segment, world: World) -> list[Case]:
    """Other connections of the same host that were reset in the same way at about the same time."""
    found = []
    for other in world.cases:
        if other is case or (end.side and other.server_host != case.server_host):
            continue
        if not end.side and other.client_host != case.client_host:
            continue
        answer = reply(other)
        if answer is not None and abs(answer[1].time - rst.time) < 60 * SECOND and answer[0].side == end.side:
            found.append(other)
    return found


def silence(case: Case, end: End, rst: Segment) -> int:
    """For how long nothing had been said when what an RST answers was sent, ns."""
    before = end.view.before(rst, side=end.peer.side)
    if before is not None and before.has(MARK_KEEPALIVE):
        return before.time - last_heard(end, rst)  # a probe is the first word after the silence
    return case[C_IDLE]


def probes_in_vain(end: End, rst: Segment) -> list[Segment]:
    """Keepalives that had no answer at all before the one that was answered by the RST: nobody was there meanwhile.

    What has forgotten a connection answers the first of them.
    """
    heard = last_heard(end, rst)
    return in_vain([s for s in keepalives(end.peer) if s.frame < rst.frame and s.last_time > heard])[:-1]


def all_idle(cases: list[Case], side: int) -> bool:
    """Whether each of these was reset at its first use after a minute or more: none that was at work."""
    found = [(case, reply(case)) for case in cases]
    return all(
        answer is not None and answer[0].side == side and silence(case, *answer) >= 2 * QUIET for case, answer in found
    )


def survivors(case: Case, end: End, rst: Segment, world: World) -> list[Brief]:
    """Connections of the same host that were open when this one was reset, and went on to an orderly end."""

    def make() -> Briefs:
        around = world.to_host(case.server_host) if end.side else world.from_host(case.client_host)
        closings = around.answered.column(C_CLOSING)
        return around.answered.those([how in ORDERLY for how in closings])

    known = world.once(("orderly", end.side, case.server_host if end.side else case.client_host), make)
    begun, _ = known.split(rst.time - SECOND)
    return [b for b in begun[-MOST:] if b.last_time > rst.time + SECOND]


def forgotten(case: Case, world: World) -> Verdict | None:
    """What comes after a long silence is answered by RST, or by nothing; or the silence itself is."""
    answer = reply(case)
    if answer is not None:
        return _reset_after_silence(case, answer, world)
    if (ended := ended_by_box(case)) is not None:
        return ended
    for stall in stalls(case):
        if stall.alive or stall.lasted < 2 * SECOND:
            continue
        first = stall.copies[0]
        latest = stall.peer[E_LAST_TIME]
        silence = first.time - latest
        if silence < 2 * QUIET:
            continue
        what = f"{stall.size:,} bytes" if stall.size else "its FIN"
        known = limit_text(silence)
        others = still_talk(case, stall, world)
        if others:
            known = f"connection {others[0].conn_id} between the hosts was answered meanwhile" + (
                known and f"; {known}"
            )
        return Verdict(
            60,
            "likely" if others else "possible",
            (
                f"nothing had been said for {span(silence)} when {stall.end.name} sent {what} ({case.frames(first)})",
                (
                    f"it repeated that {len(stall.copies) - 1} times in {span(stall.lasted)}, and nothing came back "
                    f"({case.frames(*stall.copies[1:])})"
                ),
                *([known] if known else []),
            ),
            f"after {span(silence)} of silence nothing that {stall.end.name} sends is answered: a box on the path has "
            "forgotten the idle connection" + ("" if others else ", or the peer is gone"),
            alternatives=("path_dead",) if others else ("peer_vanished", "path_dead"),
            at=first,
            amount=silence,
        )
    return None


def _reset_after_silence(case: Case, answer: tuple[End, Segment], world: World) -> Verdict | None:
    end, rst = answer
    asked = asked_at(end, rst)
    idle = silence(case, end, rst)
    if idle < QUIET or asked is None:
        return None
    usual = usual_ttl(end, rst)
    far = usual is not None and rst.ttl != usual and not (case.two_points and rst.unsent)
    known = limit_text(idle)
    evidence = [
        (
            f"nothing had been said for {span(idle)}; the next segment of {end.peer.name} was answered by RST "
            f"{span(rst.time - asked)} later ({case.frames(rst)})"
        ),
        "the RST has the form that a system sends for a connection that it does not know",
    ]
    if far:
        evidence.append(f"its TTL is {rst.ttl}, that of {end.name}'s other segments {usual}: it came from elsewhere")
    between = case.two_points and rst.fate == FATE_FOREIGN
    if between:
        evidence.append(f"it never left {end.name}, whose own capture lacks it")
    if known:
        evidence.append(known)
    alive = survivors(case, end, rst, world)
    if alive:
        evidence.append(f"{end.name} had not lost all: connection {alive[0].conn_id}, open at that time, went on")
    crowd = others_reset(case, end, rst, world)
    against = (
        ()
        if far or between or alive or not crowd
        else (f"{len(crowd)} others were reset within a minute: a restart fits too",)
    )
    forgot = len(crowd) > 1 and all_idle([case, *crowd], end.side)
    if forgot and not alive:
        evidence.append(f"{len(crowd)} others were reset within a minute, each at its first use after a silence")
    away = [] if far or between or alive else probes_in_vain(end, rst)
    if len(away) > 1:
        return None  # it was away, and is back: it had not forgotten the connection while it was there
    return Verdict(
        98 if between else 75 if far or alive else 72 if forgot else 60,
        "likely" if far or between or alive else "possible",
        tuple(evidence),
        f"the connection of {end.peer.name} to {end.name} had been idle for {span(idle)}, and what it sent then met "
        f"RST: something between{'' if between else ', or the far end,'} had forgotten it",
        against=against,
        alternatives=("reset_injected",) if between else ("endpoint_restarted",),
        at=rst,
        amount=idle,
    )


def restarted(case: Case, world: World) -> Verdict | None:
    """A host answers a live connection as if it had never heard of it."""
    answer = reply(case)
    if answer is None:
        return None
    end, rst = answer
    asked = asked_at(end, rst)
    if asked is None or not case.has("half_open_discovered", "reply_rst"):
        return None
    usual = usual_ttl(end, rst)
    if usual is not None and rst.ttl != usual:
        return replaced(case, end, rst, usual, world)
    if any(stall.end is end and len(stall.copies) > 3 for stall in stalls(case)):
        return None  # it had repeated something in vain: it gave the connection up
    before = [s for s in end.segments if s.frame < rst.frame]
    if before and all(s.syn_ack for s in before):
        return None  # it had offered a connection and never had one: it has given up, or forgotten, an offer
    heard_at = max([end[E_ACK_TIME], *(s.last_time for s in before if not s.rst)])
    if rst.time - heard_at < SECOND or any(s.frame > rst.frame and s.length and not s.rst for s in end.segments):
        return None  # nobody restarts within a second, and who goes on has not lost it
    crowd = others_reset(case, end, rst, world)
    alive = survivors(case, end, rst, world)
    if rst.flags & TCP_ACK and silence(case, end, rst) < QUIET and (alive or len(crowd) < 2):
        return None  # a system that knows no connection answers without ACK: its application aborted
    evidence = [
        (
            f"{end.name} answered a segment with RST after {span(rst.time - asked)} ({case.frames(rst)}): it no longer "
            "knows the connection"
        )
    ]
    if crowd:
        evidence.append(f"{len(crowd)} other connections of the host were answered so within a minute")
    away = probes_in_vain(end, rst)
    if len(away) > 1:
        evidence.append(
            f"{len(away)} keepalives before had no answer for {span(rst.time - away[0].time)} ({case.frames(*away)}): "
            "nobody was there"
        )
    doubtful = alive or (len(away) < 2 and (not crowd or all_idle([case, *crowd], end.side)))
    return Verdict(
        45 if alive or not crowd else 70,
        "possible" if doubtful else "likely",
        tuple(evidence),
        f"{end.name} has lost the connection without a word, as after a crash or restart: it answered {end.peer.name} "
        f"with RST {span(rst.time - asked)} later",
        against=(f"connection {alive[0].conn_id} of the same host went on",) if alive else (),
        alternatives=("idle_timeout_in_path", "nat_not_undone"),
        where=SIDES[end.side],
        at=rst,
    )


def replaced(case: Case, end: End, rst: Segment, usual: int, world: World) -> Verdict | None:
    """In the midst of their work connections of one host are answered by another one, which knows none of them."""
    crowd = others_reset(case, end, rst, world)
    if len(crowd) < 2 or case[C_IDLE] >= QUIET or case.two_points:
        return None
    if any(s.frame > rst.frame and s.ttl == usual for s in end.segments):
        return None  # the one that was there before still is
    return Verdict(
        55,
        "possible",
        (
            (
                f"a segment was answered by RST with TTL {rst.ttl}, where {end.name} sends with {usual} "
                f"({case.frames(rst)}): it came from elsewhere, in the form of a system that knows no such connection"
            ),
            f"{len(crowd)} other connections of the host were answered so within a minute",
        ),
        f"something else than before answers in the name of {end.name}, and knows none of its connections: the way to "
        "it has changed, or another machine has taken over its address",
        alternatives=("reset_injected", "nat_not_undone", "idle_timeout_in_path"),
        where="path",
        at=rst,
    )


def vanished(case: Case, world: World) -> Verdict | None:
    """Probes that a living system answers whatever its application does stay unanswered."""
    if (beyond := silent_beyond(case, world)) is not None:
        return beyond
    kinds = ((MARK_ZERO_WINDOW_PROBE, "probes of its shut window"), (MARK_KEEPALIVE, "keepalives"))
    if not case[C_MARKS] & PROBES:
        return None
    for end in case.view.ends:
        peer = end.peer
        for mark, name in kinds:
            wanted = mask(mark)
            probes = [s for s in end.segments if s.marks & wanted and s.time > peer[E_LAST_TIME]]
            if mark == MARK_KEEPALIVE and case.both_directions:
                probes = unanswered(end)
            elif probes:  # an echo that moves on shows an answer, though it is not here
                probes = [s for s in probes if s.tsecr == probes[-1].tsecr]
            if len(probes) < 3 or any(s.rst and s.side != end.side for s in case.segments):
                continue
            last = probes[-1]
            evidence = [
                f"{end.name} sent {len(probes)} {name} in {span(last.time - probes[0].time)} ({case.frames(*probes)})",
                f"{peer.name} answered none of them: it was last heard {span(last.time - peer[E_LAST_TIME])} before",
            ]
            if not case.both_directions:
                evidence[1] = f"no segment of {peer.name} is in the capture"
            return Verdict(
                60 if case.both_directions else 40,
                "possible",
                tuple(evidence),
                f"{peer.name} does not answer any more: {len(probes)} {name} of {end.name} in "
                f"{span(last.time - probes[0].time)} met silence",
                against=("a living system answers a probe even if its application does not read",),
                alternatives=("path_dead", "idle_timeout_in_path") if case.both_directions else ("capture_one_sided",),
                severity="medium" if case.both_directions else "low",
                where=SIDES[peer.side],
                at=probes[0],
            )
    return None


CAUSES = (
    Cause(
        name="idle_timeout_in_path",
        family="others",
        where="path",
        severity="medium",
        summary="A firewall, NAT or load balancer forgot a connection that had been idle for longer than its limit; "
        "what is sent then meets RST or silence.",
        predicts=(
            "a long silence; then the first segment is answered by RST, or never, though all went well before",
            "an RST whose TTL is not that of the far end, in answer or in the midst of the silence",
        ),
        forbids=("an answer of the far end after the silence", "keepalives that were answered"),
        look_alikes={
            "endpoint_restarted": "other connections of the host are reset at the same time, idle or not",
            "peer_vanished": "the host does not answer anybody any more",
            "path_dead": "it stops in the middle of a transfer",
            "path_loss": "repetitions get through in the end",
            "mtu_black_hole": "small segments come through",
            "aborted_by_application": "the RST answers nothing, and is from where the end's other segments are",
        },
        explains=REPEATED
        | frozenset({"abort_rst", "fin_retransmission", "half_open_discovered", "reply_rst", "stuck_fin_wait_1"}),
        next_step="send keepalives below the limit: sysctl net.ipv4.tcp_keepalive_time (with SO_KEEPALIVE), or close "
        "idle connections first; the limit stands in the settings of the NAT, firewall or balancer before {server}",
        weigh=forgotten,
        group="service",
        example=HANDSHAKE
        + """
            0.040 < P. 1:201(200)   ack 101
            0.050 > .  101:101(0)   ack 201
            400.0 > P. 101:201(100) ack 201
            400.01 < R  201:201(0)           ttl 60
        """,
        look_alike=HANDSHAKE
        + """
            0.040 < P. 1:201(200)   ack 101
            0.050 > .  101:101(0)   ack 201
            400.0 > P. 101:201(100) ack 201
            400.01 < P. 201:401(200) ack 201
            400.02 > .  201:201(0)  ack 401
        """,
    ),
    Cause(
        name="endpoint_restarted",
        family="others",
        where="server",
        severity="medium",
        summary="A host crashed, was restarted or replaced: it no longer knows its connections and answers them with "
        "RST (RFC 9293 3.5.1, half-open connections).",
        predicts=("a segment of an open connection is answered by RST with its own numbers",),
        forbids=("a FIN before", "another TTL than the host's"),
        look_alikes={
            "reset_injected": "TTL or IP id of the RST are not the host's",
            "nat_not_undone": "the host knew the connection a moment before and after",
            "peer_vanished": "nothing answers",
            "path_loss": "repetitions get through in the end, and no RST comes",
            "closed_with_unread_data": "the host had closed before",
        },
        explains=frozenset({"half_open_discovered", "reply_rst"}),
        next_step="on {server_host}: uptime, journalctl --list-boots, and the start time of the process "
        "(ps -o lstart= -p PID)",
        weigh=restarted,
        group="server",
        example=HANDSHAKE
        + """
            0.040 < P. 1:201(200)   ack 101
            0.050 > .  101:101(0)   ack 201
            9.000 > P. 101:201(100) ack 201
            9.010 < R  201:201(0)
        """,
        look_alike=HANDSHAKE
        + """
            0.040 < P. 1:201(200)   ack 101
            0.050 > .  101:101(0)   ack 201
            9.000 < R. 201:201(0)   ack 101
        """,
    ),
    Cause(
        name="peer_vanished",
        family="others",
        where="server",
        severity="medium",
        summary="The other side is gone without a word: switched off, its address moved, its network cut.",
        predicts=("keepalives or window probes are not answered, nor is anything else",),
        forbids=("any segment of it since",),
        look_alikes={
            "path_dead": "the host is alive and the path is not",
            "receiver_slow": "a living system answers probes of its shut window",
            "server_slow": "a living system acknowledges",
        },
        explains=REPEATED
        | frozenset(
            {
                "keepalive",
                "keepalive_death",
                "keepalive_schedule",
                "keepalive_unanswered",
                "persist_timeout_abort",
                "vanished",
                "zero_window",
                "zero_window_probe",
                "zero_window_stall",
            }
        ),
        next_step="ping {server_host}, and arping it on the same link; capture there if it answers",
        weigh=vanished,
        group="pair",
        example=HANDSHAKE
        + """
            0.040 < .  1:1(0)      ack 101
            60.00 > .  100:100(0)  ack 1
            70.00 > .  100:100(0)  ack 1
            80.00 > .  100:100(0)  ack 1
            90.00 > .  100:100(0)  ack 1
            end 100
        """,
        look_alike=HANDSHAKE
        + """
            0.040 < .  1:1(0)      ack 101
            60.00 > .  100:100(0)  ack 1
            60.01 < .  1:1(0)      ack 101
            70.00 > .  100:100(0)  ack 1
            70.01 < .  1:1(0)      ack 101
            end 100
        """,
    ),
)
