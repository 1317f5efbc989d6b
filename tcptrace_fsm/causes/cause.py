"""What a cause is, what it says of a connection, and what a diagnosis is.

A finding says what was seen; a cause says why. A cause is a declaration: the connections that it concerns, what it
predicts and what it forbids, which causes look alike and what tells them apart, and what to do next. It weighs one
connection at a time, with the whole capture in view (:class:`tcptrace_fsm.causes.world.World`); connections that
suffer from the same cause together become one diagnosis.

Confidence follows one rule. ``proved``: the capture excludes every other cause. ``likely``: what the cause predicts was
seen, and it fits best. ``possible``: it fits, and nothing here can tell it from its alternatives.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.causes.briefs import NEARLY
from tcptrace_fsm.core.words import CONFIDENCES, LOUD, PLACES, SEVERITIES
from tcptrace_fsm.findings.keys import NEVER_OPENED
from tcptrace_fsm.findings.lacking import lacks, mistimed
from tcptrace_fsm.findings.needs import doubtful, incomplete
from tcptrace_fsm.kernels.layout import BASE_SYN, C_OPENING, C_PORTS, E_BASE, E_BASE_KNOWN, E_SYN_TSVAL
from tcptrace_fsm.text.durations import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World
    from tcptrace_fsm.findings.rule import Change, Segment
    from tcptrace_fsm.findings.view import View

__all__ = ["CONFIDENCES", "INCOMPLETE", "PLACES", "Cause", "Diagnosis", "Sufferer", "Verdict", "once_each", "surest"]

GROUPS = ("service", "pair", "client", "server", "capture")
INCOMPLETE = (
    "the capture lacks segments of the connection, has several on the same ports, or stamps them out of order: it may "
    "only look so"
)


class Verdict(NamedTuple):
    """What a cause says of one connection.

    Attributes
    ----------
    weight : int
        How well it fits, 1 to 100. Among causes that look alike, the heaviest is the answer. Say 90 and more where the
        evidence is specific (a proof), 60 where what is predicted was seen, 30 where it only fits.
    confidence : str
    evidence : tuple of str
        What was seen, each a sentence with its numbers and frames.
    against : tuple of str
        What would have been seen under another cause and was not, or what speaks against this one.
    alternatives : tuple of str
        Causes that the capture cannot exclude, likeliest first.
    message : str
        One sentence with the numbers, as of this connection alone.
    severity, where : str or None
        Where they differ from the cause's.
    at : Segment, Change or None
        The first sign of it; None for the connection's first segment.
    amount : int
        What is to be compared or summed over the connections (a delay in ns, bytes); its meaning is the cause's own.
    group : str or None
        With which others it suffers, where that differs from the cause's.
    """

    weight: int
    confidence: str
    evidence: tuple[str, ...]
    message: str
    against: tuple[str, ...] = ()
    alternatives: tuple[str, ...] = ()
    severity: str | None = None
    where: str | None = None
    at: Segment | Change | None = None
    amount: int = 0
    group: str | None = None


class Sufferer(NamedTuple):
    """A connection that suffers from a cause, and what the cause says of it."""

    case: Case
    verdict: Verdict


class Diagnosis(NamedTuple):
    """One row of the diagnoses table; see contract and :mod:`tcptrace_fsm.tables.schema` for the columns."""

    diagnosis_id: int
    cause: str
    confidence: str
    severity: str
    where: str
    service: str | None
    host: str | None
    connections: tuple[int, ...]
    count: int  # type: ignore[assignment]  # the name of the column
    of: int
    time: int
    frame: int | None
    message: str
    evidence_for: tuple[str, ...]
    evidence_against: tuple[str, ...]
    alternatives: tuple[str, ...]
    findings: tuple[str, ...]
    next_step: str


def first_message(sufferers: list[Sufferer], world: World) -> str:  # noqa: ARG001 - as a cause's word has it
    """The message of a diagnosis where the cause words none for several: that of the one that it fits best."""
    return surest(sufferers).verdict.message


def surety(sufferer: Sufferer) -> tuple[int, int, int, int]:
    """How good the reasons are for one; of equal ones the worst leads: its message, evidence and severity are shown."""
    verdict = sufferer.verdict
    loudness = SEVERITIES.index(verdict.severity) if verdict.severity else 0
    return CONFIDENCES.index(verdict.confidence), loudness, verdict.weight, verdict.amount


def once_each(sufferers: list[Sufferer], twice: Mapping[int, int]) -> list[Sufferer]:
    """Those that are no copies of a surer one: a capture may show a connection on both sides of a NAT, or in two VLANs.

    The same connection has the same ISNs, at nearly the same time; one without an answer the same SYN. Others are known
    to be ``twice`` there: the number of each copy, and that of its original.
    """
    began: dict[tuple[int, ...], list[int]] = {}
    copies, shown = set(), set()
    for s in sorted(sufferers, key=surety, reverse=True):
        original = twice.get(s.case.conn_id, s.case.conn_id)
        if original in shown:
            copies.add(s.case.conn_id)
        shown.add(original)
        client, server, time = s.case.client, s.case.server, s.case.first_time
        answered = server[E_BASE_KNOWN] == BASE_SYN
        if client[E_BASE_KNOWN] != BASE_SYN or not (answered or client[E_SYN_TSVAL] >= 0):
            continue
        syn = (0, server[E_BASE]) if answered else (s.case[C_PORTS] >> 16, client[E_SYN_TSVAL])
        times = began.setdefault((s.case[C_PORTS] & 65535, client[E_BASE], answered, *syn), [])
        if any(abs(time - other) < NEARLY for other in times):
            copies.add(s.case.conn_id)
        times.append(time)
    return [s for s in sufferers if s.case.conn_id not in copies]


def surest(sufferers: list[Sufferer]) -> Sufferer:
    """Of those that suffer from one cause, the one with the best reasons."""
    return max(sufferers, key=surety)


def any_case(case: Case) -> bool:  # noqa: ARG001
    """For causes that look at every case."""
    return True


@dataclass(frozen=True)
class Cause:
    """One cause.

    Attributes
    ----------
    name : str
        As in the list of causes; never renamed.
    family : str
        opening, data, close, others or capture.
    where : str
        Who or what has to be mended: client, server, path or capture.
    severity : str
        Of its effect on a user: a request lost, a connection that failed or hung, seconds of delay are never low.
    summary : str
        What it is, in a sentence or two.
    predicts, forbids : tuple of str
        What is seen under it, and what is never.
    look_alikes : dict
        Causes that look alike, and what tells them apart. Of these only one is the answer for a connection.
    explains : frozenset of str
        Kinds of finding that need not be printed beside it.
    next_step : str
        How to make sure or mend it: a command, a setting, a second capture point. May name ``{client}``, ``{server}``,
        ``{service}``, ``{client_host}``, ``{server_host}``, ``{server_port}`` of the first connection.
    weigh : callable
        Case, World -> Verdict or None.
    concerns : callable
        Case -> bool: a cheap test that spares the others.
    group : str
        Which connections make one diagnosis: those of one service, pair (two hosts), client, server (host) or all.
    word : callable
        Sufferers, World -> the message of a diagnosis.
    fragile : bool
        Whether a capture that lacks segments, or mixes two connections on the same ports, can fake it: it is low then,
        and possible, but for what is proved.
    example, look_alike : str
        Conversations in the notation of :mod:`tcptrace_fsm.tcp.notation`: the first gives this cause first, the second
        looks alike and does not give it (but as ``possible``).
    """

    name: str
    family: str
    where: str
    severity: str
    summary: str
    predicts: tuple[str, ...]
    forbids: tuple[str, ...]
    look_alikes: dict[str, str]
    explains: frozenset[str]
    next_step: str
    weigh: Callable[[Case, World], Verdict | None]
    example: str
    look_alike: str
    concerns: Callable[[Case], bool] = any_case
    group: str = "service"
    word: Callable[[list[Sufferer], World], str] = first_message
    profile: str = field(default="linux")
    fragile: bool = False

    def verdict(self, case: Case, world: World) -> Verdict | None:
        """What it says of a connection, or None."""
        found = self.weigh(case, world) if self.concerns(case) else None
        # Frames out of order, or a clock that was set, make spans that cannot be: what rests on one is left out.
        if found is None or any(UNKNOWN in text for text in (found.message, *found.evidence)):
            return None
        found = found._replace(severity=found.severity or self.severity)
        loud = found.severity in LOUD and found.confidence != "proved"
        # Where nothing opened, nothing more was to be seen.
        opened = case[C_OPENING] not in NEVER_OPENED
        if loud and ((opened and self.shaken_by(case.view, world)) or (self.fragile and world.drops_frames)):
            return found._replace(confidence="possible", severity="low", against=(*found.against, INCOMPLETE))
        return found

    def shaken_by(self, view: View, world: World) -> bool:
        """Whether the capture lacks too much of a connection, or knows too little of its times, for this cause."""
        if self.fragile:
            return doubtful(view)
        if self.family in {"close", "others"}:  # which rest on what was not said
            return incomplete(view) or world.drops_frames
        if self.family == "opening":
            return lacks(view)
        return self.family != "capture" and mistimed(view)


def distinct(values: Iterable[str]) -> tuple[str, ...]:
    """The values in order, each once."""
    return tuple(dict.fromkeys(values))
