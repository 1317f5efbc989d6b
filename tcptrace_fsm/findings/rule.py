"""What a rule is; also all the words that a family of rules needs, from one place.

A rule looks at one connection that is over, with the whole of it in view: the counters of its row, the logged segments
with their marks, the transitions of both endpoints. It never sees a connection that cannot concern it: ``when`` decides
that from a few words of the row, and the answer is remembered for all connections that are alike in them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from tcptrace_fsm.core.finished import Finding
from tcptrace_fsm.core.words import LOUD, SEVERITIES, SIDES
from tcptrace_fsm.findings.icmp import IcmpError
from tcptrace_fsm.findings.keys import Key, mask, notable
from tcptrace_fsm.findings.lacking import mistimed
from tcptrace_fsm.findings.needs import doubtful
from tcptrace_fsm.findings.view import Change, End, Segment, View, fault_of, median, name_of, segments_of
from tcptrace_fsm.findings.wording import SENT
from tcptrace_fsm.kernels.layout import C_ID, DOUBT_TIME
from tcptrace_fsm.tcp.machine import Basis
from tcptrace_fsm.text.counts import agreed
from tcptrace_fsm.text.durations import SECOND, span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tcptrace_fsm.findings.needs import Need
    from tcptrace_fsm.findings.wording import Detected, Wording

__all__ = [
    "SECOND",
    "SEVERITIES",
    "SIDES",
    "Change",
    "End",
    "Hit",
    "IcmpError",
    "Key",
    "Rule",
    "Segment",
    "View",
    "mask",
    "median",
    "name_of",
    "notable",
    "segments_of",
    "span",
]


class Hit(NamedTuple):
    """What a rule's detection yields.

    Attributes
    ----------
    side : int or None
        CLIENT or SERVER: the endpoint that misbehaves or suffers; None for both.
    at : Segment or Change
        What shows it: gives time and frame.
    message : str
        One sentence a person can act on, with the numbers.
    also : iterable of Segment, Change or IcmpError
        Further evidence.
    severity : str or None
        Where it differs from the rule's.
    basis : Basis or None
        What it rests on; by default the change's basis, or SENT for a segment.
    """

    side: int | None
    at: Segment | Change
    message: str
    also: Iterable[Segment | Change | IcmpError] = ()
    severity: str | None = None
    basis: Basis | None = None


_FINDING: Callable[[Iterable[Any]], Finding] = partial(tuple.__new__, Finding)  # as Finding._make, without Python


def always(_key: Key) -> bool:
    """For rules that concern any connection."""
    return True


@dataclass(frozen=True)
class Rule:
    """One kind of anomaly.

    Attributes
    ----------
    kind : str
        Its name in the catalogue; never renamed, never reused.
    category : str
        open, data, close, reset, time_wait, timer, scan or capture.
    severity : str
        info, low, medium or high.
    rfc : str
        The section that says how it should have been.
    summary : str
        What it means, in a sentence.
    evidence : str
        What must be seen, in a sentence.
    innocent : str
        What else could look like this.
    when : callable
        Key -> bool: whether connections with such a row can concern the rule at all.
    detect : callable
        View -> iterable of Hit.
    example : str
        A conversation in the notation of :mod:`tcptrace_fsm.tcp.notation` that gives exactly one finding of this kind.
    counterexample : str or tuple of str
        Conversations that look alike and give none: each class of mistaken findings has one.
    needs : tuple of Need
        What the capture must hold of a connection before the rule may speak about it.
    fragile : bool
        Whether a capture that lacks segments, or mixes two connections on the same ports, can fake it: it is low then.
    aliases : dict
        What other tools call it.
    wording : Wording or None
        For kinds that are so frequent that a kernel detects them: it finds what ``detect`` does.
    """

    kind: str
    category: str
    severity: str
    rfc: str
    summary: str
    evidence: str
    innocent: str
    when: Callable[[Key], bool]
    detect: Callable[[View], Iterable[Hit]]
    example: str
    counterexample: str | tuple[str, ...]
    needs: tuple[Need, ...] = ()
    fragile: bool = False
    aliases: dict[str, str] = field(default_factory=dict)
    wording: Wording | None = None

    @property
    def counterexamples(self) -> tuple[str, ...]:
        """All of its counterexamples."""
        return (self.counterexample,) if isinstance(self.counterexample, str) else self.counterexample

    def considers(self, key: Key) -> bool:
        """Whether connections with this key can concern it, and hold what it needs."""
        return self.when(key) and all(need.may_hold(key) for need in self.needs)

    def findings(self, view: View) -> list[Finding]:
        """What it says about a connection: nothing where the capture lacks what it needs."""
        for need in self.needs:
            if not need.holds(view):
                return []
        return [self.finding(view, hit) for hit in self.detect(view)]

    def graded(self, grade: int, doubt: int, lost: str | None) -> tuple[str, str | None]:
        """How severe it is what a kernel has detected, and the capture fault that could explain it."""
        assert self.wording is not None
        severity, artefact = self.wording.grade(grade) or self.severity, fault_of(doubt, lost)
        loud = severity in LOUD
        if loud and ((self.category != "capture" and doubt & DOUBT_TIME) or (self.fragile and lost)):
            severity = "low"  # when it was sent nobody knows, or what else was
        elif artefact and severity == "high":
            severity = "medium"
        return severity, artefact

    def word(self, found: Detected) -> str:
        """The message about what a kernel has detected."""
        assert self.wording is not None
        return agreed(self.wording.word(found))

    def worded(self, found: Detected, frames: Sequence[int], lost: str | None = None) -> Finding:
        """What a kernel has detected as a row of the anomalies table."""
        severity, artefact = self.graded(found.grade, found.doubt, lost)
        shown = tuple(frames) if len(frames) == 1 else tuple(sorted(set(frames)))
        return _FINDING(
            (found.conn_id, SIDES[found.side], found.time, found.frame, self.kind, self.category, severity, SENT,
             self.word(found), shown, self.rfc, artefact)
        )  # fmt: skip

    def finding(self, view: View, hit: Hit) -> Finding:
        """A hit as a row of the anomalies table."""
        frames = [view.shown(x.frame) for x in (hit.at, *hit.also) if x.frame is not None]
        basis = hit.basis if hit.basis is not None else hit.at.basis if isinstance(hit.at, Change) else Basis.SENT
        artefact = view.artefact
        severity = hit.severity or self.severity
        loud = severity in LOUD
        if loud and ((self.category != "capture" and mistimed(view)) or (self.fragile and doubtful(view))):
            severity = "low"
        elif artefact and severity == "high":
            severity = "medium"  # what the capture itself may have done is not shouted
        return Finding(
            view[C_ID],
            None if hit.side is None else SIDES[hit.side],
            hit.at.time,
            None if hit.at.frame is None else view.shown(hit.at.frame),
            self.kind,
            self.category,
            severity,
            basis.name.lower(),
            agreed(hit.message),
            tuple(sorted(set(frames))),
            self.rfc,
            artefact,
        )
