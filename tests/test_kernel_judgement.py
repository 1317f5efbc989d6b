"""The numbers by which the kernels judge (``kernels/layout/judgement.py``), each with a case on either side of it."""

from __future__ import annotations

import pytest

from tests.strategies import run

pytestmark = pytest.mark.plain

# The way there and back between the capture and the server is 10 ms, so the server is 5 ms away.
OPEN = """
    0.000 > S  0:0(0)           id 1
    0.010 < S. 0:0(0)       ack 1 id 501
    0.020 > .  1:1(0)       ack 1 id 2
    0.030 > P. 1:101(100)   ack 1 id 3
    0.040 < .  1:1(0)       ack 101 id 502
"""
# As on the server's own network, and nobody numbers packets.
NEAR = """
    0.0000 > S  0:0(0)         id 0
    0.0005 < S. 0:0(0)   ack 1 id 0
    0.0010 > .  1:1(0)   ack 1 id 0
    1.0000 > .  1001:2001(1000) ack 1 id 0
"""
ONE_SIDED = """
    0.000 > S  0:0(0)
    0.020 > .  1:1(0)       ack 1
    0.030 > P. 1:101(100)   ack 1
    1.000 > F. 101:101(0)   ack 1
"""


def last_marks(text: str) -> set[str]:
    """The marks of the last segment."""
    return run(text).labels()[-1][2]


def path(text: str, side: str) -> str:
    """The states that one endpoint went through."""
    return run(text).connections[0].path(side)


def repeated(after_ms: float, duplicate_acks: int) -> str:
    acks = "".join(f"1.19{n} < . 1:1(0) ack 101\n" for n in range(duplicate_acks))
    return OPEN + f"1.0 > . 101:1101(1000) ack 1\n{acks}{1 + after_ms / 1000:.6f} > . 101:1101(1000) ack 1\n"


def filled(after_ms: float) -> str:
    return NEAR + f"{1 + after_ms / 1000:.6f} > . 1:1001(1000) ack 1 id 0\n"


def damaged(length: int) -> str:
    return OPEN + f"1.0 > . 101:{101 + length}({length}) ack 1 id 4 bad\n"


MARKED = {
    "190 ms: a timer made it repeat": (repeated(190, 0), "timeout", True),
    "less than 190 ms: no timer did": (repeated(189.9, 0), "timeout", False),
    "three duplicate ACKs asked for it": (repeated(200, 3), "fast", True),
    "two did not": (repeated(200, 2), "fast", False),
    "less than 3 ms: it was overtaken": (filled(2.999), "out_of_order", True),
    "3 ms: it was sent again": (filled(3), "out_of_order", False),
    "1460 bytes are one segment, and its checksum is wrong": (damaged(1460), "bad_checksum", True),
    "1461 bytes are several, and their checksum is nobody's": (damaged(1461), "bad_checksum", False),
}


@pytest.mark.parametrize("case", MARKED)
def test_a_segment_is_marked(case):
    text, mark, wanted = MARKED[case]
    assert (mark in last_marks(text)) is wanted


def closed(after_ms: float, number: int) -> str:
    """The server's FIN so long after the client's, which it acknowledges; its packet before that has number 502."""
    t = 1 + after_ms / 1000
    fin = f"{t:.6f} < F. 1:1(0) ack 102 id {number}"
    return OPEN + f"1.0 > F. 101:101(0) ack 1 id 4\n{fin}\n{t + 0.01:.6f} > . 102:102(0) ack 2 id 5\n"


def reset(after_ms: float) -> str:
    return OPEN + f"1.0 < R. 1:1(0) ack 101 id 503\n{1 + after_ms / 1000:.6f} < P. 1:11(10) ack 101 id 504\n"


# The client has closed, which did not pass here: what it sends last begins behind a FIN, with no byte before that.
SILENT = """
    0.000 > S 0:0(0)
    0.010 < S. 0:0(0) ack 1
    0.020 > . 1:1(0)  ack 1
    1.000 < F. 1:1(0) ack 1
"""


def from_behind(after_ms: float) -> str:
    """The client answers the server's FIN, so long after it, by an ACK that counts a FIN of its own, seen later."""
    answer = f"{1 + after_ms / 1000:.6f} > . 102:102(0) ack 2 id 6"
    again = "1.3 > F. 101:101(0) ack 2 id 7\n1.31 < . 2:2(0) ack 102 id 504\n"
    return OPEN + f"1.0 < F. 1:1(0) ack 101 id 503\n{answer}\n{again}"


def forged(number: int, count: int = 1, last: int = 503) -> str:
    """RSTs in the server's name; its packet before them has number ``last``, and the one before that 502."""
    resets = "".join(f"2.{k:03} < R. 1:1(0) ack 102 id {number + k}\n" for k in range(count))
    return OPEN + f"1.0 > F. 101:101(0) ack 1 id 4\n1.01 < . 1:1(0) ack 102 id {last}\n" + resets


def cut_off(after_ms: float) -> str:
    return f"0.0 > S 0:0(0)\n0.010 < S. 0:0(0) ack 1\nend {0.010 + after_ms / 1000:.6f}"


PASSED = {
    "38 ms and the way there and back: an ACK that did not pass here went before": (
        closed(48, 504),
        *("client", "FIN_WAIT_2", True),
    ),
    "less: the FIN is the first answer": (closed(47.9, 504), "client", "FIN_WAIT_2", False),
    "more than 250 ms, ten half ways and three round trips: without an ACK it would have repeated its FIN": (
        closed(330.1, 503),
        *("client", "FIN_WAIT_2", True),
    ),
    "just as long: it need not have": (closed(330, 503), "client", "FIN_WAIT_2", False),
    "less than 200 ms: a FIN that was lost is not sent again yet, so an ACK went before": (
        closed(199.9, 504),
        *("client", "FIN_WAIT_2", True),
    ),
    "200 ms: it is, and that was the packet that is missing": (closed(200, 504), "client", "FIN_WAIT_2", False),
    "220 ms, and twice the way there and back: it still is": (closed(240, 504), "client", "FIN_WAIT_2", False),
    "more: no timer fits, so an ACK went before": (closed(240.1, 504), "client", "FIN_WAIT_2", True),
    "an ACK that begins behind a FIN nobody saw": (SILENT + "1.001 > . 2:2(0) ack 2", "client", "CLOSING", True),
    "one that begins where all was seen": (SILENT + "1.001 > . 1:1(0) ack 2", "client", "CLOSING", False),
    "50 ms and what the way may take: the first answer, and from behind the FIN": (
        from_behind(63.4),
        *("client", "CLOSING", True),
    ),
    "more: an answer to a copy, and the FIN came after": (from_behind(63.5), "client", "CLOSING", False),
    "1024 numbers on: the host's own packet": (forged(503 + 1024), "server", "CLOSED", True),
    "1025: another's": (forged(503 + 1025), "server", "CLOSED", False),
    "two packets did not come here: they are numbered one by one all the same": (
        forged(40000, last=505),
        *("server", "CLOSED", False),
    ),
    "three: perhaps they are not": (forged(40000, last=506), "server", "CLOSED", True),
    "32 of another's numbers": (forged(40000, 32), "server", "CLOSED", False),
    "33: so many a host sends itself": (forged(40000, 33), "server", "CLOSED", True),
    "3 ms: what follows a reset was overtaken by it": (reset(3), "server", "CLOSED", True),
    "more: who talks on has not sent it": (reset(3.1), "server", "CLOSED", False),
    "less than 30 ms: one segment that is not here acknowledged and closed": (
        ONE_SIDED + "1.0299 > . 102:102(0) ack 2",
        *("client", "FIN_WAIT_2", False),
    ),
    "30 ms: there were two": (ONE_SIDED + "1.0300 > . 102:102(0) ack 2", "client", "FIN_WAIT_2", True),
    "less than 250 ms: the answer to the SYN+ACK may yet come": (cut_off(249.9), "client", "ESTABLISHED", True),
    "250 ms: it would have come": (cut_off(250), "client", "ESTABLISHED", False),
}


@pytest.mark.parametrize("case", PASSED)
def test_an_endpoint_passes_a_state(case):
    text, side, state, wanted = PASSED[case]
    assert (state in path(text, side).split()) is wanted


@pytest.mark.parametrize("answered_ms, received_ms", [(39, 34), (41, 5)])
def test_an_answer_within_30_ms_dates_what_it_answers(answered_ms, received_ms):
    """... else the SYN was there half a round trip after it passed, and the answer was late."""
    later = OPEN[OPEN.index("0.020") :].replace("0.040 <", "0.070 <").replace("0.030 >", "0.060 >")
    answer = f"{answered_ms / 1000} < S. 0:0(0) ack 1\n"
    text = "0.0 > S 0:0(0)\n" + answer + later.replace("0.020 >", "0.050 >")
    change = run(text).connections[0].change("server", "SYN_RECEIVED")
    assert change.seconds == pytest.approx(received_ms / 1000)


def test_where_nothing_tells_the_way_an_event_lies_within_250_ms():
    text = ONE_SIDED + "1.0300 > . 102:102(0) ack 2"
    change = run(text).connections[0].change("server", "CLOSE_WAIT")
    assert change.latest - change.time == 250_000_000


@pytest.mark.parametrize("closed_before, answered_ms, taken_ms", [(True, 39, 34), (True, 41, 5), (False, 29, 5)])
def test_only_a_fin_that_ends_the_connection_is_dated_by_its_answer(closed_before, answered_ms, taken_ms):
    """The ACK of another may be delayed, until the application has something to say."""
    text, end, state = OPEN, 101, "CLOSE_WAIT"
    if closed_before:
        text, end, state = text + "0.9 > F. 101:101(0) ack 1 id 4\n0.905 < . 1:1(0) ack 102 id 503\n", 102, "TIME_WAIT"
    text += f"1.0 < F. 1:1(0) ack {end} id 504\n{1 + answered_ms / 1000} > . {end}:{end}(0) ack 2 id 5\n"
    change = run(text).connections[0].change("client", state)
    assert change.seconds == pytest.approx(1 + taken_ms / 1000)


def test_each_end_is_gone_when_it_shows_so_itself():
    """A new SYN on the same ports: the client with that, the server when it answers as if it knew of nothing."""
    anew = "70 > S 5000000:5000000(0) id 10\n70.04 < S. 9000000:9000000(0) ack 5000001 id 600\n"
    old = run(OPEN + anew + "70.05 > . 5000001:5000001(0) ack 9000001 id 11").connections[0]
    gone = [old.change(side, "CLOSED").seconds for side in ("client", "server")]
    assert gone == pytest.approx([70, 70.04])
