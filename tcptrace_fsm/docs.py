"""The generated documentation: the machine, the anomaly catalogue and the columns as pages, from what the program uses.

``python -m tcptrace_fsm.docs`` writes them into docs/ of the source tree it is run in; a test fails while they are out
of date.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import textwrap
from html import escape
from pathlib import Path
from typing import NamedTuple

from tcptrace_fsm.causes import CAUSES
from tcptrace_fsm.findings import CATALOGUE, FAMILIES
from tcptrace_fsm.findings.needs import DOUBTS
from tcptrace_fsm.tables import schema
from tcptrace_fsm.tcp.machine import EVENT_TEXT, TRANSITIONS, Event, Opened, State, Transition
from tcptrace_fsm.tcp.notation import LEGEND

__all__ = ["COMMAND", "LEFT_OUT", "PAGES", "main"]

COMMAND = "python -m tcptrace_fsm.docs"
MACHINE_HEAD = """\
# The state machine

Generated from the rows of `tcptrace_fsm/tcp/machine.py` by `{command}`. The theory stands at the head
of that file.

The machine has {states} states and {rows} rows. {drawn} of the rows are the arrows of figure 5 of RFC 9293. The rest is
what the figure leaves to its notes and to the text: resets, timers, and what only later segments show. A pair of state
and event without a row changes nothing, so any event has an answer in any state. Events are effects: a segment is first
judged (was it delivered, is it acceptable, does it fill a hole?), and only what remains is an event.
"""
ANOMALIES_HEAD = """\
# Anomalies

Generated from the rules in `tcptrace_fsm/findings/` by `{command}`. `tcptrace-fsm rules` lists the
same kinds, `tcptrace-fsm rules KIND` explains one of them.

A finding has a severity and a basis. The severity is the rule's, or another where the one case weighs more or less.
Where the capture itself may be at fault, `possible_artefact` names the fault, and *high* becomes *medium*. The tests
play each example, which must give exactly one finding of its kind, and each counterexample, which must give none.

{legend}

{count} kinds:
"""
LEFT_OUT = "anomalies_left_out.md"
"""Written by hand; becomes the end of anomalies.md."""


def name(state: State) -> str:
    """A state in the RFC's spelling for text.

    >>> name(State.FIN_WAIT_1)
    'FIN-WAIT-1'
    """
    return state.name.replace("_", "-")


def condition(row: Transition) -> str:
    """For which endpoints a row holds; empty for all."""
    words = []
    if row.opened is not None:
        words.append("active open" if row.opened is Opened.ACTIVE else "passive open")
    if row.sockets is not None:
        words.append("listener is a socket of its own" if row.sockets else "RFC's model: one TCB")
    return ", ".join(words)


def section(row: Transition) -> str:
    """Where a row stands."""
    return f"RFC 9293 {row.rfc}"


def state_machine() -> str:
    """The text of ``docs/state-machine.md``."""
    drawn = [row for row in TRANSITIONS if row.drawn]
    lines = [
        *MACHINE_HEAD.format(
            command=COMMAND, states=len(State) - 1, rows=len(TRANSITIONS), drawn=len(drawn)
        ).splitlines(),
        "",
        "## Figure 5",
        "",
        "![CLOSED on top, the two ways of opening down to ESTABLISHED, the active close to the left and below it, the",
        "passive close to the right](diagram.svg)",
        "",
        "`tcptrace-fsm diagram capture.pcap --svg figure.svg` draws it with the ways that a capture's endpoints took.",
    ]
    for state in State:
        rows = sorted((r for r in TRANSITIONS if r.source is state), key=lambda r: not r.drawn)
        if not rows:
            continue
        lines += [
            "",
            f"## {name(state)}",
            "",
            "| event | leads to | only for | section | figure 5 |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {EVENT_TEXT[r.event]} | {name(r.target)} | {condition(r)} | {section(r)} | {'yes' if r.drawn else ''} |"
            for r in rows
        ]
    return "\n".join([*lines, *events_page()]) + "\n"


GUARDS_HEAD = """\

## Where an event is decided

A segment of the capture is no event yet. Whether and when one happened is decided in `tcptrace_fsm/kernels/`: what the
endpoint sends in `leaves.py`, what arrives in `arrives.py` (in the order of RFC 9293 3.10.7.4), what only a clock does
in `clocks.py`. Each function asks its guards first; `step` in `moves.py` then looks the event up in the rows above.

| event | decided in | asks first | sections |
|---|---|---|---|"""
GUARDS = """\

The guards, and where their rules come from:

| guard | what it tells | sections |
|---|---|---|"""
SECTIONS = re.compile(r"RFC (\d+)(?: section)? (\d[\d.]*\d)")
RAISE = {"step", "sent", "received", "inferred"}


class Judged(NamedTuple):
    """A function of the kernels that works on the endpoint at hand."""

    file: str
    says: str
    sections: tuple[str, ...]
    events: tuple[str, ...]
    calls: tuple[str, ...]


def judged() -> dict[str, Judged]:
    """The functions of the replay by name, with the events that they raise and the functions that they call."""
    found = {}
    for path in sorted((Path(__file__).parent / "kernels").glob("*.py")):
        text = path.read_text(encoding="utf-8")
        for f in ast.parse(text).body:
            if isinstance(f, ast.FunctionDef) and f.args.args and f.args.args[0].arg == "tcb":
                nodes = list(ast.walk(f))
                calls = [n for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
                calls.sort(key=lambda n: (n.lineno, n.col_offset))
                raised = [c.args[1] for c in calls if getattr(c.func, "id", "") in RAISE and f.name not in RAISE]
                raised += [n.value for n in nodes if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "event"]
                events = {
                    n.id[3:] for a in raised for n in ast.walk(a) if isinstance(n, ast.Name) and n.id[:3] == "EV_"
                }
                part = " ".join(ast.get_source_segment(text, f).split())  # type: ignore[union-attr]
                sections = dict.fromkeys(f"RFC {rfc} {at}" for rfc, at in SECTIONS.findall(part.replace("# ", "")))
                says = " ".join((ast.get_docstring(f) or "").split("\n\n")[0].split())
                says = says.replace("``", "`").replace(": 1 or 0.", ".")
                called = dict.fromkeys(getattr(c.func, "id", "") for c in calls)
                found[f.name] = Judged(path.name, says, tuple(sections), tuple(sorted(events)), tuple(called))
    return found


def events_page() -> list[str]:
    """Which function decides each event, which guards it asks, and the sections that these name."""
    functions = judged()
    lines, asked = GUARDS_HEAD.splitlines(), dict[str, Judged]()
    for event in Event:
        for name_, f in functions.items():
            if event.name in f.events:
                guards = {c: functions[c] for c in f.calls if c in functions and "hether " in functions[c].says}
                asked |= guards
                first = ", ".join(f"`{guard}`" for guard in guards)
                lines.append(f"| {EVENT_TEXT[event]} | `{name_}` ({f.file}) | {first} | {', '.join(f.sections)} |")
    lines += GUARDS.splitlines()
    for name_, f in sorted(asked.items()):
        lines.append(f"| `{name_}` ({f.file}) | {f.says} | {', '.join(f.sections)} |")
    return lines


def conversation(text: str) -> list[str]:
    """A rule's conversation as a block of code."""
    return ["```", *textwrap.dedent(text).strip("\n").splitlines(), "```"]


def legend() -> str:
    """How to read the examples."""
    lines = [line for text in LEGEND for line in textwrap.wrap(text, 118, initial_indent="- ", subsequent_indent="  ")]
    return "\n".join(["How to read the examples:", "", *lines])


def title(family: object) -> str:
    """What a family says of itself: the first line of its module."""
    return (family.__doc__ or "").splitlines()[0].rstrip(".")


def anomalies(left_out: str) -> str:
    """The text of ``docs/anomalies.md``, which ends with what is written by hand."""
    lines = [
        *ANOMALIES_HEAD.format(command=COMMAND, count=len(CATALOGUE), legend=legend()).splitlines(),
        "",
        "| kind | severity | category | meaning |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| [`{rule.kind}`](#{rule.kind}) | {rule.severity} | {rule.category} | {rule.summary} |"
        for rule in CATALOGUE.values()
    ]
    for family in FAMILIES:
        lines += ["", f"## {title(family)}"]
        for rule in (*family.RULES, *getattr(family, "SURVEYS", ())):
            lines += [
                "",
                f"### {rule.kind}",
                "",
                f"*{rule.severity}, {rule.category}, {rule.rfc}*",
                "",
                rule.summary,
                "",
            ]
            lines += [f"- Seen: {rule.evidence}", f"- What else it may be: {rule.innocent}"]
            held = "; ".join(need.text for need in rule.needs) or "no more than what is to be seen"
            lines.append(f"- What the capture must hold: {held}" + (f"; {DOUBTS}" if rule.fragile else ""))
            if rule.aliases:
                called = ", ".join(f"{tool}: {alias}" for tool, alias in rule.aliases.items())
                lines.append(f"- Called elsewhere: {called}")
            lines += ["", "An example:", "", *conversation(rule.example)]
            for text in rule.counterexamples:
                lines += ["", "Looks alike, but is not:", "", *conversation(text)]
    return "\n".join(lines) + "\n\n" + left_out.strip() + "\n"


SHOWN = (
    "analyze sample_pcaps/lost_time_wait.pcap",
    "netstat sample_pcaps/lost_time_wait.pcap --at 0.2",
)
"""The commands of the README's picture."""
COLOURS = {"HIGH": "#ff7b72", "MEDIUM": "#e3b341", "LOW": "#79c0ff", "$": "#7ee787"}
FONTS = "ui-monospace,SFMono-Regular,Menlo,Consolas,DejaVu Sans Mono,monospace"
CELL, LINE, MARGIN, COLUMNS = 8.4, 19, 18, 100


def terminal(tree: Path) -> list[str]:
    """What a terminal shows of :data:`SHOWN`, run in a source tree."""
    lines = []
    for command in SHOWN:
        lines += [f"$ tcptrace-fsm {command}", *printed(command, tree).splitlines(), ""]
    return lines[:-1]


def printed(command: str, tree: Path, columns: int = COLUMNS) -> str:
    """What a command prints, run in a source tree."""
    done = subprocess.run(  # noqa: S603 - the commands stand in this file
        [sys.executable, "-m", "tcptrace_fsm", *command.split()],
        cwd=tree,
        env={**os.environ, "COLUMNS": str(columns)},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return done.stdout


def picture(lines: list[str]) -> str:
    """Lines of a terminal as SVG, with no font or style from elsewhere."""
    width = 2 * MARGIN + CELL * max(map(len, lines))
    height = 2 * MARGIN + LINE * len(lines)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" font-size="14"',
        f'  viewBox="0 0 {width:.0f} {height}" font-family="{FONTS}">',
        f"<title>{escape(SHOWN[0])}</title>",
        f'<rect width="{width:.0f}" height="{height}" rx="8" fill="#0d1117"/>',
        '<g fill="#c9d1d9">',
    ]
    for row, line in enumerate(lines):
        y = MARGIN + LINE * row + 14
        # Each word has its own place, so that columns stay in line whatever font the reader has.
        for i, word in enumerate(re.finditer(r"\S+", line)):
            colour = COLOURS.get(word[0]) if i == 0 else None
            style = f' fill="{colour}" font-weight="bold"' if colour else ""
            x = MARGIN + CELL * word.start()
            parts.append(f'<text x="{x:.1f}" y="{y}"{style}>{escape(word[0], quote=False)}</text>')
    return "\n".join([*parts, "</g>", "</svg>"]) + "\n"


PICTURES = {
    "ladder.svg": "ladder sample_pcaps/lost_time_wait.pcap 0 --svg -",
    "diagram.svg": "diagram --svg -",
}
"""Pictures by name, and the command that draws each."""

PAGES = ("state-machine.md", "anomalies.md", "causes.md", "columns.md", "terminal.svg", *PICTURES)
"""What is generated, by name in docs/."""


CAUSES_HEAD = """\
# Causes

Generated from the causes in `tcptrace_fsm/causes/` by `{command}`. `tcptrace-fsm causes` lists the same ones,
`tcptrace-fsm causes CAUSE` explains one of them.

A finding says what was seen, a cause says why. The table `diagnoses` has one row for each problem: a cause, and all
connections that suffer from it together. Its confidence is `proved` where the capture excludes every other cause,
`likely` where the cause fits best and what it predicts was seen, and `possible` where the capture cannot tell it
from its alternatives. Of causes that look alike only one is the answer for a connection. The severity is that of the
effect on a user. The tests play each example.

{legend}

{count} causes:
"""


def causes() -> str:
    """The text of docs/causes.md."""
    lines = [CAUSES_HEAD.format(command=COMMAND, count=len(CAUSES), legend=legend())]
    lines += ["| cause | family | to be mended at | severity | what it is |", "|---|---|---|---|---|"]
    for cause in CAUSES.values():
        row = (f"[`{cause.name}`](#{cause.name})", cause.family, cause.where, cause.severity, cause.summary)
        lines.append(f"| {' | '.join(row)} |")
    for cause in CAUSES.values():
        apart = [f"`{name}`: {how}" for name, how in cause.look_alikes.items()]
        lines += ["", f"## {cause.name}", "", *textwrap.wrap(cause.summary, 118)]
        for head, texts in (
            ("What is seen", cause.predicts),
            ("What is not seen", cause.forbids),
            ("What looks alike, and what tells them apart", apart),
            ("What the capture must hold", [DOUBTS] if cause.fragile else []),
            ("Findings that it explains", [f"`{kind}`" for kind in sorted(cause.explains)]),
            ("What to do next", [cause.next_step]),
        ):
            if texts:
                lines += ["", f"{head}:", ""]
                for text in texts:
                    lines += textwrap.wrap(text, 118, initial_indent="- ", subsequent_indent="  ")
        for head, text in (("An example", cause.example), ("Looks alike, but is not", cause.look_alike)):
            lines += ["", f"{head}:", "", "```", *textwrap.dedent(text).strip("\n").split("\n"), "```"]
    return "\n".join(lines) + "\n"


def columns_page() -> str:
    """Write the text of ``docs/columns.md``."""
    lines = [
        "# Columns",
        "",
        "Generated from `tcptrace_fsm/tables/schema.py` by `python -m tcptrace_fsm.docs`.",
        "",
        "Types: `timestamp` is nanoseconds since 1970 in UTC, `duration` is nanoseconds; both are Arrow and pandas",
        "types of that name in parquet and in Python. In CSV a timestamp is ISO 8601 with nine decimals and `Z`, a",
        "duration is seconds with nine decimals, a list is joined by spaces, and null is empty. Frame numbers count",
        "from 1, in each capture anew: where several captures are read as one timeline, the columns marked so name the",
        "capture, and are there only then.",
        "",
        "Polars and pandas read durations as durations. DuckDB and others that go by parquet's own types see whole",
        "nanoseconds. So files have at their end, for each duration `X`, a column `X_s`: the same in seconds, as a",
        "float. In pandas a column with few values and no nulls is a category; `severity` and `confidence` are",
        "ordered.",
    ]
    for table in schema.TABLES:
        lines += ["", f"## {table}", "", schema.ROWS[table], ""]
        lines += ["| column | type | unit | meaning | null | source |", "|---|---|---|---|---|---|"]
        for c in schema.declared(table, files=True):
            meaning = c.meaning + ("; only of several captures" if c.after else "")
            if c.choices and f"`{c.choices[0]}`" not in meaning:
                meaning += ": " + ", ".join(f"`{w}`" for w in c.choices)
            lines.append(f"| `{c.name}` | {c.type} | {c.unit} | {meaning} | {c.null} | {c.source} |")
    return "\n".join(lines) + "\n"


def page(which: str, folder: Path) -> str:
    """The text that one of :data:`PAGES` in ``folder`` ought to have."""
    if which == "state-machine.md":
        return state_machine()
    if which == "anomalies.md":
        return anomalies((folder / LEFT_OUT).read_text(encoding="utf-8"))
    if which == "causes.md":
        return causes()
    if which == "terminal.svg":
        return picture(terminal(folder.parent))
    if which in PICTURES:
        return printed(PICTURES[which], folder.parent)
    return columns_page()


SCREEN = re.compile(r"(<!-- screen: (\S+) -->\n```\n).*?(```\n)", re.DOTALL)
"""A block of text that shows the first screen of a capture."""
SCREEN_COLUMNS = 92


def with_screens(text: str, tree: Path) -> str:
    """A page of a source tree whose first screens are what the command prints now."""

    def shown(block: re.Match[str]) -> str:
        command = f"analyze {block[2]}"
        return f"{block[1]}$ tcptrace-fsm {command}\n{printed(command, tree, SCREEN_COLUMNS)}{block[3]}"

    return SCREEN.sub(shown, text)


def main() -> None:
    """Write every page that is out of date."""
    folder = Path("docs")
    if not (folder / LEFT_OUT).is_file():
        sys.exit(f"{LEFT_OUT} is not in {folder.resolve()}: run this at the top of the source tree")
    pages = [(folder / which, page(which, folder)) for which in PAGES]
    readme = folder.parent / "README.md"
    if readme.is_file():
        pages.append((readme, with_screens(readme.read_text(encoding="utf-8"), folder.parent)))
    for path, text in pages:
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"{path} written")


if __name__ == "__main__":
    main()
