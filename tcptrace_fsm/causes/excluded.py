"""Causes that findings leave no room for: what was seen of a connection decides before why it may have been.

A rule and a cause each look at a connection for themselves. Where a finding above low and a diagnosis of the same
connection cannot both be true, the first screen would contradict itself: such pairs are declared here, and nowhere
else. Which of two findings stays is declared in :mod:`tcptrace_fsm.findings.precedence`; which of two causes, in their
``look_alikes``. What a cause explains it may stand beside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.core.words import LOUD

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.cause import Cause, Verdict
    from tcptrace_fsm.core.finished import Finding

__all__ = ["EXCLUDED", "Excluded", "contradicted", "contradicts"]

GAVE_UP = frozenset(
    {"retransmission_timeout_abort", "user_timeout_abort", "persist_timeout_abort", "keepalive_death"},
)
OF_ITS_OWN = frozenset(
    {
        *("abort_rst", "close_with_unread_data", "linger_zero_close", "rst_after_own_fin"),
        *("rst_instead_of_ack_of_fin", "rst_on_late_data"),
    }
)
"""Resets by an application that had the connection."""
FORGED = frozenset({"rst_injection_suspected"})
FORGOTTEN = frozenset({"half_open_discovered"})
ANSWERED = frozenset({"connection_refused", "rst_in_handshake", "half_open_timeout", "abort_on_overflow"})
IN_VAIN = frozenset({"syn_no_response", "syn_retry_exhausted"})


class Excluded(NamedTuple):
    """Kinds of finding beside which a cause cannot be.

    Attributes
    ----------
    kinds : frozenset of str
    about : str
        What both must be about: "connection", or "frame" where a connection may have had several resets.
    """

    kinds: frozenset[str]
    about: str = "connection"


EXCLUDED: dict[str, Excluded] = {
    # Nobody is filtered, or missing, who has answered; and who opened in the end did not ask in vain.
    **dict.fromkeys(("syn_filtered", "host_unreachable", "nat_ports_exhausted"), Excluded(ANSWERED)),
    "rejected_by_icmp": Excluded(ANSWERED - {"rst_in_handshake"}),
    "nothing_listens": Excluded(frozenset({"half_open_timeout", "syn_no_response", "third_ack_lost"}) | FORGED),
    "first_syn_dropped": Excluded(IN_VAIN | {"connection_refused"}),
    **dict.fromkeys(
        ("accept_queue_full", "deferred_accept", "handshake_lost_in_path", "port_in_time_wait"),
        Excluded(frozenset({"connection_refused"})),
    ),
    # Who resets what he does not know is there.
    "peer_vanished": Excluded(FORGOTTEN | {"connection_refused"}),
    # A close that came in the end was not forgotten.
    **dict.fromkeys(
        ("close_wait_leak", "fin_wait_2_stuck"),
        Excluded(frozenset({"close_wait_slow", "rst_on_late_data", "stuck_last_ack", "stuck_closing"})),
    ),
    # An application that closes knows the connection, and does it itself.
    **dict.fromkeys(("aborted_by_application", "half_close_unsupported"), Excluded(FORGED | FORGOTTEN | GAVE_UP)),
    "closed_with_unread_data": Excluded(FORGED | FORGOTTEN | {"stuck_fin_wait_2", "stuck_close_wait"}),
    "reused_after_close": Excluded(FORGED | FORGOTTEN),
    # What nobody knows any more, no application has closed just now.
    "endpoint_restarted": Excluded(FORGED | OF_ITS_OWN, "frame"),
    "idle_timeout_in_path": Excluded(OF_ITS_OWN, "frame"),
    **dict.fromkeys(("orphan_timed_out", "time_wait_gone"), Excluded(FORGED, "frame")),
    "nat_not_undone": Excluded(OF_ITS_OWN, "frame"),
    # What somebody else has sent is nobody's close, nor the answer of a host whose timer ran out.
    "reset_injected": Excluded(
        OF_ITS_OWN | GAVE_UP | {"rst_after_fin_wait_2_timeout", "rst_after_time_wait_loss"}, "frame"
    ),
}


def contradicts(name: str, explains: Iterable[str], frame: int | None, finding: Finding) -> bool:
    """Whether a cause, first seen at a frame, cannot be true beside a finding about one of its connections."""
    excluded = EXCLUDED.get(name)
    if excluded is None or finding.kind not in excluded.kinds or finding.severity not in LOUD:
        return False
    return finding.kind not in explains and (excluded.about == "connection" or finding.frame == frame)


def contradicted(cause: Cause, verdict: Verdict, case: Case) -> bool:
    """Whether a finding about a connection leaves no room for what a cause says of it."""
    if cause.name not in EXCLUDED or EXCLUDED[cause.name].kinds.isdisjoint(case.kinds):
        return False
    at = verdict.at
    frame = None if at is None or at.frame is None else case.view.shown(at.frame)
    return any(contradicts(cause.name, cause.explains, frame, finding) for finding in case.findings)
