"""The numbers behind the graphs, each against a value worked out by hand or a slow twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcptrace_fsm.views.conversation import LeftOut, Segment
from tcptrace_fsm.views.series import KINDS, Data, Points, directions, merged, sampled

MS = 1_000_000


def segment(ms, side, seq, length=0, ack=None, flags="ACK", label="", window=1000, sack=(), left_out=None):
    return Segment(
        frame=1, time=int(ms * MS), side=side, flags=flags, rel_seq=seq, rel_ack=ack, payload_len=length, window=window,
        sack=sack, tsval=None, tsecr=None, label=label, sender_state=None, receiver_state=None,
        **({} if left_out is None else {"left_out": left_out}),
    )  # fmt: skip


def points(of):
    return list(zip(of.time.tolist(), of.value.tolist(), strict=True))


TRANSFER = [
    segment(0, "client", 0, flags="SYN", ack=None),
    segment(10, "server", 0, flags="SYN+ACK", ack=1, window=65535),
    segment(11, "client", 1, ack=1),
    segment(20, "client", 1, 100, ack=1),
    segment(21, "client", 101, 100, ack=1),
    segment(22, "client", 201, 100, ack=1),
    segment(30, "server", 1, ack=101),
    segment(32, "server", 1, ack=101, label="duplicate_ack", sack=((201, 301),)),
    segment(40, "client", 101, 100, ack=1, label="fast_retransmission"),
    segment(50, "server", 1, ack=301, window=0, label="zero_window"),
    segment(60, "client", 301, ack=1, flags="FIN+ACK"),
    segment(70, "server", 1, ack=302, window=500),
    segment(80, "client", 9_000_000, flags="RST"),
]


def test_data_are_bars_from_first_to_last_byte():
    client, server = directions(TRANSFER)
    assert list(zip(client.data.begin.tolist(), client.data.end.tolist(), strict=True)) == [
        (0, 1), (1, 101), (101, 201), (201, 301), (101, 201), (301, 302),
    ]  # fmt: skip
    assert [KINDS[kind] for kind in client.data.kind] == ["new"] * 4 + ["retransmission", "new"]
    assert server.data.end.tolist() == [1]


def test_acks_and_the_windows_edge_are_staircases():
    client, _ = directions(TRANSFER)
    assert points(client.ack) == [(10 * MS, 1), (30 * MS, 101), (50 * MS, 301), (70 * MS, 302)]
    assert points(client.edge) == [(30 * MS, 1101), (50 * MS, 301), (70 * MS, 802)], "a SYN's window is not scaled"


def test_what_is_notable_is_marked():
    client, _ = directions(TRANSFER)
    assert points(client.duplicate_acks) == [(32 * MS, 101)]
    assert points(client.zero_windows) == [(50 * MS, 301)]
    assert (client.sack.time.tolist(), client.sack.begin.tolist(), client.sack.end.tolist()) == (
        [32 * MS],
        [201],
        [301],
    )
    assert points(client.resets) == [(80 * MS, 302)], "an RST of any number is drawn where the data are"


def test_round_trips_leave_out_what_was_sent_twice():
    client, server = directions(TRANSFER)
    assert points(client.rtt) == [(10 * MS, 10 * MS), (30 * MS, 10 * MS), (50 * MS, 28 * MS), (70 * MS, 10 * MS)]
    assert points(server.rtt) == [(11 * MS, MS)]


def test_of_what_one_ack_covers_the_newest_counts():
    way, _ = directions(
        [
            segment(0, "client", 1, 100, ack=1),
            segment(40, "client", 101, 100, ack=1),
            segment(50, "server", 1, ack=201),
        ]
    )
    assert points(way.rtt) == [(50 * MS, 10 * MS)]


def test_throughput_counts_each_byte_once_where_it_was_sent():
    client, server = directions(TRANSFER)
    assert client.throughput.value.sum() == 400, "what was sent again included"
    assert client.bin == MS
    assert dict(points(client.throughput))[20 * MS] == 100
    assert server.empty
    assert len(server.throughput.time) == 0


def test_what_was_sampled_away_counts_for_its_sender():
    left_out = LeftOut(client_data=3, client_bytes=3000, server_data=1, server_bytes=50)
    client, server = directions(
        [segment(0, "client", 1, 10, ack=1), segment(5, "server", 1, ack=3011, left_out=left_out)]
    )
    assert client.throughput.value.sum() == 3010
    assert points(server.throughput)[-1] == (5 * MS, 50)


def test_numbers_that_are_unknown_are_not_drawn():
    client, server = directions(
        [
            segment(0, "client", None, 10, ack=None),
            segment(1, "server", 1, 5, ack=7, window=None),
        ]
    )
    assert len(client.data.time) == 0
    assert len(client.edge.time) == 0
    assert points(client.ack) == [(MS, 7)]
    assert server.data.end.tolist() == [6]


def test_nothing_gives_nothing():
    assert len(directions([])) == 2
    for way in directions([]):
        assert way.empty
        assert not len(way.data.time) + len(way.ack.time) + len(way.rtt.time)


flows = st.lists(
    st.tuples(st.sampled_from(("client", "server")), st.integers(0, 40), st.integers(0, 20), st.booleans()), max_size=40
)


def naive_round_trips(segments, side):
    """Each segment looked at by itself."""
    data = [s for s in segments if s.side == side and s.payload_len]
    again = [s for s in data if s.label]
    found = {}
    for s in data:
        if any(r.rel_seq < s.end and s.rel_seq < r.end for r in again):
            continue
        answer = next((a for a in segments if a.side != side and a.rel_ack is not None and a.rel_ack >= s.end), None)
        if answer is not None:
            found[answer.time, answer.rel_ack] = answer.time - s.time
    return sorted((time, rtt) for (time, _), rtt in found.items() if rtt >= 0)


@given(flows)
def test_round_trips_are_those_of_the_slow_twin(flow):
    sent = {"client": 1, "server": 1}
    segments = []
    for number, (side, seq, length, again) in enumerate(flow):
        other = "server" if side == "client" else "client"
        begin = min(seq, sent[side]) if again else sent[side]
        label = "retransmission" if begin < sent[side] else ""
        sent[side] = max(sent[side], begin + length)
        segments.append(segment(number, side, begin, length, ack=max(1, sent[other] - seq), label=label))
    for way in directions(segments):
        assert points(way.rtt) == naive_round_trips(segments, way.side)


@given(st.lists(st.tuples(st.integers(1, 5), st.booleans(), st.booleans()), max_size=60), st.integers(1, 30))
def test_merging_loses_no_byte_and_hides_nothing_notable(steps, most):
    rows, at = [], 0
    for i, (length, hole, notable) in enumerate(steps):
        at += 10 * hole
        rows.append((i, i, at, at + length, int(notable)))
        at += length
    table = np.array(rows, dtype=np.int64).reshape(-1, 5)
    data = Data(*(table[:, i] for i in range(4)), table[:, 4].astype(np.int8))
    fewer = merged(data, most)
    assert (fewer.end - fewer.begin).sum() == (data.end - data.begin).sum()
    assert (fewer.kind != 0).sum() == (data.kind != 0).sum()
    assert len(fewer.time) <= len(data.time)
    if not table[:, 4].any() and not any(hole for _, hole, _ in steps):
        assert len(fewer.time) <= most + 1
    covered = {byte for begin, end in zip(data.begin, data.end, strict=True) for byte in range(begin, end)}
    assert covered == {byte for begin, end in zip(fewer.begin, fewer.end, strict=True) for byte in range(begin, end)}


@pytest.mark.parametrize("n, most", [(0, 5), (5, 5), (6, 5), (1000, 7)])
def test_samples_keep_the_last(n, most):
    given_points = Points(np.arange(n, dtype=np.int64), np.arange(n, dtype=np.int64) * 2)
    kept = sampled(given_points, most)
    assert len(kept.time) <= most
    assert not n or (kept.time[-1] == n - 1 and kept.time[0] == 0)
    assert (kept.value == kept.time * 2).all()
