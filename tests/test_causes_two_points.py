"""Causes where one connection was captured at two points, which number their frames apart."""

from __future__ import annotations

import random
import struct

import pytest

import tcptrace_fsm as tf
from tests import builders, two_points


def renumbered(taken, by):
    """Frames as a box shows them that shifts the server's sequence numbers."""
    made = []
    for time, content, number in taken:
        begins = 14 + 4 * (content[14] & 15)
        words = list(struct.unpack("!HHII", content[begins : begins + 12]))
        if content[26:30] == bytes([10, 0, 0, 2]):
            words[2] += by
        elif words[3]:
            words[3] += by
        words[2:] = [w % (1 << 32) for w in words[2:]]
        segment = struct.pack("!HHII", *words) + content[begins + 12 : begins + 16] + b"\0\0" + content[begins + 18 :]
        made.append((time, content[:begins] + builders.with_checksum(segment, *two_points.HOSTS), number))
    return made


@pytest.mark.parametrize("network", [two_points.Network(seed=3), two_points.Network(seed=1, copies=0.3)])
def test_a_box_between_two_points_that_shifts_numbers(tmp_path, network):
    """The server's SYN+ACK begins elsewhere at the other point: no loss, no gap in a capture, and nothing twice."""
    packets = two_points.converse(network)
    one, other = two_points.captures(packets, two_points.Clock())
    shifted = renumbered(one, 700_000_000)
    files = [two_points.write(tmp_path / f"{n}.pcap", taken) for n, taken in (("one", shifted), ("other", other))]
    found = tf.analyze(files, merge_vantage=True).diagnoses
    assert found.cause.tolist()[:1] == ["numbers_rewritten"]
    assert not {"capture_incomplete", "capture_duplicated"} & set(found.cause)


def packets_of(talk):
    """A line of a talk: the second at which it is sent, side, flags, sequence number, ACK, length. It takes 40 ms."""
    packets = []
    for n, (second, *what) in enumerate(talk):
        sent = two_points.BEGIN + round(second * 1e9)
        side, flags, seq, ack, length = what
        stamps = (1000 + round(second * 1000), 1)
        packets.append(two_points.Packet(side, seq, ack, flags, length, sent, n + 1, 40000, stamps, sent + 40_000_000))
    return packets


def told_at_two_points(tmp_path, talk, seconds=0):
    """The diagnoses of one connection captured at both ends, the second by a clock that is some seconds ahead."""
    packets = packets_of(talk)
    one, other = two_points.captures(packets, two_points.Clock(seconds * 1_000_000_000))
    files = [two_points.write(tmp_path / f"{n}.pcap", taken) for n, taken in (("one", one), ("other", other))]
    return tf.analyze(files, merge_vantage=True).diagnoses


ASKS = [(0.0, 0, "S", 999, 0, 0), (0.04, 1, "SA", 4999, 1000, 0), (0.08, 0, "A", 1000, 5000, 0)]
ASKS += [(0.081, 0, "PA", 1000, 5000, 100), (0.121, 1, "A", 5000, 1100, 0)]


@pytest.mark.parametrize("seconds", [0, 3, -40])
def test_at_two_points_an_answer_is_slow_while_the_client_waits(tmp_path, seconds):
    """Frames have numbers of their own in each capture: what came first is told all the same."""
    answer = [(8.0, 1, "PA", 5000, 1100, 300), (8.04, 0, "A", 1100, 5300, 0)]
    end = [(9.0, 0, "FA", 1100, 5300, 0), (9.04, 1, "FA", 5300, 1101, 0), (9.08, 0, "A", 1101, 5301, 0)]
    assert told_at_two_points(tmp_path, ASKS + answer + end, seconds).cause.tolist()[:1] == ["server_slow"]
    gone = [(1.0, 0, "FA", 1100, 5000, 0), (1.04, 1, "A", 5000, 1101, 0)]
    late = [(8.0, 1, "PA", 5000, 1101, 300), (8.04, 0, "A", 1101, 5300, 0), (8.1, 1, "FA", 5300, 1101, 0)]
    late += [(8.14, 0, "A", 1101, 5301, 0)]
    assert "server_slow" not in told_at_two_points(tmp_path, ASKS + gone + late, seconds).cause.tolist()


def test_at_two_points_a_reset_after_long_silence_is_forgetting(tmp_path):
    """It never left the server, and nobody cuts a connection that says nothing: a box had forgotten it."""
    quick = [(0.2, 1, "PA", 5000, 1100, 300), (0.24, 0, "A", 1100, 5300, 0)]
    packets = []
    for n, (second, side, flags, seq, ack, length) in enumerate([*ASKS, *quick]):
        sent = two_points.BEGIN + round(second * 1e9)
        packets.append(two_points.Packet(side, seq, ack, flags, length, sent, n + 1, 40000, None, sent + 40_000_000))
    late = two_points.BEGIN + 311 * 10**9
    packets.append(two_points.Packet(0, 1100, 5300, "PA", 100, late, 50, 40000, None))
    packets.append(two_points.Packet(1, 5300, 0, "R", 0, late + 10_000_000, 51, 40000, None, late + 20_000_000))
    # the other point lacks both
    one, other = two_points.captures(packets, two_points.Clock(), dropped=(set(), {len(packets) - 1}))
    files = [two_points.write(tmp_path / f"{n}.pcap", taken) for n, taken in (("one", one), ("other", other))]
    assert tf.analyze(files, merge_vantage=True).diagnoses.cause.tolist()[:1] == ["idle_timeout_in_path"]


@pytest.mark.parametrize("gone", [False, True])
def test_a_capture_that_lacks_frames_proves_nothing(tmp_path, gone):
    """The server's own RST is missing in its capture, and so are requests that it answered: nobody else is blamed."""
    packets = []
    for port in range(40000, 40004):
        begins = two_points.BEGIN + (port - 40000) * 10**9
        rst = [(0.2, 1, "PA", 5000, 1100, 300), (0.24, 0, "A", 1100, 5300, 0), (0.6, 1, "RA", 5300, 1100, 0)]
        for second, side, flags, seq, ack, length in [*ASKS, *rst]:
            sent = begins + round(second * 1e9)
            ident = len(packets) + 1
            packets.append(two_points.Packet(side, seq, ack, flags, length, sent, ident, port, None, sent + 40_000_000))
    lost = {n for n, packet in enumerate(packets) if "R" in packet.flags and packet.port == 40001}
    lost |= {n for n, p in enumerate(packets) if gone and not p.side and p.length and p.port > 40001}
    one, other = two_points.captures(packets, two_points.Clock(), dropped=(set(), lost))
    files = [two_points.write(tmp_path / f"{n}.pcap", taken) for n, taken in (("one", one), ("other", other))]
    found = tf.analyze(files, merge_vantage=True).diagnoses
    assert ("reset_injected" in found.cause[found.confidence == "proved"].tolist()) == (not gone)


def written(tmp_path, talks, arrive):
    """The diagnoses of several connections, by their clients' ports, where a segment arrives if ``arrive`` says so.

    An RST of the server is one that only the client's side saw.
    """
    packets, dropped = [], set()
    for port, talk in talks.items():
        for second, side, flags, seq, ack, length in talk:
            sent = two_points.BEGIN + round(second * 1e9)
            there = sent + 40_000_000 if arrive(second, side) else None
            stamps = (1000 + round(second * 1000), 1)
            packets.append(
                two_points.Packet(side, seq, ack, flags, length, sent, len(packets) + 1, port, stamps, there)
            )
            if flags == "RA":
                dropped.add(len(packets) - 1)
    one, other = two_points.captures(packets, two_points.Clock(), dropped=(set(), dropped))
    files = [two_points.write(tmp_path / f"{n}.pcap", taken) for n, taken in (("one", one), ("other", other))]
    return tf.analyze(files, merge_vantage=True).diagnoses


def later(talk, by):
    """The same, some seconds later."""
    return [(second + by, *rest) for second, *rest in talk]


VAIN = [(t, 0, "PA", 1000, 5000, 100) for t in (1.0, 1.3, 1.9, 3.1, 5.5, 10.3)]


@pytest.mark.parametrize(("arrives", "said"), [(True, "peer_vanished"), (False, "path_dead")])
def test_what_passes_the_farther_point_was_not_lost_before_it(tmp_path, arrives, said):
    """And where all connections of a host stand still none of them shows that it is alive."""
    one = ASKS[:3] + VAIN
    talks = {40000: one, 40001: later(one, 0.1), 40002: later(one, 0.2)}
    found = written(tmp_path, talks, lambda second, side: arrives or side or second < 0.9)
    assert found.cause.tolist()[:1] == [said]
    assert not any("still talk" in text for text in found.evidence_for[0])


def test_who_is_refused_as_others_are_is_refused_by_the_same(tmp_path):
    """The other capture is over by then, and proves nothing of the last one; its RST comes from where theirs came."""
    refused = [(0.0, 0, "S", 999, 0, 0), (0.01, 1, "RA", 0, 1000, 0)]
    closed = [(0.3, 0, "FA", 1100, 5000, 0), (0.34, 1, "FA", 5000, 1101, 0), (0.38, 0, "A", 1101, 5001, 0)]
    talks = {40000 + n: later(refused, 0.1 + n) for n in (0, 1, 3)}
    other = {41000 + n: later(ASKS + closed, n / 2) for n in range(5)}
    found = written(tmp_path, {**talks, **other}, lambda second, side: (second * 10) % 5 != 1 or side)
    assert "nothing_listens" not in found.cause.tolist()


@pytest.mark.parametrize("seconds", [0, 3])
def test_at_two_points_an_answer_that_came_too_late_is_a_slow_servers(tmp_path, seconds):
    """Its client had given up after ten seconds."""
    close = [(10.081, 0, "FA", 1100, 5000, 0), (10.121, 1, "A", 5000, 1101, 0)]
    late = [(14.121, 1, "PA", 5000, 1101, 900), (14.161, 0, "R", 1101, 0, 0)]
    first = told_at_two_points(tmp_path, ASKS + close + late, seconds).iloc[0]
    assert (first.cause, first.severity) == ("server_slow", "medium")


def test_what_is_damaged_between_two_points_is_not_lost(tmp_path):
    """The farther capture has it, with a wrong checksum: so its receiver gets it, and drops it."""
    talk = [*ASKS[:3], (0.09, 0, "PA", 1000, 5000, 100), (0.13, 1, "A", 5000, 1100, 0)]
    talk += [(t, 0, "PA", 1100, 5000, 1000) for t in (0.2, 0.5, 1.1, 2.3, 4.7, 9.5)]
    packets = []
    for n, (second, side, flags, seq, ack, length) in enumerate(talk):
        sent = two_points.BEGIN + round(second * 1e9)
        packets.append(two_points.Packet(side, seq, ack, flags, length, sent, n + 1, 40000, None, sent + 40_000_000))
    points = [
        [(time, summed(content, wrong=point == 1 and packets[n].length == 1000), n) for time, content, n in taken]
        for point, taken in enumerate(two_points.captures(packets, two_points.Clock()))
    ]
    files = [two_points.write(tmp_path / f"{n}.pcap", taken) for n, taken in enumerate(points)]
    assert tf.analyze(files, merge_vantage=True).diagnoses.cause.tolist()[:1] == ["damaged_in_path"]


def summed(content, *, wrong):
    """A frame with its checksum right, or not."""
    hosts = [".".join(map(str, content[at : at + 4])) for at in (26, 30)]
    segment = builders.with_checksum(content[34:], *hosts)
    return content[:34] + (segment[:16] + bytes([segment[16] ^ 0x5A]) + segment[17:] if wrong else segment)


def test_at_two_points_an_icmp_error_counts_as_at_one(tmp_path):
    """Only the client's side hears of it."""
    packets = [
        two_points.Packet(0, 999, 0, "S", 0, two_points.BEGIN + n * 10**9, n + 1, 40000 + n, None) for n in range(3)
    ]
    packets += [
        two_points.Packet(0, 999, 0, "S", 0, two_points.BEGIN, 9, 50000, None, two_points.BEGIN + 40_000_000),
        two_points.Packet(
            1, 4999, 1000, "SA", 0, two_points.BEGIN + 50_000_000, 10, 50000, None, two_points.BEGIN + 9**9
        ),
    ]
    one, other = two_points.captures(packets, two_points.Clock())
    quoted = [(time + 20_000_000, prohibited(content), n) for time, content, n in one if n < 3]
    taken = sorted(one + quoted, key=lambda frame: frame[0])
    files = [two_points.write(tmp_path / f"{n}.pcap", some) for n, some in enumerate((taken, other))]
    assert tf.analyze(files, merge_vantage=True).diagnoses.cause.tolist() == ["rejected_by_icmp"]


def prohibited(content):
    """An ICMP error of a router that quotes a frame."""
    body = struct.pack("!BBHI", 3, 13, 0, 0) + content[14 : 14 + 28]
    return builders.ethernet(builders.ipv4(body, src="10.0.9.9", dst="10.0.0.1", protocol=1))


def test_what_the_senders_capture_lacks_is_no_copy(tmp_path):
    """It stands late in the order of what was sent, behind more gaps than are kept, and once in one capture."""
    rng = random.Random(2)
    network = two_points.Network(seed=2, loss=0, jitter=0)
    client, server = (two_points.Host(network, side, 40000, data, 16) for side, data in enumerate((100, 60_000)))
    client.peer, server.peer = server, client
    network.at(two_points.BEGIN, client.start)
    packets = network.run()
    lacking = tuple({n for n, p in enumerate(packets) if p.length and rng.random() < 0.35} for _ in range(2))
    one, other = two_points.captures(packets, two_points.Clock(), dropped=lacking)
    files = [two_points.write(tmp_path / f"{n}.pcap", taken) for n, taken in (("one", one), ("other", other))]
    assert tf.analyze(files, merge_vantage=True).diagnoses.cause.tolist() == ["capture_incomplete"]


def test_at_two_points_an_answer_under_another_name_is_no_silence(tmp_path):
    """The asker's own capture holds the SYN+ACK from an address that it did not ask, and its RST."""
    talk = [(at, 1, "S", 999, 0, 0) for at in (0.0, 1.0, 3.0)]
    talk += [(at + 0.04, 0, "SA", 4999, 1000, 0) for at in (0.0, 1.0, 3.0)]
    talk += [(at + 0.08, 1, "R", 1000, 0, 0) for at in (0.0, 1.0, 3.0)]
    packets = packets_of(sorted(talk))

    def named(packet):
        host = two_points.HOSTS[0] if packet.side else "10.9.9.9"
        return ((host, packet.port), (two_points.HOSTS[1], 80))

    points = two_points.captures(packets, two_points.Clock(), translated=named)
    files = [two_points.write(tmp_path / f"{n}.pcap", taken) for n, taken in enumerate(points)]
    found = tf.analyze(files[::-1], merge_vantage=True).diagnoses
    assert set(found.cause) == {"nat_not_undone"}
    assert found.confidence[0] == "proved"


def test_many_resets_alike_are_one_senders(tmp_path):
    """They answer data under way, bear no number, and come in other bursts than they left in."""
    packets = []
    begin = [(0.0, 0, "S", 999, 0, 0), (0.04, 1, "SA", 4999, 1000, 0), (0.08, 0, "A", 1000, 5000, 0)]
    for n, (second, side, flags, seq, ack, length) in enumerate([*begin, (0.09, 0, "PA", 1000, 5000, 9000)]):
        sent = two_points.BEGIN + round(second * 1e9)
        packets.append(two_points.Packet(side, seq, ack, flags, length, sent, n + 1, 40000, None, sent + 40_000_000))
    for n in range(900):
        sent = two_points.BEGIN + 140_000_000 + 5_000 * n + n // 100 * 2_000_000
        came = two_points.BEGIN + 180_000_000 + n // 70 * 2_100_000 + 2_000 * n
        packets.append(two_points.Packet(1, 5000, 0, "R", 0, sent, 0, 40000, None, max(came, sent + 40_000_000)))
    files = [
        two_points.write(tmp_path / f"{n}.pcap", s)
        for n, s in enumerate(two_points.captures(packets, two_points.Clock()))
    ]
    trace = tf.analyze(files, merge_vantage=True)
    assert "reset_injected" not in trace.diagnoses.cause.tolist()
    assert trace.connections.foreign_s2c.sum() == 0
