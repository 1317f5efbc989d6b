"""Whoever analyses a capture makes the same tables of it: what fuzzing once told apart, and a few inputs anew."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tcptrace_fsm.kernels import compiled
from tests.fuzz import compare
from tests.fuzz.mutate import mutated
from tests.fuzz.packed import opened
from tests.fuzz.seeds import seeds

FILES = sorted((Path(__file__).parent / "corpus" / "compare").iterdir())
USUAL = {"profile": "linux", "taken_at": (), "learn": False, "batch": 2, "chunk": 64}
BOTH = ("10.0.0.1", "10.0.0.2")
GIVEN = {
    "clock_set_back": {"profile": "bsd", "taken_at": BOTH},
    "a_name_given_at_a_leap": {"taken_at": BOTH, "batch": 3},
    "late_stamps_of_another_share": {"taken_at": BOTH[:1], "learn": True, "batch": 1},
    "judged_as_of_the_latest_clock": {"profile": "rfc9293", "batch": 3, "chunk": 4096},
    "leaps_and_batches": {"profile": "bsd", "batch": 1},
    "lingers_behind_a_late_syn": {"profile": "bsd", "batch": 7},
    "swept_before_the_clock_was_set_back": {"profile": "bsd", "taken_at": BOTH, "batch": 1},
}


@pytest.fixture(scope="module")
def comparison():
    made = compare.Comparison()
    assert made.first.compiled == compiled()
    assert not made.plain.compiled
    yield made
    made.close()


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_was_once_told_apart(path, comparison):
    """Each input that made a difference makes none."""
    assert comparison.differences(path.read_bytes(), {**USUAL, **GIVEN.get(path.stem, {})}) == []


@pytest.mark.slow
def test_a_few_inputs(comparison):
    """`python -m tests.fuzz compare` does the same for as long as it is let."""
    begun = seeds()
    for n in range(12):
        chance = random.Random(f"a few {n}")
        data = mutated(chance.choice(begun), chance, chance.choice(begun))
        assert comparison.differences(data, compare.drawn(chance)) == [], n


def test_a_difference_is_told(comparison, monkeypatch):
    """Kernels that count otherwise are found: the comparison can fail."""
    with comparison.plain.entered():
        run = comparison.plain.module("runs.run")
        engine = comparison.plain.module("core.engine").Engine
        monkeypatch.setattr(engine, "streams_opened", property(lambda self: 99))
        assert run
    found = comparison.differences(seeds()[-1], USUAL)
    assert [line for line in found if line.startswith("plain Python: summary")]


def test_seeds_are_captures():
    """All begin as captures, and conversations of rules are among them."""
    assert len(seeds()) > 200
    assert sum(opened(data) is not None for data in seeds()) >= len(seeds()) - 3


def test_changes_keep_the_form():
    """Most inputs can still be taken apart: they reach what is behind the container."""
    chance = random.Random(1)
    made = [mutated(chance.choice(seeds()), chance, chance.choice(seeds())) for _ in range(300)]
    assert sum(opened(data) is not None for data in made) > 200
    assert len(set(made)) > 280
