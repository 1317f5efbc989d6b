"""Decoding frames: the kernel against a slow twin, against dpkt, and against frames made to be awkward."""

from __future__ import annotations

import struct

import dpkt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tcptrace_fsm.kernels import decode as installed
from tcptrace_fsm.kernels import layout as at
from tcptrace_fsm.kernels.memory import ones_sum
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


@pytest.fixture(params=["installed", "plain"])
def kernel(request):
    return installed if request.param == "installed" else plain


# --- frames as they are ---------------------------------------------------------------------------------------------

SYN_OPTIONS = bytes.fromhex("020405b4 0402 080a 00000001 00000000 01 030307")

WRAPPED = {
    "Ethernet": (1, make.ethernet),
    "one VLAN tag": (1, lambda p, kind: make.ethernet(p, kind, 10)),
    "four VLAN tags": (1, lambda p, kind: make.ethernet(p, kind, 1, 2, 3, 4095)),
    "802.1ad tag": (1, lambda p, kind: make.ethernet(p, kind, 7, tag_kind=0x88A8)),
    "priority tag": (1, lambda p, kind: make.ethernet(p, kind, 0x6000)),
    "Linux cooked": (113, make.sll),
    "Linux cooked v2": (276, make.sll2),
    "RAW": (101, lambda p, _: p),
    "RAW of BSD": (12, lambda p, _: p),
    "RAW of OpenBSD": (14, lambda p, _: p),
    "NULL, little-endian": (0, lambda p, kind: make.null(p, 2 if kind == 0x0800 else 30)),
    "NULL, big-endian": (0, lambda p, kind: make.null(p, 2 if kind == 0x0800 else 24, ">")),
    "LOOP": (108, lambda p, kind: make.null(p, 2 if kind == 0x0800 else 28, ">")),
}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("name", WRAPPED)
def test_every_fast_link_gives_the_same_segment(kernel, name, version):
    """Whatever a packet is wrapped in, its segment has the same fields, and the VLAN path besides."""
    link, wrap = WRAPPED[name]
    segment = make.tcp(b"hello", flags="SF", seq=0xFFFFFFFE, ack=0x80000001, options=SYN_OPTIONS, urgent=9)
    packet = make.ipv4(segment) if version == 4 else make.ipv6(segment)
    got = decoded(kernel, wrap(packet, 0x0800 if version == 4 else 0x86DD), link)
    tags = {"one VLAN tag": [10], "four VLAN tags": [1, 2, 3, 4095], "802.1ad tag": [7]}
    assert got == naive_decode.Segment(
        vlans=tags.get(name, []),
        version=version,
        src=bytes([10, 0, 0, 1]) if version == 4 else bytes.fromhex("20010db8") + bytes(11) + b"\1",
        dst=bytes([10, 0, 0, 2]) if version == 4 else bytes.fromhex("20010db8") + bytes(11) + b"\2",
        src_port=40000,
        dst_port=80,
        seq=0xFFFFFFFE,
        ack=0x80000001,
        flags=3,
        payload_len=5,
        window=512,
        ident=7 if version == 4 else -1,
        ttl=64,
        shown=5,
        mss=1460,
        shift=7,
        tsval=1,
        tsecr=0,
        options={"mss", "sack_permitted", "timestamps", "scale"},
        checksum="offloaded",
    )


TCP = make.tcp(b"data")
OUTCOME_CASES = {
    "UDP": (make.ethernet(make.ipv4(make.udp(b"x"), protocol=17)), "not_tcp"),
    "echo reply with TCP in it": (make.ethernet(make.ipv4(bytes(8) + make.ipv4(TCP), protocol=1)), "not_tcp"),
    "ICMP quoting TCP": (make.ethernet(make.ipv4(b"\3" + bytes(7) + make.ipv4(TCP), protocol=1)), "peel"),
    "ICMP quoting eight bytes": (
        make.ethernet(make.ipv4(b"\3" + bytes(7) + make.ipv4(TCP)[:28], protocol=1)),
        "peel",
    ),
    "ICMP quoting seven bytes": (
        make.ethernet(make.ipv4(b"\3" + bytes(7) + make.ipv4(TCP)[:27], protocol=1)),
        "not_tcp",
    ),
    "ICMPv6 quoting seven bytes": (
        make.ethernet(make.ipv6(b"\1" + bytes(7) + make.ipv6(TCP)[:47], follows=58), 0x86DD),
        "not_tcp",
    ),
    "ICMPv6 quoting TCP": (
        make.ethernet(make.ipv6(b"\1" + bytes(7) + make.ipv6(TCP), follows=58), 0x86DD),
        "peel",
    ),
    "ICMPv6 quoting UDP": (
        make.ethernet(make.ipv6(b"\1" + bytes(7) + make.ipv6(make.udp(bytes(99)), follows=17), follows=58), 0x86DD),
        "not_tcp",
    ),
    "ARP": (make.ethernet(bytes(28), 0x0806), "not_tcp"),
    "ESP": (make.ethernet(make.ipv4(bytes(60), protocol=50)), "encrypted"),
    "ESP over IPv6": (make.ethernet(make.ipv6(bytes(60), follows=50), 0x86DD), "encrypted"),
    "ESP over UDP": (make.ethernet(make.ipv4(make.udp(b"\1" * 60, dst_port=4500), protocol=17)), "encrypted"),
    "IKE": (make.ethernet(make.ipv4(make.udp(bytes(4) + b"\1" * 60, dst_port=4500), protocol=17)), "not_tcp"),
    "Teredo between any ports": (
        make.ethernet(make.ipv4(make.udp(make.ipv6(TCP, src="2001:0:4136:e378::1"), dst_port=50001), protocol=17)),
        "peel",
    ),
    "IPv6 of another prefix in UDP": (
        make.ethernet(make.ipv4(make.udp(make.ipv6(TCP, src="2001:1::1"), dst_port=50001), protocol=17)),
        "peel",
    ),
    "Teredo, another length": (
        make.ethernet(make.ipv4(make.udp(make.ipv6(TCP, dst="2001:0:1::1") + b"x", dst_port=50001), protocol=17)),
        "not_tcp",
    ),
    "decrypted 802.11": (make.ethernet(bytes(60), 0x2452), "peel"),
    "E-tag": (make.ethernet(bytes(60), 0x893F), "peel"),
    "VXLAN port": (make.ethernet(make.ipv4(make.udp(b"x", dst_port=4789), protocol=17)), "peel"),
    "GRE": (make.ethernet(make.ipv4(bytes(8), protocol=47)), "peel"),
    "GRE over IPv6": (make.ethernet(make.ipv6(bytes(8), follows=47), 0x86DD), "peel"),
    "MPLS": (make.ethernet(bytes(8), 0x8847), "peel"),
    "802.3, SNAP": (make.ethernet(b"\xaa\xaa\3" + bytes(43), 46), "peel"),
    "802.3, spanning tree": (make.ethernet(b"\x42\x42\3" + bytes(43), 46), "not_tcp"),
    "five VLAN tags": (make.ethernet(make.ipv4(TCP), 0x0800, 1, 2, 3, 4, 5), "peel"),
    "first fragment": (make.ethernet(make.ipv4(TCP, more=True)), "peel"),
    "last fragment": (make.ethernet(make.ipv4(TCP, fragment=8)), "peel"),
    "fragment of ICMP": (make.ethernet(make.ipv4(TCP, fragment=8, protocol=1)), "not_tcp"),
    "half a later fragment": (make.ethernet(make.ipv4(TCP, fragment=8))[:-1], "fragment"),
    "IPv6 fragment": (
        make.ethernet(make.ipv6(struct.pack("!BBHI", 6, 0, 9, 1) + TCP, follows=44), 0x86DD),
        "peel",
    ),
    "no Ethernet type": (make.ethernet(b"")[:13], "short_link"),
    "VLAN tag cut": (make.ethernet(b"", 0x0800, 5)[:-1], "short_link"),
    "IPv4 cut": (make.ethernet(make.ipv4(TCP)[:19]), "short_ip"),
    "IPv4 options cut": (make.ethernet(make.ipv4(TCP, options=bytes(8))[:24]), "short_ip"),
    "IPv6 cut": (make.ethernet(make.ipv6(TCP)[:39], 0x86DD), "short_ip"),
    "TCP cut": (make.ethernet(make.ipv4(TCP)[:39]), "short_tcp"),
    "header length 16": (make.ethernet(b"\x44" + make.ipv4(TCP)[1:]), "bad_ip_header"),
    "IP version 5": (make.ethernet(b"\x55" + make.ipv4(TCP)[1:]), "bad_ip_header"),
    "total length below the header": (make.ethernet(make.ipv4(TCP, total=19)), "bad_ip_header"),
    "IPv6 type, version 4 inside": (make.ethernet(make.ipv4(TCP) + bytes(40), 0x86DD), "bad_ip_header"),
    "extension past the packet": (
        make.ethernet(make.ipv6(b"\6\xff" + bytes(30), follows=0), 0x86DD),
        "bad_ip_extension",
    ),
    "data offset 4": (make.ethernet(make.ipv4(make.tcp(offset=4))), "bad_tcp_header"),
    "data offset past the packet": (make.ethernet(make.ipv4(make.tcp(offset=6))), "bad_tcp_header"),
    "TCP of 19 bytes": (make.ethernet(make.ipv4(TCP[:19])), "bad_tcp_header"),
}


@pytest.mark.parametrize("name", OUTCOME_CASES)
def test_frames_without_a_segment_have_their_outcome(kernel, name):
    """Each way of not holding a segment is told from the others."""
    frame, outcome = OUTCOME_CASES[name]
    assert decoded(kernel, frame, 1) == outcome


def test_payload_length_comes_from_the_ip_header(kernel):
    """Neither Ethernet's padding nor a short snapshot changes how long the payload was."""
    padded = decoded(kernel, make.ethernet(make.ipv4(make.tcp(b"")) + bytes(6)), 1)
    assert (padded.payload_len, padded.shown) == (0, 0)
    cut = decoded(kernel, make.ethernet(make.ipv4(make.tcp(bytes(1000))))[:60], 1, original=1054)
    assert (cut.payload_len, cut.shown, cut.checksum) == (1000, 1000, "unknown")


def test_a_length_beyond_the_frame_is_believed_but_told(kernel):
    """The IP header may know more than a frame whose length on the wire was lost; Wireshark goes by the frame."""
    segment = make.tcp(bytes(100))
    for frame in (
        make.ethernet(make.ipv4(segment, total=1540)),
        make.ethernet(make.ipv6(segment, length=1520), 0x86DD),
    ):
        got = decoded(kernel, frame, 1)
        assert (got.payload_len, got.shown) == (1500, 100)
    options = decoded(kernel, make.ethernet(make.ipv4(make.tcp(offset=15), total=100)), 1)
    assert (options.payload_len, options.shown) == (20, -1)


def test_length_zero_means_offload(kernel):
    """With a total length of 0 the network card was to fill it in: the frame's own length counts."""
    frame = make.ethernet(make.ipv4(make.tcp(bytes(5000)), total=0))
    assert decoded(kernel, frame, 1).payload_len == 5000
    assert decoded(kernel, frame[:100], 1, original=len(frame)).payload_len == 5000
    frame = make.ethernet(make.ipv6(make.tcp(bytes(70000)), length=0), 0x86DD)
    assert decoded(kernel, frame, 1).payload_len == 70000


@pytest.mark.parametrize("chain", [[0], [60], [43, 60], [0, 60, 43, 135], [51], [0, 51, 60]])
def test_ipv6_extension_headers_are_walked(kernel, chain):
    """RFC 8200 4: TCP is found behind any chain of extension headers."""
    packet, follows = TCP, 6
    for kind in reversed(chain):
        extension = bytes([follows, 4]) + bytes(22) if kind == 51 else make.ipv6_extension(follows)
        packet, follows = extension + packet, kind
    got = decoded(kernel, make.ethernet(make.ipv6(packet, follows=follows), 0x86DD), 1)
    assert (got.dst_port, got.payload_len) == (80, 4)


def test_atomic_fragment_is_a_whole_packet(kernel):
    """RFC 6946: a fragment header with offset 0 and no more fragments hides nothing."""
    frame = make.ethernet(make.ipv6(struct.pack("!BBHI", 6, 0, 0, 1) + TCP, follows=44), 0x86DD)
    assert decoded(kernel, frame, 1).payload_len == 4


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


@pytest.mark.parametrize("name", OPTION_CASES)
def test_options(kernel, name):
    """Each TCP option is recognised by kind and length, and impossible ones end the list."""
    text, expected = OPTION_CASES[name]
    got = decoded(kernel, make.ethernet(make.ipv4(make.tcp(options=bytes.fromhex(text)))), 1)
    assert got.options == expected


def test_sack_blocks(kernel):
    """RFC 2018 3: up to four blocks, left edge before right."""
    edges = [4000000000, 5, 10, 20, 30, 40, 50, 60]
    options = b"\1\1\5\x22" + struct.pack("!8I", *edges)
    assert decoded(kernel, make.ethernet(make.ipv4(make.tcp(options=options))), 1).sack == edges


def test_options_cut_by_the_capture_are_not_the_senders_fault(kernel):
    """A snapshot that ends inside the options gives what was there, marked short, not damaged."""
    frame = make.ethernet(make.ipv4(make.tcp(options=SYN_OPTIONS)))
    for kept in range(54, len(frame)):
        got = decoded(kernel, frame[:kept], 1, original=len(frame))
        assert "short" in got.options, kept
        assert "damaged" not in got.options, kept
    assert decoded(kernel, frame[:58], 1, original=len(frame)).mss == 1460


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("size", [*range(10), 255, 256, 257, 1459, 1460, 60000])
def test_checksum(kernel, version, size):
    """RFC 9293 3.1: right, wrong, and left to the network card; whatever was captured whole is looked at."""
    src, dst = ("10.0.0.1", "10.0.0.2") if version == 4 else ("2001:db8::1", "2001:db8::2")

    def verdict(segment):
        packet = make.ipv4(segment) if version == 4 else make.ipv6(segment)
        return decoded(kernel, make.ethernet(packet, 0x0800 if version == 4 else 0x86DD), 1).checksum

    segment = make.tcp(bytes(range(1, 256)) * 236)[: 20 + size]
    good = make.with_checksum(segment, src, dst)
    assert verdict(good) == "good"
    assert verdict(segment) == verdict(make.with_checksum(segment, src, dst, offloaded=True)) == "offloaded"
    for n in {0, 13, 19, 20, 19 + size} & set(range(20 + size)):
        assert verdict(good[:n] + bytes([good[n] ^ 1]) + good[n + 1 :]) == "bad", n


@pytest.mark.parametrize("version", [4, 6])
def test_a_checksum_left_to_a_card_that_cuts_segments_up_has_no_length(kernel, version):
    """The card adds each piece's own."""
    src, dst = ("10.0.0.1", "10.0.0.2") if version == 4 else ("2001:db8::1", "2001:db8::2")
    pseudo = make.ones_sum(make.ip_address(src).packed + make.ip_address(dst).packed + b"\0\6")
    segment = make.tcp(bytes(3000), checksum=pseudo)
    packet = make.ipv4(segment) if version == 4 else make.ipv6(segment)
    kind = 0x0800 if version == 4 else 0x86DD
    assert decoded(kernel, make.ethernet(packet, kind), 1).checksum == "offloaded"


@given(st.binary(min_size=1, max_size=200), st.integers(1, 7))
def test_the_sum_of_any_bytes_is_that_of_their_pairs(content, before):
    """Compiled or not, wherever they begin; a 0 stands for both zeros."""
    padded = bytes(before) + content
    expected = make.ones_sum(content)
    assert ones_sum(padded, before, len(content)) % 65535 == expected % 65535


def test_a_segment_that_the_capture_cut_is_not_judged(kernel):
    """A byte less, and nothing is known."""
    frame = make.ethernet(make.ipv4(make.with_checksum(make.tcp(bytes(1000)), "10.0.0.1", "10.0.0.2")))
    assert decoded(kernel, frame, 1).checksum == "good"
    assert decoded(kernel, frame[:-1], 1, original=len(frame)).checksum == "unknown"


def test_source_route_leaves_a_wrong_checksum_undecided(kernel):
    """The checksum was made with the final destination, which the header in transit does not show."""
    packet = make.ipv4(make.tcp(b"data", checksum=1), options=bytes.fromhex("830704 0a000009 00"))
    assert decoded(kernel, make.ethernet(packet), 1).checksum == "unknown"


# --- any frame ------------------------------------------------------------------------------------------------------

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


INSIDE = make.ipv6(make.tcp(b"x"))
UNREAD = (bytes([2, 6, 0, 0]) + INSIDE, 0, 0), (make.ethernet(b"????" + INSIDE, 0x1234), 1, 0)


@given(frames())
@example((make.ethernet(make.ipv4(make.tcp(b"x"))), 1, 0))
@example(UNREAD[0])
@example(UNREAD[1])
@example((make.ethernet(make.ipv4(bytes(4) + make.ipv4(make.tcp(b"x")), protocol=99)), 1, 0))
@example((make.ethernet(make.ipv4(make.udp(bytes(9) + INSIDE, dst_port=5555), protocol=17)), 1, 0))
@example((make.ethernet(make.ipv6(bytes(2) + INSIDE, follows=99), 0x86DD), 1, 0))
def test_kernel_equals_its_twin(case):
    """Frames as they come on a network, cut and damaged: both kernels and the twin say the same of each."""
    frame, link, original = case
    expected = naive_decode.decode(frame, link, original)
    assert decoded(plain, frame, link, original) == expected
    assert decoded(installed, frame, link, original) == expected


@pytest.mark.parametrize("case", UNREAD)
def test_what_nobody_reads_is_counted_by_name_where_tcp_is_in_it(case):
    frame, link, original = case
    assert naive_decode.decode(frame, link, original) == decoded(installed, frame, link, original) == "peel"
    assert decoded(installed, frame[:20] + bytes(40), link, original) == "not_tcp"


@given(st.binary(max_size=200), LINKS)
def test_any_bytes_have_an_outcome(frame, link):
    """No bytes raise, no byte outside the frame is read (plain Python watches), both kernels agree to the word."""
    assert run(plain, frame, link) == run(installed, frame, link)


@given(segments(), st.booleans())
def test_sound_frames_agree_with_dpkt(case, four):
    """A second opinion by somebody else's decoder, on frames that both understand."""
    segment, _ = case
    frame = make.ethernet(make.ipv4(segment) if four else make.ipv6(segment), 0x0800 if four else 0x86DD)
    theirs = dpkt.ethernet.Ethernet(frame).data
    ours = decoded(installed, frame, 1)
    assert (ours.src, ours.dst) == (theirs.src, theirs.dst)
    assert (ours.src_port, ours.dst_port) == (theirs.data.sport, theirs.data.dport)
    assert (ours.seq, ours.ack, ours.window) == (theirs.data.seq, theirs.data.ack, theirs.data.win)
    assert ours.flags & 0xFF == theirs.data.flags & 0xFF
    assert ours.payload_len == ours.shown == len(theirs.data.data)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_many_frames_keep_their_numbers_and_order(kernel, count):
    """Segments lie densely, in order, each with its frame's number and time, whatever lies between."""
    one, other = make.ethernet(make.ipv4(TCP)), make.ethernet(bytes(28), 0x0806)
    data = (one + other) * count
    frames, segments, outcomes = (
        words(at.FRAME_SIZE * 2 * count),
        words(at.SEGMENT_SIZE * 2 * count),
        words(at.OUTCOMES),
    )
    for i in range(2 * count):
        f = i * at.FRAME_SIZE
        frames[f + at.F_OFFSET] = (i // 2) * len(one + other) + (i % 2) * len(one)
        frames[f + at.F_CAPTURED] = frames[f + at.F_ORIGINAL] = len(other if i % 2 else one)
        frames[f + at.F_TIME] = 1000 + i
        frames[f + at.F_LINK] = 1
    assert kernel.decode(data, frames, 2 * count, 11, 0, segments, outcomes) == count
    for i in range(count):
        s = i * at.SEGMENT_SIZE
        assert (segments[s + at.S_FRAME], segments[s + at.S_TIME]) == (11 + 2 * i, 1000 + 2 * i)
        assert segments[s + at.S_OFFSET] == i * len(one + other) + 34
    assert (outcomes[at.OUTCOME_TCP], outcomes[at.OUTCOME_NOT_TCP]) == (count, count)
