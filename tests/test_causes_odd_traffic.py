"""Traffic that is odd and yet healthy, and captures that are: what looks like trouble, and why it is none."""

from __future__ import annotations

import random

import pandas as pd
import pytest

import tcptrace_fsm as tf
from tests import two_points
from tests.pieces import loud
from tests.test_causes import diagnoses


@pytest.mark.parametrize(("seed", "share", "connections", "size"), [(3, 0.35, 3, 60_000), (4, 0.3, 1, 150_000)])
def test_what_only_the_receivers_capture_has_was_not_sent_again_however_long_the_way(
    tmp_path, seed, share, connections, size
):
    """When it was sent is a guess then, a quarter of a second off here: no timer made it. Nor where gaps are many."""
    rng = random.Random(seed)
    network = two_points.Network(seed=seed, loss=0, jitter=0, timeout=10**9, delay=(270_000_000, 270_000_000))
    packets = two_points.converse(network, connections, (100, size))
    lacking = tuple({n for n, p in enumerate(packets) if p.length and rng.random() < share} for _ in range(2))
    one, other = two_points.captures(packets, two_points.Clock(), dropped=lacking)
    files = [two_points.write(tmp_path / f"{n}.pcap", taken) for n, taken in (("one", one), ("other", other))]
    trace = tf.analyze(files, merge_vantage=True)
    assert not trace.connections.server_retransmitted_segments.any()
    assert trace.diagnoses.cause.tolist() == ["capture_incomplete"]


# One direction is stamped 5 ms early, on a way of 4 ms.
EARLY = """
    0.0000 < S. 0:0(0)         ack 1
    0.0010 > S  0:0(0)
    0.0020 < .  1:1(0)         ack 101
    0.0025 < P. 1:801(800)     ack 101
    0.0050 > .  1:1(0)         ack 1
    0.0051 > P. 1:101(100)     ack 1
    0.0100 < .  801:801(0)     ack 201
    0.0105 < P. 801:1601(800)  ack 201
    0.0140 > P. 101:201(100)   ack 801
    0.0500 > F. 201:201(0)     ack 1601
    0.0510 < F. 1601:1601(0)   ack 202
    0.0550 > .  202:202(0)     ack 1602
"""


def test_a_capture_whose_directions_are_stamped_apart_lacks_nothing():
    """ACKs stand before what they acknowledge; all of that comes."""
    assert [d.cause for d in diagnoses(EARLY)] == ["capture_disordered"]
    lacking = "\n".join(line for line in EARLY.splitlines() if "1:101(100)" not in line)
    assert diagnoses(lacking)[0].cause == "capture_incomplete"


def talk(n, answer, every=0.5):
    """Lines of a log, each held back until the delayed ACK of the one before; the server answers each pair, or none."""
    lines = ["0.0 > S 0:0(0)", "0.02 < S. 0:0(0) ack 1", "0.0201 > . 1:1(0) ack 1"]
    seq, ack = 1, 1
    for i in range(n):
        t = 1 + i * every
        lines += [
            f"{t:.4f} > P. {seq}:{seq + 80}(80) ack {ack}",
            f"{t + 0.06:.4f} < . {ack}:{ack}(0) ack {seq + 80}",
            f"{t + 0.0601:.4f} > P. {seq + 80}:{seq + 200}(120) ack {ack}",
        ]
        seq += 200
        size = 50 if answer else 0
        lines.append(f"{t + 0.0802:.4f} < {'P' if answer else ''}. {ack}:{ack + size}({size}) ack {seq}")
        ack += size
    return "\n".join([*lines, f"{2 + n * every} > . {seq}:{seq}(0) ack {ack}\n"])


def test_nobody_waits_for_lines_of_a_log_that_nobody_answers():
    """Nagle's algorithm holds them back all the same."""
    assert loud(talk(20, answer=True)) == {"nagle_delayed_ack": "medium"}
    said = diagnoses(talk(20, answer=False))
    assert all(d.severity == "low" and d.confidence == "possible" for d in said)


def cut_off(spoken, after=0.9, n=3):
    """Requests of several connections that meet RST soon after the ones before were answered, or only acknowledged."""
    size = 300 if spoken else 0
    return "".join(
        f"""
        port {40000 + i} 80
        {12 * i + 0.000:.4f} > S  0:0(0)
        {12 * i + 0.050:.4f} < S. 0:0(0)            ack 1
        {12 * i + 0.051:.4f} > .  1:1(0)            ack 1
        {12 * i + 0.052:.4f} > P. 1:101(100)        ack 1
        {12 * i + 0.102:.4f} < {"P" if spoken else ""}. 1:{1 + size}({size}) ack 101
        {12 * i + 0.103 + after:.4f} > P. 101:201(100)   ack {1 + size}
        {12 * i + 0.153 + after:.4f} < R  {1 + size}:{1 + size}(0)
        """
        for i in range(n)
    )


def test_a_server_that_had_just_answered_and_knows_no_connection_got_them_under_another_name():
    """A full queue has accepted nothing and said nothing; who restarts takes longer; one RST may have been lost."""
    said = diagnoses(cut_off(spoken=True))
    assert [(d.cause, d.confidence, d.severity) for d in said] == [("nat_not_undone", "possible", "medium")]
    assert "endpoint_restarted" in said[0].alternatives  # another machine has taken over the address
    assert not diagnoses(cut_off(spoken=True, n=1))
    assert not any(d.cause == "nat_not_undone" for d in diagnoses(cut_off(spoken=False)))
    assert diagnoses(cut_off(spoken=True, after=9))[0].cause == "endpoint_restarted"


def test_a_few_short_ends_of_long_answers_that_were_held_back_matter_to_nobody():
    """A player asks for a piece each few seconds; the last segment of some waits for an ACK."""
    (often,) = diagnoses(talk(9, answer=True, every=0.1))
    (rare,) = diagnoses(talk(9, answer=True, every=4))
    assert (often.confidence, rare.confidence) == ("likely", "possible")


@pytest.mark.parametrize("jump", [3600, -30])
def test_a_clock_that_is_set_between_two_points_is_set_back_to_the_frame(tmp_path, jump):
    """The first frame behind that is in one capture alone: it is not an hour late, nor is all that waits for others."""
    network = two_points.Network(seed=5, loss=0, jitter=0)
    packets = two_points.converse(network, 3, (100, 60_000))
    one, other = two_points.captures(packets, two_points.Clock(), dropped=({60, 61}, set()))
    begins = next(at for at, (_, _, number) in enumerate(other) if number == 60)
    moved = [(time + (at >= begins) * jump * 10**9, *rest) for at, (time, *rest) in enumerate(other)]
    files = [two_points.write(tmp_path / f"{n}.pcap", taken) for n, taken in (("one", one), ("other", moved))]
    trace = tf.analyze(files, merge_vantage=True)
    assert len(trace.connections) == 3
    assert trace.segments.time.max() - trace.segments.time.min() < pd.Timedelta(seconds=20)


def answered_twice(*, asked):
    """Two long answers, the second 4 s after the first; the request between them is in the capture, or is not."""
    lines = ["0.0 > S 0:0(0)", "0.3 < S. 0:0(0) ack 1", "0.3001 > . 1:1(0) ack 1", "0.301 > P. 1:101(100) ack 1"]
    for n, begins in enumerate((0.62, 4.9)):
        for i in range(12):
            seq, ack, at = 1 + 15900 * n + 1400 * i, 101 + 100 * n, begins + i * 0.0004
            size = 1400 if i < 11 else 500
            lines += [f"{at:.4f} < {'P' if i == 11 else ''}. {seq}:{seq + size}({size}) ack {ack}"]
            lines += [f"{at + 0.0002:.4f} > . {ack}:{ack}(0) ack {seq + size}"]
        if not n:
            lines += ["4.5 > P. 101:201(100) ack 15901"] if asked else []
            lines += ["4.86 < . 15901:15901(0) ack 201"]
    return "\n".join(
        [
            *lines,
            "4.91 > F. 201:201(0) ack 31801",
            "5.21 < F. 31801:31801(0) ack 202",
            "5.2101 > . 202:202(0) ack 31802\n",
        ]
    )


def test_who_pauses_until_it_is_asked_again_is_not_slow_though_the_capture_lacks_the_request():
    """Its ACKs tell that it was asked."""
    assert not loud(answered_twice(asked=True))
    assert "server_slow" not in loud(answered_twice(asked=False))


def test_who_was_greeted_and_gave_its_name_pauses_as_it_likes():
    """A person at a shell: what it said first wanted no answer."""
    greeted = """
        0.00 > S  0:0(0)
        0.02 < S. 0:0(0)         ack 1
        0.0201 > . 1:1(0)        ack 1
        0.03 < P. 1:41(40)       ack 1
        0.0301 > P. 1:41(40)     ack 41
        0.06 < .  41:41(0)       ack 41
        9.00 > P. 41:77(36)      ack 41
        9.02 < P. 41:77(36)      ack 77
        9.06 > .  77:77(0)       ack 77
        end 12
    """
    assert loud(greeted).get("client_slow") != "medium"


def test_not_each_syn_that_is_rejected_draws_an_icmp_error():
    """Routers limit how often they send one, and a capture may lack some: nobody else need have dropped the others."""
    asked = "".join(
        f"port {40000 + n} 80\n{n}.0 > S 0:0(0)\n" + f"{n}.02 > icmp 3/13 0\n" * (n % 2) + f"{n + 30}.0 > S 0:0(0)\n"
        for n in range(4)
    )
    assert [d.cause for d in diagnoses(asked + "end 60\n") if d.severity != "info"] == ["rejected_by_icmp"]
    silent = "\n".join(line for line in asked.splitlines() if "icmp" not in line)
    assert diagnoses(silent + "\nend 60\n")[0].cause in {"syn_filtered", "host_unreachable"}


def test_the_request_of_a_late_answer_may_not_be_in_the_capture():
    """The key that was struck nine seconds after the name was given: its echo acknowledges more than is here."""
    keys = [(9.0 + n / 4, n) for n in range(20)]
    lines = ["0.0 > S 0:0(0)", "0.00001 < S. 0:0(0) ack 1", "0.024 > . 1:1(0) ack 1", "0.0241 < P. 1:41(40) ack 1"]
    lines += ["0.048 > P. 1:101(100) ack 41", "0.0481 < . 41:41(0) ack 101"]
    for at, n in keys:
        seq, ack = 101 + 36 * n, 41 + 36 * n
        lines += [f"{at:.4f} > P. {seq}:{seq + 36}(36) ack {ack}"]
        lines += [f"{at + 0.0001:.4f} < P. {ack}:{ack + 36}(36) ack {seq + 36}"]
        lines += [f"{at + 0.0241:.4f} > . {seq + 36}:{seq + 36}(0) ack {ack + 36}"]
    assert "medium" not in loud("\n".join(lines) + "\nend 15\n").values()
    del lines[6]
    assert "server_slow" not in loud("\n".join(lines) + "\nend 15\n")


def test_a_capture_that_begins_with_a_close_does_not_show_whether_the_connection_was_idle():
    """A request that crosses the server's FIN may be one of a pool, or a part of what the server did not read."""
    crossing = """
        0.000 < F. 1:1(0)        ack 1
        0.002 > P. 1:181(180)    ack 1
        0.004 > .  181:181(0)    ack 2
        0.006 < R. 2:2(0)        ack 1
        0.008 < R  2:2(0)
    """
    (said,) = [d for d in diagnoses(crossing) if d.cause in {"closed_with_unread_data", "reused_after_close"}]
    assert (said.confidence, said.alternatives) == ("possible", ("reused_after_close", "aborted_by_application"))


@pytest.mark.parametrize("flags", ["-", "F", "FPU"])
def test_a_segment_or_two_that_no_connection_begins_with_are_no_scan(flags):
    """Damage makes such segments; a host is taken for a scanner from a few ports on."""

    def told(ports):
        probes = "".join(
            f"port 50000 {1000 + n}\n{n} > {flags} 0:0(0)\n{n}.1 < R. 0:0(0) ack 0\n" for n in range(ports)
        )
        return [(d.cause, d.message) for d in diagnoses(probes)]

    assert [told(1), told(2)] == [[], []]
    ((cause, message),) = told(3)
    assert cause == "scan"
    assert "to several ports" in message
