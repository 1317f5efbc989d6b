"""One colour for each state and each severity, wherever they are drawn: terminal, pictures, pages.

States of one phase have neighbouring hues: opening yellow, established green, the active close blue to violet, the
passive close orange to pink; what is over is grey. Red is left to findings.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["GRAPH", "INK", "SEVERITY", "STATE", "WENT", "Colour"]


class Colour(NamedTuple):
    """A colour on light ground, on dark ground, and in a terminal's 256."""

    light: str
    dark: str
    ansi: int


STATE: dict[str, Colour] = {
    "CLOSED": Colour("#afb8c1", "#57606a", 245),
    "LISTEN": Colour("#8c7aa9", "#a697c9", 140),
    "SYN_SENT": Colour("#e3b800", "#e3c341", 220),
    "SYN_RECEIVED": Colour("#bf8700", "#b98a1d", 172),
    "ESTABLISHED": Colour("#2da44e", "#3fb950", 71),
    "FIN_WAIT_1": Colour("#54aeff", "#79c0ff", 117),
    "FIN_WAIT_2": Colour("#0969da", "#2f81f7", 33),
    "CLOSING": Colour("#1b7c83", "#39c5cf", 37),
    "TIME_WAIT": Colour("#8250df", "#a371f7", 99),
    "CLOSE_WAIT": Colour("#f27b2f", "#f0883e", 208),
    "LAST_ACK": Colour("#bf3989", "#db61a2", 169),
    "UNKNOWN": Colour("#d0d7de", "#484f58", 240),
}
"""By the state's name, as in the tables."""

SEVERITY: dict[str, Colour] = {
    "high": Colour("#cf222e", "#ff7b72", 203),
    "medium": Colour("#9a6700", "#e3b341", 214),
    "low": Colour("#0969da", "#79c0ff", 75),
    "info": Colour("#6e7781", "#8b949e", 245),
}
"""By the severity's name."""

INK: dict[str, Colour] = {
    "paper": Colour("#ffffff", "#0d1117", 0),
    "ink": Colour("#1f2328", "#e6edf3", 252),
    "faint": Colour("#6e7781", "#8b949e", 245),
    "rule": Colour("#d0d7de", "#30363d", 238),
}
"""Ground, text, lesser text, lines."""

GRAPH: dict[str, Colour] = {
    "data": Colour("#2f66ad", "#75aef0", 67),
    "ack": Colour("#2f8a52", "#63c58a", 71),
    "edge": Colour("#b8860b", "#d9b24c", 136),
    "again": Colour("#cf222e", "#ff7b72", 203),
    "reorder": Colour("#a04fc4", "#cf94ea", 134),
    "sack": Colour("#7a57b8", "#b39ae6", 98),
    "zero": Colour("#d9730d", "#ffab57", 208),
    "probe": Colour("#6e7781", "#8b949e", 245),
    "client": Colour("#2f66ad", "#75aef0", 67),
    "server": Colour("#c96a12", "#f0a35c", 172),
}
"""What graphs of one connection draw: segments and ACKs, the window's edge, what was sent again, and the two ends."""

WENT: dict[str, Colour] = {
    "handshake": Colour("#e3b800", "#e3c341", 220),
    "server_application": Colour("#c96a12", "#f0a35c", 172),
    "client_application": Colour("#a9c1e6", "#3d5a86", 110),
    "server_window": Colour("#8250df", "#a371f7", 99),
    "client_window": Colour("#bf3989", "#db61a2", 169),
    "retransmission": Colour("#cf222e", "#ff7b72", 203),
    "delayed_ack": Colour("#1b7c83", "#39c5cf", 37),
    "transfer": Colour("#2da44e", "#3fb950", 71),
    "close": Colour("#afb8c1", "#57606a", 245),
}
"""What the time of a connection went for: the columns ``time_...`` of connections, in their order."""
