"""Arrow arrays from memory are what pyarrow makes of the same values, and pandas is not needed for it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcptrace_fsm.tables.arrow import coded, listed, lists, numbers, repeated, texts

some_texts = st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"])), max_size=20)


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "int64", "uint16"])
@given(st.lists(st.tuples(st.integers(0, 100), st.booleans()), max_size=40))
def test_numbers(kind, given):
    """Values, and nulls where the mask says so; also of a column that is every second word of something."""
    values = np.array([v for v, _ in given], dtype=kind)
    mask = np.array([m for _, m in given], dtype=bool)
    spread = np.zeros(2 * len(values), dtype=kind)
    spread[::2] = values
    made = numbers(spread[::2], mask)
    made.validate(full=True)
    assert made.equals(pa.array(values, mask=mask))
    assert numbers(values).equals(pa.array(values))


@given(some_texts)
def test_texts(values):
    """Strings and nulls, as they are and with each distinct one kept once, in the order in which they come."""
    coded_twice = repeated([*values[::-1], None], np.array([*range(len(values))][::-1], dtype=np.int64))
    for made in (texts(values), coded_twice):
        made.validate(full=True)
        assert made.to_pylist() == values
    assert coded_twice.dictionary.to_pylist() == [text for text in dict.fromkeys(values) if text is not None]
    assert repeated(values, np.array([-1, -1], dtype=np.int64)).to_pylist() == [None, None]


@given(st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=4).map(tuple), max_size=20))
def test_lists(values):
    """Lists of numbers, empty ones among them."""
    made = lists(values)
    made.validate(full=True)
    assert [tuple(v) for v in made.to_pylist()] == values
    flat = np.array([n for some in values for n in some], dtype=np.int64)
    assert listed(np.array([len(some) for some in values], dtype=np.int64), numbers(flat)).equals(made)


def test_coded():
    """Codes become their words, those that are masked null."""
    made = coded(np.array([1, 0, 1, 7], dtype=np.int8), ("a", "b"), np.array([False, False, False, True]))
    assert made.to_pylist() == ["b", "a", "b", None]


@pytest.mark.slow
def test_tables_are_written_without_pandas(tmp_path):
    """What takes longest to import is not imported."""
    code = (
        "import sys; from tcptrace_fsm.cli.app import run_command; "
        f"run_command(['analyze', 'sample_pcaps/lost_time_wait.pcap', '-q', '-o', {str(tmp_path)!r}]); "
        "sys.exit(any(m in sys.modules for m in ('pandas', 'pyarrow.compute')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "anomalies.parquet").exists()
