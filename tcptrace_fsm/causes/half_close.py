"""The cause of answers that do not come since the client has closed its direction."""

from __future__ import annotations

from itertools import compress
from operator import not_
from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.causes.briefs import CLIENT_BYTES, OPENED, SERVER_BYTES
from tcptrace_fsm.causes.cause import Cause, Verdict
from tcptrace_fsm.causes.talk import WORDS, last_burst
from tcptrace_fsm.findings.evidence import prompt
from tcptrace_fsm.findings.rule import SECOND, span
from tcptrace_fsm.kernels.layout import (
    C_OPENING,
    C_REQUESTS,
    C_RESPONSE_MAX,
    C_RESPONSES,
    C_WAIT_SPOKE,
    CLIENT,
    E_ACK,
    E_FIN,
    E_UNIQUE,
)

if TYPE_CHECKING:
    from array import array

    from tcptrace_fsm.causes.briefs import Brief
    from tcptrace_fsm.causes.case import Case
    from tcptrace_fsm.causes.world import World

__all__ = ["CAUSES", "left_open"]

LONG = 10 * SECOND  # the least for which an answer that may yet come is missed
PATIENCE = 30 * SECOND  # of a server that waits for its own application before it closes
REQUEST = 2_920  # bytes: what fills more than two segments is a job, a message, a file rather than a request
OFTEN = 12  # as often in vain, and never an answer, nobody asks: that is pushed
TAKERS = frozenset({514, 601, 1514, 2003, 2004, 5170, 6514, 12201, 24224})
"""Ports of services that only take: syslog, measurements, events."""


class Answers(NamedTuple):
    """Of the connections to a service that opened: how many, how many requests got no byte back, and what did."""

    opened: int
    silent: int
    first: Brief | None  # to be answered
    sent: array[int]  # bytes of each client
    got: array[int]

    @property
    def pushed(self) -> bool:
        """Whether what had no answer is more likely told than asked: who asks in vain asks the same, a few times."""
        sizes = {asked for asked, got in zip(self.sent, self.got, strict=True) if asked and not got}
        return self.first is None and (self.silent > OFTEN or len(sizes) > max(1, self.silent // 2))

    def to(self, size: int) -> bool:
        """Whether requests of this size were answered."""
        return any(compress(self.got, map(size.__eq__, self.sent)))


def answers(case: Case, world: World) -> Answers:
    """Which requests to a service were answered."""
    alike = world.to_service(case.service)
    if not set(alike.column(C_OPENING)) <= set(OPENED):
        alike = alike.opened
    alike = world.apart(alike)
    sent, got = alike.column(CLIENT_BYTES), alike.column(SERVER_BYTES)
    silent = sum(0 < asked <= REQUEST for asked in compress(sent, map(not_, got)))
    first = next((i for i, n in enumerate(got) if n), None)
    return Answers(len(alike), silent, None if first is None else alike[first], sent, got)


def unanswered_half_close(case: Case, world: World) -> Verdict | None:
    """The client closes its direction behind the request, and the server closes without a byte of answer."""
    client, server = case.client, case.server
    if case.midstream or not client[E_UNIQUE] or server[E_UNIQUE] or client[E_ACK] > max(server[E_FIN], 1):
        return None
    fin = next((s for s in client.segments if s.fin), None)
    answer = next((s for s in server.segments if s.fin or s.rst), None)
    if fin is None or answer is None or answer.ack < client[E_FIN] or any(s.rst for s in client.segments):
        return None  # FINs that cross answer nothing
    if client[E_UNIQUE] > REQUEST:
        return None  # an upload, rather than a request
    # Who closes his direction with a request does so at once; who had waited by then may have given up.
    gave_up = 0 < case[C_WAIT_SPOKE + CLIENT] < fin.time - SECOND // 5
    soon = max(2 * prompt(server), SECOND if gave_up else PATIENCE)
    if answer.time - fin.time > soon or fin.time - case.first_time > 30 * SECOND:
        return None
    others = world.once(("answers", case.service), lambda: answers(case, world))
    if others.first is None and (others.silent < 2 or answer.rst or case.service[3] in TAKERS):
        return None  # a protocol that only ever pushes looks the same
    how = "reset" if answer.rst else "closed"
    evidence = [
        (
            f"{client.name} sent {client[E_UNIQUE]:,} bytes and its FIN ({case.frames(fin)}); {server.name} "
            f"{how} {span(answer.time - fin.time)} later without a byte of answer ({case.frames(answer)})"
        ),
        f"{others.silent:,} of {others.opened:,} connections to {server.name} asked and got no byte back",
    ]
    if others.first is not None:
        got = f"{others.first.server_bytes:,} bytes"
        evidence.append(f"others were answered: connection {others.first.conn_id} got {got}")
    # Where some are answered and some are not, these may be pushes of another kind, unless the same was answered.
    another = others.first is not None and not others.to(client[E_UNIQUE])
    return Verdict(
        40,
        "possible",
        tuple(evidence),
        f"{server.name} does not answer a client that closes its direction first",
        alternatives=("aborted_by_application",) if answer.rst else ("request_unanswered",),
        severity="low" if another or gave_up or others.pushed or case.first_time == case.last_time else None,
        at=fin,
    )


def left_open(case: Case, world: World) -> Verdict | None:
    """The client closed its direction behind a request, and the server neither answers nor closes: it was not asked.

    As a cause of its own kind, of a request without an answer: that the socket stays open follows from it.
    """
    client, server = case.client, case.server
    fin = next((s for s in client.segments if s.fin), None)
    if fin is None or case.midstream or server[E_FIN] >= 0 or server[E_ACK] < client[E_FIN]:
        return None
    asked, waited = last_burst(case), case.end - fin.time
    if any(s.rst for s in case.segments) or not WORDS < asked <= REQUEST or waited < LONG:
        return None  # a few last words are a farewell, much is an upload
    if fin.time - case[C_WAIT_SPOKE + CLIENT] > SECOND // 5 or waited < 4 * case[C_RESPONSE_MAX]:
        return None  # it had waited for the answer, and gave up
    others = world.once(("answers", case.service), lambda: answers(case, world))
    if others.pushed or (others.first is None and case.service[3] in TAKERS):
        return None
    return Verdict(
        72,
        "possible",
        (
            (
                f"{client.name} sent {asked:,} bytes and its FIN behind them ({case.frames(fin)}), and {server.name} "
                f"acknowledged both"
            ),
            f"{server.name} said nothing more in {span(waited)}, and did not close either",
            f"{case[C_RESPONSES]} of {case[C_REQUESTS]} requests were answered",
        ),
        f"{server.name} acknowledged a request and the end of its client's direction, and has neither answered nor "
        f"closed for {span(waited)}",
        ("a server that takes the FIN for the end would close",),
        ("close_wait_leak",),
        at=fin,
    )


CAUSES = (
    Cause(
        name="half_close_unsupported",
        family="close",
        where="server",
        severity="medium",
        summary="A client closes its direction behind its request, as it may, and the server, or a proxy before it, "
        "takes that for the end of all: it closes without an answer.",
        predicts=("request, FIN, and the server's FIN or RST within a round trip, without a byte",),
        forbids=("an answer", "a protocol that never answers", "more than two segments of data: an upload"),
        look_alikes={
            "request_unanswered": "the client's direction stays open",
            "closed_with_unread_data": "data were unread when the RST came",
            "aborted_by_application": "it happens to clients, too, that keep their direction open",
        },
        explains=frozenset({"abort_rst", "half_close"}),
        next_step="let the client wait for the answer before it closes its direction; proxies have a setting for it "
        "(for instance 'option abortonclose' off)",
        weigh=unanswered_half_close,
        example="""
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)     ack 1
            0.020 > .  1:1(0)     ack 1
            0.021 > FP. 1:101(100) ack 1
            0.031 < .  1:1(0)     ack 102
            0.035 < F. 1:1(0)     ack 102
            0.045 > .  102:102(0) ack 2
            port 40001 80
            1.000 > S  0:0(0)
            1.010 < S. 0:0(0)     ack 1
            1.020 > .  1:1(0)     ack 1
            1.021 > FP. 1:101(100) ack 1
            1.031 < .  1:1(0)     ack 102
            1.035 < F. 1:1(0)     ack 102
            1.045 > .  102:102(0) ack 2
        """,
        look_alike="""
            0.000 > S  0:0(0)
            0.010 < S. 0:0(0)     ack 1
            0.020 > .  1:1(0)     ack 1
            0.021 > FP. 1:101(100) ack 1
            0.031 < .  1:1(0)     ack 102
            0.035 < FP. 1:51(50)  ack 102
            0.045 > .  102:102(0) ack 52
        """,
        fragile=True,
    ),
)
