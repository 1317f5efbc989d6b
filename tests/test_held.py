"""Findings that rest on nothing more having come: what goes on elsewhere, or while nobody listens, is not silent."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest

from tcptrace_fsm.capture.scripted import parse
from tcptrace_fsm.causes import held, same
from tests.test_causes import diagnoses
from tests.test_exclusive import judged

pytestmark = pytest.mark.plain

OPENED = """
    {0}.000 > S  0:0(0)
    {0}.010 < S. 0:0(0)     ack 1
    {0}.020 > .  1:1(0)     ack 1
    {0}.030 > P. 1:101(100) ack 1
    {0}.040 < P. 1:501(500) ack 101
    {0}.050 > .  101:101(0) ack 501
"""
LEFT = OPENED.format(0) + "0.060 > F. 101:101(0) ack 501\n0.070 < . 501:501(0) ack 102\n"
CLOSED = "{0}.000 < F. 501:501(0) ack 102\n{0}.010 > . 102:102(0) ack 502\n"
STUCK = {"stuck_fin_wait_2", "stuck_close_wait"}


def told(text):
    """The kinds of findings, and the causes."""
    finished = judged(parse(text))
    causes = {d.cause for done in finished for d in done.diagnoses}
    return {f.kind for done in finished for f in done.findings} | causes


def test_a_close_that_nobody_answers_is_stuck():
    """As it is said where nothing shows the contrary."""
    assert told(LEFT + "end 400\n") >= {*STUCK, "close_wait_leak"}


@pytest.mark.parametrize("name", ["port 40077 80\n", "addr 192.0.2.7 10.0.0.2\n", "addr 10.0.0.1 10.0.0.9\n"])
def test_a_connection_that_gets_another_name_in_its_midst_is_not_stuck(name):
    """It goes on with the same numbers from, or to, another address or port."""
    assert not told(LEFT + name + CLOSED.format(1) + "end 400\n") & {*STUCK, "close_wait_leak", "vanished"}


def test_a_connection_with_other_numbers_does_not_go_on_with_these():
    """Nor does one that was there before."""
    other = "port 40077 80\nisn 777777 999999999\n"
    assert told(LEFT + other + CLOSED.format(1) + "end 400\n") >= STUCK


def test_a_connection_that_falls_silent_while_open_vanished_unless_it_goes_on():
    """Also where no FIN had been sent."""
    silent = OPENED.format(0) + "end 9000\n"
    moved = "port 40077 80\n3.0 > P. 101:201(100) ack 501\n3.1 < P. 501:601(100) ack 201\n3.2 > R. 201:201(0) ack 601\n"
    assert "vanished" in told(silent)
    assert "vanished" not in told(OPENED.format(0) + moved + "end 9000\n")


def test_syns_that_go_on_under_another_name_were_not_given_up():
    """The translation began while they were repeated: all of them are one attempt."""
    tried = "".join(f"{t} > S 0:0(0)\n" for t in (0, 1, 3, 7))
    moved = "".join(f"{t} > S 0:0(0)\n" for t in (15, 31))
    assert "syn_retry_exhausted" in told(tried + "end 200\n")
    assert "syn_retry_exhausted" not in told(tried + f"port 40077 80\n{moved}end 20\n")


TRIED = (0, 1, 3, 7)


def asked(*times, answer=""):
    """SYNs at some seconds, and what follows each a little later."""
    return "".join(f"{t}.000 > S 0:0(0)\n" + answer.format(t) for t in times)


@pytest.mark.parametrize("times", [TRIED, (0,)], ids=["medium", "low"])
def test_syns_that_go_on_under_another_name_may_have_been_answered(times):
    """Nobody can say that they never were: whether to the first name, or at once to the other. Nor with a low voice."""
    ignored, moved = asked(*times), asked(15, answer="{0}.010 < S. 0:0(0) ack 1\n{0}.020 > . 1:1(0) ack 1\n")
    assert "syn_no_response" in told(ignored + "end 200\n")
    assert "syn_no_response" not in told(ignored + f"port 40077 80\n{moved}end 40\n")


@pytest.mark.parametrize("name", ["port 40077 80\n", "addr 192.0.2.7 10.0.0.2\n", "addr 10.0.0.1 10.0.0.9\n"])
def test_syns_that_are_answered_on_the_other_side_of_a_translation_were_answered(name):
    """Both sides are captured, and the answer was not passed on, or not here: that is no silence of the server."""
    outside = asked(*TRIED, answer="{0}.010 < S. 0:0(0) ack 1\n").replace("0 > ", "1 > ")
    other = "isn 777777 999999999\n"
    gave_up = {"syn_no_response", "syn_retry_exhausted", "syn_filtered"}
    assert not told(asked(*TRIED) + name + outside + "end 200\n") & gave_up
    assert told(asked(*TRIED) + name + other + outside + "end 200\n") >= gave_up - {"syn_filtered"}


def test_a_handshake_that_is_completed_under_another_name_was_completed():
    """The translation began while both repeated what they had sent: the second has no SYN of its own."""
    begun = asked(0, 1, 3, answer="{0}.010 < S. 0:0(0) ack 1\n")
    ended = "5.010 < S. 0:0(0) ack 1\n7.000 > P. 1:101(100) ack 1\n7.010 < . 1:1(0) ack 101\n"
    assert "half_open_timeout" in told(begun + "end 60\n")
    assert "half_open_timeout" not in told(begun + f"port 40077 80\n{ended}end 60\n")


@pytest.mark.parametrize("name", ["port 40077 80\n", "addr 192.0.2.7 10.0.0.2\n"])
def test_syns_on_both_sides_of_a_translation_are_one_attempt(name):
    """Of which the sentence says so; a scanner that gives all its SYNs one number makes many."""
    outside = asked(*TRIED).replace("0 > ", "1 > ")
    found = next(d for d in diagnoses(asked(*TRIED) + name + outside + "end 200\n") if d.cause == "syn_filtered")
    assert (found.count, found.of) == (1, 1)
    assert "1 of 1 connections" in found.message
    third = "port 40078 80\n" + outside
    found = next(
        d for d in diagnoses(asked(*TRIED) + name + outside + third + "end 200\n") if d.cause == "syn_filtered"
    )
    assert found.of == 3


@pytest.mark.parametrize(
    ("times", "end", "gave_up"),
    [((0, 1, 3), 8, True), ((0, 1, 3), 7.9, False), ((0, 0.6, 1.2), 3.3, False), ((0, 2, 6, 6.02), 7, False)],
)
def test_a_client_gave_up_once_the_next_syn_is_overdue_by_more_than_a_timers_latitude(times, end, gave_up):
    """A quarter of the wait, and no less than a second; and what comes twice at once begins no shorter wait."""
    text = "".join(f"{t} > S 0:0(0)\n" for t in times)
    assert ("syn_retry_exhausted" in told(f"{text}end {end}\n")) == gave_up


def test_a_syn_that_is_captured_twice_was_not_repeated():
    """Whoever repeats it waits: two within a tenth of a second are one packet, and say little."""
    found = {
        f.severity
        for gap in (0.05, 1)
        for done in judged(parse(f"0 > S 0:0(0)\n{gap} > S 0:0(0)\nend 100\n"))
        for f in done.findings
        if f.kind == "syn_no_response"
    }
    assert found == {"low", "medium"}


def test_of_a_kind_of_which_there_are_too_many_all_are_told(monkeypatch):
    """And others are kept back all the same."""
    monkeypatch.setattr(held, "MOST", 2)
    some = "".join(f"port {40100 + n} 80\nisn {n + 5}000000 7\n{asked(*TRIED)}" for n in range(4))
    moved = "port 40000 80\nisn 1 2\n" + LEFT + "port 40077 80\n" + CLOSED.format(1)
    finished = judged(parse(some + moved + "end 400\n"))
    kinds = Counter(f.kind for done in finished for f in done.findings)
    assert kinds["syn_no_response"] == 4
    assert not STUCK & kinds.keys()


def stepped(*, shown):
    """Three connections; the capture was stopped for an hour, in which the second and the third went on."""
    others = "".join(f"port {port} 80\nisn {port}000 {port}777\n" + OPENED.format(1) for port in (40001, 40002))
    later = "".join(
        f"port {port} 80\nisn {port}000 {port}777\n"
        "3600.0 > P. 5101:5201(100) ack 9501\n3600.1 < P. 9501:9601(100) ack 5201\n"
        for port in ((40001, 40002) if shown else ())
    )
    return LEFT + others + later


def test_an_hour_in_which_the_capture_was_stopped_is_nobodys_silence():
    """Others have moved on in it: both of their ends sent what the capture does not hold."""
    assert not told(stepped(shown=True) + "port 40003 80\n" + OPENED.format(3610)) & {*STUCK, "close_wait_leak"}
    assert told(stepped(shown=False) + "port 40003 80\n" + OPENED.format(3610)) >= STUCK


def test_where_a_capture_heard_others_meanwhile_it_was_not_deaf():
    """What one connection lacks others would have lacked too."""
    heard = "".join(f"port {41000 + n} 80\n" + OPENED.format(n * 100) for n in range(1, 36))
    assert told(stepped(shown=True).replace("port 40001", heard + "port 40001", 1)) >= STUCK


def test_connections_that_nobody_saw_begin_show_that_nobody_listened():
    """They are there behind an hour without a frame, and the capture ran before that."""
    begun = "".join(
        f"port {port} 80\nisn {port}000 {port}777\n3600.0 > P. 1:101(100) ack 1\n3600.1 < . 1:1(0) ack 101\n"
        for port in (40001, 40002)
    )
    assert not told(LEFT + begun) & {*STUCK, "close_wait_leak"}


COPIED = """
    port {0} 80
    isn {0}000 {0}777
    {1}.000 > S  0:0(0)
    {1}.010 < S. 0:0(0)     ack 1
    {1}.020 > .  1:1(0)     ack 1
    {1}.030 > P. 1:101(100) ack 1
    {1}.040 < .  1:1(0)     ack 101
"""


def test_what_the_capture_shows_twice_is_counted_once():
    """On both sides of a translation of addresses: of three connections to a service three suffer, and not six."""
    text = ""
    for n in range(3):
        one = COPIED.format(40001 + n, n)
        behind = one.replace("0 > ", "1 > ").replace("0 < ", "1 < ")
        text += f"{one}addr 192.0.2.7 10.0.0.2\n{behind}addr 10.0.0.1 10.0.0.2\n"
    found = next(d for d in diagnoses(text + "end 60\n") if d.cause == "request_unanswered")
    assert (found.count, found.of) == (3, 3)


def test_surveys_count_what_the_capture_shows_twice_once():
    """Of three connections on both sides of a translation, and one on one side, four were open at the end."""
    text = COPIED.format(40009, 0)
    for n in range(3):
        one = COPIED.format(40001 + n, n)
        behind = one.replace("0 > ", "1 > ").replace("0 < ", "1 < ")
        text += f"{one}addr 192.0.2.7 10.0.0.2\n{behind}addr 10.0.0.1 10.0.0.2\n"
    said = {f.kind: f.message for done in judged(parse(text)) for f in done.findings}
    assert said["capture_truncated_end"].startswith("4 of 4 connections ")


def test_a_service_on_both_sides_of_a_translation_of_its_address_is_one():
    """Clients ask one address and port, and another answers: one thing has to be mended, not two."""
    text = ""
    for n in range(3):
        one = COPIED.format(40001 + n, n)
        behind = one.replace("0 > ", "1 > ").replace("0 < ", "1 < ").replace(f"port {40001 + n} 80", "")
        text += f"{one}addr 10.0.0.1 10.0.0.9\nport {40001 + n} 8080\n{behind}addr 10.0.0.1 10.0.0.2\n"
    found = [d for d in diagnoses(text + "end 60\n") if d.cause == "request_unanswered"]
    assert [(d.count, d.of, d.service) for d in found] == [(3, 3, "10.0.0.2:80")]


@pytest.mark.parametrize("line", ["{0} > S 0:0(0)", "{0} > . 1:1(0) ack 1", "{0} < . 1:101(100) ack 1"])
def test_of_a_flood_few_are_compared(line, monkeypatch):
    """Each of its segments has numbers of its own: to compare them with one another takes their square."""
    compared = []
    monkeypatch.setattr(same, "goes_on", lambda old, new: compared.append((old, new)))
    rng = Random(1)
    flood = "".join(
        f"port {1024 + n} 80\nisn {rng.getrandbits(32)} {rng.getrandbits(32)}\n{line.format(n / 1000)}\n"
        for n in range(600)
    )
    assert diagnoses(flood) is not None
    assert len(compared) < 60
