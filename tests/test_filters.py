"""Filters: libpcap's expressions, libpcap's program, and the same frames kept as libpcap keeps."""

from __future__ import annotations

import io
import sys
from array import array
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tcptrace_fsm.api import analyze
from tcptrace_fsm.capture.containers import open_capture
from tcptrace_fsm.capture.filters import Filter
from tcptrace_fsm.errors import UsageError
from tcptrace_fsm.kernels import bpf as installed
from tcptrace_fsm.kernels import layout as at
from tests import builders as make
from tests.kernels import Watched, uncompiled

cypcap = pytest.importorskip("cypcap")

PLAIN = uncompiled("bpf")
EXPRESSIONS = (
    *("", "tcp", "tcp port 80", "host 10.0.0.1 and not port 22", "src net 10.0.0.0/8", "ip6", "vlan and tcp", "vlan 7"),
    *("tcp[tcpflags] & (tcp-syn|tcp-fin) != 0", "tcp[13] = 18", "ip[2:2] > 60", "len <= 100", "greater 90", "less 60"),
    *("ip[8] * 3 / 2 % 7 = 1", "(ip[0] & 0xf) << 2 >= 20", "ip[8] - ip[9] < 250", "ether[0] ^ ether[1] = 0"),
    *("ip proto \\tcp or udp", "portrange 79-81", "ip6 protochain 6", "tcp[20:4] = 0x47455420", "arp"),
    *(
        "ip[6:2] & 0x1fff = 0 and icmp[icmptype] = icmp-echo",
        "ether proto 0x86dd",
        "mpls and tcp",
        "pppoes",
        "-ip[9] = 5",
    ),
    *("ip[8] / (ip[9] - ip[9]) = 1", "1 << 31 = 0x80000000", "ip[12:4] * 65537 > 5", "inbound"),
)


def kept_by_libpcap(expression, link, frames):
    number = {101: 12}.get(link, link)
    with closing(cypcap.open_dead(number, 262144)) as dead:
        program = dead.compile(expression, True, cypcap.NETMASK_UNKNOWN)
    return [program.offline_filter(cypcap.Pkthdr(caplen=len(c), len=n), bytes(c)) for c, n in frames]


def kept_here(kernel, expression, link, frames, watch=lambda x: x):
    """The same frames one after another in a chunk, with bytes around them that are not theirs."""
    data, records = bytearray(b"\x45" * 3), array("q")
    for content, original in frames:
        records.extend([len(data), len(content), original, 0, link, 0])
        data += content + b"\x45"
    chosen = Filter(expression)
    chosen.prepare([link])
    program = chosen._programs[link]
    arguments = (bytes(data), records, len(frames), link, program, len(program) // 4, array("q", bytes(128)))
    marked = kernel.select(*(watch(a) if isinstance(a, array) else a for a in arguments))
    links = records[at.F_LINK :: at.FRAME_SIZE]
    assert marked == sum(one < 0 for one in links)
    assert set(links) <= {link, -1 - link}
    return [one == link for one in links]


SEGMENT = make.tcp(b"GET / HTTP/1.0", seq=77, flags="PA", src_port=80, dst_port=40000)
FRAMES = [
    make.ethernet(make.ipv4(SEGMENT)),
    make.ethernet(make.ipv6(SEGMENT), 0x86DD),
    make.ethernet(make.ipv4(SEGMENT), 0x0800, 7),
    make.ethernet(make.ipv4(make.udp(b"x" * 40, dst_port=80), protocol=17)),
    make.ethernet(make.ipv4(bytes(8), protocol=1)),
    make.ethernet(bytes(28), 0x0806),
    make.ethernet(bytes.fromhex("00010040 00020140") + make.ipv4(SEGMENT), 0x8847),
    make.ethernet(bytes.fromhex("1100 0011 002f 0021") + make.ipv4(SEGMENT), 0x8864),
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
@pytest.mark.parametrize("kernel", [installed, PLAIN], ids=["installed", "uncompiled"])
def test_frames_are_kept_as_libpcap_keeps_them(kernel, expression):
    """Frames of many kinds, whole and cut at each length."""
    frames = [(frame[:end], len(frame)) for frame in FRAMES for end in range(len(frame) + 1)]
    watch = Watched if kernel is PLAIN else lambda x: x
    assert kept_here(kernel, expression, 1, frames, watch) == kept_by_libpcap(expression, 1, frames)


PARTS = st.tuples(st.integers(0, 7), st.binary(max_size=80), st.integers(0, 80))


@settings(deadline=None)
@given(st.sampled_from(EXPRESSIONS), st.lists(PARTS, max_size=5))
def test_any_bytes_are_kept_as_libpcap_keeps_them(expression, parts):
    """Frames with anything written over them."""
    frames = []
    for which, over, where in parts:
        content = bytearray(FRAMES[which])
        content[where : where + len(over)] = over
        frames.append((bytes(content), len(content) + where))
    assert kept_here(PLAIN, expression, 1, frames, Watched) == kept_by_libpcap(expression, 1, frames)


LINKED = [(101, make.ipv4(SEGMENT)), (113, make.sll(make.ipv4(SEGMENT))), (276, make.sll2(make.ipv4(SEGMENT)))]


@pytest.mark.parametrize("link, frame", LINKED)
def test_each_link_type_has_its_program(link, frame):
    assert kept_here(installed, "tcp port 80", link, [(frame, len(frame))]) == [True]
    assert kept_here(installed, "tcp port 81", link, [(frame, len(frame))]) == [False]


def test_a_frame_cannot_keep_a_program_busy_for_ever():
    """A loop in the program ends."""
    loop = array("q", [5, 0, 0, 2**32 - 1])
    frames = array("q", [0, 4, 4, 0, 1, 0])
    assert installed.select(b"abcd", frames, 1, 1, loop, 1, array("q", bytes(128))) == 1


def test_filtered_frames_are_counted_and_the_others_keep_their_numbers():
    """Each frame once; numbers are the file's; the clock is the file's too."""
    other = make.ethernet(make.ipv4(make.tcp(b"", src_port=1, dst_port=2)))
    data = make.pcap([(0, other), (1, FRAMES[0]), (2, FRAMES[5]), (3, FRAMES[0]), (4, other)])
    trace = analyze(io.BytesIO(data), filter="tcp port 80", tables=["segments"])
    assert trace.summary["frames"] == {
        "tcp": 2,
        "not_tcp": 0,
        "fragment": 0,
        "malformed": {},
        "unsupported_link": {},
        "filtered": 3,
    }
    assert trace.segments["frame"].tolist() == [2, 4]
    assert trace.summary["options"]["filter"] == "tcp port 80"
    assert "3 frames left out" in repr(trace)


def test_a_link_type_met_later_gets_its_program_then():
    """Interfaces of several link types in one file, one that nobody reads among them: its frames stay that."""
    data = make.section() + make.interface(1) + make.packet(0, FRAMES[0]) + make.packet(1, FRAMES[3])
    data += make.interface(101) + make.packet(2, LINKED[0][1], number=1) + make.packet(3, b"E", number=1)
    data += make.interface(54321) + make.packet(4, b"abc", number=2)
    trace = analyze(io.BytesIO(data), filter="tcp port 80")
    assert trace.summary["frames"] == {
        "tcp": 2,
        "not_tcp": 0,
        "fragment": 0,
        "malformed": {},
        "unsupported_link": {"54321": 1},
        "filtered": 2,
    }


def test_vlans_are_tcpdumps():
    """Without "vlan", an expression looks at untagged frames only; what comes after it looks behind the tag."""
    data = make.pcap([(0, FRAMES[0]), (1, FRAMES[2])])

    def kept(expression):
        return analyze(io.BytesIO(data), filter=expression, tables=["segments"]).segments["frame"].tolist()

    assert kept("tcp") == [1]
    assert kept("vlan and tcp") == [2]
    assert kept("vlan 8 and tcp") == []
    assert kept("tcp or (vlan and tcp)") == [1, 2]


@pytest.mark.parametrize(
    "expression, wanted",
    [
        ("tcp porrt 80", "syntax error at 'porrt', character 5 of 'tcp porrt 80'"),
        ("foo", "syntax error at 'foo', character 1 of"),
        ("port 80 and", "syntax error at the end of 'port 80 and'"),
        ("tcp and (port 80", "syntax error at the end"),
        ("tcp[13", "syntax error at the end"),
        ("tcp[13] & 2 !== 0", "syntax error at '!==', character 13"),
        ("tcp port 80 or or udp", "syntax error at 'or', character 16"),
        ("x" * 5000, "up to 4096 printable characters"),
        ("tcp\nport 80", "up to 4096 printable characters"),
    ],
)
def test_a_wrong_expression_is_told_with_its_place(expression, wanted):
    with pytest.raises(UsageError) as told:
        Filter(expression)
    assert wanted in str(told.value)


@pytest.mark.parametrize(
    "expression, wanted",
    [
        ("tcp and host 1.2.3.999", "invalid IPv4 address '1.2.3.999', at character 14"),
        ("port 99999", "illegal port number 99999 > 65535, at character 6"),
        ("wlan type mgt", "only on 802.11 in 'wlan type mgt' (Ethernet frames)"),
    ],
)
def test_an_expression_without_sense_for_the_frames_is_told(expression, wanted):
    """What libpcap refuses for another reason than its form."""
    with pytest.raises(UsageError) as told:
        list(open_capture(io.BytesIO(make.pcap([(0, FRAMES[0])])), keep=Filter(expression)).segments())
    assert wanted in str(told.value)


def test_without_the_library_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cypcap", None)
    with pytest.raises(UsageError, match=r"cypcap: pip install 'tcptrace-fsm\[filter\]'"):
        Filter("tcp")
