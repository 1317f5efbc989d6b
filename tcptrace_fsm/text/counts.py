"""Numbers of things in words."""

from __future__ import annotations

import re

__all__ = ["agreed", "count", "off_by"]

THINGS = (
    "ACKs|FINs|RSTs|SYNs|answers|bytes|connections|copies|exchanges|frames|holes|keepalives|others|probes|requests|"
    "segments"
)
ONE = re.compile(rf"(?<![\w.,:/#-])(?<!of )1 (other )?({THINGS}|times)\b( were| are| have)?")
ONE_OF = re.compile(r"(?<![\w.,:/#-])1 of [\d,]+ connections( were| are| have)")
VERBS = {" were": " was", " are": " is", " have": " has"}


def agreed(text: str) -> str:
    """A sentence whose numbers were put in as they came, with singular nouns and verbs behind each 1.

    >>> agreed("1 bytes were lost, 1 times, of 1 connections; 21 bytes")
    '1 byte was lost, 1 time, of 1 connections; 21 bytes'
    >>> agreed("1 of 5 connections have holes, 21 of 25 connections have none")
    '1 of 5 connections has holes, 21 of 25 connections have none'
    """
    at = text.find("1 ")
    while at >= 0:  # quicker than to search a whole sentence for what begins with a look back
        if m := ONE.match(text, at):
            text = f"{text[:at]}1 {m[1] or ''}{_singular(m[2])}{VERBS.get(m[3] or '', '')}{text[m.end() :]}"
        elif m := ONE_OF.match(text, at):
            text = f"{text[: m.start(1)]}{VERBS[m[1]]}{text[m.end() :]}"
        at = text.find("1 ", at + 2)
    return text


def _singular(many: str) -> str:
    return "copy" if many == "copies" else many[:-1]


def count(n: int, what: str, many: str = "") -> str:
    """Write a number with its noun.

    >>> count(1, "frame"), count(41238, "frame")
    ('1 frame', '41,238 frames')
    """
    return f"{n:,} {what if n == 1 else many or what + 's'}"


def off_by(n: int, *, least: bool = False) -> str:
    """How far a number is from the one that was expected, for the words that follow: ``1 more than``.

    Of what is below the ``least`` number that is told apart, how far is not known.

    >>> off_by(1), off_by(-90_000), off_by(-1, least=True)
    ('1 more than', '90,000 less than', 'less than')
    """
    if least:
        return "less than"
    return f"{abs(n):,} {'less' if n < 0 else 'more'} than"
