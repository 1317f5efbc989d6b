"""Logs of connections that are over, in memory of their own: somebody looks at them while the next are followed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.log import *
from tcptrace_fsm.kernels.memory import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

__all__ = ("copy_logs", "size_of_logs")


def chain_size(r: int, next_word: int, log: Words) -> int:
    """Words that the records of a chain take."""
    size = 0
    while r >= 0:
        size += LOG_SIZE
        r = log[r + next_word]
    return size


def copy_chain(r: int, next_word: int, at: int, log: Words, out: Words) -> int:
    """Copy the records of a chain, one behind the other. Returns where they end."""
    while r >= 0:
        i = 0
        while i < LOG_SIZE:
            out[at + i] = log[r + i]
            i += 1
        r = log[r + next_word]
        if r >= 0:
            out[at + next_word] = at + LOG_SIZE
        at += LOG_SIZE
    return at


def size_of_logs(count: int, records_words: Words, log_words: Words) -> int:
    """Words that the logs of so many records take, with the ICMP errors that quote their segments."""
    records = pointer(records_words)
    log = pointer(log_words)
    size = 0
    c = 0
    while c < count * CONNECTION_SIZE:
        if c + CONNECTION_SIZE < count * CONNECTION_SIZE and records[c + CONNECTION_SIZE + C_LOG_HEAD] >= 0:
            prefetch(log, records[c + CONNECTION_SIZE + C_LOG_HEAD] + L_NEXT)
        size += chain_size(records[c + C_LOG_HEAD], L_NEXT, log)
        size += chain_size(records[c + C_ENDPOINTS + E_ICMP], I_NEXT, log)
        size += chain_size(records[c + C_ENDPOINTS + ENDPOINT_SIZE + E_ICMP], I_NEXT, log)
        c += CONNECTION_SIZE
    return size


def copy_logs(
    count: int, let_go: int, records_words: Words, log_words: Words, out_words: Words, control_words: Words
) -> int:
    """Copy the logs of so many records, and have the records tell where they are now. Returns the words taken.

    With ``let_go``, what was copied is free for others; else rows still lead to it.
    """
    records = pointer(records_words)
    log = pointer(log_words)
    out = pointer(out_words)
    control = pointer(control_words)
    at = 0
    c = 0
    while c < count * CONNECTION_SIZE:
        client = c + C_ENDPOINTS
        server = client + ENDPOINT_SIZE
        by_client = copy_chain(records[c + C_LOG_HEAD], L_NEXT, at, log, out)
        by_server = copy_chain(records[client + E_ICMP], I_NEXT, by_client, log, out)
        end = copy_chain(records[server + E_ICMP], I_NEXT, by_server, log, out)
        if let_go:
            free_log(c, records, log, control)
        if by_client > at:
            records[c + C_LOG_HEAD] = at
            records[c + C_LOG_TAIL] = by_client - LOG_SIZE
        records[client + E_ICMP] = moved_icmp(by_client, by_server, out)
        records[server + E_ICMP] = moved_icmp(by_server, end, out)
        at = end
        c += CONNECTION_SIZE
    return at


def moved_icmp(begin: int, end: int, out: Words) -> int:
    """Where the copied ICMP errors of an endpoint begin; -1 for none."""
    if begin == end:
        return -1
    out[begin + I_TAIL] = end - LOG_SIZE
    return begin
