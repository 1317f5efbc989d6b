"""The cause of connections with two addresses: a translation applied to one direction, or to some segments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.causes.attempts import syns_of
from tcptrace_fsm.causes.cause import Cause, Verdict
from tcptrace_fsm.causes.idle import others_reset
from tcptrace_fsm.causes.injected import concerns_reset, drawn_by, round_trip
from tcptrace_fsm.findings.evidence import genuine, hops, is_copy
from tcptrace_fsm.findings.gone_on import goes_on
from tcptrace_fsm.findings.handshake import is_plain
from tcptrace_fsm.findings.rule import SECOND, span
from tcptrace_fsm.kernels.layout import (
    C_SYN_ACK_TIME,
    CLIENT,
    E_ACK_TIME,
    E_UNIQUE,
    MARK_PAWS,
    MARK_RST_DRAWN,
    MARK_SPURIOUS,
    MILLISECOND,
    SERVER,
    TCP_ACK,
)

if TYPE_CHECKING:
    from tcptrace_fsm.causes.briefs import Brief
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World
    from tcptrace_fsm.findings.rule import End, Segment

__all__ = ["CAUSES"]

NEAR = 1 << 24  # bytes that a connection may have carried before
IDLE = 30 * SECOND  # after such silence a box on the way may have forgotten the connection


def nat_not_undone(case: Case, world: World) -> Verdict | None:
    """One connection under two names."""
    return (
        answered_elsewhere(case, world)
        or data_from_elsewhere(case, world)
        or renamed(case, world)
        or disowned(case)
        or replied_to_stranger(case)
        or unknown_at_once(case, world)
    )


def answered_elsewhere(case: Case, world: World) -> Verdict | None:
    """The SYN is answered from another address, with exactly its number."""
    syns = syns_of(case)
    if not syns or any(s.side == SERVER and not s.rst for s in case.segments):
        return None
    me = world.by_id.get(case.conn_id)
    if me is None:
        return None
    host, port = case.client_host, me.client_port

    def unasked() -> list[Brief]:
        some = world.from_socket(host, port)
        answered = list(some.those([time >= 0 for time in some.column(C_SYN_ACK_TIME)]))
        return [b for b in answered if not b.client_syns or disliked(world.cases_by_id.get(b.conn_id))]

    twins = [
        b
        for b in world.once(("unasked", host, port), unasked)
        if b.server != me.server
        and (b.client_base - me.client_base) % (1 << 32) == 0
        and 0 <= b.syn_ack_time - case.first_time <= case.end - case.first_time
    ]
    if not twins:
        return None
    twin = twins[0]
    other = world.cases_by_id.get(twin.conn_id)
    answer = next((s for s in other.sent(SERVER) if s.syn_ack), None) if other else None
    rst = next((s for s in other.sent(CLIENT) if s.rst), None) if other else None
    address = other.server.name if other else f"another address (connection {twin.conn_id})"
    evidence = [
        (
            f"the SYN to {case.service_text} was followed {span(twin.syn_ack_time - syns[0].time)} later by a SYN+ACK "
            f"from {address} that acknowledges exactly its number "
            f"({case.frames(syns[0])}{'; ' + other.frames(answer) if other and answer else ''})"
        ),
    ]
    if rst and other:
        evidence.append(f"the client does not know that address and resets it ({other.frames(rst)})")
    evidence.append(f"{case.service_text} itself never answered {len(syns)} SYNs")
    return Verdict(
        96,
        "proved",
        tuple(evidence),
        f"{address} answers for {case.service_text} without being translated back: the client gets SYN+ACKs from an "
        f"address that it did not ask, and {len(syns)} SYNs stay without an answer",
        ("the service is alive: it answered", "nobody else can know the number of the SYN"),
        at=syns[0],
    )


def disliked(case: Case | None) -> bool:
    """Whether two captures show that a client asked under another name: it resets the SYN+ACK that comes to it."""
    return case is not None and case.two_points and any(s.rst and not s.flags & TCP_ACK for s in case.sent(CLIENT))


def stray_of(case: Case, side: int, world: World) -> tuple[Brief, Segment] | None:
    """A connection begun inside, in which one side sent RSTs alone, and the first of these; None for any other."""
    sent = case.sent(side)
    if not case.midstream or not sent or any(not s.rst for s in sent):
        return None
    stray = world.by_id.get(case.conn_id)
    return None if stray is None else (stray, sent[0])


def bytes_ahead(stray: Brief, other: Brief) -> tuple[int, int]:
    """How far the numbers of both sides, client and server, lie ahead of those of another connection."""
    return (stray.client_base - other.client_base) % (1 << 32), (stray.server_base - other.server_base) % (1 << 32)


def data_from_elsewhere(case: Case, world: World) -> Verdict | None:
    """The client resets data that go on with the numbers of its connection to another address."""
    found = stray_of(case, CLIENT, world)
    if found is None:
        return None
    stray, rst = found
    for mine in world.from_socket(case.client_host, stray.client_port):
        if not mine.opened or mine.server == stray.server or mine.server_port != stray.server_port:
            continue
        ahead = bytes_ahead(stray, mine)
        if mine.first_time > case.first_time or max(ahead) > NEAR:
            continue
        other = world.cases_by_id.get(mine.conn_id)
        name = other.server.name if other else f"the server of connection {mine.conn_id}"
        answered = next(iter(case.sent(SERVER)), None)
        return Verdict(
            92,
            "likely",
            (
                (
                    f"segments from {case.server.name} carry the numbers of connection {mine.conn_id} with {name}: "
                    f"{ahead[1]:,} bytes behind its SYN+ACK, and acknowledging what the client sent there "
                    f"({case.frames(answered)})"
                ),
                f"the client does not know that address and resets it ({case.frames(rst)})",
            ),
            f"{case.server.name} answers for {name} without being translated back: what it sends on connection "
            f"{mine.conn_id} meets RST",
            ("the service is alive: it answered", "nobody else can know these numbers"),
            at=answered,
        )
    return None


def known_numbers(case: Case, world: World) -> dict[int, list[Brief]]:
    """The connections to a service that opened, by the upper part of their clients' first numbers."""

    def make() -> dict[int, list[Brief]]:
        found: dict[int, list[Brief]] = {}
        for b in world.to_service(case.service).opened:
            found.setdefault(b.client_base // NEAR, []).append(b)
        return found

    return world.once(("numbers", case.service), make)


def renamed(case: Case, world: World) -> Verdict | None:
    """The server resets what goes on with the numbers of a connection that came from another address or port."""
    found = stray_of(case, SERVER, world)
    if found is None:
        return None
    stray, rst = found
    numbers = known_numbers(case, world)
    part = stray.client_base // NEAR
    for mine in (*numbers.get(part, ()), *numbers.get((part - 1) % ((1 << 32) // NEAR), ())):
        ahead = bytes_ahead(stray, mine)
        if mine.conn_id == case.conn_id or mine.first_time > case.first_time or max(ahead) > NEAR:
            continue
        other = world.cases_by_id.get(mine.conn_id)
        name = other.client.name if other else f"the client of connection {mine.conn_id}"
        if name == case.client.name:
            continue  # the same, by another way: in another VLAN, behind a tunnel
        asked = next(iter(case.sent(CLIENT)), None)
        return Verdict(
            92,
            "likely",
            (
                (
                    f"segments from {case.client.name} carry the numbers of connection {mine.conn_id} with {name}: "
                    f"{ahead[0]:,} bytes behind its SYN ({case.frames(asked)})"
                ),
                f"{case.service_text} knows no such connection and resets it ({case.frames(rst)})",
            ),
            f"a translation on the way gave connection {mine.conn_id} of {name} another name in its midst: what it "
            f"sends comes from {case.client.name}, and {case.service_text} resets it",
            ("nobody else can know these numbers",),
            at=asked,
        )
    return None


def disowned(case: Case) -> Verdict | None:
    """The client resets each SYN+ACK and repeats its SYN: it got the answer under a name that it does not know."""
    resets = []
    for rst in (s for s in case.sent(CLIENT) if s.rst and s.seq == 1 and not s.flags & TCP_ACK):
        answer = case.view.before(rst, side=SERVER)
        again = case.view.after(rst, side=CLIENT)
        if again and is_copy(again, case.view.client):
            continue
        if not any(s.syn and answer and s.frame < answer.frame for s in case.sent(CLIENT)):
            continue  # the SYN that it answers stands behind it: this one is no second try
        if answer and answer.syn_ack and answer.ack == 1 and again and again.syn and again.seq == 0:
            resets.append((answer, rst, again))
    if not resets:
        return None
    answer, rst, again = resets[0]
    return Verdict(
        80 if len(resets) > 1 else 60,
        "likely" if len(resets) > 1 else "possible",
        (
            (
                f"the client reset the SYN+ACK after {span(rst.time - answer.time)} and yet repeated its SYN "
                f"({case.frames(answer, rst, again)})"
            ),
            f"that happened {len(resets)} times",
        ),
        f"{case.client.name} resets the SYN+ACKs of {case.server.name} and goes on asking: {len(resets)} answers "
        "reached it under a name that it does not know, not translated back",
        alternatives=("endpoint_restarted",) if len(resets) < 2 else (),
        at=rst,
    )


def was_reset(end: End, rst: Segment) -> bool:
    """Whether its peer had reset the connection before ``end`` did: what comes after that belongs to none."""
    return any(s.rst and s.frame < rst.frame for s in genuine(end.peer.segments))


def replied_to_stranger(case: Case) -> Verdict | None:
    """An RST answers one segment that its receiver could not assign, from an end that was there a moment before."""
    for end in case.view.ends:
        rst = next((s for s in genuine(end.segments) if s.rst), None)
        if rst is None or was_reset(end, rst) or any(s.fin for s in case.segments if s.frame < rst.frame):
            continue
        if any(s.rst and s.flags & TCP_ACK for s in end.segments) or any(s.has(MARK_PAWS) for s in case.segments):
            continue  # it aborted; or segments overtake one another
        drew = drawn_by(end, rst)
        others = [s for s in genuine(end.segments) if not s.rst and s.frame < rst.frame]
        if (
            drew is None
            or drew.syn_ack
            or not any(is_plain(s) for s in others)
            or hops(others[-1].ttl) != hops(rst.ttl)
        ):
            continue
        way = max(round_trip(case, end), 0)
        heard_at = max(s.last_time for s in others)
        if rst.time - drew.time > 4 * way + 50 * MILLISECOND or drew.time - heard_at > IDLE:
            continue
        after = goes_on(end, rst)
        what = "repeats what had been acknowledged" if drew.has(MARK_SPURIOUS) else "lies outside of the window"
        evidence = [
            (
                f"the RST answers {case.frames(drew)} after {span(rst.time - drew.time)}: its number is the ACK of "
                f"that segment ({case.frames(rst)})"
            ),
            f"that segment {what}: a box that follows connections does not translate it",
            (
                f"the RST has come as far as the other segments of {end.name} (TTL {rst.ttl}), and has no ACK: a "
                "system answers what belongs to no connection of its own"
            ),
        ]
        if after:
            evidence.append(
                f"{end.name} went on {span(after.last_time - rst.time)} later as if it had sent none "
                f"({case.frames(after)})"
            )
        return Verdict(
            90 if after else 62,
            "possible",
            tuple(evidence),
            f"{end.name} answered one segment of {end.peer.name} with RST {span(rst.time - drew.time)} later although "
            "the connection was alive: a box between passed that segment without translating it",
            (f"{end.name} was heard {span(drew.time - heard_at)} before: no restart, no idle timeout",),
            ("endpoint_restarted",),
            at=rst,
        )
    return None


def unknown_at_once(case: Case, world: World) -> Verdict | None:
    """Ordinary data met an RST without ACK, from an end that had been there in the same second.

    Of a server that had spoken, and to several connections: a full queue has accepted none of them, and where an
    application aborts, its own RST has ACK, and gets lost once at the most. At two points that would be seen.
    """
    for end in case.view.ends:
        rst = next((s for s in genuine(end.segments) if s.rst), None)
        if rst is None or rst.flags & TCP_ACK or not rst.has(MARK_RST_DRAWN) or not end.peer[E_UNIQUE]:
            continue
        if (
            was_reset(end, rst)
            or any(s.fin for s in case.segments if s.frame < rst.frame)
            or any(s.flags & TCP_ACK for s in end.segments if s.rst)
        ):
            continue
        others = [s for s in genuine(end.segments) if not s.rst and s.frame < rst.frame]
        if not any(is_plain(s) for s in others) or hops(others[-1].ttl) != hops(rst.ttl):
            continue
        if end.side == SERVER and not (end[E_UNIQUE] and (case.two_points or others_reset(case, end, rst, world))):
            continue
        if max(s.seq for s in others) > end[E_UNIQUE] + 1:
            continue  # its numbers show that it had closed: it knew the connection, and its application reads no more
        acked = max(s.ack for s in others)
        if any(s.length or s.ack > acked for s in end.segments if s.frame > rst.frame and not s.rst):
            continue  # it had got the data, or what it had sent before was overtaken by its RST
        if any(s.rst and not s.flags & TCP_ACK and s.seq > acked for s in end.peer.segments):
            continue  # that answers an ACK of more, which the capture lacks
        heard_at = max([end[E_ACK_TIME], *(s.last_time for s in others)])
        if rst.time - heard_at > SECOND:
            continue
        return Verdict(
            52,
            "possible",
            (
                (
                    f"{end.name} answered data of {end.peer.name} with RST {span(rst.time - heard_at)} after it had "
                    f"last acknowledged something ({case.frames(rst)})"
                ),
                (
                    f"the RST has come as far as the other segments of {end.name} (TTL {rst.ttl}), and has no ACK: "
                    "a system answers what belongs to no connection of its own; an application sends FIN, or RST with "
                    "ACK"
                ),
            ),
            f"{end.name} answered data of {end.peer.name} as if it did not know the connection, of which it had spoken "
            f"{span(rst.time - heard_at)} before: they reached it under another name, or it was reset "
            "behind this point",
            ("nobody restarts within a second, though another machine may have taken over the address",),
            ("endpoint_restarted", "reset_injected", "closed_with_unread_data"),
            at=rst,
        )
    return None


def concerns_two_names(case: Case) -> bool:
    """RSTs, or SYNs that had no answer."""
    return concerns_reset(case) or not any(s.side == SERVER for s in case.segments)


CAUSES = (
    Cause(
        name="nat_not_undone",
        family="others",
        where="path",
        severity="medium",
        summary="An address translation was applied to one direction only, or not to all segments: an end gets "
        "segments under a name that it does not know, and resets them.",
        predicts=(
            "a SYN+ACK from another address that acknowledges exactly the SYN",
            "or an RST without ACK, from the end's own distance, that answers one odd segment of a live connection",
        ),
        forbids=("a service that is not alive",),
        look_alikes={
            "endpoint_restarted": "the end had not been heard for long, and does not go on",
            "reset_injected": "the RST has come another way, or answers nothing",
            "peer_vanished": "the end does not answer",
            "segments_rejected": "the odd segment is answered by an ACK, not by RST",
            "idle_timeout_in_path": "the connection had been silent for long",
            "closed_with_unread_data": "the end had closed",
            "aborted_by_application": "the RST answers nothing",
        },
        explains=frozenset(
            {
                *("syn_no_response", "syn_retry_exhausted", "unsolicited_synack", "rst_in_handshake"),
                *("half_open_discovered", "reply_rst", "rst_injection_suspected", "spurious_retransmission"),
                *("out_of_window_segment", "backscatter", "synack_retransmission", "syn_retransmission"),
            }
        ),
        next_step="on the box that translates: conntrack -L -p tcp --dport {server_port}; nstat and conntrack -S show "
        "'invalid'; sysctl net.netfilter.nf_conntrack_tcp_be_liberal=1, or drop what is invalid; make the answers "
        "return through the same box",
        concerns=concerns_two_names,
        weigh=nat_not_undone,
        example="""
            0.0000 > S  0:0(0)
            addr 10.0.0.1 10.0.0.9
            0.0002 < S. 0:0(0)   ack 1
            0.0003 > R  1:1(0)
            addr 10.0.0.1 10.0.0.2
            1.0000 > S  0:0(0)
            addr 10.0.0.1 10.0.0.9
            1.0002 < S. 0:0(0)   ack 1
            1.0003 > R  1:1(0)
            end 9
        """,
        look_alike="""
            0.0000 > S  0:0(0)
            addr 10.0.0.1 10.0.0.9
            isn 777777 5000
            0.0002 < S. 0:0(0)   ack 1
            0.0003 > R  1:1(0)
            addr 10.0.0.1 10.0.0.2
            isn 1000 5000
            1.0000 > S  0:0(0)
            3.0000 > S  0:0(0)
            end 9
        """,
    ),
)
