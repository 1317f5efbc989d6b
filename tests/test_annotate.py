"""The capture again as pcapng, with comments: the frames as they were, what was there kept, ours behind it."""

from __future__ import annotations

import gzip
import io
import shutil
import struct
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcptrace_fsm.capture.containers import open_capture
from tcptrace_fsm.cli import app as cli
from tcptrace_fsm.views import annotate

from . import builders as b
from . import fakes
from .test_cli import close_by_client

BEGAN = 1_700_000_000
FRAMES = [frame for _, frame in close_by_client()]
CHANGES = {
    1: ["client CLOSED -> SYN_SENT (sent)", "server LISTEN -> SYN_RECEIVED (acked)"],
    2: ["client SYN_SENT -> ESTABLISHED (acked)"],
    3: ["server SYN_RECEIVED -> ESTABLISHED (acked)"],
    6: ["client ESTABLISHED -> FIN_WAIT_1 (sent)", "server ESTABLISHED -> CLOSE_WAIT (acked)"],
}


def run(*arguments, capsys):
    status = cli.run_command(["annotate", *map(str, arguments)])
    return status, *capsys.readouterr()


def frames(data):
    """Time (ns), original length, link type and bytes of every frame."""
    capture = open_capture(io.BytesIO(data))
    return [batch.frame(batch.first_frame + i) for batch in capture.segments() for i in range(batch.frame_count)]


def blocks(data, order="<"):
    at = 0
    while at < len(data):
        kind, size = struct.unpack(order + "II", data[at : at + 8])
        yield kind, data[at : at + size]
        at += size


def comments(data, order="<"):
    """The comments of each frame, read here anew."""
    made = []
    for kind, block in blocks(data, order):
        if kind in {2, 6}:
            (size,) = struct.unpack(order + "I", block[20:24])
            options, found = block[28 + size + (-size % 4) : -4], []
            while options:
                code, length = struct.unpack(order + "HH", options[:4])
                if code == 1:
                    found.append(options[4 : 4 + length].decode())
                options = options[4 + length + (-length % 4) :]
            made.append(found)
        elif kind == 3:
            made.append([])
    return made


def stamped(nano=False):
    return [(BEGAN * 10 ** (9 if nano else 6) + 1_234_567 * n + 1, frame) for n, frame in enumerate(FRAMES)]


KINDS = {
    "microseconds": lambda: b.pcap(stamped()),
    "nanoseconds": lambda: b.pcap(stamped(nano=True), magic=0xA1B23C4D),
    "big-endian": lambda: b.pcap(stamped(), order=">"),
    "patched by Kuznetzov": lambda: b.pcap(stamped(), magic=0xA1B2CD34),
    "version 2.3": lambda: b.pcap([(*s, len(s[1]) + 9) for s in stamped()], version=(2, 3)),
    "cut frames": lambda: b.pcap([(t, f[:60], len(f)) for t, f in stamped()]),
    "snoop": lambda: b.snoop(stamped()),
    "pcapng": lambda: b.section() + b.interface() + b"".join(b.packet(t, f) for t, f in stamped()),
    "pcapng, nanoseconds": lambda: (
        b.section(">")
        + b.interface(tsresol=9, order=">")
        + b"".join(b.packet(t, f, order=">") for t, f in stamped(nano=True))
    ),
    "obsolete packet blocks": lambda: b.section() + b.interface() + b"".join(b.old_packet(t, f) for t, f in stamped()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_frames_are_the_same_and_bear_what_happened(tmp_path, capsys, kind):
    whole = KINDS[kind]()
    (tmp_path / "in").write_bytes(whole)
    status, out, err = run(tmp_path / "in", "-o", tmp_path / "out.pcapng", capsys=capsys)
    assert (status, out) == (0, "")
    assert "8 frames written to" in err
    made = (tmp_path / "out.pcapng").read_bytes()
    assert frames(made) == frames(whole)
    found = comments(made, ">" if "nanoseconds" in kind and "pcapng" in kind else "<")
    assert len(found) == len(FRAMES)
    for number, texts in CHANGES.items():
        assert found[number - 1][: len(texts)] == texts
    assert not any("->" in text for text in found[3] + found[4])


@pytest.mark.parametrize("order", ["<", ">"])
def test_what_was_in_a_pcapng_stays(tmp_path, capsys, order):
    old = b.option(1, b"look at this", order) + b.option(2, b"\0\0\0\1", order) + b.option(0, b"", order)
    unended = b.option(1, "größer".encode(), order)
    packets = [b.packet(BEGAN * 10**6 + n, f, number=n % 2, order=order, options=old) for n, f in enumerate(FRAMES)]
    packets[1] = b.packet(BEGAN * 10**6 + 1, FRAMES[1], order=order, options=unended)
    packets[2] = b.simple_packet(FRAMES[2], order=order)
    head = b.section(order, b.option(1, b"a section", order)) + b.interface(name=b"eth0", order=order)
    head += b.interface(tsresol=9, order=order)
    vendor, tail = b.block(0x0BAD, b"vendor's own" * 10, order), b.statistics(received=8, dropped=0, order=order)
    whole = head + b"".join(packets[:4]) + vendor + b"".join(packets[4:]) + tail
    (tmp_path / "in.pcapng").write_bytes(whole)
    assert run(tmp_path / "in.pcapng", "-o", tmp_path / "out.pcapng", capsys=capsys)[0] == 0
    made = (tmp_path / "out.pcapng").read_bytes()
    assert frames(made) == frames(whole)
    then, now = list(blocks(whole, order)), list(blocks(made, order))
    kinds = [kind for kind, _ in then]
    assert kinds.count(3) == 1
    assert [kind for kind, _ in now] == [6 if kind == 3 else kind for kind in kinds], "frame 3 bears a comment"
    found = comments(made, order)
    assert found[0][:3] == ["look at this", *CHANGES[1]]
    assert found[1][:2] == ["größer", *CHANGES[2]]
    for (kind, before), (_, after) in zip(then, now, strict=True):
        if kind not in {3, 6}:
            assert after == before, "sections, interfaces, statistics, what nobody knows"
    assert found[2] == CHANGES[3]
    assert b.option(2, b"\0\0\0\1", order) in now[3][1]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("resolution", [None, 9, 3, 0x8A, 12])
def test_simple_packets_get_room_for_comments_and_keep_their_bytes(tmp_path, capsys, order, resolution):
    """Only those that bear a comment change, and they have the time that they were taken to have."""
    head = b.section(order) + b.interface(tsresol=resolution, tsoffset=BEGAN, snaplen=60, order=order)
    head += b.interface(tsresol=9, order=order)
    cut = [f[:60] for f in FRAMES]
    timed = b.packet(BEGAN * 10**9 + 4_000_000_000, cut[0], number=1, original=len(FRAMES[0]), order=order)
    rest = [b.simple_packet(f, original=len(whole), order=order) for f, whole in zip(cut, FRAMES, strict=True)][1:]
    (tmp_path / "in.pcapng").write_bytes(head + timed + b"".join(rest))
    assert run(tmp_path / "in.pcapng", "-o", tmp_path / "out.pcapng", capsys=capsys)[0] == 0
    made = (tmp_path / "out.pcapng").read_bytes()
    assert frames(made) == frames(head + timed + b"".join(rest))
    found = comments(made, order)
    assert all(found[number - 1][: len(texts)] == texts for number, texts in CHANGES.items())
    kinds = [kind for kind, _ in blocks(made, order)][3:]
    assert kinds == [6 if texts else 3 for texts in found]
    assert {3, 6} == set(kinds)


def test_simple_packets_before_any_time(tmp_path, capsys):
    whole = b.section() + b.interface() + b"".join(b.simple_packet(f) for f in FRAMES)
    (tmp_path / "in.pcapng").write_bytes(whole)
    assert run(tmp_path / "in.pcapng", "-o", tmp_path / "out.pcapng", capsys=capsys)[0] == 0
    assert [f[-1] for f in frames((tmp_path / "out.pcapng").read_bytes())] == [f[-1] for f in frames(whole)]


def test_several_captures_into_one(tmp_path, capsys):
    for name, part in (("a.pcap", stamped()[:3]), ("b.pcap", stamped()[3:])):
        (tmp_path / name).write_bytes(b.pcap(part))
    assert run(tmp_path / "[ab].pcap", "-o", tmp_path / "out", capsys=capsys)[0] == 0
    made = (tmp_path / "out").read_bytes()
    assert frames(made) == frames(b.pcap(stamped()))
    found = comments(made)
    assert all(found[number - 1][: len(texts)] == texts for number, texts in CHANGES.items())


def test_findings_and_diagnoses_are_said_where_they_show():
    from types import SimpleNamespace

    noted = annotate.Comments()
    done = fakes.finished([], findings=[fakes.finding(0, "zero_window", "low"), fakes.finding(None, frame=None)])
    done.diagnoses = [
        SimpleNamespace(severity="high", cause="path_loss", confidence="likely", message="Lost.", frame=7)
    ]
    noted.take(done)
    assert noted.by_frame([9]) == {
        7: ["LOW zero_window: Something, with a comma.", "HIGH path_loss (likely): Lost."],
    }


@pytest.mark.slow
def test_a_pipe_to_a_pipe_and_compression(tmp_path, capsys):
    done = subprocess.run(
        [sys.executable, "-m", "tcptrace_fsm", "annotate", "-", "-o", "-"],
        input=b.pcap(stamped()),
        capture_output=True,
        check=True,
    )
    assert comments(done.stdout)[1][:1] == CHANGES[2]
    (tmp_path / "in.pcap.gz").write_bytes(gzip.compress(b.pcap(stamped())))
    assert run(tmp_path / "in.pcap.gz", "-o", tmp_path / "out.pcapng.gz", capsys=capsys)[0] == 0
    assert gzip.decompress((tmp_path / "out.pcapng.gz").read_bytes()) == done.stdout


def test_a_capture_cut_short_gives_what_there_is(tmp_path, capsys):
    (tmp_path / "in.pcap").write_bytes(b.pcap(stamped())[:-3])
    status, _, err = run(tmp_path / "in.pcap", "-o", tmp_path / "out", capsys=capsys)
    assert status == 0
    assert "7 frames written" in err
    assert "analysed up to there" in err


def test_it_does_not_write_over_its_input(tmp_path, capsys):
    content = b.pcap(stamped())
    (tmp_path / "in.pcap").write_bytes(content)
    (tmp_path / "link.pcap").symlink_to("in.pcap")
    for out in ("in.pcap", "link.pcap"):
        status, _, err = run(tmp_path / "in.pcap", "-o", tmp_path / out, capsys=capsys)
        assert status == 2
        assert "is the capture itself" in err
    assert (tmp_path / "in.pcap").read_bytes() == content


@pytest.mark.slow
@given(st.binary(max_size=40), st.binary(max_size=40), st.lists(st.text(max_size=20), max_size=3))
def test_no_options_however_damaged_are_lost(content, options, texts):
    block = b.packet(5, content, options=options)
    made = annotate.with_comments(block, texts)
    size = int.from_bytes(made[4:8], "little")
    assert size == len(made) == int.from_bytes(made[-4:], "little")
    assert made[8 : 28 + len(content)] == block[8 : 28 + len(content)]
    begin = 28 + len(content) + (-len(content) % 4)
    was, now = block[begin:-4], made[begin:-4]
    ours = b"".join(b.option(1, text.encode()) for text in texts)
    wanted = [was[:at] + ours + was[at:] for at in range(0, len(was) + 1, 4)]
    assert now in wanted or now == was + ours + b.option(0, b""), "ours stand together, and options end"


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
@pytest.mark.parametrize("name", ["lost_time_wait.pcap", "straight_to_time_wait.pcapng", "data_lost.pcapng"])
def test_tshark_reads_the_same_frames_and_the_comments(tmp_path, capsys, name):
    source, out = f"sample_pcaps/{name}", tmp_path / "out.pcapng"
    assert run(source, "-o", out, capsys=capsys)[0] == 0

    def shown(path, *only):
        words = ["tshark", "-r", str(path), *only]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    whole = ("-T", "fields", *(w for f in ("frame.time_epoch", "frame.len", "frame.cap_len") for w in ("-e", f)))
    assert shown(out, *whole) == shown(source, *whole)
    bytes_of = [shown(path, "-x", "-o", "gui.column.format:No.,%m") for path in (source, out)]
    assert bytes_of[0] == bytes_of[1] != ""
    told = shown(out, "-Y", "frame.comment", "-T", "fields", "-e", "frame.number", "-e", "frame.comment")
    assert "1\tclient CLOSED -> SYN_SENT (sent),server LISTEN -> SYN_RECEIVED" in told
    if name.startswith("lost"):
        assert "HIGH rst_after_time_wait_loss: 10.0.0.1:" in told
