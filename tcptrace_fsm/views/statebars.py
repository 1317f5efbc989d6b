"""The states of both endpoints of a connection over time, as a picture: two bars, the client's above the server's.

A handshake takes a millisecond and TIME_WAIT a minute; on one scale nothing of the first would be seen. So the time
between two changes is drawn by its logarithm: what took longer is wider, nothing vanishes, and each change says when it
was.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from tcptrace_fsm.text.durations import duration
from tcptrace_fsm.views.palette import STATE

if TYPE_CHECKING:
    from tcptrace_fsm.views.conversation import Conversation, Stay

__all__ = ["timeline_svg"]

_WIDTH, _LEFT, _BAR, _TOP, _AXIS = 1080, 58, 26, 4, 66
_LETTER = 6.3  # px, of the small type that is used
_HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" class="timeline" viewBox="0 0 {width} 92" role="img" aria-label="{label}" '
    'font-family="ui-sans-serif, system-ui, sans-serif" font-size="11" fill="currentColor"><defs><pattern id="{hatch}" '
    'width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="2" height="6" '
    'fill="#fff" fill-opacity="0.4"/></pattern></defs>'
)
_MARKS = 400  # changes drawn of one side; a connection with more is not to be read as bars anyway


def timeline_svg(conversation: Conversation) -> str:
    """Draw the stays of both endpoints in their states; those presumed or inferred are hatched.

    Parameters
    ----------
    conversation : Conversation

    Returns
    -------
    str
        An ``svg`` element that takes its text colour from where it stands.

    """
    stays = {side: _shown(conversation, side)[:_MARKS] for side in ("client", "server")}
    times = sorted({time for own in stays.values() for stay in own for time in (stay.begin, stay.end)})
    if not times:
        return ""
    scale = _scale(times)
    hatch = f"presumed-{conversation.conn_id}"
    label = "States over time. " + " ".join(_sentence(side, own) for side, own in stays.items())
    parts = [_HEAD.format(width=_WIDTH, label=label, hatch=hatch)]
    began = conversation.began
    for row, (side, own) in enumerate(stays.items()):
        top = _TOP + row * (_BAR + 6)
        parts.append(f'<text x="{_LEFT - 8}" y="{top + 17}" text-anchor="end" font-weight="600">{side}</text>')
        parts += [_bar(side, stay, scale, top, hatch, began) for stay in own if stay.end > stay.begin]
    parts += _axis(scale, began)
    parts.append("</svg>")
    return "".join(parts)


def _shown(conversation: Conversation, side: str) -> list[Stay]:
    """Give the stays from the connection's first sign of life on."""
    stays = conversation.stays(side)
    begin = min([s.time for s in conversation.segments[:1]] + [c.time for c in conversation.changes[:1]], default=0)
    last = max([s.time for s in conversation.segments[-1:]] + [c.time for c in conversation.changes], default=0)
    made = []
    for stay in stays:
        nothing = stay.state in {"CLOSED", "LISTEN"}
        end = min(stay.end, last) if nothing else stay.end  # what is over is not drawn for ever
        if end > begin and not (nothing and stay.change is None):
            made.append(stay._replace(begin=max(stay.begin, begin), end=end))
    return made


def _scale(times: list[int]) -> dict[int, float]:
    """Give each time its place."""
    widths = [math.log10(1 + (b - a) / 1e3) + 0.35 for a, b in pairwise(times)]
    room = (_WIDTH - _LEFT - 8) / (sum(widths) or 1)
    places = [float(_LEFT)]
    for width in widths:
        places.append(places[-1] + width * room)
    return dict(zip(times, places, strict=True))


def _bar(side: str, stay: Stay, scale: dict[int, float], top: int, hatch: str, began: int) -> str:
    x, width = scale[stay.begin], scale[stay.end] - scale[stay.begin]
    title = f"{side} {stay.state} for {duration(stay.end - stay.begin)}, from {_at(stay.begin, began)}: {stay.basis}"
    if stay.change is not None:
        title += f", {stay.change.event}" + (f", frame {stay.change.frame}" if stay.change.frame is not None else "")
    box = f'x="{x:.1f}" y="{top}" width="{max(width, 0.8):.1f}" height="{_BAR}" rx="2"'
    parts = [f'<g><title>{title}</title><rect {box} class="s-{stay.state}" fill="{STATE[stay.state].light}"/>']
    if stay.basis in {"presumed", "inferred"}:
        parts.append(f'<rect {box} fill="url(#{hatch})"/>')
    for text in (f"{stay.state} {duration(stay.end - stay.begin)}", stay.state):
        if width > len(text) * _LETTER + 8:
            parts.append(f'<text x="{x + 6:.1f}" y="{top + 17}" fill="{_ink(stay.state)}">{text}</text>')
            break
    return "".join(parts) + "</g>"


def _axis(scale: dict[int, float], began: int) -> list[str]:
    """Mark every change, and say when it was where there is room to."""
    parts = []
    free = 0.0
    for time, x in scale.items():
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_AXIS}" y2="{_AXIS + 4}" stroke="currentColor"/>')
        text = _at(time, began)
        half = len(text) * _LETTER / 2
        middle = min(max(x, _LEFT + half - 8), _WIDTH - half)
        if middle - half > free:
            parts.append(f'<text x="{middle:.1f}" y="{_AXIS + 17}" text-anchor="middle" opacity="0.75">{text}</text>')
            free = middle + half + 6
    return parts


def _at(time: int, began: int) -> str:
    """Write a moment as seconds since the capture began, as exactly as is worth reading."""
    return f"{(time - began) / 1e9:.6f}".rstrip("0").rstrip(".") + " s"


def _sentence(side: str, stays: list[Stay]) -> str:
    ways = ", ".join(f"{stay.state} for {duration(stay.end - stay.begin)}" for stay in stays if stay.state != "CLOSED")
    return f"The {side}: {ways or 'none'}."


def _ink(state: str) -> str:
    """Choose black or white for text on a state's colour, whichever is read better (WCAG 2, relative luminance)."""
    colour = STATE[state].light
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    luminance = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
    return "#16191d" if (luminance + 0.05) / 0.06 > 1.05 / (luminance + 0.05) else "#fff"
