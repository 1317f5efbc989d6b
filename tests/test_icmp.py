"""ICMP errors that quote a segment of a connection: found, kept with it, and never taken for a segment."""

from __future__ import annotations

import io
from array import array

import dpkt
import pytest
from hypothesis import given

from tcptrace_fsm.api import analyze
from tcptrace_fsm.capture.containers import open_capture
from tcptrace_fsm.capture.scripted import parse
from tcptrace_fsm.core.engine import Engine
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.findings.icmp import IcmpError
from tcptrace_fsm.findings.rule import Rule
from tcptrace_fsm.findings.running import Runner
from tcptrace_fsm.kernels import layout as at
from tcptrace_fsm.tcp.profiles import profile
from tests import builders as make
from tests.invariants import check, check_counted
from tests.strategies import conversations, plain_engine, run, watched_engine

OPEN = """
    0.00 > S  0:0(0)
    0.02 < S. 0:0(0)       ack 1
    0.04 > .  1:1(0)       ack 1
"""
DATA = "0.10 > P. 1:1461(1460) ack 1\n"


class Views(list):
    """A rule's place from which each connection is seen."""

    def rule(self):
        return Rule("seen", "data", "low", "", "", "", "", lambda _: True, self.see, "", "")

    def see(self, view):
        self.append((list(view.icmp), list(view.segments), {side: view.ends[side][at.E_ICMP_COUNT] for side in (0, 1)}))
        return ()


def views(*batches):
    """What rules see of each connection: its ICMP errors, its segments, and the errors counted for each side."""
    seen = Views()
    engine = Engine(Settings(), judges=[Runner((seen.rule(),), profile("linux"))])
    for batch in batches:
        engine.feed(batch)
    engine.finish()
    while engine.take() is not None:
        pass
    return list(seen)


def only(text):
    """What rules see of the one connection of a script."""
    (seen,) = views(parse(text))
    return seen


# --- in a connection --------------------------------------------------------------------------------------------------


def test_an_error_belongs_to_the_connection_whose_segment_it_quotes():
    """With its sender, its time and frame, and whether the quoted number is in flight."""
    (error,), segments, counts = only(OPEN + DATA + "0.12 > icmp 3/4 1 mtu 1400 from 10.9.9.9 size 1500\n")
    assert (error.side, error.frame, error.type, error.code, error.mtu, error.sender) == (0, 5, 3, 4, 1400, "10.9.9.9")
    assert (error.seq, error.outstanding, error.size, error.flags) == (1, True, 1500, None)
    assert error.name == "fragmentation needed, MTU 1400"
    assert [s.frame for s in segments if s.frame == 5] == []
    assert counts == {0: 1, 1: 0}


@pytest.mark.parametrize(
    "before, quoted, outstanding",
    [
        (DATA, 1, True),
        (DATA, 1460, True),
        (DATA, 1461, False),  # not sent yet
        (DATA, 100000, False),
        (DATA + "0.11 < . 1:1(0) ack 1461\n", 1, False),  # acknowledged: whoever quotes it is late, or a forger
        (DATA + "0.11 < . 1:1(0) ack 701\n", 700, False),
        (DATA + "0.11 < . 1:1(0) ack 701\n", 701, True),
    ],
)
def test_what_is_quoted_is_in_flight_or_not(before, quoted, outstanding):
    """RFC 5927 4.1: SND.UNA =< SEG.SEQ < SND.NXT."""
    (error,), _, _ = only(OPEN + before + f"0.12 > icmp 3/1 {quoted}\n")
    assert error.outstanding is outstanding


def test_an_error_about_a_syn():
    """A SYN is in flight until it is answered."""
    (error,), segments, _ = only("0 > S 0:0(0)\n0.1 > icmp 3/13 0\n1 > S 0:0(0)\n")
    assert (error.seq, error.outstanding, error.prohibited, error.unreachable) == (0, True, True, True)
    assert len(segments) == 2


def test_an_error_without_a_connection_opens_none():
    """It is counted where the capture is read; no row is made of it."""
    assert views(parse("0 > icmp 3/1 0\n")) == []
    (seen,) = views(parse("0 > icmp 3/1 0\n0.1 > S 0:0(0)\n"))
    assert seen[0] == []


def test_an_error_changes_neither_states_nor_counts():
    """Everything else is as without it."""
    plain = OPEN + DATA + "1 > F. 1461:1461(0) ack 1\n1.1 < F. 1:1(0) ack 1462\n1.2 > . 1462:1462(0) ack 2\n"
    quoting = plain + "".join(f"1.3 {way} icmp 3/{code} 1\n" for way in "<>" for code in range(16))
    (before, _), (after, _) = (run(text + "end 9\n").connections for text in (plain, quoting))
    assert after.changes == before.changes
    words = {at.C_MARKS, at.C_OVER_TIME, *(getattr(at, f"C_{w}") for w in ("LOG_HEAD", "LOG_TAIL", "HASH"))}
    own = {at.C_ENDPOINTS + s * at.ENDPOINT_SIZE + w for s in (0, 1) for w in (at.E_ICMP, at.E_ICMP_COUNT, at.E_RUN)}
    different = {i for i, (a, b) in enumerate(zip(before.words, after.words, strict=True)) if a != b}
    assert different <= words | own
    assert after["C_MARKS"] ^ before["C_MARKS"] == at.M_ICMP


def test_errors_are_kept_up_to_a_bound_and_counted_beyond():
    """Memory does not grow with what anybody may send."""
    errors, _, counts = only(OPEN + DATA + "0.2 > icmp 3/1 1\n" * 100)
    assert (len(errors), counts[0]) == (at.ICMP_MOST, 100)
    assert [e.frame for e in errors] == list(range(5, 5 + at.ICMP_MOST))


def test_an_error_about_a_late_segment_is_of_the_incarnation_that_sent_it():
    """The four-tuple was used again: the number tells whose segment is quoted."""
    text = (
        OPEN + "0.1 > R 1:1(0)\nisn 900000 700000\n1 > S 0:0(0)\n1.1 > icmp 3/1 0\nisn 1000 5000\n1.2 > icmp 11/0 0\n"
    )
    first, second = views(parse(text))
    assert [e.type for e in first[0]] == [11]
    assert [e.type for e in second[0]] == [3]


def test_an_error_about_a_stray_syn_is_handed_over_with_it():
    """A SYN that came to nothing belongs to the connection into which it fell, and so does what was said of it."""
    pending = OPEN + DATA + "isn 900000 0\n5 > S 0:0(0)\n5.1 > icmp 3/13 0\n"
    outcome = run(pending + "isn 1000 5000\n6 > P. 1461:1471(10) ack 1\n", engine=plain_engine())
    (connection,) = outcome.connections
    assert connection.end("client", "E_ICMP_COUNT") == 1
    assert "icmp" in connection.marks
    check(outcome)
    (error,), _, _ = only(pending + "isn 1000 5000\n6 > P. 1461:1471(10) ack 1\n")
    assert error.code == 13


def test_stray_syns_do_not_gather_errors_without_end():
    """What would be too many is free again."""
    text = OPEN + DATA
    for n in range(4):
        text += f"isn {900000 + n} 0\n{5 + n}.0 > S 0:0(0)\n" + f"{5 + n}.1 > icmp 3/13 0\n" * 40
        text += f"isn 1000 5000\n{5 + n}.2 > P. {1461 + n}:{1462 + n}(1) ack 1\n"
    outcome = run(text, engine=watched_engine(), step=7)
    check(outcome)
    assert outcome.connections[0].end("client", "E_ICMP_COUNT") == 160
    (errors, _, _), *_ = views(parse(text))
    assert len(errors) == 40


@given(conversations(most=60))
def test_every_error_leaves_memory_sound(segments):
    """In any conversation."""
    outcome = run(segments, engine=plain_engine(), step=3)
    check(outcome)
    check_counted(outcome)


# --- on the wire ------------------------------------------------------------------------------------------------------

TCP = make.tcp(b"data" * 300, seq=77, flags="PA")
SYN = make.ethernet(make.ipv4(make.tcp(seq=76, flags="S")))
SYN_SIX = make.ethernet(make.ipv6(make.tcp(seq=76, flags="S")), 0x86DD)


def four(kind, code, rest=bytes(4), quoted=None, src="10.0.0.9"):
    """An ICMP error to 10.0.0.1."""
    quoted = make.ipv4(TCP, ident=321, ttl=61)[:28] if quoted is None else quoted
    return make.ethernet(make.ipv4(bytes([kind, code, 0, 0]) + rest + quoted, src=src, dst="10.0.0.1", protocol=1))


def six(kind, code, rest=bytes(4), quoted=None):
    """An ICMPv6 error to 2001:db8::1."""
    quoted = make.ipv6(TCP, hops=60)[:48] if quoted is None else quoted
    return make.ethernet(
        make.ipv6(bytes([kind, code, 0, 0]) + rest + quoted, src="2001:db8::9", dst="2001:db8::1", follows=58), 0x86DD
    )


def read(*frames, link=1):
    """The records of a capture's segments and errors, and the capture."""
    capture = open_capture(io.BytesIO(make.pcap(list(enumerate(frames)), link=link)), broken=True)
    records = array("q")
    for batch in capture.segments():
        records.extend(batch.segments[: batch.count * at.SEGMENT_SIZE])
    return [records[s : s + at.SEGMENT_SIZE] for s in range(0, len(records), at.SEGMENT_SIZE)], capture


def seen(*frames):
    """The errors that rules see, of all connections of a capture."""
    capture = open_capture(io.BytesIO(make.pcap(list(enumerate(frames)))), broken=True)
    return [error for errors, _, _ in views(*capture.segments()) for error in errors]


def test_fragmentation_needed_with_its_mtu():
    """RFC 1191 4: the MTU stands in the lower half of what RFC 792 left unused."""
    (error,) = seen(SYN, four(3, 4, b"\0\0\5\x78"))
    assert error == IcmpError(0, 1000, 2, 3, 4, False, 1400, "10.0.0.9", 1, False, 1240, None, 61, 321)
    assert (error.too_big, error.unreachable) == (True, False)


def test_packet_too_big():
    """RFC 4443 3.2: 32 bits of MTU."""
    (error,) = seen(SYN_SIX, six(2, 0, b"\0\0\5\0"))
    assert error == IcmpError(0, 1000, 2, 2, 0, True, 1280, "2001:db8::9", 1, False, 1260, None, 60, -1)
    assert (error.too_big, error.name) == (True, "packet too big, MTU 1280")


def test_a_router_that_names_no_mtu():
    """Before RFC 1191 the field was 0."""
    (error,) = seen(SYN, four(3, 4))
    assert (error.mtu, error.too_big, error.name) == (None, True, "fragmentation needed")


@pytest.mark.parametrize("frame", [SYN, SYN_SIX])
@pytest.mark.parametrize("code", range(16))
def test_all_codes_of_destination_unreachable(frame, code):
    """Each keeps its number and has a name."""
    error = four(3, code) if frame is SYN else six(1, code)
    (found,) = seen(frame, error)
    assert found.code == code
    assert found.unreachable is (frame is SYN_SIX or code != 4)
    assert (code > 7 and frame is SYN_SIX) == ("code" in found.name)


@pytest.mark.parametrize(
    "frames, name, expired",
    [
        ((SYN, four(11, 0)), "hop limit exceeded in transit", True),
        ((SYN, four(11, 1)), "fragment reassembly time exceeded", True),
        ((SYN_SIX, six(3, 0)), "hop limit exceeded in transit", True),
        ((SYN, four(4, 0)), "source quench", False),
        ((SYN, four(12, 0)), "parameter problem", False),
        ((SYN_SIX, six(4, 1)), "parameter problem", False),
    ],
)
def test_other_errors(frames, name, expired):
    """Time exceeded, source quench, parameter problem."""
    (error,) = seen(*frames)
    assert (error.name, error.expired, error.unreachable, error.hard) == (name, expired, False, False)


@pytest.mark.parametrize("kind", [0, 5, 8, 13])
def test_what_is_no_error_quotes_nothing(kind):
    """Echo, redirect and time stamps."""
    records, capture = read(four(kind, 0, quoted=make.ipv4(TCP)))
    assert (records, capture.icmp_errors) == ([], 0)


def test_seven_bytes_are_not_enough_and_a_whole_header_is_better():
    """RFC 792 quotes eight bytes, RFC 1812 4.3.2.3 as many as fit."""
    assert read(four(3, 1, quoted=make.ipv4(TCP)[:27]))[1].icmp_errors == 0
    assert read(six(1, 1, quoted=make.ipv6(TCP)[:47]))[1].icmp_errors == 0
    (error,) = seen(SYN, four(3, 1, quoted=make.ipv4(TCP)))
    assert error.flags == at.TCP_ACK | at.TCP_PSH


@pytest.mark.parametrize("size", range(8 + 20 + 8 + 40))
def test_an_error_cut_anywhere_is_no_error_or_a_true_one(size):
    """Whatever the capture leaves of it; with IP options in what is quoted."""
    whole = four(3, 1, quoted=make.ipv4(TCP, options=b"\1" * 40)[: 60 + 8])
    cut = whole[: len(whole) - size]
    records, capture = read(cut)
    assert capture.frames == sum(capture.outcomes) == 1
    assert [record[at.S_SEQ] for record in records] == [77] * (size == 0)


def test_errors_in_tunnels_and_vlans_find_their_connection():
    """What is quoted belongs to the encapsulation in which the error travels."""
    tagged = make.ethernet(make.ipv4(make.tcp(seq=76, flags="S")), 0x0800, 5)
    about = make.ethernet(four(3, 1)[14:], 0x0800, 5)
    assert len(seen(tagged, about)) == 1
    assert seen(tagged, four(3, 1)) == []
    gre = make.ethernet(make.ipv4(bytes([0, 0, 8, 0]) + make.ipv4(make.tcp(seq=76, flags="S")), protocol=47))
    about = make.ethernet(make.ipv4(bytes([0, 0, 8, 0]) + four(3, 1)[14:], protocol=47))
    assert len(seen(gre, about)) == 1


def test_frames_stay_not_tcp_and_errors_are_counted():
    """As in Wireshark, whose filter `tcp and not icmp` has no such frame; the summary tells how many there were."""
    frames = [SYN, four(3, 1), four(11, 0), six(1, 4), make.ethernet(make.ipv4(make.udp(), protocol=17))]
    summary = analyze(io.BytesIO(make.pcap(list(enumerate(frames))))).summary
    assert (summary["frames"]["tcp"], summary["frames"]["not_tcp"]) == (1, 4)
    assert summary["icmp_errors"] == 3
    assert summary["connections"]["count"] == 1


def test_dpkt_reads_the_same():
    """Type, code, MTU, addresses, ports and sequence number, as a second reader has them."""
    frame = four(3, 4, b"\0\0\5\x78", quoted=make.ipv4(TCP, ident=321, ttl=61))
    (record,), _ = read(frame)
    ip = dpkt.ethernet.Ethernet(frame).data
    quoted = ip.data.data.data
    assert record[at.Q_KIND] == ip.data.type | ip.data.code << 8
    assert record[at.Q_MTU] == int.from_bytes(bytes(ip.data)[6:8], "big")
    assert record[at.Q_FROM_LO] == int.from_bytes(ip.src, "big")
    assert record[at.Q_SIZE] == quoted.len
    assert (record[at.S_SRC_LO], record[at.S_DST_LO]) == tuple(
        int.from_bytes(a, "big") for a in (quoted.src, quoted.dst)
    )
    assert record[at.S_PORTS] == quoted.data.sport << 16 | quoted.data.dport
    assert (record[at.S_SEQ], record[at.S_IP_ID], record[at.S_TTL]) == (quoted.data.seq, quoted.id, quoted.ttl)


# --- what else the log tells ------------------------------------------------------------------------------------------


def test_logged_segments_have_their_ttl_identification_and_options():
    """Beside the segments of its sender, a forged RST shows."""
    text = OPEN + "0.1 < R. 1:1(0) ack 1 id 54321 ttl 200\n"
    _, segments, _ = only(text.replace("0.00 > S  0:0(0)", "0.00 > S 0:0(0) ttl 64 <mss 1460, sackok, mptcp>"))
    assert (segments[-1].ttl, segments[-1].ip_id) == (200, 54321)
    assert (segments[1].ttl, segments[1].ip_id) == (64, 201)
    assert segments[0].options == at.OPT_MSS | at.OPT_SACK_PERMITTED | at.OPT_MULTIPATH
    assert segments[1].options == 0


def test_ipv6_has_no_identification():
    """It is -1, as in a segment's record."""
    capture = open_capture(io.BytesIO(make.pcap([(0, SYN_SIX)])))
    ((_, (segment,), _),) = views(*capture.segments())
    assert (segment.ttl, segment.ip_id) == (64, -1)


def test_a_syn_leaves_its_flags_and_timestamp():
    """Of the first, whatever its repetitions leave out."""
    text = "0 > SEW 0:0(0) <ts 7/0, sackok, tfo>\n1 > S 0:0(0) <ts 8/0>\n1.1 < S. 0:0(0) ack 1\n"
    (connection,) = run(text).connections
    assert connection.end("client", "E_SYN_FLAGS") == at.TCP_SYN | at.TCP_ECE | at.TCP_CWR
    assert connection.end("client", "E_SYN_TSVAL") == 7
    expected = at.OPT_TIMESTAMPS | at.OPT_SACK_PERMITTED | at.OPT_FAST_OPEN | at.OPT_FAST_OPEN_COOKIE
    assert connection.end("client", "E_OPTIONS") == expected
    assert (connection.end("server", "E_SYN_FLAGS"), connection.end("server", "E_SYN_TSVAL")) == (18, -1)


def sacked(*acks, window=65535):
    """The server's facts after ACKs with SACK blocks about 3,000 bytes of the client."""
    opening = OPEN.replace("ack 1\n", f"ack 1 win {window}\n", 1)
    text = opening + "0.1 > . 1:1001(1000) ack 1\n0.1 > . 1001:2001(1000) ack 1\n0.1 > P. 2001:3001(1000) ack 1\n"
    text += "".join(f"0.2 < . 1:1(0) ack {ack} win {window} <sack {blocks}>\n" for ack, blocks in acks)
    (connection,) = run(text).connections
    return tuple(
        connection.end("server", f"E_{word}") for word in ("SACK_LOW", "SACK_HIGH", "SACKS_OUTSIDE", "OUTSIDE_FRAME")
    )


@pytest.mark.parametrize(
    "acks, facts",
    [
        ([], (-1, -1, 0, -1)),
        ([(1, "2001:3001")], (2001, 3001, 0, -1)),
        ([(1, "2001:3001 1001:2001")], (1001, 3001, 0, -1)),
        ([(1, "2001:3001"), (1, "1001:3001")], (1001, 3001, 0, -1)),
        ([(1001, "1:1001 2001:3001")], (2001, 3001, 0, -1)),  # a D-SACK tells of nothing above the ACK
        ([(3001, "1:1001")], (-1, -1, 0, -1)),
        ([(1, "20000001:20001001")], (-1, -1, 1, 7)),  # far beyond the window
        ([(1, "900001:901001")], (900001, 901001, 0, -1)),  # a little: by what the capture lacks
        ([(1, "-90000:-89000")], (-1, -1, 1, 7)),  # from before the connection
        ([(1, "2001:3001"), (1, "2000002001:2000003001"), (1, "2000002001:2000003001")], (2001, 3001, 2, 8)),
        ([(1, "5001:6001")], (5001, 6001, 0, -1)),  # within the window: the capture may have missed it
    ],
)
def test_sack_blocks_leave_their_edges_and_whether_they_can_be(acks, facts):
    """Blocks outside of what the peer can have sent are counted apart."""
    assert sacked(*acks) == facts


def test_what_a_router_did_not_pass_on_was_not_lost_without_a_word():
    """The message of a timeout names the ICMP error about that segment; one about another segment says nothing."""
    sent = """
        0.00 > S  0:0(0)
        0.01 < S. 0:0(0)       ack 1
        0.02 > .  1:1(0)       ack 1
        0.03 > P. 1:1401(1400) ack 1
        {0}
        0.33 > P. 1:1401(1400) ack 1
        0.34 < .  1:1(0)       ack 1401
    """
    for error, named in (("0.04 > icmp 3/4 1", True), ("0.04 > icmp 3/4 5000", False), ("", False)):
        found = run(parse(sent.format(error)), rules=True).findings
        (message,) = (f.message for f in found if f.kind == "rto_retransmission")
        assert ("fragmentation needed" in message) is named
        assert ("nothing else showed it" in message) is not named
