"""How resets of open connections are put into words, and of which connections a kernel detects them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.findings.keys import mask
from tcptrace_fsm.kernels.layout import (
    CF_CLOSING,
    CF_SETTLED,
    GRADE_LOW,
    MARK_ACKS_FIN,
    MARK_ACKS_SYN,
    MARK_AFTER_RST,
    MARK_DSACK,
    MARK_DUPLICATE_ACK,
    MARK_FAST,
    MARK_FIRST_PLAIN,
    MARK_REPLY_RST,
    MARK_RETRANSMISSION,
    MARK_RST_DRAWN,
    MARK_SENT_BEFORE,
    MARK_SPURIOUS,
    MARK_TAIL_LOSS_PROBE,
    MARK_TIMEOUT,
    MARK_WINDOW_OPENED,
    MARK_WINDOW_UPDATE,
    OPENING_HANDSHAKE,
)
from tcptrace_fsm.text.counts import count
from tcptrace_fsm.text.durations import span

if TYPE_CHECKING:
    from tcptrace_fsm.findings.keys import Key
    from tcptrace_fsm.findings.wording import Detected

__all__ = [
    "aborted",
    "is_plain",
    "left_unread",
    "lingered",
    "low",
    "reset_for_fin",
    "word_abort",
    "word_linger",
    "word_reset_for_fin",
    "word_unread",
]

PLAIN = mask(
    *(MARK_FIRST_PLAIN, MARK_ACKS_SYN, MARK_ACKS_FIN, MARK_WINDOW_UPDATE, MARK_WINDOW_OPENED, MARK_SENT_BEFORE),
    *(MARK_RETRANSMISSION, MARK_TIMEOUT, MARK_FAST, MARK_TAIL_LOSS_PROBE, MARK_SPURIOUS, MARK_DUPLICATE_ACK),
    *(MARK_DSACK, MARK_REPLY_RST, MARK_RST_DRAWN, MARK_AFTER_RST),
)
"""What may be notable about the segments of a connection that the kernel is asked about."""


def left_unread(names: tuple[str, str], unread: int, after: int) -> str:
    """In words: who resets had not acknowledged so many bytes, or did so ``after`` ns before."""
    name, peer = names
    what = (
        f"{count(unread, 'byte')} from {peer} that it had not acknowledged before"
        if unread
        else f"the last data of {peer}, {span(after)} after acknowledging them,"
    )
    return f"{name} answered {what} with RST: its application closed without reading them, or with SO_LINGER 0"


def word_unread(found: Detected) -> str:
    """The same of what a kernel has detected."""
    return left_unread(found.names(found.side), found.count, found.span)


def lingered(names: tuple[str, str], after: int) -> str:
    """In words: a reset ``after`` ns when all was said; or before the last ACK came, where that is negative."""
    if after < 0:
        return (
            f"{names[0]} ended the connection with RST {span(-after)} before the last ACK of its data came from "
            f"{names[1]}: a close with SO_LINGER 0, which avoids TIME_WAIT"
        )
    return (
        f"{names[0]} ended the connection with RST {span(after)} after {names[1]} had acknowledged all of its data: a "
        "close with SO_LINGER 0, which avoids TIME_WAIT"
    )


def word_linger(found: Detected) -> str:
    """The same of what a kernel has detected."""
    return lingered(found.names(found.side), found.span)


def aborted(names: tuple[str, str], lost: int, after: int) -> str:
    """In words: a reset ``after`` ns of connection, so many bytes of who sent it being lost."""
    what = f"{count(lost, 'byte')} that it had sent were not acknowledged" if lost else "all data had been acknowledged"
    return f"{names[0]} aborted the connection to {names[1]} with RST after {span(after)}; {what}"


def word_abort(found: Detected) -> str:
    """The same of what a kernel has detected."""
    return aborted(found.names(found.side), found.count, found.span)


def reset_for_fin(names: tuple[str, str], after: int) -> str:
    """In words: a reset ``after`` ns behind the peer's FIN."""
    return (
        f"{names[0]} answered the FIN of {names[1]} with RST, {span(after)} later, and gave no other ACK: its "
        "application aborts what the other side closes"
    )


def word_reset_for_fin(found: Detected) -> str:
    """The same of what a kernel has detected."""
    return reset_for_fin(found.names(found.side), found.span)


def is_plain(key: Key) -> bool:
    """Whether a connection opened by handshake, and nothing is notable about it but what a kernel can weigh."""
    settled = key.opening == OPENING_HANDSHAKE and not key.flags & ~(CF_SETTLED | CF_CLOSING)
    return settled and not key.taken_over and not key.marks & ~PLAIN


def low(grade: int) -> str | None:
    """The severity of what a kernel has detected."""
    return "low" if grade & GRADE_LOW else None
