"""An answer does not depend on what is only a name: addresses, their family, ports, where numbers and clocks begin.

Nor does it on whether the kernels are compiled: what the tests of rules and causes hold of one kind holds of both.
"""

from __future__ import annotations

from array import array

import pytest

from tcptrace_fsm.capture.scripted import Script, parse
from tcptrace_fsm.causes import CAUSES
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.findings import RULES
from tcptrace_fsm.kernels import compiled
from tcptrace_fsm.kernels import layout as at
from tcptrace_fsm.kernels.layout import (
    OPT_TIMESTAMPS,
    Q_FROM_HI,
    Q_KIND,
    S_ACK,
    S_DST_HI,
    S_DST_LO,
    S_FLAGS,
    S_IP_ID,
    S_NET,
    S_OPTIONS,
    S_PORTS,
    S_SACK,
    S_SACKS,
    S_SEQ,
    S_SRC_HI,
    S_SRC_LO,
    S_TIME,
    S_TSECR,
    S_TSVAL,
    SEGMENT_SIZE,
    TCP_ACK,
    TCP_QUOTED,
)
from tcptrace_fsm.runs.run import new_engine
from tcptrace_fsm.tcp.notation import BEGIN
from tests.fuzz.worlds import World
from tests.invariants import PLACE_WORDS

ALL_NUMBERS = 1 << 32
PREFIX = 0x2001_0DB8 << 32

# ICMP type and code -> what ICMPv6 says in their place, type | code << 8 (RFC 4443)
ICMPV6 = {
    (3, 0): 1,
    (3, 1): 1 | 3 << 8,
    (3, 3): 1 | 4 << 8,
    (3, 4): 2,
    (3, 9): 1 | 1 << 8,
    (3, 10): 1 | 1 << 8,
    (3, 13): 1 | 1 << 8,
    (11, 0): 3,
}


class Renamed(Script):
    """A conversation whose records a change has gone over."""

    def __init__(self, script, change):
        super().__init__(script.lines)
        self.change = change

    @property
    def segments(self):
        """The records as changed."""
        words = array("q", super().segments)
        self.change(words, range(0, len(words), SEGMENT_SIZE))
        return words


def plain_words(words, starts):
    """No change."""


def without_ids(words, starts):
    """No IP identifications, which tell in which order packets were sent: IPv6 has none."""
    for s in starts:
        words[s + S_IP_ID] = -1


def ipv6(words, starts):
    """The same hosts under IPv6 addresses."""
    without_ids(words, starts)
    for s in starts:
        words[s + S_NET] |= 1
        words[s + S_SRC_HI] = words[s + S_DST_HI] = PREFIX
        if words[s + S_FLAGS] & TCP_QUOTED:
            words[s + Q_FROM_HI] = PREFIX
            words[s + Q_KIND] = ICMPV6[words[s + Q_KIND] & 255, words[s + Q_KIND] >> 8]


def other_addresses(words, starts):
    """Other addresses, whose order is the reverse."""
    for s in starts:
        words[s + S_SRC_LO] = (192 << 24 | 168 << 16 | 1 << 15) - words[s + S_SRC_LO] % (1 << 15)
        words[s + S_DST_LO] = (192 << 24 | 168 << 16 | 1 << 15) - words[s + S_DST_LO] % (1 << 15)


def other_ports(words, starts):
    """Other client ports."""
    for s in starts:
        ports = [words[s + S_PORTS] >> 16, words[s + S_PORTS] & 65535]
        ports = [port + 3000 if port >= 32768 else port for port in ports]
        words[s + S_PORTS] = ports[0] << 16 | ports[1]


def begun(at):
    """The clock begins elsewhere."""

    def change(words, starts):
        for s in starts:
            words[s + S_TIME] += at - BEGIN

    return change


def wrapping_numbers(words, starts):
    """Sequence numbers that wrap a few bytes after the first SYN."""
    base = {}
    for s in starts:
        key = words[s + S_SRC_LO], words[s + S_DST_LO], words[s + S_PORTS]
        back = key[1], key[0], (key[2] & 65535) << 16 | key[2] >> 16
        base.setdefault(key, ALL_NUMBERS - 4 - (1000 if key[2] >> 16 > key[2] & 65535 else 5000))
        base.setdefault(back, ALL_NUMBERS - 4 - (5000 if key[2] >> 16 > key[2] & 65535 else 1000))
        words[s + S_SEQ] = (words[s + S_SEQ] + base[key]) % ALL_NUMBERS
        if words[s + S_FLAGS] & TCP_ACK:
            words[s + S_ACK] = (words[s + S_ACK] + base[back]) % ALL_NUMBERS
        for i in range(2 * words[s + S_SACKS]):
            words[s + S_SACK + i] = (words[s + S_SACK + i] + base[back]) % ALL_NUMBERS


def wrapping_stamps(words, starts):
    """Timestamps that wrap after the first of each host."""
    base = {}
    for s in starts:
        if words[s + S_OPTIONS] & OPT_TIMESTAMPS:
            shift = base.setdefault(words[s + S_SRC_LO], ALL_NUMBERS - 1 - words[s + S_TSVAL])
            words[s + S_TSVAL] = (words[s + S_TSVAL] + shift) % ALL_NUMBERS
            if words[s + S_TSECR] and words[s + S_DST_LO] in base:
                words[s + S_TSECR] = (words[s + S_TSECR] + base[words[s + S_DST_LO]]) % ALL_NUMBERS


CHANGES = {
    "ipv6": ipv6,
    "addresses": other_addresses,
    "ports": other_ports,
    "1970": begun(1),
    "2100": begun(4_102_444_800_000_000_000),
    "numbers": wrapping_numbers,
    "stamps": wrapping_stamps,
}

TEXTS = {
    **{f"{kind}": rule.example for kind, rule in RULES.items()},
    **{f"{kind} not {n}": text for kind, rule in RULES.items() for n, text in enumerate(rule.counterexamples)},
    **{f"cause {name}": cause.example for name, cause in CAUSES.items()},
    **{f"cause {name} not": cause.look_alike for name, cause in CAUSES.items()},
    "old data after the close": """
        0.000 > S  0:0(0)                 <ts 1/0>
        0.010 < S. 0:0(0)     ack 1       <ts 1/1>
        0.020 > .  1:1(0)     ack 1       <ts 2/1>
        0.030 > P. 1:101(100) ack 1       <ts 1/1>
        0.040 < .  1:1(0)     ack 101     <ts 2/1>
        1.000 > F. 101:101(0) ack 1       <ts 9/2>
        1.010 < F. 1:1(0)     ack 102     <ts 9/9>
        1.020 > .  102:102(0) ack 2       <ts 10/9>
        9.000 > P. 1:101(100) ack 1       <ts 1/1>   # had been on the way since
    """,
    "what a reset overtook": """
        0.000 > S  0:0(0)                 <ts 1/0>
        0.010 < S. 0:0(0)     ack 1       <ts 7/1>
        0.020 > .  1:1(0)     ack 1       <ts 2/7>
        0.030 > P. 1:101(100) ack 1       <ts 3/7>
        0.050 < P. 101:201(100) ack 101   <ts 9/3>
        0.060 < R. 201:201(0) ack 101     <ts 9/3>
        0.070 < P. 1:101(100) ack 101     <ts 8/3>
    """,
}


def answers(text, change):
    """What is said about a conversation: findings with their frames, diagnoses with how sure they are."""
    engine = new_engine(Settings())
    engine.feed(Renamed(parse(text), change))
    engine.finish()
    found = []
    while (done := engine.take()) is not None:
        found += [(f.kind, f.severity, f.side, f.conn_id, f.frames) for f in done.findings]
        found += [(d.cause, d.confidence, d.where, d.severity, d.connections, d.frame) for d in done.diagnoses]
    return sorted(found, key=repr)


@pytest.mark.slow
@pytest.mark.no_cover  # every example nine times: its lines are reached by the tests of its rule
@pytest.mark.parametrize("name", TEXTS)
def test_the_answer_stays(name):
    """The same findings and diagnoses, whatever things are called and wherever counting begins."""
    said = answers(TEXTS[name], plain_words)
    unidentified = answers(TEXTS[name], without_ids)
    for change, rename in CHANGES.items():
        assert answers(TEXTS[name], rename) == (unidentified if change == "ipv6" else said), change


def everything(text):
    """All that comes out of a pass over a conversation, made by the modules of the world that is entered."""
    from tcptrace_fsm.capture.scripted import parse
    from tcptrace_fsm.core.settings import Settings
    from tcptrace_fsm.runs.run import new_engine

    engine, batch, out = new_engine(Settings()), parse(text), []
    engine.feed(batch)
    engine.finish()
    while (done := engine.take()) is not None:
        words = done.connections[: done.count * at.CONNECTION_SIZE]
        out.append([0 if i % at.CONNECTION_SIZE in PLACE_WORDS else word for i, word in enumerate(words)])
        out.append(list(done.transitions[: done.transition_count * at.TRANSITION_SIZE]))
        out.append(list(done.waits[: done.wait_count * at.WAIT_SIZE]))
        out += [repr(one) for one in (*done.findings, *done.diagnoses)]
    return out


@pytest.mark.slow
@pytest.mark.skipif(not compiled(), reason="the kernels in use are plain Python already")
def test_the_answer_is_the_same_whether_kernels_are_compiled():
    """Of each third conversation every word of its connections, transitions and waits, each finding and diagnosis."""
    some = dict(list(TEXTS.items())[::3])
    plain = World("plain")
    assert not plain.compiled
    with plain.entered():
        expected = {name: everything(text) for name, text in some.items()}
    assert sum(map(len, expected.values())) > 4 * len(some) > 100
    for name, text in some.items():
        assert everything(text) == expected[name], name
