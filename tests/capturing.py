"""Captures of a few frames, and how tests read them."""

from __future__ import annotations

import io
import struct

from tcptrace_fsm.capture.containers import open_capture
from tcptrace_fsm.kernels import layout as at
from tests import builders as make

FRAME = make.ethernet(make.ipv4(make.tcp(b"hello", flags="PA")))


OTHER = make.ethernet(bytes(28), 0x0806)


START = 1_700_000_000


def read(source, **options):
    """(capture, [(frame, time, sequence number, payload length) of each segment]) of bytes or a path."""
    opened = open_capture(io.BytesIO(source) if isinstance(source, bytes) else source, **options)
    rows = []
    for batch in opened.segments():
        for i in range(batch.count):
            s = i * at.SEGMENT_SIZE
            record = batch.segments[s : s + at.SEGMENT_SIZE]
            rows.append((record[at.S_FRAME], record[at.S_TIME], record[at.S_SEQ], record[at.S_LEN]))
            if record[at.S_OFFSET] >= 0:  # the TCP header is where the record says
                start = record[at.S_OFFSET] + 4
                assert int.from_bytes(batch.data[start : start + 4], "big") == record[at.S_SEQ]
    assert sum(opened.outcomes) == opened.frames
    assert opened.outcomes[at.OUTCOME_PEEL] == 0
    assert opened.outcomes[at.OUTCOME_TCP] == len(rows)
    return opened, rows


def some_frames(count, unit=10**6):
    """TCP and other frames in turn, one a millisecond, sizes changing."""
    out = []
    for i in range(count):
        frame = make.ethernet(make.ipv4(make.tcp(bytes(i % 7), seq=i))) if i % 3 else OTHER
        out.append((START * unit + i * (unit // 1000), frame))
    return out


def expected_rows(count):
    return [(i + 1, START * 10**9 + i * 10**6, i, i % 7) for i in range(count) if i % 3]


def sample_pcapng(order="<"):
    return b"".join([
        make.section(order, make.option(1, b"a comment", order)),
        make.interface(1, name=b"eth0", order=order),
        make.interface(101, tsresol=9, order=order),
        make.block(0x99, b"nobody knows", order),
        make.packet(START * 10**6, FRAME, order=order, options=make.option(1, b"look", order)),
        make.packet(START * 10**9 + 7, FRAME[14:], number=1, order=order),
        make.block(4, struct.pack(order + "HH", 1, 9) + b"\x0a\0\0\1host\0" + bytes(7), order),
        make.old_packet(START * 10**6 + 1, OTHER, order=order),
        make.simple_packet(FRAME, order=order),
        make.statistics(0, received=100, dropped=3, os_dropped=2, order=order),
    ])  # fmt: skip


SAMPLES = {
    "pcap": make.pcap(some_frames(8)),
    "pcap big-endian ns": make.pcap(some_frames(8, 10**9), order=">", magic=0xA1B23C4D),
    "pcap modified": make.pcap(some_frames(8), magic=0xA1B2CD34),
    "snoop": make.snoop(some_frames(8)),
    "pcapng": sample_pcapng(),
    "pcapng big-endian": sample_pcapng(">"),
}
