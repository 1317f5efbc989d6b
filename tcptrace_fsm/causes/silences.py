"""Long silences: which limits of boxes they exceed, who was asked in them, and who ends them unasked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.causes.cause import Verdict
from tcptrace_fsm.findings.evidence import hops, prompt
from tcptrace_fsm.findings.rule import SECOND, span
from tcptrace_fsm.kernels.layout import C_IDLE, E_LAST_TIME

if TYPE_CHECKING:
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.findings.rule import End, Segment

__all__ = ["QUIET", "asked_at", "ended_by_box", "limit_text", "usual_ttl"]

QUIET = 30 * SECOND  # no box on the path that keeps state forgets a connection sooner
LIMITS = (
    (60, "Azure SNAT and many proxies at 60 s"),
    (240, "Azure load balancers at 240 s"),
    (300, "many firewalls and NATs at 300 s"),
    (350, "AWS NAT gateways and network load balancers at 350 s"),
    (600, "GCP firewalls at 600 s"),
    (900, "IPVS and many NATs at 900 s"),
    (1800, "many firewalls at 1,800 s"),
    (3600, "many firewalls at 3,600 s"),
    (7200, "RFC 5382's least at 7,440 s and its kin"),
)


def limit_text(idle: int) -> str:
    """Which well-known limit a silence exceeds, in words; empty for none."""
    passed = [text for seconds, text in LIMITS if idle >= seconds * SECOND]
    return f"some boxes forget sooner: {passed[-1]}" if passed else ""


def asked_at(end: End, rst: Segment) -> int | None:
    """When the segment that the RST answers was sent; None where nothing asked for it."""
    asked = [s.last_time for s in end.peer.segments if s.frame < rst.frame]
    if end.peer[E_LAST_TIME] <= rst.time:
        asked.append(end.peer[E_LAST_TIME])
    latest = max(asked, default=None)
    return latest if latest is not None and rst.time - latest <= 2 * prompt(end) + SECOND // 5 else None


def usual_ttl(end: End, rst: Segment) -> int | None:
    """The TTL of its other segments, where they agree."""
    ttls = {s.ttl for s in end.segments if s is not rst and s.ttl >= 0}
    return ttls.pop() if len(ttls) == 1 else None


def ended_by_box(case: Case) -> Verdict | None:
    """In a long silence, asked by nobody, an RST comes from nearer than its end: a box says that it forgets."""
    idle = case[C_IDLE]
    if idle < 2 * QUIET or case.two_points or case.midstream or any(s.fin for s in case.segments):
        return None
    end = next((end for end in case.view.ends if any(s.rst for s in end.segments)), None)
    rst = next((s for s in end.segments if s.rst), None) if end else None
    if end is None or rst is None or any(s.rst for s in end.peer.segments) or asked_at(end, rst) is not None:
        return None
    usual = usual_ttl(end, rst)
    if usual is None or hops(rst.ttl) >= hops(usual) or rst.time - end.peer[E_LAST_TIME] < 2 * QUIET:
        return None
    known = limit_text(idle)
    return Verdict(
        50,
        "possible",
        (
            (
                f"nothing had been said for {span(idle)}, and nothing asked for the RST that then came in the name of "
                f"{end.name} ({case.frames(rst)})"
            ),
            f"its TTL is {rst.ttl}, that of {end.name}'s other segments {usual}: it came from nearer",
            *([known] if known else []),
        ),
        f"something between {end.peer.name} and {end.name} ended their connection after {span(idle)} of silence",
        alternatives=("reset_injected", "aborted_by_application"),
        severity="low",  # nothing was under way
        at=rst,
        amount=idle,
    )
