"""Conversations as text: the segment notation of rules' examples, of tests and of ``ladder``.

One segment a line, after the time in seconds since the line's conversation began::

    0.000  > S    0:0(0)               win 65535 <mss 1460>
    0.010  < S.   0:0(0)      ack 1    win 65535
    0.020  > .    1:1(0)      ack 1
    0.030  > P.   1:101(100)  ack 1
    0.500  > F.   101:101(0)  ack 1    <ts 100/50>

``>`` is sent by the client (10.0.0.1:40000), ``<`` by the server (10.0.0.2:80). Flags are tcpdump's: S, F, R, P, U, E,
W, and a dot for ACK. Sequence numbers are relative: 0 is the SYN, 1 the first byte; ``begin:end(length)`` counts
payload only. ``isn C S`` on a line of its own sets the sequence numbers on the wire of what follows (a new
incarnation, for instance), ``port C S`` the ports, ``addr C S`` the addresses. After the numbers may come ``ack N``,
``win N``, ``id N``, ``ttl N``, ``bad`` (wrong checksum) and options in angle brackets: ``mss N``, ``scale N``,
``sackok``, ``ts VAL/ECR``, ``sack A:B ...``, ``tfo``, ``mptcp``. ``#`` begins a comment. ``end T`` lets the capture
last until T seconds, by a segment of another connection.

An ICMP error that quotes a segment's first eight bytes has its type and code, and the sequence number in them::

    0.040  > icmp 3/4 1                mtu 1400 from 10.0.0.9

``>``: the quoted segment is the client's. Without ``from`` a router at 10.0.0.254 sends it; ``size N`` is the length of
the quoted IP packet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.tcp.flags import FLAG_LETTERS, TCP_ACK, TCP_RST

__all__ = ["BEGIN", "LEGEND", "Conversation", "Error", "Line", "read"]

LEGEND = (
    "A line is a segment: the time in seconds, > from the client or < from the server, flags, sequence numbers.",
    "Flags: S is SYN, F is FIN, R is RST, P is PSH, U is URG, E is ECE, W is CWR, and a dot is ACK.",
    "begin:end(length) counts the sender's payload bytes. Its SYN is number 0, so its first byte is number 1.",
    "ack N is the acknowledgment number, win N the window, bad a wrong checksum, <...> holds TCP options.",
    "isn C S sets the sequence numbers on the wire of what follows; port C S the ports; addr C S the addresses.",
    "icmp TYPE/CODE N is an ICMP error that quotes the segment which begins at N; > means that the client had sent it.",
    "end T lets the capture last until T seconds, and # begins a comment.",
)
"""How to read the notation, for those who meet it in an example."""
BEGIN = 1_700_000_000_000_000_000  # the first moment of every scripted capture, ns
LINE = re.compile(
    r"^(?P<time>\d+(?:\.\d+)?)\s+(?P<way>[<>])\s+(?P<flags>[SFRPUEW.-]+)\s+(?P<seq>-?\d+):(?P<end>-?\d+)\((?P<len>\d+)\)(?P<rest>.*)$"
)
ERROR = re.compile(
    r"^(?P<time>\d+(?:\.\d+)?)\s+(?P<way>[<>])\s+icmp\s+(?P<type>\d+)/(?P<code>\d+)\s+(?P<seq>-?\d+)(?P<rest>.*)$"
)


class Error(NamedTuple):
    """What an ICMP error says beside the header that it quotes; -1 for no MTU."""

    type: int
    code: int
    mtu: int
    sender: int
    size: int


class Line(NamedTuple):
    """One scripted segment, or an ICMP error that quotes it; numbers as on the wire, time in ns."""

    time: int
    source: tuple[int, int]
    target: tuple[int, int]
    flags: int
    seq: int
    ack: int
    length: int
    window: int
    options: dict[str, tuple[int, ...]]
    ip_id: int
    ttl: int
    bad: bool
    error: Error | None = None


@dataclass
class Conversation:
    """A scripted capture; :mod:`tcptrace_fsm.capture.scripted` makes segment records of it.

    Attributes
    ----------
    lines : list of Line
    """

    lines: list[Line] = field(default_factory=list)


def address(text: str) -> int:
    """An IPv4 address as a number."""
    value = 0
    for part in text.split("."):
        value = value << 8 | int(part)
    return value


def quoting(found: re.Match[str], ends: list[tuple[int, int]], isn: list[int]) -> Line:
    """Read an ICMP error."""
    side = 0 if found["way"] == ">" else 1
    given = dict(pairwise(found["rest"].split()))
    return Line(
        BEGIN + round(float(found["time"]) * 1e9),
        ends[side],
        ends[1 - side],
        0,
        (int(found["seq"]) + isn[side]) % 2**32,
        0,
        0,
        0,
        {},
        int(given.get("id", 1)),
        int(given.get("ttl", 63)),
        bad=False,
        error=Error(
            int(found["type"]),
            int(found["code"]),
            int(given.get("mtu", -1)),
            address(given.get("from", "10.0.0.254")),
            int(given.get("size", 1500)),
        ),
    )


def read(text: str) -> Conversation:
    """Read a conversation.

    Raises
    ------
    UsageError
        With the line that is not in the notation.
    """
    ends = [(address("10.0.0.1"), 40000), (address("10.0.0.2"), 80)]
    isn = [1000, 5000]
    windows = [65535, 65535]
    ip_id = [100, 200]
    conversation = Conversation()
    for raw in text.splitlines():
        line = raw.split("#", 1)[0].strip()
        if not line:
            continue
        words = line.split()
        if words[0] == "isn":
            isn = [int(words[1]), int(words[2])]
            continue
        if words[0] == "port":
            ends = [(ends[0][0], int(words[1])), (ends[1][0], int(words[2]))]
            continue
        if words[0] == "addr":
            ends = [(address(words[1]), ends[0][1]), (address(words[2]), ends[1][1])]
            continue
        if words[0] == "end":
            other = address("10.255.255.1"), address("10.255.255.2")
            time = BEGIN + round(float(words[1]) * 1e9)
            conversation.lines.append(
                Line(time, (other[0], 50000), (other[1], 50001), TCP_ACK, 7, 7, 0, 65535, {}, 1, 64, bad=False)
            )
            continue
        error = ERROR.match(line)
        if error:
            conversation.lines.append(quoting(error, ends, isn))
            continue
        found = LINE.match(line)
        if not found:
            raise UsageError(f"not a segment: {raw.strip()!r}")
        side = 0 if found["way"] == ">" else 1
        seq, length = int(found["seq"]), int(found["len"])
        if int(found["end"]) - seq != length:
            raise UsageError(f"{found['seq']}:{found['end']} is not {length} bytes: {raw.strip()!r}")
        options: dict[str, tuple[int, ...]] = {}
        rest = found["rest"]
        bracket = re.search(r"<([^>]*)>", rest)
        if bracket:
            for option in bracket[1].split(","):
                name, *values = option.split()
                numbers = tuple(int(v) for value in values for v in re.split("[:/]", value))
                if name == "sack":
                    numbers = tuple((v + isn[1 - side]) % 2**32 for v in numbers)
                options[name] = numbers
            rest = rest.replace(bracket[0], "")
        given = rest.split()
        numbers_of = {k: int(v) for k, v in pairwise(given) if k in {"ack", "win", "id", "ttl"}}
        flags = sum(FLAG_LETTERS[f] for f in found["flags"] if f != "-")
        windows[side] = numbers_of.get("win", windows[side])
        ip_id[side] = numbers_of.get("id", ip_id[side] + 1)
        conversation.lines.append(
            Line(
                BEGIN + round(float(found["time"]) * 1e9),
                ends[side],
                ends[1 - side],
                flags,
                (seq + isn[side]) % 2**32,
                (numbers_of["ack"] + isn[1 - side]) % 2**32 if "ack" in numbers_of else 0,
                length,
                numbers_of.get("win", 0 if flags & TCP_RST else windows[side]),
                options,
                numbers_of.get("id", ip_id[side]),
                numbers_of.get("ttl", 64),
                bad="bad" in given,
            )
        )
    return conversation
