"""How kinds of findings are put into words that a kernel detects."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.core.columns import NO_CLIENT, NO_FRAME, NO_SERVER
from tcptrace_fsm.kernels.layout import CLIENT
from tcptrace_fsm.tcp.machine import Basis
from tcptrace_fsm.text.addresses import socket_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tcptrace_fsm.findings.keys import Key

__all__ = ["SENT", "Detected", "Unnamed", "Wording", "name_in"]

SENT = Basis.SENT.name.lower()


def name_in(words: Iterable[int], side: int) -> str:
    """``address:port`` of an endpoint, by the words that begin its connection's record, up to ``C_SERVER_HI``."""
    net, ports, client_low, server_low, client_high, server_high = words
    if side == CLIENT:
        return socket_text(client_high, client_low, ports >> 16, six=bool(net & 1))
    return socket_text(server_high, server_low, ports & 65535, six=bool(net & 1))


class Detected(NamedTuple):
    """A finding as the kernel detects it; see the record in :mod:`tcptrace_fsm.kernels.layout`."""

    asked: int
    kind: int
    side: int
    time: int
    frame: int
    count: int  # type: ignore[assignment]  # a tuple has a method of that name
    more: int
    span: int
    frames: int
    grade: int
    doubt: int
    conn_id: int
    net: int
    ports: int
    client_low: int
    server_low: int
    client_high: int
    server_high: int
    taken_frame: int

    def names(self, side: int = CLIENT) -> tuple[str, str]:
        """``address:port`` of an endpoint and of its peer."""
        six, ports = bool(self.net & 1), self.ports
        client = socket_text(self.client_high, self.client_low, ports >> 16, six=six)
        server = socket_text(self.server_high, self.server_low, ports & 65535, six=six)
        return (client, server) if side == CLIENT else (server, client)


class Unnamed(Detected):
    """The same without names and the number of a frame, which are filled in for each that is alike."""

    @property
    def taken_frame(self) -> str:  # type: ignore[override]
        """What stands in its place."""
        return NO_FRAME

    def names(self, side: int = CLIENT) -> tuple[str, str]:
        """What stands in their places."""
        return (NO_CLIENT, NO_SERVER) if side == CLIENT else (NO_SERVER, NO_CLIENT)


def as_declared(_grade: int) -> None:
    """The severity is that of the rule."""


def any_key(_key: Key) -> bool:
    """For kernels that are asked about every connection that the rule considers."""
    return True


class Wording(NamedTuple):
    """How a kind of finding is put into words where the kernel detects it.

    Attributes
    ----------
    number : int
        ``DETECT_...``: what the kernel calls it.
    word : callable
        The finding -> its message; of when and where, it may tell names and ``taken_frame``.
    grade : callable
        What its severity depends on, ``GRADE_`` bits -> the severity where it differs from the rule's.
    covers : callable
        Key -> bool: whether the kernel is asked about such connections; about others, the rule's ``detect`` is.
    """

    number: int
    word: Callable[[Detected], str]
    grade: Callable[[int], str | None] = as_declared
    covers: Callable[[Key], bool] = any_key
