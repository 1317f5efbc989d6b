"""Sequence numbers, against arithmetic that nobody can get wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels import uncompiled

plain = uncompiled("sequence")
WHOLE = 2**32
HALF = 2**31

wire = st.one_of(st.sampled_from((0, 1, HALF - 1, HALF, HALF + 1, WHOLE - 1)), st.integers(0, WHOLE - 1))
wide = st.one_of(st.sampled_from((-1, 0, 1, HALF - 1, HALF, WHOLE - 1, WHOLE, WHOLE + 1)), st.integers(-(2**61), 2**61))


@given(wide)
def test_low32_is_the_remainder(value):
    """What the wire has of a number is its remainder, for negative ones too."""
    assert plain.low32(value) == value % WHOLE


@given(wire, wire, wide)
def test_widen_gives_the_closest_number_that_looks_so(number, base, near):
    """It equals the wire's number modulo 2**32, and no other such number is closer."""
    found = plain.widen(number, base, near)
    assert (found - (number - base)) % WHOLE == 0
    assert -HALF <= found - near < HALF


@given(st.integers(0, 2**40), wire, st.integers(-HALF, HALF - 1))
def test_widen_undoes_the_wrap(position, base, distance):
    """A number sent within 2**31 of a known one is found again, wherever the 32 bits wrap between the two."""
    assert plain.widen((base + position + distance) % WHOLE, base, position) == position + distance


@given(wire, wire)
def test_of_two_stamps_at_most_one_is_newer(a, b):
    """Half the circle lies after a number and half before; the two ends of the diameter are newer in no direction."""
    ahead = (a - b) % WHOLE
    assert plain.newer(a, b) == (1 if 0 < ahead < HALF else 0)
    assert plain.newer(a, b) + plain.newer(b, a) == (0 if ahead in {0, HALF} else 1)


@pytest.mark.parametrize("number", [0, 1, 30, 31, 32, 46, 62])
def test_bit(number):
    """One bit, in every place that a mark may have."""
    assert plain.bit(number) == 2**number
