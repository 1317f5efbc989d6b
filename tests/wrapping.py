"""A segment, what it can be wrapped in, and how tests read that."""

from __future__ import annotations

import io

from tcptrace_fsm.capture.containers import open_capture
from tcptrace_fsm.capture.layers.links import (
    encapsulation_name,
)
from tcptrace_fsm.kernels import layout as at
from tests import builders as make

SEGMENT = make.with_checksum(make.tcp(b"hello", seq=77, flags="PA"), "10.0.0.1", "10.0.0.2")


PACKET = make.ipv4(SEGMENT)


SEGMENT6 = make.with_checksum(make.tcp(b"hello", seq=77, flags="PA"), "2001:db8::1", "2001:db8::2")


PACKET6 = make.ipv6(SEGMENT6)


FRAME = make.ethernet(PACKET)


ENDS = {"src": "192.0.2.9", "dst": "192.0.2.1"}


PAIR = "192.0.2.1-192.0.2.9"


def read(*frames, link=1, times=None):
    """(outcomes by frame, [(sequence number, payload length, checksum, path)]) of frames of one link type."""
    times = times or range(len(frames))
    capture = open_capture(io.BytesIO(make.pcap(list(zip(times, frames, strict=True)), link=link)))
    outcomes, rows = [], []
    for batch in capture.segments():
        outcomes += batch.frames[at.F_OUTCOME : batch.frame_count * at.FRAME_SIZE : at.FRAME_SIZE]
        for s in range(0, batch.count * at.SEGMENT_SIZE, at.SEGMENT_SIZE):
            record = batch.segments[s : s + at.SEGMENT_SIZE]
            path = encapsulation_name(record[at.S_NET] >> 1)
            rows.append((record[at.S_SEQ], record[at.S_LEN], record[at.S_CHECKSUM], path))
            if record[at.S_OFFSET] >= 0:
                start = record[at.S_OFFSET] + 4
                assert int.from_bytes(batch.data[start : start + 4], "big") == record[at.S_SEQ]
    assert len(outcomes) == capture.frames == sum(capture.outcomes) == len(frames)
    assert outcomes.count(at.OUTCOME_TCP) == len(rows)
    return outcomes, rows


def one(frame, link=1):
    """The path of the only segment, which must be the one that was wrapped, checksum and all."""
    outcomes, rows = read(frame, link=link)
    assert outcomes == [at.OUTCOME_TCP]
    assert rows[0][:3] == (77, 5, at.CHECKSUM_GOOD)
    return rows[0][3]


def content(sample):
    """The bytes of a sample."""
    words = {"IP": PACKET, "IP6": PACKET6, "FRAME": FRAME, "VJ": PACKET[:9] + b"\3" + PACKET[10:]}
    found = b""
    for word in sample.text.split():
        digits, _, times = word.partition("*")
        found += words[word] if word in words else bytes.fromhex(digits) * int(times or 1)
    return found


def over_ip(protocol, payload):
    return make.ethernet(make.ipv4(payload, protocol=protocol, **ENDS))


def over_udp(port, payload, src_port=50000):
    return over_ip(17, make.udp(payload, dst_port=port, src_port=src_port))
