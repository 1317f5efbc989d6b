"""Records by what they have in common, compiled and as plain Python with every index watched."""

from __future__ import annotations

import pickle
from array import array
from random import Random

import pytest

from tcptrace_fsm.core import grouping
from tcptrace_fsm.core.grouping import (
    Field,
    Marks,
    Order,
    Records,
    extent_of,
    in_order,
    lowest_of,
    picked,
    steps_of,
    sums_before,
    words_in_common,
)
from tcptrace_fsm.kernels import grouping as grouping_kernels
from tcptrace_fsm.kernels.layout import CONNECTION_SIZE
from tests.kernels import Watched, uncompiled

KERNELS = (
    *("add_up", "arrange_records", "count_steps", "count_up", "extent", "group_records", "mark_rows", "marks_of"),
    *("multiply", "part_alone", "pick_words"),
)


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
def test_a_number_more_of_each_tells_them_apart():
    """Whether all of them share the words or not; and marks are noted by record."""
    records = Records.blank(4)
    for i, value in enumerate((5, 6, 5, 5)):
        records[i * CONNECTION_SIZE] = value
        records[i * CONNECTION_SIZE + 1] = 9
    records.compare()
    starts = array("q", [i * CONNECTION_SIZE for i in (3, 2, 1, 0)])
    marks = Marks(4)
    assert list(marks.of(starts)) == [0, 0, 0, 0]
    marks.add(starts[:2], array("q", [4, 2]))
    marks.add(starts[1:2], array("q", [1]))
    noted = marks.of(starts)
    assert list(noted) == [4, 3, 0, 0]
    fields = [Field(0), Field(1)]
    expected = [((5, 9, 0), [3]), ((5, 9, 3), [1]), ((5, 9, 4), [0]), ((6, 9, 0), [2])]
    for words in (records, array("q", records)):
        found = words_in_common(words, starts, fields, noted)
        assert [(key, list(members)) for key, members in found] == expected
    assert words_in_common(records, array("q"), fields, array("q")) == []


@pytest.mark.usefixtures("each")
def test_sums_of_what_stands_before():
    assert list(sums_before(array("q", [3, 5, -1]))) == [0, 3, 8]
    assert list(sums_before(array("q"))) == []


@pytest.mark.usefixtures("each")
def test_the_lowest_and_the_highest():
    """The first of each."""
    assert extent_of(array("q", [4])) == (0, 0)
    assert extent_of(array("q", [2, -7, 9, -7, 9])) == (1, 2)
    assert lowest_of(array("q", [2, -7, 9])) == -7


def test_how_many_lie_within_a_span():
    """The bounds count."""
    for kernel in (grouping_kernels.most_within, uncompiled("grouping").most_within):
        assert kernel(5, array("q", [0, 10, 11, 20, 31]), 10) == 3
        assert kernel(1, array("q", [7]), 0) == 1
        assert kernel(0, array("q", [7]), 0) == 0


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


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.usefixtures("each")
def test_what_records_have_in_common_changes_nothing_but_the_work(seed):
    """Words that are alike in all records, or in some bits only, are picked and grouped by as others are."""
    rng = Random(seed)
    count = rng.choice((1, 2, 40, 90))
    plain = array("q", [7, -1, rng.randrange(9), 1 << 40] * (CONNECTION_SIZE // 4)) * count
    for word in (1, 6, 9):
        for i in range(count):
            plain[i * CONNECTION_SIZE + word] = rng.choice((-1, 0x10005, 0x20005, 5))
    records = Records.blank(count)
    records[:] = plain
    records.compare()
    starts = grouping.counting(count, CONNECTION_SIZE)
    starts = starts[: rng.randrange(count + 1)]
    fields = [Field(0), Field(1), Field(2, 1, 3), Field(6, 16, 255), Field(9, 0, 4), Field(3, 40)]
    for some in (fields, fields[:1], fields[2:3], fields[1:4], fields[-2:]):
        assert picked(records, starts, some) == picked(plain, starts, some)
        grouped = [(key, list(numbers)) for key, numbers in words_in_common(records, starts, some)]
        assert grouped == [(key, list(numbers)) for key, numbers in words_in_common(plain, starts, some)]
    assert records.share(Field(0))
    records[CONNECTION_SIZE * (count - 1)] = 8
    assert not records.share(Field(0))
    assert list(picked(records, grouping.counting(count, CONNECTION_SIZE), fields[:1])) == [7] * (count - 1) + [8]
    assert pickle.loads(pickle.dumps(records)) == array("q", records)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.usefixtures("each")
def test_many_records_are_put_in_order_as_few_are(seed):
    """By bytes, the sign among them, words of few distinct bytes and of many."""
    rng = Random(seed)
    rows = [(rng.choice((-1, 0, 1)), rng.randrange(-(1 << 63), 1 << 63) >> rng.randrange(64), n) for n in range(300)]
    order = Order(array("q", [n for row in rows for n in row]), 3, 2)
    assert list(order.numbers) == sorted(range(300), key=lambda n: rows[n][:2])
    assert order.distinct == len({row[:2] for row in rows})
    assert [rows[n][:2] for n in order.firsts(9)] == sorted({row[:2] for row in rows})[:9]


@pytest.mark.usefixtures("each")
def test_values_are_counted_by_step_in_a_row():
    """Negative ones too, of captures with relative times."""
    assert steps_of(array("q", [3, 5, 14, 9]), 10) == [(0, 2), (1, 1), (0, 1)]
    assert steps_of(array("q", [-3, 5]), 10) == [(-1, 1), (0, 1)]
    assert steps_of(array("q"), 10) == []
