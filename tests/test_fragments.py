"""Fragments, and what is decoded in part or not at all."""

from __future__ import annotations

import io
import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcptrace_fsm.capture import fragments as fragments_module
from tcptrace_fsm.capture import peeling
from tcptrace_fsm.capture.containers import open_capture
from tcptrace_fsm.capture.fragments import Fragments
from tcptrace_fsm.kernels import layout as at
from tests import builders as make
from tests.wrapping import ENDS, FRAME, PACKET, PACKET6, PAIR, SEGMENT6, one, over_ip, over_udp, read

# --- what is decoded in part, or not ----------------------------------------------------------------------------------


def skipped(*frames, link=1):
    """Frames by outcome, and what was skipped by name."""
    capture = open_capture(io.BytesIO(make.pcap(list(enumerate(frames)), link=link)))
    count = sum(batch.count for batch in capture.segments())
    return count, capture.outcomes[at.OUTCOME_NOT_TCP], capture.skipped


def subframe(packet, kind="0800"):
    """A frame of an 802.11 aggregate."""
    inside = bytes.fromhex("aaaa03 000000" + kind) + packet
    return bytes(12) + len(inside).to_bytes(2, "big") + inside


def aggregate(*subframes):
    """An 802.11 frame that holds several, padded to multiples of four but for the last."""
    padded = [one + bytes(-len(one) % 4) for one in subframes[:-1]]
    return bytes.fromhex("8801 0000") + bytes(20) + b"\x80\0" + b"".join([*padded, subframes[-1]])


def test_of_an_aggregate_the_first_segment_is_read_and_the_others_are_named():
    """A frame has one segment here; what stands behind it is counted, so that nobody looks for it on the wire."""
    udp = subframe(make.ipv4(make.udp(bytes(9)), protocol=17))
    assert skipped(aggregate(udp, subframe(PACKET)), link=105) == (1, 0, {})
    assert skipped(aggregate(udp, subframe(PACKET6, "86dd"), udp), link=105) == (1, 0, {})
    more = "further frames of an 802.11 aggregate (A-MSDU)"
    assert skipped(aggregate(subframe(PACKET), udp, subframe(PACKET)), link=105) == (1, 0, {more: 1})
    assert skipped(aggregate(udp, udp), link=105) == (0, 1, {})


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_capwap_fragments_are_put_together(order):
    """Full-size segments do not fit a tunnel's packet: without this, one direction of a connection is missing."""
    frame = make.ethernet(make.ipv4(LONG))
    pieces = []
    for n, begin in enumerate((0, 104, 208)):
        last = 0x40 if n == 2 else 0
        head = bytes([0, 0x10, 0, 0x80 | last]) + b"\0\7" + (begin // 8 << 3).to_bytes(2, "big")
        pieces.append(over_udp(5247, head + frame[begin : begin + 104]))
    outcomes, rows = read(*[pieces[n] for n in order])
    assert outcomes == [at.OUTCOME_FRAGMENT] * 2 + [at.OUTCOME_TCP]
    assert rows == [(5, 200, at.CHECKSUM_GOOD, f"capwap {PAIR}")]


def test_teredo_is_known_by_its_addresses_on_any_port():
    """Clients send to each other from wherever they are."""
    ends = {"src": "2001:0:4136:e378::1", "dst": "2001:db8::2"}
    segment = make.with_checksum(make.tcp(b"hello", seq=77, flags="PA"), **ends)
    assert one(over_udp(51000, make.ipv6(segment, **ends))) == "teredo"
    back = make.ipv6(segment, src=ends["dst"], dst=ends["src"])
    assert one(over_udp(50000, back, src_port=51000)) == "teredo"
    other = make.ipv6(SEGMENT6)
    assert read(over_udp(51000, other)) == ([at.OUTCOME_NOT_TCP], [])


def test_compressed_headers_are_named_and_what_begins_them_is_read():
    """RFC 1144: the first packet of a flow has its whole header, but for the protocol."""
    first = bytes.fromhex("ff03 002f") + PACKET[:9] + b"\3" + PACKET[10:]
    later = bytes.fromhex("ff03 002d 10 1234") + b"hello"
    assert one(first, 9) == ""
    assert skipped(first, later, later, link=9) == (1, 2, {"VJ-compressed PPP": 2})
    assert skipped(first[:-1], link=9) == (0, 1, {"VJ-compressed PPP": 1})


def test_what_ipsec_encrypts_is_named():
    """By the kernel, for it may be all that there is."""
    esp, dns = over_ip(50, bytes(60)), over_udp(53, bytes(9))
    capture = open_capture(io.BytesIO(make.pcap([(0, esp), (1, dns), (2, esp)])))
    assert sum(batch.count for batch in capture.segments()) == 0
    assert capture.skipped == {"encrypted IPsec (ESP)": 2}
    assert (capture.outcomes[at.OUTCOME_NOT_TCP], capture.outcomes[at.OUTCOME_ENCRYPTED]) == (1, 2)


def test_names_of_what_is_skipped_are_bounded(monkeypatch):
    """There is a bound to how many a capture can make up."""
    monkeypatch.setattr(peeling, "MOST_SKIPPED", 1)
    encrypted = bytes.fromhex("0841 0000") + bytes(60)
    fragment = bytes.fromhex("0805 0000") + bytes(60)
    assert skipped(encrypted, fragment, encrypted, link=105) == (0, 3, {"encrypted 802.11": 2})


# --- fragments --------------------------------------------------------------------------------------------------------


LONG = make.with_checksum(make.tcp(bytes(range(200)), seq=5), "10.0.0.1", "10.0.0.2")


def pieces4(segment, *cuts, **options):
    """The IPv4 fragments of a segment, cut at these offsets."""
    edges = [0, *cuts, len(segment)]
    return [
        make.ethernet(make.ipv4(segment[a:b], fragment=a, more=b < len(segment), **options)) for a, b in pairwise(edges)
    ]


def pieces6(segment, *cuts, before=b"", follows=44):
    edges = [0, *cuts, len(segment)]
    out = []
    for a, b in pairwise(edges):
        header = struct.pack("!BBHI", 6, 0, a | (b < len(segment)), 99)
        out.append(make.ethernet(make.ipv6(before + header + segment[a:b], follows=follows), 0x86DD))
    return out


TCP, FRAGMENT = at.OUTCOME_TCP, at.OUTCOME_FRAGMENT


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 0, 2, 1], [1, 1, 0, 2]])
def test_fragments_complete_in_any_order(order):
    """The segment belongs to the frame that brings the last missing piece; the others are counted as fragments."""
    for frames in (pieces4(LONG, 16, 104), pieces6(LONG, 16, 104)):
        outcomes, rows = read(*[frames[i] for i in order])
        assert outcomes == [FRAGMENT] * (len(order) - 1) + [TCP]
        assert rows[0][:2] == (5, 200)


def test_reassembled_segment_is_checked_as_a_whole():
    """The checksum is that of the whole segment, IPv6 extension headers in front notwithstanding."""
    short = make.with_checksum(make.tcp(bytes(100), seq=5), "10.0.0.1", "10.0.0.2")
    assert read(*pieces4(short, 24))[1] == [(5, 100, at.CHECKSUM_GOOD, "")]
    short = make.with_checksum(make.tcp(bytes(100), seq=5), "2001:db8::1", "2001:db8::2")
    before = make.ipv6_extension(44)
    assert read(*pieces6(short, 24, before=before, follows=60))[1] == [(5, 100, at.CHECKSUM_GOOD, "")]


def test_fragments_keep_their_vlan():
    """A segment put together in VLAN 10 has the path that the kernel gives to whole ones there."""
    frames = [frame[:12] + b"\x81\0\0\x0a" + frame[12:] for frame in pieces4(LONG, 16)]
    whole = make.ethernet(make.ipv4(LONG), 0x0800, 10)
    assert [row[3] for row in read(*frames, whole)[1]] == ["vlan 10", "vlan 10"]
    other = [frames[0], pieces4(LONG, 16)[1]]
    assert read(*other)[0] == [FRAGMENT, FRAGMENT]  # not the same VLAN, not the same datagram


def test_fragmented_tunnel():
    """What is put together may be a tunnel in turn."""
    datagram = make.udp(bytes.fromhex("08000000 00002a00") + FRAME, dst_port=4789)
    outcomes, rows = read(*pieces4(datagram, 40, protocol=17, **ENDS))
    assert outcomes == [FRAGMENT, TCP]
    assert rows == [(77, 5, at.CHECKSUM_GOOD, f"vxlan 42 {PAIR}")]


def test_incomplete_datagrams_are_never_guessed():
    """Without one piece there is no segment, and other identifications do not help."""
    frames = pieces4(LONG, 16, 104)
    stranger = pieces4(LONG, 16, 104, ident=8)
    assert read(frames[0], frames[2], stranger[1]) == ([FRAGMENT] * 3, [])


def test_first_fragment_cut_by_the_capture_shows_its_header():
    """Where the snapshot makes putting together impossible, the first fragment's TCP header is still read."""
    frame = pieces4(LONG, 104)[0]
    capture = open_capture(io.BytesIO(make.pcap([(0, frame[:60], len(frame))])))
    assert [batch.count for batch in capture.segments()] == [1]


def test_late_pieces_do_not_complete():
    """RFC 8200 4.5: a piece that comes more than 60 seconds later belongs to nothing."""
    frames = pieces4(LONG, 104)
    assert read(*frames, times=[0, 59_000_000])[0] == [FRAGMENT, TCP]
    assert read(*frames, times=[0, 61_000_000])[0] == [FRAGMENT, FRAGMENT]


def test_overlap_keeps_the_earlier_piece():
    """Of overlapping bytes those of the piece that begins earlier stand, as Wireshark shows them."""
    table = Fragments()
    parts = [(0, b"AAAAAAAAAAAAAAAA", True), (8, b"BBBBBBBBBBBBBBBB", True), (16, b"CCCCCCCC", True)]
    for offset, content, more in parts:
        assert table.add("k", 0, offset, content, more=more, header=b"H") is None
    assert table.add("k", 0, 24, b"DD", more=False, header=b"I") == (b"H", b"A" * 16 + b"B" * 8 + b"DD")


def test_fragment_memory_is_bounded(monkeypatch):
    """A flood of fragments that never complete drops the oldest, and says how many."""
    monkeypatch.setattr(fragments_module, "MAX_BYTES", 100_000)
    table = Fragments()
    for key in range(1000):
        assert table.add(key, 0, 8, bytes(1000), more=True, header=b"") is None
        assert table._weight <= 100_000
    assert table.dropped > 900
    assert table.add(999, 0, 0, bytes(8), more=True, header=b"") is None  # the newest is still there
    monkeypatch.setattr(fragments_module, "MAX_PIECES", 5)
    for _ in range(10):
        table.add("many", 0, 8, b"x" * 8, more=True, header=b"")
    assert len(table._waiting["many"].pieces) == 5


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 12), st.binary(max_size=40), st.booleans()), min_size=1, max_size=20
    )
)
def test_any_fragments_give_whole_payloads_or_nothing(parts):
    """Whatever comes, a payload that is given out has a byte from some piece at each place, and the weights add up."""
    table = Fragments()
    for key, eighth, content, more in parts:
        whole = table.add(key, 0, eighth * 8, content, more=more, header=b"")
        if whole is not None:
            mine = [(e * 8, c) for k, e, c, _ in parts if k == key]
            for place, byte in enumerate(whole[1]):
                assert any(o <= place < o + len(c) and c[place - o] == byte for o, c in mine)
    assert table._weight == sum(datagram.weight for datagram in table._waiting.values())


BEHIND = {
    "a private Ethertype": (make.ethernet(bytes(4) + make.ipv4(make.tcp()), 0x88B5), "Ethertype 0x88b5"),
    "a frame in a private Ethertype": (make.ethernet(bytes(8) + FRAME, 0xFE00), "Ethertype 0xfe00"),
    "a tag before it": (make.ethernet(make.ipv4(make.tcp()), 0x9999, 7), "Ethertype 0x9999"),
    "IPv6": (make.ethernet(make.ipv6(make.tcp()), 0x9999), "Ethertype 0x9999"),
    "an IP protocol": (make.ethernet(make.ipv4(make.ipv4(make.tcp()), protocol=99)), "IP protocol 99"),
    "an IP protocol over IPv6": (make.ethernet(make.ipv6(make.ipv4(make.tcp()), follows=99), 0x86DD), "IP protocol 99"),
    "GRE": (make.ethernet(make.ipv4(b"\0\0\x99\x99" + make.ipv4(make.tcp()), protocol=47)), "Ethertype 0x9999"),
    "VXLAN on another port": (
        make.ethernet(make.ipv4(make.udp(b"\x08" + bytes(7) + FRAME, dst_port=4795), protocol=17)),
        "UDP port 4795",
    ),
}


@pytest.mark.parametrize("name", BEHIND)
def test_tcp_behind_what_nobody_reads_is_named(name):
    """Whatever the header is that stands before the IP packet."""
    frame, what = BEHIND[name]
    assert skipped(frame) == (0, 1, {what: 1})


@pytest.mark.parametrize(
    "inner",
    [
        make.ipv4(make.udp(bytes(40)), protocol=17),
        make.ipv4(make.tcp(), total=9999),
        make.ipv6(make.tcp())[:-1],
        bytes(range(64, 128)),
        b"",
    ],
)
@pytest.mark.parametrize("kind", [0x9999, 0x0806])
def test_what_only_looks_a_little_like_tcp_is_not(inner, kind):
    """UDP; lengths that do not fit and no checksum that does."""
    assert skipped(make.ethernet(inner, kind)) == (0, 1, {})
