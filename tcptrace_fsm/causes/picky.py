"""Causes of SYNs that are dropped for what they are: their options, timestamp, port, or place in line."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.causes.attempts import (
    RTO,
    answer_of,
    at_server,
    carried,
    features,
    harm,
    late,
    neighbours,
    opened_late,
    syns_of,
    waited_long,
)
from tcptrace_fsm.causes.briefs import CLIENT_OPTIONS, CLIENT_SYNS, OPENED, SYN_FLAGS
from tcptrace_fsm.causes.case import host_text
from tcptrace_fsm.causes.cause import Cause, Verdict
from tcptrace_fsm.causes.stall import REPEATED
from tcptrace_fsm.findings.evidence import older
from tcptrace_fsm.findings.rule import SECOND, span
from tcptrace_fsm.kernels.layout import (
    C_FLAGS,
    C_MARKS,
    C_OPENING,
    C_SYN_ACK_TIME,
    CF_DATA_IN_SYN,
    MARK_SYN_AGAIN,
    MILLISECOND,
    OPENING_REFUSED,
    OPENING_UNANSWERED,
    SERVER,
)

if TYPE_CHECKING:
    from tcptrace_fsm.causes.briefs import Brief, Briefs
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World
    from tcptrace_fsm.findings.rule import Segment
    from tcptrace_fsm.findings.survey import Name

__all__ = ["CAUSES"]

FEW = 6  # SYNs whose timestamps rise one after the other, once in 720 times by chance
MOST_TIME_WAIT = 240 * SECOND  # 2 MSL of RFC 9293
EXPLAINED = frozenset({"syn_no_response", "syn_retry_exhausted", "syn_retransmission", "syn_isn_changed"})


def failed_or_late(case: Case) -> bool:
    """A SYN had to be repeated, or had no answer."""
    if case[C_OPENING] == OPENING_UNANSWERED:
        return waited_long(case)
    return bool(case[C_MARKS] >> MARK_SYN_AGAIN & 1)


def at_once(b: Brief) -> bool:
    """Whether its first SYN was answered."""
    return b.opened and b.client_syns == 1 and b.syn_ack_time >= 0


class Asked(NamedTuple):
    """How the SYNs to a service fared, by what they carried.

    Attributes
    ----------
    good : Briefs
        Connections whose first SYN was answered.
    carried : set of frozenset of str
        What these SYNs carried.
    others : dict of frozenset of str to int
        What those of the others carried, and how many of each.
    late : list of Brief
        Of the others those of which only a repetition was answered.
    """

    good: Briefs
    carried: set[frozenset[str]]
    others: Counter[frozenset[str]]
    late: list[Brief]


def asked(service: Name, world: World) -> Asked:
    """The same, worked out once for a service."""

    def make() -> Asked:
        everyone = world.to_service(service)
        columns = [everyone.column(word) for word in (C_OPENING, CLIENT_SYNS, C_SYN_ACK_TIME)]
        quick = [how in OPENED and syns == 1 and time >= 0 for how, syns, time in zip(*columns, strict=True)]
        good, rest = everyone.those(quick), everyone.those([not is_so for is_so in quick])
        again = rest.those([syns > 1 for syns in rest.column(CLIENT_SYNS)])
        return Asked(good, set(carried_by(good)), carried_by(rest), [b for b in again if late(b)])

    return world.once(("asked", service), make)


def carried_by(some: Briefs) -> Counter[frozenset[str]]:
    """What the first SYNs of some connections carried, and how many of each."""
    found: Counter[frozenset[str]] = Counter()
    for (_, flags, options, words), those in some.by(SYN_FLAGS, CLIENT_OPTIONS, C_FLAGS):
        found[features(flags, options, bool(words & CF_DATA_IN_SYN))] += len(those)
    return found


def brief_features(b: Brief) -> frozenset[str]:
    """What the SYN of a connection carried."""
    return features(b.syn_flags, b.client_options, bool(b.flags & CF_DATA_IN_SYN))


def answered_syn(case: Case) -> tuple[list[Segment], Segment | None, Segment | None]:
    """The SYNs that had no answer, the one that had, and the answer."""
    syns, answer = syns_of(case), answer_of(case)
    if answer is None:
        return syns, None, None
    before = [s for s in syns if s.frame < answer.frame]
    meant = next((s for s in before if s.tsval >= 0 and s.tsval == answer.tsecr), before[-1] if before else None)
    return [s for s in before if meant and s.frame < meant.frame], meant, answer


# --- options ----------------------------------------------------------------------------------------------------------


def may_be_picky(case: Case) -> bool:
    """A SYN was repeated, refused, or had no answer."""
    return case[C_OPENING] == OPENING_REFUSED or failed_or_late(case)


def syn_rejected_by_option(case: Case, world: World) -> Verdict | None:
    """The SYNs that fail carry what those that are answered lack."""
    vain, meant, answer = answered_syn(case)
    if not vain:
        return None
    service = case.service
    good, fine, others, later = asked(service, world)
    guilty = carried(vain)
    if meant and answer:
        if answer.time - vain[0].time < RTO:
            return None
        guilty -= features(meant.flags, meant.options, meant.length)
    elif not good:
        return None
    for these in fine:
        guilty -= these
    if not guilty:
        return None
    what = " and ".join(sorted(guilty, key=lambda name: (name == "data", name)))
    same = sum(n for these, n in others.items() if guilty <= these)
    same += sum(b.client == case.client_host and not guilty <= brief_features(b) for b in later)
    evidence = [f"SYNs with {what} had no answer ({case.frames(*vain)})"]
    if case[C_OPENING] == OPENING_REFUSED:
        evidence = [f"the SYN with {what} was answered with RST ({case.frames(*vain)})"]
    if meant and answer:
        evidence.append(
            f"the same SYN without it was answered after {span(answer.time - meant.time)} "
            f"({case.frames(meant, answer)}), {span(meant.time - vain[0].time)} late"
        )
    if good:
        evidence.append(f"{len(good)} connections to {case.service_text} without it were answered at once")
    evidence.append(f"it went so with {same} of {same} connections whose SYN carried {what}")
    sure = same > 1 or (len(vain) > 1 and (bool(meant) or case.client_host in good.clients))
    return Verdict(
        75 if sure else 50,
        "likely" if sure else "possible",
        tuple(evidence),
        f"SYNs with {what} to {case.service_text} are dropped: {same} connections, "
        + (f"each {span(meant.time - vain[0].time)} late" if meant else "which never opened"),
        alternatives=() if sure else ("path_loss", "first_syn_dropped") if meant else ("syn_filtered",),
        severity=harm(case, world, same),
        at=vain[0],
    )


# --- timestamps -------------------------------------------------------------------------------------------------------


def concerns_stamped(case: Case) -> bool:
    """SYNs with timestamps that had no answer."""
    if case[C_OPENING] != OPENING_UNANSWERED or not waited_long(case):
        return False
    return all(s.tsval >= 0 for s in syns_of(case))


def below(tsval: int, time: int, accepted: list[Brief]) -> bool:
    """Whether a timestamp lies below the last one that had been accepted by then."""
    before = [b for b in accepted if b.first_time <= time]
    return bool(before) and older(tsval, before[-1].syn_tsval)


def stamps_tell(case: Case, world: World, accepted: list[Brief]) -> bool:
    """Whether all SYNs between two hosts that were repeated in vain have lower timestamps than those accepted."""
    alike = world.between(case.client_host, case.server_host)
    vain = [b for b in alike if b.opening == OPENING_UNANSWERED and b.client_syns > 1 and b.syn_tsval >= 0]
    return all(below(b.syn_tsval, b.first_time, accepted) for b in vain if b.first_time >= accepted[0].first_time)


def of_one_clock(a: Brief, b: Brief) -> bool:
    """Whether the timestamps of two SYNs, the second later, are of one clock of 1 ms or more (RFC 7323 5.4)."""
    ticks = (b.syn_tsval - a.syn_tsval) % (1 << 32)
    return ticks <= (b.first_time - a.first_time) // MILLISECOND * 11 // 10 + 100


def syn_rejected_by_timestamp(case: Case, world: World) -> Verdict | None:
    """SYNs whose timestamp lies below the last one accepted of the same address have no answer, others have."""

    def make() -> list[Brief]:
        return [b for b in world.between(case.client_host, case.server_host) if at_once(b) and b.syn_tsval >= 0]

    accepted = world.once(("stamped", case.client_host, case.server_host), make)
    syns = syns_of(case)
    before = [b for b in accepted if b.first_time <= syns[0].time]
    if not before:
        return None
    if any(older(b.syn_tsval, a.syn_tsval) for a, b in itertools.pairwise(accepted)):
        return None  # an older one was accepted: nobody compares them
    if not all(below(s.tsval, s.time, accepted) for s in syns):
        return None
    if not world.once(("stamps tell", case.client_host, case.server_host), lambda: stamps_tell(case, world, accepted)):
        return None
    last = before[-1]
    after = [b for b in accepted if b.first_time > syns[0].time]
    evidence = [
        f"SYNs with timestamps from {syns[0].tsval:,} upwards had no answer ({case.frames(*syns)})",
        (
            f"one with {last.syn_tsval:,} from the same address had been accepted "
            f"{span(syns[0].time - last.first_time)} before (frame {last.first_frame})"
        ),
    ]
    if after:
        evidence.append(
            f"one with {after[0].syn_tsval:,} was accepted while they were ignored (frame {after[0].first_frame})"
        )
    evidence.append(f"the timestamps of all {len(accepted)} SYNs that were accepted rise")
    # Systems that give each connection a clock of its own make stamps that rise by chance.
    clocks = any(of_one_clock(a, b) for a, b in itertools.combinations(accepted[:FEW], 2))
    sure = bool(after) or (len(accepted) > 2 and clocks) or len(accepted) > FEW
    return Verdict(
        80 if after else 70 if sure else 48,
        "likely" if sure else "possible",
        tuple(evidence),
        f"{case.service_text} ignores SYNs of {host_text(case.client_host)} whose timestamp lies below the last one "
        f"that it accepted from there ({syns[0].tsval:,} below {last.syn_tsval:,}): several machines share that "
        "address, and the server compares their clocks",
        ("others from the same address are accepted: no filter, and the host is up",),
        () if after else ("nat_ports_exhausted", "syn_filtered"),
    )


# --- every first SYN --------------------------------------------------------------------------------------------------


def first_syn_dropped(case: Case, world: World) -> Verdict | None:
    """The first SYN of nearly every connection has no answer, the second has at once."""
    vain, meant, answer = answered_syn(case)
    if not vain or meant is None or answer is None or answer.time - vain[0].time < RTO:
        return None
    answers = [s for s in case.sent(SERVER) if s.frame < meant.frame]
    if answers or case.view.icmp:
        return None  # the answer was lost, not the SYN
    beside = [b for b in world.to_service(case.service) if b.client_syns and b.syn_ack_time >= 0]
    here = len(beside) >= 3
    if not here:
        beside = [b for b in world.from_host(case.client_host) if b.client_syns and b.syn_ack_time >= 0]
    slow = [b for b in beside if late(b)]
    if len(slow) < 3:
        return None
    if 2 * len(slow) <= len(beside):
        return some_first_syns(case, world, slow, beside) if here else None
    wait = meant.time - vain[0].time
    evidence = [
        (
            f"the first SYN had no answer in {span(wait)}, the second one after {span(answer.time - meant.time)} "
            f"({case.frames(vain[0], meant, answer)})"
        ),
        f"{len(slow)} of {len(beside)} connections went so: that is no chance",
    ]
    quick = [b for b in neighbours(case, world).elsewhere if at_once(b)]
    if quick:
        evidence.append(f"{len(quick)} connections to other services opened with their first SYN")
    return Verdict(
        60,
        "likely" if 5 * len(slow) >= 4 * len(beside) else "possible",
        tuple(evidence),
        f"the first SYN of {len(slow)} of {len(beside)} connections "
        f"{'to ' + case.service_text if here else 'of ' + host_text(case.client_host)} is dropped: each opens "
        f"{span(wait)} late",
        ("both SYNs carry the same",),
        () if 5 * len(slow) >= 4 * len(beside) else ("path_loss",),
        at=vain[0],
        amount=wait,
        group=None if here else "client",
    )


def _loses_more(case: Case, world: World) -> bool:
    """Whether connections to its service lose more than SYNs."""
    return any(not c.kinds.isdisjoint(REPEATED - {"tlp_probe"}) for c in world.cases_of(case.service))


def some_first_syns(case: Case, world: World, slow: list[Brief], beside: list[Brief]) -> Verdict | None:
    """More first SYNs to a service are lost than chance takes, and nothing else is."""
    if len(slow) < 4 or 8 * len(slow) < len(beside) or at_server(case, world):
        return None
    if world.once(("losses", case.service), lambda: _loses_more(case, world)):
        return None  # a path that loses other segments, too
    vain, meant, answer = answered_syn(case)
    assert meant is not None
    assert answer is not None
    wait = meant.time - vain[0].time
    return Verdict(
        45,
        "possible",
        (
            (
                f"the first SYN had no answer in {span(wait)}, one sent again after {span(answer.time - meant.time)} "
                f"({case.frames(*vain, meant, answer)})"
            ),
            f"{len(slow)} of {len(beside)} connections to {case.service_text} went so, and no other segment was lost",
        ),
        f"the first SYN of {len(slow)} of {len(beside)} connections to {case.service_text} is dropped, by a box on the "
        f"way or a server that has no room for it: they open {span(wait)} late and more",
        ("chance would take data as well as SYNs",),
        ("accept_queue_full", "nat_ports_exhausted", "path_loss"),
        at=vain[0],
        amount=wait,
    )


CAUSES = (
    Cause(
        name="syn_rejected_by_option",
        family="opening",
        where="path",
        severity="medium",
        summary="A box on the way, or the server, drops SYNs that carry something: ECN, Fast Open, Multipath TCP, "
        "data, an option.",
        predicts=("all SYNs that carry it fail, those without it are answered",),
        forbids=("a SYN with it that is answered",),
        look_alikes={
            "first_syn_dropped": "the SYN that is answered carries the same",
            "nat_ports_exhausted": "SYNs that are alike are answered at times",
            "syn_filtered": "no SYN is answered",
            "nothing_listens": "no SYN is accepted",
            "path_loss": "it is so with a few connections only",
            "syn_rejected_by_timestamp": "the timestamp differs, not the options",
        },
        explains=EXPLAINED | {"tfo_blackhole", "tfo_data_ignored", "syn_with_data"},
        next_step="try without: sysctl net.ipv4.tcp_ecn=0 net.ipv4.tcp_fastopen=0 net.mptcp.enabled=0 on "
        "{client_host}; capture on both sides of each firewall to find which one drops them",
        concerns=may_be_picky,
        weigh=syn_rejected_by_option,
        example="""
            0.000 > S  0:517(517) <mss 1460,tfo>
            1.020 > S  0:0(0)     <mss 1460>
            1.070 < S. 0:0(0)     ack 1
            1.080 > .  1:1(0)     ack 1
            port 40001 80
            2.000 > S  0:517(517) <mss 1460,tfo>
            3.020 > S  0:0(0)     <mss 1460>
            3.070 < S. 0:0(0)     ack 1
            3.080 > .  1:1(0)     ack 1
            end 9
        """,
        look_alike="""
            0.000 > S  0:517(517) <mss 1460,tfo>
            0.050 < S. 0:0(0)     ack 518
            0.060 > .  518:518(0) ack 1
            port 40001 80
            2.000 > S  0:517(517) <mss 1460,tfo>
            3.020 > S  0:0(0)     <mss 1460>
            3.070 < S. 0:0(0)     ack 1
            3.080 > .  1:1(0)     ack 1
            end 9
        """,
    ),
    Cause(
        name="syn_rejected_by_timestamp",
        family="opening",
        where="server",
        severity="medium",
        summary="The server compares the timestamps of SYNs by address (tcp_tw_recycle and the like), and several "
        "machines with different clocks share one address: those whose clock is behind are ignored.",
        predicts=("SYNs with lower timestamps than the last accepted of that address fail, higher ones succeed",),
        forbids=("a SYN with a lower timestamp that is accepted",),
        look_alikes={
            "nat_ports_exhausted": "timestamps do not tell those that fail from the others",
            "syn_filtered": "no connection from that address opens",
            "port_in_time_wait": "the four-tuple was used before",
            "accept_queue_full": "timestamps do not tell those that fail from the others",
        },
        explains=EXPLAINED,
        next_step="on {server_host}: sysctl net.ipv4.tcp_tw_recycle (set it to 0); nstat -az TcpExtPAWSPassive",
        concerns=concerns_stamped,
        weigh=syn_rejected_by_timestamp,
        group="pair",
        example="""
            0.000 > S  0:0(0)  <ts 9000/0>
            0.010 < S. 0:0(0)  ack 1
            0.020 > .  1:1(0)  ack 1
            port 40001 80
            1.000 > S  0:0(0)  <ts 500/0>
            2.000 > S  0:0(0)  <ts 1500/0>
            4.000 > S  0:0(0)  <ts 3500/0>
            port 40002 80
            5.000 > S  0:0(0)  <ts 14000/0>
            5.010 < S. 0:0(0)  ack 1
            5.020 > .  1:1(0)  ack 1
            end 9
        """,
        look_alike="""
            0.000 > S  0:0(0)  <ts 9000/0>
            0.010 < S. 0:0(0)  ack 1
            0.020 > .  1:1(0)  ack 1
            port 40001 80
            1.000 > S  0:0(0)  <ts 500/0>
            2.000 > S  0:0(0)  <ts 1500/0>
            4.000 > S  0:0(0)  <ts 3500/0>
            port 40002 80
            5.000 > S  0:0(0)  <ts 700/0>
            5.010 < S. 0:0(0)  ack 1
            5.020 > .  1:1(0)  ack 1
            end 9
        """,
    ),
    Cause(
        name="first_syn_dropped",
        family="opening",
        where="path",
        severity="medium",
        summary="Something drops the first SYN of each connection and lets the repeated one pass: a flow table that "
        "is filled too late, a firewall that asks first, two rules that race. Each connection opens a second late.",
        predicts=(
            "nearly all connections need their SYN twice, and the second is answered at once",
            "or so many of them that chance would have taken data, too",
        ),
        forbids=("data that are lost as often",),
        look_alikes={
            "path_loss": "a few connections only, and other segments are lost too",
            "syn_rejected_by_option": "the SYN that is answered carries less",
            "accept_queue_full": "it comes with load, and the SYNs are seen at the server's host",
        },
        explains=frozenset({"syn_retransmission"}),
        next_step="capture on both sides of each box between {client_host} and {server_host}: tcpdump -ni any "
        "'tcp[tcpflags] & tcp-syn != 0 and port {server_port}'; conntrack -S shows insert_failed",
        concerns=opened_late,
        weigh=first_syn_dropped,
        example="\n".join(
            f"port {40000 + i} 80\n{2 * i}.000 > S 0:0(0)\n{2 * i + 1}.000 > S 0:0(0)\n"
            f"{2 * i + 1}.010 < S. 0:0(0) ack 1\n{2 * i + 1}.020 > . 1:1(0) ack 1"
            for i in range(4)
        ),
        look_alike="\n".join(
            f"port {40000 + i} 80\n{2 * i}.000 > S 0:0(0)\n{2 * i}.010 < S. 0:0(0) ack 1\n{2 * i}.020 > . 1:1(0) ack 1"
            for i in range(6)
        )
        + """
            port 40009 80
            20.000 > S  0:0(0)
            21.000 > S  0:0(0)
            21.010 < S. 0:0(0)  ack 1
            21.020 > .  1:1(0)  ack 1
        """,
    ),
)
