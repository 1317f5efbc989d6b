"""Two captures made one: what is lost in between, the clocks, the delays, and what each end's state then is."""

from __future__ import annotations

import json
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tcptrace_fsm as tf
from tcptrace_fsm.cli.app import run_command
from tcptrace_fsm.errors import UsageError
from tests import two_points
from tests.two_points import BEGIN, MILLISECOND, SECOND, Clock, Network
from tests.vantage import analysed, fates


def least_round_trip(packets):
    """The shortest time there and back."""
    delays = [[p.arrived - p.sent for p in packets if p.side == side and p.arrived is not None] for side in (0, 1)]
    return min(delays[0]) + min(delays[1])


# --- what was lost ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    loss=st.sampled_from([0.0, 0.05, 0.2, 0.4]),
    offset=st.sampled_from([0, -90, 7_200_000_000_001, -86_400_000_000_000]),
    drift=st.sampled_from([0.0, 50e-6, -120e-6]),
    connections=st.integers(1, 4),
    stamped=st.booleans(),
)
def test_every_loss_is_found_and_none_is_made_up(tmp_path_factory, seed, loss, offset, drift, connections, stamped):
    packets = two_points.converse(Network(seed=seed, loss=loss, stamped=stamped), connections)
    both = {p.side for p in packets if p.arrived is not None}
    if both != {0, 1}:
        return  # nothing came through in one direction
    clock = Clock(offset, drift)
    trace, numbers = analysed(tmp_path_factory.mktemp("two"), two_points.captures(packets, clock))
    assert sorted(numbers) == list(range(len(packets))), "each segment is there once"
    assert fates(trace, numbers) == {
        n: "lost" if packet.arrived is None else "arrived" for n, packet in enumerate(packets)
    }
    said = trace.summary["vantage"]
    assert abs(round(said["clock_offset"] * 1e9) - offset) <= least_round_trip(packets) / 2 + 1e-3 * SECOND
    delays = trace.segments.owd.dropna()
    assert (delays >= np.timedelta64(0)).all()
    moved = {n: delay for n, delay in zip(numbers, trace.segments.owd, strict=True) if packets[n].arrived is not None}
    for n, delay in moved.items():
        assert (
            abs(delay.value - (packets[n].arrived - packets[n].sent)) <= least_round_trip(packets) / 2 + 1e-3 * SECOND
        )


@pytest.mark.parametrize("seed", range(12))
def test_without_numbered_packets_as_many_losses_are_found_of_each_content(tmp_path, seed):
    packets = two_points.converse(Network(seed=seed, loss=0.2, numbered=False, stamped=seed % 2 == 0), 2)
    trace, numbers = analysed(tmp_path, two_points.captures(packets, Clock(5 * SECOND)))
    content = [two_points.frame(p) for p in packets]
    found = Counter(content[n] for n, fate in fates(trace, numbers).items() if fate == "lost")
    assert found == Counter(content[n] for n, p in enumerate(packets) if p.arrived is None)


def test_losses_are_told_by_connection_and_way(tmp_path):
    packets = two_points.converse(Network(seed=5, loss=0.2), 3)
    trace, _ = analysed(tmp_path, two_points.captures(packets, Clock()))
    for row in trace.connections.itertuples():
        mine = [p for p in packets if p.port == row.client_port]
        assert row.lost_c2s == sum(p.arrived is None for p in mine if p.side == 0)
        assert row.lost_s2c == sum(p.arrived is None for p in mine if p.side == 1)
        assert row.lost_c2s_bytes == sum(p.length for p in mine if p.side == 0 and p.arrived is None)
        delays = sorted(p.arrived - p.sent for p in mine if p.side == 0 and p.arrived is not None)
        assert abs(row.owd_c2s_min.value - delays[0]) < 5 * MILLISECOND  # the delays there and back are not alike
        assert row.owd_c2s_median >= row.owd_c2s_min
        assert row.reordered_c2s <= len(delays)
        assert row.foreign_c2s == row.uncaptured_c2s == row.lost_c2s_before == 0
    said = trace.summary["vantage"]
    assert sum(said["lost_between"].values()) == sum(p.arrived is None for p in packets)
    assert sum(said["seen_at_both"].values()) == sum(p.arrived is not None for p in packets)


def test_what_the_network_copied_is_no_loss_and_nobody_elses(tmp_path):
    packets = two_points.converse(Network(seed=9, loss=0.1, copies=0.3), 2)
    assert any(p.copies for p in packets)
    trace, numbers = analysed(tmp_path, two_points.captures(packets, Clock(-3 * SECOND)))
    assert fates(trace, numbers) == {n: "lost" if p.arrived is None else "arrived" for n, p in enumerate(packets)}
    assert (trace.segments.fate == "copy").sum() == sum(len(p.copies) for p in packets)


def test_a_capture_that_lacks_frames_is_found_out(tmp_path):
    packets = two_points.converse(Network(seed=3, loss=0.0), 4, data=(20000, 20000))
    data = [n for n, p in enumerate(packets) if p.length]
    dropped = set(random.Random(1).sample(data, len(data) // 8))
    there = {n for n in dropped if packets[n].side == 0}, {n for n in dropped if packets[n].side == 1}
    # those that arrive at the other point only, and are acknowledged there
    points = two_points.captures(packets, Clock(SECOND), dropped=(there[1], there[0]))
    trace, numbers = analysed(tmp_path, points)
    found = fates(trace, numbers)
    assert not [n for n, fate in found.items() if fate == "lost"]
    assert {found[n] for n in dropped} == {"uncaptured"}
    assert trace.summary["vantage"]["lacks_frames"] == [True, True]


def test_what_only_the_receivers_capture_has_was_sent_all_the_same(tmp_path):
    packets = two_points.converse(Network(seed=3, loss=0.0), 4, data=(20000, 20000))
    data = [n for n, p in enumerate(packets) if p.length]
    dropped = set(random.Random(2).sample(data, len(data) // 8))
    mine = {n for n in dropped if packets[n].side == 0}, {n for n in dropped if packets[n].side == 1}
    trace, numbers = analysed(tmp_path, two_points.captures(packets, Clock(SECOND), dropped=mine))
    assert set(fates(trace, numbers).values()) == {"arrived"}
    assert set(trace.connections.closing) == {"normal"}


def test_a_capture_that_ended_early_proves_no_loss(tmp_path):
    packets = two_points.converse(Network(seed=4, loss=0.1), 3, data=(30000, 30000))
    one, other = two_points.captures(packets, Clock())
    middle = other[len(other) // 2][0]
    other = [taken for taken in other if taken[0] < middle]
    trace, numbers = analysed(tmp_path, (one, other))
    for n, fate in fates(trace, numbers).items():
        if fate == "lost":
            assert packets[n].arrived is None
    late = {fates(trace, numbers)[n] for n, p in enumerate(packets) if p.side == 0 and p.sent > middle}
    assert late == {"unknown"}


def test_frames_captured_twice_are_paired_once(tmp_path):
    packets = two_points.converse(Network(seed=6, loss=0.1), 2)
    one, other = two_points.captures(packets, Clock(7))
    one = sorted([*one, *((time + 1000, content, n) for time, content, n in one)])
    trace, numbers = analysed(tmp_path, (one, other))
    assert fates(trace, numbers) == {n: "lost" if p.arrived is None else "arrived" for n, p in enumerate(packets)}


# --- cut and joined on the way ----------------------------------------------------------------------------------------


def joined(taken, packets, when):
    """A capture in which segments that follow each other at one moment are one frame."""
    out = []
    for time, content, n in taken:
        packet = packets[n]
        if out and when(n) and packet.length:
            _, _, numbers = out[-1]
            before = packets[numbers[-1]]
            if (
                (before.side, before.port, before.ack, before.stamps)
                == (packet.side, packet.port, packet.ack, packet.stamps)
                and before.length
                and before.seq + before.length == packet.seq
                and out[-1][0] == time
            ):
                first = packets[numbers[0]]
                length = packet.seq + packet.length - first.seq
                out[-1] = (time, two_points.frame(first, length=length), [*numbers, n])
                continue
        out.append((time, content, [n]))
    return out


@pytest.mark.parametrize("seed", range(8))
def test_large_segments_that_are_cut_on_the_way_are_matched_by_their_bytes(tmp_path, seed):
    packets = two_points.converse(Network(seed=seed, loss=0.08, jitter=0), 2, data=(40000, 40000))
    points = two_points.captures(packets, Clock(-SECOND))
    sent = [joined(taken, packets, lambda n, p=point: packets[n].side == p) for point, taken in enumerate(points)]
    assert any(len(numbers) > 1 for taken in sent for _, _, numbers in taken)
    files = [two_points.write(tmp_path / f"{i}.pcap", taken) for i, taken in enumerate(sent)]
    trace = tf.analyze(files, merge_vantage=True, tables=["segments"])
    seen = Counter()
    for row in trace.segments.itertuples():
        numbers = sent[files.index(row.file)][row.frame - 1][2]
        arrived = [packets[n].arrived is not None for n in numbers]
        assert row.fate == ("arrived" if all(arrived) else "partly" if any(arrived) else "lost")
        seen[row.fate] += 1
    lost = [p for p in packets if p.arrived is None]
    assert seen["arrived"]
    assert sum(trace.connections.lost_c2s_bytes) == sum(p.length for p in lost if p.side == 0)
    assert sum(trace.connections.lost_s2c_bytes) == sum(p.length for p in lost if p.side == 1)


@pytest.mark.parametrize("seed", range(8))
def test_segments_that_are_joined_on_the_way_have_arrived(tmp_path, seed):
    packets = two_points.converse(Network(seed=seed, loss=0.08, jitter=0), 2, data=(40000, 40000))
    points = two_points.captures(packets, Clock(SECOND))
    got = [joined(taken, packets, lambda n, p=point: packets[n].side != p) for point, taken in enumerate(points)]
    assert any(len(numbers) > 1 for taken in got for _, _, numbers in taken)
    files = [two_points.write(tmp_path / f"{i}.pcap", taken) for i, taken in enumerate(got)]
    trace = tf.analyze(files, merge_vantage=True, tables=["segments"])
    for row in trace.segments.itertuples():
        (number,) = got[files.index(row.file)][row.frame - 1][2]
        assert row.fate == ("arrived" if packets[number].arrived is not None else "lost")


# --- what each end's state then is ------------------------------------------------------------------------------------


def conversation(*lines):
    """Packets of one connection: time in ms, side, flags, seq, ack, length, and when it arrived (ms; None: lost)."""
    packets = []
    for n, (sent, side, flags, seq, ack, length, arrived) in enumerate(lines):
        packets.append(
            two_points.Packet(
                side, seq, ack, flags, length, BEGIN + round(sent * MILLISECOND), 100 + n, 40000,
                None, None if arrived is None else BEGIN + round(arrived * MILLISECOND),
            )
        )  # fmt: skip
    return packets


OPENING = (
    (0, 0, "S", 1000, 0, 0, 10),
    (10.1, 1, "SA", 5000, 1001, 0, 20),
    (20.1, 0, "A", 1001, 5001, 0, 30),
)


def walk(trace, side):
    rows = trace.transitions[trace.transitions.side == side]
    return [(row.to_state, row.basis, round((row.time.value - BEGIN) / MILLISECOND, 1)) for row in rows.itertuples()]


def test_a_last_ack_that_was_lost_in_between_closes_nobody(tmp_path):
    packets = conversation(
        *OPENING,
        (30, 0, "FA", 1001, 5001, 0, 40),
        (40.1, 1, "FA", 5001, 1002, 0, 50),
        (50.1, 0, "A", 1002, 5002, 0, None),
        (280, 1, "FA", 5001, 1002, 0, 290),
        (290.1, 0, "A", 1002, 5002, 0, 300),
    )
    trace, _ = analysed(tmp_path, two_points.captures(packets, Clock(3 * SECOND)))
    assert walk(trace, "server")[-2:] == [("LAST_ACK", "sent", 40.1), ("CLOSED", "acked", 300.0)]
    assert walk(trace, "client")[-1] == ("TIME_WAIT", "acked", 50.0)
    row = trace.connections.iloc[0]
    assert (row.lost_c2s, row.lost_s2c) == (1, 0)
    last = trace.transitions[trace.transitions.to_state == "CLOSED"].iloc[0]
    assert last.file.endswith("b.pcap"), "each end's changes have the frames of the capture near it"


def test_rules_go_by_the_order_of_events_not_by_the_captures_numbers(tmp_path):
    """Frames of the second capture bear the higher numbers in here; nothing that came earlier looks later for that."""
    packets = two_points.converse(Network(seed=1), 3)
    one, other = two_points.captures(packets, Clock())
    findings = []
    for points in ((one, other), (other, one)):
        trace, _ = analysed(tmp_path, points)
        alone = {k for name in "ab" for k in tf.analyze(tmp_path / f"{name}.pcap").anomalies.kind}
        assert set(trace.anomalies.kind) <= alone
        assert all(1 <= n <= len(one) + len(other) for frames in trace.anomalies.frames for n in frames)
        findings.append(trace.anomalies.kind.tolist())
    assert findings[0] == findings[1]


def test_a_fin_that_was_lost_in_between_has_been_sent_and_not_received(tmp_path):
    packets = conversation(
        *OPENING,
        (30, 0, "FA", 1001, 5001, 0, None),
        (240, 0, "FA", 1001, 5001, 0, 250),
        (250.1, 1, "A", 5001, 1002, 0, 260),
    )
    trace, _ = analysed(tmp_path, two_points.captures(packets, Clock()))
    assert walk(trace, "client")[-2:] == [("FIN_WAIT_1", "sent", 30.0), ("FIN_WAIT_2", "acked", 260.0)]
    assert walk(trace, "server")[-1] == ("CLOSE_WAIT", "acked", 250.0)


def test_a_reset_that_nobody_sent_ends_one_side_only(tmp_path):
    packets = conversation(
        *OPENING,
        (100, 0, "A", 1001, 5001, 200, 110),
        (110.1, 1, "A", 5001, 1201, 0, 120),
        (500, 1, "A", 5001, 1201, 200, 510),
    )
    one, other = two_points.captures(packets, Clock())
    forged = conversation((205, 1, "R", 5001, 0, 0, 205))[0]
    forged.ident = 31337
    one = sorted([*one, (forged.sent, two_points.frame(forged), 99)])
    trace, numbers = analysed(tmp_path, (one, other))
    assert fates(trace, numbers)[99] == "foreign"
    assert trace.connections.iloc[0].foreign_s2c == 1
    assert walk(trace, "client")[-1][0] == "CLOSED"
    assert walk(trace, "server")[-1][0] == "ESTABLISHED"
    assert trace.summary["vantage"]["foreign"] == {"client_to_server": 0, "server_to_client": 1}


def test_what_came_and_was_not_answered_is_lost_behind_the_last_point(tmp_path):
    packets = conversation(
        *OPENING,
        (100, 0, "A", 1001, 5001, 200, 110),
        (400, 0, "A", 1001, 5001, 200, 410),
        (410.1, 1, "A", 5001, 1201, 0, 420),
    )
    trace, _ = analysed(tmp_path, two_points.captures(packets, Clock()))
    row = trace.connections.iloc[0]
    assert (row.lost_c2s, row.lost_c2s_after, row.lost_c2s_before) == (0, 1, 0)


def test_states_of_segments_are_those_of_their_moment(tmp_path):
    packets = conversation(
        *OPENING,
        (30, 0, "FA", 1001, 5001, 0, 40),
        (35, 1, "A", 5001, 1001, 300, 45),
        (40.1, 1, "A", 5301, 1002, 0, 50),
    )
    trace, numbers = analysed(tmp_path, two_points.captures(packets, Clock(-SECOND)))
    rows = trace.segments.set_index(np.array(numbers))
    assert (rows.sender_state[0], rows.receiver_state[0]) == ("SYN_SENT", "SYN_RECEIVED")
    assert (rows.sender_state[3], rows.receiver_state[3]) == ("FIN_WAIT_1", "CLOSE_WAIT")
    assert (rows.sender_state[4], rows.receiver_state[4]) == ("ESTABLISHED", "FIN_WAIT_1")  # sent before, arrived after
    assert rows.arrival_file[4].endswith("a.pcap")


# --- what cannot be done ----------------------------------------------------------------------------------------------


def two_files(tmp_path, one, other):
    return [two_points.write(tmp_path / f"{name}.pcap", taken) for name, taken in (("one", one), ("other", other))]


def refused(*arguments):
    """What the command line says, and its status."""
    return run_command(["analyze", *map(str, arguments), "--merge-vantage"])


def test_captures_without_a_common_segment_are_refused(tmp_path, capsys):
    one = two_points.captures(two_points.converse(Network(seed=1)), Clock())[0]
    other = two_points.captures(two_points.converse(Network(seed=2)), Clock())[1]
    assert refused(*two_files(tmp_path, one, other)) == 2
    assert "have no segment in common" in capsys.readouterr().err


def test_captures_of_different_times_are_told_so(tmp_path, capsys):
    one = two_points.captures(two_points.converse(Network(seed=1)), Clock())[0]
    other = two_points.captures(two_points.converse(Network(seed=2)), Clock(10**6 * SECOND))[1]
    assert refused(*two_files(tmp_path, one, other)) == 2
    assert "not taken at the same time" in capsys.readouterr().err


@pytest.mark.parametrize("count", [1, 3])
def test_two_captures_are_wanted(tmp_path, capsys, count):
    one = two_points.captures(two_points.converse(Network(seed=1)), Clock())[0]
    files = [two_points.write(tmp_path / f"{i}.pcap", one) for i in range(count)]
    assert refused(*files) == 2
    assert f"takes two captures, one of each point, not {count}" in capsys.readouterr().err


def test_streams_and_one_file_twice_are_refused(tmp_path, capsys):
    one = two_points.write(tmp_path / "a.pcap", two_points.captures(two_points.converse(Network(seed=1)), Clock())[0])
    assert refused(one, "-") == 2
    assert "files, not streams" in capsys.readouterr().err
    assert refused(one, one) == 2
    assert "same file" in capsys.readouterr().err
    with pytest.raises(UsageError, match="files, not streams"), open(one, "rb") as file:
        tf.analyze([one, file], merge_vantage=True)


def test_where_nothing_arrived_everything_was_lost(tmp_path, capsys):
    packets = conversation(*((1000 * n, 0, "S", 1000, 0, 0, None) for n in range(4)))
    files = two_files(tmp_path, *two_points.captures(packets, Clock()))
    assert refused(*files) == 0
    assert "no TCP segment came to other.pcap" in " ".join(capsys.readouterr().out.split())
    row = tf.analyze(files, merge_vantage=True).connections.iloc[0]
    assert row.lost_c2s == 4
    assert row.client_state == "SYN_SENT"


def test_two_empty_captures_are_no_error(tmp_path, capsys):
    assert refused(*two_files(tmp_path, [], [])) == 0
    assert "no connections" in capsys.readouterr().out


def test_a_capture_that_is_cut_off_is_used_up_to_the_cut(tmp_path, capsys):
    one, other = two_points.captures(two_points.converse(Network(seed=1), 3), Clock())
    files = two_files(tmp_path, one, other)
    whole = (tmp_path / "other.pcap").read_bytes()
    (tmp_path / "other.pcap").write_bytes(whole[: 2 * len(whole) // 3])
    assert refused(*files) == 0
    assert "analysed up to there" in capsys.readouterr().err


def test_traffic_that_passes_one_point_only_is_analysed_as_ever(tmp_path):
    packets = two_points.converse(Network(seed=1), 2)
    one, other = two_points.captures(packets, Clock())
    apart = conversation(*OPENING)
    strange = [
        (p.sent, two_points.frame(p).replace(bytes([10, 0, 0, 2]), bytes([10, 0, 0, 9])), 1000 + n)
        for n, p in enumerate(apart)
    ]
    trace, _ = analysed(tmp_path, (sorted([*one, *strange]), other))
    rows = trace.connections
    assert rows[rows.server_ip == "10.0.0.9"].lost_c2s.isna().all()
    assert rows[rows.server_ip == "10.0.0.9"].opening.tolist() == ["handshake"]
    assert rows[rows.server_ip == "10.0.0.2"].lost_c2s.notna().all()


def test_the_summary_says_it_for_people_and_for_programs(tmp_path, capsys):
    files = two_files(tmp_path, *two_points.captures(two_points.converse(Network(seed=1), 2), Clock(2 * SECOND)))
    assert refused(*files) == 0
    text = capsys.readouterr().out
    assert "between the points" in text
    assert "ahead of the first" in text
    assert run_command(["analyze", *files, "--merge-vantage", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["options"]["merge_vantage"] is True
    assert said["vantage"]["captures"] == files


def test_one_capture_point_leaves_the_columns_null(tmp_path):
    file = two_points.write(tmp_path / "a.pcap", two_points.captures(two_points.converse(Network(seed=1)), Clock())[0])
    trace = tf.analyze(file, tables=["segments"])
    for name in ("lost_c2s", "lost_s2c_after", "owd_c2s_min", "owd_s2c_median", "foreign_c2s"):
        assert trace.connections[name].isna().all()
    for name in ("fate", "arrival", "arrival_frame", "owd"):
        assert trace.segments[name].isna().all()


def test_tables_are_written(tmp_path):
    files = two_files(tmp_path, *two_points.captures(two_points.converse(Network(seed=1), 2), Clock()))
    for form in ("parquet", "csv"):
        tables = "connections,transitions,anomalies,segments"
        out = tmp_path / form
        assert (
            run_command(
                ["analyze", *files, "--merge-vantage", "-q", "-o", str(out), "--format", form, "--tables", tables]
            )
            == 0
        )
        assert len(list(out.iterdir())) == 5
