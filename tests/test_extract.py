"""Extraction: the frames of chosen connections, byte for byte, in the format they were in."""

from __future__ import annotations

import gzip
import io
import shutil
import struct
import subprocess
import sys

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

import tcptrace_fsm as tf
from tcptrace_fsm.capture.containers import open_capture
from tcptrace_fsm.cli import app as cli
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.runs.run import Run
from tcptrace_fsm.views import extract

from . import builders
from .many_files import pcap_frames, side_by_side, town

BEGAN = 1_700_000_000


def segment(port, payload=b"", back=False, **more):
    ports = {"src_port": 80, "dst_port": port} if back else {"src_port": port, "dst_port": 80}
    source, target = ("10.0.0.2", "10.0.0.1") if back else ("10.0.0.1", "10.0.0.2")
    return builders.ethernet(builders.ipv4(builders.tcp(payload, **ports, **more), src=source, dst=target))


OTHER = builders.ethernet(builders.ipv4(builders.udp(b"hello"), protocol=17))
FRAMES = [
    segment(40000, seq=100, ack=0, flags="S"),
    OTHER,
    segment(40001, seq=900, ack=0, flags="S"),
    segment(40000, back=True, seq=500, ack=101, flags="SA"),
    segment(40000, b"some payload", seq=101, ack=501, flags="PA"),
    segment(40001, back=True, seq=0, ack=901, flags="RA"),
    OTHER,
    segment(40000, seq=113, ack=501, flags="R"),
]
CONNECTIONS = {0: [0, 3, 4, 7], 1: [2, 5]}


def stamped(frames, nano=False):
    unit = 10**9 if nano else 10**6
    return [(BEGAN * unit + 1234567 * n + 1, frame) for n, frame in enumerate(frames)]


def run(*arguments, capsys):
    status = cli.run_command(["extract", *map(str, arguments)])
    return status, *capsys.readouterr()


def chosen(ids):
    return sorted(n for i in ids for n in CONNECTIONS[i])


PCAPS = {
    "microseconds": {},
    "nanoseconds": {"magic": 0xA1B23C4D},
    "big-endian": {"order": ">"},
    "patched by Kuznetzov": {"magic": 0xA1B2CD34},
    "version 2.3": {"version": (2, 3)},
}


@pytest.mark.parametrize("ids", [(0,), (1,), (1, 0)])
@pytest.mark.parametrize("kind", PCAPS)
def test_pcap_records_are_copied(tmp_path, capsys, kind, ids):
    times = stamped(FRAMES, nano=kind == "nanoseconds")
    (tmp_path / "in.pcap").write_bytes(builders.pcap(times, **PCAPS[kind]))
    status, out, err = run(tmp_path / "in.pcap", *ids, "-o", tmp_path / "out.pcap", capsys=capsys)
    assert (status, out) == (0, "")
    assert f"{len(chosen(ids))} frames of connection" in err
    wanted = builders.pcap([times[n] for n in chosen(ids)], **PCAPS[kind])
    assert (tmp_path / "out.pcap").read_bytes() == wanted
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.pcap", "out.pcap"]


def test_a_cut_frame_keeps_both_its_lengths(tmp_path, capsys):
    times = [(*s, len(s[1]) + 1000) for s in stamped(FRAMES)]
    for version in ((2, 4), (2, 3)):
        (tmp_path / "in.pcap").write_bytes(builders.pcap(times, version=version))
        assert run(tmp_path / "in.pcap", 1, "-o", tmp_path / "out.pcap", capsys=capsys)[0] == 0
        wanted = builders.pcap([times[n] for n in chosen([1])], version=version)
        assert (tmp_path / "out.pcap").read_bytes() == wanted


def test_snoop_records_are_copied(tmp_path, capsys):
    times = stamped(FRAMES)
    (tmp_path / "in.snoop").write_bytes(builders.snoop(times))
    assert run(tmp_path / "in.snoop", 0, "-o", tmp_path / "out.snoop", capsys=capsys)[0] == 0
    assert (tmp_path / "out.snoop").read_bytes() == builders.snoop([times[n] for n in chosen([0])])


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_blocks_are_copied_with_their_options(tmp_path, capsys, order):
    b = builders
    comment = b.option(1, b"look at this", order) + b.option(0, b"", order)
    secrets = b.block(10, struct.pack(order + "II", 0x544C534B, 4) + b"KEY ", order)
    unknown = b.block(0x0BAD, b"vendor's own" * 10000, order)
    packets = [
        b.packet(BEGAN * 10**6 + n, frame, number=n % 2, order=order, options=comment) for n, frame in enumerate(FRAMES)
    ]
    packets[4] = b.old_packet(BEGAN * 10**6 + 4, FRAMES[4], order=order)
    packets[5] = b.simple_packet(FRAMES[5], order=order)
    head = b.section(order, b.option(1, b"a section", order)) + b.interface(name=b"eth0", order=order)
    head += b.interface(tsresol=9, order=order)
    tail = b.statistics(received=8, dropped=0, order=order)
    (tmp_path / "in.pcapng").write_bytes(
        head + secrets + b"".join(packets[:6]) + unknown + b"".join(packets[6:]) + tail
    )
    assert run(tmp_path / "in.pcapng", 0, 1, "-o", tmp_path / "out.pcapng", capsys=capsys)[0] == 0
    copied = b"".join(packets[n] for n in chosen([0, 1]) if n < 6)
    assert (tmp_path / "out.pcapng").read_bytes() == head + secrets + copied + unknown + packets[7] + tail


def test_a_sections_length_becomes_unknown(tmp_path, capsys):
    header = builders.block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, 4711))
    rest = builders.interface() + b"".join(builders.packet(BEGAN * 10**6, f) for f in FRAMES)
    (tmp_path / "in.pcapng").write_bytes(header + rest)
    assert run(tmp_path / "in.pcapng", 1, "-o", tmp_path / "out.pcapng", capsys=capsys)[0] == 0
    assert (tmp_path / "out.pcapng").read_bytes().startswith(builders.section() + builders.interface())


def test_compression_follows_the_outputs_name(tmp_path, capsys):
    plain = builders.pcap(stamped(FRAMES))
    wanted = builders.pcap([stamped(FRAMES)[n] for n in chosen([0])])
    (tmp_path / "in.pcap.gz").write_bytes(gzip.compress(plain))
    for name, unpack in (
        ("out.pcap", bytes),
        ("out.pcap.gz", gzip.decompress),
        ("out.pcap.zst", lambda packed: zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed)).read()),
    ):
        assert run(tmp_path / "in.pcap.gz", 0, "-o", tmp_path / name, capsys=capsys)[0] == 0
        assert unpack((tmp_path / name).read_bytes()) == wanted


@pytest.mark.slow
def test_a_pipe_to_a_pipe(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tcptrace_fsm", "extract", "-", "1", "-o", "-"],
        input=builders.pcap(stamped(FRAMES)),
        capture_output=True,
        check=True,
    )
    assert done.stdout == builders.pcap([stamped(FRAMES)[n] for n in chosen([1])])
    done = subprocess.run(
        [sys.executable, "-m", "tcptrace_fsm", "extract", "-", "1", "-o", tmp_path / "x"],
        input=b"",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert not (tmp_path / "x").exists()


def test_several_captures_are_one_timeline(tmp_path, capsys):
    times = stamped(FRAMES)
    for name, part in (("a.pcap", times[:1]), ("b.pcap", times[1:3]), ("c.pcap", times[3:])):
        (tmp_path / name).write_bytes(builders.pcap(part))
    assert run(tmp_path / "[abc].pcap", 0, "-o", tmp_path / "out", capsys=capsys)[0] == 0
    assert (tmp_path / "out").read_bytes() == builders.pcap([times[n] for n in chosen([0])])
    (tmp_path / "c.pcap").write_bytes(builders.pcap(stamped(FRAMES, nano=True)[3:], magic=0xA1B23C4D))
    status, _, err = run(tmp_path / "[abc].pcap", 0, "-o", tmp_path / "mixed", capsys=capsys)
    assert status == 2
    assert "another format" in err
    assert not (tmp_path / "mixed").exists()
    # One of another format that has no frame of the connection does no harm.
    (tmp_path / "c.pcap").write_bytes(builders.pcap([], magic=0xA1B23C4D))
    assert run(tmp_path / "[abc].pcap", 0, "-o", tmp_path / "fine", capsys=capsys)[0] == 0
    assert (tmp_path / "fine").read_bytes() == builders.pcap(times[:1])


def test_pcapng_sections_follow_one_another(tmp_path, capsys):
    b = builders
    parts = []
    for name, frames in (("a.pcapng", FRAMES[:4]), ("b.pcapng", FRAMES[4:])):
        packets = [b.packet(BEGAN * 10**6, frame) for frame in frames]
        (tmp_path / name).write_bytes(b.section() + b.interface() + b"".join(packets))
        parts.append(packets)
    assert run(tmp_path / "[ab].pcapng", 0, "-o", tmp_path / "out", capsys=capsys)[0] == 0
    head = b.section() + b.interface()
    assert (tmp_path / "out").read_bytes() == head + parts[0][0] + parts[0][3] + head + parts[1][0] + parts[1][3]


def test_fragments_come_along(tmp_path, capsys):
    datagram = builders.tcp(b"x" * 64, src_port=40000, dst_port=80, seq=101, ack=501, flags="PA")
    stray = builders.ethernet(builders.ipv4(datagram[:40], more=True, ident=9, src="10.0.0.9"))
    pieces = [
        builders.ethernet(builders.ipv4(datagram[at : at + 40], fragment=at, more=at + 40 < len(datagram), ident=8))
        for at in range(0, len(datagram), 40)
    ]
    frames = [OTHER, FRAMES[0], FRAMES[2], stray, pieces[1], FRAMES[3], pieces[0], pieces[2], FRAMES[5]]
    (tmp_path / "in.pcap").write_bytes(builders.pcap(stamped(frames)))
    assert run(tmp_path / "in.pcap", 0, "-o", tmp_path / "out", capsys=capsys)[0] == 0
    times = stamped(frames)
    assert (tmp_path / "out").read_bytes() == builders.pcap([times[n] for n in (1, 4, 5, 6, 7)])


def test_a_capture_cut_short_gives_what_there_is(tmp_path, capsys):
    (tmp_path / "in.pcap").write_bytes(builders.pcap(stamped(FRAMES))[:-3])
    status, _, err = run(tmp_path / "in.pcap", 0, "-o", tmp_path / "out", capsys=capsys)
    assert status == 0
    assert "3 frames" in err
    assert "analysed up to there" in err
    assert (tmp_path / "out").read_bytes() == builders.pcap([stamped(FRAMES)[n] for n in (0, 3, 4)])


@pytest.mark.parametrize(
    "arguments, says",
    [
        (["in.pcap", "-o", "out"], "name the connections"),
        (["in.pcap", "2", "-o", "out"], "no connection 2; in.pcap has 2 connections"),
        (["in.pcap", "0", "7", "-o", "out"], "no connection 7"),
        (["in.pcap", "0"], "--out"),
        (["0", "-o", "out"], "name a capture"),
        (["in.pcap", "0", "-o", "in.pcap"], "is the capture itself"),
        (["in.pcap", "0", "-o", "link.pcap"], "is the capture itself"),
        (["in.pcap", "0", "-o", "nowhere/out"], "cannot write to nowhere/out"),
        (["in.pcap", "0", "-o", "."], "cannot write"),
    ],
)
def test_wrong_usage_is_one_line_and_leaves_nothing(tmp_path, capsys, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    content = builders.pcap(stamped(FRAMES))
    (tmp_path / "in.pcap").write_bytes(content)
    (tmp_path / "link.pcap").symlink_to("in.pcap")
    status, out, err = run(*arguments, capsys=capsys)
    assert (status, out) == (4 if "nowhere" in says else 2, "")  # there is no such folder
    assert says in err
    assert err.count("\n") == 1
    assert (tmp_path / "in.pcap").read_bytes() == content
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.pcap", "link.pcap"]


def test_an_older_output_is_replaced_whole(tmp_path, capsys):
    (tmp_path / "in.pcap").write_bytes(builders.pcap(stamped(FRAMES)))
    (tmp_path / "out").write_bytes(b"old" * 10_000)
    (tmp_path / "out").chmod(0o640)
    assert run(tmp_path / "in.pcap", 5, "-o", tmp_path / "out", capsys=capsys)[0] == 2
    assert (tmp_path / "out").read_bytes() == b"old" * 10_000
    assert run(tmp_path / "in.pcap", 1, "-o", tmp_path / "out", capsys=capsys)[0] == 0
    assert (tmp_path / "out").read_bytes() == builders.pcap([stamped(FRAMES)[n] for n in chosen([1])])
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o640


# --- nothing is lost, nothing is twice --------------------------------------------------------------------------------
frames_of_anything = st.lists(
    st.one_of(
        st.just(OTHER),
        st.binary(max_size=60),
        st.builds(
            segment,
            st.sampled_from((40000, 40001)),
            st.binary(max_size=20),
            st.booleans(),
            seq=st.integers(0, 300),
            ack=st.integers(0, 300),
            flags=st.sampled_from(("S", "SA", "A", "PA", "FA", "R")),
        ),
    ),
    max_size=25,
)


@pytest.mark.slow
@settings(max_examples=60)
@given(frames_of_anything)
def test_all_connections_and_the_rest_are_all_frames(frames):
    plain = builders.pcap(stamped(frames))
    run_ = Run([io.BytesIO(plain)], Settings(segments=True, fragments=True))
    sinks = [extract.Frames({n}) for n in range(40)]
    everything = extract.Frames(range(40))
    run_.go([*sinks, everything])
    assert run_.tally.connections < 40
    numbers = [n for sink in sinks for n in sink.numbers(run_.captures)]
    assert len(numbers) == len(set(numbers))
    assert sorted(numbers) == everything.numbers(run_.captures)
    assert len(numbers) == run_.summary()["frames"]["tcp"]
    out = io.BytesIO()
    rest = [n for n in range(1, len(frames) + 1) if n not in numbers]
    for which in (sorted(numbers), rest):
        copied = extract.copy_frames([io.BytesIO(plain)], [len(frames)], which, out)
        assert copied == len(which)
    assert len(out.getvalue()) == len(plain) + (24 if rest and numbers else 0 if frames else -24)


@given(st.sampled_from(("pcap", "pcapng", "snoop")), st.lists(st.binary(max_size=50), max_size=10), st.integers(0, 400))
def test_frames_are_counted_as_the_analysis_counts_them(kind, frames, cut):
    whole = {
        "pcap": lambda: builders.pcap(stamped(frames)),
        "snoop": lambda: builders.snoop(stamped(frames)),
        "pcapng": lambda: b"".join(
            [builders.section(), builders.interface(), *(builders.packet(n, f) for n, f in enumerate(frames))]
        ),
    }[kind]()
    cut_short = whole[: max(len(whole) - cut, 28)]
    capture = open_capture(io.BytesIO(cut_short))
    for _ in capture.segments():
        pass
    pieces = list(extract.records(io.BytesIO(cut_short)))
    assert sum(piece.frame for piece in pieces) == capture.frames
    assert cut_short.startswith(b"".join(piece.content for piece in pieces))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
@pytest.mark.parametrize("name", ["same_port_again.pcap", "straight_to_time_wait.pcapng", "data_lost.pcapng"])
def test_tshark_reads_the_same_frames(tmp_path, capsys, name):
    assert run(f"sample_pcaps/{name}", 0, "-o", tmp_path / name, capsys=capsys)[0] == 0

    def shown(path, *only):
        fields = ("frame.time_epoch", "frame.len", "tcp.seq_raw", "tcp.flags", "tcp.payload")
        done = subprocess.run(
            ["tshark", "-r", str(path), "-T", "fields", *(w for f in fields for w in ("-e", f)), *only],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    assert shown(tmp_path / name) == shown(f"sample_pcaps/{name}", "-Y", "tcp.stream == 0")


def test_frames_come_from_captures_side_by_side(tmp_path):
    """Two queues hold a connection's frames between them: each gives its own, in its own order."""
    frames = town(seed=5, connections=12)
    whole = tf.analyze(io.BytesIO(builders.pcap(frames)), tables=["segments"])
    paths = side_by_side(tmp_path, frames, [n % 2 for n in range(len(frames))])
    out = tmp_path / "out.pcap"
    assert cli.run_command(["extract", *map(str, paths), "3", "-o", str(out)]) == 0
    found = {record[16:] for record in pcap_frames(out)[1]}
    wanted = whole.segments.loc[whole.segments.conn_id == 3, "frame"]
    assert found == {frames[n - 1][1] for n in wanted}
