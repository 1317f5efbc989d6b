"""Captures that hold frames more than once: the copies are recognised, and nothing else is said of them."""

from __future__ import annotations

import pytest

from tcptrace_fsm.capture.scripted import Script, parse
from tcptrace_fsm.findings import RULES
from tests.strategies import run
from tests.tracking import only

MICROSECOND = 1000
HOW = [{}, {"times": 4}, {"apart": 300 * MICROSECOND, "hop": 1}]


def found(given) -> list[str]:
    """The kinds of findings about single connections."""
    return [f.kind for f in run(given, rules=True).findings]


def copied(text: str, *, times: int = 2, apart: int = 4 * MICROSECOND, hop: int = 0) -> Script:
    """Every frame several times: on several interfaces, or before and behind a router that takes a hop."""
    lines = [
        line._replace(time=line.time + i * apart, ttl=line.ttl - i * hop)
        for line in parse(text).lines
        for i in range(times)
    ]
    return Script(sorted(lines, key=lambda line: line.time))


WHOLE = """
    0.000 > S  0:0(0)
    0.010 < S. 0:0(0)       ack 1  id 0
    0.020 > .  1:1(0)       ack 1
    0.030 > P. 1:101(100)   ack 1
    0.040 < .  1:1001(1000) ack 101
    0.0401 < P. 1001:2001(1000) ack 101
    0.050 > .  101:101(0)   ack 2001
    0.060 > F. 101:101(0)   ack 2001
    0.070 < F. 2001:2001(0) ack 102
    0.080 > .  102:102(0)   ack 2002
"""


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(RULES.keys() - {"optimistic_ack"}))
@pytest.mark.parametrize("how", HOW, ids=["any", "four", "router"])
def test_what_is_found_in_a_capture_is_found_in_one_that_holds_all_twice(kind, how):
    """The same kinds, each as often."""
    assert found(copied(RULES[kind].example, **how)) == found(RULES[kind].example)


@pytest.mark.parametrize("how", HOW, ids=["any", "four", "router"])
def test_acks_before_their_data_are_not_optimistic_where_another_interface_may_have_stamped_them(how):
    """Two interfaces may have two clocks: what remains is that an ACK came before what it acknowledges."""
    example = RULES["optimistic_ack"].example
    assert "optimistic_ack" in found(example)
    twice = found(copied(example, **how))
    assert "ack_unseen" in twice
    assert "optimistic_ack" not in twice


@pytest.mark.parametrize("apart, hop", [(1, 0), (30, 0), (900, 0), (2000, 1), (8000, 1)])
def test_a_whole_connection_twice_is_one(apart, hop):
    """Counted once, nothing found, whatever the way through the capturing machine took."""
    conversation = copied(WHOLE, apart=apart * MICROSECOND, hop=hop)
    assert found(conversation) == []
    (connection,) = run(conversation).connections
    assert [connection.end(side, "E_SEGMENTS") for side in ("client", "server")] == [6, 4]
    assert [connection.end(side, "E_RETRANSMITTED") for side in ("client", "server")] == [0, 0]


def test_a_train_and_then_its_copies():
    """Two queues: all of one, then all of the other; the sender's numbering tells."""
    text = """
        0.000000 > S  0:0(0)            id 7
        0.000004 > S  0:0(0)            id 7
        0.010000 < S. 0:0(0)      ack 1 id 0
        0.010004 < S. 0:0(0)      ack 1 id 0
        0.020000 > .  1:1(0)      ack 1 id 8
        0.020004 > .  1:1(0)      ack 1 id 8
        0.030000 > .  1:101(100)  ack 1 id 9
        0.030001 > .  101:201(100) ack 1 id 10
        0.030002 > .  201:301(100) ack 1 id 11
        0.030010 > .  1:101(100)  ack 1 id 9
        0.030011 > .  101:201(100) ack 1 id 10
        0.030012 > .  201:301(100) ack 1 id 11
        0.040000 < .  1:1(0)      ack 101 id 20
        0.040001 < .  1:1(0)      ack 301 id 21
        0.040010 < .  1:1(0)      ack 101 id 20
        0.040011 < .  1:1(0)      ack 301 id 21
    """
    connection = only(text)
    assert [connection.end("client", name) for name in ("E_SEGMENTS", "E_RETRANSMITTED")] == [5, 0]
    assert connection.end("server", "E_SEGMENTS") == 3


def test_a_syn_ack_repeated_for_a_repeated_syn_is_no_copy():
    """Two questions, two answers, although all answers bear the identification 0."""
    text = """
        0.0000 > S  0:0(0)        id 7
        0.0001 > S  0:0(0)        id 8
        0.0100 < S. 0:0(0)  ack 1 id 0
        0.0101 < S. 0:0(0)  ack 1 id 0
        0.0200 > .  1:1(0)  ack 1
    """
    assert only(text).end("server", "E_SYNS") == 2


def test_resets_that_answer_a_train_are_no_copies():
    """One for each segment, with the same number and the identification 0."""
    text = """
        0.000 > S  0:0(0)
        0.010 < S. 0:0(0)          ack 1
        0.020 > .  1:1(0)          ack 1
        0.030 > .  1:1001(1000)    ack 1
        0.0301 > . 1001:2001(1000) ack 1
        0.040 < R  1:1(0)          id 0
        0.0401 < R 1:1(0)          id 0
    """
    assert only(text).end("server", "E_RSTS") == 2


@pytest.mark.parametrize("ident", [0, 300])
def test_resets_are_copied_like_all_else(ident):
    """They are numbered by another counter than the rest, or not at all; nothing else shows a copy of one."""
    text = """
        0.0000 > S  0:0(0)            id 11
        0.0000 > S  0:0(0)            id 11
        0.0100 < S. 0:0(0)      ack 1 id 50000
        0.0101 < S. 0:0(0)      ack 1 id 50000
        0.0200 > .  1:1(0)      ack 1 id 12
        0.0300 > .  1:1001(1000) ack 1 id 13
        0.0310 < F. 1:1(0)      ack 1 id 50001
        0.0311 < F. 1:1(0)      ack 1 id 50001
    """
    text += "".join(
        f"0.04{n // 2}{n % 2} < R {1 + n // 2 % 2}:{1 + n // 2 % 2}(0) id {ident and ident + n // 2}\n"
        for n in range(18)
    )
    assert "rst_storm" not in found(text)
    assert only(text).end("server", "E_RSTS") <= 9


def test_a_repetition_that_was_overtaken_is_copied_like_all_else():
    """It fills a hole, behind what was numbered later; the frame right behind it is the same once more."""
    lines = """
        0.0000 > S  0:0(0)                id 10
        0.0100 < S. 0:0(0)          ack 1 id 50
        0.0200 > .  1:1(0)          ack 1 id 11
        0.0300 > .  1001:2001(1000) ack 1 id 13
        0.0301 > .  2001:3001(1000) ack 1 id 14
        0.0302 > .  3001:4001(1000) ack 1 id 15
        0.0303 > .  4001:5001(1000) ack 1 id 16
        0.0500 > F. 5001:5001(0)    ack 1 id 18
        0.0600 > .  1:1001(1000)    ack 1 id 17
        0.0700 < .  1:1(0)       ack 5002 id 51
    """
    twice = "".join(f"{line}\n" * 2 for line in lines.strip().splitlines())
    end = only(twice).end
    assert end("client", "E_RETRANSMITTED") + end("client", "E_OUT_OF_ORDER") == 1


RENUMBERED = """
    0.000 > S  0:0(0)              id 10
    isn {0} {1}
    0.010 < S. 0:0(0)       ack 1  id 50
    isn 1000 5000
    0.010 < S. 0:0(0)       ack 1  id 50
    0.020 > .  1:1(0)       ack 1  id 11
    0.030 > P. 1:101(100)   ack 1  id 12
    isn {0} {1}
    0.040 < P. 1:501(500)   ack 101 id 51
    0.041 < F. 501:501(0)   ack 101 id 52
    isn 1000 5000
    0.0401 < P. 1:501(500)  ack 101 id 51
    0.0411 < F. 501:501(0)  ack 101 id 52
    0.050 > F. 101:101(0)   ack 502 id 13
    isn {0} {1}
    0.060 < .  502:502(0)   ack 102 id 53
    isn 1000 5000
    0.060 < .  502:502(0)   ack 102 id 53
"""


@pytest.mark.parametrize("numbers", [(800_000_000, 3_000_000_000), (3_500_000_000, 90_000_000)])
def test_both_sides_of_a_box_that_rewrites_sequence_numbers(numbers):
    """The server's frames are there with the box's numbers and with its own: those that its client answers count."""
    text = RENUMBERED.format(*numbers)
    assert found(text) == []
    connection = only(text)
    assert connection.closing == "normal"
    assert connection.end("server", "E_SEGMENTS") == 4


@pytest.mark.parametrize(("number", "again"), [(29, 1), (20, 0)])
def test_a_repetition_that_was_overtaken_is_no_copy(number, again):
    """It has the number of a packet between those that overtook it, and lies farther back than so few of them reach."""
    text = """
        0.000 > S  0:0(0)         id 7
        0.010 < S. 0:0(0)   ack 1 id 0
        0.020 > .  1:1(0)   ack 1 id 19
    """
    text += "".join(f"0.03{n} > . {1 + 100 * n}:{101 + 100 * n}(100) ack 1 id {20 + n}\n" for n in range(9))
    text += "0.0400 > . 901:1001(100) ack 1 id 30\n0.0401 > . 1001:1101(100) ack 1 id 31\n"
    text += f"0.0402 > . 1:101(100) ack 1 id {number}\n0.050 < . 1:1(0) ack 1101 id 9\n"
    connection = only(text)
    assert connection.end("client", "E_RETRANSMITTED") == again
