"""Causes do not depend on the family of the addresses, nor on which clock the capture has."""

from __future__ import annotations

from itertools import pairwise

import pytest

import tcptrace_fsm as tf
from tcptrace_fsm.capture.scripted import Script, parse
from tcptrace_fsm.causes import CAUSES
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.kernels.layout import (
    Q_FROM_HI,
    Q_KIND,
    S_DST_HI,
    S_FLAGS,
    S_IP_ID,
    S_NET,
    S_SRC_HI,
    S_TIME,
    SEGMENT_SIZE,
    TCP_QUOTED,
)
from tcptrace_fsm.runs.run import new_engine
from tests import builders

pytestmark = pytest.mark.plain

PREFIX = 0x20010DB8 << 32
ICMP_V6 = {3: (1, {0: 0, 1: 3, 3: 4, 9: 1, 10: 1, 13: 1, 4: 0}), 11: (3, {0: 0, 1: 1})}


class Changed(Script):
    """A conversation in another family, or by another clock."""

    def __init__(self, text: str, *, v6: bool = False, shift: int = 0, towards: str = "") -> None:
        super().__init__(parse(text).lines)
        self.v6 = v6
        self.shift = shift
        if towards:
            self.move(towards)

    def move(self, towards: str) -> None:
        """Take the capture nearer to one end, as far as the order of question and answer allows.

        What that end sends is seen earlier there, and what comes to it later.
        """
        asked = [line.source < line.target for line in self.lines]  # in the notation's own addresses
        if towards == "client":
            asked = [not a for a in asked]
        pairs = zip(pairwise(self.lines), pairwise(asked), strict=True)
        gaps = [after.time - before.time for (before, after), turn in pairs if turn == (True, False)]
        if any(after.time < before.time for before, after in pairwise(self.lines)):
            return  # its order is not that of its times
        by = int(0.4 * max(0, min(gaps, default=0)))
        if not by:
            return
        self.lines = [
            line._replace(time=line.time + (by if a else -by)) for line, a in zip(self.lines, asked, strict=True)
        ]
        self.lines.sort(key=lambda line: line.time)

    @property
    def segments(self):
        """Its segment records."""
        words = super().segments
        for s in range(0, len(words), SEGMENT_SIZE):
            words[s + S_TIME] += self.shift
            if self.v6:
                words[s + S_NET] |= 1
                words[s + S_SRC_HI] = words[s + S_DST_HI] = PREFIX
                words[s + S_IP_ID] = -1
                if words[s + S_FLAGS] & TCP_QUOTED:
                    words[s + Q_FROM_HI] = PREFIX
                    kind, code = words[s + Q_KIND] & 255, words[s + Q_KIND] >> 8
                    if (kind, code) == (3, 4):
                        words[s + Q_KIND] = 2
                    else:
                        new, codes = ICMP_V6[kind]
                        words[s + Q_KIND] = new | codes[code] << 8
        return words


def causes_of(script: Script) -> list[tuple[str, str]]:
    """Cause and place of each diagnosis."""
    engine = new_engine(Settings())
    engine.feed(script)
    engine.finish()
    found = []
    while (done := engine.take()) is not None:
        found += [(d.cause, d.where) for d in done.diagnoses]
    return found


@pytest.mark.parametrize("name", CAUSES)
def test_its_example_gives_a_cause_first_in_ipv6(name):
    """The same conversation between two IPv6 addresses; there is no identification, and ICMP has other numbers."""
    assert [cause for cause, _ in causes_of(Changed(CAUSES[name].example, v6=True))][:1] == [name]


@pytest.mark.parametrize("name", CAUSES)
def test_its_look_alike_does_not_in_ipv6(name):
    """Nor does IPv6 make an answer of what only looks alike."""
    assert [cause for cause, _ in causes_of(Changed(CAUSES[name].look_alike, v6=True))][:1] != [name]


@pytest.mark.slow
@pytest.mark.parametrize("name", CAUSES)
def test_the_moment_of_the_capture_does_not_matter(name):
    """A clock that is years off, or begins at 1970: the same diagnoses."""
    text = CAUSES[name].example
    assert causes_of(Changed(text, shift=-1_699_999_990 * 10**9)) == causes_of(parse(text))


# A SYN that is seen at the server's host was not dropped by a translation on the way.
NEARER = {("nat_ports_exhausted", "server"): "accept_queue_full"}


@pytest.mark.slow
@pytest.mark.parametrize("towards", ["client", "server"])
@pytest.mark.parametrize("name", CAUSES)
def test_a_capture_nearer_to_an_end_gives_the_same_cause(name, towards):
    """The same conversation, seen from elsewhere on the way."""
    wanted = NEARER.get((name, towards), name)
    assert [cause for cause, _ in causes_of(Changed(CAUSES[name].example, towards=towards))][:1] == [wanted]


@pytest.mark.parametrize(("port", "severity"), [(80, "low"), (81, "medium")])
def test_who_is_accepted_by_the_other_family_at_once_misses_nothing(port, severity):
    """A client that tries both: one has no listener, and the other serves it."""
    syn = builders.tcp(seq=100, ack=0, flags="S")
    refused = [builders.ipv6(syn), ipv6_back(builders.tcp(src_port=80, dst_port=40000, seq=0, ack=101, flags="RA"))]
    there = [
        builders.tcp(dst_port=port, seq=500, ack=0, flags="S"),
        builders.tcp(src_port=port, dst_port=40000, seq=900, ack=501, flags="SA"),
        builders.tcp(dst_port=port, seq=501, ack=901, flags="A"),
    ]
    hosts = ("10.0.0.1", "10.0.0.2")
    accepted = [builders.ipv4(s, src=hosts[n % 2], dst=hosts[1 - n % 2]) for n, s in enumerate(there)]
    frames = [builders.ethernet(f, 0x86DD) for f in refused] + [builders.ethernet(f) for f in accepted]
    found = tf.analyze([(1e9 + n / 1000, f) for n, f in enumerate(frames)], linktype=1).diagnoses
    assert found[["cause", "severity"]].to_numpy().tolist() == [["nothing_listens", severity]]


def ipv6_back(segment):
    """From the server to the client."""
    return builders.ipv6(segment, src="2001:db8::2", dst="2001:db8::1")
