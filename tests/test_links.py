"""Links, tunnels and fragments: whatever a packet is wrapped in, the same segment, and a path that names it all."""

from __future__ import annotations

import io
import struct
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tcptrace_fsm.capture.containers import open_capture
from tcptrace_fsm.capture.layers import layers, links, paths
from tcptrace_fsm.capture.layers.links import (
    KERNEL_LINKS,
    NAMES_ONLY,
    encapsulation_code,
    encapsulation_name,
    encapsulation_texts,
    link_name,
)
from tcptrace_fsm.kernels import layout as at
from tcptrace_fsm.kernels.layout import P_TEXT, PT_STORE
from tests import builders as make
from tests.kernels import uncompiled
from tests.wrapping import ENDS, FRAME, PACKET, PACKET6, PAIR, content, one, over_ip, over_udp, read

registry = layers()


plain_decode = uncompiled("decode")


# --- link types -------------------------------------------------------------------------------------------------------


SNAP = bytes.fromhex("aaaa03 000000 0800")


WLAN = bytes.fromhex("0801 0000") + bytes(20)


def around(entry, sample):
    """A frame with what a layer's sample holds, its link type, and what the path begins with."""
    inside, number = content(sample), entry.number
    if entry.table == "link":
        return inside, number
    if entry.table == "ethertype":
        return make.ethernet(inside, number), 1
    if entry.table == "ip_protocol":
        return over_ip(number, inside), 1
    if entry.table == "udp_port":
        return over_udp(number, inside), 1
    if entry.table == "gre_protocol":
        return over_ip(47, gre(0, number, b"", inside)), 1
    if entry.table == "ppp_protocol":
        return number.to_bytes(2, "big") + inside, 9
    if entry.table == "next_protocol":
        return make.ethernet(bytes([0x0F, 0xC2, 2, number]) + b"\0\0\1\0" + inside, 0x894F), 1
    assert entry.table == "hardware"
    return make.sll(inside, 25, number), 113


ENTRIES = [(entry, sample) for entry in registry.ENTRIES for sample in entry.samples]


@pytest.mark.parametrize("entry", registry.ENTRIES, ids=lambda e: f"{e.table} {e.number:#x}")
def test_every_layer_has_a_sample(entry):
    """Each says beside it what it reads."""
    assert entry.samples


def id_of(value):
    """What a test of a layer, or of a sample, is called."""
    return f"{value.table} {value.number:#x}" if isinstance(value, registry.Entry) else value.text


@pytest.mark.parametrize(("entry", "sample"), ENTRIES, ids=id_of)
def test_samples_are_decoded(entry, sample):
    """The segment in a layer's sample is found whole, with its path; or what is not decoded is counted by name."""
    frame, link = around(entry, sample)
    if not sample.skipped:
        assert one(frame, link) == sample.path.replace("PAIR", PAIR)
        return
    capture = open_capture(io.BytesIO(make.pcap([(0, frame)], link=link)))
    assert [batch.count for batch in capture.segments()] == [0]
    assert capture.outcomes[at.OUTCOME_NOT_TCP] == 1
    assert capture.skipped == {sample.skipped: 1}


def test_the_kernel_leaves_to_the_layers_what_they_read():
    """What leads to a layer is not dismissed as no TCP, and nothing else is left to the layers."""
    by_kernel = {0x0800, 0x86DD, 0x8100, 0x88A8, 0x9100, 0x9200, 0x9300}
    kinds = {n for n in range(1536, 65536) if plain_decode.tunnel_ethertype(n)}
    assert kinds == set(registry.ETHERTYPES) - by_kernel
    assert {n for n in range(256) if plain_decode.tunnel_protocol(n)} | {1, 6, 17, 51, 58} == set(registry.IP_PROTOCOLS)
    assert {n for n in range(65536) if plain_decode.tunnel_port(n)} == set(registry.UDP_PORTS)


@pytest.mark.parametrize("link", sorted(NAMES_ONLY))
def test_links_that_nobody_reads_are_counted_by_number(link):
    """Their frames are of an unsupported link."""
    assert link not in registry.LINKS
    assert read(FRAME, link=link) == ([at.OUTCOME_UNSUPPORTED_LINK], [])


def test_the_names_of_links_stand_in_one_place():
    """Those that the kernel reads have theirs where every start needs them."""
    assert set(KERNEL_LINKS) <= set(registry.LINKS)
    assert not set(NAMES_ONLY) & set(registry.LINKS)
    assert all(registry.LINKS[number].name == name for number, name in KERNEL_LINKS.items())


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


# --- tunnels ----------------------------------------------------------------------------------------------------------


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


@pytest.mark.slow
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


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.parametrize(("entry", "sample"), ENTRIES, ids=id_of)
def test_samples_cut_anywhere_have_an_outcome(entry, sample):
    """The same for whatever a layer reads: never an exception, never two outcomes."""
    frame, link = around(entry, sample)
    for kept in range(len(frame)):
        capture = open_capture(io.BytesIO(make.pcap([(0, frame[:kept], len(frame))], link=link)), broken=True)
        assert max((batch.count for batch in capture.segments()), default=0) <= 1
        assert sum(capture.outcomes) == 1
        assert capture.outcomes[at.OUTCOME_PEEL] == 0


@given(st.sampled_from(ENTRIES), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4))
def test_samples_with_changed_bytes_have_an_outcome(case, changes):
    """Bytes changed at random in any layer's header: one outcome, no exception."""
    content, link = around(*case)
    frame = bytearray(content)
    for place, value in changes:
        frame[place % len(frame)] = value
    outcomes, _ = read(bytes(frame), link=link)
    assert len(outcomes) == 1
    assert outcomes[0] != at.OUTCOME_PEEL


@given(st.sampled_from(sorted({*registry.LINKS, *NAMES_ONLY})), st.binary(max_size=120))
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


# --- paths ------------------------------------------------------------------------------------------------------------


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
    monkeypatch.setattr(links, "_paths", paths.Paths(3))
    codes = [encapsulation_code([f"vxlan {i}"]) for i in range(5)]
    assert len(set(codes)) == 4
    assert codes[3] == codes[4]
    assert [encapsulation_name(code) for code in codes[:3]] == ["vxlan 0", "vxlan 1", "vxlan 2"]
    assert encapsulation_name(codes[3]) == "tunnels beyond counting"
    assert encapsulation_code(["vxlan 1"]) == codes[1]


def test_path_codes_mean_the_same_in_every_process():
    """A number that must not change: segments travel between processes with it."""
    assert encapsulation_code(["gre", "vlan 7"]) == -21832919241689332


def test_paths_are_learnt_from_another_process(monkeypatch):
    code = encapsulation_code(["vxlan 77"])
    known = links.known_paths()
    monkeypatch.setattr(links, "_paths", paths.Paths())
    assert encapsulation_name(code) == "tunnels beyond counting"
    links.learn_paths(known)
    assert encapsulation_name(code) == "vxlan 77"
    assert encapsulation_texts(array("q", [code, 10 << 3 | 1])) == (array("q", [8, 7]), b"vxlan 77vlan 10")


def test_two_paths_never_share_a_code(monkeypatch):
    """The second of two that would is given the next one, and both keep their names."""
    monkeypatch.setattr(links, "_paths", paths.Paths())
    first = encapsulation_code(["vxlan 1"])
    words = links.met_paths().words
    words[PT_STORE + P_TEXT] ^= 1  # as if another path had come to that code
    assert encapsulation_code(["vxlan 1"]) == first - 1
    assert encapsulation_code(["vxlan 1"]) == first - 1
    assert encapsulation_name(first) == "wxlan 1"
    assert encapsulation_name(first - 1) == "vxlan 1"
    assert links.met_paths().names() == {first: "wxlan 1", first - 1: "vxlan 1"}
