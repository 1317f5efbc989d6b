"""The flags of the TCP header (RFC 9293 3.1, RFC 3168, RFC 9768), their names and tcpdump's letters for them."""

from __future__ import annotations

__all__ = [
    "FLAG_LETTERS",
    "TCP_ACK",
    "TCP_AE",
    "TCP_CWR",
    "TCP_ECE",
    "TCP_FIN",
    "TCP_FLAGS",
    "TCP_PSH",
    "TCP_RST",
    "TCP_SYN",
    "TCP_URG",
    "flags_text",
]

TCP_FIN = 1
TCP_SYN = 2
TCP_RST = 4
TCP_PSH = 8
TCP_ACK = 16
TCP_URG = 32
TCP_ECE = 64
TCP_CWR = 128
TCP_AE = 256

TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE")
"""The header's flags, lowest bit first."""

FLAG_LETTERS = {
    "F": TCP_FIN,
    "S": TCP_SYN,
    "R": TCP_RST,
    "P": TCP_PSH,
    ".": TCP_ACK,
    "U": TCP_URG,
    "E": TCP_ECE,
    "W": TCP_CWR,
}
"""tcpdump's letters."""

# The order in which a reader says them: SYN+ACK, FIN+ACK, PSH+ACK.
_ORDER = (1, 0, 2, 3, 4, 5, 6, 7, 8)


def flags_text(flags: int) -> str:
    """Write flags as people do.

    >>> flags_text(0x12)
    'SYN+ACK'
    """
    return "+".join(TCP_FLAGS[bit] for bit in _ORDER if flags >> bit & 1)
