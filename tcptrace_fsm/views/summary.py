"""The first screen: what the capture holds, how its connections opened and closed, and what went wrong, worst first.

Also ``summary.json``, which says the same for programs. Both come from counters that are kept while the capture is
read; nothing here needs numpy, for a small capture's answer must not wait for it.
"""

from __future__ import annotations

import shlex
import sys
import textwrap
import time
from collections import Counter
from typing import IO, TYPE_CHECKING, Any

from tcptrace_fsm.capture.layers.links import link_name
from tcptrace_fsm.core.tally import SHOWN_IDS, WAYS
from tcptrace_fsm.core.words import MOST_FINDINGS, SEVERITIES, STATES
from tcptrace_fsm.errors import printable
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.text.counts import count
from tcptrace_fsm.text.durations import SECOND, duration, span
from tcptrace_fsm.text.times import iso_time
from tcptrace_fsm.views.diagnoses import diagnosis_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tcptrace_fsm.core.services import Services
    from tcptrace_fsm.core.tally import Tally

__all__ = ["captures_text", "facts", "first_screen", "named_captures", "show", "unexplained"]

MALFORMED: dict[int, str] = {
    k.OUTCOME_SHORT_LINK: "short_link_header",
    k.OUTCOME_SHORT_IP: "short_ip_header",
    k.OUTCOME_SHORT_TCP: "short_tcp_header",
    k.OUTCOME_BAD_IP_HEADER: "bad_ip_header",
    k.OUTCOME_BAD_IP_EXTENSION: "bad_ip_extension",
    k.OUTCOME_BAD_TCP_HEADER: "bad_tcp_header",
    k.OUTCOME_TOO_DEEP: "too_many_layers",
}
"""Outcomes of frames that contradict their own protocol, and their names in ``summary.json``."""

_SHOWN_HOSTS = 3
_SHOWN_SKIPPED = 3
_SCREEN = 40  # lines of the first screen
_LEAST = 12  # ... of them for findings, however much else there is to say
_SLIGHT = {"info", "low"}
MOST_SERVICES = 100  # ... in summary.json
SLOW = 1.0  # s: an answer that a person waits for
_SHOWN_SERVICES = 3
_ENOUGH = 20  # from so many answers on there is a 95th percentile
_TIMES_OF = {"response_median", "response_p95", "response_max", "rtt"}


# --- summary.json -----------------------------------------------------------------------------------------------------
def capture_dict(capture: Any) -> dict[str, Any]:
    """Tell what ``summary.json`` says of one capture."""
    found = {
        "name": capture.name.encode("utf-8", "backslashreplace").decode(),  # a name may be any bytes
        "format": capture.format,
        "compression": capture.compression or None,
        "link_types": [link_name(n) for n in capture.link_types],
        "frames": capture.frames,
        "bytes": capture.bytes_read,
        "first_time": iso_time(capture.first_time),
        "last_time": iso_time(capture.last_time),
        "truncated": capture.truncated,
    }
    dropped = getattr(capture, "dropped", None)
    return found if dropped is None else {**found, "dropped_by_capture": dropped}


def frames_dict(captures: Iterable[Any]) -> dict[str, Any]:
    """Frames by outcome: each frame is in exactly one of these counts."""
    outcomes = [0] * k.OUTCOMES
    links: Counter[int] = Counter()
    for capture in captures:
        outcomes = [a + b for a, b in zip(outcomes, capture.outcomes, strict=True)]
        links.update(capture.unsupported_links)
    counted: dict[str, Any] = {
        "tcp": outcomes[k.OUTCOME_TCP],
        "not_tcp": outcomes[k.OUTCOME_NOT_TCP] + outcomes[k.OUTCOME_ENCRYPTED],
        "fragment": outcomes[k.OUTCOME_FRAGMENT],
        "malformed": {name: outcomes[n] for n, name in MALFORMED.items() if outcomes[n]},
        "unsupported_link": {str(n): times for n, times in sorted(links.items())},
    }
    if outcomes[k.OUTCOME_FILTERED]:
        counted["filtered"] = outcomes[k.OUTCOME_FILTERED]
    unknown = outcomes[k.OUTCOME_PEEL] + outcomes[k.OUTCOME_UNSUPPORTED_LINK] - sum(links.values())
    return {**counted, "undecoded": unknown} if unknown else counted


def skipped_dict(captures: Iterable[Any]) -> dict[str, int]:
    """Frames that may hold TCP behind what is not decoded, by its name, the most first; counted among the others."""
    found: Counter[str] = Counter()
    for capture in captures:
        found.update(getattr(capture, "skipped", {}))
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))


def wireshark_frames(captures: Iterable[Any]) -> int:
    """Count the frames that Wireshark calls TCP (``tcp and not icmp and not icmpv6``), broken headers among them."""
    return sum(c.outcomes[k.OUTCOME_TCP] + getattr(c, "broken_headers", 0) for c in captures)


def summary_dict(captures: list[Any], tally: Tally, options: dict[str, Any]) -> dict[str, Any]:
    """Make the content of ``summary.json``, but for the versions."""
    return {
        "captures": [capture_dict(c) for c in captures],
        "truncated": next((c.truncated for c in captures if c.truncated), None),
        "frames": frames_dict(captures),
        "skipped": skipped_dict(captures),
        "icmp_errors": sum(getattr(c, "icmp_errors", 0) for c in captures),
        "connections": {
            "count": tally.connections,
            "opening": tally.openings(),
            "closing": tally.closings(),
            "not_open": tally.not_open(),
            "states_at_end": tally.states(),
        },
        "transitions": tally.transitions,
        "diagnoses": [{**d._asdict(), "time": iso_time(d.time)} for d in tally.diagnoses],
        "anomalies": {name: kind.count for name, kind in tally.worst_first()},
        "anomalies_not_all_listed": [name for name, kind in tally.worst_first() if kind.count >= MOST_FINDINGS],
        "worst": [
            {
                "kind": name,
                "severity": kind.severity,
                "count": kind.count,
                "message": kind.message,
                "conn_ids": kind.conn_ids,
            }
            for name, kind in tally.worst_first()
        ],
        **services_dict(tally.services),
        "options": options,
    }


def services_dict(services: Services) -> dict[str, Any]:
    """The services with the slowest answers, times in seconds, and how many more there are."""
    rows = services.rows()
    listed = [{k: v / SECOND if k in _TIMES_OF and v is not None else v for k, v in r._asdict().items()} for r in rows]
    return {"services": listed[:MOST_SERVICES], "services_not_listed": len(rows[MOST_SERVICES:])}


# --- the terminal -----------------------------------------------------------------------------------------------------
_OPENING_WORDS = {
    "handshake": "by handshake",
    "simultaneous": "simultaneous",
    "fast_open": "by Fast Open",
    "midstream": "begun before the capture",
    "refused": "refused",
    "unanswered": "unanswered",
    "incomplete": "incomplete",
}
_CLOSING_WORDS = {
    "normal": "normally",
    "simultaneous": "simultaneously",
    "half_closed": "half-closed",
    "aborted": "reset",
    "timed_out": "timed out",
    "none": "open at the end",
    "never_opened": "never opened",
    "over_before": "over before the capture began",
}


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False)  # "half-closed" is one word, and so is a port range


def _counts(counts: dict[str, int], words: dict[str, str]) -> str:
    return ", ".join(f"{n:,} {words[name]}" for name, n in counts.items() if n) or "none"


def _closed(connections: dict[str, Any]) -> str:
    """How connections closed; those that neither closed nor are open have a name of their own."""
    others = connections["not_open"]
    closing = connections["closing"]
    counts = {**closing, **others, "none": closing["none"] - sum(others.values())}
    return _counts(counts, _CLOSING_WORDS)


def captures_text(captures: list[dict[str, Any]], first: int | None, last: int | None) -> tuple[str, str]:
    """Head and text of the capture line: the name, and what it is."""
    one = captures[0]
    kinds = list(dict.fromkeys(c["format"] + (f" ({c['compression']})" if c["compression"] else "") for c in captures))
    links = list(dict.fromkeys(link for c in captures for link in c["link_types"]))
    parts = [*kinds, *links, count(sum(c["frames"] for c in captures), "frame")]
    text = ", ".join(parts)
    if first is not None and last is not None:
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(first // 10**9))
        text += f", {duration(last - first)} from {began} UTC"
    name = "standard input" if one["name"] == "-" else printable(one["name"].rsplit("/", 1)[-1])
    return (name if len(captures) == 1 else f"{len(captures)} captures"), text


def facts(summary: dict[str, Any], span: tuple[int | None, int | None]) -> Iterator[tuple[str, str]]:
    """Tell in words what was captured, how it opened and closed, and what was not read: name and sentence.

    Parameters
    ----------
    summary : dict
        As `summary_dict` makes it.
    span : tuple of int or None
        First and last capture time, ns.

    """
    yield captures_text(summary["captures"], *span)
    for capture in summary["captures"]:
        if capture["truncated"]:
            yield "", f"cut short: {capture['truncated']}"
    if summary.get("leaps_by_days"):
        yield "", "its time leaps by a day or more: what was open before is judged as of then"
    if strays := summary.get("stray_stamps"):
        yield "", f"{count(strays, 'frame')} stamped a day or more away from those around: taken as of the one before"
    connections, frames = summary["connections"], summary["frames"]
    segments = count(frames["tcp"], "segment")
    if not connections["count"]:
        yield "TCP", f"{segments}, no connections"
    else:
        opened = _counts(connections["opening"], _OPENING_WORDS)
        yield "TCP", f"{segments}, {count(connections['count'], 'connection')}: {opened}"
        yield "closed", _closed(connections)
    bad = [f"{n:,} {name.replace('_', ' ')}" for name, n in frames["malformed"].items()]
    bad += [f"{n:,} of unsupported {link_name(int(number))}" for number, n in frames["unsupported_link"].items()]
    slow = [s for s in summary["services"] if (s["response_max"] or 0) >= SLOW]
    for i, service in enumerate(slow[:_SHOWN_SERVICES]):
        yield "" if i else "slow", service_text(service)
    if len(slow) > _SHOWN_SERVICES:
        yield "", f"and {count(len(slow) - _SHOWN_SERVICES, 'more service')} with an answer that took a second or more"
    if bad:
        yield "not read", ", ".join(bad)
    if summary["skipped"]:
        names = ", ".join(f"{n:,} in {name}" for name, n in list(summary["skipped"].items())[:_SHOWN_SKIPPED])
        more = ", and so on" if len(summary["skipped"]) > _SHOWN_SKIPPED else ""
        total = count(sum(summary["skipped"].values()), "frame")
        yield "skipped", f"{total} may hold TCP that is not decoded: {names}{more}; what seems missing may be there"
    if "filtered" in frames:
        yield "filter", f"{count(frames['filtered'], 'frame')} left out"
    if "timers" in summary:
        yield "timers", timers_text(summary["timers"])
    if "vantage" in summary:
        yield from between_text(summary["vantage"])


def service_text(service: dict[str, Any]) -> str:
    """Tell in words how long a service took to answer, and what the network had to do with it."""
    answered, median, p95, worst = (service[f"response{name}"] for name in ("s", "_median", "_p95", "_max"))
    times = [f"worst {span(worst * SECOND)} (connection {service['slowest_conn_id']})"]
    if answered >= _ENOUGH:
        times.insert(0, f"95 % within {span(p95 * SECOND)}")
    if answered > 1:
        times.insert(0, f"median {span(median * SECOND)}")
    text = f"{service['service']} answered {count(answered, 'request')}, {', '.join(times)}"
    return text if service["rtt"] is None else f"{text}; the network's share {span(service['rtt'] * SECOND)}"


def timers_text(timers: dict[str, Any]) -> str:
    """Tell in words what hosts have taught of their timers."""
    sentences = [
        f"{one['host']} keeps {timer.upper()} for {one[timer]['least']:.3g} to {one[timer]['most']:.3g} s"
        for one in timers["learned"]
        for timer in ("time_wait", "fin_wait_2")
        if timer in one
    ]
    sentences += [
        f"{one['host']} had a TIME_WAIT after {one['alive_at']:.3g} s and none after {one['gone_at']:.3g} s, which "
        "contradicts itself: the profile's holds for it"
        for one in timers["contradictory"]
    ]
    more = [f"and so on ({count(len(sentences), 'timer')} in summary.json)"] if len(sentences) > _SHOWN_HOSTS else []
    return "; ".join([*sentences[:_SHOWN_HOSTS], *more]) or "no host shows other ones than the profile's"


def between_text(vantage: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Head and text of the lines about two capture points."""
    if vantage["empty"]:
        name = vantage["empty"].rsplit("/", 1)[-1]
        yield "two points", f"no TCP segment came to {name}: if it was being taken, all were lost before"
    else:
        both = sum(vantage["seen_at_both"].values())
        yield "two points", f"{count(both, 'segment')} of {count(vantage['connections_at_both'], 'connection')} at both"
    if vantage["translated"]:
        names, number = vantage["translated"]["example"], vantage["translated"]["connections"]
        likewise = f"; {count(number - 1, 'other connection')} likewise" if number > 1 else ""
        yield "translated", f"{names['first']} is {names['second']} at the second point{likewise}"
    there, back = (tuple(vantage[name][way] for name in _LOST) for way in WAYS)
    lost = [f"{a + b:,} {where} ({a:,} of the clients', {b:,} of the servers')" for a, b, where in zip(
        there, back, _LOST.values(), strict=True) if a + b]  # fmt: skip
    yield "lost", ", ".join(lost) or "nothing between the points, before the first or behind the last"
    others = [
        (f"{sum(vantage['uncaptured'].values()):,} arrived without being captured", vantage["uncaptured"]),
        (f"{sum(vantage['foreign'].values()):,} came from in between", vantage["foreign"]),
        (f"{sum(vantage['reordered'].values()):,} overtaken on the way", vantage["reordered"]),
    ]
    more = [text for text, counts in others if sum(counts.values())]
    if more:
        yield "", ", ".join(more)
    if not vantage["empty"]:
        ahead, least = round(vantage["clock_offset"] * 1e9), round(vantage["least_delay"] * 1e9)
        word = "ahead of" if ahead >= 0 else "behind"
        text = f"the second is {duration(abs(ahead))} {word} the first"
        if vantage["both_ways"]:
            text += f", give or take {duration(least)}: as long is the shortest way, taken as equal both ways"
        else:
            text += ", if the shortest way takes no time: only one direction was seen at both points"
        if vantage["clock_drift"]:
            text += f"; it drifts by {vantage['clock_drift'] * 1e6:+.3g} ppm"
        if vantage["clock_set"]:
            text += f"; set {count(vantage['clock_set'], 'time')} meanwhile"
        yield "clocks", text


_LOST = {
    "lost_between": "between the points",
    "lost_before": "before the first",
    "lost_after": "behind the last",
}


def first_screen(
    summary: dict[str, Any],
    span: tuple[int | None, int | None],
    width: int = 100,
    *,
    everything: bool = False,
    given: str = "",
) -> Iterator[tuple[str, str]]:
    """Give the lines of the first screen, each with its style: a severity, ``head``, ``dim`` or empty.

    They are one screen: of the findings, the worst as far as there is room.

    Parameters
    ----------
    summary : dict
        As `summary_dict` makes it.
    span : tuple of int or None
        First and last capture time, ns.
    width : int
        Columns to fill.
    everything : bool
        List all findings, however many lines that takes.
    given : str
        How the user named several captures, for the commands that are shown.

    """
    indent = 15

    def field(name: str, value: str) -> Iterator[tuple[str, str]]:
        if len(name) >= indent:
            yield name, "head"
            name = ""
        for i, line in enumerate(_wrap(value, max(30, width - indent)) or [""]):
            yield f"{name if not i else '':<{indent}}{line}", ""

    connections = summary["connections"]
    facts_of = [line for name, value in facts(summary, span) for line in field(name, value)]
    yield from facts_of
    if summary["diagnoses"]:
        yield "", ""
        yield from diagnosis_lines(summary["diagnoses"], named_captures(summary, given), width)
    others = unexplained(summary)
    states = list(_states(connections["states_at_end"])) if connections["count"] else []
    if connections["count"] and not summary["diagnoses"] and all(k["severity"] in _SLIGHT for k in others):
        yield from field("healthy", "nothing was found that would be worth a look" if others else "nothing was found")
    if others:
        yield "", ""
        room = max(_LEAST, _SCREEN - len(facts_of) - len(states) - 5)
        yield from _findings(others, width, None if everything else room)
    if states:
        yield "", ""
        yield from states
    if summary["worst"] and not summary["diagnoses"]:
        yield "", ""
        yield f"{'see it':<{indent}}{_next_step(summary, given)}", ""


def unexplained(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Give the kinds of finding that no diagnosis explains: what it explains need not be said twice."""
    explained = {kind for d in summary["diagnoses"] for kind in d["findings"]}
    return [kind for kind in summary["worst"] if kind["kind"] not in explained]


def _next_step(summary: dict[str, Any], given: str) -> str:
    """Give the command that shows the worst finding where it happened, or explains it."""
    kind, conn_ids = summary["worst"][0]["kind"], summary["worst"][0]["conn_ids"]
    named = named_captures(summary, given)
    if not named or not conn_ids:
        return f"tcptrace-fsm rules {kind}"
    return f"tcptrace-fsm ladder {named[0]} {conn_ids[0]}{named[1]}"


def named_captures(summary: dict[str, Any], given: str = "") -> tuple[str, str] | None:
    """How a command names these captures, and the options that decide which connections there are.

    None for a stream, which no other command can read again.
    """
    names = [c["name"] for c in summary["captures"]]
    if "-" in names:
        return None
    named = shlex.quote(names[0]) if len(names) == 1 else given or "CAPTURE..."
    if not named.isprintable() or "\\udc" in named:  # what would steer the terminal, or cannot be typed
        named = "CAPTURE"
    # A filter decides which connections there are, and so their numbers.
    filtered = summary["options"].get("filter")
    only = f" --filter {shlex.quote(filtered)}" if filtered else ""
    only += " --learn-timers" if summary["options"].get("learn_timers") else ""  # and so may timers
    return named, only


def _findings(worst: list[dict[str, Any]], width: int, room: int | None) -> Iterator[tuple[str, str]]:
    """The worst findings, in about ``room`` lines; all where None."""
    left = room
    for i, lines in enumerate(_kinds(worst, width)):
        if left is not None and len(lines) > left and i:
            more = worst[i:]
            kinds = count(len(more), "more kind")
            yield f"and {kinds} of finding, {more[0]['severity']} or less: --all lists them", "dim"
            return
        yield from lines
        if left is not None:
            left -= len(lines)


def _kinds(worst: list[dict[str, Any]], width: int) -> Iterator[list[tuple[str, str]]]:
    """The lines of each kind of finding."""
    names = max(len(kind["kind"]) for kind in worst)
    numbers = {kind["kind"]: f"{kind['count']:,}{'+' * (kind['count'] >= MOST_FINDINGS)}" for kind in worst}
    counts = max(map(len, numbers.values()))
    for kind in worst:
        ids = kind["conn_ids"]
        shown = ", ".join(str(i) for i in ids[:SHOWN_IDS]) + (" ..." if len(ids) > SHOWN_IDS else "")
        text = f"{kind['message']}   (connection{'s' if len(ids) > 1 else ''} {shown})" if ids else kind["message"]
        head = f"{kind['severity'].upper():<7} {kind['kind']:<{names}}  {numbers[kind['kind']]:>{counts}}"
        room = width - len(head) - 2
        if room < 40:  # a narrow terminal: the sentence goes below
            yield [(head, kind["severity"]), *((" " * 8 + line, "") for line in _wrap(text, max(20, width - 8)))]
            continue
        yield [
            (f"{head if not i else ' ' * len(head)}  {line}", kind["severity"] if not i else "")
            for i, line in enumerate(_wrap(text, room))
        ]


def _states(states: dict[str, dict[str, int]]) -> Iterator[tuple[str, str]]:
    yield f"{'at the end':<15}{'client':>12}{'server':>12}", "head"
    for state in STATES:
        client, server = states["client"][state], states["server"][state]
        if client or server:
            yield f"  {state:<13}{f'{client:,}' if client else '.':>12}{f'{server:,}' if server else '.':>12}", ""


_STYLES = {"high": "bold red", "medium": "bold yellow", "low": "cyan", "info": "dim", "head": "bold"}


def show(lines: Iterable[tuple[str, str]], out: IO[str] | None = None) -> None:
    """Print styled lines: plain text into a pipe, coloured on a terminal."""
    out = out or sys.stdout
    if not out.isatty():
        out.writelines(text + "\n" for text, _ in lines)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=out, highlight=False, soft_wrap=True)
    for text, style in lines:
        # Only the severity and the name are coloured, the sentence is for reading.
        line = Text(text)
        if style in SEVERITIES:
            line.stylize(_STYLES[style], 0, len(" ".join(text.split()[:1])))
        elif style:
            line.stylize(_STYLES[style])
        console.print(line)
