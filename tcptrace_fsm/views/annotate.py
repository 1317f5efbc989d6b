"""A capture again, frame by frame byte for byte, as pcapng whose packet comments say what happened there.

Wireshark shows such a comment in its list and filters by it (``frame.comment``). The first reading finds out what there
is to say, the second copies. What is pcapng already keeps its sections, interfaces, options and comments as they stand,
ours come behind them; of pcap and snoop each file becomes a section with one interface. A simple packet block has no
room for a comment and stays without.
"""

from __future__ import annotations

import struct
from typing import IO, TYPE_CHECKING, Any

from tcptrace_fsm.capture.codes import FILE_SHIFT
from tcptrace_fsm.capture.headers import PCAP_MAGIC, SNOOP_LINKS, SNOOP_MAGIC
from tcptrace_fsm.capture.pcapng import PCAPNG_MAGIC
from tcptrace_fsm.core.words import BASES, SIDES, STATES
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.version import __version__
from tcptrace_fsm.views.extract import records

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tcptrace_fsm.capture.sources import Source
    from tcptrace_fsm.capture.timeline import Origins
    from tcptrace_fsm.views.extract import Record

__all__ = ["Comments", "annotated", "with_comments"]

OPT_END, OPT_COMMENT = 0, 1
SHB_USERAPPL, IF_TSRESOL, IF_FCSLEN = 4, 9, 13
ENHANCED, OBSOLETE = 6, 2
FIXED = 28  # bytes before the frame in both kinds of block: type, length, interface, time, two lengths
LONGEST = 60_000  # bytes of a comment; an option holds 65,535
NATIVE = "<"  # byte order of what is made here


class Comments:
    """A sink that notes what there is to say of each frame."""

    def __init__(self) -> None:
        self._lines: dict[int, dict[str, None]] = {}  # by frame, or position in a timeline

    def take(self, finished: Any) -> None:
        """Take what is over: changes of state, findings, diagnoses."""
        words, size = finished.transitions, k.TRANSITION_SIZE
        for t in range(0, finished.transition_count * size, size):
            source, target = STATES[words[t + k.T_FROM]], STATES[words[t + k.T_TO]]
            basis = BASES[words[t + k.T_BASIS]]
            self._say(words[t + k.T_FRAME], f"{SIDES[words[t + k.T_SIDE]]} {source} -> {target} ({basis})")
        for f in finished.findings:
            self._say(f.frame, f"{f.severity.upper()} {f.kind}: {f.message}")
        for d in finished.diagnoses:
            self._say(d.frame, f"{d.severity.upper()} {d.cause} ({d.confidence}): {d.message}")

    def _say(self, frame: int | None, text: str) -> None:
        if frame is not None and frame > 0:
            self._lines.setdefault(frame, {}).setdefault(text)

    def by_frame(self, counts: Sequence[int], origins: Origins | None = None) -> dict[int, list[str]]:
        """Give the comments by frame, counted through all captures; to be asked when the run is over.

        Parameters
        ----------
        counts : sequence of int
            Frames of each capture, in the order of the timeline.
        origins : Origins or None
            Of several captures: which frame of which stands at each position of the timeline.

        """
        if origins is None:
            return {frame: list(lines) for frame, lines in self._lines.items()}
        import numpy as np

        begins = [sum(counts[:i]) for i in range(len(counts))]
        positions = np.fromiter(self._lines, np.int64, len(self._lines))
        made: dict[int, list[str]] = {}
        for code, lines in zip(origins.codes(positions).tolist(), self._lines.values(), strict=True):
            frame = begins[code >> FILE_SHIFT] + (code & (1 << FILE_SHIFT) - 1)
            made.setdefault(frame, []).extend(lines)
        return made


def annotated(
    captured: Sequence[Source], counts: Sequence[int], comments: Mapping[int, Sequence[str]], output: IO[bytes]
) -> tuple[int, int]:
    """Write captures as pcapng with comments.

    Parameters
    ----------
    captured : sequence of path
        In the order in which they are one timeline; they follow one another in the output.
    counts : sequence of int
        How many frames each of them was found to have.
    comments : mapping of int to sequence of str
        By frame, counted through all captures from 1.
    output : binary file

    Returns
    -------
    tuple of int
        How many frames were written, and how many of them bear a comment of ours.

    """
    number = marked = before = 0
    for source, count in zip(captured, counts, strict=True):
        number = before
        for content, frame in _blocks(records(source)):
            if not frame:
                output.write(content)
                continue
            number += 1
            if number > before + count:  # the file has grown since
                number -= 1
                break
            lines = comments.get(number, ())
            made = with_comments(content, lines) if lines else content
            marked += made is not content
            output.write(made)
        before += count
    return number, marked


def _blocks(pieces: Iterator[Record]) -> Iterator[tuple[bytes, bool]]:
    """Give the pcapng blocks of any capture file, each with whether it holds a frame."""
    first = next(pieces)
    if first.content[:4] == PCAPNG_MAGIC:
        yield first
        yield from pieces
    elif SNOOP_MAGIC.startswith(first.content[:4]):
        link = int.from_bytes(first.content[12:16], "big")
        yield _head(SNOOP_LINKS.get(link, link), 0, nano=False), False
        for piece in pieces:
            original, captured, _, _, seconds, micro = struct.unpack(">6I", piece.content[:24])
            yield _packet(seconds * 10**6 + micro, piece.content[24 : 24 + captured], original), True
    else:
        yield from _of_pcap(first.content, pieces)


def _of_pcap(header: bytes, pieces: Iterable[Record]) -> Iterator[tuple[bytes, bool]]:
    order = ">" if int.from_bytes(header[:4], "big") in PCAP_MAGIC else "<"
    magic, major, minor, _, _, snaplen, link = struct.unpack(order + "IHHIIII", header)
    tick, size = PCAP_MAGIC[magic]
    unit = 10**9 // tick
    fcs = 16 * (link >> 28) if link & 0x04000000 else 0
    yield _head(link & 0xFFFF, snaplen, nano=tick == 1, fcs=fcs), False
    for piece in pieces:
        seconds, part, captured, original = struct.unpack(order + "IIII", piece.content[:16])
        if (major, minor) < (2, 3) or ((major, minor) == (2, 3) and captured > original):
            original = captured  # the two lengths are the other way around there
        yield _packet(seconds * unit + part, piece.content[size:], original), True


# --- pcapng blocks ----------------------------------------------------------------------------------------------------
def _option(code: int, value: bytes, order: str = NATIVE) -> bytes:
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def _block(kind: int, body: bytes, order: str = NATIVE) -> bytes:
    size = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + size + body + size


def _head(link: int, snaplen: int, *, nano: bool, fcs: int = 0) -> bytes:
    """A section header and the description of its one interface."""
    end = _option(OPT_END, b"")
    made_by = _option(SHB_USERAPPL, f"tcptrace-fsm {__version__}".encode()) + end
    section = struct.pack(NATIVE + "IHHq", 0x1A2B3C4D, 1, 0, -1) + made_by
    options = _option(IF_TSRESOL, b"\x09") if nano else b""
    options += _option(IF_FCSLEN, bytes([fcs])) if fcs else b""
    interface = struct.pack(NATIVE + "HHI", link, 0, snaplen) + (options + end if options else b"")
    return _block(int.from_bytes(PCAPNG_MAGIC), section) + _block(1, interface)


def _packet(time: int, content: bytes, original: int) -> bytes:
    fixed = struct.pack(NATIVE + "IIIII", 0, time >> 32, time & 0xFFFFFFFF, len(content), original)
    return _block(ENHANCED, fixed + content + bytes(-len(content) % 4))


def with_comments(block: bytes, comments: Iterable[str]) -> bytes:
    """Return a block that holds a frame with comments behind the options that it has; the same where it can have none.

    >>> with_comments(_packet(0, b"frame", 5), ["seen"])[-24:-4].hex(" ", 4)
    '01000400 7365656e 00000000 40000000'
    """
    order = "<" if int.from_bytes(block[:4], "little") in {2, 3, 6} else ">"
    kind, _ = struct.unpack(order + "II", block[:8])
    if kind not in {ENHANCED, OBSOLETE}:
        return block
    (captured,) = struct.unpack(order + "I", block[20:24])
    begin, end = FIXED + captured + (-captured % 4), len(block) - 4
    if begin > end:  # a damaged block: its options, if there are any, cannot be found
        return block
    at = begin
    while at + 4 <= end:
        code, size = struct.unpack(order + "HH", block[at : at + 4])
        following = at + 4 + size + (-size % 4)
        if code == OPT_END or following > end:
            break
        at = following
    texts = (text.encode()[:LONGEST].decode(errors="ignore").encode() for text in comments)
    ours = b"".join(_option(OPT_COMMENT, text, order) for text in texts)
    rest = block[at:end] or _option(OPT_END, b"", order)
    return _block(kind, block[8:at] + ours + rest, order)
