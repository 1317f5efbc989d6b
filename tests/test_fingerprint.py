"""Which system a SYN bespeaks, and what ``--profile auto`` makes of that."""

from __future__ import annotations

import pytest

from tcptrace_fsm.kernels.layout import STACK_BSD, STACK_GVISOR, STACK_LINUX, STACK_LWIP, STACK_UNKNOWN, STACK_WINDOWS
from tcptrace_fsm.tcp.profiles import AUTO, PROFILES, STACKS, profile
from tests.strategies import run

LINUX = "win 64240 ttl 64 <mss 1460, sackok, ts 100/{ecr}, scale 7>"
LWIP = "win 5840 ttl 255 <mss 1460, sackok>"
GVISOR = "win 29184 ttl 64 <mss 1460, ts 100/{ecr}, scale 5>"
OLD_BSD = "win 65535 ttl 64 <mss 1460>"
FREEBSD = "win 65535 ttl 64 <mss 1460, scale 6, sackok, ts 100/{ecr}>"
WINDOWS = "win 64240 ttl 128 <mss 1460, scale 8, sackok>"
NOBODY = "win 1024 ttl 40 <mss 1460>"
SYNS = [
    (LINUX, STACK_LINUX),
    (LINUX.replace("ttl 64", "ttl 51"), STACK_LINUX),
    (LINUX.replace("ttl 64", "ttl 65"), STACK_UNKNOWN),  # no more than 63 hops from where it begins at 128
    (LINUX.replace("64240", "65160"), STACK_LINUX),  # a multiple of what is left beside timestamps
    (LWIP, STACK_LWIP),
    (LWIP.replace("<mss 1460, sackok>", "<mss 1460>"), STACK_LWIP),
    (GVISOR, STACK_GVISOR),
    (GVISOR.replace("29184", "29200"), STACK_UNKNOWN),  # Linux without SACK
    (OLD_BSD, STACK_BSD),
    (FREEBSD, STACK_BSD),
    (WINDOWS, STACK_WINDOWS),
    (NOBODY, STACK_UNKNOWN),
    ("win 4128 ttl 255 <mss 536>", STACK_UNKNOWN),  # a router's, with another idea of windows
    ("win 8192 ttl 64", STACK_UNKNOWN),
]


def conversation(client: str, server: str, close: str) -> str:
    """A connection that the client closes, and what comes then."""
    stamped = "<ts 110/200>" if "ts" in client and "ts" in server else ""
    back = "<ts 210/110>" if stamped else ""
    return f"""
        0.000 > S  0:0(0)             {client.format(ecr=0)} id 7
        0.020 < S. 0:0(0)       ack 1 {server.format(ecr=100).replace("ts 100", "ts 200")} id 9
        0.040 > .  1:1(0)       ack 1 {stamped}
        0.100 > P. 1:101(100)   ack 1 {stamped}
        0.120 < .  1:1(0)     ack 101 {back}
        {close.format(sent=stamped, back=back, late=stamped.replace("110", "330"))}
    """


CLOSE = """
    1.000 > F. 101:101(0)   ack 1   {sent}
    1.020 < F. 1:1(0)       ack 102 {back}
    1.040 > .  102:102(0)   ack 2   {sent}
"""


@pytest.mark.parametrize("options, stack", SYNS)
def test_a_syn_bespeaks_a_system(options, stack):
    (one,) = run(conversation(options, LINUX, CLOSE)).connections
    assert one.end("client", "END_STACK") == stack


@pytest.mark.parametrize(
    "client, server, stack",
    [
        (LINUX, LINUX, STACK_LINUX),
        (LINUX, OLD_BSD, STACK_BSD),
        (OLD_BSD, OLD_BSD, STACK_UNKNOWN),  # whoever is offered nothing can answer nothing
        (OLD_BSD, LWIP.replace("<mss 1460, sackok>", "<mss 1460>"), STACK_LWIP),
        (LINUX, GVISOR, STACK_GVISOR),
        (LINUX, LINUX.replace("sackok, ", ""), STACK_UNKNOWN),
    ],
)
def test_an_answer_is_judged_by_what_was_offered(client, server, stack):
    (one,) = run(conversation(client, server, CLOSE)).connections
    assert one.end("server", "END_STACK") == stack


def test_a_reset_without_ack_is_not_lwip_s():
    close = "1.000 > R  101:101(0)"
    assert run(conversation(LWIP, LINUX, close)).connections[0].end("client", "END_STACK") == STACK_UNKNOWN
    close = "1.000 > R. 101:101(0) ack 1"
    assert run(conversation(LWIP, LINUX, close)).connections[0].end("client", "END_STACK") == STACK_LWIP


def test_a_capture_that_begins_inside_tells_nothing():
    (one,) = run("0.0 > P. 1:101(100) ack 1 ttl 255\n0.1 < . 1:1(0) ack 101 ttl 64").connections
    assert [one.end(side, "END_STACK") for side in ("client", "server")] == [STACK_UNKNOWN, STACK_UNKNOWN]


@pytest.mark.parametrize(
    "client, name, state",
    [
        (LWIP, AUTO, "TIME_WAIT"),
        (LWIP, "lwip", "TIME_WAIT"),
        (LWIP, "linux", "CLOSED"),
        (GVISOR, AUTO, "TIME_WAIT"),
        (LINUX, AUTO, "CLOSED"),
        (LINUX, "gvisor", "TIME_WAIT"),
        (NOBODY, AUTO, "CLOSED"),
        (OLD_BSD, AUTO, "CLOSED"),
    ],
)
@pytest.mark.parametrize("step", [None, 1])
def test_an_rst_in_time_wait_is_obeyed_or_not(client, name, state, step):
    """RFC 1337: some systems stay; the capture shows no difference before the next segment."""
    text = conversation(client, LINUX, CLOSE + "2.000 < R 2:2(0)\nend 3")
    one = run(text, profile=name, step=step).connections[0]
    assert one.path("client").split()[-1] == state


def test_an_rst_in_time_wait_is_not_acknowledged_by_silence():
    """Not even at the host itself: that it has arrived does not say that it was obeyed."""
    text = conversation(LINUX, LINUX, CLOSE + "2.000 < R 2:2(0)\nend 3")
    last = run(text, taken_at=("10.0.0.1",)).connections[0].of("client")[-1]
    assert (last.target, last.basis, last.confirmed_by) == ("CLOSED", "presumed", -1)


def test_who_goes_on_answering_has_not_obeyed():
    text = conversation(
        LINUX, LINUX, CLOSE + "2.000 < R 2:2(0)\n3.000 < F. 1:1(0) ack 102\n3.020 > . 102:102(0) ack 2\nend 5"
    )
    assert run(text).connections[0].path("client").split()[-1] == "TIME_WAIT"


AGAIN = """
    1.000 < F. 1:1(0)       ack 101 {back}
    1.020 > .  101:101(0)   ack 2   {sent}
    1.030 > F. 101:101(0)   ack 2   {sent} id 21
    1.250 > F. 101:101(0)   ack 2   {late} id 22
    1.270 < .  2:2(0)       ack 102 {back}
"""


@pytest.mark.parametrize(
    "client, path", [(GVISOR, "CLOSE_WAIT LAST_ACK FIN_WAIT_1 FIN_WAIT_2"), (LINUX, "CLOSE_WAIT LAST_ACK CLOSED")]
)
def test_gvisor_begins_again_with_a_repeated_fin(client, path):
    (one,) = run(conversation(client, LINUX, AGAIN), profile=AUTO).connections
    assert one.path("client").endswith(path)
    assert one["C_CLOSED_FIRST"] == 2


def test_auto_has_a_profile_for_each_stack_and_what_is_given_holds_for_all():
    assert [p.name for p in profile(AUTO).stacks()] == ["auto", "linux", "bsd", "windows", "lwip", "gvisor"]
    assert profile("linux").stacks() == ()
    assert {p.time_wait.usual for p in profile(AUTO, time_wait=7).stacks()} == {7}
    assert set(STACKS) - set(PROFILES) == {"unknown"}
    assert profile(AUTO).longest >= 120


@pytest.mark.parametrize(
    "client, name, state",
    [
        (OLD_BSD, AUTO, "CLOSED"),
        (FREEBSD, AUTO, "TIME_WAIT"),
        (OLD_BSD, "linux", "TIME_WAIT"),
        (NOBODY, AUTO, "TIME_WAIT"),
    ],
)
def test_an_old_bsd_obeys_an_rst_that_lies_before_the_window(client, name, state):
    """It cuts off what it has had already, and looks at the RST then."""
    text = conversation(client, LINUX, CLOSE + "2.000 < R 1:1(0)\nend 3")
    assert run(text, profile=name).connections[0].path("client").split()[-1] == state


@pytest.mark.parametrize("late, holds", [("0.040", False), ("0.100", True)])
def test_brackets_are_as_wide_as_the_handshake_was_slow(late, holds):
    """The least round trip says little where delays vary."""
    text = f"""
        0.000 > S  0:0(0)
        0.020 < S. 0:0(0)       ack 1
        {late} > .  1:1(0)      ack 1
        0.200 < P. 1:101(100)   ack 1
        0.220 > .  1:1(0)       ack 101
    """
    first = run(text).connections[0].of("client")[0]
    assert first.target == "SYN_SENT"
    assert first.holds(-0.06) == holds


def numbered(client: str, server: str, close: str) -> str:
    """A connection whose ends number their packets one by one, the client from 101 and the server from 501 on."""
    return f"""
        0.000 > S  0:0(0)             {client.format(ecr=0)} id 101
        0.020 < S. 0:0(0)       ack 1 {server.format(ecr=100)} id 501
        0.040 > .  1:1(0)       ack 1   id 102
        0.100 > P. 1:101(100)   ack 1   id 103
        0.120 < .  1:1(0)       ack 101 id 502
        {close}
    """


def path(client: str, server: str, close: str, side: str = "client") -> str:
    """What that end went through with the profile that it bespeaks."""
    return run(numbered(client, server, close), profile=AUTO).connections[0].path(side)


ACK_MISSING = """
    1.000 > F. 101:101(0)   ack {acked} id 104
    1.080 < F. {own}:{own}(0) ack 102 id {number}
    1.100 > .  102:102(0)   ack {last} id 105
"""


@pytest.mark.parametrize(
    "client, number, unseen, between",
    [
        (LWIP, 504, 0, ""),  # on its way, or in the capture only: no FIN_WAIT_2 without a sign of the second
        (GVISOR, 504, 0, ""),
        (FREEBSD, 504, 0, ""),
        (LWIP, 504, 100, "FIN_WAIT_2 "),  # the capture has missed more than that
        (LWIP, 503, 100, ""),
        (LINUX, 504, 0, "FIN_WAIT_2 "),  # through FIN_WAIT_2 either way, however short
    ],
)
def test_an_ack_that_is_missing_was_lost_or_was_not_captured(client, number, unseen, between):
    close = ACK_MISSING.format(acked=1 + unseen, own=1 + unseen, last=2 + unseen, number=number)
    assert path(client, LINUX, close).endswith(f"FIN_WAIT_1 {between}TIME_WAIT")


CROSSING = """
    1.000 > F. 101:101(0)   ack 1   id 104
    1.002 < F. 1:1(0)       ack 101 id 503
    1.022 > .  102:102(0)   ack 2   id 105
    {again} > F. 101:101(0) ack 2   id 106
    {answer} < .  2:2(0)    ack 102 id {number}
"""


@pytest.mark.parametrize(
    "server, again, answer, number, came",
    [
        (LWIP, "3.000", "3.020", 504, False),  # it sent nothing between: the first copy did not come
        (LWIP, "3.000", "3.020", 505, True),  # one packet is missing there: the answer
        (LWIP, "3.000", "3.020", 600, True),  # so many that they tell nothing
        (GVISOR, "1.250", "1.270", 504, False),
        (GVISOR, "1.250", "1.270", 505, True),
        (LINUX, "1.300", "1.320", 504, False),
        (LINUX, "1.240", "1.260", 504, False),  # who has closed himself delays no ACK of a FIN
        (FREEBSD, "1.100", "1.120", 504, False),  # of a FIN it is not
    ],
)
def test_a_fin_that_drew_no_packet_did_not_come(server, again, answer, number, came):
    close = CROSSING.format(again=again, answer=answer, number=number)
    through = "CLOSING " if came else "FIN_WAIT_2 "
    if server == GVISOR and not came:
        through = ""  # it hears no ACK behind a hole
    assert path(LWIP, server, close, "server").endswith(f"FIN_WAIT_1 {through}TIME_WAIT")


BEHIND = """
    1.000 < F. 1:1(0)       ack 101 id 503
    1.020 > .  101:101(0)   ack 2   id 104
    {at} > F. 101:101(0)    ack 2   id {number}
    {answer} < .  2:2(0)    ack 102 id 504
    end 3
"""


@pytest.mark.parametrize(
    "at, answer, number, again",
    [
        ("1.240", "1.260", 106, True),
        ("1.240", "1.260", 107, True),
        ("1.240", "1.260", 105, False),  # none is missing
        ("1.240", "1.260", 108, False),
        ("1.200", "1.220", 106, False),  # no timer has run out
    ],
)
def test_gvisor_begins_again_with_a_fin_whose_first_copy_got_lost(at, answer, number, again):
    through = path(GVISOR, LINUX, BEHIND.format(at=at, answer=answer, number=number))
    assert through.endswith("LAST_ACK FIN_WAIT_1 FIN_WAIT_2" if again else "LAST_ACK CLOSED")


@pytest.mark.parametrize("server, hears", [(GVISOR, False), (LINUX, True), (LWIP, True)])
def test_gvisor_hears_no_ack_of_its_fin_beyond_a_hole(server, hears):
    """The client's FIN was lost before its ACK of the server's."""
    close = """
        1.000 < F. 1:1(0)       ack 101 id 503
        1.020 > .  102:102(0)   ack 2   id 105
        1.240 > F. 101:101(0)   ack 2   id 106
        1.260 < .  2:2(0)       ack 102 id 504
    """
    through = path(LWIP, server, close, "server")
    assert through.endswith("FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT" if hears else "FIN_WAIT_1 TIME_WAIT")


TIMED = """
    0.000 > S  0:0(0)             {client} id 7
    {again}
    6.120 < S. 0:0(0)       ack 1 {server} id 9
    6.140 > .  1:1(0)       ack 1
    6.200 > P. 1:101(100)   ack 1
    6.220 < .  1:1(0)       ack 101
"""


@pytest.mark.parametrize(
    "options, after, stack",
    [
        (LINUX, "1.020", STACK_LINUX),
        (LINUX, "0.890", STACK_UNKNOWN),  # no system repeats its SYN so soon
        (LINUX, "3.000", STACK_LINUX),  # the copies between may be missing
        (LWIP, "3.000", STACK_LWIP),
        (LWIP, "0.500", STACK_UNKNOWN),
        (GVISOR, "0.910", STACK_GVISOR),
        (FREEBSD, "1.000", STACK_BSD),
        (OLD_BSD, "5.990", STACK_BSD),
        (OLD_BSD, "1.000", STACK_BSD),
        (OLD_BSD, "0.500", STACK_UNKNOWN),
        (OLD_BSD.replace("ttl 64", "ttl 128"), "5.990", STACK_UNKNOWN),
        (NOBODY, "5.990", STACK_UNKNOWN),
    ],
)
def test_a_syn_is_repeated_as_its_system_does(options, after, stack):
    text = TIMED.format(
        client=options.format(ecr=0), again=f"{after} > S 0:0(0) {options.format(ecr=0)} id 8", server=NOBODY
    )
    assert run(text).connections[0].end("client", "END_STACK") == stack


@pytest.mark.parametrize(
    "answers, stack",
    [
        ("6.120", STACK_BSD),
        ("1.120", STACK_UNKNOWN),
        ("5.619", STACK_UNKNOWN),
        ("5.620", STACK_BSD),
        ("6.620", STACK_BSD),
        ("6.621", STACK_UNKNOWN),
    ],
)
@pytest.mark.parametrize("asked", [False, True])
def test_a_syn_ack_is_repeated_by_a_timer_or_because_the_syn_was(answers, stack, asked):
    text = f"""
        0.000 > S  0:0(0)             {OLD_BSD} id 7
        0.120 < S. 0:0(0)       ack 1 {OLD_BSD} id 9
        {answers.replace("120", "100") + " > S 0:0(0) " + OLD_BSD + " id 8" if asked else ""}
        {answers} < S. 0:0(0)   ack 1 {OLD_BSD} id 10
        6.940 > .  1:1(0)       ack 1
    """
    assert run(text).connections[0].end("server", "END_STACK") == (STACK_UNKNOWN if asked else stack)


@pytest.mark.parametrize("options, after, stack", [(LWIP, 990, STACK_UNKNOWN), (LWIP, 1010, STACK_LWIP)])
def test_lwip_repeats_nothing_within_a_second(options, after, stack):
    close = f"""
        1.000 > F. 101:101(0)   ack 1 id 21
        {1 + after / 1000:.3f} > F. 101:101(0) ack 1 id 22
        2.100 < .  1:1(0)       ack 102
    """
    assert run(conversation(options, LINUX, close)).connections[0].end("client", "END_STACK") == stack


@pytest.mark.parametrize("late, stack", [(0.157, STACK_GVISOR), (0.161, STACK_UNKNOWN)])
def test_gvisor_delays_no_ack(late, stack):
    text = f"""
        0.000 > S  0:0(0)             {LINUX.format(ecr=0)} id 7
        0.020 < S. 0:0(0)       ack 1 {GVISOR.format(ecr=100)} id 9
        0.040 > .  1:1(0)       ack 1
        0.050 > P. 1:101(100)   ack 1
        0.070 < .  1:1(0)       ack 101
        0.100 > P. 101:201(100) ack 1
        {late} < .  1:1(0)      ack 201
    """
    assert run(text).connections[0].end("server", "END_STACK") == stack


def test_a_fin_whose_only_answer_was_held_up_came():
    """However late: nothing else can be what it answers."""
    close = """
        1.000 < F. 1:1(0)       ack 101 id 503
        1.080 > .  101:101(0)   ack 2   id 104
        1.100 > F. 101:101(0)   ack 2   id 105
        1.120 < .  2:2(0)       ack 102 id 504
    """
    change = run(numbered(LWIP, LINUX, close), profile=AUTO).connections[0].of("client")[2]
    assert (change.target, change.basis) == ("CLOSE_WAIT", "acked")


@pytest.mark.parametrize("unlogged", [0, 1, 2])
def test_packets_that_passed_are_no_gap(unlogged):
    """A FIN was lost behind the capture. What its receiver sent before passed here, and is not all in the log."""
    more = "".join(
        f"0.{3 + n}00 > P. {101 + 10 * n}:{111 + 10 * n}(10) ack 1 id {104 + n}\n"
        f"0.{3 + n}20 < . 1:1(0) ack {111 + 10 * n} id {503 + n}\n"
        for n in range(unlogged)
    )
    end = 101 + 10 * unlogged
    close = (
        more
        + f"""
        1.000 < F. 1:1(0)       ack {end} id {503 + unlogged}
        1.240 < F. 1:1(0)       ack {end} id {504 + unlogged}
        1.260 > .  {end}:{end}(0) ack 2 id {104 + unlogged}
    """
    )
    change = run(numbered(LWIP, LINUX, close), profile=AUTO).connections[0].of("client")[2]
    assert change.target == "CLOSE_WAIT"
    assert change.seconds >= 1.24


@pytest.mark.parametrize(
    "fin, answer, through",
    [(0, 1, "FIN_WAIT_2"), (65534, 65535, "FIN_WAIT_2"), (65535, 0, "CLOSING"), (0, 0, "CLOSING")],
)
def test_no_number_may_be_0(fin, answer, through):
    """Many hosts number what they do not want cut to pieces by 0."""
    close = CROSSING.format(again="3.000", answer="3.020", number=answer).replace("id 503", f"id {fin}")
    assert path(LWIP, LWIP, close, "server").endswith(f"FIN_WAIT_1 {through} TIME_WAIT")
