"""What a capture must have shown of a connection before a rule may speak about it.

A capture shows what passed one point while somebody was looking. Where it could not have shown the contrary, a rule
that speaks all the same only repeats what the capture lacks. Each rule therefore names its needs, and they are asked
here, for all of them alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.kernels.layout import (
    BASE_SYN,
    C_FLAGS,
    CF_MIDSTREAM,
    E_BASE_KNOWN,
    E_SEGMENTS,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tcptrace_fsm.findings.rule import View

__all__ = ["BEGINNING", "BOTH_DIRECTIONS", "HANDSHAKE", "Need"]


class Need(NamedTuple):
    """Something that the capture must hold of a connection.

    Attributes
    ----------
    text : str
        What, as it ends the sentence "the capture must hold ...".
    holds : callable
        View -> bool: whether it does.
    """

    text: str
    holds: Callable[[View], bool]


def both_directions(view: View) -> bool:
    """Whether each endpoint sent something that was seen."""
    return bool(view.client[E_SEGMENTS] and view.server[E_SEGMENTS])


def beginning(view: View) -> bool:
    """Whether a SYN or SYN+ACK was seen."""
    return not view[C_FLAGS] & CF_MIDSTREAM


def handshake(view: View) -> bool:
    """Whether both SYNs were seen."""
    return view.client[E_BASE_KNOWN] == view.server[E_BASE_KNOWN] == BASE_SYN


BOTH_DIRECTIONS = Need("segments of both endpoints", both_directions)
BEGINNING = Need("the connection's beginning", beginning)
HANDSHAKE = Need("the SYNs of both endpoints", handshake)
