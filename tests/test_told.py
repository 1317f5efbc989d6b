"""What findings say, column by column: the words are those that are put together one at a time."""

from __future__ import annotations

from array import array
from random import Random

import numpy as np
import pytest

from tcptrace_fsm.core.columns import (
    NAMES_SIZE,
    NO_CLIENT,
    NO_FRAME,
    NO_SERVER,
    Alike,
    Columns,
    evidence_of,
    filled,
    groups_in,
    parted,
)
from tcptrace_fsm.findings import RULES
from tcptrace_fsm.findings.wording import Detected, Unnamed
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.kernels import sentences as installed
from tcptrace_fsm.tables import told as tables
from tcptrace_fsm.tables.told import told
from tcptrace_fsm.text.durations import SECOND, span
from tests.kernels import Watched, uncompiled

PLAIN = uncompiled("sentences")
KINDS = [
    f"{NO_CLIENT} met {NO_SERVER}",
    f"in {NO_FRAME} {NO_SERVER} left",
    "",
    f"{NO_CLIENT}{NO_CLIENT}{NO_FRAME}, twice",
]
HALVES = (
    0,
    1,
    0xFFFF,
    0x0DB8 << 32,
    0x20010DB8 << 32,
    -1,
    -(1 << 63),
    0xFFFF0A000001,
    -0x180 << 48,
    0x0A00010000FF0001,
)


def some(count: int, seed: int) -> Columns:
    """Findings with names of both families; of some the address alone is named."""
    rng, names = Random(seed), array("q")
    for _ in range(count):
        six, end = rng.randrange(2), [rng.choice((-1, 0, 9, 80, 65535)) for _ in range(2)]
        hosts = [
            (rng.choice(HALVES), rng.choice(HALVES)) if six else (0, rng.choice((0, 0x0A0B6409, 0xFFFFFFFF)))
            for _ in range(2)
        ]
        names += array("q", (six, *hosts[0], end[0], *hosts[1], end[1], rng.choice((1, 10, 99, 10**12))))
    groups = array("q", [rng.randrange(len(KINDS)) for _ in range(count)])
    alike = [Alike(None, kind, "open", "low", "sent", "RFC", None) for kind in KINDS]
    numbers, each = array("q", range(count)), array("q", [1]) * count
    return Columns(numbers, numbers, numbers, groups, alike, [parted(kind) for kind in KINDS], names, each, numbers)


class Part:
    """Findings of which nothing but the columns is asked."""

    def __init__(self, columns: Columns) -> None:
        self.given, self.others = columns, iter(())

    def columns(self) -> list[Columns]:
        return [self.given]


class Several:
    """Findings of several parts, none of which is made."""

    def __init__(self, *parts: Columns) -> None:
        self.lazy, self.made = [Part(part) for part in parts], iter(())


@pytest.mark.parametrize("kernels", [installed, PLAIN], ids=["installed", "plain"])
def test_all_messages_are_what_each_is(kernels, monkeypatch):
    """By whichever kernel: names of IPv4, of IPv6 in all forms, with ports and without."""
    columns, more = some(300, 1), some(40, 2)

    def watched(count, *arrays):
        return kernels.write_sentences(count, *map(Watched, arrays))

    monkeypatch.setattr(tables, "find_odd_names", kernels.find_odd_names)
    monkeypatch.setattr(tables, "write_sentences", watched if kernels is PLAIN else kernels.write_sentences)
    found = told(Several(columns, more))
    expected = [
        filled(part.pieces[group], part.names[i * NAMES_SIZE : (i + 1) * NAMES_SIZE])
        for part in (columns, more)
        for i, group in enumerate(part.groups)
    ]
    assert found.messages().to_pylist() == expected == [found.message(i) for i in range(340)]
    assert len({*expected}) > 200
    assert any("[::" in message for message in expected)


def test_what_is_not_ascii_is_said_too():
    """In the plain way."""
    columns = some(3, 3)
    columns = columns._replace(pieces=[parted(f"µ of {NO_CLIENT}")] * len(KINDS))
    found = told(Several(columns))
    assert found.messages().to_pylist() == [found.message(i) for i in range(3)]
    assert found.message(0).startswith("µ of ")


@pytest.mark.parametrize("kernels", [installed, PLAIN], ids=["installed", "plain"])
def test_lengths_of_time_that_are_alike_are_said_alike(kernels):
    """Also where the words change, and where a sum of floating point may fall on either side."""
    rng = Random(4)
    edges = [n * 10**e + d for n in (1, 5, 9995, 99950, 12345) for e in range(13) for d in (-1, 0, 1, 4)]
    spans = array("q", [*edges, *(int(10 ** rng.uniform(0, 18)) for _ in range(3000)), -7, 366 * 86400 * SECOND])
    spans.extend(rng.randrange(1, 60_000) * SECOND // 2 + rng.randrange(-3, 4) for _ in range(500))
    out = array("q", bytes(8 * len(spans)))
    assert kernels.same_in_words(len(spans), spans, out) == len(spans)
    assert [span(n) for n in out] == [span(n) for n in spans]
    common = array("q", [rng.randrange(2 * SECOND, 3 * SECOND) for _ in range(2000)])
    out = array("q", bytes(8 * len(common)))
    kernels.same_in_words(len(common), common, out)
    assert len({*out}) < 220


@pytest.mark.parametrize("rule", [rule for rule in RULES.values() if rule.wording], ids=lambda rule: rule.kind)
def test_words_depend_on_what_is_said_to_matter(rule):
    """Beside names, and the number of a frame, which are filled in."""
    rng = Random(5)
    for _ in range(30):
        found = Detected(*(rng.choice((0, 1, 2, 3, 10**10)) for _ in Detected._fields))
        found = found._replace(kind=rule.wording.number, side=rng.randrange(2), net=rng.randrange(2))
        more = int(10 ** rng.uniform(1, 12)) if rule.wording.number == k.DETECT_NO_RESPONSE else rng.randrange(3)
        found = found._replace(more=more, span=int(10 ** rng.uniform(1, 15)), grade=rng.randrange(64))
        said = array("q", bytes(8 * k.SAID_SIZE))
        for kernels in (installed, PLAIN):
            kernels.write_said(1, array("q", found), said)
        alike = found._replace(side=said[k.SD_SIDE], count=said[k.SD_COUNT], more=said[k.SD_MORE])
        alike = alike._replace(span=said[k.SD_SPAN], doubt=said[k.SD_DOUBT], time=5, frame=6, asked=7, frames=8)
        ends = (found.client_high, found.client_low, 0, found.server_high, found.server_low, 0)
        names = [found.net & 1, *ends, found.taken_frame]
        names[3], names[6] = found.ports >> 16, found.ports & 65535
        assert filled(parted(rule.word(Unnamed(*alike))), names) == rule.word(found)


@pytest.mark.parametrize("kernel", [installed.rising, PLAIN.rising], ids=["installed", "plain"])
def test_evidence_comes_in_order_and_once(kernel, monkeypatch):
    """Whatever order the kernel noted it in."""
    monkeypatch.setattr("tcptrace_fsm.core.columns.rising", kernel)
    rng = Random(6)
    each = [[rng.randrange(9) for _ in range(rng.randrange(4))] for _ in range(50)]
    each += [sorted(set(some)) for some in each]
    counts = array("q", map(len, each))
    begins = array("q", np.cumsum([0, *counts])[:-1].tolist())
    numbers, frames = evidence_of(begins, counts, array("q", [frame for some in each for frame in some]))
    right = [sorted(set(some)) for some in each]
    assert list(numbers) == list(map(len, right))
    assert list(frames) == [frame for some in right for frame in some]


def test_groups_are_numbered():
    """Equal records have the same number, and each number its first record."""
    rng = Random(7)
    records = array("q", [rng.randrange(3) for _ in range(2 * 100)])
    groups, firsts = groups_in(records, 2)
    pairs = list(zip(records[::2], records[1::2], strict=True))
    assert [pairs[firsts[group]] for group in groups] == pairs
    assert len(firsts) == len({*pairs})
    assert all(pairs.index(pairs[first]) == first for first in firsts)
