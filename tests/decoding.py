"""How tests decode one frame."""

from __future__ import annotations

import struct

import pytest
from hypothesis import strategies as st

from tcptrace_fsm.kernels import decode as installed
from tcptrace_fsm.kernels import layout as at
from tests import builders as make
from tests import naive_decode
from tests.kernels import Watched, uncompiled, words

plain = uncompiled("decode")


OUTCOMES = {
    at.OUTCOME_NOT_TCP: "not_tcp",
    at.OUTCOME_PEEL: "peel",
    at.OUTCOME_FRAGMENT: "fragment",
    at.OUTCOME_SHORT_LINK: "short_link",
    at.OUTCOME_SHORT_IP: "short_ip",
    at.OUTCOME_SHORT_TCP: "short_tcp",
    at.OUTCOME_BAD_IP_HEADER: "bad_ip_header",
    at.OUTCOME_BAD_IP_EXTENSION: "bad_ip_extension",
    at.OUTCOME_BAD_TCP_HEADER: "bad_tcp_header",
    at.OUTCOME_ENCRYPTED: "encrypted",
}


OPTIONS = {
    "mss": at.OPT_MSS,
    "scale": at.OPT_SCALE,
    "sack_permitted": at.OPT_SACK_PERMITTED,
    "sack": at.OPT_SACK,
    "timestamps": at.OPT_TIMESTAMPS,
    "fast_open": at.OPT_FAST_OPEN,
    "fast_open_cookie": at.OPT_FAST_OPEN_COOKIE,
    "multipath": at.OPT_MULTIPATH,
    "md5": at.OPT_MD5,
    "ao": at.OPT_AO,
    "damaged": at.OPT_DAMAGED,
    "short": at.OPT_SHORT,
    "nop_run": at.OPT_NOP_RUN,
    "scale_early": at.OPT_SCALE_EARLY,
}


CHECKSUMS = {
    at.CHECKSUM_UNKNOWN: "unknown",
    at.CHECKSUM_GOOD: "good",
    at.CHECKSUM_OFFLOADED: "offloaded",
    at.CHECKSUM_BAD: "bad",
}


LEAD = 5  # bytes before the frame, so that offsets are not from 0


def run(kernel, frame: bytes, link: int, original: int | None = None):
    """(outcome, segment record) of one frame; in plain Python every index is watched."""
    data = b"\xee" * LEAD + frame + b"\xee" * 3
    frames, segments, outcomes = words(at.FRAME_SIZE), words(at.SEGMENT_SIZE), words(at.OUTCOMES)
    frames[at.F_OFFSET] = LEAD
    frames[at.F_CAPTURED] = len(frame)
    frames[at.F_ORIGINAL] = max(len(frame), original or 0)
    frames[at.F_TIME] = 77
    frames[at.F_LINK] = link
    arguments = [data, frames, 1, 3, 0, segments, outcomes]
    if kernel is plain:
        arguments[0] = Watched(data, LEAD, LEAD + len(frame))
        for i in (1, 5, 6):
            arguments[i] = Watched(arguments[i])
    made = kernel.decode(*arguments)
    outcome = frames[at.F_OUTCOME]
    assert sum(outcomes) == outcomes[outcome] == 1
    assert made == (1 if outcome == at.OUTCOME_TCP else 0)
    return outcome, segments.tolist()


def decoded(kernel, frame: bytes, link: int, original: int | None = None):
    """The kernel's answer in the twin's words."""
    outcome, record = run(kernel, frame, link, original)
    if outcome != at.OUTCOME_TCP:
        return OUTCOMES[outcome]
    assert (record[at.S_FRAME], record[at.S_TIME], record[at.S_CONNECTION]) == (3, 77, -1)
    code = record[at.S_NET] >> 1
    version = 6 if record[at.S_NET] & 1 else 4
    count = code & 7
    size = 16 if version == 6 else 4
    mask = (1 << 64) - 1

    def address(high, low):
        return (((high & mask) << 64) | (low & mask)).to_bytes(16, "big")[-size:]

    return naive_decode.Segment(
        vlans=[code >> 3 + 12 * (count - 1 - i) & 4095 for i in range(count)],
        version=version,
        src=address(record[at.S_SRC_HI], record[at.S_SRC_LO]),
        dst=address(record[at.S_DST_HI], record[at.S_DST_LO]),
        src_port=record[at.S_PORTS] >> 16,
        dst_port=record[at.S_PORTS] & 65535,
        seq=record[at.S_SEQ],
        ack=record[at.S_ACK],
        flags=record[at.S_FLAGS],
        payload_len=record[at.S_LEN],
        window=record[at.S_WINDOW],
        ident=record[at.S_IP_ID],
        ttl=record[at.S_TTL],
        shown=record[at.S_SHOWN],
        mss=record[at.S_MSS],
        shift=record[at.S_SHIFT],
        tsval=record[at.S_TSVAL],
        tsecr=record[at.S_TSECR],
        sack=record[at.S_SACK : at.S_SACK + 2 * record[at.S_SACKS]],
        options={name for name, bit in OPTIONS.items() if record[at.S_OPTIONS] & bit},
        checksum=CHECKSUMS[record[at.S_CHECKSUM]],
    )


KERNELS = [pytest.param(installed, id="installed"), pytest.param(plain, id="plain")]

TCP = make.tcp(b"data")


OPTION_CASES = {
    "none": ("", set()),
    "MSS": ("020405b4", {"mss"}),
    "MSS of 3 bytes": ("02030500", {"damaged"}),
    "runs past the header": ("030a0700", {"damaged"}),
    "length 0": ("05000000", {"damaged"}),
    "kind without a length": ("01010105", {"damaged"}),
    "after end of list": ("00030307", set()),
    "unknown kind": ("fd04aaaa 0402", {"sack_permitted"}),
    "four NOPs": ("01010101", {"nop_run"}),
    "two by two NOPs": ("0101 fd02 0101 fd02", set()),
    "Fast Open, asking": ("2202", {"fast_open"}),
    "Fast Open, cookie": ("220a 0102030405060708", {"fast_open", "fast_open_cookie"}),
    "Fast Open, experimental": ("fe04f989", {"fast_open"}),
    "experiment of somebody else": ("fe04f98a", set()),
    "MPTCP": ("1e0c" + "00" * 10, {"multipath"}),
    "MD5": ("1312" + "00" * 16, {"md5"}),
    "AO": ("1d10" + "00" * 14, {"ao"}),
    "SACK of 5 bytes": ("0505000000", {"damaged"}),
    "SACK of no block": ("0502", {"damaged"}),
    "two SACKs": ("050a" + "00" * 8 + "050a" + "ff" * 8, {"sack", "damaged"}),
}


LINKS = st.sampled_from([0, 1, 12, 14, 101, 108, 113, 228, 229, 276, 127, 65000])


PORTS = st.one_of(st.integers(0, 65535), st.sampled_from([80, 4789, 2152, 4500]))


@st.composite
def tcp_options(draw):
    one = st.one_of(
        st.binary(max_size=6),
        st.builds(lambda kind, body: bytes([kind, len(body) + 2]) + body, st.integers(0, 255), st.binary(max_size=34)),
        st.sampled_from([bytes.fromhex(text) for text, _ in OPTION_CASES.values()]),
        st.just(bytes.fromhex("0101080a0000000180000000")),
    )
    return b"".join(draw(st.lists(one, max_size=4)))[:40]


@st.composite
def segments(draw):
    segment = make.tcp(
        draw(st.binary(max_size=40)),
        src_port=draw(PORTS),
        dst_port=draw(PORTS),
        seq=draw(st.integers(0, 2**32 - 1)),
        ack=draw(st.integers(0, 2**32 - 1)),
        flags="".join(draw(st.sets(st.sampled_from("FSRPAUECN")))),
        window=draw(st.integers(0, 65535)),
        options=draw(tcp_options()),
        checksum=draw(st.one_of(st.just(0), st.integers(0, 65535))),
    )
    repair = draw(st.sampled_from(["", "good", "offloaded"]))
    return segment, repair


@st.composite
def packets(draw):
    segment, repair = draw(segments())
    four = draw(st.booleans())
    ends = {"src": "192.0.2.1", "dst": "198.51.100.255"} if four else {"src": "fe80::8000:1", "dst": "ffff::1"}
    if repair:
        segment = make.with_checksum(segment, **ends, offloaded=repair == "offloaded")
    if four:
        options = draw(st.sampled_from([b"", bytes(4), bytes(40)]))
        total = draw(st.sampled_from([None, None, None, 0, 19, 41, 65535]))
        protocol = draw(st.sampled_from([6] * 8 + [17, 47, 50, 51, 1]))
        fragment = draw(st.sampled_from([0] * 8 + [8, 65528]))
        more = draw(st.sampled_from([False] * 8 + [True]))
        return 0x0800, make.ipv4(
            segment, **ends, options=options, total=total, protocol=protocol, fragment=fragment, more=more
        )
    follows = 6
    for kind in draw(st.lists(st.sampled_from([0, 43, 44, 50, 51, 60, 135, 59, 17, 41]), max_size=3)):
        body = draw(st.binary(max_size=10))
        if kind == 44:
            segment = struct.pack("!BBHI", follows, 0, draw(st.sampled_from([0, 6, 1, 8])), 1) + segment
        else:
            segment = make.ipv6_extension(follows, body) + segment
        follows = kind
    length = draw(st.sampled_from([None, None, None, 0, 7, 65535]))
    return 0x86DD, make.ipv6(segment, **ends, follows=follows, length=length)


@st.composite
def frames(draw):
    kind, packet = draw(packets())
    kind = draw(st.sampled_from([kind] * 8 + [0x0806, 0x8847, 40, 0x86DD]))
    link = draw(LINKS)
    tags = draw(st.lists(st.integers(0, 4095), max_size=5))
    if link == 1:
        frame = make.ethernet(packet, kind, *tags, tag_kind=draw(st.sampled_from(sorted(naive_decode.TAGS))))
    elif link in {113, 276}:
        frame = (make.sll if link == 113 else make.sll2)(packet, kind, draw(st.sampled_from([1, 1, 1, 772, 778, 803])))
    elif link in {0, 108}:
        frame = make.null(
            packet, draw(st.sampled_from([2, 24, 28, 30, 10, 7, 0x0800, 0xFF030021])), draw(st.sampled_from("<>"))
        )
    else:
        frame = packet
    kept = draw(st.one_of(st.just(len(frame)), st.integers(0, len(frame))))
    original = len(frame) + draw(st.sampled_from([0, 0, 0, 4, 1000]))
    changes = draw(st.lists(st.tuples(st.integers(0, len(frame) - 1), st.integers(0, 255)), max_size=2))
    damaged = bytearray(frame)
    for place, value in changes:
        damaged[place] = value
    return bytes(damaged[:kept]), link, original
