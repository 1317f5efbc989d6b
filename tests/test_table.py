"""The flow table, against a dict."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcptrace_fsm.kernels import layout as at
from tests.kernels import Watched, words
from tests.strategies import HOSTS, SEED, pure_kernels, record

if TYPE_CHECKING:
    from array import array

kernels = pure_kernels()
plain, moving = kernels["table"], kernels["moving"]
TUPLES = [
    (net, HOSTS[a], HOSTS[1 - a], port, 80, high)
    for net in (0, 1, 2)
    for a in (0, 1)
    for port in (80, 40000, 40001)
    for high in ((0, 5) if net & 1 else (0,))
]


def segment(key, *, back: bool = False) -> array:
    """A segment of a four-tuple, in either direction."""
    net, source, target, source_port, target_port, high = key
    hosts, ports, highs = (source, target), (source_port, target_port), (high, 0)
    if back:
        hosts, ports, highs = hosts[::-1], ports[::-1], highs[::-1]
    return record(1, 0, hosts, ports, 0, 0, 2, NET=net, SRC_HI=highs[0], DST_HI=highs[1])


def put_row(rows: array, c: int, s: array) -> None:
    """Give row ``c`` the four-tuple of a segment, its source as the client."""
    rows[c + at.C_NET], rows[c + at.C_PORTS] = s[at.S_NET], s[at.S_PORTS]
    rows[c + at.C_CLIENT_LO], rows[c + at.C_CLIENT_HI] = s[at.S_SRC_LO], s[at.S_SRC_HI]
    rows[c + at.C_SERVER_LO], rows[c + at.C_SERVER_HI] = s[at.S_DST_LO], s[at.S_DST_HI]


def canonical(key) -> frozenset:
    """What the two directions of a four-tuple have in common."""
    net, source, target, source_port, target_port, high = key
    return frozenset({("net", net), (high, source, source_port), (0, target, target_port)})


@pytest.mark.parametrize("key", TUPLES)
def test_both_directions_meet(key):
    """A segment and its answer hash alike, and the row tells which of the two is the client's."""
    there, back = segment(key), segment(key, back=True)
    assert plain.hash_of(there, 0, SEED | 1) == plain.hash_of(back, 0, SEED | 1) >= 0
    rows = words(at.CONNECTION_SIZE)
    put_row(rows, 0, there)
    assert plain.is_client(rows, 0, there, 0) == 1
    if (key[1], key[3]) != (key[2], key[4]):
        assert plain.is_client(rows, 0, back, 0) == 0


def test_different_tuples_are_strangers():
    """No row takes a segment of another four-tuple, network or tunnel."""
    rows = words(at.CONNECTION_SIZE)
    for mine in TUPLES:
        put_row(rows, 0, segment(mine))
        for other in TUPLES:
            if canonical(other) != canonical(mine):
                assert plain.is_client(rows, 0, segment(other), 0) == -1


def test_the_hash_hangs_on_the_seed():
    """Who does not know the seed cannot choose four-tuples that meet in one slot."""
    key = segment(TUPLES[0])
    assert len({plain.hash_of(key, 0, seed | 1) & 1023 for seed in range(1 << 40, (1 << 40) + 400, 2)}) > 100


@pytest.mark.parametrize("word", ["SRC_HI", "DST_HI", "SRC_LO", "DST_LO"])
@pytest.mark.parametrize("seed", [SEED | 1, 0x1D3A_7C05_92F1_E86B, 0x0B0C_59A1_3E77_D2F5])
def test_no_bit_of_an_address_is_lost(word, seed):
    """A product of 62 bits loses the upper bits of an address under any seed: crafted four-tuples share one hash."""
    hashes = set()
    low = {"SRC_LO": 3, "DST_LO": 5, "SRC_HI": 7, "DST_HI": 9}
    for top in range(64):
        value = low[word] | top << 58
        words_of = low | {word: value - (value >> 63 << 64)}
        s = record(1, 0, (0, 0), (80, 40000), 0, 0, 2, NET=1, **words_of)
        hashes.add(plain.hash_of(s, 0, seed))
    assert len(hashes) == 64
    assert len({h & 1023 for h in hashes}) > 40


def test_past_uses_are_told_apart_by_their_four_tuples():
    """Two four-tuples with one hash are two entries; both directions of one are the same."""
    size = 64
    past, rows = Watched(words(at.PAST_SIZE * size)), words(at.CONNECTION_SIZE * (len(TUPLES) + 1))
    apart = {canonical(key): key for key in TUPLES}
    assert len(apart) > 10
    for n, key in enumerate(apart.values()):
        c = n * at.CONNECTION_SIZE
        put_row(rows, c, segment(key))
        rows[c + at.C_HASH] = 5
        assert plain.recall(past, size, rows, c) == -1
        assert plain.remember(past, size, 5, rows, c, n << at.PAST_SHIFT) == 1
        assert plain.remember(past, size, 5, rows, c, n << at.PAST_SHIFT | 1) == 0
    other = len(TUPLES) * at.CONNECTION_SIZE
    rows[other + at.C_HASH] = 5
    for n, key in enumerate(apart.values()):
        put_row(rows, other, segment(key, back=True))
        assert plain.recall(past, size, rows, other) == n << at.PAST_SHIFT | 1
    larger = words(at.PAST_SIZE * 2 * size)
    kept = moving.move_past(past, size, larger, 2 * size, 3)
    assert kept == len(apart) - 3
    for n, key in enumerate(apart.values()):
        put_row(rows, other, segment(key))
        assert plain.recall(larger, 2 * size, rows, other) == (-1 if n < 3 else n << at.PAST_SHIFT | 1)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, len(TUPLES) - 1), st.booleans()), max_size=60), st.integers(0, 3)
)
def test_table_behaves_as_a_dict(deeds, spread):
    """However entries come and go, and however few slots their hashes share, what is in is found, the rest not."""
    size = 64
    slots, rows = Watched(words(2 * size)), words(at.CONNECTION_SIZE * len(TUPLES))
    twin: dict[frozenset, int] = {}
    hashes: dict[frozenset, int] = {}

    def hash_of(key) -> int:
        return plain.hash_of(segment(key), 0, SEED | 1) & ((1 << (2 * spread)) - 1)  # 1, 4, 16 or 64 homes

    for insert, number, back in deeds:
        key = TUPLES[number]
        name, s, h = canonical(key), segment(key, back=back), hash_of(key)
        slot = plain.find(slots, size, h, rows, s, 0)
        assert slots[slot + 1] == (twin[name] + 1 if name in twin else 0)
        if insert and name not in twin:
            c = number * at.CONNECTION_SIZE
            put_row(rows, c, s)
            slots[slot], slots[slot + 1] = h, c + 1
            twin[name], hashes[name] = c, h
        elif not insert:
            known = name in twin
            c = twin.pop(name, number * at.CONNECTION_SIZE)
            assert plain.remove(slots, size, h, c) == (1 if known else 0)
    for key in TUPLES:
        name = canonical(key)
        slot = plain.find(slots, size, hash_of(key), rows, segment(key), 0)
        assert slots[slot + 1] == (twin[name] + 1 if name in twin else 0)
    larger = words(4 * size)
    assert moving.move_slots(slots, size, larger, 2 * size, 0) == len(twin)
    for key in TUPLES:
        slot = plain.find(larger, 2 * size, hash_of(key), rows, segment(key), 0)
        assert larger[slot + 1] == (twin[canonical(key)] + 1 if canonical(key) in twin else 0)
