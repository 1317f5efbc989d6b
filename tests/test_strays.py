"""Connections that nobody opened: which of them surveys look at, compiled and as plain Python."""

from __future__ import annotations

from array import array
from random import Random
from typing import TYPE_CHECKING

import pytest

from tcptrace_fsm.core.finished import end_of
from tcptrace_fsm.kernels import strays
from tcptrace_fsm.kernels.layout import (
    A_ANSWERED,
    A_KEY,
    A_MEMBER,
    A_PEER,
    A_PORT,
    ATTEMPT_SIZE,
    C_CLIENT_LO,
    C_PORTS,
    C_ROLE_BASIS,
    C_SERVER_LO,
    CLIENT,
    CONNECTION_SIZE,
    E_ACK,
    E_BYTES,
    E_FINS,
    E_LAST_FLAGS,
    E_RSTS,
    E_SEGMENTS,
    E_SYNS,
    E_TSVAL,
    ROLE_SYN,
    ROLE_SYN_ACK,
    SERVER,
    TCP_ACK,
    TCP_FIN,
    TCP_RST,
)
from tests.kernels import Watched, uncompiled

if TYPE_CHECKING:
    from types import ModuleType

COUNT = 3000
FLAGS = (0, TCP_FIN, TCP_ACK, TCP_FIN | TCP_ACK, TCP_RST, TCP_RST | TCP_ACK)


def records(seed: int) -> array[int]:
    """Connections whose ends sent little, of every kind."""
    rng, words = Random(seed), array("q", bytes(8 * COUNT * CONNECTION_SIZE))
    for i in range(COUNT):
        c = i * CONNECTION_SIZE
        words[c + C_PORTS] = rng.choice((80, 5000)) << 16 | rng.choice((80, 6000))
        words[c + C_CLIENT_LO], words[c + C_SERVER_LO] = rng.randrange(3), rng.randrange(3)
        for side in (CLIENT, SERVER):
            own = end_of(c, side)
            sent = words[own + E_SEGMENTS] = rng.choice((0, 0, 1, 1, 2, 4))
            for word in (E_FINS, E_RSTS, E_SYNS):
                words[own + word] = rng.choice((0, sent))
            words[own + E_LAST_FLAGS] = rng.choice(FLAGS)
            words[own + E_BYTES] = rng.choice((0, 0, 0, 5))
            words[own + E_TSVAL] = rng.choice((-1, 7))
            words[own + E_ACK] = rng.choice((-1, 0, 1, 2))
    return words


def probing(words: array[int], c: int, side: int, flags: int) -> bool:
    """Whether that side sent up to three segments with just these flags, answered by as many RSTs at most."""
    own, other = end_of(c, side), end_of(c, 1 - side)
    asks = words[own + E_SEGMENTS]
    fins = asks if flags & TCP_FIN else 0
    return (
        0 < asks <= 3
        and words[own + E_LAST_FLAGS] == flags
        and not words[own + E_BYTES]
        and words[own + E_RSTS] == (asks if flags & TCP_RST else 0)
        and (not flags & TCP_ACK or words[own + E_FINS] == fins)
        and words[other + E_SEGMENTS] == words[other + E_RSTS] <= asks
    )


@pytest.fixture(params=["installed", "uncompiled"])
def kernel(request) -> ModuleType:
    """Either way."""
    return uncompiled("strays") if request.param == "uncompiled" else strays


def given(kernel: ModuleType, *arrays: array[int]) -> list[array[int] | Watched]:
    """The same, watched where it is plain Python that gets them."""
    return list(arrays) if kernel is strays else [Watched(a) for a in arrays]


@pytest.mark.parametrize("flags", [(f, f) for f in FLAGS] + [(TCP_RST, TCP_RST | TCP_ACK)])
def test_probes_are_found_as_they_are_defined(kernel, flags):
    """Of two kinds of flags the first that fit count, of two ends the client."""
    words = records(1)
    starts, out = array("q", range(0, len(words), CONNECTION_SIZE)), array("q", bytes(16 * COUNT))
    rows, block, found = given(kernel, starts, words, out)
    n = kernel.find_probes(COUNT, rows, block, *flags, found)
    expected = []
    for c in starts:
        each = [side for wanted in flags for side in (CLIENT, SERVER) if probing(words, c, side, wanted)]
        expected += [(c, each[0])] if each else []
    assert expected
    assert list(zip(out[: 2 * n : 2], out[1 : 2 * n : 2], strict=True)) == expected


@pytest.mark.parametrize("pairs", [0, 1])
def test_probes_are_noted_by_whom_they_concern(kernel, pairs):
    """By the host that was sent them; or by both, without services' ports and without timestamps."""
    words = records(2)
    starts, out = array("q", range(0, len(words), CONNECTION_SIZE)), array("q", bytes(16 * COUNT))
    n = kernel.find_probes(COUNT, *given(kernel, starts, words), TCP_ACK, TCP_ACK, *given(kernel, out))
    found = [(out[2 * i], out[2 * i + 1]) for i in range(n)]
    noted, bound = array("q", bytes(8 * n * ATTEMPT_SIZE)), array("q", [1, 0, 0, 1, 0, 0, 1])
    n = kernel.note_probes(n, *given(kernel, out, words), pairs, 1024, *given(kernel, bound, noted))
    expected = []
    for c, side in found:
        hosts = words[c + C_CLIENT_LO], words[c + C_SERVER_LO]
        ports = words[c + C_PORTS] >> 16, words[c + C_PORTS] & 65535
        answered = int(words[end_of(c, 1 - side) + E_RSTS] > 0)
        if not pairs and hosts[1 - side] <= 1:
            expected.append(((0, 0, hosts[1 - side]), (0, 0, hosts[side]), ports[side], answered))
        usual = words[end_of(c, side) + E_TSVAL] >= 0 or ports[side] < 1024
        if pairs and not usual and (hosts[side], hosts[1 - side]) <= (1, 1):
            key = (0, 0, hosts[side], 0, 0, hosts[1 - side])
            expected.append((key, (*key[3:], ports[1 - side]), ports[side], answered))
    width, member, size = (6, A_PEER, 4) if pairs else (3, A_MEMBER, 3)
    assert expected
    assert [
        (tuple(r[A_KEY : A_KEY + width]), tuple(r[member : member + size]), r[A_PORT], r[A_ANSWERED])
        for r in (noted[i * ATTEMPT_SIZE : (i + 1) * ATTEMPT_SIZE] for i in range(n))
    ] == expected


def test_answers_that_nobody_asked_for_are_noted_from_both_ends(kernel):
    """SYN+ACKs whose receiver sent nothing, or RSTs: by that one, and by their sender."""
    words = records(4)
    starts, noted = array("q", range(0, len(words), CONNECTION_SIZE)), array("q", bytes(16 * COUNT * ATTEMPT_SIZE))
    for n, c in enumerate(starts):
        words[c + C_ROLE_BASIS] = (ROLE_SYN_ACK, ROLE_SYN)[n % 3 == 0]
    bound = array("q", [1, 1, 0, 0, 1, 0, 0])
    n = kernel.note_answers(COUNT, *given(kernel, starts, words, bound, noted))
    expected = []
    for c in starts:
        client, server = end_of(c, CLIENT), end_of(c, SERVER)
        asked = words[c + C_ROLE_BASIS] != ROLE_SYN_ACK or words[client + E_SEGMENTS] != words[client + E_RSTS]
        if not asked and words[server + E_SYNS] == words[server + E_SEGMENTS]:
            hosts = words[c + C_CLIENT_LO], words[c + C_SERVER_LO]
            expected += [((way, 0, 0, hosts[way]), (0, 0, hosts[1 - way])) for way in (0, 1) if not way or hosts[1] < 2]
    assert expected
    each = [noted[i * ATTEMPT_SIZE : (i + 1) * ATTEMPT_SIZE] for i in range(n)]
    assert [(tuple(r[A_KEY : A_KEY + 4]), tuple(r[A_MEMBER : A_MEMBER + 3])) for r in each] == expected


def test_connections_with_one_side_are_found_as_they_are_defined(kernel):
    """One that says more than SYNs and RSTs, and acknowledges what is not in the capture."""
    words = records(3)
    starts, out = array("q", range(0, len(words), CONNECTION_SIZE)), array("q", bytes(16 * COUNT))
    n = kernel.find_one_sided(COUNT, *given(kernel, starts, words, out))
    expected = []
    for c in starts:
        for side in (CLIENT, SERVER):
            own = end_of(c, side)
            more = words[own + E_SEGMENTS] - words[own + E_SYNS] - words[own + E_RSTS]
            opened, later = words[own + E_SYNS] and words[own + E_ACK] >= 0, more > 1 and words[own + E_ACK] > 1
            if not words[end_of(c, 1 - side) + E_SEGMENTS] and more > 0 and (opened or later):
                expected.append((c, side))
    assert expected
    assert list(zip(out[: 2 * n : 2], out[1 : 2 * n : 2], strict=True)) == expected
    heard = array("q", bytes(8 * COUNT))
    n = kernel.find_heard(COUNT, *given(kernel, starts, words, heard))
    sent = [(c, words[end_of(c, CLIENT) + E_SEGMENTS], words[end_of(c, SERVER) + E_SEGMENTS]) for c in starts]
    assert list(heard[:n]) == [c for c, one, other in sent if (one and other) or max(one, other) > 3]
