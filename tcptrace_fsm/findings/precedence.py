"""Findings that exclude each other: of those about one thing, the strongest proof stays.

Each rule looks at a connection for itself, so two of them may explain the same segment in ways that cannot both be
true. Which explanation rests on more is declared here, and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tcptrace_fsm.core.finished import Finding

__all__ = ["EXCLUSIONS", "RESETS", "Exclusion", "reconciled"]

RESETS = (
    "rst_injection_suspected",
    "rst_ignored",
    "rst_seq_inexact",
    "rst_out_of_window",
    "rst_after_time_wait_loss",
    "rst_after_fin_wait_2_timeout",
    "rst_on_late_data",
    "rst_in_handshake",
    "connection_refused",
    ("retransmission_timeout_abort", "user_timeout_abort", "persist_timeout_abort"),
    "half_open_discovered",
    "rst_instead_of_ack_of_fin",
    "close_with_unread_data",
    "rst_after_own_fin",
    "linger_zero_close",
    "abort_rst",
    "reply_rst",
    "rst_no_session",
)
"""Why an RST was sent: of two answers about one RST, the earlier one in this list rests on more.

What stands together in brackets may be true at once.
"""


class Exclusion(NamedTuple):
    """A kind of finding that leaves no room for others.

    Attributes
    ----------
    kind : str
        The stronger proof.
    others : frozenset of str
        What cannot be true beside it.
    about : str
        What both must be about: "frame", "side" or "connection".
    """

    kind: str
    others: frozenset[str]
    about: str


def chain(*ranks: str | tuple[str, ...], about: str = "frame") -> tuple[Exclusion, ...]:
    """Kinds of which each excludes all that follow it."""
    grouped = [(rank,) if isinstance(rank, str) else rank for rank in ranks]
    return tuple(
        Exclusion(kind, frozenset(kind for later in grouped[i + 1 :] for kind in later), about)
        for i, rank in enumerate(grouped[:-1])
        for kind in rank
    )


EXCLUSIONS = (
    *chain(*RESETS),
    # Who has closed for both directions has not closed one only.
    Exclusion("rst_on_late_data", frozenset({"half_close"}), "side"),
    Exclusion("rst_after_fin_wait_2_timeout", frozenset({"half_close"}), "side"),
    # Numbers that do not fit tell more of a segment than that it came again, or that something is missing before it.
    Exclusion("fin_seq_changed", frozenset({"fin_retransmission", "rto_retransmission"}), "frame"),
    Exclusion("synack_ack_changed", frozenset({"synack_retransmission"}), "frame"),
    Exclusion("synack_bad_ack", frozenset({"synack_retransmission"}), "frame"),
    Exclusion("handshake_ack_invalid", frozenset({"ack_unseen", "seq_gap"}), "frame"),
    Exclusion("optimistic_ack", frozenset({"ack_unseen", "seq_gap"}), "frame"),
    Exclusion("syn_answered_by_ack", frozenset({"ack_of_unsent_data"}), "frame"),
    # Its timestamp shows that it was held back: nobody sent it for want of an ACK.
    Exclusion("old_duplicate_segment", frozenset({"last_ack_lost", "spurious_retransmission"}), "frame"),
    # What passed here was not lost before it.
    Exclusion("lost_after_v", frozenset({"lost_before_v"}), "frame"),
    # Who has closed after all is not stuck, and who was told that nobody is there was answered.
    Exclusion("close_wait_slow", frozenset({"stuck_close_wait"}), "side"),
    Exclusion("connection_refused", frozenset({"syn_no_response", "half_open_timeout"}), "connection"),
    Exclusion("half_open_timeout", frozenset({"syn_no_response"}), "connection"),
    Exclusion("keepalive_death", frozenset({"keepalive_unanswered"}), "side"),
    # Whose data go on behind its FIN has not closed, or that FIN was not its own.
    Exclusion("data_beyond_fin", frozenset({"half_close"}), "side"),
)
STRONGER = frozenset(exclusion.kind for exclusion in EXCLUSIONS)


def subject(finding: Finding, about: str) -> int | str | None:
    """What a finding is about; None where it does not say."""
    return {"frame": finding.frame, "side": finding.side, "connection": finding.conn_id}[about]


def may_exclude(kinds: set[str]) -> bool:
    """Whether of findings of these kinds one may exclude another, or one that is like it."""
    return any(kind in kinds and kinds & others for kind, others, _ in EXCLUSIONS)


def reconciled(findings: list[Finding]) -> list[Finding]:
    """The findings about one connection without those that a stronger one of them excludes."""
    if len(findings) < 2:
        return findings
    kinds = {f.kind for f in findings}
    if kinds.isdisjoint(STRONGER):
        return findings
    dropped: set[int] = set()
    for kind, others, about in EXCLUSIONS:
        if kind not in kinds or not kinds & others:
            continue
        for strong in findings:
            if strong.kind == kind and id(strong) not in dropped:
                what = subject(strong, about)
                dropped |= {
                    id(f) for f in findings if f.kind in others and what is not None and subject(f, about) == what
                }
    return [f for f in findings if id(f) not in dropped]
