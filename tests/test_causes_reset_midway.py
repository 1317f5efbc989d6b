"""Servers that reset in the midst of a talk: by what passes before and behind the RST, wherever it is seen."""

from __future__ import annotations

import pytest

from tests.test_causes import diagnoses
from tests.test_causes_leaving import loud

pytestmark = pytest.mark.plain

OPENED = """
    0.000 > S  0:0(0)
    {syn_ack} < S. 0:0(0)   ack 1
    {ack} > .  1:1(0)       ack 1
"""
NEAR, FAR = OPENED.format(syn_ack=0.0001, ack=0.0300), OPENED.format(syn_ack=0.0300, ack=0.0301)


def upload(count, reset):
    """At the server: it answers the first of an upload and resets; more of it comes behind."""
    text = (
        NEAR
        + "0.0301 > . 1:1461(1460) ack 1\n0.0400 < P. 1:201(200) ack 1461\n"
        + f"{reset} < R. 201:201(0) ack 1461\n"
    )
    for n in range(count):
        begins = 1461 + 1460 * n
        text += f"{0.07 + n / 10000:.4f} > . {begins}:{begins + 1460}(1460) ack 201\n"
        text += f"{0.07005 + n / 10000:.5f} < R 201:201(0)\n"
    return text


@pytest.mark.parametrize(("count", "said"), [(8, ["closed_with_unread_data"]), (1, [])])
def test_what_comes_behind_a_servers_reset_was_being_sent(count, said):
    """One segment may be a last word."""
    assert [cause for cause, _ in loud(upload(count, 0.0430))] == said


def answer(opened, first, size, reset):
    """A request, its answer at a time in segments, and an RST; ACKs a round trip behind."""
    text = opened + f"0.0310 > P. 1:181(180) ack 1\n{first - 0.002:.4f} < . 1:1(0) ack 181\n"
    for begins in range(1, size, 1460):
        text += f"{first:.4f} < . {begins}:{begins + 1460}(1460) ack 181\n"
    return text + reset.format(end=(size + 1459) // 1460 * 1460 + 1)


CLIENT_ACKS = "{time} > . 181:181(0) ack {{end}}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # at the client: the RST stands right behind the data, and at the server: before the ACKs
        (answer(FAR, 0.2, 8000, "0.2001 > . 181:181(0) ack {end}\n0.2050 < R. {end}:{end}(0) ack 181\n"), True),
        (answer(NEAR, 0.2, 8000, "0.2050 < R. {end}:{end}(0) ack 181\n0.2300 > . 181:181(0) ack {end}\n"), True),
        # it has heard that all arrived
        (answer(FAR, 0.2, 8000, "0.2001 > . 181:181(0) ack {end}\n0.2400 < R. {end}:{end}(0) ack 181\n"), False),
        (answer(NEAR, 0.2, 8000, "0.2300 > . 181:181(0) ack {end}\n0.2310 < R. {end}:{end}(0) ack 181\n"), False),
        # a short answer is in one segment, and all was said
        (answer(FAR, 0.2, 900, "0.2001 > . 181:181(0) ack {end}\n0.2050 < R. {end}:{end}(0) ack 181\n"), False),
    ],
)
def test_who_resets_before_an_ack_can_be_there_has_not_waited_for_its_answer_to_arrive(text, said):
    """The same at either end: what lies between the data and the RST is less than a round trip."""
    assert [cause for cause, _ in loud(text)] == (["aborted_by_application"] if said else [])


@pytest.mark.parametrize("hole", [False, True])
def test_of_a_capture_that_drops_frames_no_opening_is_told(hole):
    """A port that comes round again looks held where the answers to its SYNs were not captured."""
    text = ""
    for n in range(6):
        begins = 1001 if hole else 1
        text += f"""
            port {40001 + n} 80
            {n}.000 > S  0:0(0)
            {n}.010 < S. 0:0(0) ack 1
            {n}.020 > .  1:1(0) ack 1
            {n}.030 > P. 1:101(100) ack 1
            {n}.040 < .  {begins}:2001({2001 - begins}) ack 101
            {n}.050 > F. 101:101(0) ack 2001
            {n}.060 < F. 2001:2001(0) ack 102
            {n}.070 > .  102:102(0) ack 2002
        """
    text += "port 40001 80\nisn 7000000 9\n"
    old = "isn 1000 5000\n{0}.01 < . 2002:2002(0) ack 102\n{0}.02 > R 102:102(0)\nisn 7000000 9\n"
    text += "".join(f"{t}.0 > S 0:0(0)\n" + old.format(t) for t in (20, 21, 23)) + "end 40\n"
    assert [cause for cause, _ in loud(text)] == ([] if hole else ["port_in_time_wait"])


@pytest.mark.parametrize(
    ("ttl", "seconds", "said"),
    [
        (60, 700, "idle_timeout_in_path"),
        (253, 700, "idle_timeout_in_path"),  # of 255
        (55, 700, "aborted_by_application"),
        (246, 700, "aborted_by_application"),  # as far, by a system that begins with 255
        (50, 700, "aborted_by_application"),  # from farther away
        (60, 20, "aborted_by_application"),
    ],
)
def test_who_ends_a_silence_from_nearer_than_the_server(ttl, seconds, said):
    """A box that resets what it forgets; nothing is under way."""
    text = FAR + "0.04 > P. 1:101(100) ack 1\n0.08 < P. 1:301(300) ack 101\n0.0801 > . 101:101(0) ack 301\n"
    text = text.replace("ack 1\n", "ack 1 ttl 64\n") + f"{seconds} < R. 301:301(0) ack 101 ttl {ttl}\n"
    lines = [line + " ttl 55" if " < " in line and "ttl" not in line else line for line in text.splitlines()]
    found = diagnoses("\n".join(line.replace("ttl 64", "ttl 55") if " < S" in line else line for line in lines))
    assert [(d.cause, d.severity, d.confidence) for d in found] == [(said, "low", "possible")]
