"""Causes that lie in the capture: frames that it lacks, has twice, has in disorder, or of one direction only."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from tcptrace_fsm.causes.cause import Cause, Sufferer, Verdict
from tcptrace_fsm.causes.delivery import two_beginnings
from tcptrace_fsm.causes.world import HOLES
from tcptrace_fsm.findings.capture_gaps import one_sided
from tcptrace_fsm.findings.evidence import HANDSHAKE
from tcptrace_fsm.findings.lacking import may_skip_packets
from tcptrace_fsm.findings.rule import mask
from tcptrace_fsm.kernels.layout import (
    BASE_SYN,
    C_FIRST_FRAME,
    C_LAST_FRAME,
    C_MARKS,
    C_ROLE_BASIS,
    C_SYN_ACK_TIME,
    C_SYN_TIME,
    E_BASE_KNOWN,
    E_FIN,
    E_HOLES,
    E_NEXT,
    E_RETRANSMITTED_BYTES,
    E_SEGMENTS,
    E_UNIQUE,
    MARK_CAPTURE_DUPLICATE,
    MARK_TIME_BACK,
    ROLE_SYN_ACK,
)
from tcptrace_fsm.text.counts import count
from tcptrace_fsm.text.durations import span

if TYPE_CHECKING:
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World
    from tcptrace_fsm.core.finished import Finding

__all__ = ["CAUSES"]


def hole_of(case: Case) -> Finding | None:
    """The finding that bytes which arrived are missing; not of what was under way when the capture began."""
    finding = case.finding(*HOLES)
    if finding is None or not case.both_directions:
        return None
    if came_after_all(case):
        return None
    early = [s for s in case.segments if s.time <= finding.time]
    if case.midstream and early and not any(s.length for s in early) and len({s.side for s in early}) == 1:
        return None  # ACKs of data that had passed before
    return finding


def came_after_all(case: Case) -> bool:
    """Whether the capture has each byte that either end sent, from SYN on: an ACK only stands before what it covers."""
    ends = case.view.ends
    return all(
        end[E_BASE_KNOWN] == BASE_SYN
        and not end[E_HOLES]
        and not end[E_RETRANSMITTED_BYTES]
        and end[E_NEXT] - 1 - (end[E_FIN] >= 0) <= end[E_UNIQUE]
        for end in ends
    ) and not any(map(may_skip_packets, ends))


def lacks(case: Case, world: World) -> Verdict | None:
    """Bytes that arrived are not in the capture."""
    finding = hole_of(case)
    if finding is None:
        return None
    alike = world.once("holes", lambda: sum(world.alike(c) for c in world.cases if hole_of(c) is not None))
    which = f"{case.frames(*finding.frames)} of connection {case.conn_id}"
    evidence = [
        f"bytes that were acknowledged are not in the capture ({which})",
        f"{alike} of {world.total} connections have such holes",
    ]
    if world.lost:
        evidence.append(f"the capturing machine says so itself: {world.lost}")
    return Verdict(
        30,
        "likely",
        tuple(evidence),
        f"the capture lacks frames that did arrive, in {alike} of {world.total} connections: what it does not show of "
        "them proves nothing",
        against=("bytes that were lost on the path would not be acknowledged",),
    )


def twice(case: Case, world: World) -> Verdict | None:  # noqa: ARG001
    """Frames that the capture holds more than once."""
    # What only the farther of two points shows stands once in its capture, and late in the order of what was sent.
    copies = [s for s in case.segments if s.has(MARK_CAPTURE_DUPLICATE) and not s.unsent]
    if not copies or two_beginnings(case) is not None:
        return None  # or what is one packet cannot be told
    return Verdict(
        25,
        "likely",
        (f"the same packets stand in the capture more than once ({case.frames(*copies)})",),
        f"the capture holds frames more than once ({count(len(copies), 'copy', 'copies')} in connection "
        f"{case.conn_id}): it was taken on several interfaces, or at a mirror of both directions",
        against=("a sender that repeats waits for a timer or for duplicate ACKs first",),
        at=copies[0],
    )


def one_way(case: Case, world: World) -> Verdict | None:
    """One direction of connections that have two."""
    if case.both_directions or "one_sided" not in world.kinds or world.drops_frames:
        return None
    if not one_sided(case.view.words, array("q", [case.view.base])):
        return None  # nothing shows that the other end said anything
    finding = world.found("one_sided")[0]
    end = next(e for e in case.view.ends if e[E_SEGMENTS])
    return Verdict(
        30,
        "likely",
        (
            (
                f"of connection {case.conn_id} there are {end[E_SEGMENTS]:,} segments of {end.name} and none of its "
                f"peer ({case.frames(case.segments[0] if case.segments else None)})"
            ),
        ),
        finding.message,
        against=("segments that acknowledge data show that the other direction was there",),
    )


def disordered(case: Case, world: World) -> Verdict | None:  # noqa: ARG001
    """Frames that do not stand in the order of their times, or of what caused them."""
    if not case[C_MARKS] & mask(MARK_TIME_BACK):
        return before_its_cause(case)
    return Verdict(
        25,
        "likely",
        (
            (
                f"frames of connection {case.conn_id} are stamped earlier than frames before them "
                f"({case.frames(case[C_FIRST_FRAME], case[C_LAST_FRAME])})"
            ),
        ),
        f"the capture's frames are not in the order of their times (connection {case.conn_id} for one): taken on "
        "several interfaces or queues, or its clock was set",
    )


def before_its_cause(case: Case) -> Verdict | None:
    """An answer stands before what it answers: the directions were stamped by different queues, cards or clocks."""
    syns = case[C_ROLE_BASIS] == ROLE_SYN_ACK and 0 <= case[C_SYN_ACK_TIME] < case[C_SYN_TIME]
    early = case.finding("ack_unseen") if came_after_all(case) else None
    if not syns and early is None:
        return None
    evidence = []
    if syns:
        lead = span(case[C_SYN_TIME] - case[C_SYN_ACK_TIME])
        evidence.append(
            f"the SYN+ACK is stamped {lead} before its SYN ({case.frames(*[s for s in case.segments if s.syn][:2])})"
        )
    if early is not None:
        evidence.append(
            f"ACKs stand before the bytes that they acknowledge, which all came ({case.frames(early.frame)})"
        )
    return Verdict(
        28,
        "likely",
        tuple(evidence),
        f"answers stand in the capture before what they answer (connection {case.conn_id} for one): the two directions "
        "were taken by several queues or interfaces, or two clocks",
    )


def several(sufferers: list[Sufferer], world: World) -> str:  # noqa: ARG001
    """The message of the worst."""
    return max(sufferers, key=lambda s: len(s.case.segments)).verdict.message


CAUSES = (
    Cause(
        name="capture_incomplete",
        family="capture",
        where="capture",
        severity="low",
        summary="The capture lacks frames that did arrive: its machine could not keep up, a filter left them out, or "
        "part of the traffic takes another way.",
        predicts=("receivers acknowledge bytes that the capture does not have",),
        forbids=("receivers that lack these bytes too",),
        look_alikes={"path_loss": "the receiver lacks the bytes too: duplicate ACKs, SACK"},
        explains=frozenset({"ack_unseen", "capture_drop", "seq_gap"}),
        next_step="capture again with a larger buffer (tcpdump -B 65536 -s 128), without a filter on flags or length; "
        "tcpdump says at its end how many packets the kernel dropped",
        weigh=lacks,
        group="capture",
        word=several,
        example=HANDSHAKE
        + """
            0.040 < P. 1:201(200)       ack 101
            0.050 > .  101:101(0)       ack 201
            0.060 < P. 1661:1861(200)   ack 101
            0.070 > .  101:101(0)       ack 1861
            0.080 < P. 3321:3521(200)   ack 101
            0.090 > .  101:101(0)       ack 3521
            0.100 < P. 5000:5200(200)   ack 101
            0.110 > .  101:101(0)       ack 5200
            0.120 > F. 101:101(0)       ack 5200
            0.130 < F. 5200:5200(0)     ack 102
            0.140 > .  102:102(0)       ack 5201
        """,
        look_alike=HANDSHAKE
        + """
            0.040 < P. 1:201(200)       ack 101
            0.050 > .  101:101(0)       ack 201
            0.060 < P. 401:601(200)     ack 101
            0.070 > .  101:101(0)       ack 201   <sack 401:601>
            0.270 < P. 201:401(200)     ack 101
            0.280 > .  101:101(0)       ack 601
        """,
    ),
    Cause(
        name="capture_duplicated",
        family="capture",
        where="capture",
        severity="info",
        summary="The capture holds frames more than once: all interfaces of a router, a mirror port of both "
        "directions, two captures put together.",
        predicts=("the same packet again within milliseconds, with the same IP id",),
        forbids=("a wait of a timer before the copy",),
        look_alikes={},
        explains=frozenset({"duplicate_capture"}),
        next_step="editcap -d CAPTURE OUT removes copies; capture on one interface",
        weigh=twice,
        group="capture",
        word=several,
        example="""
            0.000 > S  0:0(0)           id 7
            0.0001 > S  0:0(0)          id 7
            0.010 < S. 0:0(0)     ack 1 id 9
            0.0101 < S. 0:0(0)    ack 1 id 9
            0.020 > .  1:1(0)     ack 1 id 8
            0.0201 > .  1:1(0)    ack 1 id 8
            0.030 > F. 1:1(0)     ack 1 id 10
            0.0301 > F. 1:1(0)    ack 1 id 10
            0.040 < F. 1:1(0)     ack 2 id 11
            0.0401 < F. 1:1(0)    ack 2 id 11
            0.050 > .  2:2(0)     ack 2 id 12
            0.0501 > .  2:2(0)    ack 2 id 12
        """,
        look_alike="""
            0.000 > S  0:0(0)           id 7
            1.000 > S  0:0(0)           id 8
            1.010 < S. 0:0(0)     ack 1 id 9
            1.020 > .  1:1(0)     ack 1 id 9
            1.030 > F. 1:1(0)     ack 1 id 10
            1.040 < F. 1:1(0)     ack 2 id 11
            1.050 > .  2:2(0)     ack 2 id 12
        """,
    ),
    Cause(
        name="capture_one_sided",
        family="capture",
        where="capture",
        severity="low",
        summary="The capture holds one direction of connections that have two: the other takes another way, or the "
        "mirror port copies one.",
        predicts=("segments that acknowledge data which never pass",),
        forbids=("segments of both ends",),
        look_alikes={"capture_incomplete": "some of both directions is there", "peer_vanished": "both were heard once"},
        explains=frozenset({"ack_unseen", "excessive_unacked", "one_sided", "seq_gap"}),
        next_step="capture at the host itself, or mirror both directions; asymmetric routes want two capture points",
        weigh=one_way,
        group="capture",
        word=several,
        example="".join(
            f"""
            port {40000 + n} 80
            {n}.010 < S. 0:0(0)     ack 1
            {n}.030 < .  1:1(0)     ack 101
            {n}.040 < P. 1:201(200) ack 101
            {n}.050 < F. 201:201(0) ack 101
            {n}.070 < .  202:202(0) ack 102
            """
            for n in range(8)
        ),
        look_alike=HANDSHAKE,
    ),
    Cause(
        name="capture_disordered",
        family="capture",
        where="capture",
        severity="info",
        summary="The capture's frames are not in the order of their times, or stand behind frames that were caused by "
        "them.",
        predicts=("stamps that run backwards",),
        forbids=("stamps in order",),
        look_alikes={},
        explains=frozenset({"syn_synack_reversed", "timestamp_regression"}),
        next_step="reordercap CAPTURE OUT sorts by time",
        weigh=disordered,
        group="capture",
        word=several,
        example=HANDSHAKE
        + """
            0.040 < P. 1:201(200)   ack 101
            0.025 > .  101:101(0)   ack 201
            0.050 < P. 201:401(200) ack 101
            0.060 > .  101:101(0)   ack 401
            end 20
        """,
        look_alike=HANDSHAKE
        + """
            0.040 < P. 1:201(200)   ack 101
            0.045 > .  101:101(0)   ack 201
            0.050 < P. 201:401(200) ack 101
            0.060 > .  101:101(0)   ack 401
            end 20
        """,
    ),
)
