"""Records by what they have in common, compiled and as plain Python with every index watched."""

from __future__ import annotations

from array import array
from random import Random

import pytest

from tcptrace_fsm.core import grouping
from tcptrace_fsm.core.grouping import Field, Order, in_order, words_in_common
from tests.kernels import Watched, uncompiled

KERNELS = ("arrange_records", "group_records", "part_alone", "pick_words")


@pytest.fixture(params=["installed", "uncompiled"])
def each(request, monkeypatch):
    """Either way."""
    if request.param == "uncompiled":
        plain = uncompiled("grouping")
        for name in KERNELS:
            kernel = getattr(plain, name)
            watched = lambda *given, kernel=kernel: kernel(  # noqa: E731
                *(Watched(a) if isinstance(a, array) else a for a in given)
            )
            monkeypatch.setattr(grouping, name, watched)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.usefixtures("each")
def test_groups_are_those_of_a_dictionary(seed):
    """In order of what is common, members as they stand; extreme words too."""
    rng = Random(seed)
    count = rng.choice((0, 1, 2, 3, 17, 64, 100))
    values = [rng.choice((-(1 << 63), -1, 0, 1, (1 << 63) - 1)) for _ in range(2 * count)]
    records = array("q", [n for i in range(count) for n in (*values[2 * i : 2 * i + 2], i)])
    expected: dict[tuple[int, ...], list[int]] = {}
    for i in range(count):
        expected.setdefault(tuple(values[2 * i : 2 * i + 2]), []).append(i)
    order = Order(records, 3, 2)
    assert [list(members) for members in order.groups()] == [expected[key] for key in sorted(expected)]
    alone, several = order.parted()
    assert list(alone) == [expected[key][0] for key in sorted(expected) if len(expected[key]) == 1]
    assert [list(s) for s in several] == [expected[key] for key in sorted(expected) if len(expected[key]) > 1]
    assert list(in_order(order.numbers, records, 3)[2::3]) == list(order.numbers)


@pytest.mark.usefixtures("each")
def test_words_in_common_are_parts_of_words():
    """Shifted and masked."""
    words = array("q", [0x10005, 7, 0x20005, 7, 0x10006, 7])
    low = words_in_common(words, array("q", [0, 2, 4]), [Field(0, 0, 65535), Field(1)])
    assert [(key, list(members)) for key, members in low] == [((5, 7), [0, 1]), ((6, 7), [2])]
    high = words_in_common(words, array("q", [4, 2, 0]), [Field(0, 16)])
    assert [(key, list(members)) for key, members in high] == [((1,), [0, 2]), ((2,), [1])]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.usefixtures("each")
def test_a_group_is_found_by_its_words(seed):
    """As a dictionary finds it; nothing, where no record has these words."""
    rng = Random(seed)
    pairs = [(rng.randrange(-3, 3), rng.randrange(4)) for _ in range(rng.choice((0, 1, 40)))]
    order = Order(array("q", [n for pair in pairs for n in (*pair, 9)]), 3, 2)
    assert order.distinct == len(set(pairs))
    for wanted in ((a, b) for a in range(-4, 4) for b in range(-1, 5)):
        assert list(order.equal_to(wanted)) == [i for i, pair in enumerate(pairs) if pair == wanted]
