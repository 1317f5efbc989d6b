"""Filter expressions, in the language of tcpdump (pcap-filter(7)), compiled by libpcap.

libpcap comes by the binding cypcap, an optional dependency. Of it only the compiler is used: the program that it makes
is run by :mod:`tcptrace_fsm.kernels.bpf`, a batch of frames at a time. Each link type has its own program.
"""

from __future__ import annotations

import re
from array import array
from contextlib import closing
from typing import TYPE_CHECKING, Any

from tcptrace_fsm.capture.layers.links import is_read, link_name
from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.kernels.bpf import select

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Buffer, Words

__all__ = ["Filter"]

SNAPLEN = 262144
MOST = 4096
"""Characters of an expression; nobody means more, and libpcap's own limit is no limit."""

# Where libpcap's number for a link type (DLT_) is not the file's (LINKTYPE_).
_NUMBERS = {14: 12, 100: 11, 101: 12}

_TOKEN = re.compile(r"[()\[\]]|[!&|<>=+*/^%~-]+|[^\s()\[\]!&|<>=+*/^%~]+")
# What may make an expression of one that is only begun.
_ENDINGS = (
    *("", " 1", " 1.1.1.1", " tcp", " host 1.1.1.1", " port 1", " 1-2", " 0:0:0:0:0:0", " host 0:0:0:0:0:0"),
    *("=1", " 1=1", "]=1", " 1]=1", " 1:1]=1", " mask 255.0.0.0", " 255.0.0.0", " proto 1", " type mgt", " chain 6"),
)
_NAMED = {"host", "net", "gateway", "src", "dst"}
_WORDS = {"host", "net", "port", "portrange", "and", "or", "not", "src", "dst", "proto", "tcp", "udp", "ip", "ip6"}


class Filter:
    """Which frames to look at.

    Parameters
    ----------
    expression : str
        As tcpdump takes it; empty keeps everything.

    Raises
    ------
    UsageError
        When it is no expression, or nothing is there to compile it.

    Attributes
    ----------
    expression : str

    """

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self._pcap = _library()
        self._programs: dict[int, array[int] | None] = {}
        self._memory = array("q", bytes(8 * 16))
        if len(expression) > MOST or not expression.isprintable():
            raise UsageError(f"--filter: an expression is up to {MOST} printable characters")
        reason = self._try(expression, 1)[1]
        if _is_syntax(reason):
            raise UsageError(f"--filter: {self._where()}")

    def prepare(self, links: list[int]) -> None:
        """Compile for these link types.

        Raises
        ------
        UsageError
            When the expression makes no sense for one of them.

        """
        for link in links:
            if link in self._programs:
                continue
            if not is_read(link):  # its frames are counted as what nobody reads
                self._programs[link] = None
                continue
            program, reason = self._try(self.expression, link)
            if program is None:
                raise UsageError(f"--filter: {self._pointing(reason)} ({link_name(link)} frames)")
            self._programs[link] = program

    def mark(self, data: Buffer, frames: Words, count: int) -> int:
        """Mark the frames that are not wanted, as :func:`tcptrace_fsm.kernels.bpf.select` does; return how many."""
        marked = 0
        for link, program in self._programs.items():
            if program is not None:
                marked += select(data, frames, count, link, program, len(program) // 4, self._memory)
        return marked

    def _try(self, text: str, link: int) -> tuple[Any, str]:
        """Compile for a link type; give the program, or None and libpcap's reason."""
        try:
            with closing(self._pcap.open_dead(_NUMBERS.get(link, link), SNAPLEN)) as dead:
                compiled = dead.compile(text, True, self._pcap.NETMASK_UNKNOWN)
        except self._pcap.Error as reason:
            return None, str(reason.args[-1] if reason.args else reason)
        lines = compiled.dumps().split(",")[1:]
        return array("q", [int(number) for line in lines for number in line.split()]), ""

    def _where(self) -> str:
        """Say at which word the expression stops being one: libpcap says only that it is none."""
        tokens = list(_TOKEN.finditer(self.expression))
        text, before = "", ""
        for token in tokens:
            word = token[0]
            # A name would be looked up in the DNS each time.
            given = "1.1.1.1" if before in _NAMED and word not in _WORDS and word[0].isalpha() else word
            text += ("" if word in "([])" or text.endswith(("[", "(")) else " ") + given
            before = word
            closing = "]" * max(0, text.count("[") - text.count("]")) + ")" * max(0, text.count("(") - text.count(")"))
            if all(_is_syntax(self._try(text + more + closing, 1)[1]) for more in (*_ENDINGS, closing and "")) and all(
                _is_syntax(self._try(text + more + closing[1:], 1)[1]) for more in _ENDINGS
            ):
                return f"syntax error at {word!r}, character {token.start() + 1} of {self.expression!r}"
        return f"syntax error at the end of {self.expression!r}"

    def _pointing(self, reason: str) -> str:
        """Add to libpcap's reason the place of the word that it names."""
        for named in re.findall(r"['\"]([^'\"]+)['\"]", reason) + re.findall(r"\b(\d+)\b", reason):
            at = self.expression.find(named)
            if at >= 0:
                return f"{reason}, at character {at + 1} of {self.expression!r}"
        return f"{reason} in {self.expression!r}"


def _is_syntax(reason: str) -> bool:
    return "syntax error" in reason


def _library() -> Any:
    """Give libpcap's binding."""
    from importlib import import_module  # not one of our dependencies

    try:
        return import_module("cypcap")
    except ImportError as reason:
        message = "--filter needs the Python package cypcap: pip install 'tcptrace-fsm[filter]'"
        raise UsageError(message) from reason
