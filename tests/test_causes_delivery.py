"""What keeps data from arriving, or slows them: damaged on the way, a scale that was taken out of an answer."""

from __future__ import annotations

import pytest

from tcptrace_fsm.causes import CAUSES
from tests.joining import joined
from tests.test_anomalies import findings
from tests.test_causes import diagnoses
from tests.test_causes_leaving import loud

pytestmark = pytest.mark.plain

OPENED = """
    0.000 > S  0:0(0)         <mss 1460,scale 7>
    0.020 < S. 0:0(0)   ack 1 win 29200 <mss 1460{scale}>
    0.021 > .  1:1(0)   ack 1 win 500
"""


@pytest.mark.parametrize("before", [0, 200])
def test_data_that_never_once_arrived_whole(before):
    """Nothing that is damaged counts as sent; it is repeated all the same, and never acknowledged."""
    text = OPENED.format(scale=",scale 7")
    if before:
        text += f"0.03 > P. 1:{1 + before}({before}) ack 1 win 500\n0.05 < . 1:1(0) ack {1 + before} win 500\n"
    for n in range(4):
        text += f"0.06{n} > . {1 + before + 1448 * n}:{1449 + before + 1448 * n}(1448) ack 1 win 500 bad\n"
    for time in (0.3, 0.8, 1.7, 3.5, 7.1, 14.3):
        text += f"{time} > . {1 + before}:{1449 + before}(1448) ack 1 win 500 bad\n"
    text += "end 20\n"
    assert loud(text) == [("damaged_in_path", "high")]


@pytest.mark.parametrize(("window", "said"), [(228, "window_scale_broken"), (28000, None)])
def test_a_scale_that_was_taken_out_of_the_answer(window, said):
    """The first flight fits the window of the SYN+ACK; then each segment fills one that is a small part of it."""
    text = OPENED.format(scale="")
    text += "".join(f"0.022 > . {1 + 1448 * n}:{1449 + 1448 * n}(1448) ack 1 win 500\n" for n in range(10))
    text += "".join(f"0.042 < . 1:1(0) ack {1449 + 1448 * n} win {window}\n" for n in range(10))
    size = min(window, 1448)
    for n in range(120):
        begins = 14481 + size * n
        text += f"{0.043 + 0.02 * n:.3f} > P. {begins}:{begins + size}({size}) ack 1 win 500\n"
        text += f"{0.062 + 0.02 * n:.3f} < . 1:1(0) ack {begins + size} win {window}\n"
    assert [cause for cause, _ in loud(text)] == ([said] if said else [])


@pytest.mark.parametrize("end", ["", "end 40\n"])
def test_a_window_that_is_shut_when_the_capture_ends(end):
    """Whether it ends with the answer to a probe, or later."""
    text = OPENED.format(scale="") + "0.022 > P. 1:29201(29200) ack 1 win 500\n0.042 < . 1:1(0) ack 29201 win 0\n"
    for time in (0.3, 0.8, 1.7, 3.5, 7.1, 14.3, 28.7):
        text += f"{time} > . 29200:29200(0) ack 1 win 500\n{time + 0.02} < . 1:1(0) ack 29201 win 0\n"
    found = diagnoses(text + end)[0]
    assert found.cause == "receiver_slow"
    assert found.message.endswith("and still is when the capture ends")
    assert found.evidence_against == ()


def in_order(events):
    """Segments of several connections as a script, by time: client's port, server's port, second, what is sent."""
    return "".join(f"port {client} {server}\n{at:.4f} {what}\n" for at, client, server, what in sorted(events))


def asked_and_stood(client, at):
    """The client asks and closes its half; the answer's first, full-size segment is repeated in vain."""
    talk = ["> S 0:0(0) <mss 1460>", "< S. 0:0(0) ack 1 <mss 1460>", "> . 1:1(0) ack 1", "> P. 1:701(700) ack 1"]
    events = [(at + n * 0.04, client, 515, what) for n, what in enumerate(talk)]
    events += [(at + 0.16, client, 515, "> F. 701:701(0) ack 1"), (at + 0.17, client, 515, "< . 1:1(0) ack 702")]
    events += [
        (at + 0.46 + 0.0001 * n, client, 515, f"< . {1 + 1448 * n}:{1449 + 1448 * n}(1448) ack 702") for n in range(2)
    ]
    events += [(at + 0.47, client, 515, "< F. 2897:3897(1000) ack 702")]
    return events + [(at + 0.46 + wait, client, 515, "< . 1:1449(1448) ack 702") for wait in (0.3, 0.9, 2.1, 4.5, 9.3)]


def fetched(client, at, size):
    """A connection to another port, with one answer of that size."""
    talk = ["> S 0:0(0) <mss 1460>", "< S. 0:0(0) ack 1 <mss 1460>", "> . 1:1(0) ack 1", "> P. 1:101(100) ack 1"]
    talk += [f"< P. 1:{1 + size}({size}) ack 101", f"> F. 101:101(0) ack {1 + size}"]
    talk += [f"< F. {1 + size}:{1 + size}(0) ack 102", f"> . 102:102(0) ack {2 + size}"]
    return [(at + n * 0.04, client, 443, what) for n, what in enumerate(talk)]


@pytest.mark.parametrize(
    ("size", "port", "said"),
    [
        (300, 443, ("mtu_black_hole", "likely")),
        (1448, 443, ("mtu_black_hole", "possible")),  # another port may be reached by another way
        (1448, 515, ("path_dead", "possible")),
    ],
)
def test_where_as_long_segments_come_through_elsewhere_it_may_not_be_their_size(size, port, said):
    """Two answers stand at their first segment while other connections between the hosts go on."""
    events = asked_and_stood(40001, 0) + asked_and_stood(40002, 2)
    events += [(at, client, port, what) for n in range(5) for at, client, _, what in fetched(41000 + n, 0.5 + n, size)]
    found = diagnoses(in_order(events) + "end 20\n")
    assert (found[0].cause, found[0].confidence) == said
    assert ("mtu_black_hole" in [d.cause for d in found]) == (said[0] == "mtu_black_hole")


def test_who_repeats_its_request_once_has_not_got_the_large_answer_that_acknowledged_it():
    """The small ACK that it is then sent comes through: it repeats no more."""
    events = [event for n in range(2) for event in asked_and_stood(40001 + n, 2 * n) if "F. 701" not in event[3]]
    events += [(2 * n + 0.6, 40001 + n, 515, "> P. 1:701(700) ack 1") for n in range(2)]
    events += [event for n in range(5) for event in fetched(41000 + n, 0.5 + n, 300)]
    assert "mtu_black_hole" in {cause for cause, _ in loud(in_order(events).replace("ack 702", "ack 701") + "end 20\n")}


def test_a_fin_behind_what_is_repeated_is_neither_acknowledged_nor_a_close():
    """Its sender's timer runs for what comes before it."""
    text = in_order(asked_and_stood(40001, 0)) + "end 20\n"
    row = joined(text)[0]
    assert (row["server_state"], row["closing"]) == ("LAST_ACK", "half_closed")
    said = {f.kind: f.message for f in findings(text)}
    assert "final_ack_missing" not in said
    assert "repeated what comes before its FIN" in said["stuck_last_ack"]


def over_a_long_way(wait):
    """Of 1,400 segments over 240 ms seven are lost, and sent again ``wait`` after the SACKs."""
    lines = OPENED.format(scale="").replace("0.02", "0.24")
    t, seq = 0.3, 1
    for n in range(70):
        lines += "".join(
            f"{t + 0.0001 * k:.4f} > . {seq + 1000 * k}:{seq + 1000 * k + 1000}(1000) ack 1\n" for k in range(20)
        )
        if n % 10 == 1:
            for k in range(5):
                lines += (
                    f"{t + 0.24 + 0.0001 * k:.4f} < . 1:1(0) ack {seq} <sack {seq + 1000}:{seq + 1000 * k + 2000}>\n"
                )
            lines += f"{t + 0.25 + wait:.4f} > . {seq}:{seq + 1000}(1000) ack 1\n"
            t += 0.25 + wait
        t, seq = t + 0.25, seq + 20_000
        lines += f"{t:.4f} < . 1:1(0) ack {seq}\n"
    return lines


@pytest.mark.parametrize(("wait", "said"), [(0, "low"), (0.3, "medium")])
def test_a_few_losses_repaired_within_two_round_trips_are_no_more_on_a_long_way(wait, said):
    """The waits of the long way itself do not add up to harm."""
    assert [(d.cause, d.severity) for d in diagnoses(over_a_long_way(wait))] == [("path_loss", said)]


@pytest.mark.parametrize(("lost", "said"), [(6, "mtu_black_hole"), (1, None)])
def test_after_two_repetitions_a_smaller_size_arrives(lost, said):
    """Six full segments that all come through as soon as they are smaller; or one, cut in two."""
    text = OPENED.format(scale="")
    text += "".join(f"0.03{n} > . {1 + 1448 * n}:{1449 + 1448 * n}(1448) ack 1 win 500\n" for n in range(lost))
    text += "0.300 > . 1:1449(1448) ack 1 win 500\n0.900 > . 1:1449(1448) ack 1 win 500\n"
    for n in range(2 * lost):
        begins = 1 + 724 * n
        text += f"{2.1 + 0.02 * n:.3f} > . {begins}:{begins + 724}(724) ack 1 win 500\n"
        text += f"{2.119 + 0.02 * n:.3f} < . 1:1(0) ack {begins + 724} win 500\n"
    found = [d.cause for d in diagnoses(text)]
    assert found[0] == said if said else "mtu_black_hole" not in found


@pytest.mark.parametrize(("client", "said"), [(64, False), (60, True)])
def test_large_segments_that_come_to_their_receivers_own_capture_do_arrive(client, said):
    """No router has touched what the client sends: the capture is its own, and what it holds of the server has come."""
    lines = [line.split("#")[0].rstrip() for line in CAUSES["mtu_black_hole"].example.splitlines() if line.strip()]
    ttls = {">": client, "<": 52}
    text = "\n".join(f"{line} ttl {ttls[line.split()[1]]}" if line.split()[1] in ttls else line for line in lines)
    assert ("mtu_black_hole" in [d.cause for d in diagnoses(text)]) == said
