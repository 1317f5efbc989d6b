"""ICMP errors about a connection's segments, as rules see them.

An error quotes the IP header and at least the first eight bytes of TCP of the packet that caused it (RFC 792, RFC 4443
2.4): that tells the connection, the sender and the sequence number. Whether a host believes it is another matter: RFC
1122 4.2.3.9 says which errors abort a connection, RFC 5927 that the quoted number has to be in flight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tcptrace_fsm.kernels.layout import (
    C_ENDPOINTS,
    CLIENT,
    E_ICMP,
    ENDPOINT_SIZE,
    I_FLAGS,
    I_FRAME,
    I_FROM_HI,
    I_FROM_LO,
    I_IP_ID,
    I_KIND,
    I_MTU,
    I_NEXT,
    I_SEQ,
    I_SIZE,
    I_TIME,
    I_TTL,
    ICMP_OUTSTANDING,
    ICMP_SIX,
    LOG_SIZE,
    SERVER,
)
from tcptrace_fsm.text.addresses import address_text

if TYPE_CHECKING:
    from array import array

__all__ = ["IcmpError", "icmp_errors"]

UNREACHABLE = {
    0: "network unreachable",
    1: "host unreachable",
    2: "protocol unreachable",
    3: "port unreachable",
    4: "fragmentation needed",
    5: "source route failed",
    6: "network unknown",
    7: "host unknown",
    8: "source host isolated",
    9: "network administratively prohibited",
    10: "host administratively prohibited",
    11: "network unreachable for this type of service",
    12: "host unreachable for this type of service",
    13: "communication administratively prohibited",
    14: "host precedence violation",
    15: "precedence cutoff",
}
UNREACHABLE_SIX = {
    0: "no route to destination",
    1: "communication administratively prohibited",
    2: "beyond scope of source address",
    3: "address unreachable",
    4: "port unreachable",
    5: "source address failed policy",
    6: "route to destination rejected",
    7: "error in source routing header",
}
EXPIRED = {0: "hop limit exceeded in transit", 1: "fragment reassembly time exceeded"}
PROHIBITED = frozenset({(0, 9), (0, 10), (0, 13), (1, 1), (1, 5), (1, 6)})
"""(1 for ICMPv6, code) of destination unreachable where somebody forbids the traffic."""


class IcmpError(NamedTuple):
    """An ICMP error that quotes a segment of the connection.

    Attributes
    ----------
    side : int
        CLIENT or SERVER: who had sent the quoted segment, and is to get the error.
    time : int
        Capture time, ns.
    frame : int
    type, code : int
        As in the message; of ICMPv6 where ``six``.
    six : bool
    mtu : int or None
        Of the next hop, where the error names one: fragmentation needed, packet too big.
    sender : str
        Address from which the error came.
    seq : int or None
        Sequence number of the quoted segment, relative like a segment's; None where the base is not known.
    outstanding : bool
        Whether that number was sent and not yet acknowledged, as far as the capture shows (RFC 5927 4.1).
    size : int
        Length of the quoted IP packet, bytes.
    flags : int or None
        TCP flags of the quoted segment, where so much of it is quoted.
    ttl : int
        TTL or hop limit of the quoted packet when the error was made.
    ip_id : int
        IPv4 identification of the quoted packet; -1 for IPv6.
    """

    side: int
    time: int
    frame: int
    type: int
    code: int
    six: bool
    mtu: int | None
    sender: str
    seq: int | None
    outstanding: bool
    size: int
    flags: int | None
    ttl: int
    ip_id: int

    @property
    def unreachable(self) -> bool:
        """Destination unreachable, but for "fragmentation needed"."""
        return self.type == 1 if self.six else self.type == 3 and self.code != 4

    @property
    def prohibited(self) -> bool:
        """Destination unreachable since somebody forbids the traffic."""
        return self.unreachable and (int(self.six), self.code) in PROHIBITED

    @property
    def too_big(self) -> bool:
        """Fragmentation needed, or packet too big: a smaller packet would have passed."""
        return self.type == 2 if self.six else (self.type, self.code) == (3, 4)

    @property
    def expired(self) -> bool:
        """Time exceeded."""
        return self.type == (3 if self.six else 11)

    @property
    def hard(self) -> bool:
        """Whether a host should abort the connection for it, by RFC 1122 4.2.3.9: protocol or port unreachable."""
        return (self.six, self.type, self.code) in {(False, 3, 2), (False, 3, 3), (True, 1, 4)}

    @property
    def name(self) -> str:
        """What it says, in words.

        >>> IcmpError(0, 0, 1, 3, 13, False, None, "10.0.0.9", 0, True, 60, 2, 63, 7).name
        'communication administratively prohibited'
        """
        if self.too_big:
            word = "packet too big" if self.six else "fragmentation needed"
            return word if self.mtu is None else f"{word}, MTU {self.mtu}"
        if self.expired:
            return EXPIRED.get(self.code, "time exceeded")
        if self.type == (1 if self.six else 3):
            names = UNREACHABLE_SIX if self.six else UNREACHABLE
            return names.get(self.code, f"destination unreachable, code {self.code}")
        if self.type == 4 and not self.six:
            return "source quench"
        return "parameter problem"


def icmp_errors(words: array[int], c: int, log: memoryview) -> list[IcmpError]:
    """The ICMP errors that quote segments of the connection whose record begins at ``c``, in order of their frames."""
    found = []
    for side in (CLIENT, SERVER):
        r = words[c + C_ENDPOINTS + side * ENDPOINT_SIZE + E_ICMP]
        while r >= 0:
            record = log[r : r + LOG_SIZE].tolist()
            kind = record[I_KIND]
            found.append(
                IcmpError(
                    side,
                    record[I_TIME],
                    record[I_FRAME],
                    kind & 255,
                    kind >> 8 & 255,
                    bool(kind & ICMP_SIX),
                    record[I_MTU] if record[I_MTU] >= 0 else None,
                    sender_of(record),
                    record[I_SEQ] if record[I_SEQ] >= 0 else None,
                    bool(kind & ICMP_OUTSTANDING),
                    record[I_SIZE],
                    record[I_FLAGS] if record[I_FLAGS] >= 0 else None,
                    record[I_TTL],
                    record[I_IP_ID],
                )
            )
            r = record[I_NEXT]
    return sorted(found, key=lambda error: error.frame)


def sender_of(record: list[int]) -> str:
    """The address from which an error came."""
    return address_text(record[I_FROM_HI], record[I_FROM_LO], six=bool(record[I_KIND] & ICMP_SIX))
