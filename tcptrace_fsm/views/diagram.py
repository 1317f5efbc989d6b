"""Figure 5 of RFC 9293 as SVG, and in it what a capture's endpoints did.

Where states and arrows stand is fixed by hand, once, in :data:`PLACES` and :data:`ARROWS`. Which arrows there are, and
what is written at them, comes from the machine's rows (:mod:`tcptrace_fsm.tcp.machine`); a test holds the two together.

With a capture, each arrow is as heavy as it was often taken: solid for clients, dashed for servers, as W. R. Stevens
draws the usual ways of the two; faint where nobody went. The part of it that findings are about is red. What the figure
does not draw (resets, timers) is listed below it.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from html import escape
from math import atan2, degrees, log10
from typing import TYPE_CHECKING, Any, NamedTuple

from tcptrace_fsm.core.words import LOUD
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.tcp.machine import EVENT_TEXT, TRANSITIONS, Event, State
from tcptrace_fsm.views.palette import INK, SEVERITY, STATE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["ARROWS", "Diagram", "Taken", "Way", "diagram_style", "diagram_svg", "diagram_text"]

S, E = State, Event


class Way(NamedTuple):
    """From one state to another by an event: a row of the machine."""

    source: State
    event: Event
    target: State


# --- what was taken ---------------------------------------------------------------------------------------------------
class Taken:
    """A sink that counts which ways a capture's endpoints took.

    Attributes
    ----------
    client, server : Counter of Way
        How often each way was taken.
    marked : Counter of Way
        How often of these a finding of medium or high severity cites the very frame.

    """

    def __init__(self) -> None:
        self.client: Counter[Way] = Counter()
        self.server: Counter[Way] = Counter()
        self.marked: Counter[Way] = Counter()

    def take(self, finished: Any) -> None:
        """Count the transitions of connections that are over."""
        if not finished.transition_count:
            return
        import numpy as np

        size = k.TRANSITION_SIZE
        rows = np.frombuffer(finished.transitions, dtype=np.int64, count=finished.transition_count * size)
        rows = rows.reshape(-1, size)
        states, events = len(State), len(Event)
        ways = (rows[:, k.T_FROM] * events + rows[:, k.T_EVENT]) * states + rows[:, k.T_TO]

        def count(counter: Counter[Way], chosen: Any) -> None:
            for code, times in zip(*np.unique(ways[chosen], return_counts=True), strict=True):
                rest, target = divmod(int(code), states)
                source, event = divmod(rest, events)
                counter[Way(State(source), Event(event), State(target))] += int(times)

        count(self.client, rows[:, k.T_SIDE] == k.CLIENT)
        count(self.server, rows[:, k.T_SIDE] == k.SERVER)
        cited = [
            (f.conn_id << 40) + frame
            for f in finished.findings
            if f.severity in LOUD and f.conn_id is not None
            for frame in f.frames
        ]
        if cited:
            shown = (rows[:, k.T_CONNECTION] << 40) + rows[:, k.T_FRAME]
            count(self.marked, np.isin(shown, cited) & (rows[:, k.T_FRAME] >= 0))

    def total(self, way: Way) -> int:
        """How often a way was taken, by either side."""
        return self.client[way] + self.server[way]


class Diagram:
    """The figure with what a capture did, as a notebook gets it: it shows itself.

    Attributes
    ----------
    taken : Taken
        The counts.

    """

    def __init__(self, taken: Taken, capture: str) -> None:
        self.taken = taken
        self._capture = capture

    @property
    def svg(self) -> str:
        """The picture, an SVG file's text."""
        return diagram_svg(self.taken, capture=self._capture)

    def __str__(self) -> str:
        return "\n".join(diagram_text(self.taken))

    __repr__ = __str__

    def _repr_svg_(self) -> str:
        return self.svg


# --- where everything stands ------------------------------------------------------------------------------------------
class Place(NamedTuple):
    """A state's box: its centre."""

    x: int
    y: int


BOX = (136, 40)
CLOSED_AGAIN = "CLOSED again"
"""The figure has CLOSED twice: where connections begin, and where they end."""

PLACES: dict[State | str, Place] = {
    S.CLOSED: Place(520, 92),
    S.LISTEN: Place(520, 232),
    S.SYN_RECEIVED: Place(190, 352),
    S.SYN_SENT: Place(850, 352),
    S.ESTABLISHED: Place(520, 492),
    S.FIN_WAIT_1: Place(190, 632),
    S.CLOSE_WAIT: Place(850, 632),
    S.FIN_WAIT_2: Place(190, 782),
    S.CLOSING: Place(520, 782),
    S.LAST_ACK: Place(850, 782),
    S.TIME_WAIT: Place(520, 932),
    CLOSED_AGAIN: Place(850, 932),
}


class Arrow(NamedTuple):
    """How an arrow is drawn.

    Attributes
    ----------
    path : str
        SVG path from the edge of one box to that of the other.
    x, y : int
        Where its text begins, ends or has its middle.
    anchor : str
        Which of these: ``start``, ``end``, ``middle``.
    also : str
        What the RFC's figure writes at it besides the event: the user's call, or the answer.

    """

    path: str
    x: int
    y: int
    anchor: str
    also: str = ""


# fmt: off
ARROWS: dict[Way, Arrow] = {
    Way(S.CLOSED, E.OPEN_PASSIVE, S.LISTEN): Arrow("M504,112V212", 494, 160, "end"),
    Way(S.LISTEN, E.USER_CLOSE, S.CLOSED): Arrow("M536,212V112", 546, 172, "start"),
    Way(S.CLOSED, E.SND_SYN, S.SYN_SENT): Arrow("M588,84C770,84 874,180 874,332", 864, 160, "start", "active OPEN"),
    Way(S.SYN_SENT, E.USER_CLOSE, S.CLOSED): Arrow("M822,332C818,212 728,106 588,102", 690, 160, "end"),
    Way(S.LISTEN, E.SND_SYN, S.SYN_SENT): Arrow("M588,232C680,234 748,276 790,332", 672, 226, "start", "SEND"),
    Way(S.LISTEN, E.RCV_SYN, S.SYN_RECEIVED):
        Arrow("M452,242C372,246 302,278 254,332", 346, 292, "start", "snd SYN+ACK"),
    Way(S.SYN_RECEIVED, E.RCV_RST, S.LISTEN):
        Arrow("M160,332C162,240 310,216 452,222", 214, 226, "end", "passive only"),
    Way(S.SYN_SENT, E.RCV_SYN, S.SYN_RECEIVED): Arrow("M782,356H258", 520, 374, "middle", "snd SYN+ACK"),
    Way(S.SYN_RECEIVED, E.RCV_ACK_OF_SYN, S.ESTABLISHED): Arrow("M254,372C292,436 372,482 452,484", 340, 398, "start"),
    Way(S.SYN_SENT, E.RCV_SYN_ACK, S.ESTABLISHED):
        Arrow("M786,372C748,436 668,482 588,484", 700, 398, "end", "snd ACK"),
    Way(S.SYN_RECEIVED, E.SND_FIN, S.FIN_WAIT_1): Arrow("M160,372V612", 150, 484, "end", "CLOSE"),
    Way(S.ESTABLISHED, E.SND_FIN, S.FIN_WAIT_1): Arrow("M452,500C372,504 302,556 254,612", 346, 562, "start", "CLOSE"),
    Way(S.ESTABLISHED, E.RCV_FIN, S.CLOSE_WAIT): Arrow("M588,500C668,504 738,556 786,612", 694, 562, "end", "snd ACK"),
    Way(S.FIN_WAIT_1, E.RCV_ACK_OF_FIN, S.FIN_WAIT_2): Arrow("M160,652V762", 150, 694, "end"),
    Way(S.FIN_WAIT_1, E.RCV_FIN, S.CLOSING): Arrow("M258,636C370,640 470,686 498,762", 456, 654, "start", "snd ACK"),
    Way(S.FIN_WAIT_2, E.RCV_FIN, S.TIME_WAIT): Arrow("M190,802C194,884 310,938 452,938", 234, 898, "end", "snd ACK"),
    Way(S.CLOSING, E.RCV_ACK_OF_FIN, S.TIME_WAIT): Arrow("M520,802V912", 530, 848, "start"),
    Way(S.TIME_WAIT, E.TIMEOUT_2MSL, S.CLOSED): Arrow("M588,932H782", 694, 952, "middle"),
    Way(S.CLOSE_WAIT, E.SND_FIN, S.LAST_ACK): Arrow("M850,652V762", 862, 692, "start", "CLOSE"),
    Way(S.LAST_ACK, E.RCV_ACK_OF_FIN, S.CLOSED): Arrow("M850,802V912", 862, 852, "start"),
}
"""The arrows of the figure."""

NOTED: dict[Way, Arrow] = {
    Way(S.FIN_WAIT_1, E.RCV_FIN_ACK_OF_FIN, S.TIME_WAIT):
        Arrow("M254,652C290,790 370,920 452,922", 372, 826, "start", "snd ACK, note 2"),
}
"""What the RFC has in a note to the figure, and Stevens as an arrow: drawn where somebody went there."""
# fmt: on

GROUPS = (
    ("active close", 30, 592, 600, 378),
    ("passive close", 738, 592, 280, 240),
)
"""Stevens' frames: words, left, top, width, height."""

WIDTH, BOTTOM = 1040, 990
MONO = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"
SANS = "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"


# --- style ------------------------------------------------------------------------------------------------------------
_SIDES = {"client": ("#0550ae", "#79c0ff"), "server": ("#1a7f37", "#56d364")}


def diagram_style(dark: str | None = None) -> str:
    """CSS of the figure.

    Parameters
    ----------
    dark : str or None
        A selector under which it is dark; None: as ``prefers-color-scheme`` says.

    """
    other = _colours(True, f"{dark} " if dark else "")
    return "\n".join([_RULES, _colours(False, ""), other if dark else f"@media (prefers-color-scheme:dark){{{other}}}"])


_RULES = f"""\
.fsm text{{font:12px {SANS};stroke-linejoin:round}}
.fsm .name{{font:600 13px {MONO};text-anchor:middle}}
.fsm .head{{font-size:15px;font-weight:600}}
.fsm .small{{font-size:11px}}
.fsm .b{{font-weight:600}}
.fsm .way{{fill:none}}
.fsm .server.way{{stroke-dasharray:9 5}}
.fsm .group{{fill:none;stroke-dasharray:3 4;stroke-width:1.2}}
.fsm .on{{paint-order:stroke;stroke-width:4px}}
.fsm .state{{stroke-width:2.5}}"""


def _colours(dark: bool, under: str) -> str:
    def c(colour: Any) -> str:
        return str(colour.dark if dark else colour.light)

    paper, ink, faint, rule = (c(INK[name]) for name in ("paper", "ink", "faint", "rule"))
    rules = [
        f".fsm text{{fill:{ink}}}",
        f".fsm .paper{{fill:{paper}}}",
        f".fsm .on{{stroke:{paper}}}",
        f".fsm .faint{{fill:{faint}}}",
        f".fsm .way{{stroke:{ink}}}",
        f".fsm .tip{{fill:{ink}}}",
        f".fsm .never.way{{stroke:{rule}}}",
        f".fsm .never.tip{{fill:{rule}}}",
        f".fsm .group{{stroke:{rule}}}",
        f".fsm .marked.way{{stroke:{c(SEVERITY['high'])}}}",
        f".fsm .marked.tip{{fill:{c(SEVERITY['high'])}}}",
        f".fsm text .marked{{fill:{c(SEVERITY['high'])}}}",
        f".fsm .state{{fill:{paper}}}",
    ]
    for side, (light, night) in _SIDES.items():
        colour = night if dark else light
        rules += [f".fsm .{side}.way{{stroke:{colour}}}", f".fsm .{side}.tip{{fill:{colour}}}"]
        rules += [f".fsm text .{side}{{fill:{colour}}}"]
    rules += [f".fsm .{name}{{stroke:{c(colour)}}}" for name, colour in STATE.items()]
    return "\n".join(under + line for line in rules)


# --- the picture ------------------------------------------------------------------------------------------------------
def diagram_svg(taken: Taken | None = None, *, capture: str = "", standalone: bool = True) -> str:
    """Draw the figure.

    Parameters
    ----------
    taken : Taken or None
        What a capture's endpoints did; None for the figure alone.
    capture : str
        What the capture is called.
    standalone : bool
        With its own style. False inside a page that gives :func:`diagram_style` once.

    Returns
    -------
    str
        An ``svg`` element; all text from the capture is escaped.

    """
    arrows = dict(ARROWS)
    if taken is not None:
        arrows.update({way: arrow for way, arrow in NOTED.items() if taken.total(way)})
    below = list(_below(taken, arrows))
    height = BOTTOM + 18 * len(below) + 30
    title = "The TCP connection state diagram (RFC 9293, figure 5)"
    if taken is not None:
        title += f", as taken in {capture}" if capture else ", as taken"
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    role = 'role="img" aria-labelledby="fsm-title fsm-desc"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="fsm" {role} {size}>',
        f'<title id="fsm-title">{escape(title)}</title>',
        f'<desc id="fsm-desc">{escape(". ".join(diagram_text(taken)))}</desc>',
        *([f"<style>{diagram_style()}</style>"] if standalone else []),
        *([f'<rect class="paper" width="{WIDTH}" height="{height}"/>'] if standalone else []),
        f'<text class="head" x="20" y="28">{escape(title)}</text>',
    ]
    if taken is not None:
        parts += _key()
    for words, x, y, width, tall in GROUPS:
        parts.append(f'<rect class="group" x="{x}" y="{y}" width="{width}" height="{tall}" rx="8"/>')
        parts.append(f'<text class="small faint" x="{x + 10}" y="{y + tall - 10}">{words}</text>')
    drawn = sorted(arrows, key=lambda way: taken.total(way) if taken else 0)
    for way in drawn:
        parts += _strands(way, arrows[way], taken)
    for way in drawn:
        parts += _words(way, arrows[way], taken)
    for state, place in PLACES.items():
        parts += _box(state, place)
    for i, line in enumerate(below):
        kind = "b" if i == 0 else ""
        parts.append(f'<text class="{kind}" x="20" y="{BOTTOM + 18 * (i + 1)}">{line}</text>')
    return "\n".join([*parts, "</svg>"])


def _box(state: State | str, place: Place) -> Iterator[str]:
    name = "CLOSED" if isinstance(state, str) else state.name
    width, tall = BOX
    yield (
        f'<rect class="state {name}" x="{place.x - width // 2}" y="{place.y - tall // 2}"'
        f' width="{width}" height="{tall}" rx="9"/>'
    )
    yield f'<text class="name" x="{place.x}" y="{place.y + 5}">{name}</text>'


def _key() -> Iterator[str]:
    """Explain the strands."""
    x, y = 20, 50
    for kind, words in (("client", "clients"), ("server", "servers"), ("marked", "in a finding"), ("never", "never")):
        yield f'<path class="way {kind}" stroke-width="2.6" d="M{x},{y}h34"/>'
        yield f'<text class="small" x="{x + 42}" y="{y + 4}">{words}</text>'
        x += 60 + 7 * len(words)


def weight(times: int) -> float:
    """Return the width of a strand that was taken so often.

    >>> weight(1), weight(1000)
    (2.2, 5.8)
    """
    return round(2.2 + 1.2 * log10(times), 2) if times else 1.2


def _strands(way: Way, arrow: Arrow, taken: Taken | None) -> Iterator[str]:
    """Draw an arrow: one strand for each side that took it, and one for findings, beside one another."""
    if taken is None:
        strands = [("", 1.4)]
    else:
        counts = (("client", taken.client[way]), ("server", taken.server[way]), ("marked", taken.marked[way]))
        strands = [(kind, weight(n)) for kind, n in counts if n] or [("never", 1.2)]
    (x0, y0), (x1, y1), (from_x, from_y) = _ends(arrow.path)
    length = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5 or 1
    across = -(y1 - y0) / length, (x1 - x0) / length
    total = sum(width for _, width in strands) + 1.5 * (len(strands) - 1)
    at = -total / 2
    for kind, width in strands:
        off = at + width / 2
        at += width + 1.5
        move = f' transform="translate({off * across[0]:.1f},{off * across[1]:.1f})"' if len(strands) > 1 else ""
        named = f"way {kind}".strip()
        yield f'<path class="{named}" data-way="{_key_of(way)}" stroke-width="{width}" d="{arrow.path}"{move}/>'
    size = 1 + 0.09 * total
    turn = degrees(atan2(y1 - from_y, x1 - from_x))
    named = f"tip {strands[0][0]}".strip()
    yield (
        f'<path class="{named}" d="M1,0l-11,-5l2.5,5l-2.5,5z"'
        f' transform="translate({x1},{y1}) rotate({turn:.1f}) scale({size:.2f})"/>'
    )


def _key_of(way: Way) -> str:
    return f"{way.source.name} {way.event.name} {way.target.name}"


def _ends(path: str) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]]:
    """Where a path begins and ends, and whence it comes to its end."""
    numbers = [float(n) for n in re.findall(r"-?[0-9.]+", path)]
    begin = numbers[0], numbers[1]
    if "V" in path:
        return begin, (begin[0], numbers[2]), begin
    if "H" in path:
        return begin, (numbers[2], begin[1]), begin
    return begin, (numbers[-2], numbers[-1]), (numbers[-4], numbers[-3])


def _words(way: Way, arrow: Arrow, taken: Taken | None) -> Iterator[str]:
    """Write at an arrow what the machine says, and how often it was taken."""
    lines = [f'<tspan class="b">{escape(EVENT_TEXT[way.event])}</tspan>']
    if arrow.also:
        lines.append(f'<tspan class="small faint">{escape(arrow.also)}</tspan>')
    if taken is not None and taken.total(way):
        lines += _counts(way, taken)
    named = "on faint" if taken is not None and not taken.total(way) else "on"
    for i, line in enumerate(lines):
        yield f'<text class="{named}" x="{arrow.x}" y="{arrow.y + 14 * i}" text-anchor="{arrow.anchor}">{line}</text>'


def _counts(way: Way, taken: Taken) -> list[str]:
    """Say how often a way was taken, each count in its colour."""
    counts = (("client", taken.client[way]), ("server", taken.server[way]))
    parts = [f'<tspan class="{side}">{n:,} {side}{"s" if n != 1 else ""}</tspan>' for side, n in counts if n]
    if taken.marked[way]:
        parts.append(f'<tspan class="marked">{taken.marked[way]:,} in findings</tspan>')
    return parts


def _below(taken: Taken | None, arrows: Iterable[Way]) -> Iterator[str]:
    """List what the figure does not draw: with a capture what was taken of it, without one all of it."""
    shown = set(arrows)
    if taken is not None:
        others = [way for way in taken.client + taken.server if way not in shown]
        if others:
            yield "Not in the figure, but taken:"
        for way in sorted(others, key=lambda way: (-taken.total(way), way)):
            event = f'<tspan class="b">{escape(EVENT_TEXT[way.event])}</tspan>'
            yield f"{way.source.name} to {way.target.name}, {event}: {', '.join(_counts(way, taken))}"
        return
    yield "Not in the figure:"
    sources: dict[tuple[Event, State], list[str]] = {}
    for row in TRANSITIONS:
        if Way(row.source, row.event, row.target) not in shown:
            sources.setdefault((row.event, row.target), []).append(row.source.name)
    for (happened, target), names in sources.items():
        first, *more = textwrap.wrap(f"to {target.name} from {', '.join(dict.fromkeys(names))}", 120)
        yield f'<tspan class="b">{escape(EVENT_TEXT[happened])}</tspan> {first}'
        yield from (f'<tspan dx="20">{line}</tspan>' for line in more)


# --- in words ---------------------------------------------------------------------------------------------------------
def diagram_text(taken: Taken | None = None) -> Iterator[str]:
    """Tell the figure in lines: from where to where, by what, and how often each side went there."""
    if taken is None:
        for way in ARROWS:
            yield f"{way.source.name} to {way.target.name}: {EVENT_TEXT[way.event]}"
        return
    for way in sorted(taken.client + taken.server, key=lambda way: (way.source, way.target, way.event)):
        sides = (("client", taken.client[way]), ("server", taken.server[way]))
        counts = [f"{n:,} {side}{'s' if n != 1 else ''}" for side, n in sides if n]
        counts += [f"{taken.marked[way]:,} in findings"] if taken.marked[way] else []
        beside = "" if way in ARROWS else " (not in the figure)"
        yield f"{way.source.name} to {way.target.name}: {EVENT_TEXT[way.event]}, {', '.join(counts)}{beside}"
