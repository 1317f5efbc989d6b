"""What a connection's own segments tell of the capture: packets that it lacks, times that it does not know."""

from __future__ import annotations

import pytest

from tcptrace_fsm.capture.scripted import parse
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.core.words import SEVERITIES
from tcptrace_fsm.runs.run import new_engine
from tests.strategies import run

pytestmark = pytest.mark.plain

# Linux numbers the packets of each connection for itself.
COUNTED = """
    0.000 > S  0:0(0)              id 101 ttl 64 win 64240 <mss 1460, sackok, ts 1000/0, scale 7>
    0.010 < S. 0:0(0)     ack 1    id 0   ttl 64 win 65160 <mss 1460, sackok, ts 5000/1000, scale 7>
    0.020 > .  1:1(0)     ack 1    id 102
    0.030 > P. 1:101(100) ack 1    id 103
    0.040 < .  1:1(0)     ack 101  id 502
"""
OVERTAKEN = """
    0.000 > S  0:0(0)              id 101 <ts 1000/0>
    0.010 < S. 0:0(0)     ack 1    id 501 <ts 5000/1000>
    0.020 > .  1:1(0)     ack 1    id 102 <ts 1020/5000>
    0.030 > P. 1:101(100) ack 1    id 103 <ts 1030/5000>
    0.040 < .  1:1(0)     ack 101  id 502 <ts 5040/1030>
    0.050 < P. 1:201(200) ack 101  id 504 <ts 5050/1030>
    0.060 < R. 201:201(0) ack 101  id 506
    {0}
"""
GONE_ON = "0.100 < P. 201:301(100) ack 101 id {0} <ts {1}/1030>\n"
ABORTED = """
    0.500 > P. 101:301(200) ack 1    id 104
    0.600 < R. 1:1(0)       ack 301  id {0}
"""
HALF_CLOSED = """
    1.000 > F. 101:101(0) ack 1    id 104
    1.010 < .  1:1(0)     ack 102  id 503
    1.110 < .  1:1(0)     ack 102  id 504
    1.200 < .  1:1(0)     ack 102  id {0}
    end 90
"""
RESET_TWICE = """
    1.000 < R. 1:1(0)       ack 101
    1.010 < P. 1:201(200)   ack 101
    1.011 > R  101:101(0)
"""
KEPT_ALIVE = """
    60.00 > .  100:100(0) ack 1  id 104
    120.0 > .  100:100(0) ack 1  id 105
    180.0 > .  100:100(0) ack 1  id 106
    180.1 > F. 101:101(0) ack 1  id 107
    180.2 > .  102:102(0) ack {0}  id 108
    end 400
"""
CROSSED = """
    1.000 > F. 101:101(0) ack 1
    1.001 < F. 1:1(0)     ack 101
    1.010 > .  102:102(0) ack 2
    1.100 > F. 101:101(0) ack 2
    1.300 > F. 101:101(0) ack 2
    1.700 > F. 101:101(0) ack 2
    end {0}
"""
BEFORE = """
    0.000 > S  0:0(0)
    {0}
    0.030 > P. 1:101(100) ack 1
    0.040 < R  1:1(0)
"""


TOO_LATE = """
    0.050 < P. 1:201(200)    ack 101  id 503
    0.060 > .  101:101(0)    ack 201  id 104
    5.000 < F. 201:201(0)    ack {0}  id 504
    5.010 > .  {0}:{0}(0)    ack 202  id {1}
    17.00 > P. 101:301(200)  ack 202  id {2}
    17.01 < R  202:202(0)             id 0
"""
NEXT_ONE = """
    1.000 > F. 101:101(0) ack 1
    1.010 < F. 1:1(0)     ack 102
    1.020 > .  102:102(0) ack 2
    1.500 < S. 0:0(0)     ack 70000
"""
UNACKNOWLEDGED = """
    0.000 > S  0:0(0)            win 64240
    0.010 < S. 0:0(0)     ack 1  win 64240
    0.015 > .  1:1(0)       ack 1 win 64240
    0.020 > .  1:1461(1460) ack 1 win 64240
    0.021 > .  900001:901461(1460) ack 1 win 64240
    {0}
"""
STAMPED_LATE = COUNTED + "".join(
    f"1.{n}00 < . 1:1(0) ack {101 + 1000 * (n + 1)} <ts {5100 + n}/{{0}}>\n"
    f"1.{n}30 > . {101 + 1000 * n}:{1101 + 1000 * n}(1000) ack 1 <ts {1100 + n}/5000>\n"
    for n in range(4)
)
REPEATED = """
    1.000 > P. 101:201(100) ack 1 id 104
    {0:.1f} > P. 101:201(100) ack 1 id 105
    3.000 > P. 101:201(100) ack 1 id 106
    3.010 < .  1:1(0)  ack 201 id 503
"""


OVERTAKEN_FAR = """
    0.000 > S  0:0(0)              <ts 1000/0>
    0.010 < S. 0:0(0)     ack 1    <ts 5000/1000>
    0.020 > .  1:1(0)     ack 1    <ts 1020/5000>
    0.030 > P. 1:101(100) ack 1    <ts 1030/5000>
    0.040 < .  1:1(0)     ack 101  <ts 5040/1030>
    0.050 > P. 101:201(100) ack 1  <ts 1090/5040>    # sent last, and first here
    0.060 > P. 201:301(100) ack 1  <ts 1050/5040>
    {0}
"""
OVERRUN = """
    0.000 > S  0:0(0)                win 64240
    0.010 < S. 0:0(0)         ack 1  win 64240
    0.015 > .  1:1(0)         ack 1  win 64240
    0.020 > .  1:1001(1000)   ack 1  win 64240
    {0}
    0.030 > .  1001:60001(59000)   ack 1 win 64240
    0.040 > .  60001:75001(15000)  ack 1 win 64240
"""
BOTH_OPEN = """
    0.00 > S  0:0(0)
    0.02 > S. 0:0(0) ack 1
    {0}
"""
SEVERAL = COUNTED + "0.500 < R 1:1(0)\n0.501 < R {0}:{0}(0)\n0.502 < R {0}:{0}(0)\n"
CHAIN = """
    0.000 > S  0:0(0)              <ts 1000/0>
    0.010 < S. 0:0(0)     ack 1    <ts 5000/1000>
    0.020 > .  1:1(0)     ack 1    <ts 1020/5000>
    0.030 > P. 1:101(100) ack 1    <ts 1030/5000>
    0.040 < .  1:1(0)     ack 101  <ts 5040/1030>
    0.500 > P. 101:201(100) ack 1  <ts 1500/5040>
    {0}.7 > P. 101:201(100) ack 1  <ts 1700/5040>
    {0}.9 < P. 1:11(10)     ack 101  <ts 5900/1030>
    {1}.1 > P. 101:201(100) ack 1  <ts 2100/5040>
    {1}.9 > P. 101:201(100) ack 1  <ts 2900/5040>
    {2}.5 > P. 101:201(100) ack 1  <ts 4500/5040>
    {2}.6 < .  11:11(0)     ack 201  <ts 9600/4500>
    {2}.7 > F. 201:201(0)   ack 11   <ts 4700/9600>
    {2}.8 < F. 11:11(0)     ack 202  <ts 9800/4700>
    {2}.9 > .  202:202(0)   ack 12   <ts 4900/9800>
    {2}.95 < . 12:12(0)     ack 202  <ts 9950/4900>
"""


def severities(text: str, kind: str) -> list[str]:
    return [f.severity for f in run(text, rules=True).findings if f.kind == kind]


def causes(text: str) -> dict[str, str]:
    """Each cause above low, with its confidence."""
    engine = new_engine(Settings())
    engine.feed(parse(text))
    engine.finish()
    found = {}
    while (done := engine.take()) is not None:
        found |= {d.cause: d.confidence for d in done.diagnoses if SEVERITIES.index(d.severity) >= 2}
    return found


@pytest.mark.parametrize(
    ("kind", "there", "lacking"),
    [
        # What comes after an RST was sent before it, by its number or its timestamp; or it was not.
        (
            "rst_injection_suspected",
            OVERTAKEN.format(GONE_ON.format(507, 5100)),
            OVERTAKEN.format(GONE_ON.format(505, 5050)),
        ),
        (
            "rst_injection_suspected",
            OVERTAKEN.format(GONE_ON.format(0, 5100)),
            OVERTAKEN.format(GONE_ON.format(0, 5045)),
        ),
        # Between its last segment and its RST the server sent something that is not here: an ACK of these data.
        ("close_with_unread_data", COUNTED + ABORTED.format(503), COUNTED + ABORTED.format(505)),
        # The server sent more than is here: a FIN perhaps.
        ("stuck_fin_wait_2", COUNTED + HALF_CLOSED.format(505), COUNTED + HALF_CLOSED.format(507)),
        ("stuck_close_wait", COUNTED + HALF_CLOSED.format(505), COUNTED + HALF_CLOSED.format(507)),
        # The client has heard of the server's FIN after its keepalives.
        ("keepalive_unanswered", COUNTED + KEPT_ALIVE.format(1), COUNTED + KEPT_ALIVE.format(2)),
        # A FIN that was due again long ago has been acknowledged.
        ("stuck_closing", COUNTED + CROSSED.format(1.8), COUNTED + CROSSED.format(9)),
        # The SYN that this SYN+ACK answers is not here: both had closed.
        ("synack_ack_changed", COUNTED + NEXT_ONE.splitlines()[-1], COUNTED + NEXT_ONE),
        # Of a receiver whose ACKs are not here nobody knows the window.
        (
            "out_of_window_segment",
            UNACKNOWLEDGED.format("0.030 < . 1:1(0) ack 1461 win 64240"),
            UNACKNOWLEDGED.format("0.030 < R. 1:1(0) ack 0"),
        ),
        # The ACK echoes a timestamp as late as that of the data: these had been sent.
        ("optimistic_ack", STAMPED_LATE.format(1050), STAMPED_LATE.format(1105)),
        # When something was sent by a clock that was set back, nobody knows.
        ("rto_retransmission", COUNTED + REPEATED.format(1.3), COUNTED + REPEATED.format(9.3)),
        # What was acknowledged and never sent again was no old duplicate to its receiver.
        (
            "paws_reject_expected",
            OVERTAKEN_FAR.format("0.070 < . 1:1(0) ack 201 <ts 5070/1090>"),
            OVERTAKEN_FAR.format("0.070 < . 1:1(0) ack 301 <ts 5070/1090>"),
        ),
        # Who has reset the connection drops nothing by its timestamp.
        (
            "paws_reject_expected",
            OVERTAKEN_FAR.format("0.070 < . 1:1(0) ack 201 <ts 5070/1090>"),
            OVERTAKEN_FAR.format("").replace("    0.060", "    0.055 < R 1:1(0)\n    0.060"),
        ),
        ("window_overrun", OVERRUN.format("0.025 < . 1:1(0) ack 1001 win 64000"), OVERRUN.format("")),
        # The SYN that was answered is not here, and whoever sent it goes on behind it.
        (
            "synack_in_wrong_direction",
            BOTH_OPEN.format("0.03 < R 1:1(0)"),
            BOTH_OPEN.format("0.03 < . 9:9(0) ack 1"),
        ),
        # One number is that of a FIN.
        ("rst_injection_suspected", SEVERAL.format(2000), SEVERAL.format(2)),
        # By the clocks of both ends an hour of it did not pass.
        ("rto_retransmission", CHAIN.format(0, 1, 3), CHAIN.format(3600, 3601, 3603)),
        # A client that has acknowledged the SYN+ACK had one.
        ("data_before_established", BEFORE.format(""), BEFORE.format("0.025 > . 1:1(0) ack 1")),
    ],
)
def test_what_the_capture_lacks_is_not_made_a_fault_of_the_hosts(kind, there, lacking):
    """The same conversation, whole and with what shows that something is missing."""
    assert [s for s in severities(there, kind) if s in {"medium", "high"}]
    assert not [s for s in severities(lacking, kind) if s in {"medium", "high"}]


def test_identifications_that_lie_in_another_order_show_nothing_missing():
    text = COUNTED + HALF_CLOSED.format(506).replace("end", "1.3 < . 1:1(0) ack 102 id 505\nend")
    assert "high" in severities(text, "stuck_fin_wait_2")


def test_a_counter_of_another_host_shows_nothing_missing():
    """Nor one that counts for all connections: the steps are seldom one."""
    for text in (COUNTED + HALF_CLOSED.format(9000), COUNTED.replace("ttl 64", "ttl 128") + HALF_CLOSED.format(507)):
        assert "high" in severities(text, "stuck_fin_wait_2")


def test_data_after_the_reset_of_their_sender_meet_no_other_name():
    """An RST overtook the data before it: whoever has had it knows no connection any more."""
    text = COUNTED + RESET_TWICE
    assert "nat_not_undone" not in causes(text)
    assert "nat_not_undone" in causes(COUNTED + RESET_TWICE.split("\n", 2)[2])


def test_what_was_overtaken_is_no_request_behind_a_close():
    """The FIN acknowledges it; or its number shows that it was sent before."""
    assert "reused_after_close" in causes(COUNTED + TOO_LATE.format(101, 105, 106))
    assert "reused_after_close" not in causes(COUNTED + TOO_LATE.format(101, 106, 105))
    assert "reused_after_close" not in causes(COUNTED + TOO_LATE.format(301, 105, 106))


@pytest.mark.parametrize("beyond", [100_000, 40_000_000])
def test_bytes_that_the_capture_lacks_are_no_other_numbers(beyond):
    """A block of SACK names bytes that were not seen, or what cannot be of the connection."""
    sacks = "".join(f"1.{n} < . 1:1(0) ack 101 <sack {beyond}:{beyond + 1000 + n}>\n" for n in range(9))
    text = (
        COUNTED + "0.9 > P. 101:1101(1000) ack 1\n" + sacks + "2.9 > P. 101:1101(1000) ack 1\n3.0 < . 1:1(0) ack 1101\n"
    )
    assert ("numbers_rewritten" in causes(text)) == (beyond > 1 << 24)


def test_a_copy_of_a_syn_asks_nobody_again():
    """Of a SYN whose answer is reset: the same packet again shows no other name."""
    text = """
        0.000 > S  0:0(0)       id 7
        0.100 < S. 0:0(0) ack 1
        0.101 > R  1:1(0)
        0.105 > S  0:0(0)       id {}
        0.200 < S. 0:0(0) ack 1
        0.201 > R  1:1(0)
    """
    assert "nat_not_undone" in causes(text.format(8))
    assert "nat_not_undone" not in causes(text.format(7))


def test_a_syn_behind_its_answer_is_no_second_try():
    """Two queues: the server's direction is stamped first."""
    text = "{0}0.010 < S. 0:0(0) ack 1\n0.011 > R 1:1(0)\n0.060 > S 0:0(0) id {1}\n"
    assert "nat_not_undone" not in causes(text.format("", 7))
    assert "nat_not_undone" in causes(text.format("0.0 > S 0:0(0) id 7\n", 8))


@pytest.mark.parametrize("ident", [7, 8])
def test_copies_of_syns_make_nobody_late(ident):
    """Both taps have each segment, some ms apart: the same packet again is not the client's second try."""
    text = "".join(
        f"port {40000 + n} 80\nisn {n} 5\n{n}.0 > S 0:0(0) id 7\n{n}.01 < S. 0:0(0) ack 1 id 0\n"
        f"{n}.{'02' if ident == 7 else '99'} > S 0:0(0) id {ident}\n{n}.995 < S. 0:0(0) ack 1 id 0\n"
        f"{n}.9951 > . 1:1(0) ack 1\n"
        for n in range(5)
    )
    assert ("handshake_lost_in_path" in causes(text)) == (ident == 8)


def test_a_syn_that_nobody_repeats_may_have_been_answered():
    """The capture may hold nothing but SYNs."""
    text = "0.0 > S 0:0(0)\nport 40001 80\nisn 8 8\n60.0 > S 0:0(0)\nend 130\n"
    assert "syn_filtered" not in causes(text)
    assert "syn_filtered" in causes(text + "131.0 > S 0:0(0)\n" + "end 150\n".replace("end", "# end"))


def test_a_leap_and_a_stamp_that_runs_back_are_one_connection():
    """Of one connection the survey counts one."""
    engine = new_engine(Settings())
    engine.feed(parse(CHAIN.format(3600, 3601, 3603) + "3603.55 < . 11:11(0) ack 201 <ts 9600/4500>\n"))
    engine.finish()
    said = []
    while (done := engine.take()) is not None:
        said += [f.message for f in done.findings if f.kind == "timestamp_regression"]
    assert len(said) == 1
    assert "1 of 1 connection" in said[0]


@pytest.mark.parametrize("ahead", [3600, 90_000])
def test_a_stamp_far_ahead_makes_no_wait_of_its_connection(ahead):
    """One of six is stamped an hour, or a day, after the others."""
    text = COUNTED + f"{ahead}.0 > F. 101:101(0) ack 1\n1.01 < . 1:1(0) ack 102\n"
    outcome = run(text, rules=True)
    assert [f.message for f in outcome.findings if SEVERITIES.index(f.severity) >= 2] == []


@pytest.mark.parametrize(("fin", "loud"), [("0.031", True), ("0.90", False)])
def test_a_client_that_had_waited_may_have_given_up(fin, loud):
    """Its FIN is no part of the request, then, and the server's close behind it refuses nothing."""
    text = "".join(
        f"port {40000 + n} 80\nisn {n} 5\n{n}.0 > S 0:0(0)\n{n}.01 < S. 0:0(0) ack 1\n{n}.02 > . 1:1(0) ack 1\n"
        f"{n}.03 > P. 1:101(100) ack 1\n{n}.{fin[2:]} > F. 101:101(0) ack 1\n{n}.91 < F. 1:1(0) ack 102\n"
        f"{n}.92 > . 102:102(0) ack 2\n"
        for n in range(4)
    )
    assert ("half_close_unsupported" in causes(text)) == loud


@pytest.mark.parametrize("lacking", [False, True])
def test_an_abort_in_a_capture_that_lacks_segments_is_nobodys(lacking):
    """The client has acknowledged what is not here: its RST may answer something that is not here either."""
    reset = f"0.500 > P. 101:401(300) ack {401 if lacking else 1}\n0.600 > R. 401:401(0) ack {401 if lacking else 1}\n"
    assert ("aborted_by_application" in causes(COUNTED + reset)) != lacking
