"""Capture files: every variant of pcap and pcapng, whole, in bits, cut anywhere, compressed, damaged, or no capture."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcptrace_fsm.capture import containers as capture_module
from tcptrace_fsm.errors import CaptureError
from tcptrace_fsm.kernels import layout as at
from tcptrace_fsm.kernels import walk as installed
from tests import builders as make
from tests.capturing import FRAME, OTHER, SAMPLES, START, expected_rows, read, sample_pcapng, some_frames
from tests.kernels import Watched, uncompiled, words

plain = uncompiled("walk")


# --- pcap -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", [0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34])
def test_pcap_variants(order, magic):
    """Both byte orders; microseconds, nanoseconds, and the modified form with longer record headers."""
    unit = 10**9 if magic == 0xA1B23C4D else 10**6
    capture, rows = read(make.pcap(some_frames(20, unit), order=order, magic=magic))
    assert rows == expected_rows(20)
    assert (capture.format, capture.link_types, capture.frames, capture.truncated) == ("pcap", [1], 20, None)
    assert (capture.first_time, capture.last_time) == (START * 10**9, START * 10**9 + 19 * 10**6)


def test_nanoseconds_are_kept():
    """A nanosecond file loses no digit."""
    _, rows = read(make.pcap([(START * 10**9 + 123456789, FRAME)], magic=0xA1B23C4D))
    assert rows == [(1, START * 10**9 + 123456789, 1000, 5)]


@pytest.mark.parametrize("version", [(2, 2), (2, 3), (2, 4), (543, 0)])
def test_old_versions_swap_the_lengths(version):
    """Before version 2.3 the original length came first; in 2.3 the larger one is the original."""
    data = make.pcap([(START * 10**6, FRAME)], version=version)
    if version[1] in {2, 3} and version[0] == 2:
        data = data[:32] + struct.pack("<II", 500, len(FRAME)) + data[40:]
    capture, rows = read(data)
    assert (len(rows), capture.truncated) == (1, None)


def test_frame_check_sequence_bits_are_no_link_type():
    """The upper bits of the link type field tell the length of the FCS (here 4 bytes)."""
    data = bytearray(make.pcap([(0, FRAME)]))
    data[20:24] = struct.pack("<I", 0x44000001)
    assert read(bytes(data))[0].link_types == [1]


def test_times_out_of_order():
    """First and last time are the least and the greatest, whatever the order in the file."""
    capture, _ = read(make.pcap([(START * 10**6 + i, OTHER) for i in (5, 9, 2)]))
    assert (capture.first_time, capture.last_time) == (START * 10**9 + 2000, START * 10**9 + 9000)


def test_header_alone_is_an_empty_capture():
    """No frame is not an error."""
    capture, rows = read(make.pcap([]))
    assert (rows, capture.frames, capture.first_time, capture.last_time) == ([], 0, None, None)


def test_no_frame_is_lost_between_batches():
    """More frames than one batch holds come in full, each once, in order."""
    count = capture_module.BATCH_FRAMES * 2 + 3
    _, rows = read(make.pcap(some_frames(count)))
    assert rows == expected_rows(count)


def test_snoop():
    """RFC 1761, as Solaris writes it."""
    capture, rows = read(make.snoop(some_frames(20)))
    assert rows == expected_rows(20)
    assert (capture.format, capture.link_types, capture.truncated) == ("snoop", [1], None)
    for link, reason in ((99, "data link type 99"), (4, "version 3")):
        data = make.snoop([], link=link)
        with pytest.raises(CaptureError, match=reason):
            read(data if link == 99 else data.replace(b"\0\0\0\2", b"\0\0\0\3", 1))
    damaged = make.snoop([(0, FRAME)]) + struct.pack(">IIIIII", 60, 60, 70, 0, 0, 0) + bytes(60)
    assert read(damaged)[0].truncated.endswith("a packet of 60 bytes, more than its block holds")


# --- pcapng -----------------------------------------------------------------------------------------------------------


SAMPLE_ROWS = [
    (1, START * 10**9, 1000, 5),
    (2, START * 10**9 + 7, 1000, 5),
    (4, START * 10**9 + 1000, 1000, 5),
]


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_blocks(order):
    """Each kind of block, in both byte orders: packets of all three kinds, two interfaces, names, drops, comments."""
    capture, rows = read(sample_pcapng(order))
    assert rows == SAMPLE_ROWS
    assert (capture.format, capture.link_types, capture.frames) == ("pcapng", [1, 101], 4)
    assert (capture.received, capture.dropped, capture.timeless) == (100, 5, 1)
    assert (capture.comments, capture.names) == (["a comment"], {"10.0.0.1": "host"})
    assert [(i.name, i.link_type, i.resolution) for i in capture.interfaces] == [
        ("eth0", 1, "10^-6 s"),
        ("", 101, "10^-9 s"),
    ]


def test_sections_may_change_byte_order_and_interfaces():
    """A new section header forgets the interfaces before it and may turn the byte order."""
    second = make.section(">") + make.interface(101, order=">") + make.packet(START * 10**6, FRAME[14:], order=">")
    capture, rows = read(sample_pcapng("<") + second)
    assert rows == [*SAMPLE_ROWS, (5, START * 10**9, 1000, 5)]
    assert [i.section for i in capture.interfaces] == [0, 0, 1]
    no_interface = make.section("<") + make.packet(0, FRAME)
    capture, rows = read(sample_pcapng("<") + no_interface)
    assert rows == SAMPLE_ROWS
    assert capture.truncated == f"byte {len(sample_pcapng()) + 28}: a packet of interface 0, which nothing describes"


RESOLUTIONS = [
    # (if_tsresol, if_tsoffset, stamp, ns)
    (6, None, 1_500_000, 1_500_000_000),
    (0, None, 3, 3_000_000_000),
    (3, None, 1234, 1_234_000_000),
    (9, None, 17, 17),
    (12, None, 17_999, 17),
    (0x80 | 10, None, 1536, 1_500_000_000),
    (0x80 | 32, None, (5 << 32) | (1 << 31), 5_500_000_000),
    (0x80 | 40, None, (5 << 40) | (1 << 39), 5_500_000_000),
    (0x80 | 62, None, 3 << 61, 1_500_000_000),
    (0x80, None, 5, 5_000_000_000),
    (6, 10, 1, 10_000_001_000),
    (6, -2, 3_000_000, 1_000_000_000),
    (6, -10, 1, 0),  # before 1970: held at its beginning
    (6, 2**62, 1, 2**32 * 10**9 + 1000),  # an offset beyond what any clock needs: held at 2**32 s
    (6, 2**62, 2**50, 2**62),  # beyond 2116: held there
    (0, None, 2**64 - 1, 2**62),
    (0x80, None, 2**63, 2**62),
    (127, None, 2**62, 4),
]


@pytest.mark.parametrize("resolution, offset, stamp, ns", RESOLUTIONS)
def test_time_resolutions(resolution, offset, stamp, ns):
    """if_tsresol by powers of ten and of two, if_tsoffset, and times that no clock shows."""
    data = make.section() + make.interface(1, tsresol=resolution, tsoffset=offset) + make.packet(stamp, FRAME)
    assert [row[1] for row in read(data)[1]] == [ns]


def test_simple_packets_are_cut_to_the_snaplen():
    """A simple packet block does not say how much of the frame it holds: the interface's limit does."""
    data = make.section() + make.interface(1, snaplen=60)
    long = make.ethernet(make.ipv4(make.tcp(bytes(200))))
    data += make.block(3, struct.pack("<I", len(long)) + long[:60])
    capture, rows = read(data)
    assert (rows, capture.truncated) == ([(1, 0, 1000, 200)], None)


def test_long_blocks_are_skipped_without_being_kept():
    """A block of 16 MB that nobody reads costs no memory; a longer one is damage."""
    data = make.section() + make.interface(1) + make.block(0x99, bytes(16_000_000)) + make.packet(0, FRAME)
    tracemalloc.start()
    capture, rows = read(data, chunk_size=4096)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(rows), capture.truncated) == (1, None)
    assert peak < 4_000_000
    begin = len(make.section() + make.interface(1))
    capture, _ = read(data[: begin + 20_000])
    assert capture.truncated.startswith(f"byte {begin + 20_000}: the capture ends inside a block")
    data = make.section() + make.interface(1) + struct.pack("<II", 0x99, 0xFFFFFFF0) + bytes(100)
    assert read(data)[0].truncated == f"byte {begin}: a block of 4294967280 bytes, which no such block can have"


DAMAGED = {
    "block of 8 bytes": (struct.pack("<III", 0x99, 8, 8), "a block of 8 bytes"),
    "two lengths": (make.block(0x99, b"abcd")[:-4] + struct.pack("<I", 20), "repeated as 20"),
    "packet beyond its block": (make.packet(0, FRAME)[:20] + struct.pack("<I", 90) + make.packet(0, FRAME)[24:], "90"),
    "packet block too short": (make.block(6, bytes(16)), "a block of 28 bytes"),
    "simple packet block too short": (make.block(3, b""), "a block of 12 bytes"),
    "interface nobody described": (make.packet(0, FRAME, number=1), "interface 1"),
    "interface block too short": (make.block(1, b"\1\0\0\0"), "a block of 16 bytes"),
    "section without its mark": (make.block(0x0A0D0D0A, bytes(16)), "byte-order mark"),
    "section of version 2": (make.section()[:12] + b"\2\0" + make.section()[14:], "version 2"),
    "packet of 300 kB": (make.packet(0, bytes(300_000)), "300000"),
}


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("chunk_size", [1 << 20, 5])
def test_damage_ends_the_reading_where_it_stands(name, chunk_size):
    """What came before the damage is analysed; the reason names the byte, whatever the chunks."""
    damage, reason = DAMAGED[name]
    before = make.section() + make.interface(1) + make.packet(0, FRAME)
    capture, rows = read(before + damage + make.packet(0, FRAME), chunk_size=chunk_size)
    assert rows == [(1, 0, 1000, 5)]
    assert capture.truncated.startswith(f"byte {len(before)}: ")
    assert reason in capture.truncated


def test_absurd_packet_length_in_pcap():
    """A record that promises 4 GB ends the reading; nothing is reserved for it."""
    data = make.pcap([(0, FRAME)]) + struct.pack("<IIII", 0, 0, 0xFFFFFFFF, 0xFFFFFFFF) + bytes(1000)
    capture, rows = read(data)
    assert len(rows) == 1
    assert capture.truncated == f"byte {40 + len(FRAME)}: a packet of 4294967295 bytes, more than any capture holds"


# --- whole, in bits, cut ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("chunk_size", [1, 2, 3, 7, 24, 100])
def test_chunks_make_no_difference(name, chunk_size):
    """A file read byte by byte gives what it gives in one piece."""
    whole, rows = read(SAMPLES[name])
    bits, again = read(SAMPLES[name], chunk_size=chunk_size)
    assert rows
    assert again == rows
    for attribute in ("outcomes", "first_time", "last_time", "link_types", "interfaces", "truncated", "names"):
        assert getattr(bits, attribute) == getattr(whole, attribute)


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLES)
def test_cut_at_every_offset(name):
    """Cut anywhere: an error inside the file header, afterwards the frames before the cut and a word about it."""
    data = SAMPLES[name]
    _, rows = read(data)
    header = 16 if name == "snoop" else 28 if "ng" in name else 24
    clean = 0
    for cut in range(len(data)):
        if cut < header:
            with pytest.raises(CaptureError):
                read(data[:cut])
            continue
        capture, some = read(data[:cut])
        assert some == rows[: len(some)]
        if capture.truncated is None:
            clean += 1  # the cut lies between two records
        else:
            assert capture.truncated.startswith("byte ")
        again, _ = read(data[:cut], chunk_size=11)
        assert again.truncated == capture.truncated
    assert clean == (9 if "ng" in name else 8)


@given(st.binary(max_size=300), st.sampled_from(["", *SAMPLES]), st.integers(1, 400), st.integers(1, 64))
def test_any_bytes_give_segments_or_a_capture_error(tail, name, keep, chunk_size):
    """Whatever follows a good beginning, reading ends, and every frame has an outcome (`read` checks the sum)."""
    data = SAMPLES.get(name, b"")[:keep] + tail
    try:
        whole, rows = read(data)
    except CaptureError as error:
        assert str(error).startswith("stream: byte ")  # noqa: PT017
        return
    bits, again = read(data, chunk_size=chunk_size)
    assert (again, bits.outcomes, bits.truncated) == (rows, whole.outcomes, whole.truncated)


@given(st.sampled_from(list(SAMPLES)), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=4))
@settings(max_examples=200)
def test_changed_bytes_never_raise(name, changes):
    """Bytes changed at random in a good file: segments or a CaptureError, and all frames counted."""
    data = bytearray(SAMPLES[name])
    for place, value in changes:
        data[place % len(data)] = value
    try:
        read(bytes(data))
    except CaptureError as error:
        assert error.offset <= len(data)  # noqa: PT017


def walk_both(data, kind, control):
    """Frames and control words of the walk, installed and in plain Python with every index watched."""
    answers = []
    for kernel in (installed, plain):
        frames, ctl = words(4 * at.FRAME_SIZE), words(at.WALK_SIZE)
        table = words(2 * at.IF_SIZE)
        for i in range(2):
            table[i * at.IF_SIZE : i * at.IF_SIZE + 4] = words(4)
            table[i * at.IF_SIZE + at.IF_FACTOR] = 1000
        for field, value in control.items():
            ctl[field] = value
        ctl[at.WALK_END] = len(data)
        ctl[at.WALK_CAPACITY] = 4
        arguments = [data, frames, table, ctl] if kind == "pcapng" else [data, frames, ctl]
        if kernel is plain:
            arguments = [Watched(a) for a in arguments]
        count = getattr(kernel, f"walk_{kind}")(*arguments)
        assert 0 <= count <= 4
        assert ctl[at.WALK_BEGIN] <= len(data)
        for f in range(0, count * at.FRAME_SIZE, at.FRAME_SIZE):
            assert frames[f + at.F_OFFSET] >= 0
            assert frames[f + at.F_OFFSET] + frames[f + at.F_CAPTURED] <= len(data)
            assert frames[f + at.F_ORIGINAL] >= frames[f + at.F_CAPTURED] >= 0
            assert 0 <= frames[f + at.F_TIME] <= 2**62
        if ctl[at.WALK_STATUS] == at.STATUS_MORE:
            assert ctl[at.WALK_NEED] > len(data) - ctl[at.WALK_BEGIN]
        answers.append((count, frames.tolist(), ctl.tolist()))
    assert answers[0] == answers[1]


@given(
    st.one_of(st.binary(max_size=300), st.sampled_from([s[24:] for s in SAMPLES.values()])),
    st.integers(0, 1),
    st.sampled_from([16, 24]),
    st.integers(0, 2),
)
def test_walk_pcap_any_bytes(data, swapped, header, lengths):
    """Frames always lie within the chunk, and both kernels agree to the word."""
    control = {at.WALK_SWAPPED: swapped, at.WALK_HEADER: header, at.WALK_TICK: 1000, at.WALK_LENGTHS: lengths}
    walk_both(data, "pcap", control)


@given(st.one_of(st.binary(max_size=300), st.just(SAMPLES["snoop"][16:])))
def test_walk_snoop_any_bytes(data):
    """Frames always lie within the chunk, and both kernels agree to the word."""
    walk_both(data, "snoop", {})


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.builds(make.block, st.sampled_from([1, 2, 3, 4, 5, 6, 7, 0x99]), st.binary(max_size=60)),
            st.builds(make.packet, st.integers(0, 2**64 - 1), st.binary(max_size=30), number=st.integers(0, 3)),
            st.builds(make.simple_packet, st.binary(max_size=30)),
        ),
        max_size=8,
    ).map(b"".join),
    st.integers(0, 1),
)
def test_walk_pcapng_any_bytes(data, swapped):
    """Frames always lie within the chunk, and both kernels agree to the word."""
    walk_both(data, "pcapng", {at.WALK_SWAPPED: swapped, at.WALK_INTERFACES: 2})
