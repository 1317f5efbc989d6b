"""Links, tunnels and fragments: whatever a packet is wrapped in, the same segment, and a path that names it all."""

from __future__ import annotations

import io
import struct
from array import array
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcptrace_fsm.capture import fragments as fragments_module
from tcptrace_fsm.capture.containers import open_capture
from tcptrace_fsm.capture.fragments import Fragments
from tcptrace_fsm.capture.layers import links, tunnels
from tcptrace_fsm.capture.layers.links import LINK_TYPES, encapsulation_code, encapsulation_name, link_name
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


# --- link types -----------------------------------------------------------------------------------------------------

SNAP = bytes.fromhex("aaaa03 000000 0800")
WLAN = bytes.fromhex("0801 0000") + bytes(20)
WLAN_QOS = bytes.fromhex("8801 0000") + bytes(20) + bytes(2)
RADIOTAP = struct.pack("<BBHI", 0, 0, 8, 0)

LINK_SAMPLES = {
    0: [make.null(PACKET), make.null(PACKET6, 30), bytes.fromhex("ff030021") + PACKET],
    1: [FRAME],
    6: [
        bytes.fromhex("1040") + bytes(12) + SNAP + PACKET,
        b"\x10\x40" + bytes(6) + b"\x80" + bytes(5) + b"\4\0\0\0" + SNAP + PACKET,
    ],
    8: [bytes(16) + PACKET, PACKET],
    9: [
        bytes.fromhex("ff030021") + PACKET,
        bytes.fromhex("0021") + PACKET,
        b"\x21" + PACKET,
        b"\xff\x03\0\x57" + PACKET6,
    ],
    10: [b"\x54" + bytes(12) + SNAP + PACKET],
    11: [SNAP + PACKET],
    12: [PACKET, PACKET6],
    14: [PACKET],
    50: [bytes.fromhex("ff030021") + PACKET],
    51: [bytes.fromhex("11000011 002f 0021") + PACKET],
    100: [SNAP + PACKET, bytes.fromhex("fefe03cc") + PACKET, bytes.fromhex("aaaa030080c200070000") + FRAME],
    101: [PACKET, PACKET6],
    104: [bytes.fromhex("0f000800") + PACKET, bytes.fromhex("8f0086dd") + PACKET6],
    105: [WLAN + SNAP + PACKET, WLAN_QOS + SNAP + PACKET, b"\x08\x03\0\0" + bytes(26) + SNAP + PACKET],
    107: [
        bytes.fromhex("184103cc") + PACKET,
        bytes.fromhex("184103008000 00000800") + PACKET,
        b"\x18\x41\x08\0" + PACKET,
    ],
    108: [make.null(PACKET, 2, ">")],
    109: [struct.pack("<III", 2, 1, 0) + PACKET],
    113: [
        make.sll(PACKET),
        make.sll(SNAP + PACKET, 4),
        make.sll(WLAN + SNAP + PACKET, 25, 801),
        make.sll(PACKET, 0x0800, 778),
    ],
    117: [b"\x3d" + bytes(63) + PACKET],
    119: [
        struct.pack("<II", 0x44, 144) + bytes(136) + WLAN + SNAP + PACKET,
        struct.pack(">II", 0x80211001, 64) + bytes(56) + WLAN + SNAP + PACKET,
    ],
    122: [bytes(16) + SNAP + PACKET],
    123: [b"\x02\0\0\0" + SNAP + PACKET, b"\x01\0\0\0\0\0" + FRAME],
    143: [b"\0\0\0\x3b\0\0" + FRAME, b"\1\4\0\x3f" + bytes(6) + FRAME],
    178: [b"MGC\0" + FRAME, b"MGC\x80\0\3abc" + FRAME, b"MGC\2\2\0\0\0" + PACKET],
    179: [b"MGC\1\xff\3\0\x21" + PACKET],
    180: [b"MGC\1\x18\x41\3\xcc" + PACKET],
    181: [b"MGC\1\x0f\0\x08\0" + PACKET],
    197: [
        bytes(8) + b"\2" + bytes(9) + FRAME,
        bytes(8) + b"\x82" + bytes(7) + b"\x80" + bytes(7) + bytes(8) + bytes(2) + FRAME,
        bytes(8) + b"\1" + bytes(7) + b"\x0f\0\x08\0" + PACKET,
    ],
    242: [b"\x08\0\0\0" + PACKET, bytes(20) + b"\x08\0\0\0" + PACKET],
    259: [bytes(8) + FRAME],
    281: [FRAME[:12] + bytes(4) + FRAME[12:]],
    282: [bytes(4) + FRAME],
    283: [FRAME[:12] + bytes(4) + FRAME[12:]],
    284: [FRAME[:12] + b"\xda\xda" + bytes(6) + FRAME[12:]],
    127: [
        RADIOTAP + WLAN + SNAP + PACKET,
        struct.pack("<BBHIB", 0, 0, 9, 2, 0x20) + WLAN_QOS + bytes(2) + SNAP + PACKET,
        struct.pack("<BBHIIIQB", 0, 0, 25, 0x80000003, 0, 0, 5, 0) + WLAN + SNAP + PACKET,
    ],
    163: [struct.pack(">II", 0x80211001, 64) + bytes(56) + WLAN + SNAP + PACKET],
    166: [bytes.fromhex("01ff030021") + PACKET],
    192: [struct.pack("<BBHI", 0, 0, 8, 105) + WLAN + SNAP + PACKET],
    204: [bytes.fromhex("00ff030021") + PACKET],
    205: [bytes.fromhex("000f000800") + PACKET],
    206: [bytes.fromhex("00184103cc") + PACKET],
    228: [PACKET],
    229: [PACKET6],
    239: [b"\2\0\0\0" + struct.pack("<HH4sHH", 8, 1, bytes(4), 4 + len(PACKET), 9) + PACKET],
    240: [bytes(4) + FRAME],
    258: [struct.pack("<III", 108, 1, 1) + bytes(96) + FRAME],
    276: [make.sll2(PACKET), make.sll2(PACKET6, 0x86DD)],
}


@pytest.mark.parametrize("link", sorted(LINK_TYPES))
def test_every_link_type_has_a_sample(link):
    """Each link type that is read finds the segment in its samples; each that is not is counted by number."""
    if not LINK_TYPES[link].layer:
        assert link not in LINK_SAMPLES
        assert read(FRAME, link=link) == ([at.OUTCOME_UNSUPPORTED_LINK], [])
        return
    for sample in LINK_SAMPLES[link]:
        assert one(sample, link) == ("pppoe 17" if link == 51 else "")


def test_unsupported_links_are_counted_by_number():
    """A link type that nobody reads is counted, not lost."""
    capture = open_capture(io.BytesIO(make.pcap([(0, FRAME)] * 3, link=54321)))
    assert [batch.count for batch in capture.segments()] == [0]
    assert capture.unsupported_links == {54321: 3}
    assert capture.outcomes[at.OUTCOME_UNSUPPORTED_LINK] == 3
    assert (link_name(54321), link_name(276)) == ("link type 54321", "Linux cooked v2")


@pytest.mark.parametrize(
    "frame, link",
    [
        (bytes.fromhex("0841 0000") + bytes(20) + SNAP + PACKET, 105),  # encrypted
        (bytes.fromhex("8000 0000") + bytes(40), 105),  # a beacon
        (bytes.fromhex("4801 0000") + bytes(20), 105),  # null data
        (make.sll(PACKET, 0, 824), 113),  # netlink
        (make.ethernet(bytes.fromhex("424203") + bytes(40), 43), 1),  # spanning tree
        (make.ethernet(bytes(46), 1501), 1),  # neither length nor type
        (make.ethernet(bytes.fromhex("1109 0000 0006 c021") + bytes(30), 0x8863), 1),  # PPPoE discovery
        (bytes.fromhex("ff03c021") + bytes(20), 9),  # LCP
        (make.ethernet(bytes.fromhex("0000 1140 1000 0000"), 0x8847), 1),  # MPLS around nothing known
    ],
)
def test_links_without_ip_are_not_tcp(frame, link):
    """Sound frames of peeled links that hold no IP are counted as such."""
    assert read(frame, link=link) == ([at.OUTCOME_NOT_TCP], [])


# --- tunnels --------------------------------------------------------------------------------------------------------


def over_ip(protocol, payload):
    return make.ethernet(make.ipv4(payload, protocol=protocol, **ENDS))


def over_udp(port, payload, src_port=50000):
    return over_ip(17, make.udp(payload, dst_port=port, src_port=src_port))


def gre(flags, kind, extra, payload):
    return struct.pack("!HH", flags, kind) + extra + payload


MPLS = bytes.fromhex("00010040 00020140")
TUNNELS = {
    "five VLANs": (make.ethernet(PACKET, 0x0800, 1, 2, 3, 4, 5), "vlan 1/vlan 2/vlan 3/vlan 4/vlan 5"),
    "LLC": (make.ethernet(SNAP + PACKET, len(SNAP + PACKET)), ""),
    "LLC, IP's own SAP": (make.ethernet(b"\6\6\3" + PACKET, 3 + len(PACKET)), ""),
    "VLAN and LLC": (make.ethernet(SNAP + PACKET, len(SNAP + PACKET), 9), "vlan 9"),
    "MPLS": (make.ethernet(MPLS + PACKET, 0x8847), "mpls"),
    "MPLS, IPv6": (make.ethernet(MPLS + PACKET6, 0x8848), "mpls"),
    "pseudowire": (make.ethernet(MPLS + FRAME, 0x8847), "mpls"),
    "pseudowire with control word": (make.ethernet(MPLS + b"\0\0\0\5" + FRAME, 0x8847), "mpls"),
    "PPPoE": (make.ethernet(bytes.fromhex("1100 0011 002f 0021") + PACKET, 0x8864), "pppoe 17"),
    "PPPoE in VLAN": (make.ethernet(bytes.fromhex("1100 0011 0043 0057") + PACKET6, 0x8864, 7), "vlan 7/pppoe 17"),
    "FabricPath": (make.ethernet(b"\0\x40" + FRAME, 0x8903), ""),
    "802.1ah": (make.ethernet(bytes.fromhex("00000abc") + FRAME, 0x88E7), "pbb 2748"),
    "NSH": (make.ethernet(bytes.fromhex("0fc20201 00000100") + PACKET, 0x894F), ""),
    "VN-tag": (make.ethernet(bytes.fromhex("00000000 0800") + PACKET, 0x8926), ""),
    "HSR": (make.ethernet(bytes.fromhex("00000000 0800") + PACKET, 0x892F), ""),
    "Cisco metadata": (make.ethernet(bytes.fromhex("010100010000 0800") + PACKET, 0x8909), ""),
    "TRILL": (make.ethernet(bytes.fromhex("0000 0001 0002") + FRAME, 0x22F3), ""),
    "MACsec, not encrypted": (
        make.ethernet(bytes.fromhex("2000 00000001") + bytes(8) + b"\x08\0" + PACKET, 0x88E5),
        "",
    ),
    "IP in IP": (over_ip(4, PACKET), f"ipip {PAIR}"),
    "6in4": (over_ip(41, PACKET6), "6in4"),
    "IPv4 in IPv6": (make.ethernet(make.ipv6(PACKET, follows=4), 0x86DD), "ipip 2001:db8::1-2001:db8::2"),
    "IPv6 in IPv6": (make.ethernet(make.ipv6(PACKET6, follows=41), 0x86DD), "6in6 2001:db8::1-2001:db8::2"),
    "GRE": (over_ip(47, gre(0, 0x0800, b"", PACKET)), f"gre {PAIR}"),
    "GRE, checksum, key, sequence": (
        over_ip(47, gre(0xB000, 0x0800, bytes(4) + b"\0\0\0\7" + bytes(4), PACKET)),
        f"gre {PAIR} key 7",
    ),
    "GRE, routing": (
        over_ip(47, gre(0x4000, 0x0800, bytes(4) + bytes.fromhex("08000004 0a000001 00000000"), PACKET)),
        f"gre {PAIR}",
    ),
    "PPTP": (over_ip(47, gre(0x3081, 0x880B, bytes(12), b"\xff\3\0\x21" + PACKET)), f"gre {PAIR}"),
    "NVGRE": (over_ip(47, gre(0x2000, 0x6558, b"\0\0\x05\0", FRAME)), f"gre {PAIR} key 1280"),
    "WCCP": (over_ip(47, gre(0, 0x883E, bytes(4), PACKET)), f"gre {PAIR}"),
    "ERSPAN I": (over_ip(47, gre(0, 0x88BE, b"", FRAME)), f"gre {PAIR}"),
    "ERSPAN II": (
        over_ip(47, gre(0x1000, 0x88BE, bytes(4) + bytes.fromhex("1000 0005 00000000"), FRAME)),
        f"gre {PAIR}/erspan 5",
    ),
    "ERSPAN III": (
        over_ip(47, gre(0x1000, 0x22EB, bytes(4) + bytes.fromhex("2000 0006") + bytes(8), FRAME)),
        f"gre {PAIR}/erspan 6",
    ),
    "ERSPAN III, long": (
        over_ip(47, gre(0x1000, 0x22EB, bytes(4) + bytes.fromhex("2000 0006") + bytes(7) + b"\1" + bytes(8), FRAME)),
        f"gre {PAIR}/erspan 6",
    ),
    "MPLS over GRE": (over_ip(47, gre(0, 0x8847, b"", MPLS + PACKET)), f"gre {PAIR}/mpls"),
    "MPLS over UDP": (over_udp(6635, MPLS + PACKET), f"udp {PAIR}/mpls"),
    "GRE over UDP": (over_udp(4754, gre(0, 0x0800, b"", PACKET)), f"gre {PAIR}"),
    "EtherIP": (over_ip(97, b"\x30\0" + FRAME), f"etherip {PAIR}"),
    "Ethernet in IP": (over_ip(143, FRAME), f"ethernet {PAIR}"),
    "VXLAN": (over_udp(4789, bytes.fromhex("08000000 00002a00") + FRAME), f"vxlan 42 {PAIR}"),
    "VXLAN on Linux' old port": (over_udp(8472, bytes.fromhex("08000000 00002a00") + FRAME), f"vxlan 42 {PAIR}"),
    "VXLAN-GPE": (over_udp(4790, bytes.fromhex("0c000001 00002a00") + PACKET), f"vxlan 42 {PAIR}"),
    "VXLAN with a VLAN inside": (
        over_udp(4789, bytes.fromhex("08000000 00002a00") + make.ethernet(PACKET, 0x0800, 6)),
        f"vxlan 42 {PAIR}/vlan 6",
    ),
    "Geneve": (over_udp(6081, bytes.fromhex("0100 6558 00000700 00000000") + FRAME), f"geneve 7 {PAIR}"),
    "Geneve, IP": (over_udp(6081, bytes.fromhex("0000 0800 00000700") + PACKET), f"geneve 7 {PAIR}"),
    "GTP-U": (over_udp(2152, bytes.fromhex("30ff 002d 00000001") + PACKET), f"gtp {PAIR}"),
    "GTP-U, extensions": (
        over_udp(2152, bytes.fromhex("34ff 0035 00000001 00000085 01001000") + PACKET),
        f"gtp {PAIR}",
    ),
    "GTP-U, sequence number": (over_udp(2152, bytes.fromhex("32ff 0031 00000001 00010000") + PACKET), f"gtp {PAIR}"),
    "GTP of version 0": (over_udp(3386, b"\x1e\xff" + bytes(18) + PACKET), f"gtp {PAIR}"),
    "Teredo": (over_udp(3544, PACKET6), "teredo"),
    "Teredo, authentication and origin": (over_udp(3544, b"\0\1\0\0" + bytes(9) + bytes(8) + PACKET6), "teredo"),
    "AYIYA": (over_udp(5072, bytes.fromhex("44 52 01 29 00000000") + bytes(36) + PACKET6), f"ayiya {PAIR}/6in4"),
    "L2TP": (over_udp(1701, bytes.fromhex("0002 0001 0002 ff03 0021") + PACKET), f"l2tp {PAIR}"),
    "L2TP, all fields": (
        over_udp(1701, bytes.fromhex("4a02 0040 0001 0002 0000 0000 0002 0000 0021") + PACKET),
        f"l2tp {PAIR}",
    ),
    "CAPWAP, Ethernet": (over_udp(5247, bytes.fromhex("00100000 00000000") + FRAME), f"capwap {PAIR}"),
    "CAPWAP, 802.11": (
        over_udp(5247, bytes.fromhex("00100300 00000000") + b"\1\x08" + WLAN[2:] + SNAP + PACKET),
        f"capwap {PAIR}",
    ),
    "batman-adv": (make.ethernet(bytes.fromhex("400f 3201") + bytes(6) + FRAME, 0x4305), "batman"),
    "TZSP": (over_udp(37008, bytes.fromhex("01000001 0a0100 01") + FRAME), f"tzsp {PAIR}"),
    "tunnel in tunnel": (
        over_ip(47, gre(0, 0x0800, b"", make.ipv4(PACKET, protocol=4))),
        f"gre {PAIR}/ipip 10.0.0.1-10.0.0.2",
    ),
    "authentication header": (over_ip(51, b"\x04\4" + bytes(22) + PACKET), f"ipip {PAIR}"),
}


@pytest.mark.parametrize("name", TUNNELS)
def test_tunnels(name):
    """The segment inside is found whole, and the path says what was around it, outermost first."""
    frame, path = TUNNELS[name]
    assert one(frame) == path


@pytest.mark.parametrize("name", [name for name in TUNNELS if PAIR in TUNNELS[name][1]])
def test_both_directions_share_a_path(name):
    """A connection's two directions run between the same tunnel ends: the path does not depend on which sends."""
    frame, path = TUNNELS[name]
    there, back = make.ip_address(ENDS["src"]).packed, make.ip_address(ENDS["dst"]).packed
    turned = frame.replace(there + back, back + there)
    assert turned != frame
    assert one(turned) == path


@pytest.mark.parametrize("name", TUNNELS)
def test_tunnels_cut_anywhere_have_an_outcome(name):
    """A snapshot may end in any header; the frame is counted once, and never raises."""
    frame, _ = TUNNELS[name]
    whole = 0
    for kept in range(len(frame)):
        capture = open_capture(io.BytesIO(make.pcap([(0, frame[:kept], len(frame))])))
        whole += sum(batch.count for batch in capture.segments())
        assert sum(capture.outcomes) == 1
        assert capture.outcomes[at.OUTCOME_PEEL] == 0
    assert whole == 5  # with no byte of the payload, with one, ... with four


@given(st.sampled_from(sorted(TUNNELS)), st.lists(st.tuples(st.integers(14, 400), st.integers(0, 255)), max_size=3))
def test_tunnels_with_changed_bytes_have_an_outcome(name, changes):
    """Bytes changed at random in any tunnel header: one outcome, no exception."""
    frame = bytearray(TUNNELS[name][0])
    for place, value in changes:
        frame[place % len(frame)] = value
    outcomes, _ = read(bytes(frame))
    assert len(outcomes) == 1
    assert outcomes[0] != at.OUTCOME_PEEL


@given(st.sampled_from(sorted(LINK_TYPES)), st.binary(max_size=120))
def test_any_bytes_on_any_link_have_an_outcome(link, content):
    """Every link type takes every frame."""
    outcomes, _ = read(content, link=link)
    assert outcomes[0] != at.OUTCOME_PEEL


@pytest.mark.parametrize("port", [4789, 6081, 2152, 3544, 1701, 37008])
def test_a_tunnels_port_alone_is_no_tunnel(port):
    """Datagrams that only borrow a tunnel's port number are not TCP."""
    for payload in (b"", b"\xff" * 30, b"GET / HTTP/1.1\r\n\r\n"):
        assert read(over_udp(port, payload)) == ([at.OUTCOME_NOT_TCP], [])
    dns = over_udp(port, bytes.fromhex("08000000 00002a00") + FRAME, src_port=53)
    assert read(dns) == ([at.OUTCOME_NOT_TCP], [])


def test_layers_without_end():
    """A frame of nothing but VLAN tags, or of MPLS in GRE in IP again and again, ends in bounded work."""
    tags = bytes.fromhex("8100 0001") * 60000
    assert read(make.ethernet(tags[2:], 0x8100))[0] == [at.OUTCOME_TOO_DEEP]
    packet = PACKET
    for _ in range(100):
        packet = make.ipv4(packet, protocol=4)
    assert read(make.ethernet(packet))[0] == [at.OUTCOME_TOO_DEEP]


def test_slow_and_fast_segments_keep_the_order_of_frames():
    """Segments from peeled frames stand among the others where their frames stand."""
    gre_frame = TUNNELS["GRE"][0]
    frames = [make.ethernet(make.ipv4(make.tcp(seq=i))) if i % 3 else gre_frame for i in range(3000)]
    _, rows = read(*frames)
    assert [row[0] for row in rows] == [i if i % 3 else 77 for i in range(3000)]


# --- paths ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 4095), max_size=6))
def test_path_codes_and_names_agree(ids):
    """A code names the path it was made of, whoever made it; VLAN tags need no registration."""
    path = [f"vlan {i}" for i in ids]
    code = encapsulation_code(path)
    assert encapsulation_name(code) == "/".join(path)
    assert (code < 0) == (len(ids) > 4)
    assert encapsulation_code(path) == code
    array("q", [code * 2 + 1])  # fits the segment record


def test_path_registry_is_bounded(monkeypatch):
    """A capture that makes up tunnels without end gets one shared code for the rest."""
    monkeypatch.setattr(links, "_names", {})
    monkeypatch.setattr(links, "_codes", {})
    monkeypatch.setattr(links, "MAX_PATHS", 3)
    codes = [encapsulation_code([f"vxlan {i}"]) for i in range(5)]
    assert len(set(codes)) == 4
    assert codes[3] == codes[4]
    assert [encapsulation_name(code) for code in codes[:3]] == ["vxlan 0", "vxlan 1", "vxlan 2"]
    assert encapsulation_name(codes[3]) == "tunnels beyond counting"
    assert encapsulation_code(["vxlan 1"]) == codes[1]


def test_path_codes_mean_the_same_in_every_process():
    """A number that must not change: segments travel between processes with it."""
    assert encapsulation_code(["gre", "vlan 7"]) == -33470758626878980


def test_paths_are_learnt_from_another_process(monkeypatch):
    code = encapsulation_code(["vxlan 77"])
    known = links.known_paths()
    monkeypatch.setattr(links, "_names", {})
    assert encapsulation_name(code) == "tunnels beyond counting"
    links.learn_paths(known)
    assert encapsulation_name(code) == "vxlan 77"


# --- fragments ------------------------------------------------------------------------------------------------------

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


def test_every_registered_layer_exists():
    """The registry of links names only layers that the peeler has."""
    for number, kind in LINK_TYPES.items():
        if kind.layer == "kernel":
            assert number in tunnels._KERNEL_LINKS
        elif kind.layer:
            assert kind.layer in tunnels._LINKS
