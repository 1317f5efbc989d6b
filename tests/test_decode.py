"""Decoding frames: the kernel against a slow twin, against dpkt, and against frames made to be awkward."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcptrace_fsm.kernels.memory import ones_sum
from tests import builders as make
from tests import naive_decode
from tests.decoding import (
    KERNELS,
    OPTION_CASES,
    TCP,
    decoded,
)


@pytest.fixture(params=KERNELS)
def kernel(request):
    return request.param


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
