"""Single connections with every segment: what is kept, what is counted, and what became of each."""

from __future__ import annotations

import dataclasses
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tcptrace_fsm as tf
from tcptrace_fsm.text.addresses import with_port
from tcptrace_fsm.views.conversation import LeftOut

from . import strategies
from .fakes import SECOND
from .watching import HANDSHAKE, collected

SAMPLES = "sample_pcaps/"


def test_a_conversation_has_all_rows_of_its_connection():
    trace = tf.analyze(SAMPLES + "lost_time_wait.pcap")
    (talk,) = trace.conversations()
    assert (talk.client, talk.server, talk.capture) == ("10.0.0.1:49412", "10.0.0.2:8080", "lost_time_wait.pcap")
    table = trace.segments
    assert [s.frame for s in talk.segments] == table.frame.to_list()
    assert [s.rel_seq for s in talk.segments] == table.rel_seq.to_list()
    assert [s.flags for s in talk.segments] == table["flags"].to_list()
    assert [s.sender_state for s in talk.segments] == table.sender_state.to_list()
    assert {c.to_state for c in talk.changes} == set(trace.transitions.to_state)
    assert [c.time for c in talk.changes] == sorted(trace.transitions.time.astype("int64"))
    assert [f.kind for f in talk.findings] == ["last_ack_lost", "rst_after_time_wait_loss"]
    assert talk.row["closing"] == "aborted"
    assert talk.row["first_time"] == talk.began == talk.segments[0].time


def test_stays_follow_one_another_without_gap():
    (talk,) = tf.analyze(SAMPLES + "lost_time_wait.pcap").conversations()
    for side in ("client", "server"):
        stays = talk.stays(side)
        assert [a.end for a in stays[:-1]] == [b.begin for b in stays[1:]]
        assert stays[0].begin == min(talk.began, stays[0].end)
        assert stays[-1].end == talk.ended
    assert [s.state for s in talk.stays("server")] == [
        *("LISTEN", "SYN_RECEIVED", "ESTABLISHED", "CLOSE_WAIT", "LAST_ACK", "CLOSED")
    ]


def test_chosen_connections_only():
    trace = tf.analyze(SAMPLES + "same_port_again.pcap")
    (second,) = trace.conversations({1})
    assert (second.conn_id, second.segments[0].frame) == (1, trace.connections.first_frame[1])
    assert [t.conn_id for t in trace.conversations({0, 1, 99})] == [0, 1]
    assert list(trace.conversations(set())) == []


def test_segments_kept_of_a_stream_give_the_same():
    name = SAMPLES + "lost_time_wait.pcap"
    (wanted,) = tf.analyze(name).conversations()
    with open(name, "rb") as file:
        trace = tf.analyze(file, tables=["segments"])
    (talk,) = trace.conversations()
    assert talk.segments == wanted.segments
    assert talk.changes == wanted.changes
    assert talk.row == wanted.row
    assert list(trace.conversations({7})) == []


def test_a_stream_that_was_not_kept_says_what_to_do():
    with open(SAMPLES + "lost_time_wait.pcap", "rb") as file:
        trace = tf.analyze(file)
    with pytest.raises(tf.UsageError, match=r'tables=\["segments"\]'):
        trace.connection(0).ladder()
    assert trace.connection(0)._repr_html_() is None


def transfer(segments):
    lines = [HANDSHAKE]
    for n in range(segments):
        lines.append(f"{0.1 + n / 1000:.4f}  > .  {1 + 100 * n}:{101 + 100 * n}(100)  ack 1")
        if n % 2:
            lines.append(f"{0.1 + n / 1000 + 0.0005:.4f}  < .  1:1(0)  ack {101 + 100 * n}")
    return "\n".join(lines)


@pytest.mark.parametrize("step", [None, 100])
def test_of_a_long_transfer_a_sample_stays_and_the_rest_is_counted(step, monkeypatch):
    monkeypatch.setattr("tcptrace_fsm.views.collector.ROOM", 300)
    (whole,) = collected(transfer(1000), limit=100_000)
    (talk,) = collected(transfer(1000), limit=200, step=step)
    assert len(whole.segments) == whole.total == talk.total == 1503
    assert len(talk.segments) <= 200
    gone = [s.left_out for s in talk.segments]
    assert sum(n.client_data for n in gone) + sum(s.payload_len > 0 for s in talk.segments) == 1000
    assert sum(n.client_bytes for n in gone) + sum(s.payload_len for s in talk.segments) == 100_000
    assert sum(n.server_empty for n in gone) == sum(
        s.side == "server" and not s.payload_len for s in whole.segments
    ) - sum(s.side == "server" and not s.payload_len for s in talk.segments)
    assert talk.segments[:100] == tuple(s._replace(left_out=LeftOut()) for s in whole.segments[:100])
    assert talk.segments[-1].frame == whole.segments[-1].frame
    bare = [s._replace(left_out=LeftOut(), fate="") for s in talk.segments]
    assert set(bare) <= {s._replace(fate="") for s in whole.segments}


@pytest.mark.slow
@settings(max_examples=50)
@given(given=strategies.conversations(), wanted=st.one_of(st.none(), st.sets(st.integers(0, 3))))
def test_every_segment_is_in_one_conversation(given, wanted):
    """... but for records that only Wireshark's streams count: broken headers, and those that an ICMP error quotes."""
    everything = collected(given)
    chosen = collected(given, wanted)
    assert [t for t in everything if wanted is None or t.conn_id in wanted] == chosen
    frames = sorted(s.frame for talk in everything for s in talk.segments)
    at = strategies.at
    whole = [s for s in range(0, len(given), at.SEGMENT_SIZE) if not given[s + at.S_FLAGS] & at.TCP_BROKEN]
    assert frames == [given[s + at.S_FRAME] for s in whole]
    for talk in everything:
        for side in ("client", "server"):
            times = [s.begin for s in talk.stays(side)]
            assert times == sorted(times)


@pytest.mark.slow
@settings(max_examples=50)
@given(strategies.anything())
def test_whatever_the_segments_are(given):
    frames = [s.frame for talk in collected(given) for s in talk.segments]
    assert len(frames) == len(set(frames))


def test_a_syn_that_fell_into_a_later_connection_is_not_shown_in_an_earlier_one():
    """Whoever asks for one use of a four-tuple does not get what fell into another."""
    again = HANDSHAKE + "0.1 > S 9000:9000(0)\n0.2 > P. 1:101(100) ack 1\n0.3 < . 1:1(0) ack 101\n"
    over = "1.0 > F. 101:101(0) ack 1\n1.1 < F. 1:1(0) ack 102\n1.2 > . 102:102(0) ack 2\n"
    later = re.sub(r"(?m)^\s*([\d.]+)(?= [<>]|  )", lambda line: str(float(line[1]) + 300), again)
    text = HANDSHAKE + "0.5 > P. 1:101(100) ack 1\n" + over + "isn 500000 700000\n" + later
    first, second = collected(text)
    assert [s.flags for s in second.segments].count("SYN") == 2
    assert collected(text, {first.conn_id}) == [first]
    assert collected(text, {second.conn_id}) == [second]


def test_a_syn_that_fell_into_a_connection_is_shown_there():
    (talk,) = collected(
        HANDSHAKE
        + """
        0.100  > P.   1:101(100)  ack 1
        0.120  < .    1:1(0)      ack 101
        0.200  > S    70000:70000(0)
        0.220  < .    1:1(0)      ack 101
        0.300  > P.   101:201(100) ack 1
        0.320  < .    1:1(0)      ack 201
    """
    )
    assert [(s.frame, s.flags) for s in talk.segments if "SYN" in s.flags][-1] == (6, "SYN")


def test_a_syn_that_began_a_connection_is_the_first_of_that():
    old, new = collected(
        HANDSHAKE
        + """
        0.100  > P.   1:101(100)  ack 1
        0.120  < .    1:1(0)      ack 101
        isn 900000 700000
        2.000  > S    0:0(0)
        2.020  < S.   0:0(0)      ack 1
        2.040  > .    1:1(0)      ack 1
    """
    )
    assert [s.frame for s in old.segments] == [1, 2, 3, 4, 5]
    assert [s.frame for s in new.segments] == [6, 7, 8]


def test_sack_blocks_are_relative():
    (talk,) = collected(
        HANDSHAKE
        + """
        0.100  > .    1:101(100)    ack 1
        0.101  > .    101:201(100)  ack 1
        0.120  < .    1:1(0)        ack 1  <sack 101:201>
    """
    )
    assert talk.segments[-1].sack == ((101, 201),)


@pytest.mark.parametrize("address, wanted", [("10.0.0.1", "10.0.0.1:80"), ("2001:db8::1", "[2001:db8::1]:80")])
def test_endpoints_are_written_as_usual(address, wanted):
    assert with_port(address, 80) == wanted


# --- fates ------------------------------------------------------------------------------------------------------------
CLOSE = """
    0.100  > F.   1:1(0)      ack 1
    0.120  < .    1:1(0)      ack 2
    0.140  < F.   1:1(0)      ack 2
"""
FATES = {
    "all arrived": (HANDSHAKE + CLOSE + "0.160 > . 2:2(0) ack 2", {}),
    "the last ACK": (
        HANDSHAKE + CLOSE + "0.160 > . 2:2(0) ack 2\n 0.400 < F. 1:1(0) ack 2\n 0.420 > . 2:2(0) ack 2\n end 5",
        {7: "lost"},
    ),
    "a SYN": ("0.0 > S 0:0(0) <ts 1/0>\n 1.0 > S 0:0(0) <ts 1001/0>\n 1.02 < S. 0:0(0) ack 1 <ts 9/1001>", {1: "lost"}),
    "a SYN+ACK": (
        "0.0 > S 0:0(0)\n 0.01 < S. 0:0(0) ack 1\n 1.0 > S 0:0(0)\n 1.02 < S. 0:0(0) ack 1\n 1.04 > . 1:1(0) ack 1",
        {2: "lost"},
    ),
    "the handshake's ACK": (
        HANDSHAKE
        + "1.020 < S. 0:0(0) ack 1\n 1.040 > . 1:1(0) ack 1\n 1.100 > P. 1:11(10) ack 1\n 1.120 < . 1:1(0) ack 11",
        {3: "lost"},
    ),
    "nobody answers": ("0.0 > S 0:0(0)\n 1.0 > S 0:0(0)\n 3.0 > S 0:0(0)", dict.fromkeys((1, 2, 3), "unknown")),
    "a refusal is an answer": ("0.0 > S 0:0(0)\n 0.01 < R. 0:0(0) ack 1", {}),
    "data, sent again for SACKs": (
        HANDSHAKE
        + """
        0.100  > .    1:101(100)    ack 1
        0.101  > .    101:201(100)  ack 1
        0.102  > .    201:301(100)  ack 1
        0.103  > .    301:401(100)  ack 1
        0.120  < .    1:1(0)        ack 1  <sack 101:201>
        0.121  < .    1:1(0)        ack 1  <sack 101:301>
        0.122  < .    1:1(0)        ack 1  <sack 101:401>
        0.140  > .    1:101(100)    ack 1
        0.160  < .    1:1(0)        ack 401
    """,
        {4: "lost"},
    ),
    "data that came twice": (
        HANDSHAKE
        + """
        0.100  > .    1:101(100)    ack 1
        0.400  > .    1:101(100)    ack 1
        0.420  < .    1:1(0)        ack 101
        0.421  < .    1:1(0)        ack 101  <sack 1:101>
    """,
        {},
    ),
    "nobody hears": (
        HANDSHAKE
        + """
        0.100  > P.   1:101(100)    ack 1
        0.400  > P.   1:101(100)    ack 1
        1.000  > P.   1:101(100)    ack 1
        2.200  > P.   1:101(100)    ack 1
        end 3
    """,
        {4: "lost", 5: "lost", 6: "lost", 7: "unknown"},
    ),
    "an RST that its receiver outlived": (
        HANDSHAKE + "0.100 < R 1:1(0)\n 0.500 > P. 1:11(10) ack 1\n 0.520 < . 1:1(0) ack 11",
        {4: "lost"},
    ),
}


@pytest.mark.parametrize("name", FATES)
def test_what_became_of_segments(name):
    script, wanted = FATES[name]
    talk = collected(script)[0]
    assert {s.frame: s.fate for s in talk.segments if s.fate} == wanted


def test_conversations_do_not_change():
    (talk,) = collected(HANDSHAKE)
    with pytest.raises(dataclasses.FrozenInstanceError):
        talk.capture = "another"
    assert talk.distance("server") == SECOND // 100
