"""The ladder as SVG: self-contained, for light and dark ground, with its content in words as well."""

from __future__ import annotations

import textwrap
from html import escape
from math import atan2, cos, degrees, hypot, log10, sin
from typing import TYPE_CHECKING, Any, NamedTuple

from tcptrace_fsm.views.ladder.rows import Row, elapsed, endings, pieces, rows
from tcptrace_fsm.views.palette import INK, SEVERITY, STATE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tcptrace_fsm.views.conversation import Change, Conversation, Segment

__all__ = ["MOST_DRAWN", "ladder_style", "ladder_svg"]

MOST_DRAWN = 100
"""Rows for segments in a picture, by default."""
WIDTH = 780
FRAME, TIME = 44, 132  # right edges of these columns
LEFT, RIGHT = 252, 636  # the lifelines: where arrows begin and end
BAND = 10
LINE = 30  # from one segment to the next
NOTE = 16  # a line of small text
TALLEST = 130  # what the longest wait is taller than another row
CHARACTER = 6.95  # width of one at the size of the labels
FIRM = frozenset({"sent", "acked"})
MONO = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
SANS = "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"


# --- style ------------------------------------------------------------------------------------------------------------
def ladder_style(dark: str | None = None) -> str:
    """CSS of every ladder.

    Parameters
    ----------
    dark : str or None
        A selector under which it is dark, for a page that lets its reader choose. None: as the reader's system says
        (``prefers-color-scheme``).

    """
    light = _colours(False, "")
    other = _colours(True, f"{dark} " if dark else "")
    return "\n".join([_RULES, light, other if dark else f"@media (prefers-color-scheme:dark){{{other}}}"])


_RULES = f"""\
.ladder text{{font:11.5px {MONO};}}
.ladder .sans,.ladder .sans tspan{{font-family:{SANS};font-size:12px}}
.ladder .head{{font-size:13px;font-weight:600}}
.ladder .b{{font-weight:600}}
.ladder .e{{text-anchor:end}}
.ladder .m{{text-anchor:middle}}
.ladder .on{{paint-order:stroke;stroke-width:4px;stroke-linejoin:round}}
.ladder line,.ladder path{{fill:none;stroke-width:1.4}}
.ladder .unknown{{stroke-dasharray:5 4}}
.ladder .fold{{stroke-dasharray:3 3}}
.ladder .arrow:hover line{{stroke-width:2.6}}
.ladder .dot text{{font:600 10.5px {SANS};text-anchor:middle}}"""


def _colours(dark: bool, under: str) -> str:
    def c(colour: Any) -> str:
        return str(colour.dark if dark else colour.light)

    paper, ink, faint, rule = (c(INK[name]) for name in ("paper", "ink", "faint", "rule"))
    red, amber = c(SEVERITY["high"]), c(SEVERITY["medium"])
    rules = [
        f".ladder text{{fill:{ink}}}",
        f".ladder .paper{{fill:{paper}}}",
        f".ladder .cut{{stroke:{paper};stroke-width:3}}",
        f".ladder .on{{stroke:{paper}}}",
        f".ladder .faint{{fill:{faint}}}",
        f".ladder line,.ladder path{{stroke:{ink}}}",
        f".ladder .tip{{fill:{ink};stroke:none}}",
        f".ladder .again line{{stroke:{amber}}}",
        f".ladder .again .tip,.ladder .again text{{fill:{amber}}}",
        f".ladder .copy line{{stroke:{rule}}}",
        f".ladder .copy .tip{{fill:{rule}}}",
        f".ladder .copy text{{fill:{faint}}}",
        f".ladder .red line,.ladder .red .cross{{stroke:{red}}}",
        f".ladder .red .tip,.ladder .red text{{fill:{red}}}",
        f".ladder .fold{{stroke:{rule};fill:{paper}}}",
        f".ladder .dot text{{fill:{paper}}}",
        f".ladder .wait{{fill:{amber}}}",
        f".ladder .stripe{{stroke:{paper};stroke-width:2.6}}",
    ]
    rules += [f".ladder .{name}{{fill:{c(colour)}}}" for name, colour in STATE.items()]
    rules += [f".ladder .{name}{{fill:{c(colour)}}}" for name, colour in SEVERITY.items()]
    return "\n".join(under + line.replace(",.ladder", f",{under}.ladder") for line in rules)


# --- the picture ------------------------------------------------------------------------------------------------------
def ladder_svg(
    conversation: Conversation, *, most: int | None = MOST_DRAWN, standalone: bool = True, notes: bool = True
) -> str:
    """Draw a ladder as SVG.

    Parameters
    ----------
    conversation : Conversation
    most : int or None
        Rows for segments at most, about; what tells least is folded ("1,204 data segments"). None folds nothing.
    standalone : bool
        With its own style. False inside a page that gives :func:`ladder_style` once.
    notes : bool
        Whether to write the findings' messages and the legend below.

    Returns
    -------
    str
        An ``svg`` element; all text from the capture is escaped.

    """
    return _Picture(conversation).svg(most, standalone=standalone, notes=notes)


class _Arrow(NamedTuple):
    """An arrow's two ends."""

    sent: float
    arrived: float


class _Picture:
    def __init__(self, conversation: Conversation) -> None:
        self._talk = conversation
        self._ident = f"ladder-{conversation.conn_id}"
        near, far = conversation.distance("client"), conversation.distance("server")
        trip = (near or 0) + (far or 0)
        self._delay = trip if near is not None or far is not None else None
        self._slant = min(24.0, max(6.0, 6 + 4.5 * log10(max(trip, 1) / 1e4)))
        self._share = (near or 0) / trip if trip else 0.5  # of the slant, before the capture point seen from the client
        self._parts: list[str] = []
        self._texts: list[str] = []
        self._y = 0.0
        self._leaving: dict[int, float] = {}
        self._long: list[tuple[Segment, _Arrow]] = []  # those that take more than one row
        self._marks: dict[str, list[tuple[float, Change]]] = {"client": [], "server": []}

    # --- elements ---

    def _text(self, x: float, y: float, text: str, *classes: str, extra: str = "") -> None:
        named = f' class="{" ".join(classes)}"' if classes else ""
        self._texts.append(f'<text x="{x:.1f}" y="{y:.1f}"{named}{extra}>{escape(text)}</text>')

    def _add(self, element: str) -> None:
        self._parts.append(element)

    # --- the whole ---

    def svg(self, most: int | None, *, standalone: bool, notes: bool) -> str:
        talk = self._talk
        self._text(16, 24, f"Connection {talk.conn_id}", "sans", "head")
        self._text(16, 42, f"{talk.capture}: {endings(talk)}", "sans", "faint")
        self._text(FRAME, 84, "frame", "faint", "e")
        self._text(TIME, 84, "time, s", "faint", "e")
        self._text(LEFT, 66, "client", "faint", "m")
        self._text(RIGHT, 66, "server", "faint", "m")
        self._text(LEFT, 84, talk.client, "b", "m")
        self._text(RIGHT, 84, talk.server, "b", "m")
        top = 96.0
        self._y = top + 26 + self._share * self._slant
        laid = rows(talk, most)
        before: Row | None = None
        for row in laid:
            self._y += self._room(before, row)
            self._row(row)
            before = row
        for s, ends in self._long:
            self._arrow(s, ends, _free(s, ends, self._long))
        bottom = self._y + self._slant + 26
        bands = [part for side in ("client", "server") for part in self._band(side, top, bottom)]
        height = bottom + 16
        if notes:
            height = self._notes(bottom + 30)
        name = self._ident
        size = f'width="{WIDTH}" height="{height:.0f}" viewBox="0 0 {WIDTH} {height:.0f}"'
        role = f'role="img" aria-labelledby="{name}-title {name}-desc"'
        title = f"Connection {talk.conn_id}: {talk.client} to {talk.server}"
        hatch = 'width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"'
        own = [f"<style>{ladder_style()}</style>", f'<rect class="paper" width="{WIDTH}" height="{height:.0f}"/>']
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" class="ladder" {role} {size}>',
                f'<title id="{name}-title">{escape(title)}</title>',
                f'<desc id="{name}-desc">{escape(self._description())}</desc>',
                f'<defs><pattern id="{name}-hatch" {hatch}>',
                '<line class="stripe" x1="1" y1="0" x2="1" y2="6"/></pattern></defs>',
                *(own if standalone else []),
                *bands,
                *self._parts,
                *self._texts,
                "</svg>",
            ]
        )

    def _description(self) -> str:
        talk = self._talk
        sentences = [endings(talk)]
        for side in ("client", "server"):
            changes = [c for c in talk.changes if c.side == side]
            if changes:
                sentences.append(f"{side}: {', '.join([changes[0].from_state, *(c.to_state for c in changes)])}")
        sentences += [f"{f.severity}: {f.message}" for f in talk.findings]
        return ". ".join(sentences)

    # --- where rows go ---

    def _room(self, before: Row | None, row: Row) -> float:
        """How far below the row before it a row is."""
        if before is None:
            return 0
        room: float = LINE
        if row.kind == "pause":
            room = 24 + _tall(row) / 2
        elif before.kind == "pause":
            room = 24 + _tall(before) / 2 + 0.6 * self._slant
        if row.kind == "fold" and row.fold is not None:
            room = 22 + NOTE * len(row.fold.lines()) / 2
        if before.kind == "fold" and before.fold is not None:
            room = max(room, 22 + NOTE * len(before.fold.lines()) / 2)
        one, other = before.segment, row.segment
        if before.kind == row.kind == "segment" and one and other and one.side != other.side:
            share = 1 - self._share if one.side == "client" else self._share
            room = max(room, 22 + 2 * share * self._slant)
        most = max([0, *(len(before.of(side)) for side in ("client", "server"))])
        return room + (NOTE + 2) * len(before.findings) + 14 * max(0, most - 1)

    # --- rows ---

    def _row(self, row: Row) -> None:
        y = self._y
        ends = _Arrow(y, y)
        s = row.segment
        if row.kind == "pause":
            self._pause(y, row)
        elif row.fold is not None:
            self._fold(y, row)
        elif row.kind == "clock":
            why = ", ".join(f"{c.event} ({c.side})" for c in row.changes)
            self._stamp(y, None, row.time)
            self._text((LEFT + RIGHT) / 2, y + 4, why, "faint", "m", "on")
        elif s is not None and row.kind == "leave":
            self._leaving[s.frame] = y
            self._stamp(y, s.frame, s.time)
        elif s is not None and row.kind == "arrive":
            ends = _Arrow(self._leaving[s.frame], y)
            self._long.append((s, ends))
        elif s is not None:
            there = (1 - self._share if s.side == "client" else self._share) * self._slant
            back = (self._share if s.side == "client" else 1 - self._share) * self._slant
            ends = _Arrow(y - back, y + there)
            self._stamp(ends.sent if s.side == "client" else ends.arrived, s.frame, s.time)
            self._arrow(s, ends, 0.5)
        for change in row.changes:
            own = s is not None and change.side == s.side
            self._marks[change.side].append((ends.sent if own or row.kind == "clock" else ends.arrived, change))
        lowest = max(ends) if row.kind == "segment" else y
        for i, (number, finding) in enumerate(row.findings):
            self._finding(lowest + 15 + i * (NOTE + 2), number, finding)

    def _stamp(self, y: float, frame: int | None, time: int) -> None:
        if frame is not None:
            self._text(FRAME, y + 4, f"{frame}", "faint", "e")
        self._text(TIME, y + 4, f"{(time - self._talk.began) / 1e9:.6f}", "faint", "e")

    def _pause(self, y: float, row: Row) -> None:
        self._text((LEFT + RIGHT) / 2, y + 3, row.words, "m", "on", *([] if row.wait else ["faint"]))
        if row.wait:  # a gap to scale, on the side of whom it waits for
            tall = _tall(row) + 14
            at = LEFT + BAND if row.wait.side == "client" else RIGHT - BAND - 4
            self._add(f'<rect class="wait" x="{at}" y="{y - tall / 2:.1f}" width="4" height="{tall:.1f}" rx="2"/>')
            return
        for x in (LEFT - BAND / 2, RIGHT + BAND / 2):
            self._texts.append(
                f'<path class="cut" d="M{x - 9:.1f},{y + 2:.1f}l18,-6"/>'
                f'<path class="cut" d="M{x - 9:.1f},{y + 7:.1f}l18,-6"/>'
            )

    def _fold(self, y: float, row: Row) -> None:
        fold = row.fold
        assert fold is not None
        sentences = fold.lines("\u2192", "\u2190")
        tall = NOTE * len(sentences) + 10
        self._stamp(y, None, fold.first.time)
        place = f'x="{LEFT + 14}" y="{y - tall / 2:.1f}" width="{RIGHT - LEFT - 28}" height="{tall}"'
        self._add(f'<rect class="fold" {place} rx="5"/>')
        for i, text in enumerate(sentences):
            self._text((LEFT + RIGHT) / 2, y - tall / 2 + NOTE * (i + 1) + 1, text, "m")

    def _arrow(self, s: Segment, ends: _Arrow, place: float) -> None:
        """Draw a segment; its text stands at ``place`` of its way."""
        x0, x1 = (LEFT, RIGHT) if s.side == "client" else (RIGHT, LEFT)
        y0, y1 = ends
        angle = atan2(y1 - y0, x1 - x0)
        whole = hypot(x1 - x0, y1 - y0)
        short = whole * 0.82 if s.fate else whole - 1
        ex, ey = x0 + short * cos(angle), y0 + short * sin(angle)
        kind = _kind(s)
        stroke = ' class="unknown"' if s.fate == "unknown" else ""
        line = f'<line x1="{x0}" y1="{y0:.1f}" x2="{ex:.1f}" y2="{ey:.1f}"{stroke}/>'
        if s.fate == "lost":
            tip = f'<path class="cross" d="M{ex - 5:.1f},{ey - 5:.1f}l10,10m0,-10l-10,10"/>'
        elif s.fate == "unknown":
            tip = f'<text x="{ex + (9 if s.side == "client" else -9):.1f}" y="{ey + 4:.1f}" class="m b">?</text>'
        else:
            turn = f'transform="translate({ex:.1f},{ey:.1f}) rotate({degrees(angle):.1f})"'
            tip = f'<path class="tip" d="M0,0l-9,-4l2,4l-2,4z" {turn}/>'
        room = int((whole * (0.94 if place == 0.5 else 0.5) - 10) / CHARACTER)
        text = _fit(pieces(s), pieces(s, short=True), room)
        slope = angle if s.side == "client" else atan2(y0 - y1, x0 - x1)
        centre = place if not s.fate else min(place, 0.4)
        tx, ty = x0 + (x1 - x0) * centre, y0 + (y1 - y0) * centre
        named = f' class="{("arrow " + kind).strip()}"'
        self._add(f"<g{named}><title>{escape(self._tooltip(s))}</title>{line}{tip}</g>")
        along = f'transform="translate({tx:.1f},{ty:.1f}) rotate({degrees(slope):.1f})" y="-4"'
        self._texts.append(f'<g class="{kind}"><text class="m on" {along}>{escape(text)}</text></g>')

    def _tooltip(self, s: Segment) -> str:
        other = "server" if s.side == "client" else "client"
        fate = {"lost": ", lost", "unknown": ", nothing tells whether it arrived"}.get(s.fate, "")
        when = (s.time - self._talk.began) / 1e9
        return f"frame {s.frame}, {when:.6f} s, {s.side} to {other}: {' '.join(pieces(s))}{fate}"

    def _finding(self, y: float, number: int, finding: Any) -> None:
        text = finding.kind
        if finding.side == "server":
            x = RIGHT - 14.0
            self._text(x - 13, y + 4, text, "sans", "b", "e", "on", finding.severity)
        else:
            x = LEFT + 14.0 if finding.side == "client" else (LEFT + RIGHT - len(text) * 6.6) / 2
            self._text(x + 13, y + 4, text, "sans", "b", "on", finding.severity)
        self._dot(x, y, number, finding)

    def _dot(self, x: float, y: float, number: int, finding: Any) -> None:
        sentences = escape(f"{finding.severity}: {finding.message}")
        circle = f'<circle class="{finding.severity}" cx="{x:.1f}" cy="{y:.1f}" r="8"/>'
        digits = f'<text x="{x:.1f}" y="{y + 3.8:.1f}">{number}</text>'
        self._texts.append(f'<g class="dot"><title>{sentences}</title>{circle}{digits}</g>')

    # --- the sides ---

    def _band(self, side: str, top: float, bottom: float) -> Iterator[str]:
        """Draw one endpoint's states as a coloured band, with their names beside it."""
        x = LEFT - BAND if side == "client" else RIGHT
        stays = self._talk.stays(side)
        begun: list[tuple[float, str, bool]] = [
            (top, stays[0].state, stays[0].state in {"CLOSED", "LISTEN"} or stays[0].basis in FIRM)
        ]
        last = top - 13
        for y, change in self._marks[side]:
            at = max(y, last + 14)
            begun.append((at, change.to_state, change.basis in FIRM))
            last = at
        for (y, state, firm), (end, *_) in zip(begun, [*begun[1:], (bottom, "", True)], strict=True):
            thin = 3 if state == "CLOSED" else 0
            place = f'x="{x + thin}" y="{y:.1f}" width="{BAND - 2 * thin}" height="{max(0, end - y):.1f}"'
            yield f'<g><title>{escape(f"{side}: {state}")}</title><rect class="{state}" {place}/>'
            if not firm and not thin:
                yield f'<rect {place} fill="url(#{self._ident}-hatch)"/>'
            yield "</g>"
            if side == "client":
                self._text(LEFT - BAND - 8, max(y, top + 8) + 4, state, "b", "e")
            else:
                self._text(RIGHT + BAND + 8, max(y, top + 8) + 4, state, "b")

    # --- below ---

    def _notes(self, y: float) -> float:
        for number, finding in enumerate(self._talk.findings, 1):
            self._dot(24, y - 4, number, finding)
            head = f"{finding.severity.upper()} {finding.kind}"
            self._text(40, y, head, "sans", "b", finding.severity)
            for line in textwrap.wrap(finding.message, 112):
                y += NOTE
                self._text(40, y, line, "sans")
            y += NOTE + 6
        for line in self._legend():
            self._text(16, y + 2, line, "sans", "faint")
            y += NOTE
        return y + 6

    def _legend(self) -> Sequence[str]:
        lost = any(s.fate == "lost" for s in self._talk.segments)
        unknown = any(s.fate == "unknown" for s in self._talk.segments)
        sentences = [
            "Band: full where the endpoint's own segments prove its state, hatched where it is presumed or inferred."
        ]
        if lost or unknown:
            sentences.append(
                " ".join(
                    ["\u00d7 lost, or discarded on arrival, as the rest tells."] * lost
                    + ["? nothing tells whether it arrived."] * unknown
                )
            )
        if self._delay is not None:
            sentences.append(
                f"Arrows fall with the logarithm of the way's delay, here about {elapsed(self._delay)}."
                " Distances down the page are not to scale, waits are."
            )
        else:
            sentences.append("Distances down the page are not to scale.")
        return sentences


def _tall(row: Row) -> float:
    """How much taller than usual a pause is."""
    return TALLEST * row.share if row.wait else 0.0


def _kind(s: Segment) -> str:
    """How a segment is coloured."""
    if s.label.endswith("_duplicate"):
        return "copy"
    if s.fate == "lost" or "RST" in s.flags:
        return "red"
    return "again" if "retransmission" in s.label else ""


def _free(s: Segment, ends: _Arrow, others: Sequence[tuple[Segment, _Arrow]]) -> float:
    """Where on its way the text of a long arrow is farthest from the arrows that cross it."""
    crossings = [
        (other.arrived - ends.sent) / ((ends.arrived - ends.sent) - (other.sent - other.arrived) or 1.0)
        for t, other in others
        if t.side != s.side
    ]
    met = [c for c in crossings if 0 <= c <= 1]
    return max((0.26, 0.5, 0.74), key=lambda place: (min((abs(place - c) for c in met), default=1), -place))


def _fit(sentences: Sequence[str], short: Sequence[str], room: int) -> str:
    """Join as many pieces as fit."""
    for these in (sentences, short):
        for n in range(len(these), 2, -1):
            text = "  ".join(these[:n])
            if len(text) <= room:
                return text
    return " ".join(short[:3])[:room]
