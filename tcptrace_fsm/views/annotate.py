"""A capture again, frame by frame byte for byte, as pcapng whose packet comments say what happened there.

Wireshark shows such a comment in its list and filters by it (``frame.comment``). The first reading finds out what there
is to say, the second copies. What is pcapng already keeps its sections, interfaces, options and comments as they stand,
ours come behind them; of pcap and snoop each file becomes a section with one interface. A simple packet block has no
room for a comment. One that is to bear a comment becomes an enhanced packet block. It has no time either, and gets that
of the frame before it, as in an analysis.
"""

from __future__ import annotations

import struct
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from tcptrace_fsm.capture.codes import FILE_SHIFT
from tcptrace_fsm.capture.headers import PCAP_MAGIC, SNOOP_LINKS, SNOOP_MAGIC
from tcptrace_fsm.capture.pcapng import PCAPNG_MAGIC, read_interface
from tcptrace_fsm.core.words import BASES, SIDES, STATES
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.kernels.layout import UNIT_BINARY, UNIT_TIMES
from tcptrace_fsm.version import __version__
from tcptrace_fsm.views.extract import records

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tcptrace_fsm.capture.pcapng import Description
    from tcptrace_fsm.capture.sources import Source
    from tcptrace_fsm.capture.timeline import Origins
    from tcptrace_fsm.views.extract import Record

__all__ = ["Comments", "annotated", "with_comments"]

OPT_END, OPT_COMMENT = 0, 1
SHB_USERAPPL, IF_TSRESOL, IF_FCSLEN = 4, 9, 13
SECTION, INTERFACE, OBSOLETE, SIMPLE, ENHANCED = int.from_bytes(PCAPNG_MAGIC), 1, 2, 3, 6
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
        for content, frame, roomy in _blocks(records(source)):
            if not frame:
                output.write(content)
                continue
            number += 1
            if number > before + count:  # the file has grown since
                number -= 1
                break
            lines = comments.get(number, ())
            made = with_comments(roomy, lines) if lines else content
            marked += made is not content
            output.write(made)
        before += count
    return number, marked


class Block(NamedTuple):
    """A pcapng block, whether it holds a frame, and the same with room for a comment."""

    content: bytes
    frame: bool
    roomy: bytes = b""


def _blocks(pieces: Iterator[Record]) -> Iterator[Block]:
    """Give the pcapng blocks of any capture file."""
    first = next(pieces)
    if first.content[:4] == PCAPNG_MAGIC:
        yield Block(*first)
        yield from _of_pcapng(first.content, pieces)
    elif SNOOP_MAGIC.startswith(first.content[:4]):
        link = int.from_bytes(first.content[12:16], "big")
        yield Block(_head(SNOOP_LINKS.get(link, link), 0, nano=False), frame=False)
        for piece in pieces:
            original, captured, _, _, seconds, micro = struct.unpack(">6I", piece.content[:24])
            made = _packet(seconds * 10**6 + micro, piece.content[24 : 24 + captured], original)
            yield Block(made, frame=True, roomy=made)
    else:
        yield from _of_pcap(first.content, pieces)


def _of_pcapng(section: bytes, pieces: Iterable[Record]) -> Iterator[Block]:
    """Give the blocks as they are; of a simple packet also what it is as an enhanced one."""
    interfaces: list[Description] = []
    order, time = _order(section), 0
    for content, frame in pieces:
        (kind,) = struct.unpack(order + "I", content[:4])
        roomy = content
        if content[:4] == PCAPNG_MAGIC:
            order, interfaces = _order(content), []
        elif kind == INTERFACE and len(content) >= 20:
            interfaces.append(read_interface(content[8:-4], "little" if order == "<" else "big"))
        elif kind in {ENHANCED, OBSOLETE} and len(content) >= FIXED + 4:
            number, high, low = struct.unpack(order + "III", content[8:20])
            if kind == OBSOLETE:
                (number,) = struct.unpack(order + "H", content[8:10])
            if number < len(interfaces):
                time = _nanoseconds(high << 32 | low, interfaces[number])
        elif kind == SIMPLE and len(content) >= 16 and interfaces:
            roomy = _enhanced(content, order, interfaces[0], time)
        yield Block(content, frame, roomy)


def _order(section: bytes) -> str:
    return "<" if section[8:12] == b"\x4d\x3c\x2b\x1a" else ">"


def _nanoseconds(stamp: int, interface: Description) -> int:
    """The time that an interface's stamp is."""
    if interface.unit == UNIT_BINARY:
        return (stamp * 10**9 >> interface.factor) + interface.offset
    return (stamp * interface.factor if interface.unit == UNIT_TIMES else stamp // interface.factor) + interface.offset


def _stamp(time: int, interface: Description) -> int:
    """The stamp with which an interface says a time."""
    since = max(0, time - interface.offset)
    if interface.unit == UNIT_BINARY:
        made = (since << interface.factor) // 10**9
    else:
        made = since // interface.factor if interface.unit == UNIT_TIMES else since * interface.factor
    return min(made, (1 << 64) - 1)


def _enhanced(block: bytes, order: str, interface: Description, time: int) -> bytes:
    """A simple packet block of the section's first interface as an enhanced one."""
    (original,) = struct.unpack(order + "I", block[8:12])
    captured = min(original, interface.snaplen or original, len(block) - 16)
    stamp = _stamp(time, interface)
    fixed = struct.pack(order + "IIIII", 0, stamp >> 32, stamp & 0xFFFFFFFF, captured, original)
    return _block(ENHANCED, fixed + block[12 : 12 + captured] + bytes(-captured % 4), order)


def _of_pcap(header: bytes, pieces: Iterable[Record]) -> Iterator[Block]:
    order = ">" if int.from_bytes(header[:4], "big") in PCAP_MAGIC else "<"
    magic, major, minor, _, _, snaplen, link = struct.unpack(order + "IHHIIII", header)
    tick, size = PCAP_MAGIC[magic]
    unit = 10**9 // tick
    fcs = 16 * (link >> 28) if link & 0x04000000 else 0
    yield Block(_head(link & 0xFFFF, snaplen, nano=tick == 1, fcs=fcs), frame=False)
    for piece in pieces:
        seconds, part, captured, original = struct.unpack(order + "IIII", piece.content[:16])
        if (major, minor) < (2, 3) or ((major, minor) == (2, 3) and captured > original):
            original = captured  # the two lengths are the other way around there
        made = _packet(seconds * unit + part, piece.content[size:], original)
        yield Block(made, frame=True, roomy=made)


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
    return _block(SECTION, section) + _block(INTERFACE, interface)


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
