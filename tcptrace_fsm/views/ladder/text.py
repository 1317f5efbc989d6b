"""The ladder in characters."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

from tcptrace_fsm.views.ladder.rows import Row, endings, pieces, rows
from tcptrace_fsm.views.palette import SEVERITY, STATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tcptrace_fsm.views.conversation import Change, Conversation, Segment

__all__ = ["MOST_PRINTED", "ladder_text", "plainer"]

MOST_PRINTED = 200
"""Rows for segments in a terminal, by default."""
MOST_LINES = 6  # that the longest wait is taller than another
NARROWEST = 60
"""Columns below which nothing gets narrower."""
STATES = 12  # the longest name, SYN_RECEIVED
KNOWN, PRESUMED = "\u2588", "\u2592"  # a full block, and a hatched one
FIRM = frozenset({"sent", "acked"})


_ASCII = str.maketrans(
    {
        KNOWN: "#",
        PRESUMED: ":",
        **dict.fromkeys("\u2500\u254c", "-"),
        **dict.fromkeys("\u2510\u250c\u2514\u2518\u253c", "+"),
        "\u2502": "|",
        "\u25b6": ">",
        "\u25c0": "<",
        "\u00d7": "x",
        "\u22ee": ":",
        "\u00b7": ".",
        "\u00b5": "u",
    }
)


def plainer(line: str, encoding: str | None) -> str:
    """Give a line in what an output can show: signs that it lacks become ASCII.

    >>> plainer("\u2588\u2500\u25b6\u2588", "ascii")
    '#->#'
    """
    try:
        line.encode(encoding or "utf-8")
    except UnicodeEncodeError:
        return line.translate(_ASCII).encode("ascii", "replace").decode()
    return line


class Lane(NamedTuple):
    """What an endpoint's side shows: its state, and whether that is proved."""

    state: str
    firm: bool


class _Paint:
    """Colours, or none."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour

    def __call__(self, text: str, ansi: int | None, *, bold: bool = False) -> str:
        if not self._colour or not text.strip():
            return text
        codes = ["1"] if bold else []
        codes += [f"38;5;{ansi}"] if ansi is not None else []
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if codes else text

    def state(self, text: str, state: str) -> str:
        return self(text, STATE[state].ansi if state in STATE else None)

    def faint(self, text: str) -> str:
        return self(text, 245)


def ladder_text(
    conversation: Conversation, *, width: int = 100, colour: bool = False, most: int | None = MOST_PRINTED
) -> list[str]:
    """Draw a ladder in characters.

    Parameters
    ----------
    conversation : Conversation
    width : int
        Columns; no fewer than 60 are used.
    colour : bool
        Whether to colour it with ANSI sequences.
    most : int or None
        Rows for segments at most, about; what tells least is folded ("1,204 data segments"). None folds nothing.

    Returns
    -------
    list of str

    """
    return list(_Ladder(conversation, max(width, NARROWEST), colour).lines(most))


class _Ladder:
    def __init__(self, conversation: Conversation, width: int, colour: bool) -> None:
        self._talk = conversation
        self._width = width
        self._paint = _Paint(colour)
        self._frames = len(str(conversation.segments[-1].frame)) + 2 if conversation.segments and width >= 76 else 0
        last = max([conversation.ended, *(c.time for c in conversation.changes)]) - conversation.began
        self._decimals = 6 if last < (10_000 if width >= 76 else 100) * 10**9 else 3
        self._times = max(len(self._clock(conversation.began + last)), 4) + 1
        self._left = self._frames + self._times + STATES + 1
        self._middle = max(20, width - self._left - 2 - 1 - STATES)
        self._lanes = {side: self._first(side) for side in ("client", "server")}
        self._flying: dict[int, int] = {}  # frame of a segment under way, and the column in which it falls

    def _first(self, side: str) -> Lane:
        stay = self._talk.stays(side)[0]
        return Lane(stay.state, stay.change is None and stay.state in {"CLOSED", "LISTEN"})

    def _clock(self, time: int) -> str:
        return f"{(time - self._talk.began) / 1e9:.{self._decimals}f}"

    # --- the whole ---

    def lines(self, most: int | None) -> Iterator[str]:
        talk, paint = self._talk, self._paint
        yield from textwrap.wrap(f"connection {talk.conn_id} of {talk.capture}   {endings(talk)}", self._width)
        yield ""
        ends = self._middle + 2
        client, server = talk.client, talk.server
        head = f"{'frame':>{self._frames - 1}} " if self._frames else ""
        head += f"{'time':>{self._times - 1}} "
        if len(client) + len(server) + 4 > ends:
            above = "client " + client
            indent = max(0, min(self._left, self._width - len(above)))
            yield " " * indent + paint(above, None, bold=True)
            below = f"server {server}".rjust(max(0, self._left + ends - len(head)))
            yield paint.faint(head) + paint(below, None, bold=True)
        else:
            both = f"{'client ' + client}{'server ' + server:>{max(1, ends - len(client) - 7)}}"
            if len(both) > ends:
                both = f"{client}{server:>{ends - len(client)}}"
            yield paint.faint(f"{head:<{self._left}}") + paint(both, None, bold=True)
        yield self._line("", names=True)
        for row in rows(talk, most):
            yield from self._row(row)
        yield self._line("")
        yield ""
        yield from self._notes()

    def _notes(self) -> Iterator[str]:
        paint = self._paint
        for number, f in enumerate(self._talk.findings, 1):
            head = f"[{number}] {f.severity.upper()} {f.kind}"
            yield paint(head, SEVERITY[f.severity].ansi, bold=True)
            yield from textwrap.wrap(f.message, self._width, initial_indent="    ", subsequent_indent="    ")
        if self._talk.findings:
            yield ""
        legend = (
            f"{KNOWN} shown by its own segments   {PRESUMED} presumed, timer or inferred   "
            "\u00d7 lost   ? nothing tells whether it arrived   times: seconds from the capture's start"
        )
        yield from (paint.faint(line) for line in textwrap.wrap(legend, self._width))

    # --- one line ---

    def _line(
        self, middle: str, *, head: str = "", names: bool = False, states: dict[str, str] | None = None, shown: str = ""
    ) -> str:
        """Put a line together; ``middle`` has its own colours already, ``shown`` is it without them."""
        paint = self._paint
        client, server = self._lanes["client"], self._lanes["server"]
        left, right = (states or {}).get("client", ""), (states or {}).get("server", "")
        if names:
            left, right = client.state, server.state
        pad = self._middle - len(shown or middle)
        line = (
            paint.faint(f"{head:<{self._left - STATES - 1}}")
            + paint.state(f"{left:>{STATES}}", left)
            + " "
            + paint.state(KNOWN if client.firm else PRESUMED, client.state)
            + middle
            + " " * pad
            + paint.state(KNOWN if server.firm else PRESUMED, server.state)
            + " "
            + paint.state(right, right)
        )
        return line.rstrip()

    def _enter(self, changes: list[Change]) -> Iterator[dict[str, str]]:
        """Let changes take effect; give what is to be written at the sides, line by line."""
        queues = {side: [c for c in changes if c.side == side] for side in ("client", "server")}
        while any(queues.values()):
            states = {}
            for side, queue in queues.items():
                if queue:
                    change = queue.pop(0)
                    self._lanes[side] = Lane(change.to_state, change.basis in FIRM)
                    states[side] = change.to_state
            yield states

    def _row(self, row: Row) -> Iterator[str]:
        changes = self._enter(row.changes)
        if row.kind == "pause":
            # As tall as it is long, compared with the longest.
            lines = 1 + round(MOST_LINES * row.share) if row.wait else 1
            for i in range(lines):
                yield self._middle_line(row.words if i == (lines - 1) // 2 else "\u22ee")
            return
        states = next(changes, {})
        head = f"{row.segment.frame:>{self._frames - 1}} " if self._frames and row.segment else " " * self._frames
        head += f"{self._clock(row.time):>{self._times - 1}}"
        if row.kind == "arrive":  # that is no moment of the capture
            head = ""
        if row.kind == "clock":
            why = ", ".join(f"{c.event}" for c in row.changes)
            yield self._middle_line(f"({why})", head=head, states=states)
        elif row.fold is not None:
            for i, text in enumerate(row.fold.lines(width=self._middle - 4)):
                yield self._middle_line(text, head="" if i else head, states={} if i else states, dotted=True)
        elif row.segment is not None:
            for text, shown, above in self._arrow(row):
                yield self._line(text, head="" if above else head, states={} if above else states, shown=shown)
        for more in changes:
            yield self._line(*self._column_marks(""), states=more)
        for number, finding in row.findings:
            yield self._finding(number, finding)

    def _finding(self, number: int, finding: Any) -> str:
        text = f"[{number}] {finding.kind}"[: self._middle - 2]
        pad = self._middle - len(text)
        before = 1 if finding.side == "client" else pad - 1 if finding.side == "server" else pad // 2
        shown = self._falling(" " * before + text)
        painted = self._paint(text, SEVERITY[finding.severity].ansi, bold=True)
        return self._line(shown[:before] + painted + shown[before + len(text) :], shown=shown)

    def _middle_line(
        self, text: str, *, head: str = "", states: dict[str, str] | None = None, dotted: bool = False
    ) -> str:
        text = text[: self._middle]
        fill = "\u00b7" if dotted else " "
        room = self._middle - len(text) - 2
        line = f"{fill * (room // 2)} {text} {fill * (room - room // 2)}" if room >= 0 else text
        if self._flying and not dotted:
            line = self._falling(line)
        return self._line(self._paint.faint(line), head=head, states=states, shown=line)

    def _column_marks(self, text: str) -> tuple[str]:
        return (self._falling(text.ljust(self._middle)) if self._flying else text,)

    def _falling(self, text: str) -> str:
        """Draw the segments that are under way across a line."""
        chars = list(text.ljust(self._middle))
        for column in self._flying.values():
            chars[column] = {"\u2500": "\u253c", " ": "\u2502"}.get(chars[column], chars[column])
        return "".join(chars)

    # --- arrows ---

    def _arrow(self, row: Row) -> Iterator[tuple[str, str, bool]]:
        """Draw a segment: lines of the middle, with colours and without, and whether each stands above the arrow."""
        s = row.segment
        assert s is not None
        room = self._middle
        if row.kind == "arrive":
            column = self._flying.pop(s.frame)
            line = self._falling("")
            if s.side == "client":
                line = line[:column] + "\u2514" + "\u2500" * (room - column - 2) + "\u25b6"
            else:
                line = "\u25c0" + "\u2500" * (column - 1) + "\u2518" + line[column + 1 :]
            yield line, line, False
            return
        begin, end = 0, room  # the arrow's part of the middle
        if row.kind == "leave":
            share = room * 3 // 4 if s.side == "client" else room // 4
            while share in self._flying.values():
                share += 1
            begin, end = (0, share + 1) if s.side == "client" else (share, room)
        length = end - begin
        parts = pieces(s)
        least = "  ".join(parts[:3])
        text, above = _fit(parts, length - 6), ""
        if len(least) > length - 6:
            parts = pieces(s, short=True)
            text = " ".join(parts[:3])
            if len(text) > length - 4:
                above, text = _fit(parts, room - 2) or parts[0][: room - 2], ""
        if above:
            padded = self._falling(f" {above}".ljust(room) if s.side == "client" else f"{above} ".rjust(room))
            yield self._paint(padded, _ink(s)), padded, True
        line = self._falling(" " * begin + self._shaft(s, text, length, row.kind) + " " * (room - end))
        if row.kind == "leave":
            self._flying[s.frame] = end - 1 if s.side == "client" else begin
        yield self._paint(line, _ink(s)), line, False

    def _shaft(self, s: Segment, text: str, length: int, kind: str) -> str:
        """Draw the arrow of a segment with its text inside."""
        stroke = "\u254c" if s.fate == "unknown" else "\u2500"
        body = f" {text} " if text else ""
        ends = {"lost": "\u00d7", "unknown": "?"}
        short = max(2, min(8, length - len(body) - 4)) if s.fate in ends else 0
        inner = length - len(body) - 1 - short
        lead = max(1, inner // 2 if text else inner)
        if s.side == "client":
            tip = "\u2510" if kind == "leave" else ends.get(s.fate, "\u25b6")
            return (stroke * lead + body + stroke * (inner - lead) + tip + " " * short)[:length].ljust(length)
        tip = "\u250c" if kind == "leave" else ends.get(s.fate, "\u25c0")
        return (" " * short + tip + stroke * (inner - lead) + body + stroke * lead)[-length:].rjust(length)


def _fit(parts: list[str], room: int) -> str:
    """Join as many pieces as fit, the first always first."""
    text = ""
    for piece in parts:
        longer = f"{text}  {piece}" if text else piece
        if len(longer) > room:
            break
        text = longer
    return text


def _ink(s: Segment) -> int | None:
    """Give a segment's colour: what is lost or repeated stands out, RSTs are red, copies made on the way are faint."""
    if s.label.endswith("_duplicate"):
        return 240
    if s.fate == "lost" or "RST" in s.flags:
        return SEVERITY["high"].ansi
    return SEVERITY["medium"].ansi if "retransmission" in s.label else None
