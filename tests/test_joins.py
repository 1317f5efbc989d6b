"""Columns that join with other tools' output: Wireshark's tcp.stream and tcp.completeness, Zeek's conn.log."""

from __future__ import annotations

import io
import random
import shutil
import subprocess
from array import array
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcptrace_fsm.api import analyze
from tcptrace_fsm.capture.scripted import parse
from tcptrace_fsm.core.engine import Engine
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.kernels import layout as k
from tests import builders as make
from tests.joining import CLOSE, DATA, OPEN, joined, rows_of
from tests.strategies import Batch, record, watched_engine

# --- Wireshark --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown", "whole"),
    [
        # the bits of tcp.completeness: 1 SYN, 2 SYN+ACK, 4 ACK, 8 data, 16 FIN, 32 RST
        (OPEN + CLOSE, 1 + 2 + 4 + 16, 1 + 2 + 4 + 16),
        (OPEN + DATA + CLOSE, 31, 31),
        ("0 > S 0:0(0)", 0, 1),
        ("0 > S 0:0(0)\n0.1 < R. 0:0(0) ack 1", 1, 1 + 4 + 32),
        (OPEN + "0.5 > R. 1:1(0) ack 1", 1 + 2 + 4, 1 + 2 + 4 + 32),
        # A stream that begins with anything but a SYN shows nothing of its first segment; read twice, it does.
        ("0 < S. 0:0(0) ack 1\n0.1 > . 1:1(0) ack 1\n0.2 > . 1:1(0) ack 1", 4, 2 + 4),
        # Data is no ACK there.
        ("0 > P. 1:9(8) ack 1\n0.1 < P. 1:9(8) ack 9\n0.2 > P. 9:17(8) ack 9", 8, 8),
        ("0 > S 0:100(100)\n0.1 < S. 0:0(0) ack 101\n0.2 > . 101:101(0) ack 1", 1 + 2 + 8, 1 + 2 + 4 + 8),
    ],
)
def test_completeness_as_tshark_and_as_wireshark_show_it(text, shown, whole):
    """tshark prints what was known before the segment; Wireshark's window what is known at last."""
    (row,) = joined(text)
    assert (row["wireshark_completeness"], row["wireshark_completeness_whole"]) == (shown, whole)


def streams(text: str) -> list[int]:
    return [row["tcp_stream"] for row in joined(text)]


def test_another_isn_is_another_stream_in_both():
    """A reused four-tuple."""
    assert streams(OPEN + CLOSE + "isn 900000 900000\n9 > S 0:0(0)\n9.1 < S. 0:0(0) ack 1") == [0, 1]


def test_the_same_isn_after_a_refusal_is_one_stream_there_and_two_attempts_here():
    """Wireshark calls the second SYN a retransmission."""
    assert streams("0 > S 0:0(0)\n0.1 < R. 0:0(0) ack 1\n1 > S 0:0(0)\n1.1 < R. 0:0(0) ack 1") == [0, 0]


def test_a_stream_outlives_its_connection():
    """Wireshark forgets none: a late RST, long after the connection was handed out, is of its stream."""
    late = "\nport 1 2\n500 > S 0:0(0)\nport 40000 80\n600 < R 2:2(0)\n"
    assert streams(OPEN + CLOSE + late) == [0, 1, 0]


def test_a_stream_is_the_same_in_every_vlan():
    """Wireshark looks at addresses and ports only."""
    segment = make.ipv4(make.tcp(b"", seq=5, flags="S"))
    answer = make.ipv4(
        make.tcp(b"", seq=9, ack=6, flags="SA", src_port=80, dst_port=40000), src="10.0.0.2", dst="10.0.0.1"
    )
    frames = [make.ethernet(segment, 0x0800, 7), make.ethernet(answer, 0x0800, 8), make.ethernet(segment)]
    trace = analyze(io.BytesIO(make.pcap(list(enumerate(frames)))))
    assert set(trace.connections["encapsulation"]) == {"vlan 7", "vlan 8", ""}
    assert set(trace.connections["tcp_stream"]) == {0}


CLIENT, SERVER = {"src": "10.0.0.1", "dst": "10.0.0.2"}, {"src": "10.0.0.2", "dst": "10.0.0.1"}


def said(*, back=False, frame=make.ethernet, **segment):
    """A frame between two fixed ends; ``segment`` as for a TCP header, with ``ip`` for what the IP header is to say."""
    ip = {**(SERVER if back else CLIENT), **segment.pop("ip", {})}
    if back:
        segment = {"src_port": 80, "dst_port": 40000, **segment}
    return frame(make.ipv4(make.tcp(segment.pop("payload", b""), **segment), **ip))


OPENING = [
    said(seq=99, ack=0, flags="S"),
    said(back=True, seq=499, ack=100, flags="SA"),
    said(seq=100, ack=500, flags="A"),
]


def written(path, frames, **capture):
    """A file of frames, each as bytes or as (bytes, length on the wire)."""
    records = [(n, *frame) if isinstance(frame, tuple) else (n, frame) for n, frame in enumerate(frames)]
    path.write_bytes(make.pcap(records, **capture))
    return path


def test_each_segment_has_its_own_stream(tmp_path):
    """A SYN inside a connection begins another stream, to which the rest of the connection belongs there."""
    stray = said(seq=5000, ack=0, flags="S")
    rest = [
        said(seq=100, ack=500, flags="PA", payload=b"more"),
        said(back=True, seq=500, ack=104, flags="A"),
        said(seq=104, ack=500, flags="PA", payload=b"more"),
    ]
    path = written(tmp_path / "stray.pcap", [*OPENING, rest[0], stray, *rest[1:]])
    trace = analyze(path, tables=["segments"])
    assert trace.segments["tcp_stream"].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert trace.segments["tcp_completeness"].tolist() == [0, 1, 3, 7, 1, 1, 5]
    (row,) = trace.connections.to_dict("records")
    assert (row["tcp_stream"], row["tcp_stream_last"]) == (0, 1)


def icmp(quoted, **ip):
    """An ICMP error that quotes a packet."""
    return make.ethernet(make.ipv4(b"\3\3" + bytes(6) + quoted, protocol=1, src="10.0.0.9", dst="10.0.0.1", **ip))


def six(payload, follows=6, **ip):
    return make.ethernet(make.ipv6(payload, follows=follows, **ip), 0x86DD)


ALONE = make.tcp(seq=7, flags="S", src_port=1)


def vxlan(frame, length=None):
    """A UDP datagram of VXLAN, which may say to be shorter than it is."""
    datagram = make.udp(b"\x08" + bytes(6) + b"\0" + frame, dst_port=4789)
    return datagram if length is None else datagram[:4] + length.to_bytes(2, "big") + datagram[6:]


def gtp(packet, length):
    """A UDP datagram of GTP-U that says to carry ``length`` bytes."""
    return make.udp(b"\x30\xff" + length.to_bytes(2, "big") + bytes(4) + packet, dst_port=2152, src_port=2152)


HOSTILE = {
    "data offset 0": [*OPENING, said(seq=100, ack=500, offset=0, payload=bytes(9))],
    "data offset 4, first": [said(seq=99, ack=0, flags="S", offset=4), *OPENING],
    "data offset past the packet": [*OPENING, said(seq=100, ack=500, offset=15), said(seq=100, ack=500)],
    "broken SYN of another number": [*OPENING, said(seq=8, ack=0, flags="S", offset=3), said(seq=100, ack=500)],
    "broken RST, last": [*OPENING, said(back=True, seq=500, ack=100, flags="RA", offset=15)],
    "broken header in a VLAN": [*OPENING, said(offset=2, frame=lambda p: make.ethernet(p, 0x0800, 5))],
    "broken headers through a tunnel": [
        make.ethernet(make.ipv4(make.ipv4(make.tcp(offset=n)), protocol=4)) for n in (4, 5, 6)
    ],
    **{
        f"{n} bytes of TCP captured": [(said(src_port=9)[: 34 + n], 54), *OPENING]
        for n in (0, 1, 3, 4, 12, 15, 16, 19, 20)
    },
    **{f"{n} bytes of TCP": [make.ethernet(make.ipv4(ALONE[:n])), *OPENING] for n in (0, 3, 4, 15, 16, 19)},
    "IP longer than the frame": [*OPENING, said(seq=100, ack=500, payload=b"some", ip={"total": 900})],
    "IP longer than the frame, padded": [*OPENING, said(ip={"total": 44}) + bytes(6), said(ip={"total": 70})],
    "IP longer than the options": [*OPENING, said(seq=100, ack=500, offset=8, ip={"total": 900})],
    "IP shorter than the header": [*OPENING, said(seq=100, ack=500, payload=b"some", ip={"total": 30})],
    "IPv6 longer than the frame": [six(make.tcp(b"some"), length=900), six(make.tcp(b"some"))],
    "IPv6 with a broken header": [six(make.tcp(offset=1)), six(make.tcp(b"some", src_port=5))],
    "tunnel longer than the frame": [
        make.ethernet(make.ipv4(make.ipv4(make.tcp(b"some"), total=900), protocol=4, total=950)),
        make.ethernet(make.ipv4(make.ipv4(make.tcp(b"some"), total=50), protocol=4)),
    ],
    "first fragment, the capture cut": [(said(payload=bytes(99), ip={"more": True})[:80], 153), *OPENING],
    "first fragment that claims too much": [said(payload=bytes(99), ip={"more": True, "total": 600}), *OPENING],
    "first IPv6 fragment, the capture cut": [(six(b"\6\0\0\1\0\0\0\1" + ALONE + bytes(40), 44)[:90], 122)],
    "first fragment of a tunnel, the capture cut": [
        (
            make.ethernet(make.ipv4(vxlan(make.ethernet(make.ipv4(ALONE + bytes(99)))), protocol=17, more=True))[:150],
            203,
        ),
        make.ethernet(make.ipv4(make.ipv4(ALONE + bytes(9)), protocol=4, more=True, total=500)),
    ],
    "UDP shorter than what it carries": [
        make.ethernet(make.ipv4(vxlan(make.ethernet(make.ipv4(ALONE + bytes(9))), 8 + 8 + 14 + n), protocol=17))
        for n in (49, 45, 40, 39, 36, 24, 20, 3)
    ],
    "GTP shorter than what it carries": [
        make.ethernet(make.ipv4(gtp(make.ipv4(ALONE + bytes(9)), n), protocol=17)) for n in (49, 45, 40, 36, 20, 3, 0)
    ],
    "ICMP quotes all of a SYN": [icmp(make.ipv4(ALONE)), *OPENING],
    "ICMP quotes sixteen bytes": [icmp(make.ipv4(ALONE)[:36]), *OPENING],
    "ICMP quotes fifteen bytes": [icmp(make.ipv4(ALONE)[:35]), *OPENING],
    "ICMP quotes eight bytes": [icmp(make.ipv4(ALONE)[:28]), *OPENING],
    "ICMP quotes a known stream": [*OPENING, icmp(make.ipv4(make.tcp(seq=100, flags="FA"))), said(seq=100, ack=500)],
    "ICMP quotes a SYN of another number": [*OPENING, icmp(make.ipv4(make.tcp(flags="S"))), said(seq=100, ack=500)],
    "ICMP quotes a broken header": [icmp(make.ipv4(make.tcp(offset=0, src_port=4))), *OPENING],
    "ICMP quotes IP options": [icmp(make.ipv4(ALONE, options=b"\1" * 12)[:44]), *OPENING],
    "ICMP in a tunnel": [make.ethernet(make.ipv4(icmp(make.ipv4(ALONE))[14:], protocol=4)), *OPENING],
    "ICMPv6 quotes a SYN": [six(b"\1" + bytes(7) + make.ipv6(ALONE), 58), six(make.tcp())],
    "ICMPv6 echo with TCP in it": [six(b"\x80" + bytes(7) + make.ipv6(ALONE), 58), six(make.tcp())],
}


def test_broken_headers_are_counted_as_malformed_and_stand_among_the_segments(tmp_path):
    """To Wireshark they are TCP and have streams; here they belong to no connection."""
    path = written(tmp_path / "broken.pcap", [said(flags="S", offset=4, src_port=7), *OPENING, icmp(make.ipv4(ALONE))])
    trace = analyze(path, tables=["segments"])
    frames = trace.summary["frames"]
    assert (frames["tcp"], frames["malformed"], frames["not_tcp"]) == (3, {"bad_tcp_header": 1}, 1)
    assert trace.summary["wireshark"] == {"tcp_frames": 4, "tcp_streams": 3}
    segments = trace.segments
    assert segments["frame"].tolist() == [1, 2, 3, 4]
    assert segments["label"].tolist() == ["broken_header", "", "", ""]
    broken = segments.iloc[0]
    for column in ("conn_id", "side", "sender_state", "receiver_state", "rel_seq"):
        assert pd.isna(broken[column]), column
    assert segments["tcp_stream"].tolist() == [0, 1, 1, 1]
    assert trace.connections["tcp_stream"].tolist() == [1]


class Wireshark:
    """Streams the slow and obvious way: a dict of conversations."""

    def __init__(self):
        self.conversations = {}
        self.count = 0

    def take(self, source, target, flags, seq, ack, length):
        """Number of the stream, and its completeness before and after."""
        key = frozenset([source, target])
        new = key not in self.conversations
        if new:
            self.open(key, "")
        c = self.conversations[key]
        if "S" in flags and c["base"].get(source, seq) != seq:
            if "A" in flags:
                c["base"][source] = seq
            else:
                c = self.open(key, "s")
        before = set(c["told"])
        c["base"].setdefault(source, seq if "S" in flags else (seq - 1) % 2**32)
        if "A" in flags:
            c["base"].setdefault(target, (ack - 1) % 2**32)
        if new:
            c["told"] |= {"s"} | ({"d"} if length else set()) if "S" in flags and "A" not in flags else set()
        else:
            if "A" in flags:
                c["told"].add("h" if "S" in flags else "d" if length else "a")
                c["told"] |= {"f"} if "F" in flags else set()
            c["told"] |= {"r"} if "R" in flags else set()
        return c["number"], before

    def open(self, key, told):
        self.conversations[key] = {"number": self.count, "base": {}, "told": set(told)}
        self.count += 1
        return self.conversations[key]


FLAGS = {"S": 2, "SA": 18, "A": 16, "PA": 24, "FA": 17, "F": 1, "R": 4, "RA": 20, "SF": 3}


SEGMENT = st.tuples(
    st.sampled_from([(1, 2), (2, 1), (1, 3)]),
    st.sampled_from(sorted(FLAGS)),
    st.sampled_from([0, 5, 6, 2**32 - 1]),
    st.sampled_from([0, 5, 6, 7]),
    st.sampled_from([0, 0, 8]),
)


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(SEGMENT, max_size=12))
def test_streams_are_those_of_the_naive_twin(segments):
    """Any segments, closely spaced: the number of the first, the completeness with the last."""
    twin = Wireshark()
    words, number_of, shown = [], {}, {}
    for frame, (ports, flags, seq, ack, length) in enumerate(segments, 1):
        number_of[frame], before = twin.take(*ports, flags, seq, ack, length)
        shown[number_of[frame]] = sum({"s": 1, "h": 2, "a": 4, "d": 8, "f": 16, "r": 32}[b] for b in before)
        words += record(frame, frame * 10**6, (1, 1), ports, seq, ack, FLAGS[flags], LEN=length)
    for engine in (Engine(Settings()), watched_engine()(Settings())):
        batch = Batch(array("q", words), len(segments))
        rows = rows_of([batch], engine)
        frames = defaultdict(set)
        for s in range(0, len(words), k.SEGMENT_SIZE):
            frames[batch.segments[s + k.S_CONNECTION]].add(batch.segments[s + k.S_FRAME])
        for row in rows:
            number = row["tcp_stream"]
            assert number == number_of[row["first_frame"]]
            # Where Wireshark puts the row's segments, and no others, into one stream.
            if frames[row["conn_id"]] == {frame for frame, other in number_of.items() if other == number}:
                assert row["wireshark_completeness"] == shown[number]


def test_more_streams_than_are_remembered():
    """Beyond the bound the older half is forgotten, and numbering goes on; what is recent keeps its number."""
    lines = "".join(
        f"port {1000 + i} 80\n{i / 100} > S 0:0(0)\n{i / 100 + 0.001} < R. 0:0(0) ack 1\n" for i in range(500)
    )
    made = Engine(Settings())
    made.control[k.K_STREAM_MOST] = 2048
    numbers = []
    for i in range(6):
        text = "\n".join([f"addr 10.1.0.{i} 10.0.0.2", lines])
        made.feed(parse(text))
        numbers.append(made.control[k.K_NEXT_STREAM])
        if i == 2:
            made.feed(parse("addr 10.2.0.1 10.0.0.2\n" + OPEN))
        if i == 3:
            assert made.forgotten > 0
            closing = parse("addr 10.2.0.1 10.0.0.2\n" + CLOSE)
            batch = SimpleNamespace(segments=closing.segments, count=closing.count)
            made.feed(batch)
            streams = batch.segments[k.S_STREAM :: k.SEGMENT_SIZE]
            assert [number >> k.STREAM_SHIFT for number in streams] == [1500] * batch.count
    assert numbers == [500, 1000, 1500, 2001, 2501, 3001]
    assert len(made.tables.known) <= 4 * 4096


# --- tshark itself ----------------------------------------------------------------------------------------------------


def tshark(path):
    """Stream, payload length and completeness of each frame that tshark calls TCP, by its number; None for none."""
    fields = ("frame.number", "tcp.stream", "tcp.len", "tcp.completeness")
    command = ["tshark", "-n", "-r", str(path), "-Y", "tcp and not icmp and not icmpv6", "-T", "fields"]
    told = subprocess.run(
        [*command, *(x for f in fields for x in ("-e", f))], capture_output=True, text=True, check=True
    ).stdout
    rows = (line.split("\t") for line in told.splitlines())
    return {int(frame): tuple(int(word) if word else None for word in words) for frame, *words in rows}


def ours(trace):
    """The same from the segments table."""
    columns = trace.segments[["frame", "tcp_stream", "payload_len", "tcp_completeness"]].astype(object)
    rows = columns.where(columns.notna(), None).itertuples(index=False)
    return {frame: (stream, length, completeness) for frame, stream, length, completeness in rows}


def same_frames(path):
    """Hold the segments table to tshark's word, frame by frame; without a length there, it has 0."""
    told = {frame: (stream, length or 0, known) for frame, (stream, length, known) in tshark(path).items()}
    assert ours(analyze(path, tables=["segments"])) == told


needs_tshark = pytest.mark.skipif(not shutil.which("tshark"), reason="no tshark")


@pytest.mark.slow
@needs_tshark
@pytest.mark.parametrize("names", [tuple(HOSTILE)[n::8] for n in range(8)], ids="{0[0]} and others".format)
def test_hostile_frames_have_tsharks_streams_and_lengths(names, tmp_path):
    """Headers that contradict themselves, captures cut short, what ICMP errors quote; several in one capture."""
    frames = [frame for name in names for frame in HOSTILE[name]]
    same_frames(written(tmp_path / "hostile.pcap", frames))


@pytest.mark.slow
@needs_tshark
@pytest.mark.parametrize("seed", range(6))
def test_frames_with_random_bytes_have_tsharks_streams_and_lengths(seed, tmp_path):
    """The samples, one behind the other, a hundredth of the bytes of their headers changed."""
    chance = random.Random(seed)
    samples = sorted((Path(__file__).parents[1] / "sample_pcaps").glob("*.pcap"))[seed::6]
    assert samples
    joined = bytearray(samples[0].read_bytes()[:24])
    for sample in samples:
        content = bytearray(sample.read_bytes())
        assert content[:24] == joined[:24]
        at = 24
        while at < len(content):
            size = int.from_bytes(content[at + 8 : at + 12], "little")
            for place in range(at + 16 + 14, at + 16 + min(size, 74)):
                if chance.random() < 0.01:
                    content[place] = chance.randrange(256)
            at += 16 + size
        joined += content[24:]
    path = tmp_path / "joined.pcap"
    path.write_bytes(joined)
    same_frames(path)


@pytest.mark.slow
@needs_tshark
def test_streams_lengths_and_completeness_are_tsharks(tmp_path):
    """The sample captures, frame by frame."""
    samples = sorted((Path(__file__).parents[1] / "sample_pcaps").glob("*.pcap*"))
    assert samples
    for sample in samples:
        fields = ("frame.number", "tcp.stream", "tcp.len", "tcp.completeness")
        command = ["tshark", "-n", "-r", str(sample), "-Y", "tcp and not icmp and not icmpv6", "-T", "fields"]
        told = subprocess.run(
            [*command, *(x for f in fields for x in ("-e", f))], capture_output=True, text=True, check=True
        ).stdout
        frames = {int(f): (int(s), int(n), int(c)) for f, s, n, c in (line.split("\t") for line in told.splitlines())}
        trace = analyze(str(sample), tables=["segments"])
        segments, connections = trace.segments, trace.connections
        assert dict(zip(segments["frame"], segments["payload_len"], strict=True)) == {
            f: n for f, (_, n, _) in frames.items()
        }
        last = {s: c for s, _, c in frames.values()}
        for row in connections.to_dict("records"):
            assert row["tcp_stream"] == frames[row["first_frame"]][0], sample.name
        whole = connections.groupby("tcp_stream")["wireshark_completeness"].last().to_dict()
        assert {s: last[s] for s in whole} == whole, sample.name
